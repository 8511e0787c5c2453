"""Real sets of installed packages: sizes, standardisation, and what is missing."""

import sys

import numpy as np
import pytest

from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.domains import offline
from gantlet.domains.offline import Offline, rows

SIZES = {
    "digits": (1797, 64),
    "digits-pca": (1797, 12),
    "cancer": (569, 30),
    "wine": (178, 13),
    "iris": (150, 4),
    "diabetes": (442, 10),
    "photo-colours": (12_000, 3),
    "photo-patches": (12_000, 9),
    "graph-walks": (158, 8),
}


@pytest.mark.parametrize(("name", "shape"), SIZES.items())
def test_a_set_has_its_size(name, shape):
    assert rows(name).shape == shape
    splits = Offline(name=name).load(rng=Rng(0))
    n = shape[0]
    assert len(splits.test) == min(2000, round(0.3 * n))
    assert len(splits.validation) == min(2000, round(0.2 * n))
    assert all_samples(splits.train, 3).shape == (3, shape[1])


def test_tables_are_standardised():
    x = rows("wine")
    assert np.allclose(x.mean(0), 0)
    assert np.allclose(x.std(0), 1)


def test_components_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    theirs = PCA(12, svd_solver="full").fit_transform(load_digits().data)
    assert np.allclose(np.abs(rows("digits-pca")), np.abs(theirs), atol=1e-6)


def test_patches_are_cut_side_by_side():
    picture = np.arange(24.0).reshape(4, 6)
    cut = offline.patches(picture, 2)
    assert cut[0].tolist() == [0, 1, 6, 7]
    assert cut[-1].tolist() == [16, 17, 22, 23]


def test_return_probabilities_are_those_of_a_walk():
    import networkx as nx

    # From a corner of a triangle: back after 2 steps with 1/2, after 3 with 1/4.
    found = offline.return_probabilities(nx.complete_graph(3), nx)
    assert found[0, :2].tolist() == pytest.approx([0.5, 0.25])


def test_a_missing_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    rows.cache_clear()
    with pytest.raises(UserError, match=r"needs matplotlib\. Run 'pip install"):
        Offline(name="eeg").load(rng=Rng(0))
