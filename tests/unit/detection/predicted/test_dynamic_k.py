"""SimOTA and dynamic soft labels against plain loops written from the papers."""

import math

import pytest
import torch

from focalkit.detection import DynamicSoftLabelAssigner, SimOTAAssigner
from focalkit.detection.matching.predicted import dynamic_k
from focalkit.detection.types import IGNORE, DetectionTarget
from focalkit.errors import DivergedError

from .conftest import CODER, K, flat, iou, outputs, truth, within


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def entropy(p, t):
    return -(t * math.log(p) + (1 - t) * math.log(1 - p))


def sim_ota_cost(x, quality, box, label, centre, stride, truth_box):
    """YOLOX, sec. 2: classification, 3 times IoU, and a price on priors outside of box or centre."""
    p = [sigmoid(v) if quality is None else math.sqrt(sigmoid(v) * sigmoid(quality)) for v in x]
    classes = sum(entropy(p[c], float(c == label)) for c in range(K))
    middle = [(truth_box[0] + truth_box[2]) / 2, (truth_box[1] + truth_box[3]) / 2]
    central = max(abs(centre[0] - middle[0]), abs(centre[1] - middle[1])) < 2.5 * stride
    best = central and within(centre, truth_box)
    return classes - 3 * math.log(iou(box, truth_box) + 1e-8) + (0 if best else 1e5)


def soft_label_cost(x, quality, box, label, centre, stride, truth_box):
    """RTMDet, eq. 1 to 4."""
    overlap, classes = iou(box, truth_box), 0.0
    for c in range(K):
        t, p = overlap * (c == label), sigmoid(x[c])
        classes += entropy(p, t) * (t - p) ** 2
    middle = [(truth_box[0] + truth_box[2]) / 2, (truth_box[1] + truth_box[3]) / 2]
    return classes - 3 * math.log(overlap + 1e-7) + 10 ** (math.dist(centre, middle) / stride - 3)


def plain(out, target, cost_of, top_k, near, i=0):
    """Every pair's cost in one table; each box takes its k cheapest; conflicts go to the cheapest box of all."""
    logits, boxes, centres, strides = flat(out, i)
    quality = None if out.quality is None else torch.cat([q[i].flatten() for q in out.quality]).tolist()
    truths, labels = target.boxes.tolist(), target.labels.tolist()
    rows = [n for n in range(len(boxes)) if any(near(centres[n], strides[n], t) for t in truths)]
    cost = {
        (n, m): cost_of(logits[n], None if quality is None else quality[n], boxes[n], labels[m], centres[n],
                        strides[n], truths[m])
        for n in rows
        for m in range(len(truths))
    }  # fmt: skip
    claims = {n: [] for n in rows}
    for m, truth_box in enumerate(truths):
        k = max(1, int(sum(sorted((iou(boxes[n], truth_box) for n in rows), reverse=True)[:top_k])))
        for n in sorted(rows, key=lambda n: cost[n, m])[:k]:
            claims[n].append(m)
    found = [-1] * len(boxes)
    for n, wanted in claims.items():
        if len(wanted) == 1:
            found[n] = wanted[0]
        elif wanted:
            found[n] = min(range(len(truths)), key=lambda m: cost[n, m])
    return found, [iou(boxes[n], truths[m]) if m >= 0 else 0.0 for n, m in enumerate(found)]


def in_box(centre, stride, box):
    return within(centre, box)


def in_box_or_centre(centre, stride, box):
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    return within(centre, box) or max(abs(centre[0] - middle[0]), abs(centre[1] - middle[1])) < 2.5 * stride


CASES = [
    (SimOTAAssigner(CODER), sim_ota_cost, 10, in_box_or_centre),
    (DynamicSoftLabelAssigner(CODER), soft_label_cost, 13, in_box),
]
IDS = ["simota", "soft labels"]


@pytest.mark.parametrize("block", [1, 100, 2**19], ids=["box by box", "a few", "at once"])
@pytest.mark.parametrize(("assigner", "cost", "top_k", "near"), CASES, ids=IDS)
def test_it_matches_as_the_plain_form_does(assigner, cost, top_k, near, block, monkeypatch):
    monkeypatch.setattr(dynamic_k, "BLOCK", block)
    conflicts = 0
    for seed in range(4):
        out = outputs(2, seed, quality=bool(seed % 2) and cost is sim_ota_cost)
        targets = [truth(6 + 3 * i, 10 * seed + i, image_id=i) for i in range(2)]
        for i, got in enumerate(assigner.match(out, targets)):
            want, quality = plain(out, targets[i], cost, top_k, near, i)
            assert got.gt_index.tolist() == want
            assert got.quality.tolist() == pytest.approx(quality, abs=1e-5)
            assert got.labels.tolist() == [-1 if m < 0 else int(targets[i].labels[m]) for m in want]
            conflicts += len(targets[i].boxes) > len(set(want) - {-1})
    assert conflicts, "the case of a prior that several boxes want is among them"


@pytest.mark.parametrize(("assigner", "cost", "top_k", "near"), CASES, ids=IDS)
def test_an_image_without_boxes_or_with_boxes_far_outside_is_background(assigner, cost, top_k, near):
    none = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    far = DetectionTarget(torch.tensor([[900.0, 900.0, 910.0, 910.0]]), torch.tensor([1]))
    for got in assigner.match(outputs(2), [none, far]):
        assert (got.labels == -1).all()
        assert (got.gt_index == -1).all()
        assert not got.quality.any()


@pytest.mark.parametrize("assigner", [case[0] for case in CASES], ids=IDS)
def test_crowds_hide_what_is_not_positive(assigner):
    target = truth()
    crowd = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    out = outputs()
    (plainly,) = assigner.match(out, [target])
    (hidden,) = assigner.match(out, [DetectionTarget(target.boxes, target.labels, crowd)])
    assert torch.equal(hidden.gt_index, plainly.gt_index)
    assert (hidden.labels[plainly.gt_index < 0] == IGNORE).all()
    assert torch.equal(hidden.quality, plainly.quality)


@pytest.mark.parametrize("assigner", [case[0] for case in CASES], ids=IDS)
def test_what_is_not_finite_is_refused_by_name(assigner):
    for name, level in (("logits", 0), ("deltas", 1)):
        out = outputs(2)
        getattr(out, name)[level][1, 2, 1, 0] = math.nan
        words = "boxes" if name == "deltas" else name
        with pytest.raises(DivergedError, match=rf"image 7: the predicted {words} of prior {8 if level == 0 else 68} "):
            assigner.match(out, [truth(), truth(image_id=7)])
    bad = truth(image_id=3)
    bad.boxes[4, 2] = math.inf
    with pytest.raises(ValueError, match="image 3: box 4 of its ground truth"):
        assigner.match(outputs(), [bad])


def test_a_quality_that_is_not_finite_is_named_too():
    out = outputs(quality=True)
    out.quality[0][0, 0, 0, 5] = math.nan
    with pytest.raises(DivergedError, match="the predicted quality of prior 5"):
        SimOTAAssigner(CODER).match(out, [truth()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"top_k": 0}, "top_k"), ({"iou_weight": -1.0}, "iou_weight"), ({"radius": 0.0}, "radius counts strides")],
)
@pytest.mark.parametrize("kind", [SimOTAAssigner, DynamicSoftLabelAssigner])
def test_settings_that_cannot_be_meant_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(CODER, **arguments)
