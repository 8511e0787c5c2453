"""Why is my FID not the paper's? Four settings differ; which of them matters. About ten seconds.

python examples/why_not_the_paper.py
"""

import tempfile
from pathlib import Path

import torch

import gantlet

folder = Path(tempfile.mkdtemp())
draw = torch.Generator().manual_seed(0)


def pictures(n: int) -> torch.Tensor:
    """Returns waves of random phases with noise, as images of bytes."""
    place = torch.arange(16.0)
    across, down = 6.3 * torch.rand(2, n, 3, 1, generator=draw)
    waves = torch.sin(place / 2 + across)[..., None, :] + torch.sin(place / 3 + down)[..., None]
    noise = 12 * torch.randn(waves.shape, generator=draw)
    return (128 + 40 * waves + noise).round().clamp(0, 255).to(torch.uint8)


fake, real = pictures(400), pictures(600)

# Mine: all samples. The paper: fewer, saved as JPEG files by the sampling script, uncorrected.
report = gantlet.why(
    {"samples": "all"},
    {"samples": 250, "jpeg": "50/none", "dtype": "float16", "bias": "plain"},
    fakes=fake,
    against=real,
    both="features=random-conv:features=16",
    out=folder / "why",
)
for verdict in report.verdicts:
    print(verdict.claim)
for part in report.extra["parts"]:
    print(f"{part['name']:>16} {part['value']:+7.3f}  [{part['low']:+.3f}, {part['high']:+.3f}]")

# A report is what its samples give, or the difference is said.
features = ["random-conv:features=16"]
gantlet.evaluate(fake, real, features=features, metrics=["kid"], out=folder / "judged")
print(gantlet.verify(folder / "judged", fake).verdicts[0].claim.rpartition("/")[2])
print(gantlet.verify(folder / "judged", 255 - fake).extra["lines"][0])
