"""The options of every command, defined once: names, types, defaults, ranges and descriptions.

The command line, the Python functions, their help, validation and ``run.json`` are generated from
these dataclasses. An option is a field; the docstring of its class describes it; its annotation
gives its range or choices, as ``gantlet.core.option_fields`` reads it. Importing this module does
not import torch.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    cast,
    final,
)

from typing_extensions import override

from gantlet.core.arguments import check_duration, check_value
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.option_fields import OptionHelp, hints_of, with_current_names
from gantlet.core.spec import Between

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gantlet.core.model import Game
    from gantlet.given import SamplesLike

    Grouping: TypeAlias = str | Path | Sequence[object] | Tensor | NDArray[np.generic]
else:
    Game = Any
    SamplesLike = Any
    Grouping = Any


Seed = Annotated[int, Between(0, 2**63 - 1)]  # torch takes no larger one
Share = Annotated[float, Between(0, 1, below=True)]
Steps = Annotated[int, Between(1, 2**31)]
Seeds = Annotated[int, Between(1, 10_000)]
BatchSize = Annotated[int, Between(1, 2**24)]
SampleCount = Annotated[int, Between(2, 2**31)]
Patience = Annotated[int, Between(1, 2**31)]
Snapshots = Annotated[int, Between(0, 100_000)]
Outputs = Annotated[int, Between(1, 2**20)]
Files = Annotated[int, Between(0, 2**31)]
Threads = Annotated[int, Between(1, 4096)]
Workers = Annotated[int, Between(1, 4096)]
AsyncWorkers = Annotated[int, Between(0, 4096)]

Select = Literal["best", "last"]
"""Which weights are evaluated: those with the best validation, or the last."""

Retry = Literal["failed", "all", "none"]
"""Which failed trials run again: those whose failure may be transient (``failed``), all, or none.

Divergence, or a model that cannot be trained on this data, is a result, not a transient failure.
"""

Mode = Literal["guided", "linear", "transport", "neural", "pca"]
"""Search algorithm: ``guided``, attributes first, then feature directions; ``linear``, feature
directions alone, with deflation after each; ``transport``, the same with optimal transport of the
fake samples along each direction; ``neural``, a sequence of small critics with deflation;
``pca``, the principal components of a small critic's activations."""

Deflation = Literal["residual", "projection"]
"""How known flaws are removed before the next small critic is trained: by training it on the
residual, or by projecting out the feature directions to which earlier critics were sensitive."""

Collide = Literal["auto", "near", "exact"]
"""Which samples collide: those nearer than real samples are (``near``), or equal ones (``exact``).
``auto``: equal ones where the threshold of ``near`` is 0, as for discrete samples."""

ModesOf = Literal["auto", "known", "classes", "cells"]
"""What the modes of the data are: those of a synthetic data set, classes, or cells of k-means."""

Precision = Literal["fp32", "bf16"]
"""Arithmetic of training steps: ``fp32``, or ``bf16`` for matrix products and convolutions, with
weights, sums and losses in fp32 (autocast). Validation and evaluation are always in fp32."""

AsyncEngine = Literal["processes", "ray"]
"""Workers of asynchronous training: processes on this host with shared memory, or Ray actors."""
Rate = Literal["constant", "sqrt", "linear"]
"""How a learning rate follows the batch: not at all, by its root, or in proportion."""

DEFAULT_BUDGET = Budget(flops=2e11)
"""Of anything but images, and of images of at most 64 numbers."""

_SMALL = 64  # numbers of an image
_GROWTH = 1.25
_MOST = 1e15  # FLOPs


def default_budget(kind: str, size: int) -> Budget:
    """Returns the training budget of each model where none is given.

    A step costs operations in proportion to the numbers of a sample, and images of more numbers
    need wider networks and more steps: 2e11 FLOPs for 8x8 images grow with the power 1.25 of the
    numbers of an image, rounded to one digit, up to 1e15: what larger images may cost is for their
    owner to say.

    Args:
        kind: The kind of data.
        size: Numbers of one sample.

    Example:
        >>> [f"{default_budget('image', n).flops:g}" for n in (64, 784, 3072, 12288)]
        ['2e+11', '5e+12', '3e+13', '1e+14']
        >>> default_budget("table", 5000).flops
        200000000000.0
    """
    if kind != "image" or size <= _SMALL:
        return DEFAULT_BUDGET
    return Budget(flops=min(_MOST, float(f"{2e11 * (size / _SMALL) ** _GROWTH:.0e}")))


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
"""The usual metrics of ``compare``, whatever the kind of data."""


