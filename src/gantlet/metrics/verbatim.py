"""Memorization of text: copies of whole training lines, and of parts of them."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Sees, p_greater_rate, p_smaller_values
from gantlet.metrics.checks import equal_rows, too_few
from gantlet.metrics.token_rows import TokenRows, token_rows
from gantlet.stats.intervals import mean, proportion


def _why_not(rows: TokenRows) -> str | None:
    real, fake, train = rows.sets
    if not len(train):
        return "needs at least 1 training sample, got 0"
    return too_few(real, fake, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Verbatim:
    """The share of fake samples that are, token by token, samples of the training set.

    Short texts repeat by themselves, so the share of held-out real samples that are in the
    training set stands beside it, with a one-sided exact test (Fisher) of whether fakes are copies
    more often.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges rows of tokens, shape ``(n, length)``; the interval is over new fakes.

        Raises:
            UserError: If they are not rows of tokens.
        """
        del rng  # nothing is random
        rows = token_rows("verbatim", real=real, fake=fake, train=train)
        if reason := _why_not(rows):
            return Estimate.missing(reason, better=self.better)
        of_real, of_fake, of_train = equal_rows(*rows.sets)
        counts = [int(torch.isin(x, of_train).sum()) for x in (of_fake, of_real)]
        p = p_greater_rate(counts[0], len(fake), counts[1], len(real))
        share = counts[1] / len(real)
        words = (
            f"fakes are in the training set; of held-out real samples {share:.4f}; "
            f"p = {p:.2g} that fakes are not more often (Fisher)"
        )
        found = proportion(counts[0], len(fake), of=words, better=self.better)
        return found.beside(p=p, real=share)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class LongestCopy:
    """The mean length of the longest run of tokens that a fake shares with a training sample.

    The same of held-out real samples stands beside it, with a one-sided rank test (Mann and
    Whitney) of whether runs of fakes are longer.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "tokens"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges rows of tokens, shape ``(n, length)``; the interval is over new fakes.

        Raises:
            UserError: If they are not rows of tokens.
        """
        del rng  # nothing is random
        rows = token_rows("longest-copy", real=real, fake=fake, train=train)
        if reason := _why_not(rows):
            return Estimate.missing(reason, unit=self.unit, better=self.better)
        runs = longest_runs(torch.cat(rows.sets[:2]), rows.sets[2], rows.levels).double()
        of_real, of_fake = runs[: len(real)], runs[len(real) :]
        p = p_smaller_values(of_real, of_fake)
        found = mean(of_fake.tolist(), unit=self.unit, better=self.better, of="fakes")
        method = (
            f"{found.method}; longest {int(of_fake.max())}; held-out real samples have "
            f"{float(of_real.mean()):.2f}; p = {p:.2g} that fakes do not copy longer runs "
            "(Mann-Whitney)"
        )
        return replace(found, method=method).beside(p=p, real=float(of_real.mean()))


def longest_runs(x: Tensor, train: Tensor, levels: int) -> Tensor:
    """Returns the length of the longest run of tokens of each row that is in a training row.

    Runs of one token are looked up first, then those of two that both sides have, and so on, until
    none is left.

    Args:
        x: The rows, int64, shape ``(n, length)``, 0 behind the end.
        train: The training rows, shape ``(t, length)``.
        levels: Number of tokens.

    Example:
        >>> train = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
        >>> longest_runs(torch.tensor([[9, 2, 3, 5], [5, 6, 0, 0]]), train, 10)
        tensor([2, 2])
    """
    found = x.new_zeros(len(x))
    runs, known = _Runs.of(x), _Runs.of(train)
    for k in range(1, x.shape[1] + 1):
        runs, known = runs.longer(k, levels), known.longer(k, levels)
        kinds, number = torch.unique(runs.number, return_inverse=True)
        place = torch.searchsorted(kinds, known.number).clamp(max=max(len(kinds) - 1, 0))
        if not len(kinds) or not len(known.number):
            break
        shared = kinds[place] == known.number
        known = known.kept(shared, place)
        is_shared = torch.zeros(len(kinds), dtype=torch.bool, device=x.device)
        is_shared[known.number] = True
        runs = runs.kept(is_shared[number], number)
        found[runs.place // x.shape[1]] = k
    return found


@final
@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of tokens: where each starts in the flattened rows, and a number that is its own."""

    rows: Tensor
    place: Tensor
    number: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "_Runs":
        place = torch.arange(x.numel(), device=x.device)
        return cls(x, place, torch.zeros_like(place))

    def longer(self, k: int, levels: int) -> "_Runs":
        """Returns the runs that have a ``k``-th token, with it."""
        flat, length = self.rows.flatten(), self.rows.shape[1]
        fits = self.place % length + k <= length
        place, number = self.place[fits], self.number[fits]
        token = flat[place + k - 1]
        there = token != 0
        return _Runs(self.rows, place[there], (number * levels + token)[there])

    def kept(self, which: Tensor, number: Tensor) -> "_Runs":
        """Returns some of them under new numbers."""
        return _Runs(self.rows, self.place[which], number[which])
