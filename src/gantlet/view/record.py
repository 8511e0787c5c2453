"""One run as its folder shows it: question, state, progress, headline, time and cost.

Nothing here imports torch, and of large files only the fields that are shown are parsed.
"""

import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast, final, get_args

from gantlet.core.errors import UserError, printable
from gantlet.run.store import DamagedError, Run, is_held, read_sealed
from gantlet.view.scan import relative
from gantlet.view.words import in_words, settings

State = Literal["running", "finished", "failed", "stopped", "damaged"]
STATES: tuple[State, ...] = get_args(State)

# A report above this is not read: none that Gantlet writes comes near it.
_MOST_BYTES = 200_000_000
# Of a longer log only the end is read.
MOST_LOG = 4_000_000


class ForeignError(UserError):
    """A folder holds files of the names that Gantlet uses, written by something else."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run, as it is listed.

    Attributes:
        name: Path of its folder below the one that is shown.
        command: The command, or "?".
        question: Command and data in words.
        state: Running: a process holds its lock. Finished: its report is there. Failed: it ended
            with an error, or trials of it failed. Stopped: no process holds it, and its report or
            trials are missing. Damaged: a file is truncated or changed.
        why: What the state rests on, a clause.
        done: Trials done; of a watched training, its step.
        total: Number of all trials, or None where it is not known.
        unit: What ``done`` counts: "trials" or "steps".
        failed: Trials that failed, diverged ones included.
        headline: First sentence of the report, or empty.
        started: Time of the first start, ISO 8601 with its zone, or empty.
        seconds: Wall time of its sessions that ended, or None where it was not recorded.
        since: Start of the session that runs, in seconds since 1970, or None.
        cpu: CPU seconds, or None where they were not recorded.
        scope: What ``cpu`` and ``seconds`` leave out, a clause, or empty.
        flops: Operations spent in training, or None where none were metered.
        page: Whether there is a page of its report.
        settings: Every setting as text, by its path.
    """

    name: str
    command: str = "?"
    question: str = ""
    state: State = "damaged"
    why: str = ""
    done: int = 0
    total: int | None = None
    unit: Literal["trials", "steps"] = "trials"
    failed: int = 0
    headline: str = ""
    started: str = ""
    seconds: float | None = None
    since: float | None = None
    cpu: float | None = None
    scope: str = ""
    flops: float | None = None
    page: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    def elapsed(self, now: float | None = None) -> float | None:
        """Returns wall seconds up to now (in seconds since 1970), or None."""
        if self.since is None:
            return self.seconds
        running = max(0.0, (time.time() if now is None else now) - self.since)
        return (self.seconds or 0.0) + running


# ----------------------------------------------------------------------------
# Fields of a large JSON file, without parsing all of it.
# ----------------------------------------------------------------------------

_HEAD = ("command", "question", "spend", "verdicts", "running", "step", "looks", "cost")

# What a field of the object itself begins with, where Gantlet wrote it.
_FIELD = b'\n  "'


def read_fields(file: Path, names: Sequence[str], *, check: bool = False) -> dict[str, Any]:
    """Returns some fields of a JSON object that Gantlet wrote.

    Gantlet indents its files, so that a field of the object itself stands at the start of a line
    and no text inside can look like one. A file in another layout is parsed whole.

    Args:
        file: The file.
        names: The fields; those that are not there are left out.
        check: Whether the checksum is compared, which takes three times as long.

    Raises:
        DamagedError: If it ends early, is not an object, or fails the check.
    """
    if check:
        found = read_sealed(file)
        return {name: found[name] for name in names if name in found}
    content = _content(file)
    try:
        if not content.startswith(b"{" + _FIELD):
            return _whole(file, content, names)
        found = {name: _field(content, name) for name in names}
        return {name: json.loads(value.decode()) for name, value in found.items() if value}
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{file.name} is not a JSON file that Gantlet wrote") from error


def _field(content: bytes, name: str) -> bytes:
    """Returns a field of an indented object, not parsed; empty where it has none."""
    mark = _FIELD + f'{name}": '.encode()
    start = content.find(mark)
    if start < 0:
        return b""
    start += len(mark)
    end = content.find(_FIELD, start)
    if end < 0:
        return content[start:].rstrip().removesuffix(b"}")
    return content[start:end].rstrip().removesuffix(b",")


