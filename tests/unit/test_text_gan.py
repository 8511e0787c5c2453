import itertools
import typing

import pytest
import torch
from torch.nn.functional import one_hot

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, families, solvers
from gantlet.models.gan import energy_distance
from gantlet.models.losses import LOSSES, PENALTIES
from gantlet.models.scratch_gan import (
    PrefixCritic,
    ReinforcedGame,
    RolloutCritic,
    advantages,
    discounted_returns,
    zero_one_loss,
)
from gantlet.models.sequence_games import Start, gram_counts
from gantlet.models.text_gan import AutoLoss, AutoPenalty, TextGan
from gantlet.testing import check_family

TOKENS = Space("tokens", (12,), 9)
WALK = Space("walk", (3,), 3)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=3)))
R3 = "loss=relativistic,penalty=r1r2,gamma=0.3"


def shake(*modules, size=0.5):
    rng = Rng(0).stream("shake")
    with torch.no_grad():
        for parameter in itertools.chain(*(m.parameters() for m in modules)):
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=size)


def built(name, space=WALK):
    game = families.make(name).build(space, rng=Rng(0))
    game.prepare(EVERY.float(), rng=Rng(0).stream("prepare"))
    shake(*game.players.values())
    return game


@pytest.mark.parametrize(
    "name",
    [
        "text-gan:net=lstm,loss=hinge,penalty=r1r2,gamma=1",
        "text-gan:start=0",
        "text-gan:likelihood=0.5,start=1",
        "text-gan:estimator=simplex,width=8,blocks=1",
        "scratch-gan:net=lstm",
        "scratch-gan:rollouts=2,width=8,start=1",
        "scratch-gan:verdicts=true",
    ],
)
@pytest.mark.parametrize("space", [TOKENS, WALK], ids=lambda s: s.label)
def test_contract(name, space):
    check_family(families.make(name), space)


@pytest.mark.parametrize(
    ("name", "lr"),
    [
        ("text-gan:start=0,width=16", 0.003),
        (f"text-gan:estimator=simplex,latent=16,width=32,blocks=1,{R3}", 0.003),
        ("scratch-gan:width=16", 0.01),
    ],
)
def test_samples_come_near_those_of_a_chain(name, lr):
    step = torch.tensor([[0.05, 0.9, 0.05], [0.05, 0.05, 0.9], [0.8, 0.1, 0.1]])
    rng = Rng(0).stream("chain")
    x = torch.zeros(1024, 4, dtype=torch.long)
    for t in range(1, 4):
        x[:, t] = torch.multinomial(step[x[:, t - 1]], 1, generator=rng)[:, 0]
    x = x.float()
    game = families.make(name).build(Space("walk", (4,), 3), rng=Rng(0))
    play = solvers.make(f"adam:lr={lr},beta1=0.5,beta2=0.9").start(game)
    before = float(game.validate(x[:256], rng=Rng(0).stream("v")))
    for i in range(100 if "start" in name else 150):
        play.step(x[(torch.arange(64) + 64 * i) % 1024], rng=Rng(i).stream("step"))
    assert float(game.validate(x[:256], rng=Rng(0).stream("v"))) < before / 10


def test_likelihood_comes_first_and_is_counted_with_the_critic():
    game = built("text-gan:start=1,likelihood=0.25")
    batch = EVERY[:9].float()
    own = list(game.model.parameters())

    def slope():
        loss = game.loss("generator", batch, rng=Rng(0).stream("loss"))
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, own)])

    nll = -game.model.log_prob(batch, rng=Rng(0).stream("t")).value.mean() / 3
    likely = torch.cat([g.flatten() for g in torch.autograd.grad(nll, own)])
    torch.testing.assert_close(slope(), likely)
    assert game.remembers
    game.advance(rng=Rng(0).stream("t"))
    assert "start.made" in game.players["critic"].state_dict()
    bare = built("text-gan:start=0")
    assert not bare.remembers
    loss = bare.loss("generator", batch, rng=Rng(0).stream("loss"))
    adversarial = torch.autograd.grad(loss, list(bare.model.parameters()))
    wanted = torch.cat([g.flatten() for g in adversarial]) + 0.25 * likely
    torch.testing.assert_close(slope(), wanted, rtol=1e-4, atol=1e-6)


