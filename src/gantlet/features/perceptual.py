"""The learned perceptual distance (LPIPS) with a backbone of the user's own."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.features.user import Pixels, UserNetwork, features_of_network, named, network_input
from gantlet.features.weights import read, sha256_of

# As the authors' program has it.
_EPSILON = 1e-10


def embedding(maps: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """Returns vectors whose squared Euclidean distances are LPIPS, shape ``(n, d)``.

    Each map is divided by its length over channels at each place; squared differences are summed
    over channels with the weights, averaged over places, and summed over maps.

    Source: Zhang et al., 2018, https://arxiv.org/abs/1801.03924, equation 1.

    Args:
        maps: Of some layers, shapes ``(n, c, h, w)``.
        weights: One weight for each channel of each map, none negative, shapes ``(c,)``; ones if
            not given.
    """
    parts: list[Tensor] = []
    for i, each in enumerate(maps):
        unit = normalize(each, dim=1, eps=_EPSILON)
        if weights is not None:
            unit = unit * weights[i].to(unit).sqrt()[:, None, None]
        parts.append(unit.flatten(1) / math.sqrt(each.shape[2] * each.shape[3]))
    return torch.cat(parts, 1)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lpips:
    """Vectors whose squared distance is the learned perceptual distance of two images (LPIPS).

    The backbone is yours: a function or an ``nn.Module`` in a Python module that returns the maps
    of several layers, as a sequence or a dictionary. With the linear weights of the authors and
    the same backbone it is LPIPS; without weights all channels count alike. The module is
    imported, and thereby executed. Used with ``--pairs``, by the probe ``path-length``, and as any
    other extractor.

    Source: Zhang et al., 2018, https://arxiv.org/abs/1801.03924, equation 1; your module.

    Attributes:
        path: ``package.module:attribute``, the backbone.
        weights: File of one tensor for each map, such as (1, c, 1, 1), in the order of their
            names; by default all ones.
        size: Height and width to resize images to; by default not resized.
        channels: 3 repeats a grey image; none leaves it unchanged.
        pixels: Pixel range that the backbone expects; ``imagenet`` standardizes colours.
    """

    learns: ClassVar[bool] = False

    path: str
    weights: str | None = None
    size: Annotated[int, Between(1)] | None = None
    channels: Annotated[int, Between(1)] | None = None
    pixels: Pixels = "imagenet"

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If samples are not images, the backbone returns no maps, or the weights do
                not fit.
        """
        del data, rng
        if space.kind != "image":
            raise UserError(f"lpips sees images alone. Got {space.label}.")
        backbone = named(self.path)
        looks = network_input(space, channels=self.channels, size=self.size, pixels=self.pixels)
        linear = None if self.weights is None else _linear(Path(self.weights))
        what = "unweighted" if linear is None else f"weights {Path(self.weights or '').name}"
        own = UserNetwork(
            run=_Run(backbone.network, linear, self.path),
            output=None,
            logits=None,
            name=f"lpips {backbone.fingerprint}/{_hash(self.weights)}",
            what=f"LPIPS of {self.path}, {what}",
        )
        return features_of_network(own, space, looks)


def _hash(weights: str | None) -> str:
    return "unweighted" if weights is None else f"sha256:{sha256_of(Path(weights))[:16]}"


def _linear(path: Path) -> list[Tensor]:
    """Returns the weights of each map.

    Raises:
        UserError: If the file is not there, or a weight is negative.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file: weights= names the linear weights of LPIPS.")
    found = [t.flatten().float() for _, t in sorted(read(path).items(), key=_in_order)]
    if any(bool((t < 0).any()) for t in found):
        raise UserError(f"{path} holds negative weights; those of LPIPS are none below zero.")
    return found


def _in_order(item: tuple[str, Tensor]) -> list[tuple[int, str]]:
    """Sorts lin10 behind lin9."""
    parts = re.split(r"(\d+)", item[0])
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


@final
class _Run:
    """A backbone and what is done to its maps."""

    def __init__(
        self, network: Callable[[Tensor], Any], weights: list[Tensor] | None, name: str
    ) -> None:
        self._network, self._weights, self._name = network, weights, name

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the embedding of images, shape ``(n, d)``.

        Raises:
            UserError: If the backbone returns no maps, or not those of the weights.
        """
        if isinstance(self._network, nn.Module):
            self._network.eval().to(x.device)
        maps = self._maps(self._network(x))
        if self._weights is not None:
            wanted, there = ([len(w) for w in self._weights], [m.shape[1] for m in maps])
            if wanted != there:
                raise UserError(
                    f"The weights are for maps of {wanted} channels. {self._name} returns maps of "
                    f"{there}."
                )
        return embedding(maps, self._weights)

    def _maps(self, found: Any) -> list[Tensor]:
        several = list(found.values()) if isinstance(found, Mapping) else found
        maps = list(several) if isinstance(several, Sequence) else [several]
        if not maps or not all(isinstance(m, Tensor) and m.ndim == 4 for m in maps):
            raise UserError(
                f"{self._name} must return the maps of its layers, each of shape (n, c, h, w), as "
                "a sequence or a dictionary."
            )
        return maps
