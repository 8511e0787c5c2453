"""Known damages in graded strength: real samples made worse in one way, on purpose.

Strength 0 leaves samples as they are, strength 1 leaves little of them. Nothing else is random
than what ``rng`` draws.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.checks import Array


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """Real samples to be damaged, and further real samples that a damage may put in their place.

    Attributes:
        space: What one sample is.
        x: The samples, shape ``(n, *space.shape)``.
        labels: The class of each, shape ``(n,)``, or None.
        spare: More samples like them.
        spare_labels: The class of each spare sample, or None.
        train: What a model would have learned from.
    """

    space: Space
    x: Tensor
    labels: Tensor | None
    spare: Tensor
    spare_labels: Tensor | None
    train: Tensor


def noise(x: Tensor, levels: int | None, strength: float, rng: torch.Generator) -> Tensor:
    """Returns samples with normal noise added.

    At strength 1 its standard deviation is half the range of the levels; without levels it is that
    of each feature.
    """
    if strength == 0:
        return x
    scale = x.std(0) if levels is None else torch.tensor((levels - 1) / 2)
    drawn = torch.randn(x.shape, generator=rng, device=rng.device).to(x)
    return _whole(x + strength * scale.to(x) * drawn, levels)


def blur(x: Tensor, levels: int | None, strength: float) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, blurred by a normal kernel.

    At strength 1 its standard deviation is a quarter of the height; edges are repeated outwards.
    """
    sigma = strength * x.shape[2] / 4
    if sigma == 0:
        return x
    reach = math.ceil(3 * sigma)
    place = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    flat = x.reshape(-1, 1, *x.shape[2:])
    wide = pad(flat, (reach, reach, reach, reach), mode="replicate")
    rows = conv2d(wide, kernel.view(1, 1, 1, -1))
    return _whole(conv2d(rows, kernel.view(1, 1, -1, 1)).view(x.shape), levels)


def jpeg(x: Tensor, levels: int, strength: float) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, that went through JPEG files.

    The quality goes from 100 down to 1 at strength 1. Levels are spread over 0 to 255 and back.
    """
    if strength == 0:
        return x
    quality = max(1, round(100 - 99 * strength))
    stretch = 255 / max(levels - 1, 1)
    pixels = (x * stretch).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    back = np.stack([_through_jpeg(p, quality) for p in pixels])
    return (torch.from_numpy(back).permute(0, 3, 1, 2).to(x) / stretch).round()


def hue(x: Tensor, levels: int | None, strength: float) -> Tensor:
    """Returns colour images, shape ``(n, 3, h, w)``, with every colour turned about grey.

    At strength 1 by half a turn, which makes red of cyan; what leaves the range is cut off.
    """
    if strength == 0:
        return x
    angle, axis = strength * math.pi, 1 / math.sqrt(3)
    turn = math.sin(angle) * axis * torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    matrix = math.cos(angle) * torch.eye(3) + (1 - math.cos(angle)) / 3 + turn
    return _whole(torch.einsum("ij,njhw->nihw", matrix.to(x), x), levels)


def dropped_class(
    given: Victims, strength: float, rng: torch.Generator
) -> "tuple[Tensor, Tensor | None]":
    """Returns samples of which one class is thinned out, and their labels.

    At strength 1 it is gone. Spare samples of the other classes take the places, so that nothing
    is there twice.

    Raises:
        UserError: If there are no labels, or too few spare samples.
    """
    if given.labels is None or given.spare_labels is None:
        raise UserError("A class can be dropped only where samples have labels.")
    classes = torch.unique(given.labels)
    one = classes[_chosen(len(classes), 1, rng)]
    places = (given.labels == one).nonzero()[:, 0]
    places = places[_chosen(len(places), round(strength * len(places)), rng)]
    others = (given.spare_labels != one).nonzero()[:, 0][: len(places)]
    if len(others) < len(places):
        raise UserError(
            f"Dropping a class needs {len(places)} spare samples of the others, and there are "
            f"{len(others)}: ask for fewer samples."
        )
    x, labels = given.x.clone(), given.labels.clone()
    x[places], labels[places] = given.spare[others], given.spare_labels[others]
    return x, labels


def duplicated(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Returns samples of which a share ``strength`` is replaced by copies of the others.

    One stays at least; at strength 1 all are copies of it.
    """
    n = len(x)
    count = min(round(strength * n), n - 1)
    order = _chosen(n, n, rng)
    kept = order[count:]
    copied = torch.randint(len(kept), (count,), generator=rng, device=rng.device)
    made = x.clone()
    made[order[:count]] = x[kept[copied.to(kept.device)]]
    return made


