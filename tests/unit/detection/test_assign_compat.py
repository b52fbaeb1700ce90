"""Assignments bit for bit as in torchvision, Detectron2 and MMDetection, on random boxes and on nasty ones."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from focalkit.config import CriterionConfig, TrainConfig
from focalkit.detection import BACKGROUND, IGNORE, AnchorGrid, DetectionTarget, MaxIoUAssigner
from focalkit.detection.build import assigner_of
from focalkit.detection.matching import libraries
from focalkit.detection.matching.libraries import LIBRARIES, Detectron2Assigner, MMDetAssigner, TorchvisionAssigner
from reference import matchers

SHAPES = [(20, 25), (10, 13), (5, 7), (3, 4), (2, 2)]
PRIORS = AnchorGrid()(SHAPES)
ANCHORS = torch.cat(PRIORS)


def random_boxes(seed, count, low=2.0, high=150.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([180.0, 140.0])
    size = low + torch.rand(count, 2, generator=generator) * (high - low)
    return torch.cat([corner, corner + size], 1)


def cases():
    """Names and boxes; priors are the anchors above."""
    yield "random", random_boxes(0, 12)
    yield "many small", random_boxes(1, 40, 1.0, 12.0)
    yield "twice the same", random_boxes(2, 6).repeat(2, 1)
    yield "anchors themselves", ANCHORS[[0, 700, 701, 1500, -1]]
    # several anchors overlap these equally: they lie in the middle between cells
    yield "ties", torch.tensor([[36.0, 36.0, 44.0, 44.0], [68.0, 68.0, 76.0, 76.0], [60.0, 60.0, 84.0, 84.0]])
    yield "overlaps nothing", torch.tensor([[20.0, 20.0, 60.0, 60.0], [5000.0, 5000.0, 5040.0, 5040.0]])
    yield "nothing at all", torch.tensor([[5000.0, 5000.0, 5040.0, 5040.0]])
    # nested boxes: the best anchor of the inner is a better match of the outer
    yield "nested", torch.tensor([[40.0, 40.0, 72.0, 72.0], [41.0, 41.0, 71.0, 71.0], [44.0, 44.0, 68.0, 68.0]])


def targets(boxes):
    return DetectionTarget(boxes, torch.arange(len(boxes)) * 3 % 7)


def expected(matches, target):
    """Labels and rows from a matcher's answer."""
    matches = torch.as_tensor(matches)
    rows = matches.clamp(min=-1)
    labels = torch.where(rows >= 0, target.labels[rows], BACKGROUND)
    return torch.where(matches == matchers.BETWEEN, IGNORE, labels), rows


def assert_assigned(assigner, priors, target, matches):
    found = assigner(priors, target)
    labels, rows = expected(matches, target)
    assert torch.equal(found.gt_index, rows)
    assert torch.equal(found.labels, labels)


@pytest.mark.parametrize("block", [2**21, 3000])
@pytest.mark.parametrize(("name", "boxes"), list(cases()))
def test_torchvisions_matches_are_its_matchers(name, boxes, block, monkeypatch):
    monkeypatch.setattr(libraries, "BLOCK", block)
    matches = Matcher(0.5, 0.4, allow_low_quality_matches=True)(box_iou(boxes, ANCHORS))
    assert_assigned(TorchvisionAssigner(), PRIORS, targets(boxes), matches)


@pytest.mark.parametrize(("name", "boxes"), list(cases()))
def test_detectron2s_and_mmdetections_matches_are_theirs(name, boxes, monkeypatch):
    monkeypatch.setattr(libraries, "BLOCK", 2**14)  # several blocks of boxes
    table = matchers.overlap(boxes, ANCHORS)
    assert_assigned(Detectron2Assigner(), PRIORS, targets(boxes), matchers.detectron2(table))
    assert_assigned(MMDetAssigner(), PRIORS, targets(boxes), matchers.mmdetection(table))


def test_an_overlap_on_a_threshold_counts_as_above_it():
    # IoUs with the prior of .5, .4 and just less, in turn; another prior takes the role of each box's best
    prior = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    for height, code in ((5.0, 0), (4.0, matchers.BETWEEN), (3.999, matchers.NEGATIVE), (4.999, matchers.BETWEEN)):
        box = torch.tensor([[0.0, 0.0, 10.0, height]])
        priors = torch.cat([prior, box])
        iou = box_iou(box, priors)
        matches = Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou).tolist()
        assert matches == [code, 0]
        target = targets(box)
        for assigner, reference in (
            (TorchvisionAssigner(), None),
            (Detectron2Assigner(), matchers.detectron2),
            (MMDetAssigner(), matchers.mmdetection),
        ):
            theirs = matches if reference is None else reference(matchers.overlap(box, priors))
            assert_assigned(assigner, [priors], target, theirs)


def test_they_differ_from_each_other_and_from_ours_where_they_should():
    boxes = dict(cases())
    lonely = targets(boxes["nothing at all"])
    assert [int((a(PRIORS, lonely).gt_index >= 0).sum()) for a in (TorchvisionAssigner(), MMDetAssigner())] == [
        len(ANCHORS)
    ] * 2
    assert int((MaxIoUAssigner()(PRIORS, lonely).gt_index >= 0).sum()) == 0
    nested = targets(boxes["nested"])
    assert not torch.equal(TorchvisionAssigner()(PRIORS, nested).gt_index, MMDetAssigner()(PRIORS, nested).gt_index)
    # the first prior overlaps the first box by .45, which has a better one, and is the best that the second has, by .42
    pair = targets(torch.tensor([[0.0, 0.0, 10.0, 4.5], [0.0, 5.8, 10.0, 10.0]]))
    priors = [torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.5]])]
    assert [a(priors, pair).gt_index.tolist() for a in (TorchvisionAssigner(), MMDetAssigner(), MaxIoUAssigner())] == [
        [0, 0],
        [1, 0],
        [1, 0],
    ]


@pytest.mark.parametrize("assigner", [TorchvisionAssigner(), Detectron2Assigner(), MMDetAssigner()])
def test_an_image_without_boxes_is_background(assigner):
    found = assigner(PRIORS, DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
    assert found.labels.eq(BACKGROUND).all()
    assert found.gt_index.eq(-1).all()
    with pytest.raises(ValueError, match="2 boxes but 1 labels"):
        assigner(PRIORS, DetectionTarget(torch.ones(2, 4), torch.zeros(1, dtype=torch.int64)))


def test_the_configuration_chooses_them():
    found = [assigner_of(TrainConfig(criterion=CriterionConfig(fg_iou=0.6, matching=name))) for name in LIBRARIES]
    assert found == [TorchvisionAssigner(0.6), Detectron2Assigner(0.6), MMDetAssigner(0.6)]
    assert assigner_of(TrainConfig()) == MaxIoUAssigner()
