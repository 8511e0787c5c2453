"""The study behind gantlet flaws: what is shown of a flaw, and whose it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import gantlet
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.flaws.study import (
    FindFlaws,
    Listed,
    keys,
    list_table,
    shared_table,
    sharers,
    verdicts,
)
from gantlet.commands.flaws.study import listed as answer_listed
from gantlet.commands.flaws.trial import BEFORE, ListKey, Quantity, learned_from, ranking, spectrum
from gantlet.core.data import Space
from gantlet.core.estimate import Estimate, Note, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.domains.domains import attributes_of
from gantlet.flaws.named import Namer
from gantlet.flaws.search import list_flaws
from gantlet.flaws.split import DiscoveryValidation, Ending, Representation, StopReason
from gantlet.options import Search
from gantlet.stats.permutation import gap

ENDING = Ending(StopReason.NOT_SIGNIFICANT, 1)
SEARCH = {"smallest": 0.2, "mode": "guided"}


def size(value, half=0.1):
    return Estimate(value=value, low=value - half, high=value + half)


def listed(name, **others):
    scores = {ListKey(1, Quantity.SIZE): size(1.0)}
    scores |= {ListKey(1, Quantity.SIZE, k): v for k, v in others.items()}
    flaw = {"title": "too bright", "kind": "location", "shift": 1.0}
    return Listed(name=name, flaws=[flaw], ending=ENDING, scores=scores, note="")


def test_a_flaw_is_shared_where_it_is_surely_above_half_its_size():
    found = listed("a", b=size(0.8), c=size(0.55), d=size(-0.9), e=Estimate.missing("none"))
    assert sharers(found, 1, ["b", "c", "d", "e", "f"]) == ["b"]
    (table,) = shared_table([found, Listed(name="b", flaws=[], ending=ENDING, scores={}, note="")])
    assert table.rows[0][-1] == "b"


def test_the_samples_that_are_most_fake_come_first():
    rng = Rng(0).stream("x")
    real, fake = torch.randn(600, 3, generator=rng), torch.randn(600, 3, generator=rng)
    fake[:, 1] += 2
    sets = (
        Representation(probes=attributes_of(Space("vector", (3,)), x), features=x)
        for x in (real, fake)
    )
    found = list_flaws(*sets, Search(permutations=199), rng=Rng(0))
    (flaw, *_) = found.flaws
    places = found.places.fake[ranking(flaw, flaw.judge.fake)]
    assert float(fake[places[:20], 1].mean()) > 3
    assert float(fake[places[-20:], 1].mean()) < 1


def test_the_spectrum_of_a_wave_lies_at_its_frequency():
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16)
    found = spectrum(wave.expand(2, 1, 16, 16))
    assert int(found.argmax()) == 3
    assert found.sum() == pytest.approx(float(found[3]), abs=1e-4)


def test_flaws_of_tensors_are_listed_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = Rng(3).stream("x")
    real, fake = torch.randn(400, 3, generator=rng), torch.randn(400, 3, generator=rng)
    fake[:, 1] += 1
    search = Search(permutations=199)
    report = gantlet.flaws({"mine": fake}, against=real, search=search, out=tmp_path / "run")
    assert "mine: the largest flaw is: column 1 too high" in report.verdicts[0].claim
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(gantlet.UserError, match="40"):
        gantlet.flaws(fake[:20], real, search=search)


def test_sets_need_names_that_differ(tmp_path):
    x = torch.randn(100, 3, generator=Rng(3).stream("x")).numpy()
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", x)
        files.append(f"npy:path={tmp_path}/{folder}/x.npy")
    with pytest.raises(gantlet.UserError, match=r"Two sets are called 'x.npy'. Give each a name"):
        FindFlaws(asked=EvaluationSpec(fakes=tuple(files), real=files[0], train=None)).trials()


@pytest.mark.parametrize(("low", "warns"), [(0.95, True), (0.48, False)])
def test_an_empty_list_warns_where_a_critic_tells_the_sets_apart(low, warns):
    told = Estimate(value=low + 0.02, low=low, high=low + 0.04, n=400, method="m")
    found = Listed(
        name="A",
        flaws=[],
        ending=ENDING,
        scores={BEFORE: told},
        note="",
    )
    (only,) = verdicts(found, SEARCH)
    assert "nothing significant of at least 0.2" in only.claim
    assert ("differ in something" in only.because) == warns


def test_a_list_of_an_earlier_version_is_refused_in_one_line():
    old = Outcome(
        trial=Trial(parts={"model": "A"}, seed=0),
        scores={},
        notes=(Note("n", "features"),),
        details={"flaws": [], "stopped": "the next direction is not significant"},
    )
    with pytest.raises(gantlet.UserError, match="--out"):
        answer_listed(old)


def of_many(*names, stop=StopReason.NOT_SIGNIFICANT, examined=4):
    scores = {BEFORE: size(0.9)}
    flaws = []
    for k, name in enumerate(names, 1):
        flaw = {"title": name or f"unnamed direction {k}", "kind": "shape", "shift": 1.0}
        flaws.append(flaw | ({"probe": name, "agreement": 1.0} if name else {}))
        scores |= {
            ListKey(k, Quantity.SIZE): size(2.0 / k),
            ListKey(k, Quantity.P): Estimate(value=0.001 * k, method="m"),
            ListKey(k, Quantity.ALONE): size(0.6),
            ListKey(k, Quantity.RESIDUAL): size(0.9 - 0.05 * k),
        }
    ending = Ending(stop, examined)
    return Listed(name="A", flaws=flaws, ending=ending, scores=scores, note="")


def claims(found):
    return [v.claim for v in verdicts(found, SEARCH)]


def test_every_number_of_a_list_has_a_name_of_its_own():
    every = list(keys(11, ["in 1", "1: size", "size in x"]))
    assert len({key.name for key in every}) == len(every) == 1 + 11 * 4 + 11 * 3


def test_flaws_without_a_name_are_listed_together():
    found = of_many("too bright", "", "too dark", "", "")
    rows = list_table(found).rows
    assert [row[:2] for row in rows] == [
        ["–", "no flaw removed"],
        ["1", "too bright"],
        ["3", "too dark"],
        ["2, 4, 5", "3 further directions without a name"],
    ]
    assert rows[-1][-1] == found.number(5, Quantity.RESIDUAL)
    assert claims(found)[1] == (
        "A: further flaws, the largest first: too dark; 3 further directions without a name, "
        "residual accuracy 0.65 ± 0.10."
    )
    alone = of_many("", "")
    assert claims(alone)[0] == "A: the largest flaw is: a direction without a name, shown below."
    assert "first: 1 direction without a name, residual" in claims(alone)[1]
    assert list_table(alone).rows[-1][:2] == ["1, 2", "2 directions without a name"]


@pytest.mark.parametrize(
    ("stop", "examined", "said"),
    [
        (
            StopReason.EXHAUSTED,
            2,
            "all 2 directions were examined: beyond these, no direction is left",
        ),
        (
            StopReason.EXHAUSTED,
            1,
            "the only direction was examined: beyond these, no direction is left",
        ),
        (
            StopReason.LIMIT,
            12,
            "the search ended early: 12 directions were examined, the limit set by",
        ),
        (
            StopReason.NOT_SIGNIFICANT,
            3,
            "beyond these, nothing significant of at least 0.2 standard",
        ),
        (StopReason.TOO_SMALL, 3, "beyond these, nothing significant of at least 0.2 standard"),
    ],
)
def test_how_a_search_ended_is_said(stop, examined, said):
    assert said in claims(of_many("a", "b", stop=stop, examined=examined))[-1]


def vectors(name, *more):
    x = torch.randn(600, 2, generator=Rng(0).stream(name))
    for column, change in more:
        x[:, column] = change(x[:, column])
    return x


@pytest.mark.parametrize("mode", ["linear", "guided", "transport"])
def test_a_flaw_of_the_spread_alone_has_a_name_and_two_directions_are_all(mode, tmp_path):
    fake = vectors("fake", (0, lambda v: v + 2), (1, lambda v: 3 * v))
    search = Search(mode=mode, permutations=199)
    report = gantlet.flaws({"A": fake}, vectors("real"), search=search, out=tmp_path / "o")
    titles = [f["title"] for f in report.extra["lists"]["A"]]
    assert titles == ["column 0 too high", "column 1: spread too large"]
    last = report.verdicts[-1].claim
    assert "early" not in last
    if mode == "linear":
        assert "all 2 directions were examined" in last


def test_a_spread_that_is_too_small_and_a_lost_correlation_have_names(tmp_path):
    search = Search(mode="linear", permutations=199)
    small = vectors("fake", (1, lambda v: v / 3))
    report = gantlet.flaws({"A": small}, vectors("real"), search=search, out=tmp_path / "a")
    assert [f["title"] for f in report.extra["lists"]["A"]] == ["column 1: spread too small"]
    real = vectors("real")
    real[:, 1] = 0.9 * real[:, 0] + 0.19**0.5 * real[:, 1]
    report = gantlet.flaws({"A": vectors("fake")}, real, search=search, out=tmp_path / "b")
    titles = [f["title"] for f in report.extra["lists"]["A"]]
    assert titles[0] == "correlation of column 0 and column 1 lost"


def test_names_hold_their_level_where_nothing_differs():
    """A direction of equal sets may take no name: its measurement differs nowhere."""
    named = 0
    for seed in range(60):
        a, b = torch.randn(2, 200, 6, generator=Rng(seed).stream("x"), dtype=torch.float64)
        sets = [
            Representation(probes=attributes_of(Space("vector", (6,)), z), features=z)
            for z in (a, b)
        ]
        halves = DiscoveryValidation.of(*sets, rng=Rng(seed))
        seek, judge = halves.seek_features.column(0), halves.judge_features.column(0)
        apart = gap(judge.real, judge.fake, rng=Rng(seed).stream("gap"))
        flaw = Namer(halves).flaw(seek, judge, apart, 0.001, number=1)
        named += flaw.naming is not None
    # Of 60 with chance 0.05 at most; more than 8 come once in a thousand times.
    assert named <= 8


def test_an_empty_list_shows_samples_of_both_sets(tmp_path):
    search = Search(permutations=199)
    gantlet.flaws({"A": vectors("fake")}, vectors("real"), search=search, out=tmp_path / "o")
    page = (tmp_path / "o" / "report.html").read_text()
    assert "A beside real samples" in page
    assert page.count("<img") == 2
    wide = [torch.randn(300, 5, generator=Rng(k).stream("x")) for k in (0, 1)]
    gantlet.flaws({"A": wide[0]}, wide[1], search=search, out=tmp_path / "p")
    page = (tmp_path / "p" / "report.html").read_text()
    first = ", ".join(f"{v:.3g}" for v in wide[0][0].tolist())
    assert "A beside real samples" in page
    assert page.count("“") >= 12, first


def test_directions_without_a_name_are_shown_first_at_both_ends(tmp_path):
    turn, _ = torch.linalg.qr(torch.randn(80, 80, generator=Rng(4).stream("turn")))
    real, fake = (torch.randn(600, 80, generator=Rng(k).stream("x")) for k in (2, 3))
    fake[:, 3] += 2.0
    search = Search(permutations=199)
    report = gantlet.flaws({"A": fake @ turn}, real @ turn, search=search, out=tmp_path / "o")
    assert "A: the largest flaw is: a direction without a name" in report.verdicts[0].claim
    page = (tmp_path / "o" / "report.html").read_text()
    assert "without a name</h2>" in page
    assert "A: low end" in page
    assert "real samples: high end" in page


def test_what_is_learned_comes_from_samples_beside_the_judged_ones(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    for name in ("real", "fake", "train"):
        np.save(tmp_path / f"{name}.npy", x if name != "train" else x + 1)
    real, fake, train = (str(tmp_path / f"{n}.npy") for n in ("real", "fake", "train"))

    def of(real, train):
        return learned_from(EvaluationSets(EvaluationSpec(fakes=(fake,), real=real, train=train)))

    assert of(real, None) == f"50 samples of {real}, the discovery half"
    assert of(real, real) == of(real, None)
    assert of(real, str(tmp_path / "fake.npy")) == of(real, None), "the same samples"
    assert of(real, train) == f"80 samples of {train}"
    digits = EvaluationSpec(fakes=("digits@validation",), real="digits", train=None)
    assert learned_from(EvaluationSets(digits)) == "the training split of digits"
    for own in ("digits@train", "digits@all"):
        assert "the discovery half" in learned_from(EvaluationSets(replace(digits, real=own)))
        assert "the discovery half" in learned_from(
            EvaluationSets(replace(digits, real=own, train="digits"))
        )
