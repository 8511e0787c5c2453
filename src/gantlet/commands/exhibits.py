"""Samples as files and as pictures for a page."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantlet.commands import standings
from gantlet.commands.compare.claims import estimated
from gantlet.commands.standings import Contestant, on_ranking_features
from gantlet.commands.trained import source_of
from gantlet.core.data import Space, everything
from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import REAL, Trial
from gantlet.report.blocks import Block, Cell, Column, Dot, Gallery, Picture, Table
from gantlet.report.pictures import drawings, grid, points, spectrograms
from gantlet.run.store import Run, draft_of, save_tensors, write_bytes

# ----------------------------------------------------------------------------
# Samples to look at: uncurated, of the first seed, beside held-out data.
# ----------------------------------------------------------------------------

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
    known = {s: estimated(everyone, s) for s in (*quality, standings.LIKELIHOOD)}
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
        pixels = (_unit_images(space, shown).clamp(0, 1) * 255).round().to(torch.uint8)
        return grid(pixels.movedim(1, -1).numpy())
    if space.kind == "vector" and space.size == 2:
        return points(x[:_POINTS].numpy())
    if space.kind == "audio":
        return grid(spectrograms(x[:_SKETCHES].flatten(1).numpy()), columns=4)
    if space.kind == "graph":
        return grid(drawings(x[:_SKETCHES].numpy()), columns=4)
    return None


def _unit_images(space: Space, x: Tensor) -> Tensor:
    """Returns images in [0, 1], continuous ones stretched from their own range."""
    if space.levels is not None:
        return space.unit(x)
    low, high = x.min(), x.max()
    return (x - low) / (high - low).clamp_min(1e-12)


# ----------------------------------------------------------------------------
# Samples that are read: lines of text, rows of a table.
# ----------------------------------------------------------------------------

_LONGEST = 200  # characters of a sample


def lines_table(title: str, shown: Mapping[str, Sequence[str]], note: str) -> Table:
    """Returns samples side by side, in quotes.

    Args:
        title: What the table shows.
        shown: The samples of each column.
        note: How they were chosen.
    """
    rows: list[list[Cell]] = [
        [str(k), *("–" if text is None else _quoted(text) for text in texts)]
        for k, texts in enumerate(zip_longest(*shown.values()), 1)
    ]
    columns = [Column(name="place"), *(Column(name=name) for name in shown)]
    return Table(title=title, columns=columns, rows=rows, note=note)


def _quoted(text: str) -> str:
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"“{cut}”"


# ----------------------------------------------------------------------------
# Writes samples in the format that a file's name asks for.
# ----------------------------------------------------------------------------

_SUFFIXES = (".npz", ".npy", ".safetensors", ".png")


def save_samples(path: Path, x: Tensor, trial: Trial) -> None:
    """Writes samples, shape ``(n, *space.shape)``; levels up to 256 as bytes where arrays allow.

    Raises:
        UserError: If the format is not known, or the samples are nothing to look at.
    """
    space, _ = source_of(trial)
    discrete = space.levels is not None and space.levels <= 256
    array = x.cpu().numpy().astype(np.uint8 if discrete else np.float32)
    if path.suffix == ".png":
        png = picture(space, x.cpu())
        if png is None:
            raise UserError(f"Samples of {space.label} are no picture. Give --out samples.npz.")
        write_bytes(path, png)
    elif path.suffix == ".safetensors":
        save_tensors(path, {"samples": x})
    elif path.suffix in _SUFFIXES:
        with draft_of(path) as draft, draft.open("wb") as file:
            np.save(file, array) if path.suffix == ".npy" else np.savez_compressed(file, x=array)
    else:
        raise unknown("format of samples", path.suffix, _SUFFIXES)
