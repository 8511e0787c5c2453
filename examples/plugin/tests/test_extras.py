"""Every component keeps its contract, and is right by an independent computation."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from gantlet_extras.dataset import Spiral
from gantlet_extras.extractor import Fourier
from gantlet_extras.family import Kde
from gantlet_extras.kind import SpikeDomain, Spikes
from gantlet_extras.metric import VarianceRatio
from gantlet_extras.solver import Normalized
from sklearn.neighbors import KernelDensity
from torch.nn.utils import parameters_to_vector

import gantlet
from gantlet.testing import (
    check_dataset,
    check_domain,
    check_extractor,
    check_fitted,
    check_metric,
    check_solver,
)

PLANE = gantlet.Space("vector", (2,))


def test_contracts() -> None:
    check_dataset(Spiral())
    check_domain(SpikeDomain(), gantlet.Space("spikes", (50,)))
    check_extractor(Fourier(), PLANE)
    check_fitted(Kde(), PLANE)
    check_metric(VarianceRatio(), place_matters=False)
    check_solver(Normalized())


def test_the_density_is_that_of_scikit_learn() -> None:
    rng = gantlet.Rng(0)
    x = torch.randn(300, 2, generator=rng.stream("train"))
    new = torch.randn(50, 2, generator=rng.stream("new"))
    model = Kde().fit(PLANE, x, rng=rng).model
    theirs = KernelDensity(bandwidth=float(model.width)).fit(x.double().numpy())
    ours = model.log_prob(new, rng=rng.stream("p")).value
    assert ours.tolist() == pytest.approx(theirs.score_samples(new.double().numpy()), abs=1e-3)


def test_the_interval_covers_the_true_ratio() -> None:
    held = 0
    for seed in range(200):
        rng = gantlet.Rng(seed)
        real = torch.randn(300, 4, generator=rng.stream("real"))
        fake = 0.5 * torch.randn(200, 4, generator=rng.stream("fake"))
        found = VarianceRatio().measure(real, fake, rng=rng.stream("metric"))
        held += found.low <= 0.25 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_fourier_features_give_the_gaussian_kernel() -> None:
    x = torch.randn(20, 2, generator=gantlet.Rng(0).stream("x"))
    data = Spiral().load(rng=gantlet.Rng(0))
    seen = Fourier(features=20_000).fit(PLANE, data, rng=gantlet.Rng(0)).extract(x)
    kernel = torch.exp(-torch.cdist(x, x).square() / 2)
    assert (seen @ seen.T - kernel).abs().max() < 0.05


class Bowl(gantlet.Game):
    """One player with a quadratic loss."""

    def __init__(self) -> None:
        self._players = {"model": torch.nn.Linear(3, 1)}
        for weight in self._players["model"].parameters():
            torch.nn.init.constant_(weight, 0.5)

    @property
    def players(self) -> Mapping[str, torch.nn.Module]:
        return self._players

    def loss(self, player: str, batch: torch.Tensor, *, rng: torch.Generator) -> torch.Tensor:
        del rng  # nothing is random
        return self.players[player](batch).square().mean()


def test_every_step_has_the_same_length() -> None:
    game, x = Bowl(), torch.randn(8, 3, generator=gantlet.Rng(0).stream("x"))
    play = Normalized(lr=0.01).start(game)
    for _ in range(3):
        before = parameters_to_vector(game.players["model"].parameters()).detach()
        losses = play.step(x, rng=gantlet.Rng(0).stream("step"))
        after = parameters_to_vector(game.players["model"].parameters()).detach()
        assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-4)
    last = game.loss("model", x, rng=gantlet.Rng(0).stream("step")).item()
    assert last < losses["model"]


def test_images_are_refused_in_one_line() -> None:
    space = gantlet.Space("image", (1, 8, 8), 17)
    with pytest.raises(gantlet.UserError, match="continuous vectors"):
        Kde().fit(space, torch.zeros(4, 1, 8, 8), rng=gantlet.Rng(0))


def trains(n: int, rate: float, seed: int) -> torch.Tensor:
    draw = torch.full((n, 50), rate / 50)
    return torch.poisson(draw, generator=gantlet.Rng(seed).stream("spikes"))


def test_trains_are_written_and_read_again(tmp_path: Path) -> None:
    x, space = trains(20, 30.0, 0), gantlet.Space("spikes", (50,))
    SpikeDomain().writers(space, None)[".spikes"](tmp_path / "a.spikes", x)
    found = SpikeDomain().reader(tmp_path / "a.spikes")
    assert found is not None
    assert found.space == space
    assert torch.equal(found.whole().take(torch.arange(20)), x)
    (tmp_path / "b.spikes").write_text("0.1 0.2\n0.5 1.5\n")
    with pytest.raises(gantlet.UserError, match=r"b\.spikes, line 2: times from 0 to below 1 s"):
        Spikes(path=str(tmp_path / "b.spikes")).whole()


def test_poisson_trains_have_a_fano_factor_of_one() -> None:
    x, space = trains(2000, 200.0, 0), gantlet.Space("spikes", (50,))
    found = SpikeDomain().attributes(space, x, None)
    number, fano, centre = found.values.T
    assert float(number.exp().mean()) == pytest.approx(201, rel=0.01)
    assert float(fano.exp().mean()) == pytest.approx(1.1, abs=0.03)
    assert float(centre.mean()) == pytest.approx(0.5, abs=0.01)
    picture = SpikeDomain().picture(space, x)
    assert picture.startswith(b"\x89PNG")


def test_too_many_spikes_are_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write = SpikeDomain().writers(gantlet.Space("spikes", (50,)), None)[".spikes"]
    write(Path("real.spikes"), trains(400, 20.0, 1))
    write(Path("fake.spikes"), trains(400, 30.0, 2))
    report = gantlet.flaws(
        "fake.spikes", against="real.spikes", search=gantlet.Search(permutations=199)
    )
    assert "too many spikes" in report.verdicts[0].claim
