"""User-defined feature extractors: modules, TorchScript, ONNX."""

import importlib.util
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, cast, final

import torch
from torch import Tensor, nn

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError, first_line, unknown
from gantlet.core.metric import Extract, Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.features.base import digest
from gantlet.features.preprocess import NetworkInput
from gantlet.features.weights import Run, in_batches, load_script, sha256_of
from gantlet.models.nets import seeded

Pixels = Literal["0..255", "0..1", "-1..1", "imagenet", "clip"]
"""Pixel range that a user-defined network expects."""

# Maximum number of samples and of input values in a batch.
_SAMPLES, _NUMBERS = 64, 2**22


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UserNetwork:
    """A user-defined network.

    Attributes:
        run: The function from input to outputs.
        output: Output that holds the vectors.
        logits: Output that holds class logits, or None.
        name: Name and weights, for the fingerprint.
        what: Description.
    """

    run: Callable[[Tensor], Any]
    output: str | None
    logits: str | None
    name: str
    what: str

    @property
    def outputs(self) -> str:
        """The outputs used, for the fingerprint."""
        return f"{self.output or 0}" + (f" and {self.logits}" if self.logits is not None else "")


def network_input(
    space: Space, *, channels: int | None, size: int | None, pixels: Pixels
) -> NetworkInput | None:
    """Returns the preprocessing for a network; None for samples other than images.

    Raises:
        UserError: If the network does not support them.
    """
    if space.kind != "image":
        if size is not None or channels is not None:
            raise UserError(f"size= and channels= are for images. Got {space.label}.")
        return None
    looks = NetworkInput(
        space=space, channels=channels, size=size, resize="bilinear", pixels=pixels
    )
    looks.check()
    return looks


def features_of_network(own: UserNetwork, space: Space, looks: NetworkInput | None) -> Features:
    """Returns the extractor that a network is.

    Args:
        own: The network.
        space: The space of the samples.
        looks: Preprocessing, or None to pass samples unchanged.

    Raises:
        UserError: If it does not return one vector for each sample.
    """
    show: Callable[[Tensor], Tensor] = torch.Tensor.float if looks is None else looks
    vectors = _whole(own, own.output)
    d, batch = _width(own, vectors, show, space), _batch(show, space)
    shown = "samples as they are" if looks is None else f"images {looks.label}"
    return Features(
        extract=in_batches(_or_none(vectors, d), show, batch=batch),
        note=f"{d} features of {own.what}; {shown}",
        fingerprint=f"{own.name}/{own.outputs}/{shown}/{space.label}",
        classify=_classifier(own, show, space, batch=batch),
        maps=_maps(own, show, space, batch=batch),
    )


