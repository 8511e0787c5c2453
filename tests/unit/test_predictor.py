"""The predictor on an experiment whose law is known."""

import json
import math
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.forecast import models
from gantlet.forecast.candidates import OutOfFold, foreign_residuals, kind_of, out_of_fold
from gantlet.forecast.experiment import NAMES, Experiment, Result, World, parse, read
from gantlet.forecast.experiment import shipped as shipped_table
from gantlet.forecast.predictor import COMMON, GROUPS, Predictor, resized, shipped
from gantlet.forecast.profile import profile
from gantlet.forecast.validation import CAUTIOUS, held_out, leave_out

BUDGETS = (1e9, 3e9, 9e9)
NOISE = 0.05


def cloud(seed: int) -> np.ndarray:
    """Some blobs in some dimensions, at some distance."""
    random = np.random.default_rng(seed)
    modes, d = int(2 ** random.integers(0, 4)), int(random.choice([2, 3, 6, 12]))
    n = int(random.choice([60, 120, 240]))
    centres = random.normal(size=(modes, d)) * random.uniform(1, 6)
    x = random.normal(size=(n, d)) * (np.arange(d) < random.integers(1, d + 1))
    return x + centres[random.integers(modes, size=n)]


def law(features: dict[str, float], family: str, flops: float) -> float:
    """The true log10 error: what is hard is hard for all, and gaps for gan most."""
    budget = -0.4 * math.log10(flops / 1e9)
    common = -2 + 0.4 * math.log10(features["ambient"]) - 0.2 * math.log10(features["n"])
    slope = {"gan": 0.35, "flow": 0.15, "diffusion": 0.1}[family]
    offset = {"gan": -0.4, "flow": 0.0, "diffusion": 0.1}[family]
    return common + budget + offset + slope * features["bottleneck"]


@cache
def table(worlds: int = 40, real: int = 6) -> Experiment:
    found, results = [], []
    random = np.random.default_rng(7)
    for i in range(worlds + real):
        x = cloud(i)
        features = dict(profile(torch.from_numpy(x), rng=Rng(0)))
        found.append(
            World(
                form=f"world {i}",
                n=len(x),
                d=x.shape[1],
                real=i >= worlds,
                block=i // 2,  # twenty configurations of two worlds
                profile=features,
            )
        )
        results += [
            Result(
                world=i,
                family=family,
                seed=seed,
                flops=flops,
                steps=flops / 1e7,
                error=law(features, family, flops) + NOISE * random.normal(),
            )
            for family in ("gan", "flow", "diffusion")
            for seed in range(2)
            for flops in BUDGETS
        ]
    return Experiment(version=1, command="test", flops=BUDGETS, worlds=found, results=results)


@cache
def left_out() -> OutOfFold:
    return out_of_fold(table().only(real=False).cells)


@cache
def fitted() -> Predictor:
    return Predictor.fit(table(), left_out())


# ----------------------------------------------------------------------------
# Models that are plain numbers.
# ----------------------------------------------------------------------------


def data(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 5))
    return x, np.sin(x[:, 0]) + 0.5 * x[:, 4] + 0.1 * random.normal(size=n)


def test_ridge_is_that_of_sklearn_where_nothing_is_shrunk() -> None:
    from sklearn.linear_model import LinearRegression

    x, y = data()
    ours = models.ridge(1e-9)(x, y).predict(x)
    np.testing.assert_allclose(ours, LinearRegression().fit(x, y).predict(x), atol=1e-6)


def test_kernel_ridge_is_that_of_sklearn() -> None:
    from sklearn.kernel_ridge import KernelRidge

    x, y = data()
    other = KernelRidge(alpha=0.3, kernel="rbf", gamma=1 / (2 * 5 * 1.5**2))
    reference = other.fit(x, y - y.mean()).predict(x) + y.mean()
    np.testing.assert_allclose(models.kernel_ridge(1.5, 0.3)(x, y).predict(x), reference)


def test_trees_are_those_of_sklearn_without_it() -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = data()
    x = x.astype(np.float32).astype(np.float64)
    other = ExtraTreesRegressor(
        n_estimators=7, min_samples_leaf=6, max_features=0.5, random_state=0
    ).fit(x, y)
    ours = models.extra_trees(7)(x, y)
    np.testing.assert_allclose(ours.predict(x), other.predict(x), atol=1e-6)


