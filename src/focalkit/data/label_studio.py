"""Label Studio's own exports: JSON (a list of tasks with `annotations`) and JSON-MIN, with the images beside them.

Read: rectangles, in percent of the image; of turned ones, polygons and ellipses the box around them, with a counted
warning. Brush strokes, key points and lines are left out, counted. A task without an annotation is no part of the data,
one whose annotation is empty is an image without objects. Of several annotations of a task that marked as ground truth
is taken, otherwise the last. Classes in alphabetical order, with ids from 1. Splits are the files that are called so,
otherwise "all". The eight characters that Label Studio puts before the name of an uploaded file may be there or not.
Not read: predictions, choices, text, tasks with several images.
"""

import math
import re
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from focalkit._files import special, visible
from focalkit._pictures import is_picture
from focalkit.data._drawn import ENCLOSED, LEFT_OUT, Drawn, head, is_number, load_json, numbers, one_each, records
from focalkit.data._records import Box, DetectionData
from focalkit.data._shapes import around, turned, turned_ellipse, within
from focalkit.data.check import Findings
from focalkit.errors import DataError

LOOKED_FOR = "Label Studio: a JSON or JSON-MIN export, with images/"
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels", "brushlabels", "keypointlabels")
_DRAWN = ("x", "points", "rle")
_SEVERAL = "tasks have several annotations: that marked as ground truth taken, otherwise the last"
_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


@dataclass(frozen=True)
class LabelStudioFiles:
    """Where one split lies, and the files of all splits (for the classes)."""

    file: Path
    everything: tuple[Path, ...]


def find(path: Path) -> dict[str, LabelStudioFiles]:
    """The splits of Label Studio's exports at `path` (a folder or the file); empty where there are none.

    Raises:
        InputError: Several files of one split.
    """
    here = [path] if path.is_file() else visible(path, "*.json")
    found = one_each([file for file in here if is_label_studio(file)], "Label Studio's")
    return {split: LabelStudioFiles(file, tuple(found.values())) for split, file in found.items()}


def is_label_studio(file: Path) -> bool:
    """Whether a JSON file is a list in which regions of images stand."""
    if file.suffix.lower() != ".json" or not head(file).startswith(b"["):
        return False
    try:
        if special(file):
            return False
        with file.open("rb") as content, mmap(content.fileno(), 0, access=ACCESS_READ) as text:
            return text.find(b'"original_width"') >= 0
    except (OSError, ValueError):
        return False


