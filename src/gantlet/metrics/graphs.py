"""Distances of sets of graphs: kernel discrepancies of statistics, polygraph discrepancy."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Metric, Sees, SpaceMetric
from gantlet.core.spec import Between
from gantlet.metrics.checks import checked_groups, too_few, too_few_groups
from gantlet.metrics.kernel import METHOD, gaussian_discrepancy
from gantlet.stats.graphs import (
    check_graphs,
    clustering_shares,
    degree_shares,
    orbit_counts,
    spectrum_shares,
)
from gantlet.stats.intervals import Variance, fraction, t_above
from gantlet.stats.jackknife import ClusteredPaired, Detailed


def _checked(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sets in float64, validated as graphs with room for equally many nodes.

    Raises:
        UserError: If they are not.
    """
    for name, x in (("real", real), ("fake", fake)):
        check_graphs(x, name)
    if real.shape[1:] != fake.shape[1:]:
        raise UserError(
            "real and fake must have room for equally many nodes. "
            f"Got {real.shape[1]} and {fake.shape[1]}."
        )
    return real.detach().double(), fake.detach().double()


def _check_kind(space: Space, name: str) -> None:
    if space.kind != "graph":
        raise UserError(f"{name} compares sets of graphs (kind graph). Got {space.label}.")


def mean_orbits(x: Tensor) -> Tensor:
    """Returns the mean count of each orbit over the nodes of a graph, shape ``(n, 15)``."""
    nodes = x.diagonal(dim1=1, dim2=2).sum(1, keepdim=True).clamp_min(1)
    return orbit_counts(x).sum(1) / nodes


# ----------------------------------------------------------------------------
# Kernel discrepancies of one statistic.
# ----------------------------------------------------------------------------

_CLUSTERING, _SPECTRUM = 100, 200
_MEDIAN = 1000
_METHOD = (
    "squared, bandwidth {:.4g}; {}; published {:.4g}: squared, biased V-statistic, Gaussian "
    "kernel of the total variation with sigma {:g} (GRAN), which need not be positive definite"
)


class GraphMmd(ClusteredPaired, SpaceMetric):
    """The squared maximum mean discrepancy of one statistic of graphs, unbiased.

    A graph is described by numbers, and compared by the kernel ``exp(-d^2 / (2 s^2))`` of their
    Euclidean distance ``d``, which is positive definite.
    """

    __slots__ = ()

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = True
    name: ClassVar[str]
    sigma: ClassVar[float]

    bandwidth: float | None

    @abstractmethod
    def _described(self, x: Tensor) -> Tensor:
        """Returns what the kernel sees of graphs, shape ``(n, d)``, float64."""

    @abstractmethod
    def _published(self, x: Tensor) -> Tensor:
        """Returns what published code compares, shape ``(n, d)``, float64."""

    @final
    @override
    def on(self, space: Space, code: Code | None) -> Metric:
        """Returns the metric itself.

        Raises:
            UserError: If samples are not graphs.
        """
        del code
        _check_kind(space, self.name)
        return self

    @final
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        x, y = _checked(real, fake)
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 4) or too_few_groups(groups, 4):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        a, b = self._described(x), self._described(y)
        s = self.bandwidth or _typical(a)
        found = gaussian_discrepancy(a, b, s, rng=rng, groups=groups)
        published = published_mmd(self._published(x), self._published(y), self.sigma)
        method = _METHOD.format(s, METHOD, published, self.sigma)
        made = found.detail(method=method)
        estimate = made.estimate.beside(published=published)
        return Detailed(estimate, made.real, made.rest)


def _typical(x: Tensor) -> float:
    """Returns the median distance of two of the first 1,000 real graphs, or 1 where that is 0."""
    return float(torch.pdist(x[:_MEDIAN]).median()) or 1.0


