"""The answers of a comparison, in sentences: each follows from a stated test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from gantlet.commands import standings
from gantlet.commands.compare.claims import (
    AXES,
    LEVEL,
    Claims,
    Gate,
    ScoreGap,
    Undertrained,
    estimated,
    gate,
    recipe_claims,
    trained_claims,
    trained_gap,
)
from gantlet.commands.standings import (
    ModelResults,
    is_reference,
    rank,
    ranked_on,
    ranking_score,
)
from gantlet.core.estimate import REAL, Estimate
from gantlet.report.blocks import Verdict
from gantlet.report.format import listed
from gantlet.report.format import text as shown
from gantlet.stats.intervals import holm, p_value

_SHOWN = 5
_PAIRS = 6


@final
@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Models that compete, with what may be claimed of them.

    Attributes:
        everyone: All models, references among them.
        competing: Those that compete and gave numbers.
        trained: Which trained models differ.
        recipes: Which recipes differ.
        gate: Who may be called best.
    """

    everyone: Sequence[ModelResults]
    competing: Sequence[ModelResults]
    trained: Claims
    recipes: Claims
    gate: Gate

    @property
    def quality(self) -> str:
        """The score by which models are ranked."""
        return ranking_score(self.everyone)

    def best(self, score: str) -> ModelResults | None:
        """Returns the model that is significantly better than every other, if one is.

        By the tests of the trained models; only scores by which models are ranked have them. A
        model that cannot be called best for its precision or recall is not.
        """
        ranked = rank(self.competing, score, "lower")
        if len(ranked) < 2 or (score == self.quality and self.gate.bars(ranked[0])):
            return None
        sure = (self.trained.is_sure(ranked[0], c, score) for c in ranked[1:])
        return ranked[0] if all(sure) else None


def judged(everyone: Sequence[ModelResults]) -> Judged:
    """Tests everything that verdicts speak of."""
    competing = [c for c in everyone if not is_reference(c) and c.outcomes]
    scores = (ranking_score(everyone), standings.LIKELIHOOD)
    return Judged(
        everyone,
        competing,
        trained_claims(competing, scores),
        recipe_claims(competing, scores),
        gate(everyone, competing),
    )


def verdicts(found: Judged, under: Sequence[Undertrained] = ()) -> list[Verdict]:
    """Returns the verdicts, most important first."""
    where = _features(ranked_on(found.everyone))
    samples = _Ranking(
        found, found.quality, "samples", f"energy distance on {where}", gate=found.gate
    )
    density = _Ranking(
        found, standings.LIKELIHOOD, "held-out likelihood", "negative log-likelihood"
    )
    of_samples = list(samples.verdicts())
    return [
        *_begun(of_samples, under, found),
        # Of one seed the same is said of recipes, whichever score ranks.
        *(v for v in density.verdicts() if v not in of_samples),
        *_gan_against_mixture(found),
        *_floor(found),
        *_sampling(found.competing),
        *_failures(found.everyone),
    ]


def _features(name: str) -> str:
    return "the raw numbers" if name == "pixels" else f"{name} features"


def _begun(
    ranking: list[Verdict], under: Sequence[Undertrained], found: Judged
) -> Iterator[Verdict]:
    """Yields what can be distinguished, after a word on models that were not trained enough."""
    if under and ranking:
        first, *rest = ranking
        who = _listed([u.contestant for u in under])
        yield replace(first, claim=f"Undertrained at this budget: {who}. {first.claim}")
        yield from _undertrained(under, found)
        yield from rest
    else:
        yield from _undertrained(under, found)
        yield from ranking


def _undertrained(under: Sequence[Undertrained], found: Judged) -> Iterator[Verdict]:
    """Says before any ranking which models had not been trained enough."""
    if not under:
        return
    competing = [c for c in found.competing if c.values(standings.STEPS)]
    trained = [c for c in competing if any(c.values(standings.STEPS).values())]
    every = len(under) == len(trained) and len(under) > 1
    who = "Every trained model" if every else _listed([u.contestant for u in under])
    be = "is" if every or len(under) == 1 else "are"
    summary = "; ".join(
        f"{u.contestant.label}: {', '.join(u.signs)}{_far(u, found)}" for u in under
    )
    yield Verdict(
        claim=f"{who} {be} undertrained at this budget: rankings are about the budget, not "
        "about what these models can reach.",
        because=f"{summary}.",
    )


