"""How a coupling changes one component, given parameters that the other half decides."""

import abc
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override


class Transform(nn.Module, abc.ABC):
    """A monotonic map of each component, steered by parameters; all parameters 0 is the identity.

    Parameters come along the second axis, ``count`` times as long as that of the input:
    first the first parameter of all components, then the second, and so on.
    """

    count: ClassVar[int]

    @abc.abstractmethod
    @override
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and ``log |det dz/dx|`` of each sample, shape ``(n,)``, in nats."""

    @abc.abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z``."""


@final
class Affine(Transform):
    """``z = x exp(s) + t`` with ``s = 2 tanh(l / 2)``, so that no scale leaves [e^-2, e^2].

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, equation 7.

    Differs from the paper: the scale is bounded by 2 without a learned factor. Without a bound,
    likelihoods of samples away from the data overflow.
    """

    count = 2

    @override
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(raw)
        return torch.addcmul(t, x, s.exp()), s.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        s, t = self._scale_and_shift(raw)
        return (z - t) * (-s).exp()

    def _scale_and_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        l, t = raw.chunk(2, 1)
        return 2 * (l / 2).tanh(), t
