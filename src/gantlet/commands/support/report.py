"""The report on the support of sets of samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from gantlet.commands.coverage import (
    BOUND,
    CONSTANT,
    DIVERGENCE,
    MODES,
    NEEDED,
    OWN_BOUND,
    QUALITY,
    bound_chart,
    conditions,
)
from gantlet.commands.evaluate.inputs import named
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.exhibits import above, lines_table, number_lines
from gantlet.commands.support.modes import WORDS, Kind
from gantlet.commands.support.trial import (
    OF_REAL,
    OFF,
    PERFECT,
    RATIO,
    REACHED,
    RECALL,
    REVERSE,
    SIZE,
    SIZE_UNIFORM,
    SUPPORT,
    TESTS,
    UNDER,
    ZERO,
    SupportTrial,
)
from gantlet.core.data import Readable
from gantlet.core.estimate import REAL, Estimate, Outcome
from gantlet.domains.domains import domain_of
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Forest,
    Gallery,
    Group,
    Lines,
    Picture,
    Report,
    Row,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import listed, text
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import holm_adjusted
from gantlet.stats.support import wilson

# ----------------------------------------------------------------------------
# What was found of each set, and which tests are significant over all sets.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a set lies on one mode.

    Attributes:
        name: What it is called.
        weight: Its true probability on the support, or the share of held-out real samples on it.
        share: The share of the samples to judge on it; where the support is known, of those that
            are on the support.
        recall: The share of held-out samples on it that are reached.
        p: Of "not less frequent than in the data", adjusted for all modes, tests and sets.
    """

    name: str
    weight: Estimate
    share: Estimate
    recall: Estimate
    p: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found of one set.

    Attributes:
        name: What it is called.
        outcome: The outcome of its trial.
        p: Adjusted p-values of its tests, by name.
        modes: How it lies on each mode.
    """

    name: str
    outcome: Outcome
    p: Mapping[str, float]
    modes: Sequence[Mode]

    def number(self, name: str) -> Estimate:
        """Returns a number, or why it is missing."""
        return self.outcome.scores.get(name, Estimate.missing("not measured"))

    @property
    def n(self) -> int:
        """How many samples were judged, and as many held-out ones."""
        return self.number(RECALL).n


def found_of(outcomes: Sequence[Outcome]) -> list[Found]:
    """Returns what was found of each set; p-values are adjusted over all tests of all sets.

    Modes are a family within the test of modes, which rejects if one of them does; the p-value of
    a mode is that within its family times the number of tests that Holm's procedure has left
    there, so that the family-wise error rate holds for single modes too.
    """
    good = [o for o in outcomes if o.error is None]
    plain = {(i, name): p for i, o in enumerate(good) for name, p in o.details["p"].items()}
    order = sorted(plain, key=lambda key: plain[key])
    adjusted = dict(zip(plain, holm_adjusted(list(plain.values())), strict=True))
    left = {key: len(order) - rank for rank, key in enumerate(order)}
    return [
        Found(
            name=named(SupportTrial.of(o.trial).model)[0],
            outcome=o,
            p={name: adjusted[i, name] for name in o.details["p"]},
            modes=_modes(o.details["table"], left[i, UNDER], adjusted[i, UNDER]),
        )
        for i, o in enumerate(good)
    ]


def _modes(table: Mapping[str, Any], factor: int, least: float) -> list[Mode]:
    fake, held, weights = table["fake"], table["held"], table["weights"]
    judged, real = (sum(counts) for counts in (fake, held))
    judged_are = "samples" if weights is None else "samples on the support"
    known = (
        [Estimate.exact(w, method="true probability") for w in weights]
        if weights is not None
        else [wilson(k, real, of="held-out samples") for k in held]
    )
    return [
        Mode(
            name=name,
            weight=known[k],
            share=wilson(fake[k], judged, of=judged_are),
            recall=wilson(table["covered"][k], held[k], of="held-out samples of this mode"),
            p=min(max(table["p"][k] * factor, least), 1.0),
        )
        for k, name in enumerate(table["names"])
    ]


# ----------------------------------------------------------------------------
# Sentences.
# ----------------------------------------------------------------------------

_PLAIN: Mapping[str, str] = {
    SUPPORT: "collisions",
    OFF: "mass off the support",
    RECALL: "recall",
    UNDER: "the frequency of modes",
    REACHED: "recall by inversion",
}
_NAMED_MODES = 6
_TINY = 1e-99


def verdicts(everyone: Sequence[Found], level: float) -> Iterator[Verdict]:
    """Yields one sentence for each set: first what cannot be distinguished, then what can."""
    tests = sum(len(found.p) for found in everyone)
    for found in everyone:
        worse = [test for test in TESTS if found.p.get(test, 1.0) <= level]
        same = [_PLAIN[test] for test in TESTS if test in found.p and test not in worse]
        alike = (
            f"not distinguishable from {found.n:,} held-out real samples in {listed(same)}"
            if same
            else f"worse than {found.n:,} held-out real samples in every test"
        )
        yield Verdict(
            claim=f"{found.name}: {alike}; {_conclusion(found, worse, level)}.",
            because=f"{_numbers(found)} Holm's procedure over {tests} tests at level {level:g}.",
        )


def _conclusion(found: Found, worse: Sequence[str], level: float) -> str:
    if not worse:
        return "no sign of low support"
    if is_low(found, level):
        what = "low support"
    else:
        what = "modes of too low frequency" if UNDER in worse else "mass where the data has none"
    return f"{what}: {'; '.join(_shown(found, test, level) for test in worse)}"


def is_low(found: Found, level: float) -> bool:
    """Returns whether a set has low support by a significant test.

    More collisions, less recall, or a mode that has significantly less than half its frequency.
    """
    lost = any(
        mode.p <= level and (mode.share.high or 0.0) < (mode.weight.value or 0.0) / 2
        for mode in found.modes
    )
    return lost or any(found.p.get(test, 1.0) <= level for test in (SUPPORT, RECALL, REACHED))


_WORSE: Mapping[str, str] = {
    OFF: "too much mass off the support",
    RECALL: "too few held-out samples reached",
    REACHED: "too few held-out samples reached by inversion",
}


def _shown(found: Found, test: str, level: float) -> str:
    if test == SUPPORT:
        return _collisions(found)
    if test == UNDER:
        return _rare(found, level)
    return f"{_WORSE[test]} ({_values(found, test)})"


def _collisions(found: Found) -> str:
    ratio = found.number(RATIO)
    if ratio.value is None:
        fake, real = (ratio.also[name] for name in ("fake", "real"))
        return f"too many collisions ({fake:,.0f}, and {real:,.0f} among real samples)"
    return f"too many collisions (effective support {ratio.value:.2g} times that of real samples)"


def _values(found: Found, name: str) -> str:
    own, real = (found.number(n).value or 0.0 for n in (name, OF_REAL + name))
    return f"{own:.2g}, real {real:.2g}"


def _rare(found: Found, level: float) -> str:
    rare = [mode for mode in found.modes if mode.p <= level]
    rare.sort(key=lambda mode: (mode.share.value or 0.0, mode.p))
    gone = sum(mode.share.value == 0 for mode in rare)
    names = ", ".join(mode.name for mode in rare[:_NAMED_MODES])
    more = f" and {len(rare) - _NAMED_MODES} more" if len(rare) > _NAMED_MODES else ""
    without = f", {gone} without a sample" if gone else ""
    return f"{len(rare)} of {len(found.modes)} modes too rare ({names}{more}{without})"


def _beside(found: Found, name: str) -> str:
    return f"{text(found.number(name))} (real: {text(found.number(OF_REAL + name))})"


def _numbers(found: Found) -> str:
    known = [n for n in (SUPPORT, OFF, RECALL, REACHED) if found.number(n).value is not None]
    parts = [f"{name}: {_beside(found, name)}" for name in known]
    ratio = found.number(RATIO)
    if ratio.value is not None:
        parts.append(f"{RATIO}: {text(ratio)}")
    parts.append(f"{MODES}: {found.number(MODES).value or 0:.0f} of {len(found.modes)}")
    p = ", ".join(f"{_PLAIN[test]} {_p(found.p[test])}" for test in TESTS if test in found.p)
    return f"{'; '.join(parts)}. Adjusted p-values: {p}."


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= _TINY else f"< {_TINY:g}"


# ----------------------------------------------------------------------------
# Tables.
# ----------------------------------------------------------------------------

_HELP = {
    SUPPORT: "Number of equally likely samples that would collide as often.",
    RATIO: "Over that of held-out real samples; below 1: less diverse.",
    SIZE: "Among how many samples a collision is as likely as not: batches that end with one.",
    SIZE_UNIFORM: "The same from the effective support, if samples are equally likely.",
    RECALL: "Share of held-out real samples with one of the samples near them.",
    OFF: "Share of samples off the support: known, or beyond 95 % of real distances.",
    MODES: "Modes with a sample.",
    QUALITY: "Share of samples on the support of a mode.",
    DIVERGENCE: "Of the histogram over modes, in nats; plug-in values, not 0 for perfect samples.",
    REVERSE: "The other way round, with half a sample added to each mode.",
    CONSTANT: "Largest slope found of the generator.",
    BOUND: "Largest high-quality share that this constant allows, all modes sampled.",
    OWN_BOUND: "The same in the proportions in which the samples are on the modes.",
    NEEDED: "Smallest constant that the high-quality share allows.",
    REACHED: "Share of held-out samples that the decoder reaches from any latent vector.",
    ZERO: "Share of held-out samples of log-likelihood minus infinity.",
}


def main_table(everyone: Sequence[Found]) -> Table:
    """Returns the numbers of all sets, of as many real samples, and of a perfect sampler."""
    columns = [name for name in _HELP if any(name in f.outcome.scores for f in everyone)]
    rows: list[list[Cell]] = [[f.name, *(f.number(c) for c in columns)] for f in everyone]
    controls: dict[str, list[Cell]] = {}
    for found in everyone:
        for before, name in ((OF_REAL, "real samples"), (PERFECT, "a perfect sampler")):
            cells: list[Cell] = [found.outcome.scores.get(before + c) for c in columns]
            if any(cell is not None for cell in cells):
                controls.setdefault(f"{name}, {found.n:,}", cells)
    rows += [[name, *cells] for name, cells in controls.items()]
    # Of the first set that has it: not all sets have a model to invert.
    known = {n: e for f in reversed(everyone) for n, e in f.outcome.scores.items()}
    return Table(
        title="Support",
        columns=[
            Column(name="samples"),
            *(
                Column(
                    name=c,
                    help=_HELP[c],
                    better=known[c].better,
                    unit=known[c].unit,
                )
                for c in columns
            ),
        ],
        rows=rows,
        references=list(controls),
        note="Value with 95 % interval. Real samples: held-out ones of equal number, judged in "
        f"the same way. {_theory(everyone)}".rstrip(),
    )


def _theory(everyone: Sequence[Found]) -> str:
    """Returns the conditions of the bounds in the table, or nothing without any."""
    known = _apart(everyone)
    return "" if known is None else conditions(len(known[0]), known[1])


def _apart(everyone: Sequence[Found]) -> tuple[Sequence[float], float] | None:
    """Returns the true probabilities and the distance of modes that are known to be apart."""
    table = everyone[0].outcome.details["table"]
    return None if table.get("gap") is None else (table["weights"], table["gap"])


def coverage_chart(everyone: Sequence[Found]) -> Iterator[Lines]:
    """Yields high-quality shares and Lipschitz constants of generators, beside the bound."""
    known = _apart(everyone)
    if known is not None:
        found = [(f.name, f.number(CONSTANT), f.number(QUALITY)) for f in everyone]
        yield from bound_chart(*known, found)


def tests_table(everyone: Sequence[Found], level: float) -> Table:
    """Returns all tests of all sets."""
    rows: list[list[Cell]] = [
        [
            found.name,
            TESTS[test],
            _p(found.outcome.details["p"][test]),
            _p(found.p[test]),
            "yes" if found.p[test] <= level else "no",
        ]
        for found in everyone
        for test in TESTS
        if test in found.p
    ]
    return Table(
        title="Tests",
        columns=[
            Column(name="samples"),
            Column(name="test", help="What it would show; all tests are one-sided."),
            Column(name="p"),
            Column(name="adjusted p", help="Holm's procedure over all rows."),
            Column(name="significant?"),
        ],
        rows=rows,
        note="Exact tests but that of collisions, whose counts are scaled to the variance of "
        "Poisson counts.",
    )


_MOST_MODES = 40


def modes_table(found: Found) -> Table:
    """Returns how a set lies on the modes, the most significantly rare first."""
    kind: Kind = found.outcome.details["modes"]
    order = sorted(found.modes, key=lambda mode: mode.p)[:_MOST_MODES]
    more = len(found.modes) - len(order)
    rows: list[list[Cell]] = [[m.name, m.weight, m.share, _p(m.p), m.recall] for m in order]
    truth = "true probability" if kind == "known" else "share of real samples"
    return Table(
        title=f"Modes of {found.name}",
        columns=[
            Column(name="mode"),
            Column(name=truth),
            Column(name="share of samples"),
            Column(name="adjusted p", help="One-sided: less frequent than in the data."),
            Column(
                name="recall", help="Share of held-out samples of the mode with a sample near."
            ),
        ],
        rows=rows,
        note=f"Modes are {WORDS[kind]}. Wilson's intervals of 95 %; p-values by Holm's procedure "
        f"over modes, tests and sets.{f' {more} further modes are not shown.' if more else ''}",
    )


def support_chart(everyone: Sequence[Found]) -> Iterator[Forest]:
    """Yields the effective supports of all sets and of real samples."""
    dots = [Dot(name=f.name, estimate=f.number(SUPPORT)) for f in everyone]
    real = {f"real samples, {f.n:,}": f.number(OF_REAL + SUPPORT) for f in everyone}
    dots += [Dot(name=name, estimate=e) for name, e in real.items()]
    known = [dot for dot in dots if dot.estimate.value is not None]
    if len(known) > 1:
        yield Forest(
            title="Effective support",
            unit="samples",
            groups=[Group(name="", dots=known)],
            better="higher",
            references=list(real),
            log=True,
            note="1 / share of colliding pairs, with 95 % intervals.",
        )


# ----------------------------------------------------------------------------
# Samples to look at.
# ----------------------------------------------------------------------------


@final
class _Exhibit:
    """Samples of one set and of the held-out ones, as pictures or as text.

    Args:
        found: What was found of the set.
        sets: The sets.
        shown: The places of samples.
    """

    def __init__(self, found: Found, sets: EvaluationSets, shown: Mapping[str, Tensor]) -> None:
        self._found, self._shown = found, shown
        model = SupportTrial.of(found.outcome.trial).model
        self._fake = sets.fake(model)
        floor = sets.floor(self._fake.n)
        self._held = self._fake if floor is None else floor.other.whole

    def blocks(self) -> Iterator[Block]:
        """Yields what the set does not reach, and its collisions."""
        name = self._found.name
        yield self._beside(
            f"Held-out samples farthest from {name}",
            {"held-out sample": self._real("unreached"), "nearest sample": self._own("nearest")},
            "Held-out real samples farthest from all samples, the farthest first, each above the "
            f"nearest of {name}. {self._missed(RECALL)} {self._distances('farthest')}",
        )
        if "inverted" in self._shown:
            yield self._beside(
                f"Held-out samples farthest from the decoder of {name}",
                {
                    "held-out sample": self._real("inverted"),
                    "nearest that was found": self._shown["inversions"],
                },
                "Held-out real samples with the largest distance to the decoder's range, each "
                "above the nearest sample that gradient descent on the latent vector finds. "
                f"{self._missed(REACHED)} {self._distances('inverted')}",
            )
        if "unlikely" in self._shown:
            yield self._unlikely()
        yield self._pairs()

    def _unlikely(self) -> Block:
        known = self._found.outcome.details["unlikely"]
        lowest = ", ".join("-inf" if v is None else f"{v:.4g}" for v in known["nats"][:8])
        median = "none is finite" if known["median"] is None else f"{known['median']:.4g}"
        return self._beside(
            f"Held-out samples of lowest log-likelihood under {self._found.name}",
            {"held-out sample": self._real("unlikely")},
            f"Log-likelihood ({known['kind']}) in nats, the lowest first: {lowest}; median of the "
            f"held-out samples: {median}.",
        )

    def _pairs(self) -> Block:
        first, second = (self._own("closest")[k::2] for k in (0, 1))
        return self._beside(
            f"Closest pairs of {self._found.name}",
            {"sample": first, "nearest other sample": second},
            "The closest pairs of samples, each above its partner; the closest first. Where they "
            "show the same thing, the collisions are duplicates.",
        )

    def _own(self, key: str) -> Tensor:
        return self._fake.samples.source.take(self._shown[key])

    def _real(self, key: str) -> Tensor:
        return self._held.samples.source.take(self._shown[key])

    def _missed(self, name: str) -> str:
        known = self._found.number(name)
        missed = round(known.n * (1 - (known.value or 0.0)))
        return f"{missed:,} of {known.n:,} are not reached."

    def _distances(self, key: str) -> str:
        numbers = ", ".join(f"{v:.2f}" for v in self._found.outcome.details[key][:8])
        return f"Distance over that which counts as reached: {numbers}, …"

    def _beside(self, title: str, taken: Mapping[str, Tensor], note: str) -> Block:
        """Returns samples in rows, each row above its counterpart; or as text, side by side."""
        samples = self._fake.samples
        code, space = samples.code, samples.space
        if isinstance(code, Readable):
            return lines_table(title, {n: code.read(x) for n, x in taken.items()}, note)
        rows = list(taken.values())
        joined = rows[0] if len(rows) == 1 else above(rows[0], rows[1])
        png = domain_of(space).picture(space, joined) if len(joined) and space.size != 2 else None
        if png is None:
            return lines_table(title, {n: number_lines(x) for n, x in taken.items()}, note)
        caption = ", and below each the ".join(taken)
        return Gallery(
            title=title,
            pictures=[Picture(caption=caption, png=png, description=f"{caption}.")],
            note=note,
        )


# ----------------------------------------------------------------------------
# The report.
# ----------------------------------------------------------------------------


def answer(
    question: Mapping[str, Any], sets: EvaluationSets, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report on supports from their outcomes."""
    everyone = found_of(outcomes)
    level: float = question["tests"]["level"]
    fakes = sets.asked.fakes
    who = named(fakes[0])[0] if len(fakes) == 1 else f"{len(fakes)} sets"
    return Report(
        title=f"Support of {who} against {sets.real.samples.name}",
        command="support",
        question=question,
        facts=facts_of(_setting(question, sets), outcomes, run),
        verdicts=list(verdicts(everyone, level)),
        caveats=list(_caveats(sets, everyone)),
        rows=[row for found in everyone for row in _rows(sets, found)],
        blocks=[*_blocks(sets, everyone, run, level), *failed_trials(outcomes, column="samples")],
        extra={"tests": [_as_data(found, level) for found in everyone]},
    )


