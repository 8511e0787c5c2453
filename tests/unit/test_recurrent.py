import itertools

import pytest
import torch
from torch.nn.functional import one_hot

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.models import recurrent
from gantlet.models.lm import Lm
from gantlet.models.nets import seeded
from gantlet.models.recurrent import (
    GruCell,
    LatentSequenceModel,
    LstmCell,
    Recurrent,
    SequenceSizes,
    straight_through,
)
from gantlet.testing import check_family, check_model

TOKENS = Space("tokens", (5,), 4)
WALKS = Space("walk", (5,), 4)
NETS = ["gru", "lstm", "transformer"]
# Samples that end with zeros, that hold none, and in which a zero is a level like any other.
ENDING = torch.tensor([[1.0, 2, 3, 0, 0], [2, 0, 0, 0, 0], [3, 3, 1, 2, 1]])
ENDLESS = ENDING.clamp(min=1)
PLAIN = torch.tensor([[1.0, 0, 3, 0, 2]])


def shaken(space=TOKENS, samples=ENDING, size=0.5, **options):
    """A small model with random weights everywhere, as if trained on ``samples``."""
    options = {"width": 8, "embed": 4, **options}
    game = Lm(**options).build(space, rng=Rng(0))
    game.prepare(samples, rng=Rng(0).stream("prepare"))
    rng = Rng(0).stream("shake")
    with torch.no_grad():
        for parameter in game.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=size)
    return game.model


def log_prob(model, x):
    with torch.no_grad():
        return model.log_prob(x, rng=Rng(0).stream("test")).value


def every(space):
    states = itertools.product(range(space.levels), repeat=space.size)
    return torch.tensor(list(states), dtype=torch.float32)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("space", [Space("tokens", (12,), 27), Space("walk", (8,), 30)])
def test_contract(net, space):
    check_family(Lm(net=net, layers=2, width=16), space)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("samples", [ENDING, ENDLESS, PLAIN], ids=["ending", "endless", "plain"])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_probabilities_of_a_tiny_alphabet_sum_to_one(net, samples, temperature):
    model = shaken(samples=samples, net=net, layers=2).tuned(temperature)
    p = log_prob(model, every(TOKENS)).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)


def test_zeros_mean_what_they_mean_in_the_samples():
    x = every(TOKENS)
    zero = x == 0
    broken = (zero[:, :-1] & ~zero[:, 1:]).any(1)
    ending, endless, plain = (log_prob(shaken(samples=s), x) for s in (ENDING, ENDLESS, PLAIN))
    walk = log_prob(shaken(WALKS, ENDING), x)
    assert float(ending[broken].exp().sum()) < 1e-9
    assert bool(ending.isfinite().all())
    assert float(ending[~broken & zero.any(1)].exp().sum()) > 0.2
    assert float(endless[zero.any(1)].exp().sum()) < 1e-9
    assert float(plain[broken].exp().sum()) > 0.05
    torch.testing.assert_close(walk, plain)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("samples", [ENDING, ENDLESS, PLAIN], ids=["ending", "endless", "plain"])
def test_samples_follow_the_probabilities_at_any_temperature(net, samples):
    space = Space("tokens", (3,), 3)
    for temperature in (1.0, 0.5):
        model = shaken(space, samples[:, :3].clamp(max=2), net=net).tuned(temperature)
        p = log_prob(model, every(space)).exp()
        drawn = model.sample(20_000, rng=Rng(0).stream("sample")) @ torch.tensor([9.0, 3.0, 1.0])
        found = drawn.long().bincount(minlength=27) / 20_000
        assert float((found - p).abs().max()) < 0.015


@pytest.mark.parametrize("net", NETS)
def test_cached_and_naive_sampling_agree(net):
    model = shaken(net=net, layers=2, size=0.2)
    cached, naive = (model.sample(64, rng=Rng(0).stream("s"), cached=c) for c in (True, False))
    assert torch.equal(cached, naive)
    zero = cached == 0
    assert bool(zero.any())
    assert not bool((zero[:, :-1] & ~zero[:, 1:]).any()), "nothing follows an end"


