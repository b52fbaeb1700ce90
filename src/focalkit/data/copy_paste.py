"""Copy-paste (Ghiasi et al., 2021, arXiv 2012.07177): objects of other images, rare classes more often.

An object is cut out along its polygon where the annotations have one, else with its box. It goes where it covers no
box: the paper pastes anywhere and mends the masks that it hides, which boxes do not allow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from focalkit.data._coco_values import whole
from focalkit.data._records import DetectionData
from focalkit.data.check import Findings
from focalkit.data.coco import load_file
from focalkit.data.transforms import Sample, resized, uniform
from focalkit.errors import ConfigError
from focalkit.sampling import draw_weights

MOST = 3
"""Objects pasted into one image"""
TRIES = 10
"""Places tried for each"""
_SLACK = 3.0
"""Pixels by which a polygon may leave its box; one further away belongs to another annotation"""

Polygons = Mapping[int, list[np.ndarray]]
"""Annotation id -> outlines (n, 2), x and y in pixels of the file."""


@dataclass(frozen=True)
class Objects:
    """What can be pasted.

    Attributes:
        images: int64 (n,), index of the image of each object.
        rows: int64 (n,), its row among the image's boxes that are no crowd.
        until: float64 (n,), the cumulated chance of being drawn.
        outlines: int64 (n,) -> the annotation ids, by which `polygons` are found.
        polygons: Outlines, where the annotations have some.
    """

    images: np.ndarray
    rows: np.ndarray
    until: np.ndarray
    outlines: np.ndarray
    polygons: Polygons

    @classmethod
    def of(cls, data: DetectionData, power: float) -> "Objects":
        """All objects of a split; a class with n of them is drawn in proportion to n^(1 - power).

        Raises:
            ConfigError: There is none.
        """
        found = [
            (index, row, label, annotation)
            for index, image in enumerate(data.images)
            for row, (label, annotation) in enumerate(
                (label, annotation)
                for label, annotation, crowd in zip(image.labels, image.annotation_ids, image.crowd, strict=True)
                if not crowd
            )
        ]
        if not found:
            raise ConfigError(f"{data.source}: augment.copy_paste has nothing to paste, {data.split} has no boxes")
        images, rows, labels, annotations = np.array(found, dtype=np.int64).T
        chances = np.cumsum(draw_weights(labels, power))
        return cls(images, rows, chances / chances[-1], annotations, read_polygons(data))

    def draw(self, generator: torch.Generator) -> tuple[int, int, list[np.ndarray]]:
        """Index of an image, row of its box, and its outlines; none where only the box is known."""
        n = min(int(np.searchsorted(self.until, uniform(0, 1, generator), side="right")), len(self.until) - 1)
        return int(self.images[n]), int(self.rows[n]), self.polygons.get(int(self.outlines[n]), [])


def read_polygons(data: DetectionData) -> Polygons:
    """The polygons in the COCO file that a split was read from; none of other formats."""
    if data.source.suffix.lower() != ".json":
        return {}
    boxes = {
        annotation: box
        for image in data.images
        for annotation, box in zip(image.annotation_ids, image.boxes, strict=True)
    }

    findings = Findings()

    def outlines(annotation: Any) -> tuple[int, list[np.ndarray]] | None:
        number, shapes = whole(annotation.get("id"), "ids", "", findings), annotation.get("segmentation")
        box = None if number is None else boxes.get(number)
        if number is None or box is None or not isinstance(shapes, list):
            return None  # a dictionary is a run-length code: those of crowds mostly
        plain = [s for s in shapes if isinstance(s, list) and len(s) >= 6 and len(s) % 2 == 0]
        try:
            found = [np.array(s, dtype=np.float32).reshape(-1, 2) for s in plain]
        except (TypeError, ValueError):  # words, lists in lists: the box is good
            return None
        return (number, found) if found and _matches(np.concatenate(found), box) else None

    found = load_file(data.source, findings, outlines).get("annotations", ())  # no such key: another format's JSON
    return dict(pair for pair in found if pair is not None)


def _matches(points: np.ndarray, box: tuple[float, float, float, float]) -> bool:
    low, high = points.min(0), points.max(0)
    return bool(np.abs(np.array([*low, *high]) - np.array(box)).max() <= _SLACK)


def paste(sample: Sample, source: Sample, row: int, outlines: list[np.ndarray], generator: torch.Generator) -> Sample:
    """Put one object of another picture where it covers no box; as it is where no such place was found.

    The object keeps its size relative to the short side of the picture.

    Args:
        sample: The picture that gets it.
        source: The picture that it is in.
        row: Of `source.boxes`.
        outlines: (n, 2) each, in pixels of `source`; without any, all of the box is taken.
        generator: The only source of chance.
    """
    height, width = source.size
    x0, y0 = source.boxes[row, :2].floor().int().clamp(min=0).tolist()
    x1, y1 = source.boxes[row, 2:].ceil().int().tolist()
    x1, y1 = min(x1, width), min(y1, height)
    zoom = min(sample.size) / min(source.size)
    h, w = max(1, round((y1 - y0) * zoom)), max(1, round((x1 - x0) * zoom))
    if h >= sample.size[0] or w >= sample.size[1]:
        return sample
    inside = source.boxes[row : row + 1] - torch.tensor([x0, y0, x0, y0])
    patch = Sample(source.image[:, y0:y1, x0:x1], inside, source.labels[row : row + 1], sample.ignore_boxes[:0])
    patch = resized(patch, (h, w))
    mask = _mask(outlines, (x0, y0), (x1 - x0, y1 - y0), (w, h))
    for _ in range(TRIES):
        top, left = (int(uniform(0, side - own + 1, generator)) for side, own in zip(sample.size, (h, w), strict=True))
        box = patch.boxes + torch.tensor([left, top, left, top])
        if not _touches(torch.cat([sample.boxes, sample.ignore_boxes]), box[0]):
            break
    else:
        return sample
    image = sample.image.clone()
    place = image[:, top : top + h, left : left + w]
    place.copy_(torch.where(mask, patch.image, place))
    return Sample(image, torch.cat([sample.boxes, box]), torch.cat([sample.labels, patch.labels]), sample.ignore_boxes)


def _touches(boxes: Tensor, box: Tensor) -> bool:
    return bool(((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2])).all(1).any())


def _mask(outlines: list[np.ndarray], corner: tuple[int, int], size: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bool (h, w): what of a patch is the object; all of it without outlines. Sizes are (width, height)."""
    if not outlines:
        return torch.ones(new[1], new[0], dtype=torch.bool)
    picture = Image.new("1", new)
    draw = ImageDraw.Draw(picture)
    for outline in outlines:
        points = (outline - np.array(corner)) * (np.array(new) / np.array(size))
        draw.polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return torch.from_numpy(np.array(picture))
