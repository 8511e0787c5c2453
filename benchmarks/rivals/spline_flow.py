"""Neural spline flow (Durkan et al., 2019, https://arxiv.org/abs/1906.04032) of the library zuko.

zuko's class NSF as it comes: autoregressive rational-quadratic splines of 8 pieces on [-5, 5],
three transformations, networks with two hidden layers of 64. Components are standardized; Adam
with a learning rate of 0.001 that falls to zero along a cosine, batches of 256, gradients clipped
at a norm of 5, as in the paper. Differs from it: 0.0005 there, for much longer trainings.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from zuko.flows import NSF

VECTORS = True
TRANSFORMS, HIDDEN, BATCH, RATE, CLIP = 3, (64, 64), 256, 1e-3, 5.0
FLOOR = 0.1
"""The least deviation that a component is divided by, as a share of the largest: pixels at the
border are constant but for noise."""


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on vectors ``(n, d)``, float32, for so many CPU seconds of the process.

    Returns:
        The sampler: a number of samples to vectors like ``x``.

    Raises:
        ValueError: If samples are not vectors.
    """
    if x.ndim != 2:
        raise ValueError(f"a spline flow takes vectors, not samples of shape {tuple(x.shape[1:])}")
    begun = time.process_time()
    torch.manual_seed(seed)
    mean, std = x.mean(0), x.std(0)
    std = std.clamp(min=FLOOR * float(std.max()))
    flow = NSF(x.shape[1], transforms=TRANSFORMS, hidden_features=HIDDEN)
    adam = torch.optim.Adam(flow.parameters(), RATE)
    while (used := (time.process_time() - begun) / seconds) < 1:
        for group in adam.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * used)) / 2
        rows = torch.randint(len(x), (BATCH,))
        loss = -flow().log_prob((x[rows] - mean) / std).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), CLIP)
        adam.step()
    generator = flow()

    @torch.no_grad()
    def sample(n: int) -> Tensor:
        return generator.sample((n,)) * std + mean

    return sample
