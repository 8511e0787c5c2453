"""Learning to classify: the labels, the loop and the verdict."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from gantlet.core.dataset import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.features.classifier_net import ClassifierNet
from gantlet.features.frozen import block_of, exactly, some

BATCH = 64
"""Samples in one step."""

# Steps in which the learning rate rises from zero.
_WARM_UP = 50
# Most samples that an accuracy rests on.
_JUDGED = 10_000


@final
@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples with the place of each one's class among those of the training split.

    Attributes:
        source: The samples.
        classes: Shape ``(n,)``; -1 for a class that the training split does not have.
    """

    source: Source
    classes: Tensor

    def take(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Returns samples and their classes on ``device``."""
        return self.source.take(index).to(device), self.classes[index].to(device)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSplits:
    """The splits of a data set with their classes.

    Attributes:
        train: What a classifier learns from.
        validation: What chooses its best epoch.
        test: What rates it.
        count: How many classes the training split has.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    count: int


def labelled(data: Splits) -> LabelledSplits:
    """Returns splits with their classes.

    Raises:
        UserError: If a split has no labels, or the training split has fewer than two classes.
    """
    known: Tensor = torch.unique(_labels(data.train, "train"))
    if len(known) < 2:
        raise UserError(
            "The classifier needs samples of at least two classes. Those of the train split are "
            "all of one; use the features random-conv."
        )

    def split(source: Source, name: str) -> Labelled:
        labels = _labels(source, name)
        place = torch.searchsorted(known, labels).clamp(max=len(known) - 1)
        return Labelled(source, torch.where(known[place] == labels, place, -1))

    return LabelledSplits(
        train=split(data.train, "train"),
        validation=split(data.validation, "validation"),
        test=split(data.test, "test"),
        count=len(known),
    )


def _labels(source: Source, name: str) -> Tensor:
    if source.labels is None:
        raise UserError(
            f"The classifier needs the class of each sample. The {name} split has no labels; "
            "give them with the data, or use the features random-conv."
        )
    return source.labels.cpu().long()


def train(
    net: ClassifierNet,
    data: LabelledSplits,
    *,
    chosen: Tensor,
    steps: int,
    lr: float,
    rng: Rng,
) -> None:
    """Trains ``net`` with Adam and leaves it as it was after its best epoch on validation.

    Args:
        net: The network, on the device of ``rng``.
        data: The samples.
        chosen: Indices of the training samples.
        steps: How many batches to learn from.
        lr: Largest learning rate.
        rng: Its streams "classifier/..." decide the order of the samples.
    """
    optimizer = Adam(net.parameters(), lr, fused=True)
    best, kept = -1.0, net.state_dict()
    for step, (part, is_last) in enumerate(islice(_batches(chosen, Rng(rng.seed)), steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * _rate(step, steps)
        _step(net, optimizer, *data.train.take(part, rng.device))
        if is_last or step == steps - 1:
            right, of = count_right(net, data.validation, rng=rng)
            # Of equals the later one: it learned at the lower rate.
            if right / of >= best:
                best = right / of
                kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(kept)


def _batches(chosen: Tensor, rng: Rng) -> Iterator[tuple[Tensor, bool]]:
    """Yields batches of indices, epoch after epoch, and whether each is its epoch's last.

    Samples that do not fill a batch wait for another epoch.
    """
    epoch = 0
    while True:
        stream = rng.stream(f"classifier/epoch/{epoch}")
        order = chosen[torch.randperm(len(chosen), generator=stream)]
        whole = batches_in(len(chosen))
        for i, part in enumerate(torch.split(order, BATCH)[:whole]):
            yield part, i == whole - 1
        epoch += 1


def batches_in(n: int) -> int:
    """Returns how many full batches ``n`` samples make; one where they do not fill it."""
    return max(1, n // BATCH)


def _rate(step: int, steps: int) -> float:
    """Returns the learning rate as a part of its largest value: a rise, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def _step(net: ClassifierNet, optimizer: Adam, x: Tensor, y: Tensor) -> None:
    net.train()
    optimizer.zero_grad()
    with exactly():
        torch.autograd.backward(cross_entropy(net(x), y))
    optimizer.step()


@torch.no_grad()
def count_right(net: ClassifierNet, split: Labelled, *, rng: Rng) -> tuple[int, int]:
    """Returns how many samples of a split ``net`` puts into their class, and out of how many.

    At most 10,000 are looked at.
    """
    net.eval()
    index = some(len(split.source), _JUDGED, rng=Rng(rng.seed).stream("classifier/judged"))
    right = 0
    with exactly():
        for part in torch.split(index, block_of(net.space)):
            x, y = split.take(part, rng.device)
            right += int((net(x).argmax(1) == y).sum())
    return right, len(index)


def in_words(right: int, of: int) -> str:
    """Returns an accuracy with its 95 % interval.

    Source: Clopper and Pearson, 1934, https://doi.org/10.1093/biomet/26.4.404.

    Example:
        >>> in_words(98, 100)
        '98.0 % (95 % interval 93.0 to 99.8, Clopper and Pearson, 100 samples)'
    """
    found = proportion(right, of)
    low, high = (100 * (end or 0.0) for end in (found.low, found.high))
    return (
        f"{100 * right / of:.1f} % (95 % interval {low:.1f} to {high:.1f}, Clopper and Pearson, "
        f"{of} samples)"
    )
