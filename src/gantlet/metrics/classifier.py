"""Classifier two-sample tests, and the Inception score."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import GroupedMetric, Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.boosted_trees import BoostedTrees
from gantlet.metrics.checks import (
    checked,
    checked_groups,
    equal_rows,
    rows,
    too_few,
    too_few_groups,
)
from gantlet.stats.intervals import (
    around,
    detectable_accuracy,
    fewest_correct,
    fraction,
    proportion,
    t_quantile,
    total,
)
from gantlet.stats.jackknife import spread, variance_of_mean
from gantlet.stats.moments import add_gram, blocks, mirrored, products, squared_distances

# ----------------------------------------------------------------------------
# Which samples train a classifier and which judge it: groups and equal samples stay together.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class TrainTestHalves:
    """The rows of the real and of the fake set that train a classifier, and those that judge it.

    Attributes:
        train: Equally many of each set.
        test: The others; equally many of each set where there are no groups.
        group: The group of each sample of ``test``, numbered from 0 over both sets, or None where
            there are none.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    group: tuple[Tensor, Tensor] | None

    @property
    def too_few(self) -> str | None:
        """Why no classifier can be trained and judged, or None."""
        if min(len(z) for z in (*self.train, *self.test)) > 0:
            return None
        return (
            "cannot be split: equal samples and those of one group stay on one side, and nearly "
            "all of a set are equal or of one group"
        )


def halves(
    group: tuple[Tensor, Tensor] | None,
    sizes: tuple[int, int],
    *,
    rng: torch.Generator,
    device: torch.device,
) -> TrainTestHalves:
    """Returns a random split in halves; of the larger set as many as the smaller has are used.

    Args:
        group: The group of each sample of both sets, numbered from 0 over both, if there are any.
        sizes: How many samples each set has.
        rng: Draws the split.
        device: Where the sets lie.
    """
    size = min(sizes)
    x, y = (torch.randperm(n, generator=rng, device=rng.device).to(device)[:size] for n in sizes)
    half = size // 2
    if group is None:
        return TrainTestHalves((x[:half], y[:half]), (x[half:], y[half:]), None)
    known, dense = torch.unique(torch.cat([group[0][x], group[1][y]]), return_inverse=True)
    of_x, of_y = dense.split([size, size])
    trains = _sides(of_x, of_y, len(known), rng)
    most = min(int(trains[of_x].sum()), int(trains[of_y].sum()))
    learn = x[trains[of_x]][:most], y[trains[of_y]][:most]
    test = x[~trains[of_x]], y[~trains[of_y]]
    left = torch.unique(torch.cat([of_x[~trains[of_x]], of_y[~trains[of_y]]]), return_inverse=True)
    judged = left[1].split([len(z) for z in test])
    return TrainTestHalves(learn, test, (judged[0], judged[1]))


