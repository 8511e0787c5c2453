"""Common parts of feature extractors: block-wise fitting and the feature cache."""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
import torch
from torch import Tensor, nn

from gantlet.compute.machine import Shared
from gantlet.core.data import Source, Space
from gantlet.core.errors import UserError
from gantlet.core.metric import Extract, Features, NotForRanking
from gantlet.core.rng import StorageError, cache_home, is_private, private_folder
from gantlet.core.spec import Spec, extractors
from gantlet.models.nets import Scaling
from gantlet.stats.moments import Moments

# ----------------------------------------------------------------------------
# Cache of extracted features on disk, verified when opened.
# ----------------------------------------------------------------------------

Parts = Callable[[], Iterable[Tensor]]
"""Makes the rows, block by block."""

_MOST = 10 * 2**30

# A file holds an array in NumPy's own form, and after it this mark and the checksum of the array.
_MARK = b"gantlet1"
_DIGEST = 16
_PIECE = 2**22
_YOUNG = 1.0


@final
@dataclass(frozen=True, slots=True)
class FeatureCache:
    """A folder of matrices by name; the least recently used are removed above a maximum size.

    Matrices are written in blocks to a draft, with a checksum, which is renamed once it is on
    disk. Size, shape and checksum are verified on opening; damaged files are recomputed.

    Attributes:
        folder: The folder.
        most: Maximum size in bytes.
    """

    folder: Path
    most: int = _MOST

    @classmethod
    def usual(cls) -> "FeatureCache":
        """Returns the user's cache."""
        return cls(cache_home() / "features")

    def rows(self, key: str, n: int, parts: Parts) -> Tensor:
        """Returns the rows kept under ``key``, or makes and keeps them; mapped from disk.

        Args:
            key: Names all that decides them.
            n: How many rows there are.
            parts: Called if they are not there.

        Raises:
            StorageError: If the folder cannot be written, the disk is full, or other users can
                change what is in it.
            ValueError: If ``parts`` does not make ``n`` rows.
        """
        file = self.folder / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
        try:
            private_folder(self.folder)
            if not _is_whole(file, n):
                # Of several processes that want the same, one makes it and the others wait.
                with _alone(file.with_name(f".{file.name}.lock")):
                    if not _is_whole(file, n):
                        self._keep(file, n, parts)
            os.utime(file)
            # "c": whoever changes the rows changes a copy.
            return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot keep features: {error.strerror or error}. Free some space, "
                "or set GANTLET_CACHE to another folder."
            ) from error

    def _keep(self, file: Path, n: int, parts: Parts) -> None:
        self._drop_drafts()
        draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with os.fdopen(
                os.open(draft, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600), "w+b"
            ) as out:
                fcntl.flock(out, fcntl.LOCK_EX)
                write_parts(out, n, parts)
                out.flush()
                os.fsync(out.fileno())
                draft.replace(file)
        finally:
            with suppress(OSError):
                draft.unlink()
        self._tidy(file)

    def _drop_drafts(self) -> None:
        """Removes drafts of processes that are gone: nobody holds them locked."""
        for draft in self.folder.glob(".*.npy.*"):
            with suppress(OSError), draft.open("rb") as file:
                # One that was made this moment may not be locked yet.
                if time.time() - os.fstat(file.fileno()).st_mtime > _YOUNG:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    draft.unlink()

    def _tidy(self, newest: Path) -> None:
        """Removes what was not used for longest until the rest fits."""
        files = [(f.stat(), f) for f in self.folder.glob("*.npy") if f != newest]
        left = sum(stat.st_size for stat, _ in files) + newest.stat().st_size
        for stat, file in sorted(files, key=lambda f: f[0].st_mtime):
            if left <= self.most:
                return
            file.unlink(missing_ok=True)
            left -= stat.st_size


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    """Holds a file that no other process or thread holds; removes it in the end."""
    while True:
        with os.fdopen(os.open(lock, os.O_CREAT | os.O_RDWR, 0o600), "r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not _is_still(lock, held):
                continue  # whoever held it has removed it, and the next one makes it again
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Returns whether a path still leads to the file that was opened."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def write_parts(out: BinaryIO, n: int, parts: Parts) -> None:
    """Writes array, mark and checksum; never through a map, where a full disk ends the process.

    Raises:
        ValueError: If the rows are not as many as was said.
    """
    found, made = blake2b(digest_size=_DIGEST), 0
    for part in parts():
        rows = np.ascontiguousarray(part.numpy(), dtype="<f4")
        content = rows.tobytes()
        if made == 0:
            content = _header(n, rows.shape[1]) + content
        out.write(content)
        found.update(content)
        made += len(rows)
    if made != n or not n:
        raise ValueError(f"{n} rows of features were to be kept, {made} were made.")
    out.write(_MARK + found.digest())


def _header(n: int, columns: int) -> bytes:
    out = BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, columns)}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def _is_whole(path: Path, n: int) -> bool:
    """Returns whether a file is there and holds what was written, as many rows as wanted.

    A file that other users may write is not believed either.
    """
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            return is_private(stat) and _is_sealed(file, stat.st_size) and _rows(file, n)
    except FileNotFoundError:
        return False


