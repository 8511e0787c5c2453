"""What goes wrong in a run is told, in words, and what can be mended is mended by the next run."""

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gantlet.cli import running
from gantlet.cli import tools as listing
from gantlet.cli.main import run
from gantlet.commands.evaluate import trial
from gantlet.models.baselines import Gmm, Histogram
from gantlet.report import terminal
from gantlet.run.execute import Remark
from gantlet.run.store import Run

QUICK = ["--steps", "3", "--seeds", "1", "--workers", "1", "--metric", "energy"]
QUICK += ["--features", "pixels", "--samples", "50"]
ASKED = ["compare", "gmm:components=2", "histogram", "--data", "ring:n=300", *QUICK]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def failing(error):
    def fit(*_, **__):
        raise error

    return fit


def kinds(folder):
    return {o.trial.parts["model"].partition(":")[0]: o.failure for o in Run(folder).outcomes()}


def test_a_trial_that_ran_out_of_memory_is_told_and_tried_again(folder, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Gmm, "fit", failing(MemoryError("9 GB")))
        assert run([*ASKED, "--out", "run"]) == 1
        out, err = capsys.readouterr()
        assert "gantlet: gmm:" in err
        assert "seed 0 failed: MemoryError: 9 GB." in err
        assert "The same command retries failed trials. Tracebacks: run/log.jsonl." in err
        assert "MemoryError: 9 GB" in " ".join(out.split())
        assert kinds(folder) == {"gmm": "failed", "histogram": None, "real": None}
        assert "Traceback" in (folder / "log.jsonl").read_text()
        assert run([*ASKED, "--out", "run", "--retry", "none"]) == 1
        assert "retried" not in capsys.readouterr().err
    done = {f: f.stat().st_mtime_ns for f in folder.glob("trials/*/outcome.json")}
    assert run([*ASKED, "--out", "run"]) == 0
    assert "failed before (MemoryError: 9 GB) and is retried" in capsys.readouterr().err
    assert kinds(folder) == {"gmm": None, "histogram": None, "real": None}
    assert sum(f.stat().st_mtime_ns == before for f, before in done.items()) == 2
    assert run([*ASKED, "--out", "whole"]) == 0
    whole = folder.with_name("whole")
    for file in whole.glob("trials/*/outcome.json"):
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes()


def test_divergence_is_a_result_and_runs_again_only_when_asked(folder, capsys):
    asked = ["compare", "flow:layers=2", "histogram", "--data", "ring:n=300", *QUICK]
    asked += ["--solver", "sgd:lr=1e30", "--out", "run"]
    assert run(asked) == 1
    first = capsys.readouterr().err
    assert "diverged at step" in first
    assert "are results; --retry all runs them again" in first
    assert kinds(folder)["flow"] == "diverged"
    assert run(asked) == 1
    assert "retried" not in capsys.readouterr().err
    assert run([*asked, "--dry-run"]) == 0
    assert "3 of 3 trials done" in capsys.readouterr().out
    assert run([*asked, "--retry", "all", "--dry-run"]) == 0
    assert "2 of 3 trials done" in capsys.readouterr().out


