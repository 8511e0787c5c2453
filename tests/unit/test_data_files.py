"""Arrays, IDX files and tables: what is read, and what is said of bad ones."""

import gzip
import struct

import numpy as np
import pytest
import torch

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.arrays import read


def _load(text):
    data = datasets.make(text)
    splits = data.load(rng=Rng(0))
    for name, source in (("train", splits.train), ("test", splits.test)):
        data.space.check(all_samples(source), name)
    return data, splits


def _all(splits):
    return torch.cat([all_samples(s) for s in (splits.train, splits.validation, splits.test)])


def _idx(array, dtype=">u1"):
    codes = {">u1": 8, ">i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, codes[dtype], array.ndim]) + shape + array.astype(dtype).tobytes()


def _one_line(caught, *words):
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# Arrays

ARRAYS = [
    (np.zeros((20, 3), np.uint8), "", Space("vector", (3,), 256)),
    (np.zeros((20, 8, 8), np.uint8), "", Space("image", (1, 8, 8), 256)),
    (np.zeros((20, 8, 6, 3), np.uint8), "", Space("image", (3, 8, 6), 256)),
    (np.zeros((20, 3, 8, 6), np.uint8), "", Space("image", (3, 8, 6), 256)),
    (np.zeros((20, 8, 6, 1), np.float32), "", Space("image", (1, 8, 6))),
    (np.zeros((20, 3, 5, 3)), "layout=nhwc", Space("image", (3, 3, 5))),
    (np.zeros((20, 3, 5, 3)), "layout=nchw", Space("image", (3, 5, 3))),
    (np.zeros((20, 4, 5, 2)), "layout=nhwc", Space("image", (2, 4, 5))),
    (np.arange(40).reshape(20, 2), "", Space("vector", (2,), 40)),
    (np.zeros((20, 2), np.int8), "", Space("vector", (2,), 2)),
    (np.zeros((20, 2), bool), "", Space("vector", (2,), 2)),
    (np.full((20, 2), 3, ">i2"), "", Space("vector", (2,), 4)),
    (np.full((20, 2), 3, np.uint8), "levels=4", Space("vector", (2,), 4)),
    (np.full((20, 2), 3.0), "levels=17", Space("vector", (2,), 17)),
    (np.zeros((20, 2), np.float16), "", Space("vector", (2,))),
    (np.zeros((20, 2), ">f8"), "", Space("vector", (2,))),
]


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize(("array", "options", "space"), ARRAYS)
def test_arrays_tell_their_space(tmp_path, kind, array, options, space):
    path = tmp_path / f"a.{kind}"
    np.save(path, array) if kind == "npy" else np.savez(path, some=array)
    data, splits = _load(f"{kind}:path={path}" + (f",{options}" if options else ""))
    assert data.space == space
    assert all_samples(splits.train).dtype == torch.float32


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_keep_every_sample_and_its_class(tmp_path, kind):
    x, y = np.arange(60, dtype=np.uint8).reshape(20, 3, 1, 1), np.arange(20) % 4
    if kind == "npy":
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", y)
        text = f"npy:path={tmp_path / 'x.npy'},labels={tmp_path / 'y.npy'}"
    else:
        np.savez_compressed(tmp_path / "a.npz", x=x, y=y, more=y)
        text = f"npz:path={tmp_path / 'a.npz'},labels=y"
    _, splits = _load(f"{text},validation=0.2,test=0.3,layout=nchw")
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [10, 4, 6]
    for source in (splits.train, splits.validation, splits.test):
        first = all_samples(source)[:, 0, 0, 0]
        assert torch.equal(source.labels, (first / 3).long() % 4)
    assert sorted(_all(splits)[:, 0, 0, 0].tolist()) == list(range(0, 60, 3))


def test_a_path_with_commas_and_a_changed_file(tmp_path):
    path = tmp_path / "a,b.npy"
    np.save(path, np.zeros((10, 2)))
    assert datasets.make(f'npy:path="{path}"').space.size == 2
    np.save(path, np.zeros((10, 30)))
    assert datasets.make(f'npy:path="{path}"').space.size == 30


def test_a_large_npy_is_not_read_at_once(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 2)))
    _, splits = _load(f"npy:path={tmp_path / 'x.npy'}")
    assert isinstance(splits.train.source.array, np.memmap)


