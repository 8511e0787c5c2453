"""Monitors look at a training at a stated share of its cost and change nothing of it."""

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Monitor
from gantlet.core.rng import Rng
from gantlet.core.spec import families, monitors, solvers
from gantlet.games.noise import NoiseMonitor
from gantlet.run.monitors import named_monitors, resolved_monitors
from gantlet.run.train import Plan, train
from gantlet.run.trials import load

PLAN = Plan(budget=Budget(steps=120), batch=16, validations=4, checkpoint=0.0)


class Kept:
    """Storage of checkpoints that stops a training after some."""

    def __init__(self, stop=None):
        self.states, self.stop = [], stop

    def save_state(self, state):
        self.states.append(state)
        if len(self.states) == self.stop:
            raise KeyboardInterrupt

    def load_state(self):
        return None if not self.states else self.states[-1]


def trained(given, keep=None, solver="adam", model="gan:width=8", plan=PLAN):
    space, splits = load("ring", 0)
    game = families.make(model).build(space, rng=Rng(0))
    found = train(game, solvers.make(solver), splits, plan, rng=Rng(0), keep=keep, monitors=given)
    return game, found


def test_a_training_is_the_same_with_and_without():
    alone, without = trained({})
    watched, found = trained({"noise": NoiseMonitor(share=0.5)})
    for a, b in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert found.spend.flops == without.spend.flops
    assert [p["validation"] for p in found.curve] == [p["validation"] for p in without.curve]
    assert not without.scores
    assert found.scores["looks of monitor noise"].value == 5  # twelve steps each, of half of 120
    assert found.scores["cost of monitor noise"].value == pytest.approx(0.5)
    names = {"noise scale (critic)", "critical batch (generator, Adam)", "noise scale (together)"}
    assert names <= found.scores.keys()
    assert all(found.scores[n].low is not None or found.scores[n].kind for n in names)
    assert "noise scale (critic)" in found.curve[-1]
    assert next(c["title"] for c in found.charts) == "Gradient noise scale"


def test_a_resumed_training_has_the_same_looks():
    _, whole = trained({"noise": NoiseMonitor(share=0.5)})
    keep = Kept(stop=50)
    with pytest.raises(KeyboardInterrupt):
        trained({"noise": NoiseMonitor(share=0.5)}, keep)
    keep.stop = None
    _, resumed = trained({"noise": NoiseMonitor(share=0.5)}, keep)
    assert resumed.scores == whole.scores
    assert resumed.curve == whole.curve
    assert resumed.charts == whole.charts


def test_looks_that_do_not_fit_are_said():
    _, found = trained({"noise": NoiseMonitor(share=0.01)})
    assert found.scores["looks of monitor noise"].value == 0
    assert found.scores["noise scale"].value is None
    assert "no look fits" in found.scores["noise scale"].method


@pytest.mark.parametrize("solver", ["sgd", "extragradient", "optimistic", "consensus"])
def test_any_solver_can_be_watched(solver):
    plan = Plan(budget=Budget(steps=20), batch=16, validations=2)
    _, found = trained({"noise": NoiseMonitor(share=0.9)}, solver=solver, plan=plan)
    adam = any("Adam" in name for name in found.scores)
    assert adam == (solver != "sgd")


def test_names_of_monitors():
    assert monitors.names() == ["noise"] or "noise" in monitors.names()
    assert isinstance(monitors.make("noise:share=0.1"), Monitor)
    assert resolved_monitors(["gns"]) == ("noise:share=0.02,groups=8",)
    with pytest.raises(UserError, match="given twice"):
        named_monitors(["noise", "gns:share=0.5"])
    with pytest.raises(UserError, match="Did you mean 'noise'"):
        named_monitors(["nois"])
    with pytest.raises(UserError, match="share"):
        named_monitors(["noise:share=2"])
