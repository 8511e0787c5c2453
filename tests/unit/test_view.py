"""All runs below a folder: what is found, and what is said of each."""

import fcntl
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gantlet
from gantlet.commands.compare.study import Compare
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL
from gantlet.report.html import as_html
from gantlet.run.store import Run, hold, is_held, read_sealed, write_sealed
from gantlet.view import page, record
from gantlet.view.contrast import APART, OVERLAP, UNKNOWN, Number, contrast, numbers_of, paired
from gantlet.view.page import View
from gantlet.view.record import Reader, read_fields
from gantlet.view.scan import search
from gantlet.view.words import in_words, settings, short
from run_folders import COMPARE, change, make_run, numbers, outcome


def only(folder, **how):
    """Returns the one run below a folder."""
    (record,) = View(folder, **how).runs
    return record


# ----------------------------------------------------------------------------
# State: by lock, report and log, never by guess.
# ----------------------------------------------------------------------------


def test_a_finished_run_is_told_in_full(tmp_path):
    make_run(tmp_path / "a" / "b")
    found = only(tmp_path)
    assert (found.name, found.state, found.done, found.total) == ("a/b", "finished", 2, 2)
    assert found.question == "compare gan and flow on digits, 200 GFLOP, 3 seeds"
    assert found.headline == "gan and flow are not significantly different."
    assert (found.seconds, found.cpu, found.scope, found.flops) == (100.0, 60.0, "", 2e9)
    assert found.started == "2026-01-02T03:04:05+00:00"
    assert found.page
    assert found.settings["models 1: width"] == "128"


@pytest.mark.parametrize(
    ("how", "state", "why"),
    [
        ({}, "finished", "its report is there"),
        ({"failures": ["failed"]}, "failed", "of 2 trials 1 failed"),
        ({"failures": ["diverged"]}, "finished", "of 2 trials 1 diverged"),
        ({"failures": ["diverged", "diverged"]}, "failed", "of 2 trials 2 diverged"),
        ({"failures": ["cannot"]}, "finished", "of 2 trials 1 could not be run"),
        (
            {"done": 1, "report": False, "ended": None},
            "stopped",
            "no process holds its lock, and 1 trial is missing",
        ),
        (
            {"done": 1, "report": False, "ended": "interrupted"},
            "stopped",
            "it was interrupted, and 1 trial is missing",
        ),
        (
            {"done": 1, "report": False, "ended": "failed"},
            "failed",
            "it ended with an error, and 1 trial is missing",
        ),
        # It was run again for what was missing, and killed: the old report is not its end.
        (
            {"done": 1, "ended": None},
            "stopped",
            "no process holds its lock, and 1 trial is missing",
        ),
        (
            {"report": False, "ended": "failed"},
            "failed",
            "it ended with an error, and its report is missing",
        ),
        (
            {"logged": False, "report": False},
            "stopped",
            "no process holds its lock, and its report is missing",
        ),
        ({"logged": False}, "finished", "its report is there"),
    ],
)
def test_the_state_follows_from_lock_report_and_log(tmp_path, how, state, why):
    make_run(tmp_path, **how)
    found = only(tmp_path)
    assert (found.state, found.why) == (state, why)


def test_a_run_goes_on_as_long_as_its_lock_is_held(tmp_path):
    run = make_run(tmp_path / "a", done=1, report=False, ended=None)
    assert only(tmp_path).state == "stopped"
    with run.lock():
        found = only(tmp_path)
        assert (found.state, found.done, found.total) == ("running", 1, 2)
        assert found.elapsed(found.since + 90.0) == 90.0
    assert only(tmp_path).state == "stopped"


