"""How often the alarms of ``gantlet.Watch`` are false on healthy runs, and how soon they are true.

python benchmarks/watch_alarms.py [--healthy 100] [--seeds 20] [--workers 1] [--out FILE]

Everything goes through Watch, as in a loop of a user, with KID alone, as no alarm looks at the
other metrics:

* healthy, scheduled: a generator whose samples become real ones step by step, while the weights of
  its eight modes go up and down from look to look;
* healthy, trained: a network that is trained on the energy distance to its data, a loss that no
  critic can spoil;
* collapse: a healthy run whose generator is frozen to three latents from some look on;
* copying: a healthy run whose generator returns training samples with a little noise from then on.

Takes about two minutes of CPU time.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

import gantlet

FAULTS = ("collapse", "copying")
LOOKS, EVERY, N = 24, 10, 300
MODES = torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4])


def ring(n, rng, weights=None, width=0.08):
    """Returns n points of eight normal distributions on a circle."""
    weights = torch.ones(8) if weights is None else weights
    which = torch.multinomial(weights, n, replacement=True, generator=rng)
    return MODES[which] + width * torch.randn(n, 2, generator=rng)


def scheduled(seed):
    """Returns a function of the step: a sampler that becomes real within the run."""
    rng = gantlet.Rng(seed).stream("schedule")
    slow, best = float(torch.rand((), generator=rng)), float(torch.rand((), generator=rng))

    def at(step):
        done = min(1.0, step / (EVERY * LOOKS) * (0.7 + slow))
        weights = 1 + 0.6 * torch.rand(8, generator=rng)
        width = 0.08 + (0.5 + best) * (1 - done) ** 2
        return lambda n, generator: ring(n, generator, weights, width)

    return at


def trained(seed, data):
    """Returns a function of the step: a network in training on the energy distance."""
    rng = gantlet.Rng(seed).stream("training")
    net = nn.Sequential(
        nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=rng))
    adam = torch.optim.Adam(net.parameters(), 2e-3)

    def at(step):
        for group in adam.param_groups:
            group["lr"] = 4e-3 * (1 - step / (EVERY * LOOKS))
        for _ in range(EVERY):
            real = data[torch.randint(len(data), (128,), generator=rng)]
            fake = net(torch.randn(128, 8, generator=rng))
            loss = 2 * torch.cdist(fake, real).mean() - torch.cdist(fake, fake).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        return net

    return at


def run(seed, kind, after=None):
    """Returns the looks after which each alarm was raised, counted from the fault or the start."""
    rng = gantlet.Rng(seed).stream("data")
    data, held_out = ring(800, rng), ring(700, rng)
    watch = gantlet.Watch(
        held_out,
        train=data,
        every=EVERY,
        samples=N,
        metrics=["kid"],
        share=None,
        seed=seed,
        to=(),
    )
    generator = trained(seed, data) if kind == "trained" else scheduled(seed)
    for look in range(LOOKS):
        sampler = generator(look * EVERY)
        if after is not None and look >= after:
            sampler = faulty(kind, data, sampler, seed)
        watch(look * EVERY, sample=sampler)
        if after is not None and look >= after + 1:
            break
    watch.report()
    failed = [x.note for x in watch.looks if x.note]
    assert not failed, failed
    return {a.kind: a.step // EVERY - (after or 0) for a in watch.alarms}


def faulty(kind, data, sampler, seed):
    """Returns the sampler with a planted fault."""
    rng = gantlet.Rng(seed).stream("fault")
    if kind == "copying":
        own = data[torch.randperm(len(data), generator=rng)[:400]]

        def copies(n, generator):
            which = torch.randint(len(own), (n,), generator=generator)
            return own[which] + 1e-3 * torch.randn(n, 2, generator=generator)

        return copies
    few = sampler(3, generator=rng)
    return lambda n, generator: few[torch.randint(3, (n,), generator=generator)]


def job(asked):
    start = time.process_time()
    found = run(*asked)
    print(*asked, found, flush=True, file=sys.stderr)
    return found, time.process_time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--healthy", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    kinds = ["scheduled", "trained"]
    healthy = [(1000 + s, kinds[s % 2], None) for s in range(asked.healthy)]
    faults = [(s, kind, 8 + s % 8) for s in range(asked.seeds) for kind in FAULTS]
    jobs, done = [*healthy, *faults], {}
    with ProcessPoolExecutor(asked.workers, get_context("spawn")) as pool:
        for one, found in zip(jobs, pool.map(job, jobs), strict=True):
            done[one] = found
            # Runs so far, in case it is stopped.
            if asked.out is not None:
                asked.out.write_text(json.dumps(summary(done), indent=2) + "\n")
    print(json.dumps(summary(done), indent=2))


def summary(done):
    healthy = {j: found for j, (found, _) in done.items() if j[2] is None}
    alarmed = {j: found for j, found in healthy.items() if found}
    result = {
        "looks": LOOKS,
        "samples": N,
        "healthy": {
            "runs": len(healthy),
            "alarmed": len(alarmed),
            "by kind": dict(Counter(kind for found in alarmed.values() for kind in found)),
            "seeds": [seed for seed, *_ in alarmed],
        },
    }
    for kind in FAULTS:
        found = [f.get(kind) for j, (f, _) in done.items() if j[1] == kind]
        result[kind] = {
            "seeds": len(found),
            "found within two looks": sum(f in (0, 1) for f in found),
            "at the first look": sum(f == 0 for f in found),
        }
    result["cpu seconds"] = round(sum(seconds for _, seconds in done.values()), 1)
    result["versions"] = {"gantlet": gantlet.__version__, "torch": torch.__version__}
    return result


if __name__ == "__main__":
    main()
