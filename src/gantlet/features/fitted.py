"""Feature extractors without published weights: raw values, PCA, random and trained networks."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, cross_entropy, relu
from torch.optim import Adam
from typing_extensions import override

from gantlet.core.data import Source, Space, Splits, averaged, block_side
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng, StorageError, code_digest
from gantlet.core.spec import Between, Spec
from gantlet.data.splits import Subset
from gantlet.features.base import (
    FeatureCache,
    block_of,
    blocks,
    digest,
    digest_of,
    frozen,
    full_precision,
    scaling_of,
    subsample_indices,
)
from gantlet.features.sound import LogMel
from gantlet.models.nets import Scaling, leaky, mlp, seeded, sizes
from gantlet.stats.intervals import proportion
from gantlet.stats.moments import PrincipalAxes, exact, leading

# ----------------------------------------------------------------------------
# The network behind the classifier's features.
# ----------------------------------------------------------------------------

# Channels of the convolutions, or width of the hidden layers of an MLP.
_CHANNELS = (16, 32, 64, 64, 64)
_WIDTH = 128
# Convolutions end at maps of this height and width, though there are at least two.
_BOTTOM = 4


@final
class ClassifierNet(nn.Module):
    """Convolutions for images and spectrograms of sounds, an MLP for anything else.

    Then features, and a linear layer on top.

    Args:
        space: The space of the samples.
        scaling: What comes first: input scaling, or log-mel spectrograms of sounds.
        features: Number of features.
        classes: Number of classes.
    """

    def __init__(
        self, space: Space, scaling: Scaling | LogMel, *, features: int, classes: int
    ) -> None:
        super().__init__()
        self.space = space
        seen = scaling.view if isinstance(scaling, LogMel) else space
        layers, wide = _convolutions(seen) if seen.kind == "image" else _dense(seen)
        self.body = nn.Sequential(scaling, *layers, nn.Linear(wide, features), leaky())
        self.head = nn.Linear(features, classes)

    def last_maps(self) -> nn.Module | None:
        """Returns the part that ends at the last maps, or None where samples are no images."""
        if self.space.kind != "image":
            return None
        layers = list(self.body)
        ends = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
        return nn.Sequential(*layers[:ends])

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of the classes, shape ``(n, classes)``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def _convolutions(space: Space) -> tuple[list[nn.Module], int]:
    """Returns strided convolutions with batch normalisation, and how many numbers come out."""
    c, h, w = space.shape
    layers: list[nn.Module] = []
    for i, wide in enumerate(_CHANNELS):
        side = max(h, w)
        if i >= 2 and side <= _BOTTOM:
            break
        # The first layer keeps all pixels of tiny images.
        stride = 2 if side > (_BOTTOM if i else 2 * _BOTTOM) else 1
        kernel = 5 if i == 0 and stride == 2 else 3
        conv = nn.Conv2d(c, wide, kernel, stride, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(wide), nn.ReLU()]
        c, h, w = wide, -(-h // stride), -(-w // stride)
    return [*layers, nn.Flatten()], c * h * w


def _dense(space: Space) -> tuple[list[nn.Module], int]:
    layers = mlp(space.size, _WIDTH, _WIDTH)
    return [nn.Flatten(), layers, leaky()], _WIDTH


# ----------------------------------------------------------------------------
# Networks with random weights that are never trained.
# ----------------------------------------------------------------------------

# Frequencies of the Fourier features, in radians per standard deviation of the data.
_SCALES = (1.0, 2.0, 4.0, 8.0)


def orthogonal(rows: int, columns: int, *, rng: torch.Generator) -> Tensor:
    """Returns a random matrix, float32, whose rows or columns, the fewer, are orthonormal.

    Made in double precision, so that every machine rounds to the same weights.

    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120.
    """
    made = torch.empty(rows, columns, dtype=torch.float64)
    return nn.init.orthogonal_(made, generator=rng).float()


@final
class RandomConvolutions(nn.Module):
    """Random 3x3 convolutions at halving resolutions, each pooled to a mean over four quarters.

    Args:
        space: Images.
        features: Approximate number of features, split evenly over resolutions.
        rng: Its streams "conv/0", "conv/1", ... initialize the weights.
    """

    def __init__(self, space: Space, features: int, *, rng: Rng) -> None:
        super().__init__()
        steps = len(sizes(space))
        width = max(1, features // (4 * steps))
        widths = [space.shape[0], *[width] * steps]
        self.names = [f"weight{i}" for i in range(steps)]
        for i, (a, b) in enumerate(pairwise(widths)):
            weight = orthogonal(b, 9 * a, rng=rng.stream(f"conv/{i}"))
            self.register_buffer(self.names[i], weight.reshape(b, a, 3, 3))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features of scaled images, shape ``(n, d)``."""
        found: list[Tensor] = []
        for i, name in enumerate(self.names):
            x = avg_pool2d(x, 2, ceil_mode=True) if i else x
            x = relu(conv2d(x, self.get_buffer(name), padding=1)) * math.sqrt(2)
            found.append(adaptive_avg_pool2d(x, 2).flatten(1))
        return torch.cat(found, 1)


