"""How many floating point operations an operator takes; a multiply-add counts as two."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

# ----------------------------------------------------------------------------
# Which operators do work that grows faster than the tensors they touch.
# ----------------------------------------------------------------------------

# Part of the name of an operator that multiplies or factorises, also of one yet to be written.
_HEAVY = re.compile(
    r"conv(?!ert)|attention|linalg|cholesky|fft|lstm|gru|rnn|matmul|einsum|lstsq|logdet|eig"
    r"|(?:^|_)(?:b|hsp|[a-z]*add|[a-z]*addb)?mm(?:_|$)|(?:^|_)(?:mv|dot|vdot|qr|geqrf|ormqr|svd|lu|linear|bilinear)(?:_|$)"
    r"|trilinear|cdist|pdist|_dist$|triangular_solve|transformer|multi_head"
)
# Names that match, but of work that is linear in the tensors: norms, views, checks, gates.
_LIGHT = re.compile(
    r"norm|linalg_cross|linalg_diagonal|check_errors|unpack|upsample|interpolate|cell|conv_tbc_pad"
    r"|qkv|fftshift|fftfreq|linear_interp|rnn_flatten|_use_|is_|pad|weight_norm"
)


def is_heavy(name: str) -> bool:
    """Returns whether an operator of this name is heavy by nature, counted or not.

    Example:
        >>> is_heavy("some_new_attention"), is_heavy("linalg_vector_norm"), is_heavy("relu")
        (True, False, False)
    """
    return bool(_HEAVY.search(name)) and not _LIGHT.search(name)


# ----------------------------------------------------------------------------
# Operations that dense linear algebra takes, to leading order.
#
# Source: Golub and Van Loan, Matrix Computations, 4th edition, 2013: LU 3.2, triangular systems
# 3.1, Cholesky 4.2, QR 5.2, eigenvalues 7.5 and 8.3, singular values 8.6.
# ----------------------------------------------------------------------------


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


_LINALG: Mapping[str, Callable[[Sequence[Any], Any], float]] = {
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


# ----------------------------------------------------------------------------
# How many floating point operations an operator takes; a multiply-add counts as two.
# ----------------------------------------------------------------------------

# A formula sees the operator's positional arguments and what it returned. Names, not operators,
# are the keys, so that an operator that this version of torch lacks does no harm.
Formula = Callable[[Sequence[Any], Any], float]


def _matmul(a: int, b: int) -> Formula:
    """Returns the formula of a (batched) matrix product of arguments ``a`` and ``b``."""
    return lambda args, _: 2.0 * args[a].numel() * args[b].shape[-1]


def _matvec(matrix: int) -> Formula:
    return lambda args, _: 2.0 * args[matrix].numel()


def _outer(args: Sequence[Any], _: Any) -> float:
    return float(2 * args[1].numel() * args[2].numel())


def _linear(args: Sequence[Any], _: Any) -> float:
    return float(2 * args[0].numel() * args[1].shape[0])


def _convolution_of(x: Tensor, weight: Tensor, out: Tensor, *, transposed: bool) -> float:
    # Each weight meets each position once: those of the output, or of the input if transposed.
    # The weight of a grouped convolution already holds only its own group's inputs.
    positions = (x if transposed else out).shape[2:]
    return 2.0 * x.shape[0] * math.prod(positions) * weight.numel()


def _convolution(args: Sequence[Any], out: Any) -> float:
    return _convolution_of(args[0], args[1], out, transposed=bool(args[6]))


def _convolution_backward(args: Sequence[Any], _: Any) -> float:
    # Gradients of input and weight each take as much as the forward pass, grouped or not.
    grad_out, x, weight = args[:3]
    forward = _convolution_of(x, weight, grad_out, transposed=bool(args[7]))
    return forward * (bool(args[10][0]) + bool(args[10][1]))


def _plain_convolution(args: Sequence[Any], out: Any) -> float:
    return _convolution_of(args[0], args[1], out, transposed=False)


def _attention_of(query: Tensor, key: Tensor, value: Tensor) -> float:
    scores = 2.0 * query.numel() * key.shape[-2]
    return scores + scores / query.shape[-1] * value.shape[-1]


def _attention(args: Sequence[Any], _: Any) -> float:
    return _attention_of(*args[:3])


def _attention_backward(args: Sequence[Any], _: Any) -> float:
    return 2.0 * _attention_of(*args[1:4])


def _encoder_layer(args: Sequence[Any], _: Any) -> float:
    # The fused inference path of nn.TransformerEncoderLayer: four weight matrices, attention.
    x, weights = args[0], (args[3], args[5], args[14], args[16])
    batch, length, width = x.shape
    linear = 2.0 * batch * length * sum(w.numel() for w in weights)
    return float(linear + 4 * batch * length * length * width)


def _self_attention(args: Sequence[Any], _: Any) -> float:
    # The fused inference path of nn.MultiheadAttention.
    x, weights = args[0], (args[5], args[7])
    batch, length, width = x.shape
    linear = 2.0 * batch * length * sum(w.numel() for w in weights)
    return float(linear + 4 * batch * length * args[1].shape[1] * width)


def _recurrent(args: Sequence[Any], _: Any) -> float:
    # One layer, one direction: both weight matrices meet every step of every sequence.
    x = args[0]
    return float(2 * x.numel() / x.shape[-1] * (args[1].numel() + args[2].numel()))


def _recurrent_backward(args: Sequence[Any], out: Any) -> float:
    return 2.0 * _recurrent(args, out)


def _cudnn_recurrent(args: Sequence[Any], _: Any) -> float:
    x, weights = args[0], args[1]
    return float(2 * x.numel() / x.shape[-1] * sum(w.numel() for w in weights if w.ndim == 2))


def _cudnn_recurrent_backward(args: Sequence[Any], out: Any) -> float:
    mask = args[-1]
    return _cudnn_recurrent(args, out) * (bool(mask[0]) + bool(mask[3]))


def _distances(args: Sequence[Any], out: Any) -> float:
    # Difference, power and sum for each component of each pair.
    return float(3 * out.numel() * args[0].shape[-1])


def _distances_backward(args: Sequence[Any], _: Any) -> float:
    return float(3 * args[0].numel() * args[1].shape[-1])


def _euclidean_distances(args: Sequence[Any], out: Any) -> float:
    # By the product of matrices with two columns more, the squared norms and ones.
    return float(2 * out.numel() * (args[0].shape[-1] + 2))


def _trilinear(args: Sequence[Any], _: Any) -> float:
    # Sums of products of three tensors, each with its missing axes put in.
    shapes: list[list[int]] = []
    for x, expand in zip(args[:3], args[3:6], strict=True):
        shape = list(x.shape)
        for axis in expand:
            shape.insert(axis, 1)
        shapes.append(shape)
    return float(3 * math.prod(max(sizes) for sizes in zip(*shapes, strict=True)))


def _fourier(args: Sequence[Any], out: Any) -> float:
    # The usual account of a transform of n complex numbers: 5 n log2 n; half of it for real ones.
    x = out if out.numel() > args[0].numel() else args[0]
    n = math.prod(x.shape[d] for d in args[1])
    return float(5 * x.numel() * math.log2(max(n, 1)))


def _real_fourier(args: Sequence[Any], out: Any) -> float:
    real = out if args[0].is_complex() else args[0]
    n = math.prod(real.shape[d] for d in args[1])
    return float(2.5 * real.numel() * math.log2(max(n, 1)))


_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)

_PRODUCTS: dict[str, Formula] = {
    "mm": _matmul(0, 1),
    "bmm": _matmul(0, 1),
    "addmm": _matmul(1, 2),
    "addmm_": _matmul(1, 2),
    "_addmm_activation": _matmul(1, 2),
    "baddbmm": _matmul(1, 2),
    "baddbmm_": _matmul(1, 2),
    "addbmm": _matmul(1, 2),
    "addbmm_": _matmul(1, 2),
    "_int_mm": _matmul(0, 1),
    "_scaled_mm": _matmul(0, 1),
    "mv": _matvec(0),
    "addmv": _matvec(1),
    "addmv_": _matvec(1),
    "dot": _matvec(0),
    "vdot": _matvec(0),
    "addr": _outer,
    "addr_": _outer,
    "linear": _linear,
    "mkldnn_linear": _linear,
    "_trilinear": _trilinear,
}

_CONVOLUTIONS: dict[str, Formula] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "convolution_overrideable": _convolution,
    "convolution_backward": _convolution_backward,
    "convolution_backward_overrideable": _convolution_backward,
    "cudnn_convolution": _plain_convolution,
    "mkldnn_convolution": _plain_convolution,
    "_slow_conv2d_forward": _plain_convolution,
    "_conv_depthwise2d": _plain_convolution,
}

_OTHERS: dict[str, Formula] = {
    "_transformer_encoder_layer_fwd": _encoder_layer,
    "_native_multi_head_attention": _self_attention,
    "mkldnn_rnn_layer": _recurrent,
    "mkldnn_rnn_layer_backward": _recurrent_backward,
    "_cudnn_rnn": _cudnn_recurrent,
    "_cudnn_rnn_backward": _cudnn_recurrent_backward,
    "_cdist_forward": _distances,
    "_pdist_forward": _distances,
    "_cdist_backward": _distances_backward,
    "_pdist_backward": _distances_backward,
    "_euclidean_dist": _euclidean_distances,
    "_fft_c2c": _fourier,
    "_fft_r2c": _real_fourier,
    "_fft_c2r": _real_fourier,
}

FORMULAS: Mapping[str, Formula] = {
    **_PRODUCTS,
    **_CONVOLUTIONS,
    **_OTHERS,
    **dict.fromkeys(_ATTENTION, _attention),
    **{f"{name}_backward": _attention_backward for name in _ATTENTION},
    **_LINALG,
}
