"""The same questions give the same numbers: a table of small results, bit for bit.

    python benchmarks/same_numbers.py          # ask all, write docs/results/same-numbers.json
    python benchmarks/same_numbers.py --check  # ask all again and compare with that file
    python benchmarks/same_numbers.py --check --only flaws
    python benchmarks/same_numbers.py --check --gantlet ../other/src --renamed pixels=raw

Every family, solver, metric, probe, toy, mode of flaws and kind of sample is in it at least once;
what is not is said in the file. Each command line runs in a process of its own, with one thread,
forked from one that has imported the libraries and no more; each case has a fresh folder that
holds the same small files, made here from a seed. Rows that depend on clock or machine (seconds,
bytes, rates) are left out.

Compared are value, interval and count of each row, exactly. Rows are paired by the names they
stand under, those left over in their order, so that a new name and a new number are told apart:
names are listed, numbers fail. Headings and sentences are not compared. The entry points are read
from the pyproject.toml beside the source, whatever is installed. About three minutes of one core.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

ROOT = Path(__file__).parent.resolve().parent
RESULT = ROOT / "docs" / "results" / "same-numbers.json"
MACHINE = ("s", "B", "FLOP/s", "USD", "W", "J", "h")

# Runs each line of its input, a command with its folder, in a child: importing torch once saves
# half of the time. Nothing of a command is left behind for the next one.
SERVER = """
import json, os, sys, traceback
import pandas, scipy.stats, sklearn.cluster, sklearn.datasets, soundfile, torch
from gantlet.cli.main import main

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(asked["folder"])
            os.environ["GANTLET_CACHE"] = "cache"
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            sys.argv = ["gantlet", *asked["argv"]]
            code = main()
        except SystemExit as done:
            code = done.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code or 0))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

Row = tuple[str, object, object, object, object]  # name, value, low, high, n


# ---- what is asked -----------------------------------------------------------------------------

