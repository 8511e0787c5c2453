"""A transformer over pixels in reading order: Image GPT (Chen et al., 2020), at a small size.

Source: https://proceedings.mlr.press/v119/chen20s.html; blocks and settings of small runs as in
nanoGPT. One token a pixel: its grey level, or in colour the nearest of 512 colours that k-means
finds (the paper's 9 bits). 4 blocks of width 128 with 4 heads; AdamW with a learning rate of
0.001, warm-up over 5 % of the time and a cosine down to a tenth, weight decay of 0.1, clipping at
a norm of 1; batches of 16. Differs from the paper: learned weights of the output are apart from
those of the input; sizes, which there are 24 blocks or more of width 512 or more.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

WIDTH, BLOCKS, HEADS, BATCH, RATE, COLOURS = 128, 4, 4, 16, 1e-3, 512
LONGEST = 32 * 32
AT_ONCE = 128


class Block(nn.Module):
    """Causal attention and a perceptron; keeps keys and values while it samples."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        for last in (self.out, self.down):
            nn.init.normal_(last.weight, 0.0, 0.02 / math.sqrt(2 * BLOCKS))

    def forward(self, x: Tensor, seen: Tensor | None = None, at: int = 0) -> Tensor:
        """Returns ``(n, tokens, WIDTH)``; with ``seen`` of the one token ``at``."""
        n, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        if seen is None:
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            seen[:, :, :, at] = torch.stack([k, v])[:, :, :, 0]
            y = scaled_dot_product_attention(q, *seen[:, :, :, : at + 1])
        x = x + self.out(y.transpose(1, 2).reshape(n, tokens, WIDTH))
        return x + self.down(gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Logits of each token from those before it; token ``vocabulary`` begins a sequence."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        self.embed, self.place = nn.Embedding(vocabulary + 1, WIDTH), nn.Embedding(length, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary, bias=False)
        for part in (self.embed, self.place, self.head):
            nn.init.normal_(part.weight, 0.0, 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits ``(n, length, vocabulary)`` of tokens ``(n, length)``."""
        before = nn.functional.pad(tokens[:, :-1], (1, 0), value=self.vocabulary)
        x = self.embed(before) + self.place.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Returns ``n`` sequences of tokens."""
        tokens = torch.full((n, self.length + 1), self.vocabulary)
        caches = [torch.empty(2, n, HEADS, self.length, WIDTH // HEADS) for _ in self.blocks]
        for at in range(self.length):
            x = self.embed(tokens[:, at : at + 1]) + self.place.weight[at]
            for block, seen in zip(self.blocks, caches, strict=True):
                x = block(x, seen, at)
            p = self.head(self.norm(x[:, 0])).softmax(-1)
            tokens[:, at + 1] = torch.multinomial(p, 1)[:, 0]
        return tokens[:, 1:]


def palette(x: Tensor) -> Tensor:
    """Returns 512 colours of images ``(n, 3, h, w)``, shape ``(512, 3)``, by k-means."""
    pixels = x.movedim(1, -1).reshape(-1, 3)
    pixels = pixels[torch.randint(len(pixels), (20_000,))]
    found = pixels[torch.randperm(len(pixels))[:COLOURS]]
    for _ in range(10):
        nearest = torch.cdist(pixels, found).argmin(1)
        count = torch.bincount(nearest, minlength=COLOURS)[:, None]
        total = torch.zeros_like(found).index_add_(0, nearest, pixels)
        found = torch.where(count > 0, total / count.clamp(min=1), found)
    return found


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images ``(n, c, h, w)``, float32 in [0, 255], for so many CPU seconds.

    Returns:
        The sampler: a number of samples to images like ``x``.

    Raises:
        ValueError: If images have more pixels than the paper's longest sequence at this size.
    """
    if x.ndim != 4 or x[0, 0].numel() > LONGEST:
        raise ValueError(f"Image GPT reads up to {LONGEST} pixels, not {tuple(x.shape[1:])}")
    begun = time.process_time()
    torch.manual_seed(seed)
    channels, height, width = x.shape[1:]
    grey = torch.arange(256.0)[:, None]
    colours = grey if channels == 1 else palette(x)
    net = Transformer(len(colours), height * width)
    adam = torch.optim.AdamW(net.parameters(), RATE, (0.9, 0.95), weight_decay=0.1, fused=True)
    while (used := (time.process_time() - begun) / seconds) < 1:
        fall = 0.55 + 0.45 * math.cos(math.pi * used)
        for group in adam.param_groups:
            group["lr"] = RATE * min(1.0, used / 0.05 + 0.01) * fall
        batch = x[torch.randint(len(x), (BATCH,))].flatten(2).transpose(1, 2)
        tokens = batch[..., 0].long() if channels == 1 else torch.cdist(batch, colours).argmin(-1)
        loss = cross_entropy(net(tokens).flatten(0, 1), tokens.flatten())
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()

    def sample(n: int) -> Tensor:
        sizes = [min(AT_ONCE, n - i) for i in range(0, n, AT_ONCE)]
        drawn = torch.cat([colours[net.sample(size)] for size in sizes])
        return drawn.transpose(1, 2).reshape(n, channels, height, width)

    return sample
