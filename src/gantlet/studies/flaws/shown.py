"""What a report shows of each flaw: the samples that have it most and least, and what differs."""

import torch
from torch import Tensor

from gantlet.critics.flaw import Flaw, Flaws
from gantlet.critics.line import score_of
from gantlet.studies.evaluation.sets import Chosen

_SHOWN = 16
SIDES = ("fake", "real")
"""Of which sets samples are shown."""

ENDS = (("most", "least"), ("low end", "high end"))
"""Which samples of a flaw with a name are shown, and of one without."""

# The difference is between the third of the fakes that have a flaw most and that which has least.
_SHARE = 3
_MOST = 3000  # samples that are looked at for it


def exhibits(found: Flaws, real: Chosen, fake: Chosen) -> dict[str, Tensor]:
    """Returns places of samples for each flaw, by its number, and its difference and spectrum.

    Of a flaw with a name they are those that have it most and least; of one without, those at
    both ends of its direction. Also some held-out samples of each set as they come.
    """
    shown = {f"{side}": getattr(found.places, side)[:_SHOWN].contiguous() for side in SIDES}
    for k, flaw in enumerate(found.flaws, 1):
        ranked = {s: ranking(flaw, getattr(flaw.judge, s)) for s in SIDES}
        first, last = ENDS[flaw.naming is None]
        for side, by_score in ranked.items():
            values: Tensor = getattr(flaw.judge, side)
            order = by_score if flaw.naming is not None else values.argsort(stable=True)
            places = getattr(found.places, side)[order]
            shown[f"{k}/{side} {first}"] = places[:_SHOWN].contiguous()
            shown[f"{k}/{side} {last}"] = places.flip(0)[:_SHOWN].contiguous()
        shown |= _difference(k, found.places.fake[ranked["fake"]], real, fake, found)
    return shown


def ranking(flaw: Flaw, values: Tensor) -> Tensor:
    """Returns the order of samples, those that look most fake by this flaw alone first."""
    score = score_of(flaw.seek.real, flaw.seek.fake)(values)
    # Scores are of bins: within one, what lies farther on the side of the fakes goes first.
    side = 1.0 if flaw.shift >= 0 else -1.0
    rank = values.argsort().argsort().to(score) / max(len(values), 1)
    within = (rank - 0.5).abs() if flaw.kind != "location" else side * rank
    return (score + 1e-3 * within).argsort(descending=True, stable=True)


def spectrum(x: Tensor) -> Tensor:
    """Returns the mean amplitude of images at each whole frequency, shape ``(size // 2 + 1,)``.

    Args:
        x: Images, shape ``(n, c, h, w)``.
    """
    h, w = x.shape[2:]
    power = torch.fft.fft2(x.mean(1)).abs() / (h * w) ** 0.5
    fy, fx = torch.fft.fftfreq(h), torch.fft.fftfreq(w)
    ring = ((fy[:, None] ** 2 + fx**2).sqrt() * min(h, w)).round().long().flatten()
    last = min(h, w) // 2
    kept = ring <= last
    flat = power.mean(0).flatten()[kept]
    total = torch.zeros(last + 1, dtype=flat.dtype).index_add_(0, ring[kept], flat)
    return total / torch.bincount(ring[kept], minlength=last + 1)


def _difference(
    k: int, order: Tensor, real: Chosen, fake: Chosen, found: Flaws
) -> dict[str, Tensor]:
    space = fake.samples.space
    if space.kind != "image":
        return {}
    third = min(max(len(order) // _SHARE, 1), _MOST)
    unit, take = space.unit, fake.samples.source.take
    most, least = unit(take(order[:third])).float(), unit(take(order[-third:])).float()
    reals = unit(real.samples.source.take(found.places.real[:third])).float()
    spectra = [spectrum(x) for x in (most, least, reals)]
    return {f"{k}/difference": most.mean(0) - least.mean(0), f"{k}/spectra": torch.stack(spectra)}
