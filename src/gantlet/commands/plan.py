"""Planning of an evaluation: samples, looks and seeds that would show a difference."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import TypeAlias, final

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.results import HEAVY
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Metric
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors, metrics
from gantlet.domains.domains import domain_of
from gantlet.features.base import check_ranking_features
from gantlet.metrics.measure import Found, detail_all, two_sample
from gantlet.report.blocks import Caveat, Column, Report, Row, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.run.execute import no_progress
from gantlet.stats.intervals import LEVEL, t_quantile
from gantlet.stats.jackknife import Detailed, difference, estimate_of, unpaired
from gantlet.stats.planning import (
    Noises,
    PilotDraw,
    Question,
    looks,
    reals_needed,
    samples,
    seeds,
    with_interval,
)

POWERS = (0.8, 0.9)
"""How often the difference is to be found."""

LEAST_REAL = 100
"""So few real samples say nothing of how a metric scatters."""

# Pilot draws of each of two sizes, and the most samples of one.
_DRAWS, _PILOT, _REFERENCE = 10, 500, 1500
# Halvings of the search for a shift, its ends in standard deviations, and draws that rate one.
_HALVINGS, _SHIFTS, _RATED = 10, (0.01, 40.0), 4


@final
@dataclass(frozen=True, slots=True, eq=False)
class RealRows:
    """Features of the real samples, and the direction in which pilot fakes are moved.

    Attributes:
        rows: Shape ``(n, d)``.
        along: The leading principal axis, as long as the standard deviation along it, ``(d,)``.
    """

    rows: Tensor
    along: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "RealRows":
        """Finds the axis.

        Raises:
            UserError: If all samples are equal.
        """
        wide = rows.to(torch.float64)
        wide = wide - wide.mean(0)
        some = wide[: 4 * _REFERENCE]
        _, sizes, axes = torch.linalg.svd(some, full_matrices=False)
        if not float(sizes[0]) > 0:
            raise UserError(
                "All real samples have the same features, so that no difference can be planned. "
                "Choose other features."
            )
        return cls(rows, (axes[0] * sizes[0] / math.sqrt(len(some) - 1)).to(rows.dtype))

    def drawn(self, n: int, reference: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Returns disjoint samples: a reference, a noise floor, and what becomes the fakes."""
        order = torch.randperm(len(self.rows), generator=rng)[: reference + 2 * n]
        first, second, third = torch.split(self.rows[order], [reference, n, n])
        return first, second, third


