"""Execution of a command: run directory, workers, progress and final output."""

import inspect
import json
import math
import sys
import time
import types
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    final,
    get_args,
    get_origin,
)

from cyclopts import Parameter, Token

from gantlet.core.errors import printable
from gantlet.core.estimate import Budget
from gantlet.core.option_fields import OptionField, OptionHelp, fields_of, with_current_names
from gantlet.options import Running, Texts, Training

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gantlet.api import Job
    from gantlet.report.format import Pace
    from gantlet.run.store import Run

# ----------------------------------------------------------------------------
# Progress of parallel trials: bars on a terminal, one line per minute in a log.
# ----------------------------------------------------------------------------

Tell = Callable[[str, float, str], None]

FIRST_LINE_AFTER = 5.0
"""Seconds before the first log line; shorter commands write none."""

LINE_EVERY = 60.0
"""Seconds between log lines."""

# Seconds from which on the expected end of all trials is said; trials may differ in their pace.
_END_AFTER = 30.0

# Maximum number of running trials named in a log line.
_NAMED = 4


@contextmanager
def progress(trials: int, folder: Path, *, enabled: bool = True) -> Generator[Tell]:
    """Yields a progress callback: called with trial key, finished fraction and current activity.

    On a terminal it draws a bar for all trials and one for each running trial. If standard error
    is redirected it writes one line per minute, starting with the run directory. Remarks are
    always written.

    Args:
        trials: Number of trials to run.
        folder: The run directory.
        enabled: Whether anything but remarks is written.
    """
    from gantlet.report import terminal

    course = TrialProgress(trials)
    if not enabled or trials == 0:
        yield _quiet
    elif not sys.stderr.isatty():
        with _log(course, folder):
            yield course.tell
    else:
        with terminal.progress() as bar:
            yield _Bars(bar, course).tell


def log_line(text: str) -> None:
    """Writes a line to standard error, with control characters replaced."""
    from gantlet.report.format import clean

    with suppress(OSError):  # a closed standard error must not end a run
        print(f"gantlet: {clean(text)}", file=sys.stderr, flush=True)


def _is_remark(what: str) -> bool:
    from gantlet.run.execute import Remark  # imports torch, which ``--help`` does without

    return isinstance(what, Remark)


def _quiet(_key: str, _share: float, what: str) -> None:
    if _is_remark(what):
        log_line(what)


@final
@dataclass(slots=True)
class TrialProgress:
    """The progress of all trials."""

    trials: int
    shares: dict[str, float] = field(default_factory=dict[str, float])
    doing: dict[str, str] = field(default_factory=dict[str, str])
    pace: "Pace | None" = None

    @property
    def done(self) -> int:
        """Number of finished trials."""
        return sum(s >= 1 for s in self.shares.values())

    def tell(self, key: str, share: float, what: str) -> None:
        """Records the progress of a trial."""
        if _is_remark(what):
            log_line(what)
            return
        self.shares[key] = share
        if share < 1:
            self.doing[key] = what
        else:
            self.doing.pop(key, None)

    def head(self) -> str:
        """Returns how many trials are done, and when all are expected to be."""
        from gantlet.report.format import Pace, expected_end

        self.pace = self.pace or Pace(_END_AFTER)
        left = self.pace.left(time.monotonic(), sum(self.shares.values()) / self.trials)
        left = None if self.done == self.trials else left
        return ", ".join(
            filter(None, (f"{self.done} of {self.trials} trials done", expected_end(left)))
        )

    def line(self) -> str:
        """Returns the progress of all trials as text."""
        running = list(self.doing.items())
        named = [_with_share(what, self.shares[key]) for key, what in running[:_NAMED]]
        rest = [f"{len(running) - _NAMED} more"] if len(running) > _NAMED else []
        summary = f"; running: {'; '.join([*named, *rest])}" if running else ""
        return f"{self.head()}{summary}"


def _with_share(what: str, share: float) -> str:
    return what if "%" in what else f"{what} ({share:.0%} of the trial)"


@contextmanager
def _log(course: TrialProgress, folder: Path) -> Generator[None]:
    """Writes one line per minute while the block runs."""
    over, start = Event(), time.monotonic()

    def write() -> None:
        if over.wait(FIRST_LINE_AFTER):
            return
        log_line(f"run folder {folder}, {course.trials} trials to run")
        while True:
            minutes = (time.monotonic() - start) / 60
            log_line(f"{minutes:.0f} min: {course.line()}")
            if over.wait(LINE_EVERY):
                return

    writer = Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


@final
class _Bars:
    """A bar for all trials, and one for each running trial."""

    def __init__(self, bar: "Progress", course: TrialProgress) -> None:
        self._bar = bar
        self._course = course
        self._all = bar.add_task("starting", total=course.trials)
        self._each: dict[str, TaskID] = {}

    def tell(self, key: str, share: float, what: str) -> None:
        """Records the progress of a trial."""
        self._course.tell(key, share, what)
        if _is_remark(what):
            return
        if share >= 1 and key in self._each:
            self._bar.remove_task(self._each.pop(key))
        elif share < 1:
            if key not in self._each:
                self._each[key] = self._bar.add_task(what, total=1.0)
            self._bar.update(self._each[key], completed=share, description=what)
        course = self._course
        self._bar.update(
            self._all,
            completed=sum(course.shares.values()),
            description=course.head(),
        )


