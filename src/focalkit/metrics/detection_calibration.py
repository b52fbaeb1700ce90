"""Calibration errors of detectors: D-ECE, LaECE and LaACE, written from the papers.

Formulas with D^c the detections of class c after the score cut, J bins of the score, IoU that to the matched box:

    D-ECE    sum_b |D_b| / |D| |precision(b) - mean score(b)|, classes pooled           Kueppers et al., 2020
    LaECE_t  mean_c sum_j |D_j^c| / |D^c| |sum of IoU of TPs / |D_j^c| - mean score(j)|   Oksuz et al., 2023
    LaACE_t  mean_c mean_k |score_k - IoU_k [TP]|: the bins shrunk to single detections   Kuzucu et al., 2024

A score on the edge of two bins belongs to the lower one; empty bins count for nothing. Classes without detections are
left out of the mean over classes. Ignored detections (crowds) are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ..errors import InputError
from .binning import Closed, bin_index, binned, check_bins
from .detection_matches import DetectionMatches, match_coco

ErrorKind: TypeAlias = Literal["d-ece", "laece", "laace"]
Feature: TypeAlias = Literal["cx", "cy", "w", "h"]
TAU = {"d-ece": 0.5, "laece": 0.0, "laace": 0.0}


def detection_calibration_error(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    kind: ErrorKind = "d-ece",
    tau: float | None = None,
    bins: int = 25,
    score_threshold: float | Sequence[float] | Tensor = 0.0,
    features: Sequence[Feature] = (),
    min_count: int = 1,
    max_detections: int = 100,
    quirks: bool = False,
) -> float:
    """How far a detector's scores are from what they should say: from its precision, or from precision times IoU.

    Args:
        ground_truth: As `coco_ap` takes it.
        detections: As `coco_ap` takes them, with scores in [0, 1].
        kind: "d-ece", "laece" or "laace": see the head of this file.
        tau: IoU from which a detection is a true positive; None takes 0.5 for D-ECE and 0 for the other two.
        bins: Per dimension.
        score_threshold: Detections scored lower are left out: one number, or one per class in ascending category id,
            such as `lrp(...).thresholds`. (The published tables apply the LRP-optimal ones.)
        features: For D-ECE, box features that are binned beside the score: relative centre and size.
        min_count: For D-ECE, bins with fewer detections are left out.
        max_detections: Per image and class.
        quirks: Compute what the reference implementation of the two papers on LaECE does: classes whose error is
            exactly 0 are left out of the mean, LaACE counts ignored detections with IoU 0, and at tau 0 boxes that do
            not overlap match; and what netcal does: thin bins still count in the total that D-ECE is divided by.

    Returns:
        The error; NaN without detections.

    Raises:
        InputError: As `match_coco`; features without image sizes.
        ValueError: An unknown kind or feature, thresholds that do not fit the classes.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> round(detection_calibration_error(truth, found), 3)                  # precision 1
        0.1
        >>> round(detection_calibration_error(truth, found, kind="laece"), 3)    # IoU 0.8
        0.1
    """
    if kind not in TAU:
        raise ValueError(f'kind must be "d-ece", "laece" or "laace", got {kind!r}')
    found = match_coco(
        ground_truth,
        detections,
        iou_threshold=TAU[kind] if tau is None else tau,
        max_detections=max_detections,
        touching=quirks,
    )
    return matches_calibration_error(
        found,
        kind=kind,
        bins=bins,
        score_threshold=score_threshold,
        features=features,
        min_count=min_count,
        quirks=quirks,
    )


def matches_calibration_error(
    matches: DetectionMatches,
    *,
    kind: ErrorKind = "d-ece",
    bins: int = 25,
    score_threshold: float | Sequence[float] | Tensor = 0.0,
    features: Sequence[Feature] = (),
    min_count: int = 1,
    closed: Closed = "right",
    quirks: bool = False,
) -> float:
    """`detection_calibration_error` of detections that are matched already, at their own IoU threshold.

    Args:
        matches: What `match_coco` returned, perhaps with other scores.
        closed: As in `expected_calibration_error`.

    The other arguments are those of `detection_calibration_error`.
    """
    check_bins(bins, closed=closed)
    rows = matches.where(matches.scores >= per_class(score_threshold, matches)[matches.labels])
    if kind == "d-ece":
        return _pooled(rows.counted, bins, features, min_count, closed, quirks)
    if features:
        raise ValueError(f"features are for D-ECE, got kind={kind!r}")
    rows = rows if kind == "laace" and quirks else rows.counted
    errors = []
    for c in rows.labels.unique().tolist():
        of = rows.labels == c
        scores, targets = rows.scores[of], rows.iou[of]  # the IoU of what is no true positive is 0
        if kind == "laace":
            error = float((scores - targets).abs().mean())
        else:
            found = binned(scores, targets, bins, closed=closed)
            error = float((found.counts * found.gaps).sum() / len(scores))
        if error > 0 or not quirks:
            errors.append(error)
    return sum(errors) / len(errors) if errors else float("nan")


def per_class(values: float | Sequence[float] | Tensor, matches: DetectionMatches) -> Tensor:
    """One number, or one per class, as a vector over the classes.

    Raises:
        ValueError: Another number of values than classes.
    """
    vector = torch.as_tensor(values, dtype=torch.float64)
    if vector.ndim and vector.shape != matches.num_truths.shape:
        raise ValueError(f"expected one threshold, or {len(matches.num_truths)} for the classes, got {vector.numel()}")
    return vector.expand(len(matches.num_truths))


def box_features(matches: DetectionMatches) -> Tensor:
    """(n, 4): centre x, centre y, width, height, as shares of the image, in [0, 1].

    Raises:
        InputError: An image of unknown size.
    """
    sizes = matches.image_sizes[matches.images]
    if bool(sizes.isnan().any()):
        image = matches.image_ids[int(matches.images[sizes.isnan().any(1)][0])]
        raise InputError(
            f"position and size of boxes need width and height of images; the image with the id {image!r} has none"
        )
    low, high = matches.boxes[:, :2] / sizes, matches.boxes[:, 2:] / sizes
    return torch.cat([(low + high) / 2, high - low], 1).clamp(0, 1)


def _pooled(
    rows: DetectionMatches, bins: int, features: Sequence[Feature], min_count: int, closed: Closed, quirks: bool
) -> float:
    if not len(rows):
        return float("nan")
    columns = [rows.scores]
    if features:
        names = ("cx", "cy", "w", "h")
        if unknown := [f for f in features if f not in names]:
            raise ValueError(f"there is no box feature {unknown[0]!r}; known: {', '.join(names)}")
        table = box_features(rows)
        columns += [table[:, names.index(f)] for f in features]
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    cell = torch.stack([bin_index(column, edges, closed) for column in columns], 1)
    _, index, counts = cell.unique(dim=0, return_inverse=True, return_counts=True)
    kept = counts >= min_count
    gaps = torch.bincount(index, weights=rows.correct.double() - rows.scores).abs()  # count times gap
    total = int(counts.sum() if quirks else counts[kept].sum())
    return float(gaps[kept].sum() / total) if total else float("nan")
