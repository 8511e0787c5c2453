"""gantlet support: what it says of good and of flawed samples, and what it refuses."""

import json

import numpy as np
import pytest

import gantlet
from gantlet.cli.main import run


def blobs(n, seed, d=4):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def ring(n, seed, kept=8):
    draw = np.random.default_rng(seed)
    angle = 2 * np.pi * draw.integers(0, kept, n) / 8
    mean = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (mean + 0.01 * draw.normal(size=(n, 2))).astype(np.float32)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", blobs(600, 0))
    np.save("good.npy", blobs(300, 1))
    few = blobs(40, 2)[np.random.default_rng(3).integers(0, 40, 300)]
    np.save("few.npy", few + 0.01 * blobs(300, 4))
    half = blobs(900, 5)
    np.save("half.npy", half[half[:, 0] > 0][:300])
    np.save("wide.npy", 2.5 * blobs(300, 6))
    np.save("ring.npy", ring(400, 7))
    np.save("seven.npy", ring(400, 8, 7))
    return tmp_path


def asked(*arguments, capsys):
    assert run(["support", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def rows(found, name, model=None):
    return [r for r in found["rows"] if r["name"] == name and model in (None, r["model"])]


def test_sets_are_judged_together_and_against_as_many_real_samples(files, capsys):
    sets = ["good.npy", "few.npy", "half.npy", "wide.npy"]
    found = asked(*sets, "--against", "real.npy", "--out", "run", capsys=capsys)
    good, few, half, wide = found["tests"]
    assert good["significant"] == []
    assert not good["low support"]
    assert {"effective support", "recall", "under-represented modes"} <= set(few["significant"])
    assert few["low support"]
    assert few["modes"]
    assert half["low support"]
    assert wide["significant"] == ["off-support mass"] or "off-support mass" in wide["significant"]
    (support,) = rows(found, "effective support", "few.npy")
    assert support["low"] <= 40 <= support["high"]
    claims = [v["claim"] for v in found["verdicts"]]
    assert claims[0].startswith("good.npy: not distinguishable from 300 held-out real samples in")
    assert claims[0].endswith("no sign of low support.")
    assert "low support: too many collisions" in claims[1]
    real = rows(found, "recall", "real")
    assert len(real) == len(sets)
    assert all(r["n"] == 300 for r in real)
    adjusted = [p for t in found["tests"] for p in t["adjusted"].values()]
    plain = [p for t in found["tests"] for p in t["p"].values()]
    assert len(plain) == 16
    assert all(a >= p for a, p in zip(adjusted, plain, strict=True))
    page = (files / "run" / "report.html").read_text()
    assert "Held-out samples farthest from few.npy" in page
    assert "Closest pairs of few.npy" in page


def test_known_modes_stand_beside_a_perfect_sampler(files, capsys):
    data = "ring:n=500,held_out=400"
    found = asked("ring.npy", "seven.npy", "--against", data, "--out", "run", capsys=capsys)
    good, seven = found["tests"]
    assert good["significant"] == []
    assert seven["modes"] == ["mode 7"]
    assert seven["low support"]
    (modes,) = rows(found, "modes found", "seven.npy")
    assert modes["value"] == 7
    perfect = rows(found, "high-quality share", "perfect sampler")[0]
    assert perfect["value"] == pytest.approx(1 - np.exp(-4.5))
    (divergence,) = rows(found, "KL(samples, truth)", "seven.npy")
    ceiling = rows(found, "KL(samples, truth)", "perfect sampler")[0]
    assert ceiling["high"] < divergence["low"]


def test_discrete_samples_collide_if_they_are_equal(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    np.save("real.npy", draw.integers(0, 9, (800, 3)).astype(np.float32))
    np.save("same.npy", draw.integers(0, 9, (400, 3)).astype(np.float32))
    found = asked("same.npy", "--against", "real.npy", "--out", "run", capsys=capsys)
    assert "samples collide if they are equal" in " ".join(found["caveats"])
    (support,) = rows(found, "effective support", "same.npy")
    assert support["low"] <= 729 <= support["high"]
    assert found["tests"][0]["significant"] == []


def test_the_same_numbers_come_from_python_and_again_from_the_folder(files, capsys):
    sets = {"few": np.load("few.npy")}
    first = gantlet.support(sets, against=np.load("real.npy"), out="run")
    again = gantlet.support(sets, against=np.load("real.npy"), out="run")
    assert [r.estimate for r in first.rows] == [r.estimate for r in again.rows]
    other = gantlet.support(sets, against=np.load("real.npy"), out="other")
    assert [r.estimate for r in first.rows] == [r.estimate for r in other.rows]
    log = (files / "run" / "log.jsonl").read_text()
    assert log.count('"event": "trial') <= log.count('"event"')


def test_a_model_in_a_run_is_inverted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = ["gan:latent=2", "flow"]
    gantlet.compare(
        models,
        data="ring:n=300,held_out=200",
        budget=gantlet.Budget(steps=20),
        seeds=1,
        metrics=["energy"],
        out="run",
    )
    options = ["--against", "ring:n=300,held_out=200", "--invert", "32", "--out", "support"]
    found = asked("run@gan", "run@flow", *options, capsys=capsys)
    gan, flow = found["tests"]
    assert "recall by inversion" in gan["p"]
    assert "recall by inversion" not in flow["p"]
    (recall,) = rows(found, "recall by inversion", "run@gan")
    assert recall["n"] == 32
    assert rows(found, "zero probability", "run@flow")
    _has_bounds(found)
    page = (tmp_path / "support" / "report.html").read_text()
    assert "High-quality share and Lipschitz constant" in page
    assert "no map of standard normal latent vectors" in page
    assert "farthest from the decoder of run@gan" in page
    assert "Held-out samples of lowest log-likelihood under run@flow" in page


def _has_bounds(found):
    """Whether bounds follow from constants and modes: a ring of eight, 3 deviations of 0.01."""
    gap = 2 * np.sin(np.pi / 8) - 0.06
    for model in ("run@gan", "run@flow"):
        (constant,) = rows(found, "Lipschitz constant, lower bound", model)
        (bound,) = rows(found, "precision bound", model)
        limit = gantlet.theory.precision_bound(8, gap, constant["value"])
        assert bound["value"] == pytest.approx(limit, rel=1e-6)
    needed, _ = rows(found, "Lipschitz constant needed", "perfect sampler")
    assert gantlet.theory.precision_bound(8, gap, needed["value"]) == pytest.approx(0.98889, 1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good.npy", "--modes", "known"], "--modes known needs data whose support is known"),
        (["good.npy", "--modes", "classes"], "--modes classes needs labelled real data"),
        (["good.npy", "--modes", "clases"], "classes"),
        (["tiny.npy"], "tiny.npy holds 20 samples. At least 40 are needed."),
        (["gone.npy"], "gone.npy does not exist"),
        (["good.npy", "--pair-share", "0"], "above 0"),
        (["good.npy", "--cells", "1"], "2"),
    ],
)
def test_mistakes_are_told_in_one_line(files, capsys, arguments, message):
    np.save("tiny.npy", blobs(20, 9))
    before = sorted(files.rglob("*"))
    assert run(["support", *arguments, "--against", "real.npy"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert sorted(files.rglob("*")) == before


def test_too_few_real_samples_are_refused(files, capsys):
    np.save("small.npy", blobs(60, 9))
    assert run(["support", "good.npy", "--against", "small.npy"]) == 2
    assert "At least 80 real samples are needed." in capsys.readouterr().err
    assert run(["support", "ring.npy", "--against", "ring", "--cells", "5"]) == 2
    assert "--cells is for --modes cells" in capsys.readouterr().err
