"""Flaws that have a name: measurements in which fake samples differ from real ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.critics.explained import Explanation
from gantlet.critics.flaw import Flaw, Naming
from gantlet.critics.halves import Halves
from gantlet.critics.line import Pair, accuracy, gap, p_values, score_of
from gantlet.critics.word import Word

_ITSELF = Estimate.exact(1.0, method="the flaw is this measurement itself")
_RIDGE = 1e-3
# Deviations.
_KNOWN = 3.0
# From such a shift, in deviations, it follows that more samples lie far out.
_LARGE = 0.5
# An explanation may be wrong by this share of what it says that damages do.
_WRONG = 0.4
# And by this share where a measurement follows from almost any damage.
_WRONGER = 1.0
# Standard errors.
_CHANCE = 1.5
_SIDES = ("real", "fake")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    """A measurement that may show a flaw.

    Attributes:
        column: Which.
        alone: It on the second half, without what is known of other flaws.
        cause: The damage that explains it, or None.
    """

    column: int
    alone: Pair
    cause: str | None = None


def by_probes(
    halves: Halves,
    known: Explanation,
    *,
    level: float,
    smallest: float,
    permutations: int,
    rng: Rng,
) -> list[Flaw]:
    """Returns the named measurements whose means differ, in the order in which they were found.

    First those that a damage explains, each by the measurement that it moves most; then those
    that no damage explains. The difference of the means must be there as it stands, and also,
    with the same sign, once what is known of the others is taken away: what other damages do to
    real samples, and what real samples let expect from the unexplained measurements found before.
    What is looked at and in which order comes from the first half; the second gives the larger of
    the two p-values, corrected by Holm's procedure.

    Args:
        halves: The samples.
        known: What explains the first half.
        level: How likely one of them may be found on flawless samples.
        smallest: The smallest difference worth telling, in standard deviations.
        permutations: How often labels are dealt out.
        rng: Deals them out.
    """
    # Of more, so few permutations could certify none.
    most = max(int(level * (permutations + 1)), 1)
    suspects = _caused(halves, known)[:most]
    suspects += _others(halves, known, smallest / 2, most - len(suspects))
    if not suspects:
        return []
    columns = [s.column for s in suspects]
    z = halves.judge
    plain = Pair(real=z.real[:, columns], fake=z.fake[:, columns])
    real, fake = (torch.stack([getattr(s.alone, x) for s in suspects], 1) for x in _SIDES)
    alone = Pair(real=real, fake=fake)
    generator = rng.stream("named/p")
    both = [torch.cat([getattr(v, s) for v in (plain, alone)], 1) for s in _SIDES]
    p = p_values(*both, permutations=permutations, rng=generator).view(2, -1).amax(0)
    corrected = holm(p.tolist())
    shifts = agreed(plain.shift(), alone.shift())
    found: list[Flaw] = []
    for i, suspect in enumerate(suspects):
        topics = {f.naming.topic for f in found if f.naming is not None}
        is_new = halves.words.words[suspect.column].topic not in topics
        if corrected[i] <= level and float(shifts[i]) >= smallest and is_new:
            found.append(flaw_of(halves, suspect.column, suspect.alone, corrected[i], rng=rng))
            found[-1] = replace(found[-1], cause=suspect.cause)
    return found


def told(halves: Halves, known: Explanation) -> Tensor:
    """Returns whether each measurement differs by more than the explanation may be wrong."""
    left = halves.seek.shift() - known.moved
    share = torch.where(halves.words.follows(), _WRONGER, _WRONG)
    return left.abs() > share * known.most()


def _caused(halves: Halves, known: Explanation) -> list[_Suspect]:
    found: list[_Suspect] = []
    for name in known.strengths:
        part = torch.where(known.own[name], known.part(name).abs(), 0)
        found.append(
            _Suspect(
                column=(j := int(part.argmax())),
                alone=_less(halves.judge, known.others[name]).column(j),
                cause=name,
            )
        )
    return sorted(found, key=lambda s: -float(s.alone.shift().abs()))


def _others(halves: Halves, known: Explanation, smallest: float, most: int) -> list[_Suspect]:
    """Returns what no damage explains, at most so many, each given what was found before.

    Last what follows from almost any flaw, where those before it do not let expect it.
    """
    seek, judge = (_less(z, known.moved) for z in (halves.seek, halves.judge))
    allowed = told(halves, known)
    allowed[-1] = False  # repeats are judged by themselves
    allowed &= ~_expected(halves.words.words, seek.shift())
    for own in known.own.values():
        allowed &= ~own
    # What chance does to most measurements would only make Holm's procedure stricter.
    chance = _CHANCE * (1 / len(seek.real) + 1 / len(seek.fake)) ** 0.5
    least = max(smallest, chance)
    follows = halves.words.follows()
    picked = pick(seek, allowed & ~follows, least, most)
    picked = pick(seek, allowed & follows, least, most, picked)
    return [
        _Suspect(column=j, alone=_without(seek, judge, picked[:i]).column(j))
        for i, j in enumerate(picked)
    ]


def _expected(words: Sequence[Word], shift: Tensor) -> Tensor:
    """Returns which words of rare samples follow from a large shift of another of their topic."""
    moved = {
        w.topic
        for w, s in zip(words, shift.abs().tolist(), strict=True)
        if not w.rare and s >= _LARGE
    }
    return torch.tensor([w.rare and w.topic in moved for w in words], device=shift.device)


def pick(
    z: Pair, allowed: Tensor, smallest: float, most: int, before: Sequence[int] = ()
) -> list[int]:
    """Returns ``before`` and the allowed columns that differ, each given those before it.

    Args:
        z: The measurements.
        allowed: Which columns may be picked, shape ``(d,)``.
        smallest: The smallest difference of the means.
        most: How many are returned at most: with thousands of columns chance alone would give
            hundreds, and each takes longer than the one before.
        before: Those that were picked already.
    """
    picked = list(before)
    while len(picked) < min(most, z.real.shape[1]):
        strength = agreed(z.shift(), _without(z, z, picked).shift()) * allowed
        strength[picked] = 0
        top = int(strength.argmax())
        if float(strength[top]) < smallest:
            break
        picked.append(top)
    return picked


def _less(z: Pair, moved: Tensor) -> Pair:
    return Pair(real=z.real, fake=z.fake - moved)


def agreed(plain: Tensor, blind: Tensor) -> Tensor:
    """Returns the smaller of two differences where they have one sign, else 0."""
    smaller = torch.minimum(plain.abs(), blind.abs())
    return torch.where(plain * blind > 0, smaller, torch.zeros_like(smaller))


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values corrected by the procedure of Holm, in their order.

    Source: Holm, 1979, https://www.jstor.org/stable/4615733.

    Example:
        >>> holm([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]
    """
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected


