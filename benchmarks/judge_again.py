"""Adds responses that came later to a finished run of ``gantlet study distributions``.

    python benchmarks/judge_again.py runs/distributions-small

The samples that the run kept of every trained model are judged again; their energy distance must
be the recorded one. The cost of sampling is that of a model with fresh weights, which it does not
depend on. What a trial has already stays as it is; interrupted, it goes on where it stopped.
"""

import sys
from dataclasses import replace
from pathlib import Path

from gantlet.compute.machine import threads
from gantlet.core.estimate import Outcome
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.research.distributions.trial import (
    AT,
    SAMPLING,
    TrainingTrial,
    Worlds,
    sampling_time,
    trained_family,
)
from gantlet.run.store import Run

LATER = ("c2st_auc", "support_ratio")


def completed(run: Run, outcome: Outcome, worlds: Worlds) -> Outcome:
    """Returns the outcome with the later responses of its last model and its sampling time."""
    trial = TrainingTrial.of(outcome.trial)
    *earlier, last = outcome.details[AT]
    samples = run.folder(outcome.trial).load("samples")["samples"].flatten(1)
    found = worlds.target(trial.data).responses(samples)
    if abs(found["energy"] - last["energy"]) > 1e-5 * max(1.0, abs(last["energy"])):
        raise SystemExit(
            f"{trial.model} on {trial.data}: its samples are {found['energy']:g} from the data, "
            f"not {last['energy']:g} as recorded; the data are others now."
        )
    rng = Rng(trial.seed, trial.device)
    model = trained_family(trial.model).build(datasets.make(trial.data).space, rng=rng).model
    return replace(
        outcome,
        details={**outcome.details, AT: [*earlier, last | {k: found[k] for k in LATER}]},
        clock={**outcome.clock, SAMPLING: sampling_time(model, rng)},
    )


def main(path: str) -> None:
    """Completes the outcomes of a run, world by world."""
    run = Run.open(Path(path))
    worlds = Worlds()
    told = [
        o for o in run.outcomes() if o.error is None and "energy" in o.details.get(AT, [{}])[-1]
    ]
    left = [o for o in told if LATER[0] not in o.details[AT][-1]]
    with threads(1):
        for i, outcome in enumerate(sorted(left, key=lambda o: str(o.trial.parts["data"])), 1):
            run.record(completed(run, outcome, worlds))
            print(f"{i} of {len(left)}", end="\r", file=sys.stderr, flush=True)
    print(f"{len(left)} of {len(told)} trainings judged again.")


if __name__ == "__main__":
    main(*sys.argv[1:])
