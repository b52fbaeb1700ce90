import math

import pytest
import torch
from torchvision.ops import box_iou

from focalkit import losses
from focalkit.detection import (
    CenterAssigner,
    CenterNeck,
    CenterSizeCoder,
    DenseOutputs,
    DensePostprocess,
    DetectionTarget,
    GaussianHeatMap,
)
from focalkit.detection.boxes.points import PointGrid
from focalkit.detection.matching import heat_map
from focalkit.detection.matching.heat_map import gaussian_radius


def target(boxes, labels=None, ignore=()):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return DetectionTarget(boxes, labels, torch.as_tensor(ignore, dtype=torch.float32).reshape(-1, 4))


@pytest.mark.parametrize("overlap", [0.3, 0.7, 0.9])
def test_within_the_radius_the_overlap_is_kept_and_at_one_of_the_three_cases_reached(overlap):
    for height, width in ((10.0, 10.0), (5.0, 40.0), (33.0, 7.0)):
        r = float(gaussian_radius(torch.tensor(height), torch.tensor(width), overlap))
        moved = torch.tensor(
            [[r, r, width + r, height + r], [r, r, width - r, height - r], [-r, -r, width + r, height + r]]
        )
        iou = box_iou(torch.tensor([[0.0, 0.0, width, height]]), moved)
        assert float(iou.min()) == pytest.approx(overlap, abs=1e-4)


def test_a_worked_example():
    # inwards: (10 - 2r)^2 = .3 * 100 gives r = 5 (1 - sqrt(.3)) = 2.26; shifted 10 - sqrt(60 / 1.3) = 3.21;
    # outwards: 100 = .3 (10 + 2r)^2 gives 4.13
    assert float(gaussian_radius(torch.tensor(10.0), torch.tensor(10.0))) == pytest.approx(5 * (1 - math.sqrt(0.3)))


def plain_map(h, w, stride, truth, k):
    heat = torch.zeros(h, w, k)
    for (x0, y0, x1, y1), label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
        sides = torch.tensor([(y1 - y0) / stride, (x1 - x0) / stride])
        r = int(gaussian_radius(*sides))
        cx, cy, sigma = int((x0 + x1) / 2 / stride), int((y0 + y1) / 2 / stride), (2 * r + 1) / 6
        for y in range(max(0, cy - r), min(h, cy + r + 1)):
            for x in range(max(0, cx - r), min(w, cx + r + 1)):
                value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                heat[y, x, label] = max(heat[y, x, label], value)
    return heat.view(h * w, k)


@pytest.mark.parametrize("block", [1, 2**19])
def test_the_heat_map_is_a_gaussian_around_every_centre(block, monkeypatch):
    monkeypatch.setattr(heat_map, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=generator) * 70
    boxes = torch.cat([corner, corner + 6 + 50 * torch.rand(12, 2, generator=generator)], dim=1).clamp(max=95.9)
    truth = target(boxes, labels=torch.arange(12) % 3)
    cells = PointGrid((4,))([(24, 24)])
    got = GaussianHeatMap()(cells, truth, 3)
    torch.testing.assert_close(got, plain_map(24, 24, 4, truth, 3))
    assert int(((got > 0) & (got < 1)).sum()) > 50  # there are slopes to compare
    positive = CenterAssigner()(cells, truth)
    rows = (positive.labels >= 0).nonzero().squeeze(1)
    assert (got[rows, positive.labels[rows]] == 1).all()
    assert int((got == 1).sum()) >= len(rows) > 8


def test_an_empty_image_has_an_empty_map():
    cells = PointGrid((4,))([(3, 5)])
    assert torch.equal(GaussianHeatMap()(cells, target([]), 2), torch.zeros(15, 2))
    assert (CenterAssigner()(cells, target([])).labels == -1).all()


