"""The contract of a kind of sample, and the registry of kinds."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.core.data import Code, OwnFile, Source, Space
from gantlet.core.errors import unknown
from gantlet.core.metric import SpaceMetric
from gantlet.core.spec import Registry, entry_points_of, metrics
from gantlet.domains.attributes import Attribute, AttributeTable
from gantlet.domains.corruptions import Cause

_GROUP = "gantlet.domains"

_OWN = {
    "graph": "gantlet.domains.graphs:GraphDomain",
    "walk": "gantlet.domains.networks:WalkDomain",
    "audio": "gantlet.domains.audio:AudioDomain",
    "tokens": "gantlet.domains.text:TextDomain",
    "vector": "gantlet.domains.vectors:VectorDomain",
    "table": "gantlet.domains.tables:TableDomain",
    "image": "gantlet.domains.images:ImageDomain",
}
"""The built-in kinds, in the order in which they are asked whether a file is theirs."""

# Vectors and tables with more columns have no attributes.
_COLUMNS = 64

Change = Callable[[Tensor], Tensor]
"""Returns changed samples, shape ``(n, *shape)``, each by itself."""

Writer = Callable[[Path, Tensor], None]
"""Writes samples, shape ``(n, *space.shape)``, to a file, whatever its name ends in."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Relearned:
    """A code that was learned from some samples, and what writes all others in it.

    Attributes:
        code: The code.
        space: What one sample is in it.
        write: Rewrites samples of the original code.
        write_own: Rewrites the samples that it was learned from, each as if it had not been one
            of them: what it alone holds is as unknown as it would be in a fresh sample.
        rewrites: Whether samples become others: where all are plain numbers only what is known of
            them changes.
    """

    code: Code
    space: Space
    write: Change
    write_own: Change
    rewrites: bool = True

    def rewritten(self, source: Source, own: Tensor | None = None) -> Source:
        """Returns samples of the original code in this one.

        Args:
            source: The samples.
            own: The places of those that it was learned from, or None where none is among them.
        """
        return _Rewritten(source, self, own)


@final
class _Rewritten:
    """Samples written in a code that was learned again."""

    def __init__(self, source: Source, code: Relearned, own: Tensor | None) -> None:
        self._source, self._code = source, code
        self._own = torch.zeros(len(source), dtype=torch.bool)
        if own is not None:
            self._own[own] = True

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where there is none."""
        return self._source.labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._source)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``."""
        x, own = self._source.take(index), self._own[index]
        found = self._code.write(x)
        if bool(own.any()):
            found[own] = self._code.write_own(x[own])
        return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """How samples of one shape become samples of another without loss.

    Attributes:
        change: Converts them.
        note: What is to be said of it, as a predicate: "is grey and was repeated in three
            channels"; empty where nothing is.
    """

    change: Change
    note: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """A trained network that a package brings.

    Attributes:
        extractor: The extractor in written form.
        seen: What it was trained on, in words.
        is_installed: Whether all that it needs is installed.
        command: The command that installs it.
    """

    extractor: str
    seen: str
    is_installed: bool
    command: str