def test_samples_do_not_depend_on_the_blocks_they_are_drawn_in(monkeypatch):
    model = shaken()
    whole = model.sample(7, rng=Rng(0).stream("s"))
    monkeypatch.setattr(recurrent, "SAMPLED_AT_ONCE", 3)
    assert torch.equal(model.sample(7, rng=Rng(0).stream("s")), whole)


def test_scores_in_pieces_are_scores_at_once(monkeypatch):
    model = shaken()
    x = every(TOKENS)[::7]
    whole = model.log_prob(x, rng=Rng(0).stream("t")).value
    slopes = torch.autograd.grad(whole.sum(), model.net.embedding)
    monkeypatch.setattr(recurrent, "MOST_LOGITS", 600)
    parts = model.log_prob(x, rng=Rng(0).stream("t")).value
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.sum(), model.net.embedding), slopes)


@pytest.mark.parametrize("ours", [GruCell, LstmCell])
def test_a_layer_is_what_torch_computes(ours):
    """Against torch's own layer, weight by weight."""
    with seeded(torch.Generator().manual_seed(0)):
        name = "gru" if ours is GruCell else "lstm"
        net = Recurrent(name, 3, 5, 2)
        peer = (torch.nn.GRU if ours is GruCell else torch.nn.LSTM)(3, 5, 2, batch_first=True)
        x = torch.randn(4, 6, 3)
    with torch.no_grad():
        for i, cell in enumerate(net.layers):
            getattr(peer, f"weight_ih_l{i}").copy_(cell.input.weight)
            getattr(peer, f"weight_hh_l{i}").copy_(cell.back.weight)
            getattr(peer, f"bias_ih_l{i}").copy_(cell.input.bias)
            getattr(peer, f"bias_hh_l{i}").copy_(cell.back.bias)
        torch.testing.assert_close(net(x), peer(x)[0], rtol=1e-5, atol=1e-6)
        walk = net.walker(4, 6)
        steps = torch.stack([walk.step(x[:, t]) for t in range(6)], 1)
        torch.testing.assert_close(steps, net(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [ENDING, ENDLESS, PLAIN], ids=["ending", "endless", "plain"])
def test_relaxed_samples_are_exact_samples(samples):
    space = Space("tokens", (3,), 3)
    model = shaken(space, samples[:, :3].clamp(max=2))
    p = log_prob(model, every(space)).exp()
    for tau in (1.0, 0.1):
        made = model.net.relaxed(20_000, tau=tau, rng=Rng(1).stream("r"))
        found = (made.levels @ torch.tensor([9, 3, 1])).bincount(minlength=27) / 20_000
        assert float((found - p).abs().max()) < 0.015
        torch.testing.assert_close(made.soft.sum(2), torch.ones(20_000, 3))
        assert torch.equal(made.one_hot, one_hot(made.levels, 3).float())


def test_a_cold_relaxation_is_nearly_whole():
    made = shaken().net.relaxed(200, tau=0.01, rng=Rng(1).stream("r"))
    assert float((made.soft - made.one_hot).detach().abs().mean()) < 0.01


def test_looking_rows_up_is_the_product_with_indicators():
    rng = Rng(0).stream("t")
    levels = torch.randint(0, 7, (3, 4), generator=rng)
    soft = torch.randn(3, 4, 7, generator=rng).softmax(2).requires_grad_()
    table = torch.randn(7, 5, generator=rng, requires_grad=True)
    weight = torch.randn(3, 4, 5, generator=rng)
    hard = one_hot(levels, 7) + (soft - soft.detach())
    slow, quick = hard @ table, straight_through(levels, soft, table)
    torch.testing.assert_close(quick, slow)
    grads = [torch.autograd.grad((y * weight).sum(), (soft, table)) for y in (slow, quick)]
    torch.testing.assert_close(*grads)


def test_the_relaxed_gradient_is_that_of_a_soft_choice_at_each_place():
    """Of one place alone, in closed form: d softmax((a + noise) / tau) / d a."""
    model = shaken(Space("walk", (1,), 4), ENDING[:, :1])
    tau = 0.7
    made = model.net.relaxed(6, tau=tau, rng=Rng(3).stream("r"))
    worth = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (slope,) = torch.autograd.grad((made.one_hot @ worth).sum(), model.net.out.bias)
    s = made.soft[:, 0].detach()
    wanted = (s * (worth - (s @ worth)[:, None]) / tau).sum(0)
    torch.testing.assert_close(slope, wanted)


def test_what_is_given_is_kept():
    model = shaken(WALKS, ENDING)
    rng = Rng(0).stream("u")
    x = torch.randint(0, 4, (50, 5), generator=rng)
    known = torch.arange(50) % 6
    kept = torch.arange(5) < known[:, None]
    drawn = model.net.draw(torch.rand(50, 5, generator=rng), given=(x, kept))
    assert torch.equal(drawn[kept], x[kept])
    assert not torch.equal(drawn[~kept], x[~kept])


def test_a_latent_tells_walks_apart():
    sizes = SequenceSizes(width=8, embed=4, latent=3, net="lstm")
    with seeded(torch.Generator().manual_seed(0)):
        model = LatentSequenceModel(WALKS, sizes.build(WALKS, family="netgan"))
    with torch.no_grad():
        model.net.out.weight.normal_(generator=torch.Generator().manual_seed(1))
    check_model(model, WALKS)
    u, z = torch.full((2, 5), 0.5), torch.tensor([[3.0, 3, 3], [-3, -3, -3]])
    one, other = model.net.log_probs(model.net.draw(u, z), z)
    assert not torch.equal(one, other)
    made = model.net.relaxed(4, tau=1.0, rng=Rng(0).stream("r"), z=z.repeat(2, 1).requires_grad_())
    assert made.soft.requires_grad


def test_likelihood_comes_down_to_the_entropy_of_a_markov_chain():
    step = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]])
    pi = torch.linalg.matrix_power(step, 200)[0]
    entropy = float(-(pi @ (step * step.log()).sum(1)))
    exact = float(-(pi * pi.log()).sum()) + 7 * entropy
    rng = Rng(0).stream("chain")
    x = torch.zeros(4096, 8, dtype=torch.long)
    x[:, 0] = torch.multinomial(pi, 4096, replacement=True, generator=rng)
    for t in range(1, 8):
        x[:, t] = torch.multinomial(step[x[:, t - 1]], 1, generator=rng)[:, 0]
    family = Lm(width=16, embed=8)
    game = family.build(Space("walk", (8,), 3), rng=Rng(0))
    play = solvers.make(family.solver).start(game)
    for i in range(300):
        play.step(x[(i * 128) % 4096 :][:128].float(), rng=Rng(i).stream("step"))
    found = -float(log_prob(game.model, x.float()).mean())
    assert exact - 0.1 < found < exact + 0.1


