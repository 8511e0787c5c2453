"""The n-gram model with Witten and Bell's smoothing: the cheap likelihood baseline of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Density, FitResult, Knob, LogProb, Model, Selective
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import TemperatureScaled
from gantlet.models.recurrent import check_sequences
from gantlet.stats.witten_bell import END, Counts, WittenBell, events, zeros_trail

# Rows that are sampled at once, and probabilities that are held at once.
_ROWS, _HELD = 4096, 2**22
_TEMPERATURES = (1.2, 0.8, 0.6, 0.4, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Ngram(Selective):
    """A baseline that predicts each token from the few before it, by counting.

    Exact probabilities, fitted in seconds: adversarial text models are to be compared with it.
    With long contexts it copies the training text; see how many samples are verbatim.

    Source: Witten and Bell, 1991, https://doi.org/10.1109/18.87000; in recursive form Chen and
    Goodman, 1999, https://doi.org/10.1006/csla.1999.0128, section 2.5.

    Attributes:
        order: Tokens of the longest n-gram; each token is predicted from one fewer.
        temperature: Probabilities of tokens are raised to its inverse: below 1 samples are better
            and vary less.
    """

    order: Annotated[int, Between(1, 32)] = 4
    temperature: Annotated[float, Between(0.01, 100)] = 1.0

    @override
    def check_space(self, space: Space) -> None:
        check_sequences(space, "ngram")

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model of ``train``, shape ``(n, length)``.

        The cost is one addition for each token and length of n-gram.

        Raises:
            UserError: If samples are no rows of tokens, or none is given.
        """
        del rng  # nothing is random
        check_sequences(space, "ngram")
        x = space.check(train, "train").long()
        if not len(x):
            raise UserError("ngram needs at least 1 training sample. Got 0.")
        zeros = x == END
        ends = space.kind == "tokens" and bool(zeros.any()) and zeros_trail(x)
        has_zero = space.kind != "tokens" or bool(zeros.any())
        found = WittenBell.fit(x, _levels(space), self.order, ends=ends, has_zero=has_zero)
        return FitResult(_Ngram(space, found, self.temperature), float(x.numel() * self.order))

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns a fitted model from its saved tensors."""
        ends, has_zero = state["zero"].tolist()
        grams = _grams(state, self.order, _levels(space))
        table = WittenBell(state["single"], grams, bool(ends), bool(has_zero))
        return _Ngram(space, table, self.temperature)


def _levels(space: Space) -> int:
    assert space.levels is not None, "check_sequences has refused continuous spaces"
    return space.levels


def _grams(state: Mapping[str, Tensor], order: int, levels: int) -> tuple[Counts, ...]:
    """Returns the counts of n-grams of 2 to ``order`` tokens from saved tensors."""
    contexts, found = levels + 1, list[Counts]()
    for k in range(2, order + 1):
        keys = state[f"keys{k}"]
        found.append(Counts(keys, state[f"counts{k}"], contexts, levels))
        contexts = len(keys)
    return tuple(found)


@final
class _Ngram(TemperatureScaled, Density):
    """A table of n-grams at a temperature.

    Args:
        space: The space of the samples.
        table: The counts.
        temperature: Probabilities of tokens are raised to its inverse.
    """

    def __init__(self, space: Space, table: WittenBell, temperature: float) -> None:
        super().__init__()
        self.space = space
        self.temperature = temperature
        self._orders = len(table.grams) + 1
        # Whether zero ends a row, and whether it can be there.
        self.register_buffer("zero", torch.tensor([table.ends, table.has_zero]))
        self._ends, self._has_zero = table.ends, table.has_zero
        self.register_buffer("single", table.single)
        for k, counts in enumerate(table.grams, 2):
            self.register_buffer(f"keys{k}", counts.keys)
            self.register_buffer(f"counts{k}", counts.counts)

    @property
    def table(self) -> WittenBell:
        """The counts, on the device of the model."""
        state = dict(self.named_buffers())
        grams = _grams(state, self._orders, _levels(self.space))
        return WittenBell(state["single"], grams, self._ends, self._has_zero)

    @property
    @override
    def sample_depth(self) -> int:
        return self.space.size

    @property
    @override
    def knob(self) -> Knob:
        return Knob("temperature", _TEMPERATURES, self.temperature)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        table, size = self.table, _ROWS
        if self.temperature != 1:
            size = max(min(_ROWS, _HELD // table.levels), 1)
        parts = [self._rows(table, min(size, n - i), rng) for i in range(0, n, size)]
        return torch.cat(parts) if parts else self._blank(0)

    def _blank(self, n: int) -> Tensor:
        """Returns ``n`` rows of zeros."""
        return torch.zeros(n, *self.space.shape, device=self.get_buffer("single").device)

    def _rows(self, table: WittenBell, n: int, rng: torch.Generator) -> Tensor:
        out = self._blank(n)
        nodes = table.start(n)
        ended = torch.zeros(n, dtype=torch.bool, device=out.device)
        for t in range(self.space.size):
            if self.temperature == 1:
                token = table.draw(nodes, n, rng=rng)
            else:
                p = self._heated(table.probabilities(nodes, n))
                token = torch.multinomial(p, 1, generator=rng)[:, 0]
            token = torch.where(ended, END, token)
            out[:, t] = token
            if self._ends:
                ended |= token == END
                if bool(ended.all()):
                    break
            nodes = table.advance(nodes, token)
        return out

    def _heated(self, p: Tensor) -> Tensor:
        # Relative to the likeliest token, so that nothing vanishes at a low temperature.
        logits = (p / p.amax(1, keepdim=True)).log() / self.temperature
        return logits.softmax(1)

    @override
    @torch.no_grad()
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        table, level = self.table, x.long()
        if self.temperature == 1:
            value = table.log_prob(level).sum(1)
        else:
            size = max(_HELD // table.levels, 1)
            value = torch.cat([self._slowly(table, part) for part in torch.split(level, size)])
        return LogProb(value.to(x.dtype), "exact", f"n-grams of {self._orders} tokens")

    def _slowly(self, table: WittenBell, x: Tensor) -> Tensor:
        """Returns log-probabilities of rows, which at a temperature need those of all tokens."""
        random, nodes = events(x, ends=self._ends), table.start(len(x))
        value = table.single.new_zeros(len(x))
        rows = torch.arange(len(x), device=x.device)
        for t in range(x.shape[1]):
            found = self._heated(table.probabilities(nodes, len(x)))[rows, x[:, t]].log()
            behind = torch.where(x[:, t] == END, 0.0, -torch.inf).to(found)
            value += torch.where(random[:, t], found, behind)
            nodes = table.advance(nodes, x[:, t])
        return value
