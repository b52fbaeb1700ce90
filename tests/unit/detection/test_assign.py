import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from focalkit.detection import AnchorGrid, DetectionTarget, MaxIoUAssigner, fit_size
from focalkit.detection.matching import blocks, max_iou

BACKGROUND, IGNORE = -1, -100


def target(boxes, labels=None, ignore=()):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return DetectionTarget(boxes, labels, torch.as_tensor(ignore, dtype=torch.float32).reshape(-1, 4))


def plain(priors, truth, rule):
    """The rule written out over the whole matrix, one prior at a time."""
    n, m = len(priors), len(truth.boxes)
    iou = box_iou(priors, truth.boxes)
    labels, index = [], []
    for i in range(n):
        row = iou[i].tolist()
        best = max(row, default=0.0)
        own = row.index(best) if best >= rule.fg_iou else -1
        if own < 0:
            wanting = [
                (row[j], -j)
                for j in range(m)
                if row[j] > 0 and row[j] >= rule.min_pos_iou and row[j] == iou[:, j].max()
            ]
            own = -max(wanting)[1] if wanting else -1
        label = int(truth.labels[own]) if own >= 0 else IGNORE if best >= rule.bg_iou else BACKGROUND
        if own < 0 and len(truth.ignore_boxes):
            x0, y0, x1, y1 = priors[i].tolist()
            for a0, b0, a1, b1 in truth.ignore_boxes.tolist():
                inside = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
                label = IGNORE if inside / ((x1 - x0) * (y1 - y0)) >= rule.ignore_iof else label
        labels.append(label)
        index.append(own)
    return torch.tensor(labels, dtype=torch.int64), torch.tensor(index, dtype=torch.int64)


# small whole numbers, so that equal overlaps are common
sides = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
box = sides.map(lambda s: [s[0], s[1], s[0] + s[2], s[1] + s[3]])


