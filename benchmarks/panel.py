"""Does a panel of encoders name the one that a generator was tuned against, and no other?

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/panel.py
Needs the files of the data directory, and gantlet[images]. Three parts, about ten CPU minutes:

- tuned: a published GAN of MNIST is fine-tuned on the Frechet distance of the 84 features of a
  published LeNet-5, from ten seeds; 500 of its samples are held against those from before.
- untouched: sets of published models of MNIST and Fashion-MNIST at one epoch against the next that
  was published. They change a lot, by every encoder.
- simulated: logs of gains that are normal and alike for all encoders, 2,000 draws for each number
  of encoders, mean and standard deviation: how often is any of them named?

The result goes to benchmarks/results/panel.json, with exact binomial intervals in per cent.
"""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

import gantlet
from gantlet.commands.evaluate.panel import Gain, Reading, gains, reading, together
from gantlet.core.data import InMemory, Splits
from gantlet.data.catalogue import home
from gantlet.features.weights import read
from gantlet.stats.intervals import proportion

RESULT = Path(__file__).parent / "results" / "panel.json"
DATA = home().resolve()
GREY = gantlet.Space("image", (1, 28, 28), 256)
OTHERS = ("efficientnet-lite0:size=48", "random-conv", "pca", "pixels")
LENET = "lenet"
N, STEPS, BATCH, SEEDS = 500, 300, 256, 10
COUNTS, MEANS, SPREADS, DRAWS = (4, 5, 6), (-0.5, 0.0, 1.0), (0.25, 0.5, 1.0), 2_000


def published(name: str) -> dict[str, Tensor]:
    return read(DATA / "weights" / name)


def lenet() -> nn.Module:
    """Returns the map from images ``(n, 1, 28, 28)`` in [0, 255] to 84 features."""
    table = published("mnist_lenet5_csinva.pth")

    class LeNet(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = interpolate(x / 255, (32, 32), mode="bilinear")
            x = (x - 0.1307) / 0.3081
            for name, pooled in (("c1", True), ("c3", True), ("c5", False)):
                x = torch.conv2d(x, table[f"convnet.{name}.weight"], table[f"convnet.{name}.bias"])
                x = max_pool2d(x.relu(), 2) if pooled else x.relu()
            return (x.flatten(1) @ table["fc.f6.weight"].T + table["fc.f6.bias"]).relu()

    return LeNet()


def accuracy(net: nn.Module, x: Tensor, labels: Tensor) -> float:
    table = published("mnist_lenet5_csinva.pth")
    logits = net(x) @ table["fc.f7.weight"].T + table["fc.f7.bias"]
    return float((logits.argmax(1) == labels).float().mean())


def generator() -> nn.Sequential:
    """Returns the published generator, from 64 normal numbers to images in [-1, 1]."""
    layers = (nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 784))
    net = nn.Sequential(*layers, nn.Tanh())
    net.load_state_dict(published("mnist_mlpgan_G_csinva.pth"))
    return net


def images(net: nn.Sequential, z: Tensor) -> Tensor:
    return ((net(z) + 1) * 127.5).view(-1, 1, 28, 28)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(0)
    return mean, (x - mean).T @ (x - mean) / (len(x) - 1)


def tuned(net: nn.Module, real: Tensor, seed: int) -> nn.Sequential:
    """Returns the generator after steps of Adam on the Frechet distance of ``net``'s features."""
    made, rng = generator(), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(made.parameters(), lr=2e-4)
    with torch.no_grad():
        mean, covariance = moments(net(real).double())
    ridge = 1e-4 * covariance.trace() / len(mean) * torch.eye(len(mean))
    root = torch.linalg.cholesky(covariance + ridge)
    for _ in range(STEPS):
        features = net(images(made, torch.randn(BATCH, 64, generator=rng))).double()
        m, s = moments(features)
        both = torch.linalg.eigvalsh(root.T @ (s + ridge) @ root).clamp_min(1e-12).sqrt().sum()
        loss = (m - mean).square().sum() + s.trace() - 2 * both
        adam.zero_grad()
        loss.backward()
        adam.step()
    return made


def rounded(x: Tensor) -> Tensor:
    return x.detach().round().clamp(0, 255)


class Panel:
    """The encoders, and what they see of reference and floor."""

    def __init__(self, data: Splits, real: Tensor, floor: Tensor) -> None:
        net = lenet()
        self.encoders = {LENET: torch.no_grad()(net)}
        for text in OTHERS:
            made = gantlet.components.extractors.make(text)
            self.encoders[text] = made.fit(GREY, data, rng=gantlet.Rng(0)).extract
        self.real = {k: e(real) for k, e in self.encoders.items()}
        self.floor = {k: e(floor) for k, e in self.encoders.items()}

    def of(self, x: Tensor) -> list[Reading]:
        found: list[Reading] = []
        for name, encoder in self.encoders.items():
            fake = encoder(x)
            floor = self.floor[name][: len(fake)]
            found.append(reading(name, self.real[name], floor, fake))
        return found


