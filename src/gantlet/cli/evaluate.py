"""gantlet evaluate."""

from dataclasses import replace
from typing import Literal

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions
from gantlet.core.errors import UserError


def evaluate(
    *fakes: str,
    against: str,
    train: str | None = None,
    features: tuple[str, ...] | None = None,
    metric: tuple[str, ...] | None = None,
    rank: str = "kid",
    samples: int | Literal["all"] = 10_000,
    pairs: str | None = None,
    outputs: int = 1,
    seed: int = 0,
    data_seed: int = 0,
    running: RunOptions | None = None,
) -> int:
    """Judge samples against real ones: every metric, and how sure it is.

    Args:
        fakes: Sets of samples to judge.
        against: The real samples.
        train: What the models learned from; shows copies.
        features: What distances are measured on; repeat for more. Default: what suits the data.
        metric: What is measured; repeat for more. Default: the usual.
        rank: The metric by which several sets are ranked.
        samples: How many samples of a set to use at most, or all.
        pairs: What each output should have been, for translation, infilling and edits.
        outputs: How many outputs there are for each of these, one after the other.
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        running: How and where to run.
    """
    from gantlet.studies.evaluation import Evaluate
    from gantlet.studies.evaluation.sets import forget

    if not fakes:
        raise UserError("Name samples to judge: a folder, a file, RUN@MODEL or a data set.")
    options = running or RunOptions()
    study = Evaluate(
        fakes=fakes,
        real=against,
        train=train,
        features=features or (),
        metrics=metric or (),
        rank=rank,
        samples=None if samples == "all" else samples,
        pairs=pairs,
        outputs=outputs,
        seed=seed,
        data_seed=data_seed,
        threads=options.threads,
        device=options.device,
    )
    forget()
    # Processes side by side would each train the extractor.
    return conduct(study, replace(options, workers=options.workers or 1), "evaluate")
