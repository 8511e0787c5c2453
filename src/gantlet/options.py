"""The options of every command, once: names, types, defaults, ranges and what they mean.

The command line, the functions of Python, their help, the checks of values and ``run.json`` are
made from these dataclasses. An option is a field; what it means stands in the docstring of its
class; its range or choices stand in its annotation; where the command line has another name for
it, or it had another name before, an ``Option`` says so. Nothing here needs torch.
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass
from inspect import Parameter, Signature, get_annotations, getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import override

from gantlet.core.arguments import check_value
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.spec import Between

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gantlet.given import Given

    Grouping: TypeAlias = str | Path | Sequence[object] | Tensor | NDArray[np.generic]
else:
    Given = Any
    Grouping = Any


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a command line must know of an option besides its name, type and default.

    Attributes:
        flags: How the command line spells it; empty for two dashes and its name.
        several: Whether the command line takes any number of values: as arguments for what is
            told by its place, else by repetition.
        by_name: Whether the command line wants the name of what Python is told by its place.
        aliases: Names that it had before, which work for one more version; in Python only where
            the option must be given.
    """

    flags: tuple[str, ...] = ()
    several: bool = False
    by_name: bool = False
    aliases: tuple[str, ...] = ()


Seed = Annotated[int, Between(0, 2**63 - 1)]  # torch takes no larger one
Seeds = Annotated[int, Between(1, 10_000)]
Batch = Annotated[int, Between(1, 2**24)]
SampleCount = Annotated[int, Between(2, 2**31)]
Patience = Annotated[int, Between(1, 2**31)]
Snapshots = Annotated[int, Between(0, 100_000)]
Outputs = Annotated[int, Between(1, 2**20)]
Files = Annotated[int, Between(0, 2**31)]
Threads = Annotated[int, Between(1, 4096)]
Workers = Annotated[int, Between(1, 4096)]

Select = Literal["best", "last"]
"""Which weights are judged: those that validated best, or the last."""

Retry = Literal["failed", "all", "none"]
"""Which failed trials run again: those whose failure may pass (``failed``), all, or none.

That training diverged, or that a model cannot be trained on this data, is a result.
"""

Mode = Literal["guided", "linear", "transport", "neural", "pca"]
"""How flaws are looked for: named measurements first, then directions of features; directions
alone, each taken away before the next; the same with fakes carried onto reals along each; small
critics, each blind to those before; the principal components of a small critic's activations."""

Blind = Literal["residual", "project"]
"""How a small critic is made blind: it is trained on what is left unexplained, or the directions
of features that moved those before it are taken away."""

DEFAULT_BUDGET = Budget(flops=2e11)

METRICS = (
    "frechet",
    "kid",
    "energy",
    "sliced-wasserstein",
    "precision",
    "recall",
    "density",
    "coverage",
    "c2st",
)
"""What ``compare`` measures by default."""


@final
class Texts(tuple[str, ...]):
    """What a command line says in several words, where a list means something else."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How flaws are looked for.

    Attributes:
        mode: How flaws are searched: named measurements first, directions alone, or critics.
        level: Significance level of the whole list (family-wise error rate).
        smallest: Minimum effect size, in standard deviations of the real samples.
        most: Maximum number of directions examined.
        permutations: Number of label permutations for each p-value.
        blind: How the small critics of the mode neural are kept from finding a flaw again.
    """

    mode: Mode = "guided"
    level: Annotated[float, Between(0, 1, below=True, above=True)] = 0.05
    smallest: Annotated[float, Between(0, 100)] = 0.2
    most: Annotated[int, Between(1, 1000)] = 12
    permutations: Annotated[int, Between(19, 10**6)] = 1999
    blind: Blind = "residual"


