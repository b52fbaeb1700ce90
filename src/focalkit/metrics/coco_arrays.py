"""Matching and accumulation by faster-coco-eval: the arrays from which average precision is read. Prints nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from focalkit.errors import FocalkitError
from focalkit.metrics.coco_input import IouType, Prepared

if TYPE_CHECKING:
    import numpy as np

ABSENT = -1.0
"""What COCO reports where there is no ground truth, e.g. AP of large objects in a set that has none."""
SQUARES = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""COCO's ranges of the area: all, small, medium, large."""
LIMITS = (1, 10, 100)
"""Detections per image and class."""


def accumulate(
    given: Prepared,
    iou_type: IouType,
    ious: Sequence[float] | None = None,
    areas: Sequence[tuple[float, float]] = SQUARES,
    limits: Sequence[int] = LIMITS,
    federated: bool = False,
) -> "tuple[np.ndarray, np.ndarray]":
    """Precision (IoU threshold, recall, class, size, limit) and recall (the same without recall); -1 is absent.

    Args:
        given: Ground truth and detections.
        iou_type: Overlap of boxes or of masks.
        ious: Thresholds; None takes COCO's ten.
        areas: Ranges of the area of the ground truth, both ends included.
        limits: Detections per image and class, ascending.
        federated: By LVIS's rule: images say which classes they were searched for, classes how frequent they are.

    Raises:
        FocalkitError: faster-coco-eval is not installed.
    """
    import numpy as np

    truth, classes = given.ground_truth, len(given.ground_truth["categories"])
    if not truth["images"] or not classes:
        shape = (10 if ious is None else len(ious), classes, len(areas), len(limits))
        return np.full((shape[0], 101, *shape[1:]), ABSENT), np.full(shape, ABSENT)
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise FocalkitError(
            f"COCO AP needs faster-coco-eval, which cannot be imported ({error}); pip install 'focalkit[detection]'"
        ) from error

    coco = COCO(truth, print_function=_silent)
    for detection in given.detections:
        _result_fields(detection)
    results = COCO({**truth, "annotations": given.detections}, print_function=_silent)
    evaluator = COCOeval_faster(coco, results, iou_type, print_function=_silent, lvis_style=federated)
    evaluator.params.areaRng = [list(area) for area in areas]
    evaluator.params.areaRngLbl = [str(number) for number in range(len(areas))]
    evaluator.params.maxDets = list(limits)
    if ious is not None:
        evaluator.params.iouThrs = np.asarray(ious, np.float64)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def mean(values: "np.ndarray") -> float:
    """Of what is present."""
    present = values[values > -1]
    return float(present.mean()) if present.size else ABSENT


def _silent(*_: object) -> None:
    pass


def _result_fields(found: dict[str, Any]) -> None:
    """Area and box as pycocotools sets them: the box's area where there is a box, else the mask's."""
    from faster_coco_eval.core import mask

    if "bbox" in found:
        found["area"] = found["bbox"][2] * found["bbox"][3]
    else:
        found["area"] = float(mask.area(found["segmentation"]))
        found["bbox"] = [float(v) for v in mask.toBbox(found["segmentation"])]
