"""Flow matching: a diffusion model that learns the velocity from noise to data."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.nn import functional
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Generative, Invertible, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.flow import Base, StandardNormal
from gantlet.models.nets import Scaling, Standardise, bits_per_dim, seeded


@final
class TimeFeatures(nn.Module):
    """The first sines and cosines of a Fourier series on [0, 1], which networks read better.

    Args:
        count: How many frequencies; each gives a sine and a cosine.
    """

    frequencies: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * torch.arange(1.0, count + 1))

    @override
    def forward(self, t: Tensor) -> Tensor:
        """Returns the features of times ``t``, shape ``(n,)``: shape ``(n, 2 * count)``."""
        angle = t[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], 1)


@final
class VelocityMlp(nn.Module):
    """A residual perceptron; the time scales and shifts what enters each block (FiLM).

    The last layer starts at zero, and with it the velocity.

    Args:
        shape: The shape of one sample.
        width: Width of every hidden layer.
        depth: How many residual blocks.
        time_features: How many frequencies describe the time.

    Source: FiLM, Perez et al., 2018, https://arxiv.org/abs/1709.07871, equation (2).
    """

    def __init__(
        self, shape: tuple[int, ...], *, width: int, depth: int, time_features: int
    ) -> None:
        super().__init__()
        size, moments = math.prod(shape), 2 * time_features
        self.time = TimeFeatures(time_features)
        self.enter = nn.Linear(size + moments, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.films = nn.ModuleList(nn.Linear(moments, 2 * width) for _ in range(depth))
        self.leave = zeroed(nn.Linear(width, size))

    @override
    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """Returns the velocity at points ``y``, shape ``(n, *shape)``, and times ``(n,)``."""
        moments = self.time(t)
        h: Tensor = self.enter(torch.cat([y.flatten(1), moments], 1))
        for block, film in zip(self.blocks, self.films, strict=True):
            scale, shift = film(moments).chunk(2, 1)
            h = h + block(functional.silu(h * (1 + scale) + shift))
        velocity: Tensor = self.leave(functional.silu(h))
        return velocity.view_as(y)


def zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Returns ``layer`` with all its weights set to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


# ----------------------------------------------------------------------------
# A small U-Net that gives a velocity for an image and a time.
# ----------------------------------------------------------------------------

# The resolution is halved while the shorter side stays at this or above, and the number of
# channels doubled until it is this many times the first.
_SMALLEST_SIDE = 7
_WIDEST = 4
# Images are cut in patches so that the largest maps have at most about so many pixels a side.
_LARGEST_MAP = 16
_LARGEST_PATCH = 4


def usual_patch(height: int, width: int) -> int:
    """Returns the side of the patches whose pixels become the channels of a U-Net's largest maps.

    1, 2 or 4, of which both sides of the image are multiples.

    Example:
        >>> [usual_patch(side, side) for side in (12, 16, 28, 29, 32, 50, 64, 128)]
        [1, 1, 2, 1, 2, 2, 4, 4]
    """
    patch = 1
    while (
        patch < _LARGEST_PATCH
        and max(height, width) > _LARGEST_MAP * patch
        and height % (2 * patch) == width % (2 * patch) == 0
    ):
        patch *= 2
    return patch


@final
class TimedBlock(nn.Module):
    """Two convolutions with a residual path; the time scales and shifts between them (FiLM).

    Args:
        inner: Channels that come in.
        outer: Channels that go out.
        time_width: Width of what describes the time.
    """

    def __init__(self, inner: int, outer: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = _norm(inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.film = nn.Linear(time_width, 2 * outer)
        self.norm2 = _norm(outer)
        self.conv2 = zeroed(nn.Conv2d(outer, outer, 3, padding=1))
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    @override
    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Returns maps, shape ``(n, outer, height, width)``; ``time`` is ``(n, time_width)``."""
        scale, shift = self.film(time)[:, :, None, None].chunk(2, 1)
        inside = self.norm2(self.conv1(functional.silu(self.norm1(h))))
        inside = self.conv2(functional.silu(inside * (1 + scale) + shift))
        out: Tensor = self.skip(h) + inside
        return out


