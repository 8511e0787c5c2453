"""The cost of KID over all pairs, ours, and of 100 subsets of 1000: CPU time ratio.

Run from the repository:
env $(python -m gantlet.compute.kernels) OMP_NUM_THREADS=1 python benchmarks/kid_speed.py
Both see the same 10,000 + 10,000 features of 2048 numbers, non-negative with a falling spectrum.
The subsets are those of the usual estimator (Binkowski et al., 2018) in float32, as
torch-fidelity and others have it; ours has the value, its interval and a permutation test. The
peak is the machine's: the fastest of NumPy's and torch's products and of convolutions. The
float64 twin of a part checks the digits. The result goes to benchmarks/results/kid_speed.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantlet.compute import kernels
from gantlet.compute.machine import Clock, measure_peak
from gantlet.core.rng import Rng
from gantlet.metrics import kernel
from gantlet.metrics.kernel import Kid, kernel_distance

SIZE, WIDTH, SUBSETS, SUBSET, REPEATS = 10_000, 2048, 100, 1000, 3
RESULT = Path(__file__).parent / "results" / "kid_speed.json"


def features(n: int, shift: float, rng: torch.Generator) -> Tensor:
    spectrum = torch.arange(1, WIDTH + 1) ** -0.5
    mix = torch.randn(WIDTH, 64, generator=Rng(1).stream("mix")) / 8
    common = torch.randn(n, 64, generator=rng) @ mix.T
    return (common + torch.randn(n, WIDTH, generator=rng) * spectrum + shift).relu()


def subsets(real: Tensor, fake: Tensor) -> float:
    """The mean of the U-statistic over random subsets."""
    draw = np.random.default_rng(0)
    x, y = real.numpy(), fake.numpy()
    found = []
    for _ in range(SUBSETS):
        a = x[draw.choice(len(x), SUBSET, replace=False)]
        b = y[draw.choice(len(y), SUBSET, replace=False)]
        aa, bb, ab = (
            (p @ q.T * np.float32(1 / WIDTH) + np.float32(1)) ** 3
            for p, q in ((a, a), (b, b), (a, b))
        )
        within = (aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)) / (SUBSET * (SUBSET - 1))
        found.append(within - 2 * ab.mean())
    return float(np.mean(found))


def spent(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def digits(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """How far float32 is from float64 in value and standard error, over the standard error."""
    x, y = real[:2500].double(), fake[:2500].double()
    rng = Rng(0).stream
    kept = kernel.EXACT_PRODUCTS
    found = []
    for limit in (2**62, 0):
        kernel.EXACT_PRODUCTS = limit
        found.append(kernel_distance(x, y, rng=rng("m")))
    kernel.EXACT_PRODUCTS = kept
    errors = [a.detail().estimate.half_width / 1.96 for a in found]
    return (
        abs(found[0].value - found[1].value) / errors[0],
        abs(errors[0] - errors[1]) / errors[0],
    )


def main() -> None:
    torch.set_num_threads(1)
    rng = Rng(0).stream("data")
    real, fake = features(SIZE, 0.0, rng), features(SIZE, 0.01, rng)
    rows = []
    for _ in range(REPEATS):
        ours = spent(lambda: Kid().measure(real, fake, rng=Rng(0).stream("m")))
        theirs = spent(lambda: subsets(real, fake))
        rows.append({"ours_cpu_s": ours, "subsets_cpu_s": theirs, "ratio": ours / theirs})
        print({k: round(v, 3) for k, v in rows[-1].items()}, flush=True)
    peak = measure_peak(seconds=4.0, clock=Clock(wall=time.process_time)).fp32
    work = 2 * WIDTH * 2 * SIZE**2
    estimate = Kid().measure(real, fake, rng=Rng(0).stream("m"))
    value, error = digits(real, fake)
    result = {
        "what": "CPU time of KID at 10k + 10k x 2048: ours over all pairs, against 100 x 1000",
        "wanted": "ratio at most 1.0",
        "rows": rows,
        "ratio": statistics.median(row["ratio"] for row in rows),
        "ours": estimate.value,
        "ours_half_width": estimate.half_width,
        "subsets": subsets(real, fake),
        "kernels": dict(kernels.running()),
        "machine_peak_float32": peak,
        "share_of_machine_peak": work / peak / min(row["ours_cpu_s"] for row in rows),
        "float32_error_of_value_over_standard_error": value,
        "float32_error_of_standard_error": error,
        "threads": 1,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
