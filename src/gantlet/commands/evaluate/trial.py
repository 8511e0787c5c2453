"""Measures one set of samples on one extractor, and shows the samples worth seeing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.commands.copies import nearest, one_of_each, repeats
from gantlet.commands.evaluate.inputs import EvaluationSpec, NamedSamples, SetTrial, named
from gantlet.commands.evaluate.kept import KeptMeasurements, Measured, can_be_kept, name_of
from gantlet.commands.evaluate.sets import FLOOR, EvaluationSets, SamplePart, SampleSet
from gantlet.commands.exhibits import above, lines_table, pictured
from gantlet.compute.machine import threads
from gantlet.core.data import Readable, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate, Note, Outcome, Trial
from gantlet.core.metric import Groups, Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.data.splits import Subset
from gantlet.domains.domains import domain_of
from gantlet.features.base import (
    FeatureCache,
    FeatureSet,
    digest,
    full_precision,
    subsample_indices,
)
from gantlet.metrics.checks import checked
from gantlet.metrics.copying import nearest_training
from gantlet.metrics.measure import detail_all
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.metrics.pairs import Pairs
from gantlet.metrics.prd import prd_curve
from gantlet.report.blocks import Block, Dot, Gallery, Lines, Picture, Series
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder
from gantlet.stats.jackknife import Detailed, estimate_of, influences

# ----------------------------------------------------------------------------
# What a trial is.
# ----------------------------------------------------------------------------

PAIRS = "pairs"
"""The extractor of trials that look at pairs."""

CLASSES = "classes"
"""The extractor of trials that compare a set class by class, on the first features."""

SAMPLES = "samples"
"""The extractor of trials whose metrics see the samples themselves."""

FINGERPRINT = "fingerprint"
"""The detail of an outcome that names extractor, weights and preprocessing."""

Reference = Literal["all", "part"]
"""Whether fakes meet the whole reference, or are compared with the floor on equal terms."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTrial(SetTrial):
    """One set measured on one extractor. Its written form is a ``Trial``, whose key names it.

    Attributes:
        model: The set as it was asked for, or ``REAL``: the noise floor.
        against: Whether it meets the whole reference, or what is compared with the floor.
        size: How many samples it holds; of the noise floor, those of the sets that it is for.
        extractor: What it is measured on: an extractor, ``SAMPLES``, ``PAIRS`` or
            ``CLASSES``.
        extractors: All extractors of the evaluation; the first one decides what is shown.
        metrics: What is measured.
        sets: What decides the sets.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    model: str
    against: Reference
    size: int
    extractor: str
    extractors: tuple[str, ...]
    metrics: tuple[str, ...]
    sets: EvaluationSpec
    threads: int
    device: str

    @property
    def sees_first(self) -> bool:
        """Whether it decides what is shown: all of a set, through the first extractor."""
        return self.extractor == self.extractors[0] and self.against == "all"


# ----------------------------------------------------------------------------
# Outputs beside what was wanted: translation, infilling, edits of attributes.
# ----------------------------------------------------------------------------


# So many inputs are looked at.
_INPUTS = 2_000


def matched(sets: EvaluationSets, fake: str) -> tuple[NamedSamples, NamedSamples]:
    """Returns the targets and a set of outputs, those of the first target first.

    Files are matched by their names, whatever order those sort in; arrays by their order.

    Raises:
        UserError: If there are not ``outputs`` outputs for each target, or names do not match.
    """
    pairs, k = sets.asked.pairs, sets.asked.outputs
    if pairs is None:
        raise UserError("Give --pairs: what the outputs should have been.")
    targets, outputs = sets.whole(pairs), sets.whole(fake)
    n, m = len(targets.source), len(outputs.source)
    if m != n * k:
        name, wanted = outputs.name, targets.name
        raise UserError(
            f"{name} holds {m} samples, {wanted} {n} targets with --outputs {k}. "
            f"{n * k} outputs are needed, those of the first target first."
        )
    if not (targets.names and outputs.names):
        return targets, outputs
    order = torch.tensor(_order(targets, outputs, k))
    return targets, replace(
        outputs,
        source=Subset(outputs.source, order),
        names=[outputs.names[i] for i in order.tolist()],
    )


def _order(targets: NamedSamples, outputs: NamedSamples, k: int) -> list[int]:
    """Returns the places of the outputs in the order of the targets whose names they bear.

    Numbers are compared as such, so that ``7`` is ``007``. Of several outputs each is called as
    its target and a mark of its own behind it: ``7_0``, ``7-b`` or ``7/0``.
    """
    own = [_key(name) if k == 1 else _key(_mark(name)[0]) for name in outputs.names]
    places: dict[str, list[int]] = {}
    for i, key in enumerate(own):
        places.setdefault(key, []).append(i)
    order: list[int] = []
    for name in targets.names:
        found = places.pop(_key(name), [])
        if len(found) != k:
            raise UserError(
                f"{outputs.name} has {len(found)} outputs for {name!r} of {targets.name}, and {k} "
                f"{'is' if k == 1 else 'are'} needed. Pairs of files are matched by their names: "
                f"call each output as its target{', and a mark behind it: NAME_0' * (k > 1)}."
            )
        order += sorted(found, key=lambda i: _natural(outputs.names[i]))
    return order


def _mark(name: str) -> tuple[str, str]:
    """Returns the name of a target and the mark of one of its outputs."""
    head, _, tail = re.sub(r"[-_./ ](?=[^-_./ ]*$)", "\0", name).partition("\0")
    return head, tail


def _key(name: str) -> str:
    """Returns a name in which numbers are written without zeros before them.

    Example:
        >>> _key("a/007") == _key("A/7"), _key("img12") == _key("img21")
        (True, False)
    """
    return re.sub(r"0*([0-9]+)", lambda found: str(int(found[1])), name).casefold()


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns the sort key of names that puts 9 before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _run_pairs(trial: Trial, spec: EvaluationTrial, sets: EvaluationSets, watch: Watch) -> Outcome:
    """Measures a set of outputs against its targets."""
    watch(0.1, "reading pairs")
    targets, outputs = (sets.recoded(side) for side in matched(sets, spec.model))
    k, device = spec.sets.outputs, spec.device
    chosen = subsample_indices(len(targets.source), _INPUTS, rng=Rng(spec.seed).stream("pairs"))
    inputs = chosen.repeat_interleave(k)
    places = (chosen[:, None] * k + torch.arange(k)).flatten()
    x, y = targets.source.take(inputs).to(device), outputs.source.take(places).to(device)
    extractor = spec.extractors[0]
    features = sets.extractor(extractor, device)
    watch(0.5, "measuring pairs")
    unit = targets.space.unit
    pairs = Pairs(target=unit(x), output=unit(y), inputs=inputs if k > 1 else None)
    rows = features.extract(x), features.extract(y)
    found = pairs.measure(rows, lpips=extractor.partition(":")[0] == "lpips")
    note = f"{PAIRS}: {len(chosen):,} inputs with {k} output{'s' if k > 1 else ''} each; "
    note += f"distances on {extractor.partition(':')[0]} features; "
    note += "matched by name" if targets.names and outputs.names else "matched by order"
    return Outcome(
        trial=trial,
        scores=found,
        notes=(Note(note, "pairs"),),
        details={FINGERPRINT: features.fingerprint},
    )


def first_pairs(sets: EvaluationSets, fake: str, n: int) -> tuple[Tensor, Tensor]:
    """Returns the first targets and one output for each, to be looked at."""
    targets, outputs = matched(sets, fake)
    index = torch.arange(min(n, len(targets.source)))
    return targets.source.take(index), outputs.source.take(index * sets.asked.outputs)


# ----------------------------------------------------------------------------
# Which samples a report shows besides the first ones.
# ----------------------------------------------------------------------------

# So many samples are looked through, since the work grows with the pairs.
_SEARCHED = 10_000
# How many of each kind are shown.
_EXTREMES = 32
_COPIES = 16


def exhibits(
    real: Tensor,
    fake: Tensor,
    train: Tensor | None,
    *,
    rng: torch.Generator,
    searches: Searches | None = None,
) -> dict[str, Tensor]:
    """Returns the places of samples worth seeing, among at most 10,000 fakes.

    Args:
        real: Features of the reference, shape ``(n, d)``.
        fake: Features of the samples to judge, shape ``(m, d)``.
        train: Features of the training samples, or None.
        rng: Draws those that are looked through.
        searches: Where neighbours may have been kept.

    Returns:
        Those nearest to real samples, ``near``, and farthest from them, ``far``; where the
        training is known, those nearest to it, ``copies``, and what each is nearest to,
        ``originals``.
    """
    searched = subsample_indices(len(fake), _SEARCHED, rng=rng)
    fake, real = fake[searched], real[subsample_indices(len(real), _SEARCHED, rng=rng)]
    _, distance = nearest_training(fake, real, searches=searches)
    order = distance[:, 0].argsort(stable=True).cpu()
    found = {"near": searched[order[:_EXTREMES]], "far": searched[order.flip(0)[:_EXTREMES]]}
    if train is not None:
        original, close = nearest_training(fake, train)
        copies = close[:, 0].argsort(stable=True)[:_COPIES]
        found |= {"copies": searched[copies.cpu()], "originals": original[copies, 0].cpu().clone()}
    return found


# ----------------------------------------------------------------------------
# Samples to look at: uncurated, near to real ones and far, and the nearest of the training.
# ----------------------------------------------------------------------------

# So many pairs of a set, and so many lines of one that is read.
_PAIRS = 32
_READ = 10


def galleries(
    sets: EvaluationSets,
    outcomes: Sequence[Outcome],
    run: Run,
    scores: Mapping[str, Sequence[Dot]],
    order: Sequence[str] = (),
) -> Iterator[Block]:
    """Yields pictures, where samples are something to see.

    Args:
        sets: What is evaluated.
        outcomes: The trials.
        run: Where they kept what is shown.
        scores: The numbers that stand beside the first samples, by set and for the noise floor.
        order: Names of sets, best first; others come after these.
    """
    real = sets.real
    space = real.samples.space
    everyone = [(named(f)[0], sets.fake(f)) for f in sets.asked.fakes]
    everyone.sort(key=lambda one: order.index(one[0]) if one[0] in order else len(order))
    shown = [*everyone, ("real samples", real)]
    yield from _samples(shown, scores)
    if sets.asked.pairs is not None:
        yield from _pairs(space, sets)
    kept = exhibits_of(outcomes, run)
    chosen = [(name, c, kept[name]) for name, c in everyone if name in kept]
    yield from _extremes(space, chosen)
    train = sets.train
    if train is not None:
        yield from _nearest_training(space, chosen, train)


def _samples(
    shown: Sequence[tuple[str, SampleSet]], scores: Mapping[str, Sequence[Dot]]
) -> Iterator[Block]:
    """Yields the first samples of each set, to be seen or to be read."""
    note = "The first of each set, none left out."
    space, code = shown[-1][1].samples.space, shown[-1][1].samples.code
    if isinstance(code, Readable):
        read = {name: code.read(_first(c)[:_READ]) for name, c in shown}
        yield lines_table("Samples", read, note)
    known = {**scores, "real samples": scores.get(FLOOR, ())}
    pictures = [
        replace(p, scores=known.get(name, ()))
        for name, c in shown
        for p in pictured(space, code, name, _first(c))
    ]
    yield from _gallery("Samples", pictures, note)


def exhibits_of(outcomes: Sequence[Outcome], run: Run) -> dict[str, dict[str, Tensor]]:
    """Returns the samples of each set that are shown, by its name."""
    good = ((EvaluationTrial.of(o.trial), run.folder(o.trial)) for o in outcomes if not o.error)
    return {
        named(spec.model)[0]: folder.load("exhibits")
        for spec, folder in good
        if spec.model != REAL and spec.sees_first
    }


def _pairs(space: Space, sets: EvaluationSets) -> Iterator[Block]:
    pictures = [
        p
        for fake in sets.asked.fakes
        for p in pictured(
            space,
            None,
            f"targets, and below each {named(fake)[0]}",
            above(*first_pairs(sets, fake, _PAIRS)),
        )
    ]
    yield from _gallery("Pairs", pictures, "The first of each, none left out.")


Shown = Sequence[tuple[str, SampleSet, dict[str, Tensor]]]


def _extremes(space: Space, chosen: Shown) -> Iterator[Block]:
    pictures = [
        p
        for name, c, found in chosen
        for which, words in (("near", "nearest to"), ("far", "farthest from"))
        for p in pictured(
            space, c.samples.code, f"{name}: {words} real samples", _at(c, found[which])
        )
    ]
    note = "By the distance to the nearest real sample in the first features, outermost first."
    yield from _gallery("Nearest to real samples, and farthest", pictures, note)


def _nearest_training(space: Space, chosen: Shown, train: SampleSet) -> Iterator[Block]:
    """Yields the samples nearest to training samples, each above its nearest."""
    pictures = [
        p
        for name, c, found in chosen
        for p in pictured(
            space,
            None,
            f"{name}, and below each the nearest training sample",
            above(_at(c, found["copies"]), _at(train, found["originals"])),
        )
    ]
    note = "Those nearest to the training set in the first features, nearest first."
    yield from _gallery("Nearest training samples", pictures, note)


def _first(chosen: SampleSet) -> Tensor:
    most = domain_of(chosen.samples.space).shown
    return _at(chosen, torch.arange(min(chosen.n, most)))


def _at(chosen: SampleSet, index: Tensor) -> Tensor:
    return chosen.samples.source.take(index)


def _gallery(title: str, pictures: Sequence[Picture], note: str) -> Iterator[Block]:
    if pictures:
        yield Gallery(title=title, pictures=pictures, note=note)


# ----------------------------------------------------------------------------
# The curve of precision and recall, where it was asked for.
# ----------------------------------------------------------------------------

_POINTS = 101


def curve_of(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> dict[str, Tensor]:
    """Returns the curve of two sets of features, thinned to one size, at some hundred points."""
    h = min(len(real), len(fake))
    found = prd_curve(real[:h], fake[:h], rng=rng)
    at = torch.linspace(0, len(found.recall) - 1, _POINTS).round().long().to(found.recall.device)
    return {"prd recall": found.recall[at], "prd precision": found.precision[at]}


def curves(exhibits: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Block]:
    """Yields the chart of all curves, by the name of the set."""
    series: Sequence[Series] = [
        Series(name=name, x=found["prd recall"].tolist(), y=found["prd precision"].tolist())
        for name, found in exhibits.items()
        if "prd recall" in found
    ]
    if series:
        yield Lines(
            title="Precision and recall of distributions (PRD)",
            x_label="recall",
            y_label="precision",
            series=series,
            note="What share of the samples is real-like (up) against what share of the real data "
            "is reached (across), on the first features. The corner at the top right is perfect.",
        )


# ----------------------------------------------------------------------------
# Whether fakes and the whole reference differ, by dealing out again which is which.
# ----------------------------------------------------------------------------

ENERGY = "energy"
"""The metric that is tested by permutation too."""

PERMUTED = "p by permutation"
"""The detail of an outcome that holds the p-value."""

# So many samples of each set, and so many times.
_MOST, _TIMES = 1_000, 999
# So many numbers are held of the labels and of their products at a time.
_AT_ONCE = 2**22


def energy_p(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> float:
    """Returns the p-value of the energy distance of two sets if their samples were exchangeable.

    Exact, and on whole sets: it needs no noise floor. At most 1,000 samples of each.
    Source: Szekely and Rizzo, 2004, http://interstat.statjournals.net/YEAR/2004/articles/0411005.pdf.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        rng: Deals out, on the CPU.
    """
    real, fake = checked(real, fake)
    x, y = (z[subsample_indices(len(z), _MOST, rng=rng)].double() for z in (real, fake))
    n, both = len(x), torch.cat([x, y])
    if min(n, len(y)) < 2:
        return 1.0
    apart = torch.cdist(both, both).to(both.dtype)
    total = len(both)
    orders = torch.stack([torch.randperm(total, generator=rng)[:n] for _ in range(_TIMES)])
    orders = torch.cat([torch.arange(n)[None], orders]).to(both.device)
    step = max(1, _AT_ONCE // total)
    found = torch.cat([_energies(apart, o) for o in torch.split(orders, step)])
    # Equal sums differ by rounding.
    slack = 1e-9 * float(apart.mean())
    return float((found[1:] >= found[0] - slack).sum() + 1) / (_TIMES + 1)


def _energies(apart: Tensor, chosen: Tensor) -> Tensor:
    """Returns the energy distance between some samples and the others, for each row of places."""
    total, n = len(apart), chosen.shape[1]
    labels = apart.new_zeros(len(chosen), total).scatter_(1, chosen, 1.0)
    sums = labels @ apart
    within, among_all = (sums * labels).sum(1), sums.sum(1)
    between = among_all - within
    others = apart.sum() - within - 2 * between
    m = total - n
    return 2 * between / (n * m) - within / (n * (n - 1)) - others / (m * (m - 1))


# ----------------------------------------------------------------------------
# Measures one set of samples on one extractor.
# ----------------------------------------------------------------------------


# A metric whose work grows with the square of the samples sees so many of them at most, and one
# that sees the samples themselves so many.
_QUADRATIC = 20_000
_LOOKED_AT = 2_000
# Numbers of the samples themselves that are read of a set at most: 256 MiB. Of colour images of
# 128 pixels these are 1,365, of 512 pixels 85.
_NUMBERS = 2**26
# Fewer are read of no set.
_LEAST = 16
# So many numbers are copied in memory at most, and so many rows at a time.
_IN_MEMORY = 2**24
_BLOCK = 4096

_NO_CLASSES = "needs class probabilities: --features classifier, or another that has some"


def looked_at(space: Space) -> int:
    """Returns how many samples of a set are read at most by metrics that see them themselves.

    Example:
        >>> looked_at(Space("image", (3, 32, 32), 256))
        2000
        >>> looked_at(Space("image", (3, 512, 512), 256))
        85
    """
    return min(_LOOKED_AT, max(_LEAST, _NUMBERS // space.size))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricInputs:
    """What metrics are given of one set.

    Attributes:
        features: Vectors, shape ``(n, d)``.
        probabilities: Of classes, shape ``(n, classes)``, or None.
        samples: The samples themselves, or None.
        groups: Which of them belong together, shape ``(n,)``; None where each is on its own.
        given_groups: Those that the user gave alone.
    """

    features: Tensor
    probabilities: Tensor | None = None
    samples: Tensor | None = None
    groups: Tensor | None = None
    given_groups: Tensor | None = None

    def all(self) -> tuple[Tensor | None, ...]:
        """Returns all of it."""
        known = self.features, self.probabilities, self.samples
        return (*known, self.groups, self.given_groups)

    def of(self, sees: Sees) -> Tensor | None:
        """Returns the input that a metric sees, or None where there is none."""
        known = {"features": self.features, "probabilities": self.probabilities}
        return known.get(sees, self.samples)

    def at(self, places: Tensor, name: str) -> "MetricInputs":
        """Returns the same of some samples; what is large is kept on disk under ``name``."""
        known = self.probabilities
        return MetricInputs(
            features=_rows_at(self.features, places, f"features/{name}"),
            probabilities=None if known is None else _rows_at(known, places, f"classes/{name}"),
        )

    def one_of_each(self, groups: Tensor | None) -> Tensor:
        """Returns the features of one sample of each group, of at most 10,000."""
        places = one_of_each(groups, len(self.features))
        # Every so many, as their order may say something.
        step = -(-len(places) // _SEARCHED)
        return self.features[places[::step]]


def _rows_at(rows: Tensor, places: Tensor, name: str) -> Tensor:
    if len(places) * rows.shape[1] <= _IN_MEMORY:
        return rows[places]

    def parts() -> Iterator[Tensor]:
        for part in torch.split(places, _BLOCK):
            yield rows[part]

    return FeatureCache.usual().rows(name, len(places), parts)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """The reference, the set to judge, and that of the training where it is known."""

    real: MetricInputs
    fake: MetricInputs
    train: MetricInputs | None


Wanted = Mapping[str, Metric | TrainMetric]


def run_trial(trial: Trial, sets: EvaluationSets, folder: TrialFolder, watch: Watch) -> Outcome:
    """Measures all metrics of a trial and saves what paired differences and pictures need.

    Args:
        trial: An ``EvaluationTrial`` in written form.
        sets: The sets of the evaluation.
        folder: Where what is large is saved.
        watch: Is told how far it is.
    """
    spec = EvaluationTrial.of(trial)
    with threads(spec.threads), full_precision():
        if spec.extractor == PAIRS:
            folder.save("influence", {})
            folder.save("nearest", {})
            return _run_pairs(trial, spec, sets, watch)
        view = TrialView(spec, sets, watch)
        look = _Look.of(view)
        if look.name is None:
            found = look.measured()
        else:
            found = KeptMeasurements.usual().get(look.name, trial, look.measured)
    for name, tensors in found.tensors.items():
        folder.save(name, tensors)
    note, fingerprint = view.described()
    details = {FINGERPRINT: fingerprint, **found.details}
    notes = (Note(note, "features"),)
    return Outcome(trial=trial, scores=found.scores, notes=notes, details=details)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """All that a measurement depends on.

    Attributes:
        view: What the trial sees of the sets.
        given: The inputs of the metrics.
        wanted: The metrics, by their written form.
        permuted: Real samples for the test by permutation; None where there is none.
        is_compared: Whether it is asked for repeats and copies.
    """

    view: "TrialView"
    given: Sets
    wanted: Wanted
    permuted: Tensor | None
    is_compared: bool

    @classmethod
    def of(cls, view: "TrialView") -> "_Look":
        """Reads the sets."""
        spec, sets, given = view.spec, view.sets, view.given()
        is_compared = spec.against == "part" or sets.is_fair(spec.model)
        return cls(
            view=view,
            given=given,
            wanted={text: sets.metric(text) for text in spec.metrics},
            permuted=_to_permute(view, given),
            is_compared=is_compared and spec.extractor != SAMPLES,
        )

    @property
    def name(self) -> str | None:
        """A short name of all of it, or None where something in it has none."""
        spec, samples = self.view.spec, self.view.sets.real.samples
        if samples.code is not None or not can_be_kept(self.wanted.values()):
            return None
        asked = (spec.metrics, spec.seed, spec.threads, spec.device, samples.space)
        what = (spec.extractor == SAMPLES, spec.sees_first, self.is_compared)
        sets = (self.given.real, self.given.fake, self.given.train)
        seen = [t for one in sets for t in (one.all() if one is not None else (None,))]
        return name_of((*asked, *what), [*seen, self.permuted])

    def measured(self) -> Measured:
        """Measures it."""
        view, given, wanted = self.view, self.given, self.wanted
        spec, searches = view.spec, view.sets.searches
        found = measure_together(spec, wanted, given, view.watch, searches)
        tensors: dict[str, dict[str, Tensor]] = {}
        if spec.sees_first:
            view.watch(0.95, "choosing samples to show")
            tensors["exhibits"] = _exhibits(spec, given, wanted, searches)
        tensors["nearest"] = _nearest(spec, searches, given) if self.is_compared else {}
        tensors["influence"] = influences(found)
        scores = {t: estimate_of(f) for t, f in found.items()}
        return Measured(scores, _permuted(spec, self.permuted, given.fake), tensors)


def _exhibits(
    spec: EvaluationTrial, given: Sets, wanted: Wanted, searches: Searches
) -> dict[str, Tensor]:
    real, fake = given.real.features, given.fake.features
    train = None if given.train is None else given.train.features
    rng = Rng(spec.seed).stream("exhibits")
    found = exhibits(real, fake, train, rng=rng, searches=searches)
    if any(_name(metric) == "prd" for metric in wanted):
        found |= curve_of(real, fake, rng=Rng(spec.seed).stream("curve"))
    return found


def _nearest(spec: EvaluationTrial, searches: Searches, given: Sets) -> dict[str, Tensor]:
    """Returns the checks for duplicates and for copies of training samples."""
    real, fake, train = given.real, given.fake, given.train
    reference, rng = real.features, Rng(spec.seed).stream("nearest")
    reference = reference[subsample_indices(len(reference), _SEARCHED, rng=rng)]
    try:
        own = fake.one_of_each(fake.given_groups)
        found = {"repeats": repeats(reference, own, searches)}
        if train is not None:
            found |= nearest(reference, fake.one_of_each(fake.groups), train.features)
    except UserError:
        # Features that cannot be compared, which the metrics say.
        return {}
    return found


def _to_permute(view: "TrialView", given: Sets) -> Tensor | None:
    """Returns features of real samples for the test by permutation, where it was asked for.

    There is none where samples come in groups, and so are not exchangeable one by one.
    """
    spec = view.spec
    wanted = any(_name(m) == ENERGY for m in spec.metrics)
    if not wanted or spec.against != "all" or spec.model == REAL:
        return None
    real = view.unlearned(given.real)
    if real is None or real.groups is not None or given.fake.groups is not None:
        return None
    return real.features


def _permuted(spec: EvaluationTrial, real: Tensor | None, fake: MetricInputs) -> dict[str, float]:
    """Returns the p-value of the energy distance by permutation."""
    if real is None:
        return {}
    try:
        drawn = Rng(spec.seed).stream("permutations")
        return {PERMUTED: energy_p(real, fake.features, rng=drawn)}
    except UserError:
        # Features that cannot be compared, which the metrics say.
        return {}


def parts_of(spec: EvaluationTrial, sets: EvaluationSets) -> tuple[SamplePart, SamplePart]:
    """Returns the reference of a trial, and the samples that are judged against it."""
    if spec.model != REAL and spec.against == "all":
        return SamplePart(whole=sets.real), SamplePart(whole=sets.fake(spec.model))
    floor = sets.floor(spec.size)
    if floor is None:
        raise ValueError(f"no floor of {spec.size} samples")
    return floor.real, floor.other if spec.model == REAL else sets.fair_part(spec.model)


Apart = Sequence[Tensor] | None
"""The sets from which one was drawn apart, or None where nobody asks for its groups."""


@final
@dataclass(frozen=True, slots=True)
class TrialView:
    """What a trial sees of the sets.

    Attributes:
        spec: The trial.
        sets: The sets of the evaluation.
        watch: Is told how far it is.
    """

    spec: EvaluationTrial
    sets: EvaluationSets
    watch: Watch

    def given(self) -> Sets:
        """Returns the inputs of the metrics from each set."""
        real, fake = parts_of(self.spec, self.sets)
        train = self.sets.train
        see = self._looked_at if self.spec.extractor == SAMPLES else self._featured
        of_fakes = self.sets.drawn_apart(from_fakes=True)
        of_real = self.sets.drawn_apart(from_fakes=False)
        return Sets(
            real=see(real, of_fakes),
            fake=see(fake, of_fakes if self.spec.model == REAL else of_real),
            train=None if train is None else see(SamplePart(whole=train), None),
        )

    def unlearned(self, real: MetricInputs) -> MetricInputs | None:
        """Returns real samples from which the extractor has learned no more than from fakes."""
        extractor = self.spec.extractor
        if extractor == SAMPLES or not self.sets.learns_from_reference(extractor):
            return real
        part = self.sets.unlearned(extractor, self.spec.size)
        return part and self._featured(part, self.sets.drawn_apart(from_fakes=True))

    def features(self, chosen: SampleSet, extractor: str, *, classes: bool) -> FeatureSet:
        """Returns the features of a set, on the device of the trial."""
        device = self.spec.device
        return self.sets.features(chosen, extractor, self.watch, device=device, classes=classes)

    def described(self) -> tuple[str, str]:
        """Returns the description of the features, and their fingerprint."""
        extractor = self.spec.extractor
        if extractor == SAMPLES:
            most = looked_at(self.sets.real.samples.space)
            return (f"{SAMPLES}: at most {most:,} samples of each set, as they are", SAMPLES)
        features = self.sets.extractor(extractor, self.spec.device)
        return (f"{_name(extractor)}: {features.note}", features.fingerprint)

    def _looked_at(self, part: SamplePart, apart: Apart) -> MetricInputs:
        """Returns the samples of a set themselves, scaled to [0, 1]."""
        self.watch(0.1, f"reading {part.whole.samples.name}")
        most = looked_at(part.space)
        index = subsample_indices(part.n, most, rng=Rng(self.spec.seed).stream("looked at"))
        groups = None if apart is None else part.groups(apart)
        x = part.space.unit(part.source.take(index)).to(self.spec.device)
        kept = None if groups is None else groups[index]
        return MetricInputs(features=x.flatten(1), samples=x, groups=kept)

    def _featured(self, part: SamplePart, apart: Apart) -> MetricInputs:
        """Returns the features of a set."""
        spec = self.spec
        classes = "probabilities" in (metrics.make(text).sees for text in spec.metrics)
        made = self.features(part.whole, spec.extractor, classes=classes)
        seen = MetricInputs(features=made.rows, probabilities=made.probabilities)
        if part.places is not None:
            is_large = part.n * made.rows.shape[1] > _IN_MEMORY
            places = digest({"places": part.places})
            rows = f"{self.sets.content(part.whole.samples)}/{places}" if is_large else ""
            seen = seen.at(part.places, f"{made.fingerprint}/{rows}")
        groups = None if apart is None else part.groups(apart)
        return replace(seen, groups=groups, given_groups=part.given_groups)


def measure_together(
    spec: EvaluationTrial, wanted: Wanted, given: Sets, watch: Watch, searches: Searches
) -> dict[str, Detailed | Estimate]:
    """Measures metrics that see the same together, quadratic ones on fewer samples."""
    groups: dict[tuple[Sees, bool], dict[str, Metric | TrainMetric]] = {}
    for text, metric in wanted.items():
        groups.setdefault((metric.sees, metric.quadratic), {})[text] = metric
    found: dict[str, Detailed | Estimate] = {}
    for i, ((sees, quadratic), group) in enumerate(groups.items()):
        watch(0.5 + 0.4 * i / len(groups), f"measuring {', '.join(map(_name, group))}")
        most = _QUADRATIC if quadratic else None
        found |= _group(spec, group, given, (sees, most), searches)
    return {text: found[text] for text in wanted}


def _name(metric: str) -> str:
    return metric.partition(":")[0]


def _group(
    spec: EvaluationTrial,
    group: Wanted,
    given: Sets,
    kind: tuple[Sees, int | None],
    searches: Searches,
) -> dict[str, Detailed | Estimate]:
    (x, a), (y, b), (z, _) = (
        _thinned(s, *kind, spec) for s in (given.real, given.fake, given.train)
    )
    if x is None or y is None:
        return {t: Estimate.missing(_NO_CLASSES, better=m.better) for t, m in group.items()}
    groups = None if a is None and b is None else Groups(a, b)
    return detail_all(
        group,
        x,
        y,
        train=z,
        groups=groups,
        rng=Rng(spec.seed, x.device),
        searches=searches,
        # What is shown is looked for among as many samples.
        across=spec.sees_first and max(len(x), len(y)) <= _SEARCHED,
    )


def _thinned(
    seen: MetricInputs | None, sees: Sees, most: int | None, spec: EvaluationTrial
) -> tuple[Tensor | None, Tensor | None]:
    """Returns the input of a metric from a set, and its groups; at most ``most`` samples."""
    x = None if seen is None else seen.of(sees)
    if seen is None or x is None:
        return None, None
    groups = seen.groups
    if most is not None and len(x) > most:
        kept = subsample_indices(len(x), most, rng=Rng(spec.seed).stream("thin/quadratic"))
        x, groups = x[kept], None if groups is None else groups[kept]
    return x.to(spec.device), groups
