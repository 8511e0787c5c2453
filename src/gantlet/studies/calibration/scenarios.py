"""Known distributions to draw features from: mixtures of normals, and pairs of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of normal distributions with diagonal covariances, in float64.

    Attributes:
        weights: The share of each part, shape ``(k,)``.
        means: The mean of each, shape ``(k, d)``.
        variances: The variance of each along every feature, shape ``(k, d)``.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in float32, shape ``(n, d)``."""
        part = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        noise = torch.randn(n, self.means.shape[1], generator=rng, dtype=torch.float64)
        return (self.means[part] + self.variances[part].sqrt() * noise).float()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Returns mean and covariance, shapes ``(d,)`` and ``(d, d)``."""
        mean = self.weights @ self.means
        away = self.means - mean
        spread = torch.diag(self.weights @ self.variances)
        return mean, spread + (away * self.weights[:, None]).T @ away

    def parts(self) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yields weight, mean and variances of each part."""
        yield from zip(self.weights.tolist(), self.means, self.variances, strict=True)


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """Two distributions that are compared.

    Attributes:
        says: What differs, in words.
        draw: Returns the real and the fake distribution of ``d`` features.
    """

    says: str
    draw: Callable[[int], tuple[Mixture, Mixture]]


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


SCENARIOS: Mapping[str, Scenario] = {
    "equal": Scenario("both standard normal", _equal),
    "shift": Scenario("the mean of the fake one moved by 1", _shift),
    "spread": Scenario("variances of the fake one 1.6 and 0.5 by turns", _spread),
    "clusters": Scenario(
        "two clusters 4 apart; in the fake one 75 to 25 and the second wider", _clusters
    ),
}
"""The pairs of distributions by name."""
