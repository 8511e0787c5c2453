"""Groups and labels: of which subject, prompt or source each sample is, or of what class.

A column, an array, a file or a regular expression says it, or the samples bring it along.
"""

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import NamedSamples, named
from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Spec
from gantlet.data.arrays import (
    LABEL_KEYS,
    array_of,
    arrays_of,
    audio_files,
    has_mostly_audio,
    image_files,
)
from gantlet.data.splits import Array
from gantlet.domains.cells import read_cells
from gantlet.domains.domains import ending

Option = Literal["--groups", "--labels"]

AUTO = "auto"
"""Stands for the labels that samples bring along."""

MOST_CLASSES = 1_000
"""Labels of more kinds are numbers or names, not classes."""


@final
class UnfitError(Exception):
    """Groups or labels that a set does not offer."""


def read_groups(groups: Sequence[str], text: str, role: str, n: int) -> Tensor | None:
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
    found = _words_of("--groups", groups, text, role, lambda what, where: _words(what, where, n))
    return None if found is None else _numbered(found)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLabels:
    """The class of each sample of a set.

    Attributes:
        names: The names of the classes, numbers in their order and before other names.
        codes: The place of each sample's class among them, int64, shape ``(n,)``.
    """

    names: tuple[str, ...]
    codes: Tensor

    @classmethod
    def of(cls, words: Sequence[str], name: str) -> "ClassLabels":
        """Returns the classes that words name, one for each sample.

        Raises:
            UserError: If some are missing, or there are too many kinds.
        """
        words = [_class_name(word) for word in words]
        lost = [i for i, word in enumerate(words) if not word]
        if lost:
            raise UserError(
                f"--labels: {len(lost):,} of the {len(words):,} labels of {name} are missing "
                f"(empty or NaN), the first that of sample {lost[0] + 1}. Give all a class."
            )
        names = sorted(set(words), key=_in_order)
        if len(names) > MOST_CLASSES:
            raise UserError(
                f"--labels: {name} has {len(names):,} different labels; at most {MOST_CLASSES:,} "
                "classes are compared. Give coarser labels."
            )
        place = {word: i for i, word in enumerate(names)}
        codes = torch.tensor([place[word] for word in words], dtype=torch.int64)
        return cls(names=tuple(names), codes=codes)

    def at(self, index: Tensor) -> "ClassLabels":
        """Returns the classes of some samples."""
        return replace(self, codes=self.codes[index])

    def among(self, names: Sequence[str]) -> Tensor:
        """Returns the place of each sample's class among other names, which hold all of its."""
        place = {name: i for i, name in enumerate(names)}
        return torch.tensor([place[name] for name in self.names], dtype=torch.int64)[self.codes]


def _class_name(word: str) -> str:
    """Returns a label as all sets write it; an empty word where it is missing.

    Example:
        >>> _class_name(" 3.0"), _class_name("cat"), _class_name("nan")
        ('3', 'cat', '')
    """
    word = word.strip()
    with suppress(ValueError):
        number = float(word)
        if math.isnan(number):
            return ""
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else word
    return word


def _in_order(name: str) -> tuple[bool, float, str]:
    with suppress(ValueError):
        return False, float(name), name
    return True, 0.0, name


def all_classes(*sets: ClassLabels | None) -> tuple[str, ...]:
    """Returns the names of the classes of several sets, each once."""
    names = {name for labels in sets if labels is not None for name in labels.names}
    return tuple(sorted(names, key=_in_order))


def read_classes(
    labels: Sequence[str], text: str, role: str, samples: NamedSamples
) -> ClassLabels | None:
    """Returns the class of each sample of a set, or None where no label fits it.

    Args:
        labels: What was asked for, as ``read_groups`` takes it; ``auto`` stands for the labels
            that samples bring along: sub-folders, an array ``labels`` or ``y`` beside the samples
            of a ``.npz`` file, the classes of a data set.
        text: Where the samples are.
        role: What the set is: ``real``, ``fake``, ``train`` or ``control``.
        samples: All samples of the set.

    Raises:
        UserError: If what was asked of this set by name does not fit it, labels are missing, or
            there are too many classes.
    """
    n = len(samples.source)

    def read(what: str, where: str) -> list[str]:
        return _own_words(samples, where, n) if what == AUTO else _words(what, where, n)

    found = _words_of("--labels", labels, text, role, read)
    return None if found is None else ClassLabels.of(found, samples.name)


