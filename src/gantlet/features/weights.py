"""Catalogue, location and loading of published weights."""

import hashlib
import os
import pickle
import stat
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError, input_errors, unknown
from gantlet.core.metric import Extract, Features
from gantlet.core.rng import cache_home
from gantlet.features.base import full_precision
from gantlet.features.preprocess import NetworkInput

# ----------------------------------------------------------------------------
# Reading weights from files of others, without running what they hold.
# ----------------------------------------------------------------------------

# Errors of the reader on files that are not weights.
_BROKEN = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    OSError,
    MemoryError,
    OverflowError,
)
ASIDE = "num_batches_tracked"
"""What counts are called that no result depends on; old files lack them."""


def read(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a file that ``torch.save`` wrote, on the CPU.

    Nothing in the file is run: only tensors and plain values are read.

    Raises:
        UserError: If it is not whole, is not such a file, or holds anything but tensors.
    """
    found = read_saved(path)
    if not isinstance(found, Mapping) or not all(torch.is_tensor(t) for t in found.values()):
        raise UserError(
            f"{path} holds no plain table of named tensors (got {type(found).__name__}); save the "
            "network's state_dict() alone."
        )
    return {str(name): tensor for name, tensor in found.items()}


def read_saved(path: Path) -> Any:
    """Returns what is in a file that ``torch.save`` wrote, on the CPU.

    Nothing in the file is run: only tensors and plain values are read.

    Raises:
        UserError: If it is not whole, is not such a file, or holds code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file; the error below says more
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  runs no code
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a file of weights, or contains code, which is refused: only tensors "
            "are read. Nothing was run."
        ) from error
    except _BROKEN as error:
        raise UserError(
            f"{path} is not a complete file of weights; it may be another kind of file, or an "
            "incomplete download."
        ) from error


