"""Help, documentation and reports speak the language of the field.

`PHRASES` are expressions that a reader has to translate, each with the term to use. Code in pages
is left out: it is for the linter.
"""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import gantlet
from gantlet.cli.main import COMMANDS, DATA, WEIGHTS, run
from gantlet.core.option_fields import split_docstring
from gantlet.core.spec import REGISTRIES
from gantlet.report.documents import render

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"(?ms)^(```|~~~|:::).*?^\1\s*$")

PHRASES = {
    r"\btold\b": "reported, distinguished, detected",
    r"\btells? (fake|real|them|samples?) (apart|from)": "discriminates, distinguishes",
    r"\bblind(ed)?\b(?!ness)": "deflation, residual",
    r"\bdealt out\b": "permuted",
    r"\bfreed of\b|\bless its bias\b": "bias-corrected",
    r"\bRead with care\b": "Limitations",
    r"\bHow this was made\b": "Run details",
    r"\bcontestants?\b": "model",
    r"\bseparated from no\b": "not significantly different from any",
    r"\boutright\b": "directly (no gradient training)",
    r"\bgoes round\b|\bswings\b": "oscillates",
    r"(?<!there )\b(is|are) no "
    r"(?!(more|less|longer|larger|smaller|better|worse|later)\b)": "is not a",
    r"\bWhat is played for\b": "adversarial loss",
    r"\bholds down\b": "gradient penalty",
    r"\bComponents of the noise\b": "latent dimension",
    r"\bbits for each component\b": "bits per dimension",
    r"\bwithout a word\b": "died (out of memory?)",
    r"\bthrown away\b": "deleted",
    r"\bmisses \d": "has missing values",
    r"\bin the mean\b": "on average",
    r"\bhold(s)? the truth\b": "coverage of the interval",
    r"\bannealing is off\b": "AIS is biased",
    r"\blast digits\b": "rounding",
    r"\bholds the same question\b": "resumes if it holds the same configuration",
    r"\bHow the players move\b": "optimizer (training algorithm)",
    r"\bFrom which (every|all|the)\b": "random seed",
    r"\bworth telling\b": "minimum effect size",
    r"\bIn what directions\b": "feature extractor",
    r"\btaken away\b": "removed",
    r"\bno: n\b": "no (n ~ N needed)",
    r"\bfellows?\b": "nearest neighbours within the set",
    r"\bcertif(y|ies|ied)\b": "confirmed",
    r"\b(seek|judg(e|ing)) half\b": "discovery, validation split",
    r"\bhaze\b": "jitter",
    r"\bvictims?\b": "samples",
    r"\b(damages|damaging)\b": "corruptions",
    r"\bbehind the best\b": "gap to the best model",
    r"\bpartisans?\b": "not for ranking",
    r"\bbouts\b": "pairwise results",
    r"\bat this hour\b": "hardware-dependent",
    r"\bheld for real\b": "judged real",
    r"\blets? be found\b": "power",
    r"(?<![\w-])--(smallest|most|blind|try)\b": "--min-effect, --max-directions, --deflation, "
    "--apply-advice",
}


def found_in(text):
    """Returns the phrases in a text, each with its surroundings."""
    flat = " ".join(text.split())
    return [
        f"...{flat[max(m.start() - 40, 0) : m.end() + 40]}... (say: {instead})"
        for pattern, instead in PHRASES.items()
        for m in re.finditer(pattern, flat, re.IGNORECASE)
    ]


def test_a_phrase_is_found():
    assert len(found_in("Which models are told apart, and what\nis no Nash point?")) == 2
    assert found_in("There is no difference; --mostly harmless.") == []


HELPS = [[], *([c.name] for c in COMMANDS)]
HELPS += [[group, c.name] for group, cs in (("data", DATA), ("weights", WEIGHTS)) for c in cs]


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_the_help_of_a_command(command, capsys):
    assert run([*command, "--help"]) == 0
    assert found_in(capsys.readouterr().out) == []


COMPONENTS = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_help_of_a_component(kind, name):
    doc, meanings = split_docstring(REGISTRIES[kind].load(name))
    assert found_in(". ".join((doc, *meanings.values()))) == []


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What a command wrote, as it was written.
WRITTEN = [p for p in PAGES if p.stem.endswith("_results") or p.stem == "changelog"]


@pytest.mark.parametrize("page", [p for p in PAGES if p not in WRITTEN], ids=lambda p: p.stem)
def test_a_page_of_the_documentation(page):
    assert found_in(FENCE.sub("", page.read_text())) == []


def points(seed, shift=0.0, n=400):
    return np.random.default_rng(seed).normal(shift, 1, (n, 3)).astype(np.float32)


def compared(folder):
    models = ["histogram", "gmm:components=2", "gan:width=8"]
    few = gantlet.Budget(steps=20)
    return gantlet.compare(
        models, data="ring:n=300", budget=few, seeds=2, metrics=["energy", "precision"], out=folder
    )


def evaluated(folder):
    sets = {"near": points(1), "far": points(2, 1.0)}
    metrics = ["kid", "energy", "precision", "recall"]
    return gantlet.evaluate(sets, points(3), train=points(4), metrics=metrics, out=folder)


def listed(folder):
    search = gantlet.Search(mode="linear", permutations=199)
    return gantlet.flaws(points(5, 0.8), points(6), search=search, out=folder)


def supported(folder):
    sets = {"few": points(5)[:40].repeat(5, 0), "shifted": points(5, 0.8)}
    return gantlet.support(sets, points(6), out=folder)


def converged(folder):
    return gantlet.converge("dirac:loss=wgan", budget=gantlet.Budget(steps=100), out=folder)


@pytest.mark.parametrize("command", [compared, evaluated, listed, supported, converged])
def test_a_report(command, tmp_path):
    report = command(tmp_path)
    assert len(report.blocks) > 1
    assert found_in(render(report, "markdown")) == []


# Public names of before: each is another word for something that the field has a term for.
NAMES = frozenset(
    (
        "Partisan",
        "refuse_partisans",
        "nearest_fellows",
        "Watcher",
        "go_over",
        "look",
        "Held",
        "Holding",
        "Bouts",
        "Word",
        "Victims",
        "Damage",
        "carry_out",
        "by_directions",
        "by_probes",
        "by_guide",
        "by_critics",
        "by_activations",
        "Asked",
        "Chosen",
        "alike",
        "haze",
        "Contestant",
        "contestants",
        "run_contestant",
        "silent",
        "conduct",
        "Blinding",
        "Sight",
        "Seen",
        "Arena",
    )
)


def test_public_names():
    found = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name in NAMES
    ]
    assert found == []
