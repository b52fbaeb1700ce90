"""What a detector's errors are, in the six kinds of TIDE (Bolya et al., 2020, arXiv 2008.08115), and what each costs.

A false positive is, the first that applies, with IoU to the boxes of its image:

    localisation    a box of its class at IoU .1 to .5
    classification  a box of another class at .5 or more
    duplicate       a box of its class at .5 or more, which a better scored detection took
    background      no box above .1
    both            what is left: a box of another class at .1 to .5

A box not found is "missed" where no localisation or classification error points at it. The bounds .5 and .1 are the
matches' own IoU threshold and `background_iou`. What a kind costs is the AP that mending it alone would add: detections
of the first two become right, of several at one box the best scored one of either kind, as in the authors' code; the
others vanish, as those of the next three kinds do; missed boxes are no longer asked for.

Not here: TIDE's special errors (all false positives, all false negatives), masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from focalkit._boxes import overlap

from .detection_calibration import per_class
from .detection_matches import DetectionMatches
from .interpolated import interpolated_precision
from .pairing import best_of, pairs

ERROR_KINDS = {
    "classification": "in the right place, called another class",
    "localisation": "the right class, its box too far off",
    "both": "near a box of another class, and too far off",
    "duplicate": "a box that was found already",
    "background": "where nothing is",
    "missed": "a box that nothing points at",
}
"""Kind -> what it is, in TIDE's order."""
CHUNK = 2**16
"""Detections whose overlaps with the boxes of their images are looked at together."""


@dataclass(frozen=True)
class ErrorKinds:
    """What `error_kinds` found.

    Attributes:
        counts: Kind -> number of detections, or of boxes for "missed".
        per_class: Kind -> (k,) the same by the class that was said, for "missed" by the class of the box.
        costs: Kind -> AP that mending this kind alone would add; 0 where it would add none.
        average_precision: At the matches' own IoU threshold, of the detections looked at.
    """

    counts: dict[str, int]
    per_class: dict[str, tuple[int, ...]]
    costs: dict[str, float]
    average_precision: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        per_class = {kind: list(counts) for kind, counts in self.per_class.items()}
        return {**self.__dict__, "per_class": per_class}


def error_kinds(
    matches: DetectionMatches,
    score_threshold: float | Sequence[float] | Tensor = 0.0,
    *,
    background_iou: float = 0.1,
) -> ErrorKinds:
    """Count the errors of each kind, and what each kind costs in AP.

    Args:
        matches: What `match_coco` returned; those in crowds count for nothing.
        score_threshold: Detections scored lower are left out: one number, or one per class in ascending category id.
        background_iou: Overlap up to which a detection lies on background; below the matches' own IoU threshold.

    Raises:
        ValueError: `background_iou` is negative or not below the IoU threshold of the matches.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        ...     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> error_kinds(match_coco(truth, found)).counts["classification"]
        1
    """
    if not 0 <= background_iou < matches.iou_threshold:
        raise ValueError(
            f"background_iou must be at least 0 and below the matches' {matches.iou_threshold:g}, got {background_iou}"
        )
    rows = matches.where(matches.scores >= per_class(score_threshold, matches)[matches.labels]).counted
    rows = rows.where(rows.scores.argsort(descending=True, stable=True))
    kinds, aims = kinds_of_detections(rows, background_iou=background_iou)
    found = torch.zeros(len(rows.truth_labels), dtype=torch.bool)
    found[rows.gt_index[rows.correct]] = True
    missed = ~found
    missed[aims[aims >= 0]] = False

    k = len(rows.names)
    per_kind = {
        kind: torch.bincount(rows.truth_labels[missed] if kind == "missed" else rows.labels[kinds == at], minlength=k)
        for at, kind in enumerate(ERROR_KINDS)
    }
    classes = rows.num_truths.nonzero()[:, 0]
    before = _average_precision(rows.labels, rows.correct, rows.num_truths, classes)
    surest = _surest(aims, found)
    costs = {}
    for at, kind in enumerate(ERROR_KINDS):
        if kind == "missed":
            after = _average_precision(rows.labels, rows.correct, rows.num_truths - per_kind[kind], classes)
        else:
            mended = (kinds == at) & surest
            right, kept, labels = rows.correct | mended, (kinds != at) | mended, rows.labels.clone()
            labels[mended] = rows.truth_labels[aims[mended]]
            after = _average_precision(labels[kept], right[kept], rows.num_truths, classes)
        costs[kind] = max(0.0, after - before)
    return ErrorKinds(
        counts={kind: int(counts.sum()) for kind, counts in per_kind.items()},
        per_class={kind: tuple(counts.tolist()) for kind, counts in per_kind.items()},
        costs=costs,
        average_precision=before,
    )


def kinds_of_detections(matches: DetectionMatches, *, background_iou: float = 0.1) -> tuple[Tensor, Tensor]:
    """What each of n detections is.

    Args:
        matches: What `match_coco` returned.
        background_iou: See `error_kinds`.

    Returns:
        int64 (n,): place in `ERROR_KINDS`, -1 for right ones and those in crowds.
        int64 (n,): the box that one wrong in place or class alone points at, among the matches' boxes; -1 for others.
    """
    least, names = matches.iou_threshold, list(ERROR_KINDS)
    kinds, aims = torch.full((len(matches),), -1), torch.full((len(matches),), -1)
    wrong = (~matches.correct & ~matches.ignored).nonzero()[:, 0]
    for of in wrong.split(CHUNK):
        i, j = pairs(matches.images[of], matches.truth_images)
        shared, union = overlap(matches.boxes[of][i], matches.truth_boxes[j])
        ious = torch.where(union > 0, shared / union, 0.0)
        same = matches.labels[of][i] == matches.truth_labels[j]
        own, own_at = best_of(ious.masked_fill(~same, 0), i, j, len(of))
        other, other_at = best_of(ious.masked_fill(same, 0), i, j, len(of))
        near = (own >= background_iou) & (own < least) & (own > 0)
        kind = torch.full((len(of),), names.index("both"))
        kind[torch.maximum(own, other) <= background_iou] = names.index("background")
        kind[own >= least] = names.index("duplicate")
        kind[other >= least] = names.index("classification")
        kind[near] = names.index("localisation")
        kinds[of] = kind
        aims[of] = torch.where(near, own_at, torch.where(other >= least, other_at, -1))
    return kinds, aims


def _surest(aims: Tensor, found: Tensor) -> Tensor:
    """(n,) bool: the first detection at each box that was not found; detections best score first."""
    seen, first = set(found.nonzero()[:, 0].tolist()), torch.zeros(len(aims), dtype=torch.bool)
    for row in (aims >= 0).nonzero()[:, 0].tolist():
        if (box := int(aims[row])) not in seen:
            seen.add(box)
            first[row] = True
    return first


def _average_precision(labels: Tensor, correct: Tensor, num_boxes: Tensor, classes: Tensor) -> float:
    """COCO's AP of detections in the order of their scores: precision at 101 recalls, mean over the given classes."""
    found = []
    for c in classes.tolist():
        total = int(num_boxes[c])
        if not total:  # a class with neither boxes nor detections has no precision
            if bool((labels == c).any()):
                found.append(0.0)
            continue
        right = correct[labels == c]
        found.append(float(interpolated_precision(right, ~right, total)))
    return sum(found) / len(found) if found else float("nan")
