"""The same weights in another library give the same log-probabilities."""

import math
import warnings

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.models.bijections import BINS, BOUND, SMALLEST, Couplings
from gantlet.models.flow import Flow
from gantlet.models.nets import seeded

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def theirs_may_draw():
    """Initial weights of other libraries come from torch's global state."""
    with seeded(Rng(0).stream("theirs")):
        yield


SPACE = Space("vector", (6,))
COUPLINGS = 4


def peer(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def ours(coupling):
    """A flow in double precision whose parameters have moved, and its networks."""
    family = Flow(coupling=coupling, layers=COUPLINGS, width=16)
    model = family.build(SPACE, rng=Rng(0)).model.double()
    couplings = [m for m in model.modules() if isinstance(m, Couplings)]
    nets = [net for c in couplings for net in c.nets]
    rng = Rng(0).stream("stir")
    with torch.no_grad():
        for net in nets:
            for parameter in net.parameters():
                noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
                parameter.add_(0.2 * noise)
    x = torch.randn(200, 6, generator=rng, dtype=torch.float64)
    return model, nets, x


def masks():
    """Which components each coupling keeps, of a checkerboard and then of halves."""
    even = torch.arange(6) % 2 == 0
    first = torch.arange(6) < 3
    return [even, ~even, first, ~first]


def interleaved(net, copies):
    """The same network with the parameters of each component next to each other."""
    linear = [m for m in net if isinstance(m, nn.Linear)]
    state = [(m.weight.detach().clone(), m.bias.detach().clone()) for m in linear]
    weight, bias = state[-1]
    order = torch.arange(len(bias)).view(copies, -1).T.flatten()
    state[-1] = weight[order], bias[order]
    return state


@torch.no_grad()
def load(net, state):
    linear = [m for m in net.modules() if hasattr(m, "weight")]
    for layer, (weight, bias) in zip(linear, state, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def log_prob(model, x):
    return model.log_prob(x, rng=Rng(0).stream("unused")).value


@torch.no_grad()
def test_affine_couplings_agree_with_zuko():
    zuko = peer("zuko")
    model, nets, x = ours("affine")

    def affine(l, t):
        return torch.distributions.AffineTransform(t, (2 * torch.tanh(l / 2)).exp())

    layers = []
    for net, kept in zip(nets, masks(), strict=True):
        made = zuko.flows.coupling.GeneralCouplingTransform(
            6, mask=kept, univariate=affine, shapes=[(), ()], hidden_features=(16, 16)
        ).double()
        load(made.hyper, interleaved(net, 2))
        layers.append(made)
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(6).double(), torch.ones(6).double(), buffer=True
    )
    theirs = zuko.flows.Flow(layers, base)
    torch.testing.assert_close(log_prob(model, x), theirs().log_prob(x), atol=1e-10, rtol=0)


class Parameters(nn.Module):
    """Shift and log-scale as normflows wants them: of the way from codes to samples."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        l, t = self.net(x).chunk(2, 1)
        s = 2 * torch.tanh(l / 2)
        return torch.stack([-t * (-s).exp(), -s], 2).flatten(1)


class Reorder(nn.Module):
    """A permutation as a normflows layer, from codes to samples."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def inverse(self, x):
        return x[:, self.order], x.new_zeros(len(x))


@torch.no_grad()
def test_affine_couplings_agree_with_normflows():
    nf = peer("normflows")
    model, nets, x = ours("affine")
    layers = []
    for net, kept in zip(nets, masks(), strict=True):
        order = torch.cat([kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]])
        block = nf.flows.AffineCouplingBlock(Parameters(net))
        layers += [Reorder(order), block, Reorder(order.argsort())]
    base = nf.distributions.DiagGaussian(6, trainable=False).double()
    theirs = nf.NormalizingFlow(base, list(reversed(layers)))
    torch.testing.assert_close(log_prob(model, x), theirs.log_prob(x), atol=1e-10, rtol=0)


class WithContext(nn.Module):
    """A network that nflows may pass a context, which there is none of."""

    hidden_features = 1  # nflows divides by its root

    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, outputs)
        ).double()

    def forward(self, x, context=None):
        return self.net(x)


@torch.no_grad()
def test_spline_couplings_agree_with_nflows():
    peer("nflows")
    from nflows.transforms import (
        CompositeTransform,
        PiecewiseRationalQuadraticCouplingTransform,
    )

    model, nets, x = ours("spline")
    layers = []
    for net, kept in zip(nets, masks(), strict=True):
        made = PiecewiseRationalQuadraticCouplingTransform(
            mask=(~kept).int(),
            transform_net_create_fn=WithContext,
            num_bins=BINS,
            tails="linear",
            tail_bound=BOUND,
            min_bin_width=SMALLEST,
            min_bin_height=SMALLEST,
            min_derivative=SMALLEST,
        )
        state = interleaved(net, 3 * BINS - 1)
        # Ours are shifted so that 0 is a slope of 1.
        slopes = state[-1][1].view(-1, 3 * BINS - 1)[:, 2 * BINS :]
        slopes += math.log(math.expm1(1 - SMALLEST))
        load(made.transform_net, state)
        layers.append(made)
    theirs = CompositeTransform(layers)
    z, log_det = theirs(2 * x)
    found, change = model.encode(2 * x)
    torch.testing.assert_close(found, z, atol=1e-10, rtol=0)
    torch.testing.assert_close(change, log_det, atol=1e-10, rtol=0)
    torch.testing.assert_close(model.decode(z), theirs.inverse(z)[0], atol=1e-9, rtol=0)
