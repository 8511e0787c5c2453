import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.special import digamma

from gantlet.core.rng import Rng
from gantlet.metrics.frechet import (
    Few,
    FittedNormals,
    Frechet,
    FrechetInfinity,
    Many,
    between,
    bures,
    expansion,
    spread_of,
)
from gantlet.stats import moments
from gantlet.stats.jackknife import difference
from gantlet.stats.moments import Moments


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


def frechet_distance(x, y):
    """What the library gives without a correction for the numbers of samples."""
    return between(spread_of(x), spread_of(y))


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


def normal(n, d, shift, scale, seed):
    x, y = torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)
    return x, y * scale + shift / d**0.5


def measured(n, d, shift, scale, seeds):
    return [
        Frechet().measure(*normal(n, d, shift, scale, seed), rng=Rng(seed).stream("m"))
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.2)])
def test_the_bias_is_removed(shift, scale):
    n, d = 150, 24
    truth = shift**2 + d * (scale - 1) ** 2
    found = measured(n, d, shift, scale, 30)
    values = torch.tensor([e.value for e in found])
    plain = torch.tensor([frechet_distance(*normal(n, d, shift, scale, s)) for s in range(30)])
    error = float(values.std()) / 30**0.5
    assert plain.mean() - truth > 20 * error
    assert abs(values.mean() - truth) < 4 * error
    assert sum(e.low <= truth <= e.high for e in found) >= 25


def test_too_few_samples_for_the_features_leave_no_interval():
    (found,) = measured(20, 30, 0.0, 1.0, 1)
    assert found.value is not None
    assert found.low is None
    assert "no interval" in found.method


def test_the_method_warns_of_fewer_than_four_samples_a_feature():
    (tight,), (ample,) = measured(50, 30, 0.0, 1.0, 1), measured(130, 30, 0.0, 1.0, 1)
    assert "some bias remains" in tight.method
    assert "some bias remains" not in ample.method


def without(x, y, distance):
    """The plain distance without each sample of ``x``, by computing it anew each time."""
    return torch.tensor(
        [distance(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(len(x))], dtype=torch.float64
    )


def by_variances(x, y):
    return float((x.mean(0) - y.mean(0)).square().sum() + (x.std(0) - y.std(0)).square().sum())


def by_means(x, y):
    return float((x.mean(0) - y.mean(0)).square().sum())


SLOW = {"full": frechet_distance, "diagonal": by_variances, "none": by_means}


@pytest.mark.parametrize("covariance", SLOW)
@pytest.mark.parametrize(("n", "m", "d"), [(40, 35, 5), (12, 90, 20), (15, 12, 20)])
def test_leaving_out_each_sample_equals_doing_so(covariance, n, m, d):
    """The closed form against a loop, for both sides, also with fewer samples than features."""
    x, y = draw(n, d, 0), draw(m, d, 1) + 0.5
    slow = SLOW[covariance]
    fitted = FittedNormals(x, y, covariance)
    assert fitted.plain == pytest.approx(slow(x, y), rel=1e-7)
    for side, (a, b) in enumerate(((x, y), (y, x))):
        expected = (len(a) - 1) * (slow(a, b) - without(a, b, slow))
        found = fitted.influences(side)
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) < 1e-4 * scale


@pytest.mark.parametrize("covariance", SLOW)
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.2)])
def test_the_variance_is_right_and_the_centre_unbiased(covariance, shift, scale):
    n, d = 120, 12
    truth = shift**2 + (covariance != "none") * d * (scale - 1) ** 2
    found = []
    for seed in range(120):
        x, y = torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)
        fake = y * scale + shift / d**0.5
        metric = Frechet(covariance=covariance)
        found.append(metric.measure(x, fake, rng=Rng(seed).stream("m")))
    values = torch.tensor([e.value for e in found])
    assert abs(float(values.mean()) - truth) < 3.5 * float(values.std()) / 120**0.5
    # Where the two are equal a little difference may hide: upwards the interval is wider.
    width = sum(e.value - e.low for e in found) / 120 / float(values.std())
    assert 1.2 < width < 3.2
    assert sum(e.low <= truth <= e.high for e in found) >= 105


