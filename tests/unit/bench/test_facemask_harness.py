"""The training comparison scores torchvision's RetinaNet as torchvision would, called directly at the same size."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import RetinaNet
from torchvision.transforms.functional import to_tensor

from focalkit.config import DataConfig, ModelConfig, RuntimeConfig, TrainConfig, cpu_small
from focalkit.data import DetectionData, open_train_and_val, write_demo_scenes
from focalkit.metrics import coco_ap

SIDE = 96
FILL = (0.5, 0.5, 0.5)
TINY = ModelConfig("tiny", "batch", 0, 32, 32, anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0))


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks/facemask_vs_torchvision.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    folder = write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=4, val=4, size=SIDE, classes=2, imbalance=1)
    return replace(
        cpu_small(),
        data=DataConfig(folder),
        min_size=SIDE,
        max_size=SIDE,
        runtime=RuntimeConfig(workers=0),
        batch_size=4,
        model=TINY,
    )


@pytest.fixture
def val(config) -> DetectionData:
    return open_train_and_val(config.data.path)[1]


@pytest.fixture
def model(harness, config, val) -> RetinaNet:
    """Untrained, with scores around a half: many detections, some of them right."""
    torch.manual_seed(0)
    model = harness.torchvision_retinanet(config, val.num_classes)
    torch.nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    torch.nn.init.normal_(model.head.classification_head.cls_logits.weight, std=1.0)
    return model


def peer_of(model: RetinaNet, num_classes: int) -> RetinaNet:
    """torchvision's own model with the same weights; images of `SIDE` keep their size in training and evaluation."""
    peer = RetinaNet(
        model.backbone,
        num_classes,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=model.transform.image_mean,
        image_std=model.transform.image_std,
        anchor_generator=model.anchor_generator,
        detections_per_img=100,
    )
    peer.load_state_dict(model.state_dict())
    return peer


def directly(model: RetinaNet, val: DetectionData) -> list[dict]:
    """What torchvision's own model finds in the files."""
    peer = peer_of(model, val.num_classes).eval()
    found = []
    for image in val.images:
        with torch.inference_mode(), Image.open(image.path) as photo:
            (output,) = peer([to_tensor(photo.convert("RGB"))])
        x1, y1, x2, y2 = output["boxes"].T
        boxes = torch.stack([x1, y1, x2 - x1, y2 - y1], 1).tolist()
        for box, score, label in zip(boxes, output["scores"].tolist(), output["labels"].tolist(), strict=True):
            category = val.category_ids[label]
            found.append({"image_id": image.id, "category_id": category, "bbox": box, "score": score})
    return found


def table(found: list[dict]) -> Tensor:
    rows = [[d["image_id"], d["category_id"], d["score"], *d["bbox"]] for d in found]
    return torch.tensor(sorted(rows), dtype=torch.float64)


def test_torchvision_gets_the_detections_and_the_AP_it_gets_when_called_directly(harness, config, val, model):
    expected = directly(model, val)
    found = harness.torchvision_detections(model, config, val, FILL, "cpu")
    torch.testing.assert_close(table(found), table(expected), rtol=1e-4, atol=1e-3)
    scored = harness.score_torchvision(model, config, val, FILL, "cpu")
    metrics = coco_ap(val.to_coco(), expected, per_class=False).metrics
    assert metrics["AP50"] > 0
    assert scored == pytest.approx(metrics, abs=1e-6)


def test_torchvision_is_trained_on_the_losses_it_has_when_called_directly(harness, config, val, model):
    loader = harness.val_loader(val, config, fill=FILL, rank=0, world=1)
    (batch,) = loader
    targets = [{"boxes": t.boxes, "labels": t.labels} for t in batch.targets]
    with torch.no_grad():
        found = model.train()(harness.unpadded(batch), targets)
        expected = peer_of(model, val.num_classes).train()(list(batch.images), targets)
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(
        {name: float(loss) for name, loss in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(64, 96), (96, 72), (150, 130)])
def test_torchvision_sees_images_as_the_loader_made_them(model, training, shape):
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([0])}
    images, targets = model.train(training).transform([torch.rand(3, *shape)], [target])
    assert images.image_sizes == [shape]
    assert targets[0]["boxes"].tolist() == target["boxes"].tolist()


def made_up(differences: list[float], recipe: str) -> list[dict]:
    runs = []
    for seed, d in enumerate(differences):
        for side, ap in (("focalkit", 0.3 + d), ("torchvision", 0.3)):
            metrics = {"AP": ap, "AP50": ap, "AP75": ap}
            key = {"recipe": recipe, "channels": 64, "size": 416, "steps": 9, "side": side, "seed": seed}
            runs.append({**key, "metrics": metrics})
    return runs


def test_the_table_shows_a_difference_only_where_the_interval_leaves_out_zero(harness):
    # mean .1, standard deviation .01: 4.303 * .01 / sqrt(3) = .0248 to either side
    runs = made_up([0.09, 0.10, 0.11], "preset") + made_up([-0.1, 0.0, 0.1], "paper")
    lines = harness.table({"runs": runs}).splitlines()
    assert lines[2].startswith("| preset, 64, 416, 9, 3 | focalkit | .400 |")
    assert lines[4].startswith("| preset, 64, 416, 9, 3 | difference | .100 (.075 to .125) |")
    assert lines[7].startswith("| paper, 64, 416, 9, 3 | difference | .000 (-.248 to .248), no difference shown |")


def test_the_table_of_the_docs_is_that_of_the_result_file(harness):
    root = Path(harness.__file__).parents[1]
    results = json.loads((root / "benchmarks/results/facemask_vs_torchvision.json").read_text())
    assert harness.table(results) in (root / "docs/detector.md").read_text()
