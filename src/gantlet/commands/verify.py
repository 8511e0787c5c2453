"""``gantlet verify``: a report is computed again, and what differs is said, line by line."""

import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from gantlet.commands.evaluate.inputs import EvaluationSpec, named
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.evaluate.study import Evaluate
from gantlet.commands.flaws.study import FindFlaws
from gantlet.commands.support.study import FindSupport
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome
from gantlet.options import Search, SupportTests
from gantlet.report.blocks import Column, Report, Table, Verdict
from gantlet.report.format import text as in_words
from gantlet.report.json import LEFT_OUT, as_json, read_as, summarize
from gantlet.run.execute import (
    ProgressCallback,
    SerialExecutor,
    facts,
    no_progress,
    run_trials,
)
from gantlet.run.store import CHECKSUM, DamagedError, Run, TrialFolder, read_json, read_sealed

# ----------------------------------------------------------------------------
# Two trees of plain JSON values beside each other.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a report is not what was computed again.

    Attributes:
        place: Where: a path in the JSON object, and what is there.
        reported: What the report says.
        again: What was computed again.
    """

    place: str
    reported: Any
    again: Any

    @property
    def line(self) -> str:
        """The difference in one line."""
        apart = _apart(self.reported, self.again)
        return (
            f"{self.place}: report {_short(self.reported)}, recomputed {_short(self.again)}{apart}"
        )


@final
class _Missing:
    """Stands for a value that one of the two does not have."""


MISSING = _Missing()

_LONGEST = 80


def _short(value: Any) -> str:
    if isinstance(value, _Missing):
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _apart(reported: Any, again: Any) -> str:
    """Returns by how much two numbers differ, in words."""
    if not (_is_number(reported) and _is_number(again)):
        return ""
    size = max(abs(reported), abs(again))
    return f" (relative difference {in_words(abs(reported - again) / size)})" if size else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@final
@dataclass(slots=True)
class Comparison:
    """Compares trees, and counts what agrees.

    Attributes:
        rounding: Relative difference up to which numbers agree.
        numbers: How many numbers agree bit for bit.
        rounded: How many others agree within the rounding.
        texts: How many texts and other values agree.
    """

    rounding: float = 0.0
    numbers: int = 0
    rounded: int = 0
    texts: int = 0

    def of(self, reported: Any, again: Any, place: str) -> Iterator[Difference]:
        """Yields the differences below a place."""
        if isinstance(reported, Mapping) and isinstance(again, Mapping):
            label = _label(again) if place else ""
            for key in dict.fromkeys((*reported, *again)):
                where = f"{place}.{key}" if place else str(key)
                for found in self.of(reported.get(key, MISSING), again.get(key, MISSING), where):
                    yield _labelled(found, label)
        elif isinstance(reported, list) and isinstance(again, list):
            for i in range(max(len(reported), len(again))):
                pair = [x[i] if i < len(x) else MISSING for x in (reported, again)]
                yield from self.of(pair[0], pair[1], f"{place}[{i}]")
        elif not self._agrees(reported, again):
            yield Difference(place, reported, again)

    def _agrees(self, reported: Any, again: Any) -> bool:
        if _is_number(reported) and _is_number(again):
            return self._same_number(reported, again)
        if type(reported) is not type(again):
            return False
        if reported == again or self._same_words(reported, again):
            self.texts += 1
            return True
        return False

    def _same_number(self, a: float, b: float) -> bool:
        if a == b:
            self.numbers += 1
            return True
        if self.rounding and math.isclose(a, b, rel_tol=self.rounding):
            self.rounded += 1
            return True
        return False

    def _same_words(self, a: Any, b: Any) -> bool:
        """Returns whether texts differ by the rounding of the numbers in them alone."""
        if not self.rounding or not isinstance(a, str):
            return False
        ours, theirs = (_NUMBER.split(text) for text in (a, b))
        if len(ours) != len(theirs) or ours[::2] != theirs[::2]:
            return False
        pairs = zip(ours[1::2], theirs[1::2], strict=True)
        return all(_close(x, y, self.rounding) for x, y in pairs)


# Every second part of a text that is split here is a number.
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def _close(a: str, b: str, rounding: float) -> bool:
    """Returns whether written numbers agree, to one unit of their last digit."""
    last = 10.0 ** -min(len(x.partition(".")[2]) for x in (a, b))
    unit = last if "." in a and "." in b else 0.0
    return math.isclose(float(a), float(b), rel_tol=rounding, abs_tol=unit * 1.01)


def _label(value: Mapping[str, Any]) -> str:
    """Returns what an object of a report is called, or nothing."""
    known = [value.get(key) for key in ("name", "model", "title", "caption")]
    return " of ".join(x for x in known if isinstance(x, str) and x)


def _labelled(found: Difference, label: str) -> Difference:
    if not label or found.place.endswith(")"):
        return found
    return Difference(f"{found.place} ({label})", found.reported, found.again)


# ----------------------------------------------------------------------------
# A report as it is in its file, and the study that makes it.
# ----------------------------------------------------------------------------

# Where the page lies, and what guards the rest.
_OUTSIDE = ("report", CHECKSUM)
# What was true of another machine, at another time. A run folder knows it still.
_OF_THEN = ("Machine", "Versions", "Commit", "Started", "Command")


@final
@dataclass(frozen=True, slots=True)
class Recorded:
    """A report as it is in its file.

    Attributes:
        path: Run folder, or the file.
        content: The JSON object, without its checksum.
        damage: Why it is not as it was written, or nothing.
        run: What run.json holds, or None for a file alone.
    """

    path: Path
    content: Mapping[str, Any]
    damage: str
    run: Mapping[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> "Recorded":
        """Reads a report, even one that was edited.

        Raises:
            UserError: If there is none, or it is not JSON.
        """
        file = path / "report.json" if path.is_dir() else path
        if not file.exists():
            raise UserError(f"{path} has no report.json. Give a run folder or a report.")
        content, damage = read_json(file), ""
        if not isinstance(content, dict) or not isinstance(content.get("question"), dict):
            raise UserError(f"{file} is not a report: it has no question.")
        try:
            read_sealed(file)
        except DamagedError:
            damage = "does not fit the contents: the file was changed after it was written"
        content.pop(CHECKSUM, None)
        return cls(path, content, damage, Run(path).read() if path.is_dir() else None)

    @property
    def question(self) -> Mapping[str, Any]:
        """What was asked: that of run.json where there is one."""
        found: Mapping[str, Any] = self.content["question"]
        return found if self.run is None else self.run["question"]

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The recorded outcomes by the key of their trial; none for a file alone.

        Raises:
            UserError: If one was changed.
        """
        if self.run is None:
            return {}
        found: dict[str, Outcome] = {}
        for outcome in Run(self.path).outcomes():
            TrialFolder(self.path / "trials" / outcome.trial.key).check()
            found[outcome.trial.key] = outcome
        return found


