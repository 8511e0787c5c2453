"""The study behind gantlet flaws: what is shown of a flaw, and whose it is."""

import numpy as np
import pytest
import torch

import gantlet
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.critics.halves import Seen
from gantlet.critics.listing import Search, list_flaws
from gantlet.critics.vocabulary import probes_of
from gantlet.studies.evaluation.sets import Asked
from gantlet.studies.flaws import FindFlaws
from gantlet.studies.flaws.shown import ranking, spectrum
from gantlet.studies.flaws.tables import Listed, shared_table, sharers
from gantlet.studies.flaws.verdicts import verdicts


def size(value, half=0.1):
    return Estimate(value=value, low=value - half, high=value + half)


def listed(name, **others):
    scores = {"1: size": size(1.0), **{f"1: size in {k}": v for k, v in others.items()}}
    flaw = {"title": "too bright", "kind": "location", "shift": 1.0}
    return Listed(name=name, flaws=[flaw], stopped="", scores=scores, note="")


def test_a_flaw_is_shared_where_it_is_surely_above_half_its_size():
    found = listed("a", b=size(0.8), c=size(0.55), d=size(-0.9), e=Estimate.missing("none"))
    assert sharers(found, 1, ["b", "c", "d", "e", "f"]) == ["b"]
    (table,) = shared_table([found, Listed(name="b", flaws=[], stopped="", scores={}, note="")])
    assert table.rows[0][-1] == "shared with b"


def test_the_samples_that_are_most_fake_come_first():
    rng = Rng(0).stream("x")
    real, fake = torch.randn(600, 3, generator=rng), torch.randn(600, 3, generator=rng)
    fake[:, 1] += 2
    sets = (Seen(probes=probes_of(Space("vector", (3,)), x), features=x) for x in (real, fake))
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
        FindFlaws(asked=Asked(fakes=tuple(files), real=files[0], train=None)).trials()


@pytest.mark.parametrize(("low", "warns"), [(0.95, True), (0.48, False)])
def test_an_empty_list_warns_where_a_critic_tells_the_sets_apart(low, warns):
    told = Estimate(value=low + 0.02, low=low, high=low + 0.04, n=400, method="m")
    found = Listed(
        name="A",
        flaws=[],
        stopped="the next direction is not significant",
        scores={"told by a linear critic": told},
        note="",
    )
    (only,) = verdicts(found, {"smallest": 0.2})
    assert "nothing significant of at least 0.2" in only.claim
    assert ("something differs" in only.because) == warns
