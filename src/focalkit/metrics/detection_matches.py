"""COCO results matched with their ground truth: one row per detection, for calibration and the choice of thresholds.

The rule is pycocotools': per image and class, best score first, each detection takes the free ground-truth box it
overlaps most, if at least to the threshold; one that lies in a crowd region instead is ignored; at most 100 detections
per image and class.

Not here: masks, keypoints, LVIS's federated rule.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .coco import _finite, _lookup, _shape, _sorted_by_id, _truth_fields, _unique_names
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
        num_truths: (k,) int64: boxes to find, crowds not among them.
        image_sizes: (images, 2) float64 width and height; NaN where the ground truth does not say.
        image_ids: Of the ground truth, ascending.
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
    num_truths: Tensor
    image_sizes: Tensor
    image_ids: tuple[Any, ...]
    names: tuple[str, ...]
    iou_threshold: float

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, kept: Tensor) -> "DetectionMatches":
        """The detections at which a bool (n,) is true; the ground truth stays."""
        fields = ("scores", "labels", "boxes", "images", "iou", "correct", "ignored")
        rows = {name: getattr(self, name)[kept] for name in fields}
        return DetectionMatches(**{**self.__dict__, **rows})

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

    truths: dict[tuple[int, int], list[tuple[list[float], bool]]] = defaultdict(list)
    num_truths = [0] * len(categories)
    for number, entry in enumerate(ground_truth.get("annotations", ()), 1):
        name = f"annotation {entry.get('id', f'number {number}')} of the ground truth"
        place = _lookup(entry, "image_id", image_index, name), _lookup(entry, "category_id", category_index, name)
        crowd = bool(_truth_fields(entry, name)["iscrowd"])
        truths[place].append((_xyxy(_shape(entry, name, "bbox"), name), crowd))
        num_truths[place[1]] += not crowd

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

    iou, state, kept = [0.0] * len(rows), [FREE] * len(rows), [False] * len(rows)
    boxes = torch.tensor([row[3] for row in rows], dtype=torch.float64).reshape(-1, 4)
    for place, members in groups.items():
        ranked = sorted(members, key=lambda row: -rows[row][0])[:max_detections]  # stable, as pycocotools
        for row in ranked:
            kept[row] = True
        if place in truths:
            _match_group(ranked, boxes[ranked], truths[place], iou_threshold, touching, iou, state)
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
        num_truths=torch.tensor(num_truths, dtype=torch.int64),
        image_sizes=torch.tensor(sizes, dtype=torch.float64).reshape(-1, 2),
        image_ids=tuple(image["id"] for _, image in images),
        names=tuple(_unique_names([category for _, category in categories])),
        iou_threshold=iou_threshold,
    )
    return every.where(torch.tensor(kept, dtype=torch.bool))


FREE, CORRECT, IGNORED = 0, 1, 2


def _match_group(
    ranked: list[int],
    boxes: Tensor,
    truths: list[tuple[list[float], bool]],
    threshold: float,
    touching: bool,
    iou: list[float],
    state: list[int],
) -> None:
    """The greedy rule within one image and class; writes into `iou` and `state`."""
    wanted = torch.tensor([box for box, crowd in truths if not crowd], dtype=torch.float64).reshape(-1, 4)
    crowds = torch.tensor([box for box, crowd in truths if crowd], dtype=torch.float64).reshape(-1, 4)
    overlaps = iou_matrix(boxes, wanted).tolist()
    inside = _inside(boxes, crowds).tolist()
    least = min(threshold, 1 - 1e-10)
    free = set(range(len(wanted)))
    for row, overlap, within in zip(ranked, overlaps, inside, strict=True):
        # subtle: of equal overlaps pycocotools takes the last
        best = max(free, key=lambda j: (overlap[j], j), default=None)
        if best is not None and overlap[best] >= least and (overlap[best] > 0 or touching):
            free.remove(best)
            iou[row], state[row] = overlap[best], CORRECT
        elif within >= least and (within > 0 or (touching and len(crowds))):
            state[row] = IGNORED


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
