"""A run holds its own state: runs of one process share nothing, and leave nothing behind."""

import functools
import gc
import importlib
import pickle
import pkgutil
import threading
import warnings
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch

import gantlet.commands
import gantlet.features
import gantlet.run
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.trial import ComparisonTrial
from gantlet.commands.converge.course import ConvergeTrial, SavedTraining
from gantlet.commands.converge.study import Converge
from gantlet.commands.evaluate import sets as resolving
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.evaluate.study import Evaluate
from gantlet.commands.evaluate.trial import EvaluationTrial
from gantlet.commands.flaws.trial import FlawsTrial
from gantlet.commands.tournament.play import TournamentTrial
from gantlet.compute.machine import threads
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Outcome, Trial
from gantlet.core.spec import metrics
from gantlet.features.fitted import Pca
from gantlet.options import Search
from gantlet.research.ais.study import AisStudy
from gantlet.research.calibration.study import Calibration
from gantlet.research.convergence.study import Convergence
from gantlet.research.sensitivity.study import Sensitivity
from gantlet.research.tradeoffs.study import Tradeoffs
from gantlet.run.execute import LruCache, run_and_record
from gantlet.run.store import Run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def normal(n, seed, shift=0.0, d=4):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def judged(real, fake, out):
    metrics = ("frechet", "energy", "precision")
    report = gantlet.evaluate(fake, against=real, metrics=metrics, features=("pca",), out=out)
    return [(r.model, r.name, r.estimate) for r in report.rows]


def test_two_evaluations_in_two_threads_give_the_rows_of_each_alone():
    for i in range(2):
        np.save(f"real{i}.npy", normal(120 + 30 * i, i, d=4 + i))
        np.save(f"fake{i}.npy", normal(90 + 20 * i, 10 + i, shift=0.3 * i, d=4 + i))
    alone = [judged(f"real{i}.npy", f"fake{i}.npy", f"alone{i}") for i in range(2)]
    assert alone[0] != alone[1]
    together = threading.Barrier(2)

    def both(i):
        together.wait()
        return judged(f"real{i}.npy", f"fake{i}.npy", f"both{i}")

    before = (torch.get_num_threads(), warnings.showwarning, list(warnings.filters))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(both, range(2))) == alone
    assert (torch.get_num_threads(), warnings.showwarning, list(warnings.filters)) == before


def test_an_evaluation_reads_a_file_that_was_replaced():
    np.save("real.npy", normal(100, 0))
    np.save("fake.npy", normal(100, 1))
    first = judged("real.npy", "fake.npy", "first")
    np.save("fake.npy", normal(100, 1, shift=2.0))
    second = judged("real.npy", "fake.npy", "second")
    assert first != second
    np.save("fake.npy", normal(100, 1))
    assert judged("real.npy", "fake.npy", "third") == first


def test_a_study_that_is_run_again_reads_its_files_again():
    np.save("real.npy", normal(100, 0))
    np.save("fake.npy", normal(100, 1))
    asked = EvaluationSpec(real="real.npy", train=None, fakes=("fake.npy",))
    study = Evaluate(asked=asked, metrics=("frechet",), features=("pixels",))
    first, second = study.question(), None
    np.save("fake.npy", normal(100, 2))
    assert study.question() == first, "one run judges one state of the files"
    second = study.fresh().question()
    assert second["fingerprints"] != first["fingerprints"]


def test_what_a_run_has_read_goes_with_it():
    np.save("real.npy", normal(100, 0))
    np.save("fake.npy", normal(100, 1))
    asked = EvaluationSpec(real="real.npy", train=None, fakes=("fake.npy",))
    study = Evaluate(asked=asked, metrics=("frechet",), features=("pca",))
    run = Run.create(Path("run"), study.question(), {})
    for trial in study.trials():
        assert run_and_record(study, trial, run, lambda *_: None).error is None
    held = [study.sets, study.sets.fake("fake.npy").samples.source, study.sets.real.samples.source]
    held.append(study.sets.extractor("pca", "cpu").extract)
    gone = [weakref.ref(one) for one in held]
    del study, held, trial
    gc.collect()
    assert [one() for one in gone] == [None] * len(gone)


