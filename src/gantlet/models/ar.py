"""Autoregressive models: MADE and transformers."""

import abc
import math
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear, pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import CachedModel, Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.flow import MaximumLikelihood
from gantlet.models.nets import Scaling, seeded

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
# Autoregressive models: every component is predicted from those before it.
# ----------------------------------------------------------------------------

# How many tokens an image should have: few enough to train on two cores.
_FEWEST, _MOST = 16, 256

MOST_LOGITS = 2**26
"""More logits than this are not kept for the gradient but computed twice: 256 MiB of float32."""

SAMPLED_AT_ONCE = 512
"""Samples are drawn in blocks, so that the cache does not grow with their number."""

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

    One player, ``ar``; its loss is ``-log p(x)`` in bits per dimension. Two networks:
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
        patch: Patch size of a token; default: the smallest that leaves at most 256 tokens for an
            image, 1 for other samples.
        window: Number of neighbouring patches (left, right, above) that a token attends to
            directly.
        width: Embedding size of a token; the hidden layers of MADE are four times as wide.
        layers: Transformer blocks, or hidden layers of MADE.
        heads: Attention heads.
        mixtures: Gaussian mixture components per dimension of a continuous sample.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
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
    """Returns the number of rows and columns of tokens of a sample."""
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
