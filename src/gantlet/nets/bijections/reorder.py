"""Bijections that only move components: their volume change is zero."""

from collections.abc import Sequence
from itertools import product
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection


@final
class Flatten(Bijection):
    """Lays each sample out as a vector.

    Args:
        shape: The shape of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return z.view(len(z), *self.shape)


@final
class Permute(Bijection):
    """Puts the components of a vector in another order.

    Args:
        order: Which component comes first, second, and so on.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("back", torch.tensor(inverted(order)), persistent=False)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.order), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return z.index_select(1, self.back)


@final
class Squeeze(Bijection):
    """Trades space for channels: each 2 x 2 patch becomes four channels of one pixel.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, section 3.6.
    """

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return pixel_unshuffle(x, 2), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return pixel_shuffle(z, 2)


def checkerboard(shape: tuple[int, ...]) -> list[int]:
    """Returns the order that puts the white squares of a sample before the black ones.

    A square is white where the sum of its indices is even; of a vector, every second component.
    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, figure 3.

    Example:
        >>> checkerboard((4,)), checkerboard((1, 2, 2))
        ([0, 2, 1, 3], [0, 3, 1, 2])
    """
    axes = [range(size) for size in shape]
    colours = [sum(index) % 2 for index in product(*axes)]
    return sorted(range(len(colours)), key=colours.__getitem__)


def inverted(order: Sequence[int]) -> list[int]:
    """Returns the order that undoes ``order``.

    Example:
        >>> inverted([2, 0, 1])
        [1, 2, 0]
    """
    return sorted(range(len(order)), key=order.__getitem__)
