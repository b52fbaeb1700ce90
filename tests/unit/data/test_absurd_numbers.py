"""Numbers of thousands of digits, in every format: refused with their file, or read as what they cannot be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.data import open_detection_data
from focalkit.data.find import find_layout
from focalkit.errors import DataError
from unit.data.test_tool_exports import cvat, cvat_xml
from unit.data.tiny_data import save_image, write_text, write_voc, write_yolo

NINES = "9" * 5000  # Python reads 4300 digits


def cvat_size(root: Path) -> None:
    write_text(cvat(root) / "annotations.xml", cvat_xml().replace('width="40"', f'width="{NINES}"'))


def voc_size(root: Path) -> None:
    file = write_voc(root) / "Annotations/a.xml"
    write_text(file, file.read_text().replace("<width>40", f"<width>{NINES}"))


def yolo_count(root: Path) -> None:
    write_text(write_yolo(root) / "data.yaml", f"train: images/train\nnc: {NINES}\n")


def yolo_key(root: Path) -> None:
    write_text(write_yolo(root) / "data.yaml", f"train: images/train\nnames:\n  ? {NINES}\n  : dog\n")


def fiftyone_box(root: Path) -> None:
    save_image(root / "data/a.png")
    labels = {"a": [{"label": 0, "bounding_box": [10**400, 0.1, 0.2, 0.2]}]}
    write_text(root / "labels.json", json.dumps({"classes": ["dog"], "labels": labels}))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (cvat_size, r"annotations.xml: image 0 .* must be positive integers"),
        (voc_size, r"a.xml: width inf and height 30 are no size of an image"),
        (yolo_count, r"data.yaml: has neither names nor nc"),
        (yolo_key, r"data.yaml: names must be a list, or a mapping"),
        (fiftyone_box, r"labels.json: image 1 .*: bounding_box must be four numbers"),
    ],
)
def test_a_number_beyond_bounds_is_refused_with_its_file(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        open_detection_data(tmp_path, next(iter(find_layout(tmp_path).splits)))


def test_key_points_beyond_bounds_are_none(tmp_path: Path) -> None:
    names = "train: images/train\nnames: [dog, cat]\n"
    write_text(write_yolo(tmp_path) / "data.yaml", f"{names}kpt_shape: [{NINES}, 3]\n")
    assert len(open_detection_data(tmp_path).images[0].boxes) == 2