def test_second_order_of_the_determinant_of_a_wishart_matrix():
    """``E log det(W / k)`` is a sum of digammas; what both covariances add up to is a sum."""
    d, k = 7, 10_000
    exact = sum(digamma((k - i) / 2) + np.log(2 / k) for i in range(d))
    first, second, both = expansion(torch.ones(d, 1, dtype=torch.float64))[:, 0].tolist()
    assert first == -d * (d + 1) / 2
    assert k**2 * (exact - first / k) == pytest.approx(second, rel=1e-2)
    assert both == pytest.approx(0)


def test_second_order_of_the_root_of_a_variance():
    """``E s`` is ``(1 - 1/(4k) + 1/(32k^2) - ...) sigma``, and that of two its product."""
    s = torch.arange(-20, 20, 0.1, dtype=torch.float64).exp()
    q = 1 / (1 + s**2)
    found = expansion(q[None]) @ (s * 0.1) / np.pi
    assert found.tolist() == pytest.approx([-1 / 4, 1 / 32, 1 / 16])


def controlled(fake_variances, n, covariance, replicates):
    """Returns bias with and without the second order, the error of both, and the spread.

    Freed of the chance that it shares with moments whose mean is known.
    """
    d, found, controls = len(fake_variances), [], []
    truth = float((1 - fake_variances.sqrt()).square().sum())
    one = torch.eye(d, dtype=torch.float64)
    for seed in range(replicates):
        x, y = torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)
        fitted = FittedNormals(x, y * fake_variances.sqrt(), covariance)
        value = fitted.detail(Rng(seed).stream("m")).estimate.value
        first = fitted.plain + sum(float(fitted.influences(side).mean()) for side in (0, 1))
        found.append([value - truth, first - truth])
        s, t = (z.T.cov() - one for z in (x, y))
        squares = [float(e.square().sum()) - d * (d + 1) / (n - 1) for e in (s, t)]
        margins = [float(e.diag().square().sum()) - 2 * d / (n - 1) for e in (s, t)]
        traces = [float(e.diag() @ w) for e in (s, t) for w in (one.diag(), fake_variances)]
        mean = x.mean(0) - y.mean(0) * fake_variances.sqrt()
        shift = float(mean.square().sum() - (1 + fake_variances).sum() / n)
        both = [float((s * t).sum()), float(s.diag() @ t.diag())]
        controls.append([1.0, *squares, *margins, *traces, shift, *both])
    values, known = (torch.tensor(z, dtype=torch.float64) for z in (found, controls))
    # Where variances are equal some controls say the same: the solution of least norm is wanted.
    bias = torch.linalg.lstsq(known, values, rcond=1e-9, driver="gelsd").solution
    error = float((values - known @ bias).std(0)[0]) / replicates**0.5
    return *bias[0].tolist(), error, float(values[:, 0].std())


