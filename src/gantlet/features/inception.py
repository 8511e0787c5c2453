"""The Inception-v3 network used by FID."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu
from typing_extensions import override

from gantlet.core.data import Space, Splits
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.features.preprocess import NetworkInput, Resize
from gantlet.features.weights import choose, features_of, fill, fold_norm, published_weights, read

# ----------------------------------------------------------------------------
# Inception-v3 as the TensorFlow graph of December 2015 has it, which FID rests on.
# ----------------------------------------------------------------------------

CLASSES = 1008
"""How many logits there are; the graph has eight more than ImageNet has classes."""

_Size = int | tuple[int, int]
_Pool = Literal["average", "largest", "shrink"]


class _Conv(NamedTuple):
    """A convolution of a block: its name, how many channels come out, and its form."""

    name: str
    out: int
    kernel: _Size = 1
    stride: int = 1


# What one branch does, step by step; the convolutions of one step see the same and are joined.
_Branch = Sequence[tuple[_Conv, ...]]


@final
class ConvNorm(nn.Module):
    """A convolution, normalised by fixed moments, and ReLU.

    Args:
        width: Channels that come in.
        out: Channels that come out.
        kernel: Height and width.
        stride: Step; no padding where it is not 1.
        padded: Whether the size stays as it is, at stride 1.
    """

    def __init__(
        self, width: int, out: int, kernel: _Size = 1, stride: int = 1, *, padded: bool = True
    ) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(width, out, size, stride, padding, bias=False)
        self.bn: nn.BatchNorm2d | None = nn.BatchNorm2d(out, eps=1e-3)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, out, h, w)``."""
        y = self.conv(x)
        return relu(y if self.bn is None else self.bn(y), inplace=True)

    def fold(self) -> None:
        """Makes the normalisation part of the convolution; for use only, not for training."""
        if self.bn is not None:
            folded = fold_norm(self.conv.weight.detach(), self.bn.state_dict(), self.bn.eps)
            self.conv.weight, self.conv.bias = map(nn.Parameter, folded)
            self.bn = None


