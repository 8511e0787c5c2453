"""What is done to images before they are judged, against Pillow and NumPy."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.domains.preparation import FILTERS, Preparation, resized, through_jpeg

PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def images(n=6, size=32, channels=3):
    """Smooth colours with noise, as bytes in the order of Pillow and as a tensor."""
    rng = np.random.default_rng(0)
    waves = 128 + 50 * np.sin(np.arange(size)[:, None, None] / 5 + np.arange(size)[None, :, None])
    x = waves[None] + 10 * rng.normal(size=(n, size, size, channels))
    bytes_ = np.rint(x).clip(0, 255).astype(np.uint8)
    return bytes_, torch.from_numpy(bytes_).permute(0, 3, 1, 2).float()


def tensor(many):
    return torch.from_numpy(np.stack(many).reshape(len(many), *many[0].shape[:2], -1)).permute(
        0, 3, 1, 2
    )


@pytest.mark.parametrize("size", [16, 24, 48])
@pytest.mark.parametrize("how", PILLOW)
def test_filters_are_those_of_pillow(how, size):
    raw, x = images()
    theirs = tensor(
        [np.asarray(Image.fromarray(i).resize((size, size), PILLOW[how])) for i in raw]
    )
    ours = resized(x, size, how)
    if how == "nearest":
        assert torch.equal(ours, theirs.float())
        return
    # Pillow rounds to bytes between its two passes, and cuts what leaves the range there.
    apart = (ours - theirs.float()).abs()
    assert float(apart.mean()) < 0.6
    assert float(apart.max()) < 2


def test_filters_that_do_not_widen_alias():
    rows = torch.arange(32)[:, None].expand(32, 32) % 2 * 255.0
    x = rows[None, None]
    for how in FILTERS:
        y = resized(x, 16, how)
        if how in ("nearest", "tf1"):
            assert float((y - 127.5).abs().mean()) > 100, how
        elif how in ("bicubic", "bilinear", "lanczos", "box"):
            assert float((y - 127.5).abs()[..., 2:-2, :].mean()) < 10, how
    assert torch.equal(resized(x, 32, "nearest"), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_file_of_pillow(channels):
    raw, x = images(channels=channels)
    theirs = []
    for one in raw:
        file = io.BytesIO()
        Image.fromarray(one if channels == 3 else one[:, :, 0]).save(file, "JPEG", quality=75)
        theirs.append(np.asarray(Image.open(file)))
    ours = through_jpeg(x, 75)
    assert torch.equal(ours, tensor(theirs).float())
    assert float((ours - x).abs().mean()) > float((through_jpeg(x, 98) - x).abs().mean()) > 0


def test_truncation_darkens_by_half_a_level_and_rounding_does_not():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    rounded = Preparation(reading="video", numbers="uint8")(x)
    cut = Preparation(reading="video", numbers="truncate")(x)
    exact = Preparation(reading="video", numbers="float32")(x)
    assert float((cut - exact).mean()) == pytest.approx(-0.5, abs=0.06)
    assert float((rounded - exact).mean()) == pytest.approx(0.0, abs=0.06)
    half = Preparation(reading="video", numbers="float16")(x)
    assert 0 < float((half - exact).abs().max()) < 0.2


def test_ranges_are_read_as_they_say():
    x = torch.tensor([0.0, 51.0, 127.5, 255.0]).view(1, 1, 2, 2)

    def read(how):
        return Preparation(reading=how, numbers="float32")(x).flatten().tolist()

    assert read("signed-as-unit") == pytest.approx([0, 0, 0, 255])
    assert read("unit-as-signed") == pytest.approx([127.5, 153, 191.25, 255])
    assert read("video") == pytest.approx([16, 59.8, 125.5, 235])
    assert Preparation()(x) is x


def test_what_is_no_image_of_bytes_is_refused_in_one_line():
    prepared = Preparation(jpeg=75)
    for space in (
        Space("vector", (4,)),
        Space("image", (3, 8, 8), 17),
        Space("image", (2, 8, 8), 256),
    ):
        with pytest.raises(UserError, match="images of 256 levels"):
            prepared.check(space)
        Preparation().check(space)
    space = Space("image", (3, 32, 32), 256)
    assert Preparation(size=8).space(space).shape == (3, 8, 8)
