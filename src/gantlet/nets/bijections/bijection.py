"""What a bijection is, and several in a row."""

import abc
from collections.abc import Iterable
from typing import cast, final

import torch
from torch import Tensor, nn
from typing_extensions import override


class Bijection(nn.Module, abc.ABC):
    """An invertible map from samples to codes that knows how it changes volume."""

    @property
    def depths(self) -> tuple[int, int]:
        """Dependent network evaluations of ``forward`` and of ``inverse``; one is a whole pass."""
        return 1, 1

    @abc.abstractmethod
    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and ``log |det dz/dx|`` of each sample, shape ``(n,)``, in nats."""

    @abc.abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z``."""

    def prepare(self, x: Tensor) -> Tensor:
        """Sets what depends on data from one batch of inputs and returns what they become."""
        return cast("Tensor", self(x)[0])


@final
class Chain(Bijection):
    """Bijections one after the other.

    Args:
        parts: The bijections, from samples towards codes.
    """

    def __init__(self, parts: Iterable[Bijection]) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)

    @property
    def parts(self) -> list[Bijection]:
        """The bijections, from samples towards codes."""
        return [cast("Bijection", part) for part in self._parts]

    @property
    @override
    def depths(self) -> tuple[int, int]:
        """Those of the deepest part: all parts together are one pass of the network."""
        each = [part.depths for part in self.parts]
        return max(there for there, _ in each), max(back for _, back in each)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for part in self._parts:
            x, change = part(x)
            log_det = log_det + change
        return x, log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        for part in reversed(self.parts):
            z = part.inverse(z)
        return z

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part.prepare(x)
        return x
