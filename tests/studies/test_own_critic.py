"""A GAN's own critic as features: the layer before the score, for lists of flaws only."""

import json

import pytest
import torch

from gantlet.api import run_study
from gantlet.cli.main import run
from gantlet.commands.compare.study import Compare
from gantlet.commands.tournament.play import courses_of, snapshots_of
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Adversarial
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.run.trials import load
from gantlet.testing import check_extractor

GANS = ("gan:width=16,depth=1", "gan:width=16,depth=1,spectral=true", "flow-gan:critic_width=16")
DATA = "grid:n=600"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "run"
    study = Compare(
        models=(*GANS, "gmm:components=4"),
        data=DATA,
        budget=Budget(steps=40),
        seeds=1,
        metrics=("energy",),
        features=("pixels",),
        probes=(),
        batch=32,
        samples=120,
        snapshots=2,
    )
    run_study(study, path)
    return path


def critic_of(folder, model, **more):
    options = "".join(f",{k}={v}" for k, v in more.items())
    return extractors.make(f'critic:run={folder},model="{model}"{options}')


def fitted(folder, model, **more):
    space, splits = load(DATA, 0)
    return critic_of(folder, model, **more).fit(space, splits, rng=Rng(0)), space, splits


@pytest.mark.parametrize("model", GANS)
def test_the_score_of_the_critic_is_linear_in_its_features(folder, model):
    seen, _, splits = fitted(folder, model)
    x = splits.test.take(torch.arange(60))
    hidden = seen.extract(x)
    game = next(
        s.game
        for c in courses_of([str(folder)])
        if c.name == f"{model} #0"
        for s in list(snapshots_of(c))[-1:]
    )
    assert isinstance(game, Adversarial)
    for player in game.players.values():
        player.eval()
    head = game.players["critic"].head
    assert hidden.shape == (60, head.in_features)
    score = hidden @ head.weight[0] + head.bias
    assert torch.allclose(score, game.critic(x), atol=1e-4)


def test_it_keeps_the_contract_of_extractors(folder):
    space, _ = load(DATA, 0)
    check_extractor(critic_of(folder, GANS[0]), space)


def test_an_earlier_snapshot_is_another_extractor(folder):
    first, last = (fitted(folder, GANS[0], snapshot=i)[0] for i in (1, 2))
    assert first.fingerprint != last.fingerprint
    assert last.fingerprint == fitted(folder, GANS[0])[0].fingerprint
    assert "at step 20" in first.note


def test_what_has_no_critic_is_told_in_one_line(folder, tmp_path):
    space, splits = load(DATA, 0)
    cases = {
        "holds no snapshot": critic_of(folder, "gmm:components=4"),
        "no snapshot 9. It has: 1, 2": critic_of(folder, GANS[0], snapshot=9),
        "has no seed 3": critic_of(folder, GANS[0], seed=3),
        "no run.json": critic_of(tmp_path, "gan"),
    }
    for message, extractor in cases.items():
        with pytest.raises(UserError, match=message):
            extractor.fit(space, splits, rng=Rng(0))
    with pytest.raises(UserError, match="judges vector 2"):
        critic_of(folder, GANS[0]).fit(Space("vector", (3,)), splits, rng=Rng(0))


def test_flaws_are_listed_by_it_and_ranks_refuse_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    features = f'critic:run={folder},model="{GANS[0]}"'
    sets = [f"{folder}@{GANS[0]}", "--against", f"{DATA}@train"]
    command = ["flaws", *sets, "--features", features, "--mode", "linear", "--permutations", "99"]
    assert run([*command, "--out", "o", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("hidden units of the critic" in str(c) for c in found["caveats"])
    assert run(["evaluate", *sets, "--features", features, "--out", "e"]) == 2
    told = capsys.readouterr().err
    assert "critic must not be used for rankings: a critic has learned to tell samples" in told
    assert len(told.strip().splitlines()) == 1
    assert run(["compare", "gmm", "--data", DATA, "--features", features, "--steps", "1"]) == 2
    assert "critic must not be used for rankings" in capsys.readouterr().err
