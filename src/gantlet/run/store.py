"""The run directory, which holds all results.

``run.json`` (configuration and environment), ``log.jsonl`` (events), for each trial
``trials/<key>`` with ``{outcome,clock}.json``, ``{model,samples}.safetensors``, ``curve.jsonl``,
and ``report.json`` and ``report.html``. All but ``run.json``, ``log.jsonl``, ``clock.json`` and
the reports made from clocks repeat bit by bit with the same seed and threads.

Every JSON object holds its own checksum, and an outcome those of all files of its trial, so that
a truncated, changed or exchanged file is never read as a result. Earlier versions had none.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, final
from weakref import finalize

from gantlet.core.errors import UserError
from gantlet.core.estimate import KINDS_IN_WORDS, Failure, Outcome, Trial
from gantlet.core.rng import StorageError
from gantlet.report.json import read_as

if TYPE_CHECKING:
    from torch import Tensor

# ----------------------------------------------------------------------------
# Atomic writes with checksums: a reader never sees a partial or changed file.
# ----------------------------------------------------------------------------

CHECKSUM = "checksum"
"""The key under which a sealed object holds the checksum of all its other keys."""


class DamagedError(UserError):
    """A file is damaged: truncated, changed, or exchanged for another."""


def read_json(path: Path) -> Any:
    """Returns the contents of ``path``.

    Raises:
        DamagedError: If it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not a JSON file that Gantlet wrote: {error}.") from error


def read_sealed(path: Path, *, since: str | None = None) -> dict[str, Any]:
    """Returns the object that ``write_sealed`` wrote, without its checksum.

    What an earlier version wrote has no checksum and is returned as it is.

    Args:
        path: The file.
        since: A key that came with checksums: where it is, there must be one.

    Raises:
        DamagedError: If it is missing, no object, or was changed.
    """
    try:
        found = read_json(path)
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing.") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is not a JSON file that Gantlet wrote: not an object.")
    given = found.pop(CHECKSUM, None)
    was_sealed = given is not None or (since is not None and since in found)
    if was_sealed and given != _checksum(found):
        raise DamagedError(f"{path} is damaged: checksum mismatch.")
    return found


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Atomically writes ``value`` as JSON with a checksum."""
    plain = json.loads(dumps(value, path.name))
    write_json(path, {**plain, CHECKSUM: _checksum(plain)})


def _checksum(value: Any) -> str:
    # Python writes the shortest digits that give a number back: text and checksum repeat.
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of_file(path: Path) -> str:
    """Returns the checksum of a file's content, read in pieces."""
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            found.update(piece)
    return found.hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Atomically writes ``value`` as JSON, safe from a loss of power.

    Raises:
        ValueError: If it holds values that JSON does not support; the message says where.
    """
    # A file name that is not UTF-8 round-trips: its bytes are escapes of JSON too.
    text = dumps(value, path.name) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), durable=True)


def dumps(value: Any, name: str) -> str:
    """Returns ``value`` as JSON text.

    Args:
        value: Plain values.
        name: Where it goes, for the message.

    Raises:
        ValueError: If it holds NaN, infinity, or an object; the message says where.
    """
    try:
        return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError) as error:
        place, what = next(_foreign(value, ""), ("it", str(error)))
        raise ValueError(
            f"{name} cannot be written, {place} is not JSON compliant: {what}"
        ) from error


def _foreign(value: Any, place: str) -> Generator[tuple[str, str]]:
    """Yields the places in ``value`` that JSON cannot hold, and what is there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _foreign(inner, f"{place}/{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _foreign(inner, f"{place}/{i}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield place, str(value)
    elif not isinstance(value, (str, int, bool, type(None))):
        yield place, type(value).__name__


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Atomically writes ``content``.

    Args:
        path: The file.
        content: Its new contents.
        durable: Whether to flush to disk, so that a loss of power loses nothing.
    """
    with draft_of(path, durable=durable) as draft:
        draft.write_bytes(content)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends ``value`` to a file of JSON lines."""
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")


@contextmanager
def draft_of(path: Path, *, durable: bool = False) -> Generator[Path]:
    """Yields a draft beside ``path`` that takes its place if the block ends well.

    Raises:
        StorageError: If the disk is full, or the folder cannot be written; what was there before
            stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            if durable:
                flush_to_disk(draft)
            draft.replace(path)
            if durable:
                flush_to_disk(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink()


def flush_to_disk(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do it, for folders above all: nothing is lost by that.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def drop_drafts(folder: Path) -> None:
    """Removes drafts left behind by killed processes."""
    for file in folder.glob(".*.*"):
        if is_draft(file) and not is_alive(int(file.name.rpartition(".")[2])):
            file.unlink(missing_ok=True)


def is_draft(file: Path) -> bool:
    """Returns whether a name is one that ``draft_of`` gives."""
    writer = file.name.rpartition(".")[2]
    return file.name.startswith(".") and writer.isascii() and writer.isdecimal()


def is_alive(pid: int) -> bool:
    """Returns whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Converts errors in writing ``path`` to one line.

    Raises:
        StorageError: In place of an ``OSError``.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"The disk is full: {path.name} could not be written. Finished trials are safe; "
                "free some space and run the same command again."
            ) from error
        raise StorageError(
            f"{path.parent} cannot be written: {error.strerror or error}. Give another folder."
        ) from error


