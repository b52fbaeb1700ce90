"""Random predictions and truths of a set predictor, and the same in the form that transformers takes."""

from types import SimpleNamespace

import pytest
import torch

from focalkit.detection import CenterSizeCoder, DenseOutputs, DetectionTarget, WholeImage

SIZE = (96, 128)  # height, width
K = 4


@pytest.fixture
def coder():
    return CenterSizeCoder((1.0, 1.0, 1.0, 1.0))


def as_dense(logits, boxes, size=SIZE):
    """(b, q, k) and (b, q, 4) as a dense detector's outputs, of one map (q, 1)."""
    maps = [x.transpose(1, 2).unsqueeze(-1) for x in (logits, boxes)]
    return DenseOutputs((maps[0],), (maps[1],), WholeImage()([(logits.shape[1], 1)], image_size=size), logits.shape[2])


def random_boxes(*shape, generator):
    """Centres and sizes as shares of the image, all inside."""
    size = torch.rand(*shape, 2, generator=generator) * 0.35 + 0.05
    return torch.cat([size / 2 + torch.rand(*shape, 2, generator=generator) * (1 - size), size], dim=-1)


def predictions(b, q, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, q, K, generator=generator) * 2 - 1, random_boxes(b, q, generator=generator)


def truths(counts, seed=1, size=SIZE):
    """Targets in pixels, and in transformers' form: shares of the image."""
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = [], []
    for i, count in enumerate(counts):
        boxes, labels = random_boxes(count, generator=generator), torch.randint(0, K, (count,), generator=generator)
        half = boxes[:, 2:] / 2
        pixels = torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1) * torch.tensor([*size[::-1]] * 2)
        ours.append(DetectionTarget(pixels, labels, image_id=i))
        theirs.append({"class_labels": labels, "boxes": boxes})
    return ours, theirs


@pytest.fixture(scope="session")
def peer():
    """transformers' RT-DETR losses, where that package is installed."""
    pytest.importorskip("transformers")
    from transformers.loss import loss_rt_detr

    config = SimpleNamespace(
        matcher_class_cost=2.0,
        matcher_bbox_cost=5.0,
        matcher_giou_cost=2.0,
        use_focal_loss=True,
        matcher_alpha=0.25,
        matcher_gamma=2.0,
        num_labels=K,
        weight_loss_vfl=1.0,
        weight_loss_bbox=5.0,
        weight_loss_giou=2.0,
        eos_coefficient=1e-4,
        focal_loss_alpha=0.75,
        focal_loss_gamma=2.0,
    )
    return SimpleNamespace(matcher=loss_rt_detr.RTDetrHungarianMatcher(config), losses=loss_rt_detr.RTDetrLoss(config))