class Domain(ABC):
    """A kind of sample, under the name that ``Space.kind`` has for it.

    Everything that depends on what a sample stands for is asked of its domain, so that a kind is
    one module and one line that registers it: in the table above, or in a plug-in under the entry
    points ``gantlet.domains``. All but the attributes has a default that suits plain numbers.

    Attributes:
        endings: How the names of files end that the domain reads, for messages.
        metrics: Metrics that are worth computing for this kind beside the usual ones.
        models: The line-up of a comparison that names no model: a trivial baseline, one or more
            that maximise likelihood, then adversarial ones; each as name or name:key=value.
        probes: What is measured on the models of the line-up themselves, beside the usual.
        trade_off: A metric of the quality of samples and one of how much of the data they cover,
            between which models are compared at matched quality.
        shown: How many samples a picture shows, 10 or more.
        is_metric: Whether distances between samples as plain numbers mean something, as those of
            tokens, nodes and columns in units of their own do not.
        is_ranged: Whether continuous samples lie in one of the usual ranges of pixels, so that
            sets with different ranges were scaled differently.
        is_spatial: Whether shapes are ``(channels, height, width)``, so that averages of samples
            and their spectra can be shown.
    """

    endings: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()
    probes: ClassVar[tuple[str, ...]] = ()
    trade_off: ClassVar[tuple[str, str]] = ("precision", "recall")
    shown: ClassVar[int] = 16
    is_metric: ClassVar[bool] = True
    is_ranged: ClassVar[bool] = False
    is_spatial: ClassVar[bool] = False

    @abstractmethod
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns named measurements of samples.

        Args:
            space: What one sample is.
            x: The samples, shape ``(n, *space.shape)``.
            code: What the numbers of a sample stand for, where they are not plain numbers.
        """

    def reader(self, path: Path, *, skip_bad: int = 0) -> OwnFile | None:
        """Returns the data set that reads a file or a folder, or None where it is another kind's.

        A kind that reads folders should recognize them by the files in them.

        Args:
            path: The file or folder, which exists.
            skip_bad: How many files of a folder that cannot be read may be left out.
        """
        del path, skip_bad
        return None

    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Returns the default feature extractors in written form, the main one first.

        They need nothing but Gantlet.

        Args:
            code: What the numbers of a sample stand for, where they are not plain numbers.
            labelled: Whether the real samples have classes that a classifier can learn.
        """
        del code, labelled
        return ("pixels",)

    def packaged(self, space: Space, code: Code | None) -> "Packaged | None":
        """Returns the trained network that suits the samples, or None where there is none.

        Args:
            space: What one sample is.
            code: What the numbers of a sample stand for, where they are not plain numbers.
        """
        del space, code
        return None

    def depends_on_set(self, code: Code | None) -> bool:
        """Returns whether attributes of a sample depend on the other samples of its set."""
        del code
        return False

    def relearned(
        self, code: Code | None, space: Space, source: Source, places: Tensor
    ) -> Relearned | None:
        """Returns the code learned from some samples only, or None where nothing is learned.

        Readers learn vocabularies, categories and ranges from all real samples. Those that a test
        then judges are never unknown, while fakes from the same distribution may be: a flaw that
        does not exist. So the code is learned again from samples that are not judged.

        Args:
            code: That of the reader, or None where there is none.
            space: What one sample is in it.
            source: All real samples.
            places: Those to learn from, shape ``(m,)``.
        """
        del code, space, source, places
        return None

    def causes(self, space: Space) -> Sequence[Cause]:
        """Returns corruptions that may explain flaws, for samples scaled to [0, 1]."""
        del space
        return ()

    def adapted(self, space: Space, wanted: Space) -> Adapted | None:
        """Returns the conversion of samples of one shape to another, or None if there is none.

        Args:
            space: What a sample is.
            wanted: What it should become; of this kind too, and of another shape.
        """
        del space, wanted
        return None

    def picture(self, space: Space, x: Tensor) -> bytes | None:
        """Returns the first samples as a PNG file, or None where there is nothing to see."""
        del space, x
        return None

    def sounds(self, space: Space, x: Tensor, code: Code | None) -> Sequence[bytes]:
        """Returns the first samples as wav files, where they are something to hear.

        Args:
            space: What one sample is.
            x: The samples, shape ``(n, *space.shape)``.
            code: What the numbers of a sample stand for, where they are not plain numbers.
        """
        del space, x, code
        return ()

    def writers(self, space: Space, code: Code | None) -> Mapping[str, Writer]:
        """Returns the writers of the file formats of this kind of sample, by file extension.

        Arrays (``.npz``, ``.npy``, ``.safetensors``) and pictures (``.png``) need none.
        """
        del space, code
        return {}

    def exports(self, code: Code | None) -> Mapping[str, Writer]:
        """Returns the writers of what samples together stand for, by file extension.

        Such as the one network that many walks add up to. Samples cannot be read from it again.

        Args:
            code: What the numbers of a sample stand for, where it is known.
        """
        del code
        return {}


_plugins: "Registry[Domain]" = Registry("kind of sample", _GROUP)


def domain_of(space: Space) -> Domain:
    """Returns the domain of the samples of a space.

    Raises:
        UserError: If its kind is not known: a plug-in is missing.
    """
    return _domain(space.kind)


def domains() -> Iterator[Domain]:
    """Yields every kind of sample, those of plug-ins first."""
    for kind in (*_plugins.names(), *_OWN):
        yield _domain(kind)


def metrics_of_one_kind() -> frozenset[str]:
    """Returns the metrics of some kinds of samples alone, as text, tables and series, by name.

    Those of kinds whose samples are not quantities, and those that must know what samples are.
    Studies of all metrics on vectors and images leave them out.
    """
    own = (d for d in domains() if not d.is_metric)
    by_default = (m.partition(":")[0] for d in own for m in d.metrics)
    knowing = (m for m in metrics.names() if issubclass(metrics.load(m), SpaceMetric))
    return frozenset((*by_default, *knowing))


def _domain(kind: str) -> Domain:
    if kind in entry_points_of(_GROUP):
        return _plugins.load(kind)()
    if kind in _OWN:
        found: type[Domain] = EntryPoint(kind, _OWN[kind], _GROUP).load()
        return found()
    raise unknown("kind of sample", kind, [*_plugins.names(), *_OWN])


