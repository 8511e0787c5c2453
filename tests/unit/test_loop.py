import itertools

import pytest
import torch
from torch import nn

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Generative, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.games.solvers import Adam
from gantlet.models.nets import seeded
from gantlet.run.averaging import Average, Averaging
from gantlet.run.store import TrialFolder
from gantlet.run.train import (
    Batches,
    DivergedError,
    Plan,
    RestartWarning,
    measured_speed,
    train,
)

# A step of batch 16: forward and the gradients of weight and noise, in multiply-adds.
WIDTH, BATCH = 4, 16
STEP = 2 * BATCH * WIDTH * WIDTH * 2


class Shift(Model):
    def __init__(self):
        super().__init__()
        self.space = Space("vector", (WIDTH,))
        self.net = nn.Linear(WIDTH, WIDTH)

    def _sample(self, n, context, *, rng):
        return self.net(torch.randn(n, WIDTH, generator=rng)).detach()


class Fit(Generative):
    """Moves the mean of noise to the mean of the data; its validation is a list of our choice."""

    def __init__(self, validations=None, bad_step=None):
        with seeded(Rng(0).stream("init")):
            self._model = Shift()
        self._validations = iter(validations) if validations else None
        self.bad_step, self.steps, self.prepared = bad_step, 0, None

    @property
    def players(self):
        return {"model": self._model}

    @property
    def model(self):
        return self._model

    def prepare(self, batch, *, rng):
        self.prepared = len(batch)

    def loss(self, player, batch, *, rng):
        self.steps += 1
        out = self._model.net(torch.randn(len(batch), WIDTH, generator=rng))
        scale = float("nan") if self.steps == self.bad_step else 1.0
        return ((out - batch) * scale).square().mean()

    def validate(self, x, *, rng):
        if self._validations is not None:
            return torch.tensor(float(next(self._validations)))
        out = self._model.net(torch.randn(len(x), WIDTH, generator=rng))
        return (out.mean(0) - x.mean(0)).square().mean()


class Memory:
    def __init__(self):
        self.kept = None

    def save_state(self, state):
        import copy

        self.kept = copy.deepcopy(dict(state))

    def load_state(self):
        return self.kept


def splits(n=100):
    x = torch.randn(n, WIDTH, generator=Rng(1).stream("x")) + 3
    return Splits(train=InMemory(x), validation=InMemory(x[:20]), test=InMemory(x[:20]))


def weights(game):
    return torch.cat([p.detach().flatten() for p in game.model.parameters()])


def run(game, budget, *, keep=None, **plan):
    settings = Plan(budget=budget, batch=BATCH, **plan)
    return train(game, Adam(lr=(0.05,)), splits(), settings, rng=Rng(0), keep=keep)


def test_a_budget_of_flops_is_met_within_one_step_and_never_exceeded():
    found = run(Fit(), Budget(flops=1e6))
    assert found.step_flops == STEP
    assert found.spend.flops <= 1e6
    assert found.spend.flops > 1e6 - 3 * STEP
    assert found.spend.examples == found.spend.steps * BATCH


@pytest.mark.parametrize(
    ("budget", "spent"), [(Budget(steps=13), 13), (Budget(examples=13 * BATCH + 5), 13)]
)
def test_steps_and_examples_are_met_exactly(budget, spent):
    found = run(Fit(), budget)
    assert found.spend.steps == spent


def test_validation_is_charged_and_takes_a_bounded_share():
    found = run(Fit(), Budget(flops=1e7), share=0.05)
    charged = found.spend.flops - found.spend.steps * STEP
    assert 0 < charged <= 0.06 * 1e7
    assert found.curve[-1]["flops"] <= 1e7


def test_the_best_weights_are_put_in_place():
    # The first is only looked at to learn what a validation costs.
    game = Fit(validations=[7, 5, 4, 1, 3, 2, 6] + [9] * 20)
    found = run(game, Budget(steps=20))
    assert found.best_step == found.curve[2]["step"]
    shorter = Fit()
    run(shorter, Budget(steps=found.best_step))
    last = Fit()
    run(last, Budget(steps=20))
    assert not torch.equal(weights(game), weights(last))


def test_patience_stops_early():
    found = run(Fit(validations=itertools.count()), Budget(steps=1000), patience=3)
    assert len(found.curve) == 4
    assert found.best_step == 1


def test_same_seed_same_weights_bit_by_bit():
    a, b = Fit(), Fit()
    run(a, Budget(steps=40), ema=0.9)
    run(b, Budget(steps=40), ema=0.9)
    assert torch.equal(weights(a), weights(b))


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop", [1, 7, 23])
def test_an_interrupted_training_goes_on_bit_by_bit(stop, ema):
    whole, memory = Fit(), Memory()
    expected = run(whole, Budget(steps=40), ema=ema)

    class Interrupted(Memory):
        def save_state(self, state):
            memory.save_state(state)
            if state["spend"][2] >= stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Fit(), Budget(steps=40), ema=ema, keep=Interrupted(), checkpoint=0.0)
    resumed = Fit()
    found = run(resumed, Budget(steps=40), ema=ema, keep=memory)
    assert torch.equal(weights(whole), weights(resumed))
    assert found.curve == expected.curve
    assert found.best_step == expected.best_step


