"""Authenticity: the share of fakes that are no copies of training samples."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import proportion
from gantlet.core.measure import Sees
from gantlet.metrics.grouped_means import variance_of_mean
from gantlet.metrics.groups import without_interval
from gantlet.metrics.intervals import fraction
from gantlet.metrics.neighbour.search import Nearest, nearest_fellow_of
from gantlet.metrics.neighbour.tiles import edge
from gantlet.metrics.neighbour.train import TrainPlan, TrainScene, judged


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Authenticity:
    """The share of fake samples that lie no nearer to a training sample than its own fellows do.

    A fake is authentic if it is farther from its nearest training sample than that one is from the
    nearest other training sample. Copies are not. New samples are in about half of the cases, more
    in many dimensions; the method tells the share for held-out real ones, which is the one to
    compare with.

    Source: Alaa et al., 2022, https://arxiv.org/abs/2102.08921, section 4.

    Differs from the authors' program: it looks up the distance of the wrong training samples, with
    the indices of fake ones.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    def plan_train(self, rng: torch.Generator) -> TrainPlan:
        """Returns how it is found; draws nothing from ``rng``."""
        del rng  # nothing is random
        return AuthenticityPlan()

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``.

        The interval is for this training set and model, over new fakes.

        Raises:
            UserError: If the features cannot be compared.
        """
        return judged(self, TrainScene(real, fake, train), rng)


@final
class AuthenticityPlan(TrainPlan):
    """Compares the fakes' distances with those among training samples."""

    by_groups: ClassVar[bool] = True

    @override
    def judge(self, scene: TrainScene) -> Estimate:
        if reason := scene.too_few(2):
            return Estimate.missing(reason)
        fakes = authentic(scene, scene.near_fake)
        reals = authentic(scene, scene.near_real)
        floor = f"held-out real samples: {float(reals.double().mean()):.3f}"
        if scene.groups is None or scene.groups.fake is None:
            return proportion(int(fakes.sum()), len(fakes), of=f"fakes are authentic, {floor}")
        return _of_groups(fakes.double(), scene.groups.fake, floor)


def _of_groups(authentic: Tensor, group: Tensor, floor: str) -> Estimate:
    groups = int(group.max()) + 1
    method = (
        f"{int(authentic.sum())} of {len(authentic)} fakes are authentic, {floor}; Wilson's "
        f"interval at the effective size of {groups} groups"
    )
    found = fraction(
        float(authentic.mean()), variance_of_mean(authentic, group), n=groups, method=method
    )
    return found if groups > 1 else without_interval(found, "no interval: all are of one group")


def authentic(scene: TrainScene, near: Nearest) -> Tensor:
    """Returns which samples are farther from their training sample than its fellows, ``(m,)``."""
    owners, which = torch.unique(near.index[:, 0], return_inverse=True)
    fellows = nearest_fellow_of(owners, scene.base)
    edges = edge(fellows, scene.base, owners)
    return near.distance[:, 0] > edges[which]