def _sides(x: Tensor, y: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Returns which groups train: the larger ones first, each where samples are fewest.

    So that both sides get half of the real and half of the fake samples, as nearly as may be.
    """
    real, fake = (z.bincount(minlength=count).cpu() for z in (x, y))
    order = torch.randperm(count, generator=rng, device=rng.device).cpu()
    order = order[(real + fake)[order].sort(descending=True, stable=True).indices]
    coins = torch.rand(count, generator=rng, device=rng.device).cpu() < 0.5
    trains, more = coins.tolist(), [0, 0]
    sizes = torch.stack([real, fake], 1).tolist()
    for g in order.tolist():
        lean = more[0] * sizes[g][0] + more[1] * sizes[g][1]
        trains[g] = lean < 0 if lean else trains[g]
        sign = 1 if trains[g] else -1
        more = [m + sign * s for m, s in zip(more, sizes[g], strict=True)]
    return torch.tensor(trains, dtype=torch.bool, device=x.device)


def kept_together(
    real: Tensor, fake: Tensor, groups: Groups | None
) -> tuple[Tensor, Tensor] | None:
    """Returns the group of each sample, numbered from 0 over both sets, or None if all differ.

    Samples of one of ``groups`` belong together, and equal samples do, in one set or in both: a
    classifier must not be judged by what it has learned by heart. But where most of the samples
    that are repeated have twins in both sets, the data are discrete: then repeats are independent.
    """
    known = checked_groups(groups, len(real), len(fake))
    labels = [] if known is None else [_over_both(known, len(real), len(fake))]
    twins = torch.cat(equal_rows(real, fake))
    if len(torch.unique(twins)) < len(twins) and not _discrete(twins, len(real)):
        labels.append(twins)
    if not labels:
        return None
    joined = _joined(labels) if len(labels) > 1 else labels[0]
    return joined[: len(real)], joined[len(real) :]


def _over_both(groups: Groups, n: int, m: int) -> Tensor:
    real, fake = groups.real, groups.fake
    first = torch.arange(n) if real is None else real.cpu()
    second = torch.arange(m) if fake is None else fake.cpu()
    joined = torch.cat([first, second + int(first.max()) + 1])
    device = real.device if real is not None else fake.device if fake is not None else None
    return joined.to(device)


def _discrete(twins: Tensor, n: int) -> bool:
    """Returns whether most samples that are repeated have twins in both sets."""
    count = int(twins.max()) + 1
    real, fake = (z.bincount(minlength=count) for z in (twins[:n], twins[n:]))
    both = real + fake
    shared = both[(real > 1) & (fake > 1)].sum()
    return bool(2 * shared >= both[both > 1].sum())


def _joined(labels: list[Tensor]) -> Tensor:
    """Returns the groups of samples that any of the labels joins, directly or by others."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(labels[0])
    nodes, start = [], n
    for label in labels:
        nodes.append(label.cpu().numpy() + start)
        start += int(label.max()) + 1
    rows = np.tile(np.arange(n), len(labels))
    edges = coo_matrix((np.ones(len(rows)), (rows, np.concatenate(nodes))), shape=(start, start))
    found = connected_components(edges, directed=False)[1][:n]
    return torch.from_numpy(found).to(labels[0].device, torch.int64)


# ----------------------------------------------------------------------------
# The Inception score: sure and diverse class probabilities.
# ----------------------------------------------------------------------------

_SPLITS = 10
# With fewer samples a class the bias is not small beside the score, and part of it is left.
_AMPLE = 10
_METHOD = (
    "plain {:.4g}, less its bias by leaving out each sample in turn, interval from the same; real "
    "samples have {:.4g}; {:.4g} +- {:.2g} as published, mean and spread over 10 splits"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class InceptionScore(GroupedMetric):
    """``exp`` of the mean divergence of each sample's class probabilities from their mean.

    It looks at the fake samples alone: 1 where all have the same probabilities, as many as there
    are classes where each is surely of one class and the classes are even. It sees neither
    missing variety inside a class nor copies of the training data, and it may exceed the score
    of real samples, which the method tells. Only with Inception's probabilities may it be
    compared with published scores.

    Source: Salimans et al., 2016, https://arxiv.org/abs/1606.03498, section 4.

    Differs from the paper: one score of all samples with its bias removed; the mean over 10
    splits, which depends on their size, is given in the method.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "probabilities"
    quadratic: ClassVar[bool] = False

    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Rates class probabilities, shapes ``(n, K)`` and ``(m, K)``; ``rng`` draws the splits.

        Raises:
            UserError: If these are not probabilities.
        """
        p, q = checked(real, fake)
        for name, z in (("real", p), ("fake", q)):
            _check(z, name)
        n, found_groups = len(q), checked_groups(groups, len(p), len(q))
        if n < 3:
            return Estimate.missing(f"needs at least 3 fake samples, got {n}", better=self.better)
        group = None if found_groups is None else found_groups.fake
        if group is not None and (reason := too_few_groups(Groups(fake=group), 3)):
            return Estimate.missing(reason, better=self.better)
        plain, influence = _leave_out(q, group)
        published = torch.tensor(_splits(q, rng))
        known, usual = inception_score(p) if len(p) else math.nan, float(published.mean())
        method = _METHOD.format(
            plain,
            known,
            usual,
            float(published.std(correction=0)),
        )
        if n < _AMPLE * q.shape[1]:
            method += f"; with less than {_AMPLE} samples a class the interval is too narrow"
        value = plain + float(influence.mean())
        if group is not None:
            method += f"; {len(influence)} groups instead of samples left out in turn"
        found = around(value, spread(influence), n=len(influence), method=method)
        named = found.named(unit=self.unit, better=self.better)
        return named.beside(plain=plain, real=known, published=usual)


def inception_score(p: Tensor) -> float:
    """Returns the plain score of class probabilities, shape ``(n, K)``, ``n`` at least 1."""
    own = sum(float(_entropy(block).sum()) for block in rows(p)) / len(p)
    return math.exp(float(_entropy(_mean(p))) - own)


def _leave_out(p: Tensor, group: Tensor | None = None) -> tuple[float, Tensor]:
    """Returns the score, and ``n - 1`` times what leaving out each sample takes off it.

    Where there are groups, numbered from 0 without gaps, each of them is left out, and it is their
    number less what one of that size counts for: the pseudo-values of Busing et al., 1999.
    """
    n, mean, plain = len(p), _mean(p), inception_score(p)
    own = torch.cat([_entropy(block) for block in rows(p)])
    if group is not None:
        size = group.bincount().to(torch.float64)
        sums = mean.new_zeros(len(size), len(mean))
        sums.index_add_(0, group, p.to(torch.float64))
        owned = own.new_zeros(len(size)).index_add_(0, group, own)
        left = n - size
        kept = _entropy((n * mean - sums) / left[:, None]) - (own.sum() - owned) / left
        return plain, (plain - kept.exp()) * (left * (len(size) / n))
    parts = [_entropy((n * mean - block) / (n - 1)) for block in rows(p)]
    without = (torch.cat(parts) - (own.sum() - own) / (n - 1)).exp()
    return plain, (plain - without) * (n - 1)


def _splits(p: Tensor, rng: torch.Generator) -> list[float]:
    order = torch.randperm(len(p), generator=rng, device=rng.device).to(p.device)
    return [inception_score(p[part.sort().values]) for part in order.tensor_split(_parts(len(p)))]


def _parts(n: int) -> int:
    return min(_SPLITS, n)


def _mean(p: Tensor) -> Tensor:
    return torch.stack([block.sum(0) for block in rows(p)]).sum(0) / len(p)


def _entropy(p: Tensor) -> Tensor:
    """Returns that of the last axis, in nats; rounding may have left a hair below zero."""
    found: Tensor = torch.special.entr(p.clamp_min(0)).sum(-1)
    return found


def _check(p: Tensor, name: str) -> None:
    for block in rows(p):
        if bool((block < 0).any() | ((block.sum(1) - 1).abs() > 1e-2).any()):
            raise UserError(
                f"{name} must hold class probabilities: rows of numbers from 0 that sum to 1. "
                "Use softmax on the classifier's outputs."
            )


# ----------------------------------------------------------------------------
# Classifiers of standardised samples: each returns who says which of new samples are fake.
#
# Of the samples they learn from, shape ``(2 h, d)``, the first half is real, the second fake.
# ----------------------------------------------------------------------------

# Says of each row whether it is fake, shape (n,).
Judge = Callable[[Tensor], Tensor]

# Gives each row a score, shape (n,), or one for each class, shape (n, k).
Scores = Callable[[Tensor], Tensor]

Kind = Literal["network", "knn", "logistic", "mlp"]

_HIDDEN = 1024
_RIDGE = 0.3
# The small MLP: its width, and how Adam trains it.
_UNITS, _STEPS, _BATCH, _LR, _DECAY = 20, 1000, 128, 5e-3, 1e-3


def fit(kind: Kind, z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns a classifier of this kind that has learned from ``z``."""
    if kind == "knn":
        return fit_knn(z)
    if kind == "logistic":
        return fit_logistic(z)
    return fit_network(z, rng=rng) if kind == "network" else fit_mlp(z, rng=rng)


def fit_knn(z: Tensor) -> Judge:
    """Returns the vote of the nearest ``sqrt(n)``."""
    # An odd number of votes is never a draw.
    k = math.isqrt(len(z)) // 2 * 2 + 1
    k = min(k, len(z) - 1)

    def judge(w: Tensor) -> Tensor:
        votes = [
            squared_distances(w[block], z).topk(k, dim=1, largest=False).indices >= len(z) // 2
            for block in blocks(len(w), len(z))
        ]
        return torch.cat(votes).float().mean(1) > 0.5

    return judge


def fit_logistic(z: Tensor) -> Judge:
    """Returns logistic regression, scikit-learn's, with penalty ``|w|^2 / 2``."""
    from sklearn.linear_model import LogisticRegression

    return _fitted(LogisticRegression(C=1.0, tol=1e-8, max_iter=1000), z)


def fit_mlp(z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns a network of one hidden layer of 20 units, trained by 1000 steps of Adam.

    scikit-learn's; the steps are rounded up to whole epochs.
    """
    from sklearn.neural_network import MLPClassifier

    batch = min(_BATCH, len(z))
    epochs = math.ceil(_STEPS / math.ceil(len(z) / batch))
    seed = int(torch.randint(2**31 - 1, (), generator=rng, device=rng.device))
    model = MLPClassifier(
        (_UNITS,),
        alpha=_DECAY,
        batch_size=batch,  # pyright: ignore[reportArgumentType]  (its stub knows the default alone)
        learning_rate_init=_LR,
        max_iter=epochs,
        n_iter_no_change=epochs,
        random_state=seed,
    )
    return _fitted(model, z)


def _fitted(model: Any, z: Tensor) -> Judge:
    """Returns a classifier of scikit-learn, fitted on one thread so that it repeats exactly."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        # The number of steps is part of what the classifier is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z.cpu().numpy(), _sign(z).cpu().numpy())

    def judge(w: Tensor) -> Tensor:
        with threadpool_limits(1):
            said = model.predict(w.cpu().numpy())
        return torch.from_numpy(said > 0).to(w.device)

    return judge


def fit_network(z: Tensor, *, rng: torch.Generator) -> Judge:
    """Returns ridge regression on random units beside the features themselves."""
    scores = fit_scores(z, _sign(z), rng=rng)
    return lambda w: scores(w) > 0


def fit_scores(z: Tensor, targets: Tensor, *, rng: torch.Generator) -> Scores:
    """Returns ridge regression of targets on features and on 1,024 random units of them.

    Args:
        z: Standardized features, shape ``(n, d)``.
        targets: What is regressed, of mean zero, shape ``(n,)`` or ``(n, k)``.
        rng: Draws the units.

    Returns:
        A function from features, shape ``(m, d)``, to scores, shape ``(m,)`` or ``(m, k)``.
    """
    d = z.shape[1]
    drawn = torch.randn(d + 1, _HIDDEN, generator=rng, device=rng.device, dtype=z.dtype)
    weight, bias = drawn[1:].to(z.device) / math.sqrt(d), drawn[0].to(z.device)

    def units(w: Tensor) -> Tensor:
        return (w @ weight + bias).relu_()

    hidden = units(z)
    centre = hidden.mean(0)
    hidden -= centre
    of_features, of_units = _ridge(z, hidden, targets)

    def scores(w: Tensor) -> Tensor:
        found: Tensor = w @ of_features + (units(w) - centre) @ of_units
        return found

    return scores


def _ridge(z: Tensor, hidden: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the coefficients of ridge regression on centred features and units.

    From the smaller of two equal systems: one equation for each coefficient, or one for each
    sample (Saunders, Gammerman and Vovk, 1998, "Ridge regression learning algorithm in dual
    variables").

    Args:
        z: Features, shape ``(n, d)``.
        hidden: Units, shape ``(n, h)``.
        sign: What is regressed, shape ``(n,)`` or ``(n, k)``.

    Returns:
        Shapes ``(d,)`` and ``(h,)``, or ``(d, k)`` and ``(h, k)``.
    """
    n, d = z.shape
    # In units of the mean squared length, so that it suits any number of features; it also
    # keeps the matrix invertible where all features are constant.
    ridge = _RIDGE * float(z.square().sum() + hidden.square().sum()) / n + 1e-12
    if n < d + hidden.shape[1]:
        gram = products(z, z) + products(hidden, hidden)
        gram.diagonal().add_(ridge)
        dual: Tensor = torch.linalg.solve(gram, sign)
        if dual.ndim > 1:
            return z.T @ dual, hidden.T @ dual
        return dual @ z, dual @ hidden
    seen = torch.cat([z, hidden], dim=1)
    gram = seen.new_zeros(seen.shape[1], seen.shape[1])
    add_gram(gram, seen)
    gram = mirrored(gram)
    gram.diagonal().add_(ridge)
    found: Tensor = torch.linalg.solve(gram, seen.T @ sign)
    return found[:d], found[d:]


def _sign(z: Tensor) -> Tensor:
    """Returns -1 for each real sample, 1 for each fake one, shape ``(2 h,)``."""
    sign = torch.ones(len(z), dtype=z.dtype, device=z.device)
    sign[: len(z) // 2] = -1
    return sign


# ----------------------------------------------------------------------------
# The classifier two-sample test: can a classifier tell fake from real?
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2st(GroupedMetric):
    """The held-out accuracy of a classifier that was trained to discriminate fake from real.

    0.5 is chance, 1 perfect discrimination. Half the samples train it, half test it, as many
    real ones as fake ones; the larger set is thinned to the size of the smaller. Equal samples
    and those of one group are on one side, and count as one that was drawn.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3.

    Differs from the paper: the interval and the p-value are those of the binomial, not of its
    normal limit. The hidden layer of ``network`` stays as it was drawn and only the last is
    fitted, in closed form (Rahimi and Recht, 2008,
    https://people.eecs.berkeley.edu/~brecht/kitchensinks.html), with no descent to tune; the
    paper's own is ``mlp``.

    Attributes:
        classifier: ``network``, 1024 random ReLU units beside the features themselves, with ridge
            regression on top; ``knn``, the vote of the nearest ``sqrt(n)``, which sees copies
            and clusters but little in many dimensions; ``logistic`` regression, which sees
            different means only; ``mlp``, one hidden layer of 20 ReLU units trained by 1000 steps
            of Adam.
        permutations: How often everything is repeated with labels at random, for a p-value that
            holds whatever the classifier does; 0 for the binomial one alone.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    classifier: Kind = "network"
    permutations: Annotated[int, Between(0)] = 0

    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and draws weights.

        The interval is for the accuracy of the classifier that was trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        group = kept_together(x, y, groups)
        split = halves(group, (len(x), len(y)), rng=rng, device=x.device)
        if reason := split.too_few:
            return Estimate.missing(reason, better=self.better)
        judge = learned(x, y, split, self.classifier, rng=rng)
        found = rate(judge, x[split.test[0]], y[split.test[1]], group=split.group)
        method = f"{self.classifier}; {found.method}"
        if self.permutations and found.value is not None:
            p = self._p_value(found.value, x, y, group, rng)
            method = f"{method}; p = {p:.2g} of {self.permutations} permutations"
            found = found.beside(p_of_permutations=p)
        return replace(found, method=method, better=self.better)

    def _p_value(
        self,
        accuracy: float,
        x: Tensor,
        y: Tensor,
        group: tuple[Tensor, Tensor] | None,
        rng: torch.Generator,
    ) -> float:
        """Returns the permutation p-value, the true labels counted among the permutations."""
        n = min(len(x), len(y))
        chosen = [_order(z, rng)[:n] for z in (x, y)]
        both = torch.cat([z[order] for z, order in zip((x, y), chosen, strict=True)])
        label = None
        if group is not None:
            label = torch.cat([g[order] for g, order in zip(group, chosen, strict=True)])
        as_good = 1
        for _ in range(self.permutations):
            order, cut = _dealt(both, label, rng)
            mixed = both[order]
            group = None if label is None else (label[order][:cut], label[order][cut:])
            split = halves(group, (cut, len(both) - cut), rng=rng, device=both.device)
            if split.too_few:
                continue
            judge = learned(mixed[:cut], mixed[cut:], split, self.classifier, rng=rng)
            tests = (z[i] for z, i in zip((mixed[:cut], mixed[cut:]), split.test, strict=True))
            as_good += _accuracy(*_right(judge, *tests)) >= accuracy - 1e-9
        return as_good / (self.permutations + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2stAuc(GroupedMetric):
    """The area under the ROC curve of boosted trees that discriminate fake from real.

    0.5 is chance, 1 perfect discrimination: the probability that a fake sample gets a higher score
    than a real one. Trees suit the columns of tables. Half the samples train them, half test
    them, as many real ones as fake ones; the larger set is thinned to the size of the smaller.
    Equal samples and those of one group are on one side.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, with the statistic of
    Hanley and McNeil, 1982, https://doi.org/10.1148/radiology.143.1.7063747; trees of Friedman,
    2001, https://doi.org/10.1214/aos/1013203451, by scikit-learn. The variance is that of DeLong
    et al., 1988, https://doi.org/10.2307/2531595.

    Attributes:
        rounds: Number of trees.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    rounds: Annotated[int, Between(1)] = 100

    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and seeds the trees.

        The interval is for the trees that were trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        if reason := too_few(x, y, 10):
            return Estimate.missing(reason, better=self.better)
        group = kept_together(x, y, groups)
        split = halves(group, (len(x), len(y)), rng=rng, device=x.device)
        if reason := split.too_few:
            return Estimate.missing(reason, better=self.better)
        seed = int(torch.randint(2**31 - 1, (), generator=rng, device=rng.device))
        learned_from, judged = (
            [z[i] for z, i in zip((x, y), side, strict=True)] for side in (split.train, split.test)
        )
        score = _boosted_scores(learned_from, judged, self.rounds, seed)
        placed = _share_below(score[1], score[0]), 1 - _share_below(score[0], score[1])
        variance = total(
            variance_of_mean(z, None if own is None else torch.unique(own, return_inverse=True)[1])
            for z, own in zip(
                placed, split.group[::-1] if split.group else (None, None), strict=True
            )
        )
        n, m = (len(z) for z in score)
        method = (
            f"{self.rounds} boosted trees, judged on {n} real and {m} fake held-out samples; "
            "Wilson's interval at the effective size of DeLong's variance"
        )
        found = fraction(float(placed[0].mean()), variance, n=min(n, m), method=method)
        return found.named(unit=self.unit, better=self.better)


def _boosted_scores(
    known: Sequence[Tensor], asked: Sequence[Tensor], rounds: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Returns the log-odds of being fake that boosted trees give real and fake samples.

    Args:
        known: Real and fake samples that they learn from.
        asked: Real and fake samples that get a score.
        rounds: How many trees.
        seed: Of the trees.
    """
    x = torch.cat(list(known))
    is_fake = torch.arange(len(x), device=x.device) >= len(known[0])
    trees = BoostedTrees.fit(x, is_fake, classes=True, rounds=rounds, seed=seed)
    real, fake = map(trees.log_odds, asked)
    return real, fake


def _share_below(x: Tensor, among: Tensor) -> Tensor:
    """Returns the share of ``among`` below each of ``x``; ties count half."""
    ordered = among.sort().values
    left, right = (torch.searchsorted(ordered, x, right=side) for side in (False, True))
    return (left + right).double() / (2 * len(among))


def train(
    real: Tensor, fake: Tensor, classifier: Kind, *, rng: torch.Generator
) -> tuple[Judge, Tensor, Tensor]:
    """Returns a classifier trained on half of each set, and the other halves.

    The halves have shape ``(h, d)`` and belong to real and fake; the classifier takes features as
    they are.
    """
    split = halves(None, (len(real), len(fake)), rng=rng, device=real.device)
    judge = learned(real, fake, split, classifier, rng=rng)
    return judge, real[split.test[0]], fake[split.test[1]]


def learned(
    real: Tensor, fake: Tensor, split: TrainTestHalves, classifier: Kind, *, rng: torch.Generator
) -> Judge:
    """Returns a classifier trained on one half; it takes features as they are."""
    z = torch.cat([w[i].double() for w, i in zip((real, fake), split.train, strict=True)])
    mean, scale = z.mean(0), z.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    standard = fit(classifier, z.sub_(mean).div_(scale), rng=rng)

    def judge(w: Tensor) -> Tensor:
        parts = [standard(w[b].double().sub_(mean).div_(scale)) for b in blocks(*w.shape)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)

    return judge


def rate(
    judge: Judge, real: Tensor, fake: Tensor, *, group: tuple[Tensor, Tensor] | None = None
) -> Estimate:
    """Returns the accuracy of ``judge`` on held-out samples.

    Args:
        judge: Says who is fake.
        real: Held-out real samples.
        fake: Held-out fake ones, equally many unless there are groups: then each set weighs half.
        group: Which of them belong together, numbered from 0 over both sets.
    """
    from scipy.special import betainc

    right = _right(judge, real, fake)
    value, count, size = _accuracy(*right), len(real) + len(fake), float(len(real) + len(fake))
    if group is None:
        found = proportion(round(value * count), count, of="held-out samples")
    else:
        found, size = clustered(right, group)
    hits = value * size if group is not None else float(round(value * count))
    # The probability of as many hits by guessing.
    p = float(betainc(hits, size - hits + 1, 0.5)) if hits > 0 else 1.0
    summary = f"p = {p:.2g} against chance"
    if fewest_correct(int(size)) <= int(size):
        summary += f"; an accuracy of {detectable_accuracy(int(size)):.3f} is found 4 times in 5"
    return replace(found, method=f"{found.method}; {summary}").beside(p=p)


def clustered(
    right: tuple[Tensor, Tensor], group: tuple[Tensor, Tensor]
) -> tuple[Estimate, float]:
    """Returns the mean of two shares with its interval, and the size that a plain count had.

    The variance is that of sums over groups; the interval the exact binomial one at the size
    where a plain count has this variance, at most the number of samples.

    Source: Korn and Graubard, 1998, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24, 193-201.

    Args:
        right: Who of the real and of the fake samples was judged rightly.
        group: The group of each, numbered from 0 over both.
    """
    from scipy.special import betaincinv

    value, n = _accuracy(*right), sum(len(r) for r in right)
    g = 1 + int(torch.cat(group).max())
    sums = torch.zeros(g, dtype=torch.float64, device=right[0].device)
    for r, which in zip(right, group, strict=True):
        sums.index_add_(0, which, (r.double() - r.double().mean()) / (2 * len(r)))
    variance, spread = float(sums.square().sum()) * g / (g - 1), value * (1 - value)
    size = float(g) if spread == 0 else n if variance * n <= spread else spread / variance
    size *= (t_quantile(0.975, n - 1) / t_quantile(0.975, g - 1)) ** 2
    hits = value * size
    made = Estimate(
        value=value,
        low=float(betaincinv(hits, size - hits + 1, 0.025)) if value > 0 else 0.0,
        high=float(betaincinv(hits + 1, size - hits, 0.975)) if value < 1 else 1.0,
        n=g,
        method=f"mean accuracy on {len(right[0])} real and {len(right[1])} fake held-out samples "
        f"in {g} groups, equal ones among them; exact binomial interval at their effective size "
        f"of {size:.0f}",
    )
    return made, size


def _right(judge: Judge, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return ~judge(real), judge(fake)


def _accuracy(real: Tensor, fake: Tensor) -> float:
    return float(real.double().mean() + fake.double().mean()) / 2


def _dealt(both: Tensor, group: Tensor | None, rng: torch.Generator) -> tuple[Tensor, int]:
    """Returns samples in random order, whole groups together, and where the first half ends."""
    order = _order(both, rng)
    if group is None:
        return order, len(both) // 2
    place = _order(torch.unique(group), rng)[group]
    order = place.sort(stable=True).indices
    ends = place.bincount().cumsum(0)
    middle = int((ends - len(both) / 2).abs().argmin())
    return order, int(ends[middle])


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
