"""A finished run whose files were cut, changed, deleted or exchanged gives no other numbers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gantlet.api import load_model
from gantlet.commands.compare.study import Compare
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.report.json import as_json
from gantlet.run.execute import (
    Remark,
    SerialExecutor,
    pending_with_reasons,
    read_report,
    run_trials,
    write_report,
)
from gantlet.run.store import Run

QUESTION = Compare(
    models=("histogram", "gan:width=8,ema=0.5"),
    data="ring:n=300",
    budget=Budget(steps=3),
    seeds=2,
    metrics=("energy",),
    features=("pixels",),
    probes=("parameters",),
    batch=32,
    samples=50,
)
FACTS = {
    "started": "today",
    "command": "test",
    "gantlet": "0",
    "commit": None,
    "packages": {"torch": "0"},
    "machine": {"device": "cpu", "threads": 1, "peak": 1e9},
}
REPEATING = ("outcome.json", "model.safetensors", "samples.safetensors", "curve.jsonl")
KINDS = ("cut", "flip", "empty", "delete", "swap", "zeros")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, its files that repeat, and its numbers."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run = Run.create(folder, QUESTION.question(), FACTS)
    write_report(run_trials(QUESTION, run, SerialExecutor()), run)
    return folder, repeating(folder), numbers(read_report(folder))


def repeating(folder):
    files = [f for f in sorted(folder.glob("trials/*/*")) if f.name in REPEATING]
    return {f.relative_to(folder): f.read_bytes() for f in files}


def numbers(report):
    """All rows but those of the clock."""
    rows = as_json(report)["rows"]
    return [r for r in rows if "one run; read beside" not in r["method"]]


def damage(file, kind, rng):
    raw = bytearray(file.read_bytes())
    if kind == "cut":
        file.write_bytes(raw[: rng.integers(len(raw))])
    elif kind == "flip":
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(7)
        file.write_bytes(raw)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "zeros":
        start = rng.integers(len(raw))
        raw[start : start + 64] = bytes(len(raw[start : start + 64]))
        file.write_bytes(raw)
    elif kind == "swap":
        others = [f for f in sorted(file.parents[1].glob(f"*/{file.name}")) if f != file]
        if others:
            content = others[rng.integers(len(others))].read_bytes()
            file.write_bytes(content)
    else:
        file.unlink()


def tried(function):
    """Returns what a function gives and no error, or nothing and its one line."""
    try:
        return function(), None
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017  (any line will do)
        return None, str(error)


def resumed(folder, said):
    run = Run.create(folder, QUESTION.question(), FACTS)
    return run_trials(
        QUESTION, run, SerialExecutor(), lambda _key, _share, what: said.append(what)
    )


def test_no_damage_ends_in_a_traceback_or_in_other_numbers(whole, tmp_path):
    source, files, told = whole
    rng = np.random.default_rng(11)
    targets = [f.relative_to(source) for f in sorted(source.rglob("*")) if f.is_file()]
    targets = [t for t in targets if t.name not in {".lock", "report.html"}]
    refused = again = 0
    for i in range(72):
        folder = tmp_path / str(i)
        shutil.copytree(source, folder)
        target, kind, said = folder / targets[rng.integers(len(targets))], KINDS[i % 6], []
        damage(target, kind, rng)
        report, error = tried(lambda folder=folder: read_report(folder))
        assert "report.json" in error if error else numbers(report) == told
        report, error = tried(lambda folder=folder, said=said: resumed(folder, said))
        if error:
            refused += 1
            assert target.name == "run.json", f"{kind} {target} cannot be mended: {error}"
        else:
            assert numbers(report) == told, f"{kind} {target}"
            assert repeating(folder) == files, f"{kind} {target}"
            again += any(isinstance(what, Remark) for what in said)
        shutil.rmtree(folder)
    assert again > 30
    assert refused < 10


@pytest.mark.parametrize("name", ["model.safetensors", "outcome.json", "clock.json"])
def test_a_damaged_model_is_not_sampled(whole, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    before = load_model(folder, "gan:width=8,ema=0.5").state_dict()
    assert before
    for file in folder.glob(f"trials/*/{name}"):
        raw = bytearray(file.read_bytes())
        raw[-20] ^= 1
        file.write_bytes(raw)
    with pytest.raises(UserError, match="Run the command of that run again"):
        load_model(folder, "gan:width=8,ema=0.5")


def test_a_run_json_that_is_damaged_can_be_deleted(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"energy', '"enerjy'))
    with pytest.raises(UserError, match="Delete that file and run the same command again"):
        Run.create(folder, QUESTION.question(), FACTS)
    (folder / "run.json").unlink()
    run = Run.create(folder, QUESTION.question(), FACTS)
    assert pending_with_reasons(QUESTION.trials(), run) == []
    assert numbers(run_trials(QUESTION, run, SerialExecutor())) == whole[2]


def old(folder):
    """Takes from a run all that came with checksums."""
    for file in folder.rglob("*.json"):
        found = json.loads(file.read_text())
        for key in ("checksum", "files", "key", "failure"):
            found.pop(key, None)
        file.write_text(json.dumps(found))


def test_a_run_of_an_earlier_version_still_opens(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    old(folder)
    assert numbers(read_report(folder)) == whole[2]
    run = Run.create(folder, QUESTION.question(), FACTS)
    assert pending_with_reasons(QUESTION.trials(), run) == []
    assert numbers(run_trials(QUESTION, run, SerialExecutor())) == whole[2]
    assert torch.isfinite(next(iter(load_model(folder, "histogram").state_dict().values()))).all()


@pytest.mark.parametrize(
    ("error", "failure"),
    [(None, None), ("diverged at step 3: nan", "diverged"), ("MemoryError: ", "failed")],
)
def test_failures_of_earlier_versions_have_a_kind(whole, tmp_path, error, failure):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    old(folder)
    file = min(Path(folder).glob("trials/*/outcome.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"error": error}))
    found = next(Run(folder).outcomes())
    assert (found.error, found.failure) == (error, failure)
