"""The report of the experiment."""

from collections.abc import Mapping, Sequence
from typing import Any

from gantlet.core.estimate import Outcome
from gantlet.report.blocks import Report
from gantlet.run.execute import facts_of
from gantlet.run.store import Run


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    return Report(
        title="Which distributions can which family model?",
        command="study distributions",
        question=question,
        facts=facts_of({}, outcomes, run),
    )