@pytest.mark.parametrize(
    "fit",
    [
        models.ridge(1.0),
        models.kernel_ridge(1.0, 0.3),
        models.extra_trees(5),
        lambda x, y: models.Mean([models.ridge(1.0)(x, y), models.kernel_ridge(1.0, 0.3)(x, y)]),
    ],
)
def test_models_survive_as_json(fit: models.Fit) -> None:
    x, y = data()
    model = fit(x, y)
    again = models.from_plain(json.loads(json.dumps(model.plain())))
    np.testing.assert_allclose(again.predict(x), model.predict(x), atol=0.05)


def test_conformal_quantiles_cover_in_a_simulation() -> None:
    random = np.random.default_rng(0)
    covered = [
        abs(random.normal()) <= models.quantile(np.abs(random.normal(size=60)).tolist(), 0.9)
        for _ in range(4000)
    ]
    # Exactly 55 / 61 for continuous residuals.
    assert np.mean(covered) == pytest.approx(55 / 61, abs=0.015)


# ----------------------------------------------------------------------------
# The predictor recovers the law.
# ----------------------------------------------------------------------------


def test_it_predicts_worlds_it_has_not_seen() -> None:
    found = held_out(table(), fitted())
    for family in ("gan", "flow", "diffusion"):
        score = found.scores["profile"][family]
        assert score.mae.value is not None
        assert score.mae.value < 0.25
        assert score.r2.value is not None
        assert score.r2.value > 0.6
    assert found.worlds == 6


def test_leaving_out_configurations_beats_the_baselines_where_the_law_needs_the_profile() -> None:
    found = leave_out(table(), left_out())
    for name in ("constant", "non-Gaussianity"):
        ours, other = (found.scores[n]["gan"].mae.value for n in ("profile", name))
        assert ours is not None
        assert other is not None
        assert ours < other
    ours, always = (found.regrets[n].value for n in ("profile", "constant"))
    assert ours is not None
    assert always is not None
    assert ours < always
    cautious = found.regrets[CAUTIOUS].value
    assert cautious is not None
    assert ours <= cautious <= always
    for estimate in found.coverage.values():
        assert estimate.value == pytest.approx(0.9, abs=0.06)


def test_families_that_differ_by_a_constant_have_constant_deviations() -> None:
    plain = table()
    offset = {"gan": 0.0, "flow": 0.3, "diffusion": 0.6}
    random = np.random.default_rng(1)
    results = [
        replace(r, error=-2 + offset[r.family] + 0.2 * random.normal()) for r in plain.results
    ]
    worlds = [replace(w, block=w.block % 8) for w in plain.worlds]
    found = Predictor.fit(replace(plain, results=results, worlds=worlds))
    assert len({found.chosen[f] for f in offset}) == 1
    for world in plain.worlds:
        order = [found.predict(world.profile, f, 3e9).value for f in offset]
        assert order == sorted(order)


def test_predictions_are_the_same_after_json() -> None:
    again = Predictor.from_json(fitted().to_json())
    for world in table().worlds[::7]:
        a, b = (p.predict(world.profile, "gan", 3e9) for p in (fitted(), again))
        assert b.value == pytest.approx(a.value, abs=0.01)
        assert b.applicability.is_inside == a.applicability.is_inside
    assert again.to_json() == Predictor.from_json(again.to_json()).to_json()


def test_an_error_falls_with_the_budget_and_with_n() -> None:
    p = table().worlds[0].profile
    at = [fitted().predict(p, "flow", f).value for f in BUDGETS]
    assert at[0] - at[2] == pytest.approx(0.4 * math.log10(9), abs=0.15)
    few, many = (fitted().predict(p, "flow", 3e9, n=n).value for n in (60, 240))
    assert many < few
    assert resized(p, 100)["n"] == 100


def test_it_abstains_far_outside_and_says_why() -> None:
    x = torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    p = profile(x, rng=Rng(0))
    found = fitted().applicability(p, 3e9)
    assert not found.is_inside
    assert found.score > 1
    assert any("ambient dimension is 400, and the fit has 2 to 12" in r for r in found.reasons)
    errors = fitted().errors(p, 3e9, ["gan"])
    assert errors["gan"].value is None
    assert "outside the data of the fit" in errors["gan"].method


def test_it_abstains_at_a_foreign_budget_and_without_features() -> None:
    p = table().worlds[0].profile
    assert fitted().applicability(p, 3e9).is_inside
    assert "the budget is 1e+15 FLOPs" in fitted().applicability(p, 1e15).reasons[0]
    few = {k: p[k] for k in ("n", "ambient")}
    assert "features are missing" in fitted().applicability(few, 3e9).reasons[0]


