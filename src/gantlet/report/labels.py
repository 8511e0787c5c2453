"""Short names for charts, where there is no room for the written form."""

from collections.abc import Iterable

from gantlet.core.errors import UserError
from gantlet.core.spec import Spec


def shorten(names: Iterable[str]) -> dict[str, str]:
    """Returns a short form of each written form: its name, and the options that differ.

    Names that would become equal, and names in no written form, stay as they are.

    Example:
        >>> shorten(["gan:loss=ns,latent=8", "gan:loss=wgan,latent=8", "flow:width=64"]).values()
        dict_values(['gan:loss=ns', 'gan:loss=wgan', 'flow'])
    """
    specs = {name: _parse(name) for name in names}
    short = {name: _short(spec, list(specs.values())) for name, spec in specs.items()}
    taken = list(short.values())
    return {name: s if taken.count(s) == 1 else name for name, s in short.items()}


def _parse(name: str) -> Spec:
    try:
        return Spec.parse(name)
    except UserError:
        return Spec(name)


def _short(spec: Spec, specs: list[Spec]) -> str:
    alike = [s.options for s in specs if s.name == spec.name]
    options = spec.options.items()
    return str(Spec(spec.name, {k: v for k, v in options if any(o.get(k) != v for o in alike)}))
