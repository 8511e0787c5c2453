"""gantlet flaws."""

from dataclasses import replace
from typing import Literal

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions


def flaws(
    *fakes: str,
    against: str,
    train: str | None = None,
    features: str | None = None,
    mode: Literal["guided", "linear", "transport", "pca"] = "guided",
    smallest: float = 0.2,
    level: float = 0.05,
    most: int = 12,
    permutations: int = 1999,
    samples: int | Literal["all"] = 10_000,
    seed: int = 0,
    data_seed: int = 0,
    running: RunOptions | None = None,
) -> int:
    """List what is wrong with samples, the largest flaw first.

    Args:
        fakes: Sets of samples to judge.
        against: The real samples.
        train: What extractors may learn from.
        features: In what directions are looked for. Default: what suits the data.
        mode: How flaws are looked for: named measurements first, or directions alone.
        smallest: The smallest flaw worth telling, in standard deviations of the real samples.
        level: How likely a list on flawless samples may hold anything.
        most: How many directions are looked at.
        permutations: How often labels are dealt out for each p-value.
        samples: How many samples of a set to use at most, or all.
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        running: How and where to run.
    """
    from gantlet.critics.listing import Search
    from gantlet.studies.evaluation.sets import forget
    from gantlet.studies.flaws import FindFlaws

    options = running or RunOptions()
    study = FindFlaws(
        fakes=fakes,
        real=against,
        train=train,
        features=features or "",
        search=Search(
            mode=mode, level=level, smallest=smallest, most=most, permutations=permutations
        ),
        samples=None if samples == "all" else samples,
        seed=seed,
        data_seed=data_seed,
        threads=options.threads,
        device=options.device,
    )
    forget()
    # Processes side by side would each train the extractor.
    return conduct(study, replace(options, workers=options.workers or 1), "flaws")
