"""Splits by share, official splits, and what they refuse."""

import pytest
import torch

from gantlet.core.data import InMemory, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.splits import published_split, random_split


def _numbers(n):
    return InMemory(torch.arange(n)[:, None], torch.arange(n) % 3)


def _values(source):
    return all_samples(source).flatten().int().tolist()


def test_shares_cover_everything_once():
    splits = random_split(_numbers(100), validation=0.2, test=0.1, limit=None, rng=Rng(0))
    parts = [_values(s) for s in (splits.train, splits.validation, splits.test)]
    assert [len(p) for p in parts] == [70, 20, 10]
    assert sorted(v for part in parts for v in part) == list(range(100))
    assert splits.note == "70 train, 20 validation and 10 test samples of 100, drawn by seed 0."


def test_labels_stay_with_their_samples():
    splits = random_split(_numbers(50), validation=0.2, test=0.2, limit=None, rng=Rng(1))
    for source in (splits.train, splits.validation, splits.test):
        assert source.labels.tolist() == [v % 3 for v in _values(source)]


def test_limit_shortens_training_and_nothing_else():
    full = random_split(_numbers(50), validation=0.2, test=0.2, limit=None, rng=Rng(1))
    short = random_split(_numbers(50), validation=0.2, test=0.2, limit=7, rng=Rng(1))
    assert _values(short.train) == _values(full.train)[:7]
    assert _values(short.validation) == _values(full.validation)
    assert _values(short.test) == _values(full.test)


def test_every_split_has_a_sample_even_of_three():
    splits = random_split(_numbers(3), validation=0.0, test=0.0, limit=None, rng=Rng(0))
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [1, 1, 1]


@pytest.mark.parametrize(("n", "share"), [(0, 0.1), (2, 0.1), (10, 0.5), (10, 1.0)])
def test_too_few_samples_for_three_splits(n, share):
    with pytest.raises(UserError, match="Three splits need samples for each"):
        random_split(_numbers(n), validation=share, test=share, limit=None, rng=Rng(0))


def test_an_official_test_is_kept():
    test = _numbers(4)
    splits = published_split(_numbers(20), test, validation=5, limit=3, rng=Rng(0))
    assert splits.test is test
    assert [len(splits.train), len(splits.validation)] == [3, 5]
    assert not set(_values(splits.train)) & set(_values(splits.validation))


@pytest.mark.parametrize("validation", [0, 20, 21])
def test_validation_must_leave_training_samples(validation):
    with pytest.raises(UserError, match="validation must be from 1 to 19"):
        published_split(_numbers(20), _numbers(4), validation=validation, limit=None, rng=Rng(0))


def test_an_empty_test_is_refused():
    with pytest.raises(UserError, match="holds no samples"):
        published_split(_numbers(20), _numbers(0), validation=5, limit=None, rng=Rng(0))


def test_the_device_of_the_seed_does_not_matter():
    # A generator of another device would give other numbers; the meta device has none at all.
    on_cpu = random_split(_numbers(9), validation=0.2, test=0.2, limit=None, rng=Rng(0, "cpu"))
    on_meta = random_split(_numbers(9), validation=0.2, test=0.2, limit=None, rng=Rng(0, "meta"))
    assert _values(on_cpu.train) == _values(on_meta.train)


def test_digits_keep_their_published_test():
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    last = np.random.RandomState(0).permutation(1797)[-360:]
    for seed in (0, 1):
        splits = datasets.make("digits").load(rng=Rng(seed))
        assert np.array_equal(all_samples(splits.test).flatten(1).numpy(), pixels[last])
        assert splits.test.labels.tolist() == classes[last].tolist()
        assert [len(splits.train), len(splits.validation)] == [1257, 180]
