"""Planted flaws: how many are found, in which order, under which name, and how often none is one.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/planted_flaws.py
Needs the files of GANTLET_DATA. 8x8 digits, MNIST and 32x32 colour images (the lossless part of
CIFAR-10), 50 combinations of 1 to 5 flaws of 11 kinds in random strength
(gantlet.testing.planted),
and 200 pairs of undamaged sets. The seeds of combinations begin at 9000, those of undamaged pairs
at 9500; everything was set on other ones. The same images stand behind both.

A planted flaw counts if, planted alone on a large sample, it shifts one of the measurements that
it is about by at least the detection size that the list states for its samples. It is found if the
list holds a flaw named after one of these. Given too: the share of those that also add as much to
the others of their combination (a JPEG file wipes out weak noise). A name is right in the strict
sense if it is about one of the planted flaws; in the lenient sense also if one of them, planted
alone, shifts what it names by at least the detection size: blur lowers contrast. The order is that
of Kendall's tau between the Wasserstein sizes of the flaws planted alone and the sizes in the
list, over lists with at least two flaws found.

Compared are the list without explaining what is measured by damages, the PCA mode, INLP (the
direction of a linear critic, taken away, until it tells no more), LEACE (one such step) and plain
C2ST, which gives one number and no list. All see the same; INLP and LEACE see measurements beside
features. The damages that explain are of the kinds that are planted, though blur and noise follow
other laws than the planted ones. To save time undamaged sets have 400 samples, and the other ways
get the first 12 combinations and the first 12 pairs. With the argument guided or others only these
are measured. The result goes to benchmarks/results/planted_flaws.json.
"""

import gzip
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, one_hot

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.domains.corruptions import image_causes
from gantlet.domains.domains import attributes_of
from gantlet.flaws.explain import Causes
from gantlet.flaws.named import Namer
from gantlet.flaws.search import list_flaws, ridge_accuracy
from gantlet.flaws.split import DiscoveryValidation, Flaw, Representation
from gantlet.options import Search
from gantlet.stats.intervals import proportion, t_quantile
from gantlet.stats.permutation import TwoSamples, detectable_shift, gap
from gantlet.testing.planted import (
    IMAGE_KINDS,
    Effect,
    Labelled,
    Planted,
    effects_among,
    plant,
    random_plan,
    side_effects,
    true_effect,
    true_effects,
)

RESULT = Path(__file__).parent / "results" / "planted_flaws.json"
DATA = Path(os.environ.get("GANTLET_DATA", "../shared/data")) / "images"
LISTS, LISTS_OF_OTHERS, FIRST = 50, 12, 9000
UNDAMAGED, UNDAMAGED_OF_OTHERS, FIRST_UNDAMAGED = 200, 12, 9500
STEPS, TRIED, LARGE, FEW = 12, 128, 800, 400
WAYS = ("guided", "guided, unexplained", "pca", "inlp", "leace", "c2st")
LEVEL, SMALLEST = 0.05, 0.2

Listed = dict[str, tuple[list[Flaw], bool]]
"""By way: the list, and whether the way says that anything is wrong."""


def digits() -> tuple[Space, Tensor, Tensor, int]:
    found = load_digits()
    x = torch.from_numpy(found.images).float()[:, None]
    return Space("image", (1, 8, 8), 17), x, torch.from_numpy(found.target).long(), 600


def mnist() -> tuple[Space, Tensor, Tensor, int]:
    folder = DATA / "mnist"
    pixels = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = torch.from_numpy(np.frombuffer(pixels, np.uint8, offset=16).copy()).view(-1, 1, 28, 28)
    y = torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).copy()).long()
    return Space("image", (1, 28, 28), 256), x.float(), y, 1200


def colour() -> tuple[Space, Tensor, Tensor, int]:
    found = np.load(DATA / "cifar10" / "cifar10_lossless_first4000.npz", allow_pickle=False)
    x = torch.from_numpy(found["x"]).permute(0, 3, 1, 2).float()
    return Space("image", (3, 32, 32), 256), x, torch.from_numpy(found["y"]).long(), 1200


DATASETS: tuple[Callable[[], tuple[Space, Tensor, Tensor, int]], ...] = (digits, mnist, colour)


