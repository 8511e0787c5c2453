"""The answers of an evaluation, in sentences."""

from collections.abc import Iterator, Mapping, Sequence

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import holm, p_value
from gantlet.report.blocks import Verdict
from gantlet.report.numbers import text as shown
from gantlet.studies.evaluation.ranking import ranking_verdict
from gantlet.studies.evaluation.results import Result, extractor_name, gap, is_worse, on, short
from gantlet.studies.evaluation.sets import FLOOR

_VARIETY = ("recall", "coverage", "beta-recall", "vendi", "birthday", "ms-ssim")
_BIRTHDAY = "birthday"
_COPIES = ("authenticity", "ct")
_SHOWN = 3


def verdicts(results: Sequence[Result], first: str, rank: str) -> list[Verdict]:
    """Returns what was found, most important first.

    Args:
        results: All numbers.
        first: The extractor to speak of.
        rank: The metric by which several sets are ranked.
    """
    fakes, floor = on(results, first)
    found = list(ranking_verdict(results, first, rank))
    if floor is not None:
        found += _alarms(fakes, floor, results)
        found += _told_apart(fakes[0], floor) if len(fakes) == 1 else _apart(fakes, floor)
    return found


def _apart(fakes: Sequence[Result], floor: Result) -> Iterator[Verdict]:
    """Says which of several sets are told from real data."""
    counts = {f.name: len(_separating(f, floor)) for f in fakes}
    apart = [name for name, count in counts.items() if count]
    where = extractor_name(floor.extractor)
    if apart:
        most = len(_both(fakes[0], floor))
        told = ", ".join(f"{name} ({counts[name]} of {most})" for name in apart)
        yield Verdict(
            claim=f"{len(apart)} of {len(fakes)} sets are told from real data on {where} "
            "features.",
            because=f"By so many metrics: {told}.",
        )
    same = [name for name, count in counts.items() if not count]
    if same:
        yield Verdict(
            claim=f"{len(same)} of {len(fakes)} sets cannot be told from real data on {where} "
            "features.",
            because=f"{', '.join(same)}. More samples, or other features, may.",
        )


def _samples_of(results: Sequence[Result], model: str) -> list[tuple[Result, Result]]:
    """Returns what else is known of a set, beside the same of real data."""
    others = dict.fromkeys(r.extractor for r in results)
    both = [(on(results, e)) for e in others]
    return [(f, floor) for fakes, floor in both if floor for f in fakes if f.model == model]


def _alarms(
    fakes: Sequence[Result], floor: Result, results: Sequence[Result]
) -> Iterator[Verdict]:
    """Says of which sets variety is missing, and which copied training samples."""
    few: dict[str, list[str]] = {}
    for fake in fakes:
        everywhere = _samples_of(results, fake.model)
        few[fake.name] = [*_repeats(everywhere), *_worse(everywhere, _VARIETY)]
    yield from _alarm(few, "too little variety: kinds of samples are missing or repeat")
    copied = {fake.name: _worse([(fake, floor)], _COPIES) for fake in fakes}
    yield from _alarm(copied, "copies of training samples")


def _alarm(signs: Mapping[str, Sequence[str]], what: str) -> Iterator[Verdict]:
    """Says of all sets with signs at once what they have, with the signs of each."""
    bad = {name: found for name, found in signs.items() if found}
    if not bad:
        return
    if len(signs) == 1:
        ((name, found),) = bad.items()
        yield Verdict(claim=f"{name} has {what}.", because=f"{'; '.join(found[:_SHOWN])}.")
        return
    told = ". ".join(f"{name}: {found[0]}" for name, found in bad.items())
    yield Verdict(claim=f"{len(bad)} of {len(signs)} sets have {what}.", because=f"{told}.")


def _repeats(pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    """Returns in words where fakes repeat and real samples do not."""
    return [
        f"{short(m)} ({extractor_name(a.extractor)}) {shown(a.scores[m])} different samples, "
        "where real ones do not repeat"
        for a, b in pairs
        for m in _both(a, b)
        if m.partition(":")[0] == _BIRTHDAY
        and a.scores[m].value is not None
        and b.scores[m].value is None
    ]


def _worse(pairs: Sequence[tuple[Result, Result]], names: Sequence[str]) -> list[str]:
    """Returns in words which of the metrics called ``names`` are surely worse than for real data.

    By Holm's procedure over all of them.
    """
    found = [
        (a, b, metric, gap(a, b, metric))
        for a, b in pairs
        for metric in _both(a, b)
        if metric.partition(":")[0] in names
    ]
    sure = holm([p_value(apart) for *_, apart in found])
    return [
        _against(a, b, metric)
        for (a, b, metric, apart), is_sure in zip(found, sure, strict=True)
        if is_sure and is_worse(apart)
    ]


def _against(fake: Result, floor: Result, metric: str) -> str:
    ours, theirs = shown(fake.scores[metric]), shown(floor.scores[metric])
    name = f"{short(metric)} ({extractor_name(fake.extractor)})"
    return f"{name} {ours} against {theirs} for real samples"


def _told_apart(fake: Result, floor: Result) -> Iterator[Verdict]:
    """Says how many metrics tell a set from real data, and which do so most clearly."""
    known, apart = _both(fake, floor), _separating(fake, floor)
    where = extractor_name(fake.extractor)
    if not apart:
        yield Verdict(
            claim=f"{fake.name} cannot be told from real data on {where} features.",
            because=f"None of {len(known)} metrics separates it from {FLOOR} with these samples, "
            "by Holm's procedure over all; more samples, or other features, may.",
        )
        return
    clearest = sorted(apart, key=lambda m: -_clarity(apart[m]))
    told = "; ".join(_against(fake, floor, m) for m in clearest[:_SHOWN])
    yield Verdict(
        claim=f"{fake.name} is told from real data by {len(apart)} of {len(known)} metrics on "
        f"{where} features.",
        because=f"Most clearly: {told}.",
    )


def _both(fake: Result, floor: Result) -> list[str]:
    """Returns the metrics that both have."""
    return [m for m in fake.scores if m in floor.scores]


def _separating(fake: Result, floor: Result) -> dict[str, Estimate]:
    """Returns the metrics that tell a set from real data, by Holm's procedure over all."""
    gaps = {m: gap(fake, floor, m) for m in _both(fake, floor)}
    sure = holm([p_value(g) for g in gaps.values()])
    return {m: g for (m, g), s in zip(gaps.items(), sure, strict=True) if s}


def _clarity(apart: Estimate) -> float:
    return abs(apart.value or 0.0) / apart.half_width if apart.half_width else 0.0
