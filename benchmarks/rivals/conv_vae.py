"""A convolutional variational autoencoder (Kingma and Welling, 2014, arXiv 1312.6114).

The encoder and decoder are those of DCGAN (Radford et al., 2016, https://arxiv.org/abs/1511.06434)
with batch normalisation; pixels are normal with one variance, set to the error of each batch
(sigma-VAE, Rybkin et al., 2021, https://arxiv.org/abs/2006.13202), so that reconstruction and
divergence need no weight between them. Samples are means, as pictures of autoencoders usually are.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH, LATENT, BATCH, RATE = 32, 64, 64, 1e-3


def encoder(channels: int, stages: int) -> nn.Sequential:
    """Returns the map from images to means and log variances, halving ``stages`` times."""
    layers: list[nn.Module] = []
    inner = channels
    for i in range(stages):
        outer = WIDTH * 2 ** min(i, 2)
        layers += [nn.Conv2d(inner, outer, 4, 2, 1), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2)]
        inner = outer
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2 * LATENT))


def decoder(channels: int, stages: int, side: tuple[int, int]) -> nn.Sequential:
    """Returns the map from latent vectors to images that are ``2**stages`` times ``side``."""
    inner = WIDTH * 2 ** min(stages - 1, 2)
    size = inner * side[0] * side[1]
    layers: list[nn.Module] = [nn.Linear(LATENT, size), nn.Unflatten(1, (inner, *side)), nn.ReLU()]
    for i in reversed(range(stages - 1)):
        outer = WIDTH * 2 ** min(i, 2)
        layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1), nn.BatchNorm2d(outer), nn.ReLU()]
        inner = outer
    return nn.Sequential(*layers, nn.ConvTranspose2d(inner, channels, 4, 2, 1), nn.Tanh())


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images ``x``, shape (n, c, h, w) in [0, 255], for so many CPU seconds.

    Returns the sampler: from n to images like ``x``.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"Images must have even sides. Got samples of {tuple(x.shape[1:])}.")
    _, channels, height, width = x.shape
    stages = 1
    while min(height, width) >> stages > 4 and (height | width) % 2 ** (stages + 1) == 0:
        stages += 1
    inward = encoder(channels, stages)
    outward = decoder(channels, stages, (height >> stages, width >> stages))
    inward(x[:2] / 127.5 - 1)
    weights = [*inward.parameters(), *outward.parameters()]
    optimiser = torch.optim.Adam(weights, RATE)
    while time.process_time() - start < seconds:
        for rows in torch.randperm(len(x))[: max(1, len(x) // BATCH) * BATCH].split(BATCH):
            y = x[rows] / 127.5 - 1
            mean, log_variance = inward(y).chunk(2, 1)
            z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            error = (outward(z) - y).square()
            # The best variance is the mean error; its logarithm is what is left of the density.
            reconstruction = y[0].numel() / 2 * error.mean().log()
            divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
            optimiser.zero_grad()
            (reconstruction + divergence).backward()
            optimiser.step()
            if time.process_time() - start >= seconds:
                break
    outward.eval()

    @torch.no_grad()
    def sampled(n: int) -> Tensor:
        return ((outward(torch.randn(n, LATENT)) + 1) * 127.5).round()

    return sampled
