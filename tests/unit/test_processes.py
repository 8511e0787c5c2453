"""Random processes: their second moments and other truths in closed form."""

import math

import pytest
import torch

from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets


def drawn(form, n=20_000):
    return all_samples(datasets.make(f"process:{form},n={n},held_out=10").load(rng=Rng(0)).train)


def test_a_series_obeys_the_yule_walker_equations():
    r, x = 0.8, drawn("kind=series,size=12,memory=0.8").double()
    a, b = 2 * r * math.cos(2 * math.pi / 8), -(r**2)
    first, second = a / (1 - b), a**2 / (1 - b) + b
    variance = 1 / (1 - a * first - b * second)
    assert x.var(0).mean() == pytest.approx(variance, rel=0.03)
    assert (x[:, 1:] * x[:, :-1]).mean() / variance == pytest.approx(first, abs=0.02)
    assert (x[:, 2:] * x[:, :-2]).mean() / variance == pytest.approx(second, abs=0.02)


def test_a_field_is_correlated_by_distance():
    x = drawn("kind=field,size=9,memory=0.7").double()
    correlation = torch.corrcoef(x.T)
    assert correlation[0, 1] == pytest.approx(0.7, abs=0.02)
    assert correlation[0, 4] == pytest.approx(0.7 ** math.sqrt(2), abs=0.02)
    assert correlation[0, 8] == pytest.approx(0.7 ** math.sqrt(8), abs=0.02)


def test_returns_have_unit_variance_and_are_uncorrelated_but_for_their_squares():
    x = drawn("kind=returns,size=6,memory=0.8").double()
    assert x.var(0).mean() == pytest.approx(1.0, rel=0.1)
    assert (x[:, 1:] * x[:, :-1]).mean().abs() < 0.03
    square = x.abs().clamp(max=4)
    assert torch.corrcoef(square[:, :2].T)[0, 1] > 0.05


def test_leaves_are_grey_values_and_often_flat():
    x = drawn("kind=leaves,size=9,memory=0.9", 3000)
    assert x.min() >= 0
    assert x.max() <= 1
    # The middle pixel of a uniform grey has variance 1 / 12.
    assert x[:, 4].var() == pytest.approx(1 / 12, rel=0.1)
    assert (x[:, 4] == x[:, 5]).float().mean() > 0.5


def test_factors_explain_the_stated_share_of_a_table():
    splits = datasets.make("process:kind=table,size=12,memory=0.6,n=30000").load(rng=Rng(0))
    x, label = all_samples(splits.train).double(), splits.train.labels
    plain = x[:, 2::3][label == 0]
    # Within a class the variance of a column is that of factors and noise: 1.
    assert plain.var(0).tolist() == pytest.approx([1.0] * 4, rel=0.05)
    assert x[:, 1::3].min() > 0
    assert x[:, 1::3].max() < 1
    assert x[:, 0::3].min() > 0


def test_strokes_are_whole_levels():
    x = drawn("kind=strokes,size=16,memory=0.8", 2000)
    assert torch.equal(x, x.round())
    assert x.min() == 0
    assert x.max() == 16


def test_another_world_is_another_table():
    a, b = (drawn(f"kind=table,size=6,world={k}", 2000) for k in (0, 1))
    assert not torch.allclose(torch.corrcoef(a.T), torch.corrcoef(b.T), atol=0.1)


def test_a_patch_must_be_square():
    with pytest.raises(UserError, match=r"square patch: size=9, 16, 25, \.\.\. Got 10\."):
        datasets.make("process:kind=leaves,size=10")
