import errno
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Note, Outcome, Spend, Trial
from gantlet.run import store
from gantlet.run.store import (
    DamagedError,
    Run,
    TrialFolder,
    drop_state,
    load_state,
    load_tensors,
    read_sealed,
    save_state,
    save_tensors,
    write_bytes,
    write_json,
    write_sealed,
)

TRIAL = Trial(parts={"model": "gan"}, budget=Budget(flops=1e9), seed=3)
OUTCOME = Outcome(
    trial=TRIAL,
    spend=Spend(flops=1e9, steps=7, seconds=1.25),
    scores={"energy": Estimate(value=0.1, low=0.0, high=0.2, n=5, method="t").beside(p=0.5)},
    clock={"time": Estimate(value=3.0, unit="s", method="once")},
    notes=(Note("a note", "meter"),),
)


def full_disk(self, *_):
    raise OSError(errno.ENOSPC, "No space left on device", str(self))


def test_an_outcome_comes_back_whole(tmp_path):
    run = Run.create(tmp_path / "run", {"a": 1})
    run.record(OUTCOME)
    assert run.outcome(TRIAL) == OUTCOME
    assert list(run.outcomes()) == [OUTCOME]
    assert run.outcome(Trial(parts={"model": "flow"})) is None


def test_a_proportion_is_still_known_as_one_and_earlier_versions_marked_none(tmp_path):
    run = Run.create(tmp_path / "run", {})
    share = Estimate(value=0.5, low=0.0, high=1.0).as_proportion()
    run.record(replace(OUTCOME, scores={"recall": share}))
    assert run.outcome(TRIAL).scores["recall"].is_proportion
    file = run.folder(TRIAL).path / "outcome.json"
    old = {k: v for k, v in asdict(share).items() if k != "is_proportion"}
    write_sealed(file, read_sealed(file) | {"scores": {"recall": old}})
    assert not run.outcome(TRIAL).scores["recall"].is_proportion


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("exact, change of variables; mean of 9 samples", "exact"),
        ("upper bound, IWAE, 64 samples; mean of 9 samples", "upper"),
        ("noisy estimate, ODE; mean of 9 samples", "estimate"),
        ("the model has no density", None),
    ],
)
def test_what_earlier_versions_recorded_in_words_is_read_into_fields(tmp_path, method, kind):
    run = Run.create(tmp_path / "run", {})
    found = Estimate(value=1.0, method=method)
    likelihood = {k: v for k, v in asdict(found).items() if k != "kind"}
    sentences = ["features pca: 8 of 64", "the meter could not count these", "fitted directly"]
    run.record(OUTCOME)
    file = run.folder(TRIAL).path / "outcome.json"
    old = {"scores": {"likelihood": likelihood}, "notes": sentences}
    write_sealed(file, read_sealed(file) | old)
    again = run.outcome(TRIAL)
    assert again.scores == {"likelihood": replace(found, kind=kind)}
    assert [note.about for note in again.notes] == ["features", "meter", "training"]
    assert [note.text for note in again.notes] == sentences


def test_scores_of_schema_1_have_their_current_names(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    assert run.read()["schema"] == 2
    old = ("told by a linear critic", "1: told by it alone", "1: still told", "1: size")
    raw = asdict(Estimate(value=1.0, method="m"))
    file = run.folder(TRIAL).path / "outcome.json"
    write_sealed(file, read_sealed(file) | {"scores": dict.fromkeys(old, raw)})
    write_sealed(run.path / "run.json", run.read() | {"schema": 1})
    assert list(Run.open(run.path).outcome(TRIAL).scores) == [
        "accuracy of a linear critic",
        "1: accuracy, this flaw only",
        "1: residual accuracy",
        "1: size",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": 3}, "error should be one of|error should be text|error is wrong"),
        ({"details": [1]}, "details"),
        ({"scores": {"frechet": {"value": "2", "method": "m"}}}, "should be a number, but is '2'"),
        ({"trial": {"parts": {}, "budget": {}, "sed": 1}}, "trial has an unknown field 'sed'"),
        ({"trial": {"parts": {}, "budget": {"steps": "9"}}}, r"trial\.budget\.steps should be a"),
        ({"notes": [{"text": "t", "about": "?"}]}, r"notes\[0\]\.about should be one of training"),
        ({"spend": None}, "spend should be an object, but is None"),
        ({"colour": 1}, "has an unknown field 'colour'"),
    ],
)
def test_a_wrong_field_of_an_outcome_is_named_by_its_path(tmp_path, change, message):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    file = run.folder(TRIAL).path / "outcome.json"
    write_sealed(file, read_sealed(file) | change)
    with pytest.raises(DamagedError, match=message) as caught:
        run.outcome(TRIAL)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_outcome_file_holds_nothing_of_the_clock(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    text = (run.folder(TRIAL).path / "outcome.json").read_text()
    assert "seconds" not in json.loads(text)["spend"]
    assert "time" not in text


def test_a_folder_holds_one_question(tmp_path):
    Run.create(tmp_path / "run", {"models": ("a",)})
    Run.create(tmp_path / "run", {"models": ["a"]})
    with pytest.raises(UserError, match="another configuration"):
        Run.create(tmp_path / "run", {"models": ["b"]})


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, {})
    with pytest.raises(UserError, match=r"not a run directory: it has no run\.json"):
        Run.open(tmp_path)


