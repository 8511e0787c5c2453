"""Damaged data with a known truth: each kind does what it says, and its size is what it is."""

import math

import pytest
import torch
from scipy.stats import norm

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.domains.corruptions import patterned
from gantlet.domains.domains import attributes_of
from gantlet.flaws.split import Representation
from gantlet.stats.permutation import detectable_shift
from gantlet.testing.planted import (
    CLASS_KINDS,
    IMAGE_KINDS,
    KINDS,
    OPPOSED,
    Effect,
    Labelled,
    Planted,
    halves_swapped,
    places_with_share,
    plant,
    random_plan,
    side_effects,
    true_effect,
    true_effects,
)

COLOUR = Space("image", (3, 16, 16), 256)
GREY = Space("image", (1, 8, 8), 17)


def some(space=COLOUR, n=300):
    rng = Rng(3)
    x = torch.randn(n, *space.shape, generator=rng.stream("x")).cumsum(3).cumsum(2)
    x = (x - x.amin((1, 2, 3), keepdim=True)) / (
        x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)
    )
    x = 0.2 + 0.5 * x
    return Labelled(x=(x * (space.levels - 1)).round(), y=torch.arange(n) % 5)


def see(x):
    probes = attributes_of(
        COLOUR, x, torch.nn.functional.one_hot((x.sum((1, 2, 3)) % 5).long(), 5)
    )
    return Representation(probes=probes, features=x.flatten(1).double())


def test_there_are_at_least_ten_kinds():
    assert len(KINDS) >= 10
    assert set(KINDS) == {*CLASS_KINDS, *IMAGE_KINDS}


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_every_kind_changes_images_repeatably_and_stays_in_range(kind):
    given = some()
    plan = [Planted(kind=kind, strength=0.5)]
    made = plant(plan, given, COLOUR, 200, rng=Rng(0).stream("a"))
    assert made.shape == (200, 3, 16, 16)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 255
    assert torch.equal(made, plant(plan, given, COLOUR, 200, rng=Rng(0).stream("a")))
    plain = plant([], given, COLOUR, 200, rng=Rng(0).stream("a"))
    assert not torch.equal(made.sort(0).values, plain.sort(0).values)


def test_a_checkerboard_has_the_amplitude_it_says_and_cuts_nothing_off():
    x = torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    made = patterned(x, "checkerboard", 1.0, 255.0, 0.2)
    assert made.min() == 0
    assert made.max() == 255
    signs = torch.tensor([1.0, -1.0]).repeat(4)
    found = (made * signs[:, None] * signs).mean((1, 2, 3))
    assert torch.allclose(found, torch.tensor([25.5, 25.5]), atol=1e-4)


def test_swapped_halves_keep_all_left_halves_and_every_right_half_is_there_once():
    x = some(n=40).x
    made = halves_swapped(x, 1.0, Rng(0).stream("s"))
    assert torch.equal(made[..., :8], x[..., :8])
    right = made[..., 8:].flatten(1).sum(1).sort().values
    assert torch.allclose(right, x[..., 8:].flatten(1).sum(1).sort().values)


@pytest.mark.parametrize(
    ("kind", "share"), [("dropped class", 0.0), ("over-represented class", 0.6)]
)
def test_a_class_has_the_share_it_should(kind, share):
    y = torch.arange(1000) % 5
    flaw = Planted(kind=kind, strength=1.0, one=2)
    places = places_with_share(flaw, y, 200, rng=Rng(0).stream("p"))
    assert len(places) == 200 == len(places.unique())
    assert float((y[places] == 2).double().mean()) == share


def test_plans_hold_one_to_five_kinds_that_can_be_told_together():
    plans = [random_plan(COLOUR, classes=5, rng=Rng(i).stream("p")) for i in range(200)]
    assert {len(p) for p in plans} == {1, 2, 3, 4, 5}
    kinds = [{f.kind for f in plan} for plan in plans]
    assert not any(pair <= found for found in kinds for pair in OPPOSED)
    assert set().union(*kinds) == set(KINDS)
    grey = [random_plan(GREY, classes=0, rng=Rng(i).stream("p")) for i in range(99)]
    assert not {f.kind for p in grey for f in p} & {"hue", "jpeg", *CLASS_KINDS}
    assert all(list(p) == sorted(p, key=lambda f: KINDS.index(f.kind)) for p in plans)


def test_the_true_effect_of_a_mean_shift_is_its_shift():
    given = some()
    flaw = Planted(kind="mean shift", strength=0.0)
    found = true_effects(flaw, given, COLOUR, see, n=100, of=200)
    brightness = attributes_of(COLOUR, given.x).values[:, 0]
    # round(0.05 * 255) = 13 levels for whole ones
    expected = 13 / 255 / float(brightness.std())
    assert true_effect(flaw, found).shift == pytest.approx(expected, rel=0.02)
    assert true_effect(flaw, found).size == pytest.approx(expected, rel=0.02)
    assert "brightness" in side_effects([found], 0.2)
    assert side_effects([{"a": Effect(1.0, 0.1), "b": Effect(0.5, 0.5)}], 0.2) == {"b"}


def test_copies_lie_nearer_the_more_there_are():
    few, many = (
        true_effect(f, true_effects(f, some(), COLOUR, see, n=120, of=200))
        for f in (Planted(kind="copies", strength=s) for s in (0.0, 1.0))
    )
    assert many.shift > few.shift > 0.5


def test_what_is_detectable_is_detected_nine_times_in_ten():
    h, level, suspects = 100, 0.05, 8
    size = detectable_shift(h, level=level, smallest=0.0)
    beyond = norm.isf(0.4 * level / suspects / 2)
    assert norm.sf(beyond - size / math.sqrt(2 / h)) == pytest.approx(0.9, abs=1e-6)
    assert detectable_shift(10**6, level=level, smallest=0.2) == pytest.approx(0.2, abs=0.01)
