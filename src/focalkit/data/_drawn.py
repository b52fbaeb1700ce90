"""What the exports of CVAT, Label Studio and Datumaro have in common: images by name, boxes by the name of their class.

The readers say what the files mean; here names become files, numbers and records.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from focalkit._files import is_file
from focalkit.data._coco_values import size_of
from focalkit.data._elsewhere import find_images
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._splits import split_in
from focalkit.data._texts import beginning, read_text
from focalkit.data.check import Findings, RawBox, RawImage, assemble
from focalkit.errors import DataError, InputError

LEFT_OUT = "objects have no box (points, lines, brush strokes): left out"
ENCLOSED = "objects are polygons, ellipses, masks or turned boxes: their enclosing boxes taken"
_HEAD = 4096


@dataclass(slots=True)
class Drawn:
    """An image as an export tells of it.

    Attributes:
        names: What its file may be called, the most likely first; at least one.
        place: For messages.
        width: As the file says, perhaps nonsense; None or 0 where it says nothing.
        height: The same.
        boxes: Class, box in pixels, whether it is a region to ignore.
    """

    names: list[str]
    place: str
    width: Any = None
    height: Any = None
    boxes: list[tuple[str, Box, bool]] = field(default_factory=list)


def records(
    split: str,
    drawn: Sequence[Drawn],
    names: Sequence[str],
    folders: Sequence[Path],
    source: Path,
    findings: Findings,
    *,
    check: bool,
    repair: bool,
    others: Sequence[Path] = (),
) -> DetectionData:
    """Find the files in `folders`, else in one of `others`, and check everything. Classes are `names`, with ids from 1.

    Raises:
        DataError: With every problem found.
    """
    label_of = {name: label for label, name in enumerate(names)}
    paths, lookup = find_images(folders, others, [item.names for item in drawn], source, findings)
    folders = lookup.roots
    images: list[RawImage] = []
    number = 0
    for row, (item, path) in enumerate(zip(drawn, paths, strict=True), start=1):
        size, fault = (None, None), ""
        if (item.width, item.height) != (None, None):  # else the form does not say
            size, fault = size_of({"width": item.width, "height": item.height}, item.place, findings)
        if fault:
            findings.error(item.place, fault)
        hint = "" if path else lookup.nearly(item.names[0])
        path = path or folders[0] / item.names[0]
        image = RawImage(row, path, _below(path, folders[0], source.parent), *size, hint=hint)
        for name, box, crowd in item.boxes:
            number += 1
            if name in label_of:
                image.boxes.append(RawBox(number, box, label_of[name], crowd))
            else:
                findings.error(item.place, f"the label {name!r:.80} is none of {', '.join(names)[:300] or 'nothing'}")
        images.append(image)
    if not names and not findings.errors:
        findings.error(source.name, "names no class and no object")
    if not images and not findings.errors:
        findings.error(source.name, f"the split {split} has no images")
    categories = tuple(Category(key, name) for key, name in enumerate(names, start=1))
    return assemble(split, categories, images, source, findings, check=check, repair=repair)


def _below(path: Path, *folders: Path) -> str:
    """The name that tells a picture from those of other folders."""
    above = next((folder for folder in folders if path.is_relative_to(folder)), path.parent.parent)
    return path.relative_to(above).as_posix()


def load_json(file: Path, findings: Findings) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It is none.
    """
    try:
        return json.loads(read_text(file, findings))
    except json.JSONDecodeError as error:
        what = f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(file, [f"{file.name}: {what}"]) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(file, [f"{file.name}: cannot be read as JSON ({error})"]) from error


def head(file: Path) -> bytes:
    """How a file begins, without a byte order mark and blanks; nothing where it cannot be read."""
    try:
        return beginning(file, _HEAD).removeprefix(b"\xef\xbb\xbf").lstrip() if is_file(file) else b""
    except OSError:
        return b""


def one_each(files: Sequence[Path], tool: str) -> dict[str, Path]:
    """The file of each split that the names speak of, "all" for one that names none.

    Raises:
        InputError: Several of one split.
    """
    found: dict[str, Path] = {}
    for file in files:
        split = split_in(file.stem) or "all"
        if split in found:
            raise InputError(
                f"{found[split]} and {file} both look like {tool} annotations of the split {split!r}; give one of them"
                " as the data, or leave one in the folder"
            )
        found[split] = file
    return found


def numbers(item: dict[str, Any], keys: Sequence[str]) -> list[float] | None:
    """The values of `keys`; None where one is missing or no number."""
    values = [float(v) for key in keys if is_number(v := item.get(key))]
    return values if len(values) == len(keys) else None


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a JSON file is a number that a coordinate may have."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
