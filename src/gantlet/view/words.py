"""The question of a run in words: its command and its data, from the configuration it recorded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from gantlet.core.errors import UserError
from gantlet.core.spec import Spec
from gantlet.report import format as fmt

# So many names stand in a sentence; the others are counted.
_NAMED = 4
_LONGEST = 80

# An option by which a data set is known better than by its own name.
_TELLING = ("path", "file", "folder")


def in_words(question: Mapping[str, Any], command: str) -> str:
    """Returns what a run asks: the command, and what it is about.

    Args:
        question: The recorded configuration, of any version.
        command: The command that was called, for a configuration that names none.
    """
    name = question.get("command")
    if not isinstance(name, str) or not name:
        return _cut(command) or "a run without a command"
    told = _TOLD.get(name, _study if name.startswith("study") else _other)
    return f"{name} {told(question)}".strip()


def _trained(q: Mapping[str, Any]) -> str:
    parts = [f"{_names(q.get('models'))} on {short(q.get('data'))}", *_budget(q), *_seeds(q)]
    return ", ".join(parts)


def _judged(q: Mapping[str, Any]) -> str:
    return f"{_names(q.get('fakes'))} against {short(q.get('real'))}"


def _matches(q: Mapping[str, Any]) -> str:
    return f"{_names(q.get('runs'))} on {short(q.get('data'))}"


def _game(q: Mapping[str, Any]) -> str:
    data = q.get("data")
    on = "" if data in (None, "", "none") else f" on {short(data)}"
    return ", ".join([f"{short(q.get('model'))}{on}", *_budget(q)])


def _forecast(q: Mapping[str, Any]) -> str:
    if not q.get("data") and q.get("refit"):
        return f"fitted to {short(q['refit'])}"
    return ", ".join([short(q.get("data")), *_budget({"budget": {"flops": q.get("flops")}})])


def _watch(q: Mapping[str, Any]) -> str:
    return f"against {short(q.get('real'))}, every {q.get('every', '?')} steps"


def _study(q: Mapping[str, Any]) -> str:
    data = q.get("data")
    known = {"size": q.get("size"), "on": None if data is None else short(data)}
    return ", ".join(f"{k} {_cut(str(v))}" for k, v in known.items() if v)


def _other(q: Mapping[str, Any]) -> str:
    return ", ".join(short(q[k]) for k in ("model", "data", "real") if isinstance(q.get(k), str))


_TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "compare": _trained,
    "train": _trained,
    "evaluate": _judged,
    "flaws": _judged,
    "support": _judged,
    "tournament": _matches,
    "converge": _game,
    "batch": _game,
    "attack": _game,
    "forecast": _forecast,
    "watch": _watch,
}


def _budget(q: Mapping[str, Any]) -> list[str]:
    budget = q.get("budget")
    if not isinstance(budget, Mapping):
        return []
    units = {"flops": "FLOP", "examples": "examples", "steps": "steps", "seconds": "s"}
    known = {k: budget.get(k) for k in units}
    if isinstance(q.get("time"), int | float):
        units, known = {"time": "s"}, {"time": q["time"]}
    return [fmt.text(v, units[k]) for k, v in known.items() if isinstance(v, int | float)]


def _seeds(q: Mapping[str, Any]) -> list[str]:
    seeds = q.get("seeds")
    n = len(seeds) if isinstance(seeds, list) else 0
    return [f"{n} seeds"] if n > 1 else []


def _names(given: object) -> str:
    several: Sequence[object] = given if isinstance(given, list) else [given]
    names = list(dict.fromkeys(short(one) for one in several))
    rest = len(names) - _NAMED
    if rest > 1:
        return f"{', '.join(names[:_NAMED])} and {rest} more"
    return fmt.listed(names) if names else "nothing"


def short(given: object) -> str:
    """Returns a component, set or file by its shortest telling name.

    Example:
        >>> [short("gan:latent=32,width=128"), short("pale=array:6760"), short("a/b.npz")]
        ['gan', 'pale', 'a/b.npz']
    """
    if not isinstance(given, str) or not given:
        return "?"
    head, colon, _ = given.partition(":")
    name, is_named, _ = head.partition("=")
    if is_named and name:
        return _cut(name)
    if not colon or "/" in head:
        return _cut(given)
    told = [value for key, value in _options(given).items() if key in _TELLING]
    return _cut(" ".join([head, *told[:1]]))


def _options(text: str) -> Mapping[str, str]:
    """Returns the options of a component by name; none for what is no component."""
    try:
        return Spec.parse(text).options
    except UserError:
        return {}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def settings(question: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns every setting of a run as text by its path, and where it ran.

    Components are taken apart, so that two runs differ in an option and not in a long line:
    ``models 1``, ``models 1: width``.
    """
    found: dict[str, str] = {}
    for name, value in question.items():
        _flatten(str(name), value, found)
    machine = facts.get("machine")
    around = machine if isinstance(machine, Mapping) else {}
    packages = facts.get("packages")
    known = {
        "gantlet": facts.get("gantlet"),
        "commit": facts.get("commit"),
        "torch": packages.get("torch") if isinstance(packages, Mapping) else None,
        "device": around.get("device"),
    }
    return found | {k: str(v) for k, v in known.items() if v is not None}


# A list above this is one setting.
_MOST_PARTS = 40


def _flatten(place: str, value: object, found: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, Any]", value).items():
            _flatten(f"{place} {name}", inner, found)
    elif isinstance(value, list):
        several = cast("list[object]", value)
        if len(several) > _MOST_PARTS:
            found[place] = _cut("; ".join(map(str, several)))
        elif all(isinstance(one, int | float) for one in several):
            found[place] = ", ".join(map(str, several))
        else:
            for k, one in enumerate(several, start=1):
                _flatten(f"{place} {k}", one, found)
    elif isinstance(value, str):
        _component(place, value, found)
    else:
        is_float = isinstance(value, float)
        found[place] = "none" if value is None else f"{value:.12g}" if is_float else str(value)


def _component(place: str, text: str, found: dict[str, str]) -> None:
    head = text.partition(":")[0]
    options = {} if "/" in head else _options(text)
    found[place] = head if options else text
    for name, value in options.items():
        found[f"{place}: {name}"] = value
