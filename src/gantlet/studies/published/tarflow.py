"""TarFlow on ImageNet 64x64 (Zhai et al., 2024)."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle, scaled_dot_product_attention
from typing_extensions import override

from gantlet.studies.published.run import Claims, Stated, flops, zeros
from gantlet.studies.published.single import RepeatedFlow

_SIZE, _PATCH, _WIDTH, _FLOWS, _LAYERS, _HEAD = 64, 2, 768, 8, 8, 64
_LENGTH, _CHANNELS = (_SIZE // _PATCH) ** 2, 3 * _PATCH**2

# Keys and values of the patches seen so far, both of shape (n, heads, length, head).
_Cache = tuple[Tensor, Tensor]


@final
class _Layer(nn.Module):
    """A layer of a causal transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.out = nn.Linear(_WIDTH, _WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH)
        )

    @override
    def forward(self, x: Tensor, cache: _Cache | None = None) -> Tensor:
        n, length, _ = x.shape
        qkv = self.qkv(self.norms[0](x)).view(n, length, 3, -1, _HEAD).transpose(1, 3)
        q, k, v = qkv.unbind(2)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        h = scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.out(h.transpose(1, 2).reshape(n, length, _WIDTH))
        out: Tensor = x + self.mlp(self.norms[1](x))
        return out


@final
class _Flow(nn.Module):
    """One autoregressive flow over the patches: each is scaled and shifted by those before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(_CHANNELS, _WIDTH)
        self.places = nn.Parameter(torch.zeros(_LENGTH, _WIDTH))
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.last = nn.Linear(_WIDTH, 2 * _CHANNELS)

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
    def claims(self) -> Claims:
        return Claims(
            images=Stated(
                value=100 * 1_281_149,
                source="100 epochs in the authors' README; the size of the data is recalled",
            ),
            gpus=Stated(value=16, source="the authors' README", is_read=True),
            days=None,
            note="How long it took is not stated.",
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
        return _SIZE

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
        """Returns what one flow spends on a patch after ``seen`` others, in FLOPs."""
        past = zeros(1, _WIDTH // _HEAD, seen, _HEAD)
        with torch.no_grad():
            return flops(lambda: flow.next(zeros(1, 1, _CHANNELS), (past, past)))

    @property
    @override
    def sampling(self) -> str:
        return f"{_FLOWS} flows, {_LENGTH - 1} patches one after another in each, cached"
