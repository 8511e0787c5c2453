"""A network of the user's own as an ONNX file, which needs none of its code."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.features.foreign import Own, Pixels, features_of_own, looks_of
from gantlet.features.weights import sha256_of

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
    """What a network in an ONNX file returns; run by onnxruntime on one thread of the CPU.

    Images are resized with antialiased bilinear interpolation; a grey image is repeated where the
    file wants three channels. What is no image is given as it is.

    Source: your file; the format is described at https://onnx.ai.

    Attributes:
        path: The file; it has one input, samples first.
        output: Output that holds the vectors; ``features``, or else the first, if none is given.
        logits: Output that holds logits of classes; ``logits``, where there is one, if none is
            given.
        size: Height and width to resize images to; those of the file, or else of the image, if
            none is given.
        pixels: What pixel values the file wants; ``imagenet`` and ``clip`` standardise colours.
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
        session = _session(path)
        entry = _entry(session, path)
        channels, size = _fixed(entry.shape) if space.kind == "image" else (None, None)
        looks = looks_of(space, channels=channels, size=self.size or size, pixels=self.pixels)
        names = [o.name for o in session.get_outputs()]
        output = _named(self.output, "features", names) or names[0]
        logits = _named(self.logits, "logits", names)
        logits = None if logits == output else logits
        own = Own(
            run=session_runner(session, entry, [output] if logits is None else [output, logits]),
            output=output,
            logits=logits,
            name=f"onnx/sha256:{sha256[:16]}",
            what=f"{path.name} (output {output}, ONNX, SHA-256 {sha256[:16]})",
        )
        return features_of_own(own, space, looks)


def _session(path: Path) -> Any:
    """Returns the network of a file."""
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise UserError(
            "The features onnx need onnxruntime: pip install 'gantlet[onnx]'."
        ) from error
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    try:
        return runtime.InferenceSession(
            str(path), sess_options=settings, providers=["CPUExecutionProvider"]
        )
    except _errors() as error:
        raise UserError(f"{path} is no ONNX file that onnxruntime can run.") from error


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
    """Returns channels and height of the images that a file wants, where it says so."""
    _, channels, height, width = shape if len(shape) == 4 else (None,) * 4
    square = height if isinstance(height, int) and height == width else None
    return (channels if isinstance(channels, int) else None), square


def _named(given: str | None, usual: str, names: list[str]) -> str | None:
    """Returns the output that was asked for, or the usual one, where there is one."""
    if given is not None and given not in names:
        raise unknown("output of the ONNX file", given, names)
    return given or (usual if usual in names else None)


def session_runner(
    session: Any, entry: Any, names: list[str]
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Returns a function from samples ``(n, ...)`` to the named outputs, ``(n, ...)`` each.

    A network that takes a fixed number of samples at a time gets parts of that size.
    """
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else None

    def run(x: Tensor) -> dict[str, Tensor]:
        parts = [
            _run(session, entry.name, names, part, batch)
            for part in torch.split(x, batch or len(x))
        ]
        found = (torch.cat(part) for part in zip(*parts, strict=True))
        return {name: y.to(x.device) for name, y in zip(names, found, strict=True)}

    return run


def _run(session: Any, name: str, names: list[str], x: Tensor, batch: int | None) -> list[Tensor]:
    """Returns the outputs for at most ``batch`` samples; the last are repeated to fill it."""
    fill = x[-1:].expand(0 if batch is None else batch - len(x), *x.shape[1:])
    try:
        found = session.run(names, {name: torch.cat([x, fill]).cpu().numpy()})
    except _errors() as error:
        raise RuntimeError(" ".join(str(error).split())) from error
    return [torch.from_numpy(y)[: len(x)] for y in found]
