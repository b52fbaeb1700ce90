"""Calibration of detection scores: a map per class with the classes pooled behind it, or one that sees the box too.

Not here: matching (`focalkit.metrics.match_coco`); maps of boxes themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from .._arrays import ArrayLike, as_float, as_tensor, like
from ..errors import ConfigError
from ._logistic import fit_logistic
from ._maps import (
    IDENTITY,
    PosteriorMap,
    ScoreMap,
    fit_beta,
    fit_histogram,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    log_odds_of,
    map_from_dict,
)
from ._scores import ISOTONIC_ROWS, MIN_POSITIVES

DetectionMethod: TypeAlias = Literal[
    "none", "temperature", "platt", "beta", "isotonic", "histogram", "box", "posterior"
]
SMALLEST_SIDE = 1e-4
TILT = 1e-4
"""Share of the uncalibrated score in an isotonic map, which keeps the order of scores that share a plateau."""

_FITS = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
    "histogram": partial(fit_histogram, bins=15, scheme="quantile"),
}


METHODS: tuple[DetectionMethod, ...] = tuple(m for m in get_args(DetectionMethod) if m != "posterior")
"""Those that `fit` knows."""


@dataclass(frozen=True)
class BoxMap:
    """sigmoid of a linear function of the log-odds and of the box: centre, log size, and the squares of these."""

    coefficients: tuple[float, ...]

    def __call__(self, log_odds: Tensor, boxes: Tensor) -> Tensor:
        return torch.sigmoid(box_columns(log_odds, boxes) @ torch.tensor(self.coefficients, dtype=torch.float64))

    def to_dict(self) -> dict[str, Any]:
        return {"map": "box", "coefficients": list(self.coefficients)}


class DetectionCalibration:
    """Maps detection scores to the precision (or the precision times IoU) of detections that score so.

    Each class has a map of its own, mixed with the map of all classes pooled: `n / (n + 50)` parts its own, n its true
    positives. A class with fewer than 50 takes the pooled map alone, and a note says which. Maps keep the order of
    scores within a class, and so its average precision, but for "histogram" and "box"; a class whose own map would turn
    the order around takes the pooled one.

    Args:
        method: "temperature", "platt", "beta", "isotonic", "histogram" (see the calibrators of these names), "none", or
            "box": logistic regression on the score and the position and size of the box (after Kueppers et al., 2020).
        min_positives: True positives below which a class takes the pooled map.

    Attributes:
        notes: What the caller should know of the fit.

    Example:
        >>> scores, labels = torch.linspace(0.01, 0.99, 400), torch.zeros(400, dtype=torch.int64)
        >>> calibration = DetectionCalibration("platt").fit(scores, labels, scores > 0.8)
        >>> calibration.transform(torch.tensor([0.5]), torch.tensor([0])) < 0.01
        tensor([True])
    """

    def __init__(self, method: DetectionMethod = "platt", *, min_positives: int = MIN_POSITIVES) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        self.method: DetectionMethod = method
        self.min_positives = min_positives
        self.notes: tuple[str, ...] = ()
        self._pooled: ScoreMap | BoxMap = IDENTITY
        self._classes: dict[int, tuple[float, ScoreMap | BoxMap]] = {}

    @classmethod
    def posterior(cls, gamma: float, alpha: float | None = None) -> "DetectionCalibration":
        """The map that undoes focal loss of these parameters on sigmoid scores: `focal_to_posterior`; needs no fit.

        Raises:
            ValueError: A negative gamma, or alpha outside (0, 1).
        """
        if not gamma >= 0 or (alpha is not None and not 0 < alpha < 1):
            raise ValueError(f"gamma must be at least 0 and alpha in (0, 1) or None, got {gamma!r} and {alpha!r}")
        found = cls("none")
        found.method, found._pooled = "posterior", PosteriorMap(gamma, alpha)
        return found

    def fit(
        self,
        scores: ArrayLike,
        labels: ArrayLike,
        targets: ArrayLike,
        boxes: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Fit to matched detections of images that did not train the detector.

        Args:
            scores: (n,) in [0, 1].
            labels: (n,) classes, 0 and up.
            targets: (n,) what the scores should say: 1 for true positives (calibrates to precision, D-ECE), or their
                IoU (LaECE); 0 for false positives. Leave ignored detections out.
            boxes: (n, 4) centre x, centre y, width, height as shares of the image (`metrics.box_features`), for "box".
            names: Of the classes, for the notes.

        Returns:
            Itself.

        Raises:
            ValueError: Shapes that do not fit, values out of range, no detections, only true or only false ones.
        """
        s, t = as_float(scores, "scores").double(), as_float(targets, "targets").double()
        k = as_tensor(labels, "labels")
        if not s.ndim == k.ndim == t.ndim == 1 or not len(s) == len(k) == len(t):
            raise ValueError(
                f"expected scores, labels and targets of one length, got {tuple(s.shape)}, {tuple(k.shape)}, "
                f"{tuple(t.shape)}"
            )
        for name, values in (("scores", s), ("targets", t)):
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise ValueError(f"expected {name} in [0, 1], got values outside or NaN")
        if self.method == "posterior":
            raise ValueError("the posterior of focal loss is known and is not fitted")
        if not len(s):
            raise ValueError("there are no detections to calibrate with")
        self.notes, self._pooled, self._classes = (), IDENTITY, {}
        if self.method != "none":
            self._fit(s, k, t, self._boxes(boxes, len(s)), names)
        return self

    def _fit(self, s: Tensor, k: Tensor, t: Tensor, boxes: Tensor | None, names: Sequence[str] | None) -> None:
        if float(t.max()) == 0 or float(t.min()) == 1:
            which = "false" if float(t.max()) == 0 else "true"
            raise ValueError(f"all {len(t)} detections are {which} positives: that determines no calibration")
        u, few, turned, notes = log_odds_of(s), [], [], []
        pooled = self._fit_map(u, t, boxes)
        if _falls(pooled):
            notes.append("higher scores are right less often: the scores are left as they are")
            pooled = IDENTITY if boxes is None else BoxMap((1.0, *[0.0] * 9))
        self._pooled = pooled
        for c in k.unique().tolist():
            of, name = k == c, names[c] if names else str(c)
            positives = float((t[of] > 0).sum())
            if positives < self.min_positives or positives == float(of.sum()):
                few.append(f"{name} ({positives:.0f})")
                continue
            own = self._fit_map(u[of], t[of], None if boxes is None else boxes[of])
            if _falls(own):
                turned.append(name)
            else:
                self._classes[c] = (positives / (positives + MIN_POSITIVES), own)
        if few:
            have = "1 class has" if len(few) == 1 else f"{len(few)} classes have"
            notes.append(
                f"{have} fewer than {self.min_positives} true positives, or true positives alone; the map of all "
                f"classes pooled is taken: {_listed(few)}"
            )
        if turned:
            notes.append(f"maps of {_listed(turned)} would fall with the score: the pooled map is taken")
        if self.method == "isotonic" and len(s) < ISOTONIC_ROWS:
            notes.append(f"{len(s)} detections are few for isotonic maps, which over-fit below {ISOTONIC_ROWS}")
        self.notes = tuple(notes)

    def transform(self, scores: ArrayLike, labels: ArrayLike, boxes: ArrayLike | None = None) -> ArrayLike:
        """Calibrated scores, shaped and typed like `scores`; a class that was not fitted takes the pooled map.

        Args:
            scores: (n,) in [0, 1].
            labels: (n,).
            boxes: As in `fit`, for "box".
        """
        s, k = as_float(scores, "scores"), as_tensor(labels, "labels")
        if self.method == "none":
            return like(s.clone(), scores)
        places, p = self._boxes(boxes, len(s)), s.double()
        u = log_odds_of(p)
        found = self._apply(self._pooled, u, p, places)
        for c, (weight, own) in self._classes.items():
            of = k == c
            if bool(of.any()):
                mine = self._apply(own, u[of], p[of], None if places is None else places[of])
                found[of] = weight * mine + (1 - weight) * found[of]
        return like(found.clamp(0, 1).to(s.dtype), scores)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings: for JSON, or `load_state_dict`."""
        classes = {str(c): {"weight": w, **m.to_dict()} for c, (w, m) in self._classes.items()}
        return {"calibrator": "detection", "method": self.method, "pooled": self._pooled.to_dict(), "classes": classes}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Become what `state_dict` describes.

        Raises:
            ConfigError: The state is another calibrator's, or its maps cannot be read.
        """
        if state.get("calibrator") != "detection" or state.get("method") not in get_args(DetectionMethod):
            raise ConfigError(f"expected the state of a DetectionCalibration, got one with {sorted(state)}")
        self.method = state["method"]
        try:
            self._pooled = _map_from(state["pooled"])
            self._classes = {int(c): (float(m["weight"]), _map_from(m)) for c, m in state["classes"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"the state of a DetectionCalibration cannot be read ({error!r})") from error
        return self

    def _boxes(self, boxes: ArrayLike | None, n: int) -> Tensor | None:
        if self.method != "box":
            return None
        if boxes is None:
            raise ValueError('the method "box" needs boxes: centre and size as shares of the image')
        places = as_float(boxes, "boxes").double()
        if places.shape != (n, 4):
            raise ValueError(f"expected boxes of shape ({n}, 4), got {tuple(places.shape)}")
        return places

    def _fit_map(self, u: Tensor, t: Tensor, boxes: Tensor | None) -> ScoreMap | BoxMap:
        if boxes is None:
            return _FITS[self.method](u, t)
        columns = box_columns(u, boxes)
        start = torch.zeros(columns.shape[1], dtype=torch.float64)
        start[0] = 1.0  # pulled towards the identity, by one pseudo-row
        return BoxMap(tuple(fit_logistic(columns, t, ridge=1.0, center=start).tolist()))

    def _apply(self, fitted: ScoreMap | BoxMap, u: Tensor, p: Tensor, boxes: Tensor | None) -> Tensor:
        if isinstance(fitted, BoxMap):
            if boxes is None:
                raise ValueError('the method "box" needs boxes: centre and size as shares of the image')
            return fitted(u, boxes)
        found = fitted(u)
        return (1 - TILT) * found + TILT * p if self.method == "isotonic" else found


def box_columns(log_odds: Tensor, boxes: Tensor) -> Tensor:
    """(n, 10): log-odds, centre from -1/2 to 1/2, log of the sides, the squares of the four, 1."""
    places = torch.cat([boxes[:, :2] - 0.5, boxes[:, 2:].clamp(min=SMALLEST_SIDE).log()], 1)
    ones = torch.ones(len(places), 1, dtype=torch.float64)
    return torch.cat([log_odds[:, None], places, places.square(), ones], 1)


def _falls(fitted: ScoreMap | BoxMap) -> bool:
    if isinstance(fitted, BoxMap):
        return fitted.coefficients[0] <= 0
    low, high = fitted(torch.tensor([-4.0, 4.0], dtype=torch.float64)).tolist()
    return high < low


def _map_from(entry: Mapping[str, Any]) -> ScoreMap | BoxMap:
    if entry.get("map") == "box":
        return BoxMap(tuple(map(float, entry["coefficients"])))
    return map_from_dict(entry)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
