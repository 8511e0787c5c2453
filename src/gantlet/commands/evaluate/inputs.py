"""The samples that an argument names: found, read, brought to one space, thinned."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands.trained import ModelTrial, find_trial
from gantlet.core.data import (
    Code,
    Encoded,
    InMemory,
    Named,
    OwnFile,
    PaddedEncoded,
    Source,
    Space,
    Splits,
    notes_of,
)
from gantlet.core.errors import UserError, input_errors, unknown
from gantlet.core.estimate import REAL, Trial
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, options, quote
from gantlet.data.arrays import (
    LABEL_KEYS,
    array_of,
    arrays_of,
    audio_files,
    has_mostly_audio,
    image_files,
)
from gantlet.data.splits import (
    PARSER_ERRORS,
    Array,
    ArraySplit,
    Concatenated,
    arranged,
    finite,
    path_exists,
    space_of,
)
from gantlet.domains.cells import read_cells
from gantlet.domains.domains import domain_of, domains, ending, reader_of
from gantlet.domains.tables import Table
from gantlet.features.base import block_of
from gantlet.run.given_samples import stored_samples
from gantlet.run.store import TrialFolder, load_tensors
from gantlet.run.trials import RunData, TypedTrial

# ----------------------------------------------------------------------------
# What is evaluated: the sets as they were asked for.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """What decides the sets; all of it is part of the question.

    Attributes:
        real: The reference.
        train: What the models learned from, or None.
        fakes: The sets to judge.
        samples: Most samples of a set; None for all.
        seed: Draws the samples that are kept, and all else that is random.
        data_seed: Seed of the train/validation/test split of data sets.
        pairs: What each output should have been, in order, or None.
        outputs: How many outputs there are for each of these.
        control: Other real samples, for the noise floor, or None to take them from the reference.
        groups: Which samples belong together: ``WHAT`` or ``NAME=WHAT``.
        labels: The class of each sample: ``WHAT`` or ``NAME=WHAT``.
        skip_bad: How many files of a folder that cannot be read may be left out.
        divides: Whether a part of the reference may be needed for the noise floor, so that
            extractors must not learn from that part.
    """

    real: str
    train: str | None
    fakes: tuple[str, ...]
    samples: int | None = 10_000
    seed: int = 0
    data_seed: int = 0
    pairs: str | None = None
    outputs: int = 1
    control: str | None = None
    groups: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    skip_bad: int = 0
    divides: bool = False

    def stored(self) -> Mapping[str, object]:
        """Returns the sets as plain data, without labels where there are none.

        So the trials of runs of before, which knew no labels, keep their keys.
        """
        found = asdict(self)
        return found if self.labels else {k: v for k, v in found.items() if k != "labels"}

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Returns the sets that ``stored`` wrote."""
        lists = {name: tuple(stored.get(name, ())) for name in ("fakes", "groups", "labels")}
        given: dict[str, Any] = dict(stored) | lists
        return cls(**given)


class SetTrial(TypedTrial):
    """Base of the trials of one set, whose seed is that of the sets."""

    __slots__ = ()

    sets: EvaluationSpec

    @property
    def seed(self) -> int:
        """From which every random number of the trial follows."""
        return self.sets.seed

    @override
    def written(self) -> Trial:
        """Returns the trial as plain data."""
        return replace(super().written(), seed=self.seed)


# ----------------------------------------------------------------------------
# Finds the samples that a word of the command line means.
# ----------------------------------------------------------------------------

Role = Literal["fake", "real", "train"]

SPLITS = ("train", "validation", "test", "all")

# Arrays are of no kind: their shapes tell what they hold.
_ARRAYS = {".npz": "npz", ".npy": "npy"}
_SAMPLES = "samples.safetensors"

