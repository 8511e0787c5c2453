"""What annealed importance sampling needs of a model: its latent vectors and their decoding."""

import math
from typing import final

import torch
from torch import Tensor

from gantlet.core.model import Decoder, Invertible, Model
from gantlet.nets.scaling import Scaling

# So many latent vectors tell whether the prior is standard normal, within so many errors.
_DRAWS, _ERRORS = 4096, 6.0
# So many are decoded to see whether outputs are finite and can be differentiated.
_FEW = 16
# How far, in nats for each component, a density may be from that of standard normal codes.
_ROUNDING = 1e-2


@final
class Decoding:
    """A decoder with flat outputs, in the numbers that an observation model speaks of.

    Of a discrete space these are dequantised levels in ``[0, levels)``, so that densities bound
    the probabilities of levels, or for two levels the mean, from 0 to 1. A flow's codes are
    latent vectors as long as a sample.

    Args:
        model: The model; its latent vectors are taken to be standard normal.
        dequantised: Whether levels are dequantised.
    """

    def __init__(self, model: Decoder | Invertible, *, dequantised: bool) -> None:
        self.model = model
        self.space = model.space
        self.latent = model.latent_dim if isinstance(model, Decoder) else self.space.size
        self.dtype = next((p.dtype for p in model.parameters()), torch.float32)
        self._dequantised = dequantised
        # Of a level, a decoder gives the level itself, a flow the middle of its interval.
        self._shift = 0.0
        if self.space.levels is not None:
            self._shift = 0.5 * (float(dequantised) - float(isinstance(model, Invertible)))

    def __call__(self, z: Tensor) -> Tensor:
        """Returns the output of each latent vector, shape ``(n, space.size)``."""
        y = self.model.decode(z).flatten(1)
        return y + self._shift if self._shift else y

    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns standard normal latent vectors, shape ``(n, latent)``."""
        return torch.randn(n, self.latent, generator=rng, device=rng.device, dtype=self.dtype)

    def flat(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns samples of the space, shape ``(n, *space.shape)``, as outputs are."""
        x = x.to(self.dtype)
        if self._dequantised:
            x = Scaling(self.space).dequantise(x, rng=rng)
        return x.flatten(1)

    @torch.no_grad()
    def exact(self, x: Tensor) -> Tensor | None:
        """Returns the exact log-density of flat samples in nats, or None of a mere decoder."""
        if not isinstance(self.model, Invertible) or not self._fits(self.space.levels):
            return None
        z, log_det = self.model.encode(x.view(-1, *self.space.shape))
        return _log_normal(z) + log_det.double()

    def _fits(self, levels: int | None) -> bool:
        """Whether the exact density is one of the same numbers as the observation model's."""
        return levels is None or self._dequantised

    def fault(self, *, rng: torch.Generator) -> str | None:
        """Returns why the model cannot be annealed, or None."""
        z = self.prior(_FEW, rng=rng)
        with torch.enable_grad():
            y = self(z.requires_grad_())
        wrong = int((~y.isfinite()).any(1).sum())
        if wrong:
            return f"the decoder gave NaN or infinity for {wrong} of {_FEW} latent vectors"
        if not y.requires_grad:
            return "the decoder cannot be differentiated"
        if not self._is_normal(rng):
            return "the latent vectors are not standard normal"
        return None

    @torch.no_grad()
    def _is_normal(self, rng: torch.Generator) -> bool:
        if isinstance(self.model, Decoder):
            return _looks_normal(self.model.prior(_DRAWS, rng=rng).double())
        if self.space.levels is not None:
            return True
        # The density of a flow's samples shows what density it gives to their codes.
        x = self.model.sample(_FEW, rng=rng).to(self.dtype)
        z, log_det = self.model.encode(x)
        claimed = self.model.log_prob(x, rng=rng)
        off = (claimed.value - _log_normal(z) - log_det).abs() / self.space.size
        return claimed.kind != "exact" or bool((off < _ROUNDING).all())


def _log_normal(z: Tensor) -> Tensor:
    z = z.double()
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def _looks_normal(z: Tensor) -> bool:
    """Whether mean, variance and fourth moment over all components are those of N(0, 1)."""
    moments = ((z, 0.0, 1.0), (z.square(), 1.0, 2.0), (z.square().square(), 3.0, 96.0))
    bound = _ERRORS / math.sqrt(z.numel())
    return all(
        abs(float(power.mean()) - mean) < bound * math.sqrt(variance)
        for power, mean, variance in moments
    )


def decoding_of(model: Model, *, dequantised: bool) -> Decoding | None:
    """Returns the decoding of a decoder or a flow, or None of any other model."""
    if isinstance(model, Decoder | Invertible):
        return Decoding(model, dequantised=dequantised)
    return None
