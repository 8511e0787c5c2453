"""What one sample is."""

import math
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from gantlet.core.errors import UserError

Kind = Literal["vector", "image", "tokens", "audio", "graph", "table"]


@final
@dataclass(frozen=True, slots=True)
class Space:
    """The kind and shape of one sample.

    A sample of a discrete space is a floating point tensor of whole numbers ``0 .. levels - 1``:
    a grey image with 256 levels holds 0., 1., ..., 255. A continuous space (``levels`` None)
    holds any finite numbers. What samples are conditioned on has a space too: classes are
    ``Space("vector", (), levels)``, one number for each sample.

    Attributes:
        kind: What a sample stands for.
        shape: The shape of one sample, without the batch; that of an image is
            ``(channels, height, width)``.
        levels: How many values a component can take, or None where it is continuous.
    """

    kind: Kind
    shape: tuple[int, ...]
    levels: int | None = None

    @property
    def size(self) -> int:
        """How many components one sample has."""
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """The space in words, for messages.

        Example:
            >>> Space("image", (1, 8, 8), 17).label
            'image 1x8x8 with 17 levels'
        """
        shape = "x".join(map(str, self.shape)) or "of one number"
        return f"{self.kind} {shape}" + (f" with {self.levels} levels" if self.levels else "")

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Returns ``x``, shape ``(n, *shape)``, having checked it.

        Raises:
            UserError: If ``x`` is of another shape, is not floating point, holds NaN or infinity,
                or leaves the levels of a discrete space.
        """
        if tuple(x.shape[1:]) != self.shape or x.ndim != len(self.shape) + 1:
            wanted = ", ".join(("n", *map(str, self.shape)))
            wanted += "" if self.shape else ","
            raise UserError(f"{name} must have shape ({wanted}). Got {tuple(x.shape)}.")
        if not x.is_floating_point():
            raise UserError(f"{name} must be floating point. Got {x.dtype}; call .float() first.")
        bad = int((~x.isfinite()).unsqueeze(-1).flatten(1).any(1).sum())
        if bad:
            raise UserError(f"{bad} of the {len(x)} samples of {name} hold NaN or infinity.")
        if self.levels is not None:
            self._check_levels(x, name)
        return x

    def _check_levels(self, x: Tensor, name: str) -> None:
        top = (self.levels or 1) - 1
        if len(x) and bool(((x < 0) | (x > top) | (x != x.round())).any()):
            raise UserError(
                f"{name} must hold whole numbers from 0 to {top}. "
                f"Got values from {float(x.min()):g} to {float(x.max()):g}."
            )

    def unit(self, x: Tensor) -> Tensor:
        """Returns ``x`` as metrics and eyes want it: levels scaled to [0, 1], else unchanged."""
        return x if self.levels is None else x / max(self.levels - 1, 1)
