"""Attacks on a critic: small changes of a sample that make it look real, or fake.

A critic gives each sample one score, higher for what looks more real. An attack moves a sample
``x`` to ``x + p`` with ``|p|`` at most a radius so that the score rises (``towards="real"``) or
falls (``"fake"``) as far as it can, or finds the least ``|p|`` with which the score passes a
threshold. All act on the score itself, whatever loss the critic is trained with: no probabilities,
no second class.

* ``fgsm`` and ``pgd`` climb within a ball; ``pgd`` has steps that can cross it;
* ``deepfool`` and ``minimal`` look for the nearest sample on the other side of a threshold.

Whether gradients can be trusted is tested in ``gantlet.games.masking``.

Norms are over all components of a sample, any ``1 <= norm <= inf``. Nothing here changes a critic:
gradients go to the samples alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import proportion

Score: TypeAlias = Callable[[Tensor], Tensor]
"""Samples, shape ``(n, ...)``, to one score each, shape ``(n,)``; such as ``game.critic``."""

Side = Literal["real", "fake"]
"""Which way an attack pushes the score: up, or down."""

BLOCK = 1024
"""So many samples are attacked at once, which bounds memory."""

# ----------------------------------------------------------------------------
# What an attack may do, and what it is after.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ball:
    """How far a sample may be moved.

    Attributes:
        radius: The largest norm of a perturbation, in the units of the samples; one number, or
            one for each sample, shape ``(n,)``.
        norm: Which norm over all components of a sample, from 1 to infinity.
        limits: The lowest and highest value of a component, or None; samples lie inside.
    """

    radius: float | Tensor
    norm: float = 2.0
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: If the radius is negative, the norm below 1, or the limits in disorder.
        """
        _check_norm(self.norm)
        low = self.radius.min().item() if isinstance(self.radius, Tensor) else self.radius
        if not low >= 0:
            raise UserError(f"The radius of an attack must be at least 0. Got {low:g}.")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise UserError(
                f"The limits of the data must be two numbers, the lower first. Got {self.limits}."
            )

    def at(self, place: slice) -> "Ball":
        """Returns the ball of some of the samples."""
        if not isinstance(self.radius, Tensor):
            return self
        return replace(self, radius=self.radius[place])

    def sized(self, like: Tensor) -> Tensor:
        """Returns the radius of each sample of ``like``, shape ``(n, 1, ...)``."""
        radius = torch.as_tensor(self.radius, dtype=like.dtype, device=like.device)
        return radius.expand(len(like)).reshape(-1, *(1,) * (like.ndim - 1))

    def held(self, x: Tensor, p: Tensor) -> Tensor:
        """Returns the perturbation ``p`` of ``x``, shapes ``(n, ...)``, brought into the ball.

        For the norms 1, 2 and infinity it is the nearest point of the ball, for others the one on
        the ray. Then what leaves the limits is cut off, which makes no component larger.
        """
        p = _projected(p, self.sized(p), self.norm)
        if self.limits is None:
            return p
        moved = (x + p).clamp(*self.limits)
        # Where nothing was cut off, not even rounding may move the point.
        return torch.where(moved == x + p, p, moved - x)

    def moved(self, x: Tensor, p: Tensor) -> Tensor:
        """Returns ``x + p``, which rounding takes not even a digit out of the limits."""
        return x + p if self.limits is None else (x + p).clamp(*self.limits)

    def drawn(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns random perturbations inside: uniform for the norms 2 and infinity."""
        radius = self.sized(x)
        if self.norm == math.inf:
            p = 2 * torch.rand(x.shape, generator=rng, device=x.device).to(x.dtype) - 1
            return self.held(x, radius * p)
        along = unit(torch.randn(x.shape, generator=rng, device=x.device).to(x.dtype), self.norm)
        share = torch.rand(len(x), generator=rng, device=x.device) ** (1 / x[0].numel())
        return self.held(x, radius * share.to(x.dtype).reshape(radius.shape) * along)


def _check_norm(norm: float) -> None:
    if not norm >= 1:
        raise UserError(f"The norm of an attack must be from 1 to infinity. Got {norm:g}.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What an attack is after: a score past a threshold.

    Attributes:
        threshold: Scores above it count as real.
        towards: To which side of it.
    """

    threshold: float = 0.0
    towards: Side = "real"

    @property
    def sign(self) -> float:
        """1 where the score is to rise, -1 where it is to fall."""
        return sign_of(self.towards)

    def gap(self, scores: Tensor) -> Tensor:
        """Returns by how much scores fall short of the threshold; at most 0 where they do not."""
        return self.sign * (self.threshold - scores)


def sign_of(towards: Side) -> float:
    """Returns 1 for ``real`` and -1 for ``fake``.

    Raises:
        UserError: If it is neither.
    """
    if towards not in {"real", "fake"}:
        raise unknown("side", towards, ("real", "fake"))
    return 1.0 if towards == "real" else -1.0


_LOGITS = frozenset({"ns", "minimax", "bce", "hinge"})


def fixed_threshold(loss: str | None) -> float | None:
    """Returns the score above which a loss has a critic call a sample real, where it says so.

    0 for the losses whose critic returns a logit or a margin, .5 for least squares; None for
    others, whose scores have no zero of their own, and for a loss of one's own.
    """
    if loss in _LOGITS:
        return 0.0
    return 0.5 if loss == "lsgan" else None


def threshold_of(loss: str | None, real: Tensor) -> float:
    """Returns the score above which a critic counts a sample as real.

    That of its loss, or the median score of real samples where it has none.

    Args:
        loss: Name of the adversarial loss; None for a loss of one's own.
        real: Scores of real samples, shape ``(n,)``.

    Example:
        >>> threshold_of("ns", torch.tensor([1.0, 3.0])), threshold_of("wgan", torch.arange(5.0))
        (0.0, 2.0)
    """
    fixed = fixed_threshold(loss)
    return float(real.median()) if fixed is None else fixed


# ----------------------------------------------------------------------------
# Norms of samples: lengths, projections, and the direction of steepest ascent.
# ----------------------------------------------------------------------------


def lengths(p: Tensor, norm: float = 2.0) -> Tensor:
    """Returns the norm of each perturbation, shape ``(n, ...)``, over all of it, as ``(n,)``."""
    found: Tensor = torch.linalg.vector_norm(p.flatten(1), ord=norm, dim=1)
    return found


def shaped(each: Tensor, like: Tensor) -> Tensor:
    """Returns a number for each sample, shape ``(n,)``, in the shape ``(n, 1, ...)``."""
    return each.reshape(-1, *(1,) * (like.ndim - 1))


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Returns the cosine of each pair of perturbations, shapes ``(n, ...)``, as ``(n,)``.

    0 where one of them is zero.
    """
    return torch.cosine_similarity(a.flatten(1), b.flatten(1), dim=1, eps=1e-30)


def unit(p: Tensor, norm: float = 2.0) -> Tensor:
    """Returns each perturbation divided by its norm; zeros stay zeros."""
    size = shaped(lengths(p, norm), p)
    return p / torch.where(size > 0, size, torch.ones_like(size))


def steepest(slope: Tensor, norm: float = 2.0) -> Tensor:
    """Returns the direction of norm 1 along which a linear function rises fastest.

    It maximises ``<slope, d>`` over ``|d| <= 1``, by Hoelder's inequality. Zeros stay zeros.

    Args:
        slope: Gradients, shape ``(n, ...)``.
        norm: Which norm ``d`` has.

    Example:
        >>> steepest(torch.tensor([[3.0, -4.0]]), 2.0), steepest(torch.tensor([[3.0, -4.0]]), 1.0)
        (tensor([[ 0.6000, -0.8000]]), tensor([[ 0., -1.]]))
    """
    if norm == math.inf:
        return slope.sign()
    # Divided by the largest component first, no power overflows or vanishes.
    scaled = unit(slope, math.inf)
    if norm == 1:
        flat = scaled.flatten(1)
        best = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, best, flat.gather(1, best)).view_as(slope)
    return unit(scaled.sign() * scaled.abs() ** (1 / (norm - 1)), norm)


def dual(norm: float) -> float:
    """Returns the norm ``q`` with ``1/norm + 1/q = 1``, in which slopes are measured.

    Example:
        >>> dual(2.0), dual(1.0), dual(float("inf"))
        (2.0, inf, 1.0)
    """
    if norm == 1:
        return math.inf
    return 1.0 if norm == math.inf else norm / (norm - 1)


def _projected(p: Tensor, radius: Tensor, norm: float) -> Tensor:
    if norm == math.inf:
        return torch.minimum(torch.maximum(p, -radius), radius)
    if norm == 1:
        return _onto_simplex(p, radius)
    size = shaped(lengths(p, norm), p)
    return torch.where(size > radius, p * (radius / size.clamp(min=1e-38)), p)


def _onto_simplex(p: Tensor, radius: Tensor) -> Tensor:
    """Returns the nearest points of L1 balls.

    Source: Duchi et al., 2008, https://doi.org/10.1145/1390156.1390191, Figure 1.
    """
    flat, most = p.flatten(1), radius.flatten(1)
    sizes = flat.abs()
    down = sizes.sort(dim=1, descending=True).values
    excess = (down.cumsum(1) - most) / torch.arange(1, flat.shape[1] + 1, device=p.device)
    last = (down > excess).sum(1, keepdim=True).clamp(min=1)
    cut = excess.gather(1, last - 1).clamp(min=0)
    kept = flat.sign() * (sizes - cut).clamp(min=0)
    return torch.where(sizes.sum(1, keepdim=True) > most, kept, flat).view_as(p)


def slopes(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient of each score in its own sample, and the scores.

    The critic must score each sample alone, as one in evaluation mode does.

    Args:
        score: The critic.
        x: The samples, shape ``(n, ...)``.

    Returns:
        Shapes ``(n, ...)`` and ``(n,)``; the gradient of what does not depend on ``x`` is zero.
    """
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        found = score(at)
        if not found.requires_grad:
            return torch.zeros_like(x), found.detach()
        (slope,) = torch.autograd.grad(found.sum(), at, materialize_grads=True)
    return slope, found.detach()


@torch.no_grad()
def scores_of(score: Score, x: Tensor, *, block: int = BLOCK) -> Tensor:
    """Returns the scores of samples, shape ``(n,)``, ``block`` at once."""
    return torch.cat([score(part).detach() for part in torch.split(x, block)])


# ----------------------------------------------------------------------------
# Attacks within a ball.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """What an attack within a ball found.

    Attributes:
        x: The perturbed samples, shape ``(n, ...)``.
        before: The scores of the samples, shape ``(n,)``.
        after: Those of the perturbed ones.
        towards: Which way they were pushed.
    """

    x: Tensor
    before: Tensor
    after: Tensor
    towards: Side

    @property
    def gain(self) -> Tensor:
        """By how much each score moved to the side that was asked for; never below 0."""
        return sign_of(self.towards) * (self.after - self.before)


# The whole way of the steps, in radii: across the ball and a quarter more.
_WAY = 2.5


def pgd(
    score: Score,
    x: Tensor,
    ball: Ball,
    *,
    towards: Side = "real",
    steps: int = 20,
    step: float | None = None,
    restarts: int = 1,
    rng: torch.Generator | None = None,
    block: int = BLOCK,
) -> Attacked:
    """Projected gradient ascent of the score within a ball; returns the best point on its way.

    Each step is steepest ascent in the norm of the ball. Steps shrink evenly to zero, so that the
    end is settled, and are ``step`` on average. The first start is at ``x``, others at random.

    Source: Madry et al., 2018, https://arxiv.org/abs/1706.06083, section 2.1.
    Differs from the paper: the score in place of a loss; steps that shrink; the best point in
    place of the last.

    Args:
        score: The critic, which scores each sample alone.
        x: The samples, shape ``(n, ...)``, within the limits of the ball where it has some.
        ball: How far each may be moved.
        towards: Whether scores are to rise (``real``) or fall (``fake``).
        steps: Gradients for each start.
        step: Mean step in radii of the ball; None goes 2.5 radii in all, which can cross it.
        restarts: Number of starts; all but the first are random.
        rng: Where random starts come from.
        block: So many samples at once.

    Raises:
        UserError: If the steps together cannot reach the surface of the ball, restarts are asked
            for without ``rng``, or samples lie outside of the limits.
    """
    length = _step(steps, step)
    if restarts > 1 and rng is None:
        raise UserError(f"An attack with {restarts} starts needs rng=, which draws them.")
    _check_limits(x, ball.limits)
    found: list[Attacked] = []
    for start in range(0, len(x), block):
        place = slice(start, start + block)
        climb = _Climb(
            score,
            x[place].detach(),
            ball.at(place),
            sign=sign_of(towards),
            shares=[2 * length * (steps - t - 0.5) / steps for t in range(steps)],
        )
        for i in range(max(restarts, 1)):
            climb.begin(None if i == 0 else rng)
            climb.run()
        found.append(climb.result(towards))
    return _joined(found)


def fgsm(
    score: Score, x: Tensor, ball: Ball, *, towards: Side = "real", block: int = BLOCK
) -> Attacked:
    """One step of steepest ascent to the surface of the ball; ``x`` itself where that is better.

    Source: Goodfellow et al., 2015, https://arxiv.org/abs/1412.6572, section 4 (for the norm
    infinity, along the sign of the gradient).
    """
    return pgd(score, x, ball, towards=towards, steps=1, step=1.0, block=block)


def _step(steps: int, step: float | None) -> float:
    if steps < 1:
        raise UserError(f"An attack needs at least 1 step. Got {steps}.")
    length = max(_WAY / steps, 1.0 if steps == 1 else 0.0) if step is None else step
    if length * steps < 1:
        raise UserError(
            f"{steps} steps of {length:g} radii never reach the surface of the ball. Give "
            f"step={1 / steps:.3g} or more, or leave it out."
        )
    return length


def _check_limits(x: Tensor, ends: tuple[float, float] | None) -> None:
    if ends is not None and len(x) and bool(((x < ends[0]) | (x > ends[1])).any()):
        raise UserError(
            f"Samples must lie within the limits of the attack, {ends[0]:g} to {ends[1]:g}. They "
            f"go from {float(x.min()):g} to {float(x.max()):g}."
        )


def _joined(parts: Sequence[Attacked]) -> Attacked:
    first = parts[0]
    return Attacked(
        torch.cat([a.x for a in parts]),
        torch.cat([a.before for a in parts]),
        torch.cat([a.after for a in parts]),
        first.towards,
    )


@final
class _Climb:
    """Ascent from several starts, and the best point of all."""

    def __init__(
        self, score: Score, x: Tensor, ball: Ball, *, sign: float, shares: Sequence[float]
    ) -> None:
        self._score = score
        self._x = x
        self._ball = ball
        self._sign = sign
        self._shares = shares
        self._p = self._where = torch.zeros_like(x)
        self._before: Tensor | None = None
        self._best = x.new_zeros(len(x))

    def begin(self, rng: torch.Generator | None) -> None:
        """Goes to ``x``, or to a random point of the ball."""
        drawn = None if rng is None else self._ball.drawn(self._x, rng)
        self._p = torch.zeros_like(self._x) if drawn is None else drawn

    def run(self) -> None:
        """Makes all steps of one start."""
        radius = self._ball.sized(self._x)
        for share in self._shares:
            slope, seen = slopes(self._score, self._ball.moved(self._x, self._p))
            self._keep(seen)
            move = share * radius * steepest(self._sign * slope, self._ball.norm)
            self._p = self._ball.held(self._x, self._p + move)
        with torch.no_grad():
            self._keep(self._score(self._ball.moved(self._x, self._p)).detach())

    def _keep(self, seen: Tensor) -> None:
        if self._before is None:
            # The first point of the first start is ``x`` itself.
            self._before = self._best = seen
            return
        better = self._sign * seen > self._sign * self._best
        self._best = torch.where(better, seen, self._best)
        self._where = torch.where(shaped(better, self._p), self._p, self._where)

    def result(self, towards: Side) -> Attacked:
        before = self._best if self._before is None else self._before
        return Attacked(self._ball.moved(self._x, self._where), before, self._best, towards)


# ----------------------------------------------------------------------------
# The nearest sample on the other side of a threshold.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The smallest perturbations that were found to pass a threshold.

    Attributes:
        x: The perturbed samples, shape ``(n, ...)``; those without success are as they were.
        distance: The norm of each perturbation, shape ``(n,)``: 0 where a sample was past the
            threshold already, infinite where no attack succeeded.
        norm: Which norm.
    """

    x: Tensor
    distance: Tensor
    norm: float

    @property
    def succeeded(self) -> Tensor:
        """Whether the threshold was passed, shape ``(n,)``."""
        return self.distance.isfinite()