BAD_ARRAYS = [
    (np.zeros(5), "", ["has shape 5", "layout="]),
    (np.zeros((5, 3, 4, 3)), "", ["has shape 5x3x4x3", "layout="]),
    (np.zeros((5, 4, 4, 4)), "", ["has shape 5x4x4x4", "1 or 3 channels"]),
    (np.zeros((5, 2)), "layout=nhwc", ["has shape 5x2", "layout=nhwc"]),
    (np.zeros((0, 2)), "", ["holds no values"]),
    (np.zeros((2, 2)), "", ["Three splits need samples for each. Got 2 samples"]),
    (np.array([["a"] * 2] * 9), "", ["<U1", "Numbers are needed"]),
    (np.zeros((9, 2), complex), "", ["complex128"]),
    (np.full((9, 2), -1), "", ["from -1 to -1", "floating point"]),
    (np.full((9, 2), 70000), "", ["from 70000 to 70000"]),
    (np.full((9, 2), 5), "levels=5", ["levels=5 needs whole numbers from 0 to 4"]),
    (np.full((9, 2), 0.5), "levels=5", ["levels=5", "other numbers from 0.5"]),
    (
        np.array([[0, 1]] * 7 + [[0, np.nan], [np.inf, 0]]),
        "",
        ["2 NaN or infinite values of 18", "sample 7, component (1,)"],
    ),
    (np.array([[object()]] * 9), "", ["cannot be read as numbers"]),
]


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize(("array", "options", "words"), BAD_ARRAYS)
def test_bad_arrays(tmp_path, kind, array, options, words):
    path = tmp_path / f"a.{kind}"
    np.save(path, array) if kind == "npy" else np.savez(path, x=array)
    with pytest.raises(UserError) as caught:
        _load(f"{kind}:path={path}" + (f",{options}" if options else ""))
    _one_line(caught, *words)


def test_bad_array_files(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, a=np.zeros((9, 2)), b=np.zeros(8, int), c=np.zeros(9))
    np.save(tmp_path / "x.npy", np.zeros((9, 2)))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:150])
    raw = bytearray(whole.read_bytes())
    raw[100] ^= 255
    (tmp_path / "flipped.npz").write_bytes(raw)
    cases = [
        (f"npz:path={whole}", ["3 arrays: a, b, c", "key=NAME"]),
        (f"npz:path={whole},key=aa", ["Unknown array", "Did you mean 'a'?"]),
        (f"npz:path={whole},key=a,labels=b", ["must have shape (9,)", "Got (8,)"]),
        (f"npz:path={whole},key=a,labels=c", ["must be integers. Got float64"]),
        (f"npy:path={whole}", ["is not a .npy file", "npz:path="]),
        (f"npz:path={tmp_path / 'x.npy'}", ["is not a .npz file", "npy:path="]),
        (f"npy:path={tmp_path}", ["is a folder"]),
        (f"npy:path={tmp_path / 'no.npy'}", ["No file"]),
        (f"npz:path={tmp_path / 'flipped.npz'},key=a", ["cannot be read as numbers"]),
        *(
            (f"{name[-3:]}:path={tmp_path / name}", [name, "cannot be read as numbers"])
            for name in ("empty.npy", "text.npz", "cut.npz", "cut.npy")
        ),
    ]
    for text, words in cases:
        with pytest.raises(UserError) as caught:
            _load(text)
        _one_line(caught, *words)


# IDX

IDX = [(">u1", 256), (">i1", 20), (">i2", 20), (">i4", 20), (">f4", None), (">f8", None)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("dtype", "levels"), IDX)
def test_idx_number_types(tmp_path, pack, dtype, levels):
    x = np.arange(20 * 2 * 3).reshape(20, 2, 3) % 20
    path = tmp_path / "x"
    path.write_bytes(pack(_idx(x, dtype)))
    assert np.array_equal(read(path), x)
    data, splits = _load(f"idx:images={path}")
    assert data.space == Space("image", (1, 2, 3), levels)
    assert sorted(_all(splits).flatten().tolist()) == sorted(x.flatten().tolist())


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_folder_with_a_test_of_its_own(tmp_path, zipped):
    pack, end = (gzip.compress, ".gz") if zipped else (bytes, "")
    for name, n in (("train", 40), ("t10k", 10)):
        x = np.arange(n * 4).reshape(n, 2, 2)
        (tmp_path / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(_idx(x)))
        (tmp_path / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(_idx(np.arange(n) % 10)))
    _, splits = _load(f"idx:path={tmp_path},validation=0.25,limit=20")
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [20, 10, 10]
    assert splits.test.labels.tolist() == list(range(10))
    first = all_samples(splits.train)[:, 0, 0, 0]
    assert torch.equal(splits.train.labels, (first / 4).long() % 10)