def _batch(show: Callable[[Tensor], Tensor], space: Space) -> int:
    """Returns the batch size that bounds memory."""
    return max(1, min(_SAMPLES, _NUMBERS // show(torch.zeros(1, *space.shape)).numel()))


def _classifier(
    own: UserNetwork, show: Callable[[Tensor], Tensor], space: Space, *, batch: int
) -> Extract | None:
    if own.logits is None:
        return None
    logits = _whole(own, own.logits)
    classes = _or_none(logits, _width(own, logits, show, space))
    return in_batches(lambda x: classes(x).softmax(1), show, batch=batch)


@torch.no_grad()
def _maps(
    own: UserNetwork, show: Callable[[Tensor], Tensor], space: Space, *, batch: int
) -> Extract | None:
    """Returns the output as it is where it is a spatial map, shape ``(n, c, h, w)``."""

    def run(x: Tensor) -> Tensor:
        return pick(own.run(x), own.output, own.what)

    is_map = run(show(torch.zeros(2, *space.shape))).ndim == 4
    return in_batches(run, show, batch=batch, maps=True) if is_map else None


def _whole(own: UserNetwork, which: str | None) -> Run:
    def run(x: Tensor) -> Tensor:
        y = pick(own.run(x), which, own.what)
        if y.ndim < 2 or len(y) != len(x):
            raise UserError(
                f"{own.what} must return one vector for each sample. For {len(x)} samples it "
                f"returned shape {tuple(y.shape)}."
            )
        return y.flatten(1).float()

    return run


def _or_none(run: Run, d: int) -> Run:
    """Wraps ``run`` to handle empty batches."""
    return lambda x: run(x) if len(x) else x.new_empty(0, d)


@torch.no_grad()
def _width(own: UserNetwork, run: Run, show: Callable[[Tensor], Tensor], space: Space) -> int:
    """Returns the output dimension of a network, by evaluating it once."""
    try:
        return run(show(torch.zeros(2, *space.shape))).shape[1]
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        shown = tuple(show(torch.zeros(2, *space.shape)).shape)
        raise UserError(
            f"{own.what} cannot see inputs of shape {shown} (size=, channels= and pixels= change "
            f"them): {first_line(error)}"
        ) from error


def pick(found: Any, which: str | None, what: str) -> Tensor:
    """Returns one output tensor of a network: the only one, or by name or number.

    Raises:
        UserError: If it is not there.
    """
    if isinstance(found, Mapping):
        known: dict[str, Any] = {str(k): v for k, v in found.items()}
    elif isinstance(found, Sequence):
        known = {str(i): v for i, v in enumerate(found)}
    else:
        known = {"0": found}
    name = which if which is not None else next(iter(known), "0")
    tensor = known.get(name)
    if not isinstance(tensor, torch.Tensor):
        outputs = ", ".join(k for k, v in known.items() if isinstance(v, torch.Tensor)) or "none"
        raise UserError(f"{what} has no output {name!r} that is a tensor. There are: {outputs}.")
    return tensor


# ----------------------------------------------------------------------------
# A Python object as an extractor.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """The output of a function or an ``nn.Module`` in a Python module.

    The module is imported, and thereby executed; the current folder is searched too. In Python
    ``of_callable`` turns a function into a ``Features`` object.

    Images are resized with antialiased bilinear interpolation. Other samples are passed unchanged.

    Source: your module.

    Attributes:
        path: ``package.module:attribute``, or ``file.py:attribute``.
        output: Number (from 0) or key of the output with the vectors; by default the first.
        logits: Number or key of an output with class logits.
        size: Height and width to resize images to; by default not resized.
        channels: 3 repeats a grey image; none leaves it unchanged.
        pixels: Pixel range that it expects; ``imagenet`` and ``clip`` standardize colours.
    """

    learns: ClassVar[bool] = False

    path: str
    output: str | None = None
    logits: str | None = None
    size: Annotated[int, Between(1)] | None = None
    channels: Annotated[int, Between(1)] | None = None
    pixels: Pixels = "0..255"

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If the object does not exist, or does not fit.
        """
        del data, rng
        module, network = find_object(self.path)
        return of_callable(
            network,
            space,
            name=f"module {self.path} ({file_text(module)})",
            output=self.output,
            logits=self.logits,
            size=self.size,
            channels=self.channels,
            pixels=self.pixels,
        )


def of_callable(
    network: Callable[[Tensor], Any],
    space: Space,
    *,
    name: str,
    output: str | None = None,
    logits: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    pixels: Pixels = "0..255",
) -> Features:
    """Returns an extractor from a function of samples, or a network.

    Args:
        network: Maps a batch to vectors, several tensors, or a dictionary of them. A network is
            moved to the device of the samples, and set to evaluation mode.
        space: The space of the samples.
        name: Its name; with the weights, if any, it is the fingerprint.
        output: Number (from 0) or key of the output with the vectors.
        logits: Number or key of an output with class logits.
        size: Height and width to resize images to.
        channels: 3 repeats a grey image.
        pixels: Pixel range that it expects.

    Raises:
        UserError: If it does not return one vector for each sample.
    """
    looks = network_input(space, channels=channels, size=size, pixels=pixels)
    weights = ""
    if isinstance(network, nn.Module):
        weights = f"/{digest(network.eval().state_dict())}"

    def run(x: Tensor) -> Any:
        if isinstance(network, nn.Module):
            network.to(x.device)
        return network(x)

    own = UserNetwork(
        run=run,
        output=output,
        logits=logits,
        name=f"{name}{weights}",
        what=name,
    )
    return features_of_network(own, space, looks)


@final
@dataclass(frozen=True, slots=True)
class NamedObject:
    """A function or network of a Python module.

    Attributes:
        network: The object.
        fingerprint: Its name, its file and its weights.
    """

    network: Callable[[Tensor], Any]
    fingerprint: str


def named(path: str) -> NamedObject:
    """Returns what ``package.module:attribute`` names; the module is imported.

    Raises:
        UserError: If there is no such object, or it is no function.
    """
    module, network = find_object(path)
    weights = f"/{digest(network.state_dict())}" if isinstance(network, nn.Module) else ""
    return NamedObject(network, f"module {path} ({file_text(module)}){weights}")


def find_object(path: str) -> tuple[ModuleType, Callable[..., Any]]:
    """Returns a Python module and the function or network in it that ``path`` names.

    Args:
        path: ``package.module:attribute``, or ``file.py:attribute``. The module is run where it
            is not imported yet.

    Raises:
        UserError: If there is no such object, or it cannot be called.
    """
    where, colon, attribute = path.rpartition(":")
    if not (where and colon and attribute):
        raise UserError(
            f"module:path must be package.module:attribute or file.py:attribute. Got {path!r}."
        )
    module = _of_file(Path(where).expanduser()) if where.endswith(".py") else _imported(where)
    found = getattr(module, attribute, None)
    if found is None:
        near = get_close_matches(attribute, vars(module), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{where} has no attribute {attribute!r}.{hint}")
    if isinstance(found, type) or not callable(found):
        raise UserError(
            f"{path} must be a function or an instance of a network. Got "
            f"{'the class ' + found.__name__ if isinstance(found, type) else repr(found)}."
        )
    return module, cast("Callable[..., Any]", found)


def _imported(name: str) -> ModuleType:
    return _loaded(name, lambda: import_module(name), Path.cwd())


def _of_file(path: Path) -> ModuleType:
    """Returns the module that a file is; each content of it is run once."""
    if not path.is_file():
        near = get_close_matches(path.name, (p.name for p in path.parent.glob("*.py")), n=1)
        hint = f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""
        raise UserError(f"There is no file {path}.{hint}")
    name = f"gantlet_own_{path.stem}_{sha256_of(path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    return _loaded(str(path), lambda: _executed(name, path), path.absolute().parent)


def _executed(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and functions of the file look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _loaded(name: str, load: Callable[[], ModuleType], folder: Path) -> ModuleType:
    """Returns a module that runs with its folder among those that are searched."""
    try:
        # A network that draws its weights when it is imported draws the same ones each time.
        with seeded(Rng(0).stream("module")), _searched(folder):
            return load()
    except Exception as error:  # a border: the user's file may raise anything
        reason = " ".join(str(error).split()).rstrip(".") or "no reason given"
        kind = "" if isinstance(error, (ImportError, SyntaxError)) else f"{type(error).__name__}: "
        raise UserError(f"The module {name} cannot be imported: {kind}{reason}.") from error


@contextmanager
def _searched(folder: Path) -> Generator[None]:
    """Lets modules of a folder be imported, as ``python -m`` does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def file_text(module: ModuleType) -> str:
    """Returns a hash of a module's own file, so that another version has another name."""
    file = getattr(module, "__file__", None)
    return "no file" if file is None else f"file SHA-256 {sha256_of(Path(file))[:16]}"


# ----------------------------------------------------------------------------
# A user-defined network as an ONNX file, without its code.
# ----------------------------------------------------------------------------

# The errors of onnxruntime have no common ancestor but Exception.
_ERRORS = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
)
_QUIET = 3  # log errors alone


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Onnx:
    """The output of an ONNX network, run by onnxruntime on one CPU thread.

    Images are resized with antialiased bilinear interpolation; a grey image is repeated if the
    file expects three channels. Other samples are passed unchanged.

    Source: your file; the format is described at https://onnx.ai.

    Attributes:
        path: The file; it has one input, samples first.
        output: Output that holds the vectors; by default ``features``, or else the first.
        logits: Output that holds class logits; by default ``logits``, if it exists.
        size: Height and width to resize images to; by default those of the file, or else of the
            image.
        pixels: Pixel range that the file expects; ``imagenet`` and ``clip`` standardize colours.
    """

    learns: ClassVar[bool] = False

    path: str
    output: str | None = None
    logits: str | None = None
    size: Annotated[int, Between(1)] | None = None
    pixels: Pixels = "0..255"

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If onnxruntime is not installed, or the file does not fit.
        """
        del data, rng
        path = Path(self.path).expanduser()
        sha256 = sha256_of(path)
        session = open_onnx(path, extra="onnx")
        entry = _entry(session, path)
        channels, size = _fixed(entry.shape) if space.kind == "image" else (None, None)
        looks = network_input(space, channels=channels, size=self.size or size, pixels=self.pixels)
        names = [o.name for o in session.get_outputs()]
        output = _named(self.output, "features", names) or names[0]
        logits = _named(self.logits, "logits", names)
        logits = None if logits == output else logits
        own = UserNetwork(
            run=session_runner(session, [output] if logits is None else [output, logits]),
            output=output,
            logits=logits,
            name=f"onnx/sha256:{sha256[:16]}",
            what=f"{path.name} (output {output}, ONNX, SHA-256 {sha256[:16]})",
        )
        return features_of_network(own, space, looks)


def open_onnx(path: Path, *, extra: str) -> Any:
    """Returns the network of an ONNX file as a session on one thread of the CPU.

    Args:
        path: The file.
        extra: The extra of Gantlet that brings onnxruntime.

    Raises:
        UserError: If onnxruntime is missing, or cannot run the file.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise UserError(
            f"{path.name} needs onnxruntime, which is not installed. "
            f"Run: pip install 'gantlet[{extra}]'"
        ) from error
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    try:
        return runtime.InferenceSession(
            str(path), sess_options=settings, providers=["CPUExecutionProvider"]
        )
    except _errors() as error:
        raise UserError(f"{path} is not an ONNX file that onnxruntime can run.") from error


def _errors() -> tuple[type[Exception], ...]:
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(getattr(state, name) for name in _ERRORS if hasattr(state, name))


def _entry(session: Any, path: Path) -> Any:
    """Returns the one input of a network."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        got = ", ".join(f"{i.name}: {i.type}" for i in inputs)
        raise UserError(f"{path} must have one input of type tensor(float). Got {got}.")
    return inputs[0]


def _fixed(shape: list[int | str | None]) -> tuple[int | None, int | None]:
    """Returns channels and height of the images that a file expects, if specified."""
    _, channels, height, width = shape if len(shape) == 4 else (None,) * 4
    square = height if isinstance(height, int) and height == width else None
    return (channels if isinstance(channels, int) else None), square


def _named(given: str | None, usual: str, names: list[str]) -> str | None:
    """Returns the output that was asked for, or the usual one, where there is one."""
    if given is not None and given not in names:
        raise unknown("output of the ONNX file", given, names)
    return given or (usual if usual in names else None)


def session_runner(session: Any, names: list[str]) -> Callable[..., dict[str, Tensor]]:
    """Returns a function from inputs, in order, to the named outputs; ``(n, ...)`` all.

    A network that takes a fixed number of samples at a time gets parts of that size.
    """
    entries = [entry.name for entry in session.get_inputs()]
    first = session.get_inputs()[0].shape
    batch = first[0] if first and isinstance(first[0], int) else None

    def run(*given: Tensor) -> dict[str, Tensor]:
        n, device = len(given[0]), given[0].device
        parts = [
            _run(session, names, dict(zip(entries, part, strict=True)), batch)
            for part in zip(*(torch.split(x, batch or n) for x in given), strict=True)
        ]
        found = (torch.cat(part) for part in zip(*parts, strict=True))
        return {name: y.to(device) for name, y in zip(names, found, strict=True)}

    return run


def _run(
    session: Any, names: list[str], given: Mapping[str, Tensor], batch: int | None
) -> list[Tensor]:
    """Returns the outputs for at most ``batch`` samples; the last are repeated to fill it."""
    n = len(next(iter(given.values())))
    fill = 0 if batch is None else batch - n
    feeds = {
        name: torch.cat([x, x[-1:].expand(fill, *x.shape[1:])]).cpu().numpy()
        for name, x in given.items()
    }
    try:
        found = session.run(names, feeds)
    except _errors() as error:
        raise RuntimeError(" ".join(str(error).split())) from error
    return [torch.from_numpy(y)[:n] for y in found]


# ----------------------------------------------------------------------------
# A network of the user's own as a TorchScript file.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TorchScript:
    """The output of a TorchScript network.

    Such a file is a program. It cannot run Python, but it can do what torch can, such as writing
    files: use one only if you trust where it comes from.

    Images are resized with antialiased bilinear interpolation. Other samples are passed unchanged.

    Source: your file.

    Attributes:
        path: The file; its ``forward`` takes samples, and returns a tensor, several, or a table.
        output: Number (from 0) or key of the output with the vectors; by default the first.
        logits: Number or key of an output with class logits.
        size: Height and width to resize images to; by default not resized.
        channels: 3 repeats a grey image; none leaves it unchanged.
        pixels: Pixel range that it expects; ``imagenet`` and ``clip`` standardize colours.
    """

    learns: ClassVar[bool] = False

    path: str
    output: str | None = None
    logits: str | None = None
    size: Annotated[int, Between(1)] | None = None
    channels: Annotated[int, Between(1)] | None = None
    pixels: Pixels = "0..255"

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If the file is not such a network, or does not fit.
        """
        del data, rng
        path = Path(self.path).expanduser()
        sha256 = sha256_of(path)
        looks = network_input(space, channels=self.channels, size=self.size, pixels=self.pixels)
        net = load_script(path)

        def run(x: Tensor) -> Any:
            return net.to(x.device)(x)

        own = UserNetwork(
            run=run,
            output=self.output,
            logits=self.logits,
            name=f"torchscript/sha256:{sha256[:16]}",
            what=f"{path.name} (TorchScript, SHA-256 {sha256[:16]})",
        )
        return features_of_network(own, space, looks)
