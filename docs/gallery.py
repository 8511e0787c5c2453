"""Makes the pages of the gallery when the documentation is built.

Most are rendered from the committed results. The first ones, which have pictures, are run: fitted
models and damaged digits, about a minute; their run folders stay below the build and resume.
"""

import re
from pathlib import Path

import torch
from sphinx.application import Sphinx

import gantlet
from gantlet.cli.main import run

DOCS = Path(__file__).parent


def live(folder: Path) -> None:
    """Runs three commands on the handwritten digits."""
    gantlet.compare(
        ["gmm", "histogram", "memorizer"],
        data="digits",
        budget=gantlet.Budget(flops=1e9),
        seeds=2,
        samples=300,
        out=folder / "compare",
    )
    digits = gantlet.components.datasets.make("digits").load(rng=gantlet.Rng(0))
    x = digits.validation.take(torch.arange(len(digits.validation)))
    pale, repeated = (0.6 * x).round(), x[torch.arange(len(x)) % 20]
    fakes = {"honest": x, "pale": pale, "repeated": repeated}
    gantlet.evaluate(fakes, "digits", train="digits@train", out=folder / "evaluate")
    gantlet.flaws({"pale": pale}, "digits", out=folder / "flaws")


def pages(folder: Path) -> dict[str, Path]:
    """Returns what is rendered: the name of a page and its report."""
    runs = {name: folder / name for name in ("compare", "evaluate", "flaws")}
    shown = re.findall(r'href="gallery/([\w-]+)\.html"', (DOCS / "gallery.md").read_text())
    return {name: runs.get(name, DOCS / "results" / f"{name}.json") for name in shown}


def make(app: Sphinx) -> None:
    """Writes ``gallery/NAME.html`` beside the pages of the documentation."""
    if app.builder.format != "html":
        return
    runs, out = Path(app.outdir).parent / "gallery", Path(app.outdir) / "gallery"
    out.mkdir(parents=True, exist_ok=True)
    live(runs)
    for name, report in pages(runs).items():
        code = run(["report", str(report), "--format", "html", "--out", str(out / f"{name}.html")])
        assert code == 0, name


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