def interrupted(folder, stop):
    """Trains into a trial's folder and is interrupted after the checkpoint of step ``stop``."""

    class Keep:
        def save_state(self, state):
            folder.save_state(state)
            if state["spend"][2] >= stop:
                raise KeyboardInterrupt

        def load_state(self):
            return None

    with pytest.raises(KeyboardInterrupt):
        run(Fit(), Budget(steps=40), ema=0.9, keep=Keep(), checkpoint=0.0)


@pytest.mark.parametrize("name", ["0.json", "0.safetensors", "1.json", "1.safetensors", "all"])
@pytest.mark.parametrize("kind", ["cut", "flip", "delete", "swap", "empty"])
def test_damaged_checkpoints_change_no_result(tmp_path, kind, name):
    whole, told = Fit(), []
    expected = run(whole, Budget(steps=40), ema=0.9)
    folder, other = TrialFolder(tmp_path / "a", told.append), TrialFolder(tmp_path / "b")
    interrupted(folder, 7)
    interrupted(other, 9)
    files = [f for f in sorted(folder.path.glob("state.*")) if name in {"all", f.name[6:]}]
    assert len(files) == (4 if name == "all" else 1)
    for file in files:
        raw = bytearray(file.read_bytes())
        if kind == "cut":
            file.write_bytes(raw[: len(raw) * 2 // 3])
        elif kind == "flip":
            raw[len(raw) // 2] ^= 1
            file.write_bytes(raw)
        elif kind == "swap":
            file.write_bytes((other.path / file.name).read_bytes())
        elif kind == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
    resumed = Fit()
    found = run(resumed, Budget(steps=40), ema=0.9, keep=folder)
    assert torch.equal(weights(whole), weights(resumed))
    assert found.curve == expected.curve
    # The latest is an even one; where it is whole, the tensors of the other are not read.
    assert told or name == "1.safetensors" or kind == "delete"


def test_a_checkpoint_of_another_model_makes_training_begin_again():
    whole, memory = Fit(), Memory()
    run(whole, Budget(steps=40))
    memory.kept = {"players": {"model": {"net.weight": torch.zeros(3)}}}
    resumed = Fit()
    with pytest.warns(RestartWarning, match="another version .*, training restarts"):
        run(resumed, Budget(steps=40), keep=memory)
    assert torch.equal(weights(whole), weights(resumed))


def test_divergence_says_where():
    with pytest.raises(DivergedError, match="diverged at step 5: the loss of model is nan"):
        run(Fit(bad_step=5), Budget(steps=10))


def test_mistakes_are_explained():
    with pytest.raises(UserError, match="needs a budget"):
        run(Fit(), Budget())
    with pytest.raises(UserError, match="one step of model on 16 samples costs"):
        run(Fit(), Budget(flops=10))


def test_a_budget_of_seconds_ends():
    ticks = itertools.count(step=0.5)
    found = train(
        Fit(),
        Adam(),
        splits(),
        Plan(budget=Budget(seconds=10), batch=BATCH),
        rng=Rng(0),
        clock=lambda: next(ticks),
    )
    assert found.spend.seconds >= 10
    assert found.spend.steps < 40


def test_the_game_is_prepared_once_with_training_data():
    game = Fit()
    run(game, Budget(steps=3))
    assert game.prepared == 100


def test_an_epoch_holds_every_sample_once():
    source = InMemory(torch.arange(10.0)[:, None])
    batches = Batches(source, rng=Rng(0))
    first = torch.cat([batches.next(4), batches.next(6)])
    second = batches.next(10)
    assert sorted(first.flatten().tolist()) == sorted(second.flatten().tolist()) == list(range(10))
    assert not torch.equal(first, second)
    again = Batches(source, rng=Rng(0))
    again.taken = 10
    assert torch.equal(again.next(10), second)


def test_the_average_is_an_exponential_moving_average():
    with seeded(Rng(0).stream("init")):
        model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, Averaging(decay=0.5))
    expected = 0.0
    for step in range(1, 30):
        model.weight.data.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 29.0


@pytest.mark.parametrize("every", [1, 3])
def test_a_uniform_average_is_the_mean_of_the_weights_from_its_start_on(every):
    with seeded(Rng(0).stream("init")):
        model = nn.Linear(1, 1, bias=False)
    average = Average(model, Averaging(decay=0.9, start=0.5, every=every))
    for step in range(20):
        model.weight.data.fill_(float(step**2))
        average.update(step / 20)
        taken = [k**2 for k in range(10, step + 1, every)] or [step**2]
        with average.applied():
            assert model.weight.item() == pytest.approx(sum(taken) / len(taken), rel=1e-6)
        assert model.weight.item() == step**2


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_the_uniform_average_is_what_is_evaluated_and_training_is_as_without_it(start):
    seen = {}

    class Noted(Fit):
        def advance(self, *, rng):
            seen.setdefault(self, []).append(weights(self))

    plain, averaged = Noted(), Noted()
    run(plain, Budget(steps=40), select="last")
    run(averaged, Budget(steps=40), select="last", average_from=start, ema=0.9)
    assert torch.equal(torch.stack(seen[plain]), torch.stack(seen[averaged]))
    expected = torch.stack(seen[averaged])[int(start * 40) :].mean(0)
    assert torch.allclose(weights(averaged), expected, atol=1e-6)
    assert not torch.allclose(weights(averaged), weights(plain), atol=1e-3)


def test_a_uniform_average_goes_on_bit_by_bit():
    whole, rest = Fit(), Fit()
    how = {"average_from": 0.3, "average_every": 2, "select": "last", "checkpoint": -1.0}
    run(whole, Budget(steps=30), **how)

    class Half(Memory):
        def save_state(self, state):
            super().save_state(state)
            if state["spend"][2] == 17:
                raise KeyboardInterrupt

    keep = Half()
    with pytest.raises(KeyboardInterrupt):
        run(Fit(), Budget(steps=30), keep=keep, **how)
    resumed = Memory()
    resumed.kept = keep.kept
    run(rest, Budget(steps=30), keep=resumed, **how)
    assert torch.equal(weights(whole), weights(rest))


@pytest.mark.parametrize(
    "budget", [Budget(steps=200), Budget(examples=200 * BATCH), Budget(flops=200 * STEP)]
)
def test_validation_takes_a_bounded_share_of_any_budget(budget):
    class Slow(Fit):
        """Validates at twice the cost of a step for each sample."""

        def validate(self, x, *, rng):
            for _ in range(len(x)):
                self._model.net(torch.zeros(2 * BATCH * 2, WIDTH))
            return super().validate(x, rng=rng)

    found = run(Slow(), budget, held_out=20)
    charged = found.spend.flops - found.spend.steps * STEP
    # Three are always made: of few samples to learn the cost, the first, and the last.
    assert len(found.curve) == 2
    assert charged < 3 * 16 * 2.2 * STEP


def test_speed_is_flops_over_the_time_of_steps():
    game = Fit()
    x = torch.zeros(40, WIDTH)
    data = Splits(train=InMemory(x), validation=InMemory(x[:20]), test=InMemory(x[:20]))
    found = measured_speed(
        game,
        Adam(),
        data,
        Plan(budget=Budget(seconds=1000.0), batch=BATCH),
        rng=Rng(0),
        seconds=8.0,
        clock=lambda: game.steps / 2,
    )
    assert found == STEP / 0.5
    # One step of ``begin``, four that are not measured, and twelve that are.
    assert game.steps == 1 + 4 + 12


class TestPrecision:
    """Steps in bf16, validation and what is kept in fp32."""

    def test_products_of_steps_alone_are_rounded(self):
        seen = []

        class Looking(Fit):
            def loss(self, player, batch, *, rng):
                out = self._model.net(batch)
                seen.append(("step", out.dtype))
                return (out - batch).square().mean()

            def validate(self, x, *, rng):
                out = self._model.net(x)
                seen.append(("validation", out.dtype))
                return (out - x).square().mean()

        game = Looking()
        x = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
        data = Splits(train=InMemory(x), validation=InMemory(x[:20]), test=InMemory(x[:20]))
        plan = Plan(budget=Budget(steps=5), batch=BATCH, precision="bf16")
        found = train(game, Adam(), data, plan, rng=Rng(0))
        assert set(seen) == {("step", torch.bfloat16), ("validation", torch.float32)}
        assert {p.dtype for p in game.model.parameters()} == {torch.float32}
        # Operations are those of fp32: forward, and the gradient of the weight.
        assert found.step_flops == 2 * (2 * BATCH * WIDTH * WIDTH)

    def test_each_player_sees_the_moved_weights_of_the_others(self):
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
        data = Splits(train=InMemory(x), validation=InMemory(x[:20]), test=InMemory(x[:20]))
        ends = {}
        for precision in ("fp32", "bf16"):
            game = families.make("gan:width=16").build(Space("vector", (2,)), rng=Rng(0))
            plan = Plan(budget=Budget(steps=1), batch=64, precision=precision, select="last")
            ends[precision] = train(game, Adam(lr=(0.3,)), data, plan, rng=Rng(0)).curve[-1]
        # With a large step the critic moves far: a rounded copy of before would show.
        for name in ("loss of critic", "loss of generator"):
            assert ends["bf16"][name] == pytest.approx(ends["fp32"][name], rel=0.03)
        assert ends["bf16"] != ends["fp32"]
