"""Toy games of this study alone: relatives of LGQ, sampled GANs, networks in one dimension."""

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import softplus
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.rng import Rng
from gantlet.games.batched import Ensemble, Solvable
from gantlet.games.toys import Lgq, LinearGenerator, QuadraticCritic, principal, wasserstein
from gantlet.models.gan import energy_distance
from gantlet.models.nets import mlp, seeded
from gantlet.research.convergence.assumptions_plan import Case


@final
class QuadraticWasserstein(Solvable):
    """``min_G max_P tr((I - P) S) + tr((I - P^-1) G G^T)`` over positive definite ``P``.

    The inner maximum is the squared 2-Wasserstein distance of ``N(0, S)`` and ``N(0, G G^T)``: it
    is the dual with potentials that are quadratic, as those of Gaussians are. Over ``G`` of rank
    ``r`` the smallest is the sum of the eigenvalues of ``S`` that are left out.

    Source: the quadratic GAN of Feizi et al., 2017, https://arxiv.org/abs/1710.10793; the form is
    derived here from the dual, not copied from the paper.
    Differs from the paper: ``P`` is the exponential of a symmetric matrix, which is what the
    critic learns, so that it cannot leave the positive definite ones.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        rank: ``r``; all where None.
    """

    def __init__(self, covariance: Tensor, *, rank: int | None = None) -> None:
        dim = len(covariance)
        self._covariance = covariance
        self.generator = LinearGenerator(dim, dim if rank is None else rank)
        self.critic = QuadraticCritic(dim)
        goal = principal(covariance, self.generator.scale.shape[1])
        self._least = wasserstein(covariance, goal)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        made, log = self.generator.covariance, self.critic.matrix
        moved = (torch.linalg.matrix_exp(log) * self._covariance).sum()
        back = (torch.linalg.matrix_exp(-log) * made).sum()
        value: Tensor = torch.trace(self._covariance) + torch.trace(made) - moved - back
        return value if player == "generator" else -value

    @override
    def distance(self) -> Tensor:
        """Returns the distance to the data less the smallest there is, as a share of ``tr S``."""
        reached = wasserstein(self._covariance, self.generator.covariance)
        return (reached - self._least) / torch.trace(self._covariance)


@final
class JensenShannonLgq(Solvable):
    """``min_A max_W E log s(D(x)) + E log s(-D(G(z)))`` for the logistic ``s``, data ``N(0, S)``.

    Expectations are sums over a grid of Gauss and Hermite's, exact but for rounding for the smooth
    losses here, and grow as ``nodes ** d``: meant for one or two dimensions.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1, on the players of
    Feizi et al., 2017, https://arxiv.org/abs/1710.10793.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        rank: Components of the noise; all where None.
        gamma: Weight of R1 as ``gamma / 2 E |grad D|^2``.
        nodes: Points of the grid in each dimension.
    """

    def __init__(
        self,
        covariance: Tensor,
        *,
        rank: int | None = None,
        gamma: float = 0.0,
        nodes: int = 20,
    ) -> None:
        dim = len(covariance)
        rank = dim if rank is None else rank
        self._covariance, self._gamma = covariance, gamma
        self.generator = LinearGenerator(dim, rank)
        self.critic = QuadraticCritic(dim, is_offset=True)
        self._goal = principal(covariance, rank)
        points, self._real_weights = gauss_hermite(dim, nodes)
        self._real = points @ torch.linalg.cholesky(covariance).mT
        self._noise, self._fake_weights = gauss_hermite(rank, nodes)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        fooled: Tensor = softplus(self.critic(self.generator(self._noise))) @ self._fake_weights
        if player == "generator":
            return -fooled
        if player != "critic":
            raise unknown("player", player, self.players)
        loss: Tensor = softplus(-self.critic(self._real)) @ self._real_weights + fooled
        if self._gamma:
            loss = loss + self._gamma / 2 * self.critic.mean_slope(self._covariance, None)
        return loss

    @override
    def distance(self) -> Tensor:
        """Returns ``|A A^T - S_r| / |S|``: the critic may have many best answers."""
        off = torch.linalg.norm(self.generator.covariance - self._goal)
        share: Tensor = off / torch.linalg.norm(self._covariance)
        return share


