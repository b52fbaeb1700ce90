"""Which map to take for a detector: cross-validated over images, the simplest that is not shown to be worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..metrics import DetectionMatches, box_features
from ._detection import DetectionCalibration, DetectionMethod
from ._scores import ISOTONIC_ROWS

CANDIDATES: tuple[DetectionMethod, ...] = ("none", "temperature", "platt", "beta", "isotonic")
"""In the order of the numbers they fit."""
FOLDS = 5


@dataclass(frozen=True)
class Selection:
    """What `select_method` found.

    Attributes:
        method: The one to take.
        scores: method -> cross-validated Brier score against the target; lower is better.
    """

    method: DetectionMethod
    scores: dict[str, float]


def targets_of(matches: DetectionMatches, target: str) -> torch.Tensor:
    """What scores should say: 1 for true positives ("precision"), or their IoU ("localisation")."""
    return matches.correct.double() if target == "precision" else matches.iou


def select_method(
    matches: DetectionMatches,
    target: str,
    *,
    candidates: Sequence[DetectionMethod] = CANDIDATES,
    seed: int = 0,
) -> Selection:
    """Fit every candidate on four fifths of the images and score it on the rest, five times.

    Taken is the first candidate whose Brier score is within one standard error, over images, of the best. Isotonic maps
    are left out below 1,000 detections.
    """
    rows = matches.counted
    targets = targets_of(rows, target)
    usable: list[DetectionMethod] = [m for m in candidates if m != "isotonic" or len(rows) >= ISOTONIC_ROWS]
    order = torch.randperm(len(rows.image_ids), generator=torch.Generator().manual_seed(seed))
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(order)) % FOLDS
    of_row = fold[rows.images]
    losses: dict[DetectionMethod, torch.Tensor] = {}
    for m in usable:
        losses[m] = torch.zeros(len(rows), dtype=torch.float64)
    for f in range(FOLDS):
        out = of_row == f
        if not bool(out.any()) or float(targets[~out].sum()) == 0 or bool((targets[~out] == 1).all()):
            continue
        for m in usable:
            boxes = box_features(rows) if m == "box" else None
            fitted = DetectionCalibration(m).fit(
                rows.scores[~out], rows.labels[~out], targets[~out], None if boxes is None else boxes[~out]
            )
            said = fitted.transform(rows.scores[out], rows.labels[out], None if boxes is None else boxes[out])
            losses[m][out] = (said - targets[out]).square()
    means = {m: float(loss.mean()) for m, loss in losses.items()}
    best = min(usable, key=lambda m: means[m])
    for m in usable:
        apart = torch.zeros(len(rows.image_ids), dtype=torch.float64)
        apart.index_add_(0, rows.images, losses[m] - losses[best])
        error = float(apart.std() * len(apart) ** 0.5 / len(rows))
        if means[m] - means[best] <= error:
            return Selection(m, {**means})
    return Selection(best, {**means})
