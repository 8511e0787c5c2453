"""Harmonic tones of known pitch, whose density, pitches and support are known exactly."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn
from gantlet.domains.recordings import AudioCode

_ATTACK, _DECAY = 0.005, 0.12  # seconds: time constants of the envelope
_LEVEL = 0.15  # root mean square of the first partial at the top of the envelope
_PURE = 0.95  # share of the power of a clip that a tone has in its partials
_QUIET = 0.1  # of the expected root mean square: below it a clip holds no tone
_AT_ONCE = 4096  # clips whose tones are worked out at once
_SIMULATED = 2**17


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Tones:
    """Tones of equally likely pitches, struck and dying away; the label is the pitch.

    A clip is ``x(t) = e(t) sum_h (a_h cos(2 pi h f t) + b_h sin(2 pi h f t)) + noise * N(0, 1)``.
    Its pitch ``f`` is ``low * 2 ** (k / pitches)`` for one ``k`` of ``0 .. pitches - 1``, the
    steps of one octave. The amplitudes are Gaussian with deviation ``0.15 / h``, so that phases
    are uniform and timbres differ. The envelope ``e`` is fixed: it rises in 5 ms and falls to
    ``1 / e`` in 120 ms.

    Given its pitch a clip is Gaussian, so that the density is exact: a mixture of ``pitches``
    Gaussians. A clip is on the support if at least 0.95 of its power lies in the partials of one
    pitch, and it has a tenth or more of the expected amplitude.

    Attributes:
        pitches: Number of pitches in the octave.
        low: The lowest pitch, in Hz.
        partials: Number of harmonic partials.
        noise: Standard deviation of the white noise.
        rate: Numbers per second.
        length: Numbers of a clip.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    pitches: Annotated[int, Between(1)] = 8
    low: Annotated[float, Between(0, above=True)] = 220.0
    partials: Annotated[int, Between(1)] = 5
    noise: Annotated[float, Between(0, above=True)] = 0.003
    rate: Annotated[int, Between(1)] = 8_000
    length: Annotated[int, Between(16)] = 2_048
    n: Annotated[int, Between(1)] = 4_000
    held_out: Annotated[int, Between(1)] = 1_000

    def __post_init__(self) -> None:
        """Checks that the clip can hold all partials.

        Raises:
            UserError: If the highest partial is above half of the rate, or clips are too short
                to tell one partial from the next.
        """
        top = self.partials * float(self.hertz[-1])
        if 2 * top >= self.rate:
            raise UserError(
                f"The highest partial must be below half of rate={self.rate}. Got {top:.0f} Hz; "
                "lower low= or partials=, or raise rate=."
            )
        if self.length < 2 * max(self.partials, self.rate / self.low):
            raise UserError(
                f"A clip must last two periods of low={self.low:g} Hz or more. Got "
                f"length={self.length} at rate={self.rate}; raise length= or low=."
            )

    @property
    def hertz(self) -> Tensor:
        """The pitches, shape ``(pitches,)``, float64."""
        step = torch.arange(self.pitches, dtype=torch.float64) / self.pitches
        return self.low * 2**step

    @property
    def space(self) -> Space:
        """Clips of one channel."""
        return Space("audio", (1, self.length))

    def code(self) -> AudioCode:
        """Returns rate and length of the clips."""
        return AudioCode(self.rate, self.length)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws, with the code that tells their rate."""
        found = drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)
        return replace(found, code=self.code())

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        label = torch.randint(self.pitches, (n,), generator=rng)
        z = torch.randn(n, 2 * self.partials, generator=rng, dtype=torch.float64)
        x = torch.empty(n, 1, self.length)
        for k, basis in enumerate(_basis(self)):
            x[label == k, 0] = (z[label == k] @ basis.T).float()
        x += self.noise * torch.randn(x.shape, generator=rng)
        return x, label

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the exact log-density of clips, shape ``(n, 1, length)``, in nats, ``(n,)``."""
        given = torch.cat([self._given_pitch(part) for part in torch.split(x, _AT_ONCE)])
        return (given.logsumexp(1) - math.log(self.pitches)).to(x.dtype)

    def _given_pitch(self, x: Tensor) -> Tensor:
        """Returns the log-density given each pitch, shape ``(n, pitches)``."""
        wave, tones = x.flatten(1).double(), _modes(self)
        inside = torch.einsum("nt,kth->nkh", wave, tones.axes.to(x.device))
        variance = tones.variance.to(x.device) + self.noise**2
        rest = wave.square().sum(1)[:, None] - inside.square().sum(2)
        exponent = (inside.square() / variance).sum(2) + rest / self.noise**2
        others = (self.length - 2 * self.partials) * math.log(self.noise**2)
        log_det = variance.log().sum(1) + others + self.length * math.log(2 * math.pi)
        return -0.5 * (exponent + log_det)

    def modes_of(self, x: Tensor) -> Tensor:
        """Returns the pitch whose partials hold most of the power of each clip, shape ``(n,)``."""
        return self._power(x).argmax(1)

    def on_support(self, x: Tensor) -> Tensor:
        """Returns whether clips, shape ``(n, 1, length)``, are such tones, shape ``(n,)``."""
        wave = x.flatten(1).double()
        total = wave.square().sum(1)
        return (self._power(x).amax(1) >= _PURE * total) & (total >= _least(self))

    def _power(self, x: Tensor) -> Tensor:
        """Returns the power in the partials of each pitch, shape ``(n, pitches)``."""
        axes = _modes(self).axes.to(x.device)
        parts = torch.split(x.flatten(1).double(), _AT_ONCE)
        found = [torch.einsum("nt,kth->nkh", part, axes).square().sum(2) for part in parts]
        return torch.cat(found)

    @property
    def weights(self) -> Tensor:
        """Probability of each pitch, all equal, float64."""
        return torch.full((self.pitches,), 1 / self.pitches, dtype=torch.float64)

    @property
    def gap(self) -> float:
        """Distance between the supports of two pitches, at least; infinite for a single one.

        A clip on the support is at most 12.9 degrees, ``acos sqrt(0.95)``, from the space of its
        partials, so that the angle of two clips follows from the least principal angle of two
        such spaces, and their distance from that and the least amplitude.
        """
        return _gap(self)

    @property
    def ceiling(self) -> float:
        """Share of true clips on the support, from 131,072 simulated powers (error below 0.002).

        Only quiet clips, in which the noise counts, are not. Overlaps of pitches are neglected.
        """
        return _ceiling(self)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Modes:
    """The Gaussian of each pitch: its principal axes and the variances along them.

    Attributes:
        axes: Orthonormal, shape ``(pitches, length, 2 * partials)``.
        variance: Without noise, shape ``(pitches, 2 * partials)``.
    """

    axes: Tensor
    variance: Tensor


