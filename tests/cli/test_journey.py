"""What a user does from the first command to the last, on a small question."""

import csv
import json

import numpy as np
import pytest

from gantlet.cli.main import run

QUESTION = ["compare", "gan:width=16", "gmm:components=3", "--data", "ring:n=600", "--steps", "40"]
QUESTION += ["--seeds", "2", "--batch", "32", "--samples", "80"]
KEYS = {"data", "model", "seed", "name", "value", "low", "high", "level", "n", "unit", "better"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("journey") / "run"
    assert run([*QUESTION, "--out", str(path), "--workers", "1"]) == 0
    return path


def test_compare_prints_one_json_object(folder, capsys):
    assert run([*QUESTION, "--out", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {"command", "question", "spend", "rows", "verdicts", "caveats", "report"} <= set(told)
    assert told["command"] == "compare"
    assert set(told["rows"][0]) >= KEYS | {"method"}
    names = {r["name"] for r in told["rows"]}
    assert {"energy (pixels)", "likelihood", "training FLOPs", "FLOPs per sample"} <= names
    missing = [r for r in told["rows"] if r["value"] is None]
    assert all(r["method"] for r in missing)
    assert err == ""


def test_compare_tells_people_what_was_found(folder, capsys):
    assert run([*QUESTION, "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "energy distance" in out
    assert "held-out real data" in out
    assert "report.html" in out


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors", "png"])
def test_samples_can_be_had_in_any_format(folder, tmp_path, ending):
    out = tmp_path / f"samples.{ending}"
    arguments = ["sample", str(folder), "--model", "gan:width=16", "-n", "50", "--out", str(out)]
    assert run(arguments) == 0
    first = out.read_bytes()
    assert run(arguments) == 0
    assert out.read_bytes() == first or ending == "npz"
    if ending == "npy":
        assert np.load(out).shape == (50, 2)


def test_a_wrong_model_is_named(folder, capsys):
    assert run(["sample", str(folder)]) == 2
    assert "has several models; give --model, one of gan:width=16, gmm" in capsys.readouterr().err
    assert run(["sample", str(folder), "--model", "gan:width=1"]) == 2
    assert "Did you mean 'gan:width=16'?" in capsys.readouterr().err
    assert run(["sample", str(folder), "--model", "gan", "--seed", "7"]) == 2
    assert "has no seed 7" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "html", "json", "markdown", "latex", "csv"])
def test_the_report_comes_back_in_any_form(folder, tmp_path, form):
    out = tmp_path / "report"
    assert run(["report", str(folder), "--format", form, "--out", str(out)]) == 0
    assert "energy" in out.read_text()


def test_numbers_of_runs_are_exported_tidily(folder, tmp_path):
    out = tmp_path / "rows.csv"
    assert run(["export", str(folder), str(folder), "--to", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) >= KEYS
    assert len(rows) == 2 * len(json.loads((folder / "report.json").read_text())["rows"])


def test_train_is_a_comparison_of_one(tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["train", "flow:layers=2,width=16", "--data", "moons:n=600", "--steps", "30"]
    assert run([*arguments, "--samples", "60", "--seed", "5", "--out", str(folder)]) == 0
    assert "flow" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["question"]["seeds"] == [5]
    assert run(["sample", str(folder), "--seed", "5", "--out", str(tmp_path / "x.npz")]) == 0


def test_cost_says_how_long_and_how_much(capsys):
    assert (
        run(["cost", "gan:width=16", "--data", "ring:n=600", "--examples", "1e4", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    names = {r["name"]: r["value"] for r in told["rows"]}
    assert names["training FLOPs"] > 0
    assert names["training wall time"] > 0
    assert run(["cost", "gan", "--examples", "1.5"]) == 2
    assert run(["cost"]) == 2


def test_doctor_finds_this_machine(capsys):
    assert run(["doctor", "--json"]) == 0
    assert "torch" in json.loads(capsys.readouterr().out)["facts"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: np.save(f / "a.npy", np.array([[1.0, np.nan]] * 50)), "NaN"),
        (lambda f: np.save(f / "a.npy", np.zeros((2, 3))), "2"),
        (lambda f: (f / "a.npy").write_bytes(b"not an array"), "a.npy"),
        (lambda f: None, "a.npy"),
    ],
)
def test_bad_data_is_told_in_one_line(tmp_path, capsys, make, message):
    make(tmp_path)
    out = tmp_path / "run"
    code = run(["compare", "gmm", "--data", f"npy:path={tmp_path / 'a.npy'}", "--out", str(out)])
    err = capsys.readouterr().err
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_family_that_cannot_model_the_space_says_so(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(60, 1)))
    arguments = ["compare", "flow", "--data", f"npy:path={tmp_path / 'a.npy'}", "--steps", "5"]
    assert run([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
