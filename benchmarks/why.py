"""How often `gantlet why` names a planted cause first, and whether its parts are the difference.

Run from the repository, with CIFAR-10 in the data directory (images/cifar10):
OMP_NUM_THREADS=1 nice python benchmarks/why.py

Each run calls the command on fresh draws of lossless CIFAR-10 images, with two settings that
differ in four places at once: one planted cause, and decoys of no or little effect. The metric is
the plug-in Frechet distance, as papers have it, on the log amplitudes of 8x8 cosine waves, beside
their mean: features that cost nothing and see what compression and filters do. Named first is the
largest part that differs significantly from zero.

The sum of the parts is compared with the difference of two runs of `gantlet evaluate`, on files
that this script prepares with Pillow and NumPy alone. The result goes to
benchmarks/results/why.json. Arguments pick causes, as in `why.py n JPEG`.
"""

import contextlib
import io
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import conv2d

from gantlet.cli.main import run
from gantlet.data.catalogue import home
from gantlet.stats.intervals import proportion

RESULT = Path(__file__).parent.resolve() / "results" / "why.json"
SEEDS, CHECKED = 20, 4
FAKES, REALS = 500, 600
FIRST = 70_000
STORED = "stored JPEG files"

Images = NDArray[np.uint8]

# ----------------------------------------------------------------------------
# Features: log amplitudes of the cosine waves of 8x8 blocks, by frequency and colour.
# ----------------------------------------------------------------------------


class Waves(nn.Module):
    """Luma and colour differences, 8x8 cosine transform, mean amplitude by frequency."""

    filters: Tensor
    group: Tensor
    colour: Tensor

    def __init__(self) -> None:
        super().__init__()
        k = torch.arange(8, dtype=torch.float32)
        wave = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16)
        self.register_buffer("filters", torch.einsum("ai,bj->abij", wave, wave).view(64, 1, 8, 8))
        order = (k[:, None] + k).view(-1)
        group = torch.stack([(order == f).float() for f in range(1, 15)])
        self.register_buffer("group", group / group.sum(1, keepdim=True))
        rgb = [[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]]
        self.register_buffer("colour", torch.tensor(rgb))

    def forward(self, x: Tensor) -> Tensor:
        """Maps images ``(n, 3, h, w)`` from 0 to 255 to ``(n, 96)``."""
        planes = torch.einsum("cr,nrhw->nchw", self.colour, x)
        n, _, h, w = planes.shape
        found = conv2d(planes.reshape(n * 3, 1, h, w), self.filters, stride=8).abs().mean((2, 3))
        each = (found.view(n, 3, 64)[:, 0, 1:] + 1.0).log()
        colours = (found @ self.group.T + 1.0).log().view(n, 3, -1)[:, 1:].flatten(1)
        means = [each.mean(1, keepdim=True), colours.mean(1, keepdim=True)]
        return torch.cat(
            [each - means[0], colours - means[1], *means, planes.mean((2, 3)) / 128], 1
        )


def features(folder: Path) -> str:
    """Writes the network and returns it as an extractor."""
    file = folder / "waves.pt"
    with torch.no_grad():
        torch.jit.trace(Waves(), torch.zeros(2, 3, 32, 32)).save(str(file))  # type: ignore[no-untyped-call]
    return f"torchscript:path={file}"


# ----------------------------------------------------------------------------
# The causes, each among decoys; and the same preparation by other code.
# ----------------------------------------------------------------------------

Prepare = Callable[[Images], Images]


def same(x: Images) -> Images:
    """Leaves images as they are."""
    return x


def each(change: Callable[[Image.Image], Image.Image]) -> Prepare:
    """Returns what changes images one by one."""
    return lambda x: np.stack([np.asarray(change(Image.fromarray(one))) for one in x])


def compressed(quality: int) -> Prepare:
    """Returns what sends images through JPEG files."""

    def through(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue()))

    return each(through)


def shrunk(how: Image.Resampling) -> Prepare:
    """Returns what resizes images to 24 by 24 pixels."""
    return each(lambda image: image.resize((24, 24), how))


def halved(x: Images) -> Images:
    """Numbers in [0, 1] as if in [-1, 1]: half the contrast."""
    return np.rint((x / 255 + 1) / 2 * 255).astype(np.uint8)


def chain(*steps: Prepare) -> Prepare:
    """Returns one step after the other."""

    def all_of(x: Images) -> Images:
        for step in steps:
            x = step(x)
        return x

    return all_of


