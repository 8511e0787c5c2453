"""Labelled samples, class by class: distances, shares, label accuracy, the joint distribution."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.metric import p_greater_rate
from gantlet.core.rng import Rng
from gantlet.metrics.checks import checked, too_few
from gantlet.metrics.classifier import fit_scores
from gantlet.metrics.kernel import (
    gaussian_discrepancy,
    kernel_distance,
    kernel_matrix,
    median_distance,
)
from gantlet.metrics.neighbours import NeighbourMetric, Precision, Recall, measure_together
from gantlet.stats.intervals import Variance, fraction, holm_adjusted, proportion
from gantlet.stats.intervals import simultaneous as at_once
from gantlet.stats.jackknife import FOLDS, Detailed, unpaired
from gantlet.stats.moments import blocks

LEAST = 10
"""Samples of a class that real data and fakes must both have to be compared."""

LEVEL = 0.05
"""Probability that any claim is false where fakes are as good as real data."""

_COMPARED = 1_000  # samples of a class, of each set, that permutations see
_ESTIMATED = 5_000  # samples of a class, of each set, that the distance sees
_JOINT = 4_000  # samples of each set that the joint distance sees
# Permutations end early once so many are as extreme as what was found.
_EXTREME = 20
_FIRST = 999
# The part of the level that tests of all classes together have; single classes have the rest.
_PART = 0.2
_AT_ONCE = 2**22  # numbers held of a batch of permutations
# Standardized features beyond this are cut for the classifier: those that hardly vary in the
# samples it learns from would otherwise decide alone.
_FAR = 5.0

_WITHIN = ("kid", "precision", "recall")
_HELD_OUT = "held-out real samples"

Draw = Callable[[int], Tensor]
"""Returns the statistic under at most so many random permutations, shape ``(k,)``."""


# ----------------------------------------------------------------------------
# What is measured of one class, and of all.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Samples with their classes.

    Attributes:
        features: Shape ``(n, d)``.
        classes: The class of each as an integer from 0, shape ``(n,)``.
    """

    features: Tensor
    classes: Tensor

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.features)

    def at(self, index: Tensor) -> "Labelled":
        """Returns some of them."""
        return Labelled(self.features[index], self.classes[index])

    def of(self, c: int) -> Tensor:
        """Returns the features of one class."""
        return self.features[self.classes == c]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassNumbers:
    """What is measured of one class.

    Attributes:
        real: Number of real samples of it.
        fake: Number of fakes of it.
        scores: ``kid``, ``precision`` and ``recall`` within the class; ``share``, the difference
            of its share of the fakes from that of the real samples; ``accuracy``, the share of its
            fakes whose label a classifier of real data predicts, and ``real accuracy``, that of
            held-out real samples. Intervals of one name hold together, for all classes.
        p: The p-value of each test of the class, by name: ``distance``, ``share``, ``label``.
        adjusted: The same, adjusted for all tests of the evaluation by Holm's procedure.
    """

    real: int
    fake: int
    scores: Mapping[str, Estimate]
    p: Mapping[str, float]
    adjusted: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def differs(self) -> tuple[str, ...]:
        """The tests that are significant."""
        return tuple(name for name, p in self.adjusted.items() if p <= LEVEL)

    @property
    def is_compared(self) -> bool:
        """Whether there are enough samples for a distance within the class."""
        return min(self.real, self.fake) >= LEAST


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFindings:
    """What is measured of labelled fakes against labelled real samples.

    Attributes:
        classes: One for each class.
        overall: Label accuracies, the effect of training on fakes, the joint distance, by name.
        p: The p-values of what is tested of all classes together: ``shares``, ``conditional``
            where a class has enough samples, and ``label accuracy`` where fakes have labels.
        adjusted: The same, adjusted for all tests of the evaluation by Holm's procedure.
        confusion: How often fakes of each label (row) are predicted as each class, int64, shape
            ``(classes, classes)``.
        real_confusion: The same of held-out real samples.
        predicted: The predicted class of each fake, shape ``(m,)``.
    """

    classes: tuple[ClassNumbers, ...]
    overall: Mapping[str, Estimate]
    p: Mapping[str, float]
    adjusted: Mapping[str, float]
    confusion: Tensor
    real_confusion: Tensor
    predicted: Tensor


