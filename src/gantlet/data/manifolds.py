"""Unions of manifolds: modes, connectivity, dimension, shape and tails are settings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, final

import torch
from torch import Tensor

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import drawn
from gantlet.data.synthetic import GAUSSIAN_CEILING, smallest_gap

Edges = Literal["gaussian", "box", "smooth"]
Topology = Literal["blob", "ring", "torus", "links"]
Balance = Literal["equal", "zipf"]

# ----------------------------------------------------------------------------
# One mode in its own frame: angles, straight coordinates, and the sines that bend these.
# ----------------------------------------------------------------------------

_ANGLES: Final = {"blob": 0, "ring": 1, "torus": 2, "links": 1}
_CURLED: Final = {"blob": 0, "ring": 2, "torus": 3, "links": 3}  # coordinates that angles take

# Radii with which the widest coordinate of a curled part has variance 1.
_RING = math.sqrt(2.0)
_TORUS = 4 / 3  # of the centre line; the tube has half of it
_LINK = math.sqrt(4 / 3)  # of both rings, whose centres are as far apart
# From the centre of a curled part to its farthest point.
_FARTHEST: Final = {"blob": 0.0, "ring": _RING, "torus": 1.5 * _TORUS, "links": 1.5 * _LINK}


@dataclass(frozen=True, slots=True)
@final
class Shape:
    """The shape of a mode, in units of its standard deviation.

    Attributes:
        topology: What the angles describe.
        intrinsic: Number of angles and straight coordinates.
        edges: Density of the straight coordinates.
        tails: Degrees of freedom of their Student t factor, or infinity.
        curvature: Frequency of the sine that bends them, or 0.
        room: Number of coordinates that there are.
    """

    topology: Topology
    intrinsic: int
    edges: Edges
    tails: float
    curvature: float
    room: int

    @property
    def straight(self) -> int:
        """Number of straight coordinates."""
        return self.intrinsic - _ANGLES[self.topology]

    @property
    def used(self) -> int:
        """Number of coordinates that angles and straight coordinates take."""
        return _CURLED[self.topology] + self.straight

    @property
    def bent(self) -> int:
        """Number of straight coordinates that are bent: as many as there is room for."""
        return min(self.straight, self.room - self.used) if self.curvature else 0

    @property
    def anchors(self) -> Tensor:
        """A point on each connected part, shape ``(parts, coordinates)``."""
        x = torch.zeros(2 if self.topology == "links" else 1, self.used + self.bent).double()
        if self.topology == "links":
            x[:, 0] = torch.tensor([_LINK / 2, -_LINK / 2])
        elif self.topology != "blob":
            x[:, 0] = _RING if self.topology == "ring" else 1.5 * _TORUS
        return x

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Returns ``n`` points, shape ``(n, coordinates)``, float64."""
        angles = torch.rand(n, _ANGLES[self.topology], generator=rng, dtype=torch.float64)
        curled = _curl(self.topology, 2 * math.pi * angles, rng)
        u = _drawn_straight(n, self.straight, self.edges, rng)
        if self.tails < math.inf:
            u = u * _student_factor(n, self.tails, rng)[:, None]
        return torch.cat([curled, u, (self.curvature * u[:, : self.bent]).sin()], 1)

    def along(self, x: Tensor) -> Tensor:
        """Returns the size of the straight coordinates of ``x``, shape ``(..., coordinates)``.

        It is the Euclidean norm for a Gaussian density, and the largest absolute value for boxes.
        """
        u = x[..., _CURLED[self.topology] : self.used]
        if not self.straight:
            return u.new_zeros(u.shape[:-1])
        return u.square().sum(-1).sqrt() if self.edges == "gaussian" else u.abs().amax(-1)

    def off(self, x: Tensor) -> Tensor:
        """Returns the squared distance of ``x``, shape ``(..., coordinates)``, to the manifold.

        Of bent coordinates that is exact to first order.
        """
        curled = _CURLED[self.topology]
        off = _off_curled(self.topology, x[..., :curled])
        if self.bent:
            u, v = x[..., curled : curled + self.bent], x[..., self.used :]
            slope = self.curvature * (self.curvature * u).cos()
            gap = (v - (self.curvature * u).sin()).square()
            off = off + (gap / (1 + slope.square())).sum(-1)
        return off


