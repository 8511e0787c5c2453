"""gantlet cost."""

from typing import TYPE_CHECKING

from gantlet.cli.conduct import whole
from gantlet.cli.options import Flag, Whole
from gantlet.core.errors import UserError

if TYPE_CHECKING:
    from gantlet.core.budget import Budget
    from gantlet.report.blocks import Report


def cost(
    *families: str,
    data: str = "digits",
    examples: float | None = None,
    flops: float | None = None,
    batch: Whole = 128,
    solver: str = "auto",
    published: Flag = False,
    threads: Whole = 1,
    data_seed: Whole = 0,
    json: Flag = False,
) -> int:
    """Say how long and how much a training would take, before it starts.

    Args:
        families: Model families, each as name or name:key=value,key=value.
        data: Data set, as name or name:key=value,key=value.
        examples: Training examples to be shown, repeats counted; default 1e6.
        flops: Budget of operations in place of examples; says how many steps it pays for.
        batch: Samples in a batch.
        solver: Optimizer of the players; auto is what suits the family.
        published: Count six published runs from their configurations instead.
        threads: Threads to use.
        data_seed: From which the splits follow.
        json: Print one JSON object on stdout and nothing else.
    """
    if bool(families) == published:
        raise UserError("Name a family, such as gan, or give --published; not both.")
    shown = whole(examples, "examples")
    if batch < 1 or threads < 1 or (shown is not None and shown < 1):
        raise UserError("--examples, --batch and --threads must be at least 1.")
    if flops is not None and shown is not None:
        raise UserError("Give --examples or --flops, not both.")
    from gantlet.core.budget import Budget
    from gantlet.report.json import dumps
    from gantlet.report.terminal import show
    from gantlet.studies.contest import threads as using

    with using(threads):
        if published:
            report = _published(silent=json)
        else:
            report = _planned(
                families,
                data,
                data_seed,
                examples=shown if flops is not None or shown is not None else 10**6,
                budget=None if flops is None else Budget(flops=flops),
                batch=batch,
                solver=None if solver == "auto" else solver,
            )
    if json:
        print(dumps(report, blocks=False))
    else:
        show(report)
    return 0


def _planned(
    families: tuple[str, ...],
    data: str,
    data_seed: int,
    *,
    examples: int | None,
    budget: "Budget | None",
    batch: int,
    solver: str | None,
) -> "Report":
    from gantlet.compute.machine import measure_peak
    from gantlet.core.components import datasets
    from gantlet.studies.costing import cost_of, cost_report, samples_found
    from gantlet.studies.sources import load

    written = datasets.resolve(data)
    space, splits = load(written, data_seed)
    costs = [
        cost_of(
            f, space, splits.train, examples=examples, budget=budget, batch=batch, solver=solver
        )
        for f in families
    ]
    peak = measure_peak(seconds=0.2).fp32
    return cost_report(costs, datasets.short(written), peak, samples_found(splits))


def _published(*, silent: bool) -> "Report":
    from gantlet.report.terminal import progress
    from gantlet.studies.published.report import published_report
    from gantlet.studies.published.rows import published_rows, published_runs

    rows = []
    with progress(silent=silent) as bar:
        task = bar.add_task("counting published runs", total=len(published_runs()))
        for row in published_rows():
            rows.append(row)
            bar.advance(task)
    return published_report(rows)
