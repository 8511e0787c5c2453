"""The profile of a data set: features by which it is easy or hard to model, without training.

Each feature has a definition for which the truth is known on some distribution (docs:
``commands/forecast.md``), and does not change when all data are multiplied by one number, moved,
or rotated. A feature that a set does not have, such as the intrinsic dimension of a constant, is
missing with its reason.
"""

import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, final

import numpy as np
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.forecast.estimators import (
    MIXTURE_AXES,
    Array,
    Mixture,
    between_centres,
    dip,
    distances,
    fine_structure,
    hill,
    levina_bickel,
    lipschitz_along,
    mixture,
    tree_edges,
    two_nn,
)

FEWEST = 20
"""Points below which there is no profile."""

MOST = 1500
"""Points that are looked at; more are subsampled."""

NEIGHBOURS = 20
"""Neighbours of the estimates of dimension and density."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of a profile.

    Attributes:
        name: Its name in tables.
        label: Its name in reports.
        reads: What a large value means, in a clause.
        scale: "log" if its logarithm is what predictors use, else "linear".
    """

    name: str
    label: str
    reads: str
    scale: Literal["log", "linear"] = "linear"

    def coded(self, value: float) -> float:
        """Returns a value as predictors use it."""
        return math.log(max(value, 1e-12)) if self.scale == "log" else value

    def decoded(self, value: float) -> float:
        """Returns a value from what predictors use."""
        return math.exp(value) if self.scale == "log" else value


FEATURES: Mapping[str, Feature] = {
    f.name: f
    for f in (
        Feature(name="n", label="Samples", reads="more data", scale="log"),
        Feature(name="ambient", label="Ambient dimension", reads="more coordinates", scale="log"),
        Feature(
            name="id_mle",
            label="Intrinsic dimension (MLE)",
            reads="more degrees of freedom",
            scale="log",
        ),
        Feature(
            name="id_twonn",
            label="Intrinsic dimension (TwoNN)",
            reads="more degrees of freedom, very locally",
            scale="log",
        ),
        Feature(
            name="codimension",
            label="Log ratio of ambient to intrinsic dimension",
            reads="a thin manifold, on which densities are infinite",
        ),
        Feature(
            name="samples_per_dimension",
            label="Log samples per intrinsic dimension",
            reads="a rate n^(-1/d) that is far along",
        ),
        Feature(
            name="coverage",
            label="Log of n / exp(intrinsic dimension)",
            reads="a space that the samples fill",
        ),
        Feature(
            name="effective_rank",
            label="Effective rank of the covariance",
            reads="many directions of equal variance",
            scale="log",
        ),
        Feature(
            name="spectral_decay",
            label="Slope of the covariance spectrum (log-log)",
            reads="a flat spectrum (0); -2 is that of natural images",
        ),
        Feature(
            name="mst_gap",
            label="Log ratio of longest to median tree edge",
            reads="a gap between parts",
        ),
        Feature(
            name="mst_count",
            label="Gaps (long edges of the spanning tree)",
            reads="disconnected parts or outliers",
        ),
        Feature(
            name="lambda2",
            label="Log10 spectral gap of the neighbour graph",
            reads="one well connected piece",
        ),
        Feature(
            name="soft_components",
            label="Log number of weakly joined parts",
            reads="parts that few neighbours join",
        ),
        Feature(
            name="bottleneck",
            label="Log Lipschitz constant that a Gaussian push-forward needs",
            reads="a low-density cut between masses",
        ),
        Feature(
            name="hill", label="Hill index of the radius (1/tail exponent)", reads="heavy tails"
        ),
        Feature(
            name="kurtosis",
            label="Kurtosis of the principal components",
            reads="heavy tails (a Gaussian has 3)",
            scale="log",
        ),
        Feature(
            name="non_gaussianity",
            label="Log10 energy distance to the fitted Gaussian",
            reads="little like a Gaussian",
        ),
        Feature(name="dip", label="Dip of the principal components", reads="several modes"),
        Feature(
            name="components",
            label="Gaussian components (BIC)",
            reads="a density of many pieces, such as a curved manifold",
            scale="log",
        ),
        Feature(
            name="modes",
            label="Modes (groups of components)",
            reads="several clusters",
            scale="log",
        ),
        Feature(
            name="separation",
            label="Separation of the modes (standard deviations)",
            reads="clusters far apart",
        ),
        Feature(
            name="imbalance",
            label="Imbalance of the modes",
            reads="clusters of unequal weight",
        ),
        Feature(
            name="roughness",
            label="Log ratio of finest to coarsest scale",
            reads="sharp edges or fine structure",
        ),
        Feature(
            name="density_spread",
            label="Spread of the log density (a Gaussian has 1)",
            reads="a density that varies a lot",
        ),
        Feature(name="duplicates", label="Share of duplicates", reads="repeated samples"),
        Feature(
            name="complexity",
            label="Compressed size (bits per coordinate)",
            reads="coordinates that do not follow from each other",
        ),
    )
}
"""The features of vectors, by name; every kind of sample has them."""