def _blocks(
    sets: EvaluationSets, everyone: Sequence[Found], run: Run, level: float
) -> Iterator[Block]:
    if not everyone:
        return
    yield main_table(everyone)
    yield tests_table(everyone, level)
    yield from support_chart(everyone)
    yield from coverage_chart(everyone)
    for found in everyone:
        yield modes_table(found)
        shown = run.folder(found.outcome.trial).load("exhibits")
        yield from _Exhibit(found, sets, shown).blocks()


def _as_data(found: Found, level: float) -> dict[str, object]:
    return {
        "samples": found.name,
        "p": found.outcome.details["p"],
        "adjusted": dict(found.p),
        "low support": is_low(found, level),
        "significant": [test for test in TESTS if found.p.get(test, 1.0) <= level],
        "modes": [mode.name for mode in found.modes if mode.p <= level],
    }


def _rows(sets: EvaluationSets, found: Found) -> Iterator[Row]:
    """Yields all numbers of a set, of the held-out samples and of a perfect sampler."""
    data, trial = named(sets.asked.real)[0], found.outcome.trial
    own = SupportTrial.of(trial).model
    for name, e in found.outcome.scores.items():
        model, plain = own, name
        for before, other in ((OF_REAL, REAL), (PERFECT, PERFECT.rstrip(": "))):
            if name.startswith(before):
                model, plain = other, name.removeprefix(before)
        yield Row(data=data, model=model, seed=trial.seed, name=plain, estimate=e)
    for mode in found.modes:
        for what, e in (("share", mode.share), ("recall", mode.recall)):
            row_name = f"{mode.name}: {what}"
            yield Row(data=data, model=own, seed=trial.seed, name=row_name, estimate=e)


