"""How a detector of any kind would match the boxes of a split, before it has learnt anything.

Where priors are matched by their place (anchors, points), the positives are counted. Where predictions decide (RTMDet),
the candidates are: the points that lie in a box. Of a set predictor, the queries against the fullest image. For the
anchors of RetinaNet `analyze.match_anchors` says more. No image is read.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from focalkit._progress import track
from focalkit.config import CriterionConfig, DetectorName, ModelConfig
from focalkit.data._records import DetectionData, ImageRecord
from focalkit.data.analyze import target_of
from focalkit.detection import DETECTORS, Assignment, DetectionTarget, WholeImage
from focalkit.detection.types import BACKGROUND, PriorGrid


def match_detector(
    data: DetectionData, detector: DetectorName, model: ModelConfig, min_size: int, max_size: int, *, sample: int = 100
) -> dict[str, Any]:
    """Matching statistics at the size that the network will see.

    Args:
        data: The split.
        detector: By the name that `model.detector` takes.
        model: Its anchor sizes and queries; the rest follows from the detector.
        min_size: Short side of the network's input.
        max_size: Bound of its long side.
        sample: Images with boxes that are looked at, at most, spread evenly.

    Returns:
        `detector`, `matcher`, `kind`. Of kind "positives" or "candidates": `sample`, `boxes`; `levels`, of each its
        `stride` and `count`; `per_box`, the quartiles; `without`, the share of boxes that get none. Of kind "queries":
        `queries`, `most` and `mean` boxes of an image, and `images_over`, those with more boxes than queries.
    """
    recipe = DETECTORS[detector]
    priors, matcher = recipe.priors(model), recipe.matcher(model, CriterionConfig())
    about = {"detector": detector, "matcher": type(matcher).__name__}
    if isinstance(priors, WholeImage):
        counts = [sum(not crowd for crowd in image.crowd) for image in data.images]
        queries = model.decoder.queries
        facts = {"most": max(counts, default=0), "mean": sum(counts) / max(1, len(counts))}
        return about | {"kind": "queries", "queries": queries, **facts, "images_over": sum(n > queries for n in counts)}
    images = _with_boxes(data, sample)
    levels, per_box = torch.zeros(len(priors.strides), dtype=torch.int64), [torch.zeros(0, dtype=torch.int64)]
    for image in track(images, len(images), "matching"):
        target, shapes = target_of(image, priors.strides, min_size, max_size)
        by_level = priors(shapes)
        m = len(target.labels)
        if callable(matcher):
            index = matcher(by_level, target).gt_index
            owned = index[:, None] == torch.arange(m)
        else:
            owned = _centre_inside(torch.cat(list(by_level)), target.boxes)
        levels += torch.stack([part.sum() for part in owned.split([len(level) for level in by_level])])
        per_box.append(owned.sum(dim=0))
    counted = torch.cat(per_box)
    return about | {
        "kind": "positives" if callable(matcher) else "candidates",
        "sample": len(images),
        "boxes": len(counted),
        "levels": [{"stride": s, "count": int(n)} for s, n in zip(priors.strides, levels.tolist(), strict=True)],
        "per_box": counted.double().quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist() if len(counted) else [],
        "without": float((counted == 0).float().mean()) if len(counted) else 0.0,
    }


def foreground_share(
    data: DetectionData,
    priors: PriorGrid,
    matcher: Callable[[Sequence[Tensor], DetectionTarget], Assignment],
    min_size: int,
    max_size: int,
    *,
    sample: int = 100,
) -> float:
    """The share of positives among the priors that learn a class, at the size that the network will see.

    Args:
        data: The split.
        priors: Of the detector.
        matcher: One that looks at places alone.
        min_size, max_size, sample: See `match_detector`.
    """
    totals = torch.zeros(2, dtype=torch.int64)
    for image in _with_boxes(data, sample):
        target, shapes = target_of(image, priors.strides, min_size, max_size)
        labels = matcher(priors(shapes), target).labels
        totals += torch.stack([(labels >= 0).sum(), (labels == BACKGROUND).sum()])
    positives, negatives = totals.tolist()
    shown = sum(not all(image.crowd) for image in data.images) / max(1, len(data))  # the others are all background
    return shown * positives / max(1, positives + negatives)


def _with_boxes(data: DetectionData, sample: int) -> list[ImageRecord]:
    found = [image for image in data.images if not all(image.crowd)]
    return found[:: max(1, math.ceil(len(found) / sample))]


def _centre_inside(priors: Tensor, boxes: Tensor) -> Tensor:
    """Bool (n, m): whose centre lies in which box."""
    centre = ((priors[:, :2] + priors[:, 2:]) / 2)[:, None]
    return ((centre >= boxes[:, :2]) & (centre <= boxes[:, 2:])).all(dim=-1)