def test_a_process_that_is_killed_runs_no_more(tmp_path):
    make_run(tmp_path / "a", done=1, report=False, ended=None)
    code = (
        "import sys, time; from pathlib import Path; from gantlet.run.store import hold; "
        "held = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        assert only(tmp_path).state == "running"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert only(tmp_path).state == "stopped"


def test_a_look_at_the_lock_neither_takes_it_nor_keeps_others_out(tmp_path):
    run = make_run(tmp_path)
    assert not is_held(tmp_path)
    before = (tmp_path / ".lock").exists()
    with run.lock():
        assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert not before


def test_a_lock_that_is_looked_at_can_be_taken_at_once(tmp_path):
    make_run(tmp_path)
    hold(tmp_path).release()
    descriptor = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as a look does, for longer
    assert hold(tmp_path) is None
    os.close(descriptor)
    hold(tmp_path).release()


def test_logs_of_earlier_versions_know_no_total(tmp_path):
    make_run(tmp_path, logged=False, report=False, done=1)
    found = only(tmp_path)
    assert (found.done, found.total) == (1, None)
    # CPU time was recorded with each trial, and is that of training alone.
    assert (found.cpu, found.scope, found.seconds) == (2.0, "training alone", None)


def test_sessions_add_up(tmp_path):
    run = make_run(tmp_path, trials=3, done=1, report=False, ended="interrupted")
    run.log("started", trials=3, todo=2, at="2026-01-03T00:00:00+00:00")
    run.log("ended", how="failed", seconds=50.0, cpu=40.0)
    run.log("started", trials=3, todo=2, at="2026-01-04T00:00:00+00:00")
    found = only(tmp_path)
    assert (found.seconds, found.cpu) == (150.0, 100.0)
    assert found.scope == "without 1 session that was killed"
    assert (found.done, found.total) == (1, 3)


def test_a_long_log_says_that_its_first_sessions_were_not_read(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    run.log("started", trials=2, todo=0, at="2026-01-03T00:00:00+00:00")
    run.log("ended", how="finished", seconds=1.0, cpu=0.5)
    assert only(tmp_path).seconds == 101.0
    monkeypatch.setattr(record, "MOST_LOG", 180)
    found = only(tmp_path)
    assert (found.state, found.seconds) == ("finished", 1.0)
    assert found.scope == "without the first sessions of a long log"


def small_compare(model, out):
    gantlet.compare(
        [model],
        data="ring:n=200,held_out=60",
        budget=gantlet.Budget(flops=1e7),
        seeds=1,
        samples=60,
        metrics=["energy"],
        probes=[],
        out=out,
        workers=1,
    )


def test_a_real_run_logs_its_sessions(tmp_path):
    start, clock = time.process_time(), time.monotonic()
    for _ in range(2):
        small_compare("gmm", tmp_path / "run")
    spent, passed = time.process_time() - start, time.monotonic() - clock
    found = only(tmp_path)
    assert (found.state, found.done, found.total) == ("finished", 2, 2)
    assert 0 < found.cpu <= spent + 0.05
    assert found.cpu > spent / 4
    assert 0 < found.seconds <= passed
    log = (tmp_path / "run" / "log.jsonl").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    sessions = [e for e in events if e["event"] == "started"]
    assert [(s["trials"], s["todo"]) for s in sessions] == [(2, 2), (2, 0)]


def test_a_run_that_ends_with_an_error_says_so(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no report today")

    monkeypatch.setattr(Compare, "conclude", broken)
    with pytest.raises(RuntimeError):
        small_compare("histogram", tmp_path / "run")
    found = only(tmp_path)
    assert (found.state, found.done, found.total) == ("failed", 2, 2)


# ----------------------------------------------------------------------------
# Damage: named, never fatal.
# ----------------------------------------------------------------------------


def test_damage_is_named_and_the_others_are_listed(tmp_path):
    for name in ("good", "cut", "outcome", "config", "empty"):
        make_run(tmp_path / name)
    report = tmp_path / "cut" / "report.json"
    report.write_bytes(report.read_bytes()[:-200])
    first = min((tmp_path / "outcome" / "trials").iterdir())
    (first / "outcome.json").write_text('{"trial": ')
    change(tmp_path / "config" / "run.json", "digits", "digitz")
    (tmp_path / "empty" / "report.json").write_text("")
    found = {r.name: (r.state, r.why) for r in View(tmp_path).runs}
    assert found == {
        "good": ("finished", "its report is there"),
        "cut": ("damaged", "report.json ends early"),
        "outcome": ("damaged", f"trial {first.name}: outcome.json ends early"),
        "config": ("damaged", "run.json is truncated or was changed"),
        "empty": ("damaged", "report.json ends early"),
    }


def test_a_changed_digit_is_found_by_the_check(tmp_path):
    make_run(tmp_path / "report")
    make_run(tmp_path / "outcome")
    change(tmp_path / "report" / "report.json", '"value": 1.0', '"value": 2.0')
    file = min((tmp_path / "outcome").glob("trials/*/outcome.json"))
    change(file, '"steps": 10', '"steps": 11')
    assert {r.state for r in View(tmp_path).runs} == {"finished"}
    found = {r.name: (r.state, r.why) for r in View(tmp_path, check=True).runs}
    assert found["report"][0] == found["outcome"][0] == "damaged"
    assert "checksum mismatch" in found["report"][1]
    assert "checksum mismatch" in found["outcome"][1]


def test_a_run_without_its_configuration_is_damaged(tmp_path):
    run = make_run(tmp_path / "a", report=False)
    with run.lock():
        pass
    (tmp_path / "a" / "run.json").unlink()
    found = only(tmp_path)
    assert (found.state, found.why) == ("damaged", "it has trials and no run.json")


def test_foreign_and_half_written_folders_are_named_in_a_line(tmp_path):
    make_run(tmp_path / "good")
    for name, text in (("a", '{"run": 1}'), ("b", "no JSON"), ("c", "[1]"), ("d", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "report.json").write_text('{"loss": [1, 2]}')
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / ".run.json.4711").write_text("{")
    view = View(tmp_path)
    assert [r.name for r in view.runs] == ["good"]
    told = "\n".join(view.remarks)
    assert all(f"{name}: run.json " in told for name in "abcd")
    assert "e: report.json was not written by Gantlet." in told
    assert "About to be written, or left half-written: f." in told
    assert not any("\n" in line for line in view.remarks)


def test_whole_numbers_beyond_all_floats_break_no_list(tmp_path):
    make_run(tmp_path / "good")
    make_run(tmp_path / "asked", {**COMPARE, "budget": {"flops": 10**400}})
    run = make_run(tmp_path / "found")
    change(run.path / "report.json", '"value": 7.0', f'"value": 7{"0" * 400}')
    view = View(tmp_path)
    assert {r.name: r.state for r in view.runs} == {
        "good": "finished",
        "asked": "damaged",
        "found": "finished",
    }
    assert len(numbers_of(run.path, check=False)) == 3
    assert "metric 2" in view.html(lambda record: None)


def test_a_run_of_a_newer_version_is_named(tmp_path):
    make_run(tmp_path / "new")
    raw = read_sealed(tmp_path / "new" / "run.json")
    write_sealed(tmp_path / "new" / "run.json", {**raw, "schema": 99})
    view = View(tmp_path)
    assert not view.runs
    assert view.remarks == ["new: run.json is not one that this version of Gantlet reads."]


def test_runs_of_schema_1_are_read(tmp_path):
    """Without checksums, kinds of failure and sessions, as version 0.1.0 wrote them."""
    make_run(tmp_path, logged=False, failures=["diverged"])
    for file in (*tmp_path.glob("*.json"), *tmp_path.glob("trials/*/*.json")):
        raw = {k: v for k, v in json.loads(file.read_text()).items() if k != "checksum"}
        if file.name == "run.json":
            raw["schema"] = 1
        if file.name == "outcome.json":
            raw.pop("failure")
        file.write_text(json.dumps(raw, indent=2))
    found = only(tmp_path)
    assert (found.state, found.done, found.total, found.failed) == ("failed", 2, 2, 1)
    assert found.headline == "gan and flow are not significantly different."


def test_a_report_alone_is_listed(tmp_path):
    run = make_run(tmp_path / "a")
    (tmp_path / "copy").mkdir()
    (run.path / "report.json").rename(tmp_path / "copy" / "report.json")
    found = {r.name: r for r in View(tmp_path).runs}
    assert found["copy"].state == "finished"
    assert found["copy"].why == "a report alone, without its run"
    assert found["copy"].question == found["a"].question


def test_a_file_that_blocks_or_leads_elsewhere_is_not_opened(tmp_path):
    run = make_run(tmp_path / "a")
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    (run.path / "report.html").unlink()
    (run.path / "report.html").symlink_to(secret)
    (run.path / "report.json").unlink()
    os.mkfifo(run.path / "report.json")
    os.mkfifo(tmp_path / "a" / "other")
    found = only(tmp_path)
    assert not found.page
    assert found.state == "stopped"


# ----------------------------------------------------------------------------
# The search.
# ----------------------------------------------------------------------------


def test_links_and_loops_are_not_followed_and_said(tmp_path):
    make_run(tmp_path / "in" / "a")
    (tmp_path / "out").mkdir()
    make_run(tmp_path / "out" / "b")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "away").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "self").symlink_to("self")
    view = View(tmp_path / "in")
    assert [r.name for r in view.runs] == ["a"]
    assert view.remarks == ["Links to folders are not followed: away, loop, self."]


def test_a_folder_that_is_a_link_itself_is_searched(tmp_path):
    make_run(tmp_path / "real" / "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [r.name for r in View(tmp_path / "link").runs] == ["a"]


def test_the_search_is_bounded_and_says_where_it_ended(tmp_path):
    for k in range(30):
        (tmp_path / f"{k:02}" / "deep").mkdir(parents=True)
    make_run(tmp_path / "05" / "run")
    found = search(tmp_path, folders=31)
    assert (found.searched, found.is_cut, found.folders) == (31, True, [])
    found = search(tmp_path, folders=61)
    assert found.folders == [tmp_path / "05" / "run"]
    assert search(tmp_path, runs=1).is_cut


def test_runs_inside_runs_are_found_and_trials_are_not_searched(tmp_path):
    make_run(tmp_path / "study")
    make_run(tmp_path / "study" / "inner")
    trial = min((tmp_path / "study" / "trials").iterdir())
    make_run(trial / "hidden")
    make_run(tmp_path / ".cache" / "hidden")
    assert sorted(r.name for r in View(tmp_path).runs) == ["study", "study/inner"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert View(tmp_path).remarks == ["closed cannot be read: Permission denied."]


@pytest.mark.parametrize("name", ["none", "file"])
def test_what_is_no_folder_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Give a folder that holds run folders"):
        gantlet.view(tmp_path / name)


# ----------------------------------------------------------------------------
# Looking again.
# ----------------------------------------------------------------------------


def test_a_second_look_reads_what_changed_alone(tmp_path, monkeypatch):
    for name in "abc":
        make_run(tmp_path / name, done=1, report=False, ended=None)
    view, read, original = View(tmp_path), [], Run.read
    monkeypatch.setattr(Run, "read", lambda run: read.append(run.path.name) or original(run))
    view.renew()
    assert read == []
    Run(tmp_path / "b").log("remark", text="something happened")
    view.renew()
    assert read == ["b"]


def test_trials_are_read_once_and_forgotten_with_their_run(tmp_path, monkeypatch):
    make_run(tmp_path / "a", done=2)
    read, original = [], record.read_trial
    monkeypatch.setattr(
        record, "read_trial", lambda where, **how: read.append(where) or original(where, **how)
    )
    reader = Reader(tmp_path)
    assert reader.read(tmp_path / "a").done == len(read) == 2
    shutil.rmtree(tmp_path / "a" / "trials" / outcome(0).trial.key)
    assert (reader.read(tmp_path / "a").state, len(read)) == ("stopped", 2)
    reader.forget([])
    assert (reader.read(tmp_path / "a").done, len(read)) == (1, 3)


def test_a_run_is_seen_to_begin_go_on_and_end(tmp_path):
    view = View(tmp_path)
    assert not view.runs
    make_run(tmp_path / "a", done=0, report=False, ended=None)
    held = hold(tmp_path / "a")
    view.renew()
    assert [(r.state, r.done, r.total) for r in view.runs] == [("running", 0, 2)]
    for k in range(2):
        Run(tmp_path / "a").record(outcome(k))
        Run(tmp_path / "a").log("finished", trial=outcome(k).trial.key, error=None)
        view.renew()
        assert [(r.state, r.done) for r in view.runs] == [("running", k + 1)]
    held.release()
    make_run(tmp_path / "b")
    (tmp_path / "b" / "report.json").rename(tmp_path / "a" / "report.json")
    view.renew()
    assert {r.name: r.state for r in view.runs}["a"] == "finished"


def test_a_watched_training_is_seen_by_its_lock(tmp_path):
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(120, 2, generator=generator)
    watch = gantlet.Watch(real, every=5, samples=40, share=None, out=tmp_path / "w", to=())
    for step in range(11):
        watch(step, sample=lambda n, generator: torch.randn(n, 2, generator=generator))
    found = only(tmp_path)
    assert (found.state, found.done, found.unit, found.total) == ("running", 10, "steps", None)
    assert found.question == "watch against real, every 5 steps"
    assert found.headline == "No alarm in 3 looks up to step 10."
    assert found.cpu > 0
    watch.report()
    assert only(tmp_path).state == "finished"


def test_a_loop_that_is_gone_without_report_has_stopped(tmp_path):
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(120, 2, generator=generator)
    watch = gantlet.Watch(real, every=5, samples=40, share=None, out=tmp_path / "w", to=())
    watch(0, sample=lambda n, generator: torch.randn(n, 2, generator=generator))
    assert only(tmp_path).state == "running"
    del watch
    gc.collect()
    assert only(tmp_path).state == "stopped"


# ----------------------------------------------------------------------------
# Questions in words.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (COMPARE, "compare gan and flow on digits, 200 GFLOP, 3 seeds"),
        (
            {"command": "train", "models": ["vae:latent=2"], "data": "moons", "seeds": [0]},
            "train vae on moons",
        ),
        (
            {"command": "evaluate", "fakes": ["pale=array:12", "x.npz"], "real": "real=array:3"},
            "evaluate pale and x.npz against real",
        ),
        ({"command": "flaws", "fakes": ["a.npz"], "real": "mnist"}, "flaws a.npz against mnist"),
        (
            {"command": "support", "fakes": list("abcdefg"), "real": "digits"},
            "support a, b, c, d and 3 more against digits",
        ),
        (
            {"command": "tournament", "runs": ["runs/gan"], "data": "ring:modes=8"},
            "tournament runs/gan on ring",
        ),
        (
            {"command": "converge", "model": "dirac:loss=wgan", "data": "none"},
            "converge dirac",
        ),
        (
            {"command": "attack", "model": "gan:width=64", "data": "ring", "batch": 64},
            "attack gan on ring",
        ),
        (
            {"command": "batch", "model": "gan", "data": "ring", "seeds": [0, 1]},
            "batch gan on ring",
        ),
        ({"command": "forecast", "data": "digits", "flops": 9e9}, "forecast digits, 9.00 GFLOP"),
        (
            {"command": "forecast", "data": "", "refit": "experiment.json"},
            "forecast fitted to experiment.json",
        ),
        (
            {"command": "study tradeoffs", "size": "small", "data": "digits"},
            "study tradeoffs size small, on digits",
        ),
        ({"command": "later", "model": "gan:a=1"}, "later gan"),
        ({}, "gantlet compare x"),
    ],
)
def test_questions_are_told_in_words(question, words):
    assert in_words(question, "gantlet compare x") == words


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ["models", "model", "data", "real", "fakes", "runs", "budget", "seeds", "flops", "size"]
COMMANDS = ["compare", "evaluate", "tournament", "converge", "attack", "forecast", "watch"]
COMMANDS += ["study x", "y"]


@given(st.dictionaries(st.sampled_from(KEYS), plain), st.sampled_from(COMMANDS))
def test_no_configuration_breaks_the_list(question, command):
    assert in_words({"command": command, **question}, "").startswith(command)
    assert all(isinstance(v, str) for v in settings(question, {"machine": 1}).values())


def test_quoted_options_are_read_as_anywhere():
    text = 'npz:path="photos, all.npz",size=32'
    assert short(text) == "npz photos, all.npz"
    assert settings({"data": text}, {}) == {
        "data": "npz",
        "data: path": "photos, all.npz",
        "data: size": "32",
    }


def test_components_are_taken_apart():
    found = settings({"models": ["gan:latent=32,width=8", "a/b:c=1"], "seeds": [0, 1]}, {})
    assert found == {
        "models 1": "gan",
        "models 1: latent": "32",
        "models 1: width": "8",
        "models 2": "a/b:c=1",
        "seeds": "0, 1",
    }
    assert short("images:path=photos,size=32") == "images photos"


# ----------------------------------------------------------------------------
# Two runs.
# ----------------------------------------------------------------------------


def two(tmp_path, first, second, **how):
    make_run(tmp_path / "a", rows=first)
    make_run(tmp_path / "b", rows=second, **how)
    view = View(tmp_path)
    return contrast(view.find("a"), view.find("b"), tmp_path)


def test_two_runs_are_compared_number_by_number(tmp_path):
    other = {**COMPARE, "models": ["gan:latent=64,width=128", "flow:layers=8"]}
    second = [*numbers(shift=0.1, n=2), *numbers(shift=9.0, n=3)[2:3]]
    found = two(tmp_path, numbers(), second, question=other)
    assert found.settings == [("models 1: latent", "32", "64")]
    assert [(p.label, p.intervals) for p in found.pairs] == [
        ("metric 0", OVERLAP),
        ("metric 1", OVERLAP),
        ("metric 2", APART),
        ("time", UNKNOWN),
    ]
    assert found.pairs[0].difference == pytest.approx(0.1)
    report = found.report()
    assert "without a test" in report.verdicts[0].because
    assert "this is not a test of a difference" in report.verdicts[0].because
    assert "overlap" in as_html(report)


def a_number(value, below, above):
    return Number(
        model="gan",
        data="digits",
        seed=0,
        name="kid",
        value=value,
        low=value - below,
        high=value + above,
        unit="1",
        method="",
    )


around = st.tuples(st.floats(-5, 5), st.floats(0, 3), st.floats(0, 3))


@given(around, around)
def test_intervals_overlap_when_they_share_a_point(first, second):
    a, b = a_number(*first), a_number(*second)
    (pair,), _, _ = paired([a], [b])
    shares_a_point = max(a.low, b.low) <= min(a.high, b.high)
    assert pair.intervals == (OVERLAP if shares_a_point else APART)


def test_single_models_are_compared_whatever_they_are(tmp_path):
    found = two(tmp_path, numbers("gan:a=1"), numbers("flow:b=2", seed=5))
    assert [p.label for p in found.pairs] == ["metric 0", "metric 1", "metric 2", "time"]
    assert (found.only_a, found.only_b) == (0, 0)


def test_several_models_are_compared_by_name(tmp_path):
    first = [*numbers(REAL), *numbers("gan:a=1"), *numbers("flow")]
    second = [*numbers(REAL), *numbers("gan:a=1"), *numbers("gan:a=2")]
    found = two(tmp_path, first, second)
    labels = [p.label for p in found.pairs]
    assert labels[:2] == ["real, metric 0", "real, metric 1"]
    assert labels[4] == "gan, metric 0"
    assert (len(found.pairs), found.only_a, found.only_b) == (8, 4, 4)


def test_seeds_are_kept_apart(tmp_path):
    first = [*numbers(seed=0), *numbers(seed=1)]
    found = two(tmp_path, first, numbers(seed=1, shift=1.0))
    assert found.pairs[0].label == "seed 1, metric 0"
    assert (len(found.pairs), found.only_a) == (4, 4)


def test_a_damaged_report_is_not_compared(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    change(tmp_path / "b" / "report.json", '"value": 1.0', '"value": 2.0')
    with pytest.raises(UserError, match="checksum mismatch"):
        gantlet.view(tmp_path).compare("a", "b")


def test_runs_are_found_by_either_path_and_mistakes_say_what_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "demo")
    view = gantlet.view("runs")
    assert view.find("demo") is view.find("runs/demo") is view.find(tmp_path / "runs" / "demo")
    with pytest.raises(UserError, match="Did you mean 'demo'"):
        view.find("dem")
    with pytest.raises(UserError, match="compared with itself"):
        view.compare("demo", "runs/demo")


# ----------------------------------------------------------------------------
# Fields of a large file, against a parser of all of it.
# ----------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(["rows", "step", "command", 'a"b', "q"]), plain))
def test_fields_are_those_that_a_parser_finds(tmp_path_factory, found):
    file = tmp_path_factory.mktemp("json") / "x.json"
    whole = json.loads(json.dumps(found, default=str).replace("NaN", "1").replace("Infinity", "2"))
    for text in (
        json.dumps(whole, indent=2, ensure_ascii=False),
        json.dumps(whole),
        json.dumps({"rows": {"step": 1, "deep": {"command": '\n  "step": 3'}}, **whole}, indent=2),
    ):
        file.write_bytes(text.encode("utf-8", "backslashreplace"))
        wanted = {k: v for k, v in json.loads(text).items() if k in ("rows", "step", "command")}
        assert read_fields(file, ["rows", "step", "command"]) == wanted


# ----------------------------------------------------------------------------
# The page as a file.
# ----------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Elements(HTMLParser):
    """Collects elements with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_text_that_others_wrote_is_escaped(tmp_path):
    question = {"command": HOSTILE, "model": HOSTILE, "data": HOSTILE}
    make_run(tmp_path / "<img src=x>" / "a", question, claim=f"{HOSTILE} </script> wins.")
    elements = Elements(View(tmp_path).html(lambda _: f"x{HOSTILE}")).found
    assert not any(tag == "img" for tag, _ in elements)
    assert sum(tag == "script" for tag, _ in elements) == 2
    assert not any(name.startswith("on") for _, a in elements for name in a)


def test_the_page_links_to_reports_from_wherever_it_is(tmp_path):
    make_run(tmp_path / "runs" / "a b" / "c:d#e?f%")
    (tmp_path / "pages").mkdir()
    view = View(tmp_path / "runs")
    for file in (view.write(), view.write(tmp_path / "pages" / "x.html")):
        (href,) = [a["href"] for tag, a in Elements(file.read_text()).found if tag == "a"]
        parts = urlsplit(href)
        assert (parts.scheme, parts.query, parts.fragment) == ("", "", "")
        assert (file.parent / unquote(parts.path)).resolve().is_file()


def test_a_page_of_others_is_kept(tmp_path):
    make_run(tmp_path / "a")
    (tmp_path / "index.html").write_text("<title>my own page</title>")
    with pytest.raises(UserError, match="was not written by gantlet view, and is kept"):
        View(tmp_path).write()
    other = View(tmp_path).write(tmp_path / "runs.html")
    assert View(tmp_path).write(other) == other


@pytest.mark.parametrize("out", ["x.txt", ".", "none/x.html"])
def test_a_place_for_the_page_that_will_not_do_is_one_line(tmp_path, out):
    with pytest.raises(UserError, match=r"give another --out|must be a file that ends in \.html"):
        View(tmp_path).write(tmp_path / out)


def test_numbers_that_do_not_fit_are_left_to_the_command(tmp_path, monkeypatch):
    for k in range(4):
        make_run(tmp_path / f"{k}")
    view = View(tmp_path)
    embedded = [len(json.dumps(view.numbers(r))) for r in view.runs]
    monkeypatch.setattr(page, "MOST_NUMBERS", sum(embedded[:2]) + 10)
    html = view.html(lambda _: None)
    inside = html.partition('id="numbers">')[2].partition("</script>")[0]
    assert list(json.loads(inside)) == [r.name for r in view.runs[:2]]


def test_the_numbers_of_a_page_are_those_of_the_report(tmp_path):
    make_run(tmp_path / "a", rows=[*numbers(REAL), *numbers("gan:a=1", seed=3)])
    view = View(tmp_path)
    found = view.numbers(view.runs[0])
    back = [
        (
            found["names"][name][0],
            found["models"][model][0],
            found["data"][data][0],
            *rest,
        )
        for name, model, data, *rest in found["rows"]
    ]
    wanted = [
        (n.name, n.model, n.data, n.seed, n.value, n.low, n.high)
        for n in numbers_of(tmp_path / "a")
    ]
    assert back == wanted


def test_nothing_of_it_loads_torch():
    code = (
        "import sys, gantlet; gantlet.view('.'); import gantlet.view.server; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_notebook_shows_the_table(tmp_path):
    make_run(tmp_path / "a")
    shown = gantlet.view(tmp_path)._repr_html_()
    assert "compare gan and flow on digits" in shown
    assert "<script" not in shown