class World:
    """One data set: what is seen of its samples, and pairs of sets."""

    def __init__(self, load: Callable[[], tuple[Space, Tensor, Tensor, int]]) -> None:
        self.space, x, y, self.n = load()
        order = torch.randperm(len(x), generator=Rng(7).stream("world"))
        few = len(x) // 4
        learn, pool = order[:few], order[few:]
        self.pool = Labelled(x=x[pool], y=y[pool])
        flat = self.flat(x[learn])
        hot = one_hot(y[learn], 10).double()
        inner = flat.T @ flat + 1e-2 * len(flat) * torch.eye(flat.shape[1], dtype=flat.dtype)
        self.weight = torch.linalg.solve(inner, flat.T @ hot)
        self.causes = Causes(
            image_causes(self.space),
            self.space.unit(x[learn[:TRIED]]),
            measure=lambda z: self.seen((z * self.top).round()).probes,
            extract=lambda z: self.seen((z * self.top).round()).features,
            every=lambda places: self.space.unit(x[learn[places]]),
        )

    @property
    def top(self) -> int:
        return (self.space.levels or 2) - 1

    @property
    def classes(self) -> int:
        return 10 if self.space.shape[0] == 1 else 0

    def flat(self, x: Tensor) -> Tensor:
        z = self.space.unit(x)
        z = avg_pool2d(z, 2) if z.shape[2] > 8 else z
        z = z.flatten(1).double()
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    def seen(self, x: Tensor) -> Representation:
        flat, classes = self.flat(x), None
        if self.classes:
            classes = one_hot((flat @ self.weight).argmax(1), self.classes)
        return Representation(probes=attributes_of(self.space, x, classes), features=flat[:, :-1])

    def draw(self, seed: int) -> tuple[Labelled, Labelled]:
        """Real samples, and all that are left."""
        order = torch.randperm(len(self.pool.y), generator=Rng(seed).stream("draw"))
        return self.pool.at(order[: self.n]), self.pool.at(order[self.n :])

    def lists(self, real: Tensor, fake: Tensor, seed: int, ways: Iterable[str]) -> Listed:
        """What each way finds, and whether it says that anything is wrong."""
        sets, made = (self.seen(real), self.seen(fake)), Listed()
        search = Search(level=LEVEL, min_effect=SMALLEST, permutations=999)
        if "guided" in ways:
            causes = self.causes.of(lambda places: self.space.unit(real[places]))
            flaws = list_flaws(*sets, search, rng=Rng(seed), causes=causes).flaws
            made["guided"] = list(flaws), bool(flaws)
        if "guided, unexplained" in ways:
            flaws = list_flaws(*sets, search, rng=Rng(seed)).flaws
            made["guided, unexplained"] = list(flaws), bool(flaws)
        if "pca" in ways:
            quick = Search(mode="pca", level=LEVEL, min_effect=SMALLEST, permutations=499)
            flaws = list_flaws(*sets, quick, rng=Rng(seed)).flaws
            made["pca"] = list(flaws), bool(flaws)
        if "inlp" in ways:
            flaws = critic_list(*sets, Rng(seed))
            told = bool(flaws)
            made |= {"inlp": (flaws, told), "leace": (flaws[:1], told), "c2st": ([], told)}
        return made


def stated(fake: Tensor) -> float:
    """The detection size that a list states for so many different fakes."""
    h = len(torch.unique(fake.flatten(1), dim=0)) // 2
    return detectable_shift(h, level=LEVEL, smallest=SMALLEST)


@cache
def world(i: int) -> World:
    return World(DATASETS[i % len(DATASETS)])


def critic_list(real: Representation, fake: Representation, rng: Rng) -> list[Flaw]:
    """The directions of a linear critic, each taken away, until it tells no more."""
    halves = DiscoveryValidation.of(real, fake, rng=rng)
    seek, judge = (
        TwoSamples(real=torch.cat([a.real, b.real], 1), fake=torch.cat([a.fake, b.fake], 1))
        for a, b in ((halves.seek, halves.seek_features), (halves.judge, halves.judge_features))
    )
    namer, found = Namer(halves), list[Flaw]()
    for k in range(STEPS):
        told = ridge_accuracy(seek.both(), judge.both())
        if told.low is None or told.low <= 0.5:
            break
        z, shift = seek.both() - seek.both().mean(0), seek.shift()
        inner = z.T @ z / len(z) + 0.1 * torch.eye(z.shape[1], dtype=z.dtype)
        u = normalize(torch.linalg.solve(inner, shift), dim=0)
        first, second = (TwoSamples(real=p.real @ u, fake=p.fake @ u) for p in (seek, judge))
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        found.append(namer.flaw(first, second, apart, 0.0, number=k + 1))
        seek, judge = (
            TwoSamples(
                real=p.real - torch.outer(p.real @ u, u), fake=p.fake - torch.outer(p.fake @ u, u)
            )
            for p in (seek, judge)
        )
    return found


