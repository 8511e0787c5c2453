"""What extractors with the trained networks of others share."""

from collections.abc import Callable

import torch
from torch import Tensor

from gantlet.core.measure import Extract, Features
from gantlet.core.space import Space
from gantlet.features.frozen import exactly
from gantlet.features.images import Looks
from gantlet.features.weights import Found

Run = Callable[[Tensor], Tensor]
"""A network: its input to vectors, shape ``(n, d)``."""


def in_batches(run: Run, looks: Callable[[Tensor], Tensor], *, batch: int) -> Extract:
    """Returns a function that shows samples to a network, so many at a time.

    Args:
        run: The network; it also takes no samples at all.
        looks: Turns samples into its input.
        batch: How many samples at a time.
    """

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        with exactly():
            parts = [run(looks(part)).flatten(1).float() for part in torch.split(x, batch)]
        return torch.cat(parts)

    return extract


def features_of(
    run: Run,
    looks: Looks,
    *,
    name: str,
    found: Found,
    batch: int,
    note: str,
    classify: Run | None = None,
) -> Features:
    """Returns the extractor that a network with published or own weights is.

    Args:
        run: The network.
        looks: How samples become its input.
        name: Its name and the settings that its vectors depend on.
        found: Its weights.
        batch: How many samples at a time.
        note: What its vectors are.
        classify: The same network with class probabilities at its end, or None.
    """
    return Features(
        extract=in_batches(run, looks, batch=batch),
        note=f"{note}; images {looks.label}; {in_words(found)}",
        fingerprint=fingerprint(name, found.sha256, looks, looks.space),
        classify=None if classify is None else in_batches(classify, looks, batch=batch),
    )


def fingerprint(name: str, sha256: str, looks: Looks | None, space: Space) -> str:
    """Returns the name of an extractor, its weights, what it is shown, and of what samples."""
    shown = "" if looks is None else f"/{looks.label}"
    return f"{name}/sha256:{sha256[:16]}{shown}/{space.label}"


def in_words(found: Found) -> str:
    """Returns what weights are, for a note."""
    if found.known is None:
        return f"own weights, SHA-256 {found.sha256[:16]}, none of the published files"
    return f"published weights {found.known.name}, SHA-256 {found.sha256[:16]}"
