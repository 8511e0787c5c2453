"""Parts of a difference: they add up, are those of every order, and their intervals hold."""

from itertools import permutations

import pytest
import torch

from gantlet.stats.attribution import Orders, left_out_variance, p_of, with_interval


def a_game(k, seed):
    """A value for each coalition, with interactions."""
    rng = torch.Generator().manual_seed(seed)
    orders = Orders.of(k, rng=rng)
    every = Orders(k).coalitions()
    return orders, {c: torch.randn(3, generator=rng, dtype=torch.float64) for c in every}


@pytest.mark.parametrize("k", [1, 2, 4])
def test_parts_are_the_mean_over_every_order(k):
    orders, values = a_game(k, k)
    slow = torch.zeros(k, 3, dtype=torch.float64)
    everyone = list(permutations(range(k)))
    for order in everyone:
        for place, part in enumerate(order):
            before = frozenset(order[:place])
            slow[part] += (values[before | {part}] - values[before]) / len(everyone)
    assert torch.allclose(orders.parts_of(values), slow, atol=1e-12)
    assert orders.spread({c: v[0] for c, v in values.items()}).tolist() == [0.0] * k


@pytest.mark.parametrize("k", [3, 7, 8])
def test_parts_add_up_in_all_orders_and_in_drawn_ones(k):
    orders, values = a_game(k, 1)
    assert bool(orders.drawn) == (k > 6)
    whole = values[frozenset(range(k))] - values[frozenset()]
    assert torch.allclose(orders.parts_of(values).sum(0), whole, atol=1e-12)
    assert set(orders.coalitions()) <= set(values)
    if k > 6:
        assert len(orders.coalitions()) < len(values)


def test_drawn_orders_are_off_by_as_much_as_they_say():
    k, off = 7, []
    _, values = a_game(k, 2)
    exact = Orders(k).parts_of(values)[:, 0]
    first = {c: v[0] for c, v in values.items()}
    for seed in range(30):
        drawn = Orders.of(k, rng=torch.Generator().manual_seed(seed))
        error = drawn.parts_of(values)[:, 0] - exact
        off.append(error / drawn.spread(first).sqrt())
    assert 0.7 < float(torch.stack(off).square().mean().sqrt()) < 1.4


def test_without_interactions_every_order_gives_the_same_parts():
    own = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    orders = Orders(3)
    values = {c: 2 + sum((own[i] for i in c), torch.zeros(())) for c in orders.coalitions()}
    assert torch.allclose(orders.parts_of(values), own)


def test_intervals_of_a_mean_hold_it_as_often_as_they_say():
    rng = torch.Generator().manual_seed(3)
    n, folds, held = 200, 20, 0
    for _ in range(400):
        x = torch.rand(n, generator=rng, dtype=torch.float64) ** 2
        fold = torch.randperm(n, generator=rng) % folds
        without = torch.stack([x[fold != k].mean() for k in range(folds)])
        e = with_interval(
            float(x.mean()), float(left_out_variance(without)), folds=folds, n=n, method="m"
        )
        held += e.low <= 1 / 3 <= e.high
    assert 0.92 <= held / 400 <= 0.98


def test_p_values_say_what_intervals_say():
    e = with_interval(1.0, 0.2, folds=20, n=1, method="m")
    assert (e.low > 0) == (p_of(1.0, 0.2, folds=20) < 0.05)
    assert p_of(1e-9, 0.0, folds=20) == 0.0
