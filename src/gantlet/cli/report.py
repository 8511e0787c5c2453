"""gantlet report."""

from pathlib import Path
from typing import Literal


def report(
    run: Path,
    /,
    *,
    format: Literal["text", "html", "json", "markdown", "latex", "csv"] = "text",  # noqa: A002
    summary: bool = False,
    out: Path | None = None,
    figure: str | None = None,
) -> int:
    """Show the report of a run again, in any format.

    Args:
        run: Run folder, or its report.json.
        format: In which form.
        summary: Leave out the rows of single trials and the files of pictures. Together with
            --format json: a small file that makes the same tables and charts again.
        out: File to write; without it the report is printed.
        figure: Write one chart instead, by its title or the beginning of it, to --out: a .pdf,
            .svg or .png.
    """
    import sys

    from gantlet.core.errors import UserError
    from gantlet.exec.publish import published
    from gantlet.report.summary import check_rows, summarize
    from gantlet.report.terminal import show
    from gantlet.report.text import render
    from gantlet.store.files import write_bytes

    told = summarize(published(run)) if summary else published(run)
    if format == "csv":
        check_rows(told)
    if figure is not None:
        if out is None:
            raise UserError("--figure needs a file. Give --out, such as chart.pdf.")
        told.figure(figure, out)
        return 0
    if format == "text" and out is None:
        show(told, path=str(run / "report.html") if run.is_dir() else None)
        return 0
    content = render(told, format)
    if out is None:
        sys.stdout.write(content)
    else:
        write_bytes(out, content.encode())
    return 0
