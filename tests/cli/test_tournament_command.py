"""gantlet tournament from the command line."""

import json
import re

import pytest

from gantlet.cli.main import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    budget = ["--data", "ring:n=400", "--steps", "60", "--batch", "32", "--samples", "100"]
    gan, gmm = ["train", "gan:width=16,depth=1"], ["train", "gmm:components=4"]
    assert run([*gan, *budget, "--snapshots", "3", "--out", str(folder / "gan")]) == 0
    assert run([*gmm, *budget, "--out", str(folder / "gmm")]) == 0
    return folder


@pytest.fixture
def trained(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gan", "gmm"):
        (tmp_path / name).symlink_to(runs / name)
    return tmp_path


def test_runs_meet_and_are_rated(trained, capsys):
    assert run(["tournament", "gan", "gmm", "--samples", "150", "--out", "t"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"highest rating(,| is) [\d,]+", " ".join(out.split()))
    assert "held-out real data" in out
    page = (trained / "t/report.html").read_text()
    for part in ("Rating over training", "Win rates of generators", "Critics"):
        assert part in page
    assert run(["tournament", "gan", "gmm", "--samples", "150", "--out", "t", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "tournament"
    names = {row["model"] for row in told["rows"] if row["name"] == "rating"}
    assert {"gmm/gmm:components=4 #0", "critic of gan/gan:width=16,depth=1 #0 @60"} <= names
    assert isinstance(told["cycles"], list)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gmm"], "train with --snapshots N"),
        (["nowhere"], "not a run directory"),
        ([], "at least one run"),
        (["gan", "--samples", "3"], "from 20 to"),
        (["gan", "--device", "cuda"], "runs on the cpu"),
    ],
)
def test_mistakes_are_told_in_one_line(trained, capsys, arguments, told):
    assert run(["tournament", *arguments, "--out", "t"]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (trained / "t").exists()


def test_a_negative_number_of_snapshots_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "gan", "--data", "ring", "--steps", "5", "--snapshots", "-1"]) == 2
    assert "snapshots must be from 0 to 100000. Got -1." in capsys.readouterr().err
