"""LightGBM and XGBoost behind one function: train with their own log loss or with focal loss, predict raw scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from focalkit.errors import ConfigError

from ._objective import FocalObjective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Boosted:
    """Trees of a library, with the score that they are added to.

    Attributes:
        booster: `lightgbm.Booster` or `xgboost.Booster`.
        start: (1,) for two classes, else (k,): added to what the trees say.
        library: "lightgbm" or "xgboost".
    """

    booster: Any
    start: "NDArray[np.float64]"
    library: str

    def scores(self, x: Any) -> "NDArray[np.float64]":
        """Raw scores of rows (n, d): (n,) of class 1, or (n, k)."""
        return LIBRARIES[self.library][1](self.booster, x, max(2, len(self.start))) + self.start


def boost(
    library: str,
    x: Any,
    labels: Any,
    *,
    objective: FocalObjective | None = None,
    classes: int = 2,
    weight: Any = None,
    params: Mapping[str, Any] | None = None,
    rounds: int = 100,
    threads: int = 1,
    seed: int = 0,
) -> Boosted:
    """Boosted trees.

    Args:
        library: "lightgbm" or "xgboost".
        x: (n, d) numbers, NaN where missing.
        labels: (n,) class indices.
        objective: Focal loss; None: the library's own log loss.
        classes: Number of classes.
        weight: (n,) of the rows.
        params: The library's own, under its own names; those that the objective sets are refused.
        rounds: Trees (per class, where there are more than two).
        threads: At most so many.
        seed: Of the library's random choices.

    Raises:
        ConfigError: Another library, or one that is not installed; a parameter that cannot be set.
    """
    import numpy as np

    if library not in LIBRARIES:
        raise ConfigError(f"there is no tree library {library!r}; expected {' or '.join(LIBRARIES)}")
    given = dict(params or {})
    if taken := sorted(set(given) & {"objective", "num_class", "boost_from_average", "base_score"}):
        raise ConfigError(f"the parameter {taken[0]!r} of {library} follows from the objective and classes")
    if objective is not None and (lost := sorted(set(given) & {"scale_pos_weight", "is_unbalance", "application"})):
        raise ConfigError(f"{library} leaves {lost[0]!r} out with an objective of one's own: use alpha or weights")
    labels = np.asarray(labels).astype(np.int64)
    base = objective or FocalObjective(gamma=0.0)  # log loss, whose best constant is the log odds
    start = np.atleast_1d(base.start(labels, weight, classes))
    scaled = None if objective is None else _scaled(objective, labels, weight, start, classes)
    margin = np.full(len(labels), start[0]) if classes == 2 else np.tile(start, (len(labels), 1))
    train = LIBRARIES[library][0]
    booster = train(x, labels, weight, margin, scaled, classes, given, rounds, threads, seed)
    return Boosted(booster, start, library)


Gradients = Callable[[Any, Any], "tuple[Any, Any]"]


def _scaled(objective: FocalObjective, labels: Any, weight: Any, start: Any, classes: int) -> Gradients:
    """The objective times a constant: at the start its Hessians sum up to those of log loss at its own.

    A constant changes no minimum, but limits such as min_child_weight and the L2 penalty are in units of the Hessian,
    which focal loss makes smaller many times over where nearly all rows are easy.
    """
    import numpy as np

    w = np.ones(len(labels)) if weight is None else np.asarray(weight)

    def total(of: FocalObjective, at: Any) -> float:
        scores = np.full(len(labels), at[0]) if classes == 2 else np.tile(at, (len(labels), 1))
        h = of.gradients(labels, scores)[1]
        return float((h.reshape(len(labels), -1).sum(1) * w).sum())

    log_loss = FocalObjective(gamma=0.0)
    factor = total(log_loss, np.atleast_1d(log_loss.start(labels, weight, classes))) / total(objective, start)

    def gradients(scores: Any, data: Any) -> "tuple[Any, Any]":
        g, h = objective.lightgbm(scores, data)
        return factor * g, factor * h

    return gradients


def _train_lightgbm(
    x: Any, labels: Any, weight: Any, margin: Any, gradients: Gradients | None, classes: int,
    params: dict[str, Any], rounds: int, threads: int, seed: int,
) -> Any:  # fmt: skip
    import numpy as np

    library = _library("lightgbm")
    own = "binary" if classes == 2 else "multiclass"
    fixed: dict[str, Any] = {"objective": own if gradients is None else gradients, "boost_from_average": False}
    fixed |= {"num_threads": threads, "seed": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    fixed |= {"num_class": classes} if classes > 2 else {}
    data = library.Dataset(np.asarray(x, dtype=np.float64), labels, weight=weight, init_score=margin)
    return library.train({**fixed, **params}, data, rounds)


def _scores_lightgbm(booster: Any, x: Any, classes: int) -> Any:
    import numpy as np

    return booster.predict(np.asarray(x, dtype=np.float64), raw_score=True, num_threads=1)


def _train_xgboost(
    x: Any, labels: Any, weight: Any, margin: Any, gradients: Gradients | None, classes: int,
    params: dict[str, Any], rounds: int, threads: int, seed: int,
) -> Any:  # fmt: skip
    import numpy as np

    library = _library("xgboost")
    data = library.DMatrix(np.asarray(x, dtype=np.float32), labels, weight=weight, base_margin=margin, nthread=threads)
    own = "binary:logistic" if classes == 2 else "multi:softprob"
    fixed: dict[str, Any] = {"objective": own, "nthread": threads, "seed": seed, "verbosity": 0, "tree_method": "hist"}
    fixed |= {"num_class": classes} if classes > 2 else {}
    return library.train({**fixed, **params}, data, rounds, obj=gradients)


def _scores_xgboost(booster: Any, x: Any, classes: int) -> Any:
    import numpy as np

    x = np.asarray(x, dtype=np.float32)
    # subtle: without a margin of 0 the library would add its base_score
    margin = np.zeros(len(x) if classes == 2 else (len(x), classes))
    data = _library("xgboost").DMatrix(x, base_margin=margin, nthread=1)
    return booster.predict(data, output_margin=True).astype(np.float64)


def _library(name: str) -> ModuleType:
    """The package, imported when it is needed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = ", or the smaller xgboost-cpu" if name == "xgboost" else ""
        raise ConfigError(f"this needs the package {name}: pip install 'focalkit[trees]'{hint}") from error


LIBRARIES: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "lightgbm": (_train_lightgbm, _scores_lightgbm),
    "xgboost": (_train_xgboost, _scores_xgboost),
}
"""Name -> how it trains, how it predicts."""
