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
from gantlet.core.errors import UserError, input_errors
from gantlet.core.estimate import REAL, Trial
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, options, quote
from gantlet.data.splits import (
    PARSER_ERRORS,
    ArraySplit,
    Concatenated,
    arranged,
    finite,
    path_exists,
    space_of,
)
from gantlet.domains.domains import adapted_to, domain_of, domains, ending, reader_of
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
    # Made data have no files to write again, but may know what their numbers stand for.
    code = dataset.code() if isinstance(dataset, Encoded) else splits.code
    return NamedSamples(
        name=f"{name}@{chosen}",
        space=dataset.space,
        source=source,
        splits=splits,
        code=code,
        note="; ".join(splits.notes),
    )


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
            return replace(samples, space=wanted, code=real.code), ""
        raise UserError(
            f"{samples.name} holds {space.label}, {real.name} {wanted.label}. Save both as bytes, "
            "or both as floating point numbers of one range."
        )
    low, high = span(samples.source, space)
    change, conversion = _to_levels(samples.name, space, wanted, low, high)
    source = Changed(samples.source, change)
    return replace(samples, space=wanted, source=source, code=real.code), conversion


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
    found = adapted_to(space, wanted)
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
    if samples.space.kind == "image":
        raise UserError(
            f"{held} Bring them to one size: for a folder, images:path=FOLDER,size=PIXELS or "
            ",colour=grey."
        )
    raise UserError(
        f"{held} Give both in files of one kind, or an array of samples of that shape."
    )
