"""The study's answers, drawn from what was found, whichever way it fell."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import is_separated
from gantlet.report.blocks import Verdict
from gantlet.report.format import text as shown
from gantlet.studies.ais.findings import Cause, Found, Point

_WHY: dict[Cause, str] = {
    "noise": "the noise, which makes another density",
    "chains": "the chains, which do not reach the posterior",
    "both": "the noise, which makes another density, and the chains, which do not reach the "
    "posterior",
    "none": "nothing: it is not shown to be off",
}


def verdicts(found: Sequence[Found]) -> list[Verdict]:
    """Returns whether annealing is off, why, whether more temperatures help, and who ranks."""
    if not found:
        return [Verdict(claim="No flow gave finite bounds.", because="See what was not run.")]
    return [
        _overall(found),
        *(_causes(f) for f in found),
        *_temperatures(found),
        *_unseen(found),
        *_rankings(found),
    ]


def _overall(found: Sequence[Found]) -> Verdict:
    off = [f for f in found if f.at_tuned.is_off]
    told = "; ".join(f"{_name(f)}: {_error(f.at_tuned)}" for f in found)
    if len(off) == len(found):
        claim = "Yes: annealed importance sampling is off for every flow here."
    elif off:
        claim = (
            f"Annealed importance sampling is off for {len(off)} of {len(found)} flows here: "
            f"{', '.join(_name(f) for f in off)}."
        )
    else:
        claim = "No: annealed importance sampling is not shown to be off for any flow here."
    return Verdict(
        claim=claim,
        because=f"Bound less exact log-likelihood at the width tuned on validation samples and "
        f"the most temperatures: {told}.",
    )


def _causes(f: Found) -> Verdict:
    narrow, wide, tuned = f.longest[0], f.longest[-1], f.at_tuned
    claim = f"{_name(f)}: with noise as tuned the error is from {_WHY[tuned.cause]}."
    if tuned.cause == "none":
        claim = f"{_name(f)}: with noise as tuned the bound is not shown to be off."
    ends = "; ".join(
        f"{name} noise, {_error(p)}, from {_WHY[p.cause]} (gap {shown(p.gap)}{_known(p)})"
        for name, p in (("narrowest", narrow), ("tuned", tuned), ("widest", wide))
    )
    return Verdict(claim=claim, because=f"{ends[0].upper()}{ends[1:]}.")


def _known(p: Point) -> str:
    if p.smooth is None or p.short is None:
        return ""
    return (
        f"; the noise alone moves the truth by {shown(p.smooth)}, the chains lose {shown(p.short)}"
    )


def _temperatures(found: Sequence[Found]) -> Iterator[Verdict]:
    """Says what more temperatures did at the narrowest noise, where the truth is nearest."""
    for f in found:
        steps = f.over(f.longest[0].sigma)
        if len(steps) < 2:
            continue
        first, last = steps[0], steps[-1]
        end = "still leave it off" if last.is_off else "are enough"
        yield Verdict(
            claim=f"{_name(f)}: at the narrowest noise {last.temperatures:,} temperatures {end}.",
            because="Bound less exact: "
            + "; ".join(f"{p.temperatures:,} temperatures {shown(p.off)}" for p in (first, last))
            + ".",
        )


def _unseen(found: Sequence[Found]) -> Iterator[Verdict]:
    """Says whether a small gap can stand beside a large error, which it then cannot warn of."""
    worst = [max(f.longest, key=_hidden) for f in found]
    hidden = [(f, p) for f, p in zip(found, worst, strict=True) if p.is_off and _hidden(p) > 0]
    if hidden:
        f, p = max(hidden, key=lambda pair: _hidden(pair[1]))
        yield Verdict(
            claim="A small sandwich gap does not show that the number is the flow's likelihood.",
            because=f"{_name(f)}, noise {p.sigma:g}: gap {shown(p.gap)}, error {shown(p.off)}. "
            "The gap speaks of the model with noise.",
        )
    else:
        yield Verdict(
            claim="No error here was larger than the sandwich gap beside it.",
            because="; ".join(
                f"{_name(f)}, noise {p.sigma:g}: gap {shown(p.gap)}, error {shown(p.off)}"
                for f, p in zip(found, worst, strict=True)
            )
            + ".",
        )


def _hidden(p: Point) -> float:
    """How much of the error is beyond what the gap, at the end of its interval, admits."""
    gap = p.gap.high if p.gap.high is not None else (p.gap.value or 0.0)
    near = min(abs(p.off.low or 0.0), abs(p.off.high or 0.0)) if p.is_off else 0.0
    return near - max(gap, 0.0)


def _rankings(found: Sequence[Found]) -> Iterator[Verdict]:
    """Compares how both numbers rank two flows of the same data and seed."""
    for a, b in combinations(found, 2):
        if (a.data, a.seed) != (b.data, b.seed):
            continue
        exact = _less(a.exact, b.exact)
        annealed = _less(a.at_tuned.bound, b.at_tuned.bound)
        yield Verdict(
            claim=f"On {a.data} annealing {_agreement(exact, annealed)} the exact likelihood "
            f"on {a.label} against {b.label}.",
            because=f"Log-likelihood of {a.label} less that of {b.label}: exact {shown(exact)}, "
            f"annealed, each at its tuned width, {shown(annealed)}.",
        )


def _less(a: Estimate, b: Estimate) -> Estimate:
    """Returns a difference, its interval as if samples were not shared: wider than need be."""
    if a.value is None or b.value is None:
        return Estimate.missing("one of the two is missing", unit="nats")
    value = a.value - b.value
    half = math.hypot(a.half_width or 0.0, b.half_width or 0.0)
    return Estimate(
        value=value, low=value - half, high=value + half, n=a.n, unit="nats", method="unpaired"
    )


def _agreement(exact: Estimate, annealed: Estimate) -> str:
    if not is_separated(exact) or not is_separated(annealed):
        return "cannot be shown to agree or disagree with"
    if (exact.value or 0.0) * (annealed.value or 0.0) < 0:
        return "contradicts"
    apart = _less(exact, annealed)
    return "ranks as, but differs in size from," if is_separated(apart) else "agrees with"


def _error(p: Point) -> str:
    return f"{shown(p.off)} at noise {p.sigma:g}"


def _name(f: Found) -> str:
    return f"{f.label} on {f.data}"
