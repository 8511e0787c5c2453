"""Measurements of images that follow from almost any flaw, and when they are named."""

import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.domains.attributes import AttributeTable, attribute
from gantlet.domains.images import coarse_structure, colour_count, edge_density
from gantlet.flaws.explain import Explanation
from gantlet.flaws.named import test_attributes as attribute_flaws
from gantlet.flaws.search import list_flaws
from gantlet.flaws.split import DiscoveryValidation, Representation
from gantlet.options import Search

RNG = Rng(0)
WORDS = (attribute("main", "less", "more"), attribute("follower", "fewer", "most", follows=True))


def test_edges_are_steps_above_the_deviation_of_an_image():
    stripes = torch.zeros(1, 8, 8)
    stripes[:, :, ::4] = 1.0  # one column in four: a step to it and a step from it
    edges = edge_density(stripes)
    # Of the 7 x 7 pixels with both neighbours, columns 0, 3 and 4 differ from the next.
    assert float(edges) == pytest.approx(3 / 7)
    assert float(edge_density(0.1 * stripes + 0.3)) == pytest.approx(3 / 7)
    assert float(edge_density(torch.full((1, 8, 8), 0.4))) == 0
    slope = torch.linspace(0, 1, 8).expand(1, 8, 8)
    assert float(edge_density(slope)) == 0


def test_colours_are_counted_32_tones_a_channel():
    tones = torch.arange(32) / 32 + 0.01
    grey = tones.repeat(4).reshape(1, 1, 8, 16)
    assert float(colour_count(grey).exp()) == pytest.approx(32)
    assert float(colour_count(grey / 32).exp()) == pytest.approx(1)
    x = torch.rand(2, 3, 16, 16, generator=RNG.stream("c"))
    own = [len({tuple(p) for p in (i * 32).floor().flatten(1).T.tolist()}) for i in x]
    assert colour_count(x).exp().tolist() == pytest.approx(own)


@pytest.mark.parametrize(("cycles", "sign"), [(2, 1), (6, -1)])
def test_coarse_structure_is_of_waves_longer_than_ten_pixels(cycles, sign):
    wave = torch.sin(2 * math.pi * cycles * torch.arange(32) / 32).expand(1, 32, 32).double()
    noise = 0.01 * torch.randn(1, 32, 32, generator=RNG.stream("w")).double()
    assert sign * float(coarse_structure(wave + noise)) > 3
    stronger = float(coarse_structure(3 * (wave + noise) + 1))
    assert stronger == pytest.approx(float(coarse_structure(wave + noise)), abs=0.02)


def seen(name, main, follower):
    """Two measurements, the second of which goes along with the first; features show both."""
    x = torch.randn(800, 6, generator=RNG.stream(name)).double()
    x[:, 1] += main
    x[:, 0] = 0.6 * x[:, 1] + 0.8 * x[:, 0] + follower
    return Representation(probes=AttributeTable(words=WORDS, values=x[:, [1, 0]]), features=x)


def test_what_follows_is_a_flaw_only_beyond_what_others_let_expect():
    def probed(main, follower):
        halves = DiscoveryValidation.of(
            seen("real", 0.0, 0.0), seen("fake", main, follower), rng=Rng(0)
        )
        nothing = Explanation.nothing(halves.judge.real.shape[1])
        limits = {"level": 0.05, "smallest": 0.2, "permutations": 199}
        found = attribute_flaws(halves, nothing, whole=None, **limits, rng=Rng(0))
        return [f.naming.probe for f in found]

    assert probed(main=0.0, follower=1.0) == ["follower"]
    assert probed(main=1.0, follower=0.0) == ["main"]
    assert probed(main=1.0, follower=1.0) == ["main", "follower"]
    assert probed(main=0.0, follower=0.0) == []


def test_what_follows_names_a_direction_only_where_no_other_word_does():
    def named(main, follower):
        sets = seen("real", 0.0, 0.0), seen("fake", main, follower)
        search = Search(mode="linear", permutations=199)
        return [f.naming.probe for f in list_flaws(*sets, search, rng=Rng(0)).flaws]

    assert named(main=0.0, follower=1.0) == ["follower"]
    assert named(main=1.0, follower=0.3) == ["main"]
