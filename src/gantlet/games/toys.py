"""Toy games with known solutions: Dirac-GAN, saddle, LGQ GAN.

The LGQ GAN has a linear generator, Gaussian data and a quadratic critic, in exact expectation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.games.batched import Ensemble, Solvable
from gantlet.models.losses import AdversarialObjective, LossName, PenaltyName


@final
class Slope(nn.Module):
    """A linear critic of numbers, ``D(x) = at . x``.

    Args:
        at: Its slope at first, shape ``(1,)``.
        clip: Where its size is cut off, or infinity.
    """

    def __init__(self, at: Tensor, clip: float = math.inf) -> None:
        super().__init__()
        self.at = nn.Parameter(at.clone())
        self._clip = clip

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores of ``x``, shape ``(n, 1)``, as shape ``(n,)``."""
        # Cut off before it is used is cut off after it has moved.
        if bool((self.at.detach().abs() > self._clip).any()):
            with torch.no_grad():
                self.at.clamp_(-self._clip, self._clip)
        return x @ self.at


@final
class DiracGame(Game):
    """Real data at 0, the generator at ``theta``, the critic ``psi x``.

    Args:
        rules: Loss and penalty, as for any GAN.
        noise: Standard deviation of the noise on what the critic sees.
        clip: Where the critic's slope is cut off, or infinity.
        start: Where ``theta`` and ``psi`` begin.
    """

    def __init__(
        self, rules: AdversarialObjective, *, noise: float, clip: float, start: tuple[float, float]
    ) -> None:
        theta, psi = (torch.tensor([s], dtype=torch.float64) for s in start)
        self._critic, self._generator = Slope(psi, clip), PointPlayer(theta)
        self._rules = rules
        self._noise = noise

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self._critic, "generator": self._generator}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=False)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=True)

    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real, fake = batch, self._generator.at.expand(len(batch), 1)
        if self._noise:
            real, fake = self._noisy(real, fake)
        if player == "critic":
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        if player == "generator":
            return self._rules.generator(self._critic, real, fake, coupled=coupled)
        raise unknown("player", player, self.players)

    def _noisy(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Returns every pair of signs on each pair of samples."""
        signs = self._noise * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
        other = self._noise * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        shape = (len(real), 4, 1)
        seen = real[:, None].expand(shape) + signs[:, None]
        made = fake[:, None].expand(shape) + other[:, None]
        return seen.flatten(0, 1), made.flatten(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Dirac:
    """The Dirac-GAN: all real data at 0, a generator ``theta``, a critic ``D(x) = psi x``.

    Its equilibrium is ``theta = psi = 0``. There the eigenvalues of the field determine which
    methods converge, as far as they are local: without a penalty they lie on the imaginary axis.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 2.
    Differs from the paper: instance noise is plus or minus ``noise``, all pairs of signs alike,
    in place of normal noise of that standard deviation; near the equilibrium they do the same.

    Attributes:
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty, ``gamma / 2 * |grad D|^2``.
        noise: Standard deviation of instance noise.
        clip: Clipping bound of the critic's slope (weight clipping), or none.
        theta: Initial value of the generator.
        psi: Initial value of the critic.
    """

    loss: LossName = "ns"
    penalty: PenaltyName = "none"
    gamma: Annotated[float, Between(0)] = 1.0
    noise: Annotated[float, Between(0)] = 0.0
    clip: Annotated[float, Between(0)] | None = None
    theta: float = 1.0
    psi: float = 1.0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.1"

    @property
    def real(self) -> Tensor:
        """The one point."""
        return torch.zeros(1, 1, dtype=torch.float64)

    def build(self) -> DiracGame:
        """Returns the game at its start."""
        rules = AdversarialObjective(loss=self.loss, penalty=self.penalty, gamma=self.gamma)
        clip = math.inf if self.clip is None else self.clip
        return DiracGame(rules, noise=self.noise, clip=clip, start=(self.theta, self.psi))


@final
class PointPlayer(nn.Module):
    """A player whose only parameter is where it stands.

    Args:
        at: Where it begins, of any shape.
    """

    def __init__(self, at: Tensor) -> None:
        super().__init__()
        self.at = nn.Parameter(at.clone())


@final
class SaddleGame(Game):
    """``a/2 |x|^2 + c x . y`` against ``b/2 |y|^2 - c x . y``.

    Args:
        own: ``a`` and ``b``.
        cross: ``c``.
        start: Where both begin, shape ``(dim,)``.
    """

    def __init__(self, own: tuple[float, float], cross: float, start: Tensor) -> None:
        self._own, self._cross = own, cross
        self._x, self._y = PointPlayer(start), PointPlayer(start)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"x": self._x, "y": self._y}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        x, y = self._x.at, self._y.at
        cross: Tensor = self._cross * (x * y).sum()
        if player == "x":
            return self._own[0] / 2 * x.square().sum() + cross
        if player == "y":
            return self._own[1] / 2 * y.square().sum() - cross
        raise unknown("player", player, self.players)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Saddle:
    """A quadratic game: ``a/2 |x|^2 + c x . y`` against ``b/2 |y|^2 - c x . y``.

    Its field is linear, with the eigenvalues of ``[[-a, -c], [c, -b]]``. With ``own=0`` it is the
    bilinear game, a pure rotation. With ``own=-1+3`` and ``cross=2`` it is stable although no Nash
    equilibrium: the first player sits on a maximum of its own loss, held there by the second
    (Mazumdar et al., 2020, https://arxiv.org/abs/1804.05464, on such points).

    Source: any textbook.

    Attributes:
        own: ``a`` and ``b``, the curvature of each player's own loss; one for both, or two.
        cross: ``c``, the coupling (rotation) strength.
        dim: Dimension of each player.
        start: Initial value of every component.
    """

    own: tuple[float, ...] = (0.0,)
    cross: float = 1.0
    dim: Annotated[int, Between(1)] = 1
    start: float = 1.0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.1"

    @property
    def real(self) -> Tensor:
        """A sample that nobody looks at."""
        return torch.zeros(1, 1, dtype=torch.float64)

    def build(self) -> SaddleGame:
        """Returns the game at its start.

        Raises:
            UserError: If ``own`` is neither one number nor two.
        """
        if len(self.own) not in (1, 2):
            raise UserError(f"saddle:own must be one number or two. Got {len(self.own)}.")
        start = torch.full((self.dim,), self.start, dtype=torch.float64)
        return SaddleGame((self.own[0], self.own[-1]), self.cross, start)


@final
class LinearGenerator(nn.Module):
    """``G(z) = A z + b``, or ``A z`` about a mean that is known.

    Args:
        dim: Components of a sample.
        rank: Components of the noise ``z``.
        is_shifted: Whether there is a ``b`` to learn.
    """

    def __init__(self, dim: int, rank: int, *, is_shifted: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.eye(dim, rank, dtype=torch.float64))
        shift = torch.zeros(dim, dtype=torch.float64)
        self.shift = nn.Parameter(shift) if is_shifted else None

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns samples, shape ``(n, dim)``, from noise of shape ``(n, rank)``."""
        x: Tensor = z @ self.scale.mT
        return x if self.shift is None else x + self.shift

    @property
    def covariance(self) -> Tensor:
        """The covariance of samples, ``A A^T``, where the noise is standard normal."""
        return self.scale @ self.scale.mT


@final
class QuadraticCritic(nn.Module):
    """``D(x) = x^T W x + v^T x + c`` with a symmetric ``W``, or without ``v`` or ``c``.

    ``W`` is held by its coordinates in an orthonormal basis of the symmetric matrices, so that
    gradient descent on them is gradient descent on ``W`` and no coordinate is idle.

    Args:
        dim: Components of a sample.
        is_tilted: Whether there is a ``v`` to learn.
        is_offset: Whether there is a ``c`` to learn; losses of differences of scores need none.
    """

    basis: Tensor

    def __init__(self, dim: int, *, is_tilted: bool = False, is_offset: bool = False) -> None:
        super().__init__()
        self.register_buffer("basis", symmetric_basis(dim))
        self.curve = nn.Parameter(torch.zeros(len(self.basis), dtype=torch.float64))
        tilt = torch.zeros(dim, dtype=torch.float64)
        self.tilt = nn.Parameter(tilt) if is_tilted else None
        self.offset = nn.Parameter(tilt.new_zeros(())) if is_offset else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns scores, shape ``(n,)``, of samples of shape ``(n, dim)``."""
        score: Tensor = ((x @ self.matrix) * x).sum(-1)
        if self.tilt is not None:
            score = score + x @ self.tilt
        return score if self.offset is None else score + self.offset

    @property
    def matrix(self) -> Tensor:
        """``W``, shape ``(dim, dim)``."""
        dim = self.basis.shape[-1]
        return (self.curve @ self.basis.flatten(1)).view(dim, dim)

    def mean_score(self, covariance: Tensor, mean: Tensor | None) -> Tensor:
        """Returns the expected score, without ``c``, of samples with these moments, a scalar.

        A mean of None is 0.
        """
        score = (self.matrix * covariance).sum()
        if mean is None:
            return score
        at_mean = (mean @ self.matrix) @ mean
        return score + (at_mean if self.tilt is None else at_mean + self.tilt @ mean)

    def mean_slope(self, covariance: Tensor, mean: Tensor | None) -> Tensor:
        """Returns ``E |grad D|^2`` over samples with these moments, a scalar.

        A mean of None is 0.
        """
        spread = 4 * (self.matrix @ covariance * self.matrix).sum()
        slope = self._slope_at(mean)
        return spread if slope is None else spread + slope.square().sum()

    def _slope_at(self, mean: Tensor | None) -> Tensor | None:
        if mean is None:
            return self.tilt
        slope: Tensor = 2 * self.matrix @ mean
        return slope if self.tilt is None else slope + self.tilt


def symmetric_basis(dim: int) -> Tensor:
    """Returns an orthonormal basis of the symmetric matrices, shape ``(k, dim, dim)``.

    There are ``k = dim (dim + 1) / 2``.

    Example:
        >>> (symmetric_basis(2)[1] ** 2).round(decimals=9).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    rows, columns = torch.triu_indices(dim, dim)
    each = torch.arange(len(rows))
    basis = torch.zeros(len(rows), dim, dim, dtype=torch.float64)
    height = torch.where(rows == columns, 1.0, 0.5).double().sqrt()
    basis[each, rows, columns] = height
    basis[each, columns, rows] = height
    return basis


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


@final
class Lgq(Solvable):
    """``min_A max_W E D(x) - E D(G(z))`` for ``x`` of ``N(m, S)`` and ``z`` of ``N(0, I)``.

    The critic's loss adds ``ridge / 2 |W|^2 + gamma / 2 E |grad D(x)|^2``. The batch is not looked
    at: expectations are exact. Of a lower rank than the data and without a penalty the game has no
    equilibrium, as the critic grows for ever; the distance is then that of ``A`` alone.

    Source: the setting of Feizi et al., 2017, https://arxiv.org/abs/1710.10793, with the dynamics
    of Gemp and Mahadevan, 2018, https://arxiv.org/abs/1808.01531.
    Differs from the papers: ``A`` is any matrix, where Gemp and Mahadevan keep it triangular with
    a diagonal above 0; so it is found up to a rotation of the noise.

    Args:
        covariance: ``S``, shape ``(d, d)``, positive definite.
        mean: ``m``, shape ``(d,)``, which both players then learn of; None where it is known and
            samples are centred.
        rank: Components of the noise; all where None.
        ridge: Weight of the critic's ridge.
        gamma: Weight of R1.
    """

    def __init__(
        self,
        covariance: Tensor,
        *,
        mean: Tensor | None = None,
        rank: int | None = None,
        ridge: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        dim = len(covariance)
        rank = dim if rank is None else rank
        self._covariance, self._ridge, self._gamma = covariance, ridge, gamma
        self._mean = mean
        self.generator = LinearGenerator(dim, rank, is_shifted=mean is not None)
        self.critic = QuadraticCritic(dim, is_tilted=mean is not None)
        self._goal = principal(covariance, rank)
        has_best = rank == dim or ridge > 0 or gamma > 0
        best = best_critic(covariance, rank, ridge=ridge, gamma=gamma)
        self._best = best if has_best else None

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        made = self.critic.mean_score(self.generator.covariance, self.generator.shift)
        if player == "generator":
            return -made
        if player == "critic":
            real = self.critic.mean_score(self._covariance, self._mean)
            return self._held_back(made - real)
        raise unknown("player", player, self.players)

    def _held_back(self, loss: Tensor) -> Tensor:
        if self._ridge:
            loss = loss + self._ridge / 2 * self.critic.curve.square().sum()
        if self._gamma:
            slope = self.critic.mean_slope(self._covariance, self._mean)
            loss = loss + self._gamma / 2 * slope
        return loss

    @override
    def distance(self) -> Tensor:
        """Returns ``|A A^T - S_r| / |S| + |W - W_r|``, and where learned the distances of b and v.

        ``S_r`` is the principal part of ``S``; ``v`` there is ``-2 W m``.
        """
        off = torch.linalg.norm(self.generator.covariance - self._goal)
        parts = [off / torch.linalg.norm(self._covariance)]
        if self._mean is not None and self.generator.shift is not None:
            parts.append(torch.linalg.norm(self.generator.shift - self._mean))
        if self._best is not None:
            parts.append(torch.linalg.norm(self.critic.matrix - self._best))
            if self._mean is not None and self.critic.tilt is not None:
                parts.append(torch.linalg.norm(self.critic.tilt + 2 * self._best @ self._mean))
        return torch.stack(parts).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class LgqToy:
    """The LGQ GAN in exact expectation: linear generator, Gaussian data, quadratic critic.

    The data's covariance is diagonal, with eigenvalues from 1 down to ``1 / condition`` in equal
    ratios. Gradient descent oscillates; crossing-the-curl, a ridge or R1 lead to the solution.

    Source: Feizi et al., 2017, https://arxiv.org/abs/1710.10793; Gemp and Mahadevan, 2018,
    https://arxiv.org/abs/1808.01531.

    Attributes:
        dim: Components of a sample.
        condition: Condition number of the data covariance.
        rank: Latent dimension, at most ``dim`` (the default).
        ridge: Weight of the critic's ``|W|^2 / 2``.
        gamma: Weight of R1.
        mean: Whether the data have a mean (of norm 1) to be learned.
        seed: Seed of the normal initialisation.
    """

    dim: Annotated[int, Between(1)] = 2
    condition: Annotated[float, Between(1)] = 5.0
    rank: Annotated[int, Between(1)] | None = None
    ridge: Annotated[float, Between(0)] = 0.0
    gamma: Annotated[float, Between(0)] = 0.0
    mean: bool = False
    seed: int = 0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.01"

    @property
    def real(self) -> Tensor:
        """A sample that nobody looks at."""
        return torch.zeros(1, self.dim, dtype=torch.float64)

    def build(self) -> Lgq:
        """Returns the game at its start.

        Raises:
            UserError: If the rank is above ``dim``.
        """
        if self.rank is not None and self.rank > self.dim:
            raise UserError(f"lgq:rank must be at most dim, {self.dim}. Got {self.rank}.")
        powers = torch.linspace(0, -1, self.dim, dtype=torch.float64)
        covariance = torch.diag(self.condition**powers)
        mean = torch.full((self.dim,), self.dim**-0.5, dtype=torch.float64)
        game = Lgq(
            covariance,
            mean=mean if self.mean else None,
            rank=self.rank,
            ridge=self.ridge,
            gamma=self.gamma,
        )
        ensemble, stream = Ensemble(game), Rng(self.seed).stream("start")
        ensemble.place(torch.randn(len(ensemble.now), generator=stream, dtype=torch.float64))
        return game
