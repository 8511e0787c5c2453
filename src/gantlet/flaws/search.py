"""The search: flaws found one after another, each test conditional on those before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.flaws.critics import train_critics
from gantlet.flaws.directions import activation_pca, search_directions
from gantlet.flaws.explain import Causes, Explanation, Strengths, explain
from gantlet.flaws.named import (
    distinct,
    exceeds_explanation,
    flaw_of,
    repeats_p,
    same_sign_minimum,
    test_attributes,
)
from gantlet.flaws.split import (
    FEWEST,
    DiscoveryValidation,
    Ending,
    Flaw,
    FlawList,
    Representation,
    nearness,
    whiten_balanced,
)
from gantlet.options import Search
from gantlet.stats.intervals import proportion
from gantlet.stats.permutation import EffectSize, TwoSamples, detectable_shift, gap, score_of

# ----------------------------------------------------------------------------
# How much tells fake samples from real ones once a critic is blind to some flaws.
# ----------------------------------------------------------------------------

_RIDGE = 0.1


def residual_accuracies(halves: DiscoveryValidation, flaws: Sequence[Flaw]) -> list[Estimate]:
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
    # From the smaller of two equal systems, so that wide tables do not take hours.
    is_wide = z.shape[1] > len(z)
    gram = z @ z.T if is_wide else z.T @ z
    gram.diagonal().add_(_RIDGE * len(z))
    weight = (
        z.T @ torch.linalg.solve(gram, sign) if is_wide else torch.linalg.solve(gram, z.T @ sign)
    )
    told = (judge - centre) @ weight > 0
    right = int((~told[:m]).sum()) + int(told[m:].sum())
    return proportion(right, 2 * m, of="held-out samples classified correctly by a linear critic")


def _parts(
    halves: DiscoveryValidation,
) -> tuple[tuple[TwoSamples, TwoSamples], tuple[TwoSamples, TwoSamples]]:
    return (
        (halves.seek, halves.seek_features),
        (halves.judge, halves.judge_features),
    )


def _seen(probes: TwoSamples, features: TwoSamples) -> Tensor:
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


# ----------------------------------------------------------------------------
# Named flaws first, each explained if possible; then what is left, by direction.
# ----------------------------------------------------------------------------

# Of the chance of a false alarm: names, repeats, directions.
_NAMES, _REPEATS, _DIRECTIONS = 0.4, 0.2, 0.4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchInputs:
    """What a guided search is given.

    Attributes:
        real: Real samples.
        fake: Fake ones.
        halves: Both, split.
        causes: Effects of corruptions on the real samples; None where none are known.
    """

    real: Representation
    fake: Representation
    halves: DiscoveryValidation
    causes: Causes | None

    def once(self, rng: Rng) -> DiscoveryValidation:
        """Returns the halves in which each copy among the fakes counts once."""
        some = self.fake.at(distinct(self.halves, self.fake.features))
        is_fewer = FEWEST <= len(some) < len(self.fake)
        return DiscoveryValidation.of(self.real, some, rng=rng) if is_fewer else self.halves

    def remade(self, places: Tensor, strengths: Strengths) -> Tensor | None:
        """Returns features of corrupted real samples, or None without any."""
        if self.causes is None or not strengths:
            return None
        return self.causes.remade(places, self.real.at(places), strengths).features


def guided_search(
    given: SearchInputs, search: Search, *, rng: Rng
) -> tuple[list[Flaw], Ending, int]:
    """Returns named flaws, repeats, and directions without a name; also how the search ended.

    And how many held-out samples of each set it rests on. Copies among the fakes count once for
    all but repeats. Directions are sought against real samples with all
    corruptions that explain the named flaws.

    Args:
        given: The samples.
        search: How flaws are looked for.
        rng: Draws all that is random.
    """
    use = given.once(rng)
    known = _explained(use, given.causes, search.min_effect / 2)
    named = test_attributes(
        use,
        known,
        level=_NAMES * search.level,
        smallest=search.min_effect,
        permutations=search.permutations,
        rng=rng,
    )
    remade = [given.remade(p.real, known.strengths) for p in (use.seek_places, use.places)]
    further, ending = search_directions(
        use,
        named,
        carry=False,
        level=_DIRECTIONS * search.level,
        smallest=search.min_effect,
        most=search.max_directions,
        permutations=search.permutations,
        rng=rng,
        remade=[use.frame(z) for z in remade if z is not None],
        told=exceeds_explanation(use, known),
    )
    found = [_anchored(f, use, given) for f in (*named, *further)]
    again = _repeats(given, known.strengths, search, rng)
    return [*found, *again], ending, len(use.judge.real)


def _explained(halves: DiscoveryValidation, causes: Causes | None, smallest: float) -> Explanation:
    """Returns corruptions that explain all measurements but repeats, which are not a mean."""
    z = halves.seek
    if causes is None:
        return Explanation.nothing(z.real.shape[1])
    d = z.real.shape[1] - 1
    error = (z.real.var(0) / len(z.real) + z.fake.var(0) / len(z.fake)).sqrt()
    found = explain(z.shift()[:d], error[:d], halves.scale[:d], causes, smallest=smallest)
    return found.widened()


def _repeats(
    given: SearchInputs, strengths: Strengths, search: Search, rng: Rng
) -> Sequence[Flaw]:
    """Returns the flaw that samples are repeated, if they are.

    Against the real samples as they are, and against those to which all known corruptions are
    applied.
    """
    halves = given.halves
    plain = halves.judge.column(-1)
    views, alone = [halves.everyone], plain
    own, other = (
        torch.cat([getattr(p, side) for p in (halves.seek_places, halves.places)])
        for side in ("real", "fake")
    )
    remade = given.remade(own, strengths)
    if remade is not None:
        views.append(whiten_balanced(remade, given.fake.features[other], rng=rng))
        alone = _nearness_of(views[-1], halves.scale[-1])
    # Farther apart than real samples are they for many reasons, nearer for few.
    nearer = float(torch.sign(plain.shift()) * same_sign_minimum(plain.shift(), alone.shift()))
    if nearer > -search.min_effect:
        return []
    p = max(repeats_p(v, permutations=search.permutations, rng=rng) for v in views)
    last = len(halves.words.words) - 1
    # Its own share of the level, told as if it were that of names.
    corrected = min(1.0, p / _REPEATS * _NAMES)
    found = [flaw_of(halves, last, alone, corrected, rng=rng)]
    return found if corrected <= _NAMES * search.level else []


def _nearness_of(view: TwoSamples, scale: Tensor) -> TwoSamples:
    h = len(view.real) // 2
    sides = (
        torch.cat([nearness(z[:h], z[h:]), nearness(z[h:], z[:h])]) / scale
        for z in (view.real, view.fake)
    )
    return TwoSamples(real=next(sides), fake=next(sides))


def _anchored(flaw: Flaw, use: DiscoveryValidation, given: SearchInputs) -> Flaw:
    """Returns a flaw that was found on fewer samples, with its values on all of them."""
    halves = given.halves
    if use is halves:
        return flaw
    u = flaw.direction
    if u is None:
        name = flaw.naming.probe if flaw.naming is not None else ""
        j = [word.name for word in use.words.words].index(name)
        return replace(flaw, seek=halves.seek.column(j), judge=halves.judge.column(j))
    seek, judge = (
        TwoSamples(
            real=use.frame(given.real.features[p.real]) @ u,
            fake=use.frame(given.fake.features[p.fake]) @ u,
        )
        for p in (halves.seek_places, halves.places)
    )
    # In another set directions are of another frame.
    return replace(flaw, seek=seek, judge=judge, direction=None)


def flaw_in_other_set(
    flaw: Flaw, halves: DiscoveryValidation, *, rng: torch.Generator
) -> EffectSize | None:
    """Returns how far the fakes of ``halves`` lie from the reals by the flaw of another set.

    Args:
        flaw: What is measured: a direction of whitened features, a critic's score of them, or a
            named measurement.
        halves: The other set with the same real samples, split in the same way.
        rng: Draws the folds of the interval.

    Returns:
        None where the flaw is none of them.
    """
    names = [word.name for word in halves.words.words]
    if flaw.direction is not None:
        z = halves.judge_features
        return gap(z.real @ flaw.direction, z.fake @ flaw.direction, rng=rng)
    if flaw.measure is not None:
        z = halves.judge_features
        return gap(flaw.measure(z.real), flaw.measure(z.fake), rng=rng)
    if flaw.naming is not None and flaw.naming.agreement.n == 1:
        column = halves.judge.column(names.index(flaw.naming.probe))
        return gap(column.real, column.fake, rng=rng)
    return None


__all__ = ["Search", "list_flaws"]


def list_flaws(
    real: Representation,
    fake: Representation,
    search: Search,
    *,
    rng: Rng,
    causes: Causes | None = None,
) -> FlawList:
    """Returns what is wrong with fake samples, the largest flaw first.

    Each flaw is found on one half of the samples and certified on the other: its size, by how
    its accuracy alone, and a p-value by permutation. Then the critic is made blind to
    it and looks for the next. The chance that a list on flawless samples holds anything is at
    most ``search.level``.

    Args:
        real: Real samples.
        fake: Fake ones; of the larger set as many are used as the smaller one holds.
        search: How they are looked for.
        rng: Splits the samples and draws all else that is random.
        causes: Effects of corruptions on the real samples; the guided mode explains flaws by these
            first.

    Raises:
        UserError: If there are too few samples.
    """
    halves = DiscoveryValidation.of(real, fake, rng=rng)
    size = None
    if search.mode == "guided":
        given = SearchInputs(real=real, fake=fake, halves=halves, causes=causes)
        found, ending, h = guided_search(given, search, rng=rng)
        size = detectable_shift(h, level=search.level, smallest=search.min_effect)
    else:
        found, ending = _look(halves, search, rng)
    ordered = sorted(found, key=lambda f: -(f.size.value or 0.0))
    total, *left = residual_accuracies(halves, ordered)
    return FlawList(
        flaws=ordered,
        total=total,
        left=left,
        ending=ending,
        places=halves.places,
        detectable=size,
    )


def _look(halves: DiscoveryValidation, search: Search, rng: Rng) -> tuple[list[Flaw], Ending]:
    level, smallest, times = search.level, search.min_effect, search.permutations
    if search.mode == "pca":
        return activation_pca(
            halves,
            level=level,
            smallest=smallest,
            most=search.max_directions,
            permutations=times,
            rng=rng,
        )
    if search.mode == "neural":
        return train_critics(
            halves,
            blind=search.deflation,
            level=level,
            smallest=smallest,
            most=search.max_directions,
            permutations=times,
            rng=rng,
        )
    return search_directions(
        halves,
        (),
        carry=search.mode == "transport",
        level=level,
        smallest=smallest,
        most=search.max_directions,
        permutations=times,
        rng=rng,
    )
