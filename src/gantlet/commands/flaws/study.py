"""Question 5: what is wrong with these samples? The study of flaws and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, final

import torch
from torch import Tensor

from gantlet import options
from gantlet.commands.evaluate.inputs import EvaluationSpec, named
from gantlet.commands.evaluate.sets import EvaluationSets, SampleSet
from gantlet.commands.exhibits import lines_table, number_lines
from gantlet.commands.flaws.trial import (
    BEFORE,
    CRITIC,
    ENDS,
    SIDES,
    FlawsTrial,
    ListKey,
    Quantity,
    forecasts,
    learned_from,
    run_trial,
)
from gantlet.core.arguments import check_fields
from gantlet.core.data import Readable
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.spec import extractors
from gantlet.domains.domains import domain_of
from gantlet.flaws.split import Ending, StopReason
from gantlet.options import Search
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Gallery,
    Lines,
    Picture,
    Prose,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import text
from gantlet.report.pictures import grid
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder

# ----------------------------------------------------------------------------
# The report of a list of flaws.
# ----------------------------------------------------------------------------


# ----------------------------------------------------------------------------
# The list of flaws as tables.
# ----------------------------------------------------------------------------


def keys(flaws: int, others: Sequence[str] = ()) -> Iterator[ListKey]:
    """Yields every number that a list of so many flaws may have, sizes in other sets last."""
    yield BEFORE
    ranks = range(1, flaws + 1)
    yield from (ListKey(k, what) for k, what in product(ranks, Quantity))
    yield from (ListKey(k, Quantity.SIZE, other) for k, other in product(ranks, others))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The list of one set.

    Attributes:
        name: What the set is called.
        flaws: Title, kind, shift and naming of each, the largest first.
        ending: How the search ended.
        scores: All numbers.
        note: What the features are.
        detectable: The smallest difference of means that would have been found nine times in ten.
    """

    name: str
    flaws: Sequence[Mapping[str, Any]]
    ending: Ending
    scores: Mapping[ListKey, Estimate]
    note: str
    detectable: float | None = None

    def number(self, k: int, what: Quantity) -> Estimate:
        """Returns a number of the flaw on place ``k``, counted from 1."""
        return self.scores[ListKey(k, what)]

    def ranks(self, *, named: bool) -> list[int]:
        """Returns the places of the flaws that have a name, or of those that have none."""
        return [k for k, flaw in enumerate(self.flaws, 1) if ("probe" in flaw) == named]

    def unnamed(self) -> str:
        """Returns the number of flaws without a name, in words; empty where all have one."""
        ranks = self.ranks(named=False)
        count, further = len(ranks), "" if 1 in ranks else "further "
        directions = "direction" if count == 1 else "directions"
        return f"{count} {further}{directions} without a name" if count else ""


KINDS = {"location": "the mean", "scale": "the spread", "shape": "the shape"}
"""What differs, in words."""


def list_table(found: Listed) -> Table:
    """Returns the list of one set, the largest flaw first, those without a name as one row."""
    start: list[Cell] = ["–", "no flaw removed", *["–"] * 5, found.scores[BEFORE]]
    return Table(
        title=f"Flaws of {found.name}",
        columns=[
            Column(name="rank", help="By size."),
            Column(name="flaw"),
            Column(
                name="explained by corruption",
                help="The corruption that does this to real samples.",
            ),
            Column(name="what differs", help="The mean, the spread or the shape."),
            Column(
                name="size",
                help="Distance in standard deviations of the real samples, beyond what the other "
                "flaws explain.",
                group=_ALONE,
            ),
            Column(
                name="accuracy",
                help="Share of held-out samples classified correctly by it; chance is 0.5.",
                group=_ALONE,
            ),
            Column(
                name="p",
                help="Permutation test, corrected for the whole list.",
                group=_ALONE,
            ),
            Column(
                name=Quantity.RESIDUAL.value,
                help="Of a linear critic with this flaw and all larger ones removed.",
                group="It and all larger removed",
            ),
        ],
        rows=[
            start,
            *(_row(found, k) for k in found.ranks(named=True)),
            *_unnamed_row(found),
        ],
        note="Largest first. All numbers are on held-out samples: value ± half the 95 % interval. "
        "Size is in standard deviations of the real samples; an accuracy of 0.5 is chance.",
    )