def reader_of(path: Path, *, skip_bad: int = 0) -> OwnFile | None:
    """Returns the data set that reads a file or a folder, or None where no kind recognizes it.

    Args:
        path: The file or folder, which exists.
        skip_bad: How many files of a folder that cannot be read may be left out.
    """
    return next(filter(None, (d.reader(path, skip_bad=skip_bad) for d in domains())), None)


def attributes_of(
    space: Space, x: Tensor, probabilities: Tensor | None = None, code: Code | None = None
) -> AttributeTable:
    """Returns the attributes of samples, shape ``(n, *space.shape)``.

    Args:
        space: What one sample is.
        x: The samples.
        probabilities: Class probabilities, shape ``(n, classes)``: each is an attribute too.
        code: What the numbers of a sample stand for, where they are not plain numbers.
    """
    found = domain_of(space).attributes(space, x, code)
    return found if probabilities is None else found.with_more(_classes(probabilities.double()))


def default_features(space: Space, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
    """Returns the extractors for distances, in written form, the main one first.

    A trained network where one suits the samples and is installed, then those of the domain.

    Args:
        space: What one sample is.
        code: What the numbers of a sample stand for, where they are not plain numbers.
        labelled: Whether the real samples have classes that a classifier can learn.
    """
    domain = domain_of(space)
    found, own = domain.packaged(space, code), domain.features(code, labelled=labelled)
    return (found.extractor, *own) if found is not None and found.is_installed else own


def missing_features(space: Space, code: Code | None, extractor: str) -> str:
    """Returns what to install for better features than those used, a clause; or nothing.

    Args:
        space: What one sample is.
        code: What the numbers of a sample stand for, where they are not plain numbers.
        extractor: The main extractor that was used, in written form.
    """
    domain = domain_of(space)
    found, used = domain.packaged(space, code), extractor.partition(":")[0]
    own = {domain.features(code, labelled=labelled)[0] for labelled in (True, False)}
    if found is None or found.is_installed or used not in own:
        return ""
    return (
        f"distances are better measured on features of a network trained on {found.seen}, "
        f"{found.extractor}, which is not installed; to use it: {found.command}"
    )


def adapted_to(space: Space, wanted: Space) -> Adapted | None:
    """Returns the conversion of samples to those of another space, or None if there is none.

    Plain rows of numbers have no kind of their own: they are of the kind that is wanted. Nor has a
    stack of matrices, which is read as images of one channel.

    Args:
        space: What a sample is.
        wanted: What it should become; of another shape.
    """
    if space.kind == "image" != wanted.kind and space.shape == (1, *wanted.shape):
        return Adapted(change=lambda x: x[:, 0])
    is_plain = space.kind == "vector" and len(space.shape) == len(wanted.shape)
    known = replace(wanted, shape=space.shape) if is_plain else space
    return domain_of(known).adapted(known, wanted) if known.kind == wanted.kind else None


def columns(space: Space, x: Tensor) -> AttributeTable:
    """Returns each component of samples as an attribute; none where there are more than 64."""
    values = space.unit(x).flatten(1).double()
    if values.shape[1] > _COLUMNS:
        return AttributeTable(words=(), values=values[:, :0])
    return AttributeTable(words=tuple(map(_column, range(values.shape[1]))), values=values)


def lengthened(space: Space, wanted: Space) -> Adapted | None:
    """Returns samples with zeros at the end, as sequences have; None where they are too long."""
    if space.levels != wanted.levels or space.size >= wanted.size:
        return None
    room = wanted.size - space.size
    return Adapted(change=lambda x: pad(x, (0, room)))


def ending(path: Path) -> str:
    """Returns the lower-case extension of a file name, with that of a compressed file's content.

    Example:
        >>> ending(Path("a/b.v2.CSV.gz")), ending(Path("b.npz"))
        ('.csv.gz', '.npz')
    """
    return "".join(path.suffixes[-2:]).lower() if path.suffix == ".gz" else path.suffix.lower()


def _column(i: int) -> Attribute:
    name = f"column {i}"
    return Attribute(name=name, less=f"{name} too low", more=f"{name} too high", topic=name)


def _classes(p: Tensor) -> AttributeTable:
    words = (
        Attribute(
            name=f"share of class {k}",
            less=f"class {k} missing or too rare",
            more=f"class {k} over-represented",
            topic=f"class {k}",
            label=k,
        )
        for k in range(p.shape[1])
    )
    return AttributeTable(words=tuple(words), values=p)
