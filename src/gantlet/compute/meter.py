"""What meters share: they see every operator that runs inside them, on any device."""

import abc
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, final

from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from gantlet.compute.formulas import FORMULAS

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
