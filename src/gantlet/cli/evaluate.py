"""gantlet evaluate."""

from dataclasses import replace

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions, SetOptions, Whole


def evaluate(
    *fakes: str,
    sets: SetOptions,
    features: tuple[str, ...] | None = None,
    metric: tuple[str, ...] | None = None,
    rank: str = "kid",
    pairs: str | None = None,
    outputs: Whole = 1,
    control: str | None = None,
    groups: tuple[str, ...] = (),
    running: RunOptions | None = None,
) -> int:
    """Judge samples against real ones: every metric, and how sure it is.

    Args:
        fakes: Sets of samples to judge.
        sets: Against what they are judged.
        features: What distances are measured on; repeat for more. Default: what suits the data.
        metric: What is measured; repeat for more. Default: the usual.
        rank: The metric by which several sets are ranked.
        pairs: What each output should have been, for translation, infilling and edits.
        outputs: How many outputs there are for each of these, one after the other.
        control: Other real samples for the noise floor, in neither reference nor training set.
            Default: the rest of the data set, else a part of the reference.
        groups: Which samples belong together (one subject, prompt or source): a column of a table,
            a file with one label a line, or a regular expression with one group for file names;
            NAME=WHAT for one set (real, fake, control, train or its name); repeat for more.
        running: How and where to run.
    """
    from gantlet.studies.evaluation import Evaluate

    options = running or RunOptions()
    study = Evaluate(
        asked=replace(
            sets.asked(fakes, pairs=pairs, outputs=outputs), control=control, groups=groups
        ),
        features=features or (),
        metrics=metric or (),
        rank=rank,
        threads=options.threads,
        device=options.device,
    )
    # Processes side by side would each train the extractor.
    return conduct(study, replace(options, workers=options.workers or 1), "evaluate")
