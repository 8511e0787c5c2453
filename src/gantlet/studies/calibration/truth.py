"""What the distances of two mixtures of normals really are, without drawing a sample."""

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.metrics.blocks import blocks
from gantlet.studies.calibration.digits import Finite
from gantlet.studies.calibration.scenarios import Mixture, World

# The integral of the mean distance goes over log t from -80 to 80: what is left out is below
# exp(-40) of it.
_REACH, _STEPS = 80.0, 800

SLICES, SLICES_OF_MIXTURES = 16384, 1024
"""Directions of the sliced distance between normal distributions, and between mixtures: along
their clusters it is nearly quadratic in the direction, so that a few rotations do."""

# The quantiles of a mixture along each direction, and the halvings that find one.
_QUANTILES, _HALVINGS = 121, 30

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor], float]
"""The mean of a function of normal x and y: means and variances of x, then those of y."""


def frechet(real: World, fake: World) -> float:
    """Returns ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` of the exact moments."""
    (m1, s1), (m2, s2) = real.moments(), fake.moments()
    root = torch.linalg.cholesky(s1)
    cross = torch.linalg.eigvalsh(root.T @ s2 @ root).clamp_min(0).sqrt().sum()
    return float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross)


def energy(real: World, fake: World) -> float:
    """Returns ``2 E|x - y| - E|x - x'| - E|y - y'|``."""
    if isinstance(real, Finite) and isinstance(fake, Finite):
        x, y = real.points, fake.points
        return 2 * _mean_apart(x, y) - _mean_apart(x, x) - _mean_apart(y, y)
    real, fake = _mixtures("energy", real, fake)
    return -_discrepancy(_mean_distance, real, fake)


def kid(real: World, fake: World) -> float:
    """Returns the squared discrepancy of the kernel ``(x.y / d + 1)^3``."""
    if isinstance(real, Finite) and isinstance(fake, Finite):
        return _cubic_of_moments(real.points, fake.points)
    real, fake = _mixtures("kid", real, fake)
    return _discrepancy(_mean_cubic, real, fake)


def rbf(real: Mixture, fake: Mixture, sigma: float) -> float:
    """Returns the squared discrepancy of the kernel ``exp(-|x - y|^2 / (2 sigma^2))``."""
    t = torch.tensor([0.5 / sigma**2], dtype=torch.float64)
    return _discrepancy(lambda a, v, b, w: float(_log_laplace(t, a - b, v + w).exp()), real, fake)


def rbf_at_median(real: World, fake: World) -> float:
    """Returns the same with ``sigma`` the median distance between samples of both together.

    The median is that of 2000 samples of each, to about a third of a percent.
    """
    real, fake = _mixtures("mmd", real, fake)
    rng = torch.Generator().manual_seed(0)
    both = torch.cat([real.sample(2000, rng), fake.sample(2000, rng)])
    return rbf(real, fake, float(torch.pdist(both).median()))


def sliced(real: World, fake: World) -> float:
    """Returns the mean over directions of the squared Wasserstein distance along them.

    Directions are the axes of random rotations, so that the part of it that is quadratic in the
    direction is exact.
    """
    real, fake = _mixtures("sliced-wasserstein", real, fake)
    is_normal = len(real.weights) == len(fake.weights) == 1
    u = rotated_axes(real.means.shape[1], SLICES if is_normal else SLICES_OF_MIXTURES)
    return float(torch.cat([along(real, fake, b) for b in torch.split(u, 256, dim=1)]).mean())


def along(real: World, fake: World, u: Tensor) -> Tensor:
    """Returns the squared Wasserstein distance along each unit vector, shape ``(l,)``.

    Args:
        real: The one distribution.
        fake: The other one.
        u: Directions, float64, shape ``(d, l)``.
    """
    real, fake = _mixtures("max-sliced-wasserstein", real, fake)
    z = torch.linspace(-6, 6, _QUANTILES, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2)
    gap = _quantiles(real, u, z) - _quantiles(fake, u, z)
    cost: Tensor = gap.square() @ weight / weight.sum()
    return cost


def mind(real: World, fake: World) -> float:
    """Returns the Monge Inception Distance, ``3 d`` times the sliced one."""
    real, fake = _mixtures("mind", real, fake)
    return 3 * real.means.shape[1] * sliced(real, fake)


def _discrepancy(kernel: Kernel, real: Mixture, fake: Mixture) -> float:
    def mean(one: Mixture, other: Mixture) -> float:
        pairs = product(one.parts(), other.parts())
        return math.fsum(p * q * kernel(a, v, b, w) for (p, a, v), (q, b, w) in pairs)

    return mean(real, real) + mean(fake, fake) - 2 * mean(real, fake)


