"""What a data set looks like to a detector: counts, imbalance, sizes, and how anchors match its boxes.

Plain dictionaries come out, ready for JSON. Nothing is printed and no image is read.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from focalkit._progress import track
from focalkit.data._records import DetectionData, ImageRecord
from focalkit.detection.boxes.anchors import AnchorGrid
from focalkit.detection.matching.max_iou import MaxIoUAssigner
from focalkit.detection.types import BACKGROUND, IGNORE, DetectionTarget
from focalkit.images import fit_size

SMALL, MEDIUM = 32**2, 96**2
"""COCO's bounds on `area` between small, medium and large"""
_FACTORS = tuple(2 ** (k / 2) for k in range(-6, 3))
_PAD = 32  # batches are padded to a multiple of this


def summarize(data: DetectionData) -> dict[str, Any]:
    """Counts of a split.

    Returns:
        `images`, `boxes`, `empty_images` (no box but perhaps regions to ignore), `crowd`, `classes` (name -> boxes),
        `imbalance` (most frequent over least frequent class that occurs; None without boxes), `absent_classes`,
        `sizes` (small, medium, large, by COCO's areas), `boxes_per_image` (mean, most), `image_sizes` (smallest and
        largest width and height), `warnings`.

    Example:
        >>> summarize(open_detection_data("my-data"))["imbalance"]   # doctest: +SKIP
        23.7
    """
    counts = data.class_counts()
    areas = [a for i in data.images for a, crowd in zip(i.areas, i.crowd, strict=True) if not crowd]
    per_image = [sum(not c for c in i.crowd) for i in data.images]
    present = [n for n in counts if n]
    sizes = Counter("small" if a < SMALL else "medium" if a < MEDIUM else "large" for a in areas)
    widths, heights = [i.width for i in data.images], [i.height for i in data.images]
    return {
        "source": str(data.source),
        "images": len(data.images),
        "boxes": len(areas),
        "empty_images": per_image.count(0),
        "crowd": sum(sum(i.crowd) for i in data.images),
        "classes": [{"id": c.id, "name": c.name, "boxes": n} for c, n in zip(data.categories, counts, strict=True)],
        "imbalance": max(present) / min(present) if present else None,
        "absent_classes": counts.count(0),
        "sizes": {name: sizes[name] for name in ("small", "medium", "large")},
        "boxes_per_image": {"mean": len(areas) / max(1, len(per_image)), "most": max(per_image, default=0)},
        "image_sizes": {"width": _range(widths), "height": _range(heights)},
        "warnings": list(data.warnings),
    }


def _range(values: list[int]) -> list[int]:
    return [min(values, default=0), max(values, default=0)]


def match_anchors(
    data: DetectionData,
    grid: AnchorGrid,
    assigner: MaxIoUAssigner,
    min_size: int,
    max_size: int,
    *,
    sample: int = 100,
) -> dict[str, Any]:
    """How the anchors match the boxes of a split, at the size that the network will see.

    Args:
        data: The split.
        grid: The anchors.
        assigner: The rule that matches them.
        min_size: Short side of the network's input.
        max_size: Bound of its long side.
        sample: Positives and negatives are counted on at most this many images with boxes, spread evenly.

    Returns:
        `levels`: per level `size`, `positives`, `negatives`, `ignored` on the `sample`; `foreground`: positives over
        positives and negatives; `boxes`: of all images; `best_iou`: the share of these whose best anchor overlaps them
        by less than `fg_iou`, less than `bg_iou`, and less than `min_pos_iou` (they match nothing), and the quartiles;
        `suggestion`: the anchor sizes, among multiples of the given ones, that leave few boxes below `fg_iou`.
    """
    with_boxes = [image for image in data.images if not all(image.crowd)]
    images = with_boxes[:: max(1, math.ceil(len(with_boxes) / sample))]
    totals = torch.zeros(len(grid.sizes), 3, dtype=torch.int64)
    for image in track(images, len(images), "matching anchors"):
        target, shapes = target_of(image, grid.strides, min_size, max_size)
        levels = grid(shapes)
        labels = assigner(levels, target).labels.split([len(level) for level in levels])
        totals += torch.stack([_count(level) for level in labels])
    targets = [target_of(image, grid.strides, min_size, max_size) for image in with_boxes]
    boxes = torch.cat([torch.zeros(0, 4), *(t.boxes for t, _ in targets)])
    shapes = torch.tensor([shapes for t, shapes in targets for _ in t.labels]).reshape(-1, len(grid.sizes), 2)
    iou = best_iou(boxes, shapes, grid)
    positives, negatives, _ = totals.sum(0).tolist()
    return {
        "sample": len(images),
        "boxes": len(iou),
        "min_size": min_size,
        "max_size": max_size,
        "levels": [
            {"size": size, "positives": p, "negatives": n, "ignored": i}
            for size, (p, n, i) in zip(grid.sizes, totals.tolist(), strict=True)
        ],
        "foreground": positives / max(1, positives + negatives),
        "best_iou": {
            "below_fg_iou": _share(iou < assigner.fg_iou),
            "below_bg_iou": _share(iou < assigner.bg_iou),
            "unmatched": _share((iou < assigner.min_pos_iou) | (iou == 0)),
            "quartiles": iou.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() if len(iou) else [],
        },
        "suggestion": _suggest(boxes, shapes, grid, assigner.fg_iou) if len(boxes) else None,
    }


