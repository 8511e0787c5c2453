"""What meters share: they see every operator that runs inside them, on any device."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from gantlet.compute.formulas import FORMULAS


class Meter(TorchDispatchMode, abc.ABC):
    """A context in which every operator goes through ``call``; gradients and ``meta`` included."""

    @override
    def __init_subclass__(cls) -> None:
        """Takes part in the bookkeeping of dispatch modes."""
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @override
    def __enter__(self) -> Self:
        """Starts to see operators."""
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @classmethod
    @override
    def _should_skip_dynamo(cls) -> bool:
        # A meter runs in eager mode only; without this torch would import its whole compiler.
        return False

    @abc.abstractmethod
    def call(
        self, name: str, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Runs ``operator``, named without namespace and overload, and returns its result."""

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        namespace, name = _name(func)
        kwargs = kwargs or {}
        if namespace == "aten" and name not in FORMULAS:
            # In inference mode composite operators arrive whole; their parts count instead.
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        return self.call(name, func, args, kwargs)


def _name(operator: Any) -> tuple[str, str]:
    """Returns the namespace and the name of an operator, without its overload."""
    schema = getattr(operator, "_schema", None)
    namespace, _, name = str(schema.name if schema else operator).rpartition("::")
    return namespace, name
