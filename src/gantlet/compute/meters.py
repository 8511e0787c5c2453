"""Meters of operations, sequential depth and memory that count while a program runs."""

import abc
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

from gantlet.compute.formulas import FORMULAS, is_heavy

# ----------------------------------------------------------------------------
# What meters share: they see every operator that runs inside them, on any device.
# ----------------------------------------------------------------------------

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


# ----------------------------------------------------------------------------
# Notes on the memory behind tensors, forgotten when that memory is freed.
# ----------------------------------------------------------------------------

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
    """Returns what tells the storage of ``x`` from all others that live now."""
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


# ----------------------------------------------------------------------------
# Which weights a computation looks at.
# ----------------------------------------------------------------------------


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
    """Returns how many parameters of ``module`` one call of ``run`` looks at.

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


# ----------------------------------------------------------------------------
# The critical path: how many heavy operators must wait for one another.
# ----------------------------------------------------------------------------


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


# ----------------------------------------------------------------------------
# The most memory that the tensors of a call hold at one time, counted and not sampled.
# ----------------------------------------------------------------------------


@final
class MemoryMeter(Meter):
    """Follows the bytes of the tensors that are made inside it.

    Exact and repeatable, also on ``meta``. Tensors that existed before do not count, nor does the
    scratch memory that an operator frees before it returns.

    Attributes:
        live: Bytes held now by tensors made inside.
        peak: The most bytes held at one time.
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
    """Returns the most bytes held at one time by tensors made during one call of ``run``.

    Example:
        >>> import torch
        >>> peak_memory(lambda: torch.zeros(10) + 1)
        80
    """
    with MemoryMeter() as meter:
        run()
    return meter.peak


# ----------------------------------------------------------------------------
# Work without numbers: shapes, operations and memory of a computation that is never made.
# ----------------------------------------------------------------------------


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


# ----------------------------------------------------------------------------
# Counting floating point operations while they happen, on any device, ``meta`` included.
# ----------------------------------------------------------------------------


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
    """What a call took.

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
