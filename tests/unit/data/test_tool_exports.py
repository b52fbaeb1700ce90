"""The own formats of CVAT (XML), Label Studio (JSON, JSON-MIN) and Datumaro: found with one path."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from focalkit.cli import main
from focalkit.data import open_detection_data
from focalkit.data.find import find_layout
from focalkit.errors import DataError, InputError
from unit.data.tiny_data import save_image, save_pair, voc_xml, write_text, write_yolo

BOX = (4, 3, 14, 15)
CVAT_BOX = '<box label="dog" occluded="0" xtl="4.0" ytl="3.0" xbr="14.0" ybr="15.0" z_order="0"></box>'


def cvat_xml(first: str = CVAT_BOX, subsets: tuple[str, str] = ("", ""), labels: str = "") -> str:
    marks = [f' subset="{name}"' if name else "" for name in subsets]
    labels = labels or "".join(f"<label><name>{n}</name><type>any</type></label>" for n in ("dog", "cat"))
    labels += "<label><name>night</name><type>tag</type></label>"
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>5</id><labels>{labels}</labels></task></meta>
<image id="0" name="a.png" width="40" height="30"{marks[0]}>{first}<tag label="night"/></image>
<image id="1" name="b.png" width="40" height="30"{marks[1]}></image></annotations>"""


def cvat(root: Path) -> Path:
    write_text(root / "annotations.xml", cvat_xml())
    save_pair(root / "images")
    return root


def cvat_project(root: Path) -> Path:
    write_text(root / "annotations.xml", cvat_xml(subsets=("Train", "Train")))
    save_pair(root / "images/Train")
    return root


def cvat_tasks(root: Path) -> Path:
    for split in ("train", "val"):
        write_text(root / split / "annotations.xml", cvat_xml())
        save_pair(root / split / "images")
    return root


def value(**changes: Any) -> dict[str, Any]:
    return {"x": 10, "y": 10, "width": 25, "height": 40, "rotation": 0, "rectanglelabels": ["dog"], **changes}