def test_a_model_that_cannot_be_fitted_does_not_end_the_others(folder, capsys):
    np.save("a.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    asked = ["compare", "gmm:components=99", "histogram", "--data", "npy:path=a.npy", *QUICK]
    assert run([*asked, "--out", "run"]) == 1
    out, err = capsys.readouterr()
    assert "seed 0 failed: gmm:components=99 needs as many samples. Got 48." in err
    assert "energy distance" in out
    assert kinds(folder) == {"gmm": "cannot", "histogram": None, "real": None}


def test_a_question_that_no_model_can_answer_is_one_line_and_no_result(folder, capsys):
    np.save("a.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    asked = ["compare", "gmm:components=99", "--data", "npy:path=a.npy", *QUICK, "--out", "run"]
    for _ in range(2):
        assert run(asked) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert kinds(folder) == {"real": None}


def test_what_cannot_be_written_down_fails_its_trial_alone(folder, capsys, monkeypatch):
    fitted = Histogram.fit

    def wrong(*arguments, **named):
        return replace(fitted(*arguments, **named), flops=float("nan"))

    monkeypatch.setattr(Histogram, "fit", wrong)
    assert run([*ASKED, "--out", "run"]) == 1
    err = capsys.readouterr().err
    assert "spend/flops is not JSON compliant: nan" in err
    assert kinds(folder) == {"gmm": None, "histogram": "failed", "real": None}


def test_warnings_of_libraries_go_into_the_log(folder, capsys, monkeypatch):
    fit = Gmm.fit

    def noisy(self, space, x, *, rng):
        warnings.warn("overflow in cast", RuntimeWarning, stacklevel=1)
        return fit(self, space, x, rng=rng)

    monkeypatch.setattr(Gmm, "fit", noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run([*ASKED, "--out", "run"]) == 0
    assert "overflow" not in capsys.readouterr().err
    assert "RuntimeWarning: overflow in cast" in (folder / "log.jsonl").read_text()


def test_a_conclusion_that_fails_for_a_failed_trial_is_one_line(folder, capsys, monkeypatch):
    from gantlet.commands.compare.study import Compare

    monkeypatch.setattr(Gmm, "fit", failing(MemoryError("9 GB")))
    monkeypatch.setattr(Compare, "conclude", failing(IndexError("nothing there")))
    assert run([*ASKED, "--out", "run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "There is no report, for gmm:" in err
    assert "MemoryError: 9 GB" in err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume."),
        (OSError(30, "Read-only file system", "/x/y"), 2, "/x/y: Read-only file system."),
        (MemoryError(), 1, "out of memory. Finished trials are safe."),
    ],
)
def test_what_leaves_a_command_is_told_in_a_line(capsys, monkeypatch, error, code, told):
    monkeypatch.setattr(listing, "get_terminal_size", failing(error))
    assert run(["list"]) == code
    out, err = capsys.readouterr()
    assert f"gantlet: {told}\n" in err
    assert "Traceback" not in out + err


def test_an_unwritable_run_folder_is_one_line(folder, capsys, monkeypatch):
    assert run([*ASKED, "--out", "run"]) == 0
    capsys.readouterr()
    opened = Path.open

    def read_only(self, mode="r", **rest):
        if "w" in mode or "a" in mode:
            raise OSError(30, "Read-only file system", str(self))
        return opened(self, mode, **rest)

    monkeypatch.setattr(Path, "open", read_only)
    assert run([*ASKED, "--out", "run"]) == 2
    assert capsys.readouterr().err == (
        "gantlet: run cannot be written: Read-only file system. Give another folder.\n"
    )
    assert run(["report", "run"]) == 0
    assert "energy distance" in capsys.readouterr().out


def test_a_log_says_where_the_run_is_and_how_far(capsys, monkeypatch):
    monkeypatch.setattr(running, "FIRST_LINE_AFTER", 0.0)
    monkeypatch.setattr(running, "LINE_EVERY", 0.05)
    with running.progress(3, Path("runs/a")) as tell:
        tell("a", 0.25, "gan, training")
        tell("b", 1.0, "done")
        tell("a", 0.5, Remark("the checkpoint is damaged\x1b[31m"))
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert "gantlet: run folder runs/a, 3 trials to run" in lines[:3]
    assert any("the checkpoint is damaged" in line and "\x1b" not in line for line in lines)
    assert "gantlet: 0 min: 1 of 3 trials done; running: gan, training (25% of the trial)" in lines


def test_a_log_says_when_all_trials_are_expected_to_end(monkeypatch):
    course = running.TrialProgress(2)
    seconds = iter([100.0, 110.0, 140.0, 150.0])
    monkeypatch.setattr(running.time, "monotonic", lambda: next(seconds))
    lines = [course.line()]
    for key, share in (("a", 0.2), ("a", 1.0), ("b", 1.0)):
        course.tell(key, share, "flow, training")
        lines.append(course.line())
    assert ["until about" in line for line in lines] == [False, False, True, False]


def test_a_remark_stays_one_between_processes():
    assert isinstance(pickle.loads(pickle.dumps(Remark("damaged"))), Remark)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_that_cannot_be_written_ends_no_run(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        running.log_line("anything")
        assert run(["list", "nonsense"]) == 2
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_a_command_that_is_over_at_once_writes_no_log(capsys):
    with running.progress(3, Path("runs/a")) as tell:
        tell("a", 0.25, "gan, training")
    with running.progress(3, Path("runs/a"), enabled=False) as tell:
        tell("a", 0.25, "gan, training")
        tell("a", 0.25, Remark("damaged"))
    assert capsys.readouterr() == ("", "gantlet: damaged\n")


def test_a_terminal_shows_what_each_running_trial_does(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        terminal, "Console", lambda **_: Console(file=out, force_terminal=True, width=100)
    )
    with running.progress(3, Path("runs/a")) as tell:
        tell("a", 0.25, "gan, training, loss 0.31")
        tell("b", 0.1, "flow, training, loss 2.5")
        tell("b", 1.0, "done")
        time.sleep(0.3)
    shown = out.getvalue()
    assert "1 of 3 trials done" in shown
    assert "gan, training, loss 0.31" in shown


GANTLET = [sys.executable, "-m", "gantlet.cli"]
LONG = ["compare", "gan", "flow", "--data", "ring", "--steps", "1000000", "--seeds", "1"]
LONG += ["--samples", "50", "--workers", "2", "--metric", "energy", "--out", "run"]


def children(pid):
    """The processes of a session, itself left out, that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == pid and int(stat.parent.name) != pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def until(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.parametrize(
    ("number", "code", "late"),
    [
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 143, True),
        (signal.SIGINT, 130, False),
        (signal.SIGKILL, -9, False),
    ],
)
def test_signals_end_a_run_with_its_workers(tmp_path, number, code, late):
    with (tmp_path / "err").open("w") as err:
        child = subprocess.Popen(
            [*GANTLET, *LONG],
            stderr=err,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            # A shell lets its background jobs ignore Ctrl-C, and so would this run.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
    # Two workers, and what multiprocessing itself keeps for semaphores.
    until(lambda: len(children(child.pid)) >= 3)
    if late:
        until(lambda: len(list(tmp_path.glob("run/trials/*/state.*"))) or _training(child.pid))
    if number == signal.SIGKILL:
        child.send_signal(number)
    else:
        os.killpg(child.pid, number)  # as a terminal does, to all
    assert child.wait(60) == code
    until(lambda: not children(child.pid), 30)
    told = (tmp_path / "err").read_text()
    if number != signal.SIGKILL:
        assert "gantlet: interrupted; run the same command again to resume." in told
        assert "Traceback" not in told
        assert "leaked" not in told


def _training(pid):
    """Whether some worker has used its processor for longer than it takes to start."""
    ticks = os.sysconf("SC_CLK_TCK")
    for child in children(pid):
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 3:
            return True
    return False


@linux
def test_a_worker_of_a_parent_that_is_gone_ends_before_it_loads_torch():
    script = (
        "import sys; from gantlet.run import worker\n"
        "assert 'torch' not in sys.modules\n"
        "worker.initialize_worker(None, 1, 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("form", [[], ["--format", "json"]])
def test_a_reader_that_leaves_is_no_failure(form, capsys):
    assert run([*ASKED, "--out", "run"]) == 0
    capsys.readouterr()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*GANTLET, "report", "run", *form], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_output_that_is_full_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*GANTLET, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("gantlet: standard output cannot be written: No space left")
    assert done.stderr.count("\n") == 1


def test_report_json_that_was_changed_is_one_line(folder, capsys):
    assert run([*ASKED, "--out", "run"]) == 0
    capsys.readouterr()
    found = json.loads((folder / "report.json").read_text())
    found["rows"][0]["value"] = 0.0
    (folder / "report.json").write_text(json.dumps(found))
    assert run(["report", "run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "report.json is damaged: checksum mismatch." in err
    assert err.count("\n") == 1


def test_a_report_of_nothing_says_what_failed(capsys, monkeypatch):
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 3)))
    np.save("y.npy", np.random.default_rng(1).normal(size=(60, 3)))
    monkeypatch.setattr(trial, "parts_of", failing(MemoryError("9 GB")))
    asked = ["evaluate", "x.npy", "--against", "y.npy", "--metric", "energy", "--out", "run"]
    assert run(asked) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "Nothing could be measured: every trial failed. MemoryError: 9 GB" in out
    assert "─" not in out.partition("Failed trials")[0], "no table is empty"
