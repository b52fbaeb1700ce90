"""Score cut-offs of a detector per class, and what it does at them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..metrics import DetectionMatches
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


def cut_offs(values: Tensor, pooled: float) -> Tensor:
    """Thresholds to apply: a class without one takes the pooled one; all is kept where there is none either."""
    return values.nan_to_num(0.0 if math.isnan(pooled) else pooled)


def at_operating_point(matches: DetectionMatches, cuts: Tensor) -> dict[str, Any]:
    """Precision, recall and F1 per class and over all of them, at one cut-off per class."""
    rows = matches.counted
    kept = rows.scores >= cuts[rows.labels]
    k = len(rows.names)
    hits = torch.bincount(rows.labels[kept & rows.correct], minlength=k)
    said = torch.bincount(rows.labels[kept], minlength=k)
    truths = rows.num_truths
    classes = [
        {"name": name, **_rates(*map(int, numbers))}
        for name, *numbers in zip(rows.names, hits, said, truths, strict=True)
    ]
    return {"all": _rates(int(hits.sum()), int(said.sum()), int(truths.sum())), "classes": classes}


def over_thresholds(matches: DetectionMatches, steps: int = 101) -> Mapping[str, list[float]]:
    """Precision, recall and F1 of all classes together at thresholds from 0 to 1."""
    rows = matches.counted
    grid = torch.linspace(0, 1, steps, dtype=torch.float64)
    truths = int(rows.num_truths.sum())
    said = len(rows) - torch.searchsorted(rows.scores.sort().values, grid)
    right = rows.scores[rows.correct].sort().values
    hits = len(right) - torch.searchsorted(right, grid)
    lines = [_rates(h, s, truths) for h, s in zip(hits.tolist(), said.tolist(), strict=True)]
    return {"threshold": grid.tolist(), **{key: [row[key] for row in lines] for key in ("precision", "recall", "f1")}}


def _rates(hits: int, said: int, truths: int) -> dict[str, Any]:
    return {
        "precision": hits / said if said else math.nan,
        "recall": hits / truths if truths else math.nan,
        "f1": 2 * hits / (said + truths) if said + truths else math.nan,
        "true_positives": hits,
        "false_positives": said - hits,
        "missed": truths - hits,
    }
