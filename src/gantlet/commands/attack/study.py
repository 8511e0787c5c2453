"""Question 7: how fragile is a critic, and is its generator attacking it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

from gantlet import options
from gantlet.commands.attack.report import answer
from gantlet.commands.attack.trial import (
    AttackTrial,
    check_game,
    run_trial,
    snapshots_to_attack,
    stage_of,
)
from gantlet.commands.compare.trial import ComparisonTrial
from gantlet.commands.converge.course import SavedTraining, is_run, run_parts, usual_solver
from gantlet.commands.own_games import LIVE, content_of, written
from gantlet.commands.tournament.play import Contender, snapshots_in
from gantlet.commands.trained import find_trial
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Outcome, Trial
from gantlet.core.model import Adversarial, Game
from gantlet.core.spec import Spec, datasets, families, label, solvers
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData


@final
@dataclass(frozen=True, kw_only=True)
class Attack:
    """A critic under attack, at stages of its training.

    Attributes:
        game: ``RUN@MODEL#SEED``, or a game of the user's own in written form.
        data: The data set of a game of the user's own; runs have their own.
        samples: Fakes, and real samples, that are attacked.
        updates: Updates of the generator at each stage.
        critics: Fresh critics at each stage.
        stages: Most snapshots of a run.
        ablations: Whether the last stage is also updated in other ways.
        solver: What trains a game of the user's own; ``auto`` is what it says.
        batch: Its batch.
        seed: From which every random number follows.
        data_seed: Seed of the split of its data.
        threads: Threads; part of what decides the last digits.
        live: Games that were given as objects, by the hash of their content.
    """

    game: str
    data: str = ""
    samples: int = options.Attack.samples
    updates: int = options.Attack.updates
    critics: int = options.Attack.critics
    stages: int = options.Attack.stages
    ablations: bool = options.Attack.ablations
    solver: str = options.Attack.solver
    batch: options.BatchSize = options.Attack.batch
    seed: options.Seed = options.Attack.seed
    data_seed: options.Seed = options.Attack.data_seed
    threads: options.Threads = options.Attack.threads
    live: Mapping[str, Game] = field(default_factory=dict[str, Game], repr=False, compare=False)

    @classmethod
    def of(cls, asked: options.Attack, data: str | None = None) -> "Attack":
        """Returns the study that ``gantlet attack`` asks for.

        Args:
            asked: The options.
            data: The data set of a game of the user's own in written form, or None.
        """
        own = None if isinstance(asked.game, (str, Path)) else asked.game
        return cls(
            game=str(asked.game) if own is None else written(own),
            live={} if own is None else {content_of(own): own},
            data=data or "",
            samples=asked.samples,
            updates=asked.updates,
            critics=asked.critics,
            stages=asked.stages,
            ablations=asked.ablations,
            solver=asked.solver,
            batch=asked.batch,
            seed=asked.seed,
            data_seed=asked.data_seed,
            threads=asked.threads,
        )

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData(self.live)

    def fresh(self) -> "Attack":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        trials = self._trials()
        first = trials[0]
        run = {"run": self.game} if first.saved.path is not None else {}
        return {
            "command": "attack",
            "model": first.model,
            "solver": first.solver,
            "data": first.data,
            "data_seed": first.data_seed,
            "batch": first.batch,
            **run,
            "snapshots": [t.snapshot for t in trials if t.snapshot],
            "samples": self.samples,
            "updates": self.updates,
            "critics": self.critics,
            "ablations": self.ablations,
            "seed": self.seed,
            "threads": self.threads,
            "data fingerprint": self.loaded.fingerprint(first.data, first.data_seed),
        }

    def trials(self) -> Sequence[Trial]:
        """One for each stage.

        Raises:
            UserError: If what is asked does not fit together.
        """
        check_fields(self)
        found = self._trials()
        stage_of(found[-1], self.loaded)
        return [t.written() for t in found]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Attacks one stage."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says how fragile the critic is, and what its generator's updates are."""
        return answer(self.question(), outcomes, run)

    def _trials(self) -> list[AttackTrial]:
        if is_run(self.game):
            return self._of_run()
        name = Spec.parse(self.game).name
        if name not in {LIVE, "module"}:
            raise UserError(
                f"{self.game} is no run directory and no game of your own. Name a run of gantlet "
                "train gan --snapshots 8, or module:path=FILE.py:FUNCTION."
            )
        model = self.game if name == LIVE else families.resolve(self.game)
        auto = self.solver == "auto"
        return [
            AttackTrial(
                model=model,
                solver=usual_solver(model, self.loaded) if auto else solvers.resolve(self.solver),
                data=datasets.resolve(self.data),
                data_seed=self.data_seed,
                batch=self.batch,
                ablations=self.ablations,
                seed=self.seed,
                **self._sizes(),
            )
        ]

    def _sizes(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "updates": self.updates,
            "critics": self.critics,
            "threads": self.threads,
        }

    def _of_run(self) -> list[AttackTrial]:
        path, model, seed = run_parts(self.game)
        was, folder = find_trial(path, model or _only_critic(path), seed)
        trained = ComparisonTrial.of(was)
        game = Contender("", was, folder, ()).game()
        if not isinstance(game, Adversarial):
            raise UserError(_no_critic(path, label(was.model)))
        check_game(game, was.model)
        names = snapshots_to_attack(path, snapshots_in(folder), self.stages)
        return [
            AttackTrial(
                model=trained.model,
                solver=trained.training.solver,
                data=trained.data,
                data_seed=trained.data_seed,
                batch=trained.training.batch,
                saved=SavedTraining(path=path, model=model or label(was.model), seed=seed),
                snapshot=name,
                ablations=self.ablations and name == names[-1],
                seed=self.seed,
                **self._sizes(),
            )
            for name in names
        ]


def _critics(path: Path) -> list[str]:
    """Returns the labels of the models of a run that have a critic."""
    run = Run.open(path)
    trials = [o.trial for o in run.outcomes() if o.error is None and o.trial.model != REAL]
    return sorted(
        {
            label(t.model)
            for t in trials
            if t.data and isinstance(Contender("", t, None, ()).game(), Adversarial)
        }
    )


def _only_critic(path: Path) -> str | None:
    """Returns the one model of a run that has a critic, or None."""
    found = _critics(path)
    return found[0] if len(found) == 1 else None


def _no_critic(path: Path, name: str) -> str:
    having = _critics(path)
    if having:
        return f"{name} has no critic to attack. In {path}, these have one: {', '.join(having)}."
    return (
        f"{name} has no critic to attack, and no model of {path} has one. Train a GAN: gantlet "
        "train gan --snapshots 8"
    )
