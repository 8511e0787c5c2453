"""Past fakes for a critic, and averages of weights from the command line."""

import json

import pytest
import torch

from gantlet.cli.main import run
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models.gan import Gan, PastFakes
from gantlet.run.train import Plan, train
from gantlet.testing import check_family

PLANE = Space("vector", (2,))
DIGITS = Space("image", (1, 8, 8), 17)


def stream(name="test"):
    return Rng(0).stream(name)


@pytest.mark.parametrize("space", [PLANE, DIGITS], ids=str)
def test_a_gan_with_a_history_keeps_the_contract(space):
    check_family(Gan(width=16, history=10), space, n=8)


def test_a_buffer_fills_and_then_replaces_at_random():
    past, rng = PastFakes((1,), 6), stream()
    first = torch.arange(4.0)[:, None]
    assert torch.equal(past.mixed(first, rng=rng), first)  # It holds nothing yet.
    past.advance(rng=rng)
    assert past.samples.flatten().tolist() == [0, 1, 0, 0, 0, 0]
    assert int(past.held) == 2
    mixed = past.mixed(first + 10, rng=rng)
    assert mixed[:2].flatten().tolist() == [10, 11]
    assert set(mixed[2:].flatten().tolist()) <= {0.0, 1.0}
    for k in range(2, 5):
        past.mixed(first + 10 * k, rng=rng)
        past.advance(rng=rng)
    assert int(past.held) == 6
    held = past.samples.flatten().tolist()
    assert {40.0, 41.0} <= set(held)  # The newest are in it, two of the older ones are gone.
    assert len(set(held)) == 6
    assert set(held) <= {0.0, 1.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0}


def test_looks_leave_it_alone_and_a_step_counts_once():
    past = PastFakes((2,), 8)
    x = torch.randn(8, 2, generator=stream("x"))
    looks = [past.mixed(x, rng=stream("look")) for _ in range(3)]
    assert torch.equal(looks[0], looks[2])
    assert int(past.held) == 0
    past.advance(rng=stream())
    past.advance(rng=stream())  # Without a new look there is nothing new.
    assert int(past.held) == 4


def test_every_sample_is_drawn_alike():
    past = PastFakes((1,), 5)
    past.samples.copy_(torch.arange(5.0)[:, None])
    past.held.fill_(5)
    drawn = past.mixed(torch.full((20_000, 1), -1.0), rng=stream())[10_000:, 0].long()
    counts = torch.bincount(drawn, minlength=5)
    assert float((counts - 2000).square().sum() / 2000) < 18.5  # chi^2, 4 degrees, p = 0.001


def test_a_small_buffer_takes_what_it_can_hold():
    past = PastFakes((1,), 3)
    past.mixed(torch.arange(20.0)[:, None], rng=stream())
    past.advance(rng=stream())
    assert past.samples.flatten().tolist() == [0, 1, 2]


def test_the_critic_alone_sees_the_past():
    games = [Gan(width=8, history=n).build(PLANE, rng=Rng(0)) for n in (0, 32)]
    x = torch.randn(16, 2, generator=stream("x"))

    def losses(player):
        return [game.loss(player, x, rng=stream("loss")).item() for game in games]

    assert losses("critic")[0] == losses("critic")[1]
    for game in games:
        game.advance(rng=stream())
    with torch.no_grad():
        for game in games:
            next(game.model.parameters()).add_(1.0)
    assert losses("critic")[0] != losses("critic")[1]
    assert losses("generator")[0] == losses("generator")[1]


def splits():
    x = torch.randn(200, 2, generator=stream("data")) + 3
    return Splits(train=InMemory(x), validation=InMemory(x[:40]), test=InMemory(x[:40]))


class Kept:
    def __init__(self, stop=None):
        self.state, self.stop = None, stop

    def save_state(self, state):
        import copy

        self.state = copy.deepcopy(dict(state))
        if state["spend"][2] == self.stop:
            raise KeyboardInterrupt

    def load_state(self):
        return self.state


def trained(keep, **options):
    family = Gan(width=8, **options)
    game = family.build(PLANE, rng=Rng(0))
    plan = Plan(budget=Budget(steps=20), batch=16, ema=family.ema, select="last", checkpoint=-1.0)
    train(game, solvers.make(family.solver), splits(), plan, rng=Rng(0), keep=keep)
    return torch.cat([p.detach().flatten() for m in game.players.values() for p in m.parameters()])


def test_it_goes_on_bit_by_bit_and_changes_training():
    whole = trained(None, history=40)
    assert torch.equal(whole, trained(None, history=40))
    assert not torch.equal(whole, trained(None))
    keep = Kept(stop=11)
    with pytest.raises(KeyboardInterrupt):
        trained(keep, history=40)
    assert "past.samples" in keep.state["players"]["critic"]
    keep.stop = None
    assert torch.equal(whole, trained(keep, history=40))


COMMAND = ["train", "gan:width=8", "--data", "ring:n=200,held_out=50", "--steps", "12"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ema", "0.9", "--average-from", "0.5"], "not both. Got 0.9 and 0.5"),
        (["--average-every", "4"], "give --average-from too"),
        (["--ema", "1"], "below 1"),
        (["--average-from", "-0.1"], "at least 0"),
    ],
)
def test_averages_that_cannot_be_are_refused_in_one_line(options, says, tmp_path, capsys):
    assert run([*COMMAND, *options, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said


def test_an_average_asked_for_is_in_the_question_of_the_run(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--average-from", "0.25", "--average-every", "3", "--batch", "16"]
    assert run([*COMMAND, *options, "--samples", "50", "--out", str(out)]) == 0
    question = json.loads((out / "run.json").read_text())["question"]
    assert (question["average from"], question["average every"]) == ("0.25", "3")
    capsys.readouterr()


def test_a_negative_history_is_refused():
    with pytest.raises(UserError, match="from 0 to"):
        families.make("gan:history=-1")
