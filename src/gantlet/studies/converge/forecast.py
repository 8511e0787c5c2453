"""What a solver makes of the leading modes of a game, before it is tried."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from gantlet.games.field import GameField, Linear
from gantlet.games.spectrum import Damped, InTurn, Less, Preconditioned, Spectrum, leading
from gantlet.studies.converge.pace import Pace

# So many leading modes are looked at.
MODES = 8


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """How the leading modes grow in one step.

    Attributes:
        spectrum: Eigenvalues of the change that one step of plain descent with these rates makes
            to a small displacement: the modes.
        growth: By which factor the mode that grows most does so in one step of the solver.
        unit: The largest learning rate, by which forecasts of different rates are compared.
    """

    spectrum: Spectrum
    growth: float
    unit: float

    @property
    def rate(self) -> float:
        """Growth for each unit of learning rate; below 0 the leading modes decay."""
        return math.log(max(self.growth, 1e-300)) / self.unit


def forecast(
    field: GameField, pace: Pace, squares: Tensor, *, rng: torch.Generator
) -> Forecast | None:
    """Returns what a solver would do to the leading modes, or None where that is not known.

    Eigenvalues ``s`` of the change of one step of plain descent, simultaneous or in turn, are
    computed from the field. What other solvers make of each is known in closed form:
    extragradient ``1 + s + s^2``, optimistic and past-extragradient the larger root of
    ``x^2 - (1 + 2 s) x + s``, lookahead ``1 - alpha + alpha (1 + s)^k`` in ``k`` steps, momentum
    ``beta`` the larger root of ``x^2 - (1 + beta + s) x + beta`` (Adam's: ``(1 - beta) s`` for
    ``s``); exact where players move at once. Consensus changes the field itself.

    Args:
        field: The field at the point of interest.
        pace: The solver.
        squares: The second moments of gradients there.
        rng: Draws where the search begins.
    """
    rates = pace.per_parameter(field.players, squares)
    change = _change(field, pace, rates)
    if change is None:
        return None
    found = leading(change, MODES, rng=rng)
    if not found.values:
        return None
    growth = max(_factor(pace, value) for value in found.values)
    return Forecast(found, growth, max(pace.rates))


def _change(field: GameField, pace: Pace, rates: Tensor) -> Linear | None:
    """Returns what one step of the solver's plain part adds to the identity."""
    jacobian = field.jacobian
    if pace.name == "consensus":
        return Preconditioned(Damped(jacobian, float(pace.options["gamma"])), rates)
    if pace.name not in _FACTORS:
        return None
    if pace.in_turn:
        # Rows are scaled by rates; the same on both sides has the same eigenvalues.
        ones = torch.ones_like(rates)
        scaled = Preconditioned(jacobian, rates)
        return Less(InTurn(scaled, ones, field.players, pace.moves_of(field.players)))
    return Preconditioned(jacobian, rates)


def _factor(pace: Pace, s: complex) -> float:
    return _FACTORS[pace.name](pace, s) if pace.name in _FACTORS else abs(1 + s)


def _root(a: complex, b: complex) -> float:
    """Returns the largest size of a root of ``x^2 + a x + b``."""
    return float(np.abs(np.roots([1.0, a, b])).max())


def _sgd(pace: Pace, s: complex) -> float:
    beta = float(pace.options["momentum"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + s), beta)


def _adam(pace: Pace, s: complex) -> float:
    beta = float(pace.options["beta1"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + (1 - beta) * s), beta)


def _lookahead(pace: Pace, s: complex) -> float:
    k, alpha = int(pace.options["k"]), float(pace.options["alpha"])
    return float(abs(1 - alpha + alpha * (1 + s) ** k) ** (1 / k))


def _extragradient(_: Pace, s: complex) -> float:
    return abs(1 + s + s * s)


def _optimistic(_: Pace, s: complex) -> float:
    return _root(-(1 + 2 * s), s)


_FACTORS = {
    "sgd": _sgd,
    "adam": _adam,
    "extragradient": _extragradient,
    "optimistic": _optimistic,
    "past-extragradient": _optimistic,
    "lookahead": _lookahead,
}
