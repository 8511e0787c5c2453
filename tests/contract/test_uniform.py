"""A uniform model of L levels has exactly log2(L) bits for each component, in every family.

Nothing else of a family counts here but how it goes from samples to what its network sees and
back: dequantisation, scaling, and the volume that both take up.
"""

import math

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Density
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.models.bijections import Logit
from gantlet.models.flow import Base
from gantlet.models.nets import Scaling, seeded
from gantlet.models.vae import CategoricalLikelihood, VaeModel, decoder, encoder
from gantlet.probes.likelihood import HeldOutLikelihood

GREY = Space("image", (1, 8, 8), 17)
COLOUR = Space("image", (3, 8, 8), 256)


class Even(Base):
    """The same density everywhere, that of the cube [-1, 1]^d: a rotation leaves it alone."""

    def forward(self, z):
        return z.new_full((len(z),), -z.shape[1] * math.log(2))

    def sample(self, like, *, rng):
        return 2 * torch.rand(like.shape, generator=rng) - 1


class Opened(Base):
    """What a logit makes of ``Even``: flows send samples through one first."""

    def forward(self, z):
        logit = Logit()
        _, log_det = logit(logit.inverse(z))
        return Even()(z) - log_det

    def sample(self, like, *, rng):
        return Logit()(Even().sample(like, rng=rng))[0]


class Still(nn.Module):
    """A velocity of zero."""

    def forward(self, y, t):
        return torch.zeros_like(y)


def zeroed(model):
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def built(name, space):
    return families.make(name).build(space, rng=Rng(0)).model


def ar(space):
    model = built("ar:net=transformer", space)
    zeroed(model.out)
    return model


def made(space):
    model = built("ar:net=made", space)
    zeroed(model.net.out)
    return model


def vae(space):
    return zeroed(built("vae:width=16", space))


def vae_of_many_levels(space):
    # The family's mixture of logistics is never uniform; any other observation can take its place.
    observed = CategoricalLikelihood(space.levels)
    size = {"width": 16, "depth": 1}
    with seeded(Rng(0).stream("init")):
        inward = encoder(space, outputs=8, **size)
        outward = decoder(space, latent=4, per=observed.per, **size)
    return zeroed(VaeModel(Scaling(space), observed, inward, outward, latent=4, iwae=8))


def flow(space, name="flow"):
    # Without weights nothing is stretched: what is left moves, turns and permutes.
    model = zeroed(built(name, space)).double()
    model.base = Opened()
    return model


def flow_gan(space):
    return flow(space, "flow-gan")


def diffusion(space):
    model = built("diffusion:steps=3", space)
    model.velocity, model.base = Still(), Even()
    return model


def histogram(space):
    every = torch.arange(float(space.levels)).view(-1, *[1] * len(space.shape))
    x = every.expand(space.levels, *space.shape)
    return families.make("histogram").fit(space, x, rng=Rng(0)).model


def gmm(space):
    x = torch.randint(space.levels, (300, *space.shape), generator=Rng(0).stream("x")).float()
    model = families.make("gmm:components=1,covariance=diag").fit(space, x, rng=Rng(0)).model
    model.score = Even().forward
    return model


UNIFORM = {
    "ar": [(ar, GREY), (ar, COLOUR), (made, GREY), (made, COLOUR)],
    "vae": [(vae, GREY), (vae_of_many_levels, COLOUR)],
    "flow": [(flow, GREY), (flow, COLOUR)],
    "flow-gan": [(flow_gan, GREY), (flow_gan, COLOUR)],
    "diffusion": [(diffusion, GREY), (diffusion, COLOUR)],
    "histogram": [(histogram, GREY), (histogram, COLOUR)],
    "gmm": [(gmm, GREY), (gmm, COLOUR)],
}
CASES = [
    pytest.param(make, space, id=f"{name}-{space.label}-{i}")
    for name, cases in UNIFORM.items()
    for i, (make, space) in enumerate(cases)
]


def test_no_family_with_a_density_is_left_out():
    found = set()
    x = torch.randint(17, (60, *GREY.shape), generator=Rng(0).stream("x")).float()
    for name in families.names():
        if name == "module":
            continue  # a game of the user's own has no density
        family = families.make(name)
        fitted = hasattr(family, "fit")
        try:
            model = family.fit(GREY, x, rng=Rng(0)).model if fitted else built(name, GREY)
        except UserError:
            continue  # of one kind of sample, whose probabilities its own tests sum up
        if isinstance(model, Density):
            found.add(name)
    # The densities of zuko's flows are compared with zuko's own.
    assert found == {*UNIFORM, "zuko"}


@pytest.mark.parametrize(("make", "space"), CASES)
@torch.no_grad()
def test_a_uniform_model_has_log2_levels_bits(make, space):
    x = torch.randint(space.levels, (20, *space.shape), generator=Rng(1).stream("x")).float()
    model = make(space)
    weights = next(iter(model.parameters()), x)
    found = (
        HeldOutLikelihood().inspect(model, x.to(weights.dtype), rng=Rng(0)).scores["likelihood"]
    )
    assert found.value == pytest.approx(math.log2(space.levels), rel=2e-6)
    assert found.half_width < 2e-6 * found.value
