"""Networks whose weights packages of the index bring: EfficientNet-Lite0 and MiniLM."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn.functional import batch_norm, conv2d, pad

import gantlet
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.domains.domains import default_features
from gantlet.domains.text import TextCode
from gantlet.features import efficientnet, minilm, weights
from gantlet.features.efficientnet import SameConv, load_efficientnet
from gantlet.features.weights import PackagedFile, read
from gantlet.testing import check_extractor

COLOUR = Space("image", (3, 32, 32), 256)
GREY = Space("image", (1, 8, 8), 17)
_none = InMemory(torch.empty(0))
NOTHING = Splits(train=_none, validation=_none, test=_none)

photos = pytest.mark.skipif(
    efficientnet.WEIGHTS.find() is None, reason="gantlet[images] is not installed"
)
prose = pytest.mark.skipif(not minilm.is_installed(), reason="gantlet[text] is not installed")

# Logits of the first classes for the first of the waves of 224x224 pixels.
PUBLISHED = (-1.48865, 0.59045, 0.14062, -1.28845, -0.59687, -0.11628)


def waves(n, size):
    """Returns images by a formula, shape ``(n, 3, size, size)``, in [-1, 1]."""
    i = torch.arange(n * 3 * size * size, dtype=torch.float64).reshape(n, 3, size, size)
    return (torch.sin(i * 0.1) * torch.cos(i * 0.0137)).float()


# EfficientNet-Lite0


@pytest.fixture(scope="module")
def net():
    return load_efficientnet(efficientnet.WEIGHTS.locate())


def same(x, weight, stride, groups):
    """Convolves as TensorFlow pads: the odd row and column at the end."""
    kernel = weight.shape[-1]
    missing = max((-(-x.shape[2] // stride) - 1) * stride + kernel - x.shape[2], 0)
    x = pad(x, (missing // 2, missing - missing // 2) * 2)
    return conv2d(x, weight, None, stride, 0, 1, groups)


def twin(state, x):
    """The same network from the table of the file: no module, norms apart, double precision."""
    state = {k: v.double() for k, v in state.items() if v.is_floating_point()}

    def step(x, conv, norm, *, stride=1, groups=1, bounded=True):
        y = same(x, state[f"{conv}.weight"], stride, groups)
        parts = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        y = batch_norm(y, *parts, eps=1e-3)
        return y.clamp(0, 6) if bounded else y

    x = step(x.double(), "_conv_stem", "_bn0", stride=2)
    strided = {1, 3, 5, 11}
    for i in range(16):
        at, y = f"_blocks.{i}", x
        if i:
            y = step(y, f"{at}._expand_conv", f"{at}._bn0")
        stride = 2 if i in strided else 1
        y = step(y, f"{at}._depthwise_conv", f"{at}._bn1", stride=stride, groups=y.shape[1])
        y = step(y, f"{at}._project_conv", f"{at}._bn2", bounded=False)
        x = x + y if y.shape == x.shape else y
    features = step(x, "_conv_head", "_bn1").mean((2, 3))
    return features, features @ state["_fc.weight"].T + state["_fc.bias"]


@photos
@pytest.mark.parametrize("size", [97, 128])
def test_the_network_equals_its_twin_from_the_table_of_the_file(net, size):
    x = waves(2, size)
    features, logits = twin(read(efficientnet.WEIGHTS.locate().path), x)
    found = net(x)
    assert torch.allclose(found.double(), features, atol=1e-4)
    assert torch.allclose(net.classifier(found).double(), logits, atol=1e-3)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (8, 7), (5, 5), (1, 2)], ids=str)
@pytest.mark.parametrize("groups", [1, 6])
def test_strided_convolutions_pad_at_the_end_whatever_the_size(kernel, shape, groups):
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        made = SameConv(6, 6, kernel, stride=2, groups=groups)
    state = {k: torch.randn(p.shape, generator=generator) for k, p in made.named_parameters()}
    made.load_state_dict(state, assign=True)
    x = torch.randn(2, 6, *shape, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    missing = [max((-(-s // 2) - 1) * 2 + kernel - s, 0) for s in shape]
    (top, left), (bottom, right) = [m // 2 for m in missing], [m - m // 2 for m in missing]
    padded = pad(x, (left, right, top, bottom))
    wanted = conv2d(padded, made.conv.weight, made.conv.bias, 2, 0, 1, groups).clamp(0, 6)
    found = made(x)
    assert found.shape == (2, 6, *(-(-s // 2) for s in shape))
    assert torch.allclose(found, wanted, atol=1e-6)


@photos
def test_logits_are_those_of_the_package_that_the_weights_were_published_for(net):
    # Computed with efficientnet-lite-pytorch 0.1.0 in float32: images of 224x224 pixels.
    published = torch.tensor(PUBLISHED)
    assert torch.allclose(net.classifier(net(waves(1, 224)))[0, :6], published, atol=1e-4)


@photos
def test_it_has_as_many_weights_as_published(net):
    # 4.65 million in the table of the authors of the lite networks; norms count two a channel.
    table = read(efficientnet.WEIGHTS.locate().path)
    assert sum(t.numel() for k, t in table.items() if "running" not in k) == pytest.approx(
        4.65e6, rel=2e-3
    )
    assert sum(p.numel() for p in net.parameters()) < 4.65e6


@photos
def test_it_knows_what_is_on_two_photos():
    palace, daisy = 698, 985  # of ImageNet's classes
    for image, expected in zip(load_sample_images().images, (palace, daisy), strict=True):
        x = torch.from_numpy(image[:, 106:533].copy()).permute(2, 0, 1)[None].float()
        space = Space("image", tuple(x.shape[1:]), 256)
        made = extractors.make("efficientnet-lite0:size=224,classes=true")
        seen = made.fit(space, NOTHING, rng=Rng(0))
        assert int(seen.classify(x).argmax()) == expected


@photos
@pytest.mark.parametrize("space", [COLOUR, GREY], ids=lambda s: s.label)
def test_it_keeps_the_contract_of_extractors(space):
    check_extractor(extractors.make("efficientnet-lite0:size=48,classes=true"), space)


@photos
def test_its_fingerprint_names_weights_and_preprocessing():
    def fingerprint(text):
        return extractors.make(text).fit(COLOUR, NOTHING, rng=Rng(0)).fingerprint

    usual = fingerprint("efficientnet-lite0")
    assert usual.startswith("efficientnet-lite0/sha256:579344248a93e230/")
    assert "bicubic to 128x128 pixels efficientnet" in usual
    assert usual != fingerprint("efficientnet-lite0:size=96")


@photos
def test_samples_that_are_no_images_are_refused():
    with pytest.raises(UserError, match=r"sees images with levels\. Got vector"):
        extractors.make("efficientnet-lite0").fit(Space("vector", (3,)), NOTHING, rng=Rng(0))


# MiniLM

LINES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")


@pytest.fixture(scope="module")
def embed():
    return minilm.load_minilm()


@prose
def test_similarities_of_sentences_are_the_published_ones(embed):
    # Those that the documentation of sentence-transformers prints for the weights in full
    # precision; these have eight bits.
    vectors = torch.stack([embed(line) for line in LINES])
    published = torch.tensor([[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]])
    assert torch.allclose(vectors @ vectors.T, published, atol=0.01)


@prose
def test_only_the_first_word_pieces_of_long_lines_are_seen(embed):
    assert torch.equal(embed("a " * 254), embed("a " * 400))
    assert not torch.equal(embed("a " * 254), embed("a " * 200))


def lines_of(*lines):
    code = TextCode.of([*lines] * 2, "words", None)
    x = torch.from_numpy(code.write(lines, own=False).astype(np.float32))
    return code, x


def read_by(code):
    return minilm.MiniLm().fit(code.space, replace(NOTHING, code=code), rng=Rng(0))


@prose
def test_lines_are_seen_as_their_tokens_are_read(embed):
    code, x = lines_of(*LINES)
    found = read_by(code).extract(x)
    assert torch.equal(found, torch.stack([embed(line) for line in code.read(x)]))
    parts = torch.cat([read_by(code).extract(row[None]) for row in x])
    assert torch.equal(found, parts), "a line's vector does not depend on the lines beside it"
    assert read_by(code).extract(x[:0]).shape == (0, 384)


@prose
def test_another_vocabulary_is_another_fingerprint():
    # Features are kept by tokens and fingerprint: the same tokens of other words are other lines.
    (one, x), (other, y) = lines_of("a cat sat"), lines_of("a dog ran")
    assert torch.equal(x, y)
    assert one.space == other.space
    assert read_by(one).fingerprint != read_by(other).fingerprint
    assert read_by(one).fingerprint == read_by(lines_of("a cat sat")[0]).fingerprint


@pytest.mark.parametrize("space", [Space("tokens", (5,), 9), COLOUR], ids=lambda s: s.label)
def test_samples_whose_words_are_not_known_are_refused(space):
    with pytest.raises(UserError, match=f"minilm sees text .* Got {space.kind}"):
        minilm.MiniLm().fit(space, NOTHING, rng=Rng(0))


# Both

QUIET = """
import os, sys
def refuse(event, args):
    if event.startswith(("socket.", "urllib.")):
        raise SystemExit(f"opened: {event} {args}")
