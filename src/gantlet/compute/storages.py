"""Notes on the memory behind tensors, forgotten when that memory is freed."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

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
