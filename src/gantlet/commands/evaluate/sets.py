"""The sets behind an evaluation: fakes, reference, training set, noise floor; their features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands.copies import (
    KnownDigests,
    duplicates,
    is_by_descent,
    joined,
    occurs,
    one_of_each,
)
from gantlet.commands.evaluate.groupings import (
    ClassLabels,
    all_classes,
    check_fits,
    columns_of,
    read_classes,
    read_groups,
)
from gantlet.commands.evaluate.inputs import (
    EvaluationSpec,
    NamedSamples,
    Role,
    find_samples,
    harmonize,
    named,
    shown_name,
)
from gantlet.core.data import Source, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features, Metric, TrainMetric, metric_on
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, extractors, metrics, quote
from gantlet.data.splits import Concatenated, Subset, WithLabels, random_split
from gantlet.domains.cells import read_cells
from gantlet.domains.domains import Relearned, domain_of, missing_features
from gantlet.features.base import (
    FeatureCache,
    FeatureSet,
    block_of,
    digest_of,
    feature_set,
    subsample_indices,
)
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.run.execute import LruCache, Watch
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# One set, and some samples of one.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """A set, ready to be measured.

    Attributes:
        samples: The samples that are used.
        found: How many there were.
        note: What was done to them, in words, or nothing.
        rest: Those that were found and are not used, or None.
        groups: The groups that the user gave, shape ``(n,)``, or None.
        classes: The class of each sample, or None where that is not known.
        rest_classes: The class of each of the rest.
        whole: All samples that were found, or None where nobody asks.
        digested: What is known of samples, of this set and of others.
    """

    samples: NamedSamples
    found: int
    note: str = ""
    rest: Source | None = None
    groups: Tensor | None = None
    classes: ClassLabels | None = None
    rest_classes: ClassLabels | None = None
    whole: NamedSamples | None = None
    digested: KnownDigests = field(default_factory=KnownDigests, compare=False)

    @property
    def n(self) -> int:
        """How many samples are used."""
        return len(self.samples.source)

    @property
    def counted(self) -> str:
        """How many samples are used, and of how many where that is not all."""
        of = f" of {self.found:,}" if self.found != self.n else ""
        return f"{self.n:,}{of} samples"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePart:
    """Some samples of a set, or all.

    Attributes:
        whole: The set.
        places: Which of its samples, shape ``(n,)``, or None for all in their order.
    """

    whole: SampleSet
    places: Tensor | None = None

    @property
    def n(self) -> int:
        """How many samples there are."""
        return self.whole.n if self.places is None else len(self.places)

    @property
    def source(self) -> Source:
        """The samples."""
        source = self.whole.samples.source
        return source if self.places is None else Subset(source, self.places)

    @property
    def space(self) -> Space:
        """What one sample is."""
        return self.whole.samples.space

    @property
    def given_groups(self) -> Tensor | None:
        """The groups that the user gave, shape ``(n,)``, or None."""
        groups = self.whole.groups
        return groups if groups is None or self.places is None else groups[self.places]

    @property
    def classes(self) -> ClassLabels | None:
        """The class of each sample, or None where that is not known."""
        classes = self.whole.classes
        return classes if classes is None or self.places is None else classes.at(self.places)

    def digests(self) -> Tensor:
        """Returns a number for each sample, equal where samples are, shape ``(n,)``."""
        return self.whole.digested.of(self.source, self.space)

    def groups(self, others: Sequence[Tensor]) -> Tensor | None:
        """Returns which samples belong together, shape ``(n,)``; None where none do.

        Those that the user grouped, and those that are one sample twice.

        Args:
            others: The digests of sets that were drawn apart from this one.
        """
        return joined(self.given_groups, duplicates(self.digests(), others))


# ----------------------------------------------------------------------------
# All sets of an evaluation, each resolved once.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Code:
    """A code, and the places of the samples of the reference that it was learned from."""

    code: Relearned
    places: Tensor


# So many training samples are searched for copies at most.
_TRAINING = 50_000

# So many sets, and so many extractors, are held at a time.
_SETS, _EXTRACTORS = 64, 8

# All splits together: the training split is a part of the reference, and of its floor.
_ALL = "@all"
# Given as a training set, these are not the training split.
_OTHERS = ("@validation", "@test", _ALL)


@final
class EvaluationSets:
    """The sets of one evaluation: each is found, read and harmonized once, when it is asked for.

    One run, or one worker of a run, makes one of these and passes it on; what it holds goes with
    it, so that the next evaluation reads its files anew. Several threads may share it. A copy in
    another process holds nothing yet.

    Args:
        asked: What decides the sets.
        places: Where sets are now that were elsewhere when their words were written, by word.
            They keep their names.

    Attributes:
        searches: Nearest neighbours that were searched for, for whoever asks again.
        digested: Samples that were read to tell equal ones, likewise.
    """

    def __init__(self, asked: EvaluationSpec, places: Mapping[str, str] | None = None) -> None:
        self.asked = asked
        self._places = dict(places or {})
        self._data = RunData()
        self._reference = LruCache[None, SampleSet](1)
        self._others = LruCache[tuple[str, Role], SampleSet](_SETS)
        self._digests = LruCache[str, Tensor](_SETS)
        self._floors = LruCache[int, Floor | None](_SETS)
        self._codes = LruCache[None, _Code | None](1)
        self._extractors = LruCache[tuple[str, str], Features](_EXTRACTORS)
        self._fingerprints = LruCache[tuple[str, Role], str](_SETS)
        self._contents = LruCache[tuple[int, int], tuple[Source, str]](_SETS)
        self.searches = Searches()
        self.digested = KnownDigests()

    @override
    def __reduce__(self) -> tuple[type["EvaluationSets"], tuple[EvaluationSpec, dict[str, str]]]:
        """Pickles what decides the sets, not the samples."""
        return EvaluationSets, (self.asked, self._places)

    @property
    def real(self) -> SampleSet:
        """The reference."""
        return self._reference.get(None, self._real)

    @property
    def train(self) -> SampleSet | None:
        """What the models learned from, where it is known."""
        train = self.asked.train
        return None if train is None else self.other(train, "train")

    def fake(self, text: str) -> SampleSet:
        """Returns a set to judge, as samples of the space of the reference."""
        return self.other(text, "fake")

    def other(self, text: str, role: Role) -> SampleSet:
        """Returns another set, as samples of the space of the reference.

        Of fakes, of the training and of the control, which is of the role ``real``.

        Raises:
            UserError: If they cannot be found or compared with the reference.
        """
        return self._others.get((text, role), lambda: self._other(text, role))

    def whole(self, text: str) -> NamedSamples:
        """Returns all samples of a set in their order, as samples of the reference's space."""
        return harmonize(self._find(text, "fake"), self.real.samples)[0]

    def metric(self, text: str) -> Metric | TrainMetric:
        """Returns a metric in written form, for samples of the space of the reference.

        Raises:
            UserError: If it does not support them.
        """
        samples = self.real.samples
        return metric_on(metrics.make(text), samples.space, samples.code)

    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes of all sets, where samples have labels."""
        fakes = (self.fake(fake).classes for fake in self.asked.fakes)
        return all_classes(self.real.classes, *fakes)

    def sizes(self) -> list[int]:
        """Returns the sizes of the sets to judge, each once, in ascending order."""
        return sorted({self.fake(f).n for f in self.asked.fakes})

    def digests_of(self, fake: str | None) -> Tensor:
        """Returns a number for each sample of a set to judge, or of the reference if None.

        Equal where samples are; int64, shape ``(n,)``.
        """
        chosen = self.real if fake is None else self.fake(fake)
        # No path is empty.
        return self._digests.get(fake or "", SamplePart(whole=chosen).digests)

    def drawn_apart(self, *, from_fakes: bool) -> list[Tensor]:
        """Returns the digests of the sets that fakes, or real samples, were drawn apart from."""
        return [self.digests_of(f) for f in (self.asked.fakes if from_fakes else (None,))]

    def floor(self, n: int) -> "Floor | None":
        """Returns the noise floor for fakes of one size, or None: too few real samples.

        Taken from the first of these that holds enough: ``--control``; what ``--samples`` leaves
        of the reference; the other splits of a data set but the training split; the reference.

        Args:
            n: How many fakes there are.
        """
        return self._floors.get(n, lambda: _floor_of(self, n))

    def fair_part(self, fake: str) -> SamplePart:
        """Returns the fakes that are compared with the floor: as many as it has."""
        chosen = self.fake(fake)
        floor = self.floor(chosen.n)
        part = SamplePart(whole=chosen)
        if floor is None or floor.other.n == chosen.n:
            return part
        groups = part.groups(self.drawn_apart(from_fakes=False))
        order = _in_groups(groups, chosen.n, Rng(self.asked.seed).stream("thin/matched"))
        return SamplePart(whole=chosen, places=order[: floor.other.n].sort().values)

    def is_fair(self, fake: str) -> bool:
        """Returns whether all fakes meet the whole reference in the comparison with the floor."""
        floor = self.floor(self.fake(fake).n)
        return floor is None or (not floor.is_divided and self.fair_part(fake).places is None)

    def leaked(self) -> Tensor:
        """Returns which samples of the reference are training samples too, shape ``(n,)``."""
        real, train = self.real, self.train
        if train is None:
            return torch.zeros(real.n, dtype=torch.bool)
        ours, theirs = self.digests_of(None), SamplePart(whole=train).digests()
        shared = occurs(ours, theirs)
        return shared if is_by_descent(ours, theirs) else torch.zeros_like(shared)

    def recoded(self, samples: NamedSamples) -> NamedSamples:
        """Returns samples as extractors get them.

        Readers learn vocabularies and categories from the whole reference. Where a part of it is
        the noise floor, what that part holds would always be known, and what fakes hold not: so
        they are learned again, from the part that is the reference only.

        Args:
            samples: Of the space of the reference.
        """
        found = self._code()
        if found is None:
            return samples
        is_reference = samples.source is self.real.samples.source
        source = found.code.rewritten(samples.source, found.places if is_reference else None)
        return replace(samples, space=found.code.space, source=source, code=found.code.code)

    def known_splits(self) -> tuple[Splits, str]:
        """Returns the splits that extractors may learn from, and their description.

        The training set that was given; else the training split of a data set whose other splits
        are the reference; else the part of the reference that neither fakes nor floor are.
        """
        asked, train = self.asked, self.train
        chosen, text = (self.real, asked.real) if train is None else (train, asked.train or "")
        name = named(text)[0]
        splits = self._own_splits()
        if splits is not None:
            return splits, f"the training split of {name}"
        source = chosen.samples.source if train is not None else self._seen_by_all().source
        if len(source) < 10:
            raise UserError(f"{name} holds {len(source)} samples. At least 10 are needed.")
        rng = Rng(asked.data_seed)
        made = random_split(source, validation=0.1, test=0.1, limit=None, rng=rng)
        own = "" if train is not None else ", the reference itself"
        return made, f"{len(made.train)} samples of {name}{own}"

    def learns_from_reference(self, extractor: str) -> bool:
        """Returns whether an extractor learns from the samples that fakes are compared with."""
        asked = self.asked
        has_splits = self.real.samples.splits is not None and not asked.real.endswith(_ALL)
        return extractors.make(extractor).learns and asked.train is None and not has_splits

    def unlearned(self, extractor: str, n: int) -> SamplePart | None:
        """Returns real samples from which an extractor has learned no more than from fakes.

        Args:
            extractor: In written form.
            n: How many fakes there are.

        Returns:
            The reference. Where the extractor learns from it, the noise floor; None without one.
        """
        if not self.learns_from_reference(extractor):
            return SamplePart(whole=self.real)
        floor = self.floor(n)
        return None if floor is None else floor.other

    def has_classes(self) -> bool:
        """Returns whether a classifier can be trained on what is known of the real data."""
        labels = self.known_splits()[0].train.labels
        return labels is not None and bool((labels != labels[:1]).any())

    def extractor(self, name: str, device: str) -> Features:
        """Returns an extractor fitted to what is known of the real data.

        Args:
            name: In written form.
            device: Where it works.
        """

        def fitted() -> Features:
            rng = Rng(self.asked.data_seed, device)
            space = self.recoded(self.real.samples).space
            return extractors.make(name).fit(space, self._splits_to_fit(), rng=rng)

        return self._extractors.get((name, device), fitted)

    def advice(self, extractor: str) -> tuple[str, ...]:
        """Returns what to install for better features than those used; nothing where all is.

        Args:
            extractor: The main extractor that was used, in written form.
        """
        samples = self.real.samples
        advice = missing_features(samples.space, samples.code, extractor)
        return (f"{advice[0].upper()}{advice[1:]}.",) if advice else ()

    def features(
        self, chosen: SampleSet, extractor: str, watch: Watch, *, device: str, classes: bool
    ) -> FeatureSet:
        """Returns the features of a set, from the cache where they are there.

        Args:
            chosen: The set.
            extractor: In written form.
            watch: Is told how far it is.
            device: Where the extractor works.
            classes: Whether class probabilities are wanted too.
        """
        name, samples = extractor.partition(":")[0], self.recoded(chosen.samples)
        return feature_set(
            self.extractor(extractor, device),
            samples.source,
            block=block_of(samples.space),
            device=device,
            cache=FeatureCache.usual(),
            content=self.content(samples),
            classes=classes,
            tell=lambda share: watch(0.5 * share, f"{name} of {chosen.samples.name}"),
        )

    def content(self, samples: NamedSamples) -> str:
        """Returns a name for all samples of a set together, which are read once for it."""
        source, block = samples.source, block_of(samples.space)
        # The object is held, so that its number stays its own.
        read = self._contents.get((id(source), block), lambda: (source, digest_of(source, block)))
        return read[1]

    def fingerprint(self, text: str, role: Role) -> str:
        """Returns a short name for the samples that are used of a set."""

        def named_by_content() -> str:
            is_reference = role == "real" and text == self.asked.real
            samples = (self.real if is_reference else self.other(text, role)).samples
            return self.content(samples)[:12]

        return self._fingerprints.get((text, role), named_by_content)

    def notes(self) -> tuple[str, ...]:
        """Returns notes on what of the files was left out, converted or guessed: a clause each."""
        asked = self.asked
        texts: tuple[tuple[str | None, Role], ...] = (
            *((fake, "fake") for fake in asked.fakes),
            (asked.train, "train"),
            (asked.pairs, "fake"),
        )
        others = (self.other(text, role) for text, role in texts if text is not None)
        return tuple(dict.fromkeys(c.note for c in (self.real, *others) if c.note))

    def written(self) -> dict[str, object]:
        """Returns the settings of the sets as plain data, and fingerprints of their contents."""
        asked = self.asked
        prints = {f: self.fingerprint(f, "fake") for f in asked.fakes}
        prints[asked.real] = self.fingerprint(asked.real, "real")
        others = ((asked.train, "train"), (asked.pairs, "fake"), (asked.control, "real"))
        for text, role in others:
            if text is not None:
                prints[text] = self.fingerprint(text, cast("Role", role))
        stored = {k: list(v) if isinstance(v, tuple) else v for k, v in asked.stored().items()}
        return {**stored, "fingerprints": prints}

    def check(self, used: Sequence[str], device: str) -> None:
        """Finds all sets, and makes those of the extractors ready that learn nothing.

        Args:
            used: The extractors in written form.
            device: Where they work.

        Raises:
            UserError: If that cannot be done, or the sets make no sense.
        """
        asked = self.asked
        _check_names(asked)
        check_fits("--groups", asked.groups, list(self._all(with_train=True)))
        self._check_labels()
        _check_floor(self)
        for extractor in used:
            if not extractors.make(extractor).learns:
                self.extractor(extractor, device)

    def _all(self, *, with_train: bool) -> Iterator[tuple[str, str, NamedSamples]]:
        """Yields where each set is, what it is, and all its samples."""
        asked, train = self.asked, self.train
        sets = [(asked.real, "real", self.real)]
        sets += [(str(asked.train), "train", train)] if train is not None and with_train else []
        sets += [(fake, "fake", self.fake(fake)) for fake in asked.fakes]
        if asked.control is not None:
            sets.append((asked.control, "control", self.other(asked.control, "real")))
        for text, role, found in sets:
            yield text, role, found.whole or found.samples

    def _check_labels(self) -> None:
        """Refuses labels that allow no comparison of classes."""
        asked, real = self.asked, self.real.classes
        if not asked.labels:
            return
        check_fits("--labels", asked.labels, list(self._all(with_train=False)))
        name = named(asked.real)[0]
        if real is None:
            raise UserError(
                f"--labels: the real samples of {name} have no labels. Give them as real=WHAT: a "
                "column, an array of a .npz file, or a file with one label a line."
            )
        if len(real.names) < 2:
            raise UserError(
                f"--labels: all samples of {name} are of the class {''.join(real.names)!r}. At "
                "least two classes are needed."
            )
        for fake in asked.fakes:
            _check_shared(real, self.fake(fake).classes, name, named(fake)[0])

    def _real(self) -> SampleSet:
        samples = self._found(self.asked.real, "real")
        return self._chosen(self.asked.real, samples, "real", samples.note)

    def _other(self, text: str, role: Role) -> SampleSet:
        samples, note = harmonize(self._found(text, role), self.real.samples)
        return self._chosen(text, samples, role, note)

    def _seen_by_all(self) -> SamplePart:
        """Returns the part of the reference that no noise floor takes.

        An extractor may learn from it. One that had learned from real samples of the floor, but
        from no fakes, would favour them.
        """
        floor = self.floor(self.sizes()[-1]) if self.asked.divides else None
        return SamplePart(whole=self.real) if floor is None else floor.real

    def _own_splits(self) -> Splits | None:
        """Returns the splits of the data set that is known, or None where it has none to use."""
        asked, train = self.asked, self.train
        chosen, text = (self.real, asked.real) if train is None else (train, asked.train or "")
        unusable = text.endswith(_OTHERS if train is not None else _ALL)
        return None if unusable else chosen.samples.splits

    def _splits_to_fit(self) -> Splits:
        """Returns the samples that extractors may be fitted on."""
        splits, found = self.known_splits()[0], self._code()
        splits = replace(splits, code=self.recoded(self.real.samples).code)
        if found is None:
            return splits
        # Without another source they are the samples that the code was learned from.
        is_own = self.asked.train is None and self._own_splits() is None

        def again(source: Source) -> Source:
            return found.code.rewritten(source, torch.arange(len(source)) if is_own else None)

        train, validation, test = map(again, (splits.train, splits.validation, splits.test))
        return replace(splits, train=train, validation=validation, test=test)

    def _code(self) -> "_Code | None":
        """Returns the code of the part of the reference that no noise floor takes.

        None where that is all of it, or nothing is learned.
        """

        def learned() -> _Code | None:
            if not self.asked.divides or (places := self._seen_by_all().places) is None:
                return None
            samples = self.real.samples
            found = domain_of(samples.space).relearned(
                samples.code, samples.space, samples.source, places
            )
            return _Code(found, places) if found is not None and found.rewrites else None

        return self._codes.get(None, learned)

    def _find(self, text: str, role: Role) -> NamedSamples:
        """Returns all samples that a word means, as they are in their files."""
        asked = self.asked
        found = find_samples(
            self._places.get(text, text),
            role,
            data_seed=asked.data_seed,
            skip_bad=asked.skip_bad,
            data=self._data,
        )
        return replace(found, name=shown_name(text)) if text in self._places else found

    def _found(self, text: str, role: Role) -> NamedSamples:
        """Returns the samples of a set; columns of groups and of labels are no part of them."""
        name, where = named(text)
        columns = columns_of((*self.asked.groups, *self.asked.labels), text, role)
        if not columns:
            return self._find(text, role)
        spec = Spec.parse(where) if ":path=" in where else Spec("table", {"path": where})
        apart = str(Spec(spec.name, {**spec.options, **_without(columns, spec)}))
        called = Path(where).name if name == where and ":path=" not in where else name
        return replace(self._find(apart, role), name=called)

    def _chosen(self, text: str, samples: NamedSamples, role: Role, note: str = "") -> SampleSet:
        """Returns a set, thinned to as many samples as are wanted."""
        asked = self.asked
        most = _TRAINING if role == "train" and asked.samples is not None else asked.samples
        n = len(samples.source)
        if n == 0:
            raise UserError(f"{samples.name} holds no samples.")
        kind = "control" if role == "real" and text != asked.real else role
        groups = read_groups(asked.groups, text, kind, n) if asked.groups else None
        classes = None
        if asked.labels and role != "train":
            classes = read_classes(asked.labels, text, kind, samples)
            # Extractors of classes learn from what the user calls the classes.
            if classes is not None and samples.source.labels is None:
                source = WithLabels(samples.source, classes.codes)
                samples = replace(samples, source=source)
        if most is None or n <= most:
            return SampleSet(
                samples=samples,
                found=n,
                note=note,
                groups=groups,
                classes=classes,
                whole=samples,
                digested=self.digested,
            )
        kept = subsample_indices(n, most, rng=Rng(asked.seed).stream(f"thin/{kind}"))
        left = torch.ones(n, dtype=torch.bool).index_fill(0, kept, value=False)
        return SampleSet(
            samples=replace(samples, source=Subset(samples.source, kept)),
            found=n,
            note=note,
            rest=Subset(samples.source, left.nonzero()[:, 0]),
            groups=None if groups is None else groups[kept],
            classes=None if classes is None else classes.at(kept),
            rest_classes=None if classes is None else classes.at(left.nonzero()[:, 0]),
            whole=samples,
            digested=self.digested,
        )


def _without(columns: Sequence[str], spec: Spec) -> dict[str, str]:
    """Returns the options of a table that leave out columns."""
    if len(columns) == 1:
        return {"label": columns[0]}
    known = read_cells(Path(spec.options["path"]).expanduser()).names
    kept = spec.options.get("columns", "+".join(known)).split("+")
    return {"columns": "+".join(quote(c, "+") for c in kept if c not in columns)}


def _check_shared(real: ClassLabels, fake: ClassLabels | None, name: str, other: str) -> None:
    """Refuses fakes none of whose classes the real samples have."""
    if fake is None or not set(real.names).isdisjoint(fake.names):
        return
    ours, theirs = (", ".join(map(repr, c.names[:4])) for c in (real, fake))
    raise UserError(
        f"--labels: no class of {other} ({theirs}) is one of {name} ({ours}). Give both the same "
        "names or numbers."
    )


def _check_names(asked: EvaluationSpec) -> None:
    """Refuses sets that cannot be told apart by their names, and too few samples."""
    if not asked.fakes:
        raise UserError("Name samples to judge: a folder, a file, RUN@MODEL or a data set.")
    if len(set(asked.fakes)) < len(asked.fakes):
        raise UserError("The same samples were named twice.")
    names = [named(fake)[0] for fake in asked.fakes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two sets are called {name!r}. Give each a name: NAME=WHERE.")
    if asked.samples is not None and asked.samples < 2:
        raise UserError(f"--samples must be at least 2. Got {asked.samples}.")


# ----------------------------------------------------------------------------
# The noise floor: held-out real samples in the place of fakes, of the same number.
#
# Three roles that share no sample: the reference, which all are judged against; the fakes; and the
# floor, real samples that are neither in the reference nor in the training set. Fakes and floor
# are of one size and are judged against the very same reference, so that whatever a metric owes to
# the number of samples is the same for both, and samples as good as real ones cannot be
# distinguished from the floor but by chance.
# ----------------------------------------------------------------------------

FLOOR = "real against real"
"""What the noise floor is called."""

LEAST = 10
"""With fewer real samples than this there is no floor."""

# Sets that share more than this with the training set or with fakes share it by descent; what is
# less may be chance, as in tables with few different rows.
_SHARED = 0.05


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The sets of a fair comparison with real data.

    Attributes:
        real: The reference: the whole of it, or what the floor leaves of it.
        other: The real samples that take the place of the fakes.
        words: What the floor is, in words.
    """

    real: SamplePart
    other: SamplePart
    words: str

    @property
    def is_divided(self) -> bool:
        """Whether the floor was taken from the reference."""
        return self.real.places is not None


