"""RTMDet's parts: sizes as published, norms of each level's own, boxes as distances."""

import math
from typing import get_args, get_type_hints

import pytest
import torch

from focalkit.cli.train import Args
from focalkit.config import PRESETS, ModelConfig, TrainConfig
from focalkit.detection import (
    CSPNeXtPAFPN,
    DistanceCoder,
    DynamicSoftLabelAssigner,
    PlainDistanceCoder,
    RTMDetHead,
    build_backbone,
    build_criterion,
    build_detector,
)
from focalkit.errors import ConfigError


def rtmdet(size, classes=80):
    width, depth = {"tiny": (96, 1), "s": (128, 1), "m": (192, 2)}[size]
    config = ModelConfig(
        backbone=f"cspnext_{size}",
        backbone_norm="batch",
        freeze_at=0,
        fpn_channels=width,
        neck_depth=depth,
        head_channels=width,
        head_depth=2,
        detector="rtmdet",
    )
    with torch.device("meta"):
        return build_detector(config, classes)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 4.8), ("s", 8.89), ("m", 24.71)])
def test_it_has_as_many_parameters_as_published(size, millions):
    count = sum(p.numel() for p in rtmdet(size).parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.1 if size == "tiny" else 0.006)


def test_every_level_has_norms_of_its_own_and_shares_the_convolutions():
    head = RTMDetHead(8, 3, channels=8, depth=2)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in head.modules())
    convs = sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in head.modules())
    assert (norms, convs) == (2 * 2 * 3, 2 * 2)
    head([torch.randn(2, 8, 4, 4) + 5 * level for level in range(3)])
    means = [head.class_tower.norms[0][level].running_mean for level in range(3)]
    assert not torch.allclose(means[0], means[1])


def test_scores_begin_at_the_prior():
    head = RTMDetHead(8, 2, channels=8, prior_prob=0.01).eval()
    logits, boxes = head([torch.zeros(1, 8, 4, 4)] * 3)
    assert logits[0].sigmoid().mean().item() == pytest.approx(0.01, abs=1e-3)
    assert boxes[2].shape == (1, 4, 4, 4)


@pytest.mark.parametrize("size", [(40, 56), (33, 47)])
def test_maps_of_odd_sizes_go_down_and_up(size):
    backbone = build_backbone("cspnext_tiny", norm="batch", freeze_at=0).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, *size))
        outputs = CSPNeXtPAFPN(backbone.channels, 16).eval()(features)
    assert [f.shape[1] for f in features] == list(backbone.channels) == [96, 192, 384]
    assert [o.shape[-2:] for o in outputs] == [f.shape[-2:] for f in features]


def test_frozen_stages_keep_still():
    backbone = build_backbone("cspnext_tiny", norm="batch", freeze_at=2).train()
    frozen = [p for name, p in backbone.body.named_parameters() if name.startswith(("stem.", "stage1."))]
    assert not any(p.requires_grad for p in frozen)
    assert all(p.requires_grad for name, p in backbone.body.named_parameters() if name.startswith("stage2."))
    before = backbone.body.stem[0].bn.running_mean.clone()
    backbone(torch.rand(2, 3, 64, 64))
    assert torch.equal(backbone.body.stem[0].bn.running_mean, before)


def test_frozen_norms_compute_what_live_ones_do_in_evaluation():
    live, frozen = (build_backbone("cspnext_tiny", norm=norm, freeze_at=0).eval() for norm in ("batch", "frozen"))
    live.train()(torch.rand(2, 3, 64, 64))
    state = {name: t for name, t in live.eval().state_dict().items() if not name.endswith("num_batches_tracked")}
    frozen.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(live(images), frozen(images), strict=True):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_imagenet_weights_of_mmdetection_come_in_their_order_of_colours(tmp_path):
    source = build_backbone("cspnext_tiny", norm="batch", freeze_at=0)
    state = {f"backbone.{name}": t for name, t in source.body.state_dict().items()}
    state["backbone.stem.0.conv.weight"] = state["backbone.stem.0.conv.weight"].flip(1)
    torch.save({"state_dict": {**state, "head.fc.weight": torch.zeros(1000, 384)}}, tmp_path / "cspnext.pth")
    got = build_backbone("cspnext_tiny", norm="batch", weights=tmp_path / "cspnext.pth")
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), source.parameters(), strict=True))
    with pytest.raises(ConfigError, match="torchvision has no weights of cspnext_tiny"):
        build_backbone("cspnext_tiny", pretrained=True)


def test_distances_as_they_are_go_there_and_back():
    cells = torch.tensor([[-4.0, -4.0, 4.0, 4.0], [4.0, 4.0, 12.0, 12.0]])
    boxes = torch.tensor([[-3.0, -10.0, 20.0, 9.0], [9.0, 9.0, 11.0, 30.0]])  # the second does not contain its point
    coder = PlainDistanceCoder()
    assert torch.equal(coder.decode(coder.encode(boxes, cells), cells), boxes)
    assert coder.encode(boxes, cells)[0].tolist() == pytest.approx([3 / 8, 10 / 8, 20 / 8, 9 / 8])


def test_the_recipe_is_the_papers():
    criterion = build_criterion(TrainConfig(model=ModelConfig(detector="rtmdet")))
    assert criterion.matcher == DynamicSoftLabelAssigner(DistanceCoder(), top_k=13, radius=3.0, iou_weight=3.0)
    assert criterion.terms["box"].weight == 2.0
    assert criterion.terms["classification"].loss.beta == 2.0
    model = rtmdet("tiny", 1)
    assert model.postprocess.iou_threshold == 0.65
    corners = model.priors([(1, 2), (1, 1), (1, 1)])
    assert ((corners[0][:, :2] + corners[0][:, 2:]) / 2).tolist() == [[0.0, 0.0], [8.0, 0.0]]


@pytest.mark.parametrize("bad", [{"in_channels": (8, 16)}, {"in_channels": (8, 16, 32), "depth": 0}])
def test_a_neck_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match=r"C3, C4, C5|depth counts blocks"):
        CSPNeXtPAFPN(**bad)


def test_the_command_line_offers_every_preset():
    hints = get_type_hints(Args)["preset"]
    assert set(PRESETS) | {"default"} == {name for kind in get_args(hints) for name in get_args(kind)}


def test_a_detector_without_classes_is_refused():
    with pytest.raises(ValueError, match="num_classes"):
        RTMDetHead(8, 0)
    assert math.isclose(RTMDetHead(8, 1, prior_prob=None).class_output[0].bias.sum().item(), 0.0)
