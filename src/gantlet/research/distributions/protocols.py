"""Standard protocols of mode coverage, and experiments on what limits a push-forward model."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.commands.trained import draw, training_progress
from gantlet.compute.machine import threads
from gantlet.core.data import KnownSupport, Space, all_samples
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.core.model import Generative, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.data.drawings import Dots, Pies
from gantlet.data.manifolds import Manifolds
from gantlet.features.base import full_precision
from gantlet.models.flow import Base, FlowModel, Layers, MaximumLikelihood
from gantlet.models.gan import GanGame, Generator, critic, generator
from gantlet.models.gan import normalise as hold_layers_at_one
from gantlet.models.losses import AdversarialObjective
from gantlet.models.nets import seeded
from gantlet.probes.lipschitz import Lipschitz
from gantlet.research.distributions.design import FAMILIES
from gantlet.research.distributions.drawn import (
    DRAWN,
    DRAWN_FAMILIES,
    DRAWN_TIMES,
    drawn_right,
)
from gantlet.research.distributions.measures import hill, support
from gantlet.research.distributions.trial import DATA_SEED, TIME, Worlds, trained_family
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError, Plan, train
from gantlet.run.trials import TrialParts, TypedTrial

Part: TypeAlias = Literal["coverage", "lipschitz", "modes", "tails", "drawn", "published"]

FOUND = "found"
"""Under which name an outcome holds what it measured."""

CONSTANT = "Lipschitz constant, upper bound"
"""Under which name an outcome holds what the constant of a held generator is below."""

REAL_DRAWN = "of real images: "
"""How an outcome names what it measured of held-out real images."""

POINTS = 2_500
"""Generated points that are judged, as in the protocol of Srivastava et al., 2017."""

# ----------------------------------------------------------------------------
# Coverage: rings and grids of Gaussians.
# ----------------------------------------------------------------------------

RING = "ring:modes=8,radius=1,std=0.01,n=100000"
GRID = "grid:side=5,spacing=2,std=0.05,n=100000"
"""The data of Srivastava et al., 2017, as in the code of Lin et al., 2018."""

_NET = "latent=2,width=128,depth=3"
COVERAGE: Mapping[str, str] = {
    "plain": f"gan:{_NET},loss=ns,penalty=none,ema=0",
    "packing, 2": f"pac-gan:{_NET},loss=ns,penalty=none,ema=0,pack=2",
    "R1 and R2": f"gan:{_NET},ema=0",
    "two generators": "mix-gan:k=2,latent=2,width=64,depth=2,loss=ns,penalty=none,ema=0",
}
"""The GAN of 2014 and cures of mode collapse that the product has, by name."""

# ----------------------------------------------------------------------------
# Published sizes: a thousand modes of stacked digits, and triangles. For a GPU.
# ----------------------------------------------------------------------------

_CONV = "latent=100,width=512,depth=1,net=conv"
AS_PUBLISHED: Mapping[str, str] = {
    "plain": f"gan:{_CONV},loss=ns,penalty=none,ema=0",
    "packing, 2": f"pac-gan:{_CONV},loss=ns,penalty=none,ema=0,pack=2",
    "R1 and R2": f"gan:{_CONV},ema=0",
}
"""Convolutional GANs for images of digits and triangles, by name."""

PUBLISHED_DATA: Mapping[str, int] = {"stacked-digits": 26_000, "triangles": 1_024}
"""Data sets of images with known modes or support, and how many generated images are judged."""


# ----------------------------------------------------------------------------
# Lipschitz: a generator that is held at a constant, with a latent plane or with M - 1 dimensions.
# ----------------------------------------------------------------------------

HELD_MODES = (4, 8, 16)
HELD_SEPARATION = 20.0
HELD_EPS = 1.0
"""The gap between the supports of the modes, in units of the Lipschitz constant."""


def held_world(modes: int) -> Manifolds:
    """Returns full-dimensional Gaussian modes at the corners of a simplex."""
    d = modes - 1
    return Manifolds(modes=modes, separation=HELD_SEPARATION, intrinsic=d, ambient=d, n=20_000)


def gap_of(world: Manifolds) -> float:
    """Returns the smallest distance between two Gaussian modes of all dimensions of their space.

    The support of such a mode is a ball whose radius holds 98.889 % of it. ``Manifolds.gap`` is
    the same but for the last digit, by which generators held at this gap would train otherwise.
    """
    from scipy.stats import chi2

    radius = math.sqrt(float(chi2.ppf(1 - math.exp(-4.5), world.intrinsic)))
    return world.separation - 2 * radius


def held_constant(modes: int) -> float:
    """Returns the Lipschitz constant at which generators of ``modes`` modes are held."""
    return gap_of(held_world(modes)) / HELD_EPS


@final
class Times(nn.Module):
    """Multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns ``factor * x``."""
        return self.factor * x


def held_gan(modes: int, latent: int, width: int, rng: Rng) -> GanGame:
    """Returns a GAN whose generator has at most the constant ``held_constant(modes)``.

    Every layer has spectral norm 1, activations have slope at most 1, and the output is
    multiplied. The samples of such a world have one standard deviation in all coordinates, by
    which the generator's output is multiplied too.
    """
    world = held_world(modes)
    spread = math.sqrt(HELD_SEPARATION**2 / (2 * modes) + 1)
    with seeded(rng.stream("init")):
        net = generator(world.space, latent=latent, width=width, depth=3)
        hold_layers_at_one(net)
        net.append(Times(held_constant(modes) / spread))
        judge = critic(world.space, width=width, depth=3)
    return GanGame(Generator(world.space, latent, net), judge, AdversarialObjective(gamma=0.3))


def constant_of(model: Generator) -> float:
    """Returns an upper bound of the Lipschitz constant of a generator made of dense layers.

    The product of the spectral norms of its layers, exactly computed, and of what multiplies its
    output. (The norms that hold a layer at 1 are found by power iteration, a few per cent short.)
    """
    bound = float(model.scaling.scale.max())
    for layer in model.net.modules():
        if isinstance(layer, nn.Linear):
            bound *= float(torch.linalg.matrix_norm(layer.weight.detach(), 2))
        elif isinstance(layer, Times):
            bound *= layer.factor
    return bound


# ----------------------------------------------------------------------------
# Modes: what a result on one mode predicts for more.
# ----------------------------------------------------------------------------

MODES = (1, 2, 3, 4, 6, 9)
MODE_FAMILIES = ("gan", "flow", "vae", "diffusion")


def mode_world(modes: int) -> Manifolds:
    """Returns discs of two dimensions in eight, each 12 standard deviations from all others."""
    return Manifolds(modes=modes, separation=12.0, intrinsic=2, ambient=8, noise=0.05)


# ----------------------------------------------------------------------------
# Tails: a flow whose base has them.
# ----------------------------------------------------------------------------

TAIL_WORLDS = (
    "manifolds:modes=1,intrinsic=3,ambient=3,tails=2.2",
    "manifolds:modes=4,intrinsic=3,ambient=3,tails=2.2",
)
TAIL_DF = 2.2
GAUSSIAN_BASE, STUDENT_BASE = "flow, Gaussian base", "flow, Student t base"


@final
class StudentT(Base):
    """A multivariate Student t density of codes, the same in all directions.

    Source: Jaini et al., 2020, https://arxiv.org/abs/1907.04481, who give flows such a base.

    Args:
        df: Degrees of freedom, above 0.
    """

    def __init__(self, df: float) -> None:
        super().__init__()
        self.df = df

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns the log-density of codes, shape ``(n, size)``, in nats, shape ``(n,)``."""
        nu, d = self.df, z.shape[1]
        log_z = math.lgamma(nu / 2) - math.lgamma((nu + d) / 2) + d / 2 * math.log(nu * math.pi)
        return -(nu + d) / 2 * (z.square().sum(1) / nu).log1p() - log_z

    @override
    def sample(self, like: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns codes of the shape, type and device of ``like``."""
        import scipy.special

        shape = (like.shape[0], *(1,) * (like.ndim - 1))
        u = torch.rand(shape, generator=rng, device=rng.device, dtype=torch.float64)
        chi2 = 2 * scipy.special.gammaincinv(self.df / 2, (u + 2.0**-54).cpu().numpy())
        factor = (self.df / torch.from_numpy(chi2)).sqrt().to(like)
        noise = torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)
        return factor * noise


def student_flow(space: Space, rng: Rng) -> MaximumLikelihood:
    """Returns the flow of the experiment with a Student t base."""
    layers = Layers(layers=6, width=64)
    with seeded(rng.stream("init")):
        model = FlowModel(space, layers.build(space), StudentT(TAIL_DF))
    return MaximumLikelihood(model, player="flow", prepare=model.prepare)


# ----------------------------------------------------------------------------
# Sizes and trials.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSize:
    """How much of everything.

    Attributes:
        steps: Training steps of the GANs of the coverage part; generators that are held at a
            constant make two thirds of them.
        width: Hidden units of generators that are held at a constant.
        seeds: Trainings of each.
        flops: Training FLOPs of the parts on modes and tails; drawn images have 16 times as many.
        parts: Which parts.
    """

    steps: int = 3_000
    width: int = 64
    seeds: int = 3
    flops: float = 9e9
    parts: tuple[Part, ...] = ("coverage", "modes", "tails", "lipschitz", "drawn")


SIZES: Mapping[str, ProtocolSize] = {
    "protocols": ProtocolSize(),
    "coverage": ProtocolSize(steps=30_000, parts=("coverage",)),
    "published": ProtocolSize(steps=100_000, parts=("published",)),
}
"""What takes an hour of one CPU core each, and what needs a GPU."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(TrialParts):
    """What sets a model of a protocol apart from the others of its part.

    Attributes:
        name: Short name of the model; empty for generators that are held at a constant.
        points: Generated samples that are judged.
        modes: Modes of the world of a held generator, else 0.
        latent: Latent dimensions of a held generator, else 0.
        width: Hidden units of a held generator, else 0.
    """

    name: str = ""
    points: int = POINTS
    modes: int = 0
    latent: int = 0
    width: int = 0

    @override
    def parts(self) -> dict[str, str]:
        """Returns it as parts of a trial; defaults are left out."""
        given = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {name: str(value) for name, (value, usual) in given.items() if value != usual}

    @classmethod
    @override
    def of(cls, parts: Mapping[str, str]) -> "Setup":
        """Reads the parts of a trial."""
        numbers = {
            name: int(parts[name])
            for name in ("points", "modes", "latent", "width")
            if name in parts
        }
        return cls(name=parts.get("name", ""), **numbers)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolTrial(TypedTrial):
    """A model of one part of the protocols.

    Attributes:
        part: The part.
        model: The model in written form, or in words where it is no family.
        data: The data set in written form with all defaults.
        setup: What sets it apart within its part.
        batch: Samples in a batch.
        threads: Threads of the trial.
        device: Where it is trained.
        budget: What the training may spend.
        seed: From which every random number of the training follows.
    """

    part: Part
    model: str
    data: str
    setup: Setup
    batch: int = 64
    threads: int
    device: str
    budget: Budget
    seed: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A model of a part, whatever the seed."""

    model: str
    data: str
    setup: Setup


def protocol_trials(size: ProtocolSize, *, threads: int, device: str) -> list[Trial]:
    """Returns the trials: seed by seed, so that a prefix has each part once."""
    makers: Mapping[Part, Callable[[], Sequence[_Model]]] = {
        "coverage": _coverage,
        "lipschitz": partial(_lipschitz, size.width),
        "modes": _modes,
        "tails": _tails,
        "drawn": _drawn,
        "published": _published,
    }
    return [
        ProtocolTrial(
            part=part,
            model=made.model,
            data=made.data,
            setup=made.setup,
            threads=threads,
            device=device,
            budget=_budget(part, size),
            seed=seed,
        ).written()
        for seed in range(size.seeds)
        for part in size.parts
        for made in makers[part]()
    ]


def _budget(part: Part, size: ProtocolSize) -> Budget:
    if part in {"coverage", "published"}:
        return Budget(steps=size.steps)
    if part == "lipschitz":
        return Budget(steps=max(1, 2 * size.steps // 3))
    return Budget(flops=size.flops * (DRAWN_TIMES if part == "drawn" else 1))


def _coverage() -> list[_Model]:
    return [
        _family(form, data, Setup(name=name))
        for data in (RING, GRID)
        for name, form in COVERAGE.items()
    ]


def _published() -> list[_Model]:
    return [
        _family(form, data, Setup(name=name, points=points))
        for data, points in PUBLISHED_DATA.items()
        for name, form in AS_PUBLISHED.items()
    ]


def _lipschitz(width: int) -> list[_Model]:
    return [
        _Model(
            model=f"gan held at L={held_constant(modes):.4g}",
            data=_written(held_world(modes)),
            setup=Setup(modes=modes, latent=latent, width=width),
        )
        for modes in HELD_MODES
        for latent in (2, modes - 1)
    ]


def _modes() -> list[_Model]:
    return [
        _family(FAMILIES[name], _written(world), Setup(name=name))
        for world in map(mode_world, MODES)
        for name in MODE_FAMILIES
    ]


def _tails() -> list[_Model]:
    student = f"flow with a Student t base of {TAIL_DF}"
    return [
        made
        for data in map(datasets.resolve, TAIL_WORLDS)
        for made in (
            _family(FAMILIES["flow"], data, Setup(name=GAUSSIAN_BASE)),
            _Model(model=student, data=data, setup=Setup(name=STUDENT_BASE)),
        )
    ]


def _drawn() -> list[_Model]:
    return [
        _family(form, data, Setup(name=name, points=1_000))
        for data in DRAWN.values()
        for name, form in DRAWN_FAMILIES.items()
    ]


def _family(form: str, data: str, setup: Setup) -> _Model:
    return _Model(model=families.resolve(form), data=datasets.resolve(data), setup=setup)


def _written(world: Manifolds) -> str:
    fields = ("modes", "separation", "intrinsic", "ambient", "noise", "n")
    options = ",".join(f"{k}={getattr(world, k):g}" for k in fields)
    return datasets.resolve(f"manifolds:{options}")


# ----------------------------------------------------------------------------
# Runs one.
# ----------------------------------------------------------------------------


def run_protocol(written: Trial, worlds: Worlds, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains the model of a protocol and measures what its part asks for.

    Raises:
        DivergedError: If the training diverges, or samples are not finite.
    """
    trial = ProtocolTrial.of(written)
    with threads(trial.threads), full_precision():
        rng = Rng(trial.seed, trial.device)
        game, solver, ema = _game(trial, rng)
        plan = Plan(
            budget=trial.budget,
            batch=trial.batch,
            ema=ema,
            select="last" if trial.part in {"coverage", "drawn", "published"} else "best",
        )
        start = time.process_time()
        trained = train(
            game,
            solvers.make(solver),
            worlds.splits(trial.data),
            plan,
            rng=rng,
            follow=training_progress(watch),
        )
        took = Estimate.exact(time.process_time() - start, unit="s", method="of this training")
        samples = draw(game.model, trial.setup.points, rng=rng.stream("sample"))
        if not bool(samples.isfinite().all()):
            raise DivergedError("diverged: samples are not finite")
        folder.save("samples", {"samples": samples})
        found = _measured(trial, game.model, samples, worlds)
    return Outcome(trial=written, spend=trained.spend, clock={TIME: took}, details={FOUND: found})


def _game(trial: ProtocolTrial, rng: Rng) -> tuple[Generative, str, float]:
    """Returns the game of a trial, its solver and the decay of its average."""
    setup, space = trial.setup, datasets.make(trial.data).space
    if trial.part == "lipschitz":
        game = held_gan(setup.modes, setup.latent, setup.width, rng)
        return game, "adam:lr=0.001,beta1=0.0,beta2=0.99", 0.99
    if setup.name == STUDENT_BASE:
        return student_flow(space, rng), "adam:lr=0.001", 0.99
    family = trained_family(trial.model)
    return family.build(space, rng=rng), family.solver, family.ema


def _measured(
    trial: ProtocolTrial, model: Model, samples: Tensor, worlds: Worlds
) -> dict[str, Any]:
    data = datasets.make(trial.data)
    found: dict[str, Any] = {}
    part = trial.part
    if part != "tails" and isinstance(data, KnownSupport):
        found |= support(data, samples)
    if part in {"coverage", "published"}:
        found["reverse_kl"] = found.pop("mode_kl")
    if part in {"modes", "tails"}:
        target = worlds.target(trial.data)
        y = target.scaled(samples)
        found["energy"] = target.energy(samples) / target.scale
        found["hill"] = hill(y.square().sum(1).sqrt())
        found["real_hill"] = hill(target.x.square().sum(1).sqrt())
    if isinstance(data, Dots | Pies):
        real = drawn_right(data, all_samples(worlds.splits(trial.data).test))
        found |= drawn_right(data, samples)
        found |= {REAL_DRAWN + name: share for name, share in real.items()}
    if part == "lipschitz" and isinstance(model, Generator):
        found[CONSTANT] = constant_of(model)
    if part in {"modes", "lipschitz"}:
        probe = Lipschitz(points=2_000, secants=500, flops=2e9)
        scores = probe.inspect(model, samples, rng=Rng(DATA_SEED)).scores
        found |= {name: e.value for name, e in scores.items() if e.value is not None}
    return found
