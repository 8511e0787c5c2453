"""A network of the user's own as a TorchScript file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.features.checkpoint import load_script
from gantlet.features.foreign import Own, Pixels, features_of_own, looks_of
from gantlet.features.weights import sha256_of


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TorchScript:
    """What a network in a TorchScript file returns.

    Such a file is a program. It cannot run Python, but it can do what torch can, such as writing
    files: use one only if you trust where it comes from.

    Images are resized with antialiased bilinear interpolation. What is no image is given as it is.

    Source: your file.

    Attributes:
        path: The file; its ``forward`` takes samples, and returns a tensor, several, or a table.
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
            UserError: If the file is no such network, or does not fit.
        """
        del data, rng
        path = Path(self.path).expanduser()
        sha256 = sha256_of(path)
        looks = looks_of(space, channels=self.channels, size=self.size, pixels=self.pixels)
        net = load_script(path)

        def run(x: Tensor) -> Any:
            return net.to(x.device)(x)

        own = Own(
            run=run,
            output=self.output,
            logits=self.logits,
            name=f"torchscript/sha256:{sha256[:16]}",
            what=f"{path.name} (TorchScript, SHA-256 {sha256[:16]})",
        )
        return features_of_own(own, space, looks)
