"""The same numbers on a GPU as on the CPU, and no waiting for it in the training step."""

import copy

import pytest
import torch

from focalkit.bench.match import scene
from focalkit.config import CriterionConfig, TrainConfig
from focalkit.detection import DensePostprocess, DetectionTarget, MaxIoUAssigner, build_criterion, retinanet

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TARGETS = [
    DetectionTarget(torch.tensor([[10.0, 12.0, 50.0, 60.0], [40.0, 30.0, 90.0, 88.0]]), torch.tensor([1, 0])),
    DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.tensor([[0.0, 0.0, 60.0, 60.0]])),
]


def model():
    torch.manual_seed(0)
    return retinanet(3, "resnet18", freeze_at=2, fpn_channels=32, head_channels=32, head_depth=2).double()


@pytest.mark.parametrize("boxes", [1, 200])
def test_anchors_are_matched_as_on_the_cpu(boxes):
    here, there = (scene(boxes, 512, 768, torch.device(kind)) for kind in ("cpu", "cuda"))
    expected = MaxIoUAssigner(min_pos_iou=0.0)(here.priors, here.target)
    got = MaxIoUAssigner(min_pos_iou=0.0)(there.priors, there.target)
    assert torch.equal(got.labels.cpu(), expected.labels)
    assert torch.equal(got.gt_index.cpu(), expected.gt_index)


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
@pytest.mark.parametrize("normalizer", ["batch", "image", "ema"])
def test_losses_and_gradients_are_the_cpus(box_loss, normalizer):
    here, images = model(), torch.rand(2, 3, 96, 128, dtype=torch.float64)
    there = copy.deepcopy(here).cuda()
    config = TrainConfig(criterion=CriterionConfig(box_loss=box_loss, normalizer=normalizer))
    expected = build_criterion(config)(here(images), TARGETS)
    got = build_criterion(config).cuda()(there(images.cuda()), [t.to("cuda") for t in TARGETS])
    for name, value in expected.items():
        torch.testing.assert_close(got[name].cpu(), value, rtol=1e-5, atol=1e-6)
    sum(expected.values()).backward()
    sum(got.values()).backward()
    for a, b in zip(there.parameters(), here.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-4, atol=1e-6)


def test_detections_are_the_cpus():
    here, images = model().eval(), torch.rand(2, 3, 96, 128, dtype=torch.float64)
    there = copy.deepcopy(here).cuda()
    rule = DensePostprocess(score_threshold=0.0)
    with torch.no_grad():
        expected, got = rule(here(images), [(96, 128)] * 2), rule(there(images.cuda()), [(96, 128)] * 2)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.cpu().scores, b.scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_training_step_never_waits_for_the_device(precision):
    net, criterion = model().float().cuda(), build_criterion(TrainConfig()).cuda()
    images, targets = torch.rand(2, 3, 96, 128, device="cuda"), [t.to("cuda") for t in TARGETS]

    def step():
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            outputs = net(images)
        losses = criterion(outputs, targets)
        sum(losses.values()).backward()
        return losses

    step()  # the anchors go to the device once
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.isfinite() for value in losses.values())
    assert all(value.dtype == torch.float32 for value in losses.values())


def test_two_steps_of_training_and_a_prediction_are_the_cpus():
    images, found = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)), []
    for device in ("cpu", "cuda"):
        net, criterion = model().float().to(device).train(), build_criterion(TrainConfig()).to(device)
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
        for _ in range(2):
            losses = criterion(net(images.to(device)), [t.to(device) for t in TARGETS])
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        with torch.no_grad():
            detections = DensePostprocess(score_threshold=0.0)(net.eval()(images.to(device)), [(96, 128)] * 2)
        found.append([d.cpu().scores for d in detections])
    for got, expected in zip(*reversed(found), strict=True):
        torch.testing.assert_close(got, expected, rtol=2e-3, atol=1e-5)