def best_iou(boxes: Tensor, shapes: Tensor, grid: AnchorGrid) -> Tensor:
    """The largest IoU that any anchor of the grid has with each box, without laying the grid out.

    Args:
        boxes: (m, 4), xyxy.
        shapes: Integer (m, l, 2): height and width of the feature maps of the box's image.
        grid: The anchors, l levels.

    Returns:
        (m,), equal to the maximum over all anchors.
    """
    best = boxes.new_zeros(len(boxes))
    x0, y0, x1, y1 = boxes.double().unbind(1)
    for level, (size, stride) in enumerate(zip(grid.sizes, grid.strides, strict=True)):
        # subtle: among equal anchors the overlap along each axis only shrinks with the distance of the centres,
        # so the cell nearest to the box's centre is the best one
        h, w = shapes[:, level].unbind(1)
        cx = (((x0 + x1) / 2 / stride - grid.offset).round().clamp(min=0).minimum(w - 1) + grid.offset) * stride
        cy = (((y0 + y1) / 2 / stride - grid.offset).round().clamp(min=0).minimum(h - 1) + grid.offset) * stride
        for ratio, scale in product(grid.ratios, grid.scales):
            half_w, half_h = size * scale / math.sqrt(ratio) / 2, size * scale * math.sqrt(ratio) / 2
            overlap_x = (torch.minimum(x1, cx + half_w) - torch.maximum(x0, cx - half_w)).clamp(min=0)
            overlap_y = (torch.minimum(y1, cy + half_h) - torch.maximum(y0, cy - half_h)).clamp(min=0)
            shared = overlap_x * overlap_y
            iou = shared / ((x1 - x0) * (y1 - y0) + 4 * half_w * half_h - shared)
            best = torch.maximum(best, iou.to(best.dtype))
    return best


def target_of(
    image: ImageRecord, strides: Sequence[int], min_size: int, max_size: int
) -> tuple[DetectionTarget, list[tuple[int, int]]]:
    """The boxes of an image at the network's input size, and the shapes of the feature maps there."""
    height, width = fit_size(image.height, image.width, min_size, max_size)
    scale = torch.tensor([width / image.width, height / image.height] * 2)
    boxes, crowd = torch.tensor(image.boxes).reshape(-1, 4) * scale, torch.tensor(image.crowd, dtype=torch.bool)
    padded = [-(-side // _PAD) * _PAD for side in (height, width)]
    shapes = [(-(-padded[0] // stride), -(-padded[1] // stride)) for stride in strides]
    return DetectionTarget(boxes[~crowd], torch.tensor(image.labels)[~crowd], boxes[crowd], image.id), shapes


def _count(labels: Tensor) -> Tensor:
    """Positives, negatives, ignored."""
    return torch.stack([(labels >= 0).sum(), (labels == BACKGROUND).sum(), (labels == IGNORE).sum()])


def _suggest(boxes: Tensor, shapes: Tensor, grid: AnchorGrid, fg_iou: float) -> dict[str, Any]:
    """Try multiples of the anchor sizes; of those within half a percent of the best, the nearest to the given."""
    below: dict[float, float] = {}
    for factor in _FACTORS:
        tried = replace(grid, sizes=tuple(size * factor for size in grid.sizes))
        below[factor] = _share(best_iou(boxes, shapes, tried) < fg_iou)
    good = [factor for factor, share in below.items() if share <= min(below.values()) + 0.005]
    factor = min(good, key=lambda f: abs(math.log(f)))
    sizes = [round(size * factor) for size in grid.sizes]
    return {"sizes": sizes, "below_fg_iou": below[factor], "now_below_fg_iou": below[1.0]}


def _share(mask: Tensor) -> float:
    return mask.float().mean().item() if len(mask) else 0.0
