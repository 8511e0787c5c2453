"""Drawn images: the factors are in the pixels."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gantlet.cli.main import run
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.drawings import Dots, Pies, Polygons, Sprites
from gantlet.testing import check_dataset


def train(data, seed=0):
    split = data.load(rng=Rng(seed)).train
    return all_samples(split), split


def shoelace(corners):
    x, y = corners[..., 0], corners[..., 1]
    return ((x * y.roll(-1, 1) - x.roll(-1, 1) * y).sum(1) / 2).abs()


@pytest.mark.parametrize(
    "text",
    [
        "polygons:vertices=5,n=30,held_out=10",
        "dots:n=10,held_out=5,size=32",
        "pies:n=10,held_out=5",
        "sprites:n=30,held_out=10,steps=continuous",
    ],
)
def test_drawn_images_keep_the_contract(text):
    check_dataset(datasets.make(text))


@pytest.mark.parametrize("vertices", [3, 6])
def test_the_area_of_a_polygon_is_in_its_pixels(vertices):
    data = Polygons(vertices=vertices, size=64, n=200, held_out=2)
    x, split = train(data)
    corners = data.corners(split.factors)
    inside = ((corners > 1) & (corners < 63)).all(2).all(1)
    assert inside.double().mean() > 0.8
    ink = (1 - x / 255).sum((1, 2, 3)).double()
    # Edges of a filled polygon are part of it: up to one subpixel around.
    around = (corners - corners.roll(-1, 1)).norm(dim=2).sum(1) / 8
    error = (ink - shoelace(corners) - around / 2)[inside]
    assert float(error.abs().max()) < 0.5 * float(around.max()) + 4
    assert torch.equal(data.render(split.factors).float(), x)


def test_a_polygon_is_centred_and_its_angles_are_apart():
    data = Polygons(vertices=4, n=300, held_out=2)
    _, split = train(data)
    assert torch.allclose(data.corners(split.factors).mean(1), torch.tensor(14.0).double())
    angles = split.factors["angles"].rad2deg()
    assert float(angles.diff(dim=1).min()) >= 10
    assert float(angles.min()) >= 10
    assert float(angles.max()) <= 360


def test_published_polygons_are_hardly_turned():
    turns = {}
    for rotation in ("full", "published"):
        _, split = train(Polygons(rotation=rotation, n=500, held_out=2))
        turns[rotation] = split.factors["turn"].rad2deg()
    assert float(turns["published"].max()) <= 2 * math.pi
    assert float(turns["published"].max()) > 6
    assert stats.kstest(turns["full"].numpy() / 360, "uniform").pvalue > 1e-3


def test_a_polygon_is_found_again_and_another_shape_is_far_from_all():
    data = Polygons(n=12, held_out=2)
    x, split = train(data)
    square = torch.full((1, 1, 28, 28), 255.0)
    square[..., 8:20, 8:20] = 0
    distance, factors = data.project(torch.cat([x, square]))
    drawn = data.render(factors).float()
    direct = ((drawn - torch.cat([x, square])) / 255).flatten(1).norm(dim=1)
    assert torch.allclose(direct.double(), distance, atol=1e-4)
    assert float(distance[:-1].median()) < 1
    assert float(distance[-1]) > 4
    off = torch.cdist(data.corners(factors)[:-1], data.corners(split.factors)).amin(2).amax(1)
    assert float(off.median()) < 0.5  # pixels
    assert len(data.project(x[:0])[0]) == 0


def test_all_dots_are_counted():
    x, split = train(Dots(n=300, held_out=2))
    assert float((Dots().count_of(x) == split.labels).double().mean()) >= 0.99
    seen = torch.bincount(split.labels, minlength=13)[1:]
    assert stats.chisquare(seen.numpy()).pvalue > 1e-3


def test_dots_keep_their_distance_and_lie_inside():
    _, split = train(Dots(n=60, held_out=2, counts=(12,), size=16))
    for centres in split.factors["centres"]:
        assert float(torch.pdist(centres).min()) >= 2.1 * 0.08
        assert float(centres.min()) >= 0.08
        assert float(centres.max()) <= 0.92
    closer = Dots(n=60, held_out=2, counts=(12,), size=16, spacing=1.0)
    gaps = [float(torch.pdist(c).min()) for c in train(closer)[1].factors["centres"]]
    assert min(gaps) < 2.1 * 0.08


def test_a_dot_has_its_colour_and_size():
    data = Dots(n=20, held_out=2, counts=(1,), noise=0.0)
    x, split = train(data)
    for image, centre, colour in zip(
        x, split.factors["centres"][:, 0], split.factors["colours"][:, 0], strict=True
    ):
        column, row = (int(v) for v in centre * 64)
        assert image[:, row, column].tolist() == pytest.approx((255 * colour).tolist(), abs=1)
        ink = (255 - image).double().sum((1, 2)) / (255 * (1 - colour))
        assert ink.tolist() == pytest.approx([math.pi * 5.12**2] * 3, rel=0.08)


def test_noise_is_reflected_at_white():
    x, _ = train(Dots(n=20, held_out=2, counts=(1,)))
    white = x[:, :, :, :].flatten()
    off = (255 - white[white > 200]) / 255
    # Half a normal distribution: its mean is sigma sqrt(2 / pi).
    assert float(off.mean()) == pytest.approx(0.03 * math.sqrt(2 / math.pi), rel=0.05)


def test_the_factors_of_pies_are_read_off_their_pixels():
    data = Pies(
        red=(0.1, 0.35, 0.8), diameter=(0.4, 0.6), x=(-0.15, 0.1), y=(0.0, 0.2), n=200, held_out=2
    )
    x, split = train(data)
    for images in (x, data.render(split.factors)):
        found = data.measure(images)
        for name, tolerance in (("red", 0.02), ("diameter", 0.01), ("x", 0.003), ("y", 0.003)):
            assert torch.allclose(found[name], split.factors[name], atol=tolerance), name
    label = split.factors["red"].eq(0.35) + 2 * split.factors["red"].eq(0.8)
    label = 2 * label + split.factors["diameter"].eq(0.6)
    label = 4 * label + 2 * split.factors["x"].eq(0.1) + split.factors["y"].eq(0.2)
    assert torch.equal(label.long(), split.labels)


def test_pies_of_three_colours_share_the_rest():
    x, _ = train(Pies(red=(0.4,), colours=3, noise=0.0, n=20, held_out=2))
    unit = x.double() / 255
    inside = (1 - unit.amin(1)).sum((1, 2))
    blue = ((unit[:, 2] > unit[:, 0]) & (unit[:, 2] > unit[:, 1])).double().sum((1, 2))
    assert torch.allclose(blue / inside, torch.tensor(0.3).double(), atol=0.03)


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_a_sprite_has_the_area_and_place_of_its_factors(shape):
    data = Sprites(n=200, held_out=2, steps="continuous")
    x, split = train(data)
    chosen = split.labels == shape
    ink = x[chosen, 0].double() / 255
    scale = split.factors["scale"][chosen]
    area = math.pi * (0.15 * scale * 64) ** 2
    assert torch.allclose(ink.sum((1, 2)), area, rtol=0.12)
    place = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    for name, axis in (("x", 1), ("y", 2)):
        middle = (ink.sum(axis) * place).sum(1) / ink.sum((1, 2))
        expected = 0.25 + 0.5 * split.factors[name][chosen]
        assert torch.allclose(middle, expected, atol=0.004), name


def test_an_ellipse_points_where_its_orientation_says():
    x, split = train(Sprites(n=300, held_out=2))
    chosen = split.labels == 1
    place = torch.arange(64, dtype=torch.float64)
    errors = []
    for image, turn in zip(
        x[chosen, 0].double(), split.factors["orientation"][chosen], strict=True
    ):
        p = image / image.sum()
        row, column = (p.sum(1) * place).sum(), (p.sum(0) * place).sum()
        a = (p.sum(0) * (place - column) ** 2).sum() - (p.sum(1) * (place - row) ** 2).sum()
        b = ((place - row)[:, None] * (place - column)[None] * p).sum()
        errors.append(float(torch.atan2(2 * b, a) / 2 - turn) % math.pi)
    off = np.minimum(errors, math.pi - np.array(errors))
    assert np.median(off) < 0.02


def test_what_does_not_vary_is_fixed():
    _, split = train(Sprites(vary=("x", "orientation"), n=200, held_out=2))
    f = split.factors
    assert set(f["shape"].tolist()) == {0.0}
    assert set(f["scale"].tolist()) == {0.75}
    assert set(f["y"].tolist()) == {0.5}
    assert len(set(f["x"].tolist())) == 32
    assert len(set(f["orientation"].tolist())) > 35
    everything = train(Sprites(n=200, held_out=2))[1].factors
    assert torch.equal(f["x"], everything["x"])  # one factor does not shift another


def test_the_grid_of_sprites_is_that_of_dsprites():
    _, split = train(Sprites(n=3000, held_out=2, size=8))
    f = split.factors
    sizes = {name: len(set(f[name].tolist())) for name in f}
    assert sizes == {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
    assert sorted(set(f["scale"].tolist())) == pytest.approx(np.linspace(0.5, 1, 6).tolist())
    assert math.prod(sizes.values()) == 737_280


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polygons:vertices=2", "from 3 to 12"),
        ("dots:counts=0+3", r"counts must be from 1 to 12. Got 0\+3"),
        ("pies:red=1.5", "red must be shares from 0 to 1"),
        ("pies:diameter=0", "diameter must be above 0"),
        ("pies:x=0.4", "x must be from -0.2 to 0.2 for a diameter of 0.6"),
        ("sprites:vary=shape+colour", "Unknown value of sprites:vary 'colour'"),
    ],
)
def test_bad_settings_are_refused(text, words):
    with pytest.raises(UserError, match=words):
        datasets.make(text)


def test_too_many_images_are_refused_before_they_are_drawn(capsys):
    with pytest.raises(UserError, match="more than a gigabyte"):
        Sprites(n=10**8).load(rng=Rng(0))
    assert run(["show", "triangles"]) == 0
    assert "published" in capsys.readouterr().out
