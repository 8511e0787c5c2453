"""Features that were extracted once, kept on disk."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.places import cache_home

Parts = Callable[[], Iterable[Tensor]]
"""Makes the rows, block by block."""

_MOST = 10 * 2**30


@final
@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of matrices by name; the oldest go when it grows too large.

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
            UserError: If the folder cannot be written, or the disk is full.
        """
        file = self.folder / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
        try:
            if not file.exists():
                self._keep(file, n, parts)
            os.utime(file)
            # "c": whoever changes the rows changes a copy.
            return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot keep features: {error.strerror or error}. Free some space, "
                "or set GANTLET_CACHE to another folder."
            ) from error

    def _keep(self, file: Path, n: int, parts: Parts) -> None:
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(draft, n, parts)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
        self._tidy(file)

    def _tidy(self, newest: Path) -> None:
        """Removes what was not used for longest until the rest fits."""
        files = [(f.stat(), f) for f in self.folder.glob("*.npy") if f != newest]
        left = sum(stat.st_size for stat, _ in files) + newest.stat().st_size
        for stat, file in sorted(files, key=lambda f: f[0].st_mtime):
            if left <= self.most:
                return
            file.unlink(missing_ok=True)
            left -= stat.st_size


def _write(file: Path, n: int, parts: Parts) -> None:
    out, start = None, 0
    for part in parts():
        if out is None:
            shape = (n, part.shape[1])
            out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        out[start : start + len(part)] = part.numpy()
        start += len(part)
    if out is not None:
        out.flush()


def digest_of(source: Source, block: int) -> str:
    """Returns a short name for all samples of ``source`` together, read a block at a time."""
    found = blake2b(digest_size=16)
    for index in torch.split(torch.arange(len(source)), block):
        found.update(source.take(index).contiguous().numpy().tobytes())
    return found.hexdigest()