def _content(file: Path) -> bytes:
    """Returns the bytes of a file that ends as an object does."""
    if file.stat().st_size > _MOST_BYTES:
        raise DamagedError(f"{file.name} is larger than {_MOST_BYTES / 1e6:.0f} MB")
    content = file.read_bytes()
    if not content[-100:].rstrip().endswith(b"}"):
        raise DamagedError(f"{file.name} ends early")
    return content


def _whole(file: Path, content: bytes, names: Sequence[str]) -> dict[str, Any]:
    found = json.loads(content.decode())
    if not isinstance(found, dict):
        raise DamagedError(f"{file.name} is not an object")
    return {name: found[name] for name in names if name in found}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def finite(value: object) -> float | None:
    """Returns a number, or None for anything else and for one that is not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


# ----------------------------------------------------------------------------
# The log: sessions, how they ended and what they took.
# ----------------------------------------------------------------------------


@final
@dataclass(slots=True)
class Sessions:
    """What the log of a run says.

    Attributes:
        trials: Number of trials of the last session, or None for logs of earlier versions.
        todo: Trials that were to be run in the last session.
        finished: Keys of trials that ended in it.
        started: Time of the first start, or empty.
        last: Time of the last start, or empty.
        how: How the last session ended, or empty where it did not record its end.
        seconds: Wall seconds of sessions that recorded their end.
        cpu: CPU seconds of sessions that recorded their end.
        ended: Number of sessions that recorded their end.
        count: Number of sessions.
        is_cut: Whether the log is so long that its first sessions were not read.
    """

    trials: int | None = None
    todo: int = 0
    finished: set[str] = field(default_factory=set[str])
    started: str = ""
    last: str = ""
    how: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    ended: int = 0
    count: int = 0
    is_cut: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Takes the next event of the log."""
        match event.get("event"):
            case "started":
                self._start(event)
            case "finished":
                self.finished.add(str(event.get("trial")))
            case "ended":
                self.how = str(event.get("how", ""))
                self.seconds += finite(event.get("seconds")) or 0.0
                self.cpu += finite(event.get("cpu")) or 0.0
                self.ended += 1
            case _:
                pass

    def _start(self, event: Mapping[str, Any]) -> None:
        trials = finite(event.get("trials"))
        self.trials = None if trials is None else int(trials)
        self.todo = int(finite(event.get("todo")) or 0)
        self.finished.clear()
        self.last = str(event.get("at", ""))
        self.started = self.started or self.last
        self.how = ""
        self.count += 1

    @property
    def done(self) -> int | None:
        """Trials done by the last session and those before, or None for earlier versions."""
        return None if self.trials is None else self.trials - self.todo + len(self.finished)


_EVENTS = tuple(f'{{"event": "{name}"'.encode() for name in ("started", "finished", "ended"))


def read_log(file: Path) -> Sessions:
    """Returns what the log of a run says; lines that are no events are passed over."""
    found = Sessions()
    if not is_plain(file):
        return found
    with file.open("rb") as opened:
        skipped = max(0, file.stat().st_size - MOST_LOG)
        found.is_cut = skipped > 0
        opened.seek(skipped)
        lines = opened.read(MOST_LOG).splitlines()
    for line in lines:
        if line.startswith(_EVENTS):
            try:
                found.take(json.loads(line))
            except ValueError:
                continue  # a line that is being written
    return found


