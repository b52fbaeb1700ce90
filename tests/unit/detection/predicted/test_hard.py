"""Online hard example mining: which priors of an image learn their class."""

import math

import pytest
import torch

from focalkit.detection import (
    Assignment,
    ClassTerm,
    DenseOutputs,
    DetectionCriterion,
    DetectionTarget,
    HardExamples,
)
from focalkit.losses import SigmoidFocalLoss

# four places apart from each other; the second prior overlaps the first by 9/11, the last one is ignored
PRIORS = torch.tensor(
    [[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [90, 0, 99, 10], [0, 90, 9, 99], [50, 50, 60, 60]]
)
LABELS = torch.tensor([0, -1, -1, -1, -1, -100])
LOGITS = [-1.0, 5.0, 3.0, -2.0, 1.0, 9.0]  # of the one class: the losses are 1.31, 5.01, 3.05, 0.13, 1.31, none


def mined(**arguments):
    outputs = DenseOutputs(
        logits=(torch.tensor(LOGITS).view(1, 1, 6, 1),),
        deltas=(torch.zeros(1, 4, 6, 1),),
        priors=(PRIORS.float(),),
        num_classes=1,
    )
    matched = Assignment(LABELS, torch.tensor([0, -1, -1, -1, -1, -1]))
    target = DetectionTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))
    (found,) = HardExamples(lambda priors, target: matched, **arguments).match(outputs, [target])
    assert torch.equal(found.gt_index, matched.gt_index), "every positive learns its box"
    return (found.labels != -100).nonzero().flatten().tolist()


def test_the_hardest_are_kept_and_of_overlapping_ones_the_hardest():
    assert mined(count=3, iou_threshold=1.0) in ([0, 1, 2], [1, 2, 4])  # 0 and 4 are equally hard
    assert mined(count=2) == [1, 2]
    assert mined(count=9) == [1, 2, 3, 4], "0 overlaps 1, which is harder"


def test_three_negatives_are_kept_for_each_positive():
    assert mined(count=8, iou_threshold=1.0, positive_fraction=0.25) == [0, 1, 2, 4]
    assert mined(count=8, iou_threshold=1.0, positive_fraction=0.5) == [0, 1]


def test_only_candidates_are_looked_at():
    assert mined(count=9, candidates=2, iou_threshold=1.0) == [1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [slice(None), slice(1)])
def test_logits_that_are_not_finite_give_a_loss_that_is_none(bad, where):
    logits = torch.tensor(LOGITS).view(1, 1, 6, 1).clone()
    logits[0, 0, where] = bad
    outputs = DenseOutputs((logits.requires_grad_(),), (torch.zeros(1, 4, 6, 1),), (PRIORS.float(),), 1)
    matcher = HardExamples(lambda priors, target: Assignment(LABELS, torch.tensor([0, -1, -1, -1, -1, -1])))
    criterion = DetectionCriterion(matcher, {"classification": ClassTerm(SigmoidFocalLoss())})
    target = DetectionTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))
    assert criterion(outputs, [target])["classification"].isnan()


@pytest.mark.parametrize("arguments", [{"count": 0}, {"iou_threshold": 0.0}, {"positive_fraction": 0.0}])
def test_values_out_of_range_are_named(arguments):
    with pytest.raises(ValueError, match=str(*arguments.values())):
        mined(**arguments)
