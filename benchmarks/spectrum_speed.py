"""The cost of the leading eigenvalues of a GAN's Jacobian, and whether they are the right ones.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/spectrum_speed.py
GANs of about 2,000 and 100,000 parameters on the ring, trained for 200 steps; a batch of 256, the
penalties R1 and R2 inside. Timed is all of it: copying the game, the graph of the field, the
search, the residuals of the six eigenvalues. Those of the small GAN are compared with the dense
Jacobian's, in single precision. The result goes to benchmarks/results/spectrum_speed.json.
"""

import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.data.synthetic import Ring
from gantlet.games.field import GameField
from gantlet.games.spectrum import Which, leading, rightmost
from gantlet.models.gan import Gan, GanGame

BATCH, STEPS, REPEATS = 256, 200, 5
RESULT = Path(__file__).parent / "results" / "spectrum_speed.json"


def trained(width: int, latent: int) -> tuple[GanGame, Tensor]:
    rng = Rng(0)
    family = Gan(width=width, depth=2, latent=latent)
    game = family.build(Ring().space, rng=rng)
    data = Ring().load(rng=rng).train
    order = torch.randperm(len(data), generator=rng.stream("order"))
    game.prepare(data.take(order[:512]), rng=rng.stream("prepare"))
    play, noise = solvers.make(family.solver).start(game), rng.stream("noise")
    for step in range(STEPS):
        start = step * 32 % (len(order) - BATCH)
        play.step(data.take(order[start : start + BATCH]), rng=noise)
    return game, data.take(order[:BATCH])


def timed(game: GanGame, x: Tensor, which: Which | None) -> dict[str, Any]:
    times: list[float] = []
    found = None
    for _ in range(REPEATS):
        start = time.process_time()
        field = GameField(game, x, rng=Rng(0).stream("field"))
        draws = Rng(0).stream("start")
        if which is None:
            found = rightmost(field.jacobian, 6, step=0.5, rng=draws)
        else:
            found = leading(field.jacobian, 6, which, rng=draws)
        times.append(time.process_time() - start)
    assert found is not None
    return {
        "cpu_s": statistics.median(times),
        "products": found.products,
        "converged": len(found.values),
        "values": [[v.real, v.imag] for v in found.values],
        "largest_residual": max(found.residuals),
    }


def compared(game: GanGame, x: Tensor, found: dict[str, Any]) -> dict[str, float]:
    """How far the six found are from those of the dense Jacobian, and what that costs."""
    start = time.process_time()
    field = GameField(game, x, rng=Rng(0).stream("field"))
    matrix = field.jacobian.dense().double().numpy()
    values = np.linalg.eigvals(matrix)
    seconds = time.process_time() - start
    values = values[np.argsort(-np.abs(values))][:6]
    got = np.array([complex(*v) for v in found["values"]])
    apart = max(np.abs(values - v).min() / abs(v) for v in got)
    missed = max(np.abs(got - v).min() / abs(v) for v in values)
    return {"largest_relative_difference": max(apart, missed), "dense_cpu_s": seconds}


def main() -> None:
    torch.set_num_threads(1)
    leading(GameField(*trained(8, 2), rng=Rng(0).stream("warm")).jacobian, rng=Rng(0).stream("w"))
    cases = []
    for width, latent in ((29, 2), (215, 32)):
        game, x = trained(width, latent)
        size = sum(p.numel() for m in game.players.values() for p in m.parameters())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        searches: dict[str, Any] = {
            "largest": timed(game, x, "magnitude"),
            "most imaginary": timed(game, x, "imaginary"),
            "rightmost, by shift of step 0.5": timed(game, x, None),
        }
        case: dict[str, Any] = {"parameters": size, "searches": searches}
        case["peak_memory_grown_MB"] = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        ) / 1024
        if size < 5000:
            case["against_dense"] = compared(game, x, searches["largest"])
        cases.append(case)
    result = {
        "what": "CPU seconds of the six leading eigenvalues of the Jacobian of a GAN in training",
        "wanted": "largest: at most 0.5 s for 2,000 parameters, equal to dense to 1e-4; 5 s for "
        "100,000",
        "batch": BATCH,
        "repeats": REPEATS,
        "threads": 1,
        "torch": torch.__version__,
        "cases": cases,
    }
    print(json.dumps(result, indent=2))
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
