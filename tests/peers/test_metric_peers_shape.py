"""Shape, diversity and classifier metrics against other libraries on the same features."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from gantlet.core.rng import Rng
from gantlet.metrics.classifier import fit_knn
from gantlet.metrics.diversity import Scales, ms_ssim, vendi_score
from gantlet.metrics.topology import living_times
from gantlet.metrics.transport import max_sliced_direction, random_directions
from gantlet.stats.wasserstein import transport

pytestmark = pytest.mark.peers


def draw(n=200, m=200, d=5):
    rng = Rng(0).stream("x")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) * 1.3 + 0.2


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("m", [200, 130])
def test_sliced_wasserstein_on_the_same_directions_equals_pot(order, m):
    ot = pytest.importorskip("ot")
    x, y = draw(m=m)
    u = random_directions(5, 40, rng=Rng(0).stream("u"), like=x)
    theirs = ot.sliced.sliced_wasserstein_distance(
        x.numpy(), y.numpy(), projections=u.numpy(), p=order
    )
    ours = transport(x, y, u, order, rng=Rng(0).stream("m")).plain
    assert ours ** (1 / order) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("d", [2, 5, 20])
def test_the_search_finds_at_least_what_pots_best_of_many_directions_shows(d):
    ot = pytest.importorskip("ot")
    x, y = draw(d=d)
    theirs = ot.sliced.max_sliced_wasserstein_distance(
        x.numpy(), y.numpy(), n_projections=1000, seed=0
    )
    _, cost = max_sliced_direction(x, y, rng=Rng(0).stream("m"))
    assert cost**0.5 >= float(theirs) * (1 - 1e-4)


@pytest.mark.parametrize(("side", "channels"), [(176, 1), (192, 3)])
def test_ms_ssim_equals_the_scales_of_torchmetrics(side, channels):
    """Their maps, cut to where the window fits, as in the paper: they average the edge too."""
    image = pytest.importorskip("torchmetrics.functional.image")
    rng = Rng(0).stream("x")
    x = torch.rand(2, channels, side, side, generator=rng, dtype=torch.float64)
    y = (x + 0.3 * torch.randn(x.shape, generator=rng, dtype=torch.float64)).clamp(0, 1)
    expected, a, b = torch.ones(2, dtype=torch.float64), x, y
    weights = Scales.of(side, side).weights
    for level, weight in enumerate(weights):
        known = {"data_range": 1.0, "reduction": "none"}
        _, contrast = image.structural_similarity_index_measure(
            a, b, return_contrast_sensitivity=True, **known
        )
        _, full = image.structural_similarity_index_measure(a, b, return_full_image=True, **known)
        here = contrast if level < 4 else full[..., 5:-5, 5:-5].mean((1, 2, 3))
        expected *= here**weight
        a, b = (torch.nn.functional.avg_pool2d(z, 2) for z in (a, b))
    assert len(weights) == 5
    assert ms_ssim(x, y).tolist() == pytest.approx(expected.tolist(), rel=1e-9)
    whole = image.multiscale_structural_similarity_index_measure(
        x, y, data_range=1.0, reduction="none"
    )
    assert ms_ssim(x, y).tolist() == pytest.approx(whole.tolist(), rel=0.02)


@pytest.mark.parametrize(("side", "near"), [(28, 0.2), (64, 0.05), (128, 0.02), (256, 0.01)])
def test_edges_make_ms_ssim_differ_from_torchmetrics_by_the_documented_amount(side, near):
    """They average mirrored edges on the last scale, which small images mostly consist of."""
    image = pytest.importorskip("torchmetrics.functional.image")
    rng = Rng(0).stream("x")
    low = torch.rand(16, 1, max(4, side // 6), max(4, side // 6), generator=rng)
    x = torch.nn.functional.interpolate(low, size=side, mode="bicubic").clamp(0, 1).double()
    a, b = x[:8], (x[:8] + x[8:]) / 2
    theirs = image.multiscale_structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", betas=Scales.of(side, side).weights
    )
    apart = float((ms_ssim(a, b) - theirs).abs().mean())
    assert near / 8 < apart < near


def test_geometry_with_full_tables_and_double_precision():
    """Algorithm 1 as it is written, on landmarks drawn alike."""
    gudhi = pytest.importorskip("gudhi")
    x, _ = draw(400, d=30)
    ours = living_times(x, landmarks=32, gamma=0.05, most=40, runs=3, rng=Rng(0).stream("m"))
    rng = Rng(0).stream("m")
    for row in ours:
        chosen = torch.randperm(400, generator=rng)[:32]
        distances = cdist(x.numpy(), x[chosen].numpy())
        order = distances.argsort(1)
        table = np.stack([order, np.take_along_axis(distances, order, 1)], 2)
        end = 0.05 * distances.max()
        tree = gudhi.WitnessComplex(table).create_simplex_tree(
            max_alpha_square=end, limit_dimension=2
        )
        tree.persistence(homology_coeff_field=2, min_persistence=0)
        lives = tree.persistence_intervals_in_dimension(1).clip(max=end)
        ticks = (np.arange(20_000) + 0.5) / 20_000 * end
        alive = ((lives[:, :1] <= ticks) & (ticks < lives[:, 1:])).sum(0)
        expected = np.bincount(alive, minlength=40)[:40] / 20_000
        assert np.abs(row.numpy() - expected).max() < 1e-3


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("order", [0.5, 1, 2, 5])
@pytest.mark.parametrize("n", [30, 4])
def test_vendi_equals_the_authors(order, n):
    """Their entropy of orders below 1 counts eigenvalues that are zero but for rounding."""
    vendi = pytest.importorskip("vendi_score.vendi")
    x, _ = draw(n, d=12)
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    theirs = vendi.score_K(unit @ unit.T, q=order)
    assert vendi_score(x, order=order) == pytest.approx(
        float(theirs), rel=1e-6 if order >= 1 else 1e-4
    )
    if order == 1:
        assert vendi_score(x) == pytest.approx(float(vendi.score_dual(unit)), rel=1e-6)


def test_the_vote_of_neighbours_equals_scikit_learn():
    x, y = draw()
    z, label = torch.cat([x, y]), np.repeat([0, 1], 200)
    new, _ = draw(300, 1)
    new = new * 1.2
    theirs = KNeighborsClassifier(21).fit(z.numpy(), label).predict(new.numpy())
    assert fit_knn(z)(new).long().tolist() == theirs.tolist()
