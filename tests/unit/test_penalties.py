import pytest
import torch
from torch import nn

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.models.gan import critic as make_critic
from gantlet.models.losses import PENALTIES, AdversarialObjective, Scored
from gantlet.models.nets import mlp, seeded

W = torch.tensor([[[1.0, -2.0], [0.5, 2.0]]])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def penalty(name, critic, real, fake, seed=0):
    judged = Scored.by(critic, real), Scored.by(critic, fake)
    return PENALTIES[name](critic, *judged, rng=rng(seed))


def linear(x):
    return (x * W).flatten(1).sum(1)


def quadratic(x):
    return x.flatten(1).square().sum(1) / 2


def smooth_critic():
    with seeded(rng()):
        net = nn.Sequential(nn.Flatten(), mlp(4, 16, 16, 1, activation=nn.Softplus))
    return net.double()


def test_a_linear_critic_pays_half_its_squared_weight_at_each_side():
    real, fake = draw(5, 1, 2, 2), draw(5, 1, 2, 2, seed=1)
    half = W.square().sum().item() / 2
    assert penalty("none", linear, real, fake).item() == 0
    assert penalty("r1", linear, real, fake).item() == pytest.approx(half)
    assert penalty("r2", linear, real, fake).item() == pytest.approx(half)
    assert penalty("r1r2", linear, real, fake).item() == pytest.approx(2 * half)
    # The norm is over all components of a sample: sqrt(9.25), not a mean of norms of rows.
    gp = (W.norm().item() - 1) ** 2 / 2
    assert penalty("gp", linear, real, fake).item() == pytest.approx(gp)


def test_a_quadratic_critic_pays_half_the_mean_square_of_the_samples():
    real, fake = draw(7, 1, 2, 2), 3 * draw(7, 1, 2, 2, seed=1)
    r1, r2 = (x.flatten(1).square().sum(1).mean().item() / 2 for x in (real, fake))
    assert penalty("r1", quadratic, real, fake).item() == pytest.approx(r1)
    assert penalty("r2", quadratic, real, fake).item() == pytest.approx(r2)
    assert penalty("r1r2", quadratic, real, fake).item() == pytest.approx(r1 + r2)


def test_gradient_penalty_looks_at_uniform_points_between_real_and_fake():
    real, fake = torch.zeros(20_000, 3), torch.zeros(20_000, 3)
    fake[:, 0] = 2.0
    # The slope at t of the way is 2t long, t uniform: E (2t - 1)^2 = 1/3.
    assert penalty("gp", quadratic, real, fake).item() == pytest.approx(1 / 6, rel=0.03)
    assert penalty("gp", quadratic, real, fake) == penalty("gp", quadratic, real, fake)
    assert penalty("gp", quadratic, real, fake) != penalty("gp", quadratic, real, fake, seed=1)


def test_gradient_penalty_of_a_flat_critic_has_a_finite_gradient():
    w = torch.zeros(2, requires_grad=True)
    value = penalty("gp", lambda x: x @ w, draw(3, 2), draw(3, 2, seed=1))
    assert value.item() == pytest.approx(0.5)
    assert torch.autograd.grad(value, w)[0].isfinite().all()


@pytest.mark.parametrize("name", ["r1", "r2", "r1r2", "gp"])
def test_penalties_agree_with_a_slow_twin_one_sample_at_a_time(name):
    net = smooth_critic()

    def critic(x):
        return net(x).squeeze(1)

    real, fake = draw(6, 1, 2, 2).double(), draw(6, 1, 2, 2, seed=1).double()

    def slope(x):
        leaf = x[None].clone().requires_grad_()
        return torch.autograd.grad(critic(leaf).sum(), leaf, create_graph=True)[0]

    t = torch.rand((6, 1, 1, 1), generator=rng(), dtype=torch.float64)
    between = t * real + (1 - t) * fake
    terms = {
        "r1": [slope(x).square().sum() for x in real],
        "r2": [slope(x).square().sum() for x in fake],
        "r1r2": [slope(x).square().sum() for x in [*real, *fake]],
        "gp": [(slope(x).square().sum().sqrt() - 1).square() for x in between],
    }
    slow = sum(terms[name]) / 6 / 2
    fast = penalty(name, critic, real, fake)
    weights = [p for p in net.parameters() if p.ndim > 1]
    assert torch.allclose(fast, slow, atol=1e-12)
    found, expected = (torch.autograd.grad(value, weights) for value in (fast, slow))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_the_weight_of_a_penalty_is_gamma_over_two():
    real, fake = draw(5, 1, 2, 2), draw(5, 1, 2, 2, seed=1)
    bare = AdversarialObjective(loss="wgan", penalty="none").critic(linear, real, fake, rng=rng())
    full = AdversarialObjective(loss="wgan", penalty="r1", gamma=10.0).critic(
        linear, real, fake, rng=rng()
    )
    assert (full - bare).item() == pytest.approx(5 * W.square().sum().item(), rel=1e-5)


