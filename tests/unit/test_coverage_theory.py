"""Coverage of modes beside the bounds: generators whose Lipschitz constant is known."""

import math

import pytest
import torch
from torch import nn

from gantlet.commands.coverage import (
    BOUND,
    CONSTANT,
    MODES,
    NEEDED,
    OWN_BOUND,
    QUALITY,
    bound_chart,
    coverage_of,
    coverage_of_truth,
    separated,
)
from gantlet.core.data import Space
from gantlet.core.estimate import Estimate
from gantlet.core.model import Decoder, Density, LogProb
from gantlet.core.rng import Rng
from gantlet.stats.theory import precision_bound

WORLD = separated("ring:modes=2,radius=1,std=0.05")
GAP = 2 - 6 * 0.05


class Ramp(Decoder):
    """A line through both modes, flat on them, of known slope between them."""

    def __init__(self, slope, shift=0.0):
        super().__init__()
        self.space = Space("vector", (2,))
        self.latent_dim = 1
        self.slope = nn.Parameter(torch.tensor(slope))
        self.shift = shift

    def prior(self, n, *, rng):
        return torch.randn(n, 1, generator=rng)

    def _decode(self, z, context):
        x = (self.slope * (z + self.shift)).clamp(-1, 1)
        return torch.cat([x, torch.zeros_like(x)], 1)

    def _sample(self, n, context, *, rng):
        return self.decode(self.prior(n, rng=rng)).detach()


class NoisyRamp(Ramp, Density):
    """The same with a density, hence with noise around its decoding."""

    def _log_prob(self, x, context, *, rng):
        return LogProb(torch.zeros(len(x)), "bound")


def found(model, n=20_000):
    rng = Rng(0)
    x = model.sample(n, rng=rng.stream("sample"))
    return coverage_of(WORLD, model, x, x[:10], rng=rng, measured={})


@pytest.mark.parametrize("slope", [0.7, 2.0])
def test_two_modes_and_a_ramp_reach_the_bound_of_the_slope(slope):
    """Of two modes the half-space layout attains the bound, up to the width of the modes."""
    scores = found(Ramp(slope))
    # Secants of neighbours have rounding errors of single precision.
    assert scores[CONSTANT].value == pytest.approx(slope, rel=0.01)
    assert scores[MODES].value == 2
    limit = precision_bound(2, GAP, scores[CONSTANT].value)
    assert scores[BOUND].value == pytest.approx(limit, rel=1e-6)
    assert scores[QUALITY].low <= scores[BOUND].value <= scores[QUALITY].high
    assert scores[NEEDED].low <= slope <= scores[NEEDED].high


def test_what_drops_a_mode_is_above_the_bound_of_all_modes_and_not_above_its_own():
    scores = found(Ramp(1.0, shift=2.0))
    assert scores[QUALITY].low > scores[BOUND].value
    assert scores[QUALITY].low <= scores[OWN_BOUND].value
    assert scores[NEEDED].low <= 1.0


def test_samples_with_noise_have_no_bound():
    scores = found(NoisyRamp(1.0))
    for name in (CONSTANT, BOUND, OWN_BOUND):
        assert scores[name].value is None
        assert "noise" in scores[name].method
    assert scores[NEEDED].value is not None


def test_a_constant_that_was_measured_is_kept():
    model, rng = Ramp(1.0), Rng(0)
    x = model.sample(500, rng=rng.stream("sample"))
    known = Estimate(value=9.0, kind="lower", method="asked for")
    scores = coverage_of(WORLD, model, x, x, rng=rng, measured={CONSTANT: known})
    assert scores[CONSTANT] is known
    assert scores[BOUND].value == pytest.approx(precision_bound(2, GAP, 9.0))


def test_samples_on_and_off_all_modes():
    model, rng = Ramp(1.0), Rng(0)
    on, off = WORLD.means.float().repeat(50, 1), torch.full((100, 2), 9.0)
    scores = coverage_of(WORLD, model, on, on, rng=rng, measured={})
    assert scores[NEEDED].kind == "lower"
    assert 0 < scores[NEEDED].value < math.inf
    scores = coverage_of(WORLD, model, off, on, rng=rng, measured={})
    for name in (NEEDED, OWN_BOUND):
        assert scores[name].value is None
        assert scores[name].method == "no sample on the support"


def test_the_truth_needs_what_the_bound_says():
    truth = coverage_of_truth(WORLD, 500)
    assert precision_bound(2, GAP, truth[NEEDED].value) == pytest.approx(WORLD.ceiling)
    assert truth[QUALITY].value == pytest.approx(0.98889, abs=1e-5)


def test_worlds_without_modes_apart_have_no_bound():
    for data in ("ring:modes=1", "ring:std=0.5", "moons", "digits", "manifolds:separation=3"):
        assert separated(data) is None


def test_the_chart_has_the_bound_and_a_point_for_each_generator():
    share, slope = Estimate.exact(0.4), Estimate.exact(2.0)
    gone = Estimate.missing("noise")
    (chart,) = bound_chart([0.25] * 4, 1.0, [("gan", slope, share), ("vae", gone, share)])
    bound, gan = chart.series
    assert (gan.name, list(gan.x), list(gan.y)) == ("gan", [2.0], [0.4])
    assert min(bound.x) < 2.0 < max(bound.x)
    for x, low, y in zip(bound.x, bound.low, bound.y, strict=True):
        assert y == pytest.approx(precision_bound(4, 1.0, x))
        assert low <= y
    assert list(bound_chart([0.5, 0.5], 1.0, [("vae", gone, share)])) == []
