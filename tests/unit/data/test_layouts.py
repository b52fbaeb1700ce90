"""Folders as annotation tools write them: each is found with one path, and its images and boxes with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.cli import main
from focalkit.data import open_detection_data
from focalkit.data.find import find_layout
from focalkit.errors import DataError, InputError
from unit.data.tiny_data import annotation, coco_content, save_image, voc_xml, write_text, write_voc, write_yolo

DOG = ("dog", (2, 3, 12, 13), 0)


def coco_at(root: Path, json_file: str, images: str, prefix: str = "") -> Path:
    content = coco_content(annotations=[annotation()])
    for image in content["images"]:
        save_image(root / images / image["file_name"])
        image["file_name"] = prefix + image["file_name"]
    write_text(root / json_file, json.dumps(content))
    return root


def cvat_subset(root: Path) -> Path:
    return coco_at(root, "annotations/instances_Train.json", "images/Train")


def cvat_default(root: Path) -> Path:
    return coco_at(root, "annotations/instances_default.json", "images/default")


def cvat_named(root: Path) -> Path:
    return coco_at(root, "annotations/instances_Night.json", "images/Night")


def label_studio(root: Path) -> Path:
    return coco_at(root, "result.json", "images", "images\\")


def label_studio_uploads(root: Path) -> Path:
    return coco_at(root, "result.json", "images", "../../label-studio/data/media/upload/7/")


def label_studio_yolo(root: Path) -> Path:
    save_image(root / "images/a.png")
    save_image(root / "images/b.png")
    write_text(root / "labels/a.txt", "0 .5 .5 .2 .2\n")
    write_text(root / "classes.txt", "dog\ncat\n")
    write_text(root / "notes.json", '{"categories": [], "info": {}}')
    return root


def darknet(root: Path) -> Path:
    write_text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    write_text(root / "obj.names", "dog\ncat\n")
    write_text(root / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    save_image(root / "obj_train_data/a.png")
    save_image(root / "obj_train_data/b.png")
    write_text(root / "obj_train_data/a.txt", "0 .5 .5 .2 .2\n")
    return root


def labelimg_voc(root: Path) -> Path:
    for name, objects in (("a", [DOG]), ("b", [])):
        write_text(root / f"{name}.xml", voc_xml(name, *objects))
        save_image(root / f"{name}.png")
    return root


def labelimg_yolo(root: Path) -> Path:
    save_image(root / "a.png")
    save_image(root / "b.png")
    write_text(root / "a.txt", "0 .5 .5 .2 .2\n")
    write_text(root / "classes.txt", "dog\ncat\n")
    return root


def kaggle_voc(root: Path) -> Path:
    for name, objects in (("a", [DOG]), ("b", [])):
        write_text(root / "annotations" / f"{name}.xml", voc_xml(name, *objects))
        save_image(root / "images" / f"{name}.png")
    return root


def voc_trainval(root: Path) -> Path:
    write_voc(root)
    for name in ("train", "val"):
        (root / f"ImageSets/Main/{name}.txt").unlink()
    write_text(root / "Annotations/a.xml", voc_xml("a", DOG))
    write_text(root / "ImageSets/Main/trainval.txt", "a\nc\n")
    return root


@pytest.mark.parametrize(
    ("write", "form", "split"),
    [
        (cvat_subset, "COCO", "train"),
        (cvat_default, "COCO", "all"),
        (cvat_named, "COCO", "all"),
        (label_studio, "COCO", "all"),
        (label_studio_uploads, "COCO", "all"),
        (label_studio_yolo, "YOLO", "all"),
        (darknet, "YOLO", "train"),
        (labelimg_voc, "Pascal VOC", "all"),
        (labelimg_yolo, "YOLO", "all"),
        (kaggle_voc, "Pascal VOC", "all"),
        (voc_trainval, "Pascal VOC", "all"),
    ],
)
def test_the_folder_of_a_tool_is_found(tmp_path: Path, write: Callable[[Path], Path], form: str, split: str) -> None:
    layout = find_layout(write(tmp_path))
    assert (layout.format, list(layout.splits)) == (form, [split])
    data = open_detection_data(tmp_path, split)
    assert [len(image.boxes) for image in data.images] == [1, 0]
    assert all(image.path.is_file() for image in data.images)


def test_two_json_files_that_name_no_split_are_not_guessed_between(tmp_path: Path) -> None:
    write_text(label_studio(tmp_path) / "other.json", (tmp_path / "result.json").read_text())
    with pytest.raises(InputError, match="both look like"):
        open_detection_data(tmp_path, "all")


def test_json_files_without_annotations_are_no_data_set(tmp_path: Path) -> None:
    write_text(write_yolo(tmp_path) / "notes.json", '{"images": 3}')
    assert find_layout(tmp_path).format == "YOLO"


ROOT = {"id": 0, "name": "animals", "supercategory": "none"}
BELOW = [{"id": 1, "name": "cat", "supercategory": "animals"}, {"id": 7, "name": "dog", "supercategory": "animals"}]


def roboflow(root: Path, split: str, boxes: list[dict], categories: list[dict]) -> Path:
    content = coco_content(annotations=boxes, categories=categories)
    write_text(root / split / "_annotations.coco.json", json.dumps(content))
    for image in content["images"]:
        save_image(root / split / image["file_name"])
    return root


def test_the_root_category_of_roboflow_is_left_out_with_a_warning(tmp_path: Path) -> None:
    data = open_detection_data(roboflow(tmp_path, "train", [annotation()], [ROOT, *BELOW]))
    assert data.names == ("cat", "dog")
    assert data.images[0].labels == (1,)
    assert "Roboflow's root" in data.warnings[0]


@pytest.mark.parametrize(
    ("boxes", "categories"),
    [
        ([annotation(category_id=0)], [ROOT, *BELOW]),
        ([annotation()], [{**ROOT, "supercategory": "things"}, *BELOW]),
        ([annotation()], [ROOT, *({**c, "supercategory": "none"} for c in BELOW)]),
    ],
)
def test_a_category_that_is_used_or_above_nothing_stays(
    tmp_path: Path, boxes: list[dict], categories: list[dict]
) -> None:
    assert open_detection_data(roboflow(tmp_path, "train", boxes, categories)).num_classes == 3


def test_voc_lists_may_hold_suffixes_paths_and_marks_of_one_class(tmp_path: Path) -> None:
    write_text(write_voc(tmp_path) / "ImageSets/Main/train.txt", "a.png\nJPEGImages/c.png -1\n")
    assert [i.file_name for i in open_detection_data(tmp_path).images] == ["a.png", "c.png"]


def test_voc_namespaces_and_decimal_commas_are_read(tmp_path: Path) -> None:
    xml = write_voc(tmp_path) / "Annotations/a.xml"
    text = voc_xml("a", ("dog", (2, 3, 12, 13), 0)).replace(
        "<annotation>", '<annotation xmlns="http://example.org/voc">'
    )
    write_text(xml, text.replace(">12<", ">10,5<"))
    data = open_detection_data(tmp_path)
    assert data.images[0].boxes == ((1, 2, 10.5, 13),)
    assert "decimal comma" in data.warnings[0]


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (
            "<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>1.5707963267948966</angle></robndbox>",
            (18, 10, 22, 20),
        ),
        ("<robndbox><cx>4</cx><cy>15</cy><w>10</w><h>4</h><angle>0</angle></robndbox>", (0, 13, 9, 17)),
        ("<polygon><x1>3</x1><y1>4</y1><x2>13</x2><y2>9</y2><x3>5</x3><y3>20</y3></polygon>", (3, 4, 13, 20)),
        ("<polygon><pt><x>3</x><y>4</y></pt><pt><x>13</x><y>9</y></pt></polygon>", (3, 4, 13, 9)),
    ],
)
def test_voc_rotated_boxes_and_polygons_give_their_enclosing_box(
    tmp_path: Path, shape: str, box: tuple[float, ...]
) -> None:
    size = "<size><width>40</width><height>30</height></size>"
    text = f"<annotation><filename>a.png</filename>{size}<object><name>dog</name>{shape}</object></annotation>"
    write_text(write_voc(tmp_path) / "Annotations/a.xml", text)
    data = open_detection_data(tmp_path)
    assert data.images[0].boxes[0] == pytest.approx(box)
    assert "enclosing boxes" in data.warnings[0]


def test_a_rotated_box_without_a_finite_angle_is_refused(tmp_path: Path) -> None:
    shape = "<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>inf</angle></robndbox>"
    text = f"<annotation><filename>a.png</filename><object><name>dog</name>{shape}</object></annotation>"
    write_text(write_voc(tmp_path) / "Annotations/a.xml", text)
    with pytest.raises(DataError, match="has no bndbox"):
        open_detection_data(tmp_path)


def test_inspect_takes_folders_of_images_beside_annotations_for_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_voc(tmp_path)
    save_image(tmp_path / "drawn/a.png")
    assert main(["inspect", str(tmp_path)]) == 0
    assert "Pascal VOC data set" in capsys.readouterr().out


def yolo_folders(root: Path, *folders: str) -> Path:
    write_text(root / "classes.txt", "dog\n")
    for number, folder in enumerate(folders):
        save_image(root / f"images/{folder}/{number}.png")
        write_text(root / f"labels/{folder}/{number}.txt", "0 0.5 0.5 0.25 0.5\n")
    return root


def voc_folders(root: Path, *folders: str) -> Path:
    for number, folder in enumerate(folders):
        write_text(root / f"{folder}/{number}.xml", voc_xml(str(number), DOG))
        save_image(root / f"{folder}/{number}.png")
    return root


@pytest.mark.parametrize("write", [yolo_folders, voc_folders])
def test_folders_of_splits_may_have_a_year_and_are_one_each(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert list(find_layout(write(tmp_path / "years", "train2017", "val2017")).splits) == ["train", "val"]
    with pytest.raises(InputError, match=r"train and .*training are both called like the split 'train'"):
        find_layout(write(tmp_path / "twice", "train", "training", "val"))
