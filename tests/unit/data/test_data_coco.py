"""COCO files: what is read, what is found wrong."""

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from focalkit.data import open_detection_data, open_train_and_val
from focalkit.errors import DataError, InputError
from unit.data.tiny_data import annotation, coco_content, save_image, write_coco, write_text


def problems(root: Path, **changes: object) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        open_detection_data(write_coco(root, content=coco_content(**changes)))
    return caught.value.problems


def test_category_ids_with_holes_become_labels_in_ascending_order(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path))
    assert data.names == ("cat", "dog")
    assert data.category_ids == (3, 7)
    assert data.images[0].labels == (1, 0, 0)
    assert data.warnings == ()


def test_boxes_become_xyxy_and_crowd_and_area_are_kept(tmp_path: Path) -> None:
    image = open_detection_data(write_coco(tmp_path)).images[0]
    assert image.boxes == ((5, 6, 15, 18), (0, 0, 40, 30), (1.5, 2.5, 4.5, 6.5))
    assert image.crowd == (False, True, False)
    assert image.areas == (100.5, 900, 12)
    assert image.annotation_ids == (1, 2, 3)


def test_images_without_boxes_are_kept(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path))
    assert [i.id for i in data.images] == [11, 12]
    assert data.images[1].boxes == ()


def test_crowd_regions_are_not_counted_as_boxes(tmp_path: Path) -> None:
    assert open_detection_data(write_coco(tmp_path)).class_counts() == [1, 1]


def test_images_that_show_a_class_are_counted_once_and_crowd_regions_do_not_show_it(tmp_path: Path) -> None:
    boxes = [(11, 7, 0), (11, 7, 0), (12, 7, 0), (12, 3, 1)]
    annotations = [
        annotation(id=i, image_id=image, category_id=category, iscrowd=crowd, bbox=[i, 6, 10, 12])
        for i, (image, category, crowd) in enumerate(boxes, 1)
    ]
    data = open_detection_data(write_coco(tmp_path, content=coco_content(annotations=annotations)))
    assert data.names == ("cat", "dog")
    assert data.class_counts() == [0, 3]
    assert data.image_counts() == [0, 2]


def test_all_problems_come_at_once_each_with_file_image_and_annotation(tmp_path: Path) -> None:
    content = coco_content(
        annotations=[
            annotation(id=1, category_id=99),
            annotation(id=2, image_id=55),
            annotation(id=4, bbox=[5, 5, 0, 3]),
            annotation(id=5, bbox=[50, 5, 4, 3]),
            annotation(id=6, bbox=[30, 5, 14, 3]),
            annotation(id="seven"),
            annotation(id=8, bbox=[1, 2, math.nan, 4]),
            annotation(id=9, bbox=[1, 2, 3]),
            annotation(id=11, iscrowd="0"),
            {"id": 10, "image_id": 11, "bbox": [1, 2, 3, 4]},
        ]
    )
    write_coco(tmp_path, content=content)
    save_image(tmp_path / "images/train/b.png", 41, 30)
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    found = caught.value.problems
    expected = [
        "annotation 1: there is no category 99",
        "image 55, annotation 2: there is no image of that id",
        "annotation 'seven': the annotation id is a str",
        "annotation 9: bbox must be four numbers",
        "annotations[9]: missing: category_id",
        "annotation 11: iscrowd must be 0 or 1, got '0'",
        "image 12",
        "annotation 4: the box [5, 5, 5, 8] (x0, y0, x1, y1) has no area",
        "annotation 5: the box [50, 5, 54, 8] (x0, y0, x1, y1) lies outside its 40x30 image",
        "annotation 6: the box [30, 5, 44, 8] (x0, y0, x1, y1) reaches 4 px out",
        "annotation 8: the box [1, 2, nan, 6] (x0, y0, x1, y1) has a number that is not finite",
    ]
    assert len(found) == len(expected)
    for part in expected:
        assert any(part in line for line in found), part
    assert all("instances_train.json" in line for line in found)
    assert all("image 11 (a.png)" in line for line in found if "annotation 4" in line or "annotation 1:" in line)
    assert any("the file is 41x30 (width x height), the annotations say 40x30" in line for line in found)


def test_duplicate_and_wordy_image_ids_are_errors(tmp_path: Path) -> None:
    images = coco_content()["images"]
    images += [{**images[0], "file_name": "c.png"}, {**images[0], "id": "x", "file_name": "d.png"}]
    found = problems(tmp_path, images=images)
    assert len(found) == 2
    assert "image 11 (c.png): the image id is given twice, also for a.png" in found[0]
    assert "image 'x' (d.png): the image id 'x' is a str, expected an integer" in found[1]


