"""Standard protocols of mode coverage, and experiments on what limits a push-forward model."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.commands.trained import draw, training_progress
from gantlet.compute.machine import threads
from gantlet.core.data import KnownSupport, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.core.model import Family, Generative, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.data.manifolds import Manifolds
from gantlet.features.base import full_precision
from gantlet.models.flow import Base, FlowModel, Layers, MaximumLikelihood
from gantlet.models.gan import AdversarialObjective, GanGame, Generator, critic, generator
from gantlet.models.gan import normalise as hold_layers_at_one
from gantlet.models.nets import seeded
from gantlet.probes.lipschitz import Lipschitz
from gantlet.research.distributions.design import FAMILIES
from gantlet.research.distributions.measures import hill, support
from gantlet.research.distributions.trial import DATA_SEED, TIME, Worlds
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError, Plan, train

Part: TypeAlias = Literal["coverage", "lipschitz", "modes", "tails", "published"]

FOUND = "found"
"""Under which name an outcome holds what it measured."""

CONSTANT = "Lipschitz constant, upper bound"
"""Under which name an outcome holds what the constant of a held generator is below."""

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
    """Returns the smallest distance between the supports of two modes.

    The support of a Gaussian mode is a ball whose radius holds 98.889 % of it.
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
        flops: Training FLOPs of the parts on modes and tails.
        parts: Which parts.
    """

    steps: int = 3_000
    width: int = 64
    seeds: int = 3
    flops: float = 9e9
    parts: tuple[Part, ...] = ("coverage", "modes", "tails", "lipschitz")


SIZES: Mapping[str, ProtocolSize] = {
    "protocols": ProtocolSize(),
    "published": ProtocolSize(steps=100_000, parts=("published",)),
}
"""What runs in a quarter of an hour, and what needs a GPU."""


def protocol_trials(size: ProtocolSize, shared: Mapping[str, str]) -> list[Trial]:
    """Returns the trials: seed by seed, so that a prefix has each part once."""
    makers: Mapping[Part, Callable[[ProtocolSize], Sequence[Mapping[str, str]]]] = {
        "coverage": _coverage,
        "lipschitz": _lipschitz,
        "modes": _modes,
        "tails": _tails,
        "published": _published,
    }
    return [
        Trial(
            parts={"batch": "64", **parts, "part": part, **shared},
            budget=_budget(part, size),
            seed=seed,
        )
        for seed in range(size.seeds)
        for part in size.parts
        for parts in makers[part](size)
    ]


def _budget(part: Part, size: ProtocolSize) -> Budget:
    if part in {"coverage", "published"}:
        return Budget(steps=size.steps)
    if part == "lipschitz":
        return Budget(steps=max(1, 2 * size.steps // 3))
    return Budget(flops=size.flops)


def _coverage(size: ProtocolSize) -> list[dict[str, str]]:
    del size
    return [
        {"model": families.resolve(form), "name": name, "data": datasets.resolve(data)}
        for data in (RING, GRID)
        for name, form in COVERAGE.items()
    ]


def _published(size: ProtocolSize) -> list[dict[str, str]]:
    del size
    return [
        {
            "model": families.resolve(form),
            "name": name,
            "data": datasets.resolve(data),
            "points": str(points),
        }
        for data, points in PUBLISHED_DATA.items()
        for name, form in AS_PUBLISHED.items()
    ]


def _lipschitz(size: ProtocolSize) -> list[dict[str, str]]:
    return [
        {
            "model": f"gan held at L={held_constant(modes):.4g}",
            "modes": str(modes),
            "latent": str(latent),
            "width": str(size.width),
            "data": _written(held_world(modes)),
        }
        for modes in HELD_MODES
        for latent in (2, modes - 1)
    ]


def _modes(size: ProtocolSize) -> list[dict[str, str]]:
    del size
    return [
        {"model": families.resolve(FAMILIES[family]), "name": family, "data": _written(world)}
        for world in map(mode_world, MODES)
        for family in MODE_FAMILIES
    ]


def _tails(size: ProtocolSize) -> list[dict[str, str]]:
    del size
    return [
        {"model": model, "name": name, "data": datasets.resolve(form)}
        for form in TAIL_WORLDS
        for name, model in (
            ("flow, Gaussian base", families.resolve(FAMILIES["flow"])),
            ("flow, Student t base", f"flow with a Student t base of {TAIL_DF}"),
        )
    ]


def _written(world: Manifolds) -> str:
    fields = ("modes", "separation", "intrinsic", "ambient", "noise", "n")
    options = ",".join(f"{k}={getattr(world, k):g}" for k in fields)
    return datasets.resolve(f"manifolds:{options}")


# ----------------------------------------------------------------------------
# Runs one.
# ----------------------------------------------------------------------------


def run_protocol(trial: Trial, worlds: Worlds, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains the model of a protocol and measures what its part asks for."""
    with threads(int(trial.parts["threads"])), full_precision():
        rng = Rng(trial.seed, trial.parts["device"])
        game, solver, ema = _game(trial, rng)
        plan = Plan(
            budget=trial.budget,
            batch=int(trial.parts["batch"]),
            ema=ema,
            select="last" if trial.parts["part"] in {"coverage", "published"} else "best",
        )
        start = time.process_time()
        trained = train(
            game,
            solvers.make(solver),
            worlds.splits(trial.parts["data"]),
            plan,
            rng=rng,
            follow=training_progress(watch),
        )
        took = Estimate.exact(time.process_time() - start, unit="s", method="of this training")
        points = int(trial.parts.get("points", POINTS))
        samples = draw(game.model, points, rng=rng.stream("sample"))
        if not bool(samples.isfinite().all()):
            raise DivergedError("diverged: samples are not finite")
        folder.save("samples", {"samples": samples})
        found = _measured(trial, game.model, samples, worlds)
    return Outcome(trial=trial, spend=trained.spend, clock={TIME: took}, details={FOUND: found})


