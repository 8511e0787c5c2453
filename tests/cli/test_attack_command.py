"""gantlet attack from the command line and from Python."""

import json
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

import gantlet
from gantlet.cli.main import run
from gantlet.commands.attack import trial
from gantlet.commands.attack.report import changes_of, judgments, over_training
from gantlet.commands.attack.study import Attack
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.models.nets import mlp, seeded

QUICK = ["--samples", "20", "--updates", "10", "--critics", "3", "--workers", "1"]


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Fresh critics of few steps: how good they are is for tests/unit/test_accident.py."""
    monkeypatch.setattr(trial, "CRITIC_STEPS", 60)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    both = ["compare", "gan:width=16,depth=1,loss=ns", "gmm:components=4", "--seeds", "1"]
    both += ["--data", "ring:n=400", "--batch", "32", "--samples", "100"]
    both += ["--metric", "energy", "--workers", "1"]
    assert run([*both, "--steps", "2", "--out", str(folder / "plain")]) == 0
    budget = ["--steps", "40", "--snapshots", "3"]
    assert run([*both, *budget, "--out", str(folder / "gan")]) == 0
    return folder


@pytest.fixture
def trained(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gan", "plain"):
        (tmp_path / name).symlink_to(runs / name)
    return tmp_path


def test_stages_of_a_run_are_attacked(trained, capsys):
    assert run(["attack", "gan", "--stages", "2", *QUICK, "--out", "a"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "How fragile is the critic of gan" in out
    assert "What an update does, step 40" in out
    assert re.search(r"Transfer to fresh critics: update .* strongest attack", out) or (
        "cannot be measured" in out
    )
    page = (trained / "a/report.html").read_text()
    for part in ("Distance to the critic", "over training", "Attacked fakes", "masked gradients"):
        assert part in page
    # A second time nothing is measured anew: outcomes are as they were.
    before = {p: p.stat().st_mtime_ns for p in (trained / "a/trials").rglob("outcome.json")}
    assert len(before) == 2
    assert run(["attack", "gan", "--stages", "2", *QUICK, "--out", "a", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert [s["step"] for s in told["stages"]] == [27, 40]
    names = {row["name"] for row in told["rows"]}
    assert {"accident share (update of the generator)", "median Linf distance, fakes to real"} <= (
        names
    )


def test_the_study_can_be_sent_to_worker_processes(trained):
    study = Attack(game="gan", updates=10)
    wanted = [t.key for t in study.trials()]
    sent = pickle.loads(pickle.dumps(study.fresh()))
    assert [t.key for t in sent.trials()] == wanted


def test_a_run_of_several_models_needs_no_name_where_one_has_a_critic(trained, capsys):
    assert run(["attack", "gan", *QUICK, "--out", "b", "--dry-run"]) == 0
    assert run(["attack", "gan@gmm:components=4#0", *QUICK, "--out", "b"]) == 2
    err = capsys.readouterr().err
    assert "gmm:components=4 has no critic to attack. In gan, these have one: gan:" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plain"], "Train with --snapshots 8 first"),
        (["nowhere"], "no run directory and no game of your own"),
        (["gan", "--critics", "2"], "from 3 to"),
        (["gan", "--updates", "3"], "from 10 to"),
        (["gan", "--device", "cuda"], "runs on the cpu"),
        (["gan", "--data", "ring"], "a run has its data"),
        (["gan@gan#7"], "has no seed 7"),
    ],
)
def test_mistakes_are_told_in_one_line(trained, capsys, arguments, told):
    assert run(["attack", *arguments, "--out", "t"]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (trained / "t").exists()


# ----------------------------------------------------------------------------
# Games of one's own.
# ----------------------------------------------------------------------------


def networks(probabilities: bool = False) -> dict[str, nn.Module]:
    with seeded(torch.Generator().manual_seed(0)):
        end = [nn.Sigmoid()] if probabilities else []
        return {
            "generator": nn.Sequential(mlp(4, 16, 16), nn.Sigmoid()),
            "critic": nn.Sequential(mlp(16, 16, 1), *end),
        }


def pictures() -> Tensor:
    return torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(1)).round() * 255


@pytest.mark.parametrize("loss", ["bce", "functions"])
def test_a_live_game_is_attacked_and_left_as_it_is(tmp_path, loss):
    def critic_loss(real_score, fake_score):
        return (fake_score - real_score).mean() + real_score.square().mean()

    def generator_loss(fake_score):
        return -fake_score.mean()

    players = networks(probabilities=loss == "bce")
    functions = {"critic": critic_loss, "generator": generator_loss}
    game = gantlet.game(
        players,
        losses="bce" if loss == "bce" else functions,
        data=pictures(),
        range=(0, 1),
        shape=(1, 4, 4),
    )
    before = {k: v.clone() for k, v in players["critic"].state_dict().items()}
    report = gantlet.attack(
        game,
        samples=20,
        updates=10,
        critics=3,
        batch=16,
        ablations=loss == "bce",
        out=tmp_path / "run",
    )
    assert all(torch.equal(v, before[k]) for k, v in players["critic"].state_dict().items())
    (stage,) = report.extra["stages"]
    assert stage["step"] is None
    assert stage["fresh"].startswith("the critic's network with new weights")
    ways = {"1 update, SGD", "batch 512", "samples free, 20 steps"}
    assert loss != "bce" or ways <= set(stage["ways"])
    page = (tmp_path / "run/report.html").read_text()
    assert "G(z) + p, real to the critic" in page
    assert ("Other ways to move the generator" in page) == (loss == "bce")


def test_a_game_without_a_critic_is_refused_in_one_line(tmp_path):
    lone = gantlet.game(
        {"generator": networks()["generator"]},
        losses={"generator": lambda fake: fake.mean()},
        data=pictures().flatten(1),
    )
    with pytest.raises(gantlet.UserError, match="no critic of single samples to attack"):
        gantlet.attack(lone, out=tmp_path / "run")
    with pytest.raises(gantlet.UserError, match="must be a run or a game"):
        gantlet.attack(3, out=tmp_path / "run")


# ----------------------------------------------------------------------------
# Sentences follow from tests.
# ----------------------------------------------------------------------------


def outcome(
    behind: float, ahead: float, apart: float, half: float = 0.1, gained: float = 0.4
) -> Outcome:
    def estimate(value: float) -> Estimate:
        return Estimate(value=value, low=value - half, high=value + half)

    return Outcome(
        trial=Trial(parts={}, seed=0),
        scores={
            "update - oracle": estimate(behind),
            "update - attack": estimate(ahead),
            "oracle - attack": estimate(apart),
            "own oracle": estimate(gained),
            "share update": estimate(0.5),
        },
        details={
            "players": ["critic", "generator"],
            "update": {"L2": 0.3},
            "loss": "ns",
        },
    )


@pytest.mark.parametrize(
    ("behind", "ahead", "apart", "judged"),
    [
        (-0.9, 0.02, 0.9, "attack"),
        (-0.5, 0.4, 0.9, "mixed"),
        (0.02, 0.9, 0.9, "improvement"),
        (-0.05, 0.05, 0.9, "open"),
        (0.0, 0.0, 0.02, "blunt"),
        (0.5, 0.0, -0.9, "blunt"),
    ],
)
def test_an_update_is_held_for_what_tests_say(behind, ahead, apart, judged):
    assert judgments([outcome(behind, ahead, apart)]) == [judged]


def test_many_stages_share_the_level():
    weak = outcome(-0.9, 0.12, 0.9)  # two and a third standard errors
    assert judgments([weak]) == ["mixed"]
    assert judgments([weak] * 8)[0] == "attack"


def test_a_critic_that_points_away_from_the_data_is_said_to():
    assert judgments([outcome(0.3, 0.0, -0.3, gained=-0.2)]) == ["astray"]
    # Significant by itself, but not as one of the comparisons of eight stages.
    weak = outcome(0.3, 0.0, -0.3, gained=-0.12)
    assert judgments([weak] * 8) == ["blunt"] * 8


def test_every_stage_is_in_the_sentence_about_all_of_them():
    stages = [outcome(-0.9, 0.02, 0.9), outcome(-0.05, 0.05, 0.9), outcome(0.0, 0.0, 0.02)]
    for step, o in enumerate(stages):
        o.details["step"] = step
    claim = over_training(stages, judgments(stages)).claim
    parts = ("at 1, attacks and improvements cannot", "at 1, they can be distinguished neither")
    assert all(part in claim for part in parts)
    assert claim.endswith("at 1, they cannot be distinguished from an attack.")


def test_what_cannot_be_measured_is_said_to_be_unknown():
    one = outcome(0.0, 0.0, 0.9)
    one.scores["update - attack"] = Estimate.missing("no gain")
    assert judgments([one]) == ["unknown"]


def test_changes_run_as_lines_of_pytorch():
    model = "gan:loss=ns,penalty=none,gamma=0.0"
    assert changes_of(model, "adam", outcome(0, 0.9, 0.9), "improvement") == []
    penalty, robust = changes_of(model, "adam", outcome(-0.9, 0.0, 0.9), "attack")
    assert "penalty=r1r2" in penalty.claim
    critic = networks()["critic"]
    score = nn.Sequential(nn.Flatten(), critic)
    rng = torch.Generator().manual_seed(2)
    fake, real = (torch.rand(20, 1, 4, 4, generator=rng) for _ in range(2))
    names = {"torch": torch, "critic": score, "fake": fake, "real": real}
    exec(robust.lines, names)
    moved = names["fake"]
    assert (score(moved) > score(fake)).all()
    assert (score(names["real"]) < score(real)).all()
    assert (moved - fake).flatten(1).norm(dim=1).max() <= 0.3 * (1 + 1e-5)
    names = {"torch": torch, "critic": score, "fake": fake, "real": real, "loss": torch.zeros(())}
    exec(penalty.lines, names)
    assert names["loss"].item() > 0
