"""Rows of tokens with exact truth: Markov chains, a grammar, a random LSTM."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn
from gantlet.stats.intervals import mean

_END = 0


class KnownTokens(ABC):
    """A distribution of token rows whose probabilities are known, and so is its entropy.

    Level 0 is no token but the end of a row, where rows end; tokens are the levels from 1 on.

    Attributes:
        length: Tokens of the longest row.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    __slots__ = ()

    length: int
    n: int
    held_out: int

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of tokens."""

    @property
    def space(self) -> Space:
        """Rows of ``length`` tokens, 0 from the end on."""
        return Space("tokens", (self.length,), self.vocabulary_size + 1)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(
            lambda n, stream: (self.draw(n, stream), None),
            n=self.n,
            held_out=self.held_out,
            rng=rng,
        )

    @abstractmethod
    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns independent rows, int64, shape ``(n, length)``."""

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-probability of rows, shape ``(n, length)``, in nats, shape ``(n,)``.

        It is minus infinity for rows that are never drawn.
        """
        return self.log_prob(x.long().cpu()).to(x)

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of rows, int64, as float64, shape ``(n,)``."""

    @abstractmethod
    def entropy(self) -> Estimate:
        """Returns the entropy of a row in nats: exact, or an estimate with its interval.

        No model has a lower cross-entropy on fresh rows.
        """

    @property
    def tokens(self) -> float:
        """Mean number of random tokens of a row: its end counts where the row is not full."""
        return float(self.length)


# ----------------------------------------------------------------------------
# Markov chains.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Markov(KnownTokens):
    """Rows of a stationary Markov chain whose transition probabilities are drawn once.

    Each token has probabilities of its successor that are a softmax of independent normal
    numbers. The entropy of a row is exact: that of the first token, and for each further one the
    mean of those of the transitions.

    Attributes:
        vocabulary: Number of tokens.
        length: Tokens of a row.
        spread: Standard deviation of the numbers before the softmax; 0 for equal probabilities.
        world: Seed of the transition probabilities.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    vocabulary: Annotated[int, Between(2)] = 20
    length: Annotated[int, Between(1)] = 16
    spread: Annotated[float, Between(0, 20)] = 2.0
    world: Annotated[int, Between(0)] = 0
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    @override
    def vocabulary_size(self) -> int:
        return self.vocabulary

    @property
    def transitions(self) -> Tensor:
        """Probability of each token after each, shape ``(vocabulary, vocabulary)``, float64."""
        z = torch.randn(
            self.vocabulary,
            self.vocabulary,
            generator=Rng(self.world).stream("markov"),
            dtype=torch.float64,
        )
        return (self.spread * z).softmax(1)

    @property
    def stationary(self) -> Tensor:
        """Probability of each token at any place, shape ``(vocabulary,)``, float64.

        By elimination without subtractions: exact to rounding, and the same in each process.

        Source: Grassmann, Taksar and Heyman, 1985, https://doi.org/10.1287/opre.33.5.1107.
        """
        p, share = self.transitions, torch.ones(self.vocabulary, dtype=torch.float64)
        for m in range(self.vocabulary - 1, 0, -1):
            p[:m, m] /= p[m, :m].sum()
            p[:m, :m] += p[:m, m, None] * p[m, None, :m]
        for m in range(1, self.vocabulary):
            share[m] = (share[:m] * p[:m, m]).sum()
        return share / share.sum()

    @override
    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        p = self.transitions
        token = torch.multinomial(self.stationary, n, replacement=True, generator=rng)
        rows = [token]
        for _ in range(self.length - 1):
            token = torch.multinomial(p[token], 1, generator=rng)[:, 0]
            rows.append(token)
        return torch.stack(rows, 1) + 1

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        token = (x - 1).clamp(min=0)
        value = self.stationary.log()[token[:, 0]]
        value = value + self.transitions.log()[token[:, :-1], token[:, 1:]].sum(1)
        return torch.where((x > 0).all(1), value, -torch.inf)

    @override
    def entropy(self) -> Estimate:
        first, p = self.stationary, self.transitions
        rate = (first * torch.special.entr(p).sum(1)).sum()
        whole = torch.special.entr(first).sum() + (self.length - 1) * rate
        return Estimate.exact(float(whole), unit="nats", method="exact, from the chain")


# ----------------------------------------------------------------------------
# A probabilistic grammar of nested expressions.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Pcfg(KnownTokens):
    """Sentences of a probabilistic context-free grammar: nested arithmetic expressions.

    ``E -> T | T operator E`` and ``T -> variable | ( E )``. Brackets must match over any distance,
    and a sentence has one derivation only, so that its probability is the product of its rules',
    over that of sentences with at most ``length`` tokens, to which the distribution is restricted.
    Variable ``k`` is taken with a probability in proportion to ``1 / k``, operators are equally
    likely. Tokens are the variables, then the operators, ``(`` and ``)``. Sentences are of
    different lengths, and short ones are drawn again and again.

    Attributes:
        length: Tokens of the longest sentence.
        variables: Number of variables.
        operators: Number of operators.
        nest: Probability that a term is an expression in brackets.
        join: Probability that an operator and a further term follow a term.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    length: Annotated[int, Between(1, 512)] = 24
    variables: Annotated[int, Between(1)] = 10
    operators: Annotated[int, Between(1)] = 4
    nest: Annotated[float, Between(0, 1, below=True)] = 0.3
    join: Annotated[float, Between(0, 1, below=True)] = 0.6
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    @override
    def vocabulary_size(self) -> int:
        return self.variables + self.operators + 2

    @property
    @override
    def tokens(self) -> float:
        return _grammar(self).tokens

    @override
    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        return _grammar(self).draw(n, rng)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return _grammar(self).log_prob(x)

    @override
    def entropy(self) -> Estimate:
        return Estimate.exact(
            _grammar(self).entropy, unit="nats", method="exact, from the rules of the grammar"
        )


