"""The registries: every kind of component that can be named on the command line."""

from typing import TYPE_CHECKING, Any

from gantlet.core.registry import Registry

if TYPE_CHECKING:
    from gantlet.core.dataset import Dataset
    from gantlet.core.family import Family, Fitted
    from gantlet.core.measure import Extractor, Metric, Probe, TrainMetric
    from gantlet.core.solver import Solver
    from gantlet.core.toy import Toy

families: "Registry[Family | Fitted]" = Registry("family", "gantlet.families")
solvers: "Registry[Solver]" = Registry("solver", "gantlet.solvers")
datasets: "Registry[Dataset]" = Registry("data set", "gantlet.datasets")
extractors: "Registry[Extractor]" = Registry("extractor", "gantlet.features")
metrics: "Registry[Metric | TrainMetric]" = Registry("metric", "gantlet.metrics")
probes: "Registry[Probe]" = Registry("probe", "gantlet.probes")
toys: "Registry[Toy]" = Registry("toy game", "gantlet.toys")
studies: "Registry[Any]" = Registry("study", "gantlet.studies")

REGISTRIES: "dict[str, Registry[Any]]" = {
    "families": families,
    "solvers": solvers,
    "datasets": datasets,
    "features": extractors,
    "metrics": metrics,
    "probes": probes,
    "toys": toys,
    "studies": studies,
}
"""Every registry by the name of what it holds, in the plural."""
