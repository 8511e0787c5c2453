"""What a training would cost, against the training itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count as counter
from typing import final

import pytest
import torch
from torch import nn

from gantlet.commands.compare.claims import FEW_STEPS
from gantlet.commands.cost import CostTrial, Timer, cost_of, cost_report
from gantlet.compute.machine import Clock
from gantlet.compute.meters import count, pretend
from gantlet.core.data import InMemory, Space
from gantlet.core.errors import UserError
from gantlet.core.model import Generative, Model, default_batch
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models.nets import seeded
from gantlet.options import default_budget
from gantlet.report import terminal

SPACE = Space("vector", (4,))


def data(n=40):
    return InMemory(torch.randn(n, 4, generator=torch.Generator().manual_seed(0)))


def seconds():
    """A clock that is a second later at each look: every call takes one."""
    ticks = counter()
    return lambda: float(next(ticks))


@final
class Line(Model):
    def __init__(self):
        super().__init__()
        self.space = SPACE
        self.used = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 7)

    def _sample(self, n, context, *, rng):
        return self.used(torch.randn(n, 4, generator=rng))


@final
class Toy(Generative):
    def __init__(self, looks):
        self._model = Line()
        self.looks = looks

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"model": self._model}

    @property
    def model(self):
        return self._model

    def loss(self, player, batch, *, rng):
        x = self._model.used(batch)
        loss = (x @ x.mT).square().mean() + self._model.unused(batch).sum()
        return loss * 2 if self.looks and loss.item() > 1e9 else loss

    def validate(self, x, *, rng):
        return self.loss("model", x, rng=rng)


@dataclass(frozen=True)
class Toys:
    """A family whose loss compares all pairs: its cost is not in proportion to the batch."""

    looks: bool = False
    solver: str = "adam"
    ema: float = 0.0

    def build(self, space, context_space=None, *, rng):
        with seeded(rng.stream("init")):
            return Toy(self.looks)


def toy(batch, *, looks=False, solver="adam", timer=None):
    timer = timer or Timer(seconds())
    trial = CostTrial(Toys(looks), solver, SPACE, data(), rng=Rng(0), timer=timer)
    return trial.cost(1000, batch)


def step_flops(batch, solver="adam"):
    play = solvers.make(solver).start(Toys().build(SPACE, rng=Rng(0)))
    x = torch.ones(batch * play.batches, 4)
    return count(lambda: play.step(x, rng=torch.Generator())).flops


class TestTraining:
    def test_a_batch_that_was_tried_is_counted(self):
        found, _ = toy(8)
        assert found["FLOPs per training step"].value == step_flops(8)
        assert found["training steps"].value == 125
        assert found["training FLOPs"].value == 125 * step_flops(8)

    def test_a_larger_batch_is_counted_on_shapes(self):
        # The clock makes the first step too slow to try a larger batch.
        found, _ = toy(64)
        step = found["FLOPs per training step"]
        assert (step.value, step.method) == (step_flops(64), "counted on shapes alone")
        assert step.value > 8 * step_flops(8)

    def test_the_solver_is_charged(self):
        found, _ = toy(64, solver="adam:steps=3")
        assert found["FLOPs per training step"].value == 3 * step_flops(64)
        assert found["training steps"].value == 6

    def test_a_loss_that_looks_at_its_numbers_is_costed_in_proportion(self):
        found, notes = toy(64, looks=True)
        step = found["FLOPs per training step"]
        assert step.value == 8 * step_flops(8)
        assert step.low is None
        assert any("in proportion" in note for note in notes)

    def test_time_is_operations_over_the_rate_of_a_few_steps(self):
        found, _ = toy(64)
        wall, rate = found["training wall time"], found["achieved FLOP/s"]
        assert rate.value == step_flops(8)
        assert wall.value == pytest.approx(16 * step_flops(64) / step_flops(8))
        assert (wall.n, wall.level) == (5, 1 - 2**-4)

    def test_batches_grow_while_steps_are_short(self):
        ticks = counter()
        found, _ = toy(40, timer=Timer(lambda: 0.01 * next(ticks)))
        assert found["FLOPs per training step"].method == "counted on one step"
        assert "batches of 40" in found["training wall time"].method

    def test_parameters_that_a_sample_does_not_need(self):
        found, _ = toy(8)
        assert found["parameters to train"].value == 20 + 35
        assert found["parameters to sample"].value == 20
        assert found["FLOPs per sample"].value == 2 * 4 * 4


class TestFamilies:
    @pytest.mark.parametrize("family", ["gan", "flow"])
    def test_a_registered_family(self, family):
        clock = Clock(seconds(), seconds(), lambda: 0)
        before = torch.get_rng_state()
        cost = cost_of(family, SPACE, data(), examples=1000, batch=32, clock=clock)
        assert torch.equal(before, torch.get_rng_state())
        assert cost.family == families.resolve(family)
        made = families.make(family)
        assert cost.solver == solvers.resolve(made.solver)
        game = made.build(SPACE, rng=Rng(0))
        play = solvers.make(cost.solver).start(game)
        x = data().take(torch.arange(32))
        step = count(lambda: play.step(x, rng=Rng(0).stream("noise")))
        assert cost.estimates["FLOPs per training step"].value == step.flops

    def test_a_baseline_is_fitted_directly(self):
        cost = cost_of("histogram", SPACE, data(), examples=30)
        assert cost.solver is None
        assert cost.notes == ("Models that are fitted directly are fitted once, to 30 samples.",)
        assert cost.estimates["training FLOPs"].value is not None
        assert cost.estimates["training wall time"].n == 1

    def test_the_report_holds_every_number(self):
        costs = [cost_of(f, SPACE, data(), examples=30, batch=8) for f in ("gan", "histogram")]
        report = cost_report(costs, "toy", 1e9)
        assert len(report.rows) == sum(len(c.estimates) for c in costs)
        assert report.question["examples"] == 30
        assert "One sample: " in terminal.render(report)

    def test_mistakes(self):
        with pytest.raises(UserError, match=r"--examples must be at least 1\. Got 0\."):
            cost_of("gan", SPACE, data(), examples=0)
        with pytest.raises(UserError, match=r"--batch must be at least 1\. Got -1\."):
            cost_of("gan", SPACE, data(), examples=1, batch=-1)
        with pytest.raises(UserError, match="Did you mean 'gan'"):
            cost_of("gann", SPACE, data(), examples=1)


@pytest.mark.parametrize("family", ["gan", "flow", "ar", "vae", "diffusion"])
@pytest.mark.parametrize(("shape", "levels"), [((1, 8, 8), 17), ((1, 28, 28), 256)])
def test_default_budgets_pay_for_more_than_a_few_steps(family, shape, levels):
    space, few = Space("image", shape, levels), FEW_STEPS if shape[1] > 8 else 100
    game = families.make(family).build(space, rng=Rng(0))
    batch, noise = default_batch(families.make(family), space), Rng(0).stream("noise")

    def gradients(x):
        for name, player in game.players.items():
            loss = game.loss(name, x, rng=noise)
            torch.autograd.grad(loss, list(player.parameters()))

    with pretend() as shaped:
        x = shaped(torch.zeros(1, *shape)).expand(batch, *shape)
        step = count(lambda: gradients(x)).flops
    assert default_budget("image", space.size).flops / step > few
