"""What a reader hands over (`RawImage`, `RawBox`), and what is found wrong with it (`Findings`)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focalkit.data._records import Box

ROUNDING = 1e-6  # x + width is not exact in floating point


@dataclass(slots=True)
class RawBox:
    """An annotation as a file gives it, already in xyxy pixels and labels."""

    id: int
    box: Box
    label: int
    crowd: bool = False
    area: float | None = None


@dataclass(slots=True)
class RawImage:
    """An image as a file gives it; `width` and `height` are None where the format does not say.

    `hint` is added to the message that the file is missing; `file` holds the boxes, where each image has its own.
    """

    id: Any  # an integer, unless an error says otherwise
    path: Path
    file_name: str
    width: int | None = None
    height: int | None = None
    boxes: list[RawBox] = field(default_factory=list)
    hint: str = ""
    file: str = ""


class Findings:
    """Errors, one line each, and warnings, counted per kind with the first place."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._warnings: dict[str, tuple[int, str]] = {}

    def error(self, where: str, what: str) -> None:
        self.errors.append(f"{where}: {what}")

    def warn(self, kind: str, where: str) -> None:
        """Count one more of `kind`, a phrase such as "boxes reach out of the image by less than 2 px: clipped"."""
        count, first = self._warnings.get(kind, (0, where))
        self._warnings[kind] = (count + 1, first)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{n} x {kind} (first: {first})" for kind, (n, first) in self._warnings.items())


def where_of(raw: RawBox, image: RawImage, source: Path) -> str:
    """Where a box stands: in the file of its image, where each has one, otherwise in `source`."""
    if not image.file:
        return f"{source.name}: image {image.id} ({image.file_name}), annotation {raw.id}"
    number = next(n for n, box in enumerate(image.boxes, start=1) if box is raw)
    return f"{image.file}: box {number} (image {image.file_name})"


def box_text(box: Box) -> str:
    """A box in a message."""
    return "[" + ", ".join(f"{v:g}" for v in box) + "] (x0, y0, x1, y1)"
