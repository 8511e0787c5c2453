"""JSON format of a report, from which the report can be rendered again."""

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Spend
from gantlet.report import blocks
from gantlet.report.blocks import (
    Block,
    Caveat,
    Facts,
    Gallery,
    Point,
    Report,
    Row,
    Section,
    Series,
    Verdict,
)

# ----------------------------------------------------------------------------
# A report without what its page does not show: small enough to keep beside the code.
# ----------------------------------------------------------------------------

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
            f"This is a summary without its {lacks:,} per-trial rows, which a csv needs. "
            "Give the run directory, or choose another format."
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
    """Returns the number of embedded pictures."""
    inner = sum(_pictures(b.blocks) for b in blocks if isinstance(b, Section))
    galleries = (b for b in blocks if isinstance(b, Gallery))
    return inner + sum(bool(p.png) for g in galleries for p in g.pictures)


# ----------------------------------------------------------------------------
# JSON format of a report.
# ----------------------------------------------------------------------------

# The whole report


ESTIMATE = ("value", "low", "high", "level", "n", "unit", "better", "method")
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
    rest = {"blocks": encode(report.blocks)} if blocks else {}
    return {
        "command": report.command,
        "question": encode(report.question),
        "spend": None if report.spend is None else encode(dataclasses.asdict(report.spend)),
        "rows": [_row(row) for row in report.rows],
        "verdicts": [{"claim": v.claim, "because": v.because} for v in report.verdicts],
        "caveats": [c.text for c in report.caveats],
        "report": path,
        "title": report.title,
        "facts": encode(report.facts),
        **encode(extra),
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
    facts = decode(data["facts"]) if "facts" in data else Facts()
    return Report(
        title=data.get("title", data["command"]),
        command=data["command"],
        question=data["question"],
        spend=None if spend is None else Spend(**spend),
        facts=facts,
        verdicts=tuple(Verdict(**v) for v in data["verdicts"]),
        caveats=tuple(Caveat(text=text) for text in data["caveats"]),
        rows=tuple(_read_row(row) for row in data["rows"]),
        blocks=tuple(decode_block(b) for b in data.get("blocks", ())),
        extra={k: v for k, v in data.items() if k not in _KEYS},
    )


def _row(row: Row) -> dict[str, Any]:
    where = {"data": row.data, "model": row.model, "seed": row.seed, "name": row.name}
    return where | estimate_fields(row.estimate)


def _read_row(row: Mapping[str, Any]) -> Row:
    return Row(
        data=row["data"],
        model=row["model"],
        seed=row["seed"],
        name=row["name"],
        estimate=Estimate(**{k: row[k] for k in ESTIMATE}),
    )


# Blocks as plain JSON values and back


_KINDS: dict[str, type[Any]] = {
    c.__name__.lower(): c
    for c in (
        Estimate,
        blocks.Fact,
        blocks.Facts,
        blocks.Verdict,
        blocks.Caveat,
        blocks.Prose,
        blocks.Column,
        blocks.Table,
        blocks.Series,
        blocks.Lines,
        blocks.Point,
        blocks.Scatter,
        blocks.Dot,
        blocks.Group,
        blocks.Forest,
        blocks.Picture,
        blocks.Gallery,
        blocks.Section,
    )
}


def encode(value: object) -> Any:
    """Returns ``value`` as JSON values; a number that is not finite becomes null.

    Raises:
        TypeError: If it holds anything but blocks, mappings, sequences, text and numbers.
    """
    if isinstance(value, Estimate):
        return {"kind": "estimate", **estimate_fields(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__.lower(), **fields}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [encode(v) for v in value]
    return _encode_one(value)


def _encode_one(value: object) -> Any:
    if isinstance(value, bytes):
        return {"kind": "bytes", "base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float):
        return _finite(value)
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"A report cannot hold {type(value).__name__}.")


def estimate_fields(e: Estimate) -> dict[str, Any]:
    """Returns an estimate as JSON values, saying in ``method`` what could not be written."""
    value = _finite(e.value)
    low, high = _finite(e.low), _finite(e.high)
    notes = [e.method]
    if e.value is not None and value is None:
        notes.append(f"the value was {e.value:g}")
    if e.low is not None and e.high is not None and (low is None or high is None):
        notes.append(f"the interval was {e.low:g} to {e.high:g}")
        low = high = None
    return {
        "value": value,
        "low": low,
        "high": high,
        "level": e.level,
        "n": e.n,
        "unit": e.unit,
        "better": e.better,
        "method": "; ".join(filter(None, notes)),
    }


def decode(value: object) -> Any:
    """Returns the block or plain value that ``encode`` made; sequences come back as tuples.

    Raises:
        UserError: If a block is of a kind or has a field that this version does not know.
    """
    if isinstance(value, list):
        return tuple(decode(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if not isinstance(kind, str):
        return {k: decode(v) for k, v in value.items()}
    return _made(kind, {k: decode(v) for k, v in value.items() if k != "kind"})


def decode_block(value: object) -> Block:
    """Returns the block that ``encode`` made.

    Raises:
        UserError: If it is none.
    """
    block = decode(value)
    if not isinstance(block, Block):
        raise UserError("The report holds an invalid block; was it edited by hand?")
    return block


def _made(kind: str, fields: dict[str, Any]) -> Any:
    try:
        if kind == "bytes":
            return base64.b64decode(fields["base64"], validate=True)
        cls = _KINDS[kind]
        return cls(**_with_nan(cls, fields))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UserError(
            f"The report holds a {kind!r} that cannot be read ({error}). "
            "Read it with the version of gantlet that wrote it."
        ) from error


def _with_nan(cls: type[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Returns ``fields`` with null where a number must stand turned back into NaN."""
    if cls is Series:
        names = ("x", "y", "low", "high")
        return fields | {k: tuple(map(_or_nan, fields[k])) for k in names}
    if cls is Point:
        return fields | {k: _or_nan(fields[k]) for k in ("x", "y")}
    return fields


def _or_nan(x: float | None) -> float:
    return math.nan if x is None else x


def _finite(x: float | None) -> float | None:
    return float(x) if x is not None and math.isfinite(x) else None
