"""The regression gates on digits: three seeds, 2e11 training FLOPs each, the test split of 360.

    python benchmarks/gates.py

About ten minutes on two cores. Writes benchmarks/results/gates.json.
"""

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

import gantlet
from gantlet.core.budget import Budget
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.summary import contestants

RUN = Path("runs/gates")
RESULT = Path(__file__).parent / "results" / "gates.json"
PLAIN = "flow-gan:weight=0,loss=ns,penalty=none"
MODELS = (
    *("histogram", "gmm", "flow", "vae", "ar", "gan", "flow-gan"),
    *("flow-gan:weight=0", PLAIN),
)


class Gate(NamedTuple):
    """A bound that every seed must keep."""

    model: str
    score: str
    holds: Callable[[float, float], bool]
    bound: float


GATES = (
    Gate("histogram", names.LIKELIHOOD, operator.gt, 2.40),
    Gate("histogram", names.LIKELIHOOD, operator.lt, 2.44),
    Gate("flow", names.LIKELIHOOD, operator.lt, 2.35),
    Gate("vae", names.LIKELIHOOD, operator.lt, 2.15),
    Gate("flow-gan", names.LIKELIHOOD, operator.lt, 2.25),
    Gate("flow-gan:weight=0", names.LIKELIHOOD, operator.gt, 5.0),
    Gate("flow-gan:weight=0", "recall (pixels)", operator.lt, 0.2),
    Gate(PLAIN, names.LIKELIHOOD, operator.gt, 5.0),
    Gate(PLAIN, "recall (pixels)", operator.lt, 0.2),
)


def main() -> None:
    report = gantlet.compare(
        MODELS, data="digits", budget=Budget(flops=2e11), seeds=3, workers=2, out=RUN
    )
    outcomes = list(Run(RUN).outcomes())
    found = {c.label.replace(".0", ""): c for c in contestants(outcomes)}
    rows = []
    for model, score, holds, bound in GATES:
        values = [round(v, 4) for _, v in sorted(found[model].values(score).items())]
        kept = all(holds(v, bound) for v in values)
        sign = "<" if holds is operator.lt else ">"
        rows.append(
            {"model": model, "gate": f"{score} {sign} {bound}", "kept": kept, "seeds": values}
        )
        print("kept  " if kept else "BROKEN", model, score, sign, bound, values)
    mixture = next(v.claim for v in report.verdicts if "gmm in energy distance" in v.claim)
    print(mixture)
    told = {"torch": torch.__version__, "flops": 2e11, "gates": rows, "gan and mixture": mixture}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