@final
class Texts(tuple[str, ...]):
    """Several values of one command-line option, as opposed to a list passed in Python."""

    __slots__ = ()


T = TypeVar("T")


def _with_old_names(cls: type[T]) -> type[T]:
    """Makes a constructor accept deprecated names of fields, with a warning."""
    make: Any = cls.__init__

    @wraps(make)
    def init(self: T, **given: Any) -> None:
        def warn(old: str, new: str) -> None:
            text = f"{old}= is now {new}=; the old name works in this version only."
            warnings.warn(text, DeprecationWarning, stacklevel=4)

        make(self, **(with_current_names(cls, given, warn) if given else {}))

    renaming: Any = init
    cls.__init__ = renaming  # type: ignore[method-assign]
    return cls


@_with_old_names
@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Settings of the search for flaws.

    Attributes:
        mode: Search algorithm: guided (attributes first, then feature directions), linear and
            transport (feature directions), neural (small critics), or pca (critic activations).
        level: Significance level of the whole list (family-wise error rate).
        min_effect: Minimum effect size, in standard deviations of the real samples.
        max_directions: Maximum number of directions examined.
        permutations: Number of label permutations for each p-value.
        deflation: How the mode neural removes known flaws before it trains the next critic:
            by fitting residuals, or by projection onto the orthogonal complement.
    """

    mode: Mode = "guided"
    level: Annotated[float, Between(0, 1, below=True, above=True)] = 0.05
    min_effect: Annotated[float, Between(0, 100), OptionHelp(aliases=("smallest",))] = 0.2
    max_directions: Annotated[int, Between(1, 1000), OptionHelp(aliases=("most",))] = 12
    permutations: Annotated[int, Between(19, 10**6)] = 1999
    deflation: Annotated[
        Deflation, OptionHelp(aliases=("blind",), old_values=(("project", "projection"),))
    ] = "residual"

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> "Search":
        """Returns the settings that ``stored`` wrote."""
        return cls(**with_current_names(cls, stored, lambda _old, _new: None))

    def stored(self) -> dict[str, object]:
        """Returns the settings under the names that run folders use.

        These never change: a run is found again by them.
        """
        return {
            "mode": self.mode,
            "level": self.level,
            "smallest": self.min_effect,
            "most": self.max_directions,
            "permutations": self.permutations,
            "blind": "project" if self.deflation == "projection" else self.deflation,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SupportTests:
    """Settings of the tests of a support.

    Attributes:
        collisions: Which samples collide: near ones (nearer than the threshold), exact duplicates,
            or auto.
        pair_share: Share of real pairs below the threshold of near collisions.
        modes: What modes are: known (synthetic data), classes (of a classifier), cells (of
            k-means), or auto.
        cells: Number of cells. Default: one for each 40 held-out samples, at most 50.
        invert: Maximum number of held-out samples to invert, for models with latent vectors in a
            run directory; 0 for none.
        level: Significance level of all tests together (family-wise error rate).
    """

    collisions: Collide = "auto"
    pair_share: Annotated[float, Between(0, 0.1, above=True)] = 1e-4
    modes: ModesOf = "auto"
    cells: Annotated[int, Between(2, 10_000)] | None = None
    invert: Annotated[int, Between(0, 100_000)] = 128
    level: Annotated[float, Between(0, 1, below=True, above=True)] = 0.05

    def stored(self) -> dict[str, object]:
        """Returns the settings as plain data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Options:
    """The options of one command, validated on construction."""

    heading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Validates every option and converts numbers and lists to their standard types.

        Raises:
            TypeError: If an option has the wrong type.
            UserError: If an option is out of range or not one of its choices.
        """
        for name, hint in hints_of(type(self)).items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), hint))


@dataclass(frozen=True, kw_only=True)
class Running(Options):
    """Execution settings.

    Attributes:
        out: Run directory; resumes if it holds the same configuration. Default: one below runs/.
        workers: Number of parallel worker processes. Default: chosen by command and cores.
        threads: Threads per trial (changes rounding).
        retry: Failed trials to run again: failed (possibly transient failures, such as out of
            memory), all (also those that diverged or cannot be run), or none.
        device: Device: cpu or cuda.
    """

    heading: ClassVar[str] = "Running"

    out: str | Path | None = None
    workers: Workers | None = None
    threads: Threads = 1
    retry: Retry = "failed"
    device: str = "cpu"


@dataclass(frozen=True)
class Training(Running):
    """Training and evaluation settings.

    Attributes:
        data: Data set, as name or name:key=value,key=value.
        budget: Training budget per model. Default: 2e11 FLOPs, more for images above 8x8: 5e12 at
            28x28, 3e13 at 32x32 in colour, 1e14 at 64x64 in colour.
        time: Training time per model in place of a budget, such as 90s, 20min or 2h: CPU time on
            this machine, turned into FLOPs by a short measured run and recorded as FLOPs.
        solver: Optimizer (training algorithm); auto: the default of the family.
        batch: Batch size. Default: that of the family, 128 for most.
        samples: Maximum number of samples to evaluate.
        select: Weights to evaluate: those with the best validation, or the last.
        patience: Early stopping: number of validations without improvement.
        snapshots: Number of snapshots of all players during training, for gantlet tournament.
        ema: Decay of the exponential moving average of the weights to evaluate; 0 for none.
            Default: that of the family.
        average_from: Evaluate the uniform average of the weights from this share of the budget on,
            such as 0.5, in place of the exponential one.
        average_every: Steps from one set of weights in the uniform average to the next.
        asynchronous: Number of workers of asynchronous training; 0 is synchronous. Their updates
            are stale, and the result does not repeat bit for bit.
        async_engine: Workers of asynchronous training: processes on this host, or Ray actors.
        monitors: Measurement during training, such as noise; repeat for more.
        precision: Arithmetic of training steps: fp32, or bf16 for matrix products and
            convolutions (autocast), faster where the hardware has it; evaluation is in fp32.
        data_seed: Seed of the train/validation/test split.
    """

    heading: ClassVar[str] = ""

    _: KW_ONLY
    data: str = "digits"
    budget: Budget | None = None
    time: str | None = None
    solver: str = "auto"
    batch: BatchSize | None = None
    samples: SampleCount = 2000
    select: Select = "best"
    patience: Patience | None = None
    snapshots: Snapshots = 0
    ema: Share | None = None
    average_from: Share | None = None
    average_every: Steps = 1
    asynchronous: Annotated[AsyncWorkers, OptionHelp(flags=("--async",))] = 0
    async_engine: AsyncEngine = "processes"
    monitors: Annotated[Sequence[str], OptionHelp(flags=("--monitor",), several=True)] = ()
    precision: Precision = "fp32"
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Validates every option and their combination."""
        super().__post_init__()
        check_averaging(self.ema, self.average_from, self.average_every)
        if self.asynchronous and self.precision != "fp32":
            raise UserError(
                f"--async computes gradients in fp32. Got --precision {self.precision}."
            )
        if self.time is None:
            return
        check_duration("time", self.time)
        if self.budget is not None and self.budget.is_limited:
            raise UserError("Give --time or a budget (--flops, --examples, --steps, --seconds).")
        if self.asynchronous:
            raise UserError(
                "--time is measured on steps of this process, and --async trains in others: give "
                "--flops or --seconds."
            )