def gauss_hermite(dim: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Returns points, shape ``(nodes ** dim, dim)``, and weights of a standard normal.

    Example:
        >>> points, weights = gauss_hermite(2, 5)
        >>> round(float((points[:, 0] ** 4 * points[:, 1] ** 2) @ weights), 12)
        3.0
    """
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    x, w = torch.from_numpy(at), torch.from_numpy(weight / math.sqrt(2 * math.pi))
    points, weights = x[:, None], w
    for _ in range(dim - 1):
        points = torch.cat([points.repeat_interleave(nodes, 0), x.repeat(len(points))[:, None]], 1)
        weights = torch.outer(weights, w).flatten()
    return points, weights


Goal = Callable[[], Tensor]
"""How far a generator is from what it should make, a scalar."""


@final
class Sampled(Solvable):
    """``min_G max_D mean D(x) - mean D(G(z))`` over a batch ``x`` and a fresh noise ``z``.

    The critic's loss adds ``gamma / 2 mean |grad D(x)|^2``.

    Source: Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875, eq. 2; R1 as Mescheder et al.,
    2018, https://arxiv.org/abs/1801.04406.
    Differs from the paper: nothing keeps the critic Lipschitz but R1.

    Args:
        generator: From noise, shape ``(n, latent)``, to samples.
        critic: From samples to scores, shape ``(n,)``.
        latent: Components of the noise, which is standard normal.
        goal: How far the generator is off.
        gamma: Weight of R1.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        goal: Goal,
        gamma: float = 0.0,
    ) -> None:
        self.generator, self.critic = generator, critic
        self._latent, self._goal, self._gamma = latent, goal, gamma

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self._latent, generator=rng, device=rng.device, dtype=torch.float64)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        fooled: Tensor = self.critic(self.generator(noise)).mean()
        if player == "generator":
            return -fooled
        if player != "critic":
            raise unknown("player", player, self.players)
        loss: Tensor = fooled - self.critic(batch).mean()
        return loss + self._gamma / 2 * self._slope(batch) if self._gamma else loss

    def _slope(self, batch: Tensor) -> Tensor:
        def score(x: Tensor) -> Tensor:
            found: Tensor = self.critic(x[None])[0]
            return found

        slopes: Tensor = vmap(grad(score))(batch)
        return slopes.square().sum(1).mean()

    @override
    def distance(self) -> Tensor:
        """Returns the value of the goal, a scalar."""
        return self._goal()


def gaussian_goal(generator: LinearGenerator, mean: Tensor, covariance: Tensor) -> Goal:
    """Returns the 2-Wasserstein distance of Gaussians, over the spread of the data.

    ``W_2 / sqrt(tr S)`` between the Gaussians with the moments of the data and of the generator:
    of data that are not Gaussian it is a lower bound (Gelbrich, 1990).
    """

    def goal() -> Tensor:
        shift = mean if generator.shift is None else generator.shift - mean
        square = wasserstein(covariance, generator.covariance) + shift.square().sum()
        return (square.clamp(min=0) / torch.trace(covariance)).sqrt()

    return goal


def energy_goal(generator: nn.Module, noise: Tensor, real: Tensor, scale: float) -> Goal:
    """Returns the energy distance of samples of ``noise`` to ``real``, in units of ``scale``."""

    def goal() -> Tensor:
        return energy_distance(generator(noise), real) / scale

    return goal


@final
class LinearMixture(nn.Module):
    """``k`` linear generators of equal weight, the first component of the noise tells which.

    ``G(z) = A_c z' + b_c``: ``c`` is the slice of a standard normal, of ``k`` equally likely ones,
    in which the first component of ``z`` lies; ``z'`` is the rest.

    Args:
        dim: Components of a sample.
        parts: ``k``.
        rank: Components of ``z'``.
    """

    def __init__(self, dim: int, parts: int, rank: int) -> None:
        super().__init__()
        eye = torch.eye(dim, rank, dtype=torch.float64)
        self.scale = nn.Parameter(eye.repeat(parts, 1, 1))
        self.shift = nn.Parameter(torch.zeros(parts, dim, dtype=torch.float64))

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns samples, shape ``(n, dim)``, from noise of shape ``(n, 1 + rank)``."""
        parts = len(self.shift)
        share = torch.special.ndtr(z[:, 0])
        slot = (share * parts).floor().clamp(max=parts - 1)
        # Not one_hot, which looks at its numbers and so cannot be traced.
        which = (slot[:, None] == torch.arange(parts, device=z.device)).to(z.dtype)
        all_of_them = torch.einsum("kij,nj->nki", self.scale, z[:, 1:]) + self.shift
        found: Tensor = (which[..., None] * all_of_them).sum(1)
        return found


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
        """Returns a player's loss without the penalty on its weights, a scalar."""


