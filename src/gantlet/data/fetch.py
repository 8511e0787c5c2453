"""Files brought from the network, whole and checked or not at all."""

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from gantlet.core.errors import UserError
from gantlet.data.catalogue import Entry, File, missing

_CHUNK = 2**20

DOWNLOAD_TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""

Progress = Callable[[int], None]


def fetch(known: Entry, folder: Path, *, url: str | None = None, progress: Progress) -> None:
    """Brings a data set into ``folder``; nothing is left there unless its hash is right.

    Args:
        known: What to bring.
        folder: Where to; made where it does not exist.
        url: Another address that serves the same files, or None.
        progress: Called with the number of bytes after each piece.

    Raises:
        UserError: If it has to be got by hand, cannot be reached, is not what was published, or
            cannot be written.
    """
    base = url or known.url
    if base is None or not known.files:
        raise UserError(f"{known.name} cannot be fetched ({known.licence}). {known.advice}")
    for file in known.files:
        download(base, file, folder, progress=progress)
        if file.name.endswith(".tar.gz"):
            unpack(folder / file.name, known)


def download(url: str, file: File, folder: Path, *, progress: Progress) -> Path:
    """Brings one file below the address ``url`` and returns where it is.

    Raises:
        UserError: If it cannot be reached, is not what was published, or cannot be written.
    """
    place = urljoin(url if url.endswith("/") else f"{url}/", file.name)
    target = folder / file.name
    if urlsplit(place).scheme not in {"http", "https"}:
        raise UserError(f"An address must begin with http:// or https://. Got {url!r}.")
    with closing(_pieces(place)) as pieces:
        first = next(pieces, b"")  # nothing is made on the disk before the server has answered
        with _draft(target) as draft:
            _copy(chain([first], pieces), draft, file, progress)
            draft.replace(target)
    return target


def _pieces(place: str) -> Generator[bytes]:
    try:
        with urllib.request.urlopen(place, timeout=DOWNLOAD_TIMEOUT) as answer:  # noqa: S310 checked
            while piece := answer.read(_CHUNK):
                yield piece
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise UserError(f"{place} could not be fetched: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError) or not isinstance(error, urllib.error.URLError):
        return str(error) or type(error).__name__
    return str(error.reason)


def _copy(pieces: Iterable[bytes], draft: Path, file: File, progress: Progress) -> None:
    digest, size = hashlib.sha256(), 0
    with draft.open("wb") as out:
        for piece in pieces:
            out.write(piece)
            digest.update(piece)
            size += len(piece)
            progress(len(piece))
            if size > file.size:  # a server that sends more than was published is cut off
                break
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        got = f"{size} bytes" if size <= file.size else "more"
        raise UserError(
            f"{file.name} is not the published file, and was thrown away: expected {file.size} "
            f"bytes with SHA-256 {file.sha256}. Got {got} with {digest.hexdigest()}."
        )


@contextmanager
def _draft(target: Path) -> Generator[Path]:
    """Gives a path beside ``target`` that is removed at the end, if it is still there."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}.") from error
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        elif draft.exists():
            draft.unlink()


def _check_room(archive: Path, claimed: int, folder: Path) -> None:
    """Refuses what would fill the disk, before any of it is unpacked."""
    free = shutil.disk_usage(folder).free
    if claimed > free:
        raise UserError(
            f"{archive} needs {claimed / 2**30:.1f} GB to be unpacked, and {folder} has "
            f"{free / 2**30:.1f} GB free. Free some space."
        )


def unpack(archive: Path, known: Entry) -> Path:
    """Unpacks a ``.tar.gz`` beside itself, removes it, and returns the folder it held.

    Raises:
        UserError: If the archive does not hold the data set, or cannot be unpacked.
    """
    target = archive.parent / known.inner
    with _draft(target) as draft:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                members = tar.getmembers()
                _check_room(archive, sum(m.size for m in members), draft.parent)
                tar.extractall(draft, members, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive} cannot be unpacked: {error}.") from error
        lack = missing(known, draft / known.inner)
        if lack:
            raise UserError(f"{archive} lacks {lack[0]}.")
        if target.exists():
            shutil.rmtree(target)
        (draft / known.inner).replace(target)
    archive.unlink()
    return target
