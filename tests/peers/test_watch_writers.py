"""Writers of watched trainings against the packages themselves, offline; skipped without them."""

import os
import struct
import warnings

import pytest
import torch

import gantlet

REAL = torch.randn(160, 2, generator=torch.Generator().manual_seed(0))


def healthy(n, generator):
    return torch.randn(n, 2, generator=generator)


def watched(out, to, state=None, start=0, steps=21):
    found = gantlet.Watch(
        REAL, every=10, samples=50, share=None, out=out, to=to, overwrite=True, name="mine"
    )
    if state is not None:
        found.load_state_dict(state)
    for step in range(start, steps):
        found(step, sample=healthy, losses={"g": 0.5})
    return found


@pytest.fixture
def lenient():
    """Foreign packages warn of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def expected(found, name):
    return [(x.step, pytest.approx(x.estimate(name).value, rel=1e-5)) for x in found.looks]


def test_tensorboard_reads_back_what_was_written(tmp_path, lenient):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = watched(tmp_path, "tensorboard")
    state = first.state_dict()
    # It goes on and is killed; a new process begins where the state was kept.
    for step in range(21, 35):
        first(step, sample=lambda n: torch.zeros(n, 2))
    found = watched(tmp_path, "tensorboard", state, 21, 41)
    report = found.report()
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert not [c for c in report.caveats if "Error" in c.text]
    for name in ("kid", "precision", "loss/g"):
        assert [(e.step, e.value) for e in events.Scalars(name)] == expected(found, name)
    lows = [e.value for e in events.Scalars("kid/low")]
    assert lows == [pytest.approx(x.estimate("kid").low, rel=1e-5) for x in found.looks]
    assert {e.step for e in events.Scalars("kid/floor")} == {0, 10, 20, 30, 40}
    assert events.Images("samples")[0].step == 0


def test_mlflow_reads_back_what_was_written(tmp_path, lenient, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = watched(tmp_path / "run", "mlflow")
    assert not [c for c in found.report().caveats if "Error" in c.text]
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(tmp_path / "run/mlruns").as_uri())
    where = client.get_experiment_by_name("gantlet").experiment_id
    (run,) = client.search_runs([where])
    assert run.info.run_name == "mine"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "kid")
    assert sorted((m.step, m.value) for m in history) == expected(found, "kid")


def records(log):
    """Yields the records of a file in the form of LevelDB's log, past the head of seven bytes."""
    place, whole = 7, b""
    while place + 7 <= len(log):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", log[place : place + 7])
        whole += log[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_wandb_writes_a_run_that_is_kept_here(tmp_path, lenient, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    found = watched(tmp_path / "run", "wandb")
    assert not [c for c in found.report().caveats if "Error" in c.text]
    (file,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    kids = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
        if "kid" in items:
            kids.append((int(items["_step"]), float(items["kid"])))
    assert kids == expected(found, "kid")


def test_trackio_keeps_a_run_on_this_machine(tmp_path, lenient, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    found = watched(tmp_path / "run", "trackio")
    assert not [c for c in found.report().caveats if "Error" in c.text]
    logs = [row for row in SQLiteStorage.get_logs("gantlet", "mine") if "kid" in row]
    assert sorted((row["step"], row["kid"]) for row in logs) == expected(found, "kid")


def test_a_tracker_that_is_not_installed_is_a_mistake_at_once(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(gantlet.UserError, match=r"pip install 'gantlet\[trackio\]'"):
        watched(tmp_path / "run", "trackio")
    assert not (tmp_path / "run/report.json").exists()