# A name with one of these signs goes in quotes.
_SIGNS = '=:/\\"@'
_NAMED = re.compile(r'(?:"((?:[^"]|"")+)"|([^=:/\\"]+))=(.+)', re.DOTALL)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSamples:
    """Samples under the name by which they were asked for.

    Attributes:
        name: What the report calls them.
        space: What one sample is.
        source: The samples.
        splits: All splits of the data set that they are a part of, or None.
        code: What their numbers stand for, or None where they are plain numbers.
        own: The files that can be written in another code, or None.
        note: What was left out, converted or guessed, in words, or nothing.
        names: What each sample is called in the files, or nothing.
    """

    name: str
    space: Space
    source: Source
    splits: Splits | None = None
    code: Code | None = None
    own: Encoded | None = None
    note: str = ""
    names: Sequence[str] = ()


def named(text: str) -> tuple[str, str]:
    """Returns the name of a set and where it is; ``NAME=WHERE`` gives it a name.

    What exists as a path is a path, whatever signs it holds. A name with ``=``, ``:``, a slash or
    a double quote goes in double quotes. A file with options is called by its file and key.

    Example:
        >>> named("mine=runs/a.npz"), named("npz:path=runs/a.npz,key=x")
        (('mine', 'runs/a.npz'), ('a.npz, x', 'npz:path=runs/a.npz,key=x'))
        >>> named('"unet:big"=runs/a.npz')
        ('unet:big', 'runs/a.npz')
    """
    if "\0" in text:
        raise UserError(f"No path holds a null character. Got {text!r}.")
    if _exists(text):
        return text, text
    found = _NAMED.fullmatch(text)
    if found is None:
        return _by_file(text), text
    inner, plain, where = found.groups()
    return (plain if inner is None else inner.replace('""', '"')), where


def spec_with_name(name: str, where: str) -> str:
    """Returns the word that gives the samples at ``where`` a name, whatever signs it holds.

    Example:
        >>> spec_with_name("lr=0.1", "runs/a.npz")
        '"lr=0.1"=runs/a.npz'
    """
    return f"{quote(name, _SIGNS)}={where}"


def shown_name(text: str) -> str:
    """Returns the name that files have in notes, which need not be there any more.

    Example:
        >>> shown_name("runs/a.npz"), shown_name("mine=runs/a.npz")
        ('a.npz', 'mine')
    """
    name, where = named(text)
    return name if name != where or ":" in where or "@" in where else Path(where).name


def _exists(text: str) -> bool:
    """Returns whether ``text`` is the path of something, or of a run followed by ``@MODEL``."""
    head, at, _ = text.rpartition("@")
    # Unlike the methods of Path, these return False for names that no file can have.
    return any(
        os.path.lexists(path)
        for where in (text, f"{head}/run.json" if at else "")
        for path in (where, os.path.expanduser(where))  # noqa: PTH111  (never raises)
    )


def _by_file(text: str) -> str:
    """Returns the name of a set without one: what was written, options but the key cut."""
    if ":path=" not in text:
        return text
    where, at, split = text.rpartition("@")
    return f"{_short(where)}@{split}" if at and split in SPLITS else _short(text)


def find_samples(
    text: str, role: Role, *, data_seed: int = 0, skip_bad: int = 0, data: RunData | None = None
) -> NamedSamples:
    """Returns the samples that ``text`` means.

    A folder of images or of sounds; a file of arrays (npz, npy, csv, safetensors, idx), of rows
    (csv), lines (txt), graphs (npz) or sounds (tar); ``RUN@MODEL``, the samples of a trained
    model, or the folder of its trial; or a data set in written form, perhaps followed by
    ``@train``, ``@validation``, ``@test`` or ``@all``. Files are taken whole and in their order;
    of a data set the test split unless it is the training that is wanted.
    ``NAME=WHERE`` gives any of them a name. A path that exists is taken as a path, whatever signs
    it holds. Of a folder, up to ``skip_bad`` files that cannot be read are left out.

    Args:
        text: What is wanted.
        role: As what it is wanted.
        data_seed: Seed of the train/validation/test split of a data set.
        skip_bad: How many files of a folder that cannot be read may be left out.
        data: Where the data of trained models is loaded once for several sets, or None.

    Raises:
        UserError: If there are no such samples, or they cannot be read.
    """
    name, where = named(text)
    with input_errors(where, only=PARSER_ERRORS):
        data = RunData() if data is None else data
        lenient = _lenient(where, skip_bad)
        found = _kept(where, name) or _find(lenient, role, data_seed, skip_bad, data)
    return found if name == where else replace(found, name=name)


