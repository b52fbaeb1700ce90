"""Large images with small objects: predicted tile by tile at full resolution, and merged.

Neighbouring tiles overlap. A box that comes near a border which its tile has inside the image is a cut object; it is
dropped, because an object smaller than three quarters of the overlap lies whole in another tile. Larger ones are taken
from a look at the whole image. What two looks both saw is suppressed as everywhere else.

A file of more than 179 million pixels is read tile by tile, in bounded memory (`pip install 'focalkit[large]'`).

Not here: tiles of several sizes; merging the parts of an object that no look shows whole.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from focalkit.detection.inference.calibrated import Cut
from focalkit.detection.inference.detections import Detections
from focalkit.detection.inference.detector import Detector, with_sources
from focalkit.detection.inference.merge import across_looks, merge
from focalkit.detection.inference.tta import AugmentedDetector
from focalkit.images import LargePicture, as_image, is_large

NEAR = 1 / 8
"""Of the overlap: a box as near as this to an inner border counts as cut."""

OVERVIEW = 4096
"""Long side in pixels at which a picture too large for memory is looked at as a whole."""

Tile = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the image."""

Progress = Callable[[Iterable[Detections], int], Iterable[Detections]]


@dataclass(frozen=True, eq=False)
class TiledDetector:
    """A detector that looks at tiles of an image; `predict` and `stream` are those of `Detector`.

    A tile is resized as an image of its size is. An image no larger than a tile gives what the detector gives.

    Attributes:
        detector: Looks at the tiles. Its limit on detections counts for each tile, not for the image.
        size: Side of a tile in pixels of the image.
        overlap: Of neighbouring tiles, as a share of the side, 0 to 0.9. Objects should be smaller than
            `0.75 * overlap * size`.
        whole: Look at the whole image too, for objects larger than that.
        progress: Called with the tiles' detections of one image and their number; gives them back one by one and may
            show how far it is.

    Example:
        >>> tiled = TiledDetector(Detector.from_run("runs/first"), size=640)   # doctest: +SKIP
        >>> tiled.predict("aerial.png")[0].boxes                               # doctest: +SKIP
    """

    detector: Detector | AugmentedDetector
    size: int = 640
    overlap: float = 0.2
    whole: bool = True
    progress: Progress | None = None

    def __post_init__(self) -> None:
        check_tiles(self.size, self.overlap)
        found = self.detector.detector if isinstance(self.detector, AugmentedDetector) else self.detector
        if found.calibration is not None and found.calibration.scores.method == "box":
            raise ValueError(
                'the calibration "box" goes by places in the whole image, which a tile does not tell: calibrate with'
                " another --method, or predict with --no-calibration"
            )

    @property
    def names(self) -> tuple[str, ...] | None:
        return self.detector.names

    @property
    def category_ids(self) -> tuple[int, ...] | None:
        return self.detector.category_ids

    @property
    def iou_threshold(self) -> float:
        found = self.detector
        own = found.iou_threshold if isinstance(found, AugmentedDetector) else found.postprocess.iou_threshold
        return across_looks(own)

    def predict(self, images: Any, score_threshold: Cut = None, batch_size: int = 8) -> list[Detections]:
        """As `Detector.predict`."""
        return with_sources(lambda given: self.stream(given, score_threshold, batch_size), images)

    def stream(self, images: Iterable[Any], score_threshold: Cut = None, batch_size: int = 8) -> Iterator[Detections]:
        """As `Detector.stream`, one image at a time; a `LargePicture` is one too."""
        for given in images:
            image = _picture(given)
            full = image.height, image.width
            tiles = cut(*full, self.size, self.overlap)
            if len(tiles) == 1:
                yield self.detector.predict([image.window(*tiles[0])], score_threshold, batch_size)[0]
                continue
            crops = (image.window(*tile) for tile in tiles)
            looks: Iterable[Detections] = self.detector.stream(crops, score_threshold, batch_size)
            if self.progress is not None:
                looks = self.progress(looks, len(tiles))
            near = NEAR * self.overlap * self.size
            parts = [_placed(found, tile, full, near) for found, tile in zip(looks, tiles, strict=True)]
            if self.whole:
                small = image.overview(OVERVIEW)
                (found,) = self.detector.predict([small], score_threshold, batch_size)
                found = found.rescale((small.shape[1], small.shape[2]), full)
                parts.append(_larger(found, self.overlap * self.size - 2 * near))
            yield merge(parts, self.iou_threshold, None)


@dataclass(frozen=True)
class _InMemory:
    """A picture whose pixels are all there, read as a `LargePicture` is."""

    pixels: Tensor

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    def window(self, x0: int, y0: int, x1: int, y1: int) -> Tensor:
        return self.pixels[:, y0:y1, x0:x1]

    def overview(self, side: int) -> Tensor:
        return self.pixels


def _picture(given: Any) -> LargePicture | _InMemory:
    if isinstance(given, LargePicture):
        return given
    if isinstance(given, str | os.PathLike) and is_large(given):
        return LargePicture(given)
    return _InMemory(as_image(given))


def check_tiles(size: int, overlap: float) -> None:
    """Raises ValueError for what no tile can be."""
    if size < 1:
        raise ValueError(f"a tile has at least one pixel a side, got size {size}")
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap is a share of the tile's side, 0 to 0.9, got {overlap}")


def cut(height: int, width: int, size: int, overlap: float) -> list[Tile]:
    """Tiles that cover an image row by row, all of the same size, overlapping by at least `overlap * size` pixels.

    Example:
        >>> cut(100, 250, 100, 0.2)
        [(0, 0, 100, 100), (75, 0, 175, 100), (150, 0, 250, 100)]
    """
    rows, columns = _starts(height, size, overlap), _starts(width, size, overlap)
    return [(x, y, min(x + size, width), min(y + size, height)) for y in rows for x in columns]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    if length <= size:
        return [0]
    step = max(1, size - math.ceil(overlap * size))
    count = math.ceil((length - size) / step) + 1
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _placed(found: Detections, tile: Tile, full: tuple[int, int], near: float) -> Detections:
    """A tile's detections in the image's pixels, without those that the tile's inner borders cut."""
    x0, y0, x1, y1 = tile
    height, width = full
    boxes = found.boxes + found.boxes.new_tensor([x0, y0, x0, y0])
    keep = boxes.new_ones(len(boxes)).bool()
    for column, border, inside in ((0, x0, x0 > 0), (1, y0, y0 > 0), (2, x1, x1 < width), (3, y1, y1 < height)):
        if inside:
            keep &= (boxes[:, column] - border).abs() >= near
    return replace(found, boxes=boxes[keep], scores=found.scores[keep], labels=found.labels[keep])


def _larger(found: Detections, side: float) -> Detections:
    """Detections that some tile may not show whole; of the others the tiles have better boxes."""
    keep = (found.boxes[:, 2:] - found.boxes[:, :2]).amax(1) >= side
    return replace(found, boxes=found.boxes[keep], scores=found.scores[keep], labels=found.labels[keep])
