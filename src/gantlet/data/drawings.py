"""Drawn images whose factors are known: polygons, dots, pies and sprites."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import cpu_stream

Points = NDArray[np.float64]

_OVER = 4  # subpixels in each direction
_WHITE = 255
_MOST_BYTES = 2**30  # of one split


# ----------------------------------------------------------------------------
# Splits with factors, and the canvas.
# ----------------------------------------------------------------------------


@final
class Drawn:
    """A split of drawn images, held as bytes, with the factors from which each was drawn.

    Args:
        x: The images, bytes, shape ``(n, channels, height, width)``.
        labels: The class of each image, shape ``(n,)``.
        factors: The factors by name, each of shape ``(n, ...)``, float64.
    """

    def __init__(self, x: Tensor, labels: Tensor, factors: Mapping[str, Tensor]) -> None:
        self._x = x
        self._labels = labels
        self.factors = factors

    @property
    def labels(self) -> Tensor:
        """The class of each image, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._x)

    def take(self, index: Tensor) -> Tensor:
        """Returns the images at ``index`` as float32."""
        return self._x[index].float()


def _drawn(
    draw: Callable[[int, torch.Generator], Drawn], size: int, n: int, held_out: int, rng: Rng
) -> Splits:
    """Returns independent draws as splits, each from its own stream."""
    if n * size > _MOST_BYTES:
        raise UserError(
            f"{n} drawn images of {size} bytes need more than a gigabyte. Lower n or size."
        )

    def split(name: str, count: int) -> Drawn:
        return draw(count, cpu_stream(rng, f"split/{name}"))

    return Splits(
        train=split("train", n),
        validation=split("validation", held_out),
        test=split("test", held_out),
        note=f"{n} train, {held_out} validation and {held_out} test images, drawn "
        f"independently by seed {rng.seed} from known factors.",
    )


