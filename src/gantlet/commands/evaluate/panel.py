"""A panel of encoders: what all of them say together, and which one was tuned against."""

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import named
from gantlet.commands.evaluate.sets import EvaluationSets, SamplePart
from gantlet.compute.machine import threads
from gantlet.core.data import Code, Space
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.domains.domains import default_features
from gantlet.features.base import full_precision, subsample_indices
from gantlet.features.weights import is_downloaded
from gantlet.metrics.frechet import bures, spread_of
from gantlet.report.blocks import Caveat, Column, Section, Table, Verdict
from gantlet.run.execute import no_progress
from gantlet.stats.intervals import holm_adjusted, t_above, t_quantile

# ----------------------------------------------------------------------------
# The encoders.
# ----------------------------------------------------------------------------

# Networks for images and the weights that each needs.
_FILES = {
    "inception": "inception",
    "dinov2": "dinov2-vit-l-14",
    "dinov2:model=vit-b-14": "dinov2-vit-b-14",
    "dinov2:model=vit-s-14": "dinov2-vit-s-14",
    "clip": "clip-vit-b-32",
}
# They see numbers of any kind in any place.
_GENERAL = ("random-conv", "pca", "pixels")


def extractors_at_hand(space: Space, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
    """Returns every extractor that suits the samples and needs nothing that is not here.

    Args:
        space: What one sample is.
        code: What the numbers of a sample stand for, where they are not plain numbers.
        labelled: Whether the real samples have classes that a classifier can learn.
    """
    found = [*default_features(space, code, labelled=labelled)]
    if space.kind == "image" and space.levels is not None and space.shape[0] in {1, 3}:
        found += [name for name, weights in _FILES.items() if is_downloaded(weights)]
    if space.kind in {"image", "vector"}:
        found += _GENERAL
    return tuple(dict.fromkeys(found))


# ----------------------------------------------------------------------------
# What one encoder says of a set, and how sure it is.
# ----------------------------------------------------------------------------

# So many blocks are left out in turn.
_BLOCKS = 10
_LEAST = 2 * _BLOCKS
# An improvement is judged by the spread of those of the other encoders: three at least.
_ENCODERS = 4
_LEVEL = 0.05
# Encoders whose logs of gains lie closer together count as if they were spread by this, a fifth.
_SPREAD = 0.2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The distance of a set over that of as many held-out real samples, on one encoder.

    Attributes:
        extractor: In written form.
        value: The log of the ratio of the two plug-in Frechet distances.
        without: The same with a tenth of all samples left out in turn, shape ``(10,)``.
        n: Number of samples of the set.
    """

    extractor: str
    value: float
    without: Tensor
    n: int


def reading(extractor: str, real: Tensor, floor: Tensor, fake: Tensor) -> Reading:
    """Compares features of a set and of held-out real samples with those of the reference.

    Both distances are plug-in values of equally many samples, so that each has the bias that its
    number of samples brings: their ratio is 1 on average where fakes are as good as real.

    Args:
        extractor: In written form.
        real: Of the reference, shape ``(n, d)``.
        floor: Of held-out real samples, shape ``(m, d)``, 20 or more.
        fake: Of the set, likewise.
    """
    sides = (real, floor, fake)
    left = [_ratio(*(_without(x, k) for x in sides)) for k in range(_BLOCKS)]
    without = torch.tensor(left, dtype=torch.float64)
    return Reading(extractor, _ratio(*sides), without, len(fake))


def _ratio(real: Tensor, floor: Tensor, fake: Tensor) -> float:
    a, b, c = map(spread_of, (real, floor, fake))
    distances = [bures(a, x) + float((a.mean - x.mean).square().sum()) for x in (b, c)]
    # Equal sets have no distance; rounding may leave them less than none.
    of_floor, of_fake = (max(d, 1e-12 * float(a.trace) + 1e-300) for d in distances)
    return math.log(of_fake / of_floor)


def _without(x: Tensor, block: int) -> Tensor:
    """Returns the rows of ``x`` that are not in a block of evenly spaced ones."""
    return x[torch.arange(len(x)) % _BLOCKS != block]


def _variance(without: Tensor) -> float:
    """Returns the variance by the jackknife over blocks."""
    return float((_BLOCKS - 1) * without.var(correction=0))


def ratio(value: float, without: Tensor, n: int, method: str) -> Estimate:
    """Returns a ratio with the interval of its log, from what is left when blocks are left out.

    Args:
        value: The log of the ratio.
        without: The same without each block of samples, shape ``(10,)``.
        n: Number of samples.
        method: What it is, in words.
    """
    half = t_quantile(0.975, _BLOCKS - 1) * math.sqrt(_variance(without))
    return Estimate(
        value=math.exp(value),
        low=math.exp(value - half),
        high=math.exp(value + half),
        n=n,
        better="lower",
        method=method,
    )


def together(readings: Sequence[Reading]) -> Estimate:
    """Returns the geometric mean of the ratios of all encoders.

    The interval is for fresh samples, seen by these encoders: the encoders are not drawn.
    """
    return ratio(
        statistics.fmean(r.value for r in readings),
        torch.stack([r.without for r in readings]).mean(0),
        readings[0].n,
        f"geometric mean over {len(readings)} encoders of the Frechet distance over that of as "
        f"many held-out real samples; jackknife over {_BLOCKS} blocks of samples",
    )


def apart(readings: Sequence[Reading]) -> list[tuple[str, Estimate, float]]:
    """Returns each encoder's ratio over the mean of the others, and its p-value by Holm.

    Nothing where there is one encoder only.
    """
    if len(readings) < 2:
        return []
    found: list[tuple[str, Estimate]] = []
    p: list[float] = []
    for r in readings:
        others = [o for o in readings if o is not r]
        value = r.value - statistics.fmean(o.value for o in others)
        without = r.without - torch.stack([o.without for o in others]).mean(0)
        error = math.sqrt(_variance(without))
        found.append((r.extractor, ratio(value, without, r.n, "ratio to the mean of the others")))
        p.append(2 * t_above(abs(value) / max(error, 1e-12), _BLOCKS - 1))
    return [(*f, q) for f, q in zip(found, holm_adjusted(p), strict=True)]


# ----------------------------------------------------------------------------
# Whether one encoder was tuned against.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Gain:
    """By how much a set is better than another, by one encoder and by the others.

    Attributes:
        extractor: The encoder.
        own: By which factor its distance fell.
        others: By which factor those of the others fell, the geometric mean.
        p: How likely it is that it falls by so much more if it is one like the others: the
            larger of two p-values, see ``gains``.
    """

    extractor: str
    own: float
    others: float
    p: float

    @property
    def is_tuned(self) -> bool:
        """Whether the others cannot explain it."""
        return self.p <= _LEVEL and self.own > 1


def gains(before: Sequence[Reading], after: Sequence[Reading]) -> list[Gain]:
    """Returns the gain of each encoder from one set to another, and whether others explain it.

    Each encoder is left out in turn. The log of its gain is predicted by those of the others: it
    lies in ``mean ± t sd sqrt(1 + 1 / k)`` if it is drawn like the ``k`` others from a normal
    distribution. The noise of the samples is added to that variance, though it is in the spread
    of the others already, which is on the safe side.

    This is done twice. A generator that is tuned against one encoder gets worse by others, and
    losses explain no gain: so in one prediction they count as no change, with p-values adjusted
    by Holm's procedure over the encoders. In the other they count as they are, since encoders
    that disagree a lot may do so by gains too.

    Returns:
        Nothing where there are fewer than four encoders.
    """
    if len(before) < _ENCODERS:
        return []
    logs = [b.value - a.value for b, a in zip(before, after, strict=True)]
    noise = [_variance(b.without - a.without) for b, a in zip(before, after, strict=True)]
    rest = [logs[:i] + logs[i + 1 :] for i in range(len(logs))]
    plain = map(_p_beyond, logs, rest, noise)
    without_losses = holm_adjusted(
        [
            _p_beyond(g, [max(o, 0.0) for o in r], v)
            for g, r, v in zip(logs, rest, noise, strict=True)
        ]
    )
    return [
        Gain(r.extractor, math.exp(own), math.exp(statistics.fmean(others)), max(p, q))
        for r, own, others, p, q in zip(before, logs, rest, plain, without_losses, strict=True)
    ]


def _p_beyond(own: float, others: Sequence[float], noise: float) -> float:
    """Returns how likely a number drawn like the others is to lie as high as ``own``."""
    k = len(others)
    spread = max(statistics.stdev(others), _SPREAD)
    error = math.sqrt(spread**2 * (1 + 1 / k) + noise)
    return t_above((own - statistics.fmean(others)) / error, k - 1)


# ----------------------------------------------------------------------------
# The panel of an evaluation.
# ----------------------------------------------------------------------------

Readings = Mapping[str, Sequence[Reading]]
"""What the encoders say of each set, by its name."""


def panel_of(
    sets: EvaluationSets, question: Mapping[str, Any], measured: Collection[str]
) -> Readings:
    """Returns what every encoder says of every set that has a noise floor, if a panel is asked.

    Args:
        sets: The sets of the evaluation.
        question: The question with every default written out.
        measured: Encoders that failed on no trial, in written form: others would fail again.
    """
    if not question.get("panel"):
        return {}
    seen, device = [e for e in question["features"] if e in measured], question["device"]
    with threads(question["threads"]), full_precision():
        found = {named(f)[0]: _readings(sets, f, seen, device) for f in sets.asked.fakes}
    return {name: readings for name, readings in found.items() if readings}


def _readings(sets: EvaluationSets, fake: str, seen: Sequence[str], device: str) -> list[Reading]:
    """Returns what every encoder says of a set; nothing without a noise floor."""
    own = sets.fake(fake)
    floor = sets.floor(own.n)
    if floor is None or floor.other.n < _LEAST:
        return []
    kept = subsample_indices(own.n, floor.other.n, rng=Rng(sets.asked.seed).stream("panel"))
    parts = floor.real, floor.other, SamplePart(whole=own, places=kept)
    return [
        reading(extractor, *(_rows(sets, part, extractor, device) for part in parts))
        for extractor in seen
    ]


def _rows(sets: EvaluationSets, part: SamplePart, extractor: str, device: str) -> Tensor:
    # All features were extracted before: there is nothing to wait for.
    made = sets.features(part.whole, extractor, no_progress, device=device, classes=False)
    return made.rows if part.places is None else made.rows[part.places]


def panel_section(found: Readings) -> Iterator[Section]:
    """Yields the ratios of all sets on all encoders."""
    if not found:
        return
    names = [extractors.short(r.extractor) for r in next(iter(found.values()))]
    rows: list[list[str | Estimate]] = [
        [
            name,
            together(readings),
            *(ratio(r.value, r.without, r.n, "ratio to held-out real") for r in readings),
        ]
        for name, readings in found.items()
    ]
    table = Table(
        title="Frechet distance over that of held-out real samples",
        columns=[
            Column(name="samples"),
            Column(name="all encoders", better="lower", help="Geometric mean of the ratios."),
            *(Column(name=name, better="lower", group="encoder") for name in names),
        ],
        rows=rows,
        note="1 is as near to the reference as real samples are. Plug-in distances of equally "
        "many samples; 95 % intervals by the jackknife over ten blocks of samples.",
    )
    yield Section(title="Panel of encoders", blocks=[table], open=True)


def panel_verdicts(found: Readings) -> Iterator[Verdict]:
    """Says what all encoders say together, where they disagree, and which was tuned against."""
    for name, readings in found.items():
        mean = together(readings)
        one = [
            f"{extractors.short(e)} {x.value:.2g} times the others (p = {p:.2g})"
            for e, x, p in apart(readings)
            if p <= _LEVEL and x.value is not None
        ]
        by = "one encoder" if len(readings) == 1 else f"{len(readings)} encoders together"
        yield Verdict(
            claim=f"{name} is {mean.value:.3g} times as far from the reference as held-out real "
            f"samples are, by {by}.",
            because=f"95 % interval {mean.low:.3g} to {mean.high:.3g}. "
            + (f"Encoders disagree: {'; '.join(one)}." if one else "No encoder stands out."),
        )
    if found:
        yield from _alarms(found)


def _tuned(found: Readings) -> dict[str, list[Gain]]:
    """Returns which encoders each set but the first was tuned against, by its name."""
    first, *others = found
    return {name: [g for g in gains(found[first], found[name]) if g.is_tuned] for name in others}


def _alarms(found: Readings) -> Iterator[Verdict]:
    first = next(iter(found))
    for name, alarms in _tuned(found).items():
        for gain in alarms:
            short = extractors.short(gain.extractor)
            yield Verdict(
                claim=f"{name} seems tuned against {short}: do not judge it by {short}.",
                because=f"Against {first} its distance is {gain.own:.3g} times smaller on "
                f"{short}, {gain.others:.3g} times on the other encoders (p = {gain.p:.2g}, "
                "leaving one encoder out, Holm over encoders).",
            )


def panel_caveats(
    sets: EvaluationSets, found: Readings, question: Mapping[str, Any]
) -> Iterator[Caveat]:
    """Says what the panel cannot."""
    if not question.get("panel"):
        return
    count = min(map(len, found.values()), default=len(question["features"]))
    missing = [named(f)[0] for f in sets.asked.fakes if named(f)[0] not in found]
    if missing:
        yield Caveat(
            text=f"No panel for {', '.join(missing)}: it needs a noise floor of {_LEAST} samples."
        )
    if sets.asked.groups and found:
        yield Caveat(
            text="Intervals of the panel take samples as independent: they are too short for "
            "samples that come in groups."
        )
    if count < _ENCODERS:
        yield Caveat(
            text=f"Whether an encoder was tuned against is judged by {_ENCODERS} encoders or "
            f"more; here are {count}."
        )
    elif len(sets.asked.fakes) < 2:
        yield Caveat(
            text="Whether an encoder was tuned against is judged against samples from before: "
            "give those first, and the ones in question after them."
        )


def panel_extra(found: Readings) -> dict[str, object]:
    """Returns the panel as plain data, by name."""
    if not found:
        return {}
    sets = {
        name: {
            "ratio": together(readings).value,
            "encoders": {r.extractor: math.exp(r.value) for r in readings},
        }
        for name, readings in found.items()
    }
    tuned = {name: [g.extractor for g in alarms] for name, alarms in _tuned(found).items()}
    return {"panel": {"sets": sets, "tuned": tuned}}
