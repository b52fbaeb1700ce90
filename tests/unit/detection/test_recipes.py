"""One recipe per detector, and nothing else that a detector's name decides."""

import ast
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import get_args

import pytest
import torch

import focalkit
from focalkit.config import (
    PRESETS,
    CriterionConfig,
    DecoderConfig,
    DetectorName,
    ModelConfig,
    TrainConfig,
    with_detector,
)
from focalkit.detection import (
    DETECTORS,
    BalancedSampler,
    DetectionTarget,
    MaxIoUAssigner,
    Recipe,
    Sampled,
    build_criterion,
    build_detector,
    retinanet,
)
from focalkit.detection.build import assigner_of, check_training
from focalkit.detection.options import without_unread
from focalkit.errors import ConfigError

SMALL = ModelConfig("tiny", fpn_channels=8, head_channels=8, head_depth=1)
SOURCE = Path(focalkit.__file__).parent


def test_the_configuration_offers_what_the_table_holds():
    assert set(get_args(DetectorName)) == set(DETECTORS)
    assert all(isinstance(recipe, Recipe) for recipe in DETECTORS.values())
    with pytest.raises(FrozenInstanceError):
        DETECTORS["gfl"].loss = "bce"


def test_no_other_file_mentions_a_detector_by_name():
    names = set(DETECTORS) - {"retinanet"}
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    # the workbench offers detectors by name, as the configuration does; a preset is called as its detector
    choices = {"config.py", "_config_model.py", "cli/_presets.py", "compare/methods.py"}
    choices.add("tasks/detection/_detection.py")
    readers = {
        f"detection/weights/{name}.py" for name in ("_load", "_rtmdet", "_sets", "layouts/dfine")
    }  # a file has one model in it
    assert found == {"detection/recipes.py", *choices, *readers}


@pytest.mark.parametrize(
    ("detector", "model", "criterion", "message"),
    [
        ("rtmdet", {"head_norm": "group"}, {}, "model.head_norm is 'group', but rtmdet does not read it: leave it out"),
        ("rtdetrv2", {}, {"matching": "mmdet"}, "criterion.matching is 'mmdet', but rtdetrv2 does not read it"),
        ("gfl", {}, {"fg_iou": 0.6}, r"criterion.fg_iou is 0.6, but gfl .* \(retinanet would\)"),
        ("retinanet", {"neck_depth": 4}, {}, r"model.neck_depth is 4, but retinanet .* \(.*rtmdet.* would\)"),
        ("fcos", {"decoder": DecoderConfig(layers=2)}, {}, r"model.decoder.layers is 2, .* \(.*rtdetrv2.* would\)"),
        ("rtmdet", {}, {"sample": 64}, "criterion.sample is 64, but rtmdet does not read it"),
        ("rtdetrv2", {}, {"normalizer": "ema"}, "criterion.normalizer must be 'batch' or 'image' with rtdetrv2"),
        ("rtdetrv2", {"decoder": DecoderConfig(heads=7)}, {}, "must divide model.fpn_channels, got 7 and 256"),
    ],
)
def test_options_that_a_detector_does_not_read_are_refused(detector, model, criterion, message):
    config = TrainConfig(model=ModelConfig(detector=detector, **model), criterion=CriterionConfig(**criterion))
    for check in (check_training, build_criterion):
        with pytest.raises(ConfigError, match=f"(?s)the detector {detector} cannot be trained as asked:.*{message}"):
            check(config)
    if "normalizer" not in criterion and "heads" not in message and "divide" not in message:
        check_training(without_unread(config))


@pytest.mark.parametrize("detector", DETECTORS)
def test_presets_and_defaults_are_nobodys_wish(detector):
    for preset in (TrainConfig, *PRESETS.values()):
        check_training(with_detector(preset(), detector))


def test_what_a_recipe_reads_is_an_option():
    for recipe in DETECTORS.values():
        for option in recipe.reads:
            value = TrainConfig()
            for part in option.split("."):
                value = getattr(value, part)


def test_a_recipe_of_ones_own_is_one_line_in_the_table(monkeypatch):
    own = replace(DETECTORS["gfl"], title="Mine", iou_threshold=0.3, box_loss="ciou", box_weight=3.0)
    monkeypatch.setitem(DETECTORS, "mine", own)
    config = TrainConfig(model=replace(SMALL, detector="mine"))
    model, criterion = build_detector(config.model, 2), build_criterion(config)
    assert model.postprocess.iou_threshold == 0.3
    assert criterion.terms["box"].weight == 3.0
    target = DetectionTarget(torch.tensor([[4.0, 4.0, 40.0, 50.0]]), torch.tensor([1]))
    losses = criterion(model(torch.rand(1, 3, 64, 64)), [target])
    assert list(losses) == ["classification", "box", "distribution"]


def test_sampling_is_a_part_of_the_matcher():
    config = TrainConfig(criterion=CriterionConfig(sample=64, sample_positive=0.25, fg_iou=0.6))
    assert build_criterion(config).matcher == Sampled(MaxIoUAssigner(0.6, 0.4, 0.05), BalancedSampler(64, 0.25))
    assert assigner_of(config) == MaxIoUAssigner(0.6, 0.4, 0.05)


def test_a_backbone_module_gets_the_same_rest():
    torch.manual_seed(0)
    whole = retinanet(2, "tiny", fpn_channels=8, head_channels=8, head_depth=1)
    torch.manual_seed(0)
    backbone = focalkit.detection.build_backbone("tiny", norm="frozen")
    around = retinanet(2, backbone, fpn_channels=8, head_channels=8, head_depth=1)
    assert around.card is None
    assert around.postprocess == whole.postprocess
    images = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(around(images).logits, whole(images).logits, strict=True))
