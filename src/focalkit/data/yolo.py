"""YOLO text labels: `data.yaml` names the classes and the image folders; labels lie in the same path with `labels`.

A label row is `class cx cy width height`, relative to the image size; a row of `class x1 y1 x2 y2 x3 y3 ...` is a
polygon, of which the bounding box is taken (with a warning). An image without label file has no boxes (with a warning).
Category ids are the class numbers. Nothing in the YAML file is executed; its `path` and `../` are tried in turn, since
exporters disagree on what they are relative to.
Not read: key points, oriented boxes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focalkit._files import is_file, is_folder, read_lines, special
from focalkit.data._records import Category, DetectionData
from focalkit.data._splits import SPLITS
from focalkit.data.check import Findings, RawBox, RawImage, assemble, measure_all
from focalkit.errors import DataError, InputError

LOOKED_FOR = "YOLO: data.yaml (or another *.yaml with names and train / val)"
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class YoloFiles:
    """Where one split lies: the YAML file with the class names, and the entries that lead to the images."""

    yaml: Path
    entries: tuple[str, ...]
    root: str
    names: tuple[tuple[int, str], ...]


def find(path: Path) -> dict[str, YoloFiles]:
    """The splits of a YOLO data set at `path` (a folder or the YAML file); empty where there is none."""
    if path.is_file():
        return _splits(path) if path.suffix in (".yaml", ".yml") else {}
    first = [path / "data.yaml", path / "data.yml", path / "dataset.yaml"]
    candidates = [p for p in first if p.is_file()] or [*sorted(path.glob("*.yaml")), *sorted(path.glob("*.yml"))]
    found = {p: splits for p in candidates if (splits := _splits(p))}
    if len(found) > 1:
        raise InputError(f"{path} holds several YOLO data sets: {', '.join(p.name for p in found)}; give one of them")
    return next(iter(found.values()), {})


def _splits(path: Path) -> dict[str, YoloFiles]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise DataError(path, [f"{path.name}: not YAML: {str(error)[:300]}"]) from error
    if not isinstance(content, dict) or "names" not in content:
        return {}
    names = _names(content["names"], path)
    _check_count(content.get("nc"), names, path)
    found: dict[str, YoloFiles] = {}
    for split, words in SPLITS.items():
        entry = next((content[w] for w in words if content.get(w)), None)
        if entry is not None:
            entries = tuple(map(str, entry)) if isinstance(entry, list) else (str(entry),)
            found[split] = YoloFiles(path, entries, str(content.get("path") or ""), names)
    return found


def _names(names: Any, path: Path) -> tuple[tuple[int, str], ...]:
    pairs = (
        list(names.items()) if isinstance(names, dict) else list(enumerate(names)) if isinstance(names, list) else []
    )
    if not pairs or not all(isinstance(key, int) and not isinstance(value, list | dict) for key, value in pairs):
        what = f"names must be a list, or a mapping from class numbers to names; got {_short(names)}"
        raise DataError(path, [f"{path.name}: {what}"])
    return tuple(sorted((key, str(name)) for key, name in pairs))


def _short(value: Any) -> str:
    """A beginning of what `repr` says; aliases of aliases in YAML would make all of it endless."""
    return (
        f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | dict) and value else f"{value!r:.200}"
    )


def _check_count(nc: Any, names: tuple[tuple[int, str], ...], path: Path) -> None:
    """An error where the number of classes is another than the names say; numbers without a name may be counted."""
    if nc is not None and nc not in (len(names), names[-1][0] + 1):
        listed = ", ".join(name for _, name in names)
        raise DataError(path, [f"nc says {nc!r} classes, names has {len(names)}: {listed:.200}; mend one of them"])


def read(split: str, where: YoloFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split. Sizes stand in the images alone, so their headers are read even with `check=False`.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    categories = tuple(Category(key, name) for key, name in where.names)
    label_of = {key: label for label, (key, _) in enumerate(where.names)}
    paths: dict[Path, None] = {}  # in the order given
    for entry in where.entries:
        for image in _images(entry, where, findings):
            if image in paths:
                findings.warn("images are listed again: taken once", str(image))
            paths[image] = None
    if not paths and not findings.errors:
        findings.error(where.yaml.name, f"the split {split} has no images (in {', '.join(where.entries)})")
    images: list[RawImage] = []
    number = 1
    for row, (path, size) in enumerate(
        zip(paths, measure_all(paths, f"checking {split} images"), strict=True), start=1
    ):
        if isinstance(size, str):
            findings.error(f"{where.yaml.name}: image {row} ({path})", size)
            continue
        image = RawImage(row, path, path.name, *size)
        number = _labels(image, label_path(path), label_of, number, findings)
        images.append(image)
    return assemble(split, categories, images, where.yaml, findings, check=False, repair=repair)


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: the last folder called `images` becomes `labels`, the suffix `.txt`.

    Example:
        >>> label_path(Path("images/train/a.jpg")).as_posix()
        'labels/train/a.txt'
    """
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _images(entry: str, where: YoloFiles, findings: Findings) -> list[Path]:
    """The images of one entry: a folder, or a text file with one image per line."""
    here = where.yaml.parent
    stripped = entry
    while stripped.startswith("../"):
        stripped = stripped[3:]
    tried = list(
        dict.fromkeys([here / where.root / entry, here / entry, here / where.root / stripped, here / stripped])
    )
    place = next((p for p in tried if is_file(p) or is_folder(p)), None)
    if place is None:
        findings.error(where.yaml.name, f"{entry} was not found; tried {', '.join(map(str, tried))}")
        return []
    if place.is_dir():
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    lines = read_lines(place)
    roots = (here / where.root, here, place.parent)
    return [next((root / line for root in roots if is_file(root / line)), place.parent / line) for line in lines]


def _labels(image: RawImage, path: Path, label_of: dict[int, int], number: int, findings: Findings) -> int:
    """Add the boxes of a label file to its image; returns the next annotation id."""
    try:
        if kind := special(path):
            findings.error(f"{path}: image {image.id}", f"is {kind}, expected a label file")
            return number
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        findings.warn("images have no label file: taken as empty", str(image.path))
        return number
    except (OSError, UnicodeDecodeError) as error:
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
