r"""Focal loss as boosting wants it: value, gradient and a positive Hessian by the raw scores, and where to start.

With q = 1 - p_t and n = -log p_t, the loss a q^gamma n of the true class has the derivative -f by log p_t, where

$$ f = a \, (q^\gamma + \gamma \, p_t \, q^{\gamma - 1} n), $$

so that the gradient is f times that of cross-entropy. Its Hessian is negative where p_t is small (focal loss is not
convex): Newton steps would then go uphill. f times the Hessian of cross-entropy (the Gauss-Newton part) never is; what
is returned is the larger of the two, so that no step is longer than cross-entropy's.

Not here: the loss on tensors (`focalkit.losses`), and the libraries themselves (`boost`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FARTHEST = 60.0
"""Raw scores are searched up to here for the start; a share of e^-60 is nothing."""


@dataclass(frozen=True)
class FocalObjective:
    """Focal loss (Lin et al., 2017, eq. 5) for gradient boosting; binary on one raw score, multi-class on a softmax.

    Attributes:
        gamma: Focusing parameter, at least 0; 0 is (alpha-balanced) log loss.
        alpha: Binary: weight of class 1 in (0, 1), 1 - alpha of class 0. Multi-class: a positive weight per class.
            None: no balancing.

    Raises:
        ValueError: A parameter out of range.

    Example:
        import lightgbm, numpy as np

        objective = FocalObjective(gamma=2.0)
        start = objective.start(y)
        data = lightgbm.Dataset(x, y, init_score=np.full(len(y), start))
        booster = lightgbm.train({"objective": objective.lightgbm}, data)
        probability = objective.probabilities(start + booster.predict(new_x, raw_score=True))
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma!r}")
        if isinstance(self.alpha, Real):  # numpy's numbers too
            object.__setattr__(self, "alpha", float(self.alpha))
        if isinstance(self.alpha, int | float):
            if not 0 < self.alpha < 1:
                raise ValueError(f"alpha must be in (0, 1) or one positive number per class, got {self.alpha!r}")
        elif self.alpha is not None and not all(a > 0 for a in self.alpha):
            raise ValueError(f"every alpha must be above 0, got {self.alpha!r}")

    def loss(self, labels: Any, scores: Any) -> "Array":
        """(n,) the loss of each row.

        Args:
            labels: (n,) class indices.
            scores: (n,) raw scores of class 1, or (n, k) of all classes.
        """
        import numpy as np

        z, y = _columns(scores), np.asarray(labels).astype(np.int64)
        n, q = _nll(z, y)
        return self._weight(y, z.shape[1]) * q**self.gamma * n

    def gradients(self, labels: Any, scores: Any) -> "tuple[Array, Array]":
        """Gradient and Hessian (the diagonal) of each row's loss by its scores, shaped like the scores.

        The Hessian is positive: the exact one or its Gauss-Newton part, whichever is larger. With more than two classes
        both are taken twice, which bounds the full matrix, as the libraries do for their own softmax.

        Args:
            labels: (n,) class indices.
            scores: (n,) raw scores of class 1, or (n, k) of all classes.
        """
        import numpy as np

        z, y, gamma = _columns(scores), np.asarray(labels).astype(np.int64), self.gamma
        n, q = _nll(z, y)
        p = np.exp(-n)
        a = self._weight(y, z.shape[1])
        # subtle: q^(gamma - 1) and q^(gamma - 2) are infinite at q = 0 for a small gamma, their products here are not
        ratio = np.where(q > 1e-8, n / np.maximum(q, 1e-300), 1.0)  # n / q -> 1
        f = a * q**gamma * (1 + gamma * p * ratio)
        # q times the derivative of f by p_t
        bent = a * gamma * q**gamma * (n - 2 - (gamma - 1) * p * ratio)
        shares = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
        rest = shares @ (1 - np.eye(z.shape[1]))  # 1 - shares without cancellation
        true = np.eye(z.shape[1])[y]
        off = np.where(true > 0, rest, -shares)
        newton = f[:, None] * shares * rest
        away = off / np.maximum(q, 1e-300)[:, None]  # off / q, at most 1 in size
        exact = newton - (bent * p * q)[:, None] * away**2
        g, h = -f[:, None] * off, np.maximum(exact, newton)
        if np.ndim(scores) == 1:
            return g[:, 1], h[:, 1]
        return g, h if z.shape[1] == 2 else 2 * h

    def start(self, labels: Any, weight: Any = None, classes: int = 2) -> "float | Array":
        """The constant raw score with the smallest mean loss, from which boosting should start.

        Without it the first trees do nothing but find the base rate, with steps of a clamped Hessian. Two classes: a
        number, beside a score of 0 for class 0; more: (k,) scores.

        Args:
            labels: (n,) class indices.
            weight: (n,) of the rows, or None.
            classes: Number of classes.

        Raises:
            ValueError: A class has no rows (of weight above 0).
        """
        import numpy as np

        share = np.bincount(np.asarray(labels).astype(np.int64), weight, minlength=classes)
        if (share <= 0).any():
            raise ValueError(f"every class needs rows to start from, got weights {share.tolist()} of the classes")
        share = share / share.sum()
        if classes == 2:

            def gradient(z: float) -> float:
                return float(share @ self.gradients([0, 1], np.array([z, z]))[0])

            return _root(gradient, -FARTHEST)
        taught = share * self._weight(np.arange(classes), classes)
        return _softmax_start(taught / taught.sum(), self.gamma)

    def probabilities(self, scores: Any) -> "Array":
        """(n, k) of raw scores (n,) or (n, k), as the loss has them; `FocalTreesClassifier` gives posteriors."""
        import numpy as np

        z = _columns(scores)
        return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))

    def lightgbm(self, scores: Any, data: Any) -> "tuple[Array, Array]":
        """For `lightgbm.train`: params["objective"]."""
        return self._weighted(scores, data)

    def xgboost(self, scores: Any, data: Any) -> "tuple[Array, Array]":
        """For `xgboost.train`: obj."""
        return self._weighted(scores, data)

    def lightgbm_metric(self, scores: Any, data: Any) -> tuple[str, float, bool]:
        """For `lightgbm.train`: feval, the mean loss; lower is better."""
        return "focal", self._mean(scores, data), False

    def xgboost_metric(self, scores: Any, data: Any) -> tuple[str, float]:
        """For `xgboost.train`: custom_metric, the mean loss; lower is better."""
        return "focal", self._mean(scores, data)

    def _weighted(self, scores: Any, data: Any) -> "tuple[Array, Array]":
        labels, weight = data.get_label(), data.get_weight()
        g, h = self.gradients(labels, scores)
        if weight is None or not len(weight):
            return g, h
        w = weight if g.ndim == 1 else weight[:, None]
        return g * w, h * w

    def _mean(self, scores: Any, data: Any) -> float:
        import numpy as np

        weight = data.get_weight()
        loss = self.loss(data.get_label(), scores)
        return float(np.average(loss, weights=weight if weight is not None and len(weight) else None))

    def _weight(self, labels: "NDArray[np.int64]", classes: int) -> "Array":
        """alpha_t of each row."""
        import numpy as np

        if self.alpha is None:
            return np.ones(len(labels))
        if isinstance(self.alpha, int | float):
            if classes > 2:
                raise ValueError(f"with {classes} classes alpha is one positive number per class, got {self.alpha!r}")
            return np.where(labels == 1, self.alpha, 1 - self.alpha)
        if len(self.alpha) != classes:
            raise ValueError(f"expected one alpha for each of {classes} classes, got {len(self.alpha)}")
        return np.asarray(self.alpha, dtype=np.float64)[labels]