def read(split: str, where: LabelStudioFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings, file = Findings(), where.file
    drawn = _images(file, findings)
    if not drawn and not findings.errors:
        findings.error(file.name, "no task has an annotation; predictions are not taken: accept them in Label Studio")
    _refuse_shares(drawn, file, findings)
    others = [image for other in where.everything if other != file for image in _images(other, Findings())]
    names = sorted({name for image in (*drawn, *others) for name, _, _ in image.boxes})
    folders = [file.parent / "images", file.parent / "data", file.parent]
    return records(split, drawn, names, folders, file, findings, check=check, repair=repair)


def _images(file: Path, findings: Findings) -> list[Drawn]:
    """The annotated images of a file."""
    tasks = load_json(file, findings)
    if not isinstance(tasks, list):
        raise DataError(file, [f"{file.name}: expected a list of tasks"])
    drawn: list[Drawn] = []
    for row, task in enumerate(_last_of_each(tasks, file, findings), start=1):
        place = f"{file.name}: task {task.get('id', row) if isinstance(task, dict) else row}"
        if not isinstance(task, dict):
            findings.error(place, f"expected an object, got {task!r:.40}")
            continue
        regions = _regions(task, place, findings)
        if regions is None:
            findings.warn("tasks have no annotation: left out", place)
        elif names := _file_names(task):
            drawn.append(_image(Drawn(names, f"{place} ({names[0]})"), regions, findings))
        else:
            findings.error(place, "names no image")
    return drawn


def _last_of_each(tasks: list[Any], where: Path, findings: Findings) -> list[Any]:
    """JSON-MIN has an entry for every annotation: of those of one task the last."""
    found: dict[object, Any] = {}
    for row, task in enumerate(tasks):
        minimal = isinstance(task, dict) and "annotation_id" in task and isinstance(task.get("id"), (int, str))
        key = ("task", task["id"]) if minimal else row
        if key in found:
            findings.warn(_SEVERAL, f"{where.name}: task {task['id']}")
        found[key] = task
    return list(found.values())


def _regions(task: dict[str, Any], place: str, findings: Findings) -> list[dict[str, Any]] | None:
    """What is drawn on the image of a task, as flat dictionaries; None where nobody has annotated it."""
    if "annotations" not in task and "data" not in task:  # JSON-MIN: a list for every control, a task for every one
        lists = [v for v in task.values() if isinstance(v, list)]
        return [r for found in lists for r in found if isinstance(r, dict) and "original_width" in r]
    given = task.get("annotations")
    done = [a for a in given if isinstance(a, dict)] if isinstance(given, list) else []
    done = [a for a in done if not a.get("was_cancelled") and isinstance(a.get("result"), list)]
    if not done:
        return None
    if len(done) > 1:
        findings.warn(_SEVERAL, place)
    chosen = next((a for a in done if a.get("ground_truth")), done[-1])["result"]
    values = [(r, r["value"]) for r in chosen if isinstance(r, dict) and isinstance(r.get("value"), dict)]
    flat = [{**r, **value} for r, value in values if "original_width" in r]
    flat = [r for r in flat if _labels(r) or any(key in r for key in _DRAWN)]  # the rest is said of the whole image
    if len(drawn_on := {r["to_name"] for r in flat if isinstance(r.get("to_name"), str)}) > 1:
        listed = ", ".join(sorted(drawn_on))
        findings.error(place, f"has boxes on several images ({listed}), expected one: make each a task of its own")
    labelled = {str(r.get("id")) for r in flat if _labels(r)}
    # a shape and its label may be two entries of one id
    return [r for r in flat if _labels(r) or r.get("id") is None or str(r["id"]) not in labelled]


def _labels(region: dict[str, Any]) -> list[str]:
    found = [value for key in _LABELS if isinstance(value := region.get(key), list)]
    return [name.strip() for value in found for name in value if isinstance(name, str) and name.strip()]


def _file_names(task: dict[str, Any]) -> list[str]:
    """What the image may be called: as the task says, without an address before it, without the upload's prefix."""
    data = inner if isinstance(inner := task.get("data"), dict) else task
    given = [value for value in (*data.values(), task.get("file_upload")) if isinstance(value, str)]
    found: list[str] = []
    for value in given:
        try:
            parts = urlsplit(value)
            local = parse_qs(parts.query).get("d")
            read = [unquote(local[0] if local else parts.path)] + [value] * (not parts.scheme)  # "a#1.png" is a name
        except ValueError:  # no address
            read = [value]
        for name in read:
            if is_picture(Path(name)):
                found += [name, value]
                if "upload/" in value or value == task.get("file_upload"):  # of others eight digits are a date
                    folder, slash, last = name.rpartition("/")
                    found += [f"{folder}{slash}{_PREFIX.sub('', last)}", _PREFIX.sub("", last)]
    return list(dict.fromkeys(name for name in found if name))


def _image(drawn: Drawn, regions: list[dict[str, Any]], findings: Findings) -> Drawn:
    for number, region in enumerate(regions, start=1):
        where = f"{drawn.place}, region {number}"
        width, height = region.get("original_width"), region.get("original_height")
        if not (is_number(width) and is_number(height) and width > 0 and height > 0):
            got = f"{width!r:.20} and {height!r:.20}"
            findings.error(where, f"original_width and original_height must be positive, got {got}")
            continue
        if (drawn.width or width, drawn.height or height) != (width, height):
            findings.error(where, f"the image is {width} x {height} here, {drawn.width} x {drawn.height} before")
            continue
        drawn.width, drawn.height = width, height
        if region.get("image_rotation") not in (None, 0):
            findings.error(where, f"the image is turned by {region['image_rotation']!r:.20} degrees: turn the file")
            continue
        box, exact = _box(region, width, height)
        if box is None and not exact:
            findings.warn(LEFT_OUT, where)
        elif box is None:
            what = "x, y, width and height must be numbers, in percent of the image"
            findings.error(where, f"{what}; got {[region.get(k) for k in ('x', 'y', 'width', 'height')]!r:.80}")
        elif not (labels := _labels(region)):
            findings.error(where, "has no label")
        else:
            if not exact:
                findings.warn(ENCLOSED, where)
                box = within(box, width, height)
            drawn.boxes += [(label, box, False) for label in labels]
    return drawn


def _box(region: dict[str, Any], width: float, height: float) -> tuple[Box | None, bool]:
    """(box in pixels, whether the region is a rectangle and not enclosed by one).

    (None, False): no box by its nature; (None, True): the numbers are wrong.
    """
    points, kind = region.get("points"), str(region.get("type", ""))
    sx, sy = width / 100, height / 100
    if isinstance(points, list):
        pairs = [p for p in points if isinstance(p, list) and len(p) == 2 and all(map(is_number, p))]
        sound = len(pairs) == len(points) >= 3
        return (around([p[0] * sx for p in pairs], [p[1] * sy for p in pairs]) if sound else None), not sound
    turn = region.get("rotation") or 0
    angle = math.radians(turn) if is_number(turn) else math.nan
    if "radiusX" in region:
        values = numbers(region, ("x", "y", "radiusX", "radiusY"))
        if values is None:
            return None, True
        x, y, rx, ry = values
        return turned_ellipse(x * sx, y * sy, rx * sx, ry * sy, angle), False
    if kind.startswith(("brush", "keypoint", "vector")) or "rle" in region or "keypointlabels" in region:
        return None, False
    values = numbers(region, ("x", "y", "width", "height"))
    if values is None:
        return None, True
    x, y, w, h = values[0] * sx, values[1] * sy, values[2] * sx, values[3] * sy
    if not angle:
        return (x, y, x + w, y + h), True
    cos, sin = math.cos(angle), math.sin(angle)  # about the corner (x, y), clockwise on the screen
    return turned(x + (w * cos - h * sin) / 2, y + (w * sin + h * cos) / 2, w, h, angle), False


def _refuse_shares(drawn: list[Drawn], where: Path, findings: Findings) -> None:
    """Boxes that end in the first hundredth of every image are not in percent."""
    boxed = [image for image in drawn if image.boxes]
    ends = [max(b[2] / i.width, b[3] / i.height) for i in boxed for _, b, _ in i.boxes if i.width and i.height]
    if ends and max(ends) <= 0.01:
        findings.error(where.name, "all boxes end below 1 percent of the image: shares from 0 to 1? Expected percent")
