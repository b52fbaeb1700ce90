"""How detectors with and without anchors would match the boxes of a split."""

from pathlib import Path

import pytest

from focalkit.cli.inspect import main
from focalkit.config import ModelConfig
from focalkit.data import DetectionData, open_detection_data
from focalkit.data.analyze_matching import match_detector
from unit.data.tiny_data import annotation, coco_content, write_coco


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    """A 64 x 64 px object and one of 2 x 2 px between the points of the finest map, in an image of 128 x 128."""
    images = [{"id": 11, "file_name": "a.png", "width": 128, "height": 128}]
    boxes = [annotation(bbox=[32, 32, 64, 64]), annotation(id=2, bbox=[1, 1, 2, 2])]
    content = coco_content(images=images, annotations=boxes)
    return open_detection_data(write_coco(tmp_path, content=content), check=False)


def test_points_of_fcos_lie_in_the_box_of_their_level(data: DetectionData) -> None:
    found = match_detector(data, "fcos", ModelConfig(), 128, 128)
    assert (found["kind"], found["matcher"], found["boxes"]) == ("positives", "PointAssigner", 2)
    assert [level["stride"] for level in found["levels"]] == [8, 16, 32, 64, 128]
    assert found["levels"][0]["count"] > 0
    assert found["without"] == 0.5


def test_candidates_of_rtmdet_are_the_points_in_a_box(data: DetectionData) -> None:
    """Points at multiples of 8, 16 and 32: from 32 to 96 there are 9, 5 and 3 on a side; from 1 to 3 none."""
    found = match_detector(data, "rtmdet", ModelConfig(), 128, 128)
    assert found["kind"] == "candidates"
    assert [level["count"] for level in found["levels"]] == [81, 25, 9]
    assert found["without"] == 0.5


def test_queries_are_held_against_the_fullest_image(data: DetectionData) -> None:
    found = match_detector(data, "dfine", ModelConfig(), 128, 128)
    assert found | {"kind": "queries", "queries": 300, "most": 2, "mean": 2.0, "images_over": 0} == found


@pytest.mark.parametrize(
    ("detector", "says"), [("centernet", "positives of a box"), ("rtdetrv2", "300 queries for 2.0 boxes")]
)
def test_the_command_prints_it(
    detector: str, says: str, data: DetectionData, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(data.source.parent.parent)
    main(
        [folder, "--no-check", "--preset", "default", "--detector", detector, "--min-size", "128", "--max-size", "128"]
    )
    assert says in capsys.readouterr().out.replace("\n", " ")
