"""The page with the study's result is made from the committed result, and by the command."""

import re
from pathlib import Path

import pytest

from gantlet.cli.main import run
from gantlet.research.adversarial.arms import SCALES as ADVERSARIAL
from gantlet.research.batching.study import Batching
from gantlet.research.distributions.design import FAMILIES
from gantlet.research.distributions.design import SCALES as DESIGNS
from gantlet.research.distributions.study import Distributions
from gantlet.research.modalities.kind_designs import DESIGNS as KINDS
from gantlet.research.modalities.kind_designs import SEEDS as REPEATS
from gantlet.research.modalities.study import Modalities
from gantlet.research.tradeoffs.comparisons import SCALES
from gantlet.research.tradeoffs.study import Tradeoffs

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "tradeoffs-small": "tradeoffs_results",
    "distributions-small": "distributions_results",
    "distributions-protocols": "distributions_protocols_results",
    "distributions-coverage": "distributions_coverage_results",
    "mnist": "mnist_results",
    "ais-small": "ais_results",
    "convergence-small": "convergence_results",
    "calibration-wide": "calibration_wide_results",
    "calibration-gate": "calibration_gate_results",
    "calibration-frechet": "calibration_frechet_results",
    "calibration-near": "calibration_near_results",
    "calibration-recent": "calibration_recent_results",
    "calibration-verdicts": "calibration_verdicts_results",
    "batching-small": "batching_results",
    "sensitivity-small": "sensitivity_results",
    "adversarial-small": "adversarial_results",
    "modalities-small": "modalities_results",
    "names": "names_results",
    "mixed-table": "mixed_table_results",
    "fsdd": "fsdd_results",
    "sensitivity-cifar10": "sensitivity_cifar10_results",
}
# Numbers of benchmarks (same_numbers.py, house.py, recipes.py, image_sizes.py), whose pages are
# tested elsewhere.
NO_REPORTS = {"same-numbers", "house-before", "house-after", "recipes", "image-sizes"}


@pytest.mark.parametrize(("result", "page"), PAGES.items())
def test_the_result_page_is_what_the_command_makes(result, page, tmp_path):
    file, text = DOCS / f"results/{result}.json", DOCS / f"questions/{page}.md"
    made = tmp_path / "page.md"
    assert run(["report", str(file), "--format", "markdown", "--out", str(made)]) == 0
    told = f"gantlet report docs/results/{result}.json --format markdown --out {text.name}"
    assert text.read_text() == made.read_text(), f"make docs/questions/{text.name} again: {told}"


def test_every_committed_result_has_its_page():
    found = {file.stem for file in (DOCS / "results").glob("*.json")}
    assert found - NO_REPORTS == set(PAGES)


def test_every_committed_result_is_in_the_gallery():
    shown = re.findall(r'href="gallery/([\w-]+)\.html"', (DOCS / "gallery.md").read_text())
    assert set(shown) == {*PAGES, "compare", "evaluate", "flaws"}


@pytest.mark.parametrize("result", PAGES)
def test_a_committed_result_is_small(result):
    file = DOCS / f"results/{result}.json"
    told = f"gantlet report RUN --format json --summary --out docs/results/{file.name}"
    assert file.stat().st_size < 300_000, told


def test_a_summary_says_what_it_lacks_where_rows_are_wanted(capsys):
    file = DOCS / "results/tradeoffs-small.json"
    assert run(["report", str(file), "--format", "csv"]) == 2
    assert "summary without its" in capsys.readouterr().err


def test_the_page_of_the_study_says_how_large_it_is():
    text = " ".join((DOCS / "questions/tradeoffs.md").read_text().split())
    small, full = (len(Tradeoffs(size=size).trials()) for size in ("small", "full"))
    assert f"The small size is {small} trials, the full one {full}" in text
    for scale in SCALES.values():
        told = [f"{b:.0e}".replace("+", "") for b in scale.budgets]
        assert f"{', '.join(told[:-1])} and {told[-1]} FLOPs, {scale.seeds} seeds" in text
        assert f"{scale.plane_steps:,} steps" in text


