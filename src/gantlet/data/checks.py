"""Checks that every file reader shares."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantlet.core.errors import UserError

Array = NDArray[Any]

_ROWS = 4096


def finite(array: Array, where: Path) -> Array:
    """Returns ``array``, shape ``(n, ...)``, having looked for NaN and infinity.

    Raises:
        UserError: If there are any; it says how many, and where the first is.
    """
    if array.dtype.kind != "f":
        return array
    bad, first = 0, ""
    for start in range(0, len(array), _ROWS):
        wrong = np.argwhere(~np.isfinite(array[start : start + _ROWS]))
        if len(wrong) and not bad:
            sample, *place = wrong[0].tolist()
            first = f"sample {start + sample}, component {tuple(place)}"
        bad += len(wrong)
    if bad:
        raise UserError(
            f"{where} holds {bad} NaN or infinite values of {array.size}, the first in {first} "
            "(counted from 0). Remove or fill them."
        )
    return array


@contextmanager
def readable(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Generator[None]:
    """Turns the errors that a damaged or foreign file at ``path`` causes inside into one.

    Args:
        path: The file.
        kind: What it should be, in words.
        errors: What reading it may raise.

    Raises:
        UserError: In place of any of ``errors``.
    """
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"{path} cannot be read as {kind} ({reason}). Repair it.") from error


def is_file(path: Path) -> Path:
    """Returns ``path``, having checked that a file is there.

    Raises:
        UserError: If there is none.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder. A file is needed.")
    if not path.is_file():
        raise UserError(f"No file {path}. Check the path.")
    return path


def is_folder(path: Path) -> Path:
    """Returns ``path``, having checked that a folder is there.

    Raises:
        UserError: If there is none.
    """
    if not path.is_dir():
        raise UserError(f"No folder {path}. Check the path.")
    return path


def same_length(x: Array, labels: Array | None, where: Path) -> None:
    """Checks that every sample has one label.

    Raises:
        UserError: If there are more labels than samples, or fewer.
    """
    if labels is not None and (labels.ndim != 1 or len(labels) != len(x)):
        raise UserError(
            f"The labels {where} must have shape ({len(x)},), one for each sample. "
            f"Got {labels.shape}."
        )
