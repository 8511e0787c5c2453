"""CLIP: what a vision transformer sees that learned from images and their captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.features.checkpoint import fill, read, read_script
from gantlet.features.images import Looks, Resize
from gantlet.features.pretrained import features_of
from gantlet.features.vit import Shape, VisionTransformer
from gantlet.features.weights import Found, choose

_BATCH = 8

SHAPES = {
    name: Shape(
        patch=patch,
        side=size // patch,
        width=width,
        layers=layers,
        heads=width // 64,
        clip=True,
        out=out,
    )
    for name, patch, size, width, layers, out in (
        ("vit-b-32", 32, 224, 768, 12, 512),
        ("vit-b-16", 16, 224, 768, 12, 512),
        ("vit-l-14", 14, 224, 1024, 24, 768),
        ("vit-l-14-336", 14, 336, 1024, 24, 768),
    )
}
"""How the half for images of each network is built."""

# Parts of the published names, and ours; in this order.
_NAMES = (
    ("transformer.resblocks.", "blocks."),
    ("attn.in_proj_", "attn.qkv."),
    ("attn.out_proj.", "attn.proj."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("ln_pre.", "before."),
    ("ln_post.", "norm."),
    ("ln_1.", "norm1."),
    ("ln_2.", "norm2."),
    ("conv1.", "patch."),
    ("class_embedding", "token"),
    ("positional_embedding", "position"),
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The vector that CLIP compares with captions.

    Images are resized to the size that the network was trained on, and standardised by the means
    and deviations of its training images' colours.

    Source: Radford et al., 2021, https://arxiv.org/abs/2103.00020. Jayasumana et al., 2024,
        https://arxiv.org/abs/2401.09603, measure their distance CMMD on ``model=vit-l-14-336``
        with ``unit=true`` and ``resize=plain``.
    Differs from the paper: an image that is not square is resized as a whole, not cropped.

    Attributes:
        model: Which network.
        unit: Whether vectors are scaled to length 1.
        resize: ``antialias`` (bicubic), or ``plain``: bicubic without antialiasing.
        weights: Path of a file of your own with tensors of the same names, or the name of one that
            was added; the published file if none is given.
    """

    learns: ClassVar[bool] = False

    model: Literal["vit-b-32", "vit-b-16", "vit-l-14", "vit-l-14-336"] = "vit-b-32"
    unit: bool = False
    resize: Literal["antialias", "plain"] = "antialias"
    weights: str | None = None

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If samples are no images, or the weights are not here or not whole.
        """
        del data, rng
        shape = SHAPES[self.model]
        how: Resize = "bicubic" if self.resize == "antialias" else "bicubic-plain"
        size = shape.patch * shape.side
        looks = Looks(space=space, channels=3, size=size, resize=how, pixels="clip")
        looks.check()
        found = choose(f"clip-{self.model}", self.weights)
        with torch.device("meta"):
            net = VisionTransformer(shape)
        fill(net, renamed(_state(found)), found.path)
        net.eval().requires_grad_(requires_grad=False)

        def run(x: Tensor) -> Tensor:
            y: Tensor = net.to(x.device)(x)
            return normalize(y, dim=1) if self.unit else y

        length = " of length 1" if self.unit else ""
        return features_of(
            run,
            looks,
            name=f"clip {self.model}{length}",
            found=found,
            batch=_BATCH,
            note=f"{shape.out} features{length} of CLIP {self.model}",
        )


def _state(found: Found) -> Mapping[str, Tensor]:
    """Returns the named tensors of a file.

    The published files are programs (TorchScript), so they are opened as such only when their
    hash says that they are the published ones.
    """
    path: Path = found.path
    return read(path) if found.known is None else read_script(path)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the half for images under our names."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "visual.proj":
            found["project.weight"] = tensor.T
        elif name.startswith("visual."):
            own = name.removeprefix("visual.")
            for theirs, ours in _NAMES:
                own = own.replace(theirs, ours)
            found[own] = tensor
    return found