def region(of: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    size = {"original_width": 40, "original_height": 30, "image_rotation": 0}
    return {"id": "r1", "type": "rectanglelabels", **size, "value": of or value(), **changes}


def task(name: str, *regions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(regions)}
    return {"id": ord(name[0]), "annotations": [annotation], "data": {"image": f"/data/upload/1/0a1b2c3d-{name}"},
            "file_upload": f"0a1b2c3d-{name}", **changes}  # fmt: skip


def label_studio_of(root: Path, *tasks: Any, file: str = "project-1-at-2026.json") -> Path:
    write_text(root / file, json.dumps(list(tasks)))
    save_pair(root / "images")
    return root


def label_studio(root: Path) -> Path:
    return label_studio_of(root, task("a.png", region()), task("b.png"), task("c.png", annotations=[]))


def label_studio_local(root: Path) -> Path:
    root = label_studio_of(root, task("a.png", region(), data={"image": "/data/local-files/?d=photos%5Ca.png"}),
                           task("b.png", data={"image": "s3://bucket/photos/b.png"}), file="train.json")  # fmt: skip
    return root


def label_studio_min(root: Path) -> Path:
    flat = {**value(), "original_width": 40, "original_height": 30}
    more = {"annotator": 1, "annotation_id": 7}
    return label_studio_of(
        root,
        {"image": "/data/upload/1/0a1b2c3d-a.png", "id": 1, "label": [flat], **more},
        {"image": "/data/upload/1/0a1b2c3d-b.png", "id": 2, **more},
    )


def datumaro_content(*annotations: Any, **changes: Any) -> dict[str, Any]:
    items = [{"id": name, "annotations": list(found), "image": {"path": f"{name}.png", "size": [30, 40]}}
             for name, found in (("a", annotations), ("b", ()))]  # fmt: skip
    labels = {"label": {"labels": [{"name": "dog", "parent": ""}, {"name": "cat", "parent": ""}]}}
    return {"dm_format_version": "1.0", "infos": {}, "categories": labels, "items": items, **changes}


def bbox(**changes: Any) -> dict[str, Any]:
    return {"id": 0, "type": "bbox", "attributes": {}, "group": 0, "label_id": 0, "bbox": [4, 3, 10, 12], **changes}


def datumaro_of(root: Path, content: Any, subset: str = "train") -> Path:
    write_text(root / f"annotations/{subset}.json", json.dumps(content))
    save_image(root / f"images/{subset}/a.png")
    save_image(root / f"images/{subset}/b.png")
    return root


def datumaro(root: Path) -> Path:
    return datumaro_of(root, datumaro_content(bbox(), {"id": 1, "type": "label", "label_id": 1}))


def datumaro_default(root: Path) -> Path:
    return datumaro_of(root, datumaro_content(bbox()), "default")


@pytest.mark.parametrize(
    ("write", "form", "splits"),
    [
        (cvat, "CVAT", ["all"]),
        (cvat_project, "CVAT", ["train"]),
        (cvat_tasks, "CVAT", ["train", "val"]),
        (label_studio, "Label Studio", ["all"]),
        (label_studio_local, "Label Studio", ["train"]),
        (label_studio_min, "Label Studio", ["all"]),
        (datumaro, "Datumaro", ["train"]),
        (datumaro_default, "Datumaro", ["all"]),
    ],
)
def test_an_export_is_found_and_read(
    tmp_path: Path, write: Callable[[Path], Path], form: str, splits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    layout = find_layout(write(tmp_path))
    assert (layout.format, sorted(layout.splits)) == (form, splits)
    for split in splits:
        data = open_detection_data(tmp_path, split)
        assert [image.boxes for image in data.images] == [(pytest.approx(BOX),), ()]
        assert (data.names[data.images[0].labels[0]], data.num_classes) == ("dog", 1 + ("Label" not in form))
        assert all(image.path.is_file() for image in data.images)
        assert not [line for line in data.warnings if "tasks have no annotation" not in line]
    assert main(["inspect", str(tmp_path)]) == 0
    assert f"{form} data set" in capsys.readouterr().out


@pytest.mark.parametrize(("write", "file"), [(cvat, "annotations.xml"), (label_studio, "project-1-at-2026.json")])
def test_the_file_itself_is_a_data_set_too(tmp_path: Path, write: Callable[[Path], Path], file: str) -> None:
    assert len(open_detection_data(write(tmp_path) / file, "all")) == 2


LEAN = math.sqrt(0.5) * 4  # half of the diagonal's reach of a square of 4 turned by 45 degrees, twice


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="dog" xtl="18" ytl="10" xbr="22" ybr="20" rotation="90"/>', (15, 13, 25, 17)),
        ('<box label="dog" xtl="18" ytl="8" xbr="22" ybr="12" rotation="45"/>',
         (20 - LEAN, 10 - LEAN, 20 + LEAN, 10 + LEAN)),
        ('<polygon label="dog" points="3.0,4.0;13.0,9.0;5.0,20.0"/>', (3, 4, 13, 20)),
        ('<ellipse label="dog" cx="20" cy="15" rx="6" ry="3" rotation="90"/>', (17, 9, 23, 21)),
        ('<mask label="dog" rle="1, 2" left="4" top="5" width="6" height="7"/>', (4, 5, 10, 12)),
        ('<polygon label="dog" points="-3,4;13,9;5,20"/>', (0, 4, 13, 20)),
    ],
)  # fmt: skip
def test_shapes_of_cvat_give_their_enclosing_boxes(tmp_path: Path, shape: str, box: tuple[float, ...]) -> None:
    points = '<points label="dog" points="1,1"/><polyline label="dog" points="1,1;2,2"/>'
    write_text(cvat(tmp_path) / "annotations.xml", cvat_xml(shape + points))
    data = open_detection_data(tmp_path, "all")
    assert data.images[0].boxes == (pytest.approx(box),)
    assert any(w.startswith("1 x objects are polygons, ellipses, masks or turned boxes") for w in data.warnings)
    assert any(w.startswith("2 x objects have no box") for w in data.warnings)