def read_script(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a TorchScript archive, on the CPU.

    Loading an archive may run what it holds; the caller knows its hash.

    Raises:
        UserError: If it is not a complete archive.
    """
    return dict(load_script(path).state_dict())


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Returns the network of a TorchScript archive, on the CPU, ready for use.

    Raises:
        UserError: If it is not a complete archive.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # files of others stay as they are
            load: Any = torch.jit.load
            net: torch.jit.ScriptModule = load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is not a complete TorchScript archive.") from error
    net.eval()
    return net


def fill(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Gives ``net``, made on the meta device, the tensors of ``state`` in float32.

    Raises:
        UserError: If names or shapes are not those of the network.
    """
    wanted = {k: t for k, t in net.state_dict().items() if not k.endswith(ASIDE)}
    given = {k: t for k, t in state.items() if not k.endswith(ASIDE)}
    _compare(wanted, given, path)
    counts = {k: torch.zeros((), dtype=torch.long) for k in net.state_dict() if k.endswith(ASIDE)}
    net.load_state_dict({k: t.float() for k, t in given.items()} | counts, assign=True)


def fold_norm(weight: Tensor, norm: Mapping[str, Tensor], epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a convolution that normalises, too, as ``norm`` did after it.

    Folded in double precision, so that results agree to the rounding of single precision.

    Args:
        weight: Of the convolution, which has no bias, shape ``(out, in, h, w)``.
        norm: The tensors of the batch normalisation, by name, shapes ``(out,)``.
        epsilon: What it adds to variances.

    Raises:
        KeyError: If one of its tensors is missing.
    """
    scale = norm["weight"].double()
    scale = scale / (norm["running_var"].double() + epsilon).sqrt()
    shift = norm["bias"].double() - norm["running_mean"].double() * scale
    return (weight.double() * scale.view(-1, 1, 1, 1)).float(), shift.float()


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    start = f"{path} does not fit this network:"
    lacks, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if lacks:
        raise UserError(f"{start} it lacks {some_of(lacks)}.")
    if extra:
        raise UserError(f"{start} it also holds {some_of(extra)}.")
    for name, tensor in wanted.items():
        shape, own = tuple(tensor.shape), tuple(given[name].shape)
        if shape != own:
            raise UserError(f"{start} {name} should have shape {shape}, but has {own}.")


def some_of(names: Sequence[str], most: int = 1) -> str:
    """Returns the first names, and how many more there are.

    Example:
        >>> some_of(["a", "b", "c"]), some_of(["a", "b"], 2)
        ('a and 2 more', 'a, b')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ----------------------------------------------------------------------------
# Catalogue of published weights and their location on this machine.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """One published file of weights.

    Attributes:
        name: Name in Gantlet.
        files: File names; the first is that at ``url``.
        url: Address of the folder that serves it.
        size: Size in bytes.
        sha256: SHA-256 of its content.
        licence: Its license.
        page: Web page that describes it.
    """

    name: str
    files: tuple[str, ...]
    url: str
    size: int
    sha256: str
    licence: str
    page: str

    @property
    def advice(self) -> str:
        """What to do when it is missing."""
        return (
            f"Run 'gantlet weights fetch {self.name}', or get {self.url}{self.files[0]} "
            f"({self.size} bytes, SHA-256 {self.sha256}) and run 'gantlet weights add FILE'."
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """One file of an installed package, which is read as data: its code is not imported.

    Attributes:
        name: Name in Gantlet.
        package: The package, as the index names it.
        version: The version that holds it.
        path: The file, relative to where packages are installed.
        size: Size in bytes.
        sha256: SHA-256 of its content.
        licence: Its license.
        extra: The extra of Gantlet that brings it.
    """

    name: str
    package: str
    version: str
    path: str
    size: int
    sha256: str
    licence: str
    extra: str

    @property
    def advice(self) -> str:
        """The command that installs it."""
        return f"pip install 'gantlet[{self.extra}]'"

    def find(self) -> Path | None:
        """Returns its path, or None where it is not installed; it is not read."""
        try:
            path = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError:
            return None
        return path if path.is_file() and path.stat().st_size == self.size else None

    def locate(self) -> "WeightsFile":
        """Returns the file, with verified hash.

        Raises:
            UserError: If it is not installed, or not what was published.
        """
        path = self.find()
        if path is None:
            raise UserError(
                f"{self.name} needs {self.package} {self.version}, which is not installed. "
                f"Run: {self.advice}"
            )
        sha256 = sha256_of(path)
        if sha256 != self.sha256:
            raise UserError(
                f"{path} was changed: its SHA-256 is {sha256}, not {self.sha256}. Run: pip "
                f"install --force-reinstall --no-deps {self.package}=={self.version}"
            )
        return WeightsFile(path=path, sha256=sha256, known=None, packaged=self)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file of weights on this machine.

    Attributes:
        path: Its path.
        sha256: SHA-256 of its content.
        known: The published weights, or None for an unpublished file.
        packaged: The package that it belongs to, if any.
    """

    path: Path
    sha256: str
    known: PublishedWeights | None
    packaged: PackagedFile | None = None


def _dinov2(letter: str, size: int, sha256: str) -> PublishedWeights:
    file = f"dinov2_vit{letter}14_pretrain.pth"
    return PublishedWeights(
        name=f"dinov2-vit-{letter}-14",
        files=(file,),
        url=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/",
        size=size,
        sha256=sha256,
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/dinov2",
    )


def _clip(model: str, file: str, size: int, sha256: str) -> PublishedWeights:
    fidelity = f"clip-{model.replace('336', '336px')}-{sha256}.pt"
    return PublishedWeights(
        name=f"clip-{model}",
        files=(f"{file}.pt", fidelity),
        url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/",
        size=size,
        sha256=sha256,
        licence="MIT",
        page="https://github.com/openai/CLIP",
    )


KNOWN_WEIGHTS = (
    PublishedWeights(
        name="inception",
        files=(
            "weights-inception-2015-12-05-6726825d.pth",
            "pt_inception-2015-12-05-6726825d.pth",
        ),
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
        size=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        licence="Apache-2.0",
        page="https://github.com/toshas/torch-fidelity",
    ),
    _dinov2("s", 88_283_115, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    _dinov2("b", 346_378_731, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    _dinov2(
        "l", 1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
    ),
    _clip(
        "vit-b-32",
        "ViT-B-32",
        353_976_522,
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    ),
    _clip(
        "vit-b-16",
        "ViT-B-16",
        350_837_078,
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    _clip(
        "vit-l-14",
        "ViT-L-14",
        932_768_134,
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    ),
    _clip(
        "vit-l-14-336",
        "ViT-L-14-336px",
        934_088_680,
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    ),
)
"""The published weights in the catalogue."""


def catalogue() -> tuple[PublishedWeights, ...]:
    """Returns all published weights."""
    return KNOWN_WEIGHTS


def published_weights(name: str) -> PublishedWeights:
    """Returns the weights ``name``.

    Raises:
        UserError: If they are not in the catalogue.
    """
    found = next((k for k in KNOWN_WEIGHTS if k.name == name), None)
    if found is None:
        raise unknown("weights", name, [k.name for k in KNOWN_WEIGHTS])
    return found


def home() -> Path:
    """Returns the folder for weights: ``GANTLET_WEIGHTS``, or one in the cache."""
    given = os.environ.get("GANTLET_WEIGHTS")
    return Path(given).expanduser() if given else cache_home() / "weights"


def folders() -> list[Path]:
    """Returns the search path for weights.

    They are ``home()``, that in the cache, and those in which torch.hub and OpenAI's package keep
    what they fetched.
    """
    user = Path.home() / ".cache"
    cache = Path(os.environ.get("XDG_CACHE_HOME", user)).expanduser()
    hub = Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub" / "checkpoints"
    return list(dict.fromkeys((home(), cache_home() / "weights", hub, user / "clip")))


def sha256_of(path: Path) -> str:
    """Returns the hash of a file.

    Raises:
        UserError: If it cannot be read.
    """
    with input_errors(path, "a file of weights"):
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise UserError(f"{path} is a pipe, a socket or a device. Save it as a file.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def identify(path: Path) -> WeightsFile:
    """Identifies a file of weights by its hash.

    Raises:
        UserError: If it cannot be read.
    """
    sha256 = sha256_of(path)
    match = next((k for k in KNOWN_WEIGHTS if k.sha256 == sha256), None)
    return WeightsFile(path=path, sha256=sha256, known=match)


def locate(name: str) -> WeightsFile:
    """Returns the path of the published weights ``name``, with verified hash.

    A file of another name is found too, if it has the right length and hash.

    Raises:
        UserError: If they are missing, or differ from the published file.
    """
    wanted = published_weights(name)
    for path in _candidates(wanted):
        if sha256_of(path) == wanted.sha256:
            return WeightsFile(path=path, sha256=wanted.sha256, known=wanted)
    wrong = next((p for p in _places(wanted.files) if p.is_file()), None)
    if wrong is not None:
        raise UserError(
            f"{wrong} is not the published file: it has {wrong.stat().st_size} bytes and SHA-256 "
            f"{sha256_of(wrong)}. Remove it. {wanted.advice}"
        )
    raise UserError(f"The weights {name} were not found in {_listed()}. {wanted.advice}")


def is_downloaded(name: str) -> bool:
    """Returns whether a file of the right size is present, without reading it."""
    return next(_candidates(published_weights(name)), None) is not None


def choose(name: str, own: str | None) -> WeightsFile:
    """Returns the published weights ``name``, or the user's own instead.

    Args:
        name: Weights of the catalogue.
        own: A path, the name of a file in one of the folders, or None.

    Raises:
        UserError: If the file does not exist, or was changed since it was added.
    """
    if own is None:
        return locate(name)
    path = next((p for p in (Path(own).expanduser(), *_places((own,))) if p.is_file()), None)
    if path is None:
        raise UserError(f"There are no weights {own!r}, neither as a path nor in {_listed()}.")
    found = identify(path)
    _unchanged(found)
    return found


def note_of(path: Path) -> Path:
    """Returns the file that records the hash of weights which Gantlet did not know."""
    return path.with_name(f"{path.name}.sha256")


def added() -> list[Path]:
    """Returns the unpublished files in ``home()``."""
    return [path for path in _files(home()) if note_of(path).is_file()]


def _unchanged(found: WeightsFile) -> None:
    note = note_of(found.path)
    with input_errors(note, "a hash"):
        recorded = note.read_text(encoding="utf-8").split()[:1] if note.is_file() else []
    if recorded and recorded != [found.sha256]:
        raise UserError(
            f"{found.path} has changed since it was added: its SHA-256 is {found.sha256}, "
            f"{note.name} says {recorded[0]}. Add it again, if that is meant."
        )


def _candidates(wanted: PublishedWeights) -> Iterator[Path]:
    """Yields the files that may be it: of the right length, those of the right name first."""
    others = (path for folder in folders() for path in _files(folder))
    for path in dict.fromkeys((*_places(wanted.files), *others)):
        if path.is_file() and path.stat().st_size == wanted.size:
            yield path


def _places(names: Iterable[str]) -> list[Path]:
    return [folder / name for folder in folders() for name in names]


def _files(folder: Path) -> list[Path]:
    with input_errors(folder, "a folder"):
        return sorted(folder.iterdir()) if folder.is_dir() else []


def _listed() -> str:
    return ", ".join(map(str, folders()))


# ----------------------------------------------------------------------------
# What extractors with the trained networks of others share.
# ----------------------------------------------------------------------------

Run = Callable[[Tensor], Tensor]
"""A network: its input to vectors, shape ``(n, d)``."""


def in_batches(
    run: Run, looks: Callable[[Tensor], Tensor], *, batch: int, maps: bool = False
) -> Extract:
    """Returns a function that evaluates a network in batches.

    Args:
        run: The network; it also takes no samples at all.
        looks: Turns samples into its input.
        batch: How many samples at a time.
        maps: Whether outputs keep their shape; else they become vectors.
    """

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        with full_precision():
            parts = [run(looks(part)).float() for part in torch.split(x, batch)]
        return torch.cat(parts if maps else [part.flatten(1) for part in parts])

    return extract


def features_of(
    run: Run,
    looks: NetworkInput,
    *,
    name: str,
    found: WeightsFile,
    batch: int,
    note: str,
    head: Run | None = None,
    maps: Run | None = None,
) -> Features:
    """Returns the extractor that a network with published or own weights is.

    Args:
        run: The network.
        looks: How samples become its input.
        name: Its name and the settings that its vectors depend on.
        found: Its weights.
        batch: How many samples at a time.
        note: What its vectors are.
        head: What makes class probabilities of the vectors, or None without classes.
        maps: The same network up to an intermediate map, or None.
    """
    return Features(
        extract=in_batches(run, looks, batch=batch),
        note=f"{note}; images {looks.label}; {weights_text(found)}",
        fingerprint=fingerprint(name, found.sha256, looks, looks.space),
        classify=None if head is None else in_batches(lambda x: head(run(x)), looks, batch=batch),
        head=None if head is None else in_batches(head, lambda rows: rows, batch=batch),
        maps=None if maps is None else in_batches(maps, looks, batch=batch, maps=True),
    )


def fingerprint(name: str, sha256: str, looks: NetworkInput | None, space: Space) -> str:
    """Returns the name of an extractor, its weights, what it is shown, and of what samples."""
    shown = "" if looks is None else f"/{looks.label}"
    return f"{name}/sha256:{sha256[:16]}{shown}/{space.label}"


def weights_text(found: WeightsFile) -> str:
    """Returns a description of weights, for a note."""
    if found.packaged is not None:
        package = f"{found.packaged.package} {found.packaged.version}"
        return f"weights of the package {package}, SHA-256 {found.sha256[:16]}"
    if found.known is None:
        return f"own weights, SHA-256 {found.sha256[:16]}, none of the published files"
    return f"published weights {found.known.name}, SHA-256 {found.sha256[:16]}"
