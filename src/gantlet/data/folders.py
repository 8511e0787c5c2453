"""What lies in a folder of samples: the files of one kind, and a word on all others."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gantlet.core.errors import UserError
from gantlet.data.checks import is_folder

_SOUNDS = "aif aifc aiff au caf flac mp3 oga ogg opus rf64 snd w64 wav wave"
SOUNDS = frozenset(f".{ending}" for ending in _SOUNDS.split())
"""Endings of the sound files that are read."""

STUBS = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"])
"""Formats that Pillow knows by their beginning alone, or hands to another program."""
_NAMED = 3


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds.

    Attributes:
        folder: The folder.
        files: The files of the kind that was looked for, below the folder, sorted.
        notes: What was not read, in words: one clause for each reason.
    """

    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What each file is called below the folder, without its ending."""
        return tuple(p.relative_to(self.folder).with_suffix("").as_posix() for p in self.files)


def pictures_in(folder: Path) -> Found:
    """Returns the image files in a folder and below.

    Raises:
        UserError: If there is no such folder, or it may not be read.
    """
    known = picture_endings()
    return _found(folder, lambda p: p.suffix.lower() in known, "images")


def sounds_in(folder: Path) -> Found:
    """Returns the sound files in a folder and below.

    Raises:
        UserError: If there is no such folder, or it may not be read.
    """
    return _found(folder, lambda p: p.suffix.lower() in SOUNDS, "sounds")


def holds_sounds(folder: Path) -> bool:
    """Returns whether a folder is one of sounds: it holds more of them than of images.

    Raises:
        UserError: If there is no such folder, or it may not be read.
    """
    return len(sounds_in(folder).files) > len(pictures_in(folder).files)


def picture_endings() -> frozenset[str]:
    """Returns the endings of the image files that Pillow decodes, in small letters.

    Example:
        >>> {".jpg", ".jfif", ".bmp", ".tif", ".webp"} <= picture_endings()
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


def _found(folder: Path, is_wanted: Callable[[Path], bool], kind: str) -> Found:
    walk = _Walk(is_folder(folder))
    wanted, hidden, other = list[Path](), list[Path](), list[Path]()
    for path in walk.files:
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            # What a system keeps for itself is no loss; samples in a hidden folder may be one.
            hidden += [path] * is_wanted(path)
        elif is_wanted(path) and path.is_file():
            wanted.append(path)
        else:
            other.append(path)
    lost = [
        (hidden, "hidden file was", "hidden files were", "not read"),
        (other, "file is", "files are", f"no {kind} and {{}} not read"),
        (walk.repeated, "linked folder is", "linked folders are", "there already, read once"),
        (walk.closed, "folder may", "folders may", "not be read"),
    ]
    notes = tuple(_lost(folder, *one) for one in lost if one[0])
    return Found(folder, tuple(sorted(wanted)), notes)


def _lost(folder: Path, paths: Sequence[Path], one: str, several: str, what: str) -> str:
    names = [p.relative_to(folder).as_posix() if p != folder else "." for p in sorted(paths)]
    was = what.format("was" if len(paths) == 1 else "were")
    return f"{folder.name}: {counted(len(paths), one, several)} {was}: {listed(names)}"


@final
class Unreadable:
    """Counts the files that cannot be read, up to a number that may be left out.

    Args:
        most: How many may be left out.
    """

    def __init__(self, most: int) -> None:
        self.names: list[str] = []
        self._most = most

    def add(self, name: str, error: UserError) -> None:
        """Notes one more.

        Raises:
            UserError: If that is one too many: the error of that file, and what can be done.
        """
        self.names.append(name)
        if len(self.names) > self._most:
            before = f" {self._most} before it were left out." if self._most else ""
            raise UserError(f"{error}{before} {_SKIP}") from error

    @property
    def notes(self) -> tuple[str, ...]:
        """Says which were left out, or nothing."""
        if not self.names:
            return ()
        told = counted(len(self.names), "file", "files")
        return (f"{told} cannot be read and left out: {listed(self.names)}",)


_SKIP = "Up to N such files are left out with --skip-bad N, or skip_bad=N in the data set."
