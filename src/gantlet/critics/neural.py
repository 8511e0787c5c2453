"""Flaws that no single direction shows: small critics, each blind to what those before it told."""

from dataclasses import replace

import torch

from gantlet.core.rng import Rng
from gantlet.critics.blinding import Blinding, Measure, Project, Residual
from gantlet.critics.flaw import Ending, Flaw, Stop
from gantlet.critics.halves import Halves
from gantlet.critics.line import Pair, gap
from gantlet.critics.naming import Namer
from gantlet.critics.strata import strata_of, stratified
from gantlet.critics.views import Critic, Effort, simplest
from gantlet.options import Blind

# This share of the first half trains a critic; on the rest its rank is chosen.
_LEARN = 0.7


def by_critics(
    halves: Halves,
    *,
    blind: Blind,
    level: float,
    smallest: float,
    most: int,
    permutations: int,
    rng: Rng,
    effort: Effort | None = None,
) -> tuple[list[Flaw], Ending]:
    """Returns what small critics tell, one after the other, and how the search ended.

    Each critic is a network that sees the features through a few linear numbers, as few as will
    do, so that it takes hold of one flaw and not of all at once. It is trained, and how many
    numbers it needs is chosen, on the first half; its score is the flaw, and is judged on the
    second. The search ends at the first that is not significant, which keeps the chance of any
    false one on flawless samples at ``level``.

    With ``residual`` the next critic is trained beside the logit of what is known, so that only
    what is left unexplained moves it, and what real samples let expect from the known scores and
    their squares and cubes is regressed out of its own. A flaw counts if its mean differs, and
    also if it does among samples for which what is known is alike. With ``project`` the
    directions that move a critic most are taken out of the features: the activations of its first
    layer, the leading ones of them, are projected out.

    Source: Odena, 2019, https://distill.pub/2019/gan-open-problems/, question 5, which asks for
    such a procedure.

    Args:
        halves: The samples.
        blind: How a critic is made blind.
        level: How likely anything may be found on flawless samples.
        smallest: The smallest difference of means worth telling, in standard deviations.
        most: How many critics are trained.
        permutations: How often labels are dealt out.
        rng: Draws networks, batches and labels.
        effort: How long critics are trained.
    """
    blinding: Blinding = Residual() if blind == "residual" else Project()
    namer = Namer(halves)
    found: list[Flaw] = []
    for k in range(most):
        critic, check = _next(blinding, halves, effort or Effort(), rng=rng, number=k)
        own = blinding.own(critic, halves.seek_features.real)
        first, second = (_measured(own, z) for z in (halves.seek_features, halves.judge_features))
        p, shift = _certified(
            second, halves, blinding, permutations=permutations, rng=rng.stream(f"p/{k}")
        )
        if p > level:
            return found, Ending(Stop.NOT_SIGNIFICANT, k + 1)
        if shift < smallest:
            return found, Ending(Stop.TOO_SMALL, k + 1)
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        flaw = namer.flaw(first, second, apart, p, number=len(found) + 1)
        found.append(replace(flaw, measure=own))
        blinding = blinding.after(critic, check)
    return found, Ending(Stop.LIMIT, most)


def _next(
    blinding: Blinding, halves: Halves, effort: Effort, *, rng: Rng, number: int
) -> tuple[Critic, Pair]:
    """Returns a critic and the samples of the first half that it was not trained on."""
    z = halves.seek_features
    n = len(z.real)
    learned = round(_LEARN * n)
    # Other samples each time, so that what a critic has learned by heart is not all that is known.
    draw = rng.stream(f"learn/{number}")
    orders = [torch.randperm(n, generator=draw, device=draw.device).to(z.real.device)] * 2
    learn, check = (
        Pair(real=z.real[orders[0][part]], fake=z.fake[orders[1][part]])
        for part in (slice(learned), slice(learned, None))
    )
    critic = simplest(
        blinding.labelled(learn),
        blinding.labelled(check),
        effort,
        rng=rng,
        name=f"critic/{number}",
    )
    return critic, check


def _measured(own: Measure, z: Pair) -> Pair:
    return Pair(real=own(z.real), fake=own(z.fake))


def _certified(
    second: Pair, halves: Halves, blinding: Blinding, *, permutations: int, rng: torch.Generator
) -> tuple[float, float]:
    """Returns the p-value and the difference of the means: the weaker of as it stands and blind.

    Blinding must not make a flaw of its own, and what is known must not make one either.
    """
    z = halves.judge_features.both()
    groups = [torch.zeros(len(z), dtype=torch.long, device=z.device)]
    alike = strata_of(blinding.known(z))
    if bool((alike > 0).any()):
        groups.append(alike)
    found = [stratified(second, g, permutations=permutations, rng=rng) for g in groups]
    return max(p for p, _ in found), min(shift for _, shift in found)
