"""Average precision as LVIS has it (Gupta et al., 2019, arXiv 1908.03195): federated, and by how frequent classes are.

An image of a federated data set was searched for some classes only. A detection of another class counts neither way
(`neg_category_ids` lists those known to be absent), and a false positive of a class that was not searched to the end
(`not_exhaustive_category_ids`) is left out. Matching and accumulation are faster-coco-eval's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from focalkit.errors import InputError
from focalkit.metrics.coco_arrays import accumulate, mean
from focalkit.metrics.coco_input import IouType, Prepared, prepare

if TYPE_CHECKING:
    import numpy as np

GROUPS = {"r": "APr", "c": "APc", "f": "APf"}
"""Rare, common and frequent classes."""
RARE, COMMON = 10, 100
"""Images of the training split that show a rare class at most, and a common one."""


@dataclass(frozen=True)
class LvisResult:
    """What `lvis_ap` found. Absent quantities are -1.

    Attributes:
        metrics: AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR, ARs, ARm, ARl.
        per_class: name -> {"id", "frequency", "AP", "count"}.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, Any]]


def lvis_ap(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    iou_type: IouType = "bbox",
    max_detections: int = 300,
) -> LvisResult:
    """LVIS's average precision and recall, equal to its own package's.

    Args:
        ground_truth: A COCO data set. A class is rare, common or frequent by its `frequency` ("r", "c", "f"), or by its
            `image_count`, the images of the training split that show it (to 10, to 100, more). Where no image has
            `neg_category_ids`, every image was searched for all classes.
        detections: As `coco_ap` takes them.
        iou_type: Overlap of boxes or of masks.
        max_detections: Of an image, over all classes; those that score lowest are left out.

    Raises:
        InputError: As `coco_ap`; a class of which nothing says how frequent it is.
        FocalkitError: faster-coco-eval is not installed.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1, "neg_category_ids": [], "not_exhaustive_category_ids": []}],
        ...     "categories": [{"id": 3, "name": "owl", "frequency": "r"}, {"id": 4, "name": "cat", "frequency": "f"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": c, "bbox": [0, 0, 50, 50], "score": 0.9} for c in (3, 4)]
        >>> {name: lvis_ap(truth, found).metrics[name] for name in ("AP", "APr", "APf")}
        {'AP': 1.0, 'APr': 1.0, 'APf': -1.0}
    """
    given = prepare(ground_truth, detections, iou_type)
    groups = _federate(given, ground_truth)
    kept = _best(given.detections, max_detections)
    limited = Prepared(given.ground_truth, kept, given.names, given.category_ids, given.counts)
    precision, recall = (a[..., 0] for a in accumulate(limited, iou_type, limits=(max_detections,), federated=True))
    columns = {name: [k for k, group in enumerate(groups) if group == short] for short, name in GROUPS.items()}
    ap = {
        "AP": mean(precision[..., 0]),
        "AP50": mean(precision[0, ..., 0]),
        "AP75": mean(precision[5, ..., 0]),
        **{f"AP{size}": mean(precision[..., i]) for i, size in enumerate("sml", 1)},
        **{name: mean(precision[:, :, of, 0]) for name, of in columns.items()},
        "AR": mean(recall[..., 0]),
        **{f"AR{size}": mean(recall[..., i]) for i, size in enumerate("sml", 1)},
    }
    return LvisResult(ap, _per_class(precision, given, groups))


def _per_class(precision: "np.ndarray", given: Prepared, groups: list[str]) -> dict[str, dict[str, Any]]:
    rows = zip(given.names, given.category_ids, groups, given.counts, strict=True)
    return {
        name: {"id": category_id, "frequency": group, "AP": mean(precision[:, :, k, 0]), "count": count}
        for k, (name, category_id, group, count) in enumerate(rows)
    }


def _federate(given: Prepared, ground_truth: Mapping[str, Any]) -> list[str]:
    """Put the classes of each image in the ids of `given`, and give every class its group, which is returned."""
    number = {str(category_id): i for i, category_id in enumerate(given.category_ids, 1)}
    entries = {str(entry["id"]): entry for entry in ground_truth.get("categories", ())}
    groups = [group_of(entries[str(category_id)]) for category_id in given.category_ids]
    for category, group in zip(given.ground_truth["categories"], groups, strict=True):
        category["frequency"] = group
    federated = any("neg_category_ids" in image for image in given.ground_truth["images"])
    for image in given.ground_truth["images"]:
        for field in ("neg_category_ids", "not_exhaustive_category_ids"):
            unknown = [c for c in image.get(field, ()) if str(c) not in number]
            if unknown:
                raise InputError(
                    f"image {image.get('file_name', image['id'])}: {field} has {unknown[0]!r}, no category"
                )
            image[field] = [number[str(c)] for c in image.get(field, ())]
        if not federated:
            image["neg_category_ids"] = list(number.values())
    return groups


def group_of(category: Mapping[str, Any]) -> str:
    """ "r", "c" or "f": how frequent a class is, as its entry in a COCO file says.

    Raises:
        InputError: It does not say.
    """
    if category.get("frequency") in GROUPS:
        return category["frequency"]
    count = category.get("image_count")
    if not isinstance(count, int | float) or not math.isfinite(count):
        raise InputError(
            f"category {category.get('name', category['id'])!r} does not say how frequent it is: give each category a"
            ' "frequency" ("r", "c" or "f") or an "image_count", the training images that show it'
        )
    return "r" if count <= RARE else "c" if count <= COMMON else "f"


def _best(detections: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The best of each image; of equal scores the first."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for found in detections:
        by_image.setdefault(found["image_id"], []).append(found)
    return [found for rows in by_image.values() for found in sorted(rows, key=lambda f: -f["score"])[:most]]