@pytest.mark.parametrize(
    ("of", "box"),
    [
        (value(x=50, y=50, width=25, height=10, rotation=90), (17, 15, 20, 25)),  # about its corner
        ({"points": [[10, 10], [35, 20], [20, 50]], "polygonlabels": ["dog"]}, BOX),
        ({"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["dog"]}, (16, 9, 24, 21)),
    ],
)
def test_shapes_of_label_studio_give_their_enclosing_boxes(tmp_path: Path, of: dict, box: tuple[float, ...]) -> None:
    brush = {"type": "brushlabels", "id": "r2"}
    label_studio_of(tmp_path, task("a.png", region(of), region({"rle": [1], "brushlabels": ["dog"]}, **brush)))
    data = open_detection_data(tmp_path, "all")
    assert data.images[0].boxes == (pytest.approx(box),)
    assert any("enclosing boxes taken" in w for w in data.warnings)
    assert any(w.startswith("1 x objects have no box") for w in data.warnings)


def test_a_shape_of_label_studio_and_its_label_are_one_box(tmp_path: Path) -> None:
    plain = {key: v for key, v in value().items() if key != "rectanglelabels"}
    label = region({**plain, "labels": ["dog"]}, type="labels")
    label_studio_of(tmp_path, task("a.png", region(plain, type="rectangle"), label))
    assert open_detection_data(tmp_path, "all").images[0].boxes == (pytest.approx(BOX),)


def test_what_is_said_of_a_whole_image_is_no_region(tmp_path: Path) -> None:
    choice = region({"choices": ["blurred"]}, id="c", type="choices", from_name="quality")
    label_studio_of(tmp_path, task("a.png", choice, region()), task("b.png", choice))
    assert [len(image.boxes) for image in open_detection_data(tmp_path, "all").images] == [1, 0]


def test_of_several_annotations_the_ground_truth_is_taken(tmp_path: Path) -> None:
    other = {"id": 2, "result": [region(value(rectanglelabels=["cat"]))]}
    truth = {"id": 1, "ground_truth": True, "result": [region()]}
    skipped = {"id": 3, "was_cancelled": True, "result": []}
    label_studio_of(tmp_path, task("a.png", annotations=[truth, other, skipped]))
    data = open_detection_data(tmp_path, "all")
    assert data.names == ("dog",)
    assert any("several annotations" in w for w in data.warnings)


@pytest.mark.parametrize(
    ("annotation", "box"),
    [
        (bbox(attributes={"rotation": 90.0}, bbox=[18, 10, 4, 10]), (15, 13, 25, 17)),
        (bbox(type="polygon", points=[3, 4, 13, 9, 5, 20]), (3, 4, 13, 20)),
    ],
)
def test_shapes_of_datumaro_give_their_enclosing_boxes(tmp_path: Path, annotation: dict, box: tuple) -> None:
    datumaro_of(tmp_path, datumaro_content(annotation, bbox(type="points", points=[1, 1])))
    data = open_detection_data(tmp_path)
    assert data.images[0].boxes == (pytest.approx(box),)
    assert any("enclosing boxes taken" in w for w in data.warnings)
    assert any(w.startswith("1 x objects have no box") for w in data.warnings)


def test_crowds_of_datumaro_are_regions_to_ignore(tmp_path: Path) -> None:
    datumaro_of(tmp_path, datumaro_content(bbox(attributes={"is_crowd": True})))
    assert open_detection_data(tmp_path).images[0].crowd == (True,)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (CVAT_BOX.replace("dog", "cow"), r"image 0 \(a\.png\): the label 'cow' is none of dog, cat"),
        (CVAT_BOX.replace("dog", " "), "box 1: has no label"),
        (CVAT_BOX.replace("14.0", "x"), "box 1: has no numbers that make a box"),
        (CVAT_BOX.replace("14.0", "nan"), "box 1: has no numbers that make a box"),
        (CVAT_BOX.replace("14.0", "400"), "reaches 360 px out of its 40x30 image"),
        ('<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2" rotation="inf"/>', "no numbers that make a box"),
        ('<polygon label="dog" points="1,1;2"/>', "polygon 1: has no numbers that make a box"),
        ('<torus label="dog"/>', "torus 1: has no numbers that make a box"),
        ("<box", "not XML at line 3"),
    ],
)
def test_faults_of_cvat_are_named(tmp_path: Path, shape: str, says: str) -> None:
    write_text(cvat(tmp_path) / "annotations.xml", cvat_xml(shape))
    with pytest.raises(DataError, match=says):
        open_detection_data(tmp_path, "all")


def test_a_bomb_of_entities_is_refused(tmp_path: Path) -> None:
    bomb = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 9))
    text = cvat_xml().replace("<annotations>", f'<!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">{bomb}]><annotations>')
    write_text(cvat(tmp_path) / "annotations.xml", text.replace("<id>5", "<id>&e8;"))
    with pytest.raises(DataError, match=r"annotations\.xml: not XML"):
        open_detection_data(tmp_path, "all")


def test_tracks_of_a_video_are_asked_for_as_images(tmp_path: Path) -> None:
    write_text(cvat(tmp_path) / "annotations.xml", '<annotations><track id="0" label="dog"/></annotations>')
    with pytest.raises(DataError, match=r"'CVAT for images 1\.1'"):
        open_detection_data(tmp_path, "all")