def _columns(scores: Any) -> "Array":
    """(n, k) scores: a single one beside 0 for class 0."""
    import numpy as np

    z = np.asarray(scores, dtype=np.float64)
    return np.stack([np.zeros_like(z), z], 1) if z.ndim == 1 else z


def _nll(z: "Array", labels: "NDArray[np.int64]") -> "tuple[Array, Array]":
    """-log p_t and 1 - p_t of each row, both without cancellation."""
    import numpy as np

    rows = np.arange(len(labels))
    rest = z.copy()
    rest[rows, labels] = -np.inf
    margin = z[rows, labels] - np.logaddexp.reduce(rest, axis=1)
    n = np.logaddexp(0, -margin)
    return n, np.exp(-np.logaddexp(0, margin))


def _softmax_start(share: "Array", gamma: float) -> "Array":
    """Log of the probabilities where the mean loss has no gradient by the scores: p_c / f(p_c) proportional to share_c.

    f is the derivative of the loss by -log p.
    """
    import numpy as np

    if gamma == 0:
        return np.log(share)

    def log_ratio(margin: float) -> float:
        """log of p / f(p), p the sigmoid of the margin; it rises."""
        n, m = np.logaddexp(0, -margin), np.logaddexp(0, margin)
        return float(-n + gamma * m - np.log1p(gamma * np.exp(m - n) * n))

    def solved(level: float) -> "Array":
        def one(target: float) -> float:
            if log_ratio(FARTHEST) <= target:
                return FARTHEST
            return _root(lambda v: log_ratio(v) - target, -700.0)

        margins = np.array([one(np.log(s) + level) for s in share])
        return np.exp(-np.logaddexp(0, -margins))

    level = _root(lambda v: float(solved(v).sum()) - 1, -FARTHEST)
    return np.log(solved(level))


def _root(function: Callable[[float], float], low: float) -> float:
    """Where a function that changes its sign between `low` and `FARTHEST` is 0."""
    from scipy.optimize import brentq

    found: Any = brentq(function, low, FARTHEST, xtol=1e-12)
    return float(found)
