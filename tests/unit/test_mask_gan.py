import itertools

import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.models.mask_gan import MaskGan
from gantlet.testing import check_family

WALK = Space("walk", (3,), 3)
TOKENS = Space("tokens", (6,), 5)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=3)))
ENDING = torch.tensor([[3.0, 1, 2, 0, 0, 0], [4, 0, 0, 0, 0, 0], [1, 2, 3, 4, 1, 2]])


def built(space=WALK, samples=None, **options):
    options = {"width": 6, "embed": 4, "critic_width": 5, **options}
    game = MaskGan(**options).build(space, rng=Rng(0))
    game.prepare(EVERY.float() if samples is None else samples, rng=Rng(0).stream("p"))
    rng = Rng(0).stream("shake")
    with torch.no_grad():
        for parameter in itertools.chain(*(m.parameters() for m in game.players.values())):
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.5)
    return game


@pytest.mark.parametrize("space", [TOKENS, WALK], ids=lambda s: s.label)
@pytest.mark.parametrize("options", [{}, {"start": 1, "likelihood": 0.5, "net": "lstm"}])
def test_contract(space, options):
    check_family(MaskGan(**options), space)


@pytest.mark.parametrize("hidden", list(itertools.product([False, True], repeat=3)))
def test_what_can_fill_the_gaps_has_probabilities_that_sum_to_one(hidden):
    model = built().model
    gaps = torch.tensor(hidden).expand(27, 3)
    known = torch.tensor([2, 0, 1])
    fits = ((known == EVERY) | gaps).all(1)
    with torch.no_grad():
        p = (model.log_probs(EVERY, gaps) * gaps).sum(1).exp()[fits]
        assert float(p.sum()) == pytest.approx(1, abs=1e-5)
        x = known.float().expand(20_000, 3)
        drawn = model.fill(x, gaps[:1].expand(20_000, 3), rng=Rng(0).stream("f"))
    found = (drawn.long() @ torch.tensor([9, 3, 1])).bincount(minlength=27) / 20_000
    torch.testing.assert_close(found[fits], p, rtol=0, atol=0.015)
    assert float(found[~fits].sum()) == 0


def test_the_sequence_with_all_hidden_is_what_is_scored_and_sampled():
    model = built().model
    with torch.no_grad():
        p = model.log_prob(EVERY.float(), rng=Rng(0).stream("t")).value.exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    cached, naive = (model.sample(50, rng=Rng(0).stream("s"), cached=c) for c in (True, False))
    assert torch.equal(cached, naive)
    sharp = model.tuned(0.3).sample(2000, rng=Rng(0).stream("s"))
    plain = model.sample(2000, rng=Rng(0).stream("s"))
    assert len(torch.unique(sharp, dim=0)) <= len(torch.unique(plain, dim=0))
    with pytest.raises(UserError, match=r"above 0\. Got 0"):
        model.tuned(0.0)


def test_a_stretch_of_each_row_is_hidden_or_all_of_it():
    game = built(TOKENS, ENDING, mask=0.5, whole=0.25)
    x = ENDING.long().repeat(4000, 1)
    hidden = game.hidden(x, rng=Rng(0).stream("h"))
    whole = hidden.all(1)
    assert float(whole.float().mean()) == pytest.approx(0.25, abs=0.015)
    for row, count in ((0, 2), (1, 1), (2, 3)):
        some = hidden[row::3][~whole[row::3]]
        assert bool((some.sum(1) == count).all())
        places = some.float().mean(0)
        reach = [4, 2, 6][row]
        assert bool((places[:reach] > 0).all())
        assert not bool(places[reach:].any())
        # One piece: it begins once.
        assert int((some[:, 1:] & ~some[:, :-1]).sum(1).max()) <= 1


def test_the_gradient_is_that_of_the_expected_reward():
    game = built(whole=1.0, gamma=1.0)
    net, model = game.players["critic"], game.model
    gaps = torch.ones_like(EVERY, dtype=torch.bool)
    with torch.no_grad():
        reward = (2 * net(EVERY, gaps).sigmoid() - 1).sum(1)
    p = model.log_probs(EVERY, gaps).sum(1).exp()
    own = list(model.parameters())
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(-(p * reward).sum(), own)])
    loss = game.loss("generator", torch.zeros(60_000, 3), rng=Rng(1).stream("loss"))
    found = torch.cat([g.flatten() for g in torch.autograd.grad(loss, own)])
    assert float((found - wanted).norm()) < 0.05 * float(wanted.norm())


def test_what_comes_after_a_gap_is_used_to_fill_it():
    rng = Rng(0).stream("x")
    x = torch.randint(0, 3, (512, 3), generator=rng).float()
    x[:, 1] = x[:, 2]
    game = MaskGan(width=12, embed=6, mask=0.3, whole=0.0, start=1000).build(WALK, rng=Rng(0))
    play = solvers.make("adam:lr=0.01").start(game)
    for i in range(120):
        play.step(x[(torch.arange(64) + 64 * i) % 512], rng=Rng(i).stream("step"))
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, 1] = True
    filled = game.model.fill(torch.where(hidden, 0.0, x), hidden, rng=Rng(0).stream("f"))
    assert float((filled[:, 1] == x[:, 2]).float().mean()) > 0.95


def test_the_critic_alone_teaches_to_fill_gaps():
    """Without any likelihood: the middle of a row is what follows it."""
    rng = Rng(0).stream("x")
    x = torch.randint(0, 3, (512, 3), generator=rng).float()
    x[:, 1] = x[:, 2]
    game = MaskGan(width=12, embed=6, critic_width=12, mask=0.3, whole=0.0).build(WALK, rng=Rng(0))
    play = solvers.make("adam:lr=0.01,beta1=0.5").start(game)
    for i in range(150):
        play.step(x[(torch.arange(64) + 64 * i) % 512], rng=Rng(i).stream("step"))
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, 1] = True
    filled = game.model.fill(x, hidden, rng=Rng(0).stream("f"))
    assert float((filled[:, 1] == x[:, 2]).float().mean()) > 0.8