def test_the_page_on_adversarial_examples_says_how_large_its_study_is():
    text = (DOCS / "questions/adversarial.md").read_text()
    for size, scale in ADVERSARIAL.items():
        trainings = sum(len(world.arms) for world in scale.worlds) * scale.seeds
        probe = scale.probe
        row = re.search(rf"\| {size} \| (\d+) \| .* \| (\d+) \| (\d+) \| (\d+) \|", text)
        told = [int(n) for n in row.groups()]
        assert told == [trainings, scale.seeds, probe.updates, probe.critics]


def test_the_answers_on_adversarial_examples_are_those_of_the_result():
    text = (DOCS / "questions/adversarial.md").read_text()
    answer = " ".join(text.partition("## The answer")[2].split())
    result = (DOCS / "questions/adversarial_results.md").read_text()
    numbers = re.findall(r"[\d.]+ ± [\d.]+\d", answer)
    assert len(numbers) > 20
    assert [n for n in numbers if n not in result] == []
    for count in ("12 of 12", "8 of 12", "3 of 3", "1 of 10", "0 of 8"):
        assert count in answer
    for count in ("nearest real sample (12 of 12)", "from its critic (8 of 12)"):
        assert count in result
    assert "moving parameters (3 of 3)" in result
    assert "Not decided: 8 of 8 claims" in result


def test_the_page_on_batches_says_how_large_its_study_is():
    text = " ".join((DOCS / "questions/batching.md").read_text().split())
    small, full = (len(Batching(size=size).trials()) for size in ("small", "full"))
    assert f"The small size is {small} trials, the full one {full}" in text


def test_the_page_on_distributions_says_how_large_its_study_is():
    text = " ".join((DOCS / "questions/distributions.md").read_text().split())
    small, full = (len(Distributions(size=size).trials()) for size in ("small", "full"))
    assert f"The small size is {small:,} trials, the full one {full:,}" in text
    assert all(f"`{form}`" in text for form in FAMILIES.values())
    for scale in (DESIGNS["small"], DESIGNS["full"]):
        assert f"{scale.worlds} unions of manifolds" in text
        assert f"{scale.flops:.0e} FLOPs".replace("+", "") in text


def test_the_page_on_other_kinds_of_data_says_how_large_its_study_is():
    text = (DOCS / "questions/modalities.md").read_text()
    for size in ("tiny", "small", "full"):
        row = re.search(rf"\| `{size}` \| (\d+) trials \| (\d+) \| ([^|]*) \|", text)
        flops = [d.extents[size].flops for d in KINDS]
        assert int(row[2]) == REPEATS[size]
        assert [float(f) for f in re.findall(r"\de\d+", row[3])] == (
            flops[:1] if size == "tiny" else flops
        )
        if size != "full":
            assert int(row[1]) == len(Modalities(size=size).trials())


def test_the_answers_on_other_kinds_of_data_are_those_of_the_result():
    text = (DOCS / "questions/modalities.md").read_text()
    answer = " ".join(text.partition("## The answer")[2].partition("## On names")[0].split())
    result = (DOCS / "questions/modalities_results.md").read_text()
    numbers = re.findall(r"[\d.]+ ± [\d.]*\d|(?<![\d.])0\.\d{3,}|p = [\d.]*\d", answer)
    assert len(numbers) > 40
    assert [n for n in numbers if n not in result] == []


def test_the_numbers_on_names_and_on_a_table_are_those_of_their_results():
    text = (DOCS / "questions/modalities.md").read_text()
    own = " ".join(text.partition("## On names")[2].partition("\n## ")[0].split())
    names, rest = own.split("**[A table]")
    table, sounds = rest.split("**[Spoken digits]")
    for told, page, least in (
        (names, "names", 24),
        (table, "mixed_table", 5),
        (sounds, "fsdd", 4),
    ):
        result = (DOCS / f"questions/{page}_results.md").read_text()
        numbers = re.findall(r"−?[\d.]+ ± [\d.]*\d|\b\d+ of [\d,]*\d", told)
        assert len(numbers) >= least
        assert [n for n in numbers if n not in result] == []
