"""Published flows: Glow, TarFlow."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention
from typing_extensions import override

from gantlet.research.published.run import (
    PublishedClaims,
    RepeatedFlow,
    Stated,
    flops,
    repeated,
    zeros,
)

_TARFLOW_SIZE, _PATCH, _TARFLOW_WIDTH, _FLOWS, _LAYERS, _HEAD = 64, 2, 768, 8, 8, 64
_LENGTH, _CHANNELS = (_TARFLOW_SIZE // _PATCH) ** 2, 3 * _PATCH**2

# Keys and values of the patches seen so far, both of shape (n, heads, length, head).
_Cache = tuple[Tensor, Tensor]


@final
class _Layer(nn.Module):
    """A layer of a causal transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(_TARFLOW_WIDTH) for _ in range(2))
        self.qkv = nn.Linear(_TARFLOW_WIDTH, 3 * _TARFLOW_WIDTH)
        self.out = nn.Linear(_TARFLOW_WIDTH, _TARFLOW_WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(_TARFLOW_WIDTH, 4 * _TARFLOW_WIDTH),
            nn.GELU(),
            nn.Linear(4 * _TARFLOW_WIDTH, _TARFLOW_WIDTH),
        )

    @override
    def forward(self, x: Tensor, cache: _Cache | None = None) -> Tensor:
        n, length, _ = x.shape
        qkv = self.qkv(self.norms[0](x)).view(n, length, 3, -1, _HEAD).transpose(1, 3)
        q, k, v = qkv.unbind(2)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        h = scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.out(h.transpose(1, 2).reshape(n, length, _TARFLOW_WIDTH))
        out: Tensor = x + self.mlp(self.norms[1](x))
        return out


@final
class _Flow(nn.Module):
    """One autoregressive flow over the patches: each is scaled and shifted by those before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(_CHANNELS, _TARFLOW_WIDTH)
        self.places = nn.Parameter(torch.zeros(_LENGTH, _TARFLOW_WIDTH))
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.last = nn.Linear(_TARFLOW_WIDTH, 2 * _CHANNELS)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.first(x) + self.places
        for layer in self.layers:
            h = layer(h)
        h = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
        logs, shift = self.last(h).chunk(2, -1)
        return (x - shift) * (-logs).exp(), -logs.sum((1, 2))

    def next(self, x: Tensor, cache: _Cache) -> Tensor:
        """Returns scale and shift of the patch after ``x``, with a cache for each layer alike."""
        h = self.first(x) + self.places[0]
        for layer in self.layers:
            h = layer(h, cache)
        out: Tensor = self.last(h)
        return out


@final
class TarFlow(nn.Module):
    """Flows one after another, each reading the patches the other way round.

    Args:
        flows: How many.
    """

    def __init__(self, flows: int = _FLOWS) -> None:
        super().__init__()
        self.flows = nn.ModuleList(_Flow() for _ in range(flows))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the negative log-likelihood of images but for a constant, a scalar."""
        z = pixel_unshuffle(x, _PATCH).flatten(2).mT
        volume = x.new_zeros(())
        for flow in self.flows:
            z, change = flow(z.flip(1))
            volume = volume + change.mean()
        return z.square().sum((1, 2)).mean() / 2 - volume


