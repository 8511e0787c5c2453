"""DINOv2: what a vision transformer sees that was trained without labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.features.checkpoint import fill, read
from gantlet.features.images import Looks
from gantlet.features.pretrained import features_of
from gantlet.features.vit import Shape, VisionTransformer
from gantlet.features.weights import choose

_SIZE, _PATCH = 224, 14
_BATCH = 8

SHAPES = {
    name: Shape(
        patch=_PATCH,
        side=_SIZE // _PATCH,
        width=width,
        layers=layers,
        heads=width // 64,
        clip=False,
        out=width,
    )
    for name, width, layers in (
        ("vit-s-14", 384, 12),
        ("vit-b-14", 768, 12),
        ("vit-l-14", 1024, 24),
    )
}
"""How each of the networks is built."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DinoV2:
    """The class token of a vision transformer that was trained on 142 million images.

    Images are resized to 224x224 (bicubic, antialiased) and standardised by the means and
    deviations of ImageNet's colours.

    Source: Oquab et al., 2023, https://arxiv.org/abs/2304.07193; for judging samples Stein et
        al., 2023, https://arxiv.org/abs/2306.04675, who found that people agree with distances of
        these features more than with those of Inception.
    Differs from the paper: images are not rounded to whole levels after they are resized.

    Attributes:
        model: Which network; ``vit-l-14`` is that of Stein et al.
        weights: Path of a file of your own with tensors of the same names, or the name of one that
            was added; the published file if none is given.
    """

    learns: ClassVar[bool] = False

    model: Literal["vit-s-14", "vit-b-14", "vit-l-14"] = "vit-l-14"
    weights: str | None = None

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If samples are no images, or the weights are not here or not whole.
        """
        del data, rng
        looks = Looks(space=space, channels=3, size=_SIZE, resize="bicubic", pixels="imagenet")
        looks.check()
        shape = SHAPES[self.model]
        found = choose(f"dinov2-{self.model}", self.weights)
        with torch.device("meta"):
            net = VisionTransformer(shape)
        fill(net, renamed(read(found.path), shape.side), found.path)
        net.eval().requires_grad_(requires_grad=False)

        def run(x: Tensor) -> Tensor:
            y: Tensor = net.to(x.device)(x)
            return y

        return features_of(
            run,
            looks,
            name=f"dinov2 {self.model}",
            found=found,
            batch=_BATCH,
            note=f"{shape.out} features of DINOv2 {self.model}",
        )


def renamed(state: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Returns the published tensors under our names, positions resized to ``side`` patches."""
    found = {k.replace("patch_embed.proj.", "patch."): t for k, t in state.items()}
    found.pop("mask_token", None)  # served the training alone
    if "cls_token" in found:
        found["token"] = found.pop("cls_token").flatten()
    if "pos_embed" in found:
        found["position"] = resized(found.pop("pos_embed").flatten(0, -2).float(), side)
    return found


def resized(position: Tensor, side: int) -> Tensor:
    """Returns what is added to the tokens, shape ``(1 + side**2, width)``, for fewer patches.

    The published networks were trained on 37 patches a side. Their code stretches by ``side +
    0.1`` instead of ``side``, which is followed here.
    """
    old = round((len(position) - 1) ** 0.5)
    if old in {0, side}:
        return position
    first, rest = position[:1], position[1:].T.reshape(1, -1, old, old)
    stretch = (side + 0.1) / old
    new = interpolate(rest, scale_factor=(stretch, stretch), mode="bicubic", align_corners=False)
    return torch.cat([first, new[0].flatten(1).T])
