"""Detectron2's and MMDetection's forward, transcribed in `reference.retinanet`, against their weights loaded here."""

import pytest
import torch

from focalkit.detection import Detector, fit_size, flatten_level, load_weights, pad_batch, resize
from focalkit.detection.weights import STYLES, weights_as
from focalkit.images import padded_size
from reference.retinanet import (
    DETECTRON2,
    MMDETECTION,
    Network,
    detectron2_detections,
    mmdetection_detections,
    spread,
)

MIN, MAX, K = 128, 192, 80
SHAPES = {"r18": ((2, 2, 2, 2), False), "r50": ((3, 4, 6, 3), True)}
RGB = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
BGR = RGB[0].flip(0), torch.ones(3)

CASES = {
    # library, layers, stride in the first 1x1, what is subtracted and divides, order of colours, text of the config
    "detectron2": (DETECTRON2, "r50", True, BGR, -1, ""),
    "mmdet pytorch": (MMDETECTION, "r18", False, RGB, 1, "style='pytorch' to_rgb=True"),
    "mmdet caffe": (
        MMDETECTION,
        "r50",
        True,
        BGR,
        -1,
        "norm_eval=True, style='caffe', img_norm_cfg = dict(\n mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0],"
        " to_rgb=False)",
    ),
}


class Case:
    """A library's network over random weights, the same loaded, and what both make of three photographs."""

    @torch.no_grad()
    def __init__(self, name, photographs):
        library, layers, first, (mean, std), order, text = CASES[name]
        torch.manual_seed(5)
        self.name, self.rule = name, name.split()[0]
        self.net = Network(library, {}, *SHAPES[layers], stride_in_1x1=first, num_classes=K, channels=64, learn=True)
        self.images = photographs
        self.sizes = [fit_size(*image.shape[1:], MIN, MAX, self.rule) for image in photographs]
        self.resized = [resize(i, s, self.rule) for i, s in zip(photographs, self.sizes, strict=True)]
        normal = [
            (i.float().flip(0) if order < 0 else i.float()).sub(mean.view(3, 1, 1)) / std.view(3, 1, 1)
            for i in self.resized
        ]
        height, width = (-(-max(i.shape[d] for i in normal) // 32) * 32 for d in (1, 2))
        self.x = torch.stack(
            [torch.nn.functional.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in normal]
        )
        self.net.forward(self.x)
        self.net = Network(library, self.net.state, *SHAPES[layers], first, K, 64)
        spread(self.net, self.x, 0.03)
        self.state = {"meta": {"config": text}, "state_dict": self.net.state} if text else {"model": self.net.state}
        self.ours = load_weights(self.state)
        self.logits, self.deltas = self.net.forward(self.x)
        self.shapes = shapes_of(height, width)

    def detections(self, image):
        """Of one image by itself."""
        height, width = padded_size(*self.sizes[image])
        logits, deltas = self.net.forward(self.x[image : image + 1, :, :height, :width])
        present = detectron2_detections if self.name == "detectron2" else mmdetection_detections
        original = tuple(self.images[image].shape[1:])
        return present(self.net, logits, deltas, shapes_of(height, width), 0, self.sizes[image], original)


def shapes_of(height, width):
    """Of the maps P3 to P7."""
    shapes = [(height // s, width // s) for s in (8, 16, 32)]
    for _ in range(2):
        shapes.append(tuple(-(-side // 2) for side in shapes[-1]))
    return shapes


@pytest.fixture(scope="module", params=list(CASES))
def case(request, photographs):
    return Case(request.param, photographs)


@torch.no_grad()
def test_logits_deltas_and_anchors_are_the_librarys(case):
    out = case.ours(pad_batch(case.resized, case.ours.pixel_mean.tolist()))
    # the numbers of anchors within a cell differ: theirs are put in our order by what they are
    boxes = case.net.anchors(case.shapes)
    order = [0, 3, 6, 1, 4, 7, 2, 5, 8] if case.net.library.scales_first else list(range(9))
    for level, (theirs, theirs_deltas) in enumerate(zip(case.logits, case.deltas, strict=True)):
        b, n, _ = theirs.shape
        logits, deltas = (v.view(b, n // 9, 9, -1)[:, :, order].flatten(1, 2) for v in (theirs, theirs_deltas))
        torch.testing.assert_close(flatten_level(out.logits[level], K), logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(flatten_level(out.deltas[level], 4), deltas, rtol=0, atol=1e-4)
        torch.testing.assert_close(out.priors[level], boxes[level].view(-1, 9, 4)[:, order].flatten(0, 1))
    assert torch.cat([v.flatten() for v in case.logits]).std() > 0.5


@torch.no_grad()
def test_detections_are_the_librarys(case, assert_same_detections):
    detector = Detector(case.ours, min_size=MIN, max_size=MAX)
    for i, ours in enumerate(detector.predict(case.images)):
        assert_same_detections(ours, *case.detections(i))


def test_the_style_is_the_librarys(case):
    assert case.ours.card.config.numerics == STYLES[case.name.replace("mmdet ", "mmdet_")].numerics
    assert case.ours.card.config.backbone == ("resnet18" if case.name == "mmdet pytorch" else "resnet50")
    assert case.ours.card.categories[79] == (90, "toothbrush")


def test_written_back_every_weight_is_the_same(case):
    written = weights_as(case.ours, case.rule)
    assert set(written) - set(case.net.state) == ({"pixel_mean", "pixel_std"} if case.name == "detectron2" else set())
    assert all(torch.equal(written[name], tensor) for name, tensor in case.net.state.items())
