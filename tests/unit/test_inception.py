"""The Inception network of FID: its arithmetic, its resizing, and the published numbers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.data.catalogue import locate
from gantlet.features import inception, weights
from gantlet.features.inception import InceptionNet
from gantlet.features.preprocess import tf_resize
from gantlet.testing import check_extractor

NOTHING = Splits(
    train=InMemory(torch.empty(0)),
    validation=InMemory(torch.empty(0)),
    test=InMemory(torch.empty(0)),
)
COLOUR = Space("image", (3, 32, 32), 256)


def slow_resize(image, size):
    """One pixel after another, in single precision, as TensorFlow's kernel does it."""
    f = np.float32
    c, h, w = image.shape
    out = np.empty((c, size, size), f)
    down, across = f(h) / f(size), f(w) / f(size)
    for i in range(size):
        y = f(i) * down
        top = math.floor(y)
        bottom = min(top + 1, h - 1)
        for j in range(size):
            x = f(j) * across
            left = math.floor(x)
            right = min(left + 1, w - 1)
            for k in range(c):
                p = image[k]
                a = p[top, left] + (p[top, right] - p[top, left]) * (x - f(left))
                b = p[bottom, left] + (p[bottom, right] - p[bottom, left]) * (x - f(left))
                out[k, i, j] = a + (b - a) * (y - f(top))
    return out


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 32, 32), 75), ((1, 5, 9), 11), ((2, 40, 17), 13), ((1, 1, 1), 4)]
)
def test_resizing_equals_the_slow_twin_bit_for_bit(shape, size):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 255
    assert np.array_equal(tf_resize(x[None], size)[0].numpy(), slow_resize(x.numpy(), size))


def test_resizing_to_the_size_of_the_network():
    x = torch.randint(0, 256, (1, 32, 32), generator=torch.Generator().manual_seed(2)).float()
    assert np.array_equal(tf_resize(x[None], 299)[0].numpy(), slow_resize(x.numpy(), 299))
    same = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(3))
    assert torch.equal(tf_resize(same, 299), same)


def test_resizing_by_hand():
    # Places 0, 2/3 and 4/3 of two pixels: the last has no right neighbour but itself.
    x = torch.tensor([[[[0.0, 3.0], [0.0, 3.0]]]])
    assert torch.allclose(tf_resize(x, 3)[0, 0, 0], torch.tensor([0.0, 2.0, 3.0]))
    # Shrinking leaves pixels out.
    row = torch.arange(6.0).expand(1, 1, 6, 6)
    assert torch.equal(tf_resize(row, 3)[0, 0, 0], torch.tensor([0.0, 2.0, 4.0]))


# The network


def meta():
    with torch.device("meta"):
        return InceptionNet()


def test_the_number_of_parameters():
    assert sum(p.numel() for p in meta().parameters()) == 23_850_960


SHAPES = {
    "Conv2d_1a_3x3": (32, 149, 149),
    "Conv2d_2a_3x3": (32, 147, 147),
    "Conv2d_2b_3x3": (64, 147, 147),
    "Conv2d_3b_1x1": (80, 73, 73),
    "Conv2d_4a_3x3": (192, 71, 71),
    "Mixed_5b": (256, 35, 35),
    "Mixed_5c": (288, 35, 35),
    "Mixed_5d": (288, 35, 35),
    "Mixed_6a": (768, 17, 17),
    "Mixed_6b": (768, 17, 17),
    "Mixed_6c": (768, 17, 17),
    "Mixed_6d": (768, 17, 17),
    "Mixed_6e": (768, 17, 17),
    "Mixed_7a": (1280, 8, 8),
    "Mixed_7b": (2048, 8, 8),
    "Mixed_7c": (2048, 8, 8),
}


def test_the_shape_of_every_layer():
    net, seen = meta().eval(), {}
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda _, x, y, name=name: seen.update({name: y.shape[1:]}))
    features = net(torch.empty(2, 3, 299, 299, device="meta"))
    assert features.shape == (2, 2048)
    assert net.probabilities(features).shape == (2, 1008)
    assert {k: tuple(v) for k, v in seen.items()} == SHAPES


