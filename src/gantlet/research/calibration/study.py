"""Do the intervals of the metrics attain nominal coverage?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

from gantlet import options
from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.spec import metrics
from gantlet.report.blocks import Report
from gantlet.research.calibration.false_verdicts import (
    judge_block,
    verdict_answer,
    verdict_question,
    verdict_trials,
)
from gantlet.research.calibration.report import answer
from gantlet.research.calibration.trial import (
    BLOCK,
    SCALES,
    CalibrationSize,
    CalibrationTrial,
    Size,
    simulate,
)
from gantlet.research.calibration.truth import SCENARIOS
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Nominal 95 % intervals of every metric against simulated truth.

    Draws real and fake features from known distributions again and again, measures, and counts
    the empirical coverage of the interval, which should be 93 to 97 %. Also shown:
    the bias in standard errors, and the width against what the spread of the values asks for.

    Attributes:
        size: small: all but the two slowest metrics, a few cells, 100 replicates; gate: eight
            metrics at n = 1000 and d = 64, 400 replicates; frechet: that one alone, 2,000
            replicates, to see its bias; near: energy, kid and frechet at n = 500 where the two are
            nearly equal, discrete, heavy-tailed, in groups, or images of MNIST (where its files
            are there), 200 replicates; wide: every metric, sample size and number of features,
            two pairs of distributions, 200 to 50 replicates, three CPU hours; full: all four
            pairs, 400 replicates, a day and more; verdicts: not the intervals but what ``gantlet
            evaluate`` says, on sets that are as good as real ones and on flawed ones, an hour.
        seeds: Replicates, or None for what the size says.
        metrics: Which metrics; empty for those of the size.
        ns: Sample sizes; empty for those of the size.
        ds: Numbers of features; empty for those of the size.
        scenarios: Pairs of distributions; empty for those of the size.
        threads: Threads of each trial.
        device: Where the metrics are computed.
    """

    size: Size = "small"
    seeds: options.Seeds | None = None
    metrics: tuple[str, ...] = ()
    ns: tuple[int, ...] = ()
    ds: tuple[int, ...] = ()
    scenarios: tuple[str, ...] = ()
    threads: options.Threads = 1
    device: str = "cpu"

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        if self.size == "verdicts":
            return verdict_question(self.seeds, self.threads, self.device)
        scale = self._scale
        return {
            "command": "study calibration",
            "size": self.size,
            "metrics": list(self._metrics),
            "n": list(scale.ns),
            "d": list(scale.ds),
            "scenarios": list(scale.scenarios),
            "replicates": self._replicates,
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each sample size, number of features, scenario and block of replicates.

        Raises:
            UserError: If a scenario is not known or a number is too small.
        """
        if self.size == "verdicts":
            return self._of_verdicts()
        scale = self._scale
        _check(scale)
        return [
            self._trial(n, d, scenario, block)
            for n, d, scenario in product(scale.ns, scale.ds, scale.scenarios)
            if scale.wants(scenario, d)
            for block in range(-(-scale.replicates_at(n) // BLOCK))
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Draws and measures the replicates of one trial."""
        if self.size == "verdicts":
            return judge_block(trial, watch)
        return simulate(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Counts how often the intervals cover the true value."""
        made = verdict_answer if self.size == "verdicts" else answer
        return made(self.question(), outcomes, run)

    def _of_verdicts(self) -> Sequence[Trial]:
        if self.metrics or self.ns or self.ds or self.scenarios:
            raise UserError("size=verdicts has sets of its own: give seeds alone.")
        if self.seeds is not None and self.seeds < 1:
            raise UserError(
                f"seeds, the runs of each world, must be at least 1. Got {self.seeds}."
            )
        return verdict_trials(self.seeds, self.threads, self.device)

    @property
    def _scale(self) -> CalibrationSize:
        scale = SCALES[self.size]
        return CalibrationSize(
            ns=self.ns or scale.ns,
            ds=self.ds or scale.ds,
            scenarios=self.scenarios or scale.scenarios,
            replicates=scale.replicates if self.seeds is None else self.seeds,
            metrics=self.metrics or scale.metrics or _all_but(scale.without),
            rarer=scale.rarer if self.seeds is None else {},
            only={} if self.ds or self.scenarios else scale.only,
        )

    @property
    def _replicates(self) -> int | dict[str, int]:
        """How often each cell is drawn: one number, or one for each sample size."""
        scale = self._scale
        each = {str(n): scale.replicates_at(n) for n in scale.ns}
        return each if len(set(each.values())) > 1 else scale.replicates_at(scale.ns[0])

    @property
    def _metrics(self) -> list[str]:
        return [metrics.resolve(m) for m in self._scale.metrics]

    def _trial(self, n: int, d: int, scenario: str, block: int) -> Trial:
        return CalibrationTrial(
            model=f"{scenario}:n={n},d={d}",
            metrics=tuple(self._metrics),
            scenario=scenario,
            n=n,
            d=d,
            replicates=min(BLOCK, self._scale.replicates_at(n) - block * BLOCK),
            threads=self.threads,
            device=self.device,
            seed=block,
        ).written()


def _all_but(without: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(m for m in metrics.names() if m not in without)


def _check(scale: CalibrationSize) -> None:
    for scenario in scale.scenarios:
        if scenario not in SCENARIOS:
            raise unknown("scenario", scenario, SCENARIOS)
    if min(*scale.ns, *scale.ds) < 1 or scale.replicates < 2:
        raise UserError("ns and ds must be at least 1, and seeds, the replicates, at least 2.")
