"""Linear maps that are too large to be written down: only their products with vectors are."""

import abc
from typing import final

import torch
from torch import Tensor
from typing_extensions import override


class Linear(abc.ABC):
    """A real square matrix, given by its products."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many rows and columns it has."""

    @property
    @abc.abstractmethod
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the vectors that it takes."""

    @abc.abstractmethod
    def apply(self, u: Tensor) -> Tensor:
        """Returns its product with ``u``, shape ``(size,)``."""

    @abc.abstractmethod
    def transposed(self, u: Tensor) -> Tensor:
        """Returns the product of its transpose with ``u``, shape ``(size,)``."""

    def dense(self) -> Tensor:
        """Returns the matrix itself, shape ``(size, size)``, from as many products."""
        units = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.stack([self.transposed(u) for u in units])


@final
class Matrix(Linear):
    """A matrix that is written down.

    Args:
        entries: Shape ``(size, size)``.
    """

    def __init__(self, entries: Tensor) -> None:
        self._entries = entries

    @property
    @override
    def size(self) -> int:
        return len(self._entries)

    @property
    @override
    def like(self) -> Tensor:
        return self._entries

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._entries @ u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._entries.T @ u

    @override
    def dense(self) -> Tensor:
        return self._entries


class Wrapped(Linear, abc.ABC):
    """A map made of another one, of the same size.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: Linear) -> None:
        self._inner = inner

    @property
    @override
    def size(self) -> int:
        return self._inner.size

    @property
    @override
    def like(self) -> Tensor:
        return self._inner.like


@final
class Preconditioned(Wrapped):
    """``R^1/2 J R^1/2`` for a diagonal ``R`` of rates: it has the eigenvalues of ``R J``.

    With the learning rate of each player, or Adam's ``lr / (sqrt(second moment) + eps)``, ``R J``
    is what one step adds to the identity.

    Args:
        inner: ``J``.
        rates: The diagonal of ``R``, shape ``(size,)``, none negative.
    """

    def __init__(self, inner: Linear, rates: Tensor) -> None:
        super().__init__(inner)
        self._root = rates.to(inner.like).sqrt()

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._root * self._inner.apply(self._root * u)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._root * self._inner.transposed(self._root * u)


@final
class Shifted(Wrapped):
    """``I + step * J``.

    Args:
        inner: ``J``.
        step: The step.
    """

    def __init__(self, inner: Linear, step: float) -> None:
        super().__init__(inner)
        self._step = step

    @override
    def apply(self, u: Tensor) -> Tensor:
        return u + self._step * self._inner.apply(u)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return u + self._step * self._inner.transposed(u)