# ----------------------------------------------------------------------------
# The trials: which failed, and what they spent.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a trial.

    Attributes:
        failure: "failed", "diverged", "cannot", or empty.
        flops: Operations spent.
        cpu: CPU seconds of its training, or None.
        damage: What is wrong with its files, or empty.
    """

    failure: str = ""
    flops: float = 0.0
    cpu: float | None = None
    damage: str = ""


def read_trial(folder: Path, *, clock: bool, check: bool) -> Trial:
    """Returns what a finished trial recorded.

    Args:
        folder: Its folder.
        clock: Whether its times are wanted.
        check: Whether checksums are compared.
    """
    try:
        names = ("spend", "error", "failure")
        found = read_fields(folder / "outcome.json", names, check=check)
        timed = ("measured",) if clock or check else ()
        times = read_fields(folder / "clock.json", timed, check=check) if timed else {}
    except (UserError, OSError) as error:
        return Trial(damage=f"trial {folder.name}: {_clause(error)}")
    # Earlier versions had no kinds of failure.
    kind = found.get("failure") or ("failed" if found.get("error") else "")
    measured = _mapping(_mapping(times.get("measured")).get("training CPU time"))
    return Trial(
        failure=str(kind),
        flops=finite(_mapping(found.get("spend")).get("flops")) or 0.0,
        cpu=finite(measured.get("value")),
    )


# ----------------------------------------------------------------------------
# Reading a run, again only where something changed.
# ----------------------------------------------------------------------------

Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes; (0, 0) for no file."""


def stamp(file: str) -> Stamp:
    """Returns by what a changed file is recognized."""
    try:
        found = os.lstat(file)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


_WATCHED = ("run.json", "report.json", "log.jsonl", "report.html", "trials")


@final
class Reader:
    """Reads runs, and reads one again only where one of its files changed.

    Args:
        root: The folder that is shown.
        check: Whether all checksums are compared.
    """

    def __init__(self, root: Path, *, check: bool = False) -> None:
        self._root, self._check = root, check
        self._known: dict[Path, tuple[tuple[object, ...], Record]] = {}
        self._trials: dict[Path, dict[str, tuple[tuple[int, int, bool], Trial]]] = {}

    def read(self, folder: Path) -> Record:
        """Returns the record of a run folder.

        Raises:
            ForeignError: If what is there was not written by Gantlet.
        """
        held, unclear = _held(folder)
        seen = (held, *(stamp(f"{folder}/{name}") for name in _WATCHED))
        if folder in self._known and self._known[folder][0] == seen:
            return self._known[folder][1]
        name = relative(folder, self._root)
        has_page = is_plain(folder / "report.html")
        try:
            found = self._record(folder, name, held=held)
        except ForeignError:
            raise
        except (UserError, OSError, RecursionError, OverflowError) as error:
            found = Record(name=name, question=name, why=_clause(error))
        if unclear:
            found = replace(found, why=f"{found.why}; its lock cannot be read ({unclear})")
        found = replace(found, page=has_page)
        self._known[folder] = (seen, found)
        return found

    def forget(self, but: Sequence[Path]) -> None:
        """Forgets the runs that are not among ``but``."""
        for folder in self._known.keys() - set(but):
            del self._known[folder]
            self._trials.pop(folder, None)

    def _record(self, folder: Path, name: str, *, held: bool) -> Record:
        if not is_plain(folder / "run.json"):
            return _of_report(folder, name, held=held, check=self._check)
        run = _read_run(folder)
        question, facts = _mapping(run["question"]), _mapping(run["facts"])
        asked = Record(
            name=name,
            command=str(question.get("command") or "?"),
            question=in_words(question, str(facts.get("command", ""))),
            settings=settings(question, facts),
        )
        report, damage = _read_report(folder, check=self._check)
        log = read_log(folder / "log.jsonl")
        found = Evidence(
            held=held,
            report=report,
            log=log,
            trials=self._outcomes(folder, clock=not log.ended),
            damage=damage,
        )
        state, why = found.state()
        return replace(
            asked,
            state=state,
            why=why,
            done=found.done,
            total=found.total,
            failed=sum(bool(t.failure) for t in found.trials),
            headline=_headline(report, earlier=held),
            started=str(facts.get("started", "")) or log.started,
            **_cost(found.trials, log, held=held),
        )

    def _outcomes(self, folder: Path, *, clock: bool) -> list[Trial]:
        """Returns the recorded trials; each is read once."""
        known, now = self._trials.get(folder, {}), dict[str, tuple[tuple[int, int, bool], Trial]]()
        for trial in _folders(folder / "trials"):
            seen = (*stamp(f"{trial}/outcome.json"), clock)
            if seen[:2] == (0, 0):
                continue
            is_same = trial in known and known[trial][0] == seen
            read = known[trial][1] if is_same else self._read_trial(trial, clock=clock)
            now[trial] = (seen, read)
        self._trials[folder] = now
        return [trial for _, trial in now.values()]

    def _read_trial(self, folder: str, *, clock: bool) -> Trial:
        return read_trial(Path(folder), clock=clock, check=self._check)


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.path for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _held(folder: Path) -> tuple[bool, str]:
    """Returns whether a process holds a run, and why that is not known."""
    try:
        return is_held(folder), ""
    except OSError as error:
        return False, error.strerror or str(error)


