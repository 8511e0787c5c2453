"""Gradient noise against closed forms, against simulation, and against steps to a target.

python benchmarks/noise.py [PART ...] [--out FILE]

* unbiased: looks by micro-batches and by examples against the exact variance of the gradient;
  1,000 of a linear quadratic game (closed form), 400 of a GAN on the ring (8,000 examples).
* coverage: how often the interval of one look of 400 examples holds the exact noise scale.
* quadratic: steps from L to L / 4 on a noisy quadratic of 50 dimensions, and the hyperbola fitted
  to them, against theory.
* floor: the covariance of the Dirac-GAN with R1 around its equilibrium, simulated, against the
  Lyapunov equation.
* cost: CPU time of ``--monitor noise`` over that of the training.
* games: on ten games, steps to a target at batches from 8 to 512, each at the best of four
  learning rates, against what gradient noise at batch 128 predicts. The target is the level that
  120 steps at batch 128 and the usual learning rate reach.

About five minutes of CPU time on one thread.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import mean, median, stdev

import torch
from torch import nn

import gantlet
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, families, solvers
from gantlet.games.field import GameField
from gantlet.games.noise import TOGETHER, Ledger, Look, NoiseMonitor, look_at, noise_floor
from gantlet.games.toys import Dirac
from gantlet.models.nets import seeded
from gantlet.run.monitors import Monitors
from gantlet.run.train import Batches
from gantlet.run.trials import load
from gantlet.stats.noise_scale import (
    fit_critical_batch,
    pooled,
    predicted_critical_batch,
)

# ----------------------------------------------------------------------------
# A linear quadratic game on samples, whose noise is known.
# ----------------------------------------------------------------------------


class SampledLgq(Game):
    """The critic's score is ``x' W x``, the generator is ``A z``, data are ``N(0, S)``."""

    def __init__(self):
        self.S = torch.diag(torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64))
        g = torch.Generator().manual_seed(1)
        with seeded(g):
            self.generator, self.critic = (nn.Linear(3, 3, bias=False).double() for _ in range(2))
        W = torch.randn(3, 3, generator=g, dtype=torch.float64)
        self.generator.weight.data = torch.randn(3, 3, generator=g, dtype=torch.float64)
        self.critic.weight.data = W + W.T

    @property
    def players(self):
        return {"critic": self.critic, "generator": self.generator}

    def loss(self, player, batch, *, rng):
        fake = self.generator(torch.randn(batch.shape, generator=rng, dtype=batch.dtype))
        if player == "generator":
            return -self.score(fake).mean()
        return self.score(fake.detach()).mean() - self.score(batch).mean()

    def score(self, x):
        return (x * self.critic(x)).sum(1)

    def batch(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        return torch.randn(n, 3, generator=g, dtype=torch.float64) @ self.S.sqrt()

    def exact(self):
        """Returns trace and square of each player, from the fourth moments of normal vectors."""
        A, W = self.generator.weight.detach(), self.critic.weight.detach()
        T = A @ A.T
        of_critic = sum(float(C.trace() ** 2 + (C @ C).trace()) for C in (self.S, T))
        inner = float((W @ A).square().sum())
        return {
            "critic": (of_critic, float((self.S - T).square().sum())),
            "generator": (4 * 4 * inner, 4 * inner),
        }


def ring_gan(steps=200):
    """Returns a GAN on the ring after some steps, and training samples."""
    _, splits = load("ring", 0)
    space, family = load("ring", 0)[0], families.make("gan:width=32")
    game = family.build(space, rng=Rng(0))
    batches, noise = Batches(splits.train, rng=Rng(0)), Rng(0).stream("noise")
    with torch.no_grad():
        game.prepare(batches.next(512), rng=Rng(0).stream("prepare"))
    play = solvers.make(family.solver).start(game)
    for _ in range(steps):
        play.step(batches.next(128), rng=noise)
    return game, splits.train


def draw(train, n, seed):
    g = torch.Generator().manual_seed(seed)
    return train.take(torch.randint(len(train), (n,), generator=g))


# ----------------------------------------------------------------------------
# The parts.
# ----------------------------------------------------------------------------


def unbiased(replicates=1000, of_gan=400):
    found = {}
    game = SampledLgq()
    exact = {k: (*v, 0.0, 0.0) for k, v in game.exact().items()}
    for unit in ("example", "micro-batch"):
        looks = [
            Look(game, game.batch(128, seed), rng=Rng(seed).stream("n"), unit=unit).moments()
            for seed in range(replicates)
        ]
        found[f"linear quadratic, by {unit}"] = deviations(looks, exact)
    game, train = ring_gan()
    truth = {}
    parts = [
        Look(
            game, draw(train, 500, 10_000 + k), rng=Rng(k).stream("truth"), unit="example"
        ).moments()
        for k in range(16)
    ]
    for player in game.players:
        whole = pooled([p[player].parts() for p in parts])
        # Between looks the squared mean gradient is averaged as a mean of unbiased estimates.
        errors = [math.sqrt(whole.covariance[i]) for i in (0, 2)]
        truth[player] = (whole.trace, whole.square, *errors)
    looks = [
        Look(game, draw(train, 128, k), rng=Rng(k).stream("n"), unit="micro-batch").moments()
        for k in range(of_gan)
    ]
    found["GAN on the ring, by micro-batch"] = deviations(looks, truth)
    return found


def deviations(looks, exact):
    """Returns how many standard errors means are off."""
    table = {}
    for player, (trace, square, trace_error, square_error) in exact.items():
        for name, truth, error in (
            ("trace", trace, trace_error),
            ("square", square, square_error),
        ):
            values = [getattr(m[player], name) for m in looks]
            spread = math.hypot(stdev(values) / math.sqrt(len(values)), error)
            table[f"{name} of {player}"] = {
                "exact": truth,
                "mean": mean(values),
                "standard errors off": (mean(values) - truth) / spread,
            }
    return table


def coverage(runs=600):
    game, held = SampledLgq(), {"critic": 0, "generator": 0}
    exact = {k: t / s for k, (t, s) in game.exact().items()}
    for seed in range(runs):
        batch = game.batch(400, 5_000 + seed)
        one = Look(game, batch, rng=Rng(seed).stream("n")).moments()
        for player in ("critic", "generator"):
            e = one[player].parts().scale()
            held[player] += e.low <= exact[player] <= e.high
    return {name: {"covered": count, "of": runs} for name, count in held.items()}


def quadratic(runs=400):
    """Steps of the best direction at a twentieth of the best step, as theory counts them."""
    n, share, batches = 50, 0.05, (1, 2, 4, 8, 16, 64, 256)
    g = torch.Generator().manual_seed(0)
    found = {}
    for B in batches:
        z = torch.ones(runs, n, dtype=torch.float64)
        left, steps = torch.ones(runs, dtype=torch.bool), torch.zeros(runs)
        goal = n / 2 / 4
        while bool(left.any()):
            before = z.square().sum(1) / 2
            scale = n / z.square().sum(1)  # tr(Sigma) / |G|^2 with Sigma = I and H = I
            rate = share / (1 + scale / B)
            noise = torch.randn(runs, n, generator=g, dtype=torch.float64) / B**0.5
            moved = z - rate[:, None] * (z + noise)
            after = moved.square().sum(1) / 2
            part = ((before / goal).log() / (before / after).log()).clamp(0, 1)
            steps += left * torch.where(after <= goal, part, torch.ones(runs).double())
            z = torch.where(left[:, None], moved, z)
            left &= after > goal
        found[B] = float(steps.mean())
    fit = fit_critical_batch(list(found), list(found.values()))
    # Over log L the scale is 25 / L, from 25 to 25 / 4.
    critical = 25 * (4 - 1) / 25 / math.log(4)
    fewest = math.log(4) / (2 * share - share**2)
    return {
        "steps by batch": found,
        "critical batch": {
            "fitted": fit.critical.value,
            "low": fit.critical.low,
            "high": fit.critical.high,
            "theory": critical,
        },
        "fewest steps": {"fitted": fit.fewest.value, "theory": fewest},
    }


def floor(chains=4000, steps=2000):
    game = Dirac(loss="ns", penalty="r1", gamma=0.3).build()
    for player in game.players.values():
        for p in player.parameters():
            p.data.zero_()
    real = torch.zeros(1, 1, dtype=torch.float64)
    J = GameField(game, real, rng=Rng(0).stream("n")).jacobian.dense().T
    g, h, found = torch.Generator().manual_seed(0), 0.05, {}
    for B in (1, 16):
        z = torch.zeros(chains, 2, dtype=torch.float64)
        for _ in range(steps):
            noise = torch.randn(chains, 2, generator=g, dtype=torch.float64) / B**0.5
            z = z + h * (z @ J.T + noise)
        sizes = z.square().sum(1)
        law = noise_floor(J, torch.eye(2), step=h, batch=B)
        found[f"batch {B}"] = {
            "simulated": float(sizes.mean()),
            "standard error": float(sizes.std()) / math.sqrt(chains),
            "Lyapunov": float(law.trace()),
            "h tr(Sigma) / (B gamma)": h * 2 / (B * 0.3),
        }
    return found


def cost():
    found = {}
    for model, data, steps in (
        ("gan", "ring", 2000), ("gan:width=32", "ring", 4000), ("vae", "digits", 1000)
    ):  # fmt: skip
        space, splits = load(data, 0)
        family = families.make(model)
        game = family.build(space, rng=Rng(0))
        batches, noise = Batches(splits.train, rng=Rng(0)), Rng(0).stream("noise")
        with torch.no_grad():
            game.prepare(batches.next(512), rng=Rng(0).stream("prepare"))
        play = solvers.make(family.solver).start(game)
        settings = {"noise": NoiseMonitor()}
        watched = Monitors(settings, game, splits.train, batch=128, rng=Rng(0))
        spent = {"training": 0.0, "watching": 0.0}
        for step in range(1, steps + 1):
            start = time.process_time()
            play.step(batches.next(128 * play.batches), rng=noise)
            middle = time.process_time()
            watched.after(step, play)
            spent["training"] += middle - start
            spent["watching"] += time.process_time() - middle
        looks = watched.scores()["looks of monitor noise"].value
        name = f"{model} on {data}"
        share = spent["watching"] / spent["training"]
        found[name] = {**spent, "looks": looks, "share": share}
    return found


# ----------------------------------------------------------------------------
# Steps to a target on ten games.
# ----------------------------------------------------------------------------

GAMES = (
    ("gan:width=32", "ring"),
    ("gan:width=32,loss=ns,penalty=r1", "ring"),
    ("gan:width=32", "moons"),
    ("gan:width=32,loss=hinge,penalty=r1", "ring"),
    ("gan:width=64", "digits"),
    ("flow:width=32,layers=4", "moons"),
    ("vae:width=64", "digits"),
    ("diffusion:width=64", "ring"),
    ("diffusion:width=64", "digits"),
    ("ar:width=32", "moons"),
)
BATCHES = (8, 32, 128, 512)
FACTORS = (0.25, 1.0, 4.0, 16.0)
BASE, REFERENCE, MOST = 128, 120, 2400


def games():
    rows = []
    for model, data in GAMES:
        start = time.process_time()
        row = steps_of_game(model, data)
        row["CPU s"] = time.process_time() - start
        rows.append(row)
        print(json.dumps(row), flush=True)
    within = [r["worst factor"] is not None and r["worst factor"] <= 2 for r in rows]
    return {"games": rows, "within a factor of 2": sum(within), "of": len(rows)}


def steps_of_game(model, data):
    target = trained(model, data, BASE, 1.0, REFERENCE)[0][-1][1]
    steps, best = {}, {}
    for B in reversed(BATCHES):
        most = min(REFERENCE * BASE // B * 4 if B < BASE else REFERENCE * 3, MOST)
        for factor in FACTORS:
            curve, _ = trained(model, data, B, factor, most, target=target)
            if reaches(curve, target):
                most = curve[-1][0]
                steps[B], best[B] = most, factor
    ledger = trained(model, data, BASE, best[BASE], steps[BASE], look=True)[1]
    players = ledger.players("adam")
    player = TOGETHER if TOGETHER in players else players[0]
    windows = [p for _, p in ledger.windows(player, "adam", 8)]
    critical = predicted_critical_batch(windows, BASE, rng=Rng(0).stream("draws"))
    value = critical.value
    expected = {B: steps[BASE] * (1 + value / B) / (1 + value / BASE) for B in BATCHES}
    ratios = {B: steps[B] / expected[B] if B in steps else None for B in BATCHES}
    known = [max(r, 1 / r) for r in ratios.values() if r is not None]
    measured = None
    if len(steps) >= 3:
        measured = fit_critical_batch(list(steps), list(steps.values())).critical.value
    return {
        "model": model,
        "data": data,
        "predicted critical batch": value,
        "low": critical.low,
        "high": critical.high,
        "measured critical batch": measured,
        "steps": steps,
        "best factor of the learning rate": best,
        "predicted steps": expected,
        "worst factor": max(known) if len(known) == len(BATCHES) else None,
    }


def trained(model, data, B, factor, most, *, target=None, look=False):
    """Returns running medians of three validations until the target, and the noise on the way."""
    space, splits = load(data, 0)
    family = families.make(model)
    game = family.build(space, rng=Rng(0))
    batches, noise = Batches(splits.train, rng=Rng(0)), Rng(0).stream("noise")
    with torch.no_grad():
        game.prepare(batches.next(512), rng=Rng(0).stream("prepare"))
    spec = Spec.parse(solvers.resolve(family.solver))
    lr = float(spec.options["lr"]) * factor
    play = solvers.make(str(Spec(spec.name, {**spec.options, "lr": str(lr)}))).start(game)
    held_out = splits.validation.take(torch.arange(min(300, len(splits.validation))))
    values, curve, ledger, due = [], [], Ledger(), 5
    for step in range(1, most + 1):
        if look and step % max(most // 24, 1) == 0:
            g = Rng(step).stream("look")
            seen = look_at(game, play, draw(splits.train, 256, step), step=step, rng=g,
                           unit="micro-batch")  # fmt: skip
            ledger.looks.append(seen)
        losses = play.step(batches.next(B * play.batches), rng=noise)
        if not all(map(math.isfinite, losses.values())):
            return curve, ledger
        if step < due and step < most:
            continue
        due = max(step + 1, math.ceil(step * 1.12))
        with torch.no_grad():
            values.append(float(game.validate(held_out, rng=Rng(0).stream("validate"))))
        if len(values) >= 3:
            curve.append((step, median(values[-3:])))
        if target is not None and reaches(curve, target):
            break
    return curve, ledger


def reaches(curve, target):
    """Returns whether the last two running medians are at the target: a passing dip is none."""
    return len(curve) >= 2 and max(v for _, v in curve[-2:]) <= target


# ----------------------------------------------------------------------------
# All together.
# ----------------------------------------------------------------------------

PARTS = {
    "unbiased": unbiased,
    "coverage": coverage,
    "quadratic": quadratic,
    "floor": floor,
    "cost": cost,
    "games": games,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--out", default=Path(__file__).parent / "results" / "noise.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(asked.out)
    found = json.loads(out.read_text()) if asked.parts and out.exists() else {}
    for name in asked.parts or PARTS:
        start = time.process_time()
        found[name] = PARTS[name]()
        found.setdefault("CPU s", {})[name] = round(time.process_time() - start, 1)
        print(name, json.dumps(found[name], indent=1), found["CPU s"][name], flush=True)
    found["versions"] = {"gantlet": gantlet.__version__, "torch": torch.__version__}
    out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
