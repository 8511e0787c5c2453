"""A collapsed model and a memoriser, on MNIST and on samples that others have published."""

import numpy as np
import pytest
import torch

from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.metrics.collisions import Birthday
from gantlet.metrics.copying import Authenticity, Ct, nearest_training

pytestmark = pytest.mark.data


def stream():
    return Rng(0).stream("m")


@pytest.fixture
def mnist(shared_data, monkeypatch):
    monkeypatch.setenv("GANTLET_DATA", str(shared_data))
    splits = datasets.make("mnist").load(rng=Rng(0))
    sizes = ((splits.train, 2000), (splits.test, 800), (splits.validation, 800))
    return [all_samples(split, n).flatten(1) for split, n in sizes]


def published(folder, key):
    path = folder / "images/generated/mnist_fashion_published_samples.npz"
    return torch.from_numpy(np.load(path)[key]).flatten(1).float()


def test_the_collapsed_ebgan_is_caught_and_a_later_one_is_not(mnist, shared_data):
    _, real, _ = mnist
    fakes = [published(shared_data, f"mnist.EBGAN.rand.epoch{e}") for e in ("000", "024")]
    collapsed, later = (Birthday().measure(real, fake, rng=stream()) for fake in fakes)
    assert collapsed.value == 1
    assert collapsed.high < 1.1
    assert later.value is None
    assert "at least 673 different samples" in later.method


def test_a_memoriser_of_digits_is_caught_and_held_out_digits_are_not(mnist):
    train, real, new = mnist
    copies = (train[:800] + 5 * torch.randn(800, 784, generator=stream())).clamp(0, 255)
    honest, copied = (
        [metric.judge(real, fake, train=train, rng=stream()) for metric in (Authenticity(), Ct())]
        for fake in (new, copies)
    )
    assert honest[0].value > 0.5
    assert abs(honest[1].value) < 3
    assert copied[0].high < 0.05
    assert copied[1].high < -10
    which, _ = nearest_training(copies, train)
    assert float((which[:, 0] == torch.arange(800)).double().mean()) > 0.99
