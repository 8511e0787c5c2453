"""Draws real samples: a reference, a control, those to be damaged, and a training set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.trial import Trial
from gantlet.data.damage import Victims
from gantlet.data.splits import Joined
from gantlet.studies.sources import load

# Reference, control, victims and training set; spare samples are what is left, at most as many.
_SETS = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Sets of real samples that share none, of equal size.

    Attributes:
        reference: What all are compared with.
        control: Samples that stay as they are.
        victims: Samples that are damaged, with what the damage may use.
    """

    reference: Tensor
    control: Tensor
    victims: Victims


def draw(trial: Trial) -> Drawn:
    """Returns the sets of one trial: the same for all damages of one size and seed."""
    parts, n = trial.parts, int(trial.parts["n"])
    space, _ = load(parts["data"], int(parts["data_seed"]))
    pool = pool_of(parts)
    order = torch.randperm(len(pool), generator=Rng(trial.seed).stream(f"draw/{n}"))
    where = [order[k * n : (k + 1) * n] for k in range(_SETS + 1)]
    reference, control, victims, train, spare = (pool.take(index) for index in where)
    labels = pool.labels
    return Drawn(
        reference=reference,
        control=control,
        victims=Victims(
            space=space,
            x=victims,
            labels=None if labels is None else labels[where[2]],
            spare=spare,
            spare_labels=None if labels is None else labels[where[4]],
            train=train,
        ),
    )


def pool_of(parts: Mapping[str, str]) -> Source:
    """Returns all samples of a data set: which split they came from does not matter here."""
    _, splits = load(parts["data"], int(parts["data_seed"]))
    return Joined(splits.train, splits.validation, splits.test)


def check_size(parts: Mapping[str, str], n: int) -> None:
    """Checks that a data set holds enough samples.

    Raises:
        UserError: If it does not.
    """
    held = len(pool_of(parts))
    # A class to be dropped is rarely more than a seventh of all.
    needed = _SETS * n + n // 7
    if n < 2 or held < needed:
        raise UserError(
            f"ns must be from 2 to {held * 7 // (_SETS * 7 + 1)}: {parts['data']} holds {held} "
            f"samples and four sets are drawn. Got {n}."
        )
