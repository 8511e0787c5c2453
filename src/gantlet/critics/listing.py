"""The ordered list of flaws: a critic for each, blind to those before."""

from gantlet.core.rng import Rng
from gantlet.critics.activations import by_activations
from gantlet.critics.causes import Causes
from gantlet.critics.directions import by_directions
from gantlet.critics.flaw import Ending, Flaw, Flaws
from gantlet.critics.guided import Given, by_guide
from gantlet.critics.halves import Halves, Seen
from gantlet.critics.left import left_after
from gantlet.critics.neural import by_critics
from gantlet.critics.power import detectable
from gantlet.options import Search

__all__ = ["Search", "list_flaws"]


def list_flaws(
    real: Seen, fake: Seen, search: Search, *, rng: Rng, causes: Causes | None = None
) -> Flaws:
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
        causes: What damages do to the real samples; the guided mode names flaws by these first.

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
