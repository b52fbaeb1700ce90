"""The checks that all formats share, and the collecting of everything they find.

A reader hands over what the files say (`RawImage`, `RawBox`); `assemble` looks at the image files and the boxes and
makes the records. Errors are all gathered before one `DataError` is raised. Warnings are counted per kind.

Error: image missing, unreadable, truncated or of another size than the annotations say; box with a number that is not
finite, without area, or reaching out of its image by 2 pixels or more; boxes that look relative to the image; what the
readers add (ids, keys, categories).
Warning: box reaching out by less than 2 pixels (it is clipped), box given twice (one is kept), two images of one file,
class names that differ in case or blanks alone, and what the readers add.
With `repair=True` boxes without area and images that cannot be read are left out, and boxes that reach out are
clipped, as counted warnings.

Only the header of an image is read, and its last bytes for the end marker of JPEG and PNG; damage in between is found
when the image is decoded.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from focalkit._files import visible
from focalkit._pictures import is_picture, open_picture, unreadable
from focalkit._progress import track
from focalkit.data._findings import ROUNDING, box_text, where_of
from focalkit.data._findings import Findings as Findings
from focalkit.data._findings import RawBox as RawBox
from focalkit.data._findings import RawImage as RawImage
from focalkit.data._misread import as_corners as as_corners
from focalkit.data._misread import check_corners, check_scale
from focalkit.data._records import Box, Category, DetectionData, ImageRecord
from focalkit.errors import DataError

OVERHANG = 2.0
"""Boxes that reach out of the image by fewer pixels than this are clipped, with a warning"""
_EXIF_ORIENTATION = 0x0112
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


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
            # subtle: PNG's getexif() decodes the whole image unless the header already gave an exif block, of TIFF
            # the size is that of the picture turned upright already, and of others it reads XMP too
            told = image.format not in ("PNG", "TIFF") or not {"exif", "xmp"}.isdisjoint(image.info)
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if told else 1
            if not _ends_properly(path, image.format):
                image.load()
    except FileNotFoundError:
        return "the image file is missing"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"the image cannot be read ({unreadable(path, error)})"
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
    corners: tuple[str, Callable[[Box], Box]] | None = None,
) -> DetectionData:
    """Check images and boxes and return the records of the split.

    `corners` is for formats that give sizes: the form that is expected, and what a box would be if its four numbers
    were corners instead.

    Raises:
        DataError: Everything in `findings`, if it holds an error after the checks.
    """
    unknown_size = [i for i in images if i.width is None or i.height is None]
    look_at = images if check else unknown_size
    sizes = measure_all((i.path for i in look_at), f"checking {split} images")
    gone = {i.id for i, size in zip(look_at, sizes, strict=True) if not _check_size(i, size, source, findings, repair)}
    images = [image for image in images if image.id not in gone] if gone else images
    _check_names(categories, source, findings)
    _check_files(images, source, findings)
    check_scale(images, source, findings)
    if corners is not None:
        check_corners(images, corners[1], corners[0], OVERHANG, findings)
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
        if len(names) > len(set(names)):
            findings.warn("categories share their name with another", f"{source.name}: {names[0]!r}")
        if len(set(names)) > 1:
            listed = ", ".join(map(repr, names))
            findings.warn("class names differ in case or blanks alone: kept apart", f"{source.name}: {listed}")


def _check_files(images: list[RawImage], source: Path, findings: Findings) -> None:
    paths: set[Path] = set()
    for image in images:
        if image.path in paths:
            findings.warn("images are of one file with another", f"{source.name}: image {image.id} ({image.path.name})")
        paths.add(image.path)


def _check_size(image: RawImage, size: tuple[int, int] | str, source: Path, findings: Findings, repair: bool) -> bool:
    """Whether there is an image; with an error noted, or a warning where it is to be left out."""
    where = f"{source.name}: image {image.id} ({image.path})"
    if isinstance(size, str):
        leave_out(f"{where}: {size}{image.hint}", "images are missing or cannot be read", findings, repair)
        return False
    if image.width is None or image.height is None:
        image.width, image.height = size
    elif (image.width, image.height) != size:
        what = f"the file is {size[0]}x{size[1]} (width x height), the annotations say {image.width}x{image.height}"
        if (image.height, image.width) == size:
            what += "; an EXIF rotation may be in play: boxes must fit the image as it is shown"
        findings.error(where, what)
    return True


def _record(image: RawImage, source: Path, findings: Findings, repair: bool) -> ImageRecord:
    kept: list[tuple[RawBox, Box]] = []
    seen: set[tuple[Box, int, bool, float | None]] = set()
    width, height = image.width or math.inf, image.height or math.inf
    for raw in image.boxes:
        x0, y0, x1, y1 = raw.box
        if 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height:
            box: Box | None = raw.box
        else:
            box = _check_box(raw.box, image.width, image.height, where_of(raw, image, source), findings, repair)
        if box is None:
            continue
        same = (box, raw.label, raw.crowd, raw.area)
        if same in seen:
            where = where_of(raw, image, source)
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


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _check_box(
    box: Box, width: int | None, height: int | None, where: str, findings: Findings, repair: bool
) -> Box | None:
    """The box to use, or None where there is none; what is wrong goes to `findings`."""
    if not all(map(math.isfinite, box)):
        findings.error(where, f"the box {box_text(box)} has a number that is not finite")
        return None
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        leave_out(f"{where}: the box {box_text(box)} has no area", "boxes have no area", findings, repair)
        return None
    if width is None or height is None:
        return box
    overhang = max(-x0, -y0, x1 - width, y1 - height)
    if overhang <= ROUNDING:
        return box
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        what = f"{where}: the box {box_text(box)} lies outside its {width}x{height} image"
        leave_out(what, "boxes lie outside their image", findings, repair)
        return None
    if overhang < OVERHANG:
        findings.warn(f"boxes reach out of the image by less than {OVERHANG:g} px: clipped", where)
    elif repair:
        findings.warn(f"boxes reach out of the image by {OVERHANG:g} px or more: clipped", where)
    else:
        findings.error(
            where,
            f"the box {box_text(box)} reaches {overhang:g} px out of its {width}x{height} image (--repair clips such)",
        )
    return clipped


def leave_out(what: str, kind: str, findings: Findings, repair: bool) -> None:
    """An error that `repair` makes a counted warning; `what` begins with its place."""
    if repair:
        findings.warn(f"{kind}: left out", what)
    else:
        findings.errors.append(f"{what} (--repair leaves such out)")


def tell_unlabelled(images: Sequence[RawImage], labelled: set[str], form: str, findings: Findings) -> None:
    """Count the pictures beside labelled ones of whose stems (`labelled`) none is theirs.

    Whether they show nothing is not known, so they are no background.
    """
    known = {image.path for image in images}
    for folder in sorted({image.path.parent for image in images}):
        for file in visible(folder, "*"):
            if is_picture(file) and file not in known and file.stem not in labelled:
                findings.warn(f"images have no {form} file: left out, for they may show objects", str(file))
