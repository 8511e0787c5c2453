"""Catalogue of published data sets: contents, location and download."""

import hashlib
import os
import shutil
import ssl
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final
from urllib.parse import urljoin, urlsplit

from gantlet.core.errors import UserError, unknown


@final
@dataclass(frozen=True, slots=True)
class File:
    """A file that can be downloaded.

    Attributes:
        name: Its name.
        size: Its length in bytes.
        sha256: The hash of its content.
    """

    name: str
    size: int
    sha256: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published data set.

    Attributes:
        name: The name of the data set component.
        space: Channels, height and width of one image, in words; all have 256 levels.
        samples: How many training and test samples are published, in words.
        licence: The terms of use, as far as they are stated.
        page: Where the data set is described.
        needs: What has to be in its folder; a file may also be there as ``.gz``.
        inner: The sub-folder that may hold it all, as the published archive has it.
        url: From where its files are fetched, or None where one has to get them by hand.
        files: What is fetched; one ``.tar.gz`` is unpacked.
    """

    name: str
    space: str
    samples: str
    licence: str
    page: str
    needs: tuple[str, ...]
    inner: str = ""
    url: str | None = None
    files: tuple[File, ...] = ()

    @property
    def advice(self) -> str:
        """What to do when it is missing."""
        if self.url is not None:
            return f"Run 'gantlet data fetch {self.name}' or give path=FOLDER."
        return f"Get it from {self.page} under its terms, then give path=FOLDER."


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _idx(*files: tuple[int, str]) -> tuple[File, ...]:
    pairs = zip(_IDX, files, strict=True)
    return tuple(File(f"{name}.gz", size, sha256) for name, (size, sha256) in pairs)


PUBLISHED_SETS = (
    Entry(
        name="mnist",
        space="1x28x28",
        samples="60,000 + 10,000",
        licence="CC BY-SA 3.0",
        page="http://yann.lecun.com/exdb/mnist/",
        needs=_IDX,
        # The authors' page serves the files no more; this is the copy of the PyTorch project.
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files=_idx(
            (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    Entry(
        name="fashion-mnist",
        space="1x28x28",
        samples="60,000 + 10,000",
        licence="MIT",
        page="https://github.com/zalandoresearch/fashion-mnist",
        needs=_IDX,
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files=_idx(
            (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    Entry(
        name="cifar10",
        space="3x32x32",
        samples="50,000 + 10,000",
        licence="none stated",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        needs=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
        inner="cifar-10-batches-bin",
        url="https://www.cs.toronto.edu/~kriz/",
        files=(
            File(
                "cifar-10-binary.tar.gz",
                170052171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
    ),
    Entry(
        name="stl10",
        space="3x96x96",
        samples="105,000 + 8,000",
        licence="none stated",
        page="https://cs.stanford.edu/~acoates/stl10/",
        needs=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
        inner="stl10_binary",
        url="http://ai.stanford.edu/~acoates/stl10/",
        files=(
            File(
                "stl10_binary.tar.gz",
                2640397119,
                "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            ),
        ),
    ),
    Entry(
        name="celeba",
        space="3x218x178, resized",
        samples="182,637 + 19,962",
        licence="research, not commercial",
        page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        needs=("img_align_celeba",),
    ),
    Entry(
        name="imagenet",
        space="3 x any, resized",
        samples="1,281,167 + 50,000",
        licence="research, after registration",
        page="https://image-net.org/download.php",
        needs=("train", "val"),
    ),
)
"""The data sets that are known by name."""


def entries() -> tuple[Entry, ...]:
    """Returns all published data sets."""
    return PUBLISHED_SETS


def entry(name: str) -> Entry:
    """Returns the data set ``name``.

    Raises:
        UserError: If it is not in the catalogue.
    """
    found = next((e for e in PUBLISHED_SETS if e.name == name), None)
    if found is None:
        raise unknown("published data set", name, [e.name for e in PUBLISHED_SETS])
    return found


def home() -> Path:
    """Returns the data directory.

    That is ``GANTLET_DATA`` where it is set; else ``shared/data`` beside a checkout of this
    repository where that exists; else ``~/.local/share/gantlet`` where that exists; else the
    place that the system has for data of a user (``XDG_DATA_HOME``, on macOS ``~/Library``).
    """
    from platformdirs import user_data_path

    given = os.environ.get("GANTLET_DATA")
    if given:
        return Path(given).expanduser()
    beside = Path(__file__).parents[4] / "shared" / "data"
    usual = Path.home() / ".local" / "share" / "gantlet"
    known = (folder for folder in (beside, usual) if folder.is_dir())
    return next(known, None) or user_data_path("gantlet", appauthor=False)


def locate(name: str, path: str | None = None) -> Path:
    """Returns the folder that holds the data set ``name``.

    Args:
        name: A data set of the catalogue.
        path: Where the user says that it is, or None to look below ``home()``.

    Raises:
        UserError: If it is not there; it says where it looked and what to do.
    """
    known = entry(name)
    folders = list(_folders(known, path))
    whole = next((f for f in folders if not missing(known, f)), None)
    if whole is not None:
        return whole
    partial = next((f for f in folders if f.is_dir()), None)
    if partial is not None:
        lack = missing(known, partial)[0]
        raise UserError(f"{name} is not complete: {partial} lacks {lack}. {known.advice}")
    looked = " and ".join(dict.fromkeys(str(f) for f in folders if f.name != known.inner))
    raise UserError(f"{name} is not here; looked in {looked}. {known.advice}")


def missing(known: Entry, folder: Path) -> list[str]:
    """Returns the files of a data set that are missing in ``folder``."""
    return [
        name
        for name in known.needs
        if not (folder / name).exists() and not (folder / f"{name}.gz").exists()
    ]


def _folders(known: Entry, path: str | None) -> Iterator[Path]:
    """Yields where the data set may be, the most likely first."""
    if path is not None:
        places = [Path(path).expanduser()]
    else:
        names = dict.fromkeys((known.name, known.name.replace("-", "_")))
        places = [base / name for base in (home() / "images", home()) for name in names]
    for place in places:
        yield place
        if known.inner:
            yield place / known.inner


# ----------------------------------------------------------------------------
# Files brought from the network, whole and checked or not at all.
# ----------------------------------------------------------------------------

_CHUNK = 2**20

DOWNLOAD_TIMEOUT = 30.0
"""Seconds without a byte after which a download has failed."""

DOWNLOAD_RETRIES = 2
"""How often a download is tried again whose connection broke while the file came."""

Progress = Callable[[int], None]


def fetch(known: Entry, folder: Path, *, url: str | None = None, progress: Progress) -> None:
    """Downloads a data set into ``folder``; nothing is left there unless its hash is right.

    Files that are there already, with the right hash, are kept.

    Args:
        known: The data set.
        folder: Where to; made where it does not exist.
        url: Another address that serves the same files, or None.
        progress: Called with the number of bytes after each piece; a number below 0 takes back
            those of a download that begins again.

    Raises:
        UserError: If it has to be got by hand, cannot be reached, is not what was published, or
            cannot be written.
    """
    base = url or known.url
    if base is None or not known.files:
        raise UserError(f"{known.name} cannot be fetched ({known.licence}). {known.advice}")
    for file in known.files:
        download(base, file, folder, progress=progress)
        if file.name.endswith(".tar.gz"):
            unpack(folder / file.name, known)


def download(url: str, file: File, folder: Path, *, progress: Progress) -> Path:
    """Downloads one file below the address ``url`` and returns its path, by pooch.

    Proxies and certificates are those of the environment and of the system.

    Raises:
        UserError: If it cannot be reached, is not what was published, or cannot be written.
    """
    base = url if url.endswith("/") else f"{url}/"
    if urlsplit(base).scheme not in {"http", "https"}:
        raise UserError(f"An address must begin with http:// or https://. Got {url!r}.")
    import pooch

    pooch.get_logger().setLevel("ERROR")
    one = _Download(file, progress)
    source = pooch.create(
        folder,
        base,
        registry={file.name: f"sha256:{file.sha256}"},
        retry_if_failed=DOWNLOAD_RETRIES,
    )
    with _no_new_folder(folder), _explained(urljoin(base, file.name), folder / file.name):
        # Its types want a function with the parameters of pooch's own downloaders.
        source.fetch(file.name, downloader=cast("Any", one))
    progress(file.size - one.received)  # of a file that was there
    return folder / file.name


class _RefusedError(Exception):
    """A download that another try would not mend."""


@final
class _Download:
    """One download, as pooch asks for it: counted, and ended where it is longer than published."""

    def __init__(self, file: File, progress: Progress) -> None:
        self._file, self._progress = file, progress
        self.received = 0

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Downloads ``url``."""
        from pooch import HTTPDownloader
        from requests import RequestException
        from requests.exceptions import ChunkedEncodingError

        self._progress(-self.received)
        self.received, self._digest = 0, hashlib.sha256()
        # A temporary file is for its owner alone; a data set has the usual rights.
        Path(output_file).unlink()
        with Path(output_file).open("wb") as self._out:
            # pooch passes the rest on to requests.
            bring = HTTPDownloader(
                chunk_size=_CHUNK,
                timeout=DOWNLOAD_TIMEOUT,
                verify=_certificates(),
                headers={"Accept-Encoding": "identity"},
                hooks={"response": _as_sent},
            )
            try:
                bring(url, self, pooch)
            except RequestException as error:
                # Offline, or no such file: another try would not mend it.
                if not self.received and not isinstance(error, ChunkedEncodingError):
                    raise _RefusedError(_reason(error)) from error
                raise
        self._check()

    def write(self, piece: bytes) -> None:
        """Takes the next bytes."""
        self._out.write(piece)
        self._digest.update(piece)
        self.received += len(piece)
        self._progress(len(piece))
        if self.received > self._file.size:
            self._check()

    def flush(self) -> None:
        """Does nothing, though the downloader asks for it: the file is read when it is closed."""

    def _check(self) -> None:
        found = (self.received, self._digest.hexdigest())
        if found != (self._file.size, self._file.sha256):
            got = f"{found[0]} bytes" if found[0] <= self._file.size else "more"
            raise _RefusedError(
                f"checksum mismatch, file deleted: it is not the published file, expected "
                f"{self._file.size} bytes with SHA-256 {self._file.sha256}. Got {got} with "
                f"{found[1]}. Try again, or give another address with --url"
            )


