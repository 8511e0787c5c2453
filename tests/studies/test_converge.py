import json
import math

import numpy as np
import pytest
import torch

import gantlet
from gantlet.commands.converge.course import (
    LossScale,
    Record,
    TrainingCourse,
    state_of_course,
    straddles_good,
)
from gantlet.commands.converge.diagnosis import (
    GAP,
    GROWTH,
    SHARE,
    DiagnosisKey,
    LearningRates,
    forecast,
    keys,
)
from gantlet.commands.converge.study import Converge, curves_down, state_in_words, verdicts
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Spend
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers, toys
from gantlet.games.field import GameField
from gantlet.report.documents import render
from gantlet.run.store import TrialFolder

SMALL = "gan:width=8,latent=2,depth=1"
STEPS = Budget(steps=60)


def study(model, **options):
    return Converge(model=model, **{"budget": STEPS, **options})


def details(tmp_path, model, **options):
    asked = study(model, **options)
    (trial,) = asked.trials()
    return asked.run(trial, TrialFolder(tmp_path / "trial"), lambda *_: None)


FLOOR = LossScale(floor=0.1)


def course(quality, *, exact=False, error=None, scale=FLOOR):
    records = [Record(step=i, state={}, quality=q) for i, q in enumerate(quality)]
    return TrainingCourse(
        records=records,
        measure="",
        is_exact=exact,
        error=error,
        spend=Spend(),
        scale=None if exact else scale,
    )


SETTLED = [9, 5, 3, 2, 1.1, 0.5, 0.3, 0.2, 0.22, 0.2, 0.19, 0.21, 0.2, 0.22, 0.2, 0.21]


@pytest.mark.parametrize(
    ("quality", "state"),
    [
        (SETTLED, "converging"),
        ([5 * q for q in SETTLED], "converging"),
        ([9, 5, 3, 2, 1, 1, 0.9, 0.8, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.2, 2.5], "diverging"),
        ([9, 5, 3, 2, 1, 1.2, 1, 0.3, 1, 0.2, 1, 0.3, 1, 0.25, 1, 0.2], "rotating"),
        ([9, 8, 9, 8, 7, 8, 7, 8, 9, 8, 7, 8, 8, 8, 8, 8], "stuck"),
        ([9, 10, 11, 12, 11, 12, 13, 12], "stuck"),
    ],
)
def test_a_distance_is_judged_on_a_logarithmic_scale(quality, state):
    assert state_of_course(course(quality)).name == state


def test_settling_is_good_near_the_noise_floor_only():
    near, far = (state_of_course(course([k * q for q in SETTLED])) for k in (1, 5))
    assert near.ratio == pytest.approx(2.0, rel=0.1)
    assert near.is_good
    assert far.ratio == pytest.approx(10.0, rel=0.1)
    assert far.name == "converging"
    assert not far.is_good


def swinging(spread, end=0.3, best=None):
    """A loss that falls to ``end`` and then strays by a factor, one standard deviation."""
    signs = [1, -1, -1, 1, 1, -1, -1, 1, -1, 1, 1, -1, 1]
    fall = [9 * (end / 9) ** (i / 11) for i in range(1, 12)]
    if best is not None:
        fall[8:11] = [best] * 3
    return [9, *fall, *(end * spread**sign for sign in signs)]


@pytest.mark.parametrize(
    ("spread", "end", "best", "state", "others"),
    [
        (1.05, 0.3, None, "converging", ()),
        (1.3, 0.3, None, "converging", ("rotating",)),
        # Swings of this size hide whether the loss is 2.8 times its best.
        (1.5, 0.3, None, "rotating", ("diverging",)),
        (2.0, 0.45, 0.2, "diverging", ("rotating",)),
        (1.02, 0.3, 0.1, "diverging", ()),
    ],
)
def test_a_verdict_says_what_it_may_be_as_well(spread, end, best, state, others):
    found = state_of_course(course(swinging(spread, end, best)))
    assert found.name == state
    assert set(others) <= set(found.others)
    assert bool(found.others) == bool(others)
    assert ("may be judged otherwise" in found.because) == bool(others)


def test_near_and_far_are_said_both_where_the_loss_does_not_tell():
    told = {}
    for end in (0.3, 0.47, 1.2):
        found = state_of_course(course(swinging(1.1, end)))
        assert found.name == "converging"
        assert not found.others
        assert found.range[0] < found.ratio < found.range[1]
        told[end] = straddles_good(found.range)
    assert told == {0.3: False, 0.47: True, 1.2: False}


