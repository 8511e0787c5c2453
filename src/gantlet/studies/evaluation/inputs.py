"""Finds the samples that a word of the command line means."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import torch

from gantlet.core.code import Code, Coded
from gantlet.core.components import datasets
from gantlet.core.dataset import InMemory, OwnFile, Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Spec
from gantlet.data.cells import read_cells
from gantlet.data.graphs import holds_graphs
from gantlet.data.rows import arranged, space_of
from gantlet.data.sounds import sound_files
from gantlet.data.splits import Joined
from gantlet.store.run import TrialFolder
from gantlet.store.tensors import load_tensors
from gantlet.studies.contest import REAL
from gantlet.studies.find import find_trial
from gantlet.studies.sources import source_of

Role = Literal["fake", "real", "train"]

SPLITS = ("train", "validation", "test", "all")

_FILES = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".txt": "text"}
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_SAMPLES = "samples.safetensors"


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
    """

    name: str
    space: Space
    source: Source
    splits: Splits | None = None
    code: Code | None = None
    own: Coded | None = None


def named(text: str) -> tuple[str, str]:
    """Returns the name of a set and where it is; ``NAME=WHERE`` gives it a name.

    A file with options is called by its file and key.

    Example:
        >>> named("mine=runs/a.npz"), named("npz:path=runs/a.npz,key=x")
        (('mine', 'runs/a.npz'), ('a.npz, x', 'npz:path=runs/a.npz,key=x'))
    """
    found = re.fullmatch(r"([^=:/\\]+)=(.+)", text)
    return (_by_file(text), text) if found is None else (found[1], found[2])


def _by_file(text: str) -> str:
    """Returns what a set without a name is called: what was written, options but the key cut."""
    if ":path=" not in text:
        return text
    where, at, split = text.rpartition("@")
    return f"{_short(where)}@{split}" if at and split in SPLITS else _short(text)


def find_samples(text: str, role: Role, *, data_seed: int = 0) -> Samples:
    """Returns the samples that ``text`` means.

    A folder of images or of sounds; a file of arrays (npz, npy, csv, safetensors, idx), of rows
    (csv), lines (txt), graphs (npz) or sounds (tar); ``RUN@MODEL``, the samples of a trained
    model, or the folder of its trial; or a data set in written form, perhaps followed by
    ``@train``, ``@validation``, ``@test`` or ``@all``. Files are taken whole and in their order;
    of a data set the test split unless it is the training that is wanted.
    ``NAME=WHERE`` gives any of them a name.

    Raises:
        UserError: If there are no such samples.
    """
    name, where = named(text)
    found = _find(where, role, data_seed)
    return found if name == where else replace(found, name=name)


def _find(text: str, role: Role, data_seed: int) -> Samples:
    path = Path(text).expanduser()
    if path.exists():
        return _from_path(path, text)
    head, at, tail = text.rpartition("@")
    if at and (Path(head).expanduser() / "run.json").exists():
        return _from_run(Path(head).expanduser(), tail, text)
    if at and tail in SPLITS:
        return _from_dataset(head, tail, data_seed)
    if ":" not in text and ("/" in text or path.suffix in _FILES):
        raise UserError(f"{text} does not exist. Give a folder, a file, a run or a data set.")
    return _from_dataset(text, None if role != "train" else "train", data_seed)


def _from_path(path: Path, text: str) -> Samples:
    if path.is_dir():
        return _from_folder(path, text)
    if path.suffix == ".safetensors":
        return _tensors(path, text)
    if path.name.endswith(_ARCHIVES):
        return _from_file(f"audio:path={path}", path.name)
    kind = _kind_of(path)
    if kind is not None:
        return _from_file(f"{kind}:path={path}", path.name)
    if re.search(r"ubyte(\.gz)?$", path.name):
        return _from_file(f"idx:images={path}", path.name)
    known = ", ".join((*_FILES, ".safetensors"))
    raise UserError(
        f"{path} is of no known kind. Give a folder of images or wav files, a file that ends in "
        f"{known}, .tar(.gz) or ubyte(.gz), a run or a data set."
    )


def _kind_of(path: Path) -> str | None:
    """Returns the data set that reads a file, by its name and, where that is not enough, by it."""
    kind = _FILES.get(path.suffix)
    if kind == "csv" and not read_cells(path).is_numeric:
        return "table"
    return "graphs" if kind == "npz" and holds_graphs(path) else kind


def _from_folder(path: Path, text: str) -> Samples:
    if (path / "run.json").exists():
        return _from_run(path, "", text)
    if (path / _SAMPLES).exists():
        return _from_trial(path, text)
    kind = "audio" if sound_files(path) else "images"
    return _from_file(f"{kind}:path={path}", path.name)


def _from_file(spec: str, name: str) -> Samples:
    found = datasets.make(spec)
    if not isinstance(found, OwnFile):
        raise UserError(f"{spec} is no file of samples.")
    # The files are read first: what is wrong with them is told in their own words.
    return _whole(found, name)


def _whole(found: OwnFile, name: str) -> Samples:
    """Returns all samples of the user's files in their order."""
    source = found.whole()
    own = found if isinstance(found, Coded) else None
    code = None if own is None else own.code()
    return Samples(name=name, space=found.space, source=source, code=code, own=own)


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
    array = arranged(x.float().numpy() if x.is_floating_point() else x.numpy(), "auto", str(path))
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
    splits = dataset.load(rng=Rng(seed))
    chosen = split or "test"
    if chosen == "all":
        source: Source = Joined(splits.train, splits.validation, splits.test)
    else:
        source = getattr(splits, chosen)
    code = dataset.code() if isinstance(dataset, Coded) else None
    return Samples(
        name=f"{name}@{chosen}", space=dataset.space, source=source, splits=splits, code=code
    )
