"""Sequence networks: levels in, a distribution of the next level out, sampled one after another.

They serve rows of tokens (text), which end with zeros, and walks on a graph, whose levels are
nodes. One network can be trained by likelihood, against a critic through relaxed samples, or by
reinforcement; see the families ``lm``, ``text-gan`` and ``scratch-gan``.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, one_hot
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import CachedModel, Density, LogProb
from gantlet.models.ar import MOST_LOGITS
from gantlet.models.causal import (
    SAMPLED_AT_ONCE,
    CausalTransformer,
    KeyValueCache,
    choose,
)
from gantlet.models.nets import TemperatureScaled
from gantlet.stats.witten_bell import END, zeros_trail

BARRIER = 30.0
"""Nats that a level costs which samples cannot hold, in the place of infinitely many: a rare
sample that holds it all the same then has a log-probability, and training goes on. In fp32 no
sample is drawn there."""

# ----------------------------------------------------------------------------
# Causal networks: what comes out at a place depends on what came in up to there.
# ----------------------------------------------------------------------------

CellName = Literal["gru", "lstm"]
NetworkName = Literal["gru", "lstm", "transformer"]

State: TypeAlias = tuple[tuple[Tensor, ...], ...]
"""The memory of a recurrent network: for each layer its tensors, shape ``(n, width)``."""


class Cell(nn.Module, abc.ABC):
    """One recurrent layer: its state moves on with each input.

    Args:
        inputs: Size of an input.
        width: Size of the output, and of each tensor of the state.
    """

    gates: int
    parts: int

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(inputs, self.gates * width)
        self.back = nn.Linear(width, self.gates * width)
        for layer in (self.input, self.back):
            nn.init.uniform_(layer.weight, -(width**-0.5), width**-0.5)
            nn.init.zeros_(layer.bias)

    @abc.abstractmethod
    def move(self, seen: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Returns the next state, whose first tensor is the output, shape ``(n, width)``.

        ``seen`` is what ``input`` makes of an input, shape ``(n, gates * width)``.
        """


