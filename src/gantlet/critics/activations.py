"""The article's own suggestion: the principal components of a critic's activations."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from gantlet.core.rng import Rng
from gantlet.critics.flaw import Ending, Flaw, Stop
from gantlet.critics.halves import Halves
from gantlet.critics.line import Pair, gap, p_value
from gantlet.critics.named import holm
from gantlet.critics.naming import Namer
from gantlet.nets.mlp import mlp
from gantlet.nets.seeding import seeded

_WIDTH, _STEPS, _BATCH, _LR, _DECAY = 64, 600, 128, 2e-3, 1e-2


def by_activations(
    halves: Halves, *, level: float, smallest: float, most: int, permutations: int, rng: Rng
) -> tuple[list[Flaw], Ending]:
    """Returns the principal components of a critic's activations, and how the search ended.

    A network with one hidden layer learns to tell the first half apart; the components of its
    hidden activations, largest variance first, are judged on the second half. Throwing out the
    first ``k`` leaves the critic blind to them.

    Source: Odena, 2019, https://distill.pub/2019/gan-open-problems/, question 5: the suggestion
    to take the components of a critic's activations and throw out those of high variance.

    Args:
        halves: The samples.
        level: How likely anything may be found on flawless samples.
        smallest: The smallest difference worth telling, in standard deviations.
        most: How many components are looked at.
        permutations: How often labels are dealt out.
        rng: Draws the network, its batches and labels.
    """
    net = _critic(halves.seek_features, rng)
    seek, judge = (_hidden(net, z) for z in (halves.seek_features, halves.judge_features))
    centre = seek.both().mean(0)
    _, _, vectors = torch.linalg.svd(seek.both() - centre, full_matrices=False)
    parts = [
        [Pair(real=z.real @ v, fake=z.fake @ v) for z in (seek, judge)] for v in vectors[:most]
    ]
    labels = rng.stream("p")
    p = holm([p_value(z.real, z.fake, permutations=permutations, rng=labels) for _, z in parts])
    namer = Namer(halves)
    found: list[Flaw] = []
    for k, (first, second) in enumerate(parts):
        apart = gap(second.real, second.fake, rng=rng.stream(f"gap/{k}"))
        if p[k] <= level and (apart.size.value or 0.0) >= smallest:
            found.append(namer.flaw(first, second, apart, p[k], number=len(found) + 1))
    stop = Stop.LIMIT if len(parts) < len(vectors) else Stop.EXHAUSTED
    return found, Ending(stop, len(parts))


def _critic(z: Pair, rng: Rng) -> nn.Sequential:
    """Returns a small network that has learned to tell two sets apart."""
    x, h = z.both().float(), len(z.real)
    sign = torch.cat([-torch.ones(h), torch.ones(len(x) - h)]).to(x.device)
    with seeded(rng.stream("critic/init")):
        net = mlp(x.shape[1], _WIDTH, 1).to(x.device)
    batches = rng.stream("critic/batches")
    parameters = list(net.parameters())
    adam = Adam(parameters, lr=_LR, weight_decay=_DECAY)
    with torch.enable_grad():
        for _ in range(_STEPS):
            chosen = torch.randint(len(x), (_BATCH,), generator=batches, device=batches.device)
            loss = softplus(-sign[chosen] * net(x[chosen])[:, 0]).mean()
            slopes = torch.autograd.grad(loss, parameters)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            adam.step()
    return net


def _hidden(net: nn.Sequential, z: Pair) -> Pair:
    with torch.no_grad():
        real, fake = (cast("Tensor", net[:-1](v.float())).double() for v in (z.real, z.fake))
    return Pair(real=real, fake=fake)
