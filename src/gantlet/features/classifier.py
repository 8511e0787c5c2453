"""A small network trained on the data's own labels; what it looks at last are the features."""

from dataclasses import dataclass
from typing import Annotated, final

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec
from gantlet.features.frozen import frozen, scaling_of
from gantlet.features.supervised import Labelled, Network, accuracy, labelled, train


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The penultimate layer of a classifier, trained on the labels that the data set has.

    Trained with Adam and cross-entropy; the epoch with the highest validation accuracy is kept.

    Source: the practice of Heusel et al., 2017, https://arxiv.org/abs/1706.08500, with a network
        for the data at hand instead of Inception.

    Attributes:
        features: Width of the penultimate layer.
        samples: Most training samples.
        epochs: How often each of them is seen.
        lr: Learning rate at the start; it falls to zero along a cosine.
    """

    features: Annotated[int, Between(1)] = 64
    samples: Annotated[int, Between(2)] = 20_000
    epochs: Annotated[int, Between(1)] = 30
    lr: Annotated[float, Between(0)] = 2e-3

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Trains the classifier and returns its features; the test split only rates it.

        Raises:
            UserError: If a split has no labels, or the training split has fewer than two classes.
        """
        known = labelled(data)
        scaling = scaling_of(space, data.train, rng=Rng(rng.seed).stream("classifier/scaling"))
        net = Network(space, scaling, self.features, len(known.classes), rng=rng).to(rng.device)
        train(net, known, samples=self.samples, epochs=self.epochs, lr=self.lr, rng=rng)
        rated = accuracy(net, known, "test", rng.device)
        return frozen(
            net.body,
            space,
            spec=Spec.of("classifier", self),
            note=f"the last layer of a classifier of {len(known.classes)} classes, {rated}",
        )


__all__ = ["Classifier", "Labelled"]
