"""COCO results matched with their ground truth: one row per detection, for calibration and the choice of thresholds.

The rule is pycocotools': per image and class, best score first, each detection takes the free ground-truth box it
overlaps most, if at least to the threshold; one that lies in a crowd region instead is ignored; at most 100 detections
per image and class.

Not here: masks, keypoints, LVIS's federated rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from focalkit._boxes import area, intersection, overlap

from ..errors import InputError
from .coco_input import _finite, _lookup, _shape, _sorted_by_id, _truth_fields, _unique_names, id_key
from .pairing import greedy, pairs, within_limit


@dataclass(frozen=True)
class DetectionMatches:
    """n detections, in the order they were given, against k classes. Those beyond the limit per image are left out.

    Attributes:
        scores: (n,) float64.
        labels: (n,) int64: 0..k-1, in ascending order of the category id.
        boxes: (n, 4) float64 xyxy.
        images: (n,) int64: place of the image in `image_ids`.
        iou: (n,) float64: overlap with the box taken, 0 where none was.
        correct: (n,) bool: took a box.
        ignored: (n,) bool: lies in a crowd region; neither right nor wrong.
        gt_index: (n,) int64: place of the box taken among the m boxes to find, -1 for none.
        truth_boxes: (m, 4) float64 xyxy: boxes to find, crowds not among them.
        truth_labels: (m,) int64.
        truth_images: (m,) int64.
        image_sizes: (images, 2) float64 width and height; NaN where the ground truth does not say.
        image_ids: Of the ground truth, ascending; a string that spells an integer is that integer.
        category_ids: Likewise.
        names: Of the classes.
        iou_threshold: Least overlap that counts.
        crowd_boxes: (r, 4) float64 xyxy.
        crowd_labels: (r,) int64.
        crowd_images: (r,) int64.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    images: Tensor
    iou: Tensor
    correct: Tensor
    ignored: Tensor
    gt_index: Tensor
    truth_boxes: Tensor
    truth_labels: Tensor
    truth_images: Tensor
    image_sizes: Tensor
    image_ids: tuple[Any, ...]
    category_ids: tuple[Any, ...]
    names: tuple[str, ...]
    iou_threshold: float
    crowd_boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4, dtype=torch.float64))
    crowd_labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    crowd_images: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def num_truths(self) -> Tensor:
        """(k,) int64: boxes to find of each class."""
        return torch.bincount(self.truth_labels, minlength=len(self.names))

    def where(self, kept: Tensor) -> "DetectionMatches":
        """The detections at which a bool (n,) is true; the ground truth stays."""
        fields = ("scores", "labels", "boxes", "images", "iou", "correct", "ignored", "gt_index")
        rows = {name: getattr(self, name)[kept] for name in fields}
        return replace(self, **rows)

    def at(self, iou_threshold: float, *, touching: bool = False) -> "DetectionMatches":
        """The same detections and boxes matched anew, at another threshold; see `match_coco`."""
        least = min(iou_threshold, 1 - 1e-10)
        gt_index, iou = _greedy(self, least, touching)
        ignored = _in_crowds(self, least, touching) & (gt_index < 0)
        more = {"iou": iou, "gt_index": gt_index, "correct": gt_index >= 0, "ignored": ignored}
        return replace(self, iou_threshold=iou_threshold, **more)

    def in_images(self, kept: Tensor) -> "DetectionMatches":
        """The detections and boxes of the images at which a bool (images,) is true; the others are gone."""
        rows = self.where(kept[self.images])
        mine, crowds = kept[self.truth_images], kept[self.crowd_images]
        image, truth = kept.long().cumsum(0) - 1, mine.long().cumsum(0) - 1
        at = rows.gt_index
        return replace(
            rows,
            images=image[rows.images],
            gt_index=torch.where(at >= 0, truth[at.clamp(min=0)] if len(truth) else at, -1),
            truth_boxes=self.truth_boxes[mine],
            truth_labels=self.truth_labels[mine],
            truth_images=image[self.truth_images[mine]],
            crowd_boxes=self.crowd_boxes[crowds],
            crowd_labels=self.crowd_labels[crowds],
            crowd_images=image[self.crowd_images[crowds]],
            image_sizes=self.image_sizes[kept],
            image_ids=tuple(i for i, some in zip(self.image_ids, kept.tolist(), strict=True) if some),
        )

    def to_coco(self) -> list[dict[str, Any]]:
        """The detections as COCO results."""
        sides = torch.cat([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], 1).tolist()
        rows = zip(self.images.tolist(), self.labels.tolist(), sides, self.scores.tolist(), strict=True)
        return [
            {"image_id": self.image_ids[i], "category_id": self.category_ids[c], "bbox": box, "score": score}
            for i, c, box, score in rows
        ]

    @property
    def counted(self) -> "DetectionMatches":
        """Without the ignored ones."""
        return self.where(~self.ignored)


