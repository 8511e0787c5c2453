"""The settings of a trial as typed fields, and their written form in the run folder."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, ClassVar, Literal, Self, get_origin, get_type_hints

from gantlet.core.errors import UserError
from gantlet.core.estimate import Trial
from gantlet.report.json import read_as


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


class TypedTrial:
    """Base of the frozen dataclasses that hold the settings of a trial.

    The written form is a ``Trial``. A field named ``seed`` or ``budget`` is that of the trial;
    ``TrialParts`` add parts of their own; every other field is one part under its own name, or
    under the name ``PARTS`` gives it: text as it is, whole numbers in digits, anything else as
    JSON. The key of a trial is a hash of these parts, so that none may ever be renamed: runs of
    earlier versions would not resume.

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
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain)


def _value(kind: Any, text: str) -> Any:
    return text if kind is str or get_origin(kind) is Literal else read_as(kind, json.loads(text))
