"""Sets of samples with known verdicts: as good as real ones, or with one flaw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.arrays import TRAIN, find, read_pair
from gantlet.data.catalogue import home, locate
from gantlet.domains.corruptions import jpeg

_DARKER = 0.97


@final
@dataclass(frozen=True, slots=True, eq=False)
class Finite:
    """A distribution over so many points, each as likely as the others.

    Attributes:
        points: In float64, shape ``(k, d)``.
    """

    points: Tensor

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in float32, shape ``(n, d)``; the same one may come again."""
        return self.points[torch.randint(len(self.points), (n,), generator=rng)].float()

    def groups(self, n: int) -> Tensor | None:
        """Returns None: each of them is drawn alone."""
        del n
        return None

    def moments(self) -> tuple[Tensor, Tensor]:
        """Returns mean and covariance, shapes ``(d,)`` and ``(d, d)``."""
        return self.points.mean(0), torch.cov(self.points.T, correction=0).reshape(
            self.points.shape[1], -1
        )


def digits(d: int) -> tuple[Finite, Finite]:
    """Returns the first 30,000 training images of MNIST, and the others, a little darker.

    As their ``d`` leading principal components, over the root of the first one's variance.

    Raises:
        UserError: If the files are not there, or there are not so many components.
    """
    centred, axes, centre = _axes()
    if d > axes.shape[1]:
        raise UserError(f"Images of MNIST have {axes.shape[1]} components. Got d = {d}.")
    axes = axes[:, :d]
    half = len(centred) // 2
    seen = (centred @ axes).double()
    scale = seen[:, 0].std()
    # Darker pixels: all of them smaller, about zero and not about their mean.
    darker = _DARKER * seen[half:] - (1 - _DARKER) * (centre @ axes).double()
    return Finite(seen[:half] / scale), Finite(darker / scale)


@cache
def _axes() -> tuple[Tensor, Tensor, Tensor]:
    """Returns the images less their mean, their principal axes, largest first, and the mean."""
    folder = locate("mnist", None)
    images, labels = (find(folder, name) for name in TRAIN)
    if images is None:
        raise UserError(f"{folder / TRAIN[0]} is not a file.")
    pixels = torch.tensor(read_pair(images, labels).array.reshape(60_000, -1)).float() / 255
    centre = pixels.mean(0)
    pixels -= centre
    return pixels, torch.linalg.eigh(pixels.T @ pixels).eigenvectors.flip(1), centre


DIFFERS = "differs from real data"
VARIETY = "too little variety"
COPIES = "copies of training samples"

CLAIMS = (DIFFERS, VARIETY, COPIES)
"""What a verdict may say of a set."""

Array: TypeAlias = NDArray[Any]
Files: TypeAlias = Mapping[str, Path]
"""Where ``real``, ``fake`` and perhaps ``train`` are."""

Write: TypeAlias = Callable[[Path, torch.Generator], Files]
"""Draws sets of samples and writes them to a folder."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A way to draw sets, and what is true of them.

    Attributes:
        says: What is drawn, in words.
        write: Draws it.
        runs: How often.
        flaw: The claim that is true, or None where fakes are drawn like real samples.
        metrics: What is measured; empty for the defaults.
        network: The file of the network whose features are used, or empty for the defaults.
    """

    says: str
    write: Write
    runs: int
    flaw: str | None = None
    metrics: tuple[str, ...] = ()
    network: str = ""

    def features(self) -> tuple[str, ...]:
        """Returns the feature extractors in written form.

        Raises:
            UserError: If the network is not there.
        """
        return (f"onnx:path={_here(self.network)},size=96",) if self.network else ()


def _saved(folder: Path, **sets: Tensor | Array | None) -> Files:
    found: dict[str, Path] = {}
    for name, x in sets.items():
        if x is not None:
            found[name] = folder / f"{name}.npz"
            np.savez(found[name], x=x.numpy() if isinstance(x, Tensor) else x)
    return found


def _normal(sizes: Sequence[int], d: int, folder: Path, rng: torch.Generator) -> Files:
    real, fake, train = (torch.randn(k, d, generator=rng) for k in sizes)
    return _saved(folder, real=real, fake=fake, train=train if len(train) else None)


