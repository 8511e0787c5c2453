"""Corruptions: each operation once, and the two tables that say how severe each is made.

``CORRUPTIONS`` are graded severities of known kinds, with which metrics are tested.
``image_causes`` are corruptions that may explain flaws. Flaws planted in tests have a third
table, in ``gantlet.testing.planted``. The tables share operations and differ in their parameters
on purpose: an explanation must not fit for the sole reason that it is what was planted.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.data.splits import Array

# ----------------------------------------------------------------------------
# Operations on images of any range; what leaves the range is for the caller to clip.
# ----------------------------------------------------------------------------

_KERNEL = (1.0, 4.0, 6.0, 4.0, 1.0)

Pattern = Literal["checkerboard", "column stripes", "row stripes"]


def brighter(x: Tensor, amount: float) -> Tensor:
    """Returns images with a number added to every component."""
    return x + amount


def towards(x: Tensor, y: Tensor, share: float) -> Tensor:
    """Returns ``(1 - share) x + share y``; a share beyond [0, 1] goes beyond them."""
    return x + share * (y - x)


def contrasted(x: Tensor, factor: float) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, that differ from their means by ``factor`` times."""
    return towards(x.mean((1, 2, 3), keepdim=True), x, factor)


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, under one kernel along both axes.

    Args:
        x: The images, whose edges are repeated outwards.
        kernel: Weights whose sum is 1, an odd number of them, shape ``(2 k + 1,)``.
    """
    reach = len(kernel) // 2
    flat = pad(x.reshape(-1, 1, *x.shape[2:]), (reach,) * 4, mode="replicate")
    rows = conv2d(flat, kernel.view(1, 1, 1, -1))
    return conv2d(rows, kernel.view(1, 1, -1, 1)).view(x.shape)


def patterned(x: Tensor, pattern: Pattern, sign: float, top: float, share: float) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, drawn towards a pattern of single pixels.

    Args:
        x: The images, in [0, ``top``].
        pattern: The pattern, whose pixels are 0 and ``top``.
        sign: 1 where its first pixel is light, -1 where it is dark.
        top: The largest value.
        share: How far.
    """
    h, w = x.shape[2:]
    rows, columns = (torch.tensor([1.0, -1.0]).repeat(k)[:k].to(x) for k in (h, w))
    board = {
        "checkerboard": rows[:, None] * columns,
        "column stripes": columns.expand(h, w),
        "row stripes": rows[:, None].expand(h, w),
    }[pattern]
    return towards(x, top * (1 + sign * board) / 2, share)


def with_right_halves(x: Tensor, places: Tensor, others: Tensor) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, of which some have the right half of another one.

    Args:
        x: The images.
        places: Which of them are changed, shape ``(k,)``.
        others: Whose halves they get, shape ``(k,)``.
    """
    made, half = x.clone(), x.shape[3] // 2
    made[places, :, :, half:] = x[others, :, :, half:]
    return made


def in_levels(x: Tensor, levels: int | None) -> Tensor:
    """Returns samples as their space wants them: whole levels where it has levels."""
    return x if levels is None else x.round().clamp(0, levels - 1)


# ----------------------------------------------------------------------------
# Graded severities: 0 leaves samples as they are, 1 leaves little of them.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSamples:
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
    return in_levels(x + strength * scale.to(x) * drawn, levels)


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
    return in_levels(convolved(x, kernel), levels)


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
    return in_levels(torch.einsum("ij,njhw->nihw", matrix.to(x), x), levels)


def dropped_class(
    given: CleanSamples, strength: float, rng: torch.Generator
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


def memorized(x: Tensor, train: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Returns samples of which a share ``strength`` is replaced by copies of training samples.

    Different ones, as long as there are enough.
    """
    count = round(strength * len(x))
    places = _chosen(len(x), count, rng)
    made = x.clone()
    made[places] = train[torch.arange(count, device=train.device) % max(len(train), 1)]
    return made


