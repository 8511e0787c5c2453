"""The matches: every critic scores the samples of every generator."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from gantlet.compute.machine import threads
from gantlet.core.dataset import everything
from gantlet.core.estimate import Estimate
from gantlet.core.game import Adversarial
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.metrics.energy import Energy
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.sources import features_of, source_of
from gantlet.studies.tournament.entrants import Course, courses_of, snapshots_of
from gantlet.studies.tournament.equilibrium import MIXTURE, best_mixture, pooled
from gantlet.studies.tournament.players import REALS, SCALE, Player, Scores, as_tensors

_BLOCK = 500


def run_tournament(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Plays all matches: scores of critics are saved, energy distances are the outcome's."""
    with threads(int(trial.parts["threads"])), exactly():
        courses = courses_of(json.loads(trial.parts["runs"]))
        most = int(trial.parts["samples"])
        _, splits = source_of(trial)
        reals = Player(REALS)
        samples = {reals: everything(splits.test, most)}
        for i, course in enumerate(courses):
            watch(0.4 * i / len(courses), f"{course.name} plays")
            samples |= _played(course, len(samples[reals]), trial)
        judged = {Player(SCALE): everything(splits.validation, most), **samples}
        scores: dict[tuple[Player, Player], Tensor] = {}
        for i, course in enumerate(courses):
            watch(0.4 + 0.4 * i / len(courses), f"{course.name} judges")
            scores |= _scores(course, judged)
        folder.save("scores", as_tensors(scores))
        watch(0.8, "measuring distances")
        mixed = pooled(samples, best_mixture(scores).generators)
        return Outcome(trial=trial, scores=_distances(trial, {**samples, Player(MIXTURE): mixed}))


def _played(course: Course, n: int, trial: Trial) -> dict[Player, Tensor]:
    """Returns samples of each generator of a training, ``n`` at most."""
    if not course.snapshots:
        return {Player(course.name): course.folder.load("samples")["samples"][:n]}
    rng = Rng(trial.seed)
    return {
        Player(course.name, s.step): s.sample(n, rng=rng.stream(f"{course.name} {s.step}"))
        for s in snapshots_of(course)
    }


@torch.no_grad()
def _scores(course: Course, judged: Mapping[Player, Tensor]) -> Scores:
    """Returns the scores that every critic of a training gives to every player."""
    return {
        (Player(course.name, s.step), player): torch.cat(
            [s.game.critic(part) for part in torch.split(x, _BLOCK)]
        )
        for s in snapshots_of(course)
        if isinstance(s.game, Adversarial)
        for player, x in judged.items()
    }


def _distances(trial: Trial, samples: Mapping[Player, Tensor]) -> dict[str, Estimate]:
    """Returns the energy distance of each generator from validation samples, on pixels."""
    _, splits = source_of(trial)
    seen = features_of(trial, "pixels")
    real = seen.extract(everything(splits.validation, int(trial.parts["samples"])))
    return {
        player.name: Energy().measure(
            real, seen.extract(x), rng=Rng(trial.seed).stream("distances")
        )
        for player, x in samples.items()
    }
