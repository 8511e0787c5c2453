"""Matchings of minibatches, against brute force and closed forms."""

import itertools
import math

import pytest
import torch
from scipy.special import logsumexp
from torch.nn.functional import normalize

from gantlet.compute.meters import count, pretend
from gantlet.core.rng import Rng
from gantlet.models.matching import (
    Exact,
    Sinkhorn,
    assignment,
    cosine_cost,
    minibatch_energy_distance,
    sinkhorn,
    sinkhorn_divergence,
    square_cost,
)


def stream(name="test"):
    return Rng(0).stream(name)


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=stream(name), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_an_assignment_is_the_best_of_all_permutations(n):
    costs = draw(5, n, n, name=str(n))
    for table, columns, found in zip(costs, assignment(costs), Exact().cost(costs), strict=True):
        every = [sum(table[i, j] for i, j in enumerate(p)) / n
                 for p in itertools.permutations(range(n))]  # fmt: skip
        assert float(found) == pytest.approx(float(min(every)), rel=1e-12)
        assert sorted(columns.tolist()) == list(range(n))


def test_on_a_line_the_best_assignment_keeps_the_order():
    x, y = draw(50, 1, name="a"), draw(50, 1, name="b")
    sorted_pairs = (x.sort(0).values - y.sort(0).values).square().mean() / 2
    assert float(Exact().cost(square_cost(x, y)[None])) == pytest.approx(float(sorted_pairs))


def test_plans_have_their_marginals_and_the_gibbs_form():
    cost = draw(2, 7, 5).square()
    logs = sinkhorn(cost, 0.3, 500)
    plan = logs.exp()
    assert torch.allclose(plan.sum(-1), torch.full((2, 7), 1 / 7, dtype=torch.float64))
    assert torch.allclose(plan.sum(-2), torch.full((2, 5), 1 / 5, dtype=torch.float64))
    # log P + C / epsilon is a sum of a row's and a column's number: it has no interaction.
    rest = logs + cost / 0.3
    both = rest - rest.mean(-1, keepdim=True) - rest.mean(-2, keepdim=True)
    assert torch.allclose(both, -rest.mean((-1, -2), keepdim=True).expand_as(both))


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
def test_two_points_have_a_closed_form(epsilon):
    """Of 2x2 plans [[p, 1/2 - p], [1/2 - p, p]], the odds follow from the cost."""
    cost = torch.tensor([[0.1, 0.9], [0.7, 0.3]], dtype=torch.float64)
    gap = (cost[0, 0] + cost[1, 1] - cost[0, 1] - cost[1, 0]) / 2
    p = 0.5 / (1 + math.exp(float(gap) / epsilon))
    plan = sinkhorn(cost[None], epsilon, 2000).exp()[0]
    assert float(plan[0, 0]) == pytest.approx(p, rel=1e-9)
    table = [[p, 0.5 - p], [0.5 - p, p]]
    value = sum(
        table[i][j] * (float(cost[i, j]) + epsilon * math.log(4 * table[i][j]))
        for i in range(2)
        for j in range(2)
    )
    assert float(Sinkhorn(epsilon, 2000).cost(cost[None])) == pytest.approx(value, rel=1e-9)


def test_with_little_entropy_sinkhorn_is_exact():
    cost = cosine_cost(draw(30, 4, name="a"), draw(30, 4, name="b"))[None]
    exact = float(Exact().cost(cost))
    errors = []
    for epsilon in (0.1, 0.02, 0.005):
        logs = sinkhorn(cost, epsilon, 2000)
        errors.append(float((logs.exp() * cost).sum()) - exact)
    # A plan that is not yet quite one may undercut the optimum by its error.
    assert errors[0] > errors[1] > errors[2] > -1e-4
    assert errors[2] < 3e-3 < errors[0]


def test_it_is_the_loop_of_the_paper_on_logarithms():
    """The loop as it is usually written: rows and columns of a table are normalised in turn."""
    cost = draw(6, 6).square().numpy()
    table = -cost / 0.2
    for _ in range(40):
        table = table - logsumexp(table, axis=0, keepdims=True)
        table = table - logsumexp(table, axis=1, keepdims=True)
    logs = sinkhorn(torch.from_numpy(cost)[None], 0.2, 40)[0]
    assert torch.allclose(logs + math.log(6), torch.from_numpy(table))


def test_far_costs_neither_overflow_nor_vanish():
    cost = torch.tensor([[[0.0, 2.0], [2.0, 0.0]]])
    found = Sinkhorn(1e-4, 50).cost(cost)
    # A sure plan has the entropy log 2: epsilon log(n^2 / n).
    assert float(found) == pytest.approx(1e-4 * math.log(2), rel=1e-3)


