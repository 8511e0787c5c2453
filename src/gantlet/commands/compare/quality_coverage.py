"""Quality against coverage: the curves of models, and their coverage at matched quality."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, final

from gantlet.commands.compare.claims import LEVEL, Claims, ScoreGap, recipe_claims, trained_claims
from gantlet.commands.standings import ModelResults, is_reference
from gantlet.core.estimate import Better, Estimate, Outcome
from gantlet.probes.tradeoff import TRADE_OFF, score_name
from gantlet.report.blocks import Block, Cell, Column, Lines, Section, Series, Table, Verdict
from gantlet.report.format import listed
from gantlet.report.format import text as shown
from gantlet.stats.intervals import holm

_PAIRS = 3
"""So many pairs that do not differ are named; of more their number."""


# ----------------------------------------------------------------------------
# Curves, read from outcomes.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One value of a knob.

    Attributes:
        value: The value, None for a model without a knob.
        as_trained: Whether the model samples there as it was trained to.
        quality: The quality of samples.
        coverage: How much of the data they cover.
    """

    value: float | None
    as_trained: bool
    quality: Estimate
    coverage: Estimate

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "CurvePoint":
        """Reads what the probe wrote."""
        quality, coverage = Estimate(**plain["quality"]), Estimate(**plain["coverage"])
        return cls(plain["value"], plain["as trained"], quality, coverage)

    @property
    def is_measured(self) -> bool:
        """Whether both numbers are there."""
        return self.quality.value is not None and self.coverage.value is not None

    @property
    def place(self) -> tuple[float, float]:
        """Quality and coverage, of a point that is measured."""
        return self.quality.value or 0.0, self.coverage.value or 0.0


@final
@dataclass(frozen=True)
class Curve:
    """The curve of one trained model.

    Attributes:
        plain: What the probe wrote.
    """

    plain: Mapping[str, Any]

    @cached_property
    def points(self) -> Sequence[CurvePoint]:
        """All points that were measured, in the order of the knob."""
        read = map(CurvePoint.of, self.plain["points"])
        return [p for p in read if p.is_measured]

    @property
    def own(self) -> CurvePoint | None:
        """The point where the model samples as it was trained to."""
        return next((p for p in self.points if p.as_trained), None)

    def at(self, level: Estimate) -> Estimate | None:
        """Returns the coverage at a level of quality, or None where the curve does not reach it.

        Between neighbouring values of the knob the curve is a straight line; of several crossings
        the one with the best coverage counts. An end that is not significantly different from the
        level, by two standard errors of the difference, stands for it. The interval has the
        sampling errors of both metrics, and that of the level.
        """
        found = [e for a, b in pairwise(self.points) if (e := _between(a, b, level)) is not None]
        found = found or [p.coverage for p in self.points if _is_near(p.quality, level)]
        if not found:
            return None
        lower = found[0].better == "lower"
        return min(found, key=lambda e: (e.value or 0.0) * (1 if lower else -1))


def _between(a: CurvePoint, b: CurvePoint, level: Estimate) -> Estimate | None:
    """Returns the coverage at a level between two points, None where it is not between them."""
    (x0, y0), (x1, y1), x = a.place, b.place, level.value or 0.0
    if not min(x0, x1) <= x <= max(x0, x1):
        return None
    w = 0.5 if x0 == x1 else (x - x0) / (x1 - x0)
    slope = 0.0 if x0 == x1 else (y1 - y0) / (x1 - x0)
    errors = [(1 - w) * _error(a.coverage), w * _error(b.coverage)]
    errors += [slope * e for e in ((1 - w) * _error(a.quality), w * _error(b.quality))]
    half = math.hypot(*errors, slope * _error(level))
    y, known = (1 - w) * y0 + w * y1, a.coverage
    has_interval = all(p.half_width is not None for p in (a.coverage, b.coverage))
    return replace(
        known,
        value=y,
        low=y - half if has_interval else None,
        high=y + half if has_interval else None,
        n=min(known.n, b.coverage.n),
        method="between two values of the knob, by a straight line; sampling errors of both "
        "metrics and of the level",
    )


def _error(e: Estimate) -> float:
    return e.half_width or 0.0