def _kept(where: str, name: str) -> NamedSamples | None:
    """Returns samples that were given as a Python object, or None where ``where`` is none."""
    found = stored_samples(where, name)
    if found is None:
        return None
    if found.kind == "table":
        return replace(_from_table(found.path, name), note=found.note)
    array = finite(arranged(np.load(found.path, mmap_mode="r"), "auto", name), name)
    return NamedSamples(
        name=name, space=space_of(array, None, name), source=ArraySplit(array), note=found.note
    )


def _from_table(path: Path, name: str) -> NamedSamples:
    """Returns a table that was given as a Python object; messages call it by its name."""
    try:
        return _whole(reader_of(path) or Table(path=str(path)), name)
    except UserError as error:
        raise UserError(str(error).replace(str(path), name).replace(path.name, name)) from error


def _lenient(where: str, skip: int) -> str:
    """Returns a data set in written form that leaves out up to ``skip`` files it cannot read."""
    head, at, split = where.rpartition("@")
    text, split = (head, f"@{split}") if at and split in SPLITS else (where, "")
    name, colon, _ = text.partition(":")
    if not skip or not colon or _exists(where) or "skip_bad=" in text:
        return where
    can = datasets.knows(name) and "skip_bad" in {o.name for o in options(datasets.load(name))}
    return f"{text},skip_bad={skip}{split}" if can else where


def _find(text: str, role: Role, data_seed: int, skip_bad: int, data: RunData) -> NamedSamples:
    for path in (Path(text), Path(os.path.expanduser(text))):  # noqa: PTH111  (never raises)
        if text and os.path.lexists(path):
            return _from_path(path, text, skip_bad, data)
    head, at, tail = text.rpartition("@")
    run = Path(os.path.expanduser(head))  # noqa: PTH111  (never raises)
    if at and os.path.lexists(run / "run.json"):
        return _from_run(run, tail, text, data)
    if at and tail in SPLITS:
        _check_split(text)
        return _from_dataset(head, tail, data_seed)
    if not datasets.knows(Spec.parse(text).name if ":" in text else text):
        raise _nowhere(text)
    return _from_dataset(text, None if role != "train" else "train", data_seed)


def _check_split(text: str) -> None:
    """Refuses ``images:path=a@train`` where there is a folder of that name."""
    path = text.rpartition("path=")[2]
    if path != text and os.path.lexists(path):
        raise UserError(
            f"{text!r} could mean a split, or {path!r}, which exists. Put the path in double "
            f'quotes: path="{path}"'
        )


