"""One grammar for every component: ``name`` or ``name:key=value,key=value``.

A value that holds a comma, or begins with a double quote, is put in double quotes, in which a
double quote is doubled, as in CSV: ``npy:path="a, ""b"".npy"``. Nothing else is special, so that
any path can be written.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import override

from gantlet.core.errors import UserError, unknown

T = TypeVar("T")

# One option and its value, up to the comma or the end behind it.
_OPTION = re.compile(r'([^,="]*)=(?:"((?:[^"]|"")*)"|(?!")([^,]*))(?:,|\Z)', re.DOTALL)
# Elements of a list are joined by a plus sign, but that of 1e+30 belongs to the number.
_ELEMENT = re.compile(r"(?<![0-9][eE])\+")


@final
@dataclass(frozen=True, slots=True)
class Between:
    """The range of an option, for ``Annotated[float, Between(0, 1)]``; both ends are allowed.

    Attributes:
        low: Smallest value, or None.
        high: Largest value, or None; infinity is allowed only where it is named here.
        below: Whether ``high`` itself is too much.
        above: Whether ``low`` itself is too little.
    """

    low: float | None = None
    high: float | None = None
    below: bool = False
    above: bool = False

    @property
    def label(self) -> str:
        """The range in words.

        Example:
            >>> Between(1).label, Between(0, 1).label, Between(0, 1, below=True).label
            ('at least 1', 'from 0 to 1', 'at least 0 and below 1')
            >>> Between(0, 1, above=True).label, Between(2, 2**31).label
            ('above 0 and at most 1', 'from 2 to 2147483648')
        """
        start = "above" if self.above else "at least"
        least = "" if self.low is None else f"{start} {_number(self.low)}"
        if self.high is None:
            return least
        if self.below or self.above:
            most = f"{'below' if self.below else 'at most'} {_number(self.high)}"
            return " and ".join(filter(None, (least, most)))
        ends = f"{_number(self.low or 0)} to {_number(self.high)}"
        return f"from {ends}" if least else f"at most {_number(self.high)}"

    def holds(self, value: float) -> bool:
        """Returns whether ``value`` is inside."""
        if self.low is not None and not value >= self.low:
            return False
        if self.above and value == self.low:
            return False
        if self.high is None:
            return True
        return value < self.high if self.below else value <= self.high


def _number(value: float) -> str:
    """Returns a bound as people write it, with all its digits where fewer would be another."""
    short = f"{value:g}"
    return short if float(short) == value else str(value)


@final
@dataclass(frozen=True, slots=True)
class Option:
    """One option of a component, as ``gantlet show`` prints it.

    Attributes:
        name: Its key.
        kind: What values it takes, in words.
        default: Its default in written form, or None where it must be given.
    """

    name: str
    kind: str
    default: str | None


@final
@dataclass(frozen=True, slots=True)
class Spec:
    """The name of a registered component and the options given to it.

    Example:
        >>> Spec.parse("gan:loss=hinge,latent=8")
        Spec(name='gan', options={'loss': 'hinge', 'latent': '8'})
        >>> str(Spec.parse('npy:path="a,b.npy"'))
        'npy:path="a,b.npy"'
    """

    name: str
    options: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Reads a spec from its written form.

        Raises:
            UserError: If an option lacks its ``=`` or closing quote, or is given twice.
        """
        name, _, rest = text.partition(":")
        options: dict[str, str] = {}
        place = 0
        while place < len(rest):
            found = _OPTION.match(rest, place)
            if found is None:
                raise _no_option(rest[place:], text)
            key, quoted_value, value = found.groups()
            if key in options:
                raise UserError(f"Option {key!r} of {text!r} is given twice.")
            options[key] = value if quoted_value is None else quoted_value.replace('""', '"')
            place = found.end()
        return cls(name, options)

    @classmethod
    def of(cls, name: str, made: object) -> "Spec":
        """Returns the spec that would build ``made``, with every option written out."""
        names = [f.name for f in _fields(type(made))]
        return cls(name, {n: _write(getattr(made, n)) for n in names})

    @override
    def __str__(self) -> str:
        rest = ",".join(f"{k}={quoted(v)}" for k, v in self.options.items())
        return f"{self.name}:{rest}" if rest else self.name

    def build(self, cls: "type[T]") -> "T":
        """Returns ``cls(**options)`` with each option converted to its field's type.

        Raises:
            UserError: If an option is unknown or missing, or its text is not of the field's type.
        """
        hints = get_type_hints(cls, include_extras=True)
        fields = _fields(cls)
        names = [f.name for f in fields]
        values: dict[str, Any] = {}
        for key, text in self.options.items():
            if key not in names:
                raise unknown(f"option of {self.name!r}", key, names)
            values[key] = _convert(text, hints[key], f"{self.name}:{key}")
        for f in fields:
            if f.name not in values and _is_required(f):
                raise UserError(f"{self.name} needs {f.name}=... Got {str(self)!r}.")
        return cls(**values)


