"""The contract of extractors."""

import torch
from torch import Tensor

from gantlet.core.dataset import InMemory, Splits
from gantlet.core.measure import Extract, Extractor
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.testing.families import untouched_global_state
from gantlet.testing.samples import made_up


def check_extractor(extractor: Extractor, space: Space, *, n: int = 150) -> None:
    """Checks that ``extractor`` keeps the contract on made-up labelled samples of ``space``.

    Args:
        extractor: The extractor.
        space: The space of the samples.
        n: How many samples each split has.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    data = labelled_splits(space, n)
    x = made_up(space, 7, seed=9)
    before = x.clone()
    with untouched_global_state():
        first, again = (extractor.fit(space, data, rng=Rng(0)) for _ in range(2))
        found, twin, once_more = first.extract(x), again.extract(x), first.extract(x)
    assert found.ndim == 2, "features have shape (n, d)"
    assert len(found) == len(x), "there is one vector for each sample"
    assert found.shape[1] > 0, "there is at least one feature"
    assert found.dtype == torch.float32, "features are float32"
    assert found.device == x.device, "features are where the samples are"
    assert bool(found.isfinite().all()), "features are finite"
    assert not found.requires_grad, "features keep no gradient"
    assert torch.equal(x, before), "samples are left as they are"
    assert torch.equal(found, once_more), "extracting changes nothing"
    assert torch.equal(found, twin), "same seed, same features"
    assert first.fingerprint == again.fingerprint, "same seed, same fingerprint"
    assert first.note, "there is a note"
    assert "\n" not in first.note, "the note is one line"
    parts = torch.cat([first.extract(part) for part in torch.split(x, 3)])
    assert torch.allclose(parts, found, rtol=1e-3, atol=1e-4), (
        "features of a sample do not depend on its neighbours"
    )
    assert first.extract(x[:0]).shape == (0, found.shape[1]), "no samples, no features"
    if first.classify is not None:
        check_probabilities(first.classify, x)


def check_probabilities(classify: Extract, x: Tensor) -> None:
    """Checks that ``classify`` keeps the contract on samples ``x``.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    with untouched_global_state():
        p = classify(x)
    assert p.ndim == 2, "probabilities have shape (n, classes)"
    assert len(p) == len(x), "there is one row for each sample"
    assert p.dtype == torch.float32, "probabilities are float32"
    assert p.device == x.device, "probabilities are where the samples are"
    assert not p.requires_grad, "probabilities keep no gradient"
    assert bool((p >= 0).all()), "probabilities are not negative"
    assert torch.allclose(p.sum(1), torch.ones_like(p[:, 0]), atol=1e-5), (
        "the probabilities of a sample add up to one"
    )
    assert torch.equal(p, classify(x)), "classifying changes nothing"
    assert classify(x[:0]).shape == (0, p.shape[1]), "no samples, no probabilities"


def labelled_splits(space: Space, n: int) -> Splits:
    """Returns three made-up splits of ``n`` samples with two classes."""

    def split(seed: int) -> InMemory:
        x = made_up(space, n, seed=seed)
        size = x.flatten(1).mean(1)
        return InMemory(x, (size > size.median()).long())

    return Splits(train=split(1), validation=split(2), test=split(3), note="made up")
