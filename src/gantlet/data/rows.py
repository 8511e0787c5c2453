"""Arrays of samples, and what space they are of."""

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.space import Kind, Space
from gantlet.data.checks import Array

Layout = Literal["auto", "nd", "nhw", "nhwc", "nchw"]

_DIMENSIONS = {"nd": 2, "nhw": 3, "nhwc": 4, "nchw": 4}
_MOST_LEVELS = 65536


@final
class Rows:
    """A split that is held as a NumPy array, in memory or mapped from disk.

    Args:
        array: The samples, shape ``(n, *space.shape)``, of any number type.
        labels: The class of each sample, shape ``(n,)``.
        notes: What was left out of the files, converted or guessed.
    """

    def __init__(
        self, array: Array, labels: Array | None = None, notes: Sequence[str] = ()
    ) -> None:
        self.array = array
        self.notes = notes
        self._labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.array)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return torch.from_numpy(self.array[index.numpy()].astype(np.float32))


def arranged(array: Array, layout: Layout, name: str) -> Array:
    """Returns a view of ``array`` as ``(n, d)`` or ``(n, channels, height, width)``.

    Raises:
        UserError: If the shape does not fit the layout, or could mean two things.
    """
    shape = "x".join(map(str, array.shape))
    known = layout if layout != "auto" else _guess(array.shape)
    if known is None:
        raise UserError(
            f"{name} has shape {shape}; samples are (n, d), (n, h, w), (n, h, w, c) or "
            "(n, c, h, w) with 1 or 3 channels. Give layout=nd, nhw, nhwc or nchw."
        )
    if array.ndim != _DIMENSIONS[known]:
        raise UserError(f"{name} has shape {shape}, which layout={layout} does not fit.")
    if not array.size:
        raise UserError(f"{name} has shape {shape}, which holds no values.")
    if known == "nhw":
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if known == "nhwc" else array


def _guess(shape: tuple[int, ...]) -> Layout | None:
    match shape:
        case (_, _):
            return "nd"
        case (_, _, _):
            return "nhw"
        case (_, first, _, last) if (first in {1, 3}) != (last in {1, 3}):
            return "nchw" if first in {1, 3} else "nhwc"
        case _:
            return None


def space_of(array: Array, levels: int | None, name: str) -> Space:
    """Returns the space of the samples of ``array``, as ``arranged`` returned it.

    Whole numbers are levels: bytes have 256, other integers as many as the largest asks for.

    Args:
        array: The samples.
        levels: How many levels there are, or None to infer it.
        name: What to call the array in messages.

    Raises:
        UserError: If the numbers are no levels, or are no numbers.
    """
    if array.dtype.kind not in "buif":
        raise UserError(f"{name} holds {array.dtype}. Numbers are needed.")
    kind: Kind = "image" if array.ndim == 4 else "vector"
    if levels is None and array.dtype.kind != "f":
        levels = _levels(array, name)
    elif levels is not None:
        _check_levels(array, levels, name)
    return Space(kind, array.shape[1:], levels)


def _levels(array: Array, name: str) -> int:
    if array.dtype == np.bool_:
        return 2
    if array.dtype == np.uint8:
        return 256
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= _MOST_LEVELS:
        raise UserError(
            f"{name} holds whole numbers from {low} to {high}, which cannot be levels "
            f"(0 to at most {_MOST_LEVELS - 1}). Save them as floating point numbers."
        )
    return max(high + 1, 2)


def _check_levels(array: Array, levels: int, name: str) -> None:
    low, high = array.min(), array.max()
    whole = array.dtype.kind != "f" or bool((array == np.rint(array)).all())
    if low < 0 or high >= levels or not whole:
        raise UserError(
            f"levels={levels} needs whole numbers from 0 to {levels - 1}. {name} holds "
            f"{'' if whole else 'other '}numbers from {low:g} to {high:g}."
        )
