"""JSON format of a report, from which the report can be rendered again."""

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final, get_args, get_origin

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Spend
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Dot,
    Facts,
    Gallery,
    Point,
    Report,
    Row,
    Section,
    Series,
    Verdict,
)

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

# ----------------------------------------------------------------------------
# A report without what its page does not show: small enough to keep beside the code.
# ----------------------------------------------------------------------------

LEFT_OUT = "left_out"
"""The key under which a summary counts what it lacks."""


PER_TRIAL = "per_trial"
"""The key under which a report may keep plain data of single trials; a summary has none."""


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
    extra = {k: v for k, v in report.extra.items() if k != PER_TRIAL}
    return replace(report, rows=over_seeds, blocks=blocks, extra={**extra, LEFT_OUT: total})


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
    counts = report.extra.get(LEFT_OUT)
    if not isinstance(counts, Mapping):
        return {}
    return {name: n for name, n in counts.items() if isinstance(n, int)}


def _without_pictures(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(map(_without_picture, blocks))


def _without_picture(block: Block) -> Block:
    match block:
        case Section():
            return replace(block, blocks=_without_pictures(block.blocks))
        case Gallery():
            return replace(
                block, pictures=tuple(replace(p, png=b"", sounds=()) for p in block.pictures)
            )
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


SCHEMA = 1
"""The version of the JSON object; one without a version is older than all."""

ESTIMATE = ("value", "low", "high", "level", "n", "unit", "better", "method")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The JSON object as it is typed; its other keys are those of ``Report.extra``."""

    command: str
    question: Mapping[str, Any]
    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    caveats: Sequence[str]
    schema: int = 0
    spend: Spend | None = None
    report: str | None = None
    title: str | None = None
    facts: Facts = dataclasses.field(default_factory=Facts)
    blocks: Sequence[Block] = ()


_KEYS = frozenset(f.name for f in dataclasses.fields(_Written))


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
        "schema": SCHEMA,
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
    schema = data.get("schema", 0)
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError("This report was written by a newer Gantlet. Upgrade to read it.")
    try:
        found = read_as(_Written, {k: v for k, v in data.items() if k in _KEYS})
    except UserError as error:
        summary = f"This report cannot be read: {error} Was it edited, or damaged?"
        raise UserError(summary) from error
    return _report(found, {k: v for k, v in data.items() if k not in _KEYS})


def _report(found: _Written, extra: Mapping[str, Any]) -> Report:
    return Report(
        title=found.command if found.title is None else found.title,
        command=found.command,
        question=found.question,
        spend=found.spend,
        facts=found.facts,
        verdicts=found.verdicts,
        caveats=tuple(Caveat(text=text) for text in found.caveats),
        rows=found.rows,
        blocks=found.blocks,
        extra=extra,
    )


def _row(row: Row) -> dict[str, Any]:
    where = {"data": row.data, "model": row.model, "seed": row.seed, "name": row.name}
    return where | estimate_fields(row.estimate)


# Blocks as plain JSON values


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


def _finite(x: float | None) -> float | None:
    return float(x) if x is not None and math.isfinite(x) else None


# ----------------------------------------------------------------------------
# Typed objects from plain JSON values; a wrong one is named by its path.
# ----------------------------------------------------------------------------


def read_as(cls: type[T], raw: object) -> T:
    """Returns ``raw``, plain JSON values, as an object of a dataclass; sequences are tuples.

    Nothing is converted or left out: a field of another type, an unknown or a missing one is an
    error. Numbers stay as they were written, whole or not.

    Args:
        cls: The dataclass.
        raw: What ``json.loads`` returned.

    Raises:
        UserError: If a field is wrong; says which by its path, such as ``rows[3].value``.
    """
    from cattrs import BaseValidationError, transform_error

    try:
        return _converter().structure(raw, cls)
    except (BaseValidationError, ValueError, TypeError) as error:
        found = transform_error(error, "", _in_words)
        # A name that is not known is also one that is missing, and says more.
        first, *more = [_place_first(s) for s in sorted(found, key=lambda s: _UNKNOWN not in s)]
        also = f" (and {len(more)} more)" if more else ""
        raise UserError(f"{first}{also}.") from error


_UNKNOWN = "has an unknown field"


def _in_words(error: BaseException, _wanted: type[Any] | None) -> str:
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        return f"{_UNKNOWN} {min(map(str, error.extra_fields))!r}"
    if isinstance(error, KeyError):
        return "is missing"
    # The message of an object that checks itself is a sentence, and ends like one.
    summary = str(error).rstrip(".")
    return summary if isinstance(error, _WrongError) else f"is wrong: {summary}"


def _place_first(line: str) -> str:
    problem, _, place = line.rpartition(" @ ")
    return f"{place.removeprefix('.') or 'it'} {problem}"


class _WrongError(TypeError):
    """A value of another type than the field's."""

    def __init__(self, wanted: str, got: object) -> None:
        super().__init__(f"should be {wanted}, but is {got!r:.60}")


@cache
def _converter() -> "Converter":
    """Returns the converter to typed objects; made once, when first something is read."""
    from cattrs import Converter

    made = Converter(forbid_extra_keys=True)
    for kind, wanted in ((str, "text"), (bool, "true or false")):
        made.register_structure_hook(kind, _plain(kind, wanted))
    made.register_structure_hook(int, _whole)
    made.register_structure_hook(float, _number)
    made.register_structure_hook(bytes, _bytes)
    made.register_structure_hook_func(lambda t: t == Cell, lambda raw, _: _cell(raw, made))
    made.register_structure_hook_func(lambda t: t == Block, lambda raw, _: _block(raw, made))
    made.register_structure_hook_func(_is_choice, _choice)

    def listed(cls: Any) -> Any:
        return _list(cls, made)

    def objects(cls: Any) -> Any:
        return _object(cls, made)

    made.register_structure_hook_factory(_is_listed, listed)
    made.register_structure_hook_factory(dataclasses.is_dataclass, objects)
    return made


def _plain(kind: type[Any], wanted: str) -> Callable[[object, Any], Any]:
    def read(raw: object, _: Any) -> Any:
        if not isinstance(raw, kind):
            raise _WrongError(wanted, raw)
        return raw

    return read


def _number(raw: object, _: Any) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise _WrongError("a number", raw)
    return raw


def _whole(raw: object, _: Any) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or raw != int(raw):
        raise _WrongError("a whole number", raw)
    return raw


def _is_choice(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _choice(raw: object, wanted: Any) -> Any:
    if not isinstance(raw, str) or raw not in get_args(wanted):
        raise _WrongError(f"one of {', '.join(get_args(wanted))}", raw)
    return raw


def _is_listed(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Sequence or origin is tuple


def _list(kind: Any, converter: "Converter") -> Callable[[Any, Any], Any]:
    from cattrs.cols import homogenous_tuple_structure_factory

    items = homogenous_tuple_structure_factory(kind, converter)

    def read(raw: Any, _: Any) -> Any:
        # A text is a sequence too, of its characters.
        if not isinstance(raw, list | tuple):
            raise _WrongError("a list", raw)
        return items(raw, kind)

    return read


def _bytes(raw: object, _: Any) -> bytes:
    if not isinstance(raw, Mapping) or raw.get("kind") != "bytes":
        raise _WrongError("bytes", raw)
    try:
        return base64.b64decode(raw["base64"], validate=True)
    except (LookupError, TypeError, ValueError) as error:
        raise _WrongError("bytes in base64", raw) from error


def _cell(raw: object, converter: "Converter") -> Cell:
    if isinstance(raw, Mapping):
        return converter.structure(_unmarked(raw, "estimate"), Estimate)
    if raw is None or isinstance(raw, str | int | float):
        return raw
    raise _WrongError("text, a number or an estimate", raw)


_BLOCKS: Mapping[str, type[Any]] = {c.__name__.lower(): c for c in get_args(Block)}


def _block(raw: object, converter: "Converter") -> Block:
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if not isinstance(kind, str) or kind not in _BLOCKS:
        raise _WrongError(f"a block ({', '.join(_BLOCKS)})", raw)
    found: Block = converter.structure(raw, _BLOCKS[kind])
    return found


def _object(cls: type[Any], converter: "Converter") -> Callable[[Any, Any], Any]:
    """Returns the reader of a dataclass, which ``encode`` wrote with its name as ``kind``."""
    from cattrs.gen import make_dict_structure_fn

    fields = make_dict_structure_fn(cls, converter)
    kind = cls.__name__.lower()

    def read(raw: Any, _: Any) -> Any:
        if not isinstance(raw, Mapping):
            raise _WrongError("an object", raw)
        # An estimate has a field of that name: it loses its mark where it is known to have one.
        own = dict(raw) if cls is Estimate else _unmarked(raw, kind)
        if cls is Row:
            own = _with_estimate(own)
        if cls is Dot and isinstance(own.get("estimate"), Mapping):
            own["estimate"] = _unmarked(own["estimate"], "estimate")
        return fields(_with_nan(cls, own), cls)

    return read


def _unmarked(raw: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if (k, v) != ("kind", kind)}


def _with_estimate(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row, which is written flat, with its estimate as an object."""
    estimate = {k: row[k] for k in ESTIMATE if k in row}
    return {k: v for k, v in row.items() if k not in ESTIMATE} | {"estimate": estimate}


def _with_nan(cls: type[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Returns ``fields`` with null where a number must stand turned back into NaN."""
    names = {Series: ("x", "y", "low", "high"), Point: ("x", "y")}.get(cls, ())
    return fields | {k: _or_nan(fields[k]) for k in names if k in fields}


def _or_nan(x: Any) -> Any:
    if isinstance(x, list):
        return [_or_nan(each) for each in x]
    return math.nan if x is None else x