def random_state(seed=0):
    """Weights that keep activations at about unit size; the names are the published ones."""
    rng = torch.Generator().manual_seed(seed)
    state = {}
    for name, like in meta().state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(like.shape, generator=rng)
        if name.endswith("conv.weight"):
            state[name] = noise * (2 / like[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif name.endswith("bn.weight"):
            state[name] = 1 + 0.2 * noise
        else:
            state[name] = 0.1 * noise
    return state


def mean3(x):
    """The mean of 3x3 pixels, of those that there are."""
    ones = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    total = conv2d(x, ones, padding=1, groups=x.shape[1])
    return total / conv2d(torch.ones_like(x), ones, padding=1, groups=x.shape[1])


def max3(x, stride, around):
    x = pad(x, (around,) * 4, value=-math.inf)
    return x.unfold(2, 3, stride).unfold(3, 3, stride).amax((4, 5))


class Twin:
    """The same network without a single module: from the published names alone."""

    def __init__(self, state):
        self.state = {k: t.double() for k, t in state.items()}

    def conv(self, name, x, stride=1, pad=(0, 0)):
        weight, mean, var, scale, shift = (
            self.state[f"{name}.{part}"]
            for part in (
                "conv.weight",
                "bn.running_mean",
                "bn.running_var",
                "bn.weight",
                "bn.bias",
            )
        )
        y = conv2d(x, weight, None, stride, pad).movedim(1, -1)
        y = (y - mean) / (var + 1e-3).sqrt() * scale + shift
        return y.clamp(min=0).movedim(-1, 1)

    def a(self, n, x):
        b5 = self.conv(f"{n}.branch5x5_2", self.conv(f"{n}.branch5x5_1", x), 1, 2)
        b3 = self.conv(f"{n}.branch3x3dbl_2", self.conv(f"{n}.branch3x3dbl_1", x), 1, 1)
        b3 = self.conv(f"{n}.branch3x3dbl_3", b3, 1, 1)
        pool = self.conv(f"{n}.branch_pool", mean3(x))
        return torch.cat([self.conv(f"{n}.branch1x1", x), b5, b3, pool], 1)

    def b(self, n, x):
        b3 = self.conv(f"{n}.branch3x3", x, 2)
        d3 = self.conv(f"{n}.branch3x3dbl_2", self.conv(f"{n}.branch3x3dbl_1", x), 1, 1)
        return torch.cat([b3, self.conv(f"{n}.branch3x3dbl_3", d3, 2), max3(x, 2, 0)], 1)

    def c(self, n, x):
        b7 = self.conv(f"{n}.branch7x7_2", self.conv(f"{n}.branch7x7_1", x), 1, (0, 3))
        b7 = self.conv(f"{n}.branch7x7_3", b7, 1, (3, 0))
        d7 = self.conv(f"{n}.branch7x7dbl_2", self.conv(f"{n}.branch7x7dbl_1", x), 1, (3, 0))
        d7 = self.conv(f"{n}.branch7x7dbl_3", d7, 1, (0, 3))
        d7 = self.conv(f"{n}.branch7x7dbl_4", d7, 1, (3, 0))
        d7 = self.conv(f"{n}.branch7x7dbl_5", d7, 1, (0, 3))
        pool = self.conv(f"{n}.branch_pool", mean3(x))
        return torch.cat([self.conv(f"{n}.branch1x1", x), b7, d7, pool], 1)

    def d(self, n, x):
        b3 = self.conv(f"{n}.branch3x3_2", self.conv(f"{n}.branch3x3_1", x), 2)
        b7 = self.conv(f"{n}.branch7x7x3_2", self.conv(f"{n}.branch7x7x3_1", x), 1, (0, 3))
        b7 = self.conv(f"{n}.branch7x7x3_4", self.conv(f"{n}.branch7x7x3_3", b7, 1, (3, 0)), 2)
        return torch.cat([b3, b7, max3(x, 2, 0)], 1)

    def e(self, n, x, pooled):
        b3 = self.conv(f"{n}.branch3x3_1", x)
        b3 = [
            self.conv(f"{n}.branch3x3_2a", b3, 1, (0, 1)),
            self.conv(f"{n}.branch3x3_2b", b3, 1, (1, 0)),
        ]
        d3 = self.conv(f"{n}.branch3x3dbl_2", self.conv(f"{n}.branch3x3dbl_1", x), 1, 1)
        row = self.conv(f"{n}.branch3x3dbl_3a", d3, 1, (0, 1))
        column = self.conv(f"{n}.branch3x3dbl_3b", d3, 1, (1, 0))
        pool = self.conv(f"{n}.branch_pool", pooled)
        return torch.cat([self.conv(f"{n}.branch1x1", x), *b3, row, column, pool], 1)

    def forward(self, x):
        x = self.conv("Conv2d_2a_3x3", self.conv("Conv2d_1a_3x3", x.double(), 2))
        x = max3(self.conv("Conv2d_2b_3x3", x, 1, 1), 2, 0)
        x = max3(self.conv("Conv2d_4a_3x3", self.conv("Conv2d_3b_1x1", x)), 2, 0)
        x = self.a("Mixed_5d", self.a("Mixed_5c", self.a("Mixed_5b", x)))
        x = self.c("Mixed_6c", self.c("Mixed_6b", self.b("Mixed_6a", x)))
        x = self.d("Mixed_7a", self.c("Mixed_6e", self.c("Mixed_6d", x)))
        x = self.e("Mixed_7b", x, mean3(x))
        x = self.e("Mixed_7c", x, max3(x, 1, 1))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    torch.save(random_state(), path)
    return path


def pictures(n, shape=(3, 32, 32), levels=256, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (n, *shape), generator=rng).float()


def test_features_equal_an_independent_construction(own_weights):
    x = pictures(2)
    found = inception.Inception(weights=str(own_weights)).fit(COLOUR, NOTHING, rng=Rng(0))
    ours = found.extract(x)
    state = random_state()
    theirs = Twin(state).forward(
        (torch.stack([tf_resize(i[None], 299)[0] for i in x]) - 128) / 128
    )
    assert ours.shape == (2, 2048)
    assert float(theirs.std()) > 0.1, "the weights keep the signal alive"
    assert torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    # Class probabilities leave the bias out.
    logits = theirs @ state["fc.weight"].double().T
    assert torch.allclose(found.classify(x).double(), logits.softmax(1), rtol=1e-3, atol=1e-7)


def test_folding_changes_features_by_rounding_alone():
    net = meta().to_empty(device="cpu")
    net.load_state_dict(random_state(), strict=False)
    net.eval().requires_grad_(requires_grad=False)
    x = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(4))
    before, maps = net(x), net.maps(x)
    net.fold()
    assert not any("bn" in name for name in net.state_dict())
    assert torch.allclose(net(x), before, rtol=1e-4, atol=1e-5 * float(before.std()))
    assert torch.allclose(net.maps(x), maps, rtol=1e-4, atol=1e-5 * float(maps.std()))
    net.fold()  # again changes nothing
    assert torch.allclose(net.maps(x), maps, rtol=1e-4, atol=1e-5 * float(maps.std()))


def test_samples_are_shown_as_colours_from_0_to_255(own_weights):
    made = inception.Inception(weights=str(own_weights))
    grey = Space("image", (1, 8, 8), 17)
    x = pictures(1, (1, 8, 8), 17)
    colour = Space("image", (3, 8, 8), 256)
    as_colour = (x * 255 / 16).expand(1, 3, 8, 8)
    ours = made.fit(grey, NOTHING, rng=Rng(0)).extract(x)
    theirs = made.fit(colour, NOTHING, rng=Rng(0)).extract(as_colour)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_few_samples_at_a_time(own_weights, monkeypatch):
    monkeypatch.setattr(inception, "IMAGES_AT_ONCE", 2)
    seen = []
    before = InceptionNet.forward
    monkeypatch.setattr(InceptionNet, "forward", lambda n, x: seen.append(len(x)) or before(n, x))
    found = inception.Inception(weights=str(own_weights)).fit(COLOUR, NOTHING, rng=Rng(0))
    assert found.extract(pictures(3)).shape == (3, 2048)
    assert seen == [2, 1]


def test_the_contract(own_weights):
    path = str(own_weights)
    check_extractor(inception.Inception(weights=path), Space("image", (1, 8, 8), 17), n=4)


def test_what_numbers_are_called_fid(own_weights, monkeypatch):
    made = inception.Inception(weights=str(own_weights))
    own = made.fit(COLOUR, NOTHING, rng=Rng(0))
    assert not own.fingerprint.startswith(inception.FID)
    assert "none of the published files" in own.note
    found = weights.WeightsFile(
        path=own_weights,
        sha256=weights.published_weights("inception").sha256,
        known=weights.published_weights("inception"),
    )
    monkeypatch.setattr(inception, "choose", lambda name, own: found)
    published = inception.Inception().fit(COLOUR, NOTHING, rng=Rng(0))
    smooth = inception.Inception(resize="antialias").fit(COLOUR, NOTHING, rng=Rng(0))
    assert published.fingerprint.startswith(inception.FID)
    assert not smooth.fingerprint.startswith(inception.FID)
    assert len({own.fingerprint, published.fingerprint, smooth.fingerprint}) == 3


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Space("vector", (4,)), "sees images with levels. Got vector 4"),
        (Space("image", (3, 8, 8)), "sees images with levels"),
        (Space("image", (2, 8, 8), 256), "sees 3 channels. Got image 2x8x8"),
    ],
)
def test_what_it_cannot_see(space, message):
    with pytest.raises(UserError, match=message):
        inception.Inception().fit(space, NOTHING, rng=Rng(0))