IMAGE_FEATURES: Mapping[str, Feature] = {
    f.name: f
    for f in (
        Feature(name="png", label="PNG bytes per pixel", reads="images hard to compress"),
        Feature(name="jpeg", label="JPEG bytes per pixel (q=90)", reads="images hard to compress"),
        Feature(
            name="spectrum_slope",
            label="Slope of the power spectrum",
            reads="fine structure (0); -2 is that of natural images",
        ),
        Feature(name="edges", label="Edge density", reads="many edges"),
    )
}
"""Further features of images; the predictor does not use them."""


@final
@dataclass(frozen=True, slots=True)
class Profile(Mapping[str, float]):
    """The features of a data set, by name; a missing one is not in the mapping.

    Attributes:
        values_by_name: The features that the set has.
        missing: Why it has not the others, by name.
        sampled: Number of points that were looked at.
    """

    values_by_name: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    sampled: int = 0

    @override
    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    @override
    def __len__(self) -> int:
        return len(self.values_by_name)

    def joined(self, other: "Profile") -> "Profile":
        """Returns the features of both."""
        return Profile(
            {**self.values_by_name, **other.values_by_name},
            {**self.missing, **other.missing},
            self.sampled,
        )


def profile(x: Tensor, *, rng: Rng, n: int | None = None) -> Profile:
    """Returns the features of vectors; equal seeds give equal profiles.

    Of more than 1,500 points, 1,500 are drawn. Takes at most 2 CPU seconds for 1,500 points in 784
    dimensions (``benchmarks/profile_speed.py``).

    Args:
        x: Points, shape ``(n, d)``.
        rng: Seed of the subsample, the Gaussian that the data are compared with, and clustering.
        n: Size of the set from which ``x`` was drawn; default: that of ``x``.

    Raises:
        UserError: If there are fewer than 20 points, or values that are not finite.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> p = profile(x, rng=Rng(0))
        >>> round(p["id_mle"], 1), round(p["modes"]), p["duplicates"]
        (3.1, 1, 0.0)
    """
    cloud = _Cloud(_checked(x, rng), rng, n or len(x))
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    for names, measure in _MEASURES:
        try:
            values = measure(cloud)
        except _MissingError as why:
            missing |= dict.fromkeys(names, str(why))
            continue
        for name, value in zip(names, values, strict=True):
            if math.isfinite(value):
                found[name] = float(value)
            else:
                missing[name] = "not a finite number on these data"
    order = [name for name in FEATURES if name in found]
    return Profile({name: found[name] for name in order}, missing, len(cloud.x))


class _MissingError(Exception):
    """A feature that a set does not have; the message says why."""


def _checked(x: Tensor, rng: Rng) -> Array:
    """Returns at most ``MOST`` points in double precision, drawn without replacement."""
    if x.ndim != 2 or not x.shape[1]:
        raise UserError(f"x must have shape (n, d) with d >= 1. Got {tuple(x.shape)}.")
    if len(x) < FEWEST:
        raise UserError(f"A profile needs at least {FEWEST} samples. Got {len(x)}.")
    if len(x) > MOST:
        x = x[torch.randperm(len(x), generator=rng.stream("profile"))[:MOST]]
    points = x.detach().cpu().to(torch.float64).numpy()
    bad = int((~np.isfinite(points)).any(1).sum())
    if bad:
        raise UserError(f"{bad} of the {len(x)} samples hold NaN or infinity. Remove them.")
    return points


# ----------------------------------------------------------------------------
# The points, with what several features share.
# ----------------------------------------------------------------------------