def _is_sealed(file: BinaryIO, size: int) -> bool:
    """Returns whether the checksum at the end is that of all before it; nothing is parsed."""
    left = size - len(_MARK) - _DIGEST
    found = blake2b(digest_size=_DIGEST)
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        found.update(piece)
        left -= len(piece)
    return left == 0 and file.read() == _MARK + found.digest()


def _rows(file: BinaryIO, n: int) -> bool:
    file.seek(0)
    np.lib.format.read_magic(file)
    shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return shape[0] == n


def digest_of(source: Source, block: int) -> str:
    """Returns a short name for all samples of ``source`` together, read a block at a time."""
    found = blake2b(digest_size=16)
    for index in torch.split(torch.arange(len(source)), block):
        found.update(source.take(index).contiguous().numpy().tobytes())
    return found.hexdigest()


# ----------------------------------------------------------------------------
# The features of a set of samples, in memory or mapped from disk.
# ----------------------------------------------------------------------------

_ROWS = 4096

Tell = Callable[[float], None]
"""Progress callback: finished fraction, in [0, 1]."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """The features of a set of samples of any modality.

    Attributes:
        rows: One row for each sample, shape ``(n, d)``, float32; perhaps mapped from disk.
        fingerprint: Names extractor, weights and preprocessing.
        probabilities: Class probabilities, shape ``(n, classes)``, or None.
    """

    rows: Tensor
    fingerprint: str
    probabilities: Tensor | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def moments(self) -> Moments:
        """Returns mean and scatter; those of shards add up to those of the whole."""
        return Moments.of(b.double() for b in torch.split(self.rows, _ROWS))

    def comparable(self, other: "FeatureSet") -> None:
        """Checks that numbers of both may be compared.

        Raises:
            UserError: If the two come from different extractors, weights or preprocessing.
        """
        if self.fingerprint != other.fingerprint:
            raise UserError(
                f"Features of {self.fingerprint} cannot be compared with those of "
                f"{other.fingerprint}. Extract both in the same way."
            )

    def joined(self, other: "FeatureSet") -> "FeatureSet":
        """Returns both sets as one.

        Raises:
            UserError: If they are not comparable.
        """
        self.comparable(other)
        known = [p for p in (self.probabilities, other.probabilities) if p is not None]
        return FeatureSet(
            rows=torch.cat([self.rows, other.rows]),
            fingerprint=self.fingerprint,
            probabilities=torch.cat(known) if len(known) == 2 else None,
        )


def feature_set(
    features: Features,
    source: Source,
    *,
    block: int,
    device: torch.device | str = "cpu",
    cache: FeatureCache | None = None,
    content: str | None = None,
    classes: bool = True,
    tell: Tell = lambda _: None,
) -> FeatureSet:
    """Extracts the features of all samples, a block at a time.

    Args:
        features: The extractor, ready for use.
        source: The samples.
        block: Number of samples per block.
        device: Where the extractor works.
        cache: The feature cache, or None to keep features in memory only.
        content: What ``digest_of`` says of the samples, where that is known already.
        classes: Whether to compute class probabilities too, if the extractor has classes.
        tell: Called with the finished fraction.
    """
    samples = "" if cache is None else content or digest_of(source, block)

    def extracted(extract: Extract) -> Iterator[Tensor]:
        for index in torch.split(torch.arange(len(source)), block):
            yield extract(source.take(index).to(device)).cpu()
            tell(float(index[-1] + 1) / len(source))

    def kept(what: str, parts: Parts) -> Tensor:
        if cache is None:
            return torch.cat(list(parts()))
        key = f"{what}/{features.fingerprint}/{block}/{samples}"
        return cache.rows(key, len(source), parts)

    rows = kept("features", lambda: extracted(features.extract))
    classify, head = features.classify, features.head
    if classify is None or not classes:
        return FeatureSet(rows=rows, fingerprint=features.fingerprint)
    # In the blocks of the network, so that every digit is that of a run of its own.
    by_head = (head(part.to(device)).cpu() for part in torch.split(rows, block)) if head else None
    known = kept("probabilities", lambda: by_head or extracted(classify))
    return FeatureSet(rows=rows, fingerprint=features.fingerprint, probabilities=known)


# ----------------------------------------------------------------------------
# Extractors that must not be used for rankings.
# ----------------------------------------------------------------------------


def check_ranking_features(texts: Sequence[str]) -> None:
    """Checks that extractors may be used for rankings.

    Raises:
        UserError: If one comes from a model under evaluation.
    """
    for text in texts:
        extractor = extractors.make(text)
        if isinstance(extractor, NotForRanking):
            raise UserError(
                f"{text.partition(':')[0]} must not be used for rankings: {extractor.why}."
            )


# ----------------------------------------------------------------------------
# Common parts of fitted extractors: training samples in blocks, and frozen networks.
# ----------------------------------------------------------------------------

COMPONENTS_AT_ONCE = 2**18
"""Components of the samples in one block; a net makes some thirty numbers of each."""

# Samples that suffice for the mean and deviation of each component.
_SCALED = 20_000


def block_of(space: Space) -> int:
    """Returns the number of samples of ``space`` in a block.

    Example:
        >>> block_of(Space("image", (1, 28, 28), 256))
        334
    """
    return max(1, COMPONENTS_AT_ONCE // max(space.size, 1))


def subsample_indices(n: int, most: int, *, rng: torch.Generator) -> Tensor:
    """Returns the indices of at most ``most`` of ``n`` samples, drawn by ``rng`` and sorted.

    All of them, in order, where there are no more than ``most``. ``rng`` lives on the CPU.

    Example:
        >>> subsample_indices(3, 5, rng=torch.Generator())
        tensor([0, 1, 2])
    """
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=rng)[:most].sort().values


def blocks(
    source: Source, index: Tensor, space: Space, *, device: torch.device
) -> Iterator[Tensor]:
    """Yields the samples at ``index`` on ``device``, in blocks that bound memory."""
    for part in torch.split(index, block_of(space)):
        yield source.take(part).to(device)


def scaling_of(space: Space, train: Source, *, rng: torch.Generator) -> Scaling:
    """Returns the map of samples to numbers of about unit size; at most 20,000 set it."""
    scaling = Scaling(space)
    if space.levels is None:
        scaling.fit(train.take(subsample_indices(len(train), _SCALED, rng=rng)))
    return scaling


def _full_precision() -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return context


# What it sets holds for the process, and so does it; it holds nothing of a run.
_EXACTLY = Shared(_full_precision)


def full_precision() -> AbstractContextManager[None]:
    """Returns a context in which a GPU convolves in full precision, each time alike."""
    return _EXACTLY()


def frozen(
    net: nn.Module,
    space: Space,
    *,
    spec: Spec,
    note: str,
    head: nn.Module | None = None,
    maps: nn.Module | None = None,
) -> Features:
    """Returns an extractor from a fitted network, which must not change afterwards.

    Args:
        net: Maps samples ``(n, *space.shape)`` to vectors ``(n, d)``.
        space: The space of the samples.
        spec: The extractor in written form, with all options.
        note: Description and quality.
        head: Maps vectors to class logits, or None without classes.
        maps: A part of ``net`` that maps samples to spatial maps ``(n, c, h, w)``, or None.
    """
    top = None if head is None else nn.Sequential(head, nn.Softmax(1))
    whole = net if head is None else nn.Sequential(net, head, nn.Softmax(1))
    return Features(
        extract=_extract(net, space),
        note=note,
        fingerprint=f"{spec}/{space.label}/{digest(whole.state_dict())}",
        classify=None if head is None else _extract(whole, space),
        head=None if top is None else _extract(top, space),
        maps=None if maps is None else _extract(maps, space),
    )


def _extract(net: nn.Module, space: Space) -> Extract:
    net.eval().requires_grad_(requires_grad=False)
    size = block_of(space)

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        net.to(x.device)
        with full_precision():
            return torch.cat([net(part.float()).float() for part in torch.split(x, size)])

    return extract


def digest(state: Mapping[str, Tensor]) -> str:
    """Returns a short hash of weights: their names, shapes, types and bits."""
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
