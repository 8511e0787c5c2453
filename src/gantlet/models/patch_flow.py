"""A flow over the patches of an image: each is changed as a causal transformer says."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.models.bijections import ActNorm, Bijection, Flatten
from gantlet.models.causal import CausalTransformer, earlier_patches

_ROWS = 20_000
"""Most patches that a prediction is fitted to."""

_RIDGE = 1e-3
"""What is added to variances for it, as a share of their mean."""

_LEAST = 1e-6
"""The least deviation that is divided by."""

_FEWEST, _MOST, _WINDOW = 16, 64, 1


@final
class Patches(Bijection):
    """Lays the patches of an image out in reading order, turned to their principal axes.

    The rotation is set from the first batch and trained no further: afterwards the components of
    a patch are uncorrelated.

    Args:
        shape: The shape of an image, ``(channels, height, width)``.
        patch: Side of a patch.
    """

    axes: Tensor

    def __init__(self, shape: tuple[int, int, int], patch: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.patch, self.grid = patch, (height // patch, width // patch)
        self.register_buffer("axes", torch.eye(channels * patch**2))

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._laid_out(x) @ self.axes, x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        y = (z @ self.axes.T).transpose(1, 2).reshape(len(z), -1, *self.grid)
        return pixel_shuffle(y, self.patch)

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        rows = self._laid_out(x).flatten(0, 1).double()
        self.axes.copy_(torch.linalg.eigh(torch.cov(rows.T)).eigenvectors.flip(1))
        return super().prepare(x)

    def _laid_out(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)


@final
class CausalAffine(Bijection):
    """Scales and shifts each patch as the patches before it say.

    ``z_t = x_t exp(s(x_<t)) + t(x_<t)`` with ``s`` within 2 of a constant. Beside what the
    transformer says, the shift has a part that is linear in the patches around. It is set from
    the first batch by least squares, and for each place a shift and scale of what it leaves; all
    are trained further. So the flow starts as a Gaussian whose patches depend on their
    neighbours.

    Source: Papamakarios, Pavlakou and Murray, 2017, https://arxiv.org/abs/1705.07057 (masked
    autoregressive flows); Zhai et al., 2024, https://arxiv.org/abs/2412.06329 (of transformers
    over patches).

    Args:
        near: Which patches each sees directly, counted from 1; 0 stands for none.
        size: Components of a patch.
        width: Width of the transformer.
        depth: Its blocks.
        flip: Whether patches are read from the last to the first.
    """

    near: Tensor

    def __init__(self, near: Tensor, size: int, *, width: int, depth: int, flip: bool) -> None:
        super().__init__()
        tokens, seen = near.shape
        self.register_buffer("near", near, persistent=False)
        self.flip = flip
        self.look = nn.Linear(seen * size, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.body = CausalTransformer(width, depth, _heads(width))
        self.out = nn.Linear(width, 2 * size)
        self.linear = nn.Linear(seen * size, size, bias=False)
        self.shift = nn.Parameter(torch.zeros(tokens, size))
        self.log_scale = nn.Parameter(torch.zeros(tokens, size))
        for zero in (self.out.weight, self.out.bias, self.linear.weight):
            nn.init.zeros_(zero)

    @property
    @override
    def depths(self) -> tuple[int, int]:
        """One pass from samples to codes, one for each patch back."""
        return 1, len(self.near)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._turned(x)
        around = self._around(x)
        h = self.body(self.look(around) + self.position)
        s, t = self._scale_and_shift(h, around, slice(None))
        return self._turned(torch.addcmul(t, x, s.exp())), s.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor) -> Tensor:
        z = self._turned(z)
        cache = self.body.cache(len(z), z.shape[1])
        done = [torch.zeros_like(z[:, 0])]
        for at, near in enumerate(self.near.tolist()):
            around = torch.cat([done[k] for k in near], 1)
            h = self.body.step((self.look(around) + self.position[at])[:, None], cache)[:, 0]
            s, t = self._scale_and_shift(h, around, at)
            done.append((z[:, at] - t) * (-s).exp())
        return self._turned(torch.stack(done[1:], 1))

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        y = self._turned(x)
        around = self._around(y)
        weight = _least_squares(around.flatten(0, 1), y.flatten(0, 1))
        left = y - around @ weight.T
        scale = -left.std(0, correction=0).clamp(min=_LEAST).log()
        self.log_scale.copy_(scale)
        # In units of what is left, which differ from place to place, the shift is the mean's.
        self.linear.weight.copy_(weight)
        self.shift.copy_(-left.mean(0))
        return super().prepare(x)

    def _turned(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.flip else x

    def _around(self, x: Tensor) -> Tensor:
        return pad(x, (0, 0, 1, 0))[:, self.near].flatten(2)

    def _scale_and_shift(
        self, h: Tensor, around: Tensor, at: int | slice
    ) -> tuple[Tensor, Tensor]:
        """Returns ``s`` and ``t`` of the patches ``at``; the prediction is scaled like them."""
        l, t = self.out(h).chunk(2, -1)
        s = 2 * (l / 2).tanh() + self.log_scale[at]
        return s, t + (self.shift[at] - self.linear(around)) * s.exp()


def _least_squares(a: Tensor, b: Tensor) -> Tensor:
    """Returns the weights ``(outputs, inputs)`` that predict rows ``b`` from rows ``a``."""
    step, dtype = max(1, len(a) // _ROWS), a.dtype
    a, b = a[::step].double(), b[::step].double()
    a, b = a - a.mean(0), b - b.mean(0)
    gram = a.T @ a
    ridge = (_RIDGE * gram.diagonal().mean() + _LEAST) * torch.eye(
        len(gram), dtype=gram.dtype, device=gram.device
    )
    weight: Tensor = torch.linalg.solve(gram + ridge, a.T @ b)
    return weight.T.to(dtype)


def _heads(width: int) -> int:
    """Returns how many heads attend: 4 where the width can be parted so."""
    return next(heads for heads in (4, 2, 1) if width % heads == 0)


def side_of_patches(space: Space) -> int | None:
    """Returns the smallest side that parts an image into 16 to 64 patches, or None.

    Example:
        >>> [side_of_patches(Space("image", (3, n, n))) for n in (8, 28, 31, 32, 64)]
        [1, 4, None, 4, 8]
    """
    _, height, width = space.shape
    sides = (p for p in range(1, min(height, width)) if height % p == 0 and width % p == 0)
    fits = (p for p in sides if _FEWEST <= (height // p) * (width // p) <= _MOST)
    return next(fits, None)


def over_patches(
    space: Space, patch: int, *, passes: int, width: int, depth: int
) -> list[Bijection]:
    """Returns the bijections from images to codes; every second pass reads backwards."""
    channels, height, side = space.shape
    cut = Patches((channels, height, side), patch)
    near, size = earlier_patches(cut.grid, _WINDOW), channels * patch**2
    return [
        cut,
        ActNorm((len(near), size)),
        *(
            CausalAffine(near, size, width=width, depth=depth, flip=turn % 2 == 1)
            for turn in range(passes)
        ),
        Flatten((len(near), size)),
    ]
