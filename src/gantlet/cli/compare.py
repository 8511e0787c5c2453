"""gantlet compare."""

from typing import Literal

from gantlet.cli.conduct import budget_of, conduct
from gantlet.cli.options import BudgetOptions, RunOptions, Whole, WholeOrNone


def compare(
    *models: str,
    data: str = "digits",
    seeds: Whole = 3,
    budget: BudgetOptions | None = None,
    metric: tuple[str, ...] | None = None,
    features: tuple[str, ...] | None = None,
    probe: tuple[str, ...] | None = None,
    solver: str = "auto",
    batch: Whole = 128,
    samples: Whole = 2000,
    select: Literal["best", "last"] = "best",
    patience: WholeOrNone = None,
    snapshots: Whole = 0,
    data_seed: Whole = 0,
    running: RunOptions | None = None,
) -> int:
    """Train models on equal compute and report what each is good at.

    Args:
        models: Models, each as name or name:key=value,key=value.
        data: Data set, as name or name:key=value,key=value.
        seeds: How many times to repeat everything.
        budget: What each model may spend in training.
        metric: Distance to measure; repeat for more. Default: all.
        features: What distances are measured on, the first one ranks; repeat for more. Default:
            what suits the data.
        probe: What to measure on the models themselves besides the usual; repeat for more: ais.
        solver: Optimizer of the players; auto is what suits each family.
        batch: Samples in a batch.
        samples: How many samples to judge at most.
        select: Judge the weights that validated best, or the last.
        patience: Stop after this many validations without a better one.
        snapshots: How often to save all players over the budget, for gantlet tournament.
        data_seed: Seed of the train/validation/test split.
        running: How and where to run.
    """
    from gantlet.studies.compare import METRICS, Compare, with_usual

    options = running or RunOptions()
    study = Compare(
        models=models,
        data=data,
        budget=budget_of(budget),
        seeds=seeds,
        metrics=metric or METRICS,
        features=features or (),
        probes=with_usual(probe or ()),
        solver=solver,
        batch=batch,
        samples=samples,
        select=select,
        patience=patience,
        snapshots=snapshots,
        data_seed=data_seed,
        threads=options.threads,
        device=options.device,
    )
    return conduct(study, options, f"compare-{data.partition(':')[0]}")
