"""The honest baselines: closed forms, scikit-learn as a second opinion, and what they refuse."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Density
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families
from gantlet.models.nets import bits_per_dim
from gantlet.testing import check_fitted

SPACES = [
    Space("vector", (2,)),
    Space("vector", (3,), 4),
    Space("image", (1, 8, 8), 17),
    Space("image", (3, 4, 4), 256),
    Space("image", (1, 3, 5)),
]
SPECS = ["histogram", "histogram:alpha=0", "memorizer", "gmm:components=3"] + [
    f"gmm:components=2,covariance={c}" for c in ("tied", "diag", "spherical")
]


def _stream(seed=0):
    return Rng(seed).stream("test")


def _fit(spec, x, space=None, seed=0):
    space = space or Space("vector", tuple(x.shape[1:]))
    return families.make(spec).fit(space, x, rng=Rng(seed))


def _clusters(n=400, d=3, seed=0):
    rng = _stream(seed)
    centres = 5 * torch.randn(4, d, generator=rng)
    which = torch.randint(4, (n,), generator=rng)
    return centres[which] + torch.randn(n, d, generator=rng)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
@pytest.mark.parametrize("spec", [s for s in SPECS if "alpha=0" not in s])
def test_baselines_keep_the_contract(spec, space):
    check_fitted(families.make(spec), space)


@pytest.mark.parametrize("spec", SPECS)
def test_wrong_samples_are_refused(spec):
    space = Space("image", (1, 2, 2), 4)
    for x, words in [
        (torch.full((9, 1, 2, 2), math.nan), "9 of the 9 samples of train hold NaN"),
        (torch.full((9, 1, 2, 2), 4.0), "whole numbers from 0 to 3"),
        (torch.zeros(9, 4), "must have shape"),
        (torch.zeros(9, 1, 2, 2, dtype=torch.long), "must be floating point"),
    ]:
        with pytest.raises(UserError, match=words):
            families.make(spec).fit(space, x, rng=Rng(0))


@pytest.mark.parametrize("spec", SPECS)
def test_global_random_state_is_left_alone(spec):
    def theirs():
        return np.random.get_state()[1].copy()  # noqa: NPY002 the legacy state is what we look at

    before, ours = theirs(), torch.random.get_rng_state()
    fit = _fit(spec, _clusters())
    fit.model.sample(10, rng=_stream())
    assert np.array_equal(before, theirs())
    assert torch.equal(ours, torch.random.get_rng_state())


@pytest.mark.parametrize("spec", SPECS)
def test_no_samples_have_the_right_shape(spec):
    assert _fit(spec, _clusters()).model.sample(0, rng=_stream()).shape == (0, 3)


# Histogram


def test_histogram_of_even_counts_is_exactly_uniform():
    space = Space("image", (1, 8, 8), 17)
    x = torch.arange(17.0)[:, None, None, None].expand(17, 1, 8, 8)
    model = _fit("histogram", x, space).model
    found = model.log_prob(x, rng=_stream())
    assert found.kind == "exact"
    bits = bits_per_dim(found.value, space)
    assert torch.allclose(bits, torch.tensor(math.log2(17)), atol=1e-6)


def test_histogram_probabilities_are_smoothed_counts_and_sum_to_one():
    space = Space("vector", (2,), 3)
    x = torch.tensor([[0.0, 2], [0, 2], [1, 2], [0, 1]])
    model = _fit("histogram:alpha=0.5", x, space).model
    every = torch.tensor(list(itertools.product(range(3), repeat=2))).double()
    p = model.log_prob(every, rng=_stream()).value.exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert float(p[2]) == pytest.approx((3.5 / 5.5) * (3.5 / 5.5), abs=1e-12)
    assert float(p[6]) == pytest.approx((0.5 / 5.5) * (0.5 / 5.5), abs=1e-12)


def test_histogram_samples_follow_its_probabilities():
    space = Space("vector", (2,), 4)
    x = torch.tensor([[0.0, 3], [0, 3], [1, 3], [3, 1], [3, 1]])
    model = _fit("histogram:alpha=0", x, space).model
    y = model.sample(5000, rng=_stream())
    space.check(y)
    for column, p in ((0, [0.4, 0.2, 0.0, 0.4]), (1, [0.0, 0.4, 0.0, 0.6])):
        seen = np.bincount(y[:, column].int().numpy(), minlength=4)
        some = np.array(p) > 0
        assert seen[~some].sum() == 0
        assert stats.chisquare(seen[some], 5000 * np.array(p)[some]).pvalue > 1e-3


def test_histogram_density_integrates_to_one():
    x = torch.tensor([0.0, 0.1, 0.3, 2.0])[:, None]
    model = _fit("histogram:bins=5,alpha=0.5", x).model
    grid = torch.linspace(-20, 22, 840_001, dtype=torch.float64)[:, None]
    found = model.log_prob(grid, rng=_stream())
    assert found.kind == "exact"
    assert float(torch.trapezoid(found.value.exp(), grid[:, 0])) == pytest.approx(1, abs=2e-5)
    assert bool(found.value.isfinite().all())
    # Three of four samples in the first of five bins of width 0.4, and the tail's share, 2 / 5.
    inside = 0.6 * (3 + 0.5) / (4 + 2.5) / 0.4
    tail = 0.4 * stats.norm.pdf(0.2, loc=1, scale=2)
    at = model.log_prob(torch.tensor([[0.2]]).double(), rng=_stream()).value.exp()
    assert float(at) == pytest.approx(inside + tail, rel=1e-6)


def test_histogram_samples_follow_its_density():
    x = torch.randn(2000, 2, generator=_stream()).double().float()
    model = _fit("histogram:bins=16", x).model
    y = model.sample(4000, rng=_stream(1)).double()
    grid = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    one = model.log_prob(torch.stack([grid, torch.zeros_like(grid)], 1), rng=_stream()).value.exp()
    cdf = torch.cumulative_trapezoid(one, grid)
    cdf = np.append(0, (cdf / cdf[-1]).numpy())
    found = stats.kstest(y[:, 0].numpy(), lambda v: np.interp(v, grid.numpy(), cdf))
    assert found.pvalue > 1e-3


def test_histogram_of_a_constant_component():
    x = torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    model = _fit("histogram", x).model
    assert bool(model.log_prob(x, rng=_stream()).value.isfinite().all())
    assert float((model.sample(200, rng=_stream())[:, 1] - 7).abs().median()) < 0.5


def test_histogram_of_digits_has_the_known_bits_per_dimension():
    data = datasets.make("digits")
    for seed in range(3):
        splits = data.load(rng=Rng(seed))
        model = _fit("histogram", all_samples(splits.train), data.space, seed).model
        value = model.log_prob(all_samples(splits.test), rng=_stream()).value
        assert float(bits_per_dim(value, data.space).mean()) == pytest.approx(2.42, abs=0.02)


def test_histogram_flops_are_one_addition_for_each_value():
    assert _fit("histogram", _clusters(50, 4)).flops == 200


# Gaussian mixture


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_gmm_scores_as_scikit_learn_does(covariance):
    x = _clusters()
    model = _fit(f"gmm:components=4,covariance={covariance}", x).model
    peer = GaussianMixture(4, covariance_type="full")
    factor = model.precision if covariance in {"full", "tied"} else model.precision.diag_embed()
    peer.weights_, peer.means_ = model.weights.numpy(), model.means.numpy()
    peer.precisions_cholesky_ = factor.numpy()
    y = model.scaling(x.double())
    assert np.allclose(model.score(y).numpy(), peer.score_samples(y.numpy()), atol=1e-6, rtol=0)
    volume = np.log(model.scaling.scale.numpy()).sum()
    found = model.log_prob(x.double(), rng=_stream())
    assert found.kind == "exact"
    assert np.allclose(found.value, peer.score_samples(y.numpy()) - volume, atol=1e-6, rtol=0)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_gmm_is_the_fit_that_scikit_learn_finds(covariance):
    x = _clusters()
    fit = _fit(f"gmm:components=4,covariance={covariance}", x)
    y = fit.model.scaling(x.double()).numpy()
    peer = GaussianMixture(4, covariance_type=covariance, n_init=5, random_state=0).fit(y)
    ours = float(fit.model.score(torch.from_numpy(y)).mean())
    assert ours == pytest.approx(peer.score(y), abs=0.02)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_gmm_samples_have_its_moments(covariance):
    model = _fit(f"gmm:components=1,covariance={covariance}", _clusters()).model
    y = model.scaling(model.sample(20_000, rng=_stream()).double())
    factor = model.precision if model.precision.ndim == 3 else model.precision.diag_embed()
    exact = torch.linalg.inv(factor[0] @ factor[0].T)
    assert torch.allclose(y.mean(0), model.means[0], atol=0.05)
    assert torch.allclose(y.T.cov(), exact, atol=0.05)


def test_gmm_samples_share_out_as_its_weights():
    x = torch.cat([torch.randn(300, 2, generator=_stream()), torch.full((100, 2), 50.0)])
    x[300:] += torch.randn(100, 2, generator=_stream(1))
    model = _fit("gmm:components=2", x).model
    far = (model.sample(8000, rng=_stream())[:, 0] > 25).sum()
    assert stats.binomtest(int(far), 8000, 0.25).pvalue > 1e-3


def test_gmm_density_integrates_to_one():
    model = _fit("gmm:components=3", _clusters(d=1)).model
    grid = torch.linspace(-40, 40, 80_001, dtype=torch.float64)[:, None]
    p = model.log_prob(grid, rng=_stream()).value.exp()
    assert float(torch.trapezoid(p, grid[:, 0])) == pytest.approx(1, abs=1e-8)


def test_gmm_bounds_the_probability_of_a_level_from_below():
    space = Space("vector", (1,), 6)
    x = torch.tensor([0.0, 1, 1, 2, 4, 5, 5, 5])[:, None].repeat(20, 1)
    model = _fit("gmm:components=2", x, space).model
    fine = (torch.arange(2000).double() + 0.5) / 2000
    for level in range(6):
        y = model.scaling((level + fine)[:, None])
        log_density = model.score(y) + model.scaling.log_volume()
        exact = float(log_density.exp().mean().log())
        levels = torch.full((4000, 1), float(level))
        found = model.log_prob(levels, rng=_stream())
        assert found.kind == "lower"
        bound = float(found.value.mean())
        assert bound == pytest.approx(float(log_density.mean()), abs=0.1)
        assert bound < exact + 0.02


def test_gmm_on_digits():
    data = datasets.make("digits")
    splits = data.load(rng=Rng(0))
    fit = _fit("gmm", all_samples(splits.train), data.space)
    value = fit.model.log_prob(all_samples(splits.test), rng=_stream()).value
    bits = float(bits_per_dim(value, data.space).mean())
    assert 2.5 < bits < 2.9
    assert 1e8 < fit.flops < 1e10


def test_gmm_flops_of_one_iteration():
    x = _clusters(100, 3)
    full = _fit("gmm:components=1,iterations=1", x).flops
    diagonal = _fit("gmm:components=1,iterations=1,covariance=diag", x).flops
    # Two whitenings' worth more, 4 n d^2 + 4 d^3 / 3, against 8 n d; k-means and means are equal.
    assert full - diagonal == pytest.approx(4 * 100 * 9 + 36 - 8 * 100 * 3)


def test_gmm_that_does_not_converge_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _fit("gmm:components=8,iterations=1", _clusters())
        _fit("gmm:components=5", torch.ones(20, 2))


def test_gmm_depends_on_the_threads_of_the_trial_not_of_the_machine():
    digits = datasets.make("digits")
    x = all_samples(digits.load(rng=Rng(0)).train)
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            fits.append(_fit("gmm:iterations=3", x, digits.space).model.state_dict())
    for name, tensor in fits[0].items():
        assert torch.equal(tensor, fits[1][name]), name


def test_gmm_seeds():
    x = _clusters()
    one, same, other = (_fit("gmm:components=7", x, seed=s).model.state_dict() for s in (0, 0, 1))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["means"], other["means"])


@pytest.mark.parametrize(
    ("spec", "space", "n", "words"),
    [
        ("gmm", Space("vector", (2,)), 9, "gmm:components=10 needs as many samples. Got 9"),
        ("gmm:covariance=full", Space("image", (3, 32, 32), 256), 20, "use gmm:covariance=diag"),
        ("gmm:covariance=tied", Space("vector", (1025,)), 20, "at most 1024 components"),
    ],
)
def test_gmm_refuses(spec, space, n, words):
    with pytest.raises(UserError, match=words):
        families.make(spec).fit(space, torch.zeros(n, *space.shape), rng=Rng(0))


def test_gmm_with_diagonal_covariance_takes_large_samples():
    space = Space("image", (3, 32, 32), 256)
    x = torch.randint(256, (40, 3, 32, 32), generator=_stream()).float()
    model = _fit("gmm:components=2,covariance=diag", x, space).model
    assert bool(model.log_prob(x, rng=_stream()).value.isfinite().all())
    space.check(model.sample(3, rng=_stream()))


def test_gmm_without_regularisation_can_be_singular():
    with pytest.raises(UserError, match="is singular; raise regularisation from 0"):
        _fit("gmm:components=2,regularisation=0", torch.ones(20, 2))


# Memorizer


def test_memorizer_repeats_training_samples():
    space = Space("image", (1, 2, 2), 256)
    x = torch.randint(256, (30, 1, 2, 2), generator=_stream()).float()
    fit = _fit("memorizer", x, space)
    assert fit.flops == 0
    assert not isinstance(fit.model, Density)
    assert fit.model.state_dict()["samples"].dtype == torch.uint8
    y = fit.model.sample(3000, rng=_stream())
    known = {tuple(row.tolist()) for row in x.flatten(1)}
    counts = dict.fromkeys(known, 0)
    for row in y.flatten(1):
        counts[tuple(row.tolist())] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_memorizer_is_not_changed_through_its_training_data():
    x = _clusters(5)
    model = _fit("memorizer", x).model
    x.zero_()
    assert float(model.sample(5, rng=_stream()).abs().sum()) > 0
