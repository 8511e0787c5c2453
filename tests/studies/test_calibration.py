"""The calibration study: truths in closed form, and a wrong interval that is found out."""

import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import gammaln, hyp1f1

from gantlet.api import load_report, run_study
from gantlet.core import spec
from gantlet.core.errors import UserError
from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.kernel import Energy
from gantlet.report.blocks import Section
from gantlet.report.documents import markdown_table as as_markdown
from gantlet.research.calibration import false_verdicts, truth, worlds
from gantlet.research.calibration.study import (
    Calibration,
    CoverageCell,
    calibration_caveats,
    cells,
    judged,
    pooled,
)
from gantlet.research.calibration.trial import BLOCK, PLAIN, SCALES, measure_c2st, view
from gantlet.research.calibration.truth import SCENARIOS, estimand, normal, population
from gantlet.research.calibration.worlds import Finite
from gantlet.run.store import Run


def isotropic(d, shift, variance):
    """A normal moved by ``shift`` in all, each variance the same."""
    mean = torch.full((d,), shift / math.sqrt(d), dtype=torch.float64)
    return normal(mean, torch.full((d,), variance, dtype=torch.float64))


def test_the_truths_of_isotropic_normals_are_the_known_formulas():
    d, s, v = 5, 0.7, 1.44
    real, fake = isotropic(d, 0.0, 1.0), isotropic(d, s, v)

    def distance(shift, variance):
        scale = math.sqrt(2 * variance) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
        return scale * hyp1f1(-0.5, d / 2, -(shift**2) / (2 * variance))

    energy = 2 * distance(s, 1 + v) - distance(0, 2) - distance(0, 2 * v)
    assert truth.energy(real, fake) == pytest.approx(energy, rel=1e-9)
    gap = s**2 + d * (math.sqrt(v) - 1) ** 2
    assert truth.frechet(real, fake) == pytest.approx(gap, rel=1e-9)
    assert truth.sliced(real, fake) == pytest.approx(gap / d, rel=1e-6)
    assert truth.mind(real, fake) == pytest.approx(3 * gap, rel=1e-6)

    def rbf(shift, variance, sigma=1.5):
        wide = sigma**2 + variance
        return (sigma**2 / wide) ** (d / 2) * math.exp(-(shift**2) / (2 * wide))

    expected = rbf(0, 2) + rbf(0, 2 * v) - 2 * rbf(s, 1 + v)
    assert truth.rbf(real, fake, 1.5) == pytest.approx(expected, rel=1e-9)


def test_the_cubic_kernel_of_normals_in_one_dimension_is_its_moments():
    # E(xy + 1)^3 from the first three raw moments of both.
    def moments(a, v):
        return a, a**2 + v, a**3 + 3 * a * v

    def kernel(x, y):
        return sum(math.comb(3, k) * (1, *x)[k] * (1, *y)[k] for k in range(4))

    x, y = moments(0.3, 1.2), moments(-0.5, 0.4)
    expected = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    one, other = (
        normal(torch.tensor([a], dtype=torch.float64), torch.tensor([v], dtype=torch.float64))
        for a, v in ((0.3, 1.2), (-0.5, 0.4))
    )
    assert truth.kid(one, other) == pytest.approx(expected, rel=1e-9)


DRAWN = [s for s in SCENARIOS if s != "digits"]
"""Those that need no files."""


@pytest.mark.parametrize("scenario", DRAWN)
@pytest.mark.parametrize("name", ["kid", "energy", "mmd"])
def test_the_truth_is_the_mean_of_an_unbiased_metric(scenario, name):
    real, fake = SCENARIOS[scenario].draw(6)
    metric, known = metrics.make(name), population(name, scenario, 6)
    rng = Rng(0).stream(scenario)
    groups = Groups(real.groups(300), fake.groups(300))
    values = np.array(
        [
            metric.measure(
                real.sample(300, rng), fake.sample(300, rng), rng=rng, groups=groups
            ).value
            for _ in range(40)
        ]
    )
    assert abs(values.mean() - known) < 4 * values.std(ddof=1) / math.sqrt(40)


