"""Error per parameter: are flows less expressive than decoders of the same size?"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, geometric_mean
from typing import NamedTuple

from gantlet.core.components import datasets, families
from gantlet.core.dataset import Known, everything
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import mean, t_quantile
from gantlet.core.spec import Spec
from gantlet.core.trial import REAL
from gantlet.report.blocks import Block, Caveat, Dot, Forest, Group, Lines, Series, Verdict
from gantlet.report.format import text as shown
from gantlet.studies import names
from gantlet.studies.sources import load
from gantlet.studies.summary import Contestant, on_ranking_features
from gantlet.studies.tradeoffs.part import Part
from gantlet.studies.tradeoffs.plan import VARIANTS


class Trained(NamedTuple):
    """One trial: whose, how many parameters it needs to sample, and its error."""

    label: str
    size: float
    error: float


DISTANCE = "sliced-wasserstein"
"""How far samples are from held-out data; every model has it, GANs too."""

Values = Mapping[int, float]
Measure = Callable[[Contestant], Values]
"""The error of each trial of a contestant, by seed."""


def expressive(found: Mapping[str, Sequence[Contestant]]) -> Part:
    """Returns error against parameters for each data set, with fitted slopes and best models."""
    blocks: list[Block] = []
    groups: list[Group] = []
    verdicts: list[Verdict] = []
    for data, group in found.items():
        variants = _by_variant(group)
        for what, measure in _measures(data).items():
            points = {v: _points(members, measure) for v, members in variants.items()}
            known = {v: p for v, p in points.items() if p}
            if not known:
                continue
            blocks.append(_chart(data, what, known))
            groups.append(_slopes(data, what, known))
            verdicts.append(_verdict(data, what, variants, measure))
    if groups:
        blocks.append(_forest(groups))
    return Part(
        title="Expressivity per parameter", verdicts=verdicts, blocks=blocks, caveats=[_CAVEAT]
    )


_CAVEAT = Caveat(
    text="Error per parameter is of what training found at equal FLOPs, not of the best weights: "
    "larger models make fewer steps. Slopes rest on few sizes and seeds. Errors not above "
    "zero, at the noise floor of the held-out samples, have no logarithm and are left out."
)


def _measures(data: str) -> dict[str, Measure]:
    """Returns the errors that can be had: distance for all, and for densities the excess nats.

    The excess is the negative log-likelihood of held-out samples less that of the true density on
    the same samples: an estimate of the Kullback-Leibler divergence.
    """
    found: dict[str, Measure] = {"sliced Wasserstein distance": _distance}
    truth = datasets.make(data)
    if isinstance(truth, Known):
        _, splits = load(datasets.resolve(data), 0)
        entropy = -float(truth.log_density(everything(splits.test)).double().mean())
        found["excess nats over the true density"] = lambda c: {
            seed: nats - entropy for seed, nats in c.values(names.LIKELIHOOD).items()
        }
    return found


def _distance(c: Contestant) -> Values:
    return c.values(on_ranking_features([c], DISTANCE))


def slope(points: Sequence[tuple[float, float]]) -> Estimate:
    """Returns the slope of log error against log parameters, by least squares with t interval.

    Args:
        points: Parameters and error of each trial, all above 0.

    Example:
        >>> e = slope([(10, 1.0), (100, 0.1), (1000, 0.01), (10, 1.0), (100, 0.1)])
        >>> round(e.value, 6)
        -1.0
    """
    unit = "per factor of e"
    x = [math.log(p) for p, _ in points]
    y = [math.log(e) for _, e in points]
    n = len(points)
    if n < 4 or len(set(x)) < 2:
        return Estimate.missing("a slope needs four trials of two sizes", unit=unit)
    mx, my = math.fsum(x) / n, math.fsum(y) / n
    sxx = math.fsum((a - mx) ** 2 for a in x)
    value = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sxx
    left = [b - my - value * (a - mx) for a, b in zip(x, y, strict=True)]
    error = math.sqrt(math.fsum(r * r for r in left) / (n - 2) / sxx)
    half = t_quantile(0.975, n - 2) * error
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=n,
        unit=unit,
        better="lower",
        method="least squares of log error on log parameters, Student's t",
    )


def _by_variant(group: Sequence[Contestant]) -> dict[str, list[Contestant]]:
    """Returns the contestants of each variant, which differ in size alone."""
    by_label = {c.label: c for c in group if c.model != REAL and c.outcomes}
    found: dict[str, list[Contestant]] = {}
    for variant, models in VARIANTS.items():
        members = [by_label[m] for m in map(_label, models) if m in by_label]
        if members:
            found[variant] = members
    return found


def _label(model: str) -> str:
    return families.short(model)


def _points(members: Sequence[Contestant], measure: Measure) -> list[Trained]:
    """Returns parameters and error of every trial whose error is above the noise floor."""
    found = []
    for c in members:
        size = c.estimate(names.PARAMETERS).value
        found += [Trained(c.label, size, e) for e in measure(c).values() if size and e > 0]
    return found


def _chart(data: str, what: str, known: Mapping[str, Sequence[Trained]]) -> Lines:
    return Lines(
        title=f"{data}: {what}",
        x_label="parameters needed to sample",
        y_label=what,
        series=[_series(v, points) for v, points in known.items()],
        log_x=True,
        log_y=True,
        note="Geometric means over seeds, equal training FLOPs for every point.",
    )


def _series(variant: str, points: Sequence[Trained]) -> Series:
    sizes = sorted({p.size for p in points})
    errors = [geometric_mean([p.error for p in points if p.size == size]) for size in sizes]
    return Series(name=variant, x=sizes, y=errors)


def _slopes(data: str, what: str, known: Mapping[str, Sequence[Trained]]) -> Group:
    dots = [
        Dot(name=v, estimate=slope([(p.size, p.error) for p in points]))
        for v, points in known.items()
    ]
    return Group(name=f"{data}: {what}", dots=dots)


def _forest(groups: Sequence[Group]) -> Forest:
    return Forest(
        title="Slope of error against parameters",
        unit="1",
        groups=groups,
        reference=0.0,
        better="lower",
        note="-1 means: ten times the parameters, a tenth of the error. Bars are 95 % intervals.",
    )


def _verdict(
    data: str, what: str, variants: Mapping[str, Sequence[Contestant]], measure: Measure
) -> Verdict:
    """Says whose error is least on one data set, noise floor included, and where flows stand."""
    everyone = [c for members in variants.values() for c in members if measure(c)]
    best = sorted(everyone, key=lambda c: fmean(measure(c).values()))
    told = _told(best[0], measure)
    flow = next((c for c in best if Spec.parse(c.model).name == "flow"), None)
    if flow is not None and flow is not best[0]:
        told += f". The best flow, {flow.label}: {_told(flow, measure)}"
    return Verdict(claim=f"{data}: {best[0].label} has the least {what}.", because=f"{told}.")


def _told(c: Contestant, measure: Measure) -> str:
    size = c.estimate(names.PARAMETERS).value or 0.0
    return f"{shown(mean(list(measure(c).values())))} with {size:,.0f} parameters"
