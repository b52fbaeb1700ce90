"""COCO average precision of boxes and masks: the 12 numbers, per class, and precision-recall curves.

Matching and accumulation are faster-coco-eval's, which computes what pycocotools computes; this file prepares what both
stumble over (string ids, annotation id 0, empty lists, unknown ids), reads the 12 numbers, the classes and the curves
from the accumulated arrays, and prints nothing.

Not here: keypoints, LVIS's federated rule, other size ranges or detection limits than COCO's.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from focalkit.errors import FocalkitError, InputError

if TYPE_CHECKING:
    import numpy as np

IouType: TypeAlias = Literal["bbox", "segm"]
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
CURVE_IOUS = (0.5, 0.75)
ABSENT = -1.0
"""What COCO reports where there is no ground truth, e.g. AP of large objects in a set that has none."""


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
    if iou_type not in ("bbox", "segm"):
        raise InputError(f'iou_type is {iou_type!r}, expected "bbox" or "segm"')
    images = _sorted_by_id(ground_truth.get("images", ()), "image")
    categories = _sorted_by_id(ground_truth.get("categories", ()), "category")
    # subtle: the evaluator gets ids 1, 2, ... in the order of the real ones. Equal scores are ranked by image order,
    # and an annotation id of 0 would read as "unmatched".
    image_index = {key: i for i, (key, _) in enumerate(images, 1)}
    category_index = {key: i for i, (key, _) in enumerate(categories, 1)}

    def located(entry: Mapping[str, Any], number: int, name: str) -> dict[str, Any]:
        return {
            "id": number,
            "image_id": _lookup(entry, "image_id", image_index, name),
            "category_id": _lookup(entry, "category_id", category_index, name),
            **_shape(entry, name, iou_type),
        }

    annotations = []
    for number, entry in enumerate(ground_truth.get("annotations", ()), 1):
        name = f"annotation {entry.get('id', f'number {number}')} of the ground truth"
        annotations.append(located(entry, number, name) | _truth_fields(entry, name))
    found = []
    for number, entry in enumerate(detections, 1):
        name = f"detection number {number}"
        found.append(located(entry, number, name) | {"score": _finite(entry.get("score"), "score", name)})

    counts = [0] * len(categories)
    for a in annotations:
        counts[a["category_id"] - 1] += not a["iscrowd"]
    shell = {
        "info": {},
        "images": [{**image, "id": i} for i, (_, image) in enumerate(images, 1)],
        "categories": [{"id": i, "name": str(i)} for i in range(1, len(categories) + 1)],
        "annotations": annotations,
    }
    precision, recall = _accumulate(shell, found, iou_type)
    names = _unique_names([c for _, c in categories])
    return CocoResult(
        metrics=_twelve(precision, recall),
        per_class=_per_class(precision, names, [c["id"] for _, c in categories], counts) if per_class else {},
        curves=_curves(precision, names) if curves else None,
        num_images=len(images),
    )


def _accumulate(
    ground_truth: dict[str, Any], found: list[dict[str, Any]], iou_type: IouType
) -> "tuple[np.ndarray, np.ndarray]":
    """Precision (IoU threshold, recall, class, size, limit) and recall (the same without recall); -1 is absent."""
    import numpy as np

    num_classes = len(ground_truth["categories"])
    if not ground_truth["images"] or not num_classes:
        return np.full((10, 101, num_classes, 4, 3), ABSENT), np.full((10, num_classes, 4, 3), ABSENT)
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise FocalkitError(
            f"COCO AP needs faster-coco-eval, which cannot be imported ({error}); pip install 'focalkit[detection]'"
        ) from error

    coco = COCO(ground_truth, print_function=_silent)
    for d in found:
        _result_fields(d)
    results = COCO({**ground_truth, "annotations": found}, print_function=_silent)
    evaluator = COCOeval_faster(coco, results, iou_type, print_function=_silent)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def _silent(*_: object) -> None:
    pass


# --- reading the arrays -----------------------------------------------------------------------------------------------


def _mean(values: "np.ndarray") -> float:
    present = values[values > -1]
    return float(present.mean()) if present.size else ABSENT


def _iou_row(iou: float) -> int:
    return round((iou - 0.5) / 0.05)  # the thresholds are 0.5, 0.55, ... 0.95


def _twelve(precision: "np.ndarray", recall: "np.ndarray") -> dict[str, float]:
    everything, hundred = 0, 2  # size range, detection limit
    values = [_mean(precision[..., everything, hundred])]
    values += [_mean(precision[_iou_row(iou), ..., everything, hundred]) for iou in (0.5, 0.75)]
    values += [_mean(precision[..., size, hundred]) for size in (1, 2, 3)]
    values += [_mean(recall[..., everything, limit]) for limit in (0, 1, 2)]
    values += [_mean(recall[..., size, hundred]) for size in (1, 2, 3)]
    return dict(zip(METRICS, values, strict=True))


def _per_class(
    precision: "np.ndarray", names: list[str], ids: list[Any], counts: list[int]
) -> dict[str, dict[str, Any]]:
    table = {}
    for k, (name, category_id, count) in enumerate(zip(names, ids, counts, strict=True)):
        p = precision[:, :, k, 0, 2]
        at = {f"AP{round(100 * iou)}": _mean(p[_iou_row(iou)]) for iou in CURVE_IOUS}
        table[name] = {"id": category_id, "AP": _mean(p), **at, "count": count}
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


# --- checking and repairing the input ---------------------------------------------------------------------------------


def _key(value: Any) -> Hashable:
    """An id as it is compared: integers, and strings that spell one, as the integer; other strings as they are."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return value
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value) if value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _sorted_by_id(entries: Iterable[Mapping[str, Any]], kind: str) -> list[tuple[Hashable, Mapping[str, Any]]]:
    keyed = []
    for number, entry in enumerate(entries, 1):
        key = _key(entry.get("id"))
        if key is None:
            got = entry.get("id")
            raise InputError(f"{kind} number {number} of the ground truth has the id {got!r}, expected an integer")
        keyed.append((key, entry))
    keyed.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]))
    for (a, _), (b, _) in pairwise(keyed):
        if a == b:
            raise InputError(f"the ground truth has two {kind} entries with the id {a!r}; ids must be unique")
    return keyed