@final
class _Cloud:
    """Points on the scale of their spread, with what is computed once.

    Args:
        x: Points, shape ``(n, d)``.
        rng: Random seed.
        n: Size of the set from which they were drawn.
    """

    def __init__(self, x: Array, rng: Rng, n: int) -> None:
        self.n = n
        self.ambient = x.shape[1]
        self.rows = x
        # Subtracting the largest magnitude first keeps squares finite for any finite input.
        large = float(np.abs(x).max()) or 1.0
        moved = x / large
        moved = moved - np.median(moved, axis=0)
        size = float(np.sqrt((moved**2).sum(1).mean()))
        self.is_constant = size <= 1e-12
        self.x = moved / (size or 1.0)
        self._rng = rng

    def random(self, name: str) -> np.random.Generator:
        """Returns a generator for one purpose."""
        return np.random.default_rng(self._rng.stream(f"profile/{name}").initial_seed())

    @cached_property
    def distinct(self) -> Array:
        """The points without repetition, shape ``(m, d)``."""
        _, first = np.unique(self.rows, axis=0, return_index=True)
        return np.ascontiguousarray(self.x[np.sort(first)])

    @cached_property
    def distances(self) -> Array:
        """Distances between distinct points, shape ``(m, m)``."""
        return distances(self.distinct, self.distinct)

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], Array]:
        """Indices and distances of the nearest neighbours, without the point itself."""
        k = min(NEIGHBOURS, len(self.distinct) - 1)
        table = self.distances.copy()
        np.fill_diagonal(table, np.inf)
        near = np.argpartition(table, k - 1, axis=1)[:, :k]
        length = np.take_along_axis(table, near, axis=1)
        # Equal distances are ordered by index, so that the order is always the same.
        order = np.lexsort((near, length), axis=1)
        return np.take_along_axis(near, order, 1), np.take_along_axis(length, order, 1)

    @property
    def neighbours(self) -> NDArray[np.int64]:
        """Indices of the nearest neighbours, shape ``(m, k)``, nearest first."""
        return self._order[0]

    @property
    def reach(self) -> Array:
        """Distances to the nearest neighbours, shape ``(m, k)``, nearest first."""
        return self._order[1]

    @cached_property
    def _axes(self) -> tuple[Array, Array]:
        """Variances of the principal components, largest first, and the scores of all points."""
        centred = self.x - self.x.mean(0)
        is_wide = centred.shape[1] > len(centred)
        products = centred @ centred.T if is_wide else centred.T @ centred
        squares, vectors = scipy.linalg.eigh(products, overwrite_a=True)
        squares, vectors = squares[::-1], vectors[:, ::-1]
        kept = squares > 1e-11 * max(float(squares[0]), 1e-300)
        variances = squares / max(len(centred) - 1, 1)
        scores = vectors * np.sqrt(np.abs(squares)) if is_wide else centred @ vectors
        scores = scores[:, kept]
        # The sign of an axis is arbitrary; the largest score is made positive.
        extreme = scores[np.abs(scores).argmax(0), np.arange(scores.shape[1])]
        return variances[kept], scores * np.where(extreme < 0, -1.0, 1.0)

    @property
    def variances(self) -> Array:
        """Variances of the principal components above rounding, largest first."""
        return self._axes[0]

    @property
    def scores(self) -> Array:
        """Principal component scores, shape ``(n, rank)``."""
        return self._axes[1]

    @cached_property
    def clusters(self) -> Mixture:
        """The Gaussian mixture on the leading principal components that BIC chooses."""
        return mixture(self.scores[:, :MIXTURE_AXES], self.random("mixture"))

    def need(self, distinct: int, what: str) -> None:
        """Checks that there are enough distinct points.

        Raises:
            _MissingError: If not.
        """
        if self.is_constant:
            raise _MissingError("all samples are equal")
        if len(self.distinct) < distinct:
            raise _MissingError(
                f"{what} needs {distinct} distinct samples, and there are {len(self.distinct)}"
            )


# ----------------------------------------------------------------------------
# Size and dimension.
# ----------------------------------------------------------------------------


def _sizes(cloud: _Cloud) -> tuple[float, ...]:
    repeated = 1 - len(cloud.distinct) / len(cloud.x)
    return float(cloud.n), float(cloud.ambient), repeated


