"""The public Python functions, one for each command.

Their options are defined in ``gantlet.options``, from which signatures and help are generated.
"""

import inspect
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import singledispatch, wraps
from hashlib import blake2b
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec, TypeVar, cast, final, overload

import numpy as np
from torch import Tensor

from gantlet import options
from gantlet.commands.attack.study import Attack
from gantlet.commands.batch.study import BatchStudy
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.trial import restore
from gantlet.commands.converge.study import Converge
from gantlet.commands.cost import cost_of, cost_report, samples_found
from gantlet.commands.doctor import Health, health
from gantlet.commands.drawn_samples import draw_and_save
from gantlet.commands.evaluate.inputs import EvaluationSpec, named, spec_with_name
from gantlet.commands.evaluate.study import Evaluate
from gantlet.commands.flaws.study import FindFlaws
from gantlet.commands.forecast.study import Forecast
from gantlet.commands.plan import PlanQuestion, plan_of
from gantlet.commands.support.study import FindSupport
from gantlet.commands.tournament.study import Tournament
from gantlet.commands.trained import find_trial
from gantlet.commands.verify import verify as verified
from gantlet.commands.why.study import Why
from gantlet.compute.machine import measure_peak
from gantlet.compute.machine import threads as using
from gantlet.core import option_fields
from gantlet.core.arguments import validated
from gantlet.core.errors import UserError, printable
from gantlet.core.estimate import Budget, Trial
from gantlet.core.model import Game, Model
from gantlet.core.rng import StorageError, cache_home
from gantlet.core.spec import Spec, datasets, quote, studies
from gantlet.given import SamplesLike, own_data, own_players, to_dataset, to_spec
from gantlet.options import Retry, Texts, Threads, Workers
from gantlet.report.blocks import Report
from gantlet.report.documents import render
from gantlet.research.published.report import published_report, published_rows, published_runs
from gantlet.run import trials
from gantlet.run.execute import (
    Executor,
    HasForecast,
    HasNotes,
    HasPlan,
    InTime,
    PendingTrial,
    ProcessPool,
    ProgressCallback,
    SerialExecutor,
    Stateful,
    Study,
    default_workers,
    facts,
    no_progress,
    pending_trials,
    pending_with_reasons,
    read_report,
    run_trials,
    write_report,
)
from gantlet.run.store import Run, draft_of, folder_of, write_bytes

# ----------------------------------------------------------------------------
# Numbers of several runs as one table.
# ----------------------------------------------------------------------------

_FORMATS = {".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex"}


def export_rows(runs: Sequence[Path], to: Path) -> int:
    """Writes every estimate of ``runs`` to one file and returns how many there are.

    Raises:
        UserError: If no run is given, a run has no report, or the format is unknown.
    """
    if not runs:
        raise UserError("Name at least one run folder.")
    if to.suffix not in _FORMATS:
        raise UserError(f"--to must end in {', '.join(_FORMATS)}. Got {to.name!r}.")
    rows = [row for run in runs for row in read_report(run).rows]
    report = Report(title="Exported estimates", command="export", rows=rows)
    content = render(report, _FORMATS[to.suffix])
    write_bytes(to, content.encode())
    return len(rows)


# ----------------------------------------------------------------------------
# The commands as functions: the same options, studies, run folders and reports.
# ----------------------------------------------------------------------------

P = ParamSpec("P")
O = TypeVar("O")
R = TypeVar("R")

Progress = Callable[[int, Path], AbstractContextManager[ProgressCallback]]
"""Context manager that shows progress, called with the number of trials and the run directory."""

_EXAMPLES = 10**6  # default of ``cost``

# Where the arguments of a function are told: before its errors.
_SECTION = re.compile(r"(?=^    Raises:$)", re.MULTILINE)


