from functools import cache

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.equilibria import (
    equilibrium,
    exploitability,
    fictitious_play,
    hedge,
    uniform,
    value,
)
from toy_games import Matrix

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)

# Rows begin at odds of exp(0.5), columns at odds of exp(0.8).
START = (torch.tensor([0.5, 0.0]), torch.tensor([0.8, 0.0]))


@cache
def _course(method):
    if method == "fictitious":
        return fictitious_play(PENNIES, rounds=10_000)
    optimistic = method == "optimistic"
    return hedge(PENNIES, step=0.1, rounds=10_000, logits=START, optimistic=optimistic)


# Measured apart from this code, for the same step and starts.
@pytest.mark.parametrize(
    ("method", "which", "digits", "gaps"),
    [
        ("hedge", "last", 2, (0.92, 1.50, 2.00)),
        ("hedge", "average", 3, (0.166, 0.045, 0.014)),
        ("optimistic", "last", 3, (0.365, 0.004, 0.000)),
        ("fictitious", "average", 3, (0.140, 0.044, 0.014)),
    ],
)
def test_matching_pennies(method, which, digits, gaps):
    course = _course(method)
    found = [getattr(course, which)(10**k) for k in (2, 3, 4)]
    assert tuple(round(gap, digits) for gap in found) == gaps


def test_fictitious_play_slows_like_the_root_of_the_rounds():
    course = _course("fictitious")
    assert course.average(100) / course.average(10_000) == pytest.approx(10, rel=0.1)


def test_fictitious_play_answers_with_the_best_pure_strategy():
    payoff = torch.randn(4, 5, generator=Rng(1).stream("payoff"), dtype=torch.float64)
    course = fictitious_play(payoff, rounds=30)
    for t in range(1, 30):
        past = course.columns[:t].sum(0)
        assert int(course.rows[t].argmax()) == int((payoff @ past).argmin())


def _steps(i, n):
    """How many steps along the circle of ``n`` every strategy is from strategy ``i``."""
    return [(j - i) % n for j in range(n)]


@pytest.mark.parametrize("n", [3, 5])
def test_rock_paper_scissors_and_its_five_strategies(n):
    payoff = torch.tensor([[(0, 1, -1)[k and 2 - k % 2] for k in _steps(i, n)] for i in range(n)])
    found = equilibrium(payoff)
    assert found.rows.tolist() == pytest.approx([1 / n] * n)
    assert found.columns.tolist() == pytest.approx([1 / n] * n)
    assert found.value == pytest.approx(0, abs=1e-12)


def test_a_saddle_point_is_found_pure():
    payoff = torch.tensor([[3.0, 1.0, 4.0], [9.0, 2.0, 6.0], [5.0, 0.5, 8.0]])
    found = equilibrium(payoff.T)  # Row 1 is largest nowhere above 2 in its column's minimum.
    assert [int((side > 0).sum()) for side in (found.rows, found.columns)] == [1, 1]
    assert found.value == max(payoff.min(1).values).item() == min(payoff.max(0).values).item()


def test_two_by_two_in_closed_form():
    a, b, c, d = 3.0, -1.0, -2.0, 4.0
    found = equilibrium(torch.tensor([[a, b], [c, d]]))
    total = a + d - b - c
    assert found.rows[0].item() == pytest.approx((d - c) / total)
    assert found.columns[0].item() == pytest.approx((d - b) / total)
    assert found.value == pytest.approx((a * d - b * c) / total)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_random_game_is_solved_to_the_last_digits(scale):
    payoff = scale * torch.randn(50, 40, generator=Rng(0).stream("payoff"), dtype=torch.float64)
    found = equilibrium(payoff)
    assert 0 <= found.gap / scale < 1e-9
    assert found.value == pytest.approx(value(payoff, found.rows, found.columns))
    worst = exploitability(payoff, uniform(50), uniform(40))
    assert worst > 0.1 * scale


def test_a_payoff_must_be_a_matrix_of_numbers():
    with pytest.raises(UserError, match=r"must be a matrix of rows and columns. Got shape \(3,\)"):
        equilibrium(torch.zeros(3))
    with pytest.raises(UserError, match="must hold finite numbers"):
        equilibrium(torch.tensor([[1.0, float("nan")]]))


def test_gradient_players_of_pennies_circle_alternating_and_diverge_with_momentum():
    """Near the centre the field is that of x y / 4: alternating steps keep their distance."""

    def norm(solver):
        game = Matrix(PENNIES, *(x.double() / 10 for x in START))
        play = solvers.make(solver).start(game)
        for _ in range(500):
            play.step(torch.zeros(play.batches, 1), rng=Rng(0).stream("x"))
        return game.gap

    start = Matrix(PENNIES, *(x.double() / 10 for x in START)).gap
    assert norm("sgd:lr=0.1") == pytest.approx(start, rel=0.4)
    assert norm("sgd:lr=0.1,momentum=0.9") > 5 * start


def test_the_gradient_of_a_matrix_game_is_that_of_its_expected_payoff():
    payoff = torch.randn(3, 2, generator=Rng(2).stream("payoff"), dtype=torch.float64)
    game = Matrix(
        payoff,
        torch.randn(3, generator=Rng(3).stream("x"), dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    x, y = (s.detach() for s in game.strategies)
    (point,) = game.players["rows"].parameters()
    loss = game.loss("rows", torch.zeros(1, 1), rng=Rng(0).stream("x"))
    (gradient,) = torch.autograd.grad(loss, [point])
    costs = payoff @ y
    assert torch.allclose(gradient, x * (costs - x @ costs))
    assert game.loss("columns", torch.zeros(1, 1), rng=Rng(0).stream("x")) == -loss