def _as_sent(answer: Any, **_: Any) -> None:
    """Keeps a packed file packed, though some servers call that an encoding of the transfer."""
    answer.raw.headers.pop("Content-Encoding", None)


def _certificates() -> str | bool:
    """Returns the certificates of the system, or True for those that requests brings along."""
    if os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        return True
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _reason(error: BaseException) -> str:
    """Returns in a few words why a server could not be reached: what the first error said."""
    from requests import HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout):
        return f"timed out after {DOWNLOAD_TIMEOUT:g} s"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__


@contextmanager
def _explained(place: str, target: Path) -> Generator[None]:
    """Turns what goes wrong in a download into one line."""
    from requests import RequestException

    try:
        yield
    except _RefusedError as error:
        raise UserError(f"{place} could not be fetched: {error}.") from error
    except RequestException as error:
        raise UserError(
            f"{place} could not be fetched: the connection broke {DOWNLOAD_RETRIES + 1} times "
            f"({_reason(error)}). Try again, or another address (--url)."
        ) from error
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}.") from error


@contextmanager
def _no_new_folder(folder: Path) -> Generator[None]:
    """Removes the folders that were made in vain."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # not empty, or never made
                path.rmdir()
        raise


@contextmanager
def _draft(target: Path) -> Generator[Path]:
    """Gives a path beside ``target`` that is removed at the end, if it is still there."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}.") from error
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        elif draft.exists():
            draft.unlink()


def _check_room(archive: Path, claimed: int, folder: Path) -> None:
    """Refuses what would fill the disk, before any of it is unpacked."""
    free = shutil.disk_usage(folder).free
    if claimed > free:
        raise UserError(
            f"{archive} needs {claimed / 2**30:.1f} GB to be unpacked, and {folder} has "
            f"{free / 2**30:.1f} GB free. Free some space."
        )


def unpack(archive: Path, known: Entry) -> Path:
    """Unpacks a ``.tar.gz`` beside itself, removes it, and returns the folder it held.

    Raises:
        UserError: If the archive does not hold the data set, or cannot be unpacked.
    """
    target = archive.parent / known.inner
    with _draft(target) as draft:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                members = tar.getmembers()
                _check_room(archive, sum(m.size for m in members), draft.parent)
                tar.extractall(draft, members, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive} cannot be unpacked: {error}.") from error
        lack = missing(known, draft / known.inner)
        if lack:
            raise UserError(f"{archive} lacks {lack[0]}.")
        if target.exists():
            shutil.rmtree(target)
        (draft / known.inner).replace(target)
    archive.unlink()
    return target
