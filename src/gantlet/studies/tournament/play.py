"""The matches: every critic scores the samples of every generator."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import everything
from gantlet.core.estimate import Estimate
from gantlet.core.game import Adversarial
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.metrics.energy import Energy
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.contest import threads
from gantlet.studies.sources import features_of, source_of
from gantlet.studies.tournament.entrants import Course, courses_of, snapshots_of

REALS = "held-out real data"
"""The player that is real data: test samples, which no critic has seen."""

SCALE = "validation data"
"""What critics are calibrated on: real samples that they have not learned from."""

JUDGES = " judges "
"""Stands between critic and player in the names of scores."""

_BLOCK = 500


@final
@dataclass(frozen=True, slots=True)
class Player:
    """A generator or a critic.

    Attributes:
        course: Of which training.
        step: After how many steps; None for a final model, or for data.
    """

    course: str
    step: int | None = None

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.course if self.step is None else f"{self.course} @{self.step}"

    @classmethod
    def named(cls, name: str) -> "Player":
        """Returns the player of a name."""
        course, at, step = name.rpartition(" @")
        return cls(course, int(step)) if at else cls(name)


def run_tournament(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Plays all matches: scores of critics are saved, energy distances are the outcome's."""
    with threads(int(trial.parts["threads"])), exactly():
        courses = courses_of(json.loads(trial.parts["runs"]))
        most = int(trial.parts["samples"])
        _, splits = source_of(trial)
        samples = {REALS: everything(splits.test, most)}
        for i, course in enumerate(courses):
            watch(0.4 * i / len(courses), f"{course.name} plays")
            samples |= _played(course, len(samples[REALS]), trial)
        judged = {SCALE: everything(splits.validation, most), **samples}
        scores: dict[str, Tensor] = {}
        for i, course in enumerate(courses):
            watch(0.4 + 0.4 * i / len(courses), f"{course.name} judges")
            scores |= _scores(course, judged)
        folder.save("scores", scores)
        watch(0.8, "measuring distances")
        return Outcome(trial=trial, scores=_distances(trial, samples))


def _played(course: Course, n: int, trial: Trial) -> dict[str, Tensor]:
    """Returns samples of each generator of a training, ``n`` at most."""
    if not course.snapshots:
        return {course.name: course.folder.load("samples")["samples"][:n]}
    rng = Rng(trial.seed)
    return {
        Player(course.name, s.step).name: s.sample(n, rng=rng.stream(f"{course.name} {s.step}"))
        for s in snapshots_of(course)
    }


@torch.no_grad()
def _scores(course: Course, judged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the scores that every critic of a training gives to every player."""
    return {
        f"{Player(course.name, s.step).name}{JUDGES}{player}": torch.cat(
            [s.game.critic(part) for part in torch.split(x, _BLOCK)]
        )
        for s in snapshots_of(course)
        if isinstance(s.game, Adversarial)
        for player, x in judged.items()
    }


def _distances(trial: Trial, samples: Mapping[str, Tensor]) -> dict[str, Estimate]:
    """Returns the energy distance of each generator from validation samples, on pixels."""
    _, splits = source_of(trial)
    seen = features_of(trial, "pixels")
    real = seen.extract(everything(splits.validation, int(trial.parts["samples"])))
    return {
        player: Energy().measure(real, seen.extract(x), rng=Rng(trial.seed).stream("distances"))
        for player, x in samples.items()
    }


def sorted_players(names: Sequence[str]) -> Iterator[Player]:
    """Yields players by training and step; real data last."""
    players = [Player.named(name) for name in dict.fromkeys(names)]
    yield from sorted(players, key=lambda p: (p.course == REALS, p.course, p.step or 0))