@dataclass(frozen=True)
class Cause:
    """A planted cause.

    Attributes:
        part: The part that it must be named as.
        a: What of the first setting is not as usual.
        b: What of the second one is not a decoy.
        fakes: How fakes of setting A and B are prepared, by other code.
        reals: The same for reals.
        copies: Whether fakes are training images.
    """

    part: str
    a: Mapping[str, str] = field(default_factory=dict)
    b: Mapping[str, str] = field(default_factory=dict)
    fakes: tuple[Prepare, Prepare] = (same, same)
    reals: tuple[Prepare, Prepare] = (same, same)
    copies: bool = False


# Settings of all runs, and those that differ without being the cause.
USUAL = {"jpeg": "none", "range": "right", "samples": "480"}
DECOYS = {"jpeg": "98", "dtype": "float16", "samples": "450"}
_98 = compressed(98)

CAUSES = {
    "n": Cause("n", b={"samples": "70"}, fakes=(same, _98), reals=(same, _98)),
    "reference split": Cause("reference split", fakes=(same, _98), reals=(same, _98), copies=True),
    "resizing": Cause(
        "resizing",
        a={"size": "24", "resize": "bicubic"},
        b={"size": "24", "resize": "nearest/bicubic", "dtype": "uint8"},
        fakes=(
            shrunk(Image.Resampling.BICUBIC),
            chain(_98, shrunk(Image.Resampling.NEAREST)),
        ),
        reals=(
            shrunk(Image.Resampling.BICUBIC),
            chain(_98, shrunk(Image.Resampling.BICUBIC)),
        ),
    ),
    "JPEG": Cause("JPEG", b={"jpeg": "75/none"}, fakes=(same, compressed(75))),
    "dtype and range": Cause(
        "dtype and range",
        b={"range": "unit-as-signed/right", "dtype": "uint8"},
        fakes=(same, chain(halved, _98)),
        reals=(same, _98),
    ),
}

# ----------------------------------------------------------------------------
# Runs.
# ----------------------------------------------------------------------------


