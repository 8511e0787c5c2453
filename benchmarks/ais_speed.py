"""How many temperatures a CPU second pays for, against the published BDMC: ratios of CPU times.

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/ais_speed.py
BDMC (github.com/lxuechen/BDMC, commit dd79cff, MIT) is no package. `bdmc` below is written anew
from reading it, and does what one of its temperatures does: two evaluations of the annealed
density for the weight, eleven gradients through the whole density for ten leapfrog steps, two
evaluations for the decision. The setting is the same for both: a linear decoder from 10 latents to
784 numbers with normal noise, 20 data points times 8 chains, 10 leapfrogs, fp32, one thread. Both
run in one process, in turn. The result goes to benchmarks/results/ais_speed.json.
"""

import json
import math
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from gantlet.core.data import Space
from gantlet.core.model import Decoder
from gantlet.core.rng import Rng
from gantlet.probes.annealing import (
    Annealer,
    Fixed,
    FlatDecoder,
    GaussianNoise,
    Hmc,
    Posterior,
    anneal,
    schedule,
    simulate,
)
from gantlet.probes.sampling import median

SIZE, LATENT, POINTS, CHAINS, LEAPFROGS, SIGMA = 784, 10, 20, 8, 10, 0.1
TEMPERATURES, REPEATS = 50, 7
WHOLE = 1000
RESULT = Path(__file__).parent / "results" / "ais_speed.json"


class Linear(Decoder):
    """G(z) = W z + b."""

    space = Space("vector", (SIZE,))
    latent_dim = LATENT

    def __init__(self):
        super().__init__()
        rng = Rng(0).stream("weights")
        self.w = nn.Parameter(torch.randn(LATENT, SIZE, generator=rng) / math.sqrt(LATENT))
        self.b = nn.Parameter(torch.randn(SIZE, generator=rng))

    def prior(self, n, *, rng):
        return torch.randn(n, LATENT, generator=rng)

    def _decode(self, z, context):  # noqa: ARG002
        return torch.addmm(self.b, z, self.w)

    def _sample(self, n, context, *, rng):  # noqa: ARG002
        return self.decode(self.prior(n, rng=rng)).detach()


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    constant = (math.log(2 * math.pi) + log_variance).sum(1)
    return -0.5 * (constant + ((x - mean).square() / log_variance.exp()).sum(1))


@torch.no_grad()
def bdmc(model: Linear, x: Tensor, betas: Tensor, rng: torch.Generator) -> Tensor:
    """Forward annealing as BDMC does it, one temperature like another."""
    n = len(x)
    noise = torch.full_like(x, 2 * math.log(SIGMA))
    epsilon, accepted, log_w = torch.full((n,), 0.01), torch.zeros(n), torch.zeros(n)
    z = model.prior(n, rng=rng)

    def density(z: Tensor, beta: Tensor) -> Tensor:
        zeros = torch.zeros_like(z)
        return log_normal(z, zeros, zeros) + log_normal(x, model.decode(z), noise) * beta

    @torch.enable_grad()
    def gradient(z: Tensor, beta: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(-density(z, beta).sum(), z)
        bound = n * LATENT * 100.0
        return slope.clamp(-bound, bound)

    for count, (before, beta) in enumerate(pairwise(betas), 1):
        log_w += density(z, beta) - density(z, before)
        v = torch.randn(z.shape, generator=rng)
        step = epsilon.view(-1, 1)
        y, u = z, v - 0.5 * step * gradient(z, beta)
        for i in range(1, LEAPFROGS + 1):
            y = y + step * u
            if i != LEAPFROGS:
                u = u - step * gradient(y, beta)
        u = u - 0.5 * step * gradient(y, beta)
        zeros = torch.zeros_like(v)
        start = -log_normal(v, zeros, zeros) - density(z, beta)
        end = -log_normal(-u, zeros, zeros) - density(y, beta)
        chance = (start - end).exp().clamp(max=1)
        take = chance > torch.rand(n, generator=rng)
        z = take.view(-1, 1) * y + ~take.view(-1, 1) * z
        accepted += take
        grow = accepted / count > 0.65
        epsilon = (epsilon * (grow * 1.02 + ~grow * 0.98)).clamp(1e-4, 0.5)
    return log_w


def cpu(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def products(model: Linear, x: Tensor) -> None:
    """The matrix products of one temperature and nothing else: out and back for each leapfrog."""
    z = torch.ones(len(x), LATENT)
    w, b = model.w.detach(), model.b.detach()
    for _ in range(LEAPFROGS):
        torch.addmm(b, z, w)
        torch.mm(x, w.T)


def row(name: str, theirs: list[float], ours: list[float]) -> dict[str, object]:
    ratio = median(
        [a / b for a, b in zip(theirs, ours, strict=True)], unit="1", better="higher", of="runs"
    )
    return {
        "what": name,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "repeats": len(ours),
        "bdmc_ms_per_temperature": 1e3 * sorted(theirs)[len(theirs) // 2],
        "our_ms_per_temperature": 1e3 * sorted(ours)[len(ours) // 2],
    }


def main() -> None:
    torch.set_num_threads(1)
    model = Linear()
    decoding, noise = FlatDecoder(model, dequantised=True), GaussianNoise(torch.tensor([SIGMA]))
    _, x = simulate(decoding, noise, POINTS, rng=Rng(0).stream("data"))
    rows = x.repeat_interleave(CHAINS, 0)
    betas, posterior = schedule("sigmoid", TEMPERATURES), Posterior(decoding, noise, rows)
    pace = Fixed(torch.full((TEMPERATURES, len(rows)), math.log(0.013)))
    rng = Rng(0).stream("chains")

    def theirs() -> None:
        bdmc(model, rows, betas.float(), rng)

    def ours() -> None:
        z = decoding.prior(len(rows), rng=rng)
        anneal(posterior, z, betas, hmc=Hmc(leapfrogs=LEAPFROGS), pace=pace, rng=rng)

    how = Annealer(temperatures=WHOLE, chains=CHAINS, hmc=Hmc(leapfrogs=LEAPFROGS))
    theirs(), ours()
    seconds = [(cpu(theirs), cpu(ours)) for _ in range(REPEATS)]
    a, b = ([s[i] / TEMPERATURES for s in seconds] for i in (0, 1))
    whole = [cpu(lambda: how.lower(decoding, noise, x, rng=rng)) / WHOLE for _ in range(REPEATS)]
    gemm = [cpu(lambda: [products(model, rows) for _ in range(20)]) / 20 for _ in range(REPEATS)]
    alone = sorted(gemm)[REPEATS // 2]
    result = {
        "what": "CPU time of BDMC's temperature over ours, 160 chains, 10 leapfrogs, 784 numbers",
        "wanted": "at least 1.5",
        "torch": torch.__version__,
        "threads": 1,
        "rows": [
            row("one temperature", a, b),
            row(f"{WHOLE} temperatures, the pilot run included", a, whole),
        ],
        "matrix_products_ms_per_temperature": 1e3 * alone,
        "share_of_matrix_products": alone / sorted(b)[REPEATS // 2],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
