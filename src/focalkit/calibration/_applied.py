"""A calibration in use: what detectors, run directories and exported files keep and apply."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._files import read_json
from ..errors import ConfigError
from ._detection import DetectionCalibration
from ._operating import cut_offs

FILE = "calibration.json"


@dataclass(frozen=True)
class AppliedCalibration:
    """A map of detection scores, and score cut-offs per class to go with it.

    Attributes:
        scores: The map; its classes are those of the detector, 0..K-1.
        thresholds: (K,) of calibrated scores, or None. A detection is kept that scores at least its class's.

    Example:
        >>> posterior = AppliedCalibration.posterior(gamma=2.0, alpha=0.25)
        >>> posterior.scores.transform(torch.tensor([0.5]), torch.tensor([0]))
        tensor([0.7500])
    """

    scores: DetectionCalibration
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def posterior(cls, gamma: float, alpha: float | None = None) -> "AppliedCalibration":
        """Undo what focal loss did to the scores, without any data: `focal_to_posterior`."""
        return cls(DetectionCalibration.posterior(gamma, alpha))

    @classmethod
    def read(cls, path: Path, names: Sequence[str] | None = None) -> "AppliedCalibration":
        """The calibration.json that `focalkit calibrate` wrote.

        Args:
            path: The file.
            names: Of the detector's classes, which must be the file's.

        Raises:
            ConfigError: It cannot be read, or is that of other classes.
        """
        try:
            stored = read_json(Path(path))
            known = [str(c["name"]) for c in stored["categories"]]
            values = [float("nan") if v is None else float(v) for v in stored["thresholds"]["values"]]
            pooled = stored["thresholds"]["pooled"]["values"]
            scores = DetectionCalibration().load_state_dict(stored["maps"][stored["target"]])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{path}: cannot be read as what `focalkit calibrate` writes ({error!r})") from error
        if names is not None and list(names) != known:
            raise ConfigError(
                f"{path}: is the calibration of {', '.join(known[:10])}, the detector knows {', '.join(names[:10])}; "
                "calibrate again"
            )
        if pooled is None and any(math.isnan(value) for value in values):
            return cls(scores)  # the target was not reached: whoever predicts says what to keep
        cuts = cut_offs(torch.tensor(values, dtype=torch.float64), float("nan") if pooled is None else float(pooled))
        return cls(scores, tuple(cuts.tolist()))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "AppliedCalibration":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: It cannot be read.
        """
        thresholds = stored.get("thresholds")
        scores = DetectionCalibration().load_state_dict(stored.get("scores") or {})
        return cls(scores, None if thresholds is None else tuple(map(float, thresholds)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        thresholds = None if self.thresholds is None else list(self.thresholds)
        return {"scores": self.scores.state_dict(), "thresholds": thresholds}

    def transform(self, scores: Tensor, labels: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Calibrated scores (d,) of boxes (d, 4), xyxy in pixels of an image of (height, width)."""
        height, width = size
        shares = boxes.double() / torch.tensor([width, height, width, height], dtype=torch.float64)
        low, high = shares[:, :2], shares[:, 2:]
        return self.scores.transform(scores, labels, torch.cat([(low + high) / 2, high - low], 1).clamp(0, 1))

    def reach(self, scores: Tensor, labels: Tensor) -> Tensor:
        """bool (d,): calibrated scores that reach their class's threshold; all where there are none."""
        if self.thresholds is None:
            return torch.ones(len(scores), dtype=torch.bool)
        return scores >= torch.tensor(self.thresholds, dtype=torch.float64).to(scores.dtype)[labels]
