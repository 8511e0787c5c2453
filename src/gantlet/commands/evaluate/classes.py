"""Labelled samples class by class: the trial of one set, and what the report says of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from gantlet.commands.copies import duplicates, joined, one_of_each
from gantlet.commands.evaluate.inputs import named
from gantlet.commands.evaluate.results import extractor_name, features_named, p_words
from gantlet.commands.evaluate.sets import EvaluationSets, SamplePart, why_none
from gantlet.commands.evaluate.trial import CLASSES, EvaluationTrial, TrialView
from gantlet.commands.exhibits import lines_table, number_lines
from gantlet.compute.machine import threads
from gantlet.core.data import Readable
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.domains.domains import domain_of
from gantlet.features.base import full_precision
from gantlet.metrics.conditional import (
    LEAST,
    LEVEL,
    ClassFindings,
    ClassNumbers,
    Labelled,
    measure_classes,
    worst_first,
)
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Gallery,
    Picture,
    Row,
    Section,
    Table,
    Verdict,
)
from gantlet.report.format import listed
from gantlet.report.format import text as shown
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder

# ----------------------------------------------------------------------------
# The trial: one set, class by class.
# ----------------------------------------------------------------------------

_KEPT = "classes"


def run_classes(trial: Trial, sets: EvaluationSets, folder: TrialFolder, watch: Watch) -> Outcome:
    """Compares one set with real samples class by class, on the first features.

    Args:
        trial: An ``EvaluationTrial`` in written form.
        sets: The sets of the evaluation.
        folder: Where what is large is saved.
        watch: Is told how far it is.
    """
    spec = EvaluationTrial.of(trial)
    with threads(spec.threads), full_precision():
        view = TrialView(spec, sets, watch)
        held = sets.unlearned(spec.extractors[0], spec.size)
        if held is None or held.classes is None:
            folder.save(_KEPT, {})
            return Outcome(trial=trial, details={"reason": _why_not(held, spec, sets)})
        _, real = _labelled(view, held, from_fakes=True)
        whole = sets.fake(spec.model)
        judged, fake = _labelled(view, SamplePart(whole=whole), from_fakes=False)
        watch(0.6, "comparing classes")
        has_labels = whole.classes is not None
        found = measure_classes(
            real,
            fake,
            _training(view),
            len(sets.class_names()),
            labelled=has_labels,
            sets=len(sets.asked.fakes),
            rng=Rng(spec.seed, spec.device),
        )
    folder.save(
        _KEPT,
        {
            "confusion": found.confusion,
            "real confusion": found.real_confusion,
            "places": judged,
            "classes": fake.classes if has_labels else found.predicted,
        },
    )
    details = {**_details(found, has_labels), "used": (len(fake), whole.n)}
    return Outcome(trial=trial, scores=_scores(found), details=details)


def _why_not(held: SamplePart | None, spec: EvaluationTrial, sets: EvaluationSets) -> str:
    """Returns why there are no labelled real samples that the features were not learned from."""
    if held is None:
        return why_none(sets, spec.size)
    # Parts of the reference have its labels.
    name = named(str(sets.asked.control))[0]
    return (
        f"the features were learned from the reference, and {name} has no labels: give them as "
        "--labels control=WHAT"
    )


def _training(view: TrialView) -> Labelled | None:
    """Returns real samples for a classifier, or None where the reference has to be halved."""
    sets, spec = view.sets, view.spec
    is_learned = sets.learns_from_reference(spec.extractors[0])
    floor = sets.floor(spec.size) if is_learned else None
    return None if floor is None else _labelled(view, floor.real, from_fakes=True)[1]


def _labelled(view: TrialView, part: SamplePart, *, from_fakes: bool) -> tuple[Tensor, Labelled]:
    """Returns the places of the samples of a set that are used, shape ``(m,)``, and these.

    Of samples that the user grouped one is used, and of those of a class that repeat one
    another, so that all are independent.
    """
    made = view.features(part.whole, view.spec.extractors[0], classes=False)
    classes, names = part.classes, view.sets.class_names()
    codes = torch.zeros(part.n, dtype=torch.int64)
    if classes is not None:
        codes = classes.among(names)
    same = duplicates(part.digests(), view.sets.drawn_apart(from_fakes=from_fakes))
    # A sample under two labels is a fault of both classes.
    same = None if same is None else same * len(names) + codes
    index = one_of_each(joined(part.given_groups, same), part.n)
    places = index if part.places is None else part.places[index]
    device = view.spec.device
    return places, Labelled(made.rows[places].to(device), codes[index].to(device))


def _scores(found: ClassFindings) -> dict[str, Estimate]:
    of_classes = (
        (f"{c}/{name}", e) for c, own in enumerate(found.classes) for name, e in own.scores.items()
    )
    return {**dict(of_classes), **{f"all/{name}": e for name, e in found.overall.items()}}


def _details(found: ClassFindings, has_labels: bool) -> dict[str, Any]:
    """Returns counts and p-values as plain data."""
    classes = [
        {"real": c.real, "fake": c.fake, "p": dict(c.p), "adjusted": dict(c.adjusted)}
        for c in found.classes
    ]
    whole = {"p": dict(found.p), "adjusted": dict(found.adjusted)}
    return {"labelled": has_labels, "classes": classes, "whole": whole}


# ----------------------------------------------------------------------------
# The result, read back.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """A set class by class.

    Attributes:
        name: What the report calls the set.
        model: The set as it was asked for.
        extractor: The features, in written form.
        names: The names of the classes.
        labelled: Whether its samples have labels; else their classes are predicted.
        found: The numbers; None where classes could not be compared.
        places: The samples that were used, shape ``(m,)``.
        codes: The class of each, shape ``(m,)``.
        reason: Why classes could not be compared.
        used: Number of samples that were used, and of all.
        sets: Number of sets that are compared.
    """

    name: str
    model: str
    extractor: str
    names: tuple[str, ...]
    labelled: bool = True
    found: ClassFindings | None = None
    places: Tensor
    codes: Tensor
    reason: str = ""
    used: tuple[int, int] = (0, 0)
    sets: int = 1


def class_results(
    outcomes: Sequence[Outcome], sets: EvaluationSets, run: Run
) -> list[ClassResult]:
    """Returns the results of all sets that were compared class by class, in their order."""
    specs = [(o, EvaluationTrial.of(o.trial)) for o in outcomes if o.error is None]
    return [_result(o, s, sets, run) for o, s in specs if s.extractor == CLASSES]


def _result(
    outcome: Outcome, spec: EvaluationTrial, sets: EvaluationSets, run: Run
) -> ClassResult:
    none = torch.zeros(0, dtype=torch.int64)
    made = ClassResult(
        name=named(spec.model)[0],
        model=spec.model,
        extractor=spec.extractors[0],
        names=sets.class_names(),
        sets=len(sets.asked.fakes),
        places=none,
        codes=none,
    )
    details = outcome.details
    if "reason" in details:
        return replace(made, reason=str(details["reason"]))
    kept = run.folder(outcome.trial).load(_KEPT)
    classes = tuple(
        ClassNumbers(scores=_below(outcome.scores, str(c)), **plain)
        for c, plain in enumerate(details["classes"])
    )
    found = ClassFindings(
        classes=classes,
        overall=_below(outcome.scores, "all"),
        p=details["whole"]["p"],
        adjusted=details["whole"]["adjusted"],
        confusion=kept["confusion"],
        real_confusion=kept["real confusion"],
        predicted=none,
    )
    return replace(
        made,
        labelled=details["labelled"],
        found=found,
        places=kept["places"],
        codes=kept["classes"],
        used=(details["used"][0], details["used"][1]),
    )


def _below(scores: Mapping[str, Estimate], head: str) -> dict[str, Estimate]:
    return {
        name.partition("/")[2]: e for name, e in scores.items() if name.partition("/")[0] == head
    }


# ----------------------------------------------------------------------------
# The answers, in sentences.
# ----------------------------------------------------------------------------

_LISTED = 8
_WORST = 4
_TESTS = {"distance": "KID", "share": "share", "label": "label accuracy"}


def class_verdicts(results: Sequence[ClassResult]) -> Iterator[Verdict]:
    """Says of each set which classes are not significantly different, then which are worst."""
    for one in results:
        if one.found is None:
            yield Verdict(
                claim=f"{one.name} could not be compared class by class.",
                because=f"{one.reason[0].upper()}{one.reason[1:]}.",
            )
        else:
            yield _by_class(one, one.found)
            yield _as_whole(one, one.found)


def _by_class(one: ClassResult, found: ClassFindings) -> Verdict:
    classes = found.classes
    worst = [c for c in worst_first(classes) if classes[c].differs]
    equal = [c for c, own in enumerate(classes) if not own.differs and own.is_compared]
    tests = sum(len(own.p) for own in classes)
    how = (
        f"By Holm's procedure at {_level_of(4, one)} over {tests:,} tests: KID within each class "
        "by permutation, share by Fisher's exact test"
        f"{', label accuracy likewise' if one.labelled else ''}."
    )
    return Verdict(
        claim=f"Class by class{'' if one.labelled else ' (predicted)'}, {one.name}: "
        f"{_equal(one, equal, worst)}"
        f"{_worst(one, classes, equal, worst)} ({features_named(one.extractor)}).",
        because=how + _too_few(one, classes),
    )


def _level_of(per_cent: int, one: ClassResult) -> str:
    """Returns the level of a family of tests; that of several sets is divided among them."""
    return f"{per_cent} %" if one.sets == 1 else f"{per_cent} % / {one.sets} sets"


def _equal(one: ClassResult, equal: Sequence[int], worst: Sequence[int]) -> str:
    n = len(one.names)
    if len(equal) == n:
        return f"none of {n} classes is significantly different from real data"
    if equal:
        which = f" ({', '.join(one.names[c] for c in equal)})" if len(equal) <= _LISTED else ""
        verb = "class is" if len(equal) == 1 else "classes are"
        return f"{len(equal)} of {n} {verb} not significantly different from real data{which}"
    if len(worst) == n:
        return f"all {n} classes are significantly different from real data"
    if not worst:
        return (
            f"none of {n} classes has enough samples for a distance, and none is significantly "
            "different from real data in any other test"
        )
    return (
        f"{len(worst)} of {n} classes are significantly different, the others have too few samples"
    )


def _worst(
    one: ClassResult, classes: Sequence[ClassNumbers], equal: Sequence[int], worst: Sequence[int]
) -> str:
    if not worst:
        return ""
    called = ", ".join(f"{one.names[c]} ({_why(classes[c])})" for c in worst[:_WORST])
    more = f" and {len(worst) - _WORST} more" if len(worst) > _WORST else ""
    verb = f"; {len(worst)} {'is' if len(worst) == 1 else 'are'}" if equal else ""
    return f"{verb}{', worst first' if len(worst) > 1 else ''}: {called}{more}"


def _why(own: ClassNumbers) -> str:
    """Returns the significant numbers of a class, in a few words."""
    if own.fake == 0:
        return "no generated sample"
    if own.real == 0:
        return "no real sample"
    words: dict[str, Callable[[], str]] = {
        "distance": lambda: f"KID {shown(own.scores['kid'])}",
        "share": lambda: f"share {_signed(own.scores['share'])}",
        "label": lambda: f"label accuracy {_percent(own.scores['accuracy'])}",
    }
    return ", ".join(word() for name, word in words.items() if name in own.differs)


def _signed(e: Estimate) -> str:
    return f"{100 * (e.value or 0.0):+.1f} points"


def _percent(e: Estimate) -> str:
    return f"{100 * (e.value or 0.0):.1f} %"


def _too_few(one: ClassResult, classes: Sequence[ClassNumbers]) -> str:
    """Names the classes with too few samples of one set, if any."""
    few = [c for c, own in enumerate(classes) if not own.is_compared]
    if not few:
        return ""
    each = (
        f"{one.names[c]} ({classes[c].real:,} real, {classes[c].fake:,} generated)"
        for c in few[:_LISTED]
    )
    more = f" and {len(few) - _LISTED} more" if len(few) > _LISTED else ""
    return (
        f" Too few samples for a distance, {LEAST} of each are needed: {', '.join(each)}{more}; "
        "their shares are tested all the same."
    )


_WHOLE = {
    "shares": "shares of the classes",
    "label accuracy": "label accuracy",
    "conditional": "samples given their class",
}


def _as_whole(one: ClassResult, found: ClassFindings) -> Verdict:
    differ = [_WHOLE[name] for name, p in found.adjusted.items() if p <= LEVEL]
    equal = [_WHOLE[name] for name, p in found.adjusted.items() if p > LEVEL]
    parts = [
        *([f"not significantly different: {listed(equal)}"] if equal else []),
        *([f"significantly different: {listed(differ)}"] if differ else []),
    ]
    p = ", ".join(f"{_WHOLE[name]} {p_words(value)}" for name, value in found.p.items())
    return Verdict(
        claim=f"All classes of {one.name} together, against real data: {'; '.join(parts)}.",
        because=f"{_accuracies(one, found)}Joint distance of features and classes "
        f"{shown(found.overall['joint distance'])}. p-values by permutation"
        f"{_within_classes(one, found)}: {p}; by Holm's procedure at "
        f"{_level_of(1, one)}.",
    )


def _within_classes(one: ClassResult, found: ClassFindings) -> str:
    """Returns which tests respect classes, and how."""
    conditional = ", within classes for samples given their class"
    stratified = ", and by a test stratified by class for label accuracy"
    return conditional * ("conditional" in found.p) + stratified * one.labelled


def _accuracies(one: ClassResult, found: ClassFindings) -> str:
    if not one.labelled:
        return ""
    own, real = (found.overall[name] for name in _RATES[:2])
    return (
        f"A classifier of real data predicts the label of {_percent(own)} of the generated and "
        f"{_percent(real)} of held-out real samples. "
    )


_RATES = ("label accuracy", "label accuracy of real samples")


def class_caveats(results: Sequence[ClassResult]) -> Iterator[Caveat]:
    """Yields what limits the comparison of classes."""
    for one in results:
        used, n = one.used
        if used < n:
            yield Caveat(
                text=f"Class by class, {used:,} of {n:,} samples of {one.name} are used: one of "
                "each group, and one of those of a class that repeat one another."
            )
        if one.found is None or one.labelled:
            continue
        accuracy = one.found.real_confusion.diagonal().sum() / one.found.real_confusion.sum()
        yield Caveat(
            text=f"{one.name} has no labels: its classes are predicted by a classifier of real "
            f"data, which is right for {100 * float(accuracy):.1f} % of held-out real samples. "
            "Real samples are counted by their predicted classes too; there is no label accuracy."
        )


# ----------------------------------------------------------------------------
# Tables and pictures.
# ----------------------------------------------------------------------------

# A confusion matrix of more classes is a list of what is confused most.
_MATRIX = 12
_CONFUSIONS = 20
_ROWS = 40


def class_blocks(results: Sequence[ClassResult], sets: EvaluationSets) -> Iterator[Block]:
    """Yields tables and samples of each set, worst classes first."""
    for one in results:
        if one.found is None:
            continue
        order = worst_first(one.found.classes)
        yield _class_table(one, one.found, order[:_ROWS])
        yield from _samples(one, one.found, order, sets)
        rest = [_class_table(one, one.found, order[_ROWS:])] if len(order) > _ROWS else []
        inner = [*rest, *_accuracy_tables(one, one.found)]
        yield Section(title=f"Labels of {one.name}: accuracy and confusion", blocks=inner)


def _class_table(one: ClassResult, found: ClassFindings, order: Sequence[int]) -> Table:
    levels = {name: _level(found.classes, name) for name in ("kid", "share")}
    heads = [
        Column(name="class"),
        Column(name="differs in", help="What is significantly different from real data."),
        Column(name="real", help="Number of real samples of the class."),
        Column(name="generated", help="Number of generated samples of the class."),
        Column(name="KID", better="lower", help="Kernel distance within the class."),
        Column(name="precision", better="higher", help="Within the class."),
        Column(name="recall", better="higher", help="Within the class."),
        Column(
            name="share difference",
            help="Share of the generated samples minus share of the real samples.",
        ),
        *(
            [Column(name="label accuracy", better="higher", help="By a classifier of real data.")]
            if one.labelled
            else []
        ),
    ]
    return Table(
        title=f"{one.name} class by class: {features_named(one.extractor)}",
        columns=heads,
        rows=[_row(one, found.classes[c], one.names[c]) for c in order],
        note="Worst first. Intervals hold for all classes of a column together with 95 % "
        f"(Bonferroni: each at {100 * levels['kid']:.4g} %, of shares at "
        f"{100 * levels['share']:.4g} %). KID, precision and recall compare samples of one class; "
        "precision and recall depend on how many these are. Significant: by Holm's procedure over "
        f"all tests of all classes. With fewer than {LEAST} samples of a set no distance is "
        "measured.",
    )


def _level(classes: Sequence[ClassNumbers], name: str) -> float:
    known = (own.scores[name] for own in classes if own.scores[name].low is not None)
    return next((e.level for e in known), 0.95)


def _row(one: ClassResult, own: ClassNumbers, name: str) -> list[Cell]:
    scores = [own.scores[metric] for metric in ("kid", "precision", "recall", "share")]
    accuracy = [own.scores["accuracy"]] if one.labelled else []
    differs = ", ".join(called for test, called in _TESTS.items() if test in own.differs)
    few = "" if own.is_compared else "too few samples"
    said = "; ".join(filter(None, (differs, few))) or "–"
    return [name, said, own.real, own.fake, *scores, *accuracy]


def _samples(
    one: ClassResult, found: ClassFindings, order: Sequence[int], sets: EvaluationSets
) -> Iterator[Block]:
    """Yields samples of the worst classes beside real ones."""
    differ = [c for c in order if found.classes[c].differs] or list(order)
    some = differ[:_WORST]
    title = f"{'Worst' if found.classes[order[0]].differs else 'Most distant'} classes of "
    note = (
        "Worst first; of each class the first real and the first generated samples, none left out."
    )
    shown_ = [(one.names[c], *_of_class(one, sets, c)) for c in some]
    pictures = [p for of in shown_ for p in _pictures(one, sets, *of)]
    if pictures:
        yield Gallery(title=f"{title}{one.name}", pictures=pictures, note=note)
        return
    code = sets.real.samples.code
    read = code.read if isinstance(code, Readable) else number_lines
    lines = {
        f"{name}, {which}": list(read(x)) if len(x) else []
        for name, real, fake in shown_
        for which, x in (("real", real), ("generated", fake))
    }
    yield lines_table(f"{title}{one.name}", lines, note)


_SIDE_BY_SIDE = 8


def _of_class(one: ClassResult, sets: EvaluationSets, c: int) -> tuple[Tensor, Tensor]:
    """Returns the first real and the first generated samples of a class."""
    labels = sets.real.classes
    known = torch.zeros(0) if labels is None else labels.among(one.names)
    real = (known == c).nonzero()[:_SIDE_BY_SIDE, 0]
    fake = one.places[one.codes == c][:_SIDE_BY_SIDE]
    sources = (sets.real.samples.source, sets.fake(one.model).samples.source)
    x, y = (
        source.take(places) if len(places) else source.take(torch.zeros(1, dtype=torch.int64))[:0]
        for source, places in zip(sources, (real, fake), strict=True)
    )
    return x, y


def _pictures(
    one: ClassResult, sets: EvaluationSets, name: str, real: Tensor, fake: Tensor
) -> Iterator[Picture]:
    space = sets.real.samples.space
    k = min(len(real), len(fake))
    # Equally many of both, or those of the only set that has any: pictures have rows of eight.
    both = torch.cat([real[:k], fake[:k]] if k else [real, fake])
    png = domain_of(space).picture(space, both) if len(both) else None
    if png is None:
        return
    if len(real) and len(fake):
        how = "real above, generated below" if k == _SIDE_BY_SIDE else f"{k} real, then generated"
    else:
        how = "real; none was generated" if len(real) else "generated; none is real"
    yield Picture(
        caption=f"class {name}: {how}", png=png, description=f"Class {name} of {one.name}."
    )


def _accuracy_tables(one: ClassResult, found: ClassFindings) -> Iterator[Block]:
    if one.labelled:
        yield _rates(one, found)
    yield from _confusion(one, found)


def _rates(one: ClassResult, found: ClassFindings) -> Table:
    """Returns the table of who learned from what, and was tested on what."""
    overall = found.overall
    rows: list[list[Cell]] = [
        ["real (all that do not test)", overall[_RATES[1]], overall[_RATES[0]]]
    ]
    for name, called in (("real", "real"), ("fake", "generated")):
        if f"trained on {name}, tested on real" in overall:
            both = [overall[f"trained on {name}, tested on {of}"] for of in ("real", "fake")]
            rows.append([f"{called} (equal numbers)", *both])
    gain = overall.get("trained on fake minus trained on real, tested on real")
    if gain is not None:
        rows.append(["generated minus real (equal numbers)", gain, "–"])
    return Table(
        title=f"Label accuracy of {one.name}, by what the classifier learned from",
        columns=[
            Column(name="learned from"),
            Column(name="tested on real", better="higher", mixed=True),
            Column(name="tested on generated", better="higher", mixed=True),
        ],
        rows=rows,
        note="Share of samples whose label is predicted, each of samples that the classifier has "
        "not seen, with 95 % intervals. The classifier is ridge regression on the features and on "
        "random units of them.",
    )


def _confusion(one: ClassResult, found: ClassFindings) -> Iterator[Block]:
    if one.labelled:
        yield _confused(one, found.confusion, f"Labels of {one.name} and predicted classes")
    title = "Labels of held-out real samples and predicted classes"
    yield _confused(one, found.real_confusion, title)


def _confused(one: ClassResult, counts: Tensor, title: str) -> Table:
    names = one.names
    if len(names) <= _MATRIX:
        heads = [Column(name="label"), *(Column(name=name) for name in names)]
        rows: list[list[Cell]] = [[n, *row] for n, row in zip(names, counts.tolist(), strict=True)]
        note = "Number of samples of each label (row) that are predicted as each class (column)."
        return Table(title=title, columns=heads, rows=rows, note=note)
    off = counts - torch.diag(counts.diagonal())
    most = off.flatten().argsort(descending=True, stable=True)[:_CONFUSIONS].tolist()
    pairs = [divmod(place, len(names)) for place in most if int(off.flatten()[place])]
    rows = [
        [names[a], names[b], int(off[a, b]), int(counts[a].sum()), int(counts[a, a])]
        for a, b in pairs
    ]
    heads = [
        Column(name=name)
        for name in ("label", "predicted as", "samples", "of this label", "predicted correctly")
    ]
    note = f"The {len(rows)} largest numbers of samples that are predicted as another class."
    return Table(title=title, columns=heads, rows=rows, note=note)


# ----------------------------------------------------------------------------
# For machines.
# ----------------------------------------------------------------------------

_CALLED = {"share": "share difference", "accuracy": "label accuracy"}


def class_rows(results: Sequence[ClassResult], data: str, seed: int) -> Iterator[Row]:
    """Yields every number of every class, and those of all classes together."""
    for one in results:
        if one.found is None:
            continue
        on = extractor_name(one.extractor)
        named_ = [
            (f"{_CALLED.get(metric, metric)}, class {name} ({on})", e)
            for name, own in zip(one.names, one.found.classes, strict=True)
            for metric, e in own.scores.items()
        ]
        whole = [(f"{metric} ({on})", e) for metric, e in one.found.overall.items()]
        for name, e in (*named_, *whole):
            yield Row(data=data, model=one.model, seed=seed, name=name, estimate=e)


def class_data(results: Sequence[ClassResult]) -> list[dict[str, object]]:
    """Returns counts, p-values and what is significant, worst classes first, as plain data."""
    return [
        {
            "model": one.model,
            "labels": "given" if one.labelled else "predicted",
            "features": extractor_name(one.extractor),
            "classes": [
                _plain(one.names[c], found.classes[c]) for c in worst_first(found.classes)
            ],
            "together": {
                name: {"p": p, "adjusted": found.adjusted[name]} for name, p in found.p.items()
            },
        }
        for one in results
        if (found := one.found) is not None
    ]


def _plain(name: str, own: ClassNumbers) -> dict[str, object]:
    return {
        "class": name,
        "real": own.real,
        "generated": own.fake,
        "p": dict(own.p),
        "adjusted": dict(own.adjusted),
        "differs in": list(own.differs),
    }
