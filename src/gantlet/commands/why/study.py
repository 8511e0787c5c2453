"""Why do two values of one metric differ? The study and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from gantlet import options
from gantlet.commands.evaluate.results import short
from gantlet.commands.why.settings import FACTORS, Factor, Setting, setting_of
from gantlet.commands.why.trial import (
    DIFFERENCE,
    FOLDS,
    FROM,
    REST,
    TO,
    PreparedSets,
    WhyTrial,
    check_bias,
    fingerprints,
    names_by_size,
    run_trial,
)
from gantlet.core.arguments import check_fields
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.spec import extractors, metrics
from gantlet.domains.domains import default_features
from gantlet.features.base import check_ranking_features
from gantlet.metrics.measure import two_sample
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
    Waterfall,
    failed_trials,
)
from gantlet.report.format import text
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder

_LEVEL = 0.05

# ----------------------------------------------------------------------------
# The report.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a difference.

    Attributes:
        spec: The trial.
        outcome: Its outcome.
    """

    spec: WhyTrial
    outcome: Outcome

    @property
    def parts(self) -> list[str]:
        """The names of the parts, the largest first."""
        return names_by_size(self.outcome.scores, self.spec.factors)

    def number(self, name: str) -> Estimate:
        """Returns a number by its name."""
        return self.outcome.scores[name]

    def p(self, name: str) -> float:
        """Returns the adjusted p-value of a part."""
        return float(self.outcome.details["p"][name])

    def is_significant(self, name: str) -> bool:
        """Returns whether a part differs significantly from zero."""
        return self.p(name) <= _LEVEL

    def factor(self, name: str) -> Factor:
        """Returns the options behind a part."""
        return next(f for f in FACTORS if f.name == name)

    def change(self, name: str) -> str:
        """Returns what is switched, from which value to which."""
        return self.factor(name).words(self.spec.a, self.spec.b)


def verdicts(found: Found) -> Iterator[Verdict]:
    """Yields the answer: what cannot be distinguished from zero, then the largest part.

    Before both, where most of a published difference is none of the parts, that it is unexplained.
    """
    explained, unexplained = list(_of_parts(found)), list(_of_rest(found))
    is_mostly = bool(unexplained) and abs(_value(found, REST)) > abs(_value(found, DIFFERENCE))
    yield from (*unexplained, *explained) if is_mostly else (*explained, *unexplained)


def _value(found: Found, name: str) -> float:
    return found.number(name).value or 0.0


def _of_parts(found: Found) -> Iterator[Verdict]:
    metric = short(found.spec.metric)
    small = [p for p in found.parts if not found.is_significant(p)]
    large = [p for p in found.parts if found.is_significant(p)]
    yield Verdict(claim=_claim(found, metric, small, large), because=_because(found, metric))
    if len(large) > 1:
        told = "; ".join(f"{p} {_signed(found.number(p))}" for p in large)
        yield Verdict(
            claim=f"Significantly different from zero: {_listed(large)}, the largest first.",
            because=f"{told}; Holm's procedure over {len(found.parts)} parts at level {_LEVEL}.",
        )


def _of_rest(found: Found) -> Iterator[Verdict]:
    if REST in found.outcome.scores:
        yield Verdict(
            claim=f"Unexplained rest: {_signed(found.number(REST))} of a difference of "
            f"{_signed(_together(found))}.",
            because="What was recorded or published differs by that from what these settings "
            "give here: another cause than those that were switched.",
        )


def _claim(found: Found, metric: str, small: Sequence[str], large: Sequence[str]) -> str:
    parts = [f"Not significantly different from zero: {_listed(small)}."] if small else []
    if not large:
        return f"{metric}: no part of the difference differs significantly from zero."
    first = large[0]
    parts.append(
        f"{'The largest part' if len(found.parts) > 1 else 'The whole difference'} of the "
        f"{metric} difference is {first} ({found.change(first)}): {_signed(found.number(first))}."
    )
    return " ".join(parts)


def _because(found: Found, metric: str) -> str:
    a, b, whole = (found.number(name) for name in (FROM, TO, DIFFERENCE))
    details = found.outcome.details
    return (
        f"{metric} {text(a)} under A and {text(b)} under B, difference {_signed(whole)}; "
        f"the parts add up to it. Each is its mean over {details['orders']} of switching "
        f"the settings, from {details['values']} values; intervals from leaving out {FOLDS} "
        "folds of the samples in turn."
    )