def _nowhere(text: str) -> UserError:
    """Returns the error for a word that means nothing; says what is close to it."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111  (never raises)
    path_exists(path)  # a folder that is closed, or a name that is too long, has its own reason
    name = text.partition(":")[0].partition("@")[0]
    with suppress(OSError, ValueError):
        beside = [p.name for p in islice(path.parent.iterdir(), 10_000)]
        close = get_close_matches(path.name, beside, n=1, cutoff=0.75)
        if close:
            meant = str(path.parent / close[0])
            return UserError(
                f"{text} does not exist: it is neither a file, a folder nor a data set. Did you "
                f"mean {meant!r}?"
            )
    if "=" in text and ":" not in text.partition("=")[0]:
        return UserError(
            f"{text} does not exist: it is neither a file, a folder nor a data set. A name with a "
            "slash or a colon goes in double quotes: '\"NAME\"=WHERE'."
        )
    known = [*datasets.names(), *datasets.aliases]
    near = get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean the data set {near[0]!r}?" if near and "/" not in name else ""
    return UserError(
        f"{text} does not exist: it is neither a file, a folder nor a data set.{hint} Give a path "
        f"that exists, RUN@MODEL, or one of the data sets {', '.join(datasets.names())}."
    )


def _from_path(path: Path, text: str, skip_bad: int, data: RunData) -> NamedSamples:
    if not path_exists(path):
        raise UserError(f"{text} is a link to something that does not exist. Mend it.")
    if (path / "run.json").exists():
        return _from_run(path, "", text, data)
    if (path / _SAMPLES).exists():
        return _from_trial(path, text, data)
    if path.suffix.lower() == ".safetensors":
        return _tensors(path, text)
    # A name that begins with a tilde would be taken for somebody's home.
    where = path.absolute() if str(path).startswith("~") else path
    return _whole(reader_of(where, skip_bad=skip_bad) or _arrays_in(where), path.name)


def _arrays_in(path: Path) -> OwnFile:
    """Returns the data set that reads a file of arrays; its path never passes the grammar."""
    kind, option = _ARRAYS.get(ending(path)), "path"
    if kind is None and re.search(r"ubyte(\.gz)?$", path.name):
        kind, option = "idx", "images"
    if kind is None:
        known = (*_ARRAYS, *dict.fromkeys(e for d in domains() for e in d.endings))
        raise UserError(
            f"{path} is of no known kind. Give a folder of images or sound files, a file that "
            f"ends in {', '.join(known)}, .safetensors or ubyte(.gz), a run or a data set."
        )
    found = datasets.load(kind)(**{option: str(path)})
    if not isinstance(found, OwnFile):
        raise UserError(f"{path} is not a file of samples.")
    return found


def _whole(found: OwnFile, name: str) -> NamedSamples:
    """Returns all samples of the user's files in their order."""
    found = found.roomy() if isinstance(found, PaddedEncoded) else found
    source = found.whole()
    own = found if isinstance(found, Encoded) else None
    code = None if own is None else own.code()
    return NamedSamples(
        name=name,
        space=found.space,
        source=source,
        code=code,
        own=own,
        note="; ".join(notes_of(source)),
        names=source.names if isinstance(source, Named) else (),
    )


def _from_run(path: Path, model: str, text: str, data: RunData) -> NamedSamples:
    """Returns the samples of a trial, named as ``MODEL`` or ``MODEL#SEED``."""
    trial, folder = _trial_of_run(path, model, text)
    space, splits = data.of(ModelTrial.of(trial))
    x = folder.load("samples")["samples"]
    return NamedSamples(name=text, space=space, source=InMemory(x), splits=splits)


def _trial_of_run(path: Path, model: str, text: str) -> tuple[Trial, TrialFolder]:
    name, _, seed = model.partition("#")
    if seed and not seed.isdigit():
        raise UserError(f"The seed in {text} must be a whole number. Got {seed!r}.")
    return find_trial(path, name or None, int(seed or 0))


def _from_trial(path: Path, text: str, data: RunData) -> NamedSamples:
    trial = _trained(path)
    if trial is None:
        return _tensors(path / _SAMPLES, text)
    space, splits = data.of(ModelTrial.of(trial))
    x = TrialFolder(path).load("samples")["samples"]
    return NamedSamples(name=text, space=space, source=InMemory(x), splits=splits)


def _trained(path: Path) -> Trial | None:
    """Returns the trial of a folder, or None where no model was trained in it."""
    outcome = TrialFolder(path).outcome()
    return None if outcome is None or outcome.trial.model == REAL else outcome.trial


def trained_trial(text: str) -> tuple[Trial, TrialFolder] | None:
    """Returns the training of the model whose samples ``text`` means; None for other samples.

    Args:
        text: As for ``find_samples``.

    Raises:
        UserError: If a run holds no such model.
    """
    where = named(text)[1]
    for path in (Path(where), Path(os.path.expanduser(where))):  # noqa: PTH111  (never raises)
        if where and os.path.lexists(path / "run.json"):
            return _trial_of_run(path, "", text)
        if where and os.path.lexists(path / _SAMPLES):
            trial = _trained(path)
            return None if trial is None else (trial, TrialFolder(path))
        if where and os.path.lexists(path):
            return None
    head, at, tail = where.rpartition("@")
    run = Path(os.path.expanduser(head))  # noqa: PTH111  (never raises)
    is_run = bool(at) and os.path.lexists(run / "run.json")
    return _trial_of_run(run, tail, text) if is_run else None


