"""Run-time meters of FLOPs, depth and memory, and the FLOP formulas of operators."""

import abc
import math
import re
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

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
    """Returns whether an operator of this name is heavy, with or without a formula.

    Example:
        >>> is_heavy("some_new_attention"), is_heavy("linalg_vector_norm"), is_heavy("relu")
        (True, False, False)
    """
    return bool(_HEAVY.search(name)) and not _LIGHT.search(name)


# Operations that dense linear algebra takes, to leading order.
#
# Source: Golub and Van Loan, Matrix Computations, 4th edition, 2013: LU 3.2, triangular systems
# 3.1, Cholesky 4.2, QR 5.2, eigenvalues 7.5 and 8.3, singular values 8.6.


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
# FLOP formulas of operators; a multiply-add counts as two.
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


def _assignment(args: Sequence[Any], _: Any) -> float:
    # What shortest augmenting paths take at most, n rows of n^2 looks each; they often take less.
    return float(args[0].numel() * args[0].shape[-1])


def _sinkhorn(args: Sequence[Any], _: Any) -> float:
    # Rows and columns: add, find the largest, subtract, exponentiate and sum each entry.
    return float(10 * args[0].numel() * args[2])


# Operators of this package: gantlet.models.matching.
_OWN: dict[str, Formula] = {"assignment": _assignment, "sinkhorn": _sinkhorn}

FORMULAS: Mapping[str, Formula] = {
    **_PRODUCTS,
    **_CONVOLUTIONS,
    **_OTHERS,
    **_OWN,
    **dict.fromkeys(_ATTENTION, _attention),
    **{f"{name}_backward": _attention_backward for name in _ATTENTION},
    **_LINALG,
}


# Takes an operator's name, the operator, its arguments; returns what the operator returns.
_Call = Callable[[str, Any, Sequence[Any], Mapping[str, Any]], Any]


class Meter(abc.ABC):
    """A context in which every operator goes through ``call``; gradients and ``meta`` included."""

    def __init__(self) -> None:
        self._mode = _Mode(self.call)

    def __enter__(self) -> Self:
        """Starts to see operators."""
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Sees no more."""
        self._mode.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    @abc.abstractmethod
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Runs ``operator``, named without namespace and overload, and returns its result."""


@final
class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every operator to a function, composite ones that have no formula in parts."""

    def __init__(self, call: _Call) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._call = call

    @classmethod
    @override
    def _should_skip_dynamo(cls) -> bool:
        del cls
        # A meter runs in eager mode only: for it, torch need not import its whole compiler.
        return False

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        del types  # Kinds of tensors make no difference here.
        namespace, name = _name(func)
        kwargs = kwargs or {}
        if namespace == "aten" and name not in FORMULAS:
            # In inference mode composite operators arrive whole; their parts count instead.
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        return self._call(name, func, args, kwargs)


def _name(operator: Any) -> tuple[str, str]:
    """Returns the namespace and the name of an operator, without its overload."""
    schema = getattr(operator, "_schema", None)
    namespace, _, name = str(schema.name if schema else operator).rpartition("::")
    return namespace, name


T = TypeVar("T")


@final
class StorageNotes(Generic[T]):
    """One note for each living storage: views of one tensor share it.

    Args:
        freed: Called with the note of a storage when it is freed.
    """

    def __init__(self, freed: Callable[[T], None] = lambda _: None) -> None:
        self._notes: dict[int, T] = {}
        self._freed = freed

    def get(self, x: Tensor, default: T) -> T:
        """Returns the note on the storage of ``x``."""
        return self._notes.get(key(x), default)

    def put(self, x: Tensor, note: T) -> None:
        """Leaves a note on the storage of ``x``."""
        k = key(x)
        if k not in self._notes:
            # Dies with the storage itself, which autograd may keep longer than any tensor.
            weakref.finalize(x.untyped_storage(), self._forget, k).atexit = False
        self._notes[k] = note

    def __contains__(self, x: Tensor) -> bool:
        """Returns whether there is a note on the storage of ``x``."""
        return key(x) in self._notes

    def _forget(self, k: int) -> None:
        self._freed(self._notes.pop(k))


def key(x: Tensor) -> int:
    """Returns an identifier of the storage of ``x``, unique among live storages."""
    # One storage is one Python object for as long as it lives, on ``meta`` too.
    return id(x.untyped_storage())


def tensors(tree: object) -> Iterator[Tensor]:
    """Yields the tensors with a storage of their own in nested arguments or results."""
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf


def written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yields the arguments that an operator writes to."""
    for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from tensors(given)


