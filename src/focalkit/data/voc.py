"""Pascal VOC: one XML file per image in `Annotations`, lists of names in `ImageSets/Main`, images in `JPEGImages`.

Also read: `<split>/*.xml` with the images beside them; XML files beside the images, in `annotations/` beside `images/`
(Kaggle, supervision) or in `labels/` beside `data/` (FiftyOne), without splits ("all"). Classes are the names found in
the XML files of all splits, in alphabetical order, with ids from 1. Objects marked `difficult` are regions to ignore.
VOC counts pixels from 1 and includes the last one, so a box runs from xmin - 1 to xmax; files that use the
coordinate 0 anywhere are taken to count from 0 and left as they are, with a warning.
Of a rotated box (`robndbox`) or a `polygon` the enclosing box is taken, with a warning.
Not read: `truncated`, `pose`, parts, segmentations.
"""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import visible
from focalkit._pictures import SUFFIXES, is_picture
from focalkit._progress import track
from focalkit.data._lookup import Lookup
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._shapes import around, turned, within
from focalkit.data._splits import canonical, split_in
from focalkit.data._texts import read_lines, read_xml
from focalkit.data.check import Findings, RawBox, RawImage, assemble
from focalkit.data.cvat import is_cvat
from focalkit.errors import InputError

LOOKED_FOR = "Pascal VOC: Annotations/*.xml with ImageSets/Main/<split>.txt, or <split>/*.xml"


_ANNOTATIONS = ("Annotations", "annotations", "labels")


@dataclass(frozen=True)
class VocFiles:
    """Where one split lies: its XML files, the image folders, and every XML file of the data set (for the classes)."""

    xmls: tuple[Path, ...]
    images: tuple[Path, ...]
    everything: tuple[Path, ...]
    root: Path
    listing: Path | None = None


def find(path: Path) -> dict[str, VocFiles]:
    """The splits of a VOC data set in the folder `path`; empty where there is none.

    Raises:
        InputError: Several years (`VOC2007`, `VOC2012`) lie in the folder.
    """
    if not path.is_dir():
        return {}
    roots = [root for root in (path, *visible(path, "VOC*")) if root.is_dir() and _annotation_dir(root)]
    if len(roots) > 1:
        raise InputError(f"{path} holds several VOC data sets: {', '.join(r.name for r in roots)}; give one of them")
    if roots:
        return _from_image_sets(roots[0])
    folders = {canonical(d.name): d for d in visible(path, "*") if d.is_dir() and split_in(d.name)}
    found = {split: tuple(_split_xmls(d)) for split, d in folders.items()}
    everything = tuple(xml for xmls in found.values() for xml in xmls)
    if everything:
        places = {split: (d, *_image_dirs(d)) for split, d in folders.items()}
        return {split: VocFiles(xmls, places[split], everything, path) for split, xmls in found.items() if xmls}
    beside = tuple(xml for xml in visible(path, "*.xml") if _is_voc(xml))
    return {"all": VocFiles(beside, (path, *_image_dirs(path)), beside, path)} if beside else {}


def _split_xmls(folder: Path) -> list[Path]:
    """The XML files of a folder that is called like a split."""
    return next((found for place in ("", *_ANNOTATIONS) if (found := _xmls(folder / place))), [])


def _xmls(folder: Path) -> list[Path]:
    """The XML files of a folder but for CVAT's one file of all images."""
    return [xml for xml in visible(folder, "*.xml") if not (xml.name == "annotations.xml" and is_cvat(xml))]


def _annotation_dir(root: Path) -> Path | None:
    """`Annotations` with XML files; in lower case (Kaggle) and `labels` (FiftyOne) only without JSON files: COCO's."""
    for name in _ANNOTATIONS:
        folder = root / name
        if folder.is_dir() and _xmls(folder) and (name == "Annotations" or not visible(folder, "*.json")):
            return folder
    return None


def _image_dirs(root: Path) -> tuple[Path, ...]:
    return tuple(root / name for name in ("JPEGImages", "images", "Images", "img", "data") if (root / name).is_dir())


def _is_voc(xml: Path) -> bool:
    try:
        return b"<annotation>" in xml.read_bytes()[:2000]
    except OSError:
        return False


def _from_image_sets(root: Path) -> dict[str, VocFiles]:
    annotations = _annotation_dir(root) or root
    images = (*(_image_dirs(root) or (root / "JPEGImages",)), annotations)
    everything = tuple(_xmls(annotations))
    lists = {canonical(listing.stem): listing for listing in visible(root, "ImageSets/Main/*.txt")}
    found = {
        split: VocFiles((), images, everything, root, lists[split])
        for split in ("train", "val", "test")
        if split in lists
    }
    return found or {"all": VocFiles(everything, images, everything, root, lists.get("trainval"))}


def _listed(where: VocFiles, findings: Findings) -> tuple[Path, ...]:
    """The XML files of a split: one name a line, without a suffix, of the image, or with a path before it."""
    if where.listing is None:
        return where.xmls
    try:
        lines = read_lines(where.listing, findings)
    except (OSError, ValueError) as error:
        raise InputError(f"{where.listing}: cannot be read as a list of names ({error})") from error
    folder = where.everything[0].parent
    there = {xml.name for xml in where.everything}
    lookup = Lookup([folder], findings)
    found: list[Path] = []
    for line in lines:
        name = re.sub(r"\s+-?[01]$", "", line)  # lists of one class say whether the image shows it
        stem = Path(name).stem if is_picture(Path(name)) or name.endswith(".xml") else name
        exact = next((f"{s}.xml" for s in (name, stem) if f"{s}.xml" in there), None)
        found.append(folder / exact if exact else lookup.loosely(f"{stem}.xml") or folder / f"{stem}.xml")
    return tuple(found)


