"""What is compared on each kind of data: priors crossed with techniques, at one budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from gantlet.commands.compare.study import Compare
from gantlet.core.estimate import Budget
from gantlet.core.spec import families
from gantlet.run.trials import RunData

Size = Literal["tiny", "small", "full"]
Role = Literal["trivial", "likelihood", "adversarial"]

LIKELIHOOD = "likelihood"
RELAXED = "relaxed critic"
REINFORCE = "REINFORCE"
BOTH = "REINFORCE, both players"
WGAN = "WGAN-GP"
PAIRED = "relativistic, R1 and R2"

# ----------------------------------------------------------------------------
# One kind of data.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model of the design.

    Attributes:
        model: In written form.
        prior: Its architecture or representation of the data, by name; empty where it stands
            outside of the design.
        technique: How it is trained, by name; empty likewise.
        role: What it is in the line-up of its kind, or None.
        trains: Whether it is trained step by step, so that it has a budget to spend.
    """

    model: str
    prior: str = ""
    technique: str = ""
    role: Role | None = None
    trains: bool = True

    @property
    def label(self) -> str:
        """The model as people name it."""
        return families.short(self.model)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large the study of one kind is.

    Attributes:
        data: The made data set.
        flops: Training FLOPs of each model.
        steps: Training steps of each at most, for networks so small that they would take longest.
        batch: Samples in a batch.
        samples: Samples that are judged at most.
    """

    data: str
    flops: float
    steps: int
    batch: int
    samples: int

    def budget(self, share: float = 1.0) -> Budget:
        """Returns a share of what each model may spend."""
        return Budget(flops=share * self.flops, steps=max(1, round(share * self.steps)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is compared on one kind of data.

    Attributes:
        kind: The kind of sample.
        title: What people call it.
        arms: The models.
        extents: How large it is, by size of the study.
        metrics: What is measured of samples beside the usual, by name.
        probes: What is measured of models, in written form.
        shown: Further scores that tables show, by name.
    """

    kind: str
    title: str
    arms: tuple[Arm, ...]
    extents: Mapping[Size, Extent]
    metrics: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def crossed(self) -> Iterator[Arm]:
        """Yields the arms that have a prior and a technique."""
        return (a for a in self.arms if a.prior and a.technique)

    def of_role(self, role: Role) -> Arm:
        """Returns the model that stands for a role."""
        return next(a for a in self.arms if a.role == role)

    def arm(self, prior: str, technique: str) -> Arm | None:
        """Returns the arm of a cell, or None where there is none."""
        found = (a for a in self.arms if (a.prior, a.technique) == (prior, technique))
        return next(found, None)


# ----------------------------------------------------------------------------
# Text: sentences of a grammar.
# ----------------------------------------------------------------------------

GRU, LSTM = "GRU", "LSTM"

TEXT = Design(
    kind="tokens",
    title="text",
    arms=(
        Arm(model="histogram", role="trivial", trains=False),
        Arm(model="ngram", trains=False),
        Arm(model="lm", prior=GRU, technique=LIKELIHOOD, role="likelihood"),
        Arm(model="lm:net=lstm", prior=LSTM, technique=LIKELIHOOD),
        Arm(model="lm:net=transformer,width=64", prior="transformer", technique=LIKELIHOOD),
        Arm(model="text-gan", prior=GRU, technique=RELAXED, role="adversarial"),
        Arm(model="text-gan:net=lstm", prior=LSTM, technique=RELAXED),
        Arm(
            model="text-gan:estimator=simplex,width=32,blocks=2",
            prior="convolutions, all at once",
            technique=RELAXED,
        ),
        Arm(model="scratch-gan", prior=GRU, technique=REINFORCE),
        Arm(model="scratch-gan:net=lstm", prior=LSTM, technique=REINFORCE),
        Arm(model="scratch-gan:verdicts=true", prior=GRU, technique=BOTH),
    ),
    extents={
        "tiny": Extent(
            data="pcfg:length=8,n=200,held_out=40", flops=1e9, steps=8, batch=8, samples=40
        ),
        "small": Extent(
            data="pcfg:length=16,n=4000,held_out=500",
            flops=1e11,
            steps=1000,
            batch=64,
            samples=500,
        ),
        "full": Extent(
            data="pcfg:n=50000,held_out=5000", flops=3e13, steps=100_000, batch=256, samples=5000
        ),
    },
    metrics=("lm-forward", "lm-reverse"),
    probes=("oracle",),
    shown=("possible under the oracle",),
)

