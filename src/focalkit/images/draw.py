"""Boxes drawn on an image: predictions solid in a colour per class, the ground truth thin, dashed, black and white.

Line width and letters grow with the image. Every line has a dark rim and every label a background of its own, so that
both can be read on any picture. The image given is never changed.
"""

import colorsys
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from focalkit.images._fonts import default_font, font_for
from focalkit.images.inputs import as_image

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image, ImageDraw

    from focalkit.images._fonts import Font

Boxes = Tensor | Sequence[Sequence[float]]
Labels = Tensor | Sequence[int]


def class_color(label: int) -> tuple[int, int, int]:
    """RGB of a class: hues a golden angle apart, so that neighbouring labels differ and any number of them works."""
    hue = (0.58 + label * 0.61803398875) % 1
    saturation, value = ((0.75, 1.0), (0.95, 0.75), (0.45, 1.0))[label // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_color(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever has the higher contrast on `background` (relative luminance of WCAG 2)."""
    channels = [c / 255 for c in background]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def to_pil(image: "Image.Image | np.ndarray | Tensor | str | os.PathLike[str]") -> "Image.Image":
    """A new RGB image from what is one image for `Detector.predict`: a file, a PIL image, an array, a tensor."""
    from PIL import Image

    return Image.fromarray(as_image(image).permute(1, 2, 0).contiguous().numpy())


def draw_detections(
    image: "Image.Image | np.ndarray | Tensor | str | os.PathLike[str]",
    boxes: Boxes,
    labels: Labels,
    scores: Tensor | Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    truth: tuple[Boxes, Labels] | None = None,
) -> "Image.Image":
    """Draw predictions, and the ground truth where it is given, on a copy of an image.

    Args:
        image: See `to_pil`.
        boxes: (n, 4) xyxy in pixels of the image.
        labels: (n,) class indices.
        scores: (n,); shown beside the name. Boxes are drawn lowest score first, so that the surest lie on top.
        names: Name per class; a class without one, or with letters that no font of this computer has, is shown by its
            number.
        truth: Boxes (m, 4) and labels (m,), drawn dashed in black and white; the name stands below where there is room.

    Returns:
        An RGB image of the same size.

    Raises:
        InputError: Something that is no image.
        ValueError: Lists of different lengths.

    Example:
        >>> import torch
        >>> draw_detections(torch.zeros(3, 60, 80), [[10, 10, 40, 40]], [0], [0.9], ["cat"]).size
        (80, 60)
    """
    from PIL import ImageDraw

    rows = _rows(boxes, labels, scores)
    canvas = to_pil(image)
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(min(canvas.size) / 220))
    letters = max(11, min(40, round(min(canvas.size) / 32)))
    order = sorted(rows, key=lambda row: row[2] or 0.0)
    gt_rows = [] if truth is None else _rows(*truth, None)
    for box, _, _ in gt_rows:
        _dashed(pen, box, max(1, round(width * 0.75)))
    for box, label, _ in order:
        _solid(pen, box, width, class_color(label))
    placed: list[Rect] = []
    for box, label, score in reversed(order):
        name, font = _name(label, names, letters)
        text = name if score is None else f"{name} {score:.2f}"
        _label(pen, text, box, font, class_color(label), canvas.size, placed, must=True)
    for box, label, _ in gt_rows:
        name, font = _name(label, names, letters)
        _label(pen, name, box, font, (0, 0, 0), canvas.size, placed, must=False)
    return canvas


def undrawable(names: Sequence[str]) -> list[str]:
    """The names that no font of this computer has the letters for; they are drawn as `class 3`."""
    return [name for name in names if font_for(name, 20) is None]


def _name(label: int, names: Sequence[str] | None, size: int) -> tuple[str, "Font"]:
    """The name of a class in a font that can draw it, else its number."""
    name = names[label] if names is not None and 0 <= label < len(names) else f"class {label}"
    font = font_for(name, size)
    return (name, font) if font is not None else (f"class {label}", default_font(size))


Row = tuple[tuple[float, float, float, float], int, float | None]


def _rows(boxes: Boxes, labels: Labels, scores: Tensor | Sequence[float] | None) -> list[Row]:
    box_list: list[list[float]] = boxes.tolist() if isinstance(boxes, Tensor) else [list(b) for b in boxes]
    label_list: list[int] = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    score_list = scores.tolist() if isinstance(scores, Tensor) else scores
    if len(box_list) != len(label_list) or (score_list is not None and len(score_list) != len(box_list)):
        lengths = f"{len(box_list)} boxes, {len(label_list)} labels"
        raise ValueError(f"expected as many labels and scores as boxes, got {lengths}, {_count(score_list)} scores")
    rows: list[Row] = []
    for i, (x0, y0, x1, y1) in enumerate(box_list):
        rows.append(((x0, y0, max(x0, x1), max(y0, y1)), int(label_list[i]), score_list[i] if score_list else None))
    return rows


def _count(values: Sequence[float] | None) -> str:
    return "no" if values is None else str(len(values))


def _solid(pen: "ImageDraw.ImageDraw", box: Sequence[float], width: int, color: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = box
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0), width=width + 2)
    pen.rectangle((x0, y0, x1, y1), outline=color, width=width)


def _dashed(pen: "ImageDraw.ImageDraw", box: Sequence[float], width: int) -> None:
    x0, y0, x1, y1 = box
    pen.rectangle((x0, y0, x1, y1), outline=(0, 0, 0), width=width)
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1))):
        for a, b in _dashes(start, end, 5.0 * width):
            pen.line((*a, *b), fill=(255, 255, 255), width=width)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], length: float
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    (x0, y0), (x1, y1) = start, end
    whole = max(x1 - x0, y1 - y0)
    place = 0.0
    while place < whole:
        a, b = place / whole, min(place + length, whole) / whole
        yield (x0 + a * (x1 - x0), y0 + a * (y1 - y0)), (x0 + b * (x1 - x0), y0 + b * (y1 - y0))
        place += 2 * length


Rect = tuple[float, float, float, float]


def _label(
    pen: "ImageDraw.ImageDraw",
    text: str,
    box: Rect,
    font: "Font",
    background: tuple[int, int, int],
    size: tuple[int, int],
    placed: list[Rect],
    *,
    must: bool,
) -> None:
    """Text on its own background, inside the picture, where it hides the least of the labels already placed.

    With `must` the tries go from above the box downwards and the best is taken; without, from below the box upwards,
    and a label that finds no free place is left out: the dashes alone say that it is ground truth.
    """
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x0, y0, x1, y1 = box
    tries = [
        (x0, y0 - height),
        (x0, y1 + 1),
        (x1 - width, y0 - height),
        (x1 - width, y1 + 1),
        (x0, y0),
        (x0, y1 - height),
    ]
    if not must:
        tries = [tries[i] for i in (1, 3, 0, 2)]
    rects: list[Rect] = []
    for x, y in tries:
        x = min(max(0.0, x), max(0.0, size[0] - width))
        y = min(max(0.0, y), max(0.0, size[1] - height))
        rects.append((x, y, x + width, y + height))
    hidden = [sum(_overlap(rect, other) for other in placed) for rect in rects]
    best = hidden.index(min(hidden))
    if hidden[best] > 0 and not must:
        return
    x, y, *_ = rects[best]
    placed.append(rects[best])
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=background)
    pen.text((x + 2 - left, y + 2 - top), text, fill=text_color(background), font=font)


def _overlap(a: Rect, b: Rect) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