def test_duplicate_and_wordy_category_ids_are_errors(tmp_path: Path) -> None:
    categories = [*coco_content()["categories"], {"id": 3, "name": "cow"}, {"id": "x", "name": "owl"}, {"id": 9}]
    found = problems(tmp_path, categories=categories)
    assert [line.split(": ", 2)[2] for line in found] == [
        "category id 3 is given twice",
        "category id 'x' is a str, expected an integer",
        "missing: name",
    ]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_an_error(tmp_path: Path, key: str) -> None:
    content = coco_content()
    write_coco(tmp_path, content=content)
    del content[key]
    write_text(tmp_path / "annotations/instances_train.json", json.dumps(content))
    with pytest.raises(DataError, match=f"missing: {key}"):
        open_detection_data(tmp_path)


def test_bad_json_is_an_error_with_its_line(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_text(tmp_path / "annotations/instances_train.json", '{"images": [],\n"annotations": [,]}')
    with pytest.raises(DataError, match="not JSON at line 2, column 17"):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("text", ['{"images": [,]}', "[]", "{}", "[" * 100_000, "é".encode("latin-1"), "1" * 5000])
def test_a_file_that_cannot_be_used_is_named_by_its_problem(tmp_path: Path, text: str | bytes) -> None:
    file = write_coco(tmp_path) / "annotations/instances_train.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    assert [problem.startswith("instances_train.json: ") for problem in caught.value.problems] == [True]


def test_numbers_beyond_every_float_are_not_finite(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, annotations=[annotation(bbox=[10**400, 1, 5, 5], area=10**400)])
    assert "annotation 1: the box [inf, 1, inf, 6]" in found
    assert "not finite" in found


def test_a_missing_image_is_an_error_and_the_others_are_still_checked(tmp_path: Path) -> None:
    write_coco(tmp_path, content=coco_content(annotations=[annotation(bbox=[1, 1, 0, 0])]))
    (tmp_path / "images/train/b.png").unlink()
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    assert len(caught.value.problems) == 2
    assert "image 12" in caught.value.problems[0]
    assert "the image file is missing" in caught.value.problems[0]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_an_error(tmp_path: Path, suffix: str) -> None:
    images = [{"id": 11, "file_name": f"a.{suffix}", "width": 300, "height": 200}]
    write_coco(tmp_path, content=coco_content(images=images))
    path = tmp_path / "images/train" / f"a.{suffix}"
    Image.effect_noise((300, 200), 80).convert("RGB").save(path)
    assert len(open_detection_data(tmp_path)) == 1
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="the image cannot be read"):
        open_detection_data(tmp_path)


def test_a_file_that_is_no_image_is_an_error(tmp_path: Path) -> None:
    write_text(write_coco(tmp_path) / "images/train/a.png", "not an image")
    with pytest.raises(DataError, match=r"image 11 .*cannot be read"):
        open_detection_data(tmp_path)


def test_sizes_are_compared_after_the_exif_rotation(tmp_path: Path) -> None:
    images = [{"id": 11, "file_name": "a.jpg", "width": 30, "height": 40}]
    write_coco(tmp_path, content=coco_content(images=images, annotations=[]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "images/train/a.jpg", exif=exif)
    assert open_detection_data(tmp_path).images[0].width == 30
    images[0].update(width=40, height=30)
    write_text(tmp_path / "annotations/instances_train.json", json.dumps(coco_content(images=images, annotations=[])))
    with pytest.raises(DataError, match="EXIF"):
        open_detection_data(tmp_path)


def test_check_false_opens_no_image(tmp_path: Path) -> None:
    write_text(write_coco(tmp_path) / "images/train/a.png", "not an image")
    assert len(open_detection_data(tmp_path, check=False)) == 2


def test_a_box_that_reaches_out_by_less_than_two_pixels_is_clipped_with_a_counted_warning(tmp_path: Path) -> None:
    boxes = [annotation(bbox=[-1.5, 5, 10, 10]), annotation(id=2, bbox=[30, 20, 11, 11])]
    data = open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes)))
    assert data.images[0].boxes == ((0, 5, 8.5, 15), (30, 20, 40, 30))
    assert len(data.warnings) == 1
    assert data.warnings[0].startswith("2 x boxes reach out of the image by less than 2 px: clipped (first: ")
    assert "image 11 (a.png), annotation 1" in data.warnings[0]