def _mixtures(name: str, real: World, fake: World) -> tuple[Mixture, Mixture]:
    if isinstance(real, Finite) or isinstance(fake, Finite):
        raise UserError(f"The truth of {name} is not known for digits; leave one of them out.")
    return real, fake


def _mean_apart(x: Tensor, y: Tensor) -> float:
    """Returns the mean distance over all pairs of points, a point and itself included."""
    a, b = x.float(), y.float()
    lengths, sums = b.square().sum(1), 0.0
    for block in blocks(len(a), len(b)):
        squares = torch.addmm(lengths, a[block], b.T, alpha=-2)
        squares += a[block].square().sum(1, keepdim=True)
        sums += float(squares.clamp_min_(0).sqrt_().sum(dtype=torch.float64))
    return sums / (len(a) * len(b))


def _cubic_of_moments(x: Tensor, y: Tensor) -> float:
    """Returns ``sum_k (3 over k) |E x^(k) - E y^(k)|^2 / d^k``, moments of order 1 to 3."""
    d, gap = x.shape[1], [torch.zeros(())]
    for z, sign in ((x, 1.0), (y, -1.0)):
        second = torch.einsum("ni,nj->nij", z[:0], z[:0]).sum(0)
        third = second.new_zeros(d, d, d)
        for block in blocks(len(z), d * d):
            pairs = torch.einsum("ni,nj->nij", z[block], z[block])
            second = second + pairs.sum(0)
            third = third + torch.einsum("nij,nk->ijk", pairs, z[block])
        found = [moment * (sign / len(z)) for moment in (z.sum(0), second, third)]
        gap = found if len(gap) == 1 else [a + b for a, b in zip(gap, found, strict=True)]
    times = (3 / d, 3 / d**2, 1 / d**3)
    return sum(t * float(g.square().sum()) for t, g in zip(times, gap, strict=True))


def _mean_distance(a: Tensor, v: Tensor, b: Tensor, w: Tensor) -> float:
    """Returns ``E|x - y|``.

    For ``Q = |x - y|^2``, ``E sqrt(Q)`` is the integral over ``t`` of
    ``(1 - E exp(-t Q)) t^(-3/2) / (2 sqrt(pi))``; here over ``log t`` by the trapezium rule, which
    converges faster than any power.
    """
    scale = float(((a - b).square() + v + w).sum())
    if scale == 0:
        return 0.0
    t = torch.linspace(-_REACH, _REACH, _STEPS + 1, dtype=torch.float64).exp() / scale
    integrand = -torch.expm1(_log_laplace(t, a - b, v + w)) / t.sqrt()
    return float(integrand.sum()) * 2 * _REACH / _STEPS / (2 * math.sqrt(math.pi))


def _log_laplace(t: Tensor, shift: Tensor, variances: Tensor) -> Tensor:
    """Returns ``log E exp(-t |z|^2)`` of a normal ``z``, shape of ``t``."""
    wide = 2 * t[:, None] * variances
    return -(0.5 * wide.log1p() + t[:, None] * shift.square() / (1 + wide)).sum(1)


def _mean_cubic(a: Tensor, v: Tensor, b: Tensor, w: Tensor) -> float:
    """Returns ``E(x.y / d + 1)^3`` from the moments of ``x.y``."""
    d, dot = len(a), float(a @ b)
    along, across = float(a.square() @ w), float(v @ (b.square() + w))
    second = dot**2 + along + across
    third = dot**3 + 3 * dot * (along + across) + 6 * float((a * v * b * w).sum())
    return third / d**3 + 3 * second / d**2 + 3 * dot / d + 1


def rotated_axes(d: int, directions: int) -> Tensor:
    """Returns the axes of random rotations, at least so many, as columns."""
    rng = torch.Generator().manual_seed(0)
    count = -(-directions // d)
    drawn = torch.randn(count, d, d, generator=rng, dtype=torch.float64)
    return torch.cat(list(torch.linalg.qr(drawn)[0]), dim=1)


def _quantiles(of: Mixture, u: Tensor, z: Tensor) -> Tensor:
    """Returns what a mixture seen along each direction exceeds as seldom as a normal exceeds z.

    Shape ``(directions, len(z))``; found by halving where there are several parts.
    """
    centres, widths = (of.means @ u)[..., None], (of.variances @ u.square()).sqrt()[..., None]
    ends = centres + widths * z
    if len(of.weights) == 1:
        return ends[0]
    low, high = ends.amin(0), ends.amax(0)
    wanted = torch.special.ndtr(z)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        share = torch.einsum(
            "k,klz->lz", of.weights, torch.special.ndtr((middle - centres) / widths)
        )
        low, high = (
            torch.where(share < wanted, middle, low),
            torch.where(share < wanted, high, middle),
        )
    return (low + high) / 2
