"""Samples to look at: uncurated, of the first seed, beside held-out data."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gantlet.core.dataset import everything
from gantlet.core.space import Space
from gantlet.core.trial import REAL
from gantlet.report.blocks import Block, Dot, Gallery, Picture
from gantlet.report.images import drawings, grid, points, spectrograms
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.claims import estimated
from gantlet.studies.sources import source_of
from gantlet.studies.summary import Contestant, on_ranking_features

_IMAGES = 64
_POINTS = 1000
_SKETCHES = 16


def galleries(everyone: Sequence[Contestant], run: Run) -> Iterator[Block]:
    """Yields one picture of samples for each contestant, real data first, with its scores."""
    scores = _scores(everyone)
    order = sorted(everyone, key=lambda c: c.model != REAL)
    pictures = [p for c in order for p in _picture(c, run, scores[c.model])]
    if pictures:
        yield Gallery(
            title="Samples",
            pictures=pictures,
            note="The first samples of the first seed, none left out.",
        )


def _scores(everyone: Sequence[Contestant]) -> dict[str, list[Dot]]:
    """Returns the scores of each model that stand beside its samples, those that it has."""
    quality = [on_ranking_features(everyone, m) for m in ("energy", "precision", "recall")]
    known = {s: estimated(everyone, s) for s in (*quality, names.LIKELIHOOD)}
    called = {quality[0]: quality[0].replace("energy", "energy distance")}
    return {
        c.model: [
            Dot(name=called.get(score, score), estimate=found[c.model])
            for score, found in known.items()
            if found[c.model].value is not None
        ]
        for c in everyone
    }


def _picture(c: Contestant, run: Run, scores: Sequence[Dot]) -> Iterator[Picture]:
    if not c.outcomes:
        return
    trial = next(iter(c.outcomes.values())).trial
    space, splits = source_of(trial)
    if c.model == REAL:
        x = everything(splits.test, _POINTS)
    else:
        x = run.folder(trial).load("samples")["samples"]
    png = picture(space, x)
    if png is not None:
        yield Picture(
            caption=c.label, png=png, description=f"Samples of {c.label}.", scores=scores
        )


def picture(space: Space, x: Tensor) -> bytes | None:
    """Returns samples as PNG: a grid of images, spectrograms or graphs, or points; else None."""
    if space.kind == "image":
        # Of four channels the last is transparency, of two as well; of others three are drawn.
        shown = x[:_IMAGES, : 3 if space.shape[0] >= 3 else 1]
        pixels = (_unit(space, shown).clamp(0, 1) * 255).round().to(torch.uint8)
        return grid(pixels.movedim(1, -1).numpy())
    if space.kind == "vector" and space.size == 2:
        return points(x[:_POINTS].numpy())
    if space.kind == "audio":
        return grid(spectrograms(x[:_SKETCHES].flatten(1).numpy()), columns=4)
    if space.kind == "graph":
        return grid(drawings(x[:_SKETCHES].numpy()), columns=4)
    return None


def _unit(space: Space, x: Tensor) -> Tensor:
    """Returns images in [0, 1], continuous ones stretched from their own range."""
    if space.levels is not None:
        return space.unit(x)
    low, high = x.min(), x.max()
    return (x - low) / (high - low).clamp_min(1e-12)