def deepfool(
    score: Score,
    x: Tensor,
    goal: Goal,
    *,
    norm: float = 2.0,
    limits: tuple[float, float] | None = None,
    steps: int = 50,
    overshoot: float = 0.02,
) -> Nearest:
    """Steps to where the linearised score meets the threshold, until the score itself is past it.

    Exact for a linear critic, up to ``overshoot``, which ``minimal`` takes back.

    Source: Moosavi-Dezfooli et al., 2016, https://arxiv.org/abs/1511.04599, Algorithm 1 and
    section 2.3 for other norms.

    Args:
        score: The critic, which scores each sample alone.
        x: The samples, shape ``(n, ...)``.
        goal: Threshold and side.
        norm: In which norm perturbations are small.
        limits: Lowest and highest value of a component, or None.
        steps: Most steps.
        overshoot: By which share the perturbation is lengthened past the threshold.
    """
    _check_norm(norm)
    _check_limits(x, limits)
    ball = Ball(radius=math.inf, norm=norm, limits=limits)
    x = x.detach()
    total, at = torch.zeros_like(x), x
    for _ in range(steps):
        slope, seen = slopes(score, at)
        short = goal.gap(seen)
        if bool((short <= 0).all()):
            break
        size = lengths(slope, dual(norm))
        length = torch.where((short > 0) & (size > 0), short / size.clamp(min=1e-30), 0.0)
        length = torch.where(length.isfinite(), length, 0.0)
        total = total + shaped(length, x) * steepest(goal.sign * slope, norm)
        at = ball.moved(x, ball.held(x, (1 + overshoot) * total))
    return _nearest(score, x, at, goal, norm)


