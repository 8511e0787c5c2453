"""Networks of the user's own: ONNX, TorchScript, Python objects."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, interpolate, pad

from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.features import user
from gantlet.features.user import pick
from gantlet.testing import check_extractor

_none = InMemory(torch.empty(0))
NOTHING = Splits(train=_none, validation=_none, test=_none)
COLOUR = Space("image", (3, 32, 32), 256)
GREY = Space("image", (1, 8, 8), 17)


def fit(text, space=COLOUR):
    return extractors.make(text).fit(space, NOTHING, rng=Rng(0))


def pictures(n, shape=(3, 32, 32), levels=256):
    rng = torch.Generator().manual_seed(3)
    return torch.randint(0, levels, (n, *shape), generator=rng).float()


# ONNX


@pytest.fixture
def mobilenet(shared_data):
    pytest.importorskip("onnxruntime")
    path = shared_data / "weights" / "mobilenet_v1_imagenet.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def own_mobilenet(path, x):
    """The same network from its table of weights, with convolutions alone."""
    table = np.load(path)
    for layer in json.loads(bytes(table["meta_json"]))["layers"]:
        if layer["op"] == "gap":
            break
        key = layer["key"]
        whole = table[f"{key}_w"].astype(np.float64) - table[f"{key}_zp"]
        weight = torch.from_numpy(whole * table[f"{key}_scale"]).float()
        bias = torch.from_numpy(table[f"{key}_bias"]).float()
        stride, kernel = layer["stride"], weight.shape[-1]
        around = max((-(-x.shape[2] // stride) - 1) * stride + kernel - x.shape[2], 0)
        x = pad(x, (around // 2, around - around // 2) * 2)
        x = conv2d(x, weight, bias, stride, groups=x.shape[1] // weight.shape[1]).clamp(0, 6)
    return x.mean((2, 3))


@pytest.mark.data
def test_an_onnx_network_equals_its_own_weights(mobilenet, shared_data):
    x = pictures(2)
    found = fit(f"onnx:path={mobilenet},size=96")
    large = interpolate(x, (96, 96), mode="bilinear", antialias=True)
    weights = shared_data / "weights" / "mobilenet_v1_1.0_224_imagenet_uint8.npz"
    theirs = own_mobilenet(weights, (large - 128) / 128)
    assert found.extract(x).shape == (2, 1024)
    assert float((found.extract(x) - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())
    p = found.classify(x)
    assert p.shape == (2, 1001)
    assert torch.allclose(p.sum(1), torch.ones(2))


@pytest.mark.data
def test_an_onnx_network_keeps_the_contract(mobilenet):
    check_extractor(extractors.make(f"onnx:path={mobilenet},size=32"), GREY, n=4)


@pytest.mark.data
def test_outputs_of_an_onnx_network(mobilenet):
    x = pictures(2)
    scores = fit(f"onnx:path={mobilenet},output=logits,size=32")
    both = fit(f"onnx:path={mobilenet},size=32")
    assert scores.extract(x).shape == (2, 1001)
    assert scores.classify is None
    assert torch.allclose(scores.extract(x).softmax(1), both.classify(x), atol=1e-6)
    other = fit(f"onnx:path={mobilenet},size=32,logits=features")
    assert len({scores.fingerprint, both.fingerprint, other.fingerprint}) == 3
    assert str(mobilenet.parent) not in both.fingerprint, "the same file elsewhere is the same"


@pytest.mark.data
@pytest.mark.parametrize(
    ("option", "space", "message"),
    [
        ("output=feature", COLOUR, "Unknown output of the ONNX file 'feature'. Did you mean"),
        ("logits=x", COLOUR, "Unknown output of the ONNX file 'x'"),
        ("size=32", Space("image", (2, 8, 8), 256), "sees 3 channels"),
        ("size=32", Space("vector", (5,)), "size= and channels= are for images"),
        ("pixels=0..1", Space("vector", (5,)), "cannot see inputs of shape"),
    ],
)
def test_what_an_onnx_network_cannot_do(mobilenet, option, space, message):
    with pytest.raises(UserError) as caught:
        fit(f"onnx:path={mobilenet},{option}", space)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["some text", "", "\x08\x01"])
def test_a_file_that_is_no_onnx(tmp_path, content):
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.onnx").write_text(content)
    with pytest.raises(UserError, match=r"a\.onnx is not an ONNX file"):
        fit(f"onnx:path={tmp_path / 'a.onnx'}")
    with pytest.raises(UserError, match=r"b\.onnx cannot be read: No such file"):
        fit(f"onnx:path={tmp_path / 'b.onnx'}")


def test_without_onnxruntime(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'gantlet\[onnx\]'"):
        fit(f"onnx:path={tmp_path / 'a.onnx'}")


class FakeSession:
    """A network that takes exactly four samples at a time."""

    class Entry:
        name, shape = "x", [4, 1, 8, 8]

    def get_inputs(self):
        return [self.Entry]

    def run(self, names, given):
        x = given["x"]
        assert x.shape[0] == 4
        return [x.reshape(4, -1)[:, :2] for _ in names]


def test_a_file_with_a_fixed_number_of_samples():
    run = user.session_runner(FakeSession(), ["features"])
    x = pictures(6, (1, 8, 8))
    assert torch.equal(run(x)["features"], x.flatten(1)[:, :2])


# TorchScript


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        y = self.scale * x.flatten(1)
        return y[:, :5], y[:, 5:8]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "net.pt"
    # PyTorch advises against the format, but files in it are there.
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.trace(Both(), torch.zeros(2, 3, 8, 8)), path)
    return path


def test_torchscript(script):
    x = pictures(40)
    found = fit(f"torchscript:path={script},size=8,pixels=0..1,logits=1")
    y = interpolate(x, (8, 8), mode="bilinear", antialias=True) / 255 * 2
    assert torch.allclose(found.extract(x), y.flatten(1)[:, :5], atol=1e-6)
    assert torch.allclose(found.classify(x), y.flatten(1)[:, 5:8].softmax(1), atol=1e-6)
    check_extractor(extractors.make(f"torchscript:path={script},channels=3"), GREY, n=4)


def test_torchscript_vectors(tmp_path):
    net = nn.Flatten()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.trace(net, torch.zeros(2, 5)), tmp_path / "a.pt")
    check_extractor(
        extractors.make(f"torchscript:path={tmp_path / 'a.pt'}"), Space("vector", (5,)), n=4
    )


@pytest.mark.parametrize("content", ["some text", ""])
def test_a_file_that_is_no_torchscript(tmp_path, content, script):
    (tmp_path / "a.pt").write_text(content)
    with pytest.raises(UserError, match=r"a\.pt is not a complete TorchScript archive"):
        fit(f"torchscript:path={tmp_path / 'a.pt'}")
    (tmp_path / "a.pt").write_bytes(script.read_bytes()[:-400])
    with pytest.raises(UserError, match=r"a\.pt is not a complete TorchScript archive"):
        fit(f"torchscript:path={tmp_path / 'a.pt'}")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt is not a complete TorchScript archive"):
        fit(f"torchscript:path={tmp_path / 'a.pt'}")


# Python objects

SOURCE = """
import torch

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
with torch.no_grad():
    net[1].weight.copy_(torch.arange(256.0).view(4, 64))
    net[1].bias.zero_()

