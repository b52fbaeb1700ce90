"""The result of a detector for one image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from focalkit.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


ROWS, SIDE = 10, 800
"""In a notebook: rows of the table, and long side of the picture in pixels."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes, scores and classes, the best first.

    Attributes:
        boxes: float32 (d, 4), xyxy in pixels.
        scores: float32 (d,), 0 to 1.
        labels: int64 (d,), 0..K-1.
        names: Names of the K classes, where known.
        source: The image's file, where `Detector.predict` was given one, so that a notebook shows it with the boxes;
            of other images `draw` makes the picture.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    names: tuple[str, ...] | None = None
    source: str | os.PathLike[str] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def cpu(self) -> Detections:
        return replace(self, boxes=self.boxes.cpu(), scores=self.scores.cpu(), labels=self.labels.cpu())

    def rescale(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> Detections:
        """Boxes of an image of (height, width) `from_size` in the pixels of the same image at `to_size`."""
        y, x = to_size[0] / from_size[0], to_size[1] / from_size[1]
        return replace(self, boxes=self.boxes * self.boxes.new_tensor([x, y, x, y]), source=None)

    def above(self, score_threshold: float) -> Detections:
        """Only the detections that score at least this much."""
        keep = self.scores >= score_threshold
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])

    def first(self, most: int) -> Detections:
        """The best `most` of them."""
        if len(self) <= most:
            return self
        return replace(self, boxes=self.boxes[:most], scores=self.scores[:most], labels=self.labels[:most])

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO results: one dict per detection, with the box as [x, y, width, height].

        Args:
            image_id: The id in the data set.
            category_ids: The data set's id of each class 0..K-1; without it, the class index is written.
        """
        boxes, scores, labels = self.boxes.tolist(), self.scores.tolist(), self.labels.tolist()
        ids = labels if category_ids is None else [category_ids[label] for label in labels]
        return [
            {"image_id": image_id, "category_id": i, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            for (x0, y0, x1, y1), score, i in zip(boxes, scores, ids, strict=True)
        ]

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`.

        Raises:
            InputError: The package supervision is not installed.
        """
        try:
            import supervision  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(
                "to_supervision() needs the package supervision, which is not installed: pip install supervision"
            ) from None
        import numpy as np

        labels = self.labels.cpu().numpy()
        names = {} if self.names is None else {"class_name": np.array([self.names[label] for label in labels])}
        return supervision.Detections(
            xyxy=self.boxes.cpu().numpy().reshape(-1, 4),
            confidence=self.scores.cpu().numpy(),
            class_id=labels,
            data=names,
        )

    def draw(self, image: Image | Tensor | Any) -> Image:
        """A copy of the image with the boxes, class names and scores drawn on it."""
        from focalkit.images.draw import draw_detections

        return draw_detections(image, self.boxes, self.labels, self.scores, self.names)

    def _repr_html_(self) -> str:
        """In a notebook: the picture, where it is known, and the first rows."""
        from focalkit._html import table

        names = self.names or ()
        rows = [
            (names[label] if label < len(names) else f"class {label}", score, ", ".join(f"{v:.0f}" for v in box))
            for label, score, box in zip(
                self.labels[:ROWS].tolist(), self.scores[:ROWS].tolist(), self.boxes[:ROWS].tolist(), strict=True
            )
        ]
        more = f"<p>and {len(self) - ROWS} more</p>" if len(self) > ROWS else ""
        text = table(["class", "score", "x0, y0, x1, y1"], rows) if rows else "<p>no detections</p>"
        return self._picture() + text + more

    def _picture(self) -> str:
        import base64
        import io

        if self.source is None:
            return ""
        try:
            picture = self.draw(self.source)
        except InputError:  # the file is gone
            return ""
        picture.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=85)
        data = base64.b64encode(content.getvalue()).decode()
        return f'<img src="data:image/jpeg;base64,{data}" alt="{len(self)} detections">'
