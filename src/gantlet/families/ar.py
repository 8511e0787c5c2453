"""Autoregressive models: every component is predicted from those before it."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear, pad
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.family import refuse_context
from gantlet.core.game import Generative
from gantlet.core.model import Cached, Density, LogProb
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.games.likelihood import MaximumLikelihood
from gantlet.nets.masked import Made, MaskedLinear
from gantlet.nets.mixtures import Categorical, GaussianMixture, Output, choose
from gantlet.nets.scaling import Scaling
from gantlet.nets.seeding import seeded
from gantlet.nets.transformer import CausalTransformer

# How many tokens an image should have: few enough to train on two cores.
_FEWEST, _MOST = 16, 256

MOST_LOGITS = 2**26
"""More logits than this are not kept for the gradient but computed twice: 256 MiB of float32."""

SAMPLED_AT_ONCE = 512
"""Samples are drawn in blocks, so that the cache does not grow with their number."""

# MADE puts out a number for each level, or three for each Gaussian, of each component.
_MOST_OUTPUTS = 2**16


@final
class PixelTransformer(Cached, Density):
    """A causal transformer over the levels of a discrete sample; its log-probability is exact.

    ``log p(x) = sum_t sum_g log p(x_tg | tokens before t, levels before g in token t)``. A token
    is a patch of levels, or of an image a patch of pixels: patches go row by row, so do the
    pixels in a patch, and the channels of a pixel follow one another. Into the transformer go, for
    token ``t``, embeddings of the levels of token ``t - 1``, a linear map of the earlier patches
    around ``t``, and a learned position. From what comes out, a network with one masked hidden
    layer predicts the levels of the patch, each from those before it.

    Args:
        space: A discrete space.
        patch: Side of a patch of an image, or length of a piece of any other sample.
        window: How many patches to the left, to the right and above a token sees directly.
        width: Size of a token.
        layers: How many blocks.
        heads: How many heads in each.
    """

    order: Tensor
    back: Tensor
    near: Tensor
    rows: Tensor

    def __init__(
        self, space: Space, *, patch: int, window: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.space = space
        self.output = Categorical(space.levels or 1)
        order, near = _raster(space, patch), _earlier(_grid(space, patch), window)
        tokens, self.group = order.shape
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.register_buffer("near", near, persistent=False)
        # Where the embeddings of each level of a patch begin.
        rows = torch.arange(self.group) * self.output.inputs
        self.register_buffer("rows", rows, persistent=False)
        self.embed = nn.Parameter(_ordinal(self.group, self.output.inputs, width))
        self.look = nn.Linear(near.shape[1] * self.group, width, bias=False)
        nn.init.normal_(self.look.weight, std=0.3)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.body = CausalTransformer(width, layers, heads)
        self.hidden = MaskedLinear(_inside(self.group, width))
        self.out = nn.Linear(width, self.output.parameters)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation for each level, of the whole network or of its last layers."""
        return self.space.size

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        q = x.flatten(1)[:, self.order]
        h = self.body(self.embedded(pad(q, (0, 0, 1, 0)), 0, len(self.order)))
        parts = -(-x.numel() * self.output.parameters // MOST_LOGITS)
        if parts <= 1:
            return LogProb(self.score(h, q), "exact", "product of conditionals")
        scores = [
            checkpoint(self.score, *pair, use_reentrant=False, preserve_rng_state=False)
            for pair in zip(h.chunk(parts, 1), q.chunk(parts, 1), strict=True)
        ]
        return LogProb(torch.stack(scores).sum(0), "exact", "product of conditionals")

    @override
    @torch.no_grad()
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Returns ``n`` samples.

        Args:
            n: How many.
            context: None.
            rng: Where the randomness comes from: one uniform number for each level.
            cached: Whether to keep the keys and values of earlier tokens; without them each step
                computes the whole sequence so far. The samples are the same.
        """
        u = torch.rand((n, *self.order.shape), generator=rng, device=rng.device)
        x = torch.cat(
            [self._draw(part, cached=cached) for part in torch.split(u, SAMPLED_AT_ONCE)]
        )
        return x[:, self.back].view(n, *self.space.shape)

    @torch.inference_mode()
    def _draw(self, u: Tensor, *, cached: bool) -> Tensor:
        """Returns the levels that ``u`` stands for, shape ``(n, size)``, in order."""
        n, tokens, _ = u.shape
        q = self.position.new_zeros(n, tokens + 1, self.group)
        cache = self.body.cache(n, tokens) if cached else None
        weight, bias = self.hidden.masked, self.hidden.bias
        for t in range(tokens):
            if cache is None:
                h = self.body(self.embedded(q, 0, t + 1))[:, -1]
            else:
                h = self.body.step(self.embedded(q, t, t + 1), cache)[:, 0]
            for g in range(self.group):
                seen = torch.cat([h, self.scaled(q[:, t + 1])], 1)
                units = slice(g * h.shape[1], (g + 1) * h.shape[1])
                z = linear(seen, weight[units], bias[units])
                q[:, t + 1, g] = choose(self.out(gelu(z)), u[:, t, g])
        return q[:, 1:].flatten(1)

    def embedded(self, q: Tensor, first: int, last: int) -> Tensor:
        """Returns what goes into the transformer, shape ``(n, last - first, width)``.

        ``q`` has shape ``(n, tokens + 1, group)``: a token of zeros stands for whatever is
        outside, then come the tokens; those from ``last`` on do not matter.
        """
        index = q[:, first:last].long() + self.rows
        before = embedding(index, self.embed).sum(2)
        around = self.look(self.scaled(q[:, self.near[first:last]].flatten(2)))
        tokens: Tensor = before + around + self.position[first:last]
        return tokens

    def scaled(self, q: Tensor) -> Tensor:
        """Returns levels between -1 and 1, as the network takes them."""
        return q * (2 / max(self.output.inputs - 1, 1)) - 1

    def score(self, h: Tensor, q: Tensor) -> Tensor:
        """Returns the log-probability of tokens given their features, shape ``(n,)``."""
        z = gelu(self.hidden(torch.cat([h, self.scaled(q)], 2)))
        logits = self.out(z.view(*q.shape, -1))
        return self.output.log_prob(q, logits).sum((1, 2))


@final
class MadeDensity(Density):
    """A masked perceptron that puts out the distribution of each component; exact.

    Args:
        space: Any space, up to a size.
        output: The distribution of one component.
        width: Units in each hidden layer.
        layers: How many hidden layers.
    """

    def __init__(self, space: Space, output: Output, *, width: int, layers: int) -> None:
        super().__init__()
        self.space = space
        self.output = output
        self.scaling = Scaling(space)
        self.net = Made(space.size, output.inputs, output.parameters, width, layers)
        with torch.no_grad():
            self.net.out.bias.copy_(output.start().repeat(space.size))

    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:  # noqa: ARG002
        """Standardises the components of a continuous space."""
        self.scaling.fit(batch)

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation of the network for each component."""
        return self.space.size

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        is_discrete = self.space.levels is not None
        y = (x if is_discrete else self.scaling(x)).flatten(1)
        theta = self.net(self.output.describe(y))
        value = self.output.log_prob(y, theta).sum(1)
        if not is_discrete:
            value = value + self.scaling.log_volume()
        return LogProb(value, "exact", "product of conditionals")

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        y = self.net.out.bias.new_zeros(n, self.space.size)
        for i in range(self.space.size):
            theta = self.net(self.output.describe(y))
            y[:, i] = self.output.draw(theta[:, i], rng=rng)
        x = y.view(n, *self.space.shape)
        return x if self.space.levels is not None else self.scaling.inverse(x)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Autoregressive:
    """An autoregressive model: ``log p(x) = sum_i log p(x_i | x_1, ..., x_{i-1})``, exactly.

    One player, ``ar``; its loss is ``-log p(x)`` in bits for each component. Two networks:
    a pixel transformer for discrete samples, and MADE, for continuous vectors with a mixture of
    Gaussians for each component, for discrete ones with any distribution of the levels.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762 (transformer); Chen et al.,
    2020, https://proceedings.mlr.press/v119/chen20s.html (on pixels); Germain, Gregor, Murray and
    Larochelle, 2015, https://arxiv.org/abs/1502.03509 (MADE); Uria, Murray and Larochelle, 2013,
    https://arxiv.org/abs/1306.0186 (mixture output).

    Differs from the papers: a token sees a window of earlier pixels directly, and not only the
    pixel before; large images are read in patches, with a masked network inside each; no dropout.

    Attributes:
        net: ``auto`` takes ``made`` for continuous samples and for vectors, else ``transformer``.
        patch: Side of a token of an image, or length of a token of other samples; none takes the
            smallest patch that leaves at most 256 tokens of an image, and 1 for other samples.
        window: How many patches to the left, to the right and above a token sees directly.
        width: Size of a token; MADE's hidden layers have four times as many units.
        layers: Blocks of the transformer, or hidden layers of MADE.
        heads: Heads of the transformer.
        mixtures: Gaussians for each component of a continuous sample.
        ema: Decay of the running average of weights that is sampled and judged; 0 is none.
    """

    net: Literal["auto", "transformer", "made"] = "auto"
    patch: Annotated[int, Between(1)] | None = None
    window: Annotated[int, Between(1)] = 2
    width: Annotated[int, Between(1)] = 32
    layers: Annotated[int, Between(1)] = 2
    heads: Annotated[int, Between(1)] = 2
    mixtures: Annotated[int, Between(1)] = 10
    ema: Annotated[float, Between(0, 1, below=True)] = 0.0

    @property
    def solver(self) -> str:
        """Adam with a high rate: the transformer starts as the identity and needs no warm-up."""
        return "adam:lr=0.006,beta2=0.99,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained model for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If the network cannot model such samples, or the patch does not fit, or
                there is a context.
        """
        refuse_context("ar", context_space)
        if space.kind == "graph":
            raise UserError(f"ar needs samples whose components have an order. Got {space.label}.")
        made = space.levels is None or space.kind == "vector"
        if self.net == "made" or (self.net == "auto" and made):
            return self._made(space, rng)
        return self._transformer(space, rng)

    def _made(self, space: Space, rng: Rng) -> Generative:
        output = Categorical(space.levels) if space.levels else GaussianMixture(self.mixtures)
        if space.size * output.parameters > _MOST_OUTPUTS:
            raise UserError(
                f"ar:net=made has an output for each level or mixture parameter of each "
                f"component, at most {_MOST_OUTPUTS} in all. {space.label} needs "
                f"{space.size * output.parameters}; "
                + ("use net=transformer." if space.levels else "use smaller samples.")
            )
        with seeded(rng.stream("init")):
            model = MadeDensity(space, output, width=4 * self.width, layers=self.layers)
        return MaximumLikelihood(model.to(rng.device), player="ar", prepare=model.prepare)

    def _transformer(self, space: Space, rng: Rng) -> Generative:
        if space.levels is None:
            raise UserError(f"ar:net=transformer needs discrete samples. Got {space.label}.")
        if self.width % self.heads:
            raise UserError(
                f"ar:width must be a multiple of heads={self.heads}. Got {self.width}."
            )
        with seeded(rng.stream("init")):
            model = PixelTransformer(
                space,
                patch=_patch(space, self.patch),
                window=self.window,
                width=self.width,
                layers=self.layers,
                heads=self.heads,
            )
        return MaximumLikelihood(model.to(rng.device), player="ar")


def _patch(space: Space, wanted: int | None) -> int:
    """Returns the patch to use, having checked that it divides the sample.

    Raises:
        UserError: If it does not.
    """
    sides = space.shape[1:] if space.kind == "image" else (space.size,)
    if wanted is not None:
        if any(side % wanted for side in sides):
            raise UserError(f"ar:patch must divide the sides of {space.label}. Got {wanted}.")
        return wanted
    if space.kind != "image":
        return 1
    fits = [p for p in range(1, max(sides) + 1) if not any(side % p for side in sides)]
    return next((p for p in fits if _FEWEST <= math.prod(_grid(space, p)) <= _MOST), 1)


def _grid(space: Space, patch: int) -> tuple[int, int]:
    """Returns how many rows and columns of tokens a sample has."""
    if space.kind == "image":
        return space.shape[1] // patch, space.shape[2] // patch
    return 1, space.size // patch


def _raster(space: Space, patch: int) -> Tensor:
    """Returns the flat index of each level, shape ``(tokens, levels in a token)``, in order."""
    index = torch.arange(space.size)
    if space.kind != "image":
        return index.view(-1, patch)
    rows, columns = _grid(space, patch)
    patches = index.view(space.shape[0], rows, patch, columns, patch).permute(1, 3, 2, 4, 0)
    return patches.reshape(rows * columns, -1)


def _earlier(grid: tuple[int, int], window: int) -> Tensor:
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


def _ordinal(group: int, levels: int, width: int) -> Tensor:
    """Returns embeddings ``(group * levels, width)`` in which close levels start close."""
    line = torch.linspace(-1, 1, levels)[:, None] * torch.randn(group, 1, width)
    return (line + 0.02 * torch.randn(group, levels, width)).flatten(0, 1)


def _inside(group: int, width: int) -> Tensor:
    """Returns the mask of the hidden layer: features pass, and the levels before each level."""
    index = torch.arange(group)
    before = (index[:, None] > index).repeat_interleave(width, dim=0)
    return torch.cat([torch.ones(group * width, width, dtype=torch.bool), before], 1)