def _nearest(score: Score, x: Tensor, at: Tensor, goal: Goal, norm: float) -> Nearest:
    done = goal.gap(scores_of(score, at)) <= 0
    distance = torch.where(done, lengths(at - x, norm), math.inf)
    return Nearest(torch.where(shaped(done, x), at, x), distance, norm)


def minimal(
    score: Score,
    x: Tensor,
    goal: Goal,
    *,
    norm: float = 2.0,
    limits: tuple[float, float] | None = None,
    largest: float | None = None,
    steps: int = 20,
    bisections: int = 8,
    block: int = BLOCK,
) -> Nearest:
    """Returns the smallest perturbations with which scores pass a threshold.

    DeepFool gives a first one, where that fails ``pgd`` within ``largest``; then the radius of
    each sample is bisected, ``pgd`` saying whether it suffices, and every success is drawn back
    along its ray to the threshold. The norm that is returned is one that a perturbation has:
    an upper bound of the least, exact for a linear critic.

    Args:
        score: The critic, which scores each sample alone.
        x: The samples, shape ``(n, ...)``.
        goal: Threshold and side.
        norm: In which norm.
        limits: Lowest and highest value of a component, or None.
        largest: The largest norm that is tried; None is four times the distance of the farthest
            sample from their mean, or all that the limits allow.
        steps: Gradients at each radius.
        bisections: How often the radius is halved.
        block: So many samples at once.
    """
    most = _largest(x, norm, limits) if largest is None else largest
    parts: list[Nearest] = []
    for part in torch.split(x.detach(), block):
        found = deepfool(score, part, goal, norm=norm, limits=limits)
        found = _within(_drawn_back(score, part, found, goal), part, most)
        if not bool(found.succeeded.all()):
            ball = Ball(radius=most, norm=norm, limits=limits)
            found = _tried(score, part, found, goal, ball=ball, steps=2 * steps)
        parts.append(
            _bisected(score, part, found, goal, ends=limits, steps=steps, bisections=bisections)
        )
    return Nearest(torch.cat([p.x for p in parts]), torch.cat([p.distance for p in parts]), norm)


