"""gantlet compare as people meet it: sizes, failures that stay alone, folders, progress."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import gantlet
from gantlet import options
from gantlet.cli.main import run
from gantlet.commands.compare import study as study_module
from gantlet.commands.compare.study import Compare
from gantlet.core.estimate import Budget, Outcome
from gantlet.core.rng import Rng
from gantlet.models.vae import Vae
from gantlet.run.store import Run

QUICK = ["--steps", "12", "--seeds", "1", "--workers", "1"]


def outcomes(folder):
    found = [json.loads(f.read_text()) for f in folder.glob("trials/*/outcome.json")]
    return {o["trial"]["parts"]["model"].partition(":")[0]: o for o in found}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A comparison on digits at a tiny budget: its folder."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    asked = ["compare", "gan:width=16", "histogram", "--data", "digits:limit=600", *QUICK]
    metrics = ["--metric", "precision", "--metric", "recall", "--features", "random-conv"]
    assert run([*asked, *metrics, "--out", str(folder)]) == 0
    return folder


def test_models_and_real_data_meet_the_reference_in_equal_numbers(digits):
    found = outcomes(digits)
    score = "precision (random-conv)"
    floor = found["real"]["scores"][score]["n"]
    assert found["gan"]["details"]["control"][score]["n"] == floor
    assert found["gan"]["scores"][score]["n"] > floor
    assert "control" not in found["real"]["details"]


def test_the_report_ranks_on_features_and_shows_steps(digits):
    report = gantlet.load_report(digits)
    table = next(b for b in report.blocks if b.title == "Models: quality and cost")
    heads = [(c.group, c.name) for c in table.columns]
    assert heads[1] == ("Samples against held-out data", "energy distance (random-conv)")
    assert ("Cost", "training steps") in heads
    # Sorted, references last.
    energy = [row[1].value for row in table.rows[:-1]]
    assert energy == sorted(energy)
    assert {row[0] for row in table.rows[:-1]} == {"gan:width=16 †", "histogram"}
    assert [row[0] for row in table.rows[-1:]] == ["held-out real data"]
    (shown,) = (b for b in report.blocks if b.title == "Samples")
    assert [p.caption for p in shown.pictures][1:] == [
        row[0].removesuffix(" †") for row in table.rows[:-1]
    ]
    for picture, row in zip(shown.pictures[1:], table.rows, strict=False):
        assert picture.scores[0].name == "energy distance (random-conv)"
        assert picture.scores[0].estimate == row[1]
    claims = [v.claim for v in report.verdicts]
    assert claims[0].startswith("Undertrained at this budget: gan:width=16. ")
    assert claims[1].startswith("gan:width=16 is undertrained at this budget")
    assert "12 steps" in report.verdicts[1].because
    assert "one seed says nothing about recipes" in claims[2]


def test_running_again_says_the_same(digits):
    before = (digits / "report.json").read_bytes()
    asked = ["compare", "gan:width=16", "histogram", "--data", "digits:limit=600", *QUICK]
    metrics = ["--metric", "precision", "--metric", "recall", "--features", "random-conv"]
    assert run([*asked, *metrics, "--out", str(digits)]) == 0
    assert (digits / "report.json").read_bytes() == before


@pytest.mark.skipif(
    "failure" not in {f.name for f in fields(Outcome)}, reason="needs kinds of failures"
)
def test_a_family_that_cannot_model_the_data_fails_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    asked = ["compare", "ar:net=transformer", "histogram", "gmm:components=2"]
    assert run([*asked, "--data", "npy:path=a.npy", *QUICK, "--out", "run"]) == 1
    told = capsys.readouterr()
    reason = "needs discrete samples"
    assert reason in told.out
    assert reason in told.err
    found = outcomes(tmp_path / "run")
    assert reason in found["ar"]["error"]
    assert found["gmm"]["error"] is None
    assert found["histogram"]["scores"]


def test_a_mistake_in_one_model_is_told_before_anything_is_written(tmp_path, capsys):
    for model, message in (("gna", "Did you mean 'gan'?"), ("gan:width=1", "width")):
        asked = ["compare", "histogram", model, "--data", "ring:n=300", *QUICK]
        assert run([*asked, "--out", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("from_python", [True, False])
def test_every_model_is_built_once_to_be_checked(from_python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    trials = Compare.trials

    def noted(self):
        asked.append(self.models)
        return trials(self)

    monkeypatch.setattr(Compare, "trials", noted)
    if from_python:
        given = {"budget": Budget(steps=1), "seeds": 1, "metrics": ["energy"], "workers": 1}
        gantlet.compare(["histogram"], data="ring:n=310", **given)
    else:
        words = (
            "compare histogram --data ring:n=310 --steps 1 --seeds 1 --metric energy --workers 1"
        )
        assert run(words.split()) == 0
    assert asked == [("histogram",)]


def test_two_questions_without_a_folder_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"budget": Budget(steps=1), "seeds": 1, "metrics": ("energy",)}
    first = gantlet.compare(["histogram"], data="ring:n=300", **asked)
    second = gantlet.compare(["histogram"], data="ring:n=400", **asked)
    assert first.question["data"] != second.question["data"]
    assert len(list((tmp_path / "runs").glob("compare-*"))) == 2
    again = gantlet.compare(["histogram"], data="ring:n=300", **asked)
    assert again.question == first.question
    assert len(list((tmp_path / "runs").glob("compare-*"))) == 2


def test_progress_tells_the_loss_and_the_share_of_the_budget(tmp_path):
    from gantlet.commands.trained import training_progress
    from gantlet.run.store import Run

    study = Compare(
        models=("gan:width=8",), data="ring:n=300", budget=Budget(steps=5), seeds=1,
        metrics=("energy",), probes=(),
    )  # fmt: skip
    told = []
    trial = study.trials()[1]
    study.run(trial, Run(tmp_path).folder(trial), lambda share, what: told.append((share, what)))
    training = [what for _, what in told if "training" in what]
    assert training[0].startswith("gan, training, 40 % of its budget, loss of critic ")
    assert ", of generator " in training[0]
    last = training_progress(lambda share, what: told.append((share, what)))
    last(2.0, {})
    assert told[-1] == (0.9, "training, 100 % of its budget")


def test_coverage_of_modes_stands_beside_what_theory_allows(tmp_path, capsys):
    asked = ["compare", "gan:latent=2", "gmm", "--data", "ring:n=300,held_out=200,std=0.05"]
    out = tmp_path / "run"
    assert run([*asked, *QUICK, "--metric", "energy", "--out", str(out)]) == 0
    report = gantlet.load_report(out)
    (section,) = (b for b in report.blocks if b.title == "Mode coverage")
    table, chart = section.blocks
    heads = [c.name for c in table.columns]
    rows = {
        str(row[0]).removesuffix(" †"): dict(zip(heads, row, strict=True)) for row in table.rows
    }
    gan, gmm, truth = rows["gan:latent=2"], rows["gmm"], rows["a perfect sampler, 200"]
    gap = 2 * np.sin(np.pi / 8) - 0.3
    limit = gantlet.theory.precision_bound(8, gap, gan["Lipschitz constant"].value)
    assert gan["precision bound"].value == pytest.approx(limit, rel=1e-6)
    assert gmm["precision bound"].value is None
    assert "no latent vectors" in gmm["precision bound"].method
    assert gmm["constant needed"].value > gan["constant needed"].value
    assert truth["high-quality share"].value == pytest.approx(0.98889, abs=1e-5)
    assert list(table.references) == ["a perfect sampler, 200"]
    assert "no map of standard normal latent vectors" in table.note
    assert [s.name for s in chart.series] == ["bound", "gan:latent=2"]
    # What is counted on known modes is no test against held-out real data.
    assert "high-quality share" not in outcomes(out)["real"]["scores"]


class TestTime:
    """A budget in minutes, recorded as FLOPs."""

    ASKED = ("--data", "ring:n=300", "--time", "0.2s", "--metric", "energy", "--workers", "1")

    def test_it_is_recorded_as_flops_that_a_resumed_run_keeps(self, tmp_path, monkeypatch, capsys):
        speeds = iter([3.333e9, 5e9])
        monkeypatch.setattr(study_module, "training_speed", lambda *_, **__: next(speeds))
        asked = ["compare", "gan:width=8", "flow:layers=2", "gmm", *self.ASKED, "--seeds", "1"]
        asked += ["--out", str(tmp_path / "run")]
        assert run(asked) == 0
        shown = capsys.readouterr()
        assert "200 ms of training gan:width=8 on this machine are 667 MFLOP" in shown.err
        assert "3 models on equal time on ring" in shown.out
        first = gantlet.load_report(tmp_path / "run")
        assert first.question["time"] == 0.2
        assert first.question["budgets"] == [6.67e8, 1e9, None]
        assert first.question["budget"] == {}
        spent = {r.model: r.estimate.value for r in first.rows if r.name == "training FLOPs"}
        assert 0.9 * 6.67e8 < next(v for k, v in spent.items() if k.startswith("gan")) <= 6.67e8
        assert 0.9e9 < next(v for k, v in spent.items() if k.startswith("flow")) <= 1e9
        # Nothing is measured again: the speeds are used up.
        assert run(asked) == 0
        assert gantlet.load_report(tmp_path / "run").rows == first.rows

    def test_the_default_folder_does_not_depend_on_the_measurement(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        speeds = iter([1e9, 2e9])
        monkeypatch.setattr(study_module, "training_speed", lambda *_, **__: next(speeds))
        for seconds in ("0.2s", "0.2s", "0.3s"):
            gantlet.train("gan:width=8", data="ring:n=300", time=seconds, samples=50)
        folders = sorted(Path("runs").iterdir())
        budgets = [gantlet.load_report(folder).question["budget"] for folder in folders]
        assert sorted(b["flops"] for b in budgets) == [2e8, 6e8]

    def test_it_is_measured(self, capsys):
        assert run(["train", "gan:width=8", "--data", "ring:n=300", "--time", "1s", "--dry-run",
                    "--json"]) == 0  # fmt: skip
        question = json.loads(capsys.readouterr().out)["question"]
        assert 1e6 < question["budget"]["flops"] < 1e11


def test_training_in_bf16_is_a_trial_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study_module, "has_bf16", lambda _: False)
    asked = ["compare", "gan:width=8", "--data", "ring:n=300", *QUICK, "--metric", "energy"]
    ends = {}
    for precision in ("fp32", "bf16"):
        out = str(tmp_path / precision)
        assert run([*asked, "--precision", precision, "--out", out, "--json"]) == 0
        assert ("has no bf16 arithmetic" in capsys.readouterr().err) == (precision == "bf16")
        (outcome,) = (o for o in Run.open(Path(out)).outcomes() if o.trial.model != "real")
        ends[precision] = outcome
    assert "precision" not in ends["fp32"].trial.parts
    assert ends["bf16"].trial.parts["precision"] == "bf16"
    assert ends["bf16"].spend.flops == ends["fp32"].spend.flops
    assert ends["bf16"].scores != ends["fp32"].scores


def test_the_expected_end_is_told_once_the_pace_is_known(monkeypatch):
    from gantlet.commands import trained

    seconds = iter([100.0, 101.0, 120.0])
    monkeypatch.setattr(trained.time, "monotonic", lambda: next(seconds))
    told = []
    last = trained.training_progress(lambda _share, what: told.append(what))
    for used in (0.4, 0.401, 0.5):  # resumed at .4
        last(used, {"flow": 12.0})
    assert ["until about" in what for what in told] == [False, False, True]


@pytest.mark.parametrize(("side", "flops"), [(8, 2e11), (28, 5e12)])
def test_the_default_budget_follows_the_images(tmp_path, side, flops):
    x = Rng(0).stream("x")
    images = (256 * torch.rand(30, 1, side, side, generator=x)).byte().numpy()
    np.save(tmp_path / "x.npy", images)
    asked = options.Compare(["gmm"], data=f"npy:path={tmp_path}/x.npy", seeds=1)
    found = gantlet.plan(asked)
    assert found["question"]["budget"] == {"flops": flops}


def test_a_budget_of_the_user_is_not_changed(tmp_path):
    asked = options.Compare(["gmm"], data="digits", budget=Budget(steps=3), seeds=1)
    assert gantlet.plan(asked)["question"]["budget"] == {"steps": 3}


def test_of_large_images_fewer_are_judged_and_it_says_so(tmp_path):
    study = Compare(models=("gmm",), data="digits", budget=Budget(steps=1))
    assert not any("so large" in note for note in study.notes())
    x = np.zeros((1500, 3, 256, 256), np.uint8)
    data = f"npy:path={tmp_path}/x.npy,test=0.5"
    np.save(tmp_path / "x.npy", x)
    large = Compare(models=("gmm",), data=data, budget=Budget(steps=1))
    assert large.question()["samples"] == str(2**26 // x[0].size)
    assert any("341 of 750 are judged" in note for note in large.notes())


def test_a_family_says_its_batch_where_none_is_given(monkeypatch):
    monkeypatch.setattr(Vae, "batch_size", lambda self, space: space.size // 2, raising=False)
    budget = Budget(steps=1)
    study = Compare(models=("vae", "gan"), data="digits", budget=budget, seeds=1)
    found = {t.model.partition(":")[0]: t.parts["batch"] for t in study.trials()}
    assert found == {"real": "128", "vae": "32", "gan": "128"}
    assert study.question()["batches"] == [32, 128]
    given = Compare(models=("vae", "gan"), data="digits", budget=budget, seeds=1, batch=7)
    assert {t.parts["batch"] for t in given.trials()} == {"7"}
    assert "batches" not in given.question()