# The name of each case, and below it the commands that are run in one folder, one after another.
# A backslash goes on in the next line; `--metric a+b` stands for `--metric a --metric b`.
SHORT = "--steps 30 --seeds 1 --samples 80"
ASKED = f"""
compare baselines digits
    compare gmm memorizer histogram --data digits --flops 1e8 --seeds 1 --samples 60 \
        --features pixels+pca
compare gans ring
    compare gan:width=16 mix-gan:width=16,k=2 gan:loss=wgan,penalty=gp,width=16 --data ring {SHORT}
compare likelihoods ring
    compare flow:layers=2,width=16 vae:width=16 ar:net=made --data ring {SHORT}
compare flow-gan moons
    compare flow-gan:layers=2,width=16,critic_width=16 flow:coupling=spline,layers=2,width=16 \
        --data moons {SHORT}
compare images digits
    compare ar vae:width=16 glow:layers=1,width=16 --data digits --steps 6 --seeds 1 \
        --samples 48 --features pixels --batch 32
compare diffusion two seeds grid
    compare diffusion:width=16,steps=5 gmm:components=3 --data grid --steps 20 --seeds 2 \
        --samples 60
compare flops checkerboard
    compare gan:width=16 diffusion:width=16,steps=5 --data checkerboard --flops 2e8 --seeds 1 \
        --samples 80
compare an energy and a file of vectors
    compare flow:layers=2,width=16 --data energy {SHORT} --metric energy
    compare gmm --data npy:path=real.npy {SHORT} --metric kid
compare vectors csv
    compare gmm flow:layers=2,width=16 gan:width=16 --data csv:path=real.csv {SHORT}
compare table
    compare gmm flow:layers=2,width=16 --data table:path=mixed.csv {SHORT}
compare text
    compare ar histogram --data text:path=real.txt {SHORT}
compare audio
    compare gmm histogram --data audio:path=real-audio {SHORT} --metric kid+energy
compare graphs
    compare gmm histogram --data graphs:path=graphs.npz {SHORT} --metric kid+energy
compare probe ais
    compare vae:width=16,latent=2 flow:layers=2,width=16 --data moons --steps 20 --seeds 1 \
        --samples 60 --features pixels --metric energy \
        --probe ais:temperatures=10,chains=2,points=8,simulated=4,tuning=4,leapfrogs=3
train, six solvers
    train gan:width=8 --data ring --steps 12 --samples 60 --solver adam --out 1
    train gan:width=8 --data ring --steps 12 --samples 60 --solver sgd --out 2
    train gan:width=8 --data ring --steps 12 --samples 60 --solver extragradient --out 3
    train gan:width=8 --data ring --steps 12 --samples 60 --solver past-extragradient --out 4
    train gan:width=8 --data ring --steps 12 --samples 60 --solver optimistic --out 5
    train gan:width=8 --data ring --steps 12 --samples 60 --solver consensus --out 6
train, six other solvers
    train gan:width=8 --data ring --steps 12 --samples 60 --solver sga --out 1
    train gan:width=8 --data ring --steps 12 --samples 60 --solver crossing-the-curl --out 2
    train gan:width=8 --data ring --steps 12 --samples 60 --solver cgd --out 3
    train gan:width=8 --data ring --steps 12 --samples 60 --solver lookahead --out 4
    train gan:width=8 --data ring --steps 12 --samples 60 --solver history --out 5
    train gan:width=8 --data ring --steps 12 --samples 60 --solver langevin --out 6
train convolutions, sample, evaluate
    train gan:net=conv,width=16 --data digits --steps 4 --batch 32 --samples 60 --out run
    sample run -n 40 --noise 3 --out drawn.npy
    evaluate run@gan --against digits --train digits@train --samples 80 --out judged \
        --features pixels+pca+random-conv --metric kid+ct
snapshots, tournament, converge, critic
    train gan:width=16 --data ring --steps 40 --snapshots 3 --samples 60 --out run
    tournament run --samples 80 --out matches
    converge run@gan#0 --out looked
    flaws run@gan --against ring --features critic:run=run --samples 80 --permutations 199 \
        --out judged
evaluate distances
    evaluate fake.npy --against real.npy --samples 100 \
        --metric frechet+kid+energy+sliced-wasserstein+max-sliced-wasserstein+mmd+c2st
evaluate neighbours
    evaluate fake.npy --against real.npy --samples 100 \
        --metric precision+recall+density+coverage+realism+alpha-precision+beta-recall
evaluate copies
    evaluate fake.npy --against real.npy --samples 100 --train train.npy \
        --metric authenticity+ct+birthday+fld
evaluate structure
    evaluate fake.npy --against real.npy --samples 100 \
        --metric frechet-infinity+mind+geometry-score+prd+vendi+cmmd
evaluate several, ranked
    evaluate a=fake.npy b=other.npy --against real.npy --control train.npy --rank energy \
        --metric energy+kid --samples 100
evaluate pairs
    evaluate outputs.npy --against real.npy --pairs train.npy --outputs 2 --metric energy \
        --samples all
evaluate groups
    evaluate fake.csv --against real.csv --metric energy+frechet \
        --groups real=real-groups.txt --groups fake.csv=fake-groups.txt
evaluate images
    evaluate fake-images --against real-images --features random-conv --metric kid+ms-ssim+frechet
evaluate digits by a classifier
    evaluate digits@validation --against digits@test --train digits@train --samples 80 \
        --features classifier --metric inception-score+kid+precision
evaluate text
    evaluate fake.txt --against real.txt --metric kid+energy+precision+c2st
evaluate table
    evaluate mixed-fake.csv --against mixed.csv --metric kid+energy+recall
evaluate audio
    evaluate fake-audio --against real-audio --metric kid+energy+c2st
evaluate graphs
    evaluate graphs:path=graphs-fake.npz --against graphs:path=graphs.npz --metric kid+energy+mmd
flaws guided and linear
    flaws fake.npy --against real.npy --permutations 199
    flaws a=fake.npy b=other.npy --against real.npy --mode linear --permutations 199
flaws transport and pca
    flaws fake.npy --against real.npy --mode transport --permutations 199 --out 1
    flaws fake.npy --against real.npy --mode pca --permutations 199 --most 4 --out 2
flaws neural
    flaws fake.npy --against real.npy --mode neural --permutations 99 --most 2 --out 1
    flaws fake.npy --against real.npy --mode neural --blind project --permutations 99 --most 2 \
        --out 2
flaws of images
    flaws fake-images --against real-images --permutations 199
flaws of text and tables
    flaws fake.txt --against real.txt --permutations 199 --out 1
    flaws mixed-fake.csv --against mixed.csv --permutations 199 --out 2
flaws of audio and graphs
    flaws fake-audio --against real-audio --permutations 199 --out 1
    flaws graphs:path=graphs-fake.npz --against graphs:path=graphs.npz --permutations 199 --out 2
converge toys
    converge dirac:loss=wgan --steps 100 --try --out 1
    converge saddle --steps 100 --solver extragradient --out 2
    converge lgq --steps 60 --solver sga --out 3
converge gan
    converge gan:width=8 --data ring --steps 40 --batch 32
cost
    cost gan flow vae diffusion ar flow-gan --data digits --examples 1e4
    cost --published
"""


