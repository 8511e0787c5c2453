"""What was measured before is not measured again, and whatever decides it is part of its name."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from gantlet.cli.main import run
from gantlet.commands.evaluate import trial as trials
from gantlet.commands.evaluate.kept import KeptMeasurements, Measured, can_be_kept, name_of
from gantlet.core.estimate import Estimate, Trial
from gantlet.metrics.frechet import Frechet

TRIAL = Trial(parts={"model": "a"})
FOUND = Measured(
    {"m": Estimate(value=0.1 + 0.2, low=0.1, high=0.5, n=9, method="counted")},
    {"p": 0.25},
    {"near": {"places": torch.arange(5)}, "empty": {}},
)


@pytest.fixture
def kept(tmp_path):
    return KeptMeasurements(tmp_path / "measured")


def never():
    raise AssertionError("it was measured again")


def same(a, b):
    assert (a.scores, a.details) == (b.scores, b.details)
    assert a.tensors.keys() == b.tensors.keys()
    assert all(
        torch.equal(a.tensors[k][i], b.tensors[k][i]) for k in a.tensors for i in a.tensors[k]
    )


def test_what_is_kept_comes_back_to_the_last_bit(kept):
    same(kept.get("k", TRIAL, lambda: FOUND), FOUND)
    same(kept.get("k", TRIAL, never), FOUND)
    with pytest.raises(AssertionError, match="again"):
        kept.get("other", TRIAL, never)


@pytest.mark.parametrize("file", ["outcome.json", "near.safetensors"])
def test_what_was_damaged_is_measured_again(kept, file):
    kept.get("k", TRIAL, lambda: FOUND)
    path = kept.folder / "k" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    same(kept.get("k", TRIAL, lambda: FOUND), FOUND)
    same(kept.get("k", TRIAL, never), FOUND)


@pytest.mark.parametrize(
    "bad",
    [
        replace(Estimate.missing("failed: MemoryError: no room"), has_failed=True),
        Estimate(value=float("inf"), n=3, method="divided"),
    ],
)
def test_failures_and_numbers_that_are_none_are_not_kept(kept, bad):
    seen = []

    def measure():
        seen.append(1)
        return Measured({"m": bad}, {}, {})

    for _ in range(2):
        kept.get("k", TRIAL, measure)
    assert seen == [1, 1]


def test_the_least_recently_used_goes(tmp_path):
    kept = KeptMeasurements(tmp_path / "measured", most=1)
    kept.get("a", TRIAL, lambda: FOUND)
    kept.get("b", TRIAL, lambda: FOUND)
    assert [p.name for p in kept.folder.iterdir()] == ["b"]


def test_names_differ_with_settings_values_shapes_types_and_order():
    x, y = torch.arange(6.0), torch.arange(6.0) + 1
    names = {
        name_of((1,), [x]),
        name_of((2,), [x]),
        name_of((1,), [y]),
        name_of((1,), [x, None]),
        name_of((1,), [None, x]),
        name_of((1,), [x.double()]),
        name_of((1,), [x.reshape(2, 3)]),
        name_of((1,), [x, y]),
        name_of((1,), [y, x]),
    }
    assert len(names) == 9
    assert name_of((1,), [x.reshape(3, 2).T.contiguous().T]) == name_of((1,), [x.reshape(3, 2)])


def test_metrics_of_others_are_measured_every_time():
    @dataclass(frozen=True)
    class Plugged:
        better = "lower"

    Plugged.__module__ = "somebody.elses"
    assert can_be_kept([Frechet()])
    assert not can_be_kept([Frechet(), Plugged()])


def test_a_set_beside_another_is_measured_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, shift in (("real", 0.0), ("control", 0.0), ("a", 0.5), ("b", 1.0)):
        np.save(f"{name}.npy", (rng.normal(size=(60, 6)) + shift).astype(np.float32))
    measured, look = [], trials.measure_together
    monkeypatch.setattr(
        trials,
        "measure_together",
        lambda spec, *rest: measured.append(spec.model) or look(spec, *rest),
    )

    def rows(out, *sets, more=()):
        ask = ["evaluate", *sets, "--against", "real.npy", "--control", "control.npy"]
        ask += ["--metric", "frechet", "--metric", "precision", "--metric", "kid", "--rank", "kid"]
        assert run([*ask, "--out", out, "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    one = rows("1", "a.npy")
    assert measured == ["a.npy", "real"]
    two = rows("2", "a.npy", "b.npy")
    assert measured[2:] == ["b.npy"], "neither a nor the noise floor again"
    assert [r for r in two if r["model"] in {"a.npy", "real"}] == one
    assert rows("3", "a.npy", "b.npy", more=["--seed", "1"]) != two
    assert len(measured) == 6
    # Another sample in the same file.
    np.save("a.npy", np.load("a.npy") + 1)
    rows("4", "a.npy", "b.npy")
    assert measured[6:] == ["a.npy"]
