"""Single values of COCO files: what is plain is taken, with a counted warning where it is not as it should be."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from focalkit.data._coco_json import as_dict
from focalkit.data._records import Box
from focalkit.data.check import Findings


def kind_of(value: object) -> str:
    return type(value).__name__


def whole(value: object, kind: str, place: str, findings: Findings) -> int | None:
    """The integer that `value` is, also as 1.0 or "1", which is counted; None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match value:
        case float() if value.is_integer():
            plain = int(value)
        case str() if len(value) < 20 and value.isascii() and value.isdecimal():
            plain = int(value)
        case _:
            return None
    findings.warn(f"{kind} are written as text or with a point: taken as integers", place)
    return plain


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def size_of(item: dict[str, Any], place: str, findings: Findings) -> tuple[tuple[int | None, int | None], str]:
    """(width, height), both None where they are not given (missing, null, 0), and what is wrong with them or ""."""
    given = (item.get("width"), item.get("height"))
    if any(side is None or (side == 0 and not isinstance(side, bool)) for side in given):
        findings.warn("images have no width and height: read from the file", place)
        return (None, None), ""
    width, height = (whole(side, "widths and heights", place, findings) for side in given)
    if width is None or height is None or not (0 < width < 2**31 and 0 < height < 2**31):
        return (None, None), f"width {given[0]!r:.20} and height {given[1]!r:.20} must be positive integers"
    return (width, height), ""


def box_of(item: dict[str, Any], place: str, findings: Findings) -> Box | None:
    """The box in xyxy, of `bbox` or else around the polygon; None, with an error, where there is neither."""
    bbox = item.get("bbox")
    if isinstance(bbox, list) and len(bbox) == 4 and any(isinstance(value, str) for value in bbox):
        bbox = _numbers(bbox, place, findings)
    if isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox)):
        x, y, w, h = map(_float, bbox)
        return x, y, x + w, y + h
    values = list(_polygon(item.get("segmentation"))) if bbox is None or bbox == [] else []
    if len(values) >= 6 and len(values) % 2 == 0:
        findings.warn("annotations have no bbox: the box of the polygon taken", place)
        xs, ys = values[::2], values[1::2]
        return min(xs), min(ys), max(xs), max(ys)
    neither = "" if "bbox" in item else "missing: bbox; "
    findings.error(place, f"{neither}bbox must be four numbers [x, y, width, height], got {bbox!r:.200}")
    return None


def _numbers(values: list[Any], place: str, findings: Findings) -> list[Any]:
    """The numbers that a list of texts means; the list where they mean none."""
    try:
        numbers = [float(value) for value in values if not isinstance(value, bool)]
    except (TypeError, ValueError, OverflowError):
        return values
    findings.warn("boxes are written as text: taken as numbers", place)
    return numbers


def _polygon(segmentation: object) -> Iterable[float]:
    """The numbers of all polygons of a segmentation, x and y in turn; none where it is something else."""
    if isinstance(segmentation, list) and segmentation and all(map(_is_number, segmentation)):
        segmentation = [segmentation]
    if isinstance(segmentation, list) and all(isinstance(p, list) and len(p) % 2 == 0 for p in segmentation):
        values = [value for polygon in segmentation for value in polygon]
        return [_float(v) for v in values] if all(map(_is_number, values)) else []
    return []


def area_of(item: dict[str, Any], place: str, findings: Findings) -> float | None:
    area = item.get("area")
    if area is None:
        return None
    if _is_number(area) and 0 < _float(area) < math.inf:
        return float(area)
    findings.warn("areas are no positive number: width * height taken", place)
    return None


def used_categories(content: dict[str, Any], path: Path, findings: Findings) -> list[Any]:
    """The categories without the one that Roboflow's exports put above all others, and background: no box has them."""
    items = [item for item in content["categories"] if isinstance(item, dict)]
    above = {item.get("supercategory") for item in items if isinstance(item.get("supercategory"), str)}
    roots = [i for i in items if i.get("supercategory") in ("none", None) and isinstance(i.get("name"), str)]
    roots = [root for root in roots if root["name"] in above and root.get("id") == 0]
    nothing = [i for i in items if isinstance(i.get("name"), str) and i["name"].strip("_ ").lower() == "background"]
    unused = [*roots, *nothing] if len(items) > 1 else []
    annotations = map(as_dict, content["annotations"]) if unused else ()
    used = {repr(a.get("category_id")) for a in annotations if isinstance(a, dict)}
    unused = [item for item in unused if repr(item.get("id")) not in used]
    for item in unused:
        root = any(item is one for one in roots)
        kind = "stand above all others and have no box (Roboflow's root)" if root else "are background and have no box"
        findings.warn(f"categories {kind}: left out", f"{path.name}: category {item.get('id')!r:.20} {item['name']!r}")
    return [item for item in content["categories"] if not any(item is one for one in unused)]
