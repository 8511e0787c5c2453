"""Vision transformers: DINOv2 and CLIP."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, scaled_dot_product_attention
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.features.preprocess import NetworkInput, Resize
from gantlet.features.weights import WeightsFile, choose, features_of, fill, read, read_script


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Architecture of a vision transformer.

    Attributes:
        patch: Height and width of a patch.
        side: How many patches there are in a row, and in a column.
        width: Size of a token.
        layers: How many blocks.
        heads: How many heads attend in each.
        clip: Whether it is CLIP's: tokens are normalised before the first block, a quick
            approximation of GELU, and a projection at the end. DINOv2 scales each branch instead.
        out: Output dimension; that of a token without a projection.
    """

    patch: int
    side: int
    width: int
    layers: int
    heads: int
    clip: bool
    out: int


@final
class QuickGelu(nn.Module):
    """The approximation of GELU that CLIP was trained with.

    Source: Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.
    """

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x`` times the sigmoid of 1.702 ``x``."""
        return x * (1.702 * x).sigmoid()


@final
class VitAttention(nn.Module):
    """Multi-head self-attention in which every token sees all.

    Args:
        width: Size of a token.
        heads: How many heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the attention output, shape ``(n, tokens, width)``."""
        n, tokens, width = x.shape
        parts = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        joined: Tensor = self.proj(
            scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        )
        return joined


@final
class LayerScale(nn.Module):
    """A learned factor for each number of a token.

    Source: Touvron et al., 2021, https://arxiv.org/abs/2103.17239, section 2.

    Args:
        width: Size of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns scaled tokens."""
        return x * self.gamma


@final
class VitBlock(nn.Module):
    """Attention and a perceptron, each normalised first and added to what came in.

    Args:
        shape: How the network is built.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, eps = shape.width, 1e-5 if shape.clip else 1e-6
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = VitAttention(width, shape.heads)
        self.ls1 = nn.Identity() if shape.clip else LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(width, 4 * width),
                "act": QuickGelu() if shape.clip else nn.GELU(),
                "fc2": nn.Linear(4 * width, width),
            }
        )
        self.ls2 = nn.Identity() if shape.clip else LayerScale(width)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the tokens, shape ``(n, tokens, width)``, one block on."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        y = self.mlp["fc2"](self.mlp["act"](self.mlp["fc1"](self.norm2(x))))
        out: Tensor = x + self.ls2(y)
        return out


@final
class VisionTransformer(nn.Module):
    """The network from images to the token that stands for the whole image.

    Source: Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929.

    Args:
        shape: How it is built.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.patch = nn.Conv2d(3, width, shape.patch, shape.patch, bias=not shape.clip)
        self.token = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(torch.zeros(1 + shape.side**2, width))
        self.before = nn.LayerNorm(width) if shape.clip else nn.Identity()
        self.blocks = nn.Sequential(*(VitBlock(shape) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(width, 1e-5 if shape.clip else 1e-6)
        self.project = nn.Linear(width, shape.out, bias=False) if shape.clip else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns vectors, shape ``(n, out)``, of images ``(n, 3, h, w)``."""
        patches = self.patch(x).flatten(2).transpose(1, 2)
        first = self.token.expand(len(x), 1, -1)
        tokens = self.before(torch.cat([first, patches], 1) + self.position)
        out: Tensor = self.project(self.norm(self.blocks(tokens)[:, 0]))
        return out


# ----------------------------------------------------------------------------
# DINOv2: what a vision transformer sees that was trained without labels.
# ----------------------------------------------------------------------------

_SIZE, _PATCH = 224, 14
_BATCH = 8

DINOV2_SHAPES = {
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
            UserError: If samples are not images, or the weights are missing or incomplete.
        """
        del data, rng
        looks = NetworkInput(
            space=space, channels=3, size=_SIZE, resize="bicubic", pixels="imagenet"
        )
        looks.check()
        shape = DINOV2_SHAPES[self.model]
        found = choose(f"dinov2-{self.model}", self.weights)
        with torch.device("meta"):
            net = VisionTransformer(shape)
        fill(net, dinov2_state(read(found.path), shape.side), found.path)
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


def dinov2_state(state: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Returns the published tensors under our names, positions resized to ``side`` patches."""
    found = {k.replace("patch_embed.proj.", "patch."): t for k, t in state.items()}
    found.pop("mask_token", None)  # served the training alone
    if "cls_token" in found:
        found["token"] = found.pop("cls_token").flatten()
    if "pos_embed" in found:
        found["position"] = resized(found.pop("pos_embed").flatten(0, -2).float(), side)
    return found


def resized(position: Tensor, side: int) -> Tensor:
    """Returns interpolated position embeddings, shape ``(1 + side**2, width)``.

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


# ----------------------------------------------------------------------------
# CLIP: what a vision transformer sees that learned from images and their captions.
# ----------------------------------------------------------------------------

CLIP_SHAPES = {
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
    """The CLIP image embedding, which CLIP compares with captions.

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
            UserError: If samples are not images, or the weights are missing or incomplete.
        """
        del data, rng
        shape = CLIP_SHAPES[self.model]
        how: Resize = "bicubic" if self.resize == "antialias" else "bicubic-plain"
        size = shape.patch * shape.side
        looks = NetworkInput(space=space, channels=3, size=size, resize=how, pixels="clip")
        looks.check()
        found = choose(f"clip-{self.model}", self.weights)
        with torch.device("meta"):
            net = VisionTransformer(shape)
        fill(net, clip_state(_state(found)), found.path)
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


def _state(found: WeightsFile) -> Mapping[str, Tensor]:
    """Returns the named tensors of a file.

    The published files are programs (TorchScript), so they are opened as such only when their
    hash says that they are the published ones.
    """
    path: Path = found.path
    return read(path) if found.known is None else read_script(path)


def clip_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
