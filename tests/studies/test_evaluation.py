"""gantlet.evaluate on Python objects, and the parts behind it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import gantlet
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.results import samples_needed
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.core.data import InMemory, all_samples
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Features
from gantlet.core.spec import datasets, families
from gantlet.data.splits import Concatenated
from gantlet.features.base import FeatureCache, FeatureSet, feature_set

RNG = gantlet.Rng(0)


def normal(n, name, d=5):
    return torch.randn(n, d, generator=RNG.stream(name))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_tensors_arrays_batches_models_and_data_sets_are_samples():
    data = datasets.make("digits")
    splits = data.load(rng=RNG)
    model = families.make("histogram").fit(data.space, all_samples(splits.train), rng=RNG).model
    x = all_samples(splits.validation)
    fakes = {
        "tensor": x,
        "array": x.numpy().astype(np.uint8),
        "batches": list(torch.split(x, 50)),
        "stream": (b for b in torch.split(x, 50)),
        "model": model,
        "set": data,
    }
    report = gantlet.evaluate(fakes, data, metrics=["energy"], features=["pixels"], samples=150)
    found = {r.model.partition("=")[0]: r.estimate for r in report.rows if r.model != "real"}
    assert found.keys() == fakes.keys()
    # The order of samples decides how they are thinned, which is the same for these three.
    assert found["tensor"].value == found["array"].value == found["batches"].value
    # An iterator may never end: of one the first samples are taken.
    assert any("the first 150 samples of stream were taken" in c.text for c in report.caveats)
    assert found["set"].value < 0.01
    with pytest.raises(gantlet.UserError, match="fake must be a path"):
        gantlet.evaluate(3, data)


@pytest.mark.usefixtures("here")
def test_the_same_seed_gives_the_same_report():
    settings = {"metrics": ["energy", "c2st"], "features": ["pixels"]}
    x, y = normal(200, "x"), normal(220, "y")
    first = gantlet.evaluate(x, y, out="a", **settings)
    again = gantlet.evaluate(x, y, out="b", **settings)
    assert first.rows == again.rows
    other = gantlet.evaluate(x, y, seed=1, out="c", **settings)
    assert first.rows != other.rows


def test_rows_are_made_once_and_mapped_from_disk(tmp_path):
    made = []

    def parts():
        made.append(1)
        yield from torch.split(torch.arange(12.0).reshape(6, 2), 4)

    cache = FeatureCache(tmp_path / "c")
    for _ in range(2):
        assert cache.rows("key", 6, parts).tolist() == torch.arange(12.0).reshape(6, 2).tolist()
    assert made == [1]


def test_the_oldest_rows_go_when_the_cache_grows_too_large(tmp_path):
    import os

    cache = FeatureCache(tmp_path, most=1000)
    for i in range(4):
        cache.rows(str(i), 100, lambda: [torch.zeros(100, 1)])
        for file in tmp_path.glob("*.npy"):
            os.utime(file, (0, file.stat().st_mtime - 10))
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_an_interrupted_extraction_leaves_nothing(tmp_path):
    def broken():
        yield torch.zeros(2, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path / "c").rows("key", 4, broken)
    assert not list((tmp_path / "c").iterdir())


def test_feature_sets_of_shards_are_those_of_the_whole():
    features = Features(extract=lambda x: x[:, :2], note="two", fingerprint="two")
    x = normal(40, "shards")
    whole = feature_set(features, InMemory(x), block=7)
    parts = [feature_set(features, InMemory(x[i : i + 20]), block=6) for i in (0, 20)]
    joined = parts[0].joined(parts[1])
    assert torch.equal(whole.rows, joined.rows)
    moments = parts[0].moments() + parts[1].moments()
    torch.testing.assert_close(moments.scatter, whole.moments().scatter)
    stranger = FeatureSet(rows=x, fingerprint="three")
    with pytest.raises(gantlet.UserError, match="cannot be compared"):
        whole.joined(stranger)


def test_joined_sources_are_one():
    a, b = InMemory(torch.arange(3.0)[:, None]), InMemory(torch.arange(3.0, 8)[:, None])
    both = Concatenated(a, b)
    assert len(both) == 8
    assert both.take(torch.tensor([7, 0, 3, 2])).flatten().tolist() == [7, 0, 3, 2]


def test_samples_needed_grow_with_the_square_of_the_width():
    apart = Estimate(value=1.0, low=-1.0, high=3.0, n=100, better="lower")
    assert samples_needed(apart) == 400


def test_lopsided_intervals_keep_their_sides():
    from gantlet.stats.intervals import is_separated, p_value
    from gantlet.stats.jackknife import unpaired

    few = Estimate(value=20.0, low=10.0, high=50.0, n=9, better="higher")
    many = Estimate(value=900.0, low=400.0, high=5000.0, n=9, better="higher")
    apart = unpaired(few, many)
    assert (apart.low, apart.high) == pytest.approx((-880 - 4100.0122, -880 + 500.8992), abs=1e-3)
    assert is_separated(apart)
    assert p_value(apart) < 0.001


def test_extractors_learn_from_what_neither_fakes_nor_floor_are(tmp_path):
    np.save(real := tmp_path / "real.npy", normal(300, "real").numpy())
    np.save(fake := tmp_path / "fake.npy", normal(100, "fake").numpy())
    asked = EvaluationSpec(real=str(real), train=None, fakes=(str(fake),), divides=True)
    sets = EvaluationSets(asked)
    floor = sets.floor(100)
    assert floor is not None
    rows = set(map(tuple, all_samples(floor.other.source).tolist()))
    splits, told = sets.known_splits()
    parts = (splits.train, splits.validation, splits.test)
    learned = {tuple(row) for part in parts for row in all_samples(part).tolist()}
    assert len(rows) == 100
    assert len(learned) == 200
    assert not rows & learned
    assert "the reference itself" in told
    assert sets.learns_from_reference("pca")


def test_of_all_splits_together_the_training_split_is_a_part_of_the_floor_too():
    asked = EvaluationSpec(real="digits@all", train=None, fakes=("digits@test",), divides=True)
    sets = EvaluationSets(asked)
    floor = sets.floor(sets.sizes()[-1])
    assert floor is not None
    assert floor.is_divided
    splits, told = sets.known_splits()
    assert "the reference itself" in told
    parts = (splits.train, splits.validation, splits.test)
    assert sum(map(len, parts)) == floor.real.n
    assert sets.learns_from_reference("pca")


def test_the_training_set_that_is_given_comes_first(tmp_path):
    data = datasets.make("digits")
    x = all_samples(data.load(rng=RNG).validation).numpy().astype(np.uint8)
    np.save(file := tmp_path / "f.npy", x)
    asked = EvaluationSpec(real="digits@test", train=str(file), fakes=("digits@validation",))
    splits, told = EvaluationSets(asked).known_splits()
    assert told.endswith(f"samples of {file}")
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == len(x)
    assert EvaluationSets(replace(asked, train="digits@train")).known_splits()[1] == (
        "the training split of digits@train"
    )
    assert (
        EvaluationSets(replace(asked, train=None)).known_splits()[1]
        == "the training split of digits@test"
    )


def rare_words(rng):
    """Lines of six words, half of which occur in a few lines each."""
    words = [f"w{i}" for i in rng.integers(0, 8, 3)] + [f"r{i}" for i in rng.integers(0, 60, 3)]
    return " ".join(words)


def rare_rows(rng):
    return f"c{rng.integers(0, 3)},k{int(rng.zipf(1.8)) % 25},{rng.normal():.4f}"


@pytest.mark.parametrize(
    ("ending", "make", "head"),
    [("txt", rare_words, ()), ("csv", rare_rows, ("a,b,c",))],
    ids=["text", "table"],
)
def test_the_noise_floor_is_written_as_fakes_are(ending, make, head, tmp_path):
    """Fakes and the real samples of the floor change places: so does what extractors get."""
    rng = np.random.default_rng(3)
    lines = [make(rng) for _ in range(90)]
    real, fake = lines[:60], lines[60:]

    def read(name, real, fake):
        folder = tmp_path / name
        folder.mkdir()
        files = []
        for what, rows in (("real", real), ("fake", fake)):
            files.append(str(folder / f"{what}.{ending}"))
            (folder / f"{what}.{ending}").write_text("\n".join([*head, *rows]) + "\n")
        asked = EvaluationSpec(real=files[0], train=None, fakes=(files[1],), divides=True)
        sets = EvaluationSets(asked)
        own, its = (sets.recoded(s.samples) for s in (sets.real, sets.fake(files[1])))
        assert own.space == its.space
        assert own.code is its.code
        whole = torch.arange(60)
        return sets.floor(30), own.source.take(whole), its.source.take(whole[:30]), own.code

    floor, own, its, code = read("a", real, fake)
    places = floor.other.places.tolist()
    swapped = list(real)
    for place, line in zip(places, fake, strict=True):
        swapped[place] = line
    floor_, own_, its_, code_ = read("b", swapped, [real[i] for i in places])
    assert floor_.other.places.tolist() == places
    # The order of categories may be another one.
    assert code_.read(its_) == code.read(own[places])
    assert code_.read(own_[places]) == code.read(its)
    rest = floor.real.places
    assert code_.read(own_[rest]) == code.read(own[rest])
    # Some that only the floor holds is unknown in it.
    unknown = "□" if ending == "txt" else "another"
    assert any(unknown in line for line in code.read(own[places]))


def test_without_a_division_nothing_is_learned_again(tmp_path):
    for name, n in (("real", 40), ("fake", 20), ("control", 20)):
        rng = np.random.default_rng(len(name))
        (tmp_path / f"{name}.txt").write_text("\n".join(rare_words(rng) for _ in range(n)) + "\n")
    real, fake, control = (str(tmp_path / f"{n}.txt") for n in ("real", "fake", "control"))
    asked = EvaluationSpec(real=real, train=None, fakes=(fake,), control=control, divides=True)
    sets = EvaluationSets(asked)
    assert sets.recoded(sets.real.samples) is sets.real.samples