@dataclass(frozen=True)
class Options:
    """The options of one command; they are checked when they are made."""

    heading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Checks every option, and puts numbers and lists into their usual types.

        Raises:
            TypeError: If one is of another type than is needed.
            UserError: If one is out of range, or none of its choices.
        """
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), hint))


@dataclass(frozen=True, kw_only=True)
class Running(Options):
    """How and where to run.

    Attributes:
        out: Run folder; one that holds the same question goes on. Default: one below runs/.
        workers: Processes that run trials side by side. Default: what suits command and cores.
        threads: Threads of each trial; part of what decides the last digits.
        retry: Trials that failed before and run again: failed (for lack of memory, for one),
            all (also those that diverged or cannot be run), or none.
        device: Where to train: cpu or cuda.
    """

    heading: ClassVar[str] = "Running"

    out: str | Path | None = None
    workers: Workers | None = None
    threads: Threads = 1
    retry: Retry = "failed"
    device: str = "cpu"


@dataclass(frozen=True)
class Training(Running):
    """How models are trained and judged.

    Attributes:
        data: Data set, as name or name:key=value,key=value.
        budget: What each model may spend in training; 2e11 FLOPs by default.
        solver: Optimizer of the players; auto is what suits the family.
        batch: Samples in a batch.
        samples: How many samples to judge at most.
        select: Judge the weights that validated best, or the last.
        patience: Stop after this many validations without a better one.
        snapshots: How often to save all players over the budget, for gantlet tournament.
        data_seed: Seed of the train/validation/test split.
    """

    heading: ClassVar[str] = ""

    _: KW_ONLY
    data: str = "digits"
    budget: Budget | None = None
    solver: str = "auto"
    batch: Batch = 128
    samples: SampleCount = 2000
    select: Select = "best"
    patience: Patience | None = None
    snapshots: Snapshots = 0
    data_seed: Seed = 0


@final
@dataclass(frozen=True)
class Compare(Training):
    """The options of ``gantlet compare``.

    Attributes:
        models: Models, each as name or name:key=value,key=value.
        seeds: How many times to repeat everything.
        metrics: Distance to measure; repeat for more.
        features: What distances are measured on, the first one ranks; repeat for more. Default:
            what suits the data.
        probes: What to measure on the models themselves besides the usual; repeat for more: ais.
    """

    models: Annotated[Sequence[str], Option(several=True)]
    _: KW_ONLY
    seeds: Seeds = 3
    metrics: Annotated[Sequence[str], Option(flags=("--metric",), several=True)] = METRICS
    features: Annotated[Sequence[str], Option(several=True)] = ()
    probes: Annotated[Sequence[str], Option(flags=("--probe",), several=True)] = ()


@final
@dataclass(frozen=True)
class Train(Training):
    """The options of ``gantlet train``.

    Attributes:
        model: Model family, as name or name:key=value,key=value.
        seed: Random seed of the training.
    """

    model: str
    _: KW_ONLY
    seed: Seed = 0


@dataclass(frozen=True)
class Judging(Running):
    """Which samples are judged, against which, and how many of them.

    Attributes:
        fake: Sets of samples to judge.
        against: The real samples.
        train: What the models learned from, and extractors may; shows copies.
        samples: How many samples of a set to use at most, or all; as many are drawn from a model.
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        skip_bad: How many files of a folder that cannot be read may be left out; they are named.
        workers: Processes that run trials side by side; each would train the extractor.
    """

    heading: ClassVar[str] = "Samples"

    fake: Annotated["Given | Mapping[str, Given] | Sequence[str | Path]", Option(several=True)]
    against: Annotated["Given", Option(by_name=True, aliases=("real",))]
    _: KW_ONLY
    train: "Given | None" = None
    samples: SampleCount | Literal["all"] | None = 10_000
    seed: Seed = 0
    data_seed: Seed = 0
    skip_bad: Files = 0
    workers: Workers | None = 1


@final
@dataclass(frozen=True)
class Evaluate(Judging):
    """The options of ``gantlet evaluate``.

    Attributes:
        features: What distances are measured on; repeat for more. Default: what suits the data.
        metrics: What is measured; repeat for more. Default: the usual.
        rank: The metric by which several sets are ranked.
        pairs: What each output should have been, for translation, infilling and edits.
        outputs: How many outputs there are for each of these, one after the other.
        control: Other real samples for the noise floor, in neither reference nor training set.
            Default: the rest of the data set, else a part of the reference.
        groups: Which samples belong together (one subject, prompt or source): a column of a table,
            a file with one label a line, or a regular expression with one group for file names;
            NAME=WHAT for one set (real, fake, control, train or its name); repeat for more. In
            Python also one label for each sample, and a dict in place of NAME=WHAT.
    """

    _: KW_ONLY
    features: Annotated[Sequence[str], Option(several=True)] = ()
    metrics: Annotated[Sequence[str], Option(flags=("--metric",), several=True)] = ()
    rank: str = "kid"
    pairs: "Given | None" = None
    outputs: Outputs = 1
    control: "Given | None" = None
    groups: Annotated["Grouping | Mapping[str, Grouping] | None", Option(several=True)] = None


@final
@dataclass(frozen=True)
class Flaws(Judging):
    """The options of ``gantlet flaws``.

    Attributes:
        features: Feature extractor. Default: what suits the data.
        search: How flaws are looked for.
    """

    _: KW_ONLY
    features: str = ""
    search: Search = Search()


@final
@dataclass(frozen=True)
class Tournament(Running):
    """The options of ``gantlet tournament``.

    Attributes:
        runs: Run folders of gantlet train or compare, of the same data.
        samples: How many samples of each generator to judge at most.
        seed: Draws the samples.
    """

    runs: Annotated[str | Path | Sequence[str | Path], Option(several=True)]
    _: KW_ONLY
    samples: Annotated[int, Between(20, 2**31)] = 1000
    seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            UserError: If one is out of range, or another device than the CPU is asked for.
        """
        if self.device != "cpu":
            raise UserError("A tournament is played on the cpu. Leave out --device.")
        super().__post_init__()

    @property
    def folders(self) -> tuple[str, ...]:
        """The run folders, of which one may be given alone."""
        runs = self.runs
        return (str(runs),) if isinstance(runs, (str, Path)) else tuple(map(str, runs))


