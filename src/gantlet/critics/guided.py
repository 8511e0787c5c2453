"""Named flaws first, each explained if possible; then what is left, by direction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.critics.causes import Causes, Strengths
from gantlet.critics.directions import by_directions
from gantlet.critics.explained import Explanation, explain
from gantlet.critics.flaw import Ending, Flaw
from gantlet.critics.halves import FEWEST, Halves, Seen, fairly, nearness
from gantlet.critics.line import Pair
from gantlet.critics.named import agreed, by_probes, flaw_of, told
from gantlet.critics.repeats import distinct, repeats_p
from gantlet.options import Search

# Of the chance of a false alarm: names, repeats, directions.
_NAMES, _REPEATS, _DIRECTIONS = 0.4, 0.2, 0.4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a guided search is given.

    Attributes:
        real: Real samples.
        fake: Fake ones.
        halves: Both, split.
        causes: What damages do to the real samples; None where none are known.
    """

    real: Seen
    fake: Seen
    halves: Halves
    causes: Causes | None

    def once(self, rng: Rng) -> Halves:
        """Returns the halves in which each copy among the fakes counts once."""
        some = self.fake.at(distinct(self.halves, self.fake.features))
        is_fewer = FEWEST <= len(some) < len(self.fake)
        return Halves.of(self.real, some, rng=rng) if is_fewer else self.halves

    def remade(self, places: Tensor, strengths: Strengths) -> Tensor | None:
        """Returns features of real samples with damages, or None where there are none."""
        if self.causes is None or not strengths:
            return None
        return self.causes.remade(places, self.real.at(places), strengths).features


def by_guide(given: Given, search: Search, *, rng: Rng) -> tuple[list[Flaw], Ending, int]:
    """Returns named flaws, repeats, and directions without a name; also how the search ended.

    And how many held-out samples of each set it rests on. Copies among the fakes count once for
    all but repeats. Directions are sought against real samples to which all damages are done that
    explain the named flaws.

    Args:
        given: The samples.
        search: How flaws are looked for.
        rng: Draws all that is random.
    """
    use = given.once(rng)
    known = _explained(use, given.causes, search.smallest / 2)
    named = by_probes(
        use,
        known,
        level=_NAMES * search.level,
        smallest=search.smallest,
        permutations=search.permutations,
        rng=rng,
    )
    remade = [given.remade(p.real, known.strengths) for p in (use.seek_places, use.places)]
    further, ending = by_directions(
        use,
        named,
        carry=False,
        level=_DIRECTIONS * search.level,
        smallest=search.smallest,
        most=search.most,
        permutations=search.permutations,
        rng=rng,
        remade=[use.frame(z) for z in remade if z is not None],
        told=told(use, known),
    )
    found = [_anchored(f, use, given) for f in (*named, *further)]
    again = _repeats(given, known.strengths, search, rng)
    return [*found, *again], ending, len(use.judge.real)


def _explained(halves: Halves, causes: Causes | None, smallest: float) -> Explanation:
    """Returns damages that explain all measurements but that of repeats, which is no mean."""
    z = halves.seek
    if causes is None:
        return Explanation.nothing(z.real.shape[1])
    d = z.real.shape[1] - 1
    error = (z.real.var(0) / len(z.real) + z.fake.var(0) / len(z.fake)).sqrt()
    found = explain(z.shift()[:d], error[:d], halves.scale[:d], causes, smallest=smallest)
    return found.widened()


def _repeats(given: Given, strengths: Strengths, search: Search, rng: Rng) -> Sequence[Flaw]:
    """Returns the flaw that samples are repeated, if they are.

    Against the real samples as they are, and against those to which all known damages are done.
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
        views.append(fairly(remade, given.fake.features[other], rng=rng))
        alone = _nearness_of(views[-1], halves.scale[-1])
    # Farther apart than real samples are they for many reasons, nearer for few.
    nearer = float(torch.sign(plain.shift()) * agreed(plain.shift(), alone.shift()))
    if nearer > -search.smallest:
        return []
    p = max(repeats_p(v, permutations=search.permutations, rng=rng) for v in views)
    last = len(halves.words.words) - 1
    # Its own share of the level, told as if it were that of names.
    corrected = min(1.0, p / _REPEATS * _NAMES)
    found = [flaw_of(halves, last, alone, corrected, rng=rng)]
    return found if corrected <= _NAMES * search.level else []


def _nearness_of(view: Pair, scale: Tensor) -> Pair:
    h = len(view.real) // 2
    sides = (
        torch.cat([nearness(z[:h], z[h:]), nearness(z[h:], z[:h])]) / scale
        for z in (view.real, view.fake)
    )
    return Pair(real=next(sides), fake=next(sides))


def _anchored(flaw: Flaw, use: Halves, given: Given) -> Flaw:
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
        Pair(
            real=use.frame(given.real.features[p.real]) @ u,
            fake=use.frame(given.fake.features[p.fake]) @ u,
        )
        for p in (halves.seek_places, halves.places)
    )
    # In another set directions are of another frame.
    return replace(flaw, seek=seek, judge=judge, direction=None)
