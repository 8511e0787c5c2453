"""Explaining by damages: what they do, and that the right ones are found together."""

import pytest
import torch
from scipy.ndimage import correlate

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.domains.corruptions import (
    compressed,
    fewer_tones,
    image_causes,
    jpeg,
    mixed_halves,
    smoothed,
    stretched,
)
from gantlet.domains.domains import attributes_of
from gantlet.flaws.explain import Causes, explain
from gantlet.flaws.named import distinct
from gantlet.flaws.search import list_flaws
from gantlet.flaws.split import DiscoveryValidation, Representation
from gantlet.options import Search

SPACE = Space("image", (3, 32, 32), 256)


def pictures(n, seed):
    """Smooth random images with two classes: dark ones and bright ones."""
    rng = Rng(seed).stream("pictures")
    coarse = torch.rand(n, 3, 6, 6, generator=rng)
    x = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)
    grey = torch.rand(n, 1, 32, 32, generator=rng)
    bright = (torch.arange(n) % 2).view(-1, 1, 1, 1)
    return (0.1 + 0.5 * x + 0.04 * grey + 0.15 * bright).clamp(0, 1)


def see(x):
    classes = torch.nn.functional.one_hot((x.mean((1, 2, 3)) > 0.45).long(), 2)
    probes = attributes_of(SPACE, (255 * x).round(), classes)
    features = torch.nn.functional.avg_pool2d(x, 8).flatten(1).double()
    return Representation(probes=probes, features=features)


def causes(x):
    return Causes(
        image_causes(SPACE),
        x[:100],
        measure=lambda z: see(z).probes,
        extract=lambda z: see(z).features,
        every=lambda places: x[places],
    )


def test_each_damage_does_what_it_is_called():
    x = pictures(40, 0)
    before = see(x).probes
    names = [w.topic for w in before.words]
    for cause in image_causes(SPACE):
        after = see(cause.apply(x, 0.5)).probes.values
        moved = (after.mean(0) - before.values.mean(0)).abs() / before.values.std(0)
        own = [float(moved[j]) for j, topic in enumerate(names) if topic in cause.about]
        assert max(own) > 0.2, cause.name


def test_smoothing_is_scipys():
    x = pictures(3, 1)
    row = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    kernel = torch.outer(row, row).numpy()
    for image, made in zip(x.flatten(0, 1), smoothed(x).flatten(0, 1), strict=True):
        assert made.numpy() == pytest.approx(
            correlate(image.numpy(), kernel, mode="nearest"), abs=1e-5
        )


def test_files_of_many_images_are_as_files_of_one():
    x = pictures(5, 2)
    alone = jpeg((255 * x).round(), 256, 0.5) / 255
    assert float((compressed(x, 0.5) - alone).abs().mean()) < 0.1 * float((alone - x).abs().mean())
    many = x[:1].expand(2000, -1, -1, -1)  # taller than one file can be
    made = compressed(many, 0.5)
    assert float((made[-2] - made[1]).abs().mean()) < 0.01
    small = x[:, :1, :28, :28]
    assert compressed(small, 0.5).shape == small.shape


def test_stretching_scales_deviations_and_halves_come_from_the_neighbour():
    x = pictures(6, 3)
    made = stretched(x, 0.5)
    assert made.std((1, 2, 3)) == pytest.approx(0.5 * x.std((1, 2, 3)), rel=1e-4)
    mixed = mixed_halves(x, 1.0)
    assert torch.equal(mixed[1:, ..., 16:], x[:-1, ..., 16:])
    assert torch.equal(mixed[..., :16], x[..., :16])


def test_weights_are_what_leaving_out_a_class_does():
    x = pictures(100, 4)
    tried = causes(x)
    kept = see(x[tried.before.values[:, -1] == 0])
    moved = tried.moved({"less of class 1": 1.0})
    expected = kept.probes.values.mean(0) - tried.before.values.mean(0)
    assert moved == pytest.approx(expected, abs=1e-5)
    remade = tried.remade(torch.arange(100), see(x), {"less of class 1": 1.0})
    assert len(remade) >= 2
    assert all((kept.features == row).all(1).any() for row in remade), "of the other class only"


def test_a_mixture_of_damages_is_taken_apart():
    x = pictures(600, 5)
    planted = {"mixed halves": 0.5, "brighter": 0.3, "checkerboard, light first": 0.4}
    fake = x[300:]
    for cause in image_causes(SPACE):
        if cause.name in planted:
            fake = cause.apply(fake, planted[cause.name])
    real, seen = see(x[:300]), see(fake)
    scale = real.probes.values.std(0).clamp_min(1e-9)
    shift = (seen.probes.values.mean(0) - real.probes.values.mean(0)) / scale
    error = torch.full_like(shift, (2 / 300) ** 0.5)
    found = explain(shift, error, scale, causes(x[:300]), smallest=0.1)
    assert found.strengths.keys() == planted.keys()
    assert all(abs(found.strengths[k] - s) < 0.2 for k, s in planted.items())


def test_side_effects_are_not_called_flaws():
    x = pictures(1200, 6)
    fake = image_causes(SPACE)[3].apply(x[600:], 0.5)  # less contrast: paler colours too
    sets = see(x[:600]), see(fake)
    search = Search(permutations=999)
    plain = {f.naming.topic for f in list_flaws(*sets, search, rng=Rng(0)).flaws if f.naming}
    found = list_flaws(*sets, search, rng=Rng(0), causes=causes(x[:600])).flaws
    named = {f.naming.topic for f in found if f.naming}
    assert named == {"contrast"} < plain
    assert found[0].cause == "less contrast"


def test_few_tones_are_told_from_noise_though_both_add_fine_detail():
    x = pictures(1200, 8)
    fake = fewer_tones(x[600:], 0.6)
    assert torch.allclose(7 * fake, (7 * fake).round(), atol=1e-5), "eight tones"
    sets = see(x[:600]), see(fake)
    found = list_flaws(*sets, Search(permutations=999), rng=Rng(0), causes=causes(x[:600])).flaws
    assert [f.cause for f in found if f.naming] == ["fewer tones"]
    assert found[0].title == "too few tones or colours"


def test_of_copies_one_is_kept():
    x = pictures(200, 7)
    fake = torch.cat([x[100:150], x[100:150]])
    halves = DiscoveryValidation.of(see(x[:100]), see(fake), rng=Rng(0))
    assert distinct(halves, see(fake).features).tolist() == list(range(50))
    assert len(distinct(halves, see(x[100:]).features)) == 100