def plain(found: list[Gain]) -> dict[str, list[float]]:
    return {g.extractor: [round(g.own, 3), round(g.others, 3), round(g.p, 4)] for g in found}


def mnist() -> tuple[Tensor, Tensor]:
    data = gantlet.components.datasets.make("mnist")
    splits = data.load(rng=gantlet.Rng(0))
    index = torch.arange(4000)
    return splits.train.take(index).float(), splits.train.labels[index].long()


def fashion() -> tuple[Tensor, Tensor]:
    found = np.load(DATA / "images/fashion_mnist/fashion_mnist_t10k_first4443.npz")
    return torch.from_numpy(found["x"]).float().view(-1, 1, 28, 28), torch.from_numpy(found["y"])


def panel_for(x: Tensor, labels: Tensor) -> Panel:
    """Returns a panel on a reference and a floor; its encoders learn from other samples."""
    places = torch.arange(2 * N, len(x)).split([len(x) - 2 * N - 600, 300, 300])
    train, validation, test = (InMemory(x[i], labels[i].long()) for i in places)
    data = Splits(train=train, validation=validation, test=test)
    return Panel(data, x[:N], x[N : 2 * N])


def untouched(panel: Panel, kind: str) -> list[dict[str, object]]:
    """Returns what the panel says of each epoch against the one before it."""
    file = np.load(DATA / "images/generated/mnist_fashion_published_samples.npz")
    names = sorted(k for k in file.files if k.startswith(f"{kind}.") and ".epoch" in k)
    found: list[dict[str, object]] = []
    for _, keys in itertools.groupby(names, lambda k: k.rpartition(".")[0]):
        sets = [(k, panel.of(torch.from_numpy(file[k]).float()[:, None])) for k in keys]
        for (a, before), (b, after) in itertools.pairwise(sets):
            made = gains(before, after)
            alarms = [g.extractor for g in made if g.is_tuned]
            found.append({"from": a, "to": b, "alarms": alarms, "gains": plain(made)})
            print(a, b, alarms, flush=True)
    return found


def simulated() -> list[dict[str, object]]:
    """Returns how often an encoder is named where the gains of all are drawn alike."""
    found: list[dict[str, object]] = []
    for cell in itertools.product(COUNTS, MEANS, SPREADS):
        k, mean, spread = cell
        rng = torch.Generator().manual_seed(k)
        logs = mean + spread * torch.randn(DRAWS, k, generator=rng, dtype=torch.float64)
        alarms = sum(any(g.is_tuned for g in gains(drawn(0 * row), drawn(-row))) for row in logs)
        share = counted(alarms, DRAWS)
        found.append({"encoders": k, "mean": mean, "deviation": spread, "alarms": share})
        print(*cell, share, flush=True)
    return found


def drawn(logs: Tensor) -> list[Reading]:
    """Returns what encoders say if sampling noise is left out."""
    left = logs[:, None].expand(-1, 10)
    return [Reading(str(i), v, left[i], N) for i, v in enumerate(logs.tolist())]


def counted(count: int, n: int) -> list[float]:
    """Returns a count, of how many, and the share with its interval in per cent."""
    e = proportion(count, n)
    return [count, n, *(round(100 * (v or 0.0), 1) for v in (e.value, e.low, e.high))]


def fine_tuned(panel: Panel, x: Tensor) -> list[dict[str, object]]:
    """Returns what the panel says of a generator that is tuned against one encoder, by seed."""
    net, runs = lenet(), list[dict[str, object]]()
    for seed in range(SEEDS):
        z = torch.randn(2, N, 64, generator=torch.Generator().manual_seed(1000 + seed))
        before = panel.of(rounded(images(generator(), z[0])))
        after = panel.of(rounded(images(tuned(net, x[2 * N :], seed), z[1])))
        made = gains(before, after)
        alarms = [g.extractor for g in made if g.is_tuned]
        ratios = [round(together(r).value or 0, 2) for r in (before, after)]
        runs.append({"seed": seed, "alarms": alarms, "gains": plain(made), "ratios": ratios})
        print(json.dumps(runs[-1]), flush=True)
    return runs


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    x, labels = mnist()
    panel = panel_for(x, labels)
    print("accuracy of LeNet-5", accuracy(lenet(), x[:1000], labels[:1000]))
    runs = fine_tuned(panel, x)
    free = untouched(panel, "mnist")
    free += untouched(panel_for(*fashion()), "fashion_mnist")
    result = {
        "what": "gains: own factor, the factor of the others, p by Holm",
        "tuned on": LENET,
        "named": counted(sum(r["alarms"] == [LENET] for r in runs), SEEDS),
        "untouched pairs with an alarm": counted(sum(bool(f["alarms"]) for f in free), len(free)),
        "simulated": simulated(),
        "CPU seconds": round(time.process_time() - start),
        "tuned": runs,
        "untouched": free,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print({k: v for k, v in result.items() if k not in {"tuned", "untouched", "simulated"}})


if __name__ == "__main__":
    main()
