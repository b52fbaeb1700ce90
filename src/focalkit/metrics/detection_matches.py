"""COCO results matched with their ground truth: one row per detection, for calibration and the choice of thresholds.

The rule is pycocotools': per image and class, best score first, each detection takes the free ground-truth box it
overlaps most, if at least to the threshold; one that lies in a crowd region instead is ignored; at most 100 detections
per image and class.

Not here: masks, keypoints, LVIS's federated rule.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .coco_input import _finite, _key, _lookup, _shape, _sorted_by_id, _truth_fields, _unique_names
from .matching import iou_matrix


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

    def in_images(self, kept: Tensor) -> "DetectionMatches":
        """The detections and boxes of the images at which a bool (images,) is true; the others are gone."""
        rows = self.where(kept[self.images])
        mine = kept[self.truth_images]
        image, truth = kept.long().cumsum(0) - 1, mine.long().cumsum(0) - 1
        at = rows.gt_index
        return replace(
            rows,
            images=image[rows.images],
            gt_index=torch.where(at >= 0, truth[at.clamp(min=0)] if len(truth) else at, -1),
            truth_boxes=self.truth_boxes[mine],
            truth_labels=self.truth_labels[mine],
            truth_images=image[self.truth_images[mine]],
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

    # the boxes of an image and class: those to find, by their number, and crowds
    gt_boxes: dict[tuple[int, int], tuple[list[int], list[list[float]]]] = defaultdict(lambda: ([], []))
    wanted: list[tuple[list[float], int, int]] = []
    for number, entry in enumerate(ground_truth.get("annotations", ()), 1):
        name = f"annotation {entry.get('id', f'number {number}')} of the ground truth"
        place = _lookup(entry, "image_id", image_index, name), _lookup(entry, "category_id", category_index, name)
        box = _xyxy(_shape(entry, name, "bbox"), name)
        if _truth_fields(entry, name)["iscrowd"]:
            gt_boxes[place][1].append(box)
        else:
            gt_boxes[place][0].append(len(wanted))
            wanted.append((box, place[1], place[0]))
    truth_boxes = torch.tensor([box for box, *_ in wanted], dtype=torch.float64).reshape(-1, 4)

    rows: list[tuple[float, int, int, list[float]]] = []
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, entry in enumerate(detections, 1):
        name = f"detection number {number}"
        image, label = (
            _lookup(entry, "image_id", image_index, name),
            _lookup(entry, "category_id", category_index, name),
        )
        score = _finite(entry.get("score"), "score", name)
        if not 0 <= score <= 1:
            raise InputError(f"{name}: the score is {score:g}, expected a probability in [0, 1]")
        groups[image, label].append(len(rows))
        rows.append((score, label, image, _xyxy(_shape(entry, name, "bbox"), name)))

    iou, state, taken, kept = [0.0] * len(rows), [FREE] * len(rows), [-1] * len(rows), [False] * len(rows)
    boxes = torch.tensor([row[3] for row in rows], dtype=torch.float64).reshape(-1, 4)
    for place, members in groups.items():
        ranked = sorted(members, key=lambda row: -rows[row][0])[:max_detections]  # stable, as pycocotools
        for row in ranked:
            kept[row] = True
        if place in gt_boxes:
            numbers, crowds = gt_boxes[place]
            found = _match_group(boxes[ranked], truth_boxes[numbers], crowds, iou_threshold, touching)
            for row, (kind, at, overlap) in zip(ranked, found, strict=True):
                iou[row], state[row], taken[row] = overlap, kind, numbers[at] if at >= 0 else -1
    states = torch.tensor(state, dtype=torch.int8)
    sizes = [[float(image.get(side) or "nan") for side in ("width", "height")] for _, image in images]
    every = DetectionMatches(
        scores=torch.tensor([row[0] for row in rows], dtype=torch.float64),
        labels=torch.tensor([row[1] for row in rows], dtype=torch.int64),
        boxes=boxes,
        images=torch.tensor([row[2] for row in rows], dtype=torch.int64),
        iou=torch.tensor(iou, dtype=torch.float64),
        correct=states == CORRECT,
        ignored=states == IGNORED,
        gt_index=torch.tensor(taken, dtype=torch.int64),
        truth_boxes=truth_boxes,
        truth_labels=torch.tensor([label for _, label, _ in wanted], dtype=torch.int64),
        truth_images=torch.tensor([image for *_, image in wanted], dtype=torch.int64),
        image_sizes=torch.tensor(sizes, dtype=torch.float64).reshape(-1, 2),
        image_ids=tuple(key for key, _ in images),
        category_ids=tuple(key for key, _ in categories),
        names=tuple(_unique_names([category for _, category in categories])),
        iou_threshold=iou_threshold,
    )
    return every.where(torch.tensor(kept, dtype=torch.bool))


def by_image(matches: DetectionMatches, kept: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Places of the detections at which a bool (n,) is true, in their order, and of the boxes, image by image."""
    rows = kept.nonzero()[:, 0]
    rows = rows[matches.images[rows].argsort(stable=True)]
    gt_boxes = matches.truth_images.argsort(stable=True)
    images, counts = matches.images[rows].unique_consecutive(return_counts=True)
    ends = torch.searchsorted(matches.truth_images[gt_boxes], torch.stack([images, images + 1], 1)).tolist()
    for of, (first, last) in zip(rows.split(counts.tolist()), ends, strict=True):
        yield of, gt_boxes[first:last]


