"""The search: flaws found one after another, each test conditional on those before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.flaws.critics import train_critics
from gantlet.flaws.explain import Causes, Explanation, Strengths, explain
from gantlet.flaws.named import (
    Namer,
    distinct,
    exceeds_explanation,
    flaw_of,
    repeats_p,
    residualize,
    same_sign_minimum,
    slopes,
    test_attributes,
)
from gantlet.flaws.split import (
    FEWEST,
    DiscoveryValidation,
    Ending,
    Flaw,
    FlawList,
    Representation,
    StopReason,
    nearness,
    whiten_balanced,
)
from gantlet.metrics.transport import max_sliced_direction
from gantlet.models.nets import mlp, seeded
from gantlet.options import Search
from gantlet.stats.intervals import holm_adjusted, proportion
from gantlet.stats.permutation import (
    EffectSize,
    TwoSamples,
    detectable_shift,
    gap,
    p_value,
    score_of,
)

# ----------------------------------------------------------------------------
# Flaws without a name: directions in feature space along which samples differ.
# ----------------------------------------------------------------------------


_WIDTH, _ITERATIONS, _BATCH, _LR, _DECAY = 64, 600, 128, 2e-3, 1e-2


def activation_pca(
    halves: DiscoveryValidation,
    *,
    level: float,
    smallest: float,
    most: int,
    permutations: int,
    rng: Rng,
) -> tuple[list[Flaw], Ending]:
    """Returns the principal components of a critic's activations, and how the search ended.

    A network with one hidden layer learns to classify the first half; the components of its
    hidden activations, largest variance first, are judged on the second half. Throwing out the
    first ``k`` leaves the critic blind to them.

    Source: Odena, 2019, https://distill.pub/2019/gan-open-problems/, question 5: the suggestion
    to take the components of a critic's activations and throw out those of high variance.

    Args:
        halves: The samples.
        level: How likely anything may be found on flawless samples.
        smallest: The minimum effect size, in standard deviations.
        most: The maximum number of components.
        permutations: The number of label permutations.
        rng: Draws the network, its batches and labels.
    """
    net = _critic(halves.seek_features, rng)
    seek, judge = (_hidden(net, z) for z in (halves.seek_features, halves.judge_features))
    centre = seek.both().mean(0)
    _, _, vectors = torch.linalg.svd(seek.both() - centre, full_matrices=False)
    parts = [
        [TwoSamples(real=z.real @ v, fake=z.fake @ v) for z in (seek, judge)]
        for v in vectors[:most]
    ]
    labels = rng.stream("p")
    p = holm_adjusted(
        [p_value(z.real, z.fake, permutations=permutations, rng=labels) for _, z in parts]
    )
    namer = Namer(halves)
    found: list[Flaw] = []
    for k, (first, second) in enumerate(parts):
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        if p[k] <= level and (apart.size.value or 0.0) >= smallest:
            found.append(namer.flaw(first, second, apart, p[k], number=len(found) + 1))
    stop = StopReason.LIMIT if len(parts) < len(vectors) else StopReason.EXHAUSTED
    return found, Ending(stop, len(parts))


def _critic(z: TwoSamples, rng: Rng) -> nn.Sequential:
    """Returns a small network trained to classify two sets."""
    x, h = z.both().float(), len(z.real)
    sign = torch.cat([-torch.ones(h), torch.ones(len(x) - h)]).to(x.device)
    with seeded(rng.stream("critic/init")):
        net = mlp(x.shape[1], _WIDTH, 1).to(x.device)
    batches = rng.stream("critic/batches")
    parameters = list(net.parameters())
    adam = Adam(parameters, lr=_LR, weight_decay=_DECAY)
    with torch.enable_grad():
        for _ in range(_ITERATIONS):
            chosen = torch.randint(len(x), (_BATCH,), generator=batches, device=batches.device)
            loss = softplus(-sign[chosen] * net(x[chosen])[:, 0]).mean()
            slopes = torch.autograd.grad(loss, parameters)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            adam.step()
    return net


def _hidden(net: nn.Sequential, z: TwoSamples) -> TwoSamples:
    with torch.no_grad():
        real, fake = (cast("Tensor", net[:-1](v.float())).double() for v in (z.real, z.fake))
    return TwoSamples(real=real, fake=fake)


_RESTARTS, _STEPS = 8, 50
# Deviations of the real samples.
_REACH = 4.0
# The steps of the map that carries fakes onto reals.
_QUANTILES = 101


def search_directions(
    halves: DiscoveryValidation,
    named: Sequence[Flaw],
    *,
    carry: bool,
    level: float,
    smallest: float,
    most: int,
    permutations: int,
    rng: Rng,
    remade: Sequence[Tensor] = (),
    told: Tensor | None = None,
) -> tuple[list[Flaw], Ending]:
    """Returns directions of features along which samples differ, and how the search ended.

    Of unit directions, each orthogonal to those before, the one with the largest ``W_2`` on the
    first half; on the second it is judged. The search ends at the first that is not significant,
    which keeps the chance of any false one at ``level`` without further correction. A direction
    that follows a named measurement takes its name; where that is in the list already, it is a
    part of that flaw and not told again.

    Source: the orthogonal directions are those of Dai and Seljak, 2021,
    https://arxiv.org/abs/2007.00674, section 3.2; ``carry`` is the structure removal of Friedman,
    1987, https://doi.org/10.1080/01621459.1987.10478427.

    Differs from the paper: one direction at a time, and every one is certified on other samples.

    Args:
        halves: The samples.
        named: What is known already; the features are made blind to it.
        carry: Whether fakes are carried onto reals along a direction, rather than the direction
            taken away.
        level: How likely anything may be found on flawless samples.
        smallest: The minimum effect size, in standard deviations.
        most: The maximum number of directions.
        permutations: The number of label permutations.
        rng: Draws directions and labels.
        remade: What is taken in the place of the real features of both halves: those of real
            samples with what is known of the fakes done to them. None: the real ones as they are.
        told: Which measurements may give a name; None for all.
    """
    seek, judge = _blind_to(halves, named, remade)
    namer = Namer(halves, told)
    found: list[Flaw] = []
    there = seek.real.shape[1]
    for k in range(min(most, there)):
        u, _ = max_sliced_direction(
            seek.real,
            seek.fake,
            restarts=_RESTARTS,
            steps=_STEPS,
            rng=rng.stream(f"direction/{k}"),
        )
        first, second = _tamed(project(seek, u), project(judge, u))
        # Blinding must not make a flaw of its own: it has to be there without it too.
        _, as_is = _tamed(project(halves.seek_features, u), project(halves.judge_features, u))
        both = [second, as_is] if named or remade else [second]
        p = max(
            p_value(z.real, z.fake, permutations=permutations, rng=rng.stream(f"p/{k}"))
            for z in both
        )
        if p > level:
            return found, Ending(StopReason.NOT_SIGNIFICANT, k + 1)
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        if (apart.size.value or 0.0) < smallest:
            return found, Ending(StopReason.TOO_SMALL, k + 1)
        plain = gap(as_is.real, as_is.fake, rng=rng.stream(f"gap/{k}"))
        if (plain.size.value or 0.0) >= smallest:
            flaw = namer.flaw(first, second, apart, p, number=len(found) + 1)
            if flaw.naming is None or flaw.naming.topic not in _topics([*named, *found]):
                halved = (project(z, u) for z in (halves.seek_features, halves.judge_features))
                flaw = replace(flaw, seek=next(halved), judge=next(halved)) if remade else flaw
                found.append(replace(flaw, direction=u))
        seek, judge = _carried(seek, judge, u) if carry else (_off(seek, u), _off(judge, u))
    return found, Ending(
        StopReason.LIMIT if most < there else StopReason.EXHAUSTED, min(most, there)
    )


def project(z: TwoSamples, u: Tensor) -> TwoSamples:
    """Returns the numbers along a direction."""
    return TwoSamples(real=z.real @ u, fake=z.fake @ u)


def _tamed(first: TwoSamples, second: TwoSamples) -> tuple[TwoSamples, TwoSamples]:
    """Returns both with what lies far out drawn in: a few samples must not make a flaw large."""
    middle, reach = first.real.mean(), _REACH * first.real.std()

    def tamed(z: TwoSamples) -> TwoSamples:
        low, high = middle - reach, middle + reach
        return TwoSamples(real=z.real.clamp(low, high), fake=z.fake.clamp(low, high))

    return tamed(first), tamed(second)


def _topics(flaws: Sequence[Flaw]) -> set[str]:
    return {f.naming.topic for f in flaws if f.naming is not None}


def _blind_to(
    halves: DiscoveryValidation, named: Sequence[Flaw], remade: Sequence[Tensor]
) -> tuple[TwoSamples, TwoSamples]:
    """Returns features without what real samples let expect from the named flaws."""
    seek, judge = halves.seek_features, halves.judge_features
    if remade:
        seek, judge = (
            TwoSamples(real=r, fake=z.fake) for r, z in zip(remade, (seek, judge), strict=True)
        )
    named = [f for f in named if f.cause is None]
    if not named or remade:
        return seek, judge
    known, later = (_values(named, half) for half in ("seek", "judge"))
    slope = slopes(known.real, seek.real)
    return residualize(seek, known, slope), residualize(judge, later, slope)


def _values(flaws: Sequence[Flaw], half: Literal["seek", "judge"]) -> TwoSamples:
    pairs: list[TwoSamples] = [getattr(f, half) for f in flaws]
    real, fake = (torch.stack([getattr(p, s) for p in pairs], 1) for s in ("real", "fake"))
    return TwoSamples(real=real, fake=fake)


def _off(z: TwoSamples, u: Tensor) -> TwoSamples:
    """Returns the components orthogonal to a direction."""
    return TwoSamples(
        real=z.real - torch.outer(z.real @ u, u), fake=z.fake - torch.outer(z.fake @ u, u)
    )


def _carried(seek: TwoSamples, judge: TwoSamples, u: Tensor) -> tuple[TwoSamples, TwoSamples]:
    """Returns both halves with the fakes carried onto the reals along a direction.

    The map is that of the quantiles of the first half.
    """
    levels = torch.linspace(0, 1, _QUANTILES, dtype=u.dtype, device=u.device)
    here, there = torch.quantile(seek.fake @ u, levels), torch.quantile(seek.real @ u, levels)

    def moved(z: TwoSamples) -> TwoSamples:
        v = z.fake @ u
        return TwoSamples(real=z.real, fake=z.fake + torch.outer(_between(v, here, there) - v, u))

    return moved(seek), moved(judge)


def _between(v: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Returns the broken line through ``(x, y)`` at ``v``, its end steps going on outside."""
    i = torch.bucketize(v, x).clamp(1, len(x) - 1)
    width = (x[i] - x[i - 1]).clamp_min(1e-12)
    share = ((v - x[i - 1]) / width).clamp(0, 1)
    inside = y[i - 1] + share * (y[i] - y[i - 1])
    outside = (v - x[0]).clamp(max=0) + (v - x[-1]).clamp(min=0)
    return inside + outside


