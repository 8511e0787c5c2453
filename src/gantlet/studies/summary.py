"""What the seeds of one contestant say together, and what two contestants say of each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from gantlet.core.components import families
from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import is_separated, mean, paired, repeats_to_separate
from gantlet.core.trial import Outcome
from gantlet.studies.contest import REAL


@final
@dataclass(frozen=True, slots=True)
class Contestant:
    """All finished trials of one model.

    Attributes:
        label: The model as people name it, with those options that are not the default.
        model: The model's written form.
        outcomes: The trials that gave numbers, by seed.
        failures: What became of the others.
    """

    label: str
    model: str
    outcomes: dict[int, Outcome]
    failures: tuple[str, ...]

    def values(self, score: str) -> dict[int, float]:
        """Returns the values of a score by seed, without those that are missing."""
        found = {s: _estimate(o, score) for s, o in self.outcomes.items()}
        return {s: e.value for s, e in found.items() if e is not None and e.value is not None}

    def estimate(self, score: str) -> Estimate:
        """Returns a score over all seeds.

        The interval adds, in quadrature, Student's t over seeds and the interval that one trial
        gives for its finite sample; that is wider than either, never narrower.
        """
        each = [e for o in self.outcomes.values() if (e := _estimate(o, score)) is not None]
        known = [e for e in each if e.value is not None]
        if not known:
            reason = each[0].method if each else "; ".join(self.failures) or "not measured"
            return Estimate.missing(reason)
        if len(known) == 1:
            return known[0]
        return _combined(known)


def is_reference(contestant: Contestant) -> bool:
    """Returns whether a contestant only repeats data: it sets the scale and does not compete."""
    return contestant.model.partition(":")[0] in (REAL, "memorizer")


def contestants(outcomes: Sequence[Outcome]) -> list[Contestant]:
    """Returns the contestants in the order in which they were named."""
    models = dict.fromkeys(o.trial.parts["model"] for o in outcomes)
    return [_contestant(m, [o for o in outcomes if o.trial.parts["model"] == m]) for m in models]


def difference(a: Contestant, b: Contestant, score: str) -> Estimate:
    """Returns how much ``a`` has more than ``b``, paired by seed, for these held-out samples."""
    x, y = a.values(score), b.values(score)
    seeds = sorted(x.keys() & y.keys())
    return paired([x[s] for s in seeds], [y[s] for s in seeds])


def seeds_needed(a: Contestant, b: Contestant, score: str) -> int | None:
    """Returns how many seeds would separate two contestants, if their spread stays as it is."""
    x, y = a.values(score), b.values(score)
    return repeats_to_separate([x[s] - y[s] for s in sorted(x.keys() & y.keys())])


def rank(group: Sequence[Contestant], score: str, better: Better) -> list[Contestant]:
    """Returns those that have the score, best first."""
    known = [(c.estimate(score).value, c) for c in group]
    found = [(v, c) for v, c in known if v is not None]
    sign = 1 if better == "lower" else -1
    return [c for _, c in sorted(found, key=lambda pair: sign * pair[0])]


def rivals(best: Contestant, others: Sequence[Contestant], score: str) -> list[Contestant]:
    """Returns those that ``best`` is not separated from."""
    return [c for c in others if c is not best and not is_separated(difference(best, c, score))]


def label(model: str) -> str:
    """Returns a model as people name it, without the options that are at their default.

    Example:
        >>> label("gan:latent=32,loss=hinge")
        'gan:loss=hinge'
    """
    return "held-out real data" if model == REAL else families.short(model)


def _contestant(model: str, outcomes: Sequence[Outcome]) -> Contestant:
    good = {o.trial.seed: o for o in outcomes if o.error is None}
    bad = tuple(f"seed {o.trial.seed}: {o.error}" for o in outcomes if o.error is not None)
    return Contestant(label(model), model, good, bad)


def _estimate(outcome: Outcome, score: str) -> Estimate | None:
    return outcome.scores.get(score) or outcome.clock.get(score)


def _combined(known: Sequence[Estimate]) -> Estimate:
    first = known[0]
    over = mean(
        [e.value for e in known if e.value is not None], unit=first.unit, better=first.better
    )
    inside = [e.half_width for e in known if e.half_width is not None]
    if over.value is None or over.half_width is None:
        return over
    sampling = math.fsum(inside) / len(inside) if inside else 0.0
    half = math.hypot(over.half_width, sampling)
    return Estimate(
        value=over.value,
        low=over.value - half,
        high=over.value + half,
        n=len(known),
        unit=first.unit,
        better=first.better,
        method=f"{over.method}, in quadrature with: {first.method}",
    )
