"""WaveNet: each number of a clip of sound predicted from those before it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import unknown
from gantlet.core.model import CachedModel, Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.causal import choose
from gantlet.models.codecs import amplitude, check_clips, ended
from gantlet.models.nets import TemperatureScaled, seeded

_MU = 255.0
_OUTSIDE = 1e-6  # share of numbers that may lie anywhere: none is impossible
_POSITIONS = 2**16  # numbers whose logits are held at once where no gradient is kept
_SAMPLED = 256  # clips drawn at once


@final
class MuLaw(nn.Module):
    """Levels of sound, finer where it is quiet, and back.

    ``F(x) = sign(x) ln(1 + 255 |x| / peak) / ln 256`` maps ``[-peak, peak]`` to ``[-1, 1]``, which
    is cut into equal levels. Of an odd number the middle one holds silence.

    Source: ITU-T Recommendation G.711, in the continuous form of van den Oord et al., 2016,
    https://arxiv.org/abs/1609.03499, section 2.2.

    Args:
        levels: Number of levels.
    """

    peak: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("peak", torch.ones(()))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the largest amplitude from clips."""
        self.peak.copy_(amplitude(x))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the level of each number as int64; those beyond the peak have the last ones."""
        y = (x / self.peak).clamp(-1, 1)
        place = y.sign() * (_MU * y.abs()).log1p() / math.log1p(_MU)
        return ((place + 1) / 2 * self.levels).floor().long().clamp(0, self.levels - 1)

    def inverse(self, place: Tensor) -> Tensor:
        """Returns the numbers of places, ``level + share of the level`` in ``[0, levels]``."""
        y = place / self.levels * 2 - 1
        return self.peak * y.sign() * (y.abs() * math.log1p(_MU)).expm1() / _MU

    def log_slope(self, x: Tensor) -> Tensor:
        """Returns the logarithm of levels per unit at each number."""
        slope = _MU / (math.log1p(_MU) * (self.peak + _MU * x.abs()))
        return (slope * self.levels / 2).log()


@final
class GatedLayer(nn.Module):
    """A causal convolution of two numbers ``dilation`` apart, gated; and what it adds.

    Source: van den Oord et al., 2016, https://arxiv.org/abs/1609.03499, equation 2.

    Args:
        width: Channels.
        dilation: How far apart the two numbers are.
        is_last: Whether no layer follows, so that only the skip counts.
    """

    def __init__(self, width: int, dilation: int, *, is_last: bool = False) -> None:
        super().__init__()
        self.dilation = dilation
        self.gate = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.out = None if is_last else nn.Conv1d(width, width, 1)
        self.skip = nn.Conv1d(width, width, 1)

    @override
    def forward(self, h: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """Returns the next channels, shorter by ``dilation``, and what the ``last`` add."""
        a, b = self.gate(h).chunk(2, 1)
        z = a.tanh() * b.sigmoid()
        h = h[:, :, self.dilation :]
        return h if self.out is None else h + self.out(z), self.skip(z[:, :, -last:])

    def step(self, before: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the same of one number, all of shape ``(n, width)``."""
        both = torch.cat([before, now], 1)
        weight = self.gate.weight.transpose(1, 2).flatten(1)
        a, b = linear(both, weight, self.gate.bias).chunk(2, 1)
        z = a.tanh() * b.sigmoid()
        return now if self.out is None else now + pointwise(self.out, z), pointwise(self.skip, z)


