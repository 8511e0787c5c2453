"""Skill ratings over a training: whether they rise, and go along with the energy distance.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/skill_rating.py
It is the example of docs/commands/tournament.md: three seeds of a small GAN on digits, eight
snapshots each, against three Gaussian mixtures. The same is played again with one snapshot of the
first training spoiled: by the weights of its first snapshot, and by noise on its weights. The
result goes to benchmarks/results/skill_rating.json.
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from gantlet.api import run_study
from gantlet.commands.compare.study import Compare
from gantlet.commands.tournament.play import REALS, Standings, from_tensors, standings
from gantlet.commands.tournament.study import Tournament
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.run.store import Run, TrialFolder
from gantlet.stats.ratings import spearman

RESULT = Path(__file__).parent / "results" / "skill_rating.json"
STEPS, SEEDS, SNAPSHOTS, SPOILED = 800, 3, 8, 6
EARLY, NOISES = "the weights of the first snapshot", ("0.05", "0.15", "0.5")


def train(folder: Path) -> None:
    study = Compare(
        models=("gan:width=64", "gmm"),
        data="digits",
        budget=Budget(steps=STEPS),
        batch=64,
        seeds=SEEDS,
        snapshots=SNAPSHOTS,
        metrics=("energy",),
        features=("pixels",),
    )
    run_study(study, folder)


def play(folder: Path) -> tuple[Standings, dict]:
    out = folder.parent / f"{folder.name} rated"
    run_study(Tournament(runs=(str(folder),)), out)
    (outcome,) = Run.open(out).outcomes()
    scores = Run.open(out).folder(outcome.trial).load("scores")
    table = standings(from_tensors(scores))
    return table, outcome.scores


def spoil(folder: Path, how: str) -> str:
    """Spoils the generator of one snapshot of the first GAN and returns the end of its name."""
    name = f"snapshot-{SPOILED:03d}"
    (place,) = [o for o in Run.open(folder).outcomes() if is_first(o.trial)]
    at = TrialFolder(Run.open(folder).folder(place.trial).path)
    saved, early, noise = at.load(name), at.load("snapshot-001"), Rng(0).stream("noise")
    for key, weight in saved.items():
        if key.startswith("model/net"):
            drawn = torch.randn(weight.shape, generator=noise)
            saved[key] = early[key] if how == EARLY else weight + float(how) * drawn
    at.save(name, saved)
    return f" #{place.trial.seed} @{int(saved['step'])}"


def is_first(trial) -> bool:
    return trial.parts["model"].startswith("gan") and trial.seed == 0


def number(estimate) -> dict:
    kept = ("value", "low", "high", "method")
    return {k: asdict(estimate)[k] for k in kept}


def course(table: Standings, distances: dict, name: str) -> dict:
    players = table.courses()[name]
    ratings = [table.rating(p).value for p in players]
    far = [distances[p.name].value for p in players]
    return {
        "training": name,
        "steps": [p.step for p in players],
        "ratings": [round(r, 1) for r in ratings],
        "energy distances": [round(e, 4) for e in far],
        "last over first": number(table.lead(players[-1], players[0])),
        "rho with energy distance": number(spearman(ratings, far)),
    }


def compared(folder: Path, how: str, table: Standings, distances: dict) -> dict:
    """Returns rating and energy distance of a snapshot before and after it was spoiled."""
    copy = folder.parent / f"spoiled {how}"
    shutil.copytree(folder, copy)
    name = spoil(copy, how)
    after, far = play(copy)
    (bad,) = [g for g in after.generators if g.course.startswith("gan") and g.name.endswith(name)]
    return {
        "player": bad.name,
        "how": how if how == EARLY else f"noise of deviation {how} on its weights",
        "rating before": number(table.rating(bad)),
        "rating after": number(after.rating(bad)),
        "energy distance before": round(distances[bad.name].value, 4),
        "energy distance after": round(far[bad.name].value, 4),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where) / "three"
        train(folder)
        table, distances = play(folder)
        everyone = [g for g in table.generators if g.course != REALS]
        rho = spearman(
            [table.rating(g).value for g in everyone], [distances[g.name].value for g in everyone]
        )
        spoiled = [compared(folder, how, table, distances) for how in (EARLY, *NOISES)]
        found = {
            "torch": torch.__version__,
            "trainings": [course(table, distances, c) for c in table.courses()],
            "rho over all generators": number(rho),
            "real data": number(
                table.rating(next(g for g in table.generators if g.course == REALS))
            ),
            "cycles": len(table.cycles),
            "spoiled snapshot": spoiled,
        }
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
