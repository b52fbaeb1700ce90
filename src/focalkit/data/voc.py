"""Pascal VOC: one XML file per image in `Annotations`, lists of names in `ImageSets/Main`, images in `JPEGImages`.

Also read: `<split>/*.xml` with the images beside them. Classes are the names found in the XML files of all splits, in
alphabetical order, with ids from 1. Objects marked `difficult` become regions to ignore.
VOC counts pixels from 1 and includes the last one, so a box runs from xmin - 1 to xmax; files that use the
coordinate 0 anywhere are taken to count from 0 and left as they are, with a warning.
Not read: `truncated`, `pose`, parts, segmentations.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import is_file, read_lines, special
from focalkit._progress import track
from focalkit.data._records import Category, DetectionData
from focalkit.data._splits import canonical, split_in
from focalkit.data.check import Findings, RawBox, RawImage, assemble
from focalkit.errors import InputError

LOOKED_FOR = "Pascal VOC: Annotations/*.xml with ImageSets/Main/<split>.txt, or <split>/*.xml"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class VocFiles:
    """Where one split lies: its XML files, the image folder, and every XML file of the data set (for the classes)."""

    xmls: tuple[Path, ...]
    images: Path
    everything: tuple[Path, ...]
    root: Path


def find(path: Path) -> dict[str, VocFiles]:
    """The splits of a VOC data set in the folder `path`; empty where there is none.

    Raises:
        InputError: Several years (`VOC2007`, `VOC2012`) lie in the folder.
    """
    if not path.is_dir():
        return {}
    roots = sorted({p.parent for p in (path / "Annotations", *path.glob("VOC*/Annotations")) if p.is_dir()})
    roots = [root for root in roots if any((root / "Annotations").glob("*.xml"))]
    if len(roots) > 1:
        raise InputError(f"{path} holds several VOC data sets: {', '.join(r.name for r in roots)}; give one of them")
    if roots:
        return _from_image_sets(roots[0])
    folders = {canonical(d.name): d for d in sorted(path.iterdir()) if d.is_dir() and split_in(d.name)}
    found = {split: tuple(sorted(d.glob("*.xml"))) for split, d in folders.items()}
    everything = tuple(xml for xmls in found.values() for xml in xmls)
    return {split: VocFiles(xmls, folders[split], everything, path) for split, xmls in found.items() if xmls}


def _from_image_sets(root: Path) -> dict[str, VocFiles]:
    annotations, images = root / "Annotations", root / "JPEGImages"
    everything = tuple(sorted(annotations.glob("*.xml")))
    found: dict[str, VocFiles] = {}
    for listing in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        if canonical(listing.stem) in ("train", "val", "test"):
            names = [line.split()[0] for line in read_lines(listing)]
            xmls = tuple(annotations / f"{name}.xml" for name in names)
            found[canonical(listing.stem)] = VocFiles(xmls, images, everything, root)
    return found or {"all": VocFiles(everything, images, everything, root)}


def read(split: str, where: VocFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    trees = {xml: _parse(xml) for xml in track(where.everything, len(where.everything), "reading annotations")}
    parsed = [tree for tree in trees.values() if not isinstance(tree, str)]
    names = sorted({(o.findtext("name") or "").strip() for tree in parsed for o in tree.iter("object")} - {""})
    categories = tuple(Category(i, name) for i, name in enumerate(names, start=1))
    zero_based = any(_counts_from_zero(tree) for tree in parsed)
    if zero_based:
        findings.warn("data sets use the coordinate 0: taken to count pixels from 0, not from 1 as VOC does", split)
    images: list[RawImage] = []
    next_id = 1
    for row, xml in enumerate(where.xmls, start=1):
        tree = trees.get(xml)
        if tree is None or isinstance(tree, str):
            findings.error(str(xml), tree or "the annotation file is missing")
            continue
        image = _image(row, xml, tree, where.images, findings)
        for item in tree.iter("object"):
            box = _object(item, next_id, f"{xml}: object {next_id}", names, 0 if zero_based else 1, findings)
            next_id += 1
            if box is not None:
                image.boxes.append(box)
        images.append(image)
    if not names:
        findings.error(str(where.root), "no annotation names an object")
    if not images and not findings.errors:
        findings.error(str(where.root), f"the split {split} has no images")
    return assemble(split, categories, images, where.root, findings, check=check, repair=repair)


def _parse(path: Path) -> ET.Element | str:
    try:
        if kind := special(path):
            return f"is {kind}, expected an annotation file"
        return ET.parse(path).getroot()
    except ET.ParseError as error:
        line, column = error.position
        return f"not XML at line {line}, column {column}: {error}"
    except (OSError, ValueError, LookupError) as error:  # or text in a code that the parser does not know
        return f"the annotation file cannot be read ({error})"


def _number(item: ET.Element, tag: str) -> float:
    """The number in `tag`; nan where it is missing or no number."""
    try:
        return float(item.findtext(tag) or "")
    except ValueError:
        return float("nan")


def _counts_from_zero(tree: ET.Element) -> bool:
    return any(min(_number(b, "xmin"), _number(b, "ymin")) == 0 for b in tree.iter("bndbox"))


def _image(row: int, xml: Path, tree: ET.Element, folder: Path, findings: Findings) -> RawImage:
    named = (tree.findtext("filename") or "").strip()
    candidates = [folder / named] if named else []
    candidates += [folder / f"{xml.stem}{suffix}" for suffix in _IMAGE_SUFFIXES]
    path = next((p for p in candidates if is_file(p)), candidates[0])
    size = tree.find("size")
    width, height = (_number(size, "width"), _number(size, "height")) if size is not None else (0.0, 0.0)
    if width >= 1 and height >= 1:
        return RawImage(row, path, path.name, int(width), int(height))
    findings.warn("files give no image size: read from the image", str(xml))
    return RawImage(row, path, path.name)


def _object(
    item: ET.Element, number: int, place: str, names: list[str], first_pixel: int, findings: Findings
) -> RawBox | None:
    name, corners = (item.findtext("name") or "").strip(), item.find("bndbox")
    if name not in names:
        findings.error(place, "the object has no name")
        return None
    if corners is None:
        findings.error(place, "the object has no bndbox")
        return None
    x0, y0, x1, y1 = (_number(corners, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    crowd = (item.findtext("difficult") or "0").strip() == "1"
    return RawBox(number, (x0 - first_pixel, y0 - first_pixel, x1, y1), names.index(name), crowd)
