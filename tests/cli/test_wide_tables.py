"""Tables with thousands of columns are judged in seconds, or refused with the bound."""

import time

import numpy as np
import pytest

from gantlet.cli.main import run

# Far above what it takes, far below the minutes that a pass over pairs of columns would take.
SECONDS = 240


def table(path, n, d, *, seed):
    x = np.random.default_rng(seed).normal(size=(n, d))
    header = ",".join(f"c{i}" for i in range(d))
    np.savetxt(path, x, fmt="%.3f", delimiter=",", header=header, comments="")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judged(command, n, d):
    table("real.csv", n, d, seed=0)
    table("fake.csv", n, d, seed=1)
    started = time.process_time()
    code = run([command, "fake.csv", "--against", "real.csv", "--workers", "1", "--out", "o"])
    return code, time.process_time() - started


@pytest.mark.usefixtures("here")
def test_twelve_rows_of_5000_columns_are_judged_in_seconds(capsys):
    code, seconds = judged("evaluate", 12, 5000)
    assert code == 0
    assert "c2st" in capsys.readouterr().out
    assert seconds < SECONDS


@pytest.mark.usefixtures("here")
def test_flaws_of_wide_tables_are_listed_in_seconds(capsys):
    code, seconds = judged("flaws", 40, 3000)
    assert code == 0, capsys.readouterr().err
    assert seconds < SECONDS


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["evaluate", "flaws"])
@pytest.mark.parametrize(
    ("n", "d", "message"),
    [
        (2, 5000, "2 "),
        (2, 300_000, "real.csv has 300,000 columns; at most 10,000 are read."),
    ],
)
def test_few_rows_or_too_many_columns_are_refused_at_once(capsys, command, n, d, message):
    code, seconds = judged(command, n, d)
    told = capsys.readouterr().err
    assert code != 0
    assert message in told.replace("fake.csv", "real.csv")
    assert seconds < SECONDS / 4


@pytest.mark.usefixtures("here")
def test_long_lines_are_no_long_cells(capsys):
    # A line is longer than the longest cell that may be read, were it one.
    n, d = 12, 9000
    x = np.random.default_rng(0).normal(size=(n, d))
    np.savetxt("real.csv", x, fmt="%.17f", delimiter=",")
    np.savetxt("fake.csv", x + 1, fmt="%.17f", delimiter=",")
    command = ["evaluate", "fake.csv", "--against", "real.csv", "--metric", "energy", "--out", "o"]
    assert run(command) == 0
    assert "energy" in capsys.readouterr().out