# ----------------------------------------------------------------------------
# Progress bar of a download.
# ----------------------------------------------------------------------------


@contextmanager
def download_bar(name: str, size: int) -> Generator[Callable[[int], None]]:
    """Yields a callback for the number of bytes received.

    The bar is drawn on standard error if that is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=size)
        yield lambda n: shown.advance(task, n)


# ----------------------------------------------------------------------------
# Commands generated from the dataclasses of ``gantlet.options``.
# ----------------------------------------------------------------------------

O = TypeVar("O")

Flag = Annotated[bool, Parameter(show_default=False)]
"""A flag, an option without a value."""

# Help groups of nested dataclasses.
_BUDGET = "Budget (training stops at the first limit reached; default: by the data)"
_HEADINGS: Mapping[type, str] = {Budget: _BUDGET}


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """Returns an integer, which may be written as 1e3; a fraction is never rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"Must be a whole number. Got {text!r}.")
    return int(number)


def _whole_or_all(type_: object, tokens: Sequence[Token]) -> int | str:
    text = tokens[0].value
    return text if text == "all" else _whole(type_, tokens)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """Output settings of a command.

    Attributes:
        json: Print one JSON object on stdout and nothing else.
        dry_run: Print the plan and exit.
    """

    json: bool = False
    dry_run: bool = False


def command(
    of: type[O], *, prints: Sequence[str] = ("json", "dry_run")
) -> Callable[[Callable[[O, Printing], int]], Callable[..., int]]:
    """Returns a decorator that turns a function of options into a command.

    Args:
        of: The dataclass of the options.
        prints: Fields of ``Printing`` that the command supports.
    """

    def decorate(function: Callable[[O, Printing], int]) -> Callable[..., int]:
        shown = [f for f in fields_of(Printing) if f.name in prints]
        heading = "Running" if any(f.heading == "Running" for f in fields_of(of)) else ""
        shown = [replace(f, heading=heading) for f in shown]
        parameters = [p for f in fields_of(of) for p in _parameters(f)]
        parameters += [p for f in shown for p in _parameters(f)]
        parameters.sort(key=lambda p: p.kind)
        signature = inspect.Signature(parameters, return_annotation=int)

        def call(*args: Any, **kwargs: Any) -> int:
            given = dict(signature.bind(*args, **kwargs).arguments)
            printing = Printing(**{f.name: given.pop(f.name) for f in shown if f.name in given})
            return function(_made(of, given), printing)

        call.__name__ = call.__qualname__ = of.__name__.lower()
        call.__module__ = function.__module__
        call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": int}
        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate


def _made(of: type[O], given: Mapping[str, Any]) -> O:
    """Builds the options from the command line arguments."""
    given = with_current_names(of, given, _tell)
    found: dict[str, Any] = {}
    for f in fields_of(of):
        if f.group is not None:
            inside = {g.name: given[g.name] for g in fields_of(f.group) if g.name in given}
            if inside:
                found[f.name] = f.group(**inside)
        elif f.name in given:
            value = given[f.name]
            # In Python a list of strings could itself be an object of the user.
            is_list = f.is_positional or get_origin(f.kind) is Sequence
            found[f.name] = Texts(value) if isinstance(value, tuple) and not is_list else value
        elif f.default is inspect.Parameter.empty:
            # No value was given; the command reports what it requires.
            found[f.name] = ()
    return of(**found)


def _tell(old: str, new: str) -> None:
    old, new = (name.rstrip("_").replace("_", "-") for name in (old, new))
    text = f"gantlet: --{old} is now --{new}; the old name works in this version only."
    print(text, file=sys.stderr)


def _parameters(f: OptionField) -> Iterator[inspect.Parameter]:
    """Yields the parameters of an option: itself and its deprecated names, or its fields."""
    if f.group is not None:
        usual = f.default
        heading = _HEADINGS.get(f.group, f.heading)
        for inner in fields_of(f.group):
            default = None if usual is None else getattr(usual, inner.name)
            yield from _parameters(replace(inner, default=default, heading=heading))
        return
    kind = _place(f)
    default = f.default
    if kind is inspect.Parameter.VAR_POSITIONAL:
        default = inspect.Parameter.empty
    elif isinstance(default, (tuple, str)) and not default:
        default = None
    yield inspect.Parameter(f.name, kind, default=default, annotation=_annotation(f))
    for old in f.option.aliases if default is not inspect.Parameter.empty else ():
        # Deprecated values of a deprecated name are known to ``with_current_names`` alone.
        hint = str if f.option.old_values else f.hint
        hidden = replace(f, default=None, help="", hint=Annotated[hint, OptionHelp()])
        yield inspect.Parameter(
            old,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_annotation(hidden), Parameter(name=_flag(old), show=False)],
        )


