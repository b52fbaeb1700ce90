"""What is not as it should be but plain is taken with a counted warning; what is not plain is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from focalkit.cli import main
from focalkit.data import open_detection_data, open_train_and_val
from focalkit.data._layouts import find_layout
from focalkit.data.check import measure
from focalkit.errors import DataError
from focalkit.images import read_image
from unit.data.tiny_data import (
    annotation,
    coco_content,
    save_image,
    voc_xml,
    write_coco,
    write_text,
    write_voc,
    write_yolo,
)


def read(root: Path, **changes: object):
    return open_detection_data(write_coco(root, content=coco_content(**changes)))


def other(**changes: object) -> dict:
    """An annotation at another place than `annotation()`."""
    return annotation(bbox=[20, 6, 10, 12], **changes)


def without(item: dict, *keys: str) -> dict:
    return {key: value for key, value in item.items() if key not in keys}


@pytest.mark.parametrize(
    ("boxes", "ids"),
    [
        ([annotation(id=4), other(id=4)], (4, 5)),
        ([without(annotation(), "id"), other(id=9)], (10, 9)),
        ([annotation(id=None), without(other(), "id")], (1, 2)),
    ],
)
def test_annotation_ids_missing_or_given_twice_are_numbered_again(tmp_path: Path, boxes: list, ids: tuple) -> None:
    data = read(tmp_path, annotations=boxes)
    assert data.images[0].annotation_ids == ids
    assert "x annotation ids are missing or given twice: numbered again" in data.warnings[0]


@pytest.mark.parametrize("write", [str, float])
def test_ids_as_text_or_with_a_point_are_integers(tmp_path: Path, write: type) -> None:
    content = coco_content()
    images = [{**i, "id": write(i["id"]) if write is float else str(i["id"])} for i in content["images"]]
    boxes = [annotation(id=write(1), image_id=write(11), category_id=write(7))]
    categories = [{**c, "id": write(c["id"])} for c in content["categories"]]
    data = read(tmp_path, images=images, annotations=boxes, categories=categories)
    assert (data.category_ids, [i.id for i in data.images]) == ((3, 7), [11, 12])
    assert (data.images[0].labels, data.images[0].annotation_ids) == ((1,), (1,))
    assert len(data.warnings) == 5


@pytest.mark.parametrize("value", ["1.5", "x", 1.5, True, [1], ""])
def test_other_ids_are_one_problem_without_those_that_follow_from_it(tmp_path: Path, value: object) -> None:
    images = [{**coco_content()["images"][0], "id": value}, coco_content()["images"][1]]
    with pytest.raises(DataError) as caught:
        read(tmp_path, images=images, annotations=[annotation(image_id=value), other(image_id=value, id=2)])
    assert len(caught.value.problems) == 1


def test_iscrowd_null_is_0(tmp_path: Path) -> None:
    data = read(tmp_path, annotations=[annotation(iscrowd=None)])
    assert data.images[0].crowd == (False,)
    assert "iscrowd null" in data.warnings[0]


def test_a_width_of_a_whole_float_is_taken(tmp_path: Path) -> None:
    images = [{**i, "width": 40.0} for i in coco_content()["images"]]
    assert read(tmp_path, images=images).images[0].width == 40


@pytest.mark.parametrize(
    "change", [lambda i: without(i, "width", "height"), lambda i: {**i, "width": None, "height": 0}]
)
def test_a_size_that_is_not_given_is_read_from_the_file(tmp_path: Path, change) -> None:
    data = read(tmp_path, images=[change(i) for i in coco_content()["images"]])
    assert [(i.width, i.height) for i in data.images] == [(40, 30), (40, 30)]
    assert data.warnings[0].startswith("2 x images have no width and height")


@pytest.mark.parametrize("bbox", [..., None, []])
@pytest.mark.parametrize(
    "polygon", [[[5, 6, 15, 6, 10, 18]], [[5, 6, 15, 7, 9, 9], [6, 8, 7, 18, 8, 9]], [5, 6, 15, 6, 9, 18]]
)
def test_without_bbox_the_box_of_the_polygon_is_taken(tmp_path: Path, bbox: object, polygon: list) -> None:
    item = annotation(bbox=bbox, segmentation=polygon)
    data = read(tmp_path, annotations=[without(item, "bbox") if bbox is ... else item])
    assert data.images[0].boxes == ((5, 6, 15, 18),)
    assert "the box of the polygon taken" in data.warnings[0]


@pytest.mark.parametrize("segmentation", [[], [[1, 2]], {"counts": [1, 2], "size": [3, 4]}, [["a"] * 6], None])
def test_without_bbox_and_polygon_an_annotation_is_refused(tmp_path: Path, segmentation: object) -> None:
    with pytest.raises(DataError, match="missing: bbox"):
        read(tmp_path, annotations=[without(annotation(segmentation=segmentation), "bbox")])


def test_boxes_relative_to_the_image_are_refused(tmp_path: Path) -> None:
    boxes = [annotation(bbox=[0.104, 0.156, 0.3125, 0.3125]), annotation(id=2, bbox=[0, 0, 1, 1])]
    with pytest.raises(DataError, match=r"looks relative to the image \(0 to 1\), as 2 of 2 boxes do; expected pixels"):
        read(tmp_path / "coco", annotations=boxes)
    xml = write_voc(tmp_path / "voc") / "Annotations/a.xml"
    text = xml.read_text().replace("<difficult>1", "<difficult>0")
    for old, new in ((">1<", ">0.1<"), (">10<", ">0.4<"), (">20<", ">0.5<")):
        text = text.replace(old, new)
    write_text(xml, text.split("<object>")[0] + "<object>" + text.split("<object>")[1] + "</annotation>")
    with pytest.raises(DataError, match="looks relative"):
        open_detection_data(tmp_path / "voc")


def test_one_tiny_box_among_others_is_a_warning(tmp_path: Path) -> None:
    boxes = [annotation(id=1), other(id=2), annotation(id=3, bbox=[0, 0, 1, 1])]
    assert "1 x images have boxes in their first pixel" in read(tmp_path, annotations=boxes).warnings[0]


def test_a_box_given_twice_is_kept_once(tmp_path: Path) -> None:
    data = read(tmp_path / "coco", annotations=[annotation(id=1), annotation(id=2), annotation(id=3, category_id=3)])
    assert data.images[0].labels == (1, 0)
    assert data.warnings[0].startswith("1 x boxes are given twice, of one class at one place: one is kept (first: ")
    write_text(write_yolo(tmp_path / "yolo") / "labels/train/a.txt", "0 .5 .5 .2 .2\n" * 3)
    data = open_detection_data(tmp_path / "yolo")
    assert len(data.images[0].boxes) == 1
    assert any(line.startswith("2 x boxes are given twice") for line in data.warnings)


def test_boxes_at_one_place_with_other_masks_are_two(tmp_path: Path) -> None:
    data = read(tmp_path, annotations=[annotation(id=1, area=50), annotation(id=2, area=60)])
    assert len(data.images[0].boxes) == 2


def test_class_names_that_differ_in_case_or_blanks_are_told(tmp_path: Path) -> None:
    data = read(tmp_path, annotations=[], categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "A "}])
    xml = write_voc(tmp_path / "voc") / "Annotations/a.xml"
    write_text(xml, xml.read_text().replace(">cat<", ">Dog<"))
    voc = open_detection_data(tmp_path / "voc")
    assert (data.names, voc.names) == (("a", "A "), ("Dog", "dog", "person"))
    for found in (data, voc):
        assert any("class names differ in case or blanks alone: kept apart" in line for line in found.warnings)


def test_validation_may_lack_classes_of_training(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "val", coco_content(annotations=[annotation()], categories=[{"id": 7, "name": "dog"}]))
    train, val = open_train_and_val(tmp_path)
    assert val.categories == train.categories
    assert val.images[0].labels == (train.names.index("dog"),)
    assert any(line.startswith("val has no class 'cat'") for line in val.warnings)


@pytest.mark.parametrize("category", [{"id": 8, "name": "dog"}, {"id": 7, "name": "cow"}])
def test_validation_with_a_class_that_training_lacks_is_refused(tmp_path: Path, category: dict) -> None:
    write_coco(tmp_path)
    boxes = [annotation(category_id=category["id"])]
    write_coco(tmp_path, "val", json.loads(json.dumps(coco_content(annotations=boxes, categories=[category]))))
    with pytest.raises(DataError, match="categories of train and val differ"):
        open_train_and_val(tmp_path)


def test_a_box_written_as_text_is_taken(tmp_path: Path) -> None:
    data = read(tmp_path, annotations=[annotation(bbox=["5", "6", "10.0", "12"])])
    assert data.images[0].boxes == ((5, 6, 15, 18),)
    assert "1 x boxes are written as text: taken as numbers" in data.warnings[0]


def test_an_image_given_again_with_all_the_same_is_taken_once(tmp_path: Path) -> None:
    images = coco_content()["images"]
    data = read(tmp_path, images=[*images, images[0]])
    assert [image.id for image in data.images] == [11, 12]
    assert any("1 x images are given again" in line for line in data.warnings)


def coco_of_one_picture(root: Path) -> None:
    first, second = coco_content()["images"]
    write_coco(root, content=coco_content(images=[first, {**second, "file_name": "a.png"}]))


def voc_of_one_picture(root: Path) -> None:
    write_text(write_voc(root) / "Annotations/d.xml", voc_xml("a", ("dog", (3, 3, 9, 9), 0)))
    write_text(root / "ImageSets/Main/train.txt", "a\nc\nd\n")


def labelme_of_one_picture(root: Path) -> None:
    shape = {"label": "dog", "points": [[1, 2], [9, 9]], "shape_type": "rectangle"}
    for name in "ab":
        write_text(root / f"{name}.json", json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    save_image(root / "a.png")


@pytest.mark.parametrize("write", [coco_of_one_picture, voc_of_one_picture, labelme_of_one_picture])
def test_two_records_of_one_picture_are_told(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    split = next(iter(find_layout(tmp_path).splits))
    told = open_detection_data(tmp_path, split).warnings
    assert any("1 x images are of one file with another" in line for line in told), told


@pytest.mark.parametrize("name", ["background", "_background_", "__background__", "Background"])
def test_a_background_without_boxes_is_no_class(tmp_path: Path, name: str) -> None:
    categories = [{"id": 0, "name": name}, *coco_content()["categories"]]
    data = read(tmp_path, categories=categories)
    assert data.names == ("cat", "dog")
    assert any("are background and have no box: left out" in line for line in data.warnings)
    with_box = [annotation(), annotation(id=2, category_id=0)]
    assert len(read(tmp_path, categories=categories, annotations=with_box).names) == 3


def test_annotations_marked_ignore_are_regions_to_ignore(tmp_path: Path) -> None:
    data = read(tmp_path, annotations=[annotation(ignore=1), other(id=2, ignore=0)])
    assert data.images[0].crowd == (True, False)
    assert any("`ignore`" in line for line in data.warnings)


def test_corners_in_place_of_sizes_are_told(tmp_path: Path) -> None:
    boxes = [(5, 6, 15, 18), (10, 5, 30, 25), (20, 10, 39, 29)]
    rows = [annotation(id=number, bbox=list(box)) for number, box in enumerate(boxes, start=1)]
    with pytest.raises(
        DataError, match=r"1 of 3 boxes reach out .* corners: are the numbers x0 y0 x1 y1\? Expected \[x"
    ):
        read(tmp_path, annotations=rows)


def test_repair_leaves_out_annotations_of_images_that_are_not_listed(tmp_path: Path) -> None:
    content = coco_content(annotations=[annotation(), other(id=2, image_id=99)])
    root = write_coco(tmp_path, content=content)
    with pytest.raises(DataError, match=r"no image of that id \(--repair leaves such out\)"):
        open_detection_data(root)
    data = open_detection_data(root, repair=True)
    assert [len(image.boxes) for image in data.images] == [1, 0]
    assert any("not listed: left out" in line for line in data.warnings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
    ],
)
def test_a_file_that_is_no_image_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (write_yolo(tmp_path) / "images/train/a.png").write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "JPEG"])
def test_the_size_is_that_of_the_picture_as_it_is_read(tmp_path: Path, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{form.lower()}"
    Image.new("RGB", (40, 30)).save(path, form, exif=exif)
    assert measure(path) == (read_image(path).shape[2], read_image(path).shape[1]) == (30, 40)


def test_an_orientation_in_xmp_counts_too(tmp_path: Path) -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", xmp=xmp)
    assert measure(tmp_path / "a.jpg") == (read_image(tmp_path / "a.jpg").shape[2], 40) == (30, 40)


def test_data_without_any_box_are_told_by_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(write_coco(tmp_path, content=coco_content(annotations=[])))])
    assert "no image has a box" in capsys.readouterr().out


def test_lvis_names_images_by_their_address(tmp_path: Path) -> None:
    content = coco_content(annotations=[without(annotation(area=120), "iscrowd")])
    root = write_coco(tmp_path, "train2017", content)
    (tmp_path / "annotations/instances_train2017.json").unlink()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    write_text(root / "annotations/lvis_v1_train.json", json.dumps(content))
    data = open_detection_data(root)
    assert [image.path for image in data.images] == [root / f"images/train2017/{name}.png" for name in "ab"]
    assert data.warnings == ()