def _signed(estimate: Estimate) -> str:
    value = estimate.value or 0.0
    return f"{'+' if value > 0 else ''}{text(estimate)}"


def _listed(names: Sequence[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def blocks_of(found: Found) -> Iterator[Block]:
    """Yields the table of parts, the chart and the values."""
    metric = short(found.spec.metric)
    names = found.parts
    rest = [REST] if REST in found.outcome.scores else []
    yield Table(
        title=f"What the difference in {metric} comes from",
        columns=[
            Column(name="part"),
            Column(name="A to B"),
            Column(name="adds", help="mean over the orders of switching the settings"),
            Column(name="p (Holm)", help="of no part, adjusted for all parts", mixed=True),
            Column(name="significant?"),
        ],
        rows=[
            *(_row(found, name) for name in names),
            *([REST, "", found.number(REST), None, ""] for _ in rest),
            ["together", "", _together(found), None, ""],
        ],
        references=[*rest, "together"],
    )
    yield Waterfall(
        title=f"From A to B: {metric}",
        unit="1",
        start=Dot(name="A", estimate=_end(found, FROM, found.spec.a)),
        parts=[Dot(name=name, estimate=found.number(name)) for name in [*names, *rest]],
        end=Dot(name="B", estimate=_end(found, TO, found.spec.b)),
        note=_BARS,
    )
    yield Section(title="The values behind the parts", blocks=[_values(found, metric)])


_BARS = (
    "Bars begin where the last one ended. Blue adds, orange takes off; hollow bars do not differ "
    "significantly from zero alone (95 % intervals, not adjusted)."
)


def _row(found: Found, name: str) -> list[Cell]:
    told = "yes" if found.is_significant(name) else "no"
    return [name, found.change(name), found.number(name), found.p(name), told]


def _end(found: Found, name: str, setting: Setting) -> Estimate:
    """Returns the value of a setting: what was recorded, else what was computed."""
    again = found.number(name)
    if setting.published is None:
        return again
    return Estimate(
        value=setting.published, n=again.n, method="recorded or published: no interval"
    )


def _together(found: Found) -> Estimate:
    whole = found.number(DIFFERENCE)
    if REST not in found.outcome.scores:
        return whole
    value = (whole.value or 0.0) + (found.number(REST).value or 0.0)
    return Estimate(value=value, n=whole.n, method="recorded or published values: no interval")


def _values(found: Found, metric: str) -> Table:
    corners: Mapping[str, float] = found.outcome.details["corners"]
    return Table(
        title="Values",
        columns=[Column(name="as in B"), Column(name=metric)],
        rows=[[name, value] for name, value in corners.items()],
        note="Under A with some settings as in B; plain values on all samples.",
    )


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report on a difference."""
    good = [o for o in outcomes if o.error is None]
    metric = short(str(question["metric"]))
    title = f"Why {metric} differs"
    base = Report(
        title=title,
        command="why",
        question=question,
        facts=facts_of(_setting(question), outcomes, run, trains=False),
        caveats=_caveats(question),
    )
    if not good:
        errors = " ".join(o.error for o in outcomes if o.error)
        claim = "Nothing could be measured: the trial failed."
        failed = list(failed_trials(outcomes, column="difference"))
        return replace(base, verdicts=[Verdict(claim=claim, because=errors)], blocks=failed)
    found = Found(WhyTrial.of(good[0].trial), good[0])
    return replace(
        base,
        verdicts=list(verdicts(found)),
        rows=list(_rows(found)),
        blocks=list(blocks_of(found)),
        extra={"parts": [_plain(found, name) for name in found.parts], **_extra(found)},
    )


def _rows(found: Found) -> Iterator[Row]:
    spec, metric = found.spec, short(found.spec.metric)
    for name, estimate in found.outcome.scores.items():
        yield Row(
            data=spec.a.reference,
            model=spec.a.fakes,
            seed=spec.seed,
            name=f"{metric}: {name}",
            estimate=estimate,
        )


def _plain(found: Found, name: str) -> dict[str, object]:
    """Returns a part as plain data."""
    e = found.number(name)
    return {
        "name": name,
        "change": found.change(name),
        "value": e.value,
        "low": e.low,
        "high": e.high,
        "p": found.p(name),
        "significant": found.is_significant(name),
    }


def _extra(found: Found) -> dict[str, object]:
    whole = found.number(DIFFERENCE)
    return {
        "difference": {"value": whole.value, "low": whole.low, "high": whole.high},
        "unexplained": found.number(REST).value if REST in found.outcome.scores else None,
        "orders": found.outcome.details["orders"],
        "fingerprints": found.outcome.details["fingerprints"],
    }


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    a, b = (Setting(**question[side]) for side in ("a", "b"))
    return {"A": _in_words(a), "B": _in_words(b), "Seed": str(question["seed"])}


def _in_words(setting: Setting) -> str:
    usual = Setting().written()
    kept = {k: v for k, v in setting.written().items() if v and v != usual[k]}
    return ", ".join(f"{k}={v}" for k, v in kept.items())


_NAMED_ONLY = (
    "The parts are those of the settings that were named. A cause that no setting names is in the "
    "unexplained rest where a value was recorded or published, and nowhere else."
)
_INTERVALS = (
    "Intervals are for fresh samples of the same generator and of the real data under both "
    "settings; they do not cover the variation between training runs."
)


def _caveats(question: Mapping[str, Any]) -> list[Caveat]:
    a, b = (Setting(**question[side]) for side in ("a", "b"))
    found = [_NAMED_ONLY, _INTERVALS]
    if a.features != b.features:
        found.append(
            "Distances on features of different networks have different scales: the part of the "
            "network is a change of scale as much as one of quality."
        )
    return [Caveat(text=line) for line in found]


def _same(a: Setting, b: Setting) -> str:
    """Returns what to do where nothing that is named differs."""
    if a.published is None or b.published is None or a.published == b.published:
        apart = "nothing is to be explained"
    else:
        apart = f"all of the difference of {b.published - a.published:g} is unexplained"
    keys = ", ".join(o for f in FACTORS for o in f.options)
    return f"A and B are the same setting: {apart}. Say what differs: {keys}."


# ----------------------------------------------------------------------------
# The study: its question, its trial, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class Why:
    """The parts of the difference between two values of one metric.

    Attributes:
        a: The first setting, or a report, in written form.
        b: The second one.
        both: Settings of both unless they say otherwise.
        metric: The metric.
        seed: Draws the folds and the orders.
        threads: Threads; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    a: str
    b: str
    both: str = ""
    metric: str = options.Why.metric
    seed: options.Seed = options.Why.seed
    threads: options.Threads = options.Why.threads
    device: str = options.Why.device

    @cached_property
    def sets(self) -> PreparedSets:
        """The samples of any setting, each read once."""
        return PreparedSets(self.device)

    @cached_property
    def settings(self) -> tuple[Setting, Setting]:
        """The two settings, with every default written out."""
        metric = metrics.resolve(self.metric)
        a, b = (setting_of(text, self.both, metric) for text in (self.a, self.b))
        return self._with_features(a), self._with_features(b)

    def fresh(self) -> "Why":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        a, b = self.settings
        return {
            "command": "why",
            "a": a.written(),
            "b": b.written(),
            "metric": metrics.resolve(self.metric),
            "seed": self.seed,
            "threads": self.threads,
            "device": self.device,
            "fingerprints": fingerprints(a, b, self.sets),
        }

    def trials(self) -> Sequence[Trial]:
        """One: all values are paired over the samples."""
        check_fields(self)
        two_sample(self.metric)
        a, b = self.settings
        check_ranking_features((a.features, b.features))
        check_bias(self.metric, a, b)
        spec = self._spec()
        if not spec.factors:
            raise UserError(_same(a, b))
        for setting in (a, b):
            self.sets.check(setting)
        return [spec.written()]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Measures the parts."""
        del folder
        return run_trial(trial, self.sets, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the difference comes from, and how sure that is."""
        return answer(self.question(), outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        found = (self.sets.sets(s, "real").notes() for s in self.settings)
        return list(dict.fromkeys(note for notes in found for note in notes))

    def _spec(self) -> WhyTrial:
        a, b = self.settings
        return WhyTrial(
            a=a,
            b=b,
            metric=metrics.resolve(self.metric),
            seed=self.seed,
            threads=self.threads,
            device=self.device,
        )

    def _with_features(self, setting: Setting) -> Setting:
        """Returns a setting that names its extractor."""
        if setting.features:
            return setting
        sets = self.sets.sets(setting, "real")
        samples, labelled = sets.real.samples, sets.has_classes()
        usual = default_features(samples.space, samples.code, labelled=labelled)
        chosen = "classifier:steps=1000" if usual[0] == "classifier" else usual[0]
        return replace(setting, features=extractors.resolve(chosen))
