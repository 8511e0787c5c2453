"""The double oracle under a budget of operations."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from gantlet.compute.flops import count
from gantlet.core.dataset import Splits, everything
from gantlet.core.game import Adversarial
from gantlet.core.rng import Rng
from gantlet.games.equilibria import Round, double_oracle
from gantlet.games.mixed import CRITIC, GENERATOR, Mixed, Stage, State, kept, respond, state_of
from gantlet.studies.convergence.equilibria_arms import ORACLE, Offer
from gantlet.studies.convergence.equilibria_plan import Scale

_LR = 1e-3
_BATCH = 128


def oracle(
    game: Adversarial,
    splits: Splits,
    scale: Scale,
    *,
    rng: Rng,
    watch: Callable[[float], None],
) -> Iterator[Offer]:
    """Yields the equilibrium of the networks known at each share of the budget.

    Args:
        game: Untrained; its players are the first strategies.
        splits: The data: best responses learn from its train split, payoffs are of validation.
        scale: How large everything is.
        rng: Its streams decide everything random.
        watch: Told the spent share of the budget after each round.
    """
    train = everything(splits.train).to(rng.device)
    with torch.no_grad():
        game.prepare(train[:512], rng=rng.stream("prepare"))
    stage = Stage(
        game,
        train,
        everything(splits.validation, scale.judged).to(rng.device),
        steps=scale.response,
        lr=_LR,
        rng=rng,
        batch=_BATCH,
    )
    first = {name: state_of(player) for name, player in game.players.items()}
    response, payoff = _prices(game, stage, train, rng)
    spent, known = payoff, list[tuple[float, Round[State, State]]]()
    for found in double_oracle(stage, [first[GENERATOR]], [first[CRITIC]]):
        known.append((spent, found))
        spent += scale.response * response + (2 * len(found.rows) + 1) * payoff
        watch(min(1.0, spent / scale.flops))
        if spent > scale.flops:
            break
    for share in scale.shares:
        before, found = [k for k in known if k[0] <= share * scale.flops][-1]
        yield Offer(
            arm=ORACLE,
            share=share,
            mixed=Mixed.solved(found.rows, found.columns, found.equilibrium),
            flops=before,
            held=2 * len(found.rows),
            responses=2 * (len(found.rows) - 1),
        )


def _prices(game: Adversarial, stage: Stage, train: Tensor, rng: Rng) -> tuple[float, float]:
    """Returns the operations of one step of both best responses, and of one payoff."""
    nets = game.players
    with kept(nets[GENERATOR]), kept(nets[CRITIC]):
        steps = [count(partial(_step, game, player, train, rng)).flops for player in nets]
    pair = state_of(nets[GENERATOR]), state_of(nets[CRITIC])
    return sum(steps), count(partial(stage.payoff, *pair)).flops


def _step(game: Adversarial, player: str, train: Tensor, rng: Rng) -> None:
    respond(game, player, train, steps=1, lr=_LR, rng=rng, batch=_BATCH)