def check_averaging(ema: float | None, average_from: float | None, average_every: int) -> None:
    """Checks that at most one average of weights is asked for.

    Raises:
        UserError: If there are two, or a uniform one has a pace and no start.
    """
    if ema is not None and average_from is not None:
        raise UserError(
            "Give --ema for an exponential average of the weights or --average-from for a uniform "
            f"one, not both. Got {ema:g} and {average_from:g}."
        )
    if average_every != 1 and average_from is None:
        raise UserError(
            f"--average-every {average_every} is for a uniform average: give --average-from too, "
            "such as 0.5."
        )


@final
@dataclass(frozen=True)
class Compare(Training):
    """The options of ``gantlet compare``.

    Attributes:
        models: Models, each as name or name:key=value,key=value. Default: the line-up of the kind
            of data.
        seeds: Number of random seeds (repetitions) per model.
        metrics: Metric; repeat for more. Default: the usual ones and those of the kind of data.
        features: Feature extractor; repeat for more, the first is used for ranking. Default:
            chosen by the kind of data.
        probes: Additional measurement on the trained model, such as ais; repeat for more.
    """

    models: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    _: KW_ONLY
    seeds: Seeds = 3
    metrics: Annotated[Sequence[str], OptionHelp(flags=("--metric",), several=True)] = ()
    features: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    probes: Annotated[Sequence[str], OptionHelp(flags=("--probe",), several=True)] = ()


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
    """Sample sets to evaluate, and their reference.

    Attributes:
        fake: Sample sets to evaluate.
        against: Real reference samples.
        train: Training set (enables memorization metrics); learned extractors are trained on it.
        samples: Maximum number of samples per set, or all; also the number drawn from a model.
        seed: Random seed, also of subsampling.
        data_seed: Seed of the train/validation/test split.
        skip_bad: Maximum number of unreadable files in a folder to skip; they are listed.
        workers: Number of parallel worker processes; features that one makes the others read.
    """

    heading: ClassVar[str] = "Samples"

    fake: Annotated[
        "SamplesLike | Mapping[str, SamplesLike] | Sequence[str | Path]", OptionHelp(several=True)
    ]
    against: Annotated["SamplesLike", OptionHelp(by_name=True, aliases=("real",))]
    _: KW_ONLY
    train: "SamplesLike | None" = None
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
        features: Feature extractor; repeat for more. Default: chosen by the kind of data.
        metrics: Metric; repeat for more. Default: chosen by the kind of data.
        rank: Metric by which several sets are ranked.
        pairs: Target of each output, for translation, inpainting and editing.
        outputs: Number of consecutive outputs per target.
        control: Further real samples for the noise floor, disjoint from reference and training
            set. Default: the rest of the data set, else a part of the reference.
        groups: Samples that belong together (same subject, prompt or source): a column of a table,
            a file with one label per line, or a regular expression with one group for file names;
            NAME=WHAT for one set (real, fake, control, train or its name); repeat for more. In
            Python also one label per sample, and a dict in place of NAME=WHAT.
        labels: Class of each sample, for a comparison class by class: a column of a table, an
            array of a npz file, a file with one label per line, a regular expression with one
            group for file names, or auto for labels that samples bring along (sub-folders, an
            array labels or y, classes of a data set); NAME=WHAT for one set, as for groups;
            repeat for more. Fakes without labels get predicted ones.
        panel: Whether to measure on every feature extractor at hand, and to ask whether samples
            were tuned against one of them.
    """

    _: KW_ONLY
    features: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    metrics: Annotated[Sequence[str], OptionHelp(flags=("--metric",), several=True)] = ()
    panel: bool = False
    rank: str = "kid"
    pairs: "SamplesLike | None" = None
    outputs: Outputs = 1
    control: "SamplesLike | None" = None
    groups: Annotated["Grouping | Mapping[str, Grouping] | None", OptionHelp(several=True)] = None
    labels: Annotated["Grouping | Mapping[str, Grouping] | None", OptionHelp(several=True)] = None


@final
@dataclass(frozen=True)
class Flaws(Judging):
    """The options of ``gantlet flaws``.

    Attributes:
        features: Feature extractor. Default: chosen by the kind of data.
        search: Settings of the search.
    """

    _: KW_ONLY
    features: str = ""
    search: Search = Search()


@final
@dataclass(frozen=True)
class Support(Judging):
    """The options of ``gantlet support``.

    Attributes:
        features: Feature extractor. Default: chosen by the kind of data.
        tests: Settings of the tests.
    """

    _: KW_ONLY
    features: str = ""
    tests: SupportTests = SupportTests()


@final
@dataclass(frozen=True)
class Why(Running):
    """The options of ``gantlet why``.

    Attributes:
        a: First setting as key=value,key=value, or a report of gantlet evaluate.
        b: Second setting, likewise.
        fakes: Samples to evaluate, unless a setting says otherwise.
        against: Real reference samples, unless a setting says otherwise.
        both: Further settings of both, as key=value,key=value, unless a setting says otherwise.
        metric: Metric whose difference is explained; it compares features.
        seed: Random seed of folds and orders.
    """

    a: "str | Path | Mapping[str, object]"
    b: "str | Path | Mapping[str, object]"
    _: KW_ONLY
    fakes: "SamplesLike | None" = None
    against: "SamplesLike | None" = None
    both: str = ""
    metric: str = "frechet"
    seed: Seed = 0


@final
@dataclass(frozen=True)
class Verify(Options):
    """The options of ``gantlet verify``.

    Attributes:
        report: Run directory, or its report.json.
        samples: Evaluated samples, in the order of the report or as NAME=WHERE. Default: those
            that the report names.
        against: Real reference samples, where they are elsewhere now.
        train: Training set, where it is elsewhere now.
        rounding: Relative difference up to which numbers agree; 0: bit for bit.
    """

    report: str | Path
    samples: Annotated["SamplesLike | Sequence[str | Path]", OptionHelp(several=True)] = ()
    _: KW_ONLY
    against: "SamplesLike | None" = None
    train: "SamplesLike | None" = None
    rounding: Annotated[float, Between(0, 0.1)] = 0.0


@final
@dataclass(frozen=True)
class Tournament(Running):
    """The options of ``gantlet tournament``.

    Attributes:
        runs: Run directories of gantlet train or compare, on the same data, or games of your own
            as module:path=FILE.py:FUNCTION (NAME=... names one); in Python also a dict of games.
        samples: Maximum number of samples per generator.
        seed: Random seed of sampling.
    """

    runs: Annotated[
        "str | Path | Game | Sequence[str | Path] | Mapping[str, str | Path | Game]",
        OptionHelp(several=True),
    ]
    _: KW_ONLY
    samples: Annotated[int, Between(20, 2**31)] = 1000
    seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Validates every option.

        Raises:
            UserError: If an option is out of range, or the device is not the CPU.
        """
        if self.device != "cpu":
            raise UserError("A tournament runs on the cpu only. Leave out --device.")
        super().__post_init__()
        runs = self.runs
        if isinstance(runs, (str, Path, list, tuple)):
            kinds: Any = str | Path | Sequence[str | Path]
            object.__setattr__(self, "runs", check_value("runs", runs, kinds))