def read(split: str, where: VocFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    xmls = _listed(where, findings)
    trees = {
        xml: _parse(xml, findings) for xml in track(where.everything, len(where.everything), "reading annotations")
    }
    parsed = [tree for tree in trees.values() if not isinstance(tree, str)]
    names = sorted({(o.findtext("name") or "").strip() for tree in parsed for o in tree.iter("object")} - {""})
    categories = tuple(Category(i, name) for i, name in enumerate(names, start=1))
    zero_based = any(_counts_from_zero(tree) for tree in parsed)
    if zero_based:
        findings.warn("data sets use the coordinate 0: taken to count pixels from 0, not from 1 as VOC does", split)
    images: list[RawImage] = []
    next_id = 1
    lookup = Lookup(where.images, findings)
    for row, xml in enumerate(xmls, start=1):
        tree = trees.get(xml)
        if tree is None or isinstance(tree, str):
            listed = f" (listed in {where.listing.name})" if where.listing else ""
            findings.error(str(xml), tree or f"the annotation file is missing{listed}")
            continue
        image = _image(row, xml, tree, where.images[0], lookup, findings)
        for item in tree.iter("object"):
            box = _object(item, next_id, f"{xml}: object {next_id}", names, 0 if zero_based else 1, image, findings)
            next_id += 1
            if box is not None:
                image.boxes.append(box)
        images.append(image)
    if not names:
        findings.error(str(where.root), "no annotation names an object")
    if not images and not findings.errors:
        findings.error(str(where.root), f"the split {split} has no images")
    return assemble(split, categories, images, where.root, findings, check=check, repair=repair)


def _parse(path: Path, findings: Findings) -> ET.Element | str:
    try:
        return read_xml(path, findings)
    except ET.ParseError as error:
        line, column = error.position
        return f"not XML at line {line}, column {column}: {error}"
    except (OSError, ValueError, LookupError) as error:  # or text in a code that nobody knows
        return f"the annotation file cannot be read ({error})"


def _number(item: ET.Element, tag: str) -> float:
    """The number in `tag`; nan where it is missing or no number."""
    return _float(item.findtext(tag) or "")


def _float(text: str) -> float:
    try:
        return float(re.sub(r"^\s*(-?\d+),(\d+)\s*$", r"\1.\2", text))
    except ValueError:
        return float("nan")


def _counts_from_zero(tree: ET.Element) -> bool:
    return any(min(_number(b, "xmin"), _number(b, "ymin")) == 0 for b in tree.iter("bndbox"))


def _image(row: int, xml: Path, tree: ET.Element, folder: Path, lookup: Lookup, findings: Findings) -> RawImage:
    named = (tree.findtext("filename") or "").strip()
    names = [named] * bool(named) + [f"{xml.stem}{suffix}" for suffix in SUFFIXES]
    path = next((p for find in (lookup.literal, lookup.loosely) for name in names if (p := find(name))), None)
    hint = "" if path else lookup.nearly(names[0])
    path = path or folder / names[0]
    size = tree.find("size")
    width, height = (_number(size, "width"), _number(size, "height")) if size is not None else (0.0, 0.0)
    if width >= 1 and height >= 1:
        return RawImage(row, path, path.name, int(width), int(height), hint=hint)
    findings.warn("files give no image size: read from the image", str(xml))
    return RawImage(row, path, path.name, hint=hint)


def _object(
    item: ET.Element,
    number: int,
    place: str,
    names: list[str],
    first_pixel: int,
    image: RawImage,
    findings: Findings,
) -> RawBox | None:
    name, corners = (item.findtext("name") or "").strip(), item.find("bndbox")
    crowd = (item.findtext("difficult") or "0").strip() == "1"
    if name not in names:
        findings.error(place, "the object has no name")
        return None
    if corners is None:
        box = _enclosing(item, image)
        if box is None:
            findings.error(place, "the object has no bndbox")
            return None
        findings.warn("objects are rotated boxes or polygons: their enclosing boxes taken", place)
        return RawBox(number, box, names.index(name), crowd)
    texts = [corners.findtext(tag) or "" for tag in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = map(_float, texts)
    if any("," in text for text in texts) and all(map(math.isfinite, (x0, y0, x1, y1))):
        findings.warn("boxes have numbers with a decimal comma", place)
    return RawBox(number, (x0 - first_pixel, y0 - first_pixel, x1, y1), names.index(name), crowd)


def _enclosing(item: ET.Element, image: RawImage) -> Box | None:
    """The box around a `robndbox` (centre, size, angle in radians) or a `polygon`, inside the image; None without."""
    rotated, polygon = item.find("robndbox"), item.find("polygon")
    if rotated is not None:
        cx, cy, w, h, angle = (_number(rotated, tag) for tag in ("cx", "cy", "w", "h", "angle"))
        box = turned(cx, cy, w, h, angle)
    elif polygon is not None:
        points = [(e.tag[0], _float(e.text or "")) for e in polygon.iter() if re.fullmatch(r"[xy]\d*", e.tag)]
        xs, ys = ([value for axis, value in points if axis == wanted] for wanted in "xy")
        box = around(xs, ys) if xs and ys else None
    else:
        return None
    return within(box, image.width, image.height) if box is not None and all(map(math.isfinite, box)) else None