def _setting(question: Mapping[str, Any], sets: EvaluationSets) -> dict[str, str]:
    asked = sets.asked
    return {
        "Judged": "; ".join(f"{named(f)[0]} ({sets.fake(f).counted})" for f in asked.fakes),
        "Reference": f"{named(asked.real)[0]} ({sets.real.counted})",
        "Held-out samples": "; ".join(
            floor.words for n in sets.sizes() if (floor := sets.floor(n)) is not None
        ),
        "Features": str(question["features"]),
        "Seed": str(asked.seed),
    }


def _caveats(sets: EvaluationSets, everyone: Sequence[Found]) -> Iterator[Caveat]:
    for note in sets.notes():
        yield Caveat(text=f"{note}.")
    said_of = {f.name: _collision_words(f) for f in everyone}
    for words in dict.fromkeys(said_of.values()):
        names = ", ".join(name for name, own in said_of.items() if own == words)
        yield Caveat(text=f"{names}: {words}.")
    for found in everyone:
        for said in found.outcome.notes:
            yield Caveat(text=f"{found.name}: {said.text}.")
    yield Caveat(
        text="Support is judged at this number of samples and in these features: what is rarer "
        "than one in that many samples, or is not seen by the features, cannot be missed by any "
        "test here. Copies of many different training samples do not have low support; gantlet "
        "evaluate --train finds those."
    )
    if any(REACHED in f.outcome.scores for f in everyone):
        yield Caveat(
            text="Inversion may stop before the nearest latent vector: recall by inversion is a "
            "lower bound."
        )


def _collision_words(found: Found) -> str:
    known = found.outcome.details["collisions"]
    if known["exact"]:
        return "samples collide if they are equal"
    return (
        f"samples collide if they are nearer than {known['distance']:.4g} in the features, as "
        f"{known['share']:.2g} of the pairs of {known['reference']:,} real samples are that are "
        "used for nothing else but as reference"
    )