def is_plain(file: Path) -> bool:
    """Returns whether there is a file, and no link to one."""
    return file.is_file() and not file.is_symlink()


def _clause(error: Exception) -> str:
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return printable(text).rstrip(".")


def _read_run(folder: Path) -> dict[str, Any]:
    """Returns the contents of ``run.json``.

    Raises:
        ForeignError: If Gantlet did not write it, or if a newer version did.
        DamagedError: If it is damaged.
    """
    try:
        return Run(folder).read()
    except DamagedError as error:
        if not ((folder / "trials").is_dir() or (folder / "log.jsonl").is_file()):
            raise ForeignError("run.json was not written by Gantlet") from error
        raise DamagedError("run.json is truncated or was changed") from error
    except UserError as error:
        raise ForeignError("run.json is not one that this version of Gantlet reads") from error


def _read_report(folder: Path, *, check: bool) -> tuple[dict[str, Any], str]:
    """Returns the fields of the report that are shown, and what is wrong with it."""
    file = folder / "report.json"
    if not is_plain(file):
        return {}, ""
    try:
        return read_fields(file, _HEAD, check=check), ""
    except (UserError, OSError) as error:
        return {}, _clause(error)


# ----------------------------------------------------------------------------
# State, headline and cost.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the state of a run rests on.

    Attributes:
        held: Whether a process holds its lock.
        report: The fields of its report, empty where there is none.
        log: Its sessions.
        trials: Its recorded trials.
        damage: What is wrong with its report, or empty.
    """

    held: bool
    report: Mapping[str, Any]
    log: Sessions
    trials: Sequence[Trial]
    damage: str

    @property
    def done(self) -> int:
        """Trials done; a log may speak of some whose records are gone."""
        recorded = len(self.trials)
        return recorded if self.log.done is None else min(self.log.done, recorded)

    @property
    def total(self) -> int | None:
        """Number of all trials; earlier versions did not record it, but a report has them all."""
        if self.log.trials is not None:
            return self.log.trials
        return self.done if self.report and not self.held else None

    def state(self) -> tuple[State, str]:
        """Returns the state of the run, and what it rests on."""
        if self.held:
            return "running", "a process holds its lock"
        damage = self.damage or next((t.damage for t in self.trials if t.damage), "")
        if damage:
            return "damaged", damage
        missing = (self.total or self.done) - self.done
        if missing > 0:
            lacks = "1 trial is" if missing == 1 else f"{missing} trials are"
            return self._without_end(f"{lacks} missing")
        return self._by_trials() if self.report else self._without_end("its report is missing")

    def _without_end(self, lacks: str) -> tuple[State, str]:
        if self.log.how == "failed":
            return "failed", f"it ended with an error, and {lacks}"
        if self.log.how == "interrupted":
            return "stopped", f"it was interrupted, and {lacks}"
        return "stopped", f"no process holds its lock, and {lacks}"

    def _by_trials(self) -> tuple[State, str]:
        counts = {kind: sum(t.failure == kind for t in self.trials) for kind in _IN_WORDS}
        told = [f"{n} {_IN_WORDS[kind]}" for kind, n in counts.items() if n]
        if not told:
            return "finished", "its report is there"
        bad = counts["failed"] or sum(counts.values()) == len(self.trials)
        why = f"of {len(self.trials)} trials {', '.join(told)}"
        return ("failed" if bad else "finished"), why


_IN_WORDS = {"failed": "failed", "diverged": "diverged", "cannot": "could not be run"}

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")


def _headline(report: Mapping[str, Any], *, earlier: bool = False) -> str:
    """Returns the first sentence of a report."""
    verdicts = report.get("verdicts")
    first = _mapping(verdicts[0]) if isinstance(verdicts, list) and verdicts else {}
    text = _SENTENCE.split(" ".join(str(first.get("claim", "")).split()))[0]
    return f"Before this session: {text}" if text and earlier else text


def _cost(trials: Sequence[Trial], log: Sessions, *, held: bool) -> dict[str, Any]:
    """Returns wall time, CPU time and operations, and what they leave out."""
    flops = sum(t.flops for t in trials)
    found: dict[str, Any] = {"flops": flops or None}
    trained = [t.cpu for t in trials if t.cpu is not None]
    silent = log.count - log.ended - held
    if held:
        found["since"] = _moment(log.last)
    if log.ended:
        found["seconds"] = log.seconds
        found["cpu"] = log.cpu
        parts = ["without the session that runs"] * held
        killed = "1 session that was" if silent == 1 else f"{silent} sessions that were"
        parts += [f"without {killed} killed"] * (silent > 0)
        parts += ["without the first sessions of a long log"] * log.is_cut
        found["scope"] = "; ".join(parts)
    elif trained:
        found |= {"cpu": sum(trained), "scope": "training alone"}
    return found


def _moment(text: str) -> float | None:
    """Returns a time in seconds since 1970, or None."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


