"""The mixture of a tournament, on scores whose equilibrium is known."""

import pytest
import torch

from gantlet.commands.tournament.play import REALS, SCALE, Player, best_mixture, pooled
from gantlet.core.rng import Rng

N = 400
D1, D2, G1, G2 = Player("d", 1), Player("d", 2), Player("g", 1), Player("g", 2)


def scores(means):
    """Normal scores of each critic for each generator; real data has mean 0."""
    found = {}
    for c, row in means.items():
        for player, mean in {Player(SCALE): 0.0, Player(REALS): 0.0, **row}.items():
            noise = torch.randn(N, generator=Rng(0).stream(f"{c.name} {player.name}"))
            found[c, player] = noise + mean
    return found


def test_generators_that_fool_different_critics_are_mixed_evenly():
    best = best_mixture(scores({D1: {G1: 0.5, G2: -3.0}, D2: {G1: -3.0, G2: 0.5}}))
    assert set(best.generators) == {G1, G2}
    assert best.generators[G1] == pytest.approx(0.5, abs=0.05)
    assert best.critics[D1] == pytest.approx(0.5, abs=0.05)
    # Alone each is seen through; together they win a third: the mean of Phi(0.35) and Phi(-2.1).
    assert best.alone.value == pytest.approx(0.017, abs=0.02)
    assert best.mixed.value == pytest.approx((0.638 + 0.017) / 2, abs=0.05)
    assert 0 < best.gain.low < best.gain.value < best.gain.high


def test_a_generator_that_is_best_for_all_plays_alone():
    best = best_mixture(scores({D1: {G1: -2.0, G2: -0.2}, D2: {G1: -1.0, G2: 0.1}}))
    assert best.generators == {G2: 1.0}
    assert best.single == G2
    assert best.critics == {D1: 1.0}
    assert best.gain.value == 0


def test_what_is_chosen_on_one_half_is_judged_on_the_other():
    """Of many equal generators some look better by chance; on fresh samples they are not."""
    rows = {Player("g", i): -1.0 for i in range(12)}
    best = best_mixture(scores({Player("d", j): rows for j in range(4)}))
    fair = 0.2398  # Phi(-1 / sqrt 2)
    assert best.mixed.low < fair < best.mixed.high


def test_a_pool_takes_samples_by_weight():
    samples = {Player("a", 1): torch.zeros(100, 2), Player("b", 1): torch.ones(100, 2)}
    x = pooled(samples, {Player("a", 1): 0.25, Player("b", 1): 0.75})
    assert x.shape == (100, 2)
    assert float(x.mean()) == 0.75
