"""Damages that images are known to suffer, for pixels in [0, 1]."""

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.data.damage import Cause, hue, jpeg

_KERNEL = (1.0, 4.0, 6.0, 4.0, 1.0)
_BLOCKS = 16  # pixels: two blocks of JPEG files
_TALLEST = 60_000  # pixels: no JPEG file is taller than 65,535


def image_causes(space: Space) -> list[Cause]:
    """Returns the damages that images of ``space`` can suffer, in the order of doing them."""
    found = [
        _cause("mixed halves", "middle seam", "mirror symmetry", apply=mixed_halves),
        _cause("brighter", "brightness", apply=lambda x, s: (x + 0.5 * s**1.5).clamp(0, 1)),
        _cause("darker", "brightness", apply=lambda x, s: (x - 0.5 * s**1.5).clamp(0, 1)),
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
    count, half, made = round(share * len(x)), x.shape[3] // 2, x.clone()
    places = torch.arange(count, device=x.device) * len(x) // max(count, 1)
    made[places, :, :, half:] = x.roll(1, 0)[places, :, :, half:]
    return made


def stretched(x: Tensor, factor: float) -> Tensor:
    """Returns images whose pixels differ from their mean by ``factor`` times as much."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mixed(mean, x, factor)


def mixed(x: Tensor, y: Tensor, share: float) -> Tensor:
    """Returns ``(1 - share) x + share y``, cut off at the ends of the range."""
    return (x + share * (y - x)).clamp(0, 1)


def smoothed(x: Tensor) -> Tensor:
    """Returns images under the binomial kernel of five pixels, edges repeated outwards."""
    kernel = torch.tensor(_KERNEL, dtype=x.dtype, device=x.device) / sum(_KERNEL)
    flat = pad(x.reshape(-1, 1, *x.shape[2:]), (2, 2, 2, 2), mode="replicate")
    rows = conv2d(flat, kernel.view(1, 1, 1, -1))
    return conv2d(rows, kernel.view(1, 1, -1, 1)).view(x.shape)


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
        for name in ("checkerboard", "column stripes", "row stripes")
        for side, sign in (("light first", 1.0), ("dark first", -1.0))
    ]


@final
class _Pattern:
    """Draws images towards a pattern of single pixels."""

    def __init__(self, name: str, sign: float) -> None:
        self._name, self._sign = name, sign

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        h, w = x.shape[2:]
        rows, columns = (torch.tensor([1.0, -1.0]).repeat(k)[:k].to(x) for k in (h, w))
        board = {
            "checkerboard": rows[:, None] * columns,
            "column stripes": columns.expand(h, w),
            "row stripes": rows[:, None].expand(h, w),
        }[self._name]
        return mixed(x, (1 + self._sign * board) / 2, 0.4 * strength**2)


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
