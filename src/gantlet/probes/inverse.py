"""Round-trip error of invertible models."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.compute.meters import count
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Findings
from gantlet.core.model import Invertible, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import Scaling
from gantlet.probes.sampling import median

# Larger Jacobians take too long: as many passes through the network as there are components.
_MOST_COMPONENTS = 128
_FEWEST = 8

# In the order in which they are measured: of samples and of codes, in single and in double.
_NAMES = [
    f"{part}{trip} {precision}"
    for precision in ("fp32", "fp64")
    for trip in ("round-trip error", "round-trip error of codes")
    for part in ("", "median ")
]
_LOG_DET = "log-determinant error"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Inverse:
    """Errors of ``decode(encode(x))`` and ``encode(decode(z))``, and of the log-determinant.

    Real samples, dequantised where they are discrete, go to their codes and back; the codes of
    drawn samples go to samples and back. The error of a sample is its largest absolute
    difference, relative to the largest absolute value of all samples (or codes). A copy of the
    model in double precision shows what is rounding and what is a fault. On small samples the
    log-determinant is compared with that of autograd's Jacobian, in double precision, in nats.

    Attributes:
        most: How many samples to look at, at most.
        flops: About how many operations to spend on round trips; where ``encode`` is costly,
            fewer samples make them, but 8 at least.
        jacobians: For how many samples to compute the Jacobian, at most.
    """

    most: Annotated[int, Between(1)] = 256
    flops: Annotated[float, Between(0)] = 2e10
    jacobians: Annotated[int, Between(1)] = 2

    @torch.no_grad()
    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns the errors as scores, and leaves the model as it was."""
        if not isinstance(model, Invertible):
            missing = Estimate.missing("the model is not invertible", better="lower")
            scores = dict.fromkeys(_NAMES, missing)
            scores[_LOG_DET] = missing.named(unit="nats", better="lower")
            return Findings(scores=scores, clock={})
        scaling = Scaling(model.space).to(real.device)
        real = real[: self._samples(model, real)]
        x = scaling.dequantise(real, rng=rng.stream("inverse"))
        fake = model.sample(len(x), rng=rng.stream("inverse samples"))
        fake = scaling.dequantise(fake, rng=rng.stream("inverse noise"))
        double = copy.deepcopy(model).double()
        found = [
            *_round_trips(model, x, fake),
            *_round_trips(double, x.double(), fake.double()),
        ]
        scores = dict(zip(_NAMES, found, strict=True))
        scores[_LOG_DET] = _log_determinant(double, x[: self.jacobians].double())
        return Findings(scores=scores, clock={})

    def _samples(self, model: Invertible, real: Tensor) -> int:
        """How many samples the operations last for: each is encoded three times, twice over."""
        one = count(lambda: model.encode(real[:1] + 0.5)).flops
        affordable = int(self.flops / (6 * one)) if one else self.most
        return min(self.most, max(_FEWEST, affordable))


def _round_trips(model: Invertible, x: Tensor, fake: Tensor) -> list[Estimate]:
    """Returns largest and median error over samples, then over codes."""
    z = model.encode(fake)[0]
    of_samples = _trip(x, lambda y: model.decode(model.encode(y)[0]))
    of_codes = _trip(z, lambda y: model.encode(model.decode(y))[0])
    return [*of_samples, *of_codes]


def _trip(x: Tensor, there_and_back: Callable[[Tensor], Tensor]) -> tuple[Estimate, Estimate]:
    difference = (there_and_back(x) - x).abs().flatten(1).amax(1)
    errors = (difference / x.abs().max().clamp(min=1e-30)).double()
    if not bool(errors.isfinite().all()):
        wrong = int((~errors.isfinite()).sum())
        missing = Estimate.missing(
            f"{wrong} of {len(errors)} samples became NaN or infinite", better="lower"
        )
        return missing, missing
    largest = Estimate(
        value=float(errors.max()),
        n=len(errors),
        better="lower",
        method=f"relative, largest of {len(errors)} samples: no interval",
    )
    return largest, median(
        errors.tolist(), unit="1", better="lower", of="samples", method="relative"
    )


def _log_determinant(model: Invertible, x: Tensor) -> Estimate:
    if model.space.size > _MOST_COMPONENTS:
        return Estimate.missing(
            f"the Jacobian of {model.space.size} components is too large to compute",
            unit="nats",
            better="lower",
        )
    claimed = model.encode(x)[1]
    with torch.enable_grad():
        true = torch.stack([_slogdet(model, one) for one in x])
    return Estimate(
        value=float((claimed - true).abs().max()),
        n=len(x),
        unit="nats",
        better="lower",
        method=f"fp64 against autograd's Jacobian, largest of {len(x)} samples: no interval",
    )


def _slogdet(model: Invertible, x: Tensor) -> Tensor:
    """Returns ``log |det d encode(x) / dx|`` of one sample from its whole Jacobian."""
    flat = x.flatten().clone().requires_grad_()
    z = model.encode(flat.view(1, *model.space.shape))[0][0]
    rows = [torch.autograd.grad(component, flat, retain_graph=True)[0] for component in z]
    log_det: Tensor = torch.linalg.slogdet(torch.stack(rows)).logabsdet
    return log_det
