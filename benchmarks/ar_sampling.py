"""How much cheaper the pixel transformer samples with its cache: a ratio of CPU times.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/ar_sampling.py
Both ways run in one process, in turn, on the default model for 8x8 digits (64 tokens, untrained:
weights do not change the cost). The result goes to benchmarks/results/ar_sampling.json.
"""

import json
import statistics
import time
from pathlib import Path

import torch

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.models.ar import Autoregressive, PixelTransformer
from gantlet.probes.sampling import median

REPEATS = {64: 15, 256: 7}
RESULT = Path(__file__).parent / "results" / "ar_sampling.json"


def seconds(model: PixelTransformer, batch: int, *, cached: bool) -> float:
    start = time.process_time()
    model.sample(batch, rng=Rng(0).stream("sample"), cached=cached)
    return time.process_time() - start


def compare(model: PixelTransformer, batch: int, repeats: int) -> dict[str, float | int | None]:
    seconds(model, batch, cached=True)
    pairs = [
        (seconds(model, batch, cached=False), seconds(model, batch, cached=True))
        for _ in range(repeats)
    ]
    ratios = [naive / cached for naive, cached in pairs]
    ratio = median(ratios, unit="1", better="higher", of="runs")
    return {
        "batch": batch,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "repeats": repeats,
        "naive_cpu_seconds": statistics.median(naive for naive, _ in pairs),
        "cached_cpu_seconds": statistics.median(cached for _, cached in pairs),
    }


def main() -> None:
    torch.set_num_threads(1)
    model = Autoregressive().build(Space("image", (1, 8, 8), 17), rng=Rng(0)).model
    assert isinstance(model, PixelTransformer)
    result = {
        "what": "CPU time to draw a batch of samples of 64 tokens, naive over cached, median",
        "wanted": "at least 5",
        "torch": torch.__version__,
        "threads": 1,
        "rows": [compare(model, batch, repeats) for batch, repeats in REPEATS.items()],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
