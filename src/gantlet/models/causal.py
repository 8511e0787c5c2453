"""What causal networks share: masked layers, transformers, and patches that are tokens."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from typing_extensions import override

from gantlet.core.data import Space

SAMPLED_AT_ONCE = 512
"""Samples are drawn in blocks, so that the cache does not grow with their number."""


def choose(logits: Tensor, u: Tensor) -> Tensor:
    """Returns the category that ``u`` in [0, 1) falls into, whole numbers of shape ``u.shape``.

    The same ``u`` gives the same category unless it lies on the edge of two: two ways to compute
    the same logits give the same samples.

    Example:
        >>> choose(torch.zeros(3, 4), torch.tensor([0.1, 0.3, 0.99]))
        tensor([0, 1, 3])
    """
    below = logits.softmax(-1).cumsum(-1) < u[..., None]
    # Rounding can leave the sum of the probabilities a little below 1, and ``u`` above it.
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)


@final
class MaskedLinear(nn.Linear):
    """A linear layer whose weights are zero outside a mask.

    Args:
        mask: Which weights may differ from zero, booleans of shape ``(outputs, inputs)``.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    @property
    def masked(self) -> Tensor:
        """The weights as they act, shape ``(outputs, inputs)``."""
        return self.weight * self.mask

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Returns the masked linear map of ``input``, shape ``(..., outputs)``."""
        return linear(input, self.masked, self.bias)


# ----------------------------------------------------------------------------
# A causal transformer that evaluates a whole sequence at once, or one token after another.
# ----------------------------------------------------------------------------


@final
@dataclass(slots=True)
class KeyValueCache:
    """The keys and values of the tokens seen so far.

    Attributes:
        seen: For each block a tensor of shape ``(2, n, heads, tokens, width / heads)``: keys, then
            values.
        length: How many tokens have been seen.
    """

    seen: list[Tensor]
    length: int = 0


@final
class CausalAttention(nn.Module):
    """Multi-head self-attention in which a token sees itself and the tokens before it.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.

    Args:
        width: Size of a token; a multiple of ``heads``.
        heads: How many heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the attention output of each token of ``x``, both ``(n, tokens, width)``."""
        q, k, v = self._split(x)
        return self._join(scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x: Tensor, seen: Tensor, at: int) -> Tensor:
        """Returns the attention output of token ``at`` over the cache; adds its key and value.

        ``x`` has shape ``(n, 1, width)``, ``seen`` is one block of a ``KeyValueCache``.
        """
        qkv = self._split(x)
        seen[:, :, :, at : at + 1] = qkv[1:]
        keys, values = seen[:, :, :, : at + 1]
        return self._join(scaled_dot_product_attention(qkv[0], keys, values))

    def _split(self, x: Tensor) -> Tensor:
        """Returns query, key and value, shape ``(3, n, heads, tokens, width / heads)``."""
        n, tokens, _ = x.shape
        qkv: Tensor = self.qkv(x)
        return qkv.view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)

    def _join(self, y: Tensor) -> Tensor:
        joined: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return joined


@final
class TransformerBlock(nn.Module):
    """Attention and a perceptron, each normalised first and added to what came in.

    Args:
        width: Size of a token.
        heads: How many heads attend.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        last = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), last)
        for branch in (self.attention.out, last):
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the tokens, shape ``(n, tokens, width)``, one block on."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def step(self, x: Tensor, seen: Tensor, at: int) -> Tensor:
        """Returns token ``at``, shape ``(n, 1, width)``, one block on."""
        x = x + self.attention.step(self.norm1(x), seen, at)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


@final
class CausalTransformer(nn.Module):
    """Blocks in a row, normalised at the end: output ``t`` depends on tokens ``0 .. t`` alone.

    Pre-normalisation as in Radford et al., 2019 (GPT-2), section 2.3. The last layer of each
    branch starts at zero, so that the network starts as the identity and high learning rates
    work without a warm-up.

    Args:
        width: Size of a token; a multiple of ``heads``.
        layers: How many blocks.
        heads: How many heads in each.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features of a whole sequence, both of shape ``(n, tokens, width)``."""
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x)
        return features

    def cache(self, n: int, tokens: int) -> KeyValueCache:
        """Returns room for ``n`` sequences of at most ``tokens`` tokens."""
        shape = (2, n, self.heads, tokens, self.width // self.heads)
        return KeyValueCache([self.norm.weight.new_empty(shape) for _ in self.blocks])

    def step(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        """Returns features of the next token, both of shape ``(n, 1, width)``.

        ``cache`` takes up its keys and values: the cost is that of one token, however many came
        before, but for attention.
        """
        for block, seen in zip(self.blocks, cache.seen, strict=True):
            assert isinstance(block, TransformerBlock)
            x = block.step(x, seen, cache.length)
        cache.length += 1
        features: Tensor = self.norm(x)
        return features


# ----------------------------------------------------------------------------
# Samples as sequences of patches.
# ----------------------------------------------------------------------------


def patch_grid(space: Space, patch: int) -> tuple[int, int]:
    """Returns the number of rows and columns of tokens of a sample."""
    if space.kind == "image":
        return space.shape[1] // patch, space.shape[2] // patch
    return 1, space.size // patch


def raster(space: Space, patch: int) -> Tensor:
    """Returns the flat index of each level, shape ``(tokens, levels in a token)``, in order."""
    index = torch.arange(space.size)
    if space.kind != "image":
        return index.view(-1, patch)
    rows, columns = patch_grid(space, patch)
    patches = index.view(space.shape[0], rows, patch, columns, patch).permute(1, 3, 2, 4, 0)
    return patches.reshape(rows * columns, -1)


def earlier_patches(grid: tuple[int, int], window: int) -> Tensor:
    """Returns the tokens that each token sees directly, shape ``(tokens, seen)``.

    Counted from 1; 0 stands for one outside the sample.
    """
    rows, columns = grid
    across = torch.arange(-window, window + 1)
    up = torch.cartesian_prod(torch.arange(-window, 0), across)
    left = torch.stack([torch.zeros(window, dtype=torch.long), across[:window]], 1)
    moves = torch.cat([up, left]) if rows > 1 else left
    tokens = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    there = tokens[:, None] + moves
    row, column = there.unbind(2)
    inside = (row >= 0) & (column >= 0) & (column < columns)
    return torch.where(inside, row * columns + column + 1, 0)