@cache
def _basis(tones: Tones) -> Tensor:
    """Returns the clips that unit amplitudes make, shape ``(pitches, length, 2 * partials)``."""
    t = torch.arange(tones.length, dtype=torch.float64) / tones.rate
    harmonic = torch.arange(1, tones.partials + 1, dtype=torch.float64)
    turn = 2 * math.pi * tones.hertz[:, None, None] * harmonic * t[:, None]
    envelope = (1 - (-t / _ATTACK).exp()) * (-t / _DECAY).exp()
    top = envelope.max()
    size = _LEVEL / harmonic * (envelope / top)[:, None]
    return torch.cat([size * turn.cos(), size * turn.sin()], 2)


@cache
def _modes(tones: Tones) -> _Modes:
    axes, singular, _ = torch.linalg.svd(_basis(tones), full_matrices=False)
    return _Modes(axes, singular.square())


@cache
def _ceiling(tones: Tones) -> float:
    rng = Rng(0).stream("ceiling")
    variance = _modes(tones).variance
    each = max(1, _SIMULATED // len(variance))
    z = torch.randn(len(variance), each, variance.shape[1], generator=rng, dtype=torch.float64)
    inside = (z.square() * (variance + tones.noise**2)[:, None]).sum(2)
    # The chi-squared number of the rest is close to a Gaussian, by Wilson and Hilferty's cube.
    free = tones.length - variance.shape[1]
    normal = torch.randn(inside.shape, generator=rng, dtype=torch.float64)
    chi2 = free * (1 - 2 / (9 * free) + normal * math.sqrt(2 / (9 * free))).clamp(min=0) ** 3
    total = inside + tones.noise**2 * chi2
    return float(((inside >= _PURE * total) & (total >= _least(tones))).double().mean())


def _least(tones: Tones) -> float:
    """Returns the least power of a clip on the support."""
    return _QUIET**2 * float(_modes(tones).variance.sum(1).mean())


@cache
def _gap(tones: Tones) -> float:
    axes = _modes(tones).axes
    if len(axes) < 2:
        return math.inf
    cosines = torch.linalg.matrix_norm(torch.einsum("ktg,jth->kjgh", axes, axes), ord=2)
    cosines.fill_diagonal_(0.0)
    angle = math.acos(min(float(cosines.max()), 1.0)) - 2 * math.acos(math.sqrt(_PURE))
    return 2 * math.sqrt(_least(tones)) * math.sin(max(angle, 0.0) / 2)