def worst_first(classes: Sequence[ClassNumbers]) -> list[int]:
    """Returns the classes in order: significant ones first, then the largest distance first.

    Of the significant ones those without any fake come before all others.
    """

    def place(c: int) -> tuple[bool, bool, float]:
        own = classes[c]
        distance = own.scores["kid"].value
        return not own.differs, own.fake > 0, -(distance if distance is not None else -math.inf)

    return sorted(range(len(classes)), key=place)


# ----------------------------------------------------------------------------
# A classifier of labelled features.
# ----------------------------------------------------------------------------


@final
class LabelClassifier:
    """Ridge regression of class indicators on features and on random units of them.

    It has a closed form, so that it repeats exactly, and suits the features of any kind of data.

    Args:
        train: What it learns from.
        count: Number of classes; of those without a sample none is ever predicted.
        rng: Draws the units.
    """

    def __init__(self, train: Labelled, count: int, *, rng: torch.Generator) -> None:
        z = train.features.double()
        self._mean, scale = z.mean(0), z.std(0, correction=0)
        self._scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        sizes = train.classes.bincount(minlength=count)
        self._shares = (sizes / len(z)).to(z)
        self._absent = sizes == 0
        target = torch.nn.functional.one_hot(train.classes, count).to(z) - self._shares
        self._scores = fit_scores(self._standard(z), target, rng=rng)

    def _standard(self, x: Tensor) -> Tensor:
        z = x.double().sub(self._mean).div_(self._scale)
        return z.clamp_(-_FAR, _FAR)

    def predict(self, x: Tensor) -> Tensor:
        """Returns the predicted class of each row of features, shape ``(n, d)``."""
        found = [self._predicted(x[block]) for block in blocks(*x.shape)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

    def _predicted(self, x: Tensor) -> Tensor:
        scores = self._scores(self._standard(x)) + self._shares
        return scores.masked_fill_(self._absent.to(scores.device), -math.inf).argmax(1)


def confusion_of(classes: Tensor, predicted: Tensor, count: int) -> Tensor:
    """Returns how often samples of each class (row) are predicted as each class (column).

    Example:
        >>> confusion_of(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    return (classes * count + predicted).bincount(minlength=count * count).reshape(count, count)


# ----------------------------------------------------------------------------
# Tests by permutation, which end early where nothing is found.
# ----------------------------------------------------------------------------


def sequential_p(seen: float, draw: Draw, most: int, batch: int) -> float:
    """Returns a p-value by permutation, with few permutations where it is large.

    Drawing ends once 20 permutations are as extreme as what was seen; the p-value is then exact
    too, with a relative error of about a fifth.

    Source: Besag and Clifford, 1991, https://doi.org/10.1093/biomet/78.2.301.

    Args:
        seen: The statistic that was found; larger is more extreme.
        draw: Draws it under permutations.
        most: Number of permutations at most.
        batch: Number that is drawn at a time.
    """
    extreme = drawn = 0
    # Equal sums differ by rounding.
    slack = 1e-9 * abs(seen)
    while drawn < most:
        beyond = draw(min(batch, most - drawn)) >= seen - slack
        count = int(beyond.sum())
        if extreme + count >= _EXTREME:
            last = int(torch.searchsorted(beyond.cumsum(0), _EXTREME - extreme)) + 1
            return _EXTREME / (drawn + last)
        extreme, drawn = extreme + count, drawn + len(beyond)
    return (extreme + 1) / (drawn + 1)


@final
class _Permuted:
    """The distance of two sets under permutations of which sample is in which set."""

    def __init__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> None:
        self._n, self._rng = len(real), rng
        self._kernel = kernel_matrix(real, fake)
        own = torch.zeros(1, len(self._kernel), dtype=self._kernel.dtype)
        own[0, : self._n] = 1
        self.seen = float(self._values(own.to(self._kernel.device)))
        self._waiting = torch.zeros(0, dtype=torch.float64)
        self.batch = max(100, _AT_ONCE // len(self._kernel))

    def first(self, count: int) -> Tensor:
        """Returns the first values, shape ``(count,)``; ``draw`` gives them again."""
        found = [self._drawn(min(self.batch, count - i)) for i in range(0, count, self.batch)]
        self._waiting = torch.cat(found)
        return self._waiting

    def draw(self, count: int) -> Tensor:
        """Returns the values under at most so many permutations."""
        kept, self._waiting = self._waiting[:count], self._waiting[count:]
        return kept if len(kept) else self._drawn(count)

    def _drawn(self, count: int) -> Tensor:
        total = len(self._kernel)
        keys = torch.rand(count, total, generator=self._rng)
        chosen = keys.topk(self._n, dim=1, sorted=False).indices
        label = torch.zeros(count, total, dtype=self._kernel.dtype)
        return self._values(label.scatter_(1, chosen, 1.0).to(self._kernel.device))

    def _values(self, label: Tensor) -> Tensor:
        sums = label @ self._kernel
        within, among_all = (sums * label).sum(1), sums.sum(1)
        between = among_all - within
        others = self._kernel.sum() - within - 2 * between
        n, m = self._n, len(self._kernel) - self._n
        found = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * between / (n * m)
        return found.double().cpu()


def shares_p(real: Tensor, fake: Tensor, *, most: int, rng: torch.Generator) -> float:
    """Returns the p-value of "both sets have the same shares of classes".

    Pearson's chi-squared statistic with its exact distribution given the total of each class, by
    random draws: no class is too small for it.

    Args:
        real: Number of real samples of each class, shape ``(classes,)``.
        fake: Number of fakes of each class.
        most: Number of draws at most.
        rng: Draws.
    """
    total = (real + fake).numpy()
    m = int(fake.sum())
    expected = total * (m / max(int(total.sum()), 1))
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    source = np.random.default_rng(seed)

    def statistic(counts: np.ndarray) -> Tensor:
        part = np.divide((counts - expected) ** 2, expected, where=expected > 0, out=0.0 * counts)
        return torch.from_numpy(np.asarray(part.sum(-1)))

    def draw(count: int) -> Tensor:
        drawn = source.multivariate_hypergeometric(total, m, size=count, method="marginals")
        return statistic(drawn)

    batch = max(100, _AT_ONCE // 4 // max(len(total), 1))
    return sequential_p(float(statistic(fake.numpy())), draw, most, batch)


def fewer_correct_p(real: Tensor, real_right: Tensor, fake: Tensor, right: Tensor) -> float:
    """Returns the one-sided p-value of "fakes are predicted as their label as often as reals are".

    Stratified by class, so that other shares of easy classes do not count. Source: Mantel and
    Haenszel, 1959, https://doi.org/10.1093/jnci/22.4.719, with continuity correction.

    Args:
        real: Number of real samples of each class.
        real_right: Number of these that are predicted correctly.
        fake: Number of fakes of each label.
        right: Number of these that are predicted as their label.
    """
    both = (real > 0) & (fake > 0)
    n, a, m, b = (v[both].double() for v in (real, real_right, fake, right))
    total, good = n + m, a + b
    expected = m * good / total
    variance = m * n * good * (total - good) / (total**2 * (total - 1).clamp_min(1))
    deviation = math.sqrt(float(variance.sum()))
    if deviation == 0:
        return 1.0
    z = (float((expected - b).sum()) - 0.5) / deviation
    return 0.5 * math.erfc(z / math.sqrt(2))


# ----------------------------------------------------------------------------
# The measurement.
# ----------------------------------------------------------------------------


def measure_classes(
    real: Labelled,
    fake: Labelled,
    train: Labelled | None,
    count: int,
    *,
    labelled: bool = True,
    sets: int = 1,
    rng: Rng,
) -> ClassFindings:
    """Compares fakes with real samples class by class.

    Within each class: KID, tested by permutation; precision and recall. Shares of classes, each
    by Fisher's exact test, all by a permutation test. Label accuracy: a classifier of real data
    applied to fakes, against held-out real samples. The distribution of features given the label:
    the distances within all classes together, permuted within classes. All claims together have a
    family-wise error of 5 % at most: Holm's procedure at 4 % over all tests of single classes, and
    at 1 % over those of all classes together.

    Args:
        real: Held-out real samples, which no extractor has learned from.
        fake: The fakes. Where they have no labels, their classes are not used.
        train: Real samples for the classifier, or None to take half of ``real``.
        count: Number of classes.
        labelled: Whether fakes have labels. If not, the predicted classes of both sets are
            compared, so that what the classifier confuses is the same in both.
        sets: Number of sets of fakes that are compared; all claims of all of them together have
            the family-wise error.
        rng: Its streams "classes/..." decide what is random.

    Raises:
        UserError: If features cannot be compared.
    """
    checked(real.features, fake.features)
    learn, test = _halved(real, rng) if train is None else (train, real)
    judge = LabelClassifier(learn, count, rng=rng.stream("classes/units"))
    said, real_said = judge.predict(fake.features), judge.predict(test.features)
    if labelled:
        given, known = fake, real
    else:
        given, known = replace(fake, classes=said), replace(test, classes=real_said)
    confusion = confusion_of(given.classes, said, count)
    real_confusion = confusion_of(test.classes, real_said, count)
    found = _Measured(known, given, count, sets, rng)
    classes, conditional = found.within()
    overall = {"joint distance": found.joint()}
    p = {"shares": found.shares_p()}
    if conditional is not None:
        p["conditional"] = conditional
    if labelled:
        classes = _with_accuracy(classes, confusion, real_confusion)
        overall["label accuracy"] = _accuracy(confusion, "fakes")
        overall["label accuracy of real samples"] = _accuracy(real_confusion, _HELD_OUT)
        overall |= _exchanged(learn, test, fake, count, rng=rng)
        p["label accuracy"] = _accuracy_p(confusion, real_confusion)
    classes, adjusted = _adjusted(classes, p, sets)
    return ClassFindings(
        classes=tuple(classes),
        overall=overall,
        p=p,
        adjusted=adjusted,
        confusion=confusion,
        real_confusion=real_confusion,
        predicted=said,
    )


def _halved(real: Labelled, rng: Rng) -> tuple[Labelled, Labelled]:
    """Returns two halves of the samples, of each class about equal."""
    order = torch.randperm(len(real), generator=Rng(rng.seed).stream("classes/halves"))
    order = order[real.classes.cpu()[order].argsort(stable=True)].to(real.classes.device)
    return real.at(order[::2].sort().values), real.at(order[1::2].sort().values)


@final
class _Measured:
    """Two labelled sets, and what is measured of their classes."""

    def __init__(self, real: Labelled, fake: Labelled, count: int, sets: int, rng: Rng) -> None:
        self._real, self._fake, self._count = real, fake, count
        self._rng = Rng(rng.seed)
        self._sizes = [s.classes.bincount(minlength=count).cpu() for s in (real, fake)]
        enough = torch.minimum(*self._sizes) >= LEAST
        self._level = at_once(int(enough.sum()))
        self._share_level = at_once(count)
        # So that the smallest p-values are below what the first step of Holm's procedure needs.
        self._most = max(_FIRST, 150 * count * sets)
        self._jointly = max(_FIRST, 600 * sets)

    def within(self) -> tuple[list[ClassNumbers], float | None]:
        """Returns the numbers of each class, and the p-value of the conditional distributions.

        None where every class has too few samples.
        """
        together, seen, classes = torch.zeros(self._jointly, dtype=torch.float64), 0.0, []
        is_tested = False
        for c in range(self._count):
            x, y = self._real.of(c), self._fake.of(c)
            scores, p = {"share": self._share(c)}, {"share": self._share_p(c)}
            if reason := self._too_few(x, y):
                scores |= {name: Estimate.missing(reason) for name in _WITHIN}
            else:
                scores |= self._scores(c, x, y)
                test = _Permuted(*self._some(c, x, y), self._stream("permutations", c))
                weight = len(x) * len(y) / (len(x) + len(y))
                together += weight * test.first(self._jointly)
                seen += weight * test.seen
                is_tested = True
                p["distance"] = sequential_p(test.seen, test.draw, self._most, test.batch)
            classes.append(ClassNumbers(real=len(x), fake=len(y), scores=scores, p=p))
        slack = 1e-9 * abs(seen)
        beyond = int((together >= seen - slack).sum())
        return classes, (1 + beyond) / (1 + self._jointly) if is_tested else None

    def shares_p(self) -> float:
        """Returns the p-value of equal shares."""
        real, fake = self._sizes
        return shares_p(real, fake, most=self._most, rng=self._stream("shares"))

    def joint(self) -> Estimate:
        """Returns the distance of the joint distributions of features and labels."""
        x, y = (
            s.at(_subset(len(s), _JOINT, self._stream(f"joint/{i}")).to(s.classes.device))
            for i, s in enumerate((self._real, self._fake))
        )
        return joint_distance(x, y, self._count, rng=self._stream("joint"))

    def _stream(self, name: str, c: int | None = None) -> torch.Generator:
        return self._rng.stream(f"classes/{name}" if c is None else f"classes/{name}/{c}")

    def _too_few(self, x: Tensor, y: Tensor) -> str | None:
        n, m = len(x), len(y)
        if min(n, m) >= LEAST:
            return None
        return f"too few: {n} real and {m} fake samples, {LEAST} of each are needed"

    def _some(self, c: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rng = self._stream("some", c)
        first, second = (z[_subset(len(z), _COMPARED, rng).to(z.device)] for z in (x, y))
        return first, second

    def _scores(self, c: int, x: Tensor, y: Tensor) -> dict[str, Estimate]:
        rng = self._stream("distance", c)
        x, y = (z[_subset(len(z), _ESTIMATED, rng).to(z.device)] for z in (x, y))
        distance = distance_within(x, y, level=self._level, rng=rng)
        metrics: dict[str, NeighbourMetric] = {"precision": Precision(), "recall": Recall()}
        streams = [self._stream(name, c) for name in metrics]
        found = measure_together(list(metrics.values()), x, y, streams)
        named = zip(metrics, found, strict=True)
        return {"kid": distance, **{name: _at_level(e, self._level) for name, e in named}}

    def _counts(self, c: int) -> tuple[int, int, int, int]:
        real, fake = self._sizes
        return int(fake[c]), int(fake.sum()), int(real[c]), int(real.sum())

    def _share(self, c: int) -> Estimate:
        return share_difference(*self._counts(c), level=self._share_level)

    def _share_p(self, c: int) -> float:
        a, m, b, n = self._counts(c)
        return min(1.0, 2 * min(p_greater_rate(a, m, b, n), p_greater_rate(b, n, a, m)))


def distance_within(real: Tensor, fake: Tensor, *, level: float, rng: torch.Generator) -> Estimate:
    """Returns the KID of two samples of one class, with its interval at a level.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        level: Confidence level of the interval.
        rng: Draws permutations.
    """
    return kernel_distance(real, fake, rng=rng).detail(level=level).estimate


def share_difference(
    count: int, n: int, real_count: int, real_n: int, *, level: float
) -> Estimate:
    """Returns the share of a class of the fakes minus its share of the real samples.

    Source: Newcombe, 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I,
    method 10.

    Args:
        count: Number of fakes of the class.
        n: Number of all fakes.
        real_count: Number of real samples of the class.
        real_n: Number of all real samples.
        level: Confidence level of the interval.
    """
    shares = (
        fraction(k / size, Variance(k * (size - k) / size**3), n=size, method="", level=level)
        for k, size in ((count, n), (real_count, real_n))
    )
    method = f"{count:,} of {n:,} fakes, {real_count:,} of {real_n:,} real samples"
    return replace(unpaired(*shares), level=level, method=f"{method}; Newcombe's interval")


def joint_distance(
    real: Labelled, fake: Labelled, count: int, *, rng: torch.Generator
) -> Estimate:
    """Returns the squared MMD of the joint distributions of features and labels.

    The kernel is the product of a Gaussian one of features, with the median distance as its
    bandwidth, and of 1 for equal and 0 for different labels. It is characteristic: the distance
    is 0 only if both distributions are the same.

    Source: Gretton, 2015, "A simpler condition for consistency of a kernel independence test",
    https://arxiv.org/abs/1501.06103, for products of kernels.
    """
    x, y = (s.features.double() for s in (real, fake))
    if reason := too_few(x, y, 4):
        return Estimate.missing(reason, better="lower")
    bandwidth = median_distance(x, y, rng=rng)
    # Labels this far apart make a Gaussian kernel zero.
    apart = 12 * bandwidth
    first, second = (
        torch.cat([z, apart * torch.nn.functional.one_hot(s.classes, count).to(z)], 1)
        for z, s in ((x, real), (y, fake))
    )
    found = gaussian_discrepancy(first, second, bandwidth, rng=rng)
    return found.detail(method=f"Gaussian kernel of features, bandwidth {bandwidth:.4g}").estimate


def _subset(n: int, most: int, rng: torch.Generator) -> Tensor:
    """Returns the indices of at most ``most`` of ``n`` samples, drawn and sorted."""
    return torch.arange(n) if n <= most else torch.randperm(n, generator=rng)[:most].sort().values


def _at_level(found: Detailed | Estimate, level: float) -> Estimate:
    """Returns a share with its interval at another level."""
    if not isinstance(found, Detailed):
        return found
    e = found.estimate
    if e.value is None or e.low is None:
        return e
    value = float(found.real.var()) / len(found.real) + found.rest.value
    variance = Variance.of_squares(value, FOLDS - 1) if value > 0 else Variance(0.0)
    made = fraction(e.value, variance, n=e.n, method=e.method, level=level)
    return replace(made, unit=e.unit, better=e.better)


# ----------------------------------------------------------------------------
# Label accuracy.
# ----------------------------------------------------------------------------


def _with_accuracy(
    classes: Sequence[ClassNumbers], confusion: Tensor, real_confusion: Tensor
) -> list[ClassNumbers]:
    """Returns the classes with how often their labels are predicted, and its test."""
    fake, real = confusion.sum(1), real_confusion.sum(1)
    level = at_once(int(((fake > 0) & (real > 0)).sum()))
    made = []
    for c, own in enumerate(classes):
        m, n = int(fake[c]), int(real[c])
        right, real_right = int(confusion[c, c]), int(real_confusion[c, c])
        scores = {
            "accuracy": proportion(right, m, level=level, better="higher", of="fakes"),
            "real accuracy": proportion(real_right, n, level=level, better="higher"),
        }
        p = {"label": p_greater_rate(m - right, m, n - real_right, n)} if m and n else {}
        made.append(replace(own, scores={**own.scores, **scores}, p={**own.p, **p}))
    return made


def _accuracy_p(confusion: Tensor, real_confusion: Tensor) -> float:
    return fewer_correct_p(
        real_confusion.sum(1), real_confusion.diagonal(), confusion.sum(1), confusion.diagonal()
    )


def _exchanged(
    learn: Labelled, test: Labelled, fake: Labelled, count: int, *, rng: Rng
) -> dict[str, Estimate]:
    """Returns the accuracies of classifiers of real and of fake data on both kinds of data.

    Each learns from equally many samples, none of which tests.
    """
    own, other = _halved(fake, Rng(rng.seed + 1))
    size = min(len(learn), len(own))
    if not len(other) or size < LEAST:
        return {}
    found: dict[str, Estimate] = {}
    right = {}
    for name, source in (("real", learn), ("fake", own)):
        places = _subset(len(source), size, Rng(rng.seed).stream(f"classes/train/{name}"))
        part = source.at(places.to(source.classes.device))
        judge = LabelClassifier(part, count, rng=rng.stream("classes/units"))
        for target, judged in (("real", test), ("fake", other)):
            right[name, target] = judge.predict(judged.features) == judged.classes
    for (name, target), hits in right.items():
        made = proportion(int(hits.sum()), len(hits), better="higher")
        found[f"trained on {name}, tested on {target}"] = replace(
            made, method=f"{made.method}; learned from {size:,} samples"
        )
    gain = _paired_rates(right["fake", "real"], right["real", "real"])
    return found | {"trained on fake minus trained on real, tested on real": gain}


def _paired_rates(a: Tensor, b: Tensor) -> Estimate:
    """Returns the rate of ``a`` minus that of ``b`` on the same samples, shapes ``(n,)``.

    Source: Bonett and Price, 2012, https://doi.org/10.3102/1076998611411915, the adjusted
    interval, which is of use where both agree on all samples, too.
    """
    n, more, less = len(a), int((a & ~b).sum()), int((~a & b).sum())
    up, down = ((count + 1) / (n + 2) for count in (more, less))
    z = statistics.NormalDist().inv_cdf(0.975)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Estimate(
        value=(more - less) / n,
        low=up - down - half,
        high=up - down + half,
        n=n,
        better="higher",
        method=f"{more} and {less} of {n} {_HELD_OUT} are right by one classifier only; "
        "Bonett and Price's interval for pairs",
    )


def _accuracy(confusion: Tensor, of: str) -> Estimate:
    right, n = int(confusion.diagonal().sum()), int(confusion.sum())
    return proportion(right, n, better="higher", of=of)


# ----------------------------------------------------------------------------
# One family of tests.
# ----------------------------------------------------------------------------


def _adjusted(
    classes: Sequence[ClassNumbers], p: Mapping[str, float], sets: int
) -> tuple[list[ClassNumbers], dict[str, float]]:
    """Returns all p-values adjusted by Holm's procedure, by class and of all classes together.

    Each of the two families has a part of the level, so that few tests of all classes together
    are not drowned by many of single classes.
    """
    tests = [(c, name, value) for c, own in enumerate(classes) for name, value in own.p.items()]
    adjusted = _holm([value for *_, value in tests], (1 - _PART) / sets)
    by_class: list[dict[str, float]] = [{} for _ in classes]
    for (c, name, _), value in zip(tests, adjusted, strict=True):
        by_class[c][name] = value
    made = [replace(own, adjusted=a) for own, a in zip(classes, by_class, strict=True)]
    return made, dict(zip(p, _holm(list(p.values()), _PART / sets), strict=True))


def _holm(p: Sequence[float], part: float) -> list[float]:
    return [min(1.0, value / part) for value in holm_adjusted(p)]
