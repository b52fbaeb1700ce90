"""Peers of the network that are a whole model: logistic regression, boosted trees, under-bagging ensembles.

Each gets the method's sampling and class weights; losses, schedules and augmentation are the network's alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from focalkit.errors import ConfigError
from focalkit.sampling import epoch_indices, resample_table, under_bagging

from .._losses import class_weights
from ._boosters import BOOSTERS, fit_booster
from ._columns import Rows
from ._encode import Encoder
from ._forest import Forest, averaged, of_hist_gb, of_trees

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

PEERS = (
    "logistic",
    "hist_gb",
    "bagged_hist_gb",
    "lightgbm",
    "xgboost",
    "balanced_forest",
    "easy_ensemble",
    "rus_boost",
)
WITH_GAPS = ("hist_gb", "bagged_hist_gb", *BOOSTERS)
"""Those that take NaN for a missing value."""
UNDER_BAGGING = ("bagged_hist_gb", "balanced_forest", "easy_ensemble", "rus_boost")
"""Those that sample by themselves: every member sees as many rows of one class as of another."""
BAGS = 10


@dataclass(frozen=True)
class Linear:
    """Logits that are linear in standardised columns."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """(n, k) of rows (n, d)."""
        return (x @ self.weight.T + self.bias).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array, to be stored."""
        return {"linear.weight": self.weight, "linear.bias": self.bias}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "Linear":
        """The inverse."""
        return Linear(arrays["linear.weight"], arrays["linear.bias"])


def inputs(model: str, encoder: Encoder, rows: Rows) -> NDArray[Any]:
    """What a peer looks at."""
    if model == "logistic":
        return encoder.standard(rows)
    if model not in WITH_GAPS:
        return encoder.filled(rows)
    return encoder.plain(rows).astype(np.float32 if model == "xgboost" else np.float64)


def fit_peer(
    method: "Method", encoder: Encoder, rows: Rows, labels: NDArray[np.int64], k: int, threads: int, seed: int
) -> tuple[Linear | Forest, dict[str, Any]]:
    """A fitted peer, and facts about the fit.

    Raises:
        ConfigError: The method asks for what this peer does not have.
    """
    for name in ("schedule", "augment") if method.model in BOOSTERS else ("loss", "schedule", "augment"):
        if getattr(method, name) not in (None, "default"):
            raise ConfigError(f"{method.name}: the model {method.model!r} has no {name}; leave it out")
    if method.model in UNDER_BAGGING and (method.sampler or method.class_weight):
        raise ConfigError(f"{method.name}: the model {method.model!r} samples by itself; leave sampler and weights out")
    from threadpoolctl import threadpool_limits

    x = inputs(method.model, encoder, rows)
    categorical = _categorical(method.model, encoder, x.shape[1])
    if method.sampler is not None:
        gaps = np.isnan(x)
        if gaps.any() and method.sampler.startswith("smote"):
            x = np.where(gaps, np.nanmedian(x, 0), x)
        wide, labels = resample_table(x, labels, method.sampler, categorical=categorical, seed=seed)
        x = wide.astype(x.dtype)
    w = class_weights(method.class_weight, np.bincount(labels, minlength=k).tolist())
    weight = None if w is None else w[labels]
    with threadpool_limits(limits=threads):
        if method.model == "logistic":
            return _logistic(x, labels, weight, method.settings, k)
        if method.model == "hist_gb":
            model = _hist_gb(x, labels, weight, method.settings, categorical, seed)
            return of_hist_gb(model), {"rounds": int(model.n_iter_)}
        if method.model in BOOSTERS:
            return fit_booster(method, x, labels, weight, k, threads, seed)
        if method.model == "bagged_hist_gb":
            return _bagged_hist_gb(x, labels, method.settings, categorical, seed)
        return _ensemble(method.model, x, labels, method.settings, threads, seed, k)


def _logistic(
    x: NDArray[Any], y: NDArray[np.int64], weight: NDArray[Any] | None, settings: Mapping[str, float], k: int
) -> tuple[Linear, dict[str, Any]]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=float(settings.get("C", 1.0)), max_iter=1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x.astype(np.float64), y, weight)
    w, b = np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)
    if len(w) == 1:
        w, b = np.concatenate([np.zeros_like(w), w]), np.concatenate([np.zeros_like(b), b])
    if len(w) < k:  # sampling cannot take a class away; a fit of one class cannot come here
        raise ConfigError(f"a class has no rows left to train on: {len(w)} of {k} classes")
    converged = not any(issubclass(c.category, ConvergenceWarning) for c in caught)
    return Linear(w, b), {"rounds": int(np.max(model.n_iter_)), "converged": converged}


def _hist_gb(
    x: NDArray[Any],
    y: NDArray[np.int64],
    weight: NDArray[Any] | None,
    settings: Mapping[str, float],
    categorical: list[int],
    seed: int,
) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    options: dict[str, Any] = {"categorical_features": categorical or None, "early_stopping": False}
    model = HistGradientBoostingClassifier(
        learning_rate=float(settings.get("learning_rate", 0.1)),
        max_iter=int(settings.get("max_iter", 100)),
        max_leaf_nodes=int(settings.get("max_leaf_nodes", 31)),
        min_samples_leaf=int(settings.get("min_samples_leaf", 20)),
        l2_regularization=float(settings.get("l2", 0.0)),
        random_state=seed,
        **options,
    )
    return model.fit(x, y, weight)


def _bagged_hist_gb(
    x: NDArray[Any], y: NDArray[np.int64], settings: Mapping[str, float], categorical: list[int], seed: int
) -> tuple[Forest, dict[str, Any]]:
    """The same boosting on several balanced subsets, each with all rows of the rarest class; probabilities averaged."""
    members = []
    for bag in range(int(settings.get("n_estimators", BAGS))):
        chosen = np.sort(epoch_indices("under", y, BAGS * seed + bag, 0))
        members.append(of_hist_gb(_hist_gb(x[chosen], y[chosen], None, settings, categorical, seed)))
    return averaged(members), {"rounds": sum(len(member.roots) for member in members)}


def _ensemble(
    name: str,
    x: NDArray[Any],
    y: NDArray[np.int64],
    settings: Mapping[str, float],
    threads: int,
    seed: int,
    k: int,
) -> tuple[Forest, dict[str, Any]]:
    given = {"n_estimators": int(settings["n_estimators"])} if "n_estimators" in settings else {}
    model = under_bagging(name, seed=seed, threads=threads, **given).fit(x, y)
    if name == "balanced_forest":
        trees, how = [(tree, 1.0, 0) for tree in model.estimators_], "probabilities"
    elif name == "rus_boost":
        trees, how = (
            [(t, float(w), 0) for t, w in zip(model.estimators_, model.estimator_weights_, strict=False)],
            "softmax",
        )
    else:
        bags = [bag.steps[-1][1] for bag in model.estimators_]
        pairs = [(m, zip(bag.estimators_, bag.estimator_weights_, strict=False)) for m, bag in enumerate(bags)]
        trees, how = [(t, float(w), m) for m, pair in pairs for t, w in pair], "softmax"
    return of_trees(trees, how, k), {"rounds": len(trees)}


def _categorical(model: str, encoder: Encoder, width: int) -> list[int]:
    """Columns that hold codes."""
    c = len(encoder.levels)
    if model in WITH_GAPS:
        return list(range(c))
    return list(range(width - c, width)) if model != "logistic" else []
