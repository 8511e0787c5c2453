"""Bijections with log-determinants, and several in a row."""

import abc
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import ClassVar, NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle, pixel_unshuffle, softplus
from typing_extensions import override


class Transform(nn.Module, abc.ABC):
    """A monotonic map of each component, steered by parameters; all parameters 0 is the identity.

    Parameters come along the second axis, ``count`` times as long as that of the input:
    first the first parameter of all components, then the second, and so on.
    """

    count: ClassVar[int]

    @abc.abstractmethod
    @override
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and ``log |det dz/dx|`` of each sample, shape ``(n,)``, in nats."""

    @abc.abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z``."""


@final
class Affine(Transform):
    """``z = x exp(s) + t`` with ``s = 2 tanh(l / 2)``, so that no scale leaves [e^-2, e^2].

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, equation 7.

    Differs from the paper: the scale is bounded by 2 without a learned factor. Without a bound,
    likelihoods of samples away from the data overflow.
    """

    count = 2

    @override
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(raw)
        return torch.addcmul(t, x, s.exp()), s.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        s, t = self._scale_and_shift(raw)
        return (z - t) * (-s).exp()

    def _scale_and_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        l, t = raw.chunk(2, 1)
        return 2 * (l / 2).tanh(), t


BINS = 8
BOUND = 5.0
SMALLEST = 1e-2
"""The smallest width and height of a bin, as a fraction of the interval, and smallest slope."""


class _Bin(NamedTuple):
    """The piece of the spline that each component falls into."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    d0: Tensor
    d1: Tensor

    @property
    def slope(self) -> Tensor:
        return self.height / self.width


@final
class Spline(Transform):
    """A monotonic spline of eight rational-quadratic pieces on [-5, 5], the identity outside.

    Source: Durkan, Bekasov, Murray and Papamakarios, 2019, https://arxiv.org/abs/1906.04032,
    equations 4, 5 and 6 to 8 (inverse), linear tails as in section 3.1.

    Differs from the paper: the parameters of the slopes are shifted so that all zeros give the
    identity, and the smallest bin and slope are 0.01 and not 0.001, which makes the inverse about
    ten times as accurate.
    """

    count = 3 * BINS - 1

    @override
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < BOUND
        xs, ys, ds = _knots(raw, x.shape[1])
        at = x.clamp(-BOUND, BOUND)
        b = _find(at, xs, xs, ys, ds)
        r = (at - b.x) / b.width
        rest = r * (1 - r)
        bend = b.slope + (b.d1 + b.d0 - 2 * b.slope) * rest
        z = b.y + b.height * (b.slope * r.square() + b.d0 * rest) / bend
        rise = b.d1 * r.square() + 2 * b.slope * rest + b.d0 * (1 - r).square()
        log_slope = 2 * (b.slope / bend).log() + rise.log()
        log_det = torch.where(inside, log_slope, torch.zeros_like(x))
        return torch.where(inside, z, x), log_det.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        xs, ys, ds = _knots(raw, z.shape[1])
        at = z.clamp(-BOUND, BOUND)
        bin_ = _find(at, ys, xs, ys, ds)
        x = bin_.x + _root(at - bin_.y, bin_) * bin_.width
        return torch.where(z.abs() < BOUND, x, z)


def _knots(raw: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the knots, ``BINS + 1`` along a new last axis: where, how high and how steep."""
    raw = raw.view(len(raw), -1, size, *raw.shape[2:]).movedim(1, -1)
    widths, heights, slopes = raw.tensor_split([BINS, 2 * BINS], -1)
    # softplus(offset) + SMALLEST = 1, the slope of the tails.
    offset = math.log(math.expm1(1 - SMALLEST))
    inner = SMALLEST + softplus(slopes + offset)
    return _cumulated(widths), _cumulated(heights), pad(inner, (1, 1), value=1.0)


def _cumulated(raw: Tensor) -> Tensor:
    fractions = SMALLEST + (1 - SMALLEST * BINS) * raw.softmax(-1)
    # The last knot is put at the bound itself: a sum would miss it by rounding.
    inner = BOUND * (2 * fractions.cumsum(-1)[..., :-1] - 1)
    return pad(pad(inner, (1, 0), value=-BOUND), (0, 1), value=BOUND)


