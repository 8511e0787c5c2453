"""What a two-sample test by a classifier can find with so many samples, before it is run."""

from gantlet.core.errors import UserError


def detectable_accuracy(n: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """Returns the smallest accuracy that ``n`` held-out samples tell from chance.

    A classifier whose true accuracy is this is found better than guessing at ``level`` with
    probability ``power``. Exact, from the binomial: with ``c`` the fewest right answers that are
    significant, the accuracy ``a`` with ``P(Binomial(n, a) >= c) = power``.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3, whose formula
    is the normal limit of this.

    Differs from the paper: the binomial itself.

    Args:
        n: How many held-out samples are judged, real and fake ones together.
        level: How often guessing may count as telling.
        power: How often the accuracy is to be found.

    Raises:
        UserError: If not even ``n`` right answers are significant.

    Example:
        >>> round(detectable_accuracy(1000), 4), round(detectable_accuracy(100), 3)
        (0.5398, 0.626)
    """
    from scipy.special import betaincinv

    needed = fewest_right(n, level=level)
    if needed > n:
        raise UserError(f"{n} held-out samples cannot tell anything from chance. Give more.")
    return float(betaincinv(needed, n - needed + 1, power))


def fewest_right(n: int, *, level: float = 0.05) -> int:
    """Returns how many right answers of ``n`` guessing reaches with at most ``level`` chance.

    ``n + 1`` where not even all of them are significant.

    Example:
        >>> fewest_right(10), fewest_right(4)
        (9, 5)
    """
    from scipy.special import bdtrc

    low, high = n // 2, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if float(bdtrc(middle - 1, n, 0.5)) <= level:
            high = middle
        else:
            low = middle
    return high
