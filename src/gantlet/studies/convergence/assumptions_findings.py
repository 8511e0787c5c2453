"""What the outcomes of the first strategy hold, by part, row and column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.core.trial import Outcome
from gantlet.studies.convergence.assumptions_plan import Case, Part, case_of
from gantlet.studies.convergence.assumptions_trial import CONVERGED


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case and what it gave.

    Attributes:
        case: What was played.
        scores: What was measured.
        converged: How many starts converged.
        curve: Step and median distance at each check.
    """

    case: Case
    scores: Mapping[str, Estimate]
    converged: int
    curve: Sequence[tuple[int, float]]

    @property
    def is_whole(self) -> bool:
        """Whether every start converged."""
        return self.converged == self.case.starts

    @property
    def share(self) -> Estimate:
        """The share of starts that converged, in per cent."""
        return self.scores[CONVERGED]


def cells(outcomes: Sequence[Outcome], part: Part) -> list[Cell]:
    """Returns the cells of one part in the order in which they were planned."""
    found = [(case_of(o.trial), o) for o in outcomes]
    return [
        Cell(
            case=case,
            scores=o.scores,
            converged=int(o.details["converged"]),
            curve=[(int(step), float(off)) for step, off in o.details["curve"]],
        )
        for case, o in found
        if case.part == part
    ]


def grid(found: Sequence[Cell]) -> dict[str, dict[str, Cell]]:
    """Returns cells by row and column."""
    rows: dict[str, dict[str, Cell]] = {}
    for cell in found:
        rows.setdefault(cell.case.row, {})[cell.case.column] = cell
    return rows