def _find(value: Tensor, knots: Tensor, xs: Tensor, ys: Tensor, ds: Tensor) -> _Bin:
    k = (value.unsqueeze(-1) >= knots[..., 1:-1]).sum(-1, keepdim=True)
    x0, x1 = xs.gather(-1, k).squeeze(-1), xs.gather(-1, k + 1).squeeze(-1)
    y0, y1 = ys.gather(-1, k).squeeze(-1), ys.gather(-1, k + 1).squeeze(-1)
    d0, d1 = ds.gather(-1, k).squeeze(-1), ds.gather(-1, k + 1).squeeze(-1)
    return _Bin(x0, y0, x1 - x0, y1 - y0, d0, d1)


def _root(rise: Tensor, b: _Bin) -> Tensor:
    """Returns the position in its bin, from 0 to 1, at which the spline has risen by ``rise``."""
    curvature = rise * (b.d1 + b.d0 - 2 * b.slope)
    A = b.height * (b.slope - b.d0) + curvature
    B = b.height * b.d0 - curvature
    C = -b.slope * rise
    # Rounding can make the discriminant negative where it is zero.
    return 2 * C / (-B - (B.square() - 4 * A * C).clamp(min=0).sqrt())


class Bijection(nn.Module, abc.ABC):
    """An invertible map from samples to codes that knows how it changes volume."""

    @property
    def depths(self) -> tuple[int, int]:
        """Dependent network evaluations of ``forward`` and of ``inverse``; one is a whole pass."""
        return 1, 1

    @abc.abstractmethod
    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and ``log |det dz/dx|`` of each sample, shape ``(n,)``, in nats."""

    @abc.abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z``."""

    def prepare(self, x: Tensor) -> Tensor:
        """Sets what depends on data from one batch of inputs and returns what they become."""
        return cast("Tensor", self(x)[0])


@final
class Chain(Bijection):
    """Bijections one after the other.

    Args:
        parts: The bijections, from samples towards codes.
    """

    def __init__(self, parts: Iterable[Bijection]) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)

    @property
    def parts(self) -> list[Bijection]:
        """The bijections, from samples towards codes."""
        return [cast("Bijection", part) for part in self._parts]

    @property
    @override
    def depths(self) -> tuple[int, int]:
        """Those of the deepest part: all parts together are one pass of the network."""
        each = [part.depths for part in self.parts]
        return max(there for there, _ in each), max(back for _, back in each)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for part in self._parts:
            x, change = part(x)
            log_det = log_det + change
        return x, log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        for part in reversed(self.parts):
            z = part.inverse(z)
        return z

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part.prepare(x)
        return x


@final
class Flatten(Bijection):
    """Lays each sample out as a vector.

    Args:
        shape: The shape of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return z.view(len(z), *self.shape)


@final
class Permute(Bijection):
    """Puts the components of a vector in another order.

    Args:
        order: Which component comes first, second, and so on.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("back", torch.tensor(inverted(order)), persistent=False)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.order), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return z.index_select(1, self.back)


