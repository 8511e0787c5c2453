"""Text that people or programs gave, made safe to show; the one place that writes tags."""

import re
from html import escape
from typing import final

from gantlet.core.errors import printable

_VOID = frozenset({"meta", "link", "img"})
_JOINT = re.compile(r"(?<=[,:/+|])(?=\w)")


@final
class Markup(str):
    """Text that is escaped already."""

    __slots__ = ()


def clean(text: str) -> str:
    """Returns ``text`` with every invisible character replaced by a visible mark."""
    return printable(text)


def safe(text: str) -> Markup:
    """Returns ``text`` escaped for HTML and SVG, unless it is already.

    Example:
        >>> safe("<b>")
        '&lt;b&gt;'
    """
    return text if isinstance(text, Markup) else Markup(escape(clean(text)))


def breakable(text: str) -> Markup:
    """Returns ``text`` escaped, with leave to break a written form such as ``gan:a=1,b=2``."""
    return Markup("<wbr>".join(safe(part) for part in _JOINT.split(clean(text))))


def join(parts: "list[Markup] | tuple[Markup, ...]") -> Markup:
    """Returns pieces one after the other."""
    return Markup("".join(parts))


def tag(name: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Returns an element; children and attributes are escaped.

    An attribute of None or False is left out, one of True stands alone. In its name a trailing
    ``_`` is dropped and others become ``-``.

    Example:
        >>> tag("p", "a < b", class_="note", hidden=True)
        '<p class="note" hidden>a &lt; b</p>'
    """
    head = name + "".join(_attribute(k, v) for k, v in attributes.items())
    if name in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{''.join(map(safe, children))}</{name}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{safe(text)}"'
