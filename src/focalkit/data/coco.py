"""COCO detection annotations: one JSON file per split and the images somewhere near it.

Read: `images` (id, file_name, width, height), `annotations` (id, image_id, category_id, bbox, iscrowd, area) and
`categories` (id, name); of `segmentation` the box, where there is no `bbox`. Not read: masks, key points, licences.
Error: JSON syntax, missing keys, ids that are no whole numbers, image and category ids given twice, unknown image or
category.
No `file_name` but a `coco_url` (LVIS 1): its last folder and name.
Warning, and taken: ids written as text or as 1.0; annotation ids that are missing, 0 or given twice (numbered again);
no width and height (read from the image); no bbox but a polygon; `iscrowd` null; an `area` that is no positive number;
boxes written as text; two categories of one name; the root category of Roboflow's exports and a background without
boxes (left out).
"""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from focalkit._files import is_file
from focalkit.data._coco_files import CocoFiles, other_folders
from focalkit.data._coco_files import files as files
from focalkit.data._coco_files import find as find
from focalkit.data._coco_json import as_dict, load, plain_or_whole
from focalkit.data._coco_values import area_of, box_of, kind_of, size_of, used_categories, whole
from focalkit.data._elsewhere import find_images
from focalkit.data._opened import recall, remember, state
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._texts import read_text
from focalkit.data.check import Findings, RawBox, RawImage, as_corners, assemble, leave_out
from focalkit.errors import DataError

LOOKED_FOR = "COCO: annotations/*.json, <split>.json, <split>/_annotations.coco.json, or one JSON file with images/"
_LIST_KEYS = ("images", "annotations", "categories")


