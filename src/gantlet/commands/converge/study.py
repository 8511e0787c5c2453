"""Question 4: is a training converging, and if not, what would help?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.compare.trial import ComparisonTrial
from gantlet.commands.converge.course import (
    ConvergeTrial,
    SavedTraining,
    blank,
    is_run,
    is_toy,
    resolved,
    run_parts,
    usual_solver,
)
from gantlet.commands.converge.report import answer
from gantlet.commands.converge.trial import run_trial
from gantlet.commands.trained import RunData, find_trial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Outcome, Trial
from gantlet.core.spec import datasets, solvers
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder

_TOY_STEPS = 1000


@final
@dataclass(frozen=True, kw_only=True)
class Converge:
    """One training, diagnosed.

    Attributes:
        model: A family or toy game in written form, or ``RUN@MODEL#SEED``: a finished training
            with snapshots.
        data: The data set; toy games and runs have their own.
        budget: What training may spend; toy games know steps only.
        seed: From which every random number follows.
        solver: How the players move; ``auto`` is what suits the family.
        batch: Samples in a batch.
        retry: Whether to train again with what is recommended, at most three changes.
        data_seed: Seed of the train/validation/test split.
        threads: Threads; part of what decides the last digits.
        device: Where to train.
    """

    model: str
    data: str = options.Converge.data
    budget: Budget
    seed: options.Seed = options.Converge.seed
    solver: str = options.Converge.solver
    batch: options.Batch = options.Converge.batch
    retry: bool = options.Converge.apply_advice
    data_seed: options.Seed = options.Converge.data_seed
    threads: options.Threads = options.Converge.threads
    device: str = options.Converge.device

    @classmethod
    def of(cls, asked: options.Converge) -> "Converge":
        """Returns the study that ``gantlet converge`` asks for."""
        return cls(
            model=asked.model,
            data=asked.data,
            budget=asked.budget or options.DEFAULT_BUDGET,
            seed=asked.seed,
            solver=asked.solver,
            batch=asked.batch,
            retry=asked.apply_advice,
            data_seed=asked.data_seed,
            threads=asked.threads,
            device=asked.device,
        )

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "Converge":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        trial = self._trial()
        budget = {k: v for k, v in asdict(trial.budget).items() if v is not None}
        parts = {k: v for k, v in trial.written().parts.items() if k != "run"}
        run = {"run": self.model} if trial.saved.path else {}
        found: dict[str, object] = {"command": "converge", **parts, **run}
        found |= {"budget": budget, "seed": trial.seed}
        if trial.data == "none":
            return found
        mark = self.loaded.fingerprint(trial.data, trial.data_seed)
        return {**found, "data fingerprint": mark}

    def trials(self) -> Sequence[Trial]:
        """One.

        Raises:
            UserError: If what is asked does not fit together.
        """
        check_fields(self)
        trial = self._trial()
        solvers.make(trial.solver).start(blank(trial, self.loaded))
        return [trial.written()]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains, measures and advises."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the training does and what would help."""
        return answer(self.question(), outcomes, run)

    def _trial(self) -> ConvergeTrial:
        if is_run(self.model):
            return self._of_run()
        toy = is_toy(self.model)
        model = resolved(self.model)
        chosen = self.solver
        return ConvergeTrial(
            model=model,
            solver=usual_solver(model) if chosen == "auto" else solvers.resolve(chosen),
            data="none" if toy else datasets.resolve(self.data),
            data_seed=self.data_seed,
            batch=1 if toy else self.batch,
            retry=self.retry,
            threads=self.threads,
            device=self.device,
            budget=Budget(steps=self._toy_steps()) if toy else self.budget,
            seed=self.seed,
        )

    def _toy_steps(self) -> int:
        if self.budget.steps is not None:
            return self.budget.steps
        # A toy has no data and costs nothing that would be worth counting.
        return _TOY_STEPS

    def _of_run(self) -> ConvergeTrial:
        path, model, seed = run_parts(self.model)
        was, folder = find_trial(path, model, seed)
        if not any(folder.path.glob("snapshot-*.safetensors")):
            raise UserError(
                f"{self.model} has no snapshots to look at. Train with --snapshots 8 first."
            )
        trained = ComparisonTrial.of(was)
        return ConvergeTrial(
            model=trained.model,
            solver=trained.training.solver,
            data=trained.data,
            data_seed=trained.data_seed,
            batch=trained.training.batch,
            saved=SavedTraining(path=path, model=model, seed=seed),
            retry=self.retry,
            threads=self.threads,
            device=self.device,
            budget=was.budget,
            seed=was.seed,
        )
