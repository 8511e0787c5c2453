"""Planted flaws: how many are found, in which order, under which name, and how often none is one.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/planted_flaws.py
Needs the files of GANTLET_DATA. 8x8 digits, MNIST and 32x32 colour images (the lossless part of
CIFAR-10), 50 combinations of 1 to 4 flaws of 11 kinds in random strength, and 40 pairs of
undamaged sets. The seeds of combinations begin at 1000; thresholds were set on single damages of
colour images with other seeds. The same images stand behind both.

A planted flaw counts if, planted alone, it shifts one of the measurements that it is about by at
least 0.3 standard deviations. It is found if the list holds a flaw named after one of these. A
name is right if it is about any of the planted flaws. The order is that of Kendall's tau between
these shifts and the sizes in the list, over lists with at least two flaws found. Compared are the
PCA mode, INLP (the direction of a linear critic, taken away, until it tells no more), LEACE (one
such step) and plain C2ST, which gives one number and no list. All see the same; INLP and LEACE see
measurements beside features. The names of ways after the command leave out the others. The result
goes to benchmarks/results/planted_flaws.json.
"""

import gzip
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.critics.flaw import Flaw
from gantlet.critics.halves import Halves, Pair, Seen
from gantlet.critics.left import ridge_accuracy
from gantlet.critics.line import gap
from gantlet.critics.listing import Search, list_flaws
from gantlet.critics.naming import Namer
from gantlet.critics.vocabulary import REPEATS, probes_of
from gantlet.data.damage import blur, hue, jpeg, noise

RESULT = Path(__file__).parent / "results" / "planted_flaws.json"
DATA = Path(os.environ.get("GANTLET_DATA", "../shared/data")) / "images"
LISTS, UNDAMAGED, FIRST, SMALLEST = 50, 40, 1000, 0.3
STEPS = 12
WAYS = ("guided", "pca", "inlp", "leace", "c2st")

Draw = torch.Generator
Samples = tuple[Tensor, Tensor]


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


def rest(x: Tensor, top: float) -> Tensor:
    return x.round().clamp(0, top)


def board(x: Tensor, top: float, s: float) -> Tensor:
    h, w = x.shape[2:]
    rows, columns = (torch.tensor([1.0, -1.0]).repeat(k)[:k] for k in (h, w))
    # Where there is room on both sides, so that nothing is cut off.
    return x * (1 - 2 * s) + top * s * (1 + rows[:, None] * columns)


def contrast(x: Tensor, s: float) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 - s)


def seams(x: Tensor, s: float, rng: Draw) -> Tensor:
    made, count, half = x.clone(), round(s * len(x)), x.shape[3] // 2
    made[:count, :, :, half:] = x[torch.randperm(len(x), generator=rng)[:count], :, :, half:]
    return made


def copies(x: Tensor, s: float, rng: Draw) -> Tensor:
    made, kept = x.clone(), len(x) - round(s * len(x))
    made[kept:] = x[torch.randint(kept, (len(x) - kept,), generator=rng)]
    return made[torch.randperm(len(x), generator=rng)]


KINDS = (
    "bright",
    "contrast",
    "blur",
    "noise",
    "checkerboard",
    "jpeg",
    "hue",
    "dropped class",
    "frequent class",
    "copies",
    "lost correlation",
)
ABOUT = {
    "bright": {"brightness"},
    "contrast": {"contrast"},
    "blur": {"fine detail"},
    "noise": {"fine detail"},
    "checkerboard": {"checkerboard"},
    "jpeg": {"block edges", "fine detail"},
    "hue": {"colour"},
    "copies": {REPEATS.topic},
    "lost correlation": {"middle seam", "mirror symmetry"},
}


def fits(space: Space) -> list[str]:
    left_out = {"hue"} if space.shape[0] == 1 else {"dropped class", "frequent class"}
    return [k for k in KINDS if k not in left_out and (k != "jpeg" or space.shape[1] >= 16)]


def damaged(kind: str, x: Tensor, space: Space, s: float, rng: Draw) -> Tensor:
    """Images with one flaw in a strength from 0 to 1."""
    top = float((space.levels or 2) - 1)
    levels = space.levels or 2
    changes: dict[str, Callable[[], Tensor]] = {
        "bright": lambda: rest(x + top * (0.05 + 0.15 * s), top),
        "contrast": lambda: rest(contrast(x, 0.15 + 0.35 * s), top),
        "blur": lambda: blur(x, levels, (0.5 + 0.6 * s) * 4 / x.shape[2]),
        "noise": lambda: noise(x, levels, 0.04 + 0.16 * s, rng),
        "checkerboard": lambda: board(x, top, 0.01 + 0.05 * s),
        "jpeg": lambda: jpeg(x, levels, 0.3 + 0.5 * s),
        "hue": lambda: hue(x, levels, 0.1 + 0.4 * s),
        "copies": lambda: copies(x, 0.3 + 0.6 * s, rng),
        "lost correlation": lambda: seams(x, 0.3 + 0.7 * s, rng),
    }
    return changes[kind]()


