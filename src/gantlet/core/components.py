"""The registries: every kind of component that can be named on the command line."""

from typing import TYPE_CHECKING

from gantlet.core.registry import Registry

if TYPE_CHECKING:
    from gantlet.core.dataset import Dataset
    from gantlet.core.family import Family, Fitted
    from gantlet.core.measure import Extractor, Metric, Probe
    from gantlet.core.solver import Solver

families: "Registry[Family | Fitted]" = Registry("family", "gantlet.families")
solvers: "Registry[Solver]" = Registry("solver", "gantlet.solvers")
datasets: "Registry[Dataset]" = Registry("data set", "gantlet.datasets")
extractors: "Registry[Extractor]" = Registry("extractor", "gantlet.features")
metrics: "Registry[Metric]" = Registry("metric", "gantlet.metrics")
probes: "Registry[Probe]" = Registry("probe", "gantlet.probes")
studies: "Registry[object]" = Registry("study", "gantlet.studies")