@pytest.mark.parametrize("scenario", [*PLAIN, "near", "chain", "rare"])
def test_the_truths_that_need_no_kernel_are_those_of_many_samples(scenario, monkeypatch):
    real, fake = SCENARIOS[scenario].draw(4)
    rng = Rng(0).stream(scenario)
    x, y = (m.sample(40_000, rng).double() for m in (real, fake))
    mean, covariance = fake.moments()
    assert y.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.02)
    assert (y.T.cov() - covariance).abs().max() < 0.05
    u = truth.rotated_axes(4, 64)
    along = ((x @ u).sort(0).values - (y @ u).sort(0).values).square().mean()
    monkeypatch.setattr(truth, "SLICES", 64)
    monkeypatch.setattr(truth, "SLICES_OF_MIXTURES", 64)
    assert truth.sliced(real, fake) == pytest.approx(float(along), rel=0.05, abs=1e-3)


def test_the_truths_of_points_are_those_of_all_their_pairs():
    rng = Rng(0).stream("points")
    x, y = torch.randn(40, 3, generator=rng).double(), torch.randn(50, 3, generator=rng).double()
    real, fake = Finite(x), Finite(y + 0.4)

    def of(kernel):
        parts = ((x, x, 1), (y + 0.4, y + 0.4, 1), (x, y + 0.4, -2))
        return float(sum(sign * kernel(a, b).mean() for a, b, sign in parts))

    assert truth.energy(real, fake) == pytest.approx(-of(torch.cdist), rel=1e-4)
    cubic = of(lambda a, b: (a @ b.T / 3 + 1) ** 3)
    assert truth.kid(real, fake) == pytest.approx(cubic, rel=1e-9)
    assert real.moments()[1].tolist() == torch.cov(x.T, correction=0).tolist()
    drawn = real.sample(7, rng).double()
    assert (torch.cdist(drawn, x).amin(1) < 1e-6).all()
    with pytest.raises(UserError, match="not known for digits"):
        truth.sliced(real, fake)


def test_samples_of_one_group_correlate_as_said():
    real, _ = SCENARIOS["groups"].draw(2)
    x = real.sample(5000, Rng(0).stream("x")).double()
    assert real.groups(11).tolist() == [0] * 5 + [1] * 5 + [2]
    pairs = x.view(-1, 5, 2)
    assert float(x.var()) == pytest.approx(1, abs=0.1)
    assert float((pairs[:, 0] * pairs[:, 3]).mean()) == pytest.approx(0.9, abs=0.1)
    twice = SCENARIOS["twice"].draw(2)[1].sample(10, Rng(0).stream("x"))
    assert torch.equal(twice[::2], twice[1::2])


def test_tails_have_the_variance_of_students_t():
    mean, covariance = SCENARIOS["tails"].draw(2)[1].moments()
    assert mean.tolist() == pytest.approx([0.1, 0.1])
    assert covariance.diagonal().tolist() == pytest.approx([2, 2], rel=1e-6)


def test_near_takes_each_pair_at_its_own_numbers_of_features():
    near = Calibration(size="near")
    places = {(t.parts["scenario"], t.parts["d"]) for t in near.trials()}
    assert len(places) == 9
    assert {d for s, d in places if s == "near"} == {"1", "2"}
    elsewhere = Calibration(size="near", ds=(3,), scenarios=("atoms",))
    assert {t.parts["model"] for t in elsewhere.trials()} == {"atoms:n=500,d=3"}


def cell(value, half, known, what="distributions"):
    value = torch.as_tensor(value, dtype=torch.float64)
    return CoverageCell(
        metric="made up",
        scenario="equal",
        n=10,
        d=2,
        estimand=what,
        value=value,
        low=value - half,
        high=value + half,
        truth=torch.full_like(value, known),
    )


