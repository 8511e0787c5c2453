"""How often the samples that ``gantlet plan`` asks for find the difference.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/plan_power.py [--out FILE]

Normal samples of 8 features, of which 2,000 are real. A difference of 0.15 is planned from them
for a power of 80 %, one of three metrics, with four draws of the real samples. Then sets of as
many samples as the first plan asks for are compared with new real samples, the first step of
Holm's procedure at 5 %. The KID of a moved set is known in closed form; a set is moved for
precision as the plan moves its pilot sets, and the mean difference stands beside. The result goes
to benchmarks/results/plan_power.json. About two minutes of CPU time.
"""

import argparse
import json
import math
from bisect import bisect_left
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from gantlet.commands.plan import Pilot, RealRows
from gantlet.core.rng import Rng
from gantlet.metrics.measure import detail_all, two_sample
from gantlet.research.calibration.truth import kid, normal
from gantlet.stats.intervals import p_value, percentage
from gantlet.stats.jackknife import difference
from gantlet.stats.planning import Noises, Question, samples

REALS, WIDTH, DELTA, TESTS, PLANS, RUNS = 2000, 8, 0.15, 3, 4, 200
RESULT = Path(__file__).parent / "results" / "plan_power.json"


def planned(metric: str, seed: int) -> tuple[int, Tensor]:
    """The samples that the plan asks for, and by how much it moves pilot sets, ``(WIDTH,)``."""
    rows = torch.randn(REALS, WIDTH, generator=Rng(seed).stream("real"))
    pilot = Pilot(metric, RealRows.of(rows), seed)
    asked = Question(detect=DELTA, tests=TESTS)
    n = samples(Noises.of(pilot.draws(DELTA)), asked, REALS)
    return n, pilot.shift(DELTA) * pilot.real.along


def move_of_kid() -> Tensor:
    """The move of one feature whose KID is ``DELTA``."""
    one, first = torch.ones(WIDTH).double(), torch.eye(WIDTH)[0].double()

    def distance(thousandths: int) -> float:
        return kid(normal(0 * one, one), normal(first * thousandths / 1000, one))

    return (first * bisect_left(range(8000), DELTA, key=distance) / 1000).float()


def compared(metric: str, n: int, move: Tensor, run: int) -> tuple[bool, float]:
    """Whether one moved set is found to differ from the noise floor, and by how much."""
    rng = Rng(run).stream(f"sets/{metric}")
    real, floor, fake = (torch.randn(k, WIDTH, generator=rng) for k in (REALS - n, n, n))
    a, b = (
        detail_all({"m": two_sample(metric)}, real, z, rng=Rng(run))["m"]
        for z in (fake + move, floor)
    )
    found = difference(a, b)
    return p_value(found) <= 0.05 / TESTS, abs(found.value)


def power_of(metric: str) -> dict:
    plans = [planned(metric, seed) for seed in range(PLANS)]
    n, move = plans[0][0], move_of_kid() if metric == "kid" else plans[0][1]
    runs = [compared(metric, n, move, run) for run in range(RUNS)]
    found = percentage(sum(hit for hit, _ in runs), RUNS, of="sets", why="")
    sizes = [size for _, size in runs]
    return {
        "planned": [n for n, _ in plans],
        "tested": n,
        "found %": [round(z, 1) for z in (found.value, found.low, found.high)],
        "sets": RUNS,
        "difference": round(fmean(sizes), 4),
        "standard error": round(stdev(sizes) / math.sqrt(RUNS), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=RESULT)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    made = {metric: power_of(metric) for metric in ("kid", "precision")}
    out.write_text(json.dumps(made, indent=1) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
