"""The list of flaws as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

from gantlet.core.estimate import Estimate
from gantlet.critics.flaw import Ending
from gantlet.report.blocks import Cell, Column, Table
from gantlet.report.format import text
from gantlet.studies.flaws.tried import BEFORE, Key, Quantity


def keys(flaws: int, others: Sequence[str] = ()) -> Iterator[Key]:
    """Yields every number that a list of so many flaws may have, sizes in other sets last."""
    yield BEFORE
    ranks = range(1, flaws + 1)
    yield from (Key(k, what) for k, what in product(ranks, Quantity))
    yield from (Key(k, Quantity.SIZE, other) for k, other in product(ranks, others))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The list of one set.

    Attributes:
        name: What the set is called.
        flaws: Title, kind, shift and naming of each, the largest first.
        ending: How the search ended.
        scores: All numbers.
        note: What the features are.
        detectable: The smallest difference of means that would have been found nine times in ten.
    """

    name: str
    flaws: Sequence[Mapping[str, Any]]
    ending: Ending
    scores: Mapping[Key, Estimate]
    note: str
    detectable: float | None = None

    def number(self, k: int, what: Quantity) -> Estimate:
        """Returns a number of the flaw on place ``k``, counted from 1."""
        return self.scores[Key(k, what)]

    def ranks(self, *, named: bool) -> list[int]:
        """Returns the places of the flaws that have a name, or of those that have none."""
        return [k for k, flaw in enumerate(self.flaws, 1) if ("probe" in flaw) == named]

    def unnamed(self) -> str:
        """Returns how many flaws have no name, in words; nothing where all have one."""
        ranks = self.ranks(named=False)
        count, further = len(ranks), "" if 1 in ranks else "further "
        directions = "direction" if count == 1 else "directions"
        return f"{count} {further}{directions} without a name" if count else ""


KINDS = {"location": "the mean", "scale": "the spread", "shape": "the shape"}
"""What differs, in words."""


def list_table(found: Listed) -> Table:
    """Returns the list of one set, the largest flaw first, those without a name as one row."""
    start: list[Cell] = ["–", "no flaw removed", *["–"] * 5, found.scores[BEFORE]]
    return Table(
        title=f"Flaws of {found.name}",
        columns=[
            Column(name="rank", help="By size."),
            Column(name="flaw"),
            Column(
                name="explained by corruption",
                help="The corruption that does this to real samples.",
            ),
            Column(name="what differs", help="Mean, spread or shape of what shows it."),
            Column(name="size", help="Distance in standard deviations of the real samples."),
            Column(
                name=Quantity.ALONE.value,
                help="Share of held-out samples classified right; chance is 0.5.",
            ),
            Column(name="p", help="Permutation test, corrected for the whole list."),
            Column(
                name=Quantity.RESIDUAL.value,
                help="Of a linear critic with this flaw and all larger ones removed.",
            ),
        ],
        rows=[
            start,
            *(_row(found, k) for k in found.ranks(named=True)),
            *_unnamed_row(found),
        ],
        note="All numbers are of held-out samples. Value ± half the 95 % interval. Size: beyond "
        "what the other flaws explain.",
    )


def shared_table(lists: Sequence[Listed]) -> Iterator[Table]:
    """Yields which flaws of each set the others have too."""
    for found in lists:
        others = [o.name for o in lists if o.name != found.name]
        if found.flaws:
            yield Table(
                title=f"Flaws of {found.name} in the other sets",
                columns=[
                    Column(name="flaw"),
                    Column(name=f"size in {found.name}"),
                    *(Column(name=f"size in {name}") for name in others),
                    Column(name="whose"),
                ],
                rows=[_shared_row(found, k, others) for k in range(1, len(found.flaws) + 1)],
                note="A negative size: the means differ the other way. A flaw is shared with a "
                "set in which its size is surely above half of what it is here.",
            )


def sharers(found: Listed, k: int, others: Sequence[str]) -> list[str]:
    """Returns the other sets that have a flaw too, at least half as much."""
    size = found.number(k, Quantity.SIZE).value or 0.0
    known = [(name, found.scores.get(Key(k, Quantity.SIZE, name))) for name in others]
    return [n for n, e in known if e is not None and e.low is not None and e.low > size / 2]


def _row(found: Listed, k: int) -> list[Cell]:
    flaw = found.flaws[k - 1]
    numbers = (found.number(k, what) for what in (Quantity.SIZE, Quantity.ALONE))
    p = found.number(k, Quantity.P).value
    kind = KINDS[flaw["kind"]]
    cause = flaw.get("cause", "–")
    return [
        str(k),
        flaw["title"],
        cause,
        kind,
        *numbers,
        _p(p),
        found.number(k, Quantity.RESIDUAL),
    ]


def _unnamed_row(found: Listed) -> Iterator[list[Cell]]:
    """Yields one row for all flaws without a name: their largest size, accuracy and p."""
    ranks = found.ranks(named=False)
    if not ranks:
        return
    kinds = dict.fromkeys(KINDS[found.flaws[k - 1]["kind"]] for k in ranks)
    size = found.number(ranks[0], Quantity.SIZE)
    best = max((found.number(k, Quantity.ALONE) for k in ranks), key=lambda e: e.value or 0.0)
    p = max(found.number(k, Quantity.P).value or 0.0 for k in ranks)
    left = found.number(ranks[-1], Quantity.RESIDUAL)
    several = len(ranks) > 1
    upper = "at most " if several else ""
    yield [
        spans(ranks),
        found.unnamed(),
        "–",
        ", ".join(kinds),
        f"{upper}{text(size)}",
        f"{upper}{text(best)}",
        f"{upper}{_p(p)}",
        left,
    ]


def spans(numbers: Sequence[int]) -> str:
    """Returns whole numbers in ascending order, runs of three or more by their ends.

    Example:
        >>> spans([2, 4, 5, 6, 8, 9])
        '2, 4–6, 8, 9'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    words = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words)


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"


def _shared_row(found: Listed, k: int, others: Sequence[str]) -> list[Cell]:
    sizes: list[Cell] = [found.scores.get(Key(k, Quantity.SIZE, name), "–") for name in others]
    also = sharers(found, k, others)
    whose = f"shared with {', '.join(also)}" if also else "its own"
    return [found.flaws[k - 1]["title"], found.number(k, Quantity.SIZE), *sizes, whose]
