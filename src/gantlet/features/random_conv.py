"""A fixed random network: features that are the same in every run, and need no training."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec
from gantlet.features.frozen import blocks, exactly, frozen, scaling_of, some
from gantlet.features.random_nets import RandomConvolutions, RandomFourier

# Most training samples that the scale of the features is taken from.
_SAMPLES = 20_000

LEAST_DEVIATION = 0.1
"""No feature counts as varying less than this share of what the middle one does: one that hardly
ever stirs would turn the few samples that stir it into all that a distance sees."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RandomConv:
    """Features of a network with fixed random weights, standardised on the training split.

    Convolutions with orthogonal weights for images; random Fourier features at four scales for
    anything else. The weights follow from ``seed``, never from the seed of a run.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797, who use a random network where
        no pretrained one fits the data; orthogonal weights after
        Saxe et al., 2014, https://arxiv.org/abs/1312.6120; Fourier features after Rahimi and
        Recht, 2007, https://papers.nips.cc/paper/3182.
    Differs from the paper: a small network that suits 8x8 to 64x64 pixels, instead of VGG-16.

    Attributes:
        features: About how many features.
        seed: Which random network.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(8)] = 256
    seed: Annotated[int, Between(0)] = 0

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the network; only the scale of its features comes from the training split."""
        own = Rng(self.seed)
        scaling = scaling_of(space, data.train, rng=own.stream("scaling"))
        kind = RandomConvolutions if space.kind == "image" else RandomFourier
        net = nn.Sequential(scaling, kind(space, self.features, rng=own)).to(rng.device)
        index = some(len(data.train), _SAMPLES, rng=own.stream("samples"))
        with torch.no_grad(), exactly():
            parts = [net(x) for x in blocks(data.train, index, space, device=rng.device)]
        scale = _Standardised(torch.cat(parts).double())
        d = len(scale.mean)
        what = "convolutional network" if space.kind == "image" else "Fourier map"
        return frozen(
            nn.Sequential(net, scale),
            space,
            spec=Spec.of("random-conv", self),
            note=f"{d} features of a fixed random {what}, standardised on {len(index)} training "
            "samples; nothing else is learned",
        )


@final
class _Standardised(nn.Module):
    """Subtracts the mean and divides by the standard deviation of features, shape ``(n, d)``.

    By a tenth of the median deviation where that is more.
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
