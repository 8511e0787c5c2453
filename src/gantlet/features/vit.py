"""The vision transformer, as DINOv2 and CLIP have it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from typing_extensions import override


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a vision transformer is built like.

    Attributes:
        patch: Height and width of a patch.
        side: How many patches there are in a row, and in a column.
        width: Size of a token.
        layers: How many blocks.
        heads: How many heads attend in each.
        clip: Whether it is CLIP's: tokens are normalised before the first block, a quick
            approximation of GELU, and a projection at the end. DINOv2 scales each branch instead.
        out: Size of what comes out; that of a token where there is no projection.
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
class Attention(nn.Module):
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
        """Returns what each token gathers, shape ``(n, tokens, width)``."""
        n, tokens, width = x.shape
        parts = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        joined: Tensor = self.proj(
            scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        )
        return joined


@final
class Scale(nn.Module):
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
class Block(nn.Module):
    """Attention and a perceptron, each normalised first and added to what came in.

    Args:
        shape: How the network is built.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, eps = shape.width, 1e-5 if shape.clip else 1e-6
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, shape.heads)
        self.ls1 = nn.Identity() if shape.clip else Scale(width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(width, 4 * width),
                "act": QuickGelu() if shape.clip else nn.GELU(),
                "fc2": nn.Linear(4 * width, width),
            }
        )
        self.ls2 = nn.Identity() if shape.clip else Scale(width)

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
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
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
