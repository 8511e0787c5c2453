"""The responses of the distributions experiment against closed forms and slow twins."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, metrics
from gantlet.data.manifolds import Manifolds
from gantlet.data.synthetic import Ring
from gantlet.models.gan import energy_distance
from gantlet.research.distributions.measures import (
    VOTERS,
    Target,
    c2st_auc,
    hill,
    mean_distance,
    null_standard_error,
    support,
    support_ratio,
)

RING = Ring(modes=8, std=0.05)


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def target(train, test, data=RING):
    return Target.of(train, test, data, Rng(0).stream("target"))


def test_the_energy_distance_is_that_of_the_slow_twin():
    x, y = normal(400, 7), 1.3 * normal(300, 7, 1) + 0.2
    made = target(x, x)
    expected = float(energy_distance(made.scaled(x), made.scaled(y)))
    assert made.energy(y) == pytest.approx(expected, abs=1e-5)


def test_the_energy_distance_of_a_shift_is_the_closed_form():
    # In one dimension: 2 E|X - Y| - E|X - X'| - E|Y - Y'| for unit normals, a shift apart.
    shift = 1.0
    phi = math.exp(-(shift**2) / 4) / math.sqrt(math.pi)
    across = 2 * phi + shift * math.erf(shift / 2)
    exact = 2 * across - 4 / math.sqrt(math.pi)
    found = target(normal(3000, 1), normal(3000, 1)).energy(normal(3000, 1, 1) + shift)
    assert found == pytest.approx(exact, abs=0.05)


def test_the_distance_to_a_constant_is_the_closed_form():
    x = normal(4000, 1)
    # 2 E|X| - E|X - X'| = (2 sqrt(2) - 2) / sqrt(pi) for a unit normal.
    assert target(x, x).of_constant == pytest.approx(
        (2 * math.sqrt(2) - 2) / math.sqrt(math.pi), abs=0.01
    )


def test_errors_do_not_depend_on_units():
    x, y = normal(300, 3), normal(300, 3, 1) + 0.5
    one, other = target(x, x), target(100 * x + 7, 100 * x + 7)
    assert one.energy(y) == pytest.approx(other.energy(100 * y + 7), rel=1e-4)
    assert one.scale == pytest.approx(other.scale, rel=1e-5)


def test_the_standard_error_is_that_of_replicates():
    found = [
        2 * mean_distance(x, y) - mean_distance(x) - mean_distance(y)
        for x, y in ((normal(150, 2, 2 * k), normal(300, 2, 2 * k + 1)) for k in range(150))
    ]
    predicted = null_standard_error(normal(400, 2, 999), 150, 300, Rng(0).stream("s"))
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / math.sqrt(150))
    assert predicted == pytest.approx(np.std(found), rel=0.35)


def test_hill_finds_the_tail_of_a_pareto():
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert hill(u ** (-1 / 2.2)) == pytest.approx(1 / 2.2, rel=0.05)


def test_the_sliced_distance_of_a_shift_is_its_square_over_the_dimension():
    x = normal(2000, 4)
    made = target(x, x)
    moved = x + torch.tensor([2.0, 0, 0, 0])
    exact = (2.0 / made.unit) ** 2 * float(made.directions[0].square().mean())
    assert made.responses(moved)["sliced"] == pytest.approx(exact, rel=1e-3)


def test_precision_and_recall_are_those_of_the_metrics():
    x, y = normal(500, 3), 0.5 * normal(500, 3, 1)
    found = target(x, x).responses(y)
    for name in ("precision", "recall"):
        made = metrics.make(f"{name}:k=3").measure(x, y, rng=Rng(0).stream("m"))
        assert found[name] == pytest.approx(made.value, abs=0.02)


def test_neighbours_tell_shifted_samples_and_not_equal_ones():
    x, other = normal(800, 2), normal(800, 2, 1)
    made = target(x, x)
    assert made.responses(other)["c2st_auc"] == pytest.approx(0.5, abs=0.03)
    # The best AUC of two unit normals apart by s along one axis is Phi(s / sqrt 2).
    best = 0.5 * (1 + math.erf(1.0))
    found = made.responses(other + torch.tensor([2.0, 0.0]))["c2st_auc"]
    assert best - 0.04 < found < best + 0.02
    assert made.responses(other + 50)["c2st_auc"] == 1.0


def test_the_auc_is_that_of_a_classifier_of_scikit_learn():
    x, y = normal(60, 3), normal(50, 3, 1) + 0.5
    both = torch.cat([x, y]).double()
    label = np.array([1] * 60 + [0] * 50)
    score = []
    for i in range(110):
        others = np.delete(np.arange(110), i)
        voters = KNeighborsClassifier(VOTERS).fit(both[others].numpy(), label[others])
        score.append(voters.predict_proba(both[i : i + 1].numpy())[0, 1])
    tables = [torch.cdist(a, b) for a, b in ((x, x), (y, x), (y, y))]
    assert c2st_auc(*tables) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


@pytest.mark.parametrize("few", [50, 400])
def test_the_support_of_few_atoms_is_a_share_of_that_of_many(few):
    # The effective support of a uniform draw from k atoms is k.
    places = torch.arange(1000.0)[:, None]
    generator = torch.Generator().manual_seed(0)
    tables = [
        torch.cdist(x, x)
        for k in (1000, few)
        for x in (places[torch.randint(k, (1000,), generator=generator)],)
    ]
    assert support_ratio(*tables) == pytest.approx(few / 1000, rel=0.2)


def test_a_set_of_its_own_samples_is_on_the_support():
    world = Manifolds(modes=4, intrinsic=2, ambient=4)
    x, mode = world.draw(4000, Rng(1).stream("x"))
    found = support(world, x.float())
    assert found["off_support"] == pytest.approx(1 - world.ceiling, abs=0.006)
    assert found["modes"] == 4
    assert found["mode_kl"] < 0.003
    assert support(world, x[mode == 2].float())["mode_kl"] == pytest.approx(math.log(4), abs=1e-3)


def test_samples_off_the_support_find_no_mode():
    found = support(RING, torch.zeros(100, 2))
    assert found == {"off_support": 1.0, "modes": 0.0, "mode_kl": pytest.approx(math.log(8))}


def test_only_worlds_of_known_support_are_asked():
    x = normal(50, 2)
    assert "modes" not in target(x, x, datasets.make("moons")).responses(x)
