"""The diagnosis in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Verdict
from gantlet.report.format import text
from gantlet.studies.converge.advice import TRIES
from gantlet.studies.converge.diagnosis import GROWTH, SHARE
from gantlet.studies.converge.verdict import GOOD

_STATES = {
    "converging": "converges",
    "rotating": "oscillates and does not settle",
    "diverging": "diverges",
    "stuck": "does not learn",
}

# A curvature counts as negative below this share of the largest.
_DOWN = 1e-3


def verdicts(
    name: str, details: Mapping[str, Any], scores: Mapping[str, Estimate]
) -> Iterator[Verdict]:
    """Yields what the training does, why, and what would help."""
    yield Verdict(claim=f"{name} {_state(details)}.", because=details["because"])
    yield from _forecast(details, scores)
    yield from _nash(details)
    yield from _advice(details, scores)
    yield from _tried(details)


def _state(details: Mapping[str, Any]) -> str:
    """Returns what a training does, and how good it is where that is known."""
    said, ratio = _STATES[details["state"]], details["ratio"]
    if details["state"] != "converging" or ratio is None:
        return said
    said += f", to a validation loss {_times(ratio)} the noise floor"
    return said if ratio <= GOOD else f"{said}: stable, and still far from the data"


def _times(ratio: float) -> str:
    return "at" if ratio <= 1 else f"{ratio:.1f} times"


def _forecast(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Verdict]:
    growth, share = scores.get(GROWTH), scores[SHARE]
    if growth is None or growth.value is None:
        return
    decays, stays = growth.value < 1 - 1e-9, abs(growth.value - 1) <= 1e-9
    real, imaginary = details["modes"][0]
    kind = "turn" if abs(imaginary) > abs(real) else "pull"
    fate = "neither decay nor grow" if stays else "decay" if decays else "grow"
    claim = f"The leading modes {kind}, and are predicted to {fate}."
    settled = details["state"] == "converging"
    if decays and details["state"] in {"rotating", "diverging"}:
        claim += " The spectrum does not predict this training: the field may have a kink, or the "
        claim += "noise of batches rules."
    if not decays and settled:
        claim += " The spectrum does not predict this training: it converges all the same."
    because = f"Factor of one step: {growth.value:.4g}."
    if share.value is not None:
        because += f" Rotation makes up {share.value:.0%} of the Jacobian, |A|²/|J|²."
    yield Verdict(claim=claim, because=because)


def _nash(details: Mapping[str, Any]) -> Iterator[Verdict]:
    if details["state"] != "converging":
        return
    down = [p for p, ends in details["curvature"].items() if curves_down(ends)]
    if not down or len(details["curvature"]) < 2:
        return
    told = "; ".join(f"{p}: {details['curvature'][p][0]:.3g}" for p in down)
    yield Verdict(
        claim=f"Where it ends is not a (local) Nash equilibrium: {' and '.join(down)} could lower "
        "its own loss by moving alone. That is usual: a stable point of the game need not be one.",
        because=f"Smallest curvature of each player's own loss: {told}.",
    )


def curves_down(ends: tuple[float | None, float | None]) -> bool:
    """Returns whether a player's own loss has a direction in which it curves down."""
    low, high = ends
    if low is None or high is None:
        return False
    return low < -_DOWN * max(abs(low), abs(high))


def _advice(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Verdict]:
    found = details["advice"]
    if details["good"]:
        yield Verdict(claim="Nothing needs to be changed.")
        return
    if details["improving"]:
        yield Verdict(
            claim="It is still improving: a larger budget comes first.",
            because="The loss falls over the last half of the training, by a t-test of its trend.",
        )
    predicted = [a for a in found if a["basis"] == "prediction"]
    if predicted and found[0] is predicted[0]:
        yield _recommended(predicted[0], scores[GROWTH])
    elif found:
        yield _not_predicted(found, details["state"])
    elif not details["improving"]:
        yield Verdict(claim="No change that was looked at is predicted to help.")


def _recommended(best: Mapping[str, Any], growth: Estimate) -> Verdict:
    return Verdict(
        claim=f"Recommended: {best['what']}. {best['code']}".strip(),
        because=f"Predicted growth of the leading modes in one step: {best['growth']:.4g} instead "
        f"of {text(growth.value)}.",
    )


def _not_predicted(found: Sequence[Mapping[str, Any]], state: str) -> Verdict:
    """Says what may be tried where the spectrum recommends nothing."""
    first = found[0]
    why = (
        "No mode grows here, so that a spectrum has nothing to recommend"
        if state == "converging"
        else "The spectrum at this point predicts no change that helps, so that nothing is "
        "recommended by it"
    )
    reason = {
        "theory": "R1 is proved to attract near an equilibrium (Mescheder et al., 2018)",
        "defaults": "these are the settings that the family has by default",
    }.get(first["basis"], "its modes grow least")
    others = "; ".join(a["what"] for a in found[1:TRIES])
    return Verdict(
        claim=f"{why}. Worth trying, with --try: {first['what']}. {first['code']}".strip(),
        because=f"Not a prediction: {reason}." + (f" After it: {others}." if others else ""),
    )


def _tried(details: Mapping[str, Any]) -> Iterator[Verdict]:
    """Says what trainings with a change did, the best first."""
    for one in details["tried"]:
        yield Verdict(
            claim=f"Tried {one['what']}: it {_state(one)}{_better(one, details)}.",
            because=f"{one['because']}{_foreseen(one, details)}",
        )


def _better(one: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Returns by how much the loss at the end is lower or higher than before, in words."""
    if before["ratio"] is None or one["ratio"] is None:
        return ""
    share = before["end"] / one["end"]
    if share > 1:
        return f"; its loss at the end is {share:.1f} times lower"
    return f"; its loss at the end is {1 / share:.1f} times higher"


def _foreseen(one: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Says so where a change helped that the spectrum called no better."""
    helped = one["state"] == "converging" and before["state"] != "converging"
    if one["basis"] == "prediction" or one["growth"] is None or not helped:
        return ""
    return (
        f" The spectrum had not predicted that: growth of the leading modes {one['growth']:.4g}. "
        "It does not predict this training."
    )
