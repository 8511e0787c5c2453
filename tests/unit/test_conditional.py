"""Numbers of labelled samples class by class, against closed forms, peers and slow twins."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, fisher_exact
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from gantlet.core.rng import Rng
from gantlet.metrics.conditional import (
    LEAST,
    LabelClassifier,
    Labelled,
    confusion_of,
    distance_within,
    fewer_correct_p,
    joint_distance,
    measure_classes,
    sequential_p,
    share_difference,
    shares_p,
    worst_first,
)
from gantlet.metrics.kernel import kernel_matrix
from gantlet.stats.intervals import simultaneous

CENTRES = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def drawn(n, seed, weights=None):
    rng = torch.Generator().manual_seed(seed)
    weights = torch.ones(6) if weights is None else torch.tensor(weights)
    y = torch.multinomial(weights, n, replacement=True, generator=rng)
    return Labelled(CENTRES[y] + torch.randn(n, 5, generator=rng, dtype=torch.float64), y)


def measured(real, fake, **settings):
    return measure_classes(real, fake, None, 6, rng=Rng(0), **settings)


def significant(found):
    return {c for c, own in enumerate(found.classes) if own.differs}


def test_flawless_samples_are_not_called_different():
    found = measured(drawn(400, 1), drawn(300, 2))
    assert not significant(found)
    assert min(found.adjusted.values()) > 0.05
    # Holm's procedure multiplies by at least one, and by the reciprocal of the part of the level.
    assert all(own.adjusted[t] >= own.p[t] for own in found.classes for t in own.p)


def test_a_missing_a_swapped_and_a_moved_class_are_found_alone():
    real, fake = drawn(500, 1), drawn(500, 2)
    kept = fake.classes != 3
    missing = measured(real, fake.at(kept))
    assert significant(missing) == {3} == set(worst_first(missing.classes)[:1])
    assert missing.classes[3].differs == ("share",)
    assert "too few: " in missing.classes[3].scores["kid"].method
    assert missing.adjusted["shares"] <= 0.05 < missing.adjusted["conditional"]

    other = torch.tensor([0, 5, 2, 3, 4, 1])[fake.classes]
    swapped = measured(real, Labelled(fake.features, other))
    assert significant(swapped) == {1, 5} == set(worst_first(swapped.classes)[:2])
    assert set(swapped.classes[1].differs) == {"distance", "label"}
    assert swapped.adjusted["conditional"] <= 0.05 < swapped.adjusted["shares"]
    assert swapped.confusion[1].argmax() == 5

    shift = torch.where(fake.classes == 4, 1.0, 0.0)[:, None].double()
    moved = measured(real, Labelled(fake.features + shift, fake.classes))
    assert significant(moved) == {4}
    assert moved.classes[4].differs == ("distance",)


def test_other_shares_alone_are_no_difference_given_the_class():
    found = measured(drawn(500, 1), drawn(500, 2, weights=[1.0, 1, 1, 1, 1, 4]))
    assert found.adjusted["shares"] <= 0.05
    assert found.adjusted["conditional"] > 0.05
    assert found.adjusted["label accuracy"] > 0.05


def test_without_labels_predicted_classes_are_compared_and_there_is_no_label_accuracy():
    real, fake = drawn(500, 1), drawn(500, 2)
    kept = fake.classes != 2
    unknown = Labelled(fake.features[kept], torch.zeros(int(kept.sum()), dtype=torch.int64))
    found = measured(real, unknown, labelled=False)
    assert significant(found) == {2}
    assert "label accuracy" not in found.p
    assert not any("accuracy" in name for own in found.classes for name in own.scores)
    assert float((found.predicted == fake.classes[kept]).double().mean()) > 0.95


def test_classes_with_too_few_samples_say_so_and_are_tested_for_their_share():
    few = drawn(500, 2).at(torch.arange(500))
    keep = (few.classes != 0) | (torch.arange(500) < 20)
    found = measured(drawn(500, 1), few.at(keep))
    assert found.classes[0].fake < LEAST
    assert not found.classes[0].is_compared
    assert "share" in found.classes[0].p
    assert "distance" not in found.classes[0].p


def test_a_handful_of_samples_has_no_distance_and_no_claim():
    found = measured(drawn(8, 1), drawn(3, 2))
    assert not significant(found)
    assert found.overall["joint distance"].value is None
    # No class has a distance, so that nothing is said of samples given their class.
    assert set(found.p) == {"shares", "label accuracy"}
    assert not any("trained on" in name for name in found.overall)


def test_the_same_seed_gives_the_same_numbers():
    first, again = (measured(drawn(300, 1), drawn(300, 2)) for _ in range(2))
    assert first.overall == again.overall
    assert [c.p for c in first.classes] == [c.p for c in again.classes]


def test_confusion_and_accuracy_are_those_of_scikit_learn():
    real, fake = drawn(600, 1), drawn(400, 2)
    found = measured(real, fake)
    wanted = confusion_matrix(fake.classes, found.predicted, labels=range(6))
    assert found.confusion.tolist() == wanted.tolist()
    assert confusion_of(fake.classes, found.predicted, 6).tolist() == wanted.tolist()
    own = found.overall["label accuracy"].value
    assert own == pytest.approx(np.trace(wanted) / 400)
    peer = LogisticRegression(max_iter=500).fit(real.features, real.classes)
    assert abs(own - peer.score(fake.features, fake.classes)) < 0.02


def test_a_class_that_the_classifier_never_saw_is_never_predicted():
    seen = drawn(300, 1)
    seen = seen.at(seen.classes != 4)
    judge = LabelClassifier(seen, 6, rng=torch.Generator().manual_seed(0))
    assert 4 not in judge.predict(drawn(300, 2).features)


# ----------------------------------------------------------------------------
# Tests.
# ----------------------------------------------------------------------------


def test_the_kernel_of_both_sets_gives_the_distance():
    """The permutation statistic is KID but for a factor: a slow twin by loops."""
    x, y = drawn(30, 1).features, drawn(20, 2).features + 0.5
    k = kernel_matrix(x, y)
    value = k[:30, :30].sum() / (30 * 29) + k[30:, 30:].sum() / (20 * 19) - 2 * k[:30, 30:].mean()

    def slow(a, b):
        return (float(a @ b) / 5 + 1) ** 3

    xx = sum(slow(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (30 * 29)
    yy = sum(slow(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (20 * 19)
    xy = sum(slow(a, b) for a in x for b in y) / 600
    found = distance_within(x, y, level=0.9, rng=torch.Generator().manual_seed(0))
    assert found.value == pytest.approx(xx + yy - 2 * xy)
    assert found.level == 0.9
    other = distance_within(x + 0.2, y, level=0.9, rng=torch.Generator().manual_seed(0))
    factor = found.value / float(value)
    # The factor is the same for other samples of the same sets: here for permuted ones.
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    a, b = torch.cat([x, y])[order].split([30, 20])
    k = k[order][:, order]
    value = k[:30, :30].sum() / (30 * 29) + k[30:, 30:].sum() / (20 * 19) - 2 * k[:30, 30:].mean()
    mixed = distance_within(a, b, level=0.9, rng=torch.Generator().manual_seed(0))
    assert mixed.value == pytest.approx(factor * float(value))
    assert other.value != found.value


def test_sequential_p_values_are_uniform_and_stop_early():
    source = np.random.default_rng(0)
    drawn_in_all = 0

    def draw(count):
        nonlocal drawn_in_all
        drawn_in_all += count
        return torch.from_numpy(source.normal(size=count))

    found = np.array([sequential_p(source.normal(), draw, 999, 100) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert abs((found <= level).mean() - level) < 3 * math.sqrt(level * (1 - level) / 400)
    assert drawn_in_all < 400 * 999 / 2
    assert sequential_p(10.0, draw, 999, 100) == 1 / 1000


def test_equal_shares_have_the_p_value_of_the_chi_squared_test():
    real, fake = torch.tensor([200, 180, 220, 210]), torch.tensor([230, 200, 190, 160])
    p = shares_p(real, fake, most=20_000, rng=torch.Generator().manual_seed(0))
    wanted = chi2_contingency([real.tolist(), fake.tolist()], correction=False).pvalue
    # Sequential: 20 draws are as extreme, so that the relative error is about a fifth.
    assert wanted / 1.8 < p < wanted * 1.8


def test_the_share_of_a_class_is_tested_by_fishers_exact_test():
    found = measured(drawn(300, 1), drawn(200, 2))
    for own in found.classes:
        table = [[own.fake, 200 - own.fake], [own.real, 300 - own.real]]
        sides = [fisher_exact(table, alternative=a).pvalue for a in ("less", "greater")]
        assert own.p["share"] == pytest.approx(min(1.0, 2 * min(sides)))


def test_label_accuracy_is_compared_within_classes():
    """Mantel and Haenszel's statistic by its formula; shares of a hard class do not count."""
    real, right = torch.tensor([100, 100]), torch.tensor([95, 60])
    fake, own = torch.tensor([20, 180]), torch.tensor([19, 108])
    assert fewer_correct_p(real, right, fake, own) > 0.3
    worse = torch.tensor([14, 90])
    e, v = 0.0, 0.0
    for n, a, m, b in zip(*(t.tolist() for t in (real, right, fake, worse)), strict=True):
        e += m * (a + b) / (n + m) - b
        v += m * n * (a + b) * (n + m - a - b) / ((n + m) ** 2 * (n + m - 1))
    p = 0.5 * math.erfc((e - 0.5) / math.sqrt(2 * v))
    assert fewer_correct_p(real, right, fake, worse) == pytest.approx(p)
    assert fewer_correct_p(real, real, fake, fake) == 1.0