# ----------------------------------------------------------------------------
# Tensors on disk, without pickle: safetensors, and JSON for the plain values between them.
# ----------------------------------------------------------------------------

_TENSOR = "__tensor__"


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Saves tensors; those that share memory (tied weights) are saved once each."""
    from safetensors.torch import save

    whole = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    # Written by Python: the library's own writer hides from the caller that a disk is full.
    write_bytes(path, save(whole), durable=True)


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Returns the tensors of a file.

    Raises:
        DamagedError: If the file does not exist or has another format.
    """
    if not path.exists():
        raise DamagedError(f"{path} does not exist.")
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        # The library takes names of files in UTF-8 alone: under others it is given the bytes.
        return load_file(path) if _is_utf8(path) else load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(f"{path} is not a whole safetensors file: {error}.") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def save_state(
    path: Path, state: Mapping[str, Any], owner: str = "", files: Mapping[str, str] | None = None
) -> None:
    """Saves a nested state of tensors and plain values as ``path``, beside the one before.

    Two generations are kept, each as tensors and an index with the checksum of both. The index is
    written last; a generation whose halves do not fit together does not count.

    Args:
        path: The files are named after it: ``state.0.safetensors``, ``state.0.json`` and so on.
        state: Tensors and plain values, in dictionaries and lists.
        owner: Owner of the state: that of another is never loaded.
        files: Checksums of files in the same folder on which the state depends.
    """
    tensors: dict[str, Tensor] = {}
    plain = _lift(state, "", tensors)
    generation = max((found for found, _ in _generations(path, str)), default=0) + 1
    index = _index(path, generation)
    file = index.with_suffix(".safetensors")
    save_tensors(file, tensors)
    entry = {"generation": generation, "owner": owner, "tensors": digest_of_file(file)}
    write_sealed(index, {**entry, "files": files or {}, "state": plain})
    # What an earlier version wrote refers to tensors that have been written over by now.
    path.with_suffix(".json").unlink(missing_ok=True)


def load_state(
    path: Path, owner: str = "", warn: Callable[[str], object] = lambda _: None
) -> dict[str, Any] | None:
    """Returns the latest intact state saved by ``save_state``, or None.

    Args:
        path: As for ``save_state``.
        owner: As for ``save_state``.
        warn: Called for each damaged generation.
    """
    for _, index in sorted(_generations(path, warn), reverse=True):
        try:
            return _state_of(path, index, owner)
        except (UserError, LookupError, TypeError, OSError) as error:
            warn(f"the checkpoint {index.name} cannot be used ({error})")
    return None


def drop_state(path: Path) -> None:
    """Removes a saved state."""
    for file in path.parent.glob(f"{path.name}.*"):
        file.unlink()


def _index(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}.{generation % 2}.json")


