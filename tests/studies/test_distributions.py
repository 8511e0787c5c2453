"""The study of distributions: its design, its path at a tiny size, and made-up answers."""

import json
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from gantlet.api import load_report, run_study
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.report.documents import render
from gantlet.report.json import PER_TRIAL, summarize
from gantlet.research.distributions import design, protocols
from gantlet.research.distributions import trial as trial_module
from gantlet.research.distributions.analysis import (
    Errors,
    coded,
    correlation,
    effect_p,
    groups,
    main_effects,
    spearman,
    standing,
    student_p,
    ties,
)
from gantlet.research.distributions.design import (
    FACTORS,
    FAMILIES,
    PROCESSES,
    REAL,
    SCALES,
    repaired,
    sobol,
    worlds,
    written,
)
from gantlet.research.distributions.hypotheses import tests as hypothesis_tests
from gantlet.research.distributions.hypotheses import verdicts
from gantlet.research.distributions.protocols import (
    FOUND,
    StudentT,
    constant_of,
    gap_of,
    held_constant,
    held_gan,
    held_world,
)
from gantlet.research.distributions.protocols_report import protocol_answer
from gantlet.research.distributions.report import _caveats
from gantlet.research.distributions.study import Distributions
from gantlet.research.distributions.table import error, table_of
from gantlet.stats.intervals import mean

# ----------------------------------------------------------------------------
# The design.
# ----------------------------------------------------------------------------


def test_levels_of_the_sequence_are_balanced():
    made = sobol(64)
    for name, levels in FACTORS.items():
        counts = Counter(f[name] for f in made)
        if len(levels) in {2, 4}:
            assert set(counts.values()) == {64 // len(levels)}
        else:
            share = {level: 64 * levels.count(level) / len(levels) for level in levels}
            assert all(abs(counts[level] - expected) <= 2 for level, expected in share.items())


def test_a_beginning_of_the_sequence_is_balanced_too():
    assert set(Counter(f["n"] for f in sobol(64)[:32]).values()) == {8}


def test_every_world_can_be_made():
    for world in worlds(SCALES["full"]):
        assert datasets.make(world.form).space.kind == "vector"


def test_repairs_change_nothing_that_fits():
    fits = {name: levels[-1] for name, levels in FACTORS.items()}
    assert repaired(fits) == fits
    assert repaired({**fits, "modes": "1", "topology": "blob"})["bridge"] == "0"
    assert repaired({**fits, "intrinsic": "1", "topology": "ring"})["tails"] == "inf"
    assert int(repaired({**fits, "intrinsic": "6", "ambient": "3"})["ambient"]) >= 6


def test_each_beginning_holds_all_kinds_of_worlds():
    made = worlds(SCALES["small"])
    assert len(made) == 64 + len(PROCESSES) + len(REAL)
    assert sum(w.real for w in made) == len(REAL) >= 12
    first = Counter(w.form.partition(":")[0] for w in made[:33])
    assert first["manifolds"] in range(17, 22)
    assert first["process"] in range(7, 11)
    assert first["offline"] in range(4, 8)


def test_the_real_sets_alone_are_a_size():
    assert [w.form.partition(",")[0] for w in worlds(SCALES["real"])] == list(REAL)
    assert all(w.real for w in worlds(SCALES["real"]))


def test_blocks_are_configurations():
    made = [w for w in worlds(SCALES["small"]) if w.form.startswith("manifolds")]
    of = {}
    for w in made:
        form = datasets.make(w.form)
        of.setdefault(w.block, set()).add((form.modes, form.intrinsic, form.ambient))
    assert all(len(held) == 1 for held in of.values())
    assert len(of) >= 40


# ----------------------------------------------------------------------------
# The study at a tiny size.
# ----------------------------------------------------------------------------

TINY = {"size": "small", "worlds": 2, "seeds": 1, "flops": 4e7}
FEW = ("vae:width=8,depth=1", "diffusion")


def tiny(monkeypatch, **options):
    monkeypatch.setattr(design, "PROCESSES", PROCESSES[4:5])
    monkeypatch.setattr(design, "REAL", ("offline:name=iris",))
    return Distributions(**{**TINY, "families": FEW, **options})


def test_the_study_trains_resumes_and_keeps_its_table(tmp_path, monkeypatch):
    study = tiny(monkeypatch)
    report = run_study(study, tmp_path / "run", workers=1)
    table = report.extra[PER_TRIAL]
    assert [w["real"] for w in table["worlds"]].count(True) == 1
    assert len(table["worlds"]) == 4
    assert len(table["results"]) == 4 * len(FEW) * 3
    assert table["flops"] == pytest.approx([4e7 / 9, 4e7 / 3, 4e7])
    for row in table["results"]:
        world = table["worlds"][row["world"]]
        assert set(row) == {
            "world", "family", "seed", "flops", "steps", "error", "floor", "diverged", "more",
        }  # fmt: skip
        assert row["error"] >= row["floor"] or row["diverged"]
        assert {"n", "d", "real", "block", "profile", "form"} == set(world)
        assert world["profile"]["ambient"] == world["d"]
    text = json.dumps(table, allow_nan=False)
    assert len(text) < 4 * 4 * len(FEW) * 3 * 1000
    assert PER_TRIAL not in summarize(report).extra
    steps = [r["steps"] for r in table["results"] if r["family"] == FEW[0] and not r["world"]]
    assert steps == sorted(steps)

    victim = next(
        p for p in (tmp_path / "run" / "trials").iterdir() if (p / "samples.safetensors").exists()
    )
    (victim / "outcome.json").unlink()
    run_study(tiny(monkeypatch), tmp_path / "run", workers=1)
    again = load_report(tmp_path / "run").extra[PER_TRIAL]
    assert strip(again) == strip(table)


def strip(table):
    """The table without what the clock saw."""
    rows = [
        {**r, "more": {k: v for k, v in r["more"].items() if k != "cpu_seconds"}}
        for r in table["results"]
    ]
    return {**table, "results": rows}


def test_numbers_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="seeds and flops must be above 0"):
        Distributions(flops=0.0).trials()
    with pytest.raises(UserError, match="worlds and families of its own"):
        Distributions(size="protocols", worlds=3).trials()
    with pytest.raises(UserError, match="steps is an option of size=protocols and published"):
        Distributions(steps=3).trials()