def _largest(x: Tensor, norm: float, ends: tuple[float, float] | None) -> float:
    if ends is not None:
        across = torch.full((1, x[0].numel()), ends[1] - ends[0])
        return float(lengths(across, norm))
    far = float(lengths(x - x.mean(0, keepdim=True), norm).max())
    return 4 * far if far > 0 else 4 * max(float(lengths(x, norm).max()), 1.0)


def _within(found: Nearest, x: Tensor, most: float) -> Nearest:
    """Returns what was found without perturbations that are larger than allowed."""
    kept = found.distance <= most
    distance = torch.where(kept, found.distance, math.inf)
    return Nearest(torch.where(shaped(kept, x), found.x, x), distance, found.norm)


def _tried(
    score: Score, x: Tensor, known: Nearest, goal: Goal, *, ball: Ball, steps: int
) -> Nearest:
    """Returns the smaller of what is known and what ``pgd`` finds in a ball."""
    climbed = pgd(score, x, ball, towards=goal.towards, steps=steps)
    found = _drawn_back(score, x, _nearest(score, x, climbed.x, goal, ball.norm), goal)
    better = found.distance < known.distance
    return Nearest(
        torch.where(shaped(better, x), found.x, known.x),
        torch.where(better, found.distance, known.distance),
        ball.norm,
    )


