"""Learning to classify: the labels, the loop and the verdict."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from gantlet.core.dataset import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.features.classifier_net import ClassifierNet
from gantlet.features.frozen import block_of, exactly, some

_BATCH = 64
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
class Lesson:
    """What a classifier learns from and is judged by.

    Attributes:
        train: What it learns from.
        validation: What chooses its best epoch.
        test: What rates it.
        classes: How many classes there are.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    classes: int


def lesson(data: Splits) -> Lesson:
    """Returns splits with their classes.

    Raises:
        UserError: If a split has no labels, or the training split has fewer than two classes.
    """
    labels = {name: _labels(data, name) for name in ("train", "validation", "test")}
    known = labels["train"].unique()
    if len(known) < 2:
        raise UserError(
            "The classifier needs at least two classes. The training samples have "
            f"{len(known)}; use the features random-conv."
        )

    def split(name: Literal["train", "validation", "test"]) -> Labelled:
        place = torch.searchsorted(known, labels[name]).clamp(max=len(known) - 1)
        classes = torch.where(known[place] == labels[name], place, -1)
        return Labelled(getattr(data, name), classes)

    return Lesson(
        train=split("train"),
        validation=split("validation"),
        test=split("test"),
        classes=len(known),
    )


def _labels(data: Splits, name: str) -> Tensor:
    source: Source = getattr(data, name)
    if source.labels is None:
        raise UserError(
            f"The classifier needs the class of each sample. The {name} samples have no labels; "
            "give them with the data or use the features random-conv."
        )
    return source.labels.cpu().long()


def learn(
    net: ClassifierNet,
    lesson: Lesson,
    space: Space,
    *,
    samples: int,
    epochs: int,
    steps: int,
    lr: float,
    rng: Rng,
) -> int:
    """Trains ``net`` and leaves it as it was after its best epoch on validation.

    Returns how many samples it learned from.
    """
    own = Rng(rng.seed)
    n = len(lesson.train.source)
    chosen = some(n, samples, rng=own.stream("classifier/samples"))
    steps = min(steps, epochs * max(1, len(chosen) // _BATCH))
    optimizer = Adam(net.parameters(), lr, fused=True)
    best, kept = -1.0, net.state_dict()
    for step, (part, is_last) in enumerate(islice(_batches(chosen, own), steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * _rate(step, steps)
        _step(net, optimizer, *lesson.train.take(part, rng.device))
        if is_last or step == steps - 1:
            right, of = count_right(net, lesson.validation, space, rng=rng)
            if right / of >= best:
                best = right / of
                kept = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(kept)
    return len(chosen)


def _batches(chosen: Tensor, rng: Rng) -> Iterator[tuple[Tensor, bool]]:
    """Yields batches of indices, epoch after epoch, and whether each is its epoch's last.

    Samples that do not fill a batch wait for another epoch.
    """
    epoch = 0
    while True:
        stream = rng.stream(f"classifier/epoch/{epoch}")
        order = chosen[torch.randperm(len(chosen), generator=stream)]
        whole = max(1, len(order) // _BATCH)
        for i, part in enumerate(order.split(_BATCH)[:whole]):
            yield part, i == whole - 1
        epoch += 1


def _rate(step: int, steps: int) -> float:
    """Returns the learning rate as a part of its largest value: a rise, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def _step(net: ClassifierNet, optimizer: Adam, x: Tensor, y: Tensor) -> None:
    net.train()
    optimizer.zero_grad()
    with exactly():
        cross_entropy(net(x), y).backward()
    optimizer.step()


@torch.no_grad()
def count_right(
    net: ClassifierNet, split: Labelled, space: Space, *, rng: Rng
) -> tuple[int, int]:
    """Returns how many samples of a split ``net`` puts into their class, and out of how many.

    At most 10,000 are looked at.
    """
    net.eval()
    index = some(len(split.source), _JUDGED, rng=Rng(rng.seed).stream("classifier/judged"))
    right = 0
    with exactly():
        for part in index.split(block_of(space)):
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
    from scipy.special import betaincinv

    low = 100 * float(betaincinv(right, of - right + 1, 0.025)) if right else 0.0
    high = 100 * float(betaincinv(right + 1, of - right, 0.975)) if right < of else 100.0
    return (
        f"{100 * right / of:.1f} % (95 % interval {low:.1f} to {high:.1f}, Clopper and Pearson, "
        f"{of} samples)"
    )
