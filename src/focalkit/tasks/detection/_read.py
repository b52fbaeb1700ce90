"""From data of boxes to train, validation and test parts, which every cell shares."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from focalkit.data import DetectionData, Selection, divide
from focalkit.data.find import Place, SeveralError, compare_splits, find_layouts, open_all, with_classes_of
from focalkit.errors import DataError, InputError

from .._task import Source, Splits

VAL_SHARE, TEST_SHARE = 0.15, 0.2


def looks_like_boxes(path: Path) -> bool:
    """See `Detection.recognises`. JSON files beside folders of images prove nothing: other data have such, too."""
    from ..image.find import looks_like_images

    try:
        layouts = find_layouts(path)
    except SeveralError:  # which whoever reads them says
        return True
    except InputError:
        return False
    loose = list(layouts) == ["COCO"] and path.is_dir() and any(path.glob("*.json"))
    return bool(layouts) and not (loose and looks_like_images(path))


def read(source: Source) -> Splits:
    """The parts; see `Detection.read`.

    Raises:
        InputError: No data set there, or one without a part to train on.
        DataError: All problems of all parts; parts that do not belong together; too few images or no boxes.
    """
    opened, held_out = read_parts(source), ""
    if "train" not in opened:
        if "all" not in opened:
            raise InputError(f"{source.path}: expected a part train, got {', '.join(opened)}")
        opened["train"] = opened.pop("all")
    train = opened["train"]
    notes: list[str] = []
    for part in ("val", "test"):
        if part in opened:
            problems, warnings = compare_splits(train, opened[part])
            if problems:
                raise DataError(source.path, problems)
            opened[part] = with_classes_of(train, opened[part])
            notes += [line for line in warnings if line not in notes]
    val, test = opened.get("val"), opened.get("test")
    if test is not None and not any(test.class_counts()):
        test = None
    if test is None and val is not None:
        val, test = None, val
        held_out = "the test part is the data's val; val is held out of train"
    if test is None:
        train, test = _held_out(source, train, TEST_SHARE, "test")
        held_out = "val and test are held out of train"
    if val is None:
        train, val = _held_out(source, train, VAL_SHARE, "val")
    if not any(train.class_counts()) or not any(test.class_counts()):
        raise DataError(source.path, ["expected boxes in the train and in the test part, got a part without any"])
    parts = {"train": train, "val": val, "test": test}
    sizes = {name: len(data) for name, data in parts.items()}
    boxes = {name: sum(data.class_counts()) for name, data in parts.items()}
    return Splits(
        train=train,
        val=val,
        test=test,
        classes=train.names,
        class_counts=tuple(train.class_counts()),
        sizes=sizes,
        facts={"boxes": boxes, "split": held_out or "the data's own"},
        notes=tuple(notes),
        fingerprint=_fingerprint(parts),
    )


def read_parts(source: Source) -> dict[str, DetectionData]:
    """Every part that the data have.

    Raises:
        InputError: No data set there.
        DataError: All problems of all parts.
    """
    opened, problems = open_all(Place(source.path), source.selection or Selection())
    if problems:
        raise DataError(source.path, problems)
    return opened


def _held_out(source: Source, data: DetectionData, share: float, name: str) -> tuple[DetectionData, DetectionData]:
    """The data without a share of their images, and that share as a part; copies and groups stay in one of the two."""
    if len(data) < 4:
        raise DataError(data.source, [f"expected at least 4 images to hold some out for {name}, got {len(data)}"])
    group_by = None if source.selection is None else source.selection.group_by
    parts = divide(data, Selection(f"{1 - share:g}/{share:g}", group_by=group_by))
    return parts["train"], replace(parts["val"], split=name, warnings=())


def _fingerprint(parts: dict[str, DetectionData]) -> str:
    digest = hashlib.sha256()
    for name, data in parts.items():
        digest.update(json.dumps([name, data.names, len(data)]).encode())
        for image in data.images:
            rows = [image.file_name, image.boxes, image.labels, image.crowd, image.path.stat().st_size]
            digest.update(json.dumps(rows).encode())
    return digest.hexdigest()[:16]
