"""Folders of image files: what is decoded, and what is said of bad ones."""

import numpy as np
import pytest
import torch
from PIL import Image

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.domains import images
from gantlet.domains.images import ImageDecoding, Pictures


def _picture(seed, height=8, width=8, mode="RGB"):
    shape = (height, width) if mode in {"L", "P"} else (height, width, len(mode))
    pixels = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def _folder(path, n=6, suffix="png", **options):
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        _picture(i, **options).save(path / f"{i}.{suffix}")
    return path


def _load(text):
    data = datasets.make(text)
    splits = data.load(rng=Rng(0))
    for name, source in (("train", splits.train), ("test", splits.test)):
        data.space.check(all_samples(source), name)
    return data, splits


def _all(splits):
    return torch.cat([all_samples(s) for s in (splits.train, splits.validation, splits.test)])


def test_lossless_pixels_come_back_exactly(tmp_path):
    for suffix, lossless in (("png", {}), ("webp", {"lossless": True})):
        folder = tmp_path / suffix
        folder.mkdir()
        for i in range(5):
            _picture(i, 4, 6).save(folder / f"{i}.{suffix}", **lossless)
        data, splits = _load(f"images:path={folder}")
        assert data.space == Space("image", (3, 4, 6), 256)
        found = {tuple(x.flatten().tolist()) for x in _all(splits)}
        wanted = {
            tuple(np.asarray(_picture(i, 4, 6)).transpose(2, 0, 1).flatten().tolist())
            for i in range(5)
        }
        assert found == wanted


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPEG", "webp", "PNG"])
def test_formats_and_endings(tmp_path, suffix):
    folder = _folder(tmp_path / "a" / "b", suffix=suffix)
    (folder / ".hidden.png").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("not an image either")
    _, splits = _load(f"images:path={tmp_path},colour=grey")
    assert _all(splits).shape == (6, 1, 8, 8)


def test_cut_square_and_resized(tmp_path):
    x = np.zeros((40, 80, 3), np.uint8)
    x[:, 20:60] = 200  # the centre square
    for i in range(3):
        Image.fromarray(x).save(tmp_path / f"{i}.png")
    assert _load(f"images:path={tmp_path}")[0].space.shape == (3, 40, 80)
    data, splits = _load(f"images:path={tmp_path},size=10")
    assert data.space.shape == (3, 10, 10)
    assert bool((_all(splits) == 200).all())
    data, splits = _load(f"images:path={tmp_path},crop=20,colour=grey")
    assert data.space.shape == (1, 20, 20)
    assert bool((_all(splits) == 200).all())
    data, splits = _load(f"images:path={tmp_path},size=4,crop=20")
    assert data.space.shape == (3, 4, 4)


def test_shrinking_does_not_alias(tmp_path):
    fine = np.indices((64, 64)).sum(0) % 2 * 255  # black and white pixels by turns
    for i in range(3):
        Image.fromarray(fine.astype(np.uint8)).save(tmp_path / f"{i}.png")
    _, splits = _load(f"images:path={tmp_path},size=8,colour=grey")
    assert float((_all(splits) - 127.5).abs().max()) < 8