def test_a_cell_counts_what_its_intervals_hold():
    values = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = cell(values, 1.96, 0.0)
    assert right.judgement == "covers"
    assert right.held.value == pytest.approx(95, abs=1)
    assert right.width == pytest.approx(1, abs=0.03)
    assert abs(right.bias) < 3
    assert cell(values, 1.0, 0.0).judgement == "too narrow"
    assert cell(values, 4.0, 0.0).judgement == "too wide"
    assert cell(values, 1.96, 0.5).bias < -20
    assert cell(values, 1.96, 0.0, "mean").bias is None


def test_few_replicates_condemn_nothing():
    one = cell(torch.linspace(-1, 1, 20), 3.0, 0.0)
    assert one.judgement == "near"
    assert judged(pooled([one] * 20)) == "too wide", "many cells together do"
    assert pooled([one] * 20).n == 400


def test_a_cell_without_intervals_says_so():
    none = replace(cell([1.0, 2.0], math.nan, 0.0), why="too few samples")
    assert none.judgement == "no interval"
    assert none.held.method == "too few samples"
    assert none.width is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """The energy distance with a third of its interval."""

    better: ClassVar[str] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[str] = "features"
    quadratic: ClassVar[bool] = True

    def measure(self, real, fake, *, rng):
        e = Energy().measure(real, fake, rng=rng)
        return replace(e, low=e.value - e.half_width / 3, high=e.value + e.half_width / 3)


@pytest.fixture
def narrow(monkeypatch):
    known = spec.entry_points_of("gantlet.metrics")
    module = SimpleNamespace(Narrow=Narrow)
    monkeypatch.setitem(sys.modules, "made_up_metrics", module)
    point = EntryPoint("narrow", "made_up_metrics:Narrow", "gantlet.metrics")
    points = {"narrow": point, "energy": known["energy"]}
    before = spec.entry_points_of
    monkeypatch.setattr(
        spec,
        "entry_points_of",
        lambda group: points if group == "gantlet.metrics" else before(group),
    )


def test_a_wrong_interval_is_found_out(narrow, tmp_path):
    study = Calibration(ns=(40,), ds=(2,), scenarios=("shift",), seeds=80)
    report = run_study(study, tmp_path / "run")
    table = report.blocks[0]
    heads = [c.name for c in table.columns]
    counts = {row[0]: dict(zip(heads, row, strict=True)) for row in table.rows}
    assert counts["narrow"]["too narrow"] == 1
    assert counts["energy"]["too narrow"] == 0
    claims = [v.claim for v in report.verdicts]
    assert "narrow: does not cover 93-97 % in any of 1 cells." in claims
    assert claims[0].startswith("The 95 % intervals of 1 of 2 metrics have an empirical coverage")


def test_the_study_resumes_and_repeats(tmp_path):
    def study(seeds):
        return Calibration(
            metrics=("energy", "c2st:classifier=knn", "frechet"),
            ns=(30,),
            ds=(3, 40),
            scenarios=("clusters",),
            seeds=seeds,
        )

    asked = study(BLOCK + 2)
    assert [t.parts["replicates"] for t in asked.trials()] == [str(BLOCK), "2"] * 2
    first = run_study(asked, tmp_path / "a")
    files = sorted((tmp_path / "a").glob("trials/*/replicates.safetensors"))
    told = [f.read_bytes() for f in files]
    files[0].with_name("outcome.json").unlink()
    files[0].unlink()
    second = run_study(asked, tmp_path / "a")
    assert [f.read_bytes() for f in files] == told
    assert first.rows == second.rows
    assert {r.name for r in first.rows} == {"interval holds"}
    left = {f.name: f.value for f in first.facts.items}["Not run"]
    assert "metrics alpha-precision, " in left
    assert not {"self-bleu", "tstr", "degree-mmd"} & set(left.replace(";", ",").split(", "))
    blank = [r for r in first.rows if r.model == "frechet" and "d=40" in r.data]
    assert blank[0].estimate.value is None, "30 samples of 40 features give no interval"