def published_mmd(x: Tensor, y: Tensor, sigma: float) -> float:
    """Returns the squared discrepancy as evaluations of graph models publish it.

    A V-statistic, in which each graph meets itself, with ``exp(-TV^2 / (2 sigma^2))``, where TV is
    half the sum of absolute differences.

    Source: Liao et al., 2019 (GRAN), https://arxiv.org/abs/1910.00760, and its code.

    Args:
        x: Histograms, shape ``(n, d)``.
        y: Histograms, shape ``(m, d)``.
        sigma: Bandwidth.
    """

    def mean(a: Tensor, b: Tensor) -> Tensor:
        tv = torch.cdist(a, b, p=1) / 2
        return torch.exp(-tv.square() / (2 * sigma * sigma)).mean()

    return float(mean(x, x) + mean(y, y) - 2 * mean(x, y))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class DegreeMmd(GraphMmd):
    """The squared MMD of the degrees of graphs; distances are those of their distributions.

    Two graphs are as far apart as the root of the summed squared difference of their cumulative
    shares of nodes by degree, so that near degrees count as near, as for the earth mover's
    distance.

    Source: You et al., 2018 (GraphRNN), https://arxiv.org/abs/1802.08773, section 4.3; Gretton et
    al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6, for the estimate; O'Bray et
    al., 2022, https://arxiv.org/abs/2106.01098, for what is wrong with the usual one.

    Differs from the papers: unbiased, with a kernel that is positive definite and a bandwidth from
    the real graphs; the number of the usual code is given beside it as ``published``.

    Attributes:
        bandwidth: Bandwidth ``s``; default: the median distance of real graphs.
    """

    name: ClassVar[str] = "degree-mmd"
    sigma: ClassVar[float] = 1.0

    bandwidth: Annotated[float, Between(0, above=True)] | None = None

    @override
    def _described(self, x: Tensor) -> Tensor:
        return degree_shares(x, x.shape[1]).cumsum(1)

    @override
    def _published(self, x: Tensor) -> Tensor:
        return degree_shares(x, x.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ClusteringMmd(GraphMmd):
    """The squared MMD of the clustering of nodes: the share of their neighbours that are joined.

    Two graphs are as far apart as the root of the integrated squared difference of their
    cumulative shares of nodes by clustering, in 100 bins.

    Source: as of ``degree-mmd``.

    Differs from the papers: as ``degree-mmd``.

    Attributes:
        bandwidth: Bandwidth ``s``; default: the median distance of real graphs.
    """

    name: ClassVar[str] = "clustering-mmd"
    sigma: ClassVar[float] = 0.1

    bandwidth: Annotated[float, Between(0, above=True)] | None = None

    @override
    def _described(self, x: Tensor) -> Tensor:
        return clustering_shares(x, _CLUSTERING).cumsum(1) / math.sqrt(_CLUSTERING)

    @override
    def _published(self, x: Tensor) -> Tensor:
        return clustering_shares(x, _CLUSTERING)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SpectrumMmd(GraphMmd):
    """The squared MMD of the eigenvalues of the normalised Laplacian.

    Two graphs are as far apart as the root of the integrated squared difference of their
    cumulative shares of eigenvalues, in 200 bins over [0, 2].

    Source: Liao et al., 2019 (GRAN), https://arxiv.org/abs/1910.00760, section 4.2.

    Differs from the paper: as ``degree-mmd``.

    Attributes:
        bandwidth: Bandwidth ``s``; default: the median distance of real graphs.
    """

    name: ClassVar[str] = "spectrum-mmd"
    sigma: ClassVar[float] = 1.0

    bandwidth: Annotated[float, Between(0, above=True)] | None = None

    @override
    def _described(self, x: Tensor) -> Tensor:
        return spectrum_shares(x, _SPECTRUM).cumsum(1) * math.sqrt(2 / _SPECTRUM)

    @override
    def _published(self, x: Tensor) -> Tensor:
        return spectrum_shares(x, _SPECTRUM)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class OrbitMmd(GraphMmd):
    """The squared MMD of the mean counts of the 15 orbits of subgraphs of two to four nodes.

    The kernel sees the logarithm of one plus each mean count; the published number the mean
    counts themselves.

    Source: You et al., 2018 (GraphRNN), https://arxiv.org/abs/1802.08773, section 4.3.

    Differs from the paper: as ``degree-mmd``.

    Attributes:
        bandwidth: Bandwidth ``s``; default: the median distance of real graphs.
    """

    name: ClassVar[str] = "orbit-mmd"
    sigma: ClassVar[float] = 30.0

    bandwidth: Annotated[float, Between(0, above=True)] | None = None

    @override
    def _described(self, x: Tensor) -> Tensor:
        return mean_orbits(x).log1p()

    @override
    def _published(self, x: Tensor) -> Tensor:
        return mean_orbits(x)


# ----------------------------------------------------------------------------
# The polygraph discrepancy: how well can a classifier tell fake from real graphs?
# ----------------------------------------------------------------------------

Classifier: TypeAlias = Literal["logistic", "boosting"]

_Matrix: TypeAlias = NDArray[Any]
_Predict: TypeAlias = Callable[[_Matrix], _Matrix]

_Pair: TypeAlias = tuple[_Matrix, _Matrix]

_FOLDS = 4
# Of logistic regression, for each standardised number that it sees; cross-validation chooses.
_PENALTIES = (10.0, 1.0, 0.1)
_FEWEST = 16

DESCRIPTORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "degrees": lambda x: degree_shares(x, x.shape[1]),
    "clustering": lambda x: clustering_shares(x, _CLUSTERING),
    "spectrum": lambda x: spectrum_shares(x, _SPECTRUM),
    "orbits": mean_orbits,
}
"""What classifiers see of graphs, by name."""