def public(of: Callable[P, O]) -> Callable[[Callable[[O], R]], Callable[P, R]]:
    """Returns a decorator that spreads the options of a command into keyword arguments.

    Signature and argument help come from the dataclass ``of``.
    """
    cls = cast("type[Any]", of)

    def decorate(function: Callable[[O], R]) -> Callable[P, R]:
        signature = option_fields.signature_of(cls, inspect.signature(function).return_annotation)

        def tell(old: str, new: str) -> None:
            text = f"{old}= is now {new}=; the old name works in this version only."
            warnings.warn(text, DeprecationWarning, stacklevel=4)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **option_fields.with_current_names(cls, kwargs, tell))
            return function(cls(**bound.arguments))

        call.__signature__ = signature  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        call.__doc__ = _documented(function.__doc__ or "", cls)
        return call

    return decorate


def _documented(doc: str, cls: type) -> str:
    """Returns a docstring with a description of every option."""
    lines = (
        fill(f"{f.name}: {f.help}", 96, initial_indent=" " * 8, subsequent_indent=" " * 12)
        for f in option_fields.fields_of(cls)
    )
    parts = _SECTION.split(doc, maxsplit=1)
    return "\n".join((f"{parts[0].rstrip()}\n\n    Args:", *lines, "", *parts[1:]))


@public(options.Compare)
def compare(asked: options.Compare) -> Report:
    """Trains models on equal compute and returns the report; see ``gantlet compare``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If the configuration is invalid, or the run directory holds another one.
    """
    return _answered(asked)


@public(options.Train)
def train(asked: options.Train) -> Report:
    """Trains one model, measures it, and returns the report; see ``gantlet train``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If the configuration is invalid, or the run directory holds another one.
    """
    return _answered(asked)


@public(options.Evaluate)
def evaluate(asked: options.Evaluate) -> Report:
    """Evaluates samples against real ones and returns the report; see ``gantlet evaluate``.

    Calling it again with the same configuration and run directory resumes. Samples are a path, a
    tensor, an array, a table, a list of images, a data set, a loader, a model or a function
    ``n -> samples``;
    several sets of them come in a dict by name, or as a list of paths.

    Raises:
        UserError: If the samples cannot be found or compared, or the run directory holds another
            run.
    """
    return _answered(asked)


@public(options.Flaws)
def flaws(asked: options.Flaws) -> Report:
    """Lists the flaws of samples, the largest first; see ``gantlet flaws``.

    Calling it again with the same configuration and run directory resumes. Samples are given as
    for ``evaluate``.

    Raises:
        UserError: If the samples cannot be found or compared, or the run directory holds another
            run.
    """
    return _answered(asked)


@public(options.Support)
def support(asked: options.Support) -> Report:
    """Tests whether samples have low support; see ``gantlet support``.

    Calling it again with the same configuration and run directory resumes. Samples are given as
    for ``evaluate``; a model is inverted where it is in a run directory.

    Raises:
        UserError: If the samples cannot be found or compared, or the run directory holds another
            run.
    """
    return _answered(asked)


@public(options.Why)
def why(asked: options.Why) -> Report:
    """Explains the difference between two values of a metric; see ``gantlet why``.

    A setting is a text ``key=value,key=value``, a dict, or the run directory or report of an
    evaluation. Samples are given as for ``evaluate``.

    Raises:
        UserError: If the two cannot be compared, or the run directory holds another run.
    """
    return _answered(asked)


@public(options.Verify)
def verify(asked: options.Verify) -> Report:
    """Computes a report again and returns what differs; see ``gantlet verify``.

    ``extra["agrees"]`` of the result says whether all agrees, ``extra["lines"]`` what does not.

    Raises:
        UserError: If there is no such report, or it cannot be computed again.
    """
    return verify_of_options(asked, no_progress)


def verify_of_options(asked: options.Verify, tell: ProgressCallback) -> Report:
    """Returns the report of a verification; progress is passed to ``tell``."""
    given = {"real": asked.against, "train": asked.train}
    return verified(
        Path(asked.report),
        _words_of(asked.samples),
        moved={k: to_spec(v, k, n=None, seed=0) for k, v in given.items() if v is not None},
        rounding=asked.rounding,
        tell=tell,
    )


