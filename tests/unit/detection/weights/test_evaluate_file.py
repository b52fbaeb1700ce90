"""A weights file on a data set, from Python and from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from focalkit.cli import main
from focalkit.detection import Detector, retinanet, save_weights
from focalkit.detection.weights import STYLES, weights_as
from focalkit.errors import ConfigError
from focalkit.evaluation import evaluate_file


@pytest.fixture
def data(tmp_path):
    """Two pictures, a person and a toothbrush."""
    images, annotations = [], []
    for split in ("train", "val"):
        folder = tmp_path / "data/images" / split
        folder.mkdir(parents=True)
        (tmp_path / "data/annotations").mkdir(exist_ok=True)
        images = [{"id": i, "file_name": f"{i}.png", "width": 90, "height": 70} for i in (1, 2)]
        annotations = [
            {"id": i, "image_id": i, "category_id": c, "bbox": [10, 10, 30, 40], "area": 1200, "iscrowd": 0}
            for i, c in ((1, 1), (2, 90))
        ]
        for i in (1, 2):
            Image.new("RGB", (90, 70), (100 * i, 50, 20)).save(folder / f"{i}.png")
        categories = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
        truth = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"data/annotations/instances_{split}.json").write_text(json.dumps(truth))
    return tmp_path / "data"


def saved(tmp_path, classes, categories=None):
    torch.manual_seed(0)
    numerics = STYLES["torchvision_v2"].numerics  # images are resized in floating point, anchors lie by their size
    parts = {"fpn_channels": 16, "head_channels": 16, "prior_prob": 0.2}
    model = retinanet(classes, "tiny", backbone_norm="batch", numerics=numerics, **parts).eval()
    model.card = replace(model.card, categories=categories, min_size=64, max_size=96)
    save_weights(model, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_classes_are_found_by_name_and_keep_the_datas_ids(tmp_path, data):
    path = saved(tmp_path, 3, ((7, "toothbrush"), (8, "car"), (9, "person")))
    found = evaluate_file(path, data, score_threshold=0.01, pictures=1)
    assert {row["name"]: row["count"] for row in found["per_class"]} == {"toothbrush": 1, "car": 0, "person": 1}
    folder = tmp_path / "model-evaluation"
    assert json.loads((folder / "evaluation.json").read_text())["metrics"] == pytest.approx(found["metrics"])
    rows = json.loads((folder / "predictions.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2}
    # the boxes of the files are those of the detector, and class 2 is the data's person, number 1
    detections = Detector.open(path, "cpu", score_threshold=0.01).predict(data / "images/val/1.png")[0]
    mine = [row for row in rows if row["image_id"] == 1]
    assert [row["score"] for row in mine] == pytest.approx(detections.scores.tolist(), abs=1e-5)
    ids = {0: 90, 2: 1}
    assert [row["category_id"] for row in mine if row["category_id"] in (1, 90)] == [
        ids[k] for k in detections.labels.tolist() if k in ids
    ]


def test_without_names_the_number_of_classes_decides(tmp_path, data):
    found = evaluate_file(saved(tmp_path, 2), data, out=tmp_path / "out", pictures=0)
    assert [row["name"] for row in found["per_class"]] == ["person", "toothbrush"]
    with pytest.raises(ConfigError, match="has 3 classes and does not say which, the data has 2: person, toothbrush"):
        evaluate_file(saved(tmp_path, 3), data)
    with pytest.raises(ConfigError, match="--data DATA"):
        evaluate_file(saved(tmp_path, 2), None)


def test_the_commands_take_a_weights_file_where_a_run_stands(tmp_path, data, capsys):
    path = saved(tmp_path, 2, ((1, "person"), (90, "toothbrush")))
    assert main(["evaluate", str(path), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in found["per_class"]] == [1, 90]
    assert (tmp_path / "model-evaluation/gallery").is_dir()
    out = tmp_path / "found"
    image = str(data / "images/val/1.png")
    assert main(["predict", str(path), image, "--out", str(out), "--score-threshold", "0.01", "--no-draw"]) == 0
    rows = json.loads((out / "predictions.json").read_text())
    assert {row["category_id"] for row in rows} <= {1, 90}
    assert json.loads((out / "images.json").read_text())["categories"][1] == {"id": 90, "name": "toothbrush"}


def test_the_commands_refuse_code_unless_trusted(tmp_path, data, capsys):
    path = tmp_path / "model.pth"
    model = retinanet(2, "resnet18", fpn_channels=16, head_channels=16)
    torch.save({"state_dict": weights_as(model, "mmdet"), "meta": {"when": Path}}, path)
    command = ["predict", str(path), str(data / "images/val/1.png"), "--out", str(tmp_path / "found"), "--no-draw"]
    assert main(command) == 2
    assert "pathlib" in (text := capsys.readouterr().err)
    assert "--trust" in text
    assert main([*command, "--trust", "--layout", "mmdet"]) == 0
