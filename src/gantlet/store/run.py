"""The run folder: the only place where results live.

``run.json`` (the question and where it was asked), ``log.jsonl`` (what happened), for each trial
``trials/<key>`` with ``{outcome,clock}.json``, ``{model,samples}.safetensors``, ``curve.jsonl``,
and ``report.json`` and ``report.html``. All but ``run.json``, ``log.jsonl``, ``clock.json`` and
the reports made from clocks repeat bit by bit with the same seed and threads.
"""

import fcntl
import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from gantlet.core.budget import Budget, Spend
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.trial import Outcome, Trial
from gantlet.store.files import append_line, read_json, write_bytes, write_json
from gantlet.store.tensors import drop_state, load_state, load_tensors, save_state, save_tensors

SCHEMA = 1


@final
@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The folder of one trial.

    Attributes:
        path: Where it is; made when first written to.
    """

    path: Path

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Saves tensors under ``name``."""
        save_tensors(self.path / f"{name}.safetensors", tensors)

    def load(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors saved under ``name``."""
        return load_tensors(self.path / f"{name}.safetensors")

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Saves what training needs to go on from here."""
        save_state(self.path / "state", state)

    def load_state(self) -> dict[str, Any] | None:
        """Returns the last saved state of training, or None."""
        return load_state(self.path / "state")

    def drop_state(self) -> None:
        """Removes the state of training, which a finished trial no longer needs."""
        drop_state(self.path / "state")

    def save_curve(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Saves the course of training, one JSON line for each point."""
        text = "".join(json.dumps(p, allow_nan=False) + "\n" for p in points)
        write_bytes(self.path / "curve.jsonl", text.encode())

    def load_curve(self) -> list[dict[str, Any]]:
        """Returns the course of training, or nothing where none was saved."""
        file = self.path / "curve.jsonl"
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def record(self, outcome: Outcome) -> None:
        """Writes the outcome of the trial, its clock first: an outcome marks a trial finished."""
        clock = {k: asdict(v) for k, v in outcome.clock.items()}
        write_json(self.path / "clock.json", {"seconds": outcome.spend.seconds, "measured": clock})
        kept = asdict(replace(outcome, clock={}, spend=replace(outcome.spend, seconds=0.0)))
        del kept["clock"], kept["spend"]["seconds"]
        write_json(self.path / "outcome.json", kept)

    def outcome(self) -> Outcome | None:
        """Returns the recorded outcome, or None where the trial is not finished."""
        file = self.path / "outcome.json"
        if not file.exists():
            return None
        raw, clock = read_json(file), read_json(self.path / "clock.json")
        was = raw["trial"]
        return Outcome(
            trial=Trial(parts=was["parts"], budget=Budget(**was["budget"]), seed=was["seed"]),
            spend=Spend(**raw["spend"], seconds=clock["seconds"]),
            scores={k: Estimate(**v) for k, v in raw["scores"].items()},
            clock={k: Estimate(**v) for k, v in clock["measured"].items()},
            notes=tuple(raw["notes"]),
            details=raw.get("details", {}),
            error=raw["error"],
        )


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
        if (path / "run.json").exists():
            if cls.open(path).question != asked:
                raise UserError(
                    f"{path} holds the run of another question. Give another --out, or remove it."
                )
        elif path.is_dir() and any(path.iterdir()):
            raise UserError(f"{path} is not empty and no run of Gantlet. Give another --out.")
        else:
            found = {"schema": SCHEMA, "question": asked, "facts": dict(facts or {})}
            write_json(path / "run.json", found)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run folder.

        Raises:
            UserError: If it is none, or of a newer schema.
        """
        file = path / "run.json"
        if not file.exists():
            raise UserError(f"{path} is no run folder: it has no run.json.")
        found = read_json(file)
        if not isinstance(found, dict) or not {"schema", "question", "facts"} <= found.keys():
            raise UserError(f"{file} is not a run that Gantlet wrote. Give another folder.")
        if found["schema"] > SCHEMA:
            raise UserError(f"{path} was written by a newer Gantlet. Upgrade to read it.")
        return cls(path)

    @property
    def question(self) -> dict[str, Any]:
        """The question that the run answers, resolved."""
        return dict(read_json(self.path / "run.json")["question"])

    @property
    def facts(self) -> dict[str, Any]:
        """Where and with what the question was first asked."""
        return dict(read_json(self.path / "run.json")["facts"])

    def folder(self, trial: Trial) -> TrialFolder:
        """Returns the folder of ``trial``."""
        return TrialFolder(self.path / "trials" / trial.key)

    def record(self, outcome: Outcome) -> None:
        """Writes the outcome of a trial."""
        self.folder(outcome.trial).record(outcome)

    def outcome(self, trial: Trial) -> Outcome | None:
        """Returns what is recorded of ``trial``, or None."""
        return self.folder(trial).outcome()

    def outcomes(self) -> Iterator[Outcome]:
        """Yields all that has been recorded, in order of key."""
        for file in sorted(self.path.glob("trials/*/outcome.json")):
            outcome = TrialFolder(file.parent).outcome()
            if outcome is not None:
                yield outcome

    @contextmanager
    def lock(self) -> Generator[None]:
        """Keeps other processes out of the folder inside the block.

        Raises:
            UserError: If another process is at work in it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another process is at work in {self.path}. Wait, or give another --out."
                ) from error
            yield

    def log(self, event: str, **details: Any) -> None:
        """Appends an event to the log."""
        append_line(self.path / "log.jsonl", {"event": event, **details})
