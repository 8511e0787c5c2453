"""Models of spoken digits (FSDD) at a budget of CPU seconds, between noise and their codec.

    python benchmarks/spoken_digits.py FSDD.tar.gz 100 spec-gan wavenet

prints the inception score and the Frechet distance of 300 clips on the features of a classifier of
the digits, with 95 % intervals: for held-out clips (floor and ceiling), noise, both codecs, and
each model at three shares of the budget. The averaged weights are judged. One seed.
"""

import copy
import sys
import time

import torch

from gantlet.core.data import all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors, families, solvers
from gantlet.metrics.classifier import InceptionScore
from gantlet.metrics.frechet import Frechet

SHARES, BATCH, COUNT = (0.3, 0.6, 1.0), 32, 300


class Judge:
    """Compares clips with held-out ones on the features of a classifier."""

    def __init__(self, data, splits):
        self.heard = extractors.make("classifier").fit(data.space, splits, rng=Rng(0))
        test = all_samples(splits.test)
        self.features, self.classes = self.heard.extract(test), self.heard.classify(test)
        print(self.heard.note)

    def show(self, name, x):
        p, y = self.heard.classify(x), self.heard.extract(x)
        score = InceptionScore().measure(self.classes, p, rng=Rng(0).stream("i"))
        distance = Frechet().measure(self.features, y, rng=Rng(0).stream("f"))
        ends = " ".join(
            f"{what} {e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
            for what, e in (("inception score", score), ("Frechet", distance))
        )
        print(f"{name}: {ends}, {len(p.argmax(1).unique())} classes, n {len(x)}", flush=True)


def trained(name, data, x, budget, judge):
    family = families.make(name)
    game = family.build(data.space, rng=Rng(0))
    game.prepare(x[:128], rng=Rng(0).stream("prepare"))
    play, order = solvers.make(family.solver).start(game), Rng(0).stream("order")
    average, start, step = copy.deepcopy(game.model), time.process_time(), 0
    for share in SHARES:
        while time.process_time() - start < share * budget:
            batch = x[torch.randint(len(x), (BATCH,), generator=order)]
            play.step(batch, rng=Rng(step).stream("step"))
            step += 1
            decay = min(family.ema, 1 - 1 / step)
            for a, b in zip(average.parameters(), game.model.parameters(), strict=True):
                a.data.lerp_(b.data, 1 - decay)
        before = time.process_time()
        for a, b in zip(average.buffers(), game.model.buffers(), strict=True):
            a.copy_(b)
        clips = average.sample(COUNT, rng=Rng(1).stream("samples"))
        taken = time.process_time() - before
        label = f"{name}, {step} steps, {before - start:.0f} CPU s, sampling {taken:.2f} CPU s"
        judge.show(label, clips)
        start += time.process_time() - before


def main(path, budget, *names):
    torch.set_num_threads(1)
    data = datasets.make(f"audio:path={path},labels=name,length=4096")
    splits = data.load(rng=Rng(0))
    judge, x = Judge(data, splits), all_samples(splits.train)
    judge.show("held-out", all_samples(splits.validation))
    judge.show("noise", 0.1 * torch.randn(COUNT, 1, 4096, generator=Rng(0).stream("noise")))
    for codec in ("codec", "codec:representation=if"):
        model = families.make(codec).fit(data.space, x, rng=Rng(0)).model
        judge.show(codec, model.sample(COUNT, rng=Rng(0).stream("samples")))
    for name in names:
        trained(name, data, x, float(budget), judge)


if __name__ == "__main__":
    main(*sys.argv[1:])