@final
class UNetStage(nn.Module):
    """Blocks at one resolution, which change the number of channels in the first.

    Args:
        inner: Channels that come in.
        outer: Channels that go out.
        time_width: Width of what describes the time.
        depth: How many blocks.
    """

    def __init__(self, inner: int, outer: int, time_width: int, depth: int) -> None:
        super().__init__()
        widths = [inner, *[outer] * depth]
        self.blocks = nn.ModuleList(TimedBlock(a, b, time_width) for a, b in pairwise(widths))

    @override
    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Returns maps, shape ``(n, outer, height, width)``; ``time`` is ``(n, time_width)``."""
        for block in self.blocks:
            h = block(h, time)
        return h


@final
class UNet(nn.Module):
    """Residual blocks on the way down and up again, with what was seen on the way joined in.

    The last layer starts at zero, and with it the velocity.

    Args:
        shape: The shape of one image, ``(channels, height, width)``, of any size from 2x2.
        width: Channels of the largest maps; doubled at each lower resolution, to four times at
            most.
        depth: Residual blocks at each resolution, each way.
        time_features: How many frequencies describe the time.
        patch: Side of the squares of pixels that become channels, of which both sides of an image
            must be multiples: the largest maps are so many times smaller than the image (Shi et
            al., 2016, https://arxiv.org/abs/1609.05158).

    Source: Ho et al., 2020, https://arxiv.org/abs/2006.11239, appendix B, after Ronneberger et
    al., 2015, https://arxiv.org/abs/1505.04597.

    Differs from the paper: no attention and no dropout; resampling by averages and copies; one
    connection across for each resolution; the time also scales (FiLM), not only shifts.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int,
        depth: int,
        time_features: int,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch = patch
        channels = shape[0] * patch**2
        self.sizes = _sizes((shape[1] // patch, shape[2] // patch))
        widths = [width * min(2**i, _WIDEST) for i in range(len(self.sizes))]
        known = 4 * width
        self.time = nn.Sequential(
            TimeFeatures(time_features), nn.Linear(2 * time_features, known), nn.SiLU()
        )
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            UNetStage(a, b, known, depth) for a, b in pairwise([width, *widths[:-1]])
        )
        self.bottom = UNetStage(widths[-2], widths[-1], known, depth)
        self.up = nn.ModuleList(UNetStage(a + b, a, known, depth) for a, b in pairwise(widths))
        self.leave = nn.Sequential(
            _norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, channels, 3, padding=1))
        )

    @override
    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """Returns the velocity at points ``y``, shape ``(n, *shape)``, and times ``(n,)``."""
        time: Tensor = self.time(t)
        # One processor computes convolutions, pools and copies of pixels up to several times as
        # fast where the channels of a pixel lie side by side.
        patches = functional.pixel_unshuffle(y, self.patch)
        h: Tensor = self.enter(patches.contiguous(memory_format=torch.channels_last))
        seen: list[Tensor] = []
        for stage in self.down:
            h = stage(h, time)
            seen.append(h)
            h = functional.avg_pool2d(h, 2, ceil_mode=True)
        h = self.bottom(h, time)
        for i in reversed(range(len(self.up))):
            h = functional.interpolate(h, size=self.sizes[i])
            h = self.up[i](torch.cat([seen[i], h], 1), time)
        return functional.pixel_shuffle(self.leave(h), self.patch)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns height and width at each resolution, two at least."""
    sizes = [size]
    while len(sizes) < 2 or min(size) >= 2 * _SMALLEST_SIDE:
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        sizes.append(size)
    return sizes


# ----------------------------------------------------------------------------
# Ordinary differential equations with fixed steps, and the divergence of their fields.
# ----------------------------------------------------------------------------

Field = Callable[[Tensor, Tensor], Tensor]
"""Velocities at points ``y``, shape ``(n, *shape)``, and times ``t``, shape ``(n,)``."""

Method = Literal["midpoint", "heun"]

Trace = Callable[[Field, Tensor, Tensor], Tensor]
"""The divergence of a field at points ``(n, *shape)`` and times ``(n,)``: shape ``(n,)``."""

MOST_COTANGENTS = 2**19
"""One part of the exact divergence holds this many cotangents at most: more of them fall out of
the processor's cache and run at a third of the speed."""


