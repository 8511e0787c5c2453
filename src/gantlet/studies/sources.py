"""What all trials of a run share: the data set's splits, and the extractors fitted to it."""

from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

from gantlet.core.components import datasets, extractors
from gantlet.core.dataset import Splits, everything
from gantlet.core.measure import Features
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.trial import Trial

# Samples are drawn in blocks, so that memory does not grow with their number.
_BLOCK = 500

# How many samples of each split tell what a data set holds.
_TELLING = 256


def source_of(trial: Trial) -> tuple[Space, Splits]:
    """Returns the space and splits of a trial's data."""
    return load(trial.parts["data"], int(trial.parts["data_seed"]))


def features_of(trial: Trial, extractor: str) -> Features:
    """Returns an extractor fitted to a trial's data; it depends on no contestant."""
    parts = trial.parts
    return features(parts["data"], int(parts["data_seed"]), extractor, parts["device"])


@lru_cache(maxsize=4)
def load(data: str, seed: int) -> tuple[Space, Splits]:
    """Returns a data set's space and splits; kept, since every trial of a run asks for them."""
    dataset = datasets.make(data)
    return dataset.space, dataset.load(rng=Rng(seed))


def fingerprint(data: str, seed: int) -> str:
    """Returns a short name for what a data set holds.

    Other files under the same path have another one, told by the sizes and the first 256 samples
    of the splits; so that a run does not go on with other data than it began with.
    """
    space, splits = load(data, seed)
    digest = blake2b(f"{space.label}; {splits.note}".encode(), digest_size=6)
    for split in (splits.train, splits.validation, splits.test):
        digest.update(everything(split, _TELLING).numpy().tobytes())
    return digest.hexdigest()


def forget() -> None:
    """Forgets all data, so that files which have changed since are read again."""
    load.cache_clear()
    features.cache_clear()


@lru_cache(maxsize=8)
def features(data: str, seed: int, extractor: str, device: str) -> Features:
    """Returns an extractor fitted to a data set; kept, since every trial of a run asks for it."""
    space, splits = load(data, seed)
    return extractors.make(extractor).fit(space, splits, rng=Rng(seed, device))


@torch.no_grad()
def draw(model: Model, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns ``n`` samples, drawn in blocks of 500."""
    blocks = [model.sample(min(_BLOCK, n - i), rng=rng) for i in range(0, n, _BLOCK)]
    return torch.cat(blocks)
