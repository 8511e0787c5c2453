"""Finds the samples that a word of the command line means."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch

from gantlet.core.code import Code, Coded, Roomy
from gantlet.core.components import datasets
from gantlet.core.dataset import InMemory, Named, OwnFile, Source, Splits, notes_of
from gantlet.core.errors import UserError, reading
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Spec, quoted
from gantlet.core.trial import REAL
from gantlet.data.cells import read_cells
from gantlet.data.checks import PARSER_ERRORS, finite, is_there
from gantlet.data.folders import holds_sounds
from gantlet.data.graphs import holds_graphs
from gantlet.data.rows import Rows, arranged, space_of
from gantlet.data.splits import Joined
from gantlet.store.kept import kept
from gantlet.store.run import TrialFolder
from gantlet.store.tensors import load_tensors
from gantlet.studies.find import find_trial
from gantlet.studies.sources import source_of

Role = Literal["fake", "real", "train"]

SPLITS = ("train", "validation", "test", "all")

_FILES = {
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".parquet": "csv",
    ".txt": "text",
}
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_SAMPLES = "samples.safetensors"

# A name with one of these signs goes in quotes.
_SIGNS = '=:/\\"@'
_NAMED = re.compile(r'(?:"((?:[^"]|"")+)"|([^=:/\\"]+))=(.+)', re.DOTALL)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
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
    own: Coded | None = None
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


def naming(name: str, where: str) -> str:
    """Returns the word that gives the samples at ``where`` a name, whatever signs it holds.

    Example:
        >>> naming("lr=0.1", "runs/a.npz")
        '"lr=0.1"=runs/a.npz'
    """
    return f"{quoted(name, _SIGNS)}={where}"


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
    """Returns what a set without a name is called: what was written, options but the key cut."""
    if ":path=" not in text:
        return text
    where, at, split = text.rpartition("@")
    return f"{_short(where)}@{split}" if at and split in SPLITS else _short(text)


def find_samples(text: str, role: Role, *, data_seed: int = 0, skip_bad: int = 0) -> Samples:
    """Returns the samples that ``text`` means.

    A folder of images or of sounds; a file of arrays (npz, npy, csv, safetensors, idx), of rows
    (csv), lines (txt), graphs (npz) or sounds (tar); ``RUN@MODEL``, the samples of a trained
    model, or the folder of its trial; or a data set in written form, perhaps followed by
    ``@train``, ``@validation``, ``@test`` or ``@all``. Files are taken whole and in their order;
    of a data set the test split unless it is the training that is wanted.
    ``NAME=WHERE`` gives any of them a name. A path that exists is taken as a path, whatever signs
    it holds. Of a folder, up to ``skip_bad`` files that cannot be read are left out.

    Raises:
        UserError: If there are no such samples, or they cannot be read.
    """
    name, where = named(text)
    with reading(where, only=PARSER_ERRORS):
        found = _kept(where, name) or _find(_lenient(where, skip_bad), role, data_seed)
    return found if name == where else replace(found, name=name)


def _kept(where: str, name: str) -> Samples | None:
    """Returns samples that were given as a Python object, or None where ``where`` is none."""
    found = kept(where, name)
    if found is None:
        return None
    if found.kind == "table":
        return replace(_from_table(found.path, name), note=found.note)
    array = finite(arranged(np.load(found.path, mmap_mode="r"), "auto", name), name)
    return Samples(
        name=name, space=space_of(array, None, name), source=Rows(array), note=found.note
    )


def _from_table(path: Path, name: str) -> Samples:
    """Returns a table that was given as a Python object; messages call it by its name."""
    try:
        return _from_file(_kind_of(path) or "table", "path", path, name)
    except UserError as error:
        raise UserError(str(error).replace(str(path), name).replace(path.name, name)) from error


def _lenient(where: str, skip: int) -> str:
    """Returns what means the same samples, less up to ``skip`` files that cannot be read."""
    path = Path(where).expanduser()
    if not skip:
        return where
    if path.is_dir() and not any((path / name).exists() for name in ("run.json", _SAMPLES)):
        kind = "audio" if holds_sounds(path) else "images"
        return str(Spec(kind, {"path": where, "skip_bad": str(skip)}))
    head, at, split = where.rpartition("@")
    text, split = (head, f"@{split}") if at and split in SPLITS else (where, "")
    if re.match(r"(images|audio):", text) and "skip_bad=" not in text:
        return f"{text},skip_bad={skip}{split}"
    return where


def _ending(path: Path) -> str:
    """Returns the ending of a file in small letters, with that of what is packed."""
    return "".join(path.suffixes[-2:]).lower() if path.suffix == ".gz" else path.suffix.lower()


def _find(text: str, role: Role, data_seed: int) -> Samples:
    for path in (Path(text), Path(os.path.expanduser(text))):  # noqa: PTH111  (never raises)
        if text and os.path.lexists(path):
            return _from_path(path, text)
    head, at, tail = text.rpartition("@")
    run = Path(os.path.expanduser(head))  # noqa: PTH111  (never raises)
    if at and os.path.lexists(run / "run.json"):
        return _from_run(run, tail, text)
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
    is_there(path)  # a folder that is closed, or a name that is too long, has its own reason
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


def _from_path(path: Path, text: str) -> Samples:
    if not is_there(path):
        raise UserError(f"{text} is a link to something that does not exist. Mend it.")
    if path.is_dir():
        return _from_folder(path, text)
    if path.suffix.lower() == ".safetensors":
        return _tensors(path, text)
    if path.name.lower().endswith(_ARCHIVES):
        return _from_file("audio", "path", path, path.name)
    kind = _kind_of(path)
    if kind is not None:
        return _from_file(kind, "path", path, path.name)
    if re.search(r"ubyte(\.gz)?$", path.name):
        return _from_file("idx", "images", path, path.name)
    known = ", ".join((*_FILES, ".safetensors"))
    raise UserError(
        f"{path} is of no known kind. Give a folder of images or sound files, a file that ends in "
        f"{known}, .tar(.gz) or ubyte(.gz), a run or a data set."
    )


def _kind_of(path: Path) -> str | None:
    """Returns the data set that reads a file, by its name and, where that is not enough, by it."""
    kind = _FILES.get(_ending(path))
    if kind == "csv" and not read_cells(path).is_numeric:
        return "table"
    return "graphs" if kind == "npz" and holds_graphs(path) else kind


def _from_folder(path: Path, text: str) -> Samples:
    if (path / "run.json").exists():
        return _from_run(path, "", text)
    if (path / _SAMPLES).exists():
        return _from_trial(path, text)
    kind = "audio" if holds_sounds(path) else "images"
    return _from_file(kind, "path", path, path.name)


def _from_file(kind: str, option: str, path: Path, name: str) -> Samples:
    """Returns the samples of a file; its path never passes through the grammar."""
    # A name that begins with a tilde would be taken for somebody's home.
    where = str(path.absolute() if str(path).startswith("~") else path)
    found = datasets.load(kind)(**{option: where})
    if not isinstance(found, OwnFile):
        raise UserError(f"{path} is no file of samples.")
    # The files are read first: what is wrong with them is told in their own words.
    return _whole(found, name)


def _whole(found: OwnFile, name: str) -> Samples:
    """Returns all samples of the user's files in their order."""
    found = found.roomy() if isinstance(found, Roomy) else found
    source = found.whole()
    own = found if isinstance(found, Coded) else None
    code = None if own is None else own.code()
    return Samples(
        name=name,
        space=found.space,
        source=source,
        code=code,
        own=own,
        note="; ".join(notes_of(source)),
        names=source.names if isinstance(source, Named) else (),
    )


