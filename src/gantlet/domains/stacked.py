"""Stacked digits: a thousand modes from images of ten classes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal, final

import torch
from torch import Tensor

from gantlet.core.data import Dataset, Source, Space, Splits, notes_of
from gantlet.core.metric import Extract, Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import cpu_stream
from gantlet.domains.published import Digits, Mnist
from gantlet.features.fitted import Classifier

_CLASSES = 10
_CHANNELS = 3
_BLOCK = 1024
_PLACES: Final = torch.tensor([100, 10, 1])


@final
class Stacked:
    """Grey images side by side as the three channels of one; composed as they are taken.

    Args:
        source: The grey images, with their classes.
        index: Which image is in which channel, shape ``(n, 3)``.
        labels: The three digits as one number, shape ``(n,)``.
    """

    def __init__(self, source: Source, index: Tensor, labels: Tensor) -> None:
        self._source = source
        self._index = index
        self._labels = labels

    @property
    def labels(self) -> Tensor:
        """The three digits as one number, 0 to 999, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._index)

    def take(self, index: Tensor) -> Tensor:
        """Returns the images at ``index`` as float32."""
        chosen = self._index[index]
        return torch.cat([self._source.take(chosen[:, c]) for c in range(_CHANNELS)], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class StackedDigits:
    """Three digits as the red, green and blue channel of one image: 1,000 modes.

    The label is the number that the digits spell, red first. Each digit is equally likely, and
    then each image of that digit; the images of a split come from the same split of the base.

    The usual protocol: 26,000 samples of the model, of which a classifier reads each channel; the
    number of modes found, and the divergence of their frequencies from uniform. A perfect sampler
    finds all 1,000 and has a divergence of 0.0193 nats.

    Source: Metz et al., 2017, https://arxiv.org/abs/1611.02163, with the numbers of samples of
    Lin et al., 2018, https://arxiv.org/abs/1712.04086.
    Differs from them: digits are exactly equally likely, where those of MNIST are nearly so.

    Attributes:
        base: MNIST, which must be on disk, or the 8x8 digits of scikit-learn.
        path: Folder of the files of MNIST, or none to look below ``GANTLET_DATA``.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    base: Literal["mnist", "digits"] = "mnist"
    path: str | None = None
    n: Annotated[int, Between(1)] = 128_000
    held_out: Annotated[int, Between(1)] = 26_000

    @property
    def grey(self) -> Dataset:
        """The base, whose images are the channels."""
        return Mnist(path=self.path) if self.base == "mnist" else Digits()

    @property
    def space(self) -> Space:
        """Three channels with the levels of the base."""
        grey = self.grey.space
        return Space("image", (_CHANNELS, *grey.shape[1:]), grey.levels)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws.

        Raises:
            UserError: If the files of the base are missing or damaged.
        """
        grey = self.grey.load(rng=rng)

        def split(name: str, source: Source, n: int) -> Stacked:
            return _stacked(source, n, cpu_stream(rng, f"split/{name}"))

        return Splits(
            train=split("train", grey.train, self.n),
            validation=split("validation", grey.validation, self.held_out),
            test=split("test", grey.test, self.held_out),
            note=f"{self.n} train, {self.held_out} validation and {self.held_out} test triples, "
            f"drawn by seed {rng.seed} from the same split of {self.base}.",
            notes=notes_of(grey.train, grey.test),
        )

    @property
    def weights(self) -> Tensor:
        """Probability of each of the 1,000 modes, all equal, float64."""
        modes = _CLASSES**_CHANNELS
        return torch.full((modes,), 1 / modes, dtype=torch.float64)

    @property
    def ceiling(self) -> float:
        """One: every image counts for the mode that the classifier reads."""
        return 1.0

    @property
    def classifier_note(self) -> str:
        """What reads the digits, and how often it is right on test images."""
        return _reader(self).note

    def modes_of(self, x: Tensor) -> Tensor:
        """Reads the three digits of each image, shape ``(n, 3, h, w)``, as one number, ``(n,)``.

        By a classifier that is trained on the base on first use.

        Raises:
            UserError: If the files of the base are missing or damaged.
        """
        classify = _classify(_reader(self))
        parts = [
            torch.stack([classify(part[:, c : c + 1]).argmax(1) for c in range(_CHANNELS)], 1)
            for part in torch.split(x.float().cpu(), _BLOCK)
        ]
        return (torch.cat(parts) * _PLACES).sum(1)

    def on_support(self, x: Tensor) -> Tensor:
        """Returns true for each image, shape ``(n,)``: the protocol has no test of quality."""
        return torch.ones(len(x), dtype=torch.bool)


def _stacked(source: Source, n: int, rng: torch.Generator) -> Stacked:
    """Returns triples whose digits are equally likely."""
    labels = source.labels
    assert labels is not None, "the bases have labels"
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=_CLASSES)
    start = counts.cumsum(0) - counts
    digits = torch.randint(_CLASSES, (n, _CHANNELS), generator=rng)
    within = torch.rand(n, _CHANNELS, generator=rng, dtype=torch.float64) * counts[digits]
    index = order[start[digits] + within.long()]
    return Stacked(source, index, (digits * _PLACES).sum(1))


@lru_cache(maxsize=4)
def _reader(data: StackedDigits) -> Features:
    rng = Rng(0)
    return Classifier().fit(data.grey.space, data.grey.load(rng=rng), rng=rng)


def _classify(reader: Features) -> Extract:
    assert reader.classify is not None, "a classifier has classes"
    return reader.classify