# ----------------------------------------------------------------------------
# The search: flaws found one after another.
# ----------------------------------------------------------------------------


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
    """Returns the accuracy of a linear critic on held-out samples.

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
    is_fake = (judge - centre) @ weight > 0
    right = int((~is_fake[:m]).sum()) + int(is_fake[m:].sum())
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
    """Returns the value of a flaw and its significance on each half."""
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
        return self.causes.remade(places, self.real.at(places), strengths)


def guided_search(
    given: SearchInputs, search: Search, *, rng: Rng
) -> tuple[list[Flaw], Ending, int]:
    """Returns named flaws, repeats, and directions without a name; also how the search ended.

    And how many held-out samples of each set it rests on. Copies among the fakes count once for
    all but repeats and measurements by which samples are alike. Directions are sought against real
    samples with all corruptions that explain the named flaws.

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
        whole=None if use is given.halves else given.halves,
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
    views, alone = [halves.exchangeable], plain
    parts = [halves.places] if given.real.learned else [halves.seek_places, halves.places]
    own, other = (torch.cat([getattr(p, side) for p in parts]) for side in ("real", "fake"))
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
    return TwoSamples(real=nearness(view.real) / scale, fake=nearness(view.fake) / scale)


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
    """Returns the shift of the fakes of ``halves`` along the flaw of another set.

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
    """Returns the flaws of fake samples, the largest first.

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
