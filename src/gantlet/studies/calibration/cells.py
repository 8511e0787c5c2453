"""What the replicates of one metric on one pair of distributions say of its interval."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from gantlet.core.components import metrics
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import percentage, t_quantile
from gantlet.core.trial import Outcome
from gantlet.store.run import Run
from gantlet.studies.calibration.estimand import Estimand, estimand
from gantlet.studies.calibration.replicate import COLUMNS, MISSING

LOWEST, HIGHEST = 93.0, 97.0
"""How often, in %, an interval of 95 % should hold the truth."""


@final
class Judgement(StrEnum):
    """How well intervals hold the truth; the value is what reports call it."""

    COVERS = "covers"
    NEAR = "near"
    TOO_WIDE = "too wide"
    TOO_NARROW = "too narrow"
    NO_INTERVAL = "no interval"


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """The replicates of one metric at one sample size on one pair of distributions.

    Attributes:
        metric: The metric as people write it.
        scenario: Which pair of distributions.
        n: Samples of either kind.
        d: Features of a sample.
        estimand: What is taken as the truth.
        value: What each replicate gave, NaN where nothing.
        low: Lower ends of the intervals, NaN where there was none.
        high: Upper ends of the intervals, NaN where there was none.
        truth: The truth of each replicate.
        why: Why intervals are missing, or nothing where none is.
    """

    metric: str
    scenario: str
    n: int
    d: int
    estimand: Estimand
    value: Tensor
    low: Tensor
    high: Tensor
    truth: Tensor
    why: str = ""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"{self.scenario}, n = {self.n:,}, d = {self.d}"

    @cached_property
    def held(self) -> Estimate:
        """How often the interval held the truth, in %, with the exact binomial interval."""
        known = ~self.low.isnan()
        inside = (self.low <= self.truth) & (self.truth <= self.high)
        return percentage(
            int(inside[known].sum()),
            int(known.sum()),
            of="replicates",
            why=self.why or "no interval",
        )

    @property
    def judgement(self) -> Judgement:
        """Whether that is 93 to 97 %; near where chance alone could explain that it is not."""
        return judged(self.held)

    @property
    def bias(self) -> float | None:
        """The mean error in standard errors of that mean, or None where the truth is the mean."""
        error = self._error
        if self.estimand == "mean" or len(error) < 2:
            return None
        spread = float(error.std())
        return float(error.mean()) * math.sqrt(len(error)) / spread if spread > 0 else None

    @property
    def width(self) -> float | None:
        """The mean width of the intervals over that which the spread of the values asks for."""
        widths, error = self.high - self.low, self._error
        widths = widths[~widths.isnan()]
        if len(widths) == 0 or len(error) < 2 or float(error.std()) == 0:
            return None
        return float(widths.mean()) / (2 * t_quantile(0.975, 1e9) * float(error.std()))

    @property
    def _error(self) -> Tensor:
        error = self.value - self.truth
        return error[~error.isnan()]


def judged(e: Estimate) -> Judgement:
    """Returns what to make of how often an interval held the truth, in %."""
    if e.value is None or e.low is None or e.high is None:
        return Judgement.NO_INTERVAL
    if LOWEST <= e.value <= HIGHEST:
        return Judgement.COVERS
    if e.low > HIGHEST:
        return Judgement.TOO_WIDE
    return Judgement.TOO_NARROW if e.high < LOWEST else Judgement.NEAR


def pooled(group: Sequence[Cell]) -> Estimate:
    """Returns how often the intervals of all cells together held the truth, in %."""
    known = [c.held for c in group if c.held.value is not None]
    held = sum(round((e.value or 0.0) * e.n / 100) for e in known)
    total = sum(e.n for e in known)
    return percentage(held, total, of="replicates", why="no interval in any cell")


def cells(outcomes: Sequence[Outcome], run: Run) -> Iterator[Cell]:
    """Yields a cell for each metric, sample size, number of features and scenario."""
    groups: dict[str, list[Outcome]] = {}
    for o in outcomes:
        if o.error is None:
            groups.setdefault(o.trial.parts["model"], []).append(o)
    for group in groups.values():
        blocks = [run.folder(o.trial).load("replicates") for o in group]
        missing = {m: why for o in reversed(group) for m, why in _missing(o).items()}
        for metric in json.loads(group[0].trial.parts["metrics"]):
            columns = {c: torch.cat([b[f"{metric}/{c}"] for b in blocks]) for c in COLUMNS}
            yield _cell(metric, group[0].trial.parts, columns, missing.get(metric, ""))


def _missing(outcome: Outcome) -> Mapping[str, str]:
    """Returns why intervals are missing, by metric; trials of before say so in their notes."""
    notes = (note.text.split("/", 1) for note in outcome.notes)
    found: Mapping[str, str] = outcome.details.get(MISSING, dict(notes))
    return found


def _cell(metric: str, parts: Mapping[str, str], columns: dict[str, Tensor], why: str) -> Cell:
    what = estimand(metric)
    if what == "mean":
        columns["truth"] = torch.full_like(columns["value"], float(columns["value"].nanmean()))
    return Cell(
        metric=metrics.short(metric),
        scenario=parts["scenario"],
        n=int(parts["n"]),
        d=int(parts["d"]),
        estimand=what,
        why=why,
        **columns,
    )
