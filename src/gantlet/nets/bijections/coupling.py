"""Couplings: one part of a sample decides how the other is changed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from torch import Tensor, cat, nn
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection
from gantlet.nets.bijections.transforms import Transform


@final
class Coupling(Bijection):
    """Keeps one part of a sample and changes the other in a way that the kept part decides.

    Source: Dinh, Krueger and Bengio, 2014, https://arxiv.org/abs/1410.8516, equations 4 and 5.

    Args:
        net: From the kept part to the parameters of ``transform``, along the second axis.
        transform: How each component of the other part is changed.
        sizes: How long the first and the second part are, along the second axis.
        keep: Which of them is kept, 0 or 1.
    """

    def __init__(
        self, net: nn.Module, transform: Transform, sizes: tuple[int, int], *, keep: int
    ) -> None:
        super().__init__()
        self.net = net
        self.transform = transform
        self.sizes = sizes
        self.keep = keep

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = self._part(x)
        z, log_det = self.transform(changed, self.net(kept))
        return self._join(kept, z), log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        kept, changed = self._part(z)
        return self._join(kept, self.transform.inverse(changed, self.net(kept)))

    def _part(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split_with_sizes(self.sizes, 1)
        return (second, first) if self.keep else (first, second)

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return cat([changed, kept] if self.keep else [kept, changed], 1)


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
