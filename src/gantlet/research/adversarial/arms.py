"""What is trained and how closely it is looked at: critics, doses, factors, data, sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from gantlet.core.spec import datasets, families, solvers
from gantlet.games.accident import Way
from gantlet.run.trials import TypedTrial

Size = Literal["small", "full"]

# ----------------------------------------------------------------------------
# The critics that are compared. Each arm is a GAN with the loss ``ns``, whose scores are logits:
# a sample counts as real above zero.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        options: Options of the GAN beside those that all arms share.
        batch: Samples in a batch.
        solver: The solver, or None for the family's own.
        ablated: Whether the generator's updates are varied too (``WAYS``).
    """

    options: str
    batch: int = 64
    solver: str | None = None
    ablated: bool = False


RADII = (0.5, 1.0, 2.0)
"""Doses of adversarial training: radii of the attack (L2) in scaled samples."""

GAMMAS = (0.1, 1.0, 10.0)
"""Doses of the penalty R1."""

SOLVER = "adam:lr=0.001,beta1=0.0,beta2=0.99"
"""The solver of all arms that say nothing of it: that of ``gan``."""

RADIUS, GAMMA = 0.5, 1.0
"""The doses that stand for their kind where kinds are compared."""


def trained_at(radius: float) -> str:
    """Returns the name of adversarial training at a radius.

    Example:
        >>> trained_at(0.5), penalised_at(10.0)
        ('adversarial 0.5', 'R1 10')
    """
    return f"adversarial {radius:g}"


def penalised_at(gamma: float) -> str:
    """Returns the name of the penalty R1 at a weight."""
    return f"R1 {gamma:g}"


NONE, R1, ROBUST = "none", penalised_at(GAMMA), trained_at(RADIUS)

KINDS = (NONE, R1, "R1R2 1", "spectral norm", "gradient penalty", ROBUST, "4 critics")
"""The kinds of critics that are compared."""

_ATTACK = "penalty=none,adversarial="

ARMS: Mapping[str, Arm] = {
    NONE: Arm(options="penalty=none", ablated=True),
    **{
        penalised_at(g): Arm(options=f"penalty=r1,gamma={g:g}", ablated=g == GAMMA) for g in GAMMAS
    },
    "R1R2 1": Arm(options="penalty=r1r2,gamma=1"),
    "spectral norm": Arm(options="penalty=none,spectral=true"),
    # gamma / 2 weighs the penalty: 20 is the paper's weight of 10.
    "gradient penalty": Arm(options="penalty=gp,gamma=20"),
    **{
        trained_at(r): Arm(options=f"{_ATTACK}both,attack_radius={r:g}", ablated=r == RADIUS)
        for r in RADII
    },
    "adversarial 0.5, real only": Arm(options=f"{_ATTACK}real,attack_radius={RADIUS:g}"),
    "adversarial 0.5, fake only": Arm(options=f"{_ATTACK}fake,attack_radius={RADIUS:g}"),
    "4 critics": Arm(options="penalty=none,critics=4"),
    "R1 1, batch 8": Arm(options="penalty=r1,gamma=1", batch=8),
    "R1 1, batch 256": Arm(options="penalty=r1,gamma=1", batch=256),
    "R1 1, momentum": Arm(
        options="penalty=r1,gamma=1", solver="adam:lr=0.001,beta1=0.9,beta2=0.99"
    ),
}
"""All ways to train, by name."""

BATCHES: Mapping[int, str] = {8: "R1 1, batch 8", 64: R1, 256: "R1 1, batch 256"}
MOMENTUM = "R1 1, momentum"

EARLY = 0.2
"""After which share of the training some arms are looked at early."""

# ----------------------------------------------------------------------------
# How the generator's update is varied: the article's three reasons why it may not be an attack.
# ----------------------------------------------------------------------------

WAYS: Mapping[str, Way] = {
    "1 step": Way(steps=1),
    "5 steps": Way(steps=5),
    "20 steps": Way(steps=20),
    "20 steps, same z": Way(steps=20, same=True),
    "1 step on samples": Way(steps=1, space="samples"),
    "20 steps on samples": Way(steps=20, space="samples"),
}
"""Updates against a critic that stands still, by name."""