def test_a_few_rows_can_be_learned_by_heart():
    """What memorization metrics have to catch: nothing but training samples comes out."""
    rng = Rng(0).stream("x")
    seen, other = torch.randint(1, 6, (2, 16, 6), generator=rng).float()
    game = Lm(width=32, embed=8).build(Space("tokens", (6,), 6), rng=Rng(0))
    game.prepare(seen, rng=rng)
    play = solvers.make("adam:lr=0.01").start(game)
    for i in range(200):
        play.step(seen, rng=Rng(i).stream("step"))
    drawn = game.model.sample(400, rng=Rng(0).stream("s"))
    copied = (drawn[:, None] == seen).all(2).any(1).float().mean()
    assert float(copied) > 0.95
    assert -float(log_prob(game.model, seen).mean()) < 3.2
    assert -float(log_prob(game.model, other).mean()) > 15


def test_bad_settings_are_told_in_one_line():
    for wrong, text in [
        (lambda: Lm().build(Space("vector", (2,)), rng=Rng(0)), "Got vector 2"),
        (lambda: Lm().build(Space("tokens", (2, 3), 5), rng=Rng(0)), "Got tokens 2x3"),
        (lambda: Lm(net="transformer", width=9).build(TOKENS, rng=Rng(0)), "multiple of heads=4"),
        (lambda: shaken().tuned(0.0), "temperature must be above 0. Got 0"),
    ]:
        with pytest.raises(UserError) as caught:
            wrong()
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
