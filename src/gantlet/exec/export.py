"""Numbers of several runs as one table."""

from collections.abc import Sequence
from pathlib import Path

from gantlet.core.errors import UserError
from gantlet.exec.publish import published
from gantlet.report.blocks import Report
from gantlet.report.text import render
from gantlet.store.files import write_bytes

_FORMATS = {".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex"}


def export_rows(runs: Sequence[Path], to: Path) -> int:
    """Writes every estimate of ``runs`` to one file and returns how many there are.

    Raises:
        UserError: If there is no run, a run has no report, or the format is not known.
    """
    if not runs:
        raise UserError("Name at least one run folder.")
    if to.suffix not in _FORMATS:
        raise UserError(f"--to must end in {', '.join(_FORMATS)}. Got {to.name!r}.")
    rows = [row for run in runs for row in published(run).rows]
    report = Report(title="Exported estimates", command="export", rows=rows)
    content = render(report, _FORMATS[to.suffix])
    write_bytes(to, content.encode())
    return len(rows)
