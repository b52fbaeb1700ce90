"""Label files where people have them, and rows as tools write them."""

from pathlib import Path

import pytest

from focalkit.data import open_detection_data, open_train_and_val
from focalkit.data.find import find_layout
from focalkit.errors import DataError
from unit.data.tiny_data import save_image, write_text, write_yolo

ROW = "0 .5 .5 .25 .5\n"
BOX = (15, 7.5, 25, 22.5)


def yaml_of(root: Path, train: str = "images/train", more: str = "") -> Path:
    write_text(root / "data.yaml", f"train: {train}\nnames: [dog, cat]\n{more}")
    return root


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.png", "labels/train/a.png.txt"),
        ("images/train/a.png", "Labels/train/a.txt"),
        ("Images/train/a.png", "labels/train/a.txt"),
        ("images/train/a.png", "label/train/a.txt"),
        ("images/train/a.png", "annotations/train/a.txt"),
        ("images/train/a.png", "images/train/labels/a.txt"),
        ("images/train/images/a.png", "labels/train/images/a.txt"),
        ("images/train/images/a.png", "images/train/images/a.txt"),
    ],
)
def test_label_files_are_found_where_people_have_them(tmp_path: Path, image: str, label: str) -> None:
    save_image(tmp_path / image)
    write_text(tmp_path / label, ROW)
    data = open_detection_data(yaml_of(tmp_path, str(Path(image).parent)))
    assert data.images[0].boxes == (pytest.approx(BOX),)


def test_training_images_without_any_label_file_are_refused_with_the_place_looked_at(tmp_path: Path) -> None:
    save_image(tmp_path / "images/train/a.png")
    write_text(tmp_path / "other/a.txt", ROW)
    with pytest.raises(DataError, match=r"no image of train has a label file: looked for .*labels/train/a\.txt"):
        open_detection_data(yaml_of(tmp_path))


def test_label_files_without_an_image_are_counted(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_text(tmp_path / "labels/train/lost.txt", ROW)
    write_text(tmp_path / "labels/train/classes.txt", "dog\ncat\n")
    told = [line for line in open_detection_data(tmp_path).warnings if "have no image" in line]
    assert len(told) == 1
    assert told[0].startswith("1 x")
    assert "lost.txt" in told[0]


def test_images_that_share_a_label_file_are_told(tmp_path: Path) -> None:
    save_image(write_yolo(tmp_path) / "images/train/a.jpg")
    assert any("share their label file" in line for line in open_detection_data(tmp_path).warnings)


@pytest.mark.parametrize(
    ("points", "more"),
    [
        (".4 .4 .5 .5 .6 .6", "kpt_shape: [3, 2]\n"),
        (".4 .4 2 .5 .5 2 .6 .6 1 0 0 0", "kpt_shape: [4, 3]\n"),
        (".9", ""),
    ],
)
def test_of_rows_with_key_points_or_a_confidence_the_box_is_taken(tmp_path: Path, points: str, more: str) -> None:
    save_image(tmp_path / "images/train/a.png")
    write_text(tmp_path / "labels/train/a.txt", f"{ROW.strip()} {points}\n")
    data = open_detection_data(yaml_of(tmp_path, more=more))
    assert data.images[0].boxes == (pytest.approx(BOX),)
    assert "left out" in data.warnings[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0, .5, .5, .2, .2", "spaces between them and a point"),
        ("0 0,5 0,5 0,2 0,2", "spaces between them and a point"),
        ("dog .5 .5 .2 .2", "the class is given by its number"),
        ("2 .5 .5 .2 .2", r"there is no class 2; data\.yaml has 0 'dog', 1 'cat'"),
        ("0 .9 .5 .4 .2", r"a\.txt: box 1 .*reaches 4 px out .*--repair"),
    ],
)
def test_a_row_that_cannot_be_used_says_what_to_do(tmp_path: Path, row: str, said: str) -> None:
    write_text(write_yolo(tmp_path) / "labels/train/a.txt", row)
    with pytest.raises(DataError, match=said):
        open_detection_data(tmp_path)


def test_corners_in_place_of_centres_are_told(tmp_path: Path) -> None:
    rows = ["0 .1 .1 .9 .9", "0 .4 .4 .6 .6", "1 .5 .2 .8 .9"]
    write_text(write_yolo(tmp_path) / "labels/train/a.txt", "\n".join(rows))
    with pytest.raises(DataError, match=r"all would fit as corners: are the numbers x0 y0 x1 y1\? Expected cx cy"):
        open_detection_data(tmp_path)


def test_a_test_split_that_is_named_and_not_there_is_a_warning(tmp_path: Path) -> None:
    file = write_yolo(tmp_path) / "data.yaml"
    write_text(file, file.read_text() + "test: ../test/images\n")
    assert list(find_layout(tmp_path).splits) == ["train", "val"]
    train, _ = open_train_and_val(tmp_path)
    assert any("../test/images" in line for line in train.warnings)


def test_lists_beside_classes_txt_are_the_splits(tmp_path: Path) -> None:
    for name in "ab":
        save_image(tmp_path / f"images/{name}.png")
        write_text(tmp_path / f"labels/{name}.txt", ROW)
    write_text(tmp_path / "classes.txt", "dog\n")
    write_text(tmp_path / "train.txt", "images/a.png\n")
    write_text(tmp_path / "val.txt", "./images/b.png\n")
    train, val = open_train_and_val(tmp_path)
    assert [image.file_name for image in (*train.images, *val.images)] == ["a.png", "b.png"]


def test_without_names_classes_are_numbered_up_to_nc(tmp_path: Path) -> None:
    write_text(write_yolo(tmp_path) / "data.yaml", "train: images/train\nval: images/val\nnc: 2\n")
    assert open_detection_data(tmp_path).names == ("class_0", "class_1")


def test_a_tab_in_the_yaml_file_is_found(tmp_path: Path) -> None:
    write_text(write_yolo(tmp_path) / "data.yaml", "train: images/train\nval:\timages/val\nnames: [dog, cat]\n")
    with pytest.raises(DataError, match=r"data\.yaml: not YAML at line 2, column 5: found character"):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("names", ["[dog, '']", "{0: dog, 1: ' '}"])
def test_an_empty_name_of_a_class_is_refused(tmp_path: Path, names: str) -> None:
    with pytest.raises(DataError, match="names must be"):
        open_detection_data(write_yolo(tmp_path, names))


def test_classes_of_one_name_are_told(tmp_path: Path) -> None:
    data = open_detection_data(write_yolo(tmp_path, "[dog, dog]"))
    assert any("share their name" in line for line in data.warnings)


def test_repair_leaves_out_images_that_cannot_be_read(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "images/train/b.png").write_bytes(b"")
    with pytest.raises(DataError, match="--repair leaves such out"):
        open_detection_data(tmp_path)
    data = open_detection_data(tmp_path, repair=True)
    assert [image.file_name for image in data.images] == ["a.png"]
    assert any("missing or cannot be read: left out" in line for line in data.warnings)


@pytest.mark.parametrize("marks", [("run.json", "metrics.jsonl"), ("predictions.json", "images.json")])
def test_pictures_that_a_run_or_predict_has_drawn_are_no_data(tmp_path: Path, marks: tuple[str, str]) -> None:
    save_image(tmp_path / "a.png")
    write_text(tmp_path / "a.txt", ROW)
    write_text(tmp_path / "classes.txt", "dog\n")
    save_image(tmp_path / "out/drawn/a.png")
    for name in marks:
        write_text(tmp_path / "out" / name, "{}")
    assert [image.path for image in open_detection_data(tmp_path, "all").images] == [tmp_path / "a.png"]
