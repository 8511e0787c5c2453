"""A report as one page that needs nothing else: no network, no library, no script to be read."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import cast

from gantlet.core.budget import Spend
from gantlet.core.errors import UserError
from gantlet.report import html_blocks, numbers
from gantlet.report import json as report_json
from gantlet.report.blocks import (
    Block,
    Fact,
    Forest,
    Gallery,
    Lines,
    Report,
    Scatter,
    Section,
    Table,
)
from gantlet.report.markup import Markup, tag

MOST_BYTES = 10_000_000
"""A page above this is an error: browsers and mail give up on such files."""

# Rows above this are left to report.json, so that a normal page stays below two megabytes.
_MOST_DATA = 1_000_000


def render(report: Report) -> str:
    """Returns the page.

    Raises:
        UserError: If it would be larger than ``MOST_BYTES``.
    """
    body = [
        _top(report),
        tag("main", *_main(report)),
        _foot(report),
        _data(report),
        tag("script", Markup(_asset("page.js"))),
    ]
    page = "<!doctype html>\n" + tag("html", _head(report), tag("body", *body), lang="en")
    size = len(page.encode())
    if size > MOST_BYTES:
        raise UserError(
            f"The page would have {numbers.text(size, 'B')}, above the "
            f"{numbers.text(MOST_BYTES, 'B')} that browsers open with ease. "
            "Put fewer pictures or curves into it."
        )
    return page + "\n"


@cache
def _asset(name: str) -> str:
    return files("gantlet.report").joinpath(name).read_text(encoding="utf-8")


def _head(report: Report) -> Markup:
    digest = hashlib.sha256(_asset("page.js").encode()).digest()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode('ascii')}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", report.title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(_asset("page.css"))),
    )


def _top(report: Report) -> Markup:
    return tag(
        "header", tag("p", f"gantlet {report.command}", class_="kicker"), tag("h1", report.title)
    )


def _main(report: Report) -> list[Markup]:
    before, after = _around_main_table(report)
    drawn = html_blocks.blocks(report.blocks, 2)
    return [
        tag("div", _answer(report), _facts(report), class_="opening"),
        *drawn[:before],
        *_caveats(report),
        *_contents(report.blocks, before)[: after > 2],
        *drawn[before:],
    ]


def _around_main_table(report: Report) -> tuple[int, int]:
    """Returns how many blocks come up to the main table, and how many after it."""
    found = (k for k, b in enumerate(report.blocks, start=1) if isinstance(b, Table))
    before = next(found, 0)
    return before, len(report.blocks) - before


def _answer(report: Report) -> Markup:
    verdicts = [html_blocks.verdict(v) for v in report.verdicts]
    none = [tag("p", "No conclusion can be drawn.", class_="claim")]
    return tag("section", tag("h2", "Answer"), *(verdicts or none), class_="answer")


def _facts(report: Report) -> Markup:
    items = [*report.facts.items, *_spent(report.spend)]
    return tag("section", tag("h2", "How this was made"), html_blocks.facts(items), class_="made")


def _spent(spend: Spend | None) -> list[Fact]:
    if spend is None:
        return []
    parts = (
        numbers.text(spend.flops, "FLOP"),
        f"{spend.examples:,} examples",
        f"{spend.steps:,} steps",
        numbers.text(spend.seconds, "s"),
    )
    return [Fact(name="Spent in training", value=", ".join(parts))]


def _caveats(report: Report) -> list[Markup]:
    if not report.caveats:
        return []
    items = [tag("li", c.text) for c in report.caveats]
    return [tag("section", tag("h2", "Read with care"), tag("ul", *items), class_="caveats")]


def _contents(blocks: Sequence[Block], before: int) -> list[Markup]:
    links = [
        tag("li", tag("a", b.title, href=f"#b{k}"))
        for k, b in enumerate(blocks[before:], start=before + 1)
        if isinstance(b, Table | Lines | Scatter | Forest | Gallery | Section)
    ]
    return [tag("nav", tag("ul", *links), aria_label="On this page")]


def _foot(report: Report) -> Markup:
    items = [Fact(name=k, value=_words(v)) for k, v in report.question.items()]
    asked = [
        tag(
            "details",
            tag("summary", "The question, with every setting written out"),
            html_blocks.facts(items),
        )
    ]
    return tag("footer", *(asked if items else []), tag("p", class_="tools", id="tools"))


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return numbers.text(value)
    if isinstance(value, list | tuple):
        return "; ".join(map(_words, cast("Sequence[object]", value)))
    return json.dumps(value, ensure_ascii=False, default=str)


def _data(report: Report) -> Markup:
    """Returns the tidy result for machines; as ``<`` never occurs, it cannot end its element."""
    text = report_json.dumps(report, blocks=False)
    if len(text) > _MOST_DATA:
        told = {**report.extra, "note": "the rows are in report.json, to keep this page small"}
        text = report_json.dumps(replace(report, rows=(), extra=told), blocks=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return tag("script", Markup(text), type="application/json", id="report")
