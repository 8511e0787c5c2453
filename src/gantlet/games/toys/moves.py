"""One step of each way to play, as a map of all numbers of all players to the next ones.

The same steps as the solvers take (a test holds both together), written so that many plays can be
moved by one program. ``v`` is the field, minus each player's own gradient; ``J`` its Jacobian.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import vjp
from typing_extensions import override

Field = Callable[[Tensor], Tensor]
"""From all numbers, shape ``(p,)``, to the field there, shape ``(p,)``."""

Direction = Callable[[Field, Tensor], Tensor]
"""Where to go from one point, given the field."""


def simultaneous(field: Field, z: Tensor) -> Tensor:
    """Returns ``v``: every player descends its own loss."""
    return field(z)


@final
@dataclass(frozen=True, slots=True)
class _Turned:
    """The field at a point, and its products with the Jacobian there.

    All by reverse mode: ``J^T w`` is linear in ``w``, and the transpose of that map is ``J``.
    """

    v: Tensor
    pull: Callable[[Tensor], tuple[Tensor, ...]]

    @classmethod
    def at(cls, field: Field, z: Tensor) -> "_Turned":
        found: Any = vjp(field, z)
        return cls(*found)

    def transposed(self) -> Tensor:
        """Returns ``J^T v``."""
        return self.pull(self.v)[0]

    def both(self) -> tuple[Tensor, Tensor]:
        """Returns ``J v`` and ``J^T v``."""

        def pulled_by(w: Tensor) -> Tensor:
            return self.pull(w)[0]

        found: Any = vjp(pulled_by, self.v)
        pulled, push = found
        return push(self.v)[0], pulled


@final
@dataclass(frozen=True, slots=True)
class Consensus:
    """``v - weight J^T v``, the descent of ``|v|^2 / 2`` mixed in.

    Source: Mescheder et al., 2017, https://arxiv.org/abs/1705.10461.
    """

    weight: float

    def __call__(self, field: Field, z: Tensor) -> Tensor:
        """Returns the direction."""
        here = _Turned.at(field, z)
        return here.v - self.weight * here.transposed()


@final
@dataclass(frozen=True, slots=True)
class Adjusted:
    """``v + weight / 2 (J - J^T) v``, symplectic gradient adjustment of constant weight.

    Source: Balduzzi et al., 2018, https://arxiv.org/abs/1802.05642.
    """

    weight: float

    def __call__(self, field: Field, z: Tensor) -> Tensor:
        """Returns the direction."""
        here = _Turned.at(field, z)
        pushed, pulled = here.both()
        return here.v + self.weight / 2 * (pushed - pulled)


def crossing_the_curl(field: Field, z: Tensor) -> Tensor:
    """Returns ``(J - J^T) v / 2``.

    Source: Gemp and Mahadevan, 2018, https://arxiv.org/abs/1808.01531.
    """
    pushed, pulled = _Turned.at(field, z).both()
    return (pushed - pulled) / 2


def looking_ahead(field: Field, z: Tensor) -> Tensor:
    """Returns ``J v``, the change of the field along itself: extragradient without ``v``."""
    return _Turned.at(field, z).both()[0]


class Move(abc.ABC):
    """A rule that takes all numbers to the next ones, and may remember as many."""

    def start(self, z: Tensor) -> Tensor:
        """Returns what is remembered at first, a tensor of one axis."""
        return z[:0]

    @abc.abstractmethod
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the next numbers, and what is remembered then.

        Args:
            field: The field.
            z: All numbers of all players, shape ``(p,)``.
            rates: The step of each number, shape ``(p,)``.
            memory: What was remembered.
        """


@final
@dataclass(frozen=True, slots=True)
class Euler(Move):
    """One step along a direction."""

    direction: Direction = simultaneous

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        return z + rates * self.direction(field, z), memory


@final
@dataclass(frozen=True, slots=True)
class InTurn(Move):
    """The first player's numbers, the first ``first`` of all, move before the others look."""

    first: int

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        leads = (torch.arange(len(z)) < self.first).to(z.dtype)
        z = z + leads * rates * field(z)
        return z + (1 - leads) * rates * field(z), memory


@final
@dataclass(frozen=True, slots=True)
class Extragradient(Move):
    """A step along the field that is seen one step ahead.

    Source: Korpelevich, 1976; for GANs Gidel et al., 2019, https://arxiv.org/abs/1802.10551.
    """

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        return z + rates * field(z + rates * field(z)), memory


@final
@dataclass(frozen=True, slots=True)
class Optimistic(Move):
    """Twice the field less the last one, which is 0 at first.

    Source: Daskalakis et al., 2018, https://arxiv.org/abs/1711.00141.
    """

    @override
    def start(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        v = field(z)
        return z + rates * (2 * v - memory), v


@final
@dataclass(frozen=True, slots=True)
class Lookahead(Move):
    """``inner`` simultaneous steps, then back to ``share`` of the way.

    Source: Chavdarova et al., 2021, https://arxiv.org/abs/2006.14567.
    """

    inner: int = 6
    share: float = 0.5

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        far = z
        for _ in range(self.inner):
            far = far + rates * field(far)
        return torch.lerp(z, far, self.share), memory


@final
@dataclass(frozen=True, slots=True)
class Adaptive(Move):
    """Heun's step along a direction, as long as the error of Euler's step allows.

    A step whose error is too large is not made, only shortened. What is remembered is its length,
    in steps of ``rates``.

    Source: the Heun-Euler pair, as used by Gemp and Mahadevan, 2018,
    https://arxiv.org/abs/1808.01531; the controller as Hairer, Norsett and Wanner, 1993, II.4.

    Attributes:
        direction: Along what.
        tolerance: Largest error of a step, relative to ``1 + |z|``.
    """

    direction: Direction
    tolerance: float = 1e-3

    @override
    def start(self, z: Tensor) -> Tensor:
        return z.new_ones(1)

    @override
    def __call__(
        self, field: Field, z: Tensor, rates: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        step = memory * rates
        here = self.direction(field, z)
        there = self.direction(field, z + step * here)
        size = 1 + torch.linalg.norm(z)
        error = torch.linalg.norm(step * (there - here) / 2) / (size * self.tolerance)
        moved = z + torch.where(error < 1, step * (here + there) / 2, 0.0)
        factor = (0.9 / error.clamp(min=1e-12).sqrt()).clamp(0.2, 2.0)
        # A point so far off that the error overflows is looked at again with a shorter step.
        return moved, memory * torch.where(error.isfinite(), factor, 0.2)
