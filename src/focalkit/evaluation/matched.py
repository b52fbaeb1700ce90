"""A split's detections beside its ground truth, matched once: what galleries show and what the report counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from focalkit.data import DetectionData, ImageRecord
from focalkit.detection import Detections
from focalkit.evaluation.mistakes import MISTAKE_KINDS, Mistakes, find_mistakes, mistake_costs
from focalkit.metrics import best_f1_threshold


@dataclass(frozen=True)
class MatchedImage:
    """An image, its boxes without crowds, and its detections from the threshold on with what they find and mistake."""

    record: ImageRecord
    boxes: Tensor
    labels: Tensor
    found: Detections
    mistakes: Mistakes

    @property
    def f1(self) -> float:
        """See `focalkit.metrics.Matches`."""
        return self.mistakes.matches.f1


@dataclass(frozen=True)
class MatchedSplit:
    """The images of a split at one score threshold.

    Attributes:
        images: In the order of the split.
        threshold: Detections that score less are left out of `images`.
        names: Of the classes.
        everything: Of every image, whatever the score.
    """

    images: Sequence[MatchedImage]
    threshold: float
    names: Sequence[str]
    everything: Sequence[Mistakes]

    def mistakes(self) -> dict[str, Any]:
        """{"counts": kind -> how many at the threshold, "costs": what `mistake_costs` says of all}."""
        each = [image.mistakes.counts for image in self.images]
        counts = {kind: sum(found[kind] for found in each) for kind in MISTAKE_KINDS}
        return {"counts": counts, "costs": mistake_costs(self.everything)}


def match_split(
    data: DetectionData, detections: Mapping[int, Detections], threshold: float | None = None
) -> MatchedSplit:
    """Match the detections of a split at an overlap of .5.

    Args:
        data: The split.
        detections: Per image id, in pixels of the file.
        threshold: None takes the one with the best F1 over the split; where nothing is right, the highest score there
            is, at most .5.
    """
    found = [detections[record.id] for record in data.images]
    everything: list[Mistakes] = []
    truths: list[tuple[Tensor, Tensor]] = []
    for record, one in zip(data.images, found, strict=True):
        boxes = torch.tensor(record.boxes, dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor(record.labels, dtype=torch.int64)
        crowd = torch.tensor(record.crowd, dtype=torch.bool)
        truths.append((boxes[~crowd], labels[~crowd]))
        everything.append(
            find_mistakes(
                one.boxes, one.scores, one.labels, *truths[-1], crowd_boxes=boxes[crowd], crowd_labels=labels[crowd]
            )
        )
    if threshold is None:
        scores = [one.scores for one in found]
        threshold, best = best_f1_threshold(scores, [one.matches for one in everything])
        if best == 0:
            threshold = min(0.5, max((float(s.max()) for s in scores if len(s)), default=0.5))
    images = [
        MatchedImage(record, *truth, one.above(threshold), judged.above(threshold))
        for record, truth, one, judged in zip(data.images, truths, found, everything, strict=True)
    ]
    return MatchedSplit(images, threshold, data.names, everything)