def resampled(kind: str, of: Samples, k: int, n: int, s: float) -> Samples:
    """``n`` samples of which class ``k`` has fewer or more than its share; none twice."""
    x, y = of
    own, others = (y == k).nonzero()[:, 0], (y != k).nonzero()[:, 0]
    share = len(own) / len(y)
    wanted = share * (1 - s) if kind == "dropped class" else share * (1 + 2 * s)
    count = min(round(wanted * n), len(own))
    chosen = torch.cat([own[:count], others[: n - count]])
    return x[chosen], y[chosen]


class World:
    """One data set: what is seen of its samples, and pairs of sets."""

    def __init__(self, load: Callable[[], tuple[Space, Tensor, Tensor, int]]) -> None:
        self.space, self.x, self.y, self.n = load()
        self.few = len(self.x) // 4
        order = torch.randperm(len(self.x), generator=Rng(7).stream("world"))
        self.learn, self.pool = order[: self.few], order[self.few :]
        flat = self.flat(self.x[self.learn])
        hot = torch.nn.functional.one_hot(self.y[self.learn], 10).double()
        inner = flat.T @ flat + 1e-2 * len(flat) * torch.eye(flat.shape[1], dtype=flat.dtype)
        self.weight = torch.linalg.solve(inner, flat.T @ hot)

    def flat(self, x: Tensor) -> Tensor:
        z = self.space.unit(x)
        z = avg_pool2d(z, 2) if z.shape[2] > 8 else z
        z = z.flatten(1).double()
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    def seen(self, x: Tensor) -> Seen:
        flat, classes = self.flat(x), None
        if self.space.shape[0] == 1:
            classes = torch.nn.functional.one_hot((flat @ self.weight).argmax(1), 10)
        return Seen(probes=probes_of(self.space, x, classes), features=flat[:, :-1])

    def draw(self, seed: int) -> tuple[Samples, Samples]:
        order = self.pool[torch.randperm(len(self.pool), generator=Rng(seed).stream("draw"))]
        first, second = order[: self.n], order[self.n :]
        return (self.x[first], self.y[first]), (self.x[second], self.y[second])


def planted(world: World, seed: int) -> tuple[Seen, Seen, list[tuple[set[str], float]]]:
    """Real and damaged samples, and what each flaw is about and how large it is alone."""
    (real, _), (x, y) = world.draw(seed)
    rng = Rng(seed).stream("plan")
    possible = fits(world.space)
    count = 1 + int(torch.randint(4, (1,), generator=rng))
    kinds = [possible[i] for i in torch.randperm(len(possible), generator=rng)[:count].tolist()]
    kinds = [k for k in KINDS if k in kinds and not (k == "noise" and "blur" in kinds)]
    kinds = [k for k in kinds if k != "frequent class" or "dropped class" not in kinds]
    strengths = {k: float(torch.rand((), generator=rng)) for k in kinds}
    one = int(torch.randint(10, (1,), generator=rng))
    n, seen_real, plan = min(world.n, len(x)), world.seen(real), []
    plain = world.seen(x[:n])
    now = (x, y)
    # Classes first: they choose samples; copies last, so that nothing parts them.
    for kind in sorted(kinds, key=lambda k: (not k.endswith("class"), k == "copies")):
        s = strengths[kind]
        if kind.endswith("class"):
            now = resampled(kind, now, one, n, 0.6 + 0.4 * s)
            alone = world.seen(resampled(kind, (x, y), one, n, 0.6 + 0.4 * s)[0])
            about = {f"class {one}"}
        else:
            now = damaged(kind, now[0][:n], world.space, s, rng), now[1][:n]
            alone = world.seen(damaged(kind, x[:n], world.space, s, rng))
            about = ABOUT[kind]
        plan.append((about, size_of(seen_real, plain, alone, about, s)))
    mixed = torch.randperm(len(now[0]), generator=rng)
    return seen_real, world.seen(now[0][mixed]), plan


def size_of(real: Seen, plain: Seen, alone: Seen, about: set[str], s: float) -> float:
    """How far a damage alone shifts what it is about, in deviations of real samples."""
    if about == {REPEATS.topic}:
        share = 0.3 + 0.6 * s
        halves = Halves.of(plain, alone, rng=Rng(0))
        return max(abs(float(halves.judge.shift()[-1])), share)
    columns = [j for j, w in enumerate(real.probes.words) if w.topic in about]
    shift = alone.probes.values.mean(0) - plain.probes.values.mean(0)
    return float((shift / real.probes.values.std(0).clamp_min(1e-9))[columns].abs().max())