def _is_near(quality: Estimate, level: Estimate) -> bool:
    gap = abs((quality.value or 0.0) - (level.value or 0.0))
    return gap <= math.hypot(_error(quality), _error(level))


def curves_of(c: ModelResults) -> dict[int, Curve]:
    """Returns the curve of each seed of a model."""
    known = {s: o.details.get(TRADE_OFF) for s, o in c.outcomes.items()}
    read = {s: Curve(plain) for s, plain in known.items() if plain is not None}
    return {s: curve for s, curve in read.items() if curve.points}


# ----------------------------------------------------------------------------
# Coverage at matched quality.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Models at one level of quality: that of one of them, as it was trained.

    Attributes:
        of: The model that sets the level, in each seed its own.
        quality: Its quality, over seeds.
        matched: Those that reach the level, with their coverage there as their only score.
    """

    of: ModelResults
    quality: Estimate
    matched: Sequence[ModelResults]


@final
@dataclass(frozen=True, slots=True, eq=False)
class TradeOffs:
    """The curves of all models, and what follows.

    Attributes:
        quality: The metric of quality.
        coverage: The metric of coverage.
        curves: By written form of the model, then by seed.
        levels: Where coverage is compared.
        claims: Which models differ in coverage there.
        of_recipes: Whether the claims are of recipes, and not of trained models alone.
    """

    everyone: Sequence[ModelResults]
    quality: str
    coverage: str
    curves: Mapping[str, Mapping[int, Curve]]
    levels: Sequence[Level]
    claims: Sequence[Claims]
    of_recipes: bool


_SCORE = "coverage at matched quality"


def trade_offs(everyone: Sequence[ModelResults]) -> TradeOffs | None:
    """Returns the curves of all models that have one, or None where nobody has."""
    curves = {c.model: found for c in everyone if (found := curves_of(c))}
    group = [c for c in everyone if c.model in curves]
    if not group:
        return None
    plain = next(iter(curves[group[0].model].values())).plain
    levels = _levels([c for c in group if not is_reference(c)], curves)
    several = all(len(m.outcomes) > 1 for level in levels for m in level.matched)
    test = recipe_claims if several else trained_claims
    claims = _together([test(level.matched, [_SCORE]) for level in levels])
    return TradeOffs(
        everyone=group,
        quality=plain["quality"],
        coverage=plain["coverage"],
        curves=curves,
        levels=levels,
        claims=claims,
        of_recipes=several,
    )


def _levels(
    group: Sequence[ModelResults], curves: Mapping[str, Mapping[int, Curve]]
) -> list[Level]:
    """Returns levels at which every model is compared once, if it can be: the fewest found.

    The first is that which most models reach, of several the one of the best quality.
    """
    open_, found = list(group), list[Level]()
    every = [level for c in group if (level := _level(c, group, curves)) is not None]
    while True:
        useful = [x for x in every if any(_is_in(m, open_) for m in x.matched)]
        if not useful:
            return found
        best = max(useful, key=lambda x: _worth(x, open_))
        found.append(best)
        taken = {m.model for m in best.matched}
        open_ = [c for c in open_ if c.model not in taken]
        every = [x for x in every if x is not best]


def _is_in(c: ModelResults, group: Sequence[ModelResults]) -> bool:
    return any(c.model == other.model for other in group)


def _worth(level: Level, open_: Sequence[ModelResults]) -> tuple[int, int, float]:
    new = sum(_is_in(m, open_) for m in level.matched)
    value = level.quality.value or 0.0
    return new, len(level.matched), -value if level.quality.better == "lower" else value


def _level(
    of: ModelResults, group: Sequence[ModelResults], curves: Mapping[str, Mapping[int, Curve]]
) -> Level | None:
    """Returns the models that reach the quality of one, None where no other does."""
    own = {s: p.quality for s, c in curves[of.model].items() if (p := c.own) is not None}
    matched = []
    for c in group:
        at = {s: curves[c.model][s].at(q) for s, q in own.items() if s in curves[c.model]}
        if c is of:
            at = {s: p.coverage for s in own if (p := curves[c.model][s].own) is not None}
        reached = {s: e for s, e in at.items() if e is not None}
        # A model that reaches it with some seeds only would be compared by its luckiest ones.
        if own and len(reached) == len(own):
            matched.append(_with_score(c, reached))
    if len(matched) < 2:
        return None
    title = next(iter(curves[of.model].values())).plain["quality"]
    return Level(of, of.estimate(score_name(title, None, None)), matched)


def _with_score(c: ModelResults, at: Mapping[int, Estimate]) -> ModelResults:
    outcomes = {s: Outcome(trial=c.outcomes[s].trial, scores={_SCORE: e}) for s, e in at.items()}
    return ModelResults(c.label, c.model, outcomes, ())


def _together(found: Sequence[Claims]) -> list[Claims]:
    """Returns the claims of several levels, with Holm's procedure over all of them."""
    every = [(k, g) for k, claims in enumerate(found) for g in claims.gaps]
    sure = holm([g.p for _, g in every], level=LEVEL)
    decided = [(k, replace(g, is_sure=s)) for (k, g), s in zip(every, sure, strict=True)]
    return [Claims(tuple(g for j, g in decided if j == k)) for k in range(len(found))]


