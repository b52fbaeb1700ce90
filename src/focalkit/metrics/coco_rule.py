"""Average precision by a rule of one's own, beside COCO's twelve numbers: other IoUs, sizes and detection limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from focalkit.errors import InputError
from focalkit.metrics.coco_arrays import accumulate, mean
from focalkit.metrics.coco_input import IouType, prepare

COCO_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class ApRule:
    """Which overlaps count, for objects of which sizes, among how many detections. The defaults are COCO's.

    Attributes:
        max_detections: Per image and class, the best scored.
        ious: Thresholds that AP and AR are the mean over, in (0, 1], ascending.
        sides: Bounds of size ranges, ascending: sides in pixels of squares of the same area. (16, 64) makes the three
            ranges below 16 x 16, up to 64 x 64, and above; both ends are in, as in COCO.

    Raises:
        InputError: A limit below 1, thresholds or bounds out of range or order.

    Example:
        >>> print(ApRule(500, (0.3, 0.5), (16,)))
        mean over IoU 0.3, 0.5; up to 500 detections per image and class; sizes divided at 16 px
    """

    max_detections: int = 100
    ious: tuple[float, ...] = COCO_IOUS
    sides: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.max_detections < 2**31:
            raise InputError(f"the limit on detections must be at least 1 and below 2^31, got {self.max_detections}")
        if not self.ious or not all(0 < iou <= 1 for iou in self.ious) or not _ascending(self.ious):
            raise InputError(f"IoU thresholds lie in (0, 1] and ascend, got {_listed(self.ious) or 'none'}")
        if not all(0 < side < math.inf for side in self.sides) or not _ascending(self.sides):
            raise InputError(f"sides that divide sizes are above 0 px and ascend, got {_listed(self.sides)}")

    def __str__(self) -> str:
        ious = "0.5 to 0.95" if self.ious == COCO_IOUS else _listed(self.ious)
        sizes = f"; sizes divided at {_listed(self.sides)} px" if self.sides else ""
        return f"mean over IoU {ious}; up to {self.max_detections} detections per image and class{sizes}"

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Name of each range of sizes, "all" first -> bounds of the area."""
        bounds = (0.0, *self.sides, math.inf) if self.sides else ()
        ranges = {}
        for low, high in pairwise(bounds):
            name = f"{low:g}-{high:g} px" if math.isfinite(high) else f"from {low:g} px"
            ranges[name] = (low**2, min(high**2, 1e10))
        return {"all": (0.0, 1e10), **ranges}


def ap_by_rule(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    rule: ApRule,
    *,
    iou_type: IouType = "bbox",
) -> dict[str, Any]:
    """AP and AR of a COCO data set by a rule other than COCO's.

    Args:
        ground_truth, detections, iou_type: As `coco_ap` takes them.
        rule: IoUs, sizes, limit.

    Returns:
        {"rule": what it is, in words, "max_detections", "ious", "sides", "sizes": [{"size", "count", "AP", "AR",
        "AP_at": [one per IoU]}, ...]}, "all" first; -1 where there is no ground truth of the size. "count" is the
        number of boxes of that size that are not crowds.

    Raises:
        InputError, FocalkitError: As `coco_ap`.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 20], "score": 0.9}]
        >>> ap_by_rule(truth, found, ApRule(ious=(0.3, 0.5)))["sizes"][0]["AP"]
        0.5
    """
    given = prepare(ground_truth, detections, iou_type)
    precision, recall = accumulate(given, iou_type, rule.ious, list(rule.ranges.values()), [rule.max_detections])
    areas = [a["area"] for a in given.ground_truth["annotations"] if not a["iscrowd"]]
    sizes = [
        {
            "size": name,
            "count": sum(low <= area <= high for area in areas),
            "AP": mean(precision[..., place, 0]),
            "AR": mean(recall[..., place, 0]),
            "AP_at": [mean(precision[row, ..., place, 0]) for row in range(len(rule.ious))],
        }
        for place, (name, (low, high)) in enumerate(rule.ranges.items())
    ]
    return {
        "rule": str(rule),
        "max_detections": rule.max_detections,
        "ious": list(rule.ious),
        "sides": list(rule.sides),
        "sizes": sizes,
    }


def _ascending(values: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
