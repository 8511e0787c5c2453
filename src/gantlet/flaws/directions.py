"""Flaws without a name: directions in feature space along which samples differ."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from gantlet.core.rng import Rng
from gantlet.flaws.named import Namer, residualize, slopes
from gantlet.flaws.split import DiscoveryValidation, Ending, Flaw, StopReason
from gantlet.metrics.transport import max_sliced_direction
from gantlet.models.nets import mlp, seeded
from gantlet.stats.intervals import holm_adjusted
from gantlet.stats.permutation import TwoSamples, gap, p_value

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
    """Returns what is orthogonal to a direction."""
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