def test_sizes_may_differ_when_a_size_is_given(tmp_path):
    _folder(tmp_path, n=3)
    _picture(9, 12, 20).save(tmp_path / "other.png")
    assert _all(_load(f"images:path={tmp_path},size=8")[1]).shape == (4, 3, 8, 8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P"])
def test_colour_modes(tmp_path, mode):
    for i in range(3):
        image = _picture(i, mode=mode)
        if mode == "P":
            image.putpalette(list(range(256)) * 3)
            image.info["transparency"] = bytes(range(256))
        image.save(tmp_path / f"{i}.{'jpg' if mode == 'CMYK' else 'png'}")
    assert _all(_load(f"images:path={tmp_path}")[1]).shape == (3, 3, 8, 8)
    assert _all(_load(f"images:path={tmp_path},colour=grey")[1]).shape == (3, 1, 8, 8)


def test_photos_are_turned_upright(tmp_path):
    image = Image.new("RGB", (16, 8))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by a quarter
    for i in range(3):
        image.save(tmp_path / f"{i}.png", exif=exif)
    data, splits = _load(f"images:path={tmp_path}")
    assert data.space.shape == (3, 16, 8)
    x = _all(splits)
    assert bool((x[:, :, :8] == 255).all())
    assert bool((x[:, :, 8:] == 0).all())


def test_sub_folders_are_classes(tmp_path):
    for name, n in (("dog", 4), ("cat", 5)):
        _folder(tmp_path / name / "deeper", n=n)
    _, splits = _load(f"images:path={tmp_path}")
    sources = (splits.train, splits.validation, splits.test)
    labels = torch.cat([s.labels for s in sources])
    assert sorted(labels.tolist()) == [0] * 5 + [1] * 4
    _picture(77).save(tmp_path / "stray.png")
    assert _load(f"images:path={tmp_path}")[1].train.labels is None


def test_a_test_folder_of_its_own(tmp_path):
    for split, names in (("train", ("a", "b")), ("test", ("b", "a"))):
        for name in names:
            _folder(tmp_path / split / name, n=4)
    text = f"images:path={tmp_path / 'train'},test_path={tmp_path / 'test'},limit=5"
    _, splits = _load(text)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [5, 1, 8]
    assert splits.test.labels.tolist() == [0] * 4 + [1] * 4


def test_lazy_and_kept_images_are_the_same(tmp_path, monkeypatch):
    _folder(tmp_path)
    kept = _load(f"images:path={tmp_path}")[1]
    monkeypatch.setattr(images, "MOST_KEPT", 2 * 192 + 1)
    lazy = _load(f"images:path={tmp_path}")[1]
    for _ in range(2):
        assert torch.equal(all_samples(kept.train), all_samples(lazy.train))
    files = images.files_in(tmp_path).files
    some = Pictures(files, ImageDecoding(size=None))
    all_samples(some)
    assert some.kept == 2


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a")
    mixed = _folder(tmp_path / "mixed", n=3)
    _picture(0, 9, 5).save(mixed / "z.png")
    _folder(tmp_path / "small", n=3)
    _folder(tmp_path / "own" / "train", n=3)
    _folder(tmp_path / "own" / "val", n=3)
    _folder(tmp_path / "few", n=2)
    for split, name in (("train", "a"), ("test", "b")):
        _folder(tmp_path / "strange" / split / name, n=4)
    deep = _folder(tmp_path / "deep", n=3)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep / "z.png")
    where = f"images:path={tmp_path}"
    cases = [
        (f"{where}/no", ["No folder"]),
        (f"{where}/empty", ["holds no image", ".png"]),
        (f"{where}/text", ["holds no image"]),
        (f"{where}/mixed", ["differ in size", "0.png is 8x8", "z.png is 5x9", "size=PIXELS"]),
        (f"{where}/small,crop=9", ["0.png is 8x8, too small for crop=9"]),
        (f"{where}/own,size=8", ["train and val", "must not be mixed", "test_path="]),
        (f"{where}/few", ["Three splits need samples"]),
        (f"{where}/deep", ["z.png", "more than 8 bits"]),
        (
            f"{where}/strange/train,test_path={tmp_path}/strange/test",
            ["The class 'b' of the test images has no training images"],
        ),
        (f"{where}/small,test_path={mixed}", ["differ in size", "z.png"]),
        (f"{where}/small,test_path={tmp_path}/empty", ["holds no image"]),
    ]
    for text, words in cases:
        with pytest.raises(UserError) as caught:
            _load(text)
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message, message


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    folder = _folder(tmp_path, suffix=suffix, height=32, width=32)
    whole = (folder / f"3.{suffix}").read_bytes()
    rng = np.random.RandomState(0)
    damaged = [b"", b"not an image", whole[:5], whole[: len(whole) // 2]]
    for _ in range(60):
        raw = bytearray(whole)
        for place in rng.randint(0, len(raw), 4):
            raw[place] = rng.randint(256)
        damaged.append(bytes(raw))
    messages = []
    for raw in damaged:
        (folder / f"3.{suffix}").write_bytes(raw)
        try:
            _load(f"images:path={folder}")
        except UserError as error:  # anything else fails the test; small damage may pass
            messages.append(str(error))
    assert len(messages) >= 4
    assert all(f"3.{suffix}" in message and "\n" not in message for message in messages)
