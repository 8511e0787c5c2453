"""The list of flaws as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Cell, Column, Table


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The list of one set.

    Attributes:
        name: What the set is called.
        flaws: Title, kind, shift and naming of each, the largest first.
        stopped: Why the list ends.
        scores: All numbers: ``"1: size"`` and so on.
        note: What the features are.
        detectable: The smallest difference of means that would have been found nine times in ten.
    """

    name: str
    flaws: Sequence[Mapping[str, Any]]
    stopped: str
    scores: Mapping[str, Estimate]
    note: str
    detectable: float | None = None

    def number(self, k: int, what: str) -> Estimate:
        """Returns a number of the flaw on place ``k``, counted from 1."""
        return self.scores[f"{k}: {what}"]


KINDS = {"location": "the mean", "scale": "the spread", "shape": "the shape"}
"""What differs, in words."""


def list_table(found: Listed) -> Table:
    """Returns the list of one set, the largest flaw first."""
    total = found.scores["told by a linear critic"]
    start: list[Cell] = ["–", "before any is taken away", *["–"] * 5, total]
    return Table(
        title=f"Flaws of {found.name}",
        columns=[
            Column(name="rank"),
            Column(name="flaw"),
            Column(name="explained by", help="The damage that does this to real samples."),
            Column(name="what differs", help="Mean, spread or shape of what shows it."),
            Column(name="size", help="Distance in standard deviations of the real samples."),
            Column(name="told by it alone", help="Share of held-out samples told; 0.5 is chance."),
            Column(name="p", help="By permutation, corrected for the list."),
            Column(name="still told", help="By a linear critic that is blind to this and above."),
        ],
        rows=[start, *(_row(found, k) for k in range(1, len(found.flaws) + 1))],
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
    size = found.number(k, "size").value or 0.0
    known = [(name, found.scores.get(f"{k}: size in {name}")) for name in others]
    return [n for n, e in known if e is not None and e.low is not None and e.low > size / 2]


def _row(found: Listed, k: int) -> list[Cell]:
    flaw = found.flaws[k - 1]
    numbers = (found.number(k, what) for what in ("size", "told by it alone"))
    p = found.number(k, "p").value
    kind = KINDS[flaw["kind"]]
    cause = flaw.get("cause", "–")
    return [str(k), flaw["title"], cause, kind, *numbers, _p(p), found.number(k, "still told")]


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"


def _shared_row(found: Listed, k: int, others: Sequence[str]) -> list[Cell]:
    sizes: list[Cell] = [found.scores.get(f"{k}: size in {name}", "–") for name in others]
    also = sharers(found, k, others)
    whose = f"shared with {', '.join(also)}" if also else "its own"
    return [found.flaws[k - 1]["title"], found.number(k, "size"), *sizes, whose]
