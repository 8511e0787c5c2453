"""The article's table, measured: which family is parallel, efficient, reversible?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from gantlet.report.blocks import Caveat, Cell, Column, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.studies import names
from gantlet.studies.summary import Contestant
from gantlet.studies.tradeoffs.part import Part
from gantlet.studies.tradeoffs.plan import FAMILIES
from gantlet.studies.tradeoffs.target import Budgets, cost_to_reach, of_family, target

MOST_DEPTH = 4
"""A family is parallel if a sample needs at most so many dependent network evaluations."""

MOST_RATIO = 3.5
"""It is efficient if it reaches the target within so many times the cheapest family's FLOPs."""

MOST_ERROR = 1e-3
"""It is reversible if the code of a sample gives it back, in fp32, to this share of its size."""

# The article's own classification (Odena 2019, question 1), for the families that it names.
_ARTICLE = {
    "gan": "parallel, efficient",
    "flow": "parallel, reversible",
    "ar": "efficient, reversible",
}


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a family has a property, and the number behind it."""

    holds: bool
    because: str

    @property
    def cell(self) -> str:
        """The answer as a table shows it."""
        return f"{'yes' if self.holds else 'no'}: {self.because}"


def article_table(budgets: Budgets) -> Part:
    """Returns the table, and whether any family has all three properties."""
    wanted = target(budgets)
    answers = {f: _answers(budgets, f, wanted) for f in FAMILIES}
    found = {f: a for f, a in answers.items() if a is not None}
    rows: list[Sequence[Cell]] = [
        [family, *(a.cell for a in three), _ARTICLE.get(family, "not named")]
        for family, three in found.items()
    ]
    table = Table(
        title="Parallel, efficient, reversible: measured",
        columns=[
            Column(name="family"),
            Column(name="parallel", help="Dependent network evaluations of a sample."),
            Column(name="efficient", help="Training FLOPs to reach the common target."),
            Column(name="reversible", help="Error of sample to code to sample in fp32."),
            Column(name="the article says"),
        ],
        rows=rows,
        note=_rules(wanted),
    )
    return Part(
        title="The article's table, measured",
        verdicts=[_verdict(found)],
        caveats=[
            Caveat(
                text="Whether a family reaches the target is read off its mean over seeds; the "
                "thresholds of the three properties are choices; the numbers stand beside them."
            )
        ],
        blocks=[table],
    )


def _rules(wanted: float | None) -> str:
    reach = "no family gave samples" if wanted is None else f"energy distance {wanted:.3g}"
    return (
        f"Parallel: at most {MOST_DEPTH} dependent network evaluations a sample. Efficient: "
        f"reaches the target ({reach}: what half of the families reach at some budget) within "
        f"{MOST_RATIO:g} times the FLOPs of the cheapest family that does. Reversible: a code "
        f"that gives the sample back to {MOST_ERROR:g} of its size, or an exact probability."
    )


def _answers(
    budgets: Budgets, family: str, wanted: float | None
) -> tuple[Answer, Answer, Answer] | None:
    contestant = of_family(budgets[max(budgets)], family)
    if contestant is None or not contestant.outcomes or wanted is None:
        return None
    return (
        _parallel(contestant),
        _efficient(budgets, family, wanted),
        _reversible(contestant),
    )


def _parallel(c: Contestant) -> Answer:
    depth = c.estimate(names.DEPTH).value or 0.0
    return Answer(depth <= MOST_DEPTH, f"{depth:.0f} evaluation{'' if depth == 1 else 's'}")


def _efficient(budgets: Budgets, family: str, wanted: float) -> Answer:
    costs = {f: cost_to_reach(budgets, f, wanted) for f in FAMILIES}
    known = [c for c in costs.values() if c is not None]
    cost = costs[family]
    if cost is None:
        return Answer(holds=False, because=f"not within {shown(max(budgets), 'FLOP')}")
    return Answer(cost <= MOST_RATIO * min(known), shown(cost, "FLOP"))


def _reversible(c: Contestant) -> Answer:
    error, likelihood = c.estimate(names.INVERSE), c.estimate(names.LIKELIHOOD)
    if error.value is not None:
        return Answer(error.value <= MOST_ERROR, f"round trip {error.value:.1g}")
    if likelihood.value is not None and likelihood.kind == "exact":
        return Answer(holds=True, because="exact probability")
    why = "bound only" if likelihood.value is not None else "no likelihood"
    return Answer(holds=False, because=why)


def _verdict(found: dict[str, tuple[Answer, Answer, Answer]]) -> Verdict:
    every = [f for f, three in found.items() if all(a.holds for a in three)]
    because = "; ".join(
        f"{f}: " + (", ".join(_held(three)) or "none of the three") for f, three in found.items()
    )
    if every:
        be = "is" if len(every) == 1 else "are"
        claim = (
            f"Yes, by these rules and at these scales: {' and '.join(every)} {be} parallel, "
            "efficient and reversible."
        )
    else:
        claim = "No family is parallel, efficient and reversible at once here."
    return Verdict(claim=claim, because=because + ".")


def _held(three: tuple[Answer, Answer, Answer]) -> list[str]:
    properties = ("parallel", "efficient", "reversible")
    return [name for name, a in zip(properties, three, strict=True) if a.holds]
