"""gantlet flaws."""

from dataclasses import replace
from typing import Literal

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions, SetOptions


def flaws(
    *fakes: str,
    sets: SetOptions,
    features: str | None = None,
    mode: Literal["guided", "linear", "transport", "neural", "pca"] = "guided",
    blind: Literal["residual", "project"] = "residual",
    smallest: float = 0.2,
    level: float = 0.05,
    most: int = 12,
    permutations: int = 1999,
    running: RunOptions | None = None,
) -> int:
    """List what is wrong with samples, the largest flaw first.

    Args:
        fakes: Sets of samples to judge.
        sets: Against what they are judged.
        features: In what directions are looked for. Default: what suits the data.
        mode: How flaws are looked for: named measurements first, directions alone, or critics.
        blind: How the small critics of the mode neural are made blind to each other.
        smallest: The smallest flaw worth telling, in standard deviations of the real samples.
        level: How likely a list on flawless samples may hold anything.
        most: How many directions are looked at.
        permutations: How often labels are dealt out for each p-value.
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