@final
class _MiddleMaps(nn.Module):
    """The maps of random convolutions at their middle resolution, before they are pooled."""

    def __init__(self, net: RandomConvolutions) -> None:
        super().__init__()
        self.net = net

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of scaled images, shape ``(n, width, h, w)``."""
        names = self.net.names[: len(self.net.names) // 2 + 1]
        for i, name in enumerate(names):
            x = avg_pool2d(x, 2, ceil_mode=True) if i else x
            x = relu(conv2d(x, self.net.get_buffer(name), padding=1)) * math.sqrt(2)
        return x


@final
class RandomFourier(nn.Module):
    """Cosines of random projections at four scales.

    Args:
        space: Samples of any kind, as vectors.
        features: Number of features, rounded down to a multiple of four.
        rng: Its streams "fourier" and "phase" initialize the weights.
    """

    weight: Tensor
    phase: Tensor

    def __init__(self, space: Space, features: int, *, rng: Rng) -> None:
        super().__init__()
        each, d = features // len(_SCALES), space.size
        stream = rng.stream("fourier")
        parts = [torch.randn(each, d, generator=stream) * s / math.sqrt(d) for s in _SCALES]
        phase = torch.rand(each * len(_SCALES), generator=rng.stream("phase"))
        self.register_buffer("weight", torch.cat(parts))
        self.register_buffer("phase", 2 * math.pi * phase)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features of scaled samples, shape ``(n, d)``."""
        return torch.cos(x.flatten(1) @ self.weight.T + self.phase)


# ----------------------------------------------------------------------------
# A fixed random network: features identical in every run, without training.
# ----------------------------------------------------------------------------

# Maximum number of training samples used for standardization.
_SAMPLES = 20_000

LEAST_DEVIATION = 0.1
"""Lower bound of a feature's deviation, as a share of the median one: without it, rare samples
that activate a nearly constant feature would dominate a distance."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RandomConv:
    """Features of a network with fixed random weights, standardised on the training split.

    Convolutions with orthogonal weights for images; random Fourier features at four scales for
    other samples. The weights depend on ``seed`` only, not on the seed of a run.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797, who use a random network where
        no pretrained one fits the data; orthogonal weights after
        Saxe et al., 2014, https://arxiv.org/abs/1312.6120; Fourier features after Rahimi and
        Recht, 2007, https://papers.nips.cc/paper/3182.
    Differs from the paper: a small network that suits 8x8 to 64x64 pixels, instead of VGG-16.

    Attributes:
        features: Approximate number of features.
        seed: Random seed of the weights.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(8)] = 256
    seed: Annotated[int, Between(0)] = 0

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the network; only the scale of its features comes from the training split."""
        own = Rng(self.seed)
        scaling = scaling_of(space, data.train, rng=own.stream("scaling"))
        kind = RandomConvolutions if space.kind == "image" else RandomFourier
        inner = kind(space, self.features, rng=own)
        net = nn.Sequential(scaling, inner).to(rng.device)
        index = subsample_indices(len(data.train), _SAMPLES, rng=own.stream("samples"))
        with torch.no_grad(), full_precision():
            parts = [net(x) for x in blocks(data.train, index, space, device=rng.device)]
        scale = _RobustScaling(torch.cat(parts).double())
        d = len(scale.mean)
        what = "convolutional network" if space.kind == "image" else "Fourier map"
        return frozen(
            nn.Sequential(net, scale),
            space,
            spec=Spec.of("random-conv", self),
            note=f"{d} features of a fixed random {what}, standardized on {len(index)} training "
            "samples; not trained",
            maps=nn.Sequential(scaling, _MiddleMaps(inner))
            if isinstance(inner, RandomConvolutions)
            else None,
        )


@final
class _RobustScaling(nn.Module):
    """Standardizes features, shape ``(n, d)``.

    Deviations are at least a tenth of the median deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, y: Tensor) -> None:
        super().__init__()
        std = y.std(0, correction=0)
        middle = std.median()
        std = std.clamp_min(LEAST_DEVIATION * middle) if middle > 0 else torch.ones_like(std)
        self.register_buffer("mean", y.mean(0).float())
        self.register_buffer("std", std.float())

    @override
    def forward(self, y: Tensor) -> Tensor:
        """Returns standardised features, shape ``(n, d)``."""
        return (y - self.mean) / self.std


