"""Writes the report of a run into its folder, and reads it back."""

from pathlib import Path

from gantlet.core.errors import UserError
from gantlet.report.blocks import Report
from gantlet.report.json import as_json, from_json
from gantlet.report.text import render
from gantlet.store.files import DamagedError, read_sealed, write_bytes, write_sealed
from gantlet.store.run import Run


def publish(report: Report, run: Run) -> Path:
    """Writes ``report.json`` and ``report.html`` and returns the path of the page."""
    page = run.path / "report.html"
    write_sealed(run.path / "report.json", as_json(report, str(page)))
    write_bytes(page, render(report, "html").encode())
    return page


def published(path: Path) -> Report:
    """Returns the report of a run folder, or of a report.json.

    Raises:
        UserError: If there is none, or it was changed since.
    """
    file = path / "report.json" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path} has no report.json yet. Run its command again to go on.")
    try:
        return from_json(read_sealed(file))
    except DamagedError as error:
        raise DamagedError(
            f"{error} Run the command of that run again to make it anew."
        ) from error