@final
class TarFlowRun(RepeatedFlow):
    """TarFlow, patch 2, width 768, 8 flows of 8 layers, uniform noise, for likelihood.

    Attention is counted whole; a kernel that skips the masked half saves 8 % of the total.
    """

    @property
    @override
    def name(self) -> str:
        return "TarFlow, ImageNet 64"

    @property
    @override
    def source(self) -> str:
        return (
            "Zhai et al., 2024, https://arxiv.org/abs/2412.06329; "
            "apple/ml-tarflow README, unconditional density modelling"
        )

    @property
    @override
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
            images=Stated(
                value=100 * 1_281_149,
                source="100 epochs in the authors' README; the size of the data is recalled",
            ),
            gpus=Stated(value=16, source="the authors' README", is_read=True),
            days=None,
            note="The training time is not stated.",
        )

    @override
    def flow(self, times: int) -> TarFlow:
        return TarFlow(times)

    @property
    @override
    def times(self) -> int:
        return _FLOWS

    @property
    @override
    def side(self) -> int:
        return _TARFLOW_SIZE

    @override
    def sample(self) -> float:
        # Patch by patch with a cache: the cost of a patch grows linearly with those before it, so
        # the mean of the first and the last is that of all.
        with torch.device("meta"):
            flow = _Flow()
        ends = [self.patch_flops(flow, seen) for seen in (0, _LENGTH - 2)]
        return _FLOWS * (_LENGTH - 1) * sum(ends) / 2

    @staticmethod
    def patch_flops(flow: _Flow, seen: int) -> float:
        """Returns the FLOPs of one flow on a patch after ``seen`` others."""
        past = zeros(1, _TARFLOW_WIDTH // _HEAD, seen, _HEAD)
        with torch.no_grad():
            return flops(lambda: flow.next(zeros(1, 1, _CHANNELS), (past, past)))

    @property
    @override
    def sampling(self) -> str:
        return f"{_FLOWS} flows, {_LENGTH - 1} patches one after another in each, cached"


_SIZE, _LEVELS, _DEPTH, _WIDTH = 256, 6, 32, 512


@final
class _EdgeConv(nn.Module):
    """A 3x3 convolution that sees, in one more channel, where the image ends."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs + 1, outputs, 3, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.logs = nn.Parameter(torch.zeros(outputs, 1, 1))

    @override
    def forward(self, x: Tensor) -> Tensor:
        edge = pad(torch.zeros_like(x[:, :1]), (1, 1, 1, 1), value=1.0)
        out: Tensor = self.conv(torch.cat([pad(x, (1, 1, 1, 1)), edge], 1))
        return (out + self.bias) * self.logs.exp()


@final
class _Step(nn.Module):
    """Activation normalisation, an invertible 1x1 convolution, an additive coupling."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        half = channels // 2
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mix = nn.Parameter(torch.zeros(channels, channels))
        self.first = _EdgeConv(half, width)
        self.middle = nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(torch.zeros(width, 1, 1))
        self.last = _EdgeConv(width, half)

    def shift(self, x: Tensor) -> Tensor:
        """Returns the shift of the second half of the channels."""
        h = self.middle(self.first(x).relu()) * self.scale.exp()
        shift: Tensor = self.last(h.relu())
        return shift

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = (x + self.bias) * self.logs.exp()
        x = torch.conv2d(x, self.mix[..., None, None])
        a, b = x.chunk(2, 1)
        volume = self.logs.sum() + torch.linalg.slogdet(self.mix.double())[1].float()
        return torch.cat([a, b + self.shift(a)], 1), volume * x[0, 0].numel()

    def inverse(self, z: Tensor) -> Tensor:
        """Returns the inverse of ``forward`` at ``z``."""
        a, b = z.chunk(2, 1)
        x = torch.cat([a, b - self.shift(a)], 1)
        x = torch.conv2d(x, torch.linalg.inv(self.mix)[..., None, None])
        return x * (-self.logs).exp() - self.bias


@final
class Glow(nn.Module):
    """A multi-scale flow: at each level steps, then half of the channels are split off.

    Args:
        depth: Steps in each level.
    """

    def __init__(self, depth: int = _DEPTH) -> None:
        super().__init__()
        channels = [12 * 2**level for level in range(_LEVELS)]
        self.levels = nn.ModuleList(
            nn.ModuleList(_Step(c, _WIDTH) for _ in range(depth)) for c in channels
        )
        self.splits = nn.ModuleList(_EdgeConv(c // 2, c) for c in channels[:-1])
        self.top = _EdgeConv(2 * channels[-1], 2 * channels[-1])

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the negative log-likelihood of images, shape ``(n, 3, h, w)``, a scalar."""
        log_p = x.new_zeros(())
        for i, steps in enumerate(self.levels):
            x = pixel_unshuffle(x, 2)
            for step in steps.children():
                x, volume = step(x)
                log_p = log_p + volume
            if i < len(self.splits):
                x, split = x.chunk(2, 1)
                log_p = log_p + _log_normal(split, self.splits[i](x))
        prior = self.top(torch.zeros_like(torch.cat([x, x], 1)))
        return -(log_p + _log_normal(x, prior)).mean()

    def inverse(self, z: Tensor) -> Tensor:
        """Returns the image whose innermost code is ``z``, all others drawn as zeros."""
        self.top(torch.zeros_like(torch.cat([z, z], 1)))
        for i in reversed(range(len(self.levels))):
            if i < len(self.splits):
                z = torch.cat([z, self.splits[i](z).chunk(2, 1)[0]], 1)
            for step in reversed(list(self.levels[i].children())):
                z = step.inverse(z) if isinstance(step, _Step) else z
            z = pixel_shuffle(z, 2)
        return z


def _log_normal(x: Tensor, h: Tensor) -> Tensor:
    mean, logs = h.chunk(2, 1)
    logs_p = -logs - 0.5 * ((x - mean).square() * (-2 * logs).exp() + math.log(2 * math.pi))
    return logs_p.flatten(1).sum(1)


@final
class GlowRun(RepeatedFlow):
    """GLOW, 256x256, 6 levels of 32 additive steps of width 512.

    Differs from the paper: none in what is counted; TensorFlow's gradient checkpointing, which
    the authors' code switches on, would run the forward pass once more (a third on top).
    """

    @property
    @override
    def name(self) -> str:
        return "GLOW, CelebA-HQ 256"

    @property
    @override
    def source(self) -> str:
        return "Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039; openai/glow README"

    @property
    @override
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
            images=None,
            gpus=Stated(value=40, source="openai/glow README", is_read=True),
            days=Stated(value=7, source="the author in openai/glow #37, about"),
            note=(
                "The number of training images is not stated. The authors' code takes one "
                "image at a time on each GPU at this size."
            ),
        )

    @override
    def flow(self, times: int) -> Glow:
        return Glow(times)

    @property
    @override
    def times(self) -> int:
        return _DEPTH

    @property
    @override
    def side(self) -> int:
        return _SIZE

    @override
    def sample(self) -> float:
        return repeated(self.sample_at, _DEPTH)

    def sample_at(self, depth: int) -> float:
        """Returns the operations of one sample with so many steps in each level."""
        with torch.device("meta"):
            flow = Glow(depth)
        with torch.no_grad():
            return flops(lambda: flow.inverse(zeros(1, 384, 4, 4)))

    @property
    @override
    def sampling(self) -> str:
        return "one inverse pass"