def _generations(path: Path, warn: Callable[[str], object]) -> list[tuple[int, Path]]:
    """Returns the generations whose index is whole, with that index; one by an earlier version."""
    found: list[tuple[int, Path]] = []
    for file in (_index(path, 0), _index(path, 1), path.with_suffix(".json")):
        if not file.exists():
            continue
        try:
            found.append((int(read_sealed(file, since="tensors")["generation"]), file))
        except (UserError, LookupError, TypeError, ValueError, OSError) as error:
            warn(f"the checkpoint {file.name} cannot be used ({error})")
    return found


def _state_of(path: Path, index: Path, owner: str) -> dict[str, Any]:
    entry = read_sealed(index, since="tensors")
    file = _index(path, int(entry["generation"])).with_suffix(".safetensors")
    if entry.get("owner", owner) != owner:
        raise DamagedError(f"{index} belongs to {entry['owner']}.")
    if "tensors" in entry:
        for name, wanted in {file.name: entry["tensors"], **entry["files"]}.items():
            if digest_of_file(path.with_name(name)) != wanted:
                raise DamagedError(f"{path.with_name(name)} is damaged: checksum mismatch.")
    state: dict[str, Any] = _drop(entry["state"], load_tensors(file))
    return state


def _lift(value: Any, name: str, tensors: "dict[str, Tensor]") -> Any:
    """Moves the tensors of ``value`` into ``tensors`` and returns what is left, for JSON."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        # Keys are kept apart as pairs: optimizers use whole numbers, which JSON would not keep.
        return {"__items__": [[k, _lift(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_lift(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _drop(value: Any, tensors: "Mapping[str, Tensor]") -> Any:
    if isinstance(value, dict) and _TENSOR in value:
        return tensors[value[_TENSOR]]
    if isinstance(value, dict):
        return {k: _drop(v, tensors) for k, v in value["__items__"]}
    if isinstance(value, list):
        return [_drop(v, tensors) for v in value]
    return value


# ----------------------------------------------------------------------------
# The run directory.
# ----------------------------------------------------------------------------

SCHEMA = 2
"""Version of the run format. Runs of schema 1 are read; their scores get their current names."""

# Scores of schema 1, and what they are called now.
_FORMER_SCORES = (
    ("told by a linear critic", "accuracy of a linear critic"),
    ("told by it alone", "accuracy, this flaw only"),
    ("still told", "residual accuracy"),
)

Warn = Callable[[str], object]
"""Callback for warnings to the user."""

_STATE = "state"
_NO_RESULT = (".", f"{_STATE}.")
_OWN = frozenset({"outcome.json", "clock.json"})
_AGAIN = "Run the command of that run again to rebuild it."


@final
@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The folder of one trial.

    Attributes:
        path: Its path; created on first write.
        warn: Called for checkpoints that are damaged or cannot be saved.
    """

    path: Path
    warn: Warn = field(default=lambda _: None, compare=False)
    _known: dict[str, tuple[tuple[int, int], str]] = field(
        default_factory=dict[str, tuple[tuple[int, int], str]], compare=False, repr=False
    )
    _told: set[str] = field(default_factory=set[str], compare=False, repr=False)

    def save(self, name: str, tensors: "Mapping[str, Tensor]") -> None:
        """Saves tensors under ``name``."""
        save_tensors(self.path / f"{name}.safetensors", tensors)

    def load(self, name: str) -> "dict[str, Tensor]":
        """Returns the tensors saved under ``name``.

        Raises:
            DamagedError: If they are not there, or not those of the recorded outcome.
        """
        file = self.path / f"{name}.safetensors"
        self._check(file)
        return load_tensors(file)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Saves what training needs to go on from here, beside what was saved before.

        A state that cannot be saved, such as an object of a plug-in, does not end the training: it
        continues without checkpoints, with a warning.
        """
        try:
            save_state(self.path / _STATE, state, self.path.name, self._digests())
        except UserError:
            raise
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            self.drop_state()
            self._warn(
                f"the training state cannot be saved ({error}); if interrupted, training restarts",
                "saving",
            )

    def load_state(self) -> dict[str, Any] | None:
        """Returns the last intact training state, or None."""

        def warn(text: str) -> None:
            self._warn(f"{text}; an earlier one is used, or training restarts", text)

        return load_state(self.path / _STATE, self.path.name, warn)

    def drop_state(self) -> None:
        """Removes the state of training, which a finished trial no longer needs."""
        drop_state(self.path / _STATE)

    def save_curve(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Saves the course of training, one JSON line for each point."""
        text = "".join(json.dumps(p, allow_nan=False) + "\n" for p in points)
        write_bytes(self.path / "curve.jsonl", text.encode(), durable=True)

    def load_curve(self) -> list[dict[str, Any]]:
        """Returns the course of training, or nothing where none was saved.

        Raises:
            DamagedError: If it is not that of the recorded outcome.
        """
        file = self.path / "curve.jsonl"
        self._check(file)
        if not file.exists():
            return []
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise DamagedError(f"{file} is damaged: {error}. {_AGAIN}") from error

    def record(self, outcome: Outcome) -> None:
        """Writes the outcome of the trial, its clock first: an outcome marks a trial finished.

        Raises:
            ValueError: If a number is not finite, or a value is not plain.
        """
        key, clock = self.path.name, {k: asdict(v) for k, v in outcome.clock.items()}
        kept = asdict(replace(outcome, clock={}, spend=replace(outcome.spend, seconds=0.0)))
        del kept["clock"], kept["spend"]["seconds"]
        kept |= {"key": key, "files": self._digests()}
        dumps(kept, "outcome.json")  # refused before the clock is written
        measured = {"seconds": outcome.spend.seconds, "measured": clock, "key": key}
        write_sealed(self.path / "clock.json", measured)
        write_sealed(self.path / "outcome.json", kept)

    def outcome(self) -> Outcome | None:
        """Returns the recorded outcome, or None where the trial is not finished.

        Raises:
            DamagedError: If it is not as it was written, or is that of another trial.
        """
        if not (self.path / "outcome.json").exists():
            return None
        raw = self._sealed("outcome.json", since="files")
        clock = self._sealed("clock.json", since="key")
        try:
            return _outcome(raw, clock)
        except UserError as error:
            reason = f"{self.path}/outcome.json cannot be read: {error} {_AGAIN}"
            raise DamagedError(reason) from error

    def check(self) -> None:
        """Reads all files of a finished trial and compares them with the recorded outcome.

        Raises:
            DamagedError: If one is missing, or was changed.
        """
        for name in self._sealed("outcome.json", since="files").get("files", {}):
            self._check(self.path / name)

    def clear(self, *, keep_state: bool) -> None:
        """Removes what is recorded of the trial, so that it runs again.

        Args:
            keep_state: Whether training goes on from its last checkpoint, with the snapshots that
                were taken before it.
        """
        # An outcome marks a trial finished, so it goes first.
        files = sorted(self.path.glob("*"), key=lambda f: f.name != "outcome.json")
        for file in files:
            if file.is_file() and (file.name in _OWN or not keep_state):
                with explained(file):
                    file.unlink()

    def _warn(self, text: str, subject: str) -> None:
        """Tells something, once for each subject."""
        if subject not in self._told:
            self._told.add(subject)
            self.warn(text)

    def _sealed(self, name: str, *, since: str) -> dict[str, Any]:
        """Returns one of the trial's two objects."""
        try:
            found = read_sealed(self.path / name, since=since)
        except DamagedError as error:
            raise DamagedError(f"{error} {_AGAIN}") from error
        if found.get("key", self.path.name) != self.path.name:
            raise DamagedError(f"{self.path / name} is that of another trial. {_AGAIN}")
        return found

    def _check(self, file: Path) -> None:
        """Compares a file with the recorded outcome, where there is one that lists it."""
        if not (self.path / "outcome.json").exists():
            return
        wanted = self._sealed("outcome.json", since="files").get("files", {}).get(file.name)
        if wanted is None:
            return
        if not file.exists():
            raise DamagedError(f"{file} is missing. {_AGAIN}")
        if digest_of_file(file) != wanted:
            raise DamagedError(f"{file} is damaged: checksum mismatch. {_AGAIN}")

    def _digests(self) -> dict[str, str]:
        """Returns the checksums of all that was saved, without what training goes on from."""
        files = [f for f in sorted(self.path.glob("*")) if f.is_file() and f.name not in _OWN]
        return {f.name: self._digest(f) for f in files if not f.name.startswith(_NO_RESULT)}

    def _digest(self, file: Path) -> str:
        """Returns the checksum of a file, which is read once."""
        stat = file.stat()
        seen = (stat.st_mtime_ns, stat.st_size)
        if self._known.get(file.name, (None, ""))[0] != seen:
            self._known[file.name] = (seen, digest_of_file(file))
        return self._known[file.name][1]


