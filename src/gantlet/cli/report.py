"""gantlet report."""

from pathlib import Path
from typing import Literal


def report(
    run: Path,
    /,
    *,
    format: Literal["text", "html", "json", "markdown", "latex", "csv"] = "text",  # noqa: A002
    out: Path | None = None,
) -> int:
    """Show the report of a run again, in any format.

    Args:
        run: Run folder, or its report.json.
        format: In which form.
        out: File to write; without it the report is printed.
    """
    import sys

    from gantlet.exec.publish import published
    from gantlet.report.terminal import show
    from gantlet.report.text import render
    from gantlet.store.files import write_bytes

    told = published(run)
    if format == "text" and out is None:
        show(told, path=str(run / "report.html") if run.is_dir() else None)
        return 0
    content = render(told, format)
    if out is None:
        sys.stdout.write(content)
    else:
        write_bytes(out, content.encode())
    return 0