def said(*words: str) -> dict[str, Any]:
    """Returns the JSON object that a command prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*words, "--json"])
    if code:
        raise RuntimeError(err.getvalue())
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def draw(cause: Cause, pool: Images, seed: int) -> dict[str, Images]:
    """Returns fresh fakes, training images and test images."""
    rng = np.random.default_rng([FIRST, seed])
    order = rng.permutation(len(pool))
    fakes, train, test = np.split(pool[order[: FAKES + 2 * REALS]], [FAKES, FAKES + REALS])
    return {"fakes": train[:FAKES] if cause.copies else fakes, "train": train, "test": test}


def text(setting: Mapping[str, str]) -> str:
    """Returns a setting in written form."""
    return ",".join(f"{k}={v}" for k, v in setting.items())


def one(cause: Cause, pool: Images, seed: int, folder: Path) -> dict[str, Any]:
    """Returns what the command says of one draw."""
    sets = draw(cause, pool, seed)
    for name, x in sets.items():
        np.savez(folder / f"{name}.npz", x=x)
    where = {"train": str(folder / "train.npz"), "test": str(folder / "test.npz")}
    a = {**USUAL, **cause.a, "against": where["train"]}
    b = {**DECOYS, **cause.b, "against": where["test"]}
    network = features(folder)
    found = said(
        "why",
        text(a),
        text(b),
        "--fakes",
        str(folder / "fakes.npz"),
        "--both",
        f'bias=plain,features="{network}"',
        "--seed",
        str(seed),
        "--out",
        str(folder / "run"),
    )
    parts = {p["name"]: p for p in found["parts"]}
    named = [p["name"] for p in found["parts"] if p["significant"]]
    total, whole = math.fsum(p["value"] for p in parts.values()), found["difference"]
    result: dict[str, Any] = {
        "first": named[0] if named else None,
        "parts": {name: [p["value"], p["low"], p["high"]] for name, p in parts.items()},
        "difference": [whole["value"], whole["low"], whole["high"]],
        "sum less difference": total - whole["value"],
    }
    if seed < CHECKED:
        result["by evaluate"] = again(cause, sets, (a, b), network, folder)
    return result


def again(
    cause: Cause,
    sets: Mapping[str, Images],
    settings: tuple[Mapping[str, str], Mapping[str, str]],
    network: str,
    folder: Path,
) -> float:
    """Returns the difference of the plug-in values of two evaluations of prepared files."""
    found: list[float] = []
    for k, (setting, real) in enumerate(zip(settings, ("train", "test"), strict=True)):
        np.savez(folder / "made.npz", x=cause.fakes[k](sets["fakes"]))
        np.savez(folder / "held.npz", x=cause.reals[k](sets[real]))
        words = ("evaluate", str(folder / "made.npz"), "--against", str(folder / "held.npz"))
        more = ("--samples", setting["samples"], "--metric", "frechet", "--features", network)
        rows = said(*words, *more, "--out", str(folder / f"evaluate-{k}"))["rows"]
        method = next(r["method"] for r in rows if r["name"].startswith("frechet"))
        plain = re.search(r"plug-in ([0-9.e+-]+)", method)
        assert plain is not None, method
        found.append(float(plain[1].rstrip(".")))
    return found[1] - found[0]


def stored(folder: Path, images: Path) -> dict[str, float]:
    """Returns how much of the effect of a published JPEG copy of reals `jpeg=75` explains.

    The reference is 600 training images, lossless or as another encoder stored them.
    """
    pool = np.load(images / "cifar10_lossless_first4000.npz")["x"]
    files = np.load(images / "cifar10_jpeg_q75_60k.npz")
    ends, content = files["offset_train"], files["jpeg_train"]
    raw = [content[ends[i] : ends[i + 1]].tobytes() for i in range(FAKES, FAKES + REALS)]
    copies = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in raw])
    names = ("fakes", "lossless", "stored")
    for name, x in zip(names, (pool[:FAKES], pool[FAKES:][:REALS], copies), strict=True):
        np.savez(folder / f"{name}.npz", x=x)
    fakes, lossless, real = (str(folder / f"{name}.npz") for name in names)
    network = features(folder)
    words = ("--metric", "frechet", "--features", network, "--out", str(folder / "judged"))
    value = said("evaluate", fakes, "--against", real, *words)["rows"][0]["value"]
    both = ("--fakes", fakes, "--against", lossless, "--both", f'features="{network}"')
    b = f"jpeg=none/75,value={value}"
    found = said("why", "jpeg=none", b, *both, "--out", str(folder / "run"))
    return {
        "value of the stored files": value,
        "part of JPEG": found["parts"][0]["value"],
        "unexplained": found["unexplained"],
    }


def summary(cause: Cause, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how often the cause was named first, and how far sums are off."""
    hits = sum(f["first"] == cause.part for f in found)
    rate = proportion(hits, len(found))
    checked = [f for f in found if "by evaluate" in f]
    inside = [f["difference"][1] <= f["by evaluate"] <= f["difference"][2] for f in checked]
    off = [abs(f["by evaluate"] - f["difference"][0]) for f in checked]
    width = [f["difference"][2] - f["difference"][1] for f in checked]
    mean = math.fsum(f["difference"][0] for f in found) / len(found)
    return {
        "named first": [hits, len(found)],
        "interval": [rate.low, rate.high],
        "largest |sum of parts - difference|": max(abs(f["sum less difference"]) for f in found),
        "evaluate within the interval": [sum(inside), len(inside)],
        "largest |evaluate - sum|, as a share of the interval": max(
            o / w for o, w in zip(off, width, strict=True)
        ),
        "intervals that hold the mean difference": [
            sum(f["difference"][1] <= mean <= f["difference"][2] for f in found),
            len(found),
        ],
        "runs": found,
    }


def main(names: list[str]) -> None:
    """Runs all causes, or some, and writes the result."""
    images = home() / "images" / "cifar10"
    pool = np.load(images / "cifar10_lossless_first4000.npz")["x"]
    result: dict[str, Any] = json.loads(RESULT.read_text()) if names and RESULT.exists() else {}
    result |= {"seeds": SEEDS, "fakes": FAKES, "reals": REALS}
    if not names or STORED in names:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GANTLET_CACHE"] = str(Path(folder) / "cache")
            result[STORED] = stored(Path(folder), images)
            print(STORED, json.dumps(result[STORED]), flush=True)
    for name in [n for n in names if n != STORED] if names else list(CAUSES):
        start, cause = time.process_time(), CAUSES[name]
        found: list[dict[str, Any]] = []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["GANTLET_CACHE"] = str(Path(folder) / "cache")
                found.append(one(cause, pool, seed, Path(folder)))
        result[name] = {**summary(cause, found), "CPU seconds": time.process_time() - start}
        short = {k: v for k, v in result[name].items() if k != "runs"}
        print(name, json.dumps(short), flush=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