def _tensors(path: Path, text: str) -> NamedSamples:
    found = load_tensors(path)
    if len(found) != 1 and "samples" not in found:
        raise UserError(
            f"{path} holds {len(found)} tensors, none called samples: {', '.join(found)}. "
            "Save the samples alone."
        )
    x = found["samples"] if "samples" in found else next(iter(found.values()))
    array = x.float().numpy() if x.is_floating_point() else x.numpy()
    array = finite(arranged(array, "auto", str(path)), path)
    space = space_of(array, None, str(path))
    return NamedSamples(name=text, space=space, source=InMemory(torch.from_numpy(array)))


def _short(text: str) -> str:
    """Returns a data set as people name it: by its file and key, where it is one."""
    options = Spec.parse(text).options
    if "path" not in options:
        return datasets.short(text)
    key = [options["key"]] if "key" in options else []
    return ", ".join([Path(options["path"]).name, *key])


def _from_dataset(text: str, split: str | None, seed: int) -> NamedSamples:
    dataset = datasets.make(text)
    name = _short(text)
    if split is None and isinstance(dataset, OwnFile):
        return _whole(dataset, name)
    dataset = dataset.roomy() if isinstance(dataset, PaddedEncoded) else dataset
    splits = dataset.load(rng=Rng(seed))
    chosen = split or "test"
    if chosen == "all":
        source: Source = Concatenated(splits.train, splits.validation, splits.test)
    else:
        source = getattr(splits, chosen)
    code = dataset.code() if isinstance(dataset, Encoded) else None
    return NamedSamples(
        name=f"{name}@{chosen}",
        space=dataset.space,
        source=source,
        splits=splits,
        code=code,
        note="; ".join(splits.notes),
    )


# ----------------------------------------------------------------------------
# What is known of each sample besides: of which subject, prompt or source it is, or of what class.
# ----------------------------------------------------------------------------

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


# ----------------------------------------------------------------------------
# Makes the samples of one set comparable with those of another.
# ----------------------------------------------------------------------------

Change = Callable[[Tensor], Tensor]