def test_the_same_samples_are_seen_whatever_else_is_measured(tmp_path):
    shared = {"ns": (30,), "ds": (3,), "scenarios": ("equal",), "seeds": 4}
    values = []
    for wanted in (("energy",), ("kid", "energy")):
        study = Calibration(metrics=wanted, **shared)
        run = Run(tmp_path / str(len(wanted)))
        run_study(study, run.path)
        found = cells([run.outcome(t) for t in study.trials()], run)
        values += [c.value for c in found if c.metric == "energy"]
    assert torch.equal(*values)


def test_a_question_that_cannot_be_asked_is_told():
    with pytest.raises(UserError, match="Did you mean 'shift'"):
        Calibration(scenarios=("shfit",)).trials()
    with pytest.raises(UserError, match="at least 2"):
        Calibration(seeds=1, metrics=("kid",)).trials()


def test_the_rated_classifier_is_the_one_that_the_metric_trains():
    rng = Rng(0)
    real, fake, *new = torch.randn(4, 60, 3, generator=rng.stream("data"))
    metric = metrics.make("c2st")
    expected = metric.measure(real, fake, rng=rng.stream("c2st"))
    found, truth_of_it = measure_c2st(metric, (real, fake), tuple(new), rng)
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert 0.3 < truth_of_it < 0.7


def test_the_truth_along_a_found_direction_is_that_of_the_two_normals(tmp_path):
    """Real N(0, I), fake N(m, diag v): along u the means lie m.u apart, the widths |u sqrt v|."""
    real, fake = SCENARIOS["spread"].draw(6)
    u = torch.nn.functional.normalize(torch.arange(1.0, 7).double(), dim=0)
    apart = float((fake.means[0] - real.means[0]) @ u)
    widths = [float((m.variances[0] @ u.square()).sqrt()) for m in (real, fake)]
    expected = apart**2 + (widths[0] - widths[1]) ** 2
    assert float(truth.along(real, fake, u[:, None])) == pytest.approx(expected, rel=1e-6)

    study = Calibration(
        metrics=("max-sliced-wasserstein",), ns=(60,), ds=(6,), scenarios=("spread",), seeds=3
    )
    run = Run(tmp_path / "run")
    run_study(study, run.path)
    (cell,) = cells([run.outcome(t) for t in study.trials()], run)
    assert cell.estimand == "direction"
    assert len(set(cell.truth.tolist())) == 3, "each replicate finds a direction of its own"
    rng = Rng(2)
    x, y = real.sample(60, s := rng.stream("spread:n=60,d=6")), fake.sample(60, s)
    metric = metrics.make("max-sliced-wasserstein")
    name = metrics.resolve("max-sliced-wasserstein")
    found, u = metric.directed(x, y, rng=Rng(2).stream(name))
    assert float(cell.value[2]) == found.estimate.value
    assert float(cell.truth[2]) == pytest.approx(float(truth.along(real, fake, u[:, None])))


def test_the_gate_is_the_one_that_was_asked_for():
    gate = SCALES["gate"]
    assert (gate.ns, gate.ds, gate.replicates) == ((1000,), (64,), 400)
    assert set(gate.metrics) <= set(metrics.names())
    full = SCALES["full"]
    assert (full.ns, full.ds) == ((250, 1000, 4000), (8, 64, 512))


def test_large_samples_are_drawn_less_often():
    wide = Calibration(size="wide", metrics=("kid",), ds=(8,), scenarios=("equal",))
    drawn = Counter()
    for trial in wide.trials():
        drawn[trial.parts["n"]] += int(trial.parts["replicates"])
    assert drawn == wide.question()["replicates"] == {"250": 200, "1000": 100, "4000": 50}
    text = [c.text for c in calibration_caveats(wide.question(), {})][-1]
    assert "200 replicates give 92.0 to 98.0 %" in text
    assert "50 replicates give 88.0 to 100.0 %" in text
    asked = Calibration(size="wide", seeds=30, metrics=("kid",)).question()
    assert asked["replicates"] == 30
    assert Calibration(size="wide", ns=(4000,)).question()["replicates"] == 50


