"""Modes of the data: known ones, classes, or cells of k-means; and how samples lie on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.commands.coverage import are_apart
from gantlet.commands.evaluate.inputs import SPLITS, named
from gantlet.commands.evaluate.sets import EvaluationSets, SamplePart
from gantlet.core.data import KnownSupport
from gantlet.core.errors import UserError
from gantlet.core.metric import p_greater_rate
from gantlet.core.spec import datasets, extractors
from gantlet.domains.domains import Change
from gantlet.features.base import block_of
from gantlet.metrics.copying import VoronoiCells, cells_of
from gantlet.options import SupportTests
from gantlet.stats.support import fewer_than

Kind = Literal["known", "classes", "cells"]

WORDS: dict[Kind, str] = {
    "known": "modes of known probability",
    "classes": "classes, as a classifier predicts them",
    "cells": "cells of k-means on the reference",
}
"""What modes are, in words."""

# A cell holds so many held-out samples on average, at least, and there are so many at most.
_IN_CELL, _CELLS = 40, 50


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The modes on which samples lie.

    Attributes:
        kind: What they are.
        names: What each is called.
        fake: The mode of each sample to judge, shape ``(n,)``; -1 for those off the support.
        held: That of each held-out real sample.
        weights: The probability of each among samples on the support, where it is known.
        ceiling: The probability of real samples to be on the support, where it is known.
        gap: Distance between the supports of two modes, at least, where they are known to be
            apart.
    """

    kind: Kind
    names: Sequence[str]
    fake: Tensor
    held: Tensor
    weights: Tensor | None = None
    ceiling: float | None = None
    gap: float | None = None

    @property
    def count_fake(self) -> Tensor:
        """Samples to judge on each mode, shape ``(modes,)``."""
        return self._count(self.fake)

    @property
    def count_held(self) -> Tensor:
        """Held-out real samples on each mode, shape ``(modes,)``."""
        return self._count(self.held)

    def p_values(self) -> list[float]:
        """Returns the one-sided p-value of "not less probable than in the data" of each mode.

        Exact: binomial where the probability is known, else Fisher's test against held-out
        samples.
        """
        found, real = self.count_fake.tolist(), self.count_held.tolist()
        if self.weights is not None:
            inside = sum(found)
            return [
                fewer_than(k, inside, w) for k, w in zip(found, self.weights.tolist(), strict=True)
            ]
        n, m = len(self.held), len(self.fake)
        return [p_greater_rate(r, n, k, m) for k, r in zip(found, real, strict=True)]

    def _count(self, labels: Tensor) -> Tensor:
        return labels[labels >= 0].bincount(minlength=len(self.names))


def known_support(sets: EvaluationSets) -> KnownSupport | None:
    """Returns the data set of the reference where its support is known."""
    where = named(sets.asked.real)[1]
    head, at, tail = where.rpartition("@")
    text = head if at and tail in SPLITS else where
    if sets.real.samples.splits is None or not datasets.knows(text.partition(":")[0]):
        return None
    made = datasets.make(text)
    return made if isinstance(made, KnownSupport) else None


def kind_of(sets: EvaluationSets, tests: SupportTests, extractor: str) -> Kind:
    """Returns what the modes of an evaluation are."""
    if tests.modes != "auto":
        return tests.modes
    if known_support(sets) is not None:
        return "known"
    is_classifier = extractor.partition(":")[0] == "classifier"
    return "classes" if is_classifier and sets.has_classes() else "cells"


def check_modes(sets: EvaluationSets, tests: SupportTests, extractor: str) -> None:
    """Refuses modes that the data does not have.

    Raises:
        UserError: If the support of the data is not known, or there are no classes.
    """
    kind, real = kind_of(sets, tests, extractor), named(sets.asked.real)[0]
    if kind == "known" and known_support(sets) is None:
        raise UserError(
            f"--modes known needs data whose support is known, such as ring, grid or manifolds. "
            f"Got {real}. Use --modes cells."
        )
    if kind == "classes" and (
        extractor.partition(":")[0] != "classifier" or not sets.has_classes()
    ):
        raise UserError(
            f"--modes classes needs labelled real data and --features classifier. Got {real} with "
            f"{extractors.short(extractor)}. Use --modes cells."
        )
    if tests.cells is not None and kind != "cells":
        raise UserError(f"--cells is for --modes cells. The modes of {real} are: {WORDS[kind]}.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some samples with their features.

    Attributes:
        samples: The samples.
        rows: Their features, shape ``(n, d)``.
        classes: Their class probabilities, shape ``(n, classes)``, or None.
    """

    samples: SamplePart
    rows: Tensor
    classes: Tensor | None = None

    def map(self, change: Change) -> Tensor:
        """Returns what a function gives for all samples, which are read block by block."""
        source, block = self.samples.source, block_of(self.samples.space)
        parts = torch.split(torch.arange(len(source)), block)
        return torch.cat([change(source.take(index)) for index in parts])


def modes_of(
    kind: Kind,
    sets: EvaluationSets,
    parts: tuple[Part, Part, Part],
    *,
    cells: int | None,
    rng: torch.Generator,
) -> Modes:
    """Returns the modes of the samples.

    Args:
        kind: What modes are.
        sets: The sets.
        parts: The reference, on which cells are found; the held-out samples; those to judge.
        cells: How many cells; None for what the number of samples allows.
        rng: Draws where k-means starts; on the CPU.
    """
    reference, held, fake = parts
    if kind == "known":
        return _known(sets, held, fake)
    if kind == "classes" and held.classes is not None and fake.classes is not None:
        names = [f"class {k}" for k in range(held.classes.shape[1])]
        found = [p.argmax(1) for p in (fake.classes, held.classes)]
        return Modes(kind=kind, names=names, fake=found[0], held=found[1])
    fewest = min(len(held.rows), len(fake.rows), len(reference.rows))
    count = min(max(fewest // _IN_CELL, 2), _CELLS) if cells is None else cells
    voronoi = VoronoiCells.fit(reference.rows, count, rng=rng)
    own = cells_of(reference.rows, voronoi).bincount(minlength=len(voronoi.centres))
    # The most frequent cell of the reference is the first.
    rank = own.argsort(descending=True, stable=True).argsort()
    labels = [rank[cells_of(p.rows, voronoi)] for p in (fake, held)]
    names = [f"cell {k}" for k in range(1, len(voronoi.centres) + 1)]
    return Modes(kind="cells", names=names, fake=labels[0], held=labels[1])


def _known(sets: EvaluationSets, held: Part, fake: Part) -> Modes:
    world = known_support(sets)
    if world is None:
        raise UserError("The support of the data is not known.")

    def labelled(x: Tensor) -> Tensor:
        return torch.where(world.on_support(x), world.modes_of(x), -1)

    weights = world.weights
    return Modes(
        kind="known",
        names=[f"mode {k}" for k in range(len(weights))],
        fake=fake.map(labelled),
        held=held.map(labelled),
        weights=weights,
        ceiling=world.ceiling,
        gap=world.gap if are_apart(world) else None,
    )
