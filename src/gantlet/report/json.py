"""A report for machines: one JSON object, from which the report can be rendered again."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from gantlet.core.budget import Spend
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.report import plain
from gantlet.report.blocks import Caveat, Facts, Report, Row, Verdict

_ESTIMATE = ("value", "low", "high", "level", "n", "unit", "better", "method")
_KEYS = frozenset(
    {
        "command",
        "question",
        "spend",
        "rows",
        "verdicts",
        "caveats",
        "report",
        "title",
        "facts",
        "blocks",
    }
)


def as_json(report: Report, path: str | None = None, *, blocks: bool = True) -> dict[str, Any]:
    """Returns the report as one object of plain JSON values, without NaN or infinity.

    Args:
        report: What to write.
        path: Where the page is for people, or None.
        blocks: Whether tables, charts and pictures are wanted too; they make it large.
    """
    extra = {k: v for k, v in report.extra.items() if k not in _KEYS}
    rest = {"blocks": plain.encode(report.blocks)} if blocks else {}
    return {
        "command": report.command,
        "question": plain.encode(report.question),
        "spend": None if report.spend is None else plain.encode(dataclasses.asdict(report.spend)),
        "rows": [_row(row) for row in report.rows],
        "verdicts": [{"claim": v.claim, "because": v.because} for v in report.verdicts],
        "caveats": [c.text for c in report.caveats],
        "report": path,
        "title": report.title,
        "facts": plain.encode(report.facts),
        **plain.encode(extra),
        **rest,
    }


def dumps(report: Report, path: str | None = None, *, blocks: bool = True) -> str:
    """Returns ``as_json`` as text."""
    return json.dumps(as_json(report, path, blocks=blocks), allow_nan=False)


def from_json(data: Any) -> Report:
    """Returns the report that ``as_json`` wrote; numbers that were not finite are lost.

    Raises:
        UserError: If ``data`` is not a report, or one that this version cannot read.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"This is not a report: a JSON object is needed. Got {data!r:.40}.")
    missing = sorted({"command", "question", "rows", "verdicts", "caveats"} - data.keys())
    if missing:
        raise UserError(f"This is not a report: it has no {', '.join(missing)}.")
    try:
        return _report(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"This report cannot be read: {error}.") from error


def _report(data: Mapping[str, Any]) -> Report:
    spend = data.get("spend")
    facts = plain.decode(data["facts"]) if "facts" in data else Facts()
    return Report(
        title=data.get("title", data["command"]),
        command=data["command"],
        question=data["question"],
        spend=None if spend is None else Spend(**spend),
        facts=facts,
        verdicts=tuple(Verdict(**v) for v in data["verdicts"]),
        caveats=tuple(Caveat(text=text) for text in data["caveats"]),
        rows=tuple(_read_row(row) for row in data["rows"]),
        blocks=tuple(plain.decode_block(b) for b in data.get("blocks", ())),
        extra={k: v for k, v in data.items() if k not in _KEYS},
    )


def _row(row: Row) -> dict[str, Any]:
    where = {"data": row.data, "model": row.model, "seed": row.seed, "name": row.name}
    return where | plain.estimate(row.estimate)


def _read_row(row: Mapping[str, Any]) -> Row:
    return Row(
        data=row["data"],
        model=row["model"],
        seed=row["seed"],
        name=row["name"],
        estimate=Estimate(**{k: row[k] for k in _ESTIMATE}),
    )
