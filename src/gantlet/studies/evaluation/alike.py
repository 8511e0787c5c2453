"""Makes the samples of one set comparable with those of another."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.features.frozen import block_of
from gantlet.studies.evaluation.inputs import Samples

Change = Callable[[Tensor], Tensor]


@final
class Changed:
    """Another source, every block of which passes through a function.

    Args:
        source: Where the samples are.
        change: What is done to them.
    """

    def __init__(self, source: Source, change: Change) -> None:
        self._source = source
        self._change = change

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where there is none."""
        return self._source.labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._source)

    def take(self, index: Tensor) -> Tensor:
        """Returns the changed samples at ``index``."""
        return self._change(self._source.take(index))


def alike(samples: Samples, real: Samples) -> tuple[Samples, str]:
    """Returns ``samples`` as samples of the space of ``real``, and what was done, in words.

    Files that need a code are written in that of ``real``. Grey images where colour is wanted are
    repeated in three channels. Fractions in [0, 1] or [-1, 1] become levels where levels are
    wanted; they are not rounded. What was said of the files of ``samples`` comes first.

    Raises:
        UserError: If they cannot be compared, or images without levels have different ranges.
    """
    found, told = _alike(samples, real)
    return found, "; ".join(filter(None, (samples.note, told)))


def _alike(samples: Samples, real: Samples) -> tuple[Samples, str]:
    space, wanted = samples.space, real.space
    if not len(samples.source):
        raise UserError(f"{samples.name} holds no samples.")
    if samples.own is not None and real.code is not None:
        source, told = samples.own.coded(real.code)
        return replace(samples, space=wanted, source=source, code=real.code), told
    if _is_shorter(space, wanted):
        room = wanted.size - space.size
        longer = Changed(samples.source, lambda x: pad(x, (0, room)))
        return replace(samples, space=wanted, source=longer, code=real.code), ""
    if space.shape != wanted.shape:
        return _as_colour(samples, real)
    if space.levels == wanted.levels is None and "image" in {space.kind, wanted.kind}:
        _check_ranges(samples, real)
    if space == wanted:
        return replace(samples, code=real.code), ""
    if wanted.levels is None:
        if space.levels is None:
            return replace(samples, space=wanted), ""
        raise UserError(
            f"{samples.name} holds {space.label}, {real.name} {wanted.label}. Save both as bytes, "
            "or both as floating point numbers of one range."
        )
    low, high = span(samples.source, space)
    change, told = _to_levels(samples.name, space, wanted, low, high)
    return replace(samples, space=wanted, source=Changed(samples.source, change)), told


def _is_shorter(space: Space, wanted: Space) -> bool:
    """Returns whether samples are of the same tokens, or sounds, with room for fewer numbers."""
    both = space.kind == wanted.kind in {"tokens", "audio"} and space.levels == wanted.levels
    return both and space.size < wanted.size


def _check_ranges(samples: Samples, real: Samples) -> None:
    """Refuses images of another usual range: what was forgotten is to scale them.

    Raises:
        UserError: If both fill one of [0, 1], [-1, 1] and [0, 255], and not the same.
    """
    ranges = [span(s.source, s.space) for s in (samples, real)]
    own, its = (_range_of(*r) for r in ranges)
    if own is not None and its is not None and own != its:
        (low, high), (real_low, real_high) = ranges
        raise UserError(
            f"{samples.name} holds numbers from {low:g} to {high:g} as in {own}, {real.name} from "
            f"{real_low:g} to {real_high:g} as in {its}. Bring both to one range, or save both as "
            "bytes."
        )


def _range_of(low: float, high: float) -> str | None:
    """Returns the usual range that images fill, or None.

    Example:
        >>> _range_of(-0.98, 1.0), _range_of(0.01, 0.97), _range_of(0, 254), _range_of(-2, 2)
        ('[-1, 1]', '[0, 1]', '[0, 255]', None)
    """
    if -0.05 <= low <= 0.1 and 0.75 <= high <= 1.05:
        return "[0, 1]"
    if -1.05 <= low <= -0.75 and 0.5 <= high <= 1.05:
        return "[-1, 1]"
    return "[0, 255]" if -10 <= low <= 25 and 64 <= high <= 265 else None


def span(source: Source, space: Space) -> tuple[float, float]:
    """Returns the smallest and the largest number in all samples."""
    low, high = math.inf, -math.inf
    for index in torch.split(torch.arange(len(source)), block_of(space)):
        x = source.take(index)
        low, high = min(low, float(x.min())), max(high, float(x.max()))
    return low, high


def _to_levels(
    name: str, space: Space, wanted: Space, low: float, high: float
) -> tuple[Change, str]:
    top = (wanted.levels or 2) - 1
    told = f"{name} holds numbers from {low:g} to {high:g}"
    if space.levels is not None:
        if high <= top:
            return _same, ""
        raise UserError(f"{told}; levels from 0 to {top} are needed. Save both in one range.")
    if low >= 0 and high <= 1:
        return (lambda x: x * top), f"{told}, which were read as fractions of {top}"
    if low >= -1 and high <= 1:
        return (lambda x: (x + 1) / 2 * top), f"{told}; -1 was read as 0 and 1 as {top}"
    if low >= 0 and high <= top:
        return _same, f"{told}, which were read as levels"
    raise UserError(
        f"{told}; levels from 0 to {top}, or numbers in [0, 1] or [-1, 1] are needed. Save them "
        "as bytes."
    )


def _same(x: Tensor) -> Tensor:
    return x


def _as_colour(samples: Samples, real: Samples) -> tuple[Samples, str]:
    """Returns grey images in three channels where only that is missing."""
    shape, wanted = samples.space.shape, real.space.shape
    both = {samples.space.kind, real.space.kind} == {"image"}
    if both and shape[1:] == wanted[1:] and shape[0] == 1 and wanted[0] == 3:
        coloured = replace(
            samples,
            space=replace(samples.space, shape=wanted),
            source=Changed(samples.source, lambda x: x.expand(-1, 3, -1, -1)),
        )
        found, told = alike(coloured, real)
        grey = f"{samples.name} is grey and was repeated in three channels"
        return found, f"{grey}; {told}" if told else grey
    held = f"{samples.name} holds {samples.space.label}, {real.name} {real.space.label}."
    if samples.space.kind != real.space.kind:
        raise UserError(f"{held} Give samples of one kind.")
    raise UserError(
        f"{held} Bring them to one size: for a folder, images:path=FOLDER,size=PIXELS or "
        ",colour=grey."
    )