@final
class InceptionBlock(nn.Module):
    """Branches side by side, the last of which begins with pooling.

    Args:
        width: Channels that come in.
        branches: What each branch does.
        pool: How the last branch pools: the average or the largest of 3x3, at stride 1, or the
            largest at stride 2.
        pooled: Channels of the convolution after it; 0 for none.
    """

    def __init__(
        self, width: int, branches: Sequence[_Branch], *, pool: _Pool, pooled: int = 0
    ) -> None:
        super().__init__()
        self.pool: _Pool = pool
        last: list[tuple[_Conv, ...]] = [(_Conv("branch_pool", pooled),)] if pooled else []
        self.branches = [[[c.name for c in step] for step in b] for b in (*branches, last)]
        for branch in (*branches, last):
            wide = width
            for step in branch:
                for conv in step:
                    made = ConvNorm(wide, conv.out, conv.kernel, conv.stride)
                    self.add_module(conv.name, made)
                wide = sum(conv.out for conv in step)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the maps of all branches, one after the other."""
        starts = [x] * (len(self.branches) - 1) + [self._pooled(x)]
        return torch.cat(
            [self._along(b, y) for b, y in zip(self.branches, starts, strict=True)], 1
        )

    def _along(self, branch: list[list[str]], y: Tensor) -> Tensor:
        for step in branch:
            y = torch.cat([self.get_submodule(name)(y) for name in step], 1)
        return y

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "average":  # of the pixels alone: padding counts for nothing
            return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        if self.pool == "largest":
            return max_pool2d(x, 3, stride=1, padding=1)
        return max_pool2d(x, 3, stride=2)


def _chain(*convs: _Conv) -> list[tuple[_Conv, ...]]:
    return [(conv,) for conv in convs]


def _block_a(width: int, pooled: int) -> InceptionBlock:
    one = _chain(_Conv("branch1x1", 64))
    five = _chain(_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, 5))
    three = _chain(
        _Conv("branch3x3dbl_1", 64),
        _Conv("branch3x3dbl_2", 96, 3),
        _Conv("branch3x3dbl_3", 96, 3),
    )
    return InceptionBlock(width, [one, five, three], pool="average", pooled=pooled)


def _block_b(width: int) -> InceptionBlock:
    three = _chain(_Conv("branch3x3", 384, 3, 2))
    twice = _chain(
        _Conv("branch3x3dbl_1", 64),
        _Conv("branch3x3dbl_2", 96, 3),
        _Conv("branch3x3dbl_3", 96, 3, 2),
    )
    return InceptionBlock(width, [three, twice], pool="shrink")


def _block_c(width: int, inner: int) -> InceptionBlock:
    row, column = (1, 7), (7, 1)
    one = _chain(_Conv("branch1x1", 192))
    seven = _chain(
        _Conv("branch7x7_1", inner),
        _Conv("branch7x7_2", inner, row),
        _Conv("branch7x7_3", 192, column),
    )
    twice = _chain(
        _Conv("branch7x7dbl_1", inner),
        _Conv("branch7x7dbl_2", inner, column),
        _Conv("branch7x7dbl_3", inner, row),
        _Conv("branch7x7dbl_4", inner, column),
        _Conv("branch7x7dbl_5", 192, row),
    )
    return InceptionBlock(width, [one, seven, twice], pool="average", pooled=192)


def _block_d(width: int) -> InceptionBlock:
    three = _chain(_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, 3, 2))
    seven = _chain(
        _Conv("branch7x7x3_1", 192),
        _Conv("branch7x7x3_2", 192, (1, 7)),
        _Conv("branch7x7x3_3", 192, (7, 1)),
        _Conv("branch7x7x3_4", 192, 3, 2),
    )
    return InceptionBlock(width, [three, seven], pool="shrink")


def _block_e(width: int, pool: _Pool) -> InceptionBlock:
    def fork(name: str) -> tuple[_Conv, ...]:
        return _Conv(f"{name}a", 384, (1, 3)), _Conv(f"{name}b", 384, (3, 1))

    one = _chain(_Conv("branch1x1", 320))
    three = [*_chain(_Conv("branch3x3_1", 384)), fork("branch3x3_2")]
    twice = _chain(_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, 3))
    return InceptionBlock(
        width, [one, three, [*twice, fork("branch3x3dbl_3")]], pool=pool, pooled=192
    )


@final
class InceptionNet(nn.Module):
    """The network from images to the 2,048 averages over its last maps, and 1,008 logits.

    The names of its parameters are those of the published file.

    Source: Szegedy et al., 2016, https://arxiv.org/abs/1512.00567.
    Differs from the paper: as the published graph does. Averages at the borders of maps leave the
        padding out, and the last block takes the largest of its 3x3 neighbourhood where the paper
        takes the average.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, padded=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, 128)
        self.Mixed_6c = _block_c(768, 160)
        self.Mixed_6d = _block_c(768, 160)
        self.Mixed_6e = _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, "average")
        self.Mixed_7c = _block_e(2048, "largest")
        self.fc = nn.Linear(2048, CLASSES)

    def fold(self) -> None:
        """Makes each normalisation part of its convolution; for use only, not for training."""
        for module in list(self.modules()):
            if isinstance(module, ConvNorm):
                module.fold()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features, shape ``(n, 2048)``, of images ``(n, 3, 299, 299)`` in [-1, 1)."""
        x = self.Mixed_6e(self.Mixed_6d(self._up_to_6c(x)))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))

    def maps(self, x: Tensor) -> Tensor:
        """Returns the maps whose first seven channels sFID takes, shape ``(n, 192, 17, 17)``.

        Those of the 1x1 convolution of the fourth block at this size, ``mixed_6/conv`` of the
        graph (Nash et al., 2021, https://arxiv.org/abs/2103.03841).
        """
        y: Tensor = self.Mixed_6d.get_submodule("branch1x1")(self._up_to_6c(x))
        return y

    def _up_to_6c(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        y: Tensor = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        return y

    def probabilities(self, features: Tensor) -> Tensor:
        """Returns class probabilities, shape ``(n, 1008)``, from features.

        The bias of the last layer is left out, as in the code of the Inception Score
        (Salimans et al., 2016, https://arxiv.org/abs/1606.03498).
        """
        return (features @ self.fc.weight.T).softmax(1)


# ----------------------------------------------------------------------------
# The network whose Frechet distance is called FID.
# ----------------------------------------------------------------------------

_SIZE = 299

IMAGES_AT_ONCE = 16
"""Images that go through the network together."""

FID = f"inception/sha256:{published_weights('inception').sha256[:16]}/tf1 to {_SIZE}x{_SIZE}"
"""How fingerprints begin whose Frechet distance may be called FID, and kernel distance KID."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inception:
    """The 2,048 pooled features of the Inception-v3 network of December 2015.

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
            UserError: If samples are not images, or the weights are missing or incomplete.
        """
        del data, rng
        how: Resize = "tf1" if self.resize == "tf1" else "bicubic"
        looks = NetworkInput(space=space, channels=3, size=_SIZE, resize=how, pixels="inception")
        looks.check()
        found = choose("inception", self.weights)
        with torch.device("meta"):
            net = InceptionNet()
        fill(net, read(found.path), found.path)
        # With channels last, too, 16 images take 2.78 CPU s in place of 3.17 (one core, AVX2); the
        # features agree to 1e-5 of their spread.
        net.fold()
        net.eval().requires_grad_(requires_grad=False)
        move: Any = net.to  # torch declares no type for this form
        move(memory_format=torch.channels_last)

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
            head=lambda rows: net.to(rows.device).probabilities(rows),
            maps=lambda x: net.to(x.device).maps(x),
        )
