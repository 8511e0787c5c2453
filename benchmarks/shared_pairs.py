"""What an evaluation saves by going over pairs once: CPU time of what is shared and of each alone.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/shared_pairs.py [SAMPLES]
Two sets of as many features as EfficientNet-Lite0 has, non-negative with a falling spectrum:

- KID and the energy distance, with intervals and permutations, alone and sharing products;
- the metrics of nearest neighbours that evaluate measures by default, the samples nearest to real
  ones that it shows, and repeats: each with searches of its own, and with those that were found.

Both ways are checked to say the same. Results go to benchmarks/results/shared_pairs.json.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from gantlet.commands.copies import repeats
from gantlet.core.rng import Rng
from gantlet.metrics.collisions import Birthday
from gantlet.metrics.copying import nearest_training
from gantlet.metrics.kernel import Energy, Kid
from gantlet.metrics.measure import Found, detail_all
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.metrics.neighbours import Coverage, Density, Precision, Realism, Recall
from gantlet.stats.jackknife import estimate_of

WIDTH = 1280
RESULT = Path(__file__).parent / "results" / "shared_pairs.json"
KERNELS = {"kid": Kid(), "energy": Energy()}
NEIGHBOURS = {
    "precision": Precision(),
    "recall": Recall(),
    "density": Density(),
    "coverage": Coverage(),
    "realism": Realism(),
    "birthday": Birthday(),
}

T = TypeVar("T")


def features(n: int, shift: float, name: str) -> Tensor:
    rng = Rng(0).stream(name)
    spectrum = torch.arange(1, WIDTH + 1) ** -0.5
    mix = torch.randn(WIDTH, 64, generator=Rng(1).stream("mix")) / 8
    common = torch.randn(n, 64, generator=rng) @ mix.T
    return (common + torch.randn(n, WIDTH, generator=rng) * spectrum + shift).relu()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def looked_at(x: Tensor, y: Tensor, searches: Searches | None) -> tuple[dict[str, Found], Tensor]:
    """Returns what an evaluation asks of neighbours."""
    found = detail_all(
        NEIGHBOURS, x, y, rng=Rng(0), searches=searches, across=searches is not None
    )
    near = nearest_training(y, x, searches=searches)[1]
    return found, torch.cat([near.flatten(), repeats(x, y, searches).double()])


def kernels(x: Tensor, y: Tensor) -> dict[str, object]:
    alone, separately = timed(
        lambda: {k: m.detail(x, y, rng=Rng(0).stream(k)) for k, m in KERNELS.items()}
    )
    shared, together = timed(lambda: detail_all(KERNELS, x, y, rng=Rng(0)))
    apart = []
    for name, one in alone.items():
        a, b = one.estimate, estimate_of(shared[name])
        width = a.high - a.low
        ends = zip((a.low, a.value, a.high), (b.low, b.value, b.high), strict=True)
        apart.append(max(abs(p - q) for p, q in ends) / width)
        assert a.also["p"] == b.also["p"]
    return told(separately, together) | {"largest difference, of an interval": max(apart)}


def neighbours(x: Tensor, y: Tensor) -> dict[str, object]:
    (alone, first), separately = timed(lambda: looked_at(x, y, None))
    (shared, second), together = timed(lambda: looked_at(x, y, Searches()))
    same = all(estimate_of(alone[k]) == estimate_of(shared[k]) for k in alone)
    assert same
    assert torch.equal(first, second)
    return told(separately, together) | {"the same to the last bit": same}


def told(separately: float, together: float) -> dict[str, object]:
    return {
        "CPU seconds, each alone": round(separately, 1),
        "CPU seconds, shared": round(together, 1),
        "ratio": round(together / separately, 2),
    }


def main() -> None:
    torch.set_num_threads(1)
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    x, y = features(n, 0.0, "real"), features(n, 0.05, "fake")
    result = {
        "samples": [n, n],
        "features": WIDTH,
        "KID and energy distance": kernels(x, y),
        "neighbours": neighbours(x, y),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
