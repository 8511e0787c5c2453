"""GANs of sound: on spectrograms (SpecGAN, GANSynth's representation) and waveforms (WaveGAN).

The critic sees what the generator makes, spectrograms or waveforms, and real clips encoded alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Decoder, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.codecs import (
    Codec,
    LogMagnitude,
    Representation,
    SpectralOptions,
    Waveform,
    check_clips,
    ended,
)
from gantlet.models.gan import AdversarialGame, GeneratorGame, critic, generator
from gantlet.models.losses import AdversarialObjective, LossName, LossOptions, PenaltyName
from gantlet.models.nets import LatentScaled, PlayerNetName, leaky, seeded


@final
class SoundGenerator(Decoder, LatentScaled):
    """Maps standard normal noise to clips, through a codec.

    Args:
        space: What one sample is.
        latent: Latent dimension.
        net: Maps latent vectors, shape ``(n, latent)``, to ``(n, *codec.view.shape)``.
        codec: Makes clips of that.
    """

    def __init__(self, space: Space, latent: int, net: nn.Module, codec: Codec) -> None:
        super().__init__()
        self.space = space
        self.latent_dim = latent
        self.net = net
        self.codec = codec

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        like = next(self.net.parameters())
        noise = torch.randn(n, self.latent_dim, generator=rng, device=like.device)
        return self.latent_scale * noise.to(like.dtype)

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns what the critic sees, shape ``(n, *codec.view.shape)``."""
        return self.codec.shape(self.net(z))

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.codec.decode(self(z))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        return ended(self.codec.decode(self(self.prior(n, rng=rng))))


_SEEN = 256  # numbers of a frame of the spectrograms by which models are selected


