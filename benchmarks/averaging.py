"""What averages of weights and a history of fakes do for a GAN, by paired trainings.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/averaging.py
Each seed trains a gan twice, with and without a history of past fakes, on STEPS batches of BATCH:
on a ring and on digits with the default penalty, and on the ring with the non-saturating loss
without one, which does not settle. An average of weights changes nothing of a training, so all
are taken along in it: the last weights, exponential averages, and uniform averages of the weights
from a share of the steps on. Quality is the energy distance of SAMPLES samples to the test split,
scaled (0 where the distributions agree).
A difference is that of an average to the last weights of the same training, or of a training with
a history to the one without. Means over seeds with t intervals that hold together at 95 % within
one data set (Bonferroni), so that an interval without 0 is a finding.
The result goes to benchmarks/results/averaging.json.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from scipy import stats

from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.models.gan import energy_distance
from gantlet.run.averaging import Average, Averaging
from gantlet.run.train import Batches

OUT = Path(__file__).parent / "results" / "averaging.json"
SEEDS = range(6)
BATCH, SAMPLES, HISTORY = 64, 1000, 2048
SETTINGS = {
    "ring": ("ring", "gan:width=64", 1500),
    "digits": ("digits", "gan:width=128", 1500),
    "ring without penalty": ("ring", "gan:width=64,loss=ns,penalty=none", 1500),
}
AVERAGES = {
    "last weights": Averaging(),
    "exponential, 0.9": Averaging(decay=0.9),
    "exponential, 0.99": Averaging(decay=0.99),
    "exponential, 0.995": Averaging(decay=0.995),
    "uniform, from 0.9": Averaging(start=0.9),
    "uniform, from 0.5": Averaging(start=0.5),
    "uniform, from 0.5, every 50": Averaging(start=0.5, every=50),
    "uniform, from 0": Averaging(start=0.0),
}


def trained(data, model, steps, seed, history):
    """Returns the energy distance of each average of one training."""
    dataset = datasets.make(data)
    splits = dataset.load(rng=Rng(0))
    family, rng = families.make(f"{model},history={history}"), Rng(seed)
    game = family.build(dataset.space, rng=rng)
    batches = Batches(splits.train, rng=rng)
    game.prepare(batches.next(min(512, len(splits.train))), rng=rng.stream("prepare"))
    play, noise = solvers.make(family.solver).start(game), rng.stream("noise")
    averages = {name: Average(game.model, how) for name, how in AVERAGES.items()}
    for step in range(steps):
        play.step(batches.next(BATCH), rng=noise)
        game.advance(rng=noise)
        for average in averages.values():
            average.update(step / steps)
    x = all_samples(splits.test, SAMPLES)
    return {name: distance(game.model, average, x) for name, average in averages.items()}


def distance(model, average, x):
    with average.applied():
        y = model.sample(SAMPLES, rng=Rng(0).stream("judged"))
    return float(energy_distance(model.scaling(x), model.scaling(y)))


def interval(values, comparisons):
    n, mean = len(values), statistics.fmean(values)
    critical = float(stats.t.ppf(1 - 0.025 / comparisons, n - 1))
    half = critical * statistics.stdev(values) / n**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def setting(name):
    data, model, steps = SETTINGS[name]
    runs = {h: [trained(data, model, steps, s, h) for s in SEEDS] for h in (0, HISTORY)}
    kinds = [k for k in AVERAGES if k != "last weights"]
    # Each average to the last weights, without a history, and what a history does to each.
    comparisons = len(kinds) + len(AVERAGES)
    rows = []
    for kind in AVERAGES:
        plain, past = ([run[kind] for run in runs[h]] for h in (0, HISTORY))
        last = [run["last weights"] for run in runs[0]]
        row = {"average": kind, "distance": statistics.fmean(plain)}
        row["with history"] = statistics.fmean(past)
        if kind in kinds:
            gained = [a - b for a, b in zip(plain, last, strict=True)]
            row["average less last"] = interval(gained, comparisons)
        row["history less none"] = interval(
            [a - b for a, b in zip(past, plain, strict=True)], comparisons
        )
        rows.append(row)
    return {"data": name, "model": model, "steps": steps, "rows": rows}


def rounded(tree):
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [rounded(v) for v in tree]
    return float(f"{tree:.3g}") if isinstance(tree, float) else tree


def main():
    torch.set_num_threads(1)
    start = time.process_time()
    found = [setting(name) for name in SETTINGS]
    settings = {"seeds": len(SEEDS), "batch": BATCH, "samples": SAMPLES, "history": HISTORY}
    spent = {"CPU seconds": round(time.process_time() - start)}
    OUT.write_text(json.dumps({**settings, **spent, "settings": rounded(found)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
