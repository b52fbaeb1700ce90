"""A run whose detector is right with a known probability: its own detections, drawn by score, are the ground truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir
from focalkit.config import DataConfig, ModelConfig, RuntimeConfig, TrainConfig
from focalkit.detection import Detector
from focalkit.detection.build import build_detector

CATEGORIES = [{"id": 4, "name": "red"}, {"id": 9, "name": "green"}]
MODEL = ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, prior_prob=0.1)


@pytest.fixture(scope="session")
def calibratable(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """RUN beside DATA, a COCO folder of 30 images of smooth noise."""
    folder = tmp_path_factory.mktemp("calibratable")
    torch.manual_seed(0)
    model = build_detector(MODEL, 2)
    model.train()(torch.rand(4, 3, 64, 64))
    with torch.no_grad():
        model.head.class_output.weight.normal_(std=0.4)
        model.head.box_output.weight.normal_(std=0.1)
    config = TrainConfig(
        data=DataConfig(folder / "data"),
        min_size=64,
        max_size=96,
        runtime=RuntimeConfig(workers=0),
        batch_size=4,
        model=MODEL,
        loss="focal(gamma=2)",
    )
    run = RunDir(folder / "run")
    run.write_run({"config": config_to_dict(config), "categories": CATEGORIES})
    run.checkpoint("best").parent.mkdir()
    torch.save({"model": model.state_dict()}, run.checkpoint("best"))

    rng = np.random.default_rng(0)
    places = folder / "data" / "images" / "val"
    places.mkdir(parents=True)
    (folder / "data" / "annotations").mkdir()
    images, annotations = [], []
    for number in range(1, 31):
        picture = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((96, 64))
        picture.save(places / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 64})
    found = Detector.from_run(run.path, "cpu").predict(sorted(places.glob("*.png"), key=lambda p: int(p.stem)))
    for image, detections in zip(images, found, strict=True):
        for row in detections.to_coco(image["id"], [4, 9]):
            if rng.random() < row["score"] ** 2:
                entry = {"id": len(annotations) + 1, "area": 100.0, "iscrowd": 0, "bbox": row["bbox"]}
                annotations.append({**entry, "image_id": image["id"], "category_id": row["category_id"]})
    truth = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    for split in ("val", "train"):
        (folder / "data" / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
    return run


@pytest.fixture
def calibrated_run(calibratable: RunDir, tmp_path: Path) -> Path:
    """A copy of the run that a test may write to."""
    import shutil

    return Path(shutil.copytree(calibratable.path, tmp_path / "run"))
