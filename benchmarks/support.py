"""How far the intervals and verdicts of `gantlet support` hold, on distributions that are known.

Run from the repository: OMP_NUM_THREADS=1 nice python benchmarks/support.py

Intervals: 400 replicates each of samples with a known effective support (equally likely values,
probabilities that differ by a fifth, Zipf's law; 100 to 10,000 values), and of near collisions of
Gaussian vectors, whose probability is a chi-squared one. Verdicts (`honest`, `flawed`): each run
calls the command itself, on files that hold fresh draws, where nothing is wrong and where
something is. The result goes to benchmarks/results/support.json, with exact binomial intervals.
Arguments pick parts, as in `support.py honest flawed`.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2

from gantlet.cli.main import run
from gantlet.metrics.collisions import equal_partners, partners
from gantlet.metrics.neighbour_search import points
from gantlet.stats.intervals import proportion
from gantlet.stats.support import Collisions, effective_support, support_ratio

RESULT = Path(__file__).parent.resolve() / "results" / "support.json"
REPLICATES, FIRST = 400, 50_000
SIZES = (500, 2000)
HONEST, FLAWED = 25, 8

Draw = np.random.Generator
Array = NDArray[np.float32]

# ----------------------------------------------------------------------------
# Intervals of the effective support.
# ----------------------------------------------------------------------------


def weights(law: str, size: int) -> NDArray[np.float64]:
    """The probabilities of ``size`` values."""
    place = np.arange(1, size + 1)
    raw = {"uniform": place**0, "uneven": 1 + 0.1 * (-1.0) ** place, "zipf": 1 / place}[law]
    return np.asarray(raw / raw.sum(), dtype=np.float64)


def discrete(law: str, size: int, n: int) -> dict[str, Any]:
    """How often the intervals of the support, and of the ratio of two, hold the truth."""
    p = weights(law, size)
    draw = np.random.default_rng([FIRST, size, n])
    made = [
        Collisions.of(equal_partners(torch.from_numpy(draw.choice(size, n, p=p))).count)
        for _ in range(2 * REPLICATES)
    ]
    return _held(made, float(1 / (p**2).sum()))


def gaussian(d: int, rate: float, n: int) -> dict[str, Any]:
    """The same for pairs of Gaussian vectors that are near each other."""
    draw = np.random.default_rng([FIRST, d, n])
    limit = 2 * float(chi2.ppf(rate, d))
    made = []
    for _ in range(2 * REPLICATES):
        (x,) = points(torch.from_numpy(draw.normal(size=(n, d))))
        made.append(Collisions.of(partners(x, limit).count))
    return _held(made, 1 / rate)


def _held(made: list[Collisions], truth: float) -> dict[str, Any]:
    half = len(made) // 2
    first, second = made[:half], made[half:]
    held = sum(_holds(effective_support(c), truth) for c in first)
    ratios = [support_ratio(a, b) for a, b in zip(first, second, strict=True)]
    return {
        "support": round(truth, 1),
        "collisions": round(sum(c.count for c in first) / len(first), 1),
        "held": _share(held, len(first)),
        "ratio held": _share(sum(_holds(r, 1.0) for r in ratios), len(ratios)),
        "p below 0.05": _share(sum(r.also["p"] <= 0.05 for r in ratios), len(ratios)),
    }


def _holds(e: Any, truth: float) -> bool:
    # Without a collision there is a bound only, which any of these supports is above.
    return e.value is None or e.low <= truth <= e.high


def _share(count: int, n: int) -> list[float]:
    e = proportion(count, n)
    return [count, n, *(round(100 * (v or 0.0), 1) for v in (e.value, e.low, e.high))]


def intervals() -> dict[str, Any]:
    """The coverage of all intervals, by law, support and number of samples."""
    found = {
        f"{law} {size:,}, n = {n:,}": discrete(law, size, n)
        for law in ("uniform", "uneven", "zipf")
        for size in (100, 1000, 10_000)
        for n in SIZES
    }
    found |= {
        f"near, {d} dimensions, n = {n:,}": gaussian(d, rate, n)
        for d, rate, n in ((2, 1e-3, 500), (8, 1e-3, 500))
    }
    for name, row in found.items():
        print(name, row, flush=True)
    return found


# ----------------------------------------------------------------------------
# Verdicts of the command.
# ----------------------------------------------------------------------------

World = Callable[[Draw], tuple[Array | str, Array]]
_N = 300


def normal(draw: Draw, n: int, d: int = 4) -> Array:
    return draw.normal(size=(n, d)).astype(np.float32)


def clusters(draw: Draw, n: int, kept: int = 10) -> Array:
    """Ten Gaussians in five dimensions, or the first of them."""
    centres = np.random.default_rng(3).normal(size=(10, 5)) * 3
    return (centres[draw.integers(0, kept, n)] + 0.5 * draw.normal(size=(n, 5))).astype(np.float32)


def heavy(draw: Draw, n: int) -> Array:
    return draw.standard_t(2.5, size=(n, 3)).astype(np.float32)


def whole(draw: Draw, n: int) -> Array:
    """Vectors of small whole numbers, many of them equal."""
    return draw.poisson(1.0, size=(n, 4)).astype(np.float32)


def few_values(draw: Draw, n: int, values: int = 60) -> Array:
    centres = draw.normal(size=(values, 4))
    chosen = centres[draw.integers(0, values, n)]
    return (chosen + 0.02 * draw.normal(size=(n, 4))).astype(np.float32)


def ring(draw: Draw, n: int, kept: int = 8) -> Array:
    angle = 2 * np.pi * draw.integers(0, kept, n) / 8
    mean = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (mean + 0.01 * draw.normal(size=(n, 2))).astype(np.float32)


_RING = "ring:n=1000,held_out=400"

HONEST_WORLDS: Mapping[str, World] = {
    "Gaussian vectors": lambda r: (normal(r, 2 * _N), normal(r, _N)),
    "ten clusters": lambda r: (clusters(r, 2 * _N), clusters(r, _N)),
    "heavy tails": lambda r: (heavy(r, 2 * _N), heavy(r, _N)),
    "whole numbers": lambda r: (whole(r, 2 * _N), whole(r, _N)),
    "the ring": lambda r: (_RING, ring(r, _N)),
}
"""Fakes from the distribution of the real samples."""

FLAWED_WORLDS: Mapping[str, World] = {
    "60 values for Gaussian vectors": lambda r: (normal(r, 2 * _N), few_values(r, _N)),
    "60 training samples, copied with replacement": lambda r: (normal(r, 2 * _N), copies(r)),
    "ten clusters, one dropped": lambda r: (clusters(r, 2 * _N), clusters(r, _N, 9)),
    "half of Gaussian vectors": lambda r: (normal(r, 2 * _N), half(r)),
    "the ring, one mode dropped": lambda r: (_RING, ring(r, _N, 7)),
    "the ring, a tenth in between": lambda r: (_RING, between(r)),
}
"""Fakes that lack something, or have mass where there is none."""


def copies(draw: Draw) -> Array:
    return normal(draw, 60)[draw.integers(0, 60, _N)]


def half(draw: Draw) -> Array:
    x = normal(draw, 4 * _N)
    return x[x[:, 0] > 0][:_N]


def between(draw: Draw) -> Array:
    x = ring(draw, _N)
    chosen = draw.random(_N) < 0.1
    x[chosen] = (x[chosen] + ring(draw, int(chosen.sum()))) / 2
    return x


def said(world: World, seed: int) -> dict[str, Any]:
    """What the command says of one draw."""
    with tempfile.TemporaryDirectory(prefix="gantlet-support-") as name:
        folder = Path(name)
        real, fake = world(np.random.default_rng(seed))
        np.save(folder / "fake.npy", fake)
        against = real if isinstance(real, str) else str(folder / "real.npy")
        if not isinstance(real, str):
            np.save(folder / "real.npy", real)
        out, asked = io.StringIO(), ["support", str(folder / "fake.npy"), "--against", against]
        asked += ["--seed", str(seed), "--data-seed", str(seed), "--json"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = run([*asked, "--out", str(folder / "run")])
        if code:
            raise SystemExit(f"the command failed: {asked}")
        found: dict[str, Any] = json.loads(out.getvalue())["tests"][0]
        return found


def honest() -> dict[str, Any]:
    """How often anything is significant where nothing is wrong."""
    table = _judged(HONEST_WORLDS, HONEST)
    false = [row["any"] for row in table.values()]
    return {**table, "false": _share(sum(r[0] for r in false), sum(r[1] for r in false))}


def flawed() -> dict[str, Any]:
    """How often flaws are found, and by which test."""
    return _judged(FLAWED_WORLDS, FLAWED)


def _judged(worlds: Mapping[str, World], runs: int) -> dict[str, Any]:
    os.environ["GANTLET_CACHE"] = tempfile.mkdtemp(prefix="gantlet-cache-")
    table: dict[str, Any] = {}
    for name, world in worlds.items():
        table[name] = _summary([said(world, FIRST + i) for i in range(runs)])
        print(name, table[name], flush=True)
    return table


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    n = len(found)
    tests = found[0]["p"]
    return {
        "any": _share(sum(bool(f["significant"]) for f in found), n),
        "low support": _share(sum(f["low support"] for f in found), n),
        **{t: sum(t in f["significant"] for f in found) for t in tests},
    }


def main(parts: list[str]) -> None:
    for name, measure in (("intervals", intervals), ("honest", honest), ("flawed", flawed)):
        if not parts or name in parts:
            start, found = time.process_time(), measure()
            known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
            known |= {name: found, f"{name}: CPU seconds": round(time.process_time() - start)}
            RESULT.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
