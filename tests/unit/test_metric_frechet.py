import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from gantlet.core.rng import Rng
from gantlet.metrics.frechet import Frechet, frechet_distance


def draw(n, d, seed=0):
    rng = Rng(seed).stream("features")
    mix = torch.randn(d, d, generator=rng, dtype=torch.float64)
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ mix


def by_matrix_root(x, y):
    """The formula as the paper has it."""
    x, y = x.numpy(), y.numpy()
    s1, s2 = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    shift = x.mean(0) - y.mean(0)
    return shift @ shift + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)


def whitened(n, d):
    """Samples whose mean is exactly 0 and whose covariance is exactly the identity."""
    x = draw(n, d)
    x -= x.mean(0)
    return torch.linalg.qr(x).Q * (n - 1) ** 0.5


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (200, 150, 1), (30, 300, 20)])
def test_equals_the_matrix_root(n, m, d):
    x, y = draw(n, d, 0), draw(m, d, 1) + 0.5
    assert float(frechet_distance(x, y)) == pytest.approx(by_matrix_root(x, y), rel=1e-9)


def test_closed_form_of_normal_features():
    """sum (sqrt a - sqrt b)^2 + |m1 - m2|^2 where the covariances share their axes."""
    z = whitened(500, 6)
    a = torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    b, mean = a.flip(0), torch.arange(6.0, dtype=torch.float64)
    expected = (a.sqrt() - b.sqrt()).square().sum() + mean.square().sum()
    found = frechet_distance(z * a.sqrt(), z.flip(0) * b.sqrt() + mean)
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(100, 10), (10, 100)])
def test_a_set_is_at_no_distance_from_itself(n, d):
    x = draw(n, d)
    assert abs(float(frechet_distance(x, x))) < 1e-6 * float(x.var(0).sum())


def test_fewer_samples_than_features_equal_the_full_form():
    """The root with a column for each sample against that with one for each feature."""
    x, y = draw(12, 30, 0), draw(9, 30, 1)
    assert float(frechet_distance(x, y)) == pytest.approx(by_matrix_root(x, y), rel=1e-5)
    # Sets that differ in width of root: the distance is symmetric all the same.
    z = draw(200, 30, 2)
    forth, back = frechet_distance(x, z), frechet_distance(z, x)
    assert float(forth) == pytest.approx(float(back), rel=1e-7)


def test_is_invariant_under_rotation():
    x, y = draw(100, 5, 0), draw(100, 5, 1)
    q = torch.linalg.qr(draw(5, 5, 2)).Q
    there = frechet_distance(x @ q, y @ q)
    assert float(there) == pytest.approx(float(frechet_distance(x, y)), rel=1e-9)


def measured(n, d, shift, scale, seeds):
    found = []
    for seed in range(seeds):
        x, y = torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)
        fake = y * scale + shift / d**0.5
        found.append(Frechet().measure(x, fake, rng=Rng(seed).stream("m")))
    return found


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.2)])
def test_the_bias_is_removed(shift, scale):
    n, d = 150, 24
    truth = shift**2 + d * (scale - 1) ** 2
    found = measured(n, d, shift, scale, 30)
    values = torch.tensor([e.value for e in found])
    plain = torch.tensor([float(e.method.split()[1].strip(",")) for e in found])
    error = float(values.std()) / 30**0.5
    assert plain.mean() - truth > 20 * error
    assert abs(values.mean() - truth) < 4 * error
    assert sum(e.low <= truth <= e.high for e in found) >= 25


def test_too_few_samples_for_the_features_leave_no_interval():
    (found,) = measured(20, 30, 0.0, 1.0, 1)
    assert found.value is not None
    assert found.low is None
    assert "no interval" in found.method


def test_the_method_warns_of_fewer_than_two_samples_a_feature():
    (tight,), (ample,) = measured(50, 30, 0.0, 1.0, 1), measured(70, 30, 0.0, 1.0, 1)
    assert "too narrow" in tight.method
    assert "too narrow" not in ample.method
