"""Asynchronous training from the command line, and the replay of its trace."""

import json

import pytest

from gantlet.cli.main import run

SMALL = ["--data", "ring", "--samples", "100", "--batch", "16"]
GAN = "gan:width=8,depth=1,latent=2"


@pytest.mark.slow
def test_workers_train_and_the_report_says_how_stale_their_updates_were(tmp_path, capsys):
    out = tmp_path / "r"
    # In a pool, so that its processes have processes of their own.
    pool = ["--workers", "2", "--async", "2"]
    asked = ["train", GAN, *SMALL, "--steps", "30", *pool, "--out", str(out)]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = (out / "report.html").read_text()
    assert "Staleness of updates" in page
    assert "of the training process alone, without its workers" in page
    assert "a repetition gives another result" in " ".join(found["caveats"])
    (trace,) = out.glob("trials/*/staleness.csv")
    rows = trace.read_text().splitlines()
    assert rows[0] == "update,worker,staleness"
    assert len(rows) == 31
    assert "mode=simultaneous" in found["question"]["solvers"][0]
    # A finished run is not trained again; the trace is replayed in one process.
    before = trace.read_bytes()
    assert run([*asked, "--json"]) == 0
    assert trace.read_bytes() == before
    solver = f"stale:delays=replay,path={trace},of={'adam:mode=simultaneous'}"
    again = ["train", GAN, *SMALL, "--steps", "30", "--workers", "1", "--solver", solver]
    assert run([*again, "--out", str(tmp_path / "s"), "--json"]) == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--async", "2", "--solver", "adam"], "needs a solver that moves all players at once"),
        (["--async", "2", "--solver", "sga"], "needs a solver that moves all players at once"),
        (["--async", "-1"], "from 0 to 4096"),
        (["--async-engine", "ray"], "needs a number of workers, such as --async 2"),
        (["--async", "2", "--async-engine", "rey"], "Did you mean"),
        (["--solver", "stale:delays=replay,path=none.csv"], "cannot be read"),
        (["--solver", "stale:late=critics"], "Did you mean 'critic'"),
    ],
)
def test_mistakes_are_told_in_one_line(asked, message, tmp_path, capsys):
    out = ["--steps", "5", "--out", str(tmp_path / "r")]
    assert run(["train", GAN, *SMALL, *asked, *out]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_workers_cannot_share_past_fakes(tmp_path, capsys):
    asked = ["train", f"{GAN},history=64", *SMALL, "--async", "2", "--steps", "5"]
    assert run([*asked, "--out", str(tmp_path / "r")]) == 2
    told = capsys.readouterr().err
    assert "cannot share what a game remembers" in told
    assert len(told.strip().splitlines()) == 1