def options(cls: type) -> list[Option]:
    """Returns the options that a component takes."""
    hints = get_type_hints(cls, include_extras=True)
    return [Option(f.name, _label(hints[f.name]), _default(f)) for f in _fields(cls)]


def _fields(cls: type) -> "list[dataclasses.Field[Any]]":
    return [f for f in dataclasses.fields(cls) if f.init]


def _is_required(f: "dataclasses.Field[Any]") -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _default(f: "dataclasses.Field[Any]") -> str | None:
    if f.default is not dataclasses.MISSING:
        return _write(f.default)
    return None if f.default_factory is dataclasses.MISSING else _write(f.default_factory())


def _write(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(_write, value)) if isinstance(value, tuple) else str(value)


def quoted(text: str, special: str = ",") -> str:
    """Returns ``text`` as a value of the grammar, in double quotes where it needs them.

    Args:
        text: Any text.
        special: The characters that it cannot hold without quotes.

    Example:
        >>> quoted("a.npy"), quoted("a,b.npy")
        ('a.npy', '"a,b.npy"')
    """
    if text.startswith('"') or any(c in special for c in text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _no_option(rest: str, text: str) -> UserError:
    part = rest.partition(",")[0]
    if '"' in part:
        return UserError(
            f"Option {part!r} of {text!r} has quotes that do not enclose its value: write "
            'key="value", and "" for a quote inside.'
        )
    return UserError(
        f"Option {part!r} of {text!r} needs the form key=value. A value with a comma goes in "
        'double quotes: key="a,b".'
    )


def _label(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        ranges = [m.label for m in marks if isinstance(m, Between)]
        return " ".join([_label(inner), *ranges])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_label(a) for a in get_args(kind))
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"{_label(get_args(kind)[0])}+..."
    return "none" if kind is type(None) else kind.__name__


def _convert(text: str, kind: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ranged(text, kind, where)
    if origin in (Union, UnionType):
        some = next(a for a in inner if a is not type(None))
        return None if text == "none" and type(None) in inner else _convert(text, some, where)
    if origin is Literal:
        return _choice(text, inner, where)
    if origin is tuple:
        return tuple(_convert(part, inner[0], where) for part in _ELEMENT.split(text))
    return _plain(text, kind, where)


def _plain(text: str, kind: Any, where: str) -> Any:
    if kind is bool:
        return _choice(text, ("true", "false"), where) == "true"
    try:
        value = kind(text)
    except ValueError as error:
        raise UserError(f"{where} must be {_label(kind)}. Got {text!r}.") from error
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where} must be a finite number. Got {text!r}.")
    return value


def _ranged(text: str, kind: Any, where: str) -> Any:
    inner, *marks = get_args(kind)
    if text == "inf" and any(isinstance(m, Between) and m.high == math.inf for m in marks):
        return math.inf
    value = _convert(text, inner, where)
    for mark in marks:
        if isinstance(mark, Between) and value is not None and not mark.holds(value):
            raise UserError(f"{where} must be {mark.label}. Got {text}.")
    return value


def _choice(text: str, known: tuple[Any, ...], where: str) -> Any:
    by_text = {str(k): k for k in known}
    if text not in by_text:
        raise unknown(f"value of {where}", text, by_text)
    return by_text[text]
