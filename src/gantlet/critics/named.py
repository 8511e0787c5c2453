"""Flaws that have a name: measurements in which fake samples differ from real ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.critics.flaw import Flaw, Naming
from gantlet.critics.halves import Halves, Pair
from gantlet.critics.line import accuracy, gap, p_values, score_of
from gantlet.critics.repeats import repeats_p
from gantlet.critics.vocabulary import Word

_ITSELF = Estimate.exact(1.0, method="the flaw is this measurement itself")
_RIDGE = 1e-3
# Deviations.
_KNOWN = 3.0


def by_probes(
    halves: Halves, *, level: float, smallest: float, permutations: int, rng: Rng
) -> list[Flaw]:
    """Returns the named measurements whose means differ, in the order in which they were found.

    One that is explained by those before it is left out: the difference of the means must be
    there as it stands, and also, with the same sign, once what real samples let expect from the
    earlier measurements is taken away. The measurements and their order come from the first half;
    the second gives the larger of the two p-values, corrected by Holm's procedure.

    Args:
        halves: The samples.
        level: How likely one of them may be found on flawless samples.
        smallest: The smallest difference worth telling, in standard deviations.
        permutations: How often labels are dealt out.
        rng: Deals them out.
    """
    picked = pick(halves, smallest / 2)
    if not picked:
        return []
    plain, alone = _columns(halves, picked)
    generator = rng.stream("named/p")
    both = [torch.cat([getattr(v, s) for v in (plain, alone)], 1) for s in ("real", "fake")]
    p = p_values(*both, permutations=permutations, rng=generator).view(2, -1).amax(0)
    corrected = holm(_with_repeats(p.tolist(), halves, picked, permutations, rng))
    shifts = agreed(plain.shift(), alone.shift())
    found: list[Flaw] = []
    for i, j in enumerate(picked):
        topics = {f.naming.topic for f in found if f.naming is not None}
        is_new = halves.words.words[j].topic not in topics
        if corrected[i] <= level and float(shifts[i]) >= smallest and is_new:
            found.append(_flaw(halves, j, corrected[i], rng=rng))
    return found


def _with_repeats(
    p: list[float], halves: Halves, picked: list[int], permutations: int, rng: Rng
) -> list[float]:
    """Returns p-values in which that of repeats is its own, which does not rest on halves."""
    last = len(halves.words.words) - 1  # the column of repeats
    if last not in picked:
        return p
    seek, judge = halves.seek_features, halves.judge_features
    everyone = Pair(
        real=torch.cat([seek.real, judge.real]), fake=torch.cat([seek.fake, judge.fake])
    )
    own = repeats_p(everyone, permutations=permutations, rng=rng)
    return [max(q, own) if j == last else q for q, j in zip(p, picked, strict=True)]


def pick(halves: Halves, smallest: float) -> list[int]:
    """Returns the columns that differ on the first half, each given those before it."""
    picked: list[int] = []
    z = halves.seek
    while len(picked) < z.real.shape[1]:
        strength = agreed(z.shift(), _without(z, z, picked).shift())
        strength[picked] = 0
        top = int(strength.argmax())
        if float(strength[top]) < smallest:
            break
        picked.append(top)
    return picked


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


def _columns(halves: Halves, picked: list[int]) -> tuple[Pair, Pair]:
    """Returns each picked column of the second half, as it stands and given those before it."""
    z = halves.judge
    alone = [_without(halves.seek, z, picked[:i]).column(j) for i, j in enumerate(picked)]
    plain = Pair(real=z.real[:, picked], fake=z.fake[:, picked])
    real, fake = (torch.stack([getattr(b, s) for b in alone], 1) for s in ("real", "fake"))
    return plain, Pair(real=real, fake=fake)


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


def _flaw(halves: Halves, j: int, p: float, *, rng: Rng) -> Flaw:
    word = halves.words.words[j]
    seek, judge = halves.seek.column(j), halves.judge.column(j)
    apart = gap(judge.real, judge.fake, rng=rng.stream(f"named/{word.name}"))
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