def _bisected(
    score: Score,
    x: Tensor,
    found: Nearest,
    goal: Goal,
    *,
    ends: tuple[float, float] | None,
    steps: int,
    bisections: int,
) -> Nearest:
    low = torch.zeros_like(found.distance)
    for _ in range(bisections):
        high = torch.where(found.succeeded, found.distance, 0.0)
        middle = (low + high) / 2
        ball = Ball(radius=middle, norm=found.norm, limits=ends)
        found = _tried(score, x, found, goal, ball=ball, steps=steps)
        low = torch.where(found.distance > middle, middle, low)
    return found


# Halvings of a ray: to a millionth of its length.
_HALVINGS = 20


def _drawn_back(score: Score, x: Tensor, found: Nearest, goal: Goal) -> Nearest:
    """Returns perturbations shortened to where their ray from ``x`` meets the threshold."""
    p = found.x - x
    low = torch.zeros_like(found.distance)
    high = torch.ones_like(low)
    past = goal.gap(scores_of(score, x)) <= 0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        done = goal.gap(scores_of(score, x + shaped(middle, x) * p)) <= 0
        high, low = torch.where(done, middle, high), torch.where(done, low, middle)
    high = torch.where(past, 0.0, high)
    at = torch.where(shaped(high < 1, x), x + shaped(high, x) * p, found.x)
    distance = torch.where(found.succeeded, lengths(at - x, found.norm), math.inf)
    return Nearest(at, torch.where(past, 0.0, distance), found.norm)