def _dealt(x: Tensor, sizes: Sequence[int], rng: torch.Generator) -> list[Tensor]:
    order = torch.randperm(len(x), generator=rng)[: sum(sizes)]
    return [x[part] for part in torch.split(order, list(sizes))]


def _digits(t: int, folder: Path, rng: torch.Generator) -> Files:
    real, fake, train = _dealt(_all_digits()[0], (500, 500, t), rng)
    return _saved(folder, real=real, fake=fake, train=train if t else None)


def _mnist(folder: Path, rng: torch.Generator) -> Files:
    source = datasets.make("mnist").load(rng=Rng(0)).train
    real, fake = torch.split(torch.randperm(len(source), generator=rng)[:2000], 1000)
    return _saved(folder, real=_bytes(source.take(real)), fake=_bytes(source.take(fake)))


def _all_digits() -> tuple[Tensor, Tensor]:
    splits = datasets.make("digits").load(rng=Rng(0))
    parts = (splits.train, splits.validation, splits.test)
    labels = [p.labels for p in parts if p.labels is not None]
    return _bytes(torch.cat([all_samples(p) for p in parts])), torch.cat(labels)


def _bytes(x: Tensor) -> Tensor:
    return x.to(torch.uint8)


def _copied(what: str, folder: Path, rng: torch.Generator) -> Files:
    real, train, fresh = (torch.randn(300, 16, generator=rng) for _ in range(3))
    fake = {
        "all": train,
        "half": torch.cat([train[:150], fresh[:150]]),
        "noisy": train + 0.02 * torch.randn(300, 16, generator=rng),
    }[what]
    return _saved(folder, real=real, fake=fake, train=train)


def _graphs(folder: Path, rng: torch.Generator) -> Files:
    """Writes random graphs; the fakes are those of the training with their nodes renamed."""
    real, train = ([_graph(rng) for _ in range(120)] for _ in range(2))
    fake = [_renamed(n, edges, rng) for n, edges in train]
    sets = {"real": real, "fake": fake, "train": train}
    return {name: _written_graphs(folder / f"{name}.npz", some) for name, some in sets.items()}


Graph: TypeAlias = tuple[int, Tensor]
"""How many nodes there are, and the edges, shape ``(e, 2)``."""


def _graph(rng: torch.Generator) -> Graph:
    n = int(torch.randint(10, 21, (1,), generator=rng))
    density = 0.15 + 0.35 * float(torch.rand(1, generator=rng))
    chosen = torch.rand(n, n, generator=rng).triu(1) > 1 - density
    return n, chosen.nonzero()


def _renamed(n: int, edges: Tensor, rng: torch.Generator) -> Graph:
    return n, torch.randperm(n, generator=rng)[edges].sort(1).values


def _written_graphs(file: Path, graphs: Sequence[Graph]) -> Path:
    np.savez(
        file,
        num_nodes=np.array([n for n, _ in graphs]),
        num_edges=np.array([len(edges) for _, edges in graphs]),
        edges=torch.cat([edges for _, edges in graphs]).numpy(),
    )
    return file


def _rows(folder: Path, rng: torch.Generator) -> Files:
    """Writes tables of numbers and categories; the fakes are rows of the training."""
    real, train = (_table(400, rng) for _ in range(2))
    sets = {"real": real, "fake": train[:300], "train": train}
    for name, rows in sets.items():
        text = "".join(f"{row}\n" for row in ("age,income,city,member", *rows))
        (folder / f"{name}.csv").write_text(text)
    return {name: folder / f"{name}.csv" for name in sets}


def _table(n: int, rng: torch.Generator) -> list[str]:
    age, income = torch.rand(n, generator=rng), torch.randn(n, generator=rng)
    city, member = (torch.randint(k, (n,), generator=rng).tolist() for k in (5, 2))
    cities = ("Aachen", "Bonn", "Celle", "Dessau", "Emden")
    return [
        f"{18 + 60 * float(a):.1f},{1000 * (3 + float(a) + float(i)):.2f},{cities[c]},{'ny'[m]}"
        for a, i, c, m in zip(age, income, city, member, strict=True)
    ]


# A strength of ``jpeg``, and a network that sees what it leaves behind.
_QUALITY_75 = 0.25
_NETWORK = "weights/mobilenet_v1_imagenet.onnx"


