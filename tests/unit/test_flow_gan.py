import math

import pytest
import torch

from gantlet.compute.meters import count
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Adversarial, Invertible
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models.flow import Flow
from gantlet.models.flow_gan import FlowGan
from gantlet.models.gan import energy_distance
from gantlet.run.train import Plan, train
from gantlet.testing import check_family
from gantlet.testing.contracts import made_up

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)
COLOUR = Space("image", (3, 16, 16), 256)
SMALL = {"width": 16, "layers": 2, "critic_width": 16}


def stream(name="test"):
    return Rng(0).stream(name)


def build(space, **options):
    return FlowGan(**{**SMALL, **options}).build(space, rng=Rng(0))


def prepared(space, **options):
    game = build(space, **options)
    game.prepare(made_up(space, 64), rng=stream("prepare"))
    return game


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (PLANE, {}),
        (PLANE, {"coupling": "spline", "weight": 0.0}),
        (PLANE, {"coupling": "planar", "weight": 0.1}),
        (DIGITS, {"weight": 0.0}),
        (DIGITS, {"weight": math.inf}),
        (DIGITS, {"spectral": True, "loss": "hinge", "penalty": "none"}),
        (COLOUR, {"weight": 10.0}),
    ],
    ids=str,
)
def test_flow_gan_keeps_the_contract(space, options):
    check_family(FlowGan(**{**SMALL, **options}), space, n=8)


@pytest.mark.parametrize("space", [PLANE, DIGITS, COLOUR], ids=lambda s: s.label)
def test_an_infinite_weight_is_the_flow_itself(space):
    options = {"width": 16, "layers": 2}
    # Of images in colour a flow by itself would take patches.
    flow = Flow(**options, arch="glow" if space == COLOUR else "auto").build(space, rng=Rng(0))
    hybrid = build(space, weight=math.inf)
    assert list(hybrid.players) == ["flow"]
    x = made_up(space, 32)
    for game in (flow, hybrid):
        game.prepare(x, rng=stream("prepare"))
    assert torch.equal(*(g.loss("flow", x, rng=stream()) for g in (flow, hybrid)))
    assert torch.equal(*(g.validate(x, rng=stream()) for g in (flow, hybrid)))
    assert FlowGan(weight=math.inf).solver == Flow().solver
    assert FlowGan().ema == Flow().ema


def test_the_flow_starts_as_the_same_flow_whatever_the_weight():
    first, *others = (build(DIGITS, weight=w).model for w in (math.inf, 0.0, 1.0))
    for other in others:
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_it_is_a_game_of_critic_and_flow():
    game = build(DIGITS)
    assert isinstance(game, Adversarial)
    assert isinstance(game.model, Invertible)
    assert list(game.players) == ["critic", "flow"]
    assert game.players["flow"] is game.model
    with pytest.raises(UserError, match=r"Unknown player 'flov'\. Did you mean 'flow'"):
        game.loss("flov", made_up(DIGITS, 4), rng=stream())


def test_the_loss_is_adversarial_plus_weight_times_bits():
    x = made_up(DIGITS, 16)
    games = {w: prepared(DIGITS, weight=w) for w in (0.0, 0.5, 2.0)}
    loss = {w: game.loss("flow", x, rng=stream()).item() for w, game in games.items()}
    bits = (loss[2.0] - loss[0.0]) / 2
    assert loss[0.5] == pytest.approx(loss[0.0] + 0.5 * bits, rel=1e-4)
    assert bits == pytest.approx(games[0.5].validate(x, rng=stream()).item(), rel=0.05)
    critic = [game.loss("critic", x, rng=stream()) for game in games.values()]
    assert torch.equal(critic[0], critic[1])
    assert torch.equal(critic[0], critic[2])


def test_the_adversarial_part_is_that_of_its_formula():
    game = prepared(DIGITS, weight=0.0, gamma=0.0)
    x = made_up(DIGITS, 16)
    scaling, rng = game.model.scaling, stream()
    with torch.no_grad():
        real = scaling.dequantise(x, rng=rng)
        z = torch.randn(16, 64, generator=rng)
        fake = game.model.decode(z)
        # The critic takes samples; half a level below lies what it sees as this number.
        gap = game.critic(real - 0.5) - game.critic(fake - 0.5)
    softplus = torch.nn.functional.softplus
    found = [game.loss(name, x, rng=stream()) for name in ("critic", "flow")]
    torch.testing.assert_close(found[0], softplus(-gap).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], softplus(gap).mean(), atol=1e-5, rtol=1e-5)


