"""Autoregressive models: MADE, transformers and causal convolutions."""

import abc
import math
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear, pad
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import CachedModel, Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.causal import (
    SAMPLED_AT_ONCE,
    CausalTransformer,
    MaskedLinear,
    choose,
    earlier_patches,
    patch_grid,
    raster,
)
from gantlet.models.flow import MaximumLikelihood, Prepare
from gantlet.models.nets import Scaling, likelihood_batch, seeded
from gantlet.models.pixel_conv import PixelConv

# ----------------------------------------------------------------------------
# How one component of a sample is distributed, given what a network says of it.
# ----------------------------------------------------------------------------


class Output(abc.ABC):
    """A distribution of one number, set by several parameters that a network puts out.

    Attributes:
        inputs: How many numbers describe a value to a network.
        parameters: How many numbers a network puts out for one distribution.
    """

    inputs: int
    parameters: int

    @abc.abstractmethod
    def describe(self, x: Tensor) -> Tensor:
        """Returns values of any shape as a network sees them, shape ``(*x.shape, inputs)``."""

    @abc.abstractmethod
    def start(self) -> Tensor:
        """Returns parameters to start training from, shape ``(parameters,)``."""

    @abc.abstractmethod
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Returns the log-probability of each value in nats, shape ``x.shape``.

        ``theta`` has shape ``(*x.shape, parameters)``.
        """

    @abc.abstractmethod
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns one value for each distribution, shape ``theta.shape[:-1]``."""


@final
class CategoricalOutput(Output):
    """Any distribution of the whole numbers ``0 .. levels - 1``.

    Args:
        levels: How many values there are.
    """

    def __init__(self, levels: int) -> None:
        self.inputs = self.parameters = levels

    @override
    def describe(self, x: Tensor) -> Tensor:
        return (x[..., None] == torch.arange(self.inputs, device=x.device)).to(x.dtype)

    @override
    def start(self) -> Tensor:
        return torch.zeros(self.parameters)

    @override
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta.log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]

    @override
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        u = torch.rand(theta.shape[:-1], generator=rng, device=rng.device)
        return choose(theta, u).to(theta.dtype)


@final
class GaussianMixture(Output):
    """A mixture of Gaussians of one real number.

    Source: Bishop, 1994, "Mixture density networks",
    https://publications.aston.ac.uk/id/eprint/373/, equations 22 to 26.

    Differs from the paper: a standard deviation cannot fall below ``exp(-7)``, so that the
    density of data that repeat exactly stays finite (the bound of PixelCNN++, Salimans et al.,
    2017, https://arxiv.org/abs/1701.05517).

    Args:
        components: Number of mixture components.
    """

    smallest = -7.0

    def __init__(self, components: int) -> None:
        self.components = components
        self.inputs, self.parameters = 1, 3 * components

    @override
    def describe(self, x: Tensor) -> Tensor:
        return x[..., None]

    @override
    def start(self) -> Tensor:
        # Side by side over two standard deviations: equal Gaussians would stay equal.
        k = self.components
        means = torch.linspace(-2, 2, k) if k > 1 else torch.zeros(1)
        return torch.cat([torch.zeros(k), means, torch.full((k,), math.log(2 / k))])

    @override
    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        logits, mean, log_std = self._split(theta)
        z = (x[..., None] - mean) * (-log_std).exp()
        each = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (logits.log_softmax(-1) + each).logsumexp(-1)

    @override
    def draw(self, theta: Tensor, *, rng: torch.Generator) -> Tensor:
        logits, mean, log_std = self._split(theta)
        shape = theta.shape[:-1]
        k = choose(logits, torch.rand(shape, generator=rng, device=rng.device))[..., None]
        noise = torch.randn(shape, generator=rng, device=rng.device)
        return (mean.gather(-1, k) + log_std.gather(-1, k).exp() * noise[..., None])[..., 0]

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, log_std = theta.chunk(3, dim=-1)
        return logits, mean, log_std.clamp(min=self.smallest)


