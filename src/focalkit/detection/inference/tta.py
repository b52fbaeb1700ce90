"""Test-time augmentation: every image seen at several sizes and mirrored, and all that was found merged.

It costs as many passes as there are looks. Not here: weighted averages of boxes, other transformations.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from focalkit.detection.inference.calibrated import Cut
from focalkit.detection.inference.detections import Detections
from focalkit.detection.inference.detector import WINDOW, Detector, with_sources
from focalkit.detection.inference.merge import across_looks, merge
from focalkit.images import as_image


@dataclass(frozen=True, eq=False)
class AugmentedDetector:
    """A detector that looks several times; `predict` and `stream` are those of `Detector`.

    The looks' detections, each list already suppressed, are suppressed again together, with the detector's threshold
    and limit; where it suppresses nothing itself, at an IoU of 0.6. With `scales=(1.0,)` and no flip the result is the
    detector's.

    Attributes:
        detector: Looks at the images.
        scales: Factors on its `min_size` and `max_size`.
        flip: Look at the mirrored images too.

    Example:
        >>> augmented = AugmentedDetector(Detector.from_run("runs/first"))   # doctest: +SKIP
        >>> augmented.predict("photo.jpg")[0].boxes                          # doctest: +SKIP
    """

    detector: Detector
    scales: tuple[float, ...] = (0.8, 1.0, 1.25)
    flip: bool = True

    def __post_init__(self) -> None:
        check_scales(self.scales)

    @property
    def names(self) -> tuple[str, ...] | None:
        return self.detector.names

    @property
    def category_ids(self) -> tuple[int, ...] | None:
        return self.detector.category_ids

    @property
    def iou_threshold(self) -> float:
        return across_looks(self.detector.postprocess.iou_threshold)

    def predict(self, images: Any, score_threshold: Cut = None, batch_size: int = 8) -> list[Detections]:
        """As `Detector.predict`."""
        return with_sources(lambda given: self.stream(given, score_threshold, batch_size), images)

    def stream(self, images: Iterable[Any], score_threshold: Cut = None, batch_size: int = 8) -> Iterator[Detections]:
        """As `Detector.stream`."""
        source = iter(images)
        while chunk := [as_image(image) for image in islice(source, batch_size * WINDOW)]:
            looks = [
                self._look(chunk, scale, flip, score_threshold, batch_size)
                for scale in self.scales
                for flip in ((False, True) if self.flip else (False,))
            ]
            for parts in zip(*looks, strict=True):
                yield merge(parts, self.iou_threshold, self.detector.postprocess.max_detections)

    def _look(
        self, images: list[Tensor], scale: float, flip: bool, score_threshold: Cut, batch_size: int
    ) -> list[Detections]:
        scaled = copy.copy(self.detector)  # the same model
        scaled.min_size, scaled.max_size = (max(1, round(side * scale)) for side in (scaled.min_size, scaled.max_size))
        if not flip:
            return scaled.predict(images, score_threshold, batch_size)
        found = scaled.predict([image.flip(2) for image in images], score_threshold, batch_size)
        return [_mirrored(d, image.shape[2]) for d, image in zip(found, images, strict=True)]


def check_scales(scales: tuple[float, ...]) -> None:
    """Raises ValueError for what no scale can be."""
    if not scales or not all(0 < scale <= 100 for scale in scales):
        raise ValueError(f"expected one or more scales above 0, and at most 100, got {scales}")


def _mirrored(found: Detections, width: int) -> Detections:
    x0, y0, x1, y1 = found.boxes.unbind(1)
    return replace(found, boxes=torch.stack([width - x1, y0, width - x0, y1], dim=1))
