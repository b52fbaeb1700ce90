"""`focalkit export`, and `predict` and `evaluate` on what it wrote."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir
from focalkit.cli import main
from focalkit.config import DataConfig, TrainConfig
from focalkit.detection import Detector, save_weights
from focalkit.export import load_exported

CATEGORIES = [{"id": 4, "name": "red"}, {"id": 9, "name": "green"}, {"id": 12, "name": "blue"}]


@pytest.fixture(scope="module")
def place(detector, tmp_path_factory):
    """A folder with a run that has the weights of `detector`, and a data set of three images."""
    folder = tmp_path_factory.mktemp("command")
    rng, images, annotations = np.random.default_rng(0), [], []
    for split, count in (("train", 2), ("val", 3)):
        (folder / "data/images" / split).mkdir(parents=True)
        images, annotations = [], []
        for i in range(1, count + 1):
            pixels = rng.integers(0, 256, (64 + 8 * i, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"data/images/{split}/{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": 90, "height": 64 + 8 * i})
            box = {"bbox": [10, 12, 30, 24], "area": 720, "iscrowd": 0, "category_id": (12, 4, 9)[i % 3]}
            annotations.append({"id": i, "image_id": i, **box})
        (folder / "data/annotations").mkdir(exist_ok=True)
        truth = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (folder / f"data/annotations/instances_{split}.json").write_text(json.dumps(truth))
    config = TrainConfig(data=DataConfig(folder / "data"), min_size=96, max_size=160, model=detector.model.card.config)
    run = RunDir(folder / "run")
    run.write_run({"config": config_to_dict(config), "categories": CATEGORIES})
    run.checkpoint("best").parent.mkdir()
    torch.save({"model": detector.model.state_dict()}, run.checkpoint("best"))
    (run.path / "evaluation.json").write_text(json.dumps({"best_f1_threshold": 0.45}))
    return folder


def call(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def exported(place, capsys):
    """The run as a .pt2 file, which is the fastest to write."""
    path = place / "run" / "model.pt2"
    if not path.exists():
        status, out, err = call(capsys, "export", place / "run", "--format", "torch-export", "--check", "--json")
        assert status == 0, err
        found = json.loads(out)
        assert found["file"] == str(path)
        assert found["bytes"] == path.stat().st_size
        assert found["largest_difference"] < 1e-4
        check = found["check"]
        assert (check["images"], check["missing"], check["added"]) == (3, 0, 0)
        assert check["detections"] > 0
    return path


def test_predict_gives_the_runs_detections(exported, place, capsys, tmp_path):
    for name, source in (("run", place / "run"), ("file", exported)):
        status, out, err = call(
            capsys,
            "predict",
            source,
            "--trust",
            place / "data/images/val",
            "--out",
            tmp_path / name,
            "--device",
            "cpu",
            "--json",
        )
        assert status == 0, err
        assert json.loads(out)["score_threshold"] == 0.45, "from the evaluation, which the metadata remembers"
    run, file = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("run", "file"))
    assert len(run) == len(file) > 0
    for a, b in zip(run, file, strict=True):
        assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"])
        assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-3)
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_evaluate_gives_the_runs_ap(exported, place, capsys, tmp_path):
    status, out, err = call(
        capsys, "evaluate", exported, "--trust", "--data", place / "data", "--json", "--out", tmp_path
    )
    assert status == 0, err
    found = json.loads(out)
    assert (found["num_images"], found["split"]) == (3, "val")
    assert {row["name"]: row["count"] for row in found["per_class"]} == {"red": 1, "green": 1, "blue": 1}
    predictions = json.loads((tmp_path / "predictions.json").read_text())
    detector = Detector.from_run(place / "run", "cpu")
    expected = detector.predict([place / f"data/images/val/{i}.png" for i in (1, 2, 3)])
    assert len(predictions) == sum(map(len, expected))
    assert json.loads((tmp_path / "evaluation.json").read_text())["metrics"] == found["metrics"]
    status, out, _ = call(capsys, "evaluate", exported, "--trust", "--data", place / "data")
    assert "written" not in out
    assert f"{found['metrics']['AP']:.4f}" in out


def test_a_weights_file_is_exported_without_a_run(detector, place, capsys, tmp_path):
    save_weights(detector.model, tmp_path / "mine.pth")
    status, out, err = call(capsys, "export", tmp_path / "mine.pth", "--format", "torch-export", "--json")
    assert status == 0, err
    assert json.loads(out)["file"] == str(tmp_path / "mine.pt2")
    images = [place / f"data/images/val/{i}.png" for i in (1, 2)]
    expected = Detector.open(tmp_path / "mine.pth", "cpu").predict(images)
    for one, other in zip(load_exported(tmp_path / "mine.pt2", trust=True).predict(images), expected, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
    status, _, err = call(capsys, "export", tmp_path / "mine.pth", "--int8")
    assert status == 2
    assert "a file does not know its data set: give --data DATA" in err


def test_predict_with_several_looks_and_tiles(exported, place, capsys, tmp_path):
    image = place / "data/images/val/1.png"
    status, _, err = call(
        capsys,
        "predict",
        exported,
        "--trust",
        image,
        "--out",
        tmp_path,
        "--tta",
        "--tta-scales",
        "1",
        "--tiles",
        "48",
        "--no-draw",
    )
    assert status == 0, err
    found = json.loads((tmp_path / "predictions.json").read_text())
    assert len(found) > 0
    assert all(row["bbox"][0] + row["bbox"][2] <= 90.01 for row in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "RUN", "--data", "DATA"], "--data is for --int8"),
        (["export", "RUN", "--format", "torch-export", "--int8"], "not as torch-export"),
        (["export", "RUN", "--out", "model.xml"], r"must end in .onnx"),
        (["evaluate", "FILE", "--trust"], "give --data DATA"),
        (["evaluate", "FILE", "--data", "DATA", "--device", "cuda"], "run on the CPU here, got --device cuda"),
        (["predict", "FILE", "--trust", "IMAGE", "--out", "OUT", "--tta", "--tta-scales", "0"], "scales above 0"),
        (["predict", "FILE", "--trust", "IMAGE", "--out", "OUT", "--tiles", "0"], "at least one pixel a side"),
        (["predict", "none.onnx", "IMAGE", "--out", "OUT"], "none.onnx: no such file"),
    ],
)
def test_what_cannot_be_done_is_said(words, message, exported, place, capsys, tmp_path):
    names = {
        "RUN": place / "run",
        "FILE": exported,
        "DATA": place / "data",
        "IMAGE": place / "data/images/val/1.png",
        "OUT": tmp_path,
    }
    status, _, err = call(capsys, *(names.get(word, word) for word in words))
    assert status == 2, err
    assert message in err


def test_int8_prints_the_ap_before_and_after(place, capsys, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "int8.onnx"
    status, text, err = call(capsys, "export", place / "run", "--int8", "--images", "2", "--out", out, "--json")
    assert status == 0, err
    found = json.loads(text)
    assert found["images"] == 3
    assert found["AP"]["drop"] == pytest.approx(found["AP"]["float32"] - found["AP"]["int8"])
    assert found["largest_difference"] is None
    assert found["bytes"] == out.stat().st_size


def test_a_check_of_nothing_says_so() -> None:
    from types import SimpleNamespace
    from typing import Any

    from focalkit.cli.export import as_text

    nothing = {"images": 3, "detections": 0, "missing": 0, "added": 0, "box_difference": 0.0, "score_difference": 0.0}
    found: dict[str, Any] = {"largest_difference": 1e-6, "check": nothing, "format": "onnx", "file": "f"}
    done: Any = SimpleNamespace(files=())
    said = as_text(found, done)
    assert "nothing; only the raw outputs above were compared" in said
    assert "misses 0" not in said
    assert "nothing was compared" in as_text({**found, "largest_difference": None}, done)
