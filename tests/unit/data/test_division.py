"""Made splits of data on disk: groups, folds, copies, a test split of the data's own, the file of names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from focalkit.data import Selection, division_record, open_detection_data, open_train_and_val
from focalkit.errors import InputError
from unit.data.tiny_data import coco_content, write_coco, write_text


def patients(root: Path, images: int = 12, per_patient: int = 3) -> Path:
    """p0_0.png, p0_1.png, ... of which no two are the same picture; every one shows a dog."""
    names = [f"p{i // per_patient}_{i % per_patient}.png" for i in range(images)]
    rows = [{"id": i, "file_name": n, "width": 40, "height": 30} for i, n in enumerate(names)]
    boxes = [{"id": i + 1, "image_id": i, "category_id": 7, "bbox": [1, 2, 3, 4]} for i in range(images)]
    write_text(root / "instances.json", json.dumps(coco_content(images=rows, annotations=boxes)))
    for i, name in enumerate(names):
        (root / "images").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (i, 0, 0)).save(root / "images" / name)
    return root


def names(data) -> set[str]:
    return {image.file_name for image in data.images}


def test_images_of_one_group_stay_in_one_part(tmp_path: Path) -> None:
    selection = Selection("50/50", group_by=r"p(\d+)_")
    train, val = open_train_and_val(patients(tmp_path), selection=selection)
    assert not {name[:2] for name in names(train)} & {name[:2] for name in names(val)}
    assert (len(train), len(val)) == (6, 6)


def test_a_folder_is_a_group(tmp_path: Path) -> None:
    content = coco_content()
    for image, folder in zip(content["images"], ("night", "day"), strict=True):
        image["file_name"] = f"{folder}/{image['file_name']}"
    write_coco(tmp_path, "all", content)
    train, val = open_train_and_val(tmp_path, selection=Selection("50/50", group_by="folder"))
    assert {Path(name).parent.name for name in names(train) | names(val)} == {"night", "day"}


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (Selection("50/50", group_by="x(\\d)"), "fits no image; they are called .*p0_0.png"),
        (Selection("50/50", group_by="("), "no regular expression"),
        (Selection(group_by="folder"), "no split is made; add --split"),
        (Selection("50/50", group_by="folder"), "1 groups .*folder.* cannot be dealt out to 2 parts"),
        (Selection(fold="6/5"), "expected which of how many"),
        (Selection(fold="1/1"), "expected which of how many"),
        (Selection("80/20", fold="1/5"), "leave --split away, or hold a test part out"),
        (Selection(fold="1/13"), "12 images cannot be dealt out to 13 parts"),
    ],
)
def test_what_cannot_be_divided_so_is_refused(tmp_path: Path, selection: Selection, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_train_and_val(patients(tmp_path), selection=selection)


def test_names_that_the_pattern_does_not_fit_are_counted(tmp_path: Path) -> None:
    train, _ = open_train_and_val(patients(tmp_path), selection=Selection("50/50", group_by="p([0-2])_"))
    assert any(w.startswith("3 x images do not match --group-by") for w in train.warnings)


def test_folds_cover_the_data_once_and_keep_the_test_part(tmp_path: Path) -> None:
    patients(tmp_path)
    vals, tests = [], []
    for fold in range(1, 4):
        selection = Selection("60/20/20", fold=f"{fold}/3", group_by="p(.)")
        train, val = open_train_and_val(tmp_path, selection=selection)
        test = open_detection_data(tmp_path, "test", selection=selection)
        assert len(names(train) | names(val) | names(test)) == 12
        vals.append(names(val))
        tests.append(names(test))
    assert tests[0] == tests[1] == tests[2]
    assert sorted(name for val in vals for name in val) == sorted(set.union(*vals))
    assert len(set.union(*vals) | tests[0]) == 12


def test_copies_of_a_picture_stay_in_one_part(tmp_path: Path) -> None:
    patients(tmp_path, images=4, per_patient=1)
    for copy in ("p1_0.png", "p2_0.png"):
        (tmp_path / "images" / copy).write_bytes((tmp_path / "images/p0_0.png").read_bytes())
    train, val = open_train_and_val(tmp_path, selection=Selection("75/25"))
    assert names(val) == {"p3_0.png"}
    assert any("2 x images are copies of others" in w for w in train.warnings)


def test_a_test_split_of_the_datas_own_is_kept(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "test")
    for selection in (Selection("50/50"), Selection(fold="1/2")):
        train, val = open_train_and_val(tmp_path, selection=selection)
        assert (len(train), len(val)) == (1, 1)
        assert open_detection_data(tmp_path, "test", selection=selection).images[0].path.parent.name == "test"
    with pytest.raises(InputError, match=r"has splits already \(test, train\)"):
        open_train_and_val(tmp_path, selection=Selection("80/10/10"))


def test_a_written_division_is_the_same_after_the_data_have_changed(tmp_path: Path) -> None:
    selection = Selection("50/25/25")
    train, val = open_train_and_val(patients(tmp_path), selection=selection)
    file = write_text(tmp_path / "run/splits.json", json.dumps(division_record(train, selection)))
    patients(tmp_path, images=15)
    (again, other), written = open_train_and_val(tmp_path, selection=Selection(str(file))), Selection(str(file))
    assert (names(again), names(other)) == (names(train), names(val))
    assert any("3 x images are in no part of splits.json: left out" in w for w in again.warnings)
    assert len(open_detection_data(tmp_path, "test", selection=written)) == 3
    patients(tmp_path, images=11)
    again, _ = open_train_and_val(tmp_path, selection=replace(written, single_class=True))
    assert any("1 x images of splits.json are not there any more" in w for w in again.warnings)
    assert again.names == ("object",)


@pytest.mark.parametrize("text", ["", "[]", '{"parts": {"train": 3}}', '{"parts": {"best": ["a"]}}', '{"parts": []}'])
def test_a_file_that_is_no_division_is_refused(tmp_path: Path, text: str) -> None:
    file = write_text(tmp_path / "s.json", text)
    with pytest.raises(InputError, match="not a made split"):
        open_train_and_val(write_coco(tmp_path / "d"), selection=Selection(str(file)))


def test_a_division_of_other_data_is_refused(tmp_path: Path) -> None:
    file = write_text(tmp_path / "s.json", '{"parts": {"train": ["z.png"], "val": ["y.png"]}}')
    with pytest.raises(InputError, match=r"names no image of these data; they are called .*a\.png"):
        open_train_and_val(write_coco(tmp_path / "d"), selection=Selection(str(file)))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"train": ["a.png", "b.png"], "val": ["b.png"]}, r"s\.json: b\.png is in train and in val; expected each"),
        ({"val": ["a.png", "b.png"]}, "makes val and no train"),
        ({"train": ["a.png", "b.png"]}, "makes train and no val"),
    ],
)
def test_a_file_that_names_no_two_parts_apart_is_refused(tmp_path: Path, parts: dict, says: str) -> None:
    file = write_text(tmp_path / "s.json", json.dumps({"parts": parts}))
    with pytest.raises(InputError, match=says):
        open_train_and_val(write_coco(tmp_path / "d", "all"), selection=Selection(str(file)))


def test_copies_across_the_datas_own_splits_are_told(tmp_path: Path) -> None:
    write_coco(tmp_path)
    images = [{"id": 9, "file_name": "z.png", "width": 40, "height": 30}, {"id": 10, "file_name": "y.png"}]
    write_coco(tmp_path, "val", coco_content(images=images, annotations=[]))
    (tmp_path / "images/val/z.png").write_bytes((tmp_path / "images/train/a.png").read_bytes())
    _, val = open_train_and_val(tmp_path)
    assert any(w.startswith("1 x val images are copies of train images (first: ") for w in val.warnings)
