"""The everyday commands, generated from their options."""

from typing import TYPE_CHECKING

from gantlet import options
from gantlet.cli.running import Printing, command, run_command

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gantlet.report.blocks import Report

compare = command(options.Compare)(run_command)
train = command(options.Train)(run_command)
evaluate = command(options.Evaluate)(run_command)
flaws = command(options.Flaws)(run_command)
support = command(options.Support)(run_command)
why = command(options.Why)(run_command)
tournament = command(options.Tournament)(run_command)
converge = command(options.Converge)(run_command)
attack = command(options.Attack)(run_command)
batch = command(options.Batch)(run_command)
study = command(options.Study)(run_command)
forecast = command(options.Forecast)(run_command)


@command(options.Verify, prints=("json",))
def verify(asked: options.Verify, printing: Printing) -> int:
    """Prints what of a report differs from what is computed again; returns 1 if anything does."""
    from gantlet.api import verify_of_options
    from gantlet.core.errors import printable
    from gantlet.report.json import dumps
    from gantlet.report.terminal import progress

    with progress(silent=printing.json) as bar:
        task = bar.add_task("computing the report again", total=None)
        report = verify_of_options(asked, lambda _key, _share, what: _say(bar, task, what))
    if printing.json:
        print(dumps(report, blocks=False))
    else:
        found = report.verdicts[0]
        lines = (*report.extra["lines"], found.claim, found.because)
        print(*map(printable, lines), sep="\n")
    return 0 if report.extra["agrees"] else 1


def _say(bar: "Progress", task: "TaskID", what: str) -> None:
    bar.update(task, description=what)


def _printed(report: "Report", printing: Printing) -> int:
    from gantlet.report.json import dumps
    from gantlet.report.terminal import show

    if printing.json:
        print(dumps(report, blocks=False))
    else:
        show(report)
    return 0


@command(options.Cost, prints=("json",))
def cost(asked: options.Cost, printing: Printing) -> int:
    """Prints the predicted cost of a training."""
    from gantlet.api import cost_of_options
    from gantlet.report.terminal import progress

    with progress(silent=printing.json or not asked.published) as bar:
        task = bar.add_task("counting published runs", total=1.0)
        report = cost_of_options(
            asked, lambda _key, share, what: bar.update(task, completed=share, description=what)
        )
    return _printed(report, printing)


@command(options.Plan, prints=("json",))
def plan(asked: options.Plan, printing: Printing) -> int:
    """Prints what it takes to show a difference."""
    from gantlet.api import plan_of_options

    return _printed(plan_of_options(asked), printing)


@command(options.Sample, prints=())
def sample(asked: options.Sample, _printing: Printing) -> int:
    """Saves samples of a trained model."""
    from gantlet.commands.drawn_samples import draw_and_save
    from gantlet.core.errors import printable

    found = draw_and_save(asked)
    chosen = f", of {found.drawn:,} drawn those with {' and '.join(asked.where)}"
    kept = chosen if asked.where else ""
    print(printable(f"{asked.n} samples of {found.family} written to {asked.out}{kept}"))
    return 0
