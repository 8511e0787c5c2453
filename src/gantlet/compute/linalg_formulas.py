"""Operations that dense linear algebra takes, to leading order.

Source: Golub and Van Loan, Matrix Computations, 4th edition, 2013: LU 3.2, triangular systems
3.1, Cholesky 4.2, QR 5.2, eigenvalues 7.5 and 8.3, singular values 8.6.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor


def _copies(a: Tensor) -> int:
    return math.prod(a.shape[:-2])


def _cubic(factor: float) -> Callable[[Sequence[Any], Any], float]:
    """Returns the formula ``factor * n^3`` for each square matrix of the first argument."""
    return lambda args, _: factor * _copies(args[0]) * args[0].shape[-1] ** 3


def _lu(args: Sequence[Any], _: Any) -> float:
    # n^2 (m - n/3) with n the smaller side; 2/3 n^3 where the matrix is square.
    m, n = sorted(args[0].shape[-2:], reverse=True)
    return float(_copies(args[0]) * n * n * (m - n / 3))


def _qr(args: Sequence[Any], _: Any) -> float:
    # R by Householder's reflections, and Q multiplied out.
    m, n = sorted(args[0].shape[-2:], reverse=True)
    return float(_copies(args[0]) * 4 * n * n * (m - n / 3))


def _svd(args: Sequence[Any], _: Any) -> float:
    # With vectors: under a meter torch computes them even where only values are wanted.
    m, n = sorted(args[0].shape[-2:], reverse=True)
    return float(_copies(args[0]) * (6 * m * n * n + 20 * n**3))


def _pinv(args: Sequence[Any], _: Any) -> float:
    m, n = sorted(args[0].shape[-2:], reverse=True)
    return _svd(args, _) + float(_copies(args[0]) * 2 * m * n * n)


def _solve(args: Sequence[Any], out: Any) -> float:
    # Factorise, then two triangular systems for each right-hand side.
    a, x = args[0], out[0]
    n = a.shape[-1]
    return float(_copies(a) * 2 * n**3 / 3 + 2 * x.numel() * n)


def _triangular(matrix: int, factor: float) -> Callable[[Sequence[Any], Any], float]:
    """Returns ``factor * n`` operations for each number of the solution."""

    def formula(args: Sequence[Any], out: Any) -> float:
        x = out if isinstance(out, Tensor) else out[0]
        return factor * float(x.numel()) * float(args[matrix].shape[-1])

    return formula


FORMULAS: Mapping[str, Callable[[Sequence[Any], Any], float]] = {
    "_linalg_slogdet": _cubic(2 / 3),
    "_linalg_det": _cubic(2 / 3),
    "linalg_lu": _lu,
    "linalg_lu_factor": _lu,
    "linalg_lu_factor_ex": _lu,
    "linalg_inv_ex": _cubic(2.0),
    "_linalg_solve_ex": _solve,
    "linalg_cholesky_ex": _cubic(1 / 3),
    "cholesky": _cubic(1 / 3),
    "cholesky_inverse": _cubic(2 / 3),
    "_linalg_eigh": _cubic(9.0),
    "linalg_eig": _cubic(25.0),
    "_linalg_eigvals": _cubic(25.0),
    "linalg_qr": _qr,
    "_linalg_svd": _svd,
    "linalg_pinv": _pinv,
    "linalg_solve_triangular": _triangular(0, 1.0),
    "triangular_solve": _triangular(1, 1.0),
    "cholesky_solve": _triangular(1, 2.0),
    "linalg_lu_solve": _triangular(0, 2.0),
}
