"""Critics that are hard to fool: adversarial training and ensembles as options of ``gan``."""

import pytest
import torch
from torch import nn

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.attack import Goal, deepfool
from gantlet.games.mixed import respond
from gantlet.models.gan import Gan
from gantlet.models.losses import LOSSES, AdversarialObjective
from gantlet.models.pac_gan import PacGan
from gantlet.models.robust import NORMS, CriticAttack, CriticEnsemble
from gantlet.run.train import Plan, train
from gantlet.testing import check_family
from gantlet.testing.contracts import made_up

PLANE = Space("vector", (2,))
WIDE = Space("vector", (30,))
DIGITS = Space("image", (1, 8, 8), 17)
ATTACKED = {"adversarial": "both", "attack_radius": 0.7, "attack_steps": 2}


def stream(name="test"):
    return Rng(0).stream(name)


def attack(on="both", **options):
    return CriticAttack(**{"on": on, "radius": 0.7, "steps": 3, "norm": "l2", **options})


class Linear(nn.Module):
    """A critic whose worst perturbation is known."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.double))

    def forward(self, x):
        return x @ self.w + 0.3


# ----------------------------------------------------------------------------
# What was there before is as it was.
# ----------------------------------------------------------------------------


def test_a_gan_without_them_is_written_as_before():
    plain = (
        "gan:latent=32,width=128,depth=2,net=auto,loss=relativistic,penalty=r1r2,gamma=0.3,"
        "spectral=false,ema=0.995"
    )
    assert families.resolve("gan") == plain
    assert families.resolve("gan:adversarial=none,critics=1,attack_radius=0.5") == plain
    changed = families.resolve("gan:adversarial=real,attack_norm=linf,critics=2")
    assert changed == f"{plain},adversarial=real,attack_norm=linf,critics=2"


def test_a_gan_without_them_is_trained_as_before():
    """A pack of one sample is the plain game, and has none of these options."""
    x = made_up(DIGITS, 16)
    games = [family.build(DIGITS, rng=Rng(3)) for family in (Gan(), PacGan(pack=1))]
    for game in games:
        play = solvers.make(Gan().solver).start(game)
        for _ in range(3):
            play.step(x, rng=stream())
    for ours, plain in zip(*(g.players.values() for g in games), strict=True):
        pairs = zip(ours.parameters(), plain.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_settings_of_an_attack_need_one():
    with pytest.raises(UserError, match=r"attack_radius .* adversarial=none"):
        families.make("gan:attack_radius=2")
    with pytest.raises(UserError, match="Did you mean 'both'"):
        families.make("gan:adversarial=bot")
    with pytest.raises(UserError, match="above 0"):
        families.make("gan:adversarial=both,attack_radius=0")


# ----------------------------------------------------------------------------
# Adversarial training.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_linear_critic_is_trained_on_its_worst_case(loss, norm):
    """|<w, p>| is at most the radius times the dual norm of w, and its gradient is known."""
    critic = Linear()
    real, fake = (torch.randn(6, 3, generator=stream(n)).double() for n in "ab")
    size = 0.7 * torch.linalg.vector_norm(critic.w, 2 if norm == "l2" else 1)
    expected = LOSSES[loss].critic(critic(real) - size, critic(fake) + size)
    (slope,) = torch.autograd.grad(expected, critic.w)
    rules = AdversarialObjective(loss=loss, penalty="none", attack=attack(norm=norm))
    found = rules.critic(critic, real, fake, rng=stream())
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(found, critic.w)[0], slope, rtol=1e-5)


@pytest.mark.parametrize(("on", "moved"), [("real", (1, 0)), ("fake", (0, 1)), ("both", (1, 1))])
def test_the_side_that_is_named_is_attacked(on, moved):
    critic = Linear()
    sides = [torch.randn(6, 3, generator=stream(n)).double() for n in "ab"]
    seen = attack(on)(critic, *sides)
    for x, y, is_moved, sign in zip(sides, seen, moved, (-1, 1), strict=True):
        step = (critic(y) - critic(x)).detach()
        assert torch.allclose(step, torch.full_like(step, sign * is_moved * 0.7 * 21**0.5 / 2))


def test_a_network_is_attacked_within_the_radius_and_for_the_worse():
    game = Gan(**ATTACKED).build(DIGITS, rng=Rng(0))
    critic = game.players["critic"]
    real, fake = (torch.randn(9, 1, 8, 8, generator=stream(n)) for n in "ab")
    x, y = attack("both", steps=5)(critic, real, fake)
    assert ((x - real).flatten(1).norm(dim=1) <= 0.7 + 1e-5).all()
    assert ((y - fake).flatten(1).norm(dim=1) <= 0.7 + 1e-5).all()
    assert (critic(x) < critic(real)).all()
    assert (critic(y) > critic(fake)).all()
    assert all(p.grad is None for p in critic.parameters())


def test_where_all_players_are_differentiated_the_attack_counts_as_given():
    game = Gan(**ATTACKED, penalty="none").build(PLANE, rng=Rng(0))
    x = made_up(PLANE, 8)
    weights = list(game.players["generator"].parameters())
    coupled = game.coupled("critic", x, rng=stream())
    assert any(g.abs().sum() > 0 for g in torch.autograd.grad(coupled, weights))
    loss = game.loss("critic", x, rng=stream())
    assert set(torch.autograd.grad(loss, weights, allow_unused=True)) == {None}


@pytest.mark.parametrize(("on", "sides"), [("real", 1), ("both", 2)])
def test_the_meter_counts_the_attack(on, sides):
    """A forward and a backward pass for each step, and a forward pass at the end."""
    x = made_up(DIGITS, 4)

    def cost(**options):
        game = Gan(penalty="none", **options).build(DIGITS, rng=Rng(0))
        parameters = list(game.players["critic"].parameters())
        found = count(
            lambda: torch.autograd.grad(game.loss("critic", x, rng=stream()), parameters)
        )
        return found.flops, count(lambda: game.players["critic"](x)).flops

    plain, forward = cost()
    for steps in (1, 4):
        attacked, _ = cost(adversarial=on, attack_steps=steps)
        assert attacked - plain == sides * (1 + 2 * steps) * forward


@pytest.mark.parametrize(
    "options",
    [
        ATTACKED,
        {**ATTACKED, "adversarial": "real", "attack_norm": "linf", "spectral": True},
        {**ATTACKED, "critics": 2, "penalty": "gp", "loss": "wgan"},
        {"critics": 3, "net": "conv", "width": 16, "depth": 1},
    ],
    ids=str,
)
def test_they_keep_the_contract(options):
    check_family(Gan(**options), DIGITS, n=8)


def trained(options, seed, steps=150):
    space = datasets.make("ring:n=600,held_out=64").space
    splits = datasets.make("ring:n=600,held_out=64").load(rng=Rng(seed))
    family = Gan(width=32, loss="ns", penalty="none", **options)
    game = family.build(space, rng=Rng(seed))
    plan = Plan(budget=Budget(steps=steps), batch=32, ema=0.0, validations=1, select="last")
    train(game, solvers.make(family.solver), splits, plan, rng=Rng(seed))
    return game


def test_the_same_seed_gives_the_same_training():
    a, b = (trained(ATTACKED | {"critics": 2}, 0, steps=20) for _ in range(2))
    pairs = zip(a.players["critic"].parameters(), b.players["critic"].parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)


def distance_to_real(seed, **adversarial):
    """The median distance at which fakes look real to a critic of a generator that stays."""
    rng = Rng(seed)
    game = Gan(width=32, loss="ns", penalty="none", **adversarial).build(WIDE, rng=rng)
    x = torch.randn(200, 30, generator=rng.stream("real"))
    game.prepare(x, rng=rng.stream("prepare"))
    respond(game, "critic", x, steps=100, lr=3e-3, rng=rng, batch=64)
    critic, model = game.players["critic"], game.model
    fake = model.scaling(model.sample(100, rng=rng.stream("test")))
    fooled = deepfool(critic, fake, Goal(), steps=20)
    return fooled.distance[critic(fake) < 0].median().item()


def test_a_critic_that_was_trained_so_is_harder_to_fool():
    """Fakes have to go further to look real, by the nearest point of DeepFool, for every seed."""
    hard = {"adversarial": "both", "attack_radius": 2.0}
    pairs = [(distance_to_real(seed), distance_to_real(seed, **hard)) for seed in range(2)]
    assert all(robust > 1.2 * plain for plain, robust in pairs), pairs


# ----------------------------------------------------------------------------
# Ensembles of critics.
# ----------------------------------------------------------------------------


def test_an_ensemble_begins_with_the_critic_of_a_gan():
    one, three = (Gan(critics=k).build(DIGITS, rng=Rng(0)) for k in (1, 3))
    assert list(three.players) == ["critic", "generator"]
    ensemble = three.players["critic"]
    assert isinstance(ensemble, CriticEnsemble)
    same = zip(one.players["critic"].parameters(), ensemble.members[0].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    weights = zip(one.model.parameters(), three.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    firsts = [m.body[1][0].weight for m in ensemble.members]
    assert not torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_its_losses_are_the_means_of_those_of_its_members(player):
    game = Gan(critics=3).build(DIGITS, rng=Rng(0))
    ensemble, rules = game.players["critic"], Gan().rules
    real, fake = (torch.randn(5, 1, 8, 8, generator=stream(n)) for n in "ab")
    if player == "critic":
        each = [rules.critic(m, real, fake, rng=stream()) for m in ensemble.members]
        whole = rules.critic(ensemble, real, fake, rng=stream())
    else:
        each = [rules.generator(m, real, fake) for m in ensemble.members]
        whole = rules.generator(ensemble, real, fake)
    assert whole.item() == pytest.approx(sum(e.item() for e in each) / 3)


def test_its_score_is_the_mean_of_theirs():
    game = Gan(critics=3).build(DIGITS, rng=Rng(0))
    x = made_up(DIGITS, 4)
    seen = game.model.scaling(x + 0.5)
    scores = torch.stack([m(seen) for m in game.players["critic"].members])
    assert torch.allclose(game.critic(x), scores.mean(0), atol=1e-6)


def test_each_member_is_attacked_by_itself():
    """The mean of the members' worst cases, not the worst case of their mean score."""
    members = [Linear(), Linear()]
    members[1].w.data.neg_()
    ensemble = CriticEnsemble(members)
    real, fake = (torch.zeros(2, 3, dtype=torch.double) for _ in range(2))
    rules = AdversarialObjective(loss="wgan", penalty="none", attack=attack())
    found = rules.critic(ensemble, real, fake, rng=stream())
    # The mean score is flat; each member alone can be moved by the radius times its slope.
    assert found.item() == pytest.approx(2 * 0.7 * 21**0.5 / 2, rel=1e-6)
