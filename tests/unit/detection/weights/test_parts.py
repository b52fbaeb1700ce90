"""The flags by which our parts become another library's: anchors, pyramid, coder, post-processing, resizing."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from focalkit.detection import (
    FPN,
    AnchorGrid,
    DeltaXYWH,
    DenseOutputs,
    DensePostprocess,
    fit_size,
    resize,
)

SIZES = [(480, 640), (640, 427), (449, 640), (333, 500), (37, 53), (800, 1333), (600, 200), (1000, 3000)]


@pytest.mark.parametrize("size", [(800, 1344), (608, 608), (256, 320), (96, 32), (1344, 800)])
def test_rounded_anchors_with_strides_from_the_image_are_torchvisions(size):
    maps = [torch.zeros(1, 1, *(-(-side // s) for side in size)) for s in (8, 16, 32, 64, 128)]
    theirs = _default_anchorgen()(ImageList(torch.zeros(1, 3, *size), [size]), maps)[0]
    grid = AnchorGrid(rounded=True, stride_from="image")
    ours = grid([tuple(m.shape[-2:]) for m in maps], image_size=size)
    assert torch.equal(torch.cat(ours), theirs)


def test_rounding_alone_leaves_the_strides_of_the_levels():
    generator = AnchorGenerator(((32, 40, 50),), ((0.5, 1.0, 2.0),))
    base = generator.cell_anchors[0]
    grid = AnchorGrid((32.0,), strides=(8,), rounded=True)
    assert torch.equal(grid([(1, 1)])[0], base)
    assert torch.equal(grid([(1, 2)])[0][9:], base + torch.tensor([8.0, 0, 8, 0]))


def test_strides_from_the_image_need_the_image():
    with pytest.raises(ValueError, match="image_size"):
        AnchorGrid(stride_from="image")([(4, 4), (2, 2), (1, 1), (1, 1), (1, 1)])


def test_p6_and_p7_come_from_where_they_are_told():
    torch.manual_seed(0)
    maps = [torch.randn(1, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
    neck = FPN((8, 16, 32), 12, p6_from="p5", p7_relu=False)
    _, _, p5, p6, p7 = neck(maps)
    assert torch.equal(p6, neck.p6(p5))
    assert torch.equal(p7, neck.p7(p6))
    assert not torch.equal(p7, neck.p7(F.relu(p6)))
    with pytest.raises(ValueError, match="p6_from"):
        FPN((8, 16, 32), p6_from="c4")


def test_shrinking_is_bounded_where_asked():
    prior = torch.tensor([[0.0, 0.0, 1000.0, 1000.0]])
    deltas = torch.tensor([[0.0, 0.0, -9.0, -2.0]])
    for bounded, width in ((False, 1000 * math.exp(-9)), (True, 16.0)):
        box = DeltaXYWH(clamp_dwdh_min=bounded).decode(deltas, prior)[0]
        assert float(box[2] - box[0]) == pytest.approx(width, rel=1e-3)
        assert float(box[3] - box[1]) == pytest.approx(1000 * math.exp(-2), rel=1e-5)


def two_boxes(first, second, classes=1):
    """One level with two priors that are the boxes, scores .9 and .8 in class 0."""
    logits = torch.full((1, classes, 1, 2), -30.0)
    logits[0, 0, 0] = torch.tensor([0.9, 0.8]).logit()
    return DenseOutputs((logits,), (torch.zeros(1, 4, 1, 2),), (torch.tensor([first, second]),), classes)


def test_cutting_boxes_before_or_after_suppression_is_not_the_same():
    # the visible halves overlap entirely, the whole boxes by a third
    out = two_boxes([-40.0, 0.0, 20.0, 20.0], [0.0, 0.0, 20.0, 20.0])
    before, after = (DensePostprocess(clip=when)(out, [(20, 20)])[0] for when in ("before_nms", "after_nms"))
    assert len(before) == 1
    assert after.boxes.tolist() == [[0, 0, 20, 20], [0, 0, 20, 20]]


def test_boxes_of_other_classes_do_not_suppress_each_other_beyond_the_edge():
    logits = torch.full((1, 2, 1, 2), -30.0)
    logits[0, 0, 0, 0], logits[0, 1, 0, 1] = 2.0, 1.0
    # moved by (largest coordinate + 1) = 21, the second would lie on the first
    priors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [-21.0, -21.0, -1.0, -1.0]])
    out = DenseOutputs((logits,), (torch.zeros(1, 4, 1, 2),), (priors,), 2)
    found = DensePostprocess(clip="after_nms", keep_empty=True)(out, [(20, 20)])[0]
    assert found.labels.tolist() == [0, 1]


def test_boxes_without_area_stay_where_asked():
    out = two_boxes([0.0, 0.0, 10.0, 10.0], [30.0, 0.0, 40.0, 10.0])
    found = [DensePostprocess(keep_empty=keep)(out, [(20, 20)])[0] for keep in (False, True)]
    assert [len(f) for f in found] == [1, 2]
    assert found[1].boxes[1].tolist() == [20, 0, 20, 10]


def test_torchvisions_resizing_is_its_transforms():
    transform = GeneralizedRCNNTransform(64, 100, [0.0] * 3, [1.0] * 3).eval()
    for number, (h, w) in enumerate(SIZES[:5]):
        image = torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
        theirs, _ = transform.resize(image.float() / 255)
        size = fit_size(h, w, 64, 100, "torchvision")
        assert size == tuple(theirs.shape[-2:])
        assert torch.equal(resize(image, size, "torchvision"), theirs)


def test_sizes_are_rounded_as_each_library_does():
    for h, w in SIZES:
        s = min(800 / min(h, w), 1333 / max(h, w))
        assert fit_size(h, w, 800, 1333) == (round(h * s), round(w * s))
        assert fit_size(h, w, 800, 1333, "torchvision") == (math.floor(h * s), math.floor(w * s))
        assert fit_size(h, w, 800, 1333, "mmdet") == (int(h * s + 0.5), int(w * s + 0.5))
        near = fit_size(h, w, 800, 1333, "detectron2")
        assert max(abs(a - b * s) for a, b in zip(near, (h, w), strict=True)) <= 0.5 + 1e-9
    # a half goes up, where Python's round would go to the even side
    assert [fit_size(2, 5, 1, 9, rule) for rule in ("focalkit", "mmdet", "detectron2")] == [(1, 2), (1, 3), (1, 3)]


def test_detectron2s_resizing_is_pillows():
    image = torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    theirs = np.asarray(picture.resize((29, 21), Image.Resampling.BILINEAR))
    assert np.array_equal(resize(image, (21, 29), "detectron2").permute(1, 2, 0).numpy(), theirs)


def test_mmdetections_resizing_is_opencvs():
    # what cv2.resize of OpenCV 5.0.0 makes of these twelve pixels with INTER_LINEAR
    image = torch.tensor([[7, 250, 31, 99], [180, 3, 77, 254], [64, 199, 120, 16]], dtype=torch.uint8)
    expected = {
        (5, 6): [
            [7, 128, 213, 67, 65, 99],
            [76, 114, 134, 66, 105, 161],
            [180, 92, 15, 65, 166, 254],
            [110, 115, 118, 106, 107, 111],
            [64, 131, 186, 133, 68, 16],
        ],
        (2, 3): [[73, 115, 122], [102, 130, 81]],
        (6, 2): [[128, 65], [119, 90], [101, 140], [101, 141], [121, 92], [131, 68]],
    }
    for size, pixels in expected.items():
        assert resize(image.expand(3, -1, -1), size, "mmdet")[1].tolist() == pixels


@pytest.mark.parametrize("rule", ["detectron2", "mmdet"])
def test_an_image_that_fits_already_stays_as_it_is(rule):
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(image, (20, 30), rule), image)
    floating = image / 255
    assert torch.equal(resize(floating, (10, 15), rule), resize(floating, (10, 15), "torchvision"))