@settings(max_examples=300, deadline=None)
@given(
    priors=st.lists(box, max_size=25),
    boxes=st.lists(box, max_size=8),
    crowds=st.lists(box, max_size=3),
    thresholds=st.sampled_from([(0.5, 0.4, 0.05), (0.5, 0.4, 0.0), (0.7, 0.3, 0.2), (0.5, 0.5, 1.0)]),
    block=st.sampled_from([1, 30, 2**19]),
    tile=st.sampled_from([None, 1, 3, 64]),
)
def test_blocks_and_tiles_give_the_answer_of_the_matrix(priors, boxes, crowds, thresholds, block, tile):
    rule = MaxIoUAssigner(*thresholds)
    truth = target(boxes, ignore=crowds)
    all_priors = torch.tensor(priors, dtype=torch.float32).reshape(-1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(max_iou, "BLOCK", block)
        patch.setattr(blocks, "TILE", tile or blocks.TILE)
        patch.setattr(max_iou, "MANY_PRIORS", 2**16 if tile is None else 0)
        got = rule([all_priors[: len(priors) // 2], all_priors[len(priors) // 2 :]], truth)
    labels, index = plain(all_priors, truth, rule)
    assert got.labels.tolist() == labels.tolist()
    assert got.gt_index.tolist() == index.tolist()


def random_truth(m, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp(torch.rand(m, 2, generator=generator) * 4 + 1.5)
    corner = torch.rand(m, 2, generator=generator) * (torch.tensor([width, height]) - size).clamp(min=1)
    return target(torch.cat([corner, corner + size], dim=1))


def levels(height, width, grid=None):
    return (grid or AnchorGrid())([(-(-height // s), -(-width // s)) for s in (8, 16, 32, 64, 128)])


@pytest.mark.parametrize("tiles", [True, False], ids=["tiles", "blocks"])
def test_on_real_anchors_the_answer_is_that_of_the_matrix(monkeypatch, tiles):
    priors, truth = levels(128, 192), random_truth(40, 128, 192)
    monkeypatch.setattr(max_iou, "BLOCK", 2**14)
    monkeypatch.setattr(max_iou, "MANY_PRIORS", 0 if tiles else 2**16)
    got = MaxIoUAssigner()(priors, truth)
    labels, index = plain(torch.cat(priors), truth, MaxIoUAssigner())
    assert torch.equal(got.labels, labels)
    assert torch.equal(got.gt_index, index)


@pytest.mark.parametrize("seed", range(3))
def test_positives_are_torchvisions(seed):
    priors, truth = levels(384, 512), random_truth(15, 384, 512, seed)
    matched = Matcher(0.5, 0.4, allow_low_quality_matches=True)(box_iou(truth.boxes, torch.cat(priors)))
    got = MaxIoUAssigner(min_pos_iou=0.0)(priors, truth)
    assert torch.equal(got.labels >= 0, matched >= 0)
    assert torch.equal(got.labels == BACKGROUND, matched == Matcher.BELOW_LOW_THRESHOLD)


@pytest.mark.parametrize("far", [1e6, -1e6])
def test_a_box_far_from_every_prior_costs_no_overlap(monkeypatch, far):
    computed = []
    divide = torch.Tensor.div_
    monkeypatch.setattr(torch.Tensor, "div_", lambda x, y: (computed.append(x.numel()), divide(x, y))[1])
    monkeypatch.setattr(max_iou, "MANY_PRIORS", 0)
    near, away = [[10, 10, 60, 60]], [[far, far, far + 50, far + 50]] * 9
    priors = levels(512, 768)
    MaxIoUAssigner()(priors, target(near + away))
    assert len(computed) == 1
    assert 0 < computed[0] < 0.2 * sum(map(len, priors))


MEMORY = """
import resource, sys, torch
from focalkit.detection import *
from focalkit.detection.matching import hungarian
torch.set_num_threads(1)
page = resource.getpagesize()
now = lambda: int(open("/proc/self/statm").read().split()[1]) * page
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def scene(n, m):
    corner = torch.rand(n, 2) * 1000
    priors = torch.cat([corner, corner + torch.rand(n, 2) * 200 + 1], dim=1)
    boxes = torch.cat([corner[:m], corner[:m] + 50], dim=1)
    return priors, DetectionTarget(boxes, torch.zeros(m, dtype=torch.int64), boxes[:50] + 7)

def one_image(n, m):
    priors, truth = scene(n, m)
    priors = torch.cat([priors[:, :2], priors[:, :2] + 8], dim=1)
    return DenseOutputs((torch.rand(1, 3, n, 1),), (torch.rand(1, 4, n, 1) * 2,), (priors,), 3), [truth]

def images(b, q, m):
    priors = WholeImage()([(q, 1)], image_size=(1000, 1000))
    boxes = torch.rand(b, 4, q, 1) / 2 + 0.2
    return DenseOutputs((torch.rand(b, 3, q, 1),), (boxes,), priors, 3), [scene(m, m)[1]] * b

def measure(name, match, small, large):
    match(*small)
    filler = torch.ones(max(0, peak() - now()), dtype=torch.uint8)  # lifts the present to the highest mark so far
    before = now()
    assignment, *_ = match(*large)
    assert (assignment.labels >= 0).sum() >= len(large[-1][0].labels) / 2
    print(name, (peak() - before) / 2**20)

def by_place(priors, truths):
    return [MaxIoUAssigner()([priors], truth) for truth in truths]

n, m = map(int, sys.argv[1:])
cases = [(p, [t]) for p, t in (scene(1000, 500), scene(200_000, 500))]
measure("MaxIoUAssigner", by_place, *cases)
for kind in (TaskAlignedAssigner, SimOTAAssigner, DynamicSoftLabelAssigner):
    measure(kind.__name__, kind(DistanceCoder()).match, one_image(1000, 5), one_image(n, m))
hungarian.BLOCK = 2**18
matcher = HungarianMatcher(CenterSizeCoder((1.0, 1.0, 1.0, 1.0)))
measure("HungarianMatcher", matcher.match, images(2, 60, 5), images(64, 300, 60))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
@pytest.mark.parametrize("size", [(40_000, 100), pytest.param((200_000, 500), marks=pytest.mark.soak)])
def test_matching_takes_less_than_60_mb(size):
    """The float32 matrix of MaxIoUAssigner alone would be 381; without blocks the others take 90 to 130."""
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}  # freed tensors are given back, not kept by malloc
    command = [sys.executable, "-c", MEMORY, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    found = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert len(found) == 5
    assert found["MaxIoUAssigner"] > 4, "something is measured"
    assert max(found.values()) < 60, found


def test_a_box_that_overlaps_nothing_matches_nothing():
    got = MaxIoUAssigner(min_pos_iou=0.0)(levels(64, 64), target([[5000, 5000, 5010, 5010]]))
    assert (got.labels == BACKGROUND).all()
    assert (got.gt_index == -1).all()


def test_a_box_of_no_area_matches_nothing():
    got = MaxIoUAssigner(min_pos_iou=0.0)(levels(64, 64), target([[20, 20, 20, 20]]))
    assert (got.labels == BACKGROUND).all()


def test_a_small_box_is_matched_below_the_threshold_unless_the_guard_forbids_it():
    priors, small = levels(128, 128), target([[60, 60, 72, 72]])  # at best 12^2 / 32^2 = .14
    matched = MaxIoUAssigner(min_pos_iou=0.05)(priors, small)
    assert (matched.labels >= 0).sum() > 0
    assert ((matched.labels >= 0) == (matched.gt_index == 0)).all()
    assert (MaxIoUAssigner(min_pos_iou=0.2)(priors, small).labels == BACKGROUND).all()


def test_a_prior_good_enough_for_its_own_box_is_not_taken_away():
    prior = [torch.tensor([[0.0, 0.0, 10.0, 10.0]])]
    both = target([[0, 0, 10, 9], [0, 0, 10, 3]])  # the only prior is the best of both boxes
    assert MaxIoUAssigner()(prior, both).gt_index.tolist() == [0]


def test_of_two_equal_boxes_the_first_gets_the_prior():
    prior = [torch.tensor([[0.0, 0.0, 10.0, 10.0]])]
    for boxes in ([[0, 0, 10, 10]] * 3, [[0, 0, 10, 3]] * 3):
        assert MaxIoUAssigner()(prior, target(boxes)).gt_index.tolist() == [0]


def test_all_priors_that_reach_a_boxs_best_overlap_are_positive():
    priors = [torch.tensor([[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], [40.0, 0.0, 50.0, 10.0]])]
    got = MaxIoUAssigner()(priors, target([[8, 0, 12, 10]], labels=[7]))
    assert got.labels.tolist() == [7, 7, BACKGROUND]


def test_between_the_thresholds_a_prior_is_ignored():
    priors = [torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.5], [0.0, 0.0, 10.0, 3.0]])]
    assert MaxIoUAssigner()(priors, target([[0, 0, 10, 10]], labels=[2])).labels.tolist() == [2, IGNORE, BACKGROUND]


def test_priors_inside_a_crowd_are_ignored_unless_positive():
    priors = [
        torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [34.0, 0.0, 44.0, 10.0], [90.0, 0, 99, 9]])
    ]
    got = MaxIoUAssigner()(priors, target([[0, 0, 10, 10]], labels=[4], ignore=[[-5, -5, 38, 15]]))
    assert got.labels.tolist() == [4, IGNORE, BACKGROUND, BACKGROUND]  # 40 % of the third lies in the crowd
    assert got.gt_index.tolist() == [0, -1, -1, -1]


def test_no_boxes_no_priors_and_neither():
    some, none = [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [torch.zeros(0, 4)]
    assert MaxIoUAssigner()(some, target([])).labels.tolist() == [BACKGROUND]
    assert MaxIoUAssigner()(some, target([], ignore=[[0, 0, 2, 2]])).labels.tolist() == [IGNORE]
    for truth in (target([]), target([[0, 0, 1, 1]], ignore=[[0, 0, 2, 2]])):
        got = MaxIoUAssigner()(none, truth)
        assert got.labels.shape == got.gt_index.shape == (0,)
        assert got.labels.dtype == got.gt_index.dtype == torch.int64


def test_boxes_and_labels_of_different_number_are_refused():
    with pytest.raises(ValueError, match="1 boxes but 2 labels"):
        MaxIoUAssigner()(levels(64, 64), target([[0, 0, 9, 9]], labels=[0, 1]))


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="bg_iou <= fg_iou"):
        MaxIoUAssigner(fg_iou=0.3, bg_iou=0.4)


def test_real_coco_boxes_find_anchors(shared):
    file = json.loads((shared / "data/coco_permissive158/annotations/instances_train2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in file["images"]}
    found = large = positives = 0
    images = list(sizes)[:25]
    for image_id in images:
        h, w = sizes[image_id]
        height, width = fit_size(h, w, 600, 1000)
        rows = [a for a in file["annotations"] if a["image_id"] == image_id]
        boxes = torch.tensor([a["bbox"] for a in rows if not a["iscrowd"]]).reshape(-1, 4) * (width / w)
        boxes[:, 2:] += boxes[:, :2]
        crowds = torch.tensor([a["bbox"] for a in rows if a["iscrowd"]]).reshape(-1, 4) * (width / w)
        crowds[:, 2:] += crowds[:, :2]
        got = MaxIoUAssigner()(levels(height, width), target(boxes, ignore=crowds))
        positives += int((got.labels >= 0).sum())
        big = ((boxes[:, 2:] - boxes[:, :2]) >= 32).all(dim=1).nonzero().squeeze(1)
        large += len(big)
        found += int(torch.isin(big, got.gt_index).sum())
        assert len(crowds) or (got.labels == BACKGROUND).float().mean() > 0.8
    assert large > 100
    assert found == large  # every box of at least 32 px a side has an anchor
    assert 10 < positives / len(images) < 500
