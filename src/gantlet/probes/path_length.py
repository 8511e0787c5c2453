"""Perceptual path length: how fast samples change along paths between latent vectors."""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gantlet.core.data import InMemory, Splits
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Features, Findings
from gantlet.core.model import Decoder, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, extractors
from gantlet.stats.intervals import Variance, around

PATH_LENGTH = "perceptual path length"

_BLOCK = 128


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Returns the points at ``t``, shape ``(n, 1)``, on the lines from ``a`` to ``b``."""
    return a + t * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Returns the points at ``t``, shape ``(n, 1)``, on the arcs between directions.

    Lengths go linearly from that of ``a`` to that of ``b``.
    """
    length = lerp(a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True), t)
    a, b = normalize(a, dim=1), normalize(b, dim=1)
    cosine = (a * b).sum(1, keepdim=True).clamp(-1, 1)
    across = normalize(b - cosine * a, dim=1)
    angle = t * cosine.acos()
    return length * (angle.cos() * a + angle.sin() * across)


def path_lengths(
    model: Decoder,
    features: Features,
    pairs: tuple[Tensor, Tensor],
    t: Tensor,
    *,
    epsilon: float,
    path: Literal["slerp", "lerp"] = "slerp",
) -> Tensor:
    """Returns ``|phi(g(z(t + epsilon))) - phi(g(z(t)))|^2 / epsilon^2``, shape ``(n,)``, float64.

    Args:
        model: The decoder ``g``.
        features: The extractor ``phi``.
        pairs: The ends of the paths, shapes ``(n, latent_dim)`` each.
        t: Where on each path, in [0, 1], shape ``(n,)``.
        epsilon: The step.
        path: Arcs, for latent vectors that are normal, or lines.
    """
    along = slerp if path == "slerp" else lerp
    parts: list[Tensor] = []
    for a, b, at in zip(*(torch.split(z, _BLOCK) for z in (*pairs, t)), strict=True):
        # Arcs in double precision: the angle of a small step is lost to rounding in single.
        start = at.double()[:, None]
        ends = [along(a.double(), b.double(), start + step).to(a) for step in (0.0, epsilon)]
        with torch.no_grad():
            first, second = (features.extract(model.decode(z)).double() for z in ends)
        parts.append((second - first).square().sum(1) / epsilon**2)
    return torch.cat(parts)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PathLength:
    """How fast the samples of a decoder change, in features, along paths between latent vectors.

    ``E |phi(g(z(t + e))) - phi(g(z(t)))|^2 / e^2`` over pairs from the prior and uniform ``t``:
    the smaller, the smoother. Its scale is that of the features, so compare numbers of one
    extractor only; with ``features=lpips:...`` it is the perceptual path length of the paper.

    Source: Karras et al., 2019, https://arxiv.org/abs/1812.04948, section 4.1.

    Differs from the paper: any extractor; lengths along arcs go linearly from one end to the
    other, where the paper puts all on the unit sphere; a step of 1e-3 in place of 1e-4, which
    single precision tells from rounding; 1,000 paths in place of 100,000. As in the authors'
    program, the smallest and the largest shares are left out.

    Attributes:
        features: The extractor in written form, fitted to the real samples where it learns.
        pairs: Number of paths.
        epsilon: The step along a path.
        path: ``slerp``, arcs, for normal latent vectors; ``lerp``, lines.
        trim: Share of the paths left out at either end, as single ones may be very long.
    """

    features: str = "random-conv"
    pairs: Annotated[int, Between(2)] = 1000
    epsilon: Annotated[float, Between(1e-6, 0.1)] = 1e-3
    path: Literal["slerp", "lerp"] = "slerp"
    trim: Annotated[float, Between(0, 0.25)] = 0.01

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns the path length as a score, and leaves the model as it was.

        Raises:
            UserError: If the extractor does not support such samples.
        """
        if not isinstance(model, Decoder):
            why = "the model has no latent vectors, and so no paths between them"
            missing = Estimate.missing(why, better="lower")
            return Findings(scores={PATH_LENGTH: missing}, clock={})
        own = InMemory(real)
        features = extractors.make(self.features).fit(
            model.space, Splits(train=own, validation=own, test=own), rng=rng
        )
        stream = rng.stream("path length")
        a, b = (model.prior(self.pairs, rng=stream) for _ in range(2))
        t = torch.rand(self.pairs, generator=stream, device=stream.device).to(a.device)
        t = t * (1 - self.epsilon)
        found = path_lengths(model, features, (a, b), t, epsilon=self.epsilon, path=self.path)
        return Findings(scores={PATH_LENGTH: self._trimmed(found)}, clock={})

    def _trimmed(self, found: Tensor) -> Estimate:
        """Returns the mean of the middle, with the interval of trimmed means.

        Source: Tukey and McLaughlin, 1963, https://www.jstor.org/stable/25049278: the variance of
        the winsorized paths over the share that is kept.
        """
        known = found[found.isfinite()].sort().values
        if len(known) < len(found):
            lost = len(found) - len(known)
            return Estimate.missing(f"{lost} of {len(found)} paths are not finite", better="lower")
        cut = int(self.trim * len(known))
        kept = known[cut : len(known) - cut]
        winsorized = known.clamp(kept[0], kept[-1])
        share = len(kept) / len(known)
        variance = float(winsorized.var()) / len(known) / share**2
        shown = extractors.short(self.features)
        method = (
            f"{len(kept)} of {len(known)} paths, the smallest and largest {cut} left out; "
            f"{self.path}, step {self.epsilon:g}, features {shown}; Student's t, winsorized "
            "variance"
        )
        made = around(
            float(kept.mean()),
            Variance.of_squares(variance, len(kept) - 1),
            n=len(kept),
            method=method,
        )
        return made.named(unit="1", better="lower")