def _far(u: Undertrained, found: Judged) -> str:
    grave = [x for x in found.gate.losses.get(u.contestant.model, ()) if x.is_grave]
    return f", samples far from the data ({grave[0].words})" if grave else ""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Who is best by one score."""

    found: Judged
    score: str
    what: str
    measure: str
    gate: Gate | None = None

    def verdicts(self) -> Iterator[Verdict]:
        """Yields what is said of the trained models, and of the recipes."""
        ranked = rank(self.found.competing, self.score, "lower")
        if len(ranked) < 2:
            return
        fit = [c for c in ranked if self.gate is None or not self.gate.bars(c)]
        if not fit:
            yield self._nobody(ranked)
            return
        best = fit[0]
        rest = [c for c in ranked if c is not best]
        yield self._trained(best, rest, ranked)
        yield self._recipes(best, rest)

    def _nobody(self, ranked: Sequence[ModelResults]) -> Verdict:
        summary = "; ".join(f"{c.label}: {self._bars(c)}" for c in ranked[:_SHOWN])
        return Verdict(
            claim=f"No model can be called best: {ranked[0].label} has the lowest {self.measure}, "
            f"{self._value(ranked[0])}, but each model has less than half of real "
            "data's precision or recall, where another has more.",
            because=f"{summary}.",
        )

    def _bars(self, c: ModelResults) -> str:
        return "; ".join(x.words for x in self.gate.bars(c)) if self.gate else ""

    def _trained(
        self, best: ModelResults, rest: Sequence[ModelResults], ranked: Sequence[ModelResults]
    ) -> Verdict:
        barred = [c for c in rest if self.gate and self.gate.bars(c)]
        against = [c for c in rest if c not in barred]
        level = [c for c in against if not self.found.trained.is_sure(best, c, self.score)]
        claim = self._claim(best, level, [c for c in against if c not in level])
        ahead = ranked[: ranked.index(best)]
        if ahead:
            claim = f"{self._ahead(ahead)} {self._of_the_others(best, level, against)}"
        return Verdict(claim=claim, because=self._because(best, rest, barred))

    def _claim(
        self, best: ModelResults, level: Sequence[ModelResults], beaten: Sequence[ModelResults]
    ) -> str:
        value = self._value(best)
        if not beaten and level:
            return (
                f"Which of these trained models has the best {self.what} cannot be said: "
                f"{_listed([best, *level])} are not significantly different."
            )
        if level:
            return (
                f"Not significantly different: {_listed([best, *level])}; {best.label} has the "
                f"lowest {self.measure}, {value}, significantly lower than {_listed(beaten)}."
            )
        return (
            f"Of these trained models {best.label} has the best {self.what}: {self.measure} "
            f"{value}, significantly lower than that of every other."
        )

    def _ahead(self, ahead: Sequence[ModelResults]) -> str:
        first, *rest = ahead
        also = f" {_listed(rest)}, too." if rest else ""
        return (
            f"{first.label} has the lowest {self.measure}, {self._value(first)}, but cannot be "
            f"called best: {self._bars(first)}.{also}"
        )

    def _of_the_others(
        self, best: ModelResults, level: Sequence[ModelResults], against: Sequence[ModelResults]
    ) -> str:
        if not against:
            return f"{best.label} is the only one that can."
        if not level:
            return f"Of those that can, {best.label} is significantly better than every other."
        return f"Of those that can, {_listed([best, *level])} are not significantly different."

    def _value(self, c: ModelResults) -> str:
        return shown(estimated(self.found.everyone, self.score)[c.model])

    def _because(
        self, best: ModelResults, rest: Sequence[ModelResults], barred: Sequence[ModelResults]
    ) -> str:
        gaps = [self.found.trained.of(c, best, self.score) for c in rest[:_SHOWN]]
        summary = "; ".join(f"{g.a.label} {_signed(g.estimate)}" for g in gaps if g is not None)
        open_ = [
            g
            for g in self.found.trained.open_pairs(self.score)
            if best is not g.a and best is not g.b
        ]
        text = f"Differences from {best.label}, on the same held-out samples: {summary}."
        if open_:
            text += f" Not significantly different among the others: {_pairs(open_)}."
        if barred and self.gate:
            text += f" Significantly below real data, so not best: {_axes(self.gate, barred)}."
        return f"{text} {_method(self.found.trained)}"

    def _recipes(self, best: ModelResults, rest: Sequence[ModelResults]) -> Verdict:
        seeds = len(best.values(self.score))
        if seeds < 2:
            return Verdict(
                claim=f"Whether {best.label} would be ahead with another seed is not known: one "
                "seed says nothing about recipes. Give --seeds 3.",
                because="Other seeds train other models of the same recipe.",
            )
        claims = self.found.recipes
        known = [g for c in rest if (g := claims.of(c, best, self.score)) is not None]
        sure = [g.a for g in known if g.is_sure and (g.estimate.value or 0) > 0]
        level = [g.a for g in known if not g.is_sure]
        summary = "; ".join(f"{g.a.label} {_signed(g.estimate)}" for g in known[:_SHOWN])
        return Verdict(
            claim=_recipe_claim(best, sure, level, seeds, self.measure),
            because=f"Differences from {best.label}, over seeds: {summary}. {_method(claims)}",
        )


def _axes(found: Gate, barred: Sequence[ModelResults]) -> str:
    """Returns which models lose on what: "precision of gan and vae; recall of histogram"."""
    by_axis = {a: [c for c in barred if a in {x.axis for x in found.bars(c)}] for a in AXES}
    return "; ".join(f"{axis} of {_listed(group)}" for axis, group in by_axis.items() if group)


def _recipe_claim(
    best: ModelResults,
    sure: Sequence[ModelResults],
    level: Sequence[ModelResults],
    seeds: int,
    measure: str,
) -> str:
    start = f"As recipes, over {seeds} seeds, the {measure} of {best.label}"
    if level and not sure:
        return f"{start} is not significantly different from that of {_listed(level)}."
    if level:
        return (
            f"{start} is not significantly different from that of {_listed(level)}, and "
            f"significantly lower than that of {_listed(sure)}."
        )
    if sure:
        return f"{start} is significantly lower than that of {_listed(sure)}."
    return f"{start} can be compared with no other: they have fewer than two seeds."


def _method(claims: Claims) -> str:
    n = len(claims.gaps)
    scores = len({g.score for g in claims.gaps})
    over = f"{n} pairs of models and scores" if scores > 1 else f"{n} pair{'s' if n > 1 else ''}"
    return f"Holm's procedure over {over}, {LEVEL:.0%} in all.".replace("%", " %")


def _signed(e: Estimate) -> str:
    text = shown(e)
    return f"+{text}" if (e.value or 0) > 0 else text


def _pairs(gaps: Sequence[ScoreGap]) -> str:
    summary = ", ".join(f"{g.a.label} / {g.b.label}" for g in gaps[:_PAIRS])
    return summary + (f" and {len(gaps) - _PAIRS} more" if len(gaps) > _PAIRS else "")


def _gan_against_mixture(found: Judged) -> Iterator[Verdict]:
    """Says whether a GAN reaches what a Gaussian mixture gets for almost nothing."""
    mixtures = [c for c in found.competing if _name(c) == "gmm"]
    for gan in (c for c in found.competing if _name(c) == "gan"):
        for mixture in mixtures:
            gap = found.trained.of(gan, mixture, found.quality)
            if gap is None or gap.estimate.value is None:
                continue
            said = "is not significantly different from"
            if gap.is_sure:
                said = "beats" if gap.estimate.value < 0 else "does not reach"
            yield Verdict(
                claim=f"{gan.label} {said} {mixture.label}, a baseline of almost no cost, in "
                "energy distance.",
                because=f"Difference {_signed(gap.estimate)}.",
            )


def _name(c: ModelResults) -> str:
    return c.model.partition(":")[0]


def _floor(found: Judged) -> Iterator[Verdict]:
    """Says which models differ from held-out real data, by any metric on any features."""
    real = next((c for c in found.everyone if c.model == REAL), None)
    if real is None or not found.competing:
        return
    tested = {c.model: _against(c, real) for c in found.competing}
    every = [(m, score, gap) for m, of in tested.items() for score, gap in of.items()]
    sure = holm([p_value(gap) for *_, gap in every], level=LEVEL)
    apart: dict[str, dict[str, Estimate]] = {c.model: {} for c in found.competing}
    for (model, score, gap), is_sure in zip(every, sure, strict=True):
        if is_sure:
            apart[model][score] = gap
    measured = [c for c in found.competing if tested[c.model]]
    same = [c for c in measured if not apart[c.model]]
    separated = [c for c in measured if apart[c.model]]
    n = len(every)
    how = f"By Holm's procedure over all {n} comparisons, {LEVEL:.0%} in all".replace("%", " %")
    because = f"{how}{_size(real, found.quality)}."
    if separated:
        clear = "; ".join(
            f"{c.label} on {len(apart[c.model])} of {len(tested[c.model])} metrics, most clearly "
            f"{_clearest(apart[c.model], c, real)}"
            for c in separated[:_SHOWN]
        )
        because = f"{clear}. {because}"
    if same:
        claim = f"Not significantly different from held-out real data: {_listed(same)}"
        tail = (
            f"; {_listed(separated)} {_differ(separated)} significantly from it."
            if separated
            else "."
        )
        yield Verdict(claim=claim + tail, because=because)
    elif separated:
        who = "Every model differs" if len(separated) > 1 else f"{separated[0].label} differs"
        yield Verdict(claim=f"{who} significantly from held-out real data.", because=because)


def _against(c: ModelResults, real: ModelResults) -> dict[str, Estimate]:
    """Returns the difference from real data by every metric on every measured features."""
    thin = c.as_control()
    (of_real,) = real.outcomes.values()
    known = [s for s in of_real.scores if s not in standings.NO_DISTANCES]
    scores = [s for s in known if thin.values(s) and real.values(s)]
    gaps = {s: trained_gap(thin, real, s) for s in scores}
    return {s: g for s, g in gaps.items() if g.half_width is not None}


def _size(real: ModelResults, quality: str) -> str:
    n = real.estimate(quality).n
    return f", {n:,} samples of each against the same held-out ones" if n else ""


def _clearest(gaps: dict[str, Estimate], c: ModelResults, real: ModelResults) -> str:
    score = max(gaps, key=lambda s: abs(gaps[s].value or 0) / (gaps[s].half_width or 1e-12))
    ours, theirs = shown(c.as_control().sampled(score)), shown(real.sampled(score))
    return f"{score} {ours} against {theirs}"


def _sampling(competing: Sequence[ModelResults]) -> Iterator[Verdict]:
    trained = [c for c in competing if c.values(standings.DEPTH)]
    ranked = rank(trained, standings.SAMPLING, "lower")
    ranked = [c for c in ranked if (c.estimate(standings.SAMPLING).value or 0) > 0]
    if len(ranked) < 2:
        return
    cheap, dear = ranked[0], ranked[-1]
    low, high = cheap.estimate(standings.SAMPLING), dear.estimate(standings.SAMPLING)
    ratio = (high.value or 0) / (low.value or 1)
    yield Verdict(
        claim=f"A sample of {dear.label} takes {ratio:,.0f} times as many FLOPs as one of "
        f"{cheap.label}.",
        because=f"{shown(high)} against {shown(low)}, counted.",
    )


def _failures(everyone: Sequence[ModelResults]) -> Iterator[Verdict]:
    for c in everyone:
        if c.failures:
            yield Verdict(
                claim=f"{c.label} failed in {len(c.failures)} of "
                f"{len(c.failures) + len(c.outcomes)} trials.",
                because="; ".join(c.failures),
            )


def _listed(group: Sequence[ModelResults]) -> str:
    return listed([c.label for c in group])


def _differ(group: Sequence[ModelResults]) -> str:
    return "differs" if len(group) == 1 else "differ"
