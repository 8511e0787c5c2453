"""Which distributions can which family model, and can that be predicted from the data alone?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Outcome, Trial
from gantlet.core.spec import families
from gantlet.report.blocks import Report
from gantlet.research.distributions.design import (
    FAMILIES,
    SCALES,
    DesignSize,
    Size,
    pairs,
    worlds,
)
from gantlet.research.distributions.protocols import (
    SIZES,
    ProtocolSize,
    protocol_trials,
    run_protocol,
)
from gantlet.research.distributions.protocols_report import protocol_answer
from gantlet.research.distributions.report import answer
from gantlet.research.distributions.trial import (
    ProfileTrial,
    TrainingTrial,
    Worlds,
    WorldTrial,
    run_trial,
    solver_of,
)
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class Distributions:
    """Question 2: what sorts of distributions can a family model?

    Trains each family on each of many worlds on equal compute, and judges it at three budgets: a
    designed experiment over modes, separation, connectivity, dimensions, curvature, edges, tails,
    noise and sample size, random processes that look like real data, and real sets that nothing is
    fitted on. The result is the table that ``gantlet forecast`` is fitted on.

    Attributes:
        size: small: 64 unions of manifolds, 30 processes and 17 real sets, an hour; full: 512 of
            the first, a hundred times the compute; real: the real sets alone, minutes;
            protocols: rings, grids, generators held at a Lipschitz constant, modes added one by
            one, flows with heavy tails, dots and pies, an hour of one core; coverage: its rings
            and grids trained ten times as long; published: stacked digits and triangles by
            convolutional GANs, hours of a GPU.
        seeds: Trainings of each family on each world, or None for what the size says.
        worlds: Points of the Sobol sequence, or None for what the size says.
        flops: Training FLOPs of each model, or None for what the size says.
        steps: Training steps of the GANs of protocols, or None for what the size says.
        families: Families, short names or written forms; empty for all six.
        threads: Threads of each trial.
        device: Where models are trained.
    """

    size: Size = "small"
    seeds: options.Seeds | None = None
    worlds: int | None = None
    flops: float | None = None
    steps: int | None = None
    families: tuple[str, ...] = ()
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> Worlds:
        """The worlds of this run, each loaded once."""
        return Worlds()

    def fresh(self) -> "Distributions":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        if self.size in SIZES:
            return self._protocol_question()
        scale = self._scale
        return {
            "command": "study distributions",
            "size": self.size,
            "worlds": [{"form": w.form, "block": w.block, "real": w.real} for w in worlds(scale)],
            "families": {n: families.resolve(FAMILIES.get(n, n)) for n in self._families},
            "flops": scale.flops,
            "batch": scale.batch,
            "seeds": scale.seeds,
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """Returns world by world its measurement and the training of each family.

        Raises:
            UserError: If a number is too small.
        """
        if self.size in SIZES:
            return protocol_trials(self._protocols, threads=self.threads, device=self.device)
        scale = self._scale
        if scale.seeds < 1 or scale.worlds < 0 or scale.flops <= 0:
            raise UserError("seeds and flops must be above 0, and worlds at least 0.")
        made: dict[str, Trial] = {}
        for seed, world, family in pairs(scale, self._families):
            measured = WorldTrial(data=world.form, threads=self.threads, device=self.device)
            trained = TrainingTrial(
                model=family,
                solver=solver_of(family),
                data=world.form,
                batch=scale.batch,
                threads=self.threads,
                device=self.device,
                budget=Budget(flops=scale.flops),
                seed=seed,
            )
            for trial in (measured.written(), trained.written()):
                made.setdefault(trial.key, trial)
        described = (
            ProfileTrial(data=w.form, threads=self.threads, device=self.device).written()
            for w in worlds(scale)
        )
        return [*made.values(), *described]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Measures a world, or trains a family on it and judges it."""
        run = run_protocol if self.size in SIZES else run_trial
        return run(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says which family suits which distribution."""
        made = protocol_answer if self.size in SIZES else answer
        return made(self.question(), outcomes, run)

    def _protocol_question(self) -> dict[str, object]:
        return {
            "command": "study distributions",
            "size": self.size,
            **asdict(self._protocols),
            "threads": self.threads,
            "device": self.device,
        }

    @property
    def _protocols(self) -> ProtocolSize:
        if self.worlds is not None or self.families:
            raise UserError(
                f"size={self.size} has worlds and families of its own: leave them out."
            )
        size = SIZES[self.size]
        return replace(
            size,
            seeds=size.seeds if self.seeds is None else self.seeds,
            flops=size.flops if self.flops is None else self.flops,
            steps=size.steps if self.steps is None else self.steps,
        )

    @property
    def _scale(self) -> DesignSize:
        if self.steps is not None:
            raise UserError("steps is an option of size=protocols, coverage and published alone.")
        scale = SCALES[self.size]
        return replace(
            scale,
            seeds=scale.seeds if self.seeds is None else self.seeds,
            worlds=scale.worlds if self.worlds is None else self.worlds,
            flops=scale.flops if self.flops is None else self.flops,
        )

    @property
    def _families(self) -> tuple[str, ...]:
        return self.families or tuple(FAMILIES)