def _curl(topology: Topology, angle: Tensor, rng: torch.Generator) -> Tensor:
    """Returns the coordinates of uniform angles, shape ``(n, 0, 2 or 3)``."""
    if topology == "blob":
        return angle
    circle = torch.stack([angle[:, 0].cos(), angle[:, 0].sin()], 1)
    if topology == "ring":
        return _RING * circle
    if topology == "torus":
        tube = _TORUS / 2
        radius = _TORUS + tube * angle[:, 1:].cos()
        return torch.cat([radius * circle, tube * angle[:, 1:].sin()], 1)
    side = torch.randint(2, (len(angle),), generator=rng).bool()
    x, y = (_LINK * circle).unbind(1)
    zero = torch.zeros_like(x)
    first = torch.stack([x - _LINK / 2, y, zero], 1)
    second = torch.stack([x + _LINK / 2, zero, y], 1)
    return torch.where(side[:, None], first, second)


def _off_curled(topology: Topology, x: Tensor) -> Tensor:
    """Returns the squared distance of points to a ring, torus or pair of rings."""
    if topology == "blob":
        return x.new_zeros(x.shape[:-1])
    if topology == "links":
        a, b, c = x.unbind(-1)
        first = _off_circle(a + _LINK / 2, b, _LINK) + c.square()
        return torch.minimum(first, _off_circle(a - _LINK / 2, c, _LINK) + b.square())
    if topology == "ring":
        return _off_circle(x[..., 0], x[..., 1], _RING)
    core = torch.hypot(x[..., 0], x[..., 1]) - _TORUS
    return _off_circle(core, x[..., 2], _TORUS / 2)