# ----------------------------------------------------------------------------
# What attacks found, with intervals.
# ----------------------------------------------------------------------------


def median_distance(distance: Tensor, *, unit: str = "1", level: float = 0.95) -> Estimate:
    """Returns the median of distances with its interval from order statistics.

    Distances may be infinite, where no attack succeeded: the median counts them as far away. The
    interval holds whatever the distribution is.

    Source: Conover, 1999, Practical Nonparametric Statistics, section 3.2.

    Args:
        distance: The distances, shape ``(n,)``.
        unit: Their unit.
        level: Confidence level.

    Example:
        >>> e = median_distance(torch.arange(1.0, 102.0))
        >>> e.value, e.low, e.high
        (51.0, 41.0, 61.0)
    """
    known = distance.double().sort().values
    n = len(known)
    if n == 0:
        return Estimate.missing("no samples", unit=unit)
    value = float(known.median())
    if not math.isfinite(value):
        share = int(known.isfinite().sum())
        return Estimate.missing(f"only {share} of {n} samples could be attacked", unit=unit)
    rank = _rank(n, level)
    low, high = (float(known[rank - 1]), float(known[n - rank])) if rank else (None, None)
    why = "median, interval from order statistics"
    if high is None or not math.isfinite(high):
        low, high = None, None
        why = "median; too few samples were attacked for an interval"
    return Estimate(
        value=value, low=low, high=high, level=level, n=n, unit=unit, better="higher", method=why
    )


def _rank(n: int, level: float) -> int:
    """Returns the rank of the lower end, from 1; 0 where no order statistic is low enough."""
    from scipy.stats import binom

    k = int(binom.ppf((1 - level) / 2, n, 0.5))
    return k if binom.cdf(k, n, 0.5) <= (1 - level) / 2 else max(k, 0)


def attackable(distance: Tensor, radius: float) -> Estimate:
    """Returns the share of samples with an attack of at most ``radius``, exact binomial."""
    return proportion(int((distance <= radius).sum()), len(distance))
