"""Spatial features, LPIPS with an own backbone, perceptual path length."""

import sys

import pytest
import torch
from torch import nn

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.model import Decoder, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors, metrics, probes
from gantlet.features.inception import InceptionNet
from gantlet.features.perceptual import embedding
from gantlet.metrics.pairs import Pairs
from gantlet.probes.path_length import PATH_LENGTH, slerp

SPACE = Space("image", (1, 8, 8), 256)


def images(n=60, seed=0, space=SPACE):
    rng = Rng(seed).stream("images")
    return torch.randint(space.levels, (n, *space.shape), generator=rng)


def fitted(text, space=SPACE, x=None):
    own = InMemory(images(space=space) if x is None else x)
    return extractors.make(text).fit(
        space, Splits(train=own, validation=own, test=own), rng=Rng(0)
    )


# --------------------------------------------------------------------------
# Spatial features.
# --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["spatial", "spatial:channels=3", "spatial:side=2"])
def test_spatial_features_are_the_first_channels_of_a_map(text):
    inner, made = fitted("random-conv"), fitted(text)
    x = images(5, 1)
    maps = inner.maps(x)
    maps = maps[:, : 3 if "channels" in text else 7]
    if "side" in text:
        maps = nn.functional.adaptive_avg_pool2d(maps, 2)
    assert torch.equal(made.extract(x), maps.flatten(1))
    assert made.fingerprint != inner.fingerprint


def test_where_is_seen_and_not_only_what():
    """Pooled features of a left and a right half that are swapped hardly differ."""
    x = images(400, 2)
    x[:, :, :, 4:] = x[:, :, :, 4:] // 4  # dark on the right
    swapped = torch.cat([x[:200, :, :, 4:], x[:200, :, :, :4]], 3)
    found = fitted("spatial", x=x[200:])
    left, right = found.extract(x[200:]), found.extract(swapped)
    gap = metrics.make("kid").measure(left, right, rng=Rng(0).stream("m"))
    assert gap.low > 0


def test_an_extractor_without_a_map_says_which_have_one():
    with pytest.raises(UserError, match=r"pixels gives no spatial map\. .*inception, random-conv"):
        fitted("spatial:of=pixels")


def test_the_map_of_inception_is_that_of_sfid():
    with torch.device("meta"):
        net = InceptionNet().eval()
        maps = net.maps(torch.empty(2, 3, 299, 299))
        features = net(torch.empty(2, 3, 299, 299))
    assert maps.shape == (2, 192, 17, 17)
    assert maps[:, :7].flatten(1).shape[1] == 2023
    assert features.shape == (2, 2048)


def test_a_classifier_of_images_has_maps():
    x = images(120, 3)
    labels = torch.arange(120) % 2
    x[labels == 1] //= 8
    own = InMemory(x, labels)
    splits = Splits(train=own, validation=own, test=own)
    made = extractors.make('spatial:of="classifier:steps=20",channels=4')
    found = made.fit(SPACE, splits, rng=Rng(0)).extract(x[:3])
    assert found.shape[0] == 3
    assert found.shape[1] % 4 == 0


