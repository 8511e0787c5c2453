"""Which samples belong together: of one subject, one prompt, one source."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.spec import Spec
from gantlet.data.cells import read_cells
from gantlet.data.folders import holds_sounds, pictures_in, sounds_in
from gantlet.studies.evaluation.inputs import named


@final
class UnfitError(Exception):
    """A way to group samples that a set does not offer."""


def labels_of(groups: Sequence[str], text: str, role: str, n: int) -> Tensor | None:
    """Returns the groups that the user gave to the samples of a set, or None.

    Args:
        groups: What was asked for: ``WHAT`` for all sets, or ``NAME=WHAT`` for one; ``real`` is
            the reference, ``fake`` every set that is judged.
        text: Where the samples are.
        role: What the set is: ``real``, ``fake``, ``train`` or ``control``.
        n: How many samples the set holds.

    Raises:
        UserError: If what was asked of this set by name does not fit it.
    """
    names = _names(text, role)
    for one in groups:
        name, what = parted(one)
        if name is not None and name not in names:
            continue
        try:
            return _labels(what, named(text)[1], n)
        except UnfitError as error:
            if name is not None:
                raise UserError(f"--groups {one}: {error}") from None
    return None


def column_of(groups: Sequence[str], text: str, role: str) -> str | None:
    """Returns the column of a table that names its groups, and so is no part of its samples."""
    source = _table_of(named(text)[1])
    if source is None:
        return None
    for one in groups:
        name, what = parted(one)
        fits = name is None or name in _names(text, role)
        if fits and not Path(what).expanduser().is_file() and what in read_cells(source).names:
            return what
    return None


def _names(text: str, role: str) -> set[str]:
    """Returns by what names a set may be given groups."""
    return {named(text)[0], text, role}


def _table_of(where: str) -> Path | None:
    """Returns the file of a table, or None where samples are something else."""
    source = _path_of(where)
    return source if source.suffix in {".csv", ".tsv"} and source.is_file() else None


def _path_of(where: str) -> Path:
    options = Spec.parse(where).options if ":path=" in where else {}
    return Path(options.get("path", where)).expanduser()


def check_groups(groups: Sequence[str], sets: Sequence[tuple[str, str, int]]) -> None:
    """Refuses groups that fit no set.

    Args:
        groups: What was asked for.
        sets: Where each set is, what it is and how many samples it holds.

    Raises:
        UserError: If one fits no set.
    """
    for one in groups:
        if all(labels_of([one], *found) is None for found in sets):
            name, what = parted(one)
            raise UserError(
                f"--groups {one} fits no set. Give a column of a table, a file with one label a "
                "line, or a regular expression with one group for the file names of a folder; "
                f"NAME={what} for one set" + (f": there is none called {name}." if name else ".")
            )


def parted(one: str) -> tuple[str | None, str]:
    """Returns the name of the set that groups are for, or None for all, and what makes them.

    Example:
        >>> parted("real=subjects.txt"), parted("(.+)_.*"), parted("(?P<who>.+)=.*")
        (('real', 'subjects.txt'), (None, '(.+)_.*'), (None, '(?P<who>.+)=.*'))
    """
    found = re.fullmatch(r"([^=:/\\()\[\]?*+^$|]+)=(.+)", one)
    return (None, one) if found is None else (found[1], found[2])


def _labels(what: str, where: str, n: int) -> Tensor:
    path = Path(what).expanduser()
    if path.is_file():
        return _numbered(_checked(_lines(path), n, f"{what} holds {{}} labels"))
    source = _path_of(where)
    if source.is_file():
        return _numbered(_checked(_column(what, source), n, f"{source} has {{}} rows"))
    if source.is_dir():
        return _numbered(_checked(_matched(what, source), n, f"{source} holds {{}} files"))
    raise UnfitError(f"{where} is no folder and no table, so give a file with one label a line.")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8. Give one label a line.") from None


def _column(what: str, source: Path) -> list[str]:
    if _table_of(str(source)) is None:
        raise UnfitError(f"{source} has no columns, so give a file with one label a line.")
    table = read_cells(source)
    if what not in table.names:
        raise UnfitError(f"{source} has no column {what!r}. It has: {', '.join(table.names)}.")
    return [str(label) for label in table.text(table.names.index(what))]


def _matched(what: str, folder: Path) -> list[str]:
    try:
        pattern = re.compile(what)
    except re.error as error:
        raise UserError(f"--groups {what} is no regular expression: {error}.") from None
    if pattern.groups != 1:
        raise UserError(
            f"--groups {what} has {pattern.groups} groups in parentheses. Give one, around what "
            "names the subject: '([^_]+)_.*'."
        )
    held = sounds_in(folder) if holds_sounds(folder) else pictures_in(folder)
    files = [f.relative_to(folder).as_posix() for f in held.files]
    found = [pattern.search(name) for name in files]
    if not any(found):
        raise UnfitError(f"no file name in {folder} fits {what}; the first is {files[0]}.")
    lost = next((name for name, m in zip(files, found, strict=True) if m is None), None)
    if lost is not None:
        raise UserError(f"--groups {what} does not fit {lost}. Every file name must fit.")
    return [m[1] for m in found if m is not None]


def _checked(labels: list[str], n: int, told: str) -> list[str]:
    if len(labels) != n:
        raise UnfitError(f"{told.format(len(labels))}, the set {n} samples.")
    return labels


def _numbered(labels: Sequence[str]) -> Tensor:
    places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([places[label] for label in labels], dtype=torch.int64)
