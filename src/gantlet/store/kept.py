"""Samples that were given as Python objects, kept in the cache under the digest of their content.

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

from gantlet.core.errors import UserError, reading
from gantlet.core.places import StorageError, cache_home, private_folder
from gantlet.store.files import draft_of, drop_drafts, read_json, write_bytes

LIMIT = 10 * 2**30
"""Bytes that the cache may hold."""

IN_USE_SECONDS = 600.0
"""Seconds: what was used this recently belongs to a command that is still running."""

_SUFFIXES = {"array": ".npy", "table": ".csv"}
_WORD = re.compile(r"(array|table):([0-9a-f]{32})")


@final
@dataclass(frozen=True, slots=True)
class Kept:
    """Samples that are kept.

    Attributes:
        path: Their file.
        kind: "array", a ``.npy`` file, or "table", a ``.csv`` file.
        note: What was done to what was given, in words, or nothing.
    """

    path: Path
    kind: str
    note: str


def keep_array(array: NDArray[Any], name: str, note: str = "") -> str:
    """Keeps an array and returns the word for it, ``array:DIGEST``.

    Args:
        array: The samples, of numbers.
        name: What they are called, for messages.
        note: What was done to them; ``kept`` returns it.

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
    _note(file, note)
    return f"array:{file.stem}"


def keep_table(text: str, name: str, note: str = "") -> str:
    """Keeps a table in CSV and returns the word for it, ``table:DIGEST``.

    Raises:
        UserError: If it is larger than the whole cache, or that cannot be written.
    """
    content = text.encode("utf-8", "replace")
    digest = _of_table(content, note)
    file = _place("table", digest, name, len(content))
    if not (file.exists() and file.read_bytes() == content):
        write_bytes(file, content)
    _note(file, note)
    return f"table:{digest}"


def kept(word: str, name: str) -> Kept | None:
    """Returns what is kept under a word, or None where ``word`` is no such word.

    Args:
        word: As ``keep_array`` or ``keep_table`` returned it.
        name: What the samples are called, for messages.

    Raises:
        UserError: If it is kept no more, or is not what was kept.
        StorageError: If other users can change what is kept.
    """
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    kind, digest = found[1], found[2]
    file = _folder() / f"{digest}{_SUFFIXES[kind]}"
    with reading(file):
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
    return Kept(file, kind, note)


def _read_as(kind: str, file: Path, note: str) -> str | None:
    """Returns the digest of what a file holds now, or None where it is no such file."""
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


def _note(file: Path, note: str) -> None:
    os.utime(file)
    if note:
        write_bytes(file.with_suffix(".json"), json.dumps({"note": note}).encode())
