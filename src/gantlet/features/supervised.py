"""Training of a small classifier: the labels, the network, the loop and the verdict."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from gantlet.core.dataset import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.features.frozen import block_of, some
from gantlet.nets.mlp import mlp
from gantlet.nets.scaling import Scaling
from gantlet.nets.seeding import seeded

_BATCH = 64


@final
@dataclass(frozen=True, slots=True)
class Labelled:
    """Splits whose samples all have a class.

    Attributes:
        splits: The samples.
        classes: The labels that the training split holds, sorted, shape ``(k,)``.
    """

    splits: Splits
    classes: Tensor

    def of(self, name: Literal["train", "validation", "test"]) -> tuple[Source, Tensor]:
        """Returns a split and the number of each sample's class; -1 where training has none."""
        source: Source = getattr(self.splits, name)
        labels = _labels(source, name)
        place = torch.searchsorted(self.classes, labels).clamp(max=len(self.classes) - 1)
        return source, torch.where(self.classes[place] == labels, place, -1)


def labelled(data: Splits) -> Labelled:
    """Returns splits with their classes.

    Raises:
        UserError: If a split has no labels, or the training split has fewer than two classes.
    """
    for name in ("validation", "test"):
        _labels(getattr(data, name), name)
    classes = _labels(data.train, "train").unique()
    if len(classes) < 2:
        raise UserError(
            f"The classifier needs at least two classes. The training samples have {len(classes)}; "
            "use --features random-conv."
        )
    return Labelled(data, classes)


def _labels(source: Source, name: str) -> Tensor:
    labels = source.labels
    if labels is None:
        raise UserError(
            f"The classifier needs the class of each sample. The {name} split has no labels: give "
            "them with the data (gantlet show DATA says how) or use --features random-conv."
        )
    return labels.cpu()


@final
class Network(nn.Module):
    """Strided convolutions for images, an MLP for anything else, and a linear layer on top.

    Args:
        space: The space of the samples.
        scaling: What they pass first.
        features: Width of the layer before the last.
        classes: How many classes.
        rng: Its stream "classifier/init" decides the initial weights.
    """

    def __init__(
        self, space: Space, scaling: Scaling, features: int, classes: int, *, rng: Rng
    ) -> None:
        super().__init__()
        with seeded(Rng(rng.seed).stream("classifier/init")):
            layers = _convolutions(space) if space.kind == "image" else _dense(space)
            self.body = nn.Sequential(scaling, *layers, nn.LazyLinear(features), nn.ReLU())
            self.head = nn.Linear(features, classes)
            self(torch.zeros(1, *space.shape))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of each class, shape ``(n, classes)``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def _convolutions(space: Space) -> list[nn.Module]:
    c, *sides = space.shape
    side = max(sides)
    widths = [c, 16, 32, 64, 64, 64]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        stride = 2 if side > 4 and (i or side > 8) else 1
        layers += [nn.Conv2d(a, b, 3, stride=stride, padding=1), nn.ReLU()]
        side = (side + stride - 1) // stride
        if side <= 4 and i:
            break
    return [*layers, nn.Flatten()]


def _dense(space: Space) -> list[nn.Module]:
    return [nn.Flatten(), mlp(space.size, 128, 128, activation=nn.ReLU), nn.ReLU()]


def train(
    net: Network, known: Labelled, *, samples: int, epochs: int, lr: float, rng: Rng
) -> None:
    """Trains ``net`` with Adam and leaves it as it was after its best epoch on validation."""
    source, labels = known.of("train")
    own = Rng(rng.seed)
    chosen = some(len(source), samples, rng=own.stream("classifier/samples"))
    optimizer = torch.optim.Adam(net.parameters(), lr)
    steps = epochs * -(-len(chosen) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, max(steps, 2))
    best, kept = -1.0, net.state_dict()
    for epoch in range(epochs):
        order = chosen[torch.randperm(len(chosen), generator=own.stream(f"classifier/{epoch}"))]
        for part in order.split(_BATCH):
            x, y = source.take(part).to(rng.device), labels[part].to(rng.device)
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
            schedule.step()
        reached = right(net, known, "validation", rng.device) / len(known.splits.validation)
        if reached >= best:
            best, kept = reached, {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(kept)


@torch.no_grad()
def right(
    net: Network, known: Labelled, name: Literal["validation", "test"], device: torch.device
) -> int:
    """Returns how many samples of a split ``net`` puts into their class."""
    source, labels = known.of(name)
    found = 0
    for part in torch.arange(len(source)).split(block_of_source(net)):
        guess = net(source.take(part).to(device)).argmax(1).cpu()
        found += int((guess == labels[part]).sum())
    return found


def block_of_source(net: Network) -> int:
    """Returns the block of samples for ``net``."""
    scaling = net.body[0]
    assert isinstance(scaling, Scaling)
    return block_of(scaling.space)


def accuracy(
    net: Network, known: Labelled, name: Literal["validation", "test"], device: torch.device
) -> str:
    """Returns the accuracy of ``net`` on a split with its interval, in words.

    Source: Clopper and Pearson, 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    from scipy.special import betaincinv

    n, k = len(known.splits.test), right(net, known, name, device)
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return (
        f"{name} accuracy {100 * k / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}] on {n} samples "
        "(95 % interval of Clopper and Pearson)"
    )