@final
class FixedDiscrepancy(OnALine):
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
        fit = softplus(-self.critic(self.real)).mean() + softplus(score).mean()
        return fit + self.gamma / 2 * torch.stack(slopes).sum()

    def _slope(self, x: Tensor) -> Tensor:
        """Returns the critic's derivative, written out so that it can be batched and traced."""
        inner, outer = (cast("nn.Linear", self.critic[i]) for i in (0, 2))
        hidden = inner(x).tanh()
        slope: Tensor = ((1 - hidden.square()) * outer.weight) @ inner.weight
        return slope


# The mixture: three round Gaussians on a circle about the origin.
_PARTS, _RADIUS, _WIDTH = 3, 2.0, 0.4

# Samples behind each energy distance, and behind that of the Gaussian with the same moments.
_JUDGED, _REFERENCE = 400, 4000

_HIDDEN = 12

Draw = Callable[[int, torch.Generator], Tensor]
"""Draws so many real samples."""


@final
class _Score(nn.Module):
    """A network whose one output is a score."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network

    @override
    def forward(self, x: Tensor) -> Tensor:
        score: Tensor = self.network(x).squeeze(-1)
        return score


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A game with all that playing it needs.

    Attributes:
        game: The game.
        starts: Points to start from, shape ``(n, p)``.
        draw: Real samples, or None where expectations are exact.
        goal: How far the generator as it stands is off: ``W_2`` over the spread of the data, or
            the energy distance over that of the best Gaussian.
    """

    game: Solvable
    starts: Tensor
    draw: Draw | None
    goal: Goal


def setting(case: Case, rng: Rng) -> Setting:
    """Returns the game of a case."""
    if case.players != "linear/quadratic":
        return _beyond(case, rng)
    covariance, mean = _covariance(case, rng), _mean(case)
    best = principal(covariance, case.full_rank)
    if case.game == "sampled":
        generator = LinearGenerator(len(covariance), case.full_rank, is_shifted=True)
        goal = gaussian_goal(generator, mean, best)
        critic = QuadraticCritic(len(covariance), is_tilted=True)
        game: Solvable = Sampled(
            generator, critic, latent=case.full_rank, goal=goal, gamma=case.gamma
        )
        return _set(case, rng, game, goal, _moulded(case, mean, covariance))
    built = _exact(case, covariance, mean)
    return _set(case, rng, built, gaussian_goal(built.generator, mean, best), None)


def _exact(
    case: Case, covariance: Tensor, mean: Tensor
) -> Lgq | QuadraticWasserstein | JensenShannonLgq:
    if case.game == "wasserstein":
        return QuadraticWasserstein(covariance, rank=case.full_rank)
    if case.game == "jensen-shannon":
        return JensenShannonLgq(covariance, rank=case.full_rank, gamma=case.gamma)
    return Lgq(
        covariance,
        mean=mean if case.has_mean else None,
        rank=case.full_rank,
        ridge=case.ridge,
        gamma=case.gamma,
    )


def _set(case: Case, rng: Rng, game: Solvable, goal: Goal, draw: Draw | None) -> Setting:
    ensemble, stream = Ensemble(game), rng.stream("starts")
    size = (case.starts, len(ensemble.now))
    noise = torch.randn(size, generator=stream, dtype=torch.float64)
    critic, generator = case.spread
    spread = ensemble.rates({"critic": critic, "generator": generator})
    return Setting(game=game, starts=spread * noise, draw=draw, goal=goal)


def _covariance(case: Case, rng: Rng) -> Tensor:
    """Returns a covariance of these eigenvalues in a random position."""
    dim = len(case.values)
    noise = torch.randn(dim, dim, generator=rng.stream("covariance"), dtype=torch.float64)
    turn, _ = torch.linalg.qr(noise)
    found: Tensor = turn * torch.tensor(case.values, dtype=torch.float64) @ turn.mT
    return found


