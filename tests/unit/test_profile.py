"""The features of a profile where the truth is known, and on sets that have none."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.datasets import make_swiss_roll

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.forecast import estimators
from gantlet.forecast.profile import FEATURES, Profile, image_profile, profile

N = 1500


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of(x: np.ndarray) -> Profile:
    return profile(torch.from_numpy(np.asarray(x, dtype=float)), rng=Rng(0))


def sphere(d: int, n: int = N) -> np.ndarray:
    x = random().normal(size=(n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def blobs(apart: float, d: int, n: int = N) -> np.ndarray:
    x = random().normal(size=(n, d))
    x[:, 0] += apart * (random(1).random(n) < 0.5)
    return x


# ----------------------------------------------------------------------------
# Known truths.
# ----------------------------------------------------------------------------


def test_the_dimension_of_a_sphere_has_the_known_downward_bias() -> None:
    # Published for 1,500 points on the 10-sphere: MLE 8.88, TwoNN 9.65.
    p = of(sphere(10))
    assert p["id_mle"] == pytest.approx(8.9, abs=0.3)
    assert p["id_twonn"] == pytest.approx(9.65, abs=0.8)
    assert p["effective_rank"] == pytest.approx(11, abs=0.2)
    assert p["codimension"] == pytest.approx(math.log(11 / p["id_mle"]))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_low_dimensions_are_right_within_a_tenth(d: int) -> None:
    p = of(random(d).normal(size=(N, d)) @ random(9).normal(size=(d, 12)))
    assert p["id_mle"] == pytest.approx(d, rel=0.1)
    assert p["id_twonn"] == pytest.approx(d, rel=0.15)
    assert p["samples_per_dimension"] == pytest.approx(math.log(N) / p["id_mle"])
    assert p["coverage"] == pytest.approx(math.log(N) - p["id_mle"])


def test_a_swiss_roll_is_a_connected_surface_in_space() -> None:
    p = of(make_swiss_roll(N, random_state=0)[0])
    assert p["id_mle"] == pytest.approx(2, abs=0.2)
    assert p["id_twonn"] == pytest.approx(2, abs=0.2)
    assert p["effective_rank"] == pytest.approx(3, abs=0.2)
    assert p["mst_count"] == 0
    assert p["components"] >= 16  # a curved sheet takes many Gaussians


def test_a_gaussian_needs_nothing_special() -> None:
    p = of(random(3).normal(size=(N, 3)))
    assert p["modes"] == p["components"] == 1
    assert p["separation"] == p["imbalance"] == 0
    assert p["kurtosis"] == pytest.approx(3, abs=0.3)
    assert p["density_spread"] == pytest.approx(1, abs=0.25)
    assert p["roughness"] == pytest.approx(math.log(2.4), abs=0.15)
    assert p["non_gaussianity"] < -3
    assert p["dip"] < 0.02
    # The largest over some ninety directions of an estimate that is noisy.
    assert 0 <= p["bottleneck"] < 1


@pytest.mark.parametrize("apart", [4.0, 5.0])
def test_two_blobs_need_the_lipschitz_constant_of_theory(apart: float) -> None:
    p = of(blobs(apart, 2))
    truth = apart**2 / 8 - 0.5 * math.log(1 + apart**2 / 4)
    assert p["bottleneck"] == pytest.approx(truth, abs=0.5)
    assert p["modes"] == 2
    assert p["separation"] == pytest.approx(apart, rel=0.08)
    assert p["imbalance"] == pytest.approx(0, abs=0.01)


def test_the_lipschitz_estimate_itself_follows_theory_in_one_dimension() -> None:
    z = np.sort(blobs(4.0, 1, 100_000)[:, 0])
    truth = math.exp(2) / math.sqrt(5)
    assert estimators.lipschitz_along(z) == pytest.approx(truth, rel=0.1)
    assert estimators.lipschitz_along(random().normal(size=100_000)) == pytest.approx(1, abs=0.1)


def test_connectivity_reacts_to_a_gap_and_not_to_scale() -> None:
    near, far = of(blobs(0.0, 2)), of(blobs(20.0, 2))
    assert far["mst_gap"] > near["mst_gap"] + 0.5
    assert far["lambda2"] == -6
    assert near["lambda2"] > -3
    assert far["soft_components"] >= math.log(2)
    moved = of(1000 * blobs(20.0, 2) + 7)
    for name in FEATURES:
        assert moved[name] == pytest.approx(far[name], rel=1e-6, abs=1e-6), name


def test_tree_edges_are_those_of_scipy() -> None:
    from scipy.sparse.csgraph import minimum_spanning_tree

    x = random().normal(size=(60, 3))
    table = estimators.distances(x, x)
    reference = np.sort(minimum_spanning_tree(table).data)
    np.testing.assert_allclose(np.sort(estimators.tree_edges(table)), reference)


@pytest.mark.parametrize(("nu", "tolerance"), [(2.2, 0.15), (5.0, 0.08)])
def test_the_hill_index_is_that_of_the_tail(nu: float, tolerance: float) -> None:
    radii = np.abs(random().standard_t(nu, size=200_000))
    assert estimators.hill(radii, 0.002) == pytest.approx(1 / nu, abs=tolerance / 3)
    assert of(random().standard_t(nu, size=(N, 1)))["hill"] == pytest.approx(1 / nu, abs=tolerance)


def test_heavy_tails_are_seen() -> None:
    heavy, light = of(random().standard_t(2.2, size=(N, 3))), of(random().random((N, 3)))
    assert heavy["hill"] > 0.25 > light["hill"]
    assert heavy["kurtosis"] > 9
    assert heavy["density_spread"] > 1.2
    assert light["kurtosis"] < 3
    assert of(random().random((N, 1)))["kurtosis"] == pytest.approx(1.8, abs=0.05)


def test_a_cube_is_one_mode_with_sharp_edges_and_flat_density() -> None:
    p = of(random().random((N, 2)))
    assert p["modes"] == 1
    assert p["density_spread"] < 0.45
    one = random(1).random(N)
    assert estimators.fine_structure(one) == pytest.approx(3.7, abs=0.6)
    assert estimators.fine_structure(random(1).normal(size=N)) == pytest.approx(2.4, abs=0.3)


def test_modes_and_weights_of_a_mixture_are_found() -> None:
    weights = 1 / np.arange(1, 9)
    weights /= weights.sum()
    of_mode = random().choice(8, N, p=weights)
    angle = 2 * np.pi * of_mode / 8
    x = 10 * np.stack([np.cos(angle), np.sin(angle)], 1) + random(2).normal(size=(N, 2))
    p = of(x)
    assert p["modes"] == pytest.approx(8, abs=1)
    truth = math.log(8) + float((weights * np.log(weights)).sum())
    assert p["imbalance"] == pytest.approx(truth, abs=0.08)
    assert p["separation"] == pytest.approx(20 * math.sin(math.pi / 8), rel=0.1)


def test_energy_distance_to_the_gaussian_is_that_of_a_closed_form() -> None:
    # For X uniform on [-1, 1] and G normal of the same variance, by numerical integration of
    # 2 * integral of (F - G)^2.
    t = np.linspace(-6, 6, 200_001)
    from scipy.stats import norm

    gap = np.clip((t + 1) / 2, 0, 1) - norm.cdf(t, scale=1 / math.sqrt(3))
    truth = 2 * float((gap**2).mean() * 12) / (2 / 3)
    found = np.mean(
        [10 ** of(random(s).uniform(-1, 1, (N, 1)))["non_gaussianity"] for s in range(5)]
    )
    assert found == pytest.approx(truth, rel=0.4)


def test_duplicates_are_a_share_and_do_not_break_the_rest() -> None:
    x = random().normal(size=(300, 2))
    p = of(np.vstack([x, x[:100]]))
    assert p["duplicates"] == pytest.approx(0.25)
    assert p["id_mle"] == pytest.approx(of(x)["id_mle"], rel=0.05)


def test_noise_is_incompressible_and_a_constant_background_is_not() -> None:
    noise = random().normal(size=(400, 50))
    half = noise * (np.arange(50) < 5)
    assert of(noise)["complexity"] > 3
    assert of(half)["complexity"] < 1


# ----------------------------------------------------------------------------
# The dip against its definition, and against others.
# ----------------------------------------------------------------------------


def dip_by_programming(z: np.ndarray) -> float:
    """The smallest sup-distance to a distribution function convex, then concave: a linear
    program for each position of the mode."""
    return min(_dip_at(np.sort(z), m) for m in range(len(z)))


def _dip_at(z: np.ndarray, m: int) -> float:
    # Unknowns: the left part at z[0..m], the right part at z[m..], and the distance.
    n = len(z)
    at = [*range(m + 1), *range(m, n)]
    size, rows, limits = n + 1, [], []
    for i, j in enumerate(at):
        value, distance = np.eye(n + 2)[i], np.eye(n + 2)[-1]
        below, above = (j / n, (j + 1) / n)
        if i == m:
            above = below  # the left limit at the mode
        if i == m + 1:
            below = above
        rows += [value - distance, -value - distance]
        limits += [below, -above]
    for i in range(size - 2):
        if i + 2 <= m or i >= m + 1:
            a, b, c = (z[at[i + k]] for k in range(3))
            bend = np.zeros(n + 2)
            bend[i], bend[i + 2] = -(c - b) / (c - a), -(b - a) / (c - a)
            bend[i + 1] = 1
            rows.append(bend if i + 2 <= m else -bend)
            limits.append(0)
    for i in range(n):
        rows.append(np.eye(n + 2)[i] - np.eye(n + 2)[i + 1])
        limits.append(0)
    found = scipy.optimize.linprog(
        np.eye(n + 2)[-1], A_ub=np.array(rows), b_ub=limits, bounds=[(0, 1)] * (n + 2)
    )
    return float(found.fun)


@pytest.mark.parametrize("seed", range(12))
def test_the_dip_is_that_of_its_definition(seed: int) -> None:
    z = random(seed).normal(size=10)
    z[: seed % 6] += 4
    assert estimators.dip(z) == pytest.approx(dip_by_programming(z), abs=1e-7)


def test_the_dip_of_ties_and_of_two_points_masses() -> None:
    # Half the mass at each of two points: the best unimodal function is a quarter away.
    assert estimators.dip(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25)
    assert estimators.dip(np.ones(10)) == pytest.approx(0.05)


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(20))
def test_the_dip_is_that_of_diptest(seed: int) -> None:
    other = pytest.importorskip("diptest")
    z = random(seed).normal(size=300) + 3 * (random(seed + 99).random(300) < 0.4)
    assert estimators.dip(z) == pytest.approx(other.dipstat(z), abs=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("d", [2, 5, 10])
def test_dimensions_are_those_of_scikit_dimension(d: int) -> None:
    other = pytest.importorskip("skdim")
    x = sphere(d)
    reach = np.sort(estimators.distances(x, x), axis=1)[:, 1:21]
    assert estimators.two_nn(reach) == pytest.approx(other.id.TwoNN().fit(x).dimension_, rel=0.02)
    pooled = other.id.MLE(K=20).fit(x, n_neighbors=20, comb="mle").dimension_
    assert estimators.levina_bickel(reach) == pytest.approx(pooled, rel=0.02)


# ----------------------------------------------------------------------------
# Sets without truth: small, constant, repeated, wide, huge.
# ----------------------------------------------------------------------------


ODD = {
    "constant": np.ones((30, 3)),
    "three points": np.repeat(random().normal(size=(3, 2)), 10, axis=0),
    "two values": np.repeat([[0.0], [1.0]], 20, axis=0),
    "one coordinate": random().normal(size=(20, 1)),
    "more coordinates than points": random().normal(size=(20, 500)),
    "a lattice": random().integers(0, 3, size=(100, 2)).astype(float),
    "one-hot": np.eye(5)[random().integers(0, 5, 60)],
    "huge": 1e150 * random().normal(size=(50, 2)),
    "tiny": 1e-150 * random().normal(size=(50, 2)),
    "an outlier": np.vstack([random().normal(size=(50, 2)), [[1e12, 0]]]),
    "a line": np.outer(np.linspace(0, 1, 40), np.ones(4)),
    "one off": np.vstack([np.zeros((40, 2)), [[1.0, 0]]]),
}


@pytest.mark.parametrize("name", ODD)
def test_every_feature_is_a_number_or_says_why_not(name: str) -> None:
    p = of(ODD[name])
    assert set(p) | set(p.missing) == set(FEATURES)
    assert not set(p) & set(p.missing)
    assert all(math.isfinite(v) for v in p.values())
    assert all(len(why) > 10 for why in p.missing.values())


@pytest.mark.parametrize("n", [20, 21, 25, 40])
@pytest.mark.parametrize("d", [1, 2, 7, 60])
def test_small_sets_have_a_profile(n: int, d: int) -> None:
    p = of(random(n * d).normal(size=(n, d)))
    assert set(FEATURES) - set(p) <= {"spectral_decay"}


def test_constants_say_so() -> None:
    p = of(np.ones((30, 3)))
    assert dict(p) == {"n": 30, "ambient": 3, "duplicates": pytest.approx(29 / 30)}
    assert p.missing["id_mle"] == "all samples are equal"


def test_profiles_repeat_and_large_sets_are_subsampled() -> None:
    x = torch.from_numpy(random().normal(size=(4000, 3)))
    a, b = profile(x, rng=Rng(1)), profile(x, rng=Rng(1))
    assert dict(a) == dict(b)
    assert (a["n"], a.sampled) == (4000, 1500)
    assert dict(profile(x, rng=Rng(2))) != dict(a)
    assert profile(x[:1000], rng=Rng(0), n=4000)["n"] == 4000


def test_bad_input_is_an_error_in_one_line() -> None:
    with pytest.raises(UserError, match=r"at least 20 samples\. Got 19"):
        of(np.ones((19, 2)))
    with pytest.raises(UserError, match="must have shape"):
        of(np.ones(30))
    x = np.ones((30, 2))
    x[3, 1] = np.nan
    with pytest.raises(UserError, match="1 of the 30 samples hold NaN"):
        of(x)


def test_images_have_complexity_edges_and_a_spectrum() -> None:
    noise = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = torch.linspace(0, 1, 16).expand(40, 1, 16, 16)
    a, b = image_profile(noise), image_profile(smooth)
    for name in ("png", "jpeg", "edges", "spectrum_slope"):
        assert a[name] > b[name], name
    assert a["spectrum_slope"] == pytest.approx(0, abs=0.3)  # white noise
    assert "spectrum_slope" in image_profile(noise[..., :4]).missing
    assert image_profile(noise.expand(-1, 3, -1, -1))["png"] > 1
