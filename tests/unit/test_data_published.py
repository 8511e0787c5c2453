"""The published sets, in tiny files of their own formats, and the real MNIST."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data import catalogue


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(tmp_path))
    return tmp_path


def _load(text):
    data = datasets.make(text)
    splits = data.load(rng=Rng(0))
    for name in ("train", "validation", "test"):
        data.space.check(all_samples(getattr(splits, name)), name)
    return data, splits


def _sizes(splits):
    return [len(s) for s in (splits.train, splits.validation, splits.test)]


def _mnist(folder, train=30, test=10, side=28):
    folder.mkdir(parents=True)
    for name, n in (("train", train), ("t10k", test)):
        x = np.random.RandomState(n).randint(0, 256, (n, side, side)).astype(np.uint8)
        x[:, 0, 0] = np.arange(n)
        header = struct.pack(">4B3I", 0, 0, 8, 3, n, side, side)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + x.tobytes()))
        labels = struct.pack(">4BI", 0, 0, 8, 1, n) + bytes(i % 10 for i in range(n))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def _cifar(folder, n=12):
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for k, name in enumerate(names):
        x = np.random.RandomState(k).randint(0, 256, (n, 3073)).astype(np.uint8)
        x[:, 0] = np.arange(n) % 10
        x[:, 1] = np.arange(n)  # the first red pixel tells the record
        x[:, 1025] = 100 + k  # the first green pixel tells the file
        (folder / f"{name}.bin").write_bytes(x.tobytes())
    return folder


def _stl(folder, train=8, test=4, unlabeled=0):
    folder.mkdir(parents=True)
    for name, n in (("train", train), ("test", test), ("unlabeled", unlabeled)):
        x = np.random.RandomState(n).randint(0, 256, (n, 3, 96, 96)).astype(np.uint8)
        x[:, 0, 0, 0] = np.arange(n) + (100 if name == "unlabeled" else 0)
        if n:  # the file goes down the columns
            (folder / f"{name}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes(i % 10 + 1 for i in range(n)))
    return folder


def _jpeg(path, value, width=178, height=218):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (value, value, value)).save(path, quality=95)


def _celeba(folder, numbers=(1, 2, 3, 162770, 162771, 182637, 182638, 202599)):
    for i, number in enumerate(numbers):
        _jpeg(folder / "img_align_celeba" / f"{number:06d}.jpg", 20 * (i + 1))
    return folder


def _imagenet(folder, nested):
    for k, name in enumerate(("n01", "n02")):
        for i in range(6):
            _jpeg(folder / "train" / name / f"{name}_{i}.JPEG", 20 * k + i, 40, 30)
        for i in range(2):
            inner = folder / "val" / (name if nested else "")
            _jpeg(inner / f"val_{k}_{i}.JPEG", 100 + 20 * k, 50, 20)
    return folder


# Reading


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("place", ["images/{}", "{}"])
def test_mnist_files(home, name, place):
    _mnist(home / place.format(name).replace("-", "_"))
    data, splits = _load(f"{name}:validation=5")
    assert data.space == Space("image", (1, 28, 28), 256)
    assert _sizes(splits) == [25, 5, 10]
    assert all_samples(splits.test)[:, 0, 0, 0].tolist() == list(range(10))
    assert splits.test.labels.tolist() == list(range(10))
    assert torch.equal(splits.train.labels, all_samples(splits.train)[:, 0, 0, 0].long() % 10)
    assert _sizes(_load(f"{name}:validation=5,limit=7")[1]) == [7, 5, 10]


def test_a_path_goes_before_the_home(home):
    _mnist(home / "mnist")
    other = _mnist(home / "other", train=50)
    assert _sizes(_load(f"mnist:validation=5,path={other}")[1]) == [45, 5, 10]


@pytest.mark.parametrize("place", ["cifar10", "images/cifar10/cifar-10-batches-bin"])
def test_cifar10_files(home, place):
    _cifar(home / place)
    data, splits = _load("cifar10:validation=10")
    assert data.space == Space("image", (3, 32, 32), 256)
    assert _sizes(splits) == [50, 10, 12]
    test = all_samples(splits.test)
    assert test[:, 0, 0, 0].tolist() == list(range(12))
    assert set(test[:, 1, 0, 0].tolist()) == {105}
    train = torch.cat([all_samples(splits.train), all_samples(splits.validation)])
    assert set(train[:, 1, 0, 0].tolist()) == {100, 101, 102, 103, 104}
    labels = torch.cat([splits.train.labels, splits.validation.labels])
    assert torch.equal(labels, train[:, 0, 0, 0].long() % 10)


def test_stl10_files(home):
    _stl(home / "stl10" / "stl10_binary")
    data, splits = _load("stl10:validation=3")
    assert data.space == Space("image", (3, 96, 96), 256)
    assert _sizes(splits) == [5, 3, 4]
    x = all_samples(splits.test)
    assert x[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    wanted = np.random.RandomState(4).randint(0, 256, (4, 3, 96, 96)).astype(np.uint8)
    assert np.array_equal(x[2, 1, 5].numpy(), wanted[2, 1, 5])
    assert splits.test.labels.tolist() == [0, 1, 2, 3]
    small, half = _load("stl10:validation=3,size=48")
    assert small.space.shape == (3, 48, 48)
    blocks = x.reshape(4, 3, 48, 2, 48, 2).mean((3, 5))
    assert torch.allclose(all_samples(half.test), blocks, atol=0.5)


def test_stl10_without_labels(home):
    _stl(home / "stl10", unlabeled=20)
    _, splits = _load("stl10:validation=3,unlabeled=true,size=24")
    assert _sizes(splits) == [25, 3, 4]
    assert splits.train.labels is None
    assert splits.test.labels is not None
    _, splits = _load("stl10:validation=3,unlabeled=true")
    parts = [all_samples(splits.train), all_samples(splits.validation)]
    marks = sorted(torch.cat(parts)[:, 0, 0, 0].tolist())
    assert marks == [*range(8), *range(100, 120)]


def test_celeba_files(home):
    _celeba(home / "celeba")
    data, splits = _load("celeba:size=16,crop=100")
    assert data.space == Space("image", (3, 16, 16), 256)
    assert _sizes(splits) == [4, 2, 2]
    assert all_samples(splits.validation)[:, 0, 8, 8].tolist() == pytest.approx([100, 120], abs=3)
    assert all_samples(splits.test)[:, 0, 8, 8].tolist() == pytest.approx([140, 160], abs=3)
    assert splits.train.labels is None
    assert _sizes(_load("celeba:size=8,limit=1")[1]) == [1, 2, 2]


def test_what_lies_among_published_images_and_is_not_read_is_said(home):
    _celeba(home / "celeba")
    (home / "celeba/img_align_celeba/list.txt").write_text("1")
    _imagenet(home / "imagenet", nested=True)
    for part in ("train", "val"):
        (home / "imagenet" / part / f"{part}.csv").write_text("1")
    told = {
        "celeba:size=8": ("img_align_celeba: 1 file is not an image and was not read: list.txt",),
        "imagenet:size=8,validation=2": (
            "train: 1 file is not an image and was not read: train.csv",
            "val: 1 file is not an image and was not read: val.csv",
        ),
    }
    for text, notes in told.items():
        splits = _load(text)[1]
        assert splits.notes == notes
        assert splits.note.endswith(f" {'. '.join(notes)}.")


@pytest.mark.parametrize("nested", [True, False])
def test_imagenet_files(home, nested):
    _imagenet(home / "imagenet", nested=nested)
    data, splits = _load("imagenet:size=8,validation=2,limit=5")
    assert data.space == Space("image", (3, 8, 8), 256)
    assert _sizes(splits) == [5, 2, 4]
    middle = all_samples(splits.train)[:, 0, 4, 4]
    assert torch.equal(splits.train.labels, (middle > 15).long())
    if nested:
        assert splits.test.labels.tolist() == [0, 0, 1, 1]
    else:
        assert splits.test.labels is None


# Errors


@pytest.mark.parametrize("name", [e.name for e in catalogue.entries()])
def test_missing_data_says_where_it_looked_and_what_to_do(home, name):
    with pytest.raises(UserError) as caught:
        _load(name)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{name} is not here; looked in {home / 'images' / name}" in message
    assert f"{home / name}" in message
    fetched = catalogue.entry(name).url is not None
    assert (f"gantlet data fetch {name}" in message) == fetched
    assert "path=FOLDER" in message


def test_incomplete_and_damaged_data(home):
    mnist = _mnist(home / "mnist")
    cifar = _cifar(home / "cifar")
    stl = _stl(home / "stl")
    (cifar / "test_batch.bin").write_bytes(b"\0" * 100)
    wrong = _cifar(home / "wrong")
    (wrong / "data_batch_2.bin").write_bytes(bytes([10]) + b"\0" * 3072)
    part = _cifar(home / "part")
    (part / "data_batch_3.bin").unlink()
    (stl / "test_X.bin").write_bytes(b"\0" * 27647)
    labels = _stl(home / "labels")
    (labels / "test_y.bin").write_bytes(b"\1\2\3")
    zero = _stl(home / "zero")
    (zero / "test_y.bin").write_bytes(bytes(4))
    named = home / "celeba"
    _jpeg(named / "img_align_celeba" / "face.jpg", 3)
    few = _celeba(home / "few", numbers=(1, 2))
    flat = home / "flat"
    _jpeg(flat / "train" / "a.JPEG", 3)
    _jpeg(flat / "val" / "a.JPEG", 3)
    big = _mnist(home / "big", side=8)
    cases = [
        (f"mnist:path={mnist},validation=30", ["validation must be from 1 to 29"]),
        (f"mnist:path={big},validation=5", ["image 1x28x28", "image 1x8x8"]),
        (f"cifar10:path={cifar}", ["test_batch.bin", "records of 3073 bytes. Got 100"]),
        (f"cifar10:path={wrong}", ["data_batch_2.bin", "class 10"]),
        (f"cifar10:path={part}", ["is not complete", "lacks data_batch_3.bin"]),
        (f"stl10:path={stl},validation=3", ["test_X.bin", "27648 bytes. Got 27647"]),
        (f"stl10:path={labels},validation=3", ["test_y.bin", "(4,)", "Got (3,)"]),
        (f"stl10:path={zero},validation=3", ["test_y.bin", "classes from 1 to 10"]),
        (f"stl10:path={labels},unlabeled=true", ["No file", "unlabeled_X.bin"]),
        ("celeba", ["face.jpg should be named by a number"]),
        (f"celeba:path={few}", ["Got 2, 0, 0 of them"]),
        (f"imagenet:path={flat}", ["one folder of images for each class"]),
        ("mnist:path=/nowhere", ["mnist is not here; looked in /nowhere."]),
        ("stl10:size=10", ["stl10:size"]),
    ]
    for text, words in cases:
        with pytest.raises(UserError) as caught:
            _load(text)
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message, message


def test_a_damaged_file_among_many_is_named_when_it_is_needed(home):
    folder = _imagenet(home / "imagenet", nested=True)
    (folder / "val" / "n02" / "val_1_1.JPEG").write_bytes(b"nothing")
    splits = datasets.make("imagenet:size=8,validation=2").load(rng=Rng(0))
    with pytest.raises(UserError, match=r"val_1_1\.JPEG cannot be read as an image"):
        all_samples(splits.test)


# The real thing


@pytest.fixture
def real(shared_data, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(shared_data))
    try:
        catalogue.locate("mnist")
    except UserError as error:
        pytest.skip(str(error))
    return shared_data


@pytest.mark.data
def test_the_real_mnist(real):
    splits = datasets.make("mnist").load(rng=Rng(0))
    assert _sizes(splits) == [55_000, 5_000, 10_000]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    x = torch.cat([all_samples(splits.train), all_samples(splits.validation)])
    assert float(x.double().mean()) == pytest.approx(33.318421, abs=1e-6)
    raw = splits.train.source
    assert len(raw) == 60_000
    assert raw.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(raw.labels)[1] == 6742


@pytest.mark.data
def test_mnist_through_its_files(real):
    splits = datasets.make(f"idx:path={real / 'images' / 'mnist'}").load(rng=Rng(0))
    assert _sizes(splits) == [54_000, 6_000, 10_000]


@pytest.mark.data
def test_real_arrays(real):
    path = real / "images" / "fashion_mnist" / "fashion_mnist_t10k_first4443.npz"
    data, splits = _load(f"npz:path={path},labels=y")
    assert data.space == Space("image", (1, 28, 28), 256)
    assert sum(_sizes(splits)) == 4443
    assert sorted(set(splits.train.labels.tolist())) == list(range(10))
