"""The network whose Frechet distance is called FID."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.features.checkpoint import fill, read
from gantlet.features.images import Looks, Resize
from gantlet.features.inception_net import Inception as Net
from gantlet.features.pretrained import features_of
from gantlet.features.weights import choose, known

_SIZE = 299

IMAGES_AT_ONCE = 16
"""Images that go through the network together."""

FID = f"inception/sha256:{known('inception').sha256[:16]}/tf1 to {_SIZE}x{_SIZE}"
"""How fingerprints begin whose Frechet distance may be called FID, and kernel distance KID."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inception:
    """The 2,048 numbers that the Inception-v3 network of December 2015 sees last.

    With the published weights and ``resize=tf1`` the Frechet distance of these features is FID,
    and the score of its class probabilities is the Inception Score. Images are resized to
    299x299; the class probabilities leave the bias of the last layer out, as the code of the
    Inception Score did.

    Source: Szegedy et al., 2016, https://arxiv.org/abs/1512.00567; Heusel et al., 2017,
        https://arxiv.org/abs/1706.08500; Salimans et al., 2016, https://arxiv.org/abs/1606.03498.

    Attributes:
        weights: Path of a file of your own with tensors of the same names, or the name of one that
            was added; the published file if none is given.
        resize: ``tf1`` as TensorFlow 1 did it, or ``antialias`` (bicubic), as Clean-FID does it.
    """

    learns: ClassVar[bool] = False

    weights: str | None = None
    resize: Literal["tf1", "antialias"] = "tf1"

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If samples are no images, or the weights are not here or not whole.
        """
        del data, rng
        how: Resize = "tf1" if self.resize == "tf1" else "bicubic"
        looks = Looks(space=space, channels=3, size=_SIZE, resize=how, pixels="inception")
        looks.check()
        found = choose("inception", self.weights)
        with torch.device("meta"):
            net = Net()
        fill(net, read(found.path), found.path)
        net.eval().requires_grad_(requires_grad=False)

        def run(x: Tensor) -> Tensor:
            # Channels last in memory take a fifth less time on a CPU.
            y: Tensor = net.to(x.device)(x.contiguous(memory_format=torch.channels_last))
            return y

        return features_of(
            run,
            looks,
            name="inception",
            found=found,
            batch=IMAGES_AT_ONCE,
            note="2,048 features of Inception-v3 (2015)",
            classify=lambda x: net.probabilities(run(x)),
        )