def test_penalties_are_summed_in_single_precision_or_better():
    x = torch.full((2, 4), 200.0)
    assert penalty("r1", quadratic, x.bfloat16(), x.bfloat16()).dtype is torch.float32
    assert penalty("r1", quadratic, x.double(), x.double()).dtype is torch.float64
    # 200^2 * 4 / 2 is beyond half precision.
    assert penalty("r1", lambda h: quadratic(h.float()), x.half(), x.half()).item() == 80_000


def test_samples_may_be_leaves_or_not_and_are_not_touched():
    w = torch.ones(2, requires_grad=True)
    real = draw(3, 2).requires_grad_()
    fake = (w * 2) * draw(3, 2, seed=1)
    loss = AdversarialObjective().critic(lambda x: x @ w, real, fake, rng=rng())
    assert torch.autograd.grad(loss, real, allow_unused=True) == (None,)
    assert real.grad is None


def test_the_generator_is_not_differentiated_in_the_loss_of_the_critic():
    w, source = torch.ones(2, requires_grad=True), draw(3, 2, seed=1).requires_grad_()
    loss = AdversarialObjective().critic(lambda x: x @ w, draw(3, 2), source * 2, rng=rng())
    assert torch.autograd.grad(loss, source, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    ("name", "bound"), [("none", 6), ("r1", 9), ("r2", 9), ("r1r2", 12), ("gp", 12)]
)
def test_cost_of_a_critic_step_in_forward_passes(name, bound):
    space = Space("image", (3, 16, 16))
    with seeded(rng()):
        critic = make_critic(space, width=64, depth=1, net="conv")
    real, fake = draw(4, *space.shape), draw(4, *space.shape, seed=1)
    forward = count(lambda: critic(real)).flops
    rules, parameters = AdversarialObjective(penalty=name), list(critic.parameters())
    step = count(
        lambda: torch.autograd.grad(rules.critic(critic, real, fake, rng=rng()), parameters)
    ).flops
    # The gradient in the input of the first layer is never needed: a little below the bound.
    assert 0.95 * bound < step / forward <= bound


@pytest.mark.parametrize("every", [2, 4])
def test_a_penalty_on_one_pair_in_so_many_costs_so_many_times_less(every):
    space = Space("image", (3, 16, 16))
    with seeded(rng()):
        critic = make_critic(space, width=64, depth=1, net="conv")
    real, fake = draw(8, *space.shape), draw(8, *space.shape, seed=1)
    rules, parameters = AdversarialObjective(every=every), list(critic.parameters())
    step = count(
        lambda: torch.autograd.grad(rules.critic(critic, real, fake, rng=rng()), parameters)
    ).flops
    bound = 6 + 6 / every
    assert 0.9 * bound < step / count(lambda: critic(real)).flops <= bound


@pytest.mark.parametrize("coupled", [False, True])
def test_a_penalty_on_one_pair_in_three_is_that_of_these_pairs(coupled):
    net = smooth_critic()

    def critic(x):
        return net(x).squeeze(1)

    real, fake = draw(7, 1, 2, 2).double(), draw(7, 1, 2, 2, seed=1).double()
    bare = AdversarialObjective(penalty="none").critic(critic, real, fake, rng=rng())
    some = real[[0, 3, 6]], fake[[0, 3, 6]]
    expected = bare + 5 * penalty("r1r2", critic, *some)
    rules = AdversarialObjective(penalty="r1r2", gamma=5.0, every=3)
    found = rules.critic(critic, real, fake, rng=rng(), coupled=coupled)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    weights = [p for p in net.parameters() if p.ndim > 1]
    pairs = zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    )
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in pairs)


def test_where_nothing_is_penalised_every_changes_nothing():
    real, fake = draw(7, 1, 2, 2), draw(7, 1, 2, 2, seed=1)
    for options in ({"penalty": "none"}, {"gamma": 0.0}):
        one, other = (
            AdversarialObjective(every=k, **options).critic(linear, real, fake, rng=rng())
            for k in (1, 4)
        )
        assert torch.equal(one, other)


def test_cost_of_a_generator_step_leaves_out_the_critics_weights():
    space = Space("image", (3, 16, 16))
    with seeded(rng()):
        critic = make_critic(space, width=64, depth=1, net="conv")
    real, fake = draw(4, *space.shape), draw(4, *space.shape, seed=1).requires_grad_()
    forward = count(lambda: critic(real)).flops
    for loss, passes in [("relativistic", 3), ("ns", 2)]:
        rules = AdversarialObjective(loss=loss)
        step = count(lambda r=rules: torch.autograd.grad(r.generator(critic, real, fake), fake))
        assert step.flops == pytest.approx(passes * forward, rel=1e-6)
