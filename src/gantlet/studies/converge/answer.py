"""The report of a diagnosis."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.core.spec import Spec
from gantlet.core.trial import Outcome
from gantlet.report.blocks import Caveat, Report, Row
from gantlet.store.run import Run
from gantlet.studies.converge.diagnosis import Key, keys
from gantlet.studies.converge.setting import short
from gantlet.studies.converge.told import verdicts
from gantlet.studies.converge.views import blocks
from gantlet.studies.facts import facts_of


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report of a diagnosis from its outcome."""
    name = short(question["model"])
    good = [o for o in outcomes if o.error is None]
    if not good:
        reason = outcomes[0].error if outcomes else "it has not been run"
        return Report(
            title=f"Does {name} converge?",
            command="converge",
            question=question,
            facts=facts_of({}, outcomes, run),
            caveats=[Caveat(text=f"Nothing was found: {reason}.")],
        )
    (outcome,) = good
    which = keys(outcome.details)
    return Report(
        title=f"Does {name} converge?",
        command="converge",
        question=question,
        spend=outcome.spend,
        facts=facts_of(_setting(question, outcome), outcomes, run),
        verdicts=list(verdicts(name, outcome.details, outcome.scores)),
        caveats=list(_caveats(question)),
        rows=[_row(question, outcome, which[k], e) for k, e in outcome.scores.items()],
        blocks=list(blocks(outcome.details, outcome.scores)),
        extra=dict(outcome.details),
    )


def _setting(question: Mapping[str, Any], outcome: Outcome) -> dict[str, str]:
    budget = ", ".join(f"{v:g} {k}" for k, v in question["budget"].items())
    data = {} if question["data"] == "none" else {"Data": str(question["data"])}
    return {
        "Model": str(question["model"]),
        "Solver": str(question["solver"]),
        **data,
        "Budget": budget,
        "Looked at": f"step {outcome.details['looked at step']}",
        "Seed": str(question["seed"]),
    }


def _row(question: Mapping[str, Any], outcome: Outcome, key: Key, e: Estimate) -> Row:
    return Row(
        data=question["data"],
        model=outcome.details["tried"][0]["model"] if key.after else question["model"],
        seed=question["seed"],
        name=key.what,
        estimate=e,
    )


def _caveats(question: Mapping[str, Any]) -> Iterator[Caveat]:
    yield Caveat(
        text="One training, one seed. Whether it converges is judged by the course of its "
        "validation loss; eigenvalues, steps, delays and what a change would do are predictions "
        "at one point, true for small displacements only."
    )
    if question["data"] == "none":
        return
    yield Caveat(
        text="The field is looked at on one batch that stays the same, so that the noise of "
        "batches is not in it."
    )
    solver = Spec.parse(question["solver"])
    if "adam" in {solver.name, solver.options.get("base")}:
        yield Caveat(
            text="Adam divides by second moments; predictions take their mean over batches at the "
            "point that is looked at, as if players had stood there for long."
        )
