"""NumPy's own files."""

import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Annotated, final

import numpy as np

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.checks import Array, check_size, finite, is_file, readable, same_length
from gantlet.data.rows import Layout, Rows, arranged, space_of
from gantlet.data.splits import by_share

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MAGIC = b"\x93NUM"
_HEADER = 2**20  # bytes; a longer header is no header


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Npy:
    """One array in a ``.npy`` file, read from disk as it is needed.

    Integers are levels of a discrete space (bytes have 256), floating point numbers are
    continuous. Shapes ``(n, d)`` are vectors; ``(n, h, w)``, ``(n, h, w, c)`` and
    ``(n, c, h, w)`` images.

    Attributes:
        path: The file.
        labels: Another ``.npy`` file with the class of each sample, or none.
        layout: How to read the shape, where it could mean two things.
        levels: How many levels there are, or none to infer it.
        validation: Share of the samples for validation.
        test: Share of the samples for the test.
        limit: Most samples for training, or none.
    """

    path: str
    labels: str | None = None
    layout: Layout = "auto"
    levels: Annotated[int, Between(2)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """The space that shape and number type of the file tell."""
        return space_of(self._array(), self.levels, self.path)

    def _array(self) -> Array:
        return arranged(_read(Path(self.path).expanduser(), None), self.layout, self.path)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read or used.
        """
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all samples in the order of the file.

        Raises:
            UserError: If the file cannot be read or used.
        """
        where = None if self.labels is None else Path(self.labels).expanduser()
        labels = None if where is None else _read(where, None)
        return _rows(self, self._array(), labels, where)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Npz:
    """One array of a ``.npz`` file, held in memory.

    Integers are levels of a discrete space (bytes have 256), floating point numbers are
    continuous. Shapes ``(n, d)`` are vectors; ``(n, h, w)``, ``(n, h, w, c)`` and
    ``(n, c, h, w)`` images.

    Attributes:
        path: The file.
        key: Name of the array; may be left out where there is only one, or one called "x".
        labels: Name of the array of classes, or none.
        layout: How to read the shape, where it could mean two things.
        levels: How many levels there are, or none to infer it.
        validation: Share of the samples for validation.
        test: Share of the samples for the test.
        limit: Most samples for training, or none.
    """

    path: str
    key: str | None = None
    labels: str | None = None
    layout: Layout = "auto"
    levels: Annotated[int, Between(2)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """The space that shape and number type of the array tell."""
        return space_of(self._array(), self.levels, self.path)

    def _array(self) -> Array:
        array = _read(Path(self.path).expanduser(), self.key or "")
        return arranged(array, self.layout, self.path)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read or used.
        """
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all samples in the order of the file.

        Raises:
            UserError: If the file cannot be read or used.
        """
        path = Path(self.path).expanduser()
        labels = None if self.labels is None else _read(path, self.labels)
        return _rows(self, self._array(), labels, path)


def _rows(of: Npy | Npz, array: Array, labels: Array | None, where: Path | None) -> Rows:
    space_of(array, of.levels, of.path)
    same_length(array, labels, where or Path(of.path))
    if labels is not None and labels.dtype.kind not in "biu":
        raise UserError(f"The labels {of.labels} must be integers. Got {labels.dtype}.")
    return Rows(finite(array, Path(of.path)), labels)


def _read(path: Path, key: str | None) -> Array:
    """Returns an array of a file: a ``.npy`` where ``key`` is None, else one of a ``.npz``."""
    stat = is_file(path).stat()
    return _read_once(path, key, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _read_once(path: Path, key: str | None, *_stamp: int) -> Array:
    with readable(path, "numbers"):
        return _npy(path) if key is None else _npz(path, key)


def _npy(path: Path) -> Array:
    with path.open("rb") as file:
        if file.read(4) in _ZIP:
            raise UserError(f"{path} is not a .npy file; for a .npz write npz:path={path}.")
        file.seek(0)
        _check_header(path, file, path.stat().st_size)
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _npz(path: Path, key: str) -> Array:
    with path.open("rb") as file:
        if file.read(4) == _MAGIC:
            raise UserError(f"{path} is not a .npz file; for a .npy write npy:path={path}.")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            names = {n.removesuffix(".npy"): n for n in archive.namelist()}
            return unpacked(archive, names[_key(key, list(names), path)], path)


def unpacked(archive: zipfile.ZipFile, member: str, path: Path) -> Array:
    """Returns an array of a ``.npz`` file; what it claims is checked before it is unpacked.

    Args:
        archive: The file.
        member: Which of its members.
        path: Where it is, for messages.

    Raises:
        UserError: If it is too large, holds Python objects, or claims another size than it has.
    """
    size = archive.getinfo(member).file_size
    with archive.open(member) as file:
        claimed = _check_header(path, file, size)
    check_size(path, claimed)
    with archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_header(path: Path, file: IO[bytes], size: int) -> int:
    """Returns the bytes of data that the header of an array claims, which must be there.

    Args:
        path: Where it is, for messages.
        file: At the start of the array.
        size: How many bytes there are, header included.
    """
    read = {(1, 0): np.lib.format.read_array_header_1_0}
    version = np.lib.format.read_magic(file)
    header = read.get(version, np.lib.format.read_array_header_2_0)
    shape, _, dtype = header(file, max_header_size=_HEADER)
    if dtype.hasobject:
        raise UserError(
            f"{path} cannot be read as numbers: it holds Python objects, which are never loaded. "
            "Save an array of numbers."
        )
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > size:
        raise UserError(
            f"{path} cannot be read as numbers: it claims {claimed:,} bytes, {shape} of {dtype}, "
            f"and holds {size:,}. It is cut or damaged; save it again."
        )
    return claimed


def _key(key: str, known: list[str], path: Path) -> str:
    if key in known:
        return key
    if key:
        raise unknown(f"array in {path}", key, known)
    if len(known) == 1 or "x" in known:
        return "x" if "x" in known else known[0]
    raise UserError(f"{path} holds {len(known)} arrays: {', '.join(known)}. Give key=NAME.")