Verifiable = Evaluate | FindFlaws | FindSupport


def study_of_question(question: Mapping[str, Any], where: Path) -> Verifiable:
    """Returns the study that a question of a report describes.

    Raises:
        UserError: If it is of another command, or was changed beyond reading.
    """
    make = _STUDIES.get(str(question.get("command")))
    if make is None:
        raise UserError(
            f"{where} is a report of {question.get('command')}; verify computes reports of "
            f"{', '.join(_STUDIES)} again. Run the command of any other again, with another --out."
        )
    try:
        names = {f.name for f in fields(EvaluationSpec)}
        sets = {name: value for name, value in question.items() if name in names}
        return make(question, read_as(EvaluationSpec, sets))
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{where} does not say what was asked ({error}): was it edited?"
        ) from error


def _evaluate(question: Mapping[str, Any], asked: EvaluationSpec) -> Verifiable:
    return Evaluate(
        asked=asked,
        features=tuple(question["features"]),
        metrics=tuple(question["metrics"]),
        rank=question["rank"],
        threads=question["threads"],
        device=question["device"],
    )


def _flaws(question: Mapping[str, Any], asked: EvaluationSpec) -> Verifiable:
    return FindFlaws(
        asked=asked,
        features=question["features"],
        search=Search.of_stored(question["search"]),
        threads=question["threads"],
        device=question["device"],
    )