def _words_of(samples: Any) -> list[str]:
    """Returns sets of samples in the words of the command line."""
    if isinstance(samples, Mapping):
        several = cast("Mapping[str, SamplesLike]", samples)
        words = {name: to_spec(one, name, n=None, seed=0) for name, one in several.items()}
        return [spec_with_name(name, named(word)[1]) for name, word in words.items()]
    if isinstance(samples, (list, tuple)) and all(isinstance(s, (str, Path)) for s in samples):
        return [str(one) for one in samples]
    return [to_spec(samples, "samples", n=None, seed=0)]


@public(options.Tournament)
def tournament(asked: options.Tournament) -> Report:
    """Rates generators and critics by matches; see ``gantlet tournament``.

    Raises:
        UserError: If a run has no snapshots, or the run directory holds another run.
    """
    return _answered(asked)


@public(options.Converge)
def converge(asked: options.Converge) -> Report:
    """Diagnoses the convergence of a training and recommends changes; see ``gantlet converge``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If the configuration is invalid, or the run directory holds another one.
    """
    return _answered(asked)


@public(options.Attack)
def attack(asked: options.Attack) -> Report:
    """Attacks the critic of a GAN, and its generator's updates; see ``gantlet attack``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If there is no critic, no snapshot of it, or the run directory holds another
            run.
    """
    return _answered(asked)


@public(options.Batch)
def batch(asked: options.Batch) -> Report:
    """Measures gradient noise and recommends a batch size; see ``gantlet batch``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If the configuration is invalid, or the run directory holds another one.
    """
    return _answered(asked)


@public(options.Study)
def study(asked: options.Study) -> Report:
    """Runs a predefined experiment on an open question; see ``gantlet study``.

    Calling it again with the same configuration and run directory resumes.

    Raises:
        UserError: If the study is unknown, or the run directory holds another one.
    """
    return _answered(asked)


@public(options.Cost)
def cost(asked: options.Cost) -> Report:
    """Predicts time and compute of a training on this machine; see ``gantlet cost``.

    Raises:
        UserError: If a family cannot model such samples.
    """
    return cost_of_options(asked, no_progress)


@public(options.Forecast)
def forecast(asked: options.Forecast) -> Report:
    """Describes data and predicts the error of each family; see ``gantlet forecast``.

    Nothing is trained. Data are given as samples for ``evaluate``.

    Raises:
        UserError: If the data cannot be found, or are fewer than 20 samples.
    """
    return _answered(asked)


@public(options.Sample)
def sample(asked: options.Sample) -> Tensor:
    """Draws samples from a trained model, saves and returns them; see ``gantlet sample``.

    Raises:
        UserError: If the model is not in the run, the file format is unknown, or a condition
            cannot be met.
    """
    return draw_and_save(asked).samples


def cost_of_options(asked: options.Cost, tell: ProgressCallback) -> Report:
    """Returns the cost report; progress is passed to ``tell``."""
    with using(asked.threads):
        if not asked.published:
            return _planned(asked)
        rows = []
        for row in published_rows():
            rows.append(row)
            tell("published", len(rows) / len(published_runs()), "counting published runs")
        return published_report(rows)


def _planned(asked: options.Cost) -> Report:
    data = datasets.resolve(asked.data)
    space, splits = trials.load(data, asked.data_seed)
    costs = [
        cost_of(
            family,
            space,
            splits.train,
            examples=asked.examples or (_EXAMPLES if asked.flops is None else None),
            budget=None if asked.flops is None else Budget(flops=asked.flops),
            batch=asked.batch,
            solver=None if asked.solver == "auto" else asked.solver,
        )
        for family in asked.families
    ]
    peak = measure_peak(seconds=0.2).fp32
    return cost_report(costs, datasets.short(data), peak, samples_found(splits))


