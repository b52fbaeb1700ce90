"""A split's detections beside its ground truth, matched once: what a gallery shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from focalkit.data import DetectionData, ImageRecord
from focalkit.detection import Detections
from focalkit.evaluation.predict import coco_results
from focalkit.metrics import ERROR_KINDS, DetectionMatches, Matches, best_f1_threshold, kinds_of_detections, match_coco

_BACKGROUND = list(ERROR_KINDS).index("background")


@dataclass(frozen=True)
class MatchedImage:
    """An image with m boxes, crowds not among them, and its n detections from the threshold on.

    Attributes:
        boxes, labels: (m, 4), (m,).
        found: The detections.
        matches: Which of them are right.
        kinds: int64 (n,): place in `ERROR_KINDS`, -1 for right ones and those in crowds.
        missed: bool (m,): not found, and no detection is wrong about it in place or class alone.
    """

    record: ImageRecord
    boxes: Tensor
    labels: Tensor
    found: Detections
    matches: Matches
    kinds: Tensor
    missed: Tensor


@dataclass(frozen=True)
class MatchedSplit:
    """The images of a split at one score threshold.

    Attributes:
        data: The split.
        matches: Of all its detections, whatever they score.
        threshold: Detections that score less are left out of `images`.
    """

    data: DetectionData
    matches: DetectionMatches
    threshold: float

    @property
    def names(self) -> Sequence[str]:
        """Of the classes."""
        return self.matches.names

    @property
    def anything_right(self) -> bool:
        """Whether a detection is right; where none is, no threshold has a best F1."""
        return bool(self.matches.counted.correct.any())

    @cached_property
    def images(self) -> list[MatchedImage]:
        """In the order of the split."""
        rows = self.matches.where(self.matches.scores >= self.threshold)
        kinds, aims = kinds_of_detections(rows)
        place = {key: i for i, key in enumerate(rows.image_ids)}
        of = _grouped(rows.images, len(rows.image_ids))
        boxes = _grouped(rows.truth_images, len(rows.image_ids))
        return [
            _image(record, rows, kinds, aims, of[place[record.id]], boxes[place[record.id]])
            for record in self.data.images
        ]


def match_split(
    data: DetectionData,
    detections: Mapping[int, Detections] | Sequence[Mapping[str, Any]],
    threshold: float | None = None,
    max_detections: int = 100,
) -> MatchedSplit:
    """Match the detections of a split at an overlap of .5.

    Args:
        data: The split.
        detections: Per image id, in pixels of the file; or the same as COCO results.
        threshold: None takes the one with the best F1 over the split; where nothing is right, the highest score there
            is, at most .5.
        max_detections: Per image and class, the best scored.
    """
    results = coco_results(detections, data.category_ids) if isinstance(detections, Mapping) else detections
    matches = match_coco(data.to_coco(), results, max_detections=max_detections)
    return MatchedSplit(data, matches, _best(matches) if threshold is None else threshold)


def _best(matches: DetectionMatches) -> float:
    found = torch.zeros(len(matches.truth_labels), dtype=torch.bool)
    threshold, f1 = best_f1_threshold(
        [matches.scores], [Matches(matches.correct, matches.ignored, matches.gt_index, found)]
    )
    if f1 == 0:  # no true positive at any threshold: show the highest scores
        return min(0.5, float(matches.scores.max()) if len(matches) else 0.5)
    return threshold


def _grouped(images: Tensor, count: int) -> list[Tensor]:
    """The rows of each of `count` images, in their order."""
    return list(images.argsort(stable=True).split(torch.bincount(images, minlength=count).tolist()))


def _image(
    record: ImageRecord, rows: DetectionMatches, kinds: Tensor, aims: Tensor, of: Tensor, boxes: Tensor
) -> MatchedImage:
    start = int(boxes[0]) if len(boxes) else 0  # boxes are in the order of their images
    gt_index = torch.where(rows.gt_index[of] >= 0, rows.gt_index[of] - start, -1)
    found = torch.zeros(len(boxes), dtype=torch.bool)
    found[gt_index[gt_index >= 0]] = True
    missed = ~found
    missed[aims[of][aims[of] >= 0] - start] = False
    return MatchedImage(
        record,
        rows.truth_boxes[boxes].float(),
        rows.truth_labels[boxes],
        Detections(rows.boxes[of].float(), rows.scores[of].float(), rows.labels[of], rows.names),
        Matches(rows.correct[of], rows.ignored[of], gt_index, found),
        kinds[of],
        missed,
    )
