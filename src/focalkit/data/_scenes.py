"""Drawing of one demo scene: a cluttered background, then scribbles and digits where there is room.

Numpy and Pillow; a canvas is float32 (size, size, 3) in 0..1.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

from focalkit.data._ink import enlarge, scribble

SMALLEST, LARGEST = 16, 80
"""Range of a digit's height in pixels, about"""
_CLEARANCE = 2  # pixels between objects
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

XYWH = tuple[int, int, int, int]


def draw_scene(digits: list[np.ndarray], size: int, rng: np.random.Generator) -> tuple[Image.Image, list[XYWH]]:
    """A scene with the given 8x8 ink maps.

    Returns:
        The RGB picture and the box of each digit in pixels, in the order given.
    """
    canvas = _background(size, rng)
    boxes: list[XYWH] = []
    inks: list[np.ndarray] = []
    for digit in digits:
        ink, box = _place(digit, _height(size, rng), size, boxes, rng)
        inks.append(ink)
        boxes.append(box)
    occupied = list(boxes)
    for _ in range(int(rng.integers(3, 10))):
        ink = enlarge(scribble(rng), _height(size, rng), rng)
        box = _free_box(ink, size, occupied, rng)
        if box is not None:
            inks.append(ink)
            occupied.append(box)
    for ink, (x, y, w, h) in zip(inks, occupied, strict=True):
        _paint(canvas[y : y + h, x : x + w], ink, rng)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(rng.uniform(0, 0.04))
    return Image.fromarray(((canvas + grain).clip(0, 1) * 255).round().astype(np.uint8)), boxes


def _height(size: int, rng: np.random.Generator) -> int:
    """As many small digits as large ones, by the logarithm."""
    return round(math.exp(rng.uniform(math.log(SMALLEST), math.log(min(LARGEST, size // 2)))))


def _place(
    digit: np.ndarray, height: int, size: int, occupied: list[XYWH], rng: np.random.Generator
) -> tuple[np.ndarray, XYWH]:
    """The digit's ink and a free box for it; smaller where there is no room, on top of another at worst."""
    while True:
        ink = enlarge(digit, height, rng)
        box = _free_box(ink, size, occupied, rng)
        if box is not None:
            return ink, box
        if height == SMALLEST:
            h, w = ink.shape
            return ink, (int(rng.integers(size - w)), int(rng.integers(size - h)), w, h)
        height = max(SMALLEST, height * 3 // 4)


def _free_box(ink: np.ndarray, size: int, occupied: list[XYWH], rng: np.random.Generator) -> XYWH | None:
    """A random box of the ink's size that overlaps nothing; None if none was found."""
    h, w = ink.shape
    if max(h, w) >= size:
        return None
    for x, y in zip(rng.integers(size - w, size=60).tolist(), rng.integers(size - h, size=60).tolist(), strict=True):
        if all(
            x >= ox + ow + _CLEARANCE
            or ox >= x + w + _CLEARANCE
            or y >= oy + oh + _CLEARANCE
            or oy >= y + h + _CLEARANCE
            for ox, oy, ow, oh in occupied
        ):
            return x, y, w, h
    return None


def _paint(patch: np.ndarray, ink: np.ndarray, rng: np.random.Generator) -> None:
    """Lay ink on a part of the canvas, in place, in a colour that stands out from what lies beneath."""
    alpha = (ink * np.float32(rng.uniform(0.75, 1)))[..., None]
    patch += alpha * (_contrasting(patch.mean((0, 1)), rng) - patch)


def _contrasting(beneath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour whose brightness differs from that of `beneath` by a third to two thirds."""
    brightness, step = float(beneath @ _BRIGHTNESS), rng.uniform(0.35, 0.6)
    possible = [v for v in (brightness - step, brightness + step) if 0 <= v <= 1] or [float(brightness < 0.5)]
    value = possible[rng.integers(len(possible))]
    tint = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 0.8), 1), dtype=np.float32)
    tint *= value / float(tint @ _BRIGHTNESS)
    # a tint too bright for one of its channels fades towards the grey of the same brightness
    return value + (tint - value) / max(1, float(tint.max()))


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A gradient with clouds, shapes, lines and hatching."""
    palette = [_muted(rng) for _ in range(5)]
    angle = rng.uniform(0, 2 * math.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = (axis * math.cos(angle) + axis[:, None] * math.sin(angle) + 0.7) / 1.4
    cells = int(rng.integers(3, 9))
    clouds = Image.fromarray(rng.integers(0, 255, (cells, cells), dtype=np.uint8))
    clouds = np.asarray(clouds.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32) / 255 - 0.5
    shade = (np.float32(rng.uniform(0.05, 0.3)) * clouds)[..., None]
    canvas = palette[0] + ramp[..., None] * (palette[1] - palette[0]) + shade
    picture = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(int(rng.integers(5, 16))):
        _shape(pen, size, palette[rng.integers(len(palette))], rng)
    return np.asarray(picture, dtype=np.float32) / 255


def _muted(rng: np.random.Generator) -> np.ndarray:
    colour = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.55), rng.uniform(0.2, 0.9))
    return np.array(colour, dtype=np.float32)


def _shape(pen: ImageDraw.ImageDraw, size: int, colour: np.ndarray, rng: np.random.Generator) -> None:
    """An ellipse, a polygon, a bar, a line, a hatched patch or a row of dots, half transparent."""
    red, green, blue = (int(v) for v in (colour * 255).clip(0, 255))
    fill = (red, green, blue, int(rng.integers(60, 220)))
    cx, cy = rng.uniform(0, size, 2).tolist()
    reach = rng.uniform(0.04, 0.35) * size
    match int(rng.integers(6)):
        case 0:
            pen.ellipse([cx - reach, cy - reach * 0.7, cx + reach, cy + reach * 0.7], fill=fill)
        case 1:
            turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6)))).tolist()
            pen.polygon([(cx + reach * math.cos(t), cy + reach * math.sin(t)) for t in turns], fill=fill)
        case 2:
            pen.rectangle([cx - reach, cy - reach / 3, cx + reach, cy + reach / 3], fill=fill)
        case 3:
            x, y = rng.uniform(0, size, 2).tolist()
            pen.line([(cx, cy), (x, y)], fill=fill, width=int(rng.integers(1, 7)))
        case 4:
            step, slope, width = rng.uniform(5, 14), rng.uniform(-1, 1), int(rng.integers(1, 4))
            for i in range(int(reach / step) + 2):
                x, y = cx + i * step, cy
                pen.line([(x, y), (x + slope * reach, y + reach)], fill=fill, width=width)
        case _:
            step, radius = rng.uniform(7, 16), rng.uniform(1.5, 4)
            for i in range(int(reach / step) + 2):
                x, y = cx + i * step, cy + rng.uniform(-2, 2)
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
