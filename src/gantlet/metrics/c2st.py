"""The classifier two-sample test: can a classifier tell fake from real?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import proportion
from gantlet.metrics.blocks import blocks, squared_distances
from gantlet.metrics.inputs import pair, too_few
from gantlet.nets.seeding import seeded

# Says of each row whether it is fake, shape (n,).
Judge = Callable[[Tensor], Tensor]

_HIDDEN = 256
_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class C2st:
    """The held-out accuracy of a classifier that was trained to tell fake from real.

    0.5 where it cannot, 1 where it always can. Half the samples train it, half judge it, as many
    real ones as fake ones; the larger set is thinned to the size of the smaller.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3.

    Differs from the paper: the interval and the p-value are those of the binomial, not of its
    normal limit; the network is 256 wide instead of 20 and trained on all samples at once with
    weight decay (which found more at equal time).

    Attributes:
        classifier: ``mlp``, a network with one hidden layer, or ``knn``, the vote of the nearest
            ``sqrt(n)``, which sees copies and clusters but little in many dimensions.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"

    classifier: Literal["mlp", "knn"] = "mlp"

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` splits and initialises.

        The interval is for the accuracy of the classifier that was trained, on new samples.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = pair(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        judge, x_test, y_test = train(x, y, self.classifier, rng=rng)
        found = rate(judge, x_test, y_test)
        return replace(found, method=f"{self.classifier}; {found.method}", better=self.better)


def train(
    real: Tensor, fake: Tensor, classifier: Literal["mlp", "knn"], *, rng: torch.Generator
) -> tuple[Judge, Tensor, Tensor]:
    """Returns a classifier trained on half of each set, and the other halves.

    The halves have shape ``(h, d)`` and belong to real and fake; the classifier takes features as
    they are.
    """
    size = min(len(real), len(fake))
    x, y = (z[_order(z, rng)[:size]] for z in (real, fake))
    half = size // 2
    z = torch.cat([x[:half], y[:half]])
    mean, scale = z.mean(0), z.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    standard_z = ((z - mean) / scale).float()
    standard = _fit_mlp(standard_z, rng) if classifier == "mlp" else _fit_knn(standard_z)
    return (lambda w: standard(((w - mean) / scale).float())), x[half:], y[half:]


def rate(judge: Judge, real: Tensor, fake: Tensor) -> Estimate:
    """Returns how often ``judge`` is right on held-out samples, equally many of each."""
    from scipy.special import bdtrc

    correct, n = int((~judge(real)).sum()) + int(judge(fake).sum()), len(real) + len(fake)
    found = proportion(correct, n, of="held-out samples")
    # The probability of as many hits by guessing.
    p = float(bdtrc(correct - 1, n, 0.5)) if correct > 0 else 1.0
    return replace(found, method=f"{found.method}; p = {p:.2g} against chance")


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)


def _fit_knn(z: Tensor) -> Judge:
    """Returns the vote of the nearest; the second half of ``z`` is fake."""
    # An odd number of votes is never a draw.
    k = math.isqrt(len(z)) // 2 * 2 + 1
    k = min(k, len(z) - 1)

    def judge(w: Tensor) -> Tensor:
        votes = [
            squared_distances(w[block], z).topk(k, dim=1, largest=False).indices >= len(z) // 2
            for block in blocks(len(w), len(z))
        ]
        return torch.cat(votes).float().mean(1) > 0.5

    return judge


def _fit_mlp(z: Tensor, rng: torch.Generator) -> Judge:
    """Returns a network trained on all of ``z`` at once; the second half of ``z`` is fake."""
    with seeded(rng):
        net = nn.Sequential(nn.Linear(z.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1))
    net.to(z.device)
    is_fake = (torch.arange(len(z), device=z.device) >= len(z) // 2).float()
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1.0)
    with torch.enable_grad():
        for _ in range(_STEPS):
            loss = binary_cross_entropy_with_logits(net(z).flatten(), is_fake)
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    net.requires_grad_(requires_grad=False)
    return lambda w: net(w).flatten() > 0
