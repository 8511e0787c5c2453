"""Features that were extracted once, kept on disk and checked before they are believed."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.places import StorageError, cache_home, is_private, private_folder

Parts = Callable[[], Iterable[Tensor]]
"""Makes the rows, block by block."""

_MOST = 10 * 2**30

# A file holds an array in NumPy's own form, and after it this mark and the checksum of the array.
_MARK = b"gantlet1"
_DIGEST = 16
_PIECE = 2**22
_YOUNG = 1.0


@final
@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of matrices by name; the oldest go when it grows too large.

    What is kept is written piece by piece into a draft, with a checksum, and takes its name only
    when the disk has it. Size, shape and checksum are looked at whenever it is opened; what is not
    whole is made again.

    Attributes:
        folder: Where they are.
        most: Bytes that may stay.
    """

    folder: Path
    most: int = _MOST

    @classmethod
    def usual(cls) -> "Cache":
        """Returns the user's cache."""
        return cls(cache_home() / "features")

    def rows(self, key: str, n: int, parts: Parts) -> Tensor:
        """Returns the rows kept under ``key``, or makes and keeps them; mapped from disk.

        Args:
            key: Names all that decides them.
            n: How many rows there are.
            parts: Called if they are not there.

        Raises:
            StorageError: If the folder cannot be written, the disk is full, or other users can
                change what is in it.
            ValueError: If ``parts`` does not make ``n`` rows.
        """
        file = self.folder / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
        try:
            private_folder(self.folder)
            if not _is_whole(file, n):
                self._keep(file, n, parts)
            os.utime(file)
            # "c": whoever changes the rows changes a copy.
            return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot keep features: {error.strerror or error}. Free some space, "
                "or set GANTLET_CACHE to another folder."
            ) from error

    def _keep(self, file: Path, n: int, parts: Parts) -> None:
        self._drop_drafts()
        draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with os.fdopen(
                os.open(draft, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600), "w+b"
            ) as out:
                fcntl.flock(out, fcntl.LOCK_EX)
                write_parts(out, n, parts)
                out.flush()
                os.fsync(out.fileno())
                draft.replace(file)
        finally:
            with suppress(OSError):
                draft.unlink()
        self._tidy(file)

    def _drop_drafts(self) -> None:
        """Removes drafts of processes that are gone: nobody holds them locked."""
        for draft in self.folder.glob(".*.npy.*"):
            with suppress(OSError), draft.open("rb") as file:
                # One that was made this moment may not be locked yet.
                if time.time() - os.fstat(file.fileno()).st_mtime > _YOUNG:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    draft.unlink()

    def _tidy(self, newest: Path) -> None:
        """Removes what was not used for longest until the rest fits."""
        files = [(f.stat(), f) for f in self.folder.glob("*.npy") if f != newest]
        left = sum(stat.st_size for stat, _ in files) + newest.stat().st_size
        for stat, file in sorted(files, key=lambda f: f[0].st_mtime):
            if left <= self.most:
                return
            file.unlink(missing_ok=True)
            left -= stat.st_size


def write_parts(out: BinaryIO, n: int, parts: Parts) -> None:
    """Writes array, mark and checksum; never through a map, where a full disk ends the process.

    Raises:
        ValueError: If the rows are not as many as was said.
    """
    found, made = blake2b(digest_size=_DIGEST), 0
    for part in parts():
        rows = np.ascontiguousarray(part.numpy(), dtype="<f4")
        content = rows.tobytes()
        if made == 0:
            content = _header(n, rows.shape[1]) + content
        out.write(content)
        found.update(content)
        made += len(rows)
    if made != n or not n:
        raise ValueError(f"{n} rows of features were to be kept, {made} were made.")
    out.write(_MARK + found.digest())


def _header(n: int, columns: int) -> bytes:
    out = BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, columns)}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def _is_whole(path: Path, n: int) -> bool:
    """Returns whether a file is there and holds what was written, as many rows as wanted.

    A file that other users may write is not believed either.
    """
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            return is_private(stat) and _is_sealed(file, stat.st_size) and _rows(file, n)
    except FileNotFoundError:
        return False


def _is_sealed(file: BinaryIO, size: int) -> bool:
    """Returns whether the checksum at the end is that of all before it; nothing is parsed."""
    left = size - len(_MARK) - _DIGEST
    found = blake2b(digest_size=_DIGEST)
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        found.update(piece)
        left -= len(piece)
    return left == 0 and file.read() == _MARK + found.digest()


def _rows(file: BinaryIO, n: int) -> bool:
    file.seek(0)
    np.lib.format.read_magic(file)
    shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return shape[0] == n


def digest_of(source: Source, block: int) -> str:
    """Returns a short name for all samples of ``source`` together, read a block at a time."""
    found = blake2b(digest_size=16)
    for index in torch.split(torch.arange(len(source)), block):
        found.update(source.take(index).contiguous().numpy().tobytes())
    return found.hexdigest()
