"""The polygraph discrepancy: how well can a classifier tell fake from real graphs?"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Space
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Metric, Sees, SpaceMetric
from gantlet.metrics.boosted_trees import BoostedTrees
from gantlet.metrics.checks import too_few
from gantlet.metrics.graph_mmd import (
    CLUSTERING_BINS,
    SPECTRUM_BINS,
    check_kind,
    checked_graphs,
    mean_orbits,
)
from gantlet.stats.graph_statistics import (
    clustering_shares,
    degree_shares,
    spectrum_shares,
)
from gantlet.stats.intervals import Variance, fraction, t_above

Classifier: TypeAlias = Literal["logistic", "boosting"]

_Matrix: TypeAlias = NDArray[Any]
_Predict: TypeAlias = Callable[[_Matrix], _Matrix]

_Pair: TypeAlias = tuple[_Matrix, _Matrix]

_FOLDS = 4
# Of logistic regression, for each standardised number that it sees; cross-validation chooses.
_PENALTIES = (10.0, 1.0, 0.1)
_FEWEST = 16
_TREES = 100

DESCRIPTORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "degrees": lambda x: degree_shares(x, x.shape[1]),
    "clustering": lambda x: clustering_shares(x, CLUSTERING_BINS),
    "spectrum": lambda x: spectrum_shares(x, SPECTRUM_BINS),
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
        check_kind(space, "pgd")
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
        x, y = checked_graphs(real, fake)
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
        ends = [None if v is None else low + (1 - low) * v for v in (share.low, share.high)]
        p = t_above(value / math.sqrt(sum(parts)), df) if sum(parts) > 0 else float(value <= 0)
        listed = ", ".join(f"{name} {_distance(v):.3f}" for name, v in scores.items())
        return Estimate(
            value=_distance(value),
            low=None if ends[0] is None else _distance(ends[0]),
            high=None if ends[1] is None else _distance(ends[1]),
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
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        if self.kind == "boosting":
            rows, target = torch.from_numpy(x), torch.from_numpy(label)
            trees = BoostedTrees.fit(rows, target, classes=True, rounds=_TREES, seed=0)
            return lambda z: trees.probability(torch.from_numpy(z)).numpy()
        model: Any = LogisticRegression(C=1 / (self.penalty * x.shape[1]), max_iter=1000)
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, label)

        def predict(z: _Matrix) -> _Matrix:
            with threadpool_limits(1):
                found: _Matrix = model.predict_proba(z)[:, 1]
            return found

        return predict
