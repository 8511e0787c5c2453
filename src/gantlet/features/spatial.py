"""Spatial features: an intermediate map of a network, place by place; those of sFID."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, extractors

_WITH_MAPS = (
    "inception, random-conv, classifier, and module, onnx and torchscript with an output of shape "
    "(n, c, h, w)"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spatial:
    """The first channels of an intermediate map of another extractor, place by place.

    Pooled features see what is in an image, not where; a Frechet distance of these sees both. On
    ``inception`` with its published weights it is sFID.

    Source: Nash et al., 2021, https://arxiv.org/abs/2103.03841: the first seven channels of
        ``mixed_6/conv`` of Inception-v3, after its ReLU, 2,023 numbers.
    Differs from the paper: any extractor with a map will do.

    Attributes:
        of: The extractor, in written form.
        channels: How many channels of its map are taken, the first ones.
        side: Maps are averaged to this height and width if they are larger; by default kept.
    """

    learns: ClassVar[bool] = True

    of: str = "random-conv"
    channels: Annotated[int, Between(1)] = 7
    side: Annotated[int, Between(1)] | None = None

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor, after the other one has been fitted.

        Raises:
            UserError: If samples are not images, or the other extractor has no spatial map.
        """
        if space.kind != "image":
            raise UserError(f"spatial sees images alone. Got {space.label}.")
        inner = extractors.make(self.of).fit(space, data, rng=rng)
        maps, shown = inner.maps, extractors.short(self.of)
        if maps is None:
            raise UserError(f"{shown} gives no spatial map. Extractors with one: {_WITH_MAPS}.")
        shape = self._cut(maps(torch.zeros(1, *space.shape, device=rng.device))).shape[1:]
        kept = " x ".join(str(k) for k in shape)
        limit = "" if self.side is None else f", side {self.side}"
        return Features(
            extract=lambda x: self._cut(maps(x)).flatten(1),
            note=f"{shape.numel()} features, {kept} of a map of {shown}; {inner.note}",
            fingerprint=f"spatial {self.channels} channels{limit}/{inner.fingerprint}",
            classify=inner.classify,
        )

    def _cut(self, maps: Tensor) -> Tensor:
        """Returns the first channels, averaged to the side wanted, shape ``(n, c, h, w)``."""
        kept = maps[:, : self.channels]
        if self.side is None or max(kept.shape[2:]) <= self.side:
            return kept
        h, w = (min(k, self.side) for k in kept.shape[2:])
        return adaptive_avg_pool2d(kept, (h, w))
