"""What eigenvalues of a game say of step sizes and delays."""

import cmath
from collections.abc import Iterable, Sequence

import numpy as np

# Eigenvalues below this share of the largest are directions in which nothing happens.
_FLAT = 1e-6

# No longer delay is looked for.
LONGEST = 127


def grows(values: Sequence[complex]) -> bool:
    """Returns whether an eigenvalue lies right of the imaginary axis: no step is small enough."""
    return any(value.real > _FLAT * abs(value) for value in _steep(values))


def largest_step(values: Sequence[complex]) -> float | None:
    """Returns the step from which on simultaneous descent is unstable, or None if none is stable.

    ``|1 + h l| < 1`` for ``h < -2 Re l / |l|^2``; the smallest of these bounds over all ``l`` with
    negative real part. None where there is none, or one on the imaginary axis.

    Example:
        >>> round(largest_step([-1 + 1j, -1 - 1j, -4]), 3), largest_step([1j, -1j])
        (0.5, None)
    """
    steep = _steep(values)
    if any(abs(value.real) <= _FLAT * abs(value) for value in steep):
        return None
    bounds = [-2 * value.real / abs(value) ** 2 for value in steep if value.real < 0]
    return min(bounds, default=None)


def delayed_radius(values: Sequence[complex], step: float, delay: int) -> float:
    """Returns by which factor descent along gradients ``delay`` steps old grows at most.

    ``z_{t+1} = z_t + h v(z_{t - delay})``: the largest root of ``x^(delay+1) - x^delay - h l``.

    Example:
        >>> round(delayed_radius([-1.0], 0.618, 2), 4)
        1.0
    """
    return max((_root(step * value, delay) for value in _steep(values)), default=1.0)


def largest_delay(values: Sequence[complex], step: float, *, most: int = LONGEST) -> int | None:
    """Returns the largest delay under which descent with this step is stable.

    None where it is not stable without a delay; ``most`` stands for that or more.
    """
    steep = [step * value for value in _upper(_steep(values))]

    def holds(delay: int) -> bool:
        return all(_root(s, delay) < 1 - 1e-12 for s in steep)

    if not holds(0):
        return None
    # A longer delay never helps, so that halving the range finds the last one that does no harm.
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _root(s: complex, delay: int) -> float:
    coefficients = np.zeros(delay + 2, dtype=complex)
    coefficients[0], coefficients[1] = 1.0, -1.0
    coefficients[-1] -= s
    return float(np.abs(np.roots(coefficients)).max())


def _steep(values: Iterable[complex]) -> list[complex]:
    kept = [complex(value) for value in values]
    largest = max(map(abs, kept), default=0.0)
    return [value for value in kept if abs(value) > _FLAT * largest]


def _upper(values: Iterable[complex]) -> list[complex]:
    """Returns one of each pair, the least stable first."""
    upper = [value for value in values if cmath.phase(value) >= 0]
    return sorted(upper, key=lambda value: value.real / abs(value) ** 2, reverse=True)
