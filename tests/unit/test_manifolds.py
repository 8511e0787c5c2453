"""Unions of manifolds: what the settings promise is what the samples have."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from gantlet.cli.main import run
from gantlet.core.data import KnownSupport, Separated, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data import manifolds
from gantlet.data.manifolds import Manifolds, Segments, from_segments


def draw(world, n=20_000, seed=1):
    return world.draw(n, Rng(seed).stream("draws"))


@pytest.mark.parametrize(
    ("modes", "ambient"), [(2, 2), (4, 3), (8, 12), (13, 12), (14, 12), (32, 3), (5, 1)]
)
def test_the_nearest_centres_are_as_far_apart_as_asked(modes, ambient):
    world = Manifolds(modes=modes, ambient=ambient, intrinsic=1, separation=4.5)
    apart = torch.pdist(world.means)
    assert float(apart.min()) == pytest.approx(4.5, abs=1e-9)
    if modes <= ambient + 1:  # a regular simplex
        assert float(apart.max()) == pytest.approx(4.5, abs=1e-9)
    assert torch.allclose(world.means.mean(0), torch.zeros(ambient).double(), atol=1e-9)


@pytest.mark.parametrize("edges", ["gaussian", "box", "smooth"])
def test_a_mode_has_variance_one_in_each_of_its_directions_and_none_beside(edges):
    world = Manifolds(modes=1, intrinsic=3, ambient=10, edges=edges)
    values = torch.linalg.eigvalsh(draw(world)[0].T.cov()).flip(0)
    assert values[:3].tolist() == pytest.approx([1] * 3, abs=0.06)
    assert float(values[3:].abs().max()) < 1e-12


def test_edges_are_those_of_their_densities():
    x = {}
    for edges in ("gaussian", "box", "smooth"):
        world = Manifolds(modes=1, intrinsic=1, ambient=1, edges=edges)
        x[edges] = draw(world)[0][:, 0].numpy()
    assert stats.kstest(x["gaussian"], "norm").pvalue > 1e-3
    assert stats.kstest(x["box"], stats.uniform(-(3**0.5), 2 * 3**0.5).cdf).pvalue > 1e-3
    half = (3 * (1 - 0.3**2)) ** 0.5
    t = np.linspace(-half, half, 2001)

    def smooth(q):
        return stats.norm.cdf((np.asarray(q)[:, None] - t) / 0.3).mean(1)

    assert stats.kstest(x["smooth"], smooth).pvalue > 1e-3
    assert stats.kstest(x["smooth"], "norm").pvalue < 1e-6


@pytest.mark.parametrize("nu", [2.2, 5.0])
def test_the_tail_index_is_the_degrees_of_freedom(nu):
    world = Manifolds(modes=1, intrinsic=1, ambient=1, tails=nu)
    x = draw(world, 200_000)[0][:, 0]
    assert stats.kstest(x.numpy()[:20_000], stats.t(nu).cdf).pvalue > 1e-3
    size, k = x.abs().sort(descending=True).values, 400
    hill = float((size[:k] / size[k]).log().mean())
    assert hill == pytest.approx(1 / nu, rel=4 / math.sqrt(k))


def test_tails_are_common_to_all_straight_coordinates():
    x = draw(Manifolds(modes=1, intrinsic=3, ambient=3, tails=5))[0]
    assert stats.kstest(x.square().sum(1).numpy() / 3, stats.f(3, 5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("balance", ["equal", "zipf"])
@pytest.mark.parametrize("bridge", [0.0, 0.2])
def test_modes_have_their_weights(balance, bridge):
    world = Manifolds(modes=5, balance=balance, bridge=bridge)
    seen = torch.bincount(draw(world)[1], minlength=5)
    assert stats.chisquare(seen.numpy(), 20_000 * world.weights.numpy()).pvalue > 1e-3
    if balance == "zipf" and not bridge:
        expected = np.array([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
        assert world.weights.tolist() == pytest.approx((expected / expected.sum()).tolist())


@pytest.mark.parametrize("topology", ["blob", "ring", "torus", "links"])
def test_the_share_on_bridges_is_the_setting(topology):
    world = Manifolds(modes=3, ambient=7, separation=12, bridge=0.1, topology=topology)
    without = Manifolds(modes=3, ambient=7, separation=12, topology=topology)
    x = draw(world)[0]
    off = without.distance_to_support(x) > 1e-5
    # The part of a segment inside a mode's own plane is measure zero but in links.
    assert float(off.double().mean()) == pytest.approx(0.1, abs=0.015)
    assert float(world.distance_to_support(x).max()) < 1e-5


def test_a_bridge_connects_what_was_apart():
    """Single linkage: the largest gap between parts shrinks to the spacing of the samples."""
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    def gap(bridge):
        world = Manifolds(modes=2, separation=12, bridge=bridge, ambient=2, edges="box")
        return minimum_spanning_tree(squareform(pdist(draw(world, 1000)[0].numpy()))).max()

    assert gap(0.0) > 6
    assert gap(0.2) < 2


def test_distance_to_segments_equals_a_search():
    rng = np.random.default_rng(0)
    x, a, b = (torch.from_numpy(rng.normal(size=(k, 3))) for k in (20, 4, 4))
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    points = a[:, None].lerp(b[:, None], t[:, None])
    slow = (x[:, None, None] - points).norm(dim=3).amin(2)
    found, which = from_segments(x, a, b)
    assert torch.allclose(found, slow.amin(1), atol=1e-4)
    assert torch.equal(which, slow.argmin(1))


@pytest.mark.parametrize("topology", ["ring", "torus", "links"])
def test_distance_to_a_curled_mode_equals_a_search(topology):
    world = Manifolds(
        modes=1,
        topology=topology,
        intrinsic=2 if topology == "torus" else 1,
        ambient=3,
    )
    near = draw(world, 200_000, seed=2)[0]
    x = torch.randn(60, 3, generator=Rng(0).stream("x"), dtype=torch.float64)
    slow = torch.cdist(x, near).amin(1)
    found = world.distance_to_support(x)
    assert bool((found <= slow + 1e-9).all())
    assert torch.allclose(found, slow, atol=0.03)


def test_linked_rings_are_linked():
    """Gauss's integral over both curves is one."""
    x = draw(Manifolds(modes=1, topology="links", intrinsic=1, ambient=3), 3000)[0]
    _, _, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    y = x @ v.T  # any rigid motion keeps the linking number
    from sklearn.cluster import AgglomerativeClustering

    part = AgglomerativeClustering(2, linkage="single").fit_predict(y.numpy())
    curves = [_in_order(y[torch.from_numpy(part == k)]) for k in (0, 1)]
    (r1, d1), (r2, d2) = curves
    gap = r1[:, None] - r2[None]
    triple = (gap * torch.linalg.cross(d1[:, None].expand_as(gap), d2[None].expand_as(gap))).sum(2)
    linking = float((triple / gap.norm(dim=2) ** 3).sum() / (4 * math.pi))
    assert abs(linking) == pytest.approx(1, abs=0.05)


