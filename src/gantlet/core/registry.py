"""Components found by name through entry points; nothing is imported before it is asked for."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast, final

from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Spec, options

T = TypeVar("T")


@final
class Registry(Generic[T]):
    """The components of one kind that this installation knows.

    Args:
        kind: What the components are, in the singular, for messages.
        group: The entry-point group that lists them.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self._group = group

    def names(self) -> list[str]:
        """Returns the known names, sorted."""
        return sorted(_points(self._group))

    def load(self, name: str) -> type[T]:
        """Returns the class behind ``name``.

        Raises:
            UserError: If the name is not known, or the package that brings it cannot be imported.
        """
        points = _points(self._group)
        if name not in points:
            raise unknown(self.kind, name, points)
        return cast("type[T]", _load(self.kind, points[name]))

    def make(self, text: str) -> T:
        """Builds the component that ``text`` describes, as ``name:key=value,...``.

        Raises:
            UserError: If the name, an option or a value is not known.
        """
        spec = Spec.parse(text)
        return spec.build(self.load(spec.name))

    def resolve(self, text: str) -> str:
        """Returns ``text`` with every option written out, defaults included.

        Example:
            >>> Registry("solver", "gantlet.solvers").resolve("sgd:lr=0.1")
            'sgd:lr=0.1,momentum=0.0,clip=none,steps=1,mode=alternating'
        """
        return str(Spec.of(Spec.parse(text).name, self.make(text)))

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


@cache
def _points(group: str) -> dict[str, EntryPoint]:
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
