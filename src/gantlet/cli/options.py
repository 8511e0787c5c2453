"""Commands made from the dataclasses of ``gantlet.options``."""

import inspect
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, final, get_args, get_origin

from cyclopts import Parameter, Token

from gantlet.core.budget import Budget
from gantlet.options import Field, Option, Texts, fields_of, renamed

O = TypeVar("O")

Flag = Annotated[bool, Parameter(show_default=False)]
"""An option that is given or not, and has no value."""

# What the fields of a dataclass inside another are listed under.
_BUDGET = "Budget (whatever runs out first; default 2e11 FLOPs)"
_HEADINGS: Mapping[type, str] = {Budget: _BUDGET}


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """Returns a whole number, which may be written as 1e3: a fraction is never rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"Must be a whole number. Got {text!r}.")
    return int(number)


def _whole_or_all(type_: object, tokens: Sequence[Token]) -> int | str:
    text = tokens[0].value
    return text if text == "all" else _whole(type_, tokens)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """What a command prints.

    Attributes:
        json: Print one JSON object on stdout and nothing else.
        dry_run: Say what would be done, and stop.
    """

    json: bool = False
    dry_run: bool = False


def command(
    of: type[O], *, prints: Sequence[str] = ("json", "dry_run")
) -> Callable[[Callable[[O, Printing], int]], Callable[..., int]]:
    """Returns a decorator that makes a command of a function of options.

    Args:
        of: The dataclass of the options.
        prints: Which fields of ``Printing`` the command knows.
    """

    def decorate(function: Callable[[O, Printing], int]) -> Callable[..., int]:
        shown = [f for f in fields_of(Printing) if f.name in prints]
        heading = "Running" if any(f.heading == "Running" for f in fields_of(of)) else ""
        shown = [replace(f, heading=heading) for f in shown]
        parameters = [p for f in fields_of(of) for p in _parameters(f)]
        parameters += [p for f in shown for p in _parameters(f)]
        parameters.sort(key=lambda p: p.kind)
        signature = inspect.Signature(parameters, return_annotation=int)

        def call(*args: Any, **kwargs: Any) -> int:
            given = dict(signature.bind(*args, **kwargs).arguments)
            printing = Printing(**{f.name: given.pop(f.name) for f in shown if f.name in given})
            return function(_made(of, given), printing)

        call.__name__ = call.__qualname__ = of.__name__.lower()
        call.__module__ = function.__module__
        call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": int}
        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate


def _made(of: type[O], given: Mapping[str, Any]) -> O:
    """Returns the options from what was given on the command line."""
    given = renamed(of, given, _tell)
    found: dict[str, Any] = {}
    for f in fields_of(of):
        if f.group is not None:
            inside = {g.name: given[g.name] for g in fields_of(f.group) if g.name in given}
            if inside:
                found[f.name] = f.group(**inside)
        elif f.name in given:
            value = given[f.name]
            # Where Python takes objects of the user, a list of texts would be one of them.
            is_list = f.is_positional or get_origin(f.kind) is Sequence
            found[f.name] = Texts(value) if isinstance(value, tuple) and not is_list else value
        elif f.default is inspect.Parameter.empty:
            # None of any number was named: the command says what it needs.
            found[f.name] = ()
    return of(**found)


def _tell(old: str, new: str) -> None:
    old, new = (name.rstrip("_").replace("_", "-") for name in (old, new))
    text = f"gantlet: --{old} is now --{new}; the old name works in this version only."
    print(text, file=sys.stderr)


def _parameters(f: Field) -> Iterator[inspect.Parameter]:
    """Yields the parameters of an option: itself, its old names, or what it is made of."""
    if f.group is not None:
        usual = f.default
        heading = _HEADINGS.get(f.group, f.heading)
        for inner in fields_of(f.group):
            default = None if usual is None else getattr(usual, inner.name)
            yield from _parameters(replace(inner, default=default, heading=heading))
        return
    kind = _place(f)
    default = f.default
    if kind is inspect.Parameter.VAR_POSITIONAL:
        default = inspect.Parameter.empty
    elif isinstance(default, (tuple, str)) and not default:
        default = None
    yield inspect.Parameter(f.name, kind, default=default, annotation=_annotation(f))
    for old in f.option.aliases if default is not inspect.Parameter.empty else ():
        hidden = replace(f, default=None, help="", hint=Annotated[f.hint, Option()])
        yield inspect.Parameter(
            old,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_annotation(hidden), Parameter(name=_flag(old), show=False)],
        )


def _place(f: Field) -> Any:
    if not f.is_positional or f.option.by_name:
        return inspect.Parameter.KEYWORD_ONLY
    if f.option.several:
        return inspect.Parameter.VAR_POSITIONAL
    return inspect.Parameter.POSITIONAL_ONLY


def _flag(name: str) -> str:
    return f"--{name.rstrip('_').replace('_', '-')}"


def _annotation(f: Field) -> Any:
    """Returns the type of an option on a command line, with all that its help says."""
    is_by_name = _place(f) is inspect.Parameter.KEYWORD_ONLY
    marks: dict[str, Any] = {"help": f.help}
    if is_by_name:
        marks["name"] = list(f.option.flags) or _flag(f.name)
    if f.default and isinstance(f.default, tuple):
        marks["show_default"] = _spaced
    if f.heading and is_by_name:
        marks["group"] = f.heading
    kind, more = _typed(f)
    if f.option.several and is_by_name:
        kind = types.GenericAlias(tuple, (kind, ...))
    if f.default is None or f.default in ((), ""):
        kind = kind | None
    return Annotated[kind, Parameter(**marks, **more)]


def _spaced(values: Sequence[str]) -> str:
    return " ".join(values)


def _typed(f: Field) -> tuple[Any, dict[str, Any]]:
    """Returns the type of one value on a command line, and how it is read."""
    parts = get_args(f.kind) if get_origin(f.kind) in (Union, types.UnionType) else (f.kind,)
    has_all = any(get_origin(p) is Literal and "all" in get_args(p) for p in parts)
    if int in parts:
        if has_all:
            return int | Literal["all"], {"converter": _whole_or_all}
        return int, {"converter": _whole}
    if bool in parts:
        return bool, {"show_default": False}
    if f.option.several:
        return str, {}
    if Path in parts:
        return Path, {}
    (first, *_) = parts
    return (first, {}) if first in (float, str) or get_origin(first) is Literal else (str, {})