# ----------------------------------------------------------------------------
# What is measured, and on what data.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How closely a moment of training is looked at.

    Attributes:
        critics: Fresh critics.
        critic_steps: Steps of their training.
        critic_batch: Samples of a step of each.
        updates: Updates of the generator, each from the same place.
        ablated_updates: The same for each of the ways of ``WAYS``.
        held_out: Fakes whose displacement is looked at.
        real: Real test samples that they are compared with.
        attack_steps: Gradients of the attacks of the same length.
        samples: Fakes, and real samples, whose distance to the other side is searched.
        bisections: Halvings of the radius of that search.
        response: Steps of each best response of the duality gap.
        judged: Samples whose energy distance to test samples is the quality of a generator.
    """

    critics: int = 8
    critic_steps: int = 80
    critic_batch: int = 32
    updates: int = 50
    ablated_updates: int = 8
    held_out: int = 40
    real: int = 128
    attack_steps: int = 5
    samples: int = 96
    bisections: int = 3
    response: int = 60
    judged: int = 1000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One data set and what is trained on it.

    Attributes:
        data: In written form.
        shared: Options of the GAN that all arms share.
        arms: Names of arms.
        staged: Names of those that are looked at early too.
        steps: Steps of training.
        ablated: Whether updates are varied in the arms where they can be.
    """

    data: str
    shared: str
    arms: tuple[str, ...]
    staged: tuple[str, ...]
    steps: int
    ablated: bool = True


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A size of the study.

    Attributes:
        worlds: The data sets.
        seeds: Repeats of each arm on each.
        probe: How closely a moment is looked at.
    """

    worlds: tuple[World, ...]
    seeds: int
    probe: Probe


KNOWN = "gaussians:n=2000,held_out=500"
"""The data set whose density is known."""

DIGITS = "digits"

_SHARED = "latent=16,width=64,loss=ns"
_FEW = (NONE, R1, "spectral norm", ROBUST, "4 critics")

_SMALL = Scale(
    worlds=(
        World(data=DIGITS, shared=_SHARED, arms=tuple(ARMS), staged=(NONE, R1, ROBUST), steps=500),
        World(data=KNOWN, shared=_SHARED, arms=_FEW, staged=(), steps=500, ablated=False),
    ),
    seeds=5,
    probe=Probe(),
)
_WIDE = "latent=32,width=256,depth=3,loss=ns"
_PICTURES = (*KINDS, trained_at(2.0), "adversarial 0.5, real only", "adversarial 0.5, fake only")

SCALES: Mapping[Size, Scale] = {
    "small": _SMALL,
    "full": Scale(
        worlds=(
            *(replace(w, steps=5_000, staged=w.arms) for w in _SMALL.worlds),
            World(data="mnist", shared=_WIDE, arms=_PICTURES, staged=_PICTURES, steps=10_000),
            World(data="cifar10", shared=_WIDE, arms=_PICTURES, staged=_PICTURES, steps=10_000),
        ),
        seeds=10,
        probe=Probe(
            critic_steps=1_000,
            critic_batch=64,
            updates=100,
            ablated_updates=50,
            held_out=128,
            real=512,
            attack_steps=20,
            samples=256,
            bisections=8,
            response=500,
            judged=5_000,
        ),
    ),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialTrial(TypedTrial):
    """One GAN that is trained and attacked.

    Attributes:
        arm: The name of the arm.
        model: The GAN in written form with all defaults.
        solver: The solver in written form with all defaults.
        batch: Samples in a batch.
        steps: Steps of training.
        stages: After which shares of the training it is looked at; the last is 1.
        ablated: Whether the generator's updates are varied.
        probe: How closely it is looked at.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        threads: Threads of the trial.
        device: Where it is trained.
        seed: From which every random number follows.
    """

    arm: str
    model: str
    solver: str
    batch: int
    steps: int
    stages: tuple[float, ...]
    ablated: bool
    probe: Probe
    data: str
    data_seed: int
    seed: int
    threads: int = 1
    device: str = "cpu"


def trials_of(scale: Scale, *, seeds: int, threads: int, device: str) -> list[AdversarialTrial]:
    """Lists the trials: seed by seed, so that a run that is stopped has whole repeats.

    A seed also decides the split of the data, so that arms of one seed are pairs.
    """
    asked = [
        _trial(scale, world, name, seed)
        for seed in range(seeds)
        for world in scale.worlds
        for name in world.arms
    ]
    return [replace(t, threads=threads, device=device) for t in asked]


def _trial(scale: Scale, world: World, name: str, seed: int) -> AdversarialTrial:
    arm = ARMS[name]
    model = f"gan:{world.shared},{arm.options}"
    early = (EARLY,) if name in world.staged else ()
    return AdversarialTrial(
        arm=name,
        model=families.resolve(model),
        solver=solvers.resolve(arm.solver or SOLVER),
        batch=arm.batch,
        steps=world.steps,
        stages=(*early, 1.0),
        ablated=arm.ablated and world.ablated,
        probe=scale.probe,
        data=datasets.resolve(world.data),
        data_seed=seed,
        seed=seed,
    )


def worlds_of(scale: Scale) -> Sequence[str]:
    """Returns the data sets of a size in written form."""
    return [datasets.resolve(world.data) for world in scale.worlds]