def _floor_of(sets: EvaluationSets, n: int) -> Floor | None:
    """Returns the noise floor for ``n`` fakes; see ``EvaluationSets.floor``."""
    if n < LEAST:
        return None
    real = sets.real
    for held, words, least in _outside(sets, real, n):
        other = _drawn(sets, real, held, n)
        if other is not None and other.n >= least:
            summary = f"{other.n:,} {words}, against the same {real.n:,} real samples as the fakes"
            return Floor(real=SamplePart(whole=real), other=SamplePart(whole=other), words=summary)
    return _divided(sets, real, n)


def why_none(sets: EvaluationSets, n: int) -> str:
    """Returns why there is no floor for fakes of one size, and what to do."""
    if n < LEAST:
        return (
            f"{n} samples are too few for a comparison with real data; at least {LEAST} are needed"
        )
    real = sets.real
    if real.n >= 2 * LEAST:
        return (
            "all real samples are training samples too, so that none is left for a noise floor: "
            "give held-out ones as --against, or as --control"
        )
    return (
        f"{real.n} real samples are too few to be divided for a noise floor: give {2 * LEAST}, or "
        "others as --control"
    )


def _outside(
    sets: EvaluationSets, real: SampleSet, n: int
) -> Iterator[tuple[SampleSet, str, int]]:
    """Yields sets of real samples that are not in the reference, and how many they must hold."""
    if sets.asked.control is not None:
        yield sets.other(sets.asked.control, "real"), f"samples of {sets.asked.control}", LEAST
        return
    enough = max(LEAST, min(n, real.n // 2))
    if real.rest is not None:
        rest = replace(_of(real, real.rest), classes=real.rest_classes)
        yield rest, "samples of the reference that --samples left out", enough
    splits, (_, _, split) = real.samples.splits, sets.asked.real.rpartition("@")
    if splits is not None and split != "all":
        names = [s for s in ("validation", "test") if s != (split if split in _SPLITS else "test")]
        source = Concatenated(*(getattr(splits, name) for name in names))
        yield _of(real, source), f"samples of the {' and '.join(names)} split", enough


_SPLITS = ("train", "validation", "test")


def _drawn(sets: EvaluationSets, real: SampleSet, held: SampleSet, n: int) -> SampleSet | None:
    """Returns at most ``n`` samples of a set that are neither trained on nor judged."""
    rng = Rng(sets.asked.seed).stream("thin/floor")
    kept = subsample_indices(held.n, n, rng=rng)
    source: Source = Subset(held.samples.source, kept)
    if bool(_known(sets, source).any()):
        known = _known(sets, held.samples.source)
        free = (~known).nonzero()[:, 0]
        if not len(free):
            return None
        kept = free[subsample_indices(len(free), n, rng=rng)]
        source = Subset(held.samples.source, kept)
    apart = [sets.digests_of(None), *sets.drawn_apart(from_fakes=True)]
    distinct = one_of_each(
        duplicates(sets.digested.of(source, real.samples.space), apart), len(kept)
    )
    kept = kept[distinct]
    source = Subset(held.samples.source, kept)
    part = SamplePart(whole=held, places=kept)
    found = _of(real, source)
    return replace(found, groups=part.given_groups, classes=part.classes, found=held.n)


def _known(sets: EvaluationSets, source: Source) -> Tensor:
    """Returns which samples are in the training set or are fakes, by more than chance."""
    space = sets.real.samples.space
    ours = sets.digested.of(source, space)
    found = torch.zeros(len(ours), dtype=torch.bool)
    train = sets.train
    others = [sets.fake(f) for f in sets.asked.fakes]
    for other in [*([] if train is None else [train]), *others]:
        theirs = sets.digested.of(other.samples.source, space)
        shared = occurs(ours, theirs)
        if float(shared.double().mean()) > _SHARED and is_by_descent(ours, theirs):
            found |= shared
    return found


def _divided(sets: EvaluationSets, real: SampleSet, n: int) -> Floor | None:
    """Returns two parts of the reference; groups stay together, training samples in the first."""
    trained = sets.leaked()
    if float(trained.double().mean()) <= _SHARED:
        trained = torch.zeros_like(trained)
    apart = sets.drawn_apart(from_fakes=True)
    distinct = one_of_each(duplicates(sets.digests_of(None), apart), real.n)
    size = min(n, len(distinct) // 2, int((~trained[distinct]).sum()))
    if size < LEAST:
        return None
    groups = SamplePart(whole=real).groups(apart)
    if groups is not None and bool(trained.any()):
        # A group with a training sample is known to the models.
        trained = torch.isin(groups, groups[trained])
    order = _in_groups(groups, real.n, Rng(sets.asked.seed).stream("thin/floor"))
    # Of a sample that is there twice one is enough: fakes are not there twice.
    order = order[torch.isin(order, distinct)]
    order = torch.cat([order[~trained[order]], order[trained[order]]])
    other, rest = order[:size], order[size:]
    if groups is not None:
        rest = rest[~torch.isin(groups[rest], groups[other])]
    if bool(trained[other].any()) or len(rest) < LEAST:
        return None
    parts = [SamplePart(whole=real, places=p.sort().values) for p in (rest, other)]
    words = (
        f"{size:,} samples of the reference, and as many fakes, both against {len(rest):,} others "
        "of the reference"
    )
    return Floor(real=parts[0], other=parts[1], words=words)


def _in_groups(groups: Tensor | None, n: int, rng: torch.Generator) -> Tensor:
    """Returns a random order of ``n`` samples in which those of a group follow one another."""
    if groups is None:
        return torch.randperm(n, generator=rng)
    places = torch.randperm(int(groups.max()) + 1, generator=rng)
    return places[groups].argsort(stable=True)


def _of(real: SampleSet, source: Source) -> SampleSet:
    samples = replace(real.samples, source=source)
    return SampleSet(samples=samples, found=len(source), digested=real.digested)


def _check_floor(sets: EvaluationSets) -> None:
    """Refuses a control that cannot be one.

    Raises:
        UserError: If it holds too few samples, or is the reference or what was trained on.
    """
    text = sets.asked.control
    if text is None:
        return
    control = sets.other(text, "real")
    if control.n < LEAST:
        raise UserError(
            f"--control {text} holds {control.n} samples. At least {LEAST} are needed."
        )
    space, digested = control.samples.space, sets.digested
    ours = digested.of(control.samples.source, space)
    reference = occurs(ours, digested.of(sets.real.samples.source, space))
    for shared, what in (
        (reference, "the reference"),
        (_known(sets, control.samples.source), ""),
    ):
        share = float(shared.double().mean())
        if share > _SHARED:
            which = what or "the training set or the sets that are judged"
            raise UserError(
                f"--control {text}: {int(shared.sum())} of {control.n} samples are in "
                f"{which} too. Give real samples that nothing else has seen."
            )