_ALONE = "This flaw only"


def shared_table(lists: Sequence[Listed]) -> Iterator[Table]:
    """Yields which flaws of each set the others have too."""
    for found in lists:
        others = [o.name for o in lists if o.name != found.name]
        if found.flaws:
            yield Table(
                title=f"Flaws of {found.name} in the other sets",
                columns=[
                    Column(name="flaw"),
                    Column(name=f"size in {found.name}"),
                    *(Column(name=f"size in {name}") for name in others),
                    Column(name="shared with"),
                ],
                rows=[_shared_row(found, k, others) for k in range(1, len(found.flaws) + 1)],
                note="Negative sizes: the means differ in the other direction. A flaw is shared "
                "with a set where its size is significantly above half of its size here.",
            )


def sharers(found: Listed, k: int, others: Sequence[str]) -> list[str]:
    """Returns the other sets that have a flaw too, at least half as much."""
    size = found.number(k, Quantity.SIZE).value or 0.0
    known = [(name, found.scores.get(ListKey(k, Quantity.SIZE, name))) for name in others]
    return [n for n, e in known if e is not None and e.low is not None and e.low > size / 2]


def _row(found: Listed, k: int) -> list[Cell]:
    flaw = found.flaws[k - 1]
    numbers = (found.number(k, what) for what in (Quantity.SIZE, Quantity.ALONE))
    p = found.number(k, Quantity.P).value
    kind = KINDS[flaw["kind"]]
    cause = flaw.get("cause", "–")
    return [
        str(k),
        flaw["title"],
        cause,
        kind,
        *numbers,
        _p(p),
        found.number(k, Quantity.RESIDUAL),
    ]


def _unnamed_row(found: Listed) -> Iterator[list[Cell]]:
    """Yields one row for all flaws without a name: their largest size, accuracy and p."""
    ranks = found.ranks(named=False)
    if not ranks:
        return
    kinds = dict.fromkeys(KINDS[found.flaws[k - 1]["kind"]] for k in ranks)
    size = found.number(ranks[0], Quantity.SIZE)
    best = max((found.number(k, Quantity.ALONE) for k in ranks), key=lambda e: e.value or 0.0)
    p = max(found.number(k, Quantity.P).value or 0.0 for k in ranks)
    left = found.number(ranks[-1], Quantity.RESIDUAL)
    several = len(ranks) > 1
    upper = "at most " if several else ""
    yield [
        spans(ranks),
        found.unnamed(),
        "–",
        ", ".join(kinds),
        f"{upper}{text(size)}",
        f"{upper}{text(best)}",
        f"{upper}{_p(p)}",
        left,
    ]


