"""gantlet converge from the command line."""

import json

import pytest

from gantlet.cli.main import run


def test_a_toy_game_is_diagnosed_and_cured(tmp_path, capsys):
    asked = ["converge", "dirac:loss=wgan", "--steps", "200", "--apply-advice"]
    assert run([*asked, "--out", str(tmp_path / "c"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "converge"
    assert found["question"]["model"].startswith("dirac:loss=wgan,penalty=none")
    assert found["verdicts"][0]["claim"].startswith("dirac:loss=wgan oscillates")
    assert found["tried"][0]["state"] == "converging"
    assert "Add gamma/2 * E|grad_x D(x)|^2" in found["tried"][0]["code"]
    assert found["leading"][0][:2] == pytest.approx([0.0, 1.0])
    names = {row["name"] for row in found["rows"]}
    assert {"rotation share", "growth of the leading modes in one step", "duality gap"} <= names
    page = (tmp_path / "c/report.html").read_text()
    assert "Path angle from start to end" in page
    assert "Norm of the gradient field from start to end" in page


def test_nothing_is_done_in_a_rehearsal(tmp_path, capsys):
    assert run(["converge", "saddle", "--dry-run", "--out", str(tmp_path / "d")]) == 0
    assert "0 of 1 trials done" in capsys.readouterr().out
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["gan", "--solver", "adamm"], "Did you mean 'adam'"),
        (["gmm"], "gmm is fitted directly"),
        (["dirac:loss=wgam"], "Did you mean 'wgan'"),
        (["gan", "--batch", "0"], "batch must be from 1 to"),
    ],
)
def test_mistakes_are_told_in_one_line(asked, message, tmp_path, capsys):
    assert run(["converge", *asked, "--out", str(tmp_path / "m")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
