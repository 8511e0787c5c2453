"""Metrics by their written form, where only two sets of features are at hand."""

from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.measure import Metric


def two_sample(text: str) -> Metric:
    """Builds the metric that ``text`` describes, which must compare two sets of features.

    Raises:
        UserError: If it needs training samples, class probabilities or the samples themselves.
    """
    metric = metrics.make(text)
    if isinstance(metric, Metric) and metric.sees == "features":
        return metric
    raise UserError(
        f"{text} is not a distance between two sets of features, which is what is needed here. "
        "Measure it with gantlet evaluate."
    )
