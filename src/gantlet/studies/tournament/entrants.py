"""Who plays: the snapshots and final samples in run folders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from gantlet.core.components import families, label
from gantlet.core.errors import UserError
from gantlet.core.family import Fitted
from gantlet.core.game import Adversarial, Generative
from gantlet.core.rng import Rng
from gantlet.core.trial import REAL, Trial
from gantlet.store.run import Run, TrialFolder
from gantlet.studies.sources import draw, source_of

HOW = "train with --snapshots N, as in: gantlet train gan --snapshots 8"


@final
@dataclass(frozen=True, slots=True)
class Course:
    """One training: where its weights are.

    Attributes:
        name: What the report calls it.
        trial: What was trained.
        folder: Its folder.
        snapshots: The names of its snapshots, in order; empty where none were saved.
    """

    name: str
    trial: Trial
    folder: TrialFolder
    snapshots: tuple[str, ...]

    def game(self) -> Generative | None:
        """Returns the game, untrained, or None for a baseline that has none."""
        family = families.make(self.trial.parts["model"])
        if isinstance(family, Fitted):
            return None
        space, _ = source_of(self.trial)
        return family.build(space, rng=Rng(self.trial.seed))


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The players of a game at one step.

    Attributes:
        step: After how many steps.
        game: The game with its weights of then; shared, so that only the latest is valid.
        sampled: The weights that samples come from.
    """

    step: int
    game: Generative
    sampled: dict[str, Tensor]

    def sample(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns samples of the generator of then, after which no critic may be asked."""
        self.game.model.load_state_dict(self.sampled)
        return draw(self.game.model, n, rng=rng)


def courses_of(runs: Sequence[str]) -> list[Course]:
    """Returns every finished training in some run folders.

    Raises:
        UserError: If there is none, they are of different data, or no critic was saved.
    """
    if len(set(runs)) < len(runs):
        raise UserError("The same run was named twice.")
    found = [(Path(run), outcome) for run in runs for outcome in _trials(Path(run))]
    if not found:
        raise UserError("Name run folders of gantlet train or compare: these hold no model.")
    _check_data([trial for _, (trial, _) in found])
    several = len({path for path, _ in found}) > 1
    named = [(path.name + "/" if several else "", trial, f) for path, (trial, f) in found]
    courses = [
        Course(f"{prefix}{label(t.parts['model'])} #{t.seed}", t, f, snapshots_in(f))
        for prefix, t, f in sorted(named, key=lambda x: (x[0], x[1].parts["model"], x[1].seed))
    ]
    if not any(c.snapshots and isinstance(c.game(), Adversarial) for c in courses):
        raise UserError(f"No run holds snapshots of a critic to play against: {HOW}.")
    return courses


def _trials(path: Path) -> Iterator[tuple[Trial, TrialFolder]]:
    run = Run.open(path)
    for outcome in run.outcomes():
        trial = outcome.trial
        if outcome.error is None and trial.parts["model"] != REAL and "data" in trial.parts:
            yield trial, run.folder(trial)


def _check_data(trials: Sequence[Trial]) -> None:
    data = sorted({f"{t.parts['data']} (data seed {t.parts['data_seed']})" for t in trials})
    if len(data) > 1:
        raise UserError(f"Models can only meet on the same data. Got {' and '.join(data)}.")


def snapshots_in(folder: TrialFolder) -> tuple[str, ...]:
    """Returns the names of the snapshots of a trial, in order."""
    return tuple(sorted(file.stem for file in folder.path.glob("snapshot-*.safetensors")))


def snapshots_of(course: Course) -> Iterator[Snapshot]:
    """Yields the players at each snapshot; each takes the place of the one before.

    Raises:
        UserError: If weights are of another version.
    """
    game = course.game()
    if game is None:
        return
    for name in course.snapshots:
        saved = course.folder.load(name)
        try:
            for player, module in game.players.items():
                module.load_state_dict(_below(saved, f"players/{player}/"))
        except RuntimeError as error:
            raise UserError(
                f"{name} in {course.folder.path} does not fit {course.trial.parts['model']}: "
                "another version of Gantlet saved it. Use that version, or train again."
            ) from error
        yield Snapshot(int(saved["step"]), game, _below(saved, "model/"))


def _below(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