def test_the_penalty_is_on_the_slope_in_the_space_of_indicators():
    """A critic that is linear in indicators has one slope, known from its weights."""
    game = built("text-gan:estimator=simplex,blocks=1,width=4,penalty=r1,gamma=2,loss=wgan")
    critic = game.players["critic"]
    for name, parameter in critic.named_parameters():
        if name.startswith("blocks"):
            torch.nn.init.zeros_(parameter)
    batch = EVERY[:5].float()
    rng = Rng(0).stream("loss")
    with torch.no_grad():
        fake = game.model.probabilities(5, rng=Rng(0).stream("loss"))
        plain = critic(fake).mean() - critic(one_hot(batch.long(), 3).float()).mean()
        slope = critic.out.weight.view(4, 3).T @ critic.embed.weight
    found = game.loss("critic", batch, rng=rng)
    torch.testing.assert_close(found, plain + slope.square().sum())


@pytest.mark.parametrize("name", ["text-gan", "scratch-gan", "mask-gan", "lm"])
def test_every_option_is_read_as_it_is_written(name):
    family = families.make(name)
    assert families.make(str(Spec.of(name, family))) == family
    names = set(typing.get_args(AutoLoss)), set(typing.get_args(AutoPenalty))
    assert names == ({"auto", *LOSSES}, {"auto", *PENALTIES})


def test_a_small_latent_scale_takes_variety_away():
    game = built("text-gan:estimator=simplex,width=16", TOKENS)
    kinds = [
        len(torch.unique(game.model.tuned(t).sample(200, rng=Rng(0).stream("s")), dim=0))
        for t in (1.0, 1e-6)
    ]
    assert kinds[0] > kinds[1] == 1
    with pytest.raises(UserError, match=r"must be above 0\. Got -1"):
        game.model.tuned(-1.0)


def test_a_critic_scores_levels_as_their_indicators():
    game = built("text-gan")
    x = EVERY.float()
    with torch.no_grad():
        found = game.critic(x)
        torch.testing.assert_close(found, game.players["critic"](one_hot(EVERY, 3).float()))


def test_counts_of_grams_see_levels_and_their_order():
    rng = Rng(0).stream("x")
    start = torch.randint(0, 5, (600, 1), generator=rng)
    rising = ((start + torch.arange(8)) % 5).float()
    mixed = torch.stack([row[torch.randperm(8, generator=rng)] for row in rising])
    same = energy_distance(gram_counts(rising[:300]), gram_counts(rising[300:]))
    other = energy_distance(gram_counts(rising[:300]), gram_counts(mixed[300:]))
    assert abs(float(same)) < 0.05
    assert float(other) > 0.3
    one = gram_counts(torch.tensor([[3.0, 1, 4, 1, 5]])) * 5**0.5
    assert one.square().sum() >= 3
    assert gram_counts(torch.zeros(2, 1)).shape == (2, 128)


# Reinforcement.


def exact(game, reward):
    """The gradient of the expected reward of samples, from all of them."""
    net = game.model.net
    p = net.log_probs(EVERY).sum(1).exp()
    return torch.autograd.grad((p * reward).sum(), list(net.parameters()))


def relative_error(found, wanted):
    """The norm of the difference of two gradients, as a share of that of the second."""
    off, size = (
        torch.cat([g.flatten() for g in parts]).norm()
        for parts in ([a - b for a, b in zip(found, wanted, strict=True)], wanted)
    )
    return float(off / size)


def test_the_gradient_of_reinforcement_is_that_of_the_expected_reward():
    game = built("scratch-gan:gamma=1,width=6,embed=3,critic_width=5")
    critic = game.players["critic"]
    with torch.no_grad():
        reward = (2 * critic.scores(EVERY).sigmoid() - 1).sum(1)
    batch = torch.zeros(60_000, 3)
    loss = game.loss("generator", batch, rng=Rng(1).stream("loss"))
    found = torch.autograd.grad(loss, list(game.model.parameters()))
    assert relative_error(found, [-g for g in exact(game, reward)]) < 0.05
    p = game.model.net.log_probs(EVERY).sum(1).exp()
    assert float(loss.detach()) == pytest.approx(-float((p * reward).sum().detach()), abs=0.02)