def _words_of(
    option: Option,
    given: Sequence[str],
    text: str,
    role: str,
    read: Callable[[str, str], list[str]],
) -> list[str] | None:
    """Returns the words of the first that fits a set, one for each sample, or None."""
    names = _names(text, role)
    for one in given:
        name, what = split_group_option(one)
        if name is not None and name not in names:
            continue
        try:
            return read(what, named(text)[1])
        except UnfitError as error:
            if name is not None:
                raise UserError(f"{option} {one}: {error}") from None
    return None


def columns_of(given: Sequence[str], text: str, role: str) -> tuple[str, ...]:
    """Returns the columns of a table that name groups or classes, and so are no part of samples.

    Args:
        given: All groups and labels that were asked for.
        text: Where the table is.
        role: What the set is.
    """
    source = _table_of(named(text)[1])
    if source is None:
        return ()
    names, known = _names(text, role), read_cells(source).names
    chosen = [w for name, w in map(split_group_option, given) if name is None or name in names]
    return tuple(
        dict.fromkeys(w for w in chosen if w in known and not Path(w).expanduser().is_file())
    )


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


def check_fits(
    option: Option, given: Sequence[str], sets: Sequence[tuple[str, str, NamedSamples]]
) -> None:
    """Refuses groups or labels that fit no set, and labels that may be of several.

    Args:
        option: The option.
        given: What was asked for.
        sets: Where each set is, what it is and all its samples.

    Raises:
        UserError: If one fits no set, or a file of labels more than one.
    """
    for one in given:
        fits = [role for text, role, samples in sets if _fits(option, one, text, role, samples)]
        name, what = split_group_option(one)
        if not fits:
            raise _fits_none(option, one, sets)
        is_file = Path(what).expanduser().is_file()
        if option == "--labels" and name is None and is_file and len(fits) > 1:
            raise UserError(
                f"--labels {what} holds as many labels as {' and '.join(fits)} samples. Say whose "
                f"they are: {' or '.join(f'{role}={what}' for role in dict.fromkeys(fits))}."
            )


def _fits(option: Option, one: str, text: str, role: str, samples: NamedSamples) -> bool:
    if option == "--groups":
        return read_groups([one], text, role, len(samples.source)) is not None
    return read_classes([one], text, role, samples) is not None


