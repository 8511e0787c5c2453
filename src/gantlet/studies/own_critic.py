"""A trained GAN's own critic as an extractor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.components import label
from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.game import Adversarial
from gantlet.core.measure import Extract, Features, Partisan
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.features.frozen import block_of, digest, exactly
from gantlet.nets.critic import Critic
from gantlet.studies.find import find_trial
from gantlet.studies.sources import source_of
from gantlet.studies.tournament.entrants import HOW, Course, snapshots_in, snapshots_of


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCritic(Partisan):
    """The last hidden layer of the critic that a GAN was trained against.

    It has learned what told its generator's samples from real ones. So it shows what is wrong
    with them, and nothing fair about any other model: ranks refuse it.

    Source: Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434, section 5.1: a
    critic as a feature extractor.

    Differs from the paper: the last hidden layer alone, without pooling.

    Attributes:
        run: The run folder, trained with ``--snapshots``.
        model: The model, as the report of the run names it; none where there is only one.
        seed: Its seed.
        snapshot: The number of the snapshot; none is the last.
    """

    learns: ClassVar[bool] = False

    run: str
    model: str | None = None
    seed: int = 0
    snapshot: Annotated[int, Between(1)] | None = None

    @property
    @override
    def why(self) -> str:
        return (
            "a critic has learned to tell samples of one model, so it ranks no models fairly; use "
            "it with gantlet flaws, or give other --features"
        )

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If there is no such critic, or it judges other samples.
        """
        del data, rng
        trial, folder = find_trial(Path(self.run).expanduser(), self.model, self.seed)
        its = source_of(trial)[0]
        if (its.kind, its.shape, its.levels) != (space.kind, space.shape, space.levels):
            raise UserError(f"The critic of {self.run} judges {its.label}. Got {space.label}.")
        chosen = self._chosen(snapshots_in(folder))
        course = Course(f"{label(trial.parts['model'])} #{trial.seed}", trial, folder, (chosen,))
        snapshot = next(iter(snapshots_of(course)), None)
        if snapshot is None or not isinstance(snapshot.game, Adversarial):
            raise UserError(f"{course.name} of {self.run} has no critic. Name a GAN.")
        extract, size, weights = _hidden(snapshot.game, space)
        return Features(
            extract=extract,
            note=f"the {size} hidden units of the critic that {course.name} of {self.run} was "
            f"trained against, at step {snapshot.step}: for a list of flaws, not for ranks",
            fingerprint=f"critic/{course.name}/{snapshot.step}/{space.label}/{weights}",
        )

    def _chosen(self, names: tuple[str, ...]) -> str:
        """Returns the name of the snapshot that is meant."""
        if not names:
            raise UserError(f"{self.run} holds no snapshot of a critic: {HOW}.")
        if self.snapshot is None:
            return names[-1]
        wanted = f"snapshot-{self.snapshot:03d}"
        if wanted not in names:
            known = ", ".join(str(int(n.rpartition("-")[2])) for n in names)
            raise UserError(f"{self.run} has no snapshot {self.snapshot}. It has: {known}.")
        return wanted


def _hidden(game: Adversarial, space: Space) -> tuple[Extract, int, str]:
    """Returns what the critic's score is a linear function of, its size, and a hash of it all."""
    players = [player.eval() for player in game.players.values()]
    judges = [m for player in players for m in player.modules() if isinstance(m, Critic)]
    if len(judges) != 1:
        raise UserError(f"A game with {len(judges)} critics gives no features: one is needed.")
    (judge,) = judges

    @torch.no_grad()
    def extract(x: Tensor) -> Tensor:
        for player in players:
            player.to(x.device)
        with exactly():
            parts = [_entering(judge, game, part) for part in torch.split(x, block_of(space))]
        return torch.cat(parts).float()

    states = {f"{i}/{k}": v for i, p in enumerate(players) for k, v in p.state_dict().items()}
    return extract, judge.head.in_features, digest(states)


def _entering(judge: Critic, game: Adversarial, x: Tensor) -> Tensor:
    """Returns what enters the last layer of a critic while its game asks it for scores."""
    caught: list[Tensor] = []
    hook = judge.head.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        game.critic(x.float())
    finally:
        hook.remove()
    return caught[0]
