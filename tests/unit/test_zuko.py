"""The flows of zuko as families: their own densities, our randomness."""

import sys
from typing import get_args

import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, solvers
from gantlet.models.nets import seeded
from gantlet.models.zuko import FlowName, Zuko
from gantlet.run.train import Plan, train
from gantlet.testing import check_family

flows = pytest.importorskip("zuko").flows

FLOWS = get_args(FlowName)
LINE, PLANE, FOUR = (Space("vector", (n,)) for n in (1, 2, 4))
KINDS = {"CNF": "estimate", "UNAF": "estimate", "SOSPF": "lower", "NAF": "lower", "GF": "lower"}
SIZES = {"CNF": {"hidden_features": (64, 64)}, "GF": {"transforms": 3}}


def fitted(flow, space, n=200):
    """A model in double precision whose scaling is set, and the samples that set it."""
    game = Zuko(flow=flow).build(space, rng=Rng(0))
    x = 3 + 2 * torch.randn(n, *space.shape, generator=Rng(0).stream("x"))
    game.prepare(x, rng=Rng(0).stream("prepare"))
    return game.model.double(), x.double()


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_keeps_the_contract(flow):
    check_family(Zuko(flow=flow), PLANE)


@pytest.mark.parametrize("flow", FLOWS)
@torch.no_grad()
def test_log_prob_is_that_of_zuko(flow):
    model, x = fitted(flow, FOUR)
    with seeded(Rng(1).stream("others")):
        options = SIZES.get(flow, {"transforms": 3, "hidden_features": (64, 64)})
        theirs = getattr(flows, flow)(4, **options).double()
    theirs.transform.load_state_dict(model.bijection.parts[-1].transform.state_dict())

    def standardised(v):
        v = model.scaling(v)
        for part in model.bijection.parts[:-1]:
            v, _ = part(v)
        return v

    # Standardisation is affine: its slopes are differences.
    slope = standardised(torch.ones(1, 4).double()) - standardised(torch.zeros(1, 4).double())
    assert standardised(x).mean(0).abs().max() < 1e-5
    expected = theirs().log_prob(standardised(x)) + slope.abs().log().sum()
    found = model.log_prob(x, rng=Rng(0).stream("unused"))
    assert torch.allclose(found.value, expected, atol=1e-6, rtol=0)
    assert found.kind == KINDS.get(flow, "exact")


@pytest.mark.parametrize("flow", [f for f in FLOWS if f not in {"NICE", "RealNVP"}])
@torch.no_grad()
def test_densities_integrate_to_one(flow):
    model, _ = fitted(flow, LINE)
    t = torch.linspace(-6, 6, 2001).double()
    x = 3 + 2 * torch.sinh(t)
    density = model.log_prob(x.view(-1, 1), rng=Rng(0).stream("unused")).value.exp()
    total = torch.trapezoid(density * 2 * torch.cosh(t), t).item()
    if KINDS.get(flow) == "lower":
        assert 0.1 < total < 1, "a lower bound, far from it before training"
    else:
        assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("flow", ["NICE", "MAF", "NSF", "UNAF", "CNF", "BPF"])
def test_samples_are_our_noise_sent_backwards(flow):
    model, _ = fitted(flow, FOUR)
    x = model.sample(20, rng=Rng(3).stream("sample"))
    noise = torch.randn(20, 4, generator=Rng(3).stream("sample"), dtype=torch.float64)
    with torch.no_grad():
        z, _ = model.encode(x)
    assert torch.allclose(z, noise, atol=2e-3)


def test_depths_are_those_of_the_flow():
    depth = {flow: fitted(flow, FOUR)[0].sample_depth for flow in ("RealNVP", "MAF", "CNF")}
    assert depth["RealNVP"] == 1
    assert depth["MAF"] == 4, "one pass for each component"
    assert depth["CNF"] > 6, "at least one step of a solver with six stages"
    assert fitted("MAF", FOUR)[0].density_depth == 1


def test_a_spline_flow_learns_moons():
    data = datasets.make("moons")
    splits = data.load(rng=Rng(0))
    family = Zuko(transforms=2, width=32)
    game = family.build(data.space, rng=Rng(0))
    plan = Plan(budget=Budget(steps=150))
    trained = train(game, solvers.make("adam:lr=0.005"), splits, plan, rng=Rng(0))
    # A Gaussian with the covariance of the moons needs 2.2 nats.
    assert min(p["validation"] for p in trained.curve) < 1.6


def test_what_a_flow_lacks_is_refused():
    for family, space, words in [
        (Zuko(flow="CNF", transforms=2), PLANE, "zuko:flow=CNF has no option transforms. Got 2"),
        (Zuko(flow="GF", width=8), PLANE, "zuko:flow=GF has no option width. Got 8; leave it"),
        (Zuko(flow="NICE"), LINE, "zuko:flow=NICE needs 2 components or more"),
        (Zuko(), Space("graph", (3, 3)), "Got graph 3x3; use a family for sequences"),
    ]:
        with pytest.raises(UserError, match=words):
            family.build(space, rng=Rng(0))


def test_without_the_package_there_is_a_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UserError, match=r"zuko needs zuko: pip install 'gantlet\[zuko\]'\.$"):
        Zuko().build(PLANE, rng=Rng(0))
