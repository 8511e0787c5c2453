"""How `gantlet evaluate --labels` finds faults of single classes of a conditional GAN.

Run from the repository: OMP_NUM_THREADS=1 nice python benchmarks/classes.py [PART ...]

The generator is a published class-conditional WGAN-GP of MNIST. Its own samples stand for real
data, so that the truth is known: further samples of it are flawless, and faults are planted in
one or two classes. All samples are drawn once, and their features are those of the default
extractor, the classifier, trained on MNIST once; each run then draws 1,000 reference samples and
1,000 fakes of these and calls the command itself, on files of features with labels. Parts:

- faults: 20 runs each of a class that is missing, two classes whose labels are swapped, a class
  half as frequent, and a class that varies less (latent vectors scaled by 0.4): is it named first?
- null: 200 runs of flawless samples: how often is any claim about classes made?
- intervals: 1,000 draws of Gaussian classes whose KID is known in closed form: how often do the
  intervals of all classes hold together, and each on its own?
- images: one run of each fault on the images themselves, with all defaults.

The result goes to benchmarks/results/classes.json, with exact binomial intervals. About 12 CPU
minutes.
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import gantlet
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors
from gantlet.metrics.conditional import Labelled, measure_classes
from gantlet.stats.intervals import proportion

RESULT = Path(__file__).parent.resolve() / "results" / "classes.json"
DATA = Path(os.environ.get("GANTLET_DATA", Path(__file__).parents[2] / "shared" / "data"))
N, RUNS, NULLS, DRAWS = 1_000, 20, 200, 1_000
BANK = 24_000

Draw = np.random.Generator
Array = NDArray[np.float32]

# ----------------------------------------------------------------------------
# The generator: HayatoHongo/MNIST-Conditional-WGAN-gp, MIT.
# ----------------------------------------------------------------------------


class Generator(nn.Module):
    """A class-conditional generator of MNIST; its weights are a published training's."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(10, 10)
        self.l1 = nn.Sequential(nn.Linear(20, 128 * 7 * 7))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128, 0.8),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64, 0.8),
            nn.ReLU(),
            nn.Conv2d(64, 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Returns images, shape ``(n, 1, 28, 28)`` in [-1, 1], from latent vectors ``(n, 10)``."""
        both = torch.cat([z, self.label_emb(label)], 1)
        found: Tensor = self.conv_blocks(self.l1(both).view(-1, 128, 7, 7))
        return found


def generator() -> Generator:
    """Returns the generator with its published weights."""
    path = DATA / "weights" / "mnist_cwgan_gp_generator.pth"
    net = Generator()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


@torch.no_grad()
def images(label: Tensor, *, seed: int, spread: float = 1.0) -> Tensor:
    """Returns images of these labels as bytes, shape ``(n, 1, 28, 28)``."""
    z = spread * torch.randn(len(label), 10, generator=torch.Generator().manual_seed(seed))
    net = generator()
    parts = zip(torch.split(z, 500), torch.split(label, 500), strict=True)
    x = torch.cat([net(*part) for part in parts])
    return ((x + 1) * 127.5).round().to(torch.uint8)
