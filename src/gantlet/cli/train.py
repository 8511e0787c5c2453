"""gantlet train."""

from typing import Literal

from gantlet.cli.conduct import budget_of, conduct
from gantlet.cli.options import BudgetOptions, RunOptions, Whole, WholeOrNone


def train(
    model: str,
    /,
    *,
    data: str = "digits",
    seed: Whole = 0,
    budget: BudgetOptions | None = None,
    solver: str = "auto",
    batch: Whole = 128,
    samples: Whole = 2000,
    select: Literal["best", "last"] = "best",
    patience: WholeOrNone = None,
    snapshots: Whole = 0,
    data_seed: Whole = 0,
    running: RunOptions | None = None,
) -> int:
    """Train one model and measure it.

    Args:
        model: Model family, as name or name:key=value,key=value.
        data: Data set, as name or name:key=value,key=value.
        seed: Random seed of the training.
        budget: What training may spend.
        solver: Optimizer of the players; auto is what suits the family.
        batch: Samples in a batch.
        samples: How many samples to judge at most.
        select: Judge the weights that validated best, or the last.
        patience: Stop after this many validations without a better one.
        snapshots: How often to save all players over the budget, for gantlet tournament.
        data_seed: Seed of the train/validation/test split.
        running: How and where to run.
    """
    from gantlet.studies.compare import Compare

    options = running or RunOptions()
    study = Compare(
        models=(model,),
        data=data,
        budget=budget_of(budget),
        seeds=1,
        first_seed=seed,
        solver=solver,
        batch=batch,
        samples=samples,
        select=select,
        patience=patience,
        snapshots=snapshots,
        data_seed=data_seed,
        threads=options.threads,
        device=options.device,
        command="train",
    )
    return conduct(study, options, f"train-{model.partition(':')[0]}")