@final
class Squeeze(Bijection):
    """Trades space for channels: each 2 x 2 patch becomes four channels of one pixel.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, section 3.6.
    """

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return pixel_unshuffle(x, 2), x.new_zeros(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return pixel_shuffle(z, 2)


def checkerboard(shape: tuple[int, ...]) -> list[int]:
    """Returns the order that puts the white squares of a sample before the black ones.

    A square is white where the sum of its indices is even; of a vector, every second component.
    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, figure 3.

    Example:
        >>> checkerboard((4,)), checkerboard((1, 2, 2))
        ([0, 2, 1, 3], [0, 3, 1, 2])
    """
    axes = [range(size) for size in shape]
    colours = [sum(index) % 2 for index in product(*axes)]
    return sorted(range(len(colours)), key=colours.__getitem__)


def inverted(order: Sequence[int]) -> list[int]:
    """Returns the order that undoes ``order``.

    Example:
        >>> inverted([2, 0, 1])
        [1, 2, 0]
    """
    return sorted(range(len(order)), key=order.__getitem__)


@final
class InvertibleConv(Bijection):
    """An invertible 1 x 1 convolution, held as ``W = P L (U + diag(s))``.

    ``P`` and the signs of ``s`` are fixed, ``L`` has ones and ``U`` zeros on the diagonal, so
    ``log |det W|`` is the sum of ``log |s|``. Starts as a random rotation.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, equations 9 to 11.

    Args:
        channels: How many channels are mixed.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = nn.init.orthogonal_(torch.empty(channels, channels))
        P, L, U = torch.linalg.lu(rotation)
        s = U.diagonal()
        self.register_buffer("permutation", P)
        self.register_buffer("sign", s.sign())
        self.lower = nn.Parameter(L.tril(-1))
        self.upper = nn.Parameter(U.triu(1))
        self.log_scale = nn.Parameter(s.abs().log())

    @property
    def weight(self) -> Tensor:
        """The matrix ``W``, shape ``(channels, channels)``."""
        return self.permutation @ self._lower() @ self._upper()

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        return _mix(self.weight, x), (self.log_scale.sum() * pixels).expand(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        back = torch.linalg.solve_triangular(
            self._lower(), self.permutation.T, upper=False, unitriangular=True
        )
        return _mix(torch.linalg.solve_triangular(self._upper(), back, upper=True), z)

    def _lower(self) -> Tensor:
        return self.lower.tril(-1) + torch.ones_like(self.log_scale).diag()

    def _upper(self) -> Tensor:
        return self.upper.triu(1) + (self.sign * self.log_scale.exp()).diag()


def _mix(weight: Tensor, x: Tensor) -> Tensor:
    return conv2d(x, weight[:, :, None, None])


@final
class EarlyExit(Bijection):
    """One level of a multi-scale flow: half of the channels leave for the code, the rest go on.

    The code holds what leaves and then what the rest becomes, so that no component is lost.
    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803,
    equations 13 to 16.

    Args:
        level: What happens to images at this resolution.
        rest: What happens to the channels that go on, the first half; its codes are vectors.
        shape: The shape of the other half.
    """

    def __init__(self, level: Bijection, rest: Bijection, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.level = level
        self.rest = rest
        self.shape = shape

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.level(x)
        on, leaves = y.chunk(2, 1)
        z, change = self.rest(on)
        return torch.cat([leaves.flatten(1), z], 1), log_det + change

    @override
    def inverse(self, z: Tensor) -> Tensor:
        size = math.prod(self.shape)
        leaves, z = z.tensor_split([size], 1)
        y = torch.cat([self.rest.inverse(z), leaves.reshape(len(z), *self.shape)], 1)
        return self.level.inverse(y)

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        on, leaves = self.level.prepare(x).chunk(2, 1)
        return torch.cat([leaves.flatten(1), self.rest.prepare(on)], 1)


@final
class ActNorm(Bijection):
    """Subtracts and scales, so that the first batch comes out with mean 0 and deviation 1.

    ``z = x exp(s) + t``, trained like any other layer afterwards.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, section 3.1.

    Args:
        shape: The shape of one sample, with 1 where all share a value: ``(channels, 1, 1)`` is
            the paper's, one value for each channel; ``(size,)`` has one for each component.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.addcmul(self.shift, x, self.log_scale.exp())
        copies = math.prod(x.shape[1:]) // self.log_scale.numel()
        return z, (self.log_scale.sum() * copies).expand(len(x))

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return (z - self.shift) * (-self.log_scale).exp()

    @override
    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        shared = [0] + [i + 1 for i, size in enumerate(self.shift.shape) if size == 1]
        mean = x.mean(shared, keepdim=True)
        std = (x - mean).square().mean(shared, keepdim=True).sqrt()
        # What does not vary in the batch is left at its own scale.
        scale = torch.where(std > 0, std, torch.ones_like(std))
        self.shift.copy_((-mean / scale).view_as(self.shift))
        self.log_scale.copy_(-scale.log().view_as(self.shift))
        return super().prepare(x)


@final
class Logit(Bijection):
    """Opens a bounded interval to the whole line: ``z = logit(a + (1 - 2a) (x + 1) / 2)``.

    Source: Dinh, Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803,
    section 4.1.

    Differs from the paper: symmetric in its two ends, so that both stay finite.

    Args:
        alpha: How far the ends of [-1, 1] stay from 0 and 1.
    """

    def __init__(self, alpha: float = 0.01) -> None:
        super().__init__()
        self.alpha = alpha

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Samples, unlike data, can round to 0 or 1: their codes are kept finite.
        eps = torch.finfo(x.dtype).eps
        u = (x * (0.5 - self.alpha) + 0.5).clamp(eps, 1 - eps)
        log_u, log_rest = u.log(), (1 - u).log()
        log_det = math.log(0.5 - self.alpha) - log_u - log_rest
        return log_u - log_rest, log_det.flatten(1).sum(1)

    @override
    def inverse(self, z: Tensor) -> Tensor:
        return (z.sigmoid() - 0.5) / (0.5 - self.alpha)


HALVINGS = 60
"""Brings the bracket of the inverse below the spacing of double precision numbers."""


@final
class Planar(Bijection):
    """``z = x + u tanh(w.x + b)``, invertible because ``w.u > -1``.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, equations 10 to 12 and
    appendix A.1.

    Differs from the paper: there the map goes from the base to the samples, and only the density
    of its own samples is known. Here it goes from samples to codes, so that the density of any
    sample is known and maximum likelihood can train it; sampling then solves, for each layer,
    one equation in one unknown by bisection. The map of ``w.u`` is shifted so that ``u = 0`` is
    the identity.

    Args:
        size: How many components a sample has.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size) / math.sqrt(size))
        self.u = nn.Parameter(torch.zeros(size))
        self.b = nn.Parameter(torch.zeros(()))

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, wu = self._direction()
        h = (x @ self.w + self.b).tanh()
        z = x + h.unsqueeze(1) * u
        return z, (wu * (1 - h.square())).log1p()

    @override
    def inverse(self, z: Tensor) -> Tensor:
        u, wu = self._direction()
        y = z @ self.w
        with torch.no_grad():
            a = _bisect(y, wu, self.b)
        # One Newton step: exact to second order, and it carries the gradient of the solution.
        h = (a + self.b).tanh()
        a = a - (a + wu * h - y) / (1 + wu * (1 - h.square())).detach()
        return z - (a + self.b).tanh().unsqueeze(1) * u

    def _direction(self) -> tuple[Tensor, Tensor]:
        """Returns the direction, moved along ``w`` until ``w.u > -1``, and ``w.u``."""
        free = self.w @ self.u
        wu = softplus(free + math.log(math.expm1(1))) - 1
        return self.u + (wu - free) * self.w / self.w.square().sum(), wu


def _bisect(y: Tensor, wu: Tensor, b: Tensor) -> Tensor:
    """Returns the ``a`` with ``a + wu tanh(a + b) = y``, whose left side rises with ``a``."""
    low, high = y - wu.abs(), y + wu.abs()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = middle + wu * (middle + b).tanh() > y
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


@final
class Couplings(Bijection):
    """Parts a sample in two; each part in turn is changed in a way that the other decides.

    The second part is changed first, by the first network, then the first part by the second
    network, and so on.
    Source: Dinh, Krueger and Bengio, 2014, https://arxiv.org/abs/1410.8516, equations 4 and 5.

    Args:
        nets: From the part that is kept to the parameters of ``transform``, along the second
            axis.
        transform: How each component of the other part is changed.
        sizes: How long the first and the second part are, along the second axis.
    """

    def __init__(
        self, nets: Iterable[nn.Module], transform: Transform, sizes: tuple[int, int]
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.transform = transform
        self.sizes = sizes

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # One cut and one joint for all turns: copying costs as much as a small layer.
        parts = list(x.split_with_sizes(self.sizes, 1))
        log_det = x.new_zeros(len(x))
        for turn, net in enumerate(self.nets):
            kept, changed = turn % 2, 1 - turn % 2
            parts[changed], change = self.transform(parts[changed], net(parts[kept]))
            log_det = log_det + change
        return torch.cat(parts, 1), log_det

    @override
    def inverse(self, z: Tensor) -> Tensor:
        parts = list(z.split_with_sizes(self.sizes, 1))
        for turn, net in reversed(list(enumerate(self.nets))):
            kept, changed = turn % 2, 1 - turn % 2
            parts[changed] = self.transform.inverse(parts[changed], net(parts[kept]))
        return torch.cat(parts, 1)


def dense(inputs: int, outputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Returns ``depth`` hidden layers for vectors; its first outputs are all zero."""
    sizes = [inputs, *[width] * depth]
    hidden = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return _stack(hidden, nn.Linear(sizes[-1], outputs))


def convolutional(inputs: int, outputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Returns ``depth`` hidden layers for images; its first outputs are all zero.

    The first and the last layer look at 3 x 3 pixels, those between at one.
    Source: Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039, appendix B.
    """
    sizes = [inputs, *[width] * depth]
    kernels = [3, *[1] * (depth - 1)]
    hidden = [
        nn.Conv2d(a, b, k, padding=k // 2)
        for (a, b), k in zip(pairwise(sizes), kernels, strict=True)
    ]
    return _stack(hidden, nn.Conv2d(sizes[-1], outputs, 3, padding=1))


def _stack(hidden: Sequence[nn.Linear | nn.Conv2d], last: nn.Linear | nn.Conv2d) -> nn.Sequential:
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    layers = [layer for h in hidden for layer in (h, nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, last)
