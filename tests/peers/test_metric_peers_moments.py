"""Distances of features against other packages, where the definition is the same."""

import pytest
import torch
from torch import nn

from gantlet.core.rng import Rng
from gantlet.metrics.frechet import between, spread_of
from gantlet.metrics.kernel import energy_distance, gaussian_discrepancy, kernel_distance
from gantlet.metrics.mifid import MiFid

pytestmark = pytest.mark.peers


def draw(n=150, m=120, d=12):
    rng = Rng(0).stream("features")
    mix = torch.randn(d, d, generator=rng, dtype=torch.float64)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64) @ mix
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) @ mix * 1.1 + 0.3


def rng():
    return Rng(0).stream("m")


class Flat(nn.Module):
    """A feature extractor that passes vectors in the shape of images on as they are."""

    num_features = 12

    def forward(self, x):
        return x.flatten(1)


def images(x):
    return x[:, None, None, :]


@pytest.fixture
def fid():
    module = pytest.importorskip("torchmetrics.image.fid", exc_type=ImportError)
    found = module.FrechetInceptionDistance(Flat(), normalize=True, input_img_size=(1, 1, 12))
    return found.set_dtype(torch.float64)


def test_frechet_equals_torchmetrics(fid):
    x, y = draw()
    fid.update(images(x), real=True)
    fid.update(images(y), real=False)
    assert between(spread_of(x), spread_of(y)) == pytest.approx(float(fid.compute()), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kid_equals_torchmetrics_on_subsets_that_hold_all():
    """Theirs has subsets of one size, so both sets must be equally large."""
    module = pytest.importorskip("torchmetrics.image.kid", exc_type=ImportError)
    x, y = draw(120, 120)
    theirs = module.KernelInceptionDistance(Flat(), subsets=1, subset_size=120, normalize=True)
    theirs.set_dtype(torch.float64)
    theirs.update(images(x), real=True)
    theirs.update(images(y), real=False)
    with torch.random.fork_rng():  # it draws from the global state
        mean, _ = theirs.compute()
    assert kernel_distance(x, y, rng=rng()).value == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Memorization-Informed Frechet")
@pytest.mark.parametrize("threshold", [1e-4, 0.5])
def test_mifid_equals_torchmetrics(threshold):
    """Theirs takes the nearest fake of each real sample: the sets are given to it swapped."""
    module = pytest.importorskip("torchmetrics.image.mifid", exc_type=ImportError)
    theirs = module.MemorizationInformedFrechetInceptionDistance(
        Flat(), normalize=True, cosine_distance_eps=threshold
    )
    theirs.set_dtype(torch.float64)
    x, y = draw()
    theirs.update(images(y), real=True)
    theirs.update(images(x), real=False)
    found = MiFid(threshold=threshold).judge(x, y, train=x, rng=rng())
    assert found.also["published"] == pytest.approx(float(theirs.compute()), rel=1e-5)


def within(kernel, x):
    k = kernel(x, x)
    return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))


def by_kernel(kernel, x, y):
    x, y = x.numpy(), y.numpy()
    return float(within(kernel, x) + within(kernel, y) - 2 * kernel(x, y).mean())


def test_kid_equals_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = draw()

    def kernel(a, b):
        return pairwise.polynomial_kernel(a, b, degree=3, gamma=None, coef0=1)

    found = kernel_distance(x, y, rng=rng()).value
    assert found == pytest.approx(by_kernel(kernel, x, y), rel=1e-9)


def test_mmd_equals_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = draw()

    def kernel(a, b):
        return pairwise.rbf_kernel(a, b, gamma=1 / (2 * 2.5**2))

    found = gaussian_discrepancy(x, y, 2.5, rng=rng()).value
    assert found == pytest.approx(by_kernel(kernel, x, y), rel=1e-9)


def test_energy_equals_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = draw()

    def kernel(a, b):
        return -pairwise.euclidean_distances(a, b)

    found = energy_distance(x, y, rng=rng()).value
    assert found == pytest.approx(by_kernel(kernel, x, y), rel=1e-9)


def test_frechet_equals_pot_on_its_normal_distributions():
    """POT has the root of it, from means and covariances."""
    ot = pytest.importorskip("ot")
    x, y = draw()
    theirs = ot.gaussian.bures_wasserstein_distance(
        x.mean(0), y.mean(0), torch.cov(x.T), torch.cov(y.T)
    )
    assert between(spread_of(x), spread_of(y)) == pytest.approx(float(theirs) ** 2, rel=1e-6)