def _off_circle(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return (torch.hypot(x, y) - radius).square()


_BOX = math.sqrt(3.0)  # half a side, so that the variance is 1
_BLUR = 0.3  # standard deviation of the Gaussian that smooths a box
_SMOOTH_BOX = math.sqrt(3 * (1 - _BLUR**2))
_ROOT = math.sqrt(2 * math.pi)


def _drawn_straight(n: int, d: int, edges: Edges, rng: torch.Generator) -> Tensor:
    """Returns ``n`` points with variance 1 in each coordinate, shape ``(n, d)``, float64."""
    if edges == "gaussian":
        return torch.randn(n, d, generator=rng, dtype=torch.float64)
    u = 2 * torch.rand(n, d, generator=rng, dtype=torch.float64) - 1
    if edges == "box":
        return _BOX * u
    return _SMOOTH_BOX * u + _BLUR * torch.randn(n, d, generator=rng, dtype=torch.float64)


def _student_factor(n: int, nu: float, rng: torch.Generator) -> Tensor:
    """Returns draws of ``sqrt(nu / chi2(nu))``, shape ``(n,)``, by inversion."""
    import scipy.special

    u = torch.rand(n, generator=rng, dtype=torch.float64)
    chi2 = 2 * scipy.special.gammaincinv(nu / 2, (u + 2.0**-54).numpy())
    return (nu / torch.from_numpy(chi2)).sqrt()


@lru_cache(maxsize=64)
def _central(edges: Edges, d: int, tails: float) -> float:
    """Returns the size of ``d`` straight coordinates that their standard share stays within."""
    import scipy.optimize
    import scipy.stats

    if edges == "gaussian" and tails < math.inf:
        return math.sqrt(d * float(scipy.stats.f.ppf(GAUSSIAN_CEILING, d, tails)))
    if edges == "gaussian":
        return _chi(d)
    scale = torch.ones(1, dtype=torch.float64)
    if tails < math.inf:
        u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
        scale = torch.from_numpy(scipy.stats.chi2.ppf(u.numpy(), tails)).div(tails).sqrt()

    def excess(size: float) -> float:
        return float((_share_inside(size * scale, edges) ** d).mean()) - GAUSSIAN_CEILING

    root: Any = scipy.optimize.brentq(excess, 0, 1e9, xtol=1e-10)
    return float(root)


def _share_inside(size: Tensor, edges: Edges) -> Tensor:
    """Returns the probability that the absolute value of one coordinate is at most ``size``."""
    if edges == "box":
        return (size / _BOX).clamp(max=1)

    def integral(x: Tensor) -> Tensor:
        """Antiderivative of the normal distribution function."""
        whole: Tensor = x * torch.special.ndtr(x) + (-0.5 * x.square()).exp() / _ROOT
        return whole

    a, b = (size + _SMOOTH_BOX) / _BLUR, (size - _SMOOTH_BOX) / _BLUR
    inside = integral(a) - integral(b) - integral(-b) + integral(-a)
    return (inside * _BLUR / (2 * _SMOOTH_BOX)).clamp(0, 1)


@lru_cache(maxsize=256)
def _chi(d: int) -> float:
    """Returns the radius that holds the standard share of a Gaussian in ``d`` dimensions."""
    import scipy.stats

    return math.sqrt(float(scipy.stats.chi2.ppf(GAUSSIAN_CEILING, d))) if d else 0.0


# ----------------------------------------------------------------------------
# Where the modes are, and the segments between them.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
@final
class _Layout:
    """Where the modes are.

    Attributes:
        centres: Shape ``(modes, ambient)``.
        frames: Orthonormal directions of each mode, shape ``(modes, ambient, coordinates)``.
        start: Where the segments start, shape ``(segments, ambient)``.
        end: Where they end, likewise.
        ends: The modes at the two ends of each segment, shape ``(segments, 2)``.
    """

    centres: Tensor
    frames: Tensor
    start: Tensor
    end: Tensor
    ends: Tensor

    def into(self, base: Tensor, mode: Tensor) -> Tensor:
        """Returns points of the frames of their modes in space, shape ``(n, ambient)``."""
        x = torch.empty(len(base), self.centres.shape[1], dtype=torch.float64)
        for i, (centre, frame) in enumerate(zip(self.centres, self.frames, strict=True)):
            x[mode == i] = centre + base[mode == i] @ frame.T
        return x

    def on_bridges(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns uniform points of the segments, and the mode at the nearer end of each."""
        segment = torch.randint(len(self.ends), (n,), generator=rng)
        t = torch.rand(n, 1, generator=rng, dtype=torch.float64)
        points = self.start[segment].lerp(self.end[segment], t)
        return points, self.ends[segment, (t[:, 0] > 0.5).long()]


def _lay_out(modes: int, separation: float, shape: Shape, seed: int) -> _Layout:
    rng = Rng(seed).stream("manifolds/layout")
    whole = _rotations(shape.room, shape.room, 1, rng)[0]
    corners = _corners(modes, separation, shape.room)
    centres = corners @ whole[:, : corners.shape[1]].T
    frames = _rotations(shape.room, shape.used + shape.bent, modes, rng)
    anchors = centres[:, None] + torch.einsum("pk,mdk->mpd", shape.anchors, frames)
    parts = anchors.flatten(0, 1)
    owner = torch.arange(modes).repeat_interleave(anchors.shape[1])
    ends = torch.stack([owner[:-1], owner[1:]], 1)
    return _Layout(centres, frames, parts[:-1], parts[1:], ends)


def _rotations(rows: int, columns: int, copies: int, rng: torch.Generator) -> Tensor:
    """Returns uniformly random orthonormal columns, shape ``(copies, rows, columns)``."""
    normal = torch.randn(copies, rows, columns, generator=rng, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    turned: Tensor = q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)
    return turned


def _corners(modes: int, separation: float, room: int) -> Tensor:
    """Returns centres of which neighbours are ``separation`` apart, in as few coordinates."""
    line = torch.arange(modes, dtype=torch.float64)
    if modes <= room + 1:
        return separation / math.sqrt(2) * _simplex(modes)
    if room == 1:
        return separation * (line - line.mean())[:, None]
    angle = line * (2 * math.pi / modes)
    radius = separation / (2 * math.sin(math.pi / modes))
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def _simplex(corners: int) -> Tensor:
    """Returns the corners of a regular simplex of side sqrt(2), ``(corners, corners - 1)``.

    Column k is proportional to ``(1, ..., 1, -k, 0, ...)`` with k ones: Helmert's matrix.
    """
    x = torch.ones(corners, corners, dtype=torch.float64).triu(1)[:, 1:]
    k = torch.arange(1, corners, dtype=torch.float64)
    x[torch.arange(1, corners), torch.arange(corners - 1)] = -k
    return x / (k * (k + 1)).sqrt()


def from_segments(x: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distance of each point to the nearest segment, and which one it is.

    Args:
        x: The points, shape ``(n, d)``.
        start: Where the segments start, shape ``(segments, d)``.
        end: Where they end, likewise.

    Returns:
        The distance and the number of the segment, both of shape ``(n,)``.
    """
    along = end - start
    length2 = along.square().sum(1)
    t = ((x @ along.T - (start * along).sum(1)) / length2.clamp(min=1e-300)).clamp(0, 1)
    distance = torch.stack(
        [
            (x - a - t[:, i, None] * b).square().sum(1)
            for i, (a, b) in enumerate(zip(start, along, strict=True))
        ],
        1,
    ).min(1)
    return distance.values.sqrt(), distance.indices


# ----------------------------------------------------------------------------
# The world.
# ----------------------------------------------------------------------------

BLOCK = 2**22  # numbers in one block of distances
_MOST_FRAMES = 2**26  # numbers in the frames of all modes
_MOST_DRAWS = 50_000  # samples that a ceiling rests on


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Manifolds:
    """A union of manifolds in a space of more dimensions; the label is the mode.

    All lengths are in standard deviations of a mode. A mode has ``intrinsic`` coordinates: those
    of a blob are straight; a ring replaces one by an angle, a torus two, a pair of linked rings
    one. Straight coordinates follow ``edges`` and ``tails``, with variance 1 before tails, and
    ``curvature`` bends them; angles are uniform. Each mode is turned by a random rotation. The
    centres are the corners of a regular simplex if there are at most ``ambient + 1`` modes, else
    equally spaced on a circle (on a line, in one dimension).

    The idea is that of Kamkari et al., 2024, https://arxiv.org/abs/2406.03537: mixtures of
    manifolds with known dimension. Bridges, edges, tails and the topology are additions.

    Attributes:
        modes: How many modes.
        separation: Smallest distance between centres, in standard deviations of a mode.
        bridge: Share of the mass on segments from each mode to the next, equal for each segment
            and uniform on it; above 0 the support is connected.
        intrinsic: Dimension of each mode.
        ambient: Dimension of the space.
        curvature: Frequency of the sine that bends: beside a straight coordinate u there is
            another one, sin(curvature u), for as many as the space has room for.
        edges: Density of the straight coordinates: Gaussian, uniform on a box, or that box
            smoothed by a Gaussian with standard deviation 0.3.
        tails: Degrees of freedom of a multivariate Student t factor on the straight coordinates;
            inf for none.
        balance: Probabilities of the modes: equal, or the k-th proportional to 1 / k.
        noise: Standard deviation of Gaussian noise in all directions.
        topology: Shape of each mode.
        tolerance: Distance off the manifold that still counts as on the support, added to the
            reach of the noise.
        seed: Seed of the rotations.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    modes: Annotated[int, Between(1)] = 8
    separation: Annotated[float, Between(0, above=True)] = 6.0
    bridge: Annotated[float, Between(0, 1)] = 0.0
    intrinsic: Annotated[int, Between(1)] = 2
    ambient: Annotated[int, Between(1)] = 12
    curvature: Annotated[float, Between(0)] = 0.0
    edges: Edges = "gaussian"
    tails: Annotated[float, Between(1, math.inf)] = math.inf
    balance: Balance = "equal"
    noise: Annotated[float, Between(0)] = 0.0
    topology: Topology = "blob"
    tolerance: Annotated[float, Between(0, above=True)] = 0.25
    seed: Annotated[int, Between(0)] = 0
    n: Annotated[int, Between(1)] = 4_000
    held_out: Annotated[int, Between(1)] = 2_000

    def __post_init__(self) -> None:
        """Refuses shapes that do not fit into the space, and settings without effect."""
        shape = self.shape
        reason = self._misfit(shape) or self._without_effect(shape)
        if reason:
            raise UserError(f"manifolds:{reason}")

    def _misfit(self, shape: Shape) -> str:
        """Returns what does not fit, or nothing."""
        if shape.straight < 0:
            return (
                "intrinsic must be at least 2 for topology=torus, which has two angles. "
                f"Got {self.intrinsic}."
            )
        if self.ambient < shape.used:
            return (
                f"ambient must be at least {shape.used} for topology={self.topology} with "
                f"intrinsic={self.intrinsic}. Got {self.ambient}."
            )
        if self.modes * self.ambient * (shape.used + shape.bent) > _MOST_FRAMES:
            return (
                f"modes={self.modes} in ambient={self.ambient} dimensions need more than half "
                "a gigabyte for their rotations. Lower modes, ambient or intrinsic."
            )
        return ""

    def _without_effect(self, shape: Shape) -> str:
        """Returns which setting would have no effect, or nothing."""
        for name, is_set in (
            ("edges", self.edges != "gaussian"),
            ("tails", self.tails < math.inf),
        ):
            if is_set and not shape.straight:
                return (
                    f"{name} has no effect on topology={self.topology} with "
                    f"intrinsic={self.intrinsic}, which has angles only. Leave it out, or raise "
                    "intrinsic."
                )
        if self.curvature and not shape.bent:
            return (
                f"curvature needs intrinsic above {_ANGLES[self.topology]} and ambient above "
                f"{shape.used} for topology={self.topology}. Got intrinsic={self.intrinsic}, "
                f"ambient={self.ambient}."
            )
        if self.bridge and self.modes * len(shape.anchors) < 2:
            return "bridge needs two or more modes to connect. Got modes=1."
        return ""

    @property
    def shape(self) -> Shape:
        """The shape of a mode."""
        return Shape(
            self.topology, self.intrinsic, self.edges, self.tails, self.curvature, self.ambient
        )

    @property
    def space(self) -> Space:
        """Points of the ambient space."""
        return Space("vector", (self.ambient,))

    @property
    def means(self) -> Tensor:
        """The centres, shape ``(modes, ambient)``, float64."""
        return _layout(self).centres

    @property
    def weights(self) -> Tensor:
        """Probability of each mode, float64; half of a segment belongs to either end."""
        own = self._own_weights
        if not self.bridge:
            return own
        ends = torch.bincount(_layout(self).ends.flatten(), minlength=self.modes).double()
        return (1 - self.bridge) * own + self.bridge * ends / ends.sum()

    @property
    def _own_weights(self) -> Tensor:
        """Probability of each mode among samples that are not on bridges."""
        return _probabilities(self.modes, self.balance)

    @property
    def ceiling(self) -> float:
        """Share of the true distribution on the support, by Monte Carlo.

        It rests on 50,000 samples, fewer above 335 dimensions: a standard error of about 0.0005.
        """
        return _ceiling(self)

    @property
    def gap(self) -> float:
        """A distance that points of two modes' supports are apart, at least; 0 with bridges.

        That between balls around the centres that hold the supports. It is the smallest distance
        itself for Gaussian modes of as many dimensions as the space, else it may be smaller.
        """
        if self.bridge and self.modes > 1:
            return 0.0
        return smallest_gap(self.means, self._radius)

    @property
    def _radius(self) -> float:
        """Radius of a ball around the centre of a mode that holds its support."""
        shape, (far, wide) = self.shape, self._reach
        is_flat = not shape.bent and self.topology == "blob"
        straight = 0.0
        if shape.straight:
            straight = far if self.edges == "gaussian" else far * math.sqrt(shape.straight)
        # A sine is at most 1, and its coordinate as far off it as the slope allows.
        bent = math.sqrt(shape.bent) * (1 + wide * math.hypot(1, self.curvature))
        size = math.hypot(_FARTHEST[self.topology], straight, bent)
        if not is_flat:
            return size + wide
        # Off a flat mode is at a right angle to it, and nothing where it has all dimensions.
        return size if shape.used == self.ambient else math.hypot(size, wide)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self.draw, n=self.n, held_out=self.held_out, rng=rng)

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns ``n`` samples, shape ``(n, ambient)``, float64, and the mode of each."""
        layout = _layout(self)
        mode = torch.multinomial(self._own_weights, n, replacement=True, generator=rng)
        x = layout.into(self.shape.draw(n, rng), mode)
        if self.bridge:
            between = torch.rand(n, generator=rng, dtype=torch.float64) < self.bridge
            points, ends = layout.on_bridges(n, rng)
            x = torch.where(between[:, None], points, x)
            mode = torch.where(between, ends, mode)
        noise = torch.randn(n, self.ambient, generator=rng, dtype=torch.float64)
        return x + self.noise * noise, mode

    def distance_to_support(self, x: Tensor) -> Tensor:
        """Returns how far points, shape ``(n, ambient)``, are off manifolds and bridges, ``(n,)``.

        Straight coordinates count as unbounded: this is the distance off the manifolds alone. It
        is exact, but of bent coordinates to first order only.
        """
        off = torch.cat([off.amin(1) for _, off in self._relative(x)])
        return torch.minimum(off, self._off_bridges(x))

    def modes_of(self, x: Tensor) -> Tensor:
        """Returns the nearest mode of each point, shape ``(n, ambient)``, as shape ``(n,)``.

        Distances along and off the manifold are relative to what ``on_support`` accepts.
        """
        far, wide = self._reach
        return torch.cat(
            [
                ((along / far).square() + (off / wide).square()).argmin(1)
                for along, off in self._relative(x)
            ]
        )

    def on_support(self, x: Tensor) -> Tensor:
        """Returns whether each point, shape ``(n, ambient)``, is on a mode or a bridge.

        On a mode it is within the central 98.889 % of the straight coordinates, and no farther
        off than ``tolerance`` and what 98.889 % of the noise reaches.
        """
        far, wide = self._reach
        inside = [((along <= far) & (off <= wide)).any(1) for along, off in self._relative(x)]
        near = self.tolerance + self.noise * _chi(self.ambient - 1)
        return torch.cat(inside) | (self._off_bridges(x) <= near)

    @property
    def _reach(self) -> tuple[float, float]:
        """The largest size of straight coordinates, and distance off the manifold, of a mode."""
        straight = self.shape.straight
        far = _central(self.edges, straight, self.tails) if straight else math.inf
        return far, self.tolerance + self.noise * _chi(self.ambient - self.intrinsic)

    def _relative(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields sizes along and distances off each mode, by blocks of shape ``(rows, modes)``."""
        layout, shape = _layout(self), self.shape
        origins = torch.einsum("md,mdk->mk", layout.centres, layout.frames)
        rows = max(1, BLOCK // (self.modes * layout.frames.shape[2]))
        for i in range(0, max(len(x), 1), rows):
            block = x[i : i + rows].double().cpu()
            own = torch.einsum("nd,mdk->nmk", block, layout.frames) - origins
            gap = torch.cdist(
                block, layout.centres, compute_mode="donot_use_mm_for_euclid_dist"
            ).square()
            rest = (gap - own.square().sum(2)).clamp(min=0)
            yield shape.along(own), (rest + shape.off(own)).sqrt()

    def _off_bridges(self, x: Tensor) -> Tensor:
        """Returns the distance from the nearest bridge, infinite without any."""
        if not self.bridge:
            return torch.full((len(x),), math.inf, dtype=torch.float64)
        layout = _layout(self)
        return from_segments(x.double().cpu(), layout.start, layout.end)[0]


@lru_cache(maxsize=8)
def _layout(world: Manifolds) -> _Layout:
    return _lay_out(world.modes, world.separation, world.shape, world.seed)


def _probabilities(modes: int, balance: Balance) -> Tensor:
    """Returns the probability of each mode, float64."""
    own = torch.ones(modes, dtype=torch.float64)
    if balance == "zipf":
        own /= torch.arange(1, modes + 1)
    return own / own.sum()


@lru_cache(maxsize=256)
def _ceiling(world: "Manifolds | Segments") -> float:
    n = min(_MOST_DRAWS, 4 * BLOCK // world.space.size)
    x, _ = world.draw(n, Rng(0).stream("manifolds/ceiling"))
    return float(world.on_support(x).double().mean())


# ----------------------------------------------------------------------------
# Disjoint line segments.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Segments:
    """Parallel line segments in the plane, of unequal probability; the label is the segment.

    A point is uniform on its segment. The distance between neighbours is ``spacing``, which makes
    the bounds for disconnected supports exact.

    Source: after Khayatkhoei et al., 2018, https://arxiv.org/abs/1806.00880, who train GANs on
    disjoint segments of unequal weight; the layout is Gantlet's.

    Attributes:
        lines: How many segments.
        length: Length of each.
        spacing: Distance between neighbours.
        balance: Probabilities of the segments: equal, or the k-th proportional to 1 / k.
        noise: Standard deviation of Gaussian noise in both directions.
        tolerance: Distance from a segment that still counts as on the support, beside three
            standard deviations of the noise.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    lines: Annotated[int, Between(1, 1000)] = 10
    length: Annotated[float, Between(0, above=True)] = 1.0
    spacing: Annotated[float, Between(0, above=True)] = 1.0
    balance: Balance = "zipf"
    noise: Annotated[float, Between(0)] = 0.0
    tolerance: Annotated[float, Between(0, above=True)] = 0.05
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Lower and upper end of each segment, both of shape ``(lines, 2)``, float64."""
        line = torch.arange(self.lines, dtype=torch.float64)
        x = self.spacing * (line - line.mean())
        half = torch.full_like(x, self.length / 2)
        return torch.stack([x, -half], 1), torch.stack([x, half], 1)

    @property
    def weights(self) -> Tensor:
        """Probability of each segment, float64."""
        return _probabilities(self.lines, self.balance)

    @property
    def ceiling(self) -> float:
        """Share of the true distribution on the support; with noise, of 50,000 samples."""
        return _ceiling(self) if self.noise else 1.0

    @property
    def gap(self) -> float:
        """Distance between what counts as on two neighbouring segments; 0 if it touches."""
        if self.lines == 1:
            return math.inf
        return max(self.spacing - 2 * (self.tolerance + 3 * self.noise), 0.0)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self.draw, n=self.n, held_out=self.held_out, rng=rng)

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns ``n`` samples, shape ``(n, 2)``, float64, and the segment of each."""
        segment = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        t = torch.rand(n, 1, generator=rng, dtype=torch.float64)
        low, high = self.ends
        noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
        return low[segment].lerp(high[segment], t) + self.noise * noise, segment

    def modes_of(self, x: Tensor) -> Tensor:
        """Returns the nearest segment of each point, shape ``(n, 2)``, as shape ``(n,)``."""
        return from_segments(x.double().cpu(), *self.ends)[1]

    def on_support(self, x: Tensor) -> Tensor:
        """Returns whether points, shape ``(n, 2)``, are near a segment, shape ``(n,)``."""
        return self.distance_to_support(x) <= self.tolerance + 3 * self.noise

    def distance_to_support(self, x: Tensor) -> Tensor:
        """Returns the distance of points, shape ``(n, 2)``, to the nearest segment, ``(n,)``."""
        return from_segments(x.double().cpu(), *self.ends)[0]
