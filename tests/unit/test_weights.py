"""Trained weights: where they are looked for, and what is refused."""

import hashlib
import os
import pickle

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.features import weights
from gantlet.features.weights import (
    PublishedWeights,
    choose,
    fill,
    folders,
    home,
    identify,
    load_script,
    locate,
    read,
    read_script,
)

RAW = b"weights of a toy"


def toy(raw=RAW, name="toy"):
    return PublishedWeights(
        name=name,
        files=("toy.pth", "pt_toy.pth"),
        url="https://toy.example/files/",
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        licence="MIT",
        page="https://toy.example",
    )


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """All folders lie below the test's own."""
    for name in ("GANTLET_WEIGHTS", "GANTLET_CACHE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(weights, "KNOWN_WEIGHTS", (toy(),))


def put(path, raw=RAW):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def test_the_catalogue(monkeypatch):
    monkeypatch.undo()
    names = [k.name for k in weights.catalogue()]
    assert len(set(names)) == len(names)
    for known in weights.catalogue():
        assert len(bytes.fromhex(known.sha256)) == 32
        assert known.size > 0
        assert known.url.startswith("https://")
        assert known.url.endswith("/")
        assert known.licence
        assert known.page


def test_the_folders(tmp_path, monkeypatch):
    user = tmp_path / "user" / ".cache"
    usual = [user / "gantlet" / "weights", user / "torch" / "hub" / "checkpoints", user / "clip"]
    assert folders() == usual
    assert home() == usual[0]
    monkeypatch.setenv("GANTLET_WEIGHTS", "~/mine")
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert home() == tmp_path / "user" / "mine"
    assert folders() == [
        tmp_path / "user" / "mine",
        tmp_path / "cache" / "weights",
        tmp_path / "torch" / "hub" / "checkpoints",
        user / "clip",
    ]


@pytest.mark.parametrize(
    "place",
    [
        "user/.cache/gantlet/weights/toy.pth",
        "user/.cache/gantlet/weights/pt_toy.pth",
        "user/.cache/gantlet/weights/another name",
        "user/.cache/torch/hub/checkpoints/pt_toy.pth",
        "user/.cache/clip/toy.pth",
        "mine/toy.pth",
    ],
)
def test_published_weights_are_found_by_name_or_hash(tmp_path, monkeypatch, place):
    monkeypatch.setenv("GANTLET_WEIGHTS", str(tmp_path / "mine"))
    assert not weights.is_downloaded("toy")
    path = put(tmp_path / place)
    found = locate("toy")
    assert (found.path, found.sha256, found.known) == (path, toy().sha256, toy())
    assert weights.is_downloaded("toy")
    assert choose("toy", None) == found


def test_a_right_file_is_found_beside_a_wrong_one(tmp_path):
    put(home() / "toy.pth", b"x" * len(RAW))
    put(home() / "another", b"y" * len(RAW))
    good = put(tmp_path / "user/.cache/clip/pt_toy.pth")
    assert locate("toy").path == good


@pytest.mark.parametrize("raw", [RAW[:5], b"x" * len(RAW), RAW + b"more", b""])
def test_a_wrong_file_is_told(raw):
    path = put(home() / "toy.pth", raw)
    with pytest.raises(UserError) as caught:
        locate("toy")
    line = str(caught.value)
    assert line.startswith(f"{path} is not the published file: it has {len(raw)} bytes")
    assert hashlib.sha256(raw).hexdigest() in line
    assert toy().sha256 in line
    assert "\n" not in line


def test_absent_weights_are_told_with_what_to_do():
    with pytest.raises(UserError) as caught:
        locate("toy")
    assert str(caught.value) == (
        f"The weights toy were not found in {', '.join(map(str, folders()))}. "
        "Run 'gantlet weights fetch toy', or get https://toy.example/files/toy.pth "
        f"(16 bytes, SHA-256 {toy().sha256}) and run 'gantlet weights add FILE'."
    )
    with pytest.raises(UserError, match=r"Unknown weights 'toyy'\. Did you mean 'toy'"):
        locate("toyy")


def test_own_weights_by_path_or_name(tmp_path):
    path = put(tmp_path / "own.pth", b"own")
    found = choose("toy", str(path))
    assert (found.path, found.known) == (path, None)
    assert found.sha256 == hashlib.sha256(b"own").hexdigest()
    added = put(home() / "added.pth", b"added")
    assert choose("toy", "added.pth").path == added
    with pytest.raises(UserError, match=r"There are no weights 'nope\.pth', neither as a path"):
        choose("toy", "nope.pth")
    # A published file under any name and given as one's own is still what it is.
    assert choose("toy", str(put(tmp_path / "z"))).known == toy()


def test_own_weights_that_changed_since_they_were_added():
    path = put(home() / "own.pth", b"own")
    weights.note_of(path).write_text(f"{hashlib.sha256(b'own').hexdigest()}  own.pth\n")
    assert weights.added() == [path]
    assert choose("toy", "own.pth").path == path
    path.write_bytes(b"other")
    with pytest.raises(UserError, match=r"own\.pth has changed since it was added"):
        choose("toy", "own.pth")


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        identify(tmp_path / "nope")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        identify(tmp_path)


# What is in the files


def state():
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert found.keys() == state().keys()
    assert all(torch.equal(found[k], t) for k, t in state().items())


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def evil_files(folder, mark):
    (folder / "plain.pth").write_bytes(pickle.dumps({"a": Evil(mark)}, protocol=2))
    (folder / "late.pth").write_bytes(pickle.dumps({"a": Evil(mark)}, protocol=5))
    torch.save({"a": Evil(mark)}, folder / "zip.pth")
    torch.save(
        state() | {"a": Evil(mark)}, folder / "old.pth", _use_new_zipfile_serialization=False
    )
    return sorted(folder.glob("*.pth"))


def test_weights_that_would_run_code_do_not(tmp_path):
    mark = tmp_path / "it_ran"
    files = evil_files(tmp_path, mark)
    assert len(files) == 4
    for path in files:
        with pytest.raises(UserError) as caught:
            read(path)
        assert "not a file of weights, or contains code" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    # The same file does run when it is unpickled without care: the test tests something.
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert mark.exists()


def broken(path, kind):
    torch.save(state(), path)
    raw = path.read_bytes()
    contents = {
        "text": b"I am a text, not weights.\nSecond line.\n",
        "empty": b"",
        "half": raw[: len(raw) // 2],
        "all but the end": raw[:-10],
        "bytes": bytes(range(256)) * 40,
        "page": b"<!DOCTYPE html><html>404</html>",
        "flipped": raw[:200] + bytes(b ^ 255 for b in raw[200:300]) + raw[300:],
    }
    path.write_bytes(contents[kind])


@pytest.mark.parametrize(
    "kind", ["text", "empty", "half", "all but the end", "bytes", "page", "flipped"]
)
def test_files_that_are_no_weights(tmp_path, kind):
    broken(tmp_path / "a.pth", kind)
    with pytest.raises(UserError, match=r"a\.pth is not a (complete )?file of weights") as caught:
        read(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, torch.zeros(2), "text"])
def test_files_of_other_things(tmp_path, value):
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth holds no plain table of named tensors"):
        read(tmp_path / "a.pth")


def test_scripts(tmp_path):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.trace(torch.nn.PReLU(), torch.zeros(2)), tmp_path / "a.pt")
    assert torch.equal(read_script(tmp_path / "a.pt")["weight"], torch.tensor([0.25]))
    with pytest.raises(UserError, match=r"a\.pt is not a complete file of weights"):
        read(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"b\.pt is not a complete TorchScript archive"):
        load_script(tmp_path / "b.pt")


def test_weights_must_fit(tmp_path):
    def norm():
        with torch.device("meta"):
            return torch.nn.BatchNorm1d(2)

    path = tmp_path / "a.pth"
    good = {k: torch.full((2,), 3.0).half() for k in ("weight", "bias", "running_mean")}
    with pytest.raises(UserError, match=r"a\.pth does not fit this network: it lacks running_var"):
        fill(norm(), good, path)
    good["running_var"] = torch.ones(2)
    with pytest.raises(UserError, match="it also holds other"):
        fill(norm(), good | {"other": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"bias should have shape \(2,\), but has \(3,\)"):
        fill(norm(), good | {"bias": torch.ones(3)}, path)
    for counts in ({}, {"num_batches_tracked": torch.tensor(7)}):  # old files have none
        net = norm()
        fill(net, good | counts, path)
        assert net.weight.dtype == torch.float32
        assert torch.allclose(net.eval()(torch.full((1, 2), 3.0)), torch.tensor(3.0))
