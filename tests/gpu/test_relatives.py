"""The relatives' losses and detections on a GPU are the CPU's."""

import copy
from dataclasses import replace

import pytest
import torch

from focalkit.config import ModelConfig, TrainConfig
from focalkit.detection import DetectionTarget, build_criterion, build_detector, with_own_losses

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TARGETS = [
    DetectionTarget(torch.tensor([[10.0, 12.0, 50.0, 60.0], [40.0, 30.0, 90.0, 88.0]]), torch.tensor([1, 0])),
    DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.tensor([[0.0, 0.0, 60.0, 60.0]])),
]


@pytest.mark.parametrize("detector", ["fcos", "atss", "gfl", "vfnet", "centernet", "rtmdet"])
def test_losses_and_detections_are_the_cpus(detector):
    torch.manual_seed(0)
    small = ModelConfig("resnet18", fpn_channels=32, head_channels=32, head_depth=1, head_norm="group")
    config = with_own_losses(TrainConfig(model=replace(small, detector=detector)))
    here, images = build_detector(config.model, 2).double(), torch.rand(2, 3, 96, 128, dtype=torch.float64)
    there = copy.deepcopy(here).cuda()
    outputs, others = here(images), there(images.cuda())
    expected = build_criterion(config)(outputs, TARGETS)
    got = build_criterion(config).cuda()(others, [t.to("cuda") for t in TARGETS])
    for name, value in expected.items():
        torch.testing.assert_close(got[name].cpu(), value, rtol=1e-5, atol=1e-6)
    rules = replace(here.postprocess, score_threshold=0.0)
    sizes = [(96, 128), (90, 100)]
    for one, other in zip(rules(outputs, sizes), rules(others, sizes), strict=True):
        torch.testing.assert_close(other.cpu().scores, one.scores, rtol=1e-5, atol=1e-6)
