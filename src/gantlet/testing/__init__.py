"""Checks that a component keeps its contract; for our own tests and for plug-in authors.

    from gantlet.testing import check_family

    def test_mine():
        check_family(Mine(width=8), Space("image", (1, 8, 8), 17))

Each raises AssertionError whose message names the broken clause.
"""

from gantlet.testing.contracts import (
    check_dataset,
    check_domain,
    check_extractor,
    check_family,
    check_fitted,
    check_metric,
    check_model,
    check_probe,
    check_solver,
    check_study,
    check_toy,
)

__all__ = [
    "check_dataset",
    "check_domain",
    "check_extractor",
    "check_family",
    "check_fitted",
    "check_metric",
    "check_model",
    "check_probe",
    "check_solver",
    "check_study",
    "check_toy",
]
