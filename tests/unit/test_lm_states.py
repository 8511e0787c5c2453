"""Features of a small language model: the contract, and the order that they see."""

import math

import pytest
import torch

from gantlet.core.data import InMemory, Space, Splits, all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors, metrics
from gantlet.testing import check_extractor


@pytest.mark.parametrize("space", [Space("tokens", (12,), 5), Space("walk", (6,), 9)])
def test_it_keeps_the_contract(space):
    check_extractor(extractors.make("lm:steps=10"), space)


def test_what_follows_the_end_and_the_65th_token_is_not_seen_and_told():
    data = datasets.make("pcfg:n=200,held_out=50").load(rng=Rng(0))
    space = Space("tokens", (24,), 17)
    seen = extractors.make("lm:steps=5").fit(space, data, rng=Rng(0))
    x = all_samples(data.test)[:20]
    dirty = torch.where((x == 0).cumsum(1) > 1, torch.full_like(x, 3), x)
    assert bool((dirty != x).any())
    assert torch.allclose(seen.extract(x), seen.extract(dirty), atol=1e-6)
    assert "first 64" not in seen.note
    long = torch.randint(1, 5, (60, 70), generator=Rng(0).stream("x")).float()
    splits = Splits(train=InMemory(long), validation=InMemory(long), test=InMemory(long))
    seen = extractors.make("lm:steps=2").fit(Space("tokens", (70,), 5), splits, rng=Rng(0))
    assert "first 64 tokens are seen" in seen.note


def rows(n, seed, *, apart):
    """Returns rows in which tokens repeat after four places, or are all independent."""
    x = torch.randint(1, 6, (n, 12), generator=Rng(seed).stream("rows"))
    if apart:
        x[:, 4:8] = x[:, :4]
        x[:, 8:] = x[:, :4]
    return x.float()


def test_it_sees_an_order_of_tokens_far_apart_and_no_difference_where_there_is_none():
    space = Space("tokens", (12,), 6)
    train = InMemory(rows(3000, 0, apart=True))
    splits = Splits(train=train, validation=InMemory(rows(300, 1, apart=True)), test=train)
    seen = extractors.make("lm").fit(space, splits, rng=Rng(0))
    # Each token but the first four is certain: 4 log(5) nats for 12 tokens.
    assert float(seen.note.split("; ")[1].split()[0]) < 1.5 * 4 * math.log(5) / 12
    real, fresh = rows(500, 2, apart=True), rows(500, 4, apart=True)
    apart, same = (
        metrics.make("c2st").measure(seen.extract(real), seen.extract(x), rng=Rng(0).stream("m"))
        for x in (rows(500, 3, apart=False), fresh)
    )
    assert apart.low > 0.9
    assert same.low < 0.5 < same.high
