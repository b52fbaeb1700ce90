"""Drawing of one demo scene: background, clutter, scribbles, digits.

Everything is numpy and Pillow on a float image in 0..1. Scribbles and digits take the same road (an 8x8 ink map,
enlarged, sharpened, rotated, coloured), so that only the shape tells them apart.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

SMALLEST, LARGEST = 16, 96
"""Range of a digit's height in pixels"""
_ROTATION = 12.0  # degrees, either way
_CLEARANCE = 2  # pixels between objects

XYWH = tuple[float, float, float, float]


def draw_scene(digits: list[np.ndarray], size: int, rng: np.random.Generator) -> tuple[Image.Image, list[XYWH]]:
    """A scene with the given 8x8 ink maps.

    Returns:
        The RGB picture and the box of each digit, xywh in whole pixels, in the order given.
    """
    canvas = _background(size, rng)
    taken: list[tuple[int, int, int, int]] = []
    inks = [_ink(d, _random_height(size, rng), rng) for d in digits]
    boxes: list[XYWH] = [(0.0, 0.0, 0.0, 0.0)] * len(inks)
    # large ones first: they are the hardest to find a place for
    for i in sorted(range(len(inks)), key=lambda k: -inks[k].size):
        ink = inks[i]
        place = _free_place(ink.shape, size, taken, rng)
        while place is None:
            ink = _ink(digits[i], max(SMALLEST, int(ink.shape[0] * 0.7)), rng)
            place = _free_place(ink.shape, size, taken, rng, tries=200)
            if place is None and ink.shape[0] <= SMALLEST + 8:
                place = int(rng.integers(size - ink.shape[0])), int(rng.integers(size - ink.shape[1]))
        top, left = place
        boxes[i] = (float(left), float(top), float(ink.shape[1]), float(ink.shape[0]))
        taken.append((top, left, *ink.shape))
        inks[i] = ink
    scribbles = []
    for _ in range(int(rng.integers(3, 9))):
        ink = _ink(_scribble(rng), _random_height(size, rng), rng)
        place = _free_place(ink.shape, size, taken, rng)
        if place is not None:
            taken.append((*place, *ink.shape))
            scribbles.append((ink, *place))
    placed = [(ink, int(y), int(x)) for ink, (x, y, _, _) in zip(inks, boxes, strict=True)] + scribbles
    for index in rng.permutation(len(placed)):
        _paint(canvas, *placed[index], rng)
    canvas += rng.normal(0, rng.uniform(0.0, 0.03), canvas.shape)
    return Image.fromarray((canvas.clip(0, 1) * 255).round().astype(np.uint8)), boxes