def _fits_none(
    option: Option, one: str, sets: Sequence[tuple[str, str, NamedSamples]]
) -> UserError:
    """Returns the error for groups or labels that fit no set: why, where one set was meant."""
    name, what = split_group_option(one)
    known = dict.fromkeys(n for text, role, _ in sets for n in (role, named(text)[0]))
    if name is not None:
        return unknown(f"set of {option}", name, known)
    if what == AUTO and option == "--labels":
        return UserError(
            f"--labels auto: neither {' nor '.join(s.name for *_, s in sets)} bring labels along: "
            f"no sub-folder for each class, no array {' or '.join(LABEL_KEYS[:2])} in a .npz "
            "file, no classes of a data set. Give real=FILE and fake=FILE."
        )
    close = get_close_matches(what, [c for text, *_ in sets for c in _offered(text)], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    path = Path(what).expanduser()
    if path.is_file():
        sizes = " and ".join(f"{s.name} {len(s.source):,} samples" for *_, s in sets)
        return UserError(
            f"{option} {what} fits no set: it holds {len(_lines(path)):,} labels; {sizes}."
        )
    ways = "a column of a table, an array of a .npz file" + (
        f", {AUTO} for labels that samples bring along" if option == "--labels" else ""
    )
    return UserError(
        f"{option} {one} fits no set.{hint} Give {ways}, a file with one label a line, or a "
        f"regular expression with one group for the file names of a folder; NAME={what} for one "
        "set."
    )


def _offered(text: str) -> Sequence[str]:
    """Returns the names of the columns or arrays in the file of a set."""
    source = _path_of(named(text)[1])
    if source.is_file() and ending(source) == ".npz":
        return arrays_of(source)
    table = _table_of(named(text)[1])
    return () if table is None else read_cells(table).names


def split_group_option(one: str) -> tuple[str | None, str]:
    """Returns the name of the set that groups are for, or None for all, and what makes them.

    Example:
        >>> texts = "real=subjects.txt", "(.+)_.*", "(?P<who>.+)=.*"
        >>> [split_group_option(text) for text in texts]
        [('real', 'subjects.txt'), (None, '(.+)_.*'), (None, '(?P<who>.+)=.*')]
    """
    found = re.fullmatch(r"([^=:/\\()\[\]?*+^$|]+)=(.+)", one)
    return (None, one) if found is None else (found[1], found[2])


def _words(what: str, where: str, n: int) -> list[str]:
    """Returns a word for each sample of a set: its group or its class."""
    path = Path(what).expanduser()
    if path.is_file():
        return _checked(_lines(path), n, f"{what} holds {{}} labels")
    source = _path_of(where)
    if source.is_file() and ending(source) == ".npz":
        return _checked(_member(what, source), n, f"{what} of {source} holds {{}} labels")
    if source.is_file():
        return _checked(_column(what, source), n, f"{source} has {{}} rows")
    if source.is_dir():
        return _checked(_matched(what, source), n, f"{source} holds {{}} files")
    raise UnfitError(f"{where} is no folder and no table, so give a file with one label a line.")


def _own_words(samples: NamedSamples, where: str, n: int) -> list[str]:
    """Returns the labels that samples bring along, one for each."""
    folders = [name.partition("/")[0] for name in samples.names if "/" in name]
    if folders and len(folders) == n:
        return folders
    if samples.source.labels is not None:
        return [str(label) for label in samples.source.labels.tolist()]
    source = _path_of(where)
    if source.is_file() and ending(source) == ".npz":
        key = next((key for key in LABEL_KEYS if key in arrays_of(source)), None)
        if key is not None:
            return _checked(_member(key, source), n, f"{key} of {source} holds {{}} labels")
    raise UnfitError(
        f"{samples.name} brings no labels along: no sub-folder for each class, no array "
        f"{' or '.join(LABEL_KEYS)} in a .npz file, no classes of a data set."
    )


def _member(what: str, source: Path) -> list[str]:
    """Returns the labels in an array of a ``.npz`` file."""
    known = arrays_of(source)
    if what not in known:
        close = get_close_matches(what, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnfitError(f"{source} has no array {what!r}.{hint} It has: {', '.join(known)}.")
    return _one_each(array_of(source, what), f"{what} of {source}")


def _one_each(array: Array, name: str) -> list[str]:
    """Returns the labels in an array, shape ``(n,)`` or ``(n, 1)``."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise UserError(
            f"{name} has shape {array.shape}. One label for each sample is needed, shape (n,)."
        )
    return [str(label) for label in array.tolist()]


def _lines(path: Path) -> list[str]:
    """Returns the labels in a file of text, or in an array of its own."""
    if ending(path) == ".npy":
        return _one_each(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(
            f"{path} is no text in UTF-8. Give one label a line, or a .npy file."
        ) from None


def _column(what: str, source: Path) -> list[str]:
    if _table_of(str(source)) is None:
        raise UnfitError(f"{source} has no columns, so give a file with one label a line.")
    table = read_cells(source)
    if what not in table.names:
        close = get_close_matches(what, table.names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnfitError(
            f"{source} has no column {what!r}.{hint} It has: {', '.join(table.names)}."
        )
    return [str(label) for label in table.text(table.names.index(what))]


def _matched(what: str, folder: Path) -> list[str]:
    try:
        pattern = re.compile(what)
    except re.error as error:
        raise UserError(f"{what} is no regular expression: {error}.") from None
    held = audio_files(folder) if has_mostly_audio(folder) else image_files(folder)
    files = [f.relative_to(folder).as_posix() for f in held.files]
    found = [pattern.search(name) for name in files]
    if not any(found):
        raise UnfitError(f"no file name in {folder} fits {what}; the first is {files[0]}.")
    if pattern.groups != 1:
        raise UserError(
            f"{what} has {pattern.groups} groups in parentheses. Give one, around what "
            "names the subject or the class: '([^_]+)_.*'."
        )
    lost = next((name for name, m in zip(files, found, strict=True) if m is None), None)
    if lost is not None:
        raise UserError(f"{what} does not fit {lost}. Every file name must fit.")
    return [m[1] for m in found if m is not None]


def _checked(labels: list[str], n: int, told: str) -> list[str]:
    if len(labels) != n:
        raise UnfitError(f"{told.format(len(labels))}, the set {n} samples.")
    return labels


def _numbered(labels: Sequence[str]) -> Tensor:
    places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([places[label] for label in labels], dtype=torch.int64)
