"""Question 5: how good are these samples, and how sure is that? The study and its report."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from gantlet import options
from gantlet.commands.evaluate.classes import (
    class_blocks,
    class_caveats,
    class_data,
    class_results,
    class_rows,
    class_verdicts,
    run_classes,
)
from gantlet.commands.evaluate.inputs import EvaluationSpec, named
from gantlet.commands.evaluate.panel import (
    extractors_at_hand,
    panel_caveats,
    panel_extra,
    panel_of,
    panel_section,
    panel_verdicts,
)
from gantlet.commands.evaluate.results import (
    FloorGap,
    Result,
    ScoredSet,
    SharedSamples,
    claims,
    copies,
    extractor_name,
    features_named,
    floor_name,
    floors_of,
    gaps,
    independent,
    metric_label,
    on,
    pairs,
    ranked,
    ranking_section,
    results_of,
    same_samples,
    samples_needed,
    shared_words,
    short,
    taken_from_reference,
    variety,
    verdicts,
)
from gantlet.commands.evaluate.sets import FLOOR, EvaluationSets, why_none
from gantlet.commands.evaluate.trial import (
    CLASSES,
    PAIRS,
    SAMPLES,
    EvaluationTrial,
    Reference,
    curves,
    exhibits_of,
    galleries,
    matched,
    run_trial,
)
from gantlet.core.arguments import check_fields
from gantlet.core.estimate import REAL, Estimate, Outcome, Trial
from gantlet.core.metric import Metric
from gantlet.core.spec import extractors, metrics
from gantlet.domains.domains import default_features, domain_of
from gantlet.features.base import check_ranking_features
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Report,
    Row,
    Section,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import ARROWS, merged, pattern
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder

# ----------------------------------------------------------------------------
# What each metric does not show, in a few words for the report.
# ----------------------------------------------------------------------------

MISSES = {
    "alpha-precision": "samples that are missing; shapes that no ball fits",
    "authenticity": "copies that were changed more than real neighbours differ",
    "beta-recall": "bad samples; shapes that no ball fits",
    "birthday": "variety within the support: near-duplicates alone are counted",
    "bleu": "variety: one good sentence again and again scores well; order beyond four tokens",
    "c2st": "how far apart the sets are once a classifier separates them",
    "clipped-coverage": "bad samples far from all real ones; how uneven the coverage is",
    "clipped-density": "real samples that are missed; copies",
    "cmmd": "fine detail, which its wide kernel smooths over",
    "coverage": "bad samples far from all real ones",
    "ct": "copies where as many samples lie far from the training set",
    "density": "real samples that are missed",
    "energy": "differences in fine structure, which large ones drown",
    "fld": "whether samples are bad, missing or copied: it adds them up",
    "frechet": "differences beyond mean and covariance; copies of training samples",
    "frechet-infinity": "differences beyond mean and covariance; copies of training samples",
    "geometry-score": "where the samples lie: holes are counted, not places",
    "inception-score": "the real data, which it never sees; variety within classes",
    "kid": "copies of training samples; differences beyond the third moment",
    "lm-forward": "variety; a value below that of real text is too predictable, not better",
    "lm-reverse": "copies of training samples; order beyond four tokens",
    "longest-copy": "copies with changed words in between",
    "max-sliced-wasserstein": "differences in all directions but the one where it is largest",
    "mifid": "copies of samples that differ in length alone; how many are copied, if few",
    "mind": "differences that few random directions see",
    "mmd": "differences much finer or wider than its kernel",
    "ms-ssim": "quality; and what kind of variety there is",
    "pqmass": "differences finer than its regions; copies of training samples",
    "prd": "fine detail within its clusters",
    "precision": "real samples that are missed; copies",
    "realism": "real samples that are missed; copies",
    "recall": "bad samples; copies",
    "self-bleu": "quality: random tokens are the most diverse",
    "sliced-wasserstein": "differences that few random directions see",
    "symmetric-precision": "real samples that are missed; copies",
    "symmetric-recall": "bad samples; copies",
    "vendi": "the real data, which it never sees: noise is diverse too",
    "verbatim": "copies that differ in a single token",
}
"""By the name of a metric; those of plug-ins may be missing."""


# ----------------------------------------------------------------------------
# The tables of an evaluation.
# ----------------------------------------------------------------------------


def main_table(
    results: Sequence[Result],
    extractor: str,
    rank: str | None = None,
    *,
    taken: Collection[str] = (),
) -> Table:
    """Returns the table to read first: one set metric by metric, or several side by side.

    Args:
        results: All results.
        extractor: On which features.
        rank: The metric by which sets are ranked on them; None where it is not tested.
        taken: Names of sets that were taken from the reference: shown, but not ranked.
    """
    judged = on(results, extractor)
    if len(judged) == 1 and judged[0].floor is not None:
        return _one_table(judged[0], judged[0].floor)
    order = _Order.of([r for r in results if r.name not in taken], extractor, rank)
    return _several_table(judged, extractor, order, taken)


@final
@dataclass(frozen=True, slots=True)
class _Order:
    """Which sets come first by a metric, and which is significantly better than all others."""

    metric: str | None
    names: Sequence[str]
    best: Sequence[str]

    @classmethod
    def of(cls, results: Sequence[Result], extractor: str, metric: str | None) -> "_Order":
        """Returns the order of the sets on some features."""
        order = [] if metric is None else ranked(results, extractor, metric)
        if metric is None or len(order) < 2:
            return cls(None, [], [])
        ahead = [p for p in pairs(order, metric) if p.better == order[0].name]
        best = [order[0].name] if all(p.separated for p in ahead) else []
        return cls(metric, [r.name for r in order], best)

    def place(self, name: str) -> int:
        """Returns where a set stands; those without a number come last."""
        return self.names.index(name) if name in self.names else len(self.names)


def scores_beside(results: Sequence[Result], extractor: str, rank: str) -> dict[str, list[Dot]]:
    """Returns the numbers that stand beside the samples of each set, and of the noise floor."""
    judged = on(results, extractor)
    everyone = [*(j.value for j in judged), *floors_of(judged)[:1]]
    wanted = dict.fromkeys((rank, "precision", "recall"))
    return {
        FLOOR if r.model == REAL else r.name: [
            Dot(name=_on_features(metric_label(m, r), extractor), estimate=r.scores[m])
            for m in r.scores
            if (m == rank or m.partition(":")[0] in wanted) and r.scores[m].value is not None
        ]
        for r in everyone
    }


def _on_features(metric: str, extractor: str) -> str:
    return f"{metric} ({extractor_name(extractor)})"


def further_tables(
    results: Sequence[Result], first: str, taken: Collection[str]
) -> Iterator[Block]:
    """Yields the same table for every other extractor, and that of pairs, in one section."""
    others = [e for e in dict.fromkeys(r.extractor for r in results) if e != first]
    if others:
        names = ", ".join(map(features_named, others))
        yield Section(
            title=f"Further tables: {names}",
            blocks=[main_table(results, e, taken=taken) for e in others],
        )


def _one_table(judged: ScoredSet, floor: Result) -> Table:
    fake = judged.value
    is_apart = judged.fair is not judged.value
    equal = Column(
        name="at equal sizes",
        mixed=True,
        help="As many generated samples as the noise floor has, against the same reference.",
    )
    known = {g.metric: g for g in gaps([judged])}
    return Table(
        title=f"{fake.name}: {features_named(fake.extractor)}",
        columns=[
            Column(name="metric"),
            Column(name="value", mixed=True),
            *([equal] if is_apart else []),
            Column(
                name=FLOOR,
                mixed=True,
                help="The noise floor: held-out real samples in place of the generated ones.",
            ),
            Column(
                name="significant?",
                help="If not, the sample size at which the observed difference would be.",
            ),
            Column(name="does not show"),
        ],
        rows=[
            _row(judged, floor, m, known.get(m), is_apart=is_apart) for m in _by_group(fake.scores)
        ],
        note="Value ± half the 95 % interval; arrows point in the better direction. "
        f"Significant: {_COMPARED[is_apart]} differs from {FLOOR} (the noise floor), by Holm's "
        "procedure over all metrics of the table at 5 %. If not, n is the approximate sample size "
        "at which a difference as large as the observed one would be.",
    )


_COMPARED = {True: "the number at equal sizes", False: "the value"}


def _row(
    judged: ScoredSet, floor: Result, metric: str, known: FloorGap | None, *, is_apart: bool
) -> list[Cell]:
    value = judged.value.scores[metric]
    name = f"{metric_label(metric, judged.value)} {ARROWS[value.better]}".rstrip()
    fair: list[Cell] = [judged.fair.scores.get(metric, "–")] if is_apart else []
    noise = floor.scores.get(metric, "–")
    misses = MISSES.get(metric.partition(":")[0], "")
    return [name, value, *fair, noise, _significance(known), misses]


def _significance(known: FloorGap | None) -> str:
    """Returns whether a difference is significant, and if not how many samples would show it."""
    if known is None:
        return "–"
    if known.is_significant:
        return "yes"
    needed = samples_needed(known.apart)
    if needed is None or needed <= known.apart.n:
        return "no"
    return f"no (n ~ {_about(needed)} needed)"


def _about(n: int) -> str:
    """Returns a number with two digits, the rest zeros.

    Example:
        >>> _about(12345)
        '12,000'
    """
    digits = max(len(str(n)) - 2, 0)
    return f"{round(n, -digits):,}"


def _several_table(
    judged: Sequence[ScoredSet], extractor: str, order: _Order, taken: Collection[str]
) -> Table:
    fakes, floors = [j.value for j in judged], floors_of(judged)
    fakes.sort(key=lambda r: (r.name in taken, order.place(r.name)))
    known = _by_group(m for r in [*fakes, *floors] for m in r.scores)
    names = [floor_name(f, floors) for f in floors]
    rows = [(r.name, r) for r in fakes] + list(zip(names, floors, strict=True))
    is_apart = any(j.fair is not j.value for j in judged)
    note = "Value ± half the 95 % interval."
    if order.metric is not None:
        note += f" Best {short(order.metric)} first; pairs of sets are tested on it alone."
    if floors:
        note += f" The noise floor is {FLOOR}."
    if is_apart:
        note += (
            " It is measured on fewer samples than the sets are: tests against it, below, are at "
            "equal sizes."
        )
    title = "Pairs" if extractor == PAIRS else f"All sets, on {features_named(extractor)}"
    return Table(
        title=title,
        columns=[
            Column(name="samples"),
            *(_column([*fakes, *floors], m, order) for m in known),
        ],
        rows=[[name, *(r.scores.get(m, "–") for m in known)] for name, r in rows],
        references=[*(r.name for r in fakes if r.name in taken), *names],
        note=note,
    )


def comparisons(results: Sequence[Result]) -> Iterator[Section]:
    """Yields every set beside the noise floor, in one section, where the sets are several."""
    tables = list(_comparison_tables(results))
    if tables:
        yield Section(title="Tests against the noise floor", blocks=tables)


def _comparison_tables(results: Sequence[Result]) -> Iterator[Table]:
    for extractor in dict.fromkeys(r.extractor for r in results):
        judged = on(results, extractor)
        found = gaps(judged)
        if len(judged) < 2 or not found:
            continue
        heads = ("samples", "metric", "at equal sizes", FLOOR, "difference", "significant?")
        mixed = heads[2:5]
        yield Table(
            title=f"Each set against {FLOOR}, on {features_named(extractor)}",
            columns=[Column(name=h, mixed=h in mixed) for h in heads],
            rows=[_compared(g) for g in found],
            note="Significant: by Holm's procedure over all rows, at 5 %.",
        )


def _compared(one: FloorGap) -> list[Cell]:
    judged, floor = one.judged, one.judged.floor
    noise = None if floor is None else floor.scores[one.metric]
    name = metric_label(one.metric, judged.value)
    ours = judged.fair.scores[one.metric]
    return [judged.value.name, name, ours, noise, one.apart, _significance(one)]


def copying_section(results: Sequence[Result]) -> Iterator[Section]:
    """Yields how many samples repeat one another, or copy training samples; unfolded if any."""
    signs = [
        s for found in (variety(results), copies(results)) for some in found.values() for s in some
    ]
    signs.sort(key=lambda s: s.p)
    rows: list[list[Cell]] = [
        [
            s.fair.name,
            extractor_name(s.fair.extractor),
            _SIGNS[s.kind],
            f"{s.found.count:,} of {s.found.n:,}" if s.kind != "nearer" else "–",
            f"{s.found.floor_count:,} of {s.found.floor_n:,}" if s.kind != "nearer" else "–",
            f"{s.p:.2g}",
            "yes" if s.is_significant else "no",
        ]
        for s in signs
        if not isinstance(s.found, FloorGap)
    ]
    if rows:
        heads = ("samples", "features", "sign", "generated", "held-out real", "p", "significant?")
        table = Table(
            title="Repeats and copies of each set",
            columns=[Column(name=h) for h in heads],
            rows=rows,
            note="Repeats: samples whose nearest other sample is within half the distance within "
            "which 5 % of real samples have one. Copies: samples at most a third as far from a "
            "training sample as that is from the next training sample. Both by Fisher's exact "
            "test. Nearer to training samples: than held-out real samples are, and than to the "
            "reference. All p-values are one-sided; significant by Holm's procedure, copies over "
            "both signs at 5 %, repeats together with all metrics of variety at 2.5 %.",
        )
        is_found = any(s.is_significant for s in signs if not isinstance(s.found, FloorGap))
        yield Section(title="Repeats and copies", blocks=[table], open=is_found)


_SIGNS = {
    "repeats": "repeats",
    "copies": "copies of training samples",
    "nearer": "nearer to training samples",
}


_GROUPS: dict[str, tuple[str, ...]] = {
    "Distance": (),
    "Fidelity": (
        *("precision", "density", "realism", "alpha-precision"),
        *("clipped-density", "symmetric-precision", "bleu", "lm-forward"),
    ),
    "Variety": (
        *("recall", "coverage", "beta-recall", "vendi", "birthday", "ms-ssim"),
        *("clipped-coverage", "symmetric-recall", "self-bleu", "lm-reverse"),
    ),
    "Memorization": ("authenticity", "ct", "mifid", "verbatim", "longest-copy"),
}
"""What metrics are about, by name; those that are in no group measure a distance."""


def _group(metric: str) -> str:
    name = metric.partition(":")[0]
    return next((group for group, of in _GROUPS.items() if name in of), "Distance")


def _by_group(known: Iterable[str]) -> list[str]:
    """Returns metrics, each once, those of one group side by side."""
    return sorted(dict.fromkeys(known), key=lambda m: list(_GROUPS).index(_group(m)))


def _column(everyone: Sequence[Result], metric: str, order: _Order) -> Column:
    who = next(r for r in everyone if metric in r.scores)
    first = who.scores[metric]
    missed = MISSES.get(metric.partition(":")[0])
    text = "" if missed is None else f"Does not show {missed}."
    return Column(
        name=_on_features(metric_label(metric, who), who.extractor),
        better=first.better,
        unit=first.unit,
        help=text,
        group=_group(metric),
        best=order.best if metric == order.metric else (),
    )


def methods(results: Sequence[Result]) -> Section:
    """Returns the methods of the numbers, once for all that differ in numbers only."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[tuple[Result, Estimate]]] = {}
    for r in results:
        for m, e in r.scores.items():
            key = _on_features(metric_label(m, r), r.extractor), e.unit, pattern(e.method)
            alike.setdefault(key, []).append((r, e))
    rows: list[list[Cell]] = [
        [
            metric,
            ", ".join(dict.fromkeys(_who(r) for r, _ in of)),
            _sizes([e.n for _, e in of]),
            how,
        ]
        for (metric, *_), of in alike.items()
        for how in merged(e.method for _, e in of)
    ]
    columns = ("metric", "samples", "n", "method")
    return Section(
        title="How each number was obtained",
        blocks=[Table(title="Methods", columns=[Column(name=c) for c in columns], rows=rows)],
    )


