"""The grammar ``name:key=value`` of components, and their registries.

A value that holds a comma, or begins with a double quote, is put in double quotes, in which a
double quote is doubled, as in CSV: ``npy:path="a, ""b"".npy"``. No other character is special, so
any path can be written.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import REAL

if TYPE_CHECKING:
    from gantlet.core.data import Dataset
    from gantlet.core.metric import DataProbe, Extractor, Metric, Probe, TrainMetric
    from gantlet.core.model import Family, FittedFamily, Monitor, Solver, Toy

T = TypeVar("T")

# One option and its value, up to the comma or the end behind it.
_OPTION = re.compile(r'([^,="]*)=(?:"((?:[^"]|"")*)"|(?!")([^,]*))(?:,|\Z)', re.DOTALL)
# Elements of a list are joined by a plus sign, but that of 1e+30 belongs to the number.
_ELEMENT = re.compile(r"(?<![0-9][eE])\+")


@final
@dataclass(frozen=True, slots=True)
class Between:
    """The range of an option, for ``Annotated[float, Between(0, 1)]``; closed by default.

    Attributes:
        low: Lower bound, or None.
        high: Upper bound, or None; infinity is a valid value only if it is the bound.
        below: Whether ``high`` is excluded.
        above: Whether ``low`` is excluded.
    """

    low: float | None = None
    high: float | None = None
    below: bool = False
    above: bool = False

    @property
    def label(self) -> str:
        """The range as text.

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


@final
@dataclass(frozen=True, slots=True)
class Later:
    """Marks an option that a component got after run folders with it were written.

    ``Annotated[int, Between(1), Later()] = 1`` is left out of the written form at its default, so
    that the trials of earlier versions keep their keys and their runs resume.
    """


def _number(value: float) -> str:
    """Returns the shortest text of a bound that keeps its value."""
    short = f"{value:g}"
    return short if float(short) == value else str(value)


@final
@dataclass(frozen=True, slots=True)
class Option:
    """One option of a component, as ``gantlet show`` prints it.

    Attributes:
        name: Its key.
        kind: Its type and range as text.
        default: Its default in written form, or None if it is required.
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
        """Returns the spec that would build ``made``, with every option written out.

        One that is marked ``Later`` is left out at its default.
        """
        later = _later(type(made))
        written = {f.name: _write(getattr(made, f.name)) for f in _fields(type(made))}
        return cls(name, {k: text for k, text in written.items() if later.get(k) != text})

    @override
    def __str__(self) -> str:
        rest = ",".join(f"{k}={quote(v)}" for k, v in self.options.items())
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
    """Returns the options of a component."""
    hints = get_type_hints(cls, include_extras=True)
    return [Option(f.name, _label(hints[f.name]), _default(f)) for f in _fields(cls)]


def _fields(cls: type) -> "list[dataclasses.Field[Any]]":
    return [f for f in dataclasses.fields(cls) if f.init]


def _later(cls: type) -> Mapping[str, str]:
    """Returns the defaults in written form of the options marked ``Later``."""
    hints = get_type_hints(cls, include_extras=True)
    marked = {name for name, hint in hints.items() if _is_later(hint)}
    return {o.name: o.default for o in options(cls) if o.name in marked and o.default is not None}


def _is_later(hint: object) -> bool:
    """Returns whether a type is marked ``Later``, also as a part of a union."""
    return any(isinstance(part, Later) or _is_later(part) for part in get_args(hint))


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


def quote(text: str, special: str = ",") -> str:
    """Returns ``text`` as a value of the grammar, in double quotes where it needs them.

    Args:
        text: Any text.
        special: The characters that it cannot hold without quotes.

    Example:
        >>> quote("a.npy"), quote("a,b.npy")
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


# ----------------------------------------------------------------------------
# Components found by name through entry points; each is imported on first use.
# ----------------------------------------------------------------------------

_NOTHING: Mapping[str, str] = MappingProxyType({})

