"""DCGAN (Radford et al., 2016, https://arxiv.org/abs/1511.06434), written plainly in torch.

Strided convolutions, transposed in the generator, with batch normalization; ReLU and LeakyReLU;
weights from N(0, 0.02); Adam with a learning rate of 2e-4 and a first decay of 0.5; batches of 64.
Differs from the paper: sides are halved while they are even and above 4, so that images of 28x28
start at 7x7; the widest layer has 128 channels at 28x28, 256 at 32x32 and 512 at 64x64, as public
implementations have, in place of 1024; batches of 64 (128 there: fewer steps in the same time);
samples are drawn by the batch statistics that were averaged over training.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

LATENT, WIDTH, BATCH, RATE = 100, 64, 64, 2e-4


def sides(height: int, width: int) -> list[tuple[int, int]]:
    """Returns heights and widths from the image down, each half the one before."""
    found = [(height, width)]
    while min(found[-1]) > 4 and found[-1][0] % 2 == 0 and found[-1][1] % 2 == 0:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def checked(x: Tensor) -> list[tuple[int, int]]:
    """Returns the ``sides`` of images.

    Raises:
        ValueError: If they are no images that can be halved.
    """
    if x.ndim != 4 or len(steps := sides(*x.shape[2:])) == 1:
        raise ValueError(f"needs images with even sides above 4, got shape {tuple(x.shape[1:])}")
    return steps


def generator(channels: int, steps: list[tuple[int, int]]) -> nn.Sequential:
    """Returns a map of latents ``(n, LATENT, 1, 1)`` to images between -1 and 1."""
    wide = WIDTH * 2 ** (len(steps) - 2)
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(LATENT, wide, steps[-1], bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
    ]
    for _ in steps[2:]:
        layers += [
            nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(wide // 2),
            nn.ReLU(),
        ]
        wide //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(wide, channels, 4, 2, 1), nn.Tanh())


def critic(channels: int, steps: list[tuple[int, int]], *, norm: bool = True) -> nn.Sequential:
    """Returns a map of images to scores ``(n, 1)``."""
    wide = WIDTH
    layers: list[nn.Module] = [nn.Conv2d(channels, wide, 4, 2, 1), nn.LeakyReLU(0.2)]
    for _ in steps[2:]:
        layers.append(nn.Conv2d(wide, 2 * wide, 4, 2, 1, bias=not norm))
        layers += [nn.BatchNorm2d(2 * wide)] if norm else []
        layers.append(nn.LeakyReLU(0.2))
        wide *= 2
    return nn.Sequential(*layers, nn.Conv2d(wide, 1, steps[-1]), nn.Flatten())


def start(module: nn.Module) -> None:
    """Draws the weights of one layer as the paper does."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images ``(n, c, h, w)``, float32 in [0, 255], for so many CPU seconds.

    Returns:
        The sampler: a number of samples to images like ``x``.

    Raises:
        ValueError: If ``x`` cannot be halved.
    """
    begun = time.process_time()
    torch.manual_seed(seed)
    steps = checked(x)
    made, judge = generator(x.shape[1], steps).apply(start), critic(x.shape[1], steps).apply(start)
    adams = [torch.optim.Adam(net.parameters(), RATE, (0.5, 0.999)) for net in (judge, made)]
    one, zero = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    while time.process_time() - begun < seconds:
        real = x[torch.randint(len(x), (BATCH,))] / 127.5 - 1
        fake = made(torch.randn(BATCH, LATENT, 1, 1))
        loss = cross_entropy(judge(real), one) + cross_entropy(judge(fake.detach()), zero)
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()
        adams[1].zero_grad()
        cross_entropy(judge(fake), one).backward()
        adams[1].step()
    return lambda n: sampled(made, n)


@torch.no_grad()
def sampled(made: nn.Module, n: int) -> Tensor:
    """Returns ``n`` images in [0, 255] of a generator, which is left in evaluation mode."""
    made.eval()
    sizes = [min(500, n - i) for i in range(0, n, 500)]
    parts = [made(torch.randn(size, LATENT, 1, 1)) for size in sizes]
    return ((torch.cat(parts) + 1) * 127.5).clamp(0, 255)
