"""The cost of the Frechet distance, ours and the two usual forms: CPU time ratios.

Run from the repository:
env $(python -m gantlet.compute.kernels) OMP_NUM_THREADS=1 python benchmarks/frechet_speed.py
All start from the same float32 features of 2048 numbers, non-negative with a falling spectrum:
10,000 + 10,000 of them, and 500 + 500. "eigenvalues" is np.cov twice and np.linalg.eigvals of the
product, as torch-fidelity has it; "matrix root" is np.cov twice and scipy.linalg.sqrtm of the
product. "trace" is the part after the covariances. "with interval" is all that the metric
reports. The result goes to benchmarks/results/frechet_speed.json; it takes about two CPU minutes.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from gantlet.compute import kernels
from gantlet.core.rng import Rng
from gantlet.metrics.frechet import Frechet, between, bures, spread_of

WIDTH = 2048
RESULT = Path(__file__).parent / "results" / "frechet_speed.json"

Root = Callable[[np.ndarray], float]


def features(n: int, shift: float, rng: torch.Generator) -> Tensor:
    spectrum = torch.arange(1, WIDTH + 1) ** -0.5
    mix = torch.randn(WIDTH, 64, generator=Rng(1).stream("mix")) / 8
    common = torch.randn(n, 64, generator=rng) @ mix.T
    return (common + torch.randn(n, WIDTH, generator=rng) * spectrum + shift).relu()


def eigenvalues(product: np.ndarray) -> float:
    return float(np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum())


def matrix_root(product: np.ndarray) -> float:
    return float(np.trace(scipy.linalg.sqrtm(product)).real)


def usual(x: Tensor, y: Tensor, root: Root) -> tuple[float, float]:
    """Returns the distance, and the CPU time of the part after the covariances."""
    a, b = (z.double().numpy() for z in (x, y))
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    start = time.process_time()
    trace = root(s @ t)
    return float(shift @ shift + np.trace(s) + np.trace(t) - 2 * trace), (
        time.process_time() - start
    )


def ours(x: Tensor, y: Tensor) -> tuple[float, float]:
    a, b = spread_of(x), spread_of(y)
    start = time.process_time()
    trace = bures(a, b)
    return float((a.mean - b.mean).square().sum()) + trace, time.process_time() - start


def spent(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def compare(n: int, repeats: int) -> dict[str, Any]:
    rng = Rng(0).stream("data")
    x, y = features(n, 0.0, rng), features(n, 0.02, rng)
    forms: dict[str, Callable[[], tuple[float, float]]] = {
        "ours": lambda: ours(x, y),
        "eigenvalues": lambda: usual(x, y, eigenvalues),
        "matrix root": lambda: usual(x, y, matrix_root),
    }
    rows: dict[str, dict[str, float]] = {}
    for name, form in forms.items():
        times = [spent(form) for _ in range(repeats if name == "ours" else max(1, repeats // 3))]
        rows[name] = {
            "distance": times[0][1][0],
            "cpu_s": statistics.median(t for t, _ in times),
            "trace_cpu_s": statistics.median(found[1] for _, found in times),
        }
    for row in rows.values():
        row["ours_over_this"] = rows["ours"]["cpu_s"] / row["cpu_s"]
        row["trace_ours_over_this"] = rows["ours"]["trace_cpu_s"] / row["trace_cpu_s"]
    seconds, found = spent(lambda: Frechet().measure(x, y, rng=Rng(0).stream("m")))
    assert abs(between(spread_of(x), spread_of(y)) - rows["ours"]["distance"]) < 1e-9
    return {
        "n": n,
        "d": WIDTH,
        "forms": rows,
        "with_interval_cpu_s": seconds,
        "with_interval_over_eigenvalues": seconds / rows["eigenvalues"]["cpu_s"],
        "value": found.value,
        "half_width": found.half_width,
    }


def gemm_peak() -> float:
    """Returns the fastest product of float64 matrices, NumPy's or torch's, a CPU second."""
    a, b = torch.randn(2, WIDTH, WIDTH, generator=Rng(0).stream("a"), dtype=torch.float64)
    ways = (lambda: a @ b, lambda: a.numpy() @ b.numpy())
    return 2 * WIDTH**3 / min(spent(way)[0] for _ in range(5) for way in ways)


def main() -> None:
    torch.set_num_threads(1)
    cases = [compare(10_000, 3), compare(500, 5)]
    gram = WIDTH**2 * 10_000 * 2
    result = {
        "what": "CPU time of the plain Frechet distance, ours over the usual forms",
        "wanted": "0.45 of eigenvalues, 0.12 of matrix root; at 500, 0.2 of eigenvalues",
        "cases": cases,
        "covariances_alone_at_float64_gemm_peak_cpu_s": gram / gemm_peak(),
        "kernels": dict(kernels.running()),
        "threads": 1,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
