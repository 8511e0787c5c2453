"""Default families beside standard recipes of others, at equal CPU seconds.

Run from the repository, with gantlet[images], onnxruntime and the files of the data directory:

    python benchmarks/recipes.py --out runs/recipes [--seconds 60 300 1200] [--seeds 3] [--jobs 2]
    python benchmarks/recipes.py --out runs/recipes --page

Runs what is missing below --out and may be stopped at any time. A cell is one training: a family
of Gantlet with its default settings, or a recipe of ``benchmarks/rivals`` in plain torch, on one
set of data, for so many CPU seconds of the process (``time.process_time``, one thread), with one
seed. --families, --data, --rivals choose some; --again also runs those that are there. Cells of
one seed come first, so that a stopped run is a whole table of fewer seeds. --page makes
docs/results/recipes.json, the pictures and the table of docs/recipes.md of what is there.

Data, none of whose test samples anything was trained or selected on:

- plane: 25 Gaussians on a grid, 10,000 training samples; 2,000 test samples.
- digits: scikit-learn's, 8x8 with 17 levels; 360 test samples.
- mnist: 28x28; 2,000 test samples.
- cifar10: 32x32x3, all 60,000 images through JPEG of quality 75; 2,000 test samples.
- photos: 64x64x3, 8,000 square pieces of scikit-learn's two photos, sides of 64 to 256 pixels at
  random places, half of them mirrored; 2,000 test pieces are drawn in the same way.

Judged on 500 samples (as many as 300 CPU seconds give; what would take 1,200 for 100 fails), on
features that nothing here was trained on: coordinates of plane and digits; the 84 features of a
published LeNet-5 of MNIST; the 1,024 of MobileNet (ImageNet) at 96 pixels for colour. The distance
that decides is ``energy``, which ranks in ``gantlet compare`` too; ``frechet``, ``precision`` and
``recall`` are beside it. Held-out real samples are those of the validation split.

A family and a recipe are compared as in ``gantlet compare``: means over seeds, the variance of a
seed in part shared by all models of the same data and budget and never below that of drawing
samples, Student's t, and Holm's procedure at 5 % over all comparisons of the table.
"""

import argparse
import gzip
import importlib.util
import io
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, variance

ROOT = Path(__file__).resolve().parents[1]
RIVALS = Path(__file__).parent / "rivals"
RESULT = ROOT / "docs" / "results" / "recipes.json"
PAGE = ROOT / "docs" / "recipes.md"
PICTURES = ROOT / "docs" / "images"
START, END = "<!-- table: made by benchmarks/recipes.py --page -->", "<!-- end of the table -->"

