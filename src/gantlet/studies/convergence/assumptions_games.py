"""Builds the games of the first strategy, their starts and their samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.rng import Rng
from gantlet.games.distance import energy_distance
from gantlet.games.toys.ensemble import Ensemble
from gantlet.games.toys.feizi import QuadraticWasserstein
from gantlet.games.toys.lgq import Lgq
from gantlet.games.toys.lgq_exact import principal
from gantlet.games.toys.lgq_js import JensenShannonLgq
from gantlet.games.toys.linear_mixture import LinearMixture
from gantlet.games.toys.quadratic import LinearGenerator, QuadraticCritic
from gantlet.games.toys.sampled import Goal, Sampled, energy_goal, gaussian_goal
from gantlet.games.toys.solvable import Solvable
from gantlet.nets.mlp import mlp
from gantlet.nets.seeding import seeded
from gantlet.studies.convergence.assumptions_plan import Case

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
    """Returns what a case plays."""
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
    """Returns how far the Gaussian with the mixture's moments is from it."""
    variance = _RADIUS**2 / 2 + _WIDTH**2
    noise = torch.randn(_REFERENCE, 2, generator=stream, dtype=torch.float64)
    return float(energy_distance(math.sqrt(variance) * noise, _mixture(_REFERENCE, stream)))