@final
class Made(nn.Module):
    """A perceptron whose output ``i`` depends on the components before ``i`` alone.

    Each unit has a degree, the number of components it may see. A hidden unit sees units of its
    own degree or a lower one, output ``i`` those of a degree below ``i``; so no path leads from a
    component to its own output or an earlier one.

    Source: Germain et al., 2015, https://arxiv.org/abs/1502.03509, equations 12 and 13.

    Differs from the paper: degrees are spread evenly instead of drawn, one order of the
    components instead of several, no direct connections, SiLU instead of ReLU.

    Args:
        size: How many components a sample has.
        inputs: How many numbers describe one component.
        outputs: How many numbers come out for each component.
        width: Units in each hidden layer.
        layers: How many hidden layers.
    """

    def __init__(self, size: int, inputs: int, outputs: int, width: int, layers: int) -> None:
        super().__init__()
        seen = torch.arange(1, size + 1).repeat_interleave(inputs)
        hidden = 1 + torch.arange(width) * (size - 1) // width
        wanted = torch.arange(1, size + 1).repeat_interleave(outputs)
        modules: list[nn.Module] = []
        for _ in range(layers):
            modules += [MaskedLinear(hidden[:, None] >= seen), nn.SiLU()]
            seen = hidden
        self.hidden = nn.Sequential(*modules)
        self.out = MaskedLinear(wanted[:, None] > seen)
        self.size = size

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns numbers ``(n, size, outputs)`` for descriptions ``(n, size, inputs)``."""
        y: Tensor = self.out(self.hidden(x.flatten(1)))
        return y.view(len(x), self.size, -1)


# ----------------------------------------------------------------------------
# Autoregressive models: every component is predicted from those before it.
# ----------------------------------------------------------------------------

# How many tokens an image should have: few enough to train on two cores.
_FEWEST, _MOST = 16, 256

MOST_LOGITS = 2**26
"""More logits than this are not kept for the gradient but computed twice: 256 MiB of float32."""

NetName = Literal["auto", "transformer", "made", "conv"]

# More levels than this are described by a mixture of logistics and not by a number each.
_MOST_CATEGORIES = 32

# MADE puts out a number for each level, or three for each Gaussian, of each component.
_MOST_OUTPUTS = 2**16


@final
class PixelTransformer(CachedModel, Density):
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
        window: Number of neighbouring patches (left, right, above) that a token attends to
            directly.
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
        self.output = CategoricalOutput(space.levels or 1)
        order, near = raster(space, patch), earlier_patches(patch_grid(space, patch), window)
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
        """Returns the input of the transformer, shape ``(n, last - first, width)``.

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

    One player, ``ar``; its loss is ``-log p(x)`` in bits per dimension. Three networks:
    a pixel transformer for discrete samples, causal convolutions for images in colour, with a
    mixture of logistics around a linear prediction of each level, and MADE, for continuous
    vectors with a mixture of Gaussians for each component, for discrete ones with any
    distribution of the levels.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762 (transformer); Chen et al.,
    2020, https://proceedings.mlr.press/v119/chen20s.html (on pixels); van den Oord et al., 2016,
    https://arxiv.org/abs/1601.00759 (PixelCNN), with the output of Salimans et al., 2017,
    https://arxiv.org/abs/1701.05517; Germain, Gregor, Murray and
    Larochelle, 2015, https://arxiv.org/abs/1502.03509 (MADE); Uria, Murray and Larochelle, 2013,
    https://arxiv.org/abs/1306.0186 (mixture output).

    Differs from the papers: a token sees a window of earlier pixels directly, and not only the
    pixel before; large images are read in patches, with a masked network inside each; no dropout;
    convolutions predict what a linear prediction leaves, which is set by least squares.

    Attributes:
        net: ``transformer``, ``conv`` (causal convolutions) or ``made``; ``auto`` takes ``made``
            for continuous samples and for vectors, ``conv`` for images in colour of more than 32
            levels, else ``transformer``.
        patch: Patch size of a token; default: the smallest that leaves at most 256 tokens for an
            image, 1 for other samples.
        window: Number of neighbouring patches (left, right, above) that a token attends to
            directly.
        width: Embedding size of a token; the hidden layers of MADE are four times as wide, and
            convolutions have twice as many channels.
        layers: Transformer blocks, hidden layers of MADE, or pairs of convolutions.
        heads: Attention heads.
        mixtures: Gaussian mixture components per dimension of a continuous sample, or logistic
            ones of each level with convolutions.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    net: NetName = "auto"
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

    def batch_size(self, space: Space) -> int:
        """Returns the usual size of a batch of samples of ``space``."""
        return likelihood_batch(space)

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained model for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If the network cannot model such samples, or the patch does not fit, or
                there is a context.
        """
        refuse_context("ar", context_space)
        if space.kind == "graph":
            raise UserError(f"ar needs samples whose components have an order. Got {space.label}.")
        made = {
            "transformer": self._transformer,
            "made": self._made,
            "conv": self._convolutions,
        }
        return made[_net(space, self.net)](space, rng)

    def _made(self, space: Space, rng: Rng) -> Generative:
        output = (
            CategoricalOutput(space.levels) if space.levels else GaussianMixture(self.mixtures)
        )
        if space.size * output.parameters > _MOST_OUTPUTS:
            raise UserError(
                f"ar:net=made has an output for each level or mixture parameter of each "
                f"component, at most {_MOST_OUTPUTS} in all. {space.label} needs "
                f"{space.size * output.parameters}; "
                + ("use net=transformer." if space.levels else "use smaller samples.")
            )
        with seeded(rng.stream("init")):
            model = MadeDensity(space, output, width=4 * self.width, layers=self.layers)
        return self._game(model.to(rng.device), model.prepare)

    def _game(self, model: Density, prepare: Prepare | None = None) -> Generative:
        return MaximumLikelihood(model, player="ar", prepare=prepare)

    def _convolutions(self, space: Space, rng: Rng) -> Generative:
        if space.levels is None or space.kind != "image":
            raise UserError(f"ar:net=conv needs images of discrete levels. Got {space.label}.")
        with seeded(rng.stream("init")):
            model = PixelConv(
                space,
                patch=_patch(space, self.patch),
                window=self.window,
                width=self.width,
                layers=self.layers,
                mixtures=self.mixtures,
            )
        return self._game(model.to(rng.device), model.prepare)

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
        return self._game(model.to(rng.device))


def _net(space: Space, wanted: NetName) -> Literal["transformer", "made", "conv"]:
    """Returns the network to use.

    On CIFAR-10 in colour (JPEG of quality 75), 20 CPU s, one seed, validation: convolutions 3.43
    bits/dim on batches of 16, the transformer 6.81 on batches of 32. On MNIST, whose levels are
    nearly all the lowest or the highest, the transformer 1.25 on batches of 32, and an early form
    of the convolutions 1.51.
    """
    if wanted != "auto":
        return wanted
    if space.levels is None or space.kind == "vector":
        return "made"
    is_colour = space.kind == "image" and space.shape[0] > 1
    return "conv" if is_colour and space.levels > _MOST_CATEGORIES else "transformer"


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
    return next((p for p in fits if _FEWEST <= math.prod(patch_grid(space, p)) <= _MOST), 1)


def _ordinal(group: int, levels: int, width: int) -> Tensor:
    """Returns embeddings ``(group * levels, width)`` in which close levels start close."""
    line = torch.linspace(-1, 1, levels)[:, None] * torch.randn(group, 1, width)
    return (line + 0.02 * torch.randn(group, levels, width)).flatten(0, 1)


def _inside(group: int, width: int) -> Tensor:
    """Returns the mask of the hidden layer: features pass, and the levels before each level."""
    index = torch.arange(group)
    before = (index[:, None] > index).repeat_interleave(width, dim=0)
    return torch.cat([torch.ones(group * width, width, dtype=torch.bool), before], 1)
