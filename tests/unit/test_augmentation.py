"""Changes of images that both players of a GAN see."""

import pytest
import torch

from gantlet.models.augmentation import augmented


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 12), (1, 3, 5)])
def test_it_keeps_shape_and_repeats_with_its_generator(shape):
    x = torch.randn(6, *shape, generator=rng(1))
    y = augmented(x, rng=rng())
    assert y.shape == x.shape
    assert torch.equal(y, augmented(x, rng=rng()))
    assert not torch.equal(y, augmented(x, rng=rng(2)))


def test_an_image_is_shaded_moved_and_has_a_hole():
    """A slow twin finds for each image one shade and one shift that explain all but a hole."""
    x = 10 + torch.randn(16, 16, generator=rng(1))
    y = augmented(x.expand(20, 1, 16, 16), rng=rng())
    for image in y[:, 0]:
        hole = image == 0
        found = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                moved = torch.zeros(20, 20)
                moved[2:18, 2:18] = x
                seen = moved[2 + down : 18 + down, 2 + right : 18 + right]
                shade = (image - seen)[~hole & (seen != 0)]
                is_one = (shade - shade.mean()).abs().max() < 1e-4
                found += [shade.mean().item()] if is_one else []
        assert len(found) == 1
        assert abs(found[0]) <= 0.5 + 1e-4
        assert 16 <= hole.sum() <= 16 + 2 * 2 * 16


def test_each_image_is_changed_for_itself():
    x = torch.randn(1, 1, 16, 16, generator=rng(1)).expand(30, 1, 16, 16)
    y = augmented(x, rng=rng())
    assert len({tuple(image.flatten().tolist()) for image in y}) > 25


def test_gradients_pass_where_pixels_are_seen():
    x = torch.randn(4, 1, 8, 8, generator=rng(1)).requires_grad_()
    (g,) = torch.autograd.grad(augmented(x, rng=rng()).sum(), x)
    assert set(g.unique().tolist()) <= {0.0, 1.0}
    assert 0.5 < g.mean() < 1
