"""A setting of an evaluation: all that decides a value of a metric besides the metric itself."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

from gantlet import options
from gantlet.commands.evaluate.inputs import SPLITS, Role, named
from gantlet.commands.evaluate.results import extractor_name, short
from gantlet.core.arguments import check_value
from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Spec, extractors, metrics, quote
from gantlet.domains.preparation import FILTERS, NUMBERS, READINGS, Preparation
from gantlet.report.blocks import Report
from gantlet.run.execute import read_report

# ----------------------------------------------------------------------------
# The options of a setting, and their written form.
# ----------------------------------------------------------------------------

PLAIN, CORRECTED = "plain", "corrected"
"""Whether a value is the plug-in one of papers, or less its bias."""

_BIAS = (CORRECTED, PLAIN)
_MOST_PIXELS = 4096


def _one_of(known: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(text: str, name: str) -> str:
        if text not in known:
            raise unknown(f"value of {name}", text, known)
        return text

    return read


def _number(low: int, high: int, word: str) -> Callable[[str, str], int | None]:
    """Returns the reader of a whole number, or of the word that stands for none."""

    def read(text: str, name: str) -> int | None:
        if text == word:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (value.is_integer() and low <= value <= high):
            wanted = f"a whole number from {low} to {high}, or {word}"
            raise UserError(f"{name} must be {wanted}. Got {text!r}.")
        return int(value)

    return read


def _check_seed(text: str, name: str) -> None:
    # Every digit counts, so that it is never a float.
    try:
        seed = int(text)
    except ValueError as error:
        raise UserError(f"{name} must be a whole number. Got {text!r}.") from error
    check_value(name, seed, options.Seed)


_SIDED: Mapping[str, Callable[[str, str], Any]] = {
    "samples": _number(2, 2**31, "all"),
    "size": _number(1, _MOST_PIXELS, "none"),
    "resize": _one_of(FILTERS),
    "jpeg": _number(1, 100, "none"),
    "dtype": _one_of(NUMBERS),
    "range": _one_of(READINGS),
}
"""The options that may differ between fakes and reals: ``VALUE`` or ``FAKES/REALS``."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All that decides a value of a metric, in written form.

    Those of ``samples`` to ``range`` may be ``FAKES/REALS``, a value for each side.

    Attributes:
        fakes: The samples to judge, as for ``gantlet evaluate``.
        against: The reference.
        split: Which split of the reference: train, validation, test or all; empty for its own.
        samples: Most samples of a set, drawn by the seed; or all.
        size: Height and width in pixels that images are resized to, or none.
        resize: How: the filter.
        jpeg: Quality of JPEG files that images go through, or none.
        dtype: What numbers images are kept in.
        range: How the range of numbers is read.
        features: Feature extractor; empty for what suits the data.
        train: What extractors learn from; empty for what is known of the reference.
        bias: Whether the bias is removed.
        seed: Draws the samples that are kept.
        data_seed: Seed of the train/validation/test split.
        report: The report that the setting is taken from, or empty.
        value: The value that was published or recorded for it; empty for what is recomputed.
    """

    fakes: str = ""
    against: str = ""
    split: str = ""
    samples: str = "10000"
    size: str = "none"
    resize: str = "bicubic"
    jpeg: str = "none"
    dtype: str = "uint8"
    range: str = "right"
    features: str = ""
    train: str = ""
    bias: str = CORRECTED
    seed: str = "0"
    data_seed: str = "0"
    report: str = ""
    value: str = ""

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            UserError: If one is not of its form.
        """
        for name in _SIDED:
            self.of(name, "fake")
            self.of(name, "real")
        if self.split and self.split not in SPLITS:
            raise unknown("value of split", self.split, SPLITS)
        _one_of(_BIAS)(self.bias, "bias")
        for name in ("seed", "data_seed"):
            _check_seed(getattr(self, name), name)
        if self.value:
            _real(self.value, "value")

    def of(self, name: str, role: Role) -> Any:
        """Returns an option as it holds for fakes (``fake``) or reals (``real``)."""
        text: str = getattr(self, name)
        parts = text.split("/")
        if len(parts) > 2:
            raise UserError(f"{name} must be VALUE or FAKES/REALS. Got {text!r}.")
        return _SIDED[name](parts[0 if role == "fake" else -1], name)

    def preparation(self, role: Role) -> Preparation:
        """Returns what is done to the images of a side."""
        return Preparation(
            reading=self.of("range", role),
            numbers=self.of("dtype", role),
            jpeg=self.of("jpeg", role),
            size=self.of("size", role),
            resize=self.of("resize", role),
        )

    @property
    def reference(self) -> str:
        """The reference with its split, as ``find_samples`` reads it."""
        if not self.split:
            return self.against
        name, where = named(self.against)
        head, at, tail = where.rpartition("@")
        where = head if at and tail in SPLITS else where
        found = f"{_as_dataset(where)}@{self.split}"
        return found if name == where or not name else f"{quote(name, _SIGNS)}={found}"

    @property
    def published(self) -> float | None:
        """The value that was published or recorded."""
        return _real(self.value, "value") if self.value else None

    def written(self) -> dict[str, str]:
        """Returns all options as plain data."""
        return asdict(self)