@final
class GruCell(Cell):
    """A gated recurrent unit, with the reset gate after the product, as in torch and cuDNN.

    Source: Cho et al., 2014, https://arxiv.org/abs/1406.1078, section 2.3.
    """

    gates = 3
    parts = 1

    @override
    def move(self, seen: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        r, z, n = seen.chunk(3, 1)
        again_r, again_z, again_n = self.back(h).chunk(3, 1)
        new = torch.tanh(n + torch.sigmoid(r + again_r) * again_n)
        return (torch.lerp(new, h, torch.sigmoid(z + again_z)),)


@final
class LstmCell(Cell):
    """A long short-term memory whose forget gate starts open.

    Source: Gers, Schmidhuber and Cummins, 2000, https://doi.org/10.1162/089976600300015015; the
    bias of 1 is that of Jozefowicz et al., 2015, https://proceedings.mlr.press/v37/jozefowicz15.
    """

    gates = 4
    parts = 2

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
        nn.init.ones_(self.input.bias[width : 2 * width])

    @override
    def move(self, seen: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = (seen + self.back(h)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


_CELLS: Mapping[CellName, type[Cell]] = {"gru": GruCell, "lstm": LstmCell}


class Body(nn.Module, abc.ABC):
    """A causal network on sequences of vectors.

    Attributes:
        width: Size of the features that come out.
    """

    width: int

    @abc.abstractmethod
    def depth(self, length: int) -> int:
        """Returns how many evaluations in sequence ``forward`` takes."""

    @override
    @abc.abstractmethod
    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Returns the features of a whole sequence, shapes ``(n, length, ...)``."""

    @abc.abstractmethod
    def walker(self, n: int, length: int, state: State | None = None) -> "Walker":
        """Returns the network ready to see ``n`` sequences one place after another."""


class Walker(abc.ABC):
    """A causal network that sees sequences one place after another."""

    @abc.abstractmethod
    def step(self, x: Tensor) -> Tensor:
        """Returns the features of the next place, shape ``(n, width)``, and remembers it."""


@final
class Recurrent(Body):
    """Recurrent layers on top of one another.

    Args:
        cell: Their kind.
        inputs: Size of an input.
        width: Size of each layer.
        layers: How many.
    """

    def __init__(self, cell: CellName, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * (layers - 1)]
        self._cells = [_CELLS[cell](size, width) for size in sizes]
        self.layers = nn.ModuleList(self._cells)
        self.width = width

    @property
    def parts(self) -> int:
        """Tensors of the whole state."""
        return sum(cell.parts for cell in self._cells)

    def state(self, flat: Tensor) -> State:
        """Returns a state, cut from numbers of shape ``(n, parts * width)``."""
        parts = iter(torch.split(flat, self.width, 1))
        return tuple(tuple(next(parts) for _ in range(cell.parts)) for cell in self._cells)

    def rest(self, n: int) -> State:
        """Returns the state before anything was seen: zeros."""
        zeros = self._cells[0].back.weight.new_zeros(n, self.parts * self.width)
        return self.state(zeros)

    @override
    def depth(self, length: int) -> int:
        return length

    @override
    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        for cell, first in zip(self._cells, state or self.rest(len(x)), strict=True):
            own, found = first, list[Tensor]()
            # What inputs add does not depend on the state: one product for all places.
            for seen in cell.input(x).unbind(1):
                own = cell.move(seen, own)
                found.append(own[0])
            x = torch.stack(found, 1)
        return x

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Returns the features of one place, shape ``(n, width)``, and the next state."""
        moved: list[tuple[Tensor, ...]] = []
        for cell, own in zip(self._cells, state, strict=True):
            moved.append(cell.move(cell.input(x), own))
            x = moved[-1][0]
        return x, tuple(moved)

    @override
    def walker(self, n: int, length: int, state: State | None = None) -> Walker:
        return _RecurrentWalker(self, state or self.rest(n))


@final
class _RecurrentWalker(Walker):
    def __init__(self, body: Recurrent, state: State) -> None:
        self._body = body
        self._state = state

    @override
    def step(self, x: Tensor) -> Tensor:
        h, self._state = self._body.step(x, self._state)
        return h


@final
class Attentive(Body):
    """A causal transformer with learned positions.

    Its walker keeps keys and values, written in place: without gradients.

    Args:
        inputs: Size of an input.
        width: Size of a token.
        layers: How many blocks.
        heads: How many heads in each.
        length: Most places.
    """

    def __init__(self, inputs: int, width: int, layers: int, heads: int, length: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.net = CausalTransformer(width, layers, heads)
        self.width = width

    @override
    def depth(self, length: int) -> int:
        return 1

    @override
    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        h: Tensor = self.net(self.input(x) + self.position[: x.shape[1]])
        return h

    @override
    def walker(self, n: int, length: int, state: State | None = None) -> Walker:
        return _AttentiveWalker(self, self.net.cache(n, length))


@final
class _AttentiveWalker(Walker):
    def __init__(self, body: Attentive, cache: KeyValueCache) -> None:
        self._body = body
        self._cache = cache

    @override
    def step(self, x: Tensor) -> Tensor:
        body = self._body
        here = body.input(x) + body.position[self._cache.length]
        return body.net.step(here[:, None], self._cache)[:, 0]


# ----------------------------------------------------------------------------
# Networks of levels.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Relaxed:
    """Samples with a gradient: whole levels forwards, a relaxation of them backwards.

    Straight-through Gumbel-softmax: Jang, Gu and Poole, 2017, https://arxiv.org/abs/1611.01144,
    section 2.2; Maddison, Mnih and Teh, 2017, https://arxiv.org/abs/1611.00712.

    Attributes:
        levels: Exact samples of the network, whole numbers of shape ``(n, length)``.
        soft: Their relaxation, probabilities of shape ``(n, length, levels)``.
    """

    levels: Tensor
    soft: Tensor

    @property
    def one_hot(self) -> Tensor:
        """Indicators of the levels, shape ``(n, length, levels)``, with the relaxed gradient."""
        hard = one_hot(self.levels, self.soft.shape[-1]).to(self.soft.dtype)
        return hard + (self.soft - self.soft.detach())

    def through(self, table: Tensor) -> Tensor:
        """Returns the rows of ``table``, shape ``(levels, d)``, that the levels point to.

        What comes out, shape ``(n, length, d)``, and its gradients are those of
        ``one_hot @ table``, without the product of indicators.
        """
        return straight_through(self.levels, self.soft, table)


def straight_through(levels: Tensor, soft: Tensor, table: Tensor) -> Tensor:
    """Returns rows of ``table``; the gradient passes to ``soft`` as if it had chosen them."""
    return embedding(levels, table) + (soft - soft.detach()) @ table


@final
class SequenceNet(nn.Module):
    """Levels of a sequence, each predicted from those before it.

    ``log p(x) = sum_t log p(x_t | x_1, ..., x_{t-1}, z)``, with a latent ``z`` of the whole where
    there is one, from which the first state of a recurrent network is made.

    Tokens may end: where training samples hold zeros, and only zeros after them, a zero is the
    end, and what follows it is certain. Where they hold none, a zero is as good as impossible.

    Args:
        space: Rows of tokens, or walks.
        body: A causal network that takes vectors of size ``embed``.
        embed: Size of the vector of a level.
        latent: Dimension of ``z``, or 0; a recurrent ``body`` alone can have one.
    """

    ends: Tensor
    barrier: Tensor

    def __init__(self, space: Space, body: Body, *, embed: int, latent: int = 0) -> None:
        super().__init__()
        levels = space.levels or 1
        self.length, self.levels, self.latent = space.size, levels, latent
        self._may_end = space.kind == "tokens"
        self.body = body
        # The last row stands before the first level.
        self.embedding = nn.Parameter(torch.randn(levels + 1, embed))
        self.out = nn.Linear(body.width, levels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("ends", torch.zeros((), dtype=torch.bool))
        self.register_buffer("barrier", torch.zeros(levels))
        self._first = _first_state(body, latent) if latent else None

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:  # noqa: ARG002
        """Finds out from samples, shape ``(n, length)``, whether a zero is an end."""
        if not self._may_end:
            return
        self.ends.fill_(zeros_trail(batch))
        self.barrier[END] = 0.0 if bool((batch == END).any()) else -BARRIER

    # Scores of given sequences.

    def logits(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Returns the logits of each level given those before, shape ``(n, length, levels)``.

        ``x`` holds whole numbers of shape ``(n, length)``. What an end makes certain is not in it.
        """
        return self._logits(self._seen(x, z))

    def log_probs(
        self,
        x: Tensor,
        z: Tensor | None = None,
        *,
        temperature: float = 1.0,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Returns the log-probability of each level given those before, shape ``(n, length)``.

        Args:
            x: Whole numbers, shape ``(n, length)``.
            z: Latents, where the network has them.
            temperature: Divides the logits.
            beside: What is added to the input of each place, shape ``(n, length, embed)``.
        """
        h = self._seen(x, z, beside)
        parts = min(-(-x.numel() * self.levels // MOST_LOGITS), x.shape[1])
        if parts <= 1:
            found = self._score(h, x, temperature)
        else:
            scores = [
                checkpoint(
                    self._score, *pair, temperature, use_reentrant=False, preserve_rng_state=False
                )
                for pair in zip(h.chunk(parts, 1), x.chunk(parts, 1), strict=True)
            ]
            found = torch.cat(scores, 1)
        if not self._may_end:
            return found
        certain = torch.where(x == END, 0.0, -BARRIER).to(found.dtype)
        return torch.where(self.over(x), certain, found)

    def over(self, x: Tensor) -> Tensor:
        """Returns which places come after an end, booleans of shape ``(n, length)``."""
        ended = ((x == END) & self.ends & self._may_end).cumsum(1) > 0
        return torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)

    def _seen(self, x: Tensor, z: Tensor | None, beside: Tensor | None = None) -> Tensor:
        """Returns the features from which each level is predicted, ``(n, length, width)``."""
        begin = torch.full_like(x[:, :1], self.levels)
        before = embedding(torch.cat([begin, x[:, :-1]], 1), self.embedding)
        before = before if beside is None else before + beside
        found: Tensor = self.body(before, self._state(z))
        return found

    def _logits(self, h: Tensor) -> Tensor:
        return linear(h, self.out.weight, self.out.bias + self.barrier)

    def _score(self, h: Tensor, x: Tensor, temperature: float) -> Tensor:
        logits = self._logits(h) / temperature
        return logits.log_softmax(-1).gather(-1, x[..., None])[..., 0]

    # Samples.

    def latents(self, n: int, *, rng: torch.Generator) -> Tensor | None:
        """Returns standard normal latents, shape ``(n, latent)``, or None if there are none."""
        if not self.latent:
            return None
        z = torch.randn(n, self.latent, generator=rng, device=rng.device)
        return z.to(self.embedding.dtype)

    @torch.no_grad()
    def draw(
        self,
        u: Tensor,
        z: Tensor | None = None,
        *,
        temperature: float = 1.0,
        cached: bool = True,
        given: tuple[Tensor, Tensor] | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Returns the sequences that uniform numbers stand for, whole numbers ``(n, length)``.

        Args:
            u: Numbers in [0, 1), shape ``(n, length)``.
            z: Latents, where the network has them.
            temperature: Divides the logits.
            cached: Whether the state of what was seen is kept; without it everything is computed
                again at each place, with the same samples.
            given: Sequences, and which of their levels are kept, booleans, both ``(n, length)``.
            beside: What is added to the input of each place, shape ``(n, length, embed)``.
        """
        state = self._state(z)
        walk = self.body.walker(len(u), self.length, state) if cached else None
        x = torch.full((len(u), self.length + 1), self.levels, device=u.device)
        over = torch.zeros_like(x[:, 0], dtype=torch.bool)
        for t in range(self.length):
            seen = slice(0 if walk is None else t, t + 1)
            before = embedding(x[:, seen], self.embedding)
            before = before if beside is None else before + beside[:, seen]
            h = self.body(before, state)[:, -1] if walk is None else walk.step(before[:, 0])
            new = choose(self._logits(h) / temperature, u[:, t]).masked_fill(over, END)
            if given is not None:
                new = torch.where(given[1][:, t], given[0][:, t], new)
            over = over | ((new == END) & self.ends & self._may_end)
            x[:, t + 1] = new
        return x[:, 1:]

    def relaxed(
        self, n: int, *, tau: float, rng: torch.Generator, z: Tensor | None = None
    ) -> Relaxed:
        """Returns ``n`` samples with a gradient, for a recurrent body.

        Args:
            n: How many.
            tau: Temperature of the relaxation; the samples themselves do not depend on it.
            rng: Random generator.
            z: Latents, where the network has them.
        """
        like = self.embedding
        u = torch.rand(n, self.length, self.levels, generator=rng, device=like.device)
        # The largest number below 1 in fp32 is 1 - 2^-24: neither logarithm is infinite.
        noise = -(-(u.clamp(min=1e-30)).log()).clamp(min=1e-30).log().to(like.dtype)
        end = one_hot(torch.tensor(END), self.levels).to(like)
        walk = self.body.walker(n, self.length, self._state(z))
        seen = like[self.levels].expand(n, -1)
        over = torch.zeros(n, dtype=torch.bool, device=like.device)
        levels: list[Tensor] = []
        soft: list[Tensor] = []
        for t in range(self.length):
            scores = self._logits(walk.step(seen)) + noise[:, t]
            new = scores.detach().argmax(1).masked_fill(over, END)
            soft.append(torch.where(over[:, None], end, (scores / tau).softmax(1)))
            levels.append(new)
            over = over | ((new == END) & self.ends & self._may_end)
            seen = straight_through(new, soft[-1], like[: self.levels])
        return Relaxed(torch.stack(levels, 1), torch.stack(soft, 1))

    def _state(self, z: Tensor | None) -> State | None:
        if self._first is None or z is None:
            return None
        assert isinstance(self.body, Recurrent)
        return self.body.state(self._first(z))


def _first_state(body: Body, latent: int) -> nn.Module:
    """Returns a map of latents to first states, as in NetGAN (section 3.1)."""
    if not isinstance(body, Recurrent):
        raise TypeError("only a recurrent network starts from a latent")
    return nn.Sequential(
        nn.Linear(latent, body.width),
        nn.Tanh(),
        nn.Linear(body.width, body.parts * body.width),
        nn.Tanh(),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSizes:
    """Sizes of a sequence network.

    Attributes:
        net: Its kind.
        width: Units of each layer.
        embed: Size of the vector of a level.
        layers: Layers.
        heads: Attention heads of a transformer.
        latent: Dimension of a latent of the whole sequence, or 0.
    """

    net: NetworkName = "gru"
    width: int = 128
    embed: int = 32
    layers: int = 1
    heads: int = 4
    latent: int = 0

    def build(self, space: Space, *, family: str) -> SequenceNet:
        """Returns an untrained network; all draws are from torch's global state (``seeded``).

        Args:
            space: Rows of tokens, or walks.
            family: The family that asks, for messages.

        Raises:
            UserError: If samples are neither, or the width is no multiple of the heads.
        """
        check_sequences(space, family)
        if self.net != "transformer":
            body: Body = Recurrent(self.net, self.embed, self.width, self.layers)
        elif self.width % self.heads:
            raise UserError(
                f"{family}:width must be a multiple of heads={self.heads}. Got {self.width}."
            )
        else:
            body = Attentive(self.embed, self.width, self.layers, self.heads, space.size)
        return SequenceNet(space, body, embed=self.embed, latent=self.latent)


def check_sequences(space: Space, family: str) -> None:
    """Checks that samples are sequences of levels.

    Raises:
        UserError: If they are not.
    """
    if space.kind not in {"tokens", "walk"} or not space.levels or len(space.shape) != 1:
        raise UserError(
            f"{family} models rows of tokens and walks on a graph. Got {space.label}; give text "
            "(--data text:path=FILE) or a network."
        )


# ----------------------------------------------------------------------------
# Models.
# ----------------------------------------------------------------------------


class SequenceModel(CachedModel, TemperatureScaled):
    """A sequence network as a model; its knob is the temperature of sampling.

    Args:
        space: Rows of tokens, or walks.
        net: The network.
    """

    temperatures = (0.9, 0.8, 0.7, 0.55, 0.4)

    def __init__(self, space: Space, net: SequenceNet) -> None:
        super().__init__()
        self.space = space
        self.net = net

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation for each level."""
        return self.space.size

    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Finds out whether sequences end."""
        self.net.prepare(batch, rng=rng)

    @override
    @torch.no_grad()
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        net = self.net
        z = net.latents(n, rng=rng)
        u = torch.rand(n, net.length, generator=rng, device=rng.device)
        parts = torch.split(u, SAMPLED_AT_ONCE)
        latents = [None] * len(parts) if z is None else torch.split(z, SAMPLED_AT_ONCE)
        found = [
            net.draw(part, own, temperature=self.temperature, cached=cached)
            for part, own in zip(parts, latents, strict=True)
        ]
        return torch.cat(found).to(net.embedding.dtype)


@final
class LanguageModel(SequenceModel, Density):
    """A sequence network without a latent: its log-probability is exact, at any temperature."""

    @property
    @override
    def density_depth(self) -> int:
        """One evaluation for each level of a recurrent network, one of a transformer."""
        return self.net.body.depth(self.space.size)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        each = self.net.log_probs(x.long(), temperature=self.temperature)
        return LogProb(each.sum(1), "exact", "product of conditionals")


@final
class LatentSequenceModel(SequenceModel):
    """A sequence network with a latent of the whole; it has no tractable density."""