DATA = ("plane", "digits", "mnist", "cifar10", "photos")
BESIDE = {
    "gan": ("dcgan", "wgan_gp"),
    "flow": ("spline_flow",),
    "ar": ("pixel_transformer", "pixelcnn"),
    "vae": ("conv_vae",),
    "diffusion": ("ddpm", "flow_matching"),
    "flow-gan": ("spline_flow", "wgan_gp"),
}
DECIDES = "energy"
METRICS = (DECIDES, "frechet", "precision", "recall")
SAMPLES, LEAST, CAP = 500, 100, 300.0
BORROWED = 4.0
KEPT = (
    *("data", "model", "is_rival", "seconds", "seed", "written", "cpu", "batch", "steps", "flops"),
    *("parameters", "n", "seconds for a sample", "peak memory", "scores", "error"),
)
LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        data: One of ``DATA``.
        model: A family in written form, or the name of a rival.
        is_rival: Which of the two.
        seconds: CPU seconds.
        seed: Of everything random.
    """

    data: str
    model: str
    is_rival: bool
    seconds: float
    seed: int

    @property
    def name(self) -> str:
        """The stem of its files."""
        kind = "rival" if self.is_rival else "family"
        plain = "".join(c if c.isalnum() or c in "-_.=" else "+" for c in self.model)
        return f"{self.data}-{self.seconds:g}s-{kind}-{plain}-{self.seed}"


def cells(families, data, rivals, seconds, seeds) -> list[Cell]:
    """Returns what is asked for: one seed of all, then the next; the shortest trainings first."""
    named = [(f, False) for f in families] + [(r, True) for r in rivals]
    return [
        Cell(d, model, is_rival, s, seed)
        for s, seed, d, (model, is_rival) in itertools.product(seconds, range(seeds), data, named)
    ]


# ----------------------------------------------------------------------------
# Data, and what judges them.
# ----------------------------------------------------------------------------


def home() -> Path:
    from gantlet.data.catalogue import home

    return home().resolve()


def load(name: str, cache: Path):
    """Returns space and splits of a set of data."""
    import numpy as np
    import torch

    from gantlet.core.data import InMemory, Space, Splits
    from gantlet.core.rng import Rng
    from gantlet.core.spec import datasets

    if name in ("plane", "digits"):
        made = datasets.make({"plane": "grid"}.get(name, name))
        return made.space, made.load(rng=Rng(0))
    file = cache / f"{name}.npz"
    if not file.exists():
        draft = cache / f"{name}.{os.getpid()}.npz"
        np.savez(draft, **{"mnist": mnist, "cifar10": cifar10, "photos": photos}[name]())
        draft.rename(file)
    with np.load(file) as stored:
        parts = {k: InMemory(torch.from_numpy(stored[k])) for k in stored.files}
    shape = tuple(parts["test"].take(torch.arange(1)).shape[1:])
    return Space("image", shape, 256), Splits(**parts, note="")


def parted(x, y, held: int = 2000) -> dict:
    """Returns the splits of training images ``x`` and test images ``y``, channels first."""
    return {"train": x[:-held], "validation": x[-held:], "test": y[:held]}


def mnist() -> dict:
    import numpy as np

    def read(part: str):
        packed = (home() / "images/mnist" / f"{part}-images-idx3-ubyte.gz").read_bytes()
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(-1, 1, 28, 28)

    return parted(read("train"), read("t10k"))


def cifar10() -> dict:
    import numpy as np
    from PIL import Image

    with np.load(home() / "images/cifar10/cifar10_jpeg_q75_60k.npz") as f:
        stored = {k: f[k] for k in f.files if k != "classes"}

    def read(part: str, most: int):
        bytes_, at = stored[f"jpeg_{part}"], stored[f"offset_{part}"]
        one = (Image.open(io.BytesIO(bytes_[a:b].tobytes())) for a, b in itertools.pairwise(at))
        return np.stack([np.asarray(i).transpose(2, 0, 1) for i in itertools.islice(one, most)])

    return parted(read("train", 50_000), read("test", 2_000))


def photos() -> dict:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(0)
    both = [Image.fromarray(photo) for photo in load_sample_images().images]

    def piece():
        photo, side = both[draw.integers(2)], int(draw.integers(64, 257))
        left, top = (int(draw.integers(0, size - side + 1)) for size in photo.size)
        cut = photo.resize(
            (64, 64), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
        pixels = np.asarray(cut).transpose(2, 0, 1)
        return pixels[:, :, ::-1] if draw.integers(2) else pixels

    return parted(*(np.stack([piece() for _ in range(n)]) for n in (10_000, 2_000)))


def judge(data: str, space, splits) -> Callable:
    """Returns the map from samples to the features that judge them."""
    import torch

    from gantlet.core.rng import Rng
    from gantlet.core.spec import extractors

    if data in ("plane", "digits"):
        return lambda x: space.unit(x).flatten(1)
    if data == "mnist":
        from panel import lenet

        seen = lenet()
    else:
        network = home() / "weights" / "mobilenet_v1_imagenet.onnx"
        seen = (
            extractors.make(f"onnx:path={network},size=96").fit(space, splits, rng=Rng(0)).extract
        )
    return lambda x: torch.cat([seen(part) for part in x.split(100)])


def scores(data: str, cache: Path, x) -> dict:
    """Returns the metrics of samples ``x`` against test samples, each value, low and high."""
    import numpy as np
    import torch

    from gantlet.core.rng import Rng
    from gantlet.core.spec import metrics
    from gantlet.metrics.measure import measure_all

    space, splits = load(data, cache)
    see, file = judge(data, space, splits), cache / f"{data}-test.npy"
    with torch.no_grad():
        if file.exists():
            real = torch.from_numpy(np.load(file))
        else:
            real = see(splits.test.take(torch.arange(len(splits.test))))
            draft = file.with_suffix(f".{os.getpid()}.npy")
            np.save(draft, real.numpy())
            draft.rename(file)
        made = {name: metrics.make(name) for name in METRICS}
        found = measure_all(made, real, see(x), rng=Rng(0))
    return {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in found.items()}


# ----------------------------------------------------------------------------
# One training, in a process of its own.
# ----------------------------------------------------------------------------


def train_family(cell: Cell, space, splits):
    """Returns the sampler of a family, and what is known of its training."""
    from gantlet.core.estimate import Budget
    from gantlet.core.model import default_batch
    from gantlet.core.rng import Rng
    from gantlet.core.spec import families, solvers
    from gantlet.run.train import Plan, train

    rng = Rng(cell.seed)
    family = families.make(cell.model)
    game = family.build(space, rng=rng)
    batch = default_batch(family, space)
    plan = Plan(budget=Budget(seconds=cell.seconds), batch=batch, ema=family.ema)
    trained = train(
        game, solvers.make(family.solver), splits, plan, rng=rng, clock=time.process_time
    )
    noise = rng.stream("sample")
    about = {
        "written": families.resolve(cell.model),
        "batch": batch,
        "steps": trained.spend.steps,
        "flops": trained.spend.flops,
        "best step": trained.best_step,
        "parameters": sum(p.numel() for q in game.players.values() for p in q.parameters()),
    }
    return lambda n: game.model.sample(n, rng=noise), about


def train_rival(cell: Cell, space, splits):
    """Returns the sampler of a rival, and what is known of its training.

    A rival that takes vectors alone sees images flattened and dequantised: with noise that is
    uniform over one level; its samples are rounded down.
    """
    import torch

    rival, x = rival_of(cell.model), splits.train.take(torch.arange(len(splits.train)))
    top = (space.levels or 1) - 1
    flat = bool(space.levels) and getattr(rival, "VECTORS", False)
    if flat:
        x = (x + torch.rand(x.shape, generator=torch.Generator().manual_seed(cell.seed))).flatten(
            1
        )
    elif space.levels:
        x = x * (255 / top)
    sample = rival.train(x, seconds=cell.seconds, seed=cell.seed)

    def drawn(n: int):
        y = sample(n)
        if not space.levels:
            return y
        y = y.floor() if flat else (y * (top / 255)).round()
        return y.clamp(0, top).view(n, *space.shape)

    return drawn, {"written": cell.model}


def rival_of(name: str):
    """Returns the module of a rival."""
    spec = importlib.util.spec_from_file_location(f"rival_{name}", RIVALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn_samples(sample: Callable, most: int = SAMPLES, cap: float = CAP):
    """Returns as many samples as the time allows, 116 at least, and the CPU seconds of one.

    Raises:
        ValueError: If they would be too few.
    """
    import torch

    with torch.no_grad():
        start = time.process_time()
        parts = [sample(16)]
        one = (time.process_time() - start) / 16
        if one * LEAST > 4 * cap:  # many at once may take a part of that for each
            raise ValueError(f"sampling takes {one:.3g} CPU seconds for each sample")
        made = 16
        while made < most and time.process_time() - start < cap:
            parts.append(sample(min(LEAST, most - made)))
            made += len(parts[-1])
        return torch.cat(parts), (time.process_time() - start) / made


def one(cell: Cell, out: Path) -> dict:
    """Trains, samples and judges; what fails is a result too."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    space, splits = load(cell.data, out / "data")
    found = asdict(cell)
    start = time.process_time()
    try:
        sample, about = (train_rival if cell.is_rival else train_family)(cell, space, splits)
        found |= about | {"cpu": time.process_time() - start}
        x, each = drawn_samples(sample)
        space.check(x, "the model")
    except Exception as error:  # noqa: BLE001  a model that fails is a row of the table
        said = " ".join(str(error).split()) or type(error).__name__
        return found | {"error": said[:300]}
    shown = x if space.levels is None else x.to(torch.uint8)
    np.savez_compressed(out / "cells" / f"{cell.name}.npz", x=shown.numpy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {
        "n": len(x),
        "seconds for a sample": each,
        "peak memory": peak,
        "scores": scores(cell.data, out / "data", x),
    }


def floor(data: str, out: Path) -> dict:
    """Returns the scores of held-out real samples, measured once."""
    import torch

    file = out / "cells" / f"{data}-real.json"
    if not file.exists():
        _, splits = load(data, out / "data")
        n = min(SAMPLES, len(splits.validation))
        x = splits.validation.take(torch.arange(n))
        write(file, {"data": data, "n": n, "scores": scores(data, out / "data", x)})
    return json.loads(file.read_text())


def write(file: Path, found: dict) -> None:
    """Writes a file whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(found, indent=1) + "\n")
    draft.rename(file)


# ----------------------------------------------------------------------------
# All of them.
# ----------------------------------------------------------------------------


def run_all(wanted: Sequence[Cell], out: Path, *, jobs: int, again: bool) -> None:
    """Runs what is missing, so many processes at once."""
    for folder in ("cells", "data"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if again:
        for cell in wanted:
            (out / "cells" / f"{cell.name}.json").unlink(missing_ok=True)
    todo = [c for c in wanted if not (out / "cells" / f"{c.name}.json").exists()]
    print(f"{len(todo)} of {len(wanted)} trainings to run", flush=True)
    for data in dict.fromkeys(c.data for c in todo):
        floor(data, out)
    running: list[tuple[Cell, subprocess.Popen]] = []
    while todo or running:
        while todo and len(running) < jobs:
            running.append((todo[0], started(todo.pop(0), out)))
        time.sleep(0.2)
        for cell, process in [r for r in running if r[1].poll() is not None]:
            running.remove((cell, process))
            print(told(cell, out, process.returncode), f"{len(todo)} to go", flush=True)


def started(cell: Cell, out: Path) -> subprocess.Popen:
    here = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, "--out", str(out), "--one", json.dumps(asdict(cell))]
    return subprocess.Popen(command, env=os.environ | here)


def told(cell: Cell, out: Path, code: int) -> str:
    file = out / "cells" / f"{cell.name}.json"
    if not file.exists():
        return f"{cell.name}: ended with code {code}, runs again next time;"
    found = json.loads(file.read_text())
    if "error" in found:
        return f"{cell.name}: {found['error']};"
    value = found["scores"][DECIDES]["value"]
    return f"{cell.name}: {DECIDES} {value:.4g}, {found['cpu']:.0f} CPU s;"


# ----------------------------------------------------------------------------
# The result: means over seeds, differences and their tests.
# ----------------------------------------------------------------------------


def gathered(out: Path) -> dict:
    """Returns all that is there: rows by cell, and the floor of each set of data."""
    rows = [json.loads(f.read_text()) for f in sorted((out / "cells").glob("*.json"))]
    return {
        "made by": "python benchmarks/recipes.py",
        "floor": {r["data"]: r["scores"] for r in rows if "model" not in r},
        "rows": [{k: r[k] for k in KEPT if k in r} for r in rows if "model" in r],
    }


@dataclass(frozen=True)
class Recipe:
    """One model on one set of data with one budget, over its seeds.

    Attributes:
        values: The distance that decides, of each seed.
        variance: That of a seed, in part shared.
        df: Its degrees of freedom; 0 where there is one seed.
        rows: What is known of each seed.
    """

    values: tuple[float, ...]
    variance: float
    df: float
    rows: tuple[dict, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def half(self) -> float | None:
        """Half of the interval of the mean over seeds, at 95 %; None with one seed."""
        from gantlet.stats.intervals import t_quantile

        if not self.df:
            return None
        return t_quantile(0.975, self.df) * math.sqrt(self.variance / len(self.values))


def recipes(rows: Sequence[dict], data: str, seconds: float) -> dict[str, Recipe]:
    """Returns the models of one set of data and budget, by name.

    The variance of a seed is that of ``gantlet.commands.compare.claims``.
    """
    mine = [r for r in rows if r["data"] == data and r["seconds"] == seconds and "scores" in r]
    score = DECIDES
    by: dict[str, list[dict]] = {}
    for row in mine:
        by.setdefault(row["model"], []).append(row)
    values = {m: [r["scores"][score]["value"] for r in found] for m, found in by.items()}
    own = {m: variance(v) for m, v in values.items() if len(v) > 1}
    pool = fmean(own.values()) if own else 0.0
    each = fmean(len(values[m]) - 1 for m in own) if own else 0.0
    c = max(0.0, min((len(own) - 2) * each / 6, BORROWED))
    found = {}
    for m, v in values.items():
        d, s = len(v) - 1, own.get(m, 0.0)
        shared = (d * s + c * pool) / (d + c) if d else 0.0
        least = fmean(drawing(r["scores"][score]) for r in by[m])
        found[m] = Recipe(tuple(v), max(s, shared, least), d + c if d else 0.0, tuple(by[m]))
    return found


def drawing(score: dict) -> float:
    """Returns the variance that finite samples alone give to a score."""
    return ((score["high"] - score["low"]) / 2 / 1.96) ** 2 if score["low"] is not None else 0.0


def gap(a: Recipe, b: Recipe) -> tuple[float, float] | None:
    """Returns the difference of two recipes and its p-value; None where there is but one seed."""
    from gantlet.stats.intervals import t_above

    if not a.df or not b.df:
        return None
    one, two = a.variance / len(a.values), b.variance / len(b.values)
    df = (one + two) ** 2 / (one**2 / a.df + two**2 / b.df)
    t = abs(a.mean - b.mean) / math.sqrt(one + two)
    return a.mean - b.mean, min(1.0, 2 * t_above(t, df))


def decided(found: dict) -> list[dict]:
    """Returns the rows of the table: one for each family, data and budget."""
    from gantlet.stats.intervals import holm_adjusted

    places = sorted(
        {(r["data"], r["seconds"]) for r in found["rows"]},
        key=lambda p: (DATA.index(p[0]), p[1]),
    )
    table, tests = [], []
    for data, seconds in places:
        here = recipes(found["rows"], data, seconds)
        failed = failures(found["rows"], data, seconds)
        for family, beside in BESIDE.items():
            if family not in here and family not in failed:
                continue
            ours, rivals = here.get(family), {r: here[r] for r in beside if r in here}
            row = {"data": data, "seconds": seconds, "family": family, "ours": ours}
            row |= {"error": failed.get(family), "rivals": rivals, "tests": {}}
            table.append(row)
            apart = {r: gap(ours, recipe) for r, recipe in rivals.items()} if ours else {}
            tests += [(row, r, *found_) for r, found_ in apart.items() if found_ is not None]
    adjusted = holm_adjusted([t[3] for t in tests])
    for (row, rival, difference, _), p in zip(tests, adjusted, strict=True):
        row["tests"][rival] = {"difference": difference, "p": p}
    return table


def failures(rows: Sequence[dict], data: str, seconds: float) -> dict[str, str]:
    """Returns why models have no number, by name."""
    here = [r for r in rows if (r["data"], r["seconds"]) == (data, seconds)]
    return {r["model"]: r["error"] for r in here if "error" in r}


def best(row: dict) -> str | None:
    """Returns the name of the rival with the smallest mean."""
    return min(row["rivals"], key=lambda r: row["rivals"][r].mean, default=None)


def verdict(row: dict) -> str:
    """Returns in words how a family stands to its rivals."""
    if row["error"]:
        return f"fails: {row['error']}"
    if not row["rivals"]:
        return "no rival takes such data"
    if not row["tests"]:
        return "one seed: not tested"
    worse = [r for r, t in row["tests"].items() if t["p"] <= LEVEL and t["difference"] > 0]
    if worse:
        return f"worse than {', '.join(worse)}"
    strongest = best(row)
    test = row["tests"].get(strongest)
    if test and test["p"] <= LEVEL:
        return "better"
    return "not significantly different"


def number(value: float) -> str:
    """Returns three digits, without exponents."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 5)}f}".replace("-", "−")


def shown(recipe: Recipe | None) -> str:
    """Returns the mean over seeds with its interval."""
    if recipe is None:
        return "–"
    half = recipe.half
    return number(recipe.mean) + ("" if half is None else f" ± {number(half)}")


HEADS = ("data", "CPU s", "family", "distance", "best rival", "its distance", "steps", "verdict")


def text_of(found: dict) -> str:
    """Returns the table of the page, and the sentences around it."""
    table = decided(found)
    lines = [summary(table), "", f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    for row in table:
        rival, ours = best(row), row["ours"]
        steps = f"{fmean(r['steps'] for r in ours.rows):,.0f}" if ours else "–"
        values = (
            *(row["data"], f"{row['seconds']:g}", f"`{row['family']}`", shown(ours)),
            *(rival or "–", shown(row["rivals"].get(rival)), steps, verdict(row)),
        )
        lines.append(f"| {' | '.join(values)} |")
    floors = [f"{d} {number(s[DECIDES]['value'])}" for d, s in found["floor"].items()]
    lines += ["", f"Held-out real samples: {', '.join(floors)}."]
    for data, seconds in dict.fromkeys((r["data"], r["seconds"]) for r in table):
        missing = failures(found["rows"], data, seconds)
        rivals = [f"{m}: {why}" for m, why in missing.items() if m not in BESIDE]
        if rivals:
            lines += ["", f"No number on {data} at {seconds:g} CPU s: {'; '.join(rivals)}."]
    return "\n".join(lines)


def summary(table: Sequence[dict]) -> str:
    """Returns how many cells are worse, better and neither."""
    seeds = sorted({len(r["ours"].values) for r in table if r["ours"]})
    tests = sum(len(r["tests"]) for r in table)
    kinds = ("worse", "better", "not ", "fails")
    count = {k: sum(verdict(r).startswith(k) for r in table) for k in kinds}
    return (
        f"{len(table)} cells, {' or '.join(map(str, seeds))} seeds, {tests} tests: a default is "
        f"significantly worse than a rival in {count['worse']} cells, significantly better than "
        f"its best rival in {count['better']}, neither in {count['not ']}; it fails in "
        f"{count['fails']}."
    )


def pictures(found: dict, out: Path) -> list[str]:
    """Makes a picture for each set of images and budget, and returns the lines that show them.

    In each, from top to bottom, every family and below it its best rival; ten samples of seed 0.
    """
    lines = []
    table = [r for r in decided(found) if r["data"] != "plane" and r["ours"]]
    for data, seconds in dict.fromkeys((r["data"], r["seconds"]) for r in table):
        here = [r for r in table if (r["data"], r["seconds"]) == (data, seconds)]
        order = [m for r in here for m in (r["family"], best(r)) if m]
        files = {m: samples_file(out, data, m, seconds) for m in order}
        files = {m: file for m, file in files.items() if file.exists()}
        if not files:
            continue
        name, names = f"recipes-{data}-{seconds:g}s.png", ", ".join(files)
        strip(data, list(files.values()), PICTURES / name)
        said = f"{data}, {seconds:g} CPU s, from top to bottom: {names}"
        lines += [f"![{said}](images/{name})", "", f"*{said}.*", ""]
    return lines


def samples_file(out: Path, data: str, model: str, seconds: float) -> Path:
    return out / "cells" / f"{Cell(data, model, model not in BESIDE, seconds, 0).name}.npz"


def strip(data: str, files: Sequence[Path], to: Path, columns: int = 10) -> None:
    """Writes rows of samples as one picture."""
    import numpy as np
    from PIL import Image

    rows = []
    for file in files:
        with np.load(file) as stored:
            x = stored["x"][:columns].astype("float32")
        x = x * (255 / 16 if data == "digits" else 1)
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
        rows.append(np.concatenate(list(x), 2))
    whole = np.concatenate(rows, 1).round().astype("uint8").transpose(1, 2, 0)
    image = Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)
    zoom = 4 if data == "digits" else 2 if data in ("mnist", "cifar10") else 1
    image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    if image.mode == "RGB":
        image = image.quantize(128, method=Image.Quantize.MEDIANCUT)
    to.parent.mkdir(exist_ok=True)
    image.save(to, optimize=True)


def make_page(out: Path) -> None:
    """Writes the committed result, the pictures and the table of the page."""
    found = gathered(out)
    RESULT.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    before, rest = PAGE.read_text().split(START)
    after = rest.split(END)[1]
    made = "\n".join([text_of(found), "", *pictures(found, out)]).rstrip()
    PAGE.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "recipes")
    parser.add_argument("--families", nargs="*", default=list(BESIDE))
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--rivals", nargs="*", help="default: those of the families")
    parser.add_argument("--seconds", nargs="+", type=float, default=[60.0, 300.0, 1200.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        cell = Cell(**json.loads(asked.one))
        write(asked.out / "cells" / f"{cell.name}.json", one(cell, asked.out))
    elif asked.page:
        make_page(asked.out)
    else:
        beside = [r for f in asked.families for r in BESIDE.get(f.partition(":")[0], ())]
        rivals = list(dict.fromkeys(beside)) if asked.rivals is None else asked.rivals
        wanted = cells(asked.families, asked.data, rivals, asked.seconds, asked.seeds)
        run_all(wanted, asked.out.resolve(), jobs=asked.jobs, again=asked.again)


if __name__ == "__main__":
    main()