def test_the_interval_of_the_end_holds_nine_times_in_ten():
    """A course of normal deviations about a level, on a log scale."""
    rng, inside = Rng(0).stream("course"), 0
    for _ in range(400):
        noise = 0.2 * torch.randn(25, generator=rng, dtype=torch.float64)
        low, high = state_of_course(course([9, *(0.4 * noise[1:].exp()).tolist()])).range
        inside += low < 4.0 < high
    assert 0.86 <= inside / 400 <= 0.94


def test_a_report_says_both_verdicts():
    plain = {"state": "converging", "ratio": 3.0, "others": [], "range": [2.5, 3.6], "good": True}
    plain |= {"advice": [], "improving": False}
    assert state_in_words(plain) == "converges, to a validation loss 3.0 times the noise floor"
    between = {**plain, "others": ["rotating"]}
    assert "converges, or oscillates" in state_in_words(between)
    border = {**plain, "ratio": 4.6, "range": [4.1, 5.2]}
    assert "(4.1 to 5.2): between near the data and far from them" in state_in_words(border)
    old = {k: v for k, v in plain.items() if k not in {"others", "range"}}
    assert state_in_words(old) == state_in_words(plain)


def told_of_a_steady_training(*, start, rightmost, growth):
    """Returns the claims about a training that ends at .48, 38 times the noise floor."""
    told = {"state": "converging", "ratio": 38.0, "others": [], "range": [37.0, 39.0]}
    told |= {"good": False, "improving": False, "because": "", "end": 0.48, "tried": []}
    told |= {"quality": [start, 0.46, 0.48], "rightmost": rightmost, "modes": [[-495.0, 0.0]]}
    told |= {"curvature": {"critic": [-2.8, 492.0], "generator": [-21.5, 57.1]}}
    remedy = {"what": "penalty=r1,gamma=1", "code": "", "basis": "theory", "growth": None}
    scores = {
        GROWTH: Estimate(value=growth, n=1, method="predicted: no interval"),
        SHARE: Estimate(value=0.02, n=1, method="no interval"),
    }
    return [v.claim for v in verdicts("It", {**told, "advice": [remedy]}, scores)]


def test_a_steady_loss_where_modes_grow_is_not_called_stable():
    """The loss of a pretrained GAN holds its level while its spectrum says that modes grow."""
    held, grow, nash, advice = told_of_a_steady_training(
        start=0.47, rightmost=[[21.5, 0.0, 1e-4]], growth=3.8
    )
    assert held == (
        "It holds the level of the weights that it began with, 38.0 times the noise floor: "
        "steady, and still far from the data."
    )
    assert "predicted to grow" in grow
    assert grow.endswith("does not predict this training: its loss is steady nevertheless.")
    assert "their own losses by moving alone. Nor does the gradient field attract to it" in nash
    assert advice.startswith("The spectrum does not predict this training, so that nothing")
    fell, decay, nash, advice = told_of_a_steady_training(
        start=31.0, rightmost=[[-0.2, 0.0, 1e-4]], growth=0.9
    )
    assert fell.startswith("It converges, to a validation loss 38.0 times the noise floor")
    assert decay.endswith("predicted to decay.")
    assert "That is usual: a stable point of a game need not be one." in nash
    assert advice.startswith("No mode grows here, so that nothing")


def test_what_lies_below_the_noise_floor_is_noise():
    quality = [9, 5, 1, 0.1, -0.05, 0.02, 0.09, -0.1, 0.001, 0.1, -0.03, 0.05, 0.0, 0.08, 0.01]
    found = state_of_course(course(quality))
    assert (found.name, found.ratio) == ("converging", pytest.approx(1.0))
    assert found.is_good
    assert not found.is_improving


def test_a_loss_that_still_falls_is_improving():
    falling = [9 * 0.8**i for i in range(16)]
    assert state_of_course(course(falling)).is_improving
    assert not state_of_course(course(SETTLED)).is_improving


def test_a_likelihood_need_not_fall_to_a_share_of_itself():
    quality = [9, 8.1, 8.01, 8.0, 8.0, 8.01, 8.0, 8.0]
    assert state_of_course(course(quality, scale=LossScale())).name == "converging"
    assert state_of_course(course(quality)).name == "stuck"


