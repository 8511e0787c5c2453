"""The curve of precision and recall, where it was asked for."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from gantlet.metrics.prd import prd_curve
from gantlet.report.blocks import Block, Lines, Series

_POINTS = 101


def curve_of(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> dict[str, Tensor]:
    """Returns the curve of two sets of features, thinned to one size, at some hundred points."""
    h = min(len(real), len(fake))
    found = prd_curve(real[:h], fake[:h], rng=rng)
    at = torch.linspace(0, len(found.recall) - 1, _POINTS).round().long().to(found.recall.device)
    return {"prd recall": found.recall[at], "prd precision": found.precision[at]}


def curves(exhibits: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Block]:
    """Yields the chart of all curves, by the name of the set."""
    series: Sequence[Series] = [
        Series(name=name, x=found["prd recall"].tolist(), y=found["prd precision"].tolist())
        for name, found in exhibits.items()
        if "prd recall" in found
    ]
    if series:
        yield Lines(
            title="Precision and recall of distributions (PRD)",
            x_label="recall",
            y_label="precision",
            series=series,
            note="What share of the samples is real-like (up) against what share of the real data "
            "is reached (across), on the first features. The corner at the top right is perfect.",
        )