_PGD_METHOD = (
    "lower bound of the Jensen-Shannon distance by {} on {}, which was best in cross-validation "
    "on the {} training graphs ({}); {} held-out graphs; Wilson's interval at the effective size, "
    "for this classifier; p = {:.2g} of no difference"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Pgd(SpaceMetric):
    """The polygraph discrepancy: a lower bound of the Jensen-Shannon distance of sets of graphs.

    0 where a classifier cannot separate fake and real graphs, 1 where it always can. Half of each
    set trains one classifier on each description of graphs; cross-validation among these chooses
    the description, and the other halves judge it: for any classifier that gives a graph the
    probability ``D`` to be real, ``1 + E log2 D(real) / 2 + E log2 (1 - D(fake)) / 2`` is at most
    the Jensen-Shannon divergence in bits, whose root is the distance. Values of different
    descriptions are on one scale, and those of different models may be compared.

    Source: Krimmel et al., 2025, "PolyGraph Discrepancy", https://arxiv.org/abs/2510.06122.

    Differs from the paper: four descriptions (degrees, clustering, spectrum of the normalised
    Laplacian, orbits of up to four nodes) and no random graph network or orbits of five;
    scikit-learn's classifiers in the place of TabPFN, whose weights are not free; the description
    is chosen by the mean log-likelihood; probabilities are kept ``1 / (k + 2)`` away from 0 and 1
    for ``k`` training graphs, so that the distance stays a little below 1.

    Attributes:
        classifier: ``logistic`` regression with a ridge penalty that cross-validation chooses, or
            ``boosting``: gradient boosted trees, which see more where there are many graphs.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = True

    classifier: Classifier = "logistic"

    @override
    def on(self, space: Space, code: Code | None) -> Metric:
        """Returns the metric itself.

        Raises:
            UserError: If samples are not graphs.
        """
        del code
        _check_kind(space, "pgd")
        return self

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares graphs, shapes ``(n, nodes, nodes)`` and ``(m, nodes, nodes)``.

        Args:
            real: The real graphs.
            fake: The fake ones.
            rng: Draws halves and folds.

        Raises:
            UserError: If these are not graphs.
        """
        x, y = _checked(real, fake)
        if reason := too_few(x, y, _FEWEST):
            return Estimate.missing(reason, better=self.better)
        sides = _Sides.of(len(x), len(y), rng)
        known = {name: (f(x).cpu().numpy(), f(y).cpu().numpy()) for name, f in DESCRIPTORS.items()}
        known = {name: sets for name, sets in known.items() if sides.vary(sets)}
        if not known:
            return Estimate.missing("all graphs are alike by every description", better="lower")
        scores = {
            (name, penalty): _validated(_Learner(self.classifier, penalty), sets, sides)
            for name, sets in known.items()
            for penalty in (_PENALTIES if self.classifier == "logistic" else (0.0,))
        }
        best, penalty = max(scores, key=lambda key: scores[key])
        terms = _Learner(self.classifier, penalty).judged(known[best], sides.train, sides.test)
        listed = {name: max(v for (n, _), v in scores.items() if n == name) for name in known}
        return self._estimate(terms, best, listed, sides)

    def _estimate(
        self,
        terms: _Pair,
        best: str,
        scores: Mapping[str, float],
        sides: "_Sides",
    ) -> Estimate:
        trained, held_out = sides.counts
        # Terms lie between this and 1, and their mean is a share of that range.
        low = 1 + math.log2(_least(trained))
        value = sum(float(t.mean()) for t in terms) / 2
        parts = [float(t.var(ddof=1)) / (4 * len(t)) for t in terms]
        df = min(len(t) for t in terms) - 1
        share = fraction(
            (value - low) / (1 - low),
            Variance.of_squares(sum(parts) / (1 - low) ** 2, df),
            n=held_out,
            method="",
        )
        ends = [low + (1 - low) * end for end in (share.low or 0.0, share.high or 0.0)]
        p = t_above(value / math.sqrt(sum(parts)), df) if sum(parts) > 0 else float(value <= 0)
        listed = ", ".join(f"{name} {_distance(v):.3f}" for name, v in scores.items())
        return Estimate(
            value=_distance(value),
            low=_distance(ends[0]),
            high=_distance(ends[1]),
            n=held_out,
            unit=self.unit,
            better=self.better,
            method=_PGD_METHOD.format(self.classifier, best, trained, listed, held_out, p),
        ).beside(p=p, **{name: _distance(v) for name, v in scores.items()})


def _validated(learner: "_Learner", sets: _Pair, sides: "_Sides") -> float:
    """Returns the divergence of a description by cross-validation among training graphs."""
    found = []
    for fold in range(_FOLDS):
        parts = [
            tuple(i[(k == fold) == held_out] for i, k in zip(sides.train, sides.fold, strict=True))
            for held_out in (False, True)
        ]
        train, test = ((first, second) for first, second in parts)
        a, b = learner.judged(sets, train, test)
        found.append((float(a.mean()) + float(b.mean())) / 2)
    return math.fsum(found) / _FOLDS


def _distance(divergence: float) -> float:
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def _least(trained: int) -> float:
    """Returns the least probability that a classifier gives to either set."""
    return 1 / (trained + 2)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """Which real and fake graphs train a classifier, in which fold, and which judge it.

    Attributes:
        train: Places of those that train, of the real and of the fake set.
        test: Places of the others.
        fold: The fold of each that trains.
    """

    train: _Pair
    test: _Pair
    fold: _Pair

    @classmethod
    def of(cls, n: int, m: int, rng: torch.Generator) -> "_Sides":
        """Draws halves of sets of ``n`` and ``m`` graphs."""
        x, y = (torch.randperm(k, generator=rng, device=rng.device).cpu().numpy() for k in (n, m))
        train, test = (x[: n // 2], y[: m // 2]), (x[n // 2 :], y[m // 2 :])
        first, second = (np.arange(len(z)) % _FOLDS for z in train)
        return cls(train, test, (first, second))

    @property
    def counts(self) -> tuple[int, int]:
        """How many graphs train, and how many judge."""
        return sum(map(len, self.train)), sum(map(len, self.test))

    def vary(self, sets: _Pair) -> bool:
        """Returns whether the descriptions of training graphs are not all one."""
        both = np.concatenate([z[i] for z, i in zip(sets, self.train, strict=True)])
        return bool((both != both[:1]).any())


@final
@dataclass(frozen=True, slots=True)
class _Learner:
    """A classifier of standardised descriptions.

    Attributes:
        kind: What classifier.
        penalty: That of logistic regression, for each number that it sees.
    """

    kind: Classifier
    penalty: float

    def judged(self, sets: _Pair, train: _Pair, test: _Pair) -> _Pair:
        """Returns ``1 + log2 D`` of real and ``1 + log2 (1 - D)`` of fake test graphs."""
        learn = [x[i] for x, i in zip(sets, train, strict=True)]
        judge = [x[i] for x, i in zip(sets, test, strict=True)]
        label = np.repeat([1, 0], [len(z) for z in learn])
        both = np.concatenate(learn)
        centre, scale = both.mean(0), both.std(0)
        scale = np.where(scale > 0, scale, 1)
        predict = self._fitted((both - centre) / scale, label)
        least = _least(len(both))
        p, q = (np.clip(predict((z - centre) / scale), least, 1 - least) for z in judge)
        return 1 + np.log2(p), 1 + np.log2(1 - q)

    def _fitted(self, x: _Matrix, label: _Matrix) -> _Predict:
        """Returns the probability that each row is real; fitted on one thread."""
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        model: Any = (
            LogisticRegression(C=1 / (self.penalty * x.shape[1]), max_iter=1000)
            if self.kind == "logistic"
            # Stopped early only beyond 10,000 graphs, of which there are not so many.
            else HistGradientBoostingClassifier(random_state=0)
        )
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, label)

        def predict(z: _Matrix) -> _Matrix:
            with threadpool_limits(1):
                found: _Matrix = model.predict_proba(z)[:, 1]
            return found

        return predict