def test_the_noise_of_a_likelihood_is_no_divergence():
    quality = [9.0, 8.2, 8.1, 8.05, 8.0, 8.1, 8.2, 8.3]
    assert state_of_course(course(quality, scale=LossScale(noise=0.01))).name == "diverging"
    assert state_of_course(course(quality, scale=LossScale(noise=0.2))).name == "converging"


@pytest.mark.parametrize(
    ("growth", "state"), [(0.9, "converging"), (1.0, "rotating"), (1.02, "diverging")]
)
def test_a_toy_is_judged_by_the_length_of_its_field(growth, state):
    quality = [growth**i for i in range(60)]
    assert state_of_course(course(quality, exact=True)).name == state


def test_what_broke_off_diverged():
    found = state_of_course(course([1.0], error="the loss is nan"))
    assert (found.name, found.because) == ("diverging", "The loss is nan.")


def test_the_pace_of_a_solver_is_read_off_its_written_form():
    pace = LearningRates.of(solvers.resolve("adam:lr=0.1+0.2,steps=3+1"))
    assert pace.is_adaptive
    assert pace.in_turn
    players = {"a": slice(0, 2), "b": slice(2, 3)}
    assert pace.moves_of(players) == {"a": 3, "b": 1}
    rates = pace.per_parameter(players, torch.tensor([4.0, 1.0, 0.25]))
    assert torch.allclose(rates, torch.tensor([0.05, 0.1, 0.4]))
    sgd = LearningRates.of(solvers.resolve("sgd:lr=0.5,mode=simultaneous"))
    assert not sgd.is_adaptive
    assert not sgd.in_turn
    assert torch.equal(sgd.per_parameter(players, torch.ones(3)), torch.full((3,), 0.5))
    assert LearningRates.of("odd:speed=3") is None


@pytest.mark.parametrize(
    "solver",
    [
        "sgd:lr=0.2",
        "sgd:lr=0.2,mode=simultaneous",
        "sgd:lr=0.1+0.3,steps=2+1",
        "sgd:lr=0.2,momentum=-0.3,mode=simultaneous",
        "extragradient:base=sgd,lr=0.2",
        "optimistic:base=sgd,lr=0.2",
        "past-extragradient:base=sgd,lr=0.2",
        "lookahead:base=sgd,lr=0.2,k=6",
        "consensus:base=sgd,lr=0.2,gamma=0.7",
    ],
)
def test_a_forecast_is_what_the_solver_does(solver):
    """On a linear field the largest factor is the rate at which distances shrink in the end."""
    toy, steps = toys.make("saddle:own=0.3+0.1,cross=0.8"), 240
    game = toy.build()
    field = GameField(game, toy.real, rng=Rng(0).stream("f"))
    pace = LearningRates.of(solvers.resolve(solver))
    found = forecast(field, pace, torch.ones(2, dtype=torch.float64), rng=Rng(0).stream("s"))
    play = solvers.make(solver).start(game)
    sizes = []
    for _ in range(steps):
        play.step(torch.cat([toy.real] * play.batches), rng=Rng(0).stream("n"))
        where = [p.detach() for m in game.players.values() for p in m.parameters()]
        sizes.append(torch.cat(where).norm().item())
    slope = np.polyfit(range(120, steps), np.log(sizes[120:]), 1)[0]
    assert math.log(found.growth) == pytest.approx(slope, rel=0.03)


def test_a_solver_without_a_formula_has_no_forecast():
    toy = toys.make("saddle")
    field = GameField(toy.build(), toy.real, rng=Rng(0).stream("f"))
    squares = torch.ones(2, dtype=torch.float64)
    pace = LearningRates.of(solvers.resolve("sga"))
    assert forecast(field, pace, squares, rng=Rng(0).stream("s")) is None


@pytest.mark.parametrize(
    ("model", "solver", "advice"),
    [
        ("dirac", "sgd:lr=0.1", "penalty=r1,gamma=1"),
        ("dirac:loss=wgan,penalty=gp", "sgd:lr=0.1", "penalty=r1,gamma=1"),
        ("dirac:penalty=r1,gamma=3", "sgd:lr=1.0", "lr=0.333"),
        ("saddle:dim=2", "sgd:lr=0.1,mode=simultaneous", "consensus:base=sgd,lr=0.1,gamma=1.0"),
    ],
)
def test_the_first_advice_makes_a_toy_converge(tmp_path, model, solver, advice):
    found = details(tmp_path, model, solver=solver, budget=Budget(steps=400), retry=True).details
    assert found["state"] != "converging"
    assert found["tried"][0]["what"] == advice
    assert found["tried"][0]["state"] == "converging"