def _jpeg(folder: Path, rng: torch.Generator) -> Files:
    x = torch.from_numpy(np.load(_here("images/cifar10/cifar10_lossless_first4000.npz"))["x"])
    x = x.movedim(-1, 1) if x.shape[-1] == 3 else x
    # The reference is the same in all runs, so that it passes through the network once.
    fake = 1500 + torch.randperm(len(x) - 1500, generator=rng)[:400]
    damaged = jpeg(x[fake].float(), 256, _QUALITY_75)
    return _saved(folder, real=x[:1500], fake=_bytes(damaged))


def _here(name: str) -> Path:
    file = home() / name
    if not file.exists():
        raise UserError(f"{file} is not here")
    return file


def _dropped(folder: Path, rng: torch.Generator) -> Files:
    source = datasets.make("mnist").load(rng=Rng(0)).train
    order = torch.randperm(len(source), generator=rng)
    real, rest = order[:3000], order[3000:]
    if source.labels is None:
        raise UserError("mnist has no labels here")
    fake = rest[source.labels[rest] != 3][:1500]
    return _saved(folder, real=_bytes(source.take(real)), fake=_bytes(source.take(fake)))


def _collapsed(folder: Path, rng: torch.Generator) -> Files:
    real, modes = torch.randn(600, 16, generator=rng), torch.randn(20, 16, generator=rng)
    which = torch.randint(20, (300,), generator=rng)
    return _saved(folder, real=real, fake=modes[which] + 0.1 * torch.randn(300, 16, generator=rng))


# Real samples, fakes and dimensions of the standard normal worlds.
_SHAPES = ((600, 300, 8), (500, 500, 64), (1000, 300, 16), (300, 1000, 16), (1000, 1000, 16))
# By training samples: how often each is drawn.
_NORMAL_RUNS = {0: 200, 300: 200, 5000: 100}


def _honest() -> Mapping[str, World]:
    normal = {
        f"normal {n}/{m}, d = {d}" + (f", train {t}" if t else ""): World(
            says=f"{n} real samples and {m} fakes, all standard normal in {d} dimensions"
            + (f", and {t} training samples" if t else ""),
            write=partial(_normal, (n, m, t), d),
            runs=runs,
        )
        for t, runs in _NORMAL_RUNS.items()
        for n, m, d in _SHAPES
    }
    digits = {
        f"digits 500/500{f', train {t}' if t else ''}": World(
            says="500 digits of 8 x 8 pixels against 500 others"
            + (f", and {t} others as training samples" if t else ""),
            write=partial(_digits, t),
            runs=100,
        )
        for t in (0, 700)
    }
    mnist = World(says="1000 images of MNIST against 1000 others", write=_mnist, runs=40)
    return {**normal, **digits, "mnist 1000/1000": mnist}


def _copying() -> Mapping[str, World]:
    says = {
        "all": "the 300 training samples, standard normal in 16 dimensions",
        "half": "150 training samples and 150 fresh ones, standard normal in 16 dimensions",
        "noisy": "the 300 training samples with noise of 0.02",
    }
    made: dict[str, tuple[str, Write]] = {
        f"copies: {k}": (text, partial(_copied, k)) for k, text in says.items()
    }
    made["copies: graphs"] = ("120 training graphs with their nodes in another order", _graphs)
    made["copies: rows"] = ("300 of 400 training rows of a table", _rows)
    return {
        name: World(says=text, write=write, runs=20, flaw=COPIES)
        for name, (text, write) in made.items()
    }


WORLDS: Mapping[str, World] = {
    **_honest(),
    **_copying(),
    "jpeg copies": World(
        says="400 images of CIFAR-10 through JPEG of quality 75 against 1500 others: kid alone, "
        "on the features of MobileNet",
        write=_jpeg,
        runs=10,
        flaw=DIFFERS,
        metrics=("kid",),
        network=_NETWORK,
    ),
    "dropped class": World(
        says="1500 images of MNIST without one of the ten digits against 3000",
        write=_dropped,
        runs=20,
        flaw=DIFFERS,
    ),
    "collapsed": World(
        says="300 samples near 20 points against 600, standard normal in 16 dimensions",
        write=_collapsed,
        runs=20,
        flaw=VARIETY,
    ),
}
"""All worlds by name: those with nothing wrong first."""