def test_a_second_process_is_kept_out(tmp_path):
    run = Run.create(tmp_path / "run", {})
    with run.lock(), pytest.raises(UserError, match="Another process is using"), run.lock():
        pass
    with run.lock():
        pass


def test_a_full_disk_is_explained_and_nothing_is_lost(tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    other = Outcome(trial=Trial(parts={"model": "flow"}))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(UserError, match=r"The disk is full: .* Finished trials are safe"):
            run.record(other)
    assert run.outcome(TRIAL) == OUTCOME
    assert run.outcome(other.trial) is None
    assert not list(tmp_path.rglob(".*.json.*"))


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_json(file, {"whole": True})

    def torn(self, content):
        with self.open("wb") as f:
            f.write(content[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(file, b"something much longer")
    assert json.loads(file.read_text()) == {"whole": True}


def test_numbers_that_json_has_no_name_for_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})


def test_a_nested_state_round_trips(tmp_path):
    weight = torch.randn(3, generator=torch.Generator().manual_seed(0))
    state = {
        "adam": {"state": {0: {"step": torch.tensor(1.0), "m": weight}}, "groups": [{"lr": 0.1}]},
        "noise": torch.Generator().get_state(),
        "best": None,
        "empty": {},
    }
    for _ in range(3):
        save_state(tmp_path / "state", state)
    back = load_state(tmp_path / "state")
    assert torch.equal(back["adam"]["state"][0]["m"], weight)
    assert torch.equal(back["noise"], state["noise"])
    assert back["adam"]["groups"] == [{"lr": 0.1}]
    assert back["best"] is None
    assert back["empty"] == {}
    drop_state(tmp_path / "state")
    assert load_state(tmp_path / "state") is None


def test_a_state_is_whole_even_if_the_next_one_was_never_finished(tmp_path, monkeypatch):
    save_state(tmp_path / "state", {"x": torch.tensor(1.0)})
    monkeypatch.setattr(store, "write_sealed", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_state(tmp_path / "state", {"x": torch.tensor(2.0)})
    assert load_state(tmp_path / "state")["x"] == 1


def test_a_state_of_an_earlier_version_is_taken_up_and_then_replaced(tmp_path):
    tensors, plain = {"x": torch.tensor(4.0)}, {"__items__": [["x", {"__tensor__": "x"}]]}
    save_tensors(tmp_path / "state.1.safetensors", tensors)
    write_json(tmp_path / "state.json", {"generation": 5, "state": plain})
    assert load_state(tmp_path / "state", "owner")["x"] == 4
    save_state(tmp_path / "state", {"x": torch.tensor(5.0)}, "owner")
    assert not (tmp_path / "state.json").exists()
    assert load_state(tmp_path / "state", "owner")["x"] == 5


def test_a_state_of_another_trial_is_not_taken_up(tmp_path):
    told = []
    save_state(tmp_path / "state", {"x": torch.tensor(1.0)}, "a")
    assert load_state(tmp_path / "state", "b", told.append) is None
    assert "belongs to a" in told[0]


def test_a_sealed_object_is_known_to_be_changed(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, {"x": (0.1, 1e300), "y": {"z": None}})
    assert read_sealed(file) == {"x": [0.1, 1e300], "y": {"z": None}}
    file.write_text(file.read_text().replace("0.1", "0.2"))
    with pytest.raises(DamagedError, match=r"a\.json is damaged"):
        read_sealed(file)
    write_json(file, {"old": 1})
    assert read_sealed(file, since="new") == {"old": 1}
    write_json(file, {"old": 1, "new": 1})
    with pytest.raises(DamagedError, match="damaged"):
        read_sealed(file, since="new")


def test_an_outcome_knows_its_files(tmp_path):
    run = Run.create(tmp_path / "run", {})
    folder = run.folder(TRIAL)
    folder.save("samples", {"x": torch.ones(3)})
    folder.save_state({"x": torch.ones(1)})
    folder.record(OUTCOME)
    folder.check()
    file = folder.path / "samples.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    for reads in (folder.check, lambda: folder.load("samples")):
        with pytest.raises(DamagedError, match="Run the command of that run again"):
            reads()
    file.unlink()
    with pytest.raises(DamagedError, match="is missing"):
        folder.check()
    folder.clear(keep_state=True)
    assert {f.name for f in folder.path.iterdir()} == {"state.1.json", "state.1.safetensors"}
    folder.clear(keep_state=False)
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize("value", [math.nan, object(), {1, 2}])
def test_a_state_that_cannot_be_saved_is_told_once_and_ends_nothing(tmp_path, value):
    told = []
    folder = TrialFolder(tmp_path / "a", told.append)
    folder.save_state({"x": torch.ones(1)})
    for _ in range(2):
        folder.save_state({"x": torch.ones(1), "own": value})
    assert len(told) == 1
    assert "cannot be saved" in told[0]
    assert "if interrupted, training restarts" in told[0]
    assert folder.load_state() is None


def test_a_folder_of_dot_files_is_no_remains_of_a_run(tmp_path):
    (tmp_path / ".run.json.99999999").write_text("half")
    Run.create(tmp_path, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".bashrc").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path / "other", {})


def test_a_state_is_worth_nothing_without_the_snapshots_taken_before_it(tmp_path):
    told = []
    folder = TrialFolder(tmp_path / "a", told.append)
    folder.save("snapshot-001", {"x": torch.ones(3)})
    for i in range(2):
        folder.save_state({"x": torch.tensor(float(i))})
    assert folder.load_state()["x"] == 1
    folder.save("snapshot-001", {"x": torch.zeros(3)})
    assert folder.load_state() is None
    assert "snapshot-001.safetensors is damaged" in told[0]


def test_drafts_of_killed_processes_are_removed_when_a_run_is_taken_up(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    orphan = run.folder(TRIAL).path / ".samples.safetensors.99999999"
    live = run.path / f".report.json.{os.getpid()}"
    for draft in (orphan, live):
        draft.write_text("half")
    with run.lock():
        assert not orphan.exists()
        assert live.exists()


def test_numbers_that_json_cannot_hold_are_named_with_their_place(tmp_path):
    run = Run.create(tmp_path / "run", {})
    for value, told in ((math.inf, "inf"), (torch.ones(1), "Tensor")):
        with pytest.raises(ValueError, match=f"details/a/1 is not JSON compliant: {told}"):
            run.record(Outcome(trial=TRIAL, details={"a": [0, value]}))
    assert not run.folder(TRIAL).path.exists()


def test_tied_and_strided_tensors_are_saved(tmp_path):
    x = torch.arange(6.0).reshape(2, 3)
    save_tensors(tmp_path / "t.safetensors", {"a": x, "b": x, "c": x.T})
    back = load_tensors(tmp_path / "t.safetensors")
    assert torch.equal(back["a"], back["b"])
    assert torch.equal(back["c"], x.T)


def test_broken_files_are_explained(tmp_path):
    (tmp_path / "t.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_tensors(tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        load_tensors(tmp_path / "u.safetensors")


def test_tensors_are_read_under_names_that_are_no_utf8(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    save_tensors(folder / "x.safetensors", {"x": torch.arange(3.0)})
    assert load_tensors(folder / "x.safetensors")["x"].tolist() == [0, 1, 2]
