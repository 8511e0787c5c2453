"""The cost of the classifier of c2st with many features: few equations over many, CPU time ratio.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/c2st_speed.py [wide]
Ridge regression on the features and 1024 random units has one equation for each coefficient, or as
well one for each sample, with the same solution. Both learn here from 500 + 500 samples of 3072
features (32 x 32 in colour), as of two sets of 1000. The plain way is made again from the formula
with the system of coefficients; it solves 4096 equations, ours 1000. The result goes to
benchmarks/results/c2st_speed.json; the ratio is ours over the plain way's.

"wide" measures only 20 + 20 samples of 3072 and of 6144 features, and beside them of 49,152
(128 x 128 in colour), where the plain way would hold a matrix of 20 GB and is not run.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.metrics.classifier import fit_network
from gantlet.stats.intervals import mean
from gantlet.stats.moments import add_gram, mirrored

SAMPLES, FEATURES, UNITS, RIDGE = 500, 3072, 1024, 0.3
REPEATS = 7
FEW, WIDE, TOO_WIDE, WIDE_REPEATS = 20, (3072, 6144), 49_152, 2
RESULT = Path(__file__).parent / "results" / "c2st_speed.json"

Judge = Callable[[Tensor], Tensor]


def plain(z: Tensor, rng: torch.Generator) -> Judge:
    n, d = z.shape
    drawn = torch.randn(d + 1, UNITS, generator=rng, dtype=z.dtype)
    weight, bias = drawn[1:] / math.sqrt(d), drawn[0]

    def units(w: Tensor) -> Tensor:
        return torch.cat([w, (w @ weight + bias).relu()], dim=1)

    seen = units(z)
    centre = seen.mean(0)
    seen -= centre
    gram = seen.new_zeros(seen.shape[1], seen.shape[1])
    add_gram(gram, seen)
    gram = mirrored(gram)
    gram.diagonal().add_(RIDGE * gram.trace() / n + 1e-12)
    sign = torch.ones(n, dtype=z.dtype)
    sign[: n // 2] = -1
    coefficients: Tensor = torch.linalg.solve(gram, seen.T @ sign)
    return lambda w: (units(w) - centre) @ coefficients > 0


def timed(fit: Callable[[], Judge], new: Tensor) -> tuple[float, Tensor]:
    start = time.process_time()
    judge = fit()
    took = time.process_time() - start
    return took, judge(new)


def data(samples: int, features: int) -> tuple[Tensor, Tensor]:
    """Standardised samples of both sets, and new ones."""
    rng = Rng(0).stream("data")
    z, new = torch.randn(2, 2 * samples, features, generator=rng, dtype=torch.float64)
    z[samples:] *= 1.02
    return (z - z.mean(0)) / z.std(0), new


def both(samples: int, features: int, repeats: int) -> tuple[list[tuple[float, float]], int]:
    """CPU time of ours and of the plain way, and how many decisions differ."""
    z, new = data(samples, features)
    rows: list[tuple[float, float]] = []
    different = 0
    for repeat in range(repeats):
        slow, expected = timed(lambda r=repeat: plain(z, Rng(r).stream("units")), new)
        fast, found = timed(lambda r=repeat: fit_network(z, rng=Rng(r).stream("units")), new)
        rows.append((fast, slow))
        different += int((expected != found).sum())
    return rows, different


def many() -> dict[str, object]:
    rows, different = both(SAMPLES, FEATURES, REPEATS)
    ratios = [fast / slow for fast, slow in rows]
    spread = mean(ratios, of="repeats")
    return {
        "what": f"CPU time of training the network of c2st on {SAMPLES} + {SAMPLES} samples of "
        f"{FEATURES} features, one equation for each sample over one for each coefficient",
        "wanted": "at most 0.2",
        "repeats": REPEATS,
        "threads": 1,
        "ours_cpu_s": statistics.median(fast for fast, _ in rows),
        "plain_cpu_s": statistics.median(slow for _, slow in rows),
        "ours_over_plain": statistics.median(ratios),
        "mean_ratio_low": spread.low,
        "mean_ratio_high": spread.high,
        "decisions_that_differ": different,
        "ours_matrix_mb": (2 * SAMPLES) ** 2 * 8 / 1e6,
        "plain_matrix_mb": (FEATURES + UNITS) ** 2 * 8 / 1e6,
    }


def wide() -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for features in WIDE:
        rows, different = both(FEW, features, WIDE_REPEATS)
        fast, slow = (statistics.median(row[k] for row in rows) for k in (0, 1))
        made.append(
            {
                "samples": 2 * FEW,
                "features": features,
                "ours_cpu_s": fast,
                "plain_cpu_s": slow,
                "times_faster": slow / fast,
                "decisions_that_differ": different,
                "plain_matrix_mb": (features + UNITS) ** 2 * 8 / 1e6,
            }
        )
        print(made[-1], flush=True)
    z, new = data(FEW, TOO_WIDE)
    took, _ = timed(lambda: fit_network(z, rng=Rng(0).stream("units")), new)
    made.append(
        {
            "samples": 2 * FEW,
            "features": TOO_WIDE,
            "ours_cpu_s": took,
            "plain_cpu_s": None,
            "plain_matrix_mb": (TOO_WIDE + UNITS) ** 2 * 8 / 1e6,
        }
    )
    return made


def main() -> None:
    torch.set_num_threads(1)
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    result = {**known, "wide": wide()} if sys.argv[1:] == ["wide"] else {**many(), "wide": wide()}
    print(json.dumps(result, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
