"""Flaws with a name: attributes whose distributions differ."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.domains.attributes import Attribute
from gantlet.flaws.explain import Explanation
from gantlet.flaws.split import DiscoveryValidation, Flaw, Naming, nearness_of
from gantlet.stats.intervals import holm_adjusted
from gantlet.stats.moments import blocks, squared_distances
from gantlet.stats.permutation import EffectSize, TwoSamples, accuracy, gap, p_values, score_of

# So many samples of each set are looked at, and so many neighbours of each: that none of them is
# of its own set happens once in 10^15.
_MOST, _NEIGHBOURS = 1500, 50
# A copy is nearer than half of the distance of this quantile, and than this share of the mean.
_NEAREST, _COPY = 0.01, 0.1
# Squared distances below this share of the mean are rounding.
_EQUAL = 1e-9


def repeats_p(features: TwoSamples, *, permutations: int, rng: Rng) -> float:
    """Returns the permutation p-value of a difference in distances to the nearest neighbour.

    How near the nearest sample of its own set is depends on all of that set, so halves of it are
    not independent. Here everything is recomputed after the labels of all samples are permuted,
    which is right whatever depends on what.

    Args:
        features: All samples, as many real as fake ones, whitened by all of them or not at all:
            real samples in the frame of real ones lie otherwise than fake ones do.
        permutations: The number of label permutations.
        rng: Draws the permutations.
    """
    both = torch.cat([features.real[:_MOST], features.fake[:_MOST]]).float()
    n = len(both)
    far = torch.cat([squared_distances(both[b], both).sqrt() for b in blocks(n, n)])
    far.fill_diagonal_(torch.inf)
    near = far.topk(min(_NEIGHBOURS, n - 1), dim=1, largest=False)
    far.fill_diagonal_(0.0)
    is_fake = torch.arange(n, device=both.device) >= n // 2
    generator, whole = rng.stream("repeats"), far.sum(1)

    def apart(labels: Tensor) -> Tensor:
        return _apart(labels, far @ labels.T.to(far), whole, near.values, near.indices)

    seen, beyond = float(apart(is_fake[None]).abs()), 0
    for block in blocks(permutations, n):
        keys = torch.rand(block.stop - block.start, n, generator=generator, device=rng.device)
        dealt = is_fake[keys.argsort(1).to(both.device)]
        beyond += int((apart(dealt).abs() >= seen - 1e-7).sum())
    return (1 + beyond) / (1 + permutations)


def _apart(labels: Tensor, to_fake: Tensor, whole: Tensor, far: Tensor, whose: Tensor) -> Tensor:
    """Returns the difference of the mean nearness, fake minus real, for each row of labels.

    Args:
        labels: Which samples are called fake, shape ``(k, n)``.
        to_fake: The sum of distances of each sample to these, shape ``(n, k)``.
        whole: The sum of distances of each sample to all, shape ``(n,)``.
        far: Distances of each to its neighbours, the nearest first, shape ``(n, c)``.
        whose: Which these are.
    """
    found: list[Tensor] = []
    half = len(whole) // 2
    for row, fake in zip(labels, to_fake.T, strict=True):
        first = (row[whose] == row[:, None]).to(torch.uint8).argmax(1, keepdim=True)
        mean = torch.where(row, fake, whole - fake) / half
        value = nearness_of(far.gather(1, first)[:, 0], mean)
        found.append(value[row].mean() - value[~row].mean())
    return torch.stack(found)


def distinct(halves: DiscoveryValidation, fake: Tensor) -> Tensor:
    """Returns the places of fake samples of which none is a copy of one before it.

    A copy lies nearer than half of what one real sample in a hundred does to its nearest other.
    Copies are not evidence of anything else: a thousand copies of one bright image do not make a
    set too bright. Where one real sample in a hundred or more is equal to another (rows of few
    categories, short lines), equal fakes are not copies, and all of them count.

    Args:
        halves: What whitens features, and real samples.
        fake: Features of the fakes, shape ``(n, d)``.
    """
    z = halves.frame(fake)
    real = halves.seek_features.real[:_MOST]
    far = squared_distances(real, real)
    size = far.mean()
    far.fill_diagonal_(torch.inf)
    nearest = float(far.min(1).values.quantile(_NEAREST))
    if nearest <= _EQUAL * float(size):
        return torch.arange(len(z), device=z.device)
    limit = min(nearest / 4, float(size) * _COPY**2)
    is_copy = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for block in blocks(len(z), len(z)):
        near = squared_distances(z[block], z) <= limit
        before = (
            torch.arange(len(z), device=z.device)
            < torch.arange(block.start, block.stop, device=z.device)[:, None]
        )
        is_copy[block] = (near & before).any(1)
    return (~is_copy).nonzero()[:, 0]


# ----------------------------------------------------------------------------
# Flaws that have a name: measurements in which fake samples differ from real ones.
# ----------------------------------------------------------------------------

_ITSELF = Estimate.exact(1.0, method="the flaw is this attribute itself")
_RIDGE = 1e-3
# Deviations.
_KNOWN = 3.0
# From such a shift, in deviations, it follows that more samples lie far out.
_LARGE = 0.5
# Relative error allowed in the effects that an explanation predicts.
_WRONG = 0.4
# The same for a measurement that almost any corruption moves.
_WRONGER = 1.0
# Standard errors.
_CHANCE = 1.5
_SIDES = ("real", "fake")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    """A measurement that may show a flaw.

    Attributes:
        halves: The samples that it was looked for and is tested on.
        column: Which.
        alone: It on the second half, without the effect of other flaws.
        cause: The corruption that explains it, or None.
    """

    halves: DiscoveryValidation
    column: int
    alone: TwoSamples
    cause: str | None = None

    @property
    def plain(self) -> TwoSamples:
        """The measurement on the second half as it is."""
        return self.halves.judge.column(self.column)

    @property
    def shift(self) -> float:
        """The difference of the means, the smaller of as it is and without other flaws."""
        return float(same_sign_minimum(self.plain.shift(), self.alone.shift()))


def test_attributes(
    halves: DiscoveryValidation,
    known: Explanation,
    *,
    whole: DiscoveryValidation | None,
    level: float,
    smallest: float,
    permutations: int,
    rng: Rng,
) -> list[Flaw]:
    """Returns the named measurements whose means differ, in the order in which they were found.

    First those that a corruption explains, each by the measurement that it moves most; then those
    that no corruption explains. The difference of the means must be there as it stands, and also,
    with the same sign, once what is known of the others is taken away: what other damages do to
    real samples, and what real samples let expect from the unexplained measurements found before.
    What is looked at and in which order comes from the first half; the second gives the larger of
    the two p-values, corrected by Holm's procedure.

    Measurements by which samples are alike come before all others, from the samples in which none
    is left out as a copy.

    Args:
        halves: The samples, in which each copy counts once.
        known: What explains the first half.
        whole: The samples with all copies; None if these are ``halves``.
        level: The significance level (family-wise error rate).
        smallest: The minimum effect size, in standard deviations.
        permutations: The number of label permutations.
        rng: Draws the permutations.
    """
    # Of more, so few permutations could certify none.
    most = max(int(level * (permutations + 1)), 1)
    alike = [] if whole is None else _alike(whole, smallest / 2)[:most]
    suspects = _caused(halves, known)[: most - len(alike)]
    suspects += _others(halves, known, smallest / 2, most - len(alike) - len(suspects))
    generator = rng.stream("named/p")
    p = [x for part in (alike, suspects) for x in _tested(part, permutations, generator)]
    corrected = holm_adjusted(p)
    found: list[Flaw] = []
    for p_of_all, suspect in zip(corrected, [*alike, *suspects], strict=True):
        topics = {f.naming.topic for f in found if f.naming is not None}
        is_new = halves.words.words[suspect.column].topic not in topics
        if p_of_all <= level and suspect.shift >= smallest and is_new:
            flaw = flaw_of(suspect.halves, suspect.column, suspect.alone, p_of_all, rng=rng)
            # Whatever it was tested on, directions are looked for among these samples.
            both = (z.column(suspect.column) for z in (halves.seek, halves.judge))
            found.append(replace(flaw, cause=suspect.cause, seek=next(both), judge=next(both)))
    return found


def _tested(suspects: Sequence[_Suspect], permutations: int, rng: torch.Generator) -> list[float]:
    """Returns the p-value of each, the larger of the two; all are of the same samples."""
    if not suspects:
        return []
    views = [*(s.plain for s in suspects), *(s.alone for s in suspects)]
    real, fake = (torch.stack([getattr(v, side) for v in views], 1) for side in _SIDES)
    p = p_values(real, fake, permutations=permutations, rng=rng).view(2, -1).amax(0)
    return [float(x) for x in p]


def exceeds_explanation(halves: DiscoveryValidation, known: Explanation) -> Tensor:
    """Returns whether each measurement differs by more than the explanation may be wrong."""
    left = halves.seek.shift() - known.moved
    share = torch.where(halves.words.follows(), _WRONGER, _WRONG)
    return left.abs() > share * known.most()


def _caused(halves: DiscoveryValidation, known: Explanation) -> list[_Suspect]:
    found: list[_Suspect] = []
    for name in known.strengths:
        part = torch.where(known.own[name], known.part(name).abs(), 0)
        found.append(
            _Suspect(
                halves=halves,
                column=(j := int(part.argmax())),
                alone=_less(halves.judge, known.others[name]).column(j),
                cause=name,
            )
        )
    return sorted(found, key=lambda s: -float(s.alone.shift().abs()))


def _others(
    halves: DiscoveryValidation, known: Explanation, smallest: float, most: int
) -> list[_Suspect]:
    """Returns the flaws that no corruption explains, each given those found before.

    Last what follows from almost any flaw, where those before it do not let expect it.
    """
    seek, judge = (_less(z, known.moved) for z in (halves.seek, halves.judge))
    allowed = exceeds_explanation(halves, known)
    allowed[-1] = False  # repeats are judged by themselves
    allowed &= ~_expected(halves.words.words, seek.shift())
    for own in known.own.values():
        allowed &= ~own
    least = max(smallest, _chance(seek))
    follows = halves.words.follows()
    picked = forward_selection(seek, allowed & ~follows, least, most)
    picked = forward_selection(seek, allowed & follows, least, most, picked)
    return [
        _Suspect(halves=halves, column=j, alone=_without(seek, judge, picked[:i]).column(j))
        for i, j in enumerate(picked)
    ]


def _alike(whole: DiscoveryValidation, smallest: float) -> list[_Suspect]:
    """Returns the measurements by which samples are alike, where they differ.

    Other flaws are not taken away: those are of the samples in which copies count once.
    """
    shift = whole.seek.shift().abs()
    is_large = whole.words.alike() & (shift >= max(smallest, _chance(whole.seek)))
    return [
        _Suspect(halves=whole, column=j, alone=whole.judge.column(j))
        for j in is_large.nonzero()[:, 0].tolist()
    ]


def _chance(z: TwoSamples) -> float:
    """Returns the shift that chance gives to most measurements.

    Smaller ones would only make Holm's procedure stricter.
    """
    return _CHANCE * math.sqrt(1 / len(z.real) + 1 / len(z.fake))


def _expected(words: Sequence[Attribute], shift: Tensor) -> Tensor:
    """Returns which words of rare samples follow from a large shift of another of their topic."""
    moved = {
        w.topic
        for w, s in zip(words, shift.abs().tolist(), strict=True)
        if not w.rare and s >= _LARGE
    }
    return torch.tensor([w.rare and w.topic in moved for w in words], device=shift.device)


def forward_selection(
    z: TwoSamples, allowed: Tensor, smallest: float, most: int, before: Sequence[int] = ()
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
        strength = same_sign_minimum(z.shift(), _without(z, z, picked).shift()) * allowed
        strength[picked] = 0
        top = int(strength.argmax())
        if float(strength[top]) < smallest:
            break
        picked.append(top)
    return picked


def _less(z: TwoSamples, moved: Tensor) -> TwoSamples:
    return TwoSamples(real=z.real, fake=z.fake - moved)


def same_sign_minimum(plain: Tensor, blind: Tensor) -> Tensor:
    """Returns the smaller of two differences where they have one sign, else 0."""
    smaller = torch.minimum(plain.abs(), blind.abs())
    return torch.where(plain * blind > 0, smaller, torch.zeros_like(smaller))


def flaw_title(word: Attribute, shift: float) -> str:
    """Returns the name of a flaw whose measurement is shifted in this direction."""
    return word.more if shift > 0 else word.less


def _without(learn: TwoSamples, z: TwoSamples, known: list[int]) -> TwoSamples:
    """Returns columns without what real samples let expect from the known ones."""
    if not known:
        return z
    first, later = (TwoSamples(real=p.real[:, known], fake=p.fake[:, known]) for p in (learn, z))
    return residualize(z, later, slopes(first.real, learn.real))


def residualize(z: TwoSamples, known: TwoSamples, slope: Tensor) -> TwoSamples:
    """Returns numbers without what is expected from known ones, about zero in the mean.

    Known ones count as at most three deviations: nobody knows what to expect farther out.
    """
    real, fake = (k.clamp(-_KNOWN, _KNOWN) @ slope for k in (known.real, known.fake))
    return TwoSamples(real=z.real - real, fake=z.fake - fake)


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """Returns the slopes of ``y`` on ``x``, both standardised, shape ``(k, d)``.

    Those that may well be chance are 0.
    """
    x = x.clamp(-_KNOWN, _KNOWN)
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    solved: Tensor = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    return torch.where(solved.abs() > 3 / len(x) ** 0.5, solved, torch.zeros_like(solved))


def flaw_of(halves: DiscoveryValidation, j: int, alone: TwoSamples, p: float, *, rng: Rng) -> Flaw:
    """Returns the flaw that a measurement shows.

    Args:
        halves: The samples.
        j: The column of the measurement.
        alone: It on the second half without the effect of other flaws.
        p: The corrected p-value.
        rng: Draws the folds of the interval.
    """
    word = halves.words.words[j]
    seek, judge = halves.seek.column(j), halves.judge.column(j)
    apart = gap(alone.real, alone.fake, rng=rng.stream(f"named/{word.name}"))
    return Flaw(
        title=flaw_title(word, apart.shift),
        naming=Naming(probe=word.name, topic=word.topic, agreement=_ITSELF),
        size=apart.size,
        kind=apart.kind,
        accuracy=accuracy(score_of(seek.real, seek.fake), judge.real, judge.fake),
        p=p,
        shift=apart.shift,
        seek=seek,
        judge=judge,
    )


# ----------------------------------------------------------------------------
# Gives a direction the name of the measurement that explains it.
# ----------------------------------------------------------------------------

# A name must explain a direction at least so well, as a correlation.
_EXPLAINS = 0.3
# A measurement whose mean is shifted by less, in deviations, is not called too low or too high.
_SHIFTED = 0.1
# Deviations: nearer to the middle than this, distances do not count.
_NEAR = 0.1
# Of all measurements together.
_LEVEL = 0.05


@final
class Namer:
    """Names directions by the measurements that explain them.

    A measurement may give a name if its mean or its spread differs between the sets on held-out
    samples, by Welch's test at a level of 5 % over all measurements and both.

    Args:
        halves: The samples.
        told: Which measurements may give a name, shape ``(d,)``; None for all.
    """

    def __init__(self, halves: DiscoveryValidation, told: Tensor | None = None) -> None:
        self._words, self._values = halves.words.words, halves.judge
        self._follows = halves.words.follows()
        self._shift = halves.judge.shift()
        spread = _spread(halves.judge, halves.seek.real)
        self._wider = spread.shift()
        level = _LEVEL / 2 / max(len(self._words), 1)
        self._is_shifted, self._is_wider = (
            welch(z.real, z.fake) <= level for z in (halves.judge, spread)
        )
        self._may = self._is_shifted | self._is_wider
        if told is not None:
            self._may &= told

    def flaw(
        self, first: TwoSamples, second: TwoSamples, apart: EffectSize, p: float, *, number: int
    ) -> Flaw:
        """Returns a direction as a flaw, with a name where one explains it."""
        score = score_of(first.real, first.fake)
        naming = self._naming(second, TwoSamples(real=score(second.real), fake=score(second.fake)))
        return Flaw(
            title=f"unnamed direction {number}" if naming is None else self._title(naming, apart),
            naming=naming,
            size=apart.size,
            kind=apart.kind,
            accuracy=accuracy(score, second.real, second.fake),
            p=p,
            shift=apart.shift,
            seek=first,
            judge=second,
        )

    def _title(self, naming: Naming, apart: EffectSize) -> str:
        """Returns the name of a direction: by the mean of its measurement, or by its spread."""
        j = [w.name for w in self._words].index(naming.probe)
        shift = float(self._shift[j])
        by_mean = bool(self._is_shifted[j]) and abs(shift) >= _SHIFTED
        if bool(self._is_wider[j]) and not by_mean:
            return f"{naming.probe}: spread too {'large' if self._wider[j] > 0 else 'small'}"
        if apart.kind == "location" or by_mean:
            return flaw_title(self._words[j], shift)
        return f"{naming.probe}: unlike shape"

    def _naming(self, values: TwoSamples, scores: TwoSamples) -> Naming | None:
        """Returns the measurement that goes along most with a direction, or with its score.

        Correlations are within each set, and the measurement must differ between the sets.
        """
        if not self._words:
            return None
        own = self._values
        if len(scores.real) != len(own.real):
            # Other real samples took the place of these.
            none = own.real[:0]
            own, values, scores = (
                TwoSamples(real=none[:, 0] if z.fake.ndim == 1 else none, fake=z.fake)
                for z in (own, values, scores)
            )
        probes = torch.cat([z - z.mean(0) for z in (own.real, own.fake)])
        both = torch.stack([_agreement(probes, v) for v in (values, scores)]).abs().amax(0)
        both = both * self._may
        first, last = (
            self._named(both * own, len(probes)) for own in (~self._follows, self._follows)
        )
        return first or last

    def _named(self, agreement: Tensor, n: int) -> Naming | None:
        j = int(agreement.argmax())
        found = correlation(float(agreement[j]), n)
        if found.low is None or found.low < _EXPLAINS:
            return None
        word = self._words[j]
        return Naming(probe=word.name, topic=word.topic, agreement=found)


def _spread(z: TwoSamples, learn: Tensor) -> TwoSamples:
    """Returns the distance of numbers from the median of ``learn``, on a logarithmic scale.

    So a difference of the means is never larger as one of the spreads.
    """
    if not len(learn) or not learn.shape[1]:
        return z
    middle = learn.median(0).values
    real, fake = (((v - middle).abs() + _NEAR).log() for v in (z.real, z.fake))
    return TwoSamples(real=real, fake=fake)


def welch(real: Tensor, fake: Tensor) -> Tensor:
    """Returns the p-values of a difference of the means, for each column, shape ``(d,)``.

    Source: Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28.

    Differs from the paper: the normal distribution, which is near enough for a name.
    """
    error = (real.var(0) / len(real) + fake.var(0) / len(fake)).sqrt()
    z = (fake.mean(0) - real.mean(0)).abs() / error.clamp_min(1e-12)
    found: Tensor = torch.special.erfc(z / math.sqrt(2))
    return found


def correlation(r: float, n: int) -> Estimate:
    """Returns a correlation with the interval of Fisher's z.

    Example:
        >>> e = correlation(0.5, 103)
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (0.339, 0.5, 0.632)
    """
    r = min(max(r, -0.999999), 0.999999)
    half = statistics.NormalDist().inv_cdf(0.975) / math.sqrt(max(n - 3, 1))
    low, high = (math.tanh(math.atanh(r) + side * half) for side in (-1, 1))
    method = "correlation within each set on held-out samples, Fisher's z"
    return Estimate(value=r, low=low, high=high, n=n, method=method)


def _agreement(probes: Tensor, other: TwoSamples) -> Tensor:
    v = torch.cat([other.real - other.real.mean(), other.fake - other.fake.mean()])
    size = (probes.norm(dim=0) * v.norm()).clamp_min(1e-12)
    found: Tensor = v @ probes / size
    return found
