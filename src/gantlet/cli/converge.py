"""gantlet converge."""

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from gantlet.cli.conduct import budget_of, conduct
from gantlet.cli.options import BudgetOptions, Flag, RunOptions, Whole


def converge(
    model: str,
    /,
    *,
    data: str = "digits",
    seed: Whole = 0,
    budget: BudgetOptions | None = None,
    solver: str = "auto",
    batch: Whole = 128,
    retry: Annotated[Flag, Parameter(name="--try")] = False,
    data_seed: Whole = 0,
    running: RunOptions | None = None,
) -> int:
    """Say whether a training converges, and if not, what would help.

    Args:
        model: Model family, toy game, or a finished training with snapshots as RUN@MODEL#SEED.
        data: Data set, as name or name:key=value,key=value.
        seed: From which every random number follows.
        budget: What training may spend; a toy game makes 1000 steps unless told otherwise.
        solver: How the players move; auto is what suits the family.
        batch: Samples in a batch.
        retry: Train again with what is recommended, at most three changes, and show both.
        data_seed: From which the splits follow.
        running: How and where to run.
    """
    from gantlet.studies.converge import Converge

    options = running or RunOptions()
    study = Converge(
        model=model,
        data=data,
        budget=budget_of(budget),
        seed=seed,
        solver=solver,
        batch=batch,
        retry=retry,
        data_seed=data_seed,
        threads=options.threads,
        device=options.device,
    )
    return conduct(study, replace(options, workers=1), "converge")
