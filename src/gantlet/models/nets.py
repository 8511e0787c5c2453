"""Networks that several families share."""

import abc
import copy
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, Self, final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle, pixel_unshuffle
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import BATCH, Knob, Tunable

_SCALES = (0.9, 0.8, 0.7, 0.5, 0.3)


class LatentScaled(Tunable):
    """A model whose latent vectors can be scaled towards zero, their mean, when sampling.

    Below 1 samples come from more probable latent vectors: often better ones, and less varied.

    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, section 6, for flows.
    Differs from the truncation of GANs (Brock et al., 2019, https://arxiv.org/abs/1809.11096),
    which draws components beyond a threshold again.

    Attributes:
        latent_scale: What latent vectors are multiplied by.
    """

    latent_scale: float = 1.0

    @property
    @override
    def knob(self) -> Knob:
        """The scale of latent vectors."""
        return Knob("latent scale", _SCALES, 1.0)

    @override
    def tuned(self, value: float) -> Self:
        """Returns the model with scaled latent vectors.

        Raises:
            UserError: If the scale is not above 0.
        """
        if not value > 0:
            raise UserError(f"The latent scale must be above 0. Got {value:g}.")
        found = copy.copy(self)
        found.latent_scale = value
        return found


class TemperatureScaled(Tunable):
    """A model whose logits are divided by a temperature when sampling.

    Below 1 likely samples become likelier: often better ones, and less varied.

    Attributes:
        temperature: What logits are divided by.
        temperatures: Values to try, from most variety to best quality.
    """

    temperature: float = 1.0
    temperatures: tuple[float, ...]

    @property
    @override
    def knob(self) -> Knob:
        """The temperature."""
        return Knob("temperature", self.temperatures, 1.0)

    @override
    def tuned(self, value: float) -> Self:
        """Returns the model at another temperature.

        Raises:
            UserError: If it is not above 0.
        """
        if not value > 0:
            raise UserError(f"temperature must be above 0. Got {value:g}.")
        found = copy.copy(self)
        found.temperature = value
        return found


@contextmanager
def seeded(rng: torch.Generator) -> Generator[None]:
    """Makes everything inside that draws from torch's global state draw from ``rng`` instead.

    Only the seed of ``rng`` counts, not its state. Modules are made on the CPU, so that the same
    seed gives the same weights on every device; move them afterwards.

    Example:
        >>> def weight(seed: int) -> float:
        ...     with seeded(torch.Generator().manual_seed(seed)):
        ...         return torch.nn.Linear(1, 1).weight.item()
        >>> weight(0) == weight(0), weight(0) == weight(1)
        (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(rng.initial_seed()).get_state())
        yield


class AffineMap(nn.Module, abc.ABC):
    """``y = (x - shift) / scale``, for each component of a sample or with one scale for all.

    Args:
        shape: The shape of one sample.
        each: Whether every component has a shift and scale of its own, or all share one.
        shift: The shift until it is set from data.
        scale: The scale until it is set from data.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, each: bool, shift: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        inner = shape if each else (1,) * len(shape)
        self._copies = math.prod(shape) // math.prod(inner)
        self.register_buffer("shift", torch.full(inner, shift))
        self.register_buffer("scale", torch.full(inner, scale))

    @abc.abstractmethod
    def fit(self, x: Tensor) -> None:
        """Sets the map from samples, shape ``(n, *shape)``."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns mapped samples."""
        return (x - self.shift) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Returns the samples behind mapped ones; differentiable."""
        return y * self.scale + self.shift

    def log_volume(self) -> Tensor:
        """Returns ``log |det dy/dx|`` of the whole sample in nats, a scalar.

        Add it to the log-density of ``y`` to have that of ``x``.
        """
        return -self.scale.log().sum() * self._copies


# The smallest spread of a component, as a fraction of that of the whole. Without it a pixel that
# happens to be constant in the first batch would turn later values into hundreds of deviations.
_FLOOR = 0.1


@final
class Standardise(AffineMap):
    """Subtracts a mean and divides by a standard deviation that are set once from data.

    The identity until ``fit`` is called.

    Args:
        shape: The shape of one sample.
        each: Whether every component has a mean and deviation of its own, or all share one.
    """

    def __init__(self, shape: tuple[int, ...], *, each: bool) -> None:
        super().__init__(shape, each=each)
        self._each = each

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the map from samples, shape ``(n, *shape)``."""
        mean, whole = x.mean(), x.std(correction=0).clamp(min=1e-12)
        if self._each:
            self.shift.copy_(x.mean(0))
            self.scale.copy_(x.std(0, correction=0).clamp(min=_FLOOR * whole))
        else:
            self.shift.fill_(mean)
            self.scale.fill_(whole)