# ----------------------------------------------------------------------------
# Standardized columns of a table.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The standardized components of a vector.

    Mean and deviation are those of at most 20,000 training samples, so that distances do not
    depend on units. A constant column keeps its unit. Images have one mean and deviation for all
    components, and levels are scaled to [-1, 1).

    Source: none needed; z-scores.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor."""
        scaling = scaling_of(space, data.train, rng=Rng(rng.seed).stream("columns"))
        return frozen(
            _Scaling(scaling).to(rng.device),
            space,
            spec=Spec.of("columns", self),
            note=f"{space.size} values per sample ({space.label}), standardized",
        )


@final
class _Scaling(nn.Module):
    """Scales in double precision, as units may be far from 1."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling.double()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns z-scores, shape ``(n, d)``."""
        scaled: Tensor = self.scaling(x.double())
        return scaled.flatten(1)


# ----------------------------------------------------------------------------
# Training of a classifier: labels, loop and accuracy.
# ----------------------------------------------------------------------------

BATCH = 64
"""Batch size."""

# Steps of learning rate warm-up.
_WARM_UP = 50
# Maximum number of samples of an accuracy.
_JUDGED = 10_000


@final
@dataclass(frozen=True, slots=True)
class LabelledSplit:
    """Samples with their class index among the classes of the training split.

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
        train: Training samples.
        validation: Samples for the selection of the epoch.
        test: Samples for the reported accuracy.
        count: Number of classes of the training split.
    """

    train: LabelledSplit
    validation: LabelledSplit
    test: LabelledSplit
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

    def split(source: Source, name: str) -> LabelledSplit:
        labels = _labels(source, name)
        place = torch.searchsorted(known, labels).clamp(max=len(known) - 1)
        return LabelledSplit(source, torch.where(known[place] == labels, place, -1))

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
    """Trains ``net`` with Adam and restores the epoch with the best validation accuracy.

    Args:
        net: The network, on the device of ``rng``.
        data: The samples.
        chosen: Indices of the training samples.
        steps: Number of training steps.
        lr: Peak learning rate.
        rng: Its streams "classifier/..." determine the order of the samples.
    """
    optimizer = Adam(net.parameters(), lr, fused=True)
    best, kept = -1.0, net.state_dict()
    for step, (part, is_last) in enumerate(islice(_batches(chosen, Rng(rng.seed)), steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * _rate(step, steps)
        _step(net, optimizer, *data.train.take(part, rng.device))
        if is_last or step == steps - 1:
            right, of = count_correct(net, data.validation, rng=rng)
            # Ties go to the later epoch, trained at the lower rate.
            if right / of >= best:
                best = right / of
                kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(kept)


def _batches(chosen: Tensor, rng: Rng) -> Iterator[tuple[Tensor, bool]]:
    """Yields batches of indices, epoch after epoch, and whether each is its epoch's last.

    Incomplete batches are dropped.
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
    """Returns the number of full batches of ``n`` samples, at least 1."""
    return max(1, n // BATCH)


def _rate(step: int, steps: int) -> float:
    """Returns the relative learning rate: linear warm-up, then cosine decay."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def _step(net: ClassifierNet, optimizer: Adam, x: Tensor, y: Tensor) -> None:
    net.train()
    optimizer.zero_grad()
    with full_precision():
        torch.autograd.backward(cross_entropy(net(x), y))
    optimizer.step()


@torch.no_grad()
def count_correct(net: ClassifierNet, split: LabelledSplit, *, rng: Rng) -> tuple[int, int]:
    """Returns the number of correctly classified samples of a split, and their total.

    At most 10,000 are used.
    """
    net.eval()
    index = subsample_indices(
        len(split.source), _JUDGED, rng=Rng(rng.seed).stream("classifier/judged")
    )
    right = 0
    with full_precision():
        for part in torch.split(index, block_of(net.space)):
            x, y = split.take(part, rng.device)
            right += int((net(x).argmax(1) == y).sum())
    return right, len(index)


def accuracy_text(right: int, of: int) -> str:
    """Returns an accuracy with its 95 % interval.

    Source: Clopper and Pearson, 1934, https://doi.org/10.1093/biomet/26.4.404.

    Example:
        >>> accuracy_text(98, 100)
        '98.0 % (95 % interval 93.0 to 99.8, Clopper and Pearson, 100 samples)'
    """
    found = proportion(right, of)
    low, high = (100 * (end or 0.0) for end in (found.low, found.high))
    return (
        f"{100 * right / of:.1f} % (95 % interval {low:.1f} to {high:.1f}, Clopper and Pearson, "
        f"{of} samples)"
    )


# ----------------------------------------------------------------------------
# A small classifier of the data's labels; its penultimate layer gives the features.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The penultimate layer of a classifier that is trained on the labels of the data.

    Convolutions with batch normalisation for images and for log-mel spectrograms of sounds (32
    bands), an MLP for anything else; Adam on the cross-entropy; the epoch with the highest
    validation accuracy is kept. The test split is used for its reported accuracy only.

    Source: Heusel et al., 2017, https://arxiv.org/abs/1706.08500, whose features are those of a
        classifier too; batch normalisation after Ioffe and Szegedy, 2015,
        https://arxiv.org/abs/1502.03167.
    Differs from the paper: a small network trained on the data at hand, not Inception; the Frechet
        distance of its features is not FID.

    Attributes:
        features: Width of the penultimate layer.
        samples: Maximum number of training samples.
        epochs: Maximum number of epochs.
        steps: Maximum number of steps, with batches of 64.
        lr: Peak learning rate; linear warm-up of 50 steps, then cosine decay to zero.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(1)] = 64
    samples: Annotated[int, Between(2)] = 20_000
    epochs: Annotated[int, Between(1)] = 20
    steps: Annotated[int, Between(1)] = 2_000
    lr: Annotated[float, Between(0)] = 4e-3

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Trains the classifier and returns its features.

        Raises:
            UserError: If a split has no labels, or the training split has fewer than two classes.
        """
        known = labelled(data)
        own = Rng(rng.seed)
        chosen = subsample_indices(
            len(data.train), self.samples, rng=own.stream("classifier/samples")
        )
        net = self._net(space, data, known.count, own)
        net.to(rng.device)
        steps = min(self.steps, self.epochs * batches_in(len(chosen)))

        def trained() -> tuple[int, int]:
            train(net, known, chosen=chosen, steps=steps, lr=self.lr, rng=rng)
            return count_correct(net, known.test, rng=rng)

        seen = _seen_of(known, chosen, net.space, rng)
        rated = accuracy_text(*_once(net, f"{steps} {self.lr} {rng.seed} {seen}", trained))
        return frozen(
            net.body,
            space,
            spec=Spec.of("classifier", self),
            note=f"the {self.features} penultimate activations of a classifier of {known.count} "
            f"classes, trained on {len(chosen)} labelled samples; test accuracy {rated}",
            head=net.head,
            maps=net.last_maps(),
        )

    def _net(self, space: Space, data: Splits, classes: int, rng: Rng) -> ClassifierNet:
        """Returns the untrained network."""
        scaling = _front(space, data.train, rng.stream("classifier/scaling"))
        with seeded(rng.stream("classifier/init")):
            return ClassifierNet(space, scaling, features=self.features, classes=classes)


def _seen_of(data: LabelledSplits, chosen: Tensor, space: Space, rng: Rng) -> str:
    """Returns a short name of all samples that training and its accuracies see, with classes."""
    judged = Rng(rng.seed)
    found: list[str] = []
    for split, index in (
        (data.train, chosen),
        *(
            (s, subsample_indices(len(s.source), _JUDGED, rng=judged.stream("classifier/judged")))
            for s in (data.validation, data.test)
        ),
    ):
        codes = digest({"classes": split.classes[index], "places": index})
        found += [digest_of(Subset(split.source, index), block_of(space)), codes]
    return " ".join(found)


def _once(
    net: ClassifierNet, asked: str, trained: Callable[[], tuple[int, int]]
) -> tuple[int, int]:
    """Returns what ``trained`` does, which trains the network; from the cache if it did before.

    Kept are the network and its accuracy, under all that decides them to the last bit: the samples
    and settings (``asked``), the untrained network, threads, device and code.
    """
    state = net.state_dict()
    device = next(net.parameters()).device
    key = f"classifier/{asked}/{digest(state)}/{torch.get_num_threads()}/{device}/{code_digest()}"
    made: list[Tensor] = []

    def parts() -> Iterator[Tensor]:
        right, of = trained()
        numbers = [
            torch.tensor([right, of]),
            *(t.flatten().cpu() for t in net.state_dict().values()),
        ]
        made.append(torch.cat([z.float() for z in numbers])[:, None])
        yield made[0]

    size = 2 + sum(t.numel() for t in state.values())
    try:
        kept = FeatureCache.usual().rows(key, size, parts)
    except StorageError:
        # Where nothing can be kept, it is trained each time.
        kept = made[0] if made else next(parts())
    numbers = torch.split(kept[2:, 0], [t.numel() for t in state.values()])
    for own, found in zip(state.values(), numbers, strict=True):
        own.copy_(found.view_as(own))
    right, of = kept[:2, 0].tolist()
    return int(right), int(of)


def _front(space: Space, train: Source, rng: torch.Generator) -> Scaling | LogMel:
    """Returns what makes numbers of about unit size of samples, spectrograms of sounds."""
    if space.kind != "audio":
        return scaling_of(space, train, rng=rng)
    front = LogMel(space)
    front.fit(train.take(subsample_indices(len(train), _HEARD, rng=rng)))
    return front


# Clips that set the scale of spectrograms.
_HEARD = 1_000


# ----------------------------------------------------------------------------
# Raw samples: every component is a feature.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """The raw components of a sample, levels scaled to [0, 1]; not learned.

    The name is that of images; for vectors these are the raw numbers (alias ``raw``). Of images
    with a side above 64 pixels, square blocks are averaged until both sides are at most 64, so
    that distances stay affordable; ``full-pixels`` never averages.

    Source: none needed; the baseline of learned features.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit."""
        del data, rng
        if space.kind != "image" or max(space.shape[1:]) <= _PIXELS_SIDE:
            return _raw(space, "pixels")

        def extract(x: Tensor) -> Tensor:
            return averaged(space.unit(x).float(), _PIXELS_SIDE).flatten(1)

        side = block_side(space.shape[1:], _PIXELS_SIDE)
        size = extract(torch.zeros(1, *space.shape)).shape[1]
        return Features(
            extract=extract,
            note=f"{size} averages of {side}x{side} pixels per sample ({space.label})",
            fingerprint=f"pixels/{space.label}/averages of {side}x{side}",
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FullPixels:
    """The raw components of a sample, levels scaled to [0, 1], of images of any size.

    Memory and time grow with the number of pixels; ``pixels`` averages those of large images.

    Source: none needed; the baseline of learned features.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit."""
        del data, rng
        return _raw(space, "full-pixels")


# The largest side of images whose pixels are features one by one: 12,288 numbers in colour.
_PIXELS_SIDE = 64


def _raw(space: Space, name: str) -> Features:
    def extract(x: Tensor) -> Tensor:
        return space.unit(x).flatten(1).float()

    return Features(
        extract=extract,
        note=f"{space.size} raw values per sample ({space.label})",
        fingerprint=f"{name}/{space.label}",
    )


# ----------------------------------------------------------------------------
# Principal components: the directions in which the training samples vary most.
# ----------------------------------------------------------------------------

# Maximum number of values of training samples used: 64 MB as bytes.
_NUMBERS = 2**26
# Components of a sample up to which the whole covariance matrix is decomposed.
_EXACT = 1024


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pca:
    """The leading principal components of the training split, in double precision.

    Levels are scaled to [-1, 1); the columns of a continuous vector are standardized. If some
    components are constant over the training samples, the distance from these constants is an
    additional feature, since principal components cannot show a deviation from them.

    Source: Hotelling, 1933, https://doi.org/10.1037/h0071325.

    Attributes:
        components: Maximum number of components.
        variance: Explained variance ratio at which no more components are taken.
        whiten: Whether every component is divided by its standard deviation.
    """

    learns: ClassVar[bool] = True

    components: Annotated[int, Between(1)] = 64
    variance: Annotated[float, Between(0, 1)] = 0.99
    whiten: bool = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the projection.

        At most 67 million values are used, such as 85,598 images of 28x28 pixels. For samples
        with more than 1,024 components, the leading directions are computed by iteration.

        Raises:
            UserError: If the training samples do not differ.
        """
        stream = Rng(rng.seed).stream("pca")
        scaling = scaling_of(space, data.train, rng=stream).to(rng.device, torch.float64)
        index = subsample_indices(len(data.train), max(1, _NUMBERS // space.size), rng=stream)

        def rows() -> Iterable[Tensor]:
            for x in blocks(data.train, index, space, device=rng.device):
                yield scaling(x.double()).flatten(1)

        found = self._spectrum(rows, space, stream)
        # The variance of identical samples is rounding error.
        if found.total <= 1e-14 * (1 + float((found.mean**2).sum())):
            raise UserError(
                f"pca needs training samples that differ. Got {len(index)} identical ones."
            )
        k = self._count(found)
        fixed = _fixed(found, space)
        net = _Projection(scaling, found, k, fixed, whiten=self.whiten)
        share = float(found.values[:k].sum()) / found.total
        return frozen(
            net,
            space,
            spec=Spec.of("pca", self),
            note=f"the first {k} principal components of {len(index)} training samples, with "
            f"{100 * share:.1f} % of their variance"
            + (f", and the distance from {int(fixed.sum())} constants" if fixed.any() else ""),
        )

    def _spectrum(
        self, rows: Callable[[], Iterable[Tensor]], space: Space, rng: torch.Generator
    ) -> PrincipalAxes:
        if space.size <= _EXACT:
            return exact(rows())
        return leading(rows, min(self.components, space.size), rng=rng)

    def _count(self, found: PrincipalAxes) -> int:
        """Returns the number of components that explain the variance, up to rounding."""
        reached = found.values.cumsum(0) / found.total
        needed = int((reached < self.variance - 1e-9).sum()) + 1
        rank = int((found.values > 1e-12 * found.total).sum())
        return min(needed, self.components, rank)


def _fixed(found: PrincipalAxes, space: Space) -> Tensor:
    """Returns a mask of constant components of rows, shape ``(d,)``; none for other samples."""
    # A component that varies was scaled to a variance of about 1.
    is_scaled = space.kind in {"vector", "table"} and space.levels is None
    if not is_scaled or space.size > _EXACT:
        return torch.zeros_like(found.mean, dtype=torch.bool)
    variance = (found.vectors.square() * found.values.clamp_min(0)).sum(1)
    return variance < 1e-6


@final
class _Projection(nn.Module):
    """Scales, centres and projects."""

    mean: Tensor
    basis: Tensor
    fixed: Tensor

    def __init__(
        self, scaling: Scaling, found: PrincipalAxes, k: int, fixed: Tensor, *, whiten: bool
    ) -> None:
        super().__init__()
        self.scaling = scaling
        basis = found.vectors[:, :k]
        self.register_buffer("mean", found.mean)
        self.register_buffer("basis", basis / found.values[:k].sqrt() if whiten else basis)
        self.register_buffer("fixed", fixed)
        self._has_fixed = bool(fixed.any())

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the components, shape ``(n, k)``, or ``(n, k + 1)`` with the distance."""
        scaled: Tensor = self.scaling(x.double())
        apart = scaled.flatten(1) - self.mean
        found = apart @ self.basis
        if not self._has_fixed:
            return found
        return torch.cat([found, apart[:, self.fixed].norm(dim=1, keepdim=True)], 1)