def _in_order(points):
    """Midpoints and steps of a closed curve through points of a circle."""
    centred = points - points.mean(0)
    _, _, v = torch.linalg.svd(centred, full_matrices=False)
    angle = torch.atan2(centred @ v[1], centred @ v[0])
    ordered = points[angle.argsort()]
    step = ordered.roll(-1, 0) - ordered
    return ordered + step / 2, step


def test_distance_to_a_bent_mode_is_right_to_first_order():
    world = Manifolds(modes=1, intrinsic=1, ambient=2, curvature=1.5, noise=0.02)
    x = draw(world, 200, seed=3)[0]
    fine = draw(Manifolds(modes=1, intrinsic=1, ambient=2, curvature=1.5), 400_000, seed=4)[0]
    slow = torch.cdist(x, fine).amin(1)
    near = slow > 2e-3  # beyond the spacing of the search
    ratio = world.distance_to_support(x)[near] / slow[near]
    assert float((ratio - 1).abs().quantile(0.95)) < 0.06


def test_a_curve_is_a_sine():
    world = Manifolds(modes=1, intrinsic=1, ambient=2, curvature=3.0)
    x = draw(world, 500)[0]

    def misfit(angle):
        c, s = math.cos(angle), math.sin(angle)
        u, v = c * x[:, 0] + s * x[:, 1], c * x[:, 1] - s * x[:, 0]
        return min(float((v - k * (3 * u).sin()).square().mean()) for k in (1, -1))

    best = min(np.linspace(0, 2 * math.pi, 721), key=misfit)
    assert optimize.minimize_scalar(misfit, (best - 0.01, best, best + 0.01)).fun < 1e-12


def test_another_seed_is_a_rotation_of_the_same_mode():
    first, second = (Manifolds(modes=1, intrinsic=2, ambient=9, seed=s) for s in (0, 1))
    x, y = (draw(world, 50)[0] for world in (first, second))
    assert not torch.allclose(x, y, atol=0.1)
    assert torch.allclose(x @ x.T, y @ y.T, atol=1e-9)


