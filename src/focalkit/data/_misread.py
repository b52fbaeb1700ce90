"""Boxes written in another form than their format's: relative to the image (0 to 1), or corners where sizes belong."""

from collections.abc import Callable, Sequence
from pathlib import Path

from focalkit.data._findings import ROUNDING, Findings, RawImage, box_text, where_of
from focalkit.data._records import Box

FEWEST = 3
"""Boxes; fewer fit by chance."""


def check_scale(images: Sequence[RawImage], source: Path, findings: Findings) -> None:
    """Boxes in the first pixel of their images are no boxes in pixels: they are relative to the image (0 to 1)."""
    total, tiny = 0, []
    for image in images:
        if min(image.width or 2, image.height or 2) > 1:
            total += len(image.boxes)
            tiny += [(image, raw) for raw in image.boxes if raw.box[2] <= 2 and _in_first_pixel(raw.box)]
    if not tiny:
        return
    image, raw = tiny[0]
    if 2 * len(tiny) > total:
        findings.error(
            where_of(raw, image, source),
            f"the box {box_text(raw.box)} looks relative to the image (0 to 1), as {len(tiny)} of {total} boxes do; "
            "expected pixels: multiply x by the width and y by the height of the image",
        )
    else:
        what = "images have boxes in their first pixel: relative to the image (0 to 1)?"
        findings.warn(what, where_of(raw, image, source))


def _in_first_pixel(box: Box) -> bool:
    x0, y0, x1, y1 = box
    return -1 < x0 < x1 <= 1 + ROUNDING and -1 < y0 < y1 <= 1 + ROUNDING  # VOC's are moved by one


def as_corners(box: Box) -> Box:
    """Of a box that was given as x, y, width, height the one that the same numbers mean as corners."""
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def check_corners(
    images: Sequence[RawImage], as_corners: Callable[[Box], Box], form: str, overhang: float, findings: Findings
) -> None:
    """Tell where boxes reach out of their images, and all would fit were their numbers corners.

    Args:
        images: With the boxes as the format means them.
        as_corners: Of such a box the one that the same four numbers mean as x0, y0, x1, y1.
        form: What the format expects, such as "x y width height".
        overhang: Boxes that reach out by less, in pixels, are no sign of anything.
        findings: Gets an error.
    """
    total = reaching = 0
    for image in images:
        width, height = image.width or 0, image.height or 0
        for raw in image.boxes:
            x0, y0, x1, y1 = as_corners(raw.box)
            if not (0 <= x0 < x1 <= width + ROUNDING and 0 <= y0 < y1 <= height + ROUNDING):
                return
            total += 1
            reaching += max(-raw.box[0], -raw.box[1], raw.box[2] - width, raw.box[3] - height) >= overhang
    if reaching and total >= FEWEST:
        findings.error(
            f"{reaching} of {total} boxes reach out of their images, and all would fit as corners",
            f"are the numbers x0 y0 x1 y1? Expected {form}",
        )
