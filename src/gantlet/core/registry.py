"""Components found by name through entry points; nothing is imported before it is asked for."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar, cast, final

from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Spec, options, quoted

T = TypeVar("T")

_NOTHING: Mapping[str, str] = MappingProxyType({})

# How a component of each group is asked for: what is named in the wrong place is told its own.
_PLACES = {
    "gantlet.families": "a model",
    "gantlet.solvers": "a solver: --solver {}",
    "gantlet.datasets": "a data set",
    "gantlet.features": "an extractor: --features {}",
    "gantlet.metrics": "a metric: --metric {}",
    "gantlet.probes": "a probe of trained models: --probe {}",
    "gantlet.toys": "a toy game: gantlet converge {}",
    "gantlet.studies": "a study: gantlet study {}",
}
_PATH = re.compile(r'[:,](?:path|\w*images|\w*labels|test)=(?!")(.*,.*)\Z', re.DOTALL)


@final
class Registry(Generic[T]):
    """The components of one kind that this installation knows.

    Args:
        kind: What the components are, in the singular, for messages.
        group: The entry-point group that lists them.
        aliases: Other names that people use, and the written form that each stands for.
        pointers: Names of what is asked for in another way, and how, in one sentence.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        aliases: Mapping[str, str] = _NOTHING,
        pointers: Mapping[str, str] = _NOTHING,
    ) -> None:
        self.kind = kind
        self.aliases = aliases
        self.pointers = pointers
        self._group = group

    def names(self) -> list[str]:
        """Returns the known names, sorted."""
        return sorted(points_of(self._group))

    def knows(self, name: str) -> bool:
        """Returns whether ``name`` is a component, or an alias of one."""
        return self._canonical(name) in {*points_of(self._group), *self.aliases}

    def expand(self, text: str) -> Spec:
        """Returns the spec that ``text`` means, an alias replaced by what it stands for.

        Example:
            >>> registry = Registry("solver", "gantlet.solvers", {"eg": "extragradient:clip=1"})
            >>> str(registry.expand("eg:lr=0.1"))
            'extragradient:clip=1,lr=0.1'
        """
        spec = Spec.parse(text)
        name = self._canonical(spec.name)
        if name not in self.aliases or name in points_of(self._group):
            return Spec(name, spec.options)
        stands = Spec.parse(self.aliases[name])
        return Spec(stands.name, {**stands.options, **spec.options})

    def load(self, name: str) -> type[T]:
        """Returns the class behind ``name``.

        Raises:
            UserError: If the name is not known, or the package that brings it cannot be imported.
        """
        points = points_of(self._group)
        found = self.expand(name).name
        if found not in points:
            raise self._unknown(name)
        return cast("type[T]", _load(self.kind, points[found]))

    def make(self, text: str) -> T:
        """Builds the component that ``text`` describes, as ``name:key=value,...``.

        Raises:
            UserError: If the name, an option or a value is not known, or ``text`` has a path with
                a comma that is not in quotes.
        """
        _check_paths(text)
        spec = self.expand(text)
        return spec.build(self.load(spec.name))

    def resolve(self, text: str) -> str:
        """Returns ``text`` with every option written out, defaults included.

        Example:
            >>> Registry("solver", "gantlet.solvers").resolve("sgd:lr=0.1")
            'sgd:lr=0.1,momentum=0.0,clip=none,steps=1,mode=alternating'
        """
        return str(Spec.of(self.expand(text).name, self.make(text)))

    def short(self, text: str) -> str:
        """Returns ``text`` without the options that are at their default: what people call it.

        Example:
            >>> Registry("solver", "gantlet.solvers").short("adam:lr=0.01,beta1=0.9,clip=none")
            'adam:lr=0.01'
        """
        spec = Spec.parse(self.resolve(text))
        defaults = {o.name: o.default for o in options(self.load(spec.name))}
        changed = {k: v for k, v in spec.options.items() if v != defaults[k]}
        return str(Spec(spec.name, changed))

    def _canonical(self, name: str) -> str:
        """Returns ``name`` as it is registered: people write ``ms_ssim`` and ``MNIST``."""
        if name in points_of(self._group):
            return name
        plain = name.strip().lower().replace("_", "-")
        known = {*points_of(self._group), *self.aliases, *self.pointers}
        return plain if plain in known else name

    def _unknown(self, name: str) -> UserError:
        plain = self._canonical(name)
        if plain in self.pointers:
            return UserError(f"No {self.kind} is called {name!r}. {self.pointers[plain]}")
        for group, words in _PLACES.items():
            if group != self._group and plain in points_of(group):
                return UserError(
                    f"{name!r} is no {self.kind} but {words.format(name)}. "
                    f"Known: {', '.join(self.names())}."
                )
        return unknown(self.kind, name, self.names(), [*self.aliases, *self.pointers])


@cache
def points_of(group: str) -> dict[str, EntryPoint]:
    """Returns the installed entry points of a group by name; nothing is imported."""
    return {p.name: p for p in entry_points(group=group)}


def _load(kind: str, point: EntryPoint) -> object:
    """Imports a component; whatever its package raises is told with the name of that package."""
    try:
        return point.load()
    except Exception as error:
        package = "of an unknown package" if point.dist is None else f"of {point.dist.name}"
        reason = " ".join(str(error).split()) or "no reason given"
        raise UserError(
            f"{kind} {point.name!r} {package} cannot be imported from {point.value} "
            f"({type(error).__name__}: {reason}). Repair, upgrade or uninstall that package."
        ) from error


def _check_paths(text: str) -> None:
    """Refuses a path with a comma that is not in quotes: it would be cut, and another one read."""
    found = _PATH.search(text)
    if found is None:
        return
    for path in _prefixes(found[1]):
        if "," in path and Path(path).expanduser().exists():
            raise UserError(
                f"{text!r} names {path!r}, which exists and holds a comma. Put the path in double "
                f"quotes: {text[: found.start(1)]}{quoted(path)}"
            )


def _prefixes(rest: str) -> Iterator[str]:
    """Yields ``rest`` up to each of its commas, the longest first."""
    parts = list(accumulate(rest.split(","), lambda a, b: f"{a},{b}"))
    yield from reversed(parts)
