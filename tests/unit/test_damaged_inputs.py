"""Damaged and oversized inputs of every kind end in one line that names them, or are read."""

import gzip
import io
import shutil
import struct
import tarfile
import wave
import zipfile
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from gantlet.commands.evaluate.inputs import find_samples
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.data import splits
from gantlet.run.store import save_tensors

RNG = np.random.default_rng(0)
TRIES = 36


def saved(save, *args, **kwargs):
    out = io.BytesIO()
    save(out, *args, **kwargs)
    return out.getvalue()


def npz(**arrays):
    return saved(np.savez, **arrays)


def packed(**arrays):
    return saved(np.savez_compressed, **arrays)


def wav():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((RNG.normal(size=400) * 9000).astype("<i2").tobytes())
    return out.getvalue()


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("a.wav", "b.wav"):
            content = wav()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def idx():
    return (
        b"\0\0\x08\x03"
        + struct.pack(">3I", 5, 4, 4)
        + RNG.integers(0, 255, 80, np.uint8).tobytes()
    )


def picture(kind):
    image = Image.fromarray(RNG.integers(0, 255, (8, 8, 3), np.uint8))
    return saved(image.save, kind)


def graphs():
    return npz(
        num_nodes=np.array([3, 4]),
        num_edges=np.array([2, 2]),
        edges=np.array([[0, 1], [1, 2], [0, 3], [1, 2]]),
    )


@cache
def whole(tmp):
    """Returns a valid small input of each kind, as the name of its file and its content."""
    x = RNG.normal(size=(12, 3))
    rows = "\n".join(f"{a:.3f},{b:.3f},k{i % 3}" for i, (a, b, _) in enumerate(x))
    save_tensors(tmp / "s", {"samples": torch.from_numpy(x)})
    return {
        "npy": ("x.npy", saved(np.save, x)),
        "npz": ("x.npz", npz(x=x)),
        "packed npz": ("x.npz", packed(x=x)),
        "graphs": ("g.npz", graphs()),
        "idx": ("a-idx3-ubyte", idx()),
        "idx.gz": ("a-idx3-ubyte.gz", gzip.compress(idx())),
        "csv": ("x.csv", ("a,b\n" + "\n".join(f"{a:.3f},{b:.3f}" for a, b, _ in x)).encode()),
        "table": ("t.csv", ("a,b,c\n" + rows).encode()),
        "text": ("t.txt", "\n".join(["a small text", "und ein ähnlicher"] * 6).encode()),
        "safetensors": ("s.safetensors", (tmp / "s").read_bytes()),
        "tar": ("s.tar.gz", tar()),
        "wav": ("sounds/a.wav", wav()),
        "png": ("photos/a.png", picture("PNG")),
        "jpg": ("photos/a.jpg", picture("JPEG")),
        "webp": ("photos/a.webp", picture("WEBP")),
    }


def damaged(content, rng):
    """Returns content that was cut, changed at a few places, or has bytes too many."""
    data = bytearray(content)
    place = int(rng.integers(len(data)))
    match int(rng.integers(5)):
        case 0:
            return bytes(data[:place])
        case 1:
            data[place] ^= int(rng.integers(1, 256))
        case 2:
            for i in rng.integers(len(data), size=8):
                data[i] = int(rng.integers(256))
        case 3:
            data[place:place] = rng.integers(0, 256, 9, np.uint8).tobytes()
        case _:
            # Headers come first, and are where parsers are weakest.
            data[int(rng.integers(min(96, len(data))))] = int(rng.integers(256))
    return bytes(data)


KINDS = [
    "npy", "npz", "packed npz", "graphs", "idx", "idx.gz", "csv", "table", "text", "safetensors",
    "tar", "wav", "png", "jpg", "webp",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_input_is_told_in_one_line_or_read(tmp_path_factory, kind):
    name, content = whole(tmp_path_factory.getbasetemp())[kind]
    rng = np.random.default_rng(KINDS.index(kind))
    folder = tmp_path_factory.mktemp("damaged")
    told = []
    for i in range(TRIES):
        file = folder / str(i) / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content if i == 0 else damaged(content, rng))
        where = file.parent if "/" in name else file
        try:
            all_samples(find_samples(str(where), "fake").source)
        except UserError as error:
            told.append((i, str(error)))
        shutil.rmtree(folder / str(i))
    assert all(i > 0 for i, _ in told), "the whole input is read"
    assert all("\n" not in line for _, line in told)
    assert all(str(folder) in line or name.rpartition("/")[2] in line for _, line in told)
    assert told or kind in ("text", "csv", "table")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (" * 2,
         "cannot be read as numbers"),
        (b"PK\x03\x04" + bytes(40), "npz:path="),
        (b"", "cannot be read as numbers"),
    ],
)  # fmt: skip
def test_headers_that_no_parser_expects(tmp_path, content, message):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(UserError, match=message):
        find_samples(str(tmp_path / "x.npy"), "fake")


def header(shape, dtype="<f8"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def test_arrays_that_claim_more_than_they_hold(tmp_path):
    (tmp_path / "x.npy").write_bytes(header((10**9, 10**9)) + bytes(64))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header((10**6, 10**6)) + bytes(64))
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=np.array([[{}]]))
    for name, message in {
        "x.npy": r"claims 8,000,000,000,000,000,000 bytes",
        "x.npz": r"claims 8,000,000,000,000 bytes",
        "o.npy": "holds Python objects",
        "o.npz": "holds Python objects",
    }.items():
        with pytest.raises(UserError, match=message):
            find_samples(str(tmp_path / name), "fake")


def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "memory", lambda: 2 * 2**20)
    zeros = np.zeros((300_000, 4), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x=zeros)
    shape = struct.pack(">3I", 300_000, 2, 2)
    content = b"\0\0\x08\x03" + shape + zeros.tobytes()
    (tmp_path / "bomb-ubyte.gz").write_bytes(gzip.compress(content))
    nodes = np.array([5000] * 3)
    many = {"num_nodes": nodes, "num_edges": np.array([1, 1, 1])}
    np.savez(tmp_path / "graphs.npz", **many, edges=np.array([[0, 1]] * 3))
    for name in ("bomb.npz", "bomb-ubyte.gz", "graphs.npz"):
        assert (tmp_path / name).stat().st_size < 10_000
        with pytest.raises(UserError, match=r"more than half of the memory \(0.0 GB\)"):
            find_samples(str(tmp_path / name), "fake")
    np.save(tmp_path / "mapped.npy", zeros)
    assert len(find_samples(str(tmp_path / "mapped.npy"), "fake").source) == 300_000


def test_a_stream_longer_than_its_header_says_is_not_read_to_its_end(tmp_path):
    bomb = idx() + bytes(50 * 2**20)
    (tmp_path / "a-ubyte.gz").write_bytes(gzip.compress(bomb))
    with pytest.raises(UserError, match="should hold 80 bytes of data"):
        find_samples(str(tmp_path / "a-ubyte.gz"), "fake")
