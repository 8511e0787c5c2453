"""Real vectors that need no download: made from installed packages, and from MNIST where it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.data import InMemory, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import random_split

Name: TypeAlias = Literal[
    "digits",
    "digits-pca",
    "cancer",
    "wine",
    "iris",
    "diabetes",
    "photo-colours",
    "photo-patches",
    "photo-blocks",
    "portrait-patches",
    "eeg",
    "stock-returns",
    "sea-floor",
    "fault-terrain",
    "topics",
    "graph-walks",
    "mnist-pca",
]

Rows: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Offline:
    """A real data set of vectors that comes with installed packages.

    - scikit-learn: ``digits`` (1,797 digits of 8x8 pixels), ``digits-pca`` (their first 12
      principal components), and standardised columns of ``cancer`` (569 x 30), ``wine`` (178 x
      13), ``iris`` (150 x 4), ``diabetes`` (442 x 10); of its two photos ``photo-colours``
      (pixels, 3 colours), ``photo-patches`` (3x3 grey) and ``photo-blocks`` (6x6 grey).
    - matplotlib (the extra figures): ``portrait-patches`` (4x4 grey, of a portrait), ``eeg``
      (windows of 4 steps of 4 channels), ``stock-returns`` (3 days of log-returns in %),
      ``sea-floor`` and ``fault-terrain`` (4x4 patches of heights above their first point).
    - Python: ``topics``, 12 principal components of the trigrams of paragraphs of its manual.
    - networkx: ``graph-walks``, the return probabilities of random walks of 2 to 9 steps from each
      node of four social networks.
    - MNIST, where ``gantlet data fetch mnist`` has put it: ``mnist-pca``, 20 principal components.

    Principal components are those of all rows, and so are means and deviations. What is larger
    than ``limit`` and both held-out splits is sampled at random.

    Attributes:
        name: The data set.
        limit: Most training samples.
        held_out: Most samples each for validation and test, which together have at most half.
    """

    name: Name = "digits-pca"
    limit: Annotated[int, Between(1)] = 4_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Vectors of real numbers.

        Raises:
            UserError: If a package or file that the set is made from is missing.
        """
        return Space("vector", (rows(self.name).shape[1],))

    def load(self, *, rng: Rng) -> Splits:
        """Returns the rows, shuffled: 30 % for the test, 20 % for validation, at most.

        Raises:
            UserError: If a package or file that the set is made from is missing.
        """
        x = rows(self.name)
        share = self.held_out / len(x)
        return random_split(
            InMemory(torch.from_numpy(x)),
            validation=min(0.2, share),
            test=min(0.3, share),
            limit=self.limit,
            rng=rng,
        )


@cache
def rows(name: Name) -> Rows:
    """Returns all rows of a set, shape ``(n, d)``.

    Raises:
        UserError: If a package or file that the set is made from is missing.
    """
    return np.ascontiguousarray(_SETS[name](), dtype=np.float64)


def _package(name: str, advice: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"This data set needs {name.partition('.')[0]}. {advice}") from error


def _standardised(x: Rows) -> Rows:
    spread = x.std(0)
    found: Rows = (x - x.mean(0)) / np.where(spread > 0, spread, 1.0)
    return found


def _principal(x: Rows, k: int) -> Rows:
    """Returns the first ``k`` principal components of the rows, their signs fixed."""
    centred = x - x.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :k]
    heaviest = np.abs(axes).argmax(0)
    found: Rows = centred @ (axes * np.sign(axes[heaviest, np.arange(k)]))
    return found


# ----------------------------------------------------------------------------
# scikit-learn.
# ----------------------------------------------------------------------------


def _learn(name: str) -> Rows:
    loaded: Rows = getattr(import_module("sklearn.datasets"), f"load_{name}")(return_X_y=True)[0]
    return loaded


def _table(name: str) -> Rows:
    return _standardised(_learn(name))


def _photos() -> list[Rows]:
    """Returns the two photos, shapes ``(height, width, 3)``, colours from 0 to 1."""
    images: list[Rows] = import_module("sklearn.datasets").load_sample_images().images
    return [image / 255.0 for image in images]


# Rows of a set that could have many more: what is held out and learned from, and some to spare.
_MOST = 12_000


def _some(x: Rows) -> Rows:
    """Returns at most ``_MOST`` rows, the same each time."""
    if len(x) <= _MOST:
        return x
    kept: Rows = x[np.random.default_rng(0).permutation(len(x))[:_MOST]]
    return kept


def _colours() -> Rows:
    return _some(np.concatenate([photo.reshape(-1, 3) for photo in _photos()]))


