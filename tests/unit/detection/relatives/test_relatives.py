"""Every relative as a whole: built from a configuration, trained on a handful of demo scenes, read back."""

from dataclasses import replace

import pytest
import torch

from focalkit.config import ModelConfig, NumericsConfig, TrainConfig
from focalkit.data import DetectionDataset, collate, open_detection_data
from focalkit.data.demo import write_demo_scenes
from focalkit.detection import PointAssigner, build_criterion, build_detector, build_retinanet
from focalkit.detection.build import with_own_losses
from focalkit.detection.options import without_unread
from focalkit.metrics import coco_ap

DETECTORS = ("retinanet", "fcos", "atss", "gfl", "vfnet", "centernet", "rtmdet")
SMALL = ModelConfig(
    backbone="tiny",
    fpn_channels=32,
    head_channels=32,
    head_depth=1,
    head_norm="group",
    anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0),
)
STEPS = 40


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = write_demo_scenes(
        tmp_path_factory.mktemp("scenes"), train=4, val=1, size=96, classes=2, imbalance=1, seed=1
    )
    data = open_detection_data(folder, "train")
    dataset = DetectionDataset(data, 96, 96, None)
    return data, collate([0.485, 0.456, 0.406])([dataset[i] for i in range(4)])


def average_precision(model, data, batch):
    model.eval()
    with torch.no_grad():
        found = model.postprocess(model(batch.images), [t.size for t in batch.targets])
    rows = [
        row
        for target, detections in zip(batch.targets, found, strict=True)
        for row in detections.to_coco(target.image_id, data.category_ids)
    ]
    return coco_ap(data.to_coco(), rows).metrics["AP50"]


@pytest.mark.parametrize("detector", DETECTORS)
def test_it_learns_four_scenes_by_heart(detector, scenes):
    data, batch = scenes
    torch.manual_seed(0)
    config = without_unread(with_own_losses(TrainConfig(model=replace(SMALL, detector=detector))))
    model, criterion = build_detector(config.model, data.num_classes), build_criterion(config)
    before = average_precision(model, data, batch)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        loss = sum(criterion(model(batch.images), batch.targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert before < 0.1
    assert average_precision(model, data, batch) > 0.8


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("size", [(64, 96), (40, 72)])
def test_priors_and_outputs_belong_together_at_any_size(detector, size):
    model = build_detector(replace(SMALL, detector=detector), 3)
    out = model(torch.rand(2, 3, *size))
    for logits, deltas, priors in zip(out.logits, out.deltas, out.priors, strict=True):
        cells = logits.shape[2] * logits.shape[3]
        assert logits.shape[1] * cells == 3 * len(priors)
        moves = deltas.permute(0, 2, 3, 1).reshape(2, len(priors), -1)
        assert model.postprocess.coder.decode(moves, priors).shape == (2, len(priors), 4)
    assert (out.quality is not None) == (detector in ("fcos", "atss"))
    everything = replace(model.postprocess, score_threshold=0.0)
    out = replace(out, deltas=tuple(deltas.abs() + 0.1 for deltas in out.deltas))  # of some size, whatever the coder
    for found in everything(out, [size] * 2):
        assert 0 < len(found) <= 100
        assert (found.boxes <= torch.tensor([size[1], size[0]] * 2)).all()
        assert (found.boxes >= 0).all()


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_card_builds_the_model_again(detector):
    model = build_detector(replace(SMALL, detector=detector), 3)
    again = build_detector(model.card.config, 3)
    again.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 64, 64)
    for one, other in zip(model.eval()(images).logits, again.eval()(images).logits, strict=True):
        assert torch.equal(one, other)
    assert again.postprocess == model.postprocess


def test_the_default_detector_is_retinanet_as_before():
    torch.manual_seed(0)
    one = build_detector(SMALL, 3)
    torch.manual_seed(0)
    other = build_retinanet(SMALL, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one.postprocess == other.postprocess


def test_the_default_scale_is_the_papers():
    shapes = [(2, 2)] * 5
    for detector in ("atss", "gfl", "vfnet"):  # squares of 8 strides
        priors = build_detector(ModelConfig("tiny", detector=detector, fpn_channels=8, head_channels=8), 1).priors(
            shapes
        )
        assert [float(p[0, 2] - p[0, 0]) for p in priors] == [64, 128, 256, 512, 1024]
        assert (priors[0][0, :2] + priors[0][0, 2:]).tolist() == [8, 8]  # centred in the cell of stride 8
    fcos = build_criterion(TrainConfig(model=ModelConfig(detector="fcos")))
    assert fcos.matcher == PointAssigner(limits=(64, 128, 256, 512), radius=1.5)


def test_the_numerics_reach_the_relatives():
    numerics = NumericsConfig(p6_from="p5", max_detections=7, pixel_mean=(0.1, 0.2, 0.3))
    model = build_detector(replace(SMALL, detector="gfl", numerics=numerics), 2)
    assert model.neck.p6_from == "p5"
    assert model.postprocess.max_detections == 7
    torch.testing.assert_close(model.pixel_mean, torch.tensor([0.1, 0.2, 0.3]))


def test_quality_and_class_give_the_score_together():
    model = build_detector(replace(SMALL, detector="fcos"), 2).eval()
    with torch.no_grad():
        out = model(torch.rand(1, 3, 64, 64))
    out = replace(out, logits=tuple(x + 4.0 for x in out.logits))
    rules = replace(model.postprocess, score_threshold=0.0, iou_threshold=1.0, max_detections=10_000)
    found = rules(out, [(64, 64)])[0]
    scores = [
        (logits.sigmoid() * quality.sigmoid()).sqrt().permute(0, 2, 3, 1).flatten()
        for logits, quality in zip(out.logits, out.quality, strict=True)
    ]
    expected = torch.cat(scores).sort(descending=True).values
    torch.testing.assert_close(found.scores, expected[: len(found)], atol=1e-5, rtol=1e-5)
    threshold = float(expected[len(expected) // 2]) + 1e-6
    some = replace(rules, score_threshold=threshold)(out, [(64, 64)])[0]
    assert len(some) == int((expected > threshold).sum())


def test_torchvisions_second_recipe_is_retinanet_with_two_arguments():
    config = replace(
        TrainConfig(model=SMALL), criterion=replace(TrainConfig().criterion, box_loss="giou", normalizer="image")
    )
    model, criterion = build_detector(config.model, 2), build_criterion(config)
    assert sum(isinstance(m, torch.nn.GroupNorm) for m in model.head.modules()) == 2
    assert criterion.terms["box"].space == "boxes"
