"""Interrupted, killed, or spread over processes: the result files are the same, bit by bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gantlet.api import run_study
from gantlet.commands.compare.study import Compare
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.models.gan import GanGame
from gantlet.run import execute
from gantlet.run.store import Run

RESULTS = ("outcome.json", "model.safetensors", "samples.safetensors", "curve.jsonl")


def question(**changes):
    settings = {
        "models": ("gan:width=16", "flow:layers=2,width=16", "gmm:components=3"),
        "data": "ring:n=600",
        "budget": Budget(steps=60),
        "seeds": 2,
        "metrics": ("energy",),
        "features": ("pixels",),
        "probes": ("parameters",),
        "batch": 32,
        "samples": 100,
    }
    return Compare(**{**settings, **changes})


def results(folder):
    return {
        f.relative_to(folder): f.read_bytes()
        for f in sorted(folder.glob("trials/*/*"))
        if f.name in RESULTS
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_study(question(), folder)
    found = results(folder)
    assert len(found) == 7 + 6 * 2 + 4
    return found


def test_the_same_question_gives_the_same_files(expected, tmp_path):
    run_study(question(), tmp_path / "run")
    assert results(tmp_path / "run") == expected


def test_workers_change_nothing(expected, tmp_path):
    report = run_study(question(), tmp_path / "run", workers=2)
    assert results(tmp_path / "run") == expected
    assert (tmp_path / "run" / "report.html").exists()
    assert {r.model.partition(":")[0] for r in report.rows} == {"gan", "flow", "gmm", "real"}


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_ends_the_same(expected, tmp_path):
    script = tmp_path / "go.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_resume import question, run_study\n"
        "if __name__ == '__main__':\n"
        "    run_study(question(), Path(sys.argv[2]), workers=int(sys.argv[3]))\n"
    )
    folder = tmp_path / "run"
    command = [sys.executable, str(script), str(Path(__file__).parent), str(folder), "2"]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list(folder.glob("trials/*/outcome.json")):
        assert time.monotonic() < deadline, "no trial was finished"
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = results(folder)
    time.sleep(1.0)  # workers notice that their parent is gone within half a second
    run_study(question(), folder)
    found = results(folder)
    assert found == expected
    done = [f for f in finished if f.name == "outcome.json"]
    assert all(found[f] == finished[f] for f in done)


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    asked = {"models": ("gan:width=16,ema=0.9",), "budget": Budget(steps=1500), "seeds": 1}
    run_study(question(**asked), tmp_path / "whole")
    script = tmp_path / "go.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "import gantlet.commands.trained as build\n"
        "from test_resume import Budget, question, run_study\n"
        "build.Plan = partial(build.Plan, checkpoint=0.0)  # after every step\n"
        f"run_study(question(**{asked!r}), Path(sys.argv[2]))\n"
    )
    folder = tmp_path / "run"
    command = [sys.executable, str(script), str(Path(__file__).parent), str(folder)]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list(folder.glob("trials/*/state.1.safetensors")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(list(folder.glob("trials/*/state.1.json"))) == 1, "killed in the midst of training"

    def anew(*_, **__):
        raise AssertionError("training began anew")

    monkeypatch.setattr(GanGame, "prepare", anew)
    run_study(question(**asked), folder)
    assert results(folder) == results(tmp_path / "whole")
    assert not list(folder.glob("trials/*/state.*"))


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    run_study(question(seeds=1), tmp_path / "run")

    def never(*_):
        raise AssertionError("a finished trial was run again")

    monkeypatch.setattr(execute, "run_and_record", never)
    run_study(question(seeds=1), tmp_path / "run")
    with pytest.raises(UserError, match="another configuration"):
        run_study(question(seeds=2), tmp_path / "run")


def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    from gantlet.models.baselines import Gmm

    def broken(*_, **__):
        raise RuntimeError("the mixture broke")

    monkeypatch.setattr(Gmm, "fit", broken)
    report = run_study(question(seeds=1), tmp_path / "run")
    assert any("gmm:components=3 failed" in v.claim for v in report.verdicts)
    errors = {
        o.trial.parts["model"].partition(":")[0]: o.error for o in Run(tmp_path / "run").outcomes()
    }
    assert errors["gmm"] == "RuntimeError: the mixture broke"
    assert errors["gan"] is None
    assert "the mixture broke" in (tmp_path / "run" / "log.jsonl").read_text()


def test_samples_that_are_no_numbers_fail_their_trial_and_no_other(tmp_path, monkeypatch):
    from gantlet.models.gan import Generator

    def broken(self, n, *, rng):
        return torch.full((n, 2), torch.nan)

    monkeypatch.setattr(Generator, "sample", broken)
    run_study(question(seeds=1), tmp_path / "run")
    errors = {
        o.trial.parts["model"].partition(":")[0]: o.error for o in Run(tmp_path / "run").outcomes()
    }
    told = "diverged: 100 of the 100 samples of the model hold NaN or infinity."
    assert errors == {"gan": told, "flow": None, "gmm": None, "real": None}


def test_a_diverged_trial_says_at_which_step(tmp_path):
    report = run_study(
        question(models=("flow:layers=2", "gmm"), seeds=1, solver="sgd:lr=1e30"), tmp_path / "run"
    )
    failures = [v.because for v in report.verdicts if "failed" in v.claim]
    assert failures
    assert "diverged at step" in failures[0]


def test_two_families_end_with_the_same_flops(tmp_path):
    run_study(
        question(
            # A step must be small beside the budget, which it never oversteps.
            models=("gan", "flow", "vae", "diffusion", "ar", "flow-gan:layers=2,width=16"),
            budget=Budget(flops=2e9),
            seeds=1,
        ),
        tmp_path / "run",
    )
    spent = [o.spend.flops for o in Run(tmp_path / "run").outcomes() if o.spend.steps]
    assert len(spent) == 6
    assert max(spent) <= 2e9
    assert min(spent) >= 0.98 * 2e9


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_loses_nothing(expected, tmp_path):
    script = tmp_path / "go.py"
    script.write_text(
        "import multiprocessing, sys, threading, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_resume import question, run_study\n"
        "def kill():  # as the system does for its memory\n"
        "    while not multiprocessing.active_children():\n"
        "        time.sleep(0.05)\n"
        "    multiprocessing.active_children()[0].kill()\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=kill, daemon=True).start()\n"
        "    run_study(question(), Path(sys.argv[2]), workers=2)\n"
    )
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parent), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "UserError: A worker process died" in done.stderr
    run_study(question(), folder)
    assert results(folder) == expected
