"""COCO detection annotations: one JSON file per split and the images somewhere near it.

Read: `images` (id, file_name, width, height), `annotations` (id, image_id, category_id, bbox, iscrowd, area) and
`categories` (id, name). Not read: masks, key points, licences.
Error: JSON syntax, missing keys, ids that are not integers, ids given twice, unknown image or category.
Warning: an annotation of id 0 (pycocotools never counts it as matched; `DetectionData.to_coco` numbers again from 1),
two categories of one name, an `area` that is no positive number.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from focalkit._files import is_file
from focalkit.data._records import Category, DetectionData
from focalkit.data._splits import SPLITS, split_in, split_words
from focalkit.data.check import Findings, RawBox, RawImage, assemble
from focalkit.errors import DataError, InputError

LOOKED_FOR = "COCO: annotations/*.json, <split>.json, or <split>/_annotations.coco.json"
_ROBOFLOW = "_annotations.coco.json"
_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")


@dataclass(frozen=True)
class CocoFiles:
    """Where one split lies: its JSON file and the folders that may hold the images, best guess first."""

    json: Path
    image_dirs: tuple[Path, ...]


def find(path: Path) -> dict[str, CocoFiles]:
    """The splits of a COCO data set at `path` (a folder or one JSON file); empty where there is none.

    Raises:
        InputError: Two files claim the same split.
    """
    if path.is_file():
        return {split_in(path.name) or "all": CocoFiles(path, _image_dirs(path))} if path.suffix == ".json" else {}
    beside = sorted(path.glob(f"*/{_ROBOFLOW}"))
    if beside:
        return _one_each({p: split_in(p.parent.name) or p.parent.name for p in beside})
    if (path / _ROBOFLOW).is_file():
        return _one_each({path / _ROBOFLOW: split_in(path.name) or "all"})
    files = [p for p in sorted((path / "annotations").glob("*.json")) if not p.name.startswith(_OTHER_TASKS)]
    instances = [p for p in files if p.name.startswith("instances")]
    if not files:
        files = [p for p in sorted(path.glob("*.json")) if split_in(p.name)]
    return _one_each({p: split_in(p.name) or "all" for p in instances or files})


def files(json_path: Path, images: Path | None) -> CocoFiles:
    """The files of a split whose JSON file, and perhaps image folder, the caller names."""
    if not json_path.is_file():
        raise InputError(f"{json_path}: there is no such annotation file")
    if images is None:
        return CocoFiles(json_path, _image_dirs(json_path))
    if not images.is_dir():
        raise InputError(f"{images}: there is no such image folder (--images)")
    named = [images / word for word in _words(json_path)]
    return CocoFiles(json_path, (images, *(d for d in named if d.is_dir())))


def _one_each(split_of: dict[Path, str]) -> dict[str, CocoFiles]:
    found: dict[str, CocoFiles] = {}
    for path, split in split_of.items():
        if split in found:
            raise InputError(
                f"{found[split].json} and {path} both look like the COCO annotations of the split {split!r}; "
                "name one with --train-json / --val-json"
            )
        found[split] = CocoFiles(path, _image_dirs(path))
    return found


def _words(json_path: Path) -> list[str]:
    """Folder names that the images of this file may lie in."""
    split = split_in(json_path.name)
    return list(dict.fromkeys([*split_words(json_path.stem), *SPLITS.get(split or "", ())]))


def _image_dirs(json_path: Path) -> tuple[Path, ...]:
    root = json_path.parent.parent if json_path.parent.name == "annotations" else json_path.parent
    words = _words(json_path)
    places = [root / "images" / w for w in words] + [root / w / "images" for w in words] + [root / w for w in words]
    places += [root / "images", root, json_path.parent]
    return tuple(dict.fromkeys(d for d in places if d.is_dir()))


def read(split: str, where: CocoFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    content = _load(where.json)
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
    if missing:
        what = f"the keys images, annotations and categories must hold lists; missing: {', '.join(missing)}"
        raise DataError(where.json, [f"{where.json.name}: {what}"])
    categories = _categories(content["categories"], where.json, findings)
    images = _images(content["images"], where.json, findings)
    _annotations(content["annotations"], images, categories, where.json, findings)
    names = [image.file_name for image in images.values()]
    folder = _choose_dir(where, names)
    if folder is None and names and check:
        looked = ", ".join(map(str, where.image_dirs)) or "no folder"
        what = f"the images, such as {names[0]}, were not found; looked in {looked}; name their folder with --images"
        findings.error(where.json.name, what)
        check = False
    for image in images.values():
        image.path = (folder or where.json.parent) / image.file_name
    return assemble(split, categories, list(images.values()), where.json, findings, check=check, repair=repair)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        what = f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(path, [f"{path.name}: {what}"]) from error
    except (OSError, ValueError, RecursionError) as error:  # no text, or numbers and nesting beyond all bounds
        raise DataError(path, [f"{path.name}: the file cannot be read ({error})"]) from error
    if not isinstance(content, dict):
        what = f"expected a JSON object with images, annotations, categories; got a {_kind(content)}"
        raise DataError(path, [f"{path.name}: {what}"])
    return content


def _kind(value: object) -> str:
    return type(value).__name__


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _lacks(item: object, keys: tuple[str, ...], place: str, findings: Findings) -> bool:
    """True, with an error noted, where `item` is no object with all the keys."""
    if not isinstance(item, dict):
        findings.error(place, f"expected a JSON object, got a {_kind(item)}")
        return True
    missing = [key for key in keys if key not in item]
    if missing:
        findings.error(place, f"missing: {', '.join(missing)}")
    return bool(missing)


def _categories(items: list[Any], path: Path, findings: Findings) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    names: set[str] = set()
    for row, item in enumerate(items):
        place = f"{path.name}: categories[{row}]"
        if _lacks(item, ("id", "name"), place, findings):
            continue
        if not _is_id(item["id"]):
            findings.error(place, f"category id {item['id']!r} is a {_kind(item['id'])}, expected an integer")
        elif item["id"] in found:
            findings.error(place, f"category id {item['id']} is given twice")
        else:
            name = item["name"]
            if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
                findings.error(place, f"name is {name!r:.80}, expected a text")
                name = place
            name = str(name)
            if name in names:
                findings.warn("categories share their name with another", f"{place} {name!r}")
            names.add(name)
            found[item["id"]] = Category(item["id"], name)
    if not items:
        findings.error(path.name, "there are no categories")
    return tuple(found[key] for key in sorted(found))


def _images(items: list[Any], path: Path, findings: Findings) -> dict[Any, RawImage]:
    found: dict[Any, RawImage] = {}
    names: set[str] = set()
    for row, item in enumerate(items):
        place = f"{path.name}: images[{row}]"
        if _lacks(item, ("id", "file_name", "width", "height"), place, findings):
            continue
        key, name = item["id"], item["file_name"]
        place = f"{path.name}: image {key!r} ({name})"
        if not isinstance(name, str):
            findings.error(place, f"file_name is a {_kind(name)}, expected a string")
            continue
        if not isinstance(key, (int, str)):
            findings.error(place, f"the image id is a {_kind(key)}, expected an integer")
            continue
        if not _is_id(key):
            findings.error(place, f"the image id {key!r} is a {_kind(key)}, expected an integer")
        if key in found:
            findings.error(place, f"the image id is given twice, also for {found[key].file_name}")
            continue
        if name in names:
            findings.warn("images name a file that an earlier image names too", place)
        names.add(name)
        sides = (item["width"], item["height"])
        if not all(_is_id(side) and 0 < side < 2**31 for side in sides):
            what = f"width {sides[0]!r:.20} and height {sides[1]!r:.20} must be positive integers"
            findings.error(place, what)
            found[key] = RawImage(key, Path(name), name)
        else:
            found[key] = RawImage(key, Path(name), name, item["width"], item["height"])
    if not items:
        findings.error(path.name, "there are no images")
    return found


def _choose_dir(where: CocoFiles, names: list[str]) -> Path | None:
    """The folder that holds most of a sample of the images; None where no folder holds one of them."""
    sample = names[:: max(1, len(names) // 20)]
    counts = {d: sum(is_file(d / name) for name in sample) for d in where.image_dirs}
    best = max(counts, key=lambda d: counts[d], default=None)
    return best if best is not None and counts[best] > 0 else None


def _annotations(
    items: list[Any], images: dict[Any, RawImage], categories: tuple[Category, ...], path: Path, findings: Findings
) -> None:
    """Add every annotation to its image."""
    label_of = {c.id: label for label, c in enumerate(categories)}
    seen: set[int] = set()
    for row, item in enumerate(items):
        place = f"{path.name}: annotations[{row}]"
        if _lacks(item, ("id", "image_id", "category_id", "bbox"), place, findings):
            continue
        key, image_id, category, bbox = item["id"], item["image_id"], item["category_id"], item["bbox"]
        image = images.get(image_id) if _is_id(image_id) or isinstance(image_id, str) else None
        name = f" ({image.file_name})" if image else ""
        place = f"{path.name}: image {image_id!r}{name}, annotation {key!r}"
        before = len(findings.errors)
        if not _is_id(key):
            findings.error(place, f"the annotation id is a {_kind(key)}, expected an integer")
        elif key in seen:
            findings.error(place, "the annotation id is given twice")
        else:
            seen.add(key)
            if key == 0:
                findings.warn("annotation ids are 0 (pycocotools never matches it; numbered again here)", place)
        if image is None:
            findings.error(place, "there is no image of that id")
        label = label_of.get(category) if _is_id(category) else None
        if label is None:
            findings.error(place, f"there is no category {category!r}")
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
            findings.error(place, f"bbox must be four numbers [x, y, width, height], got {bbox!r}")
        if item.get("iscrowd", 0) not in (0, 1):
            findings.error(place, f"iscrowd must be 0 or 1, got {item['iscrowd']!r}")
        if len(findings.errors) > before or image is None or label is None:
            continue
        x, y, w, h = map(_float, bbox)
        area = _area(item, place, findings)
        image.boxes.append(RawBox(key, (x, y, x + w, y + h), label, bool(item.get("iscrowd", 0)), area))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _area(item: dict[str, Any], place: str, findings: Findings) -> float | None:
    area = item.get("area")
    if area is None:
        return None
    if _is_number(area) and 0 < _float(area) < math.inf:
        return float(area)
    findings.warn("areas are no positive number: width * height taken", place)
    return None