@final
@dataclass(frozen=True)
class Converge(Running):
    """The options of ``gantlet converge``.

    Attributes:
        model: Model family, toy game, a game of your own as module:path=FILE.py:FUNCTION, or a
            finished training with snapshots as RUN@MODEL#SEED; in Python also a game.
        data: Data set, as name or name:key=value,key=value; in Python also samples. Default: that
            of a game of your own, else digits.
        seed: Random seed.
        budget: Training budget; 2e11 FLOPs by default, 1000 steps for a toy game.
        solver: Optimizer (training algorithm); auto: the default of the family.
        batch: Batch size.
        apply_advice: Train again with the recommended changes, at most three, and show both.
        data_seed: Seed of the train/validation/test split.
    """

    model: "str | Game"
    _: KW_ONLY
    data: "SamplesLike | None" = None
    seed: Seed = 0
    budget: Budget | None = None
    solver: str = "auto"
    batch: BatchSize = 128
    apply_advice: Annotated[bool, OptionHelp(aliases=("try_",))] = False
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Validates every option; ``retry=True`` is the oldest name of ``apply_advice=True``."""
        retry = cast("object", self.retry)
        if isinstance(retry, bool):
            warnings.warn(
                "retry=True is now apply_advice=True: retry selects failed trials to run again.",
                DeprecationWarning,
                stacklevel=5,
            )
            object.__setattr__(self, "apply_advice", retry)
            object.__setattr__(self, "retry", "failed")
        super().__post_init__()


@final
@dataclass(frozen=True)
class Attack(Running):
    """The options of ``gantlet attack``.

    Attributes:
        game: Finished training with snapshots as RUN or RUN@MODEL#SEED, or a game of your own as
            module:path=FILE.py:FUNCTION; in Python also a game.
        data: Data set of a game of your own, as name or name:key=value,key=value; in Python also
            samples. Default: that of the game.
        samples: Number of fakes, and of real samples, to attack.
        updates: Number of generator updates to measure at each stage.
        critics: Number of fresh critics to train at each stage.
        stages: Maximum number of snapshots of a run to look at.
        ablations: Also update the generator in other ways at the last stage: more steps, the same
            latents, free samples, other batch sizes, SGD.
        solver: Optimizer of a game of your own; auto: what the game says.
        batch: Batch size of a game of your own.
        seed: Random seed.
        data_seed: Seed of the train/validation/test split of the data of a game of your own.
    """

    game: "str | Path | Game"
    _: KW_ONLY
    data: "SamplesLike | None" = None
    samples: Annotated[int, Between(20, 100_000)] = 200
    updates: Annotated[int, Between(10, 100_000)] = 50
    critics: Annotated[int, Between(3, 1000)] = 8
    stages: Annotated[int, Between(1, 1000)] = 4
    ablations: bool = False
    solver: str = "auto"
    batch: BatchSize = 128
    seed: Seed = 0
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Validates every option.

        Raises:
            UserError: If an option is out of range, or the device is not the CPU.
        """
        if self.device != "cpu":
            raise UserError("An attack runs on the cpu only. Leave out --device.")
        super().__post_init__()