def _random_height(size: int, rng: np.random.Generator) -> int:
    largest = min(LARGEST, size // 2)
    return round(math.exp(rng.uniform(math.log(SMALLEST), math.log(largest))))


def _ink(shape: np.ndarray, height: int, rng: np.random.Generator) -> np.ndarray:
    """An 8x8 ink map as a tight (h, w) coverage map in 0..1, about `height` pixels high."""
    margin = np.pad(shape, 2)
    scale = height / 8
    side = max(12, round(12 * scale))
    picture = Image.fromarray((margin * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    stretch = rng.uniform(0.85, 1.2)
    picture = picture.resize((max(8, round(side * stretch)), side), Image.Resampling.BICUBIC)
    picture = picture.rotate(rng.uniform(-_ROTATION, _ROTATION), Image.Resampling.BICUBIC)
    values = np.asarray(picture, dtype=np.float64) / 255
    edge = max(0.12, 1.2 / scale / 2)  # about a pixel and a half of soft edge
    values = ((values - 0.42) / (2 * edge) + 0.5).clip(0, 1)
    rows, columns = np.flatnonzero(values.max(1) > 0.3), np.flatnonzero(values.max(0) > 0.3)
    if not len(rows) or not len(columns):
        return np.ones((SMALLEST, SMALLEST // 2))
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    shape: tuple[int, ...], size: int, taken: list[tuple[int, int, int, int]], rng: np.random.Generator, tries: int = 40
) -> tuple[int, int] | None:
    """A random top-left corner where nothing overlaps; None if none was found."""
    h, w = shape
    if h >= size or w >= size:
        return None
    for _ in range(tries):
        top, left = int(rng.integers(size - h)), int(rng.integers(size - w))
        gap = _CLEARANCE
        if all(
            top >= t + th + gap or t >= top + h + gap or left >= x + tw + gap or x >= left + w + gap
            for t, x, th, tw in taken
        ):
            return top, left
    return None


def _paint(canvas: np.ndarray, ink: np.ndarray, top: int, left: int, rng: np.random.Generator) -> None:
    """Lay the ink on the canvas in a colour that stands out from what lies beneath."""
    h, w = ink.shape
    patch = canvas[top : top + h, left : left + w]
    colour = _contrasting(patch.mean((0, 1)), rng)
    alpha = (ink * rng.uniform(0.75, 1.0))[..., None]
    patch += alpha * (colour - patch)


def _contrasting(beneath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    brightness = float(beneath @ [0.299, 0.587, 0.114])
    step = rng.uniform(0.35, 0.6)
    dark = brightness - step if brightness > step else None
    light = brightness + step if brightness + step < 1 else None
    options = [v for v in (dark, light) if v is not None] or [0.0 if brightness > 0.5 else 1.0]
    value = options[rng.integers(len(options))]
    tint = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 0.8), 1.0))
    tint *= value / max(1e-6, float(tint @ [0.299, 0.587, 0.114]))
    excess = max(1.0, float(tint.max()))
    # a tint too bright for its channel fades towards grey of the same brightness
    return value + (tint - value) / excess if excess > 1 else tint


def _scribble(rng: np.random.Generator) -> np.ndarray:
    """An 8x8 ink map of pen strokes that is no digit."""
    side = 64
    picture = Image.new("L", (side, side))
    pen = ImageDraw.Draw(picture)
    width = int(rng.integers(8, 13))
    kind = rng.integers(5)
    a, b = side * 0.12, side * 0.88
    middle = rng.uniform(0.4, 0.6) * side
    if kind == 0:  # a cross
        pen.line([(a, a), (b, b)], fill=255, width=width)
        pen.line([(a, b), (b, a)], fill=255, width=width)
    elif kind == 1:  # a plus, or a T
        pen.line([(middle, a), (middle, b)], fill=255, width=width)
        bar = middle if rng.uniform() < 0.5 else a
        pen.line([(a, bar), (b, bar)], fill=255, width=width)
    elif kind == 2:  # a zigzag
        xs = np.linspace(a, b, int(rng.integers(4, 6)))
        points = [(float(x), a if i % 2 else b) for i, x in enumerate(xs)]
        pen.line(points, fill=255, width=width, joint="curve")
    elif kind == 3:  # an arch, a U or a bracket
        start = int(rng.integers(4)) * 90
        pen.arc([a, a, b, b], start, start + 180, fill=255, width=width)
        if rng.uniform() < 0.5:
            pen.line([(middle, a), (middle, b)], fill=255, width=width)
    else:  # an H or an N
        pen.line([(a, a), (a, b)], fill=255, width=width)
        pen.line([(b, a), (b, b)], fill=255, width=width)
        pen.line(
            [(a, a if rng.uniform() < 0.5 else middle), (b, b if rng.uniform() < 0.5 else middle)],
            fill=255,
            width=width,
        )
    return np.asarray(picture.resize((8, 8), Image.Resampling.BOX), dtype=np.float64) / 255


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) in 0..1: a gradient, clouds, shapes and lines."""
    palette = [_muted(rng) for _ in range(5)]
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    ramp = (x * math.cos(angle) + y * math.sin(angle) + 0.7)[..., None] / 1.4
    canvas = palette[0] + ramp * (palette[1] - palette[0])
    cells = int(rng.integers(3, 9))
    clouds = Image.fromarray(rng.integers(0, 255, (cells, cells), dtype=np.uint8))
    clouds = np.asarray(clouds.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64) / 255 - 0.5
    canvas += rng.uniform(0.05, 0.3) * clouds[..., None]
    picture = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(int(rng.integers(4, 14))):
        _shape(pen, size, palette[rng.integers(len(palette))], rng)
    return np.asarray(picture, dtype=np.float64) / 255


def _muted(rng: np.random.Generator) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.55), rng.uniform(0.2, 0.9)))


def _shape(pen: ImageDraw.ImageDraw, size: int, colour: np.ndarray, rng: np.random.Generator) -> None:
    red, green, blue = (int(v) for v in (colour * 255).clip(0, 255))
    fill = (red, green, blue, int(rng.integers(60, 220)))
    cx, cy = rng.uniform(0, size, 2)
    reach = rng.uniform(0.04, 0.35) * size
    kind = rng.integers(4)
    if kind == 0:
        pen.ellipse([cx - reach, cy - reach * 0.7, cx + reach, cy + reach * 0.7], fill=fill)
    elif kind == 1:
        turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
        pen.polygon([(cx + reach * math.cos(t), cy + reach * math.sin(t)) for t in turns], fill=fill)
    elif kind == 2:
        pen.rectangle([cx - reach, cy - reach / 3, cx + reach, cy + reach / 3], fill=fill)
    else:
        far = rng.uniform(0, size, 2)
        pen.line([(cx, cy), (float(far[0]), float(far[1]))], fill=fill, width=int(rng.integers(1, 7)))