def cases() -> dict[str, tuple[str, ...]]:
    """Returns the commands of each case."""
    found: dict[str, list[str]] = {}
    for line in ASKED.strip().splitlines():
        if line.startswith(" "):
            found[next(reversed(found))].append(" ".join(line.split()))
        else:
            found[line] = []
    return {name: tuple(commands) for name, commands in found.items()}


def arguments(command: str) -> list[str]:
    """Returns the arguments of a command.

    Example:
        >>> arguments("evaluate a.npy --metric kid+mmd")
        ['evaluate', 'a.npy', '--metric', 'kid', '--metric', 'mmd']
    """
    argv: list[str] = []
    for word in command.split():
        if argv and argv[-1] in {"--metric", "--features"}:
            option = argv.pop()
            argv += [s for value in word.split("+") for s in (option, value)]
        else:
            argv.append(word)
    return argv


CASES = cases()


# ---- the files of each case --------------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    """Writes small files of every kind, the same each time."""
    draw = np.random.default_rng(20261129)
    _vectors(folder, draw)
    _tables(folder, draw)
    _texts(folder, draw)
    _images(folder, draw)
    _sounds(folder, draw)
    _graphs(folder, draw)


def _vectors(folder: Path, draw: np.random.Generator) -> None:
    mix = draw.normal(size=(6, 6))
    for name, n, shift, scale in (
        ("real", 200, 0.0, 1.0),
        ("train", 200, 0.0, 1.0),
        ("fake", 200, 0.7, 1.0),
        ("other", 180, 0.0, 1.5),
    ):
        x = scale * draw.normal(size=(n, 6))
        x[:, 1] += shift
        np.save(folder / f"{name}.npy", (x @ mix).astype(np.float32))
    targets = np.load(folder / "train.npy")
    outputs = np.repeat(targets, 2, axis=0) + 0.3 * draw.normal(size=(400, 6))
    np.save(folder / "outputs.npy", outputs.astype(np.float32))