# ----------------------------------------------------------------------------
# The section of the report, and what it says.
# ----------------------------------------------------------------------------


def trade_off_section(found: TradeOffs | None) -> Iterator[Block]:
    """Yields the curves, coverage at matched quality, and all points."""
    if found is None:
        return
    blocks: list[Block] = [_chart(found)]
    blocks += [_matched(found)] if found.levels else []
    blocks.append(_points(found))
    yield Section(title="Quality against coverage", blocks=blocks, open=True)


def _chart(found: TradeOffs) -> Lines:
    series = [_series(found, c) for c in found.everyone]
    floor = _floor(found)
    series.append(
        Series(
            name="held-out real data",
            x=[floor[0].value if floor[0].value is not None else math.nan],
            y=[floor[1].value if floor[1].value is not None else math.nan],
        )
    )
    return Lines(
        title=f"{found.coverage} against {found.quality}",
        x_label=f"{found.quality} {_arrow(floor[0].better)}",
        y_label=f"{found.coverage} {_arrow(floor[1].better)}",
        series=series,
        note="One curve for each model over the values of its knob, mean over seeds; a model "
        "without a knob is a point. Bands are 95 % intervals over seeds and samples.",
    )


def _arrow(better: Better | None) -> str:
    return {"lower": "(lower is better)", "higher": "(higher is better)"}.get(better or "", "")


def _floor(found: TradeOffs) -> tuple[Estimate, Estimate]:
    curve = next(iter(found.curves[found.everyone[0].model].values()))
    first, second = (Estimate(**e) for e in curve.plain["floor"])
    return first, second


def _values(found: TradeOffs, c: ModelResults) -> list[CurvePoint]:
    """Returns the points of a model that its first seed has, each over all seeds."""
    curves = list(found.curves[c.model].values())
    knob = curves[0].plain["knob"]
    points = []
    for p in curves[0].points:
        name = score_name(found.quality, knob, None if p.as_trained else p.value)
        other = score_name(found.coverage, knob, None if p.as_trained else p.value)
        points.append(CurvePoint(p.value, p.as_trained, c.estimate(name), c.estimate(other)))
    return points


def _series(found: TradeOffs, c: ModelResults) -> Series:
    points = [p for p in _values(found, c) if p.is_measured]
    ends = [(p.coverage.low, p.coverage.high) for p in points]
    banded = all(low is not None and high is not None for low, high in ends)
    return Series(
        name=c.label,
        x=[p.place[0] for p in points],
        y=[p.place[1] for p in points],
        low=[low or 0.0 for low, _ in ends] if banded else [],
        high=[high or 0.0 for _, high in ends] if banded else [],
    )


def _points(found: TradeOffs) -> Table:
    first, second = _floor(found)
    rows: list[list[Cell]] = []
    for c in found.everyone:
        knob = next(iter(found.curves[c.model].values())).plain["knob"]
        for p in _values(found, c):
            where = "–" if knob is None else f"{knob} {p.value:g}"
            where += " (as trained)" if p.as_trained and knob is not None else ""
            rows.append([c.label, where, p.quality, p.coverage])
    rows.append(["held-out real data", "–", first, second])
    return Table(
        title="Quality and coverage at each value of the knob",
        columns=[
            Column(name="model"),
            Column(name="knob"),
            Column(name=found.quality, better=first.better, unit=first.unit),
            Column(name=found.coverage, better=second.better, unit=second.unit),
        ],
        rows=rows,
        references=["held-out real data"],
        note=f"{first.n:,} samples of each against the same held-out ones; mean over seeds with "
        "95 % interval.",
    )


