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

from gantlet.core.intervals import mean
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.families.ar import Autoregressive, PixelTransformer

REPEATS = 15
BATCH = 64
RESULT = Path(__file__).parent / "results" / "ar_sampling.json"


def seconds(model: PixelTransformer, *, cached: bool) -> float:
    start = time.process_time()
    model.sample(BATCH, rng=Rng(0).stream("sample"), cached=cached)
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    model = Autoregressive().build(Space("image", (1, 8, 8), 17), rng=Rng(0)).model
    assert isinstance(model, PixelTransformer)
    seconds(model, cached=True)
    pairs = [(seconds(model, cached=False), seconds(model, cached=True)) for _ in range(REPEATS)]
    ratio = mean([naive / cached for naive, cached in pairs], of="repeats")
    result = {
        "what": f"CPU time to draw {BATCH} samples of 64 tokens, naive over cached",
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "repeats": REPEATS,
        "naive_cpu_seconds": statistics.median(naive for naive, _ in pairs),
        "cached_cpu_seconds": statistics.median(cached for _, cached in pairs),
        "wanted": "at least 5",
        "torch": torch.__version__,
        "threads": 1,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