def match_coco(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    touching: bool = False,
) -> DetectionMatches:
    """Match COCO results with a COCO data set at one IoU threshold.

    Args:
        ground_truth: As `coco_ap` takes it.
        detections: As `coco_ap` takes them, with boxes and with scores in [0, 1].
        iou_threshold: In [0, 1). At 0 any overlap counts.
        max_detections: Per image and class, the best scored.
        touching: At the threshold 0, let boxes that do not overlap match too, as pycocotools does.

    Raises:
        InputError: An unknown image or category id, a repeated id, a box that is not four finite numbers, a score
            outside [0, 1].

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> match_coco(truth, found).iou.tolist()
        [0.8]
    """
    images = _sorted_by_id(ground_truth.get("images", ()), "image")
    categories = _sorted_by_id(ground_truth.get("categories", ()), "category")
    image_index = {key: i for i, (key, _) in enumerate(images)}
    category_index = {key: i for i, (key, _) in enumerate(categories)}

    wanted: list[tuple[list[float], int, int]] = []
    crowds: list[tuple[list[float], int, int]] = []
    for number, entry in enumerate(ground_truth.get("annotations", ()), 1):
        name = f"annotation {entry.get('id', f'number {number}')} of the ground truth"
        image, label = (
            _lookup(entry, "image_id", image_index, name),
            _lookup(entry, "category_id", category_index, name),
        )
        rows = crowds if _truth_fields(entry, name)["iscrowd"] else wanted
        rows.append((_xyxy(_shape(entry, name, "bbox"), name), label, image))
    found: list[tuple[list[float], int, int]] = []
    scores: list[float] = []
    for number, entry in enumerate(detections, 1):
        name = f"detection number {number}"
        image, label = (
            _lookup(entry, "image_id", image_index, name),
            _lookup(entry, "category_id", category_index, name),
        )
        score = _finite(entry.get("score"), "score", name)
        if not 0 <= score <= 1:
            raise InputError(f"{name}: the score is {score:g}, expected a probability in [0, 1]")
        scores.append(score)
        found.append((_xyxy(_shape(entry, name, "bbox"), name), label, image))

    boxes, labels, of = _columns(found)
    truth_boxes, truth_labels, truth_images = _columns(wanted)
    crowd_boxes, crowd_labels, crowd_images = _columns(crowds)
    ranked = torch.tensor(scores, dtype=torch.float64)
    kept = within_limit(ranked, of * len(categories) + labels, max_detections)
    sizes = [[float(image.get(side) or "nan") for side in ("width", "height")] for _, image in images]
    none = torch.zeros(int(kept.sum()), dtype=torch.bool)
    unmatched = DetectionMatches(
        scores=ranked[kept],
        labels=labels[kept],
        boxes=boxes[kept],
        images=of[kept],
        iou=none.double(),
        correct=none,
        ignored=none,
        gt_index=none.long() - 1,
        truth_boxes=truth_boxes,
        truth_labels=truth_labels,
        truth_images=truth_images,
        image_sizes=torch.tensor(sizes, dtype=torch.float64).reshape(-1, 2),
        image_ids=tuple(key for key, _ in images),
        category_ids=tuple(key for key, _ in categories),
        names=tuple(_unique_names([category for _, category in categories])),
        iou_threshold=iou_threshold,
        crowd_boxes=crowd_boxes,
        crowd_labels=crowd_labels,
        crowd_images=crowd_images,
    )
    return unmatched.at(iou_threshold, touching=touching)


def select_images(ground_truth: Mapping[str, Any], image_ids: Iterable[Any]) -> dict[str, Any]:
    """A COCO data set with some of its images and their annotations.

    Example:
        >>> truth = {"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 2}], "categories": []}
        >>> select_images(truth, [1])["annotations"]
        []
    """
    wanted = {id_key(i) for i in image_ids}
    images = [image for image in ground_truth["images"] if id_key(image["id"]) in wanted]
    annotations = [a for a in ground_truth.get("annotations", ()) if id_key(a["image_id"]) in wanted]
    return {**ground_truth, "images": images, "annotations": annotations}


def _columns(rows: Sequence[tuple[list[float], int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels, images."""
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float64).reshape(-1, 4)
    places = torch.tensor([row[1:] for row in rows], dtype=torch.int64).reshape(-1, 2)
    return boxes, places[:, 0], places[:, 1]


def _greedy(matches: "DetectionMatches", least: float, touching: bool) -> tuple[Tensor, Tensor]:
    """For each detection, best first, the free box of its image and class that it overlaps most, and the overlap."""
    k = len(matches.names)
    i, j = pairs(matches.images * k + matches.labels, matches.truth_images * k + matches.truth_labels)
    shared, union = overlap(matches.boxes[i], matches.truth_boxes[j])
    ious = torch.where(union > 0, shared / union, 0.0)
    near = (ious >= least) & ((ious > 0) | touching)
    free = torch.zeros(len(matches.truth_boxes), dtype=torch.bool)
    # subtle: of equal overlaps pycocotools takes the last
    return greedy(matches.scores, i[near], j[near], ious[near], free, last=True)


def _in_crowds(matches: "DetectionMatches", least: float, touching: bool) -> Tensor:
    """bool (n,): a crowd region of its image and class covers so large a share of the box."""
    covered = torch.zeros(len(matches), dtype=torch.bool)
    k = len(matches.names)
    i, j = pairs(matches.images * k + matches.labels, matches.crowd_images * k + matches.crowd_labels)
    share = (intersection(matches.boxes[i], matches.crowd_boxes[j]) / area(matches.boxes[i])).nan_to_num(0.0)
    covered[i[(share >= least) & ((share > 0) | touching)]] = True
    return covered


def _xyxy(shape: Mapping[str, Any], name: str) -> list[float]:
    if "bbox" not in shape:
        raise InputError(f'{name} has no "bbox", which matching boxes needs')
    x, y, w, h = shape["bbox"]
    return [x, y, x + w, y + h]
