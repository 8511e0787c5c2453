"""How fast each solver closes in on, or runs from, the centre of ``min_x max_y x y``."""

import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from toy_games import Bilinear

H = 0.1


def play(text, steps, start=(1.0, 0.5), between=lambda game: None):
    """Returns the places of a play, shape ``(steps + 1, 2)``."""
    game = Bilinear(*(torch.tensor([s], dtype=torch.float64) for s in start))
    player, noise = solvers.make(text).start(game), Rng(0).stream("noise")
    batch = torch.zeros(player.batches, 1)
    places = [place(game)]
    for _ in range(steps):
        player.step(batch, rng=noise)
        between(game)
        places.append(place(game))
    return torch.stack(places)


def place(game):
    return torch.cat([p.at.detach().clone() for p in game.players.values()])


def norm(places):
    return torch.linalg.vector_norm(places, dim=-1)


def factor(text):
    """Returns the factor of one step in the long run.

    Places follow a linear recursion, over one step, or two where a solver remembers the last. It
    is fitted to a few of them, and its largest eigenvalue is the factor.
    """
    solver = solvers.make(f"{text}lr={H}")
    stride = getattr(solver, "k", 1)
    order = 2 if "momentum" in text or "optim" in text or "past" in text else 1
    places = play(f"{text}lr={H}", 8 * stride)[::stride]
    seen = torch.cat([places[order - 1 - lag : 8 - lag] for lag in range(order)], 1)
    fit = torch.linalg.lstsq(seen, places[order:]).solution.T
    assert torch.allclose(seen @ fit.T, places[order:], rtol=0, atol=1e-12), "no such recursion"
    companion = torch.zeros(2 * order, 2 * order, dtype=torch.float64)
    companion[:2] = fit
    companion[2:, :-2] += torch.eye(2 * order - 2)
    return float(torch.linalg.eigvals(companion).abs().max()) ** (1 / stride)


def ahead(k, alpha=0.5):
    return abs(1 - alpha + alpha * (1 + 1j * H) ** k) ** (1 / k)


def largest_root(*coefficients):
    """The largest root of a polynomial, highest power first, as a companion matrix has it."""
    top, *rest = coefficients
    n = len(rest)
    companion = torch.zeros(n, n, dtype=torch.complex128)
    companion[0] = -torch.tensor([complex(c) / top for c in rest])
    companion[1:, :-1] += torch.eye(n - 1)
    return float(torch.linalg.eigvals(companion).abs().max())


# One step multiplies x + i y by the number given, or by the largest root of the recursion.
OPTIMISTIC = largest_root(1, -(1 - 2j * H), -1j * H)
EXACT = {
    "sgd:mode=simultaneous,": math.sqrt(1 + H**2),
    "extragradient:base=sgd,": math.sqrt(1 - H**2 + H**4),
    "extragradient:base=sgd,fresh=false,": math.sqrt(1 - H**2 + H**4),
    "optimistic:base=sgd,": OPTIMISTIC,
    "past-extragradient:base=sgd,": OPTIMISTIC,
    "cgd:beta2=none,": 1 / math.sqrt(1 + H**2),
    "consensus:base=sgd,gamma=1,": abs(1 - H + 1j * H),
    "sga:base=sgd,gamma=1,": abs(1 - H + 1j * H),
    "sga:base=sgd,gamma=1,align=false,": abs(1 - H + 1j * H),
    "crossing-the-curl:base=sgd,": 1 - H,
    "crossing-the-curl:base=sgd,whole=true,": 1 - H,
    "lookahead:base=sgd,mode=simultaneous,k=5,": ahead(5),
    "lookahead:base=sgd,mode=simultaneous,k=6,": ahead(6),
    "lookahead:base=sgd,mode=simultaneous,k=10,": ahead(10),
}
STATED = {
    "sgd:mode=simultaneous,": 1.004988,
    "sgd:": 1.0,
    "extragradient:base=sgd,": 0.995038,
    "optimistic:base=sgd,": 0.994936,
    "cgd:beta2=none,": 0.995037,
    "consensus:base=sgd,gamma=1,": 0.905539,
    "sga:base=sgd,gamma=1,": 0.905539,
    "lookahead:base=sgd,mode=simultaneous,k=5,": 0.99624,
    "lookahead:base=sgd,mode=simultaneous,k=6,": 0.99496,
    "lookahead:base=sgd,mode=simultaneous,k=10,": 0.98961,
    "sgd:mode=simultaneous,momentum=-0.5,": 1.00074,
    "sgd:momentum=-0.5,": 0.99852,
    "sgd:momentum=-0.3,": 0.99863,
    "sgd:momentum=0.9,": 1.192,
}


@pytest.mark.parametrize("text", EXACT)
def test_one_step_multiplies_by_the_exact_factor(text):
    assert factor(text) == pytest.approx(EXACT[text], abs=1e-9)


@pytest.mark.parametrize("text", STATED)
def test_one_step_multiplies_by_the_stated_factor(text):
    digits = len(str(STATED[text]).partition(".")[2])
    assert factor(text) == pytest.approx(STATED[text], abs=0.5 * 10**-digits)


@pytest.mark.parametrize("beta", [-0.7, -0.5, -0.3, -0.1])
def test_negative_momentum_needs_alternation(beta):
    assert factor(f"sgd:momentum={beta},") < 1 - 1e-4
    assert factor(f"sgd:momentum={beta},mode=simultaneous,") > 1 + 1e-4


def test_positive_momentum_destroys():
    assert factor("sgd:momentum=0.9,mode=simultaneous,") > factor("sgd:momentum=0.9,") > 1.19
