"""The study of distributions: its design, its path at a tiny size, and made-up answers."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from gantlet.api import load_report, run_study
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
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
from gantlet.research.distributions.drawn import DRAWN, drawn_right
from gantlet.research.distributions.hypotheses import tests as hypothesis_tests
from gantlet.research.distributions.hypotheses import verdicts
from gantlet.research.distributions.protocols import (
    FOUND,
    MODE_FAMILIES,
    REAL_DRAWN,
    StudentT,
    constant_of,
    gap_of,
    held_constant,
    held_gan,
    held_world,
)
from gantlet.research.distributions.protocols_report import protocol_answer
from gantlet.research.distributions.report import caveats_of
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
    times = {"cpu_seconds", "sampling_ms"}
    rows = [
        {**r, "more": {k: v for k, v in r["more"].items() if k not in times}}
        for r in table["results"]
    ]
    return {**table, "results": rows}


def test_numbers_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="seeds and flops must be above 0"):
        Distributions(flops=0.0).trials()
    with pytest.raises(UserError, match="worlds and families of its own"):
        Distributions(size="protocols", worlds=3).trials()
    with pytest.raises(
        UserError, match="steps is an option of size=protocols, coverage and published"
    ):
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
    texts = [c.text for c in caveats_of(table)]
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
    question = {**study.question(), "parts": ["coverage", "modes", "tails", "lipschitz", "drawn"]}
    report = protocol_answer(question, outcomes, RUN)
    titles = [b.title for b in report.blocks]
    assert titles[0] == "Mode coverage of rings and grids"
    assert len(titles) == 6
    claims = " ".join(v.claim for v in report.verdicts)
    assert "of 4 held generators are above the precision bound" in claims
    assert "compatible with the published 6.3" in claims
    markdown = render(report, "markdown")
    assert "Lin et al., 2018" in markdown


@pytest.mark.parametrize("name", DRAWN)
def test_real_images_are_right(name):
    data = datasets.make(DRAWN[name])
    found = drawn_right(data, all_samples(data.load(rng=Rng(1)).test, 400))
    assert found["right"] >= 0.98
    assert found["between"] <= 0.02
    assert found["rarest"] == pytest.approx(0.5, abs=0.1)
    assert sum(found[share] for share in ("right", "between", "outside")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "form", "share"),
    [
        ("dots", "dots:counts=3,size=32", "between"),
        ("dots", "dots:counts=1+6,size=32", "outside"),
        ("pies", "pies:red=0.45+0.55,size=16", "between"),
        ("pies", "pies:red=0.1+0.9,size=16", "outside"),
        # The right share of red, but another diameter, or another place.
        ("pies", "pies:red=0.3,diameter=0.4,size=16", "outside"),
        ("pies", "pies:red=0.3,x=0.15,size=16", "outside"),
    ],
)
def test_images_that_are_not_right_are_told_from_those_between(name, form, share):
    data = datasets.make(f"{form},n=10,held_out=200")
    found = drawn_right(datasets.make(DRAWN[name]), all_samples(data.load(rng=Rng(1)).test))
    assert found[share] >= 0.97


def test_a_missing_training_value_is_the_rarest():
    data = datasets.make("pies:red=0.3,size=16,n=10,held_out=50")
    images = all_samples(data.load(rng=Rng(1)).test)
    assert drawn_right(datasets.make(DRAWN["pies"]), images)["rarest"] == 0
    nothing = torch.full((5, 3, 16, 16), 255.0)
    found = drawn_right(datasets.make(DRAWN["pies"]), nothing)
    assert found == {"right": 0, "between": 0, "outside": 1}


def test_noise_of_the_right_colours_is_no_pie():
    size = 16
    place = (torch.arange(size) + 0.5) / size - 0.5
    disc = (place[:, None].square() + place.square()).sqrt() <= 0.3
    red = torch.rand(20, size, size, generator=torch.Generator().manual_seed(0)) < 0.3
    images = torch.full((20, 3, size, size), 255.0)
    images[:, 0][disc & ~red], images[:, 1][disc.expand(20, -1, -1)] = 0.0, 0.0
    images[:, 2][disc & red] = 0.0
    pies = datasets.make(DRAWN["pies"])
    assert pies.measure(images)["red"].mean() == pytest.approx(0.3, abs=0.03)
    assert drawn_right(pies, images)["outside"] == 1


def test_specks_are_no_dots():
    images = torch.full((1, 3, 32, 32), 255.0)
    images[:, :, 5:8, 5:8] = images[:, :, 20:23, 20:23] = 0.0
    assert drawn_right(datasets.make(DRAWN["dots"]), images)["outside"] == 1


def drawn_outcome(data, name, seed, right, between):
    trial = Trial(parts={"part": "drawn", "data": data, "name": name, "model": name}, seed=seed)
    shares = {"right": right, "between": between, "outside": 1 - right - between, "rarest": 0.5}
    real = {"right": 1.0, "between": 0.0, "outside": 0.0, "rarest": 0.5}
    found = shares | {REAL_DRAWN + k: v for k, v in real.items()}
    return Outcome(trial=trial, details={FOUND: found})


def test_differences_between_families_follow_from_tests():
    rng = np.random.default_rng(0)
    outcomes = [
        drawn_outcome(data, name, seed, right + rng.normal(0, 0.005), 0.1 + rng.normal(0, 0.005))
        for data in DRAWN
        for name, right in (("gan", 0.3), ("vae", 0.3), ("flow", 0.6))
        for seed in range(4)
    ]
    question = {**Distributions(size="protocols").question(), "parts": ["drawn"]}
    report = protocol_answer(question, outcomes, RUN)
    assert report.verdicts[-1].claim == (
        "6 of 8 differences of the GAN in these shares cannot be distinguished from 0; the "
        "others, in points: pies, right, against flow -30; dots, right, against flow -30."
    )
    assert "of real images 100.0 are right" in report.verdicts[0].because.lower()
    assert [row[0] for row in report.blocks[0].rows[:4]] == [
        "pies, gan", "pies, vae", "pies, flow", "pies, real",
    ]  # fmt: skip


def test_intervals_of_shares_are_cut_to_what_is_possible():
    outcomes = [
        drawn_outcome(data, name, seed, right, 0.0)
        for data in DRAWN
        for name in ("gan", "vae", "flow")
        for seed, right in enumerate((0.01, 0.02, 0.3))
    ]
    question = {**Distributions(size="protocols").question(), "parts": ["drawn"]}
    report = protocol_answer(question, outcomes, RUN)
    _, right, _, outside, rarest = report.blocks[0].rows[0]
    plain = mean([1.0, 2.0, 30.0])
    assert plain.low < 0
    assert (right.low, right.high) == (0.0, pytest.approx(plain.high))
    assert (outside.low, outside.high) == (pytest.approx(100 - plain.high), 100.0)
    assert (rarest.low, rarest.high) == (50.0, 50.0)
    assert right.method.endswith("Student's t, cut to 0 to 100")
    assert "cut to what is possible" in report.caveats[-1].text


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


# ----------------------------------------------------------------------------
# The page says what the committed results hold.
# ----------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(size):
    """The blocks of a committed result by title: of a table its rows, of curves their means."""
    report = json.loads((DOCS / f"results/distributions-{size}.json").read_text())
    found = {}
    for block in report["blocks"]:
        for b in block.get("blocks", [block]):
            if b["kind"] == "table":
                found[b["title"]] = {str(row[0]): dict(named(b, row)) for row in b["rows"]}
    return report, found


def named(table, row):
    """Cells by name of column; the first of two columns of one name."""
    for column, cell in reversed(list(zip(table["columns"], row, strict=True))):
        yield column["name"], cell


def text_of(page):
    return " ".join((DOCS / f"questions/{page}.md").read_text().split())


def centre(cell):
    return cell["value"] if isinstance(cell, dict) else cell


def brief(value):
    """Two decimals with a sign and no leading zero, as in the page."""
    return f"{value:+.2f}".replace("0.", ".", 1)


def spread(cell, places=2):
    return f"{cell['value']:.{places}f} ± {(cell['high'] - cell['low']) / 2:.{places}f}"


def between(cell):
    low, high = (f"{cell[k]:.2f}".replace("0.", ".", 1) for k in ("low", "high"))
    return f"{brief(cell['value'])} [{low}, {high}]"


def extremes(rows, name, form):
    values = [centre(row[name]) for row in rows.values()]
    return [form(min(values)), form(max(values))]


def small_sentences():
    report, b = blocks_of("small")
    errors = {f: row["9e+09 FLOPs"]["value"] for f, row in b[
        "Error over all worlds of the design, at each budget"].items()}  # fmt: skip
    e = {f: f"{v:.2f}" for f, v in errors.items()}
    yield (
        f"is {e['diffusion']} for diffusion, {e['flow']} flow, {e['flow-gan']} Flow-GAN, "
        f"{e['gan']} GAN, {e['ar']} autoregressive and {e['vae']} VAE."
    )
    lowest = [r["lowest error"] for r in b["Which family on which distribution"].values()]
    assert {name for name in lowest if "(or" not in name} == {"diffusion"}
    yield f"in {sum('(or' not in name for name in lowest)} of {len(lowest)} groups of worlds"
    effects = b["Effect of each factor on the error"]
    by = {f: 10 ** effects["ambient 3 to 32"][f]["value"] for f in errors}
    yield (
        f"by a factor of {by['flow']:.0f} for flows, {by['vae']:.0f} for VAEs, "
        f"{by['gan']:.0f} for GANs and {by['diffusion']:.1f} for diffusion"
    )
    clear = effects["ambient 3 to 32"]["significant for"].split(", ")
    assert set(errors) - set(clear) == {"ar"}
    assert effects["intrinsic 1 to 6"]["significant for"] == "vae"
    others = {k: v for k, v in effects.items() if not k.startswith(("ambient", "intrinsic"))}
    assert {row["significant for"] for row in others.values()} == {"none"}
    yield f"for which it grows by {spread(effects['ambient 3 to 32']['ar'])}"
    yield f"*Modes* cost the GAN {spread(effects['modes 1 to 32']['gan'])} from 1 to 32"
    yield f"*separation* {spread(effects['separation 3 to 12']['gan'])} from 3 to 12"
    yield f"among {sum(len(row) - 2 for row in effects.values())} effects"
    stopped = next(c for c in report["caveats"] if c.startswith("Stopped early"))
    made, worlds_there = re.findall(r"on (\d+) of (\d+) worlds", stopped)[0]
    yield f"the second training was made on {made} of these {worlds_there}"


def correlation_sentences():
    _, b = blocks_of("small")
    r = b["Rank correlation of each feature of the data with the error"]
    kinds = ("dip", "separation", "lambda2")
    gan, diffusion, gap = ([brief(r[k][c]) for k in kinds] for c in (
        "gan", "diffusion", "gan - diffusion"))  # fmt: skip
    yield f"the dip ({gan[0]}), separation ({gan[1]}) and spectral gap ({gan[2]}) of the data"
    yield f"with none of them ({', '.join(diffusion)})"
    yield f"its gap to diffusion likewise ({', '.join(gap)})"


def hypothesis_sentences():
    report, _ = blocks_of("small")
    table = next(b for b in report["blocks"] if b["title"].startswith("Hypotheses"))
    found = {(row[0], row[1]): row[2] for row in table["rows"]}
    assert {row[3] for row in table["rows"]} == {"undecided"}
    yield f"by Holm's procedure over {len(table['rows'])} tests"

    def of(hypothesis, part):
        return next(e for (h, says), e in found.items() if h == hypothesis and part in says)

    one = [between(of("H1", f"error of {f},")) for f in ("gan", "flow", "vae")]
    yield f"GAN {one[0]}, flow {one[1]}, VAE {one[2]}"
    two = [between(of("H2", f"error of {f} minus")) for f in ("flow", "ar")]
    yield f"flow {two[0]}, autoregressive {two[1]}"
    three = [between(of("H3", f"error of {f}")) for f in ("ar", "diffusion")]
    rest = [brief(of("H3", f"error of {f}")["value"]) for f in ("gan", "flow", "vae")]
    yield f"autoregressive {three[0]} and diffusion {three[1]} before correction"
    yield f"GAN {rest[0]}, flow {rest[1]}, VAE {rest[2]}"


def prediction_sentences():
    _, b = blocks_of("small")

    def lean(v):
        return f"{v:.2f}".replace("0.", ".", 1)

    out, real = (b[f"Predictions for {w}"] for w in (
        "configurations that were left out", "real sets"))  # fmt: skip
    low, high = extremes(out, "R2", lean)
    yield f"R2 from {low} (autoregressive) to {high} (GAN)"
    for row in out.values():
        baselines = [row[n] for n in ("constant", "dimension", "non-Gaussianity")]
        assert row["R2"]["value"] > max(baselines)
    coverage = "coverage of 90 % intervals"
    low, high = extremes(out, coverage, lambda v: f"{100 * v:.0f}")
    yield f"intervals cover {low} to {high} %"
    parts = [
        " to ".join(extremes(real, name, form))
        for name, form in (
            ("rank correlation", lean),
            ("R2", lean),
            (coverage, lambda v: f"{100 * v:.0f}"),
        )
    ]
    yield f"rank correlations are {parts[0]}, R2 {parts[1]}, coverage {parts[2]} %"
    regret = b["Regret of choosing the family with the lowest predicted error"]
    mine, constant = ({k: lean(centre(v)) for k, v in regret[p].items() if k != "predictor"}
                      for p in ("profile", "constant"))  # fmt: skip
    yield f"regret {mine['real (17)']} against {constant['real (17)']} on real sets"
    yield f"{mine['left out (94)']} against {constant['left out (94)']} on configurations"


def protocol_sentences():
    _, b = blocks_of("protocols")
    modes = b["On the support, as modes are added"]
    for count in ("2", "4", "9"):
        row = modes[count]
        shares = (100 * centre(row[n]) for n in (*MODE_FAMILIES, "bound from one mode"))
        yield (
            f"| {count} | " + " | ".join(f"{v:.{0 if v >= 6.9 else 1}f} %" for v in shares) + " |"
        )
    yield f"With the slope that the GAN has there ({centre(modes['1']['steepest slope']):.1f})"
    yield f"and it does, to {spread(modes['2']['steepest slope'], 1)} on two modes"
    own = 100 * modes["9"]["bound from own slope"]
    yield f"bound of its own slope ({own:.0f} % on nine modes)"
    held = b["Precision of generators that are held at one Lipschitz constant"]
    few, many = (
        [centre(row["modes found"]) for name, row in held.items() if flat == (", 2 " in name)]
        for flat in (True, False)
    )
    yield f"of 4, 8 and 16 modes it finds {few[0]:.1f}, {few[1]:.1f} and {few[2]:.1f}"
    yield f"latent dimensions find {many[0]:.0f}, {many[1]:.0f} and {many[2]:.0f}"
    rings = b["Mode coverage of rings and grids"]
    yield f"finds {rings['ring, plain']['modes']['value']:.1f} of 8 modes on the ring"
    yield f"and {rings['grid, plain']['modes']['value']:.1f} of 25 on the grid"
    dots = b["Dots and pies"]["dots, flow"]
    right, three = (dots[name]["value"] for name in ("right", "between"))
    yield f"the flow {right:.1f} % right and {three:.1f} % with three dots"


def response_sentences():
    _, b = blocks_of("small")
    rows = b["Other responses at the largest budget"]
    auc, off = (
        [spread(rows[f][name], 3) for f in ("diffusion", "gan")]
        for name in ("C2ST AUC", "off support")
    )
    yield f"an area of {auc[0]} (.5 would be chance), those of the GAN with {auc[1]}"
    yield f"({off[0]} of diffusion's, {off[1]} of the GAN's)"
    others = [centre(row["recall"]) for f, row in rows.items() if f != "gan"]
    own = spread(rows["gan"]["recall"], 3)
    yield f"{own} for the GAN and {min(others):.3f} to {max(others):.3f}"
    gan, flow, diffusion, ar = (micro(rows[f]) for f in ("gan", "flow", "diffusion", "ar"))
    yield f"costs it {gan} µs, a flow {flow}, diffusion {diffusion}, an autoregressive model {ar}"


def micro(row):
    c = row["sampling"]
    half = 1e6 * (c["high"] - c["value"])
    digits = 3 if half < 0.1 else 2 if half < 1 else 1 if half < 10 else 0
    return f"{1e6 * c['value']:.{digits}f} ± {half:.{digits}f}"


def coverage_sentences():
    few, many = (
        blocks_of(size)[1]["Mode coverage of rings and grids"]
        for size in ("protocols", "coverage")
    )
    before, after = (extremes(b, "high quality", lambda v: f"{v:.0f}") for b in (few, many))
    yield f"it rose from {before[0]} to {before[1]} % to {after[0]} to {after[1]} %"
    for name in ("plain", "packing, 2", "R1 and R2", "two generators"):
        cells = [many[f"{d}, {name}"][c] for d in ("ring", "grid") for c in COVERAGE]
        yield f"| {name} | " + " | ".join(written_cell(c) for c in cells) + " |"


COVERAGE = ("modes", "high quality")


def written_cell(c):
    """A cell as the page writes it: both ends where a bound cuts the interval."""
    value, low, high = c["value"], c["low"], c["high"]
    if low == high:
        return f"{value:.0f}"
    half = high - value
    digits = 0 if half >= 9.5 else 1
    if half == pytest.approx(value - low):
        return f"{value:.{digits}f} ± {half:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def test_no_share_of_the_committed_protocols_is_beyond_what_is_possible():
    _, b = blocks_of("protocols")
    shares = [
        (cell, 100.0)
        for title in ("Dots and pies", "Mode coverage of rings and grids")
        for row in b[title].values()
        for name, cell in row.items()
        if name in ("right", "between", "outside", "rarest", "high quality")
    ] + [
        (row[name], 1.0)
        for row in b["On the support, as modes are added"].values()
        for name in MODE_FAMILIES
    ]
    ends = [
        (c["low"], c["high"], most)
        for c, most in shares
        if isinstance(c, dict) and c["low"] is not None
    ]
    assert len(ends) > 20
    assert all(0 <= low <= high <= most for low, high, most in ends)


SENTENCES = (
    small_sentences,
    correlation_sentences,
    hypothesis_sentences,
    prediction_sentences,
    protocol_sentences,
    coverage_sentences,
    response_sentences,
)


@pytest.mark.parametrize("made", SENTENCES)
def test_the_page_quotes_the_committed_results(made):
    text = text_of("distributions")
    missing = [sentence for sentence in made() if sentence not in text]
    assert not missing, missing


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