def read(split: str, where: CocoFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split; of a large one that has not changed, what the last time has found.

    Raises:
        DataError: With every problem found.
    """
    key = (split, where.json.absolute(), *(folder.absolute() for folder in where.image_dirs), check, repair)
    with _collector_paused():
        data = recall(key, where.json, where.image_dirs)
        if data is None:
            before = state(where.json)
            data = _read(split, where, check, repair)
            remember(key, data, where.image_dirs, before)
    return data


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No search for garbage among millions of objects that all stay: it takes long."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _read(split: str, where: CocoFiles, check: bool, repair: bool) -> DetectionData:
    findings = Findings()
    content = load_file(where.json, findings)
    missing = [key for key in _LIST_KEYS if not isinstance(content.get(key), list)]
    if missing:
        what = f"the keys images, annotations and categories must hold lists; missing: {', '.join(missing)}"
        raise DataError(where.json, [f"{where.json.name}: {what}"])
    refused: set[str] = set()
    categories = _categories(used_categories(content, where.json, findings), where.json, findings, refused)
    images = _images(content["images"], where.json, findings, refused)
    _annotations(content["annotations"], images, categories, where.json, findings, refused, repair)
    check = _place(list(images.values()), where, findings) and check
    corners = ("[x, y, width, height]", as_corners)
    rows = list(images.values())
    return assemble(split, categories, rows, where.json, findings, check=check, repair=repair, corners=corners)


def _place(images: list[RawImage], where: CocoFiles, findings: Findings) -> bool:
    """Find the file of every image; False, with an error, where none is there."""
    names = [image.file_name for image in images]
    wanted = [(name,) for name in names]
    others = other_folders(where.json) if where.or_others else ()
    found, lookup = find_images(_by_hits(where.image_dirs, names), others, wanted, where.json, findings)
    for image, path in zip(images, found, strict=True):
        image.path = path or (*lookup.roots, where.json.parent)[0] / image.file_name
    if images and not any(found):
        name = images[0].file_name
        looked = ", ".join(map(str, (*where.image_dirs, *others))) or "no folder"
        what = f"the images, such as {name}, were not found; looked in {looked}{lookup.nearly(name)}"
        findings.error(where.json.name, f"{what}; name their folder: --train-json {where.json.name} --images FOLDER")
        return False
    for image, path in zip(images, found, strict=True):
        image.hint = "" if path else lookup.nearly(image.file_name)
    return True


def _by_hits(folders: tuple[Path, ...], names: list[str]) -> list[Path]:
    """The folders, first the one that holds most of a sample of the images."""
    sample = names[:: max(1, len(names) // 20)]
    return sorted(folders, key=lambda d: -sum(is_file(d / name) for name in sample))


def load_file(path: Path, findings: Findings, made: Callable[[Any], Any] = plain_or_whole) -> dict[str, Any]:
    """The content of a JSON object, of its annotations what is made of each; of whole ones few are in memory at once.

    Raises:
        DataError: It is none, or cannot be read.
    """
    if is_file(path):  # and no pipe
        with suppress(OSError, ValueError, RecursionError):
            return load(path, made)
    try:
        content = json.loads(read_text(path, findings))
    except json.JSONDecodeError as error:
        what = f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(path, [f"{path.name}: {what}"]) from error
    except (OSError, ValueError, RecursionError) as error:  # no text, or numbers and nesting beyond all bounds
        raise DataError(path, [f"{path.name}: the file cannot be read ({error})"]) from error
    if not isinstance(content, dict):
        what = f"expected a JSON object with images, annotations, categories; got a {kind_of(content)}"
        raise DataError(path, [f"{path.name}: {what}"])
    if isinstance(annotations := content.get("annotations"), list):
        content["annotations"] = [made(item) for item in annotations]
    return content


def _lacks(item: object, keys: tuple[str, ...], place: str, findings: Findings) -> bool:
    """True, with an error noted, where `item` is no object with all the keys."""
    if not isinstance(item, dict):
        findings.error(place, f"expected a JSON object, got a {kind_of(item)}")
        return True
    missing = [key for key in keys if key not in item]
    if missing:
        findings.error(place, f"missing: {', '.join(missing)}")
    return bool(missing)


def _categories(items: list[Any], path: Path, findings: Findings, refused: set[str]) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for row, item in enumerate(items):
        place = f"{path.name}: categories[{row}]"
        if _lacks(item, ("id", "name"), place, findings):
            refused.add(_refused("category", item, "id"))
            continue
        key = whole(item["id"], "category ids", place, findings)
        if key is None:
            findings.error(place, f"category id {item['id']!r:.80} is a {kind_of(item['id'])}, expected an integer")
            refused.add(_refused("category", item, "id"))
        elif key in found:
            findings.error(place, f"category id {key} is given twice")
        else:
            name = item["name"]
            if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
                findings.error(place, f"name is {name!r:.80}, expected a text")
                name = place
            name = str(name)
            found[key] = Category(key, name)
    if not items:
        findings.error(path.name, "there are no categories")
    return tuple(found[key] for key in sorted(found))


def _images(items: list[Any], path: Path, findings: Findings, refused: set[str]) -> dict[int, RawImage]:
    found: dict[int, RawImage] = {}
    for row, item in enumerate(items):
        place = f"{path.name}: images[{row}]"
        if isinstance(item, dict) and "file_name" not in item and isinstance(item.get("coco_url"), str):
            item = {**item, "file_name": "/".join(item["coco_url"].split("/")[-2:])}  # LVIS 1
        if _lacks(item, ("id", "file_name"), place, findings):
            refused.add(_refused("image", item, "id"))
            continue
        name = item["file_name"]
        place = f"{path.name}: image {item['id']!r:.80} ({name})"
        key = whole(item["id"], "image ids", place, findings)
        sides, fault = size_of(item, place, findings)
        if not isinstance(name, str):
            fault = f"file_name is a {kind_of(name)}, expected a string"
        elif key is None:
            fault = f"the image id {item['id']!r:.80} is a {kind_of(item['id'])}, expected an integer"
        elif key in found:
            if (found[key].file_name, found[key].width, found[key].height) == (name, *sides):
                findings.warn("images are given again with the same id and file: taken once", place)
            else:
                findings.error(place, f"the image id is given twice, also for {found[key].file_name}")
            continue
        if fault:
            findings.error(place, fault)
            refused.add(_refused("image", item, "id"))
        elif key is not None:
            found[key] = RawImage(key, Path(name), name, *sides)
    if not items:
        findings.error(path.name, "there are no images")
    return found


def _refused(kind: str, item: object, key: str) -> str:
    """What an annotation would call an entry that has been refused already."""
    return f"{kind} {item.get(key)!r:.80}" if isinstance(item, dict) else ""


def _annotations(
    items: list[Any],
    images: dict[int, RawImage],
    categories: tuple[Category, ...],
    path: Path,
    findings: Findings,
    refused: set[str],
    repair: bool,
) -> None:
    """Add every annotation to its image."""
    label_of = {c.id: label for label, c in enumerate(categories)}
    free, seen = max(map(_id_of, items), default=0) + 1, set[int]()
    for row, item in enumerate(items):
        read_already: Box | None = None
        if type(item) is tuple:  # as COCO writes it
            image, raw = images.get(item[0]), item[1]
            label = label_of.get(raw.label)
            if image is not None and label is not None and raw.id not in seen:
                seen.add(raw.id)
                raw.label = label
                image.boxes.append(raw)
                continue
            read_already, item = raw.box, as_dict(item)
        place = f"{path.name}: annotations[{row}]"
        if _lacks(item, ("image_id", "category_id"), place, findings):
            continue
        image_id = whole(item["image_id"], "image ids of annotations", place, findings)
        category = whole(item["category_id"], "category ids of annotations", place, findings)
        image = images.get(image_id) if image_id is not None else None
        name = f" ({image.file_name})" if image else ""
        place = f"{path.name}: image {item['image_id']!r:.80}{name}, annotation {item.get('id')!r:.80}"
        before = len(findings.errors)
        given = item.get("id")
        key = None if given is None else whole(given, "annotation ids", place, findings)
        if key is None and given is not None:
            findings.error(place, f"the annotation id is a {kind_of(given)}, expected an integer")
        elif key is None or key in seen:
            findings.warn("annotation ids are missing or given twice: numbered again", place)
            key, free = free, free + 1
        elif key == 0:
            findings.warn("annotation ids are 0 (pycocotools never matches it; numbered again here)", place)
        if key is not None:
            seen.add(key)
        if image is None and _refused("image", item, "image_id") not in refused:
            what = f"{place}: there is no image of that id"
            leave_out(what, "annotations are of images that are not listed", findings, repair)
        label = label_of.get(category) if category is not None else None
        if label is None and _refused("category", item, "category_id") not in refused:
            findings.error(place, f"there is no category {item['category_id']!r:.80}")
        box = read_already or box_of(item, place, findings)
        crowd = item.get("iscrowd", 0)
        if crowd is None:
            findings.warn("annotations have iscrowd null: taken as 0", place)
        elif crowd not in (0, 1):
            findings.error(place, f"iscrowd must be 0 or 1, got {crowd!r:.80}")
        if item.get("ignore") in (1, True):
            findings.warn("annotations are marked `ignore`: taken as regions to ignore", place)
            crowd = 1
        if len(findings.errors) > before or image is None or label is None or box is None or key is None:
            continue
        image.boxes.append(RawBox(key, box, label, bool(crowd), area_of(item, place, findings)))


def _id_of(item: object) -> int:
    """The id of an annotation where it is an integer, else 0."""
    if isinstance(item, tuple):
        return item[1].id
    found = item.get("id") if isinstance(item, dict) else None
    return found if type(found) is int else 0