def _matched(found: TradeOffs) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{shown(level.quality)}, that of {level.of.label}",
            m.label,
            m.estimate(_SCORE),
            ", ".join(_beaten(m, claims)) or "–",
        ]
        for level, claims in zip(found.levels, found.claims, strict=True)
        for m in level.matched
    ]
    return Table(
        title=f"{found.coverage} at matched {found.quality}",
        columns=[
            Column(name=found.quality),
            Column(name="model"),
            Column(name=found.coverage, better=_floor(found)[1].better),
            Column(name="significantly better than"),
        ],
        rows=rows,
        note="The level is the quality of one model as it was trained, in each seed its own. "
        "Curves are straight between values of the knob; models whose curve does not reach the "
        f"level are left out. {_method(found)}",
    )


def _beaten(m: ModelResults, claims: Claims) -> list[str]:
    """Returns the names of the models that one surely covers more than."""
    won = [g for g in claims.gaps if g.is_sure and _winner(g) is m]
    return [(g.b if g.a is m else g.a).label for g in won]


def _winner(g: ScoreGap) -> ModelResults:
    ahead = (g.estimate.value or 0.0) > 0
    return g.a if ahead != (g.estimate.better == "lower") else g.b


def _method(found: TradeOffs) -> str:
    n = sum(len(c.gaps) for c in found.claims)
    what = "recipes, over seeds" if found.of_recipes else "trained models, for fresh samples"
    pairs = f"{n} pair{'' if n == 1 else 's'}"
    return f"Tested for {what}: Holm's procedure over {pairs}, 5 % in all."


def trade_off_verdicts(found: TradeOffs | None) -> Iterator[Verdict]:
    """Yields, for each level of quality, who covers more of the data there."""
    if found is None:
        return
    rivals = [c for c in found.everyone if not is_reference(c)]
    if len(rivals) > 1 and not found.levels:
        yield Verdict(
            claim=f"No two models reach the same {found.quality}: {found.coverage} cannot be "
            "compared at matched quality.",
            because=f"The curves of {listed([c.label for c in rivals])} do not overlap.",
        )
    for level, claims in zip(found.levels, found.claims, strict=True):
        values = "; ".join(f"{m.label} {shown(m.estimate(_SCORE))}" for m in level.matched)
        yield Verdict(
            claim=f"At the {found.quality} of {level.of.label}, {shown(level.quality)}: "
            f"{_said(found, level, claims)}.",
            because=f"{found.coverage} there: {values}. {_method(found)}",
        )


def _said(found: TradeOffs, level: Level, claims: Claims) -> str:
    same = [g for g in claims.gaps if not g.is_sure]
    if len(same) == len(claims.gaps):
        who = listed([m.label for m in level.matched])
        return f"{found.coverage} of {who} is not significantly different"
    parts = []
    if len(same) > _PAIRS:
        parts.append(
            f"{len(same)} of {len(claims.gaps)} pairs of models are not significantly different "
            f"in {found.coverage}"
        )
    elif same:
        pairs = ", ".join(f"{g.a.label} / {g.b.label}" for g in same)
        parts.append(f"not significantly different in {found.coverage}: {pairs}")
    parts += [
        f"{m.label} has significantly better {found.coverage} than {listed(beaten)}"
        for m in level.matched
        if (beaten := _beaten(m, claims))
    ]
    return "; ".join(parts)


def curve_scores(found: TradeOffs | None) -> set[str]:
    """Returns the names of the scores that the section shows, so that others need not."""
    if found is None:
        return set()
    return {
        score_name(title, c.plain["knob"], None if p.as_trained else p.value)
        for by_seed in found.curves.values()
        for c in by_seed.values()
        for p in map(CurvePoint.of, c.plain["points"])
        for title in (found.quality, found.coverage)
    }
