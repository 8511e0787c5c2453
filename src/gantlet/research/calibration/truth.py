"""True values of distances between known distributions."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.spec import Spec, metrics
from gantlet.research.calibration.worlds import Finite, digits
from gantlet.stats.moments import blocks

# ----------------------------------------------------------------------------
# Known distributions to draw features from: mixtures of normals, and pairs of them.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class NormalMixture:
    """A mixture of normal distributions with diagonal covariances, in float64.

    Attributes:
        weights: The share of each part, shape ``(k,)``.
        means: The mean of each, shape ``(k, d)``.
        variances: The variance of each along every feature, shape ``(k, d)``.
        size: How many samples come together, in one group.
        alike: The correlation of their places within a part, which they share.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    size: int = 1
    alike: float = 0.0

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in float32, shape ``(n, d)``."""
        count, d = -(-n // self.size), self.means.shape[1]
        part = torch.multinomial(self.weights, count, replacement=True, generator=rng)
        noise = torch.randn(count, d, generator=rng, dtype=torch.float64)
        if self.size > 1:
            part, noise = (z.repeat_interleave(self.size, 0)[:n] for z in (part, noise))
            own = torch.randn(n, d, generator=rng, dtype=torch.float64)
            noise = math.sqrt(self.alike) * noise + math.sqrt(1 - self.alike) * own
        return (self.means[part] + self.variances[part].sqrt() * noise).float()

    def groups(self, n: int) -> Tensor | None:
        """Returns the group of each of ``n`` samples, or None where each is drawn alone."""
        return torch.arange(n) // self.size if self.size > 1 else None

    def moments(self) -> tuple[Tensor, Tensor]:
        """Returns mean and covariance, shapes ``(d,)`` and ``(d, d)``."""
        mean = self.weights @ self.means
        away = self.means - mean
        spread = torch.diag(self.weights @ self.variances)
        return mean, spread + (away * self.weights[:, None]).T @ away

    def parts(self) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yields weight, mean and variances of each part."""
        yield from zip(self.weights.tolist(), self.means, self.variances, strict=True)


World: TypeAlias = NormalMixture | Finite
"""A distribution whose distances are known."""


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """Two distributions that are compared.

    Attributes:
        says: What differs, in words.
        draw: Returns the real and the fake distribution of ``d`` features.
    """

    says: str
    draw: Callable[[int], tuple[World, World]]


def normal(mean: Tensor, variances: Tensor) -> NormalMixture:
    """Returns one normal distribution."""
    return NormalMixture(torch.ones(1, dtype=torch.float64), mean[None], variances[None])


def _standard(d: int) -> NormalMixture:
    return normal(torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64))


def _equal(d: int) -> tuple[NormalMixture, NormalMixture]:
    return _standard(d), _standard(d)


def _shift(d: int) -> tuple[NormalMixture, NormalMixture]:
    ones = torch.ones(d, dtype=torch.float64)
    return _standard(d), normal(ones / math.sqrt(d), ones)


def _spread(d: int) -> tuple[NormalMixture, NormalMixture]:
    variances = torch.full((d,), 0.5, dtype=torch.float64)
    variances[::2] = 1.6
    return _standard(d), normal(torch.zeros_like(variances), variances)


def _clusters(d: int) -> tuple[NormalMixture, NormalMixture]:
    away = torch.zeros(2, d, dtype=torch.float64)
    away[0, 0], away[1, 0] = -2.0, 2.0
    wide = torch.ones_like(away)
    wide[1] = 1.3
    even, odd = (torch.tensor(w, dtype=torch.float64) for w in ((0.5, 0.5), (0.75, 0.25)))
    return NormalMixture(even, away, torch.ones_like(away)), NormalMixture(odd, away, wide)


def _near(d: int) -> tuple[NormalMixture, NormalMixture]:
    ones = torch.ones(d, dtype=torch.float64)
    return _standard(d), normal(ones * (0.1 / math.sqrt(d)), ones)