@pytest.mark.parametrize(
    ("covariance", "variances"),
    [("full", (1.0, 1.0)), ("full", (1.6, 0.5)), ("diagonal", (1.6, 0.5))],
)
def test_no_bias_of_second_order_is_left(covariance, variances):
    d, n = 12, 60
    bias, without, error, spread = controlled(
        torch.tensor(variances, dtype=torch.float64).repeat(d // 2), n, covariance, 1500
    )
    assert abs(bias) < 3.5 * error
    assert error < 0.02 * spread
    # Leaving out each sample alone takes off too much.
    assert without < bias - 4 * error or covariance == "diagonal"


def test_correlations_are_seen_by_the_full_covariance_alone():
    z = whitened(400, 2)
    turned = z @ torch.tensor([[1.0, 0.0], [0.9, 0.19**0.5]], dtype=torch.float64)
    turned /= turned.std(0)
    rng = Rng(0).stream("m")
    full, diagonal, none = (
        Frechet(covariance=c).measure(z, turned, rng=rng) for c in ("full", "diagonal", "none")
    )
    assert full.low > 0.05
    assert abs(diagonal.value) < 0.03
    assert abs(none.value) < 0.03


def test_both_roots_of_a_covariance_give_one_distance():
    """The samples themselves against the Cholesky factor: nuclear norm and eigenvalues."""
    x, y = draw(40, 12, 0), draw(50, 12, 1)
    full, thin = [Many(Moments.of([z])) for z in (x, y)], [Few(z) for z in (x, y)]
    expected = bures(*full)
    for a, b in ((thin[0], full[1]), (full[0], thin[1]), (thin[0], thin[1])):
        assert bures(a, b) == pytest.approx(expected, rel=1e-6)


def test_one_wild_feature_does_not_drown_the_others():
    """Eigenvalues of a product of covariances span 24 digits here, their roots 12."""
    z, scale = whitened(300, 5), torch.tensor([1e6, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    wide = torch.tensor([1.0, 1.0, 2.0, 2.0, 2.0], dtype=torch.float64)
    assert frechet_distance(z * scale, z * scale * wide) == pytest.approx(3, rel=1e-2)


@pytest.mark.parametrize("rank", [1, 3])
def test_covariances_without_full_rank(rank):
    """More samples than features, but the features lie in a plane."""
    flat = torch.randn(rank, 6, generator=Rng(5).stream("plane"), dtype=torch.float64)
    x, y = draw(80, rank, 0) @ flat, draw(90, rank, 1) @ flat * 1.3
    found = Frechet().measure(x, y, rng=Rng(0).stream("m"))
    assert found.low < found.value < found.high
    # The same in the plane, where nothing is missing.
    axes = torch.linalg.qr(flat.T).Q
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x @ axes, y @ axes), rel=1e-5)
    there = Frechet().measure(x @ axes, y @ axes, rng=Rng(0).stream("m"))
    assert found.value == pytest.approx(there.value, rel=1e-4)


def test_shards_merge_into_the_distance_of_the_whole():
    x, y = draw(200, 6, 0), draw(150, 6, 1)
    parts = Moments.of([x[:70]]) + Moments.of([x[70:]])
    found = between(Many(parts), Many(Moments.of([y])))
    assert found == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_mapped_files_are_read_in_blocks(tmp_path, monkeypatch):
    x, y = (draw(900, 6, seed).float() for seed in (0, 1))
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="c"))
    whole = Frechet().measure(x, y, rng=Rng(0).stream("m"))
    monkeypatch.setattr(moments, "BLOCK_NUMBERS", 600)
    parts = Frechet().measure(mapped, y, rng=Rng(0).stream("m"))
    assert parts.value == pytest.approx(whole.value, rel=1e-9)
    assert parts.low == pytest.approx(whole.low, rel=1e-9)


def test_generators_judged_by_the_same_real_samples_are_told_apart_better():
    real = draw(400, 8, 0)
    a, b = draw(400, 8, 0) + 3, draw(400, 8, 0) * 1.1
    b = b.flip(0) + 4
    one, other = (Frechet().detail(real, z, rng=Rng(0).stream("m")) for z in (a, b))
    found = difference(one, other)
    assert found.value == pytest.approx(one.estimate.value - other.estimate.value)
    alone = (one.estimate.half_width**2 + other.estimate.half_width**2) ** 0.5
    assert 0 < found.half_width < alone
    # The detail holds the whole variance of the estimate.
    variance = float(one.real.var()) / 400 + one.rest.value
    assert one.estimate.half_width == pytest.approx(1.96 * variance**0.5, rel=0.02)


def test_extrapolation_agrees_with_leaving_out():
    for shift, scale in ((0.0, 1.0), (1.0, 1.2)):
        truth, found = shift**2 + 6 * (scale - 1) ** 2, []
        for seed in range(60):
            x, y = torch.randn(2, 200, 6, generator=Rng(seed).stream("x"), dtype=torch.float64)
            fake = y * scale + shift / 6**0.5
            found.append(FrechetInfinity().measure(x, fake, rng=Rng(seed).stream("m")))
        values = torch.tensor([e.value for e in found])
        assert abs(float(values.mean()) - truth) < 3.5 * float(values.std()) / 60**0.5
        width = sum(e.half_width for e in found) / 60 / float(values.std())
        assert 1.5 < width < 2.8
        assert sum(e.low <= truth <= e.high for e in found) >= 52


def test_extrapolation_needs_samples():
    found = FrechetInfinity().measure(draw(20, 10), draw(90, 10), rng=Rng(0).stream("m"))
    assert found.value is None
    assert "twice the features" in found.method
