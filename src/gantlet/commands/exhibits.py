"""Samples as files and as pictures for a page."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gantlet.commands import standings
from gantlet.commands.compare.claims import estimated
from gantlet.commands.standings import ModelResults, on_ranking_features
from gantlet.commands.trained import ModelTrial
from gantlet.core.data import Code, Space, all_samples
from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import REAL
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.domains.domains import domain_of
from gantlet.report.blocks import Block, Cell, Column, Dot, Gallery, Picture, Table
from gantlet.run.store import Run, draft_of, save_tensors, write_bytes
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# Samples to look at: uncurated, of the first seed, beside held-out data.
# ----------------------------------------------------------------------------


def galleries(everyone: Sequence[ModelResults], run: Run, data: RunData) -> Iterator[Block]:
    """Yields one picture of samples for each contestant, real data first, with its scores."""
    scores = _scores(everyone)
    order = sorted(everyone, key=lambda c: c.model != REAL)
    pictures = [p for c in order for p in _picture(c, run, data, scores[c.model])]
    if pictures:
        yield Gallery(
            title="Samples",
            pictures=pictures,
            note="The first samples of the first seed, none left out.",
        )


def _scores(everyone: Sequence[ModelResults]) -> dict[str, list[Dot]]:
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


def _picture(c: ModelResults, run: Run, data: RunData, scores: Sequence[Dot]) -> Iterator[Picture]:
    if not c.outcomes:
        return
    trial = next(iter(c.outcomes.values())).trial
    space, splits = data.of(ModelTrial.of(trial))
    if c.model == REAL:
        x = all_samples(splits.test, domain_of(space).shown)
    else:
        x = run.folder(trial).load("samples")["samples"]
    code = splits.code or code_of(ModelTrial.of(trial).data)
    yield from pictured(space, code, c.label, x, scores=scores)


def pictured(
    space: Space, code: Code | None, name: str, x: Tensor, *, scores: Sequence[Dot] = ()
) -> Iterator[Picture]:
    """Yields samples as a picture, with players where they can be heard; nothing if unseen.

    Args:
        space: What one sample is.
        code: What the numbers of a sample stand for, where they are not plain numbers.
        name: Whose samples they are.
        x: The samples, shape ``(n, *space.shape)``.
        scores: Numbers to be read beside them.
    """
    domain = domain_of(space)
    png = domain.picture(space, x) if len(x) else None
    if png is not None:
        yield Picture(
            caption=name,
            png=png,
            description=f"Samples of {name}.",
            scores=scores,
            sounds=domain.sounds(space, x, code),
        )


def code_of(data: str) -> Code | None:
    """Returns the code of a data set in written form, or None where its numbers are plain."""
    dataset: object = datasets.make(data)
    return dataset.code() if isinstance(dataset, _Coded) else None


@runtime_checkable
class _Coded(Protocol):
    """A data set that knows what its numbers stand for, read from files or made."""

    def code(self) -> Code | None:
        """Returns what the numbers of a sample stand for."""
        ...


def above(upper: Tensor, lower: Tensor, columns: int = 8) -> Tensor:
    """Returns rows of one set, each above a row of the other."""
    both = zip(torch.split(upper, columns), torch.split(lower, columns), strict=True)
    parts = [x for pair in both for x in pair]
    return torch.cat(parts) if parts else upper


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


_NUMBERS = 12


def number_lines(x: Tensor) -> list[str]:
    """Returns samples as their first numbers, one line each."""
    rows: list[list[float]] = x.flatten(1)[:, :_NUMBERS].tolist()
    more = " …" if x[0].numel() > _NUMBERS else ""
    return [", ".join(f"{v:.3g}" for v in row) + more for row in rows]


# ----------------------------------------------------------------------------
# Writes samples in the format that the name of a file asks for.
# ----------------------------------------------------------------------------

_SUFFIXES = (".npz", ".npy", ".safetensors", ".png")


def save_samples(path: Path, x: Tensor, data: str) -> None:
    """Writes samples, shape ``(n, *space.shape)``.

    In a format of their kind, or as arrays: levels up to 256 as bytes, unless as safetensors.

    Args:
        path: The file; its suffix is the format.
        x: The samples.
        data: The data set, in written form, that they are like.

    Raises:
        UserError: If the format is not known, or the samples cannot be written in it.
    """
    dataset = datasets.make(data)
    space, code = dataset.space, code_of(data)
    own = domain_of(space).writers(space, code)
    if path.suffix in own:
        with draft_of(path) as draft:
            own[path.suffix](draft, x.cpu())
    elif path.suffix == ".png":
        png = domain_of(space).picture(space, x.cpu())
        if png is None:
            others = ", ".join((*own, ".npz"))
            raise UserError(
                f"Samples of {space.label} cannot be drawn. Give a name that ends in {others}."
            )
        write_bytes(path, png)
    elif path.suffix == ".safetensors":
        save_tensors(path, {"samples": x})
    elif path.suffix in _SUFFIXES:
        _save_array(path, x, space)
    else:
        # What the numbers of a made data set stand for may be known once it is made.
        made = dataset.load(rng=Rng(0)).code
        more = {**domain_of(space).writers(space, made), **domain_of(space).exports(made)}
        if path.suffix not in more:
            raise unknown(
                "format of samples", path.suffix, dict.fromkeys((*own, *more, *_SUFFIXES))
            )
        with draft_of(path) as draft:
            more[path.suffix](draft, x.cpu())


def _save_array(path: Path, x: Tensor, space: Space) -> None:
    discrete = space.levels is not None and space.levels <= 256
    array = x.cpu().numpy().astype(np.uint8 if discrete else np.float32)
    with draft_of(path) as draft, draft.open("wb") as file:
        np.save(file, array) if path.suffix == ".npy" else np.savez_compressed(file, x=array)
