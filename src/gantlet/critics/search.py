"""How flaws are looked for."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.spec import Between
from gantlet.critics.flaw import Blind, Mode


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
