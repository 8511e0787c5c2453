"""How many steps each family needed on published data, from the committed results.

Run from the repository, after both runs:
python benchmarks/experience.py runs/tradeoffs-small/report.json runs/mnist/report.json
Takes from the two reports what the table rests on (benchmarks/results/experience.json), trains
nothing, and makes the table of it that `gantlet compare`, `train` and `cost` ship and quote.
Without arguments the table alone is made again.

A family with its default settings is past its steep part at the first point from which on at most
a tenth of all it gained is left to gain: of the logarithm of the distance that ranks, over the
budgets of the study of trade-offs (means over seeds); and of the validation loss, by its logarithm
where it is a distance, over the course of a training (eight points or more). Where that is the
last budget, or lies in the last third of a training, the steep part was not seen to end, and only
the number of steps is told.
"""

import json
import sys
from collections import defaultdict
from importlib.resources import files
from math import log
from pathlib import Path
from statistics import fmean

from gantlet.commands import standings
from gantlet.core.spec import datasets, families

ROOT = Path(__file__).parents[1]
TAKEN = ROOT / "benchmarks" / "results" / "experience.json"
OUT = Path(str(files("gantlet.commands"))) / "experience.json"
LEFT = 0.1
SHORT = 8


def default(model):
    """Returns the family of a model whose settings are all at their default, or None."""
    short = families.short(model)
    return short if ":" not in short else None


def place(values):
    """Returns the first place from which on at most a tenth of the gain is left.

    Distances are taken by their logarithm: from 30 to 3 is not nine tenths of the way to 0.3.
    """
    first, best = values[0], min(values)
    enough = [v <= best + LEFT * (first - best) for v in values]
    return next(i for i in range(len(values)) if all(enough[i:]) or values[i] == best)


def by_budget(report):
    """Yields for each family: data, steps at which it was past its steep part or None, steps."""
    table = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    asked = report["question"]["comparisons"]
    of_budgets = [
        c for c in asked if c["data"] == asked[0]["data"] and "diffusion" in str(c["models"])
    ]
    score = standings.quality(of_budgets[0]["features"])
    trials = defaultdict(dict)
    for row in report["rows"]:
        if row["data"] == asked[0]["data"] and row["name"] in (score, standings.STEPS):
            key = (row["model"], row["seed"])
            trials[key].setdefault(row["name"], []).append(row["value"])
    for (model, _), found in trials.items():
        steps, distance = found.get(standings.STEPS), found.get(score)
        if steps and distance and len(steps) == len(distance) and default(model):
            for s, d in zip(steps, distance, strict=True):
                table[default(model)][s]["distance"].append(d)
    for family, budgets in table.items():
        steps = sorted(budgets)
        if len(steps) < 2:
            continue
        at = place([log(fmean(budgets[s]["distance"])) for s in steps])
        yield family, asked[0]["data"], (None if at == len(steps) - 1 else steps[at]), steps[-1]


def lines(blocks):
    """Yields all charts of lines, also those inside sections."""
    for block in blocks:
        if block["kind"] == "lines":
            yield block
        yield from lines(block.get("blocks", ()))


def by_curve(report):
    """Yields the same from the validation curves of a comparison."""
    data = report["question"]["data"]
    known = defaultdict(dict)
    for row in report["rows"]:
        if row["name"] in (standings.STEPS, "FLOPs per training step") and default(row["model"]):
            known[default(row["model"])].setdefault(row["name"], row["value"])
    curves = {}
    for chart in lines(report["blocks"]):
        scale = log if "distance" in chart["y_label"] else float
        curves |= {s["name"]: (s["x"], [scale(y) for y in s["y"]]) for s in chart["series"]}
    for family, found in known.items():
        steps = found.get(standings.STEPS)
        if not steps or "FLOPs per training step" not in found:
            continue
        curve = curves.get(family)
        past = None
        if curve is not None and len(curve[1]) >= SHORT:
            at = place(curve[1])
            if at < len(curve[1]) * 2 // 3:
                past = min(round(curve[0][at] / found["FLOPs per training step"]), steps)
        yield family, data, past, steps


def taken(report):
    """Returns the part of a report that the table rests on."""
    asked = report["question"]
    first = asked.get("comparisons", [asked])[0]
    wanted = {standings.quality(first["features"]), standings.STEPS, "FLOPs per training step"}
    keys = ("data", "model", "seed", "name", "value")
    charts = [
        {
            "kind": "lines",
            "y_label": chart["y_label"],
            "series": [{k: s[k] for k in ("name", "x", "y")} for s in chart["series"]],
        }
        for chart in lines(report["blocks"])
        if "comparisons" not in asked
    ]
    trained = {row["model"] for row in report["rows"] if row["name"] == standings.STEPS}
    by_default = {model for model in trained if default(model)}
    rows = [
        {k: row[k] for k in keys}
        for row in report["rows"]
        if row["data"] == first["data"] and row["name"] in wanted and row["model"] in by_default
    ]
    parts = ("data", "models", "features")
    known = {k: first[k] for k in parts} | {"comparisons": [{k: first[k] for k in parts}]}
    return {"question": known, "rows": rows, "blocks": charts}


def made():
    """Returns the table."""
    rows = []
    both = json.loads(TAKEN.read_text())
    for name, read in (("budgets", by_budget), ("course", by_curve)):
        report = both[name]
        for family, data, past, steps in read(report):
            space = datasets.make(data).space
            rows.append(
                {
                    "family": family, "data": data.partition(":")[0], "kind": space.kind,
                    "size": space.size, "steps": None if past is None else int(past),
                    "most": int(steps),
                }
            )  # fmt: skip
    return {"made by": "python benchmarks/experience.py", "rows": rows}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        budgets, course = (taken(json.loads(Path(p).read_text())) for p in sys.argv[1:])
        TAKEN.write_text(json.dumps({"budgets": budgets, "course": course}) + "\n")
    OUT.write_text(json.dumps(made(), indent=1) + "\n")
