"""Counts of a data set and how anchors match it."""

import json
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from focalkit.cli import main
from focalkit.data import open_detection_data
from focalkit.data.analyze import best_iou, match_anchors, summarize
from focalkit.detection import AnchorGrid, MaxIoUAssigner
from unit.data.tiny_data import annotation, coco_content, write_coco, write_yolo


def test_counts_of_a_small_set(tmp_path: Path) -> None:
    boxes = [
        annotation(id=1, area=1023),
        annotation(id=2, area=1024),
        annotation(id=3, area=9216, category_id=3),
        annotation(id=4, iscrowd=1),
    ]
    found = summarize(open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes))))
    assert found["sizes"] == {"small": 1, "medium": 1, "large": 1}
    assert (found["images"], found["boxes"], found["empty_images"], found["crowd"]) == (2, 3, 1, 1)
    assert found["imbalance"] == 2
    assert found["classes"] == [{"id": 3, "name": "cat", "boxes": 1}, {"id": 7, "name": "dog", "boxes": 2}]
    assert found["boxes_per_image"] == {"mean": 1.5, "most": 3}
    assert found["image_sizes"] == {"width": [40, 40], "height": [30, 30]}


def test_a_notebook_shows_the_classes_of_data_and_not_every_image(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path / "<i>"))
    shown = data._repr_html_()
    assert f"train: 2 images of {data.source}".replace("<", "&lt;").replace(">", "&gt;") in shown
    assert "<td>cat</td><td>1</td><td>1</td>" in shown
    assert "a.png" not in repr(data)


def test_a_split_without_boxes_has_no_imbalance(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path, content=coco_content(annotations=[])))
    assert summarize(data)["imbalance"] is None
    found = match_anchors(data, AnchorGrid(), MaxIoUAssigner(), 64, 64)
    assert (found["boxes"], found["suggestion"]) == (0, None)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_best_iou_equals_the_maximum_over_all_anchors(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = AnchorGrid(sizes=(16.0, 48.0, 90.0), strides=(8, 16, 64), offset=offset)
    shapes = [(12, 20), (6, 10), (2, 3)]
    centre = torch.rand(200, 2, generator=generator) * torch.tensor([160.0, 96.0])
    half = torch.rand(200, 2, generator=generator) * 60 + 0.5
    boxes = torch.cat([centre - half, centre + half], 1)
    want = box_iou(boxes, torch.cat(grid(shapes))).amax(1)
    got = best_iou(boxes, torch.tensor(shapes).expand(200, 3, 2), grid)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_small_boxes_ask_for_small_anchors(shared: Path) -> None:
    data = open_detection_data(shared / "data/facemask", "val", check=False)
    found = match_anchors(data, AnchorGrid(), MaxIoUAssigner(0.5, 0.4, 0.05), 320, 416, sample=20)
    assert found["boxes"] == 915
    assert found["best_iou"]["below_fg_iou"] > 0.4
    assert found["suggestion"]["sizes"][0] <= 16
    assert found["suggestion"]["now_below_fg_iou"] == found["best_iou"]["below_fg_iou"]
    assert found["suggestion"]["below_fg_iou"] < found["best_iou"]["below_fg_iou"] / 2
    assert found["levels"][0]["negatives"] > 100 * found["levels"][0]["positives"]


def test_inspect_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path)
    assert main(["inspect", str(tmp_path), "--json", "--anchors", "--min-size", "64", "--max-size", "64"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "COCO"
    assert found["splits"]["train"]["boxes"] == 2
    assert found["problems"] == []
    assert len(found["anchors"]["levels"]) == 5


@pytest.mark.parametrize(
    ("flags", "sizes", "side"),
    [
        (["--preset", "default"], (32, 512), 800),
        (["--preset", "cpu-small"], (16, 256), 416),
        (["--anchors"], (16, 256), 416),  # what train takes where there is no GPU
        (["--preset", "cpu-small", "--anchor-sizes", *"12345", "--min-size", "64"], (1, 5), 64),
    ],
)
def test_inspect_looks_at_the_anchors_that_training_would_have(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    sizes: tuple[int, int],
    side: int,
) -> None:
    monkeypatch.setattr("focalkit.cli._presets.has_gpu", lambda: False)
    assert main(["inspect", str(write_coco(tmp_path)), "--json", *flags]) == 0
    anchors = json.loads(capsys.readouterr().out)["anchors"]
    assert (anchors["levels"][0]["size"], anchors["levels"][4]["size"], anchors["min_size"]) == (*sizes, side)
    assert anchors["preset"] == ("default" if "default" in flags else "cpu-small")


def test_inspect_of_a_preset_without_anchors_looks_at_its_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(write_coco(tmp_path)), "--preset", "rtmdet-tiny"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "preset rtmdet-tiny) on train" in shown
    assert "candidates of a box" in shown
    assert "anchors on" not in shown


def test_inspect_tells_of_other_data_sets_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path)
    write_yolo(tmp_path / "b")
    assert main(["inspect", str(tmp_path)]) == 0
    assert "also found: b/ (YOLO); give one as the data" in capsys.readouterr().out


def test_inspect_lists_every_problem_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "val", coco_content(annotations=[annotation(category_id=5), annotation(id=2, image_id=9)]))
    assert main(["inspect", str(tmp_path)]) == 2
    shown = capsys.readouterr().out
    assert "there is no category 5" in shown
    assert "there is no image of that id" in shown
    assert "train" in shown