def spans(numbers: Sequence[int]) -> str:
    """Returns whole numbers in ascending order, runs of three or more by their ends.

    Example:
        >>> spans([2, 4, 5, 6, 8, 9])
        '2, 4–6, 8, 9'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    words = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words)


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"


def _shared_row(found: Listed, k: int, others: Sequence[str]) -> list[Cell]:
    sizes: list[Cell] = [found.scores.get(ListKey(k, Quantity.SIZE, name), "–") for name in others]
    also = sharers(found, k, others)
    title = found.flaws[k - 1]["title"]
    return [title, found.number(k, Quantity.SIZE), *sizes, ", ".join(also) or "no other"]


# ----------------------------------------------------------------------------
# What flaws look like: first those without a name, then a part of the page for each other one.
# ----------------------------------------------------------------------------

# So many flaws are unfolded at first.
_OPEN = 3
# So many samples are shown to be read.
_READ = 6


def pages(
    found: Listed, shown: Mapping[str, Tensor], real: SampleSet, fake: SampleSet
) -> Iterator[Block]:
    """Yields what samples look like: at both ends of what has no name, and with each flaw.

    Where nothing was found, samples of both sets side by side.
    """
    exhibit = _Exhibit(found, shown, real, fake)
    if not found.flaws:
        yield Section(
            title=f"{found.name} beside real samples", blocks=[exhibit.plain()], open=True
        )
    unnamed = found.ranks(named=False)
    if unnamed:
        blocks = [block for k in unnamed for block in (_unnamed(found, k), exhibit.of(k))]
        yield Section(title=f"{found.name}: {found.unnamed()}", blocks=blocks, open=True)
    for place, k in enumerate(found.ranks(named=True)):
        flaw = found.flaws[k - 1]
        yield Section(
            title=f"{found.name}, flaw {k}: {flaw['title']}",
            blocks=[Prose(text=_named(flaw)), exhibit.of(k), *_spectra(k, shown)],
            open=place < _OPEN,
        )


@final
class _Exhibit:
    """Samples of both sets, as pictures where they can be seen and as text where not.

    Args:
        found: The list.
        shown: The places of the samples.
        real: The real samples.
        fake: The fake ones.
    """

    def __init__(
        self, found: Listed, shown: Mapping[str, Tensor], real: SampleSet, fake: SampleSet
    ) -> None:
        self._found, self._shown = found, shown
        self._sets = {"fake": fake, "real": real}
        self._names = {"fake": found.name, "real": "real samples"}

    def plain(self) -> Block:
        """Returns samples as they come."""
        taken = {self._names[s]: self._take(s, s) for s in SIDES}
        return self._block("Samples", taken, "Held-out samples, not selected.", "samples")

    def of(self, k: int) -> Block:
        """Returns the samples that have a flaw most and least, or at its ends."""
        is_named = "probe" in self._found.flaws[k - 1]
        taken = {
            f"{self._names[s]}: {which}": self._take(s, f"{k}/{s} {which}")
            for s in SIDES
            for which in ENDS[not is_named]
        }
        if is_named:
            title = "Samples that have it most and least"
            note = "Held-out samples, ordered by this flaw only, most extreme first."
        else:
            title = f"Direction of rank {k}: both ends"
            note = "Held-out samples, most extreme first."
        more = _difference(k, self._shown)
        return self._block(title, taken, note, f"flaw {k}", *more, scores=_scores(self._found, k))

    def _take(self, side: str, key: str) -> Tensor:
        return self._sets[side].samples.source.take(self._shown[key])

    def _block(
        self,
        title: str,
        taken: Mapping[str, Tensor],
        note: str,
        what: str,
        *more: Picture,
        scores: Sequence[Dot] = (),
    ) -> Block:
        """Returns pictures with the scores beside the first, or lines where none can be made."""
        samples = self._sets["fake"].samples
        if isinstance(samples.code, Readable):
            code = samples.code
            return lines_table(title, {n: code.read(x[:_READ]) for n, x in taken.items()}, note)
        pictures = [
            Picture(caption=name, png=png, description=f"{name} of {what}.")
            for name, x in taken.items()
            if (png := domain_of(samples.space).picture(samples.space, x)) is not None
        ]
        if pictures:
            pictures[0] = replace(pictures[0], scores=scores)
            return Gallery(title=title, pictures=[*pictures, *more], note=note)
        return lines_table(title, {n: number_lines(x[:_READ]) for n, x in taken.items()}, note)


def _scores(found: Listed, k: int) -> list[Dot]:
    """Returns the numbers of a flaw that stand beside its samples."""
    named = {Quantity.SIZE: "size", Quantity.ALONE: "accuracy"}
    p = found.number(k, Quantity.P)
    return [
        *(Dot(name=name, estimate=found.number(k, what)) for what, name in named.items()),
        # A p-value has no interval to give.
        *([] if p.value is None else [Dot(name="p", estimate=Estimate.exact(p.value))]),
    ]


def _unnamed(found: Listed, k: int) -> Block:
    size, alone = (text(found.number(k, what)) for what in (Quantity.SIZE, Quantity.ALONE))
    kind = KINDS[found.flaws[k - 1]["kind"]]
    return Prose(
        text=f"Rank {k}: size {size}, mostly a change of {kind}; {Quantity.ALONE.value}: {alone}. "
        "No named measurement explains it: compare the samples at its two ends."
    )


def _named(flaw: Mapping[str, object]) -> str:
    agreement = flaw["agreement"]
    if agreement == 1.0:
        return f"Found by the measurement: {flaw['probe']}."
    r = f"r = {agreement:.2f}"
    return f"Named after the measurement that correlates with it: {flaw['probe']} ({r})."


def _difference(k: int, shown: Mapping[str, Tensor]) -> Iterator[Picture]:
    x = shown.get(f"{k}/difference")
    if x is None:
        return
    pixels = (x / x.abs().max().clamp_min(1e-9) * 127 + 128).round().clamp(0, 255)
    png = grid(pixels.to(torch.uint8).movedim(0, -1)[None].numpy())
    yield Picture(
        caption=f"mean difference, ±{float(x.abs().max()):.2g} of the range",
        png=png,
        description="Mean of the third of the generated samples that have it most, minus that of "
        "the third that have it least; grey is none.",
    )


def _spectra(k: int, shown: Mapping[str, Tensor]) -> Iterator[Block]:
    spectra = shown.get(f"{k}/spectra")
    if spectra is None:
        return
    x = list(map(float, range(1, spectra.shape[1])))
    names = ("generated: most", "generated: least", "real samples")
    yield Lines(
        title="Spectrum",
        x_label="frequency, cycles per image",
        y_label="mean amplitude",
        series=[
            Series(name=n, x=x, y=s[1:].tolist()) for n, s in zip(names, spectra, strict=True)
        ],
        log_y=True,
        note="Mean over samples and directions.",
    )


# ----------------------------------------------------------------------------
# What a list of flaws says, in sentences.
# ----------------------------------------------------------------------------

_IN_CLAIM = {StopReason.LIMIT, StopReason.EXHAUSTED}
_EXAMINED = {"neural": "critic", "pca": "component"}


def verdicts(found: Listed, search: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yields the largest flaw, the others, and what is left."""
    smallest = search["smallest"]
    if not found.flaws:
        yield Verdict(
            claim=f"{found.name}: nothing significant of at least {smallest:g} standard "
            "deviations was found.",
            because=f"The {CRITIC} is {_before(found)} on held-out samples"
            f"{_unlisted(found)}; {ending_text(found.ending, search)}.{_power(found)}",
        )
        return
    yield _largest(found)
    further = _further(found)
    if further:
        yield Verdict(claim=f"{found.name}: further flaws, the largest first: {further}.")
    reason = "" if found.ending.stop in _IN_CLAIM else f"; {ending_text(found.ending, search)}"
    yield Verdict(
        claim=f"{found.name}: {_left(found, search)}.",
        because=f"Residual accuracy of a linear critic with all listed flaws removed: "
        f"{text(_residual(found))} ({_before(found)} with none removed){reason}.{_power(found)}",
    )