@final
class Scaling(AffineMap):
    """An affine map from samples to numbers of about zero mean and unit size, and back.

    A discrete space is dequantised first: uniform noise in [0, 1) is added to the level, so
    that for any density ``p`` on real numbers ``E_u log p(x + u) <= log P(x)`` bounds the
    probability of the level (Theis et al., 2016, https://arxiv.org/abs/1511.01844, section 3.1).
    Its map is fixed, ``[0, levels)`` to ``[-1, 1)``; that of a continuous space is set from data
    by ``fit``.

    Args:
        space: The space of the samples.
    """

    def __init__(self, space: Space) -> None:
        half = (space.levels or 0) / 2
        # Images and discrete spaces share one scale; each column of a vector has its own.
        each = self._is_fitted_per_component(space)
        super().__init__(space.shape, each=each, shift=half, scale=half or 1.0)
        self.space = space

    @staticmethod
    def _is_fitted_per_component(space: Space) -> bool:
        return space.levels is None and space.kind != "image"

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the map of a continuous space from samples, shape ``(n, *space.shape)``."""
        if self.space.levels is not None:
            return
        if self._is_fitted_per_component(self.space):
            std, mean = torch.std_mean(x, dim=0)
        else:
            std, mean = torch.std_mean(x)
        self.shift.copy_(mean.expand_as(self.shift))
        self.scale.copy_(torch.where(std > 0, std, torch.ones_like(std)).expand_as(self.scale))

    def dequantise(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns real numbers in ``[x, x + 1)`` for a discrete space, else ``x``."""
        if self.space.levels is None:
            return x
        # Drawn in one precision, so that a model made precise sees the same noise.
        return x + torch.rand(x.shape, generator=rng, device=x.device).to(x.dtype)

    def noisy(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns scaled samples, those of a discrete space dequantised: what critics see."""
        y: Tensor = self(self.dequantise(x, rng=rng))
        return y

    def samples(self, y: Tensor) -> Tensor:
        """Returns samples of the space: those of a discrete one are rounded down and clamped."""
        x = self.inverse(y)
        return x if self.space.levels is None else x.floor().clamp(0, self.space.levels - 1)


def bits_per_dim(nats: Tensor, space: Space) -> Tensor:
    """Returns negative log-probabilities in bits per dimension of a sample.

    Example:
        >>> space = Space("image", (1, 8, 8), 17)
        >>> uniform = torch.tensor(-64 * math.log(17))
        >>> round(bits_per_dim(uniform, space).item(), 4) == round(math.log2(17), 4)
        True
    """
    return -nats / (space.size * math.log(2))


def leaky() -> nn.Module:
    """Returns the activation of critics and generators: LeakyReLU with slope 0.2."""
    return nn.LeakyReLU(0.2)


def mlp(*widths: int, activation: Callable[[], nn.Module] = leaky) -> nn.Sequential:
    """Returns linear layers between ``widths``, with activations between them, none at the end.

    Example:
        >>> mlp(2, 8, 1, activation=nn.SiLU)
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): SiLU()
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers[:-1])


# Residual convolutions without normalisation, at halving resolutions.
#
# Source: Huang et al., 2024 (R3GAN), https://arxiv.org/abs/2501.05441.
# Differs from the paper: blocks are two plain 3x3 convolutions, since grouped ones are slow on a
# CPU; resampling is by averages and bilinear interpolation; channels halve above 8x8.


NetName = Literal["auto", "mlp", "conv"]

# The smallest feature maps are at most this high and wide.
_BOTTOM = 4
WHOLE_CODED = 28 * 28
"""Images of up to so many components (28x28 grey) are read whole by the encoder and decoder that
are neither strided nor asked for by name."""


