"""gantlet flaws: what it lists, and what it refuses in one line."""

import json
import pathlib

import numpy as np
import pytest

import gantlet
from gantlet.cli.main import run
from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets

QUICK = ["--permutations", "199"]


def blobs(n, seed, d=6):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", blobs(800, 0))
    np.save("same.npy", blobs(800, 1))
    shifted = blobs(800, 2)
    shifted[:, 2] += 1.0
    np.save("shifted.npy", shifted)
    both = blobs(800, 3)
    both[:, 2] += 1.0
    both[:, 4] -= 0.8
    np.save("both.npy", both)
    return tmp_path


def asked(*arguments, capsys):
    assert run([str(a) for a in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_flaws_are_listed_the_largest_first(files, capsys):
    command = ["flaws", "both.npy", "--against", "real.npy", *QUICK, "--out", "o", "--json"]
    found = asked(*command, capsys=capsys)
    titles = [f["title"] for f in found["lists"]["both.npy"]]
    assert titles[:2] == ["column 2 too high", "column 4 too low"]
    assert "the largest flaw is: column 2 too high" in found["verdicts"][0]["claim"]
    names = {r["name"] for r in found["rows"]}
    assert {"1: column 2 too high: size", "accuracy of a linear critic"} <= names
    assert "Flaws of both.npy" in (files / "o/report.html").read_text()
    assert asked(*command, capsys=capsys)["rows"] == found["rows"]


@pytest.mark.usefixtures("files")
def test_equal_sets_have_no_flaws_and_it_is_said(capsys):
    found = asked("flaws", "same.npy", "--against", "real.npy", *QUICK, "--json", capsys=capsys)
    assert found["lists"] == {"same.npy": []}
    assert "nothing significant of at least 0.2" in found["verdicts"][0]["claim"]
    assert "is found with probability 0.9" in found["verdicts"][0]["because"]


@pytest.mark.usefixtures("files")
def test_two_sets_share_some_flaws_and_have_their_own(capsys):
    sets = ["a=both.npy", "b=shifted.npy"]
    assert run(["flaws", *sets, "--against", "real.npy", *QUICK, "--out", "o"]) == 0
    capsys.readouterr()
    page = json.loads(pathlib.Path("o/report.json").read_text())
    rows = {(r["model"], r["name"]): r["value"] for r in page["rows"]}
    assert rows["a=both.npy", "1: column 2 too high: size in b"] > 0.7
    assert abs(rows["a=both.npy", "2: column 4 too low: size in b"]) < 0.3
    title = "Flaws of a in the other sets"
    (table,) = (b for b in gantlet.load_report("o").blocks if getattr(b, "title", "") == title)
    assert table.columns[-1].name == "shared with"
    shared = {row[0]: row[-1] for row in table.rows}
    assert shared["column 2 too high"] == "b"
    assert shared["column 4 too low"] == "no other"
    text = pathlib.Path("o/report.html").read_text()
    assert title in text
    assert "no other" in text


def test_images_are_shown_with_their_flaw(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = all_samples(datasets.make("digits").load(rng=Rng(0)).train).numpy()[:700]
    np.save("bright.npy", np.clip(x + 3, 0, 16).astype(np.uint8))
    command = ["flaws", "bright.npy", "--against", "digits@train", "--features", "pixels", *QUICK]
    found = asked(*command, "--out", "o", "--json", capsys=capsys)
    assert "too bright" in [f["title"] for f in found["lists"]["bright.npy"]]
    page = (tmp_path / "o/report.html").read_text()
    assert "Samples that have it most and least" in page
    assert "mean difference, ±" in page


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("mode", ["linear", "transport", "neural", "pca"])
def test_other_modes_find_the_largest_flaw(mode, capsys):
    command = ["flaws", "both.npy", "--against", "real.npy", "--mode", mode, "--json"]
    found = asked(*command, "--permutations", "399", "--max-directions", "2", capsys=capsys)
    assert found["lists"]["both.npy"]


def test_critics_list_what_no_direction_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", blobs(1600, 0, 4))
    sphere = blobs(1600, 1, 4)
    np.save("sphere.npy", 2 * sphere / np.linalg.norm(sphere, axis=1, keepdims=True))
    command = ["flaws", "sphere.npy", "--against", "real.npy", *QUICK, "--max-directions", "1"]
    for blind in ("residual", "projection"):
        more = ["--mode", "neural", "--deflation", blind, "--json", "--out", blind]
        found = asked(*command, *more, capsys=capsys)
        rows = {r["name"]: r["value"] for r in found["rows"]}
        assert rows["1: unnamed direction 1: accuracy, this flaw only"] > 0.7
        assert "neural, " in str(found["facts"])


@pytest.mark.usefixtures("files")
def test_what_can_be_detected_is_told_before_the_run(capsys):
    assert run(["flaws", "both.npy", "--against", "real.npy", "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "with 800 held-out samples you can detect an accuracy of at least 0.544" in told
    found = asked("flaws", "both.npy", "--against", "real.npy", *QUICK, "--json", capsys=capsys)
    assert "at least 0.544" in str(found["facts"])
    np.save("tiny.npy", blobs(3, 0))
    assert run(["flaws", "tiny.npy", "--against", "real.npy", "--dry-run"]) == 0
    assert "2 held-out samples cannot tell anything" in capsys.readouterr().err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--min-effect", "-1"], "min_effect must be from 0 to 100"),
        (["--level", "1"], "level must be above 0 and below 1. Got 1.0."),
        (["--deflation", "adversary"], "--deflation"),
        (["--max-directions", "0"], "max_directions must be from 1 to 1000"),
        (["--permutations", "3"], "permutations must be from 19 to 1e+06"),
        (["--mode", "pca", "--permutations", "99"], "99 permutations cannot confirm"),
        (["--samples", "1"], "samples must be from 2 to"),
        (["--features", "pixel"], "Did you mean 'pixels'"),
        (["both.npy"], "named twice"),
    ],
)
def test_bad_options_are_refused_in_one_line(more, message, capsys):
    assert run(["flaws", "both.npy", "--against", "real.npy", *more]) == 2
    assert message in capsys.readouterr().err
