"""Monitors of a training: when they look, what they cost, and what is kept of them."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from gantlet.core.data import Source
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.model import Game, Monitor, Play
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, monitors


def named_monitors(texts: Sequence[str]) -> dict[str, Monitor]:
    """Returns monitors from their written forms, by name.

    Raises:
        UserError: If one is unknown, or named twice.
    """
    found: dict[str, Monitor] = {}
    for text in texts:
        name = monitors.expand(text).name
        if name in found:
            raise UserError(f"The monitor {name} is given twice. Give it once.")
        found[name] = monitors.make(text)
    return found


def resolved_monitors(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns monitors with every option written out, in the order of their names."""
    named_monitors(texts)
    return tuple(sorted((monitors.resolve(t) for t in texts), key=lambda t: Spec.parse(t).name))


@final
class Monitors:
    """All monitors of one training.

    A look is due as soon as it fits into its monitor's share of the steps so far. Costs are
    counts, so that the same training has the same looks, wherever it runs and is resumed.

    Args:
        settings: The monitors by name.
        game: The game in training.
        train: The training samples.
        batch: Batch size of training.
        rng: Streams of random numbers; those of training are not touched.

    Raises:
        UserError: If one cannot be measured on this game.
    """

    def __init__(
        self,
        settings: Mapping[str, Monitor],
        game: Game,
        train: Source,
        *,
        batch: int,
        rng: Rng,
    ) -> None:
        self._shares = {name: one.share for name, one in settings.items()}
        self._at_work = {
            name: one.start(game, train, batch=batch, rng=rng) for name, one in settings.items()
        }
        self._spent = dict.fromkeys(settings, 0.0)
        self._looks = dict.fromkeys(settings, 0)
        self._steps = 0

    def after(self, step: int, play: Play) -> None:
        """Lets those look that a step makes due."""
        self._steps = step
        for name, one in self._at_work.items():
            cost = one.cost
            if self._spent[name] + cost <= self._shares[name] * step:
                one.look(step, play)
                self._spent[name] += cost
                self._looks[name] += 1

    def point(self) -> dict[str, float | None]:
        """Returns the numbers since the last call, for a point of the curve."""
        return {k: v for one in self._at_work.values() for k, v in one.point().items()}

    def scores(self) -> dict[str, Estimate]:
        """Returns what all looks say, how many there were, and their share of the cost."""
        found: dict[str, Estimate] = {}
        for name, one in self._at_work.items():
            looks, share = self._looks[name], self._spent[name] / max(self._steps, 1)
            found |= one.scores()
            found[f"looks of monitor {name}"] = Estimate.exact(looks, unit="looks")
            found[f"cost of monitor {name}"] = Estimate.exact(
                share, method="cost of the looks in training steps, over the steps"
            )
        return found

    def charts(self) -> list[dict[str, Any]]:
        """Returns the curves of all monitors."""
        return [dict(chart) for one in self._at_work.values() for chart in one.charts()]

    def state_dict(self) -> dict[str, Any]:
        """Returns the full state for an exact continuation."""
        return {
            "at work": {name: one.state_dict() for name, one in self._at_work.items()},
            "spent": dict(self._spent),
            "looks": dict(self._looks),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state returned by ``state_dict``."""
        for name, one in self._at_work.items():
            one.load_state_dict(state["at work"][name])
        self._spent = {name: state["spent"][name] for name in self._at_work}
        self._looks = {name: state["looks"][name] for name in self._at_work}
        self._steps = state["steps"]
