"""Task-aligned assignment against plain loops written from TOOD, and what it promises of pairs and of small boxes."""

import math
from dataclasses import replace

import pytest
import torch

from focalkit.detection import (
    AssignedQuality,
    BoxTerm,
    DetectionCriterion,
    DetectionTarget,
    QualityClassTerm,
    TaskAlignedAssigner,
    dual_assigners,
)
from focalkit.detection.matching.predicted import task_aligned
from focalkit.errors import DivergedError
from focalkit.losses import BinaryCrossEntropy, GIoULoss

from .conftest import CODER, flat, iou, outputs, truth, within

YOLO = TaskAlignedAssigner(CODER)
TOOD = TaskAlignedAssigner(CODER, alpha=1.0, beta=6.0, top_k=13)


def plain(out, target, alpha, beta, top_k, i=0):
    """Feng et al. (2021), sec. 3.2 and 3.3: t = s^alpha u^beta, the best of each box, t hat = t / max t * max u."""
    logits, boxes, centres, _ = flat(out, i)
    truths, labels = target.boxes.tolist(), target.labels.tolist()
    wanted = {}
    for m, box in enumerate(truths):
        aligned = []
        for n in range(len(boxes)):
            u = iou(boxes[n], box)
            if u > 0 and within(centres[n], box, 0.01):
                s = 1 / (1 + math.exp(-logits[n][labels[m]]))
                aligned.append((s**alpha * max(u, 1e-4) ** beta, u, n))
        for t, u, n in sorted(aligned, key=lambda item: -item[0])[:top_k]:
            wanted.setdefault(n, []).append((u, t, m))
    found, quality = [-1] * len(boxes), [0.0] * len(boxes)
    won = {n: max(claims, key=lambda claim: claim[0]) for n, claims in wanted.items()}
    for n, (_, t, m) in won.items():
        mine = [(other_t, other_u) for other_u, other_t, owner in won.values() if owner == m]
        found[n] = m
        quality[n] = t / max(v for v, _ in mine) * max(v for _, v in mine)
    return found, quality


@pytest.mark.parametrize("block", [1, 200, 2**19], ids=["box by box", "a few", "at once"])
@pytest.mark.parametrize("assigner", [YOLO, TOOD], ids=["yolo", "tood"])
def test_it_matches_as_the_plain_form_does(assigner, block, monkeypatch):
    monkeypatch.setattr(task_aligned, "BLOCK", block)
    for seed in range(4):
        out = outputs(2, seed)
        targets = [truth(5 + 4 * i, 20 * seed + i, image_id=i) for i in range(2)]
        for i, got in enumerate(assigner.match(out, targets)):
            want, quality = plain(out, targets[i], assigner.alpha, assigner.beta, assigner.top_k, i)
            assert got.gt_index.tolist() == want
            assert got.quality.tolist() == pytest.approx(quality, rel=1e-4, abs=1e-6)


def test_the_best_prior_of_a_box_learns_its_best_overlap():
    out, target = outputs(seed=3), truth(4, 5)
    (got,) = YOLO.match(out, [target])
    _, boxes, *_ = flat(out)
    for m, box in enumerate(target.boxes.tolist()):
        own = (got.gt_index == m).nonzero()[:, 0].tolist()
        if own:
            assert max(got.quality[own]).item() == pytest.approx(max(iou(boxes[n], box) for n in own), rel=1e-5)


def test_the_one_to_one_match_is_the_best_of_the_one_to_many_matches():
    """The consistent matching metric of YOLOv10: on equal predictions both heads agree on the best prior."""
    many, one = dual_assigners(TOOD)
    for seed in range(5):
        out, target = outputs(seed=seed), truth(3, seed)
        (a,), (b,) = many.match(out, [target]), one.match(out, [target])
        for m in range(3):
            best = (b.gt_index == m).nonzero()[:, 0]
            assert len(best) <= 1
            own = (a.gt_index == m).nonzero()[:, 0]
            if len(best) and len(own):
                assert own[a.quality[own].argmax()] == best[0]


def test_a_small_box_always_has_positives():
    """A box of 3 pixels between the points contains none of them."""
    boxes = torch.tensor([[14.0, 14.0, 17.0, 17.0], [30.0, 30.0, 60.0, 60.0]])
    target = DetectionTarget(boxes, torch.tensor([1, 2]))
    out = outputs(seed=2)
    for deltas in out.deltas:  # predictions of a tenth of a stride: none touches the box
        deltas.fill_(math.log(0.1))
    (plainly,) = YOLO.match(out, [target])
    (aware,) = replace(YOLO, small=16.0).match(out, [target])
    assert not (plainly.gt_index == 0).any()
    own = aware.gt_index == 0
    assert own.sum() >= 4
    assert (aware.labels[own] == 1).all()
    assert (aware.quality[own] >= 0.01).all()
    assert torch.equal(aware.gt_index == 1, plainly.gt_index == 1), "a larger box is matched as before"


def test_quality_teaches_the_score_and_divides_the_sum():
    out, targets = outputs(2, 7), [truth(4, 8), truth(2, 9)]
    quality = AssignedQuality()
    terms = {
        "classification": QualityClassTerm(BinaryCrossEntropy(class_dim=-1, reduction="sum"), quality, by_quality=True),
        "box": BoxTerm(GIoULoss(reduction="sum"), CODER, space="boxes", quality=quality),
    }
    got = DetectionCriterion(YOLO, terms)(out, targets)
    matched = YOLO.match(out, targets)
    total = sum(a.quality.sum() for a in matched)
    classes = boxes = 0.0
    for i, (assignment, target) in enumerate(zip(matched, targets, strict=True)):
        logits, decoded = (torch.tensor(x) for x in flat(out, i)[:2])
        soft = torch.zeros_like(logits)
        positive = assignment.gt_index >= 0
        soft[positive, assignment.labels[positive]] = assignment.quality[positive]
        classes += torch.nn.functional.binary_cross_entropy_with_logits(logits, soft, reduction="sum")
        loss = GIoULoss(reduction="none")(decoded[positive], target.boxes[assignment.gt_index[positive]])
        boxes += (loss * assignment.quality[positive]).sum()
    assert got["classification"].item() == pytest.approx((classes / total.clamp(min=1)).item(), rel=1e-5)
    assert got["box"].item() == pytest.approx((boxes / total.clamp(min=1)).item(), rel=1e-5)


def test_what_is_not_finite_is_refused_by_name():
    out = outputs()
    out.logits[0][0, 1, 0, 3] = math.nan
    with pytest.raises(DivergedError, match=r"image 0: the predicted logits of prior 3 are .*--optim\.lr"):
        YOLO.match(out, [truth()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"alpha": -1.0}, "exponents"), ({"top_k": 0}, "top_k"), ({"small": math.nan}, "side in pixels")],
)
def test_settings_that_cannot_be_meant_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TaskAlignedAssigner(CODER, **arguments)


def test_a_matcher_that_says_no_quality_is_named():
    from focalkit.detection import PointAssigner

    term = BoxTerm(GIoULoss(reduction="sum"), CODER, space="boxes", quality=AssignedQuality())
    with pytest.raises(ValueError, match="the matcher gives no quality"):
        DetectionCriterion(PointAssigner(limits=(32.0,)), {"box": term})(outputs(), [truth()])