def test_subsets_may_have_images_of_one_name(tmp_path: Path) -> None:
    points = CVAT_BOX + '<points label="dog" points="1,1"/>'
    text = cvat_xml(points, subsets=("Train", "Validation")).replace('name="b.png"', 'name="a.png"')
    write_text(tmp_path / "annotations.xml", text)
    for subset in ("Train", "Validation"):
        save_image(tmp_path / "images" / subset / "a.png")
    for split, subset in (("train", "Train"), ("val", "Validation")):
        data = open_detection_data(tmp_path, split)
        assert [image.path for image in data.images] == [tmp_path / "images" / subset / "a.png"]
        assert len(data.warnings) == (split == "train"), "of the split alone"


def test_the_subset_of_a_task_is_that_of_its_images(tmp_path: Path) -> None:
    file = cvat(tmp_path) / "annotations.xml"
    write_text(file, file.read_text().replace("<labels>", "<subset>Train</subset><labels>"))
    assert len(open_detection_data(tmp_path, "train")) == 2


def test_splits_in_files_of_their_own_share_their_classes(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    turned = "<label><name>cat</name></label><label><name>dog</name></label>"
    write_text(tmp_path / "cvat/train.xml", cvat_xml())
    write_text(tmp_path / "cvat/val.xml", cvat_xml(labels=turned))
    only_cat = region(value(rectanglelabels=["cat"]))
    label_studio_of(tmp_path / "studio", task("a.png", only_cat), file="train.json")
    label_studio_of(tmp_path / "studio", task("a.png", region()), file="val.json")
    for tool, names in (("cvat", ("dog", "cat")), ("studio", ("cat", "dog"))):
        for split in ("train", "val"):
            data = open_detection_data(tmp_path / tool, split, check=False)
            assert data.names == names
    assert data.images[0].labels == (1,)


def test_images_of_no_split_are_left_out_where_others_have_one(tmp_path: Path) -> None:
    write_text(cvat_project(tmp_path) / "annotations.xml", cvat_xml(subsets=("Train", "Night")))
    data = open_detection_data(tmp_path)
    assert (len(data), any("no subset of a split" in w for w in data.warnings)) == (1, True)


def test_cvat_xml_without_labels_takes_those_of_its_boxes(tmp_path: Path) -> None:
    text = cvat_xml().replace("<labels>", "<other>").replace("</labels>", "</other>")
    write_text(cvat(tmp_path) / "annotations.xml", text)
    assert open_detection_data(tmp_path, "all").names == ("dog",)


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        ([region(value(width=250))], "reaches 64 px out of its 40x30 image"),
        ([region(value(x=0.1, y=0.1, width=0.25, height=0.4))], r"shares from 0 to 1\? Expected percent"),
        ([region(value(x=None))], "must be numbers, in percent of the image"),
        ([region(value(rectanglelabels=[]))], "region 1: has no label"),
        ([region(original_width=0)], "original_width and original_height must be positive"),
        ([region(original_width=80)], "the file is 40x30"),
        ([region(), region(id="r2", original_width=80)], "the image is 80 x 30 here, 40 x 30 before"),
        ([region(image_rotation=90)], "turned by 90 degrees"),
        ([region(value(rotation="x"))], "not finite"),
        ([region({"points": [[1, 2]], "polygonlabels": ["dog"]})], "in percent"),
    ],
)
def test_faults_of_label_studio_are_named(tmp_path: Path, regions: list, says: str) -> None:
    label_studio_of(tmp_path, task("a.png", *regions))
    with pytest.raises(DataError, match=says) as caught:
        open_detection_data(tmp_path, "all")
    assert "project-1-at-2026.json" in str(caught.value)


def test_predictions_that_nobody_accepted_are_no_annotations(tmp_path: Path) -> None:
    label_studio_of(tmp_path, task("a.png", annotations=[], predictions=[{"result": [region()]}]))
    with pytest.raises(DataError, match="no task has an annotation; predictions are not taken"):
        open_detection_data(tmp_path, "all")


