"""Platt, beta, isotonic and histogram calibration: a map of each class's score, one class against the rest.

Not here: maps that mix classes (matrix and Dirichlet scaling).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from .._arrays import ArrayLike, Kind, as_float, like
from ..errors import ConfigError
from ._checks import calibration_set, one_vs_rest_log_odds
from ._maps import ScoreMap, fit_beta, fit_histogram, fit_isotonic, fit_platt, map_from_dict

MIN_POSITIVES = 50
ISOTONIC_ROWS = 1000


class ScoreCalibration(ABC):
    """A map per class from its score to its probability. Abstract; the four subclasses say how one map is fitted.

    A class with fewer than 50 rows of it, or of the rest, takes the map of all classes pooled, and a note says which.
    With class indices (a softmax) each class is fitted against the rest on the log-odds of its probability, and rows
    are divided by their sum, as scikit-learn does; a row of zeros becomes uniform.

    Attributes:
        maps: One per class; a single one for binary scores.
        notes: What the caller should know of the fit.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.maps: tuple[ScoreMap, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._kind: Kind = "binary"

    @abstractmethod
    def _fit_map(self, log_odds: Tensor, targets: Tensor) -> ScoreMap: ...

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Fit the maps.

        Args:
            logits: (n,) with labels of 0 and 1; (n, k) with class indices (n,); or (n, k) with 0 and 1 (n, k).
            labels: As the shape of the logits asks; of rows that did not train the network.

        Returns:
            Itself.

        Raises:
            ValueError: No rows, one class only, probabilities instead of logits, NaN, labels out of range.
        """
        data = calibration_set(logits, labels)
        self._kind = data.kind
        u, y = one_vs_rest_log_odds(data.scores, data.kind == "multi-class"), data.one_hot
        notes = self._warnings(len(u))
        if data.kind == "binary":
            self.maps = (self._fit_map(u, y),)
        else:
            counts = y.sum(0)
            rare = ((counts < MIN_POSITIVES) | (len(y) - counts < MIN_POSITIVES)).tolist()
            pooled = self._fit_map(u.flatten(), y.flatten()) if any(rare) else None
            self.maps = tuple(
                pooled if pooled is not None and few else self._fit_map(u[:, k], y[:, k]) for k, few in enumerate(rare)
            )
            if pooled is not None:
                notes.append(_rare_note([k for k, few in enumerate(rare) if few], counts))
        self.notes = tuple(notes)
        for text in notes:
            warnings.warn(f"{type(self).__name__}: {text}", stacklevel=2)
        return self

    def transform(self, logits: ArrayLike) -> ArrayLike:
        """Probabilities, shaped and typed like the logits.

        Raises:
            ValueError: Not fitted, or another number of classes than fitted.
        """
        if not self.maps:
            raise ValueError(f"{type(self).__name__} has no maps yet: call fit or load_state_dict first")
        z = as_float(logits, "logits")
        if self._kind == "binary":
            return like(self.maps[0](z).to(z.dtype), logits)
        if z.shape[-1:] != (len(self.maps),):
            raise ValueError(f"fitted with {len(self.maps)} classes, got logits of shape {tuple(z.shape)}")
        u = one_vs_rest_log_odds(z, self._kind == "multi-class")
        p = torch.stack([m(u[..., k]) for k, m in enumerate(self.maps)], -1)
        if self._kind == "multi-class":
            total = p.sum(-1, keepdim=True)
            p = torch.where(total > 0, p / total.clamp(min=torch.finfo(p.dtype).tiny), 1 / p.shape[-1])
        return like(p.to(z.dtype), logits)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings: for JSON, or `load_state_dict`."""
        return {"calibrator": self.name, "kind": self._kind, "maps": [m.to_dict() for m in self.maps]}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Become what `state_dict` describes.

        Raises:
            ConfigError: The state is another calibrator's.
        """
        if state.get("calibrator") != self.name or state.get("kind") not in ("binary", "multi-class", "multi-label"):
            raise ConfigError(f"expected the state of a {type(self).__name__}, got {dict(state)!r}")
        self._kind = state["kind"]
        self.maps = tuple(map_from_dict(entry) for entry in state.get("maps", ()))
        return self

    def _warnings(self, rows: int) -> list[str]:
        return []


class PlattScaling(ScoreCalibration):
    """sigmoid(a * log-odds + b) per class (Platt, 1999), with his smoothed targets; the same map as scikit-learn's
    `CalibratedClassifierCV(method="sigmoid")`.

    Example:
        >>> logits = torch.tensor([-4.0, -2.0, -1.0, 1.0, 2.0, 4.0])
        >>> scaling = PlattScaling().fit(logits, torch.tensor([0, 0, 1, 0, 1, 1]))
        >>> scaling.transform(torch.tensor([0.0]))
        tensor([0.5000])
    """

    name = "platt"

    def _fit_map(self, log_odds: Tensor, targets: Tensor) -> ScoreMap:
        return fit_platt(log_odds, targets)


class BetaCalibration(ScoreCalibration):
    """sigmoid(a log p - b log(1 - p) + c) per class, a and b at least 0 (Kull et al., 2017, AISTATS).

    Unlike Platt's map it bends the two ends apart and contains the identity (a = b = 1, c = 0).

    Example:
        >>> logits = torch.tensor([-4.0, -2.0, -1.0, 1.0, 2.0, 4.0])
        >>> scaling = BetaCalibration().fit(logits, torch.tensor([0, 0, 1, 0, 1, 1]))
        >>> round(float(scaling.transform(torch.tensor([0.0]))), 3)
        0.5
    """

    name = "beta"

    def _fit_map(self, log_odds: Tensor, targets: Tensor) -> ScoreMap:
        return fit_beta(log_odds, targets)


class IsotonicCalibration(ScoreCalibration):
    """The best non-decreasing map per class (Zadrozny & Elkan, 2002), fitted by scikit-learn.

    Flexible: below 1,000 rows it over-fits, and fitting warns. Scores within a plateau become ties.

    Example:
        >>> logits = torch.linspace(-3, 3, 2000)
        >>> labels = (torch.arange(2000) % 4 != 0) & (logits > 0)
        >>> IsotonicCalibration().fit(logits, labels).transform(torch.tensor([-2.0, 2.0]))
        tensor([0.0000, 0.7500])
    """

    name = "isotonic"

    def _fit_map(self, log_odds: Tensor, targets: Tensor) -> ScoreMap:
        return fit_isotonic(log_odds, targets)

    def _warnings(self, rows: int) -> list[str]:
        if rows >= ISOTONIC_ROWS:
            return []
        return [f"{rows} rows are few for an isotonic map, which over-fits below {ISOTONIC_ROWS}; Platt's needs fewer"]


class HistogramBinning(ScoreCalibration):
    """The share of positives in each bin of scores, per class (Zadrozny & Elkan, 2001).

    Args:
        bins: Number of bins, at least 1.
        scheme: "quantile" puts as many rows into each bin, equal scores into one; "uniform" makes them equally wide. An
            empty bin keeps its middle.

    Example:
        >>> logits = torch.tensor([-2.0, -1.0, 1.0, 2.0])
        >>> HistogramBinning(bins=2).fit(logits, torch.tensor([0, 1, 1, 1])).transform(logits)
        tensor([0.5000, 0.5000, 1.0000, 1.0000])
    """

    name = "histogram"

    def __init__(self, bins: int = 15, scheme: Literal["uniform", "quantile"] = "quantile") -> None:
        super().__init__()
        if bins < 1 or scheme not in ("uniform", "quantile"):
            raise ValueError(f'expected at least 1 bin and scheme "uniform" or "quantile", got {bins!r} and {scheme!r}')
        self.bins = bins
        self.scheme: Literal["uniform", "quantile"] = scheme

    def _fit_map(self, log_odds: Tensor, targets: Tensor) -> ScoreMap:
        return fit_histogram(log_odds, targets, self.bins, self.scheme)


def _rare_note(classes: list[int], counts: Tensor) -> str:
    shown = ", ".join(f"{k} ({int(counts[k])})" for k in classes[:10]) + (", ..." if len(classes) > 10 else "")
    return (
        f"{len(classes)} of {len(counts)} classes have fewer than {MIN_POSITIVES} rows on one side and take the map of "
        f"all classes pooled: {shown}"
    )
