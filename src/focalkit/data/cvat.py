"""CVAT for images 1.1: one `annotations.xml` with all images of a task or a project, and `images/` beside it.

Read: boxes; of turned boxes, polygons, ellipses, masks and cuboids the box around them, with a counted warning. Points,
lines and skeletons are left out, counted. Classes are the labels of the task in their order, with ids from 1; those
that can have no box (tags, points, lines) only where they have one. Splits are the subsets of a project that are called
so, or the folders (`train/annotations.xml`), otherwise "all". Not read: attributes, tags, tracks of videos.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import special, subfolders, visible
from focalkit.data._drawn import ENCLOSED, LEFT_OUT, Drawn, head, one_each, records
from focalkit.data._elsewhere import others_in
from focalkit.data._records import Box, DetectionData
from focalkit.data._shapes import around, turned, turned_ellipse, within
from focalkit.data._splits import split_in
from focalkit.data._texts import number_in, read_xml
from focalkit.data.check import Findings
from focalkit.errors import DataError

LOOKED_FOR = "CVAT: annotations.xml (CVAT for images), with images/"
_SHAPES = ("box", "polygon", "ellipse", "mask", "cuboid")
_BOXLESS = ("tag", "points", "polyline", "skeleton")
_BEGINS = re.compile(rb"<annotations[\s>]")
_SUBSET = re.compile(rb"""(?:\bsubset="([^"]*)"|<subset>([^<]*)</subset>)""")


@dataclass(frozen=True)
class CvatFiles:
    """Where one split lies: its XML file, the subset of its images (None for all), and the files of all splits."""

    file: Path
    subset: str | None
    everything: tuple[Path, ...]


def find(path: Path) -> dict[str, CvatFiles]:
    """The splits of CVAT's XML at `path` (a folder or the file); empty where there is none.

    Raises:
        InputError: Several files of one split.
    """
    if path.is_file():
        return _splits(path) if is_cvat(path) else {}
    here = [file for file in (*visible(path, "*.xml")[:8], path / "annotations/annotations.xml") if is_cvat(file)]
    if len(here) == 1:
        return _splits(here[0])
    found = one_each(here, "CVAT's")
    if not found:
        folders = {split: d for d in subfolders(path) if (split := split_in(d.name))}
        found = {split: file for split, d in folders.items() if is_cvat(file := d / "annotations.xml")}
    return {split: CvatFiles(file, None, tuple(found.values())) for split, file in found.items()}


def is_cvat(file: Path) -> bool:
    """Whether an XML file begins as CVAT's do."""
    return file.suffix.lower() == ".xml" and _BEGINS.search(head(file)) is not None


def _splits(file: Path) -> dict[str, CvatFiles]:
    try:
        named = [
            (a or b).decode("utf-8", "replace") for a, b in _SUBSET.findall(b"" if special(file) else file.read_bytes())
        ]
    except OSError:
        named = []
    splits = sorted({split for name in named if (split := split_in(name))})
    if splits:
        return {split: CvatFiles(file, split, (file,)) for split in splits}
    return {split_in(file.stem) or "all": CvatFiles(file, None, (file,))}


