"""COCO data sets and results as the evaluator takes them: ids 1, 2, ..., boxes of four finite numbers, no surprises."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from focalkit.errors import InputError

IouType: TypeAlias = Literal["bbox", "segm"]


@dataclass(frozen=True)
class Prepared:
    """What the evaluator gets, and what its numbers stand for.

    Attributes:
        ground_truth: A data set of its own ids.
        detections: Results with these ids.
        names: Of the classes, each unique.
        category_ids: As the data set has them.
        counts: Boxes of each class that are not crowds.
    """

    ground_truth: dict[str, Any]
    detections: list[dict[str, Any]]
    names: list[str]
    category_ids: list[Any]
    counts: list[int]


def prepare(ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], iou_type: IouType) -> Prepared:
    """Check both and number everything anew; neither is changed.

    Raises:
        InputError: As `coco_ap`.
    """
    if iou_type not in ("bbox", "segm"):
        raise InputError(f'iou_type is {iou_type!r}, expected "bbox" or "segm"')
    if not isinstance(ground_truth, Mapping):
        raise InputError(f"expected the ground truth as a dictionary, COCO's, got a {type(ground_truth).__name__}")
    if isinstance(detections, str | Mapping) or not all(isinstance(entry, Mapping) for entry in detections):
        raise InputError(
            "expected the detections as a list of dictionaries with image_id, category_id, bbox and score, got a "
            f"{type(detections).__name__}{' of other things' if isinstance(detections, list | tuple) else ''}"
        )
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
    return Prepared(shell, found, _unique_names([c for _, c in categories]), [c["id"] for _, c in categories], counts)


def id_key(value: Any) -> Hashable:
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
        key = id_key(entry.get("id"))
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
    value = entry.get(field)
    found = index.get(value if type(value) is int else id_key(value))
    if found is None:
        known = list(index)
        shown = ", ".join(map(repr, known[:5])) + (f", ... ({len(known)} in all)" if len(known) > 5 else "")
        raise InputError(
            f"{name} has the {field} {entry.get(field)!r}, which is not in the ground truth; known: {shown or 'none'}"
        )
    return found


def _finite(value: Any, what: str, name: str) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name}: the {what} is {value!r}, expected a finite number")
    return number


def _shape(entry: Mapping[str, Any], name: str, iou_type: str) -> dict[str, Any]:
    """The box as four floats and, where it is needed, the mask. An empty list means "none", as some tools write it."""
    bbox, mask = entry.get("bbox"), entry.get("segmentation")
    shape: dict[str, Any] = {}
    if bbox is not None and not hasattr(bbox, "__len__"):
        raise InputError(f"{name}: the box is {bbox!r}, expected x, y, width, height")
    if bbox is not None and len(bbox) > 0:
        shape["bbox"] = _four(bbox, name)
    if mask and (iou_type == "segm" or not shape):
        shape["segmentation"] = mask
    if iou_type == "segm" and not mask:
        raise InputError(f'{name} has no "segmentation", which iou_type="segm" needs')
    if "bbox" not in shape and not isinstance(mask, Mapping):
        raise InputError(f'{name} has no "bbox"')
    return shape


def _four(bbox: Any, name: str) -> list[float]:
    """Four finite numbers; the list itself where it holds floats already: there may be half a million."""
    if len(bbox) != 4:
        raise InputError(f"{name}: the box is {bbox!r}, expected x, y, width, height")
    x, y, w, h = bbox
    if type(x) is type(y) is type(w) is type(h) is float and math.isfinite(x + y + w + h):
        return bbox
    return [_finite(v, "box", name) for v in bbox]


def _truth_fields(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    area = entry.get("area")
    if area is None:
        bbox = entry.get("bbox") or (math.nan,) * 4
        area = float(bbox[2]) * float(bbox[3])
    return {"iscrowd": int(entry.get("iscrowd") or 0), "area": _finite(area, "area", name)}


def _unique_names(categories: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(c.get("name", c["id"])) for c in categories]
    return [n if names.count(n) == 1 else f"{n} (id {c['id']})" for n, c in zip(names, categories, strict=True)]
