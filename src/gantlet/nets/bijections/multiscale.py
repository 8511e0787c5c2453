"""Several resolutions, each of which hands half of its channels straight to the code."""

import math
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection


@final
class EarlyExit(Bijection):
    """One level of a multi-scale flow: half of the channels leave for the code, the rest go on.

    The code holds what leaves and then what the rest becomes, so that no component is lost.
    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803,
    equations 13 to 16.

    Args:
        level: What happens to images at this resolution.
        rest: What happens to the channels that go on, the first half; its codes are vectors.
        shape: The shape of the other half.
    """

    def __init__(self, level: Bijection, rest: Bijection, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.level = level
        self.rest = rest
        self.shape = shape

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.level(x)
        on, leaves = y.chunk(2, 1)
        z, change = self.rest(on)
        return torch.cat([leaves.flatten(1), z], 1), log_det + change

    @override
    def inverse(self, z: Tensor) -> Tensor:
        size = math.prod(self.shape)
        leaves, z = z.tensor_split([size], 1)
        y = torch.cat([self.rest.inverse(z), leaves.reshape(len(z), *self.shape)], 1)
        return self.level.inverse(y)

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        on, leaves = self.level.prepare(x).chunk(2, 1)
        return torch.cat([leaves.flatten(1), self.rest.prepare(on)], 1)
