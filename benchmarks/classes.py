"""How `gantlet evaluate --labels` finds faults of single classes of a conditional GAN.

Run from the repository: OMP_NUM_THREADS=1 nice python benchmarks/classes.py [PART ...]

The generator is a published class-conditional WGAN-GP of MNIST. Its own samples stand for real
data, so that the truth is known: further samples of it are flawless, and faults are planted in
one or two classes. All samples are drawn once, and their features are those of the default
extractor, the classifier, trained on MNIST once; each run then draws 1,000 reference samples and
1,000 fakes of these and calls the command itself, on files of features with labels. Parts:

- faults: 20 runs each of a class that is missing, two classes whose labels are swapped, a class
  a third as frequent, and a class that varies less (latent vectors scaled by 0.4): is it named
  first?
- null: 200 runs of flawless samples: how often is any claim about classes made?
- intervals: 1,000 draws of Gaussian classes whose KID is known in closed form: how often do the
  intervals of all classes hold together, and each on its own?

The result goes to benchmarks/results/classes.json, with exact binomial intervals. About ten CPU
minutes.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import gantlet
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors
from gantlet.metrics.conditional import distance_within, share_difference
from gantlet.stats.intervals import proportion, simultaneous

RESULT = Path(__file__).parent.resolve() / "results" / "classes.json"
DATA = Path(os.environ.get("GANTLET_DATA", Path(__file__).parents[2] / "shared" / "data"))
N, RUNS, NULLS, DRAWS = 1_000, 20, 200, 1_000
BANK = 10_000

Draw = np.random.Generator
Array = NDArray[np.float32]

# ----------------------------------------------------------------------------
# The generator: HayatoHongo/MNIST-Conditional-WGAN-gp, MIT.
# ----------------------------------------------------------------------------


class Generator(nn.Module):
    """A class-conditional generator of MNIST; its weights are a published training's."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(10, 10)
        self.l1 = nn.Sequential(nn.Linear(20, 128 * 7 * 7))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128, 0.8),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64, 0.8),
            nn.ReLU(),
            nn.Conv2d(64, 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Returns images, shape ``(n, 1, 28, 28)`` in [-1, 1], from latent vectors ``(n, 10)``."""
        both = torch.cat([z, self.label_emb(label)], 1)
        found: Tensor = self.conv_blocks(self.l1(both).view(-1, 128, 7, 7))
        return found


def generator() -> Generator:
    """Returns the generator with its published weights."""
    path = DATA / "weights" / "mnist_cwgan_gp_generator.pth"
    net = Generator()
    state = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def images(label: Tensor, *, seed: int, spread: float = 1.0) -> Tensor:
    """Returns images of these labels as bytes, shape ``(n, 1, 28, 28)``."""
    z = spread * torch.randn(len(label), 10, generator=torch.Generator().manual_seed(seed))
    net = generator()
    parts = zip(torch.split(z, 500), torch.split(label, 500), strict=True)
    x = torch.cat([net(*part) for part in parts])
    return ((x + 1) * 127.5).round().to(torch.uint8)


# ----------------------------------------------------------------------------
# Features of many samples, drawn once.
# ----------------------------------------------------------------------------


@cache
def bank(spread: float = 1.0) -> tuple[Array, NDArray[np.int64]]:
    """Returns the features and labels of many samples of the generator."""
    n = BANK if spread == 1.0 else BANK // 4
    label = torch.from_numpy(np.random.default_rng(n).integers(0, 10, n))
    x = images(label, seed=n, spread=spread).float()
    extract = features().extract
    found = torch.cat([extract(part) for part in torch.split(x, 500)])
    return found.numpy(), label.numpy()


@cache
def features() -> Any:
    """Returns the default features of labelled images, trained on MNIST."""
    data = datasets.make(f"idx:path={DATA / 'images' / 'mnist'},limit=8000")
    found = extractors.make("classifier:steps=1000")
    return found.fit(data.space, data.load(rng=Rng(0)), rng=Rng(0))


def drawn(seed: int) -> list[tuple[Array, NDArray[np.int64]]]:
    """Returns two sets of samples that share none."""
    x, y = bank()
    places = np.random.default_rng([seed, N]).permutation(len(x))[: 2 * N]
    return [(x[part], y[part]) for part in np.split(places, 2)]


# ----------------------------------------------------------------------------
# Faults of single classes.
# ----------------------------------------------------------------------------

Labelled_ = tuple[Array, NDArray[np.int64]]


def missing(x: Array, y: NDArray[np.int64], draw: Draw, c: int) -> tuple[Labelled_, set[int]]:
    """All samples of a class are gone."""
    del draw
    kept = y != c
    return (x[kept], y[kept]), {c}


def swapped(x: Array, y: NDArray[np.int64], draw: Draw, c: int) -> tuple[Labelled_, set[int]]:
    """The labels of a class and of another are exchanged."""
    other = int((c + draw.integers(1, 10)) % 10)
    return (x, np.where(y == c, other, np.where(y == other, c, y))), {c, other}


def rarer(x: Array, y: NDArray[np.int64], draw: Draw, c: int) -> tuple[Labelled_, set[int]]:
    """Two of three samples of a class are gone."""
    kept = (y != c) | (draw.random(len(y)) < 1 / 3)
    return (x[kept], y[kept]), {c}


def narrow(x: Array, y: NDArray[np.int64], draw: Draw, c: int) -> tuple[Labelled_, set[int]]:
    """Samples of a class vary less: their latent vectors are scaled by 0.4."""
    less, label = bank(0.4)
    own = draw.permutation(np.flatnonzero(label == c))[: int((y == c).sum())]
    other = y != c
    return (
        (np.concatenate([x[other], less[own]]), np.concatenate([y[other], label[own]])),
        {c},
    )


FAULTS: dict[str, Callable[..., tuple[Labelled_, set[int]]]] = {
    "missing": missing,
    "swapped": swapped,
    "a third as frequent": rarer,
    "less varied": narrow,
}


def evaluated(real: Labelled_, fake: Labelled_, seed: int) -> dict[str, Any]:
    """Returns what the command says of the classes of one set."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, (x, y) in (("real", real), ("fake", fake)):
            files[name] = f"{folder}/{name}.npz"
            np.savez(files[name], x=x, labels=y)
        report = gantlet.evaluate(
            files["fake"],
            against=files["real"],
            labels="auto",
            metrics=["kid"],
            out=f"{folder}/run",
            seed=seed,
        )
    found: dict[str, Any] = report.extra["classes"][0]
    return found


def named(found: dict[str, Any]) -> list[int]:
    """Returns the classes that differ significantly, worst first."""
    return [int(c["class"]) for c in found["classes"] if c["differs in"]]


def faults() -> dict[str, Any]:
    """How often the classes with a planted fault are the first that are named, and all of them."""
    made: dict[str, Any] = {}
    for name, plant in FAULTS.items():
        first = alone = 0
        for run in range(RUNS):
            draw = np.random.default_rng([run, len(name)])
            real, fake = drawn(10_000 + run)
            judged, wrong = plant(*fake, draw, run % 10)
            said = named(evaluated(real, judged, run))
            first += set(said[: len(wrong)]) == wrong
            alone += set(said) == wrong
        made[name] = {"named first": _share(first, RUNS), "no other named": _share(alone, RUNS)}
        print(name, made[name], flush=True)
    return made


def null() -> dict[str, Any]:
    """How often anything is claimed of the classes of flawless samples."""
    classes = together = either = 0
    for run in range(NULLS):
        found = evaluated(*drawn(20_000 + run), run)
        of_classes = bool(named(found))
        of_all = any(t["adjusted"] <= 0.05 for t in found["together"].values())
        classes, together = classes + of_classes, together + of_all
        either += of_classes or of_all
    made = {
        "any claim": _share(either, NULLS),
        "a class": _share(classes, NULLS),
        "all classes together": _share(together, NULLS),
    }
    print("null", made, flush=True)
    return made


# ----------------------------------------------------------------------------
# Intervals where the truth is known.
# ----------------------------------------------------------------------------

CLASSES, WIDE = 10, 6


def third_moment(a: NDArray[np.float64], s: float, b: NDArray[np.float64], t: float) -> float:
    """The mean of the kernel of KID over ``x ~ N(a, s^2 I)`` and ``y ~ N(b, t^2 I)``."""
    d, ab, aa, bb = len(a), float(a @ b), float(a @ a), float(b @ b)
    second = ab**2 + s**2 * bb + t**2 * aa + s**2 * t**2 * d
    third = ab**3 + 3 * ab * (s**2 * bb + t**2 * aa) + s**2 * t**2 * ab * (3 * d + 6)
    return 1 + 3 * ab / d + 3 * second / d**2 + third / d**3


def known_kid(a: NDArray[np.float64], s: float, b: NDArray[np.float64], t: float) -> float:
    """The KID of two isotropic normal distributions."""
    own = third_moment(a, s, a, s) + third_moment(b, t, b, t)
    return own - 2 * third_moment(a, s, b, t)


def intervals() -> dict[str, Any]:
    """How often the intervals of all classes hold together, and each on its own."""
    source = np.random.default_rng(1)
    centres = source.normal(size=(CLASSES, WIDE))
    moved = centres + source.normal(size=(CLASSES, WIDE)) * np.linspace(0, 0.8, CLASSES)[:, None]
    spread = np.where(np.arange(CLASSES) % 2, 0.8, 1.0)
    truth = [known_kid(c, 1.0, m, s) for c, m, s in zip(centres, moved, spread, strict=True)]
    weights = np.arange(1, CLASSES + 1) / (CLASSES * (CLASSES + 1) / 2)
    other = weights[::-1]
    level = simultaneous(CLASSES)
    held = np.zeros((DRAWS, CLASSES, 2), dtype=bool)
    for run in range(DRAWS):
        draw, rng = np.random.default_rng([run, 7]), torch.Generator().manual_seed(run)
        real, fake = draw.multinomial(1000, weights), draw.multinomial(1000, other)
        for c in range(CLASSES):
            x = centres[c] + draw.normal(size=(100, WIDE))
            y = moved[c] + spread[c] * draw.normal(size=(100, WIDE))
            kid = distance_within(torch.from_numpy(x), torch.from_numpy(y), level=level, rng=rng)
            share = share_difference(int(fake[c]), 1000, int(real[c]), 1000, level=level)
            held[run, c] = _holds(kid, truth[c]), _holds(share, other[c] - weights[c])
    made = {
        name: {
            "all classes together": _share(int(held[..., i].all(1).sum()), DRAWS),
            "level of each": round(100 * level, 4),
            "each": _share(int(held[..., i].sum()), DRAWS * CLASSES),
        }
        for i, name in enumerate(("KID", "share difference"))
    }
    print("intervals", made, flush=True)
    return made


def _holds(e: Any, truth: float) -> bool:
    return bool(e.low <= truth <= e.high)


def _share(count: int, n: int) -> list[float]:
    e = proportion(count, n)
    return [count, n, *(round(100 * (v or 0.0), 1) for v in (e.value, e.low, e.high))]


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "faults": faults,
    "null": null,
    "intervals": intervals,
}


def main() -> None:
    """Runs all parts, or those that are named, and keeps the others' results."""
    wanted = sys.argv[1:] or list(PARTS)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in wanted:
        start = time.process_time()
        kept[part] = PARTS[part]()
        kept[part]["CPU seconds"] = round(time.process_time() - start)
        RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