@dataclass
class Tally:
    """What one way got right."""

    planted: int = 0
    found: int = 0
    visible: int = 0
    visible_found: int = 0
    named: int = 0
    strict: int = 0
    lenient: int = 0
    unnamed: int = 0
    lists: int = 0
    undamaged: int = 0
    false: int = 0
    order: list[float] = field(default_factory=list)

    def add(
        self,
        flaws: list[Flaw],
        plan: list[Planted],
        effects: list[dict[str, Effect]],
        among: list[Effect],
        detectable: float,
    ) -> None:
        topics = {f.naming.topic: f.size.value or 0.0 for f in reversed(flaws) if f.naming}
        about = frozenset[str]().union(*(p.about for p in plan))
        aside = about | side_effects(effects, detectable)
        self.lists += 1
        self.named += len(topics)
        self.strict += sum(t in about for t in topics)
        self.lenient += sum(t in aside for t in topics)
        self.unnamed += sum(f.naming is None for f in flaws)
        truth = [(p, true_effect(p, e)) for p, e in zip(plan, effects, strict=True)]
        large = [(p, e.size) for p, e in truth if e.shift >= detectable]
        visible = [
            p.about
            for (p, e), left in zip(truth, among, strict=True)
            if min(e.shift, left.shift) >= detectable
        ]
        self.visible += len(visible)
        self.visible_found += sum(bool(about & set(topics)) for about in visible)
        self.planted += len(large)
        seen = [
            (size, max(topics[t] for t in p.about & set(topics)))
            for p, size in large
            if p.about & set(topics)
        ]
        self.found += len(seen)
        if len(seen) > 1:
            tau = float(kendalltau(*zip(*seen, strict=True)).statistic)
            self.order += [] if math.isnan(tau) else [tau]

    def plus(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, k) + getattr(other, k) for k in self.__dataclass_fields__))

    def result(self) -> dict[str, object]:
        return {
            "planted flaws found": _share(self.found, self.planted),
            "found of those not wiped out by others": _share(self.visible_found, self.visible),
            "names that are right, strict": _share(self.strict, self.named),
            "names that are right, lenient": _share(self.lenient, self.named),
            "false lists on undamaged data": _share(self.false, self.undamaged),
            "undamaged pairs": self.undamaged,
            "mean Kendall tau": _mean(self.order),
            "lists": self.lists,
            "lists with an order": len(self.order),
            "planted flaws above the detection size": self.planted,
            "unnamed flaws a list": round(self.unnamed / max(self.lists, 1), 2),
        }


def _share(count: int, n: int) -> list[float | None]:
    e = proportion(count, n)
    return [None if v is None else round(v, 3) for v in (e.value, e.low, e.high)]


def _mean(values: list[float]) -> list[float | None] | None:
    """The mean with its interval of Student's t."""
    if not values:
        return None
    mean, n = float(np.mean(values)), len(values)
    if n < 3:
        return [round(mean, 3), None, None]
    half = t_quantile(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return [round(v, 3) for v in (mean, mean - half, min(1.0, mean + half))]


def combination(ways: tuple[str, ...], i: int) -> dict[str, Tally]:
    """Plants flaws and lists them in every way."""
    torch.set_num_threads(1)
    w, seed = world(i), FIRST + i
    real, rest = w.draw(seed)
    plan = random_plan(w.space, classes=w.classes, rng=Rng(seed).stream("plan"))
    fake = plant(plan, rest, w.space, w.n, rng=Rng(seed).stream("plant"))
    large = w.pool.at(torch.arange(min(len(w.pool.y), LARGE)))
    effects = [true_effects(p, w.pool, w.space, w.seen, n=w.n, of=len(rest.y)) for p in plan]
    among = [
        true_effect(p, effects_among(p, plan, large, w.space, w.seen))
        if p.kind in IMAGE_KINDS and p.kind != "copies"
        else true_effect(p, e)
        for p, e in zip(plan, effects, strict=True)
    ]
    tallies: dict[str, Tally] = {}
    for way, (flaws, _) in w.lists(real.x, fake, i, ways).items():
        tallies[way] = Tally()
        tallies[way].add(flaws, plan, effects, among, stated(fake))
    return tallies


def undamaged(ways: tuple[str, ...], i: int) -> dict[str, Tally]:
    """Lists the flaws of real samples."""
    torch.set_num_threads(1)
    w = world(i)
    real, rest = w.draw(FIRST_UNDAMAGED + i)
    lists = w.lists(real.x[:FEW], rest.x[:FEW], i, ways)
    return {way: Tally(undamaged=1, false=int(said)) for way, (_, said) in lists.items()}


def measure(ways: tuple[str, ...], lists: int, pairs: int) -> None:
    """Measures, and keeps what is known after each list."""
    total, start = {way: Tally() for way in ways}, time.time()
    with ProcessPoolExecutor(max_workers=2) as pool:
        order = sorted(
            [(i / lists, True, i) for i in range(lists)]
            + [(i / pairs, False, i) for i in range(pairs)]
        )
        jobs = [
            pool.submit(combination if planted else undamaged, ways, i) for _, planted, i in order
        ]
        for done, job in enumerate(as_completed(jobs), 1):
            total |= {way: total[way].plus(tally) for way, tally in job.result().items()}
            keep({way: tally.result() for way, tally in total.items()})
            told = f"{done} of {len(jobs)}, {time.time() - start:.0f} s"
            print(told, total[ways[0]], file=sys.stderr)


def keep(found: dict[str, dict[str, object]]) -> None:
    known = json.loads(RESULT.read_text())["ways"] if RESULT.exists() else {}
    known |= found
    result = {
        "what": "planted flaws: shares with their 95 % interval",
        "first seeds": [FIRST, FIRST_UNDAMAGED],
        "ways": {way: known[way] for way in WAYS if way in known},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    if "others" not in sys.argv[1:]:
        measure(WAYS[:1], LISTS, UNDAMAGED)
    if "guided" not in sys.argv[1:]:
        measure(WAYS[1:], LISTS_OF_OTHERS, UNDAMAGED_OF_OTHERS)
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