def _support(question: Mapping[str, Any], asked: EvaluationSpec) -> Verifiable:
    return FindSupport(
        asked=asked,
        features=question["features"],
        tests=SupportTests(**question["tests"]),
        threads=question["threads"],
        device=question["device"],
    )


_STUDIES: Mapping[str, Callable[[Mapping[str, Any], EvaluationSpec], Verifiable]] = {
    "evaluate": _evaluate,
    "flaws": _flaws,
    "support": _support,
}


def places_of(question: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Returns where each set of a report is now, by the word that the report has for it.

    Args:
        question: That of the report.
        given: Sets in the order of the report, or by name as NAME=WHERE.

    Raises:
        UserError: If there are more or fewer than the report has.
    """
    fakes = [str(f) for f in question.get("fakes", ())]
    if not given:
        return {}
    by_name = {named(f)[0]: f for f in fakes}
    pairs = [named(text) for text in given]
    if len(given) != len(fakes):
        raise UserError(
            f"The report has {len(fakes)} sets of samples: {', '.join(by_name)}. Got {len(given)}."
        )
    if all(name in by_name and name != where for name, where in pairs):
        return {by_name[name]: where for name, where in pairs}
    return {fake: where for fake, (_, where) in zip(fakes, pairs, strict=True) if fake != where}


# ----------------------------------------------------------------------------
# The verification.
# ----------------------------------------------------------------------------


def verify(
    path: Path,
    given: Sequence[str],
    *,
    moved: Mapping[str, str],
    rounding: float,
    tell: ProgressCallback = no_progress,
) -> Report:
    """Computes a report again and says what differs.

    Args:
        path: Run folder, or the report.
        given: The samples, in the order of the report or by name; empty for those it names.
        moved: Where other sets are now, by role: ``real`` and ``train``.
        rounding: Relative difference up to which numbers agree.
        tell: Is told how far it is.

    Returns:
        A report whose ``extra["agrees"]`` says whether all agrees.

    Raises:
        UserError: If there is no such report, or it cannot be computed again.
    """
    recorded = Recorded.read(path)
    question = recorded.question
    study = study_of_question(question, path)
    places = places_of(question, given)
    for role, where in moved.items():
        if not isinstance(question.get(role), str):
            raise UserError(
                f"{path} has no {_ROLES[role]}, so that --{_FLAGS[role]} fits nothing."
            )
        places[str(question[role])] = where
    # The study keeps its sets once they are made, without reading them: these take their place.
    vars(study)["sets"] = EvaluationSets(study.sets.asked, places)
    comparison = Comparison(rounding)
    found = list(_differences(recorded, study, comparison, tell))
    return _report(recorded, found, comparison, given)


_ROLES = {"real": "reference", "train": "training set"}
_FLAGS = {"real": "against", "train": "train"}


def _differences(
    recorded: Recorded, study: Verifiable, comparison: Comparison, tell: ProgressCallback
) -> Iterator[Difference]:
    if recorded.damage:
        yield Difference("checksum of report.json", recorded.damage, "one that fits")
    before = recorded.outcomes
    trials = study.trials()
    with tempfile.TemporaryDirectory(prefix="gantlet-verify-") as folder:
        about = _about(recorded)
        run = Run.create(Path(folder) / "run", study.question(), about)
        again = run_trials(study, run, SerialExecutor(), tell, trials=trials)
        outcomes = {o.trial.key: o for o in run.outcomes()}
    yield from comparison.of(_plain(recorded.content), _again(recorded, again), "")
    if recorded.run is not None:
        yield from _of_outcomes(before, outcomes, comparison)


def _about(recorded: Recorded) -> Mapping[str, Any]:
    """Returns the environment of the run: that of then where it is known."""
    if recorded.run is not None:
        found: Mapping[str, Any] = recorded.run["facts"]
        return found
    question = recorded.question
    return facts(str(question["device"]), int(question["threads"]), ["gantlet", "verify"])


def _again(recorded: Recorded, again: Report) -> Any:
    """Returns the new report as plain data, in the form of the recorded one."""
    content = recorded.content
    short = summarize(again) if LEFT_OUT in content else again
    made = as_json(short, blocks="blocks" in content)
    plain = _plain(json.loads(json.dumps(made)))
    return plain if recorded.run is not None else _without_then(plain, content)


def _without_then(plain: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a report that has its lines of another machine as they were recorded."""
    items = content.get("facts", {}).get("items", [])
    then = {i["name"]: i for i in items if isinstance(i, dict) and i.get("name") in _OF_THEN}
    made = plain["facts"]
    made["items"] = [then.get(item["name"], item) for item in made["items"]]
    return plain


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in content.items() if k not in _OUTSIDE}


