"""The commands as functions: the same studies, the same run folders, the same reports."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gantlet.core.arguments import checked
from gantlet.core.budget import Budget
from gantlet.core.model import Model
from gantlet.exec.base import Executor, Here, Retry, carry_out, pending
from gantlet.exec.pool import Pool
from gantlet.exec.publish import publish, published
from gantlet.report.blocks import Report
from gantlet.store.run import Run, folder_of
from gantlet.studies.base import Study
from gantlet.studies.compare import METRICS, Compare, with_usual
from gantlet.studies.contest import restore
from gantlet.studies.converge import Converge
from gantlet.studies.facts import facts
from gantlet.studies.find import find_trial
from gantlet.studies.sources import forget


@checked
def compare(
    models: Sequence[str],
    *,
    data: str = "digits",
    budget: Budget | None = None,
    seeds: int = 3,
    metrics: Sequence[str] = METRICS,
    features: Sequence[str] = (),
    probes: Sequence[str] = (),
    solver: str = "auto",
    batch: int = 128,
    samples: int = 2000,
    patience: int | None = None,
    snapshots: int = 0,
    data_seed: int = 0,
    threads: int = 1,
    workers: int = 1,
    device: str = "cpu",
    out: str | Path | None = None,
) -> Report:
    """Trains models on equal compute and returns the report; see ``gantlet compare``.

    Calling it again with the same question and folder resumes.

    Args:
        models: Models in written form: ``["gan", "flow:layers=4"]``.
        data: Data set in written form.
        budget: What each contestant may spend; 2e11 FLOPs by default.
        seeds: How many times to repeat everything.
        metrics: Distances to measure, in written form.
        features: What they are measured on; empty for what suits the data.
        probes: What is measured on the models themselves besides the usual: ``["ais"]``.
        solver: Optimizer of the players; ``auto`` is what suits each family.
        batch: Samples in a batch.
        samples: How many samples to judge at most.
        patience: Stop after this many validations without a better one; None spends the budget.
        snapshots: How often to save all players over the budget, for ``gantlet tournament``.
        data_seed: From which the splits follow.
        threads: Threads of each trial.
        workers: Processes that run trials side by side. Above 1, call from a script that guards
            its entry with ``if __name__ == "__main__"``.
        device: Where models are trained and measured.
        out: Run folder; one below runs/ if none is given, another for each question.

    Raises:
        UserError: If the question cannot be asked, or the folder holds another one.
    """
    study = Compare(
        models=tuple(models),
        data=data,
        budget=budget or Budget(flops=2e11),
        seeds=seeds,
        metrics=tuple(metrics),
        features=tuple(features),
        probes=with_usual(probes),
        solver=solver,
        batch=batch,
        samples=samples,
        patience=patience,
        snapshots=snapshots,
        data_seed=data_seed,
        threads=threads,
        device=device,
    )
    forget()
    folder = Path(out) if out is not None else folder_of("compare", study.question())
    return conduct(study, folder, workers=workers, threads=threads, device=device)


@checked
def converge(
    model: str,
    *,
    data: str = "digits",
    budget: Budget | None = None,
    seed: int = 0,
    solver: str = "auto",
    batch: int = 128,
    retry: bool = False,
    data_seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    out: str | Path | None = None,
) -> Report:
    """Says whether a training converges, and what would help; see ``gantlet converge``.

    Calling it again with the same question and folder resumes.

    Args:
        model: A family or toy game in written form, or a training with snapshots as
            ``RUN@MODEL#SEED``.
        data: Data set in written form.
        budget: What training may spend; 2e11 FLOPs by default, 1000 steps for a toy game.
        seed: From which every random number follows.
        solver: How the players move; ``auto`` is what suits the family.
        batch: Samples in a batch.
        retry: Whether to train again with what is recommended, at most three changes.
        data_seed: From which the splits follow.
        threads: Threads to use.
        device: Where models are trained and measured.
        out: Run folder; one below runs/ if none is given.

    Raises:
        UserError: If the question cannot be asked, or the folder holds another one.
    """
    study = Converge(
        model=model,
        data=data,
        budget=budget or Budget(flops=2e11),
        seed=seed,
        solver=solver,
        batch=batch,
        retry=retry,
        data_seed=data_seed,
        threads=threads,
        device=device,
    )
    folder = Path(out) if out is not None else folder_of("converge", study.question())
    return conduct(study, folder, threads=threads, device=device)


@checked
def conduct(
    study: Study,
    out: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
    retry: Retry = "failed",
) -> Report:
    """Runs any study into a run folder, writes its report there and returns it.

    Args:
        study: What to run.
        out: Run folder; calling again with the same question and folder resumes.
        workers: Processes that run trials side by side.
        threads: Threads of each trial.
        device: Where models are trained and measured.
        retry: Which trials that failed before run again: those whose failure may pass, all, or
            none.

    Raises:
        UserError: If the question cannot be asked, or the folder cannot be used.
    """
    forget()
    study.trials()  # a question that cannot be asked is told before anything is written
    run = Run.create(out, study.question(), facts(device, threads, ["python", *sys.argv]))
    executor: Executor = Here() if workers == 1 else Pool(workers, threads)
    with run.lock():
        report = carry_out(study, run, executor, todo=pending(study, run, retry))
        publish(report, run)
    return report


@checked
def load_report(path: str | Path) -> Report:
    """Returns the report of a run folder.

    Raises:
        UserError: If there is none.
    """
    return published(Path(path))


@checked
def load_model(path: str | Path, model: str | None = None, *, seed: int = 0) -> Model:
    """Returns a trained model from a run folder.

    Args:
        path: The run folder.
        model: The model as the report names it; None where the run has only one.
        seed: Which of its seeds.

    Raises:
        UserError: If there is no such model.
    """
    return restore(*find_trial(Path(path), model, seed))
