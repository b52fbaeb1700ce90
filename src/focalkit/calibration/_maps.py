"""Maps from one score to one probability: what every calibrator of scores is made of, and what goes into a file.

A map takes log-odds (the logit of a probability) and gives a probability; both float64. Log-odds are bounded to +-36,
those of the float64 epsilon, so that scores of exactly 0 and 1 have finite ones.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import ConfigError, FocalkitError
from ._logistic import fit_logistic

MAX_LOG_ODDS = 36.04365338911715  # log(1 / 2.2e-16)


@dataclass(frozen=True)
class LogisticMap:
    """sigmoid(slope * log-odds + intercept): Platt's map; temperature with slope 1 / T and intercept 0."""

    slope: float
    intercept: float

    def __call__(self, log_odds: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * _bounded(log_odds) + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        return {"map": "logistic", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class BetaMap:
    """sigmoid(a log p - b log(1 - p) + c), a and b at least 0 (Kull et al., 2017)."""

    a: float
    b: float
    c: float

    def __call__(self, log_odds: Tensor) -> Tensor:
        u = _bounded(log_odds)
        return torch.sigmoid(self.a * logsigmoid(u) - self.b * logsigmoid(-u) + self.c)

    def to_dict(self) -> dict[str, Any]:
        return {"map": "beta", "a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True)
class IsotonicMap:
    """Linear between knots (score, probability), constant beyond the first and the last."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, log_odds: Tensor) -> Tensor:
        x, y = (torch.tensor(v, dtype=torch.float64) for v in (self.scores, self.probabilities))
        p = torch.sigmoid(log_odds.double()).clamp(x[0], x[-1])
        if len(x) == 1:
            return y[0].expand_as(p).clone()
        right = torch.searchsorted(x, p).clamp(1, len(x) - 1)
        x0, x1, y0, y1 = x[right - 1], x[right], y[right - 1], y[right]
        return y0 + (y1 - y0) * (p - x0) / (x1 - x0)

    def to_dict(self) -> dict[str, Any]:
        return {"map": "isotonic", "scores": list(self.scores), "probabilities": list(self.probabilities)}


@dataclass(frozen=True)
class HistogramMap:
    """A constant per bin of scores; bins are (low, high], the first with its lower edge."""

    edges: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, log_odds: Tensor) -> Tensor:
        inner = torch.tensor(self.edges[1:-1], dtype=torch.float64)
        index = torch.searchsorted(inner, torch.sigmoid(log_odds.double()))
        return torch.tensor(self.values, dtype=torch.float64)[index]

    def to_dict(self) -> dict[str, Any]:
        return {"map": "histogram", "edges": list(self.edges), "values": list(self.values)}


@dataclass(frozen=True)
class PosteriorMap:
    """`focal_to_posterior` of a sigmoid, in log-odds."""

    gamma: float
    alpha: float | None = None

    def __call__(self, log_odds: Tensor) -> Tensor:
        u = _bounded(log_odds)
        p, q = torch.sigmoid(u), torch.sigmoid(-u)
        # -p log p / (1 - p), and the same of 1 - p
        r_p, r_q = -p * logsigmoid(u) / q, -q * logsigmoid(-u) / p
        shift = 0.0 if self.alpha is None else math.log(self.alpha) - math.log1p(-self.alpha)
        ratio = torch.log1p(self.gamma * r_q) - torch.log1p(self.gamma * r_p)
        return torch.sigmoid((self.gamma + 1) * u + ratio - shift)

    def to_dict(self) -> dict[str, Any]:
        return {"map": "posterior", "gamma": self.gamma, "alpha": self.alpha}


ScoreMap: TypeAlias = LogisticMap | BetaMap | IsotonicMap | HistogramMap | PosteriorMap
IDENTITY = LogisticMap(1.0, 0.0)


def map_from_dict(entry: Mapping[str, Any]) -> ScoreMap:
    """The inverse of `to_dict`.

    Raises:
        ConfigError: Not a map, or numbers that make none.
    """
    try:
        match entry["map"]:
            case "logistic":
                return LogisticMap(float(entry["slope"]), float(entry["intercept"]))
            case "beta":
                return BetaMap(float(entry["a"]), float(entry["b"]), float(entry["c"]))
            case "isotonic":
                x, y = (tuple(map(float, entry[key])) for key in ("scores", "probabilities"))
                if not x or len(x) != len(y) or list(x) != sorted(set(x)):
                    raise ValueError("knots must ascend, with one probability each")
                return IsotonicMap(x, y)
            case "histogram":
                edges, values = (tuple(map(float, entry[key])) for key in ("edges", "values"))
                if len(edges) != len(values) + 1 or len(edges) < 2:
                    raise ValueError("there must be one edge more than values")
                return HistogramMap(edges, values)
            case "posterior":
                alpha = entry["alpha"]
                return PosteriorMap(float(entry["gamma"]), None if alpha is None else float(alpha))
            case kind:
                raise ValueError(f"there is no map {kind!r}; known: logistic, beta, isotonic, histogram")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a calibration map cannot be read ({error!r})") from error


def fit_temperature(log_odds: Tensor, targets: Tensor) -> LogisticMap:
    """The one-parameter map sigmoid(log-odds / T)."""
    slope = fit_logistic(_bounded(log_odds)[:, None], targets.double(), center=torch.ones(1))
    return LogisticMap(float(slope[0]), 0.0)


def fit_platt(log_odds: Tensor, targets: Tensor) -> LogisticMap:
    """Platt's map with his targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep separable data finite."""
    u, t = _bounded(log_odds), targets.double()
    n, positives = len(t), float(t.sum())
    t = t * (positives + 1) / (positives + 2) + (1 - t) / (n - positives + 2)
    slope, intercept = fit_logistic(torch.stack([u, torch.ones_like(u)], 1), t, ridge=0.0).tolist()
    return LogisticMap(slope, intercept)


def fit_beta(log_odds: Tensor, targets: Tensor) -> BetaMap:
    """Kull's map; a coefficient that would be negative is dropped and the rest fitted again, as in the paper."""
    u, t = _bounded(log_odds), targets.double()
    features = torch.stack([logsigmoid(u), -logsigmoid(-u), torch.ones_like(u)], 1)
    kept = [0, 1, 2]
    while True:
        w = fit_logistic(features[:, kept], t)
        negative = [k for k, value in zip(kept, w.tolist(), strict=True) if k < 2 and value < 0]
        if not negative:
            break
        kept.remove(min(negative, key=lambda k: float(w[kept.index(k)])))
    a, b, c = (float(w[kept.index(k)]) if k in kept else 0.0 for k in range(3))
    return BetaMap(a, b, c)


def fit_isotonic(log_odds: Tensor, targets: Tensor) -> IsotonicMap:
    """Pooled adjacent violators of scikit-learn, on probabilities.

    Raises:
        FocalkitError: scikit-learn is not installed.
    """
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise FocalkitError(
            f"isotonic calibration needs scikit-learn, which cannot be imported ({error}); pip install scikit-learn"
        ) from error
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(torch.sigmoid(log_odds.double()).numpy(), targets.double().numpy())
    return IsotonicMap(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def fit_histogram(log_odds: Tensor, targets: Tensor, bins: int, scheme: Literal["uniform", "quantile"]) -> HistogramMap:
    """The mean target of each bin; a bin without rows keeps its middle."""
    p = torch.sigmoid(log_odds.double())
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    if scheme == "quantile":
        ranked = p.sort().values
        inner = ranked[(torch.arange(1, bins) * len(p) + bins - 1) // bins - 1].unique()
        inner = inner[(inner > 0) & (inner < 1)]
        edges = torch.cat([edges[:1], inner, edges[-1:]])
    index = torch.searchsorted(edges[1:-1].contiguous(), p)
    counts = torch.bincount(index, minlength=len(edges) - 1)
    sums = torch.bincount(index, weights=targets.double(), minlength=len(edges) - 1)
    values = torch.where(counts > 0, sums / counts.clamp(min=1), (edges[1:] + edges[:-1]) / 2)
    return HistogramMap(tuple(edges.tolist()), tuple(values.tolist()))


def log_odds_of(probabilities: Tensor) -> Tensor:
    """Bounded log-odds of probabilities, float64."""
    return _bounded(torch.logit(probabilities.double()))


def _bounded(log_odds: Tensor) -> Tensor:
    return log_odds.double().clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
