"""The boxes around what people draw: turned rectangles and ellipses, polygons. Pure, in pixels."""

import math
from collections.abc import Sequence

from focalkit.data._records import Box

_NOWHERE = (math.nan, math.nan, math.nan, math.nan)


def around(xs: Sequence[float], ys: Sequence[float]) -> Box:
    """The box around points; nan where a number is none, so that checks refuse it.

    Example:
        >>> around([3, 1, 2], [5, 9, 7])
        (1, 5, 3, 9)
    """
    if not all(map(math.isfinite, (*xs, *ys))):
        return _NOWHERE
    return min(xs), min(ys), max(xs), max(ys)


def turned(cx: float, cy: float, w: float, h: float, angle: float) -> Box:
    """The box around a rectangle of sides `w` and `h` that is turned about its centre by `angle` (radians).

    Example:
        >>> turned(20, 15, 10, 4, 0)
        (15.0, 13.0, 25.0, 17.0)
    """
    return _about(cx, cy, _reach(abs(w), abs(h), angle))


def turned_ellipse(cx: float, cy: float, rx: float, ry: float, angle: float) -> Box:
    """The box around an ellipse of half axes `rx` and `ry` that is turned about its centre by `angle` (radians).

    Example:
        >>> turned_ellipse(20, 15, 5, 2, 0)
        (15.0, 13.0, 25.0, 17.0)
    """
    if not math.isfinite(angle):
        return _NOWHERE
    cos, sin = math.cos(angle), math.sin(angle)
    return _about(cx, cy, (math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)))


def within(box: Box, width: float | None, height: float | None) -> Box:
    """The part of a box that lies in the image: what encloses a turned object often reaches out. nan stays."""
    if not all(map(math.isfinite, box)):
        return box
    x0, y0, x1, y1 = box
    return max(0.0, x0), max(0.0, y0), min(width or math.inf, x1), min(height or math.inf, y1)


def _reach(w: float, h: float, angle: float) -> tuple[float, float]:
    if not math.isfinite(angle):
        return math.nan, math.nan
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    return (w * cos + h * sin) / 2, (w * sin + h * cos) / 2


def _about(cx: float, cy: float, reach: tuple[float, float]) -> Box:
    return cx - reach[0], cy - reach[1], cx + reach[0], cy + reach[1]
