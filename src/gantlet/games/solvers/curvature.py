"""How each player's gradient depends on everybody: products with the Jacobian of a game.

With ``L_i`` the loss of player i and ``w_j`` the parameters of player j, the field is
``F = (dL_1/dw_1, dL_2/dw_2, ...)`` and ``J`` its Jacobian. All products differentiate gradients
that are already there, so each costs about as much as one more gradient.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gantlet.games.solvers.vectors import Look, Parameters, flat

# The gradient of one player's loss in the parameters of another, and a factor.
_Term = tuple[str, str, float]


@final
class Curvature:
    """The gradients of all losses at the present parameters, ready to be differentiated again.

    Vectors have shape ``(n,)``: the parameters of all players, one after the other. Nothing of a
    critic's penalty is left out, which makes its part a third derivative.

    Args:
        parameters: Those of all players.
        look: Batch and noise, the same for all losses.
        cross: Whether to take gradients in the other players' parameters too, which all products
            but ``transposed`` need.
    """

    def __init__(self, parameters: Parameters, look: Look, *, cross: bool = True) -> None:
        self._parameters = parameters
        self._players = list(parameters.of)
        self._slopes: dict[tuple[str, str], list[Tensor]] = {}
        self.losses: dict[str, float] = {}
        for name in self._players:
            # The fast kernels of attention cannot be differentiated twice.
            with sdpa_kernel(SDPBackend.MATH):
                loss = parameters.game.coupled(name, look.batch, rng=look.rng())
            self.losses[name] = loss.item()
            self._differentiate(name, loss, self._players if cross else [name])
        self.field = flat([s.detach() for p in self._players for s in self._slopes[p, p]])

    def _differentiate(self, name: str, loss: Tensor, inside: list[str]) -> None:
        of = self._parameters.of
        inputs = [p for other in inside for p in of[other]]
        found = iter(torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True))
        for other in inside:
            self._slopes[name, other] = [next(found) for _ in of[other]]

    def transposed(self, vector: Tensor) -> Tensor:
        """Returns the product of the transposed Jacobian with a vector."""
        terms = [(p, p, 1.0) for p in self._players]
        return flat(self._pull(self._parameters.all, terms, vector))

    def times(self, vector: Tensor) -> Tensor:
        """Returns the product of the Jacobian with a vector.

        Row i is a gradient in ``w_i``, since second derivatives of ``L_i`` commute.
        """
        return self._by_player(vector, lambda i, j: [(i, j, 1.0)], own=True)

    def twist(self, vector: Tensor) -> Tensor:
        """Returns the product of the antisymmetric part ``(J - J') / 2`` with a vector.

        The second derivatives of a player's loss in its own parameters cancel and are not taken.
        """
        return self._by_player(vector, lambda i, j: [(i, j, 0.5), (j, j, -0.5)], own=False)

    def mixed(self, vector: Tensor) -> Tensor:
        """Returns the product with the Jacobian less its blocks on the diagonal."""
        return self._by_player(vector, lambda i, j: [(i, j, 1.0)], own=False)

    def mixed_transposed(self, vector: Tensor) -> Tensor:
        """Returns the product with the transpose of what ``mixed`` multiplies by."""
        return self._by_player(vector, lambda _, j: [(j, j, 1.0)], own=False)

    def _by_player(
        self, vector: Tensor, terms: Callable[[str, str], list[_Term]], *, own: bool
    ) -> Tensor:
        """Returns rows of a product, each the sum of what others, and it itself, pull it by."""
        rows: list[Tensor] = []
        for i in self._players:
            others = [j for j in self._players if own or j != i]
            pulled = [term for j in others for term in terms(i, j)]
            rows += self._pull(self._parameters.of[i], pulled, vector)
        return flat(rows)

    def _pull(
        self, inputs: list[nn.Parameter], terms: Iterable[_Term], vector: Tensor
    ) -> Sequence[Tensor]:
        """Returns the gradient in ``inputs`` of slopes times parts of ``vector``."""
        parts = self._parts(vector)
        outputs: list[Tensor] = []
        weights: list[Tensor] = []
        for i, j, scale in terms:
            for slope, part in zip(self._slopes[i, j], parts[j], strict=True):
                # The slope of a loss that is linear in a parameter may depend on nothing.
                if slope.requires_grad:
                    outputs.append(slope)
                    weights.append(part if scale == 1 else scale * part)
        if not outputs:
            return [torch.zeros_like(p) for p in inputs]
        return torch.autograd.grad(
            outputs, inputs, weights, retain_graph=True, materialize_grads=True
        )

    def _parts(self, vector: Tensor) -> dict[str, list[Tensor]]:
        views = iter(self._parameters.views(vector))
        return {name: [next(views) for _ in own] for name, own in self._parameters.of.items()}