def loss_of(what, real, match):
    """Returns a loss of fakes."""
    if what == "energy":
        return lambda fake: minibatch_energy_distance(real, fake, match)
    return lambda fake: sinkhorn_divergence(real, fake, match, ground=square_cost)


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("energy", Exact()),
        ("energy", Sinkhorn(0.3, 200)),
        ("divergence", Sinkhorn(0.3, 200)),
    ],
    ids=str,
)
def test_gradients_are_those_of_the_value(what, match):
    """Finite differences, though the matching is held fixed: the envelope theorem."""
    real, fake = draw(8, 3, name="real"), draw(8, 3, name="fake").requires_grad_()
    assert torch.autograd.gradcheck(loss_of(what, real, match), fake, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("iterations", [2, 300])
@pytest.mark.parametrize("what", ["energy", "divergence"])
def test_gradients_of_gradients_move_the_plan(what, iterations):
    """Finite differences of the gradient, also where the iterations are far from converged."""
    real, fake = draw(6, 3, name="real"), draw(6, 3, name="fake").requires_grad_()
    loss = loss_of(what, real, Sinkhorn(0.2, iterations))
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(loss, fake, one, eps=1e-6, atol=1e-6)


def test_the_curvature_of_two_points_has_a_closed_form():
    """With 2x2 plans [[p, 1/2 - p], [1/2 - p, p]]: dp/dC follows from the odds of p."""
    cost = torch.tensor([[[0.1, 0.9], [0.7, 0.3]]], dtype=torch.float64)
    epsilon = 0.3

    def value(c):
        return Sinkhorn(epsilon, 500).cost(c[None])[0]

    curvature = torch.autograd.functional.hessian(value, cost[0]).reshape(4, 4)
    p = float(sinkhorn(cost, epsilon, 500).exp()[0, 0, 0])
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    # p = sigmoid(-gap / epsilon) / 2 with gap = sign . C / 2.
    slope = -2 * p * (1 - 2 * p) / (4 * epsilon)
    assert torch.allclose(curvature, slope * sign[:, None] * sign)


def sphere(n, rng):
    return normalize(torch.randn(n, 8, generator=rng, dtype=torch.float64), dim=1)


@pytest.mark.parametrize(("n", "times"), [(16, 400), (64, 60)])
def test_the_minibatch_energy_distance_of_a_distribution_to_itself_is_zero_on_average(n, times):
    rng = stream(f"sphere {n}")
    apart, plain = [], []
    for _ in range(times):
        x, y = sphere(2 * n, rng), sphere(2 * n, rng)
        apart.append(minibatch_energy_distance(x, y, Exact()))
        plain.append(Exact().cost(cosine_cost(x[:n], y[:n])[None])[0])
    mean, error = (float(v) for v in (torch.stack(apart).mean(), torch.stack(apart).std()))
    assert abs(mean) < 3 * error / times**0.5
    # Transport between two minibatches alone is far from zero.
    assert float(torch.stack(plain).mean()) > 0.25


def test_the_energy_distance_is_that_of_its_six_pairs():
    real, fake = draw(6, 3, name="real"), draw(6, 3, name="fake")
    x, x2, y, y2 = real[:3], real[3:], fake[:3], fake[3:]

    def w(a, b):
        return float(Exact().cost(cosine_cost(a, b)[None]))

    expected = w(x, y) + w(x, y2) + w(x2, y) + w(x2, y2) - 2 * w(x, x2) - 2 * w(y, y2)
    assert float(minibatch_energy_distance(real, fake, Exact())) == pytest.approx(expected)


def test_the_divergence_is_zero_at_equality_and_positive_elsewhere():
    x = draw(10, 2)
    match = Sinkhorn(0.2, 2000)
    assert float(sinkhorn_divergence(x, x, match, ground=square_cost)) == pytest.approx(
        0, abs=1e-9
    )
    for scale in (0.5, 1.5):
        apart = sinkhorn_divergence(x, scale * x + 0.1, match, ground=square_cost)
        assert float(apart) > 1e-3


def test_of_shifted_batches_the_divergence_is_the_square_of_the_shift():
    """A shift moves each sample alike: 2 (|s|^2 / 2d), whatever the entropy."""
    x = draw(20, 3)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = sinkhorn_divergence(x, x + shift, Sinkhorn(0.5, 3000), ground=square_cost)
    assert float(found) == pytest.approx(float(shift.square().sum()) / 3, rel=1e-6)


def test_costs_are_those_of_single_pairs():
    x, y = draw(4, 3, name="a"), draw(5, 3, name="b")
    for i in range(4):
        for j in range(5):
            cos = torch.nn.functional.cosine_similarity(x[i], y[j], dim=0)
            assert torch.isclose(cosine_cost(x, y)[i, j], 1 - cos)
            assert torch.isclose(square_cost(x, y)[i, j], (x[i] - y[j]).square().mean() / 2)


def test_matchings_cost_what_their_formulas_say_with_and_without_numbers():
    def costs(x):
        return count(lambda: assignment(x)).flops, count(lambda: sinkhorn(x, 0.1, 7)).flops

    x = torch.rand(3, 8, 8, generator=stream())
    assert costs(x) == (3 * 8**3, 10 * 3 * 8 * 8 * 7)
    assert costs(x.to("meta")) == costs(x)
    with pretend() as shape:
        assert costs(shape(x)) == costs(x)


def test_numbers_that_are_none_are_left_to_the_loss():
    cost = torch.full((1, 2, 2), float("nan"))
    assert not Exact().cost(cost).isfinite().any()
