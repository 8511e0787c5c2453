"""gantlet forecast, from data to the page, with a predictor whose law is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import gantlet
from gantlet.cli.main import run
from gantlet.commands.forecast import study
from gantlet.core.rng import Rng
from gantlet.forecast.predictor import Predictor
from gantlet.forecast.profile import FEATURES, profile

FAMILIES = ("gan", "flow", "vae")


def cloud(seed, n=120):
    random = np.random.default_rng(seed)
    d, modes = 2 + seed % 4, 1 + seed % 3
    centres = 4 * random.normal(size=(modes, d))
    return random.normal(size=(n, d)) + centres[random.integers(modes, size=n)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """An experiment in which gan is best by far, and the others are equal."""
    random, worlds, results = np.random.default_rng(0), [], []
    for i in range(33):
        x = cloud(i)
        found = dict(profile(torch.from_numpy(x), rng=Rng(0)))
        worlds.append(
            {
                "form": f"ring:n={100 + i}",
                "n": len(x),
                "d": x.shape[1],
                "real": i >= 30,
                "block": i % 5 if i < 30 else i,
                "profile": found,
            }
        )
        for k, family in enumerate(FAMILIES):
            for flops in (1e9, 3e9):
                error = -2 + 0.2 * x.shape[1] + (1.0 if k else 0.0) - 0.3 * math.log10(flops / 1e9)
                results.append(
                    {
                        "world": i,
                        "family": family,
                        "seed": 0,
                        "flops": flops,
                        "steps": flops / 1e7,
                        "error": error + 0.05 * random.normal(),
                        "floor": 1e-4,
                        "diverged": False,
                        "more": {},
                    }
                )
    file = tmp_path_factory.mktemp("table") / "experiment.json"
    plain = {"version": 1, "command": "gantlet study distributions", "flops": [1e9, 3e9]}
    file.write_text(json.dumps({**plain, "worlds": worlds, "results": results}))
    return file


@pytest.fixture(scope="module")
def fitted(table, tmp_path_factory):
    """A run that fitted a predictor and forecasts data like those of the fit."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "like.npy", cloud(31))
    out = folder / "run"
    command = ["forecast", str(folder / "like.npy"), "--refit", str(table), "--out", str(out)]
    assert run(command) == 0
    return out


@pytest.fixture
def usual(fitted, monkeypatch):
    """The predictor of that run in place of the one that is shipped."""
    (file,) = fitted.glob("trials/*/predictor.json")
    predictor = Predictor.from_json(file.read_text())
    monkeypatch.setattr(study, "shipped", lambda: predictor)
    return predictor


def json_of(capsys, *arguments):
    assert run(["forecast", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def claims(found):
    return " ".join(v["claim"] for v in found["verdicts"])


def test_data_like_those_of_the_fit_get_a_prediction(fitted):
    found = json.loads((fitted / "report.json").read_text())
    text = claims(found)
    assert "Try gan first" in text
    assert "GAN or not: gan rather than" in text
    assert "The data: 120 samples in 5 dimensions" in text
    rows = {r["model"]: r for r in found["rows"] if r["name"] == "predicted error"}
    truth = 10 ** (-2 + 0.2 * 5 - 0.3 * math.log10(3))
    assert rows["gan"]["low"] <= truth <= rows["gan"]["high"]
    assert rows["flow"]["value"] > 4 * rows["gan"]["value"]
    page = (fitted / "report.html").read_text()
    for title in ("Predicted error of each family", "Profile of the data", "Nearest known sets"):
        assert title in page
    features = {r["name"] for r in found["rows"]}
    assert set(FEATURES) <= features


@pytest.mark.usefixtures("usual")
def test_families_that_differ_by_nothing_are_not_distinguished(fitted, tmp_path, capsys):
    data, out = fitted.parent / "like.npy", tmp_path / "run"
    found = json_of(capsys, data, "--families", "flow+vae", "--out", out)
    first = found["verdicts"][0]["claim"]
    assert first.startswith("Which family is best cannot be predicted:")
    assert "Try" not in claims(found)


@pytest.mark.usefixtures("usual")
def test_data_far_outside_get_a_profile_and_no_prediction(tmp_path, capsys):
    np.save(tmp_path / "far.npy", np.random.default_rng(0).normal(size=(150, 300)))
    found = json_of(capsys, tmp_path / "far.npy", "--out", tmp_path / "run")
    assert found["verdicts"][0]["claim"].startswith("No prediction: the data are unlike those")
    assert "ambient dimension is 300, and the fit has 2 to 5" in found["verdicts"][0]["because"]
    assert found["applicability"]["inside"] is False
    errors = [r for r in found["rows"] if r["name"] == "predicted error"]
    assert len(errors) == 3
    assert all(r["value"] is None and "no prediction" in r["method"] for r in errors)
    assert "Predicted error of each family" not in (tmp_path / "run/report.html").read_text()
    # The same run again, at a budget far away, says so too.
    found = json_of(capsys, tmp_path / "far.npy", "--flops", "1e18", "--out", tmp_path / "b")
    assert "The budget is 1e+18 FLOPs" in found["verdicts"][0]["because"]


@pytest.mark.usefixtures("usual")
def test_text_is_described_by_features_and_gets_no_prediction(tmp_path, capsys):
    words = np.random.default_rng(0).choice(["red", "green", "blue", "fish", "bird"], (60, 4))
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(w) for w in words))
    found = json_of(capsys, tmp_path / "lines.txt", "--out", tmp_path / "run")
    assert "and the experiment trained on vectors" in found["verdicts"][0]["because"]
    assert "features ngrams" in (tmp_path / "run/report.html").read_text()


