"""Test-time augmentation with a network whose answers are known."""

import numpy as np
import pytest
import torch
from torch import nn

from focalkit.config import DecoderConfig, ModelConfig
from focalkit.detection import AugmentedDetector, DenseOutputs, Detections, Detector, TiledDetector, build_detector
from focalkit.detection.inference.merge import merge
from focalkit.metrics import iou_matrix


class Bright(nn.Module):
    """A prior of 8 x 8 pixels per cell, its logit is how bright the cell is; green cells are class 1."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.tensor(20.0))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape[1:]))
        cells = nn.functional.avg_pool2d(images[:, :2], 8)
        h, w = cells.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h) * 8.0, torch.arange(w) * 8.0, indexing="ij")
        priors = torch.stack([x, y, x + 8, y + 8], -1).view(-1, 4)
        return DenseOutputs(((cells - 0.8) * self.weight,), (cells.new_zeros(len(images), 4, h, w),), (priors,), 2)


def bright(min_size=64, max_size=96, **more):
    return Detector(Bright(), min_size=min_size, max_size=max_size, names=["red", "green"], **more)


def picture(h=64, w=96, squares=((16, 32, 0),), side=8):
    image = np.zeros((h, w, 3), np.uint8)
    for y, x, k in squares:
        image[y : y + side, x : x + side, k] = 255
    return image


def boxes(found: Detections):
    return sorted(found.boxes.tolist())


def test_a_mirrored_look_gives_boxes_in_the_image_as_it_is():
    image = picture(squares=[(16, 8, 0), (40, 72, 1)])
    (found,) = AugmentedDetector(bright(), scales=(1.0,), flip=True).predict(image)
    assert boxes(found) == [[8, 16, 16, 24], [72, 40, 80, 48]]
    assert found.labels.tolist() == [0 if box[0] == 8 else 1 for box in found.boxes.tolist()]
    assert found.names == ("red", "green")


def test_only_the_mirrored_look_sees_it_and_the_box_is_right():
    image = picture(w=92, squares=[(16, 28, 0)])  # mirrored, its left edge is at 56: on the cells' grid
    alone = bright().predict(image, score_threshold=0.9)
    assert len(alone[0]) == 0
    (found,) = AugmentedDetector(bright(), scales=(1.0,)).predict(image, score_threshold=0.9)
    assert boxes(found) == [[28, 16, 36, 24]]


def test_a_larger_look_sees_what_is_smaller_than_a_cell():
    image = picture(squares=[(16, 32, 0)], side=4)
    assert len(bright().predict(image)[0]) == 0
    detector = AugmentedDetector(bright(), scales=(1.0, 2.0), flip=False)
    (found,) = detector.predict(image)
    assert boxes(found) == [[32, 16, 36, 20]]
    assert detector.detector.model.shapes == [(3, 64, 96), (3, 128, 192)]
    assert (detector.detector.min_size, detector.detector.max_size) == (64, 96)


def test_what_all_looks_see_is_reported_once():
    image = picture(squares=[(16, 32, 0), (40, 8, 1)])
    plain = bright().predict(image)[0]
    (found,) = AugmentedDetector(bright(), scales=(1.0, 1.0), flip=True).predict(image)
    assert boxes(found) == boxes(plain)
    assert sorted(found.scores.tolist()) == sorted(plain.scores.tolist())


def test_one_plain_look_is_the_detector():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (int(h), int(w), 3), dtype=np.uint8) for h, w in rng.integers(40, 120, (20, 2))]
    once = AugmentedDetector(bright(score_threshold=1e-4), scales=(1.0,), flip=False)
    for found, plain in zip(once.predict(images, batch_size=2), once.detector.predict(images), strict=True):
        assert len(plain) > 0
        assert torch.equal(found.boxes, plain.boxes)
        assert torch.equal(found.scores, plain.scores)
        assert torch.equal(found.labels, plain.labels)


def test_no_more_than_the_limit_is_kept():
    squares = [(y, x, 0) for y in range(0, 64, 16) for x in range(0, 96, 16)]
    detector = bright()
    detector.postprocess = type(detector.postprocess)(max_detections=5)
    (found,) = AugmentedDetector(detector).predict(picture(squares=squares))
    assert len(found) == 5


def test_merging_suppresses_within_a_class_only():
    box = torch.tensor([[0.0, 0, 10, 10]])
    parts = [Detections(box, torch.tensor([s]), torch.tensor([k])) for s, k in ((0.5, 0), (0.9, 1), (0.7, 0))]
    found = merge(parts, 0.5, None)
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(merge(parts, 0.5, 1)) == 1


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0)])
def test_scales_are_positive(scales):
    with pytest.raises(ValueError, match="scales above 0"):
        AugmentedDetector(bright(), scales=scales)


DECODER = DecoderConfig(layers=1, queries=20, feedforward=16, heads=2)


@pytest.fixture(params=["rtmdet", "rtdetrv2", "dfine", "centernet"])
def todays(request):
    torch.manual_seed(0)
    decoder = DECODER if request.param in ("rtdetrv2", "dfine") else DecoderConfig()
    heads = {} if request.param in ("rtdetrv2", "dfine") else {"head_channels": 16, "head_depth": 1}
    config = ModelConfig("tiny", fpn_channels=16, detector=request.param, decoder=decoder, prior_prob=0.3, **heads)
    return Detector(build_detector(config, 2).eval(), min_size=96, max_size=96)


def twins(found: Detections):
    """Pairs of the same class that are one object by the rule for several looks."""
    overlaps = iou_matrix(found.boxes, found.boxes).triu(1)
    return int(((overlaps > 0.66) & (found.labels[:, None] == found.labels)).sum())


def test_several_looks_of_todays_detectors_are_one_and_follow_the_mirror(todays):
    image = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    augmented = AugmentedDetector(todays, scales=(1.0, 1.34))
    ours, mirrored = augmented.predict([image, image.flip(2)])
    assert len(ours) > 5
    assert twins(ours) == 0
    torch.testing.assert_close(mirrored.scores, ours.scores)
    x0, x1 = 96 - mirrored.boxes[:, 2], 96 - mirrored.boxes[:, 0]
    torch.testing.assert_close(x0.sort().values, ours.boxes[:, 0].sort().values, atol=1e-3, rtol=0)
    torch.testing.assert_close(x1.sort().values, ours.boxes[:, 2].sort().values, atol=1e-3, rtol=0)


def test_tiles_of_todays_detectors_are_one_and_a_single_tile_is_the_image(todays):
    image = torch.rand(3, 96, 160, generator=torch.Generator().manual_seed(0))
    (alone,), (one,) = todays.predict(image), TiledDetector(todays, size=160).predict(image)
    assert torch.equal(one.boxes, alone.boxes)
    assert torch.equal(one.scores, alone.scores)
    (found,) = TiledDetector(todays, size=96, overlap=0.5).predict(image)
    assert len(found) > 3
    assert twins(found) == 0
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() > 96
    assert (found.boxes <= torch.tensor([160.0, 96.0, 160.0, 96.0])).all()


def test_one_look_of_a_detector_that_suppresses_nothing_is_its_own(todays):
    image = torch.rand(3, 96, 96)
    (ours,), (one,) = todays.predict(image), AugmentedDetector(todays, scales=(1.0,), flip=False).predict(image)
    assert torch.equal(one.boxes, ours.boxes)
