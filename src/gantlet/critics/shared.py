"""How large the flaw of one set is in another."""

import torch

from gantlet.critics.flaw import Flaw
from gantlet.critics.halves import Halves
from gantlet.critics.line import Gap, gap


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
