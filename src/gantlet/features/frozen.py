"""What fitted extractors share: training samples in blocks, and a net that no longer changes."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from gantlet.core.dataset import Source
from gantlet.core.measure import Extract, Features
from gantlet.core.space import Space
from gantlet.core.spec import Spec
from gantlet.nets.scaling import Scaling

COMPONENTS_AT_ONCE = 2**18
"""Components of the samples in one block; a net makes some thirty numbers of each."""

# Samples that suffice for the mean and deviation of each component.
_SCALED = 20_000


def block_of(space: Space) -> int:
    """Returns how many samples of ``space`` are looked at together.

    Example:
        >>> block_of(Space("image", (1, 28, 28), 256))
        334
    """
    return max(1, COMPONENTS_AT_ONCE // max(space.size, 1))


def some(n: int, most: int, *, rng: torch.Generator) -> Tensor:
    """Returns the indices of at most ``most`` of ``n`` samples, drawn by ``rng`` and sorted.

    All of them, in order, where there are no more than ``most``. ``rng`` lives on the CPU.

    Example:
        >>> some(3, 5, rng=torch.Generator())
        tensor([0, 1, 2])
    """
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=rng)[:most].sort().values


def blocks(
    source: Source, index: Tensor, space: Space, *, device: torch.device
) -> Iterator[Tensor]:
    """Yields the samples at ``index`` on ``device``, so many at a time that memory is bounded."""
    for part in torch.split(index, block_of(space)):
        yield source.take(part).to(device)


def scaling_of(space: Space, train: Source, *, rng: torch.Generator) -> Scaling:
    """Returns the map of samples to numbers of about unit size; at most 20,000 set it."""
    scaling = Scaling(space)
    if space.levels is None:
        scaling.fit(train.take(some(len(train), _SCALED, rng=rng)))
    return scaling


def exactly() -> AbstractContextManager[None]:
    """Returns a context in which a GPU convolves in full precision, each time alike."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return context


def frozen(
    net: nn.Module, space: Space, *, spec: Spec, note: str, head: nn.Module | None = None
) -> Features:
    """Returns the extractor that ``net`` has become; the net must not change afterwards.

    Args:
        net: Turns samples ``(n, *space.shape)`` into vectors ``(n, d)``.
        space: The space of the samples.
        spec: The extractor in written form, with all options.
        note: What it is and how good it is.
        head: Turns vectors into the logits of classes, or None where it knows no classes.
    """
    whole = net if head is None else nn.Sequential(net, head, nn.Softmax(1))
    return Features(
        extract=_extract(net, space),
        note=note,
        fingerprint=f"{spec}/{space.label}/{digest(whole.state_dict())}",
        classify=None if head is None else _extract(whole, space),
    )


def _extract(net: nn.Module, space: Space) -> Extract:
    net.eval().requires_grad_(requires_grad=False)
    size = block_of(space)

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        net.to(x.device)
        with exactly():
            return torch.cat([net(part.float()).float() for part in torch.split(x, size)])

    return extract


def digest(state: Mapping[str, Tensor]) -> str:
    """Returns a short hash of weights: their names, shapes, types and bits."""
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
