"""Ink for the demo scenes: 8x8 maps of handwriting or scribbles, enlarged to coverage maps.

Digits and scribbles are drawn the same way, so that only the shape tells them apart.
"""

import numpy as np
from PIL import Image, ImageDraw

ROTATION = 12.0
"""Largest slant in degrees, either way"""
_MARGIN = 2  # cells around an 8x8 map, so that nothing is cut off when it turns
_LEVEL = 0.42  # darkness at which ink begins


def enlarge(shape: np.ndarray, height: int, rng: np.random.Generator) -> np.ndarray:
    """A coverage map in 0..1, cut to the ink, of about `height` rows.

    Args:
        shape: (8, 8) ink in 0..1.
        height: Pixels.
        rng: Chooses the slant and the ratio of the sides.
    """
    cells = np.pad((shape * 255).astype(np.uint8), _MARGIN)
    scale = height / 8
    side = round(len(cells) * scale)
    picture = Image.fromarray(cells).resize((round(side * rng.uniform(0.85, 1.2)), side), Image.Resampling.BICUBIC)
    picture = picture.rotate(rng.uniform(-ROTATION, ROTATION), Image.Resampling.BICUBIC)
    softness = max(0.24, 1.2 / scale)  # about a pixel and a half of soft edge
    values = ((np.asarray(picture, dtype=np.float32) / 255 - _LEVEL) / softness + 0.5).clip(0, 1)
    rows, columns = np.flatnonzero(values.max(1) > 0.3), np.flatnonzero(values.max(0) > 0.3)
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def scribble(rng: np.random.Generator) -> np.ndarray:
    """(8, 8) ink in 0..1 of pen strokes that are no digit: a cross, plus, T, zigzag, arch, H or N."""
    side = 64
    picture = Image.new("L", (side, side))
    pen = ImageDraw.Draw(picture)
    width = int(rng.integers(8, 13))
    low, high, middle = side * 0.12, side * 0.88, rng.uniform(0.4, 0.6) * side

    def line(*points: tuple[float, float]) -> None:
        pen.line(points, fill=255, width=width, joint="curve")

    match int(rng.integers(5)):
        case 0:
            line((low, low), (high, high))
            line((low, high), (high, low))
        case 1:
            bar = middle if rng.uniform() < 0.5 else low
            line((middle, low), (middle, high))
            line((low, bar), (high, bar))
        case 2:
            xs = np.linspace(low, high, int(rng.integers(4, 6))).tolist()
            line(*((x, low if i % 2 else high) for i, x in enumerate(xs)))
        case 3:
            start = int(rng.integers(4)) * 90
            pen.arc([low, low, high, high], start, start + 180, fill=255, width=width)
            if rng.uniform() < 0.5:
                line((middle, low), (middle, high))
        case _:
            left, right = (low if rng.uniform() < 0.5 else middle), (high if rng.uniform() < 0.5 else middle)
            line((low, low), (low, high))
            line((high, low), (high, high))
            line((low, left), (high, right))
    return np.asarray(picture.resize((8, 8), Image.Resampling.BOX), dtype=np.float32) / 255