@final
class SoundGame(GeneratorGame[SoundGenerator], AdversarialGame):
    """A generator of sounds against a critic of what its codec makes of sounds.

    The model is selected by the energy distance between log-magnitude spectrograms: waveforms that
    sound alike differ in their phases.

    Args:
        model: The generator.
        net: The critic, of ``(n, *codec.view.shape)``.
        rules: Loss and penalty.
    """

    def __init__(self, model: SoundGenerator, net: nn.Module, rules: AdversarialObjective) -> None:
        super().__init__(model, net)
        self._critic = net
        self._rules = rules
        length = model.space.shape[1]
        frame = min(_SEEN, length)
        hop = max(1, frame // 2)
        self._ear = LogMagnitude(length, hop * 2, hop, iterations=0).to(_device(model))

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.codec.fit(batch)

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = self._model.codec.encode(batch)
        z = self._model.prior(len(batch), rng=rng)
        critic = self._shuffling(rng)
        return self._rules.of(
            player, critic, real, lambda: self._model(z), rng=rng, coupled=coupled
        )

    def _shuffling(self, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        """Returns the critic as it is in one loss: phases are shuffled alike for all it sees."""
        if not isinstance(self._critic, WaveCritic):
            return self._critic
        return partial(self._critic, shifts=self._critic.shifts(rng))

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(self._model.codec.encode(x))
        return score

    @property
    @override
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        return self._heard

    def _heard(self, x: Tensor) -> Tensor:
        return self._ear.encode(x).flatten(1)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


class SoundGanOptions(LossOptions):
    """What the families of GANs of sound share."""

    __slots__ = ()

    @property
    def solver(self) -> str:
        """Adam without momentum, which adversarial players do not tolerate."""
        return "adam:lr=0.001,beta1=0.0,beta2=0.99"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SpecGan(SpectralOptions, SoundGanOptions):
    """A GAN whose generator makes spectrograms, which a codec turns into sound.

    With ``representation=logmag`` these are log-magnitudes, and phases are estimated when a clip
    is sampled. With ``representation=if`` a second channel has the instantaneous frequency, by
    which phases follow. The networks and losses are those of ``gan``.

    Source: Donahue, McAuley and Puckette, 2019 (SpecGAN), https://arxiv.org/abs/1802.04208;
    Engel et al., 2019 (GANSynth), https://arxiv.org/abs/1902.08710, for the instantaneous
    frequency.

    Differs from the papers: loss and penalty of R3GAN; the networks of ``gan`` and not DCGAN or
    progressively growing ones; linear frequencies; no labels.

    Attributes:
        representation: ``logmag`` for log-magnitudes, ``if`` for instantaneous frequencies beside
            them.
        frame: Numbers of a frame.
        hop: Numbers from one frame to the next; default: a half of a frame for ``logmag``, a
            quarter for ``if``.
        iterations: Iterations of the estimation of phases.
        latent: Latent dimension.
        width: Width of the hidden layers; strided convolutions have half as many channels,
            residual ones a quarter.
        depth: Hidden layers; strided convolutions of the smallest maps, or residual blocks at
            each resolution.
        net: ``mlp``, ``strided``, ``conv``, or ``auto``, which is ``strided``, as for ``gan``. In
            minutes of one processor ``mlp`` makes the most steps.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on what the critic sees.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    representation: Representation = "logmag"
    frame: Annotated[int, Between(4)] = 256
    hop: Annotated[int, Between(1)] | None = None
    iterations: Annotated[int, Between(0)] = 16
    latent: Annotated[int, Between(1)] = 64
    width: Annotated[int, Between(4)] = 256
    depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "mlp"
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    gamma: Annotated[float, Between(0)] = 0.3
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> SoundGame:
        """Returns an untrained GAN for clips.

        Raises:
            UserError: If samples are not clips, or frames do not fit, or there is a context.
        """
        refuse_context("spec-gan", context_space)
        codec = self.codec("spec-gan", space)
        view, width, depth = codec.view, self.width, self.depth
        with seeded(rng.stream("init")):
            net = generator(view, latent=self.latent, width=width, depth=depth, net=self.net)
            judge = critic(view, width=width, depth=depth, net=self.net)
        made = SoundGenerator(space, self.latent, net, codec).to(rng.device)
        return SoundGame(made, judge.to(rng.device), self.rules)


# ----------------------------------------------------------------------------
# WaveGAN: the same with one-dimensional convolutions on the waveform.
# ----------------------------------------------------------------------------

_KERNEL, _STRIDE, _START = 25, 4, 16


def _stages(length: int) -> int:
    """Returns how often 16 numbers are made four times as many to hold a clip, at least once."""
    return max(1, math.ceil(math.log(length / _START, _STRIDE) - 1e-9))


@final
class WaveGenerator(nn.Module):
    """Transposed convolutions from 16 numbers to a clip, each with stride 4 and kernel 25.

    Args:
        length: Numbers of a clip.
        latent: Latent dimension.
        width: Channels before the last layer; each layer before has twice as many.
    """

    def __init__(self, length: int, latent: int, width: int) -> None:
        super().__init__()
        stages = _stages(length)
        widths = [width * 2**k for k in range(stages)][::-1]
        self.length = length
        self.start = nn.Linear(latent, widths[0] * _START)
        self.layers = nn.Sequential(
            *(_upsampled(a, b) for a, b in zip(widths, [*widths[1:], 1], strict=True))
        )
        self._first = widths[0]

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns numbers ``(n, 1, 1, length)`` for latent vectors ``(n, latent)``."""
        h: Tensor = self.start(z).view(len(z), self._first, _START)
        wave: Tensor = self.layers(h)
        before = (wave.shape[2] - self.length) // 2
        return wave[:, None, :, before : before + self.length]


def _upsampled(a: int, b: int) -> nn.Module:
    # One number too many, which is cut off: torch cannot differentiate output_padding twice.
    layer = nn.ConvTranspose1d(a, b, _KERNEL, _STRIDE, padding=10)
    return nn.Sequential(nn.ReLU(), layer, _WithoutFirst())


@final
class _WithoutFirst(nn.Module):
    """Leaves out the first number of clips, shape ``(n, channels, length)``."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:]


@final
class WaveCritic(nn.Module):
    """Convolutions of stride 4 and kernel 25, with phase shuffle after all but the last.

    Phase shuffle moves the numbers of all channels by the same random step of at most ``shuffle``,
    ends reflected, so that the critic cannot know fakes by the phase of their upsampling.

    Source: Donahue, McAuley and Puckette, 2019, https://arxiv.org/abs/1802.04208, section 3.3.

    Args:
        length: Numbers of a clip.
        width: Channels of the first layer; each further one has twice as many.
        shuffle: Largest step of phase shuffle.
    """

    def __init__(self, length: int, width: int, shuffle: int) -> None:
        super().__init__()
        stages = _stages(length)
        widths = [1, *(width * 2**k for k in range(stages))]
        self.shuffle = shuffle
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, _KERNEL, _STRIDE, padding=12) for a, b in pairwise(widths)
        )
        for _ in range(stages):
            length = (length - 1) // _STRIDE + 1
        self.act = leaky()
        self.head = nn.Linear(widths[-1] * length, 1)

    def shifts(self, rng: torch.Generator) -> Tensor | None:
        """Returns a random step for each layer but the last, or None if there is no shuffle."""
        count = len(self.layers) - 1
        if not self.shuffle or not count:
            return None
        most = self.shuffle
        return torch.randint(-most, most + 1, (count,), generator=rng, device=rng.device)

    @override
    def forward(self, x: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Returns one score for each of ``(n, 1, 1, length)``, shape ``(n,)``."""
        h = x.flatten(1, 2)
        for k, layer in enumerate(self.layers):
            h = self.act(layer(h))
            if shifts is not None and k < len(shifts):
                h = shuffled(h, shifts[k])
        score: Tensor = self.head(h.flatten(1))
        return score.squeeze(1)


def shuffled(x: Tensor, shift: Tensor) -> Tensor:
    """Returns ``x``, shape ``(n, channels, length)``, moved by a step, its ends reflected.

    Example:
        >>> shuffled(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor(1)).tolist()
        [[[2.0, 1.0, 2.0, 3.0]]]
    """
    last = x.shape[2] - 1
    place = (torch.arange(last + 1, device=x.device) - shift).abs()
    return x[:, :, (last - (last - place).abs()).clamp(min=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class WaveGan(SoundGanOptions):
    """A GAN on waveforms, with one-dimensional convolutions and phase shuffle.

    Source: Donahue, McAuley and Puckette, 2019 (WaveGAN), https://arxiv.org/abs/1802.04208.

    Differs from the paper: loss and penalty of R3GAN (``loss=wgan,penalty=gp,gamma=20`` are the
    paper's); standard normal latents; as many layers as the length of clips needs, which are cut
    on both sides where it is not 16 times a power of 4; both players are small by default.

    Attributes:
        width: Channels at the waveform; 64 in the paper.
        shuffle: Largest step of phase shuffle; 0 for none.
        latent: Latent dimension.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on waveforms of peak 1.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    width: Annotated[int, Between(1)] = 8
    shuffle: Annotated[int, Between(0)] = 2
    latent: Annotated[int, Between(1)] = 64
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    gamma: Annotated[float, Between(0)] = 0.3
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> SoundGame:
        """Returns an untrained GAN for clips.

        Raises:
            UserError: If samples are not clips, or too short, or there is a context.
        """
        refuse_context("wave-gan", context_space)
        check_clips("wave-gan", space)
        length = space.shape[1]
        if length < _START:
            raise UserError(f"wave-gan needs clips of {_START} numbers or more. Got {length}.")
        with seeded(rng.stream("init")):
            net = WaveGenerator(length, self.latent, self.width)
            judge = WaveCritic(length, self.width, self.shuffle)
        made = SoundGenerator(space, self.latent, net, Waveform(length)).to(rng.device)
        return SoundGame(made, judge.to(rng.device), self.rules)