# ----------------------------------------------------------------------------
# One network: walks on a block model.
# ----------------------------------------------------------------------------

WIDE, NARROW = "LSTM of width 64", "LSTM of width 8"
_WIDE, _NARROW = "net=lstm,width=64,embed=64", "net=lstm,width=8,embed=64"

WALKS = Design(
    kind="walk",
    title="one network",
    arms=(
        Arm(model="rewire:overlap=0.3", role="trivial", trains=False),
        Arm(
            model="cell",
            prior="chain of rank 9",
            technique=LIKELIHOOD,
            role="likelihood",
            trains=False,
        ),
        Arm(model=f"lm:{_WIDE}", prior=WIDE, technique=LIKELIHOOD),
        Arm(model=f"lm:{_NARROW}", prior=NARROW, technique=LIKELIHOOD),
        Arm(model=f"text-gan:{_WIDE}", prior=WIDE, technique=RELAXED),
        Arm(model=f"text-gan:{_NARROW}", prior=NARROW, technique=RELAXED),
        Arm(model=f"scratch-gan:{_WIDE}", prior=WIDE, technique=REINFORCE),
        Arm(model=f"scratch-gan:{_NARROW}", prior=NARROW, technique=REINFORCE),
        Arm(model="netgan", role="adversarial"),
    ),
    extents={
        "tiny": Extent(
            data="sbm-network:nodes=24,blocks=2,length=4,held_out=60",
            flops=1e9,
            steps=8,
            batch=8,
            samples=60,
        ),
        "small": Extent(
            data="sbm-network:nodes=60,blocks=3,length=8,held_out=500",
            flops=1e11,
            steps=1000,
            batch=128,
            samples=500,
        ),
        "full": Extent(data="sbm-network", flops=2e13, steps=100_000, batch=128, samples=2000),
    },
    probes=("network",),
    shown=("edge overlap", "link prediction ROC AUC"),
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedModel:
    """A model of walks that is followed over its training.

    Attributes:
        model: In written form.
        shares: Shares of the budget after which its networks are looked at, by size of the study;
            a model of the design is looked at after all of the budget besides.
    """

    model: str
    shares: Mapping[Size, tuple[float, ...]]


_EARLY: Mapping[Size, tuple[float, ...]] = {
    "tiny": (1 / 4, 1 / 2),
    "small": (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2),
    "full": (1 / 1024, 1 / 256, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2),
}
_LATE: Mapping[Size, tuple[float, ...]] = {
    "tiny": (1 / 2, 1.0),
    "small": (1 / 2, 1.0),
    "full": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
}

THEN_RELAXED = "likelihood, then a relaxed critic"
THEN_REINFORCE = "likelihood, then REINFORCE"
NETGAN = "NetGAN"

COURSES: Mapping[str, FollowedModel] = {
    LIKELIHOOD: FollowedModel(model=f"lm:{_WIDE}", shares=_EARLY),
    THEN_RELAXED: FollowedModel(model=f"text-gan:{_WIDE},start=40", shares=_LATE),
    THEN_REINFORCE: FollowedModel(model=f"scratch-gan:{_WIDE},start=40", shares=_LATE),
    NETGAN: FollowedModel(model="netgan", shares={**_LATE, "small": (1 / 2,), "tiny": (1 / 2,)}),
}
"""Models that are compared at equal overlap; all but NetGAN are one and the same LSTM."""

FITTED: Mapping[str, tuple[str, ...]] = {
    "CELL": tuple(f"cell:overlap={o}" for o in (0.2, 0.3, 0.4, 0.6, 0.8)),
    "copy and rewire": tuple(f"rewire:overlap={o}" for o in (0.0, 0.15, 0.3, 0.5, 0.7, 0.9)),
}
"""Models whose overlap is an option of theirs."""

# ----------------------------------------------------------------------------
# Sets of graphs: random trees.
# ----------------------------------------------------------------------------

GRAPHS = Design(
    kind="graph",
    title="sets of graphs",
    arms=(
        Arm(model="erdos-renyi", role="trivial", trains=False),
        Arm(model="degree-matched", trains=False),
        Arm(model="graph-ar", prior="node by node", technique=LIKELIHOOD, role="likelihood"),
        Arm(
            model="graph-ar:window=1",
            prior="node by node, edges independent",
            technique=LIKELIHOOD,
        ),
        Arm(
            model="graph-gan:critic_width=32",
            prior="3 rounds of messages",
            technique=WGAN,
            role="adversarial",
        ),
        Arm(
            model="graph-gan:critic_width=32,rounds=1", prior="1 round of messages", technique=WGAN
        ),
        Arm(
            model="graph-gan:critic_width=32,estimator=relaxed",
            prior="3 rounds of messages",
            technique=f"{WGAN}, relaxed",
        ),
        Arm(
            model="graph-gan:critic_width=32,estimator=relaxed,rounds=1",
            prior="1 round of messages",
            technique=f"{WGAN}, relaxed",
        ),
        Arm(
            model="graph-gan:critic_width=32,loss=relativistic,penalty=r1r2,gamma=0.3",
            prior="3 rounds of messages",
            technique=PAIRED,
        ),
        Arm(
            model="graph-gan:critic_width=32,loss=relativistic,penalty=r1r2,gamma=0.3,rounds=1",
            prior="1 round of messages",
            technique=PAIRED,
        ),
    ),
    extents={
        "tiny": Extent(
            data="trees:nodes=6,n=100,held_out=40", flops=1e9, steps=8, batch=8, samples=40
        ),
        "small": Extent(
            data="trees:nodes=12,n=2000,held_out=300", flops=3e10, steps=150, batch=64, samples=300
        ),
        "full": Extent(data="trees", flops=3e13, steps=100_000, batch=64, samples=500),
    },
    probes=("vun",),
    shown=("valid",),
)

# ----------------------------------------------------------------------------
# Sound: tones.
# ----------------------------------------------------------------------------

WAVE, MAGNITUDE, FREQUENCY = "waveform", "log-magnitude", "instantaneous frequency"
_WGAN, _PAIRED = "loss=wgan,penalty=gp,gamma=20", "loss=relativistic,penalty=r1r2,gamma=0.3"

AUDIO = Design(
    kind="audio",
    title="sound",
    arms=(
        Arm(model="gmm:covariance=diag", role="trivial", trains=False),
        Arm(model="codec", trains=False),
        Arm(model="wavenet:crop=128", prior=WAVE, technique=LIKELIHOOD, role="likelihood"),
        Arm(model=f"wave-gan:{_PAIRED}", prior=WAVE, technique=PAIRED),
        Arm(model=f"wave-gan:{_WGAN}", prior=WAVE, technique=WGAN),
        Arm(
            model=f"spec-gan:net=mlp,{_PAIRED}",
            prior=MAGNITUDE,
            technique=PAIRED,
            role="adversarial",
        ),
        Arm(model=f"spec-gan:net=mlp,{_WGAN}", prior=MAGNITUDE, technique=WGAN),
        Arm(
            model=f"spec-gan:net=mlp,representation=if,{_PAIRED}",
            prior=FREQUENCY,
            technique=PAIRED,
        ),
        Arm(model=f"spec-gan:net=mlp,representation=if,{_WGAN}", prior=FREQUENCY, technique=WGAN),
    ),
    extents={
        "tiny": Extent(
            data="tones:length=256,low=500,pitches=2,partials=2,n=100,held_out=40",
            flops=1e9,
            steps=8,
            batch=4,
            samples=40,
        ),
        "small": Extent(
            data="tones:length=512,n=2000,held_out=250",
            flops=5e10,
            steps=1000,
            batch=32,
            samples=250,
        ),
        "full": Extent(data="tones", flops=5e13, steps=100_000, batch=64, samples=1000),
    },
)

# ----------------------------------------------------------------------------
# Tables of numbers and categories.
# ----------------------------------------------------------------------------

PLAIN, QUANTILES, MODES = "plain numbers", "quantiles and softmax", "modes and softmax"

TABLE = Design(
    kind="table",
    title="tables",
    arms=(
        Arm(model="independent", role="trivial", trains=False),
        Arm(model="copula", prior=QUANTILES, technique=LIKELIHOOD, trains=False),
        Arm(
            model="tree-chain",
            prior="splits of columns",
            technique=LIKELIHOOD,
            role="likelihood",
            trains=False,
        ),
        Arm(model="flow-gan:weight=inf", prior=PLAIN, technique=LIKELIHOOD),
        Arm(model=f"flow-gan:weight=0,{_WGAN}", prior=PLAIN, technique=WGAN),
        Arm(model=f"flow-gan:weight=0,{_PAIRED}", prior=PLAIN, technique=PAIRED),
        Arm(model=f"table-gan:{_WGAN}", prior=QUANTILES, technique=WGAN, role="adversarial"),
        Arm(model=f"table-gan:{_PAIRED}", prior=QUANTILES, technique=PAIRED),
        Arm(model=f"table-gan:numbers=modes,{_WGAN}", prior=MODES, technique=WGAN),
        Arm(model=f"table-gan:numbers=modes,{_PAIRED}", prior=MODES, technique=PAIRED),
    ),
    extents={
        "tiny": Extent(
            data="mixed-table:n=300,held_out=100", flops=1e9, steps=8, batch=16, samples=100
        ),
        "small": Extent(
            data="mixed-table:n=4000,held_out=1000",
            flops=3e10,
            steps=1000,
            batch=128,
            samples=1000,
        ),
        "full": Extent(data="mixed-table", flops=1e13, steps=100_000, batch=256, samples=4000),
    },
    metrics=("c2st-auc",),
)

DESIGNS: tuple[Design, ...] = (TEXT, WALKS, GRAPHS, AUDIO, TABLE)
"""All kinds, in the order of the report."""

SEEDS: Mapping[Size, int] = {"tiny": 2, "small": 3, "full": 5}

# ----------------------------------------------------------------------------
# The comparisons that trials are made of.
# ----------------------------------------------------------------------------

_METRICS = ("energy", "precision", "recall")
_PROBES = ("parameters", "sampling:batch=16,seconds=0.2")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all comparisons share.

    Attributes:
        size: The size of the study.
        seeds: Repeats.
        threads: Threads of each trial.
        device: Where models are trained.
        data: A data set in the place of the made one, or None.
    """

    size: Size
    seeds: int
    threads: int
    device: str
    data: str | None = None


def comparison(design: Design, place: Place, loaded: RunData) -> Compare:
    """Returns the comparison of all models of a kind."""
    extent = design.extents[place.size]
    return Compare(
        models=tuple(a.model for a in design.arms),
        data=place.data or extent.data,
        budget=extent.budget(),
        seeds=place.seeds,
        metrics=(*_METRICS, *design.metrics),
        probes=(*_PROBES, *design.probes),
        batch=extent.batch,
        samples=extent.samples,
        threads=place.threads,
        device=place.device,
        command="study",
        loaded=loaded,
    )


def courses(place: Place, loaded: RunData) -> dict[float, Compare]:
    """Returns the comparisons of models of walks after parts of the budget, by share of it.

    Those that are fitted come with the smallest.
    """
    whole = comparison(WALKS, place, loaded)
    fitted = [m for models in FITTED.values() for m in models]
    shares = sorted({s for c in COURSES.values() for s in c.shares[place.size]})
    found: dict[float, Compare] = {}
    for share in shares:
        some = [c.model for c in COURSES.values() if share in c.shares[place.size]]
        found[share] = replace(
            whole,
            models=(*some, *(fitted if share == shares[0] else ())),
            budget=WALKS.extents[place.size].budget(share),
            metrics=("energy",),
            probes=("network",),
        )
    return found


def designs_of(kind: str | None) -> Sequence[Design]:
    """Returns the designs of one kind of sample, or all."""
    return [d for d in DESIGNS if kind in (None, d.kind)]