def swapped_labels(labels: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Returns labels of which a share ``strength`` is permuted among its samples."""
    places = _chosen(len(labels), round(strength * len(labels)), rng)
    made = labels.clone()
    made[places] = labels[places[_chosen(len(places), len(places), rng)]]
    return made


Corrupted: TypeAlias = "tuple[Tensor, Tensor | None]"
"""Samples, shape ``(n, *space.shape)``, and their labels."""


@final
@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to make samples worse.

    Attributes:
        says: What it does at strength 1, in words.
        apply: Does it, at a strength in [0, 1].
        suits: Whether samples of a space can suffer it, with labels or without.
    """

    says: str
    apply: Callable[[CleanSamples, float, torch.Generator], Corrupted]
    suits: Callable[[Space, bool], bool]


def applicable_corruptions(space: Space, *, labelled: bool) -> list[str]:
    """Returns the names of the damages that samples of ``space`` can suffer."""
    return [name for name, damage in CORRUPTIONS.items() if damage.suits(space, labelled)]


def _is_image(space: Space, _labelled: bool) -> bool:
    return space.kind == "image"


def _is_colour(space: Space, _labelled: bool) -> bool:
    return space.kind == "image" and space.shape[0] == 3


def _fits_jpeg(space: Space, _labelled: bool) -> bool:
    levels = space.levels or 0
    return space.kind == "image" and space.shape[0] in (1, 3) and 1 < levels <= 256


def _swapped(given: CleanSamples, s: float, rng: torch.Generator) -> Corrupted:
    if given.labels is None:
        raise UserError("Labels can be swapped only where there are some.")
    return given.x, swapped_labels(given.labels, s, rng)


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption(
        "normal noise, its standard deviation half the range of the levels",
        lambda v, s, rng: (noise(v.x, v.space.levels, s, rng), v.labels),
        lambda space, _: space.kind in ("image", "vector"),
    ),
    "blur": Corruption(
        "a normal kernel, its standard deviation a quarter of the height",
        lambda v, s, _: (blur(v.x, v.space.levels, s), v.labels),
        _is_image,
    ),
    "jpeg": Corruption(
        "a JPEG file of quality 1; 0.5 is quality 50",
        lambda v, s, _: (jpeg(v.x, v.space.levels or 256, s), v.labels),
        _fits_jpeg,
    ),
    "hue": Corruption(
        "every colour turned by half a circle about grey",
        lambda v, s, _: (hue(v.x, v.space.levels, s), v.labels),
        _is_colour,
    ),
    "dropped class": Corruption(
        "one class is gone, others take its place",
        dropped_class,
        lambda _, labelled: labelled,
    ),
    "duplicates": Corruption(
        "all samples are copies of one",
        lambda v, s, rng: (duplicated(v.x, s, rng), v.labels),
        lambda _, __: True,
    ),
    "memorised": Corruption(
        "all samples are copies of training samples",
        lambda v, s, rng: (memorized(v.x, v.train, s, rng), v.labels),
        lambda _, __: True,
    ),
    "swapped labels": Corruption(
        "all labels are permuted; the samples are unchanged",
        _swapped,
        lambda _, labelled: labelled,
    ),
}
"""Every damage by name."""


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


# ----------------------------------------------------------------------------
# Corruptions that may explain flaws of images, for pixels in [0, 1].
# ----------------------------------------------------------------------------

_BLOCKS = 16  # pixels: two blocks of JPEG files
_TALLEST = 60_000  # pixels: no JPEG file is taller than 65,535


def image_causes(space: Space) -> list[Cause]:
    """Returns the damages that images of ``space`` can suffer, in the order of doing them."""
    found = [
        _cause("mixed halves", "middle seam", "mirror symmetry", apply=mixed_halves),
        _cause("brighter", "brightness", apply=lambda x, s: brighter(x, 0.5 * s**1.5).clamp(0, 1)),
        _cause("darker", "brightness", apply=lambda x, s: brighter(x, -0.5 * s**1.5).clamp(0, 1)),
        _cause("less contrast", "contrast", apply=lambda x, s: stretched(x, 1 - 0.9 * s)),
        _cause("more contrast", "contrast", apply=lambda x, s: stretched(x, 1 + 2 * s)),
        _cause("blur", "fine detail", apply=lambda x, s: mixed(x, smoothed(x), s)),
        _cause("noise", "fine detail", apply=noisy),
        *_patterns(),
        _cause("fewer tones", "colour count", apply=fewer_tones),
    ]
    if min(space.shape[1:]) >= _BLOCKS:
        found.append(_cause("compression", "block edges", apply=compressed))
    return [*found, *_colours()] if space.shape[0] == 3 else found


def mixed_halves(x: Tensor, share: float) -> Tensor:
    """Returns images of which a share, evenly spread, has the right half of its neighbour."""
    count = round(share * len(x))
    places = torch.arange(count, device=x.device) * len(x) // max(count, 1)
    return with_right_halves(x, places, (places - 1) % len(x))


