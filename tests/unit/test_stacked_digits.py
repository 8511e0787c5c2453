"""Stacked digits, on the 8x8 digits, and on MNIST made by hand."""

import gzip
import struct

import numpy as np
import pytest
import torch
from scipy import stats

from gantlet.core.data import KnownSupport, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.domains.published import Digits
from gantlet.domains.stacked import StackedDigits
from gantlet.stats.theory import expected_kl_floor
from gantlet.testing import check_dataset

SMALL = StackedDigits(base="digits", n=3000, held_out=2600)


def test_it_keeps_the_contract():
    check_dataset(SMALL)
    assert SMALL.space.shape == (3, 8, 8)
    assert SMALL.space.levels == 17


def test_channels_are_digits_of_the_same_split():
    splits, grey = SMALL.load(rng=Rng(3)), Digits().load(rng=Rng(3))
    for name in ("train", "validation", "test"):
        stacked, base = getattr(splits, name), getattr(grey, name)
        known = {
            tuple(row.tolist()): int(label)
            for row, label in zip(all_samples(base).flatten(1), base.labels, strict=True)
        }
        x = all_samples(stacked, 200)
        digits = [[known[tuple(c.flatten().tolist())] for c in image] for image in x]
        spelled = [100 * a + 10 * b + c for a, b, c in digits]
        assert spelled == stacked.labels[:200].tolist()


def test_digits_and_modes_are_equally_likely():
    labels = SMALL.load(rng=Rng(0)).train.labels
    for place in (1, 10, 100):
        seen = torch.bincount(labels // place % 10, minlength=10)
        assert stats.chisquare(seen.numpy()).pvalue > 1e-3
    assert isinstance(SMALL, KnownSupport)
    assert SMALL.weights.shape == (1000,)
    assert SMALL.ceiling == 1


def test_a_perfect_sampler_has_the_floor_of_the_divergence():
    labels = StackedDigits(base="digits", n=1, held_out=26_000).load(rng=Rng(0)).test.labels
    f = np.bincount(labels.numpy(), minlength=1000) / len(labels)
    assert (f > 0).sum() == 1000
    kl = (f[f > 0] * np.log(1000 * f[f > 0])).sum()
    floor = expected_kl_floor(1000, 26_000)
    # 2 n KL is about chi squared with 999 degrees of freedom.
    assert kl == pytest.approx(floor, abs=4 * np.sqrt(2 * 999) / (2 * 26_000))


def test_the_classifier_reads_the_modes():
    test = SMALL.load(rng=Rng(0)).test
    x, labels = all_samples(test, 400), test.labels[:400]
    read = SMALL.modes_of(x)
    assert read.dtype == torch.int64
    assert float((read == labels).double().mean()) > 0.85
    assert bool(SMALL.on_support(x).all())
    assert "test accuracy" in SMALL.classifier_note


def write_mnist(folder, n):
    rng = np.random.default_rng(0)
    for part, count in (("train", n), ("t10k", 100)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as f:
            f.write(struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes())
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as f:
            f.write(struct.pack(">II", 0x801, count) + labels.tobytes())


def test_mnist_is_read_by_the_published_reader(tmp_path):
    write_mnist(tmp_path, 5200)
    data = datasets.make(f"stacked-mnist:path={tmp_path},n=500,held_out=50")
    assert data.space.shape == (3, 28, 28)
    splits = data.load(rng=Rng(0))
    x = splits.train.take(torch.tensor([4, 0]))
    assert x.shape == (2, 3, 28, 28)
    assert "mnist" in splits.note


def test_missing_files_are_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        datasets.make(f"stacked-digits:path={tmp_path}").load(rng=Rng(0))
    assert "\n" not in str(caught.value)