def ending_text(ending: Ending, search: Mapping[str, Any]) -> str:
    """Returns why a search ended, in words."""
    what, n = _EXAMINED.get(search["mode"], "direction"), ending.examined
    match ending.stop:
        case StopReason.NOT_SIGNIFICANT:
            return f"the next {what} is not significant"
        case StopReason.TOO_SMALL:
            return f"the next {what} is smaller than {search['smallest']:g} standard deviations"
        case StopReason.EXHAUSTED:
            return f"the only {what} was examined" if n == 1 else f"all {n} {what}s were examined"
        case StopReason.LIMIT:
            return f"{n} {what}{'s' * (n > 1)} were examined, the limit set by --most"


def _largest(found: Listed) -> Verdict:
    first, size = found.flaws[0], found.number(1, Quantity.SIZE)
    alone, p = found.number(1, Quantity.ALONE), found.number(1, Quantity.P).value
    is_named = "probe" in first
    title = first["title"] if is_named else "a direction without a name, shown below"
    n = len(found.flaws)
    return Verdict(
        claim=f"{found.name}: the largest flaw is: {title}.",
        because=f"Size: {text(size)} standard deviations of the real samples, mostly a change "
        f"of {KINDS[first['kind']]}. {Quantity.ALONE.value.capitalize()}: {text(alone)} (chance: "
        f"0.5); p = {p or 0.0:.2g}. {n} significant flaw{'s' * (n > 1)} in all.",
    )


def _further(found: Listed) -> str:
    """Returns the other flaws: those with a name one by one, those without together."""
    titles = [found.flaws[k - 1]["title"] for k in found.ranks(named=True) if k > 1]
    unnamed = [k for k in found.ranks(named=False) if k > 1]
    if unnamed:
        n = len(unnamed)
        titles.append(
            f"{n} {'further ' * bool(titles)}direction{'s' * (n > 1)} without a name, residual "
            f"accuracy {text(_residual(found))}"
        )
    return "; ".join(titles)