def _outcome(raw: Mapping[str, Any], clock: Mapping[str, Any]) -> Outcome:
    """Returns the outcome that a trial's two objects hold.

    Raises:
        UserError: If a field is missing, unknown or of another type; says which.
    """
    now = _upgraded(raw)
    spend = {**_mapping(now.get("spend"), "spend"), "seconds": clock.get("seconds", 0.0)}
    return read_as(Outcome, now | {"spend": spend, "clock": clock.get("measured", {})})


def _upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stored outcome of any version in the form of this one.

    Earlier ones recorded in words alone what a failure is, what a note is about, and what a
    likelihood is.
    """
    found = {k: v for k, v in raw.items() if k not in ("key", "files")}
    if "failure" not in found:
        found["failure"] = _failure_of(found.get("error"))
    if isinstance(notes := found.get("notes"), list):
        found["notes"] = [_note(n) if isinstance(n, str) else n for n in notes]
    scores = _mapping(found.get("scores"), "scores")
    found["scores"] = {_score_name(k): _with_kind(k, v) for k, v in scores.items()}
    return found


def _score_name(name: str) -> str:
    """Returns the current name of a score, of which an earlier version may have had another."""
    for old, new in _FORMER_SCORES:
        if name.endswith(old):
            return f"{name.removesuffix(old)}{new}"
    return name


def _mapping(raw: object, name: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise UserError(f"{name} should be an object, but is {raw!r:.60}.")
    return raw


def _with_kind(name: str, raw: Any) -> Any:
    if name != "likelihood" or not isinstance(raw, Mapping) or "kind" in raw:
        return raw
    words = str(raw.get("method")).partition(",")[0]
    return {**raw, "kind": next((k for k, w in KINDS_IN_WORDS.items() if w == words), None)}


def _note(text: str) -> dict[str, str]:
    """Returns a note of an earlier version: a sentence that begins with its topic."""
    if text.startswith("the meter"):
        return {"text": text, "about": "meter"}
    return {"text": text, "about": "features" if text.startswith("features") else "training"}


def _failure_of(error: object) -> Failure | None:
    """Returns the kind of a failure."""
    if error is None:
        return None
    return "diverged" if str(error).startswith("diverged") else "failed"


def folder_of(name: str, question: Mapping[str, Any]) -> Path:
    """Returns the default run directory of a configuration, below ``runs``."""
    text = json.dumps(question, sort_keys=True)
    return Path("runs") / f"{name}-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"


# A look at the lock (``is_held``) is over at once; one that meets it tries again.
_TRIES, _PAUSE = 5, 0.02


@final
class Hold:
    """The lock of a run directory, held until released, garbage collected, or the process ends.

    Args:
        descriptor: Of the open and locked file.
    """

    def __init__(self, descriptor: int) -> None:
        self._close = finalize(self, os.close, descriptor)

    def release(self) -> None:
        """Lets others have the directory; releasing again does nothing."""
        self._close()


def hold(folder: Path) -> Hold | None:
    """Locks a run directory; returns None where another process, or another object, holds it.

    Raises:
        StorageError: If the folder cannot be written.
    """
    path = folder / ".lock"
    with explained(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError:
            os.close(descriptor)
            raise
        else:
            return Hold(descriptor)
    os.close(descriptor)
    return None


def is_held(folder: Path) -> bool:
    """Returns whether a process holds the lock of a run directory; changes nothing.

    Raises:
        OSError: If the lock cannot be read.
    """
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that several may look at the same time.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@final
@dataclass(frozen=True, slots=True)
class Run:
    """A run directory.

    Attributes:
        path: Its path.
    """

    path: Path

    @classmethod
    def create(
        cls, path: Path, question: Mapping[str, Any], facts: Mapping[str, Any] | None = None
    ) -> "Run":
        """Creates the directory, or opens it if it holds the same configuration.

        Args:
            path: The directory.
            question: The resolved configuration: equal configurations share a directory.
            facts: Environment; recorded, not compared.

        Raises:
            UserError: If the directory holds another configuration, or other files.
        """
        asked = json.loads(json.dumps(question))
        with explained(path / "run.json"):
            is_there = (path / "run.json").exists()
            is_foreign = path.is_dir() and not is_there and not _is_remains(path)
        if is_foreign:
            raise UserError(
                f"{path} is not empty and not a run directory of Gantlet. Give another --out."
            )
        if not is_there:
            found = {"schema": SCHEMA, "question": asked, "facts": dict(facts or {})}
            write_sealed(path / "run.json", found)
        elif cls.open(path).question != asked:
            raise UserError(
                f"{path} holds a run with another configuration. Give another --out, or remove it."
            )
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run directory.

        Raises:
            UserError: If it is not one, is damaged, or has a newer schema.
        """
        cls(path).read()
        return cls(path)

    def read(self) -> dict[str, Any]:
        """Returns the contents of ``run.json``.

        Raises:
            UserError: If it is missing, damaged, or has a newer schema.
        """
        file = self.path / "run.json"
        if not file.exists():
            raise UserError(f"{self.path} is not a run directory: it has no run.json.")
        try:
            found = read_sealed(file)
        except DamagedError as error:
            raise DamagedError(
                f"{error} Delete that file and run the same command again: finished trials are "
                "kept."
            ) from error
        if not {"schema", "question", "facts"} <= found.keys():
            raise UserError(f"{file} is not a run that Gantlet wrote. Give another folder.")
        if not isinstance(found["schema"], int) or found["schema"] > SCHEMA:
            raise UserError(f"{self.path} was written by a newer Gantlet. Upgrade to read it.")
        return found

    @property
    def question(self) -> dict[str, Any]:
        """The resolved configuration of the run."""
        return dict(self.read()["question"])

    @property
    def facts(self) -> dict[str, Any]:
        """The environment in which the run was started."""
        return dict(self.read()["facts"])

    def folder(self, trial: Trial, warn: Warn = lambda _: None) -> TrialFolder:
        """Returns the folder of ``trial``; ``warn`` is called for damaged checkpoints."""
        return TrialFolder(self.path / "trials" / trial.key, warn)

    def record(self, outcome: Outcome) -> None:
        """Writes the outcome of a trial."""
        self.folder(outcome.trial).record(outcome)

    def outcome(self, trial: Trial) -> Outcome | None:
        """Returns the recorded outcome of ``trial``, or None.

        Raises:
            DamagedError: If it is not as it was written.
        """
        return self.folder(trial).outcome()

    def outcomes(self) -> Iterator[Outcome]:
        """Yields all that has been recorded, in order of key.

        Raises:
            DamagedError: If an outcome is not as it was written.
        """
        for file in sorted(self.path.glob("trials/*/outcome.json")):
            outcome = TrialFolder(file.parent).outcome()
            if outcome is not None:
                yield outcome

    @contextmanager
    def lock(self) -> Generator[None]:
        """Locks the directory inside the block, after removing stale files.

        Raises:
            UserError: If another process uses it, or it cannot be written.
        """
        held = hold(self.path)
        if held is None:
            raise UserError(f"Another process is using {self.path}. Wait, or give another --out.")
        try:
            with suppress(OSError):
                for folder in (self.path, *self.path.glob("trials/*")):
                    drop_drafts(folder)
            yield
        finally:
            held.release()

    def log(self, event: str, **details: Any) -> None:
        """Appends an event to the log."""
        append_line(self.path / "log.jsonl", {"event": event, **details})


_PARTS = frozenset({"trials", "log.jsonl", ".lock", "report.json", "report.html"})


def _is_remains(path: Path) -> bool:
    """Returns whether a folder is empty, or a run that lost its ``run.json``."""
    names = {f.name for f in path.iterdir() if not is_draft(f)}
    return not names or ("trials" in names and names <= _PARTS)
