"""The answers of a comparison, in sentences."""

from collections.abc import Iterator, Sequence

from gantlet.core.estimate import Better
from gantlet.core.intervals import is_separated
from gantlet.report.blocks import Verdict
from gantlet.report.numbers import text as shown
from gantlet.studies import names
from gantlet.studies.contest import REAL
from gantlet.studies.summary import (
    Contestant,
    difference,
    is_reference,
    rank,
    rivals,
    seeds_needed,
)


def verdicts(everyone: Sequence[Contestant]) -> list[Verdict]:
    """Returns what was found, most important first."""
    competing = [c for c in everyone if not is_reference(c) and c.outcomes]
    return [
        *_winner(competing, names.QUALITY, "energy distance between samples and held-out data"),
        *_winner(competing, names.LIKELIHOOD, "held-out likelihood"),
        *_gan_against_mixture(competing),
        *_floor(everyone, competing),
        *_sampling(competing),
        *_failures(everyone),
    ]


def _name(c: Contestant) -> str:
    return c.model.partition(":")[0]


def _winner(
    competing: Sequence[Contestant], score: str, what: str, better: Better = "lower"
) -> Iterator[Verdict]:
    ranked = rank(competing, score, better)
    if len(ranked) < 2:
        return
    best, rest = ranked[0], ranked[1:]
    level = rivals(best, rest, score)
    claim = f"{best.label} has the best {what}, {shown(best.estimate(score))}"
    beaten = [c for c in rest if c not in level]
    if not beaten:
        claim += ", but is separated from no other contestant."
    elif level:
        claim += f"; not separated from {_listed(level)}."
    else:
        claim += ", separated from all others."
    yield Verdict(claim=claim, because=_because(best, rest, score))


def _because(best: Contestant, rest: Sequence[Contestant], score: str) -> str:
    """Says of each other contestant how far behind it is, or how many seeds would tell."""
    if len(best.values(score)) < 2:
        return "One seed: nothing can be separated. Give more --seeds."
    parts = []
    for other in rest[:5]:
        gap = difference(other, best, score)
        text = f"{other.label} {shown(gap)}"
        if not is_separated(gap):
            needed = seeds_needed(other, best, score)
            text += f" (not separated: {_needed(needed)})"
        parts.append(text)
    return "Behind it, paired over seeds: " + "; ".join(parts) + "."


def _needed(seeds: int | None) -> str:
    if seeds is None:
        return "no number of seeds can be named"
    return f"about {seeds} seeds would tell"


def _gan_against_mixture(competing: Sequence[Contestant]) -> Iterator[Verdict]:
    """Says whether a GAN reaches what a Gaussian mixture gets for almost nothing."""
    mixtures = [c for c in competing if _name(c) == "gmm"]
    for gan in (c for c in competing if _name(c) == "gan"):
        for mixture in mixtures:
            gap = difference(gan, mixture, names.QUALITY)
            if gap.value is None or gap.low is None:
                continue
            if not is_separated(gap):
                said = "is not separated from"
            else:
                said = "beats" if gap.value < 0 else "does not reach"
            yield Verdict(
                claim=f"{gan.label} {said} {mixture.label} in energy distance.",
                because=f"Paired difference over seeds {shown(gap)}.",
            )


def _floor(everyone: Sequence[Contestant], competing: Sequence[Contestant]) -> Iterator[Verdict]:
    real = next((c for c in everyone if c.model == REAL), None)
    ranked = rank(competing, names.QUALITY, "lower")
    if real is None or not ranked:
        return
    floor = real.estimate(names.QUALITY)
    if floor.high is None:
        return
    reached = [
        c
        for c in ranked
        if (low := c.estimate(names.QUALITY).low) is not None and low <= floor.high
    ]
    claim = (
        f"Not separated from the noise floor, held-out against held-out data ({shown(floor)}): "
        f"{_listed(reached)}."
        if reached
        else f"{competing[0].label if len(competing) == 1 else 'Every contestant'} is worse than "
        f"the noise floor, held-out against held-out data ({shown(floor)})."
    )
    yield Verdict(claim=claim, because="By overlap of intervals: wide ones separate nothing.")


def _sampling(competing: Sequence[Contestant]) -> Iterator[Verdict]:
    trained = [c for c in competing if c.values(names.DEPTH)]
    ranked = rank(trained, names.SAMPLING, "lower")
    ranked = [c for c in ranked if (c.estimate(names.SAMPLING).value or 0) > 0]
    if len(ranked) < 2:
        return
    cheap, dear = ranked[0], ranked[-1]
    low, high = cheap.estimate(names.SAMPLING), dear.estimate(names.SAMPLING)
    ratio = (high.value or 0) / (low.value or 1)
    yield Verdict(
        claim=f"A sample of {dear.label} costs {ratio:,.0f} times one of {cheap.label}.",
        because=f"{shown(high)} against {shown(low)}, counted.",
    )


def _failures(everyone: Sequence[Contestant]) -> Iterator[Verdict]:
    for c in everyone:
        if c.failures:
            yield Verdict(
                claim=f"{c.label} failed in {len(c.failures)} of its trials.",
                because="; ".join(c.failures),
            )


def _listed(group: Sequence[Contestant]) -> str:
    labels = [c.label for c in group]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