def pointwise(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """Returns a convolution of kernel 1 of single numbers, shape ``(n, channels)``."""
    return linear(x, layer.weight[:, :, 0], layer.bias)


@final
class WaveNetModel(CachedModel, Density, TemperatureScaled):
    """Dilated causal convolutions that put out the probabilities of the next level.

    The density of a clip is exact: that of a number is the probability of its level, times the
    number of levels per unit there; a share of 1e-6 is Gaussian around 0 with the peak as its
    deviation, so that nothing is impossible. Samples are spread over their level by the same
    density. An end of a sample in which nothing is heard is set to zero, as recordings have it.

    Args:
        space: Clips.
        levels: Number of levels.
        width: Channels.
        dilations: Of the layers.
    """

    temperatures = (0.95, 0.9, 0.8, 0.7, 0.5)

    def __init__(self, space: Space, levels: int, width: int, dilations: list[int]) -> None:
        super().__init__()
        self.space = space
        self.code = MuLaw(levels)
        self.past = sum(dilations)
        self.embed = nn.Parameter(_close(levels, width))
        *early, last = dilations
        layers = [*(GatedLayer(width, d) for d in early), GatedLayer(width, last, is_last=True)]
        self.layers = nn.ModuleList(layers)
        self.hidden = nn.Conv1d(width, width, 1)
        self.out = nn.Conv1d(width, levels, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation for each number."""
        return self.space.size

    @property
    def silence(self) -> int:
        """The level before a clip begins."""
        return self.code.levels // 2

    def logits(self, seen: Tensor) -> Tensor:
        """Returns logits of the levels that follow each but the first ``past`` of ``seen``.

        Args:
            seen: Levels, shape ``(n, past + length)``.

        Returns:
            Shape ``(n, levels, length)``.
        """
        h = self.embed[seen].transpose(1, 2)
        last = seen.shape[1] - self.past
        skips: list[Tensor] = []
        for layer in self.layers:
            h, skip = layer(h, last)
            skips.append(skip)
        total = torch.stack(skips).sum(0)
        found: Tensor = self.out(self.hidden(total.relu()).relu())
        return found / self.temperature

    def before(self, q: Tensor) -> Tensor:
        """Returns levels, shape ``(n, length)``, put behind silence, the last one left out."""
        return pad(q[:, :-1], (self.past + 1, 0), value=self.silence)

    def cut(self, x: Tensor, crop: int, *, rng: torch.Generator) -> Tensor:
        """Returns the log-density of ``crop`` numbers in a random place, given all before.

        Args:
            x: Clips, shape ``(n, 1, length)``.
            crop: Numbers of each clip.
            rng: Draws the place, one for all clips.

        Returns:
            Shape ``(n, crop)``.
        """
        wave = x.flatten(1)
        q = self.code(wave)
        places = wave.shape[1] - crop + 1
        start = torch.randint(places, (), generator=rng, device=rng.device)
        # Gathered, and not cut out, so that costs can be counted on shapes alone.
        own = start + torch.arange(crop, device=q.device)
        seen = start + torch.arange(crop + self.past, device=q.device)
        return self.conditionals(wave[:, own], q[:, own], self.logits(self.before(q)[:, seen]))

    def conditionals(self, wave: Tensor, q: Tensor, logits: Tensor) -> Tensor:
        """Returns the log-density of each number, shape ``(n, length)``."""
        level = logits.log_softmax(1).gather(1, q[:, None])[:, 0]
        inside = (wave.abs() <= self.code.peak).log()
        usual = level + self.code.log_slope(wave) + inside + math.log1p(-_OUTSIDE)
        z = wave / self.code.peak
        far = -0.5 * z.square() - (self.code.peak * math.sqrt(2 * math.pi) / _OUTSIDE).log()
        return torch.logaddexp(usual, far)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        rows = max(1, _POSITIONS // self.space.size)
        parts = [self._of_waves(wave) for wave in torch.split(x.flatten(1), rows)]
        return LogProb(torch.cat(parts), "exact", "product of conditionals")

    def _of_waves(self, wave: Tensor) -> Tensor:
        """Returns the log-density of clips, shape ``(n, length)``, one number each."""
        q = self.code(wave)
        return self.conditionals(wave, q, self.logits(self.before(q))).sum(1)

    @override
    @torch.no_grad()
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Returns ``n`` samples.

        Args:
            n: Number of samples.
            context: None.
            rng: Random generator: four numbers for each number of a clip.
            cached: Whether the channels of earlier numbers are kept; without them each step
                evaluates the whole past that it sees. The samples are the same.
        """
        parts = [
            self._draw(min(_SAMPLED, n - i), rng, cached=cached) for i in range(0, n, _SAMPLED)
        ]
        x = torch.cat(parts) if parts else self.embed.new_zeros(0, self.space.size)
        return ended(x.view(n, *self.space.shape))

    @torch.inference_mode()
    def _draw(self, n: int, rng: torch.Generator, *, cached: bool) -> Tensor:
        length, device = self.space.size, rng.device
        u, v, far = torch.rand(3, length, n, generator=rng, device=device)
        z = torch.randn(length, n, generator=rng, device=device)
        x = self.embed.new_zeros(length, n)
        seen = torch.full((n, self.past + 1), self.silence, device=device)
        steps = _Steps(self, n) if cached else None
        for t in range(length):
            logits = self.logits(seen)[:, :, -1] if steps is None else steps.next(seen[:, -1])
            own = self.code.inverse(choose(logits, u[t]) + v[t])
            x[t] = torch.where(far[t] < _OUTSIDE, self.code.peak * z[t], own)
            seen = torch.cat([seen[:, 1:], self.code(x[t])[:, None]], 1)
        return x.T.clone()


@final
class _Steps:
    """The channels of earlier numbers: each layer needs those of ``dilation`` numbers ago.

    Source: Le Paine et al., 2016, https://arxiv.org/abs/1611.09482.

    Args:
        model: The model.
        n: Number of clips.
    """

    def __init__(self, model: WaveNetModel, n: int) -> None:
        self._model = model
        self._time = 0
        self._kept: list[Tensor] = []
        h = model.embed[model.silence].expand(n, -1)
        for layer in model.layers:
            assert isinstance(layer, GatedLayer)
            self._kept.append(h.repeat(layer.dilation, 1, 1))
            h, _ = layer.step(h, h)

    def next(self, level: Tensor) -> Tensor:
        """Returns the logits, shape ``(n, levels)``, that follow levels of shape ``(n,)``."""
        model, h = self._model, self._model.embed[level]
        total = torch.zeros_like(h)
        for layer, kept in zip(model.layers, self._kept, strict=True):
            assert isinstance(layer, GatedLayer)
            place = self._time % layer.dilation
            before = kept[place].clone()
            kept[place] = h
            h, skip = layer.step(before, h)
            total = total + skip
        self._time += 1
        found = pointwise(model.out, pointwise(model.hidden, total.relu()).relu())
        return found / model.temperature


def _close(levels: int, width: int) -> Tensor:
    """Returns embeddings, shape ``(levels, width)``, in which close levels start close."""
    line = torch.linspace(-1, 1, levels)[:, None]
    turns = line * torch.logspace(0, 4, (width + 1) // 2, base=2.0) * math.pi / 2
    return torch.cat([turns.sin(), turns.cos()], 1)[:, :width] + 0.02 * torch.randn(levels, width)


@final
class WaveNetGame(Generative):
    """One player, whose loss is the negative log-density of a random piece of each clip.

    In bits for each number. All of a piece's past that the network can see is given, so that the
    mean over pieces is that of whole clips.

    Args:
        model: The player.
        crop: Numbers of a piece.
    """

    def __init__(self, model: WaveNetModel, crop: int) -> None:
        self._model = model
        self._crop = min(crop, model.space.size)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"wavenet": self._model}

    @property
    @override
    def model(self) -> WaveNetModel:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.code.fit(batch)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        if player != "wavenet":
            raise unknown("player", player, self.players)
        return -self._model.cut(batch, self._crop, rng=rng).mean() / math.log(2)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the loss on pieces of ``x``, one of each clip, in blocks of 64 clips."""
        parts = [self.loss("wavenet", p, rng=rng) * len(p) for p in torch.split(x, 64)]
        return torch.stack(parts).sum() / len(x)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class WaveNet:
    """An autoregressive model of sound, trained by maximum likelihood.

    One player, ``wavenet``; its loss is ``-log p(x)`` in bits for each number. A number is
    predicted as one of ``levels`` mu-law levels, by dilated causal convolutions of kernel 2 whose
    dilations are ``1, 2, 4, ..., 2 ** (layers - 1)`` in each of ``stacks`` stacks.

    Source: van den Oord et al., 2016, https://arxiv.org/abs/1609.03499; cached sampling after
    Le Paine et al., 2016, https://arxiv.org/abs/1611.09482.

    Differs from the paper: as many channels in the skips as in the residuals; 255 levels, so that
    silence is the middle of one; random pieces of clips in training; no conditioning.

    Attributes:
        width: Channels.
        layers: Layers of a stack, each with twice the dilation of the one before.
        stacks: Stacks.
        levels: Mu-law levels; an odd number has silence in the middle of one.
        crop: Numbers of each clip that a step of training predicts.
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    width: Annotated[int, Between(1)] = 32
    layers: Annotated[int, Between(1, 16)] = 8
    stacks: Annotated[int, Between(1)] = 1
    levels: Annotated[int, Between(2)] = 255
    crop: Annotated[int, Between(1)] = 256
    ema: Annotated[float, Between(0, 1, below=True)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with a high rate and clipped gradients."""
        return "adam:lr=0.004,beta2=0.99,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> WaveNetGame:
        """Returns an untrained model of clips, on the device of ``rng``.

        Raises:
            UserError: If samples are not clips, or there is a context.
        """
        refuse_context("wavenet", context_space)
        check_clips("wavenet", space)
        dilations = [2**k for k in range(self.layers)] * self.stacks
        with seeded(rng.stream("init")):
            model = WaveNetModel(space, self.levels, self.width, dilations)
        return WaveNetGame(model.to(rng.device), self.crop)