def _chain(d: int) -> tuple[NormalMixture, NormalMixture]:
    # In its principal axes, where the features are independent: distances do not see the turn.
    place = torch.arange(d, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(0.97 ** (place[:, None] - place).abs())
    moved = torch.full((d,), 0.15, dtype=torch.float64) @ axes
    return normal(torch.zeros_like(moved), variances), normal(moved, variances)


def _atoms(d: int) -> tuple[NormalMixture, NormalMixture]:
    means = torch.ones(5, d, dtype=torch.float64)
    means[:, 0] = torch.tensor([1.0, 2.0, 3.0, 5.0, 8.0])
    shares = ((0.3, 0.3, 0.2, 0.15, 0.05), (0.27, 0.3, 0.21, 0.15, 0.07))
    # So narrow that in single precision they are points.
    return _parts(shares, means, torch.full_like(means, 1e-20))


def _parts(
    shares: tuple[tuple[float, ...], tuple[float, ...]], means: Tensor, variances: Tensor
) -> tuple[NormalMixture, NormalMixture]:
    one, other = (torch.tensor(share, dtype=torch.float64) for share in shares)
    return NormalMixture(one, means, variances), NormalMixture(other, means, variances)


def _tails(d: int) -> tuple[NormalMixture, NormalMixture]:
    """Student's t is normal with a variance of 4 over a chi-squared number, here in 24 steps."""
    from scipy.special import gammainc

    steps = torch.cat([torch.zeros(1), torch.logspace(-2, 1, 23), torch.tensor([1e9])]).double()
    shares = torch.from_numpy(gammainc(2, steps.numpy() / 2)).diff()
    # So that each step has the variance of its part: E 1 / X of X is half the share of two fewer.
    means = 2 * torch.from_numpy(gammainc(1, steps.numpy() / 2)).diff() / shares
    variances = means[:, None].expand(-1, d).clone()
    centre = torch.zeros_like(variances)
    real = NormalMixture(shares / shares.sum(), centre, variances)
    return real, replace(real, means=centre + 0.1)


def _rare(d: int) -> tuple[NormalMixture, NormalMixture]:
    means = torch.zeros(2, d, dtype=torch.float64)
    means[1, 0] = 6.0
    return _parts(((0.99, 0.01), (0.98, 0.02)), means, torch.ones_like(means))


def _twice(d: int) -> tuple[NormalMixture, NormalMixture]:
    real, fake = _near(d)
    return replace(real, size=2, alike=1.0), replace(fake, size=2, alike=1.0)


def _groups(d: int) -> tuple[NormalMixture, NormalMixture]:
    real, fake = _near(d)
    return replace(real, size=5, alike=0.9), replace(fake, size=5, alike=0.9)


SCENARIOS: Mapping[str, Scenario] = {
    "equal": Scenario("both standard normal", _equal),
    "shift": Scenario("mean shift 1", _shift),
    "spread": Scenario("variances of the fake one 1.6 and 0.5 by turns", _spread),
    "clusters": Scenario(
        "two clusters 4 apart; in the fake one 75 to 25 and the second wider", _clusters
    ),
    "near": Scenario("mean shift 0.1", _near),
    "chain": Scenario(
        "features that correlate by 0.97 with the next one; in the fake one all moved by 0.15",
        _chain,
    ),
    "atoms": Scenario("five points, in the fake one in slightly other shares", _atoms),
    "tails": Scenario(
        "Student's t of 4 degrees, in 24 steps of its scale; in the fake one all features moved "
        "by 0.1",
        _tails,
    ),
    "rare": Scenario("1 % of the samples 6 away; in the fake one 2 %", _rare),
    "twice": Scenario("as near, each sample twice, passed as groups", _twice),
    "groups": Scenario("as near, groups of five with correlation 0.9, passed as groups", _groups),
    "digits": Scenario(
        "principal components of 30,000 MNIST images, and of the other 30,000, 3 % darker", digits
    ),
}
"""The pairs of distributions by name."""


# ----------------------------------------------------------------------------
# What the distances of two mixtures of normals really are, without drawing a sample.
# ----------------------------------------------------------------------------

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


def rbf(real: NormalMixture, fake: NormalMixture, sigma: float) -> float:
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


def _discrepancy(kernel: Kernel, real: NormalMixture, fake: NormalMixture) -> float:
    def mean(one: NormalMixture, other: NormalMixture) -> float:
        pairs = product(one.parts(), other.parts())
        return math.fsum(p * q * kernel(a, v, b, w) for (p, a, v), (q, b, w) in pairs)

    return mean(real, real) + mean(fake, fake) - 2 * mean(real, fake)


def _mixtures(name: str, real: World, fake: World) -> tuple[NormalMixture, NormalMixture]:
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


def _quantiles(of: NormalMixture, u: Tensor, z: Tensor) -> Tensor:
    """Returns the quantile of a mixture along each direction at the normal tail probability of z.

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


Estimand = Literal["distributions", "classifier", "direction", "mean"]
"""``distributions``: a number of the two distributions, whatever the sample size. ``classifier``:
how often the classifier that was trained is right on new samples. ``direction``: how far the two
distributions lie apart along the direction that was found. ``mean``: the mean over all samples of
this size, for metrics whose value depends on the size."""

WORDS: Mapping[Estimand, str] = {
    "distributions": "the distance of the two distributions, without sampling",
    "classifier": "the accuracy of each trained classifier on new samples (conditional)",
    "direction": "the distance along each direction that was found, without sampling",
    "mean": "its own mean over replicates (depends on the sample size)",
}

_KNOWN: Mapping[str, Callable[[World, World], float]] = {
    "frechet": frechet,
    "frechet-infinity": frechet,
    "kid": kid,
    "energy": energy,
    "mmd": rbf_at_median,
    "sliced-wasserstein": sliced,
    "mind": mind,
}


def estimand(metric: str) -> Estimand:
    """Returns the estimand of a metric in written form."""
    name = Spec.parse(metric).name
    if name == "c2st":
        return "classifier"
    # Truths are those of the default options.
    is_default = metrics.make(name) == metrics.make(metric)
    if name == "max-sliced-wasserstein" and is_default:
        return "direction"
    return "distributions" if name in _KNOWN and is_default else "mean"


@cache
def population(metric: str, scenario: str, d: int) -> float:
    """Returns the distance of two distributions, or NaN where the estimand is another."""
    if estimand(metric) != "distributions":
        return math.nan
    return _KNOWN[Spec.parse(metric).name](*SCENARIOS[scenario].draw(d))
