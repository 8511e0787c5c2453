"""Array files (npy, npz, IDX) and folders of files."""

import gzip
import math
import os
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, cast, final

import numpy as np

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import (
    Array,
    ArraySplit,
    Layout,
    arranged,
    check_size,
    finite,
    is_file,
    is_folder,
    published_split,
    random_split,
    read_once,
    readable,
    same_length,
    space_of,
    stamp_of,
)

# ----------------------------------------------------------------------------
# Files in the IDX format of MNIST.
# ----------------------------------------------------------------------------

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Idx:
    """Images or vectors in IDX files, compressed or not.

    Give either ``path``, a folder with files named as MNIST names them, or the files one by one.
    Test files, if given, are the test split.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/, "The IDX file format".

    Attributes:
        path: Folder with ``train-images-idx3-ubyte`` and its companions, ``.gz`` or not.
        images: File of the training samples.
        labels: File of their classes, or none.
        test_images: File of the test samples, or none.
        test_labels: File of their classes, or none.
        levels: Number of levels, or none to infer it: bytes have 256.
        validation: Fraction of the training samples in the validation split.
        test: Share of the samples in the test split if there are no test files.
        limit: Maximum number of training samples, or none.
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
        """The space, from shape and number type of the training file."""
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
            return random_split(
                train, validation=self.validation, test=self.test, limit=self.limit, rng=rng
            )
        test = read_pair(test_images, test_labels)
        found = space_of(test.array, space.levels, str(test_images))
        if found != space:
            raise UserError(f"{test_images} holds {found.label}; {images} holds {space.label}.")
        validation = max(1, round(self.validation * len(train)))
        return published_split(train, test, validation=validation, limit=self.limit, rng=rng)

    def whole(self) -> ArraySplit:
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
    """Returns the file ``name`` or ``name.gz`` of ``folder``; None if neither exists."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def read_pair(images: Path, labels: Path | None) -> ArraySplit:
    """Returns the samples and classes of two IDX files.

    Raises:
        UserError: If the files cannot be read, or do not fit together.
    """
    x = finite(_samples(images), images)
    classes = None if labels is None else read(labels)
    same_length(x, classes, labels or images)
    return ArraySplit(x, classes)


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


# ----------------------------------------------------------------------------
# Folders of samples: the files of one kind, with notes on all others.
# ----------------------------------------------------------------------------

_SOUNDS = "aif aifc aiff au caf flac mp3 oga ogg opus rf64 snd w64 wav wave"
SOUNDS = frozenset(f".{ending}" for ending in _SOUNDS.split())
"""Endings of the sound files that are read."""

STUBS = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"])
"""Formats that Pillow knows by their beginning alone, or hands to another program."""
_NAMED = 3


@final
@dataclass(frozen=True, slots=True)
class FolderContents:
    """The contents of a folder.

    Attributes:
        folder: The folder.
        files: The files of the requested kind, below the folder, sorted.
        notes: What was not read: one clause per reason.
    """

    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What each file is called below the folder, without its ending."""
        return tuple(p.relative_to(self.folder).with_suffix("").as_posix() for p in self.files)


def image_files(folder: Path) -> FolderContents:
    """Returns the image files in a folder and below.

    Raises:
        UserError: If the folder does not exist or cannot be read.
    """
    known = image_suffixes()
    return _found(folder, lambda p: p.suffix.lower() in known, "images", "an image")


def audio_files(folder: Path) -> FolderContents:
    """Returns the sound files in a folder and below.

    Raises:
        UserError: If the folder does not exist or cannot be read.
    """
    return _found(folder, lambda p: p.suffix.lower() in SOUNDS, "sounds", "a sound")


def has_mostly_audio(folder: Path) -> bool:
    """Returns whether a folder is one of sounds: it holds more of them than of images.

    Raises:
        UserError: If the folder does not exist or cannot be read.
    """
    return len(audio_files(folder).files) > len(image_files(folder).files)


def image_suffixes() -> frozenset[str]:
    """Returns the endings of the image files that Pillow decodes, in small letters.

    Example:
        >>> {".jpg", ".jfif", ".bmp", ".tif", ".webp"} <= image_suffixes()
        True
    """
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(e for e, f in known.items() if f in Image.OPEN and f not in STUBS)


def listed(names: Sequence[str]) -> str:
    """Returns the first names of several, for a message.

    Example:
        >>> listed(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    return ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])


def counted(n: int, one: str, several: str) -> str:
    """Returns a number and what follows it.

    Example:
        >>> counted(1, "file is", "files are"), counted(2, "file is", "files are")
        ('1 file is', '2 files are')
    """
    return f"{n:,} {one if n == 1 else several}"


