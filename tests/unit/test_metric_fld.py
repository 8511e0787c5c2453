import math

import pytest
import torch

from gantlet.core.metric import GroupedTrainMetric, Groups, TrainMetric
from gantlet.core.rng import Rng
from gantlet.metrics.copying import Fld, log_mixtures, variances


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


def fit(centres, x, weight=None, floor=1e-9):
    distances = torch.cdist(x, centres) ** 2
    return variances(
        distances, x, torch.ones(len(x)).double() if weight is None else weight, floor
    )


def test_fitted_widths_are_a_maximum_of_the_likelihood():
    """Of the mixture with the wide component about the mean, which has the weight of a centre."""
    x, centres = draw(150), draw(10, seed=1)
    best = fit(centres, x)
    about = (x - x.mean(0)).square().sum(1)

    def log_density(widths, wide):
        squares = torch.cat([torch.cdist(x, centres) ** 2, about[:, None]], 1)
        v = torch.cat([widths, wide[None]])
        parts = -squares / (2 * v) - 3 * (2 * math.pi * v).log()
        return float(parts.logsumexp(1).sum())

    wide = max(torch.linspace(0.2, 3, 200).double(), key=lambda w: log_density(best, w))
    here = log_density(best, wide)
    for factor in (0.97, 1.03):
        assert log_density(best * factor, wide) < here


def test_a_weight_counts_as_so_many_samples():
    x, centres = draw(80), draw(6, seed=1)
    weight = torch.ones(80, dtype=torch.float64)
    weight[:20] = 3
    again = torch.cat([x, x[:20], x[:20]])
    assert torch.allclose(fit(centres, x, weight), fit(centres, again), rtol=1e-6)


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
    assert 0.85 < width < 1.7


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


@pytest.mark.parametrize("d", [2, 8, 256])
def test_copies_dominate(d):
    """Exact ones above noisy ones above any other flaw, all of them finite."""
    real, fake, train = (draw(300, d, seed=s) for s in range(3))
    found = {
        "good": judge(real, fake, train),
        "moved": judge(real, fake + 1, train),
        "noisy": judge(real, train + 0.02 * fake, train),
        "copies": judge(real, train, train),
    }
    assert all(math.isfinite(e.value) for e in found.values())
    assert found["good"].high < found["moved"].low
    assert found["moved"].high < found["noisy"].low
    assert found["noisy"].high * 100 < found["copies"].low
    assert 1e7 < found["copies"].value < 1e9, "the floor of the widths decides"


def test_copies_are_seen_among_many_more_training_samples_than_fit_the_widths():
    real, train = draw(200, 16), draw(3000, 16, seed=2)
    found = judge(real, train[torch.arange(100) * 29], train, centres=50)
    assert found.low > 1e6
    assert "fitted to 100 of 3000 training samples" in found.method
    good = judge(real, draw(200, 16, seed=3), train, centres=50)
    assert abs(good.value) < 5


def test_a_training_set_of_duplicates_makes_no_copies_of_honest_fakes():
    real, fake, train = draw(seed=0), draw(seed=1), draw(200, seed=2).repeat(2, 1)
    assert abs(judge(real, fake, train).value) < 1e3 < judge(real, train, train).value


def test_discrete_data_are_no_copies():
    """All three sets lie on the same few places: each sample has twins in all of them."""
    real, fake, train = (draw(300, 2, seed=s).round() for s in range(3))
    found = judge(real, fake, train)
    assert found.low < 0 < found.high or abs(found.value) < 100


def test_groups_widen_the_interval_and_change_nothing_else():
    assert isinstance(Fld(), GroupedTrainMetric)
    real, fake = (draw(100, seed=s).repeat_interleave(4, 0) for s in (0, 1))
    group, train = torch.arange(100).repeat_interleave(4), draw(800, seed=2)

    def of(groups):
        return Fld().judge(real, fake, train=train, rng=Rng(0).stream("m"), groups=groups)

    plain, grouped = of(None), of(Groups(group, group))
    assert grouped.value == pytest.approx(plain.value)
    assert grouped.half_width > 1.5 * plain.half_width
    single = of(Groups(None, torch.zeros(400, dtype=torch.int64)))
    assert single.value == pytest.approx(plain.value)
    assert single.low is None
    assert "one group" in single.method


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