def table(x):
    return {"features": x.flatten(1)[:, :3], "logits": x.flatten(1)[:, :2]}

chance = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))

def flat(x):
    return x.sum()

class Kind:
    pass

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gantlet_test_mine.py").write_text(SOURCE)
    yield "gantlet_test_mine"
    sys.modules.pop("gantlet_test_mine", None)


def test_a_network_of_the_current_folder(mine):
    before = list(sys.path)
    found = fit(f"module:path={mine}:net", GREY)
    x = pictures(3, (1, 8, 8), 17)
    weight = torch.arange(256.0).view(4, 64)
    assert torch.allclose(found.extract(x), (x * 255 / 16).flatten(1) @ weight.T, rtol=1e-5)
    assert sys.path == before
    check_extractor(extractors.make(f"module:path={mine}:net"), GREY, n=4)


def test_random_weights_are_the_same_in_every_process(mine):
    first = fit(f"module:path={mine}:chance", GREY)
    sys.modules.pop(mine)
    assert fit(f"module:path={mine}:chance", GREY).fingerprint == first.fingerprint


def test_a_function_that_returns_a_table(mine):
    found = fit(f"module:path={mine}:table,output=features,logits=logits,pixels=0..1", GREY)
    x = pictures(3, (1, 8, 8), 17)
    assert torch.allclose(found.extract(x), x.flatten(1)[:, :3] / 16)
    assert torch.allclose(found.classify(x), (x.flatten(1)[:, :2] / 16).softmax(1))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "must be package.module:attribute or file.py:attribute. Got 'nothing'"),
        ("no_such_module:net", "no_such_module cannot be imported: No module named"),
        ("gantlet_test_mine:nett", "has no attribute 'nett'"),
        ("gantlet_test_mine:Kind", "instance of a network. Got the class Kind"),
        ("gantlet_test_mine:number", "instance of a network. Got 3"),
        ("gantlet_test_mine:flat", "must return one vector for each sample"),
        (
            "gantlet_test_mine:table,output=x",
            "has no output 'x' that is a tensor. There are: feat",
        ),
    ],
)
def test_objects_that_do_not_serve(mine, path, message):
    with pytest.raises(UserError) as caught:
        fit(f"module:path={path}", GREY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_of_a_module_has_another_name(mine, tmp_path):
    first = fit(f"module:path={mine}:table,output=features", GREY).fingerprint
    sys.modules.pop(mine)
    (tmp_path / f"{mine}.py").write_text(SOURCE + "# another\n")
    assert fit(f"module:path={mine}:table,output=features", GREY).fingerprint != first


def test_a_callable_becomes_features_in_python():
    space = Space("vector", (4,))
    found = user.of_callable(lambda x: x[:, :2], space, name="first two")
    x = torch.arange(12.0).view(3, 4)
    assert torch.equal(found.extract(x), x[:, :2])
    assert found.extract(x[:0]).shape == (0, 2)
    assert found.fingerprint == "first two/0/samples as they are/vector 4"
    net = nn.BatchNorm1d(4)
    with_weights = user.of_callable(net, space, name="a net")
    assert not net.training
    net.bias.data += 1
    assert user.of_callable(net, space, name="a net").fingerprint != with_weights.fingerprint


@pytest.mark.parametrize(
    ("size", "most"), [(8, 64), (299, 15), (2048, 1)], ids=["small", "medium", "large"]
)
def test_networks_see_so_many_samples_that_memory_is_bounded(size, most):
    seen = []

    def network(x):
        seen.append(len(x))
        return x.mean((2, 3))

    found = user.of_callable(network, GREY, name="mean", size=size, channels=3)
    seen.clear()
    found.extract(pictures(65 if size < 1000 else 2, (1, 8, 8), 17))
    assert max(seen) == most


def test_outputs_are_picked_by_number_or_key():
    a, b = torch.zeros(1), torch.ones(1)
    assert pick((a, b), "1", "x") is b
    assert pick({"p": a, "q": b}, None, "x") is a
    assert pick(a, None, "x") is a
    for found, which in ((a, "1"), ({"p": 3}, "p"), (None, None)):
        with pytest.raises(UserError, match="x has no output"):
            pick(found, which, "x")


def test_pipes_are_refused_before_they_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for kind in ("torchscript", "onnx"):
        with pytest.raises(UserError, match="is a pipe, a socket or a device"):
            extractors.make(f"{kind}:path={tmp_path / 'pipe'}").fit(
                Space("vector", (2,)), None, rng=Rng(0)
            )


def test_a_module_that_raises_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raises_when_imported.py").write_text("raise RuntimeError('no weights')")
    with pytest.raises(UserError, match="cannot be imported: RuntimeError: no weights"):
        extractors.make("module:path=raises_when_imported:f").fit(
            Space("vector", (2,)), None, rng=Rng(0)
        )
