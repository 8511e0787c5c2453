"""A generator that makes a handful of samples again and again, judged by the command."""

import json

import numpy as np
import pytest

from gantlet.cli.main import run


@pytest.fixture
def judged(tmp_path, monkeypatch, capsys):
    """Returns what ``evaluate --json`` says of fakes that repeat a number of samples."""

    def judge(distinct):
        monkeypatch.chdir(tmp_path)
        rng = np.random.default_rng(0)
        np.save("real.npy", rng.normal(size=(400, 8)).astype("float32"))
        np.save("fake.npy", rng.normal(size=(distinct, 8)).astype("float32").repeat(240, axis=0))
        assert run(["evaluate", "fake.npy", "--against", "real.npy", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return judge


@pytest.mark.parametrize("distinct", [1, 2])
def test_a_collapsed_set_is_never_called_equal_to_real_data(judged, distinct):
    claims = [v["claim"] for v in judged(distinct)["verdicts"]]
    assert any("has too little variety" in claim for claim in claims)
    assert not any("not significantly different" in claim for claim in claims)
    assert not any("could not be tested" in claim for claim in claims)


def test_a_collapsed_set_has_a_distance_though_no_interval(judged):
    rows = judged(1)["rows"]
    energy = [r for r in rows if r["name"].startswith("energy") and r["model"] == "fake.npy"]
    assert energy
    for row in energy:
        # One point in 8 dimensions is about as far from a normal sample as its norm.
        assert row["value"] > 1
        assert row["low"] is None
        assert "needs at least 4 groups of fake samples, got 1" in row["method"]
