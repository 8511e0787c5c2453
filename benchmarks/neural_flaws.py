"""Flaws that no direction shows: linear directions against small critics, blinded in both ways.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/neural_flaws.py
Vectors of 8 normal components, turned at random, 2500 real and 2500 fake ones, two seeds that no
setting was chosen on. Planted are: that the product of three components is always positive, though
any two are independent; a sphere in the place of the normal distribution of six components; the
first of these beside a shift of 1.5 of another component. Reported are the lengths of the lists,
how much the first flaw alone tells, and in how many lists a flaw goes along with the planted
product. The result goes to benchmarks/results/neural_flaws.json.
"""

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.domains.attributes import AttributeTable
from gantlet.flaws.search import list_flaws
from gantlet.flaws.split import FlawList, Representation
from gantlet.options import Search

RESULT = Path(__file__).parent / "results" / "neural_flaws.json"
N, D, SEEDS, PERMUTATIONS, MOST = 2500, 8, (100, 101), 199, 3
WAYS = {
    "linear": Search(mode="linear", permutations=PERMUTATIONS, max_directions=MOST),
    "residual": Search(
        mode="neural", deflation="residual", permutations=PERMUTATIONS, max_directions=MOST
    ),
    "project": Search(
        mode="neural", deflation="projection", permutations=PERMUTATIONS, max_directions=MOST
    ),
}
SHIFT = 1.5


def product(x: Tensor) -> Tensor:
    made = x.clone()
    made[:, 2] *= made[:, :3].prod(1).sign()
    return made


def sphere(x: Tensor) -> Tensor:
    made = x.clone()
    made[:, :6] *= math.sqrt(6) / made[:, :6].norm(dim=1, keepdim=True)
    return made


def beside_a_shift(x: Tensor) -> Tensor:
    made = product(x)
    made[:, 7] += SHIFT
    return made


FLAWS = {"product": product, "sphere": sphere, "product and shift": beside_a_shift}


def seen(x: Tensor) -> Representation:
    return Representation(probes=AttributeTable(words=(), values=x[:, :0].double()), features=x)


def sets(plant: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns real and fake samples, and what turned them."""
    rng = Rng(seed)
    real, fake = (
        torch.randn(N, D, generator=rng.stream(name), dtype=torch.float64)
        for name in ("real", "fake")
    )
    turn, _ = torch.linalg.qr(torch.randn(D, D, generator=rng.stream("turn"), dtype=torch.float64))
    return real, FLAWS[plant](fake), turn


def goes_along(found: FlawList, real: Tensor) -> bool:
    """Returns whether some flaw is larger in real samples whose product is positive."""
    sign = real[found.places.real, :3].prod(1).sign()
    return any(
        float(f.judge.real[sign > 0].mean() - f.judge.real[sign < 0].mean())
        > 0.5 * float(f.judge.real.std())
        for f in found.flaws
    )


def tried(way: str, plant: str) -> dict:
    lengths, told, along, start = [], [], 0, time.process_time()
    for seed in SEEDS:
        real, fake, turn = sets(plant, seed)
        found = list_flaws(seen(real @ turn), seen(fake @ turn), WAYS[way], rng=Rng(seed))
        lengths.append(len(found.flaws))
        told.append(round(found.flaws[0].accuracy.value, 3) if found.flaws else None)
        along += goes_along(found, real)
    seconds = round((time.process_time() - start) / len(SEEDS), 1)
    row = {"flaws in the list": lengths, "told by the first alone": told, "CPU seconds": seconds}
    return {**row, "product found": along} if "product" in plant else row


def main() -> None:
    found = {plant: {way: tried(way, plant) for way in WAYS} for plant in FLAWS}
    result = {"torch": torch.__version__, "lists of each": len(SEEDS), "planted": found}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
