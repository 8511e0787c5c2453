"""Precision, recall, density and coverage against the package of Naeem et al."""

import contextlib
import io
import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.neighbours import Coverage, Density, Precision, Recall

pytestmark = pytest.mark.peers


def theirs(x, y, k):
    prdc = pytest.importorskip("prdc")
    with contextlib.redirect_stdout(io.StringIO()):
        return prdc.compute_prdc(x.numpy(), y.numpy(), k)


def ours(x, y, k):
    found = {}
    for metric in (Precision, Recall, Density, Coverage):
        estimate = metric(k=k).measure(x, y, rng=Rng(0).stream("m"))
        found[metric.__name__.lower()] = estimate.value
    return found


@pytest.mark.parametrize("d", [2, 64, 300])
@pytest.mark.parametrize(("n", "m", "k"), [(500, 500, 5), (300, 450, 3), (450, 200, 1)])
def test_equals_prdc_where_there_are_no_ties(d, n, m, k):
    rng = Rng(d).stream("x")
    x, y = torch.randn(n, d, generator=rng), torch.randn(m, d, generator=rng) * 0.95
    assert ours(x, y, k) == pytest.approx(theirs(x, y, k), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "k"), [(500, 500, 3), (300, 450, 5)])
def test_symmetric_ones_are_the_smaller_of_its_pairs(n, m, k):
    rng = Rng(n).stream("x")
    x, y = torch.randn(n, 64, generator=rng), torch.randn(m, 64, generator=rng) * 0.95
    one, other = theirs(x, y, k), theirs(y, x, k)
    wanted = {
        "symmetric-precision": min(one["precision"], other["coverage"]),
        "symmetric-recall": min(one["recall"], one["coverage"]),
    }
    for name, value in wanted.items():
        found = metrics.make(f"{name}:k={k}").measure(x, y, rng=Rng(0).stream("m"))
        assert found.value == pytest.approx(value, rel=1e-6)


def test_equals_prdc_on_features_like_those_of_a_network():
    """Never negative, with a few strong directions and a mean far from zero."""
    rng = Rng(0).stream("x")
    scale = torch.arange(1, 257).float() ** -0.7
    x, y = ((torch.randn(2, 1200, 256, generator=rng) * scale).clamp_min(0) + 0.4).unbind()
    assert ours(x, y * 1.02, 5) == pytest.approx(theirs(x, y * 1.02, 5), rel=1e-6)


def test_identical_constant_sets_are_equal_here_and_not_there():
    point = torch.full((50, 8), 0.3)
    assert theirs(point, point, 5)["precision"] == 0
    assert ours(point, point, 5)["precision"] == 1


def test_the_example_of_their_manual_at_a_fifth_of_its_size():
    """There N(0, I) of 1000 dimensions, 10,000 samples: precision .477, recall .471, density
    1.056, coverage .974. Density and coverage hardly depend on the number of samples."""
    rng = Rng(0).stream("x")
    x, y = torch.randn(2, 2000, 1000, generator=rng)
    found = ours(x, y, 5)
    assert found == pytest.approx(theirs(x, y, 5), rel=1e-6)
    coverage = 1 - math.prod((1999 - i) / (3999 - i) for i in range(5))
    assert found["coverage"] == pytest.approx(coverage, abs=0.02)
    assert found["density"] == pytest.approx(1, abs=0.15)
