"""Score cut-offs of a detector per class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..metrics import DetectionMatches
from ._detection import DetectionCalibration
from ._thresholds import Thresholds, choose_thresholds

MIN_POSITIVES = 20


def detection_thresholds(
    matches: DetectionMatches,
    *,
    target_precision: float | None = None,
    target_recall: float | None = None,
    f_beta: float | None = None,
    costs: Sequence[Sequence[float]] | Tensor | None = None,
    confidence: float | None = None,
    min_positives: int = MIN_POSITIVES,
    bootstrap: int = 200,
    seed: int = 0,
) -> tuple[Thresholds, Thresholds]:
    """`choose_thresholds` for detections: one cut-off per class, and the cut-off of all classes pooled.

    Boxes that no detection found count in recall; the bootstrap draws images. A class with fewer than `min_positives`
    true positives takes the pooled cut-off, and its reason says so.

    Args:
        matches: What `match_coco` returned, with the scores to cut.
        min_positives: True positives below which a class takes the pooled cut-off.

    The other arguments are those of `choose_thresholds`; costs are [[0, false positive], [missed box, 0]].

    Raises:
        ValueError: As `choose_thresholds`; no detections.

    Example:
        >>> detection_thresholds(match_coco(truth, results), target_precision=0.9)   # doctest: +SKIP
    """
    rows = matches.counted

    def chosen(of: Tensor, positives: int) -> Thresholds:
        if not bool(of.any()):
            nan = torch.tensor(math.nan, dtype=torch.float64)
            return Thresholds(nan, nan.expand(2), "no detections", nan, nan)
        return choose_thresholds(
            rows.scores[of],
            rows.correct[of],
            target_precision=target_precision,
            target_recall=target_recall,
            f_beta=f_beta,
            costs=costs,
            confidence=confidence,
            num_positives=positives,
            groups=rows.images[of],
            bootstrap=bootstrap,
            seed=seed,
        )

    if not len(rows):
        raise ValueError("there are no detections to choose thresholds with")
    pooled = chosen(torch.ones(len(rows), dtype=torch.bool), int(rows.num_truths.sum()))
    found, reasons = [], []
    for c, positives in enumerate(rows.num_truths.tolist()):
        of = rows.labels == c
        hits = int(rows.correct[of].sum())
        if hits < min_positives:
            found.append(pooled)
            reasons.append(f"{hits} true positives, fewer than {min_positives}: the cut-off of all classes pooled")
        else:
            own = chosen(of, positives)
            found.append(own)
            reasons.append(str(own.reason))
    columns = {
        name: torch.stack([getattr(f, name) for f in found]) for name in ("values", "interval", "precision", "recall")
    }
    return Thresholds(**columns, reason=tuple(reasons)), pooled


def before_map(fitted: DetectionCalibration, cuts: Tensor) -> Tensor:
    """(k,) the least scores that reach the cuts after the map; NaN where none does, or where no one score decides."""
    if fitted.method in ("box", "histogram"):
        return torch.full_like(cuts, math.nan)
    labels, low, high = torch.arange(len(cuts)), torch.zeros_like(cuts), torch.ones_like(cuts)
    reached = fitted.transform(high, labels) >= cuts
    for _ in range(60):
        middle = (low + high) / 2
        enough = fitted.transform(middle, labels) >= cuts
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(reached, high, math.nan)


def cut_offs(values: Tensor, pooled: float) -> Tensor:
    """Thresholds to apply: a class without one takes the pooled one; all is kept where there is none either."""
    return values.nan_to_num(0.0 if math.isnan(pooled) else pooled)
