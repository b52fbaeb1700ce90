"""YOLO text labels: `data.yaml` names the classes and the image folders; labels lie in the same path with `labels`.

A label row is `class cx cy width height`, relative to the image size; a row of `class x1 y1 x2 y2 x3 y3 ...` is a
polygon, of which the bounding box is taken (with a warning). Key points, where the YAML file has a `kpt_shape`, and a
confidence behind a box are left out (with a warning). An image without label file has no boxes (with a warning).
Category ids are the class numbers. `path` in the YAML file and `../` are tried in turn, since exporters disagree on
what they are relative to. Also read: darknet's `obj.data`; names alone (`classes.txt`, `obj.names`, a YAML file without
splits) with images and labels in one split "all", or in folders called like splits.
Not read: oriented boxes, of which the enclosing box is taken as of other polygons.
"""

from pathlib import Path

from focalkit._files import walk
from focalkit._pictures import is_picture
from focalkit.data._lookup import Lookup
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._texts import read_lines, read_text
from focalkit.data._yolo_files import YoloFiles, place_of, without_dots
from focalkit.data._yolo_files import find as find
from focalkit.data._yolo_labels import Labels
from focalkit.data._yolo_labels import label_path as label_path
from focalkit.data.check import Findings, RawBox, RawImage, assemble, leave_out, measure_all
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
    if where.absent:
        findings.warn("test splits are named and not there: left out", f"{where.source.name}: {where.absent}")
    images: list[RawImage] = []
    number, labels = 1, Labels(findings)
    sizes = measure_all(paths, f"checking {split} images")
    for row, ((path, hint), size) in enumerate(zip(paths.items(), sizes, strict=True), start=1):
        file = labels.of(path)
        if isinstance(size, str):
            what = f"{where.source.name}: image {row} ({path}): {size}{hint}"
            leave_out(what, "images are missing or cannot be read", findings, repair)
            continue
        image = RawImage(row, path, path.name, *size, file=str(file or ""))
        number = _labels(image, file, where, label_of, number, findings)
        images.append(image)
    if not labels.any and images and split in ("train", "all"):
        looked = f"looked for {label_path(images[0].path)}, and beside the images"
        what = f"no image of {split} has a label file: {looked}; an image without objects has an empty one"
        findings.error(where.source.name, what)
    if not any(entry.endswith(".txt") for entry in where.entries):
        labels.tell_others()  # a list may leave out images on purpose
    form = ("cx cy width height", _as_corners)
    return assemble(split, categories, images, where.source, findings, check=False, repair=repair, corners=form)


def _as_corners(box: Box) -> Box:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def _images(entry: str, where: YoloFiles, findings: Findings) -> list[tuple[Path, str]]:
    """The images of one entry, a folder or a text file with one image per line; and hints on those that are missing."""
    place, roots = place_of(entry, where, findings)
    if place is None:
        tried = dict.fromkeys(root / name for root in roots for name in (entry, without_dots(entry)))
        findings.error(where.source.name, f"{entry} was not found; tried {', '.join(map(str, tried))}")
        return []
    if place.is_dir():
        return [(file, "") for file in walk(place, outputs=False) if is_picture(file)]
    try:
        lines = read_lines(place, findings)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be read as a list of images ({error})") from error
    lookup = Lookup([*roots, place.parent], findings)
    found = zip(lines, lookup.files([(line,) for line in lines]), strict=True)
    return [(path, "") if path else (place.parent / line, lookup.nearly(line)) for line, path in found]


def _labels(
    image: RawImage, path: Path | None, where: YoloFiles, label_of: dict[int, int], number: int, findings: Findings
) -> int:
    """Add the boxes of a label file to its image; returns the next annotation id."""
    if path is None:
        return number
    try:
        lines = read_text(path, findings).splitlines()
    except (OSError, ValueError) as error:
        findings.error(f"{path}: image {image.id}", f"the label file cannot be read ({error})")
        return number
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{path}: line {line_number}, image {image.id} ({image.file_name}), annotation {number}"
            raw = _row(line.split(), number, image, place, where, label_of, findings)
            if raw is not None:
                image.boxes.append(raw)
            number += 1
    return number


def _row(
    words: list[str],
    number: int,
    image: RawImage,
    place: str,
    where: YoloFiles,
    label_of: dict[int, int],
    findings: Findings,
) -> RawBox | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        what = f"expected numbers with spaces between them and a point, got {' '.join(words)!r:.80}"
        named = words[0] in (name for _, name in where.names)
        findings.error(place, f"{what}{'; the class is given by its number' if named else ''}")
        return None
    if where.key_points and len(values) == 5 + where.key_points:
        findings.warn("labels have key points: left out", place)
        values = values[:5]
    elif len(values) == 6:
        findings.warn("labels have a sixth number (a confidence, or a track's): left out", place)
        values = values[:5]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        findings.error(place, f"expected class cx cy width height, or a polygon; got {len(values)} numbers")
        return None
    if values[0] not in label_of:
        findings.error(place, f"there is no class {words[0]}; {where.source.name} has {_short(where.names)}")
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


def _short(names: tuple[tuple[int, str], ...]) -> str:
    """The first and the last class."""
    listed = [f"{key} {name!r:.40}" for key, name in names]
    return ", ".join(listed) if len(listed) <= 4 else f"{listed[0]}, {listed[1]} .. {listed[-1]}"