def test_the_cell_of_the_centre_is_positive_and_belongs_to_the_smallest():
    cells = PointGrid((4,))([(4, 4)])
    got = CenterAssigner()(cells, target([[0, 0, 12, 12], [4, 4, 8, 8], [12, 12, 16, 16]], labels=[5, 6, 7]))
    assert got.labels.view(4, 4).tolist() == [[-1] * 4, [-1, 6, -1, -1], [-1] * 4, [-1, -1, -1, 7]]
    crowd = CenterAssigner()(cells, target([[0, 0, 4, 4]], ignore=[[0, 0, 16, 4]]))
    assert crowd.labels.view(4, 4).tolist() == [[0, -100, -100, -100], *[[-1] * 4] * 3]


def test_offset_and_size_are_decoded_to_the_box_they_came_from():
    cells = PointGrid((4,))([(24, 24)])
    boxes = torch.tensor([[3.0, 5.0, 30.0, 17.0], [60.5, 2.25, 90.0, 90.0]])
    rows = CenterAssigner()(cells, target(boxes)).gt_index
    where = [(rows == g).nonzero()[0, 0] for g in (0, 1)]
    coder, priors = CenterSizeCoder(), cells[0][torch.stack(where)]
    encoded = coder.encode(boxes, priors)
    assert ((encoded[:, :2] >= 0) & (encoded[:, :2] < 1)).all()
    torch.testing.assert_close(encoded[:, 2:], (boxes[:, 2:] - boxes[:, :2]) / 4 * 0.1)
    torch.testing.assert_close(coder.decode(encoded, priors), boxes)
    negative = coder.decode(torch.tensor([[0.5, 0.5, -1.0, -1.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert negative.tolist() == [[2, 2, 2, 2]]


def test_peaks_become_detections_and_their_slopes_do_not():
    logits = torch.full((1, 2, 6, 6), -9.0)
    logits[0, 0, 2, 2], logits[0, 0, 2, 3], logits[0, 0, 3, 2] = 3.0, 2.0, 1.0
    logits[0, 1, 2, 3] = 0.5  # another class: not a slope of the first
    deltas = torch.tensor([0.5, 0.5, 0.2, 0.2]).view(1, 4, 1, 1).expand(1, 4, 6, 6)
    outputs = DenseOutputs((logits,), (deltas,), PointGrid((4,))([(6, 6)]), 2)
    rules = DensePostprocess(CenterSizeCoder(), iou_threshold=1.0, peak_window=3)
    found = rules(outputs, [(24, 24)])[0]
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.tolist() == [[6, 6, 14, 14], [10, 6, 18, 14]]
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 0.5]).sigmoid())
    everything = DensePostprocess(CenterSizeCoder(), iou_threshold=1.0)(outputs, [(24, 24)])[0]
    assert len(everything) == 4


def test_the_neck_ends_at_stride_four_whatever_the_size():
    neck = CenterNeck((8, 16, 32), 16)
    for sizes in ((16, 8, 4), (15, 8, 4)):
        maps = [torch.rand(1, c, s, s + 1) for c, s in zip((8, 16, 32), sizes, strict=True)]
        (out,) = neck(maps)
        assert out.shape == (1, 16, 2 * sizes[0], 2 * (sizes[0] + 1))
    with pytest.raises(ValueError, match="channels of C3, C4, C5"):
        CenterNeck((8, 16))


def test_off_the_cpu_nothing_is_read_back():
    cells = [level.to("meta") for level in PointGrid((4,))([(6, 6)])]
    truth = target([[0, 0, 9, 9]], ignore=[[0, 0, 4, 4]]).to("meta")
    assert GaussianHeatMap()(cells, truth, 2).device.type == "meta"
    assert CenterAssigner()(cells, truth).labels.device.type == "meta"


def test_the_gaussian_focal_loss_takes_the_map():
    heat = GaussianHeatMap()(PointGrid((4,))([(6, 6)]), target([[2, 2, 20, 20]]), 1)
    perfect = torch.where(heat == 1, 20.0, -20.0)
    loss = losses.build("gaussian_focal", reduction="sum")
    assert float(loss(perfect, heat)) < 1e-4 < float(loss(-perfect, heat))
