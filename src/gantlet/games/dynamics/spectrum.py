"""Leading eigenvalues of large maps, each with how well it fits."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.games.dynamics.linear import Linear, Shifted

Which = Literal["magnitude", "imaginary"]
"""Which eigenvalues are wanted: largest in magnitude, or in imaginary part."""

_ARPACK = {"magnitude": "LM", "imaginary": "LI"}

# Maps up to this size are written down, which is faster and finds all.
DENSE = 40

_Vector = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Spectrum:
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
) -> Spectrum:
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


def rightmost(of: Linear, k: int = 6, *, step: float, rng: torch.Generator) -> Spectrum:
    """Returns eigenvalues ``l`` with the largest ``|1 + step * l|``.

    For a small step these have the largest real part; for the step that is taken they are those
    that grow fastest. Found as the largest of ``I + step * J``, which converges where a search for
    the largest real part does not.
    """
    found = leading(Shifted(of, step), k, rng=rng)
    return Spectrum(
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


def _dense(of: Linear, k: int, which: Which) -> Spectrum:
    matrix = of.dense().double().cpu().numpy()
    values, vectors = _pairs(matrix)
    size = np.abs(values.imag) if which == "imaginary" else np.abs(values)
    # Of a pair, that with positive imaginary part first, whatever the last digit says.
    order = np.lexsort((-values.imag, -np.round(size / max(size.max(), 1e-300), 12)))[:k]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    return Spectrum(
        tuple(complex(v) for v in values[order]),
        tuple(float(r) for r in residuals[order]),
        min(k, of.size),
        of.size,
    )


def _pairs(matrix: _Vector) -> tuple[Any, Any]:
    return np.linalg.eig(matrix)


def _arnoldi(of: Linear, k: int, which: Which, rng: torch.Generator) -> Spectrum:
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
    return Spectrum(
        tuple(complex(values[i]) for i in order), tuple(residuals), k, counted.products
    )


def _arpack() -> Any:
    """Returns what searches eigenvalues; scipy has no types and takes a while to load."""
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
