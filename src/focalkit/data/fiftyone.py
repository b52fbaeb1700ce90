"""FiftyOne's own data sets: `samples.json` with `metadata.json` and `data/`, or `labels.json` with `data/`.

`fiftyone.types.FiftyOneDataset`: each sample's `filepath`, its field of detections (`ground_truth`, or the only one
without confidences) and its tags, of which train, val, test and words like them make the splits.
`fiftyone.types.FiftyOneImageDetectionDataset`: `classes` and `labels`. Boxes are [x, y, width, height] from 0 to 1.
Classes in alphabetical order, or as `classes` lists them, with ids from 1. FiftyOne's exports in COCO, VOC, YOLO and
Open Images form are found by those readers. Not read: masks, key points, polylines, videos.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focalkit._files import special, walk
from focalkit.data._coco_values import kind_of
from focalkit.data._drawn import is_number
from focalkit.data._lookup import Lookup
from focalkit.data._records import Category, DetectionData
from focalkit.data._splits import split_in
from focalkit.data._texts import read_text
from focalkit.data.check import Findings, RawBox, RawImage, assemble, measure_all
from focalkit.errors import DataError

LOOKED_FOR = "FiftyOne: samples.json or labels.json, with data/"


@dataclass(frozen=True)
class FiftyOneFiles:
    """Where one split lies; `split` is the tag that its samples have, None for all samples."""

    file: Path
    tag: str | None = None


def find(path: Path) -> dict[str, FiftyOneFiles]:
    """The splits of FiftyOne's data set in the folder `path`; empty where there is none.

    Raises:
        DataError: A `samples.json` that cannot be read.
    """
    samples, labels = path / "samples.json", path / "labels.json"
    if samples.is_file() and (path / "metadata.json").is_file():
        tags = {tag for sample in _samples(samples, Findings()) if (tag := _split_of(sample))}
        return {tag: FiftyOneFiles(samples, tag) for tag in sorted(tags)} or {"all": FiftyOneFiles(samples)}
    content = labels.read_bytes() if labels.is_file() and not special(labels) else b""
    if b'"labels"' in content and b'"classes"' in content and b'"annotations"' not in content:
        return {"all": FiftyOneFiles(labels)}
    return {}


def read(split: str, where: FiftyOneFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split. Sizes are those of the images, so their headers are read even with `check=False`.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    if where.file.name == "labels.json":
        listed, names = _of_labels(where.file, findings)
    else:
        listed, names = _of_samples(where, findings)
    categories = tuple(Category(key, name) for key, name in enumerate(names, start=1))
    label_of = {name: label for label, name in enumerate(names)}
    sizes = measure_all((path for path, _, _ in listed), f"checking {split} images")
    images: list[RawImage] = []
    number = 1
    for row, ((path, detections, hint), size) in enumerate(zip(listed, sizes, strict=True), start=1):
        place = f"{where.file.name}: image {row} ({path})"
        if isinstance(size, str):
            findings.error(place, size + hint)
            continue
        image = RawImage(row, path, path.name, *size)
        for detection in detections:
            box = detection.get("bounding_box")
            if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
                findings.error(place, f"bounding_box must be four numbers from 0 to 1, got {box!r:.80}")
                continue
            x, y, w, h = (v * side for v, side in zip(box, (*size, *size), strict=True))
            image.boxes.append(RawBox(number, (x, y, x + w, y + h), label_of[detection["label"]]))
            number += 1
        images.append(image)
    if not names:
        findings.error(where.file.name, "no sample names an object")
    return assemble(split, categories, images, where.file, findings, check=False, repair=repair)


_Listed = list[tuple[Path, list[dict[str, Any]], str]]
"""Per image: the file, its detections with a label, what may be said where the file is missing."""


def _load(file: Path, findings: Findings) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file, findings))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(file, [f"{file.name}: cannot be read as JSON ({error})"]) from error
    if not isinstance(content, dict):
        raise DataError(file, [f"{file.name}: expected a JSON object, got a {kind_of(content)}"])
    return content


def _samples(file: Path, findings: Findings) -> list[dict[str, Any]]:
    samples = _load(file, findings).get("samples")
    if not isinstance(samples, list) or not all(
        isinstance(s, dict) and isinstance(s.get("filepath"), str) for s in samples
    ):
        raise DataError(file, [f"{file.name}: expected a list of samples, each with a filepath"])
    return samples


def _split_of(sample: dict[str, Any]) -> str | None:
    tags = sample.get("tags")
    tags = tags if isinstance(tags, list) else []
    return next((split for tag in tags if isinstance(tag, str) and (split := split_in(tag))), None)


def _detections(value: object) -> list[dict[str, Any]] | None:
    """The detections of a field; None where it is no such field."""
    if (
        not isinstance(value, dict)
        or value.get("_cls") != "Detections"
        or not isinstance(value.get("detections"), list)
    ):
        return None
    return [d for d in value["detections"] if isinstance(d, dict)]


def _of_samples(where: FiftyOneFiles, findings: Findings) -> tuple[_Listed, list[str]]:
    samples = _samples(where.file, findings)
    field = _field(samples, where.file)
    names = sorted({d["label"] for s in samples for d in _labelled(_detections(s.get(field)) or [], "", Findings())})
    lookup = Lookup([where.file.parent, where.file.parent / "data"], findings)
    for sample in samples:
        if where.tag is not None and _split_of(sample) is None:
            findings.warn("samples have no tag of a split, as others have: left out", sample["filepath"])
    samples = [sample for sample in samples if where.tag is None or _split_of(sample) == where.tag]
    listed: _Listed = []
    for sample, path in zip(samples, lookup.files([(s["filepath"],) for s in samples]), strict=True):
        found = _labelled(_detections(sample.get(field)) or [], f"{where.file.name}: {sample['filepath']}", findings)
        hint = "" if path else lookup.nearly(sample["filepath"])
        listed.append((path or where.file.parent / sample["filepath"], found, hint))
    return listed, names


def _field(samples: list[dict[str, Any]], file: Path) -> str:
    """The field that holds the ground truth."""
    there: dict[str, bool] = {}  # name -> whether its boxes have confidences
    for sample in samples:
        for name, value in sample.items():
            if (found := _detections(value)) is not None:
                there[name] = there.get(name, False) or any(d.get("confidence") is not None for d in found)
    truth = [name for name, predicted in there.items() if not predicted]
    if "ground_truth" in there or len(truth) == 1:
        return "ground_truth" if "ground_truth" in there else truth[0]
    listed = ", ".join(sorted(there)) or "none"
    what = f"which field of detections is the ground truth is not plain ({listed}); call it ground_truth"
    raise DataError(file, [f"{file.name}: {what}"])


def _labelled(detections: list[dict[str, Any]], place: str, findings: Findings) -> list[dict[str, Any]]:
    good = [d for d in detections if isinstance(d.get("label"), str) and d["label"].strip()]
    for _ in range(len(detections) - len(good)):
        findings.error(place, "a detection has no label")
    return good


def _of_labels(file: Path, findings: Findings) -> tuple[_Listed, list[str]]:
    content = _load(file, findings)
    classes, labels = content.get("classes"), content.get("labels")
    if not isinstance(labels, dict) or not (classes is None or isinstance(classes, list)):
        raise DataError(file, [f"{file.name}: expected classes, a list, and labels, detections by image"])
    named: dict[str, list[dict[str, Any]]] = {}
    for image, found in labels.items():
        rows = [d for d in found if isinstance(d, dict)] if isinstance(found, list) else []
        for row in rows:
            key = row.get("label")
            if type(key) is int and classes is not None and 0 <= key < len(classes):
                row["label"] = str(classes[key])
        named[image] = _labelled(rows, f"{file.name}: {image}", findings)
    used = {row["label"] for rows in named.values() for row in rows}
    names = [*dict.fromkeys(map(str, classes or [])), *sorted(used - set(map(str, classes or [])))]
    stems = {picture.stem: picture for picture in walk(file.parent / "data")}
    listed = [(stems.get(image, file.parent / "data" / image), rows, "") for image, rows in named.items()]
    return listed, names