@final
@dataclass(frozen=True, eq=False)
class Pilot:
    """Draws of real samples in which a metric differs by what is to be detected.

    Attributes:
        metric: In written form.
        real: The real samples.
        seed: Seeds the draws.
    """

    metric: str
    real: RealRows
    seed: int

    @property
    def made(self) -> Metric:
        """The metric."""
        return two_sample(self.metric)

    @property
    def sizes(self) -> tuple[int, int]:
        """Samples of a set in the smaller and in the larger draws."""
        most = min(len(self.real.rows) // 4, _PILOT)
        return most // 4, most

    @property
    def reference(self) -> int:
        """Samples of the reference in all draws."""
        return min(len(self.real.rows) - 2 * self.sizes[1], _REFERENCE)

    def compared(self, n: int, draw: int, shift: float) -> Estimate | PilotDraw:
        """Returns the parts of the variance of one difference, or why there is none."""
        found, floor = self._measured(n, draw, shift)
        apart = _apart(self.metric, found, floor)
        if apart.half_width is None:
            return apart if apart.value is None else Estimate.missing(apart.method)
        # A test takes half-widths as if normal, however few degrees of freedom they have.
        whole = (apart.half_width / t_quantile((1 + LEVEL) / 2, 1e9)) ** 2
        fake, own, shared = _parts(self.metric, found, floor)
        scale = whole / total if (total := fake + own + shared) > 0 else 0.0
        return PilotDraw(
            n=n,
            reference=self.reference,
            fake=fake * scale,
            floor=own * scale,
            shared=shared * scale,
            differs=shift > 0,
        )

    def gap(self, shift: float) -> float:
        """Returns how much worse samples become when they are moved so far.

        The mean over a few draws of the difference that moving the same samples makes, which
        scatters far less than that of two sets.
        """
        sign = 1.0 if self.made.better == "lower" else -1.0
        found = [
            sign * (moved - plain)
            for moved, plain in zip(self._values(shift), self._unmoved, strict=True)
        ]
        return math.fsum(found) / len(found)

    @cached_property
    def _unmoved(self) -> list[float]:
        return self._values(0.0)

    def _values(self, shift: float) -> list[float]:
        """Returns the metric of a few draws of samples that are moved so far."""
        found: list[float] = []
        for draw in range(_RATED):
            reference, _, fake = self._drawn(self.sizes[1], draw)
            value = estimate_of(self._one(reference, fake + shift * self.real.along)).value
            found.append(math.nan if value is None else value)
        return found

    def shift(self, detect: float) -> float | Estimate:
        """Returns by how many standard deviations to move fakes, or why there is no such shift."""
        low, high = _SHIFTS
        most = self.gap(high)
        if not most >= detect:
            return Estimate.missing(
                f"no shift of the real samples makes a difference of {detect:g}: the largest is "
                f"{most:.3g}",
                unit="samples",
            )
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.gap(middle) >= detect else (middle, high)
        return math.sqrt(low * high)

    def draws(self, detect: float) -> list[PilotDraw] | Estimate:
        """Returns draws in which the metric differs by ``detect``, or why there are none."""
        shift = self.shift(detect)
        if isinstance(shift, Estimate):
            return shift
        found: list[PilotDraw] = []
        for n, draw, moved in product(self.sizes, range(_DRAWS), (shift, 0.0)):
            one = self.compared(n, _RATED + draw, moved)
            if isinstance(one, Estimate):
                return Estimate.missing(one.method, unit="samples")
            found.append(one)
        return found

    def _measured(self, n: int, draw: int, shift: float) -> tuple[Found, Found]:
        reference, floor, fake = self._drawn(n, draw)
        moved = fake + shift * self.real.along
        return self._one(reference, moved), self._one(reference, floor)

    def _drawn(self, n: int, draw: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = Rng(self.seed).stream(f"plan/{n}/{draw}")
        return self.real.drawn(n, self.reference, rng)

    def _one(self, reference: Tensor, rows: Tensor) -> Found:
        return detail_all({"m": self.made}, reference, rows, rng=Rng(self.seed))["m"]


def _is_paired(metric: str) -> bool:
    return metric.partition(":")[0] not in HEAVY


def _apart(metric: str, found: Found, floor: Found) -> Estimate:
    """Returns the difference from the floor, as ``evaluate`` takes it."""
    if isinstance(found, Detailed) and isinstance(floor, Detailed) and _is_paired(metric):
        return difference(found, floor)
    return unpaired(estimate_of(found), estimate_of(floor))


def _parts(metric: str, found: Found, floor: Found) -> tuple[float, float, float]:
    """Returns what the set, the floor and the reference add to the variance of a difference."""
    if isinstance(found, Detailed) and isinstance(floor, Detailed):
        if _is_paired(metric):
            left = float((found.real - floor.real).var()) / len(found.real)
        else:
            left = float(found.real.var() + floor.real.var()) / len(found.real)
        return max(found.rest.value, 0.0), max(floor.rest.value, 0.0), left
    each = [(estimate_of(f).half_width or 0.0) ** 2 for f in (found, floor)]
    return each[0], each[1], 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQuestion:
    """What is planned.

    Attributes:
        sets: The real samples.
        detect: The difference to be shown.
        metrics: In written form.
        features: The extractor in written form, or None for that of the kind of data.
        count: Sample sets that will be tested together.
        look: Samples of a look.
        seed_sd: Spread between training seeds, or None for that of the difference itself.
    """

    sets: EvaluationSpec
    detect: float
    metrics: Sequence[str]
    features: str | None
    count: int
    look: int
    seed_sd: float | None

    @property
    def spread(self) -> float:
        """Standard deviation between training seeds that is planned for."""
        return self.detect if self.seed_sd is None else self.seed_sd


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMetric:
    """What one metric needs.

    Attributes:
        metric: As people write it.
        needed: Estimates by what they count, in the order of the table.
    """

    metric: str
    needed: dict[str, Estimate]


def plan_of(asked: PlanQuestion) -> Report:
    """Returns the report of what it takes to show a difference.

    Pilot sets are real samples, moved along their leading principal axis until the metric differs
    from the noise floor by what is to be detected. From the intervals of their differences follows
    how the variance falls with the number of samples.

    Raises:
        UserError: If the real samples cannot be found, are too few, or a metric cannot be
            measured on features alone.
    """
    names = [metrics.resolve(m) for m in asked.metrics]
    if len(set(names)) < len(names) or not names:
        raise UserError("--metric must name metrics, each once.")
    for name in names:
        two_sample(name)
    sets = EvaluationSets(asked.sets)
    chosen = sets.real
    space = chosen.samples.space
    usual = domain_of(space).features(chosen.samples.code, labelled=False)[0]
    extractor = extractors.resolve(asked.features or usual)
    check_ranking_features([extractor])
    if chosen.n < LEAST_REAL:
        raise UserError(
            f"{chosen.samples.name} holds {chosen.n} samples. At least {LEAST_REAL} are needed "
            "to plan."
        )
    rows = sets.features(chosen, extractor, no_progress, device="cpu", classes=False).rows
    real = RealRows.of(rows)
    planned = [_planned(Pilot(m, real, asked.sets.seed), asked) for m in names]
    about = f"{chosen.counted} of {chosen.samples.name}, features {extractors.short(extractor)}"
    return _report(asked, planned, chosen.n, about, chosen.samples.name)


def _planned(pilot: Pilot, asked: PlanQuestion) -> PlannedMetric:
    name, draws = metrics.short(pilot.metric), pilot.draws(asked.detect)
    if isinstance(draws, Estimate):
        return PlannedMetric(metric=name, needed=dict.fromkeys(_labels(), draws))
    tests, total = len(asked.metrics) * asked.count, len(pilot.real.rows)
    needed: dict[str, Estimate] = {}
    for power in POWERS:
        question = Question(detect=asked.detect, tests=tests, power=power)
        for label, found, unit, why in _numbers(question, asked, total):
            needed[label] = with_interval(
                draws, found, unit=unit, method=_how(pilot, question), why=why
            )
    return PlannedMetric(metric=name, needed={label: needed[label] for label in _labels()})


def _how(pilot: Pilot, question: Question) -> str:
    small, large = pilot.sizes
    return (
        f"power {question.power:g} at {question.level:g}/{question.tests}, the first step of "
        f"Holm's procedure; variances of {_DRAWS} pilot differences each with {small} and {large} "
        "real samples, as they are and moved along their leading principal axis, against "
        f"{pilot.reference}; bootstrap interval over these"
    )


_Number: TypeAlias = tuple[str, Callable[[Noises], int | None], str, str]


def _numbers(question: Question, asked: PlanQuestion, total: int) -> Iterator[_Number]:
    """Yields label, rule, unit and what is wrong where there is no number."""
    percent = f"power {question.power:.0%}"
    why = f"the reference is too small: {total:,} real samples, see how many are needed"
    rule = partial(samples, asked=question, reals=total)
    yield f"samples, {percent}", rule, "samples", why
    short = f"noise floor and reference are too noisy at {asked.look:,} samples a look"
    if total < 2 * asked.look:
        short = f"the reference is too small for looks of {asked.look:,}: {total:,} real samples"
    fewest = partial(reals_needed, asked=question)
    yield f"real samples, {percent}", fewest, "samples", "no number of real samples suffices"
    often = partial(looks, asked=question, look=asked.look, reals=total)
    yield f"looks, {percent}", often, "looks", short
    yield f"seeds, {percent}", partial(_seeds, question, asked, total), "seeds", "too many seeds"


def _seeds(question: Question, asked: PlanQuestion, total: int, noise: Noises) -> int | None:
    n = samples(noise, question, total) or total // 2
    a, b = noise.differing.fake
    return seeds(2 * asked.spread**2 + 2 * (a / n + b / n**2), question)


def _labels() -> list[str]:
    counted = ("samples", "real samples", "looks", "seeds")
    return [f"{what}, power {p:.0%}" for what in counted for p in POWERS]


def _report(
    asked: PlanQuestion, planned: Sequence[PlannedMetric], total: int, about: str, data: str
) -> Report:
    return Report(
        title=f"What it takes to show a difference of {asked.detect:g}",
        command="plan",
        question={
            "against": data,
            "detect": asked.detect,
            "metrics": list(asked.metrics),
            "sets": asked.count,
            "look": asked.look,
            "seed_sd": asked.spread,
            "real samples": total,
        },
        verdicts=[_verdict(p, asked) for p in planned],
        caveats=[Caveat(text=t) for t in _caveats(asked)],
        rows=[
            Row(data=data, model=p.metric, seed=None, name=name, estimate=e)
            for p in planned
            for name, e in p.needed.items()
        ],
        blocks=[
            Table(
                title=f"Samples, looks and seeds; {about}",
                columns=[Column(name="metric"), *(Column(name=n) for n in _labels())],
                rows=[[p.metric, *p.needed.values()] for p in planned],
                note="Samples of each set, and as many held-out real ones; the other real samples "
                f"are the reference. Looks of {asked.look:,} samples at a generator that stays as "
                f"it is. Seeds for two models that differ so much, if the metric scatters by "
                f"{asked.spread:g} between seeds.",
            )
        ],
    )


def _verdict(planned: PlannedMetric, asked: PlanQuestion) -> Verdict:
    first, reals = (
        planned.needed[f"{what}, power {POWERS[0]:.0%}"] for what in ("samples", "real samples")
    )
    if first.value is None:
        enough = "" if reals.value is None else f" About {shown(reals)} real ones are needed."
        return Verdict(
            claim=f"{planned.metric}: a difference of {asked.detect:g} cannot be shown with these "
            "real samples.",
            because=f"{first.method[:1].upper()}{first.method[1:]}.{enough}",
        )
    return Verdict(
        claim=f"{planned.metric}: {shown(first)} samples in each set show a difference of "
        f"{asked.detect:g} in {POWERS[0]:.0%} of cases."
    )


def _caveats(asked: PlanQuestion) -> Iterator[str]:
    yield (
        "The difference is planned for fakes that are moved along the leading principal axis of "
        "the real features. Another flaw of the same size may need more or fewer samples."
    )
    yield (
        "Values of precision, recall, coverage and others depend on the sample size: the "
        "difference is that at the sizes of the pilot draws."
    )
    if asked.seed_sd is None:
        yield (
            "How much training seeds differ cannot be known from real samples: seeds are planned "
            f"for a standard deviation of {asked.detect:g}. Give --seed-sd from earlier runs."
        )