class Node(NamedTuple):
    """A point at which a step asked for the velocity, and its weight in the step's integral."""

    y: Tensor
    t: Tensor
    weight: float


def midpoint(field: Field, y: Tensor, t: float, h: float) -> tuple[Tensor, list[Node]]:
    """Returns ``y`` one step of the explicit midpoint rule later, and the nodes it integrates by.

    Second order, two evaluations of ``field``.

    Source: Hairer, Norsett and Wanner, 1993, "Solving Ordinary Differential Equations I",
    section II.1, equation (1.5).
    """
    middle = y + h / 2 * field(y, _at(t, y))
    node = Node(middle, _at(t + h / 2, y), h)
    return y + h * field(middle, node.t), [node]


def heun(field: Field, y: Tensor, t: float, h: float) -> tuple[Tensor, list[Node]]:
    """Returns ``y`` one step of Heun's rule later, and the nodes it integrates by.

    Second order, two evaluations of ``field``.

    Source: Hairer, Norsett and Wanner, 1993, "Solving Ordinary Differential Equations I",
    section II.1, exercise 1 (the explicit trapezoidal rule).
    """
    left = Node(y, _at(t, y), h / 2)
    slope = field(y, left.t)
    right = Node(y + h * slope, _at(t + h, y), h / 2)
    return y + h / 2 * (slope + field(right.y, right.t)), [left, right]


_STEPS = {"midpoint": midpoint, "heun": heun}


def integrate(field: Field, y: Tensor, times: Sequence[float], method: Method) -> Tensor:
    """Returns where ``dy/dt = field(y, t)`` carries ``y`` from the first time to the last.

    Shape that of ``y``, ``(n, *shape)``. One step from each time to the next, of two evaluations.
    """
    for t, end in pairwise(times):
        y, _ = _STEPS[method](field, y, t, end - t)
    return y


def integrate_with_volume(
    field: Field, y: Tensor, times: Sequence[float], method: Method, trace: Trace
) -> tuple[Tensor, Tensor]:
    """Returns the end points and ``log |det d end / d y|`` in nats, shape ``(n,)``.

    The log-determinant is the integral of the divergence along the path, taken at the nodes of
    the method. It has the method's order, and is not exactly that of the discrete steps.

    Source: Chen et al., 2018, https://arxiv.org/abs/1806.07366, theorem 1.
    """
    volume = y.new_zeros(len(y))
    for t, end in pairwise(times):
        y, nodes = _STEPS[method](field, y, t, end - t)
        for node in nodes:
            volume = volume + node.weight * trace(field, node.y, node.t)
    return y, volume


