"""PQMass: SciPy's chi-squared, the law under equality, a divergence known in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, kstest

from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.pqmass import Masses


def pair(n=200, m=150, d=4, shift=0.0, seed=0):
    rng = Rng(seed).stream("pair")
    return torch.randn(n, d, generator=rng), torch.randn(m, d, generator=rng) + shift


def measured(x, y, text="pqmass", seed=0, groups=None):
    return metrics.make(text).measure(x, y, rng=Rng(seed).stream("m"), groups=groups)


def test_the_statistic_is_pearsons():
    rng = Rng(0).stream("cells")
    a, b = torch.randint(7, (90, 3), generator=rng), torch.randint(9, (60, 3), generator=rng)
    found, theirs = Masses.of(a, b), []
    for i in range(3):
        counts = np.stack([np.bincount(z[:, i].numpy(), minlength=9) for z in (a, b)])
        table = counts[:, counts.sum(0) > 0]
        theirs.append(chi2_contingency(table, correction=False)[:3:2])
    assert found.chi2 == pytest.approx(np.mean([t[0] for t in theirs]))
    assert found.df == pytest.approx(np.mean([t[1] for t in theirs]))


def test_the_maps_give_back_the_statistic():
    rng = Rng(1).stream("cells")
    a, b = torch.randint(7, (90, 3), generator=rng), torch.randint(9, (60, 3), generator=rng)
    found = Masses.of(a, b)
    x, y = found.maps()
    gap = (x.double().mean(0) - y.double().mean(0)).square().sum()
    assert float(gap) * 90 * 60 / 150 == pytest.approx(found.chi2, rel=1e-5)


def test_under_equality_chi_squared_and_p_follow_their_laws():
    found = [measured(*pair(seed=s), "pqmass:regions=20,tessellations=1", s) for s in range(120)]
    chi2 = np.array([f.also["chi2"] for f in found])
    df = np.mean([f.also["df"] for f in found])
    # A chi-squared number has mean df and variance 2 df.
    assert abs(chi2.mean() - df) < 4 * np.sqrt(2 * df / len(found))
    assert chi2.var() == pytest.approx(2 * df, rel=0.4)  # three standard errors of a variance
    assert kstest([f.also["p"] for f in found], "uniform").pvalue > 0.001
    values = np.array([f.value for f in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(found))
    held = sum(f.low <= 0 <= f.high for f in found)
    assert held >= 107  # of 120; 95 % less three standard errors


def test_two_points_have_the_divergence_of_their_shares():
    """Cells are the two points, so that the truth needs no tessellation."""
    draws, p, q = [], 0.5, 0.8
    truth = sum((a - b) ** 2 / ((a + b) / 2) for a, b in ((p, q), (1 - p, 1 - q)))
    for seed in range(40):
        rng = Rng(seed).stream("points")
        x, y = ((torch.rand(400, 1, generator=rng) < s).float() for s in (p, q))
        draws.append(measured(x, y, "pqmass:regions=40,tessellations=2", seed))
    values = np.array([d.value for d in draws])
    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(40) + 0.01 * truth
    assert sum(d.low <= truth <= d.high for d in draws) >= 34  # of 40; less three


def test_groups_of_copies_give_the_interval_of_single_ones():
    x, y = pair(shift=0.3)
    x2, y2 = (z.repeat_interleave(3, 0) for z in (x, y))
    alone = measured(x, y)
    groups = Groups(torch.arange(600) // 3, torch.arange(450) // 3)
    together, wrong = measured(x2, y2, groups=groups), measured(x2, y2)
    assert "groups" in together.method
    assert together.half_width == pytest.approx(alone.half_width, rel=0.5)
    assert wrong.half_width < 0.8 * together.half_width


def test_what_real_samples_add_can_be_paired():
    x, y = pair(shift=0.3)
    found = metrics.make("pqmass").detail(x, y, rng=Rng(0).stream("m"))
    assert found.real.shape == (200,)
