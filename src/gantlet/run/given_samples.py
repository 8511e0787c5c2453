"""Samples given as Python objects, stored in the cache under the digest of their content.

They count against the limit of the cache together with the features: the oldest files go.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tokenize import TokenError
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from gantlet.core.errors import UserError, input_errors
from gantlet.core.rng import StorageError, cache_home, private_folder
from gantlet.run.store import draft_of, drop_drafts, read_json, write_bytes

LIMIT = 10 * 2**30
"""Maximum size of the cache in bytes."""

IN_USE_SECONDS = 600.0
"""Files used within this many seconds count as in use by a running command."""

_SUFFIXES = {"array": ".npy", "table": ".csv"}
_WORD = re.compile(r"(array|table):([0-9a-f]{32})")


@final
@dataclass(frozen=True, slots=True)
class StoredSamples:
    """Stored samples.

    Attributes:
        path: Their file.
        kind: "array", a ``.npy`` file, or "table", a ``.csv`` file.
        note: Conversions that were made, or empty.
    """

    path: Path
    kind: str
    note: str


def store_array(array: NDArray[Any], name: str, note: str = "") -> str:
    """Stores an array and returns its reference, ``array:DIGEST``.

    Args:
        array: The samples, of numbers.
        name: Name of the samples, for messages.
        note: What was done to them; ``stored_samples`` returns it.

    Raises:
        UserError: If they are larger than the whole cache, it cannot be written, or other users
            can change what is in it.
    """
    array = np.ascontiguousarray(array)
    digest = _of_array(array, note)
    file = _place("array", digest, name, array.nbytes)
    if not (file.exists() and _loaded(file, note) == digest):
        with draft_of(file) as draft, draft.open("wb") as out:
            np.save(out, array)
    _kept_note(file, note)
    return f"array:{file.stem}"


def store_table(text: str, name: str, note: str = "") -> str:
    """Stores a table as CSV and returns its reference, ``table:DIGEST``.

    Raises:
        UserError: If it is larger than the whole cache, or that cannot be written.
    """
    content = text.encode("utf-8", "replace")
    digest = _of_table(content, note)
    file = _place("table", digest, name, len(content))
    if not (file.exists() and file.read_bytes() == content):
        write_bytes(file, content)
    _kept_note(file, note)
    return f"table:{digest}"


def stored_samples(word: str, name: str) -> StoredSamples | None:
    """Returns the samples of a reference, or None if ``word`` is not a reference.

    Args:
        word: As returned by ``store_array`` or ``store_table``.
        name: Name of the samples, for messages.

    Raises:
        UserError: If they are no longer stored, or damaged.
        StorageError: If other users can change them.
    """
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    kind, digest = found[1], found[2]
    file = _folder() / f"{digest}{_SUFFIXES[kind]}"
    with input_errors(file):
        if not file.exists():
            raise UserError(
                f"The samples {name!r} were given in Python and are no longer in the cache. Call "
                "the function again, or check GANTLET_CACHE."
            )
        private_folder(file.parent)
        note = _note_of(file)
        if _read_as(kind, file, note) != digest:
            raise UserError(
                f"The samples {name!r} were given in Python and are damaged in the cache. Call "
                "the function again."
            )
        os.utime(file)
    return StoredSamples(file, kind, note)


def _read_as(kind: str, file: Path, note: str) -> str | None:
    """Returns the digest of a file's current contents, or None if it is not a stored file."""
    return _loaded(file, note) if kind == "array" else _of_table(file.read_bytes(), note)


def _loaded(file: Path, note: str) -> str | None:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError):
        return None
    return _of_array(found, note) if isinstance(found, np.ndarray) else None


def _of_array(array: NDArray[Any], note: str) -> str:
    digest = blake2b(repr((array.shape, array.dtype.str, note)).encode(), digest_size=16)
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _of_table(content: bytes, note: str) -> str:
    return blake2b(repr(("table", note)).encode() + content, digest_size=16).hexdigest()


def _note_of(file: Path) -> str:
    beside = file.with_suffix(".json")
    return str(read_json(beside).get("note", "")) if beside.exists() else ""


def _folder() -> Path:
    return cache_home() / "inputs"


def _place(kind: str, digest: str, name: str, size: int) -> Path:
    """Returns the file for what is to be kept, having made room for it."""
    if size > LIMIT:
        raise UserError(
            f"{name} has {size / 2**30:.1f} GB; samples given in Python may have "
            f"{LIMIT / 2**30:.0f} GB. Save them to a .npy file and give its path, or give fewer."
        )
    file = _folder() / f"{digest}{_SUFFIXES[kind]}"
    try:
        private_folder(file.parent)
    except OSError as error:
        raise StorageError(
            f"{file.parent} cannot keep {name}: {error.strerror or error}. Set GANTLET_CACHE to "
            "another folder."
        ) from error
    drop_drafts(file.parent)
    if not file.exists():
        _make_room(size)
    return file


def _make_room(size: int) -> None:
    """Removes what was not used for longest until ``size`` more bytes fit; never what is in use.

    Features are kept below the same roof, so both are counted. Drafts of processes that are gone
    are removed with them.
    """
    found = list(_stats())
    left = size + sum(stat.st_size for stat, _ in found)
    now = time.time()
    for stat, file in sorted(found, key=lambda f: f[0].st_mtime):
        if left <= LIMIT or now - stat.st_mtime < IN_USE_SECONDS:
            return
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)
        left -= stat.st_size


def _stats() -> Iterator[tuple[os.stat_result, Path]]:
    for part in ("features", "inputs"):
        for file in (cache_home() / part).glob("*"):
            if file.suffix in _SUFFIXES.values() and not file.name.startswith("."):
                try:
                    yield file.stat(), file
                except FileNotFoundError:
                    continue


def _kept_note(file: Path, note: str) -> None:
    os.utime(file)
    if note:
        write_bytes(file.with_suffix(".json"), json.dumps({"note": note}).encode())