def test_the_critic_coupled_to_the_generator_sees_which_fakes_it_makes():
    game = built("scratch-gan:width=6,embed=3,critic_width=5")
    critic = game.players["critic"]
    with torch.no_grad():
        each = torch.nn.functional.softplus(critic.scores(EVERY)).mean(1)
    coupled = game.coupled("critic", torch.zeros(60_000, 3), rng=Rng(1).stream("loss"))
    found = torch.autograd.grad(coupled, list(game.model.parameters()))
    assert relative_error(found, exact(game, each)) < 0.05


def test_rollouts_estimate_the_return_of_a_beginning():
    game = built("scratch-gan:rollouts=3000,width=6,embed=3,critic_width=4")
    net, critic = game.model.net, game.players["critic"]
    x = torch.tensor([[2, 0, 1], [0, 0, 0]])
    with torch.no_grad():
        found = critic.returns(net, x, rng=Rng(0).stream("r"))
        each = net.log_probs(EVERY)
        score = critic.scores(EVERY)[:, 0].sigmoid()
        for row in range(2):
            for t in range(3):
                same = (EVERY[:, : t + 1] == x[row, : t + 1]).all(1)
                p = each[same][:, t + 1 :].sum(1).exp()
                assert float(p.sum()) == pytest.approx(1, abs=1e-5)
                assert float(found[row, t]) == pytest.approx(float(p @ score[same]), abs=0.02)


def test_labels_that_are_drawn_estimate_the_slope_of_being_right():
    score = torch.tensor([-1.0, 0.3, 2.0], requires_grad=True)
    many = score.expand(200_000, 3)
    u = torch.rand(many.shape, generator=Rng(0).stream("u"))
    loss = zero_one_loss(many, u, torch.ones_like(many, dtype=torch.bool)).mean(0)
    torch.testing.assert_close(loss, 1 - score.sigmoid(), rtol=0, atol=0.005)
    (found,) = torch.autograd.grad(loss.sum(), score)
    p = score.detach().sigmoid()
    torch.testing.assert_close(found, -p * (1 - p), rtol=0, atol=0.005)


def test_returns_and_advantages_are_what_a_loop_makes_of_them():
    rng = Rng(0).stream("t")
    rewards = torch.randn(5, 4, generator=rng)
    slow = [[sum(0.7 ** (s - t) * r[s] for s in range(t, 4)) for t in range(4)] for r in rewards]
    torch.testing.assert_close(discounted_returns(rewards, 0.7), torch.tensor(slow))
    counted = torch.rand(5, 4, generator=rng) < 0.6
    found = advantages(rewards, counted)
    for t in range(4):
        for i in range(5):
            others = [float(rewards[j, t]) for j in range(5) if j != i and counted[j, t]]
            mean = sum(others) / len(others) if others else 0.0
            wanted = float(rewards[i, t]) - mean if counted[i, t] else 0.0
            assert float(found[i, t]) == pytest.approx(wanted, abs=1e-6)


def test_places_after_the_end_earn_nothing():
    game = families.make("scratch-gan:width=6").build(TOKENS, rng=Rng(0))
    x = torch.tensor([[3.0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]).repeat(4, 1)
    game.prepare(x, rng=Rng(0).stream("p"))
    critic, net = game.players["critic"], game.model.net
    shake(critic)
    assert critic.counted(net, x.long()).sum(1).tolist() == [3] * 4
    with torch.no_grad():
        returns = critic.returns(net, x.long(), rng=Rng(0).stream("w"))
        short = (2 * critic.scores(x[:, :3].long()).sigmoid() - 1) @ torch.tensor([1, 0.9, 0.81])
        torch.testing.assert_close(returns[:, 0], short)
        torch.testing.assert_close(game.critic(x), critic.scores(x[:, :3].long()).mean(1))


def test_kinds_of_critics():
    assert isinstance(built("scratch-gan").players["critic"], PrefixCritic)
    game = built("scratch-gan:rollouts=1")
    assert isinstance(game.players["critic"], RolloutCritic)
    assert isinstance(game, ReinforcedGame)
    assert not Start(0, 0.0).is_needed
    with pytest.raises(UserError, match="Got vector 2"):
        TextGan().build(Space("vector", (2,)), rng=Rng(0))