def stretched(x: Tensor, factor: float) -> Tensor:
    """Returns images whose pixels differ from their mean by ``factor`` times as much."""
    return contrasted(x, factor).clamp(0, 1)


def mixed(x: Tensor, y: Tensor, share: float) -> Tensor:
    """Returns ``(1 - share) x + share y``, cut off at the ends of the range."""
    return towards(x, y, share).clamp(0, 1)


def smoothed(x: Tensor) -> Tensor:
    """Returns images under the binomial kernel of five pixels, edges repeated outwards."""
    kernel = torch.tensor(_KERNEL, dtype=x.dtype, device=x.device) / sum(_KERNEL)
    return convolved(x, kernel)


def noisy(x: Tensor, strength: float) -> Tensor:
    """Returns images with even noise on every number, the same noise at every strength."""
    drawn = torch.rand(x.shape, generator=Rng(0).stream("causes/noise"), dtype=x.dtype)
    reach = 1.2 * math.pow(strength, 1.5)
    return (x + reach * (drawn.to(x.device) - 0.5)).clamp(0, 1)


def fewer_tones(x: Tensor, strength: float) -> Tensor:
    """Returns images of which each channel is rounded to a number of tones, from 64 down to 2."""
    steps = round(math.pow(2, 6 - 5 * strength)) - 1
    return (x * steps).round() / steps


def compressed(x: Tensor, strength: float) -> Tensor:
    """Returns images as a JPEG file shows them, of quality 95 down to 5.

    Many lie in one file, each widened to whole blocks by its edges: as if each had its own.
    """
    h, w = x.shape[2:]
    wide = pad(x, (0, -w % _BLOCKS, 0, -h % _BLOCKS), mode="replicate")
    parts = torch.split(wide, max(1, _TALLEST // wide.shape[2]))
    whole = torch.cat([_in_one_file(part, 0.05 + 0.9 * strength) for part in parts])
    return whole[:, :, :h, :w].to(x)


def _in_one_file(x: Tensor, strength: float) -> Tensor:
    n, channels, h, w = x.shape
    tall = x.transpose(0, 1).reshape(1, channels, n * h, w)
    back = jpeg((255 * tall).round(), 256, strength) / 255
    return back.view(channels, n, h, w).transpose(0, 1)


def _cause(name: str, *about: str, apply: Callable[[Tensor, float], Tensor]) -> Cause:
    topics = frozenset(about)
    return Cause(name=name, about=topics, against=topics, apply=apply)


def _patterns() -> list[Cause]:
    return [
        Cause(
            name=f"{name}, {side}",
            about=frozenset({"checkerboard"}),
            against=frozenset({name}),
            apply=_Pattern(name, sign),
        )
        for name in get_args(Pattern)
        for side, sign in (("light first", 1.0), ("dark first", -1.0))
    ]


@final
class _Pattern:
    """Draws images towards a pattern of single pixels."""

    def __init__(self, pattern: Pattern, sign: float) -> None:
        self._pattern: Pattern = pattern
        self._sign = sign

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        return patterned(x, self._pattern, self._sign, 1.0, 0.4 * strength**2).clamp(0, 1)


def _colours() -> list[Cause]:
    colour = frozenset({"colour"})
    turns = [
        Cause(name=f"hues turned {side}", about=colour, against=colour, apply=_Turn(sign))
        for side, sign in (("forward", 1.0), ("back", -1.0))
    ]
    casts = [
        Cause(name=f"{name} cast", about=colour, against=colour, apply=_Cast(direction))
        for name, direction in _CASTS.items()
    ]
    return [
        *turns,
        *casts,
        _cause("paler colours", "saturation", apply=lambda x, s: mixed(x, _grey(x), s)),
        _cause("stronger colours", "saturation", apply=lambda x, s: mixed(x, _grey(x), -2 * s)),
    ]


_CASTS = {
    "red": (0.5, -0.5, 0.0),
    "green": (-0.5, 0.5, 0.0),
    "blue": (-0.25, -0.25, 0.5),
    "yellow": (0.25, 0.25, -0.5),
}


@final
class _Turn:
    """Turns hues by up to half a circle."""

    def __init__(self, sign: float) -> None:
        self._sign = sign

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        return hue(x, None, self._sign * strength).clamp(0, 1)


@final
class _Cast:
    """Adds a colour."""

    def __init__(self, direction: tuple[float, float, float]) -> None:
        self._direction = direction

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        added = torch.tensor(self._direction, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
        return (x + math.pow(strength, 1.5) * added).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)