# The published numbers


def _needed():
    """Returns the extractor with the published weights, and its device; or skips."""
    try:
        weights.locate("inception")
        locate("cifar10")
    except UserError as error:
        pytest.skip(f"published numbers not checked: {error}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return extractors.make("inception").fit(COLOUR, NOTHING, rng=Rng(0)), device


def _score(p):
    """Ten splits after the shuffle of the code that published the numbers."""
    p = p[torch.from_numpy(np.random.RandomState(2020).permutation(len(p)))].double()
    parts = [p[i * len(p) // 10 : (i + 1) * len(p) // 10] for i in range(10)]
    gains = [(q * (q.log() - q.mean(0).log())).sum(1).mean().exp() for q in parts]
    return float(torch.stack(gains).mean())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_published_distance_and_score_of_5000_images():
    # https://github.com/toshas/torch-fidelity, tests/torch_versions_ge_1_13_0/test_versions.py
    from scipy.linalg import sqrtm

    found, device = _needed()
    train, test = _cifar10("data_batch_*.bin"), _cifar10("test_batch.bin")
    some = [
        x[np.sort(np.random.RandomState(2020).choice(len(x), 5000, replace=False))]
        for x in (train, test)
    ]
    a, b = (torch.cat([found.extract(p.to(device)).cpu() for p in x.split(500)]) for x in some)
    a, b = a.double().numpy(), b.double().numpy()
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    distance = shift + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert distance == pytest.approx(10.32333, abs=1e-2)
    p = torch.cat([found.classify(p.to(device)).cpu() for p in some[0].split(500)])
    assert _score(p) == pytest.approx(10.75051, abs=1e-2)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_published_score_of_the_training_images():
    # https://github.com/toshas/torch-fidelity, README
    found, device = _needed()
    if device == "cpu":
        pytest.skip("published score of 50,000 images not checked: it takes hours without a GPU")
    x = _cifar10("data_batch_*.bin")
    p = torch.cat([found.classify(part.to(device)).cpu() for part in x.split(500)])
    assert _score(p) == pytest.approx(11.23678, abs=1e-2)


def _cifar10(pattern):
    """The images in the order of the files."""
    files = sorted(locate("cifar10").glob(pattern))
    raw = np.concatenate([np.fromfile(f, dtype=np.uint8).reshape(-1, 3073) for f in files])
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32)).float()
