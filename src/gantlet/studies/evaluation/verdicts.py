"""The answers of an evaluation, in sentences."""

from collections.abc import Iterator, Mapping, Sequence

from gantlet.report.blocks import Verdict
from gantlet.report.format import text as shown
from gantlet.studies.evaluation.comparing import (
    Gap,
    Sign,
    copies,
    gaps,
    significant,
    variety,
)
from gantlet.studies.evaluation.copying import Against
from gantlet.studies.evaluation.ranking import ranking_verdict
from gantlet.studies.evaluation.results import Judged, Result, extractor_name, on, short
from gantlet.studies.evaluation.sharing import Same

_SHOWN = 3


def verdicts(
    results: Sequence[Result],
    first: str,
    rank: str,
    *,
    same: Sequence[Same] = (),
    why_no_floor: Mapping[int, str] | None = None,
) -> list[Verdict]:
    """Returns what was found, most important first.

    Args:
        results: All numbers.
        first: The extractor to speak of.
        rank: The metric by which several sets are ranked.
        same: How many samples of each set the reference holds.
        why_no_floor: Why there is no noise floor, by the size of the sets that it is for.
    """
    judged = on(results, first)
    taken = {s.name for s in same if s.is_reference}
    free = [r for r in results if r.name not in taken]
    return [
        *_same(same),
        *ranking_verdict(results, first, rank),
        *_alarms(free),
        *_unmeasured([j for j in judged if j.value.name not in taken], why_no_floor or {}),
        *_differences([j for j in judged if j.value.name not in taken]),
    ]


def claims(
    results: Sequence[Result], first: str, same: Sequence[Same]
) -> dict[str, dict[str, bool | None]]:
    """Returns what the verdicts say of each set, by its name: True, False, or None for untested.

    Args:
        results: All numbers.
        first: The extractor that the verdicts speak of.
        same: How many samples of each set the reference holds.
    """
    taken = {s.name for s in same if s.is_reference}
    free = [r for r in results if r.name not in taken]
    found = gaps([j for j in on(results, first) if j.value.name not in taken])
    signs = {"copies of training samples": copies(free), "too little variety": variety(free)}
    told: dict[str, dict[str, bool | None]] = {}
    for name in dict.fromkeys(j.value.name for j in on(results, first)):
        ours = [g.is_significant for g in found if g.judged.value.name == name]
        told[name] = {
            "samples of the reference": name in taken,
            "differs from real data": any(ours) if ours else None,
        }
        for what, some in signs.items():
            of_it = some.get(name, [])
            told[name][what] = any(s.is_significant for s in of_it) if of_it else None
    return told


def _same(same: Sequence[Same]) -> Iterator[Verdict]:
    """Says which sets were taken from the reference."""
    for one in same:
        if not one.is_beyond_chance:
            continue
        how = "all" if one.count == one.n else f"{one.count:,} of"
        yield Verdict(
            claim=f"{one.name} and the reference are the same samples: {how} {one.n:,} occur in "
            "both."
            if one.is_reference
            else f"{one.count:,} of {one.n:,} samples of {one.name} are samples of the reference.",
            because="Held-out real samples do so less often. Give samples of the model, or a "
            "reference that they were not taken from.",
        )


def _alarms(results: Sequence[Result]) -> Iterator[Verdict]:
    """Says which sets hold copies of training samples, and of which variety is missing."""
    yield from _alarm(copies(results), "contains", "contain", "copies of training samples")
    what = "too little variety: kinds of samples are missing or repeat"
    yield from _alarm(variety(results), "has", "have", what)


def _alarm(
    signs: Mapping[str, Sequence[Sign]], one: str, several: str, what: str
) -> Iterator[Verdict]:
    """Says of all sets with significant signs at once what they have, with the signs of each."""
    bad = significant(signs)
    if not bad:
        return
    if len(signs) == 1:
        ((name, found),) = bad.items()
        told = "; ".join(dict.fromkeys(_sign(s) for s in found[:_SHOWN]))
        yield Verdict(claim=f"{name} {one} {what}.", because=f"{told}.")
        return
    told = ". ".join(f"{name}: {_sign(found[0])}" for name, found in bad.items())
    does = one if len(bad) == 1 else several
    yield Verdict(claim=f"{len(bad)} of {len(signs)} sets {does} {what}.", because=f"{told}.")


