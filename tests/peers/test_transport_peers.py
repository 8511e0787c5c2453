"""Another library matches minibatches alike, and differentiates the cost alike."""

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.models.matching import (
    Exact,
    Sinkhorn,
    cosine_cost,
    sinkhorn,
    sinkhorn_divergence,
    square_cost,
)

pytestmark = pytest.mark.peers


@pytest.fixture
def ot():
    return pytest.importorskip("ot")


def draw(*shape, name):
    return torch.randn(*shape, generator=Rng(0).stream(name), dtype=torch.float64)


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 7, 64, 200])
def test_exact_costs_and_gradients_are_those_of_network_flow(ot, n):
    x, y = draw(n, 5, name="x").requires_grad_(), draw(n, 5, name="y")
    ours = Exact().cost(cosine_cost(x, y)[None])[0]
    theirs = ot.emd2(uniform(n), uniform(n), cosine_cost(x, y))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    assert torch.allclose(torch.autograd.grad(ours, x)[0], torch.autograd.grad(theirs, x)[0])


@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_entropic_plans_are_theirs(ot, epsilon):
    cost = square_cost(draw(20, 3, name="x"), draw(20, 3, name="y"))
    ours = sinkhorn(cost[None], epsilon, 5000).exp()[0]
    theirs = ot.sinkhorn(
        uniform(20), uniform(20), cost, epsilon, method="sinkhorn_log", numItermax=5000,
        stopThr=1e-12,
    )  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-8)


def test_the_divergence_is_theirs(ot):
    """From their plans, with the entropy against the uniform plan."""
    x, y, epsilon = draw(15, 2, name="x"), 0.5 * draw(15, 2, name="y"), 0.3
    ours = float(sinkhorn_divergence(x, y, Sinkhorn(epsilon, 3000), ground=square_cost))

    def cost(a, b):
        table = square_cost(a, b)
        plan = ot.sinkhorn(
            uniform(15), uniform(15), table, epsilon, method="sinkhorn_log", numItermax=3000,
            stopThr=1e-12,
        )  # fmt: skip
        return float((plan * table).sum() + epsilon * (plan * (plan * 15**2).log()).sum())

    assert ours == pytest.approx(2 * cost(x, y) - cost(x, x) - cost(y, y), rel=1e-6)
