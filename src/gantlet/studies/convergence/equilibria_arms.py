"""What each method offers as its mixed strategies after a share of the budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.compute.flops import count
from gantlet.core.dataset import Splits, everything
from gantlet.core.game import Adversarial
from gantlet.core.rng import Rng
from gantlet.games.distance import energy_distance
from gantlet.games.mixed import CRITIC, GENERATOR, Mixed, State, payoffs, tournament
from gantlet.studies.convergence.equilibria_plan import Scale

LAST = "last iterate"
AVERAGE = "average of weights"
BEST = "best checkpoint"
UNIFORM = "uniform mixture of checkpoints"
SOLVED = "equilibrium of checkpoints"
NEAR_LAST, NEAR_MIXED = "last against the near past", "mixture against the near past"
FAR_LAST, FAR_MIXED = "last against the far past", "mixture against the far past"
LANGEVIN = "mixture of Langevin dynamics"
MIX = "MIX+GAN"
ORACLE = "double oracle"
ARMS = (
    LAST,
    AVERAGE,
    BEST,
    UNIFORM,
    SOLVED,
    NEAR_LAST,
    NEAR_MIXED,
    FAR_LAST,
    FAR_MIXED,
    LANGEVIN,
    MIX,
    ORACLE,
)
"""All that is compared, in the order of tables; the others are held to the first."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offer:
    """Mixed strategies, and what finding them took.

    Attributes:
        arm: What found them.
        share: With which share of the budget.
        mixed: The strategies.
        flops: Operations spent until then, choosing included.
        held: Networks that had to be kept on the way.
        responses: Best responses that were searched for.
    """

    arm: str
    share: float
    mixed: Mixed
    flops: float
    held: int
    responses: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """A training of one generator and one critic, as its snapshots.

    Attributes:
        game: Whose players take stored weights.
        snapshots: The saved tensors, in order.
        scale: How large everything is.
        splits: The data; choices look at its validation split.
        rng: Its streams decide noise.
    """

    game: Adversarial
    snapshots: Sequence[Mapping[str, Tensor]]
    scale: Scale
    splits: Splits
    rng: Rng

    def plain(self) -> Iterator[Offer]:
        """Yields what can be made of the snapshots of plain training."""
        for share in self.scale.shares:
            n = self._until(share)
            spent = share * self.scale.flops
            yield self._offer(LAST, share, self._mixed([n - 1]), spent, 2)
            last = Mixed.pure(below(self.snapshots[n - 1], "model/"), self._critic(n - 1))
            yield self._offer(AVERAGE, share, last, spent, 3)
            yield self.uniform(UNIFORM, share)
            yield self._best(share)
            yield self._solved(share)

    def last(self, arm: str, share: float, held: int) -> Offer:
        """Returns the present generator against the present critic."""
        mixed = self._mixed([self._until(share) - 1])
        return self._offer(arm, share, mixed, share * self.scale.flops, held)

    def uniform(self, arm: str, share: float) -> Offer:
        """Returns the second half of the snapshots so far, with equal weights."""
        n = self._until(share)
        mixed = self._mixed(range(n // 2, n))
        return self._offer(arm, share, mixed, share * self.scale.flops, mixed.networks)

    def _best(self, share: float) -> Offer:
        """Returns the generator nearest to validation samples, and the critic of then."""
        price = count(lambda: self._distance(0)).flops
        n = self._affordable(share, lambda n: n * price)
        best = min(range(n), key=self._distance)
        return self._offer(BEST, share, self._mixed([best]), self._spent(n) + n * price, 4)

    def _solved(self, share: float) -> Offer:
        """Returns the equilibrium among snapshots, by validation samples."""
        x = self._judged()
        one = self._generator(0), self._critic(0)
        price = count(lambda: payoffs(self.game, one[:1], one[1:], x, rng=self._noise())).flops
        n = self._affordable(share, lambda n: n * n * price)
        nets = [[of(i) for i in range(n)] for of in (self._generator, self._critic)]
        mixed = tournament(self.game, nets[0], nets[1], x, rng=self._noise())
        return self._offer(SOLVED, share, mixed, self._spent(n) + n * n * price, 2 * n)

    def _affordable(self, share: float, price: Callable[[int], float]) -> int:
        """Returns how many snapshots fit into the budget together with a choice among them."""
        fits = [
            n
            for n in range(1, self._until(share) + 1)
            if self._spent(n) + price(n) <= share * self.scale.flops
        ]
        return max(fits, default=1)

    def _spent(self, n: int) -> float:
        return n / self.scale.snapshots * self.scale.flops

    def _until(self, share: float) -> int:
        return max(1, min(len(self.snapshots), int(share * self.scale.snapshots)))

    @torch.no_grad()
    def _distance(self, i: int) -> float:
        x = self._judged()
        self.game.players[GENERATOR].load_state_dict(self._generator(i))
        return float(energy_distance(x, self.game.model.sample(len(x), rng=self._noise())))

    def _judged(self) -> Tensor:
        return everything(self.splits.validation, self.scale.judged).to(self.rng.device)

    def _noise(self) -> torch.Generator:
        return self.rng.stream("choosing")

    def _mixed(self, which: Sequence[int]) -> Mixed:
        return Mixed.uniform([self._generator(i) for i in which], [self._critic(i) for i in which])

    def _generator(self, i: int) -> State:
        return below(self.snapshots[i], f"players/{GENERATOR}/")

    def _critic(self, i: int) -> State:
        return below(self.snapshots[i], f"players/{CRITIC}/")

    @staticmethod
    def _offer(arm: str, share: float, mixed: Mixed, flops: float, held: int) -> Offer:
        return Offer(arm=arm, share=share, mixed=mixed, flops=flops, held=held)


def below(tensors: Mapping[str, Tensor], prefix: str) -> State:
    """Returns the tensors whose names begin with ``prefix``, under what follows it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def mixtures(snapshots: Sequence[Mapping[str, Tensor]], scale: Scale) -> Iterator[Offer]:
    """Yields the mixtures of MIX+GAN from its snapshots."""
    for share in scale.shares:
        saved = snapshots[max(1, min(len(snapshots), int(share * scale.snapshots))) - 1]
        weights = {
            side: below(saved, f"players/{side} weights/")["logits"].double().softmax(0)
            for side in (GENERATOR, CRITIC)
        }
        nets = {
            side: [below(saved, f"players/{side} {i + 1}/") for i in range(len(own))]
            for side, own in weights.items()
        }
        mixed = Mixed(nets[GENERATOR], nets[CRITIC], weights[GENERATOR], weights[CRITIC])
        spent = share * scale.flops
        yield Offer(arm=MIX, share=share, mixed=mixed, flops=spent, held=mixed.networks)
