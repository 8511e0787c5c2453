"""Files in the IDX format of MNIST."""

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, cast, final

import numpy as np

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.checks import (
    Array,
    check_size,
    finite,
    is_file,
    is_folder,
    readable,
    same_length,
)
from gantlet.data.rows import Rows, arranged, space_of
from gantlet.data.splits import by_share, official

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Idx:
    """Images or vectors in IDX files, compressed or not.

    Give either ``path``, a folder with files named as MNIST names them, or the files one by one.
    Where test files are given, they are the test split.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/, "The IDX file format".

    Attributes:
        path: Folder with ``train-images-idx3-ubyte`` and its companions, ``.gz`` or not.
        images: File of the training samples.
        labels: File of their classes, or none.
        test_images: File of the test samples, or none.
        test_labels: File of their classes, or none.
        levels: How many levels there are, or none to infer it: bytes have 256.
        validation: Share of the training samples for validation.
        test: Share of the samples for the test where there are no test files.
        limit: Most samples for training, or none.
    """

    path: str | None = None
    images: str | None = None
    labels: str | None = None
    test_images: str | None = None
    test_labels: str | None = None
    levels: Annotated[int, Between(2)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """The space that shape and number type of the training file tell."""
        path = self._files()[0]
        return space_of(_samples(path), self.levels, str(path))

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the files cannot be found, read or used.
        """
        images, labels, test_images, test_labels = self._files()
        train = read_pair(images, labels)
        space = space_of(train.array, self.levels, str(images))
        if test_images is None:
            return by_share(
                train, validation=self.validation, test=self.test, limit=self.limit, rng=rng
            )
        test = read_pair(test_images, test_labels)
        found = space_of(test.array, space.levels, str(test_images))
        if found != space:
            raise UserError(f"{test_images} holds {found.label}; {images} holds {space.label}.")
        validation = max(1, round(self.validation * len(train)))
        return official(train, test, validation=validation, limit=self.limit, rng=rng)

    def whole(self) -> Rows:
        """Returns all samples of the training file in their order.

        Raises:
            UserError: If the files cannot be found, read or used.
        """
        images, labels, _, _ = self._files()
        return read_pair(images, labels)

    def _files(self) -> tuple[Path, Path | None, Path | None, Path | None]:
        """Returns the files of training samples and labels, then those of the test."""
        given = [self.images, self.labels, self.test_images, self.test_labels]
        if self.path is not None and not any(given):
            folder = is_folder(Path(self.path).expanduser())
            paths = [find(folder, name) for name in (*TRAIN, *TEST)]
            if paths[0] is None:
                raise UserError(
                    f"{folder} holds no {TRAIN[0]} or {TRAIN[0]}.gz. Give images=FILE."
                )
            return paths[0], paths[1], paths[2], paths[3]
        if self.path is not None or self.images is None:
            raise UserError(
                "idx needs either path=FOLDER or images=FILE, perhaps with labels=, "
                "test_images= and test_labels=."
            )
        rest = [None if g is None else is_file(Path(g).expanduser()) for g in given]
        return is_file(Path(self.images).expanduser()), rest[1], rest[2], rest[3]


def find(folder: Path, name: str) -> Path | None:
    """Returns the file ``name`` or ``name.gz`` of ``folder``, or None where there is neither."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def read_pair(images: Path, labels: Path | None) -> Rows:
    """Returns the samples and classes of two IDX files.

    Raises:
        UserError: If the files cannot be read, or do not fit together.
    """
    x = finite(_samples(images), images)
    classes = None if labels is None else read(labels)
    same_length(x, classes, labels or images)
    return Rows(x, classes)


def _samples(path: Path) -> Array:
    return arranged(read(path), "auto", str(path))


def read(path: Path) -> Array:
    """Returns the array that an IDX file holds, unpacked where it is compressed.

    Raises:
        UserError: If the file is not in the IDX format, or is cut short.
    """
    with readable(path, "an IDX file"), _opened(path) as file:
        head = file.read(4)
        kind, dimensions = (head[2], head[3]) if len(head) > 3 else (0, 0)
        sizes = file.read(4 * dimensions)
        if head[:2] != b"\0\0" or kind not in _TYPES or not dimensions or len(sizes) % 4:
            raise UserError(f"{path} is not an IDX file: its first bytes are {head.hex(' ')}.")
        shape = struct.unpack(f">{dimensions}I", sizes)
        dtype = np.dtype(_TYPES[kind])
        wanted = math.prod(shape) * dtype.itemsize
        if not isinstance(file, gzip.GzipFile):
            _check_held(path, wanted, path.stat().st_size - 4 - 4 * dimensions)
        check_size(path, wanted)
        # A byte more than there should be, not all that may come.
        raw = file.read(wanted + 1)
    _check_held(path, wanted, len(raw))
    return np.frombuffer(raw, dtype).reshape(shape)


def _check_held(path: Path, wanted: int, held: int) -> None:
    if held != wanted:
        raise UserError(
            f"{path} should hold {wanted} bytes of data, as its header says. "
            f"Got {held}; fetch the file again."
        )


def _opened(path: Path) -> IO[bytes]:
    """Returns a file to be read, unpacked on the way where it is compressed."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_packed else path.open("rb")