def _canvas(mode: Literal["L", "RGB"], size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Returns a white canvas of subpixels, and what draws on it."""
    white = _WHITE if mode == "L" else (_WHITE, _WHITE, _WHITE)
    image = Image.new(mode, (size * _OVER, size * _OVER), white)
    return image, ImageDraw.Draw(image)


def _pixels(image: Image.Image) -> Tensor:
    """Returns the means over subpixels, bytes, shape ``(channels, size, size)``."""
    array = np.asarray(image.reduce(_OVER))
    return torch.from_numpy(np.atleast_3d(array).transpose(2, 0, 1).copy())


def _polygon(draw: ImageDraw.ImageDraw, points: Points, fill: int) -> None:
    """Fills a polygon whose corners, shape ``(k, 2)``, are in pixels."""
    draw.polygon([(float(x) * _OVER, float(y) * _OVER) for x, y in points], fill=fill)


def _disc(
    draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: int | tuple[int, ...]
) -> None:
    """Fills a disc; place and radius in pixels."""
    box = [v * _OVER for v in (x - radius, y - radius, x + radius, y + radius)]
    draw.ellipse(box, fill=fill)


def _noisy(x: Tensor, noise: float, rng: torch.Generator) -> Tensor:
    """Returns bytes with normal noise, 1 from black to white, reflected at white."""
    if not noise:
        return x
    y = x + _WHITE * noise * torch.randn(x.shape, generator=rng)
    return torch.where(y > _WHITE, 2 * _WHITE - y, y).round().clamp(0, _WHITE).byte()


def _uniform(n: int, *shape: int, rng: torch.Generator) -> Tensor:
    return torch.rand(n, *shape, generator=rng, dtype=torch.float64)


# ----------------------------------------------------------------------------
# Convex polygons (Lucic et al., 2018).
# ----------------------------------------------------------------------------

_SCALE = 0.75  # diameter of the circle of the corners, relative to the image
_APART = 20.0  # degrees; half of them keep neighbours apart
_BANK = 2_000  # polygons from which searches start
_STARTS = 2
_FIRST_STEP, _LAST_STEP = math.radians(8), math.radians(0.1)
_TURNS: Final = {"full": 2 * math.pi, "published": math.radians(2 * math.pi)}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Polygons:
    """Black convex polygons on white, one in each image; the label is 0.

    Corner ``i`` of ``k`` is on a circle at ``360 i / k + 10 + U(0, 360 / k - 10)`` degrees; the
    polygon is turned and its mean corner moved to the centre. So the images lie on a manifold of
    ``k`` dimensions, the angles.

    Source: Lucic et al., 2018, https://arxiv.org/abs/1711.10337, and its code.
    Differs from the paper: by default polygons are turned by any angle. The published code passes
    degrees for radians, so that its polygons are turned by at most 6.3 degrees:
    ``rotation=published``. Subpixels are 4 in each direction, not 8.

    Attributes:
        vertices: Corners of each polygon.
        size: Height and width in pixels.
        rotation: Whether polygons are turned by any angle, or by up to 6.3 degrees.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    vertices: Annotated[int, Between(3, 12)] = 3
    size: Annotated[int, Between(8, 256)] = 28
    rotation: Literal["full", "published"] = "full"
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """One grey channel with 256 levels."""
        return Space("image", (1, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws; factors are ``angles`` and ``turn``, in radians."""
        return _drawn(self._draw, self.size**2, self.n, self.held_out, rng)

    def _draw(self, n: int, rng: torch.Generator) -> Drawn:
        whole = 360 / self.vertices
        start = whole * torch.arange(self.vertices, dtype=torch.float64) + _APART / 2
        angles = start + (whole - _APART / 2) * _uniform(n, self.vertices, rng=rng)
        turn = _TURNS[self.rotation] * _uniform(n, rng=rng)
        factors = {"angles": angles.deg2rad(), "turn": turn}
        return Drawn(self.render(factors), torch.zeros(n, dtype=torch.int64), factors)

    def corners(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Returns the corners in pixels, shape ``(n, vertices, 2)``.

        Args:
            factors: ``angles``, shape ``(n, vertices)``, and ``turn``, shape ``(n,)``.
        """
        angle = factors["angles"] + factors["turn"][:, None]
        places = torch.stack([angle.cos(), angle.sin()], 2) * (_SCALE / 2 * self.size)
        return places - places.mean(1, keepdim=True) + self.size / 2

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Returns the image of each row of factors, bytes, shape ``(n, 1, size, size)``."""
        return torch.stack([self._one(points) for points in self.corners(factors).numpy()])

    def _one(self, corners: Points) -> Tensor:
        image, draw = _canvas("L", self.size)
        _polygon(draw, corners, fill=0)
        return _pixels(image)

    def project(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Finds the polygon that is nearest to each image.

        The nearest two of 2,000 drawn polygons are moved angle by angle, by 8 degrees and then by
        ever fewer, while that brings them nearer: about 50 ms an image. A nearer one may exist, so
        the distance is an upper bound; that of the data's own images says how loose it is.

        Args:
            x: Images, shape ``(n, 1, size, size)``, levels 0 to 255.

        Returns:
            The Euclidean distance with black 0 and white 1, shape ``(n,)``, and the factors.
        """
        bank = self._draw(_BANK, Rng(0).stream("polygons/bank"))
        known = bank.take(torch.arange(_BANK)).flatten(1) / _WHITE
        images = x.float().cpu().flatten(1) / _WHITE
        parameters = torch.cat([bank.factors["angles"], bank.factors["turn"][:, None]], 1)
        distances = torch.zeros(len(x), dtype=torch.float64)
        best = torch.zeros(len(x), self.vertices + 1, dtype=torch.float64)
        for i, image in enumerate(images):
            starts = (known - image).square().sum(1).topk(_STARTS, largest=False).indices
            ends = [self._climb(image, parameters[start]) for start in starts]
            distances[i], best[i] = min(ends, key=lambda end: end[0])
        return distances, {"angles": best[:, :-1], "turn": best[:, -1]}

    def _climb(self, image: Tensor, start: Tensor) -> tuple[float, Tensor]:
        """Returns the distance and parameters at the end of a pattern search from ``start``."""
        best, nearest, step = start, self._apart(image, start), _FIRST_STEP
        while step > _LAST_STEP:
            before = nearest
            for move in torch.cat([torch.eye(len(start)), -torch.eye(len(start))]).double():
                tried = self._allowed(best + step * move)
                distance = self._apart(image, tried)
                if distance < nearest:
                    best, nearest = tried, distance
            if nearest == before:
                step /= 2
        return nearest, best

    def _apart(self, image: Tensor, parameters: Tensor) -> float:
        drawn = self.render({"angles": parameters[None, :-1], "turn": parameters[None, -1]})
        return float((drawn.flatten() / _WHITE - image).norm())

    def _allowed(self, parameters: Tensor) -> Tensor:
        """Returns parameters moved to where the distribution has them."""
        whole = 360 / self.vertices
        low = whole * torch.arange(self.vertices, dtype=torch.float64) + _APART / 2
        angles = parameters[:-1].rad2deg().clamp(low, low + whole - _APART / 2).deg2rad()
        turn = parameters[-1:]
        if self.rotation == "published":
            turn = turn.clamp(0, _TURNS["published"])
        return torch.cat([angles, turn])


# ----------------------------------------------------------------------------
# Numbers of dots (Zhao et al., 2018).
# ----------------------------------------------------------------------------

_DOT = 0.08  # radius, relative to the image
_DARKEST_WHITE = 0.9
_TRIES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Dots:
    """Discs of one size and any colour on white; the label is their number.

    Source: Zhao et al., 2018, https://arxiv.org/abs/1811.03259, and its code: radius 0.08 of the
    image, centres at least 2.1 radii apart, each colour uniform in [0, 0.9] in all channels, and
    normal noise of standard deviation 0.03, reflected at white.

    Attributes:
        counts: The numbers of dots, equally likely.
        size: Height and width in pixels.
        spacing: Smallest distance between centres, in radii; below 2 discs overlap.
        noise: Standard deviation of the noise, 1 from black to white.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    counts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    size: Annotated[int, Between(16, 256)] = 64
    spacing: Annotated[float, Between(0, 2.5)] = 2.1
    noise: Annotated[float, Between(0, 1)] = 0.03
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    def __post_init__(self) -> None:
        """Refuses numbers of dots for which there is no room."""
        if not all(1 <= k <= 12 for k in self.counts):
            raise UserError(
                f"dots:counts must be from 1 to 12. Got {'+'.join(map(str, self.counts))}."
            )

    @property
    def space(self) -> Space:
        """Three channels with 256 levels."""
        return Space("image", (3, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws.

        Factors are ``count``; ``centres``, shape ``(n, 12, 2)``, relative to the image, NaN beyond
        the count; and ``colours``, shape ``(n, 12, 3)``.
        """
        return _drawn(self._draw, 3 * self.size**2, self.n, self.held_out, rng)

    def _draw(self, n: int, rng: torch.Generator) -> Drawn:
        known = torch.tensor(self.counts)
        count = known[torch.randint(len(known), (n,), generator=rng)]
        centres = torch.full((n, 12, 2), math.nan, dtype=torch.float64)
        for row, k in zip(centres, count.tolist(), strict=True):
            row[:k] = _apart(k, self.spacing * _DOT, rng)
        colours = _DARKEST_WHITE * _uniform(n, 12, 3, rng=rng)
        factors = {"count": count.double(), "centres": centres, "colours": colours}
        return Drawn(_noisy(self.render(factors), self.noise, rng), count, factors)

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Returns the image of each row of factors without noise, bytes."""
        rows = zip(factors["centres"].numpy(), factors["colours"].numpy(), strict=True)
        return torch.stack([self._one(*row) for row in rows])

    def _one(self, centres: Points, colours: Points) -> Tensor:
        image, draw = _canvas("RGB", self.size)
        there = np.isfinite(centres[:, 0])
        for (x, y), colour in zip(centres[there] * self.size, colours[there], strict=True):
            fill = tuple(int(255 * c) for c in colour)
            _disc(draw, x, y, _DOT * self.size, fill)
        return _pixels(image)

    def count_of(self, x: Tensor) -> Tensor:
        """Counts the dots of images, shape ``(n, 3, size, size)``, by their pixels, as ``(n,)``.

        A dot is a peak of the distance to white, about half a radius high or more. Of 1,000
        samples of 64 x 64 pixels all were counted right, of 32 x 32 pixels nine in ten.
        """
        return torch.tensor([self._count(one) for one in x.amin(1).numpy()], dtype=torch.int64)

    def _count(self, darkest: NDArray[np.float32]) -> int:
        from scipy import ndimage

        radius = _DOT * self.size
        is_dark = ndimage.median_filter(darkest, 3) < _DARKEST_WHITE * _WHITE
        depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(is_dark), 0.25 * radius)
        reach = 2 * max(1, round(0.75 * radius)) + 1
        peaks = (depth == ndimage.maximum_filter(depth, reach)) & (depth > 0.45 * radius)
        labelled: Any = ndimage.label(peaks, structure=np.ones((3, 3)))
        return int(labelled[1])


def _apart(k: int, distance: float, rng: torch.Generator) -> Tensor:
    """Returns ``k`` centres of dots with a distance, shape ``(k, 2)``, by rejection."""
    while True:
        tries = _DOT + (1 - 2 * _DOT) * _uniform(_TRIES, 2, rng=rng)
        chosen: list[int] = []
        gaps = torch.cdist(tries, tries).numpy()
        for i in range(_TRIES):
            if all(gaps[i, j] >= distance for j in chosen):
                chosen.append(i)
            if len(chosen) == k:
                return tries[chosen]


# ----------------------------------------------------------------------------
# Pies: one disc with sectors (Zhao et al., 2018).
# ----------------------------------------------------------------------------

_NOISE = 0.15
_RED, _OTHERS = (255, 0, 0), ((0, 0, 255), (0, 255, 0), (255, 255, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Pies:
    """A pie chart on white: place, diameter and the share of red are the factors.

    Each of the values that an option lists is equally likely, independent of the other options;
    the label is the number of the combination. What a model makes of two near values of one
    factor, or of combinations that it has not seen, is the question of the paper.

    Source: Zhao et al., 2018, https://arxiv.org/abs/1811.03259.
    Differs from the paper: factors are given as numbers, not as codes, and their grid is not built
    in.

    Attributes:
        red: Shares of the pie that are red, from 0 to 1.
        diameter: Diameters, relative to the image.
        x: Places of the centre to the right of the middle, relative to the image.
        y: Places of the centre below the middle, relative to the image.
        colours: Number of colours; those other than red share the rest equally.
        noise: Standard deviation of normal noise, 1 from black to white, reflected at white.
        size: Height and width in pixels.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    red: tuple[float, ...] = (0.5,)
    diameter: tuple[float, ...] = (0.6,)
    x: tuple[float, ...] = (0.0,)
    y: tuple[float, ...] = (0.0,)
    colours: Annotated[int, Between(2, 4)] = 2
    noise: Annotated[float, Between(0, 1)] = 0.03
    size: Annotated[int, Between(16, 256)] = 64
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    def __post_init__(self) -> None:
        """Refuses pies that leave the image."""
        if not all(0 <= share <= 1 for share in self.red):
            raise UserError(f"pies:red must be shares from 0 to 1. Got {_listed(self.red)}.")
        if not all(0 < d <= 1 for d in self.diameter):
            raise UserError(
                f"pies:diameter must be above 0 and at most 1. Got {_listed(self.diameter)}."
            )
        room = (1 - max(self.diameter)) / 2 + 1e-9
        for name, places in (("x", self.x), ("y", self.y)):
            if not all(abs(place) <= room for place in places):
                raise UserError(
                    f"pies:{name} must be from {-room:.3g} to {room:.3g} for a diameter of "
                    f"{max(self.diameter):g}. Got {_listed(places)}."
                )

    @property
    def space(self) -> Space:
        """Three channels with 256 levels."""
        return Space("image", (3, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws.

        Factors are ``red``, ``diameter``, ``x``, ``y`` and ``start``, where red begins, in
        degrees.
        """
        return _drawn(self._draw, 3 * self.size**2, self.n, self.held_out, rng)

    def _draw(self, n: int, rng: torch.Generator) -> Drawn:
        label, factors = torch.zeros(n, dtype=torch.int64), dict[str, Tensor]()
        for name in ("red", "diameter", "x", "y"):
            known = torch.tensor(getattr(self, name), dtype=torch.float64)
            which = torch.randint(len(known), (n,), generator=rng)
            label = label * len(known) + which
            factors[name] = known[which]
        factors["start"] = 360 * _uniform(n, rng=rng)
        return Drawn(_noisy(self.render(factors), self.noise, rng), label, factors)

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Returns the image of each row of factors without noise, bytes."""
        names = ("red", "diameter", "x", "y", "start")
        rows = zip(*(factors[name].tolist() for name in names), strict=True)
        return torch.stack([self._one(*row) for row in rows])

    def _one(self, red: float, diameter: float, x: float, y: float, start: float) -> Tensor:
        image, draw = _canvas("RGB", self.size)
        whole, radius = self.size * _OVER, diameter / 2
        box = [whole * (0.5 + v) for v in (x - radius, y - radius, x + radius, y + radius)]
        others = _OTHERS[: self.colours - 1]
        sectors = [(red, _RED), *(((1 - red) / len(others), colour) for colour in others)]
        for share, colour in sectors:
            if share > 0:
                draw.pieslice(box, start, start + 360 * share, fill=colour)
            start += 360 * share
        return _pixels(image)

    def measure(self, x: Tensor) -> dict[str, Tensor]:
        """Reads the factors ``red``, ``diameter``, ``x`` and ``y`` off images, each ``(n,)``.

        All colours lack one channel, so that one minus the smallest channel is how much of a pixel
        is covered; less than 0.15 counts as noise.

        Args:
            x: Images, shape ``(n, 3, size, size)``, levels 0 to 255.
        """
        unit = x.double() / _WHITE
        inside = 1 - unit.amin(1)
        inside = torch.where(inside < _NOISE, 0.0, inside)
        mass = inside.sum((1, 2)).clamp(min=1e-9)
        is_red = (unit[:, 0] > unit[:, 1:].amax(1)).double() * inside
        place = (torch.arange(self.size, dtype=torch.float64) + 0.5) / self.size - 0.5
        return {
            "red": is_red.sum((1, 2)) / mass,
            "diameter": 2 * (mass / math.pi).sqrt() / self.size,
            "x": (inside.sum(1) * place).sum(1) / mass,
            "y": (inside.sum(2) * place).sum(1) / mass,
        }


def _listed(values: Sequence[float]) -> str:
    return "+".join(f"{v:g}" for v in values)


# ----------------------------------------------------------------------------
# Sprites (after dSprites).
# ----------------------------------------------------------------------------

Factor = Literal["shape", "scale", "orientation", "x", "y"]
_LEVELS: Final = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
_RADIUS = 0.15  # of a circle of the area of a sprite of scale 1, relative to the image
_MARGIN = 0.25  # around the centres


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sprites:
    """White squares, ellipses and hearts on black with five factors; the label is the shape.

    A factor that does not vary keeps a fixed value: square, scale 0.75, no rotation, the middle.
    So the number of varying factors is the intrinsic dimension, at one size of image.

    Source: after dSprites (Matthey et al., 2017,
    https://github.com/google-deepmind/dsprites-dataset): three shapes, 6 scales from 0.5 to 1,
    40 orientations, 32 x 32 places.
    Differs from it: the drawings are new, with grey edges, at any resolution.

    Attributes:
        vary: The factors that vary.
        steps: Values of the grid of dSprites, or uniform on its range (but for the shape).
        size: Height and width in pixels.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    vary: tuple[Factor, ...] = ("shape", "scale", "orientation", "x", "y")
    steps: Literal["grid", "continuous"] = "grid"
    size: Annotated[int, Between(8, 256)] = 64
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """One grey channel with 256 levels."""
        return Space("image", (1, self.size, self.size), 256)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws; factors are ``shape`` to ``y``.

        The shape is 0 for a square, 1 for an ellipse, 2 for a heart; the scale is from 0.5 to 1,
        the orientation in radians, the place from 0 to 1.
        """
        return _drawn(self._draw, self.size**2, self.n, self.held_out, rng)

    def _draw(self, n: int, rng: torch.Generator) -> Drawn:
        unit = {name: self._unit(name, n, rng) for name in _LEVELS}
        factors = {
            "shape": (unit["shape"] * 2).round(),
            "scale": 0.5 + 0.5 * unit["scale"],
            "orientation": 2 * math.pi * unit["orientation"],
            "x": unit["x"],
            "y": unit["y"],
        }
        return Drawn(self.render(factors), factors["shape"].long(), factors)

    def _unit(self, name: str, n: int, rng: torch.Generator) -> Tensor:
        """Returns a factor on [0, 1]; every factor draws, so that they do not shift each other."""
        levels = _LEVELS[name]
        which = torch.randint(levels, (n,), generator=rng).double()
        uniform = _uniform(n, rng=rng)
        if name not in self.vary:
            return torch.full((n,), 0.0 if name in {"shape", "orientation"} else 0.5).double()
        if self.steps == "continuous" and name != "shape":
            return uniform
        # A full turn is the orientation 0 again.
        return which / (levels if name == "orientation" else levels - 1)

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Returns the image of each row of factors, bytes, shape ``(n, 1, size, size)``."""
        rows = zip(*(factors[name].tolist() for name in _LEVELS), strict=True)
        return torch.stack([self._one(*row) for row in rows])

    def _one(self, shape: float, scale: float, turn: float, x: float, y: float) -> Tensor:
        outline = _OUTLINES[int(shape)] * (scale * _RADIUS)
        c, s = math.cos(turn), math.sin(turn)
        turned = outline @ np.array([[c, s], [-s, c]])
        centre = np.array([x, y]) * (1 - 2 * _MARGIN) + _MARGIN
        image, draw = _canvas("L", self.size)
        _polygon(draw, (turned + centre) * self.size, fill=0)
        return _WHITE - _pixels(image)


def _outlines() -> list[Points]:
    """Returns the outlines of the shapes around their centroid, each of the area pi."""
    t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    ellipse = np.stack([1.5 * np.cos(t), np.sin(t)], 1)
    heart = np.stack(
        [
            16 * np.sin(t) ** 3,
            -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)),
        ],
        1,
    )
    return [_normalised(outline) for outline in (square, ellipse, heart)]


def _normalised(outline: Points) -> Points:
    """Returns a polygon moved to its centroid and scaled to the area pi."""
    x, y = outline.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    ahead = outline + np.roll(outline, -1, 0)
    centroid = (ahead * cross[:, None]).sum(0) / (6 * area)
    moved: Points = (outline - centroid) * math.sqrt(math.pi / abs(area))
    return moved


_OUTLINES: Final = _outlines()