def _sizes(found: Sequence[int]) -> str:
    """Returns on how many samples numbers rest: one number, or the least and the most."""
    known = sorted({n for n in found if n})
    return " to ".join(f"{n:,}" for n in known[:: max(len(known) - 1, 1)]) or "–"


def _who(result: Result) -> str:
    """Returns the name of a set, and whether it is the one at equal sizes."""
    if result.model == REAL or result.against == "all":
        return result.name
    return f"{result.name}, at equal sizes"


# ----------------------------------------------------------------------------
# The report of an evaluation.
# ----------------------------------------------------------------------------


def answer(
    question: Mapping[str, Any], sets: EvaluationSets, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of an evaluation from its outcomes."""
    results = results_of(outcomes, run)
    classes = class_results(outcomes, sets, run)
    same = same_samples(sets)
    why = {n: why_none(sets, n) for n in sets.sizes() if sets.floor(n) is None}
    first, rank = question["features"][0], question["rank"]
    free = independent(results, same)
    order = [r.name for r in ranked(free, first, rank)]
    taken = taken_from_reference(same)
    failed = {EvaluationTrial.of(o.trial).extractor for o in outcomes if o.error is not None}
    panel = panel_of(sets, question, {r.extractor for r in results} - failed)
    return Report(
        title=_title(sets),
        command="evaluate",
        question=question,
        facts=facts_of(_setting(question, sets), outcomes, run),
        verdicts=[
            *_nothing(results, first, outcomes),
            *verdicts(results, first, rank, same=same, why_no_floor=why),
            *class_verdicts(classes),
            *panel_verdicts(panel),
        ],
        caveats=[
            *class_caveats(classes),
            *_caveats(sets, results, same, why),
            *(Caveat(text=t) for t in sets.advice(first)),
            *panel_caveats(sets, panel, question),
        ],
        rows=[
            *_rows(sets.asked, results),
            *class_rows(classes, sets.asked.real, sets.asked.seed),
        ],
        blocks=[
            *([main_table(results, first, rank, taken=taken)] if on(results, first) else []),
            *panel_section(panel),
            *ranking_section(free, first, rank),
            *class_blocks(classes, sets),
            *copying_section(results),
            *curves(exhibits_of(outcomes, run)),
            *galleries(sets, outcomes, run, scores_beside(results, first, rank), order),
            *further_tables(results, first, taken),
            *comparisons(free),
            *([methods(results)] if results else []),
            *failed_trials(outcomes, column="samples"),
        ],
        extra={
            **_extra(results, first, same),
            **({"classes": class_data(classes)} if classes else {}),
            **panel_extra(panel),
        },
    )


def _extra(
    results: Sequence[Result], first: str, same: Sequence[SharedSamples]
) -> dict[str, object]:
    """Returns what of the sets as wholes programs read, as plain data."""
    return {
        "fingerprints": {r.extractor: r.fingerprint for r in results},
        "comparisons": _comparisons(results),
        "claims": claims(results, first, same),
    }


def _title(sets: EvaluationSets) -> str:
    fakes = sets.asked.fakes
    who = named(fakes[0])[0] if len(fakes) == 1 else f"{len(fakes)} sets of samples"
    return f"{who} against {sets.real.samples.name}"


def _rows(asked: EvaluationSpec, results: Sequence[Result]) -> Iterator[Row]:
    """Yields the numbers of all sets, and those of the noise floors."""
    for extractor in dict.fromkeys(r.extractor for r in results):
        judged = on(results, extractor)
        floors = floors_of(judged)
        for r in [*(j.value for j in judged), *floors]:
            size = f", n = {r.size:,}" if r.model == REAL and len(floors) > 1 else ""
            for m, e in r.scores.items():
                name = f"{short(m)} ({extractor_name(extractor)}){size}"
                yield Row(data=asked.real, model=r.model, seed=asked.seed, name=name, estimate=e)


def _comparisons(results: Sequence[Result]) -> list[dict[str, object]]:
    """Returns each set beside the noise floor, at equal sizes, as plain data."""
    found: list[dict[str, object]] = []
    for extractor in dict.fromkeys(r.extractor for r in results):
        for one in gaps(on(results, extractor)):
            floor = one.judged.floor
            found.append(
                {
                    "model": one.judged.value.model,
                    "name": f"{short(one.metric)} ({extractor_name(extractor)})",
                    "value": one.judged.fair.scores[one.metric].value,
                    "floor": None if floor is None else floor.scores[one.metric].value,
                    "difference": one.apart.value,
                    "low": one.apart.low,
                    "high": one.apart.high,
                    "n": one.apart.n,
                    "p": one.p,
                    "significant": one.is_significant,
                }
            )
    return found


def _setting(question: Mapping[str, Any], sets: EvaluationSets) -> dict[str, str]:
    real, train = sets.real, sets.train
    known = {
        "Judged": "; ".join(f"{named(f)[0]} ({sets.fake(f).counted})" for f in sets.asked.fakes),
        "Reference": f"{named(sets.asked.real)[0]} ({real.counted})",
        "Samples": real.samples.space.label,
        "Training samples": "not given"
        if train is None
        else f"{named(str(sets.asked.train))[0]} ({train.counted})",
        "Noise floor": _floors(sets),
        "Features": ", ".join(question["features"]),
        "Features learned from": sets.known_splits()[1],
        **({"Classes": _labels(sets)} if sets.asked.labels else {}),
        "Seed": str(sets.asked.seed),
    }
    if train is None:
        known["Not run"] = "tests for copies of training samples: give --train"
    return known


# So many classes are named.
_NAMED = 10


def _labels(sets: EvaluationSets) -> str:
    names = sets.class_names()
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names):,} ({some})"


def _floors(sets: EvaluationSets) -> str:
    found = {n: sets.floor(n) for n in sets.sizes()}
    words = {n: "none" if f is None else f.words for n, f in found.items()}
    if len(words) == 1:
        return next(iter(words.values()))
    return "; ".join(f"for n = {n:,}: {text}" for n, text in words.items())


def _caveats(
    sets: EvaluationSets,
    results: Sequence[Result],
    same: list[SharedSamples],
    why: Mapping[int, str],
) -> Iterator[Caveat]:
    for note in sets.notes():
        yield Caveat(text=f"{note}.")
    for words in shared_words(sets, same):
        yield Caveat(text=words)
    for n, reason in why.items():
        yield Caveat(text=f"No noise floor for n = {n:,}: {reason}.")
    notes = dict.fromkeys(r.notes[0].text for r in results if r.notes)
    for note in notes:
        yield Caveat(text=f"{note[0].upper()}{note[1:]}.")
    yield Caveat(
        text="Intervals are for fresh samples of the same generator and of the real data; they do "
        "not cover the variation between training runs."
    )


def _nothing(
    results: Sequence[Result], first: str, outcomes: Sequence[Outcome]
) -> Iterator[Verdict]:
    """Says that nothing was measured on the features to speak of, and why."""
    if on(results, first):
        return
    errors = [
        o.error for o in outcomes if o.error and EvaluationTrial.of(o.trial).extractor == first
    ]
    where = f" on {features_named(first)}" if results else ""
    yield Verdict(
        claim=f"Nothing could be measured{where}: every trial failed.",
        because=" ".join(dict.fromkeys(errors)) or "No trial has ended.",
    )


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


METRICS = (
    "frechet",
    "kid",
    "energy",
    "sliced-wasserstein:directions=128",
    "precision",
    "recall",
    "density",
    "coverage",
    "realism",
    "c2st",
    "vendi",
    "birthday",
)
"""What is measured by default."""

WITH_TRAINING = ("authenticity", "ct")
"""What is measured besides where the training samples are known."""


@final
@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Sets of samples, each against the same real ones.

    One object is one run: the sets that it has resolved are held by it. ``dataclasses.replace``
    returns one that has resolved nothing.

    Attributes:
        asked: The sets.
        features: What distances are measured on; empty for what suits the data.
        metrics: What is measured; empty for the usual.
        panel: Whether every extractor at hand is used, and a panel made of them.
        rank: The metric by which several sets are ranked.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    asked: EvaluationSpec
    features: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    panel: bool = options.Evaluate.panel
    rank: str = options.Evaluate.rank
    threads: options.Threads = options.Evaluate.threads
    device: str = options.Evaluate.device

    @cached_property
    def sets(self) -> EvaluationSets:
        """The sets, resolved once; extractors leave the noise floor alone."""
        return EvaluationSets(replace(self.asked, divides=True))

    def fresh(self) -> "Evaluate":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "evaluate",
            **self.sets.written(),
            "features": list(self._features()),
            "metrics": list(self._metrics()),
            "rank": metrics.resolve(self.rank),
            **({"panel": True} if self.panel else {}),
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """For each extractor: each set, the noise floor, and each set on equal terms with it."""
        self._check()
        paired = self.asked.fakes if self.asked.pairs is not None else ()
        return [
            *(self._trial(fake, PAIRS) for fake in paired),
            *(t for e in self._seen() for t in self._on(e)),
            *(self._trial(fake, CLASSES) for fake in self.asked.fakes if self.asked.labels),
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Measures one set on one extractor, or class by class."""
        if EvaluationTrial.of(trial).extractor == CLASSES:
            return run_classes(trial, self.sets, folder, watch)
        return run_trial(trial, self.sets, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the numbers mean, and how sure they are."""
        return answer(self.question(), self.sets, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return self.sets.notes()

    def _check(self) -> None:
        for metric in (*self.metrics, self.rank):
            metrics.make(metric)
        check_fields(self)
        check_ranking_features(self._features())
        self.sets.check(self._features(), self.device)
        for metric in self._metrics():
            self.sets.metric(metric)
        if self.asked.pairs is not None:
            for fake in self.asked.fakes:
                matched(self.sets, fake)

    def _on(self, extractor: str) -> Iterator[Trial]:
        """Yields the trials of one extractor."""
        fakes, sets = self.asked.fakes, self.sets
        for fake in fakes:
            yield self._trial(fake, extractor)
        for size in sets.sizes():
            if sets.floor(size) is not None:
                yield self._trial(REAL, extractor, "part", size)
        for fake in fakes:
            if not sets.is_fair(fake):
                yield self._trial(fake, extractor, "part")

    def _trial(
        self, model: str, extractor: str, against: Reference = "all", size: int | None = None
    ) -> Trial:
        seen = {PAIRS: (), CLASSES: (), SAMPLES: ("samples",)}.get(
            extractor, ("features", "probabilities")
        )
        return EvaluationTrial(
            model=model,
            against=against,
            size=self.sets.fake(model).n if size is None else size,
            extractor=extractor,
            extractors=self._features(),
            metrics=tuple(m for m in self._metrics() if metrics.make(m).sees in seen),
            sets=self.sets.asked,
            threads=self.threads,
            device=self.device,
        ).written()

    def _metrics(self) -> tuple[str, ...]:
        has_training = self.asked.train is not None
        usual = self.metrics or (
            *METRICS,
            *(WITH_TRAINING if has_training else ()),
            *(
                m
                for m in domain_of(self.sets.real.samples.space).metrics
                if has_training or isinstance(metrics.make(m), Metric)
            ),
        )
        ranking = metrics.resolve(self.rank)
        resolved = tuple(metrics.resolve(m) for m in usual)
        return (
            resolved if ranking in resolved or len(self.asked.fakes) < 2 else (*resolved, ranking)
        )

    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._usual_features())

    def _usual_features(self) -> tuple[str, ...]:
        samples = self.sets.real.samples
        chosen = extractors_at_hand if self.panel else default_features
        usual = chosen(samples.space, samples.code, labelled=self.sets.has_classes())
        # Trained for as long as features of real samples alone ask for.
        return tuple("classifier:steps=1000" if f == "classifier" else f for f in usual)

    def _seen(self) -> tuple[str, ...]:
        """Returns the extractors, and that of the samples themselves where it is needed."""
        needed = any(metrics.make(m).sees == "samples" for m in self._metrics())
        return (*self._features(), *([SAMPLES] if needed else []))
