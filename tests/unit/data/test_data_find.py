"""Formats and splits, found by looking."""

import json
import shutil
from pathlib import Path

import pytest

from focalkit.data import open_detection_data, open_train_and_val
from focalkit.data.find import find_layout
from focalkit.errors import DataError, InputError
from unit.data.tiny_data import coco_content, save_image, write_coco, write_text, write_voc, write_yolo


@pytest.mark.parametrize(
    ("json_file", "images"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val.json", "images/val"),
        ("annotations/val.json", "images"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("valid/_annotations.coco.json", "valid"),
        ("annotations/validation.json", "validation/images"),
        ("val.json", "."),
    ],
)
def test_coco_arrangements_are_found(tmp_path: Path, json_file: str, images: str) -> None:
    write_text(tmp_path / json_file, json.dumps(coco_content()))
    for name in ("a.png", "b.png"):
        save_image(tmp_path / images / name)
    assert list(find_layout(tmp_path).splits) == ["val"]
    assert open_detection_data(tmp_path, "val").images[0].path.is_file()


def test_coco_files_of_other_tasks_are_passed_over(tmp_path: Path) -> None:
    write_coco(tmp_path)
    for name in ("captions_train.json", "person_keypoints_train.json"):
        write_text(tmp_path / "annotations" / name, "{}")
    assert len(open_detection_data(tmp_path)) == 2


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    write_text(write_coco(tmp_path) / "annotations/instances_train2.json", "{}")
    with pytest.raises(InputError, match=r"both look like .*'train'.*--train-json"):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_split_words_are_synonyms(tmp_path: Path, word: str) -> None:
    assert open_detection_data(write_coco(tmp_path, "valid"), word).split == "val"


def test_an_unrecognised_folder_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    write_text(tmp_path / "notes.txt", "")
    with pytest.raises(InputError) as caught:
        open_detection_data(tmp_path)
    for part in (
        "annotations/*.json",
        "<split>.json",
        "_annotations.coco.json",
        "Annotations/*.xml",
        "data.yaml",
        "notes.txt",
    ):
        assert part in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope: there is no such file or folder"):
        open_detection_data(tmp_path / "nope")


def test_several_formats_in_one_folder_are_refused_with_their_names(tmp_path: Path) -> None:
    write_yolo(write_coco(tmp_path))
    with pytest.raises(InputError, match=r"several data sets at once: COCO with the splits train; YOLO with"):
        open_detection_data(tmp_path)
    assert find_layout(tmp_path / "data.yaml").format == "YOLO"
    assert find_layout(tmp_path / "annotations/instances_train.json").format == "COCO"


@pytest.mark.parametrize(
    ("write", "way"),
    [(write_coco, "--val-json"), (write_voc, "ImageSets/Main/val.txt"), (write_yolo, "val: images/val")],
)
def test_a_missing_val_split_says_how_to_give_one(tmp_path: Path, write, way: str) -> None:
    write(tmp_path)
    (tmp_path / "ImageSets/Main/val.txt").unlink(missing_ok=True)
    if (tmp_path / "data.yaml").exists():
        write_text(tmp_path / "data.yaml", "train: images/train\nnames: [a, b]\n")
    with pytest.raises(InputError, match=f"train, but no 'val'.*{way}"):
        open_train_and_val(tmp_path)


def test_a_file_that_names_no_split_is_all_and_not_train(tmp_path: Path) -> None:
    write_text(tmp_path / "truth.json", json.dumps(coco_content()))
    for name in ("a.png", "b.png"):
        save_image(tmp_path / name)
    assert len(open_detection_data(tmp_path / "truth.json", "all")) == 2
    with pytest.raises(InputError, match="no 'train'"):
        open_detection_data(tmp_path / "truth.json")


def test_problems_of_train_and_val_come_together(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path, split)
        (tmp_path / "images" / split / "a.png").unlink()
    with pytest.raises(DataError) as caught:
        open_train_and_val(tmp_path)
    assert [p.split(":")[0] for p in caught.value.problems] == ["instances_train.json", "instances_val.json"]


def test_splits_with_different_categories_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "val", coco_content(categories=[{"id": 7, "name": "dog"}, {"id": 3, "name": "cow"}]))
    with pytest.raises(DataError, match="categories of train and val differ: 3 'cat', 3 'cow'"):
        open_train_and_val(tmp_path)


def test_val_images_that_train_holds_too_are_told(tmp_path: Path) -> None:
    write_coco(tmp_path)
    other = coco_content(images=[{"id": 1, "file_name": "a.png", "width": 40, "height": 30}], annotations=[])
    with pytest.raises(DataError, match="every image of val is also in train"):
        _open_with_val(tmp_path, other)
    save_image(tmp_path / "images/train/z.png")
    other["images"].append({"id": 2, "file_name": "z.png", "width": 40, "height": 30})
    _, val = _open_with_val(tmp_path, other)
    assert val.warnings[0].startswith("1 x val images are also in train")
    assert val.warnings[1].startswith("no image of val has a box")


def test_a_training_split_without_any_box_is_told(tmp_path: Path) -> None:
    write_coco(tmp_path, content=coco_content(annotations=[]))
    write_coco(tmp_path, "val")
    assert open_train_and_val(tmp_path)[1].warnings == (
        "no image of train has a box: there is only background to learn from",
    )


def _open_with_val(root: Path, content: dict):
    val_json = write_text(root / "annotations/instances_val.json", json.dumps(content))
    return open_train_and_val(root, val_json=val_json, images=root / "images/train")


def test_reading_annotations_loads_neither_torch_nor_torchvision(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from focalkit.data import open_detection_data;"
        f"open_detection_data({str(write_coco(tmp_path))!r}); print('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_image_folder_is_moved_and_still_found_by_images(tmp_path: Path) -> None:
    write_coco(tmp_path)
    shutil.move(tmp_path / "images/train", tmp_path / "pictures")
    train_json = tmp_path / "annotations/instances_train.json"
    assert len(open_detection_data(None, "train", train_json=train_json, images=tmp_path / "pictures")) == 2


def test_the_summary_of_training_names_the_format_and_the_test_part(tmp_path: Path) -> None:
    from dataclasses import replace

    import torch

    from focalkit.config import CriterionConfig, DataConfig, TrainConfig
    from focalkit.training.record import summary
    from focalkit.training.schedule import Plan

    data, _ = open_train_and_val(write_yolo(tmp_path))
    config = TrainConfig(data=DataConfig(tmp_path), criterion=CriterionConfig(box_weight=1.0))
    net, plan = torch.nn.Linear(1, 1), Plan(1, 1, 1, 0.1)
    said = summary(config, data, data, net, plan, device="cpu", out=tmp_path / "run", terms={})
    assert "(YOLO)" in said.splitlines()[0]
    assert "--split test" not in said
    made = replace(data, division={"train": ("a",), "val": ("b",), "test": ("c", "d")})
    said = summary(config, made, data, net, plan, device="cpu", out=tmp_path / "run", terms={})
    assert f"test    2 images, held out; afterwards: focalkit evaluate {tmp_path / 'run'} --split test" in said