@validated
def run_study(
    study: Study,
    out: str | Path,
    *,
    workers: Workers | None = 1,
    threads: Threads = 1,
    device: str = "cpu",
    retry: Retry = "failed",
) -> Report:
    """Runs a study in a run directory, writes its report there and returns it.

    Args:
        study: The study.
        out: Run directory; resumes if it holds the same configuration.
        workers: Number of parallel worker processes, which must be able to import the study;
            None: chosen by the number of cores.
        threads: Threads per trial (changes rounding).
        device: Device on which models are trained and measured.
        retry: Failed trials to run again: possibly transient failures, all, or none.

    Raises:
        UserError: If the configuration is invalid, or the run directory cannot be used.
    """
    if isinstance(study, type) or not hasattr(study, "trials"):
        raise TypeError(f"study must be a study. Got {type(study).__name__}.")
    running = options.Running(
        out=out, workers=workers, threads=threads, device=device, retry=retry
    )
    return Job.of(study, running).run()[0]


def plan_of_options(asked: options.Plan) -> Report:
    """Returns the report of what it takes to show a difference."""
    n = None if asked.samples == "all" else asked.samples
    spec = EvaluationSpec(
        real=to_spec(asked.against, "real", n=n, seed=asked.seed),
        train=None,
        fakes=(),
        samples=n,
        seed=asked.seed,
        data_seed=asked.data_seed,
        skip_bad=asked.skip_bad,
    )
    question = PlanQuestion(
        sets=spec,
        detect=asked.detect,
        metrics=asked.metrics,
        features=asked.features,
        count=asked.sets,
        look=asked.look,
        seed_sd=asked.seed_sd,
    )
    with using(asked.threads):
        return plan_of(question)


@public(options.Plan)
def _plan(asked: options.Plan) -> Report:
    """Plans how many samples, looks and seeds would show a difference; see ``gantlet plan``.

    Draws from the real samples alone; nothing is trained or sampled. Called with the options of
    another command alone, as ``gantlet.options.Compare(["gan"], data="ring")``, it returns the
    plan of that command as plain data, as ``--dry-run`` prints it.

    Raises:
        UserError: If the configuration is invalid, or the real samples are too few.
    """
    return plan_of_options(asked)


@overload
def plan(asked: options.Running, /) -> dict[str, object]: ...


@overload
def plan(against: SamplesLike, detect: float, **rest: Any) -> Report: ...


@wraps(_plan)
def plan(*args: Any, **given: Any) -> dict[str, object] | Report:
    """Plans a command that would run, or the size of an evaluation."""
    asked = given.get("asked", args[0] if args else None)
    if isinstance(asked, options.Running) and len(args) + len(given) == 1:
        return Job.of(study_of(asked), asked).plan()
    return _plan(*args, **given)


@validated
def load_report(path: str | Path) -> Report:
    """Returns the report of a run directory.

    Raises:
        UserError: If it has no report.
    """
    return read_report(Path(path))


@validated
def load_model(path: str | Path, model: str | None = None, *, seed: options.Seed = 0) -> Model:
    """Returns a trained model from a run directory.

    Args:
        path: The run directory.
        model: The model as the report names it; None if the run has only one.
        seed: Training seed of the model.

    Raises:
        UserError: If the run has no such model.
    """
    return restore(*find_trial(Path(path), model, seed))


@validated
def export(runs: Sequence[str | Path], *, to: str | Path = Path("results.csv")) -> int:
    """Writes the estimates of runs as one table and returns their number.

    Args:
        runs: Run directories.
        to: Output file: .csv, .json (a list of rows), .md or .tex.

    Raises:
        UserError: If no run is given, a run has no report, or the format is unknown.
    """
    return export_rows([Path(run) for run in runs], Path(to))