def test_what_is_estimated_follows_from_the_metric():
    assert estimand("kid") == "distributions"
    assert estimand("c2st:classifier=knn") == "classifier"
    assert estimand("precision") == "mean"
    assert estimand("max-sliced-wasserstein") == "direction"
    assert estimand("max-sliced-wasserstein:order=1") == "mean"
    assert estimand("sliced-wasserstein:order=1") == "mean", "truths are those of the defaults"


def test_views_are_probabilities_and_pictures():
    x = torch.randn(7, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(view(x, "features"), x)
    p = view(x, "probabilities")
    assert p.shape == (7, 10)
    assert p.sum(1).tolist() == pytest.approx([1.0] * 7)
    pictures = view(x, "samples")
    assert pictures.shape == (7, 1, 16, 16)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std() > 0.1


def test_the_page_on_intervals_shows_the_table_of_the_committed_result():
    docs = Path(__file__).parents[2] / "docs"
    blocks = load_report(docs / "results/calibration-gate.json").blocks
    table = next(b for b in blocks if isinstance(b, Section)).blocks[0]
    told = "copy the first table of n = 1,000 of questions/calibration_gate_results.md"
    assert as_markdown(table) in (docs / "metrics/intervals.md").read_text(), told


def test_the_study_of_verdicts_goes_the_way_of_the_command(tmp_path, monkeypatch):
    kept = ("normal 600/300, d = 8", "copies: all", "collapsed")
    few = {name: replace(worlds.WORLDS[name], runs=2) for name in kept}

    def nothing_here(_folder, _rng):
        raise UserError("no such data")

    few["absent"] = replace(few["collapsed"], write=nothing_here)
    for module in (false_verdicts, worlds, false_verdicts):
        monkeypatch.setattr(module, "WORLDS", few)
    study = Calibration(size="verdicts")
    report = run_study(study, tmp_path / "run")
    shares = {(r.data, r.name): r.estimate for r in report.rows}
    assert shares["normal 600/300, d = 8", worlds.DIFFERS].value == 0
    assert shares["normal 600/300, d = 8", worlds.COPIES].value is None
    assert shares["copies: all", worlds.COPIES].value == 100
    assert shares["copies: all", worlds.COPIES].n == 2
    assert shares["collapsed", worlds.VARIETY].value == 100
    assert any("absent was not run: no such data" in c.text for c in report.caveats)
    assert "2 of 2 flaws are detected in every run" in report.verdicts[-1].claim

    def drawn_again(*_arguments):
        raise AssertionError("drawn again")

    monkeypatch.setattr(false_verdicts, "judged_once", drawn_again)
    assert run_study(study, tmp_path / "run").rows == report.rows


def test_every_world_of_verdicts_is_drawn_by_its_seed(tmp_path):
    for k, (name, world) in enumerate(worlds.WORLDS.items()):
        if "mnist" in name or name in {"jpeg copies", "dropped class"}:
            continue
        drawn = []
        for again in range(2):
            folder = tmp_path / f"{k}-{again}"
            folder.mkdir()
            files = world.write(folder, Rng(0).stream(name))
            assert {"real", "fake"} <= files.keys()
            drawn.append({n: digest_of_file(f) for n, f in files.items()})
        assert drawn[0] == drawn[1]
        assert len(set(drawn[0].values())) == len(drawn[0]) - (name == "copies: all")


def digest_of_file(path):
    if path.suffix == ".csv":
        return path.read_text()
    with np.load(path) as arrays:
        return tuple((n, arrays[n].tobytes()) for n in arrays.files)


def test_the_size_of_verdicts_refuses_what_it_does_not_use():
    with pytest.raises(UserError, match="sets of its own"):
        Calibration(size="verdicts", ns=(10,)).trials()
    with pytest.raises(UserError, match="at least 1"):
        Calibration(size="verdicts", seeds=0).trials()