@final
@dataclass(frozen=True)
class Batch(Running):
    """The options of ``gantlet batch``.

    Attributes:
        model: Model family, or a game of your own as module:path=FILE.py:FUNCTION; in Python also
            a game.
        data: Data set, as name or name:key=value,key=value; in Python also samples. Default: that
            of a game of your own, else digits.
        batch: Batch size that is examined.
        factor: By how much the other batches are smaller and larger.
        steps: Training steps of each training.
        seeds: Number of random seeds per batch size.
        rate: How the learning rate follows the batch: constant, sqrt or linear.
        solver: Optimizer (training algorithm); auto: the default of the family.
        data_seed: Seed of the train/validation/test split.
    """

    model: "str | Game"
    _: KW_ONLY
    data: "SamplesLike | None" = None
    batch: BatchSize = 128
    factor: Annotated[int, Between(2, 1024)] = 4
    steps: Annotated[int, Between(20, 10**9)] = 1000
    seeds: Annotated[int, Between(2, 10_000)] = 3
    rate: Rate = "constant"
    solver: str = "auto"
    data_seed: Seed = 0


@final
@dataclass(frozen=True)
class Cost(Options):
    """The options of ``gantlet cost``.

    Attributes:
        families: Model families, each as name or name:key=value,key=value.
        data: Data set, as name or name:key=value,key=value.
        examples: Training examples over all epochs; 1e6 unless flops are given.
        flops: Compute budget in place of examples; gives the number of steps it allows.
        batch: Batch size. Default: that of the family, 128 for most.
        solver: Optimizer (training algorithm); auto: the default of the family.
        published: Count the FLOPs of six published runs from their configurations instead.
        threads: Number of threads.
        data_seed: Seed of the train/validation/test split.
    """

    families: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    _: KW_ONLY
    data: str = "digits"
    examples: Annotated[int, Between(1, 10**18)] | None = None
    flops: Annotated[float, Between(0, above=True)] | None = None
    batch: BatchSize | None = None
    solver: str = "auto"
    published: bool = False
    threads: Threads = 1
    data_seed: Seed = 0

    @override
    def __post_init__(self) -> None:
        """Validates every option and their combination."""
        super().__post_init__()
        if bool(self.families) == self.published:
            raise UserError("Name a family, such as gan, or give --published; not both.")
        if self.flops is not None and self.examples is not None:
            raise UserError("Give --examples or --flops, not both.")


