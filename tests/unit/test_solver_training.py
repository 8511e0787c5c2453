"""Every solver trains a GAN through the one loop, and goes on from a checkpoint bit by bit."""

import math
from functools import cache

import pytest
import torch

from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.run.store import TrialFolder
from gantlet.run.train import Plan, train

DATA = {"digits": "digits", "ring": "ring:n=400"}
TEXTS = sorted(
    {*solvers.names()}
    | {"adam:mode=simultaneous", "sgd:momentum=-0.5", "extragradient:base=sgd,fresh=false"}
    | {"cgd:beta2=none", "sga:align=false", "crossing-the-curl:whole=true", "lookahead:k=3"}
    | {"adam:lr=4e-4+1e-4", "past-extragradient:base=sgd", "optimistic:base=sgd"}
)


@cache
def splits(name):
    data = datasets.make(DATA[name])
    return data.space, data.load(rng=Rng(0))


class Interrupted:
    """A folder that keeps what it is given, and is struck by lightning after some steps."""

    def __init__(self, folder, steps):
        self.folder, self.steps = folder, steps

    def load_state(self):
        return self.folder.load_state()

    def save_state(self, state):
        self.folder.save_state(state)
        if state["spend"][2] >= self.steps:
            raise KeyboardInterrupt


def trained(text, name, keep=None):
    """Returns the parameters and the curve of a small GAN after six steps."""
    space, data = splits(name)
    game = families.make("gan:width=8,latent=4,ema=0.9").build(space, rng=Rng(0))
    plan = Plan(budget=Budget(steps=6), batch=16, validations=2, checkpoint=0.0, select="last")
    found = train(game, solvers.make(text), data, plan, rng=Rng(0), keep=keep)
    return torch.cat([p.detach().flatten() for p in game.model.parameters()]), found


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("text", TEXTS)
def test_every_solver_trains_a_gan_and_resumes_bit_by_bit(text, name, tmp_path):
    start, _ = trained("sgd:lr=0", name)
    whole, expected = trained(text, name)
    assert not torch.equal(whole, start)
    assert whole.isfinite().all()
    losses = [v for point in expected.curve for k, v in point.items() if k.startswith("loss of")]
    assert losses
    assert all(math.isfinite(v) for v in losses)
    folder = TrialFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trained(text, name, Interrupted(folder, 4))
    resumed, found = trained(text, name, folder)
    assert torch.equal(whole, resumed)
    assert found.curve == expected.curve


@pytest.mark.parametrize("text", ["consensus", "sga", "cgd", "extragradient"])
def test_a_spectral_norm_is_left_as_it_was(text):
    space, data = splits("ring")
    game = families.make("gan:width=8,latent=4,spectral=true").build(space, rng=Rng(0))
    before = {k: b.clone() for k, b in game.players["critic"].named_buffers()}
    plan = Plan(budget=Budget(steps=3), batch=16)
    train(game, solvers.make(text), data, plan, rng=Rng(0))
    after = dict(game.players["critic"].named_buffers())
    assert before
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    "family", ["flow:layers=2,width=8", "ar:width=16,layers=1", "diffusion:width=8"]
)
@pytest.mark.parametrize("text", ["extragradient", "consensus", "sga", "cgd", "optimistic"])
def test_solvers_play_games_of_one_player_too(text, family):
    space, data = splits("digits" if family.startswith("ar") else "ring")
    game = families.make(family).build(space, rng=Rng(0))
    plan = Plan(budget=Budget(steps=3), batch=16)
    found = train(game, solvers.make(text), data, plan, rng=Rng(0))
    assert found.spend.steps == 3