def test_the_first_advice_makes_a_gan_converge(tmp_path):
    found = details(
        tmp_path,
        "gan:width=32,latent=8,loss=wgan,penalty=none",
        data="digits",
        batch=64,
        budget=Budget(steps=250),
        seed=3,
        retry=True,
    )
    told = found.details
    assert not told["good"]
    assert told["tried"][0]["state"] == "converging"
    assert told["tried"][0]["end"] < told["end"] / 1.5
    gap, gap_after = (found.scores[DiagnosisKey(GAP, after=after).name] for after in (False, True))
    assert gap_after.value < gap.value
    assert found.scores[SHARE].half_width < 0.2
    assert found.scores.keys() <= keys(told).keys(), "every number is known by name"
    assert found.spend.steps == 250 * (1 + len(told["tried"]))


def test_stable_without_being_a_nash_point_is_told_as_normal(tmp_path):
    report = gantlet.converge("saddle:own=-1+3,cross=2", out=tmp_path, budget=Budget(steps=200))
    claims = [v.claim for v in report.verdicts]
    assert claims[0].endswith("converges.")
    assert any("not a (local) Nash equilibrium: x" in c and "usual" in c for c in claims)
    assert claims[-1] == "Nothing needs to be changed."


def test_a_curvature_below_zero_counts_from_a_thousandth_of_the_largest():
    assert curves_down((-1.0, 3.0))
    assert not curves_down((-1e-6, 3.0))
    assert not curves_down((None, None))


def test_a_model_of_one_player_has_no_rotation(tmp_path):
    found = details(tmp_path, "flow:width=8,layers=2", data="moons")
    assert found.scores["rotation share"].value == pytest.approx(0.0, abs=1e-6)
    assert found.details["state"] in {"converging", "rotating", "diverging"}


def test_a_report_says_all_of_it_and_repeats(tmp_path):
    asked = study(SMALL, data="ring:n=500,held_out=200", batch=16, budget=Budget(steps=20))
    first, again = (gantlet.run_study(asked, tmp_path / name) for name in ("first", "again"))
    assert [r.estimate for r in first.rows] == [r.estimate for r in again.rows]
    text = render(first, "markdown")
    for part in ("rotation share", "Changes considered", "duality gap", "Eigenvalues"):
        assert part in text
    json.dumps(first.extra, allow_nan=False)
    assert first.question["solver"].startswith("adam:lr=0.001")


def test_a_finished_training_with_snapshots_can_be_looked_at(tmp_path):
    runs = gantlet.compare(
        [SMALL],
        data="ring",
        budget=STEPS,
        seeds=1,
        snapshots=3,
        metrics=["energy"],
        samples=50,
        out=tmp_path / "run",
    )
    assert {r.name for r in runs.rows} >= {"energy (pixels)"}
    report = gantlet.converge(f"{tmp_path / 'run'}@gan#0", out=tmp_path / "found")
    assert report.question["model"].startswith("gan:latent=2")
    assert report.extra["steps"][0] == 0
    assert report.extra["steps"][-1] == 60
    for file in (tmp_path / "run").glob("trials/*/snapshot-*"):
        file.unlink()
    with pytest.raises(UserError, match=r"no snapshots to look at\. Train with --snapshots"):
        study(f"{tmp_path / 'run'}").trials()


def test_a_toy_that_blows_up_is_told_of(tmp_path):
    found = details(tmp_path, "saddle", solver="sgd:lr=3.0,mode=simultaneous").details
    assert found["state"] == "diverging"
    assert "iverged at step" in found["because"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gmm", "gmm is fitted directly: it has no training"),
        ("gann", "Did you mean 'gan'"),
        ("dirac:gama=3", "Did you mean 'gamma'"),
    ],
)
def test_mistakes_are_told_in_one_line(model, message):
    with pytest.raises(UserError, match=message):
        study(model).trials()


def test_a_batch_needs_a_sample():
    with pytest.raises(UserError, match="batch must be from 1 to"):
        study("gan", batch=0).trials()
