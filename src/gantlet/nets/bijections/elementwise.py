"""Bijections that treat each component by itself."""

import math
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection


@final
class ActNorm(Bijection):
    """Subtracts and scales, so that the first batch comes out with mean 0 and deviation 1.

    ``z = x exp(s) + t``, trained like any other layer afterwards.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, section 3.1.

    Args:
        shape: The shape of one sample, with 1 where all share a value: ``(channels, 1, 1)`` is
            the paper's, one value for each channel; ``(size,)`` has one for each component.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.addcmul(self.shift, x, self.log_scale.exp())
        copies = math.prod(x.shape[1:]) // self.log_scale.numel()
        return z, (self.log_scale.sum() * copies).expand(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return (z - self.shift) * (-self.log_scale).exp()

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        shared = [0] + [i + 1 for i, size in enumerate(self.shift.shape) if size == 1]
        mean = x.mean(shared, keepdim=True)
        std = (x - mean).square().mean(shared, keepdim=True).sqrt()
        # What does not vary in the batch is left at its own scale.
        scale = torch.where(std > 0, std, torch.ones_like(std))
        self.shift.copy_((-mean / scale).view_as(self.shift))
        self.log_scale.copy_(-scale.log().view_as(self.shift))
        return super().prepare(x)


@final
class Logit(Bijection):
    """Opens a bounded interval to the whole line: ``z = logit(a + (1 - 2a) (x + 1) / 2)``.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803,
    section 4.1.

    Differs from the paper: symmetric in its two ends, so that both stay finite.

    Args:
        alpha: How far the ends of [-1, 1] stay from 0 and 1.
    """

    def __init__(self, alpha: float = 0.01) -> None:
        super().__init__()
        self.alpha = alpha

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Samples, unlike data, can round to 0 or 1: their codes are kept finite.
        eps = torch.finfo(x.dtype).eps
        u = (x * (0.5 - self.alpha) + 0.5).clamp(eps, 1 - eps)
        log_u, log_rest = u.log(), (1 - u).log()
        log_det = math.log(0.5 - self.alpha) - log_u - log_rest
        return log_u - log_rest, log_det.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return (z.sigmoid() - 0.5) / (0.5 - self.alpha)
