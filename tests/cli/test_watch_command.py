"""``gantlet watch`` and ``gantlet report`` on the folder of a watched training."""

import json
import threading
import time

import pytest
import torch

import gantlet
from gantlet.cli.main import run


@pytest.fixture
def watched(tmp_path):
    real = torch.randn(160, 2, generator=torch.Generator().manual_seed(0))
    found = gantlet.Watch(real, every=10, samples=50, share=None, out=tmp_path / "mine", to=())

    def go_on(start, end):
        for step in range(start, end):
            found(step, sample=lambda n, generator: torch.randn(n, 2, generator=generator))

    go_on(0, 11)
    return found, go_on, tmp_path / "mine"


def test_the_record_is_shown(watched, capsys):
    _, _, folder = watched
    assert run(["watch", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "No alarm in 2 looks up to step 10." in out
    assert "real against real" in out
    assert run(["watch", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "watch"
    assert told["running"] is True
    assert {r["name"] for r in told["rows"]} >= {"kid, step 0", "kid, step 10"}
    assert run(["report", str(folder), "--format", "csv"]) == 0
    assert '"kid, step 10"' in capsys.readouterr().out


def test_it_is_followed_until_the_training_ends(watched, capsys):
    found, go_on, folder = watched

    def train():
        time.sleep(1)
        go_on(11, 31)
        found.report()

    thread = threading.Thread(target=train)
    thread.start()
    assert run(["watch", str(folder), "--follow", "--json"]) == 0
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 2
    assert (lines[0]["running"], lines[-1]["running"]) == (True, False)
    assert lines[-1]["step"] == 30


def test_mistakes_are_one_line(tmp_path, capsys):
    assert run(["watch", str(tmp_path)]) == 2
    assert "has no report.json yet" in capsys.readouterr().err
    real = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    gantlet.evaluate(real + 1, real, metrics=["energy"], out=tmp_path / "other")
    assert run(["watch", str(tmp_path / "other")]) == 2
    assert "is no watched training" in capsys.readouterr().err
