"""What unbiased transport between minibatches is worth, and what its matching costs.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/ot_gan.py
Bias: two batches of one distribution, uniform on the sphere in 8 dimensions, the cost of two
points 1 - cos. The minibatch energy distance of ot-gan, from halves of so many points, beside the
cost of transport between two such halves alone. Means over REPLICATES with t intervals that hold
together for the three sizes at 95 % (Bonferroni).
Speed: one matching of two batches, by exact assignment and by 500 iterations of Sinkhorn's
algorithm at an entropy of 1/500, as the code of the paper has it: the table is normalised along
rows and columns in turn, on logarithms. Seconds of processor time, in turn; of their ratio the
median and the range over ROUNDS.
The result goes to benchmarks/results/ot_gan.json.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from scipy import stats
from torch.nn.functional import normalize

from gantlet.core.rng import Rng
from gantlet.models.matching import Exact, cosine_cost, minibatch_energy_distance, sinkhorn

OUT = Path(__file__).parent / "results" / "ot_gan.json"
REPLICATES = {16: 4000, 64: 1000, 256: 200}
SIZES = (128, 512)
ROUNDS = 5


def points(n, rng):
    return normalize(torch.randn(n, 8, generator=rng), dim=1)


def interval(values):
    n, mean = len(values), statistics.fmean(values)
    half = (
        float(stats.t.ppf(1 - 0.025 / len(REPLICATES), n - 1)) * statistics.stdev(values) / n**0.5
    )
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": statistics.stdev(values)}


def bias(n):
    rng = Rng(n).stream("sphere")
    distance, plain = [], []
    for _ in range(REPLICATES[n]):
        x, y = points(2 * n, rng), points(2 * n, rng)
        distance.append(float(minibatch_energy_distance(x, y, Exact())))
        plain.append(float(Exact().cost(cosine_cost(x[:n], y[:n])[None])))
    return {
        "half": n,
        "replicates": REPLICATES[n],
        "energy distance": interval(distance),
        "transport": interval(plain),
    }


def literal(cost):
    """Returns the plan of the loop in the paper's code."""
    table = -500 * cost
    for _ in range(500):
        table = table - table.logsumexp(1, keepdim=True)
        table = table - table.logsumexp(0, keepdim=True)
    return table.softmax(1) / len(cost)


def timed(run):
    start = time.process_time()
    value = float(run())
    return time.process_time() - start, value


def speed(n):
    rng = Rng(n).stream("speed")
    rounds = []
    for _ in range(ROUNDS):
        cost = cosine_cost(points(n, rng), points(n, rng))
        exact, optimum = timed(lambda c=cost: Exact().cost(c[None]))
        loop, value = timed(lambda c=cost: (literal(c) * c).sum())
        own, _ = timed(lambda c=cost: (sinkhorn(c[None], 0.01, 100).exp() * c).sum())
        rounds.append(
            {"exact": exact, "loop": loop, "own": own, "cost": optimum, "cost of loop": value}
        )
    ratios = [r["loop"] / r["exact"] for r in rounds]
    return {
        "size": n,
        "ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
        "seconds": {k: statistics.median(r[k] for r in rounds) for k in ("exact", "loop", "own")},
        "mean cost": {k: statistics.fmean(r[k] for r in rounds) for k in ("cost", "cost of loop")},
    }


def rounded(tree):
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [rounded(v) for v in tree]
    return float(f"{tree:.4g}") if isinstance(tree, float) else tree


def main():
    torch.set_num_threads(1)
    timed(lambda: Exact().cost(torch.rand(1, 8, 8)))  # Imports, before the clock runs.
    found = {"bias": [bias(n) for n in REPLICATES], "speed": [speed(n) for n in SIZES]}
    OUT.write_text(json.dumps(rounded(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
