"""The monitor of attacks: it leaves training as it is, costs what it says, and tells what is."""

import copy

import pytest
import torch

import gantlet
from gantlet.core.data import Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, monitors, solvers
from gantlet.games.accident import Moves
from gantlet.games.attack import lengths
from gantlet.games.attack_monitor import NUMBERS, AttackMonitor
from gantlet.run.monitors import Monitors


def ring() -> Splits:
    return datasets.make("ring:n=600").load(rng=Rng(0))


def begun(model: str = "gan:width=16,depth=1,latent=4"):
    family, splits = families.make(model), ring()
    game = family.build(datasets.make("ring").space, rng=Rng(0))
    game.prepare(splits.train.take(torch.arange(200)), rng=Rng(0).stream("prepare"))
    return game, splits


@pytest.mark.parametrize("solver", ["adam:lr=0.01", "extragradient:lr=0.01"])
def test_a_training_is_the_same_with_it_bit_for_bit(solver):
    ends = []
    for watched in (False, True):
        game, splits = begun()
        play, noise = solvers.make(solver).start(game), Rng(1).stream("noise")
        settings = {"attack": AttackMonitor(share=0.8)} if watched else {}
        looking = Monitors(settings, game, splits.train, batch=32, rng=Rng(0))
        for step in range(40):
            index = torch.arange(32 * play.batches) + step
            play.step(splits.train.take(index % 600), rng=noise)
            looking.after(step + 1, play)
        ends.append(copy.deepcopy(game.players["generator"].state_dict()))
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())
    scores = looking.scores()
    assert scores["looks of monitor attack"].value >= 2
    assert scores["cost of monitor attack"].value <= 0.8


def test_a_look_measures_the_next_update():
    game, splits = begun()
    solver = solvers.make("adam:lr=0.01,mode=simultaneous")
    play = solver.start(game)
    one = AttackMonitor(samples=16).start(game, splits.train, batch=32, rng=Rng(0))
    one.look(1, play)
    # The same batch, latents and noise by hand.
    stream = Rng(0).stream("monitor/attack/1")
    batch = splits.train.take(torch.randint(600, (32,), generator=stream))
    z = game.model.prior(16, rng=stream)
    scale = splits.train.take(torch.arange(512)).std(0)
    moves = Moves(game, solver, held_out=z, scale=scale)
    with moves.move(batch, stream) as move:
        length = lengths(move.held_u).median()
    assert one.point()["attack: length of an update"] == pytest.approx(float(length), rel=1e-5)
    assert dict.fromkeys(NUMBERS) == one.point()


def test_its_state_goes_on():
    game, splits = begun()
    play = solvers.make("adam:lr=0.01").start(game)
    first, second = (
        AttackMonitor().start(game, splits.train, batch=64, rng=Rng(0)) for _ in range(2)
    )
    first.look(5, play)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.charts() == first.charts()
    assert second.scores() == first.scores()
    assert all(e.method for e in first.scores().values())


def test_a_training_too_short_for_a_look_says_so():
    game, splits = begun()
    one = AttackMonitor().start(game, splits.train, batch=64, rng=Rng(0))
    assert all("no look fits" in e.method for e in one.scores().values())
    assert one.charts() == []


def test_a_game_without_a_critic_is_refused():
    flow = families.make("flow").build(datasets.make("ring").space, rng=Rng(0))
    with pytest.raises(UserError, match="needs a critic"):
        monitors.make("attack").start(flow, ring().train, batch=32, rng=Rng(0))


def test_it_goes_along_with_gantlet_train(tmp_path):
    report = gantlet.train(
        "gan:width=16,depth=1",
        data="ring:n=400",
        budget=Budget(steps=60),
        batch=32,
        samples=50,
        monitors=["attack:share=0.3"],
        out=tmp_path / "run",
    )
    names = {row.name for row in report.rows}
    assert "attack: distance in updates" in names
    assert "Distance to the critic" in (tmp_path / "run/report.html").read_text()
