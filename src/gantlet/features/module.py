"""A Python object as an extractor."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, cast, final

from torch import Tensor, nn

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.features.foreign import Own, Pixels, features_of_own, looks_of
from gantlet.features.frozen import digest
from gantlet.features.weights import sha256_of
from gantlet.nets.seeding import seeded


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What a function or an ``nn.Module`` returns that is found in a Python module.

    The module is imported, which runs it; it is looked for in the current folder too. In Python
    ``of_callable`` makes a ``Features`` object of a function at hand.

    Images are resized with antialiased bilinear interpolation. What is no image is given as it is.

    Source: your module.

    Attributes:
        path: ``package.module:attribute``.
        output: Number (from 0) or key of the output with the vectors; the first, if none is given.
        logits: Number or key of an output with logits of classes.
        size: Height and width to resize images to; their own, if none is given.
        channels: 3 repeats a grey image; none leaves it.
        pixels: What pixel values it wants; ``imagenet`` and ``clip`` standardise colours.
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
            UserError: If there is no such object, or it does not fit.
        """
        del data, rng
        module, network = _found(self.path)
        return of_callable(
            network,
            space,
            name=f"module {self.path} ({_file_of(module)})",
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
        network: Takes a batch; returns vectors, several tensors, or a table of them. A network is
            moved to the device of the samples, and set to evaluation.
        space: The space of the samples.
        name: What to call it; with the weights, if it has any, it is the fingerprint.
        output: Number (from 0) or key of the output with the vectors.
        logits: Number or key of an output with logits of classes.
        size: Height and width to resize images to.
        channels: 3 repeats a grey image.
        pixels: What pixel values it wants.

    Raises:
        UserError: If it does not return one vector for each sample.
    """
    looks = looks_of(space, channels=channels, size=size, pixels=pixels)
    weights = ""
    if isinstance(network, nn.Module):
        weights = f"/{digest(network.eval().state_dict())}"

    def run(x: Tensor) -> Any:
        if isinstance(network, nn.Module):
            network.to(x.device)
        return network(x)

    own = Own(
        run=run,
        output=output,
        logits=logits,
        name=f"{name}{weights}",
        what=name,
    )
    return features_of_own(own, space, looks)


def _found(path: str) -> tuple[ModuleType, Callable[[Tensor], Any]]:
    """Returns a module and the object in it that ``path`` names."""
    where, colon, attribute = path.partition(":")
    if not (where and colon and attribute):
        raise UserError(f"module:path must be package.module:attribute. Got {path!r}.")
    module = _imported(where)
    found = getattr(module, attribute, None)
    if found is None:
        raise UserError(f"{where} has no attribute {attribute!r}.")
    if isinstance(found, type) or not callable(found):
        raise UserError(
            f"{path} must be a function or a network, made and ready. Got "
            f"{'the class ' + found.__name__ if isinstance(found, type) else repr(found)}."
        )
    return module, cast("Callable[[Tensor], Any]", found)


def _imported(name: str) -> ModuleType:
    try:
        # A network that draws its weights when it is imported draws the same ones each time.
        with seeded(Rng(0).stream("module")), _current_folder():
            return import_module(name)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or "it says no reason"
        kind = "" if isinstance(error, (ImportError, SyntaxError)) else f"{type(error).__name__}: "
        raise UserError(f"The module {name} cannot be imported: {kind}{reason}.") from error


@contextmanager
def _current_folder() -> Generator[None]:
    """Lets modules of the current folder be imported, as ``python -m`` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _file_of(module: ModuleType) -> str:
    """Returns a hash of a module's own file, so that another version has another name."""
    file = getattr(module, "__file__", None)
    return "no file" if file is None else f"file SHA-256 {sha256_of(Path(file))[:16]}"
