"""How often equal recipes are called different, and unequal ones are found: by simulation.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/recipe_claims.py
The test is that of gantlet.commands.compare.claims, written again for many comparisons at once.
Values are
normal; the standard deviations of the models are equal, or one is 5 times or a fifth of the
others', or two 3 times, or half of them 4 times, or log-normal with a standard deviation of the
logarithm of 0.5, 1 or 1.5. False: some of all pairs of equal models is rejected by Holm's
procedure at 5 %, in per cent of 6000 comparisons. Found: pairs of one model that is 6 standard
deviations better, all equal, in per cent; by paired Student's t beside it.
The result goes to benchmarks/results/recipe_claims.json.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats

OUT = Path(__file__).parent / "results" / "recipe_claims.json"
RUNS = 6000
WORLDS = ("equal", "one of 5", "one of a fifth", "two of 3", "half of 4",
          "log-normal 0.5", "log-normal 1", "log-normal 1.5")  # fmt: skip


def deviations(world, models, rng):
    sd = np.ones((RUNS, models))
    if world.startswith("log-normal"):
        sd = np.exp(rng.normal(0, float(world.split()[1]), (RUNS, models)))
    elif world.startswith("one"):
        sd[:, 0] = 5 if world == "one of 5" else 0.2
    elif world.startswith("two"):
        sd[:, :2] = 3
    elif world.startswith("half"):
        sd[:, : models // 2] = 4
    return sd


def p_values(means, variances, seeds):
    """Returns p of all pairs, shape (runs, pairs), and the two places of each pair."""
    models, d = means.shape[1], seeds - 1
    i, j = np.triu_indices(models, 1)
    c = min((models - 2) * d / 6, 4)
    pool = variances.mean(1, keepdims=True)
    shared = np.maximum((c * pool + d * variances) / (c + d), variances) / seeds
    a, b = shared[:, i], shared[:, j]
    df = d if models == 2 else (a + b) ** 2 / ((a**2 + b**2) / (d + c))
    t = np.abs(means[:, i] - means[:, j]) / np.sqrt(a + b)
    return 2 * stats.t.sf(t, df), i, j


def rejected(p):
    """Returns whether Holm's procedure rejects the smallest p, and so any."""
    return p.min(1) <= 0.05 / p.shape[1]


def cell(models, seeds, rng):
    found = {"models": models, "seeds": seeds, "false": {}}
    for world in WORLDS:
        x = rng.normal(size=(RUNS, models, seeds)) * deviations(world, models, rng)[..., None]
        p, *_ = p_values(x.mean(2), x.var(2, ddof=1), seeds)
        found["false"][world] = round(100 * float(rejected(p).mean()), 2)
    x = rng.normal(size=(RUNS, models, seeds))
    x[:, -1] -= 6
    p, _, j = p_values(x.mean(2), x.var(2, ddof=1), seeds)
    mine = j == models - 1
    level = 0.05 / p.shape[1]
    found["found"] = round(100 * float((p[:, mine] <= level).mean()), 1)
    paired = stats.ttest_1samp(x[:, :-1] - x[:, -1:], 0, axis=2).pvalue
    found["found by paired t"] = round(100 * float((paired <= level).mean()), 1)
    return found


def main():
    rng = np.random.default_rng(0)
    cells = [cell(m, k, rng) for k in (2, 3, 4, 5) for m in (2, 3, 4, 6, 9, 14)]
    worst = max(rate for c in cells for rate in c["false"].values())
    OUT.write_text(json.dumps({"runs": RUNS, "worst": worst, "cells": cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
