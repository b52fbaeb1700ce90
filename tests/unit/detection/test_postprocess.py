import pytest
import torch
from torch import nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from focalkit.detection import AnchorGrid, DeltaXYWH, DenseOutputs, DensePostprocess, flatten_level
from focalkit.detection.inference import postprocess

K = 4


def outputs(b=2, seed=0, size=128, k=K, spread=2.0, bias=-3.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(-(-size // s), -(-size // s)) for s in (8, 16, 32, 64, 128)]
    logits = tuple(torch.randn(b, 9 * k, h, w, generator=generator) * spread + bias for h, w in shapes)
    deltas = tuple(torch.randn(b, 36, h, w, generator=generator) * 0.3 for h, w in shapes)
    return DenseOutputs(logits, deltas, AnchorGrid()(shapes), k)


def suppress(boxes, scores, threshold):
    """Greedy suppression, one box at a time, in float64."""
    kept = []
    overlap = box_iou(boxes.double(), boxes.double())
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(overlap[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def plain(out, i, size, rule):
    """Every step on everything, in the obvious way."""
    found = []
    for logits, deltas, priors in zip(out.logits, out.deltas, out.priors, strict=True):
        scores = flatten_level(logits, out.num_classes)[i].sigmoid().flatten()
        boxes = DeltaXYWH().decode(flatten_level(deltas, 4)[i], priors)
        best = [j for j in scores.argsort(descending=True)[: rule.top_k].tolist() if scores[j] > rule.score_threshold]
        found += [(boxes[j // out.num_classes], scores[j], j % out.num_classes) for j in best]
    if not found:
        return torch.zeros(0, 4), torch.zeros(0), torch.zeros(0)
    boxes, scores = torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])
    labels = torch.tensor([f[2] for f in found])
    boxes[:, 0::2].clamp_(0, size[1])
    boxes[:, 1::2].clamp_(0, size[0])
    kept = []
    for k in labels.unique():
        rows = ((labels == k) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().squeeze(1)
        kept += [int(rows[j]) for j in suppress(boxes[rows], scores[rows], rule.iou_threshold)]
    kept = sorted(kept, key=lambda j: -float(scores[j]))[: rule.max_detections]
    return boxes[kept], scores[kept], labels[kept]


@pytest.mark.parametrize(
    "rule",
    [
        DensePostprocess(),
        DensePostprocess(top_k=50, max_detections=7),
        DensePostprocess(score_threshold=0.5, iou_threshold=0.3),
        DensePostprocess(score_threshold=0.0, top_k=100, max_detections=1000),
    ],
)
def test_it_equals_doing_every_step_on_everything(rule):
    out, sizes = outputs(), [(128, 128), (100, 90)]
    for i, got in enumerate(rule(out, sizes)):
        boxes, scores, labels = plain(out, i, sizes[i], rule)
        assert len(got) > 0
        torch.testing.assert_close(got.scores, scores)
        torch.testing.assert_close(got.boxes, boxes)
        assert torch.equal(got.labels, labels)


def test_it_equals_torchvisions():
    class Stub(nn.Module):
        out_channels = 8

    theirs = TorchvisionRetinaNet(
        Stub(),
        K,
        anchor_generator=AnchorGenerator(((8, 12, 16),) * 5, ((0.5, 1.0, 2.0),) * 5),
        detections_per_img=10_000,
    )
    out = outputs(b=1)
    split = [
        {"cls_logits": [flatten_level(x, K)], "bbox_regression": [flatten_level(d, 4)]}
        for x, d in zip(out.logits, out.deltas, strict=True)
    ]
    merged = {name: [level[name][0] for level in split] for name in ("cls_logits", "bbox_regression")}
    expected = theirs.postprocess_detections(merged, [list(out.priors)], [(128, 120)])[0]
    area = ((expected["boxes"][:, 2:] - expected["boxes"][:, :2]) > 0).all(
        dim=1
    )  # theirs keeps boxes clipped to nothing
    assert 0 < (~area).sum() < 100
    got = DensePostprocess(max_detections=10_000)(out, [(128, 120)])[0]
    torch.testing.assert_close(got.scores, expected["scores"][area])
    torch.testing.assert_close(got.boxes, expected["boxes"][area])
    assert torch.equal(got.labels, expected["labels"][area])


def test_one_class_at_a_time_gives_the_same_as_all_at_once(monkeypatch):
    out, sizes = outputs(), [(128, 128)] * 2
    together = DensePostprocess()(out, sizes)
    monkeypatch.setattr(postprocess, "MANY_BOXES", 0)
    for a, b in zip(together, DensePostprocess()(out, sizes), strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.labels, b.labels)


def test_a_thousand_classes_are_suppressed_as_exactly_as_one():
    # overlap of 1/2 within 1e-5: in float32, an offset of 1,202 x 1,400 pixels moves edges by 1/8
    boxes = torch.tensor(
        [[1000.0, 1000.0, 1010.0, 1010.0], [1000.0, 1000.0, 1010.0, 1005.0001], [0.0, 0.0, 1400.0, 9.0]]
    )
    scores = torch.tensor([0.9, 0.8, 0.7])
    for label in (0, 1202):
        labels = torch.tensor([label, label, 1202])
        assert postprocess.nms_per_class(boxes, scores, labels, 0.5).tolist() == [0, 2]
        assert postprocess.nms_per_class(boxes, scores, labels, 0.50002).tolist() == [0, 1, 2]


def test_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]] * 3)
    kept = postprocess.nms_per_class(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([1, 0, 1]), 0.5)
    assert kept.tolist() == [1, 2]


def test_nothing_found_is_an_empty_result():
    out = outputs(bias=-50.0)
    for got in DensePostprocess()(out, [(128, 128)] * 2):
        assert len(got) == 0
        assert got.boxes.shape == (0, 4)
        assert got.labels.dtype == torch.int64
    assert len(DensePostprocess(score_threshold=1.0)(outputs(bias=30.0), [(128, 128)] * 2)[0]) == 0


def test_the_threshold_is_strict_and_in_probability():
    shapes = [(1, 1)] * 5
    logits = tuple(torch.full((1, 9 * K, 1, 1), -20.0) for _ in shapes)
    logits[0][0, 0], logits[0][0, 5] = 0.0, 0.01  # probabilities .5 and .5025
    out = DenseOutputs(logits, tuple(torch.zeros(1, 36, 1, 1) for _ in shapes), AnchorGrid()(shapes), K)
    got = DensePostprocess(score_threshold=0.5)(out, [(64, 64)])[0]
    assert got.scores.tolist() == [pytest.approx(0.5025, abs=1e-5)]
    assert got.labels.tolist() == [1]  # channel 5 is anchor 1, class 1


def test_boxes_lie_inside_the_image_and_have_an_area():
    sizes = [(60, 128), (128, 70)]
    for got, (h, w) in zip(DensePostprocess(score_threshold=0.0)(outputs(), sizes), sizes, strict=True):
        assert (got.boxes >= 0).all()
        assert (got.boxes <= torch.tensor([w, h, w, h])).all()
        assert (got.boxes[:, 2:] > got.boxes[:, :2]).all()


def test_an_image_does_not_feel_its_neighbours():
    out = outputs(b=3)
    together = DensePostprocess()(out, [(128, 128)] * 3)
    for i in range(3):
        one = slice(i, i + 1)
        alone = DenseOutputs(tuple(x[one] for x in out.logits), tuple(x[one] for x in out.deltas), out.priors, K)
        got = DensePostprocess()(alone, [(128, 128)])[0]
        assert torch.equal(got.boxes, together[i].boxes)
        assert torch.equal(got.scores, together[i].scores)


def test_the_memory_format_does_not_matter():
    out = outputs()
    last = DenseOutputs(
        tuple(x.contiguous(memory_format=torch.channels_last) for x in out.logits),
        tuple(x.contiguous(memory_format=torch.channels_last) for x in out.deltas),
        out.priors,
        K,
    )
    for a, b in zip(*(DensePostprocess()(o, [(128, 128)] * 2) for o in (out, last)), strict=True):
        assert torch.equal(a.boxes, b.boxes)


def test_half_precision_outputs_give_float32_detections():
    out = outputs()
    half = DenseOutputs(tuple(x.half() for x in out.logits), tuple(x.half() for x in out.deltas), out.priors, K)
    got = DensePostprocess()(half, [(128, 128)] * 2)[0]
    assert got.boxes.dtype == got.scores.dtype == torch.float32


def test_wrong_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match="each of the 2 images, got 1"):
        DensePostprocess()(outputs(), [(128, 128)])
    with pytest.raises(ValueError, match=r"\[0, 1\], got 5"):
        DensePostprocess(score_threshold=5)(outputs(), [(128, 128)] * 2)