# ----------------------------------------------------------------------------
# Answers that are known.
# ----------------------------------------------------------------------------


def made_up(effect=1.0):
    """A table where diffusion is best by 1, and modes cost the GAN alone."""
    rng = np.random.default_rng(0)
    made, results = [], []
    for i, factors in enumerate(map(repaired, sobol(64))):
        form = datasets.resolve(written(factors))
        place = list(FACTORS["modes"]).index(factors["modes"]) / 5
        profile = {
            "bottleneck": place + 0.01 * rng.normal(),
            "id_mle": float(factors["intrinsic"]),
        }
        made.append(
            {
                "form": form,
                "n": int(factors["n"]),
                "d": int(factors["ambient"]),
                "real": False,
                "block": i,
                "profile": profile,
            }
        )
        for family, value in (
            ("gan", effect * place),
            ("flow", 0.5),
            ("ar", 0.5),
            ("vae", 0.5),
            ("diffusion", -0.5),
        ):
            noise = 0.05 * rng.normal()
            results.append(
                {
                    "world": i,
                    "family": family,
                    "seed": 0,
                    "flops": 1.0,
                    "steps": 1,
                    "error": value + noise,
                    "floor": -3.0,
                    "diverged": False,
                    "more": {},
                }
            )
    names = {f: FAMILIES[f] for f in ("gan", "flow", "ar", "vae", "diffusion")}
    return {
        "version": 1,
        "command": "",
        "flops": [1.0],
        "families": names,
        "worlds": made,
        "results": results,
    }


def test_effects_are_found_where_they_were_put():
    table = made_up()
    errors = Errors.of(table, 1.0, real=False)
    forms = [w["form"] for w in table["worlds"]]
    effects = main_effects(forms, errors["gan"])
    modes = effects["modes 1 to 32"]
    assert modes.low < 1.0 < modes.high
    assert modes.high - modes.low < 0.3
    others = [e for name, e in effects.items() if name != "modes 1 to 32"]
    assert sum(not e.low <= 0 <= e.high for e in others) <= 2


def test_least_squares_agree_with_scipy_for_one_factor():
    forms = [written(repaired({**sobol(1)[0], "n": n})) for n in FACTORS["n"] for _ in range(5)]
    y = np.random.default_rng(1).normal(size=len(forms)) + np.repeat([0, 1, 2, 3], 5)
    found = main_effects(forms, y)
    assert list(found) == ["n 250 to 16000"]
    x = [coded(f)["n 250 to 16000"] for f in forms]
    assert found["n 250 to 16000"].value == pytest.approx(stats.linregress(x, y).slope)