def _dimensions(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(6, "the intrinsic dimension")
    mle, twonn = levina_bickel(cloud.reach), two_nn(cloud.reach)
    log_n = math.log(cloud.n)
    return mle, twonn, math.log(cloud.ambient / mle), log_n / mle, log_n - mle


def _spectrum(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(2, "the covariance")
    share = cloud.variances / cloud.variances.sum()
    return (math.exp(float(scipy.special.entr(share).sum())),)


def _decay(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(2, "the covariance")
    if len(cloud.variances) < 2:
        raise _MissingError("all variance lies in one direction")
    ranks = np.log(np.arange(1, len(cloud.variances) + 1))
    return (float(np.polyfit(ranks, np.log(cloud.variances), 1)[0]),)


# ----------------------------------------------------------------------------
# Connectedness.
# ----------------------------------------------------------------------------


def _tree(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(5, "the spanning tree")
    edges = tree_edges(cloud.distances)
    third = float(np.quantile(edges, 0.75))
    return math.log(edges.max() / np.median(edges)), float((edges > 4 * third).sum())


_GRAPH_NEIGHBOURS, _HEAT = 10, 0.02


def _graph(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(_GRAPH_NEIGHBOURS + 2, "the neighbour graph")
    m = len(cloud.distinct)
    joined = np.zeros((m, m))
    np.put_along_axis(joined, cloud.neighbours[:, :_GRAPH_NEIGHBOURS], 1.0, axis=1)
    joined = np.maximum(joined, joined.T)
    root = 1 / np.sqrt(joined.sum(1))
    laplacian = np.eye(m) - root[:, None] * joined * root
    values = np.clip(scipy.linalg.eigvalsh(laplacian, overwrite_a=True), 0, None)
    return math.log10(max(values[1], 1e-6)), math.log(np.exp(-values / _HEAT).sum())


# ----------------------------------------------------------------------------
# The Lipschitz constant that any push-forward of a Gaussian needs.
# ----------------------------------------------------------------------------


def _bottleneck(cloud: _Cloud) -> tuple[float, ...]:
    """Looks along principal components and between centres of clusters.

    The clusters are those of one half of the points, and the other half is projected: in many
    dimensions the points that formed clusters seem apart along the line between them.
    """
    cloud.need(10, "the bottleneck")
    scores, random = cloud.scores, cloud.random("directions")
    needed = [lipschitz_along(z) for z in scores[:, :4].T]
    order = random.permutation(len(scores))
    half, other = scores[order[::2]], scores[order[1::2]]
    needed += [lipschitz_along(other @ v) for v in between_centres(half, random)]
    return (math.log(max(needed)),)


# ----------------------------------------------------------------------------
# Tails, and the distance to a Gaussian.
# ----------------------------------------------------------------------------


def _tails(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(10, "the tail index")
    radii = np.sqrt((cloud.x**2).sum(1))
    used = len(radii) // 50 + 6  # at least one more than the estimate takes
    if np.partition(radii, -used)[-used] <= 0:
        raise _MissingError("nearly all samples lie at the centre")
    return (hill(radii),)


def _kurtosis(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(4, "the kurtosis")
    scores = cloud.scores[:, :8]
    return (float(((scores / scores.std(0)) ** 4).mean()),)


def _non_gaussianity(cloud: _Cloud) -> tuple[float, ...]:
    """Compares with as many draws of a Gaussian, without the bias of equal points."""
    cloud.need(5, "the energy distance")
    n, scores = len(cloud.scores), cloud.scores
    noise = cloud.random("gaussian").standard_normal(scores.shape)
    gaussian = noise * np.sqrt(cloud.variances)
    pairs = n * (n - 1)
    own = distances(scores, scores).sum() / pairs
    other = distances(gaussian, gaussian).sum() / pairs
    energy = (2 * distances(scores, gaussian).mean() - own - other) / own
    return (math.log10(max(energy, 0.2 / n)),)


# ----------------------------------------------------------------------------
# Modes.
# ----------------------------------------------------------------------------


def _dip(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(4, "the dip")
    return (max(dip(z) for z in cloud.scores[:, :4].T),)


def _modes(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(10, "a mixture")
    fitted = cloud.clusters
    modes = fitted.modes()
    k = len(modes.weights)
    imbalance = math.log(k) - float(scipy.special.entr(modes.weights).sum())
    return float(len(fitted.weights)), float(k), modes.separation, imbalance


# ----------------------------------------------------------------------------
# Smoothness and complexity.
# ----------------------------------------------------------------------------


def _roughness(cloud: _Cloud) -> tuple[float, ...]:
    cloud.need(10, "the characteristic function")
    return (float(np.mean([math.log(fine_structure(z)) for z in cloud.scores[:, :3].T])),)


def _density_spread(cloud: _Cloud) -> tuple[float, ...]:
    """Standard deviation of the log density, which is sqrt(d / 2) for a Gaussian."""
    cloud.need(6, "the density")
    d = levina_bickel(cloud.reach)
    logs = -d * np.log(cloud.reach[:, -1])
    return (float(logs.std()) / math.sqrt(d / 2),)


def _complexity(cloud: _Cloud) -> tuple[float, ...]:
    """Bits per coordinate after quantization: 16 steps in 6 standard deviations of the widest."""
    cloud.need(2, "the compressed size")
    spread = float(cloud.x.std(0).max())
    coded = np.clip(np.rint(8 * cloud.x / (3 * spread)), -127, 127).astype(np.int8)
    # Whole rows of at most a quarter of a megabyte, which is enough for the rate.
    rows = max(1, min(len(coded), 2**18 // coded.shape[1]))
    packed = zlib.compress(coded[:rows].tobytes(), 6)
    return (8 * len(packed) / (rows * coded.shape[1]),)


_MEASURES: tuple[tuple[tuple[str, ...], Callable[[_Cloud], tuple[float, ...]]], ...] = (
    (("n", "ambient", "duplicates"), _sizes),
    (
        ("id_mle", "id_twonn", "codimension", "samples_per_dimension", "coverage"),
        _dimensions,
    ),
    (("effective_rank",), _spectrum),
    (("spectral_decay",), _decay),
    (("mst_gap", "mst_count"), _tree),
    (("lambda2", "soft_components"), _graph),
    (("bottleneck",), _bottleneck),
    (("hill",), _tails),
    (("kurtosis",), _kurtosis),
    (("non_gaussianity",), _non_gaussianity),
    (("dip",), _dip),
    (("components", "modes", "separation", "imbalance"), _modes),
    (("roughness",), _roughness),
    (("density_spread",), _density_spread),
    (("complexity",), _complexity),
)


# ----------------------------------------------------------------------------
# Images.
# ----------------------------------------------------------------------------

_IMAGES = 100


def image_profile(x: Tensor) -> Profile:
    """Returns the features of images that vectors do not have, on the first 100.

    Args:
        x: Images in [0, 1], shape ``(n, channels, height, width)``.
    """
    pictures = (255 * x[:_IMAGES].clamp(0, 1)).round().to(torch.uint8).numpy()
    pixels = pictures.shape[2] * pictures.shape[3]
    found = {
        name: float(np.mean([_packed(p, kind) for p in pictures])) / pixels
        for name, kind in (("png", "PNG"), ("jpeg", "JPEG"))
    }
    missing: dict[str, str] = {}
    grey = x[:_IMAGES].mean(1).to(torch.float64).numpy()
    found["edges"] = _edges(grey)
    slope = _slope(grey)
    if slope is None:
        missing["spectrum_slope"] = "the images are smaller than 8 x 8, or constant"
    else:
        found["spectrum_slope"] = slope
    return Profile(found, missing, len(pictures))


def _packed(picture: NDArray[np.uint8], kind: str) -> int:
    from PIL import Image

    shown = picture[0] if len(picture) != 3 else picture.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, kind, quality=90)
    return file.tell()


def _edges(grey: Array) -> float:
    """Returns the share of pixels whose gradient is above a quarter of the range of grey."""
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    if not down.size:
        return 0.0
    return float((np.hypot(down, right) > 0.25).mean())


def _slope(grey: Array) -> float | None:
    """Returns the slope of log power on log frequency, or None where there is none."""
    h, w = grey.shape[1:]
    if min(h, w) < 8:
        return None
    window = np.outer(np.hanning(h), np.hanning(w))
    power = (np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij"))
    kept = (radius > 1.5 / min(h, w)) & (radius < 0.5)
    if not kept.any() or power[kept].min() <= 0:
        return None
    return float(np.polyfit(np.log(radius[kept]), np.log(power[kept]), 1)[0])
