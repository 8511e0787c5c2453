"""All metrics of nearest neighbours at once, and prdc: CPU time and memory.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/neighbours_speed.py
Features are 10,000 real and 10,000 fake vectors of 2048 float32 numbers that look like those of a
network: never negative, with few strong directions. Times are CPU time in one process with one
thread. Memory is the highest resident size above that with both sets loaded, each in a process of
its own. The result goes to benchmarks/results/neighbours_speed.json; about three CPU minutes.

    python benchmarks/neighbours_speed.py --large   # memory only, 50,000 + 50,000 of 32 numbers
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.metrics.collisions import Birthday
from gantlet.metrics.copying import Authenticity, Ct
from gantlet.metrics.measure import measure_all
from gantlet.metrics.neighbours import (
    AlphaPrecision,
    BetaRecall,
    Coverage,
    Density,
    Precision,
    Realism,
    Recall,
)

SIZE, WIDTH, K = 10_000, 2048, 5
RESULT = Path(__file__).parent / "results" / "neighbours_speed.json"

FOUR = {
    "precision": Precision(k=K),
    "recall": Recall(k=K),
    "density": Density(k=K),
    "coverage": Coverage(k=K),
}
ALL = FOUR | {
    "realism": Realism(),
    "alpha-precision": AlphaPrecision(),
    "beta-recall": BetaRecall(),
    "birthday": Birthday(),
}
TRAIN = {"authenticity": Authenticity(), "ct": Ct()}


def features(n: int, d: int) -> tuple[Tensor, Tensor]:
    rng = Rng(0).stream("data")
    scale = torch.arange(1, d + 1).float() ** -0.5
    sets = []
    for spread in (1.0, 1.05):
        x = torch.empty(n, d)
        for start in range(0, n, 1000):
            block = torch.randn(min(1000, n - start), d, generator=rng)
            x[start : start + 1000] = (block * scale * spread).clamp_min_(0)
        sets.append(x)
    return sets[0], sets[1]


def ours(x: Tensor, y: Tensor) -> dict[str, float | None]:
    return {name: e.value for name, e in measure_all(ALL, x, y, rng=Rng(0)).items()}


def with_training(x: Tensor, y: Tensor) -> dict[str, float | None]:
    """All, and those that look at a training set, here the real samples again, moved a little."""
    found = measure_all(ALL | TRAIN, x, y, train=x.roll(1, 1), rng=Rng(0))
    return {name: e.value for name, e in found.items()}


def prdc(x: Tensor, y: Tensor) -> dict[str, float | None]:
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(x.numpy(), y.numpy(), K)
    return {name: float(value) for name, value in found.items()}


CONTENDERS: dict[str, Callable[[Tensor, Tensor], dict[str, float | None]]] = {
    "all": ours,
    "all with training": with_training,
    "prdc": prdc,
}


def timed(name: str, x: Tensor, y: Tensor) -> tuple[float, dict[str, float | None]]:
    start = time.process_time()
    found = CONTENDERS[name](x, y)
    return time.process_time() - start, found


def highest() -> float:
    """Returns the highest resident size of this process so far in MB.

    The one that getrusage tells is that of the parent where that was larger.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def memory_here(name: str, n: int, d: int) -> None:
    """Prints how much the highest resident size of this process grows."""
    torch.set_num_threads(1)
    x, y = features(n, d)
    small = features(50, d)
    CONTENDERS[name](*small)  # what the first call loads is not counted
    before = highest()
    CONTENDERS[name](x, y)
    print(json.dumps(highest() - before))


def memory(name: str, n: int, d: int) -> float:
    """Returns the same of a new process."""
    command = [sys.executable, __file__, "--memory", name, str(n), str(d)]
    return float(json.loads(subprocess.run(command, check=True, stdout=-1, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", nargs=3)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.memory:
        name, n, d = options.memory
        memory_here(name, int(n), int(d))
    elif options.large:
        print(f"50,000 + 50,000 of 32: {memory('all', 50_000, 32):.0f} MB above base")
    else:
        compare()


def compare() -> None:
    torch.set_num_threads(1)
    x, y = features(SIZE, WIDTH)
    rows: dict[str, dict[str, object]] = {}
    for name in CONTENDERS:
        seconds, found = timed(name, x, y)
        mb = memory(name, SIZE, WIDTH) if name in ("all", "prdc") else 0.0
        rows[name] = {"cpu_s": seconds, "mb_above_base": mb, "values": found}
        print(f"{name:18} {seconds:7.1f} CPU s  {mb:7.0f} MB", flush=True)
    peer = rows["prdc"]
    result = {
        "what": "all metrics of nearest neighbours, 10k + 10k x 2048 float32, one thread",
        "wanted": "all at most 1.0 x prdc in time, 0.3 x in memory",
        "time_over_prdc": {n: r["cpu_s"] / peer["cpu_s"] for n, r in rows.items()},
        "memory_over_prdc": rows["all"]["mb_above_base"] / peer["mb_above_base"],
        "rows": rows,
        "torch": torch.__version__,
    }
    print(json.dumps({k: result[k] for k in ("time_over_prdc", "memory_over_prdc")}, indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
