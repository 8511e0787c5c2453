"""The design of the experiment: worlds, families, budgets, and the order of the trials."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias, final

import torch

from gantlet.core.spec import datasets, families
from gantlet.domains.offline import NAMES

Size: TypeAlias = Literal["small", "full", "real", "protocols", "coverage", "published"]

FAMILIES: Mapping[str, str] = {
    "gan": "gan:width=64",
    "flow": "flow:width=64,layers=6",
    "ar": "ar:width=64",
    "vae": "vae:width=64",
    "diffusion": "diffusion:width=64",
    "flow-gan": "flow-gan:width=64,layers=6,critic_width=64",
}
"""The families of the experiment, by short name: networks of 64 hidden units, else defaults."""

# ----------------------------------------------------------------------------
# Unions of manifolds by a scrambled Sobol sequence.
# ----------------------------------------------------------------------------

FACTORS: Mapping[str, Sequence[str]] = {
    "modes": ("1", "2", "4", "8", "16", "32"),
    "separation": ("3", "4", "6", "8.5", "12"),
    "bridge": ("0", "0.01", "0.05", "0.2"),
    "intrinsic": ("1", "2", "3", "6"),
    "ambient": ("3", "6", "12", "32"),
    "curvature": ("0", "1.5", "3"),
    "edges": ("gaussian", "box", "smooth"),
    "tails": ("inf", "5", "2.2"),
    "balance": ("equal", "zipf"),
    "noise": ("0", "0.05"),
    "topology": ("blob", "blob", "blob", "ring", "torus", "links"),
    "n": ("250", "1000", "4000", "16000"),
}
"""Levels of each factor. Half of the worlds are blobs."""

_ANGLES = {"blob": 0, "ring": 1, "torus": 2, "links": 1}
_CURLED = {"blob": 0, "ring": 2, "torus": 3, "links": 3}


def sobol(count: int) -> list[dict[str, str]]:
    """Returns the factors of ``count`` worlds before repairs: a scrambled Sobol sequence.

    Of a power of two, each level of a factor with two or four levels comes equally often, and so
    does each pair of levels of most pairs of factors.

    Source: Owen, 1998, https://doi.org/10.1006/jcom.1998.0487.
    """
    engine = torch.quasirandom.SobolEngine(len(FACTORS), scramble=True, seed=13)  # type: ignore[no-untyped-call]
    points = engine.draw(count).tolist() if count else []
    return [
        {
            name: levels[min(int(u * len(levels)), len(levels) - 1)]
            for (name, levels), u in zip(FACTORS.items(), point, strict=True)
        }
        for point in points
    ]


def repaired(factors: Mapping[str, str]) -> dict[str, str]:
    """Returns factors that fit together: what has no effect or no room goes to its first level.

    A torus has at least two dimensions and every mode fits into its space; then curvature needs
    room, edges and tails need a straight coordinate, and a bridge needs two ends.
    """
    f, topology = dict(factors), factors["topology"]
    f["intrinsic"] = str(max(int(f["intrinsic"]), _ANGLES[topology] or 1))
    straight = int(f["intrinsic"]) - _ANGLES[topology]
    used = straight + _CURLED[topology]
    f["ambient"] = next(a for a in FACTORS["ambient"] if int(a) >= max(used, int(f["ambient"])))
    if not straight:
        f |= {"edges": "gaussian", "tails": "inf"}
    if not straight or int(f["ambient"]) == used:
        f["curvature"] = "0"
    if f["modes"] == "1" and topology != "links":
        f |= {"bridge": "0", "balance": "equal"}
    return f


def written(factors: Mapping[str, str]) -> str:
    """Returns the data set of these factors, in written form."""
    return "manifolds:" + ",".join(f"{k}={v}" for k, v in factors.items())


# ----------------------------------------------------------------------------
# Random processes that look like real data.
# ----------------------------------------------------------------------------

_SMALL: Mapping[str, Sequence[tuple[int, float, int]]] = {
    "table": ((13, 0.7, 90), (4, 0.9, 75), (10, 0.4, 220), (30, 0.9, 280)),
    "series": ((16, 0.98, 100), (8, 0.9, 80)),
    "returns": ((3, 0.95, 170),),
    "field": ((16, 0.97, 330), (9, 0.9, 90)),
    "leaves": ((16, 0.9, 330),),
    "strokes": ((64, 0.9, 900), (25, 0.9, 250)),
}
"""Sizes as small tables have them, below those of the unions of manifolds. They were added after
the errors of such real sets had been predicted worst."""

_LARGE: Mapping[str, Sequence[tuple[int, float, int]]] = {
    "leaves": ((9, 0.9, 4000), (16, 0.7, 1000), (36, 0.8, 4000)),
    "table": ((12, 0.6, 250), (4, 0.9, 250), (30, 0.8, 1000)),
    "series": ((16, 0.95, 1000), (8, 0.7, 4000), (32, 0.9, 250)),
    "strokes": ((16, 0.8, 4000), (64, 0.9, 1000), (9, 0.5, 250)),
    "returns": ((3, 0.9, 250), (8, 0.98, 4000), (5, 0.6, 1000)),
    "field": ((9, 0.95, 4000), (25, 0.8, 1000), (16, 0.99, 250)),
}

PROCESSES: Sequence[str] = tuple(
    f"process:kind={kind},size={size},memory={memory},n={n}"
    for of in (_LARGE, _SMALL)
    for kind, settings in of.items()
    for size, memory, n in settings
)
"""Patches, series, returns and tables: what real data are like and unions of manifolds are not."""

REAL: Sequence[str] = tuple(f"offline:name={name}" for name in NAMES)
"""The real sets, on which nothing is fitted."""

# ----------------------------------------------------------------------------
# Sizes.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DesignSize:
    """How much of everything a size of the study does.

    Attributes:
        worlds: Points of the Sobol sequence.
        processes: Whether the random processes are there.
        real: Whether the real sets are there.
        seeds: Trainings of each family on each world.
        flops: Training FLOPs of each; the model is judged at a ninth, a third and all of it.
        batch: Samples in a batch.
    """

    worlds: int
    processes: bool = True
    real: bool = True
    seeds: int = 2
    flops: float = 9e9
    batch: int = 64


SCALES: Mapping[str, DesignSize] = {
    "small": DesignSize(worlds=64),
    "full": DesignSize(worlds=512, seeds=3, flops=9e11, batch=128),
    "real": DesignSize(worlds=0, processes=False),
}
"""The sizes of the experiment."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world of the design.

    Attributes:
        form: The data set in written form with all defaults.
        block: Number of its configuration. Unions of manifolds with the same number of modes and
            the same dimensions are one, processes of one kind and size, and a real set alone.
        real: Whether it is a real set, held out of everything that is fitted.
    """

    form: str
    block: int
    real: bool = False


def worlds(scale: DesignSize) -> list[World]:
    """Returns the worlds in the order in which they run.

    Each beginning of the sequence is an experiment: processes and real sets are spread over the
    Sobol sequence.
    """
    forms = {
        "manifolds": [written(repaired(f)) for f in sobol(scale.worlds)],
        "processes": PROCESSES if scale.processes else (),
        "real": REAL if scale.real else (),
    }
    blocks: dict[str, int] = {}
    return [
        World(
            form=datasets.resolve(form),
            block=blocks.setdefault(_configuration(form), len(blocks)),
            real=form in REAL,
        )
        for form in dict.fromkeys(_spread(*forms.values()))
    ]


def _spread(*lists: Sequence[str]) -> Iterator[str]:
    """Yields the items of all lists, each list as evenly as may be between the others."""
    placed = [
        ((i + 0.5) / len(items), k, item)
        for k, items in enumerate(lists)
        for i, item in enumerate(items)
    ]
    yield from (item for _, _, item in sorted(placed))


def _configuration(form: str) -> str:
    name, _, options = form.partition(":")
    given = dict(option.split("=") for option in options.split(","))
    of = {
        "manifolds": ("modes", "intrinsic", "ambient"),
        "process": ("kind", "size"),
        "offline": ("name",),
    }[name]
    return ",".join([name, *(given[key] for key in of)])


def pairs(scale: DesignSize, names: Sequence[str]) -> Iterator[tuple[int, World, str]]:
    """Yields seed, world and family of each training, in the order of the run.

    World by world with all families, so that the run is a balanced experiment wherever it stops;
    a second seed comes after everything was trained once.
    """
    for seed, world, name in product(range(scale.seeds), worlds(scale), names):
        yield seed, world, families.resolve(FAMILIES.get(name, name))