def _left(found: Listed, search: Mapping[str, Any]) -> str:
    what = _EXAMINED.get(search["mode"], "direction")
    known = "this" if len(found.flaws) == 1 else "these"
    match found.ending.stop:
        case StopReason.LIMIT:
            return f"the search ended early: {ending_text(found.ending, search)}"
        case StopReason.EXHAUSTED:
            return f"{ending_text(found.ending, search)}: beyond {known}, no {what} is left"
        case _:
            return (
                f"beyond {known}, nothing significant of at least {search['smallest']:g} standard "
                "deviations was found"
            )


def _residual(found: Listed) -> Estimate:
    return found.number(len(found.flaws), Quantity.RESIDUAL)


def _before(found: Listed) -> str:
    return text(found.scores[BEFORE])


def _unlisted(found: Listed) -> str:
    """Returns the reading of a critic that separates sets in which no flaw was found."""
    low = found.scores[BEFORE].low
    if low is None or low <= 0.5:
        return ""
    return ", so the sets differ in something that no measurement and no single direction shows"


def _power(found: Listed) -> str:
    if found.detectable is None:
        return ""
    return (
        " At this sample size a measurement whose mean is shifted by at least "
        f"{found.detectable:.2g} standard deviations is found with probability 0.9."
    )


# ----------------------------------------------------------------------------
# The report of a list of flaws.
# ----------------------------------------------------------------------------


