"""What a list of flaws says, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from gantlet.report.blocks import Verdict
from gantlet.report.numbers import text
from gantlet.studies.flaws.tables import KINDS, Listed


def verdicts(found: Listed, search: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yields the largest flaw, the others, and what is left."""
    smallest = search["smallest"]
    if not found.flaws:
        yield Verdict(
            claim=f"{found.name}: nothing significant of at least {smallest:g} standard "
            "deviations was found.",
            because=f"A linear critic tells {_told(found)} of held-out samples right"
            f"{_unlisted(found)}; {found.stopped}.{_power(found)}",
        )
        return
    first, size = found.flaws[0], found.number(1, "size")
    alone, p = found.number(1, "told by it alone"), found.number(1, "p").value
    yield Verdict(
        claim=f"{found.name}: the largest flaw is: {first['title']}.",
        because=f"It is {text(size)} standard deviations of the real samples in size, mostly in "
        f"{KINDS[first['kind']]}, and alone tells {text(alone)} of held-out samples right, where "
        f"chance is 0.5; p = {p or 0.0:.2g}.",
    )
    if len(found.flaws) > 1:
        rest = "; ".join(f["title"] for f in found.flaws[1:])
        yield Verdict(claim=f"{found.name}: further flaws, the largest first: {rest}.")
    left = found.number(len(found.flaws), "still told")
    known, they = ("this", "it") if len(found.flaws) == 1 else ("these", "all of them")
    yield Verdict(
        claim=f"{found.name}: beyond {known}, nothing significant of at least {smallest:g} "
        "standard deviations was found."
        if "were looked at" not in found.stopped
        else f"{found.name}: the search ended early: {found.stopped}.",
        because=f"A critic blind to {they} still tells {text(left)} of held-out samples right "
        f"({_told(found)} before); {found.stopped}.{_power(found)}",
    )


def _told(found: Listed) -> str:
    return text(found.scores["told by a linear critic"])


def _unlisted(found: Listed) -> str:
    """Returns what it means if a critic tells sets apart in which no flaw was found."""
    low = found.scores["told by a linear critic"].low
    if low is None or low <= 0.5:
        return ""
    return ", so something differs that no measurement and no single direction shows"


def _power(found: Listed) -> str:
    if found.detectable is None:
        return ""
    return (
        " With so many samples a measurement whose mean is shifted by at least "
        f"{found.detectable:.2g} deviations is found nine times in ten."
    )
