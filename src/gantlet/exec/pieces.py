"""Arrays put together from the items and batches that people's loaders and lists give."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.compute.machine import memory
from gantlet.core.errors import UserError

Array = NDArray[Any]

# Under these keys data sets keep what is not a label, the first of them first.
_KEYS = (
    "x",
    "image",
    "images",
    "img",
    "imgs",
    "pixel_values",
    "sample",
    "samples",
    "input",
    "inputs",
    "data",
    "features",
)
_CHANNELS = (1, 3)
# An iterator that gives nothing this often in a row will give nothing ever.
_PATIENCE = 1000
_SHARE = 2  # the part of the memory that samples given in Python may take


@final
@dataclass(frozen=True, slots=True)
class Gathered:
    """Samples put together.

    Attributes:
        array: The samples, first axis first.
        note: What was done to get them, in words, or nothing.
    """

    array: Array
    note: str = ""


def is_map_style(given: Any) -> bool:
    """Returns whether an object is a data set that is read by index, as those of torch are."""
    if isinstance(given, (list, tuple, Mapping, str, bytes)) or is_loader(given):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def is_loader(given: Any) -> bool:
    """Returns whether an object is a loader of batches."""
    return isinstance(given, torch.utils.data.DataLoader)


def gather(
    pieces: Iterable[Any], name: str, *, most: int | None = None, items: bool = False
) -> Gathered:
    """Returns what an iterable gives as one array, samples first.

    Args:
        pieces: Arrays, tensors or images; each a sample or a batch; alone, or in tuples or
            dictionaries with labels.
        name: What the samples are called, for messages.
        most: Samples after which to stop, or None for all, as far as memory goes.
        items: Whether each piece is known to be one sample.

    Raises:
        UserError: If they cannot be put together, or do not end.
    """
    found, notes = list[Array](), dict[str, None]()
    single = True if items else _tells(pieces)
    count = size = empty = 0
    room = memory() // _SHARE
    for piece in _pieces(pieces, name):
        array, note, is_image = _numbers(piece, name)
        notes |= dict.fromkeys([note] if note else [])
        if single is None:
            single = is_image or _is_sample(array, is_list=isinstance(pieces, (list, tuple)))
        empty = 0 if array.size else empty + 1
        if empty > _PATIENCE:
            raise UserError(f"{name} gave {_PATIENCE} batches in a row that are empty.")
        if not array.size:
            continue
        found.append(array)
        count, size = count + (1 if single else len(array)), size + array.nbytes
        if size > room:
            raise UserError(
                f"{name} gave more than {room / 2**30:.1f} GB, half of the memory, and had not "
                "ended. Give samples=N, or save the samples to a .npy file and give its path."
            )
        if most is not None and count >= most:
            break
    whole = _joined(found, name, single=bool(single), is_list=isinstance(pieces, (list, tuple)))
    if most is not None and len(whole) >= most:
        whole = whole[:most]
        notes[f"the first {most:,} samples of {name} were taken"] = None
    return Gathered(whole, "; ".join(notes))


def one_array(given: Any, name: str) -> Array:
    """Returns a tensor, an array, or what can become one, as an array of numbers.

    Raises:
        UserError: If it holds anything but numbers.
    """
    if isinstance(given, Tensor):
        return _tensor(given, name)
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            raise UserError(f"{name} has masked values. Fill or remove them.")
        return np.asarray(given)
    try:
        return np.asarray(given)
    except Exception as error:
        raise UserError(f"{name} cannot be read as an array ({error}).") from error


def checked_array(array: Array, name: str) -> Array:
    """Returns an array of a type that is kept: halves become singles, which changes no value.

    Raises:
        UserError: If it holds anything but real numbers, or no sample.
    """
    if array.dtype.kind not in "buif":
        what = "Python objects" if array.dtype.kind == "O" else str(array.dtype)
        raise UserError(f"{name} holds {what}. An array of real numbers is needed.")
    if array.ndim < 2:
        raise UserError(
            f"{name} has shape {array.shape}. Samples come first: (n, d), (n, h, w) or "
            "(n, channels, h, w)."
        )
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _tells(pieces: Any) -> bool | None:
    """Returns whether an iterable gives single samples, where it says so itself."""
    return pieces.batch_sampler is None if is_loader(pieces) else None


def _pieces(pieces: Iterable[Any], name: str) -> Iterator[Any]:
    """Yields pieces; what the iterator of somebody else raises is told with its name."""
    try:
        # Not "yield from", which would close a generator of the caller at the end.
        for piece in pieces:  # noqa: UP028
            yield piece
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        raise UserError(f"{name} raised {type(error).__name__}: {error}") from error


def _numbers(piece: Any, name: str) -> tuple[Array, str, bool]:
    """Returns the samples in a piece, which part of it they are, and whether it is an image."""
    if isinstance(piece, (tuple, list)) and piece and not _is_nested_numbers(piece):
        _check_parts(piece, name)
        array, note, is_image = _numbers(piece[0], name)
        return array, note or f"of each item of {name} the first part was taken", is_image
    if isinstance(piece, Mapping):
        key = _key(piece, name)
        array, _, is_image = _numbers(piece[key], name)
        return array, f"of each item of {name} the part {key!r} was taken", is_image
    if hasattr(piece, "getbands"):
        return *_image(piece, name), True
    if isinstance(piece, (str, bytes)) or piece is None:
        raise UserError(
            f"{name} gave {type(piece).__name__}, which is no sample. Of files, give the folder; "
            "of texts, save them to a .txt file, one a line."
        )
    return one_array(piece, name), "", False


def first_part(pair: Sequence[Any], name: str) -> Gathered:
    """Returns the samples in a tuple of samples and what belongs to them, such as labels.

    Raises:
        UserError: If it is not clear which they are.
    """
    array, note, _ = _numbers(pair, name)
    return Gathered(array, note)


def _is_nested_numbers(piece: Sequence[Any]) -> bool:
    """Returns whether a list is an array written out, rather than samples and their labels."""
    first = piece[0]
    if isinstance(first, (list, Mapping, str, bytes, type(None))) or hasattr(first, "getbands"):
        return isinstance(first, list)
    return not isinstance(first, tuple) and getattr(first, "ndim", 0) == 0


def _check_parts(piece: Sequence[Any], name: str) -> None:
    """Refuses an item of which any part may be the samples."""
    shapes = {tuple(getattr(p, "shape", getattr(p, "size", ()))) for p in piece}
    alike = len(piece) > 1 and len(shapes) == 1 and shapes != {()}
    if alike or isinstance(piece[0], (tuple, list)):
        raise UserError(
            f"{name} gave {len(piece)} arrays at once, of which any may be the samples. Give them "
            "alone, or in a dictionary under 'x'."
        )


def _key(piece: Mapping[Any, Any], name: str) -> Any:
    known = next((k for k in _KEYS if k in piece), None)
    if known is not None:
        return known
    wide = [k for k, v in piece.items() if getattr(v, "ndim", 0) >= 2 or hasattr(v, "getbands")]
    if len(wide) == 1:
        return wide[0]
    raise UserError(
        f"{name} gave dictionaries with {', '.join(map(repr, piece))}. Which holds the samples? "
        "Call that one 'x', or give it alone."
    )


def _image(image: Any, name: str) -> tuple[Array, str]:
    """Returns a PIL image as an array, and what was changed; palettes and alpha become colours."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image), ""
    if image.mode in ("I;16", "I", "F", "I;16B", "I;16L"):
        return np.asarray(image), ""
    mode = "L" if image.mode in ("1", "LA", "La") else "RGB"
    return (
        np.asarray(image.convert(mode)),
        f"images of {name} in mode {image.mode} were converted to {mode}",
    )