def test_inspect_shows_real_data(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(shared / "data/coco_permissive158")]) == 0
    shown = capsys.readouterr().out
    for part in ("COCO data set", "820", "552", "person", "197", "9", "no problems found"):
        assert part in shown


def test_inspect_shows_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path, content=coco_content(annotations=[annotation(id=0)]))
    assert main(["inspect", str(tmp_path)]) == 0
    assert "annotation ids are 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--anchor-sizes", "8", "16"], "takes five positive numbers, for P3 .. P7, got 8 16"),
        (["--preset", "default", "--min-size", "0"], "--min-size, which is at least 1; got 1333 and 0"),
        (["--preset", "rtmdet-tiny"], "--anchors: rtmdet of --preset rtmdet-tiny has none"),
        (["--min-size", "64", "--max-size", "32"], "got 32 and 64"),
    ],
)
def test_inspect_refuses_sizes_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["inspect", str(write_coco(tmp_path)), "--anchors", *flags]) == 2
    assert message in capsys.readouterr().err


def test_inspect_of_a_missing_folder_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "nope")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_inspect_takes_named_json_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path)
    where = ["--train-json", str(tmp_path / "annotations/instances_train.json"), "--images", str(tmp_path / "images")]
    assert main(["inspect", *where, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["splits"]) == ["train"]


def test_inspect_of_nothing_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 2
    assert "nothing to look at" in capsys.readouterr().err


def test_repaired_boxes_are_counted_as_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path, content=coco_content(annotations=[annotation(bbox=[3, 3, 0, 4])]))
    assert main(["inspect", str(tmp_path)]) == 2
    assert "has no area" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--repair"]) == 0
    assert "1 x boxes have no area: left out" in capsys.readouterr().out


def test_inspect_lists_the_layouts_for_pictures_beside_a_table(tmp_path: Path, capsys) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "train" / "a.jpg").touch()
    (tmp_path / "train.csv").write_text("image_id,width,height\na,9,9\n")
    assert main(["inspect", str(tmp_path)]) == 2
    assert "no data set was recognised. Looked for" in capsys.readouterr().err


def test_inspect_tells_a_class_without_training_boxes_and_how_to_divide(tmp_path: Path, capsys) -> None:
    write_coco(tmp_path / "two", content=coco_content(annotations=[annotation(category_id=3)]))
    write_coco(tmp_path / "two", "val", coco_content(annotations=[annotation(category_id=7)]))
    assert main(["inspect", str(tmp_path / "two")]) == 0
    shown = capsys.readouterr().out
    assert "no box of train is of the class 'dog' of val" in shown
    assert "no problems found that would stop a training" in shown
    assert "--split" not in shown
    (tmp_path / "two/annotations/instances_val.json").unlink()
    (tmp_path / "two/annotations/instances_train.json").rename(tmp_path / "two/annotations/instances_default.json")
    (tmp_path / "two/images/train").rename(tmp_path / "two/images/default")
    main(["inspect", str(tmp_path / "two")])
    assert "train holds a fifth out, or divides with --split 80/10/10" in capsys.readouterr().out