LARGE = 28 * 28
"""Images of so many components or more are trained on small batches: see ``likelihood_batch``."""

_SMALL_BATCH = 16


def likelihood_batch(space: Space) -> int:
    """Returns the batch size of a model that predicts every component of a sample.

    16 on images of 28x28 and more, each of which says something about hundreds of components. On
    MNIST, 20 CPU s of one seed, validation: ``ar`` 1.23 bits/dim with batches of 16, 1.25 with 32
    and 1.67 with 128 (Frechet distance of a LeNet's features 180, 177 and 760); ``flow`` 2.03
    with 16 and 3.38 with 128 (476 and 788).

    Example:
        >>> mnist, digits = Space("image", (1, 28, 28), 256), Space("image", (1, 8, 8), 17)
        >>> likelihood_batch(mnist), likelihood_batch(digits)
        (16, 128)
    """
    return _SMALL_BATCH if space.kind == "image" and space.size >= LARGE else BATCH


def is_convolutional(space: Space, net: NetName, *, whole: int) -> bool:
    """Returns whether samples of ``space`` are best read by convolutions.

    Args:
        space: What one sample is.
        net: What was asked for.
        whole: Images of up to so many components are read whole where nothing was.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    if net == "conv" and space.kind != "image":
        raise UserError(f"net=conv needs images. Got {space.label}; use net=mlp.")
    is_large = space.kind == "image" and space.size > whole
    return net == "conv" or (net == "auto" and is_large)


def sizes(space: Space) -> list[tuple[int, int]]:
    """Returns height and width at each resolution, from the image to at most 4x4.

    Example:
        >>> sizes(Space("image", (1, 28, 28)))
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    _, height, width = space.shape
    found = [(height, width)]
    while max(height, width) > _BOTTOM:
        height, width = (height + 1) // 2, (width + 1) // 2
        found.append((height, width))
    return found


