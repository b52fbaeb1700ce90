"""The whole of a set predictor learns, and a training that diverges says so."""

import pytest
import torch

from focalkit.config import DecoderConfig, ModelConfig, TrainConfig
from focalkit.data import DetectionDataset, collate, open_detection_data
from focalkit.data.demo import write_demo_scenes
from focalkit.detection import build_criterion, build_detector
from focalkit.detection.build import with_own_losses
from focalkit.errors import ConfigError
from focalkit.metrics import coco_ap

MODEL = ModelConfig(
    "tiny",
    fpn_channels=32,
    detector="rtdetrv2",
    decoder=DecoderConfig(layers=1, queries=20, expansion=0.5, feedforward=64, denoising=20, groups=2),
)
STEPS = 110


def test_it_learns_four_scenes_by_heart_with_groups_and_noise(tmp_path):
    folder = write_demo_scenes(tmp_path / "scenes", train=4, val=1, size=96, classes=2, imbalance=1, seed=1)
    data = open_detection_data(folder, "train")
    dataset = DetectionDataset(data, 96, 96, None)
    batch = collate([0.5] * 3)([dataset[i] for i in range(4)])
    torch.manual_seed(0)
    model, criterion = build_detector(MODEL, data.num_classes), build_criterion(TrainConfig(model=MODEL))

    def ap50():
        model.eval()
        with torch.no_grad():
            found = model.postprocess(model(batch.images), [t.size for t in batch.targets])
        pairs = zip(batch.targets, found, strict=True)
        rows = [row for target, one in pairs for row in one.to_coco(target.image_id, data.category_ids)]
        model.train()
        return coco_ap(data.to_coco(), rows).metrics["AP50"]

    before = ap50()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS, pct_start=0.15)
    for _ in range(STEPS):
        loss = sum(criterion(model(batch.images, batch.targets), batch.targets).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    after = ap50()
    assert before < 0.1
    assert after > 0.8, after


@pytest.mark.parametrize(("loss", "term"), [("focal(gamma=1.0)", "ClassTerm"), ("mal", "QualityClassTerm")])
def test_the_loss_decides_what_the_classes_are_taught(loss, term):
    criterion = build_criterion(TrainConfig(loss=loss, model=MODEL))
    assert type(criterion.terms["classification"]).__name__ == term
    assert with_own_losses(TrainConfig(model=MODEL)).loss == "varifocal"


def test_losses_and_sampling_that_cannot_serve_are_refused():
    from dataclasses import replace

    config = TrainConfig(model=MODEL)
    with pytest.raises(ConfigError, match=r"'ce' is not one of independent sigmoids .* rtdetrv2 needs"):
        build_criterion(replace(config, loss="ce"))
    with pytest.raises(ConfigError, match=r"criterion\.sample is 64, but rtdetrv2 does not read it"):
        build_criterion(replace(config, criterion=replace(config.criterion, sample=64)))
    with pytest.raises(ConfigError, match="normalizer must be 'batch' or 'image' with rtdetrv2, got 'ema'"):
        build_criterion(replace(config, criterion=replace(config.criterion, normalizer="ema")))
