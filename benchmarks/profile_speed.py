"""CPU seconds and memory of a profile, for 1,500 points in 784 dimensions and other sizes.

Run from the repository: python benchmarks/profile_speed.py
A profile of 1,500 x 784 must take at most 2 CPU seconds. Sets are Gaussian, or 32 separated blobs,
which is the most that the mixture tries. Prints one line per set, and exits with 1 if the limit is
exceeded.
"""

import resource
import sys
import time

import numpy as np
import torch

from gantlet.core.rng import Rng
from gantlet.forecast.profile import profile

LIMIT = 2.0


def sets():
    """Yields name and points, shape ``(1500, d)``."""
    random = np.random.default_rng(0)
    for d, apart in ((784, 3), (8, 5)):
        yield "Gaussian", random.normal(size=(1500, d))
        centres = apart * random.normal(size=(32, d))
        yield "32 blobs", centres[random.integers(32, size=1500)] + random.normal(size=(1500, d))


def main():
    """Measures each set once, on one thread."""
    torch.set_num_threads(1)
    profile(torch.randn(50, 3), rng=Rng(0))  # imports
    slow = False
    for name, x in sets():
        start = time.process_time()
        found = profile(torch.from_numpy(x), rng=Rng(0))
        took = time.process_time() - start
        slow |= x.shape[1] == 784 and took > LIMIT
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        told = f"{len(found)} features, {took:.2f} CPU seconds, peak memory {memory:.2f} GB"
        print(f"{name}, {x.shape[0]:,} x {x.shape[1]}: {told}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
