"""The comparisons of the study: three questions, each on equal compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from gantlet.commands.compare.study import Compare
from gantlet.core.estimate import Budget
from gantlet.report.blocks import Block, Caveat, Verdict


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPart:
    """What one part of the study found.

    Attributes:
        title: Its heading.
        verdicts: Its answers.
        blocks: Its tables and charts.
        caveats: What limits it.
    """

    title: str
    verdicts: Sequence[Verdict] = ()
    blocks: Sequence[Block] = ()
    caveats: Sequence[Caveat] = ()


Size = Literal["small", "full"]

FAMILIES = ("gan", "flow", "ar", "vae", "diffusion", "flow-gan")
BASELINES = ("histogram", "gmm", "memorizer")
WEIGHTS = ("0", "0.01", "0.1", "1", "10", "inf")
"""Weights of the likelihood in the Flow-GAN sweep: purely adversarial to purely likelihood."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "flow, planar": tuple(f"flow:coupling=planar,layers={n}" for n in (4, 8, 16)),
    "flow, affine": tuple(f"flow:coupling=affine,width={n}" for n in (8, 16, 32)),
    "flow, spline": tuple(f"flow:coupling=spline,width={n}" for n in (8, 16, 32)),
    "gan": tuple(f"gan:width={n}" for n in (16, 32, 64)),
    "vae": tuple(f"vae:width={n}" for n in (16, 32, 64)),
    "ar": tuple(f"ar:width={n}" for n in (16, 32, 64)),
    "diffusion": tuple(f"diffusion:width={n}" for n in (16, 32, 64)),
}
"""Models of growing size whose error is compared per parameter."""

# Planar layers act on the whole sample at once; on images they are hopeless, and slow.
_NOT_ON_IMAGES = ("flow, planar",)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TradeoffSize:
    """How much of everything a size of the study does.

    Attributes:
        budgets: Training FLOPs of the comparison of families, smallest first.
        seeds: Repeats of the comparison and of the sweep.
        plane: Energies of the plane on which expressivity is measured.
        plane_flops: Training FLOPs of each model there.
        plane_steps: Training steps of each model there at most. Planar layers multiply so little
            that they would never spend their operations.
        image_flops: Training FLOPs of each model of the expressivity part on the images.
        expressivity_seeds: Repeats of the expressivity part.
    """

    budgets: tuple[float, ...]
    seeds: int
    plane: tuple[int, ...]
    plane_flops: float
    plane_steps: int
    image_flops: float
    expressivity_seeds: int


SCALES: dict[Size, TradeoffSize] = {
    "small": TradeoffSize(
        budgets=(2e10, 6e10, 2e11),
        seeds=3,
        plane=(1, 2, 3, 4),
        plane_flops=4e9,
        plane_steps=2000,
        image_flops=4e10,
        expressivity_seeds=2,
    ),
    "full": TradeoffSize(
        budgets=(1e11, 1e12, 1e13, 1e14),
        seeds=5,
        plane=(1, 2, 3, 4),
        plane_flops=1e11,
        plane_steps=50_000,
        image_flops=1e12,
        expressivity_seeds=5,
    ),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where everything runs.

    Attributes:
        data: The data set of images (or vectors) of the comparison.
        threads: Threads of each trial.
        device: Where models are trained.
    """

    data: str
    threads: int
    device: str


def comparisons(scale: TradeoffSize, place: Place) -> dict[float, Compare]:
    """Returns the comparison of all families at each budget; baselines ride with the largest."""
    largest = max(scale.budgets)
    return {
        budget: Compare(
            models=FAMILIES + (BASELINES if budget == largest else ()),
            data=place.data,
            budget=Budget(flops=budget),
            seeds=scale.seeds,
            threads=place.threads,
            device=place.device,
            command="study",
        )
        for budget in scale.budgets
    }


def sweep(scale: TradeoffSize, place: Place) -> Compare:
    """Returns the comparison of Flow-GANs from purely adversarial to purely likelihood."""
    return Compare(
        models=tuple(f"flow-gan:weight={w}" for w in WEIGHTS),
        data=place.data,
        budget=Budget(flops=max(scale.budgets)),
        seeds=scale.seeds,
        threads=place.threads,
        device=place.device,
        command="study",
    )


def expressivity(scale: TradeoffSize, place: Place) -> dict[str, Compare]:
    """Returns the comparisons of models of growing size, by data set."""
    plane = {
        f"energy:index={i},held_out=5000": _sizes(
            f"energy:index={i},held_out=5000", _plane(scale), scale, place
        )
        for i in scale.plane
    }
    return plane | {place.data: _sizes(place.data, Budget(flops=scale.image_flops), scale, place)}


def _plane(scale: TradeoffSize) -> Budget:
    return Budget(flops=scale.plane_flops, steps=scale.plane_steps)


def _sizes(data: str, budget: Budget, scale: TradeoffSize, place: Place) -> Compare:
    on_images = data == place.data
    models = [
        model
        for variant, sizes in VARIANTS.items()
        if not (on_images and variant in _NOT_ON_IMAGES)
        for model in sizes
    ]
    return Compare(
        models=tuple(models),
        data=data,
        budget=budget,
        seeds=scale.expressivity_seeds,
        metrics=("energy", "sliced-wasserstein"),
        features=() if on_images else ("pixels",),
        samples=5000,
        probes=("likelihood:most=5000", "parameters"),
        threads=place.threads,
        device=place.device,
        command="study",
    )
