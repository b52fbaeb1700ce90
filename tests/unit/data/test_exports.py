"""Exports of labelme, Open Images, FiftyOne, supervision, CVAT, Roboflow: each is found with one path and no flag."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import features

from focalkit.cli import main
from focalkit.data import open_detection_data
from focalkit.data.find import find_layout
from focalkit.errors import DataError
from unit.data.test_layouts import DOG, coco_at
from unit.data.tiny_data import save_image, save_pair, voc_xml, write_text


def shape(label: str = "dog", kind: str = "rectangle", points: Any = ((4, 3), (14, 15))) -> dict[str, Any]:
    return {"label": label, "points": [list(p) for p in points], "group_id": None, "shape_type": kind, "flags": {}}


def labelme_json(file: Path, *shapes: dict[str, Any], image: str = "") -> Path:
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image or f"{file.stem}.png",
               "imageData": None, "imageHeight": 30, "imageWidth": 40}  # fmt: skip
    return write_text(file, json.dumps(content, indent=2))


def labelme_beside(root: Path) -> Path:
    labelme_json(root / "a.json", shape())
    labelme_json(root / "train_b.json", image="b.png")
    save_pair(root)
    return root


def labelme_apart(root: Path) -> Path:
    labelme_json(root / "annotations/a.json", shape(), image="..\\images\\a.png")
    labelme_json(root / "annotations/b.json", image="../images/b.png")
    save_pair(root / "images")
    return root


def labelme_splits(root: Path) -> Path:
    for split in ("train", "val"):
        labelme_json(root / split / "a.json", shape())
        labelme_json(root / split / "b.json")
        save_pair(root / split)
    return root


BOXES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def open_images(root: Path) -> Path:
    rows = "a,xclick,/m/0bt9lr,1,0.1,0.35,0.1,0.5,0,0,0,0,0\nelsewhere,xclick,/m/0bt9lr,1,0,1,0,1,0,0,0,0,0\n"
    write_text(root / "oidv6-train-annotations-bbox.csv", BOXES + rows)
    write_text(root / "class-descriptions-boxable.csv", "/m/0bt9lr,dog\n/m/01yrx,cat\n")
    save_pair(root / "train")
    return root


def fiftyone_open_images(root: Path) -> Path:
    write_text(root / "labels/detections.csv", BOXES + "a,,/m/0bt9lr,,0.1,0.35,0.1,0.5,,,,,\n")
    write_text(root / "metadata/classes.csv", "/m/0bt9lr,dog\n")
    save_pair(root / "data")
    return root


def roboflow_csv(root: Path) -> Path:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    write_text(root / "train/_annotations.csv", head + "a.png,40,30,dog,4,3,14,15\n")
    save_pair(root / "train")
    return root


def detection(label: str | int = "dog") -> dict[str, Any]:
    return {"_cls": "Detection", "attributes": {}, "tags": [], "label": label, "bounding_box": [0.1, 0.1, 0.25, 0.4]}


def fiftyone_own(root: Path) -> Path:
    fields = {
        "ground_truth": {"_cls": "Detections", "detections": [detection()]},
        "predictions": {"_cls": "Detections", "detections": [{**detection("cat"), "confidence": 0.9}]},
    }
    samples = [
        {"filepath": "data/a.png", "tags": ["train"], "_media_type": "image", **fields},
        {"filepath": "data/b.png", "tags": ["train"], "_media_type": "image", "ground_truth": None},
    ]
    write_text(root / "samples.json", json.dumps({"samples": samples}))
    write_text(root / "metadata.json", json.dumps({"_id": {"$oid": "1"}, "name": "x", "media_type": "image"}))
    save_pair(root / "data")
    return root


def fiftyone_labels(root: Path) -> Path:
    write_text(root / "labels.json", json.dumps({"classes": ["cat", "dog"], "labels": {"a": [detection(1)], "b": []}}))
    save_pair(root / "data")
    return root


def fiftyone_coco(root: Path) -> Path:
    return coco_at(root, "labels.json", "data")


def fiftyone_coco_splits(root: Path) -> Path:
    coco_at(root, "validation/labels.json", "validation/data")
    return coco_at(root, "train/labels.json", "train/data")


def fiftyone_voc(root: Path) -> Path:
    for name, objects in (("a", [DOG]), ("b", [])):
        write_text(root / "labels" / f"{name}.xml", voc_xml(name, *objects))
        save_image(root / "data" / f"{name}.png")
    return root


def fiftyone_yolov4(root: Path) -> Path:
    write_text(root / "obj.names", "dog\ncat\n")
    write_text(root / "images.txt", "data/a.png\ndata/b.png\n")
    write_text(root / "data/a.txt", "0 .5 .5 .2 .2\n")
    save_pair(root / "data")
    return root


def fiftyone_yolov5(root: Path) -> Path:
    write_text(root / "dataset.yaml", "names:\n  0: dog\n  1: cat\npath: /home/me/export\nval: ./images/val/\n")
    write_text(root / "labels/val/a.txt", "0 .5 .5 .2 .2\n")
    save_pair(root / "images/val")
    return root


def supervision_coco(root: Path) -> Path:
    return coco_at(root, "annotations.json", "images")


def supervision_yolo(root: Path) -> Path:
    write_text(root / "data.yaml", "nc: 2\nnames:\n- dog\n- cat\n")
    write_text(root / "labels/a.txt", "0 .5 .5 .2 .2\n")
    save_pair(root / "images")
    return root


def supervision_voc(root: Path) -> Path:
    for name, objects in (("a", [DOG]), ("b", [])):
        write_text(root / "annotations" / f"{name}.xml", voc_xml(name, *objects))
        save_image(root / "images" / f"{name}.png")
    return root


def cvat_voc(root: Path) -> Path:
    for name, objects in (("a", [DOG]), ("b", [])):
        write_text(root / "Annotations" / f"{name}.xml", voc_xml(name, *objects))
        save_image(root / "JPEGImages" / f"{name}.png")
    write_text(root / "ImageSets/Main/default.txt", "a\nb\n")
    write_text(root / "labelmap.txt", "# label:color_rgb:parts:actions\ndog:0,0,0::\n")
    return root


def cvat_ultralytics(root: Path) -> Path:
    write_text(root / "data.yaml", "names:\n  0: dog\npath: .\ntrain: train.txt\n")
    write_text(root / "train.txt", "data/images/train/a.png\ndata/images/train/b.png\n")
    write_text(root / "labels/train/a.txt", "0 .5 .5 .2 .2\n")
    save_pair(root / "images/train")
    return root


def nested_and_linked(root: Path) -> Path:
    write_text(root / "data.yaml", "names: [dog]\ntrain: images/train\n")
    save_image(root / "images/train/deep/er/a.png")
    write_text(root / "labels/train/deep/er/a.txt", "0 .5 .5 .2 .2\n")
    save_image(root / "elsewhere/b.png")
    os.symlink(root / "elsewhere", root / "images/train/linked")
    return root


EXPORTS = [
    (labelme_beside, "labelme", ["all"]),
    (labelme_apart, "labelme", ["all"]),
    (labelme_splits, "labelme", ["train", "val"]),
    (open_images, "table", ["train"]),
    (fiftyone_open_images, "table", ["all"]),
    (roboflow_csv, "table", ["train"]),
    (fiftyone_own, "FiftyOne", ["train"]),
    (fiftyone_labels, "FiftyOne", ["all"]),
    (fiftyone_coco, "COCO", ["all"]),
    (fiftyone_coco_splits, "COCO", ["train", "val"]),
    (fiftyone_voc, "Pascal VOC", ["all"]),
    (fiftyone_yolov4, "YOLO", ["all"]),
    (fiftyone_yolov5, "YOLO", ["val"]),
    (supervision_coco, "COCO", ["all"]),
    (supervision_yolo, "YOLO", ["all"]),
    (supervision_voc, "Pascal VOC", ["all"]),
    (cvat_voc, "Pascal VOC", ["all"]),
    (cvat_ultralytics, "YOLO", ["train"]),
    (nested_and_linked, "YOLO", ["train"]),
]


@pytest.mark.parametrize(("write", "form", "splits"), EXPORTS)
def test_an_export_is_found_and_read(
    tmp_path: Path, write: Callable[[Path], Path], form: str, splits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    layout = find_layout(write(tmp_path))
    assert (layout.format, sorted(layout.splits)) == (form, splits)
    for split in splits:
        data = open_detection_data(tmp_path, split)
        assert [len([c for c in image.crowd if not c]) for image in data.images] == [1, 0]
        assert data.names[data.images[0].labels[0]] == "dog"
        assert all(image.path.is_file() for image in data.images)
    assert main(["inspect", str(tmp_path)]) == 0
    assert f"{form} data set" in capsys.readouterr().out


@pytest.mark.parametrize("write", [labelme_beside, open_images, roboflow_csv, fiftyone_own, fiftyone_labels])
def test_all_readers_give_the_same_box(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = open_detection_data(write(tmp_path), next(iter(find_layout(tmp_path).splits)))
    assert data.images[0].boxes == (pytest.approx((4, 3, 14, 15)),)


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("rectangle", [(14, 15), (4, 3)], (4, 3, 14, 15)),
        ("polygon", [(4, 3), (14, 5), (6, 15)], (4, 3, 14, 15)),
        ("circle", [(10, 12), (13, 16)], (5, 7, 15, 17)),
        ("mask", [(4, 3), (14, 15)], (4, 3, 14, 15)),
        ("rotation", [(9, 3), (14, 9), (9, 15), (4, 9)], (4, 3, 14, 15)),
    ],
)
def test_shapes_of_labelme_give_their_enclosing_boxes(tmp_path: Path, kind: str, points: list, box: tuple) -> None:
    labelme_json(
        labelme_beside(tmp_path) / "a.json", shape(kind=kind, points=points), shape(kind="point", points=[(1, 1)])
    )
    data = open_detection_data(tmp_path, "all")
    assert data.images[0].boxes == (box,)
    assert any("points or lines: left out" in w for w in data.warnings)
    assert any("enclosing boxes taken" in w for w in data.warnings) == (kind != "rectangle")


def test_faults_of_labelme_come_at_once_with_their_file(tmp_path: Path) -> None:
    labelme_json(labelme_beside(tmp_path) / "a.json", shape(points=[(1, 2)]), shape(label=" "), image="gone.png")
    write_text(tmp_path / "c.json", '{"version": "5", "shapes": [}, "imagePath": "c.png"')
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path, "all")
    text = str(caught.value)
    for part in (
        "c.json: not JSON at line 1",
        "a rectangle of 1 points",
        "shape 2: has no label",
        "imagePath 'gone.png'",
    ):
        assert part in text


def test_pictures_that_labelme_has_not_seen_are_counted(tmp_path: Path) -> None:
    save_image(labelme_beside(tmp_path) / "new.png")
    assert any("no JSON file: left out" in w for w in open_detection_data(tmp_path, "all").warnings)


def test_the_picture_of_a_json_file_is_the_one_called_like_it(tmp_path: Path) -> None:
    for name in "ab":
        labelme_json(tmp_path / f"{name}.json", shape(), image="b.png")
        save_image(tmp_path / f"{name}.png")
    data = open_detection_data(tmp_path, "all")
    assert [image.file_name for image in data.images] == ["a.png", "b.png"]
    assert any("name another image than their own" in line for line in data.warnings)


def test_a_label_that_is_a_number_is_a_name(tmp_path: Path) -> None:
    labelme_json(tmp_path / "a.json", {**shape(), "label": 3})
    save_image(tmp_path / "a.png")
    assert open_detection_data(tmp_path, "all").names == ("3",)


def test_rows_of_pictures_that_are_not_there_are_counted(tmp_path: Path) -> None:
    warnings = open_detection_data(open_images(tmp_path), "train").warnings
    assert any(w.startswith("1 x rows are of images that are not there") for w in warnings)
    (tmp_path / "train/a.png").unlink()
    with pytest.raises(DataError, match=r"such as a, were not found; looked in .*train"):
        open_detection_data(tmp_path, "train")


def test_pictures_of_another_split_are_no_background(tmp_path: Path) -> None:
    head = "filename,class,xmin,ymin,xmax,ymax\n"
    for split, name in (("train", "a"), ("val", "b")):
        write_text(tmp_path / f"{split}.csv", f"{head}{name}.png,dog,4,3,14,15\n")
        labelme_json(tmp_path / "shapes" / split / f"{name}.json", shape(), image=f"../../images/{name}.png")
    for name in ("a", "b", "unknown"):
        save_image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "shapes").rename(tmp_path.parent / f"{tmp_path.name}-shapes")
    data = open_detection_data(tmp_path, "train")
    assert [image.file_name for image in data.images] == ["a.png"]
    assert any(w.startswith("1 x images have no row, and their split is not known") for w in data.warnings)
    (tmp_path.parent / f"{tmp_path.name}-shapes").rename(tmp_path / "shapes")
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").unlink()
    data = open_detection_data(tmp_path, "val")
    assert [image.file_name for image in data.images] == ["b.png"]
    assert any(w.startswith("1 x images have no JSON file") for w in data.warnings)


def test_groups_of_open_images_are_regions_to_ignore(tmp_path: Path) -> None:
    table = open_images(tmp_path) / "oidv6-train-annotations-bbox.csv"
    table.write_text(table.read_text().replace("0.5,0,0,0,0,0", "0.5,0,0,1,0,0"))
    assert open_detection_data(tmp_path, "train").images[0].crowd == (True,)


def test_a_table_with_faults_names_their_lines(tmp_path: Path) -> None:
    table = roboflow_csv(tmp_path) / "train/_annotations.csv"
    table.write_text(table.read_text() + "a.png,40,30,dog,x,3,14,15\na.png,40\na.png,40,30,dog,5,5,5,9\n")
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path, "train")
    for part in ("line 3 (a.png): expected four numbers", "line 4: expected an image, a class and xmin", "has no area"):
        assert part in str(caught.value)


def test_a_field_of_fiftyone_that_is_not_plain_is_asked_for(tmp_path: Path) -> None:
    file = fiftyone_own(tmp_path) / "samples.json"
    text = file.read_text().replace('"ground_truth"', '"mine"').replace('"predictions"', '"yours"')
    write_text(file, text.replace('"confidence": 0.9', '"confidence": null'))
    with pytest.raises(DataError, match="not plain \\(mine, yours\\); call it ground_truth"):
        open_detection_data(tmp_path)


def test_tables_and_shapes_beside_a_data_set_are_passed_over(tmp_path: Path) -> None:
    supervision_voc(tmp_path)
    write_text(tmp_path / "labels.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,dog,4,3,14,15\n")
    labelme_json(tmp_path / "labelme/a.json", shape())
    assert find_layout(tmp_path).format == "Pascal VOC"


def test_a_table_of_numbers_is_no_data_set_of_boxes(tmp_path: Path) -> None:
    write_text(tmp_path / "t.csv", "a,b,target\n1,2,0\n")
    assert main(["inspect", str(tmp_path / "t.csv"), "--no-labels"]) in (0, 2)
    from focalkit.data.find import find_layouts

    assert find_layouts(tmp_path / "t.csv") == {}


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".TIFF", ".gif", ".jfif", ".webp", ".jp2", ".avif"])
def test_pictures_of_every_kind_are_read(tmp_path: Path, suffix: str) -> None:
    needs = {".jp2": "jpg_2000", ".avif": "avif", ".webp": "webp"}.get(suffix)
    if needs and not features.check(needs):
        pytest.skip(f"this Pillow has no {needs}")
    supervision_yolo(tmp_path)
    (tmp_path / "images/a.png").unlink()
    save_image(tmp_path / f"images/a{suffix}")
    data = open_detection_data(tmp_path, "all")
    assert [(image.width, len(image.boxes)) for image in data.images] == [(40, 1), (40, 0)]


def test_a_heic_photograph_without_its_reader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision_yolo(tmp_path)
    (tmp_path / "images/a.png").rename(tmp_path / "images/a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match="pip install pillow-heif"):
        open_detection_data(tmp_path, "all")
