import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.domains.corruptions import (
    CORRUPTIONS,
    CleanSamples,
    applicable_corruptions,
    blur,
    dropped_class,
    duplicated,
    hue,
    jpeg,
    memorized,
    noise,
    swapped_labels,
)

COLOUR = Space("image", (3, 16, 16), 256)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, space=COLOUR, seed=0):
    return torch.randint(space.levels, (n, *space.shape), generator=stream(seed)).float()


def victims(n=40, space=COLOUR):
    classes = torch.arange(n) % 4
    return CleanSamples(
        space=space,
        x=pictures(n, space),
        labels=classes,
        spare=pictures(n, space, seed=1),
        spare_labels=classes,
        train=pictures(n, space, seed=2),
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_changes_nothing(name):
    given = victims()
    x, labels = CORRUPTIONS[name].apply(given, 0.0, stream())
    assert torch.equal(x, given.x)
    assert torch.equal(labels, given.labels)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("space", [COLOUR, Space("image", (1, 8, 8), 17)])
def test_damaged_samples_stay_in_their_space_and_repeat(name, space):
    if name not in applicable_corruptions(space, labelled=True):
        return
    given = victims(space=space)
    before = given.x.clone()
    for strength in (0.1, 0.3, 1.0):
        x, labels = CORRUPTIONS[name].apply(given, strength, stream())
        again, labels_again = CORRUPTIONS[name].apply(given, strength, stream())
        space.check(x)
        assert len(x) == len(labels) == 40
        assert torch.equal(x, again)
        assert torch.equal(labels, labels_again)
    assert torch.equal(given.x, before), "the samples given are left alone"
    if name == "swapped labels":
        assert torch.equal(x, given.x)
        assert not torch.equal(labels, given.labels)
    else:
        assert not torch.equal(x, given.x)


def test_a_stronger_damage_does_more():
    given = victims()
    for name in ("noise", "blur", "jpeg", "hue"):
        apply = CORRUPTIONS[name].apply
        errors = [
            float((apply(given, s, stream())[0] - given.x).square().mean()) for s in (0.1, 0.3, 1)
        ]
        assert errors == sorted(errors), name
        assert errors[0] > 0, name


def test_noise_has_the_spread_it_says():
    x = torch.full((200, 1, 8, 8), 128.0)
    found = noise(x, 256, 0.1, stream()) - x
    assert float(found.std()) == pytest.approx(0.1 * 255 / 2, rel=0.03)
    wide = torch.randn(4000, 2, generator=stream()) * torch.tensor([1.0, 10.0])
    added = (noise(wide, None, 0.5, stream(1)) - wide).std(0)
    assert added.tolist() == pytest.approx((0.5 * wide.std(0)).tolist(), rel=0.05)


def test_blur_is_scipys():
    x = pictures(2)
    expected = gaussian_filter(x.numpy(), (0, 0, 1.0, 1.0), mode="nearest", truncate=3.0)
    assert np.abs(blur(x, None, 0.25).numpy() - expected).max() < 1e-3


def test_jpeg_is_what_a_file_of_that_quality_holds():
    x = pictures(1)
    file = io.BytesIO()
    pixels = x[0].permute(1, 2, 0).numpy().astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=50)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    found = jpeg(x, 256, 50 / 99)
    assert np.array_equal(found[0].numpy(), expected)
    assert not torch.equal(found, x)


def test_hue_keeps_grey_and_turns_red_to_cyan():
    grey = torch.full((1, 3, 2, 2), 100.0)
    assert torch.equal(hue(grey, 256, 0.7), grey)
    red = torch.tensor([200.0, 50.0, 50.0]).view(1, 3, 1, 1)
    assert hue(red, None, 1.0).flatten().tolist() == pytest.approx([0.0, 150.0, 150.0], abs=1e-3)
    third = hue(red, None, 2 / 3).flatten().tolist()
    assert third == pytest.approx([50.0, 200.0, 50.0], abs=1e-3)


def test_a_dropped_class_is_gone_and_nothing_is_there_twice():
    given = victims()
    x, labels = dropped_class(given, 1.0, stream())
    assert len(labels.unique()) == 3
    assert len(x.flatten(1).unique(dim=0)) == len(x)
    _, half = dropped_class(given, 0.5, stream())
    assert min(torch.bincount(half, minlength=4).tolist()) == 5


def test_dropping_a_class_says_what_it_lacks():
    given = victims()
    bare = CleanSamples(
        space=COLOUR,
        x=given.x,
        labels=None,
        spare=given.spare,
        spare_labels=None,
        train=given.train,
    )
    with pytest.raises(UserError, match="labels"):
        dropped_class(bare, 0.5, stream())
    few = CleanSamples(
        space=COLOUR,
        x=given.x,
        labels=given.labels,
        spare=given.spare[:2],
        spare_labels=given.labels[:2],
        train=given.train,
    )
    with pytest.raises(UserError, match="spare"):
        dropped_class(few, 1.0, stream())


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_duplicates_leave_so_many_different_samples(strength):
    x = torch.arange(40.0)[:, None]
    found = duplicated(x, strength, stream())
    assert len(found.unique()) == max(1, 40 - round(40 * strength))


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_memorised_samples_are_training_samples(strength):
    x, train = torch.arange(40.0)[:, None], 100 + torch.arange(50.0)[:, None]
    found = memorized(x, train, strength, stream())
    copied = found[found >= 100]
    assert len(copied) == len(copied.unique()) == round(40 * strength)


def test_swapped_labels_keep_how_many_there_are_of_each():
    labels = torch.arange(400) % 10
    found = swapped_labels(labels, 0.5, stream())
    assert torch.equal(torch.bincount(found), torch.bincount(labels))
    moved = float((found != labels).float().mean())
    assert moved == pytest.approx(0.45, abs=0.05)


def test_each_space_suffers_what_it_can():
    assert applicable_corruptions(COLOUR, labelled=True) == list(CORRUPTIONS)
    assert applicable_corruptions(Space("vector", (2,)), labelled=False) == [
        "noise",
        "duplicates",
        "memorised",
    ]
    grey = applicable_corruptions(Space("image", (1, 8, 8), 17), labelled=False)
    assert grey == ["noise", "blur", "jpeg", "duplicates", "memorised"]
    assert "jpeg" not in applicable_corruptions(Space("image", (3, 8, 8), 65536), labelled=False)


def test_the_turn_of_hues_is_a_rotation():
    x = pictures(1)
    turned = hue(x, None, 0.4)
    assert float(turned.norm()) == pytest.approx(float(x.norm()), rel=1e-5)
    assert math.isclose(float(turned.sum()), float(x.sum()), rel_tol=1e-5)