def _of_outcomes(
    before: Mapping[str, Outcome], after: Mapping[str, Outcome], comparison: Comparison
) -> Iterator[Difference]:
    """Yields what recorded and new outcomes differ in."""
    for key in dict.fromkeys((*before, *after)):
        place = f"trials/{key}"
        if key not in before or key not in after:
            pair = ["an outcome" if key in side else MISSING for side in (before, after)]
            yield Difference(place, *pair)
            continue
        a, b = (_of_outcome(side[key]) for side in (before, after))
        yield from comparison.of(a, b, place)


def _of_outcome(outcome: Outcome) -> dict[str, Any]:
    scores = {
        name: {f.name: getattr(e, f.name) for f in fields(e) if f.compare} | {"also": dict(e.also)}
        for name, e in outcome.scores.items()
    }
    return {
        "scores": scores,
        "details": json.loads(json.dumps(outcome.details)),
        "error": outcome.error,
    }


def _report(
    recorded: Recorded, found: Sequence[Difference], comparison: Comparison, given: Sequence[str]
) -> Report:
    agreed = f"{comparison.numbers:,} numbers agree bit for bit"
    if comparison.rounded:
        agreed += (
            f", {comparison.rounded:,} within a relative difference of {comparison.rounding:g}"
        )
    agreed += f"; {comparison.texts:,} texts and settings agree"
    agreed += "" if "blocks" in recorded.content else "; tables and charts are not in this file"
    if found:
        count = f"{len(found):,} difference{'s' if len(found) > 1 else ''}"
        claim = f"{recorded.path} is not what these samples give: {count}."
    else:
        claim = f"{recorded.path} is what these samples give."
    table = Table(
        title="Differences",
        columns=[Column(name=name) for name in ("where", "report", "recomputed")],
        rows=[[d.place, _short(d.reported), _short(d.again)] for d in found],
    )
    plain = [
        {"place": d.place, "reported": _open(d.reported), "recomputed": _open(d.again)}
        for d in found
    ]
    question = {
        "command": "verify",
        "report": str(recorded.path),
        "samples": list(given),
        "rounding": comparison.rounding,
    }
    counts = {
        "numbers": comparison.numbers,
        "rounded": comparison.rounded,
        "texts": comparison.texts,
    }
    return Report(
        title=f"Verification of {recorded.path}",
        command="verify",
        question=question,
        verdicts=[Verdict(claim=claim, because=f"{agreed}.")],
        blocks=[table] if found else [],
        extra={
            "agrees": not found,
            "differences": plain,
            "lines": [d.line for d in found],
            "agreed": counts,
        },
    )


def _open(value: Any) -> Any:
    return None if isinstance(value, _Missing) else value
