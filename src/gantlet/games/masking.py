"""Gradient masking: a critic that only seems robust, since its gradients lead nowhere.

An attack by gradient finds little where gradients are zero, reversed, drowned in ripples or
random, although other attacks would succeed. ``masking`` compares what should never be better, and
tests whether it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.games.attack import (
    Ball,
    Score,
    Side,
    fgsm,
    lengths,
    pgd,
    scores_of,
    shaped,
    sign_of,
    slopes,
    steepest,
    unit,
)
from gantlet.stats.intervals import holm_adjusted

SIGNS: Mapping[str, str] = {
    "random": "the same sample gets another score when it is asked for again",
    "saturated": "the gradient is exactly zero at some samples",
    "derivative": "the gradient disagrees with finite differences of the score",
    "directions": "searches that use no gradient raise the score further than the gradient attack",
    "transfer": "attacks made on another critic raise the score further than its own gradient",
    "single": "a single step raises the score further than many",
    "radius": "a larger ball gives the attack less",
}
"""What shows that gradients mislead, by the name of the test."""

MASKED = 0.01
"""Family-wise error rate of all signs together."""

# A share of samples up to which zero gradients may be dead units of a network.
_DEAD = 0.1


@final
@dataclass(frozen=True, slots=True)
class Sign:
    """One test for gradient masking.

    Attributes:
        name: Which, of ``SIGNS``.
        share: The share of samples that show it.
        p: The p-value, adjusted for all tests together (Holm).
    """

    name: str
    share: float
    p: float


@final
@dataclass(frozen=True, slots=True)
class Masking:
    """Whether attacks by gradient can be trusted.

    Attributes:
        signs: All tests that were made.
    """

    signs: Sequence[Sign]

    @property
    def found(self) -> list[Sign]:
        """The signs that are significant, 1 % in all."""
        return [s for s in self.signs if s.p <= MASKED]

    @property
    def is_masked(self) -> bool:
        """Whether gradients mislead: distances are then too large, and no sign of robustness."""
        return bool(self.found)


def masking(
    score: Score,
    x: Tensor,
    ball: Ball,
    *,
    rng: torch.Generator,
    towards: Side = "real",
    steps: int = 20,
    others: Sequence[Score] = (),
) -> Masking:
    """Tests whether the gradients of a critic hide attacks that exist.

    A gradient attack on an honest critic is better than any search of the same size without
    gradients, than a single step, than attacks made for other critics, and does not lose by a
    larger ball. Each is a sign test over samples of who does better; zero gradients are counted,
    and gradients are compared with finite differences. The tests share 1 % (Holm).

    Source: Athalye, Carlini and Wagner, 2018, https://arxiv.org/abs/1802.00420, section 3.1;
    Carlini et al., 2019, https://arxiv.org/abs/1902.06705, section 4.

    Args:
        score: The critic, which scores each sample alone.
        x: Samples, shape ``(n, ...)``; at least 20 for a test to have power.
        ball: In which they are attacked.
        rng: Draws directions.
        towards: Which way.
        steps: Gradients of the attack.
        others: Other critics, whose attacks are tried on this one.
    """
    trial = _Trial(score, x.detach(), ball, towards=towards, steps=steps, rng=rng)
    raw = dict(trial.signs(others))
    adjusted = holm_adjusted([p for _, p in raw.values()])
    return Masking(
        [Sign(name, share, p) for (name, (share, _)), p in zip(raw.items(), adjusted, strict=True)]
    )


# A gain counts as larger beyond this share of the gains' size: less is rounding.
_MORE = 0.01
# Searches without gradients: so many directions, to be followed at so many lengths.
_DIRECTIONS = 32
_LENGTHS = (0.25, 0.5, 1.0)
# Starts of the gradient attack.
_STARTS = 5
# Steps of finite differences, in radii.
_SMALL = 0.01


@final
class _Trial:
    """The tests of one critic."""

    def __init__(
        self,
        score: Score,
        x: Tensor,
        ball: Ball,
        *,
        towards: Side,
        steps: int,
        rng: torch.Generator,
    ) -> None:
        self._score = score
        self._x = x
        self._ball = ball
        self._towards: Side = towards
        self._sign = sign_of(towards)
        self._steps = steps
        self._rng = rng
        # As many looks at the critic as searches without gradients have: on a bumpy score one
        # ascent may end on a small hill, which masks nothing.
        self._gain = self._ascent(ball, steps)

    def _ascent(self, ball: Ball, steps: int) -> Tensor:
        found = pgd(
            self._score,
            self._x,
            ball,
            towards=self._towards,
            steps=steps,
            restarts=_STARTS,
            rng=self._rng,
        )
        return found.gain

    def signs(self, others: Sequence[Score]) -> Iterator[tuple[str, tuple[float, float]]]:
        """Yields the share and the p-value of each test, by name."""
        once, again = (scores_of(self._score, self._x) for _ in range(2))
        changed = int((once != again).sum())
        yield "random", (changed / len(once), 0.0 if changed else 1.0)
        slope, _ = slopes(self._score, self._x)
        zero = int((lengths(slope, math.inf) == 0).sum())
        yield "saturated", (zero / len(slope), _above(zero, len(slope), _DEAD))
        yield "derivative", self._derivative(slope)
        yield "directions", self._beaten(self._searched(slope))
        single = fgsm(self._score, self._x, self._ball, towards=self._towards).gain
        yield "single", self._beaten(single)
        yield "radius", self._worse_when_larger()
        if others:
            yield "transfer", self._beaten(self._transferred(others))

    def _beaten(self, gain: Tensor) -> tuple[float, float]:
        """Tests whether other gains are larger than those of the attack, over samples."""
        return _more(gain, self._gain)

    def _gains(self, p: Tensor) -> Tensor:
        moved = self._x + self._ball.held(self._x, p)
        before = scores_of(self._score, self._x)
        return self._sign * (scores_of(self._score, moved) - before)

    def _searched(self, slope: Tensor) -> Tensor:
        """Returns the best gain along random directions, their estimated slope, and its reverse.

        The estimate is by finite differences over many directions (Ilyas et al., 2018,
        https://arxiv.org/abs/1804.08598), as long as the ball is wide: small ripples of the score
        do not lead it astray.
        """
        x, radius = self._x, self._ball.sized(self._x)
        best = torch.zeros_like(self._gain)
        estimate = torch.zeros_like(x)
        for _ in range(_DIRECTIONS):
            drawn = torch.randn(x.shape, generator=self._rng, device=x.device).to(x.dtype)
            along = unit(drawn, self._ball.norm)
            there, back = self._gains(radius * along), self._gains(-radius * along)
            estimate += shaped(there - back, x) * along
            best = torch.maximum(best, torch.maximum(there, back))
        for way in (estimate, -slope * self._sign):
            for length in _LENGTHS:
                best = torch.maximum(
                    best, self._gains(length * radius * steepest(way, self._ball.norm))
                )
        return best

    def _transferred(self, others: Sequence[Score]) -> Tensor:
        moved = [
            pgd(other, self._x, self._ball, towards=self._towards, steps=self._steps).x - self._x
            for other in others
        ]
        return torch.stack([self._gains(p) for p in moved]).max(0).values

    def _worse_when_larger(self) -> tuple[float, float]:
        wide = replace(self._ball, radius=2 * self._ball.radius)
        return _more(self._gain, self._ascent(wide, 2 * self._steps))

    def _derivative(self, slope: Tensor) -> tuple[float, float]:
        """Tests whether most gradients disagree with central differences along themselves.

        The direction is a random one plus that of the gradient, so that neither a gradient of
        zero nor one that is far too large goes unnoticed. Kinks of a network disturb some samples,
        not most.
        """
        x = self._x
        drawn = torch.randn(x.shape, generator=self._rng, device=x.device).to(x.dtype)
        along = unit(unit(slope, 2.0) + unit(drawn, 2.0), 2.0)
        step = _SMALL * self._ball.sized(x) * along
        up, down = (scores_of(self._score, x + s * step) for s in (1, -1))
        expected = 2 * (slope * step).flatten(1).sum(1)
        # Single precision loses digits of scores that are large beside their difference.
        noise = 8 * torch.finfo(x.dtype).eps * torch.maximum(up.abs(), down.abs())
        off = ((up - down) - expected).abs() > noise + 0.5 * torch.maximum(
            (up - down).abs(), expected.abs()
        )
        count = int(off.sum())
        return count / len(x), _above(count, len(x), 0.5)


def _more(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Returns the share of samples with ``a > b`` and the p-value of a sign test of "no more"."""
    scale = torch.maximum(a.abs(), b.abs())
    wins = int((a - b > _MORE * scale).sum())
    return wins / len(a), _above(wins, len(a), 0.5)


def _above(count: int, n: int, share: float) -> float:
    """Returns the one-sided exact binomial p-value of "the probability is not above ``share``"."""
    from scipy.stats import binom

    return float(binom.sf(count - 1, n, share)) if count else 1.0
