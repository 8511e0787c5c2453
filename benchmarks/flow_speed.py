"""The cost of one training step of RealNVP, ours and that of three libraries: CPU time ratios.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/flow_speed.py
All train on the same batch in one process, in turn: 64 components, 256 samples, 8 affine
couplings, networks with 2 hidden layers of 128 and ReLU, fused Adam. Ours is the family ``flow``
as it is trained, so it has 128 parameters more (its standardisation). The result goes to
benchmarks/results/flow_speed.json; ratios are the time of ours over theirs.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gantlet.core.data import Space
from gantlet.core.rng import Rng
from gantlet.models.flow import Flow
from gantlet.stats.intervals import mean

SIZE, BATCH, COUPLINGS, WIDTH = 64, 256, 8, 128
REPEATS, STEPS = 21, 10
RESULT = Path(__file__).parent / "results" / "flow_speed.json"

Contender = tuple[nn.Module, Callable[[], Tensor]]


def ours(x: Tensor) -> Contender:
    game = Flow(layers=COUPLINGS, width=WIDTH).build(Space("vector", (SIZE,)), rng=Rng(0))
    rng = Rng(0).stream("noise")
    game.prepare(x, rng=rng)
    return game.model, lambda: game.loss("flow", x, rng=rng)


def normflows(x: Tensor) -> Contender:
    import normflows as nf

    layers: list[nn.Module] = []
    for _ in range(COUPLINGS):
        net = nf.nets.MLP([SIZE // 2, WIDTH, WIDTH, SIZE], init_zeros=True)
        layers += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(SIZE, mode="swap")]
    base = nf.distributions.DiagGaussian(SIZE, trainable=False)
    model = nf.NormalizingFlow(base, layers)
    return model, lambda: model.forward_kld(x)


def nflows(x: Tensor) -> Contender:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as Theirs
    from nflows.nn.nets import MLP
    from nflows.transforms import AffineCouplingTransform, CompositeTransform
    from nflows.utils import create_alternating_binary_mask

    class Net(MLP):  # it is passed a context, which there is none of
        def forward(self, inputs: Tensor, *_: None) -> Tensor:
            return super().forward(inputs)

    def net(inputs: int, outputs: int) -> nn.Module:
        return Net([inputs], [outputs], [WIDTH, WIDTH])

    masks = (create_alternating_binary_mask(SIZE, even=i % 2 == 0) for i in range(COUPLINGS))
    layers = [AffineCouplingTransform(mask, net) for mask in masks]
    model = Theirs(CompositeTransform(layers), StandardNormal([SIZE]))
    return model, lambda: -model.log_prob(x).mean()


def zuko(x: Tensor) -> Contender:
    from zuko.flows import RealNVP

    model = RealNVP(SIZE, transforms=COUPLINGS, hidden_features=(WIDTH, WIDTH))
    return model, lambda: -model().log_prob(x).mean()


def stepper(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step() -> None:
        adam.zero_grad()
        loss().backward()
        adam.step()

    return step


def timed(steps: dict[str, Callable[[], None]]) -> Iterator[dict[str, float]]:
    """Yields milliseconds of CPU time for a step of each; who goes first changes every time."""
    names = list(steps)
    for repeat in range(REPEATS + 1):
        spent: dict[str, float] = {}
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            start = time.process_time()
            for _ in range(STEPS):
                steps[name]()
            spent[name] = 1e3 * (time.process_time() - start) / STEPS
        if repeat > 0:  # the first is for warming up
            yield spent


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    x = torch.randn(BATCH, SIZE, generator=Rng(0).stream("data"))
    steps: dict[str, Callable[[], None]] = {}
    parameters: dict[str, int] = {}
    for make in (ours, normflows, nflows, zuko):
        model, loss = make(x)
        steps[make.__name__] = stepper(model, loss)
        parameters[make.__name__] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    times = list(timed(steps))
    print(f"{'':10} {'parameters':>10} {'CPU ms':>8}   ours / theirs, median of {REPEATS}")
    rows = {}
    for name in steps:
        ratios = [t["ours"] / t[name] for t in times]
        spread = mean(ratios, of="repeats")
        rows[name] = {
            "parameters": parameters[name],
            "cpu_ms_per_step": statistics.median(t[name] for t in times),
            "ours_over_theirs": statistics.median(ratios),
            "mean_ratio_low": spread.low,
            "mean_ratio_high": spread.high,
        }
        row = rows[name]
        print(
            f"{name:10} {row['parameters']:>10} {row['cpu_ms_per_step']:>8.2f}   "
            f"{row['ours_over_theirs']:.3f}"
        )
    result = {
        "what": "CPU time of one training step of RealNVP, ours over theirs",
        "wanted": "at most 1.0 for each",
        "repeats": REPEATS,
        "steps_each": STEPS,
        "threads": 1,
        "torch": torch.__version__,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
