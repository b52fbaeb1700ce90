"""What tuning moves for each model of tables, whatever the method."""

from collections.abc import Mapping

from .._task import Range

_BOOSTING: Mapping[str, Range] = {
    "learning_rate": Range(0.01, 0.3, log=True),
    "max_iter": Range(50, 400, log=True, integer=True),
    "max_leaf_nodes": Range(4, 64, log=True, integer=True),
    "min_samples_leaf": Range(2, 100, log=True, integer=True),
    "l2": Range(1e-3, 10.0, log=True),
}

SPACES: Mapping[str, Mapping[str, Range]] = {
    "default": {"lr": Range(1e-4, 2e-2, log=True), "weight_decay": Range(1e-5, 1.0, log=True)},
    "logistic": {"C": Range(1e-4, 1e3, log=True)},
    "hist_gb": _BOOSTING,
    "bagged_hist_gb": _BOOSTING,
    "lightgbm": _BOOSTING,
    "xgboost": {
        "learning_rate": Range(0.01, 0.5, log=True),
        "max_iter": Range(50, 400, log=True, integer=True),
        "max_depth": Range(2, 10, integer=True),
        "min_child_weight": Range(0.1, 30.0, log=True),
        "l2": Range(1e-2, 10.0, log=True),
    },
    "balanced_forest": {"n_estimators": Range(50, 400, log=True, integer=True)},
    "easy_ensemble": {"n_estimators": Range(5, 40, log=True, integer=True)},
    "rus_boost": {"n_estimators": Range(20, 400, log=True, integer=True)},
}
"""Model -> name of a setting -> range."""
