"""The diagnosis in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Verdict
from gantlet.report.numbers import text
from gantlet.studies.converge.diagnosis import GROWTH

_STATES = {
    "converging": "converges",
    "rotating": "rotates: it goes round or swings and does not settle",
    "diverging": "diverges",
    "stuck": "is stuck",
}

# A curvature counts as negative below this share of the largest.
_DOWN = 1e-3


def verdicts(
    name: str, details: Mapping[str, Any], scores: Mapping[str, Estimate]
) -> Iterator[Verdict]:
    """Yields what the training does, why, and what would help."""
    yield Verdict(claim=f"{name} {_STATES[details['state']]}.", because=details["because"])
    yield from _forecast(details, scores)
    yield from _nash(details)
    yield from _advice(details, scores)
    tried = details.get("tried")
    if tried is not None:
        yield Verdict(
            claim=f"Tried: with {tried['what']} it {_STATES[tried['state']]}.",
            because=tried["because"],
        )


def _forecast(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Verdict]:
    growth, share = scores.get(GROWTH), scores["rotation share"]
    if growth is None or growth.value is None:
        return
    decays, stays = growth.value < 1 - 1e-9, abs(growth.value - 1) <= 1e-9
    real, imaginary = details["modes"][0]
    kind = "turn" if abs(imaginary) > abs(real) else "pull"
    fate = "neither decay nor grow" if stays else "decay" if decays else "grow"
    claim = f"The leading modes {kind}, and are predicted to {fate}."
    settled = details["state"] == "converging"
    if decays and details["state"] in {"rotating", "diverging"}:
        claim += " They do not explain what is seen: the field may have a kink, or noise rules."
    if not decays and settled:
        claim += " Training converges all the same, or not there."
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
        claim=f"Where it ends is no Nash point: {' and '.join(down)} could lower the own loss by "
        "moving alone. That is normal: what is stable for the game need not be best for each.",
        because=f"Smallest curvature of the own loss: {told}.",
    )


def curves_down(ends: tuple[float | None, float | None]) -> bool:
    """Returns whether a player's own loss has a direction in which it curves down."""
    low, high = ends
    if low is None or high is None:
        return False
    return low < -_DOWN * max(abs(low), abs(high))


def _advice(details: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Iterator[Verdict]:
    found, state = details["advice"], details["state"]
    if state == "converging":
        yield Verdict(claim="Nothing needs to be changed.")
        return
    if not found:
        yield Verdict(claim="No change that was looked at is predicted to help.")
        return
    best, growth = found[0], scores[GROWTH]
    yield Verdict(
        claim=f"First advice: {best['what']}.",
        because=f"Predicted growth of the leading modes in one step: {best['growth']:.4g} instead "
        f"of {text(growth.value)}.",
    )
