"""What every reader returns: the records of one split, in one form whatever the format on disk.

Boxes are xyxy in pixels of the file, labels are 0..K-1 in ascending order of the category id. Nothing here reads files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from focalkit._html import table

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Category:
    """One class, with the id it has in the file."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image and its annotations; row i of every list belongs to the same annotation.

    Attributes:
        id: The id in the data set; for VOC and YOLO, 1.. in the order of the split.
        path: The file.
        width: Pixels, after the EXIF rotation.
        height: Pixels, after the EXIF rotation.
        boxes: xyxy in pixels.
        labels: 0..K-1.
        areas: COCO's `area` (of the mask where there is one), otherwise width * height.
        crowd: True for regions to ignore: COCO `iscrowd`, VOC `difficult`.
        annotation_ids: The ids in the data set.
        file_name: The name as the data set spells it.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    labels: tuple[int, ...] = ()
    areas: tuple[float, ...] = ()
    crowd: tuple[bool, ...] = ()
    annotation_ids: tuple[int, ...] = ()
    file_name: str = ""


@dataclass(frozen=True)
class DetectionData:
    """One split of a detection data set, read and checked.

    Attributes:
        split: "train", "val", "test" or "all".
        categories: In ascending order of their id; the position is the label.
        images: Every image of the split, those without boxes too.
        warnings: One line per kind of oddity, with its count.
        source: The file or folder it was read from.
        division: Of a made split: part -> names of its images; None where the split is the data's own.
        class_map: Where classes were chosen or merged: the data's class -> the one used, None for one left out.

    Example:
        >>> data = open_detection_data("my-data", "val")   # doctest: +SKIP
        >>> data.names, len(data.images)                   # doctest: +SKIP
        (('cat', 'dog'), 120)
    """

    split: str
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...] = field(repr=False)
    warnings: tuple[str, ...]
    source: Path
    division: Mapping[str, Sequence[str]] | None = field(default=None, repr=False)
    class_map: Mapping[str, str | None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def _repr_html_(self) -> str:
        """In a notebook: how many images, and the boxes of each class, the most frequent first."""
        found = sorted(zip(self.names, self.class_counts(), self.image_counts(), strict=True), key=lambda row: -row[1])
        head = f"{self.split}: {len(self):,} images of {self.source}"
        return f"<p>{escape(head)}</p>" + table(["class", "boxes", "images"], found)

    @property
    def num_classes(self) -> int:
        return len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.categories)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own id of label 0, 1, ..."""
        return tuple(c.id for c in self.categories)

    def class_counts(self) -> list[int]:
        """Boxes per label; regions to ignore are not counted."""
        counts = [0] * self.num_classes
        for image in self.images:
            for label, crowd in zip(image.labels, image.crowd, strict=True):
                if not crowd:
                    counts[label] += 1
        return counts

    def image_counts(self) -> list[int]:
        """Images per label that show it; regions to ignore are not counted."""
        counts = [0] * self.num_classes
        for image in self.images:
            for label in {label for label, crowd in zip(image.labels, image.crowd, strict=True) if not crowd}:
                counts[label] += 1
        return counts

    def to_coco(self) -> dict[str, Any]:
        """The split as a COCO ground-truth dictionary, with the data set's own category and image ids.

        Annotations are numbered again from 1 because pycocotools never counts an annotation of id 0 as matched.
        """
        annotations: list[dict[str, Any]] = []
        for image in self.images:
            rows = zip(image.boxes, image.labels, image.areas, image.crowd, strict=True)
            for (x0, y0, x1, y1), label, area, crowd in rows:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image.id,
                        "category_id": self.categories[label].id,
                        # subtle: (x + w) - x is not w in floating point; ten decimals give the file's number back
                        "bbox": [x0, y0, round(x1 - x0, 10), round(y1 - y0, 10)],
                        "area": area,
                        "iscrowd": int(crowd),
                    }
                )
        images = [{"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height} for i in self.images]
        categories = [{"id": c.id, "name": c.name} for c in self.categories]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}