@final
class _Reads(Meter):
    """Notes which of the given storages are arguments of an operator."""

    def __init__(self, known: Mapping[int, int]) -> None:
        super().__init__()
        self._known = known
        self.seen: set[int] = set()

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        keys = (key(x) for x in tensors((args, kwargs)))
        self.seen.update(k for k in keys if k in self._known)
        return operator(*args, **kwargs)


def parameters_read(run: Callable[[], object], module: nn.Module) -> int:
    """Returns the number of parameters of ``module`` read by one call of ``run``.

    A weight that the call never touches, such as those of an encoder while samples are drawn, is
    not needed for it and does not count. Weights that share memory count once. Of a module without
    parameters, such as a fitted baseline, the numbers that are saved count.

    Example:
        >>> import torch
        >>> net = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])
        >>> parameters_read(lambda: net[0](torch.ones(1, 2)), net)
        9
    """
    kept = list(module.parameters()) or list(module.state_dict().values())
    # They live throughout, so that no temporary tensor can take the key of one.
    sizes = {key(x): x.numel() for x in kept}
    with _Reads(sizes) as reads:
        run()
    return sum(sizes[k] for k in reads.seen)


@final
class DepthMeter(Meter):
    """Follows, for each tensor made inside it, the longest chain of operators that led to it.

    Only heavy operators (products of matrices, convolutions, attention, factorisations) count as
    links. A fused recurrent layer is as many links as it has time steps. Views share the depth of
    their storage; a write into part of a tensor deepens the whole of it.

    Attributes:
        depth: The longest chain so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth: int = 0
        self._depths = StorageNotes[int]()

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        before = max((self._depths.get(x, 0) for x in tensors((args, kwargs))), default=0)
        out = operator(*args, **kwargs)
        after = before + _links(name, args)
        for x in (*tensors(out), *written(operator, args, kwargs)):
            self._deepen(x, after)
        self.depth = max(self.depth, after)
        return out

    def _deepen(self, x: Tensor, depth: int) -> None:
        if depth > self._depths.get(x, 0):
            self._depths.put(x, depth)


def _links(name: str, args: Sequence[Any]) -> int:
    if name.startswith(("mkldnn_rnn_layer", "_cudnn_rnn")):
        steps: int = args[0].shape[0]
        return steps
    return int(name in FORMULAS or is_heavy(name))


def critical_path(run: Callable[[], object]) -> int:
    """Returns the longest chain of heavy operators in one call of ``run``.

    However many processors there were, the call could not take less time than this many heavy
    operators one after the other.

    Example:
        >>> import torch
        >>> w = torch.eye(3)
        >>> critical_path(lambda: w @ w @ w), critical_path(lambda: (w @ w) + (w @ w))
        (2, 1)
    """
    with DepthMeter() as meter:
        run()
    return meter.depth


@final
class MemoryMeter(Meter):
    """Follows the bytes of the tensors that are made inside it.

    Exact and repeatable, also on ``meta``. Tensors that existed before do not count, nor does the
    scratch memory that an operator frees before it returns.

    Attributes:
        live: Bytes held now by tensors made inside.
        peak: Peak number of bytes held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: int = 0
        self.peak: int = 0
        self._sizes = StorageNotes[int](self._freed)

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        # What came in was made before, unless it is known already: it is not charged.
        for x in tensors((args, kwargs)):
            if x not in self._sizes:
                self._sizes.put(x, 0)
        out = operator(*args, **kwargs)
        for x in tensors(out):
            if x not in self._sizes:
                size = x.untyped_storage().nbytes()
                self._sizes.put(x, size)
                self.live += size
        self.peak = max(self.peak, self.live)
        return out

    def _freed(self, size: int) -> None:
        self.live -= size


