"""Pascal VOC: one XML file per image in `Annotations`, lists of names in `ImageSets/Main`, images in `JPEGImages`.

Also read: `<split>/*.xml` with the images beside them; XML files beside the images, in `annotations/` beside `images/`
(Kaggle, supervision) or in `labels/` beside `data/` (FiftyOne), without splits ("all"); folders of any depth. Classes
are the names found in the XML files of all splits, in alphabetical order, with ids from 1. Objects marked `difficult`
are regions to ignore. The image of `a.xml` is `a.*`, or where there is none the one that it names.
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

from focalkit._pictures import SUFFIXES, is_picture
from focalkit._progress import track
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._shapes import around, turned, within
from focalkit.data._texts import read_xml
from focalkit.data._voc_files import Images, VocFiles, xmls_of
from focalkit.data._voc_files import find as find
from focalkit.data._voc_files import find_nested as find_nested
from focalkit.data.check import Findings, RawBox, RawImage, assemble, tell_unlabelled

LOOKED_FOR = "Pascal VOC: Annotations/*.xml with ImageSets/Main/<split>.txt, or <split>/*.xml"


def read(split: str, where: VocFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    xmls = xmls_of(where, findings)
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
    sound = {xml: tree for xml in xmls if isinstance(tree := trees.get(xml), ET.Element)}
    named = {xml: _names(xml, tree) for xml, tree in sound.items()}
    sure = [of.told if of.agrees and is_picture(Path(*of.told)) else of.all for of in named.values()]
    places = Images(where, {xml: of.all for xml, of in named.items()}, sure, findings)
    for row, xml in enumerate(xmls, start=1):
        tree = trees.get(xml)
        if tree is None or isinstance(tree, str):
            listed = f" (listed in {where.listing.name})" if where.listing else ""
            findings.error(str(xml), tree or f"the annotation file is missing{listed}")
            continue
        image = _image(row, xml, tree, named[xml], places, findings)
        for number, item in enumerate(tree.iter("object"), start=1):
            box = _object(item, next_id, f"{xml}: object {number}", names, 0 if zero_based else 1, image, findings)
            next_id += 1
            if box is not None:
                image.boxes.append(box)
        images.append(image)
    tell_unlabelled(images, {xml.stem for xml in where.everything}, "XML", findings)
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
    boxes = (box for item in tree.iter("object") for box in item.findall("bndbox"))  # and not those of its parts
    return any(min(_number(b, "xmin"), _number(b, "ymin")) == 0 for b in boxes)


@dataclass(frozen=True)
class _Names:
    """What the image of an XML file may be called: the name that is told, and those like the file."""

    told: list[str]
    own: list[str]
    agrees: bool

    @property
    def all(self) -> list[str]:
        return [*self.told, *self.own] if self.agrees else [*self.own, *self.told]


def _names(xml: Path, tree: ET.Element) -> _Names:
    name = (tree.findtext("filename") or "").strip()
    told = [name] if name and (is_picture(Path(name)) or not Path(name).suffix) else []
    own = [f"{xml.stem}{suffix}" for suffix in SUFFIXES]
    return _Names(told, own, Path(name).stem.casefold() == xml.stem.casefold())


def _image(row: int, xml: Path, tree: ET.Element, names: _Names, places: Images, findings: Findings) -> RawImage:
    path, first = places.of(xml), (names.told or names.own)[0]
    if path is not None and names.told and not names.agrees and path.name != first and places.has(xml, first):
        findings.warn("files name another image than their own: the one called like them taken", f"{xml}: {first}")
    hint = "" if path else places.nearly(xml, first)
    path = path or places.folder(xml) / first
    size = tree.find("size")
    width, height = (_number(size, "width"), _number(size, "height")) if size is not None else (0.0, 0.0)
    if width >= 1 and height >= 1:
        if max(width, height) >= 2**31:
            findings.error(str(xml), f"width {width:g} and height {height:g} are no size of an image")
            return RawImage(row, path, path.name, hint=hint, file=str(xml))
        return RawImage(row, path, path.name, int(width), int(height), hint=hint, file=str(xml))
    findings.warn("files give no image size: read from the image", str(xml))
    return RawImage(row, path, path.name, hint=hint, file=str(xml))


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
    crowd = (item.findtext("difficult") or "0").strip().lower() in ("1", "true")
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