def _tensor(given: Tensor, name: str) -> Array:
    if given.is_complex() or given.is_quantized:
        raise UserError(f"{name} holds {given.dtype}. Real numbers are needed.")
    if given.is_sparse or given.layout is not torch.strided:
        given = given.to_dense()
    x = given.detach().cpu()
    # NumPy knows no bfloat16; float32 holds each of its values, and those of float16.
    return (x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x).numpy()


def _is_sample(array: Array, *, is_list: bool) -> bool:
    """Returns whether a piece is one sample rather than a batch, as its shape tells."""
    if array.ndim == 3:
        return array.shape[0] in _CHANNELS or (is_list and array.shape[2] in _CHANNELS)
    return array.ndim < 2


def _joined(found: Sequence[Array], name: str, *, single: bool, is_list: bool) -> Array:
    """Returns samples or batches as one array."""
    if not found:
        raise UserError(f"{name} holds no samples.")
    if len({a.dtype for a in found}) > 1:
        kinds = ", ".join(sorted({str(a.dtype) for a in found}))
        raise UserError(f"{name} mixes {kinds}, which may be of different ranges. Give one type.")
    shapes = list(dict.fromkeys(a.shape if single else a.shape[1:] for a in found))
    if len(shapes) > 1:
        told = " and ".join(map(str, shapes[:2]))
        raise UserError(f"The samples of {name} differ in shape: {told}. Bring them to one.")
    if found[0].ndim == 0:
        raise UserError(f"{name} gave numbers where samples are needed: give one array (n, d).")
    same = len({a.shape for a in found}) == 1
    if is_list and not single and found[0].ndim == 2 and same and len(found) > 1:
        raise UserError(
            f"{name} is a list of arrays of shape {found[0].shape}, which may be samples or "
            "batches. Give numpy.stack(...) of samples, or numpy.concatenate(...) of batches."
        )
    return np.stack(found) if single else np.concatenate(found)
