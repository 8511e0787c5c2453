"""The bijections of whole flows: RealNVP and planar flows for vectors, Glow for images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.nets.bijections.bijection import Bijection, Chain
from gantlet.nets.bijections.convolution import InvertibleConv
from gantlet.nets.bijections.coupling import Couplings, convolutional, dense
from gantlet.nets.bijections.elementwise import ActNorm, Logit
from gantlet.nets.bijections.multiscale import EarlyExit
from gantlet.nets.bijections.planar import Planar
from gantlet.nets.bijections.reorder import Flatten, Permute, Squeeze, checkerboard, inverted
from gantlet.nets.bijections.spline import Spline
from gantlet.nets.bijections.transforms import Affine, Transform

Arch = Literal["auto", "realnvp", "glow"]
CouplingName = Literal["affine", "spline", "planar"]

Conditioner = Callable[..., nn.Module]

_TRANSFORMS: dict[str, type[Transform]] = {"affine": Affine, "spline": Spline}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Which bijections a flow is made of.

    Attributes:
        arch: ``realnvp`` treats a sample as one vector, ``glow`` as an image at several
            resolutions; ``auto`` takes ``glow`` for images above 8 x 8 with even sides.
        coupling: How the layers change a component: scaled and shifted (``affine``), by a
            rational-quadratic ``spline``, or all along one direction (``planar``).
        layers: How many; of Glow, at each level.
        width: Hidden units, or channels, of each layer's network.
        depth: Hidden layers of each layer's network.
        levels: Resolutions of Glow, or None to halve the sides down to 4, three times at most.
    """

    arch: Arch = "auto"
    coupling: CouplingName = "affine"
    layers: int = 8
    width: int = 128
    depth: int = 2
    levels: int | None = None

    def build(self, space: Space) -> Bijection:
        """Returns the map from scaled samples, shape ``(n, *space.shape)``, to codes.

        Codes have shape ``(n, space.size)``. All parameters come from torch's global random
        state, so call it inside ``seeded``.

        Raises:
            UserError: If no such flow fits the space.
        """
        if space.kind in {"tokens", "graph"}:
            raise UserError(
                f"A flow needs samples whose components are amounts. Got {space.label}; "
                "use a family for sequences, as ar."
            )
        opened: list[Bijection] = [] if space.levels is None else [Logit()]
        body = [self._glow(space)] if self._is_glow(space) else self._flat(space)
        return Chain([*opened, *body])

    def _is_glow(self, space: Space) -> bool:
        if self.arch != "auto":
            return self.arch == "glow"
        sides = space.shape[1:]
        is_large = space.kind == "image" and max(sides) > 8
        return is_large and self.coupling != "planar" and all(side % 2 == 0 for side in sides)

    def _flat(self, space: Space) -> list[Bijection]:
        size = space.size
        start: list[Bijection] = [Flatten(space.shape), ActNorm((size,))]
        if self.coupling == "planar":
            return [*start, *(Planar(size) for _ in range(self.layers))]
        if size < 2:
            raise UserError(
                "A coupling needs 2 components or more, one to change the other. "
                f"Got {space.label}; use coupling=planar."
            )
        return [*start, *self._couplings(space)]

    def _couplings(self, space: Space) -> list[Bijection]:
        """Returns half of the couplings on a checkerboard, in whole rounds, the rest on halves."""
        white_first = checkerboard(space.shape)
        sizes = ((space.size + 1) // 2, space.size // 2)
        turns = min(self.layers, 2 * math.ceil(self.layers / 4))
        return [
            Permute(white_first),
            self._coupling(dense, sizes, turns=turns),
            Permute(inverted(white_first)),
            self._coupling(dense, sizes, turns=self.layers - turns),
        ]

    def _coupling(self, make: Conditioner, sizes: tuple[int, int], *, turns: int = 1) -> Couplings:
        transform = _TRANSFORMS[self.coupling]()
        nets = (
            make(
                sizes[turn % 2],
                sizes[1 - turn % 2] * transform.count,
                width=self.width,
                depth=self.depth,
            )
            for turn in range(turns)
        )
        return Couplings(nets, transform, sizes)

    def _glow(self, space: Space) -> Bijection:
        channels, height, width = self._image(space)
        levels = self._resolutions(min(height, width)) if self.levels is None else self.levels
        if height % 2**levels or width % 2**levels:
            raise UserError(
                f"Glow with levels={levels} needs sides that are multiples of {2**levels}. "
                f"Got {space.label}; use fewer levels, or arch=realnvp."
            )
        return self._level(channels, height, width, levels)

    def _image(self, space: Space) -> tuple[int, int, int]:
        if space.kind != "image" or self.coupling == "planar":
            raise UserError(
                "arch=glow needs images, and affine or spline couplings. "
                f"Got {space.label} and coupling={self.coupling}; use arch=realnvp."
            )
        channels, height, width = space.shape
        return channels, height, width

    def _resolutions(self, side: int) -> int:
        """Returns how often ``side`` can be halved to 4 or more, three times at most."""
        halvings = [k for k in (1, 2, 3) if side % 2**k == 0 and side // 2**k >= 4]
        return max(halvings, default=1)

    def _level(self, channels: int, height: int, width: int, levels: int) -> Bijection:
        """Returns the multi-scale flow from this resolution on."""
        c, h, w = channels * 4, height // 2, width // 2
        steps = [Squeeze(), *(part for _ in range(self.layers) for part in self._step(c))]
        if levels == 1:
            return Chain([*steps, Flatten((c, h, w))])
        # What leaves is first standardised by what goes on: Glow's learned prior of the split.
        level = Chain([*steps, self._coupling(convolutional, (c // 2, c // 2))])
        return EarlyExit(level, self._level(c // 2, h, w, levels - 1), (c // 2, h, w))

    def _step(self, channels: int) -> list[Bijection]:
        halves = (channels // 2, channels // 2)
        return [
            ActNorm((channels, 1, 1)),
            InvertibleConv(channels),
            self._coupling(convolutional, halves),
        ]