def memorised(x: Tensor, train: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Returns samples of which a share ``strength`` is replaced by copies of training samples.

    Different ones, as long as there are enough.
    """
    count = round(strength * len(x))
    places = _chosen(len(x), count, rng)
    made = x.clone()
    made[places] = train[torch.arange(count, device=train.device) % max(len(train), 1)]
    return made


def swapped_labels(labels: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Returns labels of which a share ``strength`` is dealt out anew among its samples."""
    places = _chosen(len(labels), round(strength * len(labels)), rng)
    made = labels.clone()
    made[places] = labels[places[_chosen(len(places), len(places), rng)]]
    return made


Damaged: TypeAlias = "tuple[Tensor, Tensor | None]"
"""Samples, shape ``(n, *space.shape)``, and their labels."""


@final
@dataclass(frozen=True, slots=True)
class Damage:
    """One way to make samples worse.

    Attributes:
        says: What it does at strength 1, in words.
        apply: Does it, at a strength in [0, 1].
        suits: Whether samples of a space can suffer it, with labels or without.
    """

    says: str
    apply: Callable[[Victims, float, torch.Generator], Damaged]
    suits: Callable[[Space, bool], bool]


def possible(space: Space, *, labelled: bool) -> list[str]:
    """Returns the names of the damages that samples of ``space`` can suffer."""
    return [name for name, damage in DAMAGES.items() if damage.suits(space, labelled)]


def _is_image(space: Space, _labelled: bool) -> bool:
    return space.kind == "image"


def _is_colour(space: Space, _labelled: bool) -> bool:
    return space.kind == "image" and space.shape[0] == 3


def _fits_jpeg(space: Space, _labelled: bool) -> bool:
    levels = space.levels or 0
    return space.kind == "image" and space.shape[0] in (1, 3) and 1 < levels <= 256


def _swapped(given: Victims, s: float, rng: torch.Generator) -> Damaged:
    if given.labels is None:
        raise UserError("Labels can be swapped only where there are some.")
    return given.x, swapped_labels(given.labels, s, rng)


DAMAGES: Mapping[str, Damage] = {
    "noise": Damage(
        "normal noise, its standard deviation half the range of the levels",
        lambda v, s, rng: (noise(v.x, v.space.levels, s, rng), v.labels),
        lambda space, _: space.kind in ("image", "vector"),
    ),
    "blur": Damage(
        "a normal kernel, its standard deviation a quarter of the height",
        lambda v, s, _: (blur(v.x, v.space.levels, s), v.labels),
        _is_image,
    ),
    "jpeg": Damage(
        "a JPEG file of quality 1; 0.5 is quality 50",
        lambda v, s, _: (jpeg(v.x, v.space.levels or 256, s), v.labels),
        _fits_jpeg,
    ),
    "hue": Damage(
        "every colour turned by half a circle about grey",
        lambda v, s, _: (hue(v.x, v.space.levels, s), v.labels),
        _is_colour,
    ),
    "dropped class": Damage(
        "one class is gone, others take its place",
        dropped_class,
        lambda _, labelled: labelled,
    ),
    "duplicates": Damage(
        "all samples are copies of one",
        lambda v, s, rng: (duplicated(v.x, s, rng), v.labels),
        lambda _, __: True,
    ),
    "memorised": Damage(
        "all samples are copies of training samples",
        lambda v, s, rng: (memorised(v.x, v.train, s, rng), v.labels),
        lambda _, __: True,
    ),
    "swapped labels": Damage(
        "all labels are dealt out anew, the samples stay",
        _swapped,
        lambda _, labelled: labelled,
    ),
}
"""Every damage by name."""


def _whole(x: Tensor, levels: int | None) -> Tensor:
    """Returns samples as their space wants them: whole levels where it has levels."""
    return x if levels is None else x.round().clamp(0, levels - 1)


def _through_jpeg(pixels: Array, quality: int) -> Array:
    """Returns one image, shape ``(h, w, c)``, as its JPEG file shows it."""
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.asarray(opened).reshape(pixels.shape)


def _chosen(n: int, count: int, rng: torch.Generator) -> Tensor:
    """Returns ``count`` of the numbers below ``n``, in random order."""
    return torch.randperm(n, generator=rng, device=rng.device)[:count]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A damage that may explain what is measured.

    Attributes:
        name: What it is called.
        about: The topics of the measurements that it is told by.
        against: Of causes that share one of these only one is taken at a time.
        apply: Damages samples, at a strength in (0, 1]; None where a class is weighed.
        one: The class, or None.
        is_more: Whether the class has more weight than among real samples, not less.
    """

    name: str
    about: frozenset[str]
    against: frozenset[str]
    apply: Callable[[Tensor, float], Tensor] | None = None
    one: int | None = None
    is_more: bool = False