def channels(width: int, size: tuple[int, int]) -> int:
    """Returns the number of channels of maps of ``size`` in a net of ``width``.

    A quarter of ``width`` up to 8x8, halved with each doubling of the side, so that all larger
    resolutions cost about the same.

    Example:
        >>> [channels(256, (side, side)) for side in (4, 8, 16, 28, 64)]
        [64, 64, 32, 16, 8]
    """
    doublings = max(0, (max(size) - 1).bit_length() - 3)
    return max(1, (width // 4) >> doublings)


def convolution(a: int, b: int) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps height and width."""
    return nn.Conv2d(a, b, 3, padding=1)


@final
class ResidualConv(nn.Module):
    """Adds two convolutions of the activated input to it.

    Args:
        width: Number of channels.
        zero: Whether the last convolution starts at zero, and so the block as the identity.
    """

    def __init__(self, width: int, *, zero: bool = True) -> None:
        super().__init__()
        last = convolution(width, width)
        if zero:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        self.branch = nn.Sequential(leaky(), convolution(width, width), leaky(), last)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of the shape of ``x``."""
        change: Tensor = self.branch(x)
        return x + change


@final
class Down(nn.Module):
    """Averages squares of four pixels, rounding the size up, then mixes channels."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, b, ceil(height / 2), ceil(width / 2))``."""
        y: Tensor = self.mix(avg_pool2d(x, 2, ceil_mode=True))
        return y


@final
class Up(nn.Module):
    """Mixes channels, then interpolates to ``size``."""

    def __init__(self, a: int, b: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.mix = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, b, *size)``."""
        return interpolate(self.mix(x), size=self.size, mode="bilinear", align_corners=False)


# Strided convolutions on patches, whose maps are small and their channels many.
#
# A convolution of few channels at the full resolution takes many times as long for each operation
# as one of 64 channels at 8x8. So images are cut into patches of 4x4 pixels whose components are
# channels, and all convolutions work on maps of a quarter of the side and below; a generator ends
# the same way round, with a convolution that makes all pixels of a patch (sub-pixel convolution:
# Shi et al., 2016, https://arxiv.org/abs/1609.05158). Layers that halve the side see patches of
# 2x2. Nothing normalises a critic; a generator's features have unit size at each place (pixel
# norm: Karras et al., 2018, https://arxiv.org/abs/1710.10196), and no layer sees other samples.


PlayerNetName = Literal["auto", "mlp", "conv", "strided"]
"""The networks of a GAN: a perceptron, residual or strided convolutions, or what is best."""

WHOLE = 28 * 28
"""Images of up to so many components (28x28 grey) are read whole by the players of GANs: there a
perceptron made far more steps and beat a plain DCGAN (MNIST, 150 CPU s: Frechet 11 against 40). On
CIFAR-10 strided convolutions and a perceptron are alike after 20 CPU s of a loaded processor and
the former ahead after 40 (Frechet 23.1 against 24.7, precision .43 against .23; one run each)."""

_SMALL = 8
_FEWEST = 32


def kind_of_net(space: Space, net: PlayerNetName) -> Literal["mlp", "conv", "strided"]:
    """Returns what the players of a GAN are made of for samples of ``space``.

    Args:
        space: What one sample is.
        net: What was asked for; ``auto`` is ``strided`` for images larger than ``WHOLE``.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    if net == "auto":
        return "strided" if space.kind == "image" and space.size > WHOLE else "mlp"
    if net != "mlp" and space.kind != "image":
        raise UserError(f"net={net} needs images. Got {space.label}; use net=mlp.")
    return net


def patch_side(space: Space) -> int:
    """Returns the side of the patches that strided convolutions see: 2 up to 16x16, else 4."""
    return 2 if max(space.shape[1:]) <= 2 * _SMALL else 4


def map_sizes(space: Space) -> list[tuple[int, int]]:
    """Returns height and width of the maps of strided convolutions, down to at most 8x8.

    Example:
        >>> map_sizes(Space("image", (3, 64, 64))), map_sizes(Space("image", (1, 25, 28)))
        ([(16, 16), (8, 8)], [(7, 7)])
    """
    side = patch_side(space)
    height, width = (-(-size // side) for size in space.shape[1:])
    found = [(height, width)]
    while max(found[-1]) > _SMALL:
        height, width = (height + 1) // 2, (width + 1) // 2
        found.append((height, width))
    return found


def map_channels(width: int, size: tuple[int, int]) -> int:
    """Returns the number of channels of maps of ``size`` in a strided net of ``width``.

    Half of ``width`` up to 8x8, halved with each doubling of the side, but not below 32: fewer do
    not fill the vector unit of a processor.

    Example:
        >>> [map_channels(256, (side, side)) for side in (7, 8, 16, 32, 64)]
        [128, 128, 64, 32, 32]
    """
    most = max(1, width // 2)
    doublings = max(0, (max(size) - 1).bit_length() - 3)
    return max(min(most, _FEWEST), most >> doublings)


@final
class ToPatches(nn.Module):
    """Puts squares of ``side`` pixels into channels; images are filled up by their edges."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps ``(n, c * side**2, ceil(height / side), ceil(width / side))``."""
        height, width = (-size % self.side for size in x.shape[2:])
        if height or width:
            x = pad(x, (0, width, 0, height), mode="replicate")
        return pixel_unshuffle(x, self.side)


@final
class FromPatches(nn.Module):
    """Puts channels into squares of pixels, and cuts what is beyond ``size``."""

    def __init__(self, side: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.side = side
        self.size = size

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps ``(n, c / side**2, *size)``."""
        y = pixel_shuffle(x, self.side)
        return y[:, :, : self.size[0], : self.size[1]]


@final
class PixelNorm(nn.Module):
    """Divides the features at each place by the root of their mean square."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of the shape of ``x``."""
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def start_at_one(net: nn.Module) -> None:
    """Draws the weights of a net of leaky units so that signals keep their size; biases are 0.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852.
    """
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, 0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def start_small(layer: nn.Linear | nn.Conv2d) -> None:
    """Makes the weights of a last layer ten times smaller.

    A generator that starts with pixels all over the range, and a critic that starts with large
    scores, lose hundreds of steps: on CIFAR-10 a Frechet distance of 38 after 148 steps of 64 in
    place of 23 after 63.
    """
    layer.weight.mul_(0.1)