sys.addaudithook(refuse)
import torch
from dataclasses import replace
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.domains.text import TextCode
def sockets():
    found = 0
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            pass
    return found
before = sockets()
none = InMemory(torch.empty(0))
code = TextCode.of(["a cat sat"] * 2, "words", None)
data = Splits(train=none, validation=none, test=none, code=code)
space = Space("image", (3, 8, 8), 256)
seen = extractors.make("efficientnet-lite0").fit(space, data, rng=Rng(0))
print(seen.extract(torch.zeros(1, 3, 8, 8)).shape)
seen = extractors.make("minilm").fit(code.space, data, rng=Rng(0))
print(seen.extract(torch.full((1, 3), 2.0)).shape)
assert sockets() == before, "a library left a socket open"
"""


@photos
@prose
def test_no_socket_is_opened():
    done = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["torch.Size([1,", "1280])", "torch.Size([1,", "384])"]


@pytest.fixture
def none_installed(monkeypatch):
    monkeypatch.setattr(PackagedFile, "find", lambda _: None)


def defaults(space, code=None, *, labelled=False):
    return default_features(space, code, labelled=labelled)


@photos
def test_they_are_the_defaults_of_their_kinds():
    assert defaults(COLOUR) == ("efficientnet-lite0", "random-conv", "pixels")
    assert defaults(COLOUR, labelled=True) == ("efficientnet-lite0", "classifier", "pixels")
    assert defaults(GREY) == ("random-conv", "pixels")
    assert defaults(Space("image", (3, 8, 8))) == ("random-conv", "pixels"), "no levels"


@prose
def test_words_are_read_and_characters_are_not():
    words = TextCode.of(["a cat sat"] * 2, "words", None)
    characters = TextCode.of(["anna", "emma"], "characters", None)
    assert defaults(words.space, words) == ("minilm", "ngrams")
    assert defaults(characters.space, characters) == ("ngrams",)
    assert defaults(words.space) == ("ngrams",), "nobody knows what the tokens are"


@pytest.mark.usefixtures("none_installed")
def test_without_the_packages_the_defaults_need_nothing():
    words = TextCode.of(["a cat sat"] * 2, "words", None)
    assert defaults(COLOUR) == ("random-conv", "pixels")
    assert defaults(words.space, words) == ("ngrams",)
    for name, extra in (("efficientnet-lite0", "images"), ("minilm", "text")):
        space, data = (COLOUR, NOTHING) if extra == "images" else (words.space, words)
        data = data if extra == "images" else replace(NOTHING, code=words)
        with pytest.raises(UserError, match=rf"not installed. Run: pip install 'gantlet\[{extra}"):
            extractors.make(name).fit(space, data, rng=Rng(0))


@pytest.mark.usefixtures("none_installed")
def test_the_report_names_the_command_that_would_help(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 60, 8, 8, 3), generator=rng).numpy().astype(np.uint8)
    report = gantlet.evaluate(x[0], x[1], metrics=["kid"])
    (named,) = (c.text for c in report.caveats if "pip install" in c.text)
    assert named.endswith("to use it: pip install 'gantlet[images]'.")
    chosen = gantlet.evaluate(x[0], x[1], metrics=["kid"], features=["pca"])
    assert not [c.text for c in chosen.caveats if "pip install" in c.text]


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    class Changed:
        def locate_file(self, path):
            return tmp_path / path

    known = PackagedFile(
        name="mine",
        package="mine-model",
        version="1.2",
        path="file.pth",
        size=3,
        sha256="ab" * 32,
        licence="MIT",
        extra="mine",
    )
    assert known.find() is None
    monkeypatch.setattr(weights, "distribution", lambda _: Changed())
    assert known.find() is None, "the file is missing"
    (tmp_path / "file.pth").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"--force-reinstall --no-deps mine-model==1\.2"):
        known.locate()


def test_a_network_with_too_few_weights_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file.pth"
    torch.save({"_fc.weight": torch.zeros(1000, 1280)}, path)
    found = weights.WeightsFile(path=path, sha256="", known=None)
    with pytest.raises(UserError, match=r"does not fit this network: it lacks '_fc.bias'"):
        load_efficientnet(found)
