"""labelme (and X-AnyLabeling): one JSON file per image, beside it or in a folder of their own.

Read: `shapes` (label, points, shape_type), `imagePath`, `imageWidth`, `imageHeight`. Of polygons, circles, masks and
rotated boxes the enclosing box is taken, points and lines are left out; each counted as a warning. Splits are the
folders that are called so (`train/`, `val/`), otherwise everything is "all". Classes are the labels of all splits in
alphabetical order, with ids from 1. An image without a JSON file is no part of the data (counted as a warning).
Not read: `imageData`, `flags`, `group_id`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeGuard

from focalkit._files import special, walk
from focalkit._pictures import SUFFIXES
from focalkit._progress import track
from focalkit.data._coco_values import kind_of, size_of
from focalkit.data._drawn import is_number
from focalkit.data._lookup import Lookup
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._splits import by_folder
from focalkit.data._texts import read_text
from focalkit.data.check import Findings, RawBox, RawImage, assemble, tell_unlabelled

LOOKED_FOR = "labelme: *.json with shapes and imagePath, one per image"
_HEAD = 4096


@dataclass(frozen=True)
class LabelmeFiles:
    """Where one split lies: its JSON files, and those of the whole data set (for the classes)."""

    jsons: tuple[Path, ...]
    everything: tuple[Path, ...]
    root: Path


def find(path: Path) -> dict[str, LabelmeFiles]:
    """The splits of labelme's files in the folder `path`; empty where there are none."""
    if not path.is_dir():
        return {}
    jsons = [file for file in walk(path, outputs=False) if file.suffix.lower() == ".json"]
    if not any(is_labelme(file) for file in jsons[:5]):
        return {}
    jsons = [file for file in jsons if is_labelme(file)]
    return {split: LabelmeFiles(files, tuple(jsons), path) for split, files in by_folder(jsons, path).items()}


def is_labelme(file: Path) -> bool:
    """Whether the beginning and the end of a JSON file look like labelme's."""
    try:
        if special(file):
            return False
        with file.open("rb") as content:
            head = content.read(_HEAD)
            content.seek(max(0, file.stat().st_size - _HEAD))
            ends = head + content.read()
    except OSError:
        return False
    return b'"shapes"' in head and any(key in ends for key in (b'"imagePath"', b'"imageHeight"'))


def read(split: str, where: LabelmeFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    files = track(where.everything, len(where.everything), "reading annotations")
    contents = {file: _load(file, findings) for file in files}
    names = sorted({shape["label"] for content in contents.values() for shape in _shapes(content)})
    categories = tuple(Category(key, name) for key, name in enumerate(names, start=1))
    label_of = {name: label for label, name in enumerate(names)}
    images: list[RawImage] = []
    lookups: dict[Path, Lookup] = {}
    for row, file in enumerate(where.jsons, start=1):
        content = contents[file]
        if content is None:
            continue
        image = _image(row, file, content, where.root, lookups, findings)
        for number, shape in enumerate(_shapes(content), start=1):
            box = _box(shape, f"{file}: shape {number} ({shape['label']})", findings)
            if box is not None:
                image.boxes.append(RawBox(len(image.boxes) + 1, box, label_of[shape["label"]]))
        images.append(image)
    tell_unlabelled(images, {file.stem for file in where.everything}, "JSON", findings)
    number = 1
    for image in images:
        for box in image.boxes:
            box.id, number = number, number + 1
    if not names:
        findings.error(str(where.root), "no file names an object")
    return assemble(split, categories, images, where.root, findings, check=check, repair=repair)


def _load(file: Path, findings: Findings) -> dict[str, Any] | None:
    try:
        content = json.loads(read_text(file, findings))
    except json.JSONDecodeError as error:
        findings.error(str(file), f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}")
        return None
    except (OSError, ValueError, RecursionError) as error:
        findings.error(str(file), f"the file cannot be read ({error})")
        return None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        findings.error(str(file), "expected an object with a list of shapes")
        return None
    for place, shape in enumerate(content["shapes"], start=1):
        if isinstance(shape, dict) and type(shape.get("label")) is int:
            shape["label"] = str(shape["label"])
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"].strip():
            findings.error(f"{file}: shape {place}", "has no label")
    return content


def _shapes(content: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The shapes with a label; the others have been refused."""
    shapes = content["shapes"] if content else []
    return [s for s in shapes if isinstance(s, dict) and isinstance(s.get("label"), str) and s["label"].strip()]


def _image(
    row: int, file: Path, content: dict[str, Any], root: Path, lookups: dict[Path, Lookup], findings: Findings
) -> RawImage:
    named = content.get("imagePath")
    folders = [file.parent, root, root / "images", root / "images" / file.parent.name]
    lookup = lookups.setdefault(file.parent, Lookup(folders, findings))
    given = [named, PureWindowsPath(named).name] if isinstance(named, str) and named else []
    own = [f"{file.stem}{suffix}" for suffix in SUFFIXES]
    agrees = not given or PureWindowsPath(given[0]).stem.casefold() == file.stem.casefold()
    names = [*given, *own] if agrees else [*own, *given]
    path = next((p for name in names if (p := lookup.literal(name))), None)
    path = path or next((p for name in names if (p := lookup.loosely(name))), None)
    if path is not None and not agrees and path.name not in given and any(map(lookup.has, given)):
        findings.warn("files name another image than their own: the one called like them taken", f"{file}: {named}")
    (width, height), fault = size_of(
        {"width": content.get("imageWidth"), "height": content.get("imageHeight")}, str(file), findings
    )
    if fault:
        findings.error(str(file), fault)
    hint = "" if path else f" (imagePath {named!r:.80} in {file.name}){lookup.nearly((given or own)[0])}"
    place = path or file.parent / (given or own)[0]
    return RawImage(row, place, place.name, width, height, hint=hint, file=str(file))


def _box(shape: dict[str, Any], place: str, findings: Findings) -> Box | None:
    """The box of a shape; None where it is none."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if kind in ("point", "points", "line", "linestrip"):
        findings.warn("shapes are points or lines: left out", place)
        return None
    if not _are_points(points):
        findings.error(place, f"points must be a list of [x, y], got {kind_of(points)} {points!r:.80}")
        return None
    if kind == "circle" and len(points) == 2:
        (cx, cy), (x, y) = points
        radius = math.hypot(x - cx, y - cy)
        points = [[cx - radius, cy - radius], [cx + radius, cy + radius]]
    elif len(points) < 2:
        findings.error(place, f"a {kind} of {len(points)} points has no box")
        return None
    if kind != "rectangle":
        findings.warn("shapes are polygons, circles or masks: their enclosing boxes taken", place)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _are_points(points: object) -> TypeGuard[list[list[float]]]:
    return isinstance(points, list) and all(
        isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points
    )
