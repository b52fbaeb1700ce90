"""A scikit-learn classifier: boosted trees of LightGBM or XGBoost with focal loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from focalkit.errors import DataError

from ._boosted import boost
from ._objective import FocalObjective


class FocalTreesClassifier(ClassifierMixin, BaseEstimator):
    """Boosted trees that minimise focal loss, for tables with rare classes.

    Boosting starts at the constant with the smallest loss, Hessians are positive and on the scale of log loss, so that
    the library's own limits and penalties mean what they usually mean.

    Args:
        library: "lightgbm" or "xgboost".
        gamma: Focusing parameter, at least 0; 0 is log loss.
        alpha: Two classes: weight of the second class (in sorted order) in (0, 1). More: one positive number per class.
            None: no balancing.
        rounds: Trees (per class, where there are more than two).
        params: The library's own parameters under its own names, such as {"num_leaves": 15} or {"max_depth": 4}.
        posterior: Whether `predict_proba` undoes what focal loss (and alpha) does to probabilities, by
            `focalkit.calibration.focal_to_posterior`; False: the sigmoid or softmax of the scores, as trained.
        n_jobs: Threads.
        random_state: Of the library's random choices.

    Attributes:
        classes_: (k,) in sorted order.
        boosted_: `Boosted`, with the library's booster.

    Raises:
        ConfigError: The library is not there; one of its parameters cannot be set.
        ValueError: gamma or alpha out of range.

    Example:
        model = FocalTreesClassifier("lightgbm", gamma=1.0, params={"num_leaves": 15}).fit(x, y)
        model.predict_proba(new_x)[:, 1]
    """

    def __init__(
        self,
        library: str = "lightgbm",
        *,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        rounds: int = 100,
        params: Mapping[str, Any] | None = None,
        posterior: bool = True,
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> None:
        self.library, self.gamma, self.alpha, self.rounds = library, gamma, alpha, rounds
        self.params, self.posterior, self.n_jobs, self.random_state = params, posterior, n_jobs, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FocalTreesClassifier":
        """Train.

        Args:
            X: (n, d) numbers, NaN where missing.
            y: (n,) classes, of any kind that can be sorted.
            sample_weight: (n,) or None.

        Raises:
            DataError: Fewer than two classes, or other numbers of rows.
        """
        x = _numbers(X)
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(x) != len(labels):
            raise DataError("the table", [f"{len(x)} rows, but {len(labels)} labels"])
        if len(self.classes_) < 2:
            raise DataError("the labels", [f"hold {self.classes_.tolist()} only; at least two classes are needed"])
        self.n_features_in_ = x.shape[1]
        self.boosted_ = boost(
            self.library, x, labels, objective=FocalObjective(self.gamma, self.alpha), classes=len(self.classes_),
            weight=None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64), params=self.params,
            rounds=self.rounds, threads=self.n_jobs, seed=self.random_state,
        )  # fmt: skip
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Raw scores: (n,) of the second class, or (n, k)."""
        check_is_fitted(self, "boosted_")
        x = _numbers(X)
        if x.shape[1] != self.n_features_in_:
            raise DataError("the table", [f"has {x.shape[1]} columns; expected the {self.n_features_in_} of training"])
        return self.boosted_.scores(x)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, k) probabilities of the classes."""
        p = FocalObjective(self.gamma, self.alpha).probabilities(self.decision_function(X))
        if not self.posterior:
            return p
        import torch

        from focalkit.calibration import focal_to_posterior

        alpha = self.alpha
        if len(self.classes_) == 2:
            if alpha is not None and not isinstance(alpha, int | float):
                alpha = alpha[1] / (alpha[0] + alpha[1])
            second = focal_to_posterior(torch.from_numpy(p[:, 1]), self.gamma, alpha, kind="sigmoid").numpy()
            return np.stack([1 - second, second], 1)
        weights = None if alpha is None else torch.tensor(alpha)
        return focal_to_posterior(torch.from_numpy(p), self.gamma, weights, kind="softmax").numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,) the most probable class; with rare classes another threshold is often the better one."""
        return self.classes_[self.predict_proba(X).argmax(1)]


def _numbers(X: Any) -> NDArray[np.float64]:
    try:
        x = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the table", [f"expected numbers, with categories as codes ({error})"]) from error
    if x.ndim != 2:
        raise DataError("the table", [f"expected (rows, columns), got the shape {x.shape}"])
    return x