# As in names of sets.
_SIGNS = '=:/\\"@'
_READ_AS = {".npz": "npz", ".npy": "npy"}


def _as_dataset(where: str) -> str:
    """Returns files of the user as the data set that has splits of them."""
    path = Path(where).expanduser()
    if not os.path.lexists(path):
        return where
    kind = "images" if path.is_dir() else _READ_AS.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"split= needs a data set as the reference, and {where} is a file. Write it as one, "
            'such as against="npz:path=FILE".'
        )
    return f"{kind}:path={quote(where)}"


def _real(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{name} must be a finite number. Got {text!r}.")
    return value


# ----------------------------------------------------------------------------
# What differs between two settings.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """Options that are switched together, under one name.

    Attributes:
        name: What a report calls it.
        options: The names of the options.
    """

    name: str
    options: tuple[str, ...]

    def differs(self, a: Setting, b: Setting) -> bool:
        """Returns whether two settings differ in it."""
        return any(getattr(a, o) != getattr(b, o) for o in self.options)

    def words(self, a: Setting, b: Setting) -> str:
        """Returns what is switched between two settings, of the options that differ.

        Example:
            >>> Factor("n", ("samples",)).words(Setting(samples="100"), Setting(samples="all"))
            'samples=100 to all'
        """
        kept = [o for o in self.options if getattr(a, o) != getattr(b, o)]
        pairs = ((o, getattr(a, o) or "default", getattr(b, o) or "default") for o in kept)
        return ", ".join(f"{o}={before} to {after}" for o, before, after in pairs)


FACTORS = (
    Factor("samples judged", ("fakes",)),
    Factor("reference split", ("against", "split")),
    Factor("n", ("samples",)),
    Factor("resizing", ("size", "resize")),
    Factor("JPEG", ("jpeg",)),
    Factor("dtype and range", ("dtype", "range")),
    Factor("network", ("features", "train")),
    Factor("bias correction", ("bias",)),
    Factor("seed", ("seed", "data_seed")),
)
"""Everything that can be switched."""


def factors_between(a: Setting, b: Setting) -> list[Factor]:
    """Returns what differs between two settings."""
    return [f for f in FACTORS if f.differs(a, b)]


def switched(a: Setting, b: Setting, by: list[Factor]) -> Setting:
    """Returns ``a`` with some of its options as in ``b``."""
    return replace(a, **{o: getattr(b, o) for f in by for o in f.options})


# ----------------------------------------------------------------------------
# Settings as they are asked for: written out, or those of a report.
# ----------------------------------------------------------------------------

_KEYS = tuple(f.name for f in fields(Setting))
_CHOICES = ("fakes", "features")


def setting_of(text: str, both: str, metric: str) -> Setting:
    """Returns the setting that a word of the command line means.

    Args:
        text: ``key=value,key=value``, or a run folder or report of ``gantlet evaluate``;
            ``report=PATH,key=value`` changes settings of a report.
        both: Settings that hold unless ``text`` says otherwise, in the same form.
        metric: Whose recorded value a report is asked for.

    Raises:
        UserError: If it is neither, or a report holds no such value.
    """
    shared, own = _pairs(both), {"report": text} if _is_report(text) else _pairs(text)
    known = _of_report(own, metric) if own.get("report") else {}
    if known:
        # Sets and features choose among what a report holds. What is shared, it says otherwise.
        own = {k: v for k, v in own.items() if known.get(k) != v and k not in _CHOICES}
        shared = {k: v for k, v in shared.items() if k not in known}
        if (shared | own).keys() - {"report", "value"}:
            # What was recorded is not the value of another setting.
            known["value"] = ""
    given = shared | own
    if given.get("features"):
        given["features"] = extractors.resolve(given["features"])
    setting = Setting(**(known | given))
    if "resize" in given and setting.size == "none":
        raise UserError("resize= does nothing without a size: give size=PIXELS too.")
    for name in ("fakes", "against"):
        if not getattr(setting, name):
            raise UserError(
                f"{text!r} does not say {name}: give {name}=WHERE in it, or --{name} for both."
            )
    return setting


def _is_report(text: str) -> bool:
    return os.path.lexists(Path(text).expanduser())


def _pairs(text: str) -> dict[str, str]:
    """Returns the options of ``key=value,key=value``."""
    if not text:
        return {}
    if "=" not in text:
        raise UserError(
            f"{text!r} is neither a report that exists nor a setting: write key=value,key=value "
            f"with the keys {', '.join(_KEYS)}."
        )
    found = Spec.parse(f"setting:{text}").options
    for key in found:
        if key not in _KEYS:
            raise unknown("key of a setting", key, _KEYS)
    return found


def _of_report(given: Mapping[str, str], metric: str) -> dict[str, str]:
    """Returns the settings of a report, with the value that it recorded."""
    where = given["report"]
    report = read_report(Path(where).expanduser())
    if report.command != "evaluate":
        raise UserError(
            f"{where} is a report of {report.command}; why compares reports of evaluate."
        )
    question = report.question
    fakes = _chosen(where, question["fakes"], given.get("fakes", ""))
    features = _features(question, given.get("features", ""))
    is_recorded = features in question["features"]
    return {
        "fakes": fakes,
        "against": str(question["real"]),
        "samples": "all" if question["samples"] is None else str(question["samples"]),
        "features": features,
        "train": question["train"] or "",
        "seed": str(question["seed"]),
        "data_seed": str(question["data_seed"]),
        "value": _recorded(report, where, (fakes, features), metric) if is_recorded else "",
    }


def _features(question: Mapping[str, Any], given: str) -> str:
    """Returns the extractor that is asked for, as the report has it; the first one by default."""
    names = [str(f) for f in question["features"]]
    wanted = extractors.resolve(given) if given else names[0]
    return next((f for f in names if given and extractor_name(f) == given), wanted)


def _chosen(where: str, fakes: Any, name: str) -> str:
    """Returns the set of a report that is meant."""
    known = {named(str(f))[0]: str(f) for f in fakes}
    if name in known or name in known.values():
        return known.get(name, name)
    if name:
        raise unknown(f"set of {where}", name, known)
    if len(known) > 1:
        raise UserError(
            f"{where} judges {len(known)} sets: {', '.join(known)}. Say which: "
            f"report={quote(where)},fakes=NAME."
        )
    return next(iter(known.values()))


def _recorded(report: Report, where: str, of: tuple[str, str], metric: str) -> str:
    """Returns the value of a metric that a report recorded."""
    fakes, extractor = of
    name = f"{short(metric)} ({extractor_name(extractor)})"
    for row in report.rows:
        if row.model == fakes and row.name == name and row.estimate.value is not None:
            return repr(row.estimate.value)
    measured = [metrics.short(m) for m in report.question["metrics"]]
    raise UserError(
        f"{where} has no value of {short(metric)} on {extractor_name(extractor)} features; it "
        f"measured {', '.join(measured)}. Choose one with --metric, or run evaluate again."
    )