def read(split: str, where: CvatFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings, file = Findings(), where.file
    tree = _tree(file, findings)
    if tree.find("image") is None and tree.find("track") is not None:
        what = "holds tracks of a video; export it from CVAT as 'CVAT for images 1.1', with images"
        raise DataError(file, [f"{file.name}: {what}"])
    subsets = {(element.text or "").strip() for element in tree.iter("subset")}
    whole = subsets.pop() if len(subsets) == 1 else ""  # of a task, where images say nothing
    drawn: list[Drawn] = []
    for row, image in enumerate(tree.iter("image"), start=1):
        part = split_in(image.get("subset") or whole)
        if where.subset in (None, part):
            drawn.append(_image(row, image, file, findings))
        elif part is None:
            what = "images are in no subset of a split, as others are: left out"
            findings.warn(what, f"{file.name}: {image.get('name')}")
    trees = (tree if other == file else _tree(other, Findings()) for other in where.everything)
    names = list(dict.fromkeys(name for one in trees for name in _names(one)))
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    folders = [root / "images", root, *([root / "images" / whole] if whole else [])]
    others = others_in((root / "images", root))
    return records(split, drawn, names, folders, file, findings, check=check, repair=repair, others=others)


def _tree(file: Path, findings: Findings) -> ET.Element:
    try:
        return read_xml(file, findings)
    except ET.ParseError as error:
        line, column = error.position
        raise DataError(file, [f"{file.name}: not XML at line {line}, column {column}: {error}"]) from error
    except (OSError, ValueError, LookupError) as error:
        raise DataError(file, [f"{file.name}: cannot be read ({error})"]) from error


def _names(tree: ET.Element) -> list[str]:
    """The classes: the labels of the task; those of the shapes where the file tells of none."""
    used = {label for tag in _SHAPES for shape in tree.iter(tag) if (label := (shape.get("label") or "").strip())}
    names: dict[str, None] = {}
    for label in tree.iterfind(".//labels/label"):
        name, kind = (label.findtext("name") or "").strip(), (label.findtext("type") or "any").strip()
        part = (label.findtext("parent") or "").strip()  # of a skeleton
        if name and (name in used or not (part or kind in _BOXLESS)):
            names[name] = None
    return list(names) or sorted(used)


def _image(row: int, image: ET.Element, file: Path, findings: Findings) -> Drawn:
    name = (image.get("name") or "").strip()
    place = f"{file.name}: image {image.get('id', row)} ({name})"
    if not name:
        findings.error(place, "the image has no name")
    sides = [image.get(side) or "0" for side in ("width", "height")]
    width, height = (side if (plain := number_in(side)) is None else plain for side in sides)
    subset = (image.get("subset") or "").strip()
    names = [f"{subset}/{name}"] * bool(subset) + [name]  # subsets may have images of one name
    drawn = Drawn(names if name else ["?"], place, width, height)
    for number, shape in enumerate(image, start=1):
        if shape.tag == "tag":
            continue
        where = f"{place}, {shape.tag} {number}"
        if shape.tag in _BOXLESS:
            findings.warn(LEFT_OUT, where)
            continue
        label, box = (shape.get("label") or "").strip(), _box(shape)
        if not label:
            findings.error(where, "has no label")
        elif box is None:
            findings.error(where, f"has no numbers that make a box: {dict(shape.attrib)!r:.120}")
        else:
            if shape.tag != "box" or _number(shape.get("rotation", "0")):
                findings.warn(ENCLOSED, where)
                box = within(box, _side(width), _side(height))
            drawn.boxes.append((label, box, False))
    return drawn


def _side(value: int | str) -> int | None:
    return value if isinstance(value, int) else None


def _box(shape: ET.Element) -> Box | None:
    """The box of a shape, in pixels; None where it is of no known kind or lacks a number."""
    angle = math.radians(_number(shape.get("rotation", "0")))
    match shape.tag:
        case "box":
            x0, y0, x1, y1 = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
            box = turned((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, angle) if angle else (x0, y0, x1, y1)
        case "polygon":
            values = list(_points(shape.get("points") or ""))
            box = around(values[::2], values[1::2]) if len(values) >= 6 else None
        case "ellipse":
            cx, cy, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
            box = turned_ellipse(cx, cy, rx, ry, angle)
        case "mask":
            left, top, width, height = _numbers(shape, "left", "top", "width", "height")
            box = (left, top, left + width, top + height)
        case "cuboid":
            corners = [f"{side}{end}" for side in ("tl", "bl", "tr", "br") for end in "12"]
            box = around(_numbers(shape, *(f"x{c}" for c in corners)), _numbers(shape, *(f"y{c}" for c in corners)))
        case _:
            return None
    return box if box is not None and all(map(math.isfinite, box)) else None


def _numbers(shape: ET.Element, *names: str) -> list[float]:
    return [_number(shape.get(name, "")) for name in names]


def _points(text: str) -> Iterator[float]:
    """Of "x,y;x,y": x, y, x, y; nan for a point that is none."""
    for point in text.split(";"):
        x, _, y = point.partition(",")
        yield _number(x)
        yield _number(y)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
