"""What pen and paper say of the LGQ GAN: solutions, trajectories, invariants, thresholds.

``S`` is the covariance of the data, ``W`` the critic's matrix, ``A`` the generator's, ``h`` the
generator's step and ``tau h`` the critic's. Derivations: docs/questions/convergence.md.
"""

import torch
from torch import Tensor


def principal(covariance: Tensor, rank: int) -> Tensor:
    """Returns the best approximation of ``S`` of a rank: its largest eigenvalues alone."""
    values, vectors = torch.linalg.eigh(covariance)
    top, where = values[-rank:], vectors[:, -rank:]
    found: Tensor = where * top @ where.mT
    return found


def best_critic(covariance: Tensor, rank: int, *, ridge: float, gamma: float) -> Tensor:
    """Returns ``W`` at the principal solution of a rank.

    It solves ``ridge W + 2 gamma (S W + W S) = S - A A^T``, in the eigenbasis of ``S``; without a
    penalty it is 0, which is the solution of full rank alone.
    """
    values, vectors = torch.linalg.eigh(covariance)
    gap = values.clone()
    gap[-rank:] = 0
    weight = ridge + 4 * gamma * values
    curve = torch.where(gap > 0, gap / weight, gap)
    found: Tensor = vectors * curve @ vectors.mT
    return found


def precision_path(covariance: Tensor, start: Tensor, t: float) -> Tensor:
    """Returns ``(A A^T)^-1`` at time ``t`` of the flow of crossing-the-curl.

    ``Q(t) = S^-1 + e^(-2 S t) (Q(0) - S^-1) e^(-2 S t)``, whatever ``W`` is.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        start: ``A`` at time 0, shape ``(d, d)``, invertible.
        t: Time.
    """
    goal = torch.linalg.inv(covariance)
    fade = torch.linalg.matrix_exp(-2 * t * covariance)
    found: Tensor = goal + fade @ (torch.linalg.inv(start @ start.mT) - goal) @ fade
    return found


def invariant(curve: Tensor, scale: Tensor, variance: float) -> Tensor:
    """Returns ``H = w^2 + a^2 / 2 - s^2 log a`` in one dimension.

    The flow of gradient descent keeps it; crossing-the-curl lowers it, by
    ``dH/dt = -8 a^2 w^2 - 2 (a^2 - s^2)^2``. It is smallest at the solution.
    """
    return curve.square() + scale.square() / 2 - variance * scale.abs().log()


def ridge_ratio(values: Tensor, rank: int, *, ridge: float, tau: float) -> float:
    """Returns ``tau ridge^2 / (2 l_{r+1})``: locally stable above 1, not below.

    Args:
        values: Eigenvalues of ``S``, largest first, ``l_1 > l_2 > ...``.
        rank: ``r``, below their number.
        ridge: Weight of ``|W|^2 / 2`` in the critic's loss.
        tau: Step of the critic over that of the generator.
    """
    return tau * ridge**2 / (2 * float(values[rank]))


def r1_ratio(values: Tensor, rank: int, *, gamma: float, tau: float) -> float:
    """Returns ``tau c^2 (l_r + l_d)`` with ``c = 2 gamma``: locally stable above 1, not below.

    Args:
        values: Eigenvalues of ``S``, largest first.
        rank: ``r``, below their number.
        gamma: Weight of R1 as ``gamma / 2 E |grad D|^2``.
        tau: Step of the critic over that of the generator.
    """
    return tau * (2 * gamma) ** 2 * float(values[rank - 1] + values[-1])


def wasserstein(covariance: Tensor, other: Tensor) -> Tensor:
    """Returns the squared 2-Wasserstein distance of two centred Gaussians, a scalar.

    ``tr S + tr T - 2 tr (S^1/2 T S^1/2)^1/2``; either may be singular, but then
    rounding errors are those of a root, 1e-8.

    Source: Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X.
    """
    half = _root(covariance)
    cross = _root(half @ other @ half)
    return torch.trace(covariance) + torch.trace(other) - 2 * torch.trace(cross)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    return found
