"""gantlet batch: from the command line, from Python, on games of one's own, and its mistakes."""

import json

import pytest
import torch
from torch import nn

import gantlet
from gantlet.cli.main import app
from gantlet.core.errors import UserError
from gantlet.core.spec import datasets
from gantlet.models.nets import seeded
from gantlet.run.store import Run

QUICK = {"steps": 24, "seeds": 2, "batch": 16, "factor": 2, "workers": 1}


def test_a_small_gan_from_the_command_line_and_again(tmp_path, capsys):
    command = ["batch", "gan:width=8", "--data", "ring", "--steps", "24", "--seeds", "2"]
    command += ["--batch", "16", "--factor", "2", "--workers", "1", "--json"]
    command += ["--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        app(command)
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "batch"
    assert found["question"]["batches"] == [8, 16, 32]
    names = {row["name"] for row in found["rows"]}
    expected = {"noise scale (critic)", "critical batch (generator)", "critical batch (measured)"}
    expected |= {"noise part of the final loss", "lost progress", "steps saved by twice the batch"}
    assert expected <= names
    assert found["bottleneck"] in {"noise", "instability", "both", "neither", "unknown"}
    claims = " ".join(v["claim"] for v in found["verdicts"])
    assert "Recommended batch: critic" in claims
    # The first trial is kept as it is.
    outcomes = list(Run.open(tmp_path / "run").outcomes())
    assert len(outcomes) == 6
    again = gantlet.batch("gan:width=8", data="ring", out=tmp_path / "run", **QUICK)
    assert again.rows[0].estimate.value == found["rows"][0]["value"]


def test_one_player_and_a_rate_that_follows_the_batch(tmp_path):
    found = gantlet.batch(
        "vae:width=16",
        data="ring",
        rate="sqrt",
        solver="sgd:lr=0.001",
        out=tmp_path / "v",
        **QUICK,
    )
    names = {row.name: row.estimate for row in found.rows}
    assert "noise scale (vae)" in names
    assert not any("Adam" in name or "together" in name for name in names)
    assert names["rest"].value is None
    solvers = {
        o.trial.parts["batch"]: o.trial.parts["solver"] for o in Run(tmp_path / "v").outcomes()
    }
    assert set(solvers) == {"8", "16", "32"}


def test_samples_that_are_coupled_are_said(tmp_path):
    found = gantlet.batch("pac-gan:width=8", data="ring", out=tmp_path / "p", **QUICK)
    assert any("is not a mean over examples" in c.text for c in found.caveats)


def test_a_game_of_modules(tmp_path):
    with seeded(torch.Generator().manual_seed(0)):
        players = {
            "generator": nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2)),
            "critic": nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)),
        }
    real = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    game = gantlet.game(players, losses="ns", latent=3, data=real)
    before = [p.clone() for m in players.values() for p in m.parameters()]
    found = gantlet.batch(game, out=tmp_path / "g", **QUICK)
    assert {"noise scale (critic)", "noise scale (generator, Adam)"} <= {
        r.name for r in found.rows
    }
    after = [p for m in players.values() for p in m.parameters()]
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("dirac", {}, "game without samples"),
        ("gmm", {}, "fitted directly"),
        ("gann", {}, "Did you mean 'gan'"),
        ("gan", {"solver": "stale", "rate": "linear"}, "no learning rate"),
        ("gan", {"steps": 3}, "steps"),
        ("gan", {"seeds": 1}, "seeds"),
        ("gan", {"rate": "log"}, "rate"),
    ],
)
def test_mistakes_are_one_line(model, options, told, tmp_path):
    with pytest.raises(UserError, match=told) as raised:
        gantlet.batch(model, data="ring", out=tmp_path / "x", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()


def test_monitors_from_the_command_line(tmp_path, capsys):
    command = ["train", "gan:width=8", "--data", "ring", "--steps", "60", "--samples", "50"]
    command += ["--monitor", "noise:share=0.5", "--out", str(tmp_path / "t"), "--json"]
    with pytest.raises(SystemExit) as ended:
        app(command)
    assert ended.value.code == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["noise scale (critic)"]["n"] > 0
    assert rows["looks of monitor noise"]["value"] == 2
    assert "Gradient noise scale" in (tmp_path / "t" / "report.html").read_text()
    with pytest.raises(UserError, match="Did you mean 'noise'"):
        gantlet.train("gan", data="ring", monitors=["noisy"], out=tmp_path / "u")


@pytest.mark.data
def test_published_weights(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(shared_data))
    with seeded(torch.Generator().manual_seed(0)):
        generator = nn.Sequential(
            *(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()),
            *(nn.Linear(256, 784), nn.Tanh()),
        )
        critic = nn.Sequential(
            *(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2)),
            *(nn.Linear(256, 1), nn.Sigmoid()),
        )
    from gantlet.commands.own_games import load_weights

    players = {"generator": generator, "critic": critic}
    files = [shared_data / "weights" / f"mnist_mlpgan_{k}_csinva.pth" for k in "GD"]
    load_weights(players, files, needed=["generator", "critic"])
    game = gantlet.game(
        players, losses="bce", range=(-1, 1), shape=(1, 28, 28), solver="adam:lr=0.0002"
    )
    found = gantlet.batch(game, data="mnist", out=tmp_path / "m", **QUICK | {"steps": 24})
    scales = {r.name: r.estimate for r in found.rows if r.name.startswith("noise scale")}
    # Of a training that is nearly done the gradient is small beside its noise.
    assert scales["noise scale (critic)"].value > 16
    assert scales["noise scale (generator)"].value > 16
    assert datasets.short("mnist") == "mnist"
