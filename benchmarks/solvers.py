"""Every solver on the same GAN: what a step costs, what it wastes, and what training gives.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/solvers.py [costs] [training]
Costs are those of `gan` on digits, batches of 128. A solver's overhead is the CPU time of its step
over that of the gradients it takes, each timed alone in a bare loop, in turn with the step:
gradients of all losses, those with a graph to be differentiated again, and products with the
Jacobian. How many it takes is counted while it makes a step. Training is from three seeds, all
with the same FLOPs, validation included; the weights of the last step are judged, averaged as the
family does, by the energy distance to the test split. Settings are the defaults, tuned for none.
The result goes to benchmarks/results/solvers.json.
"""

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantlet.compute.meters import count
from gantlet.core.data import all_samples
from gantlet.core.estimate import Budget
from gantlet.core.model import Generative
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.field import Curvature, FixedLosses, PlayerParameters
from gantlet.models.gan import energy_distance
from gantlet.probes.sampling import median
from gantlet.run.train import DivergedError, Plan, train

PLAIN = "adam:beta1=0.0,beta2=0.99"
SOLVERS = (
    PLAIN,
    f"{PLAIN},mode=simultaneous",
    "adam:lr=0.002+0.0005,beta1=0.0,beta2=0.99",
    "sgd:lr=0.05",
    "sgd:lr=0.05,momentum=-0.5",
    "extragradient",
    "extragradient:fresh=false",
    "past-extragradient",
    "optimistic",
    "consensus",
    "sga",
    "sga:align=false",
    "crossing-the-curl",
    "crossing-the-curl:whole=true",
    "cgd",
    "lookahead",
)
# Those of SOLVERS that differ in more than what a step costs.
TRAINED = tuple(s for s in SOLVERS if not s.endswith(("false", "true")))
BUDGETS = {"digits": 3e10, "ring": 1e10}
SEEDS, BATCH, SAMPLES = 3, 128, 2000
ROUNDS = 200
RESULT = Path(__file__).parent / "results" / "solvers.json"

# What a step can ask of a game, by the methods that ask it.
PRODUCTS = ("vjp", "jvp", "twist", "mixed", "mixed_transposed")


def prepared(data: str, seed: int) -> tuple[Generative, Any]:
    source = datasets.make(data)
    splits = source.load(rng=Rng(seed))
    return families.make("gan").build(source.space, rng=Rng(seed)), splits


@contextmanager
def counting(seen: Counter[str]) -> Iterator[None]:
    """Counts the gradients that are taken inside."""
    kept = {(cls, name): getattr(cls, name) for cls, name in _asked()}

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            wide = "" if kwargs.get("cross", True) else " own"
            seen[name + wide] += 1
            return method(*args, **kwargs)

        return run

    for (cls, name), method in kept.items():
        setattr(cls, name, counted(name, method))
    try:
        yield
    finally:
        for (cls, name), method in kept.items():
            setattr(cls, name, method)


def _asked() -> list[tuple[type, str]]:
    return [
        (PlayerParameters, "gradients"),
        (Curvature, "__init__"),
        *((Curvature, p) for p in PRODUCTS),
    ]


def evaluations(game: Generative, batch: Tensor, rng: torch.Generator) -> dict[str, Any]:
    """Returns each thing that a step can ask, alone."""
    parameters = PlayerParameters(game)
    players = {name: list(p.parameters()) for name, p in game.players.items()}

    def gradient() -> None:
        for name, own in players.items():
            loss = game.loss(name, batch, rng=rng)
            torch.autograd.grad(loss, own)
            loss.item()

    def look(*, cross: bool) -> Curvature:
        return Curvature(parameters, FixedLosses(batch, rng=rng), cross=cross)

    here = look(cross=True)
    products = {p: lambda p=p: getattr(here, p)(here.value) for p in PRODUCTS}
    graphs = {"__init__": lambda: look(cross=True), "__init__ own": lambda: look(cross=False)}
    return {"gradients": gradient, **graphs, **products}


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def ready(seed: int = 0) -> tuple[Generative, Tensor]:
    game, splits = prepared("digits", seed)
    x = all_samples(splits.train)
    with torch.no_grad():
        game.prepare(x[:512], rng=Rng(seed).stream("prepare"))
    return game, x


def cost(text: str) -> dict[str, Any]:
    (game, x), (twin, _) = ready(), ready()
    noise, asked = Rng(0).stream("noise"), Counter[str]()
    play = solvers.make(text).start(game)
    batch = x[: BATCH * play.batches]

    def step() -> None:
        play.step(batch, rng=noise)

    with counting(asked):
        step()
    # Players that move in turn take one gradient each, with no method for all.
    asked = asked or Counter({"gradients": 1})
    evaluated = evaluations(twin, x[:BATCH], noise)
    flops, one = count(step), count(evaluated["gradients"])
    ratios, times = [], []
    for round_ in range(ROUNDS + 20):
        alone = sum(n * seconds(evaluated[k]) for k, n in asked.items())
        spent = seconds(step)
        if round_ >= 20:  # the first are for warming up
            ratios.append(spent / alone)
            times.append(spent)
    ratio = median(ratios, unit="1", better="lower", of="rounds")
    return {
        "solver": text,
        "batches": play.batches,
        "gradients": sum(asked.values()),
        "asked": dict(sorted(asked.items())),
        "flops": flops.flops,
        "flops_over_gradient": round(flops.flops / one.flops, 3),
        "unknown": dict(flops.unknown),
        "cpu_ms": round(1e3 * statistics.median(times), 3),
        "overhead": round(ratio.value - 1, 4),
        "overhead_low": round(ratio.low - 1, 4),
        "overhead_high": round(ratio.high - 1, 4),
    }


def distance(game: Generative, test: Tensor) -> float:
    fake = game.model.sample(SAMPLES, rng=Rng(0).stream("fake"))
    return round(float(energy_distance(test, fake)), 4)


def training(text: str, data: str, seed: int) -> dict[str, Any]:
    game, splits = prepared(data, seed)
    test = all_samples(splits.test)
    with torch.no_grad():
        game.prepare(all_samples(splits.train)[:512], rng=Rng(seed).stream("prepare"))
    before, start = distance(game, test), time.process_time()
    plan = Plan(budget=Budget(flops=BUDGETS[data]), batch=BATCH, ema=0.995, select="last")
    row = {"solver": text, "data": data, "seed": seed, "before": before}
    try:
        found = train(game, solvers.make(text), splits, plan, rng=Rng(seed))
    except DivergedError as error:
        return {**row, "after": None, "steps": None, "why": str(error)}
    spent = round(time.process_time() - start, 1)
    after, steps = distance(game, test), found.spend.steps
    return {**row, "after": after, "steps": steps, "cpu_seconds": spent}


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["costs", "training"]
    told = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    told |= {"torch": torch.__version__, "threads": 1, "batch": BATCH, "budgets": BUDGETS}
    if "costs" in wanted:
        told["wanted"] = "an overhead of at most 0.1 of the gradients taken"
        told["costs"] = []
        for text in SOLVERS:
            told["costs"].append(cost(text))
            print(told["costs"][-1])
    if "training" in wanted:
        told["training"] = []
        for text in TRAINED:
            for data in BUDGETS:
                rows = [training(text, data, seed) for seed in range(SEEDS)]
                told["training"] += rows
                seen = [(r["before"], r["after"], r["steps"]) for r in rows]
                print(data, text, seen, flush=True)
            save(told)
    save(told)


def save(told: dict[str, Any]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