def test_most_worlds_of_the_same_design_are_inside() -> None:
    inside = [fitted().applicability(w.profile, 3e9).is_inside for w in table().worlds[40:]]
    assert np.mean(inside) >= 0.6


def test_gaps_have_intervals_and_adjusted_p_values() -> None:
    wide = max(table().worlds, key=lambda w: w.profile["bottleneck"])
    gaps = fitted().gaps(wide.profile, 9e9, ["gan", "flow", "diffusion"])
    assert all(g.low <= g.value <= g.high and 0 < g.p <= 1 for g in gaps)
    assert all(g.value >= 0 for g in gaps)
    gap = fitted().gan_or_not(wide.profile, 9e9, ["gan", "flow", "diffusion"])
    assert gap is not None
    truth = min(law(dict(wide.profile), f, 9e9) for f in ("flow", "diffusion"))
    sign = 1 if gap.worse == "gan" else -1
    assert sign * gap.value == pytest.approx(law(dict(wide.profile), "gan", 9e9) - truth, abs=0.25)
    assert fitted().gan_or_not(wide.profile, 9e9, ["flow", "diffusion"]) is None


def test_the_family_that_is_best_on_average_is_that_of_the_law() -> None:
    names = ["gan", "flow", "diffusion"]
    own = [w for w in table().worlds if not w.real]
    means = {f: np.mean([law(dict(w.profile), f, 9e9) for w in own]) for f in names}
    assert fitted().best_on_average(9e9, names) == min(names, key=means.__getitem__)
    assert fitted().least_gap("gan", "flow") < 0.6
    assert fitted().least_gap("gan", "gan") == math.inf


def test_each_feature_is_in_one_group() -> None:
    assert sorted(n for names in GROUPS.values() for n in names) == sorted(NAMES)


def test_the_driver_of_a_gap_is_connectedness() -> None:
    wide = max(table().worlds, key=lambda w: w.profile["bottleneck"])
    drivers = dict(fitted().drivers(wide.profile, "gan", 9e9))
    assert drivers["connectedness"] > 0.1
    assert drivers["connectedness"] > abs(drivers["shape"])


def test_the_nearest_world_of_a_known_one_is_itself() -> None:
    known = table().worlds[5]
    nearest = fitted().nearest(known.profile)
    assert nearest[0].world.form == "world 5"
    assert nearest[0].distance == pytest.approx(0, abs=0.01)
    measured = nearest[0].world.errors["gan"]
    assert measured[0] == pytest.approx(law(dict(known.profile), "gan", 1e9), abs=0.2)


def test_the_steep_part_ends_where_three_times_the_budget_gains_little() -> None:
    # The law gains 0.19 for three times the budget: always steep.
    found = fitted().steepness(table().worlds[0].profile, "gan")
    assert found is not None
    assert len(found.left) + found.steep == 10
    assert found.steep >= 8
    assert found.most == 900
    flat = replace(
        table(),
        worlds=[replace(w, block=w.block % 4) for w in table().worlds],
        results=[
            replace(r, error=-2.0 + (0.5 if r.flops == BUDGETS[0] else 0.0))
            for r in table().results
        ],
    )
    found = Predictor.fit(flat).steepness(table().worlds[0].profile, "gan")
    assert found is not None
    assert (set(found.left), found.steep) == ({300.0}, 0)


def test_a_fit_repeats_bit_for_bit() -> None:
    few = replace(table(), worlds=[replace(w, block=w.block % 4) for w in table().worlds])
    assert Predictor.fit(few).to_json() == Predictor.fit(few).to_json()


def test_a_world_of_the_same_block_is_left_out_together() -> None:
    found = left_out()
    for fold in np.unique(found.fold):
        assert len(np.unique(found.cells.block[found.fold == fold])) == 1
        assert len(np.unique(found.cells.world[found.fold == fold])) == 2


def test_diverged_trainings_and_partial_tables_can_be_fitted() -> None:
    plain = table()
    results = [
        replace(r, error=None, diverged=True) if i % 17 == 0 else r
        for i, r in enumerate(plain.results)
        if not (r.family == "flow" and r.world > 20) and not (r.seed == 1 and r.world > 10)
    ]
    worlds = [replace(w, block=w.block % 5) for w in plain.worlds]
    partial = replace(plain, results=results, worlds=worlds)
    found = Predictor.fit(partial)
    assert set(found.families) == {"gan", "flow", "diffusion"}
    validation = leave_out(partial, out_of_fold(partial.only(real=False).cells))
    assert math.isfinite(validation.regrets["profile"].value or math.nan)
    assert held_out(partial, found).worlds == 6


