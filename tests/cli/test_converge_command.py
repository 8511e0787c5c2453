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


def numbers(asked, capsys):
    assert run(["converge", *asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found, {row["name"]: row["value"] for row in found["rows"]}


STALE = 'stale:{},of="sgd:lr=0.1,mode=simultaneous"'


@pytest.mark.parametrize(
    ("delays", "growth", "state"),
    [
        ("delay=5", 0.998607, "converges"),
        ("delay=6", 1.000913, "diverges"),
        ("delays=geometric,workers=2", 0.988516, "converges"),
    ],
)
def test_late_gradients_are_predicted_and_observed(delays, growth, state, tmp_path, capsys):
    model = "dirac:penalty=r1,gamma=0.3,theta=0.01,psi=0.01"
    solver = STALE.format(delays)
    asked = [model, "--steps", "2000", "--solver", solver, "--out", str(tmp_path / "r")]
    found, values = numbers(asked, capsys)
    assert state in found["verdicts"][0]["claim"]
    assert values["growth of the leading modes in one step"] == pytest.approx(growth, abs=1e-4)
    # What the game stands does not depend on how late gradients were.
    assert values["largest stable delay"] == 5
    assert values["largest stable number of asynchronous workers"] == 7


def test_what_is_recommended_against_late_gradients_is_late_too(tmp_path, capsys):
    asked = ["dirac", "--steps", "200", "--solver", STALE.format("delay=3")]
    found, _ = numbers([*asked, "--out", str(tmp_path / "r")], capsys)
    assert found["advice"]
    assert {a["solver"].partition(":")[0] for a in found["advice"]} == {"stale"}
    assert any(a["growth"] and a["growth"] < 1 for a in found["advice"])
