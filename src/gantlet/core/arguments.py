"""Validation of arguments against their annotations.

Ranges are given as ``Annotated[int, Between(1, 100)]``, choices as ``Literal``. Strings, lists of
names and paths are also checked for values that no component or file can have.
"""

import dataclasses
import inspect
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Between, solvers

P = ParamSpec("P")
R = TypeVar("R")

_MOST_NAMES = 1000
_NAME, _PATH = 255, 4096  # bytes


def check_value(name: str, value: Any, hint: Any) -> Any:
    """Validates an argument and converts it to the type of its annotation.

    Integers of any library become ``int``, numbers ``float``, lists of names tuples. Annotations
    without known type or range, such as those of user objects, are not checked.

    Raises:
        TypeError: If it has the wrong type.
        UserError: If it is out of range or not one of the choices.
    """
    marks: Sequence[object] = ()
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        marks = (*marks, *more)
    if get_origin(hint) in (Union, UnionType):
        return _check_union(name, value, get_args(hint), marks)
    if get_origin(hint) is Literal:
        if value not in get_args(hint) or isinstance(value, bool):
            raise unknown(f"value of {name}", str(value)[:60], map(str, get_args(hint)))
        return value
    ranges = [mark for mark in marks if isinstance(mark, Between)]
    return _check_plain(name, value, hint, ranges)


def _check_union(name: str, value: Any, kinds: Sequence[Any], marks: Sequence[object]) -> Any:
    if value is None and NoneType in kinds:
        return None
    literals = [k for k in kinds if get_origin(k) is Literal]
    # True equals 1, but is not a number here.
    if isinstance(value, str) and any(value in get_args(k) for k in literals):
        return value
    others = [k for k in kinds if k is not NoneType and k not in literals]
    if Path in others and all(k in (str, Path) or get_origin(k) is Sequence for k in others):
        (*lists,) = (k for k in others if get_origin(k) is Sequence)
        is_list = bool(lists) and not isinstance(value, (str, os.PathLike))
        return check_value(name, value, lists[0]) if is_list else _check_path(name, value)
    if len(others) != 1:
        return value
    return check_value(name, value, Annotated[others[0], *marks] if marks else others[0])


def _check_plain(name: str, value: Any, kind: Any, ranges: Sequence[Between]) -> Any:
    if kind in (int, float):
        return (_check_whole if kind is int else _check_number)(name, value, ranges)
    if kind in (bool, str, Path):
        checks: dict[Any, Callable[[str, Any], Any]]
        checks = {bool: _check_flag, str: _check_word, Path: _check_path}
        return checks[kind](name, value)
    if get_origin(kind) in (Sequence, tuple) and set(get_args(kind)) - {...} <= {str, str | Path}:
        return _check_names(name, value, of_paths=str not in get_args(kind))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}. Got {_shown(value)}.")
        check_fields(value)
    return value


def validated(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function that validates its arguments."""
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        hints = get_type_hints(function, include_extras=True)
        for name, value in bound.arguments.items():
            check_value(name, value, hints[name])
        return function(*args, **kwargs)

    return wrapper


def check_fields(settings: object) -> None:
    """Validates every field of a dataclass, nested ones included.

    Raises:
        TypeError: If a field has the wrong type.
        UserError: If a field is out of range or not one of its choices.
    """
    if not dataclasses.is_dataclass(settings):
        return
    hints = get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        check_value(field.name, getattr(settings, field.name), hints[field.name])


def check_finite(name: str, value: object) -> float:
    """Returns a finite number.

    Raises:
        TypeError: If it is not a number.
        UserError: If it is NaN, infinite, or too large for a float.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be a number. Got {_shown(value)}.")
    try:
        number = float(value)
    except (OverflowError, ValueError) as error:
        raise UserError(f"{name} must be a finite number. Got {_shown(value)}.") from error
    if not math.isfinite(number):
        raise UserError(f"{name} must be a finite number. Got {number:g}.")
    return number


_UNITS_OF_TIME = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h)\s*")
_MOST_SECONDS = 1e9  # three decades


def check_duration(name: str, text: str) -> float:
    """Returns a duration in seconds.

    Example:
        >>> check_duration("time", "20min"), check_duration("time", "1h30min")
        (1200.0, 5400.0)

    Raises:
        UserError: If it is not a sum of numbers with a unit (s, min, h), or not above 0.
    """
    parts, end = [], 0
    while found := _DURATION.match(text, end):
        parts.append(float(found[1]) * _UNITS_OF_TIME[found[2]])
        end = found.end()
    seconds = math.fsum(parts)
    if end < len(text) or not 0 < seconds <= _MOST_SECONDS:
        raise UserError(
            f"{name} must be a number with a unit (s, min or h), above 0, such as 20min. "
            f"Got {_shown(text)}."
        )
    return seconds


def _check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False. Got {_shown(value)}.")
    return value


def _check_number(name: str, value: object, ranges: Sequence[Between]) -> float:
    number = check_finite(name, value)
    for mark in ranges:
        if not mark.holds(number):
            raise UserError(f"{name} must be {mark.label}. Got {_shown(value)}.")
    return number


def _check_whole(name: str, value: object, ranges: Sequence[Between]) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be a whole number. Got {_shown(value)}.")
    number = operator.index(value)
    for mark in ranges:
        if not mark.holds(number):
            raise UserError(f"{name} must be {mark.label}. Got {_shown(value)}.")
    return number


def _check_names(name: str, value: Any, *, of_paths: bool) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of names. Got {_shown(value)}.")
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list. Got {type(value).__name__}; write list(...).")
    found: tuple[Any, ...] = tuple(value)
    if len(found) > _MOST_NAMES:
        raise UserError(f"{name} may have {_MOST_NAMES} entries. Got {len(found)}.")
    for one in found:
        if of_paths:
            _check_path(name, one)
        elif not isinstance(one, str):
            raise TypeError(f"{name} must hold names. Got {_shown(one)}.")
        else:
            _check_text(name, one)
    return found


def _check_word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text. Got {_shown(value)}.")
    _check_text(name, value)
    if name == "device":
        from gantlet.core.rng import check_device  # imports torch, which options do without

        check_device(value)
    elif name == "solver" and value != "auto":
        solvers.make(value)  # a family fitted directly would never use it
    return value


def _check_text(name: str, value: str) -> None:
    if "\0" in value or len(value) > 2**16:
        raise UserError(f"{name} is not a valid component text. Got {_shown(value)}.")


def _check_path(name: str, value: Any) -> str | Path:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path. Got {_shown(value)}.")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a path of text. Got {_shown(value)}.")
    if "\0" in text or not text:
        raise UserError(f"{name} must be a path. Got {text!r}.")
    sizes = [len(os.fsencode(part)) for part in text.split("/")]
    if max(sizes) > _NAME or sum(sizes) + len(sizes) > _PATH:
        raise UserError(f"{name} is too long for a path. Got {text[:60]!r}...")
    return value if isinstance(value, (str, Path)) else text


def _shown(value: object) -> str:
    """Returns a short text of a value for messages, safe if its ``repr`` fails."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (int, float, str, bytes, type(None))):
        return repr(value[:60] if isinstance(value, (str, bytes)) else value)
    return type(value).__name__