def doctor() -> Health:
    """Checks the installation and measures the machine; takes about two seconds."""
    return health()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A study with its run directory. Its trials are listed, and thereby validated, once.

    Attributes:
        study: The study.
        running: Execution settings.
        trials: All trials of the study.
        question: The configuration with every default written out.
        folder: The run directory.
    """

    study: Study
    running: options.Running
    trials: Sequence[Trial]
    question: dict[str, object]
    folder: Path

    @classmethod
    def of(cls, study: Study, running: options.Running) -> "Job":
        """Asks a study for its trials, before anything is written.

        Raises:
            UserError: If the configuration is invalid.
        """
        # Files may have changed since the study was asked before.
        study = study.fresh() if isinstance(study, Stateful) else study
        asked = study.in_time() if isinstance(study, InTime) else None
        if asked is not None:
            study = _in_flops(study, _folder(running, asked), asked)
        trials = study.trials()
        question = study.question()
        folder = _folder(running, question if asked is None else asked)
        return cls(study=study, running=running, trials=trials, question=question, folder=folder)

    def remarks(self) -> Iterator[str]:
        """Yields notes on skipped or converted input, and on the power of the samples."""
        if isinstance(self.study, HasNotes):
            yield from (f"Note: {printable(note)}." for note in self.study.notes())
        if isinstance(self.study, HasForecast):
            yield from map(printable, self.study.forecast())

    def missing(self) -> list[Trial]:
        """Returns the trials that are to be run."""
        return pending_trials(self.trials, Run(self.folder), self.running.retry)

    def plan(self) -> dict[str, object]:
        """Returns the plan as plain data."""
        found: dict[str, object] = {
            "question": self.question,
            "out": str(self.folder),
            "trials": len(self.trials),
            "to do": len(self.missing()),
        }
        expected = list(self.study.plan()) if isinstance(self.study, HasPlan) else []
        return {**found, "expected": expected} if expected else found

    def run(
        self, command: Sequence[str] | None = None, progress: Progress | None = None
    ) -> tuple[Report, Run]:
        """Runs what is missing and publishes the report; returns it and the run.

        Args:
            command: What was called, as a shell has it.
            progress: Shows how far trials are.
        """
        running = self.running
        about = facts(running.device, running.threads, command or ["python", *sys.argv])
        about["options"] = option_fields.non_default(running)
        run = Run.create(self.folder, self.question, about)
        with run.lock():
            todo = pending_with_reasons(self.trials, run, running.retry)
            with (
                _session(run, trials=len({t.key for t in self.trials}), todo=len(todo)),
                progress(len(todo), self.folder) if progress else nullcontext(no_progress) as tell,
            ):
                report = run_trials(
                    self.study, run, self._executor(todo), tell, trials=self.trials, todo=todo
                )
                write_report(report, run)
        return report, run

    def _executor(self, todo: Sequence[PendingTrial]) -> Executor:
        running = self.running
        workers = running.workers or default_workers(running.threads, running.device)
        return (
            SerialExecutor()
            if min(workers, len(todo)) <= 1
            else ProcessPool(workers, running.threads)
        )


def _folder(running: options.Running, question: Mapping[str, object]) -> Path:
    given = running.out
    return folder_of(_name(running), question) if given is None else Path(given)


def _in_flops(study: Any, folder: Path, asked: Mapping[str, object]) -> Study:
    """Returns a study that was given a time with its FLOPs, those of its folder if that has any.

    Args:
        study: The study, which is ``InTime``.
        folder: Its run directory.
        asked: Its question before the measurement.
    """
    if (folder / "run.json").exists():
        recorded = Run.open(folder).question
        measured = ("budget", "budgets")
        if {**recorded, **{k: asked.get(k) for k in measured}} == json.loads(json.dumps(asked)):
            return cast("Study", study.recalled(recorded))
    return cast("Study", study.measured())


@contextmanager
def _session(run: Run, *, trials: int, todo: int) -> Generator[None]:
    """Logs how many trials there are, and at the end how it ended, its wall and its CPU time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    run.log("started", trials=trials, todo=todo, at=now)
    wall, cpu = time.monotonic(), _cpu_seconds()
    how = "failed"
    try:
        yield
        how = "finished"
    except KeyboardInterrupt:
        how = "interrupted"
        raise
    finally:
        with suppress(StorageError):  # the error that ended it says more
            seconds = {"seconds": time.monotonic() - wall, "cpu": _cpu_seconds() - cpu}
            run.log("ended", how=how, **seconds)


