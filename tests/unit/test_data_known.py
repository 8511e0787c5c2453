"""The densities in the plane: normalised, and those of the samples."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets

# Written form, and a square that holds all but a negligible part of the mass.
KNOWN = [
    ("ring:modes=5,std=0.1", 2.5),
    ("grid:side=3,spacing=1,std=0.1", 2.5),
    ("moons:std=0.1", 3.5),
    ("checkerboard", 4.0),
    ("checkerboard:cells=3,width=1", 3.0),
    ("energy:index=1", 6.0),
    ("energy:index=2", 8.0),
    ("energy:index=3", 8.0),
    ("energy:index=4", 8.0),
]


def _midpoints(half, cells):
    """Midpoints of a regular grid, float64, and the area of a cell; edges at half, 0, -half."""
    step = 2 * half / cells
    line = torch.arange(cells, dtype=torch.float64) * step - half + step / 2
    return torch.cartesian_prod(line, line), step**2


@pytest.mark.parametrize(("text", "half"), KNOWN)
def test_density_integrates_to_one(text, half):
    points, area = _midpoints(half, 240)
    total = float(datasets.make(text).log_density(points).exp().sum() * area)
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("text", "half"), KNOWN)
def test_samples_follow_the_density(text, half):
    data = datasets.make(text + ("," if ":" in text else ":") + "n=20000")
    bins, fine = 24, 10
    points, area = _midpoints(half, bins * fine)
    mass = data.log_density(points).exp().reshape(bins, fine, bins, fine).sum((1, 3)) * area
    x = all_samples(data.load(rng=Rng(3)).train).numpy()
    edges = np.linspace(-half, half, bins + 1)
    seen = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]
    expected = mass.numpy() * len(x)
    often = expected >= 5
    pairs = [(np.append(a[often], len(x) - a[often].sum())) for a in (seen, expected)]
    keep = pairs[1] > 1e-6
    statistic = (((pairs[0] - pairs[1]) ** 2)[keep] / pairs[1][keep]).sum()
    assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-3


@pytest.mark.parametrize("text", ["ring", "grid", "moons:std=0.01,n=500"])
def test_entropy_of_samples_is_that_of_the_density(text):
    data = datasets.make(text)
    x = all_samples(data.load(rng=Rng(0)).train)
    value = data.log_density(x)
    modes = {"ring": 8, "grid": 25}.get(text)
    if modes:  # well separated modes: the entropy of one Gaussian and of the choice
        exact = -math.log(modes) - 1 - math.log(2 * math.pi * data.std**2)
        assert float(value.mean()) == pytest.approx(exact, abs=4 / math.sqrt(len(x)))
    assert bool(value.isfinite().all())


def test_ring_and_grid_centres():
    ring, grid = datasets.make("ring:modes=4,radius=2"), datasets.make("grid:side=2,spacing=4")
    assert torch.allclose(ring.means, torch.tensor([[2.0, 0], [0, 2], [-2, 0], [0, -2]]).double())
    assert sorted(grid.means.tolist()) == [[-2, -2], [-2, 2], [2, -2], [2, 2]]
    splits = datasets.make("grid").load(rng=Rng(0))
    nearest = torch.cdist(all_samples(splits.test).double(), datasets.make("grid").means).argmin(1)
    assert torch.equal(nearest, splits.test.labels)


def test_moons_equal_adaptive_integration():
    data = datasets.make("moons")
    for x, y in [(0.0, 1.0), (1.0, 0.0), (0.5, 0.25), (2.05, 0.45), (-1.1, -0.2), (0.3, -0.4)]:

        def slow(t, x=x, y=y):
            c = [(math.cos(t), math.sin(t)), (1 - math.cos(t), 0.5 - math.sin(t))]
            near = [math.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * data.std**2)) for a, b in c]
            return sum(near) / (2 * math.pi * 2 * math.pi * data.std**2)

        points = np.linspace(0, math.pi, 40)
        exact = integrate.quad(slow, 0, math.pi, points=points, limit=400, epsabs=0)[0]
        fast = data.log_density(torch.tensor([[x, y]], dtype=torch.float64))
        assert float(fast) == pytest.approx(math.log(exact), abs=1e-9)


def test_checkerboard_squares_include_their_edges():
    data = datasets.make("checkerboard:cells=2,width=1")
    inside = [[-1.0, -1.0], [-0.5, -0.5], [0.0, 0.0], [1.0, 1.0], [0.5, 0.0], [0.0, 0.5]]
    outside = [[-0.5, 0.5], [0.5, -0.5], [1.1, 0.5], [-1.0, 0.5], [0.5, 1.0001]]
    assert data.log_density(torch.tensor(inside)).tolist() == pytest.approx([-math.log(2)] * 6)
    assert data.log_density(torch.tensor(outside)).tolist() == [-math.inf] * 5


def _table_1(index, z1, z2):
    """The energies as the paper prints them."""
    w1 = math.sin(2 * math.pi * z1 / 4)
    w2 = 3 * math.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)
    w3 = 3 / (1 + math.exp(-(z1 - 1) / 0.3))
    if index == 1:
        sides = [math.exp(-0.5 * ((z1 - s) / 0.6) ** 2) for s in (2, -2)]
        return 0.5 * ((math.hypot(z1, z2) - 2) / 0.4) ** 2 - math.log(sum(sides))
    if index == 2:
        return 0.5 * ((z2 - w1) / 0.4) ** 2
    w, first = (w2, 0.35) if index == 3 else (w3, 0.4)
    parts = [((z2 - w1) / first), ((z2 - w1 + w) / 0.35)]
    return -math.log(sum(math.exp(-0.5 * p**2) for p in parts))


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_energies_are_those_of_the_paper(index):
    data = datasets.make(f"energy:index={index}")
    z = np.random.RandomState(index).uniform(-3, 3, (50, 2))
    log_p = data.log_density(torch.from_numpy(z)).numpy()
    log_z = [-_table_1(index, *point) - p for point, p in zip(z, log_p, strict=True)]
    assert np.ptp(log_z) < 1e-10


def test_the_constant_of_energy_1_equals_adaptive_integration():
    def density(z2, z1):
        return math.exp(-_table_1(1, z1, z2))

    exact = 4 * integrate.dblquad(density, 0, 8, 0, 8, epsabs=1e-11, epsrel=1e-11)[0]
    at = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    log_z = -_table_1(1, 2.0, 0.5) - float(datasets.make("energy").log_density(at))
    assert log_z == pytest.approx(math.log(exact), abs=1e-10)


def test_energies_2_to_4_end_where_the_paper_draws_them():
    x = torch.tensor([[4.0, 0.0], [4.001, 0.0], [-4.001, 0.0]])
    for index in (2, 3, 4):
        value = datasets.make(f"energy:index={index}").log_density(x)
        assert value.isfinite().tolist() == [True, False, False]


def test_the_test_split_does_not_depend_on_n():
    small, large = (datasets.make(f"moons:n={n}").load(rng=Rng(0)) for n in (10, 1000))
    assert torch.equal(all_samples(small.test), all_samples(large.test))
    assert (len(small.train), len(large.train)) == (10, 1000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ring:n=0", "at least 1"),
        ("ring:std=0", "at least 1e-06"),
        ("moons:std=0.001", "from 0.01 to 1"),
        ("energy:index=5", "Unknown value of energy:index '5'"),
        ("grid:side=x", "must be int"),
    ],
)
def test_bad_settings_are_refused(text, words):
    with pytest.raises(UserError, match=words):
        datasets.make(text)


def test_gaussians_in_the_plane_are_those_of_the_ring():
    names = ("gaussians:dimension=2,", "ring:")
    ours, ring = (datasets.make(f"{name}modes=4,std=0.2") for name in names)
    x = torch.randn(50, 2, generator=Rng(0).stream("test"))
    assert torch.allclose(ours.log_density(x), ring.log_density(x), atol=1e-5)


def test_gaussians_have_the_entropy_of_their_formula():
    """Modes that do not overlap add the log of their number to the entropy of one Gaussian."""
    data = datasets.make("gaussians:dimension=12,modes=6,std=0.1,n=20000")
    x, mode = data.load(rng=Rng(0)).train.take(torch.arange(20_000)), data.means
    assert mode.shape == (6, 12)
    expected = math.log(6) + 6 * math.log(2 * math.pi * math.e * 0.1**2)
    assert -data.log_density(x).mean().item() == pytest.approx(expected, abs=0.05)


def test_gaussians_have_at_most_two_modes_for_each_axis():
    assert datasets.make("gaussians:dimension=3,modes=6").means.sum(0).tolist() == [0.0] * 3
    with pytest.raises(UserError, match="at most 6 in 3 dimensions"):
        datasets.make("gaussians:dimension=3,modes=7")
