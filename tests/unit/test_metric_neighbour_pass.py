"""The shared search and pass, against float64 twins that look at every pair."""

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics import neighbour_search
from gantlet.metrics.neighbour_search import (
    BallCounts,
    BallMinimum,
    BallSide,
    Nearest,
    ends,
    for_each_pair,
    knn,
    knn_within,
    nearest_distance_within,
    points,
    smallest_sample,
    working_dtype,
)
from gantlet.stats.jackknife import folds, over_fakes, over_reals


def draw(n, d, seed=0):
    rng = Rng(seed).stream("x")
    return torch.randn(n, d, generator=rng)


def far_cluster(n, d, spread):
    """Samples in two tight clusters, whose distances float32 products cannot tell apart."""
    x = draw(n, d) * spread
    x[: n // 2] += 3
    return x


def apart(x, y):
    """Squared distances from differences in float64, row by row."""
    return torch.stack([((a - y.double()) ** 2).sum(1) for a in x.double()])


CASES = {
    "few features": draw(300, 3),
    "many features": draw(300, 80),
    "a large mean": draw(300, 80) + 1e4,
    "tight clusters": far_cluster(300, 80, 1e-4),
    "twins": draw(40, 80).repeat(8, 1),
    "grid": (draw(300, 80) * 2).round(),
    "huge": draw(300, 80) * 1e30,
    "tiny": draw(300, 80).double() * 1e-30,
    "half": draw(300, 80).half(),
}


@pytest.mark.parametrize("name", CASES)
def test_fellows_are_those_of_a_full_table(name):
    x = CASES[name]
    table = apart(x, x).fill_diagonal_(torch.inf)
    (frame,) = points(x)
    found = knn_within(frame, 5)
    expected = table.topk(5, largest=False).values
    assert torch.allclose(found.distance[:, :5] / frame.scale**2, expected, rtol=1e-12, atol=0)
    assert (found.index != torch.arange(len(x))[:, None]).all()
    again = table.gather(1, found.index) * frame.scale**2
    assert torch.allclose(found.distance, again, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_nearest_of_another_set(name):
    x = CASES[name]
    y = x[:50] + x[1:51] * 1e-3
    a, b = points(x, y)
    found = knn(b, a)
    expected = apart(y, x).amin(1) * a.scale**2
    assert torch.allclose(found.distance[:, 0], expected, rtol=1e-12, atol=0)
    some = torch.tensor([3, 7, 11])
    table = apart(x, x).fill_diagonal_(torch.inf).amin(1)
    assert torch.allclose(
        nearest_distance_within(some, a), table[some] * a.scale**2, rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", CASES)
def test_the_pass_finds_the_nearest_of_the_other_set_as_a_search_does(name):
    x = CASES[name]
    y = x[:50] + x[1:51] * 1e-3
    a, b = points(x, y)
    nobody = torch.empty(len(x), 0)
    sides = (BallSide(z, Nearest(nobody, nobody.long()), []) for z in (a, b))
    found, wanted = for_each_pair(*sides, nearest=True), knn(b, a)
    assert torch.equal(found.distance[:, 0], wanted.distance[:, 0])
    if name != "twins":
        assert torch.equal(found.index[:, 0], wanted.index[:, 0])


def see(x, y, k, fold_x, fold_y):
    a, b = points(x, y)
    near = knn_within(a, k)
    weight = torch.rand(len(y), generator=Rng(0).stream("w"), dtype=torch.float64)
    held = BallCounts(near, k, fold_x, len(y))
    holding = BallMinimum(near, k, fold_x, weight, fold_y)
    back = BallCounts(knn_within(b, k), k, fold_y, len(x))
    for_each_pair(BallSide(a, near, [held, holding]), BallSide(b, knn_within(b, k), [back]))
    return held, holding, back, weight


def twin(x, y, k):
    """Whether each ball around ``x`` holds each of ``y``."""
    inner = apart(x, x).fill_diagonal_(torch.inf).topk(k, largest=False).values[:, -1:]
    return apart(x, y) <= inner * (1 + 1e-9)


@pytest.mark.parametrize("name", ["few features", "many features", "tight clusters", "grid"])
@pytest.mark.parametrize("many", [1 / 64, 0.0])
def test_counts_with_all_and_without_each_fold_equal_those_of_the_smaller_sets(
    name, many, monkeypatch
):
    monkeypatch.setattr(neighbour_search, "MANY_NEAR", many)
    x = CASES[name]
    x, y = x[::2], x[1::2].flip(0)
    rng = Rng(0).stream("f")
    fold_x, fold_y = (folds(len(z), rng=rng, device=z.device) for z in (x, y))
    held, holding, back, weight = see(x, y, 3, fold_x, fold_y)
    inside = twin(x, y, 3)
    assert torch.equal(held.counts()[0], inside.sum(0))
    assert torch.equal(back.counts()[0], twin(y, x, 3).sum(0))
    lowest = torch.where(inside, weight, torch.inf)
    assert torch.equal(holding.whole(), lowest.amin(1))
    for f in (0, 7, 19):
        kept, left = fold_x != f, fold_y != f
        smaller = twin(x[kept], y, 3)
        assert torch.equal(held.counts()[1 + f], smaller.sum(0))
        weights = torch.where(smaller, weight, torch.inf).amin(1)
        assert torch.equal(holding.without_centres()[f, kept], weights)
        assert torch.equal(holding.without_others()[f], lowest[:, left].amin(1))
        assert torch.equal(back.counts()[1 + f], twin(y[left], x, 3).sum(0))


def test_few_features_and_coarse_products_are_taken_in_float64():
    wide, narrow = points(draw(9, 65))[0], points(draw(9, 64))[0]
    assert working_dtype(wide) == torch.float32
    assert working_dtype(narrow) == torch.float64
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert working_dtype(wide) == torch.float64
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_least_number_leaves_enough_neighbours_without_any_fold():
    for k in (1, 3, 5, 18, 19, 40):
        for n in (smallest_sample(k), smallest_sample(k) + 1, smallest_sample(k) + 20):
            x = draw(n, 2)
            fold = folds(n, rng=Rng(0).stream("f"), device=x.device)
            found = ends(knn_within(points(x)[0], k), k, fold)
            near = knn_within(points(x)[0], k).index
            for f in range(int(fold.max()) + 1):
                for i in (fold != f).nonzero()[:, 0].tolist():
                    others = (fold[near[i, : found[f, i] + 1]] != f).sum()
                    assert others == k


def test_influences_add_up_to_the_variance():
    rng = Rng(0).stream("t")
    terms = torch.randn(200, generator=rng, dtype=torch.float64)
    common = torch.randn(20, 1, generator=rng, dtype=torch.float64) * 0.1
    changes = common + torch.randn(20, 200, generator=rng, dtype=torch.float64) * 0.01
    fakes = over_fakes(terms, changes)
    total = float(fakes.real.var()) / len(fakes.real) + fakes.rest.value
    assert total == pytest.approx(fakes.whole.value, rel=1e-9)
    reals = over_reals(terms, [changes])
    total = float(reals.real.var()) / len(reals.real) + reals.rest.value
    assert total == pytest.approx(reals.whole.value, rel=1e-9)
    assert float(reals.real.mean()) == pytest.approx(0, abs=1e-12)