@final
@dataclass(frozen=True)
class Plan(Options):
    """The options of ``gantlet plan``.

    Attributes:
        against: Real reference samples, as for evaluate.
        detect: The difference from the noise floor that is to be shown, in the unit of the metric.
        metrics: Metric; repeat for more. The difference is planned for each.
        features: Feature extractor. Default: chosen by the kind of data.
        sets: Number of sample sets that will be tested together.
        look: Samples at each look of a watched training.
        seed_sd: Standard deviation of the metric between training seeds. Default: as large as the
            difference to detect.
        samples: Maximum number of real samples that are read, or all.
        seed: Random seed, also of subsampling.
        data_seed: Seed of the train/validation/test split.
        skip_bad: Maximum number of unreadable files in a folder to skip; they are listed.
        threads: Number of threads.
    """

    against: Annotated["SamplesLike", OptionHelp(by_name=True)]
    detect: Annotated[float, Between(0, above=True), OptionHelp(by_name=True)]
    _: KW_ONLY
    metrics: Annotated[Sequence[str], OptionHelp(flags=("--metric",), several=True)] = (
        "kid",
        "precision",
        "recall",
    )
    features: str | None = None
    sets: Annotated[int, Between(1, 10_000)] = 1
    look: SampleCount = 1000
    seed_sd: Annotated[float, Between(0, above=True)] | None = None
    samples: SampleCount | Literal["all"] | None = 10_000
    seed: Seed = 0
    data_seed: Seed = 0
    skip_bad: Files = 0
    threads: Threads = 1


