"""Known distributions to draw features from: mixtures of normals, and pairs of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import torch
from torch import Tensor

from gantlet.studies.calibration.digits import Finite, digits


@final
@dataclass(frozen=True, slots=True)
class Mixture:
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


World: TypeAlias = Mixture | Finite
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


def normal(mean: Tensor, variances: Tensor) -> Mixture:
    """Returns one normal distribution."""
    return Mixture(torch.ones(1, dtype=torch.float64), mean[None], variances[None])


def _standard(d: int) -> Mixture:
    return normal(torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64))


def _equal(d: int) -> tuple[Mixture, Mixture]:
    return _standard(d), _standard(d)


def _shift(d: int) -> tuple[Mixture, Mixture]:
    ones = torch.ones(d, dtype=torch.float64)
    return _standard(d), normal(ones / math.sqrt(d), ones)


def _spread(d: int) -> tuple[Mixture, Mixture]:
    variances = torch.full((d,), 0.5, dtype=torch.float64)
    variances[::2] = 1.6
    return _standard(d), normal(torch.zeros_like(variances), variances)


def _clusters(d: int) -> tuple[Mixture, Mixture]:
    away = torch.zeros(2, d, dtype=torch.float64)
    away[0, 0], away[1, 0] = -2.0, 2.0
    wide = torch.ones_like(away)
    wide[1] = 1.3
    even, odd = (torch.tensor(w, dtype=torch.float64) for w in ((0.5, 0.5), (0.75, 0.25)))
    return Mixture(even, away, torch.ones_like(away)), Mixture(odd, away, wide)


def _near(d: int) -> tuple[Mixture, Mixture]:
    ones = torch.ones(d, dtype=torch.float64)
    return _standard(d), normal(ones * (0.1 / math.sqrt(d)), ones)


def _chain(d: int) -> tuple[Mixture, Mixture]:
    # In its principal axes, where the features are independent: distances do not see the turn.
    place = torch.arange(d, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(0.97 ** (place[:, None] - place).abs())
    moved = torch.full((d,), 0.15, dtype=torch.float64) @ axes
    return normal(torch.zeros_like(moved), variances), normal(moved, variances)


def _atoms(d: int) -> tuple[Mixture, Mixture]:
    means = torch.ones(5, d, dtype=torch.float64)
    means[:, 0] = torch.tensor([1.0, 2.0, 3.0, 5.0, 8.0])
    shares = ((0.3, 0.3, 0.2, 0.15, 0.05), (0.27, 0.3, 0.21, 0.15, 0.07))
    # So narrow that in single precision they are points.
    return _parts(shares, means, torch.full_like(means, 1e-20))


def _parts(
    shares: tuple[tuple[float, ...], tuple[float, ...]], means: Tensor, variances: Tensor
) -> tuple[Mixture, Mixture]:
    one, other = (torch.tensor(share, dtype=torch.float64) for share in shares)
    return Mixture(one, means, variances), Mixture(other, means, variances)


def _tails(d: int) -> tuple[Mixture, Mixture]:
    """Student's t is normal with a variance of 4 over a chi-squared number, here in 24 steps."""
    from scipy.special import gammainc

    steps = torch.cat([torch.zeros(1), torch.logspace(-2, 1, 23), torch.tensor([1e9])]).double()
    shares = torch.from_numpy(gammainc(2, steps.numpy() / 2)).diff()
    # So that each step has the variance of its part: E 1 / X of X is half the share of two fewer.
    means = 2 * torch.from_numpy(gammainc(1, steps.numpy() / 2)).diff() / shares
    variances = means[:, None].expand(-1, d).clone()
    centre = torch.zeros_like(variances)
    real = Mixture(shares / shares.sum(), centre, variances)
    return real, replace(real, means=centre + 0.1)


def _rare(d: int) -> tuple[Mixture, Mixture]:
    means = torch.zeros(2, d, dtype=torch.float64)
    means[1, 0] = 6.0
    return _parts(((0.99, 0.01), (0.98, 0.02)), means, torch.ones_like(means))


def _twice(d: int) -> tuple[Mixture, Mixture]:
    real, fake = _near(d)
    return replace(real, size=2, alike=1.0), replace(fake, size=2, alike=1.0)


def _groups(d: int) -> tuple[Mixture, Mixture]:
    real, fake = _near(d)
    return replace(real, size=5, alike=0.9), replace(fake, size=5, alike=0.9)


SCENARIOS: Mapping[str, Scenario] = {
    "equal": Scenario("both standard normal", _equal),
    "shift": Scenario("the mean of the fake one moved by 1", _shift),
    "spread": Scenario("variances of the fake one 1.6 and 0.5 by turns", _spread),
    "clusters": Scenario(
        "two clusters 4 apart; in the fake one 75 to 25 and the second wider", _clusters
    ),
    "near": Scenario("the mean of the fake one moved by 0.1", _near),
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
    "twice": Scenario("as near, each sample there twice, which the metrics are told", _twice),
    "groups": Scenario(
        "as near, groups of five that correlate by 0.9, which the metrics are told", _groups
    ),
    "digits": Scenario(
        "principal components of 30,000 MNIST images, and of the other 30,000, 3 % darker", digits
    ),
}
"""The pairs of distributions by name."""