def peak_memory(run: Callable[[], object]) -> int:
    """Returns the peak memory of tensors created during one call of ``run``, in bytes.

    Example:
        >>> import torch
        >>> peak_memory(lambda: torch.zeros(10) + 1)
        80
    """
    with MemoryMeter() as meter:
        run()
    return meter.peak


@contextmanager
def pretend() -> Generator[Callable[[Tensor], Tensor], None, None]:
    """Makes every tensor computed inside a shape on its device, without numbers.

    Nothing is computed and no memory is taken, so that a step of any size can be counted at once.
    Tensors from outside, such as weights, can be used and are left as they are. What comes out of
    the context is a function that turns a tensor into its shape. Work that looks at the numbers
    (``item``, a condition on a value) raises an error of torch's, a ``RuntimeError``.

    Example:
        >>> import torch
        >>> from gantlet.compute.meters import count
        >>> with pretend() as shape:
        ...     x = shape(torch.empty(1, 1000)).expand(1000, 1000)
        ...     count(lambda: x @ x).flops
        2000000000.0
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode.from_tensor


@final
class FlopMeter(Meter):
    """Counts the floating point operations of everything that runs inside it.

    A multiply-add counts as two. Products of matrices, convolutions, attention, recurrent layers,
    distances, Fourier transforms and linear algebra count; element-wise work, which is limited by
    memory and not by arithmetic, does not. Gradients, gradients of gradients (penalties) and
    ``torch.func`` transforms count like anything else. Attention counts as the whole matrix of
    scores, causal or not, and its gradient as twice the forward pass, whichever kernel runs:
    the same model then costs the same on every device.

    Differs from ``torch.utils.flop_counter.FlopCounterMode``: survives gradients with respect to
    leaf tensors (pytorch #131753), counts the gradient of a grouped convolution right, and CPU
    attention, LSTM, matrix-vector products and linear algebra at all.

    Example:
        >>> import torch
        >>> with FlopMeter() as meter:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> meter.flops
        60.0
    """

    def __init__(self) -> None:
        super().__init__()
        self._flops: defaultdict[str, float] = defaultdict(float)
        self._unknown: Counter[str] = Counter()

    @property
    def flops(self) -> float:
        """Operations so far."""
        return float(sum(self._flops.values()))

    @property
    def by_operator(self) -> Mapping[str, float]:
        """Operations so far, for each operator that was counted."""
        return dict(self._flops)

    @property
    def unknown(self) -> Mapping[str, int]:
        """Calls of each operator that is heavy by its name, and that the meter cannot count."""
        return dict(self._unknown)

    @override
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        out = operator(*args, **kwargs)
        if formula := FORMULAS.get(name):
            self._flops[name] += formula(args, out)
        elif theirs := flop_registry.get(getattr(operator, "overloadpacket", operator)):
            self._flops[name] += theirs(*args, **kwargs, out_val=out)
        elif is_heavy(name):
            self._unknown[name] += 1
        return out


@final
@dataclass(frozen=True, slots=True)
class Count:
    """The cost of a call.

    Attributes:
        flops: Floating point operations; a multiply-add counts as two.
        unknown: Calls of each heavy operator that could not be counted.
    """

    flops: float
    unknown: Mapping[str, int]


def count(run: Callable[[], object]) -> Count:
    """Returns the floating point operations of one call of ``run``.

    Example:
        >>> import torch
        >>> count(lambda: torch.ones(2, 3, device="meta") @ torch.ones(3, 5, device="meta"))
        Count(flops=60.0, unknown={})
    """
    with FlopMeter() as meter:
        run()
    return Count(meter.flops, meter.unknown)
