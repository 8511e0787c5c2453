"""Fresh critics: many networks of one shape, trained at once against a frozen generator.

They judge what a generator's own critic says: of other seeds and disjoint data, they share its
weaknesses only where these are weaknesses of all such critics.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from gantlet.core.errors import UserError
from gantlet.games.attack import Score
from gantlet.models.losses import AdversarialObjective

See: TypeAlias = Callable[[Tensor, torch.Generator | None], Tensor]
"""Samples as critics see them: scaled; with a generator of noise also dequantised."""


@final
class FreshCritics:
    """Critics of other seeds, each of which scores the same samples.

    All networks run as one, their weights stacked: on small networks eight take little longer than
    one.

    Args:
        nets: Networks of one shape, of scaled samples ``(n, ...)`` to scores ``(n,)``; they are
            copied, in evaluation mode.
        see: Brings samples into the form that they take.
    """

    def __init__(self, nets: Sequence[nn.Module], see: See) -> None:
        copies = [deepcopy(net).eval() for net in nets]
        self._parameters, self._buffers = stack_module_state(copies)
        self._base = copies[0]
        self._see = see
        self.count = len(copies)

    @property
    def parameters(self) -> list[Tensor]:
        """The stacked weights, each of shape ``(count, ...)``."""
        return list(self._parameters.values())

    def each(self, x: Tensor) -> Tensor:
        """Returns the score that every critic gives to its own samples.

        Args:
            x: As critics see them, shape ``(count, n, ...)``.

        Returns:
            Shape ``(count, n)``.
        """

        def one(weights: Any, buffers: Any, own: Tensor) -> Tensor:
            found: Tensor = functional_call(self._base, (weights, buffers), (own,))
            return found.reshape(len(own))

        found: Tensor = vmap(one, randomness="different")(self._parameters, self._buffers, x)
        return found

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Returns the scores that all critics give to the same samples ``(n, ...)``.

        Returns:
            Shape ``(count, n)``.
        """
        seen = self._see(x, None)
        return self.each(seen.expand(self.count, *seen.shape)).detach()

    def one(self, k: int) -> Score:
        """Returns critic ``k`` alone, differentiable in the samples."""
        weights = {name: p[k].detach() for name, p in self._parameters.items()}
        buffers = {name: b[k] for name, b in self._buffers.items()}

        def score(x: Tensor) -> Tensor:
            seen = self._see(x, None)
            found: Tensor = functional_call(self._base, (weights, buffers), (seen,))
            return found.reshape(len(x))

        return score


# Adam for critics alone: without momentum, as GANs have it.
_LR, _BETAS = 1e-3, (0.0, 0.99)


def train_critics(
    nets: Sequence[nn.Module],
    real: Tensor,
    fakes: Tensor,
    *,
    rules: AdversarialObjective,
    see: See,
    rng: torch.Generator,
    steps: int = 300,
    batch: int = 64,
    lr: float = _LR,
    watch: Callable[[float], None] = lambda _: None,
) -> FreshCritics:
    """Returns critics trained against a frozen generator, each on its own part of the real data.

    Args:
        nets: Untrained networks of one shape, with weights of different seeds.
        real: Real samples, shape ``(n, ...)``; they are dealt out evenly, so that no two critics
            share one.
        fakes: Samples of the generator, from which every critic draws.
        rules: Loss and penalty of critics.
        see: Brings samples into the form that critics see.
        rng: Draws batches, and noise where there is some.
        steps: Steps of Adam.
        batch: Real samples, and fake ones, in a step of each.
        lr: Learning rate.
        watch: Told the share of the steps that are done.

    Raises:
        UserError: If there are fewer than two real samples for each critic.
    """
    count = len(nets)
    each = len(real) // max(count, 1)
    if each < 2:
        raise UserError(
            f"{count} fresh critics need at least 2 real samples each, {2 * count} in all. Got "
            f"{len(real)}; give fewer critics or more data."
        )
    order = torch.randperm(len(real), generator=rng, device=rng.device)[: each * count]
    parts = order.reshape(count, each)
    critics = FreshCritics(nets, see)
    for p in critics.parameters:
        p.requires_grad_()
    optimizer = torch.optim.Adam(critics.parameters, lr=lr, betas=_BETAS)

    def score(x: Tensor) -> Tensor:
        return critics.each(x.reshape(count, -1, *x.shape[1:])).flatten()

    with torch.enable_grad():
        for t in range(steps):
            chosen = torch.randint(each, (count, batch), generator=rng, device=rng.device)
            mine = real[parts.gather(1, chosen).flatten()]
            theirs = fakes[
                torch.randint(len(fakes), (count * batch,), generator=rng, device=rng.device)
            ]
            loss = rules.critic(score, see(mine, rng), see(theirs, rng), rng=rng)
            # The mean over all critics, and each is to have its own: a sum.
            gradients = torch.autograd.grad(count * loss, critics.parameters)
            for p, g in zip(critics.parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()
            watch((t + 1) / steps)
    for p in critics.parameters:
        p.requires_grad_(False)  # noqa: FBT003
    return critics
