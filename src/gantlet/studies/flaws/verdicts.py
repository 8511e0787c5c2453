"""What a list of flaws says, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.critics.flaw import Ending, Stop
from gantlet.report.blocks import Verdict
from gantlet.report.format import text
from gantlet.studies.flaws.tables import KINDS, Listed
from gantlet.studies.flaws.tried import BEFORE, CRITIC, Quantity

_IN_CLAIM = {Stop.LIMIT, Stop.EXHAUSTED}
_EXAMINED = {"neural": "critic", "pca": "component"}


def verdicts(found: Listed, search: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yields the largest flaw, the others, and what is left."""
    smallest = search["smallest"]
    if not found.flaws:
        yield Verdict(
            claim=f"{found.name}: nothing significant of at least {smallest:g} standard "
            "deviations was found.",
            because=f"The {CRITIC} is {_before(found)} on held-out samples"
            f"{_unlisted(found)}; {ended(found.ending, search)}.{_power(found)}",
        )
        return
    yield _largest(found)
    further = _further(found)
    if further:
        yield Verdict(claim=f"{found.name}: further flaws, the largest first: {further}.")
    reason = "" if found.ending.stop in _IN_CLAIM else f"; {ended(found.ending, search)}"
    yield Verdict(
        claim=f"{found.name}: {_left(found, search)}.",
        because=f"The residual accuracy of a linear critic, all flaws of the list removed, is "
        f"{text(_residual(found))} ({_before(found)} with none removed){reason}.{_power(found)}",
    )


def ended(ending: Ending, search: Mapping[str, Any]) -> str:
    """Returns how a search ended, in words."""
    what, n = _EXAMINED.get(search["mode"], "direction"), ending.examined
    match ending.stop:
        case Stop.NOT_SIGNIFICANT:
            return f"the next {what} is not significant"
        case Stop.TOO_SMALL:
            return f"the next {what} is smaller than {search['smallest']:g} standard deviations"
        case Stop.EXHAUSTED:
            return f"the only {what} was examined" if n == 1 else f"all {n} {what}s were examined"
        case Stop.LIMIT:
            return f"{n} {what}{'s' * (n > 1)} were examined, the limit set by --most"


def _largest(found: Listed) -> Verdict:
    first, size = found.flaws[0], found.number(1, Quantity.SIZE)
    alone, p = found.number(1, Quantity.ALONE), found.number(1, Quantity.P).value
    is_named = "probe" in first
    title = first["title"] if is_named else "a direction without a name, shown below"
    return Verdict(
        claim=f"{found.name}: the largest flaw is: {title}.",
        because=f"It is {text(size)} standard deviations of the real samples in size, mostly in "
        f"{KINDS[first['kind']]}; the {Quantity.ALONE.value}, is {text(alone)}, where chance "
        f"is 0.5; p = {p or 0.0:.2g}.",
    )


def _further(found: Listed) -> str:
    """Returns the other flaws: those with a name one by one, those without together."""
    titles = [found.flaws[k - 1]["title"] for k in found.ranks(named=True) if k > 1]
    unnamed = [k for k in found.ranks(named=False) if k > 1]
    if unnamed:
        n = len(unnamed)
        titles.append(
            f"{n} {'further ' * bool(titles)}direction{'s' * (n > 1)} without a name, residual "
            f"accuracy {text(_residual(found))}"
        )
    return "; ".join(titles)


def _left(found: Listed, search: Mapping[str, Any]) -> str:
    what = _EXAMINED.get(search["mode"], "direction")
    known = "this" if len(found.flaws) == 1 else "these"
    match found.ending.stop:
        case Stop.LIMIT:
            return f"the search ended early: {ended(found.ending, search)}"
        case Stop.EXHAUSTED:
            return f"{ended(found.ending, search)}: beyond {known}, no {what} is left"
        case _:
            return (
                f"beyond {known}, nothing significant of at least {search['smallest']:g} standard "
                "deviations was found"
            )


def _residual(found: Listed) -> Estimate:
    return found.number(len(found.flaws), Quantity.RESIDUAL)


def _before(found: Listed) -> str:
    return text(found.scores[BEFORE])


def _unlisted(found: Listed) -> str:
    """Returns what it means if a critic tells sets apart in which no flaw was found."""
    low = found.scores[BEFORE].low
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
