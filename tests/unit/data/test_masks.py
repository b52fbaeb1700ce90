"""Masks have the names of their photographs: no reader takes one for a photograph without saying so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.data import DetectionData, open_detection_data
from focalkit.data.find import find_layout
from focalkit.errors import DataError
from unit.data.test_tool_exports import cvat_xml
from unit.data.tiny_data import coco_content, save_image, voc_xml, write_text

ELSEWHERE = "images are found in a folder that is not called like one of images"


def coco(root: Path, suffix: str) -> None:
    images = [
        {"id": i, "file_name": f"{name}{suffix}", "width": 40, "height": 30} for i, name in ((11, "a"), (12, "b"))
    ]
    write_text(root / "annotations.json", json.dumps(coco_content(images=images)))


def table(root: Path, suffix: str) -> None:
    rows = "".join(f"{name}{suffix},dog,5,6,15,18\n" for name in "ab")
    write_text(root / "boxes.csv", f"filename,class,xmin,ymin,xmax,ymax\n{rows}")


def cvat(root: Path, suffix: str) -> None:
    write_text(root / "annotations.xml", cvat_xml().replace(".png", suffix))


def voc(root: Path, suffix: str) -> None:
    for name in "ab":
        write_text(root / f"xml/{name}.xml", voc_xml(name, ("dog", (2, 3, 12, 13), 0)).replace(".png", suffix))


def opened(root: Path) -> DetectionData:
    return open_detection_data(root, next(iter(find_layout(root).splits)))


every_reader = pytest.mark.parametrize("write", [coco, table, cvat, voc])


@every_reader
def test_of_two_folders_of_other_names_none_is_guessed(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    write(tmp_path, ".png")
    for file in ("masks/a.png", "masks/b.png", "photos/a.png"):
        save_image(tmp_path / file)
    with pytest.raises(DataError, match=r"lie in .*masks and in .*photos, neither"):
        opened(tmp_path)


@every_reader
def test_every_image_in_a_folder_of_another_name_is_counted(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    write(tmp_path, ".png")
    for name in "ab":
        save_image(tmp_path / f"photos/{name}.png")
    data = opened(tmp_path)
    assert [image.path for image in data.images] == [tmp_path / "photos/a.png", tmp_path / "photos/b.png"]
    assert [w for w in data.warnings if w.startswith(f"2 x {ELSEWHERE}")]


@every_reader
@pytest.mark.parametrize("mask", ["masks/a.png", "masks/a.jpg"])
def test_a_missing_photograph_is_not_replaced_by_its_mask(
    tmp_path: Path, write: Callable[[Path, str], None], mask: str
) -> None:
    write(tmp_path, ".jpg")
    for file in ("images/b.jpg", mask, "masks/b.jpg"):
        save_image(tmp_path / file)
    if write is table:  # rows without an image are left out
        data = opened(tmp_path)
        assert [image.path.name for image in data.images] == ["b.jpg"]
        assert any("1 x rows are of images that are not there" in w for w in data.warnings)
    else:
        with pytest.raises(DataError, match=r"a\.jpg"):
            opened(tmp_path)


@pytest.mark.parametrize("write", [coco, cvat])
def test_masks_alone_of_another_suffix_are_no_photographs(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    write(tmp_path, ".jpg")
    for name in "ab":
        save_image(tmp_path / f"masks/{name}.png")
    with pytest.raises(DataError, match=r"not found|missing"):
        opened(tmp_path)


def test_another_suffix_is_looked_for_where_the_others_lie(tmp_path: Path) -> None:
    coco(tmp_path, ".jpg")
    for file in ("images/b.jpg", "data/a.png"):
        save_image(tmp_path / file)
    with pytest.raises(DataError, match=r"a\.jpg"):
        opened(tmp_path)
    save_image(tmp_path / "images/a.png")
    assert opened(tmp_path).images[0].path == tmp_path / "images/a.png"
