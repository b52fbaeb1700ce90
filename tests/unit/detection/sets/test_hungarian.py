import itertools
from dataclasses import replace

import pytest
import torch

from focalkit.detection import CenterSizeCoder, DetectionTarget, DistributionCoder, HungarianMatcher
from focalkit.detection.boxes.quality import generalised_iou
from focalkit.detection.matching import hungarian
from focalkit.detection.types import IGNORE
from focalkit.errors import DivergedError
from focalkit.losses import giou_loss, sigmoid_focal_loss

from .conftest import as_dense, predictions, truths


def pairs(assignments):
    """(query, box) of each image."""
    return [[(q, int(a.gt_index[q])) for q in (a.gt_index >= 0).nonzero()[:, 0].tolist()] for a in assignments]


@pytest.mark.parametrize("seed", range(4))
def test_it_matches_as_transformers_does(peer, coder, seed):
    logits, boxes = predictions(4, 30, seed)
    ours, theirs = truths([7, 0, 1, 12], seed)
    found = HungarianMatcher(coder).match(as_dense(logits, boxes), ours)
    expected = peer.matcher({"logits": logits, "pred_boxes": boxes}, theirs)
    assert pairs(found) == [sorted(zip(q.tolist(), m.tolist(), strict=True)) for q, m in expected]
    for assignment, target in zip(found, ours, strict=True):
        matched = assignment.gt_index >= 0
        assert torch.equal(assignment.labels[matched], target.labels[assignment.gt_index[matched]])
        assert (assignment.labels[~matched] == -1).all()


def test_no_other_assignment_is_cheaper(coder):
    logits, boxes = predictions(1, 5)
    ours, _ = truths([3])
    matcher = HungarianMatcher(coder)
    costs = matcher.costs(as_dense(logits, boxes), ours)[0]
    best = min(sum(costs[q, m] for m, q in enumerate(rows)) for rows in itertools.permutations(range(5), 3))
    found = sum(costs[q, m] for q, m in pairs(matcher.match(as_dense(logits, boxes), ours))[0])
    torch.testing.assert_close(found, best)


def test_each_cost_is_its_loss(coder):
    logits, boxes = predictions(1, 6)
    ours, theirs = truths([4])
    out = as_dense(logits, boxes)
    x = logits[0][:, ours[0].labels]  # (q, m)
    focal = sigmoid_focal_loss(x, torch.ones_like(x), reduction="none") - sigmoid_focal_loss(
        x, torch.zeros_like(x), reduction="none"
    )
    l1 = torch.cdist(boxes[0], theirs[0]["boxes"], p=1)
    pixels = coder.decode(boxes[0], out.priors[0])
    giou = 1 - torch.stack([giou_loss(pixels, box.expand_as(pixels), reduction="none") for box in ours[0].boxes], dim=1)
    for weights, expected in (((1, 0, 0), focal), ((0, 1, 0), l1), ((0, 0, 1), -giou), ((2, 5, 2), None)):
        expected = 2 * focal + 5 * l1 - 2 * giou if expected is None else expected
        torch.testing.assert_close(
            HungarianMatcher(coder, *weights).costs(out, ours)[0], expected, atol=1e-5, rtol=1e-5
        )


def test_blocks_of_images_change_nothing(coder, monkeypatch):
    out, (ours, _) = as_dense(*predictions(5, 20)), truths([3, 9, 0, 1, 4])
    whole = HungarianMatcher(coder).costs(out, ours)
    monkeypatch.setattr(hungarian, "BLOCK", 200)
    for a, b in zip(whole, HungarianMatcher(coder).costs(out, ours), strict=True):
        assert torch.equal(a, b)


def test_more_boxes_than_queries_leave_the_dearest_unmatched(coder):
    ours, _ = truths([9])
    found = HungarianMatcher(coder).match(as_dense(*predictions(1, 4)), ours)[0]
    assert (found.gt_index >= 0).all()
    assert len(found.gt_index.unique()) == 4


def test_extreme_logits_have_finite_costs(coder):
    logits, boxes = predictions(1, 6)
    logits[0, 0], logits[0, 1] = 1e4, -1e4
    ours, _ = truths([3])
    assert torch.isfinite(HungarianMatcher(coder).costs(as_dense(logits, boxes), ours)[0]).all()


@pytest.mark.parametrize(("which", "name"), [(0, "logits"), (1, "boxes")])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_prediction_that_is_no_number_is_refused_by_name(coder, which, name, value):
    given = predictions(3, 8)
    given[which][1, 5] = value
    ours, _ = truths([2, 3, 1])
    with pytest.raises(DivergedError, match=f"image 1: the predicted {name} of query 5 .*--optim.lr"):
        HungarianMatcher(coder).match(as_dense(*given), ours)


def test_a_truth_that_is_no_number_is_refused_by_name(coder):
    ours, _ = truths([2, 3])
    ours[1].boxes[2, 0] = float("nan")
    with pytest.raises(ValueError, match=r"image 1: box 2 of its ground truth is \[nan"):
        HungarianMatcher(coder).match(as_dense(*predictions(2, 8)), ours)


def test_unmatched_queries_in_a_crowd_region_do_not_count(coder):
    logits, boxes = predictions(1, 8)
    boxes[0, :3] = torch.tensor([0.2, 0.2, 0.1, 0.1])
    ours, _ = truths([1])
    region = torch.tensor([[0.0, 0.0, 50.0, 40.0]])
    target = replace(ours[0], boxes=torch.tensor([[20.0, 14.0, 32.0, 24.0]]), ignore_boxes=region)
    found = HungarianMatcher(coder, class_cost=0).match(as_dense(logits, boxes), [target])[0]
    matched = int((found.gt_index >= 0).nonzero())
    assert matched in (0, 1, 2)
    assert sorted(found.labels[:3].tolist()) == sorted([IGNORE, IGNORE, int(target.labels)])


def test_costs_and_coders_that_cannot_be_are_refused(coder):
    with pytest.raises(ValueError, match="expected costs of at least 0"):
        HungarianMatcher(coder, 0, 0, 0)
    with pytest.raises(ValueError, match="there is no L1 cost"):
        HungarianMatcher(DistributionCoder())


def test_generalised_iou_is_one_less_the_loss():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.rand(50, 4, generator=generator).sort(dim=1).values[:, [0, 1, 2, 3]] for _ in range(2))
    expected = 1 - giou_loss(one, other, reduction="none")
    torch.testing.assert_close(generalised_iou(one, other), expected)


def test_an_image_without_boxes_is_all_background(coder):
    target = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = HungarianMatcher(CenterSizeCoder((1, 1, 1, 1))).match(as_dense(*predictions(1, 5)), [target])[0]
    assert (found.labels == -1).all()
