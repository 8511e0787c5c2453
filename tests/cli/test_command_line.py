import json
import os
import subprocess
import sys

import pytest

from gantlet.cli.main import run


def gantlet(*arguments, cwd=None, columns=100):
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gantlet.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": str(columns)},
    )


def test_help_needs_no_torch():
    code = (
        "import sys; from gantlet.cli.main import run\n"
        "try: run(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "compare",
        "train",
        "sample",
        "cost",
        "plan",
        "study",
        "report",
        "export",
        "list",
        "show",
        "doctor",
        "data",
    ],
)
def test_every_command_has_help_with_an_example(command, capsys):
    run([command, "--help"])
    _, examples = capsys.readouterr().out.split("Examples:")
    assert f"  gantlet {command}" in examples


@pytest.mark.parametrize("command", ["", "compare", "train", "cost", "data"])
def test_no_help_is_wider_than_a_terminal(command):
    lines = gantlet(*command.split(), "--help", columns=80).stdout.splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare gann", "Unknown family 'gann'. Did you mean 'gan'?"),
        ("compare gan:los=ns", "Unknown option of 'gan' 'los'. Did you mean 'loss'?"),
        ("compare gan:loss=nss", "Unknown value of gan:loss 'nss'. Did you mean 'ns'?"),
        ("compare gan --data digitz", "Unknown data set 'digitz'. Did you mean 'digits'?"),
        ("compare gan --metric energi", "Unknown metric 'energi'. Did you mean 'energy'?"),
        ("compare gan --features pixel", "Unknown extractor 'pixel'. Did you mean 'pixels'?"),
        ("compare gan --solver adamm", "Unknown solver 'adamm'. Did you mean 'adam'?"),
        ("compare gan --solver adam:lr=fast", "adam:lr must be float"),
        ("compare gan --flops 0", "The budget of flops must be above 0. Got 0."),
        ("compare gan --flops -1", "The budget of flops must be above 0. Got -1."),
        ("compare gan --steps 1.5", "Must be a whole number. Got '1.5'."),
        ("compare gan --seeds 0", "seeds must be from 1 to 10000. Got 0."),
        ("compare gan --workers 0", "workers must be from 1 to 4096. Got 0."),
        ("compare gan --device cudaa", "--device must be one that this machine has"),
        ("compare gan --data ring:modes=x", "ring:modes must be int"),
        ("compare gan --sedes 2", "Unknown option"),
        ("comapre gan", "comapre"),
        ("sample nowhere", "nowhere is not a run directory"),
        ("report nowhere", "nowhere has no report.json yet"),
        ("export --to x.csv", "Name at least one run folder."),
        ("export nowhere --to x.doc", "--to must end in"),
        ("list familiez", "Unknown kind 'familiez'. Did you mean 'families'?"),
        ("show gann", "Unknown component 'gann'. Did you mean 'gan'?"),
        ("study tradeofs", "Unknown study 'tradeofs'. Did you mean 'tradeoffs'?"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


def test_list_and_show_tell_machines_and_people(capsys):
    assert run(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"gan", "flow", "ar", "vae", "diffusion"} <= set(found["families"])
    assert run(["show", "gan:loss=hinge"]) == 0
    told = capsys.readouterr().out
    assert "loss=hinge" in told
    assert "latent" in told
    assert "Weight of the penalty" in told
    assert run(["show", "adam", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)[0]["options"]
    assert (first["name"], first["default"]) == ("lr", "0.001")
    assert first["help"].startswith("Learning rate")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lists_and_explanations_fit_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for command in (["list"], ["show", "gan"], ["show", "images"]):
        assert run(command) == 0
        lines = capsys.readouterr().out.splitlines()
        # Only what has no blank in it may be longer: an address.
        assert all(len(line) <= width or " " not in line.strip() for line in lines), command


def test_a_dry_run_does_nothing(capsys, tmp_path):
    folder = tmp_path / "run"
    arguments = ["compare", "gan", "gmm", "--data", "ring", "--out", str(folder), "--dry-run"]
    assert run(arguments) == 0
    assert "gan:" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["trials"] == plan["to do"] == 7
    assert not folder.exists()


def test_a_dry_run_shows_names_that_cannot_drive_a_terminal(capsys, tmp_path):
    folder = tmp_path / "run\x1b[31m\udcff"
    assert run(["compare", "gmm", "--data", "ring", "--out", str(folder), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"Folder: {tmp_path}/run\ufffd[31m\ufffd (0 of ")


def test_a_dry_run_says_what_the_budget_pays_for(capsys, tmp_path):
    arguments = ["compare", "gan", "gmm", "ar", "--data", "digits", "--dry-run"]
    assert run([*arguments, "--out", str(tmp_path / "run"), "--flops", "1e10"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "Samples found: 1,257 for training, 180 for validation, 360 for testing." in told
    (gan,) = (line for line in told if line.startswith("gan: "))
    # 1e10 operations at 1.19e8 a step, of which validation takes up to a twentieth.
    assert gan.startswith("gan: 79 to 84 steps in "), gan
    assert "was still improving fast after 1,677 steps, more than planned here." in gan
    (gmm,) = (line for line in told if line.startswith("gmm: "))
    assert "steps" not in gmm


def test_cost_of_a_budget_says_how_many_steps_it_pays_for(capsys):
    assert run(["cost", "gan", "--data", "digits", "--flops", "1e10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (steps,) = (r for r in told["rows"] if r["name"] == "training steps")
    (flops,) = (r for r in told["rows"] if r["name"] == "FLOPs per training step")
    assert steps["high"] == 1e10 // flops["value"]
    assert steps["low"] == 0.95 * 1e10 // flops["value"]
    assert any("Samples found: 1,257 for training" in c for c in told["caveats"])
    assert run(["cost", "gan", "--flops", "1e10", "--examples", "5"]) == 2
    assert "not both" in capsys.readouterr().err
