import errno
import json
from pathlib import Path

import pytest
import torch

from gantlet.core.budget import Budget, Spend
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.trial import Outcome, Trial
from gantlet.store.files import write_bytes, write_json
from gantlet.store.run import Run
from gantlet.store.tensors import drop_state, load_state, load_tensors, save_state, save_tensors

TRIAL = Trial(parts={"model": "gan"}, budget=Budget(flops=1e9), seed=3)
OUTCOME = Outcome(
    trial=TRIAL,
    spend=Spend(flops=1e9, steps=7, seconds=1.25),
    scores={"energy": Estimate(value=0.1, low=0.0, high=0.2, n=5, method="t")},
    clock={"time": Estimate(value=3.0, unit="s", method="once")},
    notes=("a note",),
)


def full_disk(self, *_):
    raise OSError(errno.ENOSPC, "No space left on device", str(self))


def test_an_outcome_comes_back_whole(tmp_path):
    run = Run.create(tmp_path / "run", {"a": 1})
    run.record(OUTCOME)
    assert run.outcome(TRIAL) == OUTCOME
    assert list(run.outcomes()) == [OUTCOME]
    assert run.outcome(Trial(parts={"model": "flow"})) is None


def test_the_outcome_file_holds_nothing_of_the_clock(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.record(OUTCOME)
    text = (run.folder(TRIAL).path / "outcome.json").read_text()
    assert "seconds" not in json.loads(text)["spend"]
    assert "time" not in text


def test_a_folder_holds_one_question(tmp_path):
    Run.create(tmp_path / "run", {"models": ("a",)})
    Run.create(tmp_path / "run", {"models": ["a"]})
    with pytest.raises(UserError, match="another question"):
        Run.create(tmp_path / "run", {"models": ["b"]})


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, {})
    with pytest.raises(UserError, match=r"no run folder: it has no run\.json"):
        Run.open(tmp_path)


def test_a_second_process_is_kept_out(tmp_path):
    run = Run.create(tmp_path / "run", {})
    with run.lock(), pytest.raises(UserError, match="Another process is at work"), run.lock():
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
    monkeypatch.setattr("gantlet.store.tensors.write_sealed", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_state(tmp_path / "state", {"x": torch.tensor(2.0)})
    assert load_state(tmp_path / "state")["x"] == 1


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
