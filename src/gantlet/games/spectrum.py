"""Spectra of Jacobians and update maps: eigenvalues, rotation, path angles.

Small maps are written down, large ones known by their products alone (``gantlet.games.field``).
"""

import abc
import cmath
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.model import Game
from gantlet.games.field import GameField, Linear
from gantlet.stats.intervals import t_quantile

Which = Literal["magnitude", "imaginary"]
"""Which eigenvalues are wanted: largest in magnitude, or in imaginary part."""

_ARPACK = {"magnitude": "LM", "imaginary": "LI"}

# Maps up to this size are written down, which is faster and finds all.
DENSE = 40

_Vector = NDArray[np.float64]


class Wrapped(Linear, abc.ABC):
    """A map made of another one, of the same size.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: Linear) -> None:
        self._inner = inner

    @property
    @override
    def size(self) -> int:
        return self._inner.size

    @property
    @override
    def like(self) -> Tensor:
        return self._inner.like


@final
class Preconditioned(Wrapped):
    """``R^1/2 J R^1/2`` for a diagonal ``R`` of rates: it has the eigenvalues of ``R J``.

    With the learning rate of each player, or Adam's ``lr / (sqrt(second moment) + eps)``, ``R J``
    is what one step adds to the identity.

    Args:
        inner: ``J``.
        rates: The diagonal of ``R``, shape ``(size,)``, none negative.
    """

    def __init__(self, inner: Linear, rates: Tensor) -> None:
        super().__init__(inner)
        self._root = rates.to(inner.like).sqrt()

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._root * self._inner.apply(self._root * u)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._root * self._inner.transposed(self._root * u)


@final
class Shifted(Wrapped):
    """``I + step * J``.

    Args:
        inner: ``J``.
        step: The step.
    """

    def __init__(self, inner: Linear, step: float) -> None:
        super().__init__(inner)
        self._step = step

    @override
    def apply(self, u: Tensor) -> Tensor:
        return u + self._step * self._inner.apply(u)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return u + self._step * self._inner.transposed(u)


@final
@dataclass(frozen=True, slots=True)
class Eigenvalues:
    """Some eigenvalues of a map.

    Attributes:
        values: The eigenvalues, those that were wanted most first.
        residuals: ``|J x - l x|`` of each with its unit eigenvector ``x``.
        asked: How many were wanted; fewer may have converged.
        products: How many products it took.
    """

    values: tuple[complex, ...]
    residuals: tuple[float, ...]
    asked: int
    products: int

    def good(self, tolerance: float = 1e-2) -> tuple[complex, ...]:
        """Returns the eigenvalues with a residual below a share of the largest of them."""
        largest = max(map(abs, self.values), default=0.0)
        pairs = zip(self.values, self.residuals, strict=True)
        return tuple(value for value, residual in pairs if residual <= tolerance * largest)


def leading(
    of: Linear, k: int = 6, which: Which = "magnitude", *, rng: torch.Generator
) -> Eigenvalues:
    """Returns the ``k`` leading eigenvalues of a real map.

    Small maps are written down. Others are searched by implicitly restarted Arnoldi iteration
    (Lehoucq, Sorensen and Yang, 1998, https://doi.org/10.1137/1.9780898719628) in double
    precision, with products of the transpose, which has the same eigenvalues and needs one graph
    only. Those that do not converge are left out.

    Args:
        of: The map.
        k: How many eigenvalues; a complex pair counts as two.
        which: The largest in magnitude, or in imaginary part.
        rng: Draws where the search begins.
    """
    if of.size <= max(DENSE, k + 2):
        return _dense(of, k, which)
    return _arnoldi(of, k, which, rng)


def rightmost(of: Linear, k: int = 6, *, step: float, rng: torch.Generator) -> Eigenvalues:
    """Returns eigenvalues ``l`` with the largest ``|1 + step * l|``.

    For a small step these have the largest real part; for the step that is taken they are those
    that grow fastest. Found as the largest of ``I + step * J``, which converges where a search for
    the largest real part does not.
    """
    found = leading(Shifted(of, step), k, rng=rng)
    return Eigenvalues(
        tuple((value - 1) / step for value in found.values),
        tuple(residual / step for residual in found.residuals),
        found.asked,
        found.products,
    )


def ends(of: Linear, *, rng: torch.Generator) -> tuple[float | None, float | None]:
    """Returns the smallest and largest eigenvalue of a symmetric map, or None for both.

    None where the search does not converge.
    """
    if of.size <= DENSE:
        values = torch.linalg.eigvalsh(of.dense().double())
        return float(values[0]), float(values[-1])
    arpack = _arpack()
    counted = _Counted(of.apply, of.like)
    try:
        values = arpack.eigsh(
            counted.operator(of.size),
            k=2,
            which="BE",
            v0=_start(of.size, rng),
            tol=1e-3,
            maxiter=50,
            return_eigenvectors=False,
        )
    except arpack.ArpackError:
        return None, None
    return float(values.min()), float(values.max())


def _dense(of: Linear, k: int, which: Which) -> Eigenvalues:
    matrix = of.dense().double().cpu().numpy()
    values, vectors = _pairs(matrix)
    size = np.abs(values.imag) if which == "imaginary" else np.abs(values)
    # Of a pair, that with positive imaginary part first, whatever the last digit says.
    order = np.lexsort((-values.imag, -np.round(size / max(size.max(), 1e-300), 12)))[:k]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    return Eigenvalues(
        tuple(complex(v) for v in values[order]),
        tuple(float(r) for r in residuals[order]),
        min(k, of.size),
        of.size,
    )


def _pairs(matrix: _Vector) -> tuple[Any, Any]:
    return np.linalg.eig(matrix)


def _arnoldi(of: Linear, k: int, which: Which, rng: torch.Generator) -> Eigenvalues:
    arpack = _arpack()
    counted = _Counted(of.transposed, of.like)
    try:
        values, vectors = arpack.eigs(
            counted.operator(of.size),
            k=k,
            which=_ARPACK[which],
            v0=_start(of.size, rng),
            tol=1e-5,
            maxiter=30,
        )
    except arpack.ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    size = np.abs(values.imag) if which == "imaginary" else np.abs(values)
    order = np.lexsort((-values.imag, -np.round(size / max(size.max(initial=0.0), 1e-300), 6)))
    residuals = [_residual(counted.product, values[i], vectors[:, i]) for i in order]
    return Eigenvalues(
        tuple(complex(values[i]) for i in order), tuple(residuals), k, counted.products
    )


def _arpack() -> Any:
    """Returns scipy's eigenvalue search, which has no types and takes a while to load."""
    return import_module("scipy.sparse.linalg")


def _residual(product: Callable[[_Vector], _Vector], value: complex, x: Any) -> float:
    real, imaginary = product(x.real.copy()), np.zeros(1)
    if x.imag.any():
        imaginary = product(x.imag.copy())
    return float(np.linalg.norm(real + 1j * imaginary - value * x))


def _start(size: int, rng: torch.Generator) -> _Vector:
    v0: _Vector = torch.randn(size, generator=rng, device=rng.device).double().cpu().numpy()
    return v0


@final
class _Counted:
    """A map as scipy wants it, in double precision, that counts its products."""

    def __init__(self, apply: Callable[[Tensor], Tensor], like: Tensor) -> None:
        self._apply = apply
        self._like = like
        self.products = 0

    def product(self, u: _Vector) -> _Vector:
        self.products += 1
        vector = torch.from_numpy(u.reshape(-1)).to(self._like)
        image: _Vector = self._apply(vector).detach().double().cpu().numpy()
        return image

    def operator(self, size: int) -> Any:
        return _arpack().LinearOperator((size, size), matvec=self.product, dtype=np.float64)


@final
@dataclass(frozen=True, slots=True)
class Rotation:
    """How a Jacobian is parted into ``S = (J + J^T) / 2`` and ``A = (J - J^T) / 2``.

    Attributes:
        share: ``|A|^2 / |J|^2`` in Frobenius norms: 0 for a single loss, 1 for a pure rotation.
        ratio: ``|A| / |S|``; missing where nothing attracts or repels.
    """

    share: Estimate
    ratio: Estimate


def rotation(of: Linear, *, probes: int = 24, rng: torch.Generator) -> Rotation:
    """Returns the rotation share of a Jacobian, estimated from products with random signs.

    With ``u`` of independent signs (Hutchinson, 1990,
    https://doi.org/10.1080/03610919008812866) ``E |J u|^2 = |S|^2 + |A|^2`` and
    ``E u^T J J u = |S|^2 - |A|^2``; their ratio has a jackknife interval. Small maps are written
    down.

    Args:
        of: The Jacobian.
        probes: How many vectors; as many units as there are dimensions, if those are fewer.
        rng: Draws the signs.
    """
    if of.size <= probes:
        matrix = of.dense().double()
        whole, product = float(matrix.square().sum()), float((matrix @ matrix).trace())
        return _parted(whole, product, None, of.size)
    squares, products = [], []
    for _ in range(probes):
        signs = torch.randint(2, (of.size,), generator=rng, device=rng.device) * 2 - 1
        u = signs.to(of.like)
        image = of.apply(u)
        squares.append(float(image.square().sum()))
        products.append(float(of.transposed(u) @ image))
    a, b = math.fsum(squares), math.fsum(products)
    left = [(b - y) / (a - x) if a > x else 0.0 for x, y in zip(squares, products, strict=True)]
    centre = math.fsum(left) / probes
    error = math.sqrt((probes - 1) / probes * math.fsum((x - centre) ** 2 for x in left))
    return _parted(a, b, t_quantile(0.975, probes - 1) * error, probes)


def _parted(whole: float, product: float, half: float | None, n: int) -> Rotation:
    if whole == 0:
        missing = Estimate.missing("the Jacobian is zero")
        return Rotation(missing, missing)
    r = product / whole
    share, ratio = _share(r), _ratio(r)
    if half is None:
        of = f"exact, from all {n} columns"
        shown = Estimate.missing("all real parts are zero: a pure rotation")
        if ratio is not None:
            shown = Estimate.exact(ratio, method=of, n=n)
        return Rotation(Estimate.exact(share, method=of, n=n), shown)
    how = f"Hutchinson, {n} vectors of random signs; jackknife"
    low, high = _share(r + half), _share(r - half)
    given = Estimate(value=share, low=low, high=high, n=n, method=how)
    top, bottom = _ratio(r - half), _ratio(r + half)
    if ratio is None or top is None or bottom is None:
        return Rotation(given, Estimate.missing("not distinguishable from a pure rotation"))
    return Rotation(given, Estimate(value=ratio, low=bottom, high=top, n=n, method=how))


def _share(r: float) -> float:
    return min(max((1 - r) / 2, 0.0), 1.0)


def _ratio(r: float) -> float | None:
    share = _share(r)
    return math.sqrt(share / (1 - share)) if share < 1 - 1e-12 else None


# The line goes on beyond both ends by this share of its length.
_BEYOND = 0.1


@final
@dataclass(frozen=True, slots=True)
class PathAngle:
    """The field along a line.

    Attributes:
        place: Where, 0 at the start and 1 at the end.
        cosine: Of the angle between the field and the direction of the line; NaN where the field
            is zero.
        norm: The length of the field.
    """

    place: tuple[float, ...]
    cosine: tuple[float, ...]
    norm: tuple[float, ...]


def path_angle(field: GameField, start: Tensor, end: Tensor, *, points: int = 61) -> PathAngle:
    """Returns the angle between field and line on the line from ``start`` to ``end``.

    Where the cosine changes its sign at the end, the end attracts; a bump around it is rotation.
    The field is left at ``end``.

    Source: Berard et al., 2020, https://arxiv.org/abs/1906.04848, section 4.

    Args:
        field: The field; it is moved.
        start: Where training began, shape ``(size,)``.
        end: Where it ended.
        points: At how many places to look.
    """
    along = end - start
    length = float(along.norm())
    place = torch.linspace(-_BEYOND, 1 + _BEYOND, points).tolist()
    cosine, norm = [], []
    for a in place:
        field.move(torch.lerp(start, end, a))
        v = field.value()
        size = float(v.norm())
        norm.append(size)
        cosine.append(float(v @ along) / (size * length) if size * length > 0 else float("nan"))
    field.move(end)
    return PathAngle(tuple(place), tuple(cosine), tuple(norm))


def second_moments(game: Game, batches: Sequence[Tensor], *, rng: torch.Generator) -> Tensor:
    """Returns the mean square of each component of the players' gradients, shape ``(size,)``.

    What Adam's second moments settle at where the players stay where they are. Parameters are in
    the order of ``GameField``.

    Args:
        game: The game; its players do not move.
        batches: Real samples, as many as training puts in a batch, in each.
        rng: Draws the noise; moved.
    """
    total: list[Tensor] = []
    for batch in batches:
        parts = []
        for name, player in game.players.items():
            own = [p for p in player.parameters() if p.requires_grad]
            slopes = torch.autograd.grad(
                game.loss(name, batch, rng=rng), own, materialize_grads=True
            )
            parts += [g.detach().flatten() for g in slopes]
        square = torch.cat(parts).square()
        total = [total[0] + square if total else square]
    return total[0] / len(batches)


# Eigenvalues below this share of the largest are directions in which nothing happens.
_FLAT = 1e-6

# No longer delay is looked for.
LONGEST = 127


def largest_step(values: Sequence[complex]) -> float | None:
    """Returns the step from which on simultaneous descent is unstable, or None if none is stable.

    ``|1 + h l| < 1`` for ``h < -2 Re l / |l|^2``; the smallest of these bounds over all ``l`` with
    negative real part. None where there is none, or one on the imaginary axis.

    Example:
        >>> round(largest_step([-1 + 1j, -1 - 1j, -4]), 3), largest_step([1j, -1j])
        (0.5, None)
    """
    steep = _steep(values)
    if any(abs(value.real) <= _FLAT * abs(value) for value in steep):
        return None
    bounds = [-2 * value.real / abs(value) ** 2 for value in steep if value.real < 0]
    return min(bounds, default=None)


def largest_delay(values: Sequence[complex], step: float, *, most: int = LONGEST) -> int | None:
    """Returns the largest delay under which descent with this step is stable.

    None where it is not stable without a delay; ``most`` stands for that or more.
    """
    steep = [step * value for value in _upper(_steep(values))]

    def holds(delay: int) -> bool:
        return all(_root(s, delay) < 1 - 1e-12 for s in steep)

    if not holds(0):
        return None
    # A longer delay never helps, so that halving the range finds the last one that does no harm.
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _root(s: complex, delay: int) -> float:
    coefficients = np.zeros(delay + 2, dtype=complex)
    coefficients[0], coefficients[1] = 1.0, -1.0
    coefficients[-1] -= s
    return float(np.abs(np.roots(coefficients)).max())


def _steep(values: Iterable[complex]) -> list[complex]:
    kept = [complex(value) for value in values]
    largest = max(map(abs, kept), default=0.0)
    return [value for value in kept if abs(value) > _FLAT * largest]


def _upper(values: Iterable[complex]) -> list[complex]:
    """Returns one of each pair, the least stable first."""
    upper = [value for value in values if cmath.phase(value) >= 0]
    return sorted(upper, key=lambda value: value.real / abs(value) ** 2, reverse=True)


@final
class InTurn(Wrapped):
    """Players who move one after the other, each against what the others have just become.

    ``prod_p (I + R E_p J)^moves``, where ``E_p`` keeps the rows of a player and ``R`` holds the
    rate of every parameter. (Moved all at once, they give ``I + R J``.)

    Args:
        inner: ``J``.
        rates: The diagonal of ``R``, shape ``(size,)``.
        players: Which rows are whose, in order of play.
        moves: How often each moves in one step.
    """

    def __init__(
        self,
        inner: Linear,
        rates: Tensor,
        players: Mapping[str, slice],
        moves: Mapping[str, int],
    ) -> None:
        super().__init__(inner)
        masks = {p: torch.zeros_like(rates) for p in players}
        for player, where in players.items():
            masks[player][where] = rates[where]
        self._turns = [masks[p].to(inner.like) for p in players for _ in range(moves[p])]

    @override
    def apply(self, u: Tensor) -> Tensor:
        for rates in self._turns:
            u = u + rates * self._inner.apply(u)
        return u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        for rates in reversed(self._turns):
            u = u + self._inner.transposed(rates * u)
        return u


@final
class Damped(Wrapped):
    """``J - gamma J^T J``: the field after consensus has been added, near an equilibrium.

    Source: Mescheder et al., 2017, https://arxiv.org/abs/1705.10461.

    Args:
        inner: ``J``.
        gamma: The weight of consensus.
    """

    def __init__(self, inner: Linear, gamma: float) -> None:
        super().__init__(inner)
        self._gamma = gamma

    @override
    def apply(self, u: Tensor) -> Tensor:
        image = self._inner.apply(u)
        return image - self._gamma * self._inner.transposed(image)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        square = self._inner.transposed(self._inner.apply(u))
        return self._inner.transposed(u) - self._gamma * square


@final
class Less(Wrapped):
    """A map less the identity.

    Args:
        inner: The map.
    """

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._inner.apply(u) - u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._inner.transposed(u) - u
