import math

import pytest
import torch

from gantlet.core.measure import TrainMetric
from gantlet.core.rng import Rng
from gantlet.metrics.fld import Fld, log_mixture, variances


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
    assert log_mixture(x, centres, variance).numpy() == pytest.approx(expected.numpy())


def test_one_centre_gets_the_variance_about_it():
    x, centre = draw(), draw(1, seed=1)
    expected = (x - centre).square().mean()
    assert float(variances(centre, x)) == pytest.approx(float(expected))


def test_fitted_widths_are_a_maximum_of_the_likelihood():
    x, centres = draw(150), draw(10, seed=1)
    best = variances(centres, x)
    here = float(log_mixture(x, centres, best).sum())
    for factor in (0.97, 1.03):
        assert float(log_mixture(x, centres, best * factor).sum()) < here


def test_a_perfect_model_scores_about_zero():
    found = [judge(draw(seed=s), draw(seed=100 + s), draw(seed=200 + s)).value for s in range(12)]
    values = torch.tensor(found)
    assert abs(float(values.mean())) < 4 * float(values.std()) / 12**0.5 + 0.3


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
