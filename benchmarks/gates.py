"""The regression gates on digits: three seeds, 2e11 training FLOPs each, the test split of 360.

    python benchmarks/gates.py

About ten minutes on two cores. Writes benchmarks/results/gates.json.
"""

import json
import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

import gantlet
from gantlet.commands import standings
from gantlet.commands.compare.study import Compare
from gantlet.commands.standings import ModelResults, difference, model_results
from gantlet.core.estimate import Budget
from gantlet.report.format import text as shown
from gantlet.run.store import Run

RUN = Path("runs/gates")
RESULT = Path(__file__).parent / "results" / "gates.json"
PLAIN = "flow-gan:weight=0,loss=ns,penalty=none"
MODELS = (
    *("histogram", "gmm", "flow", "vae", "ar", "gan", "flow-gan"),
    "flow-gan:weight=0",
)


class Gate(NamedTuple):
    """A bound that every seed must keep."""

    model: str
    score: str
    holds: Callable[[float, float], bool]
    bound: float
    select: str = "best"


GATES = (
    Gate("histogram", standings.LIKELIHOOD, operator.gt, 2.40),
    Gate("histogram", standings.LIKELIHOOD, operator.lt, 2.44),
    Gate("flow", standings.LIKELIHOOD, operator.lt, 2.35),
    Gate("vae", standings.LIKELIHOOD, operator.lt, 2.15),
    Gate("flow-gan", standings.LIKELIHOOD, operator.lt, 2.25),
    Gate("flow-gan:weight=0", standings.LIKELIHOOD, operator.gt, 5.0),
    Gate("flow-gan:weight=0", "recall (pixels)", operator.lt, 0.2),
    Gate(PLAIN, standings.LIKELIHOOD, operator.gt, 5.0, "last"),
    Gate(PLAIN, "recall (pixels)", operator.lt, 0.2, "last"),
)


def main() -> None:
    study = Compare(models=MODELS, data="digits", budget=Budget(flops=2e11), seeds=3)
    last = replace(study, models=(PLAIN,), select="last")
    found = {"best": measured(study, RUN / "best"), "last": measured(last, RUN / "last")}
    rows = []
    for gate in GATES:
        values = [
            round(v, 4)
            for _, v in sorted(found[gate.select][gate.model].values(gate.score).items())
        ]
        kept = all(gate.holds(v, gate.bound) for v in values)
        sign = "<" if gate.holds is operator.lt else ">"
        what = f"{gate.score} {sign} {gate.bound}"
        rows.append(
            {
                "model": gate.model,
                "select": gate.select,
                "gate": what,
                "kept": kept,
                "seeds": values,
            }
        )
        print("kept  " if kept else "BROKEN", gate.model, what, values)
    gap = difference(found["best"]["gan"], found["best"]["gmm"], standings.QUALITY)
    mixture = f"energy distance, gan minus gmm, paired over seeds: {shown(gap)}"
    print(mixture)
    told = {"torch": torch.__version__, "flops": 2e11, "gates": rows, "gan and mixture": mixture}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(told, indent=2) + "\n")


def measured(study: Compare, folder: Path) -> dict[str, ModelResults]:
    """Runs a study, or what is missing of it, and returns its contestants by name."""
    gantlet.run_study(study, folder, workers=2)
    outcomes = [o for t in study.trials() if (o := Run(folder).outcome(t)) is not None]
    return {c.label.replace(".0", ""): c for c in model_results(outcomes)}


if __name__ == "__main__":
    main()
