"""Valid, unique and novel graphs, on models of which the shares are known."""

import pytest
import torch

from gantlet.core.data import InMemory, Space, Splits, all_samples
from gantlet.core.model import FittedFamily
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, probes
from gantlet.probes.vun import nearest_similarities
from gantlet.testing.contracts import made_up


def examined(model, data, splits, written="vun"):
    real = all_samples(splits.test)
    return probes.make(written).examine(model, real, data=data, splits=splits, rng=Rng(0)).scores


def made(name, family):
    data = datasets.make(name)
    splits = data.load(rng=Rng(0))
    fitted = families.make(family)
    assert isinstance(fitted, FittedFamily)
    return fitted.fit(data.space, all_samples(splits.train), rng=Rng(0)).model, data, splits


def test_copies_are_valid_and_neither_novel_nor_new():
    found = examined(*made("trees:n=150,held_out=150", "memorizer"), "vun:samples=300")
    assert found["valid"].value == 1
    assert found["valid"].also["real"] == 1
    assert found["novel"].value == 0
    assert found["novel"].also["p"] < 1e-6
    assert found["unique"].value <= 0.5
    assert found["unique"].low is None
    assert found["valid, unique and novel"].value == 0
    assert found["nearer to training graphs"].value > 0.99


def test_near_copies_are_caught_though_they_are_novel():
    found = examined(*made("planar:n=150,held_out=150", "degree-matched:swaps=0.1"))
    assert found["novel"].value > 0.95
    assert found["nearer to training graphs"].low > 0.8
    assert found["nearer to training graphs"].also["p"] < 1e-6


def test_fresh_graphs_of_the_truth_are_novel_and_as_near_to_either():
    data = datasets.make("planar:n=300,held_out=300")
    splits = data.load(rng=Rng(0))
    fresh = all_samples(data.load(rng=Rng(1)).test)
    # A memorizer of other graphs of the same law is the truth itself.
    model = families.make("memorizer").fit(data.space, fresh, rng=Rng(0)).model
    found = examined(model, data, splits, "vun:samples=200")
    assert found["valid"].value == 1
    assert found["novel"].value == 1
    assert found["novel"].also["p"] > 0.5
    near = found["nearer to training graphs"]
    assert near.low < 0.5 < near.high


def test_few_possible_graphs_are_repeated_by_held_out_ones_too():
    """There are six trees of six nodes up to isomorphism: no graph is novel, and none copied."""
    found = examined(*made("trees:nodes=6,n=300,held_out=200", "memorizer"))
    assert found["novel"].value == 0
    assert found["novel"].also["real"] == 0
    assert found["novel"].also["p"] > 0.5


def test_what_is_valid_can_be_said_of_files_and_is_not_guessed():
    model, _, splits = made("planar:n=50,held_out=50,nodes=10", "memorizer")
    other = datasets.make("digits")
    assert "is not known" in examined(model, other, splits)["valid"].method
    assert examined(model, other, splits, "vun:valid=planar")["valid"].value == 1
    assert examined(model, other, splits, "vun:valid=tree")["valid"].value == 0
    assert examined(model, other, splits, "vun:valid=none")["valid"].value is None


def test_other_samples_and_few_graphs_give_a_reason():
    plane = Space("vector", (2,))
    x = made_up(plane, 40)
    splits = Splits(train=InMemory(x), validation=InMemory(x), test=InMemory(x))
    model = families.make("memorizer").fit(plane, x, rng=Rng(0)).model
    found = examined(model, datasets.make("ring"), splits)
    assert all(e.value is None and "kind graph" in e.method for e in found.values())
    model, data, splits = made("trees:n=5,held_out=5,nodes=8", "memorizer")
    assert "at least 10" in examined(model, data, splits)["nearer to training graphs"].method


def test_similarity_is_one_for_isomorphic_graphs_and_less_for_others():
    x = all_samples(datasets.make("planar:n=20,held_out=1").load(rng=Rng(0)).train)
    order = torch.randperm(24, generator=Rng(0).stream("order"))
    same, other = nearest_similarities(x[:10], x[:10][:, order][:, :, order], x[10:])
    assert same == pytest.approx(1)
    assert (other < 0.999).all()
