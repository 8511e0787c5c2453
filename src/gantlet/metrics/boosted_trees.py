"""Gradient-boosted trees that repeat exactly."""

from typing import Any, Self, final

import torch
from torch import Tensor


@final
class BoostedTrees:
    """Gradient-boosted trees, scikit-learn's, on one thread so that they repeat exactly.

    Source: Friedman, 2001, https://doi.org/10.1214/aos/1013203451; by histograms of the columns as
    in LightGBM, Ke et al., 2017, https://papers.nips.cc/paper/6907.

    Args:
        model: The fitted trees.
        like: What predictions are like: a tensor of their type and device.
    """

    def __init__(self, model: Any, like: Tensor) -> None:
        self._model, self._like = model, like

    @classmethod
    def fit(cls, x: Tensor, y: Tensor, *, classes: bool, rounds: int, seed: int) -> Self:
        """Fits trees.

        Args:
            x: What is known, shape ``(n, d)``.
            y: What is predicted, shape ``(n,)``.
            classes: Whether ``y`` holds classes, or else numbers.
            rounds: Number of trees, for each class where there are more than two.
            seed: Of the trees.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        kind: Any = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        model = kind(max_iter=rounds, early_stopping=False, random_state=seed)
        with threadpool_limits(1):
            model.fit(x.cpu().double().numpy(), y.cpu().numpy())
        return cls(model, y)

    def predict(self, x: Tensor) -> Tensor:
        """Returns the predicted class or number of each row, shape ``(n,)``."""
        return self._output(self._model.predict, x).to(self._like)

    def log_odds(self, x: Tensor) -> Tensor:
        """Returns the log-odds of the higher of two classes, float64, shape ``(n,)``."""
        return self._output(self._model.decision_function, x).to(self._like.device)

    def probability(self, x: Tensor) -> Tensor:
        """Returns the probability of the higher of two classes, float64, shape ``(n,)``."""
        return self._output(self._model.predict_proba, x)[:, 1].to(self._like.device)

    @staticmethod
    def _output(function: Any, x: Tensor) -> Tensor:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return torch.from_numpy(function(x.cpu().double().numpy()))
