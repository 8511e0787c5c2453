"""Points where a game stands still, and what kind of points they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.func import jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

Field = Callable[[Tensor], Tensor]
"""From all numbers of all players, shape ``(p,)``, to the field there, shape ``(p,)``."""

Kind = Literal["Nash", "stable", "unstable"]

# Eigenvalues below this share of the largest count as zero.
_FLAT = 1e-6
# The damping goes down by the first after a good step, up by the second after a bad one.
_DOWN, _UP = 5.0, 4.0


@final
@dataclass(frozen=True, slots=True)
class Settled:
    """Where many searches ended.

    Attributes:
        z: The points, shape ``(n, p)``.
        v: The field there, shape ``(n, p)``.
        jacobian: Its Jacobian there, shape ``(n, p, p)``.
    """

    z: Tensor
    v: Tensor
    jacobian: Tensor

    def is_still(self, tolerance: float = 1e-8) -> Tensor:
        """Returns which points are stationary, shape ``(n,)``.

        A search may also end where ``|v|`` has a minimum that is not zero, as Frye et al., 2021,
        https://arxiv.org/abs/2003.10397, found it mostly does in large networks.
        """
        still: Tensor = self.v.norm(dim=1) <= tolerance
        return still


@torch.no_grad()
def settle(field: Field, z: Tensor, *, steps: int) -> Settled:
    """Searches stationary points of any kind from many points: minima, saddles, whatever is near.

    Gauss-Newton steps on ``|v|^2``, damped as Levenberg and Marquardt do; a step that does not
    lower ``|v|`` is not taken.

    Source: Marquardt, 1963, https://doi.org/10.1137/0111030; damped by the largest diagonal
    element of ``J^T J`` rather than by each.

    Args:
        field: Twice differentiable by ``torch.func``.
        z: Where to begin, shape ``(n, p)``, double precision.
        steps: How many steps.
    """

    def looked(at: Tensor) -> tuple[Tensor, Tensor]:
        def both(one: Tensor) -> tuple[Tensor, Tensor]:
            v = field(one)
            return v, v

        jacobian, v = jacrev(both, has_aux=True)(at)
        return v, jacobian

    look = make_fx(vmap(looked))(z)
    look.graph.eliminate_dead_code()
    look.recompile()
    now = Settled(z, *look(z))
    damping = torch.full((len(z),), 1e-2, dtype=z.dtype)
    for _ in range(steps):
        there = now.z + _step(now, damping)
        ahead = Settled(there, *look(there))
        better = ahead.v.norm(dim=1) < now.v.norm(dim=1)
        now = _chosen(better, ahead, now)
        damping = torch.where(better, damping / _DOWN, damping * _UP).clamp(1e-14, 1e6)
    return now


def _step(now: Settled, damping: Tensor) -> Tensor:
    square = now.jacobian.mT @ now.jacobian
    scale = damping * square.diagonal(dim1=1, dim2=2).amax(1)
    damped = square + torch.diag_embed(scale[:, None].expand(-1, square.shape[1]))
    slope = now.jacobian.mT @ now.v[:, :, None]
    # Where the matrix is singular to the last digit, the next step is damped more.
    found, failed = torch.linalg.solve_ex(damped, slope)
    return torch.where(failed[:, None] == 0, -found[..., 0], torch.zeros_like(now.z))


def _chosen(better: Tensor, ahead: Settled, now: Settled) -> Settled:
    return Settled(
        torch.where(better[:, None], ahead.z, now.z),
        torch.where(better[:, None], ahead.v, now.v),
        torch.where(better[:, None, None], ahead.jacobian, now.jacobian),
    )


@final
@dataclass(frozen=True, slots=True)
class Character:
    """What a stationary point is like.

    Attributes:
        kind: ``Nash``: stable, and no player can gain by a small move of its own. ``stable``:
            play comes back to it, though a player alone could gain. ``unstable``: play leaves it.
        index: The share of directions in which play leaves it, in [0, 1]: that of eigenvalues of
            the Jacobian with positive real part. For one player, of negative ones of its Hessian.
        turning: The largest share of imaginary part in an eigenvalue, in [0, 1].
    """

    kind: Kind
    index: float
    turning: float


def character(jacobian: Tensor, players: Sequence[slice]) -> Character:
    """Returns what a stationary point is like, from the Jacobian of ``v`` there.

    The three kinds are told apart as in Berard et al., 2020, https://arxiv.org/abs/1906.04848,
    section 2.

    Args:
        jacobian: Shape ``(p, p)``.
        players: Which rows and columns are whose.
    """
    values = torch.linalg.eigvals(jacobian)
    least = _FLAT * float(values.abs().max())
    leaves = values.real > least
    moving = values[values.abs() > least]
    turning = float((moving.imag.abs() / moving.abs()).max()) if len(moving) else 0.0
    kind: Kind = "unstable" if bool(leaves.any()) else "stable"
    if kind == "stable" and all(_is_least(jacobian[own, own]) for own in players):
        kind = "Nash"
    return Character(kind, float(leaves.double().mean()), turning)


def _is_least(block: Tensor) -> bool:
    """Whether minus a player's Hessian has no positive eigenvalue."""
    values = torch.linalg.eigvalsh((block + block.mT) / 2)
    return float(values.max()) <= _FLAT * float(values.abs().max())
