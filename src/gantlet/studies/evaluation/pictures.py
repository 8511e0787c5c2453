"""Samples to look at: uncurated, near to real ones and far, and the nearest of the training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gantlet.core.code import Readable
from gantlet.core.space import Space
from gantlet.core.trial import REAL, Outcome
from gantlet.report.blocks import Block, Dot, Gallery, Picture
from gantlet.store.run import Run
from gantlet.studies.evaluation.chosen import Asked, Chosen, other_set, real_set, train_set
from gantlet.studies.evaluation.floor import FLOOR
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.measuring import sees_first
from gantlet.studies.evaluation.pairing import first_pairs
from gantlet.studies.gallery import picture
from gantlet.studies.lines import lines_table

_UNCURATED = 64
_PAIRS = 32
_READ = 10


def galleries(
    asked: Asked, outcomes: Sequence[Outcome], run: Run, scores: Mapping[str, Sequence[Dot]]
) -> Iterator[Block]:
    """Yields pictures, where samples are something to see.

    Args:
        asked: What is evaluated.
        outcomes: The trials.
        run: Where they kept what is shown.
        scores: The numbers that stand beside the first samples, by set and for the noise floor.
    """
    real = real_set(asked)
    space = real.samples.space
    everyone = [(named(f)[0], other_set(asked, f, "fake")) for f in asked.fakes]
    shown = [*everyone, ("real samples", real)]
    yield from _samples(shown, scores)
    if asked.pairs is not None:
        yield from _pairs(space, asked)
    exhibits = exhibits_of(outcomes, run)
    chosen = [(name, c, exhibits[name]) for name, c in everyone if name in exhibits]
    yield from _extremes(space, chosen)
    train = train_set(asked)
    if train is not None:
        yield from _nearest(space, chosen, train)


def _samples(
    shown: Sequence[tuple[str, Chosen]], scores: Mapping[str, Sequence[Dot]]
) -> Iterator[Block]:
    """Yields the first samples of each set, to be seen or to be read."""
    note = "The first of each set, none left out."
    space, code = shown[-1][1].samples.space, shown[-1][1].samples.code
    if isinstance(code, Readable):
        read = {name: code.read(_first(c)[:_READ]) for name, c in shown}
        yield lines_table("Samples", read, note)
    known = {**scores, "real samples": scores.get(FLOOR, ())}
    pictures = [
        replace(p, scores=known.get(name, ()))
        for name, c in shown
        for p in _picture(space, name, _first(c))
    ]
    yield from _gallery("Samples", pictures, note)


def exhibits_of(outcomes: Sequence[Outcome], run: Run) -> dict[str, dict[str, Tensor]]:
    """Returns what was chosen to be shown of each set, by its name."""
    return {
        named(o.trial.parts["model"])[0]: run.folder(o.trial).load("exhibits")
        for o in outcomes
        if o.error is None and o.trial.parts["model"] != REAL and sees_first(o.trial)
    }


def _pairs(space: Space, asked: Asked) -> Iterator[Block]:
    pictures = [
        p
        for fake in asked.fakes
        for p in _picture(
            space,
            f"targets, and below each {named(fake)[0]}",
            _above(*first_pairs(asked, fake, 32)),
        )
    ]
    yield from _gallery("Pairs", pictures, "The first of each, none left out.")


Shown = Sequence[tuple[str, Chosen, dict[str, Tensor]]]


def _extremes(space: Space, chosen: Shown) -> Iterator[Block]:
    pictures = [
        p
        for name, c, found in chosen
        for which, words in (("near", "nearest to"), ("far", "farthest from"))
        for p in _picture(space, f"{name}: {words} real samples", _at(c, found[which]))
    ]
    note = "By the distance to the nearest real sample on the first features, outermost first."
    yield from _gallery("The nearest to real samples, and the farthest", pictures, note)


def _nearest(space: Space, chosen: Shown, train: Chosen) -> Iterator[Block]:
    """Yields the samples nearest to training samples, each above its nearest."""
    pictures = [
        p
        for name, c, found in chosen
        for p in _picture(
            space,
            f"{name}, and below each the nearest training sample",
            _above(_at(c, found["copies"]), _at(train, found["originals"])),
        )
    ]
    note = "Those that lie nearest to the training set on the first features, nearest first."
    yield from _gallery("Nearest training samples", pictures, note)


def _above(upper: Tensor, lower: Tensor, columns: int = 8) -> Tensor:
    """Returns rows of one set, each above a row of the other."""
    both = zip(torch.split(upper, columns), torch.split(lower, columns), strict=True)
    parts = [x for pair in both for x in pair]
    return torch.cat(parts) if parts else upper


def _first(chosen: Chosen) -> Tensor:
    most = 1000 if chosen.samples.space.kind == "vector" else _UNCURATED
    return _at(chosen, torch.arange(min(chosen.n, most)))


def _at(chosen: Chosen, index: Tensor) -> Tensor:
    return chosen.samples.source.take(index)


def _picture(space: Space, name: str, x: Tensor) -> Iterator[Picture]:
    png = picture(space, x) if len(x) else None
    if png is not None:
        yield Picture(caption=name, png=png, description=f"Samples of {name}.")


def _gallery(title: str, pictures: Sequence[Picture], note: str) -> Iterator[Block]:
    if pictures:
        yield Gallery(title=title, pictures=pictures, note=note)
