"""The page of a watched training, rewritten after each look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from gantlet import __version__
from gantlet.commands.evaluate.sets import FLOOR
from gantlet.core.estimate import Estimate
from gantlet.core.spec import metrics
from gantlet.report import format as fmt
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Fact,
    Facts,
    Gallery,
    Lines,
    Picture,
    Report,
    Row,
    Series,
    Table,
    Verdict,
)
from gantlet.stats.intervals import is_separated
from gantlet.stats.jackknife import unpaired
from gantlet.watch.alarms import LEVELS, Alarm
from gantlet.watch.looks import COPIES, SUPPORT, Look
from gantlet.watch.pace import Pace
from gantlet.watch.players import COSINE, DISTANCE, LENGTH, NOISE
from gantlet.watch.reference import Reference

# So many looks stand in the table; all are in the files of the writers and in the curves.
_ROWS = 20

_CALLED = {SUPPORT: "effective support", COPIES: "copies of training samples", "kid": "KID"}
_SHORT = {SUPPORT: "support", COPIES: "copies", "kid": "KID"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """All that the page shows of a run.

    Attributes:
        name: Name of the run.
        looks: The looks so far.
        alarms: The alarms so far.
        curves: Losses by name: steps and means.
        pictures: Samples as PNG, by step.
        reference: The real side.
        pace: What it has cost.
        notes: Limitations, a clause each.
        step: The last step.
        steps: Steps since the first call.
        every: Steps from one look to the next.
        skipped: Looks that were due and did not fit into the share.
        n: Samples of a look.
        flops: Operations of a step, or None.
        seed: Seed of all that is random.
        refresh: Seconds after which an open page reloads, or None when training has ended.
    """

    name: str
    looks: Sequence[Look]
    alarms: Sequence[Alarm]
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    pictures: Mapping[int, bytes]
    reference: Reference
    pace: Pace
    notes: Sequence[str]
    step: int
    steps: int
    every: int
    skipped: int
    n: int
    flops: float | None
    seed: int
    refresh: int | None

    @property
    def measured(self) -> list[str]:
        """Names of the numbers that looks have, in order."""
        names = (e.name for look in self.looks for e in look.entries if not _is_plain(e.name))
        return list(dict.fromkeys(names))


def report_of(course: Course) -> Report:
    """Returns the report of a run, whether it goes on or has ended."""
    extra: dict[str, Any] = {
        "alarms": [
            {"kind": a.kind, "step": a.step, "text": a.text, "p": a.p} for a in course.alarms
        ],
        "step": course.step,
        "running": course.refresh is not None,
        "looks": len(course.looks),
        "cost": {
            "cpu": course.pace.loop + course.pace.own,
            "flops": None if course.flops is None else course.flops * course.steps,
        },
    }
    if course.refresh is not None:
        extra["refresh"] = course.refresh
    return Report(
        title=course.name,
        command="watch",
        question=_question(course),
        facts=_facts(course),
        verdicts=list(_verdicts(course)),
        caveats=[Caveat(text=_sentence(text)) for text in _caveats(course)],
        rows=list(_rows(course)),
        blocks=list(_blocks(course)),
        extra=extra,
    )


def _question(course: Course) -> dict[str, object]:
    reference = course.reference
    return {
        "command": "watch",
        "real": reference.name,
        "features": reference.extractor,
        "metrics": list(reference.metrics),
        "every": course.every,
        "samples": course.n,
        "share": course.pace.share,
        "seed": course.seed,
        "fingerprint": reference.fingerprint,
    }


# ----------------------------------------------------------------------------
# The answer.
# ----------------------------------------------------------------------------


def _verdicts(course: Course) -> Iterator[Verdict]:
    yield from map(_of_alarm, course.alarms)
    looks = len(course.looks)
    if not looks:
        yield Verdict(claim=f"No look yet; the last step is {course.step:,}.")
        return
    if not course.alarms:
        yield Verdict(
            claim=f"No alarm in {looks} look{'s' * (looks > 1)} up to step {course.step:,}.",
            because=f"A healthy run is alarmed with a probability of {sum(LEVELS.values()):.1%} "
            "at most, however often one looks.",
        )
    yield from _state(course.looks[-1])


def _of_alarm(alarm: Alarm) -> Verdict:
    kind = alarm.kind[0].upper() + alarm.kind[1:]
    chance = "by rule" if alarm.p is None else f"anytime-valid p = {alarm.p:.2g}"
    return Verdict(claim=f"{kind} at step {alarm.step:,}.", because=f"{alarm.text} ({chance}).")


def _state(look: Look) -> Iterator[Verdict]:
    if look.note:
        yield Verdict(claim=f"Nothing could be measured at step {look.step:,}.", because=look.note)
        return
    entry = next((e for e in look.entries if e.name == "kid"), None)
    if entry is not None and entry.floor is not None and entry.estimate.value is not None:
        gap = unpaired(entry.estimate, entry.floor)
        so = "is above" if is_separated(gap) else "cannot be distinguished from"
        yield Verdict(
            claim=f"At step {look.step:,} KID {so} the noise floor.",
            because=f"KID {fmt.text(entry.estimate)}; {FLOOR} {fmt.text(entry.floor)}.",
        )
    changed = [_change(n, e) for n, e in look.changes.items() if is_separated(e)]
    steady = [_SHORT.get(n, n) for n, e in look.changes.items() if not is_separated(e)]
    if look.changes:
        claim = "; ".join(changed) or "no significant change"
        rest = f"Not significantly changed: {', '.join(steady)}. " if changed and steady else ""
        yield Verdict(
            claim=f"Since the look before: {claim}.",
            because=f"{rest}Paired on the same real samples, 95 % for each number alone.",
        )


def _change(name: str, change: Estimate) -> str:
    up = (change.value or 0) > 0
    good = up == (change.better == "higher")
    return f"{_SHORT.get(name, name)} {'improved' if good else 'worsened'} by {_unsigned(change)}"


def _unsigned(change: Estimate) -> str:
    value, low, high = change.value or 0.0, change.low or 0.0, change.high or 0.0
    if value < 0:
        value, low, high = -value, -high, -low
    return fmt.text(replace(change, value=value, low=low, high=high))


def _caveats(course: Course) -> Iterator[str]:
    pace = course.pace
    yield from course.notes
    if course.reference.floor_sets is None:
        yield (
            f"there is no noise floor ({course.reference.words}), and so no alarm for missing "
            "progress"
        )
    if course.skipped and pace.share is not None:
        total = course.skipped + len(course.looks)
        yield (
            f"{course.skipped} of {total} looks that were due were left out, to keep watching "
            f"below {pace.share:.0%} of the loop's CPU time"
        )
    if course.n < course.reference.n:
        yield (
            f"looks take {course.n:,} samples in place of {course.reference.n:,}, for the same "
            "reason"
        )
    if course.reference.train is None:
        yield "copies of training samples are not searched: give train="


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


# ----------------------------------------------------------------------------
# Facts, rows, tables and charts.
# ----------------------------------------------------------------------------


def _facts(course: Course) -> Facts:
    pace, known = course.pace, dict[str, str]()
    known["Step"] = f"{course.step:,}"
    known["Looks"] = f"{len(course.looks)} of {course.n:,} samples"
    known["Features"] = course.reference.extractor
    known["Extractor"] = course.reference.note
    known["Cost of watching"] = f"{pace.spent:.1%} of the loop's CPU time" if pace.loop else "-"
    known["Noise floor"] = course.reference.words
    per_step = pace.loop / course.steps if course.steps > 0 else None
    known["Loop"] = f"{fmt.text(pace.loop, 's')} CPU" + (
        f", {fmt.text(per_step, 's')} a step" if per_step else ""
    )
    known["Watching"] = (
        f"{fmt.text(pace.own, 's')} CPU, of which set-up, once, {fmt.text(pace.setup, 's')}"
    )
    if course.flops is not None:
        rate = f", {fmt.text(course.flops / per_step, 'FLOP/s')}" if per_step else ""
        total = fmt.text(course.flops * course.steps, "FLOP")
        known["Operations"] = f"{fmt.text(course.flops, 'FLOP')} a step{rate}, {total} in all"
    known["Versions"] = f"gantlet {__version__}"
    return Facts(items=[Fact(name=name, value=value) for name, value in known.items()])


def _rows(course: Course) -> Iterator[Row]:
    for look in course.looks:
        for entry in look.entries:
            yield Row(
                data=course.reference.name,
                model=course.name,
                seed=None,
                name=f"{entry.name}, step {look.step}",
                estimate=entry.estimate,
            )


def _blocks(course: Course) -> Iterator[Block]:
    if course.looks:
        yield _table(course)
    if course.pictures:
        yield _gallery(course)
    yield from (chart for name in course.measured if (chart := _chart(course, name)) is not None)
    yield from _of_losses(course)
    yield from _of_noise(course)
    yield from _of_attack(course)


def _table(course: Course) -> Table:
    names, some = course.measured, course.looks[-_ROWS:]
    columns = [Column(name="step"), *(_column(course, name) for name in names)]
    if any("kid" in look.changes for look in some):
        columns.append(
            Column(
                name="change of KID",
                better="lower",
                help="Since the look before, paired on the same real samples.",
            )
        )
    rows: list[Sequence[Cell]] = [_line(look, names, len(columns)) for look in some]
    last = {e.name: e.floor for e in course.looks[-1].entries}
    rows.append(
        [FLOOR, *(last.get(name) for name in names), *[None] * (len(columns) - 1 - len(names))]
    )
    cut = f"The last {_ROWS} of {len(course.looks)} looks. " * (len(course.looks) > _ROWS)
    return Table(
        title="Looks",
        columns=columns,
        rows=rows,
        references=[FLOOR],
        note=f"{cut}Each look draws fresh samples; {FLOOR}: held-out real samples in place of "
        "the fakes.",
    )


def _line(look: Look, names: Sequence[str], width: int) -> list[Cell]:
    known = {e.name: e.estimate for e in look.entries}
    cells: list[Cell] = [f"{look.step:,}", *(known.get(name) for name in names)]
    return cells if len(cells) == width else [*cells, look.changes.get("kid")]


def _column(course: Course, name: str) -> Column:
    own = {
        SUPPORT: "How many different samples there are, over real data: the inverse of how often "
        "two samples are nearly the same.",
        COPIES: "Samples within a third of the distance from a training sample to the next one.",
    }
    text = own[name] if name in own else _help(name)
    better = _entry(course, name).better
    return Column(name=_SHORT.get(name, name), better=better, help=text)


def _help(name: str) -> str:
    text = (metrics.load(name.partition(":")[0]).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _entry(course: Course, name: str) -> Estimate:
    found = (e.estimate for look in reversed(course.looks) for e in look.entries if e.name == name)
    return next(found)


def _chart(course: Course, name: str) -> Lines | None:
    known = [
        (look.step, e.estimate, e.floor)
        for look in course.looks
        for e in look.entries
        if e.name == name and e.estimate.value is not None
    ]
    # A line at zero says no more than the table.
    if len(known) < 2 or not any(e.value for _, e, _ in known):
        return None
    series = [_series("samples", [(step, e) for step, e, _ in known])]
    floors = [(step, f) for step, _, f in known if f is not None and f.value is not None]
    if floors:
        series.append(_series(FLOOR, floors))
    called = _CALLED.get(name, name)
    return Lines(
        title=called[0].upper() + called[1:],
        x_label="step",
        y_label=called,
        series=series,
        note="Bands: 95 % intervals of each look.",
    )


def _series(name: str, known: Sequence[tuple[int, Estimate]]) -> Series:
    return Series(
        name=name,
        x=[step for step, _ in known],
        y=[_number(e.value) for _, e in known],
        low=[_number(e.low if e.low is not None else e.value) for _, e in known],
        high=[_number(e.high if e.high is not None else e.value) for _, e in known],
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _of_losses(course: Course) -> Iterator[Block]:
    series = [
        Series(name=name, x=list(steps), y=list(means))
        for name, (steps, means) in course.curves.items()
        if len(means) > 1
    ]
    if series:
        yield Lines(
            title="Losses",
            x_label="step",
            y_label="loss",
            series=series,
            note="Means over stretches of equal length. In a game they say little about quality.",
        )


def _of_noise(course: Course) -> Iterator[Block]:
    """Yields the noise scales of players, where gradients were looked at."""
    known: dict[str, list[tuple[int, Estimate]]] = {}
    for look in course.looks:
        for e in look.entries:
            head, _, player = e.name.partition("/")
            if head == NOISE and e.estimate.low is not None:
                known.setdefault(player, []).append((look.step, e.estimate))
    if known:
        yield Lines(
            title="Gradient noise scale",
            x_label="step",
            y_label="noise scale in examples",
            log_y=True,
            series=[_series(player, points) for player, points in known.items()],
            note="tr(Σ) / |G|² of each look, with 95 % intervals; looks whose gradient cannot be "
            "distinguished from 0 are left out. gantlet batch measures it over a whole training.",
        )


def _of_attack(course: Course) -> Iterator[Block]:
    """Yields how easily the critic was fooled, and whether updates went where it climbs."""
    known: dict[str, list[tuple[int, Estimate]]] = {}
    for look in course.looks:
        for e in look.entries:
            if e.name in (DISTANCE, LENGTH, COSINE) and e.estimate.value is not None:
                known.setdefault(e.name, []).append((look.step, e.estimate))
    lengths = {"distance to real": DISTANCE, "one update of the generator": LENGTH}
    if DISTANCE in known:
        yield Lines(
            title="How far fakes are from fooling the critic",
            x_label="step",
            y_label="scaled L2",
            series=[_series(name, known[key]) for name, key in lengths.items() if key in known],
            note="Medians over latents, with 95 % intervals: the smallest change with which a "
            "fake scores as the median of real samples, beside what one update changes. gantlet "
            "attack says how much of an update fresh critics confirm.",
        )
    if COSINE in known:
        yield Lines(
            title="Updates along the critic's gradient",
            x_label="step",
            y_label="cosine",
            series=[_series("cosine", known[COSINE])],
            note="Mean over latents of one update each, with 95 % intervals; 0 is no attack.",
        )


def _gallery(course: Course) -> Gallery:
    pictures = [
        Picture(caption=f"step {step:,}", png=png, description=f"Samples at step {step:,}.")
        for step, png in sorted(course.pictures.items())
    ]
    return Gallery(
        title="Samples over time",
        pictures=pictures,
        note="The same latents at every look, none left out, as far as they follow from a seed.",
    )


def _is_plain(name: str) -> bool:
    return "/" in name
