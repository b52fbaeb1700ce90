"""Pascal VOC and YOLO: what is read, what is found wrong."""

from pathlib import Path

import pytest

from focalkit.data import open_detection_data, open_train_and_val
from focalkit.data.yolo import label_path
from focalkit.errors import DataError
from unit.data.tiny_data import save_image, voc_xml, write_text, write_voc, write_yolo


def test_voc_counts_pixels_from_one_and_difficult_objects_are_ignored(tmp_path: Path) -> None:
    data = open_detection_data(write_voc(tmp_path))
    assert data.names == ("cat", "dog", "person")
    assert data.category_ids == (1, 2, 3)
    image = data.images[0]
    assert image.boxes == ((0, 0, 10, 20), (4, 5, 40, 30))
    assert image.labels == (1, 0)
    assert image.crowd == (False, True)
    assert data.images[1].boxes == ()
    assert data.warnings == ()


def test_voc_splits_share_their_classes(tmp_path: Path) -> None:
    train, val = open_train_and_val(write_voc(tmp_path))
    assert train.categories == val.categories
    assert val.images[0].labels == (2,)


def test_voc_that_counts_from_zero_is_left_as_it_is_with_a_warning(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_text(tmp_path / "Annotations/b.xml", voc_xml("b", ("person", (0, 0, 40, 30), 0)))
    data = open_detection_data(tmp_path)
    assert data.images[0].boxes[0] == (1, 1, 10, 20)
    assert any("count pixels from 0" in line for line in data.warnings)


def test_voc_problems_come_at_once(tmp_path: Path) -> None:
    write_voc(tmp_path)
    write_text(
        tmp_path / "Annotations/a.xml", voc_xml("a", ("dog", (10, 5, 3, 9), 0), ("", (1, 1, 3, 4), 0), size="9x30")
    )
    write_text(tmp_path / "Annotations/c.xml", "<annotation><object></annotation>")
    write_text(tmp_path / "ImageSets/Main/train.txt", "a\nc\nd\n")
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    found = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert "a.xml: object 2: the object has no name" in found
    assert "not XML at line 1" in found
    assert "d.xml: the annotation file is missing" in found
    assert "the file is 40x30 (width x height), the annotations say 9x30" in found
    assert "a.xml: box 1 (image a.png): the box [9, 4, 3, 9] (x0, y0, x1, y1) has no area" in found


def test_voc_xml_files_beside_the_images_of_each_split_are_read(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("valid", "b")):
        write_text(tmp_path / split / f"{name}.xml", voc_xml(name, ("dog", (1, 1, 5, 6), 0)))
        save_image(tmp_path / split / f"{name}.png")
    train, val = open_train_and_val(tmp_path)
    assert [train.images[0].file_name, val.images[0].file_name] == ["a.png", "b.png"]


def test_yolo_rows_become_pixels(tmp_path: Path) -> None:
    data = open_detection_data(write_yolo(tmp_path))
    assert data.names == ("dog", "cat")
    assert data.category_ids == (0, 1)
    image = data.images[0]
    assert image.labels == (1, 0)
    assert image.boxes[0] == pytest.approx((15, 7.5, 25, 22.5))
    assert image.areas[0] == pytest.approx(150)


def test_yolo_images_without_labels_are_kept_and_a_missing_label_file_is_a_warning(tmp_path: Path) -> None:
    train, val = open_train_and_val(write_yolo(tmp_path))
    assert [len(i.boxes) for i in (*train.images, *val.images)] == [2, 0, 0]
    assert [w.split(":")[0] for w in train.warnings] == ["1 x images have no label file"]
    assert val.warnings == ("no image of val has a box: there is no AP to compute",)


def test_yolo_names_may_be_a_mapping_with_holes(tmp_path: Path) -> None:
    data = open_detection_data(write_yolo(tmp_path, names="{0: dog, 1: cat, 5: cow}"))
    assert data.category_ids == (0, 1, 5)


@pytest.mark.parametrize("nc", ["3", "1", "two", "0"])
def test_yolo_nc_that_contradicts_the_names_is_refused_with_both_numbers(tmp_path: Path, nc: str) -> None:
    file = write_yolo(tmp_path) / "data.yaml"
    write_text(file, file.read_text() + f"nc: {nc}\n")
    with pytest.raises(DataError, match=rf"data\.yaml: .*\n.*nc says '?{nc}'? classes, names has 2: dog, cat"):
        open_detection_data(tmp_path)


@pytest.mark.parametrize(("nc", "names"), [("2", "[dog, cat]"), ("3", "{0: dog, 1: cat, 5: cow}"), ("6", "{5: cow}")])
def test_yolo_nc_counts_the_names_or_the_numbers(tmp_path: Path, nc: str, names: str) -> None:
    file = write_yolo(tmp_path, names) / "data.yaml"
    write_text(file, file.read_text() + f"nc: {nc}\n")
    write_text(tmp_path / "labels/train/a.txt", "5 0.5 0.5 0.25 0.5\n" if "5" in names else "")
    assert open_detection_data(tmp_path).num_classes == names.count(",") + 1


def test_yolo_polygons_become_their_bounding_boxes_with_a_warning(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_text(tmp_path / "labels/train/a.txt", "0 0.1 0.2 0.5 0.2 0.3 0.6\n")
    data = open_detection_data(tmp_path)
    assert data.images[0].boxes[0] == pytest.approx((4, 6, 20, 18))
    assert any("polygons" in w for w in data.warnings)


def test_yolo_problems_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_text(
        tmp_path / "labels/train/a.txt",
        "9 .5 .5 .1 .1\n0 .5 .5 .1\n\n0 a b c d\n0 30 20 5 5\n0 .5 .5 0 .1\n0 .9 .5 .4 .1\n",
    )
    (tmp_path / "images/train/b.png").write_text("no image")
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    found = caught.value.problems
    assert len(found) == 7
    lines = {n: next(f for f in found if f"line {n}," in f) for n in (1, 2, 4, 5)}
    assert "there is no class 9" in lines[1]
    assert "got 4 numbers" in lines[2]
    assert "expected numbers" in lines[4]
    assert "not relative to the image size" in lines[5]
    assert any("has no area" in f for f in found)
    assert any("reaches 4 px out" in f for f in found)
    assert any("b.png" in f and "cannot be read" in f for f in found)


@pytest.mark.parametrize("entry", ["../train/images", "train/images", "list.txt"])
def test_yolo_entries_of_other_exporters_are_found(tmp_path: Path, entry: str) -> None:
    save_image(tmp_path / "train/images/a.png")
    write_text(tmp_path / "train/labels/a.txt", "0 0.5 0.5 0.25 0.5\n")
    write_text(tmp_path / "list.txt", "train/images/a.png\n")
    write_text(tmp_path / "data.yaml", f"train: {entry}\nnames: [dog]\n")
    assert len(open_detection_data(tmp_path).images[0].boxes) == 1


def test_yolo_images_that_are_listed_twice_are_taken_once_with_a_warning(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_text(tmp_path / "data.yaml", "train: [images/train, images/train]\nnames: [dog, cat]\n")
    data = open_detection_data(tmp_path)
    assert [image.path.name for image in data.images] == ["a.png", "b.png"]
    assert any("2 x images are listed again" in line for line in data.warnings)


def test_label_path_replaces_the_last_images_folder_only() -> None:
    assert label_path(Path("images/x/images/a.b.jpg")) == Path("images/x/labels/a.b.txt")