# ----------------------------------------------------------------------------
# Numbers.
# ----------------------------------------------------------------------------


def test_the_joint_distance_is_the_mmd_of_the_product_kernel():
    real, fake = drawn(60, 1), drawn(50, 2, weights=[1.0, 1, 1, 1, 2, 2])
    found = joint_distance(real, fake, 6, rng=torch.Generator().manual_seed(0))
    both = torch.cat([real.features, fake.features])
    label = torch.cat([real.classes, fake.classes])
    squares = torch.cdist(both, both) ** 2
    i, j = torch.triu_indices(110, 110, 1)
    bandwidth = squares[i, j].sqrt().median()
    k = (-squares / (2 * bandwidth**2)).exp() * (label[:, None] == label)
    k.fill_diagonal_(0)
    value = k[:60, :60].sum() / (60 * 59) + k[60:, 60:].sum() / (50 * 49) - 2 * k[:60, 60:].mean()
    assert found.value == pytest.approx(float(value), abs=1e-9)


def test_intervals_of_shares_are_newcombes():
    """The example of Newcombe, 1998, table II, row a: 56 of 70 and 48 of 80, method 10."""
    found = share_difference(56, 70, 48, 80, level=0.95)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_intervals_of_several_classes_are_wider_by_bonferroni():
    x, y = drawn(80, 1).features, drawn(80, 2).features + 0.5
    one, ten = (
        distance_within(x, y, level=level, rng=torch.Generator().manual_seed(0))
        for level in (0.95, simultaneous(10))
    )
    assert ten.low < one.low
    assert one.high < ten.high
    assert ten.level == pytest.approx(0.995)


def test_training_on_fakes_is_compared_on_equal_numbers():
    found = measured(drawn(600, 1), drawn(300, 2)).overall
    for name in ("real", "fake"):
        for other in ("real", "fake"):
            assert (
                "learned from 150 samples" in found[f"trained on {name}, tested on {other}"].method
            )
    gain = found["trained on fake minus trained on real, tested on real"]
    rates = [found[f"trained on {name}, tested on real"].value for name in ("fake", "real")]
    assert gain.value == pytest.approx(rates[0] - rates[1])
    assert gain.low <= gain.value <= gain.high
    assert gain.low < gain.high