def _tables(folder: Path, draw: np.random.Generator) -> None:
    for name, shift in (("real", 0.0), ("fake", 0.5)):
        x = draw.normal(shift, size=(200, 3))
        rows = [",".join(f"{v:.5f}" for v in row) for row in x]
        (folder / f"{name}.csv").write_text("\n".join(["a,b,c", *rows]) + "\n")
        groups = draw.integers(0, 40, len(x))
        (folder / f"{name}-groups.txt").write_text("".join(f"g{g}\n" for g in groups))
    for name, share in (("mixed", 0.3), ("mixed-fake", 0.6)):
        lines = ["age,city,income"]
        for _ in range(200):
            city = "north" if draw.random() < share else ("south", "east")[draw.integers(2)]
            age = "" if draw.random() < 0.05 else str(draw.integers(18, 80))
            lines.append(f"{age},{city},{draw.gamma(2, 1000):.2f}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def _texts(folder: Path, draw: np.random.Generator) -> None:
    words = np.array(
        ["the", "a", "cat", "dog", "sees", "runs", "and", "big", "small", "red", ".", "?"]
    )
    for name, tilt in (("real", 1.0), ("fake", 3.0)):
        p = np.linspace(1, tilt, len(words))
        lines = [
            " ".join(draw.choice(words, draw.integers(3, 9), p=p / p.sum())) for _ in range(160)
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _images(folder: Path, draw: np.random.Generator) -> None:
    place = np.arange(32)
    for name, noise in (("real", 12), ("fake", 30)):
        (folder / f"{name}-images").mkdir()
        for i in range(60):
            x, y = draw.uniform(8, 24, 2)
            blob = np.exp(-((place[:, None] - y) ** 2 + (place - x) ** 2) / 40)
            colour = draw.uniform(100, 255, 3)
            pixels = blob[..., None] * colour + draw.normal(0, noise, (32, 32, 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / f"{name}-images" / f"{i:03d}.png")


def _sounds(folder: Path, draw: np.random.Generator) -> None:
    time = np.arange(512) / 4000
    for name, low in (("real", 200), ("fake", 500)):
        (folder / f"{name}-audio").mkdir()
        for i in range(80):
            tone = 0.4 * np.sin(2 * np.pi * draw.uniform(low, 900) * time + draw.uniform(0, 6))
            clip = tone + 0.02 * draw.normal(size=len(time))
            soundfile.write(folder / f"{name}-audio" / f"{i:03d}.wav", clip, 4000)


def _graphs(folder: Path, draw: np.random.Generator) -> None:
    for name, density in (("graphs", 0.25), ("graphs-fake", 0.45)):
        nodes, counts, edges = [], [], []
        for _ in range(80):
            n = int(draw.integers(5, 10))
            pairs = [(i, j) for i in range(n) for j in range(i) if draw.random() < density]
            nodes.append(n)
            counts.append(len(pairs))
            edges.extend(pairs)
        np.savez(
            folder / f"{name}.npz",
            num_nodes=np.array(nodes),
            num_edges=np.array(counts),
            edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
        )


# ---- asking ------------------------------------------------------------------------------------


def write_entry_points(project: Mapping[str, Any], folder: Path) -> Path:
    """Writes the entry points of a pyproject.toml; returns what must stand first in PYTHONPATH."""
    info = folder / "points" / "gantlet-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gantlet\nVersion: 0\n")
    lines: list[str] = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return info.parent


class CommandError(Exception):
    """A command did not end well."""


class Gantlet:
    """The command line of a source tree, with the entry points of its pyproject.toml.

    Args:
        path: The folder that holds the package; pyproject.toml lies beside it.
        folder: Where the entry points may be written, for importlib to find them first.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.project = tomllib.loads((path.parent / "pyproject.toml").read_text())["project"]
        points = write_entry_points(self.project, folder)
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        paths = os.pathsep.join(map(str, (points, path)))
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env={**os.environ, **one, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, argv: Sequence[str], folder: Path) -> str:
        """Returns what a command prints; its own last words, where it fails."""
        server = self._server
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("The server has no pipes.")
        server.stdin.write(json.dumps({"argv": list(argv), "folder": str(folder)}) + "\n")
        server.stdin.flush()
        if (code := server.stdout.readline().strip()) != "0":
            words = (folder / "stderr").read_text()[-800:]
            words = " ".join(words.split())
            raise CommandError(f"{' '.join(argv)}: exit code {code or 'unknown'}: {words}")
        return (folder / "stdout").read_text()

    def close(self) -> float:
        """Ends the server; returns the CPU seconds of all that it ran."""
        self._server.communicate()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


def ask(commands: Sequence[str], inputs: Path, gantlet: Gantlet) -> dict[str, list[Row]]:
    """Runs the commands of a case, and returns their rows under data, model and seed."""
    with tempfile.TemporaryDirectory(prefix="same-numbers-") as name:
        folder = Path(name) / "case"
        shutil.copytree(inputs, folder)
        found: dict[str, list[Row]] = defaultdict(list)
        for i, command in enumerate(commands):
            for where, row in _rows(command, folder, gantlet):
                found[f"{i + 1} {where}"].append(row)
        return dict(found)


def _rows(command: str, folder: Path, gantlet: Gantlet) -> Iterator[tuple[str, Row]]:
    argv = arguments(command)
    if argv[0] == "sample":
        gantlet.run(argv, folder)
        yield from _drawn(folder / argv[argv.index("--out") + 1])
        return
    workers = [] if argv[0] == "cost" else ["--workers", "1"]
    for row in json.loads(gantlet.run([*argv, *workers, "--json"], folder))["rows"]:
        if row["unit"] not in MACHINE and not row["unit"].endswith("/s"):
            where = " | ".join(str(row[k]) for k in ("data", "model", "seed"))
            yield where, (row["name"], row["value"], row["low"], row["high"], row["n"])


def _drawn(path: Path) -> Iterator[tuple[str, Row]]:
    x = np.load(path)
    yield path.name, (f"sum of {x.dtype} {x.shape}", float(x.astype(float).sum()), None, None, 0)
    yield path.name, ("sha256", hashlib.sha256(x.tobytes()).hexdigest(), None, None, len(x))


def digest(case: Mapping[str, Sequence[Sequence[object]]]) -> str:
    """Returns the SHA-256 of every number of a case, in order, as Python writes them exactly."""
    numbers = [tuple(row[1:]) for rows in case.values() for row in rows]
    return hashlib.sha256(repr(numbers).encode()).hexdigest()


# ---- what the cases cover ----------------------------------------------------------------------


def missing(gantlet: Gantlet, entries: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the components of each kind that no command names and no row is about."""
    rows = [row[0] for e in entries.values() for rows in e["rows"].values() for row in rows]
    asked = [c for e in entries.values() for c in e["commands"]]
    # The probes are measured of every model without being asked for.
    named = {*re.split(r"[ :,=@#+()]", " ".join([*asked, *rows])), "parameters", "inverse"}
    found = {
        kind: sorted(gantlet.project["entry-points"][f"gantlet.{kind}"].keys() - named)
        for kind in ("families", "solvers", "metrics", "probes", "toys", "features")
    }
    return {kind: names for kind, names in found.items() if names}


# ---- comparing ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """What differs between two answers to one case."""

    rows: int
    numbers: list[str]
    names: list[str]


def compared(
    old: Mapping[str, Sequence[Sequence[object]]],
    new: Mapping[str, Sequence[Sequence[object]]],
    renamed: Mapping[str, str],
) -> Compared:
    """Pairs the rows of two answers, by name where possible and else in order."""
    before, after = _keyed(old, renamed), _keyed(new, {})
    pairs = [(k, k) for k in before if k in after]
    lost = [k for k in before if k not in after]
    came = [k for k in after if k not in before]
    pairs += zip(lost, came, strict=False)
    numbers = [
        f"{_told(a)}: {_numbers(before[a])} -> {_numbers(after[b])}"
        for a, b in pairs
        if repr(before[a]) != repr(after[b])
    ]
    numbers += [f"{_told(k)}: {_numbers(before[k])} -> no such row" for k in lost[len(came) :]]
    numbers += [f"{_told(k)}: new row {_numbers(after[k])}" for k in came[len(lost) :]]
    names = [f"{_told(a)} -> {_told(b)}" for a, b in pairs if a != b]
    return Compared(sum(map(len, new.values())), numbers, names)


Key = tuple[str, str, int]


def _keyed(
    case: Mapping[str, Sequence[Sequence[object]]], renamed: Mapping[str, str]
) -> dict[Key, tuple[object, ...]]:
    found: dict[Key, tuple[object, ...]] = {}
    for where, rows in case.items():
        for name, *numbers in rows:
            key = (_renamed(where, renamed), _renamed(str(name), renamed))
            times = 0
            while (*key, times) in found:
                times += 1
            found[*key, times] = tuple(numbers)
    return found


def _renamed(text: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        text = text.replace(old, new)
    return text


def _told(key: Key) -> str:
    return f"[{key[0]}] {key[1]}"


def _numbers(numbers: Sequence[object]) -> str:
    value, low, high, n = numbers
    return f"{value!r} ({low!r} to {high!r}, n={n})"


# ---- the command -------------------------------------------------------------------------------


def _write(cases: Mapping[str, Any], uncovered: Mapping[str, list[str]]) -> None:
    """Writes one row a line, so that a difference can be read."""
    lines = ["{", f' "not covered": {json.dumps(uncovered)},', ' "cases": {']
    for i, (name, case) in enumerate(cases.items()):
        lines.append(f"  {json.dumps(name)}: {{")
        lines.append(f'   "commands": {json.dumps(case["commands"])},')
        lines.append(f'   "count": {case["count"]}, "sha256": "{case["sha256"]}",')
        lines.append('   "rows": {')
        groups = [
            f"    {json.dumps(where)}: [\n"
            + ",\n".join(f"     {json.dumps(row)}" for row in rows)
            + "]"
            for where, rows in case["rows"].items()
        ]
        lines.append(",\n".join(groups) + "}}" + ("," if i < len(cases) - 1 else ""))
    RESULT.write_text("\n".join([*lines, " }", "}"]) + "\n")


def _entry(commands: Sequence[str], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    count = sum(map(len, rows.values()))
    return {"commands": list(commands), "count": count, "sha256": digest(rows), "rows": rows}


def _check(name: str, kept: Mapping[str, Any] | None, rows: Any, names: Mapping[str, str]) -> bool:
    """Prints what differs in one case; returns whether no number does."""
    if kept is None or kept["sha256"] != digest(kept["rows"]):
        print(f"| {name} | - | {'not kept' if kept is None else 'edited by hand'} | - |")
        return False
    result = compared(kept["rows"], rows, names)
    state = f"{len(result.numbers)} differ: {result.numbers[0]}" if result.numbers else "same"
    new = f"{len(result.names)}: {result.names[0]}" if result.names else "-"
    print(f"| {name} | {result.rows} | {state} | {new} |", flush=True)
    return not result.numbers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the table kept")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name holds it")
    parser.add_argument("--gantlet", type=Path, default=ROOT / "src", help="source to be asked")
    parser.add_argument(
        "--renamed", action="append", default=[], metavar="OLD=NEW", help="a name that changed"
    )
    return parser.parse_args()


def main() -> int:
    asked = _arguments()
    renamed = dict(pair.split("=", 1) for pair in asked.renamed)
    known = json.loads(RESULT.read_text())["cases"] if RESULT.exists() else {}
    chosen = {name: commands for name, commands in CASES.items() if asked.only in name}
    if not chosen:
        raise SystemExit(f"No case holds {asked.only!r}. There are: {', '.join(CASES)}.")
    print("| case | rows | numbers | names |\n|---|---|---|---|")
    good = True
    with tempfile.TemporaryDirectory(prefix="same-numbers-") as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        write_inputs(inputs)
        gantlet = Gantlet(asked.gantlet.resolve(), Path(folder))
        for name, commands in chosen.items():
            try:
                rows = ask(commands, inputs, gantlet)
            except CommandError as error:
                print(f"| {name} | - | failed: {error} | - |", flush=True)
                good = False
                continue
            if asked.check:
                good &= _check(name, known.get(name), rows, renamed)
            else:
                known[name] = _entry(commands, rows)
                print(f"| {name} | {known[name]['count']} | kept | - |", flush=True)
        if not asked.check:
            known = {k: known[k] for k in CASES if k in known}
            _write(known, missing(gantlet, known))
        print(f"{gantlet.close():.0f} CPU s" + ("" if good else ". Not all is the same."))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