# Where a component of each group is used, for names given in the wrong place.
_PLACES = {
    "gantlet.families": "a model",
    "gantlet.solvers": "a solver: --solver {}",
    "gantlet.datasets": "a data set",
    "gantlet.features": "an extractor: --features {}",
    "gantlet.metrics": "a metric: --metric {}",
    "gantlet.probes": "a probe of trained models: --probe {}",
    "gantlet.toys": "a toy game: gantlet converge {}",
    "gantlet.studies": "a study: gantlet study {}",
    "gantlet.writers": "a writer of watched trainings: gantlet.Watch(..., to={!r})",
    "gantlet.monitors": "a monitor of trainings: gantlet train ... --monitor {}",
}
_PATH = re.compile(r'[:,](?:path|\w*images|\w*labels|test)=(?!")(.*,.*)\Z', re.DOTALL)

# Option by which a component of files knows their content; its path names it already.
_HASH = "sha256"


@final
class Registry(Generic[T]):
    """The components of one kind that this installation knows.

    Args:
        kind: Kind of the components, in the singular, for messages.
        group: Entry-point group that lists them.
        aliases: Alternative names, with the written form of each.
        pointers: Known names that are not components, with advice in one sentence.
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
        return sorted(entry_points_of(self._group))

    def knows(self, name: str) -> bool:
        """Returns whether ``name`` is a component, or an alias of one."""
        return self._canonical(name) in {*entry_points_of(self._group), *self.aliases}

    def expand(self, text: str) -> Spec:
        """Returns the spec of ``text``, with aliases expanded.

        Example:
            >>> registry = Registry("solver", "gantlet.solvers", {"eg": "extragradient:clip=1"})
            >>> str(registry.expand("eg:lr=0.1"))
            'extragradient:clip=1,lr=0.1'
        """
        spec = Spec.parse(text)
        name = self._canonical(spec.name)
        if name not in self.aliases or name in entry_points_of(self._group):
            return Spec(name, spec.options)
        stands = Spec.parse(self.aliases[name])
        return Spec(stands.name, {**stands.options, **spec.options})

    def load(self, name: str) -> type[T]:
        """Returns the class behind ``name``.

        Raises:
            UserError: If the name is unknown, or the package that defines it cannot be imported.
        """
        points = entry_points_of(self._group)
        found = self.expand(name).name
        if found not in points:
            raise self._unknown(name)
        return cast("type[T]", _load(self.kind, points[found]))

    def make(self, text: str) -> T:
        """Builds the component that ``text`` describes, as ``name:key=value,...``.

        Raises:
            UserError: If the name, an option or a value is unknown, or ``text`` has a path with
                a comma that is not quoted.
        """
        _check_paths(text)
        spec = self.expand(text)
        return spec.build(self.load(spec.name))

    def resolve(self, text: str) -> str:
        """Returns ``text`` with every option written out, defaults included.

        An option marked ``Later`` is left out at its default.

        Example:
            >>> Registry("solver", "gantlet.solvers").resolve("sgd:lr=0.1")
            'sgd:lr=0.1,momentum=0.0,clip=none,steps=1,mode=alternating'
        """
        return str(Spec.of(self.expand(text).name, self.make(text)))

    def short(self, text: str) -> str:
        """Returns the short form of ``text``, without defaults and hashes of files.

        Example:
            >>> Registry("solver", "gantlet.solvers").short("adam:lr=0.01,beta1=0.9,clip=none")
            'adam:lr=0.01'
        """
        spec = Spec.parse(self.resolve(text))
        defaults = {o.name: o.default for o in options(self.load(spec.name))}
        changed = {k: v for k, v in spec.options.items() if v != defaults[k] and k != _HASH}
        return str(Spec(spec.name, changed))

    def _canonical(self, name: str) -> str:
        """Returns ``name`` as registered; accepts variants such as ``ms_ssim`` and ``MNIST``."""
        if name in entry_points_of(self._group):
            return name
        plain = name.strip().lower().replace("_", "-")
        known = {*entry_points_of(self._group), *self.aliases, *self.pointers}
        return plain if plain in known else name

    def _unknown(self, name: str) -> UserError:
        plain = self._canonical(name)
        if plain in self.pointers:
            return UserError(f"No {self.kind} is called {name!r}. {self.pointers[plain]}")
        article = "an" if self.kind[0] in "aeiou" else "a"
        for group, words in _PLACES.items():
            if group != self._group and plain in entry_points_of(group):
                return UserError(
                    f"{name!r} is not {article} {self.kind} but {words.format(name)}. "
                    f"Known: {', '.join(self.names())}."
                )
        return unknown(self.kind, name, self.names(), [*self.aliases, *self.pointers])


@cache
def installed_points() -> Mapping[str, Mapping[str, EntryPoint]]:
    """Returns all installed entry points by group and name; nothing is imported.

    Read once: each reading parses the metadata of every installed package.
    """
    found = entry_points()
    return {group: {p.name: p for p in found.select(group=group)} for group in found.groups}


def entry_points_of(group: str) -> Mapping[str, EntryPoint]:
    """Returns the installed entry points of a group by name; nothing is imported."""
    return installed_points().get(group, {})


def _load(kind: str, point: EntryPoint) -> object:
    """Imports a component; errors of its package are reported with the package name."""
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
    """Refuses an unquoted path with a comma, which would be truncated and another file read."""
    found = _PATH.search(text)
    if found is None:
        return
    for path in _prefixes(found[1]):
        if "," in path and Path(path).expanduser().exists():
            raise UserError(
                f"{text!r} names {path!r}, which exists and holds a comma. Put the path in double "
                f"quotes: {text[: found.start(1)]}{quote(path)}"
            )


def _prefixes(rest: str) -> Iterator[str]:
    """Yields ``rest`` up to each of its commas, the longest first."""
    parts = list(accumulate(rest.split(","), lambda a, b: f"{a},{b}"))
    yield from reversed(parts)


# ----------------------------------------------------------------------------
# The registries, one for each kind of component.
# ----------------------------------------------------------------------------

_IN_FILE = (
    "Such a file can be sampled and not trained: it stands among the samples of gantlet evaluate, "
    "flaws and support. The family module trains networks of a Python file."
)
families: "Registry[Family | FittedFamily]" = Registry(
    "family",
    "gantlet.families",
    {
        "realnvp": "flow:arch=realnvp",
        "glow": "flow:arch=glow",
        "nsf": "flow:coupling=spline",
        "normalizing-flow": "flow",
        "flow-matching": "diffusion",
        "rectified-flow": "diffusion",
        "autoregressive": "ar",
        "transformer": "ar:net=transformer",
        "made": "ar:net=made",
        "beta-vae": "vae:beta=4",
        "r3gan": "gan",
        "dcgan": "gan:net=conv,loss=ns,penalty=none",
        # gamma / 2 weighs the penalty: 20 is the paper's weight of 10.
        "wgan-gp": "gan:loss=wgan,penalty=gp,gamma=20",
        "sngan": "gan:loss=hinge,penalty=none,spectral=true",
        "pacgan": "pac-gan",
        "otgan": "ot-gan",
        "language-model": "lm",
        "gru": "lm:net=gru",
        "lstm": "lm:net=lstm",
        "gumbel-gan": "text-gan",
        "relgan": "text-gan",
        "scratchgan": "scratch-gan",
        "reinforce": "scratch-gan",
        "maskgan": "mask-gan",
        "seqgan": "scratch-gan:rollouts=4,start=300",
        "gaussian-mixture": "gmm",
    },
    {
        "ddpm": "The nearest is diffusion, which is trained by flow matching.",
        "ddim": "The nearest is diffusion, which is sampled by an ordinary differential equation.",
        "edm": "The nearest is diffusion, which is trained by flow matching.",
        "score": "The nearest is diffusion, which is trained by flow matching.",
        "wgan": "The nearest is wgan-gp, with a penalty in place of clipped weights.",
        "pixelcnn": "The nearest is ar:net=transformer.",
        "maf": "The nearest is ar:net=made.",
        "iaf": "The nearest is flow:arch=realnvp.",
        "onnx": _IN_FILE,
        "torchscript": _IN_FILE,
    },
)
solvers: "Registry[Solver]" = Registry(
    "solver",
    "gantlet.solvers",
    {"eg": "extragradient", "ogda": "optimistic", "omd": "optimistic", "gd": "sgd"},
)
datasets: "Registry[Dataset]" = Registry(
    "data set",
    "gantlet.datasets",
    {
        "fashion": "fashion-mnist",
        "fmnist": "fashion-mnist",
        "fashionmnist": "fashion-mnist",
        "cifar": "cifar10",
        "cifar-10": "cifar10",
        "stl-10": "stl10",
        "two-moons": "moons",
        "triangles": "polygons:vertices=3",
        "dsprites": "sprites",
        "stacked-mnist": "stacked-digits",
        "imagefolder": "images",
        "image": "images",
        "sounds": "audio",
        "txt": "text",
    },
)
extractors: "Registry[Extractor]" = Registry(
    "extractor",
    "gantlet.features",
    {
        "inception-v3": "inception",
        "inceptionv3": "inception",
        "dino": "dinov2",
        "raw": "pixels",
    },
    {
        "vgg": "Export your network: --features torchscript:path=FILE or onnx:path=FILE.",
        "resnet": "Export your network: --features torchscript:path=FILE or onnx:path=FILE.",
    },
)
metrics: "Registry[Metric | TrainMetric]" = Registry(
    "metric",
    "gantlet.metrics",
    {
        "fd": "frechet",
        "is": "inception-score",
        "swd": "sliced-wasserstein",
        "max-swd": "max-sliced-wasserstein",
        "msssim": "ms-ssim",
        "classifier-two-sample-test": "c2st",
        "alpha": "alpha-precision",
        "beta": "beta-recall",
    },
    {
        "fid": "FID is frechet on inception features: --metric frechet --features inception.",
        "fid-infinity": "It is frechet-infinity on inception features: --metric frechet-infinity "
        "--features inception.",
        "fd-dinov2": "It is frechet on dinov2 features: --metric frechet --features dinov2.",
        "fad": "FAD is frechet on audio features: --metric frechet --features spectrogram.",
        "nll": "Likelihood is measured on every trained model that has one; see gantlet compare.",
        "bpd": "Likelihood is measured on every trained model that has one; see gantlet compare.",
        "prc": "Use --metric precision --metric recall, or --metric prd.",
        "wasserstein": "The nearest are sliced-wasserstein and max-sliced-wasserstein.",
    },
)
probes: "Registry[Probe | DataProbe]" = Registry(
    "probe", "gantlet.probes", {"nll": "likelihood", "bpd": "likelihood", "params": "parameters"}
)
toys: "Registry[Toy]" = Registry(
    "toy game", "gantlet.toys", {"dirac-gan": "dirac", "bilinear": "saddle"}
)
studies: "Registry[Any]" = Registry("study", "gantlet.studies")
writers: "Registry[Any]" = Registry(
    "writer",
    "gantlet.writers",
    {"tb": "tensorboard", "weights-and-biases": "wandb", "ml-flow": "mlflow", "json": "jsonl"},
)
monitors: "Registry[Monitor]" = Registry("monitor", "gantlet.monitors", {"gns": "noise"})

REGISTRIES: "dict[str, Registry[Any]]" = {
    "families": families,
    "solvers": solvers,
    "datasets": datasets,
    "features": extractors,
    "metrics": metrics,
    "probes": probes,
    "toys": toys,
    "studies": studies,
    "writers": writers,
    "monitors": monitors,
}
"""Every registry by the plural name of its components."""


def label(model: str) -> str:
    """Returns the short name of a model, without options at their default.

    Example:
        >>> label("gan:latent=32,loss=hinge")
        'gan:loss=hinge'
    """
    return "held-out real data" if model == REAL else families.short(model)
