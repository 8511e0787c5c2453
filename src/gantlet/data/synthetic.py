"""Synthetic data sets with known density."""

import abc
import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn

# ----------------------------------------------------------------------------
# Mixtures of equally likely round Gaussians.
# ----------------------------------------------------------------------------


def log_density(x: Tensor, means: Tensor, std: float) -> Tensor:
    """Returns the log-density in nats of ``x``, shape ``(n, d)``, as shape ``(n,)``.

    Args:
        x: Where.
        means: The centres, shape ``(modes, d)``.
        std: Standard deviation of each component in each direction.
    """
    d = x.shape[1]
    exponent = -0.5 * (_distances(x, means) / std).square()
    log_z = math.log(len(means)) + d * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return (exponent.logsumexp(1) - log_z).to(x.dtype)


def mixture(n: int, rng: torch.Generator, means: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """Returns ``n`` samples, shape ``(n, d)``, and the component of each, shape ``(n,)``."""
    mode = torch.randint(len(means), (n,), generator=rng)
    noise = torch.randn(n, means.shape[1], generator=rng, dtype=means.dtype)
    return means[mode] + std * noise, mode


GAUSSIAN_CEILING = -math.expm1(-4.5)
"""Share of a Gaussian in the plane within three standard deviations of its mean: 0.98889."""


def nearest(x: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distance of each point to the nearest centre, and which one it is.

    Args:
        x: The points, shape ``(n, d)``.
        means: The centres, shape ``(modes, d)``.

    Returns:
        The distance, float64, and the number of the centre, both of shape ``(n,)``.
    """
    found = _distances(x, means).min(1)
    return found.values, found.indices


_AT_ONCE = 256  # centres whose distances to all others are held at once


def smallest_gap(means: Tensor, radius: float) -> float:
    """Returns the smallest distance between two of some equal balls; 0 if any two touch.

    Args:
        means: The centres, shape ``(modes, d)``, float64; with one, the distance is infinite.
        radius: Radius of all.
    """
    least = math.inf
    for place in torch.split(torch.arange(len(means)), _AT_ONCE):
        found = _distances(means[place], means)
        found[torch.arange(len(place)), place] = math.inf
        least = min(least, float(found.min()))
    return max(least - 2 * radius, 0.0)


def _distances(x: Tensor, means: Tensor) -> Tensor:
    """Returns the distance of each point to each centre, shape ``(n, modes)``, float64."""
    return torch.cdist(x.double(), means.to(x.device), compute_mode="donot_use_mm_for_euclid_dist")


class RoundGaussians(abc.ABC):
    """Equally likely round Gaussians; the label is the mode."""

    __slots__ = ()

    std: float
    n: int
    held_out: int

    @property
    @abc.abstractmethod
    def means(self) -> Tensor:
        """The centres, shape ``(modes, d)``, float64."""

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        draw = partial(mixture, means=self.means, std=self.std)
        return drawn(draw, n=self.n, held_out=self.held_out, rng=rng)

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, d)``, in nats, shape ``(n,)``."""
        return log_density(x, self.means, self.std)


class PlanarMixture(RoundGaussians):
    """Equally likely round Gaussians in the plane; the label is the mode."""

    __slots__ = ()

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    def modes_of(self, x: Tensor) -> Tensor:
        """Returns the nearest centre of each point of ``x``, shape ``(n, 2)``, as ``(n,)``."""
        return nearest(x, self.means)[1]

    def on_support(self, x: Tensor) -> Tensor:
        """Returns whether points, shape ``(n, 2)``, are within 3 standard deviations of a mode."""
        return nearest(x, self.means)[0] < 3 * self.std

    @property
    def weights(self) -> Tensor:
        """Probability of each mode, all equal, float64."""
        modes = len(self.means)
        return torch.full((modes,), 1 / modes, dtype=torch.float64)

    @property
    def ceiling(self) -> float:
        """Share of high quality of a perfect sampler, 0.98889, if the modes do not overlap."""
        return GAUSSIAN_CEILING

    @property
    def gap(self) -> float:
        """Smallest distance between the circles of 3 standard deviations around two centres."""
        return smallest_gap(self.means, 3 * self.std)


# ----------------------------------------------------------------------------
# The dark squares of a board.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Checkerboard:
    """A uniform distribution on every other square of a board around zero.

    The label is the square. A square includes its edges.

    Attributes:
        cells: Squares in each row and column; half of them, the lower left one included, are
            dark.
        width: Length of a square's side.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    cells: Annotated[int, Between(1)] = 4
    width: Annotated[float, Between(1e-6)] = 2.0
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    @property
    def dark(self) -> Tensor:
        """Column and row of each dark square, shape ``(squares, 2)``."""
        line = torch.arange(self.cells)
        cell = torch.cartesian_prod(line, line)
        return cell[cell.sum(1) % 2 == 0]

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        dark = self.dark
        square = torch.randint(len(dark), (n,), generator=rng)
        place = torch.rand(n, 2, generator=rng, dtype=torch.float64)
        return self.width * (dark[square] + place - self.cells / 2), square

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``.

        It is minus infinity on the light squares and outside the board.
        """
        place = x.double() / self.width + self.cells / 2
        # A point on an edge lies in the squares on both sides of it.
        low, high = place.ceil() - 1, place.floor()
        inside = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for column in (low[:, 0], high[:, 0]):
            for row in (low[:, 1], high[:, 1]):
                inside |= self._is_dark(column, row)
        level = -math.log(len(self.dark) * self.width**2)
        return torch.where(inside, level, -math.inf).to(x.dtype)

    def _is_dark(self, column: Tensor, row: Tensor) -> Tensor:
        on_board = (column >= 0) & (row >= 0) & (column < self.cells) & (row < self.cells)
        return on_board & ((column + row) % 2 == 0)


# ----------------------------------------------------------------------------
# The four energies in the plane of Rezende and Mohamed (2015).
# ----------------------------------------------------------------------------

_EDGE = 4.0
_RADIUS, _WIDTH = 2.0, 0.4  # the ring of energy 1
_ROOT = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Energy:
    r"""Densities ``p(z)`` proportional to ``exp(-U(z))`` for one of four energies ``U``.

    With ``w1 = sin(2 pi z1 / 4)``, ``w2 = 3 exp(-((z1 - 1) / 0.6)^2 / 2)`` and
    ``w3 = 3 sigmoid((z1 - 1) / 0.3)``, written as ``exp(-U)``:

    1. ``exp(-((|z| - 2) / 0.4)^2 / 2) (exp(-((z1 - 2) / 0.6)^2 / 2)
       + exp(-((z1 + 2) / 0.6)^2 / 2))``: a ring with two dense sides
    2. ``exp(-((z2 - w1) / 0.4)^2 / 2)``: a wave
    3. ``exp(-((z2 - w1) / 0.35)^2 / 2) + exp(-((z2 - w1 + w2) / 0.35)^2 / 2)``: a wave that parts
    4. ``exp(-((z2 - w1) / 0.4)^2 / 2) + exp(-((z2 - w1 + w3) / 0.35)^2 / 2)``: a wave that forks

    Energies 3 and 4 have the branch as label.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, table 1.

    Differs from the paper: energies 2 to 4 do not depend on ``z1`` as a whole, so they have no
    finite integral over the plane; here ``z1`` stays in [-4, 4], the range the paper draws. Their
    constants are then known in closed form; that of energy 1 is integrated numerically.

    Attributes:
        index: Which energy.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    index: Literal[1, 2, 3, 4] = 1
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        draw = _draw_ring if self.index == 1 else self._draw_wave
        return drawn(draw, n=self.n, held_out=self.held_out, rng=rng)

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``.

        It is minus infinity where ``|z1| > 4`` for energies 2 to 4.
        """
        z = x.double()
        if self.index == 1:
            return (_log_ring(z) - _log_z_ring()).to(x.dtype)
        return self._log_wave(z).to(x.dtype)

    @property
    def _branches(self) -> list[tuple[float, float]]:
        """The width of each branch and how much of ``w2`` or ``w3`` moves it down."""
        return {2: [(0.4, 0.0)], 3: [(0.35, 0.0), (0.35, 1.0)], 4: [(0.4, 0.0), (0.35, 1.0)]}[
            self.index
        ]

    def _centre(self, z1: Tensor, share: float) -> Tensor:
        w2 = 3 * (-0.5 * ((z1 - 1) / 0.6).square()).exp()
        w3 = 3 * ((z1 - 1) / 0.3).sigmoid()
        return (math.pi / 2 * z1).sin() - share * (w2 if self.index == 3 else w3)

    def _log_wave(self, z: Tensor) -> Tensor:
        z1, z2 = z.unbind(1)
        exponents = [
            -0.5 * ((z2 - self._centre(z1, share)) / width).square()
            for width, share in self._branches
        ]
        log_z = math.log(2 * _EDGE * _ROOT * sum(width for width, _ in self._branches))
        inside = torch.stack(exponents).logsumexp(0) - log_z
        return torch.where(z1.abs() <= _EDGE, inside, -math.inf)

    def _draw_wave(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        widths = torch.tensor([width for width, _ in self._branches], dtype=torch.float64)
        branch = torch.multinomial(widths, n, replacement=True, generator=rng)
        z1 = _EDGE * (2 * torch.rand(n, generator=rng, dtype=torch.float64) - 1)
        centres = torch.stack([self._centre(z1, share) for _, share in self._branches])
        noise = widths[branch] * torch.randn(n, generator=rng, dtype=torch.float64)
        z2 = centres[branch, torch.arange(n)] + noise
        return torch.stack([z1, z2], 1), branch if len(widths) > 1 else None


def _log_sides(z1: Tensor) -> Tensor:
    right = -0.5 * ((z1 - 2) / 0.6).square()
    left = -0.5 * ((z1 + 2) / 0.6).square()
    return torch.logaddexp(right, left)


def _log_ring(z: Tensor) -> Tensor:
    r: Tensor = torch.linalg.vector_norm(z, dim=1)
    return -0.5 * ((r - _RADIUS) / _WIDTH).square() + _log_sides(z[:, 0])


@cache
def _log_z_ring() -> float:
    """Returns the log of the integral of energy 1 over the plane.

    In polar coordinates the integrand is smooth, so Gauss-Legendre in the radius and equal steps
    in the angle reach machine precision; the part beyond radius 8 is below ``exp(-112)``.
    """
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
    r = 4 * (node + 1)
    angle = torch.arange(512, dtype=torch.float64) * (2 * math.pi / 512)
    z = r[:, None, None] * torch.stack([angle.cos(), angle.sin()], 1)
    values = _log_ring(z.flatten(0, 1)).exp().reshape(len(r), -1)
    return math.log(float((4 * weight * r * values.mean(1)).sum() * 2 * math.pi))


def _draw_ring(n: int, rng: torch.Generator) -> tuple[Tensor, None]:
    """Returns exact samples of energy 1, by rejection in polar coordinates.

    The radius needs ``r exp(-((r - 2) / 0.4)^2 / 2)``. As ``r <= 2 exp(r / 2 - 1)``, a Gaussian
    with its mean moved by ``0.4^2 / 2`` lies above it. The angle is uniform, and the two sides sum
    to at most 1.004.
    """
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        r = torch.randn(4 * n, generator=rng, dtype=torch.float64) * _WIDTH
        r += _RADIUS + _WIDTH**2 / _RADIUS
        angle = 2 * math.pi * torch.rand(4 * n, generator=rng, dtype=torch.float64)
        z = r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        log_accept = (r.clamp(min=0) / _RADIUS).log() + 1 - r / _RADIUS
        log_accept += _log_sides(z[:, 0]) - math.log(1.004)
        u = torch.rand(4 * n, generator=rng, dtype=torch.float64)
        kept.append(z[u.log() < log_accept])
    return torch.cat(kept)[:n], None


# ----------------------------------------------------------------------------
# Gaussians on a square grid.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Grid(PlanarMixture):
    """Equally likely round Gaussians on a square grid around zero; the label is the mode.

    Source: Srivastava et al., 2017, https://arxiv.org/abs/1705.07761, section 4.1, with the
    defaults of Lin et al., 2018, https://arxiv.org/abs/1712.04086.

    Attributes:
        side: Gaussians in each row and column; there are ``side ** 2``.
        spacing: Distance between neighbours.
        std: Standard deviation of each Gaussian.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    side: Annotated[int, Between(1)] = 5
    spacing: Annotated[float, Between(0)] = 2.0
    std: Annotated[float, Between(1e-6)] = 0.05
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    @override
    def means(self) -> Tensor:
        """The centres, shape ``(side ** 2, 2)``, float64."""
        line = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        return self.spacing * torch.cartesian_prod(line, line)


# ----------------------------------------------------------------------------
# Two interleaved half circles, blurred.
# ----------------------------------------------------------------------------

_NODES = 16  # Gauss-Legendre nodes in each piece of the curve
_ROWS = 1024  # points that are looked at at once


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Moons:
    r"""Two half circles with Gaussian noise; the label is the moon.

    With the curves ``c_0(t) = (cos t, sin t)`` and ``c_1(t) = (1 - cos t, 1/2 - sin t)`` the
    density is

    ``p(x) = 1 / (2 pi) sum_k int_0^pi N(x; c_k(t), std^2 I) dt``,

    whose integral is taken numerically, with an error far below single precision.

    Source: the curves are those of scikit-learn's ``make_moons``, where ``t`` is on a regular
    grid; here it is uniform, so that the density is known.

    Attributes:
        std: Standard deviation of the noise.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    std: Annotated[float, Between(0.01, 1)] = 0.05
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        moon = torch.randint(2, (n,), generator=rng)
        t = math.pi * torch.rand(n, generator=rng, dtype=torch.float64)
        noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
        return _curves(t)[moon, torch.arange(n)] + self.std * noise, moon

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``."""
        t, weight = _quadrature(pieces=math.ceil(math.pi / (2 * self.std)))
        points = _curves(t).flatten(0, 1).to(x.device)
        logits = weight.log().repeat(2).to(x.device)
        z = x.double()
        parts = [
            self._log_density(z[i : i + _ROWS], points, logits)
            for i in range(0, max(len(z), 1), _ROWS)
        ]
        return torch.cat(parts).to(x.dtype)

    def _log_density(self, x: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        distance = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist")
        exponent = logits - 0.5 * (distance / self.std).square()
        # Of 1 / (2 pi) and of the Gaussian, 1 / (2 pi std^2).
        return exponent.logsumexp(1) - 2 * math.log(2 * math.pi * self.std)


def _curves(t: Tensor) -> Tensor:
    """Returns the points of both curves at ``t``, shape ``(2, len(t), 2)``."""
    first = torch.stack([t.cos(), t.sin()], 1)
    return torch.stack([first, torch.tensor([1.0, 0.5], dtype=t.dtype) - first])


def _quadrature(pieces: int) -> tuple[Tensor, Tensor]:
    """Returns the nodes and weights of Gauss-Legendre rules on equal pieces of [0, pi]."""
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_NODES))
    length = math.pi / pieces
    start = length * torch.arange(pieces, dtype=torch.float64)
    nodes = start[:, None] + length * (node + 1) / 2
    return nodes.flatten(), (weight * length / 2).repeat(pieces)


# ----------------------------------------------------------------------------
# Gaussians on a circle.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Ring(PlanarMixture):
    """Equally likely round Gaussians, evenly spaced on a circle; the label is the mode.

    Source: Srivastava et al., 2017, https://arxiv.org/abs/1705.07761, section 4.1, with the
    defaults of Lin et al., 2018, https://arxiv.org/abs/1712.04086.

    Attributes:
        modes: How many Gaussians.
        radius: Radius of the circle.
        std: Standard deviation of each Gaussian.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    modes: Annotated[int, Between(1)] = 8
    radius: Annotated[float, Between(0)] = 1.0
    std: Annotated[float, Between(1e-6)] = 0.01
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    @override
    def means(self) -> Tensor:
        """The centres, shape ``(modes, 2)``, float64."""
        angle = torch.arange(self.modes, dtype=torch.float64) * (2 * math.pi / self.modes)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)


# ----------------------------------------------------------------------------
# Gaussians on the axes of a space of any dimension.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Gaussians(RoundGaussians):
    """Equally likely round Gaussians on the axes of a space of any dimension.

    Their centres are one ``radius`` from zero, along the first axis, against it, along the second
    and so on; the label is the mode. The density is known in every dimension, so that samples, and
    attacks that move them, can be judged by it.

    Attributes:
        dimension: Dimension of the space.
        modes: How many Gaussians, at most twice the dimension.
        radius: Distance of the centres from zero.
        std: Standard deviation of each Gaussian in each direction.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    dimension: Annotated[int, Between(1)] = 16
    modes: Annotated[int, Between(1)] = 8
    radius: Annotated[float, Between(0)] = 1.0
    std: Annotated[float, Between(1e-6)] = 0.1
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    def __post_init__(self) -> None:
        """Checks that there are as many half axes as modes.

        Raises:
            UserError: If there are fewer.
        """
        if self.modes > 2 * self.dimension:
            raise UserError(
                f"gaussians has one mode on each half axis, at most {2 * self.dimension} in "
                f"{self.dimension} dimensions. Got modes={self.modes}."
            )

    @property
    def space(self) -> Space:
        """Vectors."""
        return Space("vector", (self.dimension,))

    @property
    @override
    def means(self) -> Tensor:
        """The centres, shape ``(modes, dimension)``, float64."""
        axes = torch.eye(self.dimension, dtype=torch.float64)
        return self.radius * torch.stack([axes, -axes], 1).flatten(0, 1)[: self.modes]