def patches(picture: Rows, side: int) -> Rows:
    """Returns all square patches that do not overlap, shape ``(n, side ** 2)``."""
    high, wide = (length // side for length in picture.shape)
    cut = picture[: high * side, : wide * side].reshape(high, side, wide, side)
    return cut.transpose(0, 2, 1, 3).reshape(-1, side * side)


def _photo_patches(side: int) -> Rows:
    return _some(np.concatenate([patches(photo.mean(2), side) for photo in _photos()]))


# ----------------------------------------------------------------------------
# matplotlib's sample data.
# ----------------------------------------------------------------------------

_PLOTS = "Run 'pip install \"gantlet[figures]\"'."


def _sample(name: str) -> Path:
    folder = Path(_package("matplotlib", _PLOTS).get_data_path()) / "sample_data"
    if not (folder / name).is_file():
        raise UserError(f"matplotlib has no sample data {name}. Install matplotlib 3.9 to 3.11.")
    return folder / name


def _portrait() -> Rows:
    from PIL import Image

    with Image.open(_sample("grace_hopper.jpg")) as image:
        return _some(patches(np.asarray(image.convert("L"), dtype=np.float64) / 255.0, 4))


_CHANNELS, _STEPS, _DAYS = 4, 4, 3


def _eeg() -> Rows:
    series = np.frombuffer(_sample("eeg.dat").read_bytes(), dtype=float).reshape(-1, _CHANNELS)
    return _windows(_standardised(series), _STEPS)


def _windows(series: Rows, length: int) -> Rows:
    """Returns windows of a series, shape ``(steps, channels)``, as rows.

    They do not overlap, or a model would have seen parts of what tests it.
    """
    kept = len(series) // length
    return series[: kept * length].reshape(kept, -1)


def _stock() -> Rows:
    with np.load(_sample("goog.npz")) as held:
        price = held["price_data"]["adj_close"].astype(np.float64)
    returns = 100 * np.diff(np.log(price))
    return _windows(returns[:, None], _DAYS)


def _terrain(file: str, key: str) -> Rows:
    with np.load(_sample(file)) as held:
        heights = np.asarray(held[key], dtype=np.float64)
    cut = patches(heights, 4)
    cut = cut[np.isfinite(cut).all(1)]
    # How high a patch lies hides all the rest.
    return _some(cut[:, 1:] - cut[:, :1])


# ----------------------------------------------------------------------------
# Text, graphs, MNIST.
# ----------------------------------------------------------------------------

_SHORTEST, _HASHES, _TOPICS = 80, 512, 12


def _topics() -> Rows:
    """Returns principal components of hashed counts of trigrams, at length 1."""
    topics: Mapping[str, str] = import_module("pydoc_data.topics").topics
    paragraphs = [p for text in topics.values() for p in text.split("\n\n") if len(p) >= _SHORTEST]
    counts = np.stack([_trigrams(p) for p in dict.fromkeys(paragraphs)])
    return _principal(counts / np.linalg.norm(counts, axis=1, keepdims=True), _TOPICS)


def _trigrams(text: str) -> Rows:
    counts = np.zeros(_HASHES)
    code = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)
    np.add.at(counts, (code[:-2] * 961 + code[1:-1] * 31 + code[2:]) % _HASHES, 1.0)
    return counts


_GRAPHS = (
    "karate_club_graph",
    "les_miserables_graph",
    "davis_southern_women_graph",
    "florentine_families_graph",
)
_WALKS = range(2, 10)


def _walks() -> Rows:
    networkx = _package("networkx", "Run 'pip install networkx'.")
    return np.concatenate(
        [return_probabilities(getattr(networkx, name)(), networkx) for name in _GRAPHS]
    )


def return_probabilities(graph: Any, networkx: Any) -> Rows:
    """Returns the probabilities to be back after each number of steps, a row for each node."""
    adjacency: Rows = networkx.to_numpy_array(graph, weight=None)
    step = adjacency / adjacency.sum(1, keepdims=True)
    powers = [np.linalg.matrix_power(step, t).diagonal() for t in _WALKS]
    return np.stack(powers, axis=1)


_DIGITS = 20


def _mnist() -> Rows:
    from gantlet.domains.published import Mnist

    splits = Mnist().load(rng=Rng(0))
    pixels: Tensor = all_samples(splits.test)
    return _principal(pixels.flatten(1).double().numpy() / 255.0, _DIGITS)


_SETS: Mapping[Name, Callable[[], Rows]] = {
    "digits": lambda: _learn("digits"),
    "digits-pca": lambda: _principal(_learn("digits"), 12),
    "cancer": lambda: _table("breast_cancer"),
    "wine": lambda: _table("wine"),
    "iris": lambda: _table("iris"),
    "diabetes": lambda: _table("diabetes"),
    "photo-colours": _colours,
    "photo-patches": lambda: _photo_patches(3),
    "photo-blocks": lambda: _photo_patches(6),
    "portrait-patches": _portrait,
    "eeg": _eeg,
    "stock-returns": _stock,
    "sea-floor": lambda: _terrain("topobathy.npz", "topo"),
    "fault-terrain": lambda: _terrain("jacksboro_fault_dem.npz", "elevation"),
    "topics": _topics,
    "graph-walks": _walks,
    "mnist-pca": _mnist,
}
NAMES: tuple[Name, ...] = tuple(_SETS)
"""All of them."""
