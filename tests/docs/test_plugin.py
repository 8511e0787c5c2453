"""The plug-in package in examples keeps its contracts and works in the commands."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"


@pytest.fixture
def environment(tmp_path):
    """Returns an environment in which the package is found as an installed one is."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = (
        tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    )
    info.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in points.items())])
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    paths = [str(PLUGIN / "src"), str(info.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "GANTLET_CACHE": str(tmp_path / "cache"),
    }


def run(environment, folder, *words):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_the_package_pass(environment, tmp_path):
    tests = str(PLUGIN / "tests")
    told = run(environment, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", tests)
    assert "passed" in told


def test_its_components_stand_beside_the_built_in_ones(environment, tmp_path):
    words = ["compare", "kde", "vae:net=mlp,width=16,latent=2", "--data", "spiral"]
    words += ["--steps", "20", "--seeds", "1", "--solver", "normalized", "--out", "run", "--json"]
    words += ["--metric", "variance-ratio", "--features", "fourier"]
    found = json.loads(run(environment, tmp_path, "gantlet.cli", *words))
    rows = {(r["model"].partition(":")[0], r["name"].partition(" (")[0]): r for r in found["rows"]}
    ratio = rows["kde", "variance-ratio"]
    assert ratio["low"] < 1.1
    assert ratio["high"] > 0.9
    assert rows["kde", "likelihood"]["value"] is not None
    assert rows["vae", "training steps"]["value"] == 20