def test_each_set_is_read_once_and_embedded_once(monkeypatch):
    np.save("real.npy", normal(100, 50))  # that no other test has embedded: features are cached
    for i in range(3):
        np.save(f"fake{i}.npy", normal(60, 51 + i))
    count = Counter()
    find, fit = resolving.find_samples, Pca.fit

    def found(text, role, **more):
        count["read"] += 1
        return find(text, role, **more)

    def fitted(self, space, data, *, rng):
        count["fit"] += 1
        made = fit(self, space, data, rng=rng)

        def extract(x):
            count["embedded"] += len(x)
            return made.extract(x)

        return replace(made, extract=extract)

    monkeypatch.setattr(resolving, "find_samples", found)
    monkeypatch.setattr(Pca, "fit", fitted)
    fakes = [f"fake{i}.npy" for i in range(3)]
    gantlet.evaluate(
        fakes, against="real.npy", metrics=("frechet",), features=("pca", "pixels"), out="run"
    )
    assert count["read"] == 4
    assert count["fit"] == 1
    assert count["embedded"] == 100 + 3 * 60


def test_a_copy_of_the_sets_in_another_process_holds_no_samples():
    np.save("real.npy", normal(50_000, 0))
    np.save("fake.npy", normal(100, 1))
    sets = EvaluationSets(EvaluationSpec(real="real.npy", train=None, fakes=("fake.npy",)))
    assert sets.real.n == 10_000
    packed = pickle.dumps(sets)
    assert len(packed) < 1000
    assert pickle.loads(packed).asked == sets.asked


ASKED = EvaluationSpec(
    real="real.npy", train="train.npy", fakes=("a.npy", "b=b.npy"), groups=("s",), seed=3
)
EVALUATION = EvaluationTrial(
    model="a.npy",
    against="part",
    size=60,
    extractor="pca:components=64",
    extractors=("pca:components=64", "pixels"),
    metrics=("frechet", "precision:k=5"),
    sets=replace(ASKED, divides=True),
    threads=2,
    device="cpu",
)
FLAWS = FlawsTrial(
    model="b=b.npy", extractor="pixels", sets=ASKED, search=Search(), threads=1, device="cpu"
)


COMPARISON = Compare(
    models=("flow:layers=2", "histogram"),
    data="ring",
    budget=Budget(flops=1e9),
    seeds=2,
    snapshots=3,
    select="last",
    patience=4,
)


@pytest.mark.parametrize("spec", [EVALUATION, FLAWS])
def test_a_trial_is_read_as_it_was_written(spec):
    written = spec.written()
    assert type(spec).of(written) == spec
    assert type(spec).of(written).written().key == written.key


def test_a_trial_of_a_comparison_is_read_as_it_was_written():
    real, *models = COMPARISON.trials()
    for trial in (real, *models):
        assert ComparisonTrial.of(trial).written() == trial
    assert [ComparisonTrial.of(t).seed for t in models] == [0, 0, 1, 1]
    assert ComparisonTrial.of(models[0]).training.patience == 4


def test_keys_of_trials_are_those_of_run_folders_of_before():
    assert EVALUATION.written().key == "4b679f873185"
    assert FLAWS.written().key == "a0de09476fc8"
    assert [trial.key for trial in COMPARISON.trials()] == [
        "4c862cd3fbe3",
        "c4eecd84ece2",
        "f17ce6bcd2cc",
        "d79e46a77213",
        "6ccedfd678bc",
    ]


# Studies of every metric are asked for those that there were when the keys were computed.
LATER = {
    *("clipped-density", "clipped-coverage", "symmetric-precision", "symmetric-recall"),
    *("pqmass", "mifid"),
    *("bleu", "self-bleu", "lm-forward", "lm-reverse", "verbatim", "longest-copy"),
    *("degree-mmd", "clustering-mmd", "spectrum-mmd", "orbit-mmd", "pgd"),
    *("c2st-auc", "column-similarity", "pair-similarity", "tstr", "dcr", "disclosure"),
    "predictive",
}
EVERY = tuple(
    m for m in metrics.names() if m not in {*LATER, "frechet-infinity", "geometry-score"}
)
STUDIES = {
    AisStudy(): "436b997758ae",
    AisStudy(size="full"): "e075acc742d7",
    Calibration(metrics=EVERY): "db90e4ace54d",
    Calibration(size="gate"): "623fec78ffc0",
    Calibration(size="verdicts"): "33a79967320a",
    Converge(model="dirac", budget=Budget(steps=5), retry=True): "eabcfd332c81",
    Converge(model="gan", budget=Budget(steps=5), retry=True): "ffba6aa5dd85",
    Convergence(): "c54ed6277b89",
    Convergence(size="full"): "9e4baf9499d4",
    Sensitivity(ns=(100,), metrics=EVERY): "12a3c817ed10",
    Sensitivity(data="ring", ns=(50,), features=("pca",), metrics=EVERY): "026c7d04360e",
    Tradeoffs(): "5f2a8a30233b",
}
"""Studies with a hash of the keys of their trials, as computed before trials were typed."""


