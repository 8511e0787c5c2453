"""How small a flaw can be and still be found with so many samples."""

import math
from statistics import NormalDist

# A list has about so many suspects, and names get this part of its level.
_SUSPECTS, _PART = 8, 0.4


def detectable(h: int, *, level: float, smallest: float, power: float = 0.9) -> float:
    """Returns the smallest difference of the means, in deviations, that is found so often.

    That of a two-sided test of normal means of ``h`` samples each, at the level that is left to
    one of eight suspects; and so that the measured difference is above ``smallest`` as often.

    Args:
        h: How many held-out samples of each set there are.
        level: The level of the whole list.
        smallest: The smallest difference that is told.
        power: How often it shall be found.

    Example:
        >>> round(detectable(600, level=0.05, smallest=0.2), 3)
        0.274
    """
    normal, error = NormalDist(), math.sqrt(2 / h)
    beyond = normal.inv_cdf(1 - _PART * level / _SUSPECTS / 2)
    lucky = normal.inv_cdf(power)
    return max((beyond + lucky) * error, smallest + lucky * error)