_TERM, _AFTER = 0, 1


@final
class _Grammar:
    """The grammar as an automaton: a term is expected, or was read, inside some brackets.

    ``mass[t, d, phase]`` is the probability that a sentence ends in time after ``t`` tokens, with
    ``d`` open brackets; ``tokens_from`` and ``plogp`` are the sums of the probabilities of all
    ways to end, times the tokens still to come, and times their own logarithm.
    """

    def __init__(self, settings: Pcfg) -> None:
        self.settings = settings
        share = 1 / torch.arange(1, settings.variables + 1, dtype=torch.float64)
        self.variable = share / share.sum()
        longest = settings.length
        shape = (longest + 1, longest + 2, 2)
        self.mass, self._count, self._plogp = torch.zeros(3, *shape, dtype=torch.float64)
        for t in range(longest, -1, -1):
            self._fill(t)

    def _fill(self, t: int) -> None:
        s, longest = self.settings, self.settings.length
        if t < longest:
            spread = float(torch.special.entr(self.variable).sum())
            for d in range(longest + 1):
                self._add((t, d, _TERM), (t + 1, d, _AFTER), 1 - s.nest, spread)
                self._add((t, d, _TERM), (t + 1, d + 1, _TERM), s.nest, 0.0)
                self._add((t, d, _AFTER), (t + 1, d, _TERM), s.join, math.log(s.operators))
                if d:
                    self._add((t, d, _AFTER), (t + 1, d - 1, _AFTER), 1 - s.join, 0.0)
        # A sentence ends where no bracket is open; in a full row its end is not written.
        p = 1 - s.join
        self.mass[t, 0, _AFTER] += p
        self._count[t, 0, _AFTER] += p * (t < longest)
        self._plogp[t, 0, _AFTER] += p * math.log(p)

    def _add(
        self, here: tuple[int, int, int], there: tuple[int, int, int], p: float, spread: float
    ) -> None:
        """Adds a step of probability ``p``, to one of several tokens of this entropy."""
        if p == 0:
            return
        mass, plogp = float(self.mass[there]), float(self._plogp[there])
        self.mass[here] += p * mass
        self._count[here] += p * (mass + float(self._count[there]))
        self._plogp[here] += p * ((math.log(p) - spread) * mass + plogp)

    @property
    def _whole(self) -> float:
        return float(self.mass[0, 0, _TERM])

    @property
    def tokens(self) -> float:
        """Mean number of tokens, the end included where it is written."""
        return float(self._count[0, 0, _TERM]) / self._whole

    @cached_property
    def entropy(self) -> float:
        """Entropy of a sentence in nats."""
        return math.log(self._whole) - float(self._plogp[0, 0, _TERM]) / self._whole

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns sentences; each step has its probability given that the sentence fits."""
        s = self.settings
        x = torch.zeros(n, s.length, dtype=torch.int64)
        depth, phase = torch.zeros(2, n, dtype=torch.int64)
        ended = torch.zeros(n, dtype=torch.bool)
        for t in range(s.length):
            u = torch.rand(n, generator=rng, dtype=torch.float64) * self.mass[t, depth, phase]
            variable = 1 + torch.multinomial(self.variable, n, replacement=True, generator=rng)
            operator = torch.randint(s.operators, (n,), generator=rng) + s.variables + 1
            nests = u < s.nest * self.mass[t + 1, depth + 1, _TERM]
            joins = u < s.join * self.mass[t + 1, depth, _TERM]
            term = torch.where(nests, self._opening, variable)
            after = torch.where(joins, operator, torch.where(depth > 0, self._opening + 1, _END))
            token = torch.where(phase == _TERM, term, after).masked_fill(ended, _END)
            x[:, t] = token
            ended |= token == _END
            depth, phase = self._after(token, depth, phase)
        return x

    @property
    def _opening(self) -> int:
        return self.settings.variables + self.settings.operators + 1

    def _after(self, token: Tensor, depth: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after a token that fits."""
        opens, closes = token == self._opening, token == self._opening + 1
        depth = (depth + opens.long() - closes.long()).clamp(0, self.settings.length)
        is_operator = (token > self.settings.variables) & (token < self._opening)
        return depth, torch.where(token == _END, phase, (~(opens | is_operator)).long())

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of rows, minus infinity for what is no sentence."""
        depth, phase = torch.zeros(2, len(x), dtype=torch.int64)
        ended = torch.zeros(len(x), dtype=torch.bool)
        value = torch.zeros(len(x), dtype=torch.float64)
        for t in range(x.shape[1]):
            token = x[:, t]
            step = self._step(token, depth, phase)
            value += torch.where(ended, torch.where(token == _END, 0.0, -torch.inf), step)
            ended |= token == _END
            depth, phase = self._after(token, depth, phase)
        whole = (phase == _AFTER) & (depth == 0)
        value += math.log(1 - self.settings.join) * (~ended).double()
        return torch.where(whole, value - math.log(self._whole), -torch.inf)

    def _step(self, token: Tensor, depth: Tensor, phase: Tensor) -> Tensor:
        """Returns the log-probability of a token in a state, of the end too."""
        s = self.settings
        term, after = torch.zeros(2, s.variables + s.operators + 3, dtype=torch.float64)
        term[1 : s.variables + 1] = self.variable * (1 - s.nest)
        term[self._opening] = s.nest
        after[s.variables + 1 : self._opening] = s.join / s.operators
        ends = torch.where(depth > 0, token == self._opening + 1, token == _END)
        p = torch.where(phase == _TERM, term[token], after[token])
        return torch.where((phase == _AFTER) & ends, 1 - s.join, p).log()


@cache
def _grammar(settings: Pcfg) -> _Grammar:
    return _Grammar(settings)


# ----------------------------------------------------------------------------
# A random LSTM.
# ----------------------------------------------------------------------------

# Rows that are drawn at once, and rows by which the entropy is estimated.
_ROWS, _FOR_ENTROPY = 1024, 2048


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Oracle(KnownTokens):
    """Rows of an LSTM language model with random weights, as an oracle of known probabilities.

    All weights are independent standard normal numbers. Its entropy has no closed form: it is the
    mean over rows of the entropies of all their tokens given the ones before, with an interval.
    Oracles of other seeds and sizes have other entropies, so that a likelihood under one says
    nothing without its own entropy.

    Source: Yu et al., 2017, https://arxiv.org/abs/1609.05473, section 5.1.

    Differs from the paper: smaller, unless the settings say otherwise (``vocabulary=5000``,
    ``length=20``); weights of its own; an embedding of the start that is not that of a token.

    Attributes:
        vocabulary: Number of tokens.
        length: Tokens of a row.
        hidden: Width of the embedding and of the LSTM.
        world: Seed of the weights.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    vocabulary: Annotated[int, Between(2)] = 100
    length: Annotated[int, Between(1)] = 10
    hidden: Annotated[int, Between(1)] = 32
    world: Annotated[int, Between(0)] = 0
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    @override
    def vocabulary_size(self) -> int:
        return self.vocabulary

    @override
    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        net = _lstm(self.vocabulary, self.hidden, self.world)
        parts = [net.draw(min(_ROWS, n - i), self.length, rng)[0] for i in range(0, n, _ROWS)]
        return torch.cat(parts) if parts else torch.zeros(0, self.length, dtype=torch.int64)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        net = _lstm(self.vocabulary, self.hidden, self.world)
        parts = [net.log_prob(part) for part in torch.split(x, _ROWS)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    @override
    def entropy(self) -> Estimate:
        return _entropy(self.vocabulary, self.length, self.hidden, self.world)


@final
class RandomLstm:
    """A language model without training: an embedding, one LSTM, one linear map.

    Source: Hochreiter and Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with
        the forget gate of Gers et al., 2000, https://doi.org/10.1162/089976600300015015.

    Args:
        vocabulary: Number of tokens.
        hidden: Width of the embedding and of the state.
        rng: Draws the weights. Gates come in the order input, forget, output, cell.
    """

    def __init__(self, vocabulary: int, hidden: int, rng: torch.Generator) -> None:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng)

        self.hidden = hidden
        # Row 0 is the start.
        self.embedding = normal(vocabulary + 1, hidden)
        self.inputs, self.states = normal(hidden, 4 * hidden), normal(hidden, 4 * hidden)
        self.bias = normal(4 * hidden)
        self.out, self.out_bias = normal(hidden, vocabulary), normal(vocabulary)

    def _step(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns log-probabilities of the next token, ``(n, vocabulary)``, and the state."""
        gates = self.embedding[token] @ self.inputs + h @ self.states + self.bias
        take, keep, show, new = gates.chunk(4, 1)
        c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
        h = show.sigmoid() * c.tanh()
        return (h @ self.out + self.out_bias).log_softmax(1), h, c

    def draw(self, n: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns rows, and the sum of the entropies of their tokens, float64, ``(n,)``."""
        token = torch.zeros(n, dtype=torch.int64)
        h = c = torch.zeros(n, self.hidden)
        entropy, rows = torch.zeros(n, dtype=torch.float64), []
        for _ in range(length):
            log_p, h, c = self._step(token, h, c)
            p = log_p.exp()
            entropy -= (p * log_p).sum(1).double()
            token = 1 + torch.multinomial(p, 1, generator=rng)[:, 0]
            rows.append(token)
        return torch.stack(rows, 1), entropy

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of rows, float64, minus infinity for those with an end."""
        token = torch.zeros(len(x), dtype=torch.int64)
        h = c = torch.zeros(len(x), self.hidden)
        value = torch.zeros(len(x), dtype=torch.float64)
        for t in range(x.shape[1]):
            log_p, h, c = self._step(token, h, c)
            token = x[:, t]
            value += log_p.gather(1, (token - 1).clamp(min=0)[:, None])[:, 0].double()
        return torch.where((x > 0).all(1), value, -torch.inf)


@cache
def _lstm(vocabulary: int, hidden: int, world: int) -> RandomLstm:
    return RandomLstm(vocabulary, hidden, Rng(world).stream("oracle"))


@cache
def _entropy(vocabulary: int, length: int, hidden: int, world: int) -> Estimate:
    net, rng = _lstm(vocabulary, hidden, world), Rng(world).stream("entropy")
    parts = [net.draw(_ROWS, length, rng)[1] for _ in range(-(-_FOR_ENTROPY // _ROWS))]
    return mean(torch.cat(parts).tolist(), unit="nats", of="rows of the oracle")
