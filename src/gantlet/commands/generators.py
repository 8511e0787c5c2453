"""Samples of generators that Gantlet did not train: from ONNX, TorchScript and Python files.

Latents go in, samples come out; ``onnx:path=G.onnx,range=-1+1`` stands where samples are named.
"""

import inspect
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.commands.own_games import OwnFamily
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec, quote
from gantlet.features.user import open_onnx, session_runner
from gantlet.features.weights import load_script, sha256_of
from gantlet.models.generator import (
    Latent,
    Prior,
    Range,
    called,
    evaluating,
    global_noise,
    image_like,
    latent_shape,
    value_range,
)
from gantlet.models.own import OwnGame

# Networks are asked for so many samples at once.
_BLOCK = 250


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSamples:
    """Samples of a network.

    Attributes:
        x: The samples, shape ``(n, ...)``; bytes where a range says what they stand for.
        note: What was read off or converted, in words.
    """

    x: Tensor
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Drawing:
    """How samples are drawn from a network.

    Attributes:
        latent: Its input.
        range: The numbers it makes for black and white, or None to leave them as they are.
        shape: The shape of one sample, or None for that of its output.
        classes: Number of classes whose label is its second argument, or None.
    """

    latent: Latent
    range: Range | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None

    @torch.no_grad()
    def samples(self, net: nn.Module, n: int, *, rng: torch.Generator) -> GeneratorSamples:
        """Returns ``n`` samples of a network in evaluation mode.

        Raises:
            UserError: If it cannot take its latents, or its samples are no images of the range.
        """
        parts: list[Tensor] = []
        outside = 0.0
        for start in range(0, n, _BLOCK):
            y = self._block(net, min(_BLOCK, n - start), rng)
            y = y if self.shape is None else self._shaped(y)
            if self.range is not None:
                y, strays = _as_bytes(y, self.range)
                outside += strays * len(y)
            parts.append(y)
        return GeneratorSamples(x=torch.cat(parts), note=self._note(outside / n))

    def _block(self, net: nn.Module, n: int, rng: torch.Generator) -> Tensor:
        given = [self.latent.drawn(net, n, rng)]
        hint = "Give the size of its input: latent=SIZE."
        if self.classes is not None:
            labels = torch.randint(self.classes, (n,), generator=rng, device=rng.device)
            given.append(labels.to(given[0].device))
        elif _takes_labels(net):
            hint = "Is it conditional? Then give classes=N, and labels are its second argument."
        with evaluating([net]), global_noise(rng):
            y = called(net, given, "The generator", hint)
        if len(y) != n:
            raise UserError(f"The generator was asked for {n} samples and returned {len(y)}.")
        return y.cpu()

    def _shaped(self, y: Tensor) -> Tensor:
        shape = self.shape or ()
        if math.prod(shape) != y[0].numel():
            raise UserError(
                f"shape= has {math.prod(shape)} numbers, and the generator makes samples of shape "
                f"{tuple(y.shape[1:])}."
            )
        return y.reshape(len(y), *shape)

    def _note(self, outside: float) -> str:
        size = "x".join(map(str, self.latent.shape or ()))
        prior = "standard normal" if self.latent.prior == "normal" else "uniform on [-1, 1]"
        found = [f"drawn from {prior} latents of size {size}"]
        if self.classes is not None:
            found.append(f"labels drawn evenly from {self.classes} classes")
        if self.range is not None:
            low, high = self.range
            clamped = f", {100 * outside:.2g} % of the numbers clamped" if outside else ""
            found.append(f"[{low:g}, {high:g}] became bytes{clamped}")
        return "; ".join(found)


def _takes_labels(net: nn.Module) -> bool:
    """Returns whether a network needs a second argument."""
    try:
        parameters = list(inspect.signature(net.forward).parameters.values())
    except (TypeError, ValueError):
        return False
    return sum(p.default is inspect.Parameter.empty for p in parameters) > 1


def _as_bytes(y: Tensor, ends: Range) -> tuple[Tensor, float]:
    """Returns images as bytes, and the share of numbers that lay outside their range."""
    if not (image_like(tuple(y.shape[1:])) or y.ndim == 3):
        raise UserError(
            f"range= is for images, and the generator makes samples of shape "
            f"{tuple(y.shape[1:])}. Leave it out, or give shape=1+28+28."
        )
    low, high = ends
    x = (y - low) / (high - low) * 255
    outside = float(((x < -0.5) | (x > 255.5)).float().mean())
    if not bool(x.isfinite().all()):
        raise UserError("The generator makes NaN or infinity.")
    return x.round().clamp(0, 255).to(torch.uint8), outside