@final
@dataclass(frozen=True)
class Converge(Running):
    """The options of ``gantlet converge``.

    Attributes:
        model: Model family, toy game, or a finished training with snapshots as RUN@MODEL#SEED.
        data: Data set, as name or name:key=value,key=value.
        seed: From which every random number follows.
        budget: What training may spend; 2e11 FLOPs by default, 1000 steps for a toy game.
        solver: How the players move; auto is what suits the family.
        batch: Samples in a batch.
        try_: Train again with what is recommended, at most three changes, and show both.
        data_seed: From which the splits follow.
    """

    model: str
    _: KW_ONLY
    data: str = "digits"
    seed: Seed = 0
    budget: Budget | None = None
    solver: str = "auto"
    batch: Batch = 128
    try_: Annotated[bool, Option(flags=("--try",))] = False
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Checks every option; ``retry=True`` is what ``try_=True`` was called before."""
        retry = cast("object", self.retry)
        if isinstance(retry, bool):
            warnings.warn(
                "retry=True is now try_=True: retry says which failed trials run again.",
                DeprecationWarning,
                stacklevel=5,
            )
            object.__setattr__(self, "try_", retry)
            object.__setattr__(self, "retry", "failed")
        super().__post_init__()


@final
@dataclass(frozen=True)
class Cost(Options):
    """The options of ``gantlet cost``.

    Attributes:
        families: Model families, each as name or name:key=value,key=value.
        data: Data set, as name or name:key=value,key=value.
        examples: Training examples to be shown, repeats counted; 1e6 unless flops are given.
        flops: Budget of operations in place of examples; says how many steps it pays for.
        batch: Samples in a batch.
        solver: Optimizer of the players; auto is what suits the family.
        published: Count six published runs from their configurations instead.
        threads: Threads to use.
        data_seed: From which the splits follow.
    """

    families: Annotated[Sequence[str], Option(several=True)] = ()
    _: KW_ONLY
    data: str = "digits"
    examples: Annotated[int, Between(1, 10**18)] | None = None
    flops: Annotated[float, Between(0, above=True)] | None = None
    batch: Batch = 128
    solver: str = "auto"
    published: bool = False
    threads: Threads = 1
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Checks every option, and that they fit together."""
        super().__post_init__()
        if bool(self.families) == self.published:
            raise UserError("Name a family, such as gan, or give --published; not both.")
        if self.flops is not None and self.examples is not None:
            raise UserError("Give --examples or --flops, not both.")


@final
@dataclass(frozen=True)
class Sample(Options):
    """The options of ``gantlet sample``.

    Attributes:
        run: Run folder of `gantlet compare` or `gantlet train`.
        model: Which of its models; needed where there are several.
        seed: Which seed of that model.
        n: How many samples.
        noise: Seed of the sampling itself.
        out: Where to put them: .npz, .npy, .safetensors, or .png for a picture of all.
    """

    run: str | Path
    _: KW_ONLY
    model: str | None = None
    seed: Seed = 0
    n: Annotated[int, Between(1, 2**31), Option(flags=("-n", "--n"))] = 64
    noise: Seed = 0
    out: str | Path = Path("samples.npz")


