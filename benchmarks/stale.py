"""Stale gradients: what is predicted of a delay against what happens, and a trace replayed.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/stale.py [bounds] [limits] [replay]
Bounds are the largest stable steps of a stale minimisation against their closed form. Limits are
the largest delays that games stand, predicted from the eigenvalues of their field and found by
playing them: a bilinear game under consensus optimisation, the Dirac-GAN with R1, and a small GAN
on the ring with a fixed batch, trained until its gradients vanish. A delay is stood if what swings
dies out; of the GAN, if what a nudge changes does. For the replay, one GAN is
trained by three workers, and again in one process with the recorded delays, from the same seeds;
the energy distance to the test split is compared.
The result goes to benchmarks/results/stale.json.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from gantlet.core.data import all_samples
from gantlet.core.estimate import Budget
from gantlet.core.model import Game, Generative, Solver
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers, toys
from gantlet.games.field import GameField, PlayerParameters
from gantlet.games.spectrum import largest_delay
from gantlet.games.stale import growth
from gantlet.models.gan import energy_distance
from gantlet.run.asynchronous import asynchronous
from gantlet.run.train import Plan, train

RESULT = Path(__file__).parent / "results/stale.json"
DELAYS = (0, 1, 2, 4, 8, 16, 32, 64)


# ----------------------------------------------------------------------------
# The largest step of a stale minimisation.
# ----------------------------------------------------------------------------


def bound(delay: int) -> dict[str, Any]:
    low, high = 0.0, 2.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if growth(-middle, delay=delay) < 1 else (low, middle)
    exact = 2 * math.sin(math.pi / (2 * (2 * delay + 1)))
    return {"delay": delay, "predicted": round(low, 8), "exact": round(exact, 8)}


# ----------------------------------------------------------------------------
# The largest delay that a game stands.
# ----------------------------------------------------------------------------


def largest_stood(stands: Callable[[int], bool], guess: int) -> int:
    """Returns the largest delay that is stood, from a guess; a longer one never helps."""
    step, low, high = max(guess // 6, 1), -1, guess
    if stands(guess):
        low, high = guess, guess + step
        while stands(high):
            low, high = high, high + 2 * step
    else:
        low = max(guess - step, 0)
        while low > 0 and not stands(low):
            low, high = max(low - 2 * step, 0), low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return low


def path(text: str, game: Game, batch: Tensor, steps: int) -> Tensor:
    """Returns all places of a play, shape ``(steps, n)``."""
    play, parameters, noise = solvers.make(text).start(game), PlayerParameters(game), Rng(0)
    places = []
    for _ in range(steps):
        play.step(torch.cat([batch] * play.batches), rng=noise.stream("noise"))
        places.append(parameters.read())
    return torch.stack(places).double()


def slope(places: Tensor) -> float:
    """Returns the growth in one step of what swings, over the last half of a play.

    Second differences of the places leave what swings and lose what drifts slowly; the largest of
    each of eight parts counts, so that it does not matter where in a swing it is looked at.
    """
    swing = (places[2:] - 2 * places[1:-1] + places[:-2]).norm(dim=1)
    logs = swing[len(swing) // 2 :].clamp(min=1e-300).log()
    parts = torch.stack([part.max() for part in logs.chunk(8)])
    at = torch.arange(len(parts), dtype=torch.float64)
    at = (at - at.mean()) * len(logs) / 8
    return float((at * parts).sum() / at.square().sum())


# Game, solver inside, step.
TOYS = (
    ("saddle", "consensus:base=sgd,gamma=0.3", 0.02),
    ("saddle", "consensus:base=sgd,gamma=1", 0.02),
    ("saddle", "consensus:base=sgd,gamma=1", 0.05),
    ("dirac:penalty=r1,gamma=0.3,theta=0.01,psi=0.01", "sgd:mode=simultaneous", 0.05),
    ("dirac:penalty=r1,gamma=0.3,theta=0.01,psi=0.01", "sgd:mode=simultaneous", 0.02),
    ("dirac:penalty=r1,gamma=0.6,theta=0.01,psi=0.01", "sgd:mode=simultaneous", 0.1),
    ("dirac:penalty=r1,gamma=0.6,theta=0.01,psi=0.01", "sgd:mode=simultaneous", 0.05),
)


def of_toy(model: str, inside: str, step: float) -> dict[str, Any]:
    toy = toys.make(model)
    matrix = GameField(toys.make(model).build(), toy.real, rng=Rng(0).stream("field"))
    matrix.move(torch.zeros_like(matrix.position))
    jacobian = matrix.jacobian.dense().double()
    if inside.startswith("consensus"):
        gamma = float(inside.rpartition("=")[2])
        jacobian = jacobian - gamma * jacobian.T @ jacobian
    values = [complex(v) for v in torch.linalg.eigvals(jacobian)]
    predicted = largest_delay(values, step) or 0

    def stands(delay: int) -> bool:
        text = f'stale:delay={delay},of="{inside},lr={step}"'
        return slope(path(text, toys.make(model).build(), toy.real, 2500)) < 0

    observed = largest_stood(stands, predicted)
    return row(model.partition(",theta")[0], inside, step, predicted, observed)


def row(model: str, inside: str, step: float, predicted: int, observed: int) -> dict[str, Any]:
    return {
        "model": model,
        "solver": inside,
        "lr": step,
        "predicted": predicted,
        "observed": observed,
        "ratio": round(observed / predicted, 3) if predicted else None,
    }


@final
class FixedGame(Game):
    """A game on one batch with one draw of noise.

    Args:
        game: The game.
        batch: The real samples.
    """

    def __init__(self, game: Generative, batch: Tensor) -> None:
        self._game = game
        self._batch = batch

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return self._game.players

    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        del batch, rng
        return self._game.loss(player, self._batch, rng=Rng(7).stream("noise"))

    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        del batch, rng
        return self._game.coupled(player, self._batch, rng=Rng(7).stream("noise"))


# Strength of R1, step of the training before, and steps at which delays are looked for.
GANS = ((10.0, 0.2, (0.02, 0.01)),)
GAN_SEEDS = 3
# Training before goes on until the gradients of both players are so small, or for so many steps.
REST, BEFORE, MOST = 1e-4, 3_000, 30_000
# A mode that dies out more slowly than this share of its size is at the border at every delay.
SLOW = 0.01


def small_gan(model: str, seed: int) -> FixedGame:
    splits = datasets.make("ring").load(rng=Rng(seed))
    game = families.make(model).build(datasets.make("ring").space, rng=Rng(seed))
    batch = all_samples(splits.train)[:64]
    with torch.no_grad():
        game.prepare(all_samples(splits.train)[:512], rng=Rng(seed).stream("prepare"))
    for player in game.players.values():
        player.double()
    return FixedGame(game, batch.double())


def at_rest(game: FixedGame, before: float) -> tuple[int, GameField]:
    """Trains until the game is at rest, and returns after how many steps, and its field."""
    empty, steps = torch.zeros(1, 2, dtype=torch.float64), 0
    field = GameField(game, empty, rng=Rng(0).stream("field"), precise=True)
    while steps < MOST and float(field.value().norm()) >= REST:
        path(f"sgd:mode=simultaneous,lr={before}", game, empty, BEFORE)
        field = GameField(game, empty, rng=Rng(0).stream("field"), precise=True)
        steps += BEFORE
    return steps, field


def of_gan(
    gamma: float, before: float, steps: tuple[float, ...], seed: int
) -> list[dict[str, Any]]:
    model = f"gan:latent=2,width=4,depth=1,loss=ns,penalty=r1,gamma={gamma:g}"
    game = small_gan(model, seed)
    trained, field = at_rest(game, before)
    start, norm = PlayerParameters(game).read(), float(field.value().norm())
    values = [complex(v) for v in torch.linalg.eigvals(field.jacobian.dense().double())]
    about = {"seed": seed, "steps before": trained, "norm of the field": float(f"{norm:.2g}")}
    return [at_step(model, game, start, values, step) | about for step in steps]


def at_step(
    model: str, game: FixedGame, start: Tensor, values: list[complex], step: float
) -> dict[str, Any]:
    inside, empty = f"sgd:mode=simultaneous,lr={step}", torch.zeros(1, 2, dtype=torch.float64)
    held = [v for v in values if v.real < -SLOW * abs(v) and abs(1 + step * v) < 1]
    predicted = largest_delay(held, step) or 0
    nudge = torch.randn(len(start), generator=Rng(0).stream("nudge")).to(start)

    def stands(delay: int) -> bool:
        paths = []
        for share in (0.0, 1e-6):
            PlayerParameters(game).write(start + share * nudge)
            many = 60 * (delay + 1) + 200
            paths.append(path(f'stale:delay={delay},of="{inside}"', game, empty, many))
        return slope(paths[1] - paths[0]) < 0

    found = row(model, "sgd:mode=simultaneous", step, predicted, largest_stood(stands, predicted))
    # What limits: a mode that turns, or one that only pulls.
    first = next(v for v in held if growth(step * v, delay=predicted + 1) >= 1)
    return {**found, "limiting mode": [round(first.real, 4), round(abs(first.imag), 4)]}


# ----------------------------------------------------------------------------
# A trace of real workers, replayed.
# ----------------------------------------------------------------------------

WORKERS, REPLAY_STEPS, BATCH, SEEDS = 3, 400, 64, 4
SOLVER = "adam:lr=0.001,beta1=0.0,beta2=0.99,mode=simultaneous"
REPLAYED = "gan:width=32,latent=8"


def trained(solver: Solver, seed: int) -> float:
    splits = datasets.make("ring").load(rng=Rng(seed))
    game = families.make(REPLAYED).build(datasets.make("ring").space, rng=Rng(seed))
    plan = Plan(budget=Budget(steps=REPLAY_STEPS), batch=BATCH, validations=2, select="last")
    train(game, solver, splits, plan, rng=Rng(seed))
    fake = game.model.sample(2000, rng=Rng(0).stream("fake"))
    return round(float(energy_distance(all_samples(splits.test)[:2000], fake)), 5)


def replay(seed: int) -> dict[str, Any]:
    with asynchronous(solvers.make(SOLVER), workers=WORKERS) as server:
        measured = trained(server, seed)
        record = server.record
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "staleness.csv"
        file.write_text(record.trace())
        replayed = trained(solvers.make(f'stale:delays=replay,path={file},of="{SOLVER}"'), seed)
    return {
        "seed": seed,
        "workers": measured,
        "replayed": replayed,
        "synchronous": trained(solvers.make(SOLVER), seed),
        "staleness": {str(k): n for k, n in record.histogram().items()},
        "mean staleness": round(statistics.fmean(record.staleness), 3),
    }


def compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the difference of both means, beside the deviation over seeds of either."""
    both = {name: [r[name] for r in rows] for name in ("workers", "replayed", "synchronous")}
    means = {name: round(statistics.fmean(values), 5) for name, values in both.items()}
    spread = math.sqrt(
        (statistics.variance(both["workers"]) + statistics.variance(both["replayed"])) / 2
    )
    return {
        "means": means,
        "difference": round(means["replayed"] - means["workers"], 5),
        "spread over seeds": round(spread, 5),
    }


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["bounds", "limits", "replay"]
    start = time.process_time()
    if "bounds" in wanted:
        save("bounds", [bound(delay) for delay in DELAYS])
    if "limits" in wanted:
        found = [said(of_toy(*toy)) for toy in TOYS]
        for gan in GANS:
            for seed in range(GAN_SEEDS):
                found += map(said, of_gan(*gan, seed))
                save("limits", found)
    if "replay" in wanted:
        save("replay", replays())
    print(f"{time.process_time() - start:.0f} CPU seconds, without those of workers")


def replays() -> dict[str, Any]:
    rows = [said(replay(seed)) for seed in range(SEEDS)]
    return {
        "model": REPLAYED,
        "solver": SOLVER,
        "workers": WORKERS,
        "steps": REPLAY_STEPS,
        "batch": BATCH,
        "seeds": rows,
        **compared(rows),
    }


def said(found: dict[str, Any]) -> dict[str, Any]:
    print(found, flush=True)
    return found


def save(part: str, found: Any) -> None:
    """Writes one part of the result beside those that are there."""
    RESULT.parent.mkdir(exist_ok=True)
    told = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    told |= {"torch": torch.__version__, "threads": 1, part: found}
    RESULT.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