def test_a_box_that_ends_at_the_edge_by_floating_point_gives_no_warning(tmp_path: Path) -> None:
    boxes = [annotation(bbox=[33.3, 1, 6.7 + 1e-9, 2])]
    assert open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes))).warnings == ()


def test_repair_clips_and_leaves_out_with_counted_warnings(tmp_path: Path) -> None:
    boxes = [
        annotation(bbox=[30, 5, 20, 10]),
        annotation(id=2, bbox=[3, 3, 0, 5]),
        annotation(id=3, bbox=[60, 3, 5, 5]),
    ]
    data = open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes)), repair=True)
    assert data.images[0].boxes == ((30, 5, 40, 15),)
    assert data.images[0].annotation_ids == (1,)
    assert len(data.warnings) == 3
    assert all(line.startswith("1 x ") for line in data.warnings)


def test_annotation_id_zero_is_a_warning_because_evaluation_numbers_again(tmp_path: Path) -> None:
    boxes = [annotation(id=0), annotation(id=1, bbox=[1, 1, 5, 5])]
    data = open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes)))
    assert data.warnings[0].startswith("1 x annotation ids are 0")
    assert data.images[0].annotation_ids == (0, 1)
    assert [a["id"] for a in data.to_coco()["annotations"]] == [1, 2]


def test_to_coco_gives_the_file_back(tmp_path: Path) -> None:
    content = coco_content()
    truth = open_detection_data(write_coco(tmp_path, content=content)).to_coco()
    assert truth["images"] == content["images"]
    assert truth["categories"] == sorted(content["categories"], key=lambda c: c["id"])
    want = [{**a, "iscrowd": a.get("iscrowd", 0), "area": a.get("area", 12.0)} for a in content["annotations"]]
    assert truth["annotations"] == want


def test_to_coco_gives_genuine_coco_back_exactly(shared: Path) -> None:
    root = shared / "data/coco_permissive158"
    content = json.loads((root / "annotations/instances_val2017.json").read_text())
    truth = open_detection_data(root, "val").to_coco()
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    order = {image["id"]: row for row, image in enumerate(content["images"])}
    want = sorted(content["annotations"], key=lambda a: order[a["image_id"]])
    assert [[a[k] for k in keys] for a in truth["annotations"]] == [[a[k] for k in keys] for a in want]


@pytest.mark.parametrize(
    ("name", "train", "val", "classes", "boxes", "warnings"),
    [
        ("facemask", 677, 171, 3, (3103, 915), ()),
        (
            "coco_permissive158",
            92,
            66,
            80,
            (820, 552),
            ("no box of train is of the class 'fire hydrant' and 6 more of val",),
        ),
    ],
)
def test_real_data_is_read_without_a_problem(
    shared: Path, name: str, train: int, val: int, classes: int, boxes: tuple[int, int], warnings: tuple[str, ...]
) -> None:
    opened = open_train_and_val(shared / "data" / name)
    assert [len(d) for d in opened] == [train, val]
    assert [d.num_classes for d in opened] == [classes, classes]
    assert tuple(sum(d.class_counts()) for d in opened) == boxes
    assert [d.warnings for d in opened] == [(), warnings]


def test_unplaceable_images_are_one_problem_that_says_where_was_looked(tmp_path: Path) -> None:
    write_text(tmp_path / "annotations/instances_train.json", json.dumps(coco_content()))
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path)
    assert len(caught.value.problems) == 1
    assert "a.png" in caught.value.problems[0]
    assert "--images" in caught.value.problems[0]


def test_named_json_files_and_image_folder_are_used(tmp_path: Path) -> None:
    write_text(tmp_path / "x/truth.json", json.dumps(coco_content()))
    for name in ("a.png", "b.png"):
        save_image(tmp_path / "elsewhere" / name)
    data = open_detection_data(None, "val", val_json=tmp_path / "x/truth.json", images=tmp_path / "elsewhere")
    assert data.images[0].path == tmp_path / "elsewhere/a.png"
    with pytest.raises(InputError, match=r"nowhere.*no such image folder"):
        open_detection_data(None, "val", val_json=tmp_path / "x/truth.json", images=tmp_path / "nowhere")


def test_an_image_folder_without_a_json_file_is_refused_and_not_forgotten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--images.* goes with --train-json or --val-json"):
        open_detection_data(write_coco(tmp_path), images=tmp_path / "images")