# ----------------------------------------------------------------------------
# Folders without run.json: watched trainings, copied reports, remains.
# ----------------------------------------------------------------------------


def _of_report(folder: Path, name: str, *, held: bool, check: bool) -> Record:
    """Returns the record of a folder that has a report and no ``run.json``.

    Raises:
        ForeignError: If Gantlet did not write the report.
    """
    if not is_plain(folder / "report.json"):
        return _begun(folder, name, held=held)
    report, damage = _read_report(folder, check=check)
    question = _mapping(report.get("question"))
    command = report.get("command")
    if not damage and not (isinstance(command, str) and {"question", "verdicts"} <= report.keys()):
        raise ForeignError("report.json was not written by Gantlet")
    if damage:
        return Record(name=name, question=name, why=damage, state="running" if held else "damaged")
    asked = Record(
        name=name,
        command=str(command),
        question=in_words({"command": command, **question}, ""),
        settings=settings(question, {}),
        headline=_headline(report),
    )
    if command == "watch":
        return replace(asked, **_watched(folder, report, held=held))
    spend = _mapping(report.get("spend"))
    why = "a report alone, without its run"
    flops = finite(spend.get("flops")) or None
    return replace(asked, state="finished", why=why, flops=flops)


def _begun(folder: Path, name: str, *, held: bool) -> Record:
    """Returns the record of a folder with neither ``run.json`` nor a report."""
    asked = Record(name=name, question=name)
    if held:
        started = read_log(folder / "log.jsonl").started
        why = "a process holds its lock; nothing was reported yet"
        return replace(asked, state="running", why=why, started=started, since=_moment(started))
    if (folder / "trials").is_dir():
        return replace(asked, why="it has trials and no run.json")
    return replace(asked, state="stopped", why="it ended before anything was reported")


def _watched(folder: Path, report: Mapping[str, Any], *, held: bool) -> dict[str, Any]:
    """Returns state, progress and cost of a watched training."""
    log, cost = read_log(folder / "log.jsonl"), _mapping(report.get("cost"))
    looks = finite(report.get("looks"))
    seen = "" if looks is None else f"; {int(looks)} looks"
    if held:
        state, why = "running", "its loop holds the lock"
    elif report.get("running"):
        state, why = "stopped", "no process holds its lock, and it did not call report()"
    else:
        state, why = "finished", "it called report()"
    return {
        "state": state,
        "why": f"{why}{seen}",
        "done": int(finite(report.get("step")) or 0),
        "unit": "steps",
        "started": log.started,
        "since": _moment(log.started) if held else None,
        "cpu": finite(cost.get("cpu")),
        "scope": "the loop and watching it",
        "flops": finite(cost.get("flops")),
    }
