"""What a detector gets wrong: the kinds of its errors with what they cost, and pictures of them."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from focalkit.data import DetectionData
from focalkit.detection import Detections
from focalkit.errors import InputError
from focalkit.evaluation import match_split
from focalkit.evaluation.gallery import pictures
from focalkit.metrics import ERROR_KINDS, DetectionMatches, error_kinds, match_coco

from .._task import Outputs, Picture, Source
from ._read import read

WORST, EACH = 3, 2
"""Pictures of the hardest images, and of every kind of error."""


def error_costs(outputs: Outputs, classes: Sequence[str]) -> dict[str, float]:
    """See `Illustrator.error_costs`: AP50, and TIDE's kinds."""
    found = error_kinds(_matches(outputs, classes))
    return {"AP50": found.average_precision, **found.costs}


def illustrate(source: Source, outputs: Outputs) -> list[Picture]:
    """See `Illustrator.pictures`."""
    data: DetectionData = read(source).test
    if [image.file_name for image in data.images] != outputs.ids.tolist():
        raise InputError(f"{source.path}: these are not the images that were tested")
    shown = []
    for one in pictures(match_split(data, _by_image(data, outputs)), WORST, EACH):
        if one.kind == "best":
            continue
        group, about = "Hardest images", "the lowest F1"
        if one.kind in ERROR_KINDS:
            group, about = f"Error: {one.kind}", ERROR_KINDS[one.kind]
        buffer = io.BytesIO()
        one.picture.save(buffer, "JPEG", quality=80)
        shown.append(
            Picture(group, f"{about[:1].upper()}{about[1:]}.", one.caption, one.record.file_name, buffer.getvalue())
        )
    return shown


def _by_image(data: DetectionData, outputs: Outputs) -> dict[int, Detections]:
    parts = outputs.parts
    ends = np.searchsorted(parts["detections.item"], np.arange(1, len(data)))
    columns = [np.split(parts[f"detections.{name}"], ends) for name in ("boxes", "scores", "labels")]
    return {
        image.id: Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), data.names)
        for image, boxes, scores, labels in zip(data.images, *columns, strict=True)
    }


def _matches(outputs: Outputs, classes: Sequence[str]) -> DetectionMatches:
    parts: Mapping[str, np.ndarray] = outputs.parts
    boxes = {name: _xywh(parts[f"{name}.boxes"]) for name in ("detections", "truth")}
    columns = zip(
        boxes["truth"], *(parts[f"truth.{name}"].tolist() for name in ("item", "labels", "crowd")), strict=True
    )
    truth = {
        "images": [{"id": i} for i in range(len(outputs))],
        "categories": [{"id": c, "name": name} for c, name in enumerate(classes)],
        "annotations": [
            {"image_id": int(i), "category_id": int(c), "bbox": box, "iscrowd": int(crowd)}
            for box, i, c, crowd in columns
        ],
    }
    rows = zip(
        boxes["detections"],
        *(parts[f"detections.{name}"].tolist() for name in ("item", "labels", "scores")),
        strict=True,
    )
    found = [{"image_id": i, "category_id": c, "bbox": box, "score": score} for box, i, c, score in rows]
    return match_coco(truth, found)


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