# --------------------------------------------------------------------------
# LPIPS.
# --------------------------------------------------------------------------


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """A module with a backbone of two layers, and a file of weights for it."""
    (tmp_path / "own_backbone.py").write_text(
        "import torch\n"
        "from torch import nn\n\n\n"
        "class Two(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 4, 3, padding=1)\n"
        "        self.b = nn.Conv2d(4, 6, 3, stride=2)\n\n"
        "    def forward(self, x):\n"
        "        first = torch.relu(self.a(x))\n"
        "        return [first, torch.relu(self.b(first))]\n\n\n"
        "two = Two()\n"
        "flat = lambda x: x.flatten(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    rng = Rng(0).stream("weights")
    weights = {
        f"lin{i}.weight": torch.rand(1, c, 1, 1, generator=rng) for i, c in enumerate((4, 6))
    }
    torch.save(weights, tmp_path / "lin.pt")
    yield weights
    sys.modules.pop("own_backbone", None)


def slow(maps_x, maps_y, weights):
    """Equation 1, place by place."""
    total = torch.zeros(len(maps_x[0]), dtype=torch.float64)
    for a, b, w in zip(maps_x, maps_y, weights, strict=True):
        unit = [z.double() / z.double().norm(dim=1, keepdim=True).clamp_min(1e-10) for z in (a, b)]
        squares = (w.double().flatten()[:, None, None] * (unit[0] - unit[1]).square()).sum(1)
        total += squares.mean((1, 2))
    return total


def test_the_embedding_has_the_distances_of_the_paper():
    rng = Rng(0).stream("maps")
    maps = [[torch.rand(5, c, s, s, generator=rng) for c, s in ((4, 6), (7, 3))] for _ in "xy"]
    weights = [torch.rand(c, generator=rng) for c in (4, 7)]
    x, y = (embedding(m, weights).double() for m in maps)
    assert torch.allclose((x - y).square().sum(1), slow(*maps, weights), rtol=1e-5)


def test_lpips_of_pairs_with_an_own_backbone(backbone):
    text = "lpips:path=own_backbone:two,weights=lin.pt,channels=3"
    found = fitted(text)
    x, y = images(20, 1), images(20, 2)
    rows = found.extract(x), found.extract(y)
    pairs = Pairs(target=SPACE.unit(x), output=SPACE.unit(y)).measure(rows, lpips=True)
    net = sys.modules["own_backbone"].two
    looks = [((z.float() / 255).expand(-1, 3, -1, -1)) for z in (x, y)]
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        maps = [net((z - mean) / std) for z in looks]
    expected = slow(*maps, list(backbone.values()))
    assert pairs["lpips"].value == pytest.approx(float(expected.mean()), rel=1e-3)
    assert pairs["lpips"].low < pairs["lpips"].value < pairs["lpips"].high
    assert fitted("lpips:path=own_backbone:two,channels=3").fingerprint != found.fingerprint


def test_what_is_wrong_with_a_backbone_is_one_line(backbone):
    del backbone
    torch.save({"a": torch.ones(3), "b": torch.ones(6)}, "short.pt")
    torch.save({"a": -torch.ones(4), "b": torch.ones(6)}, "negative.pt")
    for more, message in (
        ("flat,channels=3", "must return the maps of its layers"),
        ("two,channels=3,weights=none.pt", "is not a file"),
        ("two,channels=3,weights=short.pt", r"maps of \[3, 6\] channels. .*\[4, 6\]"),
        ("two,channels=3,weights=negative.pt", "negative weights"),
    ):
        with pytest.raises(UserError, match=message) as error:
            fitted(f"lpips:path=own_backbone:{more}")
        assert "\n" not in str(error.value)


# --------------------------------------------------------------------------
# Perceptual path length.
# --------------------------------------------------------------------------


class Linear(Decoder):
    """``g(z) = A z`` on vectors: its path length along lines is ``2 tr A A^T``."""

    def __init__(self, matrix):
        super().__init__()
        self.space = Space("vector", (matrix.shape[0],))
        self.matrix, self.latent_dim = matrix, matrix.shape[1]

    def prior(self, n, *, rng):
        return torch.randn(n, self.latent_dim, generator=rng)

    def _decode(self, z, context):
        del context
        return z @ self.matrix.T

    def _sample(self, n, *, context, rng):
        return self._decode(self.prior(n, rng=rng), context)


class Noise(Model):
    """A model without latent vectors."""

    def _sample(self, n, *, context, rng):
        del context
        return torch.randn(n, 2, generator=rng)


def length(matrix, text="path-length:features=pixels,path=lerp,trim=0,epsilon=0.01", seed=0):
    real = torch.randn(50, matrix.shape[0], generator=Rng(0).stream("real"))
    return probes.make(text).inspect(Linear(matrix), real, rng=Rng(seed)).scores[PATH_LENGTH]


def test_a_linear_decoder_has_the_length_of_its_matrix():
    matrix = torch.randn(5, 3, generator=Rng(0).stream("matrix"))
    truth = 2 * float(matrix.square().sum())
    found = [length(matrix, seed=s) for s in range(12)]
    held = sum(f.low <= truth <= f.high for f in found)
    assert held >= 10
    assert found[0].half_width < 0.15 * truth


def test_trimming_leaves_out_single_long_paths():
    matrix = torch.randn(5, 3, generator=Rng(0).stream("matrix"))
    whole = length(matrix)
    trimmed = length(matrix, "path-length:features=pixels,path=lerp,trim=0.2,epsilon=0.01")
    assert trimmed.n == 600
    assert trimmed.value < whole.value  # the law is skewed to the right


def test_arcs_keep_to_the_sphere_and_end_where_they_should():
    rng = Rng(0).stream("ends")
    a, b = torch.randn(2, 20, 6, generator=rng, dtype=torch.float64)
    zero, one = torch.zeros(20, 1).double(), torch.ones(20, 1).double()
    assert torch.allclose(slerp(a, b, zero), a)
    assert torch.allclose(slerp(a, b, one), b)
    middle = slerp(a, b, one / 2)
    assert torch.allclose(middle.norm(dim=1), (a.norm(dim=1) + b.norm(dim=1)) / 2)


def test_a_model_without_latent_vectors_has_none():
    found = probes.make("path-length").inspect(Noise(), torch.zeros(3, 2), rng=Rng(0))
    assert found.scores[PATH_LENGTH].value is None