@final
@dataclass(frozen=True)
class Study(Running):
    """The options of ``gantlet study``.

    Attributes:
        name: The study; `gantlet list studies` names them.
        size: small: minutes to an hour on two cores; full: hours, or a GPU; `gantlet show`, with
            the study's name, lists all.
        data: Another data set than the study's own.
        seeds: Another number of repeats than the study's own.
    """

    name: str
    _: KW_ONLY
    size: str = "small"
    data: str | None = None
    seeds: Seeds | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One option, as command line and Python are made from it.

    Attributes:
        name: Its name in Python.
        hint: Its type, with range and ``Option``.
        default: Its default, or ``inspect.Parameter.empty`` where it must be given.
        help: What it means.
        is_positional: Whether it is told by its place.
        heading: Under what the help lists it, or nothing.
    """

    name: str
    hint: Any
    default: Any
    help: str
    is_positional: bool
    heading: str

    @property
    def option(self) -> Option:
        """What a command line must know of it."""
        return next((m for m in _marks(self.hint) if isinstance(m, Option)), Option())

    @property
    def kind(self) -> Any:
        """Its type without marks."""
        return _bare(self.hint)

    @property
    def group(self) -> type | None:
        """The dataclass whose fields the command line lists in place of this one, or None."""
        kinds = [k for k in (get_args(self.kind) or (self.kind,)) if k is not NoneType]
        is_one = len(kinds) == 1 and isinstance(kinds[0], type)
        first: type = kinds[0]
        return first if is_one and hasattr(first, "__dataclass_fields__") else None


def fields_of(cls: type) -> list[Field]:
    """Returns the options of a command: those told by place, its own, those that it shares."""
    hints, meanings = _hints(cls), described(cls)[1]
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    found: dict[str, Field] = {}
    for home in cls.__mro__:
        for name in get_annotations(home):
            if name in known and name not in found:
                f = known[name]
                found[name] = Field(
                    name=name,
                    hint=hints[name],
                    default=_default(f),
                    help=meanings.get(name, ""),
                    is_positional=not f.kw_only,
                    heading=_heading(cls, name),
                )
    return sorted(found.values(), key=lambda f: not f.is_positional)


def _heading(cls: type, name: str) -> str:
    """Returns the heading of the most general class that has an option, if it is shared."""
    homes = [c for c in cls.__mro__ if name in get_annotations(c)]
    return "" if homes[-1] is cls else getattr(homes[-1], "heading", "")


def described(cls: type) -> tuple[str, dict[str, str]]:
    """Returns what a class is, and what its attributes mean, those of its bases among them."""
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


def renamed(
    cls: type, given: Mapping[str, Any], tell: Callable[[str, str], None]
) -> dict[str, Any]:
    """Returns options by their names of today.

    Args:
        cls: Options of which command.
        given: Options by name; some perhaps by a name of before.
        tell: Told the old name and the new one.

    Raises:
        UserError: If an option is given by both names.
    """
    today = {old: f.name for f in fields_of(cls) for old in f.option.aliases}
    found: dict[str, Any] = {}
    for name, value in given.items():
        new = today.get(name, name)
        if new != name:
            tell(name, new)
        if new in found or (new != name and new in given):
            raise UserError(f"{new} and {name} are the same option. Give it once.")
        found[new] = value
    return found


def given_of(options: object) -> dict[str, Any]:
    """Returns the options that differ from their defaults as plain data, for ``run.json``."""
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
    """Returns a docstring without its list of attributes, and what each of those means."""
    before, _, after = doc.partition("\nAttributes:\n")
    items, _, rest = after.partition("\n\n")
    pairs = re.findall(r"(?m)^    (\w+): ((?:.+\n?(?:     +.+\n?)*))", items)
    meanings = {name: " ".join(text.split()) for name, text in pairs}
    return f"{before.strip()}\n\n{rest.strip()}".strip().replace("``", "`"), meanings


def _hints(cls: type) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(cls)]
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in names}


def _default(f: "dataclasses.Field[Any]") -> Any:
    return Parameter.empty if f.default is MISSING else f.default


def _marks(hint: Any) -> Sequence[object]:
    """Returns the marks of an annotation, those of its parts among them."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return (*marks, *_marks(inner))
    if get_origin(hint) in (Union, UnionType):
        return [m for part in get_args(hint) for m in _marks(part)]
    return ()


def _bare(hint: Any) -> Any:
    """Returns a type without its marks."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_bare(part) for part in get_args(hint))]  # noqa: UP007  (made here)
    return hint