def _cpu_seconds() -> float:
    """Returns the CPU time of this process and of its workers that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _answered(asked: options.Running) -> Report:
    return Job.of(study_of(asked), asked).run()[0]


def _name(asked: options.Running) -> str:
    """Returns the default name of a run directory."""
    command = type(asked).__name__.lower()
    match asked:
        case options.Compare(data=of) | options.Train(model=of) | options.Study(name=of):
            return f"{command}-{of.partition(':')[0]}"
        case _:
            return command


@singledispatch
def study_of(asked: options.Running) -> Study:
    """Returns the study that a command asks for.

    Raises:
        UserError: If its options do not fit together.
    """
    raise TypeError(f"{type(asked).__name__} are the options of no study.")


@study_of.register
def _(asked: options.Compare) -> Study:
    return Compare.of(asked)


@study_of.register
def _(asked: options.Train) -> Study:
    return Compare.of_one(asked)


@study_of.register
def _(asked: options.Converge) -> Study:
    return Converge.of(asked, _data_of(asked.model, "a name, a run", asked.data, asked.seed))


@study_of.register
def _(asked: options.Batch) -> Study:
    return BatchStudy.of(asked, _data_of(asked.model, "a name", asked.data, 0))


@study_of.register
def _(asked: options.Attack) -> Study:
    game = str(asked.game) if isinstance(asked.game, Path) else asked.game
    data = _data_of(game, "a run", asked.data, asked.seed, name="game")
    is_own = isinstance(game, Game) or Spec.parse(game).name == "module"
    if not is_own and asked.data is not None:
        raise UserError("data is for a game of your own; a run has its data. Leave it out.")
    if is_own and data is None:
        raise UserError("Give --data, the real samples that the critic was trained on.")
    return Attack.of(asked, data)


def _data_of(
    model: object, others: str, data: SamplesLike | None, seed: int, *, name: str = "model"
) -> str | None:
    """Returns the data of a model in written form: what is given, or a game's own, or None."""
    if not isinstance(model, (str, Game)):
        raise UserError(
            f"{name} must be {others} or a game: gantlet.game({{'generator': G, 'critic': D}}, "
            f"losses=...). Got {type(model).__name__}."
        )
    given = own_data(model) if data is None else data
    return None if given is None else to_dataset(given, "data", seed)


@study_of.register
def _(asked: options.Tournament) -> Study:
    found = own_players(asked.runs)
    folders = [where for where in found if isinstance(where, str)]
    return Tournament.of(asked, folders, [o for o in found if not isinstance(o, str)])


@study_of.register
def _(asked: options.Forecast) -> Study:
    given = asked.data
    names = (name.strip() for several in asked.families for name in several.split("+"))
    return Forecast(
        data="" if given is None else to_spec(given, "data", n=None, seed=asked.seed),
        flops=asked.flops,
        families=tuple(dict.fromkeys(names)),
        refit="" if asked.refit is None else str(asked.refit),
        seed=asked.seed,
        data_seed=asked.data_seed,
        skip_bad=asked.skip_bad,
        threads=asked.threads,
    )


@study_of.register
def _(asked: options.Study) -> Study:
    given = {"size": asked.size, "threads": str(asked.threads), "device": asked.device}
    if asked.data is not None:
        given["data"] = quote(asked.data)
    if asked.seeds is not None:
        given["seeds"] = str(asked.seeds)
    text = ",".join(f"{k}={v}" for k, v in given.items())
    made: Study = studies.make(f"{asked.name}{',' if ':' in asked.name else ':'}{text}")
    return made


@study_of.register
def _(asked: options.Evaluate) -> Study:
    found = replace(
        _asked(asked),
        outputs=asked.outputs,
        groups=tuple(_groups(asked.groups, "groups")),
        labels=tuple(_groups(asked.labels, "labels")),
    )
    if asked.pairs is not None:
        found = replace(found, pairs=_word(asked, asked.pairs, "pairs"))
    if asked.control is not None:
        found = replace(found, control=_word(asked, asked.control, "control"))
    return Evaluate(
        asked=found,
        features=tuple(asked.features),
        metrics=tuple(asked.metrics),
        panel=asked.panel,
        rank=asked.rank,
        threads=asked.threads,
        device=asked.device,
    )