def test_intervals_of_effects_cover():
    forms = [written(repaired(f)) for f in sobol(64)]
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        effect = main_effects(forms, rng.normal(size=64))["separation 3 to 12"]
        hits += effect.low <= 0 <= effect.high
    assert 180 <= hits <= 200


def test_the_best_family_is_found_in_every_group():
    table = made_up()
    errors = Errors.of(table, 1.0, real=False)
    whole = standing("all", errors)
    assert whole.best == "diffusion"
    assert ties([whole]) == [[]]
    made = {" ".join(of): e for of, e in groups(table, errors)}
    assert {"modes 32", "topology blob", "n 250"} <= set(made)
    assert len(made["topology blob"].worlds) > len(made["topology ring"].worlds)


def test_families_that_are_equal_are_not_told_apart():
    table = made_up()
    errors = Errors.of(table, 1.0, real=False)
    alike = replace(errors, families=("flow", "ar", "vae"), values=errors.values[:, 1:4])
    assert len(ties([standing("all", alike)])[0]) == 2


def words_of(table, hypothesis):
    made = hypothesis_tests(table, Errors.of(table, 1.0, real=False))
    both = zip(made, verdicts(made), strict=True)
    return [word for test, word in both if test.hypothesis == hypothesis]


def test_the_bottleneck_hypothesis_is_confirmed_where_it_is_true():
    assert words_of(made_up(), "H1") == ["confirmed", "undecided", "undecided"]
    assert words_of(made_up(effect=-1.0), "H1")[0] == "contradicted"


def test_p_values_of_differences_are_those_of_the_t_test():
    rng = np.random.default_rng(4)
    for n in (3, 10, 60):
        gap = rng.normal(1, 1, size=n)
        found = student_p(mean(list(gap)), n - 1)
        assert found == pytest.approx(stats.ttest_1samp(gap, 0).pvalue, rel=1e-9)


def test_equal_families_are_rarely_told_apart_in_small_groups():
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(200):
        group = [
            standing(str(i), Errors(tuple(range(6)), ("a", "b"), rng.normal(size=(6, 2))))
            for i in range(40)
        ]
        told += any(not tied for tied in ties(group))
    # 5 % of 200, and three standard deviations more.
    assert told <= 20


def test_p_values_of_an_effect_are_those_of_the_regression():
    forms = [written(repaired({**sobol(1)[0], "n": n})) for n in FACTORS["n"] for _ in range(5)]
    y = np.random.default_rng(1).normal(size=len(forms)) + np.repeat([0, 0.3, 0.6, 0.9], 5)
    effect = main_effects(forms, y)["n 250 to 16000"]
    error = (effect.high - effect.value) / stats.t.ppf(0.975, 18)
    expected = 2 * stats.t.sf(abs(effect.value) / error, 18)
    assert effect_p(effect, 1) == pytest.approx(expected, rel=1e-6)


def test_a_training_that_was_cut_short_does_not_count():
    table = made_up()
    again = [{**r, "seed": 1} for r in table["results"] if r["world"] < 3]
    table["results"] += again[:-1]
    texts = [c.text for c in _caveats(table)]
    assert "Stopped early: training 2 of each family was made on 2 of 64 worlds." in texts


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=30), rng.integers(4, size=30).astype(float)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    found = correlation(x, x**3)
    assert found.value == pytest.approx(1.0)
    assert correlation(x, y, against=y).value == 0


def test_the_error_is_not_below_the_floor():
    world = {"floor": 0.001, "scale": 2.0, "constant": 0.5}
    assert error(1e-9, world) == pytest.approx(math.log10(0.0005))
    assert error(None, world) == pytest.approx(math.log10(0.25))


def test_worlds_that_not_every_family_finished_are_left_out():
    table = made_up()
    table["results"] = [r for r in table["results"] if (r["world"], r["family"]) != (3, "vae")]
    assert 3 not in Errors.of(table, 1.0, real=False).worlds


# ----------------------------------------------------------------------------
# Protocols.
# ----------------------------------------------------------------------------


