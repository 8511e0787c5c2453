"""Checks that every file reader shares."""

import csv
import os
import stat
import struct
import tarfile
import tokenize
import wave
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantlet.compute.machine import memory
from gantlet.core.errors import UserError, reading

Array = NDArray[Any]

_ROWS = 4096

PARSER_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    MemoryError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    UnicodeError,
    csv.Error,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    wave.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What parsers of files raise, and mistakes of a program hardly ever."""


def finite(array: Array, where: Path | str) -> Array:
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
def readable(path: Path, kind: str, errors: tuple[type[Exception], ...] = ()) -> Generator[None]:
    """Turns the errors that a damaged or foreign file at ``path`` causes inside into one.

    Args:
        path: The file.
        kind: What it should be, in words.
        errors: Not needed: every exception that a parser raises is meant.

    Raises:
        UserError: In place of any exception.
    """
    del errors
    with reading(path, kind):
        yield


def is_there(path: Path) -> bool:
    """Returns whether there is a file or folder, having looked at what it is.

    Raises:
        UserError: If it cannot be looked at, or is a pipe, a socket or a device, which nothing
            can be read from twice, or ever.
    """
    with reading(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except ValueError:  # a name with a null byte
            return False
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return True
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    what = next((name for test, name in kinds if test(mode)), "a device")
    raise UserError(f"{path} is {what}. Samples are read from files and folders; save it as one.")


def is_file(path: Path) -> Path:
    """Returns ``path``, having checked that a file is there.

    Raises:
        UserError: If there is none, or it is a pipe or a device.
    """
    if not is_there(path):
        raise UserError(f"No file {path}. Check the path.")
    if path.is_dir():
        raise UserError(f"{path} is a folder. A file is needed.")
    return path


def is_folder(path: Path) -> Path:
    """Returns ``path``, having checked that a folder is there.

    Raises:
        UserError: If there is none, or it may not be listed.
    """
    if not is_there(path) or not path.is_dir():
        raise UserError(f"No folder {path}. Check the path.")
    with reading(path, "a folder"):
        os.scandir(path).close()
    return path


def most_bytes() -> int:
    """Returns how many bytes one input may take once it is unpacked: half of the memory."""
    return memory() // 2


def check_size(path: Path | str, claimed: int) -> None:
    """Checks what an input claims to hold, before it is unpacked.

    Args:
        path: The input.
        claimed: Its bytes once unpacked, as its header says.

    Raises:
        UserError: If that is more than half of the memory; it says the bound.
    """
    bound = most_bytes()
    if claimed > bound:
        raise UserError(
            f"{path} would take {claimed / 2**30:,.1f} GB once unpacked, more than half of the "
            f"memory ({bound / 2**30:.1f} GB). Give a part of it, or a .npy file, which is read "
            "from disk as it is needed."
        )


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
