"""The settings of a trial as typed fields with their written form, and the data of a run."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    final,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Trial
from gantlet.core.metric import Features
from gantlet.core.model import Family, FittedFamily, Game, Toy
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors
from gantlet.features.base import block_of, subsample_indices
from gantlet.report.json import read_as
from gantlet.run.execute import LruCache

# ----------------------------------------------------------------------------
# Settings and their written form.
# ----------------------------------------------------------------------------


class TrialParts(ABC):
    """Base of settings that several kinds of trials share, each with several parts."""

    __slots__ = ()

    @abstractmethod
    def parts(self) -> dict[str, str]:
        """Returns the settings as parts of a trial."""

    @classmethod
    @abstractmethod
    def of(cls, parts: Mapping[str, str]) -> Self:
        """Reads the parts of a trial."""


@runtime_checkable
class Stored(Protocol):
    """Settings that run folders keep under other names than those of their fields."""

    def stored(self) -> Mapping[str, object]:
        """Returns the settings as plain data."""
        ...

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Returns the settings that ``stored`` wrote."""
        ...


class TypedTrial:
    """Base of the frozen dataclasses that hold the settings of a trial.

    The written form is a ``Trial``. A field named ``seed`` or ``budget`` is that of the trial;
    ``TrialParts`` add parts of their own; every other field is one part under its own name, or
    under the name ``PARTS`` gives it: text as it is, whole numbers in digits, ``Stored`` settings
    and anything else as JSON. The key of a trial is a hash of these parts, so that none may ever
    be renamed: runs of earlier versions would not resume.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Doubling(TypedTrial):
        ...     n: int
        ...     shares: tuple[float, ...]
        ...     seed: int = 0
        >>> written = Doubling(n=3, shares=(0.5, 1.0), seed=7).written()
        >>> written.parts, written.seed
        ({'n': '3', 'shares': '[0.5, 1.0]'}, 7)
        >>> Doubling.of(written)
        Doubling(n=3, shares=(0.5, 1.0), seed=7)
    """

    __slots__ = ()
    PARTS: ClassVar[Mapping[str, str]] = {}
    """Names of parts that differ from the names of their fields, by field."""

    def written(self) -> Trial:
        """Returns the trial as plain data."""
        parts: dict[str, str] = {}
        given: dict[str, Any] = {}
        for name in _kinds(type(self)):
            value = getattr(self, name)
            if name in ("seed", "budget"):
                given[name] = value
            elif isinstance(value, TrialParts):
                parts |= value.parts()
            else:
                parts[self.PARTS.get(name, name)] = _text(value)
        return Trial(parts=parts, **given)

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Reads the written form; other parts are ignored, missing ones take their defaults.

        Raises:
            UserError: If a part without default is missing.
        """
        given: dict[str, Any] = {}
        for name, kind in _kinds(cls).items():
            part = cls.PARTS.get(name, name)
            if name in ("seed", "budget"):
                given[name] = getattr(trial, name)
            elif isinstance(kind, type) and issubclass(kind, TrialParts):
                given[name] = kind.of(trial.parts)
            elif part in trial.parts:
                given[name] = _value(kind, trial.parts[part])
            elif _required(cls)[name]:
                raise UserError(
                    f"The trial {trial.key} has no {part!r}: another version of Gantlet, or "
                    "another command, wrote it. Run it again with this version."
                )
        return cls(**given)


def _kinds(cls: Any) -> Mapping[str, Any]:
    """Returns the type of each field, by name."""
    kinds = get_type_hints(cls)
    return {name: kinds[name] for name in _required(cls)}


def _required(cls: Any) -> Mapping[str, bool]:
    """Returns whether a field has no default, by name."""
    return {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(cls)}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Stored):
        return json.dumps(value.stored())
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain)


def _value(kind: Any, text: str) -> Any:
    if kind is str or get_origin(kind) is Literal:
        return text
    raw = json.loads(text)
    if isinstance(kind, type) and issubclass(kind, Stored):
        return kind.of_stored(raw)
    return read_as(kind, raw)


# ----------------------------------------------------------------------------
# What all trials of a run share: the data set's splits, and the extractors fitted to it.
# ----------------------------------------------------------------------------

# How many samples of each split tell what a data set holds.
_TELLING = 256

# So many data sets, and so many extractors, are held at a time.
_LOADED, _FITTED_EXTRACTORS = 4, 8

# So many sets of training samples, of so many at most.
_TRAINING, MOST_TRAINING = 4, 10_000

# So many models that a run names.
_MADE = 32


class OnData(Protocol):
    """A trial that says which data set it is about."""

    @property
    def data(self) -> str:
        """The data set in written form."""
        ...

    @property
    def data_seed(self) -> int:
        """Seed of the train/validation/test split."""
        ...


@final
class RunData:
    """The data sets of a run, each loaded once, and the extractors fitted to them.

    One run, or one worker of a run, makes one of these and passes it on; what it holds goes with
    it, so that the next run reads its files anew. Several threads may share it. A copy in another
    process holds nothing yet but the games that were given.

    Args:
        live: Games that were given as objects, by the hash of their content.
    """

    def __init__(self, live: Mapping[str, Game] = MappingProxyType({})) -> None:
        self.live = live
        self._made = LruCache[str, Family | FittedFamily | Toy](_MADE)
        self._loaded = LruCache[tuple[str, int], tuple[Space, Splits]](_LOADED)
        self._fitted = LruCache[tuple[str, int, str, str], Features](_FITTED_EXTRACTORS)
        self._training = LruCache[tuple[str, int, str, str], Tensor](_TRAINING)

    @override
    def __reduce__(self) -> tuple[type["RunData"], tuple[dict[str, Game]]]:
        """Pickles no data."""
        return RunData, (dict(self.live),)

    def made(
        self, model: str, make: Callable[[], Family | FittedFamily | Toy]
    ) -> Family | FittedFamily | Toy:
        """Returns what a written form of a model means, made once."""
        return self._made.get(model, make)

    def load(self, data: str, seed: int) -> tuple[Space, Splits]:
        """Returns a data set's space and splits.

        Args:
            data: The data set in written form.
            seed: Seed of the train/validation/test split.
        """
        return self._loaded.get((data, seed), lambda: load(data, seed))

    def of(self, trial: OnData) -> tuple[Space, Splits]:
        """Returns the space and splits of a trial's data."""
        return self.load(trial.data, trial.data_seed)

    def features(self, data: str, seed: int, extractor: str, device: str) -> Features:
        """Returns an extractor fitted to a data set.

        Args:
            data: The data set in written form.
            seed: Seed of the split and of the fit.
            extractor: In written form.
            device: Where it works.
        """

        def fitted() -> Features:
            space, splits = self.load(data, seed)
            return extractors.make(extractor).fit(space, splits, rng=Rng(seed, device))

        return self._fitted.get((data, seed, extractor, device), fitted)

    def training_places(self, data: str, seed: int) -> Tensor:
        """Returns the places of the training samples that samples are held against, sorted.

        All of them, or ``MOST_TRAINING`` drawn at random.
        """
        _, splits = self.load(data, seed)
        rng = Rng(seed).stream("training samples")
        return subsample_indices(len(splits.train), MOST_TRAINING, rng=rng)

    def training_features(self, data: str, seed: int, extractor: str, device: str) -> Tensor:
        """Returns the features of those training samples, extracted once, shape ``(t, d)``."""

        def extracted() -> Tensor:
            space, splits = self.load(data, seed)
            fitted = self.features(data, seed, extractor, device)
            parts = torch.split(self.training_places(data, seed), block_of(space))
            return torch.cat([fitted.extract(splits.train.take(p).to(device)) for p in parts])

        return self._training.get((data, seed, extractor, device), extracted)

    def fingerprint(self, data: str, seed: int) -> str:
        """Returns a short name for what a data set holds.

        Other files under the same path have another one, told by the sizes and the first 256
        samples of the splits; so that a run does not go on with other data than it began with.
        """
        space, splits = self.load(data, seed)
        digest = blake2b(f"{space.label}; {splits.note}".encode(), digest_size=6)
        for split in (splits.train, splits.validation, splits.test):
            digest.update(all_samples(split, _TELLING).numpy().tobytes())
        return digest.hexdigest()


def space_of(data: str) -> Space:
    """Returns the space of a data set in written form, which needs no splits."""
    return datasets.make(data).space


def load(data: str, seed: int) -> tuple[Space, Splits]:
    """Returns a data set's space and splits, read now; a run asks its ``RunData``.

    Args:
        data: The data set in written form.
        seed: Seed of the train/validation/test split.
    """
    dataset = datasets.make(data)
    return dataset.space, dataset.load(rng=Rng(seed))