def answer(
    question: Mapping[str, Any], sets: EvaluationSets, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of lists of flaws from their outcomes."""
    lists = [listed(o) for o in outcomes if o.error is None]
    real = sets.real.samples.name
    who = (
        named(sets.asked.fakes[0])[0]
        if len(sets.asked.fakes) == 1
        else f"{len(sets.asked.fakes)} sets"
    )
    return Report(
        title=f"Flaws of {who} against {real}",
        command="flaws",
        question=question,
        facts=facts_of(_setting(question, sets), outcomes, run),
        verdicts=[v for found in lists for v in verdicts(found, question["search"])],
        caveats=list(_caveats(sets, lists)),
        rows=[row for o in outcomes if o.error is None for row in _rows(sets.asked, o)],
        blocks=[*_blocks(sets, outcomes, lists, run)],
        extra={"lists": {found.name: found.flaws for found in lists}},
    )


def listed(outcome: Outcome) -> Listed:
    """Returns the list of an outcome.

    Raises:
        UserError: If another version of Gantlet made it.
    """
    if "stop" not in outcome.details:
        raise UserError(
            "This folder holds lists in the form of an earlier version. Choose another one with "
            "--out."
        )
    flaws: Sequence[Mapping[str, Any]] = outcome.details["flaws"]
    spec = FlawsTrial.of(outcome.trial)
    others = [named(fake)[0] for fake in spec.sets.fakes]
    found = outcome.scores
    return Listed(
        name=named(spec.model)[0],
        flaws=flaws,
        ending=Ending(StopReason(outcome.details["stop"]), outcome.details["examined"]),
        scores={k: found[k.name] for k in keys(len(flaws), others) if k.name in found},
        note=outcome.notes[0].text,
        detectable=outcome.details.get("detectable"),
    )


def _blocks(
    sets: EvaluationSets, outcomes: Sequence[Outcome], lists: Sequence[Listed], run: Run
) -> Iterator[Block]:
    yield from (list_table(found) for found in lists)
    if len(lists) > 1:
        yield from shared_table(lists)
    good = [o for o in outcomes if o.error is None]
    for found, outcome in zip(lists, good, strict=True):
        shown = run.folder(outcome.trial).load("exhibits")
        fake = sets.fake(FlawsTrial.of(outcome.trial).model)
        yield from pages(found, shown, sets.real, fake)
    yield from failed_trials(outcomes, column="samples")


def _rows(asked: EvaluationSpec, outcome: Outcome) -> Iterator[Row]:
    """Yields all numbers of a list, in the order in which they were measured."""
    found = listed(outcome)
    called = {k.name: _row_name(k, found) for k in found.scores}
    for name, e in outcome.scores.items():
        yield Row(
            data=named(asked.real)[0],
            model=FlawsTrial.of(outcome.trial).model,
            seed=outcome.trial.seed,
            name=called[name],
            estimate=e,
        )


def _row_name(key: ListKey, found: Listed) -> str:
    if key == BEFORE:
        return key.name
    return f"{key.rank}: {found.flaws[key.rank - 1]['title']}: {key.measured}"


def _setting(question: Mapping[str, Any], sets: EvaluationSets) -> dict[str, str]:
    return {
        "Judged": "; ".join(_counted(f, sets.fake(f)) for f in sets.asked.fakes),
        "Reference": _counted(sets.asked.real, sets.real),
        "Features": question["features"],
        "Features learned from": _learned(question, sets),
        "Mode": _mode(question["search"]),
        "Power": "; ".join(forecasts(sets, question["search"]["level"])),
        "Seed": str(sets.asked.seed),
    }


def _learned(question: Mapping[str, Any], sets: EvaluationSets) -> str:
    learns = extractors.make(question["features"]).learns
    return learned_from(sets) if learns else "nothing: they are fixed"


def _mode(search: Mapping[str, Any]) -> str:
    mode = str(search["mode"])
    return f"{mode}, deflation by {search['blind']}" if mode == "neural" else mode


def _counted(text: str, chosen: SampleSet) -> str:
    """Returns the name of a set, its number of samples and their space."""
    return f"{named(text)[0]} ({chosen.counted}, {chosen.samples.space.label})"


def _caveats(sets: EvaluationSets, lists: Sequence[Listed]) -> Iterator[Caveat]:
    for note in sets.notes():
        yield Caveat(text=f"{note}.")
    yield Caveat(
        text="A flaw is named after the measurement that shows it, not after its cause. A "
        "corruption that explains a flaw changes real samples by as much; that does not prove "
        "that it happened. Differences that neither the named measurements nor the features "
        "capture are not listed."
    )
    for note in dict.fromkeys(found.note for found in lists):
        yield Caveat(text=f"Features: {note}.")


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class FindFlaws:
    """Sets of samples, each with its list of flaws.

    One object is one run: the sets that it has resolved are held by it. ``dataclasses.replace``
    returns one that has resolved nothing.

    Attributes:
        asked: The sets; the training samples are what extractors may learn from.
        features: Feature extractor; empty for the default of the kind of data.
        search: Settings of the search.
        threads: Number of threads.
        device: Device on which features are computed.
    """

    asked: EvaluationSpec
    features: str = options.Flaws.features
    search: Search = options.Flaws.search
    threads: options.Threads = options.Flaws.threads
    device: str = options.Flaws.device

    @cached_property
    def sets(self) -> EvaluationSets:
        """The sets, resolved once."""
        return EvaluationSets(self.asked)

    def fresh(self) -> "FindFlaws":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "flaws",
            **self.sets.written(),
            "features": self._features(),
            "search": self.search.stored(),
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each set."""
        self._check()
        return [self._trial(fake) for fake in self.asked.fakes]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Lists the flaws of one set."""
        return run_trial(trial, self.sets, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what is wrong, and what is not."""
        return answer(self.question(), self.sets, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return self.sets.notes()

    def forecast(self) -> Sequence[str]:
        """Says of each set what its size lets be found, before anything is looked for."""
        return forecasts(self.sets, self.search.level)

    def _check(self) -> None:
        check_fields(self)
        _check_search(self.search)
        self.sets.check((self._features(),), self.device)

    def _trial(self, fake: str) -> Trial:
        return FlawsTrial(
            model=fake,
            extractor=self._features(),
            sets=self.asked,
            search=self.search,
            threads=self.threads,
            device=self.device,
        ).written()

    def _features(self) -> str:
        if self.features:
            return extractors.resolve(self.features)
        samples = self.sets.real.samples
        usual = domain_of(samples.space).features(samples.code, labelled=self.sets.has_classes())
        return extractors.resolve(usual[0])


def _check_search(search: Search) -> None:
    if search.mode == "pca" and (search.permutations + 1) * search.level < search.max_directions:
        raise UserError(
            f"{search.permutations} permutations cannot confirm any of {search.max_directions} "
            "components: raise --permutations or lower --max-directions."
        )
