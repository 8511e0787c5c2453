"""WGAN-GP (Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028), written plainly in torch.

The Wasserstein loss with a penalty of weight 10 on the slope of the critic between real and fake
samples, five steps of the critic for each of the generator, Adam with a learning rate of 1e-4 and
decays of 0 and 0.9, batches of 64: Algorithm 1 and its settings. The networks are those of
``dcgan``, the critic without batch normalization, as section 4 asks. Vectors have the setting of
the paper's toy data: three layers of 512 with ReLU, a weight of 0.1, decays of 0.5 and 0.9,
batches of 256; their columns are standardized.
Differs from the paper: weights start as torch draws them; residual networks, which the paper has
for CIFAR-10 beside DCGAN's, are left out: they take several times as long.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn


def neighbour(name: str) -> ModuleType:
    """Returns another rival, as a module."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dcgan = neighbour("dcgan")
CRITIC_STEPS, RATE = 5, 1e-4


@dataclass(frozen=True)
class Recipe:
    """Networks, shape of one latent, and the settings that differ between images and vectors."""

    made: nn.Module
    judge: nn.Module
    latent: tuple[int, ...]
    weight: float
    batch: int
    decay: float


def perceptron(a: int, b: int) -> nn.Sequential:
    """Returns three layers of 512 with ReLU, and a linear one."""
    layers = (nn.Linear(a, 512), nn.Linear(512, 512), nn.Linear(512, 512))
    return nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())), nn.Linear(512, b))


def recipe(x: Tensor) -> Recipe:
    """Returns what ``x`` is trained by."""
    if x.ndim == 2:
        d = x.shape[1]
        return Recipe(perceptron(2, d), perceptron(d, 1), (2,), 0.1, 256, 0.5)
    steps, channels = dcgan.checked(x), x.shape[1]
    judge = dcgan.critic(channels, steps, norm=False)
    return Recipe(dcgan.generator(channels, steps), judge, (dcgan.LATENT, 1, 1), 10.0, 64, 0.0)


def penalty(judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Returns the mean squared distance of the slope from 1, at random points between pairs."""
    t = torch.rand(len(real), *(1,) * (real.ndim - 1))
    between = torch.lerp(fake, real, t).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains for so many CPU seconds.

    Args:
        x: Images ``(n, c, h, w)``, float32 in [0, 255], or vectors ``(n, d)``.
        seconds: CPU seconds of this process.
        seed: Of everything random.

    Returns:
        The sampler: a number of samples to samples like ``x``.

    Raises:
        ValueError: If ``x`` holds images that cannot be halved.
    """
    begun = time.process_time()
    torch.manual_seed(seed)
    r = recipe(x)
    is_flat = x.ndim == 2
    shift = x.mean(0) if is_flat else torch.tensor(127.5)
    scale = x.std(0).clamp(min=1e-6) if is_flat else torch.tensor(127.5)
    adams = [torch.optim.Adam(net.parameters(), RATE, (r.decay, 0.9)) for net in (r.judge, r.made)]
    done = 0
    while time.process_time() - begun < seconds:
        real = (x[torch.randint(len(x), (r.batch,))] - shift) / scale
        with torch.no_grad():
            fake = r.made(torch.randn(r.batch, *r.latent))
        gap = r.judge(fake).mean() - r.judge(real).mean()
        adams[0].zero_grad()
        (gap + r.weight * penalty(r.judge, real, fake)).backward()
        adams[0].step()
        done += 1
        if done % CRITIC_STEPS == 0:
            adams[1].zero_grad()
            (-r.judge(r.made(torch.randn(r.batch, *r.latent))).mean()).backward()
            adams[1].step()
    if not is_flat:
        return lambda n: dcgan.sampled(r.made, n)
    return lambda n: r.made(torch.randn(n, *r.latent)).detach() * scale + shift
