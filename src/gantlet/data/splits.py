"""Samples parted into train, validation and test by a seed, and never mixed."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import InMemory, Source, Splits, groups_of, notes_of
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng


@final
class Subset:
    """Some samples of another source, in a given order.

    Args:
        source: Where the samples are.
        index: Which of them, shape ``(n,)``.
    """

    def __init__(self, source: Source, index: Tensor) -> None:
        self.source = source
        self._index = index

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where the source has none."""
        labels = self.source.labels
        return None if labels is None else labels[self._index]

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``, or None where the source has none."""
        groups = groups_of(self.source)
        return None if groups is None else groups[self._index]

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._index)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self.source.take(self._index[index])


@final
class Joined:
    """Several sources of one space, one after the other.

    Args:
        parts: The sources, at least one.
    """

    def __init__(self, *parts: Source) -> None:
        self._parts = parts
        self._starts = torch.tensor([0, *(len(p) for p in parts)]).cumsum(0)

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where a part has none."""
        known = [labels for p in self._parts if (labels := p.labels) is not None]
        return torch.cat(known) if len(known) == len(self._parts) else None

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``, or None where a part has none.

        Equal numbers are one group, in whichever parts they are.
        """
        known = [groups for p in self._parts if (groups := groups_of(p)) is not None]
        return torch.cat(known) if len(known) == len(self._parts) else None

    def __len__(self) -> int:
        """How many samples there are."""
        return int(self._starts[-1])

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``, at least one, as float32."""
        home = torch.searchsorted(self._starts, index, right=True) - 1
        order = home.argsort(stable=True)
        places = index - self._starts[home]
        taken = [self._parts[i].take(places[home == i]) for i in sorted(set(home.tolist()))]
        return torch.cat(taken)[order.argsort()]


def cpu_stream(rng: Rng, name: str) -> torch.Generator:
    """Returns the stream ``name`` on the CPU, so that every device sees the same data."""
    return Rng(rng.seed).stream(name)


def by_share(
    source: Source, *, validation: float, test: float, limit: int | None, rng: Rng
) -> Splits:
    """Returns ``source`` in three splits, shuffled by the seed of ``rng``.

    Args:
        source: All samples.
        validation: Share of the samples for validation; at least one sample.
        test: Share of the samples for the test; at least one sample.
        limit: Most samples for training, or None.
        rng: Its stream "split" decides.

    Raises:
        UserError: If there are too few samples for three splits.
    """
    n = len(source)
    v, t = max(1, round(validation * n)), max(1, round(test * n))
    kept, tested = _cut(n, t, rng)
    trained, validated = kept[: len(kept) - v][:limit], kept[len(kept) - v :]
    if n < 3 or not len(trained):
        raise UserError(
            f"Three splits need samples for each. Got {n} samples for {v} of validation, {t} of "
            "test and the rest for training; add samples or lower the shares."
        )
    return Splits(
        train=Subset(source, trained),
        validation=Subset(source, validated),
        test=Subset(source, tested),
        note=sentences(
            f"{len(trained)} train, {v} validation and {t} test samples of {n}, "
            f"drawn by seed {rng.seed}",
            source,
        ),
        notes=notes_of(source),
    )


def official(
    train: Source, test: Source, *, validation: int, limit: int | None, rng: Rng
) -> Splits:
    """Returns splits that keep a test set as it was published.

    Args:
        train: The published training set, from which validation is taken.
        test: The published test set.
        validation: How many samples of ``train`` become validation.
        limit: Most samples for training, or None.
        rng: Its stream "split" decides which samples of ``train`` validate.

    Raises:
        UserError: If too few samples are left for training, or none for the test.
    """
    if not len(test):
        raise UserError("The test set holds no samples.")
    if validation < 1 or len(train) <= validation:
        raise UserError(
            f"validation must be from 1 to {len(train) - 1}, as the training set holds "
            f"{len(train)} samples. Got {validation}."
        )
    kept, validated = _cut(len(train), validation, rng)
    trained = kept[:limit]
    return Splits(
        train=Subset(train, trained),
        validation=Subset(train, validated),
        test=test,
        note=sentences(
            f"{len(trained)} train and {validation} validation samples, drawn by seed {rng.seed} "
            f"from the {len(train)} training samples; the {len(test)} test samples are fixed",
            train,
            test,
        ),
        notes=notes_of(train, test),
    )


def sentences(note: str, *sources: Source) -> str:
    """Returns what is to be said of splits and of the files behind them, as sentences."""
    return " ".join(f"{part}." for part in (note, *notes_of(*sources)))


def _cut(n: int, held_out: int, rng: Rng) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n, generator=cpu_stream(rng, "split"))
    return order[: max(n - held_out, 0)], order[max(n - held_out, 0) :]


Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]


def drawn(draw: Draw, *, n: int, held_out: int, rng: Rng) -> Splits:
    """Returns independent draws of a known distribution as splits.

    Each split has its own stream, so the test set does not depend on ``n``.

    Args:
        draw: Returns that many samples and their classes.
        n: How many training samples.
        held_out: How many samples each for validation and test.
        rng: Its streams "split/train", "split/validation" and "split/test" decide.
    """

    def split(name: str, size: int) -> InMemory:
        x, labels = draw(size, cpu_stream(rng, f"split/{name}"))
        return InMemory(x.float(), labels)

    return Splits(
        train=split("train", n),
        validation=split("validation", held_out),
        test=split("test", held_out),
        note=f"{n} train, {held_out} validation and {held_out} test samples, drawn "
        f"independently by seed {rng.seed} from a known distribution.",
    )
