"""The search: flaws found one after another, each test conditional on those before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.core.data import Code, Space
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.domains.tables import Column, TableCode, bonds
from gantlet.domains.text import END, FIRST, UNKNOWN, TextCode
from gantlet.flaws.critics import by_critics
from gantlet.flaws.directions import by_activations, by_directions
from gantlet.flaws.explain import Causes, Explanation, Strengths, explain
from gantlet.flaws.named import agreed, by_probes, distinct, flaw_of, repeats_p, told
from gantlet.flaws.split import FEWEST, Ending, Flaw, Flaws, Halves, Seen, fairly, nearness
from gantlet.options import Search
from gantlet.stats.intervals import proportion
from gantlet.stats.permutation import Gap, Pair, detectable, gap, score_of

# ----------------------------------------------------------------------------
# What the discovery half of the real samples alone says of their code.
#
# A reader learns categories, vocabulary and ranges from all real samples. Those that are judged
# later are then never unknown, and fakes of the same source are: a flaw that is none. So the code
# is learned again from the discovery half, and judged samples of both sets are written in it. What
# only judged real samples hold is as unknown as what only fakes hold.
# ----------------------------------------------------------------------------

Write = Callable[[Tensor], Tensor]
"""Writes samples anew, shape ``(n, *shape)``."""

# Vectors of more columns than this are not named column by column.
_COLUMNS = 64
# A category or a token is known that so many samples of the discovery half have.
_KNOWN = 2
# Readers keep so many categories of a column at most.
_CATEGORIES = 32
# The order of tokens is that of so many kinds at most, so many pairs for each of their table.
_KINDS, _PER_PAIR = 32, 25
# Below and above these shares of the numbers of the discovery half a number is extreme.
_SIDES = (0.01, 0.5, 0.99)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Relearned:
    """A code learned from the discovery half, and what writes samples in it.

    Attributes:
        code: The code.
        space: What one sample is in it.
        write: Writes samples of the reader's code.
        write_own: Writes the samples of the discovery half: each as if it had not been learned
            from, so that what it alone holds is as unknown as it would be elsewhere.
    """

    code: Code
    space: Space
    write: Write
    write_own: Write


def relearned(code: Code | None, space: Space, whole: Tensor, places: Tensor) -> Relearned | None:
    """Returns the code of the discovery half, or None where a code learns nothing from samples.

    Args:
        code: That of the reader.
        space: What one sample is in it.
        whole: All real samples, shape ``(n, *space.shape)``.
        places: Where the discovery half is.
    """
    match code:
        case TextCode():
            return _text(code, whole[places].long())
        case TableCode():
            return _table(code, whole, places)
        case None if space.kind == "vector" and space.size <= _COLUMNS:
            columns = (Column(f"column {i}", "number", i, gaps=False) for i in range(space.size))
            plain = TableCode(tuple(columns), plain=True)
            return replace(_table(plain, whole.flatten(1), places), space=space)
        case _:
            return None


def _text(code: TextCode, x: Tensor) -> Relearned:
    size = len(code.tokens) + FIRST
    lines = _lines_with(x, size)
    known = [i for i in range(FIRST, size) if lines[i] >= _KNOWN]
    known.sort(key=lambda i: (-lines[i], code.tokens[i - FIRST]))
    levels, once = (torch.full((size,), UNKNOWN) for _ in range(2))
    levels[END] = once[END] = END
    for place, i in enumerate(known, FIRST):
        levels[i] = place
        # A line of its own counts out.
        once[i] = place if lines[i] > _KNOWN else UNKNOWN
    found = replace(
        code,
        tokens=tuple(code.tokens[i - FIRST] for i in known),
        counts=tuple(lines[i] for i in known),
        half=_half(levels[x], len(known)),
        following=_following(levels[x], len(known)),
    )
    return Relearned(
        code=found,
        space=found.space,
        write=lambda z: levels[z.long()].to(z.dtype),
        write_own=lambda z: once[z.long()].to(z.dtype),
    )


def _lines_with(x: Tensor, size: int) -> list[int]:
    """Returns in how many rows each level is."""
    order = x.sort(1).values
    first = torch.ones_like(order, dtype=torch.bool)
    first[:, 1:] = order.diff(dim=1) != 0
    found: list[int] = torch.bincount(order[first], minlength=size).tolist()
    return found


def _half(x: Tensor, known: int) -> int:
    """Returns how many of the first tokens make up half of the text, at most all of them."""
    counts = torch.bincount(x[x != END], minlength=known + FIRST)
    reached = counts[FIRST:].cumsum(0) >= counts.sum() / 2
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else known


def _following(x: Tensor, known: int) -> Tensor:
    """Returns the table of ``TextCode.following``, one count added to the mean of each pair."""
    n = (x != END).sum(1)
    k = min(max(round((int(n.sum()) / _PER_PAIR) ** 0.5), 3), _KINDS, known + 2)
    kind = torch.where(x == UNKNOWN, k - 1, (x - FIRST + 1).clamp(max=k - 1))
    kind = torch.where(x == END, 0, kind)
    before, after = pad(kind, (1, 0)), pad(kind, (0, 1))
    counted = torch.arange(after.shape[1]) <= n[:, None]
    pairs = (before * k + after)[counted]
    counts = torch.bincount(pairs, minlength=k * k).double().view(k, k)
    expected = torch.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return ((counts + 1) / (expected + 1)).log()


def _table(code: TableCode, whole: Tensor, places: Tensor) -> Relearned:
    changed: list[_Changed] = []
    for column in code.columns:
        start = changed[-1].column.end if changed else 0
        part = whole[:, column.start : column.end]
        learn = _categories if column.kind == "category" else _numbers
        changed.append(learn(column, start, part, places))
    columns = tuple(c.column for c in changed)
    own = _written(changed, whole[places], own=False)
    parts = [
        (own[:, c.start : (c.end if c.kind == "category" else c.start + 1)], c.kind != "category")
        for c in columns
    ]
    tied = bonds([(part.numpy(), is_number) for part, is_number in parts])
    found = replace(code, columns=columns, bonds=tied)
    return Relearned(
        code=found,
        space=found.space,
        write=lambda x: _written(changed, x, own=False),
        write_own=lambda x: _written(changed, x, own=True),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """A column as the discovery half knows it.

    Attributes:
        column: The column.
        before: What it was.
        kept: Which of its categories are known, by their places before.
        once: Which of these no row of the discovery half may lose.
    """

    column: Column
    before: Column
    kept: tuple[int, ...] = ()
    once: tuple[int, ...] = ()

    def write(self, part: Tensor, *, own: bool) -> Tensor:
        """Returns its components, shape ``(n, width)``, of those before."""
        if self.column.kind != "category":
            there = part[:, 1:] < 0.5
            middle = torch.full_like(part[:, :1], self.column.middle)
            value = torch.where(there, part[:, :1], middle) if self.column.gaps else part[:, :1]
            return torch.cat([value, part[:, 1:]], 1)
        known = part[:, list(self.kept)]
        if own:
            known = known * torch.tensor([i in self.once for i in self.kept]).to(known)
        missing = part[:, -1:]
        return torch.cat([known, 1 - missing - known.sum(1, keepdim=True), missing], 1)


def _written(changed: list[_Changed], x: Tensor, *, own: bool) -> Tensor:
    parts = [c.write(x[:, c.before.start : c.before.end], own=own) for c in changed]
    return torch.cat(parts, 1)


def _numbers(column: Column, start: int, part: Tensor, places: Tensor) -> _Changed:
    x = part[places].double().numpy()
    x = x[x[:, 1] < 0.5, 0] if column.gaps else x[:, 0]
    found = replace(column, start=start)
    if len(x):
        low, middle, high = np.quantile(x, _SIDES).tolist()
        spread = float(x.std()) or 1.0
        found = replace(found, middle=middle, spread=spread, low=low, high=high)
    return _Changed(column=found, before=column)


def _categories(column: Column, start: int, part: Tensor, places: Tensor) -> _Changed:
    """Returns a column with the categories that several rows of the discovery half have.

    Where the reader has left out the rarer ones by their number among all rows, those are known
    that it would have kept whatever the judged rows hold.
    """
    everyone, own = (p[:, : len(column.categories)].sum(0) for p in (part, part[places]))
    least = _KNOWN
    if len(column.categories) >= _CATEGORIES:
        least = max(_KNOWN, int(everyone.min()) + 1)
    kept = tuple((own >= least).nonzero()[:, 0].tolist())
    return _Changed(
        column=replace(column, start=start, categories=tuple(column.categories[i] for i in kept)),
        before=column,
        kept=kept,
        once=tuple((own > least).nonzero()[:, 0].tolist()),
    )


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


# ----------------------------------------------------------------------------
# Named flaws first, each explained if possible; then what is left, by direction.
# ----------------------------------------------------------------------------

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
        causes: Effects of corruptions on the real samples; None where none are known.
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
        """Returns features of corrupted real samples, or None without any."""
        if self.causes is None or not strengths:
            return None
        return self.causes.remade(places, self.real.at(places), strengths).features


def by_guide(given: Given, search: Search, *, rng: Rng) -> tuple[list[Flaw], Ending, int]:
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
    """Returns corruptions that explain all measurements but repeats, which are not a mean."""
    z = halves.seek
    if causes is None:
        return Explanation.nothing(z.real.shape[1])
    d = z.real.shape[1] - 1
    error = (z.real.var(0) / len(z.real) + z.fake.var(0) / len(z.fake)).sqrt()
    found = explain(z.shift()[:d], error[:d], halves.scale[:d], causes, smallest=smallest)
    return found.widened()


def _repeats(given: Given, strengths: Strengths, search: Search, rng: Rng) -> Sequence[Flaw]:
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


def gap_of(flaw: Flaw, halves: Halves, *, rng: torch.Generator) -> Gap | None:
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
    real: Seen, fake: Seen, search: Search, *, rng: Rng, causes: Causes | None = None
) -> Flaws:
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
    halves = Halves.of(real, fake, rng=rng)
    size = None
    if search.mode == "guided":
        given = Given(real=real, fake=fake, halves=halves, causes=causes)
        found, ending, h = by_guide(given, search, rng=rng)
        size = detectable(h, level=search.level, smallest=search.smallest)
    else:
        found, ending = _look(halves, search, rng)
    ordered = sorted(found, key=lambda f: -(f.size.value or 0.0))
    total, *left = left_after(halves, ordered)
    return Flaws(
        flaws=ordered,
        total=total,
        left=left,
        ending=ending,
        places=halves.places,
        detectable=size,
    )


def _look(halves: Halves, search: Search, rng: Rng) -> tuple[list[Flaw], Ending]:
    level, smallest, times = search.level, search.smallest, search.permutations
    if search.mode == "pca":
        return by_activations(
            halves, level=level, smallest=smallest, most=search.most, permutations=times, rng=rng
        )
    if search.mode == "neural":
        return by_critics(
            halves,
            blind=search.blind,
            level=level,
            smallest=smallest,
            most=search.most,
            permutations=times,
            rng=rng,
        )
    return by_directions(
        halves,
        (),
        carry=search.mode == "transport",
        level=level,
        smallest=smallest,
        most=search.most,
        permutations=times,
        rng=rng,
    )
