"""A buffer of past fake samples, from which a critic does not forget what it once rejected."""

from typing import final

import torch
from torch import Tensor, nn


@final
class PastFakes(nn.Module):
    """Fake samples of earlier steps, of which a critic sees some among the new ones.

    Half of a batch of fakes is drawn from the buffer, as soon as it holds any. After each step it
    takes up half of the new fakes: they are added while there is room, and replace random ones
    after that. Its samples are buffers of the module, saved and restored with the critic.

    Source: Shrivastava et al., 2017, https://arxiv.org/abs/1612.07828, section 2.3.

    Args:
        shape: The shape of one sample.
        size: Number of samples that it holds.
    """

    samples: Tensor
    held: Tensor

    def __init__(self, shape: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.register_buffer("samples", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))
        self._new: Tensor | None = None

    def mixed(self, fake: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns fakes, shape ``(n, *shape)``, the last ``n // 2`` from the buffer if it has any.

        It is a function of its arguments and the buffer, which it leaves alone.
        """
        self._new = fake.detach()
        half = len(fake) - len(fake) // 2
        # Without a look at the number that is held, so that costs can be counted on shapes alone.
        drawn = torch.rand(len(fake) // 2, generator=rng, device=fake.device)
        index = (drawn * self.held).long().clamp(max=len(self.samples) - 1)
        past = self.samples[index].to(fake.dtype)
        return torch.cat([fake[:half], torch.where(self.held > 0, past, fake[half:])])

    @torch.no_grad()
    def advance(self, *, rng: torch.Generator) -> None:
        """Takes up half of the fakes that were seen last."""
        if self._new is None:
            return
        held, size = int(self.held), len(self.samples)
        new = self._new[: min(max(1, len(self._new) // 2), size)].to(self.samples.dtype)
        room = min(size - held, len(new))
        added = torch.arange(held, held + room, device=new.device)
        replaced = torch.randperm(held, generator=rng, device=new.device)[: len(new) - room]
        self.samples[torch.cat([added, replaced])] = new
        self.held.add_(room)
        self._new = None
