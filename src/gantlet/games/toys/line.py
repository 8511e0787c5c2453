"""Small networks that learn four modes on a line, alone or against a critic.

No noise is left: the latent numbers and the real ones stand at the quantiles of their
distributions, so that a stationary point is one exactly. Weights decay, which keeps stationary
points from lying at infinity or in flat valleys.
"""

import abc
from collections.abc import Mapping
from typing import ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.games.toys.solvable import Solvable

CENTRES = (-3.0, -1.0, 1.0, 3.0)
"""Where the modes are."""

_SPREAD = 0.15  # of each mode
_BANDWIDTHS = (0.5, 2.0)


def normal_quantiles(n: int) -> Tensor:
    """Returns ``n`` quantiles of the standard normal distribution, shape ``(n, 1)``, float64."""
    levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    found: Tensor = torch.special.ndtri(levels)
    return found[:, None]


def modes(n: int, centres: tuple[float, ...] = CENTRES) -> Tensor:
    """Returns ``n`` quantiles of equal, narrow modes, shape ``(n, 1)``, float64."""
    own = normal_quantiles(n // len(centres))
    return torch.cat([centre + _SPREAD * own for centre in centres])


def apart(x: Tensor, y: Tensor) -> Tensor:
    """Returns the energy distance of two sets of numbers, a scalar, no pair left out."""

    def mean(a: Tensor, b: Tensor) -> Tensor:
        return (a - b.T).abs().mean()

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


def discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Returns the squared mean discrepancy of two sets by Gaussian kernels, a scalar.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, eq. 5; kernels of
    two bandwidths added.
    """

    def mean(a: Tensor, b: Tensor) -> Tensor:
        square = (a - b.T).square()
        return torch.stack([(-square / (2 * h**2)).exp().mean() for h in _BANDWIDTHS]).sum()

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def _network(width: int) -> nn.Sequential:
    """Returns a network with one hidden layer and weights of zero; plays start elsewhere."""
    # Made without memory first, which draws no random numbers.
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
    net = net.to_empty(device="cpu").double()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return net


class OnALine(Solvable, abc.ABC):
    """What both games share: a generator with one hidden layer, and its distance from the data.

    Args:
        width: Hidden units of each network.
        decay: Each player pays ``decay / 2`` times the square of its own weights.
        points: Latent and real numbers, a multiple of four.
    """

    POINTS: ClassVar[int] = 32

    def __init__(self, width: int, *, decay: float = 1e-3, points: int = POINTS) -> None:
        self.decay = decay
        self.latent, self.real = normal_quantiles(points), modes(points)
        self.generator = _network(width)

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return torch.empty(0, dtype=torch.float64)

    @override
    def distance(self) -> Tensor:
        return apart(self.generator(self.latent), self.real)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        squares = [p.square().sum() for p in self.players[player].parameters()]
        return self.plays(player) + self.decay / 2 * torch.stack(squares).sum()

    @abc.abstractmethod
    def plays(self, player: str) -> Tensor:
        """Returns what a player minimises beside its weights, a scalar."""


@final
class Fit(OnALine):
    """One player: the generator lowers a fixed discrepancy, as an ordinary network does a loss."""

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"generator": self.generator}

    @override
    def plays(self, player: str) -> Tensor:
        return discrepancy(self.generator(self.latent), self.real)


@final
class Duel(OnALine):
    """Two players: a non-saturating GAN whose critic is as large, with R1 and R2.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661; the penalties are those of
    Mescheder et al., 2018, https://arxiv.org/abs/1801.04406.

    Args:
        width: Hidden units of each network.
        decay: Each player pays ``decay / 2`` times the square of its own weights.
        points: Latent and real numbers.
        gamma: Weight of the penalties.
    """

    def __init__(
        self,
        width: int,
        *,
        decay: float = 1e-3,
        points: int = OnALine.POINTS,
        gamma: float = 0.3,
    ) -> None:
        super().__init__(width, decay=decay, points=points)
        self.gamma = gamma
        self.critic = _network(width)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def plays(self, player: str) -> Tensor:
        fake = self.generator(self.latent)
        score: Tensor = self.critic(fake)
        if player == "generator":
            return softplus(-score).mean()
        slopes = [self._slope(x).square().mean() for x in (self.real, fake)]
        told = softplus(-self.critic(self.real)).mean() + softplus(score).mean()
        return told + self.gamma / 2 * torch.stack(slopes).sum()

    def _slope(self, x: Tensor) -> Tensor:
        """Returns the critic's derivative, written out so that it can be batched and traced."""
        inner, outer = (cast("nn.Linear", self.critic[i]) for i in (0, 2))
        hidden = inner(x).tanh()
        slope: Tensor = ((1 - hidden.square()) * outer.weight) @ inner.weight
        return slope
