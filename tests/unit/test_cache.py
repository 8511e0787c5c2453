"""The cache of features: what is not whole is made again, and nothing of others is believed."""

import errno
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch

from gantlet.core import rng
from gantlet.core.rng import StorageError
from gantlet.features import base as module
from gantlet.features.base import FeatureCache

ROWS = torch.arange(24.0).reshape(8, 3)


def parts():
    yield from torch.split(ROWS, 3)


def entry(cache):
    (file,) = cache.folder.glob("*.npy")
    return file


@pytest.fixture
def cache(tmp_path):
    found = FeatureCache(tmp_path / "c")
    assert torch.equal(found.rows("key", 8, parts), ROWS)
    return found


def test_rows_are_kept_in_the_form_of_numpy(cache):
    assert np.load(entry(cache)).tolist() == ROWS.tolist()
    assert not torch.equal(cache.rows("key", 8, parts).mul_(2), ROWS)
    assert torch.equal(cache.rows("key", 8, lambda: 1 / 0), ROWS), "a reader changed a copy"


def test_an_entry_that_was_cut_or_changed_is_made_again(cache):
    file = entry(cache)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for i in range(60):
        raw = bytearray(whole)
        if i % 2:
            raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        else:
            del raw[rng.integers(len(raw)) :]
        file.write_bytes(raw)
        assert torch.equal(cache.rows("key", 8, parts), ROWS)
        assert file.read_bytes() == whole


def test_an_entry_of_another_size_or_of_an_earlier_version_is_made_again(cache):
    np.save(entry(cache), np.zeros((8, 3), np.float32))
    assert torch.equal(cache.rows("key", 8, parts), ROWS)
    assert torch.equal(cache.rows("key", 4, lambda: [ROWS[:4]]), ROWS[:4])


def test_rows_that_are_not_as_many_as_was_said_are_refused(tmp_path):
    for n in (7, 9):
        with pytest.raises(ValueError, match=f"{n} rows .* 8 were made"):
            FeatureCache(tmp_path / "c").rows("key", n, parts)
    assert not list((tmp_path / "c").iterdir())


def test_of_several_that_want_the_same_one_makes_it(tmp_path):
    made, cache = [], FeatureCache(tmp_path / "c")

    def slowly():
        made.append(1)
        time.sleep(0.2)
        yield ROWS

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.rows("key", 8, slowly), range(4)))
    assert len(made) == 1
    assert all(torch.equal(rows, ROWS) for rows in found)
    assert [f.suffix for f in cache.folder.iterdir()] == [".npy"], "no lock is left"


def test_whoever_waited_for_one_that_failed_makes_it(tmp_path):
    cache, began = FeatureCache(tmp_path / "c"), Event()

    def failing():
        began.set()
        time.sleep(0.2)
        raise RuntimeError("no")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.rows, "key", 8, failing)
        began.wait()
        assert torch.equal(cache.rows("key", 8, parts), ROWS)
        with pytest.raises(RuntimeError, match="no"):
            first.result()


def test_a_full_disk_is_one_line_and_leaves_no_draft(tmp_path):
    # A process of its own: its files may not grow beyond 64 kB, as on a disk with that much left.
    script = f"""
import resource, signal, torch
from pathlib import Path
from gantlet.core.rng import StorageError
from gantlet.features.base import FeatureCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    cache = FeatureCache(Path({str(tmp_path / "c")!r}))
    cache.rows("key", 9999, lambda: torch.split(torch.ones(9999, 9), 99))
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "cannot keep features: File too large. Free some space" in done.stdout
    assert not list((tmp_path / "c").iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 65536


def test_a_write_that_fails_is_one_line(tmp_path, monkeypatch):
    def full(out, n, parts):
        out.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_parts", full)
    with pytest.raises(StorageError, match="No space left on device"):
        FeatureCache(tmp_path / "c").rows("key", 8, parts)
    assert not list((tmp_path / "c").iterdir())


def test_drafts_of_killed_processes_are_removed_and_others_stay(cache):
    import fcntl

    orphan, live = cache.folder / ".a.npy.99999999", cache.folder / ".b.npy.99999999"
    for draft in (orphan, live):
        draft.write_bytes(b"half")
        os.utime(draft, (0, 0))
    with live.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cache.rows("other", 8, parts)
    assert not orphan.exists()
    assert live.exists()


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_cache_that_others_can_write_is_refused(cache, mode, monkeypatch):
    monkeypatch.setattr(rng, "is_own_group", lambda _: False)
    cache.folder.chmod(mode)
    with pytest.raises(StorageError, match=r"chmod go-w .* or set GANTLET_CACHE") as refused:
        cache.rows("key", 8, parts)
    assert "\n" not in str(refused.value)
    cache.folder.chmod(0o755)
    assert torch.equal(cache.rows("key", 8, parts), ROWS)


def test_a_cache_below_a_folder_of_all_users_is_refused_unless_it_is_sticky(cache):
    cache.folder.parent.chmod(0o777)
    with pytest.raises(StorageError, match="can be written by all users"):
        cache.rows("key", 8, parts)
    cache.folder.parent.chmod(0o1777)
    assert torch.equal(cache.rows("key", 8, parts), ROWS)


def test_an_entry_that_others_can_write_is_not_believed(cache):
    entry(cache).chmod(0o666)
    assert torch.equal(cache.rows("key", 8, lambda: [ROWS + 1]), ROWS + 1)
    assert entry(cache).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a folder away")
def test_a_cache_of_another_user_is_refused(cache):
    os.chown(cache.folder, 12345, 12345)
    with pytest.raises(StorageError, match="belongs to another user"):
        cache.rows("key", 8, parts)


def test_folders_are_made_for_this_user_alone(tmp_path):
    before = os.umask(0)
    try:
        FeatureCache(tmp_path / "a" / "b" / "c").rows("key", 8, parts)
    finally:
        os.umask(before)
    assert [(tmp_path / p).stat().st_mode & 0o777 for p in ("a", "a/b", "a/b/c")] == [0o700] * 3
