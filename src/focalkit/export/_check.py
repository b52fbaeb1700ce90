"""An exported file against the detector it was made from: raw outputs, and what both find on images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from focalkit.detection import Detections, Detector
from focalkit.errors import BackendError
from focalkit.export._form import Form
from focalkit.export._load import load_exported
from focalkit.export._metadata import is_set
from focalkit.export._network import network_of
from focalkit.metrics import iou_matrix

TOLERANCE = 1e-2
"""Largest difference of a float32 file's raw outputs from the model's; usually it is below 1e-4."""
HALF = 0.05
"""The same of a float16 file, as a share of the largest output: a thousandth for each rounding, some layers deep."""
SAME_PLACE = 0.5


def compare_outputs(detector: Detector, path: Path, form: Form) -> float:
    """Largest difference of the file's raw outputs from the model's on random images.

    Raises:
        BackendError: It is larger than rounding explains.
    """
    generator = torch.Generator().manual_seed(0)
    network, loaded = network_of(detector), load_exported(path, trust=True).model
    sizes = [(1, 64, 96), (2, 160, 128)] if form.shape is None else [form.shape]
    worst, most = 0.0, 1.0
    for b, height, width in sizes:
        images = torch.rand(b, 3, height, width, generator=generator)
        with torch.no_grad():
            expected, found = network(images), loaded(images)
        for a, b_ in zip(expected, (*found.logits, *found.deltas, *(found.quality or ())), strict=True):
            if is_set(detector):  # queries of nearly the same score may change places
                a, b_ = a.sort(dim=2).values, b_.sort(dim=2).values
            worst = max(worst, float((a - b_).abs().max()) if a.shape == b_.shape else math.inf)
            most = max(most, float(a.abs().max()))
    limit = HALF * most if form.half else TOLERANCE
    if not worst <= limit:
        raise BackendError(
            f"{path}: its outputs differ from the model's by {worst:g} on random images, expected at most {limit:g}; "
            "the file is of no use. Another --format, or another version of its package, may do better"
        )
    return worst


@dataclass(frozen=True)
class Agreement:
    """What a file and its detector find on the same images.

    Attributes:
        images: How many.
        detections: Of the detector.
        missing: Of these, not found by the file: no box of the class with an IoU of .5.
        added: Found by the file alone.
        box_difference: Largest distance of two sides of a pair, in pixels; 0 without pairs.
        score_difference: Largest difference of the scores of a pair.
    """

    images: int
    detections: int
    missing: int
    added: int
    box_difference: float
    score_difference: float


def compare_detections(detector: Detector, file: Detector, images: Sequence[Any]) -> Agreement:
    """Run both on images, as `Detector.predict` takes them."""
    total = missing = added = 0
    box = score = 0.0
    for ours, theirs in zip(detector.predict(images), file.predict(images), strict=True):
        pairs = paired(ours, theirs)
        total, missing, added = total + len(ours), missing + len(ours) - len(pairs), added + len(theirs) - len(pairs)
        for i, j in pairs:
            box = max(box, float((ours.boxes[i] - theirs.boxes[j]).abs().max()))
            score = max(score, abs(float(ours.scores[i]) - float(theirs.scores[j])))
    return Agreement(len(images), total, missing, added, box, score)


def paired(ours: Detections, theirs: Detections) -> list[tuple[int, int]]:
    """Rows of the same object: the best overlap in the same class, each row once."""
    if not len(ours) or not len(theirs):
        return []
    overlaps = iou_matrix(ours.boxes, theirs.boxes).masked_fill(ours.labels[:, None] != theirs.labels[None], -1)
    pairs = []
    for i in range(len(ours)):
        j = int(overlaps[i].argmax())
        if overlaps[i, j] >= SAME_PLACE:
            pairs.append((i, j))
            overlaps[:, j] = -1
    return pairs
