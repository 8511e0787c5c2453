"""gantlet export."""

from pathlib import Path


def export(*runs: Path, to: Path = Path("results.csv")) -> int:
    """Write the numbers of runs as one table, one estimate a row.

    Args:
        runs: Run folders.
        to: File to write: .csv, .json (a list of rows), .md or .tex.
    """
    from gantlet.core.errors import printable
    from gantlet.exec.export import export_rows

    n = export_rows(runs, to)
    print(printable(f"{n} rows of {len(runs)} runs written to {to}"))
    return 0