def _from_run(path: Path, model: str, text: str) -> Samples:
    """Returns the samples of a trial, named as ``MODEL`` or ``MODEL#SEED``."""
    name, _, seed = model.partition("#")
    if seed and not seed.isdigit():
        raise UserError(f"The seed in {text} must be a whole number. Got {seed!r}.")
    trial, folder = find_trial(path, name or None, int(seed or 0))
    space, splits = source_of(trial)
    x = folder.load("samples")["samples"]
    return Samples(name=text, space=space, source=InMemory(x), splits=splits)


def _from_trial(path: Path, text: str) -> Samples:
    outcome = TrialFolder(path).outcome()
    if outcome is None or outcome.trial.parts["model"] == REAL:
        return _tensors(path / _SAMPLES, text)
    space, splits = source_of(outcome.trial)
    x = TrialFolder(path).load("samples")["samples"]
    return Samples(name=text, space=space, source=InMemory(x), splits=splits)


def _tensors(path: Path, text: str) -> Samples:
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
    return Samples(name=text, space=space, source=InMemory(torch.from_numpy(array)))


def _short(text: str) -> str:
    """Returns a data set as people name it: by its file and key, where it is one."""
    options = Spec.parse(text).options
    if "path" not in options:
        return datasets.short(text)
    key = [options["key"]] if "key" in options else []
    return ", ".join([Path(options["path"]).name, *key])


def _from_dataset(text: str, split: str | None, seed: int) -> Samples:
    dataset = datasets.make(text)
    name = _short(text)
    if split is None and isinstance(dataset, OwnFile):
        return _whole(dataset, name)
    dataset = dataset.roomy() if isinstance(dataset, Roomy) else dataset
    splits = dataset.load(rng=Rng(seed))
    chosen = split or "test"
    if chosen == "all":
        source: Source = Joined(splits.train, splits.validation, splits.test)
    else:
        source = getattr(splits, chosen)
    code = dataset.code() if isinstance(dataset, Coded) else None
    return Samples(
        name=f"{name}@{chosen}",
        space=dataset.space,
        source=source,
        splits=splits,
        code=code,
        note="; ".join(splits.notes),
    )
