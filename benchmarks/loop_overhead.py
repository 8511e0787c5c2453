"""CPU time of the training loop over that of a bare PyTorch loop with the same game.

    python benchmarks/loop_overhead.py

Writes benchmarks/results/loop_overhead.json. The aim is below 1.03.
"""

import json
import time
from pathlib import Path
from statistics import median

import torch

from gantlet.core.data import all_samples
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families
from gantlet.games.solvers import Adam
from gantlet.run.train import Plan, train

STEPS, BATCH, ROUNDS = 1000, 128, 3
RESULT = Path(__file__).parent / "results" / "loop_overhead.json"


def ours(family: str) -> float:
    """CPU seconds of the loop; one validation at either end, which the bare loop makes too."""
    data = datasets.make("digits")
    splits = data.load(rng=Rng(0))
    game = families.make(family).build(data.space, rng=Rng(0))
    start = time.process_time()
    plan = Plan(budget=Budget(steps=STEPS), batch=BATCH, validations=1)
    train(game, Adam(), splits, plan, rng=Rng(0))
    return time.process_time() - start


def bare(family: str) -> float:
    """CPU seconds of the shortest loop that does the same."""
    data = datasets.make("digits")
    splits = data.load(rng=Rng(0))
    game = families.make(family).build(data.space, rng=Rng(0))
    x, held_out = all_samples(splits.train), all_samples(splits.validation)
    noise, order = Rng(0).stream("noise"), Rng(0).stream("order")
    start = time.process_time()
    game.prepare(x[:512], rng=Rng(0).stream("prepare"))
    optimizers = {
        k: torch.optim.Adam(p.parameters(), 1e-3, fused=True) for k, p in game.players.items()
    }
    with torch.no_grad():
        game.validate(held_out[:16], rng=noise)
        game.validate(held_out, rng=noise)
    for _ in range(STEPS):
        batch = x[torch.randint(len(x), (BATCH,), generator=order)]
        for name, player in game.players.items():
            parameters = list(player.parameters())
            loss = game.loss(name, batch, rng=noise)
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = g
            optimizers[name].step()
            loss.item()
    with torch.no_grad():
        game.validate(held_out, rng=noise)
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    found = {}
    for family in ("flow", "gan"):
        ours(family), bare(family)
        ratios = [ours(family) / bare(family) for _ in range(ROUNDS)]
        found[family] = {
            "ratio": round(median(ratios), 4),
            "rounds": [round(r, 4) for r in ratios],
        }
        print(f"{family}: {found[family]['ratio']:.3f} times a bare loop (median of {ROUNDS})")
    RESULT.parent.mkdir(exist_ok=True)
    settings = {"steps": STEPS, "batch": BATCH, "torch": torch.__version__}
    RESULT.write_text(json.dumps({"settings": settings, "found": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
