"""One report, any format."""

from collections.abc import Callable
from importlib import import_module

from gantlet.core.errors import unknown
from gantlet.report.blocks import Report

FORMATS = {
    "html": "gantlet.report.html:render",
    "json": "gantlet.report.json:dumps",
    "markdown": "gantlet.report.markdown:render",
    "md": "gantlet.report.markdown:render",
    "latex": "gantlet.report.latex:render",
    "tex": "gantlet.report.latex:render",
    "csv": "gantlet.report.csv:render",
    "text": "gantlet.report.terminal:render",
}
"""Where each format is written; loaded when it is asked for."""


def render(report: Report, fmt: str) -> str:
    """Returns ``report`` in the format ``fmt``, one of ``FORMATS``.

    Raises:
        UserError: If the format is not known.
    """
    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS)
    module, _, name = FORMATS[fmt].partition(":")
    write: Callable[[Report], str] = getattr(import_module(module), name)
    return write(report)
