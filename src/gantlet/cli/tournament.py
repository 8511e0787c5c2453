"""gantlet tournament."""

from dataclasses import replace

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions, Whole
from gantlet.core.errors import UserError


def tournament(
    *runs: str,
    samples: Whole = 1000,
    seed: Whole = 0,
    running: RunOptions | None = None,
) -> int:
    """Rate generators and critics by matches against each other.

    Args:
        runs: Run folders of gantlet train or compare, of the same data.
        samples: How many samples of each generator to judge at most.
        seed: Draws the samples.
        running: How and where to run.
    """
    from gantlet.studies.tournament import Tournament

    options = running or RunOptions()
    if options.device != "cpu":
        raise UserError("A tournament is played on the cpu. Leave out --device.")
    study = Tournament(runs=runs, samples=samples, seed=seed, threads=options.threads)
    return conduct(study, replace(options, workers=1), "tournament")
