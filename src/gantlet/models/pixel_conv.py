"""An autoregressive model of images: causal convolutions, and logistics around a prediction."""

import math
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, logsigmoid, pad
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.model import CachedModel, Density, LogProb
from gantlet.models.causal import (
    SAMPLED_AT_ONCE,
    MaskedLinear,
    choose,
    earlier_patches,
    patch_grid,
    raster,
)

MOST_NUMBERS = 2**23
"""Samples that fill more than so many numbers of one layer are evaluated one block after another,
and for the gradient a second time."""

_DILATIONS = (1, 2, 1, 4)
_LEAST_LOG_SCALE = -7.0
_ROWS = 20_000
_RIDGE = 1e-4


@final
class CausalConv(nn.Module):
    """Adds to each place of a grid what it and four places before it say.

    Those are the place to the left and the three above, ``dilation`` places away.

    Args:
        grid: Rows and columns.
        width: Channels.
        dilation: How far away the neighbours are.
    """

    near: Tensor

    def __init__(self, grid: tuple[int, int], width: int, dilation: int) -> None:
        super().__init__()
        self.grid, self.dilation = grid, dilation
        self.first = nn.Linear(5 * width, width)
        self.last = nn.Linear(width, width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        places = torch.arange(1, grid[0] * grid[1] + 1).view(1, *grid, 1)
        near = torch.cat(self._shifted(places), -1).flatten(0, 2)
        self.register_buffer("near", near, persistent=False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns all places, shape ``(n, places, width)``, one layer on."""
        n, places, width = x.shape
        seen = torch.cat(self._shifted(x.view(n, *self.grid, width)), -1)
        return self._after(x, seen.view(n, places, -1))

    def step(self, x: Tensor, seen: Tensor, at: int) -> Tensor:
        """Returns place ``at``, shape ``(n, width)``, one layer on; adds it to ``seen``.

        ``seen`` has shape ``(n, places + 1, width)``: zeros, then what came into each place.
        """
        seen[:, at + 1] = x
        return self._after(x, seen[:, self.near[at]].flatten(1))

    def _shifted(self, x: Tensor) -> list[Tensor]:
        """Returns a grid ``(n, rows, columns, channels)`` and its neighbours, zeros outside."""
        d, (rows, columns) = self.dilation, self.grid
        around = pad(x, (0, 0, d, d, d, 0))
        moves = ((d, 0), (0, 0), (0, d), (0, 2 * d))
        return [x, *(around[:, r : r + rows, c : c + columns] for r, c in moves)]

    def _after(self, x: Tensor, seen: Tensor) -> Tensor:
        change: Tensor = self.last(gelu(self.first(seen)))
        return x + change


@final
@dataclass(slots=True)
class _Drawn:
    """What is known while samples are drawn, patch after patch.

    Attributes:
        y: Scaled levels, shape ``(n, patches + 1, levels in a patch)``; first zeros.
        q: The same as levels, without the zeros.
        seen: What came into each convolution.
    """

    y: Tensor
    q: Tensor
    seen: list[Tensor]


@final
class PixelConv(CachedModel, Density):
    """Causal convolutions over the patches of an image; its log-probability is exact.

    ``log p(x) = sum_t sum_g log p(x_tg | patches before t, levels before g in patch t)``. Each
    level has a mixture of discretised logistics around a linear prediction from the levels of the
    patches around and those before it in its own. The prediction is set from the first batch by
    least squares, and so is the spread of what it leaves at each place; both stay as they are,
    since the large steps of early training would undo them. So the model starts as linear
    prediction, which is most of what neighbouring pixels say, and the convolutions, whose last
    layers start at zero, learn the rest.

    Args:
        space: Images of discrete levels.
        patch: Side of a patch.
        window: How many patches to the left, to the right and above are seen directly.
        width: Units of the network inside a patch; the convolutions have twice as many channels.
        layers: How often a convolution of near and one of far neighbours follow.
        mixtures: Logistics of each level.
    """

    order: Tensor
    back: Tensor
    near: Tensor
    prediction: Tensor
    middle: Tensor
    log_spread: Tensor

    def __init__(
        self, space: Space, *, patch: int, window: int, width: int, layers: int, mixtures: int
    ) -> None:
        super().__init__()
        self.space, self.levels, self.inner = space, space.levels or 1, width
        grid = patch_grid(space, patch)
        order, near = raster(space, patch), earlier_patches(grid, window)
        tokens, self.group = order.shape
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.register_buffer("near", near, persistent=False)
        around, channels = near.shape[1] * self.group, 2 * width
        self.look = nn.Linear(around, channels)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, channels))
        self.body = nn.ModuleList(
            CausalConv(grid, channels, _DILATIONS[k % len(_DILATIONS)]) for k in range(2 * layers)
        )
        index = torch.arange(self.group)
        before = index[:, None] > index
        self.hidden = nn.Linear(channels, self.group * width)
        self.inside = MaskedLinear(before.repeat_interleave(width, 0))
        self.out = nn.Linear(width, 3 * mixtures)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            # Side by side in size: what linear prediction leaves has heavy tails.
            self.out.bias[2 * mixtures :] = torch.linspace(-1.5, 0.7, mixtures)
        self.register_buffer("prediction", torch.zeros(self.group, around + self.group))
        self.register_buffer("middle", torch.zeros(tokens, self.group))
        self.register_buffer("log_spread", torch.full((tokens, self.group), math.log(0.3)))

    @property
    @override
    def sample_depth(self) -> int:
        """One evaluation for each level, of the whole network or of its last layers."""
        return self.space.size

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:  # noqa: ARG002
        """Sets the prediction and its spread from real samples."""
        y = self._scaled(batch.flatten(1)[:, self.order])
        seen = torch.cat([self.around(y), y], 2)
        self.prediction.copy_(self._least_squares(seen.flatten(0, 1)))
        left = y - linear(seen, self.prediction)
        self.middle.copy_(left.mean(0))
        # What never varies keeps a spread of a level: it may vary in other samples.
        spread = left.std(0, correction=0).clamp(min=2 / self.levels)
        self.log_spread.copy_((spread * math.sqrt(3) / math.pi).log())

    def _least_squares(self, rows: Tensor) -> Tensor:
        """Returns the best prediction of the last ``group`` numbers from all before each.

        With ``C = L L'`` the covariance of the numbers in order, ``L^-1 x`` has independent
        components: row ``g`` of ``L^-1`` gives that of number ``g`` and all before it.
        """
        rows = rows[:: max(1, len(rows) // _ROWS)].double()
        C = torch.cov(rows.T)
        eye = torch.eye(len(C), dtype=C.dtype, device=C.device)
        L = torch.linalg.cholesky(C + (_RIDGE * C.diagonal().mean() + 1e-6) * eye)
        inverse: Tensor = torch.linalg.solve_triangular(L, eye, upper=False)
        weight: Tensor = eye - inverse * L.diagonal()[:, None]
        return weight[-self.group :]

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        q = x.flatten(1)[:, self.order]
        each = self.space.size * max(self.inner, self.out.out_features)
        parts = torch.split(q, max(1, MOST_NUMBERS // each))
        if len(parts) <= 1:
            return LogProb(self.score(q), "exact", "product of conditionals")
        nats = [
            cast(
                "Tensor",
                checkpoint(self.score, part, use_reentrant=False, preserve_rng_state=False),
            )
            for part in parts
        ]
        return LogProb(torch.cat(nats), "exact", "product of conditionals")

    def score(self, q: Tensor) -> Tensor:
        """Returns log-probabilities ``(n,)`` of levels in order, ``(n, patches, levels)``."""
        return self.each(q).sum((1, 2))

    def each(self, q: Tensor) -> Tensor:
        """Returns the log-probability of each level given those before it, shape of ``q``."""
        y = self._scaled(q)
        around = self.around(y)
        h: Tensor = self.look(around) + self.position
        for layer in self.body:
            h = layer(h)
        z = gelu(self.hidden(h) + self.inside(y)).view(-1, self.inner)
        # One row for each parameter: they are worked on one after the other.
        theta = torch.addmm(self.out.bias[:, None], self.out.weight, z.T)
        centre = self.predicted(around, y)
        spread = self.log_spread.expand_as(centre)
        nats = self.mixture(q.flatten(), centre.flatten(), spread.flatten(), theta)
        return nats.view_as(q)

    def predicted(self, around: Tensor, y: Tensor) -> Tensor:
        """Returns the linear prediction of scaled levels ``y``, of the same shape."""
        return linear(torch.cat([around, y], 2), self.prediction) + self.middle

    def mixture(self, q: Tensor, centre: Tensor, spread: Tensor, theta: Tensor) -> Tensor:
        """Returns log-probabilities of levels ``(m,)``; ``theta`` has shape ``(3 k, m)``.

        Source: Salimans et al., 2017, https://arxiv.org/abs/1701.05517, equation 2.
        """
        logits, mean, log_scale = self._parts(centre, spread, theta)
        inverse = (-log_scale).exp()
        z = (self._scaled(q) - mean) * inverse
        half = inverse / max(self.levels - 1, 1)
        # A level takes what rounds to it, sigmoid(z + half) - sigmoid(z - half), written so that
        # it never cancels; the lowest and the highest take the tails.
        low, high = q <= 0, q >= self.levels - 1
        part = (
            logsigmoid(z + half).masked_fill(high, 0)
            + logsigmoid(half - z).masked_fill(low, 0)
            + torch.log(-torch.expm1(-2 * half)).masked_fill(low | high, 0)
        )
        return (logits.log_softmax(0) + part).logsumexp(0)

    def _parts(
        self, centre: Tensor, spread: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits, means and logarithms of scales of a mixture, each ``(k, m)``."""
        logits, shift, log_scale = theta.chunk(3)
        log_scale = (log_scale + spread).clamp(min=_LEAST_LOG_SCALE)
        return logits, torch.addcmul(centre, shift, spread.exp()), log_scale

    @override
    @torch.no_grad()
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Returns ``n`` samples.

        Args:
            n: How many.
            context: None.
            rng: Where the randomness comes from: two uniform numbers for each level.
            cached: Whether to keep what came into the convolutions at earlier patches; without
                that each step computes the whole image. The samples are the same.
        """
        u = torch.rand((n, *self.order.shape, 2), generator=rng, device=rng.device)
        u = u.to(self.position.dtype)
        x = torch.cat(
            [self._draw(part, cached=cached) for part in torch.split(u, SAMPLED_AT_ONCE)]
        )
        return x[:, self.back].view(n, *self.space.shape)

    @torch.inference_mode()
    def _draw(self, u: Tensor, *, cached: bool) -> Tensor:
        """Returns the levels that ``u`` stands for, shape ``(n, size)``, in order."""
        n, tokens = u.shape[:2]
        room = self.position.new_zeros(n, tokens + 1, self.position.shape[1])
        y = self.position.new_zeros(n, tokens + 1, self.group)
        drawn = _Drawn(y, y[:, 1:].clone(), [room.clone() for _ in self.body])
        for t in range(tokens):
            around = drawn.y[:, self.near[t]].flatten(1)
            h = self._step(around, drawn, t) if cached else self._whole(drawn)[:, t]
            self._draw_patch(drawn, around, h, u[:, t], t)
        return drawn.q.flatten(1)

    def _step(self, around: Tensor, drawn: _Drawn, at: int) -> Tensor:
        h: Tensor = self.look(around) + self.position[at]
        for layer, seen in zip(self.body, drawn.seen, strict=True):
            h = cast("CausalConv", layer).step(h, seen, at)
        return h

    def _whole(self, drawn: _Drawn) -> Tensor:
        h: Tensor = self.look(drawn.y[:, self.near].flatten(2)) + self.position
        for layer in self.body:
            h = layer(h)
        return h

    def _draw_patch(self, drawn: _Drawn, around: Tensor, h: Tensor, u: Tensor, t: int) -> None:
        """Draws the levels of patch ``t``, one after the other."""
        given = self.hidden(h) + self.inside.bias
        for g in range(self.group):
            before = drawn.y[:, t + 1]
            units = slice(g * self.inner, (g + 1) * self.inner)
            z = gelu(given[:, units] + linear(before, self.inside.masked[units]))
            seen = torch.cat([around, before], 1)
            centre = linear(seen, self.prediction[g : g + 1])[:, 0] + self.middle[t, g]
            level = self._level(centre, self.log_spread[t, g], self.out(z).T, u[:, g])
            drawn.q[:, t, g] = level
            drawn.y[:, t + 1, g] = self._scaled(level)

    def _level(self, centre: Tensor, spread: Tensor, theta: Tensor, u: Tensor) -> Tensor:
        logits, mean, log_scale = self._parts(centre, spread, theta)
        k = choose(logits.T, u[:, 0])[None]
        noise = torch.logit(u[:, 1], eps=1e-7) * log_scale.gather(0, k)[0].exp()
        y = mean.gather(0, k)[0] + noise
        return ((y + 1) / 2 * (self.levels - 1)).round().clamp(0, self.levels - 1)

    def _scaled(self, q: Tensor) -> Tensor:
        """Returns levels between -1 and 1, as the network takes them."""
        return q * (2 / max(self.levels - 1, 1)) - 1

    def around(self, y: Tensor) -> Tensor:
        """Returns the levels of the patches that each sees, shape ``(n, patches, ...)``."""
        return pad(y, (0, 0, 1, 0))[:, self.near].flatten(2)
