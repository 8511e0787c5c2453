"""What trainings at several batches say: planted noise, planted instability, and neither."""

import math

import pytest
import torch
from scipy import stats

from gantlet.commands.batch.effects import Sweep, decomposed, doubling, recommended
from gantlet.commands.batch.trial import Course, at_batch
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.games.noise import Ledger, NoiseRecord
from gantlet.stats.noise_scale import Parts

STEPS = [10.0 * k for k in range(1, 51)]


def course(batch, seed, end, *, floor=0.01, lost=False, critical=0.0, ledger=None):
    """Returns a training that falls exponentially to ``end``, slower with noise."""
    pace = 80 * (1 + critical / batch)
    values = [end + math.exp(-s / pace) for s in STEPS]
    if lost:
        values = values[:40] + [3.0] * 10
    return Course(batch, seed, STEPS, values, floor, None, 1e6 * batch, ledger or Ledger())


def jitter(seed, spread=0.001):
    g = Rng(seed).stream("jitter")
    return spread * float(torch.randn((), generator=g))


def test_planted_noise_is_the_bottleneck():
    courses = [course(128, s, 0.10 + jitter(s)) for s in range(4)]
    courses += [course(512, s, 0.04 + jitter(s + 50)) for s in range(4)]
    found = decomposed(Sweep(courses, 128))
    assert found.bottleneck == "noise"
    assert found.noise.low < 0.06 < found.noise.high
    assert found.rest.value == pytest.approx(0.03, abs=0.01)
    assert found.share.value == pytest.approx(0.06 / 0.09, abs=0.05)
    pairs = zip(courses[:4], courses[4:], strict=True)
    p = stats.ttest_1samp([a.end - b.end for a, b in pairs], 0).pvalue
    assert found.p_noise == pytest.approx(2 * p)  # Holm over two


def test_planted_instability_is_the_bottleneck():
    courses = [course(128, s, 0.10 + jitter(s), lost=True) for s in range(4)]
    courses += [course(512, s, 0.10 + jitter(s + 50), lost=True) for s in range(4)]
    found = decomposed(Sweep(courses, 128))
    assert found.bottleneck == "instability"
    assert found.lost.value == found.lost_larger.value == 1.0
    # Four of four, where one in twenty would be no surprise.
    assert found.p_lost == pytest.approx(min(2 * 0.05**4, 1))


def test_where_nothing_differs_nothing_is_named():
    courses = [course(b, s, 0.10 + jitter(s * b)) for b in (128, 512) for s in range(4)]
    assert decomposed(Sweep(courses, 128)).bottleneck == "neither"
    assert decomposed(Sweep(courses[:4], 128)) is None
    diverged = [Course(512, s, [], [], 0.01, "diverged", None, Ledger()) for s in range(4)]
    found = decomposed(Sweep([*courses[:4], *diverged], 128))
    assert found.bottleneck == "instability"
    assert found.noise.value is None


def test_a_false_bottleneck_is_as_rare_as_said():
    rare = 0
    for trial in range(200):
        courses = [
            course(b, s, 0.10 + jitter(10_000 * trial + 100 * s + b, 0.01))
            for b in (128, 512)
            for s in range(3)
        ]
        rare += decomposed(Sweep(courses, 128)).bottleneck != "neither"
    # 5 % one-sided would be 2.5 % of 200; above 14 has probability below 1e-3 even at 3 %.
    assert rare <= 14


def test_measured_critical_batch_is_that_of_the_paces():
    courses = [course(b, s, 0.01, critical=64) for b in (32, 128, 512) for s in range(2)]
    sweep = Sweep(courses, 128)
    assert sweep.target == pytest.approx(max(min(c.smooth) for c in courses))
    found = sweep.measured().critical
    assert found.value == pytest.approx(64, rel=0.1)
    assert sweep.steps_at(128).value == pytest.approx(
        sweep.steps_at(512).value * 1.5 / 1.125, rel=0.05
    )


def test_steps_to_a_target_are_interpolated():
    one = Course(8, 0, [10.0, 20.0, 30.0, 40.0], [4.0, 3.0, 2.0, 1.0], None, None, 1.0, Ledger())
    # Running medians of three: 3.5, 3, 2, 1.5.
    assert one.steps_to(2.5) == pytest.approx(25.0)
    assert one.steps_to(3.6) == 10.0
    assert one.steps_to(1.0) is None


def test_a_likelihood_that_gives_back_its_gain_is_lost():
    falls = [5.0 - 0.1 * k for k in range(30)]
    steps = [float(k) for k in range(40)]
    kept = Course(8, 0, steps, falls + [2.1] * 10, None, None, 1.0, Ledger())
    lost = Course(8, 0, steps, falls + [3.0] * 10, None, None, 1.0, Ledger())
    assert not kept.loses
    assert lost.loses


def test_noise_of_all_seeds_is_pooled_in_the_coordinates_of_the_solver():
    def ledger(trace):
        found = Ledger()
        parts = {"critic": Parts(trace, 1.0, (0.1, 0.0, 0.001), 50, 64)}
        scaled = {"critic": Parts(trace * 2, 1.0, (0.1, 0.0, 0.001), 50, 64)}
        found.looks = [
            NoiseRecord(k, "micro-batch", {"plain": parts, "adam": scaled}) for k in (1, 2, 3)
        ]
        return found

    courses = [course(128, s, 0.1, ledger=ledger(10.0 + 20.0 * s)) for s in range(2)]
    sweep = Sweep(courses, 128)
    assert sweep.metric == "adam"
    assert sweep.players == ["critic"]
    assert sweep.whole == "critic"
    assert sweep.scale("critic", "plain").value == pytest.approx(20.0)
    assert sweep.critical("critic").value == pytest.approx(40.0)


def test_doubling_follows_from_the_critical_batch():
    known = Estimate(value=128.0, low=64.0, high=256.0, unit="examples", n=9)
    found = doubling(known, 128)
    assert found.saved.value == pytest.approx(1 - 1.5 / 2)
    assert found.flops.value == pytest.approx(1.5)
    assert found.saved.low == pytest.approx(1 - 1.25 / 1.5)
    assert found.saved.high == pytest.approx(1 - 2 / 3)
    bound = Estimate(value=128.0, kind="lower", method="lower bound", unit="examples")
    assert doubling(bound, 128).saved.high == 0.5
    assert recommended(Estimate(value=0.3, low=0.1, high=0.4)) == 1
    assert recommended(Estimate.missing("none")) is None


def test_learning_rates_follow_the_batch():
    assert at_batch("adam:lr=0.1+0.2,beta1=0.0", 64, 256, "sqrt") == "adam:lr=0.2+0.4,beta1=0.0"
    assert at_batch("adam:lr=0.1,beta1=0.0", 64, 16, "linear") == "adam:lr=0.025,beta1=0.0"
    assert at_batch("adam:lr=0.1", 64, 16, "constant") == "adam:lr=0.1"
    with pytest.raises(UserError, match="no learning rate"):
        at_batch("history:last=4", 64, 16, "sqrt")
