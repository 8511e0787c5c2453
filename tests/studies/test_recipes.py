"""The harness that holds families against rivals: cells, equal CPU seconds, tests, pictures."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from gantlet.core.data import InMemory, Space, Splits

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RIVAL = """
import time
import torch

def train(x, *, seconds, seed):
    if x.ndim == 4 and x.shape[1] == 3:
        raise ValueError("this takes no colour")
    start, rng = time.process_time(), torch.Generator().manual_seed(seed)
    while time.process_time() - start < seconds:
        x.mean()
    return lambda n: x[torch.randint(len(x), (n,), generator=rng)]
"""


@pytest.fixture(scope="module")
def recipes():
    spec = importlib.util.spec_from_file_location("recipes", BENCHMARKS / "recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rivals(recipes, tmp_path, monkeypatch):
    (tmp_path / "rivals").mkdir()
    (tmp_path / "rivals" / "copies.py").write_text(RIVAL)
    monkeypatch.setattr(recipes, "RIVALS", tmp_path / "rivals")
    for folder in ("cells", "data"):
        (tmp_path / folder).mkdir()
    return tmp_path


def row(model, values, data="digits", **rest):
    is_rival = rest.pop("is_rival", False)
    same = {"data": data, "model": model, "is_rival": is_rival, "seconds": 60.0, **rest}
    return [
        same | {"seed": i, "steps": 10, "scores": {"energy": {"value": v, "low": None}}}
        for i, v in enumerate(values)
    ]


@pytest.mark.parametrize(("model", "is_rival"), [("copies", True), ("vae", False)])
def test_a_cell_spends_its_cpu_seconds_and_is_judged(recipes, rivals, model, is_rival):
    found = recipes.one(recipes.Cell("plane", model, is_rival, seconds=0.5, seed=0), rivals)
    assert "error" not in found
    assert 0.5 <= found["cpu"] < 2.0
    assert found["n"] == 500
    assert found["scores"]["energy"]["low"] <= found["scores"]["energy"]["value"]
    if is_rival:
        real = recipes.floor("plane", rivals)["scores"]["energy"]
        assert abs(found["scores"]["energy"]["value"]) < 5 * (real["high"] - real["low"])


def test_levels_of_a_rival_are_those_of_the_data(recipes, rivals):
    cell = recipes.Cell("digits", "copies", is_rival=True, seconds=0.01, seed=3)
    space, splits = recipes.load("digits", rivals)
    sample, _ = recipes.train_rival(cell, space, splits)
    x, train = sample(50), splits.train.take(torch.arange(len(splits.train)))
    space.check(x)
    known = {tuple(one) for one in train.flatten(1).tolist()}
    assert {tuple(one) for one in x.flatten(1).tolist()} <= known


def test_a_rival_of_vectors_sees_dequantised_levels(recipes, rivals):
    file = rivals / "rivals" / "copies.py"
    file.write_text("VECTORS = True\n" + RIVAL)
    space, splits = recipes.load("digits", rivals)
    sample, _ = recipes.train_rival(
        recipes.Cell("digits", "copies", is_rival=True, seconds=0.01, seed=3), space, splits
    )
    train = splits.train.take(torch.arange(len(splits.train)))
    known = {tuple(one) for one in train.flatten(1).tolist()}
    assert {tuple(one) for one in sample(50).flatten(1).tolist()} <= known


def test_a_rival_that_takes_no_such_data_is_a_row_with_the_reason(recipes, rivals, monkeypatch):
    x = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    parts = dict.fromkeys(("train", "validation", "test"), InMemory(x))
    made = (Space("image", (3, 8, 8), 256), Splits(**parts, note=""))
    monkeypatch.setattr(recipes, "load", lambda *_: made)
    found = recipes.one(
        recipes.Cell("cifar10", "copies", is_rival=True, seconds=0.1, seed=0), rivals
    )
    assert found["error"] == "this takes no colour"
    found |= {"seconds": 60.0}
    other = row("gan", [1.0, 2.0], "cifar10")
    text = recipes.text_of({"rows": [found, *other], "floor": {}})
    assert "no rival takes such data" in text
    assert "copies: this takes no colour" in text


def test_seeds_come_one_after_the_other(recipes):
    found = recipes.cells(["gan"], ["plane", "digits"], ["dcgan"], [60.0, 300.0], 2)
    assert len(found) == 16
    assert [c.seed for c in found] == [0, 0, 0, 0, 1, 1, 1, 1] * 2
    assert len({c.name for c in found}) == 16


def test_two_models_alone_are_compared_by_the_test_of_welch(recipes):
    a, b = [1.0, 1.2, 0.9], [2.0, 2.6, 2.2]
    found = recipes.recipes(row("gan", a) + row("dcgan", b, is_rival=True), "digits", 60.0)
    difference, p = recipes.gap(found["gan"], found["dcgan"])
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert difference == pytest.approx(np.mean(a) - np.mean(b))
    assert p == pytest.approx(welch.pvalue)
    half = stats.t.ppf(0.975, 2) * np.std(a, ddof=1) / math.sqrt(3)
    assert found["gan"].half == pytest.approx(half)


def test_the_verdicts_of_a_table(recipes):
    rows = row("gan", [1.0, 1.1, 1.2]) + row("dcgan", [9.0, 9.1, 9.2], is_rival=True)
    rows += row("vae", [5.0, 5.1, 5.2]) + row("conv_vae", [2.0, 2.1, 2.2], is_rival=True)
    rows += row("diffusion", [3.0, 3.1, 3.2]) + row("ddpm", [3.1, 3.0, 3.2], is_rival=True)
    table = recipes.decided({"rows": rows})
    assert {r["family"]: recipes.verdict(r) for r in table} == {
        "gan": "better",
        "vae": "worse than conv_vae",
        "diffusion": "not significantly different",
    }
    one = recipes.decided({"rows": row("gan", [1.0]) + row("dcgan", [9.0], is_rival=True)})
    assert recipes.verdict(one[0]) == "one seed: not tested"


def test_slow_samplers_give_fewer_samples_or_none(recipes):
    import time

    def slow(n):
        start = time.process_time()
        while time.process_time() - start < 0.002 * n:
            pass
        return torch.zeros(n, 2)

    x, each = recipes.drawn_samples(slow, most=1000, cap=0.4)
    assert 100 <= len(x) <= 250
    assert 0.001 < each < 0.01
    with pytest.raises(ValueError, match="CPU seconds for each sample"):
        recipes.drawn_samples(slow, most=1000, cap=0.01)


def test_the_page_shows_pictures_of_families_and_best_rivals(recipes, rivals, monkeypatch):
    monkeypatch.setattr(recipes, "PICTURES", rivals / "pictures")
    rows = row("gan", [1.0]) + row("dcgan", [2.0], is_rival=True)
    rows += row("wgan_gp", [3.0], is_rival=True)
    for model in ("gan", "dcgan", "wgan_gp"):
        file = recipes.samples_file(rivals, "digits", model, 60.0)
        np.savez(file, x=np.full((12, 1, 8, 8), 7, np.uint8))
    lines = recipes.pictures({"rows": rows}, rivals)
    assert "from top to bottom: gan, dcgan" in lines[0]
    assert (rivals / "pictures" / "recipes-digits-60s.png").exists()
    assert json.loads(json.dumps(rows)) == rows
