import numpy as np
import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.stats.moments import Moments, add_gram


def draw(n=300, d=7, mean=1e4):
    rng = Rng(0).stream("rows")
    mix = torch.randn(d, d, generator=rng, dtype=torch.float64)
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ mix + mean


def of(x, *ends):
    return Moments.of(torch.tensor_split(x, ends))


def test_blocks_give_the_mean_and_covariance_of_all_rows():
    x = draw()
    found = of(x, 1, 50, 50, 220)
    assert found.n == 300
    assert found.mean.numpy() == pytest.approx(x.numpy().mean(0), rel=1e-14)
    expected = np.cov((x - 1e4).numpy(), rowvar=False)
    assert found.covariance.numpy() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert torch.equal(found.covariance, found.covariance.T)


@pytest.mark.parametrize("end", [0, 1, 40, 299, 300])
def test_merged_shards_equal_the_whole(end):
    x = draw()
    whole, merged = of(x), of(x[:end]) + of(x[end:])
    assert merged.n == whole.n
    assert merged.mean.numpy() == pytest.approx(whole.mean.numpy(), rel=1e-14)
    scale = float(whole.scatter.abs().max())
    assert float((merged.scatter - whole.scatter).abs().max()) < 1e-12 * scale


def test_shards_of_very_different_means_merge():
    x, y = draw(mean=0.0), draw(mean=1e3)
    expected = np.cov(torch.cat([x, y]).numpy(), rowvar=False)
    merged = of(x, 100) + of(y, 200)
    assert merged.covariance.numpy() == pytest.approx(expected, rel=1e-12)


def test_shards_may_be_empty_but_blocks_must_exist():
    x = draw(5)
    assert (of(x[:0]) + of(x[:0])).n == 0
    with pytest.raises(ValueError, match="at least one block"):
        Moments.of([])


def test_gram_fills_at_and_above_the_diagonal():
    x = draw(20, 4, 0.0)
    gram = torch.eye(4, dtype=torch.float64)
    add_gram(gram, x)
    expected = torch.eye(4, dtype=torch.float64) + x.T @ x
    assert gram.triu().numpy() == pytest.approx(expected.triu().numpy())


def test_rows_are_not_changed():
    x = draw()
    kept = x.clone()
    of(x, 100)
    assert torch.equal(x, kept)
