"""gantlet export."""

from pathlib import Path


def export(*runs: Path, to: Path = Path("results.csv")) -> int:
    """Write the numbers of runs as one table, one estimate a row.

    Args:
        runs: Run folders.
        to: File to write: .csv, .json (a list of rows), .md or .tex.
    """
    from gantlet import api
    from gantlet.core.errors import printable

    n = api.export(runs, to=to)
    print(printable(f"{n} rows of {len(runs)} runs written to {to}"))
    return 0
