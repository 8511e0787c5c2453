"""How well the error of a family is predicted from the data alone: left-out worlds, real sets."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.forecast.candidates import out_of_fold
from gantlet.forecast.experiment import parse
from gantlet.forecast.predictor import Predictor
from gantlet.forecast.validation import PROFILE, Validation, held_out, leave_out
from gantlet.report.blocks import Block, Cell, Column, Table, Verdict
from gantlet.research.distributions.table import Experiment

DIMENSION = "dimension"
"""The baseline that knows the ambient and the intrinsic dimension alone."""


def predicted(table: Experiment) -> tuple[list[Verdict], list[Block]]:
    """Returns verdicts and tables on predictions; nothing where there is too little to fit."""
    if (
        sum(bool(w["profile"]) and not w["real"] for w in table["worlds"])
        < len(table["worlds"]) / 2
    ):
        return [], []
    try:
        whole = parse(cast("dict[str, Any]", table), "the experiment")
        found = out_of_fold(whole.only(real=False).cells)
        left = leave_out(whole, found)
        predictor = Predictor.fit(whole, found)
    except UserError:
        return [], []
    verdicts = list(_verdicts(left, "configurations that were left out"))
    blocks: list[Block] = [_scores(left, "Predictions for configurations that were left out")]
    blocks.append(_regrets({"left out": left}))
    if any(w["real"] for w in table["worlds"]):
        real, inside = held_out(whole, predictor), held_out(whole, predictor, only_inside=True)
        verdicts += _verdicts(real, "real sets")
        verdicts += _dimension_verdict(real)
        blocks[1] = _regrets({"left out": left, "real": real, "real, inside": inside})
        blocks.append(_scores(real, "Predictions for real sets"))
    return verdicts, blocks


def _scores(found: Validation, title: str) -> Table:
    rows: list[list[Cell]] = []
    for family in found.families:
        by_name = found.scores[PROFILE][family]
        others = [found.scores[n][family].r2.value for n in found.scores if n != PROFILE]
        rows.append(
            [
                family,
                by_name.r2,
                *others,
                by_name.spearman,
                by_name.mae,
                found.coverage[family],
            ]
        )
    names = [n for n in found.scores if n != PROFILE]
    return Table(
        title=title,
        columns=[
            Column(name="family"),
            Column(name="R2", better="higher"),
            *(Column(name=n, group="R2 of baselines") for n in names),
            Column(name="rank correlation", better="higher"),
            Column(name="mean absolute error", unit="log10", better="lower"),
            Column(name="coverage of 90 % intervals"),
        ],
        rows=rows,
        note=f"{found.worlds} worlds at all budgets; bootstrap intervals over worlds. The "
        "intervals of predictions are split-conformal.",
    )


def _regrets(found: Mapping[str, Validation]) -> Table:
    names = list(dict.fromkeys(n for v in found.values() for n in v.regrets))
    return Table(
        title="Regret of choosing the family with the lowest predicted error",
        columns=[
            Column(name="predictor"),
            *(
                Column(name=f"{k} ({v.worlds})", unit="log10", better="lower")
                for k, v in found.items()
            ),
        ],
        rows=[[n, *(v.regrets.get(n) for v in found.values())] for n in names],
        note="Mean log10 error of the chosen family above that of the best one. The constant is "
        "to take always the family that is best on average. Inside: sets on which the predictor "
        "does not abstain.",
    )


def _verdicts(found: Validation, where: str) -> Iterator[Verdict]:
    r2 = {f: found.scores[PROFILE][f].r2.value for f in found.families}
    rank = {f: found.scores[PROFILE][f].spearman.value for f in found.families}
    told = "; ".join(f"{f} R2 {_number(r2[f])}, rank {_number(rank[f])}" for f in found.families)
    covered = "; ".join(f"{f} {_number(found.coverage[f].value)}" for f in found.families)
    yield Verdict(
        claim=f"Errors on {where} are predicted from the profile with {told}.",
        because=f"{found.worlds} worlds. Coverage of nominal 90 % intervals: {covered}.",
    )
    gain = found.gain
    word = "is" if gain.low is not None and gain.low > 0 else "is not significantly"
    yield Verdict(
        claim=f"Choosing by prediction on {where} {word} better than always the single best "
        f"family: regret {_shown(found.regrets[PROFILE])} against "
        f"{_shown(found.regrets['constant'])}, in log10.",
        because=f"Gain {_shown(gain)}, paired by world.",
    )


def _dimension_verdict(found: Validation) -> Iterator[Verdict]:
    if DIMENSION not in found.scores:
        return
    better = [
        f
        for f in found.families
        if (found.scores[PROFILE][f].mae.value or 0.0)
        < (found.scores[DIMENSION][f].mae.value or 0.0)
    ]
    told = "; ".join(
        f"{f} {_number(found.scores[PROFILE][f].mae.value)} against "
        f"{_number(found.scores[DIMENSION][f].mae.value)}"
        for f in found.families
    )
    yield Verdict(
        claim="H5, the predictor beats the dimensions alone on real sets: its mean absolute error "
        f"is lower for {len(better)} of {len(found.families)} families (not tested).",
        because=f"In log10: {told}.",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _shown(e: Estimate) -> str:
    if e.value is None or e.low is None:
        return _number(e.value)
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