def exact_divergence(field: Field, y: Tensor, t: Tensor) -> Tensor:
    """Returns the divergence of ``field``, shape ``(n,)``, as the trace of its Jacobian.

    One backward pass for each component of a sample, many at a time. Differentiable in the
    parameters of ``field``.
    """
    n, size = len(y), y[0].numel()
    pull = _pullback(field, y, t)

    def diagonal(unit: Tensor) -> Tensor:
        cotangent = unit.expand_as(y)
        return (pull(cotangent) * cotangent).flatten(1).sum(1)

    units = torch.eye(size, dtype=y.dtype, device=y.device).view(size, *y.shape[1:])
    chunk = max(1, MOST_COTANGENTS // max(1, n * size))
    entries: Tensor = vmap(diagonal, chunk_size=chunk)(units)
    return entries.sum(0)


def hutchinson(probe: Tensor) -> Trace:
    """Returns the trace that estimates the divergence from one random direction a sample.

    Unbiased when the components of ``probe``, shape ``(n, *shape)``, have mean 0, variance 1
    and no correlation. The same probe should serve a whole path, whose integral then is as
    smooth as the field.

    Source: Grathwohl et al., 2019, https://arxiv.org/abs/1810.01367, equation (7).
    """

    def trace(field: Field, y: Tensor, t: Tensor) -> Tensor:
        return (_pullback(field, y, t)(probe) * probe).flatten(1).sum(1)

    return trace


def rademacher(like: Tensor, *, rng: torch.Generator) -> Tensor:
    """Returns signs of equal chance, shape and type of ``like``: the probe of least variance."""
    bits = torch.randint(0, 2, like.shape, generator=rng, device=like.device)
    return bits.to(like.dtype) * 2 - 1


def _pullback(field: Field, y: Tensor, t: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the product of cotangents, shape of ``y``, with the Jacobian of ``field``."""

    def at_t(point: Tensor) -> Tensor:
        return field(point, t)

    pull: Callable[[Tensor], tuple[Tensor]] = vjp(at_t, y)[1]
    return lambda cotangent: pull(cotangent)[0]


def _at(t: float, y: Tensor) -> Tensor:
    return y.new_full((len(y),), t)


# ----------------------------------------------------------------------------
# Flow matching: a diffusion model that learns the velocity from noise to data.
# ----------------------------------------------------------------------------

# The divergence is exact up to this many components and sampled above.
_EXACT = 256

INTEGRATED_AT_ONCE = 2**17
"""Densities are integrated for this many numbers at a time, for memory's sake."""

# Steps shorten towards the data as this power of what is left of the time.
_SHORTENING = 2
# Validation takes shorter paths: it compares one model with itself, earlier and later.
_VALIDATION_STEPS = 8


def times(steps: int) -> list[float]:
    """Returns the ends of so many steps from 0 to 1, which shorten towards the data.

    There the velocity is least smooth: it must bring noise together within the width of one
    level, or of whatever is thin in the data.

    Example:
        >>> times(4)
        [0.0, 0.4375, 0.75, 0.9375, 1.0]
    """
    return [1 - (1 - i / steps) ** _SHORTENING for i in range(steps + 1)]


@final
class DiffusionModel(Invertible):
    """Noise at time 0 that a velocity field carries to data at time 1.

    Samples, scaled and standardised, are points ``y``; ``dy/dt = v(y, t)`` leads from a code to a
    sample, and back when integrated from 1 to 0.

    Args:
        space: The space of the samples.
        velocity: Takes points, shape ``(n, *space.shape)``, and times ``(n,)``.
        steps: How many steps lead from noise to data, or back.
        sampler: The rule of one step; both take two evaluations of the velocity.
        each: Whether each component is standardised on its own.
        base: The density at time 0; standard normal unless given.
    """

    def __init__(
        self,
        space: Space,
        velocity: nn.Module,
        *,
        steps: int,
        sampler: Method,
        each: bool = True,
        base: Base | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.velocity = velocity
        self.steps = steps
        self.sampler: Method = sampler
        self.base = StandardNormal() if base is None else base
        self.scaling = Scaling(space)
        self.standardise = Standardise(space.shape, each=each)

    @property
    @override
    def sample_depth(self) -> int:
        return 2 * self.steps

    @property
    @override
    def density_depth(self) -> int:
        return 2 * self.steps

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets scaling and standardisation from real samples."""
        self.scaling.fit(batch)
        self.standardise.fit(self.scaling.noisy(batch, rng=rng))

    def point(self, x: Tensor) -> Tensor:
        """Returns dequantised samples as the velocity sees them."""
        y: Tensor = self.standardise(self.scaling(x))
        return y

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        like = self.standardise.shift.new_empty(n, self.space.size)
        y = self._carry(self.base.sample(like, rng=rng))
        return self.scaling.samples(self.standardise.inverse(y))

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self.standardise.inverse(self._carry(z)))

    def _carry(self, z: Tensor) -> Tensor:
        y = z.view(-1, *self.space.shape)
        return integrate(self.velocity, y, times(self.steps), self.sampler)

    @override
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the code of ``x`` and ``log |det d code / d x|``, as the steps give them.

        Above 256 components the log-determinant is estimated with one random direction for each
        sample, always the same.
        """
        fixed = torch.Generator(x.device).manual_seed(0)
        return self._to_code(x, self.steps, rng=fixed, exact=self._is_exact)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        """Returns the log-probability of ``x`` in nats.

        The kind is always "estimate": the steps of the path leave an error, which falls with
        their number squared and can be of either sign. But for that error the value is exact on
        a continuous space and a lower bound on a discrete one (by dequantisation); Hutchinson's
        divergence adds noise of mean zero.
        """
        value = self.log_density(x, self.steps, rng=rng, exact=self._is_exact)
        divergence = "exact" if self._is_exact else "Hutchinson"
        method = f"flow ODE, {self.steps} {self.sampler} steps, {divergence} divergence" + (
            "" if self.space.levels is None else ", one uniform dequantisation"
        )
        return LogProb(value, "estimate", method)

    @property
    def _is_exact(self) -> bool:
        return self.space.size <= _EXACT

    def log_density(self, x: Tensor, steps: int, *, rng: torch.Generator, exact: bool) -> Tensor:
        """Returns log-probabilities in nats, shape ``(n,)``, in so many steps.

        Args:
            x: Samples, not yet dequantised.
            steps: Steps of the path.
            rng: Serves dequantisation and Hutchinson's directions.
            exact: Whether the divergence is exact rather than estimated.
        """
        real = self.scaling.dequantise(x, rng=rng)
        z, volume = self._to_code(real, steps, rng=rng, exact=exact)
        value: Tensor = self.base(z) + volume
        return value

    def _to_code(
        self, x: Tensor, steps: int, *, rng: torch.Generator, exact: bool
    ) -> tuple[Tensor, Tensor]:
        y = self.point(x)
        probes = y if exact else rademacher(y, rng=rng)
        rows = max(1, INTEGRATED_AT_ONCE // self.space.size)
        codes: list[Tensor] = []
        volumes: list[Tensor] = []
        for part, probe in zip(torch.split(y, rows), torch.split(probes, rows), strict=True):
            trace: Trace = exact_divergence if exact else hutchinson(probe)
            z, volume = integrate_with_volume(
                self.velocity, part, times(steps)[::-1], self.sampler, trace
            )
            codes.append(z.flatten(1))
            volumes.append(volume)
        fixed = self.scaling.log_volume() + self.standardise.log_volume()
        return torch.cat(codes), torch.cat(volumes) + fixed


@final
class FlowMatching(Generative):
    """One player, which regresses the velocity of straight lines from noise to data.

    Args:
        model: The player.
    """

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"velocity": self._model}

    @property
    @override
    def model(self) -> DiffusionModel:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.prepare(batch, rng=rng)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the squared error of the velocity, averaged over samples and components."""
        if player not in self.players:
            raise unknown("player", player, self.players)
        model = self._model
        y = model.point(model.scaling.dequantise(batch, rng=rng))
        z = model.base.sample(y, rng=rng)
        t = torch.rand(len(y), generator=rng, device=y.device, dtype=y.dtype)
        along = t.view(-1, *[1] * (y.ndim - 1))
        found: Tensor = model.velocity((1 - along) * z + along * y, t)
        return functional.mse_loss(found.to(y.dtype), y - z)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns bits for each component (nats for a sample where continuous), roughly.

        In eight steps at most, with Hutchinson's divergence.
        """
        model = self._model
        steps = min(model.steps, _VALIDATION_STEPS)
        value = model.log_density(x, steps, rng=rng, exact=False).mean()
        return -value if model.space.levels is None else bits_per_dim(value, model.space)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Diffusion:
    """Flow matching on straight paths, with its ordinary differential equation as the model.

    With data ``x1``, noise ``x0 ~ N(0, I)``, time ``t ~ U(0, 1)`` and ``x_t = (1-t) x0 + t x1``,
    the one player, ``velocity``, minimises ``E |v(x_t, t) - (x1 - x0)|^2``. Samples are found by
    integrating ``dx/dt = v(x, t)`` from noise, densities by integrating back:
    ``log p(x1) = log N(x0; 0, I) - integral of div v``. Discrete samples are dequantised with
    uniform noise.

    Source: Lipman et al., 2023, https://arxiv.org/abs/2210.02747, equation 23; Liu, Gong
    and Liu, 2023, https://arxiv.org/abs/2209.03003, equation 1.

    Differs from the papers: paths start from the noise itself (``sigma_min = 0``, as in Liu et
    al.); samples are standardised with moments of the first batch; fixed steps, which shorten
    towards the data, instead of an adaptive solver.

    Measured for the U-Net's patches, on MNIST, 25 s of one processor, one seed, 20 evaluations a
    sample: kernel distance (KID, times 1,000) to held-out training images on features of LeNet-5
    757 with ``width=24,patch=1`` and batches of 128, 510 with 2x2 patches, 32 channels and batches
    of 32; 532 with the linear part of the velocity given (EDM), and on CIFAR-10 a validation loss
    of .75 with it and of .64 without, so that it is not.

    Attributes:
        net: ``mlp``, ``unet``, or ``auto``: a U-Net for images larger than 8x8.
        width: Hidden units (none is 192), or channels of a U-Net's largest maps (none is 32).
        depth: Residual blocks (none is 2), or those of a U-Net at each resolution, each way (1).
        time_features: Number of frequencies of the time embedding.
        patch: Side of the squares of pixels that a U-Net reads as one pixel of more channels; none
            is 1 up to 16 pixels a side, 2 up to 32 and 4 above, where sides are multiples of it.
        steps: ODE steps from noise to data and back, two network evaluations each.
        sampler: ODE solver.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    net: Literal["auto", "mlp", "unet"] = "auto"
    width: Annotated[int, Between(1)] | None = None
    depth: Annotated[int, Between(1)] | None = None
    time_features: Annotated[int, Between(1)] = 8
    patch: Annotated[int, Between(1), Later()] | None = None
    steps: Annotated[int, Between(1)] = 20
    sampler: Method = "midpoint"
    ema: Annotated[float, Between(0, 1, below=True)] = 0.998

    @property
    def solver(self) -> str:
        """Adam with a rate that suits small networks, and clipped gradients."""
        return "adam:lr=0.003,clip=1.0"

    def batch_size(self, space: Space) -> int:
        """Returns the usual size of a batch of samples of ``space``.

        A U-Net learns more of a processor's second from many small batches: on MNIST (28x28), 25 s
        gave 93 steps and a validation loss of .54 with 128 samples a batch, and 331 steps and .42
        with 32 (one seed).
        """
        return 32 if self._is_unet(space) else 128

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> FlowMatching:
        """Returns an untrained model for vectors or images, on the device of ``rng``.

        Raises:
            UserError: If ``space`` is neither, or too small for the U-Net that was asked for,
                or there is a context.
        """
        refuse_context("diffusion", context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"diffusion models vectors and images. Got {space.label}.")
        is_unet = self._is_unet(space)
        with seeded(rng.stream("init")):
            velocity = self._unet(space) if is_unet else self._mlp(space)
        # Pixels of a large image share their moments, as convolutions share their weights.
        model = DiffusionModel(
            space, velocity, steps=self.steps, sampler=self.sampler, each=not is_unet
        )
        return FlowMatching(model.to(rng.device))

    def _is_unet(self, space: Space) -> bool:
        if self.net != "auto":
            return self.net == "unet"
        return space.kind == "image" and max(space.shape[1:]) > 8

    def _mlp(self, space: Space) -> VelocityMlp:
        return VelocityMlp(
            space.shape,
            width=self.width or 192,
            depth=self.depth or 2,
            time_features=self.time_features,
        )

    def _unet(self, space: Space) -> UNet:
        if space.kind != "image" or min(space.shape[1:]) < 4:
            raise UserError(f"net=unet needs images from 4x4. Got {space.label}; use net=mlp.")
        channels, height, width = space.shape
        patch = self.patch or usual_patch(height, width)
        if height % patch or width % patch or min(height, width) < 2 * patch:
            raise UserError(
                f"patch must divide both sides of an image, twice or more. Got patch={patch} for "
                f"{space.label}."
            )
        return UNet(
            (channels, height, width),
            width=self.width or 32,
            depth=self.depth or 1,
            time_features=self.time_features,
            patch=patch,
        )
