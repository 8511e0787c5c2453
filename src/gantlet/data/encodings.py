"""Files of text in the encodings that people meet, packed or not, up to a stated size."""

import codecs
import gzip
import re
from pathlib import Path
from typing import Final

from gantlet.core.errors import UserError
from gantlet.data.checks import is_file, readable

MOST_BYTES: Final = 2**31
"""Bytes of text that are read of one file, unpacked."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What no text of one byte a character holds.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def read_text(path: Path, kind: str) -> tuple[str, tuple[str, ...]]:
    """Returns what is written in a file, and what had to be guessed, in words.

    UTF-8, UTF-16 and UTF-32 are told by their first bytes; without such a mark it is UTF-8 where
    it can be, else Windows-1252, the usual form of Latin-1, which is said. ``.gz`` is unpacked.

    Args:
        path: The file.
        kind: What it should be, in words, for messages.

    Raises:
        UserError: If it cannot be read, is not text, or is larger than ``MOST_BYTES``.
    """
    with readable(is_file(path), kind):
        return _decoded(_bytes(path), path)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file, gzip.open(file) if path.suffix.lower() == ".gz" else file as raw:
        read = raw.read(MOST_BYTES + 1)
    if len(read) > MOST_BYTES:
        raise UserError(f"{path} holds more than {MOST_BYTES:,} bytes of text. Divide it.")
    return read


def _decoded(raw: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if marked is not None:
        return raw.decode(marked), ()
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        if _BINARY.search(raw):
            raise
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text, (f"{path.name} is not UTF-8 and was read as Windows-1252 (Latin-1)",)
