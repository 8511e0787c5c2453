"""Initial weights from a named stream, with the global random state left as it was."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(rng: torch.Generator) -> Generator[None]:
    """Makes everything inside that draws from torch's global state draw from ``rng`` instead.

    Only the seed of ``rng`` counts, not its state. Modules are made on the CPU, so that the same
    seed gives the same weights on every device; move them afterwards.

    Example:
        >>> def weight(seed: int) -> float:
        ...     with seeded(torch.Generator().manual_seed(seed)):
        ...         return torch.nn.Linear(1, 1).weight.item()
        >>> weight(0) == weight(0), weight(0) == weight(1)
        (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(rng.initial_seed()).get_state())
        yield
