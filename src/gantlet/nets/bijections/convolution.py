"""Learned mixing of channels."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection


@final
class InvertibleConv(Bijection):
    """An invertible 1 x 1 convolution, held as ``W = P L (U + diag(s))``.

    ``P`` and the signs of ``s`` are fixed, ``L`` has ones and ``U`` zeros on the diagonal, so
    ``log |det W|`` is the sum of ``log |s|``. Starts as a random rotation.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, equations 9 to 11.

    Args:
        channels: How many channels are mixed.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = nn.init.orthogonal_(torch.empty(channels, channels))
        P, L, U = torch.linalg.lu(rotation)
        s = U.diagonal()
        self.register_buffer("permutation", P)
        self.register_buffer("sign", s.sign())
        self.lower = nn.Parameter(L.tril(-1))
        self.upper = nn.Parameter(U.triu(1))
        self.log_scale = nn.Parameter(s.abs().log())

    @property
    def weight(self) -> Tensor:
        """The matrix ``W``, shape ``(channels, channels)``."""
        return self.permutation @ self._lower() @ self._upper()

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        return _mix(self.weight, x), (self.log_scale.sum() * pixels).expand(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        back = torch.linalg.solve_triangular(
            self._lower(), self.permutation.T, upper=False, unitriangular=True
        )
        return _mix(torch.linalg.solve_triangular(self._upper(), back, upper=True), z)

    def _lower(self) -> Tensor:
        return self.lower.tril(-1) + torch.ones_like(self.log_scale).diag()

    def _upper(self) -> Tensor:
        return self.upper.triu(1) + (self.sign * self.log_scale.exp()).diag()


def _mix(weight: Tensor, x: Tensor) -> Tensor:
    return conv2d(x, weight[:, :, None, None])
