"""COCO average precision of boxes and masks: the 12 numbers, per class, and precision-recall curves.

Matching and accumulation are faster-coco-eval's, which computes what pycocotools does; `coco_input.py` prepares what
both stumble over (string ids, annotation id 0, empty lists, unknown ids); this file reads the 12 numbers, the classes
and the curves from the accumulated arrays.

Not here: keypoints; LVIS's federated rule (`lvis.py`); other sizes, IoUs and limits than COCO's (`coco_rule.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from focalkit.metrics.coco_arrays import ABSENT as ABSENT
from focalkit.metrics.coco_arrays import accumulate, mean
from focalkit.metrics.coco_input import IouType, prepare

if TYPE_CHECKING:
    import numpy as np

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
CURVE_IOUS = (0.5, 0.75)


@dataclass(frozen=True)
class CocoResult:
    """What `coco_ap` found. Absent quantities (no ground truth of that size or class) are -1, as in COCO.

    Attributes:
        metrics: The 12 numbers by name: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.
        per_class: name -> {"id", "AP", "AP50", "AP75", "count"}; count is the number of boxes that are not crowds.
        curves: {"recall": [101], "iou": [0.5, 0.75], "curves": [{"name", "iou", "precision": [101]}, ...]}, first
            "all" (the mean over the classes present), then each class present; None unless asked for.
        num_images: Images evaluated, those without boxes included.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, Any]]
    curves: dict[str, Any] | None
    num_images: int


def coco_ap(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    iou_type: IouType = "bbox",
    per_class: bool = True,
    curves: bool = False,
) -> CocoResult:
    """COCO average precision and recall (the definition of pycocotools; equal to it to 1e-9).

    Ids may be integers or strings, also mixed ("7" is 7); annotation ids are not used, so that 0 and repeated ones do
    no harm. Neither argument is changed. Without detections every number is 0 where there is ground truth; without
    ground truth every number is -1.

    Args:
        ground_truth: A COCO data set: "images" ("id"; for masks "width" and "height"), "annotations" ("image_id",
            "category_id", "bbox" as x, y, width, height, or "segmentation"; optional "area", "iscrowd"), "categories".
        detections: COCO results: "image_id", "category_id", "score" and "bbox" and/or "segmentation".
        iou_type: Overlap of boxes or of masks.
        per_class: Fill `CocoResult.per_class`.
        curves: Fill `CocoResult.curves`.

    Raises:
        InputError: An unknown image or category id, a repeated id, a box that is not four finite numbers, a score that
            is not finite.
        FocalkitError: faster-coco-eval is not installed.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> round(coco_ap(truth, found).metrics["AP"], 3)
        0.7
    """
    given = prepare(ground_truth, detections, iou_type)
    precision, recall = accumulate(given, iou_type)
    names = given.names
    return CocoResult(
        metrics=_twelve(precision, recall),
        per_class=_per_class(precision, names, given.category_ids, given.counts) if per_class else {},
        curves=_curves(precision, names) if curves else None,
        num_images=len(given.ground_truth["images"]),
    )


# --- reading the arrays -----------------------------------------------------------------------------------------------


def _iou_row(iou: float) -> int:
    return round((iou - 0.5) / 0.05)  # the thresholds are 0.5, 0.55, ... 0.95


def _twelve(precision: "np.ndarray", recall: "np.ndarray") -> dict[str, float]:
    everything, hundred = 0, 2  # size range, detection limit
    values = [mean(precision[..., everything, hundred])]
    values += [mean(precision[_iou_row(iou), ..., everything, hundred]) for iou in (0.5, 0.75)]
    values += [mean(precision[..., size, hundred]) for size in (1, 2, 3)]
    values += [mean(recall[..., everything, limit]) for limit in (0, 1, 2)]
    values += [mean(recall[..., size, hundred]) for size in (1, 2, 3)]
    return dict(zip(METRICS, values, strict=True))


def _per_class(
    precision: "np.ndarray", names: list[str], ids: list[Any], counts: list[int]
) -> dict[str, dict[str, Any]]:
    table = {}
    for k, (name, category_id, count) in enumerate(zip(names, ids, counts, strict=True)):
        p = precision[:, :, k, 0, 2]
        at = {f"AP{round(100 * iou)}": mean(p[_iou_row(iou)]) for iou in CURVE_IOUS}
        table[name] = {"id": category_id, "AP": mean(p), **at, "count": count}
    return table


def _curves(precision: "np.ndarray", names: list[str]) -> dict[str, Any]:
    area_all = precision[:, :, :, 0, 2]
    lines = []
    for iou in CURVE_IOUS:
        p = area_all[_iou_row(iou)]  # (recall, class)
        present = [k for k in range(p.shape[1]) if p[0, k] > -1]
        if present:
            lines.append({"name": "all", "iou": iou, "precision": p[:, present].mean(1).tolist()})
        lines += [{"name": names[k], "iou": iou, "precision": p[:, k].tolist()} for k in present]
    lines.sort(key=lambda line: line["name"] != "all")
    return {"recall": [r / 100 for r in range(101)], "iou": list(CURVE_IOUS), "curves": lines}