@study_of.register
def _(asked: options.Flaws) -> Study:
    return FindFlaws(
        asked=_asked(asked),
        features=asked.features,
        search=asked.search,
        threads=asked.threads,
        device=asked.device,
    )


@study_of.register
def _(asked: options.Support) -> Study:
    return FindSupport(
        asked=_asked(asked),
        features=asked.features,
        tests=asked.tests,
        threads=asked.threads,
        device=asked.device,
    )


@study_of.register
def _(asked: options.Why) -> Study:
    given = {"fakes": asked.fakes, "against": asked.against}
    found = {
        name: to_spec(samples, name, n=None, seed=asked.seed)
        for name, samples in given.items()
        if samples is not None
    }
    shared = ",".join(f"{k}={quote(v)}" for k, v in found.items())
    return Why(
        a=_setting_text(asked.a),
        b=_setting_text(asked.b),
        both=",".join(filter(None, (shared, asked.both))),
        metric=asked.metric,
        seed=asked.seed,
        threads=asked.threads,
        device=asked.device,
    )


def _setting_text(given: str | Path | Mapping[str, object]) -> str:
    """Returns a setting in written form."""
    if isinstance(given, Mapping):
        return ",".join(f"{k}={quote(str(v))}" for k, v in given.items())
    return str(given)


def _asked(asked: options.Judging) -> EvaluationSpec:
    """Returns the sets in the words of a run; objects are saved to the cache first."""
    return EvaluationSpec(
        fakes=_fakes(asked),
        real=_word(asked, asked.against, "real"),
        train=None if asked.train is None else _word(asked, asked.train, "train"),
        samples=None if asked.samples == "all" else asked.samples,
        seed=asked.seed,
        data_seed=asked.data_seed,
        skip_bad=asked.skip_bad,
    )


def _word(asked: options.Judging, given: SamplesLike, name: str) -> str:
    n = None if asked.samples == "all" else asked.samples
    return to_spec(given, name, n=n, seed=asked.seed)


def _fakes(asked: options.Judging) -> tuple[str, ...]:
    """Returns the sample sets: one, several by name, or several with their own names."""
    fake: Any = asked.fake
    if isinstance(fake, Mapping):
        several = cast("Mapping[object, SamplesLike]", fake)
        return tuple(_called(name, asked, given) for name, given in several.items())
    if isinstance(fake, (list, tuple)) and all(isinstance(f, (str, Path)) for f in fake):
        return tuple(_word(asked, one, "fake") for one in fake)
    return (_word(asked, fake, "fake"),)


def _called(name: object, asked: options.Judging, given: SamplesLike) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Names of sets must be texts. Got {name!r:.60}.")
    if not name or "\0" in name:
        raise UserError(f"{name!r} cannot be the name of a set.")
    return spec_with_name(name, named(_word(asked, given, name))[1])


def _groups(groups: Any, option: str) -> Iterator[str]:
    """Yields groups or labels in the words of the command line; arrays are saved to the cache."""
    if groups is None:
        return
    if isinstance(groups, Texts):
        yield from groups
    elif isinstance(groups, Mapping):
        several = cast("Mapping[object, Any]", groups)
        yield from (f"{name}={_labels(what, option)}" for name, what in several.items())
    else:
        yield _labels(groups, option)


def _labels(what: Any, option: str) -> str:
    if isinstance(what, (str, Path)):
        return str(what)
    labels = what.tolist() if isinstance(what, (Tensor, np.ndarray)) else what
    if not isinstance(labels, Iterable):
        raise UserError(f"{option} must be one label per sample. Got {labels!r:.60}.")
    several = list(cast("Iterable[object]", labels))
    if any(isinstance(label, (list, tuple)) for label in several):
        raise UserError(
            f"{option} must be one label per sample, shape (n,). Got {len(several)} rows with "
            "several numbers each."
        )
    text = "".join(f"{label}\n" for label in several)
    name = blake2b(text.encode(), digest_size=16).hexdigest()
    file = cache_home() / "inputs" / f"{name}.txt"
    if not file.exists():
        with draft_of(file) as draft:
            draft.write_text(text, encoding="utf-8")
    return str(file)