def test_bad_idx_files(tmp_path):
    x = np.zeros((12, 2, 2))
    good = _idx(x)
    files = {
        "good": good,
        "labels": _idx(np.zeros(11)),
        "wide": _idx(np.zeros((12, 2, 3))),
        "nan": _idx(np.full((12, 2), np.nan), ">f4"),
        "empty": b"",
        "text": b"hello world",
        "short": good[:-1],
        "long": good + b"0",
        "header": good[:6],
        "scalar": bytes([0, 0, 8, 0, 1]),
        "huge": bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"\0",
        "cut.gz": gzip.compress(good)[:-9],
        "bad.gz": gzip.compress(good)[:12] + b"\xff" * 30,
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    where = f"{tmp_path}/"
    cases = [
        (f"idx:images={where}empty", ["is not an IDX file"]),
        (f"idx:images={where}text", ["is not an IDX file", "68 65 6c 6c"]),
        (f"idx:images={where}header", ["is not an IDX file"]),
        (f"idx:images={where}scalar", ["is not an IDX file"]),
        (f"idx:images={where}short", ["should hold 48 bytes", "Got 47"]),
        (f"idx:images={where}long", ["should hold 48 bytes", "Got 49"]),
        (f"idx:images={where}huge", ["as its header says"]),
        (f"idx:images={where}cut.gz", ["cut.gz cannot be read as an IDX file"]),
        (f"idx:images={where}bad.gz", ["bad.gz cannot be read as an IDX file"]),
        (f"idx:images={where}nan", ["24 NaN or infinite values of 24"]),
        (f"idx:images={where}good,labels={where}labels", ["must have shape (12,)", "(11,)"]),
        (f"idx:images={where}good,test_images={where}wide", ["image 1x2x3", "image 1x2x2"]),
        (f"idx:images={where}no", ["No file"]),
        (f"idx:path={where}no", ["No folder"]),
        (f"idx:path={where}", ["holds no train-images-idx3-ubyte"]),
        (f"idx:path={where},images={where}good", ["either path=FOLDER or images=FILE"]),
        ("idx", ["either path=FOLDER or images=FILE"]),
        (f"idx:test_images={where}good", ["either path=FOLDER or images=FILE"]),
    ]
    for text, words in cases:
        with pytest.raises(UserError) as caught:
            _load(text)
        _one_line(caught, *words)


# Tables

TABLES = [
    ("1,2\n3,4\n5,6\n", "", [[1, 2], [3, 4], [5, 6]]),
    ("a,b\n1,2\n3,4\n5,6\n", "", [[1, 2], [3, 4], [5, 6]]),
    ("a;b\r\n1;2\r\n3;4\r\n\r\n5;6", "", [[1, 2], [3, 4], [5, 6]]),
    ("a\tb\n1\t2e1\n-3\t.5\n5\t 6\n", "", [[1, 20], [-3, 0.5], [5, 6]]),
    ("\ufeffa,b\n1,2\n3,4\n5,6\n", "columns=a", [[1], [3], [5]]),
    ("a,b\n1,2\n3,4\n5,6\n", "columns=b+a", [[2, 1], [4, 3], [6, 5]]),
    ("1,2\n3,4\n5,6\n", "columns=2", [[2], [4], [6]]),
    ('"a,x",b\n1,2\n3,4\n5,6\n', 'columns="a,x"', [[1], [3], [5]]),
    ("a,kind\n1,cat\n3,dog\n5,cat\n", "label=kind", [[1], [3], [5]]),
    ("a,2\n1,2\n3,4\n5,6\n", "", [[1, 2], [3, 4], [5, 6]]),
    ("1\n3\n5\n", "", [[1], [3], [5]]),
]


@pytest.mark.parametrize(("text", "options", "rows"), TABLES)
def test_tables(tmp_path, text, options, rows):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    data, splits = _load(f"csv:path={path}" + (f",{options}" if options else ""))
    assert data.space == Space("vector", (len(rows[0]),))
    assert sorted(_all(splits).tolist()) == sorted(rows)


def test_a_label_is_numbered_by_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n" + "".join(f"{i},{'dog' if i % 2 else 'cat'}\n" for i in range(20)))
    _, splits = _load(f"csv:path={path},label=kind")
    assert splits.train.labels.tolist() == [int(v) % 2 for v in all_samples(splits.train)[:, 0]]


BAD_TABLES = [
    ("", "", ["holds no rows"]),
    ("\n\n", "", ["holds no rows"]),
    ("a,b\n", "", ["holds a header and no rows"]),
    ("a,a\n1,2\n", "", ["names a column twice"]),
    ("a,b\n1,2\n3\n", "", ["line 3 has 1 columns. The first has 2"]),
    ("a,b\n1,2\n3,x\n", "", ["line 3, column 'b': 'x' is not a number", "columns=A+B"]),
    ("a,b\n1,2\n3,\n,4\n", "", ["has 2 missing values, the first in line 3, column 'b'"]),
    ("a,b\n1,2\n3,NA\n", "", ["has 1 missing value, the first in line 3, column 'b'"]),
    ("1,2\n3,nan\n", "", ["has 1 missing value, the first in line 2, column '2'"]),
    ("a\n1\n1e39\n3\n", "", ["line 3, column 'a'", "'1e39' is infinite or too large"]),
    ("a\n1\ninf\n3\n", "", ["line 3", "'inf' is infinite"]),
    ("a,b\n1,2\n3,4\n", "columns=c", ["Unknown column", "Known: a, b"]),
    ("a,b\n1,2\n3,4\n", "label=3", ["Unknown column", "'3'"]),
    ("a,b\n1,2\n3,4\n", "", ["Three splits need samples"]),
    ("a\n\xff\n", "", ["'ÿ' is not a number"]),
    ("a\n\xff\x01\n", "", ["cannot be read as a table"]),
]


@pytest.mark.parametrize(("text", "options", "words"), BAD_TABLES)
def test_bad_tables(tmp_path, text, options, words):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        _load(f"csv:path={path}" + (f",{options}" if options else ""))
    _one_line(caught, *words)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No file"):
        _load(f"csv:path={tmp_path / 'no.csv'}")
    with pytest.raises(UserError, match="csv needs path="):
        _load("csv")
