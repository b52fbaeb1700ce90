"""The checks that all formats share, and the collecting of everything they find.

A reader hands over what the files say (`RawImage`, `RawBox`); `assemble` looks at the image files and the boxes and
makes the records. Errors are all gathered before one `DataError` is raised. Warnings are counted per kind.

Error: image missing, unreadable, truncated or of another size than the annotations say; box with a number that is not
finite, without area, or reaching out of its image by 2 pixels or more; boxes that look relative to the image; what the
readers add (ids, keys, categories).
Warning: box reaching out by less than 2 pixels (it is clipped), box given twice (one is kept), class names that differ
in case or blanks alone, and what the readers add.
With `repair=True` boxes without area are left out and boxes that reach out are clipped, as counted warnings.

Only the header of an image is read, and its last bytes for the end marker of JPEG and PNG; damage in between is found
when the image is decoded.
"""

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focalkit._pictures import open_picture
from focalkit._progress import track
from focalkit.data._records import Box, Category, DetectionData, ImageRecord
from focalkit.errors import DataError

OVERHANG = 2.0
"""Boxes that reach out of the image by fewer pixels than this are clipped, with a warning"""
_ROUNDING = 1e-6  # x + width is not exact in floating point
_EXIF_ORIENTATION = 0x0112
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


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

    `hint` is added to the message that the file is missing.
    """

    id: Any  # an integer, unless an error says otherwise
    path: Path
    file_name: str
    width: int | None = None
    height: int | None = None
    boxes: list[RawBox] = field(default_factory=list)
    hint: str = ""


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


def measure(path: Path) -> tuple[int, int] | str:
    """(width, height) of an image file after its EXIF rotation, or what is wrong with it.

    Example:
        >>> measure(Path("not-there.png"))
        'the image file is missing'
    """
    from PIL import Image

    try:
        with open_picture(path) as image:
            width, height = image.size
            # subtle: PNG's getexif() decodes the whole image unless the header already gave an exif block
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if "exif" in image.info else 1
            if not _ends_properly(path, image.format):
                image.load()
    except FileNotFoundError:
        return "the image file is missing"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"the image cannot be read ({error})"
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _ends_properly(path: Path, form: str | None) -> bool:
    marker = _END_MARKERS.get(form or "")
    if marker is None:
        return True
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 1024))
        return marker in file.read()


def measure_all(paths: Iterable[Path], what: str) -> list[tuple[int, int] | str]:
    """`measure` on every path, in threads, with a progress bar when it takes long."""
    paths = list(paths)
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(track(pool.map(measure, paths, chunksize=64), len(paths), what))


def assemble(
    split: str,
    categories: tuple[Category, ...],
    images: list[RawImage],
    source: Path,
    findings: Findings,
    *,
    check: bool = True,
    repair: bool = False,
) -> DetectionData:
    """Check images and boxes and return the records of the split.

    Raises:
        DataError: Everything in `findings`, if it holds an error after the checks.
    """
    unknown_size = [i for i in images if i.width is None or i.height is None]
    look_at = images if check else unknown_size
    sizes = measure_all((i.path for i in look_at), f"checking {split} images")
    for image, size in zip(look_at, sizes, strict=True):
        _check_size(image, size, source, findings)
    _check_names(categories, source, findings)
    _check_scale(images, source, findings)
    records: list[ImageRecord] = []
    for image in images:
        records.append(_record(image, source, findings, repair))
        image.boxes = []  # of a large data set, half of the memory
    if findings.errors:
        raise DataError(source, findings.errors)
    return DetectionData(split, categories, tuple(records), findings.warnings, source)


def _check_names(categories: tuple[Category, ...], source: Path, findings: Findings) -> None:
    alike: dict[str, list[str]] = {}
    for category in categories:
        alike.setdefault(" ".join(category.name.casefold().split()), []).append(category.name)
    for names in alike.values():
        if len(set(names)) > 1:
            listed = ", ".join(map(repr, names))
            findings.warn("class names differ in case or blanks alone: kept apart", f"{source.name}: {listed}")


def _check_scale(images: list[RawImage], source: Path, findings: Findings) -> None:
    """Boxes in the first pixel of their images are no boxes in pixels: they are relative to the image (0 to 1)."""
    total, tiny = 0, []
    for image in images:
        if min(image.width or 2, image.height or 2) > 1:
            total += len(image.boxes)
            tiny += [(image, raw) for raw in image.boxes if raw.box[2] <= 2 and _in_first_pixel(raw.box)]
    if tiny and 2 * len(tiny) > total:
        image, raw = tiny[0]
        findings.error(
            f"{source.name}: image {image.id} ({image.file_name}), annotation {raw.id}",
            f"the box {_text(raw.box)} looks relative to the image (0 to 1), as {len(tiny)} of {total} boxes do; "
            "expected pixels: multiply x by the width and y by the height of the image",
        )
    elif tiny:
        image, raw = tiny[0]
        where = f"{source.name}: image {image.id} ({image.file_name}), annotation {raw.id}"
        findings.warn("images have boxes in their first pixel: relative to the image (0 to 1)?", where)


def _in_first_pixel(box: Box) -> bool:
    x0, y0, x1, y1 = box
    return -1 < x0 < x1 <= 1 + _ROUNDING and -1 < y0 < y1 <= 1 + _ROUNDING  # VOC's are moved by one


def _check_size(image: RawImage, size: tuple[int, int] | str, source: Path, findings: Findings) -> None:
    where = f"{source.name}: image {image.id} ({image.path})"
    if isinstance(size, str):
        findings.error(where, size + image.hint)
    elif image.width is None or image.height is None:
        image.width, image.height = size
    elif (image.width, image.height) != size:
        what = f"the file is {size[0]}x{size[1]} (width x height), the annotations say {image.width}x{image.height}"
        if (image.height, image.width) == size:
            what += "; an EXIF rotation may be in play: boxes must fit the image as it is shown"
        findings.error(where, what)


def _record(image: RawImage, source: Path, findings: Findings, repair: bool) -> ImageRecord:
    kept: list[tuple[RawBox, Box]] = []
    seen: set[tuple[Box, int, bool, float | None]] = set()
    width, height = image.width or math.inf, image.height or math.inf
    for raw in image.boxes:
        x0, y0, x1, y1 = raw.box
        if 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height:
            box: Box | None = raw.box
        else:
            box = _check_box(raw.box, image.width, image.height, _where(raw, image, source), findings, repair)
        if box is None:
            continue
        same = (box, raw.label, raw.crowd, raw.area)
        if same in seen:
            where = _where(raw, image, source)
            findings.warn("boxes are given twice, of one class at one place: one is kept", where)
            continue
        seen.add(same)
        kept.append((raw, box))
    return ImageRecord(
        id=image.id,
        path=image.path,
        width=image.width or 0,
        height=image.height or 0,
        boxes=tuple(box for _, box in kept),
        labels=tuple(raw.label for raw, _ in kept),
        areas=tuple(_area(box) if raw.area is None else raw.area for raw, box in kept),
        crowd=tuple(raw.crowd for raw, _ in kept),
        annotation_ids=tuple(raw.id for raw, _ in kept),
        file_name=image.file_name,
    )


def _where(raw: RawBox, image: RawImage, source: Path) -> str:
    return f"{source.name}: image {image.id} ({image.file_name}), annotation {raw.id}"


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _check_box(
    box: Box, width: int | None, height: int | None, where: str, findings: Findings, repair: bool
) -> Box | None:
    """The box to use, or None where there is none; what is wrong goes to `findings`."""
    if not all(map(math.isfinite, box)):
        findings.error(where, f"the box {_text(box)} has a number that is not finite")
        return None
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        _unusable(where, f"the box {_text(box)} has no area", "boxes have no area: left out", findings, repair)
        return None
    if width is None or height is None:
        return box
    overhang = max(-x0, -y0, x1 - width, y1 - height)
    if overhang <= _ROUNDING:
        return box
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        what = f"the box {_text(box)} lies outside its {width}x{height} image"
        _unusable(where, what, "boxes lie outside their image: left out", findings, repair)
        return None
    if overhang < OVERHANG:
        findings.warn(f"boxes reach out of the image by less than {OVERHANG:g} px: clipped", where)
    elif repair:
        findings.warn(f"boxes reach out of the image by {OVERHANG:g} px or more: clipped", where)
    else:
        findings.error(where, f"the box {_text(box)} reaches {overhang:g} px out of its {width}x{height} image")
    return clipped


def _unusable(where: str, what: str, kind: str, findings: Findings, repair: bool) -> None:
    if repair:
        findings.warn(kind, where)
    else:
        findings.error(where, what)


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{v:g}" for v in box) + "] (x0, y0, x1, y1)"
