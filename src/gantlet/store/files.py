"""Files that are whole or absent: a reader never sees half of one, nor one that was changed."""

import errno
import json
import math
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gantlet.core.errors import UserError
from gantlet.core.places import StorageError

CHECKSUM = "checksum"
"""The key under which a sealed object holds the checksum of all its other keys."""


class DamagedError(UserError):
    """A file is not what was written: cut, changed, or exchanged for another."""


def read_json(path: Path) -> Any:
    """Returns what ``path`` holds.

    Raises:
        DamagedError: If it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not a JSON file that Gantlet wrote: {error}.") from error


def read_sealed(path: Path, *, since: str | None = None) -> dict[str, Any]:
    """Returns the object that ``write_sealed`` wrote, without its checksum.

    What an earlier version wrote has no checksum and is returned as it is.

    Args:
        path: The file.
        since: A key that came with checksums: where it is, there must be one.

    Raises:
        DamagedError: If it is missing, no object, or was changed.
    """
    try:
        found = read_json(path)
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing.") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is not a JSON file that Gantlet wrote: no object.")
    given = found.pop(CHECKSUM, None)
    was_sealed = given is not None or (since is not None and since in found)
    if was_sealed and given != _checksum(found):
        raise DamagedError(f"{path} is damaged: its checksum is another.")
    return found


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes ``value`` as JSON with a checksum, all of it or nothing."""
    plain = json.loads(dumps(value, path.name))
    write_json(path, {**plain, CHECKSUM: _checksum(plain)})


def _checksum(value: Any) -> str:
    # Python writes the shortest digits that give a number back: text and checksum repeat.
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of_file(path: Path) -> str:
    """Returns the checksum of a file's content, read in pieces."""
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            found.update(piece)
    return found.hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes ``value`` as JSON, all of it or nothing, and safe from a loss of power.

    Raises:
        ValueError: If it holds what JSON has no name for; the message says where.
    """
    # A file name that is no UTF-8 comes back as it was: its bytes are escapes of JSON too.
    text = dumps(value, path.name) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), durable=True)


def dumps(value: Any, name: str) -> str:
    """Returns ``value`` as JSON text.

    Args:
        value: Plain values.
        name: Where it goes, for the message.

    Raises:
        ValueError: If it holds NaN, infinity, or an object; the message says where.
    """
    try:
        return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError) as error:
        place, what = next(_foreign(value, ""), ("it", str(error)))
        raise ValueError(
            f"{name} cannot be written, {place} is not JSON compliant: {what}"
        ) from error


def _foreign(value: Any, place: str) -> Generator[tuple[str, str]]:
    """Yields the places in ``value`` that JSON cannot hold, and what is there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _foreign(inner, f"{place}/{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _foreign(inner, f"{place}/{i}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield place, str(value)
    elif not isinstance(value, (str, int, bool, type(None))):
        yield place, type(value).__name__


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Writes ``content``, all of it or nothing.

    Args:
        path: The file.
        content: What it shall hold.
        durable: Whether to wait until the disk has it, so that a loss of power loses nothing.
    """
    with draft_of(path, durable=durable) as draft:
        draft.write_bytes(content)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends ``value`` to a file of JSON lines."""
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")


@contextmanager
def draft_of(path: Path, *, durable: bool = False) -> Generator[Path]:
    """Yields a draft beside ``path`` that takes its place if the block ends well.

    Raises:
        StorageError: If the disk is full, or the folder cannot be written; what was there before
            stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            if durable:
                flush_to_disk(draft)
            draft.replace(path)
            if durable:
                flush_to_disk(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink()


def flush_to_disk(path: Path) -> None:
    """Waits until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do it, for folders above all: nothing is lost by that.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def drop_drafts(folder: Path) -> None:
    """Removes the drafts that processes left behind which were killed."""
    for file in folder.glob(".*.*"):
        if is_draft(file) and not is_alive(int(file.name.rpartition(".")[2])):
            file.unlink(missing_ok=True)


def is_draft(file: Path) -> bool:
    """Returns whether a name is one that ``draft_of`` gives."""
    writer = file.name.rpartition(".")[2]
    return file.name.startswith(".") and writer.isascii() and writer.isdecimal()


def is_alive(pid: int) -> bool:
    """Returns whether a process of this machine is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turns what goes wrong in writing ``path`` into one line.

    Raises:
        StorageError: In place of an ``OSError``.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"The disk is full: {path.name} could not be written. Finished trials are safe; "
                "free some space and run the same command again."
            ) from error
        raise StorageError(
            f"{path.parent} cannot be written: {error.strerror or error}. Give another folder."
        ) from error