def test_the_gap_is_between_balls():
    world = held_world(4)
    assert gap_of(world) == pytest.approx(
        20 - 2 * math.sqrt(stats.chi2.ppf(1 - math.exp(-4.5), 3))
    )


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_held_generator_keeps_its_constant():
    game = held_gan(4, 2, 16, Rng(0))
    # The output of the network has unit deviation where samples have that of the world.
    spread = math.sqrt(20**2 / 8 + 1)
    game.model.scaling.fit(spread * normal(5000, 3))
    z = normal(300, 2)
    with torch.no_grad():
        x = game.model.decode(z)
    steepest = (torch.pdist(x) / torch.pdist(z)).max()
    bound = constant_of(game.model)
    assert steepest < bound
    # Spectral norms by power iteration are a few per cent too small, in each of four layers.
    assert held_constant(4) < bound < 1.5 * held_constant(4)


def test_the_student_base_has_its_density_and_tails():
    base = StudentT(5.0)
    z = normal(7, 3).double()
    expected = stats.multivariate_t(np.zeros(3), np.eye(3), df=5).logpdf(z.numpy())
    assert base(z).tolist() == pytest.approx(expected.tolist())
    x = base.sample(torch.empty(40_000, 1), rng=torch.Generator().manual_seed(0))
    assert stats.kstest(x[:, 0].numpy(), stats.t(5).cdf).pvalue > 1e-3


def test_the_protocols_run_and_answer():
    study = Distributions(size="protocols", steps=3, flops=1e8, seeds=2)
    names = ("plain", "packing, 2", "gan", "flow, Gaussian base", "flow, Student t base", None)
    few = [
        t
        for t in study.trials()
        if t.parts.get("name") in names and t.parts.get("modes", "4") == "4"
    ]
    outcomes = [study.run(t, Nowhere(), lambda share, what: None) for t in few]
    assert all(set(o.details) == {FOUND} for o in outcomes)
    question = {**study.question(), "parts": ["coverage", "modes", "tails", "lipschitz"]}
    report = protocol_answer(question, outcomes, RUN)
    titles = [b.title for b in report.blocks]
    assert titles[0] == "Mode coverage of rings and grids"
    assert len(titles) == 5
    claims = " ".join(v.claim for v in report.verdicts)
    assert "of 4 held generators are above the precision bound" in claims
    assert "compatible with the published 6.3" in claims
    markdown = render(report, "markdown")
    assert "Lin et al., 2018" in markdown


def test_the_published_size_runs_on_images(monkeypatch):
    monkeypatch.setattr(protocols, "PUBLISHED_DATA", {"ring:n=200,held_out=50": 60})
    small = {k: v.replace("net=conv", "net=mlp") for k, v in protocols.AS_PUBLISHED.items()}
    monkeypatch.setattr(protocols, "AS_PUBLISHED", small)
    study = Distributions(size="published", steps=2, seeds=1)
    outcomes = [study.run(t, Nowhere(), lambda share, what: None) for t in study.trials()]
    assert [t.parts["points"] for t in study.trials()] == ["60"] * 3
    report = protocol_answer(study.question(), outcomes, RUN)
    assert report.blocks[0].title == "Stacked digits and triangles"
    assert [row[0] for row in report.blocks[0].rows] == [f"ring, {name}" for name in small]


@pytest.mark.skipif("stacked-digits" not in datasets.names(), reason="no stacked digits")
def test_the_published_protocols_name_data_that_there_are():
    made = Distributions(size="published").trials()
    assert len(made) == 3 * 2 * len(protocols.AS_PUBLISHED)
    assert sum(t.parts["data"].startswith("stacked-digits") for t in made) == len(made) / 2


class Nowhere:
    """A folder that keeps nothing."""

    def save(self, name, tensors):
        """Keeps nothing."""


RUN = SimpleNamespace(
    facts={
        "machine": {"device": "cpu", "threads": 1, "peak": 1e9},
        "gantlet": "0",
        "packages": {"torch": "2"},
        "commit": None,
        "started": "",
        "command": "",
    }
)


def test_nothing_is_said_of_no_worlds():
    question = Distributions(**TINY).question()
    assert table_of(question, [], "x")["results"] == []


def test_samples_that_overflow_are_a_divergence(monkeypatch):
    study = tiny(monkeypatch, families=("vae:width=8,depth=1",))
    trial = next(t for t in study.trials() if t.parts["model"].startswith("vae"))

    def far(model, n, *, rng):
        return torch.full((n, 12), 3e38)

    monkeypatch.setattr(trial_module, "draw", far)
    outcome = study.run(trial, Nowhere(), lambda share, what: None)
    assert all("energy" not in row for row in outcome.details["budgets"])
    assert all(row["steps"] > 0 for row in outcome.details["budgets"])