def _lookup(entry: Mapping[str, Any], field: str, index: Mapping[Hashable, int], name: str) -> int:
    found = index.get(_key(entry.get(field)))
    if found is None:
        known = list(index)
        shown = ", ".join(map(repr, known[:5])) + (f", ... ({len(known)} in all)" if len(known) > 5 else "")
        raise InputError(
            f"{name} has the {field} {entry.get(field)!r}, which is not in the ground truth; known: {shown or 'none'}"
        )
    return found


def _finite(value: Any, what: str, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name}: the {what} is {value!r}, expected a finite number")
    return number


def _shape(entry: Mapping[str, Any], name: str, iou_type: str) -> dict[str, Any]:
    """The box as four floats and, where it is needed, the mask. An empty list means "none", as some tools write it."""
    bbox, mask = entry.get("bbox"), entry.get("segmentation")
    shape: dict[str, Any] = {}
    if bbox is not None and len(bbox) > 0:
        if len(bbox) != 4:
            raise InputError(f"{name}: the box is {bbox!r}, expected x, y, width, height")
        shape["bbox"] = [_finite(v, "box", name) for v in bbox]
    if mask and (iou_type == "segm" or not shape):
        shape["segmentation"] = mask
    if iou_type == "segm" and not mask:
        raise InputError(f'{name} has no "segmentation", which iou_type="segm" needs')
    if "bbox" not in shape and not isinstance(mask, Mapping):
        raise InputError(f'{name} has no "bbox"')
    return shape


def _truth_fields(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    area = entry.get("area")
    if area is None:
        bbox = entry.get("bbox") or (math.nan,) * 4
        area = float(bbox[2]) * float(bbox[3])
    return {"iscrowd": int(entry.get("iscrowd") or 0), "area": _finite(area, "area", name)}


def _result_fields(found: dict[str, Any]) -> None:
    """Area and box as pycocotools sets them: the box's area where there is a box, else the mask's."""
    from faster_coco_eval.core import mask

    if "bbox" in found:
        found["area"] = found["bbox"][2] * found["bbox"][3]
    else:
        found["area"] = float(mask.area(found["segmentation"]))
        found["bbox"] = [float(v) for v in mask.toBbox(found["segmentation"])]


def _unique_names(categories: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(c.get("name", c["id"])) for c in categories]
    return [n if names.count(n) == 1 else f"{n} (id {c['id']})" for n, c in zip(names, categories, strict=True)]