@final
class _Session(nn.Module):
    """An ONNX file as a network.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        sha256_of(path)  # a missing file has an error of its own
        self._session = open_onnx(path, extra="onnx")
        self._inputs = self._session.get_inputs()
        self._output = self._session.get_outputs()[0].name
        self._run = session_runner(self._session, [self._output])

    @property
    def latent(self) -> tuple[int, ...] | None:
        """The shape of one latent, where the file tells it."""
        shape = self._inputs[0].shape[1:]
        return tuple(shape) if shape and all(isinstance(s, int) for s in shape) else None

    @override
    def forward(self, *given: Tensor) -> Tensor:
        """Returns the first output for the inputs, in order."""
        if len(given) != len(self._inputs):
            names = ", ".join(i.name for i in self._inputs)
            raise UserError(
                f"The ONNX file takes {len(self._inputs)} inputs ({names}), not {len(given)}. "
                "Labels as a second input: classes=N."
            )
        return self._run(*given)[self._output]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class FileGenerator:
    """A generator in a file: ONNX or TorchScript.

    Attributes:
        path: The file; it maps latents, and labels where there are classes, to samples.
        latent: Size or shape of a latent, as 64 or 100+1+1; none reads it off an ONNX file.
        distribution: Of latents: normal, or uniform on [-1, 1]; none is that of a game, or normal.
        range: Numbers of the network for black and white, as -1+1, which become bytes.
        shape: Shape of one image where the network makes it flat, as 1+28+28.
        classes: Number of classes whose label is the second input.
    """

    path: str
    latent: tuple[Annotated[int, Between(1)], ...] | None = None
    distribution: Prior | None = None
    range: tuple[float, ...] | None = None
    shape: tuple[Annotated[int, Between(1)], ...] | None = None
    classes: Annotated[int, Between(1)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ModuleGenerator:
    """A generator from a Python file: a network, or what a function returns.

    Attributes:
        path: ``file.py:function`` or ``package.module:function``, which returns the network, the
            players by name or ``gantlet.game(...)``; or a network itself.
        weights: File of weights, or several as G.pt+D.pt.
        latent: Size or shape of a latent, as 64 or 100+1+1; none reads it off the network.
        distribution: Of latents: normal, or uniform on [-1, 1]; none is that of a game, or normal.
        range: Numbers of the network for black and white, as -1+1, which become bytes.
        shape: Shape of one image where the network makes it flat, as 1+28+28.
        classes: Number of classes whose label is the second argument.
    """

    path: str
    weights: str | None = None
    latent: tuple[Annotated[int, Between(1)], ...] | None = None
    distribution: Prior | None = None
    range: tuple[float, ...] | None = None
    shape: tuple[Annotated[int, Between(1)], ...] | None = None
    classes: Annotated[int, Between(1)] | None = None


FAKES = {"onnx": FileGenerator, "torchscript": FileGenerator, "module": ModuleGenerator}
"""What names a generator among samples, in written form."""


def is_generator(text: str) -> bool:
    """Returns whether a text names a generator, and not a file or a data set."""
    return text.partition(":")[0] in FAKES and ":" in text


def samples_of_text(text: str, n: int, *, seed: int) -> GeneratorSamples:
    """Returns ``n`` samples of a generator in written form.

    Args:
        text: As ``onnx:path=G.onnx,range=-1+1``.
        n: How many.
        seed: Draws latents and labels.

    Raises:
        UserError: If there is no such generator, or it does not fit.
    """
    spec = Spec.parse(text)
    asked: FileGenerator | ModuleGenerator = spec.build(FAKES[spec.name])
    net, known = _network(spec.name, asked)
    drawing = Drawing(
        latent=Latent(
            shape=asked.latent or known.latent.shape,
            prior=asked.distribution or known.latent.prior,
        ),
        range=value_range(asked.range) or known.range,
        shape=asked.shape or known.shape,
        classes=asked.classes,
    )
    return drawn_from(net, drawing, n, rng=Rng(seed).stream("sample"))


def drawn_from(
    net: nn.Module, drawing: Drawing, n: int, *, rng: torch.Generator
) -> GeneratorSamples:
    """Returns ``n`` samples of a network whose latent shape may have to be read off it.

    Raises:
        UserError: If the shape cannot be told, or the network does not take it.
    """
    shape = drawing.latent.shape or latent_shape(net)
    return replace(drawing, latent=replace(drawing.latent, shape=shape)).samples(net, n, rng=rng)


def _network(kind: str, asked: FileGenerator | ModuleGenerator) -> tuple[nn.Module, Drawing]:
    """Returns the network, and what the file itself tells of how it is drawn from."""
    path = Path(asked.path).expanduser()
    if isinstance(asked, ModuleGenerator):
        return _of_python(OwnFamily(path=asked.path, weights=asked.weights))
    if kind == "onnx":
        session = _Session(path)
        return session, Drawing(latent=Latent(shape=session.latent))
    sha256_of(path)  # a missing file has an error of its own
    if asked.latent is None:
        raise UserError(
            "A TorchScript file does not tell the size of its input: give latent=SIZE."
        )
    return cast("nn.Module", load_script(path)), Drawing(latent=Latent())


def _of_python(file: OwnFamily) -> tuple[nn.Module, Drawing]:
    found = file.answer()
    known = Drawing(latent=Latent())
    if isinstance(found, OwnGame):
        parts = found.parts
        known = Drawing(latent=parts.latent, range=parts.range, shape=parts.shape)
    return file.generator(found), known


def dataset_text(path: Path) -> str:
    """Returns stored samples as a data set in written form."""
    kind = "npy" if path.suffix == ".npy" else "table"
    return f"{kind}:path={quote(str(path))}"