def _sign(sign: Sign) -> str:
    if isinstance(sign.found, Gap):
        return _against(sign.found)
    where = f"on {extractor_name(sign.fair.extractor)} features"
    if sign.kind == "nearer":
        return (
            f"{where} its samples lie nearer to training samples than held-out real ones do, and "
            f"than to the reference ({_p(sign.p)})"
        )
    does = "repeat another one" if sign.kind == "repeats" else "nearly equal a training sample"
    return _counts(sign.found, f"{does} {where}")


def _p(value: float) -> str:
    """Returns a p-value in words; one that rounding makes 0 is no 0."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _counts(found: Against, what: str) -> str:
    return (
        f"{found.count:,} of {found.n:,} samples {what}, of held-out real ones "
        f"{found.floor_count:,} of {found.floor_n:,} ({_p(found.p)})"
    )


def _against(one: Gap) -> str:
    judged, floor = one.judged, one.judged.floor
    ours = shown(judged.fair.scores[one.metric])
    theirs = "–" if floor is None else shown(floor.scores[one.metric])
    name = f"{short(one.metric)} ({extractor_name(judged.value.extractor)})"
    return f"{name} {ours} against {theirs} for real samples"


def _unmeasured(judged: Sequence[Judged], why: Mapping[int, str]) -> Iterator[Verdict]:
    """Says of which sets nothing could be measured, and which could not be compared."""
    for one in judged:
        name, scores = one.value.name, one.value.scores
        where = extractor_name(one.value.extractor)
        if all(e.value is None for e in scores.values()):
            reasons = dict.fromkeys(f"{short(m)}: {e.method}" for m, e in scores.items())
            yield Verdict(
                claim=f"Nothing could be measured of {name} on {where} features.",
                because=f"{'; '.join(reasons) or 'No metric looks at features'}.",
            )
        elif not gaps([one]):
            reason = why.get(one.value.size, "no metric has an interval")
            yield Verdict(
                claim=f"Whether {name} differs from real data could not be tested.",
                because=f"{reason[0].upper()}{reason[1:]}.",
            )


def _differences(judged: Sequence[Judged]) -> Iterator[Verdict]:
    """Says which sets are not significantly different from real data, and which differ."""
    found = gaps(judged)
    known = {n: [g for g in found if g.judged.value.name == n] for n in _names(found)}
    if len(judged) == 1 and known:
        ((name, ours),) = known.items()
        yield _one(name, ours)
    elif known:
        yield from _several(known)


def _names(found: Sequence[Gap]) -> list[str]:
    return list(dict.fromkeys(g.judged.value.name for g in found))


def _one(name: str, found: Sequence[Gap]) -> Verdict:
    clearest = sorted((g for g in found if g.is_significant), key=lambda g: g.p)
    where = f"{extractor_name(found[0].judged.value.extractor)} features"
    if not clearest:
        return Verdict(
            claim=f"{name} is not significantly different from real data: on none of {len(found)} "
            f"metrics ({where}).",
            because=f"By Holm's procedure over all metrics at 5 %, n = {found[0].apart.n:,}. "
            "More samples, or other features, may show a difference.",
        )
    told = "; ".join(_against(g) for g in clearest[:_SHOWN])
    return Verdict(
        claim=f"{name} differs significantly from real data on {len(clearest)} of {len(found)} "
        f"metrics ({where}).",
        because=f"Most clearly: {told}. By Holm's procedure over all metrics at 5 %, "
        f"n = {found[0].apart.n:,}.",
    )


def _several(known: Mapping[str, Sequence[Gap]]) -> Iterator[Verdict]:
    counts = {name: sum(g.is_significant for g in some) for name, some in known.items()}
    where = f"{extractor_name(next(iter(known.values()))[0].judged.value.extractor)} features"
    by = "By Holm's procedure over all sets and metrics at 5 %"
    equal = [name for name, count in counts.items() if not count]
    if equal:
        yield Verdict(
            claim=f"{len(equal)} of {len(known)} sets {_are(equal)} not significantly different "
            f"from real data ({where}).",
            because=f"{', '.join(equal)}. {by}; more samples, or other features, may show a "
            "difference.",
        )
    apart = [f"{name} ({counts[name]} of {len(known[name])})" for name in counts if counts[name]]
    if apart:
        differ = "differs" if len(apart) == 1 else "differ"
        yield Verdict(
            claim=f"{len(apart)} of {len(known)} sets {differ} significantly from real data "
            f"({where}).",
            because=f"On so many metrics: {', '.join(apart)}. {by}.",
        )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
