"""How much of a field turns, and how much attracts or repels."""

import math
from dataclasses import dataclass
from typing import final

import torch

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import t_quantile
from gantlet.games.dynamics.linear import Linear


@final
@dataclass(frozen=True, slots=True)
class Rotation:
    """How a Jacobian is parted into ``S = (J + J^T) / 2`` and ``A = (J - J^T) / 2``.

    Attributes:
        share: ``|A|^2 / |J|^2`` in Frobenius norms: 0 for a single loss, 1 for a pure rotation.
        ratio: ``|A| / |S|``; missing where nothing attracts or repels.
    """

    share: Estimate
    ratio: Estimate


def rotation(of: Linear, *, probes: int = 24, rng: torch.Generator) -> Rotation:
    """Returns how much of a Jacobian is rotation, estimated from products with random signs.

    With ``u`` of independent signs (Hutchinson, 1990,
    https://doi.org/10.1080/03610919008812866) ``E |J u|^2 = |S|^2 + |A|^2`` and
    ``E u^T J J u = |S|^2 - |A|^2``; their ratio has a jackknife interval. Small maps are written
    down.

    Args:
        of: The Jacobian.
        probes: How many vectors; as many units as there are dimensions, if those are fewer.
        rng: Draws the signs.
    """
    if of.size <= probes:
        matrix = of.dense().double()
        whole, product = float(matrix.square().sum()), float((matrix @ matrix).trace())
        return _parted(whole, product, None, of.size)
    squares, products = [], []
    for _ in range(probes):
        signs = torch.randint(2, (of.size,), generator=rng, device=rng.device) * 2 - 1
        u = signs.to(of.like)
        image = of.apply(u)
        squares.append(float(image.square().sum()))
        products.append(float(of.transposed(u) @ image))
    a, b = math.fsum(squares), math.fsum(products)
    left = [(b - y) / (a - x) if a > x else 0.0 for x, y in zip(squares, products, strict=True)]
    centre = math.fsum(left) / probes
    error = math.sqrt((probes - 1) / probes * math.fsum((x - centre) ** 2 for x in left))
    return _parted(a, b, t_quantile(0.975, probes - 1) * error, probes)


def _parted(whole: float, product: float, half: float | None, n: int) -> Rotation:
    if whole == 0:
        missing = Estimate.missing("the Jacobian is zero")
        return Rotation(missing, missing)
    r = product / whole
    share, ratio = _share(r), _ratio(r)
    if half is None:
        of = f"exact, from all {n} columns"
        shown = Estimate.missing("nothing attracts or repels: a pure rotation")
        if ratio is not None:
            shown = Estimate.exact(ratio, method=of, n=n)
        return Rotation(Estimate.exact(share, method=of, n=n), shown)
    how = f"Hutchinson, {n} vectors of random signs; jackknife"
    low, high = _share(r + half), _share(r - half)
    given = Estimate(value=share, low=low, high=high, n=n, method=how)
    top, bottom = _ratio(r - half), _ratio(r + half)
    if ratio is None or top is None or bottom is None:
        return Rotation(given, Estimate.missing("cannot be told from a pure rotation"))
    return Rotation(given, Estimate(value=ratio, low=bottom, high=top, n=n, method=how))


def _share(r: float) -> float:
    return min(max((1 - r) / 2, 0.0), 1.0)


def _ratio(r: float) -> float | None:
    share = _share(r)
    return math.sqrt(share / (1 - share)) if share < 1 - 1e-12 else None
