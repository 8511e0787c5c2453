"""The reference lists every public name, and nothing that is not public."""

import re
from pathlib import Path

import pytest

import gantlet
import gantlet.testing

API = Path(__file__).parents[2] / "docs" / "api"
LISTED = re.findall(
    r"\.\. auto\w+:: ([\w.]+)", "".join(p.read_text() for p in sorted(API.glob("*.md")))
)


def test_every_public_name_is_in_the_reference_once():
    modules = {"components", "theory"}
    names = [f"gantlet.{n}" for n in gantlet.__all__ if n not in modules]
    names += [f"gantlet.stats.theory.{n}" for n in gantlet.theory.__all__]
    names += [f"gantlet.testing.{n}" for n in gantlet.testing.__all__]
    assert sorted(LISTED) == sorted(names)


def test_public_names_exist_and_are_explained():
    for name in gantlet.__all__:
        assert (getattr(gantlet, name).__doc__ or "").strip(), name


def test_public_names_stay_public():
    """What 0.1.0 had is still there, some of it under a new name as well."""
    old = """Budget Estimate Rng Space UserError compare converge evaluate flaws load_model
    load_report tournament"""
    assert set(old.split()) <= set(gantlet.__all__)
    for former, name in (
        ("conduct", "run_study"),
        ("Fit", "FitResult"),
        ("Fitted", "FittedFamily"),
    ):
        assert name in gantlet.__all__
        with pytest.warns(DeprecationWarning, match=f"{former} is now {name}"):
            assert getattr(gantlet, former) is getattr(gantlet, name)
