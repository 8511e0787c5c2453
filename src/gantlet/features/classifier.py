"""A small network trained on the data's own labels; what it sees last are the features."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec
from gantlet.features.classifier_net import ClassifierNet
from gantlet.features.frozen import frozen, scaling_of, some
from gantlet.features.supervised import batches_in, count_right, in_words, labelled, train
from gantlet.nets.seeding import seeded


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The penultimate layer of a classifier that is trained on the labels of the data.

    Convolutions with batch normalisation for images, an MLP for anything else; Adam on the
    cross-entropy; the epoch with the highest validation accuracy is kept. The test split does
    nothing but rate it.

    Source: Heusel et al., 2017, https://arxiv.org/abs/1706.08500, whose features are those of a
        classifier too; batch normalisation after Ioffe and Szegedy, 2015,
        https://arxiv.org/abs/1502.03167.
    Differs from the paper: a small network that knows the data at hand, not Inception; a distance
        of its features is no FID.

    Attributes:
        features: Width of the penultimate layer.
        samples: Most training samples.
        epochs: Most times that each of them is seen.
        steps: Most steps, each on 64 samples.
        lr: Largest learning rate; it rises for 50 steps and falls to zero along a cosine.
    """

    learns: ClassVar[bool] = True

    features: Annotated[int, Between(1)] = 64
    samples: Annotated[int, Between(2)] = 20_000
    epochs: Annotated[int, Between(1)] = 20
    steps: Annotated[int, Between(1)] = 2_000
    lr: Annotated[float, Between(0)] = 4e-3

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Trains the classifier and returns its features.

        Raises:
            UserError: If a split has no labels, or the training split has fewer than two classes.
        """
        known = labelled(data)
        own = Rng(rng.seed)
        chosen = some(len(data.train), self.samples, rng=own.stream("classifier/samples"))
        net = self._net(space, data, known.count, own)
        net.to(rng.device)
        steps = min(self.steps, self.epochs * batches_in(len(chosen)))
        train(net, known, chosen=chosen, steps=steps, lr=self.lr, rng=rng)
        rated = in_words(*count_right(net, known.test, rng=rng))
        return frozen(
            net.body,
            space,
            spec=Spec.of("classifier", self),
            note=f"the {self.features} numbers that a classifier of {known.count} classes sees "
            f"last, trained on {len(chosen)} labelled samples; test accuracy {rated}",
            head=net.head,
        )

    def _net(self, space: Space, data: Splits, classes: int, rng: Rng) -> ClassifierNet:
        """Returns the untrained network."""
        scaling = scaling_of(space, data.train, rng=rng.stream("classifier/scaling"))
        with seeded(rng.stream("classifier/init")):
            return ClassifierNet(space, scaling, features=self.features, classes=classes)
