"""Couplings: one part of a sample decides how the other is changed, and the networks in them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection
from gantlet.nets.bijections.transforms import Transform


@final
class Couplings(Bijection):
    """Parts a sample in two; each part in turn is changed in a way that the other decides.

    The second part is changed first, by the first network, then the first part by the second
    network, and so on.
    Source: Dinh, Krueger and Bengio, 2014, https://arxiv.org/abs/1410.8516, equations 4 and 5.

    Args:
        nets: From the part that is kept to the parameters of ``transform``, along the second
            axis.
        transform: How each component of the other part is changed.
        sizes: How long the first and the second part are, along the second axis.
    """

    def __init__(
        self, nets: Iterable[nn.Module], transform: Transform, sizes: tuple[int, int]
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.transform = transform
        self.sizes = sizes

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # One cut and one joint for all turns: copying costs as much as a small layer.
        parts = list(x.split_with_sizes(self.sizes, 1))
        log_det = x.new_zeros(len(x))
        for turn, net in enumerate(self.nets):
            kept, changed = turn % 2, 1 - turn % 2
            parts[changed], change = self.transform(parts[changed], net(parts[kept]))
            log_det = log_det + change
        return torch.cat(parts, 1), log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        parts = list(z.split_with_sizes(self.sizes, 1))
        for turn, net in reversed(list(enumerate(self.nets))):
            kept, changed = turn % 2, 1 - turn % 2
            parts[changed] = self.transform.inverse(parts[changed], net(parts[kept]))
        return torch.cat(parts, 1)


def dense(inputs: int, outputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Returns ``depth`` hidden layers for vectors; its first outputs are all zero."""
    sizes = [inputs, *[width] * depth]
    hidden = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return _stack(hidden, nn.Linear(sizes[-1], outputs))


def convolutional(inputs: int, outputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Returns ``depth`` hidden layers for images; its first outputs are all zero.

    The first and the last layer look at 3 x 3 pixels, those between at one.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, appendix B.
    """
    sizes = [inputs, *[width] * depth]
    kernels = [3, *[1] * (depth - 1)]
    hidden = [
        nn.Conv2d(a, b, k, padding=k // 2)
        for (a, b), k in zip(pairwise(sizes), kernels, strict=True)
    ]
    return _stack(hidden, nn.Conv2d(sizes[-1], outputs, 3, padding=1))


def _stack(hidden: Sequence[nn.Linear | nn.Conv2d], last: nn.Linear | nn.Conv2d) -> nn.Sequential:
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    layers = [layer for h in hidden for layer in (h, nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, last)
