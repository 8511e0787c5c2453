"""The laws that every data set which needs no file must keep."""

import pytest
import torch

from gantlet.core.data import Dataset, KnownDensity, KnownSupport, Source, all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, options
from gantlet.data.synthetic_tokens import KnownTokens
from gantlet.testing import check_dataset

_FILES = {"path", "images"}
_EXTRA = [
    "energy:index=2",
    "energy:index=3",
    "energy:index=4",
    "digits:limit=100,validation=90",
    "process:kind=table",
    "mixed-table:missing=0.2",
]


def _free():
    return [
        n for n in datasets.names() if not _FILES & {o.name for o in options(datasets.load(n))}
    ]


def _splits(splits):
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def _rows(source):
    return {tuple(row.tolist()) for row in all_samples(source).flatten(1)}


_FEWER = {name: f"{name}:n=300,held_out=100" for name in ("dots", "pies", "polygons", "sprites")}


@pytest.fixture(scope="module", params=[*_free(), *_EXTRA])
def data(request):
    return datasets.make(_FEWER.get(request.param, request.param))


def test_the_sets_that_need_no_file_are_all_here():
    assert _free() == [
        "checkerboard",
        "digits",
        "dots",
        "energy",
        "gaussians",
        "grid",
        "manifolds",
        "markov",
        "mixed-table",
        "moons",
        "offline",
        "oracle",
        "pcfg",
        "pies",
        "planar",
        "polygons",
        "process",
        "ring",
        "sbm",
        "sbm-network",
        "segments",
        "sprites",
        "tones",
        "trees",
    ]


def test_it_is_a_data_set(data):
    assert isinstance(data, Dataset)
    assert data == type(data)(**{o.name: getattr(data, o.name) for o in options(type(data))})


def test_it_keeps_the_contract(data):
    check_dataset(data)


def test_every_sample_is_of_the_space(data):
    for name, source in _splits(data.load(rng=Rng(0))).items():
        assert isinstance(source, Source)
        x = data.space.check(all_samples(source), name)
        assert x.dtype == torch.float32
        assert len(x) == len(source) > 0


def test_labels_are_one_integer_for_each_sample(data):
    for source in _splits(data.load(rng=Rng(0))).values():
        if source.labels is not None:
            assert source.labels.shape == (len(source),)
            assert source.labels.dtype == torch.int64


def test_splits_share_no_sample(data):
    if isinstance(data, KnownTokens):
        pytest.skip("a likely row is drawn again")
    splits = data.load(rng=Rng(0))
    train, validation, test = (_rows(s) for s in _splits(splits).values())
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_taking_by_index_agrees_with_taking_everything(data):
    source = data.load(rng=Rng(0)).train
    index = torch.tensor([3, 0, 3])
    assert torch.equal(source.take(index), all_samples(source)[index])
    assert torch.equal(all_samples(source, limit=5), all_samples(source)[:5])


def test_the_same_seed_gives_the_same_splits(data):
    one, two = data.load(rng=Rng(1)), data.load(rng=Rng(1))
    for a, b in zip(_splits(one).values(), _splits(two).values(), strict=True):
        assert torch.equal(all_samples(a), all_samples(b))
    assert one.note == two.note


def test_another_seed_gives_other_splits(data):
    one, two = data.load(rng=Rng(1)), data.load(rng=Rng(2))
    assert not torch.equal(all_samples(one.train), all_samples(two.train))
    assert _rows(one.validation) != _rows(two.validation)


def test_global_random_state_is_left_alone(data):
    before = torch.random.get_rng_state()
    data.load(rng=Rng(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_note_tells_the_sizes_and_the_seed(data):
    splits = data.load(rng=Rng(7))
    for number in (len(splits.train), len(splits.validation), len(splits.test)):
        assert str(number) in splits.note
    assert "seed 7" in splits.note


def test_a_known_density_is_finite_on_samples(data):
    if isinstance(data, KnownDensity):
        x = all_samples(data.load(rng=Rng(0)).test)
        value = data.log_density(x)
        assert value.shape == (len(x),)
        assert value.dtype == x.dtype
        assert bool(value.isfinite().all())


def test_a_known_support_is_that_of_the_samples(data):
    if not isinstance(data, KnownSupport):
        return
    test = data.load(rng=Rng(0)).test
    x = all_samples(test)
    modes, inside = data.modes_of(x), data.on_support(x)
    assert modes.dtype == torch.int64
    assert inside.dtype == torch.bool
    assert modes.shape == inside.shape == (len(x),)
    assert data.weights.dtype == torch.float64
    assert float(data.weights.sum()) == pytest.approx(1)
    share = torch.bincount(test.labels, minlength=len(data.weights)) / len(x)
    assert torch.allclose(share.double(), data.weights, atol=5 * 0.5 / len(x) ** 0.5)
    assert float((modes == test.labels).double().mean()) > 0.99
    assert float(inside.double().mean()) == pytest.approx(data.ceiling, abs=0.012)
    far = x + 1e3 * (1 + x.abs().max())
    assert not bool(data.on_support(far).any())


def test_written_form_round_trips():
    for name in _free():
        text = datasets.resolve(name)
        assert datasets.make(text) == datasets.make(name)