@final
class Changed:
    """Another source, every block of which passes through a function.

    Args:
        source: Where the samples are.
        change: What is done to them.
    """

    def __init__(self, source: Source, change: Change) -> None:
        self._source = source
        self._change = change

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where there is none."""
        return self._source.labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._source)

    def take(self, index: Tensor) -> Tensor:
        """Returns the changed samples at ``index``."""
        return self._change(self._source.take(index))


def harmonize(samples: NamedSamples, real: NamedSamples) -> tuple[NamedSamples, str]:
    """Returns ``samples`` as samples of the space of ``real``, and what was done, in words.

    Files that need a code are written in that of ``real``. Grey images where colour is wanted are
    repeated in three channels. Fractions in [0, 1] or [-1, 1] become levels where levels are
    wanted; they are not rounded. What was said of the files of ``samples`` comes first.

    Raises:
        UserError: If they cannot be compared, or images without levels have different ranges.
    """
    found, conversion = _alike(samples, real)
    return found, "; ".join(filter(None, (samples.note, conversion)))


def _alike(samples: NamedSamples, real: NamedSamples) -> tuple[NamedSamples, str]:
    space, wanted = samples.space, real.space
    if not len(samples.source):
        raise UserError(f"{samples.name} holds no samples.")
    if samples.own is not None and real.code is not None:
        source, conversion = samples.own.coded(real.code)
        return replace(samples, space=wanted, source=source, code=real.code), conversion
    if space.shape != wanted.shape:
        return _adapted(samples, real)
    is_ranged = domain_of(space).is_ranged or domain_of(wanted).is_ranged
    if space.levels == wanted.levels is None and is_ranged:
        _check_ranges(samples, real)
    if space == wanted:
        return replace(samples, code=real.code), ""
    if wanted.levels is None:
        if space.levels is None:
            return replace(samples, space=wanted), ""
        raise UserError(
            f"{samples.name} holds {space.label}, {real.name} {wanted.label}. Save both as bytes, "
            "or both as floating point numbers of one range."
        )
    low, high = span(samples.source, space)
    change, conversion = _to_levels(samples.name, space, wanted, low, high)
    return replace(samples, space=wanted, source=Changed(samples.source, change)), conversion


def _check_ranges(samples: NamedSamples, real: NamedSamples) -> None:
    """Refuses images of another usual range: what was forgotten is to scale them.

    Raises:
        UserError: If both fill one of [0, 1], [-1, 1] and [0, 255], and not the same.
    """
    ranges = [span(s.source, s.space) for s in (samples, real)]
    own, its = (_range_of(*r) for r in ranges)
    if own is not None and its is not None and own != its:
        (low, high), (real_low, real_high) = ranges
        raise UserError(
            f"{samples.name} holds numbers from {low:g} to {high:g} as in {own}, {real.name} from "
            f"{real_low:g} to {real_high:g} as in {its}. Bring both to one range, or save both as "
            "bytes."
        )


def _range_of(low: float, high: float) -> str | None:
    """Returns the usual range that images fill, or None.

    Example:
        >>> _range_of(-0.98, 1.0), _range_of(0.01, 0.97), _range_of(0, 254), _range_of(-2, 2)
        ('[-1, 1]', '[0, 1]', '[0, 255]', None)
    """
    if -0.05 <= low <= 0.1 and 0.75 <= high <= 1.05:
        return "[0, 1]"
    if -1.05 <= low <= -0.75 and 0.5 <= high <= 1.05:
        return "[-1, 1]"
    return "[0, 255]" if -10 <= low <= 25 and 64 <= high <= 265 else None


def span(source: Source, space: Space) -> tuple[float, float]:
    """Returns the smallest and the largest number in all samples."""
    low, high = math.inf, -math.inf
    for index in torch.split(torch.arange(len(source)), block_of(space)):
        x = source.take(index)
        low, high = min(low, float(x.min())), max(high, float(x.max()))
    return low, high


def _to_levels(
    name: str, space: Space, wanted: Space, low: float, high: float
) -> tuple[Change, str]:
    top = (wanted.levels or 2) - 1
    range_ = f"{name} holds numbers from {low:g} to {high:g}"
    if space.levels is not None:
        if high <= top:
            return _same, ""
        raise UserError(f"{range_}; levels from 0 to {top} are needed. Save both in one range.")
    if low >= 0 and high <= 1:
        return (lambda x: x * top), f"{range_}, which were read as fractions of {top}"
    if low >= -1 and high <= 1:
        return (lambda x: (x + 1) / 2 * top), f"{range_}; -1 was read as 0 and 1 as {top}"
    if low >= 0 and high <= top:
        return _same, f"{range_}, which were read as levels"
    raise UserError(
        f"{range_}; levels from 0 to {top}, or numbers in [0, 1] or [-1, 1] are needed. Save them "
        "as bytes."
    )


def _same(x: Tensor) -> Tensor:
    return x


def _adapted(samples: NamedSamples, real: NamedSamples) -> tuple[NamedSamples, str]:
    """Returns samples in another shape, where their kind can convert them without loss."""
    space, wanted = samples.space, real.space
    found = domain_of(space).adapted(space, wanted) if space.kind == wanted.kind else None
    if found is not None:
        changed = replace(
            samples,
            space=replace(space, shape=wanted.shape),
            source=Changed(samples.source, found.change),
        )
        again, conversion = _alike(changed, real)
        note = f"{samples.name} {found.note}" if found.note else ""
        return again, "; ".join(filter(None, (note, conversion)))
    held = f"{samples.name} holds {samples.space.label}, {real.name} {real.space.label}."
    if samples.space.kind != real.space.kind:
        raise UserError(f"{held} Give samples of one kind.")
    raise UserError(
        f"{held} Bring them to one size: for a folder, images:path=FOLDER,size=PIXELS or "
        ",colour=grey."
    )
