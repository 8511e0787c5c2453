import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from gantlet.core.data import InMemory, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, extractors
from gantlet.data.splits import Subset
from gantlet.features import base as frozen_file
from gantlet.features import fitted
from gantlet.features import fitted as classifier_file
from gantlet.features.base import (
    block_of,
    blocks,
    digest,
    feature_set,
    frozen,
    subsample_indices,
)
from gantlet.features.fitted import (
    ClassifierNet,
    RandomConvolutions,
    RandomFourier,
    accuracy_text,
    orthogonal,
)
from gantlet.models.nets import Scaling, seeded
from gantlet.stats.moments import exact, leading
from gantlet.testing.contracts import labelled_splits

DIGITS = Space("image", (1, 8, 8), 17)
COLOUR = Space("image", (3, 32, 32), 256)
TABLE = Space("vector", (6,))


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path, monkeypatch):
    """So that whatever is trained twice is trained twice: no folder can be made below a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "file"))


@pytest.fixture(scope="module")
def digits():
    return datasets.make("digits").load(rng=Rng(0))


@pytest.fixture(scope="module")
def classifier(digits):
    return extractors.make("classifier").fit(DIGITS, digits, rng=Rng(0))


def fit(text, space, data, seed=0):
    return extractors.make(text).fit(space, data, rng=Rng(seed))


def unlabelled(splits):
    x = [all_samples(s) for s in (splits.train, splits.validation, splits.test)]
    return Splits(**dict(zip(("train", "validation", "test"), map(InMemory, x), strict=True)))


def table(n, seed=0):
    """Correlated columns whose units differ by six orders of magnitude."""
    rng = Rng(seed).stream("table")
    mixed = torch.randn(n, 6, generator=rng) @ torch.randn(6, 6, generator=Rng(9).stream("mix"))
    return mixed * torch.logspace(-3, 3, 6) + 5


def pictures(n):
    """Colour images of two classes: smooth patterns under noise, levels 0 to 255."""
    rng = Rng(0).stream("pictures")
    y = torch.arange(n) % 2
    coarse = torch.randn(2, 3, 4, 4, generator=rng)
    smooth = nn.functional.interpolate(coarse, size=32, mode="bilinear")
    x = 128 + 30 * smooth[y] + 40 * torch.randn(n, 3, 32, 32, generator=rng)
    return x.round().clamp(0, 255), y


def colour_splits(n):
    x, y = pictures(3 * n)
    parts = (InMemory(a, b) for a, b in zip(x.split(n), y.split(n), strict=True))
    return Splits(**dict(zip(("train", "validation", "test"), parts, strict=True)))


# What extractors share


def test_some_takes_all_in_order_or_a_random_sorted_part():
    assert subsample_indices(4, 4, rng=torch.Generator()).tolist() == [0, 1, 2, 3]
    part = subsample_indices(1000, 100, rng=Rng(0).stream("a"))
    assert len(part.unique()) == 100
    assert bool((part.diff() > 0).all())
    assert not torch.equal(part, subsample_indices(1000, 100, rng=Rng(1).stream("a")))


def test_blocks_cover_the_samples_and_stay_small():
    source = InMemory(torch.arange(3000.0)[:, None].expand(-1, 1000))
    space = Space("vector", (1000,))
    parts = list(blocks(source, torch.arange(3000), space, device=torch.device("cpu")))
    assert torch.equal(torch.cat(parts)[:, 0], torch.arange(3000.0))
    assert max(map(len, parts)) == block_of(space) == 262


def test_digest_sees_every_bit_name_and_shape():
    w = torch.arange(4.0)
    nudged = torch.tensor([0, 1, 2, np.nextafter(np.float32(3), np.float32(4))])
    states = [{"w": w}, {"v": w}, {"w": w.view(2, 2)}, {"w": w.double()}, {"w": nudged}]
    assert len({digest(s) for s in states}) == len(states)
    assert digest({"a": w, "b": w}) == digest({"b": w, "a": w.clone()})


def test_a_net_is_frozen(digits):
    with seeded(Rng(0).stream("init")):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Dropout(0.5))
    features = frozen(net, DIGITS, spec=Spec("made"), note="a note")
    x = all_samples(digits.test)
    assert torch.equal(features.extract(x), net[1](x.flatten(1)))
    assert not any(p.requires_grad for p in net.parameters())
    assert features.note == "a note"
    assert features.fingerprint.startswith("made/image 1x8x8 with 17 levels/")


@pytest.mark.parametrize("text", ["pca", "random-conv", "classifier:steps=5"])
def test_small_blocks_give_what_one_block_gives(text, digits, monkeypatch):
    x = all_samples(digits.test, 100)
    whole = fit(text, DIGITS, digits).extract(x)
    monkeypatch.setattr(frozen_file, "COMPONENTS_AT_ONCE", 64 * 37)
    # The training split comes in other blocks too.
    assert torch.allclose(fit(text, DIGITS, digits).extract(x), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("text", ["pca", "random-conv", "classifier:steps=5"])
def test_fingerprints_tell_settings_data_and_space_apart(text, digits):
    option = {"pca": "components=3", "random-conv": "features=64"}.get(text, "features=32")
    joined = f"{text}{',' if ':' in text else ':'}{option}"
    others = datasets.make("digits:limit=900").load(rng=Rng(0))
    tall = labelled_splits(Space("image", (1, 16, 4), 17), 50)
    found = {
        fit(text, DIGITS, digits).fingerprint,
        fit(joined, DIGITS, digits).fingerprint,
        fit(text, DIGITS, others).fingerprint,
        fit(text, Space("image", (1, 16, 4), 17), tall).fingerprint,
    }
    assert len(found) == 4


def test_double_precision_samples_are_welcome(digits):
    x = all_samples(digits.test, 20)
    for text in ("pixels", "pca", "random-conv", "classifier:steps=5"):
        seen = fit(text, DIGITS, digits)
        assert seen.extract(x.double()).dtype == torch.float32
        assert torch.allclose(seen.extract(x.double()), seen.extract(x), atol=1e-5)


# Principal components


def svd(x):
    """Mean, variances and directions by numpy, directions with their largest number positive."""
    x = x.double().flatten(1).numpy()
    mean = x.mean(0)
    _, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    largest = vt[np.arange(len(vt)), np.abs(vt).argmax(1)]
    return mean, s**2 / (len(x) - 1), vt.T * np.sign(largest)


def test_pca_equals_the_svd_on_digits(digits):
    x, y = (Scaling(DIGITS)(all_samples(s)) for s in (digits.train, digits.test))
    mean, _, directions = svd(x)
    found = fit("pca:components=20", DIGITS, digits).extract(all_samples(digits.test))
    expected = (y.double().flatten(1).numpy() - mean) @ directions[:, :20]
    assert found.shape == (360, 20)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_pca_stops_at_the_share_of_the_variance(digits):
    _, variances, _ = svd(Scaling(DIGITS)(all_samples(digits.train)))
    share = variances.cumsum() / variances.sum()
    for variance in (0.5, 0.9, 0.99):
        k = int((share < variance).sum()) + 1
        seen = fit(f"pca:variance={variance}", DIGITS, digits)
        assert seen.extract(all_samples(digits.test, 2)).shape == (2, k)
        assert f"first {k} principal components of 1257" in seen.note
        assert f"{100 * share[k - 1]:.1f} %" in seen.note


def test_whitened_components_have_unit_variance_and_do_not_correlate(digits):
    seen = fit("pca:whiten=true,components=30", DIGITS, digits)
    covariance = seen.extract(all_samples(digits.train)).double().T.cov()
    assert torch.allclose(covariance, torch.eye(30, dtype=torch.float64), atol=1e-5)


def test_pca_leaves_out_directions_without_variance(digits):
    # Three of the 64 pixels of digits are always white.
    seen = fit("pca:variance=1,components=64", DIGITS, digits)
    constant = int((all_samples(digits.train).flatten(1).std(0) == 0).sum())
    assert constant > 0
    assert seen.extract(all_samples(digits.test, 2)).shape == (2, 64 - constant)


def test_pca_keeps_distances_where_all_components_are_kept(digits):
    x = all_samples(digits.train, 50)
    seen = fit("pca:variance=1", DIGITS, digits).extract(x).double()
    scaled = Scaling(DIGITS)(x).flatten(1).double()
    assert torch.allclose(torch.cdist(seen, seen), torch.cdist(scaled, scaled), atol=1e-4)


def test_pca_of_a_table_does_not_depend_on_units():
    parts = [table(400, seed) for seed in range(3)]
    metres = Splits(
        train=InMemory(parts[0]), validation=InMemory(parts[1]), test=InMemory(parts[2])
    )
    units = torch.tensor([1e-3, 1, 1e3, 10, 1, 1e-2])
    feet = Splits(
        **{
            n: InMemory(all_samples(getattr(metres, n)) * units)
            for n in ("train", "validation", "test")
        }
    )
    a = fit("pca:variance=1", TABLE, metres).extract(parts[2])
    b = fit("pca:variance=1", TABLE, feet).extract(parts[2] * units)
    assert a.shape == (400, 6)
    assert torch.allclose(a, b, atol=1e-3)


def test_pca_needs_samples_that_differ():
    alike = InMemory(torch.full((20, 1, 8, 8), 3.0))
    with pytest.raises(UserError, match=r"differ\. Got 20 identical ones"):
        fit("pca", DIGITS, Splits(train=alike, validation=alike, test=alike))


def decaying(n, d):
    """Samples whose variances fall as powers of their place, turned at random, float64."""
    rng = Rng(0).stream("decaying")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64) * torch.arange(1, d + 1) ** -0.7
    turn = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64)).Q
    return x @ turn + 0.3


def test_both_ways_to_the_spectrum_equal_the_svd():
    x = decaying(600, 200)
    mean, variances, directions = svd(x)
    whole = exact(iter(x.split(77)))
    few = leading(lambda: x.split(77), 12, rng=Rng(0).stream("pca"))
    for found, tolerance in ((whole, 1e-10), (few, 1e-3)):
        np.testing.assert_allclose(found.mean.numpy(), mean, atol=1e-12)
        assert found.total == pytest.approx(variances.sum(), rel=1e-10)
        np.testing.assert_allclose(found.values[:12].numpy(), variances[:12], rtol=tolerance)
        np.testing.assert_allclose(
            found.vectors[:, :8].numpy(), directions[:, :8], atol=max(tolerance, 1e-8)
        )


@pytest.mark.parametrize("n", [40, 7])
def test_the_spectrum_of_few_large_samples_equals_the_svd(n):
    x = decaying(n, 300)
    mean, variances, directions = svd(x)
    found = leading(lambda: x.split(9), 30, rng=Rng(0).stream("pca"))
    k = min(30, n - 1)
    assert found.vectors.shape == (300, 30)
    np.testing.assert_allclose(found.mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(found.values[:k].numpy(), variances[:k], rtol=1e-9)
    np.testing.assert_allclose(found.values[k:].numpy(), 0, atol=1e-12)
    np.testing.assert_allclose(found.vectors[:, :k].numpy(), directions[:, :k], atol=1e-8)
    inner = found.vectors.T @ found.vectors
    np.testing.assert_allclose(inner.numpy(), np.eye(30), atol=1e-10)
    assert found.total == pytest.approx(variances.sum(), rel=1e-10)


def test_large_samples_take_the_iterative_way():
    data = colour_splits(150)
    seen = fit("pca:components=5", COLOUR, data)
    x = all_samples(data.test, 40)
    mean, _, directions = svd(Scaling(COLOUR)(all_samples(data.train)))
    expected = (Scaling(COLOUR)(x).double().flatten(1).numpy() - mean) @ directions[:, :1]
    np.testing.assert_allclose(seen.extract(x)[:, :1].numpy(), expected, atol=1e-3)


# Random networks


@pytest.mark.parametrize(("rows", "columns"), [(4, 27), (64, 9), (9, 9)])
def test_random_weights_are_orthogonal(rows, columns):
    w = orthogonal(rows, columns, rng=Rng(0).stream("w")).double()
    inner = w @ w.T if rows <= columns else w.T @ w
    assert torch.allclose(inner, torch.eye(len(inner), dtype=torch.float64), atol=1e-6)


def test_random_convolutions_are_orthogonal_and_known():
    net = RandomConvolutions(COLOUR, 256, rng=Rng(0))
    for weight in net.state_dict().values():
        flat = weight.flatten(1).double()
        inner = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
        assert torch.allclose(inner, torch.eye(len(inner), dtype=torch.float64), atol=1e-6)
    # The weights are part of every published number: they must never change.
    assert [round(v, 4) for v in net.weight0.flatten()[:3].tolist()] == [-0.0867, 0.0961, -0.2025]


def test_random_features_do_not_depend_on_the_run(digits):
    x = all_samples(digits.test, 30)
    one, two = (fit("random-conv", DIGITS, digits, seed) for seed in (0, 1))
    assert one.fingerprint == two.fingerprint
    assert torch.equal(one.extract(x), two.extract(x))
    other = fit("random-conv:seed=1", DIGITS, digits)
    assert other.fingerprint != one.fingerprint
    assert not torch.allclose(other.extract(x), one.extract(x))


@pytest.mark.parametrize("side", [4, 8, 16, 28, 32, 64])
def test_there_are_about_as_many_random_features_as_asked_for(side):
    space = Space("image", (3, side, side), 256)
    found = RandomConvolutions(space, 256, rng=Rng(0))(torch.zeros(2, 3, side, side))
    assert found.shape[0] == 2
    assert 224 <= found.shape[1] <= 256


def test_random_features_are_standardised_on_train(digits):
    y = fit("random-conv", DIGITS, digits).extract(all_samples(digits.train)).double()
    assert torch.allclose(y.mean(0), torch.zeros(256, dtype=torch.float64), atol=1e-4)
    std = y.std(0, correction=0)
    # All but those that hardly stir on digits, which are not blown up.
    assert int((std - 1).abs().gt(1e-4).sum()) < 256 // 20
    assert float(std.max()) < 1 + 1e-4


def test_features_that_do_not_vary_stay_finite():
    alike = InMemory(torch.full((20, 1, 8, 8), 3.0))
    seen = fit("random-conv", DIGITS, Splits(train=alike, validation=alike, test=alike))
    assert torch.allclose(seen.extract(all_samples(alike)), torch.zeros(20, 256), atol=1e-5)


def test_fourier_features_approximate_a_sum_of_gaussian_kernels():
    d, count = 5, 40_000
    space = Space("vector", (d,))
    net = RandomFourier(space, count, rng=Rng(0))
    x = torch.randn(6, d, generator=Rng(0).stream("x"))
    y = net(x).double()
    found = 2 * (y @ y.T) / count
    squared = torch.cdist(x, x).double() ** 2 / d
    kernel = torch.stack([torch.exp(-(s**2) * squared / 2) for s in (1, 2, 4, 8)]).mean(0)
    assert torch.allclose(found, kernel, atol=5 / math.sqrt(count))


def test_a_feature_that_hardly_stirs_in_training_does_not_drown_the_others(monkeypatch):
    draws = Rng(3).stream("images")
    train = torch.randint(17, (300, 1, 8, 8), generator=draws).float()
    train[:, :, :4] = 0.0
    lit = train.clone()
    lit[:10, :, :4] = 16.0
    train[0, :, 0, 0] = 1.0
    held = InMemory(train)

    def farthest(least):
        monkeypatch.setattr(fitted, "LEAST_DEVIATION", least)
        seen = fit("random-conv", DIGITS, Splits(train=held, validation=held, test=held))
        assert float(seen.extract(train).double().std(0).median()) == pytest.approx(1, abs=0.01)
        return float(seen.extract(lit).abs().max())

    assert farthest(fitted.LEAST_DEVIATION) < farthest(1e-9) / 10


def test_random_features_of_vectors_see_modes():
    data = datasets.make("ring:n=500,held_out=200").load(rng=Rng(0))
    seen = fit("random-conv", Space("vector", (2,)), data)
    assert seen.extract(all_samples(data.test)).shape == (200, 256)
    assert nearest_centroid(seen, data) > 0.99


# The classifier


def nearest_centroid(seen, data):
    """Accuracy on test of the class whose mean over the training split is nearest."""
    x, y = seen.extract(all_samples(data.train)), data.train.labels
    means = torch.stack([x[y == k].mean(0) for k in y.unique()])
    guess = torch.cdist(seen.extract(all_samples(data.test)), means).argmin(1)
    return float((y.unique()[guess] == data.test.labels).float().mean())


def accuracy_in(note):
    return float(note.split("test accuracy ")[1].split(" %")[0])


def test_the_classifier_gives_probabilities(classifier, digits):
    p = classifier.classify(all_samples(digits.test))
    assert p.shape == (len(digits.test), 10)
    assert torch.allclose(p.sum(1), torch.ones(len(p)))
    right = (p.argmax(1) == digits.test.labels).double().mean()
    assert f"{100 * float(right):.1f} %" in classifier.note


def test_probabilities_are_the_same_from_samples_and_from_their_features(classifier, digits):
    x = all_samples(digits.test)[:300]
    assert torch.equal(classifier.head(classifier.extract(x)), classifier.classify(x))


def test_probabilities_of_a_set_take_no_second_run_of_the_network(classifier, digits):
    runs = []

    def extract(x):
        runs.append(len(x))
        return classifier.extract(x)

    watched = replace(classifier, extract=extract, classify=lambda x: 1 / 0)
    found = feature_set(watched, digits.test, block=100)
    assert sum(runs) == len(digits.test)
    twice = feature_set(replace(classifier, head=None), digits.test, block=100)
    assert torch.equal(found.probabilities, twice.probabilities)


def test_a_classifier_is_trained_once_for_the_same_samples(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    made = fitted.Classifier(features=8, steps=30)
    first = made.fit(DIGITS, digits, rng=Rng(5))
    monkeypatch.setattr(fitted, "train", lambda *_, **__: 1 / 0)
    again = made.fit(DIGITS, digits, rng=Rng(5))
    assert (again.note, again.fingerprint) == (first.note, first.fingerprint)
    x = all_samples(digits.test)
    assert torch.equal(again.classify(x), first.classify(x))
    # Whatever decides it makes another one.
    other = replace(digits, train=Subset(digits.train, torch.arange(500)))
    labels = digits.train.labels.flip(0)
    swapped = replace(digits, train=InMemory(digits.train.take(torch.arange(1257)), labels))
    for settings, data, seed in (
        (made, digits, 6),
        (made, other, 5),
        (made, swapped, 5),
        (fitted.Classifier(features=8, steps=31), digits, 5),
        (fitted.Classifier(features=8, steps=30, lr=1e-3), digits, 5),
    ):
        with pytest.raises(ZeroDivisionError):
            settings.fit(DIGITS, data, rng=Rng(seed))


def test_a_classifier_is_trained_where_nothing_can_be_kept(digits, tmp_path, monkeypatch):
    found = fitted.Classifier(features=8, steps=30).fit(DIGITS, digits, rng=Rng(7))
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    kept = fitted.Classifier(features=8, steps=30).fit(DIGITS, digits, rng=Rng(7))
    assert found.fingerprint == kept.fingerprint
    assert list((tmp_path / "cache" / "features").iterdir())


def test_the_classifier_knows_digits(classifier, digits):
    assert accuracy_in(classifier.note) >= 97
    assert "10 classes" in classifier.note
    assert "1257 labelled samples" in classifier.note
    assert "360 samples" in classifier.note
    assert nearest_centroid(classifier, digits) > 0.95


def test_classifier_features_are_all_alive(classifier, digits):
    y = classifier.extract(all_samples(digits.test))
    assert y.shape == (360, 64)
    assert bool((y.std(0) > 0).all())


def test_the_accuracy_in_the_note_is_that_of_the_features(classifier, digits):
    # A linear layer on the features cannot do much worse than the one they were trained with.
    x, y = (classifier.extract(all_samples(s)).double() for s in (digits.train, digits.test))
    x, y = (torch.cat([z, torch.ones(len(z), 1)], 1) for z in (x, y))
    target = torch.eye(10, dtype=torch.float64)[digits.train.labels]
    w = torch.linalg.solve(x.T @ x + torch.eye(65), x.T @ target)
    right = ((y @ w).argmax(1) == digits.test.labels).double().mean()
    assert 100 * float(right) == pytest.approx(accuracy_in(classifier.note), abs=2)


def test_training_repeats_and_depends_on_the_seed(digits):
    x = all_samples(digits.test, 30)
    one, two, three = (fit("classifier:steps=60", DIGITS, digits, seed) for seed in (3, 3, 4))
    assert torch.equal(one.extract(x), two.extract(x))
    assert (one.note, one.fingerprint) == (two.note, two.fingerprint)
    assert one.fingerprint != three.fingerprint


def test_the_test_split_does_nothing_but_rate(digits):
    x = all_samples(digits.train, 50)
    other = Splits(train=digits.train, validation=digits.validation, test=digits.validation)
    one, two = (fit("classifier:steps=40", DIGITS, data) for data in (digits, other))
    assert torch.equal(one.extract(x), two.extract(x))
    assert one.note != two.note


def test_the_best_epoch_on_validation_is_kept(monkeypatch):
    data = labelled_splits(DIGITS, 128)
    x = all_samples(data.test)

    def features(*verdicts):
        rest = iter([*verdicts, 0])  # the last rates the test
        monkeypatch.setattr(fitted, "count_correct", lambda *_, **__: (next(rest), 128))
        monkeypatch.setattr(classifier_file, "count_correct", lambda *_, **__: (next(rest), 128))
        return fit("classifier:epochs=3", DIGITS, data).extract(x)

    second, last = features(1, 9, 2), features(1, 2, 9)
    assert not torch.equal(second, last)
    assert torch.equal(features(3, 9, 3), second)
    assert torch.equal(features(1, 9, 9), last)


def test_classes_may_have_any_number_and_be_new_in_the_test():
    data = labelled_splits(TABLE, 90)
    renamed = [InMemory(all_samples(s), s.labels * 40 - 7) for s in (data.train, data.validation)]
    stranger = InMemory(all_samples(data.test), torch.full((90,), 5))
    seen = fit(
        "classifier:steps=30",
        TABLE,
        Splits(train=renamed[0], validation=renamed[1], test=stranger),
    )
    assert accuracy_in(seen.note) == 0
    assert "classifier of 2 classes" in seen.note


def test_colour_images_of_32_pixels():
    data = colour_splits(128)
    seen = fit("classifier:steps=30", COLOUR, data)
    assert accuracy_in(seen.note) > 95
    assert seen.extract(all_samples(data.test)).shape == (128, 64)
    assert fit("random-conv", COLOUR, data).extract(all_samples(data.test)).shape == (128, 256)


def test_fewer_samples_than_a_batch():
    data = labelled_splits(DIGITS, 10)
    seen = fit("classifier:epochs=3", DIGITS, data)
    assert "trained on 10 labelled samples" in seen.note


def test_only_so_many_samples_are_learned_from(digits):
    assert "trained on 100 labelled" in fit("classifier:samples=100,epochs=1", DIGITS, digits).note


@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 5), (8, 8), (28, 28), (64, 48), (200, 200)])
def test_the_classifier_takes_images_of_any_size(h, w):
    space = Space("image", (1, h, w), 256)
    with seeded(Rng(0).stream("init")):
        net = ClassifierNet(space, Scaling(space), features=64, classes=3)
    assert net(torch.zeros(2, 1, h, w)).shape == (2, 3)


def test_without_labels_the_user_is_told_what_to_do(digits):
    with pytest.raises(UserError, match=r"The train split has no labels; give them") as caught:
        fit("classifier", DIGITS, unlabelled(digits))
    assert "random-conv" in str(caught.value)
    half = Splits(train=digits.train, validation=digits.validation, test=unlabelled(digits).test)
    with pytest.raises(UserError, match="The test split has no labels"):
        fit("classifier", DIGITS, half)


def test_one_class_is_not_enough(digits):
    x = all_samples(digits.train, 50)
    one = InMemory(x, torch.zeros(50, dtype=torch.long))
    with pytest.raises(UserError, match="at least two classes"):
        fit("classifier", DIGITS, Splits(train=one, validation=one, test=one))


@pytest.mark.parametrize(("right", "of"), [(0, 30), (1, 7), (29, 30), (30, 30), (351, 360)])
def test_the_interval_of_an_accuracy_is_that_of_scipy(right, of):
    interval = stats.binomtest(right, of).proportion_ci(0.95, method="exact")
    text = f"interval {100 * interval.low:.1f} to {100 * interval.high:.1f},"
    assert text in accuracy_text(right, of)


@pytest.mark.data
def test_mnist_in_a_few_steps(shared_data):
    data = datasets.make(f"mnist:path={shared_data}/images/mnist,limit=6000")
    splits = data.load(rng=Rng(0))
    test = InMemory(all_samples(splits.test, 2000), splits.test.labels[:2000])
    short = Splits(train=splits.train, validation=splits.validation, test=test)
    seen = fit("classifier:steps=100", data.space, short)
    assert accuracy_in(seen.note) > 92
    assert nearest_centroid(seen, short) > 0.85


def test_pixels_of_large_images_are_averages_of_blocks():
    space = Space("image", (1, 100, 130), 256)
    x = torch.randint(0, 256, (3, 1, 100, 130), generator=Rng(0).stream("x")).float()
    parts = dict.fromkeys(("train", "validation", "test"), InMemory(x))
    splits = Splits(**parts, note="")
    found = extractors.make("pixels").fit(space, splits, rng=Rng(0))
    seen = found.extract(x).view(3, 34, 44)
    by_hand = x[:, 0, :99, :129].view(3, 33, 3, 43, 3).mean((2, 4)) / 255
    assert torch.allclose(seen[:, :33, :43], by_hand, atol=1e-6)
    assert torch.allclose(seen[:, 33, 43], x[:, 0, 99, 129] / 255)
    assert "1496 averages of 3x3 pixels" in found.note
    full = extractors.make("full-pixels").fit(space, splits, rng=Rng(0))
    assert torch.equal(full.extract(x), (x / 255).flatten(1))
    assert full.fingerprint != found.fingerprint
