"""`focalkit evaluate --lvis`: what is judged, by the command, of any kind of detector, and what is refused at once."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from focalkit.cli import main
from focalkit.cli.evaluate import lvis_lines
from focalkit.data import open_detection_data
from focalkit.data.lvis import lvis_truth
from focalkit.detection import DenseOutputs, Detections, Detector
from focalkit.evaluation import evaluate
from unit.data.tiny_data import write_text

CLASSES = [{"id": 7, "name": "cat", "frequency": "f"}, {"id": 3, "name": "owl", "frequency": "r"}]


class Sees(nn.Module):
    """An owl and, less surely, a cat in the whole of every picture."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.zeros(1))
        self.passes = 0

    def forward(self, images: Tensor) -> DenseOutputs:
        self.passes += 1
        logits = (
            torch.tensor([0.0, 2.0]).view(1, 2, 1, 1).expand(len(images), -1, -1, -1)
        )  # as the file has the classes
        deltas = images.new_zeros(len(images), 4, 1, 1)
        return DenseOutputs((logits,), (deltas,), (torch.tensor([[0.0, 0, 64, 64]]),), 2)


def write(root: Path, split: str, classes: list[dict[str, Any]] = CLASSES) -> Path:
    """Two pictures of an owl; the first was searched for cats and has none, the second was not."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    images, boxes = [], []
    for number in (1, 2):
        Image.new("RGB", (64, 64)).save(root / "images" / f"{split}{number}.png")
        searched = {"neg_category_ids": [7] * (number == 1), "not_exhaustive_category_ids": []}
        image = {"id": number, "file_name": f"{split}{number}.png", "width": 64, "height": 64}
        images.append(image | searched)
        boxes.append({"id": number, "image_id": number, "category_id": 3, "bbox": [0, 0, 64, 64], "area": 4096})
    content = {"images": images, "annotations": [{"iscrowd": 0} | box for box in boxes], "categories": classes}
    write_text(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    return root


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Sees:
    """The model of a file that stands for an exported one."""
    model = Sees()
    monkeypatch.setattr("focalkit.export.is_exported", lambda path: True)
    monkeypatch.setattr(
        "focalkit.cli.evaluate.open_exported", lambda *_, **__: Detector(model, min_size=64, max_size=64)
    )
    return model


@pytest.mark.parametrize("flags", [[], ["--out"], ["--split", "test", "--out"]])
def test_exported_files_are_judged_wherever_results_go(
    flags: list[str], seen: Sees, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(write(tmp_path / "data", "val"), "test")
    flags = [*flags, str(tmp_path / "out")] if flags else []
    assert main(["evaluate", str(tmp_path / "model.onnx"), "--data", str(root), "--lvis", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)["lvis"]
    assert (found["APr"], found["APf"]) == (1.0, -1.0)
    if flags:
        ending = "-test" if "test" in flags else ""
        assert json.loads((tmp_path / "out" / f"evaluation{ending}.json").read_text())["lvis"] == found
    assert "APr 1.0" in lvis_lines(found)[1]
    assert lvis_lines(None) == []


def test_lvis_looks_at_300_detections_and_nothing_else_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """120 cats that are surer than the owl push it out of COCO's 100."""
    data, asked = open_detection_data(write(tmp_path, "val"), "val"), []
    owl = data.names.index("owl")
    labels = torch.tensor([1 - owl] * 120 + [owl])
    found = Detections(torch.tensor([[0.0, 0, 64, 64]]).expand(121, 4), torch.linspace(0.9, 0.1, 121), labels)

    def predict(detector: Detector, data: Any, **_: Any) -> dict[int, Detections]:
        asked.append(detector.postprocess.max_detections)
        return {image.id: found.first(asked[-1]) for image in data.images}

    monkeypatch.setattr(sys.modules["focalkit.evaluation.evaluate"], "predict_split", predict)
    without, judged = (evaluate(Detector(Sees()), data, lvis=lvis) for lvis in (False, True))
    assert asked == [100, 300]
    assert judged.lvis is not None
    assert (judged.lvis["APr"], judged.lvis["max_detections"]) == (1.0, 300)
    assert "up to 300 detections per image" in lvis_lines(judged.lvis)[0]
    assert judged.coco.metrics == without.coco.metrics
    assert judged.predictions == without.predictions
    assert len(judged.detections[1]) == 100


@pytest.mark.parametrize(
    ("classes", "flags", "said"),
    [
        ([{"id": 3, "name": "owl"}, {"id": 7, "name": "cat"}], [], "does not say how frequent it is"),
        (CLASSES, ["--merge", "bird=owl,cat"], "--lvis judges the classes as their file has them"),
        (CLASSES, ["--classes", "owl"], "--lvis judges the classes as their file has them"),
    ],
)
def test_what_cannot_be_judged_is_said_before_the_work(
    classes: list[dict[str, Any]],
    flags: list[str],
    said: str,
    seen: Sees,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write(tmp_path / "data", "val", classes)
    assert main(["evaluate", str(tmp_path / "model.onnx"), "--data", str(root), "--lvis", *flags]) == 2
    assert said in capsys.readouterr().err
    assert seen.passes == 0


def test_data_of_another_format_are_refused(seen: Sees, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "val")
    write_text(tmp_path / "data.yaml", "val: images\nnames: [cat, owl]\n")
    write_text(tmp_path / "labels" / "val1.txt", "1 0.5 0.5 1 1\n")
    assert main(["evaluate", "model.onnx", "--data", str(tmp_path / "data.yaml"), "--lvis"]) == 2
    assert "--lvis needs a COCO file" in capsys.readouterr().err


def test_part_of_a_file_is_judged_by_what_the_file_says_of_it(tmp_path: Path) -> None:
    data = open_detection_data(write(tmp_path, "val"), "val")
    assert [image["neg_category_ids"] for image in lvis_truth(data)["images"]] == [[7], []]
    assert {c["name"]: c["frequency"] for c in lvis_truth(data)["categories"]} == {"owl": "r", "cat": "f"}
