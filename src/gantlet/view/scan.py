"""Finds the runs below a folder: bounded, without following links, and saying what it left out."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from gantlet.core.errors import UserError

MOST_FOLDERS = 50_000
"""Folders that are searched at most, the nearest first."""

MOST_RUNS = 5_000
"""Runs that are listed at most."""

# So many folders of a kind are named; the others are counted.
_NAMED = 8

_OWN_FILES = frozenset({"run.json", "report.json"})
_SKIPPED = frozenset({"__pycache__", "node_modules"})


@final
@dataclass(slots=True)
class Found:
    """What a search found.

    Attributes:
        folders: Folders that hold a run, or what may be one, in order of path.
        links: Links to folders, which are not followed.
        closed: Folders that cannot be read, and why.
        unfinished: Folders in which a run is about to be written.
        searched: Number of folders searched.
        is_cut: Whether the search ended at a bound.
    """

    folders: list[Path] = field(default_factory=list[Path])
    links: list[Path] = field(default_factory=list[Path])
    closed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    unfinished: list[Path] = field(default_factory=list[Path])
    searched: int = 0
    is_cut: bool = False


def search(root: Path, *, folders: int = MOST_FOLDERS, runs: int = MOST_RUNS) -> Found:
    """Searches a folder for runs, nearest folders first.

    Args:
        root: The folder.
        folders: How many folders are searched at most.
        runs: How many runs are listed at most.

    Raises:
        UserError: If it is not a folder that can be read.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"{root} {what}. Give a folder that holds run folders.")
    found, waiting = Found(), deque([root])
    while waiting:
        if found.searched >= folders or len(found.folders) >= runs:
            found.is_cut = True
            break
        folder = waiting.popleft()
        found.searched += 1
        try:
            waiting.extend(_below(folder, found))
        except OSError as error:
            if folder == root:
                raise UserError(f"{root} cannot be read: {error.strerror or error}.") from error
            found.closed.append((folder, error.strerror or str(error)))
    found.folders.sort()
    return found


def _below(folder: Path, found: Found) -> list[Path]:
    """Notes what a folder is, and returns the folders in it that are searched next."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda e: e.name)
    files = {e.name for e in listed if e.is_file(follow_symlinks=False)}
    inner = [e.name for e in listed if e.is_dir(follow_symlinks=False)]
    found.links += [folder / e.name for e in listed if e.is_symlink() and _leads_to_folder(e)]
    is_begun = ".lock" in files and ("log.jsonl" in files or "trials" in inner)
    is_run = is_begun or bool(files & _OWN_FILES)
    if is_run:
        found.folders.append(folder)
    elif any(name.startswith(".run.json.") for name in files):
        found.unfinished.append(folder)
    return [
        folder / name
        for name in inner
        if not name.startswith(".") and name not in _SKIPPED and not (is_run and name == "trials")
    ]


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop
        return True


def remarks(found: Found, root: Path) -> Iterator[str]:
    """Yields a sentence on each kind of folder that is not listed."""
    if found.is_cut:
        yield (
            f"The search ended after {found.searched:,} folders with {len(found.folders):,} runs: "
            "runs further down are not listed. Give a folder further down."
        )
    if found.links:
        yield f"Links to folders are not followed: {named(found.links, root)}."
    if found.unfinished:
        yield f"About to be written, or left half-written: {named(found.unfinished, root)}."
    closed = [f"{relative(folder, root)} cannot be read: {why}." for folder, why in found.closed]
    yield from first_of(closed, "folders cannot be read")


def first_of(sentences: Sequence[str], others: str) -> Iterator[str]:
    """Yields the first sentences, and in one how many ``others`` there are."""
    yield from sentences[:_NAMED]
    if len(sentences) > _NAMED:
        yield f"{len(sentences) - _NAMED:,} more {others}."


def named(folders: Sequence[Path], root: Path) -> str:
    """Returns the first folders by name, and how many more there are."""
    first = ", ".join(relative(f, root) for f in folders[:_NAMED])
    more = len(folders) - _NAMED
    return f"{first} and {more:,} more" if more > 0 else first


def relative(folder: Path, root: Path) -> str:
    """Returns the path of a folder below the root; "." for the root itself."""
    return folder.relative_to(root).as_posix()