def critic_list(real: Seen, fake: Seen, steps: int, rng: Rng) -> list[Flaw]:
    """The directions of a linear critic, each taken away, until it tells no more."""
    halves = Halves.of(real, fake, rng=rng)
    seek, judge = (
        Pair(real=torch.cat([a.real, b.real], 1), fake=torch.cat([a.fake, b.fake], 1))
        for a, b in ((halves.seek, halves.seek_features), (halves.judge, halves.judge_features))
    )
    namer, found = Namer(halves, 199, rng), list[Flaw]()
    for k in range(steps):
        told = ridge_accuracy(seek.both(), judge.both())
        if told.low is None or told.low <= 0.5:
            break
        z, shift = seek.both() - seek.both().mean(0), seek.shift()
        inner = z.T @ z / len(z) + 0.1 * torch.eye(z.shape[1], dtype=z.dtype)
        u = torch.nn.functional.normalize(torch.linalg.solve(inner, shift), dim=0)
        first, second = (Pair(real=p.real @ u, fake=p.fake @ u) for p in (seek, judge))
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        found.append(namer.flaw(first, second, apart, 0.0, number=k + 1))
        seek, judge = (
            Pair(
                real=p.real - torch.outer(p.real @ u, u), fake=p.fake - torch.outer(p.fake @ u, u)
            )
            for p in (seek, judge)
        )
    return found


def listed(way: str, real: Seen, fake: Seen, seed: int) -> tuple[list[Flaw], bool]:
    """The list of a way, and whether it says that anything is wrong."""
    rng = Rng(seed)
    if way in ("guided", "pca"):
        search = Search(mode=way, permutations=499)
        found = list(list_flaws(real, fake, search, rng=rng).flaws)
        return found, bool(found)
    found = critic_list(real, fake, {"inlp": STEPS, "leace": 1, "c2st": 1}[way], rng)
    return ([] if way == "c2st" else found), bool(found)


class Tally:
    """What one way got right."""

    def __init__(self) -> None:
        self.planted = self.found = self.named = self.right = self.lists = self.false = 0
        self.unnamed, self.order = 0, list[float]()

    def add(self, flaws: list[Flaw], plan: list[tuple[set[str], float]]) -> None:
        topics = {f.naming.topic: f.size.value or 0.0 for f in reversed(flaws) if f.naming}
        about = set[str]().union(*(a for a, _ in plan))
        self.named += len(topics)
        self.right += sum(t in about for t in topics)
        self.unnamed += sum(f.naming is None for f in flaws)
        large = [(a, size) for a, size in plan if size >= SMALLEST]
        self.planted += len(large)
        seen = [
            (size, max(topics[t] for t in a & set(topics))) for a, size in large if a & set(topics)
        ]
        self.found += len(seen)
        if len(seen) > 1:
            tau = float(kendalltau(*zip(*seen, strict=True)).statistic)
            self.order += [] if math.isnan(tau) else [tau]

    def result(self) -> dict[str, object]:
        def share(count: int, n: int) -> list[float | None]:
            e = proportion(count, n)
            return [None if v is None else round(v, 3) for v in (e.value, e.low, e.high)]

        return {
            "planted flaws found": share(self.found, self.planted),
            "names that are right": share(self.right, self.named),
            "false lists on undamaged data": share(self.false, self.lists),
            "mean Kendall tau": round(float(np.mean(self.order)), 3) if self.order else None,
            "lists with an order": len(self.order),
            "unnamed flaws a list": round(self.unnamed / LISTS, 2),
        }


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    worlds = [World(load) for load in (digits, mnist, colour)]
    tallies = {way: Tally() for way in sys.argv[1:] or WAYS}
    for i in range(LISTS):
        real, fake, plan = planted(worlds[i % 3], FIRST + i)
        for way, tally in tallies.items():
            tally.add(listed(way, real, fake, i)[0], plan)
        print(
            f"{i + 1} of {LISTS} lists, {time.process_time() - start:.0f} CPU s", file=sys.stderr
        )
    for i in range(UNDAMAGED):
        world = worlds[i % 3]
        (real, _), (other, _) = world.draw(2 * FIRST + i)
        sets = world.seen(real), world.seen(other[: world.n])
        for way, tally in tallies.items():
            tally.lists += 1
            tally.false += listed(way, *sets, i)[1]
    result = {
        "what": "planted flaws: shares with their 95 % interval",
        "lists": LISTS,
        "undamaged pairs": UNDAMAGED,
        "cpu seconds": round(time.process_time() - start),
        "ways": {way: tally.result() for way, tally in tallies.items()},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
