"""Error per parameter: are flows less expressive than decoders of the same size?"""

import math
from collections.abc import Iterator, Mapping, Sequence

from gantlet.core.components import families
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import t_quantile
from gantlet.report.blocks import Block, Caveat, Dot, Forest, Group, Lines, Series, Verdict
from gantlet.report.numbers import text as shown
from gantlet.studies import names
from gantlet.studies.contest import REAL
from gantlet.studies.summary import Contestant
from gantlet.studies.tradeoffs.part import Part
from gantlet.studies.tradeoffs.plan import VARIANTS

ERROR = "sliced-wasserstein (pixels)"
"""Positive by construction, so that its logarithm can be fitted."""

By = Mapping[str, Sequence[Contestant]]


def expressive(found: Mapping[str, Sequence[Contestant]]) -> Part:
    """Returns error against parameters for each data set, with fitted slopes."""
    blocks: list[Block] = []
    slopes: dict[str, dict[str, Estimate]] = {}
    for data, group in found.items():
        variants = _by_variant(group)
        if not variants:
            continue
        slopes[data] = {v: slope(_points(members)) for v, members in variants.items()}
        blocks.append(_chart(data, variants))
    groups = [
        Group(name=data, dots=[Dot(name=v, estimate=e) for v, e in found_here.items()])
        for data, found_here in slopes.items()
    ]
    if groups:
        blocks.append(_forest(groups))
    return Part(
        title="Expressivity per parameter",
        verdicts=[v for data, group in found.items() for v in _verdict(data, _by_variant(group))],
        blocks=blocks,
        caveats=[_CAVEAT],
    )


_CAVEAT = Caveat(
    text="Error per parameter is of what training found at equal FLOPs, not of the best weights: "
    "larger models make fewer steps. Slopes rest on few sizes and seeds."
)


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


def _points(members: Sequence[Contestant]) -> list[tuple[float, float]]:
    """Returns parameters and error of every trial."""
    found = []
    for c in members:
        size = c.estimate(names.PARAMETERS).value
        found += [(size, e) for e in c.values(ERROR).values() if size and e > 0]
    return found


def _chart(data: str, variants: Mapping[str, Sequence[Contestant]]) -> Lines:
    return Lines(
        title=f"Error against parameters on {data}",
        x_label="parameters needed to sample",
        y_label="sliced Wasserstein distance",
        series=[s for v, members in variants.items() for s in _series(v, members)],
        log_x=True,
        log_y=True,
        note="Means over seeds, equal training FLOPs for every point.",
    )


def _series(variant: str, members: Sequence[Contestant]) -> Iterator[Series]:
    pairs = [(c.estimate(names.PARAMETERS).value, c.estimate(ERROR).value) for c in members]
    known = sorted((x, y) for x, y in pairs if x is not None and y is not None)
    if known:
        yield Series(name=variant, x=[x for x, _ in known], y=[y for _, y in known])


def _forest(groups: Sequence[Group]) -> Forest:
    return Forest(
        title="Slope of error against parameters",
        unit="1",
        groups=groups,
        reference=0.0,
        better="lower",
        note="-1 means: ten times the parameters, a tenth of the error. Bars are 95 % intervals.",
    )


def _verdict(data: str, variants: Mapping[str, Sequence[Contestant]]) -> Iterator[Verdict]:
    """Says who has the least error with the fewest parameters on one data set."""
    best = [
        (e.value, c.label, e, c.estimate(names.PARAMETERS))
        for members in variants.values()
        for c in members
        if (e := c.estimate(ERROR)).value is not None
    ]
    if not best:
        return
    best.sort(key=lambda entry: entry[0] or 0.0)
    _, label, error, size = best[0]
    flows = next((entry for entry in best if entry[1].startswith("flow")), None)
    because = f"Sliced Wasserstein distance {shown(error)} with {shown(size)}."
    if flows is not None and flows[1] != label:
        because += f" The best flow is {flows[1]}: {shown(flows[2])} with {shown(flows[3])}."
    yield Verdict(
        claim=f"On {data} the least error at equal FLOPs is that of {label}.", because=because
    )
