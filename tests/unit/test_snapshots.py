import filecmp
from dataclasses import replace

import torch

from gantlet.api import run_study
from gantlet.commands.compare.study import Compare
from gantlet.core.data import all_samples
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.run.store import TrialFolder
from gantlet.run.train import Plan, Snapshots, train

PLAN = Plan(budget=Budget(steps=40), batch=16, ema=0.9, checkpoint=0.0)


def trained(folder, *, count, keep=None, stop_at=None):
    rng = Rng(0)
    data = datasets.make("ring:n=300")
    family = families.make("gan:width=8,depth=1")
    game = family.build(data.space, rng=rng)
    saved = []

    def save(name, tensors):
        saved.append(name)
        TrialFolder(folder).save(name, tensors)

    def watch(used):
        if stop_at is not None and used >= stop_at:
            raise KeyboardInterrupt

    train(
        game,
        solvers.make(family.solver),
        data.load(rng=rng),
        PLAN,
        rng=rng,
        keep=keep,
        snapshots=Snapshots(count, save) if count else None,
        watch=watch,
    )
    return game, saved


def test_snapshots_are_even_change_nothing_and_end_with_the_last_step(tmp_path):
    plain, _ = trained(tmp_path / "a", count=0)
    watched, saved = trained(tmp_path / "b", count=4)
    for name, player in plain.players.items():
        other = watched.players[name].state_dict()
        assert all(torch.equal(v, other[k]) for k, v in player.state_dict().items())
    assert sorted(set(saved)) == [f"snapshot-00{i}" for i in (1, 2, 3, 4)]
    found = [TrialFolder(tmp_path / "b").load(f"snapshot-00{i}") for i in (1, 2, 3, 4)]
    assert [int(s["step"]) for s in found] == [10, 20, 30, 40]
    critic = watched.players["critic"].state_dict()
    assert all(torch.equal(v, found[-1][f"players/critic/{k}"]) for k, v in critic.items())
    averaged, raw = found[-1]["model/net.0.weight"], found[-1]["players/generator/net.0.weight"]
    assert not torch.equal(averaged, raw)


def test_an_interrupted_training_takes_the_same_snapshots(tmp_path):
    trained(tmp_path / "whole", count=4)
    keep = TrialFolder(tmp_path / "state")
    try:
        trained(tmp_path / "parts", count=4, keep=keep, stop_at=0.6)
    except KeyboardInterrupt:
        trained(tmp_path / "parts", count=4, keep=keep)
    names = [f.name for f in sorted((tmp_path / "whole").iterdir())]
    same, *different = filecmp.cmpfiles(
        tmp_path / "whole", tmp_path / "parts", names, shallow=False
    )
    assert len(same) == 4
    assert different == [[], []]


def test_a_question_with_snapshots_saves_them_and_asks_the_same(tmp_path):
    samples = []
    for count in (0, 3):
        study = Compare(
            models=("gan:width=8,depth=1", "gmm:components=2"),
            data="ring:n=300",
            budget=Budget(steps=12),
            seeds=1,
            metrics=("energy",),
            features=("pixels",),
            probes=(),
            batch=16,
            samples=60,
            snapshots=count,
        )
        run_study(study, tmp_path / str(count))
        files = (tmp_path / str(count)).glob("trials/*/samples.safetensors")
        samples.append(sorted(f.read_bytes() for f in files))
    assert samples[0] == samples[1]
    assert len(list((tmp_path / "3").glob("trials/*/snapshot-*.safetensors"))) == 3
    assert not list((tmp_path / "0").glob("trials/*/snapshot-*"))


def test_a_selected_snapshot_is_what_a_training_that_ended_there_is_judged_by():
    rng = Rng(0)
    data = datasets.make("ring:n=300").load(rng=rng)
    family = families.make("gan:width=8,depth=1")
    game = family.build(datasets.make("ring:n=300").space, rng=rng)
    saved = {}
    made = train(
        game,
        solvers.make(family.solver),
        data,
        replace(PLAN, held_out=32, share=1.0),
        rng=rng,
        snapshots=Snapshots(9, saved.__setitem__, selected=(1, 3)),
    )
    assert list(saved) == ["snapshot-001", "snapshot-003"]
    for kept in saved.values():
        step = int(kept["step"])
        before = [p for p in made.curve if p["step"] <= step]
        assert before[-1]["step"] == step
        weights = {k.removeprefix("model/"): v for k, v in kept.items() if k.startswith("model/")}
        game.model.load_state_dict(weights)
        held_out = all_samples(data.validation, 32)
        found = float(game.validate(held_out, rng=rng.stream("validate")))
        assert found == min(p["validation"] for p in before)
