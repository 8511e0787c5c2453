import math

import pytest
import torch

from gantlet.core.measure import TrainMetric
from gantlet.core.rng import Rng
from gantlet.metrics.fld import Fld, log_mixtures, variances


def draw(n=400, d=6, seed=0):
    return torch.randn(n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)


def judge(real, fake, train, centres=200):
    return Fld(centres=centres).judge(real, fake, train=train, rng=Rng(0).stream("m"))


def test_log_density_of_a_mixture():
    x, centres = draw(5), draw(3, seed=1)
    variance = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    parts = [
        torch.distributions.MultivariateNormal(c, v * torch.eye(6).double()).log_prob(x)
        for c, v in zip(centres, variance, strict=True)
    ]
    expected = torch.stack(parts).logsumexp(0) - math.log(3)
    found = log_mixtures(x, centres, variance, torch.tensor([0, 1, 0]))
    assert found[0].numpy() == pytest.approx(expected.numpy())
    assert found[1].numpy() == pytest.approx(parts[1].numpy()), "without the fold of two"
    two = torch.stack([parts[0], parts[2]]).logsumexp(0) - math.log(2)
    assert found[2].numpy() == pytest.approx(two.numpy())


def test_one_centre_gets_the_variance_about_it():
    x, centre = draw(), draw(1, seed=1)
    expected = (x - centre).square().mean()
    assert float(variances(centre, x)) == pytest.approx(float(expected))


def test_fitted_widths_are_a_maximum_of_the_likelihood():
    x, centres = draw(150), draw(10, seed=1)
    best = variances(centres, x)
    fold = torch.arange(10) % 2
    here = float(log_mixtures(x, centres, best, fold)[0].sum())
    for factor in (0.97, 1.03):
        assert float(log_mixtures(x, centres, best * factor, fold)[0].sum()) < here


def test_a_perfect_model_scores_about_zero():
    found = [judge(draw(seed=s), draw(seed=100 + s), draw(seed=200 + s)).value for s in range(12)]
    values = torch.tensor(found)
    assert abs(float(values.mean())) < 4 * float(values.std()) / 12**0.5 + 0.3


@pytest.mark.parametrize("more", [1, 8])
def test_the_interval_is_as_wide_as_new_samples_and_thinnings_ask_for(more):
    train = draw(100 * more, seed=999)
    found = [
        Fld().judge(
            draw(100, seed=s), draw(100, seed=500 + s), train=train, rng=Rng(s).stream("m")
        )
        for s in range(60)
    ]
    values = torch.tensor([e.value for e in found])
    held = sum(e.low <= float(values.mean()) <= e.high for e in found)
    assert held >= 53, "at 95 % fewer are drawn once in a hundred times"
    width = sum(e.half_width for e in found) / len(found) / (2 * float(values.std()))
    assert 0.85 < width < 1.5


def test_flaws_cost():
    real, fake, train = draw(seed=0), draw(seed=1), draw(seed=2)
    good = judge(real, fake, train).value
    flaws = {
        "moved": fake + 1,
        "blurred": fake * 1.5,
        "few": fake[:10].repeat(40, 1),
        "copies": train,
    }
    for name, flawed in flaws.items():
        found = judge(real, flawed, train)
        assert found.low > good + 1, name


def test_the_contract():
    assert isinstance(Fld(), TrainMetric)
    found = judge(draw(), draw(seed=1), draw(seed=2))
    assert found.low < found.value < found.high
    assert found.better == "lower"


@pytest.mark.parametrize(("n", "m", "t"), [(1, 9, 9), (9, 1, 9), (9, 9, 3), (0, 0, 0)])
def test_too_few_samples_are_a_reason(n, m, t):
    found = judge(draw(n), draw(m), draw(t))
    assert found.value is None
    assert "4 training samples" in found.method


def test_constants_and_duplicates_are_no_harm():
    real, fake, train = draw(), draw(seed=1), draw(seed=2)
    for z in (real, fake, train):
        z[:, 2] = 7.0
    assert math.isfinite(judge(real, fake, train).value)
    same = torch.full((40, 3), 2.0)
    assert judge(same, same, same).value == pytest.approx(0)