@pytest.mark.parametrize("study", STUDIES, ids=lambda s: f"{type(s).__name__}-{STUDIES[s]}")
def test_keys_of_trials_of_studies_are_those_of_run_folders_of_before(study):
    keys = "".join(trial.key for trial in study.trials())
    assert blake2b(keys.encode(), digest_size=6).hexdigest() == STUDIES[study]


TYPED = [
    SavedTraining(path=Path("runs/a"), model="gan", seed=2),
    SavedTraining(path=Path("runs/a")),
    SavedTraining(),
]


@pytest.mark.parametrize("saved", TYPED)
def test_a_diagnosis_is_read_as_it_was_written(saved):
    (written,) = Converge(model="dirac", budget=Budget(steps=5)).trials()
    trial = replace(ConvergeTrial.of(written), saved=saved, batch=7)
    assert ConvergeTrial.of(trial.written()) == trial
    assert trial.written().parts["try"] == "false"
    assert trial.written().parts["run"].count("\n") == (2 if saved.path else 0)


def test_a_tournament_is_read_as_it_was_written():
    trial = TournamentTrial(
        runs=("a", "b"), data="ring", data_seed=0, samples=50, fingerprint="x", threads=1, seed=3
    )
    assert TournamentTrial.of(trial.written()) == trial
    assert trial.written().key == "d7bff40f7e50"


def test_a_trial_of_another_command_is_refused_by_the_part_it_lacks():
    with pytest.raises(UserError, match="has no 'runs': another version of Gantlet"):
        TournamentTrial.of(EVALUATION.written())


def test_what_is_held_is_made_once_and_bounded():
    held, made = LruCache(2), []

    def make(key):
        made.append(key)
        return key

    for key in (1, 1, 2, 1, 3, 1, 2):
        assert held.get(key, functools.partial(make, key)) == key
    assert made == [1, 2, 3, 2], "the one that was asked for longest ago went"
    with pytest.raises(ZeroDivisionError):
        held.get(4, lambda: 1 / 0)
    assert held.get(4, lambda: "mended") == "mended"


def test_several_threads_that_ask_for_the_same_make_it_once():
    held, made, together = LruCache(8), [], threading.Barrier(4)

    def ask(_):
        together.wait()
        return held.get("x", lambda: made.append(1) or object())

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert made == [1]


def test_blocks_of_threads_share_a_number_or_wait():
    before, seen = torch.get_num_threads(), []
    inside, leave = threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        with threads(1):
            seen.append("same")
        leave.set()
        with threads(2):
            seen.append(torch.get_num_threads())

    worker = threading.Thread(target=other)
    worker.start()
    with threads(1):
        inside.set()
        assert leave.wait(10), "a block that wants the same number does not wait"
        worker.join(0.2)
        assert seen == ["same"], "one that wants another number waits"
        with threads(2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    worker.join(10)
    assert seen == ["same", 2]
    assert torch.get_num_threads() == before


def test_warnings_of_two_trials_in_two_threads_go_to_the_logs_of_each():
    together = threading.Barrier(2)

    class Warns:
        def run(self, trial, folder, watch):
            together.wait(10)
            warnings.warn(f"of {trial.parts['model']}", stacklevel=1)
            together.wait(10)
            return Outcome(trial=trial)

    def go(name):
        run = Run.create(Path(name), {}, {})
        run_and_record(Warns(), Trial(parts={"model": name}), run, lambda *_: None)
        return (run.path / "log.jsonl").read_text()

    with ThreadPoolExecutor(2) as pool:
        logs = list(pool.map(go, ("a", "b")))
    assert ["of a" in log for log in logs] == [True, False]
    assert ["of b" in log for log in logs] == [False, True]


def test_no_module_that_runs_anything_keeps_a_cache():
    kept = {
        f"{module.name}.{name}"
        for package in (gantlet.commands, gantlet.run, gantlet.features)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for name, what in vars(importlib.import_module(module.name)).items()
        if hasattr(what, "cache_clear") and what.__module__ == module.name
    }
    # What is shipped with the package.
    assert kept == {"gantlet.commands.cost.known_runs"}