def _place(f: OptionField) -> Any:
    if not f.is_positional or f.option.by_name:
        return inspect.Parameter.KEYWORD_ONLY
    if f.option.several:
        return inspect.Parameter.VAR_POSITIONAL
    return inspect.Parameter.POSITIONAL_ONLY


def _flag(name: str) -> str:
    return f"--{name.rstrip('_').replace('_', '-')}"


def _annotation(f: OptionField) -> Any:
    """Returns the annotated type of an option on the command line, with its help."""
    is_by_name = _place(f) is inspect.Parameter.KEYWORD_ONLY
    marks: dict[str, Any] = {"help": f.help}
    if is_by_name:
        marks["name"] = list(f.option.flags) or _flag(f.name)
    if f.default and isinstance(f.default, tuple):
        marks["show_default"] = _spaced
    if f.heading and is_by_name:
        marks["group"] = f.heading
    kind, more = _typed(f)
    if f.option.several and is_by_name:
        kind = types.GenericAlias(tuple, (kind, ...))
    is_place = _place(f) is inspect.Parameter.VAR_POSITIONAL
    if not is_place and (f.default is None or f.default in ((), "")):
        kind = kind | None
    return Annotated[kind, Parameter(**marks, **more)]


def _spaced(values: Sequence[str]) -> str:
    return " ".join(values)


def _typed(f: OptionField) -> tuple[Any, dict[str, Any]]:
    """Returns the type of one value on the command line, and its converter."""
    parts = get_args(f.kind) if get_origin(f.kind) in (Union, types.UnionType) else (f.kind,)
    has_all = any(get_origin(p) is Literal and "all" in get_args(p) for p in parts)
    if int in parts:
        if has_all:
            return int | Literal["all"], {"converter": _whole_or_all}
        return int, {"converter": _whole}
    if bool in parts:
        return bool, {"show_default": False}
    if f.option.several:
        return str, {}
    if Path in parts:
        return Path, {}
    (first, *_) = parts
    return (first, {}) if first in (float, str) or get_origin(first) is Literal else (str, {})


# ----------------------------------------------------------------------------
# Execution of a study for a command: progress and final output.
# ----------------------------------------------------------------------------

# Maximum number of failed trials named on standard error; the report names all.
_LINES = 10


def run_command(asked: Running, printing: Printing) -> int:
    """Runs the study of a command and prints its report; returns the exit code."""
    from gantlet.api import Job, study_of

    with _measuring(asked, printing):
        job = Job.of(study_of(asked), asked)
    _remark(job)
    if printing.dry_run:
        return _rehearse(job, printing)
    from gantlet.report.json import dumps
    from gantlet.report.terminal import show

    report, run = job.run(
        ["gantlet", *sys.argv[1:]],
        lambda trials, folder: progress(trials, folder, enabled=not printing.json),
    )
    page = str(run.path / "report.html")
    if printing.json:
        print(dumps(report, page, blocks=False))
    else:
        show(report, path=page)
    return _tell_failures(run)


@contextmanager
def _measuring(asked: Running, printing: Printing) -> Generator[None]:
    """Says that the speed of training is measured, where a time is turned into FLOPs."""
    from gantlet.report import terminal

    is_timed = isinstance(asked, Training) and asked.time is not None
    with terminal.progress(silent=printing.json or not is_timed) as bar:
        if is_timed:
            bar.add_task("measuring how many FLOPs training makes in its time", total=None)
        yield


def _remark(job: "Job") -> None:
    """Prints notes on skipped or converted input, and on the power of the samples."""
    for line in job.remarks():
        with suppress(OSError):
            print(line, file=sys.stderr)


def _tell_failures(run: "Run") -> int:
    """Reports failed trials on standard error; returns the exit code."""
    from gantlet.run.execute import failures

    failed = [o for o in run.outcomes() if o.error is not None]
    if not failed:
        return 0
    lines = failures(failed)
    for line in lines[:_LINES]:
        log_line(line)
    if len(lines) > _LINES:
        log_line(f"{len(lines) - _LINES} more trials failed; all are in the report.")
    if any(o.failure == "failed" for o in failed):
        log_line(f"The same command retries failed trials. Tracebacks: {run.path / 'log.jsonl'}.")
    if any(o.failure != "failed" for o in failed):
        log_line("Trials that diverged or cannot be run are results; --retry all runs them again.")
    return 1


def _rehearse(job: "Job", printing: Printing) -> int:
    """Prints the plan of a dry run."""
    plan = job.plan()
    if printing.json:
        print(json.dumps(plan, indent=2))
        return 0
    left, n = job.missing(), len(job.trials)
    expected = plan.get("expected", [])
    lines = (
        f"Folder: {job.folder} ({n - len(left)} of {n} trials done)",
        *(f"  seed {trial.seed}  {trial.model}" for trial in left),
        *(expected if isinstance(expected, list) else []),
    )
    print(*map(printable, lines), sep="\n")
    return 0