def select_images(ground_truth: Mapping[str, Any], image_ids: Iterable[Any]) -> dict[str, Any]:
    """A COCO data set with some of its images and their annotations.

    Example:
        >>> truth = {"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 2}], "categories": []}
        >>> select_images(truth, [1])["annotations"]
        []
    """
    wanted = {_key(i) for i in image_ids}
    images = [image for image in ground_truth["images"] if _key(image["id"]) in wanted]
    annotations = [a for a in ground_truth.get("annotations", ()) if _key(a["image_id"]) in wanted]
    return {**ground_truth, "images": images, "annotations": annotations}


FREE, CORRECT, IGNORED = 0, 1, 2


def _match_group(
    boxes: Tensor, wanted: Tensor, crowds: list[list[float]], threshold: float, touching: bool
) -> list[tuple[int, int, float]]:
    """The greedy rule within one image and class, boxes best first: what each is, the box it takes, their overlap."""
    inside = _inside(boxes, torch.tensor(crowds, dtype=torch.float64).reshape(-1, 4)).tolist()
    least, free, found = min(threshold, 1 - 1e-10), set(range(len(wanted))), []
    for overlap, within in zip(iou_matrix(boxes, wanted).tolist(), inside, strict=True):
        # subtle: of equal overlaps pycocotools takes the last
        best = max(free, key=lambda j: (overlap[j], j), default=None)
        if best is not None and overlap[best] >= least and (overlap[best] > 0 or touching):
            free.remove(best)
            found.append((CORRECT, best, overlap[best]))
        elif within >= least and (within > 0 or (touching and crowds)):
            found.append((IGNORED, -1, 0.0))
        else:
            found.append((FREE, -1, 0.0))
    return found


def _inside(boxes: Tensor, crowds: Tensor) -> Tensor:
    """The largest share of each box that one crowd region covers; 0 without regions."""
    if not len(crowds):
        return torch.zeros(len(boxes), dtype=torch.float64)
    top_left = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    sides = (torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:]) - top_left).clamp(min=0)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    return (sides.prod(2) / area[:, None]).nan_to_num(0.0).amax(1)


def _xyxy(shape: Mapping[str, Any], name: str) -> list[float]:
    if "bbox" not in shape:
        raise InputError(f'{name} has no "bbox", which matching boxes needs')
    x, y, w, h = shape["bbox"]
    return [x, y, x + w, y + h]
