"""Default features from packages: do they rank, and do they tell what others do not?

Run from the repository: OMP_NUM_THREADS=1 python benchmarks/eyes.py [PART ...]
Needs the files of the data directory, and gantlet[images,text]. Everything is done with the
default features of colour images and of text, and beside them with those that need no package:

- nine published GANs of CIFAR-10, 100 samples each, ranked by KID like their published FID;
- a DCGAN and a ProGAN, 100 samples each: do they differ significantly from real images;
- samples of a PixelCNN++ and captions of a bigram model, told by a linear critic; the same for
  fresh real samples in place of fakes;
- 10,000 images evaluated against 10,000, for CPU time and memory ("speed"). With PEER, the path of
  a Python that has torch-fidelity, its FID, KID, precision and recall on the same network and the
  same images at the same time.

The results go to benchmarks/results/eyes.json.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gantlet
from gantlet.data.catalogue import home
from gantlet.stats.ratings import spearman

RESULT = Path(__file__).parent / "results" / "eyes.json"
DATA = home().resolve()
SAMPLES = DATA / "images/generated/cifar10_published_samples.npz"
LOSSLESS = DATA / "images/cifar10/cifar10_lossless_first4000.npz"
JPEG = DATA / "images/cifar10/cifar10_jpeg_q75_60k.npz"
GANS = ("began", "cramer", "dcgan", "dfm", "dragan", "minibatch_dis", "progressive", "sndcgan")
PIXELCNN = "ar.pixelcnnpp_lr0.00020_resnet5_filters160"
CAPTIONS = 1000


def timed(work, *given, **settings):
    """Returns what a function returns, and the CPU seconds that it took."""
    start = cpu_seconds()
    found = work(*given, **settings)
    return found, round(cpu_seconds() - start, 1)


def cpu_seconds() -> float:
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def ends_of(e: gantlet.Estimate) -> list[float]:
    """Returns a number and its 95 % interval."""
    return [round(v, 3) for v in (e.value, e.low, e.high)]


def nine_gans(real: np.ndarray) -> dict[str, object]:
    told = json.loads(bytes(np.load(SAMPLES)["meta_json"]).decode())
    fakes = {k: f"npz:path={SAMPLES},key=gan.{k}" for k in (*GANS, "wgan_gp")}
    published = [told[f"gan.{k}"]["published_FID"] for k in fakes]
    found: dict[str, object] = {"published FID": dict(zip(fakes, published, strict=True))}
    for features in ("efficientnet-lite0", "random-conv"):
        report, seconds = timed(
            gantlet.evaluate, fakes, real[:1500], metrics=["kid"], features=[features]
        )
        kid = {r.model.partition("=")[0]: r.estimate.value for r in report.rows}
        found[features] = {
            "spearman": ends_of(spearman([kid[k] for k in fakes], published)),
            "KID": {k: round(kid[k], 4) for k in fakes},
            "CPU seconds": seconds,
        }
        print(features, found[features], flush=True)
    return found


def two_gans(real: np.ndarray) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("dcgan", "progressive"):
        report = gantlet.evaluate(f"npz:path={SAMPLES},key=gan.{name}", real[:1500])
        rows = report.extra["comparisons"]
        mine = [r for r in rows if "efficientnet-lite0" in r["name"]]
        found[name] = {
            "claim": report.verdicts[0].claim,
            "significant": sorted(r["name"] for r in mine if r["significant"]),
            "of": len(mine),
        }
        print(name, found[name], flush=True)
    return found


def told(fake: object, real: object, features: str) -> dict[str, object]:
    """Returns how well logistic regression tells two sets, on halves that it has not seen."""
    report, seconds = timed(
        gantlet.evaluate, fake, real, metrics=["c2st:classifier=logistic"], features=[features]
    )
    accuracy = next(r.estimate for r in report.rows if r.model != "real")
    print(features, accuracy, seconds, flush=True)
    return {"accuracy": ends_of(accuracy), "n": accuracy.n, "CPU seconds": seconds}


def pictures(real: np.ndarray) -> dict[str, object]:
    fakes = np.load(SAMPLES)[PIXELCNN]
    n = len(fakes)
    return {
        features: {
            "PixelCNN++": told(fakes, real[n:], features),
            "real": told(real[:n], real[n:], features),
        }
        for features in ("efficientnet-lite0", "random-conv")
    }


def bigrams(lines: list[str], n: int, seed: int) -> list[str]:
    """Returns captions of which each word is drawn given the one before it."""
    after: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        words = ["", *line.split(), ""]
        for a, b in pairwise(words):
            after[a][b] += 1
    rng = np.random.default_rng(seed)
    table = {a: (list(c), np.cumsum(list(c.values()))) for a, c in after.items()}
    found: list[str] = []
    while len(found) < n:
        words, word = [], ""
        while len(words) < 40:
            choices, sums = table[word]
            word = choices[int(np.searchsorted(sums, rng.integers(sums[-1]), side="right"))]
            if not word:
                break
            words.append(word)
        found.append(" ".join(words))
    return found


def sentences(folder: Path) -> dict[str, object]:
    train = (DATA / "text/image_coco.txt").read_text().splitlines()
    # Captions of one picture stand together: shuffled, both sets hold some of each.
    test = (DATA / "text/test_coco.txt").read_text().splitlines()
    test = [test[i] for i in np.random.default_rng(1).permutation(len(test))]
    files = {
        "bigrams": bigrams(train, CAPTIONS, 0),
        "fresh": test[:CAPTIONS],
        "real": test[CAPTIONS : 2 * CAPTIONS],
    }
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return {
        features: {
            "bigram captions": told("bigrams.txt", "real.txt", features),
            "real": told("fresh.txt", "real.txt", features),
        }
        for features in ("minilm", "ngrams")
    }


def decoded(first: int, n: int) -> np.ndarray:
    archive = np.load(JPEG)
    raw, at = archive["jpeg_train"].tobytes(), archive["offset_train"]
    images = [Image.open(io.BytesIO(raw[at[i] : at[i + 1]])) for i in range(first, first + n)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


# What torch-fidelity has too.
SHARED = ("frechet", "kid", "precision", "recall")


def speed() -> dict[str, object]:
    n = int(os.environ.get("IMAGES", "10000"))
    fake, real = decoded(0, n), decoded(n, n)
    rival = peer(fake, real)  # at the same time: what else the machine does slows both alike
    _, seconds = timed(gantlet.evaluate, fake, real)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found: dict[str, object] = {
        "what": "evaluate, all default metrics on efficientnet-lite0 and on pixels",
        "images": [n, n],
        "CPU seconds": seconds,
        "peak memory, GiB": round(peak, 2),
    }
    print(found, flush=True)
    if rival is not None:
        told, _ = rival.communicate()
        found["torch-fidelity"] = theirs = json.loads(told)
        found["ratio, all of ours to four of theirs"] = ratio(seconds, theirs["CPU seconds"])
        print(theirs, flush=True)
    _, alone = timed(
        gantlet.evaluate, fake, real, metrics=[*SHARED], features=["efficientnet-lite0"]
    )
    found["CPU seconds, the same four, features known"] = alone
    if rival is not None:
        metrics = theirs["CPU seconds"] - theirs["of these the network"]
        found["ratio, the same four without the network"] = ratio(alone, metrics)
    found["CPU ms an image, features alone"] = features_alone(real[:320])
    return found


def ratio(ours: float, others: float) -> float:
    return round(ours / others, 2)


def peer(fake: np.ndarray, real: np.ndarray) -> subprocess.Popen[str] | None:
    """Starts torch-fidelity on the same network and images; None without an environment of it."""
    python = os.environ.get("PEER")
    if python is None:
        return None
    np.savez("images.npz", fake=fake, real=real)
    space = gantlet.Space("image", (3, *fake.shape[1:3]), 256)
    made = gantlet.components.extractors.make("efficientnet-lite0")
    seen = made.fit(space, None, rng=gantlet.Rng(0))
    example = torch.from_numpy(fake[:16]).permute(0, 3, 1, 2).float()
    torch.jit.trace(seen.extract, example, check_trace=False).save("network.pt")
    program = Path(__file__).resolve().with_name("fidelity_peer.py")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, str(program), "images.npz", "network.pt"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def features_alone(images: np.ndarray) -> dict[str, float]:
    """Returns the CPU time of one image, by the size that it is resized to."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    space = gantlet.Space("image", tuple(x.shape[1:]), 256)
    found: dict[str, float] = {}
    for size in (96, 128, 224):
        made = gantlet.components.extractors.make(f"efficientnet-lite0:size={size}")
        seen = made.fit(space, None, rng=gantlet.Rng(0))
        _, seconds = timed(lambda extract=seen.extract: [extract(x), extract(x)])
        found[str(size)] = round(seconds / 2 / len(x) * 1e3, 1)
    return found


def main() -> None:
    torch.set_num_threads(1)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    real = np.load(LOSSLESS)["x"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GANTLET_CACHE"] = f"{folder}/cache"  # every image is seen anew
        os.chdir(folder)
        parts = {
            "nine GANs": lambda: nine_gans(real),
            "two GANs": lambda: two_gans(real),
            "pictures told by a linear critic": lambda: pictures(real),
            "captions told by a linear critic": lambda: sentences(Path(folder)),
            "speed": speed,
        }
        for part in sys.argv[1:] or parts:
            result[part] = parts[part]()
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
