"""How easily the critic of a watched loop is fooled: a linear critic, for which all is known."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import gantlet
from gantlet.models.nets import seeded
from gantlet.watch.players import COSINE, DISTANCE, LENGTH

REAL = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])
SLOPE = torch.tensor([2.0, 0.5])
RATE = 0.1


class Shift(nn.Module):
    """Latents moved by a vector."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor([-6.0, -6.0]))

    def forward(self, z):
        return z + self.by


def linear_game():
    with seeded(torch.Generator().manual_seed(0)):
        critic = nn.Linear(2, 1)
    with torch.no_grad():
        critic.weight.copy_(SLOPE)
        critic.bias.zero_()
    return gantlet.game({"generator": Shift(), "critic": critic}, losses="wgan", latent=2)


def climb(game):
    """One update of the generator by gradient descent on its loss: along the critic's slope."""
    shift = game.players["generator"].by
    with torch.no_grad():
        shift += RATE * SLOPE


def latents(n, seed):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def watch_of(game, *, every=10, **options):
    return gantlet.Watch(
        REAL[:200], train=REAL[200:], every=every, samples=150, share=None, game=game, **options
    )


def watched(game, *, steps=21, moves=True, watch=None, first=0, **options):
    watch = watch_of(game, **options) if watch is None else watch
    for step in range(first, steps):
        if moves and step:
            climb(game)
        watch(step, sample=lambda n, step=step: game.players["generator"](latents(n, step)))
    return watch


def scale():
    return REAL[200:].std(0)


def test_of_a_linear_critic_distance_length_and_cosine_are_known():
    game = linear_game()
    watch = watched(game)
    steep = SLOPE * scale()
    move = RATE * SLOPE / scale()
    angle = float((move @ steep) / (move.norm() * steep.norm()))
    for look in watch.looks[1:]:
        assert look.estimate(LENGTH).value == pytest.approx(float(move.norm()), rel=1e-3)
        assert look.estimate(COSINE).value == pytest.approx(angle, abs=1e-4)
    # A step of the critic's score by its slope is what an update gains.
    first, second = (look.estimate(DISTANCE).value for look in watch.looks[1:])
    gained = 10 * RATE * float(SLOPE @ SLOPE) / float(steep.norm())
    # DeepFool goes 2 % too far, so that the other side is reached.
    assert first - second == pytest.approx(1.02 * gained, rel=1e-3)
    titles = [block.title for block in watch.report().blocks]
    assert "How far fakes are from fooling the critic" in titles
    assert "Updates along the critic's gradient" in titles


@pytest.mark.parametrize("killed", [9, 10, 15])
def test_a_resumed_loop_looks_as_one_that_went_on(killed):
    whole = watched(linear_game())
    game = linear_game()
    state = deepcopy(watched(game, steps=killed + 1).state_dict())
    resumed = watch_of(game)
    resumed.load_state_dict(state)
    watched(game, watch=resumed, first=killed + 1)
    assert [look.plain() for look in resumed.looks] == [look.plain() for look in whole.looks]
    assert LENGTH in {e.name for e in resumed.looks[1].entries}


def test_the_first_look_has_no_update_and_one_that_moved_nothing_no_cosine():
    game = linear_game()
    watch = watched(game, moves=False)
    assert [e.name for e in watch.looks[0].entries if e.name.startswith("attack")] == [DISTANCE]
    still = watch.looks[1]
    assert still.estimate(LENGTH).value == 0
    assert COSINE not in {e.name for e in still.entries}


def test_the_loop_is_left_as_it_was():
    game = linear_game()
    nets = game.players.values()
    before = {k: v.clone() for net in nets for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    for net in nets:
        net.train()
    watched(game, moves=False, steps=11)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(net.training for net in nets)
    after = {k: v for net in nets for k, v in net.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for net in nets for p in net.parameters())


def test_a_game_without_critic_of_samples_is_measured_without_it():
    def loss(generator, real):
        return generator(real).square().mean()

    game = gantlet.game({"generator": Shift()}, losses={"generator": loss}, latent=2)
    watch = watched(game, moves=False, steps=1)
    assert not [e for e in watch.looks[0].entries if e.name.startswith("attack")]