@final
@dataclass(frozen=True)
class Forecast(Running):
    """The options of ``gantlet forecast``.

    Attributes:
        data: Training data: a data set, whose training split is taken, or a file or folder.
        flops: Training budget per model; default: the largest of the experiment.
        families: Family of the experiment, or several as a+b; repeat for more. Default: all.
        refit: Fit the predictor to this experiment table, or run directory of gantlet study
            distributions, in place of the one that is shipped; without data, report its quality.
        seed: Random seed of the subsample.
        data_seed: Seed of the train/validation/test split.
        skip_bad: Maximum number of unreadable files in a folder to skip; they are listed.
        workers: Number of parallel worker processes.
    """

    data: "SamplesLike | None" = None
    _: KW_ONLY
    flops: Annotated[float, Between(0, above=True)] | None = None
    families: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    refit: str | Path | None = None
    seed: Seed = 0
    data_seed: Seed = 0
    skip_bad: Files = 0
    workers: Workers | None = 1


@final
@dataclass(frozen=True)
class Sample(Options):
    """The options of ``gantlet sample``.

    Attributes:
        run: Run directory of `gantlet compare` or `gantlet train`.
        model: Model of that run; required if there are several.
        seed: Training seed of that model.
        n: Number of samples.
        where: Value of a column that all rows of a table must have, as column=value; repeat for
            more. Drawn by rejection, from the model's distribution given these values.
        noise: Random seed of sampling.
        out: Output file: .npz, .npy, .safetensors, .png for a picture, or a format of the kind
            of data, such as .csv for tables, .txt for text, .tar for sounds.
    """

    run: str | Path
    _: KW_ONLY
    model: str | None = None
    seed: Seed = 0
    n: Annotated[int, Between(1, 2**31), OptionHelp(flags=("-n", "--n"))] = 64
    where: Annotated[Sequence[str], OptionHelp(several=True)] = ()
    noise: Seed = 0
    out: str | Path = Path("samples.npz")


@final
@dataclass(frozen=True)
class Study(Running):
    """The options of ``gantlet study``.

    Attributes:
        name: Study; `gantlet list studies` lists them.
        size: small: minutes to an hour on two cores; full: hours, or a GPU; `gantlet show` with
            the name of the study lists all sizes.
        data: Data set in place of the default of the study.
        seeds: Number of random seeds in place of the default of the study.
    """

    name: str
    _: KW_ONLY
    size: str = "small"
    data: str | None = None
    seeds: Seeds | None = None
