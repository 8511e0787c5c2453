"""Tournaments of short trainings: what is rated, and that a planted bad snapshot falls."""

import shutil

import pytest
import torch

import gantlet
from gantlet.api import run_study
from gantlet.commands.compare.study import Compare
from gantlet.commands.tournament.play import (
    REALS,
    SCALE,
    Player,
    as_tensors,
    from_tensors,
    standings,
)
from gantlet.commands.tournament.study import Tournament, ranking
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.run.store import TrialFolder
from gantlet.stats.ratings import spearman

GAN = "gan:width=16,depth=1"


def played(folder, name="t"):
    return run_study(Tournament(runs=(str(folder),), samples=300), folder.parent / name)


def ratings(report):
    return {r.model: r.estimate for r in report.rows if r.name == "rating"}


def kept(folder, name, tensors):
    """Puts tensors in the place of saved ones, and signs for them."""
    folder.save(name, tensors)
    folder.record(folder.outcome())


def trained(folder, *models, snapshots, seeds=1, data="ring:n=600"):
    study = Compare(
        models=models,
        data=data,
        budget=Budget(steps=150),
        seeds=seeds,
        metrics=("energy",),
        features=("pixels",),
        probes=(),
        batch=32,
        samples=300,
        snapshots=snapshots,
    )
    run_study(study, folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tournament") / "run"
    return trained(folder, GAN, "gmm:components=8", snapshots=5)


def test_snapshots_final_samples_and_real_data_are_rated(run):
    report = played(run)
    found = ratings(report)
    generators = [name for name in found if not name.startswith("critic of ")]
    assert len(generators) == 5 + 1 + 1
    assert sum(name.startswith("critic of ") for name in found) == 5
    assert all(e.low < e.value < e.high for e in found.values())
    competing = [found[g].value for g in generators if g != REALS]
    assert sum(competing) / len(competing) == pytest.approx(1500)
    real = {r.name: r.estimate for r in report.rows if r.model == REALS}
    rates = [e for name, e in real.items() if name.startswith("win rate")]
    assert sum(e.low <= 0.5 <= e.high for e in rates) >= 4
    assert any("rho" in r.name for r in report.rows)


def test_a_tournament_is_played_from_python(run, tmp_path):
    report = gantlet.tournament(run, samples=300, out=tmp_path / "played")
    assert report.command == "tournament"
    assert report.rows


def test_the_same_tournament_gives_the_same_ratings(run):
    assert played(run, "a").rows == played(run, "b").rows


def test_a_snapshot_that_was_set_back_is_rated_as_the_earlier_one(run, tmp_path):
    shutil.copytree(run, tmp_path / "back")
    file = min((tmp_path / "back").glob("trials/*/snapshot-004.safetensors"))
    folder = TrialFolder(file.parent)
    saved, early = folder.load("snapshot-004"), folder.load("snapshot-001")
    back = {k: early[k] if k.startswith("model/") else v for k, v in saved.items()}
    kept(folder, "snapshot-004", back)
    found = ratings(played(tmp_path / "back"))
    first, back, last = (
        next(e.value for n, e in found.items() if n.endswith(f"@{step}") and "critic" not in n)
        for step in (30, 120, 150)
    )
    assert back < last - 20
    assert abs(back - first) < abs(back - last)


def test_a_planted_bad_snapshot_is_rated_lower(run, tmp_path):
    shutil.copytree(run, tmp_path / "bad")
    before = ratings(played(run, "before"))
    file = min((tmp_path / "bad").glob("trials/*/snapshot-004.safetensors"))
    folder = TrialFolder(file.parent)
    saved = folder.load("snapshot-004")
    noise = Rng(0).stream("noise")
    for name, weight in saved.items():
        if name.startswith("model/net"):
            saved[name] = weight + 0.5 * torch.randn(weight.shape, generator=noise)
    kept(folder, "snapshot-004", saved)
    after = ratings(played(tmp_path / "bad"))
    name = next(n for n in after if n.endswith("@120") and not n.startswith("critic"))
    last = next(n for n in after if n.endswith("@150") and not n.startswith("critic"))
    assert after[name].value < before[name].value - 50
    assert after[name].value < after[last].value


def test_runs_that_cannot_play_are_told_in_one_line(run, tmp_path):
    none = trained(tmp_path / "none", "gmm:components=2", snapshots=0)
    other = trained(tmp_path / "other", GAN, snapshots=2, data="grid:n=400")
    with pytest.raises(UserError, match="train with --snapshots N"):
        Tournament(runs=(str(none),)).trials()
    with pytest.raises(UserError, match="same data"):
        Tournament(runs=(str(run), str(other))).trials()
    with pytest.raises(UserError, match="twice"):
        Tournament(runs=(str(run), str(run))).trials()
    with pytest.raises(UserError, match=r"no run\.json"):
        Tournament(runs=(str(tmp_path),)).trials()
    with pytest.raises(UserError, match="at least one run"):
        Tournament(runs=()).trials()


def test_one_critic_gives_ratings_without_intervals(tmp_path):
    report = played(trained(tmp_path / "one", GAN, snapshots=1))
    found = ratings(report)
    assert len(found) == 3
    assert found[REALS].low is None
    assert "a single judge" in found[REALS].method
    assert "is the only generator" in report.verdicts[0].claim
    assert not any("last snapshot" in v.claim for v in report.verdicts)


def test_weights_of_another_version_are_told(run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    file = min((tmp_path / "old").glob("trials/*/snapshot-002.safetensors"))
    kept(TrialFolder(file.parent), "snapshot-002", {"step": torch.tensor(3)})
    with pytest.raises(UserError, match="another version"):
        played(tmp_path / "old")


def test_better_generators_are_rated_higher_by_made_up_critics():
    rng = Rng(0).stream("scores")
    scores = {}
    for critic in range(5):
        judge = Player("gan #0", critic)
        scores[judge, Player(SCALE)] = torch.randn(200, generator=rng)
        for step, shift in enumerate([3.0, 2.0, 1.0, 0.5]):
            fakes = torch.randn(200, generator=rng) - shift * (1 + 0.1 * critic)
            scores[judge, Player("gan #0", step)] = fakes
        scores[judge, Player(REALS)] = torch.randn(200, generator=rng)
    table = standings(scores)
    values = [table.rating(g).value for g in table.generators]
    assert values == sorted(values)
    assert [g.name for g in table.generators][-1] == REALS
    glicko = [table.streamed(g.name).value for g in table.generators]
    assert glicko == sorted(glicko)
    lead = table.lead(table.generators[3], table.generators[0])
    assert lead.low > 0
    assert table.cycles == []
    # The best is not above all others: only the pairs that Holm's procedure separates differ.
    found = ranking(table)
    assert [p.step for p in found.order] == [3, 2, 1, 0]
    assert found.pairs == 6
    assert {*found.level, *found.behind} == set(found.order[1:])
    assert Player("gan #0", 0) in found.behind
    assert (found.best is None) == bool(found.level)
    changed = {k: (2 * v).exp() for k, v in scores.items()}
    again = standings({k: v.double() for k, v in changed.items()})
    assert [again.rating(g).value for g in again.generators] == pytest.approx(values)


def test_scores_are_read_back_whatever_players_are_called():
    odd = Player('a judges "b" @2: [c', 3)
    players = (odd, Player("gan:width=8 #0", 20), Player("gmm #1"), Player(REALS))
    scores = {(odd, p): torch.tensor(float(i)) for i, p in enumerate(players)}
    assert from_tensors(as_tensors(scores)) == scores


def test_scores_of_an_earlier_version_are_read():
    critic, reals = Player("gan:width=8 #0", 20), Player(REALS)
    x = torch.tensor(1.0)
    old = {f"{critic.name} judges {reals.name}": x, f"{critic.name} judges gmm #1": x}
    assert from_tensors(old) == {(critic, reals): x, (critic, Player("gmm #1")): x}


def test_spearman_of_few_equal_or_perfectly_ordered_values():
    assert spearman([1, 2], [1, 2]).value is None
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]).value is None
    assert spearman([1, 2, 3, 4], [8, 6, 4, 2]).value == -1
    with pytest.raises(ValueError, match="3 values beside 2"):
        spearman([1, 2, 3], [1, 2])
