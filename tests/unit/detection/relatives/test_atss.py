import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from focalkit.detection import AnchorGrid, DetectionTarget
from focalkit.detection.matching import atss, crowds
from focalkit.detection.matching.atss import ATSSAssigner

BACKGROUND, IGNORE = -1, -100


def target(boxes, labels=None, ignore=()):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return DetectionTarget(boxes, labels, torch.as_tensor(ignore, dtype=torch.float32).reshape(-1, 4))


def plain(levels, truth, k, slack=1e-6):
    """Algorithm 1 of the paper, step by step, in Python numbers; `slack` is taken off the threshold."""
    priors = [p for level in levels for p in level.tolist()]
    starts = [sum(len(level) for level in levels[:i]) for i in range(len(levels))]
    wanted = [[] for _ in priors]  # (IoU, -box)
    iou = box_iou(torch.tensor(priors), truth.boxes).tolist()
    for g, (x0, y0, x1, y1) in enumerate(truth.boxes.tolist()):
        candidates = []
        for start, level in zip(starts, levels, strict=True):
            rows = range(start, start + len(level))

            def distance(i, x=(x0 + x1) / 2, y=(y0 + y1) / 2):
                a, b, c, d = priors[i]
                return ((a + c) / 2 - x) ** 2 + ((b + d) / 2 - y) ** 2

            candidates += sorted(rows, key=lambda i: (distance(i), i))[:k]
        values = [iou[i][g] for i in candidates]
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
        for i in candidates:
            a, b, c, d = priors[i]
            x, y = (a + c) / 2, (b + d) / 2
            if min(x - x0, x1 - x, y - y0, y1 - y) > 0.01 and iou[i][g] >= mean + deviation - slack:
                wanted[i].append((iou[i][g], -g))
    return [-max(w)[1] if w else -1 for w in wanted]


def levels_of(size, scale=8.0, strides=(8, 16, 32)):
    grid = AnchorGrid(tuple(scale * s for s in strides), (1.0,), (1.0,), strides, 0.5)
    return grid([(math.ceil(size / s), math.ceil(size / s)) for s in strides])


def random_boxes(m, size, seed):
    generator = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.rand(m, 2, generator=generator) * 3 + 2)
    corner = torch.rand(m, 2, generator=generator) * (size - sides).clamp(min=1)
    return torch.cat([corner, corner + sides], dim=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 9])
def test_it_is_algorithm_1(seed, k, monkeypatch):
    monkeypatch.setattr(atss, "BLOCK", 500)  # a few boxes at a time
    levels, truth = levels_of(128), target(random_boxes(9, 128, seed))
    got = ATSSAssigner(k)(levels, truth)
    assert got.gt_index.tolist() == plain(levels, truth, k)
    assert k == 1 or (got.gt_index >= 0).sum() > 9


# small whole numbers, so that equal distances and overlaps are common
sides = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9))
boxes = st.lists(sides.map(lambda s: [s[0], s[1], s[0] + s[2], s[1] + s[3]]), max_size=5)


@settings(max_examples=60, deadline=None)
@given(boxes=boxes, block=st.sampled_from([1, 40, 2**19]))
def test_ties_are_settled_by_order(boxes, block):
    levels = levels_of(16, scale=2.0, strides=(2, 4, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atss, "BLOCK", block)
        got = ATSSAssigner(4)(levels, target(boxes))
    # float32 may differ from Python's numbers about "at least" where all candidates overlap alike
    strict, lenient = (plain(levels, target(boxes), 4, slack) for slack in (-1e-5, 1e-5))
    assert all(mine in both for mine, *both in zip(got.gt_index.tolist(), strict, lenient, strict=True))


def test_a_worked_example():
    # IoU with the three candidates: 7/9, 1/15 and 0; mean .2815, deviation .4309; threshold .7124
    priors = [torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0]])]
    got = ATSSAssigner()(priors, target([[1, 0, 9, 8]], labels=[3]))
    assert got.labels.tolist() == [3, BACKGROUND, BACKGROUND]
    assert got.gt_index.tolist() == [0, -1, -1]


def test_boxes_of_all_sizes_get_about_as_many_positives():
    # the paper, sec. 3.2: about 0.2 k L for every box, whereas fixed thresholds give large boxes more
    counts = []
    for side in (24, 48, 96, 192):
        at = 256 - side / 2
        got = ATSSAssigner()(levels_of(512), target([[at, at, at + side, at + side]]))
        counts.append(int((got.labels >= 0).sum()))
    assert min(counts) >= 1
    assert max(counts) <= 9


def test_priors_in_a_crowd_are_ignored_unless_positive(monkeypatch):
    monkeypatch.setattr(crowds, "BLOCK", 1)
    levels = levels_of(64, scale=1.0)
    got = ATSSAssigner()(levels, target([[0, 0, 16, 16]], ignore=[[0, 0, 32, 32], [60, 60, 64, 64]]))
    inside = torch.cat(levels)[:, 2:].amax(dim=1) <= 32
    assert ((got.labels == IGNORE) == (inside & (got.gt_index < 0))).all()
    assert (got.labels == 0).any()


def test_no_boxes_no_priors_and_boxes_without_area():
    levels = levels_of(64)
    for boxes in ([], [[20, 20, 20, 20]], [[900, 900, 950, 950]]):
        assert (ATSSAssigner()(levels, target(boxes)).labels == BACKGROUND).all()
    got = ATSSAssigner()([torch.zeros(0, 4)], target([[0, 0, 9, 9]]))
    assert got.labels.shape == got.gt_index.shape == (0,)
    alone = ATSSAssigner()([torch.tensor([[0.0, 0.0, 8.0, 8.0]])], target([[0, 0, 8, 8]]))
    assert alone.gt_index.tolist() == [0]  # one candidate: no deviation, and not NaN


def test_off_the_cpu_nothing_is_read_back():
    levels = [level.to("meta") for level in levels_of(64)]
    got = ATSSAssigner()(levels, target([[0, 0, 9, 9]], ignore=[[0, 0, 4, 4]]).to("meta"))
    assert got.labels.device.type == "meta"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ATSSAssigner(0)
    with pytest.raises(ValueError, match="1 boxes but 2 labels"):
        ATSSAssigner()(levels_of(64), target([[0, 0, 9, 9]], labels=[0, 1]))