def _mean(case: Case) -> Tensor:
    """Returns a mean of length 1, or 0."""
    dim = len(case.values)
    length = dim**-0.5 if case.has_mean else 0.0
    return torch.full((dim,), length, dtype=torch.float64)


def _moulded(case: Case, mean: Tensor, covariance: Tensor) -> Draw:
    """Returns a draw of samples of one peak with these moments."""
    root = torch.linalg.cholesky(covariance)

    def draw(n: int, stream: torch.Generator) -> Tensor:
        found: Tensor = mean + _white(case, n, len(mean), stream) @ root.mT
        return found

    return draw


def _white(case: Case, n: int, dim: int, stream: torch.Generator) -> Tensor:
    """Returns samples of mean 0 and covariance 1."""
    if case.data == "skewed":
        uniform = torch.rand(n, dim, generator=stream, dtype=torch.float64)
        return -torch.log1p(-uniform) - 1
    normal = torch.randn(n, dim, generator=stream, dtype=torch.float64)
    if case.data == "gaussian":
        return normal
    # Student's t with 5 degrees of freedom, of variance 5/3, scaled to 1.
    chi = torch.randn(n, 5, generator=stream, dtype=torch.float64).square().mean(1, keepdim=True)
    return normal / chi.sqrt() * math.sqrt(3 / 5)


def _mixture(n: int, stream: torch.Generator) -> Tensor:
    which = torch.randint(_PARTS, (n,), generator=stream)
    angle = 2 * math.pi * which / _PARTS
    centres = _RADIUS * torch.stack([angle.cos(), angle.sin()], 1).double()
    return centres + _WIDTH * torch.randn(n, 2, generator=stream, dtype=torch.float64)


def _beyond(case: Case, rng: Rng) -> Setting:
    """Returns a game on the mixture; networks start as networks do, not from normal numbers."""
    stream = rng.stream("judge")
    kind, critic_kind = case.players.split("/")
    latent = 3 if kind == "mixture" else 2
    generator = _generator(kind, rng, 0)
    real = _mixture(_JUDGED, stream)
    noise = torch.randn(_JUDGED, latent, generator=stream, dtype=torch.float64)
    goal = energy_goal(generator, noise, real, _gaussian_energy(stream))
    critic = _critic(critic_kind, rng, 0)
    game = Sampled(generator, critic, latent=latent, goal=goal, gamma=case.gamma)
    starts = [
        Ensemble(
            Sampled(
                _generator(kind, rng, i), _critic(critic_kind, rng, i), latent=latent, goal=goal
            )
        ).now
        for i in range(case.starts)
    ]
    return Setting(game=game, starts=torch.stack(starts), draw=_mixture, goal=goal)


def _generator(kind: str, rng: Rng, i: int) -> nn.Module:
    stream = rng.stream(f"generator {i}")
    if kind == "mlp":
        with seeded(stream):
            return mlp(2, _HIDDEN, _HIDDEN, 2, activation=nn.Tanh).double()
    generator = LinearMixture(2, _PARTS, 2)
    return _scattered(generator, stream)


def _critic(kind: str, rng: Rng, i: int) -> nn.Module:
    stream = rng.stream(f"critic {i}")
    if kind == "mlp":
        with seeded(stream):
            return _Score(mlp(2, _HIDDEN, _HIDDEN, 1, activation=nn.Tanh)).double()
    return _scattered(QuadraticCritic(2, is_tilted=True), stream)


def _scattered(player: nn.Module, stream: torch.Generator) -> nn.Module:
    """Returns a player with all its numbers drawn from a standard normal."""
    with torch.no_grad():
        for parameter in player.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream, dtype=torch.float64))
    return player


def _gaussian_energy(stream: torch.Generator) -> float:
    """Returns the energy distance between the mixture and the Gaussian with its moments."""
    variance = _RADIUS**2 / 2 + _WIDTH**2
    noise = torch.randn(_REFERENCE, 2, generator=stream, dtype=torch.float64)
    return float(energy_distance(math.sqrt(variance) * noise, _mixture(_REFERENCE, stream)))
