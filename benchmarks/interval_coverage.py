"""How often do the 95 % intervals of the metrics hold the truth?

Real features are standard normal, fake ones normal with the mean moved and the spread scaled.
The truth is a closed form for the distances. Precision, recall, density and coverage have one
only for given sample sizes: their mean over all replicates. That of the classifier two-sample
test is the accuracy of each trained classifier on 14,000 new samples.

    python benchmarks/interval_coverage.py [--replicates 200]

Prints a table and writes benchmarks/results/interval_coverage.json.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import gammaln, hyp1f1
from scipy.stats import norm

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.metrics.c2st import rate, train
from gantlet.metrics.energy import Energy
from gantlet.metrics.frechet import Frechet
from gantlet.metrics.kid import Kid
from gantlet.metrics.neighbours import neighbour_metrics
from gantlet.metrics.sliced import SlicedWasserstein

RESULT = Path(__file__).parent / "results" / "interval_coverage.json"


@dataclass(frozen=True)
class Case:
    """Sizes, and how the fake features differ: moved by ``shift``, spread times ``scale``."""

    n: int
    d: int
    shift: float
    scale: float

    def sample(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        real, fake = torch.randn(2, n, self.d, generator=rng)
        return real, fake * self.scale + self.shift / math.sqrt(self.d)


CASES = (
    Case(360, 16, 1.0, 1.2),
    Case(360, 64, 1.0, 1.2),
    Case(360, 64, 0.0, 1.0),
    Case(1000, 16, 1.0, 1.2),
    Case(1000, 64, 1.0, 1.2),
)


def frechet(case: Case) -> float:
    return case.shift**2 + case.d * (case.scale - 1) ** 2


def sliced(case: Case) -> float:
    return frechet(case) / case.d


def energy(case: Case) -> float:
    def distance(shift: float, variance: float) -> float:
        """The mean length of a normal vector."""
        d = case.d
        scale = math.sqrt(2 * variance) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
        return scale * hyp1f1(-0.5, d / 2, -(shift**2) / (2 * variance))

    v = case.scale**2
    return 2 * distance(case.shift, 1 + v) - distance(0, 2) - distance(0, 2 * v)


def kid(case: Case) -> float:
    def kernel(a: float, v: float, b: float, w: float) -> float:
        """The mean kernel of normal vectors with means ``a``, ``b`` and variances ``v``, ``w``."""
        d, dot, length = case.d, a * b, b**2 + case.d * w
        first = dot
        second = dot**2 + w * a**2 + v * length
        third = dot**3 + 3 * dot * w * a**2 + 3 * v * dot * (length + 2 * w)
        return third / d**3 + 3 * second / d**2 + 3 * first / d + 1

    s, v = case.shift, case.scale**2
    return kernel(0, 1, 0, 1) + kernel(s, v, s, v) - 2 * kernel(0, 1, s, v)


TRUTHS: dict[str, Callable[[Case], float]] = {
    "frechet": frechet,
    "kid": kid,
    "energy": energy,
    "sliced-wasserstein": sliced,
}


def measure(case: Case, seed: int) -> Iterator[tuple[str, Estimate, float | None]]:
    """Yields the name, estimate and, where it is known, truth of every metric."""
    rng = Rng(seed)
    real, fake = case.sample(case.n, rng.stream("data"))
    for name, metric in (
        ("frechet", Frechet()),
        ("kid", Kid()),
        ("energy", Energy()),
        ("sliced-wasserstein", SlicedWasserstein()),
    ):
        yield name, metric.measure(real, fake, rng=rng.stream(name)), TRUTHS[name](case)
    for name, found in neighbour_metrics(real, fake, rng=rng.stream("neighbours")).items():
        yield name, found, None
    new = case.sample(7000, rng.stream("new"))
    judge, *test = train(real, fake, "network", rng=rng.stream("c2st"))
    yield "c2st", rate(judge, *test), rate(judge, *new).value


def run(case: Case, replicates: int) -> dict[str, dict[str, float]]:
    found: dict[str, list[tuple[Estimate, float | None]]] = {}
    for seed in range(replicates):
        for name, estimate, truth in measure(case, seed):
            found.setdefault(name, []).append((estimate, truth))
    return {name: summary(pairs) for name, pairs in found.items()}


def summary(pairs: list[tuple[Estimate, float | None]]) -> dict[str, float]:
    values = np.array([e.value for e, _ in pairs])
    truths = [values.mean() if t is None else t for _, t in pairs]
    held = proportion(
        sum(e.low <= t <= e.high for (e, _), t in zip(pairs, truths, strict=True)), len(pairs)
    )
    return {
        "truth": float(np.mean(truths)),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)),
        "half_width_over_1.96_sd": float(
            np.mean([e.half_width for e, _ in pairs]) / norm.ppf(0.975) / values.std(ddof=1)
        ),
        "held": held.value,
        "held_low": held.low,
        "held_high": held.high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=200)
    replicates = parser.parse_args().replicates
    torch.set_num_threads(1)
    start, results = time.process_time(), []
    for case in CASES:
        # Large samples cost more: their share of the time is kept about equal.
        count = replicates * 360 // case.n
        rows = run(case, count)
        results.append({"case": asdict(case), "replicates": count, "metrics": rows})
        print(
            f"\nn = m = {case.n}, d = {case.d}, moved {case.shift:g}, spread x {case.scale:g}, "
            f"{count} replicates"
        )
        for name, row in rows.items():
            print(
                f"  {name:20s} truth {row['truth']:8.4f}  mean {row['mean']:8.4f}  "
                f"holds {100 * row['held']:5.1f} % "
                f"[{100 * row['held_low']:.1f}, {100 * row['held_high']:.1f}]  "
                f"width {row['half_width_over_1.96_sd']:.2f}"
            )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"level": 0.95, "cases": results}, indent=1) + "\n")
    print(f"\n{time.process_time() - start:.0f} CPU seconds; {RESULT}")


if __name__ == "__main__":
    main()