# ----------------------------------------------------------------------------
# Tables in files.
# ----------------------------------------------------------------------------


def written(path: Path, plain: object) -> Path:
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def plain_table() -> dict[str, object]:
    from cattrs import Converter

    found: dict[str, object] = Converter().unstructure(table())
    return found


def test_a_table_is_read_back(tmp_path: Path) -> None:
    plain = plain_table() | {"families": {"gan": "gan:width=64"}}
    found = read(written(tmp_path / "experiment.json", plain))
    assert found.forms == {"gan": "gan:width=64"}
    assert found.families == ("gan", "flow", "diffusion")
    assert found.worlds[3].profile == table().worlds[3].profile


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([1, 2], "must be an experiment table of version 1"),
        ({"version": 2}, "must be an experiment table of version 1"),
        ({"version": 1}, "is not an experiment table"),
        (
            {"version": 1, "command": "", "flops": [], "worlds": [], "results": []},
            "no results to fit",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, plain: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(written(tmp_path / "t.json", plain))
    assert "\n" not in str(caught.value)


def test_results_without_worlds_are_refused() -> None:
    plain = plain_table()
    results = plain["results"]
    assert isinstance(results, list)
    results[0]["world"] = 999
    with pytest.raises(UserError, match="1 results without a world"):
        parse(plain, "t")


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as an experiment table"):
        read(tmp_path / "bad.json")


def test_too_few_configurations_are_an_error() -> None:
    few = replace(table(), worlds=[replace(w, block=0) for w in table().worlds])
    with pytest.raises(UserError, match="at least 4 configurations"):
        Predictor.fit(few)


def test_unknown_families_are_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'gan'"):
        fitted().check(["gann"])
    assert COMMON in fitted().models


def test_intervals_are_those_of_kinds_that_were_left_out() -> None:
    # One kind has an error that its profile does not tell.
    plain = table()
    odd = {i for i in range(40) if i % 5 == 0}
    worlds = [
        replace(w, form=f"process:kind={'odd' if i in odd else 'even'},n={i}", block=w.block % 6)
        for i, w in enumerate(plain.worlds)
    ]
    results = [replace(r, error=(r.error or 0.0) + (r.world in odd)) for r in plain.results]
    strange = replace(plain, worlds=worlds, results=results)
    cells = strange.only(real=False).cells
    best = ["ridge"] * 4
    foreign = foreign_residuals(cells, [kind_of(w.form) for w in worlds[:40]], best)
    is_odd = np.array([w in odd for w in cells.world])
    assert np.isnan(foreign[~is_odd]).all()
    assert foreign[is_odd].mean() == pytest.approx(1, abs=0.2)
    found = out_of_fold(cells)
    near = models.quantile(np.abs(found.residuals[:, 0]).ravel().tolist(), 0.9)
    far = models.quantile(np.abs(foreign[is_odd, 0]).ravel().tolist(), 0.9)
    predictor = Predictor.fit(strange, found)
    p = predictor.predict(plain.worlds[1].profile, "gan", 3e9)
    assert p.high - p.value >= near
    assert p.high - p.value == pytest.approx(max(near, far), rel=0.5)


# ----------------------------------------------------------------------------
# What is shipped.
# ----------------------------------------------------------------------------


def test_the_shipped_predictor_is_small_and_knows_the_worlds_of_the_shipped_table() -> None:
    own, plain = shipped(), shipped_table()
    known = [w.form for w in plain.worlds if not w.real]
    assert [w.form for w in own.worlds] == known
    assert set(own.families) == set(plain.families)
    assert not any(w.form in known for w in plain.worlds if w.real)
    folder = files("gantlet.forecast")
    assert len(folder.joinpath("experiment.json").read_bytes()) < 2_000_000
    assert len(folder.joinpath("predictor.json").read_bytes()) < 2_000_000


def test_the_shipped_predictor_applies_to_its_own_worlds_and_not_to_noise_in_many_dimensions() -> (
    None
):
    own, worlds = shipped(), [w for w in shipped_table().worlds if not w.real]
    inside = [own.applicability(w.profile, max(own.flops)).is_inside for w in worlds]
    assert np.mean(inside) > 0.9
    x = torch.randn(300, 500, generator=torch.Generator().manual_seed(0))
    assert not own.applicability(profile(x, rng=Rng(0)), max(own.flops)).is_inside