def test_a_refit_without_data_reports_the_quality_and_writes_the_predictor(
    table, tmp_path, capsys
):
    found = json_of(capsys, "--refit", table, "--out", tmp_path / "run")
    assert "choosing by the profile" in claims(found)
    assert "3 real sets, none of them fitted" in claims(found)
    (file,) = (tmp_path / "run").glob("trials/*/predictor.json")
    predictor = Predictor.from_json(file.read_text())
    assert tuple(predictor.families) == FAMILIES
    assert len(predictor.worlds) == 30
    assert run(["forecast", "--refit", str(tmp_path / "run"), "--out", str(tmp_path / "b")]) == 2
    assert "is not a run of gantlet study distributions" in capsys.readouterr().err
    # The same command again fits nothing: the run holds it.
    before = file.stat().st_mtime_ns
    again = json_of(capsys, "--refit", table, "--out", tmp_path / "run")
    assert again["verdicts"] == found["verdicts"]
    assert file.stat().st_mtime_ns == before


@pytest.mark.usefixtures("usual")
def test_python_takes_arrays_and_gives_the_same_report(fitted, tmp_path):
    found = gantlet.forecast(cloud(31), out=tmp_path / "run")
    first = json.loads((fitted / "report.json").read_text())["verdicts"]
    assert [v.claim for v in found.verdicts] == [v["claim"] for v in first]


@pytest.fixture
def folder(table, tmp_path, monkeypatch):
    """Returns the table; the working directory has samples that cannot be used."""
    monkeypatch.chdir(tmp_path)
    np.save("few.npy", np.zeros((7, 3)))
    np.save("holes.npy", np.full((30, 2), np.nan))
    Path("empty").mkdir()
    return table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["few.npy", "--refit", "empty"], "empty has no report.json"),
        ([], "Name the data, such as digits or a file, or give --refit"),
        (["nowhere.npy", "--refit", "TABLE"], "nowhere.npy does not exist"),
        (["few.npy", "--refit", "TABLE"], "A profile needs at least 20 samples. few.npy has 7."),
        (["few.npy", "--refit", "none.json"], "none.json does not exist"),
        (["few.npy", "--refit", "few.npy"], "few.npy cannot be read as an experiment table"),
        (["ring", "--refit", "TABLE", "--families", "gann"], "Did you mean 'gan'?"),
        (["ring", "--refit", "TABLE", "--flops", "-1"], "flops must be above 0. Got -1.0."),
        (["holes.npy", "--refit", "TABLE"], "NaN"),
    ],
)
def test_bad_input_is_one_line(arguments, message, folder, capsys):
    given = [str(folder) if a == "TABLE" else a for a in arguments]
    assert run(["forecast", *given, "--out", "run"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
    assert "Traceback" not in "".join(told)