def test_the_same_seed_gives_the_same_samples():
    world = Manifolds(bridge=0.05, tails=5, curvature=1.5, balance="zipf", noise=0.05)
    one, two = (draw(w, 100) for w in (world, Manifolds(**_settings(world))))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def _settings(world):
    return {name: getattr(world, name) for name in type(world).__match_args__ or world.__slots__}


@pytest.mark.parametrize("text", ["ring", "grid"])
def test_the_ceiling_of_rings_and_grids_is_that_of_a_gaussian(text):
    data = datasets.make(text + ":n=200000")
    assert isinstance(data, KnownSupport)
    assert data.ceiling == pytest.approx(stats.chi2.cdf(9, 2), abs=1e-12)
    assert data.ceiling == pytest.approx(0.98889, abs=1e-5)
    splits = data.load(rng=Rng(0))
    inside = float(data.on_support(all_samples(splits.train)).double().mean())
    assert inside == pytest.approx(data.ceiling, abs=4 * 0.000235)


@pytest.mark.parametrize(
    "settings",
    [
        {"ambient": 2},
        {"intrinsic": 3, "ambient": 3, "tails": 2.2},
        {"intrinsic": 2, "ambient": 2, "edges": "box"},
        {"intrinsic": 2, "ambient": 5, "edges": "smooth", "curvature": 1.5},
        {"intrinsic": 1, "ambient": 2, "edges": "smooth", "tails": 5.0},
        {"intrinsic": 3, "ambient": 9, "edges": "box", "tails": 5.0},
        {"topology": "ring", "intrinsic": 3, "tails": 5.0},
    ],
)
def test_without_noise_the_ceiling_is_the_standard_share(settings):
    world = Manifolds(modes=1, **settings)
    assert world.ceiling == pytest.approx(0.98889, abs=0.002)  # four standard errors


@pytest.mark.parametrize(
    "settings",
    [
        {"intrinsic": 2, "ambient": 2, "separation": 8},
        {"intrinsic": 2, "ambient": 5, "noise": 0.1, "separation": 12},
        {"intrinsic": 2, "ambient": 4, "edges": "box", "separation": 9},
        {"intrinsic": 2, "ambient": 5, "curvature": 1.5, "separation": 12},
        {"intrinsic": 1, "ambient": 3, "topology": "links", "separation": 7},
        {"intrinsic": 2, "ambient": 3, "topology": "torus", "separation": 9},
    ],
)
def test_supports_of_two_modes_are_no_nearer_than_the_gap(settings):
    """Points scattered around the samples, of which the support accepts some."""
    world = Manifolds(modes=3, **settings)
    assert isinstance(world, Separated)
    assert world.gap > 0
    x, _ = draw(world, 6_000)
    x = x + 0.3 * torch.randn(x.shape, generator=Rng(2).stream("around")).double()
    x = x[world.on_support(x)]
    modes = world.modes_of(x)
    groups = [x[modes == k] for k in range(3)]
    nearest = min(float(torch.cdist(groups[i], groups[j]).min()) for i, j in ((0, 1), (0, 2)))
    assert nearest >= world.gap
    if settings.get("noise"):  # discs, and what is off them is at a right angle to them
        off = 0.25 + 0.1 * math.sqrt(stats.chi2.ppf(1 - math.exp(-4.5), 3))
        assert world.gap == pytest.approx(12 - 2 * math.hypot(3, off))
    if world.ambient == 2:  # balls: the gap is the distance itself
        assert world.gap == pytest.approx(8 - 6, abs=1e-9)
        assert nearest < world.gap + 0.5


def test_modes_that_touch_have_no_gap():
    assert Manifolds(modes=2, separation=4).gap == 0
    assert Manifolds(modes=2, separation=50, bridge=0.1).gap == 0
    assert Manifolds(modes=1).gap == math.inf
    assert Segments(lines=1).gap == math.inf
    assert Segments(spacing=1.0, tolerance=0.05, noise=0.01).gap == pytest.approx(0.84)
    assert datasets.make("grid:spacing=2,std=0.05").gap == pytest.approx(2 - 6 * 0.05)
    ring = datasets.make("ring:modes=300,radius=9,std=0.01")
    assert ring.gap == pytest.approx(18 * math.sin(math.pi / 300) - 0.06)


def test_noise_has_its_reach():
    world = Manifolds(modes=1, intrinsic=2, ambient=12, noise=0.1)
    assert 0.98 < world.ceiling < 0.99
    x = draw(world)[0]
    assert stats.kstest((x.square().sum(1)).numpy(), _sum_of_chi2).pvalue > 1e-3


