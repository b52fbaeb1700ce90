"""Datumaro's JSON: `annotations/<subset>.json` with `items`, and `images/<subset>/`, as Datumaro and CVAT export it.

Read: `bbox` ([x, y, width, height] in pixels); of turned ones, polygons and ellipses the box around them, with a
counted warning. Points, lines and masks are left out, counted. Classes are the labels of the file in their order, with
ids from 1. Splits are the subsets that are called so, otherwise "all". Not read: attributes, captions, other media than
images.
"""

import math
import re
from pathlib import Path
from typing import Any

from focalkit._files import visible
from focalkit._pictures import SUFFIXES
from focalkit.data._drawn import ENCLOSED, LEFT_OUT, Drawn, head, is_number, load_json, one_each, records
from focalkit.data._records import Box, DetectionData
from focalkit.data._shapes import around, turned, within
from focalkit.data.check import Findings
from focalkit.errors import DataError

LOOKED_FOR = "Datumaro: annotations/*.json with items, and images/"
_BEGINS = re.compile(rb'"dm_format_version"|"categories"\s*:\s*\{')
_WITHOUT_BOX = ("points", "polyline", "mask", "skeleton", "cuboid_3d")
_NOTHING = ("label", "caption")


def find(path: Path) -> dict[str, Path]:
    """The splits of Datumaro's JSON at `path` (a folder or the file); empty where there are none.

    Raises:
        InputError: Several files of one split.
    """
    files = [path] if path.is_file() else visible(path, "annotations/*.json") or visible(path, "*.json")
    return one_each([file for file in files if is_datumaro(file)], "Datumaro's")


def is_datumaro(file: Path) -> bool:
    """Whether a JSON file begins as Datumaro's do."""
    begins = head(file) if file.suffix.lower() == ".json" else b""
    return begins.startswith(b"{") and _BEGINS.search(begins) is not None


def read(split: str, where: Path, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    content = load_json(where, findings)
    names, items = _label_names(content), content.get("items") if isinstance(content, dict) else None
    if names is None or not isinstance(items, list):
        what = "expected categories.label.labels, each with a name, and a list of items"
        raise DataError(where, [f"{where.name}: {what}"])
    drawn = [_image(row, item, names, where, findings) for row, item in enumerate(items, start=1)]
    root = where.parent.parent if where.parent.name == "annotations" else where.parent
    folders = [root / "images" / where.stem, root / "images", root / where.stem, root]
    found = [image for image in drawn if image is not None]
    return records(split, found, names, folders, where, findings, check=check, repair=repair)


def _label_names(content: object) -> list[str] | None:
    """The names of the labels; None where they are not as they should be."""
    value: Any = content
    for key in ("categories", "label", "labels"):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in value):
        return None
    names = [entry["name"].strip() for entry in value]
    return names if all(names) and len(set(names)) == len(names) else None


def _image(row: int, item: Any, names: list[str], where: Path, findings: Findings) -> Drawn | None:
    key = item.get("id") if isinstance(item, dict) else None
    place = f"{where.name}: item {row} ({key!s:.80})"
    if not isinstance(key, (str, int)) or isinstance(key, bool) or not str(key):
        findings.error(place, "has no id")
        return None
    media = [m for name in ("image", "media") if isinstance(m := item.get(name), dict)]
    paths = [path for m in media if isinstance(path := m.get("path"), str) and path]
    sizes = [size for m in media if isinstance(size := m.get("size"), list) and len(size) == 2]
    height, width = sizes[0] if sizes else (None, None)
    drawn = Drawn([*dict.fromkeys(paths), *(f"{key}{suffix}" for suffix in SUFFIXES)], place, width, height)
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        findings.error(place, "annotations must be a list")
        return drawn
    for number, annotation in enumerate(annotations, start=1):
        _add(annotation, drawn, names, f"{place}, annotation {number}", findings)
    return drawn


def _add(annotation: Any, drawn: Drawn, names: list[str], where: str, findings: Findings) -> None:
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    if kind in _NOTHING:
        return
    if kind in _WITHOUT_BOX:
        findings.warn(LEFT_OUT, where)
        return
    box = _box(annotation) if kind in ("bbox", "polygon", "ellipse") else None
    label = annotation.get("label_id") if isinstance(annotation, dict) else None
    if box is None:
        findings.error(where, f"is no bbox of four numbers and no polygon: {annotation!r:.120}")
    elif type(label) is not int or not 0 <= label < len(names):
        findings.error(where, f"label_id {label!r:.40} is none of 0 .. {len(names) - 1}")
    else:
        if kind != "bbox" or _turn(annotation):
            findings.warn(ENCLOSED, where)
            box = within(box, *(side if is_number(side) else None for side in (drawn.width, drawn.height)))
        drawn.boxes.append((names[label], box, bool(_attributes(annotation).get("is_crowd"))))


def _attributes(annotation: dict[str, Any]) -> dict[str, Any]:
    found = annotation.get("attributes")
    return found if isinstance(found, dict) else {}


def _turn(annotation: dict[str, Any]) -> float:
    value = _attributes(annotation).get("rotation")
    return float(value) if is_number(value) else 0.0


def _box(annotation: dict[str, Any]) -> Box | None:
    """The box of a bbox, or around a polygon or an ellipse (its corners); None where the numbers make none."""
    bbox = annotation.get("bbox")
    if annotation["type"] == "bbox":
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox))):
            return None
        x, y, w, h = map(float, bbox)
        if angle := math.radians(_turn(annotation)):
            return turned(x + w / 2, y + h / 2, w, h, angle)
        return x, y, x + w, y + h
    points = annotation.get("points")
    if not (isinstance(points, list) and len(points) >= 4 and len(points) % 2 == 0 and all(map(is_number, points))):
        return None
    return around(points[::2], points[1::2])
