"""Samples that are given as Python objects become what the command line reads."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from gantlet import given
from gantlet.commands.evaluate.inputs import find_samples, named
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.given import to_spec
from gantlet.run import given_samples


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


X = noise(60, 3, 8, 8)
BYTES = (X * 255).to(torch.uint8)
PIL = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in BYTES]


class Net(nn.Module):
    def sample(self, n):
        return X[:n].clone().requires_grad_()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def found(given, *, n=60, name="mine"):
    samples = find_samples(to_spec(given, name, n=n, seed=0), "fake")
    assert samples.name == name
    return samples


@pytest.mark.parametrize(
    "given",
    [
        X,
        X.double(),
        X.numpy(),
        X.numpy().astype(">f4"),
        X.permute(0, 2, 3, 1).numpy(),
        X.clone().requires_grad_(),
        X.to_sparse(),
        list(X),
        tuple(X),
        list(X.numpy()),
        [x.permute(1, 2, 0).numpy() for x in X],
        [X[:20], X[20:]],
        iter(X.split(20)),
        (x for x in X),
        DataLoader(X, batch_size=7),
        DataLoader(X, batch_size=3),
        DataLoader(X, batch_size=None),
        DataLoader(TensorDataset(X, torch.zeros(60)), batch_size=20),
        DataLoader([{"image": x, "label": 3} for x in X], batch_size=20),
        DataLoader([{"label": 3, "photo": x} for x in X], batch_size=20),
        DataLoader(Stream(), batch_size=16),
        TensorDataset(X),
        TensorDataset(X, torch.zeros(60)),
        [(x, 3) for x in X],
        [{"pixel_values": x} for x in X],
        Stream(),
        Net(),
        lambda n: X[:n],
        lambda n: X[:n].numpy(),
        lambda n: list(X[:n]),
        lambda n: (X[:n], torch.zeros(n)),
    ],
    ids=itertools.count(),
)
def test_objects_that_hold_the_same_samples_are_the_same(given):
    samples = found(given)
    assert samples.space.shape == (3, 8, 8)
    assert torch.equal(all_samples(samples.source), X)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (PIL, BYTES),
        ([(image, 3) for image in PIL], BYTES),
        (X.bfloat16(), X.bfloat16().float()),
        (X.half().numpy(), X.half().float()),
        (X > 0.5, (X > 0.5).float()),
        (X[:, 0].numpy(), X[:, :1]),
        ([x.convert("L").convert("RGB").convert("P") for x in PIL[:3]], None),
        (X.flatten(1).tolist(), X.flatten(1)),
        (torch.distributions.Independent(torch.distributions.Normal(X[0], 1e-9), 3), None),
    ],
    ids=itertools.count(),
)
def test_number_types_and_images(given, wanted):
    samples = found(given)
    if wanted is not None:
        assert torch.equal(all_samples(samples.source), wanted.float())


def test_what_was_done_is_said():
    told = found([(x, 3) for x in X]).note
    assert told == "of each item of mine the first part was taken"
    assert "'image' was taken" in found(DataLoader([{"image": x} for x in X])).note
    assert "converted to RGB" in found([im.convert("RGBA") for im in PIL]).note
    assert found(X).note == ""


def test_endless_iterators_end_where_samples_are_counted(monkeypatch):
    batches = (X[i % 3 * 20 : i % 3 * 20 + 20] for i in itertools.count())
    samples = found(batches, n=50)
    assert torch.equal(all_samples(samples.source), X[:50])
    assert "the first 50 samples of mine were taken" in samples.note
    assert "20" in str(next(batches).shape), "no more was read than needed"
    monkeypatch.setattr(given, "memory", lambda: 2**20)
    with pytest.raises(UserError, match=r"more than 0.0 GB.*Give samples=N"):
        found((X for _ in itertools.count()), n=None)
    with pytest.raises(UserError, match="batches in a row that are empty"):
        found(X[:0] for _ in itertools.count())


def test_a_data_set_of_torch_is_thinned_without_reading_all_of_it():
    class Large(torch.utils.data.Dataset):
        def __len__(self):
            return 10**9

        def __getitem__(self, i):
            return torch.full((4,), float(i % 1000)), i

    samples = found(Large(), n=30)
    assert len(samples.source) == 30
    assert "30 of the 1,000,000,000 items" in samples.note


def test_tables_of_pandas():
    frame = pd.DataFrame({"age": [31, 45, 28] * 9, "job": ["nurse", "clerk", "cook, chef"] * 9})
    samples = found(frame)
    assert len(samples.source) == 27
    numbers = found(pd.DataFrame(noise(30, 2).numpy(), columns=["a", "b"]))
    assert numbers.space.shape == (2,)


class Broken(nn.Module):
    def sample(self, n):
        raise RuntimeError("no CUDA")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array([[1, None]], dtype=object), "holds Python objects"),
        (np.array([["a", "b"]]), "holds <U1"),
        (np.zeros((3, 2), complex), "holds complex128"),
        (torch.zeros(3, 2, dtype=torch.complex64), "holds torch.complex64"),
        (np.zeros((3, 2), "datetime64[s]"), r"holds datetime64\[s\]"),
        (np.zeros(3), r"mine has shape \(3,\)"),
        (np.zeros((0, 3)), "mine has shape 0x3"),
        (np.full((5, 2), np.nan), "mine holds 10 NaN or infinite values"),
        (np.ma.masked_less(np.arange(6.0).reshape(3, 2), 2), "masked"),
        ([], "holds no samples"),
        ([X[0], X[0, :, :4]], "differ in shape"),
        ([X[0], BYTES[0]], "mixes float32, uint8"),
        ([X[0, 0], X[1, 0]], "may be samples or batches"),
        ([(x, x) for x in X], "of which any may be the samples"),
        ([{"a": x, "b": x} for x in X], "Which holds the samples"),
        (["a.png", "b.png"], "For files, give the folder"),
        ([None], "gave NoneType"),
        ([1.0, 2.0], "give one array"),
        ({"a": 1}, "Got dict"),
        (None, "Got NoneType"),
        (3, "Got int"),
        (b"abc", "Got bytes"),
        (object(), "Got object"),
        (PIL[0], "Got Image"),
        (nn.Conv2d(2, 2, 3), "cannot be read off its first layer"),
        (Net, "is the class Net"),
        (Broken(), "was asked for 60 samples and raised RuntimeError: no CUDA"),
        (lambda: 1, "raised TypeError"),
        (lambda n: "x", "returned str"),
        (lambda n: X[: n - 1], "was asked for 60 samples and returned 59"),
        (lambda n: torch.zeros(()), "returned 0"),
        ((1 / 0 for _ in range(3)), "mine raised ZeroDivisionError"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_sample_is_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        found(given)
    assert "\n" not in str(caught.value)
    assert "inputs" not in str(caught.value), "the cache is nobody's name"


@pytest.mark.parametrize(
    "name", ["lr=0.1", "a/b", "unet:big", 'say "so"', "x=y:z/w", "a,b", "é ü", "digits@train", "@"]
)
def test_names_are_kept_as_given(name):
    word = to_spec(X, name, n=60, seed=0)
    assert named(word)[0] == name
    assert found(X, name=name).name == name


def test_what_is_kept_counts_against_the_limit_and_is_mended(monkeypatch, tmp_path):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path))
    folder = tmp_path / "inputs"
    first = to_spec(X, "mine", n=60, seed=0)
    (file,) = folder.glob("*.npy")
    size = file.stat().st_size
    content = file.read_bytes()
    file.write_bytes(content[:-4] + b"\0\0\0\0")
    assert to_spec(X, "mine", n=60, seed=0) == first
    assert file.read_bytes() == content, "a damaged file is written again"

    monkeypatch.setattr(given_samples, "LIMIT", int(2.5 * size))
    monkeypatch.setattr(given_samples, "IN_USE_SECONDS", -1.0)
    for seed in range(1, 5):
        to_spec(noise(60, 3, 8, 8, seed=seed), "mine", n=60, seed=0)
        assert sum(f.stat().st_size for f in folder.glob("*.npy")) <= given_samples.LIMIT
    with pytest.raises(UserError, match=r"'mine' were given in Python and are no longer"):
        find_samples(first, "fake")
    monkeypatch.setattr(given_samples, "LIMIT", size // 2)
    with pytest.raises(UserError, match=r"may have 0 GB. Save them to a .npy file"):
        to_spec(noise(60, 3, 8, 8, seed=9), "mine", n=60, seed=0)


def test_what_is_kept_is_checked_when_it_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    word = to_spec(X, "mine", n=60, seed=0)
    (file,) = (tmp_path / "cache/inputs").glob("*.npy")
    assert len(find_samples(word, "fake").source) == len(X)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"'mine' were given in Python and are damaged"):
        find_samples(word, "fake")
    file.write_bytes(content)
    file.parent.chmod(0o777)
    for act in (lambda: find_samples(word, "fake"), lambda: to_spec(X, "mine", n=60, seed=0)):
        with pytest.raises(UserError, match="can be written by all users"):
            act()
    file.parent.chmod(0o700)
    # A process that is gone left this behind: no number is as large as that of its process.
    (draft := file.with_name(f".{file.name}.{2**22 + 1}")).write_bytes(b"half")
    to_spec(X + 1, "other", n=60, seed=0)
    assert not draft.exists()