@final
class _Walk:
    """Everything below a folder; links to folders are followed, but no folder is read twice."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self.repeated: list[Path] = []
        self.closed: list[Path] = []
        self._seen: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        self._into(folder)
        # Folders first, then links: a link to a folder that is there anyway is the repetition.
        while self._links:
            self._links.sort(reverse=True)
            link = self._links.pop()
            if not self._into(link):
                self.repeated.append(link)

    def _into(self, folder: Path) -> bool:
        """Reads a folder and those below; returns whether it was a new one."""
        left, is_new = [folder], False
        while left:
            here = left.pop()
            try:
                stat = here.stat()
                if (stat.st_dev, stat.st_ino) in self._seen:
                    continue
                entries = list(os.scandir(here))
            except OSError:
                self.closed.append(here)
                is_new = True
                continue
            self._seen.add((stat.st_dev, stat.st_ino))
            is_new = True
            for entry in entries:
                self._sort_in(entry, left)
        return is_new

    def _sort_in(self, entry: "os.DirEntry[str]", left: list[Path]) -> None:
        path = Path(entry.path)
        try:
            is_folder = entry.is_dir()
        except OSError:  # links in a circle
            is_folder = False
        if not is_folder:
            self.files.append(path)
        elif entry.is_symlink():
            self._links.append(path)
        else:
            left.append(path)


def _found(folder: Path, is_wanted: Callable[[Path], bool], kind: str, one: str) -> FolderContents:
    walk = _Walk(is_folder(folder))
    wanted, hidden, other = list[Path](), list[Path](), list[Path]()
    for path in walk.files:
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            # Hidden system files are not samples; samples in a hidden folder may be meant.
            hidden += [path] * is_wanted(path)
        elif is_wanted(path) and path.is_file():
            wanted.append(path)
        else:
            other.append(path)
    lost = [
        (hidden, "hidden file was", "hidden files were", "not read"),
        (other, f"file is not {one}", f"files are not {kind}", "and {} not read"),
        (walk.repeated, "linked folder is", "linked folders are", "there already, read once"),
        (walk.closed, "folder may", "folders may", "not be read"),
    ]
    notes = tuple(_lost(folder, *one) for one in lost if one[0])
    return FolderContents(folder, tuple(sorted(wanted)), notes)


def _lost(folder: Path, paths: Sequence[Path], one: str, several: str, what: str) -> str:
    names = [p.relative_to(folder).as_posix() if p != folder else "." for p in sorted(paths)]
    was = what.format("was" if len(paths) == 1 else "were")
    return f"{folder.name}: {counted(len(paths), one, several)} {was}: {listed(names)}"


@final
class Unreadable:
    """Counts unreadable files, up to the number that may be skipped.

    Args:
        most: Maximum number of skipped files.
    """

    def __init__(self, most: int) -> None:
        self.names: list[str] = []
        self._most = most

    def add(self, name: str, error: UserError) -> None:
        """Counts an unreadable file.

        Raises:
            UserError: If the limit is exceeded: the error of that file, and what to do.
        """
        self.names.append(name)
        if len(self.names) > self._most:
            before = f" {self._most} before it were skipped." if self._most else ""
            raise UserError(f"{error}{before} {_SKIP}") from error

    @property
    def notes(self) -> tuple[str, ...]:
        """A note on the skipped files, if any."""
        if not self.names:
            return ()
        what = counted(len(self.names), "unreadable file", "unreadable files")
        return (f"{what} skipped: {listed(self.names)}",)


_SKIP = "Use --skip-bad N, or skip_bad=N in the data set, to skip up to N such files."


# ----------------------------------------------------------------------------
# NumPy's own files.
# ----------------------------------------------------------------------------

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MAGIC = b"\x93NUM"
_HEADER = 2**20  # bytes; a longer header is invalid


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
        layout: Order of the axes, if the shape is ambiguous.
        levels: Number of levels, or none to infer it.
        validation: Fraction of the samples in the validation split.
        test: Fraction of the samples in the test split.
        limit: Maximum number of training samples, or none.
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
        """The space, from shape and number type of the file."""
        return space_of(self._array(), self.levels, self.path)

    def _array(self) -> Array:
        return arranged(_read(Path(self.path).expanduser(), None), self.layout, self.path)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read or used.
        """
        return random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> ArraySplit:
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
        key: Name of the array; may be left out where there is only one beside labels, or one
            called "x".
        labels: Name of the array of classes, or none.
        layout: Order of the axes, if the shape is ambiguous.
        levels: Number of levels, or none to infer it.
        validation: Fraction of the samples in the validation split.
        test: Fraction of the samples in the test split.
        limit: Maximum number of training samples, or none.
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
        """The space, from shape and number type of the array."""
        return space_of(self._array(), self.levels, self.path)

    def _array(self) -> Array:
        array = _read(Path(self.path).expanduser(), self.key or "")
        return arranged(array, self.layout, self.path)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read or used.
        """
        return random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> ArraySplit:
        """Returns all samples in the order of the file.

        Raises:
            UserError: If the file cannot be read or used.
        """
        path = Path(self.path).expanduser()
        labels = None if self.labels is None else _read(path, self.labels)
        return _rows(self, self._array(), labels, path)


def _rows(of: Npy | Npz, array: Array, labels: Array | None, where: Path | None) -> ArraySplit:
    space_of(array, of.levels, of.path)
    same_length(array, labels, where or Path(of.path))
    if labels is not None and labels.dtype.kind not in "biu":
        raise UserError(f"The labels {of.labels} must be integers. Got {labels.dtype}.")
    return ArraySplit(finite(array, Path(of.path)), labels)


LABEL_KEYS = ("labels", "y", "label", "classes")
"""Names under which a ``.npz`` file holds the classes of its samples."""


def arrays_of(path: Path) -> list[str]:
    """Returns the names of the arrays in a ``.npz`` file.

    Raises:
        UserError: If it cannot be read.
    """
    with readable(path, "numbers"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def array_of(path: Path, key: str) -> Array:
    """Returns an array of a ``.npz`` file as it is.

    Raises:
        UserError: If there is no such array, or it cannot be read.
    """
    return _read(path, key)


@read_once(2, stamp_of)
def _read(path: Path, key: str | None) -> Array:
    """Returns an array of a file: a ``.npy`` where ``key`` is None, else one of a ``.npz``."""
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
    """Returns an array of a ``.npz`` file; its declared size is checked before unpacking.

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
    samples = [name for name in known if name not in LABEL_KEYS] or known
    if len(samples) == 1 or "x" in known:
        return "x" if "x" in known else samples[0]
    raise UserError(f"{path} holds {len(known)} arrays: {', '.join(known)}. Give key=NAME.")