def title_of(word: Word, shift: float) -> str:
    """Returns what a flaw is called whose measurement is shifted that way."""
    return word.more if shift > 0 else word.less


def _without(learn: Pair, z: Pair, known: list[int]) -> Pair:
    """Returns columns without what real samples let expect from the known ones."""
    if not known:
        return z
    first, later = (Pair(real=p.real[:, known], fake=p.fake[:, known]) for p in (learn, z))
    return blind(z, later, slopes(first.real, learn.real))


def blind(z: Pair, known: Pair, slope: Tensor) -> Pair:
    """Returns numbers without what is expected from known ones, about zero in the mean.

    Known ones count as at most three deviations: nobody knows what to expect farther out.
    """
    real, fake = (k.clamp(-_KNOWN, _KNOWN) @ slope for k in (known.real, known.fake))
    return Pair(real=z.real - real, fake=z.fake - fake)


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """Returns the slopes of ``y`` on ``x``, both standardised, shape ``(k, d)``.

    Those that may well be chance are 0.
    """
    x = x.clamp(-_KNOWN, _KNOWN)
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    solved: Tensor = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    return torch.where(solved.abs() > 3 / len(x) ** 0.5, solved, torch.zeros_like(solved))


def flaw_of(halves: Halves, j: int, alone: Pair, p: float, *, rng: Rng) -> Flaw:
    """Returns the flaw that a measurement shows.

    Args:
        halves: The samples.
        j: The column of the measurement.
        alone: It on the second half without what is known of other flaws.
        p: The corrected p-value.
        rng: Draws the folds of the interval.
    """
    word = halves.words.words[j]
    seek, judge = halves.seek.column(j), halves.judge.column(j)
    apart = gap(alone.real, alone.fake, rng=rng.stream(f"named/{word.name}"))
    return Flaw(
        title=title_of(word, apart.shift),
        naming=Naming(probe=word.name, topic=word.topic, agreement=_ITSELF),
        size=apart.size,
        kind=apart.kind,
        accuracy=accuracy(score_of(seek.real, seek.fake), judge.real, judge.fake),
        p=p,
        shift=apart.shift,
        seek=seek,
        judge=judge,
    )
