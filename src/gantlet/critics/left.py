"""How much tells fake samples from real ones once a critic is blind to some flaws."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import proportion
from gantlet.critics.flaw import Flaw
from gantlet.critics.halves import Halves
from gantlet.critics.line import Pair, score_of

_RIDGE = 0.1


def left_after(halves: Halves, flaws: Sequence[Flaw]) -> list[Estimate]:
    """Returns the held-out accuracy of a critic that is blind to none, one, two ... of the flaws.

    The critic is ridge regression on probes, features and their squares. It is blind to a flaw
    once the regression on it, and on how telling it is, is taken out of everything it sees.
    """
    seek, judge = (_seen(p, f) for p, f in _parts(halves))
    centre, spread = seek.mean(0), seek.std(0).clamp_min(1e-9)
    seek, judge = ((z - centre) / spread for z in (seek, judge))
    known = [_told(f) for f in flaws]
    found: list[Estimate] = []
    for k in range(len(flaws) + 1):
        a, b = _blind(seek, judge, known[:k])
        found.append(ridge_accuracy(a, b))
    return found


def ridge_accuracy(seek: Tensor, judge: Tensor) -> Estimate:
    """Returns how often a linear critic is right about held-out samples.

    Args:
        seek: What it learns from, real ones first, then as many fakes, shape ``(2 h, d)``.
        judge: What it is judged on, likewise.
    """
    h, m = len(seek) // 2, len(judge) // 2
    sign = torch.cat([-seek.new_ones(h), seek.new_ones(h)])
    centre = seek.mean(0)
    z = seek - centre
    # From the smaller of two equal systems, so that wide tables are no matter of hours.
    is_wide = z.shape[1] > len(z)
    gram = z @ z.T if is_wide else z.T @ z
    gram.diagonal().add_(_RIDGE * len(z))
    weight = (
        z.T @ torch.linalg.solve(gram, sign) if is_wide else torch.linalg.solve(gram, z.T @ sign)
    )
    told = (judge - centre) @ weight > 0
    right = int((~told[:m]).sum()) + int(told[m:].sum())
    return proportion(right, 2 * m, of="held-out samples told by a linear critic")


def _parts(halves: Halves) -> tuple[tuple[Pair, Pair], tuple[Pair, Pair]]:
    return (
        (halves.seek, halves.seek_features),
        (halves.judge, halves.judge_features),
    )


def _seen(probes: Pair, features: Pair) -> Tensor:
    z = torch.cat([probes.both(), features.both()], 1).clamp(-10, 10)
    return torch.cat([z, z**2], 1)


def _told(flaw: Flaw) -> tuple[Tensor, Tensor]:
    """Returns what is known of a flaw on each half: its value and how telling that is."""
    score = score_of(flaw.seek.real, flaw.seek.fake)
    first, second = (torch.stack([v, score(v)], 1) for v in (flaw.seek.both(), flaw.judge.both()))
    return first, second


def _blind(
    seek: Tensor, judge: Tensor, known: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    if not known:
        return seek, judge
    a, b = (torch.cat([k[i] for k in known], 1) for i in (0, 1))
    centre, spread = a.mean(0), a.std(0).clamp_min(1e-9)
    a, b = (a - centre) / spread, (b - centre) / spread
    ridge = 1e-6 * len(a) * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    slope = torch.linalg.solve(a.T @ a + ridge, a.T @ seek)
    return seek - a @ slope, judge - b @ slope
