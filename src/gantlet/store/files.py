"""Files that are whole or absent: a reader never sees half of one."""

import errno
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantlet.core.errors import UserError


def read_json(path: Path) -> Any:
    """Returns what ``path`` holds.

    Raises:
        UserError: If it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a JSON file that Gantlet wrote: {error}.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes ``value`` as JSON, all of it or nothing."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content``, all of it or nothing."""
    with draft_of(path) as draft:
        draft.write_bytes(content)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends ``value`` to a file of JSON lines."""
    with _explained(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")


@contextmanager
def draft_of(path: Path) -> Generator[Path]:
    """Yields a draft beside ``path`` that takes its place if the block ends well.

    Raises:
        UserError: If the disk is full, or the folder cannot be written; what was there before
            stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            draft.replace(path)
    finally:
        if draft.exists():
            draft.unlink()


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"The disk is full: {path.name} could not be written. Finished trials are safe; "
                "free some space and run the same command again."
            ) from error
        raise UserError(
            f"{path.parent} cannot be written: {error.strerror}. Give another folder."
        ) from error