def test_tasks_that_are_no_tasks_are_named(tmp_path: Path) -> None:
    label_studio_of(tmp_path, task("a.png", region()), 5, task("b.png", data={"text": "words"}, file_upload=None))
    with pytest.raises(DataError) as caught:
        open_detection_data(tmp_path, "all")
    assert "task 2: expected an object" in str(caught.value)
    assert "task 98: names no image" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (datumaro_content(bbox(label_id=2)), r"item 1 \(a\), annotation 1: label_id 2 is none of 0 .. 1"),
        (datumaro_content(bbox(label_id=None)), "label_id None"),
        (datumaro_content(bbox(bbox=[1, 2, 3])), "no bbox of four numbers"),
        (datumaro_content(bbox(bbox=[1, 2, 300, 4])), "reaches 261 px out"),
        (datumaro_content(5), "no bbox of four numbers"),
        (datumaro_content(items={}), "and a list of items"),
        (datumaro_content(items=[5]), "item 1 .*has no id"),
        (datumaro_content(items=[{"id": "a", "annotations": None}]), "annotations must be a list"),
        (datumaro_content(items=[{"id": "zz", "annotations": []}]), "the image file is missing"),
        (datumaro_content(categories={"label": {"labels": [{"name": "dog"}, {"name": "dog"}]}}), "each with a name"),
    ],
)
def test_faults_of_datumaro_are_named(tmp_path: Path, content: dict, says: str) -> None:
    datumaro_of(tmp_path, content)
    with pytest.raises(DataError, match=says):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("write", [cvat, label_studio, datumaro])
def test_an_image_that_is_not_there_is_named(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    next(write(tmp_path).rglob("a.png")).unlink()
    with pytest.raises(DataError, match=r"a\.png.*missing"):
        open_detection_data(tmp_path, next(iter(find_layout(tmp_path).splits)))


def test_two_exports_of_one_split_are_not_guessed_between(tmp_path: Path) -> None:
    label_studio_of(label_studio(tmp_path), task("b.png", region()), file="project-2.json")
    with pytest.raises(InputError, match="both look like Label Studio's annotations"):
        find_layout(tmp_path)


def test_exports_beside_a_data_set_made_of_them_are_passed_over(tmp_path: Path) -> None:
    cvat(tmp_path)
    label_studio(tmp_path)
    assert find_layout(write_yolo(tmp_path)).format == "YOLO"


def test_cvat_xml_among_the_files_of_voc_is_no_file_of_voc(tmp_path: Path) -> None:
    write_text(tmp_path / "annotations/a.xml", voc_xml("a", ("dog", BOX, 0)))
    write_text(tmp_path / "annotations/annotations.xml", cvat_xml())
    save_image(tmp_path / "images/a.png")
    assert (find_layout(tmp_path).format, len(open_detection_data(tmp_path, "all"))) == ("Pascal VOC", 1)


@pytest.mark.parametrize("name", ["a#1.png", "a?1.png", "a%23.png", "[a.png", "a#b.jpg.png"])
def test_signs_of_addresses_may_stand_in_names_of_label_studio(tmp_path: Path, name: str) -> None:
    label_studio_of(tmp_path, task("a.png", region(), data={"image": f"images/{name}"}, file_upload=None))
    save_image(tmp_path / "images" / name)
    assert open_detection_data(tmp_path, "all").images[0].path == tmp_path / "images" / name


def test_a_task_with_boxes_on_several_images_is_refused(tmp_path: Path) -> None:
    both = task("a.png", region(to_name="left"), region(to_name="right"), data={"l": "a.png", "r": "b.png"})
    with pytest.raises(DataError, match=r"task 97: has boxes on several images \(left, right\)"):
        open_detection_data(label_studio_of(tmp_path, both), "all")


def test_exports_in_folders_of_splits_have_the_classes_of_all(tmp_path: Path) -> None:
    label_studio_of(tmp_path / "train", task("a.png", region()), task("b.png"))
    label_studio_of(tmp_path / "val", task("a.png", region(value(rectanglelabels=["cat"]))), task("b.png"))
    found = {split: open_detection_data(tmp_path, split) for split in ("train", "val")}
    assert {split: data.names for split, data in found.items()} == {"train": ("cat", "dog"), "val": ("cat", "dog")}
    assert {split: data.split for split, data in found.items()} == {"train": "train", "val": "val"}


def test_images_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    text = cvat_xml().replace('name="a.png"', 'name="x/a.png"').replace('name="b.png"', 'name="y/a.png"')
    write_text(tmp_path / "annotations.xml", text)
    for folder in "xy":
        save_image(tmp_path / folder / "a.png")
    assert [image.file_name for image in open_detection_data(tmp_path, "all").images] == ["x/a.png", "y/a.png"]
