"""Each sample is read once to tell equal ones, whichever parts of a set are asked for."""

import torch

from gantlet.commands.copies import KnownDigests, digests
from gantlet.core.data import InMemory, Space
from gantlet.data.splits import Subset

SPACE = Space("image", (1, 2, 2), 256)


class Counted:
    labels = None

    def __init__(self, x):
        self.x, self.read = x, []

    def __len__(self):
        return len(self.x)

    def take(self, index):
        self.read += index.tolist()
        return self.x[index]


def test_parts_of_a_set_are_read_once_each_and_say_the_same():
    x = torch.randint(0, 3, (40, 1, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    source, known = Counted(x), KnownDigests()
    some = Subset(source, torch.tensor([7, 3, 30, 3]))
    part = Subset(some, torch.tensor([1, 0, 2]))
    for one in (part, some, source, part):
        rows = InMemory(one.take(torch.arange(len(one))))
        assert torch.equal(known.of(one, SPACE), digests(rows, SPACE))
    fresh = Counted(x)
    for one in (Subset(Subset(fresh, torch.tensor([7, 3, 30])), torch.tensor([1])), fresh, fresh):
        known.of(one, SPACE)
    assert sorted(fresh.read) == list(range(40))


def test_levels_are_rounded_and_numbers_are_not():
    source, known = InMemory(torch.tensor([[[[0.2]]], [[[0.0]]]])), KnownDigests()
    levels = known.of(source, Space("image", (1, 1, 1), 256))
    numbers = known.of(source, Space("image", (1, 1, 1), None))
    assert levels[0] == levels[1]
    assert numbers[0] != numbers[1]


def test_what_is_known_is_bounded():
    known = KnownDigests()
    for _ in range(100):
        known.of(InMemory(torch.zeros(3, 1, 2, 2)), SPACE)
    assert 0 < len(known) <= 64