def _sum_of_chi2(q):
    """Two coordinates of variance 1.01 and ten of variance 0.01, by a sorted simulation."""
    rng = np.random.default_rng(0)
    sizes = 1.01 * rng.chisquare(2, 400_000) + 0.01 * rng.chisquare(10, 400_000)
    return np.searchsorted(np.sort(sizes), q) / len(sizes)


def test_points_off_the_support_are_refused():
    world = Manifolds(modes=2, ambient=5, intrinsic=2, separation=8)
    middle = world.means.mean(0, keepdim=True)
    assert world.on_support(torch.cat([middle, world.means])).tolist() == [False, True, True]
    bridged = Manifolds(modes=2, ambient=5, intrinsic=2, separation=8, bridge=0.1)
    assert bridged.on_support(middle).tolist() == [True]
    assert world.modes_of(world.means).tolist() == [0, 1]


def test_distances_of_many_points_go_by_blocks(monkeypatch):
    world = Manifolds(modes=7, curvature=1.5, bridge=0.1)
    x = draw(world, 500)[0] + 0.1
    whole = [f(x) for f in (world.modes_of, world.on_support, world.distance_to_support)]
    monkeypatch.setattr(manifolds, "BLOCK", 1000)
    parts = [f(x) for f in (world.modes_of, world.on_support, world.distance_to_support)]
    assert all(torch.allclose(a.double(), b.double()) for a, b in zip(whole, parts, strict=True))
    assert len(world.modes_of(x[:0])) == len(world.on_support(x[:0])) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modes=0", "at least 1"),
        ("separation=0", "above 0"),
        ("bridge=1.5", "from 0 to 1"),
        ("tails=0.5", "from 1 to inf"),
        ("edges=sharp", "Unknown value of manifolds:edges 'sharp'"),
        ("intrinsic=3,ambient=2", "ambient must be at least 3 for topology=blob"),
        ("topology=links,intrinsic=1,ambient=2", "ambient must be at least 3 for topology=links"),
        ("topology=torus,intrinsic=1", "intrinsic must be at least 2"),
        ("topology=ring,intrinsic=1,tails=5", "tails has no effect on topology=ring"),
        ("topology=torus,edges=box", "edges has no effect on topology=torus"),
        ("curvature=1,intrinsic=2,ambient=2", "curvature needs"),
        ("modes=1,bridge=0.1", "bridge needs two or more modes"),
        ("modes=10000,ambient=4096", "more than half a gigabyte"),
        ("mode=3", "Did you mean"),
    ],
)
def test_bad_settings_are_refused_in_one_line(text, words, capsys):
    with pytest.raises(UserError, match=words):
        datasets.make(f"manifolds:{text}")
    assert run(["compare", "gmm", "--data", f"manifolds:{text}", "--dry-run"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_segments_are_where_they_should_be():
    data = Segments(lines=4, length=2.0, spacing=1.5)
    x, which = draw(data)
    assert float(data.distance_to_support(x).max()) < 1e-12
    assert torch.allclose(x[:, 0], 1.5 * (which.double() - 1.5))
    assert torch.equal(data.modes_of(x), which)
    assert stats.kstest((x[:, 1].numpy() + 1) / 2, "uniform").pvalue > 1e-3
    share = np.array([1, 1 / 2, 1 / 3, 1 / 4])
    seen = torch.bincount(which, minlength=4).numpy()
    assert stats.chisquare(seen, len(x) * share / share.sum()).pvalue > 1e-3
    between = torch.tensor([[0.0, 0.0], [-2.25, 1.04], [-2.25, 1.06], [-2.2, 0.0]])
    assert data.on_support(between).tolist() == [False, True, False, True]
    assert data.ceiling == 1


def test_the_ceiling_of_noisy_segments():
    data = Segments(lines=1, length=100.0, noise=0.1, tolerance=1e-9)
    assert data.ceiling == pytest.approx(2 * stats.norm.cdf(3) - 1, abs=0.001)
    x, _ = draw(data)
    assert float(data.on_support(x).double().mean()) == pytest.approx(data.ceiling, abs=0.003)


def test_the_world_goes_through_a_command(tmp_path, capsys):
    data = "manifolds:modes=4,ambient=3,n=300,held_out=200,bridge=0.05"
    assert run(["compare", "gmm", "--data", data, "--dry-run"]) == 0
    assert "manifolds" in capsys.readouterr().out
    command = ["compare", "gmm:components=4", "histogram", "--data", data, "--steps", "1"]
    assert run([*command, "--seeds", "1", "--out", str(tmp_path / "run")]) == 0
