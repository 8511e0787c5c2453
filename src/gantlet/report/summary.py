"""A report without what its page does not show: small enough to keep beside the code."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gantlet.core.errors import UserError
from gantlet.report.blocks import Block, Gallery, Report, Section

LEFT_OUT = "left_out"
"""The key under which a summary counts what it lacks."""


def summarize(report: Report) -> Report:
    """Returns the report without the rows of single trials and without the files of pictures.

    All that the page says stays: verdicts, limitations, tables, charts, captions, run details.
    What is left out is counted under the key ``left_out`` of the JSON object.
    """
    over_seeds = tuple(row for row in report.rows if row.seed is None)
    blocks = _without_pictures(report.blocks)
    lacks = {"rows": len(report.rows) - len(over_seeds), "pictures": _pictures(report.blocks)}
    before = _left_out(report)
    total = {name: n + before.get(name, 0) for name, n in lacks.items()}
    return replace(report, rows=over_seeds, blocks=blocks, extra={**report.extra, LEFT_OUT: total})


def check_rows(report: Report) -> None:
    """Checks that a report has the rows of single trials.

    Raises:
        UserError: If it is a summary.
    """
    lacks = _left_out(report).get("rows", 0)
    if lacks:
        raise UserError(
            f"This is a summary without its {lacks:,} rows of single trials, which a csv needs. "
            "Give the run folder, or choose another format."
        )


def _left_out(report: Report) -> dict[str, int]:
    told = report.extra.get(LEFT_OUT)
    if not isinstance(told, Mapping):
        return {}
    return {name: n for name, n in told.items() if isinstance(n, int)}


def _without_pictures(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(map(_without_picture, blocks))


def _without_picture(block: Block) -> Block:
    match block:
        case Section():
            return replace(block, blocks=_without_pictures(block.blocks))
        case Gallery():
            return replace(block, pictures=tuple(replace(p, png=b"") for p in block.pictures))
        case _:
            return block


def _pictures(blocks: Sequence[Block]) -> int:
    """Returns how many pictures there are with their files."""
    inner = sum(_pictures(b.blocks) for b in blocks if isinstance(b, Section))
    galleries = (b for b in blocks if isinstance(b, Gallery))
    return inner + sum(bool(p.png) for g in galleries for p in g.pictures)
