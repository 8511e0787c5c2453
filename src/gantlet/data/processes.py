"""Vectors cut from random processes that look like real data: series, fields, returns, tables."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeAlias, final

import torch
from torch import Tensor

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn

Kind: TypeAlias = Literal["series", "field", "leaves", "returns", "table", "strokes"]

_SQUARES: tuple[Kind, ...] = ("field", "leaves", "strokes")


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Process:
    """Vectors cut from a random process; the label is the class of a row of a ``table``, else 0.

    - ``series``: a window of a stationary oscillation, an autoregressive process of order 2 whose
      poles have the modulus ``memory``, and a period of 8 steps.
    - ``field``: a square patch of a Gaussian random field whose correlation at a distance of ``r``
      pixels is ``memory ** r``.
    - ``leaves``: a square patch of opaque discs of random size and grey that occlude one another
      (the dead leaves model of natural images; Lee, Mumford and Huang, 2001,
      https://doi.org/10.1023/A:1011109015675), which has edges and flat regions. The mean radius
      is ``1 / (1 - memory)`` pixels.
    - ``returns``: a window of heteroscedastic returns, GARCH(1, 1) (Bollerslev, 1986,
      https://doi.org/10.1016/0304-4076(86)90063-1) with persistence ``memory`` and Student-t
      innovations with 5 degrees of freedom.
    - ``table``: rows of three classes with correlated columns, a third of them skewed
      (log-normal), a third bounded and a third normal; ``memory`` is the share of variance that
      a few common factors explain.
    - ``strokes``: a square patch with one or two straight strokes in whole grey levels from 0 to
      16, as handwriting; the pen is ``memory`` pixels wide.

    Attributes:
        kind: The process.
        size: Components of a vector; of a patch, a square number.
        memory: How strongly components that are near depend on each other, see above.
        world: Seed of what is fixed in the process, such as the loadings of a table.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    kind: Kind = "series"
    size: Annotated[int, Between(1)] = 16
    memory: Annotated[float, Between(0, 1, below=True)] = 0.9
    world: Annotated[int, Between(0)] = 0
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    def __post_init__(self) -> None:
        """Checks that a patch is square.

        Raises:
            UserError: If ``size`` is not a square number.
        """
        if self.kind in _SQUARES and math.isqrt(self.size) ** 2 != self.size:
            raise UserError(
                f"kind={self.kind} needs a square patch: size=9, 16, 25, ... Got {self.size}."
            )

    @property
    def space(self) -> Space:
        """Vectors of ``size`` real numbers."""
        return Space("vector", (self.size,))

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(partial(_draw, self), n=self.n, held_out=self.held_out, rng=rng)


def _draw(process: Process, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    if process.kind == "table":
        return _table(process, n, rng)
    return _KINDS[process.kind](process, n, rng), torch.zeros(n, dtype=torch.long)


# Steps after which the start of a series is forgotten.
_BURN_IN = 200
_PERIOD = 8


def _series(process: Process, n: int, rng: torch.Generator) -> Tensor:
    """Returns windows of ``x_t = 2 r cos(w) x_{t-1} - r^2 x_{t-2} + e_t``."""
    r, w = process.memory, 2 * math.pi / _PERIOD
    e = _normal(n, _BURN_IN + process.size, rng)
    before, now = torch.zeros(n, dtype=e.dtype), torch.zeros(n, dtype=e.dtype)
    found = []
    for t in range(e.shape[1]):
        before, now = now, 2 * r * math.cos(w) * now - r**2 * before + e[:, t]
        found.append(now)
    return torch.stack(found[_BURN_IN:], 1)


def _field(process: Process, n: int, rng: torch.Generator) -> Tensor:
    """Returns patches with the covariance ``memory ** distance``."""
    line = torch.arange(math.isqrt(process.size), dtype=torch.float64)
    place = torch.cartesian_prod(line, line).view(-1, 2)
    distance = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    root = torch.linalg.cholesky(process.memory**distance + 1e-9 * torch.eye(process.size))
    found: Tensor = _normal(n, process.size, rng) @ root.T
    return found


# Discs that are laid on a patch: those below are hidden.
_DISCS = 40


def _leaves(process: Process, n: int, rng: torch.Generator) -> Tensor:
    """Returns grey values from 0 to 1 of discs; the last one that covers a pixel is seen."""
    side, mean = math.isqrt(process.size), 1 / (1 - process.memory)
    line = torch.arange(side, dtype=torch.float64) + 0.5
    pixel = torch.cartesian_prod(line, line).view(-1, 2)
    seen = torch.full((n, process.size), 0.5, dtype=torch.float64)
    for _ in range(_DISCS):
        radius = -mean * torch.rand(n, 1, generator=rng, dtype=torch.float64).clamp(1e-9).log()
        margin = side + 4 * mean
        centre = margin * torch.rand(n, 1, 2, generator=rng, dtype=torch.float64) - 2 * mean
        grey = torch.rand(n, 1, generator=rng, dtype=torch.float64)
        covered = torch.linalg.vector_norm(pixel - centre, dim=2) < radius
        seen = torch.where(covered, grey, seen)
    return seen


_INNOVATIONS = 5
_NEWS = 0.15  # of the persistence, what the last return alone contributes


def _returns(process: Process, n: int, rng: torch.Generator) -> Tensor:
    """Returns windows of ``s_t e_t`` with ``s_t^2 = 1 - p + a x_{t-1}^2 + (p - a) s_{t-1}^2``."""
    p, a = process.memory, min(_NEWS, process.memory)
    e = _student(n, _BURN_IN + process.size, _INNOVATIONS, rng)
    variance = torch.ones(n, dtype=torch.float64)
    found = []
    for t in range(e.shape[1]):
        x = variance.sqrt() * e[:, t]
        variance = 1 - p + a * x.square() + (p - a) * variance
        found.append(x)
    return torch.stack(found[_BURN_IN:], 1)


_CLASSES, _FACTORS, _GAP = 3, 3, 2.0


def _table(process: Process, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns rows and the class of each."""
    fixed, d = Rng(process.world).stream("table"), process.size
    loading = _normal(_FACTORS, d, fixed)
    loading *= (process.memory / loading.square().sum(0)).sqrt()
    centre = _GAP * _normal(_CLASSES, _FACTORS, fixed)
    label = torch.randint(_CLASSES, (n,), generator=rng)
    factors = centre[label] + _normal(n, _FACTORS, rng)
    x = factors @ loading + math.sqrt(1 - process.memory) * _normal(n, d, rng)
    column = torch.arange(d) % 3
    x = torch.where(column == 0, (0.5 * x).exp(), x)
    return torch.where(column == 1, x.sigmoid(), x), label


_INK = 16


def _strokes(process: Process, n: int, rng: torch.Generator) -> Tensor:
    """Returns whole grey levels of one stroke, or of two in half of the patches."""
    side = math.isqrt(process.size)
    line = torch.arange(side, dtype=torch.float64) + 0.5
    pixel = torch.cartesian_prod(line, line).view(-1, 2)
    ink = _stroke(pixel, side, process.memory, n, rng)
    second = _stroke(pixel, side, process.memory, n, rng)
    has_two = torch.rand(n, 1, generator=rng) < 0.5
    return (_INK * torch.where(has_two, torch.maximum(ink, second), ink)).round()


def _stroke(pixel: Tensor, side: int, pen: float, n: int, rng: torch.Generator) -> Tensor:
    """Returns the ink from 0 to 1 of a segment between two random points of the patch."""
    a, b = (side * torch.rand(n, 1, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    along = ((pixel - a) * (b - a)).sum(2) / (b - a).square().sum(2).clamp(min=1e-9)
    nearest = a + along.clamp(0, 1)[..., None] * (b - a)
    distance = torch.linalg.vector_norm(pixel - nearest, dim=2)
    ink: Tensor = (1 + pen / 2 - distance).clamp(0, 1)
    return ink


def _normal(n: int, d: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def _student(n: int, d: int, df: int, rng: torch.Generator) -> Tensor:
    """Returns Student-t numbers of unit variance."""
    chi2 = torch.randn(df, n, d, generator=rng, dtype=torch.float64).square().sum(0)
    return _normal(n, d, rng) / (chi2 / df).sqrt() * math.sqrt((df - 2) / df)


_KINDS: Mapping[Kind, Callable[[Process, int, torch.Generator], Tensor]] = {
    "series": _series,
    "field": _field,
    "leaves": _leaves,
    "returns": _returns,
    "strokes": _strokes,
}