def _game(trial: Trial, rng: Rng) -> tuple[Generative, str, float]:
    """Returns the game of a trial, its solver and the decay of its average."""
    parts, data = trial.parts, datasets.make(trial.parts["data"])
    if parts["part"] == "lipschitz":
        modes, latent, width = (int(parts[name]) for name in ("modes", "latent", "width"))
        return held_gan(modes, latent, width, rng), "adam:lr=0.001,beta1=0.0,beta2=0.99", 0.99
    if parts.get("name") == "flow, Student t base":
        return student_flow(data.space, rng), "adam:lr=0.001", 0.99
    family = families.make(parts["model"])
    if not isinstance(family, Family):
        raise UserError(f"A protocol needs a trained family. Got {parts['model']}.")
    return family.build(data.space, rng=rng), family.solver, family.ema


def _measured(trial: Trial, model: Model, samples: Tensor, worlds: Worlds) -> dict[str, Any]:
    data = datasets.make(trial.parts["data"])
    found: dict[str, Any] = {}
    part = trial.parts["part"]
    if part != "tails" and isinstance(data, KnownSupport):
        found |= support(data, samples)
    if part in {"coverage", "published"}:
        found["reverse_kl"] = found.pop("mode_kl")
    if part in {"modes", "tails"}:
        target = worlds.target(trial.parts["data"])
        y = target.scaled(samples)
        found["energy"] = target.energy(samples) / target.scale
        found["hill"] = hill(y.square().sum(1).sqrt())
        found["real_hill"] = hill(target.x.square().sum(1).sqrt())
    if part == "lipschitz" and isinstance(model, Generator):
        found[CONSTANT] = constant_of(model)
    if part in {"modes", "lipschitz"}:
        probe = Lipschitz(points=2_000, secants=500, flops=2e9)
        scores = probe.inspect(model, samples, rng=Rng(DATA_SEED)).scores
        found |= {name: e.value for name, e in scores.items() if e.value is not None}
    return found
