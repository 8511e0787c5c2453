"""The contract of data sets."""

import torch

from gantlet.core.dataset import Dataset, everything, groups_of, rows
from gantlet.core.rng import Rng
from gantlet.testing.families import untouched_global_state


def check_dataset(dataset: Dataset, *, most: int = 1000) -> None:
    """Checks that ``dataset`` keeps the contract.

    Args:
        dataset: The data set.
        most: How many samples of each split to look at.

    Raises:
        AssertionError: If it does not; the message names the broken clause.
    """
    with untouched_global_state():
        first, second = (dataset.load(rng=Rng(0)) for _ in range(2))
    assert first.note, "splits say how they were made"
    for name in ("train", "validation", "test"):
        split, again = getattr(first, name), getattr(second, name)
        assert len(split) > 1, f"{name} has samples"
        x = everything(split, most)
        dataset.space.check(x, name)
        assert x.dtype == torch.float32, f"{name} is float32"
        assert torch.equal(x, everything(again, most)), f"same seed, same split: {name} differs"
        ends = torch.tensor([len(split) - 1, 0])
        last = split.take(ends)
        assert torch.equal(last[1], x[0]), f"{name} is taken by index"
        if split.labels is not None:
            assert len(split.labels) == len(split), f"every sample of {name} has a label"
        both = rows(split, ends)
        assert torch.equal(both.x, last), f"rows of {name} are its samples"
        for kept, whole in ((both.context, split.labels), (both.groups, groups_of(split))):
            assert (kept is None) == (whole is None), f"rows of {name} hold labels and groups"
            if kept is not None and whole is not None:
                assert torch.equal(kept, whole[ends].to(kept.dtype)), f"rows of {name} fit"
