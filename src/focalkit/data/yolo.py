"""YOLO text labels: `data.yaml` names the classes and the image folders; labels lie in the same path with `labels`.

A label row is `class cx cy width height`, relative to the image size; a row of `class x1 y1 x2 y2 x3 y3 ...` is a
polygon, of which the bounding box is taken (with a warning). An image without label file has no boxes (with a warning).
Category ids are the class numbers. `path` in the YAML file and `../` are tried in turn, since exporters disagree on
what they are relative to. Also read: darknet's `obj.data`; names alone (`classes.txt`, `obj.names`, a YAML file without
splits) with images and labels in one split "all", or in folders called like splits.
Not read: key points, oriented boxes.
"""

from pathlib import Path

from focalkit._files import walk
from focalkit._pictures import is_picture
from focalkit.data._lookup import Lookup
from focalkit.data._records import Category, DetectionData
from focalkit.data._texts import read_lines, read_text
from focalkit.data._yolo_files import YoloFiles
from focalkit.data._yolo_files import find as find
from focalkit.data._yolo_files import label_path as label_path
from focalkit.data.check import Findings, RawBox, RawImage, assemble, measure_all
from focalkit.errors import InputError

LOOKED_FOR = "YOLO: data.yaml (or another *.yaml with names and train / val), obj.data, or classes.txt with labels"


def read(split: str, where: YoloFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split. Sizes stand in the images alone, so their headers are read even with `check=False`.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    categories = tuple(Category(key, name) for key, name in where.names)
    label_of = {key: label for label, (key, _) in enumerate(where.names)}
    paths: dict[Path, str] = {}  # in the order given, with what may be said where they are missing
    for entry in where.entries:
        for image, hint in _images(entry, where, findings):
            if image in paths:
                findings.warn("images are listed again: taken once", str(image))
            paths[image] = hint
    if not paths and not findings.errors:
        findings.error(where.source.name, f"the split {split} has no images (in {', '.join(where.entries)})")
    images: list[RawImage] = []
    number = 1
    lookups: dict[Path, Lookup] = {}
    sizes = measure_all(paths, f"checking {split} images")
    for row, ((path, hint), size) in enumerate(zip(paths.items(), sizes, strict=True), start=1):
        if isinstance(size, str):
            findings.error(f"{where.source.name}: image {row} ({path})", size + hint)
            continue
        image = RawImage(row, path, path.name, *size)
        number = _labels(image, _label_file(path, lookups, findings), label_of, number, findings)
        images.append(image)
    return assemble(split, categories, images, where.source, findings, check=False, repair=repair)


def _label_file(image: Path, lookups: dict[Path, Lookup], findings: Findings) -> Path | None:
    """The label file, also where its name differs in case or Unicode form, or it lies beside the image."""
    for place in dict.fromkeys([label_path(image), image.with_suffix(".txt")]):
        lookup = lookups.setdefault(place.parent, Lookup([place.parent], findings))
        # what is there under this very name is taken, and refused later if it is no file
        if found := place if place.exists() else lookup.loosely(place.name):
            return found
    return None


def _images(entry: str, where: YoloFiles, findings: Findings) -> list[tuple[Path, str]]:
    """The images of one entry, a folder or a text file with one image per line; and hints on those that are missing."""
    here = where.source.parent
    stripped = entry
    while stripped.startswith("../"):
        stripped = stripped[3:]
    roots = list(dict.fromkeys([here / where.root, here]))
    lookup = Lookup(roots, findings)
    place = next((p for name in (entry, stripped) if (p := lookup.exactly(name))), None) or lookup.folder(entry)
    if place is None:
        tried = dict.fromkeys(root / name for root in roots for name in (entry, stripped))
        findings.error(where.source.name, f"{entry} was not found; tried {', '.join(map(str, tried))}")
        return []
    if place.is_dir():
        return [(file, "") for file in walk(place) if is_picture(file)]
    try:
        lines = read_lines(place, findings)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be read as a list of images ({error})") from error
    lookup = Lookup([*roots, place.parent], findings)
    found = [(line, lookup.file(line)) for line in lines]
    return [(path, "") if path else (place.parent / line, lookup.nearly(line)) for line, path in found]


def _labels(image: RawImage, path: Path | None, label_of: dict[int, int], number: int, findings: Findings) -> int:
    """Add the boxes of a label file to its image; returns the next annotation id."""
    if path is None:
        findings.warn("images have no label file: taken as empty", str(image.path))
        return number
    try:
        lines = read_text(path, findings).splitlines()
    except (OSError, ValueError) as error:
        findings.error(f"{path}: image {image.id}", f"the label file cannot be read ({error})")
        return number
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{path}: line {line_number}, image {image.id} ({image.file_name}), annotation {number}"
            raw = _row(line.split(), number, image, place, label_of, findings)
            if raw is not None:
                image.boxes.append(raw)
            number += 1
    return number


def _row(
    words: list[str], number: int, image: RawImage, place: str, label_of: dict[int, int], findings: Findings
) -> RawBox | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        findings.error(place, f"expected numbers, got {' '.join(words)!r:.80}")
        return None
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        findings.error(place, f"expected class cx cy width height, or a polygon; got {len(values)} numbers")
        return None
    if values[0] not in label_of:
        findings.error(place, f"there is no class {words[0]}; the YAML file names {', '.join(map(str, label_of))}")
        return None
    if len(values) == 5:
        cx, cy, w, h = values[1:]
        if max(cx, cy) > 2:  # 1 is the image's edge
            findings.error(place, f"the box {values[1:]} is not relative to the image size (0 to 1)")
            return None
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    else:
        findings.warn("labels are polygons: their bounding boxes taken", place)
        xs, ys = values[1::2], values[2::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    sx, sy = image.width or 0, image.height or 0
    return RawBox(number, (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy), label_of[int(values[0])])
