"""The ordered list of flaws: a critic for each, blind to those before."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.critics.activations import by_activations
from gantlet.critics.directions import by_directions
from gantlet.critics.flaw import Blind, Flaw, Flaws, Mode
from gantlet.critics.halves import Halves, Seen
from gantlet.critics.left import left_after
from gantlet.critics.named import by_probes
from gantlet.critics.neural import by_critics


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How flaws are looked for.

    Attributes:
        mode: Where.
        level: How likely a list on flawless samples may hold anything.
        smallest: The smallest flaw worth telling, in standard deviations of the real samples.
        most: How many directions are looked at.
        permutations: How often labels are dealt out for each p-value.
        blind: How the critics of mode ``neural`` are made blind.
    """

    mode: Mode = "guided"
    level: Annotated[float, Between(0, 1)] = 0.05
    smallest: Annotated[float, Between(0, 100)] = 0.2
    most: Annotated[int, Between(1, 1000)] = 12
    permutations: Annotated[int, Between(19, 10**6)] = 1999
    blind: Blind = "residual"


def list_flaws(real: Seen, fake: Seen, search: Search, *, rng: Rng) -> Flaws:
    """Returns what is wrong with fake samples, the largest flaw first.

    Each flaw is found on one half of the samples and certified on the other: its size, by how
    much it alone tells a sample, and a p-value by permutation. Then the critic is made blind to
    it and looks for the next. The chance that a list on flawless samples holds anything is at
    most ``search.level``.

    Args:
        real: Real samples.
        fake: Fake ones; of the larger set as many are used as the smaller one holds.
        search: How they are looked for.
        rng: Splits the samples and draws all else that is random.

    Raises:
        UserError: If there are too few samples.
    """
    halves = Halves.of(real, fake, rng=rng)
    found, stopped = _look(halves, search, rng)
    ordered = sorted(found, key=lambda f: -(f.size.value or 0.0))
    total, *left = left_after(halves, ordered)
    return Flaws(flaws=ordered, total=total, left=left, stopped=stopped, places=halves.places)


def _look(halves: Halves, search: Search, rng: Rng) -> tuple[list[Flaw], str]:
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
    named: list[Flaw] = []
    if search.mode == "guided":
        # Half of the chance of a false alarm is spent on names, half on directions.
        level /= 2
        named = by_probes(halves, level=level, smallest=smallest, permutations=times, rng=rng)
    further, stopped = by_directions(
        halves,
        named,
        carry=search.mode == "transport",
        level=level,
        smallest=smallest,
        most=search.most,
        permutations=times,
        rng=rng,
    )
    return [*named, *further], stopped
