"""gantlet flaws."""

from dataclasses import replace
from typing import Literal

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions, SetOptions, Whole


def flaws(
    *fakes: str,
    sets: SetOptions,
    features: str | None = None,
    mode: Literal["guided", "linear", "transport", "neural", "pca"] = "guided",
    blind: Literal["residual", "project"] = "residual",
    smallest: float = 0.2,
    level: float = 0.05,
    most: Whole = 12,
    permutations: Whole = 1999,
    running: RunOptions | None = None,
) -> int:
    """List what is wrong with samples, the largest flaw first.

    Args:
        fakes: Sets of samples to judge.
        sets: Against what they are judged.
        features: Feature extractor. Default: what suits the data.
        mode: How flaws are searched: named measurements first, directions alone, or critics.
        blind: How the small critics of the mode neural are kept from finding a flaw again.
        smallest: Minimum effect size, in standard deviations of the real samples.
        level: Significance level of the whole list (family-wise error rate).
        most: Maximum number of directions examined.
        permutations: Number of label permutations for each p-value.
        running: How and where to run.
    """
    from gantlet.critics.listing import Search
    from gantlet.studies.flaws import FindFlaws

    options = running or RunOptions()
    study = FindFlaws(
        asked=sets.asked(fakes),
        features=features or "",
        search=Search(
            mode=mode,
            level=level,
            smallest=smallest,
            most=most,
            permutations=permutations,
            blind=blind,
        ),
        threads=options.threads,
        device=options.device,
    )
    # Processes side by side would each train the extractor.
    return conduct(study, replace(options, workers=options.workers or 1), "flaws")
