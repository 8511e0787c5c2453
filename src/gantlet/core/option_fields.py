"""How fields of a dataclass become options of a command, in Python and on the command line.

A field's annotation gives its type and range, the docstring of its class describes it, and an
``OptionHelp`` gives a different spelling on the command line and deprecated names.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from inspect import Parameter, Signature, get_annotations, getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, final, get_args, get_origin, get_type_hints

from gantlet.core.errors import UserError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionHelp:
    """Properties of an option on the command line besides its name, type and default.

    Attributes:
        flags: Its spelling on the command line; empty for two dashes and its name.
        several: Whether the command line takes any number of values: as arguments if it is
            positional, else by repetition.
        by_name: Whether it is positional in Python but a named option on the command line.
        aliases: Deprecated names, which work for one more version; for a required option in
            Python only.
        old_values: Deprecated values under a deprecated name, each with its new spelling.
    """

    flags: tuple[str, ...] = ()
    several: bool = False
    by_name: bool = False
    aliases: tuple[str, ...] = ()
    old_values: tuple[tuple[str, str], ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OptionField:
    """One option, from which command line and Python signature are generated.

    Attributes:
        name: Its name in Python.
        hint: Its type, with range and ``OptionHelp``.
        default: Its default, or ``inspect.Parameter.empty`` if it is required.
        help: Its description.
        is_positional: Whether it is positional.
        heading: Its group in the help, or empty.
    """

    name: str
    hint: Any
    default: Any
    help: str
    is_positional: bool
    heading: str

    @property
    def option(self) -> OptionHelp:
        """Its properties on the command line."""
        return next((m for m in _marks(self.hint) if isinstance(m, OptionHelp)), OptionHelp())

    @property
    def kind(self) -> Any:
        """Its type without annotations."""
        return _bare(self.hint)

    @property
    def group(self) -> type | None:
        """The dataclass whose fields the command line shows in place of this option, or None."""
        kinds = [k for k in (get_args(self.kind) or (self.kind,)) if k is not NoneType]
        is_one = len(kinds) == 1 and isinstance(kinds[0], type)
        first: type = kinds[0]
        return first if is_one and hasattr(first, "__dataclass_fields__") else None


def fields_of(cls: type) -> list[OptionField]:
    """Returns the options of a command: positional ones first, then its own, then shared ones."""
    hints, meanings = hints_of(cls), split_docstring(cls)[1]
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    found: dict[str, OptionField] = {}
    for home in cls.__mro__:
        for name in get_annotations(home):
            if name in known and name not in found:
                f = known[name]
                found[name] = OptionField(
                    name=name,
                    hint=hints[name],
                    default=_default(f),
                    help=meanings.get(name, ""),
                    is_positional=not f.kw_only,
                    heading=_heading(cls, name),
                )
    return sorted(found.values(), key=lambda f: not f.is_positional)


def _heading(cls: type, name: str) -> str:
    """Returns the heading of the most general class that defines a shared option."""
    homes = [c for c in cls.__mro__ if name in get_annotations(c)]
    return "" if homes[-1] is cls else getattr(homes[-1], "heading", "")


def split_docstring(cls: type) -> tuple[str, dict[str, str]]:
    """Returns the description of a class and of its attributes, inherited ones included."""
    doc, own = _parted(getdoc(cls) or "")
    inherited = [_parted(getdoc(base) or "")[1] for base in reversed(cls.__mro__[1:-1])]
    return doc, {k: v for meanings in (*inherited, own) for k, v in meanings.items()}


def signature_of(cls: type, returns: Any) -> Signature:
    """Returns the signature of a function that takes the options of a command."""
    parameters = [
        Parameter(
            f.name,
            Parameter.POSITIONAL_OR_KEYWORD if f.is_positional else Parameter.KEYWORD_ONLY,
            default=f.default,
            annotation=f.kind,
        )
        for f in fields_of(cls)
    ]
    return Signature(parameters, return_annotation=returns)


def with_current_names(
    cls: type, given: Mapping[str, Any], warn: Callable[[str, str], None]
) -> dict[str, Any]:
    """Returns options under their current names.

    Args:
        cls: The options of a command, or a group of them.
        given: Options by name, current or deprecated.
        warn: Called with a deprecated name and its replacement.

    Raises:
        UserError: If an option is given under both names.
    """
    current = {old: f for f in _with_groups(cls) for old in f.option.aliases}
    found: dict[str, Any] = {}
    for name, value in given.items():
        f = current.get(name)
        new = name if f is None else f.name
        if f is not None:
            warn(name, new)
            if isinstance(value, str):
                value = dict(f.option.old_values).get(value, value)  # noqa: PLW2901
        if new in found or (new != name and new in given):
            raise UserError(f"{new} and {name} are the same option. Give it once.")
        found[new] = value
    return found


def _with_groups(cls: type) -> Iterator[OptionField]:
    """Yields the options of a command, a group replaced by its fields."""
    for f in fields_of(cls):
        yield from (f,) if f.group is None else fields_of(f.group)


def non_default(options: object) -> dict[str, Any]:
    """Returns the options that differ from their defaults, as plain data for ``run.json``."""
    fields = fields_of(type(options))
    pairs = ((f, getattr(options, f.name)) for f in fields)
    return {f.name: _plain(value) for f, value in pairs if value is not f.default}


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, NoneType)):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: v for k, v in dataclasses.asdict(value).items() if v is not None}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and all(isinstance(v, (str, Path)) for v in value):
        return [str(v) for v in value]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _parted(doc: str) -> tuple[str, dict[str, str]]:
    """Splits a docstring into its text and the descriptions of its attributes."""
    before, _, after = doc.partition("\nAttributes:\n")
    items, _, rest = after.partition("\n\n")
    pairs = re.findall(r"(?m)^    (\w+): ((?:.+\n?(?:     +.+\n?)*))", items)
    meanings = {name: " ".join(text.split()) for name, text in pairs}
    return f"{before.strip()}\n\n{rest.strip()}".strip().replace("``", "`"), meanings


def hints_of(cls: type) -> dict[str, Any]:
    """Returns the annotation of each field of a dataclass, with its metadata."""
    names = [f.name for f in dataclasses.fields(cls)]
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in names}


def _default(f: "dataclasses.Field[Any]") -> Any:
    return Parameter.empty if f.default is MISSING else f.default


def _marks(hint: Any) -> Sequence[object]:
    """Returns the metadata of an annotation, nested ones included."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return (*marks, *_marks(inner))
    if get_origin(hint) in (Union, UnionType):
        return [m for part in get_args(hint) for m in _marks(part)]
    return ()


def _bare(hint: Any) -> Any:
    """Returns a type without its ``Annotated`` metadata."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_bare(part) for part in get_args(hint))]  # noqa: UP007  (built at run time)
    return hint
