"""Hedge: probabilities that shrink exponentially with what a strategy has cost so far."""

from torch import Tensor

from gantlet.games.theory.course import Course, Pair, played


def hedge(
    payoff: Tensor, *, step: float, rounds: int, logits: Pair, optimistic: bool = False
) -> Course:
    """Returns the course of two players who use multiplicative weights, both at once.

    The logit of a row falls by ``step`` times what it would have paid, that of a column rises by
    ``step`` times what it would have got. The optimistic form counts the last round twice and
    takes back the one before: it expects the next round to be as the last one was. In the first
    round it expects nothing.

    Averages of both approach equilibrium; what is played in the last round does so in the
    optimistic form only, and runs away to pure strategies in the plain one.

    Source: Freund and Schapire, 1999, https://doi.org/10.1006/game.1999.0738; optimistic:
    Rakhlin and Sridharan, 2013, https://arxiv.org/abs/1311.1869.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        step: The learning rate.
        rounds: How many rounds.
        logits: Where both begin, shapes ``(m,)`` and ``(n,)``.
        optimistic: Whether to expect the next round to be as the last one was.

    Raises:
        UserError: If the payoff is no matrix of finite numbers.
    """
    rows, columns = logits[0].double().clone(), logits[1].double().clone()
    cost_before, gain_before = rows * 0, columns * 0

    def respond(cost: Tensor, gain: Tensor) -> Pair:
        more = (cost - cost_before, gain - gain_before) if optimistic else (0 * cost, 0 * gain)
        rows.sub_(step * (cost + more[0]))
        columns.add_(step * (gain + more[1]))
        cost_before.copy_(cost)
        gain_before.copy_(gain)
        return rows.softmax(0), columns.softmax(0)

    return played(payoff, (rows.softmax(0), columns.softmax(0)), respond, rounds)
