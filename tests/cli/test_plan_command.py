"""gantlet plan: what it prints, and what it refuses in one line."""

import json

import numpy as np
import pytest
import torch

from gantlet.cli.main import run


@pytest.fixture
def real(tmp_path):
    file = tmp_path / "real.npy"
    np.save(file, torch.randn(400, 4, generator=torch.Generator().manual_seed(0)).numpy())
    return str(file)


def test_a_plan_is_printed_as_json(real, capsys):
    asked = ["plan", "--against", real, "--detect", ".5", "--metric", "precision", "--look", "50"]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    named = {r["name"]: r for r in found["rows"]}
    assert set(named) == {
        f"{what}, power {p}%"
        for what in ("samples", "real samples", "looks", "seeds")
        for p in (80, 90)
    }
    small, large = (named[f"samples, power {p}%"]["value"] for p in (80, 90))
    assert small <= large
    assert run(asked) == 0
    assert "samples in each set show" in " ".join(capsys.readouterr().out.split())


def test_a_reference_that_is_too_small_is_said(real, capsys):
    assert run(["plan", "--against", real, "--detect", ".02", "--metric", "precision"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be shown with these real samples" in out
    assert "The reference is too small: 400 real samples" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--detect", "0"], "detect must be above 0"),
        (["--detect", ".1", "--metric", "ct"], "not a distance between two sets of features"),
        (["--detect", ".1", "--metric", "precison"], "Did you mean 'precision'"),
        ([], "--detect"),
    ],
)
def test_a_mistake_is_one_line(real, more, message, capsys):
    assert run(["plan", "--against", real, *more]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "Traceback" not in err
