"""The run folder: the only place where results live.

``run.json`` (the question and where it was asked), ``log.jsonl`` (what happened), for each trial
``trials/<key>`` with ``{outcome,clock}.json``, ``{model,samples}.safetensors``, ``curve.jsonl``,
and ``report.json`` and ``report.html``. All but ``run.json``, ``log.jsonl``, ``clock.json`` and
the reports made from clocks repeat bit by bit with the same seed and threads.

Every JSON object holds its own checksum, and an outcome those of all files of its trial, so that
what was cut, changed or exchanged is never read as a result. Runs of earlier versions have none.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from gantlet.core.budget import Budget, Spend
from gantlet.core.errors import UserError
from gantlet.core.estimate import KINDS_IN_WORDS, Estimate
from gantlet.core.trial import Failure, Note, Outcome, Trial
from gantlet.store.files import (
    DamagedError,
    append_line,
    digest_of_file,
    drop_drafts,
    dumps,
    explained,
    is_draft,
    read_sealed,
    write_bytes,
    write_sealed,
)
from gantlet.store.tensors import drop_state, load_state, load_tensors, save_state, save_tensors

SCHEMA = 1


Warn = Callable[[str], object]
"""Told what a user should know, in words."""

_STATE = "state"
_NO_RESULT = (".", f"{_STATE}.")
_OWN = frozenset({"outcome.json", "clock.json"})
_AGAIN = "Run the command of that run again to make it anew."


@final
@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The folder of one trial.

    Attributes:
        path: Where it is; made when first written to.
        warn: Told of checkpoints that are damaged or cannot be saved.
    """

    path: Path
    warn: Warn = field(default=lambda _: None, compare=False)
    _known: dict[str, tuple[tuple[int, int], str]] = field(
        default_factory=dict[str, tuple[tuple[int, int], str]], compare=False, repr=False
    )
    _told: set[str] = field(default_factory=set[str], compare=False, repr=False)

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Saves tensors under ``name``."""
        save_tensors(self.path / f"{name}.safetensors", tensors)

    def load(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors saved under ``name``.

        Raises:
            DamagedError: If they are not there, or not those of the recorded outcome.
        """
        file = self.path / f"{name}.safetensors"
        self._check(file)
        return load_tensors(file)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Saves what training needs to go on from here, beside what was saved before.

        What cannot be saved, such as an object of a plug-in, is no reason to end a training: it
        goes on without checkpoints, and says so.
        """
        try:
            save_state(self.path / _STATE, state, self.path.name, self._digests())
        except UserError:
            raise
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            self.drop_state()
            self._warn(
                f"the state of training cannot be saved ({error}); interrupted, it begins again",
                "saving",
            )

    def load_state(self) -> dict[str, Any] | None:
        """Returns the last state of training that is whole, or None where training begins."""

        def warn(text: str) -> None:
            self._warn(f"{text}; an earlier one is taken, or training begins again", text)

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
            ValueError: If a number is not finite, or something is no plain value.
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
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            told = f"{self.path}/outcome.json cannot be read as an outcome ({error}). {_AGAIN}"
            raise DamagedError(told) from error

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
            raise DamagedError(f"{file} is damaged: its checksum is another. {_AGAIN}")

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
    was, error = raw["trial"], raw["error"]
    return Outcome(
        trial=Trial(parts=was["parts"], budget=Budget(**was["budget"]), seed=was["seed"]),
        spend=Spend(**raw["spend"], seconds=clock["seconds"]),
        scores={k: _estimate(k, v) for k, v in raw["scores"].items()},
        clock={k: Estimate(**v) for k, v in clock["measured"].items()},
        notes=tuple(map(_note, raw["notes"])),
        details=raw.get("details", {}),
        error=error,
        failure=raw["failure"] if "failure" in raw else _failure_of(error),
    )


def _estimate(name: str, raw: Mapping[str, Any]) -> Estimate:
    """Returns an estimate, and its kind where an earlier version recorded that in words alone."""
    found = Estimate(**raw)
    if "kind" in raw or name != "likelihood":
        return found
    words = str(raw["method"]).partition(",")[0]
    return replace(found, kind=next((k for k, w in KINDS_IN_WORDS.items() if w == words), None))


def _note(raw: str | Mapping[str, Any]) -> Note:
    """Returns a note; one of an earlier version is a sentence that begins with its topic."""
    if not isinstance(raw, str):
        return Note(**raw)
    if raw.startswith("the meter"):
        return Note(raw, "meter")
    return Note(raw, "features" if raw.startswith("features") else "training")


def _failure_of(error: str | None) -> Failure | None:
    """Returns the kind of a failure that an earlier version recorded in words alone."""
    if error is None:
        return None
    return "diverged" if error.startswith("diverged") else "failed"


def folder_of(name: str, question: Mapping[str, Any]) -> Path:
    """Returns the folder for a question where none was given, below ``runs``."""
    text = json.dumps(question, sort_keys=True)
    return Path("runs") / f"{name}-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder.

    Attributes:
        path: Where it is.
    """

    path: Path

    @classmethod
    def create(
        cls, path: Path, question: Mapping[str, Any], facts: Mapping[str, Any] | None = None
    ) -> "Run":
        """Makes the folder, or opens it if it holds the same question.

        Args:
            path: The folder.
            question: What is asked, resolved: equal questions share a folder.
            facts: Where and with what it is asked; recorded, not compared.

        Raises:
            UserError: If the folder holds another question, or something else.
        """
        asked = json.loads(json.dumps(question))
        with explained(path / "run.json"):
            is_there = (path / "run.json").exists()
            is_foreign = path.is_dir() and not is_there and not _is_remains(path)
        if is_foreign:
            raise UserError(f"{path} is not empty and no run of Gantlet. Give another --out.")
        if not is_there:
            found = {"schema": SCHEMA, "question": asked, "facts": dict(facts or {})}
            write_sealed(path / "run.json", found)
        elif cls.open(path).question != asked:
            raise UserError(
                f"{path} holds the run of another question. Give another --out, or remove it."
            )
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run folder.

        Raises:
            UserError: If it is none, is damaged, or of a newer schema.
        """
        cls(path).read()
        return cls(path)

    def read(self) -> dict[str, Any]:
        """Returns what ``run.json`` holds.

        Raises:
            UserError: If there is none, it is damaged, or of a newer schema.
        """
        file = self.path / "run.json"
        if not file.exists():
            raise UserError(f"{self.path} is no run folder: it has no run.json.")
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
        """The question that the run answers, resolved."""
        return dict(self.read()["question"])

    @property
    def facts(self) -> dict[str, Any]:
        """Where and with what the question was first asked."""
        return dict(self.read()["facts"])

    def folder(self, trial: Trial, warn: Warn = lambda _: None) -> TrialFolder:
        """Returns the folder of ``trial``, which tells ``warn`` of damaged checkpoints."""
        return TrialFolder(self.path / "trials" / trial.key, warn)

    def record(self, outcome: Outcome) -> None:
        """Writes the outcome of a trial."""
        self.folder(outcome.trial).record(outcome)

    def outcome(self, trial: Trial) -> Outcome | None:
        """Returns what is recorded of ``trial``, or None.

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
        """Keeps other processes out of the folder inside the block, and clears up first.

        Raises:
            UserError: If another process is at work in it, or it cannot be written.
        """
        lock = self.path / ".lock"
        with ExitStack() as stack:
            with explained(lock):
                file = stack.enter_context(lock.open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another process is at work in {self.path}. Wait, or give another --out."
                ) from error
            with suppress(OSError):
                for folder in (self.path, *self.path.glob("trials/*")):
                    drop_drafts(folder)
            yield

    def log(self, event: str, **details: Any) -> None:
        """Appends an event to the log."""
        append_line(self.path / "log.jsonl", {"event": event, **details})


_PARTS = frozenset({"trials", "log.jsonl", ".lock", "report.json", "report.html"})


def _is_remains(path: Path) -> bool:
    """Returns whether a folder is empty, or a run that lost its ``run.json``."""
    names = {f.name for f in path.iterdir() if not is_draft(f)}
    return not names or ("trials" in names and names <= _PARTS)