def test_each_loss_moves_its_own_player_alone():
    game = prepared(DIGITS)
    x = made_up(DIGITS, 8)
    loss = game.loss("critic", x, rng=stream())
    reached = torch.autograd.grad(loss, list(game.model.parameters()), allow_unused=True)
    assert all(g is None for g in reached)


def test_the_critic_scores_samples_higher_once_it_has_learnt():
    game = prepared(DIGITS, weight=0.0, gamma=0.0)
    x = made_up(DIGITS, 64)
    critic = torch.optim.Adam(game.players["critic"].parameters(), 0.01)
    for _ in range(30):
        critic.zero_grad()
        game.loss("critic", x, rng=stream()).backward()
        critic.step()
    fake = game.model.sample(64, rng=stream())
    scores = [game.critic(sample) for sample in (x, fake)]
    assert scores[0].shape == (64,)
    assert scores[0].mean() > scores[1].mean()


def test_validation_is_bits_with_a_weight_and_energy_without():
    x = made_up(DIGITS, 32)
    purely = prepared(DIGITS, weight=0.0)
    fake = purely.model.sample(32, rng=stream())
    scaling = purely.model.scaling
    expected = energy_distance(scaling(x), scaling(fake))
    torch.testing.assert_close(purely.validate(x, rng=stream()), expected)
    hybrid, flow = prepared(DIGITS, weight=0.1), prepared(DIGITS, weight=math.inf)
    assert torch.equal(*(game.validate(x, rng=stream()) for game in (hybrid, flow)))


def test_without_weight_no_likelihood_is_paid_for():
    def cost(weight):
        game, x = build(DIGITS, weight=weight), made_up(DIGITS, 8)
        return count(lambda: game.loss("flow", x, rng=stream())).flops

    assert cost(0.0) < cost(1.0)
    assert cost(math.inf) < cost(1.0)


@pytest.mark.parametrize(
    ("weight", "told"), [(-1.0, "from 0 to inf"), (math.nan, "must be a finite number")]
)
def test_a_weight_below_zero_is_refused(weight, told):
    with pytest.raises(UserError, match="from 0 to inf"):
        FlowGan(weight=weight).build(DIGITS, rng=Rng(0))
    with pytest.raises(UserError, match=told):
        families.make(f"flow-gan:weight={weight}")


def test_it_has_a_written_form():
    assert families.make("flow-gan:weight=inf") == FlowGan(weight=math.inf)
    assert "weight=inf" in families.resolve("flow-gan:weight=inf")
    assert families.make(families.resolve("flow-gan:weight=inf")) == FlowGan(weight=math.inf)
    for weight in (0.0, 1.0, math.inf):
        game = build(DIGITS, weight=weight)
        solvers.make(FlowGan(weight=weight).solver).start(game)


def digits():
    import numpy as np
    from sklearn.datasets import load_digits

    order = np.random.RandomState(0).permutation(1797)
    x = torch.tensor(load_digits().images, dtype=torch.float32)[order].unsqueeze(1)
    parts = [InMemory(part) for part in (x[:1257], x[1257:1437], x[1437:])]
    return Splits(train=parts[0], validation=parts[1], test=parts[2])


@pytest.mark.slow
def test_on_digits_likelihood_is_lost_without_its_weight_and_kept_with_it():
    data, bits = digits(), {}
    for weight in (0.0, 1.0):
        family = FlowGan(weight=weight)
        game = family.build(DIGITS, rng=Rng(0))
        plan = Plan(budget=Budget(flops=2e11), ema=family.ema)
        train(game, solvers.make(family.solver), data, plan, rng=Rng(0))
        value = game.model.log_prob(data.test.take(torch.arange(360)), rng=stream()).value
        bits[weight] = -value.mean().item() / (64 * math.log(2))
    assert bits[0.0] > 5
    assert bits[1.0] < 2.25
