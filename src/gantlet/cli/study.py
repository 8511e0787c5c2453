"""gantlet study."""

from gantlet.cli.conduct import conduct
from gantlet.cli.options import RunOptions, WholeOrNone


def study(
    name: str,
    /,
    *,
    size: str = "small",
    data: str | None = None,
    seeds: WholeOrNone = None,
    running: RunOptions | None = None,
) -> int:
    """Answer one of the open questions with a whole experiment.

    Args:
        name: The study; `gantlet list studies` names them.
        size: small: minutes to an hour on two cores; full: hours, or a GPU; `gantlet show`, with
            the study's name, lists all.
        data: Another data set than the study's own.
        seeds: Another number of repeats than the study's own.
        running: How and where to run.
    """
    from gantlet.core.components import studies

    options = running or RunOptions()
    given = {"size": size, "threads": str(options.threads), "device": options.device}
    if data is not None:
        given["data"] = f'"{data}"'
    if seeds is not None:
        given["seeds"] = str(seeds)
    text = ",".join(f"{k}={v}" for k, v in given.items())
    made = studies.make(f"{name}:{text}" if ":" not in name else f"{name},{text}")
    return conduct(made, options, f"study-{name.partition(':')[0]}")
