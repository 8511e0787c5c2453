"""What arguments of public functions may be, by their names: the one place that checks them."""

import dataclasses
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable
from functools import wraps
from typing import (
    Literal,
    ParamSpec,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from gantlet.core.components import solvers
from gantlet.core.devices import check_device
from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Between

P = ParamSpec("P")
R = TypeVar("R")

_SEED = 2**63 - 1  # torch takes no larger one
# Whole numbers: the smallest and the largest, and whether None is allowed.
_WHOLE = {
    "seed": (0, _SEED, False),
    "first_seed": (0, _SEED, False),
    "data_seed": (0, _SEED, False),
    "seeds": (1, 10_000, False),
    "batch": (1, 2**24, False),
    "samples": (2, 2**31, True),
    "outputs": (1, 2**20, False),
    "patience": (1, 2**31, True),
    "snapshots": (0, 100_000, False),
    "threads": (1, 4096, False),
    "workers": (1, 4096, True),
}
_LISTS = ("models", "metrics", "features", "probes", "runs")
_WORDS = ("model", "data", "rank", "solver", "device")
_PATHS = ("out", "path", "to")
# Groups of settings, by the names of their classes, which lie in higher layers.
_SETTINGS = {"budget": "Budget", "search": "Search"}
_MOST_NAMES = 1000
_NAME, _PATH = 255, 4096  # bytes


def check_argument(name: str, value: object) -> None:
    """Checks the value of an argument by its name; of one that is not known nothing is asked.

    Raises:
        TypeError: If it is of another type than is needed.
        UserError: If it is out of range.
    """
    if name in _WHOLE:
        low, high, may_lack = _WHOLE[name]
        if not (may_lack and value is None):
            _check_whole(name, value, low, high)
    elif name in _LISTS and not (name == "features" and isinstance(value, str)):
        _check_names(name, value)
    elif name in _WORDS:
        _check_word(name, value)
    elif name in _PATHS:
        _check_path(name, value)
    elif name in _SETTINGS:
        if type(value).__name__ != _SETTINGS[name]:
            raise TypeError(f"{name} must be a {_SETTINGS[name]}. Got {_shown(value)}.")
        check_ranges(value)
    elif name == "study" and (isinstance(value, type) or not hasattr(value, "trials")):
        raise TypeError(f"study must be a study. Got {_shown(value)}.")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function whose arguments are checked before it is called."""
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            usual = signature.parameters[name].default
            # Some functions take one extractor, and some take several.
            if isinstance(value, str) and isinstance(usual, (tuple, list)):
                raise TypeError(f"{name} must be a list of names. Got {value[:60]!r}.")
            if isinstance(usual, str) and name == "features" and not isinstance(value, str):
                raise TypeError(f"{name} must be a text. Got {_shown(value)}.")
            if value is not None or usual is not None:
                check_argument(name, value)
        return function(*args, **kwargs)

    return wrapper


def check_fields(settings: object) -> None:
    """Checks every field of a dataclass, those of the dataclasses that it holds among them.

    Raises:
        TypeError: If one is of another type than is needed.
        UserError: If one is out of range.
    """
    if not dataclasses.is_dataclass(settings):
        return
    check_ranges(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            check_fields(value)
        elif value is not None:
            check_argument(field.name, value)


def check_ranges(settings: object) -> None:
    """Checks the fields of a dataclass that state a range or a choice.

    Raises:
        TypeError: If one is no number where a range is stated.
        UserError: If one is out of its range, or none of its choices.
    """
    if not dataclasses.is_dataclass(settings):
        return
    hints = get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        marks = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Between)]
        for mark in marks if value is not None else ():
            if not mark.holds(check_finite(field.name, value)):
                raise UserError(f"{field.name} must be {mark.label}. Got {_shown(value)}.")
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise unknown(f"value of {field.name}", str(value), map(str, get_args(hint)))


def check_finite(name: str, value: object) -> float:
    """Returns a number, having checked that it is finite.

    Raises:
        TypeError: If it is no number.
        UserError: If it is NaN, infinite, or larger than any floating point number.
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


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be a whole number. Got {_shown(value)}.")
    number = operator.index(value)
    if not low <= number <= high:
        bound = f"at least {low}" if number < low else f"at most {high}"
        raise UserError(f"{name} must be {bound}. Got {_shown(value)}.")


def _check_names(name: str, value: object) -> None:
    if isinstance(value, (bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of names. Got {_shown(value)}.")
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list. Got {type(value).__name__}; write list(...).")
    if len(value) > _MOST_NAMES:
        raise UserError(f"{name} may have {_MOST_NAMES} entries. Got {len(value)}.")
    for one in value:
        if name == "runs":
            _check_path(name, one)
        elif not isinstance(one, str):
            raise TypeError(f"{name} must hold names. Got {_shown(one)}.")
        else:
            _check_text(name, one)


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text. Got {_shown(value)}.")
    _check_text(name, value)
    if name == "device":
        check_device(value)
    elif name == "solver" and value != "auto":
        solvers.make(value)  # a family that is fitted outright would never ask for it


def _check_text(name: str, value: str) -> None:
    if "\0" in value or len(value) > 2**16:
        raise UserError(f"{name} is no text of a component. Got {_shown(value)}.")


def _check_path(name: str, value: object) -> None:
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


def _shown(value: object) -> str:
    """Returns a value for messages, cut where it is long; whatever its ``repr`` raises."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (int, float, str, bytes, type(None))):
        return repr(value[:60] if isinstance(value, (str, bytes)) else value)
    return type(value).__name__
